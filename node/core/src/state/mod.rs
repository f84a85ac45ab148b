//! The replicated state: schedules, their rows, and the indexes that keep every operation logarithmic.
//!
//! Stored: schedules, runs, reports, answers, objects, totals. Derived, rebuilt by [`State::restore`]: everything in `Slot` beside
//! the schedule, the due index, the ready set, the name index. What is derived depends on records alone, never on a
//! command's clock: else a replica that was restarted would differ from one that was not (APPLY-1).

mod answers;
mod attempts;
mod backfills;
mod canonical;
mod definitions;
mod due;
mod fire;
mod handle_set;
mod invariants;
mod lanes;
mod leases;
mod names;
mod objects;
mod records;
mod restoration;
mod run_id_set;
mod run_set;
mod schedules;
mod table;
mod verdicts;
mod zones;

use std::collections::{BTreeMap, BTreeSet};

use crate::command::{
    Action, Applied, Changes, Command, DeletedSchedule, Effect, Outcome, Rejection, RequestKey,
    ScheduleChange,
};
use crate::ids::{
    BackfillId, DrawnId, FencingToken, LogPosition, ObjectId, Revision, RunId, ScheduleId, ScheduleKey,
    UnixMillis,
};
use crate::object::{Object, ObjectName};
use crate::run::{Census, IllegalTransition, Report, Run, RunEvent, RunState, Series, Verdict};
use crate::schedule::{Pause, Schedule};

use answers::Answers;
use arcstr::ArcStr;
use definitions::Definitions;
use lanes::Slot;
use names::NameIndex;
use records::DirtyBlocks;
use table::Table;

pub use answers::Answer;
pub use backfills::{BackfillRequest, LastInstants};
pub use canonical::{Digester, digest_of};
pub use due::DueIndex;
pub use invariants::Violation;
pub use leases::LeaseIndex;
pub use records::{BlockId, BlockKind, Record, RestoreError, Subject, Totals};
pub use restoration::{COUNTER_GAP, Restoration, RestoreTally};
pub use run_id_set::RunIdSet;
pub use zones::{LastPart, MOVES_NAMED_MAX, ZoneChange, ZoneData, ZoneMove};

/// Runs triggered by hand that may wait on one schedule.
pub const MANUAL_WAITING_MAX: usize = 100;

/// Begun later than this after its scheduled time, a run says why.
pub const LATE_AFTER_MS: i64 = 1000;

/// The replicated state of a cluster. See the module's documentation.
#[derive(Clone, Default)]
pub struct State {
    totals: Totals,
    slots: Table<ScheduleId, Slot>,
    runs: Table<RunId, Run>,
    reports: BTreeMap<RunId, Report>,
    answers: Answers,
    objects: BTreeMap<ObjectId, Object>,

    object_ids: BTreeMap<ObjectName, ObjectId>,
    /// The revision of the last change of what users declare: who depends on it looks again when this rises.
    declared_revision: Revision,
    /// Schedules by the calendars that they use.
    calendar_users: BTreeMap<ScheduleKey, BTreeSet<ScheduleId>>,
    /// Schedules whose calendars changed since their next instant was computed.
    stale: BTreeSet<ScheduleId>,
    backfills: BTreeSet<(ScheduleId, BackfillId)>,
    /// Backfills that want their next instant.
    advancing: BTreeSet<BackfillId>,
    running_by_pool: BTreeMap<ArcStr, u32>,
    running_by_namespace: BTreeMap<ArcStr, u32>,
    definitions: Definitions,
    names: NameIndex,
    by_nominal: BTreeMap<RowKey, RunId>,
    /// Schedules that are deleted and not forgotten, by the name they had.
    deleted: BTreeSet<(ScheduleKey, ScheduleId)>,
    /// Number of answers about a run or an object: as long as there are any, it stays (API-2). Those about a schedule are counted
    /// beside it.
    answered: BTreeMap<Subject, u32>,
    due: DueIndex,
    ready: RunIdSet,
    leases: LeaseIndex,
    deadlines: BTreeSet<(UnixMillis, RunId)>,
    /// Pauses that end by themselves.
    pause_ends: BTreeSet<(UnixMillis, ScheduleId)>,
    /// Running runs that shall end.
    cancelling: BTreeSet<RunId>,
    /// Where the command stands that is being applied.
    at: LogPosition,
    /// Schedules to be forgotten at the end of that command: they were deleted because they are over.
    leaving: Vec<ScheduleId>,
    reports_weight_bytes: u64,
    census: Census,
    dirty: DirtyBlocks,
    /// What the command that is being applied has changed so far.
    changes: Changes,
}

