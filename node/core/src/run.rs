//! A run: one row of the ledger, and the total function that knows all of its moves.
//!
//! ```text
//!              ┌────── NotStarted (handed back) · Retry (failed, or lost under RETRY) ──────┐
//!              ▼                                                                            │
//!  created ─► DUE ──── Begin ───► RUNNING ──── Completed ──► SUCCEEDED │ FAILED │ TIMED_OUT │ CANCELLED
//!     │        │                     ├───────── LeaseLost ──► UNKNOWN ── late completion, Resolve ──┘
//!     │        │                     └───────── Fail ───────► FAILED
//!     │        └─ Merge ─► MERGED · Expire ─► EXPIRED · Cancel ─► CANCELLED · Skip ─► SKIPPED
//!     └─ SKIPPED
//! ```

use arcstr::ArcStr;
use bytes::Bytes;
use thiserror::Error;

use crate::ids::{AttemptNo, BackfillId, FencingToken, Generation, RunId, ScheduleId, UnixMillis};

/// A row of the ledger.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Run {
    /// Handle.
    pub id: RunId,
    /// Schedule it belongs to.
    pub schedule: ScheduleId,
    /// Generation of the schedule that made it.
    pub generation: Generation,
    /// The instant that the timing names: the run's identity within its schedule.
    pub nominal_at: UnixMillis,
    /// When it should begin: the nominal time and its spread.
    pub scheduled_at: UnixMillis,
    /// What made it.
    pub trigger: Trigger,
    /// Who triggered it by hand; empty otherwise.
    pub actor: ArcStr,
    /// When the row was made.
    pub created_at: UnixMillis,
    /// It stands for the instants in (window_start_at, nominal_at].
    pub window_start_at: UnixMillis,
    /// Number of older instants merged into it.
    pub merged_count: u32,
    /// Attempts begun so far.
    pub attempt: AttemptNo,
    /// Runs beside whatever else is running.
    pub beside: bool,
    /// Set once its cancellation was asked for.
    pub cancel: Option<Box<Cancellation>>,
    /// Set once an operator said what became of it.
    pub resolution: Option<Box<Verdict>>,
    /// Where it is.
    pub state: RunState,
}

impl Run {
    /// Why it is where it is, or why it began late.
    pub fn reason(&self) -> Option<Reason> {
        match &self.resolution {
            Some(_) => Some(Reason::Resolved),
            None => self.state.reason(),
        }
    }

    /// When it should begin, as lateness is counted: what makes up for the past is late only from when it was asked for.
    pub fn expected_at(&self) -> UnixMillis {
        match self.trigger {
            Trigger::Timer | Trigger::CatchUp | Trigger::Manual => self.scheduled_at,
            Trigger::Backfill(_) | Trigger::Resume => self.created_at,
        }
    }

    /// The earliest instant at which it may begin. One that is not spread may as soon as it is there, also by the clock of a
    /// leader that is behind that of the one before: its instant has come once.
    pub fn not_before(&self) -> UnixMillis {
        match &self.state {
            RunState::Due { retry: Some(retry), .. } => retry.not_before,
            RunState::Due { retry: None, .. } | RunState::Running(_) | RunState::Ended { .. } => {
                let is_spread = self.scheduled_at > self.nominal_at;
                if is_spread { self.scheduled_at } else { UnixMillis::default() }
            }
        }
    }

    /// Its part of its schedule's ledger.
    pub fn series(&self) -> Series {
        self.trigger.series()
    }
}

/// What somebody decided about a run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Verdict {
    /// Who.
    pub actor: ArcStr,
    /// In their words.
    pub reason: ArcStr,
    /// When.
    pub at: UnixMillis,
}

/// That a run shall end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cancellation {
    /// [`Reason::CancelRequested`] or [`Reason::Replaced`].
    pub cause: Reason,
    /// Who asked for it.
    pub verdict: Verdict,
}

/// Part of a schedule's ledger: within each, a nominal time is there once (RUN-1).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Series {
    /// Rows of the timing.
    Timing,
    /// Triggers by hand, and resumes.
    Manual,
    /// Rows of a backfill.
    Backfill(BackfillId),
}

impl Series {
    /// After every other.
    pub const LAST: Self = Self::Backfill(BackfillId(u64::MAX));
}

