//! Records by handle.
//!
//! Handles are counted up, so records of neighbouring handles share a page: finding one costs a step in a tree that is 64 times
//! smaller than the table, and what a batch touches lies together. A page keeps only the records that are there, so what
//! retention leaves of a page costs what it holds.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::ops::{Bound, Index, RangeBounds};

use crate::ids::{RunId, ScheduleId};

/// Handles per page: as many as [`Page::present`] has bits.
const SPAN: u64 = 64;

/// A number that names a record.
pub(super) trait Handle: Copy + Ord {
    fn number(self) -> u64;
    fn of_number(number: u64) -> Self;
}

impl Handle for RunId {
    fn number(self) -> u64 {
        self.0
    }
    fn of_number(number: u64) -> Self {
        Self(number)
    }
}

impl Handle for ScheduleId {
    fn number(self) -> u64 {
        self.0
    }
    fn of_number(number: u64) -> Self {
        Self(number)
    }
}

/// A map from handles to records, in order of handle.
#[derive(Clone)]
pub(super) struct Table<H, T> {
    pages: BTreeMap<u64, Page<T>>,
    len: usize,
    handles: PhantomData<H>,
}

#[derive(Clone)]
struct Page<T> {
    /// Bit n: there is a record of the page's n-th handle.
    present: u64,
    /// Those records, in order.
    records: Vec<T>,
}

impl<T> Page<T> {
    /// Where the record of the page's `place`-th handle is, or would be.
    fn index(&self, place: u32) -> usize {
        (self.present & ((1 << place) - 1)).count_ones() as usize
    }

    fn holds(&self, place: u32) -> bool {
        self.present & (1 << place) != 0
    }

    fn get(&self, place: u32) -> Option<&T> {
        self.holds(place).then(|| &self.records[self.index(place)])
    }

    fn iter(&self) -> Records<'_, T> {
        Records { present: self.present, records: self.records.iter() }
    }
}

/// Records of a page with their places.
struct Records<'a, T> {
    /// The places of those that are left.
    present: u64,
    records: std::slice::Iter<'a, T>,
}

impl<'a, T> Iterator for Records<'a, T> {
    type Item = (u32, &'a T);

    fn next(&mut self) -> Option<Self::Item> {
        let record = self.records.next()?;
        let place = self.present.trailing_zeros();
        self.present &= !(1 << place);
        Some((place, record))
    }
}

impl<T> DoubleEndedIterator for Records<'_, T> {
    fn next_back(&mut self) -> Option<Self::Item> {
        let record = self.records.next_back()?;
        let place = u64::BITS - 1 - self.present.leading_zeros();
        self.present &= !(1 << place);
        Some((place, record))
    }
}

/// The page of a handle, and its place there.
fn place_of<H: Handle>(handle: H) -> (u64, u32) {
    let place = u32::try_from(handle.number() % SPAN).expect("it is below 64");
    (handle.number() / SPAN, place)
}

impl<H, T> Default for Table<H, T> {
    fn default() -> Self {
        Self { pages: BTreeMap::new(), len: 0, handles: PhantomData }
    }
}

impl<H: Handle, T> Table<H, T> {
    pub(super) fn get(&self, handle: &H) -> Option<&T> {
        let (page, place) = place_of(*handle);
        self.pages.get(&page)?.get(place)
    }

    pub(super) fn get_mut(&mut self, handle: &H) -> Option<&mut T> {
        let (page, place) = place_of(*handle);
        let page = self.pages.get_mut(&page)?;
        let index = page.index(place);
        page.holds(place).then(|| &mut page.records[index])
    }

    pub(super) fn contains_key(&self, handle: &H) -> bool {
        self.get(handle).is_some()
    }

    /// Puts a record in; gives the one that was there.
    pub(super) fn insert(&mut self, handle: H, record: T) -> Option<T> {
        let (page, place) = place_of(handle);
        let page = self.pages.entry(page).or_insert_with(|| Page { present: 0, records: Vec::new() });
        let index = page.index(place);
        if page.holds(place) {
            return Some(std::mem::replace(&mut page.records[index], record));
        }
        page.records.insert(index, record);
        page.present |= 1 << place;
        self.len += 1;
        None
    }

