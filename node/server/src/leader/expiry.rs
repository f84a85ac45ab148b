//! What nobody will report any more: leases of executors that fell silent, attempts that overran, starts that came too
//! late; and pauses whose time is up. Decided here, judged once more inside the log entry.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use arcstr::ArcStr;
use belfry_core::command::{Action, Command, LeaseLoss, Outcome};
use belfry_core::run::{Lease, Reason};
use belfry_core::{RunId, ScheduleId, State, UnixMillis};
use tokio::time::Instant;

use super::Shared;

/// How often leases and deadlines are looked at: the precision of both.
const PERIOD: Duration = Duration::from_millis(500);

/// Runs given up by one command.
const BATCH_MAX: usize = 4096;

/// How long after the beginning of a reign an executor may take to be heard, beside its lease: it dials with a back-off of
/// up to 5 seconds, and a lease may be shorter than that.
const REDIAL_FOR: Duration = Duration::from_secs(5);

/// A look that comes so much too late means that this process stood still: nobody could be heard meanwhile.
const STALL_MIN: Duration = Duration::from_secs(1);

/// How often, and for how much silence, executors that hold no lease are forgotten.
const FORGET_EVERY: Duration = Duration::from_secs(60);
const FORGET_AFTER: Duration = Duration::from_secs(600);

/// When each executor was last heard of.
///
/// A new leader has heard of nobody yet, so silence counts from the beginning of its reign: a change of leader never
/// costs a lease.
#[derive(Debug)]
pub(super) struct Liveness(Mutex<Heard>);

#[derive(Debug)]
struct Heard {
    /// Stands for executors that are not in the map. May be ahead of now.
    since: Instant,
    at: HashMap<ArcStr, Instant>,
}

impl Liveness {
    pub(super) fn new(now: Instant) -> Self {
        Self(Mutex::new(Heard { since: now + REDIAL_FOR, at: HashMap::new() }))
    }

    pub(super) fn hear(&self, executor: &ArcStr, now: Instant) {
        let mut heard = self.heard();
        match heard.at.get_mut(executor) {
            Some(at) => *at = now,
            None => {
                heard.at.insert(executor.clone(), now);
            }
        }
    }

    /// Counts all silence from now on: this process stood still.
    fn listen_anew(&self, now: Instant) {
        *self.heard() = Heard { since: now, at: HashMap::new() };
    }

    /// Forgets executors that hold no lease and have been silent since `before`.
    fn forget(&self, before: Instant, holds_lease: impl Fn(&str) -> bool) {
        self.heard().at.retain(|executor, at| *at >= before || holds_lease(executor));
    }

    /// Whether it was heard at all in this reign.
    fn has_heard(&self, executor: &str) -> bool {
        self.heard().at.contains_key(executor)
    }

