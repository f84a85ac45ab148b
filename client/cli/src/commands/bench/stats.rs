//! Percentiles, as pure functions of what was measured.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

/// Resolution of a histogram: 3 significant digits are within 0.1 %.
const DIGITS: u8 = 3;

/// What took longer counts as this long: a day, which bounds the memory of a histogram.
const MICROS_MAX: i64 = 86_400_000_000;

/// How long something took, over many times.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize)]
pub(super) struct Spread {
    pub(super) p50_ms: f64,
    pub(super) p99_ms: f64,
    pub(super) max_ms: f64,
}

impl Spread {
    /// Of times in microseconds; what is below zero (clocks that differ) counts as zero.
    pub(super) fn of(micros: impl IntoIterator<Item = i64>) -> Self {
        let mut histogram: Histogram<u64> =
            Histogram::new(DIGITS).expect("three digits are within what a histogram can do");
        for micros in micros {
            let micros = micros.clamp(0, MICROS_MAX).unsigned_abs();
            histogram.record(micros).expect("it grows by itself up to any value");
        }
        Self {
            p50_ms: ms(histogram.value_at_quantile(0.50)),
            p99_ms: ms(histogram.value_at_quantile(0.99)),
            max_ms: ms(histogram.max()),
        }
    }

    pub(super) fn of_durations(durations: &[Duration]) -> Self {
        Self::of(durations.iter().map(|taken| i64::try_from(taken.as_micros()).unwrap_or(i64::MAX)))
    }

    pub(super) fn text(&self) -> String {
        let Self { p50_ms, p99_ms, max_ms } = self;
        format!("p50 {}, p99 {}, max {}", shown_ms(*p50_ms), shown_ms(*p99_ms), shown_ms(*max_ms))
    }
}

fn ms(micros: u64) -> f64 {
    micros as f64 / 1e3
}

/// Two digits below 10 ms, whole ones above 100.
pub(super) fn shown_ms(ms: f64) -> String {
    match ms.abs() {
        small if small < 10.0 => format!("{ms:.2} ms"),
        some if some < 100.0 => format!("{ms:.1} ms"),
        _ => format!("{ms:.0} ms"),
    }
}

/// How many per second; none in no time at all.
pub(super) fn per_second(count: u64, taken: Duration) -> f64 {
    if taken.is_zero() { 0.0 } else { (count as f64 / taken.as_secs_f64() * 10.0).round() / 10.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_of_a_thousand_even_steps() {
        let spread = Spread::of((1..=1000).map(|ms| ms * 1000));
        let near = |found: f64, wanted: f64| (found - wanted).abs() <= wanted / 500.0;
        assert!(near(spread.p50_ms, 500.0) && near(spread.p99_ms, 990.0), "{spread:?}");
        assert!(near(spread.max_ms, 1000.0), "{spread:?}");
    }

    #[test]
    fn one_straggler_is_the_maximum_and_no_percentile() {
        let spread = Spread::of(std::iter::repeat_n(1000, 999).chain([60_000_000]));
        assert!(spread.p99_ms < 1.01 && spread.max_ms > 59_900.0, "{spread:?}");
    }

    #[test]
    fn nothing_takes_no_time_and_no_time_is_no_rate() {
        assert_eq!(Spread::of([]), Spread::default());
        assert_eq!(Spread::of([-5]), Spread::default());
        assert_eq!((per_second(5, Duration::ZERO), per_second(5, Duration::from_secs(2))), (0.0, 2.5));
    }
}
