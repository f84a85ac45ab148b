//! Pages of lists: sizes, and tokens that only their own list takes back.
//!
//! - PAGE-1: a token is opaque to clients, says its version, and is bound to the list (method and parameters) that gave it
//!   out; any other text is refused, never guessed at.

use std::fmt::Write as _;

use belfry_core::object::ObjectName;
use belfry_core::run::Series;
use belfry_core::{BackfillId, RunId, ScheduleId, ScheduleKey, UnixMillis};
use xxhash_rust::xxh3::xxh3_64;

use super::violations::{INVALID_PAGE_TOKEN, Violations};

/// Where a page of a list begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// At the schedule of this name, or the one after it.
    Schedule(ScheduleKey),
    /// Before this row of a schedule, by instant.
    Row(ScheduleId, UnixMillis, Series),
    /// Before this row, by creation.
    Run(RunId),
    /// At the calendar, pool or namespace of this name, or the one after it.
    Object(ObjectName),
    /// In a report of this range: at this schedule, before this row of it.
    Report { range: (UnixMillis, UnixMillis), schedule: ScheduleId, before: Option<(UnixMillis, Series)> },
}

/// A page takes no more items than this many bytes: other clients than ours accept 4 MiB by default.
pub(super) const PAGE_BYTES_MAX: usize = 2 * 1024 * 1024;

const VERSION: &str = "1";
const PAGE_SIZE_DEFAULT: usize = 100;

/// The number of items of a page. Too many are lowered to what there is, as is customary.
pub(super) fn size(asked: i32, max: usize, found: &mut Violations) -> usize {
    match usize::try_from(asked) {
        Ok(0) => PAGE_SIZE_DEFAULT.min(max),
        Ok(size) => size.min(max),
        Err(_) => {
            found.add("page_size", "must not be negative");
            max
        }
    }
}

/// The token of a place in the list of these parameters.
pub(super) fn token(list: &str, place: &Place) -> String {
    let text = match place {
        Place::Schedule(key) => format!("s/{}/{}", key.namespace, key.name),
        Place::Row(schedule, at, series) => format!("r/{schedule}/{}/{}", at.0, series_text(*series)),
        Place::Run(run) => format!("c/{run}"),
        Place::Object(ObjectName::Calendar(key)) => format!("k/{}/{}", key.namespace, key.name),
        Place::Object(ObjectName::Pool(name)) => format!("p/{name}"),
        Place::Object(ObjectName::Namespace(name)) => format!("n/{name}"),
        Place::Report { range: (from, to), schedule, before } => {
            let before =
                before.map_or_else(String::new, |(at, series)| format!("/{}/{}", at.0, series_text(series)));
            format!("e/{}/{}/{schedule}{before}", from.0, to.0)
        }
    };
    let text = format!("{VERSION}/{:016x}/{text}", seal(list, &text));
    let mut token = String::with_capacity(text.len() * 2);
    for byte in text.bytes() {
        write!(token, "{byte:02x}").expect("writing to a string cannot fail");
    }
    token
}

/// The place of a token; none of an empty one: the list begins at its beginning.
pub(super) fn place(list: &str, token: &str, found: &mut Violations) -> Option<Place> {
    if token.is_empty() {
        return None;
    }
    let place = read(list, token);
    if place.is_none() {
        let why =
            "is not a token of this list: pass next_page_token back as it came, with the same parameters";
        found.add_for("page_token", why, INVALID_PAGE_TOKEN);
    }
    place
}

