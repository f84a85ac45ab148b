//! What both ports promise, run on every implementation of each.

use std::io;
use std::sync::{Arc, mpsc};

use bytes::Bytes;

use super::*;

pub(super) fn id(term: u64, index: u64) -> LogId {
    LogId { term, node: 1, index }
}

pub(super) fn entry(term: u64, index: u64) -> LogEntry {
    LogEntry { id: id(term, index), payload: format!("entry {index} of term {term}").into() }
}

pub(super) fn entries(term: u64, indexes: std::ops::Range<u64>) -> Vec<LogEntry> {
    indexes.map(|index| entry(term, index)).collect()
}

pub(super) const VOTE: Vote = Vote { term: 3, node: 2, committed: true };

/// Starts a change and waits until it is durable or has failed.
pub(super) fn wait(start: impl FnOnce(Durable)) -> io::Result<()> {
    let (told, result) = mpsc::channel();
    start(Box::new(move |outcome| told.send(outcome).expect("the test waits")));
    result.recv().expect("the callback is called")
}

pub(super) fn append(log: &dyn LogPort, entries: Vec<LogEntry>) -> io::Result<()> {
    wait(|durable| log.append(entries, durable))
}

pub(super) fn all(log: &dyn LogPort) -> Vec<LogEntry> {
    log.read(0, u64::MAX, usize::MAX).unwrap()
}

fn indexes(log: &dyn LogPort) -> Vec<u64> {
    all(log).iter().map(|entry| entry.id.index).collect()
}

/// One place where a log lives.
trait LogPlace {
    fn log(&self) -> Arc<dyn LogPort>;
    /// The process dies at this moment and another one opens the log.
    fn crash(&mut self);
}

struct InMemory(Arc<MemoryLog>);

impl LogPlace for InMemory {
    fn log(&self) -> Arc<dyn LogPort> {
        self.0.clone()
    }

    fn crash(&mut self) {
        self.0 = Arc::new(self.0.crash());
    }
}

struct OnDisk {
    folder: tempfile::TempDir,
    log: Arc<WalLog>,
}

impl OnDisk {
    fn new() -> OnDisk {
        let folder = tempfile::tempdir().unwrap();
        let log = Arc::new(wal::tests::open(folder.path()).unwrap());
        OnDisk { folder, log }
    }
}

impl LogPlace for OnDisk {
    fn log(&self) -> Arc<dyn LogPort> {
        self.log.clone()
    }

    fn crash(&mut self) {
        // A copy of the files while the log is open is what `kill -9` leaves.
        let after = wal::tests::copy_of(self.folder.path());
        self.log = Arc::new(wal::tests::open(after.path()).unwrap());
        self.folder = after;
    }
}

fn on_each_log(check: impl Fn(&mut dyn LogPlace)) {
    check(&mut InMemory(Arc::new(MemoryLog::new())));
    check(&mut OnDisk::new());
}

#[test]
fn a_new_log_is_empty() {
    on_each_log(|place| {
        assert_eq!(place.log().state(), LogState::default());
        assert_eq!(all(&*place.log()), []);
        place.crash();
        assert_eq!(place.log().state(), LogState::default());
    });
}

#[test]
fn acknowledged_changes_survive_a_crash() {
    on_each_log(|place| {
        let log = place.log();
        append(&*log, entries(1, 0..10)).unwrap();
        wait(|durable| log.save_vote(VOTE, durable)).unwrap();
        append(&*log, entries(2, 10..12)).unwrap();
        let before = log.state();
        assert_eq!(before.last, Some(id(2, 11)));
        assert_eq!(before.vote, Some(VOTE));
        place.crash();
        assert_eq!(place.log().state(), before);
        assert_eq!(all(&*place.log()), [entries(1, 0..10), entries(2, 10..12)].concat());
    });
}

