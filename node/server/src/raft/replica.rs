//! The handle that the rest of the server builds on: propose, read, watch leadership.

use std::sync::Arc;
use std::time::Duration;

use belfry_core::{Applied, Command, LogPosition, ScheduleKey, State, UnixMillis};
use bytes::Bytes;
use futures_util::future::join_all;
use openraft::async_runtime::WatchReceiver as _;
use openraft::errors::{ClientWriteError, ForwardToLeader, LinearizableReadError, RaftError};
use openraft::{ReadPolicy, metrics::WaitError};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::changes::ChangeLog;
use super::checkpoint::Checkpoints;
use super::config::RaftConfig;
use super::effects::Effects;
use super::fault::{Fault, Faults};
use super::identity::Identity;
use super::leadership::{Leadership, best_successor};
use super::log::RaftLog;
use super::machine::Shared;
use super::network::Network;
use super::proposer::{WAITING_MAX, Waiting};
use super::status::{self, RaftStatus};
use super::types::{LogId, Proposal, Raft, TypeConfig};
use super::{Member, NodeId};
use crate::clock::Reading;
use crate::codec;

/// How long a member may take to say which release it runs.
pub(super) const IDENTIFY_TIMEOUT: Duration = Duration::from_secs(1);
/// Tries of one handover.
const TRANSFER_TRIES: u32 = 3;
/// Read barriers that may wait; beyond it callers queue.
pub(super) const BARRIERS_WAITING_MAX: usize = 1024;

/// This node's replica of the state. Clones are the same one.
#[derive(Clone)]
pub struct Replica {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) raft: Raft,
    pub(super) config: Arc<RaftConfig>,
    pub(super) identity: Arc<Identity>,
    pub(super) shared: Arc<Shared>,
    pub(super) checkpoints: Arc<Checkpoints>,
    pub(super) log: RaftLog,
    pub(super) network: Network,
    pub(super) leadership: watch::Receiver<Leadership>,
    pub(super) faults: Faults,
    pub(super) proposals: mpsc::Sender<Waiting>,
    pub(super) barriers: mpsc::Sender<oneshot::Sender<Result<(), ProposeError>>>,
    pub(super) stopping: CancellationToken,
    pub(super) running: tokio::sync::Mutex<JoinSet<()>>,
    /// Held while the members are being changed from here.
    pub(super) changing: Arc<tokio::sync::Mutex<()>>,
    /// A snapshot that is being saved keeps a whole copy of the state on the disk: one at a time.
    pub(super) saving: Arc<tokio::sync::Semaphore>,
}

/// Why a proposal or a read barrier has no result.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum ProposeError {
    /// Another node leads. Nothing was proposed.
    #[error("this node does not lead; {}", leader_text(.leader.as_ref()))]
    NotLeader {
        /// Who does.
        leader: Option<(NodeId, Member)>,
    },
    /// Nobody can write now: an election, or too few nodes. Nothing was proposed.
    #[error("no leader can be reached by a quorum right now; try again")]
    NoLeader,
    /// It was proposed, and nobody knows what became of it.
    #[error("it is not known whether the command was applied; ask again with the same request id")]
    OutcomeUnknown,
    /// The command does not fit into a log entry. Nothing was proposed.
    #[error("the command has {bytes} bytes, at most {max} fit; send less at once")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// This node is going down. Nothing was proposed.
    #[error("this node is stopping; ask another one")]
    Stopped,
}

impl ProposeError {
    /// Whether the same call may be made again, here or elsewhere, without doing anything twice.
    pub fn is_retryable(&self) -> bool {
        match self {
            // Nothing was proposed, and another node or another moment will take it.
            ProposeError::NotLeader { .. } | ProposeError::NoLeader | ProposeError::Stopped => true,
            // It may be applied already: only a request id makes this safe, and only the caller knows if it has one.
            ProposeError::OutcomeUnknown => false,
            // It stays too large.
            ProposeError::TooLarge { .. } => false,
        }
    }
}

fn leader_text(leader: Option<&(NodeId, Member)>) -> String {
    leader.map_or_else(
        || "the leader is not known".to_owned(),
        |(id, member)| format!("node {id} at {} does", member.api_address),
    )
}

/// A command, encoded.
#[derive(Debug)]
pub struct Prepared {
    command: Bytes,
    edited: Option<ScheduleKey>,
}

/// Commands that may be proposed together.
pub const TOGETHER_MAX: usize = WAITING_MAX;

fn position(id: LogId) -> LogPosition {
    LogPosition { term: id.leader_id.term, index: id.index }
}

