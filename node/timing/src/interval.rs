//! Intervals: epoch + n · every + phase, whatever the zones and the deploys do.

use std::time::Duration;

use crate::{HORIZON_UNIX_MILLIS, duration_text::format_duration};

/// The shortest interval.
pub const EVERY_MIN: Duration = Duration::from_secs(1);

/// The longest interval: a leap year.
pub const EVERY_MAX: Duration = Duration::from_secs(366 * 86_400);

/// Why an interval is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimingError {
    /// Outside [`EVERY_MIN`] and [`EVERY_MAX`].
    #[error("an interval of {} is out of range: use 1s to 366d", format_duration(*every))]
    EveryOutOfRange {
        /// The interval.
        every: Duration,
    },
    /// Not a whole number of milliseconds.
    #[error("an interval and its phase are whole milliseconds: {}ns is not", value.as_nanos())]
    BelowMillisecond {
        /// The interval or the phase.
        value: Duration,
    },
    /// The phase would skip the first fire.
    #[error("the phase of {} is not shorter than the interval of {}", format_duration(*phase), format_duration(*every))]
    PhaseTooLong {
        /// The phase.
        phase: Duration,
        /// The interval.
        every: Duration,
    },
}

/// A validated interval.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Interval {
    every_millis: i64,
    phase_millis: i64,
}

impl Interval {
    pub(crate) fn new(every: Duration, phase: Duration) -> Result<Interval, TimingError> {
        if !(EVERY_MIN..=EVERY_MAX).contains(&every) {
            return Err(TimingError::EveryOutOfRange { every });
        }
        if phase >= every {
            return Err(TimingError::PhaseTooLong { phase, every });
        }
        Ok(Interval { every_millis: whole_millis(every)?, phase_millis: whole_millis(phase)? })
    }

    /// The interval and its phase.
    pub(crate) fn parts(self) -> (Duration, Duration) {
        let duration = |millis: i64| Duration::from_millis(millis.unsigned_abs());
        (duration(self.every_millis), duration(self.phase_millis))
    }

    pub(crate) fn every_millis(self) -> i64 {
        self.every_millis
    }

    pub(crate) fn phase_millis(self) -> i64 {
        self.phase_millis
    }

    /// The first fire strictly after `after`, before the horizon.
    pub(crate) fn next(self, after: i64) -> Option<i64> {
        let after = after.clamp(-1, HORIZON_UNIX_MILLIS);
        let fire = ((after - self.phase_millis).div_euclid(self.every_millis) + 1) * self.every_millis
            + self.phase_millis;
        // A phase shorter than the interval keeps the first fire at or after the epoch.
        assert!(fire > after && fire >= 0, "TIMING-1: a fire lies after the instant asked about");
        (fire < HORIZON_UNIX_MILLIS).then_some(fire)
    }

    /// The last fire strictly before `before`, from the epoch on.
    pub(crate) fn previous(self, before: i64) -> Option<i64> {
        let before = before.clamp(0, HORIZON_UNIX_MILLIS);
        let fire = (before - 1 - self.phase_millis).div_euclid(self.every_millis) * self.every_millis
            + self.phase_millis;
        assert!(fire < before, "TIMING-1: a previous fire lies before the instant asked about");
        (fire >= 0).then_some(fire)
    }
}

fn whole_millis(value: Duration) -> Result<i64, TimingError> {
    let millis = i64::try_from(value.as_millis()).expect("an interval is at most 366 days");
    if value == Duration::from_millis(millis.unsigned_abs()) {
        Ok(millis)
    } else {
        Err(TimingError::BelowMillisecond { value })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every(every: &str, phase: &str) -> Result<Interval, TimingError> {
        let read = |text| crate::parse_duration(text).unwrap();
        Interval::new(read(every), read(phase))
    }

    #[test]
    fn fires_are_counted_from_the_epoch() {
        let minute_and_a_half = every("90s", "0s").unwrap();
        assert_eq!(minute_and_a_half.next(0), Some(90_000));
        assert_eq!(minute_and_a_half.next(89_999), Some(90_000));
        assert_eq!(minute_and_a_half.next(90_000), Some(180_000));
        assert_eq!(minute_and_a_half.next(-5), Some(0));
        let shifted = every("1h", "15m").unwrap();
        assert_eq!(shifted.next(0), Some(900_000));
        assert_eq!(shifted.next(900_000), Some(4_500_000));
    }

    #[test]
    fn previous_fires_lie_strictly_before() {
        let shifted = every("1h", "15m").unwrap();
        assert_eq!(shifted.previous(900_000), None);
        assert_eq!(shifted.previous(900_001), Some(900_000));
        assert_eq!(shifted.previous(4_500_001), Some(4_500_000));
        assert_eq!(shifted.previous(i64::MIN), None);
        assert_eq!(shifted.previous(i64::MAX), Some(HORIZON_UNIX_MILLIS - 45 * 60_000));
    }

    #[test]
    fn the_ends_of_time_are_answered() {
        let daily = every("1d", "1ms").unwrap();
        assert_eq!(daily.next(i64::MIN), Some(1));
        assert_eq!(daily.next(i64::MAX), None);
        assert_eq!(daily.next(HORIZON_UNIX_MILLIS - 1), None);
        assert_eq!(daily.next(HORIZON_UNIX_MILLIS - 86_400_000), Some(HORIZON_UNIX_MILLIS - 86_399_999));
    }

    #[test]
    fn limits_are_said() {
        let error = |result: Result<Interval, TimingError>| result.unwrap_err().to_string();
        assert_eq!(error(every("999ms", "0s")), "an interval of 999ms is out of range: use 1s to 366d");
        assert_eq!(error(every("367d", "0s")), "an interval of 367d is out of range: use 1s to 366d");
        assert_eq!(error(every("1h", "1h")), "the phase of 1h is not shorter than the interval of 1h");
        let odd = Interval::new(Duration::from_nanos(1_000_000_001), Duration::ZERO);
        assert_eq!(error(odd), "an interval and its phase are whole milliseconds: 1000000001ns is not");
        assert!(every("1s", "999ms").is_ok() && every("366d", "365d").is_ok());
    }
}