/// What made a run.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Trigger {
    /// The timing, on time.
    Timer,
    /// The timing, but the row was made late: Belfry was away at its instant.
    CatchUp,
    /// A person or a program.
    Manual,
    /// A backfill.
    Backfill(BackfillId),
    /// A resume, for the instants of the pause.
    Resume,
}

impl Trigger {
    /// The part of the ledger that runs of this trigger belong to.
    pub fn series(self) -> Series {
        match self {
            Trigger::Timer | Trigger::CatchUp => Series::Timing,
            Trigger::Manual | Trigger::Resume => Series::Manual,
            Trigger::Backfill(id) => Series::Backfill(id),
        }
    }
}

/// Why a run is where it is, or why it began late. The numbers are those of the wire.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Reason {
    /// The previous run was still running.
    Overlap = 1,
    /// The schedule was paused.
    Paused = 2,
    /// Belfry was away at its instant.
    CatchUp = 3,
    /// No executor took it in time.
    NoExecutor = 4,
    /// The executor was silent for longer than the lease.
    LeaseLost = 5,
    /// The executor did not end the attempt within its timeout.
    AttemptTimeout = 6,
    /// The start deadline passed.
    StartDeadline = 7,
    /// The schedule was deleted.
    ScheduleDeleted = 8,
    /// A freeze calendar covered its instant.
    Blackout = 9,
    /// Missed, and the misfire policy does not make up for it.
    Misfire = 10,
    /// As many runs waited as may.
    BufferFull = 11,
    /// Somebody cancelled it.
    CancelRequested = 12,
    /// A newer instant took its place.
    Replaced = 13,
    /// The former attempt failed.
    RetryBackoff = 14,
    /// The schedule has begun as many runs as it may.
    MaxRuns = 15,
    /// An operator said what became of it.
    Resolved = 16,
    /// Its backfill was cancelled.
    BackfillCancelled = 17,
    /// The cluster was restored from a snapshot, and the former one may have run it.
    Restored = 18,
}

/// Where a run is. Each state carries exactly the data that it has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RunState {
    /// Waiting to begin: proven not started.
    Due {
        /// The first thing that kept it from being offered, if anything did.
        held: Option<Reason>,
        /// Set after an attempt that did not succeed and will be followed by another.
        retry: Option<Retrying>,
    },
    /// An executor holds the lease.
    Running(Lease),
    /// It is over.
    Ended {
        /// How.
        ending: Ending,
        /// When.
        at: UnixMillis,
        /// Its last lease, if it ever began.
        lease: Option<Lease>,
    },
}

/// A run between two attempts.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Retrying {
    /// The next attempt may begin then.
    pub not_before: UnixMillis,
    /// The former attempt.
    pub lease: Lease,
    /// What became of it: [`Reason::RetryBackoff`] if its executor reported a failure, else why it was lost.
    pub cause: Reason,
}

/// The committed right of one executor to execute one attempt.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lease {
    /// Id of the executor process.
    pub executor: ArcStr,
    /// Greater than every token handed out before.
    pub token: FencingToken,
    /// When the begin was committed, by the leader's clock.
    pub begun_at: UnixMillis,
    /// Why it began late, if it did.
    pub late: Option<Reason>,
}

/// How a run ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Ending {
    /// The executor reported success.
    Succeeded,
    /// The executor reported failure, or something else is as good as one.
    Failed(Option<Reason>),
    /// The executor killed it at its timeout.
    TimedOut,
    /// It may have run: nobody can say.
    Unknown(Reason),
    /// Never started, by policy.
    Skipped(Reason),
    /// Never started: a newer run stands for it.
    Merged {
        /// That run.
        into: RunId,
        /// Why it had not begun.
        reason: Reason,
    },
    /// Never started: its start deadline passed.
    Expired,
    /// Never started: taken back.
    Cancelled(Reason),
}

impl Ending {
    /// The state's name as users see it.
    pub fn name(&self) -> &'static str {
        Census::NAMES[self.ordinal()]
    }

    fn ordinal(&self) -> usize {
        match self {
            Ending::Succeeded => 2,
            Ending::Failed(_) => 3,
            Ending::TimedOut => 4,
            Ending::Unknown(_) => 5,
            Ending::Skipped(_) => 6,
            Ending::Merged { .. } => 7,
            Ending::Expired => 8,
            Ending::Cancelled(_) => 9,
        }
    }
}

