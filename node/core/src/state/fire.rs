//! Instants that have come: the watermark moves, and each gets its row.

use crate::command::{Effect, Fire, FireGroup, FireTally, Outcome, Rejection};
use crate::ids::{AttemptNo, RunId, ScheduleId, ScheduleKey, UnixMillis};
use crate::run::{Ending, Reason, Run, RunEvent, RunState, Trigger};
use crate::state::{BlockId, LATE_AFTER_MS, MANUAL_WAITING_MAX, State};

impl State {
    /// Makes the rows of instants that have come.
    pub(super) fn fire(
        &mut self,
        now: UnixMillis,
        groups: Vec<FireGroup>,
        effects: &mut Vec<Effect>,
    ) -> Outcome {
        let mut tally = FireTally::default();
        for group in groups {
            for fire in group.fires {
                if group.nominal_at <= now && self.takes(group.nominal_at, &fire) {
                    self.fire_one(now, group.nominal_at, fire, &mut tally, effects);
                } else {
                    tally.stale += 1;
                }
            }
        }
        Outcome::Fired(tally)
    }

    /// The compare of the compare-and-set: the schedule still expects this instant, by the timing it was computed from.
    fn takes(&self, nominal_at: UnixMillis, fire: &Fire) -> bool {
        self.slots.get(&fire.schedule).is_some_and(|slot| {
            slot.schedule.next_fire_at == Some(nominal_at)
                && slot.schedule.generation == fire.generation
                && fire.next_fire_at.is_none_or(|next| next > nominal_at)
        })
    }

    fn fire_one(
        &mut self,
        now: UnixMillis,
        nominal_at: UnixMillis,
        fire: Fire,
        tally: &mut FireTally,
        effects: &mut Vec<Effect>,
    ) {
        let id = self.next_run_id();
        self.due.remove(nominal_at, fire.schedule);
        if let Some(next) = fire.next_fire_at {
            self.due.insert(next, fire.schedule);
        }
        self.touch(BlockId::of_schedule(fire.schedule));
        let slot = self.slot_mut(fire.schedule);
        let window_start_at = slot.schedule.watermark;
        slot.schedule.next_fire_at = fire.next_fire_at;
        slot.schedule.watermark = nominal_at;
        slot.schedule.catching_up = fire.next_fire_at.is_some_and(|next| next <= now);
        let paused = slot.schedule.pause.as_ref().is_some_and(|pause| nominal_at > pause.paused_at);
        if paused {
            slot.schedule.counters.not_started += 1;
        }
        let late = now.0 - nominal_at.0 > LATE_AFTER_MS;
        let state = if paused {
            RunState::Ended { ending: Ending::Skipped(Reason::Paused), at: now, lease: None }
        } else {
            RunState::Due { held: late.then_some(Reason::CatchUp) }
        };
        self.add_row(Run {
            id,
            schedule: fire.schedule,
            generation: fire.generation,
            nominal_at,
            trigger: if late { Trigger::CatchUp } else { Trigger::Timer },
            actor: "".into(),
            created_at: now,
            window_start_at,
            merged_count: 0,
            attempt: AttemptNo(0),
            state,
        });
        tally.created += 1;
        tally.late += u32::from(late);
        if paused {
            tally.skipped += 1;
        } else {
            tally.merged += u32::from(self.take_waiting_place(now, fire.schedule, id));
            self.watch_deadline(id);
        }
        self.settle(fire.schedule, now, effects);
    }

    /// HOLD_ONE and COALESCE are one rule: the newest row waits, and the older one that had not begun becomes MERGED
    /// into it. 13 hours of backlog become one run.
    fn take_waiting_place(&mut self, now: UnixMillis, schedule: ScheduleId, id: RunId) -> bool {
        let Some(older) = self.slot_mut(schedule).waiting.replace(id) else { return false };
        let former = self.runs[&older].clone();
        let run = self.runs.get_mut(&id).expect("the row was just added");
        run.window_start_at = former.window_start_at;
        run.merged_count = former.merged_count.saturating_add(1);
        self.unwatch_deadline(older);
        self.step(older, &RunEvent::Merge(id), now).expect("a waiting row is DUE");
        self.slot_mut(schedule).schedule.counters.not_started += 1;
        true
    }

