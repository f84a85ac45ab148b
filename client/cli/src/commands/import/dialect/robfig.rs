//! robfig/cron v3, which Kubernetes and Dkron are built on: how it reads an expression, and how it searches for the next
//! time, including what the search does where midnight does not exist.
//!
//! - Two restricted day fields are one or the other. A field is unrestricted when an item of it is `*` or `?` without a step
//!   above 1: `*/2` is a restriction, unlike in Vixie's cron.
//! - A time that the clocks jump over is lost, and one that comes twice fires twice.

use jiff::civil::DateTime;
use jiff::tz::{Offset, TimeZone};
use jiff::{Timestamp, ToSpan as _};

use super::field::{self, HOUR, Item, Kind, MINUTE, MONTH, MONTH_DAY, SECOND, WEEK_DAY};
use super::offset_at;

/// Its own limit: what does not come within five years never comes.
const YEARS_SEARCHED: i16 = 5;
/// A bound on the turns of the search, far above what five years can take; only an odd zone could get near.
const TURNS_MAX: usize = 20_000;

/// Whether the first of the fields is that of the seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Seconds {
    /// Five fields: Kubernetes.
    None,
    /// Six fields: Dkron.
    First,
}

#[derive(Clone, Debug)]
pub(in super::super) struct Expression {
    fields: [Field; 6],
}

#[derive(Clone, Debug)]
struct Field {
    text: String,
    items: Vec<Item>,
    bits: u64,
    /// One of the items is every value.
    is_open: bool,
}

const KINDS: [&Kind; 6] = [&SECOND, &MINUTE, &HOUR, &MONTH_DAY, &MONTH, &WEEK_DAY];

impl Expression {
    /// Reads fields, not the words that begin with `@`.
    pub(in super::super) fn parse(text: &str, seconds: Seconds) -> Result<Self, String> {
        let mut texts: Vec<&str> = text.split_whitespace().collect();
        let expected = match seconds {
            Seconds::None => 5,
            Seconds::First => 6,
        };
        if texts.len() != expected {
            return Err(format!("has {} fields instead of {expected}", texts.len()));
        }
        if seconds == Seconds::None {
            texts.insert(0, "0");
        }
        let fields: Vec<Field> =
            texts.iter().zip(KINDS).map(|(text, kind)| Field::parse(text, kind)).collect::<Result<_, _>>()?;
        let fields = fields.try_into().map_err(|_other_count| "has another number of fields".to_owned())?;
        Ok(Self { fields })
    }

    /// The same times in Belfry's words: the fields as they stand wherever they mean the same there.
    pub(in super::super) fn in_belfry(&self, seconds: Seconds) -> String {
        let [_, _, _, month_day, _, week_day] = &self.fields;
        let are_restricted = !month_day.is_open && !week_day.is_open;
        let skipped = match seconds {
            Seconds::None => 1,
            Seconds::First => 0,
        };
        let fields = self.fields.iter().zip(KINDS).enumerate().skip(skipped);
        let texts = fields.map(|(index, (field, kind))| {
            let is_day = index == 3 || index == 5;
            field.in_belfry(kind, is_day && are_restricted)
        });
        texts.collect::<Vec<_>>().join(" ")
    }

    /// The fires strictly after `after` in their order, in seconds.
    pub(in super::super) fn fires<'a>(
        &'a self,
        after: i64,
        zone: &'a TimeZone,
    ) -> impl Iterator<Item = i64> + 'a {
        let mut search = Search { instant: after, span: Span::at(after, zone), zone, is_reset: false };
        std::iter::from_fn(move || {
            search.instant = search.instant.checked_add(1)?;
            search.is_reset = false;
            self.found(&mut search)
        })
    }

    fn found(&self, search: &mut Search<'_>) -> Option<i64> {
        let last_year = search.wall()?.year().checked_add(YEARS_SEARCHED)?;
        for _ in 0..TURNS_MAX {
            if search.wall()?.year() > last_year {
                return None;
            }
            match self.turn(search)? {
                Turn::Found => return Some(search.instant),
                Turn::Again => {}
            }
        }
        None
    }

    /// From the months down to the seconds, each field moved forward until it matches; back to the months whenever a
    /// field began again.
    fn turn(&self, search: &mut Search<'_>) -> Option<Turn> {
        let [seconds, minutes, hours, _, months, _] = &self.fields;
        while !field::has(months.bits, search.wall()?.month()) {
            search.reset(|wall| wall.date().first_of_month().at(0, 0, 0, 0))?;
            let next = search.wall()?.checked_add(1.month()).ok()?;
            search.to(next)?;
            if search.wall()?.month() == 1 {
                return Some(Turn::Again);
            }
        }
        while !self.has_day(search.wall()?) {
            search.reset(|wall| wall.date().at(0, 0, 0, 0))?;
            let next = search.wall()?.checked_add(1.day()).ok()?;
            search.to(next)?;
            // Midnight may not exist: it is looked for in the wrong place when the clocks show the hour after it.
            match search.hour() {
                0 => {}
                late if late > 12 => search.instant += (24 - late) * 3600,
                early => search.instant -= early * 3600,
            }
            if search.wall()?.day() == 1 {
                return Some(Turn::Again);
            }
        }
        while !has(hours, search.hour()) {
            search.reset(|wall| wall.date().at(wall.hour(), 0, 0, 0))?;
            search.instant += 3600;
            if search.hour() == 0 {
                return Some(Turn::Again);
            }
        }
        while !has(minutes, search.minute()) {
            search.cut_to(60);
            search.instant += 60;
            if search.minute() == 0 {
                return Some(Turn::Again);
            }
        }
        while !has(seconds, search.second()) {
            search.cut_to(1);
            search.instant += 1;
            if search.second() == 0 {
                return Some(Turn::Again);
            }
        }
        Some(Turn::Found)
    }

    fn has_day(&self, wall: DateTime) -> bool {
        let [_, _, _, month_day, _, week_day] = &self.fields;
        let by_month_day = field::has(month_day.bits, wall.day());
        let by_week_day = field::has(week_day.bits, wall.date().weekday().to_sunday_zero_offset());
        match month_day.is_open || week_day.is_open {
            true => by_month_day && by_week_day,
            false => by_month_day || by_week_day,
        }
    }
}

