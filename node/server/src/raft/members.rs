//! Who belongs to the cluster: adding and removing members, one step at a time.
//!
//! ```text
//!   add:     unknown ──Learn──► learner, catching up ──Promote──► voter          asked again until it votes
//!   remove:  leader ──HandOver──► voter ──Drop──► gone        learner ──Drop──► gone
//! ```
//! Each step is decided from what the leader sees now, by a function from values to a value, so that asking again after a
//! lost answer, or asking the next leader, goes on where the last call ended.
//!
//! - MEMBER-1 no step is taken after which fewer than a quorum of the voters would answer.
//! - MEMBER-2 a node becomes a voter only when it answers and has what the leader has.
//! - MEMBER-3 an id names one disk: a node that comes back without its data is not added under its old id.
//! - MEMBER-4 a node whose build does not understand the feature level in force is not added.
//! - MEMBER-5 one change at a time; one that a former leader left half done is finished before the next.

use std::collections::BTreeSet;
use std::time::Duration;

use belfry_proto::internal as pb;
use futures_util::future::join_all;
use openraft::ChangeMembers;
use openraft::async_runtime::WatchReceiver as _;
use openraft::errors::{ChangeMembershipError, ClientWriteError, RaftError};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};

use super::leadership::Leadership;
use super::replica::{IDENTIFY_TIMEOUT, Inner, ProposeError, Replica, TransferError};
use super::silence;
use super::status::{MemberStatus, RaftStatus};
use super::types::TypeConfig;
use super::{Member, NodeId};
use crate::store::LOST_DATA_ADVICE;

/// Nobody needs more: five voters survive two losses, and every member costs the leader a stream.
const MEMBERS_MAX: usize = 16;
/// Entries that a node may lack when it becomes a voter: on a busy cluster some are always on their way. An entry of many edits may have
/// a quarter of a megabyte: 32 MiB in all.
const LAG_MAX: u64 = 128;
/// How long one call waits for a learner to catch up before it answers with how far that is.
const CATCH_UP_WAIT: Duration = Duration::from_secs(1);

type Change = ChangeMembers<u64, Member>;

/// What the leader knows of a member, and what the member says of itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct MemberReport {
    /// As the leader sees it.
    pub status: MemberStatus,
    /// Whether it is the leader.
    pub leads: bool,
    /// Entries of the leader's log that are not known to be on it.
    pub lag: Option<u64>,
    /// The newest level that its build understands, if it answers.
    pub feature_level: Option<u32>,
}

/// A node to be added.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Candidate {
    /// host:port of its node-to-node service.
    pub peer_address: String,
    /// What its id must be, if the caller cares.
    pub id: Option<NodeId>,
}

/// Whether to do it, or only to say what would be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Intent {
    /// Do it.
    Act,
    /// Say it.
    Validate,
}

/// What became of a step.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Step {
    /// The node.
    pub node: NodeId,
    /// The membership was changed, or would be.
    pub changed: bool,
    /// It votes, or would.
    pub voter: bool,
    /// How it is known, or would be.
    pub member: Member,
}

