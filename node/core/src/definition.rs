//! What a user declares of a schedule. The core interprets the policies alone: timing and target are data to it.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use crate::ids::UnixMillis;

/// The declarative part of a schedule, validated at the edge.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Definition {
    /// When.
    pub timing: Timing,
    /// What.
    pub target: Target,
    /// By which rules.
    pub policies: Policies,
    /// Pool whose executors run it.
    pub pool: String,
    /// For selecting and grouping.
    pub labels: BTreeMap<String, String>,
    /// For people.
    pub description: String,
}

impl Definition {
    /// Whether runs made from `other` would be the same: if so, an edit needs no new generation.
    pub fn runs_like(&self, other: &Definition) -> bool {
        self.timing == other.timing
            && self.target == other.target
            && self.policies == other.policies
            && self.pool == other.pool
    }
}

/// When a schedule fires, as text and numbers. Only proposers evaluate it: time-zone tables differ between builds.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Timing {
    /// The union of these.
    pub include: Vec<Rule>,
    /// IANA name; `UTC` when the user gave none.
    pub time_zone: String,
}

/// One rule of a timing.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Rule {
    /// A cron expression.
    Cron {
        /// As the user wrote it.
        expression: String,
        /// With every `H` resolved.
        resolved: String,
        /// The user knows that it may never fire.
        allow_never: bool,
    },
    /// epoch + n · every + phase.
    Interval {
        /// Period.
        every: Duration,
        /// Offset from the epoch.
        phase: Duration,
    },
    /// Once.
    At(UnixMillis),
}

/// What to run: the name of a handler and what to tell it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    /// Handler that an executor must offer.
    pub handler: String,
    /// Opaque to the cluster.
    pub payload: Bytes,
}

/// The rules of a schedule. The enums are open: more policies come with higher feature levels.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Policies {
    /// What happens to an instant while the previous run is still running.
    pub overlap: OverlapPolicy,
    /// What happens to instants that passed while Belfry was away.
    pub misfire: MisfirePolicy,
    /// What happens to a run whose executor vanished.
    pub unknown_outcome: UnknownOutcomePolicy,
    /// Latest begin after the scheduled time.
    pub start_deadline: Option<Duration>,
    /// Longest time for one attempt.
    pub attempt_timeout: Duration,
    /// Longest silence of an executor before its leases are lost.
    pub lease_duration: Duration,
}

impl Default for Policies {
    fn default() -> Self {
        Self {
            overlap: OverlapPolicy::HoldOne,
            misfire: MisfirePolicy::Coalesce,
            unknown_outcome: UnknownOutcomePolicy::Hold,
            start_deadline: None,
            attempt_timeout: Duration::from_secs(3600),
            lease_duration: Duration::from_secs(30),
        }
    }
}

/// See [`Policies::overlap`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OverlapPolicy {
    /// Keep one waiting: the newest; older ones are merged into it.
    HoldOne,
}

/// See [`Policies::misfire`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MisfirePolicy {
    /// One run for all of them: the newest; the others are merged into it.
    Coalesce,
}

/// See [`Policies::unknown_outcome`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UnknownOutcomePolicy {
    /// It stays UNKNOWN and is never started again.
    Hold,
}
