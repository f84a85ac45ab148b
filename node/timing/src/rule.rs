//! What timings mean: the kinds of rules and the two questions each of them answers.

use crate::{
    HORIZON_UNIX_MILLIS,
    calendar_rule::CalendarRule,
    composition::Composed,
    cron::Expression,
    interval::Interval,
    wall::{Direction, WallRule},
    zone::TimeZone,
};

/// What a timing means, shared by all that mean the same.
pub(crate) struct Rule {
    /// Equal for rules that mean the same.
    pub(crate) canonical: String,
    pub(crate) kind: Kind,
}

/// The kinds of rules.
pub(crate) enum Kind {
    Cron(Box<Cron>),
    Calendar(Box<Calendar>),
    Every(Interval),
    At(i64),
    AtLocal(LocalTime),
    Composed(Box<Composed>),
}

/// A cron expression in a zone.
pub(crate) struct Cron {
    pub(crate) expression: Expression,
    pub(crate) rule: WallRule,
}

/// A calendar rule in a zone.
pub(crate) struct Calendar {
    pub(crate) written: CalendarRule,
    pub(crate) rule: WallRule,
}

/// One wall time of a zone.
pub(crate) struct LocalTime {
    pub(crate) wall: i64,
    pub(crate) zone: TimeZone,
    /// Its instant by ZONE-2.
    pub(crate) at: i64,
}

impl Rule {
    /// The first fire strictly after `after`, in milliseconds like every instant here.
    pub(crate) fn next(&self, after: i64) -> Option<i64> {
        match &self.kind {
            Kind::Cron(cron) => next_second(&cron.rule, after),
            Kind::Calendar(calendar) => next_second(&calendar.rule, after),
            Kind::Every(interval) => interval.next(after),
            Kind::At(at) | Kind::AtLocal(LocalTime { at, .. }) => {
                Some(*at).filter(|at| *at > after && is_within_time(*at))
            }
            Kind::Composed(composed) => composed.neighbour(Direction::Forward, after),
        }
    }

    /// The last fire strictly before `before`.
    pub(crate) fn previous(&self, before: i64) -> Option<i64> {
        match &self.kind {
            Kind::Cron(cron) => previous_second(&cron.rule, before),
            Kind::Calendar(calendar) => previous_second(&calendar.rule, before),
            Kind::Every(interval) => interval.previous(before),
            Kind::At(at) | Kind::AtLocal(LocalTime { at, .. }) => {
                Some(*at).filter(|at| *at < before && is_within_time(*at))
            }
            Kind::Composed(composed) => composed.neighbour(Direction::Backward, before),
        }
    }
}

impl Kind {
    /// The zone by whose clocks it fires, if any.
    pub(crate) fn time_zone(&self) -> Option<&TimeZone> {
        match self {
            Kind::Cron(cron) => Some(&cron.rule.zone),
            Kind::Calendar(calendar) => Some(&calendar.rule.zone),
            Kind::AtLocal(local) => Some(&local.zone),
            Kind::Composed(composed) => Some(&composed.zone),
            Kind::Every(_) | Kind::At(_) => None,
        }
    }
}

/// TIMING-3.
fn is_within_time(instant: i64) -> bool {
    (0..HORIZON_UNIX_MILLIS).contains(&instant)
}

/// Strictly after: the second that contains `after` has passed, even if `after` is its first millisecond.
fn next_second(rule: &WallRule, after: i64) -> Option<i64> {
    rule.next(after.div_euclid(1000)).map(|second| second * 1000)
}

/// Strictly before: the second that contains `before` counts unless `before` is its first millisecond.
fn previous_second(rule: &WallRule, before: i64) -> Option<i64> {
    let before = before.clamp(0, HORIZON_UNIX_MILLIS);
    rule.previous((before - 1).div_euclid(1000) + 1).map(|second| second * 1000)
}