/// Why the members stay as they are.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum MembershipError {
    /// Nobody answers there.
    #[error("no node answers at {address}: start it with `belfry node`, and check the address ({cause})")]
    Unreachable {
        /// Where.
        address: String,
        /// What happened.
        cause: String,
    },
    /// Another node answers there.
    #[error(
        "{address} is node {is}, not node {expected}: check the address and node.id of its configuration"
    )]
    OtherNode {
        /// Where.
        address: String,
        /// Who it is.
        is: NodeId,
        /// Who was meant.
        expected: NodeId,
    },
    /// It belongs to another cluster.
    #[error(
        "node {node} belongs to cluster {theirs}, this one is {ours}: a node is added with an empty data folder, \
         cluster.members that name this cluster's nodes and itself, and cluster.bootstrap = false"
    )]
    OtherCluster {
        /// Which node.
        node: NodeId,
        /// Its cluster.
        theirs: String,
        /// Ours.
        ours: String,
    },
    /// Its id is that of a member with another disk (MEMBER-3).
    #[error(
        "node {node} is a member already, with another data folder (incarnation {known}, not {said}); {LOST_DATA_ADVICE}"
    )]
    IdTaken {
        /// Which id.
        node: NodeId,
        /// The life that is a member.
        known: String,
        /// The one that asks.
        said: String,
    },
    /// Its address is that of a member.
    #[error("{address} is the address of node {by}: give each node its own, or remove node {by} first")]
    AddressTaken {
        /// Which.
        address: String,
        /// Whose.
        by: NodeId,
    },
    /// MEMBER-4.
    #[error(
        "node {node} understands feature level {level}, and the cluster is at {needed}: start it with the release of \
         the other nodes"
    )]
    TooOld {
        /// Which node.
        node: NodeId,
        /// What it understands.
        level: u32,
        /// What is in force.
        needed: u32,
    },
    /// There are as many as may be.
    #[error("the cluster has {MEMBERS_MAX} members already: remove one first")]
    TooMany,
    /// MEMBER-1.
    #[error(
        "of the {voters} voters that there would be only {answering} answer, and {needed} are needed to go on: start \
         the others, or remove first those that are gone for good"
    )]
    QuorumAtRisk {
        /// Voters after the step.
        voters: usize,
        /// Of those, how many answer now.
        answering: usize,
        /// A majority.
        needed: usize,
    },
    /// Nobody would be left.
    #[error("node {node} is the only voter: to end the cluster, stop it")]
    LastVoter {
        /// Which.
        node: NodeId,
    },
    /// Another change is under way (MEMBER-5).
    #[error("another change of the members is under way: try again")]
    Busy,
    /// This node cannot decide it, or nobody knows.
    #[error(transparent)]
    Propose(#[from] ProposeError),
    /// The leader is to be removed and cannot hand over.
    #[error("the leader is to be removed, and {0}")]
    Transfer(TransferError),
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Add {
    Already,
    Learn(Member),
    CatchUp,
    Promote,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Remove {
    Already,
    HandOver,
    DropVoter,
    DropLearner,
}

/// What the leader sees when it decides.
struct View<'a> {
    status: &'a RaftStatus,
    /// The longest silence of a member that counts.
    silence: Duration,
}

impl View<'_> {
    fn member(&self, id: NodeId) -> Option<&MemberStatus> {
        self.status.members.iter().find(|member| member.id == id)
    }

    fn answers(&self, member: &MemberStatus) -> bool {
        member.id == self.status.node_id || member.silent_for.is_some_and(|silent| silent <= self.silence)
    }

    /// MEMBER-1.
    fn keeps_quorum(&self, voters: &BTreeSet<NodeId>) -> Result<(), MembershipError> {
        let members = self.status.members.iter().filter(|member| voters.contains(&member.id));
        let answering = members.filter(|member| self.answers(member)).count();
        let needed = voters.len() / 2 + 1;
        if answering >= needed {
            return Ok(());
        }
        Err(MembershipError::QuorumAtRisk { voters: voters.len(), answering, needed })
    }

    fn voters(&self) -> BTreeSet<NodeId> {
        self.status.members.iter().filter(|member| member.voter).map(|member| member.id).collect()
    }

    fn lag(&self, member: &MemberStatus) -> Option<u64> {
        member.matched_index.map(|matched| self.status.last_log_index.saturating_sub(matched))
    }

    /// The next step towards having this node as a voter.
    fn to_add(
        &self,
        candidate: &Candidate,
        said: &pb::IdentifyResponse,
        level: u32,
    ) -> Result<Add, MembershipError> {
        let node = NodeId(said.node_id);
        if let Some(expected) = candidate.id.filter(|expected| *expected != node) {
            let address = candidate.peer_address.clone();
            return Err(MembershipError::OtherNode { address, is: node, expected });
        }
        let ours = self.status.cluster_id.as_deref().unwrap_or_default();
        if !said.cluster_id.is_empty() && said.cluster_id != ours {
            let (theirs, ours) = (said.cluster_id.clone(), ours.to_owned());
            return Err(MembershipError::OtherCluster { node, theirs, ours });
        }
        if said.feature_level < level {
            return Err(MembershipError::TooOld { node, level: said.feature_level, needed: level });
        }
        let Some(known) = self.member(node) else { return self.to_learn(candidate, said) };
        if known.member.incarnation != said.incarnation {
            let (known, said) = (known.member.incarnation.clone(), said.incarnation.clone());
            return Err(MembershipError::IdTaken { node, known, said });
        }
        if known.voter {
            return Ok(Add::Already);
        }
        // MEMBER-2.
        let caught_up = self.lag(known).is_some_and(|lag| lag <= LAG_MAX) && self.answers(known);
        if !caught_up {
            return Ok(Add::CatchUp);
        }
        let mut voters = self.voters();
        voters.insert(node);
        self.keeps_quorum(&voters).map(|()| Add::Promote)
    }

    fn to_learn(&self, candidate: &Candidate, said: &pb::IdentifyResponse) -> Result<Add, MembershipError> {
        if self.status.members.len() >= MEMBERS_MAX {
            return Err(MembershipError::TooMany);
        }
        // What the caller reached it by is what this node can reach it by. Its own word is for the API, which nobody dialled.
        let member = Member {
            api_address: said.api_address.clone(),
            peer_address: candidate.peer_address.clone(),
            incarnation: said.incarnation.clone(),
        };
        let takes = |known: &&MemberStatus| {
            let addresses = [&known.member.api_address, &known.member.peer_address];
            addresses.contains(&&member.api_address) || addresses.contains(&&member.peer_address)
        };
        if let Some(taken) = self.status.members.iter().find(takes) {
            let address = [&member.peer_address, &member.api_address].into_iter();
            let mut address =
                address.filter(|it| **it == taken.member.peer_address || **it == taken.member.api_address);
            let address = address.next().cloned().unwrap_or_default();
            return Err(MembershipError::AddressTaken { address, by: taken.id });
        }
        Ok(Add::Learn(member))
    }

    /// The next step towards being without this node.
    fn to_remove(&self, node: NodeId) -> Result<Remove, MembershipError> {
        let Some(member) = self.member(node) else { return Ok(Remove::Already) };
        if !member.voter {
            return Ok(Remove::DropLearner);
        }
        let mut voters = self.voters();
        voters.remove(&node);
        if voters.is_empty() {
            return Err(MembershipError::LastVoter { node });
        }
        self.keeps_quorum(&voters)?;
        Ok(if node == self.status.node_id { Remove::HandOver } else { Remove::DropVoter })
    }
}

