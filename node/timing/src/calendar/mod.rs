//! Named calendars: holidays and freezes that many schedules share.
//!
//! A calendar is a set of instants written as whole civil days and as periods. The days are those of the calendar's own
//! zone or, if it has none, of the schedule that uses it: the same `2026-12-25` begins eleven hours earlier in Sydney.
//!
//! - CAL-1: an instant is inside a day exactly if the zone's clocks show that date, in both passes of a repeated hour.
//! - CAL-2: periods are half-open. A civil time that the clocks skip stands for the first instant after the gap, one that
//!   they show twice for the first pass.

mod coverage;
mod day;
mod error;

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError, Weak},
};

use xxhash_rust::xxh3::xxh3_128;

use self::day::CalendarDay;
use crate::{clock_text::Written, zone::TimeZone};

pub use self::{coverage::Coverage, error::CalendarError};

/// The most days of one calendar: eleven years of nothing but holidays.
pub const CALENDAR_DAYS_MAX: usize = 4096;

/// The most periods of one calendar: a freeze each week for twenty years.
pub const CALENDAR_PERIODS_MAX: usize = 1024;

/// A validated calendar. Immutable: an edited one is another calendar.
pub struct Calendar {
    name: String,
    zone: Option<TimeZone>,
    days: Vec<CalendarDay>,
    periods: Vec<Period>,
    digest: u128,
    /// What it covers in the zones it is in use for, shared by the schedules there.
    in_use: Mutex<BTreeMap<String, Weak<coverage::Table>>>,
}

/// A half-open period.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Period {
    start: Moment,
    end: Moment,
}

/// One end of a period.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Moment {
    /// In milliseconds since the epoch.
    Instant(i64),
    /// In milliseconds on the wall.
    Civil(i64),
}

impl Calendar {
    /// Reads a calendar: days such as `2026-12-25` or, every year, `*-12-25`; periods as pairs of a start and an end, both
    /// civil (`2026-11-27T18:00`) or both instants (`2026-11-27T18:00Z`).
    pub fn parse(
        name: &str,
        zone: Option<TimeZone>,
        days: &[&str],
        periods: &[(&str, &str)],
    ) -> Result<Calendar, CalendarError> {
        if days.len() > CALENDAR_DAYS_MAX {
            return Err(CalendarError::TooManyDays { found: days.len() });
        }
        if periods.len() > CALENDAR_PERIODS_MAX {
            return Err(CalendarError::TooManyPeriods { found: periods.len() });
        }
        let days = days.iter().enumerate().map(|(index, text)| CalendarDay::parse(index, text));
        let mut days = days.collect::<Result<Vec<_>, _>>()?;
        let periods = periods.iter().enumerate().map(|(index, ends)| Period::parse(index, *ends));
        let mut periods = periods.collect::<Result<Vec<_>, _>>()?;
        days.sort_unstable();
        days.dedup();
        periods.sort_unstable();
        periods.dedup();
        let digest = xxh3_128(format!("{days:?} {periods:?}").as_bytes());
        Ok(Calendar { name: name.to_owned(), zone, days, periods, digest, in_use: Mutex::default() })
    }

    /// The name, as it is told to people.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The zone of its days and civil times, if it has one of its own.
    pub fn zone(&self) -> Option<&TimeZone> {
        self.zone.as_ref()
    }

    /// The instants it covers for a schedule in `schedule_zone`. Worked out once per zone while it is in use.
    pub fn coverage(&self, schedule_zone: &TimeZone) -> Coverage {
        let zone = self.zone.as_ref().unwrap_or(schedule_zone);
        // A panic while holding the lock leaves the map whole, so poison means nothing.
        let mut in_use = self.in_use.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(table) = in_use.get(zone.name()).and_then(Weak::upgrade) {
            return Coverage::new(table);
        }
        in_use.retain(|_, table| table.strong_count() > 0);
        let table = Arc::new(coverage::Table::new(self.spans(zone)));
        in_use.insert(zone.name().to_owned(), Arc::downgrade(&table));
        Coverage::new(table)
    }

    /// A text that is equal for calendars that mean the same to a schedule in `schedule_zone` and have the same name.
    pub(crate) fn canonical(&self, schedule_zone: &TimeZone) -> String {
        let zone = self.zone.as_ref().unwrap_or(schedule_zone);
        format!("{:?} {zone} {:032x}", self.name, self.digest)
    }

    /// All it covers, in milliseconds, neither sorted nor joined.
    fn spans(&self, zone: &TimeZone) -> Vec<(i64, i64)> {
        let days = self.days.iter().flat_map(|day| day.dates()).flat_map(|date| day::instants(date, zone));
        let periods =
            self.periods.iter().map(|period| (period.start.resolve(zone), period.end.resolve(zone)));
        days.chain(periods).collect()
    }
}

impl fmt::Debug for Calendar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (days, periods) = (self.days.len(), self.periods.len());
        write!(f, "Calendar({:?}: {days} days, {periods} periods)", self.name)
    }
}

impl Period {
    fn parse(index: usize, (start_text, end_text): (&str, &str)) -> Result<Period, CalendarError> {
        let moment = |text| Moment::parse(text).map_err(|source| CalendarError::PeriodTime { index, source });
        let (start, end) = (moment(start_text)?, moment(end_text)?);
        let texts = || (start_text.to_owned(), end_text.to_owned());
        match (start, end) {
            (Moment::Instant(from), Moment::Instant(until)) | (Moment::Civil(from), Moment::Civil(until)) => {
                if from < until {
                    return Ok(Period { start, end });
                }
                let (start, end) = texts();
                Err(CalendarError::PeriodOrder { index, start, end })
            }
            // Which of the two comes first would depend on the zone that happens to use the calendar.
            (Moment::Instant(_), Moment::Civil(_)) | (Moment::Civil(_), Moment::Instant(_)) => {
                let (start, end) = texts();
                Err(CalendarError::PeriodForms { index, start, end })
            }
        }
    }
}

impl Moment {
    fn parse(text: &str) -> Result<Moment, crate::TimeError> {
        let written = Written::read(text)?;
        let wall = written.wall * 1000 + i64::from(written.millis);
        Ok(match written.offset {
            Some(offset) => Moment::Instant(wall - offset * 1000),
            None => Moment::Civil(wall),
        })
    }

    fn resolve(self, zone: &TimeZone) -> i64 {
        match self {
            Moment::Instant(instant) => instant,
            Moment::Civil(wall) => {
                let (second, millis) = (wall.div_euclid(1000), wall.rem_euclid(1000));
                let instant = zone.first_instant(second);
                // What a gap swallowed begins right after it, without the fraction.
                let is_shown = instant + zone.offset_at(instant) == second;
                instant * 1000 + if is_shown { millis } else { 0 }
            }
        }
    }
}