fn read(list: &str, token: &str) -> Option<Place> {
    let digit = |digit: u8| char::from(digit).to_digit(16).filter(|_| !digit.is_ascii_uppercase());
    let byte = |pair: &[u8]| u8::try_from(digit(pair[0])? * 16 + digit(*pair.get(1)?)?).ok();
    let bytes: Option<Vec<u8>> = token.as_bytes().chunks(2).map(byte).collect();
    let text = String::from_utf8(bytes?).ok()?;
    let (sealed, text) = text.strip_prefix(VERSION)?.strip_prefix('/')?.split_once('/')?;
    if sealed != format!("{:016x}", seal(list, text)) {
        return None;
    }
    match text.split('/').collect::<Vec<_>>().as_slice() {
        ["s", namespace, name] => Some(Place::Schedule(ScheduleKey::new(*namespace, *name))),
        ["r", schedule, at, series] => {
            Some(Place::Row(ScheduleId(schedule.parse().ok()?), instant(at)?, read_series(series)?))
        }
        ["k", namespace, name] => {
            Some(Place::Object(ObjectName::Calendar(ScheduleKey::new(*namespace, *name))))
        }
        ["p", name] => Some(Place::Object(ObjectName::Pool((*name).into()))),
        ["n", name] => Some(Place::Object(ObjectName::Namespace((*name).into()))),
        ["c", run] => Some(Place::Run(RunId(run.parse().ok()?))),
        ["e", from, to, schedule, before @ ..] => {
            let before = match before {
                [] => None,
                [at, series] => Some((instant(at)?, read_series(series)?)),
                _ => return None,
            };
            let (range, schedule) = ((instant(from)?, instant(to)?), ScheduleId(schedule.parse().ok()?));
            Some(Place::Report { range, schedule, before })
        }
        _ => None,
    }
}

fn instant(text: &str) -> Option<UnixMillis> {
    text.parse().ok().map(UnixMillis)
}

fn series_text(series: Series) -> String {
    match series {
        Series::Timing => "0".to_owned(),
        Series::Manual => "1".to_owned(),
        Series::Backfill(id) => format!("b{id}"),
    }
}

fn read_series(text: &str) -> Option<Series> {
    match text {
        "0" => Some(Series::Timing),
        "1" => Some(Series::Manual),
        backfill => Some(Series::Backfill(BackfillId(backfill.strip_prefix('b')?.parse().ok()?))),
    }
}

/// Binds a token to its list. Not a secret: a forged token reads nothing that its forger could not list.
fn seal(list: &str, text: &str) -> u64 {
    xxh3_64(format!("{list}\n{text}").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places() -> [Place; 10] {
        let range = (UnixMillis(-5), UnixMillis(7));
        let before = Some((UnixMillis(6), Series::Backfill(BackfillId(3))));
        [
            Place::Schedule(ScheduleKey::new("a", "b-c.d")),
            Place::Row(ScheduleId(7), UnixMillis(-5), Series::Manual),
            Place::Row(ScheduleId(7), UnixMillis(5), Series::Backfill(BackfillId(3))),
            Place::Row(ScheduleId(7), UnixMillis(1_795_399_200_000), Series::Timing),
            Place::Run(RunId(u64::MAX)),
            Place::Object(ObjectName::Calendar(ScheduleKey::new("a", "b"))),
            Place::Object(ObjectName::Pool("p".into())),
            Place::Object(ObjectName::Namespace("n".into())),
            Place::Report { range, schedule: ScheduleId(4), before: None },
            Place::Report { range, schedule: ScheduleId(4), before },
        ]
    }

    fn taken(list: &str, token: &str) -> (Option<Place>, usize) {
        let mut found = Violations::default();
        let place = place(list, token, &mut found);
        assert!(found.all().iter().all(|one| one.reason == INVALID_PAGE_TOKEN && one.field == "page_token"));
        (place, found.all().len())
    }

    #[test]
    fn a_token_leads_back_to_its_place() {
        for place in places() {
            assert_eq!(taken("list", &token("list", &place)), (Some(place), 0));
        }
        assert_eq!(taken("list", ""), (None, 0));
    }

    #[test]
    fn other_texts_are_refused() {
        let good = token("list", &places()[0]);
        assert_eq!(taken("another list", &good), (None, 1));
        let mut others =
            vec!["x".to_owned(), "00".into(), good.to_uppercase(), format!("{good}0"), "é".into()];
        for cut in 1..good.len() {
            others.push(good[..cut].to_owned());
            let mut bent = good.clone().into_bytes();
            bent[cut] = if bent[cut] == b'0' { b'1' } else { b'0' };
            others.push(String::from_utf8(bent).unwrap());
        }
        for other in others {
            assert_eq!(taken("list", &other), (None, 1), "PAGE-1: {other}");
        }
    }

    #[test]
    fn sizes_have_a_default_and_a_limit() {
        let mut found = Violations::default();
        assert_eq!([0, 5, 5000].map(|asked| size(asked, 1000, &mut found)), [100, 5, 1000]);
        assert_eq!(size(0, 10, &mut found), 10);
        assert!(found.all().is_empty());
        size(-1, 10, &mut found);
        assert_eq!(found.all().len(), 1);
    }
}
