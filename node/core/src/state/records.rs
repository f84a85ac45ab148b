//! The state as records: for checkpoints, snapshots and digests.
//!
//! Records are grouped in blocks of neighbouring ids, because the embedded store is fast with values of some kilobytes and
//! slow with one value per record. The state remembers which blocks changed; a checkpoint writes those.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use thiserror::Error;

use crate::definition::{Definition, Policies, Rule};
use crate::digest::{Canonical, Digest};
use crate::ids::{RunId, ScheduleId, UnixMillis};
use crate::run::{Ending, Lease, Report, Run, RunState, Trigger};
use crate::schedule::Schedule;
use crate::state::{RowKey, Slot, State};

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
}

impl BlockKind {
    /// The kind of a stored number.
    pub fn from_number(number: u8) -> Option<Self> {
        [Self::Totals, Self::Schedules, Self::Runs, Self::Reports, Self::Answers]
            .into_iter()
            .find(|kind| *kind as u8 == number)
    }

    /// Ids per block: values of 5 to 75 KB are what sled is best at; a report may be 64 KiB by itself.
    pub fn span(self) -> u64 {
        match self {
            Self::Totals => 1,
            Self::Schedules => 64,
            Self::Runs => 256,
            Self::Reports => 16,
            Self::Answers => 256,
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

    fn ids(self) -> std::ops::Range<u64> {
        let first = self.number * self.kind.span();
        first..first + self.kind.span()
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
}

impl Default for Totals {
    fn default() -> Self {
        Self { feature_level: 1, next_schedule: 1, next_run: 1, next_token: 0, next_answer: 1 }
    }
}

/// The answer to a request id.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// In order of answering.
    pub sequence: u64,
    /// Hash of the request.
    pub fingerprint: u64,
    /// When.
    pub answered_at: UnixMillis,
    /// What it was about.
    pub subject: Subject,
}

/// What an answer was about.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Subject {
    /// A schedule.
    Schedule(ScheduleId),
    /// A run.
    Run(RunId),
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
    /// An answer, with its request id.
    Answer(Arc<str>, Answer),
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
}

impl State {
    /// The blocks that changed since this was last asked.
    pub fn take_dirty(&mut self) -> BTreeSet<BlockId> {
        std::mem::take(&mut self.dirty)
    }

    /// Marks blocks as changed again: writing them failed.
    pub fn put_back_dirty(&mut self, blocks: BTreeSet<BlockId>) {
        self.dirty.extend(blocks);
    }

    /// How many blocks changed since they were last taken.
    pub fn dirty_count(&self) -> usize {
        self.dirty.len()
    }

    /// All blocks that hold records.
    pub fn blocks(&self) -> BTreeSet<BlockId> {
        let mut blocks = BTreeSet::from([BlockId::TOTALS]);
        blocks.extend(self.slots.keys().map(|id| BlockId::of_schedule(*id)));
        blocks.extend(self.runs.keys().map(|id| BlockId::of_run(*id)));
        blocks.extend(self.reports.keys().map(|id| BlockId::of_report(*id)));
        blocks.extend(self.answers_by_sequence.keys().map(|sequence| BlockId::of_answer(*sequence)));
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
                .answers_by_sequence
                .range(ids)
                .filter_map(|(_, id)| Some(Record::Answer(id.clone(), self.answers.get(id)?.clone())))
                .collect(),
        }
    }

    /// The digest of everything stored (APPLY-1). Linear in the number of records.
    pub fn digest(&self) -> Digest {
        self.blocks()
            .into_iter()
            .flat_map(|block| self.block(block))
            .fold(Digest::default(), |sum, record| sum.plus(record.digest()))
    }

