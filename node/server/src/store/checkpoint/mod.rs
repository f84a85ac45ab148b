//! Checkpoints of the replicated state on `sled`, a few values per block.
//!
//! ```text
//!  default tree   "generation" ─► n                          the pointer: which tree counts
//!  tree "blocks-n" "head"      ─► the caller's head
//!                  kind, number, chunk ─► part of a block    each value with a checksum over key and value
//! ```
//! - CHECK-1 a commit is one atomic batch with its head, flushed, and then synced by ourselves: `sled` syncs ranges
//!   of its file without the file's size.
//! - CHECK-2 no node of `sled` grows into a blob file. Blob files are never synced by it, and are what breaks it when
//!   the power is cut: without a sync of our own no cut of 6 left a store that opens, with one 6 of 40 still left
//!   blocks of two checkpoints. So blocks are cut into chunks, and segments are large (`engine`).
//! - CHECK-3 a replacement is written as a new tree; moving the pointer, in one durable write, makes it count.
//! - CHECK-4 `sled` panics on some damage: every call of it is fenced, and a panic is reported as damage.
//! - CHECK-5 once it is closed the folder can be opened again: `sled`'s own threads hold its file a moment longer, which `close` waits for.
//! - CHECK-6 what a commit has replaced is freed with it, as far as nobody reads: `sled` frees by epochs, which pass only while it
//!   is called.
//!
//! `sled` may silently go back to an older checkpoint when its file is damaged. Nothing here can tell; whoever
//! opens the store compares the head with the log ([`DataFolder::verify`](super::DataFolder::verify)) and the
//! blocks with the digest in the head.

mod codec;
mod engine;

#[cfg(test)]
mod tests;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::{BlockKey, Blocks, CheckpointPort, StoreError};
use engine::{CHUNK_BYTES, Engine, StoredBlocks, fenced};

/// How much of a replacement goes into one batch of `sled`.
const REPLACE_BATCH_BYTES: usize = 4 << 20;

/// [`CheckpointPort`] on `sled`.
#[derive(Debug)]
pub struct SledCheckpoint {
    path: PathBuf,
    inner: Mutex<State>,
}

#[derive(Debug)]
enum State {
    Open(Box<Opened>),
    /// A write failed (STORE-3). The files stay open: letting go of them would try to write again.
    Failed(#[expect(dead_code, reason = "kept open")] Box<Opened>, Arc<StoreError>),
    Closed,
}

impl SledCheckpoint {
    /// Opens the store in `folder`, which exists; an empty folder becomes an empty store. What is in it is checked when it is read.
    pub fn open(folder: &Path) -> Result<SledCheckpoint, StoreError> {
        let opened = fenced(folder, || Opened::open(folder))?;
        Ok(SledCheckpoint { path: folder.to_path_buf(), inner: Mutex::new(State::Open(Box::new(opened))) })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read<T>(&self, read: impl FnOnce(&Opened) -> Result<T, StoreError>) -> Result<T, StoreError> {
        match &*self.lock() {
            State::Open(opened) => fenced(&self.path, || read(opened)),
            State::Failed(_, cause) => Err(StoreError::Failed(cause.clone())),
            State::Closed => Err(StoreError::Closed(self.path.clone())),
        }
    }

    /// Runs one write; the first that fails is the last that was tried (STORE-3).
    fn write(&self, write: impl FnOnce(&mut Opened) -> Result<(), StoreError>) -> Result<(), StoreError> {
        let mut state = self.lock();
        let outcome = match &mut *state {
            State::Open(opened) => fenced(&self.path, || write(opened)),
            State::Failed(_, cause) => return Err(StoreError::Failed(cause.clone())),
            State::Closed => return Err(StoreError::Closed(self.path.clone())),
        };
        let Err(error) = outcome else { return Ok(()) };
        let cause = Arc::new(error);
        *state = match std::mem::replace(&mut *state, State::Closed) {
            State::Open(opened) => State::Failed(opened, cause.clone()),
            other @ (State::Failed(..) | State::Closed) => other,
        };
        Err(StoreError::Failed(cause))
    }
}

impl CheckpointPort for SledCheckpoint {
    fn head(&self) -> io::Result<Option<Bytes>> {
        Ok(self.read(|opened| opened.engine.read_head(&opened.blocks))?)
    }

    fn blocks(&self) -> io::Result<Blocks<'_>> {
        let blocks = self.read(|opened| Ok(StoredBlocks::new(&opened.blocks, &self.path)))?;
        Ok(Box::new(blocks.map(|block| Ok(block?))))
    }

    fn commit(&self, head: Bytes, changed: Vec<(BlockKey, Option<Bytes>)>) -> io::Result<()> {
        Ok(self.write(|opened| opened.commit(&head, changed))?)
    }

