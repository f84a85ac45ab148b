//! Schedules come, change, pause and go.

use std::sync::Arc;

use arcstr::ArcStr;

use crate::backfill::BackfillMode;
use crate::command::{Effect, Outcome, Rejection, ResumeMissed, Retime, ScheduleChange};
use crate::definition::{CompletionAction, Definition};
use crate::ids::{DrawnId, Revision, ScheduleId, ScheduleKey, UnixMillis};
use crate::run::{Reason, RunEvent, RunState, Trigger};
use crate::schedule::{Pause, Schedule};
use crate::state::lanes::Slot;
use crate::state::{BackfillRequest, BlockId, State};

impl State {
    #[allow(clippy::too_many_arguments, reason = "the command's fields, unpacked")]
    pub(super) fn create_schedule(
        &mut self,
        now: UnixMillis,
        key: ScheduleKey,
        uid: DrawnId,
        definition: Arc<Definition>,
        next_fire_at: Option<UnixMillis>,
        calendars: Revision,
        pause: Option<Pause>,
    ) -> Result<Outcome, Rejection> {
        if self.names.get(&key).is_some() {
            return Err(Rejection::ScheduleExists { key });
        }
        let max = self.namespace(&key.namespace).and_then(|namespace| namespace.schedules_max);
        if let Some(max) = max.filter(|max| self.schedules_in(&key.namespace) >= *max) {
            return Err(Rejection::TooManySchedules { namespace: key.namespace, max });
        }
        self.check_calendars(&key, &definition)?;
        after_now(next_fire_at, now)?;
        let (key, definition) = (self.names.sharing(key), self.definitions.share(definition));
        let id = ScheduleId(self.totals.next_schedule);
        self.totals_mut().next_schedule += 1;
        let mut schedule = Schedule::new(id, uid, key, definition, now);
        schedule.revision = Revision(self.at.index);
        schedule.next_fire_at = next_fire_at;
        schedule.pause = pause.map(|pause| Box::new(Pause { paused_at: now, skipped: 0, ..pause }));
        schedule.timed_with = calendars;
        self.touch(BlockId::of_schedule(id));
        self.names.insert(&schedule.key, id);
        if let Some(next) = next_fire_at {
            self.due.insert(next, id);
        }
        if let Some(until) = schedule.pause.as_ref().and_then(|pause| pause.until) {
            self.pause_ends.insert((until, id));
        }
        self.slots.insert(id, Slot::new(schedule));
        self.watch_calendars(id);
        self.tell_of(id, ScheduleChange::Created);
        Ok(self.schedule_outcome(id))
    }

    #[allow(clippy::too_many_arguments, reason = "the command's fields, unpacked")]
    pub(super) fn update_schedule(
        &mut self,
        now: UnixMillis,
        key: ScheduleKey,
        expected: Option<Revision>,
        definition: Arc<Definition>,
        retime: Retime,
        calendars: Revision,
        effects: &mut Vec<Effect>,
    ) -> Result<Outcome, Rejection> {
        let id = self.find_at(&key, expected)?;
        let schedule = &self.slots[&id].schedule;
        if schedule.definition == definition {
            return Ok(self.schedule_outcome(id));
        }
        self.check_calendars(&key, &definition)?;
        if let Retime::From(next) = retime {
            self.caught_up(id, now)?;
            after_now(next, now)?;
            self.after_watermark(id, next)?;
            let slot = &self.slots[&id];
            let begun = slot.schedule.counters.begun;
            let exhausted = definition.max_runs.is_some_and(|max| begun >= max);
            // A fixed delay counts from the end of what is open or waits.
            let counting = definition.timing.fixed_delay().is_some() && slot.lanes().has_timing_runs();
            self.retime(id, now, next.filter(|_| !exhausted && !counting));
        }
        let in_use = self.slots[&id].is_active();
        let definition = self.definitions.share(definition);
        let schedule = self.schedule_mut(id, now);
        if !schedule.definition.runs_like(&definition) {
            // What is already due keeps the definition that it was made from.
            if in_use {
                let former = (schedule.generation, schedule.definition.clone());
                schedule.change_remains(|remains| remains.retired.extend([former]));
            }
            schedule.generation = schedule.generation.next();
        }
        self.unwatch_calendars(id);
        let schedule = &mut self.slot_mut(id).schedule;
        schedule.definition = definition;
        if let Retime::From(_) = retime {
            schedule.timed_with = calendars;
        }
        self.watch_calendars(id);
        self.settle(id, now, effects);
        Ok(self.schedule_outcome(id))
    }

