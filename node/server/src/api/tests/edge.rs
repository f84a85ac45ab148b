//! The edge before stand-ins: who answers, who is passed on, what is refused.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use belfry_proto::v1::executor_service_client::ExecutorServiceClient;
use belfry_proto::v1::executor_service_server::{ExecutorService, ExecutorServiceServer};
use belfry_proto::v1::run_service_server::{RunService, RunServiceServer};
use futures_util::{Stream, StreamExt as _};
use tokio::net::TcpListener;
use tokio::sync::{Notify, watch};
use tokio_stream::wrappers::TcpListenerStream;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::transport::Server;
use tonic::{Request, Response, Streaming};
use tower::{Layer as _, ServiceExt as _};

use super::*;
use crate::api::edge::{Edge, EdgeLimits};
use crate::api::forward::Forward;
use crate::api::{Runtimes, Server as ApiServer};
use crate::metrics::{Metrics, Sample};
use crate::raft::{Member, NodeId};
use crate::transport::{Dialer, Incoming};

/// Answers with its own name, and with who passed the call on.
#[derive(Clone, Default)]
struct StandIn {
    name: &'static str,
    /// `hold` waits for this.
    released: Arc<Notify>,
    /// `hold` has come.
    held: Arc<Notify>,
}

#[tonic::async_trait]
impl RunService for StandIn {
    async fn get_run(&self, request: Request<pb::GetRunRequest>) -> Result<Response<pb::Run>, Status> {
        let by = request.metadata().get("belfry-forwarded-by").map(|by| by.to_str().unwrap().to_owned());
        match request.into_inner().name.as_str() {
            "missing" => return Err(crate::api::errors::invalid_argument("name", "is missing")),
            "hold" => {
                self.held.notify_one();
                self.released.notified().await;
            }
            _ => {}
        }
        let (executor, actor) = (self.name.to_owned(), by.unwrap_or_default());
        Ok(Response::new(pb::Run { executor, actor, ..Default::default() }))
    }

    async fn list_runs(
        &self,
        _: Request<pb::ListRunsRequest>,
    ) -> Result<Response<pb::ListRunsResponse>, Status> {
        Err(Status::unimplemented("not needed"))
    }

    async fn cancel_run(&self, _: Request<pb::CancelRunRequest>) -> Result<Response<pb::Run>, Status> {
        Err(Status::unimplemented("not needed"))
    }

    async fn resolve_run(&self, _: Request<pb::ResolveRunRequest>) -> Result<Response<pb::Run>, Status> {
        Err(Status::unimplemented("not needed"))
    }

    async fn report_runs(
        &self,
        _: Request<pb::ReportRunsRequest>,
    ) -> Result<Response<pb::ReportRunsResponse>, Status> {
        Err(Status::unimplemented("not needed"))
    }

    async fn explain_run(
        &self,
        _: Request<pb::ExplainRunRequest>,
    ) -> Result<Response<pb::RunExplanation>, Status> {
        Err(Status::unimplemented("not needed"))
    }

    type WatchRunsStream = Pin<Box<dyn Stream<Item = Result<pb::WatchRunsResponse, Status>> + Send>>;

    async fn watch_runs(
        &self,
        _: Request<pb::WatchRunsRequest>,
    ) -> Result<Response<Self::WatchRunsStream>, Status> {
        Err(Status::unimplemented("not needed"))
    }
}

#[tonic::async_trait]
impl ExecutorService for StandIn {
    type SessionStream = Pin<Box<dyn Stream<Item = Result<pb::ExecutorReply, Status>> + Send>>;

    /// Answers each message with one, and never ends by itself.
    async fn session(
        &self,
        request: Request<Streaming<pb::ExecutorMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let replies = request.into_inner().map(|_| Ok(pb::ExecutorReply::default()));
        Ok(Response::new(Box::pin(replies.chain(tokio_stream::pending()))))
    }
}

/// A stand-in behind the edge of node `id`.
struct Site {
    id: u64,
    address: String,
    stand_in: StandIn,
    leadership: watch::Sender<Leadership>,
    metrics: Metrics,
    stop: CancellationToken,
    /// Accepted so far.
    connections: Arc<AtomicUsize>,
}

const CALLS_MAX: usize = 2;

