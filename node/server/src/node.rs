//! One node, put together: opens its folder, takes part in consensus, serves, and stops in order.
//!
//! Start: folder and lock → log → checkpoint → consensus with its peer port → API → admin.
//! Stop: not ready → hand leadership over → end sessions and stop accepting → end consensus → close the stores.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use belfry_core::{FEATURE_LEVEL, State};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::clock::{GuardedClock, SharedClock};
use crate::clock_guard::{self, ClockGuard};
use crate::config::Config;
use crate::leader::{ExecutorSessions, Leader, LeaderLimits};
use crate::liveness::{self, Board, SecretError, Webhooks};
use crate::metrics::Metrics;
use crate::raft::{self, Addresses, Fault, Leadership, NodeId, RaftConfig, Replica, Stores, TransferError};
use crate::store::{
    DataFolder, FolderError, Identity, Offload, SledCheckpoint, StoreError, WalLog, WalOptions,
};
use crate::timings::Timings;
use crate::transport::{Dialer, Incoming};
use crate::{admin, api};

/// Longest wait for calls under way when a node stops; the same for streams of peers.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(2);

/// HTTP/2 windows of streams: the default of 64 KiB costs a storm up to half its speed.
const WINDOW_BYTES: u32 = 2 << 20;

/// Why a node does not start.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address} (listen.{what}): {source}; {}", listen_advice(.source))]
    Listen {
        /// Which of the three.
        what: &'static str,
        /// The address.
        address: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// The data folder cannot be used.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// A store cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A webhook cannot be signed.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// Consensus cannot start.
    #[error(transparent)]
    Raft(#[from] raft::StartError),
    /// The system gives no threads.
    #[error("cannot start threads for the API: {0}; look at the limit of processes (ulimit -u, pids.max)")]
    Threads(#[source] std::io::Error),
}

fn listen_advice(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::AddrInUse => "is another process using it? stop that one, or choose another port",
        std::io::ErrorKind::PermissionDenied => "ports below 1024 need a privilege: choose a higher one",
        _other => "choose an address of this machine",
    }
}

/// The sockets of a node: bound first, so that a port that is taken is known before anything is opened.
#[derive(Debug)]
pub struct Listeners {
    api: TcpListener,
    peer: TcpListener,
    admin: TcpListener,
}

impl Listeners {
    /// Binds the addresses of the configuration. Port 0 lets the system choose.
    pub async fn bind(config: &Config) -> Result<Self, NodeError> {
        Ok(Self {
            api: bind("api", &config.listen.api).await?,
            peer: bind("peer", &config.listen.peer).await?,
            admin: bind("admin", &config.listen.admin).await?,
        })
    }

    /// Where they listen: API, peers, admin.
    pub fn addresses(&self) -> std::io::Result<[SocketAddr; 3]> {
        Ok([self.api.local_addr()?, self.peer.local_addr()?, self.admin.local_addr()?])
    }
}

async fn bind(what: &'static str, address: &str) -> Result<TcpListener, NodeError> {
    let failed = |source| NodeError::Listen { what, address: address.to_owned(), source };
    TcpListener::bind(address).await.map_err(failed)
}

/// What a node stands on: this machine, or a simulation of one.
pub struct Ground {
    /// Wall time.
    pub clock: SharedClock,
    /// Its disk.
    pub stores: Stores,
    /// Its way to other nodes.
    pub dialer: Dialer,
    /// Connections of clients and executors.
    pub api: Incoming,
    /// Connections of other nodes.
    pub peer: Incoming,
    /// Where health and metrics are asked for.
    pub admin: Option<TcpListener>,
    /// Who works on calls.
    pub callers: Threads,
}

/// On which threads calls of clients are worked on. Streams of executors are worked on by those that schedule.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Threads {
    /// Their own, so that no flood of calls comes between consensus, the ticker and the processor: the system shares it
    /// between threads.
    Own,
    /// Those that everything else runs on: a simulation has only one.
    Shared,
}

/// A runtime that may be dropped anywhere.
#[derive(Debug)]
struct OwnRuntime(Option<Runtime>);

impl OwnRuntime {
    fn start() -> Result<Self, NodeError> {
        let built = Builder::new_multi_thread().enable_all().thread_name("belfry-api").build();
        built.map(|runtime| Self(Some(runtime))).map_err(NodeError::Threads)
    }

    fn handle(&self) -> Handle {
        self.0.as_ref().expect("it is taken only when dropped").handle().clone()
    }
}

