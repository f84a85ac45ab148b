//! Small texts: instants, durations, names of resources, values of flags.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::tz::TimeZoneDatabase;

/// The wall clock of this machine in milliseconds since the epoch.
pub(crate) fn now_millis() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
}

/// The instant of a timestamp in milliseconds since the epoch.
pub(crate) fn millis(time: &prost_types::Timestamp) -> i64 {
    time.seconds.saturating_mul(1000).saturating_add(i64::from(time.nanos / 1_000_000))
}

/// The timestamp of an instant.
pub(crate) fn timestamp(millis: i64) -> prost_types::Timestamp {
    let nanos = i32::try_from(millis.rem_euclid(1000) * 1_000_000).expect("below one second");
    prost_types::Timestamp { seconds: millis.div_euclid(1000), nanos }
}

/// The contract's form of a duration.
pub(crate) fn proto_duration(duration: Duration) -> prost_types::Duration {
    prost_types::Duration {
        seconds: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        nanos: i32::try_from(duration.subsec_nanos()).expect("below one second"),
    }
}

/// A duration of the contract in milliseconds.
pub(crate) fn duration_millis(duration: &prost_types::Duration) -> i64 {
    duration.seconds.saturating_mul(1000).saturating_add(i64::from(duration.nanos / 1_000_000))
}

/// `1h30m`; negative durations, which no node sends, become `0s`.
pub(crate) fn duration(duration: &prost_types::Duration) -> String {
    belfry_timing::format_duration(Duration::try_from(*duration).unwrap_or_default())
}

/// A duration for people: its two largest units, `2d3h`, or milliseconds below a second.
pub(crate) fn rough(millis: u64) -> String {
    let units = [(86_400_000, 3_600_000), (3_600_000, 60_000), (60_000, 1000), (1000, 1000)];
    let small = units.iter().find(|(large, _)| millis >= *large).map_or(1, |(_, small)| *small);
    belfry_timing::format_duration(Duration::from_millis(millis / small * small))
}

/// Where an instant lies as seen from `now`: `in 3h5m`, `2d ago`, `now`.
pub(crate) fn relative(instant: i64, now: i64) -> String {
    let distance = instant.abs_diff(now);
    match instant.cmp(&now) {
        _ if distance < 1000 => "now".to_owned(),
        std::cmp::Ordering::Less => format!("{} ago", rough(distance)),
        std::cmp::Ordering::Equal | std::cmp::Ordering::Greater => format!("in {}", rough(distance)),
    }
}

/// An instant by the wall clocks of a zone, with the zone's abbreviation: `Mon 2026-11-23 03:00:00 CET`. None for a zone
/// that does not exist.
pub(crate) fn in_zone(millis: i64, zone: &str) -> Option<String> {
    // The same compiled-in data that fire times are computed with, never the machine's.
    let zone = TimeZoneDatabase::bundled().get(zone).ok()?;
    let instant = jiff::Timestamp::from_millisecond(millis).ok()?;
    Some(instant.to_zoned(zone).strftime("%a %Y-%m-%d %H:%M:%S %Z").to_string())
}

/// At most `max` characters on one line.
pub(crate) fn shortened(text: &str, max: usize) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(max) {
        Some(_) => line.chars().take(max.saturating_sub(1)).chain(['…']).collect(),
        None => line,
    }
}

/// A zone as the contract means it: empty is UTC.
pub(crate) fn zone_or_utc(zone: &str) -> &str {
    if zone.is_empty() { "UTC" } else { zone }
}

/// The last part of a resource name.
pub(crate) fn short_name(name: &str) -> &str {
    name.rsplit('/').next().unwrap_or(name)
}

/// The namespace in a resource name; empty when there is none.
pub(crate) fn namespace_of(name: &str) -> &str {
    name.strip_prefix("namespaces/").and_then(|rest| rest.split('/').next()).unwrap_or("")
}

