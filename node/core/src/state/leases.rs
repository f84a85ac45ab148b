//! Leases by what ends them without a report: the silence of their executor, and their own time.

use std::collections::BTreeMap;
use std::time::Duration;

use arcstr::ArcStr;

use super::handle_set::HandleSet;
use super::run_id_set::RunIdSet;
use crate::definition::Policies;
use crate::ids::{RunId, UnixMillis};
use crate::run::Lease;

/// Looking for lost leases costs what is found and a step per executor, never a look at every lease.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct LeaseIndex {
    by_executor: BTreeMap<ArcStr, Held>,
    /// What begins together ends together. None is empty.
    by_end: BTreeMap<UnixMillis, HandleSet<RunId>>,
    len: usize,
}

/// The leases of one executor.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
struct Held {
    len: usize,
    /// By how long the executor may be silent.
    by_silence: BTreeMap<Duration, RunIdSet>,
}

impl Held {
    fn insert(&mut self, run: RunId, silence: Duration) {
        let is_new = self.by_silence.entry(silence).or_default().insert(run);
        self.len += usize::from(is_new);
    }

    fn remove(&mut self, run: RunId, silence: Duration) {
        let Some(runs) = self.by_silence.get_mut(&silence) else { return };
        self.len -= usize::from(runs.remove(&run));
        if runs.is_empty() {
            self.by_silence.remove(&silence);
        }
    }
}

impl LeaseIndex {
    pub(super) fn insert(&mut self, run: RunId, lease: &Lease, policies: &Policies) {
        let held = self.by_executor.entry(lease.executor.clone()).or_default();
        held.insert(run, policies.lease_duration);
        let is_new = self.by_end.entry(end_of(lease, policies)).or_default().insert(run);
        self.len += usize::from(is_new);
    }

    pub(super) fn remove(&mut self, run: RunId, lease: &Lease, policies: &Policies) {
        if let Some(held) = self.by_executor.get_mut(&lease.executor) {
            held.remove(run, policies.lease_duration);
            if held.len == 0 {
                self.by_executor.remove(&lease.executor);
            }
        }
        let end = end_of(lease, policies);
        let Some(runs) = self.by_end.get_mut(&end) else { return };
        self.len -= usize::from(runs.remove(&run));
        if runs.is_empty() {
            self.by_end.remove(&end);
        }
    }

    /// Executors that hold leases, each with their number.
    pub fn executors(&self) -> impl Iterator<Item = (&ArcStr, usize)> {
        self.by_executor.iter().map(|(executor, held)| (executor, held.len))
    }

    /// Number of leases that an executor holds.
    pub fn count_of(&self, executor: &str) -> usize {
        self.by_executor.get(executor).map_or(0, |held| held.len)
    }

    /// Runs whose executor is lost to them, if it has been silent for so long.
    pub fn lost_after(&self, executor: &str, silent_for: Duration) -> impl Iterator<Item = RunId> + '_ {
        let held = self.by_executor.get(executor);
        held.into_iter()
            .flat_map(move |held| held.by_silence.range(..silent_for))
            .flat_map(|(_, runs)| runs.iter())
    }

    /// Runs that have overrun their attempt timeout by a whole lease: the executor should have ended them.
    pub fn overrun_at(&self, now: UnixMillis) -> impl Iterator<Item = RunId> + '_ {
        self.by_end.range(..now).flat_map(|(_, runs)| runs.iter())
    }

    pub(super) fn contains(&self, run: RunId, lease: &Lease, policies: &Policies) -> bool {
        let held = self.by_executor.get(&lease.executor);
        let of_executor = held.and_then(|held| held.by_silence.get(&policies.lease_duration));
        let of_end = self.by_end.get(&end_of(lease, policies));
        of_executor.is_some_and(|runs| runs.contains(&run)) && of_end.is_some_and(|runs| runs.contains(&run))
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }
}

fn end_of(lease: &Lease, policies: &Policies) -> UnixMillis {
    lease.begun_at.plus(policies.attempt_timeout).plus(policies.lease_duration)
}
