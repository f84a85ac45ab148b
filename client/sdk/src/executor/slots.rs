//! How many runs of each handler are held, for those handlers that take fewer at once than there are slots.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

#[derive(Debug, Default)]
pub(super) struct HandlerSlots {
    limited: HashMap<Arc<str>, Slots>,
}

/// A slot that a run holds, by the name of its handler: to be given back.
#[derive(Debug)]
#[must_use]
pub(super) struct HandlerSlot(Arc<str>);

#[derive(Debug)]
struct Slots {
    max: u32,
    busy: u32,
}

impl HandlerSlots {
    pub(super) fn new(limits: &BTreeMap<String, u32>) -> Self {
        let limited =
            limits.iter().map(|(handler, &max)| (handler.as_str().into(), Slots { max, busy: 0 })).collect();
        Self { limited }
    }

    pub(super) fn is_full(&self, handler: &str) -> bool {
        self.limited.get(handler).is_some_and(|slots| slots.busy >= slots.max)
    }

    /// None: this handler takes as many as the executor does.
    pub(super) fn take(&mut self, handler: &str) -> Option<HandlerSlot> {
        let (name, _) = self.limited.get_key_value(handler)?;
        let taken = HandlerSlot(Arc::clone(name));
        let slots = self.limited.get_mut(handler)?;
        slots.busy += 1;
        assert!(slots.busy <= slots.max, "EXEC-4: no more runs of a handler than it has slots");
        Some(taken)
    }

    pub(super) fn free(&mut self, slot: Option<HandlerSlot>) {
        if let Some(HandlerSlot(handler)) = slot
            && let Some(slots) = self.limited.get_mut(&handler)
        {
            slots.busy -= 1;
        }
    }
}