    /// Moves the next instant; the instants up to `now` are done with.
    fn retime(&mut self, id: ScheduleId, now: UnixMillis, next: Option<UnixMillis>) {
        self.move_next(id, now, next);
        let schedule = &mut self.slot_mut(id).schedule;
        schedule.watermark = schedule.watermark.max(now);
    }

    /// Moves the next instant. The caller sees to what may begin: a schedule is behind only as long as that instant has come.
    pub(super) fn move_next(&mut self, id: ScheduleId, now: UnixMillis, next: Option<UnixMillis>) {
        self.touch(BlockId::of_schedule(id));
        self.tell_of(id, ScheduleChange::Changed);
        let schedule = &mut self.slot_mut(id).schedule;
        schedule.catching_up &= next.is_some_and(|next| next <= now);
        if let Some(former) = std::mem::replace(&mut schedule.next_fire_at, next) {
            self.due.remove(former, id);
        }
        if let Some(next) = next {
            self.due.insert(next, id);
        }
    }

    pub(super) fn delete_schedule(
        &mut self,
        now: UnixMillis,
        key: ScheduleKey,
        expected: Option<Revision>,
    ) -> Result<Outcome, Rejection> {
        let id = self.find_at(&key, expected)?;
        self.caught_up(id, now)?;
        self.retime(id, now, None);
        Ok(self.retire(id, now))
    }

    /// The schedule is gone; what waited is CANCELLED, what runs ends as it ends.
    fn retire(&mut self, id: ScheduleId, now: UnixMillis) -> Outcome {
        let slot = self.slot_mut(id);
        slot.schedule.change_remains(|remains| remains.deleted_at = Some(now));
        let key = slot.schedule.key.clone();
        let until = slot.schedule.pause.as_ref().and_then(|pause| pause.until);
        let waiting: Vec<_> = slot.lanes().active().collect();
        let ready = slot.take_ready();
        if let Some(until) = until {
            self.pause_ends.remove(&(until, id));
        }
        self.names.remove(&key);
        self.unwatch_calendars(id);
        self.cancel_backfills(id, now);
        for id in ready {
            self.ready.remove(&id);
        }
        let mut cancelled = 0;
        for run in waiting {
            if matches!(self.runs[&run].state, RunState::Due { .. }) {
                self.end_waiting(run, &RunEvent::Cancel(Reason::ScheduleDeleted), now);
                cancelled += 1;
            }
        }
        self.forget_retired(id);
        let schedule = Box::new(self.schedule_mut(id, now).clone());
        self.deleted.insert((key, id));
        self.tell_of_deleted(id);
        Outcome::Deleted { schedule, cancelled }
    }

    /// Nothing of a schedule runs or waits, and its timing names no next instant: a fixed delay begins to count, and a schedule
    /// that is over may be deleted.
    pub(super) fn after_last_run(&mut self, id: ScheduleId, now: UnixMillis) {
        if self.stale.contains(&id) {
            // Whether there is a next instant is not known.
            return;
        }
        let schedule = &self.slots[&id].schedule;
        let timing = &schedule.definition.timing;
        if let Some(delay) = timing.fixed_delay()
            && !schedule.is_exhausted()
        {
            let next = now.max(schedule.watermark).plus(delay);
            if timing.end_at.is_none_or(|end| next < end) {
                self.touch(BlockId::of_schedule(id));
                self.tell_of(id, ScheduleChange::Changed);
                self.slot_mut(id).schedule.next_fire_at = Some(next);
                self.due.insert(next, id);
                return;
            }
        }
        let has_run = schedule.counters.ended() > 0;
        let deletes_itself = schedule.definition.completion == CompletionAction::Delete;
        // A backfill is between two of its rows.
        if has_run && deletes_itself && self.open_backfill(id).is_none() {
            self.retire(id, now);
            self.leaving.push(id);
        }
    }

