//! A schedule as the state machine keeps it.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::definition::Definition;
use crate::ids::{DrawnId, Generation, Revision, RunId, ScheduleId, ScheduleKey, UnixMillis};

/// A schedule and its place in time.
///
/// The watermark is what makes a deploy at the hour mark harmless: what is due is decided from "handled up to", never
/// from "the next time after now".
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Schedule {
    /// Handle.
    pub id: ScheduleId,
    /// Public identity, never reused; chosen by the proposer of its creation.
    pub uid: DrawnId,
    /// Its name.
    pub key: ScheduleKey,
    /// Version of the definition.
    pub generation: Generation,
    /// Version of anything.
    pub revision: Revision,
    /// What its user declared.
    pub definition: Arc<Definition>,
    /// The first instant that has no row yet; none when there is none left.
    pub next_fire_at: Option<UnixMillis>,
    /// Every instant after activation and up to here has its row (LEDGER-1).
    pub watermark: UnixMillis,
    /// More instants have passed than have rows: nothing is offered until all have, so that they coalesce.
    pub catching_up: bool,
    /// Set while paused.
    pub pause: Option<Box<Pause>>,
    /// When it was created.
    pub created_at: UnixMillis,
    /// When a user last changed it.
    pub updated_at: UnixMillis,
    /// The revision of the calendar that changed last of those that its next instant was computed with.
    pub timed_with: Revision,
    /// How its runs ended.
    pub counters: Counters,
    /// See [`Schedule::remains`]: none where nothing remains.
    remains: Option<Box<Remains>>,
}

/// What remains of what a schedule was. Most have none of it, so it does not lie in the schedule.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Remains {
    /// Older definitions that runs not yet ended were made from.
    pub retired: BTreeMap<Generation, Arc<Definition>>,
    /// The newest instant of the timing whose row was dropped: what is missing before is not known any more.
    pub pruned_until: Option<UnixMillis>,
    /// Deleted, and kept only for the rows that name it.
    pub deleted_at: Option<UnixMillis>,
}

impl Schedule {
    /// As [`Schedule::timed_with`] of one whose next instant is not known: no calendar has such a revision.
    pub const UNTIMED: Revision = Revision(u64::MAX);

    /// A schedule that begins at `now`: nothing has run, and it is the first of its kind.
    pub fn new(
        id: ScheduleId,
        uid: DrawnId,
        key: ScheduleKey,
        definition: Arc<Definition>,
        now: UnixMillis,
    ) -> Self {
        Self {
            id,
            uid,
            key,
            generation: Generation(1),
            revision: Revision::default(),
            definition,
            next_fire_at: None,
            watermark: now,
            catching_up: false,
            pause: None,
            created_at: now,
            updated_at: now,
            timed_with: Revision::default(),
            counters: Counters::default(),
            remains: None,
        }
    }

    /// What remains of what it was.
    pub fn remains(&self) -> &Remains {
        const NOTHING: &Remains = &Remains { retired: BTreeMap::new(), pruned_until: None, deleted_at: None };
        self.remains.as_deref().unwrap_or(NOTHING)
    }

    /// Changes what remains of what it was.
    pub fn change_remains(&mut self, change: impl FnOnce(&mut Remains)) {
        let mut remains = self.remains.take().unwrap_or_default();
        change(&mut remains);
        self.remains = Some(remains).filter(|remains| **remains != Remains::default());
    }

    /// The definition that runs of `generation` were made from.
    ///
    /// Rows that have ended may have outlived theirs: they get the current one.
    pub fn definition_of(&self, generation: Generation) -> &Arc<Definition> {
        self.remains().retired.get(&generation).unwrap_or(&self.definition)
    }

    /// Whether as many runs of the timing have begun as may.
    pub fn is_exhausted(&self) -> bool {
        self.definition.max_runs.is_some_and(|max| self.counters.begun >= max)
    }
}

/// Why, by whom and since when a schedule is paused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pause {
    /// In the words of whoever did it.
    pub reason: String,
    /// Who did it.
    pub actor: String,
    /// Instants after this become SKIPPED.
    pub paused_at: UnixMillis,
    /// Instants from this one on do not: the pause ends by itself.
    pub until: Option<UnixMillis>,
    /// Instants that became SKIPPED in it so far.
    pub skipped: u64,
}

impl Pause {
    /// Whether an instant lies inside.
    pub fn covers(&self, nominal_at: UnixMillis) -> bool {
        nominal_at > self.paused_at && self.until.is_none_or(|until| nominal_at < until)
    }

    /// Whether it still keeps runs from beginning.
    pub fn holds(&self, now: UnixMillis) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

/// How the runs of a schedule ended, since its creation: rows may go, these stay.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Counters {
    /// SUCCEEDED. Like the two after it, it stays at 4 294 967 295 once there are so many: one a second for 136 years.
    pub succeeded: u32,
    /// FAILED, TIMED_OUT, UNKNOWN.
    pub unsuccessful: u32,
    /// SKIPPED, MERGED, EXPIRED, CANCELLED.
    pub not_started: u32,
    /// Runs in a row, up to the last one, that were FAILED, TIMED_OUT or UNKNOWN.
    pub consecutive_failures: u32,
    /// The last success: retention keeps its row.
    pub last_success: LastRun,
    /// The last failure: retention keeps its row.
    pub last_failure: LastRun,
    /// Runs of the timing that have begun.
    pub begun: u64,
}

impl Counters {
    /// Rows that have ended.
    pub fn ended(&self) -> u64 {
        [self.succeeded, self.unsuccessful, self.not_started].into_iter().map(u64::from).sum()
    }
}

/// The last run of a kind and when it ended, or none. In the space of the two: no run has the number 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LastRun {
    run: RunId,
    ended_at: UnixMillis,
}

impl LastRun {
    /// The run and when it ended.
    pub fn get(self) -> Option<(RunId, UnixMillis)> {
        (self.run != RunId::default()).then_some((self.run, self.ended_at))
    }
}

impl From<(RunId, UnixMillis)> for LastRun {
    fn from((run, ended_at): (RunId, UnixMillis)) -> Self {
        debug_assert!(run != RunId::default(), "runs are counted from 1");
        Self { run, ended_at }
    }
}

impl From<Option<(RunId, UnixMillis)>> for LastRun {
    fn from(last: Option<(RunId, UnixMillis)>) -> Self {
        last.map_or_else(Self::default, Self::from)
    }
}
