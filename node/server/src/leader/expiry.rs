//! What nobody will report any more: leases of executors that fell silent, attempts that overran, starts that came too
//! late; and pauses whose time is up. Decided here, judged once more inside the log entry.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use belfry_core::command::{Action, Command, LeaseLoss, Outcome};
use belfry_core::run::Reason;
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
    at: HashMap<Arc<str>, Instant>,
}

impl Liveness {
    pub(super) fn new(now: Instant) -> Self {
        Self(Mutex::new(Heard { since: now + REDIAL_FOR, at: HashMap::new() }))
    }

    pub(super) fn hear(&self, executor: &Arc<str>, now: Instant) {
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
            (lost_leases(state, now, silent), passed_starts(state, now), passed_pauses(state, now))
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
    let holders: HashSet<Arc<str>> = shared
        .replica
        .read(|state| state.leases().executors().map(|(executor, _)| executor.clone()).collect());
    if let Some(before) = now.checked_sub(FORGET_AFTER) {
        shared.liveness.forget(before, |executor| holders.contains(executor));
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
    let leases = state.leases();
    let silent =
        leases.executors().flat_map(|(executor, _)| leases.lost_after(executor, silent_for(executor)));
    // The executor kills at the timeout; this is for one that did not.
    let overrun = leases.overrun_at(now).map(|run| (run, Reason::AttemptTimeout));
    silent
        .map(|run| (run, Reason::LeaseLost))
        .chain(overrun)
        .filter_map(|(run, reason)| {
            let token = state.run_state(run)?.lease()?.token;
            Some(LeaseLoss { run, token, reason })
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
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn silence_counts_from_the_last_word_and_in_a_new_reign_from_a_redial() {
        let start = Instant::now();
        let liveness = Liveness::new(start);
        let a: Arc<str> = "A".into();
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
