//! The scheduler as a pure function of its log.
//!
//! [`State::apply`] takes one committed [`Command`] and gives back what became of it. Nothing here reads a clock, a
//! disk, a socket, a time zone or a random number: whatever is looked up outside is a field of the command, chosen by
//! its proposer. That is what makes every replica the same (APPLY-1) and every test a list of commands.
//!
//! ```text
//!            Command ──► State::apply ──► Applied { outcome | rejection, effects }
//!          (the log)      (this crate)            │             └─ carried out by the leader alone
//!                                                 └─ the answer to whoever proposed it
//! ```
//!
//! Invariants kept here (the ids are repeated by assertions and tests):
//! - RUN-1: one row per (schedule, nominal time).
//! - RUN-2: at most one lease per row, except by an explicit retry policy.
//! - RUN-3: fencing tokens strictly increase.
//! - RUN-4: rows move only along [`run::RunState::after`]; ended rows never change, except UNKNOWN by a late completion
//!   with the right token or by an operator.
//! - LEDGER-1: every instant up to a schedule's watermark has its row.
//! - LEDGER-2: pausing and editing create no start and lose no instant.
//! - APPLY-1: same log, same state.

pub mod backfill;
pub mod command;
pub mod definition;
pub mod digest;
pub mod ids;
pub mod ledger;
pub mod liveness;
pub mod object;
pub mod retention;
pub mod run;
pub mod schedule;
pub mod state;

pub use command::{Action, Applied, Changes, Command, Effect, Outcome, Rejection};
pub use definition::Definition;
pub use ids::{
    AttemptNo, BackfillId, DrawnId, FencingToken, Generation, LogPosition, ObjectId, Revision, RunId,
    ScheduleId, ScheduleKey, UnixMillis,
};
pub use run::{Run, RunState};
pub use schedule::Schedule;
pub use state::State;

/// The newest feature level that this build understands.
///
/// A command kind of a later level is proposed only once every member of the cluster understands it; the level in force
/// is part of the replicated state.
///
/// - 1: the first release.
/// - 2: the full model of schedules: unions, calendars, spread, all policies, retries, cancellation, backfills.
/// - 3: states that were restored from a snapshot.
/// - 4: blocks of checkpoints and snapshots are compressed.
/// - 5: several commands in one log entry.
pub const FEATURE_LEVEL: u32 = 5;