impl Site {
    async fn start(id: u64, name: &'static str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (leadership, watched) = watch::channel(Leadership::Follower { leader: None });
        let (metrics, stop) = (Metrics::new(), CancellationToken::new());
        let forward = Forward::new(NodeId(id), watched, stop.clone(), Dialer::default());
        let limits = EdgeLimits { calls_max: CALLS_MAX, timeout_max: Duration::from_secs(30) };
        let stand_in = StandIn { name, ..StandIn::default() };
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = connections.clone();
        let incoming = TcpListenerStream::new(listener).inspect(move |_| {
            counted.fetch_add(1, Ordering::SeqCst);
        });
        let served = Server::builder()
            .layer(Edge::new(forward, metrics.clone(), limits))
            .add_service(RunServiceServer::new(stand_in.clone()))
            .add_service(ExecutorServiceServer::new(stand_in.clone()))
            .serve_with_incoming(incoming);
        tokio::spawn(served);
        Self { id, address, stand_in, leadership, metrics, stop, connections }
    }

    fn as_leader(&self) -> Leadership {
        leader_at(self.id, &self.address)
    }

    fn channel(&self) -> Channel {
        Endpoint::from_shared(format!("http://{}", self.address)).unwrap().connect_lazy()
    }

    async fn get(&self, request: Request<pb::GetRunRequest>) -> Result<pb::Run, Status> {
        RunServiceClient::new(self.channel()).get_run(request).await.map(|answer| answer.into_inner())
    }
}

fn leader_at(id: u64, address: &str) -> Leadership {
    let member = Member { api_address: address.to_owned(), ..Member::default() };
    Leadership::Follower { leader: Some((NodeId(id), member)) }
}

/// A follower and the leader that it knows.
async fn pair() -> (Site, Site) {
    let (follower, leader) = (Site::start(1, "follower").await, Site::start(2, "leader").await);
    follower.leadership.send_replace(leader.as_leader());
    leader.leadership.send_replace(Leadership::Leader { term: 1 });
    (follower, leader)
}

fn named(name: &str) -> Request<pb::GetRunRequest> {
    Request::new(pb::GetRunRequest { name: name.into() })
}

#[tokio::test]
async fn a_follower_passes_calls_on_and_answers_back() {
    let (follower, leader) = pair().await;
    let run = follower.get(named("x")).await.unwrap();
    assert_eq!((run.executor.as_str(), run.actor.as_str()), ("leader", "1"));
    assert_eq!(leader.get(named("x")).await.unwrap().actor, "", "the leader answers by itself");
    let refused = follower.get(named("missing")).await.unwrap_err();
    assert_eq!((told(&refused).0, fields(&refused)), (Code::InvalidArgument, vec!["name".to_owned()]));
}

#[tokio::test]
async fn a_stale_read_is_answered_by_whom_it_was_sent_to() {
    let (follower, _leader) = pair().await;
    let mut request = named("x");
    request.metadata_mut().insert("belfry-consistency", "stale".parse().unwrap());
    assert_eq!(follower.get(request).await.unwrap().executor, "follower");
}

#[tokio::test]
async fn fwd_1_a_call_is_passed_on_once() {
    let (first, second) = (Site::start(1, "first").await, Site::start(2, "second").await);
    // Each takes the other one for the leader.
    first.leadership.send_replace(second.as_leader());
    second.leadership.send_replace(first.as_leader());
    let refused = first.get(named("x")).await.unwrap_err();
    assert_eq!(told(&refused), (Code::Unavailable, "NOT_LEADER".into()));
    assert_eq!(metadata(&refused)["leader_id"], "1");
    assert_eq!(metadata(&refused)["leader_address"], first.address);
}

#[tokio::test]
async fn a_call_waits_for_a_leader_to_come() {
    let (leadership, watched) = watch::channel(Leadership::Follower { leader: None });
    let forward = Forward::new(NodeId(1), watched, CancellationToken::new(), Dialer::default());
    let limits = EdgeLimits { calls_max: 1, timeout_max: Duration::from_secs(30) };
    let here =
        tower::service_fn(|_request| async { Ok::<_, Infallible>(Status::ok("here").into_http::<Body>()) });
    let request = http::Request::post("/belfry.v1.RunService/GetRun").body(Body::empty()).unwrap();
    let answer = Edge::new(forward, Metrics::new(), limits).layer(here).oneshot(request);
    let elected = async {
        // Elected, but not ready: that is no leader yet, and not another node either.
        leadership.send_replace(leader_at(1, "nowhere:1"));
        tokio::task::yield_now().await;
        leadership.send_replace(Leadership::Leader { term: 1 });
    };
    let (answer, ()) = tokio::join!(answer, elected);
    assert_eq!(Status::from_header_map(answer.unwrap().headers()).unwrap().message(), "here");
}