/// Number of runs by the name of their state.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Census([u64; 10]);

impl Census {
    /// The names of all states.
    const NAMES: [&'static str; 10] = [
        "DUE",
        "RUNNING",
        "SUCCEEDED",
        "FAILED",
        "TIMED_OUT",
        "UNKNOWN",
        "SKIPPED",
        "MERGED",
        "EXPIRED",
        "CANCELLED",
    ];

    /// Runs in the state of this name.
    pub fn get(&self, name: &str) -> u64 {
        self.iter().find(|(state, _)| *state == name).map_or(0, |(_, count)| count)
    }

    /// Every state by its name, in the order of a run's life.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        Self::NAMES.into_iter().zip(self.0)
    }

    pub(crate) fn add(&mut self, state: &RunState) {
        self.0[state.ordinal()] += 1;
    }

    pub(crate) fn take_away(&mut self, state: &RunState) {
        self.0[state.ordinal()] -= 1;
    }
}

/// What an executor reports of an attempt.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AttemptResult {
    /// User code succeeded.
    Succeeded,
    /// User code failed.
    Failed,
    /// Killed at the attempt timeout.
    TimedOut,
    /// User code did not begin: the lease is handed back.
    NotStarted,
    /// It ended because it was told to.
    Cancelled,
}

/// What can happen to a run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RunEvent {
    /// Something keeps it from being offered.
    Hold(Reason),
    /// An executor takes the lease.
    Begin(Lease),
    /// The executor with this token reports.
    Complete(FencingToken, AttemptResult),
    /// The executor with this token reports that it ended the attempt because it was told to.
    CompleteCancelled(FencingToken, Reason),
    /// The attempt with this token did not succeed; another may follow from this instant on.
    Retry(FencingToken, UnixMillis, Reason),
    /// The executor with this token vanished, or overran its timeout.
    LoseLease(FencingToken, Reason),
    /// Likewise, and that counts as a failure.
    Fail(FencingToken, Reason),
    /// An operator says what became of it.
    Resolve(Resolution),
    /// A newer run takes its place.
    Merge(RunId),
    /// Its start deadline passed.
    Expire,
    /// It is taken back.
    Cancel(Reason),
    /// It is not run, by policy.
    Skip(Reason),
}

/// What an operator knows of an UNKNOWN run. The numbers are those of the wire.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Resolution {
    /// It did its work.
    Succeeded = 1,
    /// It ran and did not do its work.
    Failed = 2,
    /// It did nothing at all.
    DidNotRun = 3,
}

/// A move that does not exist: the row stays as it is.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("a run that is {from} cannot {event}")]
pub struct IllegalTransition {
    /// State it is in.
    pub from: &'static str,
    /// What was asked of it.
    pub event: &'static str,
}

