//! Instants as text: RFC 3339, and civil times in a zone.
//!
//! A civil time inside a gap means the first instant after it, and one that comes twice means the first pass: the rule of
//! fixed schedules (DST-1).

use crate::{
    civil::{DAY_SECONDS, day_of, format_wall, wall_of},
    zone::TimeZone,
};

/// Why a text is no time.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TimeError {
    /// Not in one of the forms.
    #[error(
        "`{text}` is not a time: write `2026-11-23T02:00:00Z`, or `2026-11-23T02:00` for the schedule's time zone"
    )]
    Malformed {
        /// The text, cut if it is long.
        text: String,
    },
    /// In the right form, but no such day, hour, minute, second or offset.
    #[error("`{text}` does not exist: check {part}")]
    NoSuch {
        /// The text.
        text: String,
        /// What does not exist.
        part: &'static str,
    },
    /// An instant or a fraction where a civil time is wanted.
    #[error("`{text}` is not a plain civil time: write `2026-12-24T18:00`, without an offset or a fraction")]
    NotCivil {
        /// The text, cut if it is long.
        text: String,
    },
    /// Before the epoch, where nothing is ever due.
    #[error("`{text}` lies before 1970: use a later time")]
    BeforeEpoch {
        /// The text.
        text: String,
    },
}

/// Reads an instant (`2026-11-23T02:00:00Z`, `…+01:00`, up to nine decimals of a second, of which three are kept) or a
/// civil time in `zone` (`2026-11-23T02:00`, `2026-11-23 02:00:30`). The answer is in milliseconds since the epoch and
/// not before it.
pub fn parse_time(text: &str, zone: &TimeZone) -> Result<i64, TimeError> {
    let written = Written::read(text)?;
    let seconds = match written.offset {
        Some(offset) => written.wall - offset,
        None => zone.first_instant(written.wall),
    };
    if seconds < 0 {
        return Err(TimeError::BeforeEpoch { text: shown(text) });
    }
    Ok(seconds * 1000 + i64::from(written.millis))
}

/// Reads a civil time, to the second, as seconds since 1970-01-01T00:00:00 on the wall.
pub(crate) fn parse_civil(text: &str) -> Result<i64, TimeError> {
    match Written::read(text)? {
        Written { wall, millis: 0, offset: None } => Ok(wall),
        Written { .. } => Err(TimeError::NotCivil { text: shown(text) }),
    }
}

/// A time that exists on some wall.
pub(crate) struct Written {
    /// Seconds since 1970-01-01T00:00:00 on the wall.
    pub(crate) wall: i64,
    pub(crate) millis: u32,
    /// Wall time minus instant, in seconds; `None` for a civil time.
    pub(crate) offset: Option<i64>,
}

impl Written {
    pub(crate) fn read(text: &str) -> Result<Written, TimeError> {
        let parts = Parts::read(text.as_bytes()).ok_or_else(|| TimeError::Malformed { text: shown(text) })?;
        let no_such = |part| TimeError::NoSuch { text: shown(text), part };
        let date = (parts.year, parts.month, parts.day);
        day_of(date.0, date.1, date.2).ok_or_else(|| no_such("the date"))?;
        let wall = wall_of(date, (parts.hour, parts.minute, parts.second))
            .ok_or_else(|| no_such("the time of day"))?;
        let offset = match parts.offset {
            Some(offset) if offset.hours > 23 || offset.minutes > 59 => return Err(no_such("the offset")),
            Some(offset) => Some(offset.seconds()),
            None => None,
        };
        Ok(Written { wall, millis: parts.millis, offset })
    }
}

fn shown(text: &str) -> String {
    text.chars().take(40).collect()
}

/// Writes an instant as RFC 3339 in UTC: `2026-11-23T02:00:00Z`, with milliseconds only if there are any. An instant
/// outside the years 0 to 9999, which RFC 3339 cannot write, becomes plain milliseconds: `9223372036854775807ms`.
pub fn format_time(unix_millis: i64) -> String {
    format_with(unix_millis, 0, "Z")
}

