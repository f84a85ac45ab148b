//! The few runs of one schedule that wait together.

use std::ops::RangeFrom;

use smallvec::SmallVec;

use crate::ids::RunId;

/// Runs in order of handle. Nearly always one or two, which need no memory of their own; at most as many as a policy lets wait.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(super) struct RunSet(SmallVec<[RunId; 2]>);

impl RunSet {
    pub(super) const fn new() -> Self {
        Self(SmallVec::new_const())
    }

    pub(super) fn insert(&mut self, id: RunId) {
        if let Err(at) = self.0.binary_search(&id) {
            self.0.insert(at, id);
        }
    }

    pub(super) fn remove(&mut self, id: &RunId) {
        if let Ok(at) = self.0.binary_search(id) {
            self.0.remove(at);
        }
    }

    pub(super) fn contains(&self, id: &RunId) -> bool {
        self.0.binary_search(id).is_ok()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn first(&self) -> Option<&RunId> {
        self.0.first()
    }

    pub(super) fn last(&self) -> Option<&RunId> {
        self.0.last()
    }

    pub(super) fn iter(&self) -> std::slice::Iter<'_, RunId> {
        self.0.iter()
    }

    /// Those from a handle on.
    pub(super) fn range(&self, from: RangeFrom<RunId>) -> std::slice::Iter<'_, RunId> {
        let first = self.0.partition_point(|id| *id < from.start);
        self.0[first..].iter()
    }
}

impl<'a> IntoIterator for &'a RunSet {
    type Item = &'a RunId;
    type IntoIter = std::slice::Iter<'a, RunId>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_keeps_order_and_knows_each_once() {
        let mut set = RunSet::default();
        [5, 1, 3, 5, 2].into_iter().for_each(|id| set.insert(RunId(id)));
        assert_eq!(set.iter().map(|id| id.0).collect::<Vec<_>>(), [1, 2, 3, 5]);
        set.remove(&RunId(2));
        set.remove(&RunId(4));
        assert_eq!((set.len(), set.contains(&RunId(2)), set.contains(&RunId(3))), (3, false, true));
        assert_eq!(set.range(RunId(2)..).copied().collect::<Vec<_>>(), [RunId(3), RunId(5)]);
        assert_eq!((set.first(), set.last()), (Some(&RunId(1)), Some(&RunId(5))));
    }
}