    /// A state from its records, in any order; every index is rebuilt.
    pub fn restore(records: impl IntoIterator<Item = Record>) -> Result<State, RestoreError> {
        let mut state = State::default();
        let mut runs = BTreeMap::new();
        for record in records {
            match record {
                Record::Totals(totals) => state.totals = totals,
                Record::Schedule(schedule) => state.restore_schedule(*schedule)?,
                Record::Run(run) => {
                    let id = run.id;
                    if runs.insert(id, *run).is_some() {
                        return Err(RestoreError::Twice { what: "run", id: id.0 });
                    }
                }
                Record::Report(id, report) => {
                    state.reports_weight_bytes += report.weight_bytes();
                    state.reports.insert(id, report);
                }
                Record::Answer(id, answer) => {
                    if state.answers.contains_key(&id) {
                        return Err(RestoreError::Twice { what: "answer", id: answer.sequence });
                    }
                    state.add_answer(id, answer);
                }
            }
        }
        for run in runs.into_values() {
            state.restore_run(run)?;
        }
        let mut effects = Vec::new();
        for id in state.slots.keys().copied().collect::<Vec<_>>() {
            state.settle(id, UnixMillis::default(), &mut effects);
        }
        state.dirty.clear();
        Ok(state)
    }

    fn restore_schedule(&mut self, schedule: Schedule) -> Result<(), RestoreError> {
        let id = schedule.id;
        if schedule.deleted_at.is_some() {
            self.deleted.insert((schedule.key.clone(), id));
        } else {
            let former = self.by_key.insert(schedule.key.clone(), id);
            if former.is_some() {
                return Err(RestoreError::Twice { what: "schedule", id: id.0 });
            }
        }
        if let Some(next) = schedule.next_fire_at {
            self.due.insert(next, id);
        }
        self.slots.insert(id, Slot::new(schedule));
        Ok(())
    }

    fn restore_run(&mut self, run: Run) -> Result<(), RestoreError> {
        let id = run.id;
        if !self.slots.contains_key(&run.schedule) {
            return Err(RestoreError::Dangling { what: "run", id: id.0 });
        }
        if self.by_nominal.contains_key(&RowKey::of(&run)) {
            return Err(RestoreError::Twice { what: "run", id: id.0 });
        }
        let slot = self.slots.get_mut(&run.schedule).expect("it was just found");
        let mut due = false;
        match (&run.state, run.trigger) {
            (RunState::Due { .. }, Trigger::Manual) => {
                slot.manual.insert(id);
                due = true;
            }
            (RunState::Due { .. }, Trigger::Timer | Trigger::CatchUp) => {
                if slot.waiting.replace(id).is_some() {
                    return Err(RestoreError::Twice { what: "waiting run", id: id.0 });
                }
                due = true;
            }
            (RunState::Running(lease), _) => {
                slot.running.insert(id);
                let policies = &slot.schedule.definition_of(run.generation).policies;
                self.leases.insert(id, lease, policies);
            }
            (RunState::Ended { .. }, _) => {}
        }
        self.add_row(run);
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
            Record::Answer(_, answer) => BlockId::of_answer(answer.sequence),
        }
    }

    /// The digest of this record.
    pub fn digest(&self) -> Digest {
        let out = Canonical::new(self.block().kind as u8);
        match self {
            Record::Totals(totals) => out
                .number(totals.feature_level.into())
                .number(totals.next_schedule)
                .number(totals.next_run)
                .number(totals.next_token)
                .number(totals.next_answer),
            Record::Schedule(schedule) => write_schedule(out, schedule),
            Record::Run(run) => write_run(out, run),
            Record::Report(id, report) => out
                .number(id.0)
                .option(report.exit_code, |out, code| out.signed(code.into()))
                .text(&report.message)
                .bytes(&report.output_tail),
            Record::Answer(id, answer) => {
                let out = out.number(answer.sequence).text(id).number(answer.fingerprint);
                let out = out.signed(answer.answered_at.0);
                match answer.subject {
                    Subject::Schedule(schedule) => out.number(1).number(schedule.0),
                    Subject::Run(run) => out.number(2).number(run.0),
                }
            }
        }
        .digest()
    }
}