/// Identity of a row within the ledger (RUN-1). Rows by hand live beside those of the timing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
struct RowKey {
    schedule: ScheduleId,
    nominal_at: UnixMillis,
    series: Series,
}

impl RowKey {
    fn of(run: &Run) -> Self {
        Self { schedule: run.schedule, nominal_at: run.nominal_at, series: run.series() }
    }
}

impl State {
    /// Applies one committed command. Same state and same command give the same result, on every node, for ever
    /// (APPLY-1). Nothing that a client can send makes it panic.
    pub fn apply(&mut self, at: LogPosition, command: Command) -> Applied {
        self.at = at;
        let mut effects = Vec::new();
        let outcome = self.answer_once(command, &mut effects);
        for id in std::mem::take(&mut self.leaving) {
            self.forget_deleted(id);
        }
        Applied { outcome, effects, changes: std::mem::take(&mut self.changes) }
    }

    /// API-2: a request that was answered before changes nothing: it is answered with its record as it is by now.
    fn answer_once(&mut self, command: Command, effects: &mut Vec<Effect>) -> Result<Outcome, Rejection> {
        if let Some(request) = &command.request
            && let Some(answer) = self.answers.get(&request.id)
        {
            let id = request.id.clone();
            if answer.fingerprint != request.fingerprint {
                return Err(Rejection::RequestIdReused { id });
            }
            return match (answer.subject, &command.action) {
                (Subject::Object(object), Action::DeleteObject { .. })
                    if !self.objects.contains_key(&object) =>
                {
                    Ok(Outcome::Gone)
                }
                (subject, _) => self.repeat(subject, id),
            };
        }
        let outcome = self.act(command.now, command.action, effects)?;
        if let Some(request) = command.request {
            self.remember(request, command.now, &outcome);
        }
        if let Outcome::Deleted { schedule, .. } = &outcome {
            // One that never had a row goes at once, unless this answer may be asked for again.
            self.forget_deleted(schedule.id);
        }
        Ok(outcome)
    }

    fn act(
        &mut self,
        now: UnixMillis,
        action: Action,
        effects: &mut Vec<Effect>,
    ) -> Result<Outcome, Rejection> {
        match action {
            Action::CreateSchedule { key, uid, definition, next_fire_at, calendars, pause } => {
                self.create_schedule(now, key, uid, definition, next_fire_at, calendars, pause)
            }
            Action::UpdateSchedule { key, expected, definition, retime, calendars } => {
                self.update_schedule(now, key, expected, definition, retime, calendars, effects)
            }
            Action::PutObject { declared, expected } => self.put_object(now, declared, expected),
            Action::DeleteObject { name, expected } => self.delete_object(name, expected),
            Action::Retime(retimed) => Ok(self.retime_stale(now, retimed, effects)),
            Action::Rezone { version, rezoned, last } => {
                Ok(self.rezone(now, version, rezoned, last, effects))
            }
            Action::CreateBackfill { key, request } => self.create_backfill(now, key, request),
            Action::AdvanceBackfill { backfill, instants, last } => {
                Ok(self.advance_backfill(now, backfill, &instants, last, effects))
            }
            Action::ControlBackfill { backfill, verb, actor, reason } => {
                let verdict = Verdict { actor, reason, at: now };
                self.control_backfill(now, backfill, verb, verdict, effects)
            }
            Action::DeleteSchedule { key, expected } => self.delete_schedule(now, key, expected),
            Action::PauseSchedule { key, expected, reason, actor, until } => {
                let pause = Pause { reason, actor, paused_at: now, until, skipped: 0 };
                self.pause_schedule(now, key, expected, pause, effects)
            }
            Action::ResumeSchedule { key, expected, missed, actor } => {
                self.resume_schedule(now, key, expected, missed, actor, effects)
            }
            Action::EndPauses(schedules) => Ok(self.end_pauses(now, schedules, effects)),
            Action::TriggerSchedule { key, actor, overlap } => {
                self.trigger_schedule(now, key, actor, overlap, effects)
            }
            Action::CancelRun { run, actor, reason } => self.cancel_run(now, run, actor, reason, effects),
            Action::ResolveRun { run, resolution, actor, reason } => {
                self.resolve_run(now, run, resolution, actor, reason, effects)
            }
            Action::Fire(groups) => Ok(self.fire(now, groups, effects)),
            Action::Begin(groups) => Ok(self.begin(now, groups, effects)),
            Action::Complete(completions) => Ok(self.complete(now, completions, effects)),
            Action::ExpireLeases(losses) => Ok(self.expire_leases(now, losses, effects)),
            Action::ExpireStarts(runs) => Ok(self.expire_starts(now, runs, effects)),
            Action::Prune(prune) => Ok(self.prune(prune)),
            Action::RaiseFeatureLevel(level) => Ok(self.raise_feature_level(now, level, effects)),
        }
    }

