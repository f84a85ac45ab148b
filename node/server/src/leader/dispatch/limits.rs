//! How much may be under way at once: pools and namespaces.
//!
//! What is under way is what was offered, what an executor asked to begin and the ledger has not answered, and what runs.
//! The ledger knows the last; asking it under the same lock makes the sum exact.

use std::collections::BTreeSet;

use belfry_core::RunId;
use tokio::time::Instant;

use super::allowance::{Allowance, Rate};
use super::executor::count;
use super::lanes::Lane;
use super::slab::Id;
use super::why::Waiting;

/// What a pool takes.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct PoolLimits {
    /// Runs at once.
    pub(crate) slots: Option<u32>,
    /// Starts in a stretch of time.
    pub(crate) rate: Option<Rate>,
    /// Nothing starts.
    pub(crate) paused: bool,
}

/// What a namespace takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct NamespaceLimits {
    /// Its part where several wait for the same executors, in proportion to the others'; 0 counts as 1.
    pub(crate) weight: u32,
    /// Runs at once.
    pub(crate) max_running: Option<u32>,
}

impl Default for NamespaceLimits {
    fn default() -> Self {
        Self { weight: 1, max_running: None }
    }
}

/// Runs offered, and begins without an answer.
#[derive(Default, Debug)]
pub(super) struct UnderWay {
    pub(super) offered: u32,
    /// Only kept where there is a limit, and for a while after they have begun.
    pub(super) beginning: BTreeSet<RunId>,
    /// With more of those it is time to look which have begun.
    confirm_above: usize,
}

/// Begins without an answer that may wait to be looked at: a few log entries of them.
const UNCONFIRMED_MIN: usize = 4096;

impl UnderWay {
    /// Whether to look which begins the ledger has answered: all are looked at, so not before they have doubled.
    pub(super) fn is_crowded(&self) -> bool {
        self.beginning.len() > self.confirm_above.max(UNCONFIRMED_MIN)
    }

    /// Those that are left were just looked at.
    pub(super) fn confirmed(&mut self) {
        self.confirm_above = 2 * self.beginning.len();
    }

    fn with(&self, running: u32) -> u32 {
        self.offered.saturating_add(count(&self.beginning)).saturating_add(running)
    }
}

/// How much a pool takes now.
#[derive(Default, Debug)]
pub(super) struct PoolGate {
    limits: PoolLimits,
    allowance: Option<Allowance>,
    pub(super) under_way: UnderWay,
}

impl PoolGate {
    pub(super) fn set(&mut self, limits: PoolLimits) {
        self.limits = limits;
        match (limits.rate, &mut self.allowance) {
            (None, allowance) => *allowance = None,
            (Some(rate), Some(allowance)) => allowance.set(rate),
            (Some(rate), allowance) => *allowance = Some(Allowance::new(rate)),
        }
    }

    pub(super) fn has_slots(&self) -> bool {
        self.limits.slots.is_some()
    }

    pub(super) fn is_open(&self) -> bool {
        self.limits == PoolLimits::default()
    }

    /// How many more it takes, or why none.
    pub(super) fn free(&self, now: Instant, running: impl FnOnce() -> u32) -> Result<u32, Waiting> {
        let PoolLimits { slots, rate, paused } = self.limits;
        if paused {
            return Err(Waiting::PoolPaused);
        }
        let mut free = u32::MAX;
        if let Some(slots) = slots {
            let in_use = self.under_way.with(running());
            if in_use >= slots {
                return Err(Waiting::PoolFull { in_use, slots });
            }
            free = slots - in_use;
        }
        if let (Some(_), Some(allowance)) = (rate, &self.allowance) {
            let left = allowance.left(now);
            if left == 0 {
                return Err(Waiting::PoolRate { until: allowance.next_at(now) });
            }
            free = free.min(left);
        }
        Ok(free)
    }

    pub(super) fn draw(&mut self, now: Instant, count: u32) {
        if let Some(allowance) = &mut self.allowance {
            allowance.draw(now, count);
        }
    }
}

/// How much a namespace takes now.
#[derive(Default, Debug)]
pub(super) struct NamespaceGate {
    pub(super) limits: NamespaceLimits,
    pub(super) under_way: UnderWay,
    /// Lanes that stand aside because it takes nothing more.
    pub(super) parked: Vec<Id<Lane>>,
    /// Pools in which it has lanes.
    pub(super) pools: usize,
}

impl NamespaceGate {
    /// How many more it takes, or why none.
    pub(super) fn free(&self, running: impl FnOnce() -> u32) -> Result<u32, Waiting> {
        let Some(max) = self.limits.max_running else { return Ok(u32::MAX) };
        let in_use = self.under_way.with(running());
        if in_use >= max { Err(Waiting::NamespaceFull { in_use, max }) } else { Ok(max - in_use) }
    }
}
