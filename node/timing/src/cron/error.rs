//! Why an expression is refused.
//!
//! Every refusal names the column, the text and the way out; where a corrected text exists it is part of the message.

use super::fields::Field;
use crate::{DurationError, TimingError};

/// An expression longer than this is refused before it is read: real ones have a tenth of it.
pub const EXPRESSION_BYTES_MAX: usize = 256;

/// Why an expression is refused. Columns count from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CronError {
    /// There is no text.
    #[error(
        "the expression is empty: write `minute hour day-of-month month day-of-week`, as in `0 9 * * 1-5`"
    )]
    Empty,
    /// Longer than [`EXPRESSION_BYTES_MAX`].
    #[error(
        "the expression has {bytes} bytes: at most {max} are accepted, use several schedules instead",
        max = EXPRESSION_BYTES_MAX
    )]
    TooLong {
        /// Its length.
        bytes: usize,
    },
    /// Longer than [`EXPRESSION_BYTES_MAX`] once `H` is resolved: what is stored and read again is that text.
    #[error(
        "the expression has {bytes} bytes once each `H` is replaced by its values: at most {max} are accepted, use several schedules instead",
        max = EXPRESSION_BYTES_MAX
    )]
    ResolvedTooLong {
        /// Its length then.
        bytes: usize,
    },
    /// A character that occurs nowhere in the language.
    #[error("column {column}: unexpected character {character:?}: remove it")]
    Character {
        /// Where it stands.
        column: usize,
        /// The character.
        character: char,
    },
    /// Neither five nor six fields.
    #[error(
        "column {column}: found {found} {} instead of five: write `minute hour day-of-month month day-of-week`{}",
        if *found == 1 { "field" } else { "fields" },
        if *found > 6 { ", or six with seconds first; years are not supported" } else { ", or six with seconds first" }
    )]
    FieldCount {
        /// Where the first missing field would begin, or the first one too many does.
        column: usize,
        /// How many there are.
        found: usize,
    },
    /// `TZ=…` or `CRON_TZ=…` inside the expression.
    #[error(
        "column {column}: `{text}` does not belong into the expression: give the time zone in its own field and write `{rest}`"
    )]
    ZoneInText {
        /// Where it begins.
        column: usize,
        /// The assignment.
        text: String,
        /// The expression without it.
        rest: String,
    },
    /// `@reboot`.
    #[error(
        "column {column}: `{text}` names no time: start such a command with the machine (a systemd unit) or write when it is due"
    )]
    Reboot {
        /// Where it begins.
        column: usize,
        /// As written.
        text: String,
    },
    /// A word with `@` that is no macro.
    #[error(
        "column {column}: `{text}` is unknown: use @hourly, @daily, @midnight, @weekly, @monthly, @yearly, @annually or @every 90s"
    )]
    UnknownMacro {
        /// Where it begins.
        column: usize,
        /// As written.
        text: String,
    },
    /// Something follows a macro.
    #[error("column {column}: unexpected `{text}` after `{name}`: `{name}` stands alone")]
    AfterMacro {
        /// Where it begins.
        column: usize,
        /// What follows.
        text: String,
        /// The macro.
        name: String,
    },
    /// `@every` without a readable duration.
    #[error("column {column}: `@every` needs a duration, as in `@every 90s`: {source}")]
    EveryText {
        /// Where the duration is or should be.
        column: usize,
        /// What is wrong with it.
        source: DurationError,
    },
    /// `@every` with a duration outside the limits.
    #[error("column {column}: {source}")]
    EveryRange {
        /// Where the duration begins.
        column: usize,
        /// The limit it breaks.
        source: TimingError,
    },
    /// Part of a field is wrong.
    #[error("column {column}: `{text}` in the {field} field {problem}")]
    Field {
        /// Where the text begins.
        column: usize,
        /// The field it belongs to.
        field: Field,
        /// The offending text.
        text: String,
        /// What is wrong and how to write it.
        problem: Problem,
    },
    /// The expression is well formed but names no instant before the horizon.
    #[error(
        "`{expression}` never fires: correct the day, or pass --allow-never if it is meant to run only by hand"
    )]
    NeverFires {
        /// The expression, with `H` resolved.
        expression: String,
    },
}

