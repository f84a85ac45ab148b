//! Cron expressions: a strict grammar in front of the `cron` crate's calendar, and our own day and
//! daylight-saving rules behind it.
//!
//! ```text
//! grammar ─► items ─► fields, days        what the text means; advice: what was meant instead
//! walk                                    matching wall times, the only user of the `cron` crate
//! fires                                   instants, by the zone's offsets
//! ```

mod advice;
mod days;
mod error;
mod fields;
mod fires;
mod grammar;
mod hash;
mod items;
mod piece;
mod walk;

pub use self::{
    error::{CronError, EXPRESSION_BYTES_MAX, Problem, Warning},
    fields::Field,
    hash::HashSeed,
};
pub(crate) use self::{
    fires::CronRule,
    grammar::{DstRule, Expression, Parsed, parse},
};

use std::fmt;

/// What to do with an expression that matches no instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NeverFiring {
    /// Refuse it: almost always a slip.
    Refuse,
    /// Accept it: `0 0 31 2 *` is how people write "only by hand".
    Allow,
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
