//! The in-memory twins of both ports, for tests and simulation: same rules, no disk, and crashes on demand.
//!
//! - MEM-1 what was not acknowledged may be gone after [`MemoryLog::crash`]; what was acknowledged is there.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::view::{Change, LogView};
use super::{
    BlockKey, Blocks, CheckpointPort, Durable, LogEntry, LogId, LogPort, LogState, StoreError, Vote,
};

/// [`LogPort`] in memory.
///
/// Acknowledges at once, on the caller's thread, unless it is told to hold back.
#[derive(Default)]
pub struct MemoryLog {
    inner: Mutex<MemoryLogInner>,
}

#[derive(Default)]
struct MemoryLogInner {
    view: LogView,
    /// What a crash leaves.
    durable: LogView,
    held: VecDeque<(Change, Option<Durable>)>,
    holding: bool,
    stopped: Option<Arc<StoreError>>,
}

impl fmt::Debug for MemoryLog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let inner = self.lock();
        let mut shown = f.debug_struct("MemoryLog");
        shown.field("state", &inner.view.state()).field("held", &inner.held.len()).finish_non_exhaustive()
    }
}

impl MemoryLog {
    /// An empty log.
    pub fn new() -> MemoryLog {
        MemoryLog::default()
    }

    /// From now on nothing becomes durable until it is released.
    pub fn hold(&self) {
        self.lock().holding = true;
    }

    /// Makes the oldest `count` held changes durable and acknowledges them; goes on holding the rest.
    pub fn release(&self, count: usize) {
        let released: Vec<_> = {
            let mut inner = self.lock();
            let count = count.min(inner.held.len());
            let released: Vec<_> = inner.held.drain(..count).collect();
            for (change, _) in &released {
                inner.durable.apply(change).expect("it was applied to the view in the same order");
            }
            released
        };
        // Outside of the lock: a callback may ask for the state.
        released.into_iter().filter_map(|(_, durable)| durable).for_each(|durable| durable(Ok(())));
    }

    /// Makes everything held durable, and holds nothing back any more.
    pub fn release_all(&self) {
        self.lock().holding = false;
        self.release(usize::MAX);
    }

    /// The process dies: the log as the next one finds it, without what was not durable. Whoever waits on this
    /// one is told that it failed, and so is every later call.
    pub fn crash(&self) -> MemoryLog {
        let cause = StoreError::Closed(PathBuf::from("memory, lost in a crash"));
        let durable = self.lock().durable.clone();
        self.stop(cause);
        let inner = MemoryLogInner { view: durable.clone(), durable, ..MemoryLogInner::default() };
        MemoryLog { inner: Mutex::new(inner) }
    }

    /// The disk fails: whatever is held back and every later call fails with `error`.
    pub fn fail(&self, error: io::Error) {
        self.stop(StoreError::Io { action: "write", path: PathBuf::from("memory"), source: error });
    }

    fn stop(&self, cause: StoreError) {
        let (held, cause) = {
            let mut inner = self.lock();
            let cause = inner.stopped.get_or_insert(Arc::new(cause)).clone();
            (std::mem::take(&mut inner.held), cause)
        };
        for durable in held.into_iter().filter_map(|(_, durable)| durable) {
            durable(Err(StoreError::Failed(cause.clone()).into()));
        }
    }

    fn change(&self, change: Change, durable: Option<Durable>) {
        let refused = {
            let mut inner = self.lock();
            match inner.must_be_running().and_then(|()| inner.view.apply(&change)) {
                Err(error) => Some((error, durable)),
                Ok(_) => {
                    inner.held.push_back((change, durable));
                    None
                }
            }
        };
        match refused {
            Some((error, Some(durable))) => durable(Err(error.into())),
            Some((_, None)) => {}
            None if self.lock().holding => {}
            None => self.release(usize::MAX),
        }
    }

