//! The one clock of the shell. No decision is made by any other, so that tests and simulation can step it; only ULIDs and
//! the date on a new data folder, which nothing is decided by, are read off the machine.
//!
//! ```text
//!   SystemClock ──► GuardedClock ──► leader, API, liveness          raw ──► peers that ask
//!                       ▲ Comparison ◄── readings of the other nodes' clocks (clock_guard)
//! ```

mod comparison;
mod guarded;

use std::fmt::Debug;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use belfry_core::UnixMillis;

pub use comparison::{Comparison, Reading};
pub use guarded::GuardedClock;

/// Wall time.
pub trait Clock: Debug + Send + Sync + 'static {
    /// Now. It may jump in either direction: whoever decides by it compares with the replicated watermark.
    fn now(&self) -> UnixMillis;
}

/// A clock shared by the parts of a node.
pub type SharedClock = Arc<dyn Clock>;

/// The machine's clock.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> UnixMillis {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        UnixMillis(i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX))
    }
}

/// Another clock, moved: for tests of outages and of clocks that are wrong.
#[derive(Debug)]
pub struct ShiftedClock {
    inner: SharedClock,
    offset_ms: AtomicI64,
}

impl ShiftedClock {
    /// `inner`, not moved yet.
    pub fn new(inner: SharedClock) -> Self {
        Self { inner, offset_ms: AtomicI64::new(0) }
    }

    /// Moves the clock by this much from where it is.
    pub fn step_ms(&self, by: i64) {
        self.offset_ms.fetch_add(by, Ordering::SeqCst);
    }
}

impl Clock for ShiftedClock {
    fn now(&self) -> UnixMillis {
        UnixMillis(self.inner.now().0 + self.offset_ms.load(Ordering::SeqCst))
    }
}