impl Drop for OwnRuntime {
    fn drop(&mut self) {
        // To wait for its threads is not allowed here; what served has ended, or is to be cut off.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

/// What a node that stops does with its leadership.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Handover {
    /// Gives it to the most caught-up voter first, so that nobody has to wait for an election.
    Try,
    /// Lets it go: the whole cluster stops.
    Skip,
}

/// A node that runs.
#[derive(Debug)]
pub struct Node {
    replica: Replica,
    ready: Arc<admin::Readiness>,
    /// Ends the leader's work and what serves clients.
    serving: CancellationToken,
    /// Ends what serves peers: they are needed until leadership is handed over.
    peering: CancellationToken,
    tasks: JoinSet<&'static str>,
    /// The threads of the API, as long as the node lives.
    _callers: Option<OwnRuntime>,
}

impl Node {
    /// Starts a node on this machine, on sockets that are bound already.
    pub async fn start(config: &Config, listeners: Listeners, clock: SharedClock) -> Result<Self, NodeError> {
        let ground = Ground {
            clock,
            stores: open(config)?,
            dialer: Dialer::default(),
            api: Incoming::callers(listeners.api, config.limits.connections_max, turns()),
            peer: Incoming::tcp(listeners.peer),
            admin: Some(listeners.admin),
            callers: Threads::Own,
        };
        Self::start_on(config, ground).await
    }

    /// Starts a node on whatever it is given to stand on.
    pub async fn start_on(config: &Config, ground: Ground) -> Result<Self, NodeError> {
        let Ground { clock, stores, dialer, api, peer, admin, callers } = ground;
        let webhooks = Webhooks::new(&config.webhooks)?;
        let raft_config = RaftConfig { clock: clock.clone(), dialer: dialer.clone(), ..raft_config(config) };
        let clock = GuardedClock::new(clock, config.clock.offset_max.0);
        let started = Box::pin(raft::start(raft_config, stores)).await?;
        let replica = started.replica;
        let timings = Timings::default();
        let metrics = Metrics::new();
        let leader = Leader::new(
            replica.clone(),
            clock.clone(),
            timings.clone(),
            metrics.clone(),
            leader_limits(config),
        );
        let board = Board::default();
        let live = liveness::Parts {
            replica: replica.clone(),
            clock: clock.clone(),
            metrics: metrics.clone(),
            board: board.clone(),
        };
        let ready = Arc::new(admin::Readiness::new(replica.clone()));
        let (serving, peering) = (CancellationToken::new(), CancellationToken::new());
        let mut tasks = JoinSet::new();

        let peers = peer_server(started.service, peer, peering.clone());
        tasks.spawn(named("peer service", peers));
        let guard =
            ClockGuard { replica: replica.clone(), clock: clock.clone(), alone: config.members().len() == 1 };
        // To the end: who stops hands leadership over by a clock that is good.
        tasks.spawn(named("clock guard", guard.run(peering.clone())));
        tasks.spawn(named(
            "leader",
            lead(leader.clone(), clock.clone(), replica.leadership(), serving.clone()),
        ));
        let live = liveness::run(live, webhooks, config.liveness.clone(), serving.clone());
        tasks.spawn(named("liveness", live));
        let parts = api::ApiParts {
            replica: replica.clone(),
            clock: clock.clone(),
            guarded: clock.clone(),
            timings,
            metrics: metrics.clone(),
            leader: leader.clone(),
            executors: ExecutorSessions::new(leader),
            limits: config.limits.clone(),
            stop: serving.clone(),
            dialer,
        };
        let callers = match callers {
            Threads::Own => Some(OwnRuntime::start()?),
            Threads::Shared => None,
        };
        let runtimes = api::Runtimes {
            callers: callers.as_ref().map_or_else(Handle::current, OwnRuntime::handle),
            executors: Handle::current(),
        };
        let runtime = runtimes.callers.clone();
        let served = api::server(parts, WINDOW_BYTES).run(api, runtimes, serving.clone());
        tasks.spawn_on(named("client API", served), &runtime);
        if let Some(listener) = admin {
            let parts = admin::AdminParts {
                ready: ready.clone(),
                replica: replica.clone(),
                metrics,
                board,
                clock: clock.clone(),
            };
            tasks.spawn(named("admin HTTP", admin::serve(listener, parts, peering.clone())));
        }
        Ok(Self { replica, ready, serving, peering, tasks, _callers: callers })
    }

    /// The node's replica.
    pub fn replica(&self) -> &Replica {
        &self.replica
    }

    /// Waits until all that this release can do is in force here: of a new cluster, or after a rolling deploy, that is a moment
    /// after there is a leader.
    pub async fn upgraded(&self) {
        let mut applied = self.replica.applied();
        while self.replica.read(State::feature_level) < FEATURE_LEVEL {
            if applied.changed().await.is_err() {
                // The replica ended: `fatal` says why.
                return std::future::pending().await;
            }
        }
    }

