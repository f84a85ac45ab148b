//! The answering side of consensus over gRPC.

use std::fs::File;
use std::future::ready;
use std::io::Write as _;
use std::pin::Pin;
use std::sync::Arc;

use belfry_proto::internal as pb;
use belfry_proto::internal::raft_service_server::{RaftService, RaftServiceServer};
use futures_util::{Stream, StreamExt as _};
use openraft::async_runtime::WatchReceiver as _;
use tokio::sync::Semaphore;
use tonic::{Request, Response, Status, Streaming};

use super::checkpoint::Checkpoints;
use super::config::RaftConfig;
use super::convert::{self, MalformedMessage};
use super::identity::Identity;
use super::log::RaftLog;
use super::machine::Shared;
use super::network::MESSAGE_BYTES_MAX;
use super::silence::Heard;
use super::snapshot::{SnapshotData, SnapshotFile, TemporaryPath};
use super::types::{Membership, Raft, Snapshot, SnapshotMeta};

/// The node-to-node service, to be added to the server of the peer port.
pub type PeerService = RaftServiceServer<Peer>;

/// What a [`Peer`] answers from.
#[derive(Clone)]
pub(super) struct PeerParts {
    pub(super) raft: Raft,
    pub(super) log: RaftLog,
    pub(super) config: Arc<RaftConfig>,
    pub(super) shared: Arc<Shared>,
    pub(super) checkpoints: Arc<Checkpoints>,
    pub(super) identity: Arc<Identity>,
    pub(super) heard: Heard,
}

/// Answers the other nodes. Every call but `Identify` is admitted by [`Identity`] first.
#[derive(Clone)]
pub struct Peer {
    parts: PeerParts,
    /// One snapshot is received at a time: two would only race for the disk.
    receiving: Arc<Semaphore>,
}

impl std::fmt::Debug for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Peer").field("node", &self.parts.identity.node).finish_non_exhaustive()
    }
}

impl Peer {
    pub(super) fn service(parts: PeerParts) -> PeerService {
        let receiving = Arc::new(Semaphore::new(1));
        RaftServiceServer::new(Peer { parts, receiving })
            .max_decoding_message_size(MESSAGE_BYTES_MAX)
            .max_encoding_message_size(MESSAGE_BYTES_MAX)
    }

    fn membership(&self) -> Membership {
        self.parts.raft.metrics().borrow_watched().membership_config.membership().clone()
    }

    async fn admit<T>(&self, request: Request<T>) -> Result<T, Status> {
        self.parts.identity.admit(request.metadata(), &self.membership()).await?;
        Ok(request.into_inner())
    }

    /// Writes the file that follows the head of a stream, and verifies it (SNAP-2).
    async fn receive(&self, mut chunks: Streaming<pb::SnapshotChunk>) -> Result<Arc<SnapshotFile>, Status> {
        let path = TemporaryPath::new(self.parts.checkpoints.receiving_path());
        let (offload, place) = (self.parts.checkpoints.offload(), path.path().to_owned());
        let mut out = offload.run(move || File::create(place)).await.map_err(local)?;
        while let Some(chunk) = chunks.message().await? {
            match chunk.item {
                Some(pb::snapshot_chunk::Item::Data(data)) => {
                    let written = offload.run(move || out.write_all(&data).map(|()| out)).await;
                    out = written.map_err(local)?;
                }
                Some(pb::snapshot_chunk::Item::Head(_)) | None => {
                    return Err(Status::invalid_argument("the snapshot has a second head"));
                }
            }
        }
        drop(out);
        let verified = offload.run(move || SnapshotFile::verify(path)).await;
        verified.map_err(|error| Status::data_loss(format!("the snapshot arrived damaged: {error}")))
    }
}

fn malformed(error: MalformedMessage) -> Status {
    Status::invalid_argument(error.to_string())
}

/// Our own disk has no room for what arrives, or worse.
fn local(error: std::io::Error) -> Status {
    Status::internal(format!("the snapshot cannot be stored: {error}"))
}

/// Consensus has stopped here: for the caller that is a node that is gone.
fn stopped(error: impl std::fmt::Display) -> Status {
    Status::unavailable(error.to_string())
}

#[tonic::async_trait]
impl RaftService for Peer {
    async fn vote(&self, request: Request<pb::VoteRequest>) -> Result<Response<pb::VoteResponse>, Status> {
        let request = convert::vote_request(self.admit(request).await?).map_err(malformed)?;
        let response = self.parts.raft.vote(request).await.map_err(stopped)?;
        Ok(Response::new(convert::vote_response_to_wire(&response)))
    }

