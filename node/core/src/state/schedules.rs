//! Schedules come, change, pause and go.

use std::sync::Arc;

use crate::command::{Effect, Outcome, Rejection, Retime};
use crate::definition::Definition;
use crate::ids::{Generation, LogPosition, Revision, ScheduleId, ScheduleKey, UnixMillis};
use crate::run::{Reason, RunEvent};
use crate::schedule::{Counters, Pause, Schedule};
use crate::state::{BlockId, Slot, State};

impl State {
    #[allow(clippy::too_many_arguments, reason = "the command's fields, unpacked")]
    pub(super) fn create_schedule(
        &mut self,
        at: LogPosition,
        now: UnixMillis,
        key: ScheduleKey,
        uid: Arc<str>,
        definition: Arc<Definition>,
        next_fire_at: Option<UnixMillis>,
        pause: Option<Pause>,
    ) -> Result<Outcome, Rejection> {
        if self.by_key.contains_key(&key) {
            return Err(Rejection::ScheduleExists { key });
        }
        after_now(next_fire_at, now)?;
        let id = ScheduleId(self.totals.next_schedule);
        self.totals_mut().next_schedule += 1;
        let schedule = Schedule {
            id,
            uid,
            key: key.clone(),
            generation: Generation(1),
            revision: Revision(at.index),
            definition,
            retired: Default::default(),
            next_fire_at,
            watermark: now,
            catching_up: false,
            pause: pause.map(|pause| Pause { paused_at: now, ..pause }),
            created_at: now,
            updated_at: now,
            counters: Counters::default(),
            deleted_at: None,
        };
        self.touch(BlockId::of_schedule(id));
        self.by_key.insert(key, id);
        if let Some(next) = next_fire_at {
            self.due.insert(next, id);
        }
        self.slots.insert(id, Slot::new(schedule));
        Ok(self.schedule_outcome(id))
    }

    #[allow(clippy::too_many_arguments, reason = "the command's fields, unpacked")]
    pub(super) fn update_schedule(
        &mut self,
        at: LogPosition,
        now: UnixMillis,
        key: ScheduleKey,
        expected: Option<Revision>,
        definition: Arc<Definition>,
        retime: Retime,
        effects: &mut Vec<Effect>,
    ) -> Result<Outcome, Rejection> {
        let id = self.find_at(&key, expected)?;
        let schedule = &self.slots[&id].schedule;
        if schedule.definition == definition {
            return Ok(self.schedule_outcome(id));
        }
        if let Retime::From(next) = retime {
            self.caught_up(id, now)?;
            after_now(next, now)?;
            self.after_watermark(id, next)?;
            self.retime(id, now, next);
        }
        let in_use = self.slot_mut(id).waiting.is_some()
            || !self.slot_mut(id).manual.is_empty()
            || !self.slot_mut(id).running.is_empty();
        let schedule = self.schedule_mut(id, at, now);
        if !schedule.definition.runs_like(&definition) {
            // What is already due keeps the definition that it was made from.
            if in_use {
                schedule.retired.insert(schedule.generation, schedule.definition.clone());
            }
            schedule.generation = schedule.generation.next();
        }
        schedule.definition = definition;
        self.settle(id, now, effects);
        Ok(self.schedule_outcome(id))
    }

    /// Moves the next instant; the instants up to `now` are done with.
    fn retime(&mut self, id: ScheduleId, now: UnixMillis, next: Option<UnixMillis>) {
        let schedule = &mut self.slot_mut(id).schedule;
        let former = std::mem::replace(&mut schedule.next_fire_at, next);
        schedule.watermark = schedule.watermark.max(now);
        schedule.catching_up = false;
        if let Some(former) = former {
            self.due.remove(former, id);
        }
        if let Some(next) = next {
            self.due.insert(next, id);
        }
    }

    pub(super) fn delete_schedule(
        &mut self,
        at: LogPosition,
        now: UnixMillis,
        key: ScheduleKey,
        expected: Option<Revision>,
    ) -> Result<Outcome, Rejection> {
        let id = self.find_at(&key, expected)?;
        self.caught_up(id, now)?;
        self.retime(id, now, None);
        self.by_key.remove(&key);
        let slot = self.slot_mut(id);
        slot.schedule.deleted_at = Some(now);
        let waiting: Vec<_> =
            slot.waiting.take().into_iter().chain(std::mem::take(&mut slot.manual)).collect();
        let ready = slot.ready.take();
        let cancelled = u32::try_from(waiting.len()).unwrap_or(u32::MAX);
        slot.schedule.counters.not_started += u64::from(cancelled);
        if let Some(ready) = ready {
            self.ready.remove(&ready);
        }
        for run in waiting {
            self.unwatch_deadline(run);
            self.step(run, &RunEvent::Cancel(Reason::ScheduleDeleted), now).expect("a waiting row is DUE");
        }
        self.forget_retired(id);
        let schedule = Box::new(self.schedule_mut(id, at, now).clone());
        self.deleted.insert((key, id));
        Ok(Outcome::Deleted { schedule, cancelled })
    }

    #[allow(clippy::too_many_arguments, reason = "the command's fields, unpacked")]
    pub(super) fn pause_schedule(
        &mut self,
        at: LogPosition,
        now: UnixMillis,
        key: ScheduleKey,
        expected: Option<Revision>,
        reason: String,
        actor: String,
        effects: &mut Vec<Effect>,
    ) -> Result<Outcome, Rejection> {
        let id = self.find_at(&key, expected)?;
        let schedule = self.schedule_mut(id, at, now);
        // A second pause changes the words, not the instant since when nothing starts.
        let paused_at = schedule.pause.as_ref().map_or(now, |pause| pause.paused_at);
        schedule.pause = Some(Pause { reason, actor, paused_at });
        self.settle(id, now, effects);
        Ok(self.schedule_outcome(id))
    }

    pub(super) fn resume_schedule(
        &mut self,
        at: LogPosition,
        now: UnixMillis,
        key: ScheduleKey,
        expected: Option<Revision>,
        effects: &mut Vec<Effect>,
    ) -> Result<Outcome, Rejection> {
        let id = self.find_at(&key, expected)?;
        if self.slots[&id].schedule.pause.is_none() {
            return Ok(self.schedule_outcome(id));
        }
        // The instants inside the pause must have their SKIPPED rows before it ends.
        self.caught_up(id, now)?;
        self.schedule_mut(id, at, now).pause = None;
        self.settle(id, now, effects);
        Ok(self.schedule_outcome(id))
    }

    /// LEDGER-2: a change that moves or ends instants waits until all that came before it have their rows.
    fn caught_up(&self, id: ScheduleId, now: UnixMillis) -> Result<(), Rejection> {
        let schedule = &self.slots[&id].schedule;
        if schedule.next_fire_at.is_some_and(|next| next <= now) {
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
        self.by_key.get(key).copied().ok_or_else(|| Rejection::ScheduleNotFound { key: key.clone() })
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
    fn schedule_mut(&mut self, id: ScheduleId, at: LogPosition, now: UnixMillis) -> &mut Schedule {
        self.touch(BlockId::of_schedule(id));
        let schedule = &mut self.slot_mut(id).schedule;
        schedule.revision = Revision(at.index);
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

impl Slot {
    pub(super) fn new(schedule: Schedule) -> Self {
        Self {
            schedule,
            waiting: None,
            manual: Default::default(),
            running: Default::default(),
            ready: None,
            rows: 0,
        }
    }
}
