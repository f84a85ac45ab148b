//! Instants that have come: the watermark moves, and each gets its row.

use std::time::Duration;

use arcstr::ArcStr;

use crate::command::{
    Effect, Fire, FireGroup, FireTally, Freeze, Outcome, Rejection, ScheduleChange, TriggerOverlap,
};
use crate::definition::{MisfirePolicy, OverlapPolicy};
use crate::ids::{AttemptNo, RunId, ScheduleId, ScheduleKey, UnixMillis};
use crate::run::{Ending, Reason, Run, RunEvent, RunState, Trigger};
use crate::state::lanes::Slot;
use crate::state::{BlockId, LATE_AFTER_MS, MANUAL_WAITING_MAX, State};

/// [`LATE_AFTER_MS`] as a duration.
const LATE_AFTER: Duration = Duration::from_millis(LATE_AFTER_MS.unsigned_abs());

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

    /// The compare of the compare-and-set: the schedule still expects this instant, by the timing and the calendars that it was
    /// computed from.
    fn takes(&self, nominal_at: UnixMillis, fire: &Fire) -> bool {
        self.slots.get(&fire.schedule).is_some_and(|slot| {
            slot.schedule.next_fire_at == Some(nominal_at)
                && slot.schedule.generation == fire.generation
                && !self.stale.contains(&fire.schedule)
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
        let window_start_at = self.move_on(now, nominal_at, &fire);
        let scheduled_at = nominal_at.plus(fire.spread_for);
        let late = now.0 - scheduled_at.0 > LATE_AFTER_MS;
        let trigger = if late { Trigger::CatchUp } else { Trigger::Timer };
        let skipped = self.skips(now, nominal_at, scheduled_at, &fire);
        let state = match skipped {
            Some(reason) => RunState::Ended { ending: Ending::Skipped(reason), at: now, lease: None },
            None => RunState::Due { held: late.then_some(Reason::CatchUp), retry: None },
        };
        let id = self.next_run_id();
        self.add_row(Run {
            id,
            schedule: fire.schedule,
            generation: fire.generation,
            nominal_at,
            scheduled_at,
            trigger,
            actor: ArcStr::new(),
            created_at: now,
            window_start_at,
            merged_count: 0,
            attempt: AttemptNo(0),
            beside: false,
            cancel: None,
            resolution: None,
            state,
        });
        tally.created += 1;
        tally.late += u32::from(late);
        if let Some(reason) = skipped {
            tally.skipped += 1;
            let counted = u64::from(self.knows_level_2());
            let schedule = &mut self.slot_mut(fire.schedule).schedule;
            schedule.counters.not_started = schedule.counters.not_started.saturating_add(1);
            if let (Reason::Paused, Some(pause)) = (reason, &mut schedule.pause) {
                pause.skipped += counted;
            }
        } else {
            self.queue(now, id, tally, effects);
        }
        self.settle(fire.schedule, now, effects);
    }

    /// Moves the watermark to an instant; gives where it was.
    fn move_on(&mut self, now: UnixMillis, nominal_at: UnixMillis, fire: &Fire) -> UnixMillis {
        self.due.remove(nominal_at, fire.schedule);
        if let Some(next) = fire.next_fire_at {
            self.due.insert(next, fire.schedule);
        }
        self.touch(BlockId::of_schedule(fire.schedule));
        if fire.next_fire_at.is_none() {
            self.tell_of(fire.schedule, ScheduleChange::Changed);
        }
        let schedule = &mut self.slot_mut(fire.schedule).schedule;
        schedule.next_fire_at = fire.next_fire_at;
        schedule.catching_up = fire.next_fire_at.is_some_and(|next| next <= now);
        std::mem::replace(&mut schedule.watermark, nominal_at)
    }

    /// Why an instant is not run at all, if it is not.
    fn skips(
        &self,
        now: UnixMillis,
        nominal_at: UnixMillis,
        scheduled_at: UnixMillis,
        fire: &Fire,
    ) -> Option<Reason> {
        let slot = &self.slots[&fire.schedule];
        let policies = &slot.schedule.definition.policies;
        // RESTORE-1. What the state says of its pauses is older than what may have happened at that instant.
        if self.totals.restored_until.is_some_and(|until| nominal_at <= until) {
            return Some(Reason::Restored);
        }
        if slot.schedule.pause.as_ref().is_some_and(|pause| pause.covers(nominal_at)) {
            return Some(Reason::Paused);
        }
        if fire.freeze == Freeze::Frozen {
            return Some(Reason::Blackout);
        }
        match policies.misfire {
            MisfirePolicy::Skip { window } | MisfirePolicy::FireAll { window, .. }
                if now.since(scheduled_at) > window.max(LATE_AFTER) =>
            {
                return Some(Reason::Misfire);
            }
            MisfirePolicy::Coalesce | MisfirePolicy::Skip { .. } | MisfirePolicy::FireAll { .. } => {}
        }
        let late = now.0 - scheduled_at.0 > LATE_AFTER_MS;
        match policies.overlap {
            OverlapPolicy::Skip if !slot.lanes().open.is_empty() => Some(Reason::Overlap),
            OverlapPolicy::BufferAll { waiting_max }
                if slot.lanes().waiting.len() >= waiting_max as usize && !self.coalesces(slot, late) =>
            {
                Some(Reason::BufferFull)
            }
            OverlapPolicy::HoldOne
            | OverlapPolicy::Skip
            | OverlapPolicy::BufferAll { .. }
            | OverlapPolicy::Allow { .. }
            | OverlapPolicy::CancelRunning => None,
        }
    }

    /// Whether a missed instant and the one that waits before it become one run.
    fn coalesces(&self, slot: &Slot, late: bool) -> bool {
        let missed = |id: &RunId| self.runs[id].trigger == Trigger::CatchUp;
        late && slot.schedule.definition.policies.misfire == MisfirePolicy::Coalesce
            && slot.lanes().waiting.last().is_some_and(missed)
    }

    /// Puts the row of an instant in its lane; older ones make way as the policies say.
    ///
    /// HOLD_ONE and COALESCE are one rule: the newest row waits, and the older one that had not begun becomes MERGED into it.
    /// 13 hours of backlog become one run.
    fn queue(&mut self, now: UnixMillis, id: RunId, tally: &mut FireTally, effects: &mut Vec<Effect>) {
        let run = &self.runs[&id];
        let (schedule, late) = (run.schedule, run.trigger == Trigger::CatchUp);
        let slot = &self.slots[&schedule];
        let policies = &slot.schedule.definition.policies;
        if let (MisfirePolicy::FireAll { count_max, .. }, true) = (policies.misfire, late) {
            self.take_place(id);
            self.watch_deadline(id);
            // More than one too many: the limit was lowered, or one was handed back.
            while self.slots[&schedule].lanes().backlog.len() > count_max as usize {
                let oldest = *self.slots[&schedule].lanes().backlog.first().expect("it was just counted");
                self.end_waiting(oldest, &RunEvent::Skip(Reason::Misfire), now);
                tally.skipped += 1;
            }
            return;
        }
        let newest = slot.lanes().waiting.last().copied();
        let older = match policies.overlap {
            OverlapPolicy::HoldOne | OverlapPolicy::Skip | OverlapPolicy::CancelRunning => newest,
            OverlapPolicy::BufferAll { .. } => newest.filter(|_| self.coalesces(slot, late)),
            // What is ready has a place of its own; behind them, one waits.
            OverlapPolicy::Allow { .. } => {
                newest.filter(|newest| self.coalesces(slot, late) || !self.ready.contains(newest))
            }
        };
        if policies.overlap == OverlapPolicy::CancelRunning {
            self.cancel_open(schedule, now, effects);
        }
        self.take_place(id);
        self.watch_deadline(id);
        if let Some(older) = older {
            self.merge(older, id, now);
            tally.merged += 1;
        }
    }

    /// A row that has not begun becomes part of a newer one, which stands for its instants too.
    pub(super) fn merge(&mut self, older: RunId, newer: RunId, now: UnixMillis) {
        let former = &self.runs[&older];
        let (window_start_at, count) = (former.window_start_at, former.merged_count.saturating_add(1));
        let run = self.runs.get_mut(&newer).expect("callers merge rows that exist");
        run.window_start_at = window_start_at;
        run.merged_count = run.merged_count.saturating_add(count);
        self.touch_run(newer);
        self.end_waiting(older, &RunEvent::Merge(newer), now);
    }

    /// Ends a row that waits, without its ever having begun an attempt that succeeded. The caller settles the schedule.
    pub(super) fn end_waiting(&mut self, id: RunId, event: &RunEvent, now: UnixMillis) {
        self.unwatch_deadline(id);
        self.leave_place(id);
        self.step(id, event, now).expect("a waiting row is DUE");
        self.count_ending(id, now);
    }

    /// Makes one run now, beside the timing.
    pub(super) fn trigger_schedule(
        &mut self,
        now: UnixMillis,
        key: ScheduleKey,
        actor: ArcStr,
        overlap: TriggerOverlap,
        effects: &mut Vec<Effect>,
    ) -> Result<Outcome, Rejection> {
        let schedule = self.find(&key)?;
        let slot = &self.slots[&schedule];
        let waiting = slot.lanes().manual.len();
        if waiting >= MANUAL_WAITING_MAX {
            return Err(Rejection::TooManyWaiting { key, waiting });
        }
        if overlap == TriggerOverlap::Refuse && slot.is_active() {
            return Err(Rejection::Busy { key });
        }
        let id = self.add_manual(now, schedule, Trigger::Manual, actor);
        self.runs.get_mut(&id).expect("it was just added").beside = overlap == TriggerOverlap::Allow;
        self.watch_deadline(id);
        self.settle(schedule, now, effects);
        Ok(Outcome::Run(Box::new(self.runs[&id].clone())))
    }

    /// Adds a run that somebody asked for, in its lane. The caller settles the schedule.
    pub(super) fn add_manual(
        &mut self,
        now: UnixMillis,
        schedule: ScheduleId,
        trigger: Trigger,
        actor: ArcStr,
    ) -> RunId {
        let mut nominal_at = now;
        while self.run_at(schedule, nominal_at, trigger.series()).is_some() {
            nominal_at.0 += 1;
        }
        let generation = self.slots[&schedule].schedule.generation;
        let id = self.next_run_id();
        self.add_row(Run {
            id,
            schedule,
            generation,
            nominal_at,
            scheduled_at: nominal_at,
            trigger,
            actor,
            created_at: now,
            window_start_at: nominal_at,
            merged_count: 0,
            attempt: AttemptNo(0),
            beside: false,
            cancel: None,
            resolution: None,
            state: RunState::Due { held: None, retry: None },
        });
        self.take_place(id);
        id
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
        // A retry is no start, and what makes up for the past cannot be on time.
        let is_timed = match run.trigger {
            Trigger::Timer | Trigger::CatchUp | Trigger::Manual => run.attempt.0 == 0,
            Trigger::Backfill(_) | Trigger::Resume => false,
        };
        let schedule = self.schedule(run.schedule).filter(|_| is_timed)?;
        let deadline = schedule.definition_of(run.generation).policies.start_deadline?;
        Some(run.scheduled_at.plus(deadline))
    }
}
