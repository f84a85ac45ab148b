//! Writes to both stores and says what was acknowledged, or checks that all of it is there; see `tests/powercut/run.sh`.
//!
//! `powercut write FOLDER WHAT` prints `log INDEX` and `state NUMBER` after each acknowledgement, for ever. WHAT is
//! `both` or `state`: the log's syncs also write the file system's journal, and could hide one that the state lacks.
//! `powercut check FOLDER INDEX NUMBER` opens the stores and fails if anything acknowledged is gone or altered.

use std::error::Error;
use std::io::{self, Write};
use std::path::Path;

use belfry_server::store::{
    BlockKey, CheckpointPort, DataFolder, Identity, LogEntry, LogId, LogPort, SledCheckpoint, WalLog,
    WalOptions,
};
use bytes::Bytes;

/// Blocks of one checkpoint: enough for many nodes of the engine.
const BLOCKS: u64 = 60;
/// So often a checkpoint replaces everything instead of changing every block.
const REPLACED_EVERY: u64 = 10;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["write", folder, "both"] => write(Path::new(folder), true),
        ["write", folder, "state"] => write(Path::new(folder), false),
        ["check", folder, index, number] => check(Path::new(folder), index.parse()?, number.parse()?),
        _ => Err("usage: powercut write FOLDER both|state | powercut check FOLDER INDEX NUMBER".into()),
    }
}

fn open(path: &Path) -> Result<(DataFolder, WalLog, SledCheckpoint), Box<dyn Error>> {
    let folder = DataFolder::open(path, Identity { cluster_id: None, node_id: 1 })?;
    let options = WalOptions { segment_bytes: 256 << 10, ..WalOptions::default() };
    let log = WalLog::open(&folder.log_path(), folder.log_owner(), options)?;
    let state = SledCheckpoint::open(&folder.state_path())?;
    Ok((folder, log, state))
}

fn entry(index: u64) -> LogEntry {
    let text = format!("entry {index} ").repeat(1 + (index % 50) as usize);
    LogEntry { id: LogId { term: 1, node: 1, index }, payload: text.into() }
}

/// Between one and 75 KB.
fn block(checkpoint: u64, number: u64) -> Bytes {
    let bytes = 1_000 * (1 + (checkpoint + 7 * number) % 75) as usize;
    format!("block {number:05} of checkpoint {checkpoint:015} ").repeat(1 + bytes / 43).into()
}

fn commit(state: &SledCheckpoint, checkpoint: u64) -> io::Result<()> {
    let head = Bytes::from(checkpoint.to_string());
    let mut blocks = (0..BLOCKS).map(|number| (BlockKey { kind: 1, number }, block(checkpoint, number)));
    if checkpoint.is_multiple_of(REPLACED_EVERY) {
        state.replace(head, &mut blocks.map(Ok))
    } else {
        state.commit(head, blocks.by_ref().map(|(key, block)| (key, Some(block))).collect())
    }
}

fn write(path: &Path, with_log: bool) -> Result<(), Box<dyn Error>> {
    let (_folder, log, state) = open(path)?;
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 1.. {
                if let Err(error) = commit(&state, number) {
                    eprintln!("{error}");
                    break;
                }
                say(&format!("state {number}"));
            }
        });
        for index in (1..).take_while(|_| with_log) {
            log.append(
                vec![entry(index)],
                Box::new(move |outcome| {
                    if outcome.is_ok() {
                        say(&format!("log {index}"));
                    }
                }),
            );
            if index % 5000 == 0 {
                log.purge(entry(index - 2000).id, Box::new(|_| {}));
            }
        }
    });
    Ok(())
}

fn say(line: &str) {
    let mut out = io::stdout().lock();
    // Without a reader there is nobody left to promise anything to.
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}

fn check(path: &Path, index: u64, number: u64) -> Result<(), Box<dyn Error>> {
    let (_folder, log, state) = open(path)?;
    let held = log.state();
    let last = held.last.map_or(0, |last| last.index);
    if last < index {
        return Err(format!("entry {index} was acknowledged, the log ends at {last}").into());
    }
    let first = held.purged.map_or(1, |purged| purged.index + 1);
    let read = log.read(first, u64::MAX, usize::MAX)?;
    if !read.iter().map(|entry| entry.id.index).eq(first..=last)
        || read.iter().any(|read| *read != entry(read.id.index))
    {
        return Err("the log holds other entries than were written".into());
    }
    let head = state.head()?.map_or(Ok(0), |head| String::from_utf8_lossy(&head).parse::<u64>())?;
    if head < number {
        return Err(format!("checkpoint {number} was acknowledged, the store holds {head}").into());
    }
    let mut blocks = 0;
    for item in state.blocks()? {
        let (key, found) = item?;
        if found != block(head, key.number) {
            return Err(format!("block {} is not of checkpoint {head}", key.number).into());
        }
        blocks += 1;
    }
    if head > 0 && blocks != BLOCKS {
        return Err(format!("checkpoint {head} has {blocks} blocks, not {BLOCKS}").into());
    }
    println!("log {index} acknowledged, {last} found; checkpoint {number} acknowledged, {head} found");
    Ok(())
}
