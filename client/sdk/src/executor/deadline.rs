//! When an attempt times out, and how its code moves that.
//!
//! - TIME-1: an extension gives at most one attempt timeout from now on, so that code which is stuck is ended that long after
//!   it last asked; it never takes time away.
//! - TIME-2: however often it is extended, an attempt takes no longer in all than the leader allows.
//! - TIME-3: what is past is not extended, and neither is what was told to end (the caller sees to that).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use super::watched::Watched;
use crate::pb;
use crate::time::after;

/// The attempt timeout of a grant that names none: the default of the contract.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(3600);

/// The attempt timeout of a grant.
pub(super) fn attempt_timeout(grant: &pb::Grant) -> Duration {
    match grant.attempt_timeout_ms {
        0 => ATTEMPT_TIMEOUT,
        millis => Duration::from_millis(millis),
    }
}

/// How long attempts may take in all, as the leader said last. Clones are the same limit.
#[derive(Clone, Debug, Default)]
pub(super) struct AttemptMax(Arc<AtomicU64>);

impl AttemptMax {
    pub(super) fn set(&self, millis: u64) {
        self.0.store(millis, Ordering::Relaxed);
    }

    /// Whether the leader gives more time at all.
    pub(super) fn is_any(&self) -> bool {
        self.get() > Duration::ZERO
    }

    fn get(&self) -> Duration {
        Duration::from_millis(self.0.load(Ordering::Relaxed))
    }
}

/// The deadline of one attempt.
#[derive(Debug)]
pub(super) struct Deadline {
    begun_at: Instant,
    timeout: Duration,
    max: AttemptMax,
    moves: Watched<Moved>,
    noted: Arc<Notify>,
}

#[derive(Clone, Copy, Debug)]
struct Moved {
    at: Instant,
    extended: bool,
    is_new: bool,
}

impl Deadline {
    /// The deadline of an attempt that begins now. Whoever passes extensions on waits for `noted`.
    pub(super) fn new(begun_at: Instant, timeout: Duration, max: AttemptMax, noted: Arc<Notify>) -> Self {
        let moved = Moved { at: after(begun_at, timeout), extended: false, is_new: false };
        Self { begun_at, timeout, max, moves: Watched::new(moved), noted }
    }

    /// Moves the deadline as far as it may be moved. Gives where it is now.
    pub(super) fn extend(&self, now: Instant) -> Instant {
        // TIME-1, TIME-2
        let wanted = after(now, self.timeout).min(after(self.begun_at, self.max.get()));
        let moved = self.moves.change(|moved| {
            // TIME-3
            let moves = now < moved.at && wanted > moved.at;
            if moves {
                *moved = Moved { at: wanted, extended: true, is_new: true };
            }
            moves
        });
        if moved {
            self.noted.notify_one();
        }
        self.at()
    }

    pub(super) fn at(&self) -> Instant {
        self.moves.lock().at
    }

    /// How long the attempt may take in all, as things are.
    pub(super) fn allowed(&self) -> Duration {
        let moved = *self.moves.lock();
        let millis = moved.at.saturating_duration_since(self.begun_at).as_millis();
        if moved.extended {
            Duration::from_millis(u64::try_from(millis).unwrap_or(u64::MAX))
        } else {
            self.timeout
        }
    }

    /// Completes when the deadline has passed. For one task.
    pub(super) async fn passed(&self) {
        loop {
            let at = self.at();
            tokio::select! {
                biased;
                () = self.moves.changed() => {}
                () = sleep_until(at) => return,
            }
        }
    }

    /// Whether the leader has not heard where it is.
    pub(super) fn is_new(&self) -> bool {
        self.moves.lock().is_new
    }

    /// What to tell the leader, unless it was told.
    pub(super) fn take_new(&self, now: Instant) -> Option<u64> {
        let is_new = std::mem::take(&mut self.moves.lock().is_new);
        is_new.then(|| self.extended_for_ms(now)).filter(|millis| *millis > 0)
    }

    /// How far ahead the deadline is, if it was extended; else 0.
    pub(super) fn extended_for_ms(&self, now: Instant) -> u64 {
        let moved = *self.moves.lock();
        let left = moved.at.saturating_duration_since(now);
        if moved.extended { u64::try_from(left.as_millis()).unwrap_or(u64::MAX) } else { 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    /// A deadline of 10 s under a limit, and when it began.
    fn deadline(max: Duration) -> (Deadline, Instant) {
        let (limit, begun_at) = (AttemptMax::default(), Instant::now());
        limit.set(u64::try_from(max.as_millis()).unwrap());
        (Deadline::new(begun_at, 10 * SECOND, limit, Arc::default()), begun_at)
    }

    #[test]
    fn time_1_an_extension_gives_one_timeout_from_now_on() {
        let (deadline, begun_at) = deadline(100 * SECOND);
        assert_eq!((deadline.allowed(), deadline.extended_for_ms(begun_at)), (10 * SECOND, 0));
        assert_eq!(deadline.extend(begun_at + 4 * SECOND), begun_at + 14 * SECOND);
        assert_eq!(deadline.extend(begun_at + 2 * SECOND), begun_at + 14 * SECOND, "it takes nothing away");
        assert_eq!(deadline.allowed(), 14 * SECOND);
        assert_eq!(deadline.take_new(begun_at + 5 * SECOND), Some(9000));
        assert_eq!(deadline.take_new(begun_at + 5 * SECOND), None, "it was told");
        assert_eq!(deadline.extended_for_ms(begun_at + 5 * SECOND), 9000, "and is said to the next leader");
    }

    #[test]
    fn time_2_there_is_an_end_to_it() {
        let (deadline, begun_at) = deadline(15 * SECOND);
        assert_eq!(deadline.extend(begun_at + 4 * SECOND), begun_at + 14 * SECOND);
        assert_eq!(deadline.extend(begun_at + 9 * SECOND), begun_at + 15 * SECOND);
        assert_eq!(deadline.extend(begun_at + 14 * SECOND), begun_at + 15 * SECOND);
    }

    #[test]
    fn time_2_a_leader_that_gives_none_takes_none_away() {
        let (deadline, begun_at) = deadline(Duration::ZERO);
        assert_eq!(deadline.extend(begun_at + 4 * SECOND), begun_at + 10 * SECOND);
        assert!(!deadline.is_new());
    }

    #[test]
    fn time_3_what_has_passed_is_not_extended() {
        let (deadline, begun_at) = deadline(100 * SECOND);
        assert_eq!(deadline.extend(begun_at + 10 * SECOND), begun_at + 10 * SECOND);
    }
}