    fn replace(
        &self,
        head: Bytes,
        blocks: &mut dyn Iterator<Item = io::Result<(BlockKey, Bytes)>>,
    ) -> io::Result<()> {
        let mut source_failed = None;
        self.write(|opened| {
            source_failed = opened.replace(&head, blocks)?.err();
            Ok(())
        })?;
        source_failed.map_or(Ok(()), Err)
    }

    fn close(&self) -> io::Result<()> {
        let state = std::mem::replace(&mut *self.lock(), State::Closed);
        match state {
            State::Open(mut opened) => {
                let durable = fenced(&self.path, || opened.engine.make_durable());
                drop(opened);
                engine::wait_until_let_go(&self.path);
                Ok(durable?)
            }
            State::Failed(_, cause) => Err(StoreError::Failed(cause).into()),
            State::Closed => Ok(()),
        }
    }
}

#[derive(Debug)]
struct Opened {
    engine: Engine,
    generation: u64,
    blocks: sled::Tree,
}

impl Opened {
    fn open(folder: &Path) -> Result<Opened, StoreError> {
        let mut engine = Engine::open(folder)?;
        let generation = match engine.read_pointer()? {
            Some(generation) if engine.has_tree(generation) => generation,
            Some(_) => return Err(engine.damaged("the tree of its checkpoint is missing")),
            None if engine.holds_blocks()? => {
                return Err(engine.damaged("the pointer to its checkpoint is missing"));
            }
            None => 1,
        };
        let blocks = engine.open_tree(generation)?;
        engine.drop_trees_but(generation)?;
        engine.point_at(generation)?;
        Ok(Opened { engine, generation, blocks })
    }

    fn commit(&mut self, head: &[u8], changed: Vec<(BlockKey, Option<Bytes>)>) -> Result<(), StoreError> {
        let mut batch = sled::Batch::default();
        for (key, block) in changed {
            let former = self.engine.read_chunk_count(&self.blocks, key)?;
            put(&mut batch, key, block.as_deref(), former);
        }
        batch.insert(codec::HEAD_KEY, codec::head_value(head));
        self.engine.apply(&self.blocks, batch)?;
        self.engine.make_durable()?;
        engine::free_replaced();
        Ok(())
    }

    /// The inner error is the source's: then nothing has changed.
    fn replace(
        &mut self,
        head: &[u8],
        blocks: &mut dyn Iterator<Item = io::Result<(BlockKey, Bytes)>>,
    ) -> Result<io::Result<()>, StoreError> {
        let generation = self.generation + 1;
        let tree = self.engine.open_tree(generation)?;
        if let Err(error) = self.fill(&tree, head, blocks)? {
            self.engine.drop_trees_but(self.generation)?;
            engine::free_replaced();
            return Ok(Err(error));
        }
        self.engine.make_durable()?;
        self.engine.point_at(generation)?;
        (self.generation, self.blocks) = (generation, tree);
        self.engine.drop_trees_but(generation)?;
        engine::free_replaced();
        Ok(Ok(()))
    }

    fn fill(
        &self,
        tree: &sled::Tree,
        head: &[u8],
        blocks: &mut dyn Iterator<Item = io::Result<(BlockKey, Bytes)>>,
    ) -> Result<io::Result<()>, StoreError> {
        let (mut batch, mut batch_bytes) = (sled::Batch::default(), 0);
        for block in blocks {
            let (key, block) = match block {
                Ok(block) => block,
                Err(error) => return Ok(Err(error)),
            };
            put(&mut batch, key, Some(&block), 0);
            batch_bytes += block.len();
            if batch_bytes >= REPLACE_BATCH_BYTES {
                self.engine.apply(tree, std::mem::take(&mut batch))?;
                batch_bytes = 0;
            }
        }
        batch.insert(codec::HEAD_KEY, codec::head_value(head));
        self.engine.apply(tree, batch)?;
        Ok(Ok(()))
    }
}

/// Adds a block in chunks, or removes it, and whatever of its `former` chunks is beyond that.
fn put(batch: &mut sled::Batch, key: BlockKey, block: Option<&[u8]>, former: u32) {
    let parts: Vec<&[u8]> = match block {
        Some([]) => vec![&[]],
        Some(block) => block.chunks(CHUNK_BYTES).collect(),
        None => Vec::new(),
    };
    let count = u32::try_from(parts.len()).expect("a block is smaller than 2^32 chunks");
    for (part, number) in parts.into_iter().zip(0..) {
        let key = codec::chunk_key(key, number);
        batch.insert(&key, codec::chunk_value(&key, count, part));
    }
    for number in count..former {
        batch.remove(&codec::chunk_key(key, number));
    }
}