/// Why leadership was not handed over.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TransferError {
    /// There is nothing to hand over.
    #[error("this node does not lead; {}", leader_text(.leader.as_ref()))]
    NotLeader {
        /// Who does.
        leader: Option<(NodeId, Member)>,
    },
    /// No other voter has answered lately.
    #[error("no other voter answers, so there is nobody to hand leadership to")]
    NoSuccessor,
    /// The one that was asked for has no vote.
    #[error("node {to} is not another voter of this cluster")]
    NotAVoter {
        /// Who was asked for.
        to: NodeId,
    },
    /// Nobody took it in time; this node may still lead.
    #[error("node {to} did not take leadership over in time; look who leads and try again")]
    TimedOut {
        /// Who was tried last.
        to: NodeId,
    },
    /// This node is going down.
    #[error("this node is stopping")]
    Stopped,
}

impl std::fmt::Debug for Replica {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Replica").field("node", &self.inner.config.node_id).finish_non_exhaustive()
    }
}

impl Replica {
    /// Proposes a command and waits until it is committed and applied here. A rejection is part of the result.
    pub async fn propose(&self, command: &Command) -> Result<(LogPosition, Applied), ProposeError> {
        let proposal = Proposal::new(self.encode(command)?);
        let write = self.inner.raft.client_write(proposal);
        let written = tokio::time::timeout(self.inner.config.propose_timeout, write).await;
        match written.map_err(|_elapsed| ProposeError::OutcomeUnknown)? {
            Ok(response) => {
                let applied = response.data.into_iter().next();
                Ok((
                    position(response.log_id),
                    applied.expect("a command is answered with what became of it"),
                ))
            }
            Err(RaftError::APIError(error)) => Err(self.not_written(error)),
            // When the core ended, it may have ended after sending it.
            Err(RaftError::Fatal(_)) => Err(ProposeError::OutcomeUnknown),
        }
    }

    /// A command ready to be proposed together with others.
    pub fn prepare(&self, command: &Command) -> Result<Prepared, ProposeError> {
        let edited = command.action.edited().cloned();
        Ok(Prepared { command: self.encode(command)?, edited })
    }

    /// As [`Replica::propose`], in one write with what others propose this way at the same time: each costs less, and may wait for
    /// the group before it to be taken. What became of each command comes in their order. There may be as many as may wait for
    /// consensus, [`TOGETHER_MAX`].
    pub async fn propose_together(
        &self,
        commands: Vec<Prepared>,
    ) -> Vec<Result<(LogPosition, Applied), ProposeError>> {
        // PROPOSE-1
        let mut results = vec![Err(ProposeError::OutcomeUnknown); commands.len()];
        let (answer, mut answers) = mpsc::unbounded_channel();
        let write = async {
            let Ok(places) = self.inner.proposals.reserve_many(commands.len()).await else {
                results.fill(Err(ProposeError::Stopped));
                return;
            };
            for (number, (place, Prepared { command, edited })) in places.zip(commands).enumerate() {
                place.send(Waiting { command, edited, number, answer: answer.clone() });
            }
            drop(answer);
            while let Some((number, written)) = answers.recv().await {
                results[number] = match written {
                    Ok((id, applied)) => Ok((position(id), applied)),
                    Err(error) => Err(self.not_written(error)),
                };
            }
        };
        // What is known by then is told, whatever became of the others.
        let _ = tokio::time::timeout(self.inner.config.propose_timeout, write).await;
        results
    }

    fn encode(&self, command: &Command) -> Result<Bytes, ProposeError> {
        let encoded = codec::encode_command(command);
        let (bytes, max) = (encoded.len(), self.inner.config.command_bytes_max);
        if bytes > max {
            return Err(ProposeError::TooLarge { bytes, max });
        }
        if self.inner.has_stopped() {
            return Err(ProposeError::Stopped);
        }
        Ok(encoded)
    }

    fn not_written(&self, error: ClientWriteError<TypeConfig>) -> ProposeError {
        match error {
            ClientWriteError::ForwardToLeader(forward) => self.inner.not_leader(&forward),
            // The entry may have been committed by the next leader before this one dropped it.
            ClientWriteError::LogEntryDiscarded(_) => ProposeError::OutcomeUnknown,
            error
            @ (ClientWriteError::ChangeMembershipError(_) | ClientWriteError::PreconditionFailed(_)) => {
                unreachable!("a command neither changes members nor has a precondition: {error}")
            }
        }
    }

    /// Waits until everything acknowledged before this call is applied here, and this node is known to lead:
    /// [`Replica::read`] is linearizable afterwards.
    pub async fn read_barrier(&self) -> Result<(), ProposeError> {
        let (answer, answered) = oneshot::channel();
        self.inner.barriers.send(answer).await.map_err(|_| ProposeError::Stopped)?;
        answered.await.unwrap_or(Err(ProposeError::Stopped))
    }