    /// Takes a record out.
    pub(super) fn remove(&mut self, handle: &H) -> Option<T> {
        let (number, place) = place_of(*handle);
        let page = self.pages.get_mut(&number)?;
        if !page.holds(place) {
            return None;
        }
        let record = page.records.remove(page.index(place));
        page.present &= !(1 << place);
        self.len -= 1;
        if page.records.is_empty() {
            self.pages.remove(&number);
        } else if page.records.len() * 4 <= page.records.capacity() {
            page.records.shrink_to(page.records.len() * 2);
        }
        Some(record)
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = (H, &T)> {
        self.range(..)
    }

    pub(super) fn keys(&self) -> impl DoubleEndedIterator<Item = H> {
        self.iter().map(|(handle, _)| handle)
    }

    pub(super) fn values(&self) -> impl DoubleEndedIterator<Item = &T> {
        self.pages.values().flat_map(|page| page.records.iter())
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.pages.values_mut().flat_map(|page| page.records.iter_mut())
    }

    /// Records of a range of handles. Costs a step and what is found, and a look at the rest of the pages at both ends.
    pub(super) fn range(&self, handles: impl RangeBounds<H>) -> impl DoubleEndedIterator<Item = (H, &T)> {
        let number = |handle: &H| handle.number();
        let (from, to) = (handles.start_bound().map(number), handles.end_bound().map(number));
        let first = match from {
            Bound::Included(number) => number,
            Bound::Excluded(number) => number.saturating_add(1),
            Bound::Unbounded => 0,
        };
        // The handle behind the last one is out of the range, but may share its page.
        let last = match to {
            Bound::Included(number) | Bound::Excluded(number) => number.max(first),
            Bound::Unbounded => u64::MAX,
        };
        let pages = self.pages.range(first / SPAN..=last / SPAN);
        let records = pages.flat_map(|(number, page)| {
            let first = number * SPAN;
            page.iter().map(move |(place, record)| (first + u64::from(place), record))
        });
        let within = move |(number, _): &(u64, &T)| (from, to).contains(number);
        records.filter(within).map(|(number, record)| (H::of_number(number), record))
    }
}

impl<H: Handle, T> Index<&H> for Table<H, T> {
    type Output = T;

    fn index(&self, handle: &H) -> &T {
        self.get(handle).expect("callers index records that exist")
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// Any sequence of changes leaves what it leaves in a map.
        #[test]
        fn it_is_a_map(steps in prop::collection::vec((any::<bool>(), 0..300u64, any::<u8>()), 0..200), ends in (0..320u64, 0..320u64)) {
            let (mut table, mut map) = (Table::<RunId, u8>::default(), BTreeMap::new());
            for (insert, id, record) in steps {
                let id = RunId(id);
                if insert {
                    prop_assert_eq!(table.insert(id, record), map.insert(id, record));
                } else {
                    prop_assert_eq!(table.remove(&id), map.remove(&id));
                }
                prop_assert_eq!(table.get(&id), map.get(&id));
                prop_assert_eq!(table.get_mut(&id), map.get_mut(&id));
                prop_assert_eq!(table.len(), map.len());
            }
            let owned = |(id, record): (RunId, &u8)| (id, *record);
            let of_map = |(id, record): (&RunId, &u8)| (*id, *record);
            prop_assert!(table.iter().map(owned).eq(map.iter().map(of_map)));
            prop_assert!(table.values().eq(map.values()));
            prop_assert!(table.keys().eq(map.keys().copied()));
            let (from, to) = (RunId(ends.0.min(ends.1)), RunId(ends.0.max(ends.1)));
            prop_assert!(table.range(from..to).map(owned).eq(map.range(from..to).map(of_map)));
            prop_assert!(table.range(from..=to).map(owned).eq(map.range(from..=to).map(of_map)));
            prop_assert!(table.range(..to).rev().map(owned).eq(map.range(..to).rev().map(of_map)));
            prop_assert!(table.range(from..).map(owned).eq(map.range(from..).map(of_map)));
        }
    }

    #[test]
    fn what_is_left_of_a_page_costs_what_it_holds() {
        let mut table = Table::default();
        for number in 0..SPAN {
            table.insert(RunId(number), [0u8; 192]);
        }
        for number in 1..SPAN {
            table.remove(&RunId(number));
        }
        let page = table.pages.values().next().expect("one record is left");
        assert!(page.records.capacity() <= 4, "{} places for one record", page.records.capacity());
        table.remove(&RunId(0));
        assert!(table.pages.is_empty());
    }
}