    async fn pre_vote(
        &self,
        request: Request<pb::VoteRequest>,
    ) -> Result<Response<pb::VoteResponse>, Status> {
        let request = convert::vote_request(self.admit(request).await?).map_err(malformed)?;
        let response = self.parts.raft.pre_vote(request).await.map_err(stopped)?;
        Ok(Response::new(convert::vote_response_to_wire(&response)))
    }

    type AppendStream = Pin<Box<dyn Stream<Item = Result<pb::AppendResponse, Status>> + Send>>;

    async fn append(
        &self,
        request: Request<Streaming<pb::AppendRequest>>,
    ) -> Result<Response<Self::AppendStream>, Status> {
        // The first item that is not readable ends the stream: to skip it would leave a gap in front of the next.
        let input = self.admit(request).await?.map(readable);
        let heard = self.parts.heard.clone();
        let input = input.take_while(|item| ready(item.is_some())).filter_map(ready);
        // Before openraft sees it: whoever learns from it who leads finds that this one was heard.
        let input = input.inspect(move |request| heard.note(request.vote.leader_id.term));
        let output = self.parts.raft.stream_append(Box::pin(input));
        let output = output.map(|item| item.map(convert::append_result_to_wire).map_err(stopped));
        Ok(Response::new(Box::pin(output)))
    }

    async fn install_snapshot(
        &self,
        request: Request<Streaming<pb::SnapshotChunk>>,
    ) -> Result<Response<pb::SnapshotResponse>, Status> {
        let mut chunks = self.admit(request).await?;
        let _permit = self
            .receiving
            .try_acquire()
            .map_err(|_| Status::resource_exhausted("another snapshot is being received"))?;
        let Some(pb::snapshot_chunk::Item::Head(head)) = chunks.message().await?.and_then(|chunk| chunk.item)
        else {
            return Err(Status::invalid_argument("the snapshot has no head"));
        };
        let vote = convert::vote(head.vote, "snapshot head").map_err(malformed)?;
        let meta = SnapshotMeta {
            last_log_id: head.last_log_id.map(convert::log_id),
            last_membership: convert::stored_membership(head.membership).map_err(malformed)?,
        };
        let file = self.receive(chunks).await?;
        if file.head.applied != meta.last_log_id || file.head.membership != meta.last_membership {
            return Err(Status::data_loss("the snapshot is not the one that was announced"));
        }
        let snapshot = Snapshot { meta, snapshot: SnapshotData::of_file(file) };
        let response = self.parts.raft.install_full_snapshot(vote, snapshot).await.map_err(stopped)?;
        Ok(Response::new(pb::SnapshotResponse { vote: Some(convert::vote_to_wire(&response.vote)) }))
    }

    async fn transfer_leader(
        &self,
        request: Request<pb::TransferRequest>,
    ) -> Result<Response<pb::TransferResponse>, Status> {
        let request = convert::transfer_request(self.admit(request).await?).map_err(malformed)?;
        let response = self.parts.raft.handle_transfer_leader(request).await.map_err(stopped)?;
        let reason = response.err().map(|error| error.to_string());
        let response = pb::TransferResponse { ok: reason.is_none(), reason: reason.unwrap_or_default() };
        Ok(Response::new(response))
    }

    async fn identify(
        &self,
        _request: Request<pb::IdentifyRequest>,
    ) -> Result<Response<pb::IdentifyResponse>, Status> {
        let state = self.parts.log.port().state();
        let has_log = state.last.is_some() || state.vote.is_some();
        let cluster = self.parts.identity.cluster();
        let own = self.parts.config.initial_members.get(&self.parts.config.node_id).cloned();
        let (api_address, peer_address) = own.map(|own| (own.api, own.peer)).unwrap_or_default();
        Ok(Response::new(pb::IdentifyResponse {
            initialized: has_log || cluster.is_some(),
            cluster_id: cluster.unwrap_or_default(),
            node_id: self.parts.identity.node,
            incarnation: self.parts.identity.incarnation.clone(),
            membership: Some(convert::membership_to_wire(&self.membership())),
            feature_level: belfry_core::FEATURE_LEVEL,
            api_address,
            peer_address,
            applied_membership: Some(convert::stored_membership_to_wire(&self.parts.shared.membership())),
            clock_unix_ms: self.parts.config.clock.now().0,
        }))
    }
}

fn readable(
    item: Result<pb::AppendRequest, Status>,
) -> Option<openraft::raft::AppendEntriesRequest<super::types::TypeConfig>> {
    match item.map(convert::append_request) {
        Ok(Ok(request)) => Some(request),
        Ok(Err(error)) => {
            tracing::error!(%error, "a peer sent an append request that is not readable");
            None
        }
        Err(status) => {
            tracing::debug!(%status, "an append stream ended");
            None
        }
    }
}
