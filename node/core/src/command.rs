//! What goes into the state machine and what comes out.

use std::sync::Arc;
use std::time::Duration;

use arcstr::ArcStr;
use thiserror::Error;

use crate::definition::Definition;
use crate::ids::{
    AttemptNo, BackfillId, DrawnId, FencingToken, Generation, Revision, RunId, ScheduleId, ScheduleKey,
    UnixMillis,
};
use crate::object::{Declared, Object, ObjectName};
use crate::run::{AttemptResult, Ending, Reason, Report, Resolution, Run};
use crate::schedule::{Pause, Schedule};
use crate::state::{BackfillRequest, LastInstants, LastPart};

/// One log entry's meaning.
#[derive(Clone, PartialEq, Debug)]
pub struct Command {
    /// The proposer's wall clock.
    pub now: UnixMillis,
    /// Set by clients that want to retry safely.
    pub request: Option<RequestKey>,
    /// What to do.
    pub action: Action,
}

/// Identity of a client's request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RequestKey {
    /// Chosen by the client.
    pub id: DrawnId,
    /// Hash of the request: the same id with another request is refused.
    pub fingerprint: u64,
}

/// What a command does.
#[derive(Clone, PartialEq, Debug)]
pub enum Action {
    /// Adds a schedule.
    CreateSchedule {
        /// Its name.
        key: ScheduleKey,
        /// Public identity, never used before.
        uid: DrawnId,
        /// What the user declared.
        definition: Arc<Definition>,
        /// First instant after `now`.
        next_fire_at: Option<UnixMillis>,
        /// The revision of the calendar that changed last of those that it was computed with.
        calendars: Revision,
        /// Created paused, so that nothing can fire before somebody has looked at it.
        pause: Option<Pause>,
    },
    /// Replaces a schedule's definition.
    UpdateSchedule {
        /// Its name.
        key: ScheduleKey,
        /// Refuse unless this is its revision.
        expected: Option<Revision>,
        /// What the user declares from now on.
        definition: Arc<Definition>,
        /// What that does to its next instant.
        retime: Retime,
        /// As in `CreateSchedule`.
        calendars: Revision,
    },
    /// Removes a schedule; its rows stay.
    DeleteSchedule {
        /// Its name.
        key: ScheduleKey,
        /// Refuse unless this is its revision.
        expected: Option<Revision>,
    },
    /// Stops a schedule from starting anything by itself.
    PauseSchedule {
        /// Its name.
        key: ScheduleKey,
        /// Refuse unless this is its revision.
        expected: Option<Revision>,
        /// For whoever finds it paused.
        reason: String,
        /// Who did it.
        actor: String,
        /// It ends by itself then.
        until: Option<UnixMillis>,
    },
    /// Ends a pause.
    ResumeSchedule {
        /// Its name.
        key: ScheduleKey,
        /// Refuse unless this is its revision.
        expected: Option<Revision>,
        /// What becomes of the instants inside it.
        missed: ResumeMissed,
        /// Who did it.
        actor: ArcStr,
    },
    /// Ends pauses whose time is up.
    EndPauses(Vec<ScheduleId>),
    /// Makes one run, now.
    TriggerSchedule {
        /// Its name.
        key: ScheduleKey,
        /// Who did it.
        actor: ArcStr,
        /// What it does when something of the schedule is running already.
        overlap: TriggerOverlap,
    },
    /// Ends a run, or has its executor end it.
    CancelRun {
        /// Which.
        run: RunId,
        /// Who did it.
        actor: ArcStr,
        /// Why.
        reason: ArcStr,
    },
    /// Says what became of an UNKNOWN run.
    ResolveRun {
        /// Which.
        run: RunId,
        /// What became of it.
        resolution: Resolution,
        /// Who says so.
        actor: ArcStr,
        /// How they know.
        reason: ArcStr,
    },
    /// Makes a calendar, pool or namespace, or replaces it.
    PutObject {
        /// What a user declares.
        declared: Declared,
        /// Refuse unless this is its revision.
        expected: Option<Revision>,
    },
    /// Removes one that nothing refers to.
    DeleteObject {
        /// Which.
        name: ObjectName,
        /// Refuse unless this is its revision.
        expected: Option<Revision>,
    },
    /// Moves the next instants of schedules whose calendars changed.
    Retime(Vec<Retimed>),
    /// Moves next instants to where newer time-zone data puts them.
    Rezone {
        /// Of the data.
        version: String,
        /// What moves.
        rezoned: Vec<Rezoned>,
        /// Whether every schedule has been looked at.
        last: LastPart,
    },
    /// Begins a backfill.
    CreateBackfill {
        /// Of which schedule.
        key: ScheduleKey,
        /// What is asked for.
        request: BackfillRequest,
    },
    /// Makes the row of a backfill's next instant.
    AdvanceBackfill {
        /// Which.
        backfill: BackfillId,
        /// The instants of the timing after its cursor.
        instants: Vec<UnixMillis>,
        /// Whether the range has no more of them.
        last: LastInstants,
    },
    /// Pauses, resumes or cancels a backfill.
    ControlBackfill {
        /// Which.
        backfill: BackfillId,
        /// What to do.
        verb: BackfillVerb,
        /// Who does it.
        actor: ArcStr,
        /// Why.
        reason: ArcStr,
    },
    /// Makes the rows of instants that have come.
    Fire(Vec<FireGroup>),
    /// Gives leases.
    Begin(Vec<BeginGroup>),
    /// Ends attempts.
    Complete(Vec<Completion>),
    /// Gives up on executors that vanished.
    ExpireLeases(Vec<LeaseLoss>),
    /// Ends due runs whose start deadline has passed.
    ExpireStarts(Vec<RunId>),
    /// Drops rows, reports and answers that retention no longer keeps.
    Prune(Prune),
    /// Lets commands of a higher level be proposed from here on.
    RaiseFeatureLevel(u32),
}