    fn raise_feature_level(&mut self, now: UnixMillis, level: u32, effects: &mut Vec<Effect>) -> Outcome {
        let knew = self.knows_level_2();
        self.totals_mut().feature_level = self.totals.feature_level.max(level);
        if self.knows_level_2() && !knew {
            self.note_what_was_pruned();
            // Which runs may begin is a matter of the level: what was decided before must not outlive a restart (APPLY-1).
            for id in self.slots.keys().collect::<Vec<_>>() {
                self.offer_ready(id, now, effects);
            }
        }
        Outcome::FeatureLevel(self.totals.feature_level)
    }

    /// The first release did not note which rows it dropped. Of a schedule that has lost some, nothing up to now is known to be
    /// missing: a backfill must not take for missing what ran. Once in the life of a cluster, and linear.
    fn note_what_was_pruned(&mut self) {
        for slot in self.slots.values_mut() {
            let ended = slot.schedule.counters.ended();
            let active = slot.lanes().active().count() as u64;
            if ended + active > slot.rows.into() {
                let watermark = slot.schedule.watermark;
                slot.schedule.change_remains(|remains| remains.pruned_until = Some(watermark));
                self.dirty.insert(BlockId::of_schedule(slot.schedule.id));
            }
        }
    }

    /// Whether every member counts what feature level 2 counts: before, replicas of the first release would differ.
    fn knows_level_2(&self) -> bool {
        self.totals.feature_level >= 2
    }

    // ---- answers to request ids

    fn repeat(&self, subject: Subject, id: DrawnId) -> Result<Outcome, Rejection> {
        match subject {
            Subject::Schedule(schedule) => self
                .slots
                .get(&schedule)
                .map(|slot| Outcome::Schedule(Box::new(slot.schedule.clone())))
                .ok_or(Rejection::RequestIdReused { id }),
            Subject::Run(run) => self
                .runs
                .get(&run)
                .map(|run| Outcome::Run(Box::new(run.clone())))
                .ok_or(Rejection::RequestIdReused { id }),
            // One that was deleted since cannot be shown; that it was there once is all there is to say.
            Subject::Object(object) => self
                .objects
                .get(&object)
                .map(|object| Outcome::Object(Box::new(object.clone())))
                .ok_or(Rejection::RequestIdReused { id }),
        }
    }

    fn remember(&mut self, request: RequestKey, now: UnixMillis, outcome: &Outcome) {
        let subject = match outcome {
            Outcome::Schedule(schedule) | Outcome::Deleted { schedule, .. } => Subject::Schedule(schedule.id),
            Outcome::Run(run) => Subject::Run(run.id),
            Outcome::Object(object) => Subject::Object(object.id),
            Outcome::Fired(_)
            | Outcome::Begun(_)
            | Outcome::Completed(_)
            | Outcome::Lost(_)
            | Outcome::Expired(_)
            | Outcome::Pruned(_)
            | Outcome::Retimed(_)
            | Outcome::Advanced(_)
            | Outcome::Gone
            | Outcome::FeatureLevel(_) => return,
        };
        let sequence = self.totals.next_answer;
        self.totals_mut().next_answer += 1;
        self.touch(BlockId::of_answer(sequence));
        self.count_answer(subject);
        let answer = Answer { id: request.id, fingerprint: request.fingerprint, answered_at: now, subject };
        self.answers.insert(sequence, answer);
    }

