//! The log on real files: kills, torn tails, flipped bits, full disks.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, mpsc};

use super::*;
use crate::store::conformance::{VOTE, all, append, entries, entry, id, wait};

/// Room left on a disk that tests fill up; shared with the log under test.
#[derive(Clone, Debug)]
pub(in crate::store) struct Room(Arc<Mutex<usize>>);

impl Room {
    fn new(bytes: usize) -> Room {
        Room(Arc::new(Mutex::new(bytes)))
    }

    /// Uses up `bytes`, or says how many of them still fitted.
    pub(in crate::store) fn take(&self, bytes: usize) -> Option<usize> {
        let mut left = self.0.lock().unwrap();
        let fits = bytes.min(*left);
        *left -= fits;
        (fits < bytes).then_some(fits)
    }
}

fn owner() -> LogOwner {
    LogOwner { cluster_id: Some("cluster".into()), node_id: 7, incarnation: Ulid::from_parts(1, 2) }
}

/// Small, so that tests meet every boundary; never idle, so that nothing happens by itself.
fn small() -> WalOptions {
    WalOptions {
        segment_bytes: 1 << 20,
        grow_bytes: 4096,
        idle_sync_after: Duration::from_secs(3600),
        ..WalOptions::default()
    }
}

pub(in crate::store) fn open(folder: &Path) -> Result<WalLog, StoreError> {
    WalLog::open(folder, owner(), small())
}

fn open_with_segments_of(folder: &Path, segment_bytes: u64) -> WalLog {
    WalLog::open(folder, owner(), WalOptions { segment_bytes, ..small() }).unwrap()
}

/// The files as they are now, as a kill leaves them.
pub(in crate::store) fn copy_of(folder: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    copy_into(folder, copy.path());
    copy
}

fn copy_into(from: &Path, to: &Path) {
    for item in fs::read_dir(from).unwrap() {
        let path = item.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() {
            fs::create_dir(&target).unwrap();
            copy_into(&path, &target);
        } else {
            fs::copy(&path, &target).unwrap();
        }
    }
}

fn segments(folder: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(folder).unwrap().map(|item| item.unwrap().path());
    let mut paths: Vec<_> = paths.filter(|path| path.extension().is_some_and(|end| end == "wal")).collect();
    paths.sort();
    paths
}

fn mark_path(folder: &Path) -> PathBuf {
    folder.join(mark::FILE_NAME)
}

/// What a reader can see, or that the log was refused.
fn reopened(folder: &Path) -> Option<(LogState, Vec<LogEntry>)> {
    match open(folder) {
        Ok(log) => Some((log.state(), all(&log))),
        Err(StoreError::Damaged { .. }) => None,
        Err(other) => panic!("neither opened nor refused as damaged: {other}"),
    }
}

#[test]
fn many_segments_are_read_back() {
    let folder = tempfile::tempdir().unwrap();
    let log = open_with_segments_of(folder.path(), 500);
    for index in 0..100 {
        append(&log, entries(1, index..index + 1)).unwrap();
    }
    wait(|durable| log.save_vote(VOTE, durable)).unwrap();
    assert!(segments(folder.path()).len() > 10);
    let copy = copy_of(folder.path());
    let (state, read) = reopened(copy.path()).unwrap();
    assert_eq!(state, log.state());
    assert_eq!(read, entries(1, 0..100));
}

#[test]
fn a_purge_removes_segments_and_keeps_vote_and_hint() {
    let folder = tempfile::tempdir().unwrap();
    let log = open_with_segments_of(folder.path(), 500);
    wait(|durable| log.save_vote(VOTE, durable)).unwrap();
    for index in 0..100 {
        append(&log, entries(1, index..index + 1)).unwrap();
        log.save_committed(Some(id(1, index)));
    }
    let before = segments(folder.path()).len();
    wait(|durable| log.purge(id(1, 89), durable)).unwrap();
    log.close();
    assert!(segments(folder.path()).len() < before / 2);
    let (state, read) = reopened(folder.path()).unwrap();
    assert_eq!((state.vote, state.committed, state.purged), (Some(VOTE), Some(id(1, 99)), Some(id(1, 89))));
    assert_eq!(read, entries(1, 90..100));
}

