//! The durable side of the replicated state: what a restart begins from, and what a snapshot is made of.
//!
//! - CKPT-1 a checkpoint is one position of the log: all of its blocks, its membership and its digest belong to it.
//! - CKPT-2 the head is published only after the checkpoint is durable; the log is purged only behind the head.
//! - CKPT-3 at open the digest of everything read must equal the one in the head (APPLY-1).
//! - CKPT-4 one at a time reads blocks, commits or replaces: whoever holds the ledger.

use std::collections::BTreeMap;
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use belfry_core::State;
use belfry_core::digest::Digest;
use belfry_core::state::{BlockId, Digester, Record, digest_of};
use belfry_proto::internal as pb;
use bytes::Bytes;
use prost::Message as _;
use tokio::sync::{OwnedMutexGuard, watch};

use super::convert;
use super::machine::{Cut, Replicated, Shared};
use super::snapshot::{self, SnapshotFile};
use super::types::{LogId, StoredMembership};
use crate::codec::{self, BlockDecoder, CodecError};
use crate::store::{BlockKey, CheckpointPort, Offload};

/// Newest version of the checkpoint's layout: from 2 on, blocks may be compressed.
const FORMAT: u32 = 2;

/// What a checkpoint says of itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Head {
    pub(super) applied: Option<LogId>,
    pub(super) membership: StoredMembership,
    pub(super) digest: Digest,
    /// How blocks are stored from here on; in [`Packing::Compressed`], older ones may be plain.
    pub(super) packing: Packing,
}

impl Head {
    pub(super) fn encode(&self) -> Bytes {
        let head = pb::CheckpointHead {
            applied: self.applied.as_ref().map(convert::log_id_to_wire),
            membership: Some(convert::stored_membership_to_wire(&self.membership)),
            digest: self.digest.0.to_le_bytes().to_vec().into(),
            format: match self.packing {
                Packing::Plain => 1,
                Packing::Compressed => 2,
            },
        };
        head.encode_to_vec().into()
    }

    pub(super) fn decode(bytes: Bytes) -> io::Result<Head> {
        let head = pb::CheckpointHead::decode(bytes).map_err(corrupt)?;
        let packing = match head.format {
            1 => Packing::Plain,
            2 => Packing::Compressed,
            newer => {
                let what = format!("it has format {newer}, this release reads those up to {FORMAT}");
                return Err(io::Error::new(io::ErrorKind::Unsupported, what));
            }
        };
        let digest =
            <[u8; 16]>::try_from(head.digest.as_ref()).map_err(|_| corrupt("its digest is not 16 bytes"))?;
        Ok(Head {
            applied: head.applied.map(convert::log_id),
            membership: convert::stored_membership(head.membership).map_err(corrupt)?,
            digest: Digest(u128::from_le_bytes(digest)),
            packing,
        })
    }

    /// CKPT-3.
    pub(super) fn must_have(&self, digest: Digest) -> io::Result<()> {
        if self.digest == digest {
            return Ok(());
        }
        Err(corrupt(format!("the digest of its records is {digest}, its head says {}", self.digest)))
    }

    fn index(&self) -> u64 {
        self.applied.as_ref().map_or(0, |applied| applied.index)
    }
}

/// The error of bytes that are not what was written.
pub(super) fn corrupt(what: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Says what was being done when the store failed.
fn failed(to: &'static str) -> impl FnOnce(io::Error) -> io::Error {
    move |error| io::Error::new(error.kind(), format!("cannot {to}: {error}"))
}

/// Digests of the blocks as they are in the durable checkpoint, so that changing some costs only those.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    blocks: BTreeMap<BlockKey, Digest>,
    pub(super) total: Digest,
}

impl Ledger {
    fn set(&mut self, key: BlockKey, digest: Option<Digest>) {
        let former = match digest {
            Some(digest) => {
                self.total = self.total.plus(digest);
                self.blocks.insert(key, digest)
            }
            None => self.blocks.remove(&key),
        };
        if let Some(former) = former {
            self.total = self.total.minus(former);
        }
    }
}

/// Checkpoints of this node.
pub(super) struct Checkpoints {
    port: Arc<dyn CheckpointPort>,
    folder: PathBuf,
    offload: Offload,
    ledger: Arc<tokio::sync::Mutex<Ledger>>,
    head: watch::Sender<Option<Head>>,
    /// The last snapshot file that was written, while somebody still sends it.
    written: Mutex<Weak<SnapshotFile>>,
}

