//! `ClusterService`.

use std::pin::Pin;
use std::time::Duration;

use belfry_core::state::{ZoneChange, ZoneMove};
use belfry_proto::v1 as pb;
use belfry_proto::v1::cluster_service_server::ClusterService;
use futures_util::{Stream, StreamExt as _, stream};
use tonic::{Request, Response, Status};

use super::Api;
use super::encode::timestamp;
use super::errors::ApiError;
use super::names;
use crate::clock::Comparison;
use crate::raft::{Leadership, MemberStatus, NodeId, SavingError};

/// Asks for the digest however long it takes; the only value is `full`.
const DIGEST: &str = "belfry-digest";

/// Records, and bytes of them, up to which the digest is computed unasked: it takes about a microsecond each, and a millisecond for some
/// megabytes, and entries wait meanwhile.
const DIGEST_RECORDS_MAX: usize = 20_000;
const DIGEST_BYTES_MAX: usize = 8 << 20;

/// Longest time that saving a snapshot may take: a state of 10 GB over a slow link.
const SAVING_MAX: Duration = Duration::from_secs(3600);

#[tonic::async_trait]
impl ClusterService for Api {
    async fn get_cluster_status(
        &self,
        request: Request<pb::GetClusterStatusRequest>,
    ) -> Result<Response<pb::ClusterStatus>, Status> {
        let whole_digest = request.metadata().get(DIGEST).is_some_and(|value| value == "full");
        Ok(Response::new(self.cluster_status(whole_digest)))
    }

    async fn transfer_leadership(
        &self,
        request: Request<pb::TransferLeadershipRequest>,
    ) -> Result<Response<pb::TransferLeadershipResponse>, Status> {
        let pb::TransferLeadershipRequest { to_node_id, validate_only } = request.into_inner();
        let to = (to_node_id != 0).then_some(NodeId(to_node_id));
        let replica = &self.0.replica;
        let leader =
            if validate_only { replica.successor(to) } else { replica.transfer_leadership(to).await };
        let leader = leader.map_err(ApiError::Transfer)?;
        Ok(Response::new(pb::TransferLeadershipResponse { leader_id: leader.0 }))
    }

    async fn drain_executor(
        &self,
        request: Request<pb::DrainExecutorRequest>,
    ) -> Result<Response<pb::DrainExecutorResponse>, Status> {
        let pb::DrainExecutorRequest { executor_id: executor, validate_only } = request.into_inner();
        let is_there = if validate_only {
            self.0.leader.executors().iter().any(|one| one.executor_id == executor)
        } else {
            self.0.leader.drain_executor(&executor).await
        };
        if is_there {
            return Ok(Response::new(pb::DrainExecutorResponse {}));
        }
        Err(ApiError::ExecutorNotFound { executor: executor.chars().take(80).collect() }.into())
    }

    async fn list_members(
        &self,
        _request: Request<pb::ListMembersRequest>,
    ) -> Result<Response<pb::ListMembersResponse>, Status> {
        Ok(Response::new(self.list_members().await))
    }

    async fn add_member(
        &self,
        request: Request<pb::AddMemberRequest>,
    ) -> Result<Response<pb::AddMemberResponse>, Status> {
        Ok(Response::new(self.add_member(request.into_inner()).await?))
    }

    async fn remove_member(
        &self,
        request: Request<pb::RemoveMemberRequest>,
    ) -> Result<Response<pb::RemoveMemberResponse>, Status> {
        Ok(Response::new(self.remove_member(&request.into_inner()).await?))
    }

    type SaveSnapshotStream = Pin<Box<dyn Stream<Item = Result<pb::SnapshotPart, Status>> + Send>>;

    async fn save_snapshot(
        &self,
        _request: Request<pb::SaveSnapshotRequest>,
    ) -> Result<Response<Self::SaveSnapshotStream>, Status> {
        let saved = self.0.replica.save_snapshot(self.0.clock.now()).await.map_err(ApiError::Saving)?;
        let head = pb::snapshot_part::Head {
            cluster_id: saved.info.cluster_id.clone(),
            node_id: saved.info.node.0,
            applied_index: saved.position.index,
            bytes: saved.bytes,
        };
        let part = |part| pb::SnapshotPart { part: Some(part) };
        let data = saved.into_chunks().map(move |chunk| match chunk {
            Ok(data) => Ok(part(pb::snapshot_part::Part::Data(data))),
            Err(error) => Err(ApiError::Saving(SavingError::Disk(error)).into()),
        });
        // A receiver that does not read must not keep the next one waiting for ever.
        let parts = stream::iter([Ok(part(pb::snapshot_part::Part::Head(head)))]).chain(data);
        Ok(Response::new(Box::pin(parts.take_until(tokio::time::sleep(SAVING_MAX)))))
    }
}