impl RunState {
    /// The state after `event` at `now`, or why that event cannot happen here (RUN-4).
    pub fn after(&self, event: &RunEvent, now: UnixMillis) -> Result<RunState, IllegalTransition> {
        let ended = |ending, lease| RunState::Ended { ending, at: now, lease };
        match (self, event) {
            (RunState::Due { held, retry }, RunEvent::Hold(reason)) => {
                Ok(RunState::Due { held: held.or(Some(*reason)), retry: retry.clone() })
            }
            (RunState::Due { .. }, RunEvent::Begin(lease)) => Ok(RunState::Running(lease.clone())),
            (RunState::Due { held, retry: None }, RunEvent::Merge(into)) => {
                let reason = held.unwrap_or(Reason::NoExecutor);
                Ok(ended(Ending::Merged { into: *into, reason }, None))
            }
            (RunState::Due { retry: None, .. }, RunEvent::Expire) => Ok(ended(Ending::Expired, None)),
            (RunState::Due { retry: None, .. }, RunEvent::Skip(reason)) => {
                Ok(ended(Ending::Skipped(*reason), None))
            }
            (RunState::Due { retry, .. }, RunEvent::Cancel(reason)) => {
                let lease = retry.as_ref().map(|retry| retry.lease.clone());
                Ok(ended(Ending::Cancelled(*reason), lease))
            }
            // Its executor was believed lost, and knows best, as long as nobody else has begun.
            (RunState::Due { retry: Some(retry), .. }, RunEvent::Complete(token, result))
                if retry.is_lost() && retry.lease.token == *token =>
            {
                match settled(*result) {
                    Some(ending) => Ok(ended(ending, Some(retry.lease.clone()))),
                    None => Err(IllegalTransition { from: self.name(), event: event.name() }),
                }
            }

            // Or says that it failed, which is as good a reason for the attempt that is on its way.
            (RunState::Due { held, retry: Some(retry) }, RunEvent::Retry(token, _, cause))
                if retry.is_lost() && retry.lease.token == *token =>
            {
                Ok(RunState::Due { held: *held, retry: Some(Retrying { cause: *cause, ..retry.clone() }) })
            }

            (RunState::Running(lease), RunEvent::Complete(token, result)) if lease.token == *token => {
                Ok(match settled(*result) {
                    Some(ending) => ended(ending, Some(lease.clone())),
                    None => RunState::Due { held: Some(Reason::NoExecutor), retry: None },
                })
            }
            (RunState::Running(lease), RunEvent::CompleteCancelled(token, reason))
                if lease.token == *token =>
            {
                Ok(ended(Ending::Cancelled(*reason), Some(lease.clone())))
            }
            (RunState::Running(lease), RunEvent::Retry(token, not_before, cause))
                if lease.token == *token =>
            {
                let retry = Retrying { not_before: *not_before, lease: lease.clone(), cause: *cause };
                Ok(RunState::Due { held: Some(*cause), retry: Some(retry) })
            }
            (RunState::Running(lease), RunEvent::LoseLease(token, reason)) if lease.token == *token => {
                Ok(ended(Ending::Unknown(*reason), Some(lease.clone())))
            }
            (RunState::Running(lease), RunEvent::Fail(token, reason)) if lease.token == *token => {
                Ok(ended(Ending::Failed(Some(*reason)), Some(lease.clone())))
            }

            // The executor came back after its lease was lost, with the right token: it knows best. A late hand-back
            // proves that nothing ran; by then the next instant has gone on, so the row ends as skipped.
            (
                RunState::Ended { ending: Ending::Unknown(reason), lease: Some(lease), .. },
                RunEvent::Complete(token, result),
            ) if lease.token == *token => {
                Ok(ended(settled(*result).unwrap_or(Ending::Skipped(*reason)), Some(lease.clone())))
            }
            (
                RunState::Ended { ending: Ending::Unknown(_), lease: Some(lease), .. },
                RunEvent::CompleteCancelled(token, reason),
            ) if lease.token == *token => Ok(ended(Ending::Cancelled(*reason), Some(lease.clone()))),
            (RunState::Ended { ending: Ending::Unknown(_), lease, .. }, RunEvent::Resolve(resolution)) => {
                let ending = match resolution {
                    Resolution::Succeeded => Ending::Succeeded,
                    Resolution::Failed => Ending::Failed(Some(Reason::Resolved)),
                    Resolution::DidNotRun => Ending::Skipped(Reason::Resolved),
                };
                Ok(ended(ending, lease.clone()))
            }

            (from, event) => Err(IllegalTransition { from: from.name(), event: event.name() }),
        }
    }

    /// The state's name as users see it.
    pub fn name(&self) -> &'static str {
        Census::NAMES[self.ordinal()]
    }

    /// Its place in [`Census::NAMES`].
    fn ordinal(&self) -> usize {
        match self {
            RunState::Due { .. } => 0,
            RunState::Running(_) => 1,
            RunState::Ended { ending, .. } => ending.ordinal(),
        }
    }

    /// Why it is where it is, or why it began late.
    pub fn reason(&self) -> Option<Reason> {
        match self {
            RunState::Due { held, .. } => *held,
            RunState::Running(lease) => lease.late,
            RunState::Ended { ending, lease, .. } => match ending {
                Ending::Unknown(reason) | Ending::Skipped(reason) | Ending::Cancelled(reason) => {
                    Some(*reason)
                }
                Ending::Merged { reason, .. } => Some(*reason),
                Ending::Expired => Some(Reason::StartDeadline),
                Ending::Failed(Some(reason)) => Some(*reason),
                Ending::Succeeded | Ending::Failed(None) | Ending::TimedOut => {
                    lease.as_ref().and_then(|l| l.late)
                }
            },
        }
    }

    /// The lease it has or had.
    pub fn lease(&self) -> Option<&Lease> {
        match self {
            RunState::Due { retry, .. } => retry.as_ref().map(|retry| &retry.lease),
            RunState::Running(lease) => Some(lease),
            RunState::Ended { lease, .. } => lease.as_ref(),
        }
    }

    /// How it ended, if it did.
    pub fn ending(&self) -> Option<Ending> {
        match self {
            RunState::Ended { ending, .. } => Some(*ending),
            RunState::Due { .. } | RunState::Running(_) => None,
        }
    }

    /// When it ended, if it did.
    pub fn ended_at(&self) -> Option<UnixMillis> {
        match self {
            RunState::Ended { at, .. } => Some(*at),
            RunState::Due { .. } | RunState::Running(_) => None,
        }
    }
}