impl Action {
    /// The one schedule that this makes, replaces or deletes; none for what does anything else. Those about different ones may stand
    /// in one log entry; two changes of one would get the same revision there.
    pub fn edited(&self) -> Option<&ScheduleKey> {
        match self {
            Action::CreateSchedule { key, .. }
            | Action::UpdateSchedule { key, .. }
            | Action::DeleteSchedule { key, .. } => Some(key),
            Action::PauseSchedule { .. }
            | Action::ResumeSchedule { .. }
            | Action::EndPauses(_)
            | Action::TriggerSchedule { .. }
            | Action::CancelRun { .. }
            | Action::ResolveRun { .. }
            | Action::PutObject { .. }
            | Action::DeleteObject { .. }
            | Action::Retime(_)
            | Action::Rezone { .. }
            | Action::CreateBackfill { .. }
            | Action::AdvanceBackfill { .. }
            | Action::ControlBackfill { .. }
            | Action::Fire(_)
            | Action::Begin(_)
            | Action::Complete(_)
            | Action::ExpireLeases(_)
            | Action::ExpireStarts(_)
            | Action::Prune(_)
            | Action::RaiseFeatureLevel(_) => None,
        }
    }
}

/// The next instant of a schedule, computed with its calendars as they are now.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Retimed {
    /// Which schedule.
    pub schedule: ScheduleId,
    /// Whose timing it was computed from.
    pub generation: Generation,
    /// The revision of the calendar that changed last of those that it was computed with.
    pub calendars: Revision,
    /// The first instant after the watermark and the change.
    pub next_fire_at: Option<UnixMillis>,
}

/// The next instant of a schedule by newer time-zone data.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rezoned {
    /// Which schedule.
    pub schedule: ScheduleId,
    /// Whose timing it was computed from.
    pub generation: Generation,
    /// Its next instant so far: it counts only if it still is.
    pub former: UnixMillis,
    /// The one by the newer data.
    pub next_fire_at: Option<UnixMillis>,
}

