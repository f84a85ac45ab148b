//! What became of the instants of one schedule, counted row by row, newest first.
//!
//! - REPORT-1: an instant is clean if it SUCCEEDED, if it is MERGED into a run that did, if a backfill made up for it, or if
//!   it was SKIPPED because somebody wanted that: a pause, a freeze, the end of `max_runs`.
//! - REPORT-2: nothing is guessed: what the ledger no longer has is said to be dropped, never counted as clean.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use belfry_core::liveness::START_GRACE;
use belfry_core::run::{Ending, Reason, RunState, Series};
use belfry_core::{Run, RunId, Schedule, State, UnixMillis};
use belfry_proto::v1 as pb;
use pb::discrepancy::Kind;

use crate::api::{encode, names};

/// Discrepancies told of one schedule; how many there are is told in any case.
pub(super) const TOLD_MAX: usize = 20;

/// Merges followed from one row to the run that stands for it. Rows are looked at newest first, so that each finds its
/// successor among those that are known; only the first of a page has a way to go.
const MERGES_MAX: usize = 10_000;

/// An instant may be without its row for so long: an election, and a busy disk.
pub(super) const ROW_GRACE: Duration = Duration::from_secs(10);

/// What counts as clean.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Strictness {
    /// REPORT-1, and nothing that is still under way.
    Usual,
    /// Every instant succeeded, by itself or merged, and in time.
    Strict,
}

impl Strictness {
    fn is_strict(self) -> bool {
        self == Strictness::Strict
    }
}

/// What became of an instant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    Good,
    /// Not run, because somebody wanted that.
    Wanted,
    Open,
    Bad,
}

/// Counts of one schedule.
#[derive(Clone, Debug)]
pub(super) struct Tally {
    now: UnixMillis,
    start_grace: Duration,
    strictness: Strictness,
    pub(super) expected: u64,
    pub(super) states: BTreeMap<pb::run::State, u64>,
    pub(super) beside: BTreeMap<pb::run::State, u64>,
    pub(super) missing: u64,
    pub(super) late: u64,
    pub(super) lateness_max: Duration,
    pub(super) open: u64,
    pub(super) discrepancies: u64,
    pub(super) told: Vec<pb::Discrepancy>,
    /// The run that stands for each merged row, as far as it is known; none: the ledger has dropped it.
    stands_for: HashMap<RunId, Option<RunId>>,
    /// The instant that a backfill has made up for.
    made_good: Option<UnixMillis>,
}

impl Tally {
    pub(super) fn new(schedule: &Schedule, strictness: Strictness, now: UnixMillis) -> Self {
        Self {
            now,
            start_grace: schedule.definition.liveness.start_grace.unwrap_or(START_GRACE),
            strictness,
            expected: 0,
            states: BTreeMap::new(),
            beside: BTreeMap::new(),
            missing: 0,
            late: 0,
            lateness_max: Duration::ZERO,
            open: 0,
            discrepancies: 0,
            told: Vec::new(),
            stands_for: HashMap::new(),
            made_good: None,
        }
    }

    /// Counts a row. Rows come newest first.
    pub(super) fn row(&mut self, state: &State, schedule: &Schedule, run: &Run) {
        let wire = encode::run_state(&run.state);
        match run.series() {
            Series::Timing => {}
            Series::Manual | Series::Backfill(_) => {
                *self.beside.entry(wire).or_default() += 1;
                // Backfills come before the row of the timing of the same instant.
                let is_backfill = matches!(run.series(), Series::Backfill(_));
                if is_backfill && wire == pb::run::State::Succeeded {
                    self.made_good = Some(run.nominal_at);
                }
                return;
            }
        }
        self.expected += 1;
        *self.states.entry(wire).or_default() += 1;
        let late = self.count_lateness(run);
        let standing = self.standing(state, run);
        let merged = matches!(run.state.ending(), Some(Ending::Merged { .. }));
        let fate = match standing {
            _ if self.made_good == Some(run.nominal_at) => Fate::Good,
            Some(standing) => self.fate(schedule, standing),
            None => Fate::Bad,
        };
        self.open += u64::from(fate == Fate::Open);
        let kind = match (fate, standing) {
            (Fate::Good, _)
                if self.strictness.is_strict() && late.is_some_and(|late| late > self.start_grace) =>
            {
                Kind::Late
            }
            (Fate::Good, _) => return,
            (Fate::Wanted, _) if !self.strictness.is_strict() => return,
            (Fate::Open, _) if !self.strictness.is_strict() => return,
            (Fate::Open, _) => Kind::Open,
            (Fate::Bad, None) => Kind::MergedIntoDropped,
            (Fate::Bad, Some(standing)) if matches!(standing.state, RunState::Due { .. }) => Kind::Overdue,
            (Fate::Bad | Fate::Wanted, Some(_)) if merged => Kind::MergedIntoUnsuccessful,
            (Fate::Bad | Fate::Wanted, _) => Kind::NotSucceeded,
        };
        self.tell(|| discrepancy(state, schedule, run, standing.unwrap_or(run), kind, late));
    }