#[test]
fn entries_are_readable_before_they_are_durable() {
    on_each_log(|place| {
        let log = place.log();
        let (told, result) = mpsc::channel();
        log.append(entries(1, 1..4), Box::new(move |outcome| told.send(outcome).unwrap()));
        assert_eq!(indexes(&*log), [1, 2, 3]);
        result.recv().unwrap().unwrap();
    });
}

#[test]
fn reads_are_bounded_by_range_and_bytes() {
    on_each_log(|place| {
        let log = place.log();
        append(&*log, entries(1, 5..15)).unwrap();
        let size = entry(1, 5).payload.len();
        let read = |from, to, bytes| -> Vec<u64> {
            log.read(from, to, bytes).unwrap().iter().map(|entry| entry.id.index).collect()
        };
        assert_eq!(read(7, 9, usize::MAX), [7, 8]);
        assert_eq!(read(0, 7, usize::MAX), [5, 6], "what is before the log is left out");
        assert_eq!(read(9, u64::MAX, 0), [9], "one entry is always given");
        assert_eq!(read(5, u64::MAX, 3 * size), [5, 6, 7]);
        assert_eq!(read(15, 20, usize::MAX), [] as [u64; 0]);
        assert_eq!(read(9, 9, usize::MAX), [] as [u64; 0]);
    });
}

#[test]
fn a_truncation_makes_room_for_other_entries() {
    on_each_log(|place| {
        let log = place.log();
        append(&*log, entries(1, 0..10)).unwrap();
        wait(|durable| log.truncate_after(Some(id(1, 5)), durable)).unwrap();
        assert_eq!(log.state().last, Some(id(1, 5)));
        append(&*log, entries(2, 6..8)).unwrap();
        place.crash();
        assert_eq!(all(&*place.log()), [entries(1, 0..6), entries(2, 6..8)].concat());
        let log = place.log();
        wait(|durable| log.truncate_after(None, durable)).unwrap();
        assert_eq!(log.state().last, None);
        append(&*log, entries(4, 0..2)).unwrap();
        place.crash();
        assert_eq!(all(&*place.log()), entries(4, 0..2));
    });
}

#[test]
fn a_truncation_beyond_the_end_changes_nothing() {
    on_each_log(|place| {
        let log = place.log();
        append(&*log, entries(1, 0..3)).unwrap();
        wait(|durable| log.truncate_after(Some(id(1, 2)), durable)).unwrap();
        wait(|durable| log.truncate_after(Some(id(1, 9)), durable)).unwrap();
        place.crash();
        assert_eq!(all(&*place.log()), entries(1, 0..3));
    });
}

#[test]
fn a_purge_drops_the_front() {
    on_each_log(|place| {
        let log = place.log();
        append(&*log, entries(1, 0..10)).unwrap();
        let retained = log.state().retained_bytes;
        wait(|durable| log.purge(id(1, 6), durable)).unwrap();
        wait(|durable| log.purge(id(1, 3), durable)).unwrap();
        assert!(log.state().retained_bytes < retained);
        place.crash();
        let log = place.log();
        assert_eq!(log.state().purged, Some(id(1, 6)), "an older purge takes nothing back");
        assert_eq!(indexes(&*log), [7, 8, 9]);
        wait(|durable| log.purge(id(1, 9), durable)).unwrap();
        place.crash();
        let log = place.log();
        assert_eq!(log.state().last, Some(id(1, 9)), "the last entry is the purged one");
        append(&*log, entries(1, 10..11)).unwrap();
        assert_eq!(indexes(&*log), [10]);
    });
}

#[test]
fn a_purge_beyond_the_end_starts_the_log_anew() {
    on_each_log(|place| {
        let log = place.log();
        append(&*log, entries(1, 0..3)).unwrap();
        wait(|durable| log.purge(id(5, 100), durable)).unwrap();
        append(&*log, entries(5, 101..103)).unwrap();
        place.crash();
        let state = place.log().state();
        assert_eq!((state.purged, state.last), (Some(id(5, 100)), Some(id(5, 102))));
        assert_eq!(indexes(&*place.log()), [101, 102]);
    });
}