/// The ending that a report stands for; none for a lease that was handed back.
fn settled(result: AttemptResult) -> Option<Ending> {
    match result {
        AttemptResult::Succeeded => Some(Ending::Succeeded),
        // Told to end by nobody that we know of: it did not do its work.
        AttemptResult::Failed | AttemptResult::Cancelled => Some(Ending::Failed(None)),
        AttemptResult::TimedOut => Some(Ending::TimedOut),
        AttemptResult::NotStarted => None,
    }
}

impl Retrying {
    /// Whether nobody said what became of the former attempt.
    pub fn is_lost(&self) -> bool {
        matches!(self.cause, Reason::LeaseLost | Reason::AttemptTimeout)
    }
}

impl RunEvent {
    /// The event as a verb, for messages.
    pub fn name(&self) -> &'static str {
        match self {
            RunEvent::Hold(_) => "be held",
            RunEvent::Begin(_) => "begin",
            RunEvent::Complete(..) | RunEvent::CompleteCancelled(..) => "complete",
            RunEvent::Retry(..) => "be retried",
            RunEvent::Fail(..) => "fail",
            RunEvent::Resolve(_) => "be resolved",
            RunEvent::Skip(_) => "be skipped",
            RunEvent::LoseLease(..) => "lose its lease",
            RunEvent::Merge(_) => "be merged",
            RunEvent::Expire => "expire",
            RunEvent::Cancel(_) => "be cancelled",
        }
    }
}

impl Reason {
    /// The reason of a number on the wire.
    pub fn from_number(number: u32) -> Option<Reason> {
        [
            Reason::Overlap,
            Reason::Paused,
            Reason::CatchUp,
            Reason::NoExecutor,
            Reason::LeaseLost,
            Reason::AttemptTimeout,
            Reason::StartDeadline,
            Reason::ScheduleDeleted,
            Reason::Blackout,
            Reason::Misfire,
            Reason::BufferFull,
            Reason::CancelRequested,
            Reason::Replaced,
            Reason::RetryBackoff,
            Reason::MaxRuns,
            Reason::Resolved,
            Reason::BackfillCancelled,
            Reason::Restored,
        ]
        .into_iter()
        .find(|reason| *reason as u32 == number)
    }
}

/// What an executor said of a run beyond its result.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Report {
    /// Exit code of a command, status code of an HTTP request.
    pub exit_code: Option<i32>,
    /// One line: what went wrong.
    pub message: String,
    /// The tail of what it wrote.
    pub output_tail: Bytes,
}

impl Report {
    /// Whether there is anything worth keeping.
    pub fn is_empty(&self) -> bool {
        self.exit_code.is_none() && self.message.is_empty() && self.output_tail.is_empty()
    }

    /// Bytes that it takes, roughly.
    pub fn weight_bytes(&self) -> u64 {
        (self.message.len() + self.output_tail.len()) as u64 + 32
    }

    /// The same, to be kept: its output is a copy of its own, where before it may have been a part of an entry of the log or of a stored
    /// block, which would be kept whole for it.
    #[must_use]
    pub fn detached(self) -> Self {
        Self { output_tail: Bytes::copy_from_slice(&self.output_tail), ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_that_is_kept_does_not_keep_what_it_came_in() {
        let entry = Bytes::from(vec![7; 1000]);
        let report = Report { output_tail: entry.slice(10..20), ..Report::default() };
        let kept = report.clone().detached();
        assert_eq!(kept, report);
        drop(report);
        assert!(entry.is_unique());
    }
}
