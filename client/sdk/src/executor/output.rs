//! The tail of what a run wrote.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

/// How much output of a run is kept: the limit of the contract.
pub const OUTPUT_TAIL_BYTES: usize = 64 * 1024;

/// Keeps the last 64 KiB that were written to it. Clones are cheap and write to the same tail.
#[derive(Clone, Debug, Default)]
pub struct OutputTail {
    tail: Arc<Mutex<VecDeque<u8>>>,
}

impl OutputTail {
    /// An empty tail. It takes no memory until something is written.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends bytes; the oldest ones make room.
    pub fn write(&self, bytes: &[u8]) {
        let kept = &bytes[bytes.len().saturating_sub(OUTPUT_TAIL_BYTES)..];
        let mut tail = self.lock();
        let surplus = (tail.len() + kept.len()).saturating_sub(OUTPUT_TAIL_BYTES);
        tail.drain(..surplus);
        tail.extend(kept);
    }

    /// Appends a text and the end of a line, as one piece.
    pub fn line(&self, text: &str) {
        let mut line = Vec::with_capacity(text.len() + 1);
        line.extend_from_slice(text.as_bytes());
        line.push(b'\n');
        self.write(&line);
    }

    /// What is kept now.
    #[must_use]
    pub fn bytes(&self) -> Bytes {
        let tail = self.lock();
        let (older, newer) = tail.as_slices();
        [older, newer].concat().into()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<u8>> {
        // A tail is valid after every operation, so a panic elsewhere does not spoil it.
        self.tail.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_last_64_kib_in_order() {
        let output = OutputTail::new();
        let all: Vec<u8> = (0..200_000_u32).map(|n| (n % 251) as u8).collect();
        for piece in all.chunks(7_001) {
            output.write(piece);
        }
        assert_eq!(output.bytes(), all[all.len() - OUTPUT_TAIL_BYTES..]);
        output.write(&all);
        assert_eq!(output.bytes(), all[all.len() - OUTPUT_TAIL_BYTES..]);
    }

    #[test]
    fn clones_share_the_tail() {
        let output = OutputTail::new();
        output.clone().line("one");
        output.line("two");
        assert_eq!(output.bytes(), "one\ntwo\n");
    }
}