    fn count_answer(&mut self, subject: Subject) {
        match subject {
            Subject::Schedule(id) => self.slot_mut(id).answers += 1,
            Subject::Run(_) | Subject::Object(_) => *self.answered.entry(subject).or_default() += 1,
        }
    }

    fn drop_answer(&mut self, sequence: u64) -> bool {
        let Some(answer) = self.answers.remove(sequence) else { return false };
        self.touch(BlockId::of_answer(sequence));
        match answer.subject {
            Subject::Schedule(id) => {
                self.slot_mut(id).answers -= 1;
                self.forget_deleted(id);
            }
            subject @ (Subject::Run(_) | Subject::Object(_)) => {
                let left = self.answered.get_mut(&subject).expect("every answer is counted");
                *left -= 1;
                if *left == 0 {
                    self.answered.remove(&subject);
                }
            }
        }
        true
    }

    /// Whether a request may still be repeated whose answer is this record.
    pub fn is_answer(&self, subject: Subject) -> bool {
        match subject {
            Subject::Schedule(id) => self.slots.get(&id).is_some_and(|slot| slot.answers > 0),
            Subject::Run(_) | Subject::Object(_) => self.answered.contains_key(&subject),
        }
    }

    // ---- retention

    fn prune(&mut self, prune: crate::command::Prune) -> Outcome {
        let mut pruned = 0;
        for id in prune.runs {
            pruned += u32::from(self.drop_row(id));
        }
        for id in prune.reports {
            pruned += u32::from(self.drop_report(id));
        }
        for sequence in prune.answers {
            pruned += u32::from(self.drop_answer(sequence));
        }
        Outcome::Pruned(pruned)
    }

    /// Drops the row of a run that has ended, and its schedule with the last row of a deleted one.
    fn drop_row(&mut self, id: RunId) -> bool {
        let ended = self.runs.get(&id).is_some_and(|run| run.state.ended_at().is_some());
        if !ended || self.is_answer(Subject::Run(id)) {
            return false;
        }
        let run = self.runs.remove(&id).expect("it was just found");
        self.census.take_away(&run.state);
        self.touch(BlockId::of_run(id));
        self.drop_report(id);
        let row = RowKey::of(&run);
        if self.by_nominal.get(&row) == Some(&id) {
            self.by_nominal.remove(&row);
        }
        let counted = self.knows_level_2() && run.series() == Series::Timing;
        let slot = self.slots.get_mut(&run.schedule).expect("every row has its schedule");
        slot.rows -= 1;
        if counted && slot.schedule.remains().pruned_until < Some(run.nominal_at) {
            slot.schedule.change_remains(|remains| remains.pruned_until = Some(run.nominal_at));
            self.touch(BlockId::of_schedule(run.schedule));
        }
        self.forget_deleted(run.schedule);
        true
    }

    /// Drops a deleted schedule that neither a row nor an answer names any more.
    fn forget_deleted(&mut self, id: ScheduleId) {
        let Some(slot) = self.slots.get(&id) else { return };
        if slot.rows > 0
            || slot.schedule.remains().deleted_at.is_none()
            || self.is_answer(Subject::Schedule(id))
        {
            return;
        }
        self.deleted.remove(&(slot.schedule.key.clone(), id));
        self.forget_backfills(id);
        self.slots.remove(&id);
        self.touch(BlockId::of_schedule(id));
    }

    fn drop_report(&mut self, id: RunId) -> bool {
        let Some(report) = self.reports.remove(&id) else { return false };
        self.reports_weight_bytes -= report.weight_bytes();
        self.touch(BlockId::of_report(id));
        true
    }

    // ---- rows: every change of a run goes through here

    fn add_row(&mut self, run: Run) -> RunId {
        let id = run.id;
        self.touch_run(id);
        let former = self.by_nominal.insert(RowKey::of(&run), id);
        assert!(former.is_none(), "RUN-1: schedule {} has two rows at {:?}", run.schedule, run.nominal_at);
        self.slot_mut(run.schedule).rows += 1;
        self.census.add(&run.state);
        self.runs.insert(id, run);
        id
    }

    /// Moves a run along its life cycle; an illegal move changes nothing.
    fn step(&mut self, id: RunId, event: &RunEvent, now: UnixMillis) -> Result<(), IllegalTransition> {
        let run = self.runs.get_mut(&id).expect("callers step rows that exist");
        let state = run.state.after(event, now)?;
        let former = std::mem::replace(&mut run.state, state);
        self.census.take_away(&former);
        self.census.add(&run.state);
        self.touch_run(id);
        Ok(())
    }