/// `namespaces/{namespace}/schedules/{name}`, unless `name` is such a name already.
pub(crate) fn schedule_name(namespace: &str, name: &str) -> Result<String, String> {
    let parts: Vec<&str> = name.split('/').collect();
    match parts.as_slice() {
        ["namespaces", _, "schedules", _] => Ok(name.to_owned()),
        [short] if !short.is_empty() => Ok(format!("namespaces/{namespace}/schedules/{short}")),
        _other => Err(format!(
            "{name:?} is not the name of a schedule: write NAME or namespaces/NAMESPACE/schedules/NAME"
        )),
    }
}

/// `namespaces/{namespace}/calendars/{name}`, unless `name` is such a name already.
pub(crate) fn calendar_name(namespace: &str, name: &str) -> Result<String, String> {
    match name.split('/').collect::<Vec<_>>().as_slice() {
        ["namespaces", _, "calendars", _] => Ok(name.to_owned()),
        [short] if !short.is_empty() => Ok(format!("namespaces/{namespace}/calendars/{short}")),
        _other => Err(format!(
            "{name:?} is not the name of a calendar: write NAME or namespaces/NAMESPACE/calendars/NAME"
        )),
    }
}

/// `pools/{name}`, unless `name` is such a name already.
pub(crate) fn pool_name(name: &str) -> Result<String, String> {
    outermost_name("pools", "pool", "POOL", name)
}

/// `namespaces/{name}`, unless `name` is such a name already.
pub(crate) fn namespace_name(name: &str) -> Result<String, String> {
    outermost_name("namespaces", "namespace", "NAMESPACE", name)
}

fn outermost_name(collection: &str, kind: &str, part: &str, name: &str) -> Result<String, String> {
    match name.split('/').collect::<Vec<_>>().as_slice() {
        [first, _] if *first == collection => Ok(name.to_owned()),
        [short] if !short.is_empty() => Ok(format!("{collection}/{short}")),
        _other => Err(format!("{name:?} is not the name of a {kind}: write NAME or {collection}/{part}")),
    }
}

/// `namespaces/{namespace}/schedules/{schedule}/runs/{run}` from `SCHEDULE/RUN` or the name itself.
pub(crate) fn run_name(namespace: &str, name: &str) -> Result<String, String> {
    let parts: Vec<&str> = name.split('/').collect();
    match parts.as_slice() {
        ["namespaces", _, "schedules", _, "runs", _] => Ok(name.to_owned()),
        [schedule, run] if !schedule.is_empty() && !run.is_empty() => {
            Ok(format!("namespaces/{namespace}/schedules/{schedule}/runs/{run}"))
        }
        _other => Err(format!(
            "{name:?} is not the name of a run: write SCHEDULE/RUN as `belfry run list` shows it, or its resource name"
        )),
    }
}

/// A `KEY=VALUE` argument. The empty text is none: it clears the map it would go into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Pair(Option<(String, String)>);

impl Pair {
    /// Reads `KEY=VALUE`.
    pub(crate) fn parse_equals(text: &str) -> Result<Self, String> {
        Self::parse(text, '=', "KEY=VALUE")
    }

    /// Reads `Name: value`.
    pub(crate) fn parse_colon(text: &str) -> Result<Self, String> {
        let Self(pair) = Self::parse(text, ':', "NAME:VALUE")?;
        Ok(Self(pair.map(|(key, value)| (key.trim().to_owned(), value.trim().to_owned()))))
    }

    fn parse(text: &str, sign: char, form: &str) -> Result<Self, String> {
        if text.is_empty() {
            return Ok(Self(None));
        }
        match text.split_once(sign) {
            Some((key, value)) if !key.trim().is_empty() => {
                Ok(Self(Some((key.to_owned(), value.to_owned()))))
            }
            Some(_) | None => Err(format!("write {form}")),
        }
    }

    /// The pairs as a map; the last one of a key wins.
    pub(crate) fn map(pairs: &[Self]) -> BTreeMap<String, String> {
        pairs.iter().filter_map(|Self(pair)| pair.clone()).collect()
    }
}

/// The most that is read of a file: no node can be configured to accept more (limits.payload_bytes_max).
const CONTENT_BYTES_MAX: u64 = 1024 * 1024;

