//! Why a calendar rule is refused. Every refusal names the field and the way out.

use std::fmt;

use super::{CALENDAR_RULE_BYTES_MAX, range};

/// One of the five lists of a calendar rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum CalendarField {
    Years,
    Months,
    MonthDays,
    Weekdays,
    Times,
}

impl CalendarField {
    /// All five.
    pub const ALL: [CalendarField; 5] = [
        CalendarField::Years,
        CalendarField::Months,
        CalendarField::MonthDays,
        CalendarField::Weekdays,
        CalendarField::Times,
    ];

    /// Its name in the text form.
    pub fn key(self) -> &'static str {
        match self {
            CalendarField::Years => "years",
            CalendarField::Months => "months",
            CalendarField::MonthDays => "days",
            CalendarField::Weekdays => "weekdays",
            CalendarField::Times => "times",
        }
    }

    /// What may stand in it.
    fn values(self) -> String {
        let (first, last) = range(self);
        match self {
            CalendarField::Years => format!("years from {first} to {last}"),
            CalendarField::Months => "1 to 12, or names such as JAN".to_owned(),
            CalendarField::MonthDays => {
                "1 to 31, or -1 to -31 counted from the month's end (-1 is its last day)".to_owned()
            }
            CalendarField::Weekdays => {
                "names such as MON, MON#1 for the first of the month or MON#-1 for the last, up to five"
                    .to_owned()
            }
            CalendarField::Times => "times of day as HH:MM or HH:MM:SS, from 00:00 to 23:59:59".to_owned(),
        }
    }
}

impl fmt::Display for CalendarField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.key())
    }
}

/// Why a calendar rule is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CalendarRuleError {
    /// A text longer than [`CALENDAR_RULE_BYTES_MAX`].
    #[error(
        "the calendar rule has {bytes} bytes: at most {max} are accepted, use several rules instead",
        max = CALENDAR_RULE_BYTES_MAX
    )]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// Something other than `field=values`.
    #[error("`{text}` is no field of a calendar rule: write years=, months=, days=, weekdays= or times=")]
    UnknownField {
        /// The text, cut if it is long.
        text: String,
    },
    /// A field twice.
    #[error("{field} is given twice: join its values with commas")]
    Repeated {
        /// The field.
        field: CalendarField,
    },
    /// A text that is none of the field's values.
    #[error("{field}: `{text}` is not a value: use {}, separated by commas", field.values())]
    NotAValue {
        /// The field.
        field: CalendarField,
        /// The text, cut if it is long.
        text: String,
    },
    /// A number the field does not have.
    #[error("{field}: {value} is out of range: use {}", field.values())]
    OutOfRange {
        /// The field.
        field: CalendarField,
        /// The number.
        value: i64,
    },
    /// More entries than can differ.
    #[error("{field}: {found} entries are too many: at most {max} are accepted")]
    TooMany {
        /// The field.
        field: CalendarField,
        /// How many there are.
        found: usize,
        /// How many there may be.
        max: usize,
    },
    /// No time of day.
    #[error("times: a calendar rule needs at least one time of day, as in times=09:00")]
    NoTimes,
    /// Well formed, but no day matches before the horizon.
    #[error(
        "`{rule}` never fires: month days and weekdays must both match; correct the days, or pass --allow-never if it is meant to run only by hand"
    )]
    NeverFires {
        /// The rule.
        rule: String,
    },
}

impl CalendarRuleError {
    /// The field it is about, if it is about one.
    pub fn field(&self) -> Option<CalendarField> {
        match self {
            CalendarRuleError::Repeated { field }
            | CalendarRuleError::NotAValue { field, .. }
            | CalendarRuleError::OutOfRange { field, .. }
            | CalendarRuleError::TooMany { field, .. } => Some(*field),
            CalendarRuleError::NoTimes => Some(CalendarField::Times),
            CalendarRuleError::TooLong { .. }
            | CalendarRuleError::UnknownField { .. }
            | CalendarRuleError::NeverFires { .. } => None,
        }
    }
}
