//! What former releases wrote, read and applied by this one (CODEC-3, APPLY-1). The files were recorded by builds of those
//! releases and are never written anew: a test that fails here means that a cluster would not survive an upgrade.
//!
//! Lines of a file: `entry <log entry> <digest of the state after it> [<its index>]` in the order of the log, then `block <block of
//! records>` for what a checkpoint of the last state holds; bytes in hexadecimal digits. Without an index an entry is the next one.

use belfry_core::{LogPosition, State};
use bytes::Bytes;

use super::{decode_block, decode_command, encode_block, encode_command};

/// Recorded at c2d2d3c, which knows feature level 1 alone: a command of every kind, then those that random numbers drew of what a
/// leader would propose, with outages and clocks that go back. Of 360 such logs, one that finds both faults that any found.
const LEVEL_1: &str = include_str!("testdata/level_1.txt");

/// Recorded at 111c76b, which knows feature level 3: what three nodes of a simulation (seed 7) committed in their first seconds, from the
/// raise of the level on: backfills, calendars, pools, time-zone data, cancels, leases that ran out.
const LEVEL_3: &str = include_str!("testdata/level_3.txt");

/// What a checkpoint at feature level 4 holds of the last state of [`LEVEL_3`]: the same blocks, compressed where that helps.
const LEVEL_4_BLOCKS: &str = include_str!("testdata/level_4_blocks.txt");

fn bytes(hex: &str) -> Bytes {
    let digits = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(digits).collect()
}

#[test]
fn a_log_of_level_1_gives_the_state_that_it_gave() {
    check(LEVEL_1);
}

#[test]
fn a_log_of_level_3_gives_the_state_that_it_gave() {
    assert_eq!(check(LEVEL_3).feature_level(), 3);
}

#[test]
fn compressed_blocks_of_level_4_are_those_of_level_3() {
    let blocks = |recorded: &str| {
        let blocks = recorded.lines().filter_map(|line| line.strip_prefix("block ")).map(bytes);
        blocks.collect::<Vec<_>>()
    };
    let (plain, stored) = (blocks(LEVEL_3), blocks(LEVEL_4_BLOCKS));
    assert_eq!(plain.len(), stored.len());
    let size = |blocks: &[Bytes]| blocks.iter().map(Bytes::len).sum::<usize>();
    assert!(size(&stored) * 2 < size(&plain), "they are compressed");
    for (plain, stored) in plain.iter().zip(&stored) {
        assert_eq!(decode_block(stored).unwrap(), decode_block(plain).unwrap());
    }
}

/// The log and its checkpoint, read again; gives the state.
fn check(recorded: &str) -> State {
    let mut state = State::default();
    let (mut index, mut entries) = (0, 0);
    let mut blocks = Vec::new();
    for line in recorded.lines() {
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["entry", entry, digest, ref rest @ ..] => {
                index = rest.first().map_or(index + 1, |index| index.parse().unwrap());
                entries += 1;
                let entry = bytes(entry);
                let command = decode_command(&entry).unwrap();
                // Nodes of that release still read what this one proposes there.
                assert_eq!(encode_command(&command), entry, "entry {index} is written otherwise");
                state.apply(LogPosition { term: 1, index }, command.clone());
                assert_eq!(state.digest().to_string(), digest, "entry {index}, {command:?}");
                assert_eq!(state.violations(), []);
            }
            ["block", block] => blocks.push(bytes(block)),
            _ => panic!("`{line}` is no line of a recorded log"),
        }
    }
    assert!(entries > 150 && blocks.len() > 3, "{entries} entries and {} blocks", blocks.len());

    let records = blocks.iter().flat_map(|block| decode_block(block).unwrap());
    let restored = State::restore(records).unwrap();
    assert_eq!(restored.digest(), state.digest(), "the checkpoint");
    assert_eq!(restored.ready(), state.ready());
    for (block, written) in state.blocks().into_iter().zip(&blocks) {
        assert_eq!(encode_block(&state.block(block)), written, "{block:?} is written otherwise");
    }
    state
}
