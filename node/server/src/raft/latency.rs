//! A histogram of durations that many threads write and the metrics module reads.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the buckets, in microseconds: from a fast disk's sync to one that is about to fail.
pub const LATENCY_BOUNDS_US: [u64; 12] =
    [100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000];

/// Counts of durations by bucket; the last bucket takes everything above the last bound.
#[derive(Debug, Default)]
pub struct LatencyHistogram {
    counts: [AtomicU64; LATENCY_BOUNDS_US.len() + 1],
    sum_us: AtomicU64,
}

/// What a [`LatencyHistogram`] held at one moment.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct LatencyCounts {
    /// One count per bound of [`LATENCY_BOUNDS_US`], then one for everything above. Not cumulative.
    pub counts: [u64; LATENCY_BOUNDS_US.len() + 1],
    /// Sum of all durations.
    pub sum_us: u64,
}

impl LatencyHistogram {
    /// Counts one duration.
    pub fn record(&self, taken: Duration) {
        let us = u64::try_from(taken.as_micros()).unwrap_or(u64::MAX);
        let bucket = LATENCY_BOUNDS_US.partition_point(|bound| *bound < us);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    /// The counts now.
    pub fn read(&self) -> LatencyCounts {
        let mut read = LatencyCounts { sum_us: self.sum_us.load(Ordering::Relaxed), ..Default::default() };
        for (into, from) in read.counts.iter_mut().zip(&self.counts) {
            *into = from.load(Ordering::Relaxed);
        }
        read
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_falls_into_the_bucket_that_bounds_it() {
        let histogram = LatencyHistogram::default();
        for us in [0, 100, 101, 1_000_000, 1_000_001] {
            histogram.record(Duration::from_micros(us));
        }
        let read = histogram.read();
        assert_eq!((read.counts[0], read.counts[1], read.counts[11], read.counts[12]), (2, 1, 1, 1));
        assert_eq!(read.sum_us, 2_000_202);
    }
}
