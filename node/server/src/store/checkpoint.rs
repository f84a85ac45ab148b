//! Checkpoints of the replicated state on `sled`, one value per block.
//!
//! ```text
//!  default tree   "generation" ─► crc, format, n            the pointer: which tree counts
//!  tree "blocks-n" "head"      ─► crc, head
//!                  kind, number─► crc, block                checksums cover the key too
//! ```
//! - CHECK-1 a commit is one atomic batch with its head, flushed, and then synced by ourselves: `sled` syncs
//!   ranges of its file without the file's size, and does not sync its blob files (nodes larger than half a
//!   segment) at all, so a flush alone does not survive a power cut.
//! - CHECK-2 a replacement is written as a new tree; moving the pointer, in one durable write, makes it count.
//! - CHECK-3 `sled` panics on some damage: every call of it is fenced, and a panic is reported as damage.
//!
//! `sled` may silently go back to an older checkpoint when its file is damaged. Nothing here can tell; whoever
//! opens the store compares the head with the log ([`DataFolder::verify`](super::DataFolder::verify)) and the
//! blocks with the digest in the head.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use super::{BlockKey, Blocks, CheckpointPort, StoreError, files};

/// Everything is read once at start and never again: a cache would only cost memory.
const CACHE_BYTES: u64 = 16 << 20;
/// How much of a replacement goes into one batch of `sled`.
const REPLACE_BATCH_BYTES: usize = 4 << 20;
const FORMAT: u32 = 1;

const POINTER_KEY: &[u8] = b"generation";
const HEAD_KEY: &[u8] = b"head";
const TREE_PREFIX: &str = "blocks-";
/// The tree that `sled` makes by itself.
const DEFAULT_TREE: &[u8] = b"__sled__default";
const BLOCK_KEY_BYTES: usize = 9;
const CRC_BYTES: usize = 4;

/// [`CheckpointPort`] on `sled`.
#[derive(Debug)]
pub struct SledCheckpoint {
    path: PathBuf,
    inner: Mutex<State>,
}

#[derive(Debug)]
enum State {
    Open(Opened),
    /// A write failed (STORE-3). The files stay open: letting go of them would try to write again.
    Failed(#[expect(dead_code, reason = "kept open")] Opened, Arc<StoreError>),
    Closed,
}

impl SledCheckpoint {
    /// Opens the store in `folder`, which exists; an empty folder becomes an empty store.
    pub fn open(folder: &Path) -> Result<SledCheckpoint, StoreError> {
        let opened = fenced(folder, || Opened::open(folder))?;
        Ok(SledCheckpoint { path: folder.to_path_buf(), inner: Mutex::new(State::Open(opened)) })
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
        Ok(self.read(Opened::head)?)
    }

    fn blocks(&self) -> io::Result<Blocks<'_>> {
        let records = self.read(|opened| Ok(opened.blocks.iter()))?;
        Ok(Box::new(BlockIterator { path: &self.path, records: Some(records) }))
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
            source_failed = opened.replace(&head, blocks)?;
            Ok(())
        })?;
        source_failed.map_or(Ok(()), Err)
    }

    fn close(&self) -> io::Result<()> {
        let state = std::mem::replace(&mut *self.lock(), State::Closed);
        match state {
            State::Open(mut opened) => Ok(fenced(&self.path, || opened.make_durable())?),
            State::Failed(_, cause) => Err(StoreError::Failed(cause).into()),
            State::Closed => Ok(()),
        }
    }
}

struct Opened {
    folder: PathBuf,
    db: sled::Db,
    generation: u64,
    blocks: sled::Tree,
    /// Blob files are written once and never again, so each needs one sync.
    blobs_synced: BTreeSet<OsString>,
}

impl std::fmt::Debug for Opened {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opened").field("generation", &self.generation).finish_non_exhaustive()
    }
}

