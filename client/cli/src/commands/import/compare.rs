//! The fires of a plan by the rules of where it came from against those it will have here.
//!
//! Compared are the next ones, and those around every change of the zone's clocks within a year: most surprises of an import
//! wait for the last Sunday in March.
//!
//! - COMPARE-1: every comparison looks at a bounded number of fires.

use belfry_timing::Timing;
use jiff::Timestamp;
use serde::Serialize;

use super::dialect::{self, Source};
use crate::output::view::Instant;

/// Fires that are compared from now on.
const FIRES_COMPARED: usize = 30;
/// The fires around one change of the clocks: those of every minute of two days, and some of every second.
const FIRES_AROUND_CHANGE: usize = 3000;
/// Around a change of the clocks: gaps and repeated hours lie within, and the day before and after.
const AROUND_CHANGE_MILLIS: i64 = 26 * 3_600_000;
/// Both changes of the year, and the next one of the first.
const YEAR_MILLIS: i64 = 400 * 86_400_000;
/// Beyond, tables of zones are guesses and most sources stop searching.
const HORIZON_MILLIS: i64 = 5 * 366 * 86_400_000;
/// Differences shown per schedule: one shows what is wrong, thirty show the pattern.
const DIFFERENCES_MAX: usize = 30;
/// A fire lost here and one won there within this time are one that moved.
const MOVED_MILLIS: i64 = 2 * 3_600_000;

/// What became of one instant.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub(super) enum Difference {
    /// It fires there and not here.
    Missing { there: Instant, reason: String },
    /// It fires here and not there.
    Extra { here: Instant, reason: String },
    /// It fires at both places, at different times.
    Moved { there: Instant, here: Instant, reason: String },
}

impl Difference {
    pub(super) fn reason(&self) -> &str {
        match self {
            Difference::Missing { reason, .. }
            | Difference::Extra { reason, .. }
            | Difference::Moved { reason, .. } => reason,
        }
    }
}

impl std::fmt::Display for Difference {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Difference::Missing { there, .. } => write!(f, "{there} there, not here"),
            Difference::Extra { here, .. } => write!(f, "{here} here, not there"),
            Difference::Moved { there, here, .. } => write!(f, "{there} there, {here} here"),
        }
    }
}

/// When a plan fires here: a timing between two instants.
#[derive(Clone, Debug)]
pub(super) struct Fires {
    pub(super) timing: Timing,
    pub(super) start: Option<i64>,
    pub(super) end: Option<i64>,
}

impl Fires {
    /// The first one strictly after `after`.
    pub(super) fn next(&self, after: i64) -> Option<i64> {
        let after = self.start.map_or(after, |start| after.max(start - 1));
        self.timing.next(after).filter(|fire| self.end.is_none_or(|end| *fire < end))
    }
}

/// What differs from `now` on.
pub(super) fn compare(there: &Source, here: &Fires, zone: &str, now: i64) -> Vec<Difference> {
    let changes = changes_of(zone, now);
    let mut differences = differences_within(there, here, (now, now + HORIZON_MILLIS), FIRES_COMPARED);
    for change in &changes {
        let window = ((change - AROUND_CHANGE_MILLIS).max(now), change + AROUND_CHANGE_MILLIS);
        differences.extend(differences_within(there, here, window, FIRES_AROUND_CHANGE));
    }
    differences.sort_unstable();
    differences.dedup();
    explained(&differences, &changes, zone)
}

/// A fire there and a fire here; one of them may be missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Pair {
    at: i64,
    there: Option<i64>,
    here: Option<i64>,
}

/// Both lists until the shorter one ends, merged.
fn differences_within(there: &Source, here: &Fires, (after, until): (i64, i64), count: usize) -> Vec<Pair> {
    // The bounds of a schedule are the same at both places.
    let after = here.start.map_or(after, |start| after.max(start - 1));
    let until = here.end.map_or(until, |end| until.min(end - 1));
    let theirs = there.fires(after, until, count);
    let ours = std::iter::successors(here.next(after), |fire| here.next(*fire));
    let ours: Vec<i64> = ours.take_while(|fire| *fire <= until).take(count).collect();
    let known_until = |fires: &[i64]| match fires.last() {
        Some(last) if fires.len() == count => *last,
        Some(_) | None => until,
    };
    let until = known_until(&theirs).min(known_until(&ours));
    let only = |fires: &[i64], others: &[i64]| -> Vec<i64> {
        let alone = fires.iter().filter(|fire| **fire <= until && others.binary_search(fire).is_err());
        alone.copied().collect()
    };
    paired(&only(&theirs, &ours), &only(&ours, &theirs))
}

fn paired(missing: &[i64], extra: &[i64]) -> Vec<Pair> {
    let mut extra = extra.to_vec();
    let mut pairs = Vec::new();
    for there in missing {
        let near = extra.iter().position(|here| here.abs_diff(*there) <= MOVED_MILLIS.unsigned_abs());
        let here = near.map(|index| extra.remove(index));
        pairs.push(Pair { at: *there, there: Some(*there), here });
    }
    pairs.extend(extra.into_iter().map(|here| Pair { at: here, there: None, here: Some(here) }));
    pairs.sort_unstable();
    pairs
}

