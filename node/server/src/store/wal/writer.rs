//! The one thread that writes a log.
//!
//! It takes whatever has queued up, writes it with one sync, notes the durable end, and acknowledges. A failure
//! ends it: the batch and all that waits fail with that cause (STORE-3).

use std::collections::VecDeque;
use std::fs;
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Instant;

use super::mark::{DurableEnd, MarkFile};
use super::record::Encoder;
use super::segment::{Sealed, Segment};
use super::{LogOwner, Queued, Shared, WalOptions};
use crate::store::view::{Carry, Change, Effect};
use crate::store::{LogId, StoreError, files};

/// A buffer that once held a large batch is not kept.
const BUFFER_BYTES_KEPT: usize = 8 << 20;

pub(super) struct Writer {
    shared: Arc<Shared>,
    owner: LogOwner,
    options: WalOptions,
    sealed: VecDeque<Sealed>,
    current: Segment,
    mark: MarkFile,
    /// The mark was written and not synced.
    mark_unsynced: bool,
    /// What a replay of the records written so far would give.
    written: Carry,
    buffer: Vec<u8>,
}

/// What one turn has to do.
struct Turn {
    batch: Vec<Queued>,
    committed_hint: Option<Option<LogId>>,
    next: Next,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Continue,
    /// There was nothing to do for a while: sync what is usually left to the next batch.
    Settle,
    Close,
}

impl Writer {
    pub(super) fn new(
        shared: Arc<Shared>,
        owner: LogOwner,
        options: WalOptions,
        sealed: VecDeque<Sealed>,
        current: Segment,
        mark: MarkFile,
        written: Carry,
    ) -> Writer {
        let mark_unsynced = false;
        Writer { shared, owner, options, sealed, current, mark, mark_unsynced, written, buffer: Vec::new() }
    }

    pub(super) fn run(mut self) {
        let shared = self.shared.clone();
        let _stopping = StopOnPanic(shared.clone());
        loop {
            let turn = self.take_turn();
            let next = turn.next;
            if let Err(error) = self.carry_out(turn) {
                return shared.stop(error);
            }
            if next == Next::Close {
                return shared.stop(StoreError::Closed(shared.folder.clone()));
            }
        }
    }

    /// Waits for something to do.
    fn take_turn(&self) -> Turn {
        let mut inner = self.shared.lock();
        let mut settle_at = Instant::now() + self.options.idle_sync_after;
        while inner.queue.is_empty() && !inner.closing {
            if !self.mark_unsynced && inner.committed_hint.is_none() {
                inner = self.shared.work.wait(inner).unwrap_or_else(PoisonError::into_inner);
                settle_at = Instant::now() + self.options.idle_sync_after;
                continue;
            }
            let left = settle_at.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let committed_hint = inner.committed_hint.take();
                return Turn { batch: Vec::new(), committed_hint, next: Next::Settle };
            }
            let waited = self.shared.work.wait_timeout(inner, left);
            inner = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        let mut batch = Vec::new();
        let mut bytes = 0;
        while let Some(queued) = inner.queue.pop_front() {
            bytes += queued.change.bytes();
            batch.push(queued);
            if bytes >= self.options.batch_bytes_max {
                break;
            }
        }
        inner.queue_bytes -= bytes;
        let drained = inner.queue.is_empty();
        let next = if inner.closing && drained { Next::Close } else { Next::Continue };
        // The hint must not get ahead of the entries it speaks of: they may still be waiting.
        let committed_hint = if drained { inner.committed_hint.take() } else { None };
        drop(inner);
        self.shared.room.notify_all();
        Turn { batch, committed_hint, next }
    }