#[test]
fn a_truncation_reaches_back_over_segments() {
    let folder = tempfile::tempdir().unwrap();
    let log = open_with_segments_of(folder.path(), 300);
    for index in 0..40 {
        append(&log, entries(1, index..index + 1)).unwrap();
    }
    wait(|durable| log.truncate_after(Some(id(1, 9)), durable)).unwrap();
    for index in 10..20 {
        append(&log, entries(2, index..index + 1)).unwrap();
    }
    let copy = copy_of(folder.path());
    assert_eq!(reopened(copy.path()).unwrap().1, [entries(1, 0..10), entries(2, 10..20)].concat());
    wait(|durable| log.purge(id(2, 15), durable)).unwrap();
    log.close();
    assert_eq!(reopened(folder.path()).unwrap().1, entries(2, 16..20));
}

#[test]
fn appends_that_wait_share_a_sync() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path()).unwrap();
    let (told, results) = mpsc::channel();
    let (go_on, held) = mpsc::channel::<()>();
    // The first acknowledgement holds the log's thread until all others have queued up behind it.
    let told_first = told.clone();
    let first: Durable = Box::new(move |outcome| {
        held.recv().unwrap();
        told_first.send(outcome).unwrap();
    });
    log.append(entries(1, 0..1), first);
    for index in 1..2000 {
        let told = told.clone();
        log.append(entries(1, index..index + 1), Box::new(move |outcome| told.send(outcome).unwrap()));
    }
    go_on.send(()).unwrap();
    drop(told);
    assert_eq!(results.iter().map(Result::unwrap).count(), 2000);
    let counters = log.counters();
    assert_eq!(counters.entries, 2000);
    assert!(counters.batches <= 2, "{} syncs for 2000 appends", counters.batches);
}

#[test]
fn a_full_queue_holds_callers_back_and_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let options = WalOptions { queue_bytes_max: 200, batch_bytes_max: 100, ..small() };
    let log = WalLog::open(folder.path(), owner(), options).unwrap();
    let (told, results) = mpsc::channel();
    for index in 0..200 {
        let told = told.clone();
        log.append(entries(1, index..index + 1), Box::new(move |outcome| told.send(outcome).unwrap()));
    }
    drop(told);
    assert_eq!(results.iter().map(Result::unwrap).count(), 200);
    log.close();
    assert_eq!(reopened(folder.path()).unwrap().1, entries(1, 0..200));
}

/// A small log of two segments with every kind of record, all acknowledged.
fn small_log() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let log = open_with_segments_of(folder.path(), 600);
    append(&log, entries(1, 0..3)).unwrap();
    wait(|durable| log.save_vote(VOTE, durable)).unwrap();
    append(&log, entries(1, 3..6)).unwrap();
    wait(|durable| log.truncate_after(Some(id(1, 4)), durable)).unwrap();
    wait(|durable| log.purge(id(1, 0), durable)).unwrap();
    append(&log, entries(2, 5..7)).unwrap();
    assert_eq!(segments(folder.path()).len(), 2);
    copy_of(folder.path())
}

/// Where the last record of a segment ends; behind it there are zeros.
fn written_end(content: &[u8]) -> usize {
    content.iter().rposition(|byte| *byte != 0).map_or(0, |last| (last + 1).next_multiple_of(8))
}

#[test]
fn every_flipped_bit_of_what_was_acknowledged_is_refused() {
    let folder = small_log();
    let whole = copy_of(folder.path());
    let expected = reopened(whole.path()).unwrap();
    for path in segments(folder.path()) {
        let content = fs::read(&path).unwrap();
        let end = written_end(&content);
        for bit in 0..end * 8 {
            let mut flipped = content.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, flipped).unwrap();
            assert_eq!(
                reopened(folder.path()),
                None,
                "byte {} bit {} of {}",
                bit / 8,
                bit % 8,
                path.display()
            );
        }
        fs::write(&path, &content).unwrap();
        // Behind the end nothing was acknowledged: nothing may be lost, and nothing need be refused.
        for byte in end..content.len().min(end + 64) {
            let copy = copy_of(folder.path());
            let mut flipped = content.clone();
            flipped[byte] ^= 1;
            fs::write(copy.path().join(path.file_name().unwrap()), flipped).unwrap();
            assert_eq!(reopened(copy.path()).unwrap(), expected, "byte {byte} of {}", path.display());
        }
    }
}

#[test]
fn every_flipped_bit_of_the_durable_end_loses_nothing() {
    let folder = small_log();
    let whole = copy_of(folder.path());
    let expected = reopened(whole.path()).unwrap();
    let content = fs::read(mark_path(folder.path())).unwrap();
    for byte in 0..content.len() {
        if content[byte] == 0 && byte % 64 != 0 {
            continue;
        }
        let copy = copy_of(folder.path());
        let mut flipped = content.clone();
        flipped[byte] ^= 4;
        fs::write(mark_path(copy.path()), flipped).unwrap();
        assert_eq!(reopened(copy.path()).unwrap(), expected, "byte {byte}");
    }
}

