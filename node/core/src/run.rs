//! A run: one row of the ledger, and the total function that knows all of its moves.
//!
//! ```text
//!              ┌────────────── NotStarted (handed back) ────────────┐
//!              ▼                                                    │
//!  created ─► DUE ──── Begin ───► RUNNING ──── Completed ──► SUCCEEDED │ FAILED │ TIMED_OUT
//!     │        │                     └───────── LeaseLost ──► UNKNOWN ── late completion ──┘
//!     │        └─ Merge ─► MERGED · Expire ─► EXPIRED · Cancel ─► CANCELLED
//!     └─ SKIPPED
//! ```

use std::sync::Arc;

use bytes::Bytes;
use thiserror::Error;

use crate::ids::{AttemptNo, FencingToken, Generation, RunId, ScheduleId, UnixMillis};

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
    /// What made it.
    pub trigger: Trigger,
    /// Who triggered it by hand; empty otherwise.
    pub actor: Arc<str>,
    /// When the row was made.
    pub created_at: UnixMillis,
    /// It stands for the instants in (window_start_at, nominal_at].
    pub window_start_at: UnixMillis,
    /// Number of older instants merged into it.
    pub merged_count: u32,
    /// Attempts begun so far.
    pub attempt: AttemptNo,
    /// Where it is.
    pub state: RunState,
}

impl Run {
    /// When it should begin.
    pub fn scheduled_at(&self) -> UnixMillis {
        self.nominal_at
    }
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
}

/// Where a run is. Each state carries exactly the data that it has.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum RunState {
    /// Waiting to begin: proven not started.
    Due {
        /// The first thing that kept it from being offered, if anything did.
        held: Option<Reason>,
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

/// The committed right of one executor to execute one attempt.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Lease {
    /// Id of the executor process.
    pub executor: Arc<str>,
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
    /// The executor reported failure.
    Failed,
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
        match self {
            Ending::Succeeded => "SUCCEEDED",
            Ending::Failed => "FAILED",
            Ending::TimedOut => "TIMED_OUT",
            Ending::Unknown(_) => "UNKNOWN",
            Ending::Skipped(_) => "SKIPPED",
            Ending::Merged { .. } => "MERGED",
            Ending::Expired => "EXPIRED",
            Ending::Cancelled(_) => "CANCELLED",
        }
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
    /// The executor with this token vanished, or overran its timeout.
    LoseLease(FencingToken, Reason),
    /// A newer run takes its place.
    Merge(RunId),
    /// Its start deadline passed.
    Expire,
    /// It is taken back.
    Cancel(Reason),
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
            (RunState::Due { held }, RunEvent::Hold(reason)) => {
                Ok(RunState::Due { held: held.or(Some(*reason)) })
            }
            (RunState::Due { .. }, RunEvent::Begin(lease)) => Ok(RunState::Running(lease.clone())),
            (RunState::Due { held }, RunEvent::Merge(into)) => {
                let reason = held.unwrap_or(Reason::NoExecutor);
                Ok(ended(Ending::Merged { into: *into, reason }, None))
            }
            (RunState::Due { .. }, RunEvent::Expire) => Ok(ended(Ending::Expired, None)),
            (RunState::Due { .. }, RunEvent::Cancel(reason)) => Ok(ended(Ending::Cancelled(*reason), None)),

            (RunState::Running(lease), RunEvent::Complete(token, result)) if lease.token == *token => {
                Ok(match settled(*result) {
                    Some(ending) => ended(ending, Some(lease.clone())),
                    None => RunState::Due { held: Some(Reason::NoExecutor) },
                })
            }
            (RunState::Running(lease), RunEvent::LoseLease(token, reason)) if lease.token == *token => {
                Ok(ended(Ending::Unknown(*reason), Some(lease.clone())))
            }

            // The executor came back after its lease was lost, with the right token: it knows best. A late hand-back
            // proves that nothing ran; by then the next instant has gone on, so the row ends as skipped.
            (
                RunState::Ended { ending: Ending::Unknown(reason), lease: Some(lease), .. },
                RunEvent::Complete(token, result),
            ) if lease.token == *token => {
                Ok(ended(settled(*result).unwrap_or(Ending::Skipped(*reason)), Some(lease.clone())))
            }

            (from, event) => Err(IllegalTransition { from: from.name(), event: event.name() }),
        }
    }

    /// The state's name as users see it.
    pub fn name(&self) -> &'static str {
        match self {
            RunState::Due { .. } => "DUE",
            RunState::Running(_) => "RUNNING",
            RunState::Ended { ending, .. } => ending.name(),
        }
    }

    /// Why it is where it is, or why it began late.
    pub fn reason(&self) -> Option<Reason> {
        match self {
            RunState::Due { held } => *held,
            RunState::Running(lease) => lease.late,
            RunState::Ended { ending, lease, .. } => match ending {
                Ending::Unknown(reason) | Ending::Skipped(reason) | Ending::Cancelled(reason) => {
                    Some(*reason)
                }
                Ending::Merged { reason, .. } => Some(*reason),
                Ending::Expired => Some(Reason::StartDeadline),
                Ending::Succeeded | Ending::Failed | Ending::TimedOut => lease.as_ref().and_then(|l| l.late),
            },
        }
    }

    /// The lease it has or had.
    pub fn lease(&self) -> Option<&Lease> {
        match self {
            RunState::Due { .. } => None,
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
        AttemptResult::Failed => Some(Ending::Failed),
        AttemptResult::TimedOut => Some(Ending::TimedOut),
        AttemptResult::NotStarted => None,
    }
}

impl RunEvent {
    /// The event as a verb, for messages.
    pub fn name(&self) -> &'static str {
        match self {
            RunEvent::Hold(_) => "be held",
            RunEvent::Begin(_) => "begin",
            RunEvent::Complete(..) => "complete",
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
}
