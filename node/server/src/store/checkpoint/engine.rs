//! `sled`, and what it leaves to us: syncing (CHECK-1), sizes (CHECK-2), panics (CHECK-4), freeing (CHECK-6), and its words for
//! errors.

use std::fs::File;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::codec;
use crate::store::{BlockKey, StoreError, files};

/// Everything is read at start, and later only what is written anew: a cache would only cost memory.
const CACHE_BYTES: u64 = 16 << 20;
/// A message larger than a quarter of a segment becomes a blob file (CHECK-2).
const SEGMENT_BYTES: usize = 4 << 20;
/// A leaf is split at more than 16 values; a few more may be there before that happens.
const LEAF_VALUES_MAX: usize = 20;
/// The largest value we store: a leaf full of them, with keys and headers, still fits into a quarter of a segment.
pub(super) const CHUNK_BYTES: usize = 48 << 10;
const _: () = assert!((CHUNK_BYTES + 64) * LEAF_VALUES_MAX < SEGMENT_BYTES / 4);
/// How long to wait for sled's own threads to let go of its file. They take milliseconds.
const LET_GO_MAX: Duration = Duration::from_secs(5);
/// Steps of [`free_replaced`], each of some hundred values: more than a checkpoint of a million schedules takes.
const FREE_STEPS_MAX: u32 = 10_000;
const TREE_PREFIX: &str = "blocks-";

pub(super) struct Engine {
    folder: PathBuf,
    db: sled::Db,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("folder", &self.folder).finish_non_exhaustive()
    }
}

impl Engine {
    pub(super) fn open(folder: &Path) -> Result<Engine, StoreError> {
        let config = sled::Config::new().path(folder).segment_size(SEGMENT_BYTES);
        let config = config.cache_capacity(CACHE_BYTES).flush_every_ms(None);
        let db = config.open().map_err(|error| engine_error("open", folder, error))?;
        Ok(Engine { folder: folder.to_path_buf(), db })
    }

    /// Which tree counts; `None` before the first start has ended.
    pub(super) fn read_pointer(&self) -> Result<Option<u64>, StoreError> {
        let value = self.db.get(codec::POINTER_KEY).map_err(|error| self.error("read", error))?;
        let Some(value) = value else { return Ok(None) };
        match codec::parse_pointer_value(&value) {
            Some((found, _)) if found > codec::FORMAT => {
                let path = self.folder.clone();
                Err(StoreError::NewerFormat { path, found, supported: codec::FORMAT })
            }
            Some((_, Some(generation))) => Ok(Some(generation)),
            Some((_, None)) | None => {
                Err(self.damaged("the pointer to its checkpoint is not what was written"))
            }
        }
    }

    /// Durably makes the tree of `generation` the one that counts (CHECK-3).
    pub(super) fn point_at(&mut self, generation: u64) -> Result<(), StoreError> {
        let written = self.db.insert(codec::POINTER_KEY, codec::pointer_value(generation));
        written.map_err(|error| self.error("write to", error))?;
        self.make_durable()
    }

    pub(super) fn read_head(&self, tree: &sled::Tree) -> Result<Option<Bytes>, StoreError> {
        let value = tree.get(codec::HEAD_KEY).map_err(|error| self.error("read", error))?;
        let Some(value) = value else { return Ok(None) };
        match codec::parse_head_value(&value) {
            Some(head) => Ok(Some(Bytes::copy_from_slice(head))),
            None => Err(self.damaged("its head is not what was written")),
        }
    }

    pub(super) fn open_tree(&self, generation: u64) -> Result<sled::Tree, StoreError> {
        self.db.open_tree(tree_name(generation)).map_err(|error| self.error("open", error))
    }

    pub(super) fn has_tree(&self, generation: u64) -> bool {
        self.trees().iter().any(|name| name == tree_name(generation).as_bytes())
    }

    /// What replacements left behind, before or after the pointer moved.
    pub(super) fn drop_trees_but(&self, generation: u64) -> Result<(), StoreError> {
        let kept = tree_name(generation);
        for name in self.trees().iter().filter(|name| name.as_ref() != kept.as_bytes()) {
            self.db.drop_tree(name).map_err(|error| self.error("tidy up", error))?;
        }
        Ok(())
    }