#[test]
fn a_contradiction_is_refused_and_changes_nothing() {
    on_each_log(|place| {
        let log = place.log();
        append(&*log, entries(1, 0..10)).unwrap();
        wait(|durable| log.purge(id(1, 4), durable)).unwrap();
        let before = log.state();
        let refused =
            |outcome: io::Result<()>| assert_eq!(outcome.unwrap_err().kind(), io::ErrorKind::InvalidInput);
        refused(append(&*log, entries(1, 11..12)));
        refused(append(&*log, entries(1, 9..10)));
        refused(append(&*log, vec![entry(1, 10), entry(1, 12)]));
        refused(wait(|durable| log.truncate_after(Some(id(1, 3)), durable)));
        refused(wait(|durable| log.truncate_after(Some(id(2, 7)), durable)));
        refused(wait(|durable| log.truncate_after(None, durable)));
        assert_eq!(log.state(), before);
        append(&*log, entries(1, 10..11)).unwrap();
        place.crash();
        assert_eq!(indexes(&*place.log()), [5, 6, 7, 8, 9, 10]);
    });
}

#[test]
fn changes_are_acknowledged_in_order_and_once() {
    on_each_log(|place| {
        let log = place.log();
        let (told, results) = mpsc::channel();
        let tell = |number: u64| -> Durable {
            let told = told.clone();
            Box::new(move |outcome| told.send((number, outcome.is_ok())).unwrap())
        };
        for index in 0..100 {
            log.append(entries(1, index..index + 1), tell(3 * index));
            log.save_vote(Vote { term: index, ..VOTE }, tell(3 * index + 1));
            log.truncate_after(Some(id(1, index)), tell(3 * index + 2));
        }
        log.close();
        drop(told);
        let results: Vec<_> = results.iter().collect();
        assert_eq!(results, (0..300).map(|number| (number, true)).collect::<Vec<_>>());
    });
}

#[test]
fn a_closed_log_refuses_everything() {
    on_each_log(|place| {
        let log = place.log();
        append(&*log, entries(1, 0..3)).unwrap();
        log.close();
        log.close();
        assert!(append(&*log, entries(1, 3..4)).is_err());
        assert!(log.read(0, 3, usize::MAX).is_err());
    });
}

#[test]
fn the_committed_hint_is_kept_by_a_clean_stop() {
    let place = OnDisk::new();
    append(&*place.log, entries(1, 0..3)).unwrap();
    place.log.save_committed(Some(id(1, 2)));
    place.log.close();
    let log = wal::tests::open(place.folder.path()).unwrap();
    assert_eq!(log.state().committed, Some(id(1, 2)));
}

#[test]
fn held_back_changes_are_lost_in_a_crash() {
    let log = MemoryLog::new();
    append(&log, entries(1, 0..2)).unwrap();
    log.hold();
    let (told, results) = mpsc::channel();
    for index in 2..5 {
        let told = told.clone();
        log.append(
            entries(1, index..index + 1),
            Box::new(move |outcome| told.send(outcome.is_ok()).unwrap()),
        );
    }
    assert_eq!(indexes(&log), [0, 1, 2, 3, 4], "readable");
    assert!(results.try_recv().is_err(), "and not acknowledged");
    log.release(1);
    let after = log.crash();
    drop(told);
    assert_eq!(results.iter().collect::<Vec<_>>(), [true, false, false]);
    assert_eq!(indexes(&after), [0, 1, 2]);
    assert!(append(&log, entries(1, 5..6)).is_err(), "the dead process writes nothing");
}

/// One place where checkpoints live.
trait CheckpointPlace {
    fn store(&self) -> &dyn CheckpointPort;
    fn crash(&mut self);
}

