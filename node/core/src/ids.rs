//! Ids, counters and instants, each a type of its own so that no two can be swapped.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

macro_rules! counter {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
        pub struct $name(pub u64);

        impl $name {
            /// The one after this.
            #[must_use]
            pub fn next(self) -> Self {
                Self(self.0 + 1)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

counter! {
    /// Handle of a schedule inside the cluster: counted up, never reused.
    ScheduleId
}
counter! {
    /// Handle of a run (a row of the ledger): counted up in order of creation, never reused.
    RunId
}
counter! {
    /// Version of what a schedule declares. Every run names the generation it came from.
    Generation
}
counter! {
    /// Version of a schedule for optimistic concurrency (its etag): the log index of its last change.
    Revision
}
counter! {
    /// Right to execute one attempt. Counted up by the state machine, so a later lease always has the greater token.
    FencingToken
}

counter! {
    /// Handle of an object: counted up, never reused.
    ObjectId
}
counter! {
    /// Number of a backfill, the handle of its object: counted up, never reused.
    BackfillId
}

/// Number of an attempt of a run, from 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct AttemptNo(pub u32);

impl AttemptNo {
    /// The attempt after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// An instant: milliseconds since the Unix epoch, UTC.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct UnixMillis(pub i64);

impl UnixMillis {
    /// This instant plus `duration`, saturating.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }

    /// This instant minus `duration`, saturating.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }

    /// The millisecond after this one.
    #[must_use]
    pub fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }

    /// Time passed since `earlier`; zero when it lies in the future.
    #[must_use]
    pub fn since(self, earlier: UnixMillis) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

/// Where an entry stands in the Raft log.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
pub struct LogPosition {
    /// Term of the leader that wrote it.
    pub term: u64,
    /// Index in the log.
    pub index: u64,
}

/// What a user calls a schedule: unique among those that are not deleted.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct ScheduleKey {
    /// Tenant.
    pub namespace: Arc<str>,
    /// Name within it.
    pub name: Arc<str>,
}

impl ScheduleKey {
    /// The key of `name` in `namespace`.
    pub fn new(namespace: impl Into<Arc<str>>, name: impl Into<Arc<str>>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for ScheduleKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}
