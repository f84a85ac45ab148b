//! Resource names: `namespaces/{namespace}/schedules/{schedule}/runs/{run}`.
//!
//! A run's id is its nominal time in UTC, `20261123T020000Z` or `20261123T020000.123Z`, with `-manual` behind it where
//! somebody triggered or resumed it, and `-backfill7` where the seventh backfill of the cluster made it.
//!
//! - NAME-1: each thing has exactly one name: a text that parses is the text that would be written.

use std::fmt;

use belfry_core::run::Series;
use belfry_core::{BackfillId, Run, Schedule, ScheduleKey, UnixMillis};
use jiff::{Timestamp, tz::Offset};
use thiserror::Error;

/// Stands for all in lists.
pub const WILDCARD: &str = "-";

const MANUAL: &str = "-manual";
const BACKFILL: &str = "-backfill";

/// Why a text is no name.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NameError {
    /// Other words or another number of parts.
    #[error("`{text}` is not of the form {form}")]
    Form {
        /// The text, cut if it is long.
        text: String,
        /// What was expected.
        form: &'static str,
    },
    /// A part that is too long.
    #[error("the {part} has {bytes} bytes: at most {max} are accepted")]
    TooLong {
        /// Which part.
        part: &'static str,
        /// Its length.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// A part with other characters.
    #[error(
        "the {part} `{text}` may have letters, digits, `-`, `_` and `.` only, and neither be `-` nor begin with `.`"
    )]
    Characters {
        /// Which part.
        part: &'static str,
        /// As given, cut if it is long.
        text: String,
    },
    /// Not the id of a run.
    #[error(
        "`{text}` is not the id of a run: write its nominal time in UTC, as in 20261123T020000Z, with -manual behind it if it was triggered, or -backfill7 if backfill 7 made it"
    )]
    Run {
        /// As given, cut if it is long.
        text: String,
    },
}

/// The id of a run within its schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunKey {
    /// Its nominal time.
    pub nominal_at: UnixMillis,
    /// The part of the ledger that it is in.
    pub series: Series,
}

/// The part of a name that is checked against `max` bytes.
pub fn check_segment(part: &'static str, text: &str, max: usize) -> Result<(), NameError> {
    if text.len() > max {
        return Err(NameError::TooLong { part, bytes: text.len(), max });
    }
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if text.is_empty() || text == WILDCARD || text.starts_with('.') || !text.bytes().all(fits) {
        return Err(NameError::Characters { part, text: cut(text) });
    }
    Ok(())
}

/// Reads `namespaces/{namespace}`.
pub fn parse_namespace(text: &str, max: usize) -> Result<&str, NameError> {
    let [namespace] = parts(text, ["namespaces"], "namespaces/{namespace}")?;
    check_segment("namespace", namespace, max)?;
    Ok(namespace)
}

/// Reads `namespaces/{namespace}` or `namespaces/-`, which is none.
pub fn parse_namespaces(text: &str, max: usize) -> Result<Option<&str>, NameError> {
    let [namespace] = parts(text, ["namespaces"], "namespaces/{namespace}")?;
    segment_or_all("namespace", namespace, max)
}

/// Reads `namespaces/{namespace}/schedules/{schedule}`.
pub fn parse_schedule(text: &str, max: usize) -> Result<ScheduleKey, NameError> {
    let [namespace, name] = parts(text, ["namespaces", "schedules"], SCHEDULE_FORM)?;
    schedule_key(namespace, name, max)
}

/// Reads `namespaces/{namespace}/calendars/{calendar}`.
pub fn parse_calendar(text: &str, max: usize) -> Result<ScheduleKey, NameError> {
    let form = "namespaces/{namespace}/calendars/{calendar}";
    let [namespace, name] = parts(text, ["namespaces", "calendars"], form)?;
    check_segment("namespace", namespace, max)?;
    check_segment("calendar", name, max)?;
    Ok(ScheduleKey::new(namespace, name))
}

/// Reads `pools/{pool}`.
pub fn parse_pool(text: &str, max: usize) -> Result<&str, NameError> {
    let [pool] = parts(text, ["pools"], "pools/{pool}")?;
    check_segment("pool", pool, max)?;
    Ok(pool)
}