impl Opened {
    fn open(folder: &Path) -> Result<Opened, StoreError> {
        let config = sled::Config::new().path(folder).cache_capacity(CACHE_BYTES).flush_every_ms(None);
        let db = config.open().map_err(|error| engine_error("open", folder, error))?;
        let names: Vec<sled::IVec> =
            db.tree_names().into_iter().filter(|name| name.as_ref() != DEFAULT_TREE).collect();
        let pointer =
            get(&db, POINTER_KEY, folder)?.map(|bytes| decode_pointer(&bytes, folder)).transpose()?;
        let generation = match pointer {
            Some(generation) if names.iter().any(|name| name == tree_name(generation).as_bytes()) => {
                generation
            }
            Some(_) => {
                return Err(StoreError::damaged(folder, None, "the tree of its checkpoint is missing"));
            }
            None if db.was_recovered() && !leftovers_of_first_start(&db, &names, folder)? => {
                return Err(StoreError::damaged(folder, None, "the pointer to its checkpoint is missing"));
            }
            None => 1,
        };
        let blocks = open_tree(&db, generation, folder)?;
        let folder = folder.to_path_buf();
        let mut opened = Opened { folder, db, generation, blocks, blobs_synced: BTreeSet::new() };
        opened.drop_other_trees(&names)?;
        opened.point_at(generation)?;
        Ok(opened)
    }

    /// What a replacement left behind that was cut off before or after the pointer moved.
    fn drop_other_trees(&self, names: &[sled::IVec]) -> Result<(), StoreError> {
        let current = tree_name(self.generation);
        for name in names.iter().filter(|name| name.as_ref() != current.as_bytes()) {
            self.db.drop_tree(name).map_err(|error| engine_error("tidy up", &self.folder, error))?;
        }
        Ok(())
    }

    fn head(&self) -> Result<Option<Bytes>, StoreError> {
        get(&self.blocks, HEAD_KEY, &self.folder)
    }

    fn commit(&mut self, head: &Bytes, changed: Vec<(BlockKey, Option<Bytes>)>) -> Result<(), StoreError> {
        let mut batch = sled::Batch::default();
        for (key, block) in changed {
            let key = encode_key(key);
            match block {
                Some(block) => batch.insert(&key, seal(&key, &block)),
                None => batch.remove(&key),
            }
        }
        batch.insert(HEAD_KEY, seal(HEAD_KEY, head));
        self.blocks.apply_batch(batch).map_err(|error| engine_error("write to", &self.folder, error))?;
        self.make_durable()
    }

    /// `Some` if the blocks could not be read from their source: then nothing has changed.
    fn replace(
        &mut self,
        head: &Bytes,
        blocks: &mut dyn Iterator<Item = io::Result<(BlockKey, Bytes)>>,
    ) -> Result<Option<io::Error>, StoreError> {
        let next = self.generation + 1;
        let tree = open_tree(&self.db, next, &self.folder)?;
        if let Err(error) = fill(&tree, blocks, &self.folder)? {
            self.drop_tree(next)?;
            return Ok(Some(error));
        }
        tree.insert(HEAD_KEY, seal(HEAD_KEY, head))
            .map_err(|error| engine_error("write to", &self.folder, error))?;
        self.make_durable()?;
        self.point_at(next)?;
        let previous = std::mem::replace(&mut self.generation, next);
        self.blocks = tree;
        self.drop_tree(previous)?;
        Ok(None)
    }

    fn drop_tree(&self, generation: u64) -> Result<(), StoreError> {
        let dropped = self.db.drop_tree(tree_name(generation));
        dropped.map(|_| ()).map_err(|error| engine_error("tidy up", &self.folder, error))
    }

    /// Durably makes the tree of `generation` the one that counts (CHECK-2).
    fn point_at(&mut self, generation: u64) -> Result<(), StoreError> {
        let pointer = [&FORMAT.to_le_bytes()[..], &generation.to_le_bytes()[..]].concat();
        self.db
            .insert(POINTER_KEY, seal(POINTER_KEY, &pointer))
            .map_err(|error| engine_error("write to", &self.folder, error))?;
        self.make_durable()
    }

