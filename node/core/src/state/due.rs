//! Schedules by their next instant.

use std::collections::{BTreeMap, BTreeSet};

use crate::ids::{ScheduleId, UnixMillis};

/// One bucket per instant: an idle schedule costs nothing, a storm at the minute is one bucket, and neither insertion nor
/// removal ever scans.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
pub struct DueIndex {
    buckets: BTreeMap<UnixMillis, BTreeSet<ScheduleId>>,
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
        self.buckets.range(..=now).flat_map(|(at, bucket)| bucket.iter().map(|id| (*at, *id)))
    }
}
