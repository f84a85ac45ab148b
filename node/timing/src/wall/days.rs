//! Which days a rule matches, answered month by month.
//!
//! What days of a month match depends on nothing but its weekday of day 1 and its length: 28 shapes, worked out once. A
//! month's answer is then one look-up, whatever the rule says, and a search over all years until the horizon looks at
//! 1572 months (TIMING-2).

use crate::{civil::Month, cron::ValueSet};

/// The first and the last year that a rule can match: where TIMING-3 ends, minus the wall's day around it.
pub(crate) const YEAR_MIN: i64 = 1970;
pub(crate) const YEAR_MAX: i64 = 2100;

/// The months' lengths, 28 to 31, and the weekday of day 1.
const LENGTHS: usize = 4;
const WEEKDAYS: usize = 7;

/// The matching days.
#[derive(Clone, Debug)]
pub(crate) struct Days {
    years: Years,
    months: ValueSet,
    /// Day `n` at bit `n`, by length and by weekday of day 1.
    shapes: [[u32; WEEKDAYS]; LENGTHS],
}

/// The matching years.
#[derive(Clone, Debug)]
pub(crate) enum Years {
    Every,
    /// Sorted.
    These(Box<[i64]>),
}

/// What a month looks like to a rule that picks days of it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    /// The weekday of day 1, Sunday being 0.
    pub(crate) first_weekday: u32,
    pub(crate) length: u32,
}

impl Days {
    /// The days of these years and months that `pick` picks, as bits with day `n` at bit `n`.
    pub(crate) fn new(years: Years, months: ValueSet, pick: impl Fn(Shape) -> u32) -> Days {
        let shape = |length: usize, weekday: usize| Shape {
            first_weekday: weekday as u32,
            length: 28 + length as u32,
        };
        let shapes = std::array::from_fn(|length| {
            std::array::from_fn(|weekday| {
                let shape = shape(length, weekday);
                pick(shape) & shape.days()
            })
        });
        Days { years, months, shapes }
    }

    pub(crate) fn contains(&self, day: i64) -> bool {
        let (month, of_month) = Month::containing(day);
        self.in_month(month) >> of_month & 1 == 1
    }

    /// The first matching day from `day` on.
    pub(crate) fn from(&self, day: i64) -> Option<i64> {
        let (mut month, mut of_month) = Month::containing(day);
        if month.year < YEAR_MIN {
            (month, of_month) = (Month::new(YEAR_MIN, 1), 1);
        }
        let mut mask = u32::MAX << of_month;
        while month.year <= YEAR_MAX {
            let days = self.in_month(month) & mask;
            if days != 0 {
                return Some(month.first_day + i64::from(days.trailing_zeros()) - 1);
            }
            (month, mask) = (month.next(), u32::MAX);
        }
        None
    }

    /// The last matching day up to `day`.
    pub(crate) fn until(&self, day: i64) -> Option<i64> {
        let (mut month, mut of_month) = Month::containing(day);
        if month.year > YEAR_MAX {
            (month, of_month) = (Month::new(YEAR_MAX, 12), 31);
        }
        // Day 31 is bit 31: a mask of days up to it would overflow as `1 << 32`.
        let mut mask = u32::MAX >> (31 - of_month);
        while month.year >= YEAR_MIN {
            let days = self.in_month(month) & mask;
            if days != 0 {
                return Some(month.first_day + i64::from(31 - days.leading_zeros()) - 1);
            }
            (month, mask) = (month.previous(), u32::MAX);
        }
        None
    }

    fn in_month(&self, month: Month) -> u32 {
        let is_year = match &self.years {
            Years::Every => (YEAR_MIN..=YEAR_MAX).contains(&month.year),
            Years::These(years) => years.binary_search(&month.year).is_ok(),
        };
        if is_year && self.months.contains(month.number) {
            self.shapes[(month.length - 28) as usize][month.first_weekday() as usize]
        } else {
            0
        }
    }
}

impl Shape {
    /// All its days as bits.
    pub(crate) fn days(self) -> u32 {
        (u32::MAX >> (31 - self.length)) & !1
    }

    pub(crate) fn weekday(self, day: u32) -> u32 {
        (self.first_weekday + day - 1) % 7
    }

    /// The days that fall on one of the weekdays, as bits.
    pub(crate) fn every(self, weekdays: ValueSet) -> u32 {
        // Seven bits beginning with the weekday of day 1, then five weeks of them: no loop over days.
        let week = weekdays.bits() & 0x7f;
        let from_first = ((week | week << 7) >> self.first_weekday) & 0x7f;
        let weeks = from_first * 0x1020_4081;
        // Day 1 is bit 1. The fifth week reaches past bit 31, where no day is.
        (weeks << 1) as u32 & self.days()
    }

    /// The days that fall on one weekday, as bits.
    pub(crate) fn every_weekday(self, weekday: u32) -> u32 {
        self.every(ValueSet::single(weekday))
    }

    /// The `nth` such weekday of the month, from 1, as a bit; nothing if there are not that many.
    pub(crate) fn nth(self, weekday: u32, nth: u32) -> u32 {
        let mut days = self.every_weekday(weekday);
        for _ in 1..nth {
            days &= days.wrapping_sub(1);
        }
        days & days.wrapping_neg()
    }

    /// The `nth` such weekday counted from the month's end, from 1, as a bit; nothing if there are not that many.
    pub(crate) fn nth_last(self, weekday: u32, nth: u32) -> u32 {
        let count = self.every_weekday(weekday).count_ones();
        if nth <= count { self.nth(weekday, count + 1 - nth) } else { 0 }
    }
}
