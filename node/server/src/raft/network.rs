//! The calling side of consensus over gRPC.
//!
//! - NET-1 nothing is dialled before there is something to send: openraft waits out its back-off inside the stream of
//!   requests, so a dead peer that was dialled first would be dialled in a hot loop.
//! - NET-2 every call names both ends (IDENT-1).
//! - NET-3 a peer that falls silent is noticed by keep-alive, whatever stream is open to it.
//! - NET-4 a stream that has come to entries which are purged ends with an error (LOG-4): the peer needs a snapshot.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use belfry_proto::internal as pb;
use belfry_proto::internal::raft_service_client::RaftServiceClient;
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _, future, stream};
use openraft::base::{BoxFuture, BoxStream};
use openraft::errors::{NetworkError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::{
    Backoff, NetBackoff, NetSnapshot, NetStreamAppend, NetTransferLeader, NetVote, RPCOption,
};
use openraft::raft::{
    AppendEntriesRequest, SnapshotResponse, StreamAppendResult, TransferLeaderError, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{AnyError, OptionalSend, RaftNetworkFactory};
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use super::Member;
use super::config::RaftConfig;
use super::convert::{self, MalformedMessage};
use super::identity::Identity;
use super::log::Gone;
use super::snapshot::{SnapshotData, SnapshotFile};
use super::types::{RpcError, Snapshot, TypeConfig, Vote};
use crate::store::Offload;

/// Largest message between nodes: a batch of entries is at most 2 MiB, or one entry that is larger.
pub(super) const MESSAGE_BYTES_MAX: usize = 64 << 20;
/// A link with a long delay must not be limited by its window (64 KiB by default).
pub(super) const STREAM_WINDOW_BYTES: u32 = 2 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 4 << 20;
const SNAPSHOT_CHUNK_BYTES: usize = 1 << 20;
/// Sending, verifying and installing a whole snapshot; keep-alive notices a dead peer long before.
const SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(600);
/// A ping waits behind what was sent before it: megabytes of windows and socket buffers, which a slow link carries in seconds. With
/// the keep-alive of the other lanes no snapshot would ever arrive over a link of less than some 6 MB/s.
const SNAPSHOT_KEEP_ALIVE: Duration = Duration::from_secs(20);
/// Shortest time to wait for a stream to be set up, however short the election timeout is.
const SETUP_TIMEOUT_MIN: Duration = Duration::from_millis(500);

/// What a connection is for. A snapshot or a long batch must not hold up a heartbeat.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Lane {
    Log,
    Heartbeat,
    Snapshot,
}

/// Makes connections to members. Clones share them.
#[derive(Clone)]
pub(super) struct Network {
    config: Arc<RaftConfig>,
    identity: Arc<Identity>,
    offload: Offload,
    gone: Gone,
    /// In order, as they are let go of: a simulation repeats itself.
    channels: Arc<Mutex<BTreeMap<(Lane, String), Channel>>>,
    /// What each member last refused a call with: said once, not with every heartbeat.
    refusals: Arc<Mutex<BTreeMap<u64, String>>>,
}

impl Network {
    pub(super) fn new(
        config: Arc<RaftConfig>,
        identity: Arc<Identity>,
        offload: Offload,
        gone: Gone,
    ) -> Self {
        Self { config, identity, offload, gone, channels: Arc::default(), refusals: Arc::default() }
    }

    fn connection(&self, lane: Lane, target: u64, member: &Member) -> Connection {
        let address = self.config.peer_address(target, member).to_owned();
        let channel = self.channel(lane, &address);
        if let Err(error) = &channel {
            tracing::error!(node = target, address, %error, "the peer address of a member cannot be dialled");
        }
        Connection {
            target,
            member: member.clone(),
            identity: self.identity.clone(),
            offload: self.offload.clone(),
            // A heartbeat carries no entries by itself.
            gone: if lane == Lane::Log { self.gone.clone() } else { Gone::default() },
            refusals: self.refusals.clone(),
            client: channel.ok().map(client),
        }
    }

    fn channel(&self, lane: Lane, address: &str) -> Result<Channel, tonic::transport::Error> {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(channel) = channels.get(&(lane, address.to_owned())) {
            return Ok(channel.clone());
        }
        let keep_alive = match lane {
            Lane::Log | Lane::Heartbeat => self.config.election_timeout_max.max(SETUP_TIMEOUT_MIN),
            Lane::Snapshot => SNAPSHOT_KEEP_ALIVE,
        };
        let channel = self.config.dialer.channel(&endpoint(address, keep_alive)?);
        channels.insert((lane, address.to_owned()), channel.clone());
        Ok(channel)
    }

    /// Asks whoever listens at `address` who it is.
    pub(super) async fn identify(
        &self,
        address: &str,
        timeout: Duration,
    ) -> Result<pb::IdentifyResponse, Status> {
        let channel =
            self.channel(Lane::Heartbeat, address).map_err(|error| Status::unavailable(error.to_string()))?;
        let mut request = Request::new(pb::IdentifyRequest {});
        request.set_timeout(timeout);
        Ok(client(channel).identify(request).await?.into_inner())
    }
}

fn client(channel: Channel) -> RaftServiceClient<Channel> {
    RaftServiceClient::new(channel)
        .max_decoding_message_size(MESSAGE_BYTES_MAX)
        .max_encoding_message_size(MESSAGE_BYTES_MAX)
}

fn endpoint(address: &str, keep_alive: Duration) -> Result<Endpoint, tonic::transport::Error> {
    Ok(Endpoint::from_shared(format!("http://{address}"))?
        .connect_timeout(SETUP_TIMEOUT_MIN)
        .tcp_nodelay(true)
        .http2_keep_alive_interval(keep_alive)
        .keep_alive_timeout(keep_alive)
        .keep_alive_while_idle(true)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES))
}

