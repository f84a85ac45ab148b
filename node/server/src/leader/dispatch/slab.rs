//! Things that are found by their name once and by a number from then on.

use std::collections::HashMap;
use std::hash::Hash;
use std::marker::PhantomData;
use std::ops::{Index, IndexMut};

/// The number of an entry. It is given to another once its entry was removed.
pub(super) struct Id<V>(u32, PhantomData<fn() -> V>);

impl<V> Clone for Id<V> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<V> Copy for Id<V> {}
impl<V> PartialEq for Id<V> {
    fn eq(&self, other: &Self) -> bool {
        self.0 == other.0
    }
}
impl<V> Eq for Id<V> {}
impl<V> PartialOrd for Id<V> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}
impl<V> Ord for Id<V> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.cmp(&other.0)
    }
}
impl<V> std::hash::Hash for Id<V> {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.0.hash(state);
    }
}
impl<V> std::fmt::Debug for Id<V> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Entries by name and by number. Whoever removes one sees to it that nobody uses its number any more.
#[derive(Debug)]
pub(super) struct Slab<K, V> {
    ids: HashMap<K, Id<V>>,
    entries: Vec<Option<(K, V)>>,
    free: Vec<Id<V>>,
}

impl<K, V> Default for Slab<K, V> {
    fn default() -> Self {
        Self { ids: HashMap::new(), entries: Vec::new(), free: Vec::new() }
    }
}

impl<K: Clone + Eq + Hash, V> Slab<K, V> {
    pub(super) fn find<Q>(&self, key: &Q) -> Option<Id<V>>
    where
        K: std::borrow::Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.ids.get(key).copied()
    }

    /// Adds an entry whose name is new.
    pub(super) fn insert(&mut self, key: K, value: V) -> Id<V> {
        let id = self.free.pop().unwrap_or_else(|| {
            self.entries.push(None);
            let number =
                u32::try_from(self.entries.len() - 1).expect("names fit into memory before numbers end");
            Id(number, PhantomData)
        });
        self.ids.insert(key.clone(), id);
        self.entries[id.0 as usize] = Some((key, value));
        id
    }

    pub(super) fn remove(&mut self, id: Id<V>) -> Option<V> {
        let (key, value) = self.entries[id.0 as usize].take()?;
        self.ids.remove(&key);
        self.free.push(id);
        Some(value)
    }

    pub(super) fn key(&self, id: Id<V>) -> &K {
        &self.entry(id).0
    }

    pub(super) fn values(&self) -> impl Iterator<Item = (&K, &V)> {
        self.entries.iter().flatten().map(|(key, value)| (key, value))
    }

    fn entry(&self, id: Id<V>) -> &(K, V) {
        self.entries[id.0 as usize].as_ref().expect("an entry outlives the use of its number")
    }
}

impl<K: Clone + Eq + Hash, V> Index<Id<V>> for Slab<K, V> {
    type Output = V;

    fn index(&self, id: Id<V>) -> &V {
        &self.entry(id).1
    }
}

impl<K: Clone + Eq + Hash, V> IndexMut<Id<V>> for Slab<K, V> {
    fn index_mut(&mut self, id: Id<V>) -> &mut V {
        let entry = self.entries[id.0 as usize].as_mut();
        &mut entry.expect("an entry outlives the use of its number").1
    }
}