    /// Reads what is applied here. Keep it short: entries wait for it.
    pub fn read<R>(&self, read: impl FnOnce(&State) -> R) -> R {
        self.inner.shared.read(read)
    }

    /// Reads what is applied here, with the position it is at: for comparing digests.
    pub fn read_at<R>(&self, read: impl FnOnce(LogPosition, &State) -> R) -> R {
        self.inner.shared.read_at(read)
    }

    /// Whether this node leads, now and later.
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.inner.leadership.clone()
    }

    /// How far this node has applied the log, now and later.
    pub fn applied(&self) -> watch::Receiver<LogPosition> {
        self.inner.shared.watch_applied()
    }

    /// What the state machine wants done, as the log is applied.
    pub fn effects(&self) -> Arc<Effects> {
        self.inner.shared.effects()
    }

    /// What was changed lately, on this node.
    pub fn changes(&self) -> Arc<ChangeLog> {
        self.inner.shared.changes()
    }

    /// This node.
    pub fn node_id(&self) -> NodeId {
        self.inner.config.node_id
    }

    /// The cluster, once this node belongs to one.
    pub fn cluster_id(&self) -> Option<String> {
        self.inner.identity.cluster()
    }

    /// This replica now.
    pub fn status(&self) -> RaftStatus {
        let inner = &self.inner;
        let read = status::read(&inner.raft, &inner.config, inner.log.sync_latency().clone());
        RaftStatus {
            cluster_id: inner.identity.cluster(),
            log_retained_bytes: inner.log.port().state().retained_bytes,
            log_appended_bytes: inner.log.appended_bytes(),
            // openraft's own numbers follow a moment later.
            applied_index: inner.shared.applied().map_or(0, |id| id.index),
            checkpoint_index: inner.checkpoints.index(),
            leader: inner.known_leader(),
            ..read
        }
    }

    /// Who would lead after [`Replica::transfer_leadership`].
    pub fn successor(&self, to: Option<NodeId>) -> Result<NodeId, TransferError> {
        let inner = &self.inner;
        inner.may_transfer(to)?;
        let best = || best_successor(&inner.raft, inner.config.election_timeout_max);
        to.or_else(best).ok_or(TransferError::NoSuccessor)
    }

    /// Hands leadership to `to`, or to the most caught-up voter that answered just now, and waits until the new leader
    /// is seen.
    pub async fn transfer_leadership(&self, to: Option<NodeId>) -> Result<NodeId, TransferError> {
        let inner = &self.inner;
        inner.may_transfer(to)?;
        if to == Some(inner.config.node_id) {
            // It leads already: asking again after an answer got lost is no mistake.
            return Ok(inner.config.node_id);
        }
        let mut last = None;
        for _ in 0..TRANSFER_TRIES {
            let Some(target) = to.or_else(|| best_successor(&inner.raft, inner.config.election_timeout_max))
            else {
                continue;
            };
            last = Some(target);
            inner.raft.trigger().transfer_leader(target.0).await.map_err(|_| TransferError::Stopped)?;
            let me = inner.config.node_id.0;
            let wait = inner.raft.wait(Some(inner.config.transfer_timeout / TRANSFER_TRIES));
            let seen = move |metrics: &openraft::RaftMetrics<_>| {
                metrics.current_leader.is_some_and(|leader| leader != me)
            };
            match wait.metrics(seen, "leadership handed over").await {
                Ok(metrics) => return Ok(metrics.current_leader.map_or(target, NodeId)),
                Err(WaitError::ShuttingDown) => return Err(TransferError::Stopped),
                Err(WaitError::Timeout(..)) => {
                    tracing::warn!(to = target.0, "leadership was not taken over in time, trying again");
                }
            }
        }
        Err(last.map_or(TransferError::NoSuccessor, |to| TransferError::TimedOut { to }))
    }

    /// The feature level that every member of the cluster understands; none unless all of them answer.
    pub async fn common_feature_level(&self) -> Option<u32> {
        let inner = &self.inner;
        let others = inner.others();
        let asked = others.iter().map(|(_, address)| inner.network.identify(address, IDENTIFY_TIMEOUT));
        let mut common = belfry_core::FEATURE_LEVEL;
        for answer in join_all(asked).await {
            common = common.min(answer.ok()?.feature_level);
        }
        Some(common)
    }

    /// What the clocks of the other members show, as far as they answer within `timeout`. A member of a release that does
    /// not tell its time is left out.
    pub async fn read_clocks(&self, timeout: Duration) -> Vec<Reading> {
        let inner = &self.inner;
        let read = async |(node, address): (u64, String)| {
            let asked_at = Instant::now();
            let answer = inner.network.identify(&address, timeout).await.ok()?;
            let uncertainty = asked_at.elapsed() / 2;
            let wall = UnixMillis(answer.clock_unix_ms);
            (answer.clock_unix_ms != 0).then_some(Reading {
                node,
                wall,
                at: asked_at + uncertainty,
                uncertainty,
            })
        };
        join_all(inner.others().into_iter().map(read)).await.into_iter().flatten().collect()
    }

    /// Whether this node knows of other members.
    pub fn has_others(&self) -> bool {
        !self.inner.others().is_empty()
    }

    /// Waits until this node cannot go on, and says why: the daemon then exits.
    pub async fn fatal(&self) -> Fault {
        self.inner.faults.first().await
    }

    /// Stops taking part: ends the streams to peers, then makes the stores durable and closes them. Hand leadership
    /// over before. Calling it again does nothing.
    pub async fn shutdown(&self) {
        let inner = &self.inner;
        inner.stopping.cancel();
        if let Err(error) = inner.raft.shutdown().await {
            tracing::error!(%error, "consensus did not end as it should");
        }
        let mut running = inner.running.lock().await;
        while running.join_next().await.is_some() {}
        inner.faults.end();
        let log = inner.log.port().clone();
        let log_closed = inner.checkpoints.offload().run(move || {
            log.close();
            Ok(())
        });
        if let Err(error) = log_closed.await.and(inner.checkpoints.clone().close().await) {
            tracing::error!(%error, "the stores were not closed as they should");
        }
    }
}