    /// Counts an instant that has no row.
    pub(super) fn missing(&mut self, nominal_at: UnixMillis) {
        self.expected += 1;
        self.missing += 1;
        let moment = nominal_at.plus(ROW_GRACE) > self.now;
        self.open += u64::from(moment);
        if moment && !self.strictness.is_strict() {
            return;
        }
        self.tell(|| pb::Discrepancy {
            kind: Kind::NoRow.into(),
            nominal_time: Some(encode::timestamp(nominal_at)),
            ..Default::default()
        });
    }

    /// Counts what the ledger can no longer say.
    pub(super) fn dropped(&mut self) {
        self.discrepancies += u64::from(self.strictness.is_strict());
    }

    fn tell(&mut self, discrepancy: impl FnOnce() -> pb::Discrepancy) {
        self.discrepancies += 1;
        if self.told.len() < TOLD_MAX {
            self.told.push(discrepancy());
        }
    }

    /// How late a run began, if its first attempt began late.
    fn count_lateness(&mut self, run: &Run) -> Option<Duration> {
        let lease = run.state.lease()?;
        lease.late.filter(|reason| *reason != Reason::RetryBackoff)?;
        let lateness = lease.begun_at.since(run.scheduled_at);
        self.late += 1;
        self.lateness_max = self.lateness_max.max(lateness);
        Some(lateness)
    }

    /// The run that stands for a row: itself, or the one that it was merged into in the end.
    fn standing<'a>(&mut self, state: &'a State, run: &'a Run) -> Option<&'a Run> {
        let mut current = run;
        let mut merges = 0;
        let standing = loop {
            let Some(Ending::Merged { into, .. }) = current.state.ending() else { break Some(current) };
            if let Some(known) = self.stands_for.get(&into) {
                break known.and_then(|id| state.run(id));
            }
            merges += 1;
            match state.run(into) {
                Some(next) if merges <= MERGES_MAX => current = next,
                Some(_) | None => break None,
            }
        };
        self.stands_for.insert(run.id, standing.map(|standing| standing.id));
        standing
    }

    /// REPORT-1.
    fn fate(&self, schedule: &Schedule, run: &Run) -> Fate {
        match &run.state {
            RunState::Running(_) => Fate::Open,
            RunState::Due { .. } => {
                let paused = schedule.pause.as_ref().is_some_and(|pause| pause.holds(self.now));
                let overdue = run.attempt.0 == 0 && self.now > run.scheduled_at.plus(self.start_grace);
                if overdue && !paused { Fate::Bad } else { Fate::Open }
            }
            RunState::Ended { ending, .. } => match ending {
                Ending::Succeeded => Fate::Good,
                Ending::Skipped(Reason::Paused | Reason::Blackout | Reason::MaxRuns) => Fate::Wanted,
                Ending::Skipped(_)
                | Ending::Failed(_)
                | Ending::TimedOut
                | Ending::Unknown(_)
                | Ending::Expired
                | Ending::Cancelled(_)
                // `standing` looks behind merges.
                | Ending::Merged { .. } => Fate::Bad,
            },
        }
    }
}

fn discrepancy(
    state: &State,
    schedule: &Schedule,
    run: &Run,
    standing: &Run,
    kind: Kind,
    late: Option<Duration>,
) -> pb::Discrepancy {
    let said = state.report(standing.id).map(|report| report.message.clone());
    let decided = standing.resolution.as_deref().or(standing.cancel.as_ref().map(|cancel| &cancel.verdict));
    let message = match decided {
        Some(verdict) if verdict.actor.is_empty() => verdict.reason.to_string(),
        Some(verdict) => format!("{}: {}", verdict.actor, verdict.reason),
        None => said.unwrap_or_default(),
    };
    pb::Discrepancy {
        kind: kind.into(),
        nominal_time: Some(encode::timestamp(run.nominal_at)),
        run: names::run_name(&schedule.key, standing),
        state: encode::run_state(&standing.state).into(),
        reason: standing.reason().map_or(pb::run::Reason::Unspecified, encode::reason).into(),
        message: message.chars().take(MESSAGE_CHARS_MAX).collect(),
        lateness: late.map(encode::duration),
    }
}

/// A line of a report.
const MESSAGE_CHARS_MAX: usize = 200;
