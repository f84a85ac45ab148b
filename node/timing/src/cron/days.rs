//! Which days of a month an expression means: plain days, `L`, `LW`, `nW`, `nL`, `n#k`, and how the two fields combine.
//!
//! A month's answer is one `u32` with bit `n` for day `n`, so that the walker skips a month without a match in one
//! step instead of looking at each of its days.

use std::fmt;

use chrono::{Datelike, NaiveDate};

use super::fields::{Field, ValueSet};

/// The day-of-month field.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct MonthDays {
    pub(crate) plain: ValueSet,
    /// `L`: the last day.
    pub(crate) last: bool,
    /// `LW`: the last day from Monday to Friday.
    pub(crate) last_weekday: bool,
    /// `nW`: the day from Monday to Friday nearest to day n.
    pub(crate) nearest: ValueSet,
}

/// The day-of-week field, Sunday being 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct WeekDays {
    pub(crate) plain: ValueSet,
    /// `nL`: the last such weekday.
    pub(crate) last: ValueSet,
    /// `n#k`: the kth such weekday, at index k − 1.
    pub(crate) nth: [ValueSet; 5],
}

/// How the two day fields combine (DAY-1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Combine {
    /// Both must match: at least one text begins with `*` or `?`.
    Both,
    /// One is enough.
    Either,
}

/// The two day fields and their combination.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DayRule {
    pub(crate) month_days: MonthDays,
    pub(crate) week_days: WeekDays,
    pub(crate) combine: Combine,
}

/// The shape of one month.
#[derive(Clone, Copy)]
struct Month {
    /// The weekday of day 1, Sunday being 0.
    first_weekday: u32,
    length: u32,
}

impl DayRule {
    /// The matching days of a month as bits, day `n` at bit `n`. A month outside the calendar has none.
    pub(crate) fn in_month(&self, year: i32, month: u32) -> u32 {
        let Some(first) = NaiveDate::from_ymd_opt(year, month, 1) else { return 0 };
        let month = Month {
            first_weekday: first.weekday().num_days_from_sunday(),
            length: u32::from(first.num_days_in_month()),
        };
        let by_month_day = self.month_days.in_month(month);
        let by_week_day = self.week_days.in_month(month);
        match self.combine {
            Combine::Both => by_month_day & by_week_day,
            Combine::Either => by_month_day | by_week_day,
        }
    }
}

impl Month {
    /// All its days as bits.
    fn days(self) -> u32 {
        // Day 31 is bit 31: the upper bound would overflow as `1 << 32`.
        (u32::MAX >> (31 - self.length)) & !1
    }

    fn weekday(self, day: u32) -> u32 {
        (self.first_weekday + day - 1) % 7
    }

    fn is_working_day(self, day: u32) -> bool {
        !matches!(self.weekday(day), 0 | 6)
    }

    /// The days that fall on one of the weekdays, as bits.
    fn every(self, weekdays: ValueSet) -> u32 {
        // Seven bits beginning with the weekday of day 1, then five weeks of them: no loop over days.
        let week = weekdays.bits() & 0x7f;
        let from_first = ((week | week << 7) >> self.first_weekday) & 0x7f;
        let weeks = from_first * 0x1020_4081;
        // Day 1 is bit 1. The fifth week reaches past bit 31, where no day is.
        (weeks << 1) as u32 & self.days()
    }

    /// The working day nearest to `day` within the month, if the month has that day.
    fn nearest_working_day(self, day: u32) -> Option<u32> {
        if day == 0 || day > self.length {
            return None;
        }
        // A Saturday moves to Friday and a Sunday to Monday, unless that leaves the month.
        let nearest = match self.weekday(day) {
            6 if day == 1 => 3,
            6 => day - 1,
            0 if day == self.length => day - 2,
            0 => day + 1,
            _working_day => day,
        };
        Some(nearest)
    }
}

impl MonthDays {
    fn in_month(&self, month: Month) -> u32 {
        // Days of the month are below 32: the cast keeps every bit.
        let mut days = self.plain.bits() as u32 & month.days();
        if self.last {
            days |= 1 << month.length;
        }
        if self.last_weekday {
            let last = (1..=month.length).rev().find(|day| month.is_working_day(*day));
            days |= last.map_or(0, |day| 1 << day);
        }
        if !self.nearest.is_empty() {
            let nearest = self.nearest.iter().filter_map(|day| month.nearest_working_day(day));
            days |= nearest.fold(0, |days, day| days | 1 << day);
        }
        days
    }
}

impl WeekDays {
    fn in_month(&self, month: Month) -> u32 {
        let mut days = month.every(self.plain);
        for weekday in self.last.iter() {
            let every = month.every(ValueSet::single(weekday));
            days |= 1 << (31 - every.leading_zeros());
        }
        for (index, weekdays) in self.nth.iter().enumerate() {
            for weekday in weekdays.iter() {
                days |= nth_day(month.every(ValueSet::single(weekday)), index);
            }
        }
        days
    }
}

/// The day `index` places after the lowest one of `days`, as a bit; nothing if there are not that many.
fn nth_day(mut days: u32, index: usize) -> u32 {
    for _ in 0..index {
        days &= days.wrapping_sub(1);
    }
    days & days.wrapping_neg()
}

impl fmt::Display for MonthDays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if !self.plain.is_empty() {
            parts.push(self.plain.text(Field::DayOfMonth));
        }
        if self.last {
            parts.push("L".to_owned());
        }
        if self.last_weekday {
            parts.push("LW".to_owned());
        }
        parts.extend(self.nearest.iter().map(|day| format!("{day}W")));
        f.write_str(&parts.join(","))
    }
}

impl fmt::Display for WeekDays {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = Vec::new();
        if !self.plain.is_empty() {
            parts.push(self.plain.text(Field::DayOfWeek));
        }
        parts.extend(self.last.iter().map(|weekday| format!("{weekday}L")));
        for (index, weekdays) in self.nth.iter().enumerate() {
            parts.extend(weekdays.iter().map(|weekday| format!("{weekday}#{}", index + 1)));
        }
        f.write_str(&parts.join(","))
    }
}

impl fmt::Display for DayRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let combine = match self.combine {
            Combine::Both => "and",
            Combine::Either => "or",
        };
        write!(f, "{} {combine} {}", self.month_days, self.week_days)
    }
}
