//! How many runs of each handler are held, for those handlers that take fewer at once than there are slots.

use std::collections::{BTreeMap, HashMap};

#[derive(Debug, Default)]
pub(super) struct HandlerSlots {
    limited: HashMap<String, Slots>,
}

#[derive(Debug)]
struct Slots {
    max: u32,
    busy: u32,
}

impl HandlerSlots {
    pub(super) fn new(limits: &BTreeMap<String, u32>) -> Self {
        let limited =
            limits.iter().map(|(handler, &max)| (handler.clone(), Slots { max, busy: 0 })).collect();
        Self { limited }
    }

    pub(super) fn is_full(&self, handler: &str) -> bool {
        self.limited.get(handler).is_some_and(|slots| slots.busy >= slots.max)
    }

    pub(super) fn take(&mut self, handler: &str) {
        if let Some(slots) = self.limited.get_mut(handler) {
            slots.busy += 1;
            assert!(slots.busy <= slots.max, "EXEC-4: no more runs of a handler than it has slots");
        }
    }

    pub(super) fn free(&mut self, handler: &str) {
        if let Some(slots) = self.limited.get_mut(handler) {
            slots.busy -= 1;
        }
    }
}
