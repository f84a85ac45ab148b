//! Durations as Go's `time.ParseDuration` reads them: `1h30m`, `1.5h`, `90s`, `500ms`.

use std::time::Duration;

/// Units and their length in nanoseconds, longer names first.
const UNITS: &[(&str, f64)] = &[
    ("ns", 1.0),
    ("us", 1e3),
    ("µs", 1e3),
    ("μs", 1e3),
    ("ms", 1e6),
    ("s", 1e9),
    ("m", 60e9),
    ("h", 3600e9),
];

/// Beyond a century nothing is a duration of a schedule.
const NANOS_MAX: f64 = 36_525.0 * 86_400e9;

/// The duration, or why there is none. Negative ones, which Go knows, are none here.
pub(in super::super) fn duration(text: &str) -> Result<Duration, String> {
    let refuse = || format!("`{text}` is not a duration such as 1h30m");
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest == "0" {
        return Ok(Duration::ZERO);
    }
    if rest.is_empty() {
        return Err(refuse());
    }
    let mut nanos = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(refuse)?;
        let (number, after) = rest.split_at(end);
        let is_number = number.bytes().any(|byte| byte.is_ascii_digit()) && number.matches('.').count() <= 1;
        let number: f64 =
            number.trim_end_matches('.').parse().ok().filter(|_| is_number).ok_or_else(refuse)?;
        let unit_end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let (_, size) = UNITS.iter().find(|(name, _)| *name == unit).ok_or_else(refuse)?;
        nanos += number * size;
        if nanos > NANOS_MAX {
            return Err(format!("`{text}` is longer than a century"));
        }
        rest = after;
    }
    // Below a century in nanoseconds: the cast keeps it, cutting below a nanosecond as Go does.
    Ok(Duration::from_nanos(nanos as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_go_reads_them() {
        let millis = |text| duration(text).map(|duration| duration.as_millis());
        for (text, expected) in [
            ("1h30m10s", 5_410_000),
            ("1.5h", 5_400_000),
            (".5s", 500),
            ("1.s", 1000),
            ("0", 0),
            ("+2m", 120_000),
            ("1500ms", 1500),
            ("30m1h", 5_400_000),
        ] {
            assert_eq!(millis(text), Ok(expected), "{text}");
        }
        for text in ["", "1", "h", "-1s", "1d", "1h ", "1..5s", ".", "9999999999h", "1h-2m"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
