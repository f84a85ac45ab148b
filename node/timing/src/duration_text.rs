//! Durations as people write them: `10s`, `1h30m`, `90`.

use std::time::Duration;

/// A century: longer ones are slips, and all arithmetic with shorter ones fits.
const DURATION_MAX: Duration = Duration::from_secs(36_525 * 86_400);

/// The units from large to small, in milliseconds.
const UNITS: [(&str, u64); 5] = [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Why a text is no duration.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DurationError {
    /// There is no text.
    #[error("the duration is empty: write one like `90s` or `1h30m`")]
    Empty,
    /// Something other than numbers and units.
    #[error(
        "`{text}` is not a duration: write one like `90s`, `1h30m` or `2d`, without signs, fractions or blanks"
    )]
    Malformed {
        /// The text, cut if it is long.
        text: String,
    },
    /// A unit that is none.
    #[error("unknown unit `{unit}`: use ms, s, m, h or d")]
    UnknownUnit {
        /// The unit as written, cut if it is long.
        unit: String,
    },
    /// Units out of order or twice.
    #[error("`{unit}` comes too late or twice: write each unit once, the largest first, as in `1d2h30m`")]
    UnitOrder {
        /// The unit.
        unit: &'static str,
    },
    /// More than a century.
    #[error("the duration is too long: at most 36525d")]
    TooLong,
}

/// Reads `10s`, `1h30m`, `250ms`, or seconds without a unit: `90`. Units are ms, s, m, h and d.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    if text.is_empty() {
        return Err(DurationError::Empty);
    }
    let malformed = || DurationError::Malformed { text: text.chars().take(32).collect() };
    let mut rest = text;
    let mut units = UNITS.as_slice();
    let mut millis: u64 = 0;
    while !rest.is_empty() {
        let (number, after) = split_where(rest, |c| !c.is_ascii_digit());
        let (unit, after) = split_where(after, |c| !c.is_ascii_alphabetic());
        if number.is_empty() || !number.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(malformed());
        }
        let unit = match unit {
            "" if after.is_empty() && rest.len() == text.len() => "s",
            "" => return Err(malformed()),
            unit => unit,
        };
        let known = UNITS.iter().find(|(name, _)| *name == unit);
        let (unit, unit_millis) =
            known.ok_or_else(|| DurationError::UnknownUnit { unit: unit.chars().take(16).collect() })?;
        let at = units.iter().position(|(name, _)| name == unit);
        units = &units[at.ok_or(DurationError::UnitOrder { unit })? + 1..];
        let number: u64 = number.parse().map_err(|_too_long| DurationError::TooLong)?;
        let part = number.checked_mul(*unit_millis);
        millis = part.and_then(|part| millis.checked_add(part)).ok_or(DurationError::TooLong)?;
        rest = after;
    }
    let duration = Duration::from_millis(millis);
    if duration > DURATION_MAX { Err(DurationError::TooLong) } else { Ok(duration) }
}

/// Writes a duration so that [`parse_duration`] reads it back: `1h30m`, `0s`. What is below a millisecond is cut.
pub fn format_duration(duration: Duration) -> String {
    let mut millis = duration.as_millis();
    let mut text = String::new();
    for (unit, unit_millis) in UNITS {
        let count = millis / u128::from(unit_millis);
        millis %= u128::from(unit_millis);
        if count > 0 {
            text.push_str(&format!("{count}{unit}"));
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

fn split_where(text: &str, ends: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(ends).unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn millis(text: &str) -> Result<u128, String> {
        parse_duration(text).map(|duration| duration.as_millis()).map_err(|error| error.to_string())
    }

    #[test]
    fn durations_are_read() {
        for (text, expected) in [
            ("10s", 10_000),
            ("90", 90_000),
            ("0", 0),
            ("0s", 0),
            ("250ms", 250),
            ("1h30m", 5_400_000),
            ("1d2h3m4s5ms", 93_784_005),
            ("36525d", 3_155_760_000_000),
            ("007m", 420_000),
        ] {
            assert_eq!(millis(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn other_texts_are_refused_with_the_way_out() {
        for (text, part) in [
            ("", "empty"),
            ("s", "not a duration"),
            ("-1s", "not a duration"),
            ("1.5h", "not a duration"),
            ("1h 30m", "not a duration"),
            ("1h30", "not a duration"),
            (" 1h", "not a duration"),
            ("5min", "unknown unit `min`: use ms, s, m, h or d"),
            ("5M", "unknown unit"),
            ("30m1h", "comes too late or twice"),
            ("1s1s", "comes too late or twice"),
            ("36526d", "too long"),
            ("99999999999999999999s", "too long"),
            ("18446744073709551615d", "too long"),
            ("٣s", "not a duration"),
        ] {
            let error = millis(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn written_durations_read_back() {
        for text in ["0s", "1ms", "1s", "1m30s", "1h", "23h59m59s999ms", "400d1ms"] {
            assert_eq!(format_duration(parse_duration(text).unwrap()), text);
        }
        assert_eq!(format_duration(Duration::from_secs(90)), "1m30s");
        assert_eq!(format_duration(Duration::from_micros(1_999)), "1ms");
        assert!(
            format_duration(Duration::MAX).ends_with("615ms") || !format_duration(Duration::MAX).is_empty()
        );
    }
}
