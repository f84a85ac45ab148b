//! What the user may not have meant, seen from an instant: the next change of the clocks, the year ahead.
//!
//! The warnings of a text are the same for ever; these depend on when one looks. They look ahead no further than
//! [`AHEAD`], where the next change of the clocks lies in every zone that has one each year.

use crate::{
    Warning,
    composition::Composed,
    rule::{Kind, LocalTime, Rule},
    wall::{DstRule, Times, WallRule},
    zone::TimeZone,
};

/// How far ahead to look: a year and a month, in seconds.
const AHEAD: i64 = 396 * 86_400;

/// A year, in milliseconds.
const YEAR_MILLIS: i64 = 366 * 86_400_000;

impl Rule {
    /// The warnings that hold at `instant`, in milliseconds.
    pub(crate) fn warnings_from(&self, instant: i64) -> Vec<Warning> {
        let mut warnings = Vec::new();
        for rule in self.wall_rules() {
            for warning in of_clocks(rule, instant.div_euclid(1000)) {
                // Rules of a composition meet the same change.
                if !warnings.contains(&warning) {
                    warnings.push(warning);
                }
            }
        }
        match &self.kind {
            Kind::AtLocal(local) => warnings.extend(of_local_time(local, instant)),
            Kind::Composed(composed) => warnings.extend(composed.nothing_left(self, instant)),
            Kind::Cron(_) | Kind::Calendar(_) | Kind::Every(_) | Kind::At(_) => {}
        }
        warnings
    }
}

/// What the next gap and the next repeated hour do to a rule.
fn of_clocks(rule: &WallRule, from: i64) -> Vec<Warning> {
    let zone = &rule.zone;
    let changes = changes(zone, from);
    let gap = changes.iter().find(|change| change.shown_from > change.shown_until);
    let overlap = changes.iter().find(|change| change.shown_from < change.shown_until);
    let first_of = |from: i64, until: i64| rule.walker.from(from).filter(|wall| *wall < until);
    let jumped = gap.and_then(|gap| {
        let wall = first_of(gap.shown_until, gap.shown_from)?;
        Some(match rule.dst {
            DstRule::Fixed => Warning::jumped_over(wall, gap.at, zone),
            DstRule::Wildcard => Warning::skipped(wall, zone),
        })
    });
    let repeated = overlap.and_then(|overlap| {
        let wall = first_of(overlap.shown_from, overlap.shown_until)?;
        Some(Warning::fires_twice(wall, zone))
    });
    // A rule of all hours is a rhythm by intention; one that names hours may not be.
    let is_rhythm = match (&rule.walker.times, rule.dst) {
        (Times::Product { hours, .. }, DstRule::Wildcard) => hours.len() == 24,
        (Times::List(_), DstRule::Wildcard) | (_, DstRule::Fixed) => false,
    };
    let repeated = repeated.filter(|_| rule.dst == DstRule::Wildcard);
    jumped.into_iter().chain(repeated).filter(|_| !is_rhythm).collect()
}

/// A change of a zone's offset, in seconds.
struct Change {
    at: i64,
    /// The wall time at which the clocks stop.
    shown_until: i64,
    /// The wall time at which they go on.
    shown_from: i64,
}

fn changes(zone: &TimeZone, from: i64) -> Vec<Change> {
    let until = from.saturating_add(AHEAD);
    let spans: Vec<_> = zone.spans_from(from).take_while(|span| span.start < until).collect();
    let change = |pair: &[crate::zone::Span]| Change {
        at: pair[1].start,
        shown_until: pair[0].end + pair[0].offset,
        shown_from: pair[1].start + pair[1].offset,
    };
    spans.windows(2).map(change).collect()
}

fn of_local_time(local: &LocalTime, instant: i64) -> Option<Warning> {
    let at = local.at / 1000;
    let is_shown = at + local.zone.offset_at(at) == local.wall;
    (!is_shown && local.at > instant).then(|| Warning::jumped_over(local.wall, at, &local.zone))
}

impl Composed {
    /// Whether its rules would fire within the next year, but excludes and calendars leave none of that.
    fn nothing_left(&self, rule: &Rule, instant: i64) -> Option<Warning> {
        let from = self.start_at.map_or(instant, |start| instant.max(start.saturating_sub(1)));
        let until = from.saturating_add(YEAR_MILLIS);
        let until = self.end_at.map_or(until, |end| until.min(end));
        let would_fire_at = self.include.iter().filter_map(|rule| rule.next(from)).min()?;
        let fires = rule.next(from).is_some_and(|fire| fire < until);
        (would_fire_at < until && !fires).then_some(Warning::NothingLeft { would_fire_at })
    }
}