impl Replica {
    /// The members, as the leader sees them, each with what it says of itself.
    pub async fn members(&self) -> Vec<MemberReport> {
        let (status, inner) = (self.status(), &self.inner);
        let asked = status.members.iter().map(|member| async {
            if member.id == status.node_id {
                return Some(belfry_core::FEATURE_LEVEL);
            }
            let answer = inner.network.identify(&member.member.peer_address, IDENTIFY_TIMEOUT).await.ok()?;
            (answer.node_id == member.id.0).then_some(answer.feature_level)
        });
        let levels = join_all(asked).await;
        let view = View { status: &status, silence: silence::bound(&inner.config) };
        let report = |(member, feature_level): (&MemberStatus, Option<u32>)| MemberReport {
            leads: status.leader == Some(member.id),
            lag: view.lag(member),
            feature_level,
            status: member.clone(),
        };
        status.members.iter().zip(levels).map(report).collect()
    }

    /// Takes the next step towards having a node as a voter.
    pub async fn add_member(&self, candidate: &Candidate, intent: Intent) -> Result<Step, MembershipError> {
        self.must_lead()?;
        let said = match self.inner.network.identify(&candidate.peer_address, IDENTIFY_TIMEOUT).await {
            Ok(said) => said,
            Err(status) => return self.is_voter_already(candidate, status.message()),
        };
        let node = NodeId(said.node_id);
        let give_up = Instant::now() + CATCH_UP_WAIT;
        let mut changed = false;
        loop {
            let status = self.status();
            let view = View { status: &status, silence: silence::bound(&self.inner.config) };
            let level = self.read(belfry_core::State::feature_level);
            let add = view.to_add(candidate, &said, level)?;
            let known = view.member(node).map(|known| known.member.clone()).unwrap_or_default();
            match (add, intent) {
                (Add::Already, _) => return Ok(Step { node, changed, voter: true, member: known }),
                (Add::Learn(member), Intent::Validate) => {
                    return Ok(Step { node, changed: true, voter: false, member });
                }
                (Add::CatchUp | Add::Promote, Intent::Validate) => {
                    return Ok(Step { node, changed: true, voter: true, member: known });
                }
                (Add::Learn(member), Intent::Act) => {
                    self.change(Change::AddNodes([(node.0, member)].into()), true).await?;
                    changed = true;
                }
                (Add::Promote, Intent::Act) => {
                    self.change(Change::AddVoterIds([node.0].into()), true).await?;
                    changed = true;
                }
                (Add::CatchUp, Intent::Act) if Instant::now() >= give_up => {
                    return Ok(Step { node, changed, voter: false, member: known });
                }
                // openraft's own wait for a learner may end before it has caught up: look at what it has.
                (Add::CatchUp, Intent::Act) => sleep(self.inner.config.heartbeat_interval).await,
            }
            self.must_lead()?;
        }
    }