enum Turn {
    Found,
    Again,
}

/// Whether a field has a value of the clock.
fn has(field: &Field, value: i64) -> bool {
    i8::try_from(value).is_ok_and(|value| field::has(field.bits, value))
}

/// Where the search has got to.
struct Search<'z> {
    instant: i64,
    zone: &'z TimeZone,
    /// The span that was looked up last: the next instant is almost always in it too.
    span: Span,
    /// Whether what is smaller than the field that moves has been set to its beginning.
    is_reset: bool,
}

/// A time without a change of the clocks.
struct Span {
    start: i64,
    /// The first instant after it.
    end: i64,
    offset: i64,
}

impl Span {
    fn at(seconds: i64, zone: &TimeZone) -> Self {
        let whole = Self { start: i64::MIN, end: i64::MAX, offset: offset_at(zone, seconds) };
        let Ok(instant) = Timestamp::from_second(seconds) else { return whole };
        let end = zone.following(instant).next().map_or(i64::MAX, |change| change.timestamp().as_second());
        // What lies before the instant asked about is not known to be in it.
        Self { start: seconds, end, ..whole }
    }
}

impl Search<'_> {
    /// What the clocks show, in seconds as if they were those of UTC.
    fn local(&mut self) -> i64 {
        if !(self.span.start..self.span.end).contains(&self.instant) {
            self.span = Span::at(self.instant, self.zone);
        }
        self.instant.saturating_add(self.span.offset)
    }

    fn wall(&mut self) -> Option<DateTime> {
        Some(Offset::UTC.to_datetime(Timestamp::from_second(self.local()).ok()?))
    }

    fn hour(&mut self) -> i64 {
        self.local().div_euclid(3600).rem_euclid(24)
    }

    fn minute(&mut self) -> i64 {
        self.local().div_euclid(60).rem_euclid(60)
    }

    fn second(&mut self) -> i64 {
        self.local().rem_euclid(60)
    }

    fn reset(&mut self, beginning: impl FnOnce(DateTime) -> DateTime) -> Option<()> {
        if std::mem::replace(&mut self.is_reset, true) {
            return Some(());
        }
        let wall = self.wall()?;
        self.to(beginning(wall))
    }

    fn cut_to(&mut self, unit: i64) {
        if !std::mem::replace(&mut self.is_reset, true) {
            self.instant -= self.instant.rem_euclid(unit);
        }
    }

    /// Goes to a time on the wall as Go finds its instant: by the offset in force when UTC shows that time, unless that
    /// instant has another one.
    fn to(&mut self, wall: DateTime) -> Option<()> {
        let local = Offset::UTC.to_timestamp(wall).ok()?.as_second();
        let first = offset_at(self.zone, local);
        let offset = if first == 0 { 0 } else { offset_at(self.zone, local - first) };
        self.instant = local - offset;
        Some(())
    }
}

impl Field {
    fn parse(text: &str, kind: &Kind) -> Result<Self, String> {
        let parts = text.split(',').filter(|part| !part.is_empty());
        let items: Vec<Item> = parts.map(|part| read(part, kind)).collect::<Result<_, _>>()?;
        let bits = items.iter().fold(0, |bits, item| bits | item.bits(kind));
        let is_open = items.iter().any(|item| item.range.is_none() && item.step.is_none_or(|step| step == 1));
        if bits == 0 {
            return Err(format!("`{text}` in the {} field names no value", kind.name));
        }
        Ok(Self { text: text.to_owned(), items, bits, is_open })
    }

