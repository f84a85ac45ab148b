//! The state as records: for checkpoints, snapshots and digests.
//!
//! Records are grouped in blocks of neighbouring ids, because the embedded store is fast with values of some kilobytes and
//! slow with one value per record. The state remembers which blocks changed; a checkpoint writes those.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

use crate::backfill::{Backfill, BackfillState};
use crate::definition::{Definition, MisfirePolicy, OverlapPolicy, Policies, Retry, Rule};
use crate::digest::{Canonical, Digest};
use crate::ids::{BackfillId, ObjectId, RunId, ScheduleId, UnixMillis};
use crate::object::{Object, ObjectKind};
use crate::run::{Ending, Lease, Report, Run, RunState, Trigger, Verdict};
use crate::schedule::Schedule;
use crate::state::answers::Answers;
use crate::state::attempts::Running;
use crate::state::zones::{ZoneChange, ZoneData};
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
    /// An answer, with its request id.
    Answer(Arc<str>, Answer),
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

    /// All blocks that hold records.
    pub fn blocks(&self) -> BTreeSet<BlockId> {
        let mut blocks = BTreeSet::from([BlockId::TOTALS]);
        blocks.extend(self.slots.keys().map(BlockId::of_schedule));
        blocks.extend(self.runs.keys().map(BlockId::of_run));
        blocks.extend(self.reports.keys().map(|id| BlockId::of_report(*id)));
        blocks.extend(self.answers.values().map(|answer| BlockId::of_answer(answer.sequence)));
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
                .map(|(id, answer)| Record::Answer(id.clone(), answer.clone()))
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
        self.blocks()
            .into_iter()
            .flat_map(|block| self.block(block))
            .fold(Digest::default(), |sum, record| sum.plus(record.digest()))
    }

    /// A state from its records, in any order; every index is rebuilt.
    pub fn restore(records: impl IntoIterator<Item = Record>) -> Result<State, RestoreError> {
        let mut state = State::default();
        let (mut runs, mut answers) = (Vec::new(), Vec::new());
        for record in records {
            match record {
                Record::Totals(totals) => state.totals = totals,
                Record::Schedule(schedule) => state.restore_schedule(*schedule)?,
                Record::Run(run) => runs.push(run),
                Record::Report(id, report) => {
                    state.reports_weight_bytes += report.weight_bytes();
                    state.reports.insert(id, report.detached());
                }
                Record::Answer(id, answer) => answers.push((id, answer)),
                Record::Object(object) => state.restore_object(*object)?,
            }
        }
        // Those of a schedule take their places in this order.
        runs.sort_by_key(|run| run.id);
        for run in runs {
            state.restore_run(*run)?;
        }
        for (_, Answer { sequence, subject, .. }) in &answers {
            if let Subject::Schedule(schedule) = subject
                && !state.slots.contains_key(schedule)
            {
                return Err(RestoreError::Dangling { what: "answer", id: *sequence });
            }
            state.count_answer(*subject);
        }
        let twice = |sequence| RestoreError::Twice { what: "answer", id: sequence };
        state.answers = Answers::restore(answers).map_err(twice)?;
        let alone = |(schedule, _): &&(ScheduleId, BackfillId)| !state.slots.contains_key(schedule);
        if let Some((_, id)) = state.backfills.iter().find(alone) {
            return Err(RestoreError::Dangling { what: "backfill", id: id.0 });
        }
        for id in state.slots.keys().collect::<Vec<_>>() {
            if state.slots[&id].schedule.deleted_at.is_none() {
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

    fn restore_schedule(&mut self, mut schedule: Schedule) -> Result<(), RestoreError> {
        let id = schedule.id;
        schedule.key = self.names.sharing(schedule.key);
        schedule.definition = self.definitions.share(schedule.definition);
        for retired in schedule.retired.values_mut() {
            *retired = self.definitions.share(retired.clone());
        }
        if schedule.deleted_at.is_some() {
            self.deleted.insert((schedule.key.clone(), id));
        } else {
            if let Some(until) = schedule.pause.as_ref().and_then(|pause| pause.until) {
                self.pause_ends.insert((until, id));
            }
            let former = self.names.insert(&schedule.key, id);
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
            Record::Answer(_, answer) => BlockId::of_answer(answer.sequence),
            Record::Object(object) => BlockId::of_object(object.id),
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
                .number(totals.next_answer)
                .unless_default(1, totals.next_object, Canonical::number)
                .unless_default(2, totals.zones.version.as_str(), Canonical::text)
                .unless_default(3, totals.zones.change.as_ref(), |out, change| {
                    out.option(change, write_zone_change)
                })
                .unless_default(4, totals.restored_until, |out, until| {
                    out.option(until, |out, until| out.signed(until.0))
                }),
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
                    Subject::Object(object) => out.number(3).number(object.0),
                }
            }
            Record::Object(object) => write_object(out, object),
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
    // Feature level 2: each with a tag, and only where it says something.
    .unless_default(1, schedule.pause.as_ref().and_then(|pause| pause.until), |out, until| {
        out.option(until, |out, until| out.signed(until.0))
    })
    .unless_default(2, schedule.pause.as_ref().map_or(0, |pause| pause.skipped), Canonical::number)
    .unless_default(3, counters.consecutive_failures, |out, count| out.number(count.into()))
    .unless_default(4, counters.begun, Canonical::number)
    .unless_default(5, schedule.timed_with, |out, revision| out.number(revision.0))
    .unless_default(6, schedule.pruned_until, |out, at| out.option(at, |out, at| out.signed(at.0)))
}

fn write_zone_change(out: Canonical, change: &ZoneChange) -> Canonical {
    let out = out.text(&change.from).text(&change.to).signed(change.at.0).number(change.moved);
    out.each(change.named.iter(), |out, step| {
        out.text(&step.key.namespace)
            .text(&step.key.name)
            .signed(step.former.0)
            .option(step.next, |out, next| out.signed(next.0))
    })
}

fn write_object(out: Canonical, object: &Object) -> Canonical {
    let out = out.number(object.id.0).number(object.revision.0).signed(object.updated_at.0);
    match &object.kind {
        ObjectKind::Calendar(calendar) => out
            .number(1)
            .text(&calendar.key.namespace)
            .text(&calendar.key.name)
            .option(calendar.time_zone.as_deref(), Canonical::text)
            .each(calendar.days.iter(), |out, day| out.text(day))
            .each(calendar.periods.iter(), |out, (from, until)| out.text(from).text(until))
            .text(&calendar.description),
        ObjectKind::Pool(pool) => out
            .number(2)
            .text(&pool.name)
            .option(pool.slots, |out, slots| out.number(slots.into()))
            .option(pool.rate, |out, rate| write_millis(out.number(rate.count.into()), rate.per))
            .option(pool.paused.as_ref(), write_verdict)
            .text(&pool.description),
        ObjectKind::Namespace(namespace) => out
            .number(3)
            .text(&namespace.name)
            .option(namespace.running_max, |out, max| out.number(max.into()))
            .option(namespace.schedules_max, Canonical::number)
            .number(namespace.weight.into())
            .option(namespace.spread, write_millis)
            .text(&namespace.description),
        ObjectKind::Backfill(backfill) => write_backfill(out.number(4), backfill),
    }
}

fn write_backfill(out: Canonical, backfill: &Backfill) -> Canonical {
    let counts = &backfill.counts;
    let out = out
        .number(backfill.schedule.0)
        .signed(backfill.from_at.0)
        .signed(backfill.until_at.0)
        .number(backfill.mode as u64);
    let out = write_verdict(out, &backfill.created).number(backfill.expected).signed(backfill.cursor.0);
    let out = match &backfill.state {
        BackfillState::Running => out.number(1),
        BackfillState::Paused(verdict) => write_verdict(out.number(2), verdict),
        BackfillState::Cancelled(verdict) => write_verdict(out.number(3), verdict),
        BackfillState::Completed { at } => out.number(4).signed(at.0),
    };
    out.number(counts.created)
        .number(counts.present)
        .number(counts.succeeded)
        .number(counts.unsuccessful)
        .number(counts.not_started)
}

/// The digest of a definition by itself: which ones say the same.
pub(super) fn definition_digest(definition: &Definition) -> Digest {
    write_definition(Canonical::new(0), definition).digest()
}

fn write_definition(out: Canonical, definition: &Definition) -> Canonical {
    let timing = &definition.timing;
    let out = out
        .each(timing.include.iter(), write_rule)
        .text(&timing.time_zone)
        .text(&definition.target.handler)
        .bytes(&definition.target.payload)
        .text(&definition.pool);
    let texts = |out: Canonical, map: &BTreeMap<String, String>| {
        out.each(map.iter(), |out, (key, value)| out.text(key).text(value))
    };
    let out = write_policies(out, &definition.policies);
    let out = texts(out, &definition.labels).text(&definition.description);
    // Feature level 2.
    let millis = |out: Canonical, time: Option<Duration>| out.option(time, write_millis);
    let instant = |out: Canonical, at: Option<UnixMillis>| out.option(at, |out, at| out.signed(at.0));
    let out = write_new_policies(out, &definition.policies)
        .unless_default(1, timing.exclude.as_slice(), |out, rules| out.each(rules.iter(), write_rule))
        .unless_default(2, timing.calendars.as_slice(), |out, calendars| {
            out.each(calendars.iter(), |out, used| out.text(&used.calendar).number(used.mode as u64))
        })
        .unless_default(3, timing.start_at, instant)
        .unless_default(4, timing.end_at, instant)
        .unless_default(5, timing.spread, millis)
        .unless_default(6, definition.priority, |out, priority| out.number(priority.get().into()))
        .unless_default(7, definition.max_runs, |out, max| out.option(max, Canonical::number))
        .unless_default(8, definition.completion, |out, completion| out.number(completion as u64))
        .unless_default(9, definition.history.keep_for, millis)
        .unless_default(10, definition.history.keep_count, |out, count| {
            out.option(count, |out, count| out.number(count.into()))
        });
    let liveness = &definition.liveness;
    let out = out
        .unless_default(11, liveness.start_grace, millis)
        .unless_default(12, liveness.success_within, millis)
        .unless_default(13, liveness.disabled, |out, disabled| out.number(disabled.into()));
    if definition.executor_labels.is_empty() {
        out
    } else {
        texts(out.number(14), &definition.executor_labels)
    }
}

fn write_millis(out: Canonical, time: Duration) -> Canonical {
    out.number(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

fn write_rule(out: Canonical, rule: &Rule) -> Canonical {
    match rule {
        Rule::Cron { expression, resolved, allow_never } => {
            out.number(1).text(expression).text(resolved).number((*allow_never).into())
        }
        Rule::Interval { every, phase } => write_millis(write_millis(out.number(2), *every), *phase),
        Rule::At(at) => out.number(3).signed(at.0),
        Rule::AtLocal(at) => out.number(4).text(at),
        Rule::Calendar(rule) => out
            .number(5)
            .each(rule.years.iter(), |out, year| out.signed((*year).into()))
            .each(rule.months.iter(), |out, month| out.number((*month).into()))
            .each(rule.month_days.iter(), |out, day| out.signed((*day).into()))
            .each(rule.weekdays.iter(), |out, (day, nth)| {
                out.number((*day).into()).option(*nth, |out, nth| out.signed(nth.into()))
            })
            .each(rule.times.iter(), |out, time| out.number((*time).into())),
        Rule::FixedDelay(delay) => write_millis(out.number(6), *delay),
    }
}

fn write_policies(out: Canonical, policies: &Policies) -> Canonical {
    let overlap = match policies.overlap {
        OverlapPolicy::HoldOne => 1,
        OverlapPolicy::Skip => 2,
        OverlapPolicy::BufferAll { .. } => 3,
        OverlapPolicy::Allow { .. } => 4,
        OverlapPolicy::CancelRunning => 5,
    };
    let misfire = match policies.misfire {
        MisfirePolicy::Coalesce => 1,
        MisfirePolicy::Skip { .. } => 2,
        MisfirePolicy::FireAll { .. } => 3,
    };
    let out = out
        .number(overlap)
        .number(misfire)
        .number(policies.unknown_outcome as u64)
        .option(policies.start_deadline, write_millis);
    write_millis(write_millis(out, policies.attempt_timeout), policies.lease_duration)
}

/// What feature level 2 added.
fn write_new_policies(out: Canonical, policies: &Policies) -> Canonical {
    let out = match policies.overlap {
        OverlapPolicy::HoldOne | OverlapPolicy::Skip | OverlapPolicy::CancelRunning => out,
        OverlapPolicy::BufferAll { waiting_max: max } | OverlapPolicy::Allow { running_max: max } => {
            out.number(20).number(max.into())
        }
    };
    let out = match policies.misfire {
        MisfirePolicy::Coalesce => out,
        MisfirePolicy::Skip { window } => write_millis(out.number(21), window),
        MisfirePolicy::FireAll { window, count_max } => {
            write_millis(out.number(22), window).number(count_max.into())
        }
    };
    let retry = &policies.retry;
    let out = if *retry == Retry::default() {
        out
    } else {
        let out = write_millis(out.number(23).number(retry.max_attempts.into()), retry.initial_backoff);
        write_millis(out, retry.max_backoff)
            .each(retry.non_retryable_codes.iter(), |out, code| out.signed((*code).into()))
    };
    let out = out.unless_default(24, policies.pause_after_failures, |out, count| {
        out.option(count, |out, count| out.number(count.into()))
    });
    if policies.cancel_grace == Policies::default().cancel_grace {
        out
    } else {
        write_millis(out.number(25), policies.cancel_grace)
    }
}

fn write_run(out: Canonical, run: &Run) -> Canonical {
    let trigger = match run.trigger {
        Trigger::Timer => 1,
        Trigger::CatchUp => 2,
        Trigger::Manual => 3,
        Trigger::Backfill(_) => 4,
        Trigger::Resume => 5,
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
    let out = match &run.state {
        RunState::Ended { ending: Ending::Merged { into, .. }, .. } => out.number(into.0),
        RunState::Due { .. } | RunState::Running(_) | RunState::Ended { .. } => out,
    };
    // Feature level 2.
    let spread_ms = run.scheduled_at.0 - run.nominal_at.0;
    let out =
        out.unless_default(1, spread_ms, Canonical::signed)
            .unless_default(2, run.beside, |out, beside| out.number(beside.into()));
    let out = match &run.state {
        RunState::Due { retry: Some(retry), .. } => {
            out.number(3).signed(retry.not_before.0).number(retry.cause as u64)
        }
        RunState::Due { retry: None, .. } | RunState::Running(_) | RunState::Ended { .. } => out,
    };
    let out = match &run.cancel {
        Some(cancel) => write_verdict(out.number(4).number(cancel.cause as u64), &cancel.verdict),
        None => out,
    };
    let out = match &run.resolution {
        Some(resolution) => write_verdict(out.number(5), resolution),
        None => out,
    };
    match run.trigger {
        Trigger::Backfill(id) => out.number(6).number(id.0),
        Trigger::Timer | Trigger::CatchUp | Trigger::Manual | Trigger::Resume => out,
    }
}

fn write_verdict(out: Canonical, verdict: &Verdict) -> Canonical {
    out.text(&verdict.actor).text(&verdict.reason).signed(verdict.at.0)
}

fn write_lease(out: Canonical, lease: &Lease) -> Canonical {
    out.text(&lease.executor)
        .number(lease.token.0)
        .signed(lease.begun_at.0)
        .number(lease.late.map_or(0, |reason| reason as u64))
}
