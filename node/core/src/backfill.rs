//! A backfill: instants of a past range that are run after the fact, one at a time, each with a row of its own.

use crate::command::BackfillVerb;
use crate::ids::{BackfillId, ScheduleId, UnixMillis};
use crate::run::{Ending, Verdict};

/// A backfill and how far it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Backfill {
    /// Handle.
    pub id: BackfillId,
    /// Whose instants.
    pub schedule: ScheduleId,
    /// The range is [from_at, until_at).
    pub from_at: UnixMillis,
    /// See [`Backfill::from_at`].
    pub until_at: UnixMillis,
    /// Which instants of the range.
    pub mode: BackfillMode,
    /// Who asked for it, why and when.
    pub created: Verdict,
    /// Instants that were in the range then, by the timing of then.
    pub expected: u64,
    /// Instants up to here have been dealt with.
    pub cursor: UnixMillis,
    /// Where it is.
    pub state: BackfillState,
    /// What became of the instants so far.
    pub counts: BackfillCounts,
}

/// Which instants a backfill runs. The numbers are those of the wire.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BackfillMode {
    /// Those that never began and that no other run stands for.
    Missing = 1,
    /// All of them, also those that ran.
    Reprocess = 2,
}

/// Where a backfill is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BackfillState {
    /// It makes its rows.
    Running,
    /// It makes no further rows.
    Paused(Verdict),
    /// It was ended before its end.
    Cancelled(Verdict),
    /// Every instant of the range has been dealt with.
    Completed {
        /// When.
        at: UnixMillis,
    },
}

impl BackfillState {
    /// What somebody's word makes of it: of one that is over, nothing.
    pub fn after(&self, verb: BackfillVerb, verdict: Verdict) -> BackfillState {
        if self.has_ended() {
            return self.clone();
        }
        match verb {
            BackfillVerb::Pause => BackfillState::Paused(verdict),
            BackfillVerb::Resume => BackfillState::Running,
            BackfillVerb::Cancel => BackfillState::Cancelled(verdict),
        }
    }

    /// Whether it is over.
    pub fn has_ended(&self) -> bool {
        match self {
            BackfillState::Running | BackfillState::Paused(_) => false,
            BackfillState::Cancelled(_) | BackfillState::Completed { .. } => true,
        }
    }
}

/// See [`Backfill::counts`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct BackfillCounts {
    /// Rows made.
    pub created: u64,
    /// Instants left alone: the ledger says that they ran.
    pub present: u64,
    /// Rows that SUCCEEDED.
    pub succeeded: u64,
    /// Rows that are FAILED, TIMED_OUT or UNKNOWN.
    pub unsuccessful: u64,
    /// Rows that never ran.
    pub not_started: u64,
}

impl BackfillCounts {
    /// Counts how a row ended.
    pub(crate) fn count(&mut self, ending: &Ending) {
        match ending {
            Ending::Succeeded => self.succeeded += 1,
            Ending::Failed(_) | Ending::TimedOut | Ending::Unknown(_) => self.unsuccessful += 1,
            Ending::Skipped(_) | Ending::Merged { .. } | Ending::Expired | Ending::Cancelled(_) => {
                self.not_started += 1;
            }
        }
    }
}