/// Content given on the command line: a text, or `@FILE` for what is in a file.
pub(crate) fn content(argument: &str) -> Result<Vec<u8>, String> {
    let Some(path) = argument.strip_prefix('@') else { return Ok(argument.as_bytes().to_vec()) };
    let mut bytes = Vec::new();
    // One byte more than allowed tells too much from just enough, also where a file has no end.
    let read = File::open(path).and_then(|file| file.take(CONTENT_BYTES_MAX + 1).read_to_end(&mut bytes));
    match read {
        Err(error) => Err(format!("cannot read {path}: {error}")),
        Ok(size) if size as u64 > CONTENT_BYTES_MAX => Err(format!(
            "{path} has more than {CONTENT_BYTES_MAX} bytes, which no node accepts: pass a reference to larger data"
        )),
        Ok(_) => Ok(bytes),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_survive_the_way_to_the_contract_and_back() {
        for instant in [0, 1, -1, 1_795_402_800_250, -1500] {
            assert_eq!(millis(&timestamp(instant)), instant);
        }
    }

    #[test]
    fn durations_read_like_the_flags_that_set_them() {
        assert_eq!(duration(&proto_duration(Duration::from_millis(90_500))), "1m30s500ms");
        assert_eq!(duration(&prost_types::Duration { seconds: -5, nanos: 0 }), "0s");
    }

    #[test]
    fn distances_are_rough() {
        assert_eq!(relative(10_500, 10_000), "now");
        assert_eq!(relative(0, 3_600_000 * 27 + 61_000), "1d3h ago");
        assert_eq!(relative(3_661_999, 0), "in 1h1m");
        assert_eq!(relative(61_999, 0), "in 1m1s");
        assert_eq!(rough(999), "999ms");
        assert_eq!(rough(1_999), "1s");
        assert_eq!(rough(0), "0s");
    }

    #[test]
    fn wall_clocks_name_their_zone() {
        assert_eq!(in_zone(1_795_399_200_000, "Europe/Berlin").unwrap(), "Mon 2026-11-23 03:00:00 CET");
        assert_eq!(in_zone(1_795_399_200_000, "UTC").unwrap(), "Mon 2026-11-23 02:00:00 UTC");
        assert_eq!(in_zone(0, "Europe/Berlim"), None);
    }

    #[test]
    fn names_may_be_short_or_whole() {
        let whole = "namespaces/a/schedules/b";
        assert_eq!(schedule_name("x", whole).unwrap(), whole);
        assert_eq!(schedule_name("x", "b").unwrap(), "namespaces/x/schedules/b");
        assert!(schedule_name("x", "b/c").is_err() && schedule_name("x", "").is_err());
        assert_eq!(run_name("x", "b/r").unwrap(), "namespaces/x/schedules/b/runs/r");
        assert_eq!(run_name("x", &format!("{whole}/runs/r")).unwrap(), format!("{whole}/runs/r"));
        assert!(run_name("x", "b").is_err() && run_name("x", whole).is_err());
        assert_eq!((namespace_of(whole), short_name(whole)), ("a", "b"));
    }

    #[test]
    fn pairs_split_at_the_first_sign_and_nothing_clears() {
        let pairs = [Pair::parse_equals("a=b=c").unwrap(), Pair::parse_equals("").unwrap()];
        assert_eq!(Pair::map(&pairs), BTreeMap::from([("a".to_owned(), "b=c".to_owned())]));
        assert_eq!(
            Pair::map(&[Pair::parse_colon("Accept: */*").unwrap()]),
            BTreeMap::from([("Accept".to_owned(), "*/*".to_owned())])
        );
        assert!(Pair::parse_equals("a").is_err() && Pair::parse_equals("=b").is_err());
    }

    #[test]
    fn long_texts_are_cut() {
        assert_eq!(shortened("a\n  b", 10), "a b");
        assert_eq!(shortened("abcdef", 4), "abc…");
        assert_eq!(shortened("abcd", 4), "abcd");
    }

    #[test]
    fn content_of_files_has_a_limit() {
        assert_eq!(content("text").unwrap(), b"text");
        assert!(content("@/dev/zero").unwrap_err().contains("more than 1048576 bytes"));
        assert!(content("@/dev/null/none").unwrap_err().starts_with("cannot read /dev/null/none: "));
    }
}