    /// Everything written so far survives a power cut (CHECK-1).
    fn make_durable(&mut self) -> Result<(), StoreError> {
        self.db.flush().map_err(|error| engine_error("flush", &self.folder, error))?;
        self.sync_new_blobs()?;
        sync_file(&self.folder.join("db"))?;
        files::sync_folder(&self.folder)
    }

    fn sync_new_blobs(&mut self) -> Result<(), StoreError> {
        let folder = self.folder.join("blobs");
        let mut present = BTreeSet::new();
        for item in fs::read_dir(&folder).map_err(StoreError::io("list", &folder))? {
            present.insert(item.map_err(StoreError::io("list", &folder))?.file_name());
        }
        let mut new = present.difference(&self.blobs_synced).peekable();
        if new.peek().is_some() {
            new.try_for_each(|name| sync_file(&folder.join(name)))?;
            files::sync_folder(&folder)?;
        }
        self.blobs_synced = present;
        Ok(())
    }
}

/// A first start that was cut off leaves an empty tree and no pointer. Anything else without a pointer has lost it.
fn leftovers_of_first_start(db: &sled::Db, names: &[sled::IVec], folder: &Path) -> Result<bool, StoreError> {
    let read = |error| engine_error("read", folder, error);
    for name in names {
        if db.open_tree(name).map_err(read)?.first().map_err(read)?.is_some() {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Writes the blocks in batches. The inner error is the source's, the outer one ours.
fn fill(
    tree: &sled::Tree,
    blocks: &mut dyn Iterator<Item = io::Result<(BlockKey, Bytes)>>,
    folder: &Path,
) -> Result<io::Result<()>, StoreError> {
    let mut batch = sled::Batch::default();
    let mut batch_bytes = 0;
    let write = |batch| tree.apply_batch(batch).map_err(|error| engine_error("write to", folder, error));
    for block in blocks {
        let (key, block) = match block {
            Ok(block) => block,
            Err(error) => return Ok(Err(error)),
        };
        let key = encode_key(key);
        batch.insert(&key, seal(&key, &block));
        batch_bytes += block.len();
        if batch_bytes >= REPLACE_BATCH_BYTES {
            write(std::mem::take(&mut batch))?;
            batch_bytes = 0;
        }
    }
    write(batch)?;
    Ok(Ok(()))
}

/// Reads the blocks one by one, and ends at the first that cannot be read.
struct BlockIterator<'a> {
    path: &'a Path,
    records: Option<sled::Iter>,
}

impl Iterator for BlockIterator<'_> {
    type Item = io::Result<(BlockKey, Bytes)>;

    fn next(&mut self) -> Option<Self::Item> {
        let records = self.records.as_mut()?;
        let read = fenced(self.path, || {
            loop {
                match records.next().transpose().map_err(|error| engine_error("read", self.path, error))? {
                    Some((key, _)) if key == HEAD_KEY => {}
                    Some((key, value)) => {
                        let block = unseal(&key, &value, self.path)?;
                        return Ok(Some((decode_key(&key, self.path)?, block)));
                    }
                    None => return Ok(None),
                }
            }
        });
        if !matches!(read, Ok(Some(_))) {
            self.records = None;
        }
        read.map_err(io::Error::from).transpose()
    }
}

/// Runs `call`, and turns a panic of the engine into the damage that caused it (CHECK-3).
fn fenced<T>(path: &Path, call: impl FnOnce() -> Result<T, StoreError>) -> Result<T, StoreError> {
    // Unwind safety: after a panic the store is either not opened at all, or failed for good.
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

fn open_tree(db: &sled::Db, generation: u64, folder: &Path) -> Result<sled::Tree, StoreError> {
    db.open_tree(tree_name(generation)).map_err(|error| engine_error("open", folder, error))
}

fn sync_file(path: &Path) -> Result<(), StoreError> {
    match File::open(path).and_then(|file| file.sync_all()) {
        // A blob may be dropped by the engine between the listing and here: then nothing needs it.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        outcome => outcome.map_err(StoreError::io("sync", path)),
    }
}

fn get(tree: &sled::Tree, key: &[u8], folder: &Path) -> Result<Option<Bytes>, StoreError> {
    let value = tree.get(key).map_err(|error| engine_error("read", folder, error))?;
    value.map(|value| unseal(key, &value, folder)).transpose()
}

fn decode_pointer(pointer: &[u8], folder: &Path) -> Result<u64, StoreError> {
    let wrong = || StoreError::damaged(folder, None, "the pointer to its checkpoint has the wrong length");
    let (format, generation) = pointer.split_first_chunk().ok_or_else(wrong)?;
    let found = u32::from_le_bytes(*format);
    if found > FORMAT {
        return Err(StoreError::NewerFormat { path: folder.to_path_buf(), found, supported: FORMAT });
    }
    generation.try_into().map(u64::from_le_bytes).map_err(|_| wrong())
}

fn encode_key(key: BlockKey) -> [u8; BLOCK_KEY_BYTES] {
    let mut bytes = [0; BLOCK_KEY_BYTES];
    bytes[0] = key.kind;
    // Big endian: the order of the bytes is the order of the numbers.
    bytes[1..].copy_from_slice(&key.number.to_be_bytes());
    bytes
}

fn decode_key(key: &[u8], folder: &Path) -> Result<BlockKey, StoreError> {
    let wrong = || StoreError::damaged(folder, None, "the key of a block has the wrong length");
    let (kind, number) = key.split_first().ok_or_else(wrong)?;
    let number = number.try_into().map_err(|_| wrong())?;
    Ok(BlockKey { kind: *kind, number: u64::from_be_bytes(number) })
}

/// The value with its checksum in front.
fn seal(key: &[u8], value: &[u8]) -> Vec<u8> {
    let mut sealed = Vec::with_capacity(CRC_BYTES + value.len());
    sealed.extend_from_slice(&checksum(key, value).to_le_bytes());
    sealed.extend_from_slice(value);
    sealed
}

fn unseal(key: &[u8], sealed: &[u8], folder: &Path) -> Result<Bytes, StoreError> {
    match sealed.split_first_chunk::<CRC_BYTES>() {
        Some((crc, value)) if u32::from_le_bytes(*crc) == checksum(key, value) => {
            Ok(Bytes::copy_from_slice(value))
        }
        Some(_) | None => {
            let what = format!("the checksum of the value at key {key:02x?} does not match");
            Err(StoreError::damaged(folder, None, what))
        }
    }
}

fn checksum(key: &[u8], value: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(key), value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::conformance::{content, key};
    use crate::store::wal::tests::copy_of;

    /// Checkpoint `number`: ten blocks that all name it.
    fn commit(store: &SledCheckpoint, number: u64, block_bytes: usize) {
        let text = |what: &str| Bytes::from(format!("{what} {number} ").repeat(1 + block_bytes / 10));
        let blocks = (0..10).map(|block| (key(1, block), Some(text("block")))).collect();
        store.commit(text("head"), blocks).unwrap();
    }

    #[test]
    fn values_outlive_the_cache_and_many_commits() {
        let folder = tempfile::tempdir().unwrap();
        let store = SledCheckpoint::open(folder.path()).unwrap();
        // Nodes of this size go into blob files (CHECK-1).
        for number in 0..20 {
            commit(&store, number, 100_000);
        }
        let expected = content(&store);
        let copy = copy_of(folder.path());
        store.close().unwrap();
        assert!(store.head().is_err(), "closed");
        assert_eq!(content(&SledCheckpoint::open(copy.path()).unwrap()), expected);
        assert_eq!(content(&SledCheckpoint::open(folder.path()).unwrap()), expected);
    }

    #[test]
    fn a_flipped_bit_is_refused_or_gives_a_whole_checkpoint() {
        let folder = tempfile::tempdir().unwrap();
        let store = SledCheckpoint::open(folder.path()).unwrap();
        let mut versions = vec![content(&store)];
        for number in 0..4 {
            commit(&store, number, 2_000);
            versions.push(content(&store));
        }
        store.close().unwrap();
        let whole = fs::read(folder.path().join("db")).unwrap();
        let used = whole.iter().rposition(|byte| *byte != 0).unwrap();
        for byte in (0..used).step_by(used / 50) {
            let copy = copy_of(folder.path());
            let mut flipped = whole.clone();
            flipped[byte] ^= 8;
            fs::write(copy.path().join("db"), flipped).unwrap();
            let Ok(store) = SledCheckpoint::open(copy.path()) else { continue };
            let Ok(head) = store.head() else { continue };
            let Ok(blocks) = store.blocks().and_then(|blocks| blocks.collect::<io::Result<Vec<_>>>()) else {
                continue;
            };
            assert!(versions.contains(&(head, blocks)), "byte {byte}: a mixture of two checkpoints");
        }
    }

    #[test]
    fn a_replacement_that_was_cut_off_never_happened() {
        let folder = tempfile::tempdir().unwrap();
        let store = SledCheckpoint::open(folder.path()).unwrap();
        commit(&store, 1, 100);
        let expected = content(&store);
        {
            let State::Open(opened) = &*store.lock() else { panic!("it is open") };
            let next = open_tree(&opened.db, opened.generation + 1, folder.path()).unwrap();
            next.insert(HEAD_KEY, seal(HEAD_KEY, b"unfinished")).unwrap();
        }
        store.close().unwrap();
        let store = SledCheckpoint::open(folder.path()).unwrap();
        assert_eq!(content(&store), expected);
        let State::Open(opened) = &*store.lock() else { panic!("it is open") };
        assert_eq!(opened.db.tree_names().len(), 2, "its tree was dropped");
    }

    #[test]
    fn a_lost_pointer_and_a_lost_tree_are_damage() {
        let damaged = |harm: &dyn Fn(&Opened)| {
            let folder = tempfile::tempdir().unwrap();
            let store = SledCheckpoint::open(folder.path()).unwrap();
            commit(&store, 1, 100);
            let State::Open(opened) = &*store.lock() else { panic!("it is open") };
            harm(opened);
            opened.db.flush().unwrap();
            let copy = copy_of(folder.path());
            matches!(SledCheckpoint::open(copy.path()), Err(StoreError::Damaged { .. }))
        };
        assert!(damaged(&|opened| assert!(opened.db.remove(POINTER_KEY).unwrap().is_some())));
        assert!(damaged(&|opened| assert!(opened.db.drop_tree(tree_name(1)).unwrap())));
        assert!(damaged(&|opened| {
            opened.db.insert(POINTER_KEY, b"x").unwrap();
        }));
        assert!(!damaged(&|_| {}));
    }

    #[test]
    fn a_wrong_value_is_damage() {
        let folder = tempfile::tempdir().unwrap();
        let store = SledCheckpoint::open(folder.path()).unwrap();
        commit(&store, 1, 100);
        {
            let State::Open(opened) = &*store.lock() else { panic!("it is open") };
            let (from, to) = (encode_key(key(1, 3)), encode_key(key(1, 4)));
            let value = opened.blocks.get(from).unwrap().unwrap();
            opened.blocks.insert(to, value).unwrap();
        }
        let read = store.blocks().unwrap().collect::<io::Result<Vec<_>>>();
        assert_eq!(read.unwrap_err().kind(), io::ErrorKind::InvalidData, "right bytes at the wrong key");
    }

    #[test]
    fn the_first_failed_write_is_final() {
        let folder = tempfile::tempdir().unwrap();
        let store = SledCheckpoint::open(folder.path()).unwrap();
        commit(&store, 1, 100);
        // The folder of the blobs is gone: the commit cannot prove that it is durable.
        fs::remove_dir_all(folder.path().join("blobs")).unwrap();
        let first = store.commit(Bytes::from_static(b"head"), vec![]).unwrap_err();
        fs::create_dir(folder.path().join("blobs")).unwrap();
        let later = store.commit(Bytes::from_static(b"head"), vec![]).unwrap_err();
        assert_eq!(first.to_string(), later.to_string());
        assert!(store.head().is_err());
    }
}
