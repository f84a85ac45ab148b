//! Ids, counters and instants, each a type of its own so that no two can be swapped.

use std::fmt;
use std::time::Duration;

use arcstr::ArcStr;
use ulid::{ULID_LEN, Ulid};

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

/// An identity that somebody drew: a ULID as a rule, which takes 16 bytes here and no allocation; any other text as it is. Its order is one
/// for maps, not that of the texts.
///
/// Source: the ULID specification, canonical string representation (26 characters of Crockford's base 32).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DrawnId(Drawn);

/// One form per text, so that equal texts are equal.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Drawn {
    /// As bytes: a number of 128 bits would have to lie at a multiple of 16, and make the whole larger.
    Ulid([u8; 16]),
    /// What is no ULID, or none as we would write it.
    Text(ArcStr),
}

impl DrawnId {
    /// Hands its text on.
    pub fn with_text<T>(&self, with: impl FnOnce(&str) -> T) -> T {
        match &self.0 {
            Drawn::Ulid(bytes) => with(Ulid::from_bytes(*bytes).array_to_str(&mut [0; ULID_LEN])),
            Drawn::Text(text) => with(text),
        }
    }

    /// To be hashed: two that have the same are the same as a rule.
    pub(crate) fn as_bytes(&self) -> &[u8] {
        match &self.0 {
            Drawn::Ulid(bytes) => bytes,
            Drawn::Text(text) => text.as_bytes(),
        }
    }
}

impl From<&str> for DrawnId {
    fn from(text: &str) -> Self {
        let ulid = Ulid::from_string(text).ok();
        // Lower case is read, and is not what would be written.
        match ulid.filter(|ulid| ulid.array_to_str(&mut [0; ULID_LEN]) == text) {
            Some(ulid) => Self(Drawn::Ulid(ulid.to_bytes())),
            None => Self(Drawn::Text(text.into())),
        }
    }
}

impl From<String> for DrawnId {
    fn from(text: String) -> Self {
        text.as_str().into()
    }
}

impl From<Ulid> for DrawnId {
    fn from(ulid: Ulid) -> Self {
        Self(Drawn::Ulid(ulid.to_bytes()))
    }
}

impl fmt::Display for DrawnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.with_text(|text| f.pad(text))
    }
}

impl fmt::Debug for DrawnId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.with_text(|text| write!(f, "{text:?}"))
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
    pub namespace: ArcStr,
    /// Name within it.
    pub name: ArcStr,
}

impl ScheduleKey {
    /// The key of `name` in `namespace`.
    pub fn new(namespace: impl Into<ArcStr>, name: impl Into<ArcStr>) -> Self {
        Self { namespace: namespace.into(), name: name.into() }
    }
}

impl fmt::Display for ScheduleKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Any text comes back as it was, and is equal to itself alone.
        #[test]
        fn a_drawn_id_is_its_text(
            drawn in any::<u128>().prop_map(Ulid), text in prop_oneof![".{0,40}", "[0-9A-Za-z]{26}", "[0-7][0-9A-HJKMNP-TV-Z]{25}"],
        ) {
            let written = drawn.to_string();
            prop_assert_eq!(DrawnId::from(&*written), DrawnId::from(drawn));
            prop_assert_eq!(DrawnId::from(drawn).to_string(), &*written);
            for variant in [written.to_lowercase(), format!("{written} "), format!("8{}", &written[1..]), text] {
                let id = DrawnId::from(&*variant);
                prop_assert_eq!(id.to_string(), &*variant);
                prop_assert_eq!(format!("{id:?}"), format!("{variant:?}"));
                prop_assert_eq!(id == DrawnId::from(drawn), variant == written);
            }
        }
    }

    #[test]
    fn a_ulid_takes_no_allocation_and_little_space() {
        let id = DrawnId::from("01J9ZK3V5T8QXYZ0123456789A");
        assert!(matches!(id.0, Drawn::Ulid(_)));
        assert_eq!(size_of::<DrawnId>(), 24);
    }
}
