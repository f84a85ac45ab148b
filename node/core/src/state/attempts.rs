//! Leases: begun, completed, lost.
//!
//! A begin is a compare-and-set on the row: exactly one executor wins, everyone else is refused, for ever (RUN-2).

use std::sync::Arc;

use crate::command::{
    Begin, BeginGroup, BeginResult, Completion, CompletionResult, Effect, LeaseLoss, Outcome,
};
use crate::ids::{RunId, UnixMillis};
use crate::run::{AttemptResult, Ending, Lease, Reason, RunEvent, RunState};
use crate::state::{BlockId, LATE_AFTER_MS, State};

impl State {
    pub(super) fn begin(
        &mut self,
        now: UnixMillis,
        groups: Vec<BeginGroup>,
        effects: &mut Vec<Effect>,
    ) -> Outcome {
        let mut results = Vec::with_capacity(groups.iter().map(|group| group.begins.len()).sum());
        for group in groups {
            for begin in group.begins {
                results.push(self.begin_one(now, &group.executor, begin, effects));
            }
        }
        Outcome::Begun(results)
    }

    fn begin_one(
        &mut self,
        now: UnixMillis,
        executor: &Arc<str>,
        begin: Begin,
        effects: &mut Vec<Effect>,
    ) -> BeginResult {
        let Some(run) = self.runs.get(&begin.run) else { return BeginResult::Refused };
        if let RunState::Running(lease) = &run.state {
            // The reply was lost and the same process asks again for the same attempt.
            return if lease.executor == *executor && run.attempt == begin.attempt {
                let lateness = lease.begun_at.since(run.scheduled_at());
                BeginResult::Begun { token: lease.token, lateness, again: true }
            } else {
                BeginResult::Refused
            };
        }
        if !self.ready.contains(&begin.run) || run.attempt.next() != begin.attempt {
            return BeginResult::Refused;
        }
        if self.start_deadline(begin.run).is_some_and(|deadline| now > deadline) {
            // Left to ExpireStarts, which says so in the ledger.
            return BeginResult::Refused;
        }
        let token = self.next_token();
        let run = &self.runs[&begin.run];
        let lateness = now.since(run.scheduled_at());
        let late = (now.0 - run.scheduled_at().0 > LATE_AFTER_MS)
            .then(|| run.state.reason().unwrap_or(Reason::NoExecutor));
        let lease = Lease { executor: executor.clone(), token, begun_at: now, late };
        let (schedule, generation) = (run.schedule, run.generation);
        self.unwatch_deadline(begin.run);
        let policies = &self.slots[&schedule].schedule.definition_of(generation).policies;
        self.leases.insert(begin.run, &lease, policies);
        self.step(begin.run, &RunEvent::Begin(lease), now).expect("a ready row is DUE");
        self.runs.get_mut(&begin.run).expect("it was just stepped").attempt = begin.attempt;
        self.ready.remove(&begin.run);
        let slot = self.slot_mut(schedule);
        slot.ready = None;
        if slot.waiting == Some(begin.run) {
            slot.waiting = None;
        }
        slot.manual.remove(&begin.run);
        slot.running.insert(begin.run);
        // A row of the timing that waits behind a trigger is held by it from here on.
        self.settle(schedule, now, effects);
        BeginResult::Begun { token, lateness, again: false }
    }

    pub(super) fn complete(
        &mut self,
        now: UnixMillis,
        completions: Vec<Completion>,
        effects: &mut Vec<Effect>,
    ) -> Outcome {
        let results =
            completions.into_iter().map(|completion| self.complete_one(now, completion, effects)).collect();
        Outcome::Completed(results)
    }

    fn complete_one(
        &mut self,
        now: UnixMillis,
        completion: Completion,
        effects: &mut Vec<Effect>,
    ) -> CompletionResult {
        let id = completion.run;
        let Some(run) = self.runs.get(&id) else { return CompletionResult::Refused };
        let schedule = run.schedule;
        let held = held_lease(&run.state);
        if is_repetition(&run.state, &completion) {
            return CompletionResult::Repeated;
        }
        let event = RunEvent::Complete(completion.token, completion.result);
        if self.step(id, &event, now).is_err() {
            return CompletionResult::Refused;
        }
        // What was said when an earlier lease was handed back is not about this one.
        self.drop_report(id);
        if !completion.report.is_empty() {
            self.reports_weight_bytes += completion.report.weight_bytes();
            self.reports.insert(id, completion.report);
            self.touch(BlockId::of_report(id));
        }
        if let Some(lease) = held {
            self.leave_running(id, &lease);
            if completion.result == AttemptResult::NotStarted {
                self.wait_again(now, id);
            }
        } else {
            // An UNKNOWN that is settled late was counted as unsuccessful.
            self.slot_mut(schedule).schedule.counters.unsuccessful -= 1;
        }
        self.count_ending(id, now);
        self.settle(schedule, now, effects);
        CompletionResult::Accepted { ended: self.runs[&id].state.ending() }
    }

