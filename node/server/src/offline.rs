//! What is done to snapshots and data folders while no node runs: verify, save from the folder of a stopped node, restore.
//!
//! ```text
//!   a cluster that runs ── save ──► FILE ◄── save --data ── the folder of a stopped node
//!                                    │
//!                           verify ◄─┴─ restore ──► a folder: the one node of a new cluster
//! ```
//! - OFFLINE-1 a restored cluster has an id of its own: nodes and folders of the former one never mix with it.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use belfry_core::state::{Restoration, RestoreTally};
use belfry_core::{LogPosition, UnixMillis};

use crate::clock::{Clock as _, SystemClock};
use crate::raft::{Backup, BackupInfo, Member, NewCluster, NodeId, Stores};
use crate::store::{
    DataFolder, FolderError, Identity, Offload, SledCheckpoint, StoreError, WalLog, WalOptions,
};

/// Why it was not done.
#[derive(Debug, thiserror::Error)]
pub enum OfflineError {
    /// The snapshot is not what was written.
    #[error("snapshot {} cannot be used: {source}; take another one", path.display())]
    Snapshot {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        source: io::Error,
    },
    /// The folder cannot be used.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// A store in it cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What it holds cannot be read, or the new one not written.
    #[error("data folder {}: {source}", path.display())]
    Data {
        /// The folder.
        path: PathBuf,
        /// What is wrong.
        source: io::Error,
    },
    /// The file cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// What a snapshot holds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Summary {
    /// Where it is from.
    pub info: BackupInfo,
    /// The position of the former cluster's log.
    pub position: LogPosition,
    /// The digest of the state.
    pub digest: String,
    /// Its members.
    pub members: Vec<(NodeId, Member)>,
    /// The feature level.
    pub feature_level: u32,
    /// Schedules.
    pub schedules: u64,
    /// Rows of the ledger.
    pub runs: u64,
    /// Of those, the ones that wait to begin.
    pub due: u64,
    /// Of those, the ones that an executor had begun.
    pub running: u64,
    /// The newest instant that has a row.
    pub watermark: Option<UnixMillis>,
}

impl Summary {
    fn of(backup: &Backup) -> Self {
        let state = &backup.state;
        let count = |name: &str| state.census().get(name);
        let schedules = state.schedule_ids_from(Default::default()).filter_map(|id| state.schedule(id));
        Self {
            info: backup.info.clone(),
            position: backup.position,
            digest: state.digest().to_string(),
            members: backup.members.clone(),
            feature_level: state.feature_level(),
            schedules: state.schedule_count() as u64,
            runs: state.run_count() as u64,
            due: count("DUE"),
            running: count("RUNNING"),
            watermark: schedules.map(|schedule| schedule.watermark).max(),
        }
    }
}

/// Reads a snapshot whole, and says what it holds.
pub fn verify(file: &Path) -> Result<Summary, OfflineError> {
    Ok(Summary::of(&read(file)?))
}

fn read(file: &Path) -> Result<Backup, OfflineError> {
    Backup::read(file).map_err(|source| OfflineError::Snapshot { path: file.to_path_buf(), source })
}

/// Saves a snapshot of what a stopped node holds, in its checkpoint and in its log.
pub fn save(data: &Path, file: &Path) -> Result<Summary, OfflineError> {
    let folder = DataFolder::open_stopped(data)?;
    let node = NodeId(folder.identity().node_id);
    let snapshots = folder.snapshots_path();
    let stores = stores(folder)?;
    let damaged = |source| OfflineError::Data { path: data.to_path_buf(), source };
    let backup = Backup::of_stores(&stores, snapshots, node, SystemClock.now()).map_err(damaged)?;
    stores.log.close();
    stores.checkpoint.close().map_err(damaged)?;
    let unwritable = |source| OfflineError::Write { path: file.to_path_buf(), source };
    backup.write(file).map_err(unwritable)?;
    Ok(Summary::of(&backup))
}

/// How to restore.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RestoreOptions {
    /// A folder that does not exist or is empty.
    pub data: PathBuf,
    /// The one member of the new cluster.
    pub node_id: u64,
    /// host:port of its API.
    pub api: String,
    /// host:port of its node-to-node service.
    pub peer: String,
    /// What may have begun in the former cluster.
    pub missed: Missed,
}

/// What becomes of what the former cluster may have begun after the snapshot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Missed {
    /// It counts as begun, up to this instant; none: now.
    Skip(Option<UnixMillis>),
    /// It did not begin: it is made up for.
    CatchUp,
}

/// An instant, from milliseconds since the epoch.
pub fn instant(unix_millis: i64) -> UnixMillis {
    UnixMillis(unix_millis)
}

/// What came of a restore.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Restored {
    /// The new cluster.
    pub cluster_id: String,
    /// What the snapshot held.
    pub summary: Summary,
    /// Instants up to here are not run.
    pub skip_until: Option<UnixMillis>,
    /// What was changed.
    pub tally: RestoreTally,
}

/// Makes a snapshot the data folder of the first node of a new cluster.
pub fn restore(file: &Path, options: &RestoreOptions) -> Result<Restored, OfflineError> {
    let mut backup = read(file)?;
    let summary = Summary::of(&backup);
    let now = SystemClock.now();
    let skip_until = match options.missed {
        Missed::Skip(until) => Some(until.unwrap_or(now)),
        Missed::CatchUp => None,
    };
    let restoration = Restoration { at: backup.new_position(), now, skip_until };
    let tally = backup.state.begin_anew(&restoration);
    let cluster_id = ulid::Ulid::generate().to_string();
    let identity = Identity { cluster_id: Some(cluster_id.clone()), node_id: options.node_id };
    let folder = DataFolder::begin_restore(&options.data, identity)?;
    let member = Member {
        api_address: options.api.clone(),
        peer_address: options.peer.clone(),
        incarnation: folder.incarnation().to_string(),
    };
    let log = WalLog::open(&folder.log_path(), folder.log_owner(), WalOptions::default())?;
    let checkpoint = SledCheckpoint::open(&folder.state_path())?;
    let cluster = NewCluster { node: NodeId(options.node_id), member };
    backup
        .found(&cluster, &log, &checkpoint)
        .map_err(|source| OfflineError::Data { path: options.data.clone(), source })?;
    folder.restored()?;
    Ok(Restored { cluster_id, summary, skip_until, tally })
}

fn stores(folder: DataFolder) -> Result<Stores, OfflineError> {
    let log = WalLog::open(&folder.log_path(), folder.log_owner(), WalOptions::default())?;
    let checkpoint = SledCheckpoint::open(&folder.state_path())?;
    Ok(Stores {
        identity: Arc::new(Mutex::new(folder)),
        log: Arc::new(log),
        checkpoint: Arc::new(checkpoint),
        offload: Offload::default(),
    })
}
