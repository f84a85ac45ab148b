//! Structured calendar rules: years, months, days, weekdays and times as lists, for programs that send data and not text.
//!
//! Unlike a cron expression, a calendar rule counts days from the month's end, knows the last but one Friday and names its
//! times one by one: `09:00` and `18:30` are two entries, not four combinations.
//!
//! - RULE-1: an empty list stands for every value; only `times` must not be empty.
//! - RULE-2: `month_days` and `weekdays` given together must BOTH match: Friday the 13th is `month_days: [13], weekdays:
//!   [FRI]`. Cron's "one is enough" (DAY-1) does not apply: two rules joined in a composition say that.
//! - RULE-3: it is a fixed rule whatever its times are (DST-1): each of them fires once a day.

mod error;
mod text;
mod values;

use crate::{
    cron::{Field, ValueSet},
    wall::{Days, DstRule, Shape, Times, Walker, WallRule, YEAR_MAX, YEAR_MIN, Years},
    zone::TimeZone,
};

pub use self::{
    error::{CalendarField, CalendarRuleError},
    text::CALENDAR_RULE_BYTES_MAX,
    values::{TimeOfDay, Weekday, WeekdayRule},
};

/// The most times of one rule: every five minutes of a day.
pub const CALENDAR_TIMES_MAX: usize = 288;

/// Days and times at which something fires (RULE-1 to RULE-3). It is checked when a timing is made of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct CalendarRule {
    /// 1970 to 2100.
    pub years: Vec<i16>,
    /// 1 to 12.
    pub months: Vec<u8>,
    /// 1 to 31, or −1 to −31 counted from the month's end: −1 is its last day.
    pub month_days: Vec<i8>,
    /// Days of the week, each of them or the nth of the month.
    pub weekdays: Vec<WeekdayRule>,
    /// At least one and at most [`CALENDAR_TIMES_MAX`].
    pub times: Vec<TimeOfDay>,
}

impl CalendarRule {
    /// The same rule with each list sorted and without repetitions, if all values exist.
    pub(crate) fn checked(&self) -> Result<CalendarRule, CalendarRuleError> {
        use CalendarField::{MonthDays, Months, Times, Weekdays, Years};
        let nth = |rule: &WeekdayRule| rule.nth.map_or(1, i64::from);
        let checked = CalendarRule {
            years: check(Years, &self.years, |year| i64::from(*year))?,
            months: check(Months, &self.months, |month| i64::from(*month))?,
            month_days: check(MonthDays, &self.month_days, |day| i64::from(*day))?,
            weekdays: check(Weekdays, &self.weekdays, nth)?,
            times: check(Times, &self.times, |_exists| 0)?,
        };
        if checked.times.is_empty() { Err(CalendarRuleError::NoTimes) } else { Ok(checked) }
    }

    /// The rule in a zone. It must have been checked.
    pub(crate) fn in_zone(&self, zone: TimeZone) -> WallRule {
        let years = match self.years.as_slice() {
            [] => Years::Every,
            years => Years::These(years.iter().map(|year| i64::from(*year)).collect()),
        };
        let months = match self.months.as_slice() {
            [] => ValueSet::all(Field::Month),
            months => months
                .iter()
                .fold(ValueSet::EMPTY, |set, month| set.union(ValueSet::single(u32::from(*month)))),
        };
        let days = Days::new(years, months, |month| self.in_month(month));
        let times = Times::List(self.times.iter().map(|time| time.second_of_day()).collect());
        WallRule { walker: Walker { days, times, schedule: None }, dst: DstRule::Fixed, zone }
    }

    /// RULE-2: the matching days of a month as bits, day `n` at bit `n`.
    fn in_month(&self, month: Shape) -> u32 {
        let by_month_day = match self.month_days.as_slice() {
            [] => month.days(),
            days => days.iter().fold(0, |bits, day| bits | month_day(month, *day)),
        };
        let by_weekday = match self.weekdays.as_slice() {
            [] => month.days(),
            weekdays => weekdays.iter().fold(0, |bits, weekday| bits | weekday.in_month(month)),
        };
        by_month_day & by_weekday
    }
}

/// One day as a bit, or nothing if the month is too short for it.
fn month_day(month: Shape, day: i8) -> u32 {
    let counted = u32::from(day.unsigned_abs());
    let from_start = if day > 0 { Some(counted) } else { (month.length + 1).checked_sub(counted) };
    from_start.map_or(0, |day| 1 << day)
}

/// The values a field may have, in numbers, without zero where counting begins at 1 from both ends.
fn range(field: CalendarField) -> (i64, i64) {
    match field {
        CalendarField::Years => (YEAR_MIN, YEAR_MAX),
        CalendarField::Months => (1, 12),
        CalendarField::MonthDays => (-31, 31),
        CalendarField::Weekdays => (-5, 5),
        CalendarField::Times => (0, 0),
    }
}

/// The most entries that can differ.
fn entries_max(field: CalendarField) -> usize {
    match field {
        CalendarField::Years => 131,
        CalendarField::Months => 12,
        CalendarField::MonthDays => 62,
        CalendarField::Weekdays => 77,
        CalendarField::Times => CALENDAR_TIMES_MAX,
    }
}

fn check<T: Clone + Ord>(
    field: CalendarField,
    values: &[T],
    number: impl Fn(&T) -> i64,
) -> Result<Vec<T>, CalendarRuleError> {
    let max = entries_max(field);
    if values.len() > max {
        return Err(CalendarRuleError::TooMany { field, found: values.len(), max });
    }
    let (first, last) = range(field);
    let counts_from_one = matches!(field, CalendarField::MonthDays | CalendarField::Weekdays);
    let exists = |number: i64| (first..=last).contains(&number) && !(counts_from_one && number == 0);
    if let Some(value) = values.iter().map(number).find(|number| !exists(*number)) {
        return Err(CalendarRuleError::OutOfRange { field, value });
    }
    let mut values = values.to_vec();
    values.sort();
    values.dedup();
    Ok(values)
}
