//! Compositions: several rules, minus others, within calendars and between two instants, as one timing.
//!
//! ```text
//! fires = ( include ∪ … ) \ ( exclude ∪ … ) ∩ include calendars \ exclude calendars ∩ [start_at, end_at)
//! ```
//!
//! - COMP-1: several includes on one instant are one fire.
//! - COMP-2: an exclude rule takes away exactly the instants at which it would fire itself, by its own zone and
//!   daylight-saving rule.
//! - COMP-3: instants inside a freeze calendar stay instants: they are shown, counted and then skipped with a reason.
//! - COMP-4: a composition of one include and nothing else is that include.

mod dense;
mod error;
mod search;

use std::sync::Arc;

use crate::{
    Calendar, Coverage, HORIZON_UNIX_MILLIS, Timing, format_time,
    rule::{Kind, Rule},
    zone::TimeZone,
};

pub use self::{error::CompositionError, search::SEARCH_QUESTIONS_MAX};

/// The most rules of one composition, includes and excludes together.
pub const COMPOSITION_RULES_MAX: usize = 64;

/// The most calendars of one composition.
pub const COMPOSITION_CALENDARS_MAX: usize = 16;

/// What a timing is composed of. [`Timing::compose`] checks it.
#[derive(Clone, Debug)]
pub struct Composition {
    /// Rules of which each fires; at least one.
    pub include: Vec<Timing>,
    /// Rules whose instants are taken away.
    pub exclude: Vec<Timing>,
    /// Calendars that limit or freeze the instants.
    pub calendars: Vec<CalendarUse>,
    /// The first instant that may fire.
    pub start_at: Option<i64>,
    /// The first instant that may not fire any more.
    pub end_at: Option<i64>,
    /// The zone of the schedule: where the days of calendars without a zone are.
    pub zone: TimeZone,
}

/// A calendar and what it does to a timing.
#[derive(Clone, Debug)]
pub struct CalendarUse {
    /// The calendar.
    pub calendar: Arc<Calendar>,
    /// What it does.
    pub mode: CalendarMode,
}

/// What a calendar does to a timing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CalendarMode {
    /// Only instants inside it fire.
    Include,
    /// No instant inside it fires.
    Exclude,
    /// Instants inside it stay, for a row that says why nothing started ([`Timing::frozen_by`]).
    Freeze,
}

impl Composition {
    /// Just these rules, for a schedule in `zone`.
    pub fn of(include: Vec<Timing>, zone: TimeZone) -> Composition {
        Composition { include, exclude: vec![], calendars: vec![], start_at: None, end_at: None, zone }
    }

    /// The one rule it consists of, if it is no composition at all (COMP-4).
    pub(crate) fn plain(&self) -> Option<&Timing> {
        let (first, rest) = self.include.split_first()?;
        let is_bare = self.exclude.is_empty() && self.calendars.is_empty();
        let is_open = self.start_at.is_none() && self.end_at.is_none();
        (is_bare && is_open && rest.iter().all(|other| other == first)).then_some(first)
    }

    /// Refuses what breaks a limit.
    pub(crate) fn check(&self) -> Result<(), CompositionError> {
        let rules = self.include.len() + self.exclude.len();
        if self.include.is_empty() {
            return Err(CompositionError::NoInclude);
        }
        if rules > COMPOSITION_RULES_MAX {
            return Err(CompositionError::TooManyRules { found: rules });
        }
        if self.calendars.len() > COMPOSITION_CALENDARS_MAX {
            return Err(CompositionError::TooManyCalendars { found: self.calendars.len() });
        }
        let is_composed = |timing: &Timing| matches!(timing.rule().kind, Kind::Composed(_));
        if self.plain().is_none() && self.include.iter().chain(&self.exclude).any(is_composed) {
            return Err(CompositionError::Nested);
        }
        match (self.start_at, self.end_at) {
            (Some(start_at), Some(end_at)) if start_at >= end_at => {
                Err(CompositionError::EndBeforeStart { start_at, end_at })
            }
            (Some(_), Some(_)) | (Some(_), None) | (None, Some(_)) | (None, None) => Ok(()),
        }
    }
}

/// A checked composition.
pub(crate) struct Composed {
    pub(crate) include: Vec<Arc<Rule>>,
    pub(crate) exclude: Vec<Arc<Rule>>,
    pub(crate) calendars: Vec<Covered>,
    pub(crate) start_at: Option<i64>,
    pub(crate) end_at: Option<i64>,
    pub(crate) zone: TimeZone,
}

/// A calendar in use.
pub(crate) struct Covered {
    pub(crate) mode: CalendarMode,
    pub(crate) name: String,
    pub(crate) coverage: Coverage,
    canonical: String,
}

impl Composed {
    pub(crate) fn new(composition: &Composition) -> Composed {
        let zone = composition.zone.clone();
        let covered = |used: &CalendarUse| Covered {
            mode: used.mode,
            name: used.calendar.name().to_owned(),
            coverage: used.calendar.coverage(&zone),
            canonical: format!("{:?} {}", used.mode, used.calendar.canonical(&zone)),
        };
        let mut calendars: Vec<Covered> = composition.calendars.iter().map(covered).collect();
        calendars.sort_by(|one, other| one.canonical.cmp(&other.canonical));
        calendars.dedup_by(|one, other| one.canonical == other.canonical);
        let include = rules(&composition.include);
        let (start_at, end_at) = (composition.start_at, composition.end_at);
        Composed { include, exclude: rules(&composition.exclude), calendars, start_at, end_at, zone }
    }

    /// Equal for compositions that mean the same.
    pub(crate) fn canonical(&self) -> String {
        let rules = |rules: &[Arc<Rule>]| {
            rules.iter().map(|rule| rule.canonical.as_str()).collect::<Vec<_>>().join(" | ")
        };
        let calendars: Vec<&str> = self.calendars.iter().map(|used| used.canonical.as_str()).collect();
        let end = |at: Option<i64>| at.map_or_else(|| "..".to_owned(), format_time);
        format!(
            "@compose {} [{}] minus [{}] calendars [{}] from {} until {}",
            self.zone,
            rules(&self.include),
            rules(&self.exclude),
            calendars.join(" | "),
            end(self.start_at),
            end(self.end_at),
        )
    }

    /// The calendar that freezes an instant.
    pub(crate) fn frozen_by(&self, instant: i64) -> Option<&str> {
        let freezes = self.calendars.iter().filter(|used| used.mode == CalendarMode::Freeze);
        freezes.filter(|used| used.coverage.contains(instant)).map(|used| used.name.as_str()).next()
    }

    /// The instants that may fire at all, half-open (TIMING-3).
    fn bounds(&self) -> (i64, i64) {
        let start = self.start_at.map_or(0, |at| at.max(0));
        (start, self.end_at.map_or(HORIZON_UNIX_MILLIS, |at| at.min(HORIZON_UNIX_MILLIS)))
    }
}

/// The rules in one order and once each: their order means nothing.
fn rules(timings: &[Timing]) -> Vec<Arc<Rule>> {
    let mut rules: Vec<Arc<Rule>> = timings.iter().map(|timing| timing.rule().clone()).collect();
    rules.sort_by(|one, other| one.canonical.cmp(&other.canonical));
    rules.dedup_by(|one, other| one.canonical == other.canonical);
    rules
}
