//! Answers to request ids (API-2).
//!
//! They are stored and forgotten in the order in which they were given, so that is how they lie. An id is found by a hash of it:
//! numbers in a tree cost a fourth of what texts do, and comparing them touches no further memory.
//!
//! - ANSWERS-1: each answer has a key in `by_hash`: the hash of its id, or where that is taken, the next number that is not. From the
//!   hash up to the key, no number is free. So a look-up ends at the first free one (linear probing; Knuth, TAOCP 3, 6.4, algorithms L
//!   and R).

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::ops::Range;
use std::sync::Arc;

use xxhash_rust::xxh3::xxh3_64;

use crate::ids::UnixMillis;
use crate::state::Subject;
use crate::state::table::Table;

/// The answer to a request id.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// In order of answering.
    pub sequence: u64,
    /// Hash of the request.
    pub fingerprint: u64,
    /// When.
    pub answered_at: UnixMillis,
    /// What it was about.
    pub subject: Subject,
}

/// Answers that may be asked for again, with their request ids. Of `HASHES` different hashes: few, in tests, lie in each other's way.
#[derive(Clone, Default)]
pub(super) struct Answers<const HASHES: u64 = { u64::MAX }> {
    by_sequence: Table<u64, (Arc<str>, Answer)>,
    /// Sequences (ANSWERS-1).
    by_hash: BTreeMap<u64, u64>,
}

impl<const HASHES: u64> Answers<HASHES> {
    /// The largest numbers there are, so that the way to a key leads over the end.
    fn hash(id: &str) -> u64 {
        u64::MAX - xxh3_64(id.as_bytes()) % HASHES
    }

    /// The answer to a request id.
    pub(super) fn get(&self, id: &str) -> Option<&Answer> {
        let mut key = Self::hash(id);
        while let Some(sequence) = self.by_hash.get(&key) {
            let (other, answer) = self.by_sequence.get(sequence)?;
            if **other == *id {
                return Some(answer);
            }
            key = key.wrapping_add(1);
        }
        None
    }

    /// All answers there are, in any order; else the sequence of one that is there twice, or whose id has another one.
    pub(super) fn restore(answers: Vec<(Arc<str>, Answer)>) -> Result<Self, u64> {
        let mut restored = Self::default();
        let mut by_hash = Vec::with_capacity(answers.len());
        for (id, answer) in answers {
            let sequence = answer.sequence;
            by_hash.push((Self::hash(&id), sequence));
            if restored.by_sequence.insert(sequence, (id, answer)).is_some() {
                return Err(sequence);
            }
        }
        by_hash.sort_unstable();
        let (mut last, mut shared) = (None, Vec::new());
        by_hash.retain(|(hash, sequence)| {
            let is_first = last.replace(*hash) != Some(*hash);
            if !is_first {
                shared.push(*sequence);
            }
            is_first
        });
        // From what is sorted: faster by far than putting in one by one, and no node of the tree is half empty.
        restored.by_hash = by_hash.into_iter().collect();
        for sequence in shared {
            if restored.get(&restored.by_sequence[&sequence].0).is_some() {
                return Err(sequence);
            }
            restored.index(sequence);
        }
        Ok(restored)
    }

    /// Puts in an answer to an id that has none, with a sequence of its own.
    pub(super) fn insert(&mut self, id: Arc<str>, answer: Answer) {
        let sequence = answer.sequence;
        // Only damage could have left one there: it must not leave its key behind.
        self.remove(sequence);
        self.by_sequence.insert(sequence, (id, answer));
        self.index(sequence);
    }

    pub(super) fn remove(&mut self, sequence: u64) -> Option<Answer> {
        let mut hole = Self::hash(&self.by_sequence.get(&sequence)?.0);
        while self.by_hash.get(&hole).is_some_and(|found| *found != sequence) {
            hole = hole.wrapping_add(1);
        }
        self.by_hash.remove(&hole);
        // What lies behind it moves into the hole, if the way to it leads over it (ANSWERS-1).
        let mut key = hole.wrapping_add(1);
        while let Some(behind) = self.by_hash.get(&key).copied() {
            let hash = Self::hash(&self.by_sequence[&behind].0);
            if key.wrapping_sub(hash) >= key.wrapping_sub(hole) {
                self.by_hash.remove(&key);
                self.by_hash.insert(hole, behind);
                hole = key;
            }
            key = key.wrapping_add(1);
        }
        self.by_sequence.remove(&sequence).map(|(_, answer)| answer)
    }