    /// Asked again for a node that votes and is away just now: it is as it was asked for.
    fn is_voter_already(&self, candidate: &Candidate, cause: &str) -> Result<Step, MembershipError> {
        let members = self.status().members;
        let is_it = |known: &&MemberStatus| {
            let by_id = candidate.id.is_none_or(|id| id == known.id);
            known.voter && by_id && known.member.peer_address == candidate.peer_address
        };
        match members.iter().find(is_it) {
            Some(known) => {
                Ok(Step { node: known.id, changed: false, voter: true, member: known.member.clone() })
            }
            None => Err(MembershipError::Unreachable {
                address: candidate.peer_address.clone(),
                cause: cause.to_owned(),
            }),
        }
    }

    /// Removes a member. One that leads hands over, and the error names the next leader: nothing was removed yet.
    pub async fn remove_member(&self, node: NodeId, intent: Intent) -> Result<bool, MembershipError> {
        self.must_lead()?;
        let silence = silence::bound(&self.inner.config);
        let give_up = Instant::now() + silence;
        let step = loop {
            match (View { status: &self.status(), silence }).to_remove(node) {
                // A leader that was just elected has not heard of everybody yet.
                Err(MembershipError::QuorumAtRisk { .. }) if Instant::now() < give_up => {
                    sleep(self.inner.config.heartbeat_interval).await;
                    self.must_lead()?;
                }
                decided => break decided?,
            }
        };
        match (step, intent) {
            (Remove::Already, _) => Ok(false),
            (_, Intent::Validate) => Ok(true),
            (Remove::HandOver, Intent::Act) => {
                let leader = self.transfer_leadership(None).await.map_err(MembershipError::Transfer)?;
                let known = self.status().members.into_iter().find(|member| member.id == leader);
                let leader = known.map(|known| (known.id, known.member));
                Err(ProposeError::NotLeader { leader }.into())
            }
            (Remove::DropVoter, Intent::Act) => {
                self.change(Change::RemoveVoters([node.0].into()), false).await.map(|()| true)
            }
            (Remove::DropLearner, Intent::Act) => {
                self.change(Change::RemoveNodes([node.0].into()), true).await.map(|()| true)
            }
        }
    }

    /// Finishes a change that a former leader left half done, if nobody is at it (MEMBER-5).
    pub async fn finish_membership_change(&self) -> Result<(), MembershipError> {
        if self.inner.is_changing_members() {
            self.change(Change::AddVoterIds([].into()), false).await
        } else {
            Ok(())
        }
    }

    fn must_lead(&self) -> Result<(), MembershipError> {
        match &*self.inner.leadership.borrow() {
            Leadership::Leader { .. } => Ok(()),
            Leadership::Follower { leader } => Err(ProposeError::NotLeader { leader: leader.clone() }.into()),
        }
    }

    /// Carries out a change in a task of its own: a caller that goes away must not leave it half done.
    async fn change(&self, change: Change, retain: bool) -> Result<(), MembershipError> {
        let guard = self.inner.changing.clone().try_lock_owned().map_err(|_| MembershipError::Busy)?;
        let (inner, (answer, answered)) = (self.inner.clone(), oneshot::channel());
        self.inner.running.lock().await.spawn(async move {
            let result = inner.change_members(change, retain).await;
            drop(guard);
            // A caller that gave up does not listen.
            answer.send(result).ok();
        });
        let patience = self.inner.config.propose_timeout;
        let answered = tokio::time::timeout(patience, answered).await;
        answered.map_err(|_| ProposeError::OutcomeUnknown)?.map_err(|_| ProposeError::Stopped)?
    }
}