fn explained(pairs: &[Pair], changes: &[i64], zone: &str) -> Vec<Difference> {
    let pairs = pairs.iter().take(DIFFERENCES_MAX);
    let explained = pairs.filter_map(|pair| {
        let near =
            changes.iter().find(|change| pair.at.abs_diff(**change) <= AROUND_CHANGE_MILLIS.unsigned_abs());
        let reason = match near {
            Some(change) => format!("the clocks of {zone} change at {}", Instant(*change)),
            None => "the expression is read otherwise".to_owned(),
        };
        match (pair.there, pair.here) {
            (Some(there), Some(here)) => {
                Some(Difference::Moved { there: Instant(there), here: Instant(here), reason })
            }
            (Some(there), None) => Some(Difference::Missing { there: Instant(there), reason }),
            (None, Some(here)) => Some(Difference::Extra { here: Instant(here), reason }),
            (None, None) => None,
        }
    });
    explained.collect()
}

/// When the clocks of a zone change within a year, in milliseconds.
fn changes_of(zone: &str, now: i64) -> Vec<i64> {
    let Some(zone) = dialect::zone(zone) else { return Vec::new() };
    let Ok(from) = Timestamp::from_millisecond(now) else { return Vec::new() };
    let changes = zone.following(from).map(|change| change.timestamp().as_millisecond());
    // Two per year in almost all zones; Morocco has four.
    changes.take_while(|change| *change <= now.saturating_add(YEAR_MILLIS)).take(8).collect()
}

#[cfg(test)]
mod tests {
    use belfry_timing::{HashSeed, NeverFiring, TimeZone, parse_time};

    use super::super::dialect::{robfig, vixie};
    use super::*;

    /// Compares what robfig and Belfry make of an expression.
    fn robfig_against(theirs: &str, ours: &str, zone: &str, now: &str) -> Vec<String> {
        let expression = robfig::Expression::parse(theirs, robfig::Seconds::None).unwrap();
        let source = Source::Robfig(Box::new(expression), dialect::zone(zone).unwrap());
        against(&source, ours, zone, now)
    }

    fn against(source: &Source, ours: &str, zone: &str, now: &str) -> Vec<String> {
        let now = parse_time(now, &TimeZone::utc()).unwrap();
        let tz = TimeZone::parse(zone).unwrap();
        let timing = Timing::parse_cron(ours, &tz, NeverFiring::Allow, &HashSeed::new("", "")).unwrap();
        let differences = compare(source, &Fires { timing, start: None, end: None }, zone, now);
        differences.iter().map(|difference| format!("{difference}: {}", difference.reason())).collect()
    }

    #[test]
    fn odd_days_are_found_though_they_are_months_away() {
        assert_eq!(
            robfig_against("30 2 * * *", "30 2 * * *", "Europe/Berlin", "2026-11-25T00:00:00Z"),
            [
                "2027-03-28T01:00:00Z here, not there: the clocks of Europe/Berlin change at 2027-03-28T01:00:00Z",
                "2027-10-31T01:30:00Z there, not here: the clocks of Europe/Berlin change at 2027-10-31T01:00:00Z",
            ]
        );
        for expression in ["30 3 * * *", "*/10 * * * *", "*/10 2 * * *", "0 9-17 * * mon-fri"] {
            let found = robfig_against(expression, expression, "Europe/Berlin", "2026-11-25T00:00:00Z");
            assert!(found.is_empty(), "{expression}: {found:?}");
        }
    }

    #[test]
    fn day_rules_differ_unless_they_are_written_out() {
        let now = "2026-11-23T12:00:00Z";
        assert_eq!(robfig_against("0 3 */2 * TUE", "0 3 */2 * TUE", "UTC", now).len(), 26);
        assert!(robfig_against("0 3 */2 * TUE", "0 3 1-31/2 * TUE", "UTC", now).is_empty());
    }

    #[test]
    fn what_cron_does_is_what_belfry_does() {
        let zones = [
            "Europe/Berlin",
            "America/New_York",
            "Australia/Lord_Howe",
            "Africa/Cairo",
            "America/Havana",
            "UTC",
        ];
        let expressions = [
            "30 2 * * *",
            "*/20 2 * * *",
            "15,45 0-3 * * *",
            "0 3 1 * MON",
            "0 3 */2 * 1-5",
            "@daily",
            "@weekly",
            "*/7 * * * *",
            "30 */2 * * *",
            "0 0 29 2 *",
            "0 0 * * 7",
        ];
        for (zone, expression) in zones.iter().flat_map(|zone| expressions.map(|text| (*zone, text))) {
            let cron = vixie::Expression::parse(expression).unwrap();
            let source = Source::Vixie(cron, dialect::zone(zone).unwrap());
            let found = against(&source, expression, zone, "2026-11-25T00:00:00Z");
            assert!(found.is_empty(), "{zone} {expression}: {found:?}");
        }
    }
}