#[test]
fn every_cut_of_what_was_acknowledged_is_refused() {
    let folder = small_log();
    for path in segments(folder.path()) {
        let content = fs::read(&path).unwrap();
        for length in 0..written_end(&content) {
            fs::write(&path, &content[..length]).unwrap();
            assert_eq!(reopened(folder.path()), None, "{length} bytes of {}", path.display());
        }
        fs::write(&path, &content).unwrap();
    }
}

/// A log that loses power while a last batch is on its way: the batch is in the file, the durable end before it.
struct Unacknowledged {
    folder: tempfile::TempDir,
    path: PathBuf,
    content: Vec<u8>,
    acknowledged_end: usize,
    end: usize,
}

impl Unacknowledged {
    fn new() -> Unacknowledged {
        let source = tempfile::tempdir().unwrap();
        let log = open(source.path()).unwrap();
        append(&log, entries(1, 0..3)).unwrap();
        let path = segments(source.path()).remove(0);
        let acknowledged_end = written_end(&fs::read(&path).unwrap());
        let mark = fs::read(mark_path(source.path())).unwrap();
        append(&log, entries(1, 3..7)).unwrap();
        let folder = copy_of(source.path());
        fs::write(mark_path(folder.path()), mark).unwrap();
        let path = folder.path().join(path.file_name().unwrap());
        let content = fs::read(&path).unwrap();
        let end = written_end(&content);
        Unacknowledged { folder, path, content, acknowledged_end, end }
    }

    /// The log as it is opened with this content: a prefix with everything that was acknowledged, and usable.
    fn must_open_with(&self, content: &[u8], what: &str) {
        let copy = copy_of(self.folder.path());
        fs::write(copy.path().join(self.path.file_name().unwrap()), content).unwrap();
        let log = open(copy.path()).unwrap_or_else(|error| panic!("{what}: {error}"));
        let read = all(&log);
        let count = read.len() as u64;
        assert!((3..=7).contains(&count), "{what}: {count} entries");
        assert_eq!(read, entries(1, 0..count), "{what}");
        append(&log, entries(2, count..count + 2)).unwrap();
        let again = copy_of(copy.path());
        let expected = [entries(1, 0..count), entries(2, count..count + 2)].concat();
        assert_eq!(reopened(again.path()).expect(what).1, expected, "{what}, written to and opened again");
    }
}

#[test]
fn an_unacknowledged_tail_may_be_cut_anywhere() {
    let case = Unacknowledged::new();
    for length in case.acknowledged_end..=case.end {
        case.must_open_with(&case.content[..length], &format!("cut at {length}"));
        let mut zeroed = case.content.clone();
        zeroed[length..].fill(0);
        case.must_open_with(&zeroed, &format!("zeros from {length}"));
    }
}

#[test]
fn an_unacknowledged_tail_may_be_garbled_anywhere() {
    let case = Unacknowledged::new();
    for byte in case.acknowledged_end..case.end {
        let mut garbled = case.content.clone();
        garbled[byte] ^= 0x55;
        case.must_open_with(&garbled, &format!("garbled at {byte}"));
    }
}

#[test]
fn a_later_batch_proves_what_was_acknowledged() {
    let case = Unacknowledged::new();
    for byte in segment::HEADER_BYTES..case.acknowledged_end {
        let mut garbled = case.content.clone();
        garbled[byte] ^= 0x10;
        fs::write(&case.path, &garbled).unwrap();
        // Not even the mark is needed for this: an old one says nothing about these bytes.
        let fresh = tempfile::tempdir().unwrap();
        drop(mark::MarkFile::create(fresh.path()).unwrap());
        fs::copy(mark_path(fresh.path()), mark_path(case.folder.path())).unwrap();
        assert_eq!(reopened(case.folder.path()), None, "byte {byte}");
    }
}

#[test]
fn a_missing_file_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let log = open_with_segments_of(folder.path(), 300);
    for index in 0..30 {
        append(&log, entries(1, index..index + 1)).unwrap();
    }
    let paths = [segments(folder.path()), vec![mark_path(folder.path())]].concat();
    for path in paths {
        let copy = copy_of(folder.path());
        fs::remove_file(copy.path().join(path.file_name().unwrap())).unwrap();
        assert_eq!(reopened(copy.path()), None, "without {}", path.display());
    }
    let copy = copy_of(folder.path());
    segments(copy.path()).iter().for_each(|path| fs::remove_file(path).unwrap());
    assert_eq!(reopened(copy.path()), None, "without any segment");
}

