//! Leases by what ends them without a report: the silence of their executor, and their own time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::run_id_set::RunIdSet;
use crate::definition::Policies;
use crate::ids::{RunId, UnixMillis};
use crate::run::Lease;

/// Looking for lost leases costs what is found and a step per executor, never a look at every lease.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct LeaseIndex {
    /// By how long their executor may be silent.
    by_executor: BTreeMap<Arc<str>, BTreeMap<Duration, RunIdSet>>,
    by_end: BTreeSet<(UnixMillis, RunId)>,
}

impl LeaseIndex {
    pub(super) fn insert(&mut self, run: RunId, lease: &Lease, policies: &Policies) {
        let of_executor = self.by_executor.entry(lease.executor.clone()).or_default();
        of_executor.entry(policies.lease_duration).or_default().insert(run);
        self.by_end.insert((end_of(lease, policies), run));
    }

    pub(super) fn remove(&mut self, run: RunId, lease: &Lease, policies: &Policies) {
        if let Some(of_executor) = self.by_executor.get_mut(&lease.executor) {
            if let Some(runs) = of_executor.get_mut(&policies.lease_duration) {
                runs.remove(&run);
                if runs.is_empty() {
                    of_executor.remove(&policies.lease_duration);
                }
            }
            if of_executor.is_empty() {
                self.by_executor.remove(&lease.executor);
            }
        }
        self.by_end.remove(&(end_of(lease, policies), run));
    }

    /// Executors that hold leases, each with their number.
    pub fn executors(&self) -> impl Iterator<Item = (&Arc<str>, usize)> {
        self.by_executor.iter().map(|(executor, leases)| (executor, count(leases)))
    }

    /// Number of leases that an executor holds.
    pub fn count_of(&self, executor: &str) -> usize {
        self.by_executor.get(executor).map_or(0, count)
    }

    /// Runs whose executor is lost to them, if it has been silent for so long.
    pub fn lost_after(&self, executor: &str, silent_for: Duration) -> impl Iterator<Item = RunId> + '_ {
        let leases = self.by_executor.get(executor).into_iter().flatten();
        leases.take_while(move |(lease, _)| **lease < silent_for).flat_map(|(_, runs)| runs.iter())
    }

    /// Runs that have overrun their attempt timeout by a whole lease: the executor should have ended them.
    pub fn overrun_at(&self, now: UnixMillis) -> impl Iterator<Item = RunId> + '_ {
        self.by_end.iter().take_while(move |(end, _)| *end < now).map(|(_, run)| *run)
    }

    pub(super) fn contains(&self, run: RunId, lease: &Lease, policies: &Policies) -> bool {
        let of_executor = self.by_executor.get(&lease.executor);
        let of_executor = of_executor.and_then(|leases| leases.get(&policies.lease_duration));
        of_executor.is_some_and(|runs| runs.contains(&run))
            && self.by_end.contains(&(end_of(lease, policies), run))
    }

    pub(super) fn len(&self) -> usize {
        self.by_end.len()
    }
}

/// Those of each silence are few sets: lease durations are a matter of policy.
fn count(leases: &BTreeMap<Duration, RunIdSet>) -> usize {
    leases.values().map(RunIdSet::len).sum()
}

fn end_of(lease: &Lease, policies: &Policies) -> UnixMillis {
    lease.begun_at.plus(policies.attempt_timeout).plus(policies.lease_duration)
}