struct CheckpointInMemory(MemoryCheckpoint);

impl CheckpointPlace for CheckpointInMemory {
    fn store(&self) -> &dyn CheckpointPort {
        &self.0
    }

    fn crash(&mut self) {}
}

struct CheckpointOnDisk {
    folder: tempfile::TempDir,
    store: SledCheckpoint,
}

impl CheckpointPlace for CheckpointOnDisk {
    fn store(&self) -> &dyn CheckpointPort {
        &self.store
    }

    fn crash(&mut self) {
        let after = wal::tests::copy_of(self.folder.path());
        self.store = SledCheckpoint::open(after.path()).unwrap();
        self.folder = after;
    }
}

fn on_each_checkpoint(check: impl Fn(&mut dyn CheckpointPlace)) {
    check(&mut CheckpointInMemory(MemoryCheckpoint::new()));
    let folder = tempfile::tempdir().unwrap();
    let store = SledCheckpoint::open(folder.path()).unwrap();
    check(&mut CheckpointOnDisk { folder, store });
}

pub(super) fn key(kind: u8, number: u64) -> BlockKey {
    BlockKey { kind, number }
}

pub(super) fn content(store: &dyn CheckpointPort) -> (Option<Bytes>, Vec<(BlockKey, Bytes)>) {
    let blocks = store.blocks().unwrap().collect::<io::Result<Vec<_>>>().unwrap();
    (store.head().unwrap(), blocks)
}

fn block(text: &'static str) -> Bytes {
    Bytes::from_static(text.as_bytes())
}

#[test]
fn a_new_checkpoint_store_is_empty() {
    on_each_checkpoint(|place| {
        assert_eq!(content(place.store()), (None, vec![]));
        place.crash();
        assert_eq!(content(place.store()), (None, vec![]));
    });
}

#[test]
fn a_commit_changes_adds_and_removes_blocks() {
    on_each_checkpoint(|place| {
        let first = vec![
            (key(1, 300), Some(block("a"))),
            (key(1, 2), Some(block("b"))),
            (key(0, u64::MAX), Some(block("c"))),
        ];
        place.store().commit(block("head 1"), first).unwrap();
        let second =
            vec![(key(1, 300), None), (key(1, 2), Some(block("b2"))), (key(255, 0), Some(block("")))];
        place.store().commit(block("head 2"), second).unwrap();
        place.crash();
        let expected =
            vec![(key(0, u64::MAX), block("c")), (key(1, 2), block("b2")), (key(255, 0), block(""))];
        assert_eq!(content(place.store()), (Some(block("head 2")), expected));
    });
}

#[test]
fn a_replacement_leaves_nothing_of_before() {
    on_each_checkpoint(|place| {
        for round in 0..3 {
            place.store().commit(block("old"), vec![(key(1, round), Some(block("old")))]).unwrap();
            let blocks = vec![(key(2, 10 + round), block("new")), (key(3, 7), block("newer"))];
            place.store().replace(block("new"), &mut blocks.clone().into_iter().map(Ok)).unwrap();
            assert_eq!(content(place.store()), (Some(block("new")), blocks.clone()));
            place.crash();
            assert_eq!(content(place.store()), (Some(block("new")), blocks));
        }
    });
}

#[test]
fn a_replacement_whose_source_breaks_changes_nothing() {
    on_each_checkpoint(|place| {
        place.store().commit(block("old"), vec![(key(1, 1), Some(block("old")))]).unwrap();
        let before = content(place.store());
        let mut broken =
            vec![Ok((key(2, 2), block("new"))), Err(io::ErrorKind::UnexpectedEof.into())].into_iter();
        let error = place.store().replace(block("new"), &mut broken).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(content(place.store()), before);
        place.store().commit(block("newer"), vec![]).unwrap();
        place.crash();
        assert_eq!(content(place.store()), (Some(block("newer")), before.1));
    });
}
