//! Cron expressions: from a text to sets of values and rules, by a strict grammar.
//!
//! ```text
//! grammar ─► items ─► fields, days        what the text means; advice: what was meant instead
//! ```
//!
//! What comes out is a rule over wall-clock time like any other; see `wall` for when it fires.

mod advice;
mod days;
mod error;
mod fields;
mod grammar;
mod hash;
mod items;
mod piece;

pub(crate) use self::{
    days::{Combine, MonthDays, WeekDays},
    fields::ValueSet,
    grammar::{Expression, Parsed, parse},
};
pub use self::{
    error::{CronError, EXPRESSION_BYTES_MAX, Problem},
    fields::Field,
    hash::HashSeed,
};

use std::fmt;

use crate::{
    wall::{Days, DstRule, Times, Walker, WallRule, Years},
    zone::TimeZone,
};

/// What to do with an expression that matches no instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NeverFiring {
    /// Refuse it: almost always a slip.
    Refuse,
    /// Accept it: `0 0 31 2 *` is how people write "only by hand".
    Allow,
}

impl Expression {
    /// The rule in a zone.
    pub(crate) fn in_zone(&self, zone: TimeZone) -> WallRule {
        let days = Days::new(Years::Every, self.months, |month| self.days.in_month(month));
        let times = Times::Product { hours: self.hours, minutes: self.minutes, seconds: self.seconds };
        let schedule = Some(Box::new(self.schedule()));
        WallRule { walker: Walker { days, times, schedule }, dst: self.dst, zone }
    }

    /// The months and times as the `cron` crate takes them.
    fn schedule(&self) -> ::cron::Schedule {
        let canonical = format!(
            "{} {} {} * {} *",
            self.seconds.text(Field::Second),
            self.minutes.text(Field::Minute),
            self.hours.text(Field::Hour),
            self.months.text(Field::Month),
        );
        ::cron::Schedule::try_from(canonical)
            .expect("sets that are not empty, within range and written as numbers are what the crate reads")
    }
}

impl fmt::Display for Expression {
    /// The rule itself: equal for texts that mean the same.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let dst = match self.dst {
            DstRule::Fixed => "fixed",
            DstRule::Wildcard => "wildcard",
        };
        let (seconds, minutes) = (self.seconds.text(Field::Second), self.minutes.text(Field::Minute));
        let (hours, months) = (self.hours.text(Field::Hour), self.months.text(Field::Month));
        write!(f, "{seconds} {minutes} {hours} {} {months} {dst}", self.days)
    }
}
