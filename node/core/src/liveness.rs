//! Whether a schedule does what it should, judged from the ledger alone: the same on every node that has applied as much.
//!
//! - *Overdue*: a run that has not begun its start grace after its scheduled time, or an instant that has no row by then.
//! - *Success missed*: two instants have come since the last success, and neither was one, though each had as long as the last
//!   success took, and the start grace. Counted by instants and not by a clock, so that a schedule of weekdays is not missed on a
//!   Sunday. Or, where the schedule says how long may pass: so long, and at least one instant.

use std::time::Duration;

use crate::ids::{RunId, ScheduleId, UnixMillis};
use crate::run::{Ending, Reason, Run, RunState, Series, Trigger};
use crate::schedule::Schedule;
use crate::state::State;

/// A begin later than this after its scheduled time is overdue, where the schedule does not say otherwise.
pub const START_GRACE: Duration = Duration::from_secs(5 * 60);

/// Rows of one schedule looked at for one judgement: a judgement must stay cheap, and what it wants stands at the front.
const LOOKED_AT_MAX: usize = 256;

/// What is wrong with a schedule; nothing, mostly.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Judgement {
    /// A start that is overdue, the one that is so for longest.
    pub overdue: Option<Overdue>,
    /// Since when a success is missed.
    pub success_missed_at: Option<UnixMillis>,
}

impl Judgement {
    /// Whether all is as it should be.
    pub fn is_well(&self) -> bool {
        self.overdue.is_none() && self.success_missed_at.is_none()
    }
}

/// A start that is overdue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Overdue {
    /// Since when.
    pub at: UnixMillis,
    /// The run that should have begun; none: there is no row yet.
    pub run: Option<RunId>,
}

/// Judges one schedule. Costs a look at a bounded number of rows, and at two or three of a schedule that is well.
pub fn judge(state: &State, id: ScheduleId, now: UnixMillis) -> Judgement {
    let Some(schedule) = state.schedule(id) else { return Judgement::default() };
    let liveness = &schedule.definition.liveness;
    if schedule.remains().deleted_at.is_some() || liveness.disabled {
        return Judgement::default();
    }
    let grace = liveness.start_grace.unwrap_or(START_GRACE);
    let paused = schedule.pause.as_ref().is_some_and(|pause| pause.holds(now));
    // A pause does not keep rows from being made.
    let no_row = schedule.next_fire_at.map(|next| Overdue { at: next.plus(grace), run: None });
    let waiting = if paused { None } else { waiting_longest(state, id, grace) };
    let overdue = no_row.into_iter().chain(waiting).filter(|overdue| overdue.at < now);
    Judgement {
        overdue: overdue.min_by_key(|overdue| overdue.at),
        success_missed_at: if paused { None } else { success_missed(state, schedule, grace, now) },
    }
}

/// The run that has waited longest for its first begin. What makes up for the past cannot be on time.
fn waiting_longest(state: &State, id: ScheduleId, grace: Duration) -> Option<Overdue> {
    let waits = |run: &&Run| {
        matches!(run.state, RunState::Due { .. })
            && run.attempt.0 == 0
            && !matches!(run.trigger, Trigger::Backfill(_) | Trigger::Resume)
    };
    let waiting = state.active_runs(id).take(LOOKED_AT_MAX).filter(waits);
    let waiting = waiting.map(|run| Overdue { at: wanted_at(run).plus(grace), run: Some(run.id) });
    waiting.min_by_key(|overdue| overdue.at)
}

/// When the first instant that a run stands for should have begun: behind a run that is stuck, the one that waits is always
/// new. Instants between are taken to be evenly spaced.
fn wanted_at(run: &Run) -> UnixMillis {
    let window = run.nominal_at.0.saturating_sub(run.window_start_at.0);
    let gap = window / (i64::from(run.merged_count) + 1);
    let merged = gap.saturating_mul(i64::from(run.merged_count));
    UnixMillis(run.scheduled_at.0.saturating_sub(merged))
}

fn success_missed(
    state: &State,
    schedule: &Schedule,
    grace: Duration,
    now: UnixMillis,
) -> Option<UnixMillis> {
    // Else nothing more will come.
    schedule.next_fire_at?;
    let last = schedule.counters.last_success.get();
    let since = last.map_or(schedule.created_at, |(_, at)| at);
    if now <= since.plus(grace) {
        return None;
    }
    let took = last
        .and_then(|(run, at)| Some(at.since(state.run(run)?.state.lease()?.begun_at)))
        .unwrap_or_default();
    let expected = |run: &&Run| {
        let unwanted = Ending::Skipped;
        let ending = run.state.ending();
        let is_unwanted = [Reason::Paused, Reason::Blackout, Reason::MaxRuns]
            .iter()
            .any(|why| ending == Some(unwanted(*why)));
        run.series() == Series::Timing && !is_unwanted
    };
    let after = UnixMillis(since.0.saturating_add(1));
    let mut instants = state.rows_from(schedule.id, after).take(LOOKED_AT_MAX).filter(expected);
    // A row that was made late has its time from then on.
    let deadline = |run: &Run| run.scheduled_at.plus(took).max(run.created_at).plus(grace);
    let first = instants.next()?;
    let missed_at = match schedule.definition.liveness.success_within {
        Some(within) => deadline(first).max(since.plus(within)),
        None => deadline(instants.next()?),
    };
    (missed_at < now).then_some(missed_at)
}
