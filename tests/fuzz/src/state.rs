//! What is stored: log entries, blocks of checkpoints, and the state machine over them.

use belfry_core::{LogPosition, State};
use belfry_server::codec::{compress_block, decode_block, decode_command, encode_block, encode_command};
use bytes::Bytes;

/// Log entries that one input may hold.
const COMMANDS_MAX: usize = 200;

/// One log entry, and one block of a checkpoint: what can be read is written back so that it reads the same.
pub fn stored(input: &[u8]) {
    let input = Bytes::copy_from_slice(input);
    if let Ok(command) = decode_command(&input) {
        let written = encode_command(&command);
        let again = decode_command(&written).expect("what was written is readable");
        assert_eq!(encode_command(&again), written, "{command:?}");
    }
    if let Ok(records) = decode_block(&input) {
        let written = encode_block(&records);
        let again = decode_block(&written).expect("what was written is readable");
        assert_eq!(encode_block(&again), written, "{records:?}");
        let compressed = decode_block(&compress_block(written)).expect("what was compressed is readable");
        assert_eq!(compressed, again);
        // Records that do not belong together are an error, and whatever is restored is written again.
        if let Ok(state) = State::restore(records) {
            for block in state.blocks() {
                _ = encode_block(&state.block(block));
            }
        }
    }
}

/// A log as one input: each entry after its length, two bytes, little endian.
pub fn log_of<'a>(entries: impl IntoIterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut input = Vec::new();
    for entry in entries {
        let length = u16::try_from(entry.len()).expect("entries of tests are short");
        input.extend_from_slice(&length.to_le_bytes());
        input.extend_from_slice(entry);
    }
    input
}

/// A log, applied entry by entry: each is done or rejected, and what is restored from blocks is the same state.
pub fn commands(mut input: &[u8]) {
    let mut state = State::default();
    let mut index = 0;
    while let Some((length, rest)) = input.split_first_chunk::<2>()
        && index < COMMANDS_MAX as u64
    {
        let length = usize::from(u16::from_le_bytes(*length)).min(rest.len());
        let (entry, rest) = rest.split_at(length);
        input = rest;
        let Ok(command) = decode_command(&Bytes::copy_from_slice(entry)) else { continue };
        index += 1;
        // A rejection is a result like any other.
        _ = state.apply(LogPosition { term: 1, index }, command);
    }
    let records = state.blocks().into_iter().flat_map(|block| state.block(block));
    let restored = State::restore(records).expect("a state that was reached is restored");
    assert_eq!(restored.digest(), state.digest());
}
