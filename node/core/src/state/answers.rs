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

use xxhash_rust::xxh3::xxh3_64;

use crate::ids::{DrawnId, UnixMillis};
use crate::state::Subject;
use crate::state::table::Table;

/// The answer to a request id.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// The request id.
    pub id: DrawnId,
    /// Hash of the request.
    pub fingerprint: u64,
    /// When.
    pub answered_at: UnixMillis,
    /// What it was about.
    pub subject: Subject,
}

/// Answers that may be asked for again, by their sequence: counted up in order of answering. Of `HASHES` different hashes: few, in tests, lie in each other's way.
#[derive(Clone, Default)]
pub(super) struct Answers<const HASHES: u64 = { u64::MAX }> {
    by_sequence: Table<u64, Answer>,
    /// Sequences (ANSWERS-1).
    by_hash: BTreeMap<u64, u64>,
}

impl<const HASHES: u64> Answers<HASHES> {
    /// The largest numbers there are, so that the way to a key leads over the end.
    fn hash(id: &DrawnId) -> u64 {
        u64::MAX - xxh3_64(id.as_bytes()) % HASHES
    }

    /// The answer to a request id.
    pub(super) fn get(&self, id: &DrawnId) -> Option<&Answer> {
        let mut key = Self::hash(id);
        while let Some(sequence) = self.by_hash.get(&key) {
            let answer = self.by_sequence.get(sequence)?;
            if answer.id == *id {
                return Some(answer);
            }
            key = key.wrapping_add(1);
        }
        None
    }

    /// All answers there are, in any order; else the sequence of one that is there twice, or whose id has another one.
    pub(super) fn restore(answers: Vec<(u64, Answer)>) -> Result<Self, u64> {
        let mut restored = Self::default();
        let mut by_hash = Vec::with_capacity(answers.len());
        for (sequence, answer) in answers {
            by_hash.push((Self::hash(&answer.id), sequence));
            if restored.by_sequence.insert(sequence, answer).is_some() {
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
            if restored.get(&restored.by_sequence[&sequence].id).is_some() {
                return Err(sequence);
            }
            restored.index(sequence);
        }
        Ok(restored)
    }

    /// Puts in an answer to an id that has none, with a sequence of its own.
    pub(super) fn insert(&mut self, sequence: u64, answer: Answer) {
        // Only damage could have left one there: it must not leave its key behind.
        self.remove(sequence);
        self.by_sequence.insert(sequence, answer);
        self.index(sequence);
    }

    pub(super) fn remove(&mut self, sequence: u64) -> Option<Answer> {
        let mut hole = Self::hash(&self.by_sequence.get(&sequence)?.id);
        while self.by_hash.get(&hole).is_some_and(|found| *found != sequence) {
            hole = hole.wrapping_add(1);
        }
        self.by_hash.remove(&hole);
        // What lies behind it moves into the hole, if the way to it leads over it (ANSWERS-1).
        let mut key = hole.wrapping_add(1);
        while let Some(behind) = self.by_hash.get(&key).copied() {
            let hash = Self::hash(&self.by_sequence[&behind].id);
            if key.wrapping_sub(hash) >= key.wrapping_sub(hole) {
                self.by_hash.remove(&key);
                self.by_hash.insert(hole, behind);
                hole = key;
            }
            key = key.wrapping_add(1);
        }
        self.by_sequence.remove(&sequence)
    }

    /// Whether ANSWERS-1 holds.
    pub(super) fn are_indexed(&self) -> bool {
        self.by_hash.len() == self.by_sequence.len()
            && self.by_hash.iter().all(|(key, sequence)| {
                let Some(answer) = self.by_sequence.get(sequence) else { return false };
                let hash = Self::hash(&answer.id);
                (0..key.wrapping_sub(hash)).all(|step| self.by_hash.contains_key(&hash.wrapping_add(step)))
            })
    }

    /// Gives an answer its key.
    fn index(&mut self, sequence: u64) {
        let mut key = Self::hash(&self.by_sequence[&sequence].id);
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
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &Answer)> {
        self.by_sequence.iter()
    }

    /// Those of some sequences, in order.
    pub(super) fn range(&self, sequences: Range<u64>) -> impl Iterator<Item = (u64, &Answer)> {
        self.by_sequence.range(sequences)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::ids::ScheduleId;

    fn answer(id: &str, fingerprint: u64) -> Answer {
        let subject = Subject::Schedule(ScheduleId(fingerprint));
        Answer { id: id.into(), fingerprint, answered_at: UnixMillis(0), subject }
    }

    proptest! {
        /// Any sequence of answers, of forgetting and of restarts leaves what it leaves in a map by id.
        #[test]
        fn it_is_a_map(steps in prop::collection::vec(("[ab]{1,3}", 0..40u64, 0..5u8), 0..200)) {
            let (mut answers, mut map) = (Answers::<5>::default(), BTreeMap::<String, (u64, Answer)>::new());
            for (next, (id, old, step)) in (1u64..).zip(steps) {
                if step == 0 {
                    let all = answers.iter().map(|(sequence, answer)| (sequence, answer.clone())).collect();
                    answers = Answers::restore(all).expect("nothing is there twice");
                } else if step < 3 {
                    let known = map.iter().find(|(_, (sequence, _))| *sequence == old).map(|(id, _)| id.clone());
                    prop_assert_eq!(answers.remove(old), known.and_then(|id| map.remove(&id)).map(|(_, answer)| answer));
                } else if !map.contains_key(&id) {
                    answers.insert(next, answer(&id, next));
                    map.insert(id.clone(), (next, answer(&id, next)));
                }
                prop_assert!(answers.are_indexed());
                prop_assert_eq!(answers.get(&id.as_str().into()), map.get(&id).map(|(_, answer)| answer));
                let mut in_order: Vec<_> = map.values().map(|(sequence, answer)| (*sequence, answer)).collect();
                in_order.sort_by_key(|(sequence, _)| *sequence);
                prop_assert!(answers.iter().eq(in_order));
                prop_assert!(map.values().all(|(_, answer)| answers.get(&answer.id) == Some(answer)));
            }
        }
    }

    #[test]
    fn a_ulid_and_the_text_of_its_bytes_are_two() {
        let ids = [DrawnId::from(ulid::Ulid::from_bytes([b'A'; 16])), DrawnId::from("AAAAAAAAAAAAAAAA")];
        assert_eq!(ids[0].as_bytes(), ids[1].as_bytes());
        let mut answers = Answers::<{ u64::MAX }>::default();
        for (sequence, id) in (1..).zip(&ids) {
            assert_eq!(answers.get(id), None);
            answers.insert(sequence, Answer { id: id.clone(), ..answer("", sequence) });
        }
        for (sequence, id) in (1..).zip(&ids) {
            assert_eq!(answers.get(id).map(|answer| answer.fingerprint), Some(sequence));
        }
    }

    #[test]
    fn what_is_restored_is_found_and_nothing_is_there_twice() {
        let given = |id: &str, sequence| (sequence, answer(id, sequence));
        type Few = Answers<2>;
        let restored = Few::restore(vec![given("c", 3), given("a", 1), given("b", 2)]).unwrap();
        for (id, sequence) in [("a", 1), ("b", 2), ("c", 3)] {
            assert_eq!(restored.get(&id.into()), Some(&answer(id, sequence)));
        }
        assert!(restored.are_indexed());
        assert_eq!(Few::restore(vec![given("a", 1), given("b", 1)]).err(), Some(1));
        assert_eq!(Few::restore(vec![given("a", 1), given("b", 2), given("a", 3)]).err(), Some(3));
    }
}