impl Inner {
    /// The other members, with the addresses of their peer ports.
    fn others(&self) -> Vec<(u64, String)> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let members = metrics.membership_config.membership().nodes();
        members
            .filter(|(id, _)| **id != self.config.node_id.0)
            .map(|(id, member)| (*id, self.config.peer_address(*id, member).to_owned()))
            .collect()
    }

    fn has_stopped(&self) -> bool {
        self.stopping.is_cancelled() || self.raft.metrics().borrow_watched().running_state.is_err()
    }

    fn known_leader(&self) -> Option<NodeId> {
        match &*self.leadership.borrow() {
            Leadership::Leader { .. } => Some(self.config.node_id),
            Leadership::Follower { leader } => leader.as_ref().map(|(id, _)| *id),
        }
    }

    pub(super) fn not_leader(&self, forward: &ForwardToLeader<TypeConfig>) -> ProposeError {
        let me = self.config.node_id.0;
        match (forward.leader_id, &forward.leader_node) {
            (Some(id), Some(member)) if id != me => {
                let member = self.config.with_known_addresses(id, member);
                ProposeError::NotLeader { leader: Some((NodeId(id), member)) }
            }
            // It is us, without a quorum, or nobody.
            (Some(_) | None, _) => ProposeError::NoLeader,
        }
    }

    fn may_transfer(&self, to: Option<NodeId>) -> Result<(), TransferError> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        if metrics.running_state.is_err() {
            return Err(TransferError::Stopped);
        }
        if metrics.current_leader != Some(metrics.id) {
            let leader = match &*self.leadership.borrow() {
                Leadership::Follower { leader } => leader.clone(),
                Leadership::Leader { .. } => None,
            };
            return Err(TransferError::NotLeader { leader });
        }
        let mut voters = metrics.membership_config.membership().voter_ids();
        match to {
            Some(to) if !voters.any(|voter| voter == to.0) => Err(TransferError::NotAVoter { to }),
            None if voters.all(|voter| voter == metrics.id) => Err(TransferError::NoSuccessor),
            Some(_) | None => Ok(()),
        }
    }

    /// One round to a quorum answers every caller that came before it began.
    pub(super) async fn serve_barriers(
        self: Arc<Self>,
        mut asked: mpsc::Receiver<oneshot::Sender<Result<(), ProposeError>>>,
    ) {
        let mut waiting = Vec::new();
        while asked.recv_many(&mut waiting, BARRIERS_WAITING_MAX).await > 0 {
            let result = self.barrier().await;
            for answer in waiting.drain(..) {
                // A caller that gave up does not listen.
                answer.send(result.clone()).ok();
            }
        }
    }

    async fn barrier(&self) -> Result<(), ProposeError> {
        // A lease would be cheaper, but is not safe across restarts and jumps of the clock.
        let barrier = self.raft.ensure_linearizable(ReadPolicy::ReadIndex);
        match tokio::time::timeout(self.config.propose_timeout, barrier).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(RaftError::APIError(LinearizableReadError::ForwardToLeader(forward)))) => {
                Err(self.not_leader(&forward))
            }
            Ok(Err(RaftError::APIError(LinearizableReadError::QuorumNotEnough(_)))) | Err(_) => {
                Err(ProposeError::NoLeader)
            }
            Ok(Err(RaftError::Fatal(_))) => Err(ProposeError::Stopped),
        }
    }
}