    /// `must_be_restricted`: the text must not begin with a star, which would mean that both day fields must match.
    fn in_belfry(&self, kind: &Kind, must_be_restricted: bool) -> String {
        if self.is_open {
            return "*".to_owned();
        }
        let is_plain = self.text.split(',').all(|part| {
            !part.is_empty() && !part.contains(['?', '+']) && (!part.contains('*') || part.starts_with("*/"))
        });
        if is_plain && !(must_be_restricted && self.text.starts_with('*')) {
            return self.text.clone();
        }
        let items = self.items.iter().map(|item| {
            let step = item.step.map(|step| format!("/{step}")).unwrap_or_default();
            match item.range {
                None if must_be_restricted => format!("{}-{}{step}", kind.min, kind.max),
                None => format!("*{step}"),
                Some((first, last)) if first == last && step.is_empty() => first.to_string(),
                Some((first, last)) => format!("{first}-{last}{step}"),
            }
        });
        items.collect::<Vec<_>>().join(",")
    }
}

/// `*-5` is `*` there, and numbers may have a sign.
fn read(part: &str, kind: &Kind) -> Result<Item, String> {
    let star = |text: &str| text.starts_with("*-") || text.starts_with("?-");
    let part = match part.split_once('/') {
        Some((base, step)) if star(base) => format!("*/{step}"),
        None if star(part) => "*".to_owned(),
        Some(_) | None => part.replace('+', ""),
    };
    field::item(&part, kind, true)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fires(expression: &str, zone: &str, after: &str, count: usize) -> Vec<String> {
        let seconds = if expression.split_whitespace().count() == 6 { Seconds::First } else { Seconds::None };
        let expression = Expression::parse(expression, seconds).unwrap();
        let zone = super::super::zone(zone).unwrap();
        let after: Timestamp = after.parse().unwrap();
        expression
            .fires(after.as_second(), &zone)
            .take(count)
            .map(|fire| Timestamp::from_second(fire).unwrap().to_string())
            .collect()
    }

    #[test]
    fn a_gap_loses_the_fire_and_a_repeated_hour_doubles_it() {
        assert_eq!(fires("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", 1), ["2026-03-30T00:30:00Z"]);
        assert_eq!(
            fires("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", 3),
            ["2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z", "2026-10-26T01:30:00Z"]
        );
        assert_eq!(
            fires("0 30 2 * * *", "Europe/London", "2026-03-28T12:00:00Z", 1),
            ["2026-03-29T01:30:00Z"]
        );
    }

    #[test]
    fn a_step_restricts_a_day_field() {
        assert_eq!(
            fires("0 3 */2 * TUE", "UTC", "2026-11-23T12:00:00Z", 3),
            ["2026-11-24T03:00:00Z", "2026-11-25T03:00:00Z", "2026-11-27T03:00:00Z"]
        );
        assert_eq!(fires("0 3 ? * TUE", "UTC", "2026-11-23T12:00:00Z", 1), ["2026-11-24T03:00:00Z"]);
        assert!(fires("0 0 31 2 *", "UTC", "2026-11-23T12:00:00Z", 1).is_empty());
    }

    #[test]
    fn a_day_without_midnight_loses_its_weekday() {
        // Cairo's clocks go from Friday 00:00 to 01:00 on 24 April 2026. The search for a Friday passes it by, and that for
        // a Thursday runs on into it.
        assert_eq!(fires("0 9 * * FRI", "Africa/Cairo", "2026-04-17T12:00:00Z", 1), ["2026-05-01T06:00:00Z"]);
        assert_eq!(
            fires("0 9 * * THU", "Africa/Cairo", "2026-04-16T12:00:00Z", 3),
            ["2026-04-23T07:00:00Z", "2026-04-24T06:00:00Z", "2026-04-30T06:00:00Z"]
        );
    }

    #[test]
    fn expressions_are_written_so_that_they_mean_the_same() {
        let written = |text: &str, seconds| Expression::parse(text, seconds).unwrap().in_belfry(seconds);
        let five = |text| written(text, Seconds::None);
        assert_eq!(five("*/5 9-17 * jan-jun mon-fri"), "*/5 9-17 * jan-jun mon-fri");
        assert_eq!(five("0 3 */2 * TUE"), "0 3 1-31/2 * TUE");
        assert_eq!(five("0 3 1 * */2"), "0 3 1 * 0-6/2");
        assert_eq!(five("? ? ? * ?"), "* * * * *");
        assert_eq!(five("0 3 1,* * MON"), "0 3 * * MON");
        assert_eq!(five("0,,30 3 */2 * *"), "0,30 3 */2 * *");
        assert_eq!(five("*-5 3 * * *"), "* 3 * * *");
        assert_eq!(written("0 5/20 * * * ?", Seconds::First), "0 5/20 * * * *");
    }

    #[test]
    fn what_it_refuses_is_refused() {
        for text in
            ["* * * *", "0 0 * * 7", "0 0 L * *", "0 0 * * FRI-MON", "0/0 * * * *", ", * * * *", "60 * * * *"]
        {
            assert!(Expression::parse(text, Seconds::None).is_err(), "{text}");
        }
    }
}
