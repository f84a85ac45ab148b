//! The write-ahead log, opened on files that hold anything.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::mpsc;

use belfry_server::store::{LogEntry, LogId, LogOwner, LogPort as _, Vote, WalLog, WalOptions};
use bytes::Bytes;
use ulid::Ulid;

/// Entries of the log that the file is put into.
const ENTRIES: u64 = 20;

fn owner() -> LogOwner {
    LogOwner { cluster_id: Some("fuzz".to_owned()), node_id: 1, incarnation: Ulid::from(7) }
}

fn options() -> WalOptions {
    // Short, so that a file is no longer than what a fuzzer tries.
    WalOptions { segment_bytes: 1024, grow_bytes: 256, ..WalOptions::default() }
}

/// The bytes of the newest file of a sound log, as something to start from.
pub fn sound_log_file() -> Vec<u8> {
    let folder = tempfile::tempdir().expect("the machine has room for temporary files");
    let file = write_log(folder.path());
    fs::read(file).expect("it was written just now")
}

/// Replaces the newest file of a log by `input` and opens the log. It opens with a state that can be read, or it is refused.
pub fn log_file(input: &[u8]) {
    let folder = tempfile::tempdir().expect("the machine has room for temporary files");
    let file = write_log(folder.path());
    fs::write(file, input).expect("the machine has room for temporary files");
    match WalLog::open(folder.path(), owner(), options()) {
        Ok(log) => {
            let state = log.state();
            let last = state.last.map_or(0, |last| last.index);
            let first = state.purged.map_or(0, |purged| purged.index);
            let entries = log.read(first, last + 1, usize::MAX).expect("an open log is read");
            assert!(
                entries.windows(2).all(|pair| pair[0].id.index + 1 == pair[1].id.index),
                "a hole in the log"
            );
            log.close();
        }
        Err(error) => assert!(!error.to_string().is_empty(), "a refusal says what is wrong"),
    }
}

/// A log of a few segments; the path of its newest file.
fn write_log(folder: &Path) -> PathBuf {
    let log = WalLog::open(folder, owner(), options()).expect("an empty folder is an empty log");
    let (done, wait) = mpsc::channel();
    let durable = || {
        let done = done.clone();
        Box::new(move |result: std::io::Result<()>| {
            // The receiver waits for all of them.
            done.send(result).ok();
        })
    };
    log.save_vote(Vote { term: 1, node: 1, committed: true }, durable());
    for index in 1..=ENTRIES {
        let payload = Bytes::from(vec![index as u8; 100]);
        log.append(vec![LogEntry { id: LogId { term: 1, node: 1, index }, payload }], durable());
    }
    for _ in 0..=ENTRIES {
        wait.recv().expect("the log answers everything").expect("the machine has room for temporary files");
    }
    log.close();
    let files = fs::read_dir(folder).expect("it is there");
    let files = files.map(|entry| entry.expect("it is readable").path());
    let segments = files.filter(|path| path.extension().is_some_and(|extension| extension == "wal"));
    segments.max().expect("a log has a file")
}
