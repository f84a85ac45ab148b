//! Schedules by name.
//!
//! In two levels, because the schedules of a namespace share its text: a look-up compares it once, and an entry holds nothing but
//! the name.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use crate::ids::{ScheduleId, ScheduleKey};

/// Schedules that are not deleted, in order of their keys.
#[derive(Clone, Default)]
pub(super) struct NameIndex {
    /// None of them is empty.
    namespaces: BTreeMap<Arc<str>, BTreeMap<Arc<str>, ScheduleId>>,
    len: usize,
}

impl NameIndex {
    pub(super) fn get(&self, key: &ScheduleKey) -> Option<ScheduleId> {
        self.namespaces.get(&key.namespace)?.get(&key.name).copied()
    }

    /// Puts a schedule in; gives the one that had the name.
    pub(super) fn insert(&mut self, key: &ScheduleKey, id: ScheduleId) -> Option<ScheduleId> {
        let names = self.namespaces.entry(key.namespace.clone()).or_default();
        let former = names.insert(key.name.clone(), id);
        self.len += usize::from(former.is_none());
        former
    }

    pub(super) fn remove(&mut self, key: &ScheduleKey) -> Option<ScheduleId> {
        let names = self.namespaces.get_mut(&key.namespace)?;
        let former = names.remove(&key.name)?;
        self.len -= 1;
        if names.is_empty() {
            self.namespaces.remove(&key.namespace);
        }
        Some(former)
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// How many a namespace has.
    pub(super) fn len_in(&self, namespace: &str) -> usize {
        self.namespaces.get(namespace).map_or(0, BTreeMap::len)
    }

    /// The same key, with the text of its namespace that others share.
    pub(super) fn sharing(&self, key: ScheduleKey) -> ScheduleKey {
        match self.namespaces.get_key_value(&key.namespace) {
            Some((namespace, _)) => ScheduleKey { namespace: namespace.clone(), ..key },
            None => key,
        }
    }

    /// In order, from a key on, whether or not there is one of that name.
    pub(super) fn from(&self, key: &ScheduleKey) -> impl Iterator<Item = ScheduleId> + '_ {
        let first = self.namespaces.get(&key.namespace);
        let of_first = first.into_iter().flat_map({
            let name = key.name.clone();
            move |names| names.range(name.clone()..)
        });
        let others = (Bound::Excluded(key.namespace.clone()), Bound::Unbounded);
        of_first.chain(self.namespaces.range(others).flat_map(|(_, names)| names)).map(|(_, id)| *id)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn key() -> impl Strategy<Value = ScheduleKey> {
        ("[ab]{0,2}", "[ab]{0,2}").prop_map(|(namespace, name)| ScheduleKey::new(&*namespace, &*name))
    }

    proptest! {
        /// Any sequence of changes leaves what it leaves in a map by whole keys.
        #[test]
        fn it_is_a_map(steps in prop::collection::vec((any::<bool>(), key(), 0..9u64), 0..100), from in key()) {
            let (mut names, mut map) = (NameIndex::default(), BTreeMap::new());
            for (insert, key, id) in steps {
                let id = ScheduleId(id);
                if insert {
                    prop_assert_eq!(names.insert(&key, id), map.insert(key.clone(), id));
                } else {
                    prop_assert_eq!(names.remove(&key), map.remove(&key));
                }
                prop_assert_eq!(names.get(&key), map.get(&key).copied());
                prop_assert_eq!(names.len(), map.len());
                let within = map.keys().filter(|other| other.namespace == key.namespace).count();
                prop_assert_eq!(names.len_in(&key.namespace), within);
                prop_assert!(names.namespaces.values().all(|names| !names.is_empty()));
                prop_assert_eq!(names.sharing(key.clone()), key);
            }
            let of_map = map.range(from.clone()..).map(|(_, id)| *id);
            prop_assert!(names.from(&from).eq(of_map));
        }
    }
}
