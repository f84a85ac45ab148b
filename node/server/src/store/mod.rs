//! What a node keeps on its disk, behind two ports: the Raft log and the checkpoints of the replicated state.
//!
//! ```text
//!   raft ──► LogPort ────────► WalLog (own segmented files)      MemoryLog (tests, simulation)
//!        └─► CheckpointPort ─► SledCheckpoint (packed blocks)    MemoryCheckpoint (tests, simulation)
//!   start ─► DataFolder: identity, lock, layout
//!   every call that waits for the disk ─► OffloadPort: a thread of its own
//! ```
//!
//! This module knows neither consensus nor schedules: entries are ids with opaque bytes, state is opaque blocks.
//! It is the only user of `sled`.
//!
//! - STORE-1 an acknowledged write is there after `kill -9` and after a power cut, whole and unchanged, or the
//!   store refuses to open or to be read, and says what is damaged and what to do. It never silently goes back.
//! - STORE-2 votes, appends, truncations and purges become durable in the order they were asked for.
//! - STORE-3 the first failed write or sync is final: every later call fails with the same cause, and only
//!   opening the store again (a new process) recovers, because after a failed sync nobody knows what the disk has.
//! - STORE-4 a checkpoint is all of it or nothing.
//! - STORE-5 nothing in a store panics because of what a file contains.

mod checkpoint;
#[cfg(test)]
mod conformance;
mod error;
mod files;
mod folder;
mod memory;
mod offload;
mod view;
mod wal;

use std::io;

use bytes::Bytes;

pub use checkpoint::SledCheckpoint;
pub use error::{LOST_DATA_ADVICE, StoreError};
pub use folder::{DataFolder, FolderError, Identity, StoredIdentity};
pub use memory::{MemoryCheckpoint, MemoryLog};
pub use offload::{BlockingThreads, DiskCall, Offload, OffloadPort};
pub use wal::{LogOwner, WalCounters, WalLog, WalOptions};

/// Names one entry of the Raft log.
///
/// The derived order is term, node, index. Raft itself needs only equality and the index: two entries of one
/// log are ordered by `index` alone, and that is the only order this module uses.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LogId {
    /// Term of the leader that proposed the entry.
    pub term: u64,
    /// That leader's node id.
    pub node: u64,
    /// Place in the log.
    pub index: u64,
}

/// One entry of the Raft log; what the payload means is the caller's business.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LogEntry {
    /// Where it stands.
    pub id: LogId,
    /// Opaque; stored and returned byte by byte.
    pub payload: Bytes,
}

/// The vote a node must never forget.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Vote {
    /// Term voted in.
    pub term: u64,
    /// Candidate voted for.
    pub node: u64,
    /// A quorum granted it: that node leads this term.
    pub committed: bool,
}

/// Called exactly once, when everything asked for up to here is durable or has failed for good.
///
/// It runs on the store's own thread: it must be short and must not call the store.
pub type Durable = Box<dyn FnOnce(io::Result<()>) + Send>;

/// What a log holds at this moment.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct LogState {
    /// Last vote saved.
    pub vote: Option<Vote>,
    /// Last hint given to [`LogPort::save_committed`]; after a crash it may be an older one.
    pub committed: Option<LogId>,
    /// Last entry dropped from the front.
    pub purged: Option<LogId>,
    /// Last entry present, or `purged` when there is none.
    pub last: Option<LogId>,
    /// Bytes of the entries not purged yet, all of them held in memory: purge when this grows too large.
    pub retained_bytes: u64,
}

/// Port: the Raft log of one node.
///
/// One queue for votes, appends, truncations and purges: nothing overtakes (STORE-2). What was asked for is
/// visible to `read` and `state` at once, before it is durable. A call that contradicts the log (a hole, a
/// truncation below what is purged) changes nothing and reports `InvalidInput`.
pub trait LogPort: Send + Sync + 'static {
    /// Adds entries at the end: the first one follows the last one present, or starts an empty log anywhere.
    /// Blocks while too many bytes wait to become durable.
    fn append(&self, entries: Vec<LogEntry>, durable: Durable);

    /// Replaces the vote.
    fn save_vote(&self, vote: Vote, durable: Durable);

    /// Drops every entry after `last`; all of them when it is `None`.
    fn truncate_after(&self, last: Option<LogId>, durable: Durable);

    /// Drops every entry up to and including `upto`, which may lie beyond the end (a snapshot took its place).
    fn purge(&self, upto: LogId, durable: Durable);

    /// Remembers how far the log is committed: a hint that is not synced, and after a crash may be an older one.
    fn save_committed(&self, committed: Option<LogId>);

    /// The entries with `from <= index < to_exclusive`, in order, as far as they are present: at least one if
    /// there is one, then no more than fit into `bytes_max`.
    fn read(&self, from: u64, to_exclusive: u64, bytes_max: usize) -> io::Result<Vec<LogEntry>>;

    /// What the log holds.
    fn state(&self) -> LogState;

    /// Makes everything durable and stops the log's thread; later calls fail.
    fn close(&self);
}

/// Names one block of the replicated state.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct BlockKey {
    /// Which kind of records it holds.
    pub kind: u8,
    /// Which block of that kind.
    pub number: u64,
}

/// The blocks of a checkpoint, read one by one.
pub type Blocks<'a> = Box<dyn Iterator<Item = io::Result<(BlockKey, Bytes)>> + Send + 'a>;

/// Port: checkpoints of the replicated state, as blocks of records written behind.
///
/// All calls block on the disk: keep them off the async threads. One writer at a time.
pub trait CheckpointPort: Send + Sync + 'static {
    /// The encoded head of the last durable checkpoint, `None` before the first.
    fn head(&self) -> io::Result<Option<Bytes>>;

    /// Every block of the last durable checkpoint in the order of its key. Not a snapshot: commit nothing while reading.
    fn blocks(&self) -> io::Result<Blocks<'_>>;

    /// Sets the head and changes the named blocks (`None` removes one): all of it or nothing, durable on return (STORE-4).
    fn commit(&self, head: Bytes, changed: Vec<(BlockKey, Option<Bytes>)>) -> io::Result<()>;

    /// Replaces everything, because a snapshot was installed; after a crash either the old or the new checkpoint is there.
    fn replace(
        &self,
        head: Bytes,
        blocks: &mut dyn Iterator<Item = io::Result<(BlockKey, Bytes)>>,
    ) -> io::Result<()>;

    /// Makes everything durable and lets go of the files; later calls fail.
    fn close(&self) -> io::Result<()>;
}
