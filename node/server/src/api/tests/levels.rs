//! A rolling deploy: what the new release brought is refused until every member understands it, and then it is not.

use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};

use belfry_proto::internal as wire;
use belfry_proto::internal::raft_service_server::{RaftService, RaftServiceServer};
use belfry_proto::v1::pool_service_client::PoolServiceClient;
use futures_util::Stream;
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Streaming};

use super::*;
use crate::config::Member;

/// A member of another release: it says who it is, and takes part in nothing.
#[derive(Clone)]
struct OldMember {
    id: u64,
    feature_level: Arc<AtomicU32>,
}

fn away<T>() -> Result<Response<T>, Status> {
    Err(Status::unavailable("this member only says who it is"))
}

#[tonic::async_trait]
impl RaftService for OldMember {
    type AppendStream = Pin<Box<dyn Stream<Item = Result<wire::AppendResponse, Status>> + Send>>;

    async fn vote(&self, _: Request<wire::VoteRequest>) -> Result<Response<wire::VoteResponse>, Status> {
        away()
    }

    async fn pre_vote(&self, _: Request<wire::VoteRequest>) -> Result<Response<wire::VoteResponse>, Status> {
        away()
    }

    async fn append(
        &self,
        _: Request<Streaming<wire::AppendRequest>>,
    ) -> Result<Response<Self::AppendStream>, Status> {
        away()
    }

    async fn install_snapshot(
        &self,
        _: Request<Streaming<wire::SnapshotChunk>>,
    ) -> Result<Response<wire::SnapshotResponse>, Status> {
        away()
    }

    async fn transfer_leader(
        &self,
        _: Request<wire::TransferRequest>,
    ) -> Result<Response<wire::TransferResponse>, Status> {
        away()
    }

    async fn identify(
        &self,
        _: Request<wire::IdentifyRequest>,
    ) -> Result<Response<wire::IdentifyResponse>, Status> {
        Ok(Response::new(wire::IdentifyResponse {
            node_id: self.id,
            incarnation: format!("of node {}", self.id),
            feature_level: self.feature_level.load(Ordering::SeqCst),
            ..Default::default()
        }))
    }
}

/// Two nodes of this release, and a third member whose release the test chooses.
async fn mixed(feature_level: Arc<AtomicU32>) -> (Vec<Node>, Channel, Vec<TempDir>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let peer = listener.local_addr().unwrap().to_string();
    let old = OldMember { id: 3, feature_level };
    let served = tonic::transport::Server::builder()
        .add_service(RaftServiceServer::new(old))
        .serve_with_incoming(TcpListenerStream::new(listener));
    tokio::spawn(served);

    let any = || "127.0.0.1:0".to_owned();
    let listen = || Listen { api: any(), peer: any(), admin: any() };
    let mut members = vec![Member { id: 3, api: "127.0.0.1:9".into(), peer }];
    let mut sites = Vec::new();
    for id in [1, 2] {
        let data = tempfile::tempdir().unwrap();
        let mut config = Config { listen: listen(), ..Config::default() };
        config.node.id = id;
        config.node.data = data.path().display().to_string();
        let listeners = Listeners::bind(&config).await.unwrap();
        let [api, peer, _] = listeners.addresses().unwrap();
        members.push(Member { id, api: api.to_string(), peer: peer.to_string() });
        sites.push((config, listeners, data, api));
    }
    let address = sites[0].3;
    let (mut nodes, mut folders) = (Vec::new(), Vec::new());
    for (mut config, listeners, data, _) in sites {
        config.cluster.members = members.clone();
        config.cluster.bootstrap = true;
        nodes.push(Box::pin(Node::start(&config, listeners, Arc::new(SystemClock))).await.unwrap());
        folders.push(data);
    }
    let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy();
    let mut cluster = ClusterServiceClient::new(channel.clone());
    let mut writable = async || {
        let status = cluster.get_cluster_status(pb::GetClusterStatusRequest {}).await;
        status.is_ok_and(|status| status.into_inner().writable)
    };
    while !writable().await {
        tokio::task::yield_now().await;
    }
    (nodes, channel, folders)
}

