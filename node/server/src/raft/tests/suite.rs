//! openraft's conformance suite on both stores.

use std::sync::Arc;

use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use tempfile::TempDir;

use super::super::checkpoint::Checkpoints;
use super::super::fault::Faults;
use super::super::log::RaftLog;
use super::super::machine::{Machine, Shared};
use super::super::types::TypeConfig;
use crate::store::{
    CheckpointPort, DataFolder, Identity, LogPort, MemoryCheckpoint, MemoryLog, Offload, SledCheckpoint,
    WalLog, WalOptions,
};

fn adapt(
    log: Arc<dyn LogPort>,
    checkpoint: Arc<dyn CheckpointPort>,
    snapshots: std::path::PathBuf,
) -> (RaftLog, Machine) {
    let (checkpoints, replicated) = Checkpoints::open(checkpoint, snapshots, Offload::default()).unwrap();
    let faults = Faults::new();
    let machine = Machine { shared: Shared::new(replicated, 100), checkpoints, faults: faults.clone() };
    (RaftLog::new(log, faults), machine)
}

struct OnMemory;

impl StoreBuilder<TypeConfig, RaftLog, Machine, TempDir> for OnMemory {
    async fn build(&self) -> Result<(TempDir, RaftLog, Machine), StorageError<TypeConfig>> {
        let folder = tempfile::tempdir().unwrap();
        let snapshots = folder.path().join("snapshots");
        let (log, machine) = adapt(Arc::new(MemoryLog::new()), Arc::new(MemoryCheckpoint::new()), snapshots);
        Ok((folder, log, machine))
    }
}

struct OnDisk;

impl StoreBuilder<TypeConfig, RaftLog, Machine, (DataFolder, TempDir)> for OnDisk {
    async fn build(&self) -> Result<((DataFolder, TempDir), RaftLog, Machine), StorageError<TypeConfig>> {
        let root = tempfile::tempdir().unwrap();
        let folder = DataFolder::open(root.path(), Identity { cluster_id: None, node_id: 1 }).unwrap();
        let log = WalLog::open(&folder.log_path(), folder.log_owner(), WalOptions::default()).unwrap();
        let checkpoint = SledCheckpoint::open(&folder.state_path()).unwrap();
        let (log, machine) = adapt(Arc::new(log), Arc::new(checkpoint), folder.snapshots_path());
        Ok(((folder, root), log, machine))
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn memory_twins_pass_the_suite() {
    Suite::test_all(OnMemory).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_and_checkpoint_pass_the_suite() {
    Suite::test_all(OnDisk).await.unwrap();
}