impl RaftNetworkFactory<TypeConfig> for Network {
    type Network = Connection;

    async fn new_client(&mut self, target: u64, member: &Member) -> Connection {
        self.connection(Lane::Log, target, member)
    }

    async fn new_heartbeat_client(&mut self, target: u64, member: &Member) -> Connection {
        self.connection(Lane::Heartbeat, target, member)
    }

    async fn new_snapshot_client(&mut self, target: u64, member: &Member) -> Connection {
        self.connection(Lane::Snapshot, target, member)
    }
}

/// One lane to one member.
pub(super) struct Connection {
    target: u64,
    member: Member,
    identity: Arc<Identity>,
    offload: Offload,
    gone: Gone,
    refusals: Arc<Mutex<BTreeMap<u64, String>>>,
    /// `None`: its address is not one.
    client: Option<RaftServiceClient<Channel>>,
}

impl Connection {
    fn client(&mut self) -> Result<&mut RaftServiceClient<Channel>, RpcError> {
        let target = self.target;
        self.client
            .as_mut()
            .ok_or_else(|| unreachable(format!("node {target} has no address that can be dialled")))
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        self.identity.address(request.metadata_mut(), self.target, &self.member);
        request
    }

    fn request_within<T>(&self, message: T, option: &RPCOption) -> Request<T> {
        let mut request = self.request(message);
        request.set_timeout(option.soft_ttl());
        request
    }

    fn error_of(&self) -> impl Fn(Status) -> RpcError + Send + 'static {
        let (target, refusals) = (self.target, self.refusals.clone());
        move |status| rpc_error(target, &refusals, &status)
    }
}

fn rpc_error(target: u64, refusals: &Mutex<BTreeMap<u64, String>>, status: &Status) -> RpcError {
    match status.code() {
        Code::FailedPrecondition => {
            let said = status.message().to_owned();
            let former = refusals.lock().unwrap_or_else(PoisonError::into_inner).insert(target, said.clone());
            if former.as_deref() != Some(&said) {
                tracing::error!(node = target, refusal = said, "a member refuses this node");
            }
            RpcError::Unreachable(Unreachable::new(status))
        }
        // Nobody there, or not yet one of us: let openraft back off.
        Code::Unavailable | Code::Unimplemented => RpcError::Unreachable(Unreachable::new(status)),
        _ => RpcError::Network(NetworkError::new(status)),
    }
}