impl std::fmt::Debug for Checkpoints {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Checkpoints").field("head", &*self.head.borrow()).finish_non_exhaustive()
    }
}

impl Checkpoints {
    /// Reads the durable checkpoint whole and verifies it (CKPT-3). Blocks on the disk.
    pub(super) fn open(
        port: Arc<dyn CheckpointPort>,
        folder: PathBuf,
        offload: Offload,
    ) -> io::Result<(Arc<Checkpoints>, Replicated)> {
        snapshot::clear_folder(&folder)?;
        let head = port.head()?.map(Head::decode).transpose()?;
        let (state, ledger) = read_state(port.blocks()?)?;
        let replicated = match &head {
            Some(head) => {
                head.must_have(ledger.total)?;
                Replicated { state, applied: head.applied, membership: head.membership.clone() }
            }
            None if ledger.blocks.is_empty() => Replicated::default(),
            None => return Err(corrupt("it has blocks but no head")),
        };
        let checkpoints = Checkpoints {
            port,
            folder,
            offload,
            ledger: Arc::new(tokio::sync::Mutex::new(ledger)),
            head: watch::Sender::new(head),
            written: Mutex::default(),
        };
        Ok((Arc::new(checkpoints), replicated))
    }

    /// Where calls run that wait for the disk.
    pub(super) fn offload(&self) -> &Offload {
        &self.offload
    }

    /// The last durable checkpoint (CKPT-2).
    pub(super) fn head(&self) -> Option<Head> {
        self.head.borrow().clone()
    }

    /// Index of the last durable checkpoint, 0 before the first.
    pub(super) fn index(&self) -> u64 {
        self.head.borrow().as_ref().map_or(0, Head::index)
    }

    /// The ledger, if nobody holds it.
    pub(super) fn try_ledger(&self) -> Option<OwnedMutexGuard<Ledger>> {
        self.ledger.clone().try_lock_owned().ok()
    }

    /// Makes what is applied now durable. When it fails, the node must stop: which blocks are dirty is lost.
    pub(super) async fn save(self: &Arc<Self>, shared: &Arc<Shared>) -> io::Result<Head> {
        let mut ledger = self.ledger.clone().lock_owned().await;
        let (this, shared) = (self.clone(), shared.clone());
        self.offload
            .run(move || {
                if let Some(head) = this.head().filter(|head| head.applied == shared.applied()) {
                    return Ok(head);
                }
                // A level that rises meanwhile counts from the next checkpoint on; it never falls.
                let packing = shared.read(Packing::of);
                this.commit(shared.cut(|records| written(&records, packing))?, packing, &mut ledger)
            })
            .await
    }

    fn commit(&self, cut: Cut<Option<Written>>, packing: Packing, ledger: &mut Ledger) -> io::Result<Head> {
        let mut changed = Vec::with_capacity(cut.blocks.len());
        for (id, written) in cut.blocks {
            let key = key_of(id);
            ledger.set(key, written.as_ref().map(|written| written.digest));
            changed.push((key, written.map(|written| written.value)));
        }
        let (applied, membership) = (cut.applied, cut.membership);
        let head = Head { applied, membership, digest: ledger.total, packing };
        self.port.commit(head.encode(), changed).map_err(failed("write the checkpoint"))?;
        self.head.send_replace(Some(head.clone()));
        Ok(head)
    }

    /// Replaces the checkpoint, and then the live state, by a snapshot.
    pub(super) async fn install(
        self: &Arc<Self>,
        file: Arc<SnapshotFile>,
        shared: &Arc<Shared>,
    ) -> io::Result<()> {
        let mut ledger = self.ledger.clone().lock_owned().await;
        let (this, shared) = (self.clone(), shared.clone());
        self.offload
            .run(move || {
                let (state, fresh) = read_state(file.blocks()?)?;
                let head = &file.head;
                head.must_have(fresh.total)?;
                let replaced = this.port.replace(head.encode(), &mut file.blocks()?);
                replaced.map_err(failed("replace the checkpoint by a snapshot"))?;
                *ledger = fresh;
                tracing::info!(
                    index = head.index(),
                    "installed a snapshot of the leader: the log alone did not reach back"
                );
                this.head.send_replace(Some(head.clone()));
                shared.replace(Replicated {
                    state,
                    applied: head.applied,
                    membership: head.membership.clone(),
                });
                Ok(())
            })
            .await
    }