fn write_schedule(out: Canonical, schedule: &Schedule) -> Canonical {
    let counters = &schedule.counters;
    let last = |out: Canonical, (run, at): (RunId, UnixMillis)| out.number(run.0).signed(at.0);
    let out = out
        .number(schedule.id.0)
        .text(&schedule.uid)
        .text(&schedule.key.namespace)
        .text(&schedule.key.name)
        .number(schedule.generation.0)
        .number(schedule.revision.0);
    let out = write_definition(out, &schedule.definition);
    out.each(schedule.retired.iter(), |out, (generation, definition)| {
        write_definition(out.number(generation.0), definition)
    })
    .option(schedule.next_fire_at, |out, at| out.signed(at.0))
    .signed(schedule.watermark.0)
    .number(schedule.catching_up.into())
    .option(schedule.pause.as_ref(), |out, pause| {
        out.text(&pause.reason).text(&pause.actor).signed(pause.paused_at.0)
    })
    .signed(schedule.created_at.0)
    .signed(schedule.updated_at.0)
    .number(counters.succeeded)
    .number(counters.unsuccessful)
    .number(counters.not_started)
    .option(counters.last_success, last)
    .option(counters.last_failure, last)
    .option(schedule.deleted_at, |out, at| out.signed(at.0))
}

fn write_definition(out: Canonical, definition: &Definition) -> Canonical {
    let out = out.each(definition.timing.include.iter(), |out, rule| match rule {
        Rule::Cron { expression, resolved, allow_never } => {
            out.number(1).text(expression).text(resolved).number((*allow_never).into())
        }
        Rule::Interval { every, phase } => {
            out.number(2).number(every.as_millis() as u64).number(phase.as_millis() as u64)
        }
        Rule::At(at) => out.number(3).signed(at.0),
    });
    let out = out
        .text(&definition.timing.time_zone)
        .text(&definition.target.handler)
        .bytes(&definition.target.payload)
        .text(&definition.pool);
    write_policies(out, &definition.policies)
        .each(definition.labels.iter(), |out, (key, value)| out.text(key).text(value))
        .text(&definition.description)
}

fn write_policies(out: Canonical, policies: &Policies) -> Canonical {
    use crate::definition::{MisfirePolicy, OverlapPolicy, UnknownOutcomePolicy};
    let overlap = match policies.overlap {
        OverlapPolicy::HoldOne => 1,
    };
    let misfire = match policies.misfire {
        MisfirePolicy::Coalesce => 1,
    };
    let unknown = match policies.unknown_outcome {
        UnknownOutcomePolicy::Hold => 1,
    };
    out.number(overlap)
        .number(misfire)
        .number(unknown)
        .option(policies.start_deadline, |out, deadline| out.number(deadline.as_millis() as u64))
        .number(policies.attempt_timeout.as_millis() as u64)
        .number(policies.lease_duration.as_millis() as u64)
}

fn write_run(out: Canonical, run: &Run) -> Canonical {
    let trigger = match run.trigger {
        Trigger::Timer => 1,
        Trigger::CatchUp => 2,
        Trigger::Manual => 3,
    };
    let out = out
        .number(run.id.0)
        .number(run.schedule.0)
        .number(run.generation.0)
        .signed(run.nominal_at.0)
        .number(trigger)
        .text(&run.actor)
        .signed(run.created_at.0)
        .signed(run.window_start_at.0)
        .number(run.merged_count.into())
        .number(run.attempt.0.into())
        .text(run.state.name())
        .number(run.state.reason().map_or(0, |reason| reason as u64))
        .option(run.state.ended_at(), |out, at| out.signed(at.0))
        .option(run.state.lease(), write_lease);
    match &run.state {
        RunState::Ended { ending: Ending::Merged { into, .. }, .. } => out.number(into.0),
        RunState::Due { .. } | RunState::Running(_) | RunState::Ended { .. } => out,
    }
}

fn write_lease(out: Canonical, lease: &Lease) -> Canonical {
    out.text(&lease.executor)
        .number(lease.token.0)
        .signed(lease.begun_at.0)
        .number(lease.late.map_or(0, |reason| reason as u64))
}
