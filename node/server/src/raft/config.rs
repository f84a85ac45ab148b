//! What a node needs to know to take part in consensus. Every limit of this folder is here.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use super::{Member, NodeId};
use crate::clock::{SharedClock, SystemClock};
use crate::transport::Dialer;

/// Configuration of consensus: the same for the first start and for every later one.
#[derive(Clone, Debug)]
pub struct RaftConfig {
    /// This node.
    pub node_id: NodeId,
    /// For logs and metrics only.
    pub cluster_name: String,
    /// Who makes up the cluster at its first start, this node included. Later the replicated membership decides who
    /// belongs; the addresses here are then only where to dial those that are still members.
    pub initial_members: BTreeMap<NodeId, Addresses>,
    /// Whether this node may found the cluster: it does so only with an empty store, as the lowest of the initial
    /// members, once all of them answer and none of them belongs to a cluster.
    pub bootstrap: bool,
    /// Folder for snapshots on their way; whatever is in it at start is removed.
    pub snapshots_folder: PathBuf,
    /// Time between two heartbeats of a leader.
    pub heartbeat_interval: Duration,
    /// How long a voter waits at least, once the leader counts as lost, before it stands for election.
    pub election_timeout_min: Duration,
    /// How long a leader may be silent before it counts as lost, openraft's leader lease, and how long a voter waits at most then.
    pub election_timeout_max: Duration,
    /// Time between two checkpoints while there is something to write, give or take a fifth, and some seconds more in a storm.
    pub checkpoint_every: Duration,
    /// Changed blocks that bring the next checkpoint forward.
    pub checkpoint_dirty_blocks_max: usize,
    /// Bytes of the log that are kept behind a checkpoint, for followers that were away for a moment.
    pub log_keep_bytes: u64,
    /// Largest command.
    pub command_bytes_max: usize,
    /// How long a proposal or a read barrier may take before its outcome is called unknown.
    pub propose_timeout: Duration,
    /// How long a handover of leadership may take, all tries together.
    pub transfer_timeout: Duration,
    /// How other nodes are dialled.
    pub dialer: Dialer,
    /// The machine's clock: what other nodes are told when they compare it with theirs.
    pub clock: SharedClock,
}

/// Where a node is reached, as host:port.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Addresses {
    /// The client API.
    pub api: String,
    /// The node-to-node service.
    pub peer: String,
}

/// A configuration that cannot work.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// This node is not one of those it lists.
    #[error("node {node} is not among the initial members; add it, with its addresses")]
    NotAMember {
        /// This node.
        node: NodeId,
    },
    /// Consensus refuses the timings.
    #[error("the heartbeat and election timeouts do not fit together: {0}")]
    Timings(String),
}

impl RaftConfig {
    /// The defaults: a leader that dies is replaced within about a second.
    pub fn new(
        node_id: NodeId,
        initial_members: BTreeMap<NodeId, Addresses>,
        snapshots_folder: PathBuf,
    ) -> Self {
        Self {
            node_id,
            cluster_name: "belfry".to_owned(),
            initial_members,
            bootstrap: true,
            snapshots_folder,
            heartbeat_interval: Duration::from_millis(100),
            election_timeout_min: Duration::from_millis(300),
            election_timeout_max: Duration::from_millis(500),
            checkpoint_every: Duration::from_secs(30),
            // 64 schedules or 256 runs, some 7 KB as it is written: 30 MB at once, what changes while the former is written, and what a storm
            // changes that is waited for. One of 100 000 is 2000. More of them is more of the log to be applied again at the next start.
            checkpoint_dirty_blocks_max: 4096,
            log_keep_bytes: 32 << 20,
            // A storm's entry of 4096 fires is 32 KiB; a schedule's payload is bounded at the API, far below.
            command_bytes_max: 8 << 20,
            propose_timeout: Duration::from_secs(10),
            transfer_timeout: Duration::from_secs(2),
            dialer: Dialer::default(),
            clock: Arc::new(SystemClock),
        }
    }

    /// The address to dial for a member: the configuration knows a node that moved before the membership does.
    pub(super) fn peer_address<'a>(&'a self, node: u64, member: &'a Member) -> &'a str {
        self.initial_members.get(&NodeId(node)).map_or(&member.peer_address, |addresses| &addresses.peer)
    }

    /// A member with the addresses that the configuration knows for it.
    pub(super) fn with_known_addresses(&self, node: u64, member: &Member) -> Member {
        let mut member = member.clone();
        if let Some(known) = self.initial_members.get(&NodeId(node)) {
            member.api_address.clone_from(&known.api);
            member.peer_address.clone_from(&known.peer);
        }
        member
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if self.initial_members.contains_key(&self.node_id) {
            Ok(())
        } else {
            Err(ConfigError::NotAMember { node: self.node_id })
        }
    }

    pub(super) fn to_openraft(&self) -> Result<Arc<openraft::Config>, ConfigError> {
        let ms = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        let config = openraft::Config {
            cluster_name: self.cluster_name.clone(),
            heartbeat_interval: ms(self.heartbeat_interval),
            election_timeout_min: ms(self.election_timeout_min),
            election_timeout_max: ms(self.election_timeout_max),
            // Must cover sending, verifying and installing a snapshot's last part.
            install_snapshot_timeout: 10_000,
            // Checkpoints and purges are the checkpointer's business: openraft neither starts nor sizes them.
            snapshot_policy: openraft::SnapshotPolicy::Never,
            max_in_snapshot_log_to_keep: u64::MAX,
            api_channel_size: Some(4096),
            quorum_loss_probe_interval: Some(ms(self.election_timeout_max) * 2),
            enable_pre_vote: Some(true),
            // A restarted leader must not resume its term: what was in memory for that term is gone.
            enable_leader_restore: Some(false),
            // A follower that restarts is back within half a second of listening again.
            backoff: "50ms 100ms 200ms ...500ms".to_owned(),
            ..openraft::Config::default()
        };
        config.validate().map(Arc::new).map_err(|error| ConfigError::Timings(error.to_string()))
    }
}
