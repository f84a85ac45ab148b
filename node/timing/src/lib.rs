//! When a schedule fires, as pure functions: cron expressions, calendar rules, intervals and single times, composed with
//! each other and with named calendars, in any time zone.
//!
//! The proposer asks [`Timing::next`] for the fire times it puts into commands, and the command line answers
//! `belfry schedule next` with the same code and no cluster. Nothing here reads a clock, a file or the
//! environment: instants come in as milliseconds since the Unix epoch, and the zone data is compiled in.
//!
//! ```text
//! cron text ──── cron ────────► values and days ─┐
//! lists, text ── calendar_rule ► times and days ─┴─► wall: matching wall times ──► instants ─┐
//!                                                     (zone: offsets from jiff's bundled tzdb) │
//! interval, at, at_local ──────────────────────────────────────────────────────────────────────┤
//! days, periods ─ calendar ───► spans of instants ─────────────────────────────────► composition ──► Timing
//!
//! Timing ──► next, previous, between · mark, frozen_by · describe (words) · warnings (warning, outlook)
//! ```
//!
//! Invariants, repeated by id in code and tests:
//! - TIMING-1: `next(t) > t` and `previous(t) < t`, strictly, for every `t`.
//! - TIMING-2: no text and no instant makes anything here panic or loop; each answer takes at most 20 ms.
//! - TIMING-3: nothing fires before 1970 or at or after [`HORIZON_UNIX_MILLIS`].
//! - TIMING-4: the same text, zone, seed and tzdata version give the same instants, on every build.
//! - TIMING-5: a composition's search asks its rules at most [`SEARCH_QUESTIONS_MAX`] questions. What it has not found
//!   by then it reports as "none", and a composition without a first fire is refused where it is made.
//! - DST-1: a *fixed* rule (a cron expression of which neither the minute nor the hour field begins with `*`, a calendar
//!   rule, a civil time) fires once at the first instant after a gap that swallowed a matching wall time, and in the first
//!   pass only of a repeated hour.
//! - DST-2: a *wildcard* rule has no fires in a gap and fires in both passes of a repeated hour.
//! - DST-3: several matching wall times on one instant are one fire.
//! - COMP-1 to COMP-4: what a composition means, see `composition`; RULE-1 to RULE-3: calendar rules, see `calendar_rule`;
//!   CAL-1 and CAL-2: named calendars, see `calendar`; SPREAD-1 and SPREAD-2: see `spread`.
//! - DAY-1: day-of-month and day-of-week must both match if either text begins with `*` or `?`; otherwise one is enough.

mod calendar;
mod calendar_rule;
mod civil;
mod clock_text;
mod composition;
mod cron;
pub mod crontab;
mod duration_text;
mod intern;
mod interval;
mod mark;
mod outlook;
mod rule;
mod spread;
mod timing;
mod wall;
mod warning;
mod words;
mod zone;

pub use self::{
    calendar::{CALENDAR_DAYS_MAX, CALENDAR_PERIODS_MAX, Calendar, CalendarError, Coverage},
    calendar_rule::{
        CALENDAR_RULE_BYTES_MAX, CALENDAR_TIMES_MAX, CalendarField, CalendarRule, CalendarRuleError,
        TimeOfDay, Weekday, WeekdayRule,
    },
    clock_text::{TimeError, format_local, format_time, parse_time},
    composition::{
        COMPOSITION_CALENDARS_MAX, COMPOSITION_RULES_MAX, CalendarMode, CalendarUse, Composition,
        CompositionError, SEARCH_QUESTIONS_MAX,
    },
    cron::{CronError, EXPRESSION_BYTES_MAX, Field, HashSeed, NeverFiring, Problem},
    duration_text::{DurationError, format_duration, parse_duration},
    interval::{EVERY_MAX, EVERY_MIN, TimingError},
    mark::Mark,
    spread::spread_offset_millis,
    timing::Timing,
    warning::Warning,
    zone::{Pass, TimeZone, UnknownTimeZone, tzdata_version},
};

/// No timing fires at or after this instant: 2101-01-01T00:00:00Z, where the walker's years end.
pub const HORIZON_UNIX_MILLIS: i64 = HORIZON_SECONDS * 1000;

/// [`HORIZON_UNIX_MILLIS`] in the unit the calendar works in.
pub(crate) const HORIZON_SECONDS: i64 = 4_133_980_800;