    /// Makes one run now, beside the timing.
    pub(super) fn trigger_schedule(
        &mut self,
        now: UnixMillis,
        key: ScheduleKey,
        actor: std::sync::Arc<str>,
        effects: &mut Vec<Effect>,
    ) -> Result<Outcome, Rejection> {
        let schedule = self.find(&key)?;
        let slot = self.slot_mut(schedule);
        let waiting = slot.manual.len();
        if waiting >= MANUAL_WAITING_MAX {
            return Err(Rejection::TooManyWaiting { key, waiting });
        }
        let generation = slot.schedule.generation;
        let mut nominal_at = now;
        while self.run_at(schedule, nominal_at, true).is_some() {
            nominal_at.0 += 1;
        }
        let id = self.next_run_id();
        self.add_row(Run {
            id,
            schedule,
            generation,
            nominal_at,
            trigger: Trigger::Manual,
            actor,
            created_at: now,
            window_start_at: nominal_at,
            merged_count: 0,
            attempt: AttemptNo(0),
            state: RunState::Due { held: None },
        });
        self.slot_mut(schedule).manual.insert(id);
        self.watch_deadline(id);
        self.settle(schedule, now, effects);
        Ok(Outcome::Run(Box::new(self.runs[&id].clone())))
    }

    /// Decides which waiting row of a schedule may begin now, and says so once.
    ///
    /// One at a time (HOLD_ONE); triggers go first and do not care about a pause, because somebody asked for them.
    pub(super) fn settle(&mut self, schedule: ScheduleId, now: UnixMillis, effects: &mut Vec<Effect>) {
        let slot = self.slot_mut(schedule);
        let held = if !slot.running.is_empty() || !slot.manual.is_empty() {
            Some(Reason::Overlap)
        } else if slot.schedule.pause.is_some() {
            Some(Reason::Paused)
        } else if slot.schedule.catching_up {
            Some(Reason::CatchUp)
        } else {
            None
        };
        let candidate = if !slot.running.is_empty() {
            None
        } else {
            slot.manual.first().copied().or(slot.waiting.filter(|_| held.is_none()))
        };
        let waiting = slot.waiting;
        let former = std::mem::replace(&mut slot.ready, candidate);
        if let (Some(waiting), Some(reason)) = (waiting, held) {
            self.step(waiting, &RunEvent::Hold(reason), now).expect("a waiting row is DUE");
        }
        self.forget_retired(schedule);
        if former == candidate {
            return;
        }
        if let Some(former) = former {
            self.ready.remove(&former);
        }
        if let Some(candidate) = candidate {
            self.ready.insert(candidate);
            effects.push(Effect::Offer(candidate));
        }
    }

    /// An older definition stays for as long as a row that has not ended was made from it.
    pub(super) fn forget_retired(&mut self, schedule: ScheduleId) {
        let slot = &self.slots[&schedule];
        if slot.schedule.retired.is_empty() {
            return;
        }
        let active = slot.waiting.iter().chain(&slot.manual).chain(&slot.running);
        let wanted: Vec<_> = active.map(|id| self.runs[id].generation).collect();
        let slot = self.slot_mut(schedule);
        let former = slot.schedule.retired.len();
        slot.schedule.retired.retain(|generation, _| wanted.contains(generation));
        if slot.schedule.retired.len() != former {
            self.touch(BlockId::of_schedule(schedule));
        }
    }

    pub(super) fn watch_deadline(&mut self, id: RunId) {
        if let Some(at) = self.start_deadline(id) {
            self.deadlines.insert((at, id));
        }
    }

    pub(super) fn unwatch_deadline(&mut self, id: RunId) {
        if let Some(at) = self.start_deadline(id) {
            self.deadlines.remove(&(at, id));
        }
    }

    /// The latest instant at which a run may begin.
    pub(super) fn start_deadline(&self, id: RunId) -> Option<UnixMillis> {
        let run = self.runs.get(&id)?;
        let schedule = self.schedule(run.schedule)?;
        let deadline = schedule.definition_of(run.generation).policies.start_deadline?;
        Some(run.scheduled_at().plus(deadline))
    }
}
