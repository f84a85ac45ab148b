//! Why a calendar is refused. Every refusal names the entry, counted from 0 as in the API's lists.

use super::{CALENDAR_DAYS_MAX, CALENDAR_PERIODS_MAX};
use crate::TimeError;

/// Why a calendar is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CalendarError {
    /// More than [`CALENDAR_DAYS_MAX`].
    #[error(
        "the calendar has {found} days: at most {max} are accepted, write `*-12-25` for a day of every year or periods for long spans",
        max = CALENDAR_DAYS_MAX
    )]
    TooManyDays {
        /// How many there are.
        found: usize,
    },
    /// More than [`CALENDAR_PERIODS_MAX`].
    #[error(
        "the calendar has {found} periods: at most {max} are accepted, remove those that are over",
        max = CALENDAR_PERIODS_MAX
    )]
    TooManyPeriods {
        /// How many there are.
        found: usize,
    },
    /// A text that is no day.
    #[error("days[{index}]: `{text}` is not a day: write `2026-12-25`, or `*-12-25` for every year")]
    NotADay {
        /// Which entry.
        index: usize,
        /// The text, cut if it is long.
        text: String,
    },
    /// A date that no calendar has.
    #[error("days[{index}]: `{text}` does not exist: check month and day")]
    NoSuchDay {
        /// Which entry.
        index: usize,
        /// The text.
        text: String,
    },
    /// A year in which nothing is ever due.
    #[error("days[{index}]: `{text}` is out of range: use years from 1970 to 2100")]
    YearOutOfRange {
        /// Which entry.
        index: usize,
        /// The text.
        text: String,
    },
    /// An end of a period is no time.
    #[error("periods[{index}]: {source}")]
    PeriodTime {
        /// Which entry.
        index: usize,
        /// What is wrong with it.
        source: TimeError,
    },
    /// One end is an instant and the other a civil time.
    #[error(
        "periods[{index}]: `{start}` and `{end}` are not of one form: write both as civil times or both with `Z`"
    )]
    PeriodForms {
        /// Which entry.
        index: usize,
        /// Its start as written.
        start: String,
        /// Its end as written.
        end: String,
    },
    /// The end is not after the start.
    #[error("periods[{index}]: `{end}` is not after `{start}`: a period ends before its second time begins")]
    PeriodOrder {
        /// Which entry.
        index: usize,
        /// Its start as written.
        start: String,
        /// Its end as written.
        end: String,
    },
}