/// Reads `namespaces/{namespace}/schedules/{schedule}/backfills/{number}`.
pub fn parse_backfill(text: &str, max: usize) -> Result<(ScheduleKey, BackfillId), NameError> {
    let form = "namespaces/{namespace}/schedules/{schedule}/backfills/{number}";
    let [namespace, name, number] = parts(text, ["namespaces", "schedules", "backfills"], form)?;
    let id = number.parse().ok().filter(|id: &u64| id.to_string() == number);
    let id = id.ok_or_else(|| NameError::Form { text: cut(text), form })?;
    Ok((schedule_key(namespace, name, max)?, BackfillId(id)))
}

/// Reads `namespaces/{namespace}/schedules/{schedule}`, where `-` stands for all schedules of the namespace, or of all
/// namespaces in `namespaces/-/schedules/-`.
pub fn parse_schedules(text: &str, max: usize) -> Result<(Option<&str>, Option<&str>), NameError> {
    let [namespace, name] = parts(text, ["namespaces", "schedules"], SCHEDULE_FORM)?;
    let namespace = segment_or_all("namespace", namespace, max)?;
    let name = segment_or_all("schedule", name, max)?;
    if namespace.is_none() && name.is_some() {
        return Err(NameError::Form { text: cut(text), form: "namespaces/-/schedules/-" });
    }
    Ok((namespace, name))
}

/// Reads `namespaces/{namespace}/schedules/{schedule}/runs/{run}`.
pub fn parse_run(text: &str, max: usize) -> Result<(ScheduleKey, RunKey), NameError> {
    let [namespace, name, run] = parts(
        text,
        ["namespaces", "schedules", "runs"],
        "namespaces/{namespace}/schedules/{schedule}/runs/{run}",
    )?;
    let run = parse_run_id(run).ok_or_else(|| NameError::Run { text: cut(run) })?;
    Ok((schedule_key(namespace, name, max)?, run))
}

/// The name of a schedule.
pub fn schedule_name(key: &ScheduleKey) -> String {
    format!("namespaces/{}/schedules/{}", key.namespace, key.name)
}

/// The name of a calendar.
pub fn calendar_name(key: &ScheduleKey) -> String {
    format!("namespaces/{}/calendars/{}", key.namespace, key.name)
}

/// The name of a pool.
pub fn pool_name(pool: &str) -> String {
    format!("pools/{pool}")
}

/// The name of a namespace.
pub fn namespace_name(namespace: &str) -> String {
    format!("namespaces/{namespace}")
}

/// The name of a backfill.
pub fn backfill_name(key: &ScheduleKey, id: BackfillId) -> String {
    format!("{}/backfills/{id}", schedule_name(key))
}

/// The name of a run.
pub fn run_name(key: &ScheduleKey, run: &Run) -> String {
    RunIds::default().name(key, run)
}

/// The same for every attempt of a run, and never for another one.
pub fn idempotency_key(schedule: &Schedule, run: &Run) -> String {
    RunIds::default().idempotency_key(schedule, run)
}

impl From<&Run> for RunKey {
    fn from(run: &Run) -> Self {
        Self { nominal_at: run.nominal_at, series: run.series() }
    }
}

/// Names many runs: those of one instant, as a storm has them, have one id, and that is written once.
#[derive(Default)]
pub struct RunIds {
    last: Option<(RunKey, String)>,
}

impl RunIds {
    /// See [`run_name`].
    pub fn name(&mut self, key: &ScheduleKey, run: &Run) -> String {
        ["namespaces/", &key.namespace, "/schedules/", &key.name, "/runs/", self.of(run.into())].concat()
    }

    /// See [`idempotency_key`].
    pub fn idempotency_key(&mut self, schedule: &Schedule, run: &Run) -> String {
        let id = self.of(run.into());
        schedule.uid.with_text(|uid| [uid, "-", id].concat())
    }

    fn of(&mut self, key: RunKey) -> &str {
        let last = self.last.take().filter(|(last, _)| *last == key);
        &self.last.insert(last.unwrap_or_else(|| (key, RunIdText(key).to_string()))).1
    }
}

