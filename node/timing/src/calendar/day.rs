//! The days of a calendar: one date, or the same date every year.

use super::CalendarError;
use crate::{
    civil::{DAY_SECONDS, Month, day_of},
    wall::{YEAR_MAX, YEAR_MIN},
    zone::TimeZone,
};

/// A whole civil day.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum CalendarDay {
    /// In days since the epoch.
    Once(i64),
    /// Each year that has it.
    Yearly { month: u32, day: u32 },
}

impl CalendarDay {
    /// Reads the entry at `index` of a calendar's days.
    pub(super) fn parse(index: usize, text: &str) -> Result<CalendarDay, CalendarError> {
        let shown = || text.chars().take(32).collect::<String>();
        let (year, month, day) =
            numbers(text).ok_or_else(|| CalendarError::NotADay { index, text: shown() })?;
        // A leap year has every date that any year has.
        let no_such = || CalendarError::NoSuchDay { index, text: shown() };
        day_of(year.unwrap_or(2000), month, day).ok_or_else(no_such)?;
        match year {
            None => Ok(CalendarDay::Yearly { month, day }),
            Some(year) if (YEAR_MIN..=YEAR_MAX).contains(&year) => {
                day_of(year, month, day).map(CalendarDay::Once).ok_or_else(no_such)
            }
            Some(_) => Err(CalendarError::YearOutOfRange { index, text: shown() }),
        }
    }

    /// The dates until the horizon, in days since the epoch.
    pub(super) fn dates(self) -> impl Iterator<Item = i64> {
        let (once, years) = match self {
            CalendarDay::Once(day) => (Some(day), 0..0),
            CalendarDay::Yearly { .. } => (None, YEAR_MIN..YEAR_MAX + 1),
        };
        let date_in = move |year| match self {
            CalendarDay::Yearly { month, day } => {
                let month = Month::new(year, month);
                (day <= month.length).then(|| month.first_day + i64::from(day) - 1)
            }
            CalendarDay::Once(_) => None,
        };
        once.into_iter().chain(years.filter_map(date_in))
    }
}

/// No zone's clocks are further from UTC, with room to spare.
const OFFSET_MAX: i64 = 26 * 3600;

/// CAL-1: when a zone's clocks show a date, in milliseconds. One piece for almost every day, two if the clocks went back
/// over midnight, none if the zone skipped the day.
pub(super) fn instants(day: i64, zone: &TimeZone) -> impl Iterator<Item = (i64, i64)> + '_ {
    let (start, end) = (day * DAY_SECONDS, (day + 1) * DAY_SECONDS);
    let spans = zone.spans_from(start - OFFSET_MAX).take_while(move |span| span.start < end + OFFSET_MAX);
    spans.map(move |span| {
        let (start, end) = ((start - span.offset).max(span.start), (end - span.offset).min(span.end));
        (start * 1000, end * 1000)
    })
}

/// `2026-12-25`, or `*-12-25` without a year.
fn numbers(text: &str) -> Option<(Option<i64>, u32, u32)> {
    let mut parts = text.split('-');
    let (year, month, day) = (parts.next()?, parts.next()?, parts.next()?);
    let year = if year == "*" { None } else { Some(i64::from(digits(year, 4)?)) };
    let is_whole = parts.next().is_none();
    is_whole.then_some((year, digits(month, 2)?, digits(day, 2)?))
}

fn digits(text: &str, count: usize) -> Option<u32> {
    let is_number = text.len() == count && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok())?
}
