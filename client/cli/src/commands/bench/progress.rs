//! How far a benchmark is, on stderr: at most a line per second.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::output::prose;

const PERIOD: Duration = Duration::from_secs(1);

/// Counts something up to a total.
#[derive(Debug)]
pub(super) struct Progress {
    what: &'static str,
    total: u64,
    done: AtomicU64,
    said_at: Mutex<Instant>,
}

impl Progress {
    pub(super) fn new(what: &'static str, total: u64) -> Self {
        Self { what, total, done: AtomicU64::new(0), said_at: Mutex::new(Instant::now()) }
    }

    pub(super) fn step_by(&self, count: u64) {
        let done = self.done.fetch_add(count, Ordering::Relaxed) + count;
        self.say(done);
    }

    /// Says it, unless something was said a moment ago or somebody else is saying it.
    pub(super) fn say(&self, done: u64) {
        if let Ok(mut said_at) = self.said_at.try_lock()
            && said_at.elapsed() >= PERIOD
        {
            *said_at = Instant::now();
            prose(&format!("{}: {done} of {}", self.what, self.total));
        }
    }
}
