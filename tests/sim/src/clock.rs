//! The clock of a node: simulated time, and how wrong it is.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use belfry_core::UnixMillis;
use belfry_server::clock::Clock;

/// Simulated time begins at this instant: a Tuesday without anything special, 2027-06-15T00:00:00Z.
pub const EPOCH_SECONDS: u64 = 1_813_017_600;

/// A clock that may be wrong. Clones are the same one.
#[derive(Clone, Debug, Default)]
pub struct SimClock {
    /// How wrong it is.
    skew_ms: Arc<AtomicI64>,
    /// How far it was ahead at most since somebody asked.
    most_ms: Arc<AtomicI64>,
    /// By how much all clocks, and the world, have jumped: time that nobody was there to see.
    skipped_ms: Arc<AtomicI64>,
}

impl SimClock {
    /// A clock that shares the time of the world with others.
    #[must_use]
    pub fn beside(other: &Self) -> Self {
        Self { skew_ms: Arc::default(), most_ms: Arc::default(), skipped_ms: other.skipped_ms.clone() }
    }

    /// Makes it wrong by this much.
    pub fn set_skew(&self, skew_ms: i64) {
        self.skew_ms.store(skew_ms, Ordering::Relaxed);
        self.most_ms.fetch_max(skew_ms, Ordering::Relaxed);
    }

    /// How far it was ahead at most since this was asked last.
    #[must_use]
    pub fn take_most_ms(&self) -> i64 {
        self.most_ms.swap(self.skew_ms(), Ordering::Relaxed)
    }

    /// How wrong it is.
    #[must_use]
    pub fn skew_ms(&self) -> i64 {
        self.skew_ms.load(Ordering::Relaxed)
    }

    /// Lets time pass for the whole world at once, while nobody looks.
    pub fn skip(&self, by_ms: i64) {
        self.skipped_ms.fetch_add(by_ms, Ordering::Relaxed);
    }

    /// The true time, so long after the beginning.
    #[must_use]
    pub fn true_time(&self, elapsed: std::time::Duration) -> UnixMillis {
        let elapsed = i64::try_from(elapsed.as_millis()).expect("simulations are short");
        let epoch = i64::try_from(EPOCH_SECONDS * 1000).expect("within range");
        UnixMillis(epoch + elapsed + self.skipped_ms.load(Ordering::Relaxed))
    }
}

impl Clock for SimClock {
    fn now(&self) -> UnixMillis {
        let elapsed = turmoil::sim_elapsed().expect("clocks are read on hosts");
        UnixMillis(self.true_time(elapsed).0 + self.skew_ms())
    }
}