#[tokio::test]
async fn fwd_3_a_leader_that_cannot_be_reached_is_named() {
    let site = Site::start(1, "site").await;
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
    site.leadership.send_replace(leader_at(2, &gone));
    let refused = site.get(named("x")).await.unwrap_err();
    assert_eq!(told(&refused), (Code::Unavailable, "NOT_LEADER".into()));
    assert_eq!(metadata(&refused)["leader_address"], gone);
}

#[tokio::test]
async fn fwd_2_a_stream_ends_when_leadership_moves_or_the_node_stops() {
    for stops in [false, true] {
        let (follower, _leader) = pair().await;
        let (sender, messages) = tokio::sync::mpsc::channel(1);
        let messages = tokio_stream::wrappers::ReceiverStream::new(messages);
        let mut client = ExecutorServiceClient::new(follower.channel());
        sender.send(pb::ExecutorMessage::default()).await.unwrap();
        let mut replies = client.session(messages).await.unwrap().into_inner();
        assert!(replies.message().await.unwrap().is_some());
        if stops {
            follower.stop.cancel();
        } else {
            follower.leadership.send_replace(Leadership::Follower { leader: None });
        }
        let ended = replies.message().await.unwrap_err();
        assert_eq!(told(&ended), (Code::Unavailable, "LEADERSHIP_MOVED".into()));
    }
}

#[tokio::test]
async fn fwd_4_executors_are_passed_on_by_a_connection_of_their_own() {
    let (follower, leader) = pair().await;
    follower.get(named("x")).await.unwrap();
    let (sender, messages) = tokio::sync::mpsc::channel(1);
    sender.send(pb::ExecutorMessage::default()).await.unwrap();
    let mut client = ExecutorServiceClient::new(follower.channel());
    let session = client.session(tokio_stream::wrappers::ReceiverStream::new(messages)).await.unwrap();
    follower.get(named("x")).await.unwrap();
    assert_eq!(leader.connections.load(Ordering::SeqCst), 2, "one for calls, one for executors");
    drop(session);
}

#[tokio::test]
async fn too_many_calls_are_shed_and_counted() {
    let site = Site::start(1, "site").await;
    site.leadership.send_replace(Leadership::Leader { term: 1 });
    let calls: Vec<_> = (0..CALLS_MAX).map(|_| site.get(named("hold"))).collect();
    let shed = async {
        for _ in 0..CALLS_MAX {
            site.stand_in.held.notified().await;
        }
        let refused = site.get(named("x")).await.unwrap_err();
        (0..CALLS_MAX).for_each(|_| site.stand_in.released.notify_one());
        refused
    };
    let (held, refused) = tokio::join!(futures_util::future::join_all(calls), shed);
    assert!(held.into_iter().all(|run| run.is_ok()));
    assert_eq!(told(&refused), (Code::ResourceExhausted, "TOO_MANY_CALLS".into()));
    assert!(refused.get_error_details().retry_info().is_some());
    site.get(named("x")).await.unwrap();
    let text = site.metrics.encode(&Sample::default());
    for line in [
        "belfry_rpc_duration_seconds_count{method=\"GetRun\",code=\"OK\"} 3",
        "belfry_rpc_duration_seconds_count{method=\"GetRun\",code=\"RESOURCE_EXHAUSTED\"} 1",
        "belfry_rpcs_in_progress 0",
    ] {
        assert!(text.lines().any(|found| found == line), "no line {line} in\n{text}");
    }
}