impl Inner {
    /// A former leader ended between the two entries of a change.
    pub(super) fn is_changing_members(&self) -> bool {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        metrics.membership_config.membership().get_joint_config().len() > 1
    }

    async fn change_members(&self, change: Change, retain: bool) -> Result<(), MembershipError> {
        tracing::info!(%change, "changing the members of the cluster");
        if self.is_changing_members() {
            // MEMBER-5: the same target as before, and no voter that it left out stays as a learner.
            let unchanged = Change::AddVoterIds([].into());
            self.raft.change_membership(unchanged, false).await.map_err(|error| self.change_error(&error))?;
        }
        self.raft.change_membership(change, retain).await.map_err(|error| self.change_error(&error))?;
        Ok(())
    }

    fn change_error(&self, error: &RaftError<TypeConfig, ClientWriteError<TypeConfig>>) -> MembershipError {
        tracing::warn!(%error, "the members were not changed");
        match error {
            RaftError::APIError(ClientWriteError::ForwardToLeader(forward)) => {
                self.not_leader(forward).into()
            }
            RaftError::APIError(ClientWriteError::ChangeMembershipError(error)) => match error {
                ChangeMembershipError::InProgress(_)
                | ChangeMembershipError::UncommittedLeaderLog(_)
                // Somebody else changed the members since this step was decided.
                | ChangeMembershipError::LearnerNotFound(_)
                | ChangeMembershipError::UnsupportedMembershipTransition(_)
                | ChangeMembershipError::NodeMetadataChanged(_)
                | ChangeMembershipError::EmptyMembership(_) => MembershipError::Busy,
            },
            RaftError::APIError(ClientWriteError::PreconditionFailed(_)) => MembershipError::Busy,
            RaftError::APIError(ClientWriteError::LogEntryDiscarded(_)) | RaftError::Fatal(_) => {
                ProposeError::OutcomeUnknown.into()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::latency::LatencyHistogram;
    use super::super::status::Role;
    use super::*;

    const SILENCE: Duration = Duration::from_secs(2);

    fn named(id: u64) -> Member {
        Member {
            api_address: format!("api-{id}"),
            peer_address: format!("peer-{id}"),
            incarnation: format!("life-{id}"),
        }
    }

    /// Node 1 leads; `answering` do, the rest is silent.
    fn status(voters: &[u64], learners: &[u64], answering: &[u64]) -> RaftStatus {
        let member = |id: &u64, voter: bool| MemberStatus {
            id: NodeId(*id),
            member: named(*id),
            voter,
            matched_index: Some(1000),
            silent_for: (*id != 1).then_some(if answering.contains(id) {
                Duration::ZERO
            } else {
                SILENCE * 2
            }),
        };
        let voters = voters.iter().map(|id| member(id, true));
        RaftStatus {
            node_id: NodeId(1),
            cluster_id: Some("c".into()),
            role: Role::Leader,
            term: 1,
            leader: Some(NodeId(1)),
            last_log_index: 1000,
            committed_index: 1000,
            applied_index: 1000,
            checkpoint_index: 0,
            purged_index: 0,
            log_retained_bytes: 0,
            log_appended_bytes: 0,
            members: voters.chain(learners.iter().map(|id| member(id, false))).collect(),
            log_sync_latency: Arc::<LatencyHistogram>::default(),
        }
    }

    fn said(id: u64) -> pb::IdentifyResponse {
        pb::IdentifyResponse {
            node_id: id,
            incarnation: format!("life-{id}"),
            feature_level: 2,
            api_address: format!("api-{id}"),
            peer_address: format!("peer-{id}"),
            ..Default::default()
        }
    }

    fn add(status: &RaftStatus, said: &pb::IdentifyResponse) -> Result<Add, MembershipError> {
        let candidate = Candidate { peer_address: format!("peer-{}", said.node_id), id: None };
        View { status, silence: SILENCE }.to_add(&candidate, said, 2)
    }

    fn remove(status: &RaftStatus, node: u64) -> Result<Remove, MembershipError> {
        View { status, silence: SILENCE }.to_remove(NodeId(node))
    }

    #[test]
    fn a_node_learns_catches_up_votes_and_is_there_already() {
        let three = status(&[1, 2, 3], &[], &[2, 3]);
        assert_eq!(add(&three, &said(4)), Ok(Add::Learn(named(4))));
        let mut behind = status(&[1, 2, 3], &[4], &[2, 3, 4]);
        behind.last_log_index = 1000 + LAG_MAX + 1;
        assert_eq!(add(&behind, &said(4)), Ok(Add::CatchUp));
        assert_eq!(add(&status(&[1, 2, 3], &[4], &[2, 3]), &said(4)), Ok(Add::CatchUp), "MEMBER-2");
        assert_eq!(add(&status(&[1, 2, 3], &[4], &[2, 3, 4]), &said(4)), Ok(Add::Promote));
        assert_eq!(add(&status(&[1, 2, 3, 4], &[], &[2, 3, 4]), &said(4)), Ok(Add::Already));
    }

    #[test]
    fn a_node_that_must_not_be_added_is_told_why() {
        let three = status(&[1, 2, 3], &[], &[2, 3]);
        let reborn = pb::IdentifyResponse { incarnation: "life-9".into(), ..said(3) };
        assert!(matches!(add(&three, &reborn), Err(MembershipError::IdTaken { .. })), "MEMBER-3");
        let old = pb::IdentifyResponse { feature_level: 1, ..said(4) };
        let too_old = MembershipError::TooOld { node: NodeId(4), level: 1, needed: 2 };
        assert_eq!(add(&three, &old), Err(too_old), "MEMBER-4");
        let other = pb::IdentifyResponse { cluster_id: "d".into(), ..said(4) };
        assert!(matches!(add(&three, &other), Err(MembershipError::OtherCluster { .. })));
        let api = pb::IdentifyResponse { api_address: "api-2".into(), ..said(4) };
        let taken = MembershipError::AddressTaken { address: "api-2".into(), by: NodeId(2) };
        assert_eq!(add(&three, &api), Err(taken));
        let candidate = Candidate { peer_address: "peer-4".into(), id: Some(NodeId(5)) };
        let wrong = View { status: &three, silence: SILENCE }.to_add(&candidate, &said(4), 2);
        assert!(matches!(wrong, Err(MembershipError::OtherNode { .. })));
        let voters: Vec<u64> = (1..=MEMBERS_MAX as u64).collect();
        assert_eq!(add(&status(&voters, &[], &voters), &said(99)), Err(MembershipError::TooMany));
    }

    #[test]
    fn member_1_no_step_loses_the_quorum() {
        let at_risk = |voters, answering, needed| MembershipError::QuorumAtRisk { voters, answering, needed };
        // Of three one is away: it may go, the other may not.
        let three = status(&[1, 2, 3], &[], &[2]);
        assert_eq!(remove(&three, 3), Ok(Remove::DropVoter));
        assert_eq!(remove(&three, 2), Err(at_risk(2, 1, 2)));
        assert_eq!(remove(&three, 1), Err(at_risk(2, 1, 2)), "nobody could lead");
        // Of five two are away: four voters would need three, and only three answer.
        let five = status(&[1, 2, 3, 4, 5], &[], &[2, 3]);
        assert_eq!(remove(&five, 2), Err(at_risk(4, 2, 3)));
        assert_eq!(remove(&five, 5), Ok(Remove::DropVoter));
        // A fourth voter beside one that answers and two that do not.
        assert_eq!(add(&status(&[1, 2, 3], &[4], &[4]), &said(4)), Err(at_risk(4, 2, 3)));
    }

    #[test]
    fn removing_is_decided_by_what_the_node_is() {
        let status = status(&[1, 2, 3], &[4], &[2, 3]);
        assert_eq!(remove(&status, 9), Ok(Remove::Already));
        assert_eq!(remove(&status, 4), Ok(Remove::DropLearner));
        assert_eq!(remove(&status, 1), Ok(Remove::HandOver));
        let alone = super::tests::status(&[1], &[4], &[]);
        assert_eq!(remove(&alone, 1), Err(MembershipError::LastVoter { node: NodeId(1) }));
    }
}
