//! What was changed lately, for those who watch: the names of what each log entry changed, in order.
//!
//! Every node keeps its own, from the entries that it applies; log indexes are the same everywhere, so whoever watches may go
//! on at another node. It is memory only: after a restart it begins with the entries that are applied again.
//!
//! - CHANGES-1: a reader that asks for what the ring has dropped is told so; it never gets a part of the truth.
//! - CHANGES-2: when an index is published as applied, its changes are in the ring.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use belfry_core::command::{DeletedSchedule, ScheduleChange};
use belfry_core::{Changes, RunId, ScheduleId};

/// Changes kept: five storms of 10 000 runs, each of which moves three times. If none is the neighbour of the one before, they take
/// 20 MiB: 40 bytes each, in a deque that doubles.
pub(super) const CHANGES_MAX: u64 = 262_144;

/// Bytes of deleted schedules kept beside.
const DELETED_BYTES_MAX: usize = 64 << 20;

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A row was made or moved.
    Run(RunId),
    /// A schedule was made or changed.
    Schedule(ScheduleId, ScheduleChange),
    /// A schedule was deleted.
    Deleted(Arc<DeletedSchedule>),
}

/// What the ring has dropped is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("changes up to revision {oldest} are no longer kept")]
pub struct Compacted {
    /// From this revision on, all changes are there.
    pub oldest: u64,
}

/// Where a reader stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ChangeCursor(u64);

/// A part of the changes.
#[derive(Debug, PartialEq, Eq)]
pub struct ChangePart {
    /// Each with its log index.
    pub changes: Vec<(u64, Change)>,
    /// Where to read on.
    pub next: ChangeCursor,
    /// Everything up to this index is in this part or before it; none: everything that there is.
    pub whole_up_to: Option<u64>,
}

/// The ring.
#[derive(Debug)]
pub struct ChangeLog {
    ring: Mutex<Ring>,
    changes_max: u64,
}

#[derive(Debug)]
struct Ring {
    spans: VecDeque<Span>,
    /// Number of the next change, counted since the node started.
    next: u64,
    /// Changes of entries up to this one may be missing.
    floor: u64,
    deleted_bytes: usize,
}

/// Changes of one kind that one entry made one after the other: of neighbours, as most rows and schedules of a storm are, or of one by
/// itself.
#[derive(Debug)]
struct Span {
    /// Log index of the entry.
    index: u64,
    /// Number of the first change.
    first: u64,
    count: u64,
    /// The first of them.
    change: Change,
}

impl ChangeLog {
    /// Empty, on a node that has applied the log up to `floor`.
    pub(super) fn new(floor: u64, changes_max: u64) -> Self {
        let ring = Ring { spans: VecDeque::new(), next: 0, floor, deleted_bytes: 0 };
        Self { ring: Mutex::new(ring), changes_max }
    }

    /// Adds what an entry changed.
    pub(super) fn push(&self, index: u64, changes: Changes) {
        let Changes { runs, schedules, deleted } = changes;
        if runs.is_empty() && schedules.is_empty() && deleted.is_empty() {
            return;
        }
        let mut ring = self.lock();
        schedules.into_iter().for_each(|(id, change)| ring.push(index, Change::Schedule(id, change)));
        runs.into_iter().for_each(|id| ring.push(index, Change::Run(id)));
        for schedule in deleted {
            ring.deleted_bytes += weight(&schedule);
            ring.push(index, Change::Deleted(Arc::new(schedule)));
        }
        while ring.next - ring.first() > self.changes_max || ring.deleted_bytes > DELETED_BYTES_MAX {
            ring.drop_first();
        }
    }

    /// Forgets everything: the state was replaced by that at `floor`.
    pub(super) fn reset(&self, floor: u64) {
        let mut ring = self.lock();
        ring.spans = VecDeque::new();
        ring.deleted_bytes = 0;
        ring.floor = floor.max(ring.floor);
        // Cursors from before must not seem to be current.
        ring.next += 1;
    }

    /// As after a snapshot.
    #[cfg(test)]
    pub(crate) fn forget_for_test(&self, floor: u64) {
        self.reset(floor);
    }

    /// A cursor before everything that there is.
    pub fn start(&self) -> ChangeCursor {
        ChangeCursor(self.lock().first())
    }

    /// A cursor behind everything that there is.
    pub fn end(&self) -> ChangeCursor {
        ChangeCursor(self.lock().next)
    }

    /// A cursor behind everything up to a log index (CHANGES-1).
    pub fn after(&self, index: u64) -> Result<ChangeCursor, Compacted> {
        let ring = self.lock();
        if index < ring.floor {
            return Err(Compacted { oldest: ring.floor });
        }
        Ok(ring.after(index))
    }

