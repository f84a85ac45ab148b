//! The calendar walker: the wall-clock times an expression matches, in order.
//!
//! The `cron` crate walks months, hours, minutes and seconds over wall-clock time that is dressed up as
//! `DateTime<Utc>`; it never sees a user's text or a zone. It is given every day of the month, because its days are
//! always ANDed and know no `L`, `W` or `#`: the day rule is asked per month, and days or whole months without a match
//! are jumped over. Each turn of the loop moves to a later day, so the search ends with the crate's last year, 2100
//! (TIMING-2): at most one turn per month and matching day of it.

use chrono::{DateTime, Datelike, Days, Months, NaiveDate, NaiveDateTime, NaiveTime, Utc};

use super::{days::DayRule, fields::Field, grammar::Expression};
use crate::HORIZON_SECONDS;

/// The walls the crate can walk: a day around 1970 and 2101, so that every offset fits.
const WALL_MIN: i64 = -2 * 86_400;
const WALL_MAX: i64 = HORIZON_SECONDS + 2 * 86_400;

/// An expression compiled for walking.
#[derive(Debug)]
pub(crate) struct Walker {
    schedule: cron::Schedule,
    days: DayRule,
}

impl Walker {
    /// Compiles an expression.
    pub(crate) fn new(expression: &Expression) -> Walker {
        let canonical = format!(
            "{} {} {} * {} *",
            expression.seconds.text(Field::Second),
            expression.minutes.text(Field::Minute),
            expression.hours.text(Field::Hour),
            expression.months.text(Field::Month),
        );
        let schedule = cron::Schedule::try_from(canonical)
            .expect("sets that are not empty, within range and written as numbers are what the crate reads");
        Walker { schedule, days: expression.days.clone() }
    }

    /// The first matching wall time strictly after `wall`, both in seconds as if the wall were UTC.
    pub(crate) fn next_after(&self, wall: i64) -> Option<i64> {
        let mut from = DateTime::<Utc>::from_timestamp(wall.clamp(WALL_MIN, WALL_MAX), 0)?;
        loop {
            let candidate = self.schedule.after(&from).next()?;
            let date = candidate.date_naive();
            let days = self.days.in_month(date.year(), date.month());
            if days >> date.day() & 1 == 1 {
                return Some(candidate.timestamp());
            }
            from = just_before(next_day(date, days)?)?;
        }
    }
}

/// The first matching day after `date` in its month, or the first day of the next month.
fn next_day(date: NaiveDate, days: u32) -> Option<NaiveDate> {
    let later = days & (u32::MAX << date.day()) & !(1 << date.day());
    if later == 0 {
        date.with_day(1)?.checked_add_months(Months::new(1))
    } else {
        date.with_day(later.trailing_zeros())
    }
}

/// The last second of the day before.
fn just_before(date: NaiveDate) -> Option<DateTime<Utc>> {
    let last_second = NaiveTime::from_hms_opt(23, 59, 59)?;
    Some(NaiveDateTime::new(date.checked_sub_days(Days::new(1))?, last_second).and_utc())
}