    fn next_run_id(&mut self) -> RunId {
        let id = RunId(self.totals.next_run);
        self.totals_mut().next_run += 1;
        id
    }

    fn next_token(&mut self) -> FencingToken {
        // RUN-3: from 1, so that 0 can mean "refused" on the wire.
        self.totals_mut().next_token += 1;
        FencingToken(self.totals.next_token)
    }

    fn slot_mut(&mut self, id: ScheduleId) -> &mut Slot {
        self.slots.get_mut(&id).expect("every row and every index entry has its schedule")
    }

    fn totals_mut(&mut self) -> &mut Totals {
        self.touch(BlockId::TOTALS);
        &mut self.totals
    }

    fn touch(&mut self, block: BlockId) {
        self.dirty.insert(block);
    }

    /// A row changed: it must be written, and whoever watches should know.
    fn touch_run(&mut self, id: RunId) {
        self.touch(BlockId::of_run(id));
        if self.changes.runs.last() != Some(&id) {
            self.changes.runs.push(id);
        }
    }

    /// Whoever watches schedules should know of this one.
    fn tell_of(&mut self, id: ScheduleId, change: ScheduleChange) {
        if self.changes.schedules.last().is_none_or(|(last, _)| *last != id) {
            self.changes.schedules.push((id, change));
        }
    }

    fn tell_of_deleted(&mut self, id: ScheduleId) {
        let schedule = &self.slots[&id].schedule;
        let labels = schedule.definition.labels.clone();
        let deleted = DeletedSchedule { key: schedule.key.clone(), uid: schedule.uid.clone(), labels };
        self.changes.deleted.push(deleted);
    }

    // ---- what others may read

    /// The feature level in force: no command of a later one may be proposed.
    pub fn feature_level(&self) -> u32 {
        self.totals.feature_level
    }

    /// Schedules by instant.
    pub fn due(&self) -> &DueIndex {
        &self.due
    }

    /// The schedule of a handle, deleted ones with rows included.
    pub fn schedule(&self, id: ScheduleId) -> Option<&Schedule> {
        self.slots.get(&id).map(|slot| &slot.schedule)
    }

    /// The schedule of a name.
    pub fn schedule_named(&self, key: &ScheduleKey) -> Option<&Schedule> {
        self.names.get(key).and_then(|id| self.schedule(id))
    }