/// Writes an instant as RFC 3339 with the zone's offset: `2026-11-23T03:00:00+01:00`.
pub fn format_local(unix_millis: i64, zone: &TimeZone) -> String {
    let offset = zone.offset_at(unix_millis.div_euclid(1000));
    let (sign, size) = if offset < 0 { ('-', -offset) } else { ('+', offset) };
    let (hours, minutes, seconds) = (size / 3600, size / 60 % 60, size % 60);
    // Only Monrovia before 1972 has seconds; RFC 3339 cannot write them.
    let seconds = if seconds == 0 { String::new() } else { format!(":{seconds:02}") };
    format_with(unix_millis, offset, &format!("{sign}{hours:02}:{minutes:02}{seconds}"))
}

fn format_with(unix_millis: i64, offset: i64, suffix: &str) -> String {
    let wall = unix_millis.div_euclid(1000) + offset;
    if !YEARS_0_TO_9999.contains(&wall) {
        return format!("{unix_millis}ms");
    }
    let millis = match unix_millis.rem_euclid(1000) {
        0 => String::new(),
        millis => format!(".{millis:03}"),
    };
    format!("{}{millis}{suffix}", format_wall(wall))
}

/// The wall times that RFC 3339 can write.
const YEARS_0_TO_9999: std::ops::Range<i64> = -719_528 * DAY_SECONDS..2_932_897 * DAY_SECONDS;

/// A text's numbers, not yet known to exist.
struct Parts {
    year: i64,
    month: u32,
    day: u32,
    hour: u32,
    minute: u32,
    second: u32,
    millis: u32,
    offset: Option<Offset>,
}

struct Offset {
    is_west: bool,
    hours: u32,
    minutes: u32,
}

impl Offset {
    fn seconds(&self) -> i64 {
        let size = i64::from(self.hours * 3600 + self.minutes * 60);
        if self.is_west { -size } else { size }
    }
}

impl Parts {
    fn read(text: &[u8]) -> Option<Parts> {
        let mut rest = text;
        let year = i64::from(number(&mut rest, 4)?);
        sign(&mut rest, b"-")?;
        let month = number(&mut rest, 2)?;
        sign(&mut rest, b"-")?;
        let day = number(&mut rest, 2)?;
        sign(&mut rest, b"Tt ")?;
        let hour = number(&mut rest, 2)?;
        sign(&mut rest, b":")?;
        let minute = number(&mut rest, 2)?;
        let second = if sign(&mut rest, b":").is_some() { Some(number(&mut rest, 2)?) } else { None };
        let millis = match second {
            Some(_) if sign(&mut rest, b".").is_some() => decimals(&mut rest)?,
            Some(_) | None => 0,
        };
        let offset = offset(&mut rest)?;
        let (second, is_whole) = (second.unwrap_or(0), rest.is_empty());
        is_whole.then_some(Parts { year, month, day, hour, minute, second, millis, offset })
    }
}

/// Takes one of the given signs.
fn sign(rest: &mut &[u8], signs: &[u8]) -> Option<u8> {
    let (first, after) = rest.split_first()?;
    let found = signs.contains(first).then_some(*first)?;
    *rest = after;
    Some(found)
}

/// Takes a number of exactly so many digits.
fn number(rest: &mut &[u8], digits: usize) -> Option<u32> {
    let (number, after) = rest.split_at_checked(digits)?;
    *rest = after;
    std::str::from_utf8(number).ok().filter(|text| text.bytes().all(|b| b.is_ascii_digit()))?.parse().ok()
}

/// Takes one to nine decimals, of which the first three count.
fn decimals(rest: &mut &[u8]) -> Option<u32> {
    let length = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if !(1..=9).contains(&length) {
        return None;
    }
    let (digits, after) = rest.split_at(length);
    *rest = after;
    let digit = |index: usize| digits.get(index).map_or(0, |byte| u32::from(byte - b'0'));
    Some(digit(0) * 100 + digit(1) * 10 + digit(2))
}

