//! Leases: begun, completed, lost.
//!
//! A begin is a compare-and-set on the row: exactly one executor wins, everyone else is refused, for ever (RUN-2).

use arcstr::ArcStr;

use crate::command::{
    Begin, BeginGroup, BeginResult, Completion, CompletionResult, Effect, LeaseLoss, Outcome, Retryable,
    ScheduleChange,
};
use crate::definition::{OverlapPolicy, UnknownOutcomePolicy};
use crate::ids::{Generation, Revision, RunId, ScheduleId, UnixMillis};
use crate::run::{AttemptResult, Ending, Lease, Reason, Run, RunEvent, RunState, Series, Trigger};
use crate::schedule::{LastRun, Pause, Schedule};
use crate::state::lanes::Lane;
use crate::state::verdicts::BELFRY;
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
        executor: &ArcStr,
        begin: Begin,
        effects: &mut Vec<Effect>,
    ) -> BeginResult {
        let Some(run) = self.runs.get(&begin.run) else { return BeginResult::Refused };
        if let RunState::Running(lease) = &run.state {
            // The reply was lost and the same process asks again for the same attempt.
            return if lease.executor == *executor && run.attempt == begin.attempt {
                let lateness = lease.begun_at.since(run.expected_at());
                BeginResult::Begun { token: lease.token, lateness, again: true }
            } else {
                BeginResult::Refused
            };
        }
        if !self.ready.contains(&begin.run) || run.attempt.next() != begin.attempt {
            return BeginResult::Refused;
        }
        let schedule = &self.slots[&run.schedule].schedule;
        if !self.has_room(&schedule.key.namespace, &schedule.definition_of(run.generation).pool) {
            return BeginResult::Refused;
        }
        if now < run.not_before() {
            // Its spread or its back-off is not over by the leader's clock.
            return BeginResult::Refused;
        }
        if self.start_deadline(begin.run).is_some_and(|deadline| now > deadline) {
            // Left to ExpireStarts, which says so in the ledger.
            return BeginResult::Refused;
        }
        let token = self.next_token();
        let run = &self.runs[&begin.run];
        let lateness = now.since(run.expected_at());
        let late = (now.0 - run.expected_at().0 > LATE_AFTER_MS)
            .then(|| run.state.reason().unwrap_or(Reason::NoExecutor));
        let lease = Lease { executor: executor.clone(), token, begun_at: now, late };
        let (schedule, generation) = (run.schedule, run.generation);
        self.unwatch_deadline(begin.run);
        self.leave_place(begin.run);
        let policies = &self.slots[&schedule].schedule.definition_of(generation).policies;
        self.leases.insert(begin.run, &lease, policies);
        self.count_running(begin.run, Running::Begins);
        self.step(begin.run, &RunEvent::Begin(lease), now).expect("a ready row is DUE");
        self.runs.get_mut(&begin.run).expect("it was just stepped").attempt = begin.attempt;
        self.take_place(begin.run);
        if begin.attempt.0 == 1 && self.runs[&begin.run].series() == Series::Timing {
            self.count_begun(schedule, now);
        }
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
        let unknown_since = unknown_since(&run.state);
        let held = held_lease(&run.state);
        if is_repetition(&run.state, &completion) {
            return CompletionResult::Repeated;
        }
        let event = self.completion_event(now, run, &completion);
        if self.step(id, &event, now).is_err() {
            return CompletionResult::Refused;
        }
        // What was said when an earlier lease was handed back is not about this one.
        self.drop_report(id);
        if !completion.report.is_empty() {
            self.reports_weight_bytes += completion.report.weight_bytes();
            self.reports.insert(id, completion.report.detached());
            self.touch(BlockId::of_report(id));
        }
        if let Some(lease) = held {
            self.unwatch_lease(id, &lease);
        }
        match &self.runs[&id].state {
            RunState::Due { retry: None, .. } => self.wait_again(now, id),
            // Between two attempts it keeps its place.
            RunState::Due { retry: Some(_), .. } | RunState::Running(_) => {}
            RunState::Ended { .. } => {
                self.leave_place(id);
                match unknown_since {
                    Some(since) => self.recount_unknown(id, since, now),
                    None => self.count_ending(id, now),
                }
            }
        }
        self.settle(schedule, now, effects);
        CompletionResult::Accepted { ended: self.runs[&id].state.ending() }
    }

    /// What a report means for its run: the end, another attempt, or the end that somebody asked for.
    fn completion_event(&self, now: UnixMillis, run: &Run, completion: &Completion) -> RunEvent {
        let token = completion.token;
        match (completion.result, &run.cancel) {
            (AttemptResult::Cancelled, Some(cancel)) => RunEvent::CompleteCancelled(token, cancel.cause),
            (AttemptResult::Failed | AttemptResult::TimedOut | AttemptResult::Cancelled, None)
                if run.state.ended_at().is_none() && completion.retryable == Retryable::Perhaps =>
            {
                let code = completion.report.exit_code;
                match self.next_attempt_at(now, run, code) {
                    Some(at) => RunEvent::Retry(token, at, Reason::RetryBackoff),
                    None => RunEvent::Complete(token, completion.result),
                }
            }
            (result, _) => RunEvent::Complete(token, result),
        }
    }

    /// When the next attempt of a run may begin, if its policy wants one after an attempt that ended with `code`.
    fn next_attempt_at(&self, now: UnixMillis, run: &Run, code: Option<i32>) -> Option<UnixMillis> {
        let schedule = &self.slots[&run.schedule].schedule;
        let retry = &schedule.definition_of(run.generation).policies.retry;
        let useless = code.is_some_and(|code| retry.non_retryable_codes.contains(&code));
        let wanted = run.attempt.0 < retry.max_attempts
            && !useless
            && schedule.remains().deleted_at.is_none()
            && run.cancel.is_none();
        wanted.then(|| now.plus(retry.backoff_after(run.attempt.0, run.id.0)))
    }

    /// A lease was handed back: no attempt is counted, and the row takes its place again, or makes way for the newer one.
    fn wait_again(&mut self, now: UnixMillis, id: RunId) {
        self.leave_place(id);
        let run = self.runs.get_mut(&id).expect("it was just stepped");
        run.attempt.0 -= 1;
        let (schedule, first) = (run.schedule, run.attempt.0 == 0);
        let (cancelled, series) = (run.cancel.as_ref().map(|cancel| cancel.cause), run.series());
        if first && series == Series::Timing {
            self.uncount_begun(schedule);
        }
        let deleted = self.slots[&schedule].schedule.remains().deleted_at.map(|_| Reason::ScheduleDeleted);
        // The next backfill may have taken its place already.
        let abandoned = (first && self.is_abandoned(id)).then_some(Reason::BackfillCancelled);
        if let Some(reason) = cancelled.or(deleted).or(abandoned) {
            self.end_waiting(id, &RunEvent::Cancel(reason), now);
            return;
        }
        self.take_place(id);
        self.watch_deadline(id);
        let slot = &self.slots[&schedule];
        if !first || slot.lane_of(&self.runs[&id]) != Lane::Waiting {
            return;
        }
        // One waits, behind those that run: the newest.
        let newer = slot.lanes().waiting.range(id.next()..).next().copied();
        match slot.schedule.definition.policies.overlap {
            OverlapPolicy::BufferAll { .. } => {}
            OverlapPolicy::Allow { .. } if newer.is_some_and(|newer| self.ready.contains(&newer)) => {}
            OverlapPolicy::HoldOne
            | OverlapPolicy::Skip
            | OverlapPolicy::CancelRunning
            | OverlapPolicy::Allow { .. } => {
                if let Some(newer) = newer {
                    self.merge(id, newer, now);
                }
            }
        }
    }

    pub(super) fn expire_leases(
        &mut self,
        now: UnixMillis,
        losses: Vec<LeaseLoss>,
        effects: &mut Vec<Effect>,
    ) -> Outcome {
        let mut endings = Vec::with_capacity(losses.len());
        for loss in losses {
            let Some(run) = self.runs.get(&loss.run) else { continue };
            let Some(lease) = held_lease(&run.state) else { continue };
            let schedule = run.schedule;
            let event = self.loss_event(now, run, loss);
            if self.step(loss.run, &event, now).is_err() {
                continue;
            }
            self.unwatch_lease(loss.run, &lease);
            if self.runs[&loss.run].state.ended_at().is_some() {
                self.leave_place(loss.run);
            }
            self.count_ending(loss.run, now);
            endings.push(self.runs[&loss.run].state.ending());
            self.settle(schedule, now, effects);
        }
        Outcome::Lost(endings)
    }

    /// What the loss of a lease means for its run, by the unknown outcome policy.
    fn loss_event(&self, now: UnixMillis, run: &Run, loss: LeaseLoss) -> RunEvent {
        let policies = &self.slots[&run.schedule].schedule.definition_of(run.generation).policies;
        match policies.unknown_outcome {
            UnknownOutcomePolicy::Hold | UnknownOutcomePolicy::Pause => {
                RunEvent::LoseLease(loss.token, loss.reason)
            }
            UnknownOutcomePolicy::Fail => RunEvent::Fail(loss.token, loss.reason),
            UnknownOutcomePolicy::Retry => match self.next_attempt_at(now, run, None) {
                Some(at) => RunEvent::Retry(loss.token, at, loss.reason),
                None => RunEvent::LoseLease(loss.token, loss.reason),
            },
        }
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
            self.end_waiting(id, &RunEvent::Expire, now);
            self.settle(self.runs[&id].schedule, now, effects);
            expired += 1;
        }
        Outcome::Expired(expired)
    }

    fn unwatch_lease(&mut self, id: RunId, lease: &Lease) {
        let run = &self.runs[&id];
        let (schedule, generation) = (run.schedule, run.generation);
        let policies = &self.slots[&schedule].schedule.definition_of(generation).policies;
        self.leases.remove(id, lease, policies);
        self.cancelling.remove(&id);
        self.count_running(id, Running::Ends);
    }

    /// Counts a run in its pool and its namespace.
    pub(super) fn count_running(&mut self, id: RunId, change: Running) {
        let run = &self.runs[&id];
        let schedule = &self.slots[&run.schedule].schedule;
        let pool = schedule.definition_of(run.generation).pool.as_str();
        for (counts, name) in
            [(&mut self.running_by_pool, pool), (&mut self.running_by_namespace, &*schedule.key.namespace)]
        {
            match (change, counts.get_mut(name)) {
                (Running::Begins, Some(count)) => *count += 1,
                (Running::Begins, None) => {
                    counts.insert(name.into(), 1);
                }
                (Running::Ends, Some(count)) if *count > 1 => *count -= 1,
                (Running::Ends, _) => {
                    counts.remove(name);
                }
            }
        }
    }

    /// Counts a run of the timing that has begun for the first time; with the last one that may, the timing ends.
    fn count_begun(&mut self, schedule: ScheduleId, now: UnixMillis) {
        if !self.knows_level_2() {
            return;
        }
        self.touch(BlockId::of_schedule(schedule));
        let slot = self.slot_mut(schedule);
        slot.schedule.counters.begun += 1;
        if !slot.schedule.is_exhausted() {
            return;
        }
        let rest: Vec<_> = slot.lanes().waiting.iter().chain(&slot.lanes().backlog).copied().collect();
        if let Some(next) = slot.schedule.next_fire_at.take() {
            slot.schedule.catching_up = false;
            self.due.remove(next, schedule);
            self.tell_of(schedule, ScheduleChange::Changed);
        }
        for id in rest {
            self.end_waiting(id, &RunEvent::Skip(Reason::MaxRuns), now);
        }
    }

    /// Takes back that a run of the timing was counted as begun. If it was the last one that may, the timing goes on: the next
    /// instant is not known here, so it is asked for.
    fn uncount_begun(&mut self, id: ScheduleId) {
        self.touch(BlockId::of_schedule(id));
        let schedule = &mut self.slot_mut(id).schedule;
        let was_over = schedule.is_exhausted() && schedule.next_fire_at.is_none();
        schedule.counters.begun = schedule.counters.begun.saturating_sub(1);
        let goes_on = was_over && !schedule.is_exhausted() && schedule.remains().deleted_at.is_none();
        if goes_on && schedule.definition.timing.fixed_delay().is_none() {
            schedule.timed_with = Schedule::UNTIMED;
            self.stale.insert(id);
        }
    }

    /// Counts how a run ended, and does what its schedule wants after failures.
    pub(super) fn count_ending(&mut self, id: RunId, now: UnixMillis) {
        let in_a_row = u32::from(self.knows_level_2());
        let run = &self.runs[&id];
        let RunState::Ended { ending, .. } = &run.state else { return };
        let (ending, schedule, generation) = (*ending, run.schedule, run.generation);
        if let Trigger::Backfill(backfill) = run.trigger {
            self.count_backfilled(backfill, &ending, now);
        }
        self.touch(BlockId::of_schedule(schedule));
        let counters = &mut self.slot_mut(schedule).schedule.counters;
        match ending {
            Ending::Succeeded => {
                counters.succeeded = counters.succeeded.saturating_add(1);
                counters.consecutive_failures = 0;
                counters.last_success = (id, now).into();
            }
            Ending::Failed(_) | Ending::TimedOut | Ending::Unknown(_) => {
                counters.unsuccessful = counters.unsuccessful.saturating_add(1);
                counters.consecutive_failures = counters.consecutive_failures.saturating_add(in_a_row);
                counters.last_failure = (id, now).into();
                self.pause_after(schedule, generation, ending, now);
            }
            Ending::Skipped(_) | Ending::Merged { .. } | Ending::Expired | Ending::Cancelled(_) => {
                counters.not_started = counters.not_started.saturating_add(1);
            }
        }
    }

    /// Counts a run as what it came to that was counted as UNKNOWN at `since`. Runs that ended after that are the newer ones:
    /// what is known of this one changes nothing of what they say. It pauses nothing either: UNKNOWN would have.
    pub(super) fn recount_unknown(&mut self, id: RunId, since: UnixMillis, now: UnixMillis) {
        let run = &self.runs[&id];
        let RunState::Ended { ending, .. } = &run.state else { return };
        let (ending, schedule, trigger) = (*ending, run.schedule, run.trigger);
        if let Trigger::Backfill(backfill) = trigger {
            self.uncount_backfilled(backfill, now);
        }
        let counters = &mut self.slot_mut(schedule).schedule.counters;
        counters.unsuccessful = counters.unsuccessful.saturating_sub(1);
        let counters = counters.clone();
        if !self.knows_level_2() {
            // The first release took no note of what came in between.
            return self.count_ending(id, now);
        }
        if let Trigger::Backfill(backfill) = trigger {
            self.count_backfilled(backfill, &ending, now);
        }
        let is_newer = |last: LastRun| last.get().is_some_and(|(run, at)| run != id && at > since);
        let (success_since, failure_since) =
            (is_newer(counters.last_success), is_newer(counters.last_failure));
        let failures_since = if failure_since { self.failures_since(schedule, since) } else { 0 };
        self.touch(BlockId::of_schedule(schedule));
        let counters = &mut self.slot_mut(schedule).schedule.counters;
        match ending {
            Ending::Succeeded => {
                counters.succeeded = counters.succeeded.saturating_add(1);
                if !success_since {
                    counters.consecutive_failures = counters.consecutive_failures.min(failures_since);
                    counters.last_success = (id, now).into();
                }
            }
            Ending::Failed(_) | Ending::TimedOut | Ending::Unknown(_) => {
                counters.unsuccessful = counters.unsuccessful.saturating_add(1);
                if !failure_since {
                    counters.last_failure = (id, now).into();
                }
            }
            Ending::Skipped(_) | Ending::Merged { .. } | Ending::Expired | Ending::Cancelled(_) => {
                counters.not_started = counters.not_started.saturating_add(1);
                if !success_since {
                    counters.consecutive_failures = counters.consecutive_failures.saturating_sub(1);
                }
            }
        }
    }

    /// Runs of a schedule that did not succeed, and ended after an instant.
    fn failures_since(&self, schedule: ScheduleId, since: UnixMillis) -> u32 {
        let failed = |run: &&Run| match &run.state {
            RunState::Ended {
                ending: Ending::Failed(_) | Ending::TimedOut | Ending::Unknown(_), at, ..
            } => *at > since,
            RunState::Ended { .. } | RunState::Due { .. } | RunState::Running(_) => false,
        };
        u32::try_from(self.rows(schedule).filter(failed).count()).unwrap_or(u32::MAX)
    }

    /// Pauses a schedule whose runs keep failing, or one of whose runs may have been left half done.
    fn pause_after(&mut self, schedule: ScheduleId, generation: Generation, ending: Ending, now: UnixMillis) {
        let slot = self.slot_mut(schedule);
        if slot.schedule.pause.is_some() || slot.schedule.remains().deleted_at.is_some() {
            return;
        }
        let failures = slot.schedule.counters.consecutive_failures;
        let max = slot.schedule.definition.policies.pause_after_failures;
        let of_run = slot.schedule.definition_of(generation).policies.unknown_outcome;
        let reason = if max.is_some_and(|max| failures >= max) {
            format!("{failures} runs in a row did not succeed (pause_after_failures)")
        } else if matches!(ending, Ending::Unknown(_)) && of_run == UnknownOutcomePolicy::Pause {
            "the outcome of a run is unknown (unknown_outcome_policy PAUSE)".to_owned()
        } else {
            return;
        };
        let pause = Pause { reason, actor: BELFRY.to_owned(), paused_at: now, until: None, skipped: 0 };
        self.set_pause(schedule, Some(pause));
        let revision = Revision(self.at.index);
        self.slot_mut(schedule).schedule.revision = revision;
    }
}

