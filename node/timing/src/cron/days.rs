//! Which days of a month an expression means: plain days, `L`, `LW`, `nW`, `nL`, `n#k`, and how the two fields combine.
//!
//! A month's answer is one `u32` with bit `n` for day `n`, so that the walker skips a month without a match in one
//! step instead of looking at each of its days.

use std::fmt;

use super::fields::{Field, ValueSet};
use crate::wall::Shape;

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

impl DayRule {
    /// The matching days of a month as bits, day `n` at bit `n`.
    pub(crate) fn in_month(&self, month: Shape) -> u32 {
        let by_month_day = self.month_days.in_month(month);
        let by_week_day = self.week_days.in_month(month);
        match self.combine {
            Combine::Both => by_month_day & by_week_day,
            Combine::Either => by_month_day | by_week_day,
        }
    }
}

fn is_working_day(month: Shape, day: u32) -> bool {
    !matches!(month.weekday(day), 0 | 6)
}

/// The working day nearest to `day` within the month, if the month has that day.
fn nearest_working_day(month: Shape, day: u32) -> Option<u32> {
    if day == 0 || day > month.length {
        return None;
    }
    // A Saturday moves to Friday and a Sunday to Monday, unless that leaves the month.
    let nearest = match month.weekday(day) {
        6 if day == 1 => 3,
        6 => day - 1,
        0 if day == month.length => day - 2,
        0 => day + 1,
        _working_day => day,
    };
    Some(nearest)
}

impl MonthDays {
    fn in_month(&self, month: Shape) -> u32 {
        // Days of the month are below 32: the cast keeps every bit.
        let mut days = self.plain.bits() as u32 & month.days();
        if self.last {
            days |= 1 << month.length;
        }
        if self.last_weekday {
            let last = (1..=month.length).rev().find(|day| is_working_day(month, *day));
            days |= last.map_or(0, |day| 1 << day);
        }
        if !self.nearest.is_empty() {
            let nearest = self.nearest.iter().filter_map(|day| nearest_working_day(month, day));
            days |= nearest.fold(0, |days, day| days | 1 << day);
        }
        days
    }
}

impl WeekDays {
    fn in_month(&self, month: Shape) -> u32 {
        let mut days = month.every(self.plain);
        days |= self.last.iter().fold(0, |days, weekday| days | month.nth_last(weekday, 1));
        for (nth, weekdays) in (1..).zip(&self.nth) {
            days |= weekdays.iter().fold(0, |days, weekday| days | month.nth(weekday, nth));
        }
        days
    }
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
