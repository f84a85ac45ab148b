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

/// Changes kept: five storms of 10 000 runs, each of which moves three times, and 10 MiB.
pub(super) const CHANGES_MAX: usize = 262_144;

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
    changes_max: usize,
}

#[derive(Debug)]
struct Ring {
    changes: VecDeque<(u64, Change)>,
    /// Number of the first of them, counted since the node started.
    first: u64,
    /// Changes of entries up to this one may be missing.
    floor: u64,
    deleted_bytes: usize,
}

impl ChangeLog {
    /// Empty, on a node that has applied the log up to `floor`.
    pub(super) fn new(floor: u64, changes_max: usize) -> Self {
        let ring = Ring { changes: VecDeque::new(), first: 0, floor, deleted_bytes: 0 };
        Self { ring: Mutex::new(ring), changes_max }
    }

    /// Adds what an entry changed.
    pub(super) fn push(&self, index: u64, changes: Changes) {
        let Changes { runs, schedules, deleted } = changes;
        if runs.is_empty() && schedules.is_empty() && deleted.is_empty() {
            return;
        }
        let mut ring = self.lock();
        ring.changes.extend(schedules.into_iter().map(|(id, change)| (index, Change::Schedule(id, change))));
        ring.changes.extend(runs.into_iter().map(|id| (index, Change::Run(id))));
        for schedule in deleted {
            ring.deleted_bytes += weight(&schedule);
            ring.changes.push_back((index, Change::Deleted(Arc::new(schedule))));
        }
        while ring.changes.len() > self.changes_max || ring.deleted_bytes > DELETED_BYTES_MAX {
            ring.drop_first();
        }
    }

    /// Forgets everything: the state was replaced by that at `floor`.
    pub(super) fn reset(&self, floor: u64) {
        let mut ring = self.lock();
        ring.first += ring.changes.len() as u64;
        ring.changes = VecDeque::new();
        ring.deleted_bytes = 0;
        ring.floor = floor.max(ring.floor);
        // Cursors from before must not seem to be current.
        ring.first += 1;
    }

    /// As after a snapshot.
    #[cfg(test)]
    pub(crate) fn forget_for_test(&self, floor: u64) {
        self.reset(floor);
    }

    /// A cursor before everything that there is.
    pub fn start(&self) -> ChangeCursor {
        ChangeCursor(self.lock().first)
    }

    /// A cursor behind everything that there is.
    pub fn end(&self) -> ChangeCursor {
        let ring = self.lock();
        ChangeCursor(ring.first + ring.changes.len() as u64)
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
        let place = from.0.checked_sub(ring.first).ok_or(Compacted { oldest: ring.floor })?;
        let place = usize::try_from(place).unwrap_or(usize::MAX).min(ring.changes.len());
        let changes: Vec<_> = ring.changes.range(place..).take(max).cloned().collect();
        let end = place + changes.len();
        let whole_up_to = ring.changes.get(end).map(|(next, _)| next.saturating_sub(1));
        Ok(ChangePart { changes, next: ChangeCursor(ring.first + end as u64), whole_up_to })
    }

    fn lock(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ring {
    fn after(&self, index: u64) -> ChangeCursor {
        let place = self.changes.partition_point(|(of, _)| *of <= index);
        ChangeCursor(self.first + place as u64)
    }

    fn drop_first(&mut self) {
        let Some((index, change)) = self.changes.pop_front() else { return };
        self.first += 1;
        self.floor = self.floor.max(index);
        if let Change::Deleted(schedule) = change {
            self.deleted_bytes = self.deleted_bytes.saturating_sub(weight(&schedule));
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
        let log = ChangeLog::new(0, usize::MAX);
        for index in 1..=20 {
            let labels = (0..64).map(|key: u32| (key.to_string(), "x".repeat(64 << 10))).collect();
            let key = belfry_core::ScheduleKey::new("a", "b");
            let deleted = vec![DeletedSchedule { key, uid: "u".into(), labels }];
            log.push(index, Changes { deleted, ..Changes::default() });
        }
        let kept = log.lock();
        assert!(
            kept.changes.len() >= 10 && kept.changes.len() < 20 && kept.deleted_bytes <= DELETED_BYTES_MAX
        );
    }
}
