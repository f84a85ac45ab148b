//! Records by handle.
//!
//! Handles are counted up, so records of neighbouring handles share a page, and neighbouring pages a group; what a batch touches lies
//! together. Groups lie in order, the newer ones without a gap: where one is follows from its number. Pages and groups keep only
//! what is there, so what retention leaves of them costs what it holds. A group that comes or goes among others moves those behind it:
//! 40 bytes each, once in 4096 records.

use std::marker::PhantomData;
use std::ops::{Bound, Index, RangeBounds};

use crate::ids::{RunId, ScheduleId};

/// Places of a page: as many as [`Page::present`] has bits.
const SPAN: u64 = 64;
/// The last of them.
const LAST: u32 = 63;
/// Items with which a page that has no gap gets room for all its places: its neighbours are on their way. Else they would be copied
/// four times, each time into memory that was not touched before.
const DENSE_MIN: usize = 4;

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

/// The sequence of an answer.
impl Handle for u64 {
    fn number(self) -> u64 {
        self
    }
    fn of_number(number: u64) -> Self {
        number
    }
}

/// A map from handles to records, in order of handle.
#[derive(Clone)]
pub(super) struct Table<H, T> {
    /// In order of their numbers.
    groups: Vec<(u64, Page<Page<T>>)>,
    len: usize,
    handles: PhantomData<H>,
}

/// Up to 64 items, each in its place.
#[derive(Clone)]
struct Page<T> {
    /// Bit n: there is an item in the n-th place.
    present: u64,
    /// The items, in order.
    items: Vec<T>,
}

impl<T> Page<T> {
    const fn new() -> Self {
        Self { present: 0, items: Vec::new() }
    }

    /// Where the item of a place is, or would be.
    fn index(&self, place: u32) -> usize {
        // Counting bits takes longer than looking whether the page is full, as most are.
        if self.present == u64::MAX {
            return place as usize;
        }
        (self.present & ((1 << place) - 1)).count_ones() as usize
    }

    fn holds(&self, place: u32) -> bool {
        self.present & (1 << place) != 0
    }

    fn get(&self, place: u32) -> Option<&T> {
        self.holds(place).then(|| &self.items[self.index(place)])
    }

    fn get_mut(&mut self, place: u32) -> Option<&mut T> {
        let index = self.index(place);
        self.holds(place).then(|| &mut self.items[index])
    }

    fn get_or_insert_with(&mut self, place: u32, item: impl FnOnce() -> T) -> &mut T {
        let index = self.index(place);
        if !self.holds(place) {
            self.put(place, index, item());
        }
        &mut self.items[index]
    }

    fn insert(&mut self, place: u32, item: T) -> Option<T> {
        let index = self.index(place);
        if self.holds(place) {
            return Some(std::mem::replace(&mut self.items[index], item));
        }
        self.put(place, index, item);
        None
    }

    /// Puts an item into a free place.
    fn put(&mut self, place: u32, index: usize, item: T) {
        let len = self.items.len();
        let is_dense = place as usize == len && self.present.trailing_ones() as usize == len;
        if is_dense && len >= DENSE_MIN && len == self.items.capacity() {
            self.items.reserve_exact(SPAN as usize - len);
        }
        self.items.insert(index, item);
        self.present |= 1 << place;
    }

    fn remove(&mut self, place: u32) -> Option<T> {
        if !self.holds(place) {
            return None;
        }
        let item = self.items.remove(self.index(place));
        self.present &= !(1 << place);
        if self.items.len() * 4 <= self.items.capacity() {
            self.items.shrink_to(self.items.len() * 2);
        }
        Some(item)
    }

    fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The items of the places from `first` to `last`.
    fn range(&self, first: u32, last: u32) -> Items<'_, T> {
        let within = (u64::MAX << first) & (u64::MAX >> (LAST - last));
        let present = self.present & within;
        let (from, count) = (self.index(first), present.count_ones() as usize);
        Items { present, items: self.items[from..from + count].iter() }
    }
}

/// Items of a page with their places.
struct Items<'a, T> {
    /// The places of those that are left.
    present: u64,
    items: std::slice::Iter<'a, T>,
}

impl<'a, T> Iterator for Items<'a, T> {
    type Item = (u32, &'a T);

    fn next(&mut self) -> Option<Self::Item> {
        let item = self.items.next()?;
        let place = self.present.trailing_zeros();
        self.present &= !(1 << place);
        Some((place, item))
    }
}

impl<T> DoubleEndedIterator for Items<'_, T> {
    fn next_back(&mut self) -> Option<Self::Item> {
        let item = self.items.next_back()?;
        let place = LAST - self.present.leading_zeros();
        self.present &= !(1 << place);
        Some((place, item))
    }
}

/// Where the record of a handle is.
#[derive(Clone, Copy)]
struct Place {
    group: u64,
    /// In its group.
    page: u32,
    /// In its page.
    record: u32,
}

impl Place {
    fn of(number: u64) -> Self {
        let place = |number: u64| u32::try_from(number % SPAN).expect("it is below 64");
        Self { group: number / (SPAN * SPAN), page: place(number / SPAN), record: place(number) }
    }
}

/// The number of the record at these places.
fn number_of(group: u64, page: u32, record: u32) -> u64 {
    (group * SPAN + u64::from(page)) * SPAN + u64::from(record)
}

impl<H, T> Default for Table<H, T> {
    fn default() -> Self {
        Self { groups: Vec::new(), len: 0, handles: PhantomData }
    }
}

