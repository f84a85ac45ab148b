//! The invariants as a check of the whole state: linear, for tests and simulation.

use std::collections::BTreeMap;

use arcstr::ArcStr;

use crate::backfill::BackfillState;
use crate::definition::OverlapPolicy;
use crate::ids::{RunId, ScheduleId};
use crate::run::{RunState, Trigger};
use crate::state::lanes::Slot;
use crate::state::{State, Subject};

/// An invariant that does not hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Violation {
    /// Its id.
    pub invariant: &'static str,
    /// What is wrong, with the ids.
    pub what: String,
}

impl State {
    /// Everything that must hold between any two commands.
    pub fn violations(&self) -> Vec<Violation> {
        let mut found = Vec::new();
        let mut say = |invariant, what| found.push(Violation { invariant, what });

        let mut leases = 0;
        let mut tokens = BTreeMap::<u64, RunId>::new();
        for (id, run) in self.runs.iter() {
            if let Some(lease) = run.state.lease() {
                if let Some(other) = tokens.insert(lease.token.0, id) {
                    say("RUN-3", format!("runs {other} and {id} share token {}", lease.token));
                }
                if lease.token.0 > self.totals.next_token {
                    say("RUN-3", format!("run {id} has a token that was never handed out"));
                }
            }
            let slot = &self.slots[&run.schedule];
            let policies = &slot.schedule.definition_of(run.generation).policies;
            let (due, running, watched) = match &run.state {
                RunState::Due { .. } => (true, false, true),
                RunState::Running(lease) => (false, true, self.leases.contains(id, lease, policies)),
                RunState::Ended { .. } => (false, false, true),
            };
            leases += usize::from(running);
            let begun = run.attempt.0 > 0;
            let waits = slot.lanes().not_begun().filter(|waiting| *waiting == id).count();
            let opens = usize::from(slot.lanes().open.contains(&id));
            let expected = match (due || running, begun) {
                (false, _) => (0, 0),
                (true, false) => (1, 0),
                (true, true) => (0, 1),
            };
            if (waits, opens) != expected {
                say("RUN-4", format!("run {id} is {} but its place says otherwise", run.state.name()));
            }
            if !watched {
                say("RUN-4", format!("run {id} is {} but the leases say otherwise", run.state.name()));
            }
            if self.cancelling.contains(&id) != (running && run.cancel.is_some()) {
                say("RUN-4", format!("run {id} is {} and its cancellation is lost", run.state.name()));
            }
            if self.ready.contains(&id) != slot.lanes().ready.contains(&id)
                || (slot.lanes().ready.contains(&id) && !due)
            {
                say("DUE-1", format!("run {id} is {} but is offered wrongly", run.state.name()));
            }
        }
        if leases != self.leases.len() {
            say("RUN-4", format!("{leases} runs are RUNNING and {} leases are watched", self.leases.len()));
        }
        self.check_counts(&mut say);
        for (id, slot) in self.slots.iter() {
            self.check_schedule(id, slot, &mut say);
        }
        found
    }

