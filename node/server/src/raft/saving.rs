//! Saving a snapshot of a cluster that runs: what is committed now, at one position, as a stream of bytes.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use belfry_core::{LogPosition, State, UnixMillis};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, stream};
use tokio::io::AsyncReadExt as _;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, sleep};

use super::backup::BackupInfo;
use super::replica::{ProposeError, Replica};
use super::snapshot::SnapshotFile;

/// Bytes of a file that are read and sent at once.
const CHUNK_BYTES: usize = 1 << 20;
/// How long the checkpoint may take that a snapshot is made of; a slow disk takes seconds for a large state.
const CHECKPOINT_WAIT: Duration = Duration::from_secs(60);
/// Between two looks whether it is there.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// The checkpoint may move on between being made and being read.
const TRIES: u32 = 10;

/// Why there is no snapshot.
#[derive(Debug, thiserror::Error)]
pub enum SavingError {
    /// This node does not lead, or nobody does.
    #[error(transparent)]
    Propose(#[from] ProposeError),
    /// One is being saved.
    #[error("another snapshot is being saved: try again when it is done")]
    Busy,
    /// The disk is in the way.
    #[error("the snapshot cannot be written on this node: {0}")]
    Disk(#[source] io::Error),
}

/// A snapshot, ready to be sent.
#[derive(Debug)]
pub struct SavedSnapshot {
    /// Where it is from.
    pub info: BackupInfo,
    /// The position that it is at.
    pub position: LogPosition,
    /// Bytes that follow, all in all.
    pub bytes: u64,
    header: Bytes,
    file: Arc<SnapshotFile>,
    permit: OwnedSemaphorePermit,
}

impl Replica {
    /// Saves what is committed now. Linearizable: everything that was acknowledged before the call is in it.
    pub async fn save_snapshot(&self, now: UnixMillis) -> Result<SavedSnapshot, SavingError> {
        let inner = &self.inner;
        let permit = inner.saving.clone().try_acquire_owned().map_err(|_| SavingError::Busy)?;
        self.read_barrier().await?;
        let wanted = self.read_at(|at: LogPosition, _: &State| at.index);
        let mut tries = 0;
        let file = loop {
            self.checkpoint_reaches(wanted).await?;
            let applied = inner.checkpoints.head().and_then(|head| head.applied);
            match inner.checkpoints.clone().write_snapshot(applied, None).await {
                Ok(file) => break file,
                Err(_moved_on) if tries < TRIES => tries += 1,
                Err(error) => return Err(SavingError::Disk(error)),
            }
        };
        let info = BackupInfo {
            cluster_id: self.cluster_id().unwrap_or_default(),
            node: self.node_id(),
            saved_at: now,
            release: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let header = info.encode().map_err(SavingError::Disk)?;
        let length = tokio::fs::metadata(file.path()).await.map_err(SavingError::Disk)?.len();
        let position = file
            .head
            .applied
            .map_or_else(LogPosition::default, |id| LogPosition { term: id.leader_id.term, index: id.index });
        Ok(SavedSnapshot { info, position, bytes: header.len() as u64 + length, header, file, permit })
    }

    /// Asks for a checkpoint until there is one that has everything up to `wanted`.
    async fn checkpoint_reaches(&self, wanted: u64) -> Result<(), SavingError> {
        let inner = &self.inner;
        let give_up = Instant::now() + CHECKPOINT_WAIT;
        while inner.checkpoints.index() < wanted {
            if Instant::now() >= give_up {
                let slow = io::Error::new(
                    io::ErrorKind::TimedOut,
                    "its checkpoint takes too long: the disk is slow",
                );
                return Err(SavingError::Disk(slow));
            }
            // One that is under way may be of an earlier position: then another one follows.
            inner.raft.trigger().snapshot().await.map_err(|_| ProposeError::Stopped)?;
            sleep(LOOK_AGAIN).await;
        }
        Ok(())
    }
}

impl SavedSnapshot {
    /// The bytes of the file, piece by piece.
    pub fn into_chunks(self) -> impl Stream<Item = io::Result<Bytes>> + Send + 'static {
        let Self { header, file, permit, .. } = self;
        let pieces = stream::unfold((file, None, permit), |(file, opened, permit)| async move {
            let read = async {
                let mut opened = match opened {
                    Some(opened) => opened,
                    None => tokio::fs::File::open(file.path()).await?,
                };
                let mut chunk = Vec::with_capacity(CHUNK_BYTES);
                (&mut opened).take(CHUNK_BYTES as u64).read_to_end(&mut chunk).await?;
                Ok::<_, io::Error>((Bytes::from(chunk), opened))
            };
            match read.await {
                Ok((chunk, _)) if chunk.is_empty() => None,
                Ok((chunk, opened)) => Some((Ok(chunk), (file, Some(opened), permit))),
                // Whoever receives it finds it cut off.
                Err(error) => Some((Err(error), (file, None, permit))),
            }
        });
        stream::iter([Ok(header)]).chain(pieces)
    }
}