/// What the edge itself answers to a call of 50 ms, before a service that never does. Without a client, which would keep
/// the same deadline and might be the first to give up.
async fn answer_within(leadership: Leadership) -> (Status, Metrics) {
    let (_leadership, watched) = watch::channel(leadership);
    let metrics = Metrics::new();
    let forward = Forward::new(NodeId(1), watched, CancellationToken::new(), Dialer::default());
    let limits = EdgeLimits { calls_max: 1, timeout_max: Duration::from_secs(30) };
    let silent =
        tower::service_fn(|_request| std::future::pending::<Result<http::Response<Body>, Infallible>>());
    let request = http::Request::post("/belfry.v1.RunService/GetRun").header("grpc-timeout", "50m");
    let edge = Edge::new(forward, metrics.clone(), limits).layer(silent);
    let answer = edge.oneshot(request.body(Body::empty()).unwrap()).await.unwrap();
    (Status::from_header_map(answer.headers()).unwrap(), metrics)
}

#[tokio::test]
async fn a_deadline_is_kept() {
    let (refused, metrics) = answer_within(Leadership::Leader { term: 1 }).await;
    assert_eq!(told(&refused), (Code::DeadlineExceeded, "DEADLINE_EXCEEDED".into()));
    let text = metrics.encode(&Sample::default());
    assert!(
        text.contains("belfry_rpc_duration_seconds_count{method=\"GetRun\",code=\"DEADLINE_EXCEEDED\"} 1\n")
    );
}

#[tokio::test]
async fn without_a_leader_a_call_waits_and_is_refused_before_its_deadline() {
    let (refused, _) = answer_within(Leadership::Follower { leader: None }).await;
    assert_eq!(told(&refused), (Code::Unavailable, "NO_LEADER".into()));
    assert!(refused.get_error_details().retry_info().is_some());
}

#[tokio::test]
async fn a_call_whose_caller_goes_away_is_counted_as_cancelled() {
    let site = Site::start(1, "site").await;
    site.leadership.send_replace(Leadership::Leader { term: 1 });
    tokio::select! {
        answered = site.get(named("hold")) => panic!("{answered:?}"),
        () = site.stand_in.held.notified() => {}
    }
    let cancelled = "belfry_rpc_duration_seconds_count{method=\"GetRun\",code=\"CANCELLED\"} 1\n";
    while !site.metrics.encode(&Sample::default()).contains(cancelled) {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn serve_1_executors_are_heard_while_the_threads_of_callers_are_busy() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (_leadership, watched) = watch::channel(Leadership::Leader { term: 1 });
    let stop = CancellationToken::new();
    let forward = Forward::new(NodeId(1), watched, stop.clone(), Dialer::default());
    let limits = EdgeLimits { calls_max: CALLS_MAX, timeout_max: Duration::from_secs(30) };
    let stand_in = StandIn { name: "one", ..StandIn::default() };
    let routes = tonic::service::Routes::new(RunServiceServer::new(stand_in.clone()));
    let routes = routes.add_service(ExecutorServiceServer::new(stand_in));
    let service = Edge::new(forward, Metrics::new(), limits).layer(routes.prepare());
    let callers = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let runtimes =
        Runtimes { callers: callers.handle().clone(), executors: tokio::runtime::Handle::current() };
    let server = ApiServer { service, streams_max: 100, window_bytes: 1 << 20 };
    callers.spawn(server.run(Incoming::callers(listener, 16, 1), runtimes, stop.clone()));

    let channel = Endpoint::from_shared(format!("http://{address}")).unwrap().connect_lazy();
    let (messages, sent) = tokio::sync::mpsc::channel(4);
    messages.send(pb::ExecutorMessage::default()).await.unwrap();
    let mut executor = ExecutorServiceClient::new(channel);
    let replies = executor.session(tokio_stream::wrappers::ReceiverStream::new(sent)).await.unwrap();
    let mut replies = replies.into_inner();
    replies.message().await.unwrap().unwrap();

    let (release, released) = std::sync::mpsc::channel::<()>();
    let (busy, is_busy) = tokio::sync::oneshot::channel();
    callers.spawn(async move {
        busy.send(()).unwrap();
        released.recv().ok();
    });
    is_busy.await.unwrap();
    for _ in 0..3 {
        messages.send(pb::ExecutorMessage::default()).await.unwrap();
        let reply = tokio::time::timeout(Duration::from_secs(30), replies.message());
        reply.await.expect("it waits for no caller").unwrap().unwrap();
    }
    drop(release);
    // SERVE-2: told to go away, and ended with what serves.
    stop.cancel();
    callers.shutdown_background();
}
