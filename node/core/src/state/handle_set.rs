//! Many handles that come and go together.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use smallvec::SmallVec;

use super::table::Handle;

/// More handles than so many are kept as bits: until then, searching a list of two cache lines is no slower than a step in a tree.
const FEW: usize = 16;
/// Handles of a word of bits.
const SPAN: u64 = 64;

/// Handles in order. Those of a storm are neighbours and cost a bit each; one alone costs nothing beside its place, and one of many
/// that lie far apart what it costs in a tree of handles, and half as much again.
#[derive(Clone)]
pub(super) struct HandleSet<H> {
    handles: Handles,
    of: PhantomData<H>,
}

#[derive(Clone)]
enum Handles {
    /// At most [`FEW`].
    Few(SmallVec<[u64; 2]>),
    /// Words, none of them 0, by the number of the first handle through [`SPAN`].
    Many(BTreeMap<u64, u64>),
}

fn bit_of(number: u64) -> u64 {
    1 << (number % SPAN)
}

impl<H> Default for HandleSet<H> {
    fn default() -> Self {
        Self { handles: Handles::Few(SmallVec::new()), of: PhantomData }
    }
}

impl<H: Handle> HandleSet<H> {
    /// Whether it was not there before.
    pub(super) fn insert(&mut self, handle: H) -> bool {
        let number = handle.number();
        match &mut self.handles {
            Handles::Many(words) => {
                let word = words.entry(number / SPAN).or_default();
                let is_new = *word & bit_of(number) == 0;
                *word |= bit_of(number);
                is_new
            }
            Handles::Few(few) => {
                let Err(place) = few.binary_search(&number) else { return false };
                few.insert(place, number);
                if few.len() > FEW {
                    let mut words = BTreeMap::new();
                    for number in &*few {
                        *words.entry(number / SPAN).or_default() |= bit_of(*number);
                    }
                    self.handles = Handles::Many(words);
                }
                true
            }
        }
    }

    /// Whether it was there.
    pub(super) fn remove(&mut self, handle: &H) -> bool {
        let number = handle.number();
        match &mut self.handles {
            Handles::Many(words) => {
                let Some(word) = words.get_mut(&(number / SPAN)) else { return false };
                let was_there = *word & bit_of(number) != 0;
                *word &= !bit_of(number);
                if *word == 0 {
                    words.remove(&(number / SPAN));
                }
                was_there
            }
            Handles::Few(few) => {
                let Ok(place) = few.binary_search(&number) else { return false };
                few.remove(place);
                true
            }
        }
    }

    pub(super) fn contains(&self, handle: &H) -> bool {
        let number = handle.number();
        match &self.handles {
            Handles::Many(words) => {
                words.get(&(number / SPAN)).is_some_and(|word| word & bit_of(number) != 0)
            }
            Handles::Few(few) => few.binary_search(&number).is_ok(),
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        match &self.handles {
            Handles::Many(words) => words.is_empty(),
            Handles::Few(few) => few.is_empty(),
        }
    }

    /// In order.
    pub(super) fn iter(&self) -> impl Iterator<Item = H> + '_ {
        let (few, many) = match &self.handles {
            Handles::Many(words) => (&[][..], Some(words)),
            Handles::Few(few) => (&few[..], None),
        };
        let of_words = many
            .into_iter()
            .flatten()
            .flat_map(|(index, word)| bits(*word).map(move |bit| index * SPAN + bit));
        few.iter().copied().chain(of_words).map(H::of_number)
    }
}

/// What it holds counts, not how.
impl<H: Handle> PartialEq for HandleSet<H> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl<H: Handle> Eq for HandleSet<H> {}

impl<H: Handle + fmt::Debug> fmt::Debug for HandleSet<H> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// The places of the bits that are set, in order.
fn bits(word: u64) -> impl Iterator<Item = u64> {
    let mut left = word;
    std::iter::from_fn(move || {
        let lowest = (left != 0).then(|| left.trailing_zeros())?;
        left &= left - 1;
        Some(lowest.into())
    })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::ids::RunId;

    /// Neighbours, and some that are far from all others.
    fn handle() -> impl Strategy<Value = u64> {
        prop_oneof![4 => 0..200u64, 1 => any::<u64>(), 1 => Just(u64::MAX)]
    }

    proptest! {
        /// Any sequence of changes leaves what it leaves in a set, on both sides of [`FEW`] and down to none.
        #[test]
        fn it_is_a_set(
            steps in prop::collection::vec((prop::bool::weighted(0.7), handle()), 0..120),
            rest in any::<bool>(),
        ) {
            let (mut handles, mut set) = (HandleSet::<RunId>::default(), BTreeSet::new());
            for (insert, number) in steps {
                let id = RunId(number);
                if insert {
                    prop_assert_eq!(handles.insert(id), set.insert(id));
                } else {
                    prop_assert_eq!(handles.remove(&id), set.remove(&id));
                }
                prop_assert_eq!(handles.contains(&id), set.contains(&id));
                prop_assert_eq!(handles.is_empty(), set.is_empty());
            }
            prop_assert!(handles.iter().eq(set.iter().copied()));
            for id in set.iter().filter(|_| rest) {
                prop_assert!(handles.remove(id));
            }
            prop_assert_eq!(handles.is_empty(), rest || set.is_empty());
            prop_assert_eq!(handles.iter().count(), if rest { 0 } else { set.len() });
        }
    }
}
