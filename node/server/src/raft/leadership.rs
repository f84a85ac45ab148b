//! Who leads, published once it is useful to know.
//!
//! - LEAD-1 `Leader` is published only after a quorum acknowledged this leader in this term and everything committed
//!   before it is applied here: whoever builds on it sees all that came before, and can write.
//! - LEAD-2 it is taken back when the term ends, when the node stops, and when no quorum has answered for so long that
//!   another leader may exist.
//! - LEAD-3 a follower names a leader only while it hears from it (SILENCE-1): what is passed on to a leader that is
//!   out of reach, and the readiness of a node that is cut off, depend on it.

use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::WatchReceiver as _;
use openraft::errors::Fatal;
use openraft::{Instant as _, ReadPolicy, ServerState};
use tokio::sync::watch;

use super::config::RaftConfig;
use super::fault::{Fault, Faults};
use super::silence::{self, Heard, SilentMembers};
use super::types::{Raft, TypeConfig};
use super::{Member, NodeId};

/// Whether this node leads.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Leadership {
    /// It does, can write, and has applied everything that was committed before its term.
    Leader {
        /// Its term.
        term: u64,
    },
    /// It does not, or not yet, or not any more.
    Follower {
        /// Who does, if known.
        leader: Option<(NodeId, Member)>,
    },
}

pub(super) struct LeadershipWatch {
    pub(super) raft: Raft,
    pub(super) config: Arc<RaftConfig>,
    pub(super) faults: Faults,
    pub(super) heard: Heard,
    pub(super) published: watch::Sender<Leadership>,
}

/// What the core says of itself.
struct Seen {
    term: u64,
    leads: bool,
    leader: Option<(NodeId, Member)>,
    /// `None`: it knows no members yet.
    member: Option<bool>,
}

impl LeadershipWatch {
    /// Publishes until the core ends, and says why it ended.
    pub(super) async fn run(self) {
        let mut changes = self.raft.server_metrics();
        let mut was_member = false;
        let mut silent = SilentMembers::default();
        loop {
            let seen = self.look();
            match seen.member {
                Some(true) => was_member = true,
                // Learners may still hear of an older membership when they join: only who was in can be out.
                Some(false) if was_member => {
                    self.faults.raise(Fault::Removed { node: self.config.node_id.0 })
                }
                Some(false) | None => {}
            }
            let leadership = self.judge(seen).await;
            let changed = self.published.send_if_modified(|published| {
                let changed = *published != leadership;
                *published = leadership.clone();
                changed
            });
            if changed {
                tracing::info!(node = self.config.node_id.0, ?leadership, "leadership");
            }
            match leadership {
                Leadership::Leader { .. } => self.say_who_is_silent(&mut silent),
                Leadership::Follower { .. } => silent.forget(),
            }
            // Time alone ends a lease, so look again even if nothing changes.
            let look_again = tokio::time::timeout(self.config.heartbeat_interval, changes.changed());
            if let Ok(Err(_core_ended)) = look_again.await {
                break;
            }
            if self.has_ended().await {
                break;
            }
        }
        self.published.send_replace(Leadership::Follower { leader: None });
        // A core that panicked leaves its last metrics as they were: it says so only when it is asked.
        let ended = match self.running_state() {
            Ok(()) => self.raft.with_raft_state(|_| ()).await,
            ended => ended,
        };
        match ended {
            Ok(()) | Err(Fatal::Stopped) => {}
            Err(Fatal::StorageError(error)) => self.faults.raise(Fault::Storage(error.to_string())),
            Err(Fatal::Panicked) => self.faults.raise(Fault::Consensus("it panicked".to_owned())),
        }
    }

    /// Whether the core can still be asked anything. A busy one answers later, which is no end.
    async fn has_ended(&self) -> bool {
        if self.running_state().is_err() {
            return true;
        }
        let asked = self.raft.with_raft_state(|_| ());
        matches!(tokio::time::timeout(self.config.heartbeat_interval, asked).await, Ok(Err(_)))
    }

