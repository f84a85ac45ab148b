//! A clock that does not run ahead of what the cluster takes the time to be.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use super::{Clock, Comparison, SharedClock, UnixMillis};

/// This node's clock, held back where it is ahead of the reference by more than the bound.
///
/// - CLOCK-1: after the first comparison with the others, [`Clock::now`] is never later than the reference plus the bound,
///   also in the moment after the machine's clock jumped: until the others confirm it, time goes on from the last comparison
///   by the monotonic clock. So nothing fires, expires or is retried early by more than the bound.
/// - CLOCK-2: a clock that is behind is not moved forward: what is late is late until a node with a better clock leads.
#[derive(Debug)]
pub struct GuardedClock {
    inner: SharedClock,
    bound: Duration,
    reference: Mutex<Option<(Instant, UnixMillis)>>,
    standing: watch::Sender<Standing>,
}

/// What is known of the other clocks.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
enum Standing {
    /// Nobody has answered yet.
    #[default]
    NotCompared,
    /// There are no others.
    Alone,
    /// As of the last round.
    Compared(Comparison),
}

impl GuardedClock {
    /// `inner`, not compared yet.
    pub fn new(inner: SharedClock, bound: Duration) -> Arc<Self> {
        Arc::new(Self { inner, bound, reference: Mutex::default(), standing: watch::Sender::default() })
    }

    /// How far a clock may be ahead or behind.
    pub fn bound(&self) -> Duration {
        self.bound
    }

    /// What the machine's clock shows, held back or not.
    pub fn raw(&self) -> UnixMillis {
        self.inner.now()
    }

    /// The last comparison; none while no other clock is known.
    pub fn comparison(&self) -> Option<Comparison> {
        match &*self.standing.borrow() {
            Standing::Compared(comparison) => Some(comparison.clone()),
            Standing::NotCompared | Standing::Alone => None,
        }
    }

    /// How far this clock is ahead of the reference, in milliseconds: a clock alone is its own. None before the first comparison.
    pub fn ahead_ms(&self) -> Option<i64> {
        match &*self.standing.borrow() {
            Standing::Compared(comparison) => Some(comparison.own_ahead_ms),
            Standing::Alone => Some(0),
            Standing::NotCompared => None,
        }
    }

    /// Waits until the clock has been compared with others, or there are none.
    pub async fn compared(&self) {
        let mut standing = self.standing.subscribe();
        // The sender lives as long as this clock.
        standing.wait_for(|standing| *standing != Standing::NotCompared).await.ok();
    }

    /// Takes in how the clocks compare `now`; none: there are no others, and the machine's clock is believed.
    pub fn discipline(&self, now: Instant, comparison: Option<Comparison>) {
        let reference = comparison.as_ref().map(|comparison| (now, comparison.reference));
        *self.reference.lock().unwrap_or_else(PoisonError::into_inner) = reference;
        self.standing.send_replace(comparison.map_or(Standing::Alone, Standing::Compared));
    }
}

impl Clock for GuardedClock {
    fn now(&self) -> UnixMillis {
        let shown = self.inner.now();
        match *self.reference.lock().unwrap_or_else(PoisonError::into_inner) {
            // CLOCK-1.
            Some((at, reference)) => shown.min(reference.plus(at.elapsed()).plus(self.bound)),
            None => shown,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::{Reading, ShiftedClock};

    #[derive(Debug)]
    struct Monotonic(Instant);

    impl Clock for Monotonic {
        fn now(&self) -> UnixMillis {
            UnixMillis(0).plus(self.0.elapsed())
        }
    }

    fn compare(clock: &GuardedClock, others_show: UnixMillis) {
        let at = Instant::now();
        let readings =
            [2, 3].map(|node| Reading { node, wall: others_show, at, uncertainty: Duration::ZERO });
        clock.discipline(at, Comparison::of(clock.raw(), at, readings));
    }

    #[tokio::test(start_paused = true)]
    async fn a_jump_ahead_is_held_back_until_the_others_confirm_it() {
        let shifted = Arc::new(ShiftedClock::new(Arc::new(Monotonic(Instant::now()))));
        let clock = GuardedClock::new(shifted.clone(), Duration::from_millis(500));
        compare(&clock, UnixMillis(0));
        shifted.step_ms(3_600_000);
        assert_eq!(clock.now(), UnixMillis(500));
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(clock.now(), UnixMillis(1500), "time goes on");
        compare(&clock, UnixMillis(1000));
        assert_eq!(clock.now(), UnixMillis(1500), "the others do not confirm it");
        compare(&clock, UnixMillis(3_601_000));
        assert_eq!(clock.now(), UnixMillis(3_601_000), "all of them were moved");
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_that_is_behind_stays_behind() {
        let shifted = Arc::new(ShiftedClock::new(Arc::new(Monotonic(Instant::now()))));
        let clock = GuardedClock::new(shifted, Duration::from_millis(500));
        compare(&clock, UnixMillis(60_000));
        assert_eq!(clock.now(), UnixMillis(0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_clock_alone_is_believed() {
        let shifted = Arc::new(ShiftedClock::new(Arc::new(Monotonic(Instant::now()))));
        let clock = GuardedClock::new(shifted.clone(), Duration::from_millis(500));
        clock.discipline(Instant::now(), None);
        shifted.step_ms(3_600_000);
        assert_eq!(clock.now(), UnixMillis(3_600_000));
    }
}
