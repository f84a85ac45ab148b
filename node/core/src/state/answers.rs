//! Answers to request ids (API-2).
//!
//! They are stored and forgotten in the order in which they were given, so that is how they lie. An id is found by a hash of it:
//! numbers in a tree cost a fourth of what texts do, and comparing them touches no further memory.

use std::collections::BTreeSet;
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

/// Answers that may be asked for again, with their request ids.
#[derive(Clone, Default)]
pub(super) struct Answers {
    by_sequence: Table<u64, (Arc<str>, Answer)>,
    /// Sequences by the hash of the id. Ids that share one lie beside each other.
    by_hash: BTreeSet<(u64, u64)>,
}

impl Answers {
    /// The answer to a request id.
    pub(super) fn get(&self, id: &str) -> Option<&Answer> {
        let hash = xxh3_64(id.as_bytes());
        let sequences = self.by_hash.range((hash, 0)..=(hash, u64::MAX));
        let mut found = sequences.filter_map(|(_, sequence)| self.by_sequence.get(sequence));
        found.find(|(other, _)| **other == *id).map(|(_, answer)| answer)
    }

    /// Whether there is an answer of this sequence.
    pub(super) fn holds(&self, sequence: u64) -> bool {
        self.by_sequence.contains_key(&sequence)
    }

    /// Puts in an answer to an id that has none, with a sequence of its own.
    pub(super) fn insert(&mut self, id: Arc<str>, answer: Answer) {
        self.by_hash.insert((xxh3_64(id.as_bytes()), answer.sequence));
        self.by_sequence.insert(answer.sequence, (id, answer));
    }

    pub(super) fn remove(&mut self, sequence: u64) -> Option<Answer> {
        let (id, answer) = self.by_sequence.remove(&sequence)?;
        self.by_hash.remove(&(xxh3_64(id.as_bytes()), sequence));
        Some(answer)
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
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::ids::ScheduleId;

    fn answer(sequence: u64) -> Answer {
        let subject = Subject::Schedule(ScheduleId(sequence));
        Answer { sequence, fingerprint: sequence, answered_at: UnixMillis(0), subject }
    }

    proptest! {
        /// Any sequence of answers and of forgetting leaves what it leaves in a map by id.
        #[test]
        fn it_is_a_map(steps in prop::collection::vec(("[ab]{1,3}", 0..40u64, any::<bool>()), 0..200)) {
            let (mut answers, mut map) = (Answers::default(), BTreeMap::<String, Answer>::new());
            for (next, (id, old, forget)) in (1u64..).zip(steps) {
                if forget {
                    let known = map.iter().find(|(_, answer)| answer.sequence == old).map(|(id, _)| id.clone());
                    prop_assert_eq!(answers.remove(old), known.and_then(|id| map.remove(&id)));
                } else if !map.contains_key(&id) {
                    answers.insert(id.as_str().into(), answer(next));
                    map.insert(id.clone(), answer(next));
                }
                prop_assert_eq!(answers.get(&id), map.get(&id));
                let mut in_order: Vec<_> = map.values().collect();
                in_order.sort_by_key(|answer| answer.sequence);
                prop_assert!(answers.values().eq(in_order));
                prop_assert_eq!(answers.by_hash.len(), map.len());
            }
        }
    }

    #[test]
    fn ids_that_share_a_hash_are_told_apart() {
        let mut answers = Answers::default();
        answers.insert("mine".into(), answer(1));
        // As if the hash of another id were the same.
        answers.by_sequence.insert(2, ("other".into(), answer(2)));
        answers.by_hash.insert((xxh3_64(b"mine"), 2));
        answers.by_sequence.insert(0, ("another".into(), answer(0)));
        answers.by_hash.insert((xxh3_64(b"mine"), 0));
        assert_eq!(answers.get("mine").map(|answer| answer.sequence), Some(1));
        assert_eq!(answers.range(0..2).map(|(id, _)| &**id).collect::<Vec<_>>(), ["another", "mine"]);
    }
}
