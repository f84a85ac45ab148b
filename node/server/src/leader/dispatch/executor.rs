//! Who takes runs: an executor as the dispatcher sees it.

use std::collections::{BTreeMap, BTreeSet};

use arcstr::ArcStr;

use belfry_core::RunId;

use super::ready::Need;

/// One stream of one executor. A new stream is a new session.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct SessionId(pub(crate) u64);

/// An executor as the dispatcher sees it.
#[derive(Clone, Debug)]
pub(crate) struct Executor {
    pub(crate) executor_id: ArcStr,
    pub(crate) display_name: String,
    pub(crate) version: String,
    pub(crate) pool: ArcStr,
    pub(crate) handlers: BTreeSet<ArcStr>,
    pub(crate) labels: BTreeMap<ArcStr, ArcStr>,
    pub(crate) slots: u32,
    pub(crate) credits: u32,
    pub(crate) draining: bool,
    /// Handlers that take fewer runs at once than there are slots.
    limited: BTreeMap<ArcStr, Limited>,
    pub(super) offered: BTreeSet<RunId>,
    /// The credits under which its pool lists it as open.
    pub(super) listed: Option<u32>,
}

/// A handler that takes few runs at once, with those that were offered or that it works on.
#[derive(Clone, Debug)]
struct Limited {
    slots: u32,
    runs: BTreeSet<RunId>,
}

impl Executor {
    pub(crate) fn new(
        executor_id: ArcStr,
        display_name: String,
        version: String,
        pool: ArcStr,
        handlers: BTreeSet<ArcStr>,
        slots: u32,
    ) -> Self {
        Self {
            executor_id,
            display_name,
            version,
            pool,
            handlers,
            labels: BTreeMap::new(),
            slots,
            credits: 0,
            draining: false,
            limited: BTreeMap::new(),
            offered: BTreeSet::new(),
            listed: None,
        }
    }

    /// With labels that selectors look at.
    pub(crate) fn with_labels(mut self, labels: BTreeMap<ArcStr, ArcStr>) -> Self {
        self.labels = labels;
        self
    }

    /// With handlers that take only so many runs at once.
    pub(crate) fn with_handler_slots(mut self, handler_slots: BTreeMap<ArcStr, u32>) -> Self {
        let limited = |(handler, slots)| (handler, Limited { slots, runs: BTreeSet::new() });
        self.limited = handler_slots.into_iter().map(limited).collect();
        self
    }

    /// Handlers that take fewer runs at once than it has slots.
    pub(crate) fn handler_slots(&self) -> impl Iterator<Item = (String, u32)> + '_ {
        self.limited.iter().map(|(handler, limited)| (handler.to_string(), limited.slots))
    }

    /// How many runs of a handler it takes now.
    pub(super) fn room_for(&self, handler: &str) -> u32 {
        if self.draining {
            return 0;
        }
        let limited = self.limited.get(handler);
        let free = limited.map_or(u32::MAX, |limited| limited.slots.saturating_sub(count(&limited.runs)));
        self.credits.min(free)
    }

    pub(super) fn has_handler(&self, need: &Need) -> bool {
        !self.draining && self.pool == need.pool && self.handlers.contains(&need.handler)
    }

    pub(super) fn has_labels(&self, need: &Need) -> bool {
        need.selector.iter().all(|(key, value)| self.labels.get(key) == Some(value))
    }

    /// Whether it would take runs of this need, were there room.
    pub(super) fn fits(&self, need: &Need) -> bool {
        self.has_handler(need) && self.has_labels(need)
    }

    /// It is offered a run.
    pub(super) fn take(&mut self, run: RunId, handler: &str) {
        self.offered.insert(run);
        if let Some(limited) = self.limited.get_mut(handler) {
            limited.runs.insert(run);
        }
    }

    /// It no longer holds these runs; whether that makes room at one of its handlers.
    pub(super) fn release<'a>(&mut self, runs: impl IntoIterator<Item = &'a RunId>) -> bool {
        if self.limited.is_empty() {
            return false;
        }
        let mut released = false;
        for run in runs {
            for limited in self.limited.values_mut() {
                released |= limited.runs.remove(run);
            }
        }
        released
    }
}

/// How many; no set here comes near the limit.
pub(super) fn count<T>(set: &BTreeSet<T>) -> u32 {
    u32::try_from(set.len()).unwrap_or(u32::MAX)
}