    /// Schedules in order of name, from `from` on.
    pub fn schedules_from<'a>(&'a self, from: &ScheduleKey) -> impl Iterator<Item = &'a Schedule> + 'a {
        self.names.from(from).filter_map(|id| self.schedule(id))
    }

    /// All schedule handles from `from` on, deleted ones with rows included.
    pub fn schedule_ids_from(&self, from: ScheduleId) -> impl Iterator<Item = ScheduleId> + '_ {
        self.slots.range(from..).map(|(id, _)| id)
    }

    /// Schedules of a name that were deleted but still have rows or answers: newest first.
    pub fn deleted_named(&self, key: &ScheduleKey) -> impl Iterator<Item = &Schedule> {
        let (first, last) = ((key.clone(), ScheduleId(0)), (key.clone(), ScheduleId(u64::MAX)));
        self.deleted.range(first..=last).rev().filter_map(|(_, id)| self.schedule(*id))
    }

    /// Number of schedules that are not deleted.
    pub fn schedule_count(&self) -> usize {
        self.names.len()
    }

    /// How many runs of a schedule wait to begin, and how many are running.
    pub fn active_counts(&self, id: ScheduleId) -> (usize, usize) {
        let Some(slot) = self.slots.get(&id) else { return (0, 0) };
        let running = |id: &&RunId| matches!(self.runs[id].state, RunState::Running(_));
        let lanes = slot.lanes();
        let running = lanes.open.iter().filter(running).count();
        (lanes.waiting_count() + lanes.open.len() - running, running)
    }

    /// How many triggers by hand, and resumes, of a schedule wait to begin.
    pub fn waiting_triggers(&self, id: ScheduleId) -> usize {
        self.slots.get(&id).map_or(0, |slot| slot.lanes().manual.len())
    }

    /// Runs of a schedule that are not over: those that wait for their first begin, and then those that began.
    pub fn active_runs(&self, id: ScheduleId) -> impl Iterator<Item = &Run> {
        let slot = self.slots.get(&id);
        let active = slot.into_iter().flat_map(|slot| slot.lanes().active());
        active.filter_map(|id| self.runs.get(&id))
    }

    /// Number of rows of a schedule.
    pub fn row_count(&self, id: ScheduleId) -> u64 {
        self.slots.get(&id).map_or(0, |slot| slot.rows.into())
    }

    /// The run of a handle.
    pub fn run(&self, id: RunId) -> Option<&Run> {
        self.runs.get(&id)
    }

    /// Rows from `from` on, in order of creation.
    pub fn runs_from(&self, from: RunId) -> impl DoubleEndedIterator<Item = &Run> {
        self.runs.range(from..).map(|(_, run)| run)
    }

    /// Rows before `before`, newest first.
    pub fn runs_before(&self, before: RunId) -> impl Iterator<Item = &Run> {
        self.runs.range(..before).rev().map(|(_, run)| run)
    }

    /// The row of an instant of a schedule.
    pub fn run_at(&self, schedule: ScheduleId, nominal_at: UnixMillis, series: Series) -> Option<&Run> {
        self.by_nominal.get(&RowKey { schedule, nominal_at, series }).and_then(|id| self.runs.get(id))
    }

    /// Rows of a schedule before (instant, series), newest instant first.
    pub fn rows_before(
        &self,
        schedule: ScheduleId,
        before: (UnixMillis, Series),
    ) -> impl Iterator<Item = &Run> {
        let first = RowKey { schedule, nominal_at: UnixMillis(i64::MIN), series: Series::Timing };
        let end = RowKey { schedule, nominal_at: before.0, series: before.1 };
        self.by_nominal.range(first..end).rev().filter_map(|(_, id)| self.runs.get(id))
    }

    /// Rows of a schedule, oldest instant first.
    pub fn rows(&self, schedule: ScheduleId) -> impl Iterator<Item = &Run> {
        self.rows_from(schedule, UnixMillis(i64::MIN))
    }

    /// Rows of a schedule from an instant on, oldest instant first.
    pub fn rows_from(&self, schedule: ScheduleId, from: UnixMillis) -> impl Iterator<Item = &Run> {
        let first = RowKey { schedule, nominal_at: from, series: Series::Timing };
        let last = RowKey { schedule, nominal_at: UnixMillis(i64::MAX), series: Series::LAST };
        self.by_nominal.range(first..=last).filter_map(|(_, id)| self.runs.get(id))
    }

    /// What an executor said of a run.
    pub fn report(&self, id: RunId) -> Option<&Report> {
        self.reports.get(&id)
    }

    /// Reports in order of creation of their runs, and what all of them weigh.
    pub fn reports(&self) -> (impl Iterator<Item = (RunId, &Report)>, u64) {
        (self.reports.iter().map(|(id, report)| (*id, report)), self.reports_weight_bytes)
    }

    /// Answers with their sequences, in the order they were given.
    pub fn answers(&self) -> impl Iterator<Item = (u64, &Answer)> {
        self.answers.iter()
    }

    /// Runs that may begin now, in order of creation.
    pub fn ready(&self) -> &RunIdSet {
        &self.ready
    }

    /// Leases by executor and by end.
    pub fn leases(&self) -> &LeaseIndex {
        &self.leases
    }

    /// Due runs with a start deadline, earliest first.
    pub fn start_deadlines(&self) -> impl Iterator<Item = (UnixMillis, RunId)> + '_ {
        self.deadlines.iter().copied()
    }

    /// Running runs that shall end: their executors are told until they have.
    pub fn cancelling(&self) -> &BTreeSet<RunId> {
        &self.cancelling
    }

    /// Pauses that end by themselves, earliest first.
    pub fn pause_ends(&self) -> impl Iterator<Item = (UnixMillis, ScheduleId)> + '_ {
        self.pause_ends.iter().copied()
    }

    /// Number of rows.
    pub fn run_count(&self) -> usize {
        self.runs.len()
    }

    /// Number of rows by the name of their state.
    pub fn census(&self) -> &Census {
        &self.census
    }

    /// Where a run is, if it exists.
    pub fn run_state(&self, id: RunId) -> Option<&RunState> {
        self.runs.get(&id).map(|run| &run.state)
    }
}