/// What to do with a backfill. The numbers are those of the wire.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BackfillVerb {
    /// Make no further rows.
    Pause = 1,
    /// Go on.
    Resume = 2,
    /// End it; the row that is running goes on.
    Cancel = 3,
}

/// What becomes of the instants inside a pause.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum ResumeMissed {
    /// Nothing more: they are SKIPPED.
    #[default]
    Skip,
    /// One run stands for all of them.
    Coalesce,
    /// A backfill runs them, one at a time.
    FireAll {
        /// From this instant on: as far back as the proposer finds right.
        from_at: UnixMillis,
        /// How many that are.
        expected: u64,
    },
}

/// What a trigger does when something of its schedule is running. The numbers are those of the wire.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum TriggerOverlap {
    /// It waits, and goes before the runs of the timing.
    #[default]
    Wait = 1,
    /// It begins beside it.
    Allow = 2,
    /// It is refused.
    Refuse = 3,
}

/// What an edit does to the next instant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Retime {
    /// The timing did not change.
    Keep,
    /// The first instant by the new timing after both `now` and the schedule's watermark.
    From(Option<UnixMillis>),
}

/// Schedules that are due at the same instant.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FireGroup {
    /// That instant.
    pub nominal_at: UnixMillis,
    /// The schedules.
    pub fires: Vec<Fire>,
}

/// One schedule's fire. It counts only if the schedule's next instant is still this one and its generation too: a second
/// leader, a retry or a replay cannot make the same run twice (RUN-1).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Fire {
    /// Which schedule.
    pub schedule: ScheduleId,
    /// Whose timing `next_fire_at` was computed from.
    pub generation: Generation,
    /// The instant after this one.
    pub next_fire_at: Option<UnixMillis>,
    /// So long after its nominal time the run is scheduled.
    pub spread_for: Duration,
    /// Whether a freeze calendar covers the instant.
    pub freeze: Freeze,
}

/// See [`Fire::freeze`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Freeze {
    /// No.
    #[default]
    Open,
    /// Yes: its row is SKIPPED.
    Frozen,
}

impl Fire {
    /// A fire at its nominal time.
    pub fn new(schedule: ScheduleId, generation: Generation, next_fire_at: Option<UnixMillis>) -> Self {
        Self { schedule, generation, next_fire_at, spread_for: Duration::ZERO, freeze: Freeze::Open }
    }

    /// Whether it says no more than [`Fire::new`] takes.
    pub fn is_plain(&self) -> bool {
        self.spread_for.is_zero() && self.freeze == Freeze::Open
    }
}

/// Begins asked for by one executor.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BeginGroup {
    /// Id of the executor process.
    pub executor: ArcStr,
    /// What it wants to begin.
    pub begins: Vec<Begin>,
}

/// A begin asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Begin {
    /// Which run.
    pub run: RunId,
    /// Which attempt: makes asking again harmless.
    pub attempt: AttemptNo,
}

/// The end of an attempt.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Completion {
    /// Which run.
    pub run: RunId,
    /// The token that its begin was answered with.
    pub token: FencingToken,
    /// How it went.
    pub result: AttemptResult,
    /// Whether the executor thinks that trying again may help.
    pub retryable: Retryable,
    /// What else there is to say.
    pub report: Report,
}

/// See [`Completion::retryable`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Retryable {
    /// It may.
    #[default]
    Perhaps,
    /// It is useless, whatever the policy.
    Never,
}

/// A lease whose executor vanished, or overran.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LeaseLoss {
    /// Which run.
    pub run: RunId,
    /// Which of its leases.
    pub token: FencingToken,
    /// Why.
    pub reason: Reason,
}