    /// A cursor behind everything up to a log index, or up to what the ring has dropped if that is more; and up to which
    /// index it is.
    pub fn after_what_is_kept(&self, index: u64) -> (ChangeCursor, u64) {
        let ring = self.lock();
        let index = index.max(ring.floor);
        (ring.after(index), index)
    }

    /// At most `max` changes from a cursor on (CHANGES-1).
    pub fn read(&self, from: ChangeCursor, max: usize) -> Result<ChangePart, Compacted> {
        let ring = self.lock();
        if from.0 < ring.first() {
            return Err(Compacted { oldest: ring.floor });
        }
        let place = ring.spans.partition_point(|span| span.first + span.count <= from.0);
        let spans = ring.spans.range(place..);
        let changes: Vec<_> = spans.flat_map(|span| span.changes_from(from.0)).take(max).collect();
        let next = from.0 + changes.len() as u64;
        let end = ring.spans.partition_point(|span| span.first + span.count <= next);
        let whole_up_to = ring.spans.get(end).map(|span| span.index.saturating_sub(1));
        Ok(ChangePart { changes, next: ChangeCursor(next), whole_up_to })
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ring {
    /// Number of the first change that is kept.
    fn first(&self) -> u64 {
        self.spans.front().map_or(self.next, |span| span.first)
    }

    fn after(&self, index: u64) -> ChangeCursor {
        let place = self.spans.partition_point(|span| span.index <= index);
        ChangeCursor(self.spans.get(place).map_or(self.next, |span| span.first))
    }

    fn push(&mut self, index: u64, change: Change) {
        self.next += 1;
        match self.spans.back_mut() {
            Some(last) if last.index == index && last.change.is_followed_by(last.count, &change) => {
                last.count += 1;
            }
            _ => self.spans.push_back(Span { index, first: self.next - 1, count: 1, change }),
        }
    }

    fn drop_first(&mut self) {
        let Some(Span { index, change, .. }) = self.spans.pop_front() else { return };
        self.floor = self.floor.max(index);
        if let Change::Deleted(schedule) = change {
            self.deleted_bytes = self.deleted_bytes.saturating_sub(weight(&schedule));
        }
    }
}

impl Span {
    /// Its changes from a number on.
    fn changes_from(&self, number: u64) -> impl Iterator<Item = (u64, Change)> + '_ {
        (number.saturating_sub(self.first)..self.count)
            .map(|place| (self.index, self.change.neighbour(place)))
    }
}

impl Change {
    /// The same of what comes so many places after it.
    fn neighbour(&self, places: u64) -> Change {
        match self {
            Change::Run(id) => Change::Run(RunId(id.0 + places)),
            Change::Schedule(id, change) => Change::Schedule(ScheduleId(id.0 + places), *change),
            Change::Deleted(_) => self.clone(),
        }
    }

    fn is_followed_by(&self, places: u64, other: &Change) -> bool {
        match self {
            Change::Run(_) | Change::Schedule(..) => self.neighbour(places) == *other,
            Change::Deleted(_) => false,
        }
    }
}

fn weight(schedule: &DeletedSchedule) -> usize {
    let labels: usize = schedule.labels.iter().map(|(key, value)| key.len() + value.len() + 64).sum();
    labels + schedule.key.name.len() + schedule.key.namespace.len() + 128
}

#[cfg(test)]
mod tests {
    use super::*;

    fn runs(ids: &[u64]) -> Changes {
        Changes { runs: ids.iter().copied().map(RunId).collect(), ..Changes::default() }
    }

    fn read(log: &ChangeLog, from: ChangeCursor, max: usize) -> (Vec<u64>, ChangeCursor, Option<u64>) {
        let part = log.read(from, max).unwrap();
        let ids = part.changes.into_iter().map(|(_, change)| match change {
            Change::Run(id) => id.0,
            Change::Schedule(..) | Change::Deleted(_) => panic!("only runs were pushed"),
        });
        (ids.collect(), part.next, part.whole_up_to)
    }

    #[test]
    fn a_reader_gets_every_change_in_parts() {
        let log = ChangeLog::new(4, 100);
        log.push(5, runs(&[1, 2, 3]));
        log.push(6, Changes::default());
        log.push(7, runs(&[4]));
        let start = log.after(4).unwrap();
        let (ids, next, whole) = read(&log, start, 2);
        assert_eq!((ids, whole), (vec![1, 2], Some(4)), "entry 5 is not whole yet");
        let (ids, next, whole) = read(&log, next, 1);
        assert_eq!((ids, whole), (vec![3], Some(6)));
        let (ids, next, whole) = read(&log, next, 2);
        assert_eq!((ids, whole, next), (vec![4], None, log.end()));
        assert_eq!(read(&log, log.after(5).unwrap(), 9).0, [4]);
        assert_eq!(log.after(3), Err(Compacted { oldest: 4 }));
    }