#[test]
fn a_segment_that_was_being_made_is_forgotten() {
    let folder = tempfile::tempdir().unwrap();
    let log = open(folder.path()).unwrap();
    append(&log, entries(1, 0..3)).unwrap();
    let copy = copy_of(folder.path());
    fs::write(copy.path().join("00000000000000000002.wal.new"), b"half a header").unwrap();
    assert_eq!(reopened(copy.path()).unwrap().1, entries(1, 0..3));
    assert_eq!(fs::read_dir(copy.path()).unwrap().count(), 2);
}

#[test]
fn a_log_of_somebody_else_is_refused() {
    let folder = small_log();
    let others = [
        LogOwner { node_id: 8, ..owner() },
        LogOwner { incarnation: Ulid::from_parts(9, 9), ..owner() },
        LogOwner { cluster_id: Some("another".into()), ..owner() },
        LogOwner { cluster_id: None, ..owner() },
    ];
    for other in others {
        let refused = WalLog::open(folder.path(), other, small()).unwrap_err();
        assert!(matches!(refused, StoreError::Foreign { .. }), "{refused}");
    }
}

#[test]
fn a_log_begun_before_the_cluster_was_known_stays_ours() {
    let folder = tempfile::tempdir().unwrap();
    let unknown = LogOwner { cluster_id: None, ..owner() };
    let log = WalLog::open(folder.path(), unknown, small()).unwrap();
    append(&log, entries(1, 0..3)).unwrap();
    drop(log);
    assert_eq!(reopened(folder.path()).unwrap().1, entries(1, 0..3));
}

#[test]
fn a_full_disk_fails_for_good_and_reopens_whole() {
    for room in [0, 1, 40, 100, 333, 1000] {
        let folder = tempfile::tempdir().unwrap();
        let options = WalOptions { room: Some(Room::new(room)), segment_bytes: 400, ..small() };
        let log = WalLog::open(folder.path(), owner(), options).unwrap();
        let acknowledged =
            (0..100).take_while(|index| append(&log, vec![entry(1, *index)]).is_ok()).count() as u64;
        assert!(acknowledged < 100);
        let first = append(&log, vec![entry(1, acknowledged + 1)]).unwrap_err();
        assert_eq!(first.kind(), io::ErrorKind::StorageFull);
        let later = wait(|durable| log.save_vote(VOTE, durable)).unwrap_err();
        assert_eq!(first.to_string(), later.to_string(), "the same cause");
        assert_eq!(log.read(0, 1, 1).unwrap_err().kind(), io::ErrorKind::StorageFull);
        drop(log);
        let (_, read) = reopened(folder.path()).unwrap();
        assert!(read.len() as u64 >= acknowledged);
        assert_eq!(read, entries(1, 0..read.len() as u64));
    }
}

#[test]
fn an_idle_log_syncs_hint_and_durable_end() {
    let folder = tempfile::tempdir().unwrap();
    let options = WalOptions { idle_sync_after: Duration::from_millis(1), ..small() };
    let log = WalLog::open(folder.path(), owner(), options).unwrap();
    append(&log, entries(1, 0..3)).unwrap();
    log.save_committed(Some(id(1, 2)));
    // Written by itself: nothing else is asked of the log, so the next batch counted is the hint's.
    while log.counters().batches < 2 {
        std::thread::yield_now();
    }
    let copy = copy_of(folder.path());
    assert_eq!(reopened(copy.path()).unwrap().0.committed, Some(id(1, 2)));
}

#[test]
fn a_newer_format_is_refused_as_such() {
    let folder = small_log();
    let path = segments(folder.path()).remove(0);
    let mut content = fs::read(&path).unwrap();
    content[8] = 2;
    let crc = crc32c::crc32c_append(crc32c::crc32c(&content[0..12]), &content[16..segment::HEADER_BYTES]);
    content[12..16].copy_from_slice(&crc.to_le_bytes());
    fs::write(&path, content).unwrap();
    let refused = open(folder.path()).unwrap_err();
    assert!(matches!(refused, StoreError::NewerFormat { found: 2, .. }), "{refused}");
}

#[test]
fn damage_is_explained() {
    let folder = small_log();
    let path = segments(folder.path()).remove(1);
    let mut content = fs::read(&path).unwrap();
    let at = written_end(&content) - 9;
    content[at] ^= 1;
    fs::write(&path, content).unwrap();
    let said = open(folder.path()).unwrap_err().to_string();
    for part in ["00000000000000000002.wal", "at byte ", "checksum", "never an older copy"] {
        assert!(said.contains(part), "{said}");
    }
}
