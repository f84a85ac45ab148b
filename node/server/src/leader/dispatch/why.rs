//! Why a run waits: asked of the same gates that let it go.

use std::time::Duration;

use belfry_core::RunId;
use tokio::time::Instant;

use super::executor::SessionId;
use super::{Dispatch, Ledger, Stage};

/// What a run waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Waiting {
    /// For nothing: an executor was offered it and has not begun yet.
    Offered { session: SessionId },
    /// For an instant: a back-off, a retry, a spread.
    BackOff { until: Instant },
    /// For the catch-up budget.
    Budget { until: Option<Instant> },
    /// For somebody to resume its pool.
    PoolPaused,
    /// For a slot of its pool.
    PoolFull { in_use: u32, slots: u32 },
    /// For the rate of its pool.
    PoolRate { until: Option<Instant> },
    /// For another run of its namespace to end.
    NamespaceFull { in_use: u32, max: u32 },
    /// For an executor of its pool that has its handler.
    NoExecutorWithHandler,
    /// Likewise, with the labels that it wants.
    NoExecutorWithLabels,
    /// For a fitting executor to have room; roughly so many of its like go before it.
    NoCredit { ahead: usize },
}

impl Waiting {
    /// As a part of a sentence: "it waits …", or "it …" while it is offered. `name` names the executor of a session.
    pub(crate) fn in_words(&self, now: Instant, name: impl Fn(SessionId) -> String) -> String {
        let within = |until: Instant| {
            belfry_timing::format_duration(Duration::from_secs(
                until.saturating_duration_since(now).as_secs().max(1),
            ))
        };
        match self {
            Waiting::Offered { session } => format!("is offered to {} right now", name(*session)),
            Waiting::BackOff { until } => format!("waits out a back-off of {} more", within(*until)),
            Waiting::Budget { until: Some(until) } => {
                format!(
                    "waits {} more for the catch-up budget (dispatch.catch_up_starts_per_second)",
                    within(*until)
                )
            }
            Waiting::Budget { until: None } => "waits for the catch-up budget".to_owned(),
            Waiting::PoolPaused => "waits for its pool, which is paused".to_owned(),
            Waiting::PoolFull { in_use, slots } => {
                format!("waits for a slot of its pool: {in_use} of {slots} are in use")
            }
            Waiting::PoolRate { .. } => "waits for the rate of its pool".to_owned(),
            Waiting::NamespaceFull { in_use, max } => {
                format!("waits for its namespace: {in_use} of {max} runs are running")
            }
            Waiting::NoExecutorWithHandler => {
                "waits for an executor of its pool that offers its handler: none is connected".to_owned()
            }
            Waiting::NoExecutorWithLabels => {
                "waits for an executor with the labels that it wants: none is connected".to_owned()
            }
            Waiting::NoCredit { ahead } => {
                format!("waits for an executor with a free slot, behind about {ahead} others like it")
            }
        }
    }

    /// When it can go on at the earliest, where that is known.
    pub(super) fn until(&self) -> Option<Instant> {
        match self {
            Waiting::BackOff { until } => Some(*until),
            Waiting::Budget { until } | Waiting::PoolRate { until } => *until,
            Waiting::Offered { .. }
            | Waiting::PoolPaused
            | Waiting::PoolFull { .. }
            | Waiting::NamespaceFull { .. }
            | Waiting::NoExecutorWithHandler
            | Waiting::NoExecutorWithLabels
            | Waiting::NoCredit { .. } => None,
        }
    }
}

impl Dispatch {
    /// What a run waits for; none if it does not wait here.
    pub(crate) fn why_waiting(&self, id: RunId, now: Instant, ledger: &impl Ledger) -> Option<Waiting> {
        let run = self.runs.get(&id)?;
        let lane = &self.lanes.lanes[run.lane];
        match run.stage {
            Stage::Offered { session, .. } => return Some(Waiting::Offered { session }),
            Stage::Delayed { until } => return Some(Waiting::BackOff { until }),
            Stage::Beginning => return None,
            Stage::Queued => {}
        }
        if lane.class.is_recovery() && self.budget.left(now) == 0 {
            return Some(Waiting::Budget { until: self.budget.next_at(now) });
        }
        let pool = &self.lanes.pools[lane.pool];
        let running = || ledger.running_in_pool(self.lanes.pools.key(lane.pool));
        if let Err(why) = pool.gate.free(now, running) {
            return Some(why);
        }
        let running = || ledger.running_in_namespace(self.lanes.namespaces.key(lane.namespace));
        if let Err(why) = self.lanes.namespaces[lane.namespace].free(running) {
            return Some(why);
        }
        let need = &self.lanes.demands[lane.demand].need;
        let mut with_handler =
            self.executors.values().filter(|executor| executor.has_handler(need)).peekable();
        Some(if with_handler.peek().is_none() {
            Waiting::NoExecutorWithHandler
        } else if !with_handler.any(|executor| executor.has_labels(need)) {
            Waiting::NoExecutorWithLabels
        } else {
            Waiting::NoCredit { ahead: lane.queue.ahead_of(id, run.priority, run.since) }
        })
    }
}