impl CronError {
    /// The 1-based column the error is about, if it is about a place in the text.
    pub fn column(&self) -> Option<usize> {
        match self {
            CronError::Character { column, .. }
            | CronError::FieldCount { column, .. }
            | CronError::ZoneInText { column, .. }
            | CronError::Reboot { column, .. }
            | CronError::UnknownMacro { column, .. }
            | CronError::AfterMacro { column, .. }
            | CronError::EveryText { column, .. }
            | CronError::EveryRange { column, .. }
            | CronError::Field { column, .. } => Some(*column),
            CronError::Empty
            | CronError::TooLong { .. }
            | CronError::ResolvedTooLong { .. }
            | CronError::NeverFires { .. } => None,
        }
    }
}

/// What is wrong with a part of a field, as the end of a sentence that begins with that part.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// Nothing before or after a comma, a dash, a slash.
    #[error("lacks a value: write one from {first} to {last} or remove the sign beside it")]
    Missing {
        /// The smallest value of the field.
        first: u32,
        /// The largest one.
        last: u32,
    },
    /// Neither a number nor a name of this field.
    #[error("is not a value: use {first}-{last}{}", if *names { " or a three-letter name" } else { "" })]
    NotAValue {
        /// The smallest value of the field.
        first: u32,
        /// The largest one.
        last: u32,
        /// Whether the field's values have names.
        names: bool,
    },
    /// A number the field does not have.
    #[error("is out of range: use {first}-{last}")]
    OutOfRange {
        /// The smallest value of the field.
        first: u32,
        /// The largest one.
        last: u32,
    },
    /// A year.
    #[error("looks like a year: years are not supported; one instant is given as a time, not as cron")]
    Year,
    /// `*5`.
    #[error("joins `*` with more text: write {}", if fix.is_empty() { "`*` or `*/n`".to_owned() } else { format!("`*/{fix}` or `{fix}`") })]
    AfterStar {
        /// The number behind the star, or nothing.
        fix: String,
    },
    /// The second end of a range lies before the first.
    #[error("runs backward: write `{rewritten}`")]
    Backward {
        /// The same values as forward ranges.
        rewritten: String,
    },
    /// A backward range inside `H(…)`, for which no forward text exists.
    #[error("runs backward: `H` needs one forward range")]
    BackwardHash,
    /// A step of zero.
    #[error("has a step of zero: use 1 or more")]
    StepZero,
    /// A step that is not a number.
    #[error("needs a number as its step, as in `*/5`")]
    StepNotANumber,
    /// A range of a range, a step of a step.
    #[error("has one `{sign}` too many: separate the parts with commas")]
    Repeated {
        /// The sign.
        sign: char,
    },
    /// A month's name in the weekday field or the other way round.
    #[error("is a {belongs} name: it belongs into the {belongs} field")]
    OtherField {
        /// The field whose name it is.
        belongs: Field,
    },
    /// `MONDAY`.
    #[error("is too long a name: write `{short}`")]
    LongName {
        /// The three-letter name.
        short: String,
    },
    /// `L`, `W`, `#` or `?` where they mean nothing.
    #[error(
        "uses a sign of the day fields: `L`, `LW`, `15W` and `?` are for day-of-month, `5L`, `5#2` and `?` for day-of-week"
    )]
    DaySign,
    /// `L-3`.
    #[error(
        "counts back from the end of the month, which is not supported: use `L` for the last day, `LW` for the last weekday"
    )]
    BeforeLast,
    /// `L` alone as a day of the week.
    #[error(
        "is ambiguous as a day of the week: write `6` for Saturday or `5L` for the last Friday of the month"
    )]
    LastOfWeek,
    /// `WL`, `W15`, `L5`.
    #[error("has its parts in the wrong order: write `{rewritten}`")]
    Order {
        /// The right order.
        rewritten: String,
    },
    /// `n#6`.
    #[error("asks for a week outside 1-5: a weekday comes at most five times in a month")]
    NthOutOfRange,
    /// `L/2`, `15W/2`, `1-5L`.
    #[error("cannot have a range or a step: list the days with commas")]
    NotSingle,
    /// `?` together with something else.
    #[error("must stand alone in its field: write `*` or list the days")]
    Question,
    /// `5~20`.
    #[error("asks for a random time: write `{rewritten}` for one that is stable per schedule")]
    Random {
        /// The same range with `H`.
        rewritten: String,
    },
}