    #[test]
    fn changes_1_what_was_dropped_is_said_to_be() {
        let log = ChangeLog::new(0, 3);
        let start = log.after(0).unwrap();
        log.push(1, runs(&[1, 2]));
        assert_eq!(read(&log, start, 9).0, [1, 2]);
        log.push(2, runs(&[3, 4]));
        assert_eq!(log.read(start, 9), Err(Compacted { oldest: 1 }));
        assert_eq!(log.after(0), Err(Compacted { oldest: 1 }));
        assert_eq!(read(&log, log.after(1).unwrap(), 9).0, [3, 4]);

        let end = log.end();
        log.reset(9);
        assert_eq!(log.read(end, 9), Err(Compacted { oldest: 9 }), "the state was replaced");
        assert_eq!(log.after(8), Err(Compacted { oldest: 9 }));
        log.push(10, runs(&[5]));
        assert_eq!(read(&log, log.after(9).unwrap(), 9).0, [5]);
    }

    #[test]
    fn neighbours_take_the_place_of_one() {
        let log = ChangeLog::new(0, 1004);
        let all: Vec<u64> = (1..=1000).collect();
        log.push(1, runs(&all));
        // A second command of the same entry; what is told again; what is no neighbour.
        log.push(2, runs(&[1001, 1002]));
        log.push(2, runs(&[1003, 1003]));
        assert_eq!(log.lock().spans.len(), 3);
        let start = log.after(0).expect("nothing was dropped");
        let (ids, next, whole) = read(&log, start, 999);
        assert_eq!((ids, whole), (all[..999].to_vec(), Some(0)), "the entry is not whole yet");
        let (ids, next, whole) = read(&log, next, 3);
        assert_eq!((ids, whole), (vec![1000, 1001, 1002], Some(1)));
        let (ids, next, whole) = read(&log, next, 3);
        assert_eq!((ids, whole, next), (vec![1003, 1003], None, log.end()));
        log.push(3, runs(&[1004]));
        assert_eq!(log.read(start, 1), Err(Compacted { oldest: 1 }), "it was one too many");
        assert_eq!(read(&log, next, 9).0, [1004]);
        assert_eq!(read(&log, log.after(1).expect("only entry 1 was dropped"), 2).0, [1001, 1002]);
    }

    #[test]
    fn schedules_are_neighbours_if_the_same_became_of_them() {
        use ScheduleChange::{Changed, Created};
        let log = ChangeLog::new(0, 9);
        let all: Vec<_> = [(1, Created), (2, Created), (3, Changed), (4, Changed)]
            .into_iter()
            .map(|(id, change)| (ScheduleId(id), change))
            .collect();
        log.push(1, Changes { schedules: all.clone(), ..Changes::default() });
        let part = log.read(log.start(), 9).expect("nothing was dropped");
        let told: Vec<_> = all.into_iter().map(|(id, change)| (1, Change::Schedule(id, change))).collect();
        assert_eq!((part.changes, log.lock().spans.len()), (told, 2));
    }

    #[test]
    fn who_begins_with_what_is_published_is_told_what_is_not_yet() {
        let log = ChangeLog::new(4, 2);
        log.push(5, runs(&[1]));
        // Entry 6 is in the ring before it is published as applied (CHANGES-2).
        log.push(6, runs(&[2]));
        let (cursor, from) = log.after_what_is_kept(5);
        assert_eq!((read(&log, cursor, 9).0, from), (vec![2], 5));
        log.push(7, runs(&[3]));
        let (cursor, from) = log.after_what_is_kept(4);
        assert_eq!((read(&log, cursor, 9).0, from), (vec![2, 3], 5), "changes of entry 5 were dropped");
    }

    #[test]
    fn deleted_schedules_are_bounded_by_their_bytes() {
        let log = ChangeLog::new(0, u64::MAX);
        for index in 1..=20 {
            let labels = (0..64).map(|key: u32| (key.to_string(), "x".repeat(64 << 10))).collect();
            let key = belfry_core::ScheduleKey::new("a", "b");
            let deleted = vec![DeletedSchedule { key, uid: "u".into(), labels }];
            log.push(index, Changes { deleted, ..Changes::default() });
        }
        let kept = log.lock();
        assert!(kept.spans.len() >= 10 && kept.spans.len() < 20 && kept.deleted_bytes <= DELETED_BYTES_MAX);
    }
}
