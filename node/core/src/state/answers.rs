//! Answers to request ids (API-2).
//!
//! They are stored and forgotten in the order in which they were given, so that is how they lie. An id is found by a hash of it, in
//! tables that each grow by themselves: no answer waits until those of a million others have moved.
//!
//! - ANSWERS-1: each answer is found by its id, and nothing else is.
//! - ANSWERS-2: sequences, the next one among them, are less than 2^32 apart, so that the lower half of one tells which: they are counted
//!   up without a gap, the oldest are forgotten first, and more do not fit into a node.

use std::ops::Range;

use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_64;

use crate::ids::{DrawnId, UnixMillis};
use crate::state::table::Table;
use crate::state::{RestoreError, Subject};

/// Tables of hashes: with a million answers, each has a thousand.
const TABLES: usize = 1024;
/// Room that a table keeps when its answers are forgotten: half a kilobyte.
const SMALL: usize = 64;

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

/// Answers that may be asked for again, by their sequence: counted up in order of answering.
#[derive(Clone)]
pub(super) struct Answers {
    by_sequence: Table<u64, Answer>,
    /// Only looked up, never gone through: their order is none.
    by_id: Vec<HashTable<Entry>>,
}

/// Where an answer is, by its id.
#[derive(Clone, Copy)]
struct Entry {
    /// The lower half of a hash of the id.
    hash: u32,
    /// The lower half of its sequence (ANSWERS-2).
    sequence: u32,
}

impl Default for Answers {
    fn default() -> Self {
        Self { by_sequence: Table::default(), by_id: vec![HashTable::new(); TABLES] }
    }
}

/// Which table an id is in, by bits of its hash that are not used in there; and the lower half of its hash.
fn place_of(id: &DrawnId) -> (usize, u32) {
    let hash = xxh3_64(id.as_bytes());
    let (upper, lower) = ((hash >> 32) as usize, hash as u32);
    (upper % TABLES, lower)
}

/// A hash as hashbrown takes it: the lowest bits choose a bucket, the highest seven are compared first.
fn spread(hash: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(hash)
}

fn lower_half(sequence: u64) -> u32 {
    sequence as u32
}

impl Answers {
    /// The sequence of the answer to a request id.
    fn find(&self, id: &DrawnId) -> Option<u64> {
        self.find_at(place_of(id), id)
    }

    fn find_at(&self, (table, hash): (usize, u32), id: &DrawnId) -> Option<u64> {
        let is_its = |entry: &Entry| {
            let answer = || self.by_sequence.get(&self.whole(entry.sequence)?);
            entry.hash == hash && answer().is_some_and(|answer| answer.id == *id)
        };
        self.by_id[table].find(spread(hash), is_its).and_then(|entry| self.whole(entry.sequence))
    }

    /// The sequence with this lower half (ANSWERS-2); none if there are no answers.
    fn whole(&self, half: u32) -> Option<u64> {
        let first = self.by_sequence.keys().next()?;
        Some(first.wrapping_add(half.wrapping_sub(lower_half(first)).into()))
    }

    /// The answer to a request id.
    pub(super) fn get(&self, id: &DrawnId) -> Option<&Answer> {
        self.by_sequence.get(&self.find(id)?)
    }

    /// All answers there are, in any order, with the sequence of the next one.
    pub(super) fn restore(answers: Vec<(u64, Answer)>, next: u64) -> Result<Self, RestoreError> {
        const WHAT: &str = "answer";
        let mut restored = Self::default();
        let first = answers.iter().map(|(sequence, _)| *sequence).min().unwrap_or(next);
        for sequence in answers.iter().map(|(sequence, _)| *sequence).chain([next]) {
            if sequence.saturating_sub(first) > u64::from(u32::MAX) {
                return Err(RestoreError::TooFar { what: WHAT, id: sequence, first });
            }
        }
        // Table by table: to go to and fro between them takes twice as long.
        let mut entries = vec![Vec::new(); TABLES];
        for (sequence, answer) in answers {
            let (table, hash) = place_of(&answer.id);
            if restored.by_sequence.insert(sequence, answer).is_some() {
                return Err(RestoreError::Twice { what: WHAT, id: sequence });
            }
            entries[table].push((hash, sequence));
        }
        for (table, entries) in entries.into_iter().enumerate() {
            restored.by_id[table] = HashTable::with_capacity(entries.len());
            for (hash, sequence) in entries {
                if restored.find_at((table, hash), &restored.by_sequence[&sequence].id).is_some() {
                    return Err(RestoreError::Twice { what: WHAT, id: sequence });
                }
                restored.put_at((table, hash), sequence);
            }
        }
        Ok(restored)
    }

    /// Puts in an answer to an id that has none, with a sequence of its own.
    pub(super) fn insert(&mut self, sequence: u64, answer: Answer) {
        // Only damage could have left one there: it must not be found by another id.
        self.remove(sequence);
        self.put_at(place_of(&answer.id), sequence);
        self.by_sequence.insert(sequence, answer);
    }

    fn put_at(&mut self, (table, hash): (usize, u32), sequence: u64) {
        let entry = Entry { hash, sequence: lower_half(sequence) };
        self.by_id[table].insert_unique(spread(hash), entry, |entry| spread(entry.hash));
    }