    fn lock(&self) -> MutexGuard<'_, MemoryLogInner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl MemoryLogInner {
    fn must_be_running(&self) -> Result<(), StoreError> {
        self.stopped.clone().map_or(Ok(()), |cause| Err(StoreError::Failed(cause)))
    }
}

impl LogPort for MemoryLog {
    fn append(&self, entries: Vec<LogEntry>, durable: Durable) {
        self.change(Change::Append(entries), Some(durable));
    }

    fn save_vote(&self, vote: Vote, durable: Durable) {
        self.change(Change::Vote(vote), Some(durable));
    }

    fn truncate_after(&self, last: Option<LogId>, durable: Durable) {
        self.change(Change::TruncateAfter(last), Some(durable));
    }

    fn purge(&self, upto: LogId, durable: Durable) {
        self.change(Change::Purge(upto), Some(durable));
    }

    fn save_committed(&self, committed: Option<LogId>) {
        self.change(Change::Committed(committed), None);
    }

    fn read(&self, from: u64, to_exclusive: u64, bytes_max: usize) -> io::Result<Vec<LogEntry>> {
        let inner = self.lock();
        inner.must_be_running()?;
        Ok(inner.view.read(from, to_exclusive, bytes_max))
    }

    fn state(&self) -> LogState {
        self.lock().view.state()
    }

    fn close(&self) {
        self.release_all();
        self.stop(StoreError::Closed(PathBuf::from("memory")));
    }
}

/// [`CheckpointPort`] in memory. Clones share their content: a clone made before a crash is what is found after it.
#[derive(Clone, Default, Debug)]
pub struct MemoryCheckpoint {
    inner: Arc<Mutex<MemoryCheckpointInner>>,
}

#[derive(Default, Debug)]
struct MemoryCheckpointInner {
    head: Option<Bytes>,
    blocks: BTreeMap<BlockKey, Bytes>,
    failing: bool,
}

impl MemoryCheckpoint {
    /// An empty store.
    pub fn new() -> MemoryCheckpoint {
        MemoryCheckpoint::default()
    }

    /// Writing fails from now on, as on a full disk.
    pub fn fail_writes(&self) {
        self.lock().failing = true;
    }

    /// Writing works again, as after a restart with more room.
    pub fn allow_writes(&self) {
        self.lock().failing = false;
    }

    fn lock(&self) -> MutexGuard<'_, MemoryCheckpointInner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn writable(&self) -> io::Result<MutexGuard<'_, MemoryCheckpointInner>> {
        let inner = self.lock();
        if inner.failing { Err(io::ErrorKind::StorageFull.into()) } else { Ok(inner) }
    }
}

impl CheckpointPort for MemoryCheckpoint {
    fn head(&self) -> io::Result<Option<Bytes>> {
        Ok(self.lock().head.clone())
    }

    fn blocks(&self) -> io::Result<Blocks<'_>> {
        let blocks = self.lock().blocks.clone();
        Ok(Box::new(blocks.into_iter().map(Ok)))
    }

    fn commit(&self, head: Bytes, changed: Vec<(BlockKey, Option<Bytes>)>) -> io::Result<()> {
        let mut inner = self.writable()?;
        inner.head = Some(head);
        for (key, block) in changed {
            match block {
                Some(block) => inner.blocks.insert(key, block),
                None => inner.blocks.remove(&key),
            };
        }
        Ok(())
    }

    fn replace(
        &self,
        head: Bytes,
        blocks: &mut dyn Iterator<Item = io::Result<(BlockKey, Bytes)>>,
    ) -> io::Result<()> {
        // Read to its end before the lock: the source may be this store.
        let blocks = blocks.collect::<io::Result<BTreeMap<_, _>>>()?;
        let mut inner = self.writable()?;
        inner.head = Some(head);
        inner.blocks = blocks;
        Ok(())
    }

    fn close(&self) -> io::Result<()> {
        Ok(())
    }
}