    pub(super) fn pause_schedule(
        &mut self,
        now: UnixMillis,
        key: ScheduleKey,
        expected: Option<Revision>,
        pause: Pause,
        effects: &mut Vec<Effect>,
    ) -> Result<Outcome, Rejection> {
        let id = self.find_at(&key, expected)?;
        if pause.until.is_some_and(|until| until <= now) {
            return Err(Rejection::Malformed { why: "the pause ends before it begins" });
        }
        let former = self.slots[&id].schedule.pause.clone();
        if former.as_ref().is_some_and(|former| !former.holds(now)) {
            // The instants inside it must have their SKIPPED rows before another one begins.
            self.caught_up(id, now)?;
        }
        // One whose time is up is over, whether or not the leader has said so.
        let former = former.filter(|former| former.holds(now));
        // A second pause changes the words and the end, not the instant since when nothing starts.
        let (paused_at, skipped) = former.map_or((now, 0), |former| (former.paused_at, former.skipped));
        self.set_pause(id, Some(Pause { paused_at, skipped, ..pause }));
        self.schedule_mut(id, now);
        self.settle(id, now, effects);
        Ok(self.schedule_outcome(id))
    }

    #[allow(clippy::too_many_arguments, reason = "the command's fields, unpacked")]
    pub(super) fn resume_schedule(
        &mut self,
        now: UnixMillis,
        key: ScheduleKey,
        expected: Option<Revision>,
        missed: ResumeMissed,
        actor: ArcStr,
        effects: &mut Vec<Effect>,
    ) -> Result<Outcome, Rejection> {
        let id = self.find_at(&key, expected)?;
        let Some(pause) = self.slots[&id].schedule.pause.clone() else {
            return Ok(self.schedule_outcome(id));
        };
        // The instants inside the pause must have their SKIPPED rows before it ends.
        self.caught_up(id, now)?;
        // What is asked for is done, or the pause stays: FIRE_ALL is a backfill, and there is one at a time.
        let backfill = self.backfill_of_pause(now, id, &pause, &missed, &actor)?;
        self.set_pause(id, None);
        self.schedule_mut(id, now);
        if missed == ResumeMissed::Coalesce && pause.skipped > 0 {
            let run = self.add_manual(now, id, Trigger::Resume, actor);
            let run = self.runs.get_mut(&run).expect("it was just added");
            run.window_start_at = pause.paused_at;
            run.merged_count = u32::try_from(pause.skipped).unwrap_or(u32::MAX);
        } else if let Some(backfill) = backfill {
            self.add_backfill(now, id, backfill);
        }
        self.settle(id, now, effects);
        Ok(self.schedule_outcome(id))
    }

    /// What makes up for every instant of a pause, if that is asked for and there is any.
    fn backfill_of_pause(
        &self,
        now: UnixMillis,
        id: ScheduleId,
        pause: &Pause,
        missed: &ResumeMissed,
        actor: &ArcStr,
    ) -> Result<Option<BackfillRequest>, Rejection> {
        let ResumeMissed::FireAll { from_at, expected } = *missed else { return Ok(None) };
        let from_at = from_at.max(pause.paused_at.next());
        if from_at > now {
            return Ok(None);
        }
        let mode = BackfillMode::Missing;
        self.backfill_possible(id, mode, from_at)?;
        let reason = format!("resumed from: {}", pause.reason).into();
        let (until_at, actor) = (now.next(), actor.clone());
        Ok(Some(BackfillRequest { from_at, until_at, mode, expected, actor, reason }))
    }