const SCHEDULE_FORM: &str = "namespaces/{namespace}/schedules/{schedule}";

/// A run as the last segment of its name.
struct RunIdText(RunKey);

impl fmt::Display for RunIdText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(RunKey { nominal_at, series }) = self;
        let at = Timestamp::from_millisecond(nominal_at.0).map(|instant| Offset::UTC.to_datetime(instant));
        match at {
            Ok(at) if at.year() >= 0 => {
                let date = i32::from(at.year()) * 10_000 + i32::from(at.month()) * 100 + i32::from(at.day());
                let time =
                    i32::from(at.hour()) * 10_000 + i32::from(at.minute()) * 100 + i32::from(at.second());
                write!(f, "{date:08}T{time:06}")?;
                match nominal_at.0.rem_euclid(1000) {
                    0 => f.write_str("Z")?,
                    millis => write!(f, ".{millis:03}Z")?,
                }
            }
            // Timings begin in 1970 and end with the year 2100; only a proposer with a broken clock comes here.
            Ok(_) | Err(_) => write!(f, "{}ms", nominal_at.0)?,
        }
        match series {
            Series::Timing => Ok(()),
            Series::Manual => f.write_str(MANUAL),
            Series::Backfill(id) => write!(f, "{BACKFILL}{id}"),
        }
    }
}

fn parse_run_id(text: &str) -> Option<RunKey> {
    let (time, series) = match (text.strip_suffix(MANUAL), text.split_once(BACKFILL)) {
        (Some(time), _) => (time, Series::Manual),
        (None, Some((time, id))) => (time, Series::Backfill(BackfillId(id.parse().ok()?))),
        (None, None) => (text, Series::Timing),
    };
    let (whole, millis) = match time.strip_suffix('Z')?.split_once('.') {
        Some((whole, millis)) => (whole, millis.parse::<u16>().ok()?),
        None => (time.strip_suffix('Z')?, 0),
    };
    let instant = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%S", whole).ok()?;
    let instant = Offset::UTC.to_timestamp(instant).ok()?;
    let nominal_at = UnixMillis(instant.as_second() * 1000 + i64::from(millis));
    let key = RunKey { nominal_at, series };
    // NAME-1: `.000`, a sign or a leap second would be second names of the same run.
    (RunIdText(key).to_string() == text).then_some(key)
}

fn schedule_key(namespace: &str, name: &str, max: usize) -> Result<ScheduleKey, NameError> {
    check_segment("namespace", namespace, max)?;
    check_segment("schedule", name, max)?;
    Ok(ScheduleKey::new(namespace, name))
}

fn segment_or_all<'a>(part: &'static str, text: &'a str, max: usize) -> Result<Option<&'a str>, NameError> {
    if text == WILDCARD {
        return Ok(None);
    }
    check_segment(part, text, max)?;
    Ok(Some(text))
}

/// The values behind the collection words.
fn parts<'a, const N: usize>(
    text: &'a str,
    collections: [&str; N],
    form: &'static str,
) -> Result<[&'a str; N], NameError> {
    let mut rest = text.split('/');
    let mut values = [""; N];
    for (value, collection) in values.iter_mut().zip(collections) {
        match (rest.next(), rest.next()) {
            (Some(found), Some(next)) if found == collection => *value = next,
            (_, _) => return Err(NameError::Form { text: cut(text), form }),
        }
    }
    if rest.next().is_some() {
        return Err(NameError::Form { text: cut(text), form });
    }
    Ok(values)
}