    /// Whether there is anything beside a pointer. A first start that was cut off leaves an empty tree at most.
    pub(super) fn holds_blocks(&self) -> Result<bool, StoreError> {
        for name in self.trees() {
            let tree = self.db.open_tree(name).map_err(|error| self.error("open", error))?;
            if tree.first().map_err(|error| self.error("read", error))?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn trees(&self) -> Vec<sled::IVec> {
        let names = self.db.tree_names().into_iter();
        names.filter(|name| name.starts_with(TREE_PREFIX.as_bytes())).collect()
    }

    /// How many chunks a block has that is there, else 0.
    pub(super) fn read_chunk_count(&self, tree: &sled::Tree, block: BlockKey) -> Result<u32, StoreError> {
        let key = codec::chunk_key(block, 0);
        let Some(value) = tree.get(key).map_err(|error| self.error("read", error))? else { return Ok(0) };
        match codec::parse_chunk_value(&key, &value) {
            Some((chunks, _)) => Ok(chunks),
            None => Err(self.damaged(format!("the value at key {key:02x?} is not what was written"))),
        }
    }

    pub(super) fn apply(&self, tree: &sled::Tree, batch: sled::Batch) -> Result<(), StoreError> {
        tree.apply_batch(batch).map_err(|error| self.error("write to", error))
    }

    /// Everything written so far survives a power cut (CHECK-1).
    pub(super) fn make_durable(&mut self) -> Result<(), StoreError> {
        self.db.flush().map_err(|error| self.error("flush", error))?;
        let file = self.folder.join("db");
        File::open(&file).and_then(|file| file.sync_all()).map_err(StoreError::io("sync", &file))?;
        files::sync_folder(&self.folder)
    }

    pub(super) fn damaged(&self, what: impl Into<String>) -> StoreError {
        StoreError::damaged(&self.folder, None, what)
    }

    fn error(&self, action: &'static str, error: sled::Error) -> StoreError {
        engine_error(action, &self.folder, error)
    }
}

/// Frees what sled has replaced by calls from this thread (CHECK-6): after a large checkpoint its buffers and pages, hundreds of
/// megabytes, would lie there until the next ones. Gives up after some milliseconds when another thread, in the midst of a call, holds
/// it up.
pub(super) fn free_replaced() {
    let gone = Arc::new(AtomicBool::new(false));
    let last = gone.clone();
    // In order: when this has been called, so has what this thread left before.
    crossbeam_epoch::pin().defer(move || last.store(true, Ordering::Relaxed));
    for _ in 0..FREE_STEPS_MAX {
        if gone.load(Ordering::Relaxed) {
            return;
        }
        crossbeam_epoch::pin().flush();
    }
}

/// Waits until the file can be opened again: sled's own threads hold it for a moment after its last handle is gone (CHECK-5).
pub(super) fn wait_until_let_go(folder: &Path) {
    let start = Instant::now();
    while let Ok(file) = File::open(folder.join("db"))
        && file.try_lock().is_err()
        && start.elapsed() < LET_GO_MAX
    {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// A part of a block.
struct Chunk {
    block: BlockKey,
    /// How many its block has.
    chunks: u32,
    bytes: Vec<u8>,
}

/// The blocks of a tree in order of their keys, every value checked. Ends with the first error.
pub(super) struct StoredBlocks {
    folder: PathBuf,
    values: sled::Iter,
    failed: bool,
}

impl StoredBlocks {
    pub(super) fn new(tree: &sled::Tree, folder: &Path) -> Self {
        Self { folder: folder.to_path_buf(), values: tree.iter(), failed: false }
    }

    fn read(&mut self) -> Result<Option<(BlockKey, Bytes)>, StoreError> {
        let Some(Chunk { block, chunks, mut bytes }) = self.read_chunk(0)? else { return Ok(None) };
        for number in 1..chunks {
            match self.read_chunk(number)? {
                Some(next) if (next.block, next.chunks) == (block, chunks) => {
                    bytes.extend_from_slice(&next.bytes)
                }
                Some(_) | None => {
                    let what = format!("block {} of kind {} is not whole", block.number, block.kind);
                    return Err(self.damaged(what));
                }
            }
        }
        Ok(Some((block, bytes.into())))
    }

    /// The next chunk, which must have this number.
    fn read_chunk(&mut self, number: u32) -> Result<Option<Chunk>, StoreError> {
        let Some(item) = self.values.find(|item| !matches!(item, Ok((key, _)) if key == codec::HEAD_KEY))
        else {
            return Ok(None);
        };
        let (key, value) = item.map_err(|error| engine_error("read", &self.folder, error))?;
        match codec::parse_chunk_key(&key).zip(codec::parse_chunk_value(&key, &value)) {
            Some(((block, found), (chunks, bytes))) if found == number && found < chunks => {
                Ok(Some(Chunk { block, chunks, bytes: bytes.to_vec() }))
            }
            Some(_) => Err(self
                .damaged(format!("there is no part {number} of a block before the value at key {key:02x?}"))),
            None => Err(self.damaged(format!("the value at key {key:02x?} is not what was written"))),
        }
    }

    fn damaged(&self, what: String) -> StoreError {
        StoreError::damaged(&self.folder, None, what)
    }
}

impl Iterator for StoredBlocks {
    type Item = Result<(BlockKey, Bytes), StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        let folder = self.folder.clone();
        let block = fenced(&folder, || self.read());
        self.failed = block.is_err();
        block.transpose()
    }
}

/// Runs `call`, and turns a panic of the engine into the damage that caused it (CHECK-4).
pub(super) fn fenced<T>(path: &Path, call: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    // Unwind safety: after a panic the store is either not opened at all, or failed for good, or only read.
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().map(String::as_str);
        let said = said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("it did not say why");
        Err(StoreError::damaged(path, None, format!("the storage engine gave up: {said}")))
    })
}

fn engine_error(action: &'static str, path: &Path, error: sled::Error) -> StoreError {
    match error {
        sled::Error::Io(source) => StoreError::Io { action, path: path.to_path_buf(), source },
        other => {
            StoreError::damaged(path, None, format!("the storage engine refuses to {action} it: {other}"))
        }
    }
}

fn tree_name(generation: u64) -> String {
    format!("{TREE_PREFIX}{generation}")
}