/// What retention lets go, chosen by [`crate::retention::select`].
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Prune {
    /// Rows; those that have not ended stay.
    pub runs: Vec<RunId>,
    /// Reports of rows that stay.
    pub reports: Vec<RunId>,
    /// Answers, by sequence.
    pub answers: Vec<u64>,
}

impl Prune {
    /// Whether there is nothing to let go.
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty() && self.reports.is_empty() && self.answers.is_empty()
    }
}

/// What became of a command.
#[derive(Clone, PartialEq, Debug)]
pub struct Applied {
    /// The answer to its proposer: the same on every node.
    pub outcome: Result<Outcome, Rejection>,
    /// What the leader should do now.
    pub effects: Vec<Effect>,
    /// What it changed, for those who watch.
    pub changes: Changes,
}

/// What a command changed. Names, not contents: whoever wants to know reads the state.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Changes {
    /// Rows that were made or changed; one may be named more than once. Rows that retention dropped are not.
    pub runs: Vec<RunId>,
    /// Schedules that were made, changed, paused, resumed or completed. What their runs do to counters and watermarks does
    /// not count.
    pub schedules: Vec<(ScheduleId, ScheduleChange)>,
    /// Schedules that were deleted: nothing of them may be left in the state.
    pub deleted: Vec<DeletedSchedule>,
}

/// What happened to a schedule.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ScheduleChange {
    /// It is new.
    Created,
    /// Something about it is.
    Changed,
}

/// What is left to tell of a schedule that was deleted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DeletedSchedule {
    /// The name that it had.
    pub key: ScheduleKey,
    /// Its public identity.
    pub uid: DrawnId,
    /// Its labels.
    pub labels: std::collections::BTreeMap<String, String>,
}

/// A command did what it says.
#[derive(Clone, PartialEq, Debug)]
pub enum Outcome {
    /// The schedule as it is now.
    Schedule(Box<Schedule>),
    /// A schedule was deleted.
    Deleted {
        /// As it was then.
        schedule: Box<Schedule>,
        /// Number of its runs that were CANCELLED: they waited to begin.
        cancelled: u32,
    },
    /// The run that was made.
    Run(Box<Run>),
    /// Of a fire.
    Fired(FireTally),
    /// Of begins, in the order they were asked for.
    Begun(Vec<BeginResult>),
    /// Of completions, in the order they were reported.
    Completed(Vec<CompletionResult>),
    /// Of leases that were lost: how their runs ended by it; none for one that waits to begin again.
    Lost(Vec<Option<Ending>>),
    /// Number of runs whose start expired, or of pauses that ended.
    Expired(u32),
    /// Number of records dropped.
    Pruned(u32),
    /// The feature level in force.
    FeatureLevel(u32),
    /// An object as it is now, or as it was when it was deleted.
    Object(Box<Object>),
    /// Number of schedules whose next instant moved.
    Retimed(u32),
    /// Number of rows that a backfill made.
    Advanced(u32),
    /// The object was deleted when this was asked for the first time, and there is nothing left to show of it.
    Gone,
}

/// What a fire did.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct FireTally {
    /// Rows made.
    pub created: u32,
    /// Of these, made late: Belfry was away at their instant.
    pub late: u32,
    /// Of these, SKIPPED.
    pub skipped: u32,
    /// Older rows that became MERGED.
    pub merged: u32,
    /// Fires that no longer applied: the schedule had moved on.
    pub stale: u32,
}

/// What became of one begin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum BeginResult {
    /// The lease is yours.
    Begun {
        /// The right to execute.
        token: FencingToken,
        /// Begun minus scheduled.
        lateness: Duration,
        /// Whether this answer is a repetition.
        again: bool,
    },
    /// Somebody else has it, or it is over, or not its turn: do not run.
    Refused,
}

/// What became of one completion.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CompletionResult {
    /// It is in the ledger.
    Accepted {
        /// How the run ended by it; none when it waits to begin again.
        ended: Option<Ending>,
    },
    /// It was in the ledger already.
    Repeated,
    /// An older token: final.
    Refused,
}

