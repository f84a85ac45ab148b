//! The Raft log on disk: numbered segment files, one thread that writes, one sync per batch.
//!
//! ```text
//!   append, save_vote, truncate, purge          the thread "belfry-wal"
//!   ──► view (readable at once) ──► queue ──► encode ─ write ─ fdatasync ─ durable end ─► acknowledge, remove segments
//!                                     └────── whatever queued up meanwhile is the next batch (group commit)
//!   log/durable-end   log/00000000000000000007.wal   log/00000000000000000008.wal
//! ```
//! All entries that are not purged are also held in memory, where they are read: the caller bounds them by
//! purging when [`LogState::retained_bytes`](super::LogState) grows. Beside it at most `queue_bytes_max` wait and
//! one batch is being written. After a restart entries are slices of the segments they were read from, so up to
//! one segment more stays in memory until its last entry is purged.
//!
//! - WAL-1 one queue, written in order, acknowledged in order (STORE-2); a batch never straddles two segments.
//! - WAL-2 … WAL-5: see `segment`, `record` and `mark`.
//! - WAL-6 a segment is removed only when a durable purge covers all its entries, oldest first; votes, the
//!   committed hint and the purge itself are repeated at the start of each new segment.
//! - WAL-7 damage to acknowledged bytes is refused at open; bytes never acknowledged are dropped.
//!
//! What cannot be told apart: the power is cut within `idle_sync_after` of an acknowledgement with no later batch
//! written, *and* a bit of that last batch flips: it looks like a batch whose sync never ended. After a kill,
//! or once the log was idle for that long, or once another batch followed, WAL-7 holds without exception.

mod mark;
mod record;
mod recovery;
mod segment;
mod writer;

#[cfg(test)]
pub(super) mod tests;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use ulid::Ulid;

pub(super) use segment::CLUSTER_ID_BYTES_MAX;

use super::view::{Carry, Change, Effect, LogView};
use super::{Durable, LogEntry, LogId, LogPort, LogState, StoreError, Vote};

/// Whose log it is; written into every segment, and compared at open.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogOwner {
    /// `None` until the node has joined a cluster.
    pub cluster_id: Option<String>,
    /// The node's id.
    pub node_id: u64,
    /// This life of the node's disk.
    pub incarnation: Ulid,
}

impl fmt::Display for LogOwner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let cluster = self.cluster_id.as_deref().unwrap_or("not known yet");
        write!(f, "node {} (incarnation {}, cluster {cluster})", self.node_id, self.incarnation)
    }
}

/// Sizes and limits of a log.
#[derive(Clone, Debug)]
pub struct WalOptions {
    /// A new segment is begun when the current one is longer.
    pub segment_bytes: u64,
    /// How much of a segment is filled with zeros ahead of the batches.
    pub grow_bytes: u64,
    /// How much one sync covers at most (one request may be more).
    pub batch_bytes_max: u64,
    /// How much may wait for the disk before `append` blocks.
    pub queue_bytes_max: u64,
    /// After this long without a write the durable end and the committed hint are synced too.
    pub idle_sync_after: Duration,
    /// The disk is full after so many bytes.
    #[cfg(test)]
    pub(super) room: Option<tests::Room>,
}

impl Default for WalOptions {
    /// 64 MiB segments keep purging coarse and files few; 1 MiB ahead costs about two milliseconds once in a
    /// while; 4 MiB per sync is some ten milliseconds of a slow disk; the queue is as long as one segment.
    fn default() -> WalOptions {
        WalOptions {
            segment_bytes: 64 << 20,
            grow_bytes: 1 << 20,
            batch_bytes_max: 4 << 20,
            queue_bytes_max: 64 << 20,
            idle_sync_after: Duration::from_millis(100),
            #[cfg(test)]
            room: None,
        }
    }
}

/// What the log has done since it was opened.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct WalCounters {
    /// Entries made durable.
    pub entries: u64,
    /// Batches made durable: as many syncs.
    pub batches: u64,
    /// Bytes written for them.
    pub bytes: u64,
    /// Segments begun.
    pub segments: u64,
}

/// [`LogPort`] on segment files.
#[derive(Debug)]
pub struct WalLog {
    shared: Arc<Shared>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl WalLog {
    /// Opens the log in `folder`, which exists; an empty folder becomes an empty log. Reads everything that is
    /// not purged, refuses damage (WAL-7), and drops what was never acknowledged.
    pub fn open(folder: &Path, owner: LogOwner, options: WalOptions) -> Result<WalLog, StoreError> {
        if owner.cluster_id.as_ref().is_some_and(|id| id.len() > CLUSTER_ID_BYTES_MAX) {
            return Err(StoreError::Misuse {
                what: format!("take a cluster id of over {CLUSTER_ID_BYTES_MAX} bytes"),
            });
        }
        let recovered = recovery::recover(folder, &owner)?;
        let shared = Arc::new(Shared {
            folder: folder.to_path_buf(),
            queue_bytes_max: options.queue_bytes_max,
            inner: Mutex::new(Inner { view: recovered.view, ..Inner::default() }),
            work: Condvar::new(),
            room: Condvar::new(),
            counters: Counters::default(),
        });
        let written = {
            let inner = shared.lock();
            inner.view.carry()
        };
        let writer = writer::Writer::new(
            shared.clone(),
            owner,
            options,
            recovered.sealed,
            recovered.current,
            recovered.mark,
            written,
        );
        let thread = std::thread::Builder::new()
            .name("belfry-wal".into())
            .spawn(move || writer.run())
            .map_err(StoreError::io("start the thread of the log in", folder))?;
        Ok(WalLog { shared, thread: Mutex::new(Some(thread)) })
    }

    /// What the log has done since it was opened.
    pub fn counters(&self) -> WalCounters {
        self.shared.counters.get()
    }

    fn change(&self, change: Change, durable: Durable) {
        let refused = match self.shared.enqueue(change, durable) {
            Ok(()) => return,
            Err(refused) => refused,
        };
        (refused.durable)(Err(refused.error.into()));
    }
}

impl LogPort for WalLog {
    fn append(&self, entries: Vec<LogEntry>, durable: Durable) {
        self.change(Change::Append(entries), durable);
    }