    /// A lease was handed back: no attempt is counted, and the row takes its place again, or makes way for the newer one.
    fn wait_again(&mut self, now: UnixMillis, id: RunId) {
        let run = self.runs.get_mut(&id).expect("it was just stepped");
        run.attempt.0 -= 1;
        let (schedule, manual) = (run.schedule, matches!(run.trigger, crate::run::Trigger::Manual));
        let (window_start_at, merged_count) = (run.window_start_at, run.merged_count);
        if self.slot_mut(schedule).schedule.deleted_at.is_some() {
            self.step(id, &RunEvent::Cancel(Reason::ScheduleDeleted), now).expect("it is DUE again");
            return;
        }
        if manual {
            self.slot_mut(schedule).manual.insert(id);
        } else if let Some(newer) = self.slot_mut(schedule).waiting {
            let newest = self.runs.get_mut(&newer).expect("a waiting row exists");
            newest.window_start_at = window_start_at;
            newest.merged_count = newest.merged_count.saturating_add(merged_count).saturating_add(1);
            self.touch(BlockId::of_run(newer));
            self.step(id, &RunEvent::Merge(newer), now).expect("it is DUE again");
            return;
        } else {
            self.slot_mut(schedule).waiting = Some(id);
        }
        self.watch_deadline(id);
    }

    pub(super) fn expire_leases(
        &mut self,
        now: UnixMillis,
        losses: Vec<LeaseLoss>,
        effects: &mut Vec<Effect>,
    ) -> Outcome {
        let mut expired = 0;
        for loss in losses {
            let Some(lease) = self.run_state(loss.run).and_then(held_lease) else { continue };
            if self.step(loss.run, &RunEvent::LoseLease(loss.token, loss.reason), now).is_ok() {
                self.leave_running(loss.run, &lease);
                self.count_ending(loss.run, now);
                self.settle(self.runs[&loss.run].schedule, now, effects);
                expired += 1;
            }
        }
        Outcome::Expired(expired)
    }

    pub(super) fn expire_starts(
        &mut self,
        now: UnixMillis,
        runs: Vec<RunId>,
        effects: &mut Vec<Effect>,
    ) -> Outcome {
        let mut expired = 0;
        for id in runs {
            // Judged inside the log entry: by the command's clock and the row as it is now.
            let passed = self.start_deadline(id).is_some_and(|deadline| now > deadline);
            let waiting = self.runs.get(&id).is_some_and(|run| matches!(run.state, RunState::Due { .. }));
            if !(passed && waiting) {
                continue;
            }
            self.unwatch_deadline(id);
            self.step(id, &RunEvent::Expire, now).expect("the row is DUE");
            let schedule = self.runs[&id].schedule;
            let slot = self.slot_mut(schedule);
            if slot.waiting == Some(id) {
                slot.waiting = None;
            }
            slot.manual.remove(&id);
            self.count_ending(id, now);
            self.settle(schedule, now, effects);
            expired += 1;
        }
        Outcome::Expired(expired)
    }

    fn leave_running(&mut self, id: RunId, lease: &Lease) {
        let run = &self.runs[&id];
        let (schedule, generation) = (run.schedule, run.generation);
        let policies = &self.slots[&schedule].schedule.definition_of(generation).policies;
        self.leases.remove(id, lease, policies);
        self.slot_mut(schedule).running.remove(&id);
    }

    fn count_ending(&mut self, id: RunId, now: UnixMillis) {
        let run = &self.runs[&id];
        let RunState::Ended { ending, .. } = &run.state else { return };
        let (ending, schedule) = (*ending, run.schedule);
        self.touch(BlockId::of_schedule(schedule));
        let counters = &mut self.slot_mut(schedule).schedule.counters;
        match ending {
            Ending::Succeeded => {
                counters.succeeded += 1;
                counters.last_success = Some((id, now));
            }
            Ending::Failed | Ending::TimedOut | Ending::Unknown(_) => {
                counters.unsuccessful += 1;
                counters.last_failure = Some((id, now));
            }
            Ending::Skipped(_) | Ending::Merged { .. } | Ending::Expired | Ending::Cancelled(_) => {
                counters.not_started += 1;
            }
        }
    }
}

/// The lease of a run that is running.
fn held_lease(state: &RunState) -> Option<Lease> {
    match state {
        RunState::Running(lease) => Some(lease.clone()),
        RunState::Due { .. } | RunState::Ended { .. } => None,
    }
}

/// Whether this completion is in the ledger already: executors retry until they are acknowledged.
fn is_repetition(state: &RunState, completion: &Completion) -> bool {
    match state {
        RunState::Ended { ending, lease: Some(lease), .. } if lease.token == completion.token => match ending
        {
            Ending::Unknown(_) => false,
            Ending::Succeeded
            | Ending::Failed
            | Ending::TimedOut
            | Ending::Skipped(_)
            | Ending::Merged { .. }
            | Ending::Expired
            | Ending::Cancelled(_) => true,
        },
        RunState::Due { .. } | RunState::Running(_) | RunState::Ended { .. } => false,
    }
}
