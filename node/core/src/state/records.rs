//! The state as records: for checkpoints, snapshots and digests.
//!
//! Records are grouped in blocks of neighbouring ids, because the embedded store is fast with values of some kilobytes and
//! slow with one value per record. The state remembers which blocks changed; a checkpoint writes those.

use std::collections::BTreeSet;
use std::sync::Arc;

use thiserror::Error;

use crate::definition::Definition;
use crate::digest::Digest;
use crate::ids::{BackfillId, ObjectId, RunId, ScheduleId, UnixMillis};
use crate::object::{Object, ObjectKind};
use crate::run::{Report, Run, RunState};
use crate::schedule::Schedule;
use crate::state::answers::Answers;
use crate::state::attempts::Running;
use crate::state::canonical::Digester;
use crate::state::definitions::ByDefinition;
use crate::state::names::NameList;
use crate::state::zones::ZoneData;
use crate::state::{Answer, RowKey, Slot, State};

/// Name of a block of records.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct BlockId {
    /// What is in it.
    pub kind: BlockKind,
    /// Ids `number * kind.span()` and the following.
    pub number: u64,
}

/// Kinds of blocks. The numbers are stored.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum BlockKind {
    /// The one record of counters.
    Totals = 1,
    /// Schedules.
    Schedules = 2,
    /// Runs.
    Runs = 3,
    /// Reports.
    Reports = 4,
    /// Answers to request ids.
    Answers = 5,
    /// Calendars, pools, namespaces, backfills.
    Objects = 6,
}

impl BlockKind {
    const COUNT: usize = 6;

    /// The kind of a stored number.
    pub fn from_number(number: u8) -> Option<Self> {
        [Self::Totals, Self::Schedules, Self::Runs, Self::Reports, Self::Answers, Self::Objects]
            .into_iter()
            .find(|kind| *kind as u8 == number)
    }

    /// Ids per block: 5 to 75 KB, and compressed a third of that or less, are what sled is best at; a report may be 64 KiB by itself.
    pub fn span(self) -> u64 {
        match self {
            Self::Totals => 1,
            Self::Schedules => 64,
            Self::Runs => 256,
            Self::Reports => 16,
            Self::Answers => 256,
            // A calendar may have thousands of days.
            Self::Objects => 16,
        }
    }
}

impl BlockId {
    /// The block of the totals.
    pub const TOTALS: Self = Self { kind: BlockKind::Totals, number: 0 };

    fn of(kind: BlockKind, id: u64) -> Self {
        Self { kind, number: id / kind.span() }
    }

    pub(super) fn of_schedule(id: ScheduleId) -> Self {
        Self::of(BlockKind::Schedules, id.0)
    }

    pub(super) fn of_run(id: RunId) -> Self {
        Self::of(BlockKind::Runs, id.0)
    }

    pub(super) fn of_report(id: RunId) -> Self {
        Self::of(BlockKind::Reports, id.0)
    }

    pub(super) fn of_answer(sequence: u64) -> Self {
        Self::of(BlockKind::Answers, sequence)
    }

    pub(super) fn of_object(id: ObjectId) -> Self {
        Self::of(BlockKind::Objects, id.0)
    }

    fn ids(self) -> std::ops::Range<u64> {
        let first = self.number * self.kind.span();
        first..first + self.kind.span()
    }
}

/// Blocks that changed since they were last written.
#[derive(Clone, Default)]
pub(super) struct DirtyBlocks {
    blocks: BTreeSet<BlockId>,
    /// The last one of each kind: a batch changes the same few again and again.
    last: [Option<BlockId>; BlockKind::COUNT],
}

impl DirtyBlocks {
    pub(super) fn insert(&mut self, block: BlockId) {
        let last = &mut self.last[block.kind as usize - 1];
        if *last != Some(block) {
            *last = Some(block);
            self.blocks.insert(block);
        }
    }

    fn take(&mut self) -> BTreeSet<BlockId> {
        std::mem::take(self).blocks
    }
}

/// Counters and levels of the whole state.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Totals {
    /// See [`crate::FEATURE_LEVEL`].
    pub feature_level: u32,
    /// Handle of the next schedule.
    pub next_schedule: u64,
    /// Handle of the next run.
    pub next_run: u64,
    /// The last fencing token handed out.
    pub next_token: u64,
    /// Sequence of the next answer.
    pub next_answer: u64,
    /// The last handle of an object handed out.
    pub next_object: u64,
    /// Time-zone data.
    pub zones: ZoneData,
    /// Instants up to here may have run in another cluster, which this state was restored from: they are not run.
    pub restored_until: Option<UnixMillis>,
}

impl Default for Totals {
    fn default() -> Self {
        Self {
            feature_level: 1,
            next_schedule: 1,
            next_run: 1,
            next_token: 0,
            next_answer: 1,
            next_object: 0,
            zones: ZoneData::default(),
            restored_until: None,
        }
    }
}

/// What an answer was about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Subject {
    /// A schedule.
    Schedule(ScheduleId),
    /// A run.
    Run(RunId),
    /// A calendar, pool, namespace or backfill.
    Object(ObjectId),
}