    /// Ends the pauses whose time is up, once the instants inside have their rows.
    pub(super) fn end_pauses(
        &mut self,
        now: UnixMillis,
        schedules: Vec<ScheduleId>,
        effects: &mut Vec<Effect>,
    ) -> Outcome {
        let mut ended = 0;
        for id in schedules {
            let Some(slot) = self.slots.get(&id) else { continue };
            let until = slot.schedule.pause.as_ref().and_then(|pause| pause.until);
            let over = until.is_some_and(|until| {
                let has_rows = slot.schedule.next_fire_at.is_none_or(|next| next >= until);
                until <= now && has_rows && !self.stale.contains(&id)
            });
            if over {
                self.set_pause(id, None);
                self.schedule_mut(id, now);
                self.settle(id, now, effects);
                ended += 1;
            }
        }
        Outcome::Expired(ended)
    }

    /// Replaces the pause of a schedule and watches its end.
    pub(super) fn set_pause(&mut self, id: ScheduleId, pause: Option<Pause>) {
        self.touch(BlockId::of_schedule(id));
        self.tell_of(id, ScheduleChange::Changed);
        let until = pause.as_ref().and_then(|pause| pause.until);
        let former = std::mem::replace(&mut self.slot_mut(id).schedule.pause, pause.map(Box::new));
        if let Some(until) = former.and_then(|former| former.until) {
            self.pause_ends.remove(&(until, id));
        }
        if let Some(until) = until {
            self.pause_ends.insert((until, id));
        }
    }

    /// LEDGER-2: a change that moves or ends instants waits until all that came before it have their rows; which those are is
    /// not known while the calendars of the schedule are newer than its next instant.
    pub(super) fn caught_up(&self, id: ScheduleId, now: UnixMillis) -> Result<(), Rejection> {
        let schedule = &self.slots[&id].schedule;
        if schedule.next_fire_at.is_some_and(|next| next <= now) || self.stale.contains(&id) {
            return Err(Rejection::NotCaughtUp { key: schedule.key.clone() });
        }
        Ok(())
    }

    /// RUN-1: an instant that has its row must not come again. It would when a fire is committed between the reading and
    /// the writing of an edit, or when this leader's clock is behind that of the one before.
    fn after_watermark(&self, id: ScheduleId, next: Option<UnixMillis>) -> Result<(), Rejection> {
        let schedule = &self.slots[&id].schedule;
        if next.is_some_and(|next| next <= schedule.watermark) {
            return Err(Rejection::NotCaughtUp { key: schedule.key.clone() });
        }
        Ok(())
    }

    pub(super) fn find(&self, key: &ScheduleKey) -> Result<ScheduleId, Rejection> {
        self.names.get(key).ok_or_else(|| Rejection::ScheduleNotFound { key: key.clone() })
    }

    fn find_at(&self, key: &ScheduleKey, expected: Option<Revision>) -> Result<ScheduleId, Rejection> {
        let id = self.find(key)?;
        let current = self.slots[&id].schedule.revision;
        match expected {
            Some(expected) if expected != current => {
                Err(Rejection::RevisionMismatch { key: key.clone(), current })
            }
            _ => Ok(id),
        }
    }

    /// The schedule, marked as changed by a user.
    fn schedule_mut(&mut self, id: ScheduleId, now: UnixMillis) -> &mut Schedule {
        self.touch(BlockId::of_schedule(id));
        self.tell_of(id, ScheduleChange::Changed);
        let revision = Revision(self.at.index);
        let schedule = &mut self.slot_mut(id).schedule;
        schedule.revision = revision;
        schedule.updated_at = now;
        schedule
    }

    fn schedule_outcome(&self, id: ScheduleId) -> Outcome {
        Outcome::Schedule(Box::new(self.slots[&id].schedule.clone()))
    }
}

/// A proposer that computes an instant in the past would lose it in silence.
fn after_now(next: Option<UnixMillis>, now: UnixMillis) -> Result<(), Rejection> {
    match next {
        Some(next) if next <= now => Err(Rejection::Malformed { why: "next instant is not after now" }),
        _ => Ok(()),
    }
}
