//! Waiting between tries: exponential, with a cap, and never the same for two clients.

use std::time::Duration;

use crate::random;

/// Delays that double from `first` up to `cap`, each shortened at random by up to a half.
///
/// The randomness keeps thousands of clients that lost the same leader from coming back in step.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    first: Duration,
    cap: Duration,
    next: Duration,
    /// Tries in a round, and those left of the one of now.
    round: usize,
    left: usize,
}

impl Backoff {
    pub(crate) fn new(first: Duration, cap: Duration) -> Self {
        Self { first, cap, next: first, round: 1, left: 1 }
    }

    /// The same delay before each of `tries`, at least one, before it doubles.
    pub(crate) fn in_rounds_of(self, tries: usize) -> Self {
        let round = tries.max(1);
        Self { round, left: round, ..self }
    }

    /// How long to wait before the next try.
    pub(crate) fn delay(&mut self) -> Duration {
        let delay = self.next;
        self.left -= 1;
        if self.left == 0 {
            self.left = self.round;
            self.next = (delay * 2).min(self.cap);
        }
        jittered(delay, random::fraction())
    }

    /// To be called once a try has succeeded.
    pub(crate) fn reset(&mut self) {
        self.next = self.first;
        self.left = self.round;
    }
}

/// `delay` shortened by `fraction` of its half.
fn jittered(delay: Duration, fraction: f64) -> Duration {
    delay.mul_f64(1.0 - fraction / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_up_to_the_cap_and_starts_again_after_a_reset() {
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_millis(150));
        let mut below = |limit: u64| {
            let delay = backoff.delay();
            assert!(delay <= Duration::from_millis(limit) && delay >= Duration::from_millis(limit / 2));
        };
        below(50);
        below(100);
        below(150);
        below(150);
        backoff.reset();
        assert!(backoff.delay() <= Duration::from_millis(50));
    }

    #[test]
    fn doubles_from_round_to_round() {
        let first = Duration::from_millis(40);
        let mut backoff = Backoff::new(first, Duration::from_secs(1)).in_rounds_of(3);
        let mut round = |longest: Duration| {
            for _ in 0..3 {
                let delay = backoff.delay();
                assert!(delay <= longest && delay >= longest / 2, "{delay:?} in a round of {longest:?}");
            }
        };
        round(first);
        round(first * 2);
        round(first * 4);
        backoff.delay();
        backoff.reset();
        assert!((0..3).all(|_| backoff.delay() <= first), "a round begins anew after a reset");
    }

    #[test]
    fn jitter_takes_at_most_a_half() {
        assert_eq!(jittered(Duration::from_secs(2), 0.0), Duration::from_secs(2));
        assert_eq!(jittered(Duration::from_secs(2), 1.0), Duration::from_secs(1));
    }
}