/// One stored record.
#[derive(Clone, PartialEq, Debug)]
pub enum Record {
    /// Counters: exactly one.
    Totals(Totals),
    /// A schedule.
    Schedule(Box<Schedule>),
    /// A row.
    Run(Box<Run>),
    /// What was said of a row.
    Report(RunId, Report),
    /// An answer, with its sequence.
    Answer(u64, Answer),
    /// A calendar, pool, namespace or backfill.
    Object(Box<Object>),
}

/// The records do not make a state: the store they come from is damaged.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum RestoreError {
    /// A record names one that is not there.
    #[error("{what} {id} names a record that does not exist")]
    Dangling {
        /// Kind of record.
        what: &'static str,
        /// Its id.
        id: u64,
    },
    /// Two records have the same identity.
    #[error("{what} {id} exists twice")]
    Twice {
        /// Kind of record.
        what: &'static str,
        /// Its id.
        id: u64,
    },
    /// More lie between two records than there can be.
    #[error("{what} {id} is too far from {what} {first}")]
    TooFar {
        /// Kind of record.
        what: &'static str,
        /// Its id.
        id: u64,
        /// The id of the first one.
        first: u64,
    },
}

impl State {
    /// The blocks that changed since this was last asked.
    pub fn take_dirty(&mut self) -> BTreeSet<BlockId> {
        self.dirty.take()
    }

    /// How many blocks changed since they were last taken.
    pub fn dirty_count(&self) -> usize {
        self.dirty.blocks.len()
    }

    /// How many records there are.
    pub fn record_count(&self) -> usize {
        let others = self.reports.len() + self.answers.len() + self.objects.len();
        1 + self.slots.len() + self.runs.len() + others
    }

    /// All blocks that hold records.
    pub fn blocks(&self) -> BTreeSet<BlockId> {
        let mut blocks = BTreeSet::from([BlockId::TOTALS]);
        blocks.extend(self.slots.keys().map(BlockId::of_schedule));
        blocks.extend(self.runs.keys().map(BlockId::of_run));
        blocks.extend(self.reports.keys().map(|id| BlockId::of_report(*id)));
        blocks.extend(self.answers.iter().map(|(sequence, _)| BlockId::of_answer(sequence)));
        blocks.extend(self.objects.keys().map(|id| BlockId::of_object(*id)));
        blocks
    }

    /// The records of a block, in order of id; empty when all of them are gone.
    pub fn block(&self, block: BlockId) -> Vec<Record> {
        let ids = block.ids();
        let (schedules, runs) =
            (ScheduleId(ids.start)..ScheduleId(ids.end), RunId(ids.start)..RunId(ids.end));
        match block.kind {
            BlockKind::Totals => vec![Record::Totals(self.totals.clone())],
            BlockKind::Schedules => self
                .slots
                .range(schedules)
                .map(|(_, slot)| Record::Schedule(Box::new(slot.schedule.clone())))
                .collect(),
            BlockKind::Runs => {
                self.runs.range(runs).map(|(_, run)| Record::Run(Box::new(run.clone()))).collect()
            }
            BlockKind::Reports => {
                self.reports.range(runs).map(|(id, report)| Record::Report(*id, report.clone())).collect()
            }
            BlockKind::Answers => self
                .answers
                .range(ids)
                .map(|(sequence, answer)| Record::Answer(sequence, answer.clone()))
                .collect(),
            BlockKind::Objects => self
                .objects
                .range(ObjectId(ids.start)..ObjectId(ids.end))
                .map(|(_, object)| Record::Object(Box::new(object.clone())))
                .collect(),
        }
    }

    /// The digest of everything stored (APPLY-1). Linear in the number of records.
    pub fn digest(&self) -> Digest {
        let mut digester = Digester::default();
        let digests = self.blocks().into_iter().map(|block| digester.digest_of(&self.block(block)));
        digests.fold(Digest::default(), Digest::plus)
    }

    /// The same, unless the records take more than so many bytes as they are written for it: then it would take long.
    pub fn digest_within(&self, bytes_max: usize) -> Option<Digest> {
        let (mut sum, mut bytes_left) = (Digest::default(), bytes_max);
        let mut digester = Digester::default();
        for block in self.blocks() {
            for (digest, bytes) in digester.digests(&self.block(block)) {
                bytes_left = bytes_left.checked_sub(bytes)?;
                sum = sum.plus(digest);
            }
        }
        Some(sum)
    }

