//! What waits: a run that may begin, and everything about it that decides when.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use arcstr::ArcStr;
use belfry_core::RunId;
use tokio::time::Instant;

/// A waiting run counts for one level of priority more after each of these: the least priority overtakes the greatest one
/// that begins to wait four minutes later (8 levels), which is about as long as a cron of every five minutes may be late.
pub(crate) const AGING_STEP: Duration = Duration::from_secs(30);

/// What kind of executor a run needs.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Need {
    pub(crate) pool: ArcStr,
    pub(crate) handler: ArcStr,
    /// Labels that an executor must have, all of them. Mostly none: share one empty map.
    pub(crate) selector: Arc<BTreeMap<ArcStr, ArcStr>>,
}

/// Traffic classes, in the order in which they go.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum Class {
    /// Its instant has just come, or somebody wants it now.
    OnTime,
    /// Belfry was away at its instant.
    CatchUp,
    /// Somebody asked for instants of the past.
    Backfill,
}

impl Class {
    pub(crate) const ALL: [Class; 3] = [Class::OnTime, Class::CatchUp, Class::Backfill];

    /// Whether its starts count against the catch-up budget.
    pub(crate) fn is_recovery(self) -> bool {
        match self {
            Class::OnTime => false,
            Class::CatchUp | Class::Backfill => true,
        }
    }

    /// The name in metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Class::OnTime => "on_time",
            Class::CatchUp => "catch_up",
            Class::Backfill => "backfill",
        }
    }
}

/// From 1 to 9; the greater goes first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Priority(u8);

impl Priority {
    /// None unless it is 1 to 9.
    pub(crate) fn new(level: u8) -> Option<Self> {
        (1..=9).contains(&level).then_some(Self(level))
    }

    /// How much later a run of this priority counts as waiting than one of the greatest.
    pub(super) fn handicap(self) -> Duration {
        AGING_STEP * u32::from(9 - self.0)
    }
}

impl Default for Priority {
    fn default() -> Self {
        Self(5)
    }
}

/// A run that may begin.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ReadyRun {
    pub(crate) id: RunId,
    pub(crate) need: Need,
    pub(crate) namespace: ArcStr,
    pub(crate) class: Class,
    pub(crate) priority: Priority,
    /// Not before this: it waits out a retry's back-off, or its spread.
    pub(crate) not_before: Option<Instant>,
}
