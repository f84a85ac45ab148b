//! Definitions, each kept once: the schedules of a team are often declared alike, and what all of them read at the same instant
//! then lies in one place.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};

use bytes::Bytes;

use crate::definition::Definition;
use crate::digest::Digest;
use crate::state::canonical::definition_digest;

/// Entries that may be dead before any are looked for.
const DEAD_MIN: usize = 1024;

/// Bytes of definitions that [`ByDefinition`] remembers: two thousand of the usual ones, or a few with large payloads.
const REMEMBERED_BYTES_MAX: usize = 2 << 20;
/// What a definition counts beside its payload.
const USUAL_BYTES: usize = 1 << 10;

/// What was made of definitions, by which one it is: the schedules of a stored state are often given few of them, again and again.
pub(super) struct ByDefinition<T> {
    /// By address: as long as a definition is kept here, no other one lies there.
    remembered: BTreeMap<usize, (Arc<Definition>, T)>,
    bytes: usize,
}

impl<T> Default for ByDefinition<T> {
    fn default() -> Self {
        Self { remembered: BTreeMap::new(), bytes: 0 }
    }
}

impl<T> ByDefinition<T> {
    pub(super) fn get_or_make(&mut self, definition: &Arc<Definition>, make: impl FnOnce() -> T) -> &T {
        let address = Arc::as_ptr(definition).addr();
        if !self.remembered.contains_key(&address) {
            let bytes = USUAL_BYTES + definition.target.payload.len();
            if self.bytes + bytes > REMEMBERED_BYTES_MAX {
                self.remembered.clear();
                self.bytes = 0;
            }
            self.bytes += bytes;
        }
        let (_, made) = self.remembered.entry(address).or_insert_with(|| (definition.clone(), make()));
        made
    }
}

/// Definitions in use, by their digest. Derived: nothing depends on what is shared.
#[derive(Clone, Default)]
pub(super) struct Definitions {
    by_digest: BTreeMap<Digest, Weak<Definition>>,
    /// Entries there were when the dead ones were last dropped.
    kept: usize,
    /// What was shared last: the schedules of a batch are often given alike ones.
    last: Option<Arc<Definition>>,
}

impl Definitions {
    /// The definition that is in use already, if one says the same.
    pub(super) fn share(&mut self, definition: Arc<Definition>) -> Arc<Definition> {
        if let Some(shared) = self.last.as_ref().filter(|last| **last == definition) {
            return shared.clone();
        }
        let shared = self.find_or_add(definition);
        self.last = Some(shared.clone());
        shared
    }

    fn find_or_add(&mut self, mut definition: Arc<Definition>) -> Arc<Definition> {
        let digest = definition_digest(&definition);
        if let Some(shared) = self.by_digest.get(&digest).and_then(Weak::upgrade)
            && shared == definition
        {
            return shared;
        }
        if !definition.target.payload.is_empty() {
            // A copy: what it came in, an entry of the log or a stored block, would be kept whole for it.
            let payload = Bytes::copy_from_slice(&definition.target.payload);
            Arc::make_mut(&mut definition).target.payload = payload;
        }
        self.by_digest.insert(digest, Arc::downgrade(&definition));
        if self.by_digest.len() > self.kept * 2 + DEAD_MIN {
            self.by_digest.retain(|_, weak| weak.strong_count() > 0);
            self.kept = self.by_digest.len();
        }
        definition
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::definition::{Rule, Target, Timing};

    fn definition(number: u64) -> Arc<Definition> {
        let rule = Rule::Interval { every: Duration::from_secs(number), phase: Duration::ZERO };
        let target = Target { handler: "h".into(), payload: Default::default() };
        Arc::new(Definition::new(Timing::of(vec![rule], "UTC"), target))
    }

    #[test]
    fn what_is_alike_is_shared() {
        let mut definitions = Definitions::default();
        let one = definitions.share(definition(1));
        assert!(Arc::ptr_eq(&definitions.share(one.clone()), &one));
        assert!(Arc::ptr_eq(&definitions.share(definition(1)), &one));
        assert!(!Arc::ptr_eq(&definitions.share(definition(2)), &one));
    }

    #[test]
    fn a_payload_does_not_keep_what_it_came_in() {
        let mut definitions = Definitions::default();
        for _ in 0..2 {
            let entry = Bytes::from(vec![7; 1000]);
            let mut given = definition(1);
            Arc::make_mut(&mut given).target.payload = entry.slice(10..20);
            let kept = definitions.share(given);
            assert_eq!(kept.target.payload, [7; 10].as_slice());
            assert!(entry.is_unique());
        }
    }

    #[test]
    fn what_is_remembered_is_of_the_definition_that_was_given() {
        let mut remembered = ByDefinition::default();
        let many: Vec<_> = (0..3000).map(definition).collect();
        for _ in 0..2 {
            for (number, definition) in many.iter().enumerate() {
                assert_eq!(*remembered.get_or_make(definition, || number), number);
                assert_eq!(*remembered.get_or_make(definition, || unreachable!("it was just made")), number);
            }
        }
        assert!(remembered.remembered.len() * USUAL_BYTES <= REMEMBERED_BYTES_MAX);
        let mut large = definition(1);
        Arc::make_mut(&mut large).target.payload = vec![7; REMEMBERED_BYTES_MAX].into();
        remembered.get_or_make(&large, || 0);
        assert_eq!(remembered.remembered.len(), 1);
        // Another one may come to lie where one was that is gone.
        for number in 3000..4000 {
            assert_eq!(*remembered.get_or_make(&definition(1), || number), number);
        }
    }

    #[test]
    fn what_nobody_uses_is_forgotten() {
        let mut definitions = Definitions::default();
        let used = definitions.share(definition(1));
        (2..5000).for_each(|number| drop(definitions.share(definition(number))));
        assert!(definitions.by_digest.len() <= DEAD_MIN + 4, "{} are kept", definitions.by_digest.len());
        assert!(Arc::ptr_eq(&definitions.share(definition(1)), &used));
    }
}