/// What becomes of each verb that came with level 2, and of each new field of an old one.
async fn of_level_2(channel: &Channel) -> Vec<Status> {
    let mut schedules = ScheduleServiceClient::new(channel.clone());
    let mut runs = RunServiceClient::new(channel.clone());
    let name = "namespaces/team/schedules/plain".to_owned();
    let until = Some(prost_types::Timestamp { seconds: 4_000_000_000, nanos: 0 });
    let (reason, actor) = ("move".to_owned(), "ann".to_owned());
    let pause = pb::PauseScheduleRequest { name: name.clone(), reason, until, actor, ..Default::default() };
    let mut refused = vec![schedules.pause_schedule(pause.clone()).await.unwrap_err()];
    schedules.pause_schedule(pb::PauseScheduleRequest { until: None, ..pause }).await.unwrap();
    let missed = pb::resume_schedule_request::Missed::Coalesce.into();
    let resume = pb::ResumeScheduleRequest { name: name.clone(), missed, ..Default::default() };
    refused.push(schedules.resume_schedule(resume).await.unwrap_err());
    let overlap = pb::trigger_schedule_request::Overlap::Allow.into();
    let trigger = pb::TriggerScheduleRequest { name: name.clone(), overlap, ..Default::default() };
    refused.push(schedules.trigger_schedule(trigger).await.unwrap_err());
    let trigger = pb::TriggerScheduleRequest { name: name.clone(), ..Default::default() };
    let run = schedules.trigger_schedule(trigger).await.unwrap().into_inner().name;
    let cancel = pb::CancelRunRequest { name: run.clone(), reason: "no".into(), ..Default::default() };
    refused.push(runs.cancel_run(cancel).await.unwrap_err());
    let outcome = pb::resolve_run_request::Outcome::Succeeded.into();
    let resolve = pb::ResolveRunRequest { name: run, outcome, reason: "seen".into(), ..Default::default() };
    refused.push(runs.resolve_run(resolve).await.unwrap_err());
    let pool = pb::Pool { name: "pools/small".into(), slots: 1, ..Default::default() };
    let put = pb::PutPoolRequest { pool: Some(pool), ..Default::default() };
    refused.push(PoolServiceClient::new(channel.clone()).put_pool(put).await.unwrap_err());
    refused
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_field_waits_for_the_last_member() {
    let level = Arc::new(AtomicU32::new(1));
    let (nodes, channel, _folders) = mixed(level.clone()).await;
    let mut schedules = ScheduleServiceClient::new(channel.clone());
    let mut cluster = ClusterServiceClient::new(channel.clone());
    let fire_all = |id: &str| {
        let policies = pb::Policies {
            misfire_policy: pb::MisfirePolicy::FireAll.into(),
            misfire_limit: 10,
            ..Default::default()
        };
        let schedule = pb::Schedule { policies: Some(policies), ..schedule() };
        pb::CreateScheduleRequest { schedule: Some(schedule), ..creation("team", id) }
    };
    schedules.create_schedule(creation("team", "plain")).await.unwrap();
    let refused = schedules.create_schedule(fire_all("all")).await.unwrap_err();
    assert_eq!(told(&refused), (Code::FailedPrecondition, "FEATURE_LEVEL".into()));
    let update = pb::UpdateScheduleRequest {
        schedule: Some(pb::Schedule {
            name: "namespaces/team/schedules/plain".into(),
            priority: 9,
            ..Default::default()
        }),
        update_mask: Some(prost_types::FieldMask { paths: vec!["priority".into()] }),
        ..Default::default()
    };
    let refused = schedules.update_schedule(update.clone()).await.unwrap_err();
    assert_eq!(told(&refused), (Code::FailedPrecondition, "FEATURE_LEVEL".into()));
    for refused in of_level_2(&channel).await {
        assert_eq!(told(&refused), (Code::FailedPrecondition, "FEATURE_LEVEL".into()), "{refused}");
    }
    for node in &nodes {
        assert!(node.replica().read(State::feature_level) < 2);
    }

    // The last member is replaced by one of this release: nobody has to do anything more.
    level.store(belfry_core::FEATURE_LEVEL, Ordering::SeqCst);
    for node in &nodes {
        let mut applied = node.replica().applied();
        while node.replica().read(State::feature_level) < belfry_core::FEATURE_LEVEL {
            applied.changed().await.unwrap();
        }
    }
    schedules.create_schedule(fire_all("all")).await.unwrap();
    assert_eq!(schedules.update_schedule(update).await.unwrap().into_inner().priority, 9);
    let status = cluster.get_cluster_status(pb::GetClusterStatusRequest {}).await.unwrap().into_inner();
    assert_eq!(status.feature_level, belfry_core::FEATURE_LEVEL);
    for node in nodes {
        node.stop(Handover::Skip).await;
    }
}
