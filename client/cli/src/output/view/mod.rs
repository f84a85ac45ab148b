//! The messages of the contract as documents and table rows.

mod backfill;
mod calendar;
mod cluster;
mod executor;
mod member;
mod namespace;
mod policies;
mod pool;
mod report;
mod run;
mod schedule;
mod target;
mod timing;

pub(crate) use backfill::BackfillView;
pub(crate) use calendar::{CalendarView, Span};
pub(crate) use cluster::ClusterView;
pub(crate) use executor::ExecutorView;
pub(crate) use member::MemberView;
pub(crate) use namespace::NamespaceView;
pub(crate) use pool::PoolView;
pub(crate) use report::{DiscrepancyView, ScheduleReportView};
pub(crate) use run::{RunView, reason_in_words};
pub(crate) use schedule::ScheduleView;
pub(crate) use timing::{RuleView, TimingView};

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::{Serialize, Serializer};

use crate::output::Cell;
use crate::text;

/// An instant, written as RFC 3339.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Instant(pub(crate) i64);

impl Instant {
    /// The instant of a field that may be absent.
    pub(crate) fn of(time: Option<&prost_types::Timestamp>) -> Option<Self> {
        time.map(|time| Self(text::millis(time)))
    }
}

impl std::fmt::Display for Instant {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&belfry_timing::format_time(self.0))
    }
}

impl Serialize for Instant {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Bytes under the name of their field: as text, or as base64 under `{field}_base64` (OUT-2). Absent when empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub(crate) struct Content(BTreeMap<String, String>);

impl Content {
    pub(crate) fn of(field: &str, bytes: &[u8]) -> Self {
        let entry = match std::str::from_utf8(bytes) {
            Ok("") => None,
            Ok(text) => Some((field.to_owned(), text.to_owned())),
            Err(_) => Some((format!("{field}_base64"), BASE64_STANDARD.encode(bytes))),
        };
        Self(entry.into_iter().collect())
    }

    /// The content on screen, with a sign in place of what is no text: one broken byte must not hide the rest.
    pub(crate) fn shown(&self) -> Option<String> {
        self.0.iter().next().map(|(field, text)| match field.ends_with("_base64") {
            true => String::from_utf8_lossy(&BASE64_STANDARD.decode(text).unwrap_or_default()).into_owned(),
            false => text.clone(),
        })
    }
}

/// What a calendar, pool or namespace is for, and when it changed: how its facts end.
fn described(
    description: &str,
    update_time: Option<Instant>,
    now: i64,
) -> impl Iterator<Item = (&'static str, Cell)> {
    let purpose = (!description.is_empty()).then(|| ("For", Cell::from(text::shortened(description, 200))));
    let changed = update_time.map(|time| format!("{time} ({})", text::relative(time.0, now)));
    purpose.into_iter().chain(changed.map(|changed| ("Changed", changed.into())))
}

/// A duration that may be unset.
fn written(part: Option<&prost_types::Duration>) -> Option<String> {
    part.map(text::duration)
}

/// The name of an enum's value in the contract; its number when a newer node sent one that this build does not know.
pub(crate) fn enum_name<E: TryFrom<i32>>(raw: i32, name: fn(&E) -> &'static str) -> String {
    E::try_from(raw).map_or_else(|_newer| raw.to_string(), |value| name(&value).to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_text_when_they_can_be() {
        assert_eq!(serde_json::to_string(&Content::of("body", b"h\xc3\xa9")).unwrap(), r#"{"body":"hé"}"#);
        assert_eq!(
            serde_json::to_string(&Content::of("body", b"\xff\x00")).unwrap(),
            r#"{"body_base64":"/wA="}"#
        );
        assert_eq!(serde_json::to_string(&Content::of("body", b"")).unwrap(), "{}");
        assert_eq!(Content::of("body", b"disk\xff full").shown().unwrap(), "disk\u{fffd} full");
    }
}
