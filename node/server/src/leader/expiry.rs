//! What nobody will report any more: leases of executors that fell silent, attempts that overran, starts that came too
//! late. Decided here, judged once more inside the log entry.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use belfry_core::command::{Action, Command, LeaseLoss, Outcome};
use belfry_core::run::{Reason, Run, RunState};
use belfry_core::{RunId, State, UnixMillis};

use super::Shared;

/// How often leases and deadlines are looked at: the precision of both.
const PERIOD: Duration = Duration::from_millis(500);

/// Runs given up by one command.
const BATCH_MAX: usize = 4096;

/// When each executor was last heard of.
///
/// A new leader has heard of nobody yet, so silence counts from the beginning of its reign: a change of leader never
/// costs a lease.
#[derive(Debug)]
pub(super) struct Liveness {
    since: Instant,
    heard: Mutex<HashMap<Arc<str>, Instant>>,
}

impl Liveness {
    pub(super) fn new(since: Instant) -> Self {
        Self { since, heard: Mutex::default() }
    }

    pub(super) fn hear(&self, executor: &Arc<str>, now: Instant) {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).insert(executor.clone(), now);
    }

    /// Forgets executors that hold no lease and have been silent for long.
    fn forget(&self, before: Instant) {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, heard| *heard >= before);
    }

    fn silent_for(&self, executor: &str, now: Instant) -> Duration {
        let heard = self.heard.lock().unwrap_or_else(PoisonError::into_inner);
        now.saturating_duration_since(heard.get(executor).copied().unwrap_or(self.since))
    }
}

/// Gives up on leases and starts until the reign ends.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut period = tokio::time::interval(PERIOD);
    period.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        period.tick().await;
        let (now, instant) = (shared.clock.now(), Instant::now());
        let (losses, starts) = shared.replica.read(|state| {
            let silent = |executor: &str| shared.liveness.silent_for(executor, instant);
            (lost_leases(state, now, silent), passed_starts(state, now))
        });
        if !losses.is_empty() {
            for loss in &losses {
                tracing::warn!(run_id = loss.run.0, reason = ?loss.reason, "lease lost: the run is UNKNOWN");
            }
            expire(&shared, now, Action::ExpireLeases(losses), "UNKNOWN").await;
        }
        if !starts.is_empty() {
            expire(&shared, now, Action::ExpireStarts(starts), "EXPIRED").await;
        }
        if let Some(before) = instant.checked_sub(Duration::from_secs(24 * 3600)) {
            shared.liveness.forget(before);
        }
    }
}

async fn expire(shared: &Shared, now: UnixMillis, action: Action, state: &'static str) {
    let command = Command { now, request: None, action };
    if let Some(Outcome::Expired(count)) = shared.propose("expire", &command).await {
        shared.metrics.count_runs_ended(state, u64::from(count));
    }
}

/// Running runs whose executor has been silent for longer than their lease, or that overran their timeout by a lease.
fn lost_leases(state: &State, now: UnixMillis, silent_for: impl Fn(&str) -> Duration) -> Vec<LeaseLoss> {
    let running = state.running().iter().filter_map(|id| state.run(*id));
    running.filter_map(|run| lost_lease(state, run, now, &silent_for)).take(BATCH_MAX).collect()
}

fn lost_lease(
    state: &State,
    run: &Run,
    now: UnixMillis,
    silent_for: &impl Fn(&str) -> Duration,
) -> Option<LeaseLoss> {
    let RunState::Running(lease) = &run.state else { return None };
    let policies = &state.schedule(run.schedule)?.definition_of(run.generation).policies;
    let reason = if silent_for(&lease.executor) > policies.lease_duration {
        Reason::LeaseLost
    } else if now.since(lease.begun_at) > policies.attempt_timeout + policies.lease_duration {
        // The executor kills at the timeout; this is for one that did not.
        Reason::AttemptTimeout
    } else {
        return None;
    };
    Some(LeaseLoss { run: run.id, token: lease.token, reason })
}

/// Due runs whose start deadline has passed.
fn passed_starts(state: &State, now: UnixMillis) -> Vec<RunId> {
    state.start_deadlines().take_while(|(at, _)| *at < now).take(BATCH_MAX).map(|(_, id)| id).collect()
}
