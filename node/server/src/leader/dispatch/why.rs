//! Why a run waits: asked of the same gates that let it go.

use std::time::Instant;

use belfry_core::RunId;

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
    #[cfg_attr(not(test), expect(dead_code, reason = "the API does not ask yet"))]
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