fn unreachable(message: String) -> RpcError {
    RpcError::Unreachable(Unreachable::new(&AnyError::error(message)))
}

fn network_error(message: impl ToString) -> RpcError {
    RpcError::Network(NetworkError::new(&AnyError::error(message)))
}

fn malformed(error: MalformedMessage) -> RpcError {
    network_error(error)
}

impl NetStreamAppend<TypeConfig> for Connection {
    fn stream_append<'s, S>(
        &'s mut self,
        mut input: S,
        option: RPCOption,
    ) -> BoxFuture<'s, Result<BoxStream<'s, Result<StreamAppendResult<TypeConfig>, RpcError>>, RpcError>>
    where
        S: Stream<Item = AppendEntriesRequest<TypeConfig>> + OptionalSend + Unpin + 'static,
    {
        Box::pin(async move {
            // NET-1.
            let Some(first) = input.next().await else {
                return Ok(Box::pin(stream::empty()) as BoxStream<'s, _>);
            };
            let purged = Arc::new(AtomicBool::new(false));
            let input = until_purged(stream::iter([first]).chain(input), self.gone.clone(), purged.clone());
            let input = input.map(convert::append_request_to_wire);
            let request = self.request(input);
            let error_of = self.error_of();
            // A stream has no deadline of its own: its setup is bounded here, its silence by keep-alive (NET-3).
            let setup = option.hard_ttl().max(SETUP_TIMEOUT_MIN);
            let response = tokio::time::timeout(setup, self.client()?.append(request))
                .await
                .map_err(|_| network_error("the append stream was not accepted in time"))?
                .map_err(&error_of)?;
            let output = response.into_inner().map(move |item| {
                item.map_err(&error_of).and_then(|item| convert::append_result(item).map_err(malformed))
            });
            let target = self.target;
            let end = stream::once(async move {
                let purged = purged.load(Ordering::Acquire);
                purged.then(|| Err(unreachable(format!("node {target} needs a snapshot: the log is purged"))))
            });
            Ok(Box::pin(output.chain(end.filter_map(future::ready))) as BoxStream<'s, _>)
        })
    }
}

/// Requests up to the first one that would have carried entries which are gone; then `purged` is set (NET-4). One that only tells a
/// peer which waits for its snapshot how far the log is committed looks the same, and is no loss.
fn until_purged(
    requests: impl Stream<Item = AppendEntriesRequest<TypeConfig>>,
    gone: Gone,
    purged: Arc<AtomicBool>,
) -> impl Stream<Item = AppendEntriesRequest<TypeConfig>> {
    requests.take_while(move |request| {
        let next = request.prev_log_id.as_ref().map_or(0, |id| id.index + 1);
        let is_purged = request.entries.is_empty() && gone.covers(next);
        if is_purged {
            purged.store(true, Ordering::Release);
        }
        future::ready(!is_purged)
    })
}

impl NetVote<TypeConfig> for Connection {
    async fn vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RpcError> {
        let request = self.request_within(convert::vote_request_to_wire(&rpc), &option);
        let error_of = self.error_of();
        let response = self.client()?.vote(request).await.map_err(error_of)?;
        convert::vote_response(response.into_inner()).map_err(malformed)
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<VoteResponse<TypeConfig>, RpcError> {
        let request = self.request_within(convert::vote_request_to_wire(&rpc), &option);
        let error_of = self.error_of();
        let response = self.client()?.pre_vote(request).await.map_err(error_of)?;
        convert::vote_response(response.into_inner()).map_err(malformed)
    }
}

impl NetSnapshot<TypeConfig> for Connection {
    type SnapshotData = SnapshotData;

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<TypeConfig>, StreamingError<TypeConfig>> {
        let send = async {
            let head = pb::SnapshotHead {
                vote: Some(convert::vote_to_wire(&vote)),
                last_log_id: snapshot.meta.last_log_id.as_ref().map(convert::log_id_to_wire),
                membership: Some(convert::stored_membership_to_wire(&snapshot.meta.last_membership)),
            };
            // It fails when the checkpoint has moved on: openraft then asks for the newer one.
            let file = snapshot.snapshot.into_file().await.map_err(network_error)?;
            let mut request = self.request(snapshot_chunks(head, file, self.offload.clone()));
            request.set_timeout(SNAPSHOT_TIMEOUT);
            let error_of = self.error_of();
            let response = self.client()?.install_snapshot(request).await.map_err(error_of)?;
            let vote = convert::vote(response.into_inner().vote, "snapshot response").map_err(malformed)?;
            Ok::<_, RpcError>(SnapshotResponse::new(vote))
        };
        tokio::select! {
            closed = cancel => Err(StreamingError::Closed(closed)),
            sent = send => sent.map_err(StreamingError::from),
        }
    }
}

/// The head, then the file in pieces; a file that cannot be read ends early, and the receiver refuses it (SNAP-2).
fn snapshot_chunks(
    head: pb::SnapshotHead,
    file: Arc<SnapshotFile>,
    offload: Offload,
) -> impl Stream<Item = pb::SnapshotChunk> + Send + 'static {
    let head = pb::SnapshotChunk { item: Some(pb::snapshot_chunk::Item::Head(head)) };
    let data = stream::unfold((file, None, offload), |(file, opened, offload)| async move {
        let path = file.path().to_owned();
        let read = move || {
            let mut opened: File = opened.map_or_else(|| File::open(path), Ok)?;
            let mut chunk = Vec::with_capacity(SNAPSHOT_CHUNK_BYTES);
            (&mut opened).take(SNAPSHOT_CHUNK_BYTES as u64).read_to_end(&mut chunk)?;
            Ok((chunk, opened))
        };
        match offload.run(read).await {
            Ok((chunk, _)) if chunk.is_empty() => None,
            Ok((chunk, opened)) => {
                let item = pb::snapshot_chunk::Item::Data(Bytes::from(chunk));
                Some((pb::SnapshotChunk { item: Some(item) }, (file, Some(opened), offload)))
            }
            Err(error) => {
                tracing::error!(path = %file.path().display(), %error, "a snapshot could not be read");
                None
            }
        }
    });
    stream::iter([head]).chain(data)
}

impl NetBackoff<TypeConfig> for Connection {
    fn backoff(&self) -> Option<Backoff> {
        // As configured.
        None
    }
}

impl NetTransferLeader<TypeConfig> for Connection {
    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<TypeConfig>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<TypeConfig>, RpcError> {
        let wire = self.request_within(convert::transfer_request_to_wire(&request), &option);
        let error_of = self.error_of();
        let response = self.client()?.transfer_leader(wire).await.map_err(error_of)?.into_inner();
        if response.ok {
            return Ok(Ok(()));
        }
        tracing::warn!(
            node = self.target,
            reason = response.reason,
            "a member cannot take over leadership now"
        );
        Ok(Err(TransferLeaderError::LogNotFlushed { expected: request.last_log_id().copied(), actual: None }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::types::{Entry, LeaderId, LogId};
    use super::*;

    fn id(index: u64) -> LogId {
        LogId::new(LeaderId { term: 1, node_id: 1 }, index)
    }

    fn request(previous: u64, count: u64) -> AppendEntriesRequest<TypeConfig> {
        let entry = |index| Entry { log_id: id(index), payload: openraft::EntryPayload::Blank };
        AppendEntriesRequest {
            vote: Vote::new_committed(1, 1),
            prev_log_id: Some(id(previous)),
            entries: (previous + 1..=previous + count).map(entry).collect(),
            leader_commit: None,
        }
    }

    #[tokio::test]
    async fn net_4_a_stream_ends_where_the_log_is_purged() {
        let gone = Gone::default();
        gone.note(5);
        for (requests, passed, is_purged) in [
            (vec![request(3, 1), request(4, 0), request(6, 1)], 1, true),
            // To the end of the log, and then only how far it is committed.
            (vec![request(5, 2), request(7, 0)], 2, false),
        ] {
            let purged = Arc::new(AtomicBool::new(false));
            let sent = until_purged(stream::iter(requests), gone.clone(), purged.clone());
            assert_eq!(sent.count().await, passed);
            assert_eq!(purged.load(Ordering::Acquire), is_purged);
        }
    }
}
