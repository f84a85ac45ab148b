//! What former releases wrote, read and applied by this one (CODEC-3, APPLY-1). The files were recorded by builds of those
//! releases and are never written anew: a test that fails here means that a cluster would not survive an upgrade.
//!
//! Lines of a file: `entry <log entry> <digest of the state after it>` in the order of the log, then `block <block of records>` for
//! what a checkpoint of the last state holds; bytes in hexadecimal digits.

use belfry_core::{LogPosition, State};
use bytes::Bytes;

use super::{decode_block, decode_command, encode_block, encode_command};

/// Recorded at c2d2d3c, which knows feature level 1 alone: a command of every kind, then those that random numbers drew of what a
/// leader would propose, with outages and clocks that go back. Of 360 such logs, one that finds both faults that any found.
const LEVEL_1: &str = include_str!("testdata/level_1.txt");

fn bytes(hex: &str) -> Bytes {
    let digits = |at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(digits).collect()
}

#[test]
fn a_log_of_level_1_gives_the_state_that_it_gave() {
    let mut state = State::default();
    let mut index = 0;
    let mut blocks = Vec::new();
    for line in LEVEL_1.lines() {
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["entry", entry, digest] => {
                index += 1;
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
    assert!(index > 150 && blocks.len() > 3, "{index} entries and {} blocks", blocks.len());

    let records = blocks.iter().flat_map(|block| decode_block(block).unwrap());
    let restored = State::restore(records).unwrap();
    assert_eq!(restored.digest(), state.digest(), "the checkpoint");
    assert_eq!(restored.ready(), state.ready());
    for (block, written) in state.blocks().into_iter().zip(&blocks) {
        assert_eq!(encode_block(&state.block(block)), written, "{block:?} is written otherwise");
    }
}
