//! Documents: what `-o yaml` of the commands writes, read back.
//!
//! - KIND-1: what a document declares is what its `kind` says. Without one it is what its name can only be, `pools/POOL`, or
//!   what its place says: an item of `calendars:`, or what the command is for.

mod fields;
mod resources;
mod schedule;

use belfry_sdk::pb;
use clap::ValueEnum;
use serde::Serialize;
use serde_yaml_ng::Value;

use self::fields::{Fields, Found, Place};
use crate::text;

/// What a document declares, in the order in which it is applied: what is used before what uses it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
pub(crate) enum Kind {
    Namespace,
    Pool,
    Calendar,
    Schedule,
}

impl Kind {
    pub(super) const ALL: [Self; 4] = [Self::Namespace, Self::Pool, Self::Calendar, Self::Schedule];

    /// As documents have it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Namespace => "Namespace",
            Self::Pool => "Pool",
            Self::Calendar => "Calendar",
            Self::Schedule => "Schedule",
        }
    }

    /// What a list of them is called.
    pub(super) fn list(self) -> &'static str {
        match self {
            Self::Namespace => "namespaces",
            Self::Pool => "pools",
            Self::Calendar => "calendars",
            Self::Schedule => "schedules",
        }
    }

    fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.name().eq_ignore_ascii_case(text))
    }

    /// What alone can have a name; none for a short one.
    fn of_name(name: &str) -> Option<Self> {
        match name.split('/').collect::<Vec<_>>().as_slice() {
            ["namespaces", _] => Some(Self::Namespace),
            ["pools", _] => Some(Self::Pool),
            ["namespaces", _, "calendars", _] => Some(Self::Calendar),
            ["namespaces", _, "schedules", _] => Some(Self::Schedule),
            _other => None,
        }
    }
}

/// What was read of a document, or what a cluster has in its place.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Document {
    Namespace(pb::Namespace),
    Pool(pb::Pool),
    Calendar(pb::Calendar),
    Schedule(Box<pb::Schedule>),
}

impl Document {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Namespace(_) => Kind::Namespace,
            Self::Pool(_) => Kind::Pool,
            Self::Calendar(_) => Kind::Calendar,
            Self::Schedule(_) => Kind::Schedule,
        }
    }

    /// The resource name.
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Namespace(namespace) => &namespace.name,
            Self::Pool(pool) => &pool.name,
            Self::Calendar(calendar) => &calendar.name,
            Self::Schedule(schedule) => &schedule.name,
        }
    }

    pub(super) fn schedule(&self) -> Option<&pb::Schedule> {
        match self {
            Self::Schedule(schedule) => Some(schedule),
            Self::Namespace(_) | Self::Pool(_) | Self::Calendar(_) => None,
        }
    }
}

/// Reads a document. `namespace` is that of documents that name none, `kind` what one is that does not say it (KIND-1).
pub(super) fn read(document: &Value, namespace: &str, kind: Kind) -> Result<Document, Vec<String>> {
    let mut found = Found::default();
    let kind = kind_of(document, kind, &mut found);
    let mut fields = Place::root(document).fields(&mut found);
    fields.ignore(&["kind"]);
    let read = match kind {
        Kind::Namespace => Document::Namespace(resources::namespace(fields, &mut found)),
        Kind::Pool => Document::Pool(resources::pool(fields, &mut found)),
        Kind::Calendar => Document::Calendar(resources::calendar(fields, namespace, &mut found)),
        Kind::Schedule => Document::Schedule(Box::new(schedule::read(fields, namespace, &mut found))),
    };
    if found.0.is_empty() { Ok(read) } else { Err(found.0) }
}

fn kind_of(document: &Value, kind: Kind, found: &mut Found) -> Kind {
    let text = |field: &str| document.get(field).and_then(Value::as_str);
    match document.get("kind").filter(|kind| !kind.is_null()) {
        None => text("name").and_then(Kind::of_name).unwrap_or(kind),
        Some(_) => text("kind").and_then(Kind::parse).unwrap_or_else(|| {
            found.add("kind", format_args!("is none of {}", Kind::ALL.map(Kind::name).join(", ")));
            kind
        }),
    }
}

/// The name that a document gives itself, for messages about it.
pub(super) fn title(document: &Value) -> Option<&str> {
    document.get("name")?.as_str().map(text::short_name)
}

/// The resource name: whole, or short within `namespace:` or the namespace of the command line.
fn name_in_namespace(fields: &mut Fields<'_>, kind: Kind, namespace: &str, found: &mut Found) -> String {
    let (written, own) = (written_name(fields, kind, found), fields.text("namespace", found));
    if written.is_empty() {
        return written;
    }
    let namespace = if own.is_empty() { namespace } else { &own };
    let name = match kind {
        Kind::Calendar => text::calendar_name(namespace, &written),
        Kind::Namespace | Kind::Pool | Kind::Schedule => text::schedule_name(namespace, &written),
    };
    match name {
        Ok(name) if own.is_empty() || text::namespace_of(&name) == own => name,
        Ok(name) => {
            found.add("namespace", format_args!("`{own}` is not that of the name {name}"));
            name
        }
        Err(error) => {
            found.add("name", error);
            written
        }
    }
}

/// What stands under `name`; empty if that is nothing, which is said.
fn written_name(fields: &mut Fields<'_>, kind: Kind, found: &mut Found) -> String {
    let written = fields.text("name", found);
    if written.is_empty() {
        let kind = kind.name().to_lowercase();
        found.add("name", format_args!("is missing: say which {kind} this is"));
    }
    written
}