    /// Waits until the node cannot go on, and says why.
    pub async fn fatal(&self) -> Fault {
        self.replica.fatal().await
    }

    /// Stops in order. What runs on executors goes on: they dial the next leader.
    pub async fn stop(mut self, handover: Handover) {
        self.ready.stopping();
        if handover == Handover::Try {
            self.hand_over().await;
        }
        self.serving.cancel();
        self.replica.shutdown().await;
        self.peering.cancel();
        let drained =
            tokio::time::timeout(DRAIN_TIMEOUT, async { while self.tasks.join_next().await.is_some() {} });
        if drained.await.is_err() {
            // An idle connection (a probe) keeps a graceful shutdown waiting for ever (hyper#4170).
            tracing::info!("connections were still open: closing them");
        }
        self.tasks.shutdown().await;
    }

    async fn hand_over(&self) {
        match self.replica.transfer_leadership(None).await {
            Ok(to) => tracing::info!(to = to.0, "handed leadership over"),
            Err(TransferError::NotLeader { .. } | TransferError::NoSuccessor) => {}
            Err(error) => tracing::warn!(%error, "leadership was not handed over: the others will elect"),
        }
    }
}

/// Connections of callers that are read from at the same time: enough for the threads of the API, so that none of them waits
/// for a turn to be handed on.
fn turns() -> usize {
    2 * std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

fn open(config: &Config) -> Result<Stores, NodeError> {
    let identity = Identity { cluster_id: None, node_id: config.node.id };
    let folder = DataFolder::open(config.node.data.as_ref(), identity)?;
    let log = WalLog::open(&folder.log_path(), folder.log_owner(), WalOptions::default())?;
    let checkpoint = SledCheckpoint::open(&folder.state_path())?;
    Ok(Stores {
        identity: Arc::new(Mutex::new(folder)),
        log: Arc::new(log),
        checkpoint: Arc::new(checkpoint),
        offload: Offload::default(),
    })
}

fn raft_config(config: &Config) -> RaftConfig {
    let members = config
        .members()
        .into_iter()
        .map(|member| (NodeId(member.id), Addresses { api: member.api, peer: member.peer }))
        .collect();
    let snapshots = std::path::Path::new(&config.node.data).join("snapshots");
    let raft = &config.raft;
    RaftConfig {
        cluster_name: config.cluster.name.clone(),
        bootstrap: config.bootstraps(),
        heartbeat_interval: Duration::from_millis(raft.heartbeat_ms),
        election_timeout_min: Duration::from_millis(raft.election_min_ms),
        election_timeout_max: Duration::from_millis(raft.election_max_ms),
        checkpoint_every: raft.checkpoint_interval.0,
        log_keep_bytes: raft.log_keep_mib << 20,
        ..RaftConfig::new(NodeId(config.node.id), members, snapshots)
    }
}

fn leader_limits(config: &Config) -> LeaderLimits {
    let (dispatch, limits) = (&config.dispatch, &config.limits);
    LeaderLimits {
        fire_batch_max: dispatch.fire_batch_max,
        begin_batch_max: dispatch.begin_batch_max,
        complete_batch_max: dispatch.complete_batch_max,
        offer_timeout: dispatch.offer_timeout.0,
        catch_up_starts_per_second: dispatch.catch_up_starts_per_second,
        keep_alive: dispatch.keep_alive.0,
        executors_max: limits.executors_max,
        slots_max: limits.slots_max,
        retention: config.retention.retention(),
    }
}

async fn lead(
    leader: Arc<Leader>,
    clock: Arc<GuardedClock>,
    leadership: watch::Receiver<Leadership>,
    stop: CancellationToken,
) {
    // CLOCK-4.
    if stop.run_until_cancelled(clock_guard::may_lead(&clock, leadership)).await.is_some() {
        leader.run(stop).await;
    }
}

async fn named(name: &'static str, task: impl Future<Output = ()>) -> &'static str {
    task.await;
    tracing::debug!(name, "ended");
    name
}

fn server() -> tonic::transport::Server {
    tonic::transport::Server::builder()
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(WINDOW_BYTES)
        .http2_keepalive_interval(Some(Duration::from_secs(10)))
        .http2_keepalive_timeout(Some(Duration::from_secs(5)))
}

async fn peer_server(service: raft::PeerService, incoming: Incoming, stop: CancellationToken) {
    let served = server()
        .add_service(service)
        .serve_with_incoming_shutdown(incoming.into_stream(), stop.cancelled_owned())
        .await;
    if let Err(error) = served {
        tracing::error!(%error, "the peer service ended");
    }
}
