//! So many in so much time.
//!
//! - RATE-1: in no stretch of time as long as the rate's are there more grants than it allows.
//!
//! A token bucket whose burst is one period's worth would allow twice the rate in the period after a quiet one; whoever
//! writes "100 a minute" because somebody else counts to 100 a minute would be refused. So this remembers when it was drawn
//! on, and a token comes back one period after it was taken.

use std::collections::VecDeque;
use std::time::Duration;

use tokio::time::Instant;

/// Draws closer together than this part of the period are remembered as one, of the time of the last: a bound on what is
/// remembered, for less than a hundredth of the rate.
const GRAIN_PARTS: u32 = 128;

/// At most `count` in any `per`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Rate {
    pub(crate) per: Duration,
    pub(crate) count: u32,
}

/// What is left of a rate.
#[derive(Debug)]
pub(super) struct Allowance {
    rate: Rate,
    draws: VecDeque<Draw>,
}

#[derive(Debug)]
struct Draw {
    first_at: Instant,
    last_at: Instant,
    count: u32,
}

impl Allowance {
    pub(super) fn new(rate: Rate) -> Self {
        Self { rate, draws: VecDeque::new() }
    }

    /// Another rate from now on. What was drawn stays drawn.
    pub(super) fn set(&mut self, rate: Rate) {
        self.rate = rate;
    }

    /// How many may still be granted.
    pub(super) fn left(&self, now: Instant) -> u32 {
        let drawn = self.counting(now).map(|draw| draw.count).sum();
        self.rate.count.saturating_sub(drawn)
    }

    /// When the next token comes back, if any was taken.
    pub(super) fn next_at(&self, now: Instant) -> Option<Instant> {
        self.counting(now).next().map(|draw| draw.last_at + self.rate.per)
    }

    pub(super) fn draw(&mut self, now: Instant, count: u32) {
        let past = self.draws.partition_point(|draw| draw.last_at + self.rate.per <= now);
        self.draws.drain(..past);
        match self.draws.back_mut() {
            Some(draw) if now.saturating_duration_since(draw.first_at) < self.rate.per / GRAIN_PARTS => {
                draw.last_at = draw.last_at.max(now);
                draw.count += count;
            }
            Some(_) | None => self.draws.push_back(Draw { first_at: now, last_at: now, count }),
        }
    }

    fn counting(&self, now: Instant) -> impl Iterator<Item = &Draw> {
        self.draws.iter().filter(move |draw| draw.last_at + self.rate.per > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: Rate = Rate { per: Duration::from_secs(1), count: 10 };

    #[test]
    fn a_token_comes_back_a_period_after_it_was_taken() {
        let start = Instant::now();
        let mut allowance = Allowance::new(RATE);
        allowance.draw(start, 4);
        let half = start + RATE.per / 2;
        allowance.draw(half, 6);
        assert_eq!((allowance.left(half), allowance.next_at(half)), (0, Some(start + RATE.per)));
        assert_eq!(allowance.left(start + RATE.per), 4);
        assert_eq!(allowance.left(half + RATE.per), 10);
        assert_eq!(allowance.next_at(half + RATE.per), None);
    }

    #[test]
    fn many_small_draws_are_remembered_in_little_room() {
        let start = Instant::now();
        let mut allowance = Allowance::new(Rate { count: u32::MAX, ..RATE });
        for micros in 0..100_000u32 {
            allowance.draw(start + Duration::from_micros(20) * micros, 1);
        }
        assert!(allowance.draws.len() <= 2 + GRAIN_PARTS as usize, "{}", allowance.draws.len());
        let now = start + Duration::from_secs(2);
        let drawn = u32::MAX - allowance.left(now);
        assert!((50_000..=50_500).contains(&drawn), "{drawn} in the last second");
    }
}
