//! Puts consensus together: opens, verifies, starts.

use std::io;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::bootstrap::Bootstrap;
use super::checkpoint::Checkpoints;
use super::checkpointer::Checkpointer;
use super::config::{ConfigError, RaftConfig};
use super::convert;
use super::fault::Faults;
use super::identity::{Identity, IdentityPort};
use super::leadership::{Leadership, LeadershipWatch};
use super::log::RaftLog;
use super::machine::{Machine, Shared};
use super::network::Network;
use super::outcast::Outcast;
use super::proposer;
use super::replica::{BARRIERS_WAITING_MAX, Inner, Replica};
use super::service::{Peer, PeerParts, PeerService};
use super::silence::Heard;
use super::types::Raft;
use crate::store::{CheckpointPort, LOST_DATA_ADVICE, LogPort, Offload, StoreError};

/// What a node keeps on its disk.
#[derive(Clone)]
pub struct Stores {
    /// Who it is.
    pub identity: Arc<dyn IdentityPort>,
    /// Its log.
    pub log: Arc<dyn LogPort>,
    /// Checkpoints of its state.
    pub checkpoint: Arc<dyn CheckpointPort>,
    /// Where calls to them run that wait.
    pub offload: Offload,
}

/// A node that takes part in consensus.
#[derive(Debug)]
pub struct RaftNode {
    /// For the rest of the server.
    pub replica: Replica,
    /// To be served on the peer port at once: nobody elects a node that cannot be called.
    pub service: PeerService,
}

/// Why a node cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The checkpoint cannot be read, and the store says why and what to do.
    #[error(transparent)]
    Store(io::Error),
    /// The checkpoint does not read back as it was written.
    #[error("the checkpoint of the state cannot be used: {0}; {LOST_DATA_ADVICE}")]
    Checkpoint(#[source] io::Error),
    /// A newer release wrote the checkpoint: nothing is damaged.
    #[error("the checkpoint of the state is of a newer release: {0}; start the release of the others")]
    NewerCheckpoint(#[source] io::Error),
    /// A newer release has been here, and what it agreed on with the others cannot be taken back.
    #[error(
        "the cluster has agreed on feature level {level}, and this release knows those up to {known}: start the release of the others"
    )]
    TooOld {
        /// The level in force.
        level: u32,
        /// The newest that this build understands.
        known: u32,
    },
    /// The log and the checkpoint do not belong together.
    #[error(transparent)]
    Mismatch(io::Error),
    /// The log cannot be replayed from the checkpoint on.
    #[error("the log cannot be replayed: {0}")]
    Log(String),
}

/// Opens what the stores hold, replays the log from the last checkpoint on, and takes part.
///
/// The returned replica owns the stores: it closes them in [`Replica::shutdown`].
pub async fn start(config: RaftConfig, stores: Stores) -> Result<RaftNode, StartError> {
    config.check()?;
    let openraft_config = config.to_openraft()?;
    let config = Arc::new(config);
    let identity = Arc::new(Identity::new(config.node_id.0, stores.identity.clone(), stores.offload.clone()));
    let (checkpoint, folder) = (stores.checkpoint, config.snapshots_folder.clone());
    let (offload, within) = (stores.offload.clone(), stores.offload.clone());
    let opened = offload.run(move || Checkpoints::open(checkpoint, folder, within)).await;
    let (checkpoints, replicated) = opened.map_err(|error| match error.kind() {
        _ if error.get_ref().is_some_and(|inner| inner.is::<StoreError>()) => StartError::Store(error),
        io::ErrorKind::Unsupported => StartError::NewerCheckpoint(error),
        _ => StartError::Checkpoint(error),
    })?;
    let (level, known) = (replicated.state.feature_level(), belfry_core::FEATURE_LEVEL);
    if level > known {
        return Err(StartError::TooOld { level, known });
    }
    let applied = replicated.applied.as_ref().map(convert::log_id_to_store);
    stores.identity.verify(&stores.log.state(), applied).map_err(StartError::Mismatch)?;

    let shared = Shared::new(replicated, config.checkpoint_dirty_blocks_max);
    let faults = Faults::new();
    let log = RaftLog::new(stores.log, faults.clone());
    let network = Network::new(config.clone(), identity.clone(), stores.offload.clone(), log.gone().clone());
    let machine =
        Machine { shared: shared.clone(), checkpoints: checkpoints.clone(), faults: faults.clone() };
    let raft = Box::pin(Raft::new(config.node_id.0, openraft_config, network.clone(), log.clone(), machine));
    let raft = raft.await.map_err(|error| {
        // Our own words, if it was our own store or state machine.
        StartError::Log(faults.get().map_or_else(|| error.to_string(), |fault| fault.to_string()))
    })?;

    let heard = Heard::default();
    let service = Peer::service(PeerParts {
        raft: raft.clone(),
        log: log.clone(),
        config: config.clone(),
        shared: shared.clone(),
        checkpoints: checkpoints.clone(),
        identity: identity.clone(),
        heard: heard.clone(),
    });
    let (published, leadership) = watch::channel(Leadership::Follower { leader: None });
    let (barriers, asked) = mpsc::channel(BARRIERS_WAITING_MAX);
    let (proposals, waiting) = mpsc::channel(proposer::WAITING_MAX);
    let inner = Arc::new(Inner {
        raft: raft.clone(),
        config: config.clone(),
        identity: identity.clone(),
        shared: shared.clone(),
        checkpoints: checkpoints.clone(),
        log: log.clone(),
        network: network.clone(),
        leadership,
        faults: faults.clone(),
        proposals,
        barriers,
        stopping: CancellationToken::new(),
        running: tokio::sync::Mutex::default(),
        changing: Arc::default(),
        saving: Arc::new(tokio::sync::Semaphore::new(1)),
    });
    let outcast = Outcast {
        config: config.clone(),
        identity: identity.clone(),
        raft: raft.clone(),
        network: network.clone(),
        leadership: inner.leadership.clone(),
        faults: faults.clone(),
    };
    let bootstrap =
        Bootstrap { config: config.clone(), identity, raft: raft.clone(), network, faults: faults.clone() };
    let checkpointer = Checkpointer { raft: raft.clone(), config: config.clone(), shared, checkpoints, log };
    let watch = LeadershipWatch { raft, config, faults, heard, published };

    // All but the watch end at once when the node stops; the watch ends with the core, to say why it ended.
    let mut running = JoinSet::new();
    let stopping = inner.stopping.clone();
    running.spawn(until(stopping.clone(), Box::pin(bootstrap.run())));
    running.spawn(until(stopping.clone(), Box::pin(checkpointer.run())));
    running.spawn(until(stopping.clone(), Box::pin(outcast.run())));
    running.spawn(until(
        stopping.clone(),
        Box::pin(proposer::run(inner.raft.clone(), inner.shared.clone(), waiting)),
    ));
    running.spawn(until(stopping, Box::pin(inner.clone().serve_barriers(asked))));
    running.spawn(Box::pin(watch.run()));
    *inner.running.lock().await = running;
    Ok(RaftNode { replica: Replica { inner }, service })
}

async fn until(stop: CancellationToken, run: impl Future<Output = ()> + Send) {
    // What it was doing is dropped at its next await: each of these keeps nothing that a restart would miss.
    stop.run_until_cancelled(run).await;
}
