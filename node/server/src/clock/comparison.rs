//! What the clocks of a cluster say of each other: pure functions over readings.
//!
//! The reference is the lower median of all clocks that are known, one's own among them: with three clocks one that is wrong
//! never is the reference, and of two that disagree the earlier one is believed. Late is the safe side: what has been fired
//! too early cannot be taken back.

use std::time::Duration;

use tokio::time::Instant;

use super::UnixMillis;

/// Readings older than this say nothing: the clock of a node that is away may have been set meanwhile.
const READING_AGE_MAX: Duration = Duration::from_secs(30);

/// What the clock of another node showed, by this node's monotonic clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reading {
    /// Whose.
    pub node: u64,
    /// What it showed.
    pub wall: UnixMillis,
    /// When: the middle between question and answer.
    pub at: Instant,
    /// How far off `at` may be: half of the way there and back.
    pub uncertainty: Duration,
}

/// How the clocks compare at one moment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Comparison {
    /// What the cluster takes the time to be.
    pub reference: UnixMillis,
    /// How far this node's clock is ahead of the reference, in milliseconds.
    pub own_ahead_ms: i64,
    /// The same of the others, in order of id.
    pub others: Vec<(u64, i64)>,
    /// How far all of that may be off.
    pub uncertainty_ms: i64,
}

impl Comparison {
    /// Compares this node's clock with what is known of the others. None when nothing is: a clock alone is its own reference.
    pub fn of(own: UnixMillis, now: Instant, readings: impl IntoIterator<Item = Reading>) -> Option<Self> {
        let shown: Vec<(u64, UnixMillis, Duration)> = readings
            .into_iter()
            .filter(|reading| now.duration_since(reading.at) <= READING_AGE_MAX)
            .map(|reading| {
                let shows = reading.wall.plus(now.duration_since(reading.at));
                (reading.node, shows, reading.uncertainty)
            })
            .collect();
        let uncertainty = shown.iter().map(|(_, _, uncertainty)| *uncertainty).max()?;
        let mut clocks: Vec<UnixMillis> = shown.iter().map(|(_, shows, _)| *shows).chain([own]).collect();
        clocks.sort_unstable();
        let reference = clocks[(clocks.len() - 1) / 2];
        let mut others: Vec<_> =
            shown.iter().map(|(node, shows, _)| (*node, shows.0 - reference.0)).collect();
        others.sort_unstable();
        // Rounded up: a reading within one millisecond is no exact one.
        let uncertainty_ms = i64::try_from(uncertainty.as_millis()).unwrap_or(i64::MAX).saturating_add(1);
        Some(Self { reference, own_ahead_ms: own.0 - reference.0, others, uncertainty_ms })
    }

    /// Whether this node's clock is further from the reference than `bound`, whatever the readings leave uncertain.
    pub fn is_out(&self, bound: Duration) -> bool {
        self.exceeds(self.own_ahead_ms, bound)
    }

    /// The other nodes whose clocks are within `bound`, as far as the readings can tell.
    pub fn within(&self, bound: Duration) -> impl Iterator<Item = u64> {
        self.others.iter().filter(move |(_, ahead)| !self.exceeds(*ahead, bound)).map(|(node, _)| *node)
    }

    fn exceeds(&self, ahead_ms: i64, bound: Duration) -> bool {
        let bound_ms = i64::try_from(bound.as_millis()).unwrap_or(i64::MAX);
        ahead_ms.saturating_abs().saturating_sub(self.uncertainty_ms) > bound_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BOUND: Duration = Duration::from_millis(500);

    /// How far clocks that show `others` are ahead, and this one that shows 100 s.
    fn compare(others: &[i64]) -> Option<(i64, Vec<i64>)> {
        let now = Instant::now();
        let reading = |(node, wall): (u64, &i64)| Reading {
            node,
            wall: UnixMillis(100_000 + wall),
            at: now,
            uncertainty: Duration::ZERO,
        };
        let readings: Vec<_> = (2..).zip(others).map(reading).collect();
        let comparison = Comparison::of(UnixMillis(100_000), now, readings)?;
        Some((comparison.own_ahead_ms, comparison.others.iter().map(|(_, ahead)| *ahead).collect()))
    }

    #[test]
    fn a_clock_alone_is_its_own_reference() {
        assert_eq!(compare(&[]), None);
    }

    #[test]
    fn of_three_the_one_that_differs_is_wrong() {
        assert_eq!(compare(&[-5000, -5001]), Some((5000, vec![0, -1])), "this one is ahead");
        assert_eq!(compare(&[5000, 5001]), Some((-5000, vec![0, 1])), "this one is behind");
        assert_eq!(compare(&[3_600_000, 2]), Some((-2, vec![3_599_998, 0])), "another one is ahead");
    }

    #[test]
    fn of_two_the_earlier_one_is_believed() {
        assert_eq!(compare(&[-5000]), Some((5000, vec![0])));
        assert_eq!(compare(&[5000]), Some((0, vec![5000])));
    }

    #[test]
    fn readings_are_brought_forward_to_now_and_get_old() {
        let (read_at, wall) = (Instant::now(), UnixMillis(50_000));
        let reading = Reading { node: 2, wall, at: read_at, uncertainty: Duration::ZERO };
        let at = |later: Duration| Comparison::of(UnixMillis(60_000), read_at + later, [reading]);
        assert_eq!(at(Duration::from_secs(10)).unwrap().own_ahead_ms, 0);
        assert_eq!(at(READING_AGE_MAX + Duration::from_millis(1)), None);
    }

    #[test]
    fn what_a_reading_leaves_uncertain_accuses_nobody() {
        let now = Instant::now();
        let check = |ahead: i64, uncertainty_ms: u64, is_out: bool| {
            let uncertainty = Duration::from_millis(uncertainty_ms);
            let readings = [2, 3].map(|node| Reading { node, wall: UnixMillis(0), at: now, uncertainty });
            let comparison = Comparison::of(UnixMillis(ahead), now, readings).unwrap();
            assert_eq!(comparison.is_out(BOUND), is_out, "{ahead} ms ahead, give or take {uncertainty_ms}");
            assert_eq!(comparison.within(BOUND).collect::<Vec<_>>(), [2, 3]);
        };
        check(501, 0, false);
        check(502, 0, true);
        check(600, 100, false);
        check(602, 100, true);
        check(-602, 100, true);
    }
}