    pub(super) fn remove(&mut self, sequence: u64) -> Option<Answer> {
        let answer = self.by_sequence.remove(&sequence)?;
        let (table, hash) = place_of(&answer.id);
        let table = &mut self.by_id[table];
        if let Ok(found) = table.find_entry(spread(hash), |entry| entry.sequence == lower_half(sequence)) {
            found.remove();
        }
        if table.capacity() > SMALL && table.len() * 8 < table.capacity() {
            table.shrink_to(table.len() * 2, |entry| spread(entry.hash));
        }
        Some(answer)
    }

    /// Whether ANSWERS-1 holds.
    pub(super) fn are_indexed(&self) -> bool {
        self.by_id.iter().map(HashTable::len).sum::<usize>() == self.by_sequence.len()
            && self.iter().all(|(sequence, answer)| self.find(&answer.id) == Some(sequence))
    }

    pub(super) fn len(&self) -> usize {
        self.by_sequence.len()
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
    use std::collections::BTreeMap;

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
            let (mut answers, mut map) = (Answers::default(), BTreeMap::<String, (u64, Answer)>::new());
            // Sequences that go on over their lower halves (ANSWERS-2).
            let first = (1 << 32) - 20;
            for (next, (id, old, step)) in (first..).zip(steps) {
                let old = first + old;
                if step == 0 {
                    let all = answers.iter().map(|(sequence, answer)| (sequence, answer.clone())).collect();
                    answers = Answers::restore(all, next).expect("nothing is there twice");
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
    fn what_is_forgotten_takes_no_room() {
        let mut answers = Answers::default();
        let room = |answers: &Answers| answers.by_id.iter().map(HashTable::capacity).sum::<usize>();
        let count = (TABLES * SMALL * 4) as u64;
        for sequence in 0..count {
            answers.insert(sequence, answer(&sequence.to_string(), sequence));
        }
        assert!(room(&answers) > TABLES * SMALL * 4);
        for sequence in 1..count {
            answers.remove(sequence);
        }
        assert!(answers.are_indexed() && answers.by_sequence.len() == 1);
        assert!(room(&answers) <= TABLES * SMALL, "{} places for one answer", room(&answers));
    }

    #[test]
    fn a_ulid_and_the_text_of_its_bytes_are_two() {
        let ids = [DrawnId::from(ulid::Ulid::from_bytes([b'A'; 16])), DrawnId::from("AAAAAAAAAAAAAAAA")];
        assert_eq!(ids[0].as_bytes(), ids[1].as_bytes());
        let mut answers = Answers::default();
        for (sequence, id) in (1..).zip(&ids) {
            assert_eq!(answers.get(id), None);
            answers.insert(sequence, Answer { id: id.clone(), ..answer("", sequence) });
        }
        for (sequence, id) in (1..).zip(&ids) {
            assert_eq!(answers.get(id).map(|answer| answer.fingerprint), Some(sequence));
        }
        answers.remove(1);
        assert_eq!((answers.find(&ids[0]), answers.find(&ids[1])), (None, Some(2)));
        // Another one over a sequence that is taken.
        answers.insert(2, Answer { id: ids[0].clone(), ..answer("", 3) });
        assert_eq!((answers.find(&ids[0]), answers.find(&ids[1])), (Some(2), None));
        assert!(answers.are_indexed());
    }

    #[test]
    fn answers_2_sequences_go_on_over_their_lower_halves() {
        let begin = (3 << 32) - 5;
        let mut answers = Answers::default();
        for sequence in begin..begin + 10 {
            answers.insert(sequence, answer(&sequence.to_string(), sequence));
        }
        for kept in (begin..begin + 10).map(|first| first..begin + 10) {
            for sequence in begin..begin + 10 {
                let found = answers.find(&sequence.to_string().as_str().into());
                assert_eq!(found, kept.contains(&sequence).then_some(sequence));
            }
            assert!(answers.are_indexed());
            answers.remove(kept.start);
        }
        let given = |sequence: u64| (sequence, answer(&sequence.to_string(), sequence));
        let (near, far) = (1 + (1 << 32), 2 + (1 << 32));
        for (some, next) in
            [((begin..begin + 10).rev().map(given).collect(), 0), (vec![given(near), given(2)], near)]
        {
            assert!(Answers::restore(some, next).is_ok_and(|restored| restored.are_indexed()));
        }
        for (last, next, id) in [(far, near, far), (near, far, far), (u64::MAX, 0, u64::MAX)] {
            let refused = Answers::restore(vec![given(last), given(2)], next).err();
            assert_eq!(refused, Some(RestoreError::TooFar { what: "answer", id, first: 2 }));
        }
    }

    #[test]
    fn what_is_restored_is_found_and_nothing_is_there_twice() {
        let given = |id: &str, sequence| (sequence, answer(id, sequence));
        let restored = Answers::restore(vec![given("c", 3), given("a", 1), given("b", 2)], 4);
        let restored = restored.expect("three ids, and sequences side by side");
        for (id, sequence) in [("a", 1), ("b", 2), ("c", 3)] {
            assert_eq!(restored.get(&id.into()), Some(&answer(id, sequence)));
        }
        assert!(restored.are_indexed());
        let twice = |id| Some(RestoreError::Twice { what: "answer", id });
        assert_eq!(Answers::restore(vec![given("a", 1), given("b", 1)], 4).err(), twice(1));
        assert_eq!(Answers::restore(vec![given("a", 1), given("b", 2), given("a", 3)], 4).err(), twice(3));
    }
}