    /// Writes, syncs, acknowledges, tidies up: in this order.
    fn carry_out(&mut self, turn: Turn) -> Result<(), StoreError> {
        if let Err(error) = self.write(&turn) {
            // Back into the queue: what was taken fails first, and with the same cause as what waits.
            let mut inner = self.shared.lock();
            turn.batch.into_iter().rev().for_each(|queued| inner.queue.push_front(queued));
            return Err(error);
        }
        let purged = turn.batch.iter().any(|queued| matches!(queued.change, Change::Purge(_)));
        for queued in turn.batch {
            (queued.durable)(Ok(()));
        }
        if turn.next != Next::Continue && self.mark_unsynced {
            self.mark.sync()?;
            self.mark_unsynced = false;
        }
        if purged { self.remove_purged() } else { Ok(()) }
    }

    fn write(&mut self, turn: &Turn) -> Result<(), StoreError> {
        let changes = turn.batch.iter().filter(|queued| queued.effect == Effect::Changed);
        if turn.committed_hint.is_none() && changes.clone().next().is_none() {
            return Ok(());
        }
        if self.current.end >= self.options.segment_bytes {
            self.begin_segment()?;
        }
        let mut encoder =
            Encoder::new(self.current.sequence, self.current.end, std::mem::take(&mut self.buffer));
        let mut entries = 0;
        for queued in changes {
            entries += encode(&mut encoder, &queued.change, &mut self.current.index_max);
            self.written = Carry { committed: self.written.committed, ..queued.carry };
        }
        if let Some(committed) = turn.committed_hint {
            encoder.committed(committed);
            self.written.committed = committed;
        }
        self.buffer = encoder.into_buffer();
        self.current.write(&self.buffer, &self.options)?;
        // Not part of the promise yet, but of the proof: a kill after the acknowledgement leaves it behind.
        self.mark.write(DurableEnd { segment: self.current.sequence, end: self.current.end })?;
        self.mark_unsynced = true;
        self.count(entries);
        if self.buffer.capacity() > BUFFER_BYTES_KEPT {
            self.buffer = Vec::new();
        }
        Ok(())
    }

    fn begin_segment(&mut self) -> Result<(), StoreError> {
        let (sequence, end) = (self.current.sequence + 1, self.current.end);
        let next = Segment::create(&self.shared.folder, &self.owner, sequence, end, &self.written)?;
        let full = std::mem::replace(&mut self.current, next);
        self.sealed.push_back(full.seal());
        self.shared.counters.segments.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Removes the segments whose entries are all purged (WAL-6). Each removal is made durable before the next,
    /// so that a power cut cannot leave a gap.
    fn remove_purged(&mut self) -> Result<(), StoreError> {
        let Some(purged) = self.written.purged else { return Ok(()) };
        while let Some(oldest) = self.sealed.pop_front_if(|oldest| oldest.index_max <= Some(purged.index)) {
            fs::remove_file(&oldest.path).map_err(StoreError::io("remove", &oldest.path))?;
            files::sync_folder(&self.shared.folder)?;
        }
        Ok(())
    }

    fn count(&self, entries: u64) {
        let counters = &self.shared.counters;
        counters.entries.fetch_add(entries, Ordering::Relaxed);
        counters.batches.fetch_add(1, Ordering::Relaxed);
        counters.bytes.fetch_add(self.buffer.len() as u64, Ordering::Relaxed);
    }
}

/// Returns how many entries were in it.
fn encode(encoder: &mut Encoder, change: &Change, index_max: &mut Option<u64>) -> u64 {
    match change {
        Change::Append(entries) => {
            entries.iter().for_each(|entry| encoder.entry(entry));
            *index_max = (*index_max).max(entries.last().map(|entry| entry.id.index));
            return entries.len() as u64;
        }
        Change::Vote(vote) => encoder.vote(*vote),
        Change::TruncateAfter(last) => encoder.truncate_after(*last),
        Change::Purge(upto) => encoder.purge(*upto),
        Change::Committed(committed) => encoder.committed(*committed),
    }
    0
}

/// A thread that dies must not leave callers waiting.
struct StopOnPanic(Arc<Shared>);

impl Drop for StopOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let what = "keep writing: its thread panicked".to_owned();
            self.0.stop(StoreError::Misuse { what });
        }
    }
}