    fn save_vote(&self, vote: Vote, durable: Durable) {
        self.change(Change::Vote(vote), durable);
    }

    fn truncate_after(&self, last: Option<LogId>, durable: Durable) {
        self.change(Change::TruncateAfter(last), durable);
    }

    fn purge(&self, upto: LogId, durable: Durable) {
        self.change(Change::Purge(upto), durable);
    }

    fn save_committed(&self, committed: Option<LogId>) {
        let mut inner = self.shared.lock();
        if inner.stopped.is_none() && inner.view.state().committed != committed {
            // A hint cannot be refused, and whoever cannot store it fails at the next write.
            let _ = inner.view.apply(&Change::Committed(committed));
            inner.committed_hint = Some(committed);
            self.shared.work.notify_one();
        }
    }

    fn read(&self, from: u64, to_exclusive: u64, bytes_max: usize) -> io::Result<Vec<LogEntry>> {
        let inner = self.shared.lock();
        inner.must_be_running()?;
        Ok(inner.view.read(from, to_exclusive, bytes_max))
    }

    fn state(&self) -> LogState {
        self.shared.lock().view.state()
    }

    fn close(&self) {
        self.shared.lock().closing = true;
        self.shared.work.notify_one();
        self.shared.room.notify_all();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        // A callback may hold the last handle: the thread cannot wait for its own end.
        if let Some(thread) = thread.filter(|thread| thread.thread().id() != std::thread::current().id()) {
            // A panic of the thread has already been turned into a failure of the log.
            let _ = thread.join();
        }
    }
}

impl Drop for WalLog {
    fn drop(&mut self) {
        self.close();
    }
}

/// What callers and the thread share.
#[derive(Debug)]
struct Shared {
    folder: PathBuf,
    queue_bytes_max: u64,
    inner: Mutex<Inner>,
    /// There is something to write.
    work: Condvar,
    /// The queue has become shorter.
    room: Condvar,
    counters: Counters,
}

#[derive(Default)]
struct Inner {
    view: LogView,
    queue: std::collections::VecDeque<Queued>,
    queue_bytes: u64,
    /// A hint not yet written.
    committed_hint: Option<Option<LogId>>,
    closing: bool,
    /// Why nothing more can be written.
    stopped: Option<Arc<StoreError>>,
}

impl fmt::Debug for Inner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("Inner");
        shown.field("state", &self.view.state()).field("queued", &self.queue.len());
        shown.field("stopped", &self.stopped).finish_non_exhaustive()
    }
}

/// A change on its way to the disk.
struct Queued {
    change: Change,
    /// There is nothing to write, only an order to keep.
    effect: Effect,
    /// How the log stands after it.
    carry: Carry,
    durable: Durable,
}

struct Refused {
    error: StoreError,
    durable: Durable,
}

impl Shared {
    /// Makes the change visible and queues it, in one step: the order seen is the order written (WAL-1).
    fn enqueue(&self, change: Change, durable: Durable) -> Result<(), Refused> {
        let bytes = change.bytes();
        let mut inner = self.lock();
        while inner.must_be_running().is_ok()
            && inner.queue_bytes > 0
            && inner.queue_bytes + bytes > self.queue_bytes_max
        {
            inner = self.room.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
        if inner.closing && inner.stopped.is_none() {
            return Err(Refused { error: StoreError::Closed(self.folder.clone()), durable });
        }
        let effect = match inner.must_be_running().and_then(|()| inner.view.apply(&change)) {
            Ok(effect) => effect,
            Err(error) => return Err(Refused { error, durable }),
        };
        let carry = inner.view.carry();
        inner.queue_bytes += bytes;
        inner.queue.push_back(Queued { change, effect, carry, durable });
        self.work.notify_one();
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Nothing in here is left half changed by a panic; a panicking writer stops the log by itself.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The end of this log: whatever waits fails with the same cause (STORE-3).
    fn stop(&self, cause: StoreError) {
        let cause = Arc::new(cause);
        let waiting = {
            let mut inner = self.lock();
            inner.stopped = Some(cause.clone());
            inner.queue_bytes = 0;
            std::mem::take(&mut inner.queue)
        };
        self.room.notify_all();
        for queued in waiting {
            (queued.durable)(Err(StoreError::Failed(cause.clone()).into()));
        }
    }
}

impl Inner {
    fn must_be_running(&self) -> Result<(), StoreError> {
        match &self.stopped {
            Some(cause) => Err(match cause.as_ref() {
                StoreError::Closed(folder) => StoreError::Closed(folder.clone()),
                _ => StoreError::Failed(cause.clone()),
            }),
            None => Ok(()),
        }
    }
}

#[derive(Default, Debug)]
struct Counters {
    entries: AtomicU64,
    batches: AtomicU64,
    bytes: AtomicU64,
    segments: AtomicU64,
}

impl Counters {
    fn get(&self) -> WalCounters {
        WalCounters {
            entries: self.entries.load(Ordering::Relaxed),
            batches: self.batches.load(Ordering::Relaxed),
            bytes: self.bytes.load(Ordering::Relaxed),
            segments: self.segments.load(Ordering::Relaxed),
        }
    }
}