    /// Writes the durable checkpoint into a file, provided that it is still the one at `applied`.
    pub(super) async fn write_snapshot(
        self: Arc<Self>,
        applied: Option<LogId>,
        ledger: Option<OwnedMutexGuard<Ledger>>,
    ) -> io::Result<Arc<SnapshotFile>> {
        let ledger = match ledger {
            Some(ledger) => ledger,
            None => self.ledger.clone().lock_owned().await,
        };
        let offload = self.offload.clone();
        offload
            .run(move || {
                let head = self.head().filter(|head| head.applied == applied);
                let head = head.ok_or_else(|| io::Error::other("the checkpoint has moved on"))?;
                let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
                if let Some(file) = written.upgrade().filter(|file| file.head == head) {
                    return Ok(file);
                }
                // A name of its own: a former file of the same position may be on its way out.
                let path = self.folder.join(format!("{}-{}.snap", head.index(), crate::random::ulid()));
                let file = Arc::new(snapshot::write_file(&path, &head, self.port.blocks()?)?);
                *written = Arc::downgrade(&file);
                drop(ledger);
                Ok(file)
            })
            .await
    }

    /// A path for a snapshot that is being received.
    pub(super) fn receiving_path(&self) -> PathBuf {
        self.folder.join(format!("received-{}.snap", crate::random::ulid()))
    }

    /// Lets go of the store, after whoever is using it.
    pub(super) async fn close(self: Arc<Self>) -> io::Result<()> {
        let ledger = self.ledger.clone().lock_owned().await;
        let offload = self.offload.clone();
        offload
            .run(move || {
                let closed = self.port.close();
                drop(ledger);
                closed
            })
            .await
    }
}

/// A block as it is stored.
struct Written {
    digest: Digest,
    value: Bytes,
}

/// None: it is gone.
fn written(records: &[Record], packing: Packing) -> Option<Written> {
    let is_gone = records.is_empty();
    (!is_gone).then(|| Written { digest: digest_of(records), value: packing.pack(records) })
}

/// How blocks are stored, and sent to other members in snapshots: as all of them can read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Packing {
    Plain,
    Compressed,
}

impl Packing {
    /// What the feature level in force allows.
    pub(super) fn of(state: &State) -> Self {
        if state.feature_level() < 4 { Self::Plain } else { Self::Compressed }
    }

    pub(super) fn pack(self, records: &[Record]) -> Bytes {
        let value = codec::encode_block(records);
        match self {
            Self::Plain => value,
            Self::Compressed => codec::compress_block(value),
        }
    }
}

pub(super) fn key_of(id: BlockId) -> BlockKey {
    BlockKey { kind: id.kind as u8, number: id.number }
}

/// The state that blocks make, and their digests. One block after the other: all of them decoded take three times the memory of the
/// state, which shares what is alike.
pub(super) fn read_state(
    blocks: impl Iterator<Item = io::Result<(BlockKey, Bytes)>>,
) -> io::Result<(State, Ledger)> {
    let (mut ledger, mut failure) = (Ledger::default(), None);
    let (mut decoder, mut digester) = (BlockDecoder::default(), Digester::default());
    let mut read = |block: io::Result<(BlockKey, Bytes)>| {
        let (key, value) = block?;
        let records = decoder.decode(&value).map_err(unreadable(key))?;
        ledger.set(key, Some(digester.digest_of(&records)));
        io::Result::Ok(records)
    };
    let records = blocks.map_while(|block| read(block).map_err(|error| failure = Some(error)).ok()).flatten();
    let state = State::restore(records);
    match failure {
        Some(error) => Err(error),
        None => Ok((state.map_err(corrupt)?, ledger)),
    }
}

fn unreadable(key: BlockKey) -> impl FnOnce(CodecError) -> io::Error {
    move |error| corrupt(format!("block {}/{}: {error}", key.kind, key.number))
}

/// The digest of the records of an encoded block.
pub(super) fn digest_of_block(value: &Bytes) -> io::Result<Digest> {
    codec::decode_block(value).map(|records| digest_of(&records)).map_err(corrupt)
}
