//! Schedules by their next instant.

use std::collections::BTreeMap;
use std::ops::Bound;

use super::handle_set::HandleSet;
use crate::ids::{ScheduleId, UnixMillis};

/// One bucket per instant: an idle schedule costs nothing, a storm at the minute is one bucket, and neither insertion nor
/// removal ever scans.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct DueIndex {
    /// None of them is empty.
    buckets: BTreeMap<UnixMillis, HandleSet<ScheduleId>>,
}

impl DueIndex {
    pub(super) fn insert(&mut self, at: UnixMillis, schedule: ScheduleId) {
        self.buckets.entry(at).or_default().insert(schedule);
    }

    pub(super) fn remove(&mut self, at: UnixMillis, schedule: ScheduleId) {
        if let Some(bucket) = self.buckets.get_mut(&at) {
            bucket.remove(&schedule);
            if bucket.is_empty() {
                self.buckets.remove(&at);
            }
        }
    }

    /// Everything, earliest first.
    pub fn all(&self) -> impl Iterator<Item = (UnixMillis, ScheduleId)> + '_ {
        self.until(UnixMillis(i64::MAX))
    }

    /// Everything due up to and including `now`, earliest first.
    pub fn until(&self, now: UnixMillis) -> impl Iterator<Item = (UnixMillis, ScheduleId)> + '_ {
        self.buckets.range(..=now).flat_map(|(at, bucket)| bucket.iter().map(|id| (*at, id)))
    }

    /// Everything due after `after` and up to and including `now`: the latest instant first.
    pub fn latest(
        &self,
        after: UnixMillis,
        now: UnixMillis,
    ) -> impl Iterator<Item = (UnixMillis, ScheduleId)> + '_ {
        // A range may not end before it begins.
        let instants = (Bound::Excluded(after), Bound::Included(now.max(after.next())));
        let buckets = self.buckets.range(instants).rev().filter(move |(at, _)| **at <= now);
        buckets.flat_map(|(at, bucket)| bucket.iter().map(|id| (*at, id)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Any sequence of changes leaves what it leaves in a set, whichever instant is asked for.
        #[test]
        fn it_is_a_set(
            steps in prop::collection::vec((prop::bool::weighted(0.6), 0..4i64, 0..9u64), 0..100),
            (after, now) in (0..4i64, 0..4i64),
        ) {
            let (mut due, mut set) = (DueIndex::default(), BTreeSet::new());
            for (insert, at, schedule) in steps {
                let (at, schedule) = (UnixMillis(at), ScheduleId(schedule));
                if insert {
                    due.insert(at, schedule);
                    set.insert((at, schedule));
                } else {
                    due.remove(at, schedule);
                    set.remove(&(at, schedule));
                }
            }
            prop_assert!(due.all().eq(set.iter().copied()));
            let until = set.iter().filter(|(at, _)| *at <= UnixMillis(now)).copied();
            prop_assert!(due.until(UnixMillis(now)).eq(until));
            let mut latest: Vec<_> =
                set.iter().filter(|(at, _)| (after + 1..=now).contains(&at.0)).copied().collect();
            latest.sort_by_key(|(at, id)| (std::cmp::Reverse(*at), *id));
            prop_assert!(due.latest(UnixMillis(after), UnixMillis(now)).eq(latest));
            prop_assert!(due.buckets.values().all(|bucket| !bucket.is_empty()));
        }
    }
}