/// See [`State::count_running`].
#[derive(Clone, Copy)]
pub(super) enum Running {
    Begins,
    Ends,
}

/// The lease of a run that is running.
fn held_lease(state: &RunState) -> Option<Lease> {
    match state {
        RunState::Running(lease) => Some(lease.clone()),
        RunState::Due { .. } | RunState::Ended { .. } => None,
    }
}

/// Since when a run is UNKNOWN, if it is.
pub(super) fn unknown_since(state: &RunState) -> Option<UnixMillis> {
    match state {
        RunState::Ended { ending: Ending::Unknown(_), at, .. } => Some(*at),
        RunState::Due { .. } | RunState::Running(_) | RunState::Ended { .. } => None,
    }
}

/// Whether this completion is in the ledger already: executors retry until they are acknowledged.
fn is_repetition(state: &RunState, completion: &Completion) -> bool {
    match state {
        RunState::Ended { ending, lease: Some(lease), .. } if lease.token == completion.token => match ending
        {
            Ending::Unknown(_) => false,
            Ending::Succeeded
            | Ending::Failed(_)
            | Ending::TimedOut
            | Ending::Skipped(_)
            | Ending::Merged { .. }
            | Ending::Expired
            | Ending::Cancelled(_) => true,
        },
        RunState::Due { retry: Some(retry), .. } => retry.lease.token == completion.token && !retry.is_lost(),
        RunState::Due { .. } | RunState::Running(_) | RunState::Ended { .. } => false,
    }
}