/// A command that changed nothing, for a reason that is equal on all nodes.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum Rejection {
    /// No such schedule.
    #[error("no schedule named {key}")]
    ScheduleNotFound {
        /// The name.
        key: ScheduleKey,
    },
    /// There is one already.
    #[error("a schedule named {key} already exists")]
    ScheduleExists {
        /// The name.
        key: ScheduleKey,
    },
    /// Somebody else changed it in between.
    #[error("{key} was changed in between: its etag is now {current}")]
    RevisionMismatch {
        /// The name.
        key: ScheduleKey,
        /// Its revision.
        current: Revision,
    },
    /// The request id was used for something else.
    #[error("request id {id} was already used for another request")]
    RequestIdReused {
        /// The id.
        id: DrawnId,
    },
    /// Instants before the change have no rows yet, or ones after it have them already: the ledger and the proposer do not
    /// agree on how far the schedule is. Once they do, this can be tried again with a next instant computed anew (LEDGER-2).
    #[error("{key} has instants that are due but not yet recorded: try again")]
    NotCaughtUp {
        /// The name.
        key: ScheduleKey,
    },
    /// More runs triggered by hand wait than one schedule may have.
    #[error("{key} has {waiting} triggered runs waiting already")]
    TooManyWaiting {
        /// The name.
        key: ScheduleKey,
        /// How many.
        waiting: usize,
    },
    /// A trigger that wants to run alone found company.
    #[error("{key} has runs that wait or run already")]
    Busy {
        /// The name.
        key: ScheduleKey,
    },
    /// No such run.
    #[error("no run {run}: the ledger has dropped it")]
    RunNotFound {
        /// Its handle.
        run: RunId,
    },
    /// Only a run whose outcome is unknown can be resolved.
    #[error("the run is {state}: only a run that is UNKNOWN can be resolved")]
    NotUnknown {
        /// Where it is.
        state: &'static str,
    },
    /// No such calendar, pool or namespace.
    #[error("there is no {name}")]
    ObjectNotFound {
        /// Its name.
        name: ObjectName,
    },
    /// Somebody else changed it in between.
    #[error("{name} was changed in between: its etag is now {current}")]
    ObjectRevisionMismatch {
        /// Its name.
        name: ObjectName,
        /// Its revision.
        current: Revision,
    },
    /// A schedule refers to it.
    #[error("{name} is used by the schedule {by}")]
    ObjectInUse {
        /// Its name.
        name: ObjectName,
        /// One that uses it.
        by: ScheduleKey,
    },
    /// The namespace has as many schedules as it may.
    #[error("namespace {namespace} has {max} schedules, as many as it may (schedules_max)")]
    TooManySchedules {
        /// Which.
        namespace: ArcStr,
        /// How many it may have.
        max: u64,
    },
    /// No such backfill.
    #[error("there is no backfill {backfill}")]
    BackfillNotFound {
        /// Its number.
        backfill: BackfillId,
    },
    /// A schedule has one backfill at a time.
    #[error("{key} has the backfill {backfill} already: wait for its end or cancel it")]
    BackfillRunning {
        /// The schedule.
        key: ScheduleKey,
        /// The one that it has.
        backfill: BackfillId,
    },
    /// The ledger does not know any more which instants of the range are missing.
    #[error("the ledger of {key} has dropped rows up to {}: what is missing before is not known", pruned_until.0)]
    LedgerTooShort {
        /// The schedule.
        key: ScheduleKey,
        /// The newest instant whose row was dropped.
        pruned_until: UnixMillis,
    },
    /// The command contradicts itself: a bug in its proposer.
    #[error("malformed command: {why}")]
    Malformed {
        /// What is wrong with it.
        why: &'static str,
    },
}

/// What the leader should do.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Effect {
    /// Offer this run to an executor.
    Offer(RunId),
    /// Tell the executor of this run to end it.
    Cancel(RunId),
}
