//! What deserves a word although it is accepted.

use std::fmt;

use crate::{civil::format_wall, cron::Field, format_local, format_time, zone::TimeZone};

/// Something the user may not have meant, in a timing that is accepted as it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Warning {
    /// The step is larger than the range, so only the first value is left.
    StepTooLarge {
        /// Where the text begins, counted from 1.
        column: usize,
        /// The item with the step.
        text: String,
        /// The only value that is left.
        only: u32,
    },
    /// The step does not divide the field, so the last gap is shorter than the others.
    StepUneven {
        /// Where the text begins, counted from 1.
        column: usize,
        /// The item with the step.
        text: String,
        /// The field, in which counting begins again.
        field: Field,
    },
    /// `*/n` in one day field and a restriction in the other: both must match here, one is enough in Kubernetes.
    StepWithOtherDay {
        /// Where the stepped field begins, counted from 1.
        column: usize,
        /// The stepped field.
        text: String,
    },
    /// Both day fields are restricted: one of them is enough (DAY-1).
    EitherDay {
        /// The day-of-month field.
        month_days: String,
        /// The day-of-week field.
        week_days: String,
    },
    /// Accepted although it never fires.
    NeverFires,
    /// A rule that names hours and follows real time fires in both passes of the next repeated hour.
    FiresTwice {
        /// The first time that is shown twice and matches: `2026-10-25T02:00:00`.
        wall_time: String,
        /// The zone.
        zone: String,
    },
    /// A fixed rule fires late, as the clocks jump over its time.
    JumpedOver {
        /// The first time that is missing and matches: `2027-03-28T02:30:00`.
        wall_time: String,
        /// When it fires instead, by the clocks: `2027-03-28T03:00:00+02:00`.
        fires_at: String,
        /// The zone.
        zone: String,
    },
    /// A rule that names hours and follows real time has no fire for a time that the clocks jump over.
    Skipped {
        /// The first time that is missing and matches: `2027-03-28T02:00:00`.
        wall_time: String,
        /// The zone.
        zone: String,
    },
    /// Excludes and calendars take away all that the rules would fire within a year.
    NothingLeft {
        /// When the rules would fire first.
        would_fire_at: i64,
    },
}

impl Warning {
    pub(crate) fn fires_twice(wall: i64, zone: &TimeZone) -> Warning {
        Warning::FiresTwice { wall_time: format_wall(wall), zone: zone.name().to_owned() }
    }

    /// `at` is the instant after the jump, in seconds.
    pub(crate) fn jumped_over(wall: i64, at: i64, zone: &TimeZone) -> Warning {
        let fires_at = format_local(at * 1000, zone);
        Warning::JumpedOver { wall_time: format_wall(wall), fires_at, zone: zone.name().to_owned() }
    }

    pub(crate) fn skipped(wall: i64, zone: &TimeZone) -> Warning {
        Warning::Skipped { wall_time: format_wall(wall), zone: zone.name().to_owned() }
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Warning::StepTooLarge { column, text, only } => {
                write!(
                    f,
                    "column {column}: the step of `{text}` is larger than its range: it means just `{only}`"
                )
            }
            Warning::StepUneven { column, text, field } => {
                write!(
                    f,
                    "column {column}: the step of `{text}` does not divide the {field} field: counting begins again each time it wraps"
                )
            }
            Warning::StepWithOtherDay { column, text } => {
                write!(
                    f,
                    "column {column}: `{text}` begins with `*`, so the other day field must match too; Kubernetes reads this as one or the other"
                )
            }
            Warning::EitherDay { month_days, week_days } => {
                write!(
                    f,
                    "fires on days matching `{month_days}` and also on weekdays matching `{week_days}`: cron reads two restricted day fields as one or the other"
                )
            }
            Warning::NeverFires => f.write_str("never fires: it runs only by hand"),
            Warning::FiresTwice { wall_time, zone } => {
                write!(
                    f,
                    "fires twice at {wall_time}, which the clocks of {zone} show twice: write minute and hour without `*` to fire once"
                )
            }
            Warning::JumpedOver { wall_time, fires_at, zone } => {
                write!(f, "fires at {fires_at} instead of {wall_time}, which the clocks of {zone} jump over")
            }
            Warning::Skipped { wall_time, zone } => {
                write!(
                    f,
                    "does not fire at {wall_time}, which the clocks of {zone} jump over: write minute and hour without `*` to fire right after the jump"
                )
            }
            Warning::NothingLeft { would_fire_at } => {
                write!(
                    f,
                    "does not fire within a year: its rules would at {}, but excludes or calendars take everything away",
                    format_time(*would_fire_at)
                )
            }
        }
    }
}
