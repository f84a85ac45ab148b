//! Schedules by name.
//!
//! In two levels, because the schedules of a namespace share its text: a look-up compares it once, and an entry holds nothing but
//! the name.

use std::collections::BTreeMap;
use std::ops::Bound;

use arcstr::ArcStr;

use crate::ids::{ScheduleId, ScheduleKey};

/// Schedules that are not deleted, in order of their keys.
#[derive(Clone, Default)]
pub(super) struct NameIndex {
    /// None of them is empty.
    namespaces: BTreeMap<ArcStr, BTreeMap<ArcStr, ScheduleId>>,
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

/// All names there are, in any order, on their way into an index: made from what is sorted, it takes a fraction of the time that
/// putting in one by one does, and no node of its trees is half empty.
#[derive(Default)]
pub(super) struct NameList {
    namespaces: BTreeMap<ArcStr, Vec<(ArcStr, ScheduleId)>>,
}

impl NameList {
    /// The same key, with the text of its namespace that others share.
    pub(super) fn sharing(&mut self, key: ScheduleKey) -> ScheduleKey {
        match self.namespaces.get_key_value(&key.namespace) {
            Some((namespace, _)) => ScheduleKey { namespace: namespace.clone(), ..key },
            None => {
                self.namespaces.insert(key.namespace.clone(), Vec::new());
                key
            }
        }
    }

    /// Adds a schedule, whose key shares its text.
    pub(super) fn push(&mut self, key: &ScheduleKey, id: ScheduleId) {
        self.namespaces.entry(key.namespace.clone()).or_default().push((key.name.clone(), id));
    }

    /// The index of them; else a schedule whose name another one has.
    pub(super) fn into_index(self) -> Result<NameIndex, ScheduleId> {
        let mut index = NameIndex::default();
        for (namespace, mut names) in self.namespaces {
            names.sort();
            if let Some(twice) = names.windows(2).find(|two| two[0].0 == two[1].0) {
                return Err(twice[1].1);
            }
            index.len += names.len();
            if !names.is_empty() {
                index.namespaces.insert(namespace, names.into_iter().collect());
            }
        }
        Ok(index)
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

        /// All at once are as one by one, and of two with one name the later one is told of.
        #[test]
        fn a_list_becomes_the_same_index(keys in prop::collection::vec(key(), 0..20), of_deleted in key()) {
            let (mut names, mut list, mut twice) = (NameIndex::default(), NameList::default(), false);
            list.sharing(of_deleted);
            for (number, key) in (1..).zip(&keys) {
                prop_assert_eq!(&list.sharing(key.clone()), key);
                list.push(key, ScheduleId(number));
                twice |= names.insert(key, ScheduleId(number)).is_some();
            }
            match list.into_index() {
                Ok(index) => {
                    prop_assert!(!twice && index.len == names.len);
                    prop_assert_eq!(index.namespaces, names.namespaces);
                }
                Err(ScheduleId(id)) => {
                    let at = usize::try_from(id).expect("it is below 21") - 1;
                    prop_assert!(keys[..at].contains(&keys[at]));
                }
            }
        }
    }
}