    /// A state from its records, in any order; every index is rebuilt.
    pub fn restore(records: impl IntoIterator<Item = Record>) -> Result<State, RestoreError> {
        let mut state = State::default();
        let (mut names, mut runs, mut answers) = (NameList::default(), Vec::new(), Vec::new());
        let mut shared = ByDefinition::default();
        for record in records {
            match record {
                Record::Totals(totals) => state.totals = totals,
                Record::Schedule(schedule) => state.restore_schedule(*schedule, &mut names, &mut shared)?,
                Record::Run(run) => runs.push(run),
                Record::Report(id, report) => {
                    state.reports_weight_bytes += report.weight_bytes();
                    state.reports.insert(id, report.detached());
                }
                Record::Answer(sequence, answer) => answers.push((sequence, answer)),
                Record::Object(object) => state.restore_object(*object)?,
            }
        }
        let twice = |id: ScheduleId| RestoreError::Twice { what: "schedule", id: id.0 };
        state.names = names.into_index().map_err(twice)?;
        // Those of a schedule take their places in this order.
        runs.sort_by_key(|run| run.id);
        for run in runs {
            state.restore_run(*run)?;
        }
        for (sequence, Answer { subject, .. }) in &answers {
            if let Subject::Schedule(schedule) = subject
                && !state.slots.contains_key(schedule)
            {
                return Err(RestoreError::Dangling { what: "answer", id: *sequence });
            }
            state.count_answer(*subject);
        }
        state.answers = Answers::restore(answers, state.totals.next_answer)?;
        let alone = |(schedule, _): &&(ScheduleId, BackfillId)| !state.slots.contains_key(schedule);
        if let Some((_, id)) = state.backfills.iter().find(alone) {
            return Err(RestoreError::Dangling { what: "backfill", id: id.0 });
        }
        for id in state.slots.keys().collect::<Vec<_>>() {
            if state.slots[&id].schedule.remains().deleted_at.is_none() {
                state.watch_calendars(id);
            }
        }
        for (_, id) in state.backfills.clone() {
            state.ask_for_more(id);
        }
        let mut effects = Vec::new();
        for id in state.slots.keys().collect::<Vec<_>>() {
            state.offer_ready(id, UnixMillis::default(), &mut effects);
        }
        state.dirty = DirtyBlocks::default();
        state.changes = Default::default();
        Ok(state)
    }

    fn restore_schedule(
        &mut self,
        mut schedule: Schedule,
        names: &mut NameList,
        shared: &mut ByDefinition<Arc<Definition>>,
    ) -> Result<(), RestoreError> {
        let id = schedule.id;
        schedule.key = names.sharing(schedule.key);
        let given = &schedule.definition;
        schedule.definition = shared.get_or_make(given, || self.definitions.share(given.clone())).clone();
        if !schedule.remains().retired.is_empty() {
            schedule.change_remains(|remains| {
                for retired in remains.retired.values_mut() {
                    *retired = self.definitions.share(retired.clone());
                }
            });
        }
        if schedule.remains().deleted_at.is_some() {
            self.deleted.insert((schedule.key.clone(), id));
        } else {
            if let Some(until) = schedule.pause.as_ref().and_then(|pause| pause.until) {
                self.pause_ends.insert((until, id));
            }
            names.push(&schedule.key, id);
        }
        if let Some(next) = schedule.next_fire_at {
            self.due.insert(next, id);
        }
        match self.slots.insert(id, Slot::new(schedule)) {
            Some(_) => Err(RestoreError::Twice { what: "schedule", id: id.0 }),
            None => Ok(()),
        }
    }

    fn restore_object(&mut self, object: Object) -> Result<(), RestoreError> {
        let id = object.id;
        let twice = RestoreError::Twice { what: "object", id: id.0 };
        if let ObjectKind::Backfill(backfill) = &object.kind {
            self.backfills.insert((backfill.schedule, backfill.id));
        }
        self.declared_revision = self.declared_revision.max(object.revision);
        if let Some(name) = object.kind.name()
            && self.object_ids.insert(name, id).is_some()
        {
            return Err(twice);
        }
        if self.objects.insert(id, object).is_some() { Err(twice) } else { Ok(()) }
    }

    fn restore_run(&mut self, run: Run) -> Result<(), RestoreError> {
        let id = run.id;
        if !self.slots.contains_key(&run.schedule) {
            return Err(RestoreError::Dangling { what: "run", id: id.0 });
        }
        if self.runs.contains_key(&id) || self.by_nominal.contains_key(&RowKey::of(&run)) {
            return Err(RestoreError::Twice { what: "run", id: id.0 });
        }
        let due = matches!(run.state, RunState::Due { .. });
        if let RunState::Running(lease) = &run.state {
            let policies = &self.slots[&run.schedule].schedule.definition_of(run.generation).policies;
            self.leases.insert(id, lease, policies);
            if run.cancel.is_some() {
                self.cancelling.insert(id);
            }
        }
        let (ended, running) = (run.state.ended_at().is_some(), matches!(run.state, RunState::Running(_)));
        self.add_row(run);
        if !ended {
            self.take_place(id);
        }
        if running {
            self.count_running(id, Running::Begins);
        }
        if due {
            self.watch_deadline(id);
        }
        Ok(())
    }
}

impl Record {
    /// The block that it belongs to.
    pub fn block(&self) -> BlockId {
        match self {
            Record::Totals(_) => BlockId::TOTALS,
            Record::Schedule(schedule) => BlockId::of_schedule(schedule.id),
            Record::Run(run) => BlockId::of_run(run.id),
            Record::Report(id, _) => BlockId::of_report(*id),
            Record::Answer(sequence, _) => BlockId::of_answer(*sequence),
            Record::Object(object) => BlockId::of_object(object.id),
        }
    }
}
