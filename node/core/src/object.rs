//! What schedules refer to by name: calendars, pools, namespaces; and backfills, which refer to schedules.
//!
//! An object is a small document that is written whole. It has a handle, so that it is stored in blocks like everything else.

use std::time::Duration;

use arcstr::ArcStr;

use crate::backfill::Backfill;
use crate::ids::{ObjectId, Revision, ScheduleKey, UnixMillis};
use crate::run::Verdict;

/// One object as it is stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Object {
    /// Handle.
    pub id: ObjectId,
    /// Version for optimistic concurrency: the log index of its last change.
    pub revision: Revision,
    /// When a user last changed it.
    pub updated_at: UnixMillis,
    /// What it is.
    pub kind: ObjectKind,
}

/// What an object is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ObjectKind {
    /// Days and periods.
    Calendar(Calendar),
    /// A semaphore that runs hold a slot of.
    Pool(Pool),
    /// A tenant.
    Namespace(Namespace),
    /// A range of instants that are run after the fact.
    Backfill(Box<Backfill>),
}

/// What a user declares.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Declared {
    /// See [`Calendar`].
    Calendar(Calendar),
    /// See [`Pool`].
    Pool(Pool),
    /// See [`Namespace`].
    Namespace(Namespace),
}

/// The name of an object that a user declares.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum ObjectName {
    /// Of a namespace.
    Calendar(ScheduleKey),
    /// Of the cluster.
    Pool(ArcStr),
    /// Of the cluster.
    Namespace(ArcStr),
}

impl std::fmt::Display for ObjectName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ObjectName::Calendar(key) => write!(f, "calendar {key}"),
            ObjectName::Pool(name) => write!(f, "pool {name}"),
            ObjectName::Namespace(name) => write!(f, "namespace {name}"),
        }
    }
}

/// Named days and periods. Texts to the core: only proposers evaluate them, as they do timings.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Calendar {
    /// Its name, unique within its namespace.
    pub key: ScheduleKey,
    /// IANA zone of its days; none: that of the schedule that uses it.
    pub time_zone: Option<String>,
    /// Whole days: `2026-12-25`, or `*-12-25` for every year.
    pub days: Vec<String>,
    /// Half-open periods of civil or UTC times.
    pub periods: Vec<(String, String)>,
    /// For people.
    pub description: String,
}

/// A named semaphore: a run holds a slot from its begin to its end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Pool {
    /// Its name.
    pub name: ArcStr,
    /// Runs at once; none: no limit.
    pub slots: Option<u32>,
    /// Starts per time; none: no limit. Kept by the leader: best effort across a change of leader.
    pub rate: Option<Rate>,
    /// Set while nothing of it may begin.
    pub paused: Option<Verdict>,
    /// For people.
    pub description: String,
}

/// So many starts in so long.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rate {
    /// How many.
    pub count: u32,
    /// In how long.
    pub per: Duration,
}

/// A tenant. One that nobody declared has no limits and weight 1.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Namespace {
    /// Its name.
    pub name: ArcStr,
    /// Runs at once; none: no limit.
    pub running_max: Option<u32>,
    /// Schedules; none: no limit.
    pub schedules_max: Option<u64>,
    /// Share of starts when several namespaces wait for the same executors.
    pub weight: u32,
    /// Spread of schedules that say nothing of their own.
    pub spread: Option<Duration>,
    /// For people.
    pub description: String,
}

impl Declared {
    /// Its name.
    pub fn name(&self) -> ObjectName {
        match self {
            Declared::Calendar(calendar) => ObjectName::Calendar(calendar.key.clone()),
            Declared::Pool(pool) => ObjectName::Pool(pool.name.clone()),
            Declared::Namespace(namespace) => ObjectName::Namespace(namespace.name.clone()),
        }
    }
}

impl From<Declared> for ObjectKind {
    fn from(declared: Declared) -> Self {
        match declared {
            Declared::Calendar(calendar) => ObjectKind::Calendar(calendar),
            Declared::Pool(pool) => ObjectKind::Pool(pool),
            Declared::Namespace(namespace) => ObjectKind::Namespace(namespace),
        }
    }
}

impl ObjectKind {
    /// The name of what users declare; backfills have none.
    pub fn name(&self) -> Option<ObjectName> {
        match self {
            ObjectKind::Calendar(calendar) => Some(ObjectName::Calendar(calendar.key.clone())),
            ObjectKind::Pool(pool) => Some(ObjectName::Pool(pool.name.clone())),
            ObjectKind::Namespace(namespace) => Some(ObjectName::Namespace(namespace.name.clone())),
            ObjectKind::Backfill(_) => None,
        }
    }
}
