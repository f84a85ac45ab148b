//! What a replica says of itself and, while it leads, of the others: for the status call, readiness and metrics.

use std::sync::Arc;
use std::time::Duration;

use openraft::ServerState;
use openraft::async_runtime::WatchReceiver as _;

use super::config::RaftConfig;
use super::latency::LatencyHistogram;
use super::leadership::silent_for;
use super::types::{LogId, Raft};
use super::{Member, NodeId};

/// The part a node plays.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Role {
    /// Replicates, without a vote.
    Learner,
    /// Replicates, with a vote.
    Follower,
    /// Stands for election.
    Candidate,
    /// Leads; whether it can write is what [`Leadership`](super::Leadership) says.
    Leader,
    /// Consensus has ended here.
    Stopped,
}

impl Role {
    /// As it is shown.
    pub fn name(self) -> &'static str {
        match self {
            Role::Learner => "learner",
            Role::Follower => "follower",
            Role::Candidate => "candidate",
            Role::Leader => "leader",
            Role::Stopped => "stopped",
        }
    }
}

/// A replica at one moment. Indexes are 0 where there is nothing yet.
#[derive(Clone, Debug)]
pub struct RaftStatus {
    /// This node.
    pub node_id: NodeId,
    /// The cluster, once it belongs to one.
    pub cluster_id: Option<String>,
    /// What it does.
    pub role: Role,
    /// Its term.
    pub term: u64,
    /// Who leads, as far as it knows.
    pub leader: Option<NodeId>,
    /// End of its log.
    pub last_log_index: u64,
    /// Known here to be committed.
    pub committed_index: u64,
    /// Applied to its state.
    pub applied_index: u64,
    /// Up to here a restart needs no log.
    pub checkpoint_index: u64,
    /// Up to here the log is gone.
    pub purged_index: u64,
    /// Bytes of the log that are retained, all of them in memory.
    pub log_retained_bytes: u64,
    /// Bytes of all entries that were appended to the log since the start of the process, without what frames them.
    pub log_appended_bytes: u64,
    /// All members, in order of id.
    pub members: Vec<MemberStatus>,
    /// How long appends took to become durable.
    pub log_sync_latency: Arc<LatencyHistogram>,
}

/// What is known of one member.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MemberStatus {
    /// Which.
    pub id: NodeId,
    /// Where it is reached.
    pub member: Member,
    /// Whether it votes.
    pub voter: bool,
    /// The end of its log as far as it equals the leader's; known to the leader only.
    pub matched_index: Option<u64>,
    /// Since it last answered; known to the leader only, and not of itself.
    pub silent_for: Option<Duration>,
}

fn index(id: Option<&LogId>) -> u64 {
    id.map_or(0, |id| id.index)
}

/// Everything openraft knows; the caller fills in the rest.
pub(super) fn read(raft: &Raft, config: &RaftConfig, log_sync_latency: Arc<LatencyHistogram>) -> RaftStatus {
    let metrics = raft.metrics();
    let metrics = metrics.borrow_watched();
    let membership = metrics.membership_config.membership();
    let voters: Vec<u64> = membership.voter_ids().collect();
    let last_log_index = metrics.last_log_index.unwrap_or(0);
    let members = membership.nodes().map(|(id, member)| {
        let own = (*id == metrics.id).then_some(last_log_index).filter(|_| metrics.replication.is_some());
        let matched = metrics.replication.as_ref().and_then(|all| all.get(id)).map(|id| index(id.as_ref()));
        let acked = metrics.heartbeat.as_ref().and_then(|all| all.get(id).cloned()).flatten();
        MemberStatus {
            id: NodeId(*id),
            member: config.with_known_addresses(*id, member),
            voter: voters.contains(id),
            matched_index: own.or(matched),
            silent_for: silent_for(acked).filter(|_| *id != metrics.id),
        }
    });
    let role = match metrics.state {
        _ if metrics.running_state.is_err() => Role::Stopped,
        ServerState::Learner => Role::Learner,
        ServerState::Follower => Role::Follower,
        ServerState::Candidate => Role::Candidate,
        ServerState::Leader => Role::Leader,
        ServerState::Shutdown => Role::Stopped,
    };
    RaftStatus {
        node_id: NodeId(metrics.id),
        cluster_id: None,
        role,
        term: metrics.current_term,
        leader: None,
        last_log_index,
        committed_index: index(metrics.local_committed.as_ref()),
        applied_index: index(metrics.last_applied.as_ref()),
        checkpoint_index: index(metrics.snapshot.as_ref()),
        purged_index: index(metrics.purged.as_ref()),
        log_retained_bytes: 0,
        log_appended_bytes: 0,
        members: members.collect(),
        log_sync_latency,
    }
}
