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

/// Definitions in use, by their digest. Derived: nothing depends on what is shared.
#[derive(Clone, Default)]
pub(super) struct Definitions {
    by_digest: BTreeMap<Digest, Weak<Definition>>,
    /// Entries there were when the dead ones were last dropped.
    kept: usize,
    /// What was given last, and what it became: the schedules of a stored block are often given one and the same, those of a batch alike ones.
    /// Weak: a payload that was given may be part of an entry of the log, which would be kept whole for it.
    last: Option<(Weak<Definition>, Arc<Definition>)>,
}

impl Definitions {
    /// The definition that is in use already, if one says the same.
    pub(super) fn share(&mut self, definition: Arc<Definition>) -> Arc<Definition> {
        if let Some((given, shared)) = &self.last
            && (given.as_ptr() == Arc::as_ptr(&definition) || *shared == definition)
        {
            return shared.clone();
        }
        let given = Arc::downgrade(&definition);
        let shared = self.find_or_add(definition);
        self.last = Some((given, shared.clone()));
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
    fn what_nobody_uses_is_forgotten() {
        let mut definitions = Definitions::default();
        let used = definitions.share(definition(1));
        (2..5000).for_each(|number| drop(definitions.share(definition(number))));
        assert!(definitions.by_digest.len() <= DEAD_MIN + 4, "{} are kept", definitions.by_digest.len());
        assert!(Arc::ptr_eq(&definitions.share(definition(1)), &used));
    }
}
