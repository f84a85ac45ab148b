//! Many runs by handle, as a bit for each.

use std::fmt;
use std::ops::RangeBounds;

use super::table::Table;
use crate::ids::RunId;

/// Runs in order of handle. What becomes due together has neighbouring handles, so a storm of runs comes and goes at the price of a
/// bit each; one alone costs some hundred bytes.
#[derive(Clone, Default)]
pub struct RunIdSet(Table<RunId, ()>);

impl RunIdSet {
    /// Whether it was not there before.
    pub(super) fn insert(&mut self, id: RunId) -> bool {
        self.0.insert(id, ()).is_none()
    }

    /// Whether it was there.
    pub(super) fn remove(&mut self, id: &RunId) -> bool {
        self.0.remove(id).is_some()
    }

    /// Whether a run is there.
    #[must_use]
    pub fn contains(&self, id: &RunId) -> bool {
        self.0.contains_key(id)
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = RunId> {
        self.0.keys()
    }

    /// Those of a range, in order. Costs a step and what is found.
    pub fn range(&self, ids: impl RangeBounds<RunId>) -> impl DoubleEndedIterator<Item = RunId> {
        self.0.range(ids).map(|(id, ())| id)
    }
}

impl PartialEq for RunIdSet {
    fn eq(&self, other: &Self) -> bool {
        self.len() == other.len() && self.iter().eq(other.iter())
    }
}

impl Eq for RunIdSet {}

impl fmt::Debug for RunIdSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Any sequence of changes leaves what it leaves in a set.
        #[test]
        fn it_is_a_set(steps in prop::collection::vec((any::<bool>(), 0..9_000u64), 0..200), from in 0..9_000u64) {
            let (mut runs, mut set) = (RunIdSet::default(), BTreeSet::new());
            for (insert, id) in steps {
                let id = RunId(id);
                if insert {
                    prop_assert_eq!(runs.insert(id), set.insert(id));
                } else {
                    prop_assert_eq!(runs.remove(&id), set.remove(&id));
                }
                prop_assert_eq!(runs.contains(&id), set.contains(&id));
                prop_assert_eq!(runs.len(), set.len());
            }
            prop_assert!(runs.iter().eq(set.iter().copied()));
            prop_assert!(runs.range(RunId(from)..).eq(set.range(RunId(from)..).copied()));
        }
    }
}
