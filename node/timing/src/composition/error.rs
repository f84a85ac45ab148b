//! Why a composition is refused.

use super::{COMPOSITION_CALENDARS_MAX, COMPOSITION_RULES_MAX};
use crate::format_time;

/// Why a composition is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CompositionError {
    /// Nothing to fire.
    #[error("a timing needs at least one rule to include: add a cron expression, an interval or a time")]
    NoInclude,
    /// More than [`COMPOSITION_RULES_MAX`].
    #[error(
        "the timing has {found} rules: at most {max} are accepted, use several schedules instead",
        max = COMPOSITION_RULES_MAX
    )]
    TooManyRules {
        /// How many there are.
        found: usize,
    },
    /// More than [`COMPOSITION_CALENDARS_MAX`].
    #[error(
        "the timing uses {found} calendars: at most {max} are accepted, join some of them",
        max = COMPOSITION_CALENDARS_MAX
    )]
    TooManyCalendars {
        /// How many there are.
        found: usize,
    },
    /// A composition inside a composition.
    #[error("a rule of a composition cannot be a composition itself: list its rules instead")]
    Nested,
    /// Nothing lies between the two.
    #[error(
        "the end {} is not after the start {}: give a later end",
        format_time(*end_at),
        format_time(*start_at)
    )]
    EndBeforeStart {
        /// The first instant that may fire.
        start_at: i64,
        /// The first instant that may not.
        end_at: i64,
    },
    /// No instant is left, or none within reach of the search.
    #[error(
        "the timing never fires: its excludes, calendars, start and end leave no instant; loosen one of them, or pass --allow-never if it is meant to run only by hand"
    )]
    NeverFires,
}