impl<H: Handle, T> Table<H, T> {
    /// Where a group is, or else would be.
    fn index(&self, group: u64) -> Result<usize, usize> {
        let Some((last, _)) = self.groups.last() else { return Err(0) };
        // As if there were no gap behind it: what is new is asked for most, and gaps are where retention has passed.
        let behind = last.checked_sub(group).map(|behind| usize::try_from(behind).unwrap_or(usize::MAX));
        let Some(behind) = behind else { return Err(self.groups.len()) };
        match self.groups.len().checked_sub(behind).and_then(|end| end.checked_sub(1)) {
            Some(guess) if self.groups[guess].0 == group => Ok(guess),
            _ => self.groups.binary_search_by_key(&group, |(number, _)| *number),
        }
    }

    pub(super) fn get(&self, handle: &H) -> Option<&T> {
        let place = Place::of(handle.number());
        let index = self.index(place.group).ok()?;
        self.groups[index].1.get(place.page)?.get(place.record)
    }

    pub(super) fn get_mut(&mut self, handle: &H) -> Option<&mut T> {
        let place = Place::of(handle.number());
        let index = self.index(place.group).ok()?;
        self.groups[index].1.get_mut(place.page)?.get_mut(place.record)
    }

    pub(super) fn contains_key(&self, handle: &H) -> bool {
        self.get(handle).is_some()
    }

    /// Puts a record in; gives the one that was there.
    pub(super) fn insert(&mut self, handle: H, record: T) -> Option<T> {
        let place = Place::of(handle.number());
        let index = self.index(place.group).unwrap_or_else(|index| {
            self.groups.insert(index, (place.group, Page::new()));
            index
        });
        let group = &mut self.groups[index].1;
        let former = group.get_or_insert_with(place.page, Page::new).insert(place.record, record);
        self.len += usize::from(former.is_none());
        former
    }

    /// Takes a record out.
    pub(super) fn remove(&mut self, handle: &H) -> Option<T> {
        let place = Place::of(handle.number());
        let index = self.index(place.group).ok()?;
        let group = &mut self.groups[index].1;
        let page = group.get_mut(place.page)?;
        let record = page.remove(place.record)?;
        self.len -= 1;
        if page.is_empty() {
            group.remove(place.page);
            if group.is_empty() {
                self.groups.remove(index);
            }
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
        self.groups.iter().flat_map(|(_, group)| group.items.iter()).flat_map(|page| page.items.iter())
    }

    pub(super) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        let pages = self.groups.iter_mut().flat_map(|(_, group)| group.items.iter_mut());
        pages.flat_map(|page| page.items.iter_mut())
    }

    /// Records of a range of handles. Costs a step and what is found.
    pub(super) fn range(&self, handles: impl RangeBounds<H>) -> impl DoubleEndedIterator<Item = (H, &T)> {
        let first = match handles.start_bound() {
            Bound::Included(handle) => Some(handle.number()),
            Bound::Excluded(handle) => handle.number().checked_add(1),
            Bound::Unbounded => Some(0),
        };
        let last = match handles.end_bound() {
            Bound::Included(handle) => Some(handle.number()),
            Bound::Excluded(handle) => handle.number().checked_sub(1),
            Bound::Unbounded => Some(u64::MAX),
        };
        let ends = first.zip(last).filter(|(first, last)| first <= last);
        let found = ends.map(|(first, last)| {
            let (first, last) = (Place::of(first), Place::of(last));
            let from = self.index(first.group).unwrap_or_else(|index| index);
            let to = self.index(last.group).map_or_else(|index| index, |index| index + 1);
            let pages = self.groups[from..to].iter().flat_map(move |&(group, ref pages)| {
                let from = if group == first.group { first.page } else { 0 };
                let to = if group == last.group { last.page } else { LAST };
                pages.range(from, to).map(move |(page, records)| (group, page, records))
            });
            pages.flat_map(move |(group, page, records)| {
                let from = if (group, page) == (first.group, first.page) { first.record } else { 0 };
                let to = if (group, page) == (last.group, last.page) { last.record } else { LAST };
                records
                    .range(from, to)
                    .map(move |(record, item)| (H::of_number(number_of(group, page, record)), item))
            })
        });
        found.into_iter().flatten()
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

    /// In some neighbouring pages, and at both ends of groups.
    fn handle() -> impl Strategy<Value = u64> {
        prop_oneof![0..300u64, 4090..4100u64, 8_100..8_300u64, u64::MAX - 2..=u64::MAX]
    }

    proptest! {
        /// Any sequence of changes leaves what it leaves in a map.
        #[test]
        fn it_is_a_map(steps in prop::collection::vec((any::<bool>(), handle(), any::<u8>()), 0..200), ends in (handle(), handle())) {
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
            prop_assert!(table.range(from..).rev().map(owned).eq(map.range(from..).rev().map(of_map)));
            if from < to {
                let behind = (Bound::Excluded(from), Bound::Included(to));
                prop_assert!(table.range(behind).map(owned).eq(map.range(behind).map(of_map)));
                prop_assert!(table.range((Bound::Included(to), Bound::Excluded(from))).next().is_none());
            }
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
        let group = &table.groups.first().expect("one record is left").1;
        let page = group.get(0).expect("it is in the first page");
        assert!(page.items.capacity() <= 4, "{} places for one record", page.items.capacity());
        table.remove(&RunId(0));
        assert!(table.groups.is_empty());
    }

    #[test]
    fn a_page_without_a_gap_has_room_for_its_neighbours() {
        let capacity = |places: [u32; 5]| {
            let mut page = Page::new();
            for place in places {
                page.insert(place, [0u8; 192]);
            }
            page.items.capacity()
        };
        assert_eq!(capacity([0, 1, 2, 3, 4]), SPAN as usize);
        for gap in [[0, 1, 2, 3, 40], [1, 2, 3, 4, 5]] {
            assert!(capacity(gap) < SPAN as usize, "{gap:?}");
        }
    }
}