    fn silent_for(&self, executor: &str, now: Instant) -> Duration {
        let heard = self.heard();
        now.saturating_duration_since(heard.at.get(executor).copied().unwrap_or(heard.since))
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives up on leases and starts until the reign ends.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut forgotten_at = Instant::now();
    loop {
        let before = Instant::now();
        tokio::time::sleep(PERIOD).await;
        let (now, instant) = (shared.clock.now(), Instant::now());
        if instant.saturating_duration_since(before) > PERIOD + STALL_MIN {
            tracing::warn!("this process stood still: silence of executors counts from now on");
            shared.liveness.listen_anew(instant);
        }
        let (losses, starts, pauses) = shared.replica.read(|state| {
            let silent = |executor: &str| shared.liveness.silent_for(executor, instant);
            let goes_on = |run, lease: &Lease| goes_on(&shared, state, now, run, lease);
            (lost_leases(state, now, silent, goes_on), passed_starts(state, now), passed_pauses(state, now))
        });
        if !losses.is_empty() {
            for loss in &losses {
                tracing::warn!(run_id = loss.run.0, reason = ?loss.reason, "lease lost");
            }
            lose(&shared, now, losses).await;
        }
        if !starts.is_empty() {
            expire(&shared, now, starts).await;
        }
        if !pauses.is_empty() {
            let action = Action::EndPauses(pauses);
            shared.propose("end pauses", &Command { now, request: None, action }).await;
        }
        if instant.saturating_duration_since(forgotten_at) >= FORGET_EVERY {
            forgotten_at = instant;
            forget_silent(&shared, instant);
        }
    }
}

fn forget_silent(shared: &Shared, now: Instant) {
    let holders: HashSet<ArcStr> = shared
        .replica
        .read(|state| state.leases().executors().map(|(executor, _)| executor.clone()).collect());
    shared.replica.read(|state| {
        shared.progress.keep_held(state);
        shared.extended.keep_held(state);
    });
    if let Some(before) = now.checked_sub(FORGET_AFTER) {
        shared.liveness.forget(before, |executor| holders.contains(executor));
    }
}

/// Gives leases up. What that makes of their runs is up to their policies: UNKNOWN, FAILED, or another attempt.
async fn lose(shared: &Shared, now: UnixMillis, losses: Vec<LeaseLoss>) {
    let command = Command { now, request: None, action: Action::ExpireLeases(losses) };
    if let Some(Outcome::Lost(endings)) = shared.propose("expire", &command).await {
        endings.iter().flatten().for_each(|ending| shared.metrics.count_runs_ended(ending.name(), 1));
    }
}

async fn expire(shared: &Shared, now: UnixMillis, starts: Vec<RunId>) {
    let command = Command { now, request: None, action: Action::ExpireStarts(starts) };
    if let Some(Outcome::Expired(count)) = shared.propose("expire", &command).await {
        shared.metrics.count_runs_ended("EXPIRED", u64::from(count));
    }
}

/// Whether an attempt that has overrun its timeout may go on: it was extended; or its executor was not heard by this leader, and
/// nobody knows whether it was. Then its silence is what ends it.
fn goes_on(shared: &Shared, state: &State, now: UnixMillis, run: RunId, lease: &Lease) -> bool {
    let extended = shared.extended.of(run, lease.token);
    !shared.liveness.has_heard(&lease.executor)
        || extended.is_some_and(|until| is_within(state, now, run, until))
}

/// Whether a lease after `until` is not over.
fn is_within(state: &State, now: UnixMillis, run: RunId, until: UnixMillis) -> bool {
    let Some(run) = state.run(run) else { return false };
    let Some(schedule) = state.schedule(run.schedule) else { return false };
    now <= until.plus(schedule.definition_of(run.generation).policies.lease_duration)
}

/// Running runs whose executor has been silent for longer than their lease, or that overran their timeout by a lease and do not
/// go on.
fn lost_leases(
    state: &State,
    now: UnixMillis,
    silent_for: impl Fn(&str) -> Duration,
    goes_on: impl Fn(RunId, &Lease) -> bool,
) -> Vec<LeaseLoss> {
    let leases = state.leases();
    let silent =
        leases.executors().flat_map(|(executor, _)| leases.lost_after(executor, silent_for(executor)));
    // The executor kills at the timeout; this is for one that did not.
    let overrun = leases.overrun_at(now).map(|run| (run, Reason::AttemptTimeout));
    silent
        .map(|run| (run, Reason::LeaseLost))
        .chain(overrun)
        .filter_map(|(run, reason)| {
            let lease = state.run_state(run)?.lease()?;
            let is_lost = reason != Reason::AttemptTimeout || !goes_on(run, lease);
            is_lost.then_some(LeaseLoss { run, token: lease.token, reason })
        })
        .take(BATCH_MAX)
        .collect()
}

/// Due runs whose start deadline has passed.
fn passed_starts(state: &State, now: UnixMillis) -> Vec<RunId> {
    state.start_deadlines().take_while(|(at, _)| *at < now).take(BATCH_MAX).map(|(_, id)| id).collect()
}

/// Schedules whose pause should have ended by now.
fn passed_pauses(state: &State, now: UnixMillis) -> Vec<ScheduleId> {
    state.pause_ends().take_while(|(at, _)| *at <= now).take(BATCH_MAX).map(|(_, id)| id).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use belfry_core::command::{Begin, BeginGroup, BeginResult, TriggerOverlap};
    use belfry_core::definition::{Definition, Rule, Target, Timing};
    use belfry_core::{AttemptNo, FencingToken, LogPosition, ScheduleKey};

    use super::*;

    /// When the run of [`running`] began.
    pub(in crate::leader) const NOW: UnixMillis = UnixMillis(1_795_399_200_000);
    /// Who runs it.
    pub(in crate::leader) const EXECUTOR: &str = "E";

    /// A state with one run that is running, of a schedule with the default policies.
    pub(in crate::leader) fn running() -> (State, RunId, FencingToken) {
        let mut state = State::default();
        let mut index = 0;
        let mut apply = |action| {
            index += 1;
            let command = Command { now: NOW, request: None, action };
            state.apply(LogPosition { term: 1, index }, command).outcome.unwrap()
        };
        let target = Target { handler: "h".into(), payload: Default::default() };
        let rule = Rule::Interval { every: 3600 * SECOND, phase: Duration::ZERO };
        let key = ScheduleKey::new("ns", "s");
        apply(Action::CreateSchedule {
            key: key.clone(),
            uid: "u".into(),
            definition: Arc::new(Definition::new(Timing::of(vec![rule], "UTC"), target)),
            next_fire_at: Some(NOW.plus(3600 * SECOND)),
            calendars: Default::default(),
            pause: None,
        });
        let trigger = Action::TriggerSchedule { key, actor: "ann".into(), overlap: TriggerOverlap::Wait };
        let Outcome::Run(run) = apply(trigger) else { panic!("a run was made") };
        let begins = vec![Begin { run: run.id, attempt: AttemptNo(1) }];
        let Outcome::Begun(results) =
            apply(Action::Begin(vec![BeginGroup { executor: EXECUTOR.into(), begins }]))
        else {
            panic!("it was begun")
        };
        let BeginResult::Begun { token, .. } = results[0] else { panic!("it was begun") };
        (state, run.id, token)
    }

    #[test]
    fn an_attempt_that_overran_is_given_up_unless_it_goes_on() {
        let (state, run, token) = running();
        let heard = |_: &str| Duration::ZERO;
        let timeout = NOW.plus(3600 * SECOND);
        let late = timeout.plus(31 * SECOND);
        assert_eq!(lost_leases(&state, timeout, heard, |_, _| false), []);
        let loss = LeaseLoss { run, token, reason: Reason::AttemptTimeout };
        assert_eq!(lost_leases(&state, late, heard, |_, _| false), [loss]);
        assert_eq!(lost_leases(&state, late, heard, |_, _| true), []);
        assert!(is_within(&state, late, run, timeout.plus(SECOND)), "a lease of 30 s after its deadline");
        assert!(!is_within(&state, late.plus(SECOND), run, timeout.plus(SECOND)));
        let lost = lost_leases(&state, late, |_| 31 * SECOND, |_, _| true);
        assert_eq!(lost[0].reason, Reason::LeaseLost, "silence ends what goes on, too");
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn silence_counts_from_the_last_word_and_in_a_new_reign_from_a_redial() {
        let start = Instant::now();
        let liveness = Liveness::new(start);
        let a: ArcStr = "A".into();
        assert_eq!(liveness.silent_for("A", start + REDIAL_FOR + SECOND), SECOND);
        assert_eq!(liveness.silent_for("A", start + SECOND), Duration::ZERO);
        liveness.hear(&a, start + SECOND);
        assert_eq!(liveness.silent_for("A", start + 3 * SECOND), 2 * SECOND);
    }

    #[test]
    fn a_process_that_stood_still_blames_nobody() {
        let start = Instant::now();
        let liveness = Liveness::new(start);
        liveness.hear(&"A".into(), start);
        let late = start + 60 * SECOND;
        liveness.listen_anew(late);
        assert_eq!(liveness.silent_for("A", late + SECOND), SECOND);
    }

    #[test]
    fn only_silent_executors_without_leases_are_forgotten() {
        let start = Instant::now();
        let liveness = Liveness::new(start);
        for executor in ["silent", "holder"] {
            liveness.hear(&executor.into(), start);
        }
        let later = start + 60 * SECOND;
        liveness.hear(&"alive".into(), later);
        liveness.forget(later, |executor| executor == "holder");
        let mut left: Vec<_> = liveness.heard().at.keys().map(ToString::to_string).collect();
        left.sort();
        assert_eq!(left, ["alive", "holder"]);
    }
}