impl Api {
    fn cluster_status(&self, whole_digest: bool) -> pb::ClusterStatus {
        let replica = &self.0.replica;
        let raft = replica.status();
        let leadership = replica.leadership().borrow().clone();
        let leader = match &leadership {
            Leadership::Leader { .. } => Some(raft.node_id),
            Leadership::Follower { leader } => leader.as_ref().map(|(id, _)| *id),
        };
        let executors = match &leadership {
            Leadership::Leader { .. } => self.0.leader.executors(),
            Leadership::Follower { .. } => Vec::new(),
        };
        let guarded = &self.0.guarded;
        let clocks = guarded.comparison();
        let status = pb::ClusterStatus {
            cluster_id: raft.cluster_id.unwrap_or_default(),
            node_id: raft.node_id.0,
            leader_id: leader.map_or(0, |leader| leader.0),
            term: raft.term,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            tzdata_version: belfry_timing::tzdata_version().to_owned(),
            nodes: raft
                .members
                .iter()
                .map(|member| pb::NodeStatus {
                    clock_ahead_ms: clocks
                        .as_ref()
                        .and_then(|clocks| clock_ahead(clocks, member.id, raft.node_id)),
                    ..node_status(member, leader)
                })
                .collect(),
            executors,
            // As it is, held back or not (CLOCK-1): how far it is out is said beside it.
            now: Some(timestamp(guarded.raw())),
            // A follower hears from a leader only while that one holds a quorum.
            writable: leader.is_some(),
            clock_offset_max_ms: u64::try_from(guarded.bound().as_millis()).unwrap_or(u64::MAX),
            ..Default::default()
        };
        // Together: a digest means something only with the index that it was taken at.
        replica.read_at(|at, state| {
            let records = state.record_count();
            let digest = match whole_digest {
                true => Some(state.digest()),
                false if records <= DIGEST_RECORDS_MAX => state.digest_within(DIGEST_BYTES_MAX),
                false => None,
            };
            let count = |name: &str| state.census().get(name);
            pb::ClusterStatus {
                feature_level: state.feature_level(),
                schedule_count: state.schedule_count() as u64,
                due_count: count("DUE"),
                running_count: count("RUNNING"),
                run_count: state.run_count() as u64,
                cluster_tzdata_version: state.zones().version.clone(),
                zone_change: state.zones().change.as_ref().map(zone_change),
                applied_index: at.index,
                state_digest: digest.map(|digest| digest.to_string()).unwrap_or_default(),
                ..status
            }
        })
    }
}

fn zone_change(change: &ZoneChange) -> pb::ZoneChange {
    let step = |step: &ZoneMove| pb::zone_change::Move {
        schedule: names::schedule_name(&step.key),
        former_time: Some(timestamp(step.former)),
        next_time: step.next.map(timestamp),
    };
    pb::ZoneChange {
        from_version: change.from.clone(),
        to_version: change.to.clone(),
        change_time: Some(timestamp(change.at)),
        moved_count: change.moved,
        moves: change.named.iter().map(step).collect(),
    }
}

fn node_status(status: &MemberStatus, leader: Option<NodeId>) -> pb::NodeStatus {
    pb::NodeStatus {
        node_id: status.id.0,
        api_address: status.member.api_address.clone(),
        peer_address: status.member.peer_address.clone(),
        voter: status.voter,
        leader: leader == Some(status.id),
        matched_index: status.matched_index,
        silent_ms: status.silent_for.map(|silent| u64::try_from(silent.as_millis()).unwrap_or(u64::MAX)),
        clock_ahead_ms: None,
    }
}

fn clock_ahead(clocks: &Comparison, node: NodeId, me: NodeId) -> Option<i64> {
    if node == me {
        return Some(clocks.own_ahead_ms);
    }
    clocks.others.iter().find(|(other, _)| *other == node.0).map(|(_, ahead)| *ahead)
}