/// Takes `Z`, `+hh:mm` or nothing.
fn offset(rest: &mut &[u8]) -> Option<Option<Offset>> {
    match sign(rest, b"Zz+-") {
        None => Some(None),
        Some(b'Z' | b'z') => Some(Some(Offset { is_west: false, hours: 0, minutes: 0 })),
        Some(direction) => {
            let hours = number(rest, 2)?;
            sign(rest, b":")?;
            let minutes = number(rest, 2)?;
            Some(Some(Offset { is_west: direction == b'-', hours, minutes }))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn berlin() -> TimeZone {
        TimeZone::parse("Europe/Berlin").unwrap()
    }

    /// Reads a text with Berlin as the zone and writes it in UTC.
    fn read(text: &str) -> String {
        parse_time(text, &berlin()).map_or_else(|error| error.to_string(), format_time)
    }

    #[test]
    fn instants_and_civil_times_are_read() {
        for (text, expected) in [
            ("2026-11-23T02:00:00Z", "2026-11-23T02:00:00Z"),
            ("2026-11-23t02:00:00z", "2026-11-23T02:00:00Z"),
            ("2026-11-23T02:00Z", "2026-11-23T02:00:00Z"),
            ("2026-11-23T02:00:00+01:00", "2026-11-23T01:00:00Z"),
            ("2026-11-23 02:00:00-03:30", "2026-11-23T05:30:00Z"),
            ("2026-11-23T02:00:00.25Z", "2026-11-23T02:00:00.250Z"),
            ("2026-11-23T02:00:00.0009Z", "2026-11-23T02:00:00Z"),
            ("2026-11-23T02:00", "2026-11-23T01:00:00Z"),
            ("2026-07-23 02:00:05", "2026-07-23T00:00:05Z"),
            // The hour that Berlin does not have, and the one it has twice.
            ("2026-03-29T02:30", "2026-03-29T01:00:00Z"),
            ("2026-10-25T02:30", "2026-10-25T00:30:00Z"),
            ("1970-01-01T01:00", "1970-01-01T00:00:00Z"),
            ("9999-12-31T23:59:59Z", "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(read(text), expected, "{text}");
        }
    }

    #[test]
    fn other_texts_are_refused() {
        for text in [
            "",
            "now",
            "2026-11-23",
            "2026-11-23T2:00Z",
            "2026-11-23T02:00:00 Z",
            "2026-11-23T02:00+1",
            "x2026",
            "2026-11-23T02:00:00.Z",
            "2026-11-23T02:00:00.1234567890Z",
            "+2026-11-23T02:00Z",
            "２０２６-11-23T02:00Z",
        ] {
            assert!(read(text).contains("is not a time"), "{text}: {}", read(text));
        }
        assert!(read("2026-02-29T00:00Z").ends_with("does not exist: check the date"));
        assert!(read("2026-02-28T24:00Z").ends_with("check the time of day"));
        assert!(read("2026-06-30T23:59:60Z").ends_with("check the time of day"));
        assert!(read("2026-06-30T23:59+24:00").ends_with("check the offset"));
        assert!(read("1970-01-01T00:59").ends_with("lies before 1970: use a later time"));
    }

    #[test]
    fn instants_are_written() {
        assert_eq!(format_time(0), "1970-01-01T00:00:00Z");
        assert_eq!(format_time(-1), "1969-12-31T23:59:59.999Z");
        assert_eq!(format_time(1_795_399_200_001), "2026-11-23T02:00:00.001Z");
        assert_eq!(format_local(1_795_399_200_000, &berlin()), "2026-11-23T03:00:00+01:00");
        let st_johns = TimeZone::parse("America/St_Johns").unwrap();
        assert_eq!(format_local(1_795_399_200_000, &st_johns), "2026-11-22T22:30:00-03:30");
        let monrovia = TimeZone::parse("Africa/Monrovia").unwrap();
        assert_eq!(format_local(0, &monrovia), "1969-12-31T23:15:30-00:44:30");
    }

    #[test]
    fn the_ends_of_time_are_written_without_panic() {
        assert_eq!(format_time(i64::MAX), "9223372036854775807ms");
        assert_eq!(format_local(i64::MIN, &berlin()), "-9223372036854775808ms");
    }
}