    fn check_schedule(&self, id: ScheduleId, slot: &Slot, say: &mut impl FnMut(&'static str, String)) {
        let schedule = &slot.schedule;
        let deleted = schedule.remains().deleted_at.is_some();
        if deleted != self.deleted.contains(&(schedule.key.clone(), id))
            || deleted == (self.names.get(&schedule.key) == Some(id))
        {
            say("API-1", format!("schedule {id} cannot be found by its name"));
        }
        if deleted && slot.rows == 0 && !self.is_answer(Subject::Schedule(id)) {
            say("LEDGER-1", format!("schedule {id} is deleted, and kept for nothing"));
        }
        self.check_overlap(id, slot, say);
        let until = schedule.pause.as_ref().and_then(|pause| pause.until).filter(|_| !deleted);
        if self.pause_ends.iter().find(|(_, of)| *of == id).map(|(at, _)| *at) != until {
            say("LEDGER-2", format!("the pause of schedule {id} would not end at {until:?}"));
        }
        if let Some(next) = schedule.next_fire_at {
            if next <= schedule.watermark {
                say("LEDGER-1", format!("schedule {id} would fire {next:?} behind its watermark"));
            }
            if !self.due.until(next).any(|(at, due)| at == next && due == id) {
                say("LEDGER-1", format!("schedule {id} is missing from the due index at {next:?}"));
            }
        }
        let lanes = slot.lanes();
        let idle = lanes.open.is_empty() && lanes.manual.is_empty();
        let may_start = schedule.pause.is_none() && !schedule.catching_up && idle;
        if may_start && lanes.waiting_count() > 0 && lanes.ready.is_empty() {
            say("DUE-1", format!("schedule {id} has a run that could begin and is not offered"));
        }
        if slot.keeps_empty_lanes() {
            say("LANES-1", format!("schedule {id} sleeps and has lanes"));
        }
        if self.rows(id).count() as u64 != slot.rows.into() {
            say("RUN-1", format!("schedule {id} counts {} rows", slot.rows));
        }
    }
    /// What is counted as running is what runs; what should be asked of the leader is asked.
    fn check_counts(&self, say: &mut impl FnMut(&'static str, String)) {
        let mut pools = BTreeMap::<&str, u32>::new();
        let mut namespaces = BTreeMap::<&str, u32>::new();
        for run in self.runs.values().filter(|run| matches!(run.state, RunState::Running(_))) {
            let schedule = &self.slots[&run.schedule].schedule;
            *pools.entry(&schedule.definition_of(run.generation).pool).or_default() += 1;
            *namespaces.entry(&schedule.key.namespace).or_default() += 1;
        }
        let counted = |counts: &BTreeMap<ArcStr, u32>, expected: &BTreeMap<&str, u32>| {
            counts.iter().map(|(name, count)| (&**name, *count)).eq(expected.iter().map(|(n, c)| (*n, *c)))
        };
        if !counted(&self.running_by_pool, &pools) || !counted(&self.running_by_namespace, &namespaces) {
            say("RUN-2", "what runs in pools and namespaces is not what is counted".to_owned());
        }
        let mut answered = BTreeMap::<Subject, u32>::new();
        for (_, answer) in self.answers.iter() {
            *answered.entry(answer.subject).or_default() += 1;
        }
        let about_schedules = self.slots.iter().map(|(id, slot)| (Subject::Schedule(id), slot.answers));
        let about_others = self.answered.iter().map(|(subject, count)| (*subject, *count));
        let counted: BTreeMap<_, _> =
            about_schedules.filter(|(_, count)| *count > 0).chain(about_others).collect();
        if counted != answered {
            say("API-2", "answers are not counted with what they are about".to_owned());
        }
        if !self.answers.are_indexed() {
            say("ANSWERS-1", "an answer cannot be found by its request id".to_owned());
        }
        for (id, slot) in self.slots.iter() {
            let stale = slot.schedule.remains().deleted_at.is_none()
                && self.calendars_revision(id) != slot.schedule.timed_with;
            if stale != self.stale.contains(&id) {
                say("LEDGER-2", format!("schedule {id} is not known to wait for its calendars"));
            }
        }
        for (schedule, id) in &self.backfills {
            let lanes = self.slots[schedule].lanes();
            let backfill = self.backfill(*id).expect("every backfill is an object");
            let is_its = |run: &RunId| self.runs[run].trigger == Trigger::Backfill(*id);
            let busy = lanes.backfill.iter().chain(&lanes.recovering).any(is_its);
            let wants = backfill.state == BackfillState::Running && !busy;
            if wants != self.advancing.contains(id) {
                say("DUE-1", format!("backfill {id} is {:?} and does not go on", backfill.state));
            }
        }
    }

    /// What is open and what waits stays within the policies; an edit may have lowered the limits since.
    fn check_overlap(&self, id: ScheduleId, slot: &Slot, say: &mut impl FnMut(&'static str, String)) {
        let edited = slot.schedule.generation.0 > 1;
        let overlap = slot.schedule.definition.policies.overlap;
        // One between two attempts may have let a trigger pass while a pause held it.
        let runs = |id: &&RunId| matches!(self.runs[id].state, RunState::Running(_)) && !self.runs[id].beside;
        let lanes = slot.lanes();
        let open = lanes.open.iter().filter(runs).count();
        let waiting_max = match overlap {
            OverlapPolicy::HoldOne | OverlapPolicy::Skip | OverlapPolicy::CancelRunning => 1,
            // One that was handed back had its place before those that came meanwhile, and is not turned away for them.
            OverlapPolicy::BufferAll { waiting_max } => waiting_max.max(1) as usize + 1,
            OverlapPolicy::Allow { running_max } => running_max as usize + 1,
        };
        if !edited && (open > overlap.running_max() || lanes.waiting.len() > waiting_max) {
            let waiting = lanes.waiting.len();
            say("RUN-2", format!("schedule {id}: {open} open and {waiting} waiting under {overlap:?}"));
        }
        if lanes.recovering.is_some_and(|id| !lanes.open.contains(&id)) {
            say("CATCH-1", format!("schedule {id} recovers a run that is over"));
        }
    }
}
