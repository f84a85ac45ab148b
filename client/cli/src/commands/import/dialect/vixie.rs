//! Debian's cron: the day rule of Vixie, and its rule for the days on which clocks are changed.
//!
//! An entry whose minute or hour begins with `*` follows the clock on the wall. The others run once: right after a gap that
//! swallowed their time, and in the first pass of an hour that comes twice.

use jiff::civil::{Date, DateTime};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Timestamp, ToSpan as _};

use super::field::{self, HOUR, Kind, MINUTE, MONTH, MONTH_DAY, WEEK_DAY_TO_7};

#[derive(Clone, Debug)]
pub(in super::super) struct Expression {
    minutes: u64,
    hours: u64,
    month_days: u64,
    months: u64,
    week_days: u64,
    both_days: bool,
    is_wildcard: bool,
}

impl Expression {
    /// Reads what cron accepts.
    pub(in super::super) fn parse(text: &str) -> Result<Self, String> {
        let text = match text.to_ascii_lowercase().as_str() {
            "@yearly" | "@annually" => "0 0 1 1 *",
            "@monthly" => "0 0 1 * *",
            "@weekly" => "0 0 * * 0",
            "@daily" | "@midnight" => "0 0 * * *",
            "@hourly" => "0 * * * *",
            other if other.starts_with('@') => return Err(format!("cron does not know `{text}`")),
            _fields => text,
        };
        let fields: Vec<&str> = text.split_ascii_whitespace().collect();
        let [minute, hour, month_day, month, week_day] = fields[..] else {
            return Err(format!("cron reads five fields, and this has {}", fields.len()));
        };
        let week_days = set(week_day, &WEEK_DAY_TO_7)?;
        Ok(Self {
            minutes: set(minute, &MINUTE)?,
            hours: set(hour, &HOUR)?,
            month_days: set(month_day, &MONTH_DAY)?,
            months: set(month, &MONTH)?,
            week_days: (week_days | week_days >> 7) & 0x7f,
            both_days: month_day.starts_with('*') || week_day.starts_with('*'),
            is_wildcard: minute.starts_with('*') || hour.starts_with('*'),
        })
    }

    /// The fires in `(after, until]`, in seconds.
    pub(in super::super) fn fires(
        &self,
        after: i64,
        until: i64,
        zone: &TimeZone,
    ) -> impl Iterator<Item = i64> {
        let wall =
            |seconds| Timestamp::from_second(seconds).ok().map(|instant| zone.to_datetime(instant).date());
        // A gap can move a fire to the next day, so the search begins a day early.
        let first = wall(after).and_then(|date| date.yesterday().ok());
        let last = wall(until).unwrap_or(Date::MAX);
        let days = first.into_iter().flat_map(|first| first.series(1.day()));
        let days = days.take_while(move |date| *date <= last).filter(|date| self.has_day(*date));
        let fires = days.flat_map(|date| self.fires_on(date, zone));
        fires.filter(move |fire| *fire > after && *fire <= until)
    }

    fn has_day(&self, date: Date) -> bool {
        let by_month_day = field::has(self.month_days, date.day());
        let by_week_day = field::has(self.week_days, date.weekday().to_sunday_zero_offset());
        let is_day = match self.both_days {
            true => by_month_day && by_week_day,
            false => by_month_day || by_week_day,
        };
        is_day && field::has(self.months, date.month())
    }

    /// The fires of a day in their order. Several times on one instant are one fire.
    fn fires_on(&self, date: Date, zone: &TimeZone) -> Vec<i64> {
        let hours = (0..24).filter(|hour| field::has(self.hours, *hour));
        let times = hours.flat_map(|hour| (0..60).map(move |minute| (hour, minute)));
        let times = times.filter(|(_, minute)| field::has(self.minutes, *minute));
        let fires = times.flat_map(|(hour, minute)| self.instants(date.at(hour, minute, 0, 0), zone));
        let mut fires: Vec<i64> = fires.flatten().collect();
        fires.sort_unstable();
        fires.dedup();
        fires
    }

    /// The instants of a time on the wall.
    fn instants(&self, wall: DateTime, zone: &TimeZone) -> [Option<i64>; 2] {
        let ambiguous = zone.to_ambiguous_timestamp(wall);
        let offset = ambiguous.offset();
        let earlier = ambiguous.earlier().ok().map(|instant| instant.as_second());
        let later = ambiguous.later().ok().map(|instant| instant.as_second());
        match offset {
            AmbiguousOffset::Unambiguous { .. } => [earlier, None],
            AmbiguousOffset::Fold { .. } if self.is_wildcard => [earlier, later],
            AmbiguousOffset::Fold { .. } => [earlier, None],
            AmbiguousOffset::Gap { .. } if self.is_wildcard => [None, None],
            AmbiguousOffset::Gap { .. } => [later.and_then(|later| last_change(zone, later)), None],
        }
    }
}

/// The last change of the clocks at or before an instant.
fn last_change(zone: &TimeZone, seconds: i64) -> Option<i64> {
    let instant = Timestamp::from_second(seconds.checked_add(1)?).ok()?;
    zone.preceding(instant).next().map(|change| change.timestamp().as_second())
}

fn set(text: &str, kind: &Kind) -> Result<u64, String> {
    text.split(',').try_fold(0, |bits, item| Ok(bits | field::item(item, kind, false)?.bits(kind)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(expression: &str, zone: &str, after: &str) -> String {
        let after: Timestamp = after.parse().unwrap();
        let zone = super::super::zone(zone).unwrap();
        let (after, until) = (after.as_second(), after.as_second() + 41 * 366 * 86_400);
        let fire = Expression::parse(expression).unwrap().fires(after, until, &zone).next();
        fire.map_or("never".to_owned(), |fire| Timestamp::from_second(fire).unwrap().to_string())
    }

    #[test]
    fn odd_days_follow_debian() {
        let berlin = |expression, after| next(expression, "Europe/Berlin", after);
        assert_eq!(berlin("30 2 * * *", "2026-03-28T12:00:00Z"), "2026-03-29T01:00:00Z");
        assert_eq!(berlin("*/30 2 * * *", "2026-03-28T12:00:00Z"), "2026-03-30T00:00:00Z");
        assert_eq!(berlin("30 2 * * *", "2026-10-25T00:30:00Z"), "2026-10-26T01:30:00Z");
        assert_eq!(berlin("30 * * * *", "2026-10-25T00:30:00Z"), "2026-10-25T01:30:00Z");
    }

    #[test]
    fn days_are_both_or_either() {
        let utc = |expression| next(expression, "UTC", "2026-11-23T12:00:00Z");
        assert_eq!(utc("0 3 */2 * TUE"), "2026-12-01T03:00:00Z");
        assert_eq!(utc("0 3 1 * TUE"), "2026-11-24T03:00:00Z");
        assert_eq!(utc("0 3 * * 7"), "2026-11-29T03:00:00Z");
        assert_eq!(utc("0 0 31 2 *"), "never");
        assert_eq!(utc("0 0 29 2 */7"), "2032-02-29T00:00:00Z");
    }

    #[test]
    fn what_cron_refuses_is_refused() {
        for text in
            ["0 0 L * *", "0 0 * * MON-SUN", "0 0 * * 1#2", "@every 5m", "0 0 0 * * *", "H * * * *", ""]
        {
            assert!(Expression::parse(text).is_err(), "{text}");
        }
    }
}