    /// Whether ANSWERS-1 holds.
    pub(super) fn are_indexed(&self) -> bool {
        self.by_hash.len() == self.by_sequence.len()
            && self.by_hash.iter().all(|(key, sequence)| {
                let Some((id, _)) = self.by_sequence.get(sequence) else { return false };
                let hash = Self::hash(id);
                (0..key.wrapping_sub(hash)).all(|step| self.by_hash.contains_key(&hash.wrapping_add(step)))
            })
    }

    /// Gives an answer its key.
    fn index(&mut self, sequence: u64) {
        let mut key = Self::hash(&self.by_sequence[&sequence].0);
        loop {
            match self.by_hash.entry(key) {
                Entry::Vacant(free) => {
                    free.insert(sequence);
                    return;
                }
                Entry::Occupied(_) => key = key.wrapping_add(1),
            }
        }
    }

    /// In order of answering.
    pub(super) fn values(&self) -> impl Iterator<Item = &Answer> {
        self.by_sequence.values().map(|(_, answer)| answer)
    }

    /// Those of some sequences, with their ids, in order.
    pub(super) fn range(&self, sequences: Range<u64>) -> impl Iterator<Item = &(Arc<str>, Answer)> {
        self.by_sequence.range(sequences).map(|(_, answer)| answer)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ids::ScheduleId;

    fn answer(sequence: u64) -> Answer {
        let subject = Subject::Schedule(ScheduleId(sequence));
        Answer { sequence, fingerprint: sequence, answered_at: UnixMillis(0), subject }
    }

    proptest! {
        /// Any sequence of answers, of forgetting and of restarts leaves what it leaves in a map by id.
        #[test]
        fn it_is_a_map(steps in prop::collection::vec(("[ab]{1,3}", 0..40u64, 0..5u8), 0..200)) {
            let (mut answers, mut map) = (Answers::<5>::default(), BTreeMap::<String, Answer>::new());
            for (next, (id, old, step)) in (1u64..).zip(steps) {
                if step == 0 {
                    let all = answers.range(0..u64::MAX).cloned().collect();
                    answers = Answers::restore(all).expect("nothing is there twice");
                } else if step < 3 {
                    let known = map.iter().find(|(_, answer)| answer.sequence == old).map(|(id, _)| id.clone());
                    prop_assert_eq!(answers.remove(old), known.and_then(|id| map.remove(&id)));
                } else if !map.contains_key(&id) {
                    answers.insert(id.as_str().into(), answer(next));
                    map.insert(id.clone(), answer(next));
                }
                prop_assert!(answers.are_indexed());
                prop_assert_eq!(answers.get(&id), map.get(&id));
                let mut in_order: Vec<_> = map.values().collect();
                in_order.sort_by_key(|answer| answer.sequence);
                prop_assert!(answers.values().eq(in_order));
                prop_assert!(map.iter().all(|(id, answer)| answers.get(id) == Some(answer)));
            }
        }
    }

    #[test]
    fn what_is_restored_is_found_and_nothing_is_there_twice() {
        let given = |id: &str, sequence| (Arc::<str>::from(id), answer(sequence));
        type Few = Answers<2>;
        let restored = Few::restore(vec![given("c", 3), given("a", 1), given("b", 2)]).unwrap();
        for (id, sequence) in [("a", 1), ("b", 2), ("c", 3)] {
            assert_eq!(restored.get(id), Some(&answer(sequence)));
        }
        assert!(restored.are_indexed());
        assert_eq!(Few::restore(vec![given("a", 1), given("b", 1)]).err(), Some(1));
        assert_eq!(Few::restore(vec![given("a", 1), given("b", 2), given("a", 3)]).err(), Some(3));
    }
}