    fn running_state(&self) -> Result<(), Fatal<TypeConfig>> {
        self.raft.metrics().borrow_watched().running_state.clone()
    }

    fn look(&self) -> Seen {
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow_watched();
        let membership = metrics.membership_config.membership();
        let term = metrics.vote.leader_id.term;
        let heard = |id: &u64| *id == metrics.id || self.heard.within(term, silence::bound(&self.config));
        let leader = metrics.current_leader.filter(heard).and_then(|id| {
            let member = membership.get_node(&id)?;
            Some((NodeId(id), self.config.with_known_addresses(id, member)))
        });
        let me = self.config.node_id.0;
        Seen {
            term,
            leads: metrics.state == ServerState::Leader,
            leader,
            member: membership.nodes().next().is_some().then(|| membership.get_node(&me).is_some()),
        }
    }

    async fn judge(&self, seen: Seen) -> Leadership {
        if !seen.leads {
            let leader = seen.leader.filter(|(id, _)| *id != self.config.node_id);
            return Leadership::Follower { leader };
        }
        let leading = Leadership::Leader { term: seen.term };
        let confirmed = if *self.published.borrow() == leading {
            // LEAD-2. The metrics may be behind on a busy machine: ask the quorum before giving up.
            self.quorum_answered_within(self.config.election_timeout_max) || self.barrier().await
        } else {
            // LEAD-1.
            self.barrier().await && {
                let now = self.look();
                now.leads && now.term == seen.term
            }
        };
        if confirmed { leading } else { Leadership::Follower { leader: None } }
    }

    async fn barrier(&self) -> bool {
        let barrier = self.raft.ensure_linearizable(ReadPolicy::ReadIndex);
        matches!(tokio::time::timeout(self.config.election_timeout_max, barrier).await, Ok(Ok(_)))
    }

    fn say_who_is_silent(&self, silent: &mut SilentMembers) {
        let acked = self.raft.metrics().borrow_watched().heartbeat.clone().unwrap_or_default();
        let others = acked.into_iter().filter(|(id, _)| *id != self.config.node_id.0);
        let answered = others.map(|(id, at)| (id, silent_for(at)));
        let changes = silent.update(answered, silence::bound(&self.config));
        for node in changes.fell_silent {
            tracing::warn!(
                node,
                "a member does not answer: is it running, and is its peer address reachable?"
            );
        }
        for node in changes.came_back {
            tracing::info!(node, "a member answers again");
        }
    }

    fn quorum_answered_within(&self, bound: Duration) -> bool {
        let metrics = self.raft.data_metrics();
        let acked = metrics.borrow_watched().last_quorum_acked;
        acked.is_some_and(|at| at.into_inner().elapsed() <= bound)
    }
}

/// The voter to hand leadership to: the most caught-up one among those that answered just now. Naming a dead one
/// would leave the cluster without a leader for an election timeout.
pub(super) fn best_successor(raft: &Raft, fresh: Duration) -> Option<NodeId> {
    let metrics = raft.metrics();
    let metrics = metrics.borrow_watched();
    let acked = metrics.heartbeat.as_ref()?;
    let answered =
        |id: &u64| acked.get(id).cloned().flatten().is_some_and(|at| at.into_inner().elapsed() <= fresh);
    let replication = metrics.replication.as_ref()?;
    let voters: Vec<u64> = metrics.membership_config.membership().voter_ids().collect();
    replication
        .iter()
        .filter(|(id, _)| **id != metrics.id && voters.contains(id) && answered(id))
        .max_by_key(|(_, matched)| matched.as_ref().map(|id| id.index))
        .map(|(id, _)| NodeId(*id))
}

/// How long ago a member last answered this leader.
pub(super) fn silent_for(at: Option<openraft::alias::SerdeInstantOf<TypeConfig>>) -> Option<Duration> {
    at.map(|at| at.into_inner().elapsed())
}