/// Enough of a text to recognise it in a message.
fn cut(text: &str) -> String {
    text.chars().take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 16;

    #[test]
    fn runs_are_named_by_their_instant() {
        for (millis, series, id) in [
            (1_795_399_200_000, Series::Timing, "20261123T020000Z"),
            (1_795_399_200_123, Series::Timing, "20261123T020000.123Z"),
            (1_795_399_200_007, Series::Manual, "20261123T020000.007Z-manual"),
            (0, Series::Manual, "19700101T000000Z-manual"),
            (0, Series::Backfill(BackfillId(7)), "19700101T000000Z-backfill7"),
        ] {
            let key = RunKey { nominal_at: UnixMillis(millis), series };
            assert_eq!(RunIdText(key).to_string(), id);
            assert_eq!(parse_run_id(id), Some(key), "{id}");
        }
        let before_christ = RunKey { nominal_at: UnixMillis(-62_200_000_000_000), series: Series::Timing };
        assert_eq!(RunIdText(before_christ).to_string(), "-62200000000000ms");
        let broken = RunKey { nominal_at: UnixMillis(i64::MAX), series: Series::Timing };
        assert_eq!(RunIdText(broken).to_string(), "9223372036854775807ms");
    }

    #[test]
    fn one_of_many_has_the_name_that_it_has_alone() {
        let mut ids = RunIds::default();
        let backfill = |number| Series::Backfill(BackfillId(number));
        for (millis, series, id) in [
            (0, Series::Timing, "19700101T000000Z"),
            (0, Series::Timing, "19700101T000000Z"),
            (0, Series::Manual, "19700101T000000Z-manual"),
            (0, backfill(7), "19700101T000000Z-backfill7"),
            (0, backfill(8), "19700101T000000Z-backfill8"),
            (0, Series::Timing, "19700101T000000Z"),
            (1, Series::Timing, "19700101T000000.001Z"),
        ] {
            assert_eq!(ids.of(RunKey { nominal_at: UnixMillis(millis), series }), id);
        }
    }

    #[test]
    fn each_run_has_one_name() {
        for id in [
            "",
            "Z",
            "20261123T020000",
            "20261123T020000.000Z",
            "20261123T020000.12Z",
            "20261123T020000.+12Z",
            "20261123T020060Z",
            "20261123T020000z",
            "20261123T020000Z-manual-manual",
            "20261123T020000Z-backfill",
            "20261123T020000Z-backfill07",
            "20261123T020000Z-backfill7-manual",
            "2026-11-23T02:00:00Z",
            "+20261123T020000Z",
            "9223372036854775807ms",
        ] {
            assert_eq!(parse_run_id(id), None, "{id}");
        }
    }

    #[test]
    fn names_are_read_and_written() {
        let (key, run) = parse_run("namespaces/a.b/schedules/c-d_1/runs/20261123T020000Z", MAX).unwrap();
        assert_eq!(key, ScheduleKey::new("a.b", "c-d_1"));
        assert_eq!(run.nominal_at, UnixMillis(1_795_399_200_000));
        assert_eq!(parse_schedule(&schedule_name(&key), MAX).unwrap(), key);
        assert_eq!(parse_namespaces("namespaces/-", MAX), Ok(None));
        assert_eq!(parse_namespaces("namespaces/a", MAX), Ok(Some("a")));
        assert_eq!(parse_schedules("namespaces/a/schedules/-", MAX), Ok((Some("a"), None)));
        assert_eq!(parse_schedules("namespaces/-/schedules/-", MAX), Ok((None, None)));
    }

    #[test]
    fn refusals_say_which_part_and_what_would_do() {
        let refused = |text: &str| parse_schedule(text, MAX).unwrap_err().to_string();
        assert_eq!(
            refused("schedules/a"),
            "`schedules/a` is not of the form namespaces/{namespace}/schedules/{schedule}"
        );
        assert_eq!(
            refused("namespaces/a/schedules/12345678901234567"),
            "the schedule has 17 bytes: at most 16 are accepted"
        );
        for text in [
            "namespaces//schedules/a",
            "namespaces/-/schedules/a",
            "namespaces/.a/schedules/a",
            "namespaces/é/schedules/a",
        ] {
            assert!(refused(text).starts_with("the namespace `"), "{text}: {}", refused(text));
        }
        for text in [
            "",
            "namespaces",
            "namespaces/a",
            "namespaces/a/schedules",
            "namespaces/a/schedules/b/runs",
            "x/a/schedules/b",
        ] {
            assert!(refused(text).contains("is not of the form"), "{text}");
        }
        assert!(parse_schedules("namespaces/-/schedules/a", MAX).is_err());
        assert!(
            parse_run("namespaces/a/schedules/b/runs/now", MAX)
                .unwrap_err()
                .to_string()
                .starts_with("`now` is not the id")
        );
    }
}
