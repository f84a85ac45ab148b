//! The gRPC edge: everything that clients and executors say to a node comes in here.
//!
//! ```text
//!   edge (span, limit, deadline, metrics) ──► forward ──► the leader
//!                                                └──► schedules, runs, resources, cluster, executors, health, reflection
//! ```
//! A handler reads: decode, validate, propose or read, encode. `errors` is the one table from our errors to a status.
//!
//! - API-1: schedule operations are linearizable: writes go through the log, reads through a barrier, on the leader.
//! - API-2: the same request id is carried out once, across leader changes, and answered with what it made or changed, as that is by then.

mod batch;
mod body;
mod cluster;
mod definition;
mod edge;
mod encode;
pub mod errors;
mod explain;
mod forward;
mod health;
mod mask;
mod members;
mod methods;
pub mod names;
mod pages;
mod policies;
mod propose;
mod report;
mod resources;
mod runs;
mod schedules;
mod serve;
mod timing;
mod updates;
mod violations;
mod watch;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use belfry_proto::v1::backfill_service_server::BackfillServiceServer;
use belfry_proto::v1::calendar_service_server::CalendarServiceServer;
use belfry_proto::v1::cluster_service_server::ClusterServiceServer;
use belfry_proto::v1::executor_service_server::{ExecutorService, ExecutorServiceServer};
use belfry_proto::v1::namespace_service_server::NamespaceServiceServer;
use belfry_proto::v1::pool_service_server::PoolServiceServer;
use belfry_proto::v1::run_service_server::RunServiceServer;
use belfry_proto::v1::schedule_service_server::ScheduleServiceServer;
use http::HeaderMap;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tonic::Request;
use tonic::service::Routes;
use tonic_health::pb::health_server::HealthServer;
use tower::Layer as _;

use self::batch::LISTS_MAX;
use self::definition::Rules;
use self::edge::{Edge, EdgeLimits};
use self::errors::ApiError;
use self::forward::Forward;
use self::health::NodeHealth;
use crate::clock::{GuardedClock, SharedClock};
use crate::config::Limits;
use crate::leader::{ExecutorSessions, Leader};
use crate::metrics::Metrics;
use crate::raft::Replica;
use crate::timings::Timings;
use crate::transport::Dialer;

/// Commands of callers on their way into the log at the same time. What the leader itself proposes, fires and begins, waits
/// behind these at most; with a few hundred under way the log is written as fast as it can be. Each waits for its turn, and items of a
/// batch for those that go together with them.
const PROPOSALS_MAX: usize = 256;

pub(crate) use self::encode::reason_name;
pub(crate) use self::serve::{Runtimes, Server};
pub use self::violations::{Violation, Violations};

/// What the API is made of.
pub struct ApiParts<E = ExecutorSessions> {
    /// Proposes and reads.
    pub replica: Replica,
    /// For the instants in commands.
    pub clock: SharedClock,
    /// The same clock, for how it compares with those of the other nodes.
    pub guarded: Arc<GuardedClock>,
    /// Evaluates timings.
    pub timings: Timings,
    /// Counts calls.
    pub metrics: Metrics,
    /// Knows the executors, while this node leads.
    pub leader: Arc<Leader>,
    /// Serves the streams of executors.
    pub executors: E,
    /// What clients may ask for.
    pub limits: Limits,
    /// Ends what this node passes on, and what those who watch are told.
    pub stop: CancellationToken,
    /// How the leader is dialled.
    pub dialer: Dialer,
}

/// The API of a node, ready to be served over connections with windows of this size.
pub(crate) fn server<E: ExecutorService>(parts: ApiParts<E>, window_bytes: u32) -> Server {
    let leadership = parts.replica.leadership();
    let forward = Forward::new(parts.replica.node_id(), leadership, parts.stop.clone(), parts.dialer.clone());
    let limits = EdgeLimits {
        calls_max: parts.limits.request_concurrency_max,
        timeout_max: parts.limits.request_timeout_max.0,
    };
    let edge = Edge::new(forward, parts.metrics.clone(), limits);
    // Every stream of an executor and every call may come through one connection: that of a node that passes them on.
    // The default of 200 would keep the others waiting in silence.
    let streams_max = parts.limits.executors_max.saturating_add(parts.limits.request_concurrency_max);
    let streams_max = u32::try_from(streams_max).unwrap_or(u32::MAX);
    Server { service: edge.layer(routes(parts)), streams_max, window_bytes }
}

fn routes<E: ExecutorService>(parts: ApiParts<E>) -> Routes {
    let max = parts.limits.message_bytes_max;
    let health = NodeHealth::new(parts.replica.leadership(), parts.stop.clone());
    let ApiParts { replica, clock, guarded, timings, metrics, leader, executors, limits, stop, dialer: _ } =
        parts;
    let watchers = Arc::new(Semaphore::new(limits.watchers_max));
    let (proposals, lists) = (Semaphore::new(PROPOSALS_MAX), Arc::new(Semaphore::new(LISTS_MAX)));
    let shared = Shared {
        replica,
        clock,
        guarded,
        timings,
        metrics,
        leader,
        limits,
        proposals,
        watchers,
        lists,
        stop,
    };
    let api = Api(Arc::new(shared));
    let schedules = ScheduleServiceServer::new(api.clone());
    let runs = RunServiceServer::new(api.clone());
    let calendars = CalendarServiceServer::new(api.clone());
    let pools = PoolServiceServer::new(api.clone());
    let namespaces = NamespaceServiceServer::new(api.clone());
    let backfills = BackfillServiceServer::new(api.clone());
    let cluster = ClusterServiceServer::new(api);
    let executors = ExecutorServiceServer::new(executors);
    let routes = Routes::new(schedules.max_decoding_message_size(max).max_encoding_message_size(max))
        .add_service(runs.max_decoding_message_size(max).max_encoding_message_size(max))
        .add_service(calendars.max_decoding_message_size(max).max_encoding_message_size(max))
        .add_service(pools.max_decoding_message_size(max).max_encoding_message_size(max))
        .add_service(namespaces.max_decoding_message_size(max).max_encoding_message_size(max))
        .add_service(backfills.max_decoding_message_size(max).max_encoding_message_size(max))
        .add_service(cluster.max_decoding_message_size(max).max_encoding_message_size(max))
        .add_service(executors.max_decoding_message_size(max).max_encoding_message_size(max))
        .add_service(HealthServer::new(health));
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(belfry_proto::DESCRIPTORS)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    let broken = "the descriptors were written by our own build";
    // Older tools speak the alpha version only.
    routes
        .add_service(reflection().build_v1().expect(broken))
        .add_service(reflection().build_v1alpha().expect(broken))
        .prepare()
}

/// The handlers. Cheap to clone.
#[derive(Clone)]
struct Api(Arc<Shared>);

struct Shared {
    replica: Replica,
    clock: SharedClock,
    guarded: Arc<GuardedClock>,
    timings: Timings,
    metrics: Metrics,
    leader: Arc<Leader>,
    limits: Limits,
    /// Places for commands on their way into the log.
    proposals: Semaphore,
    /// Places for those who watch.
    watchers: Arc<Semaphore>,
    /// Places for lists that are streamed.
    lists: Arc<Semaphore>,
    /// Ends what they are told.
    stop: CancellationToken,
}

impl Api {
    fn rules(&self) -> Rules<'_> {
        Rules { limits: &self.0.limits, timings: &self.0.timings }
    }

    fn name_max(&self) -> usize {
        self.0.limits.name_bytes_max
    }

    /// What is read afterwards is linearizable (API-1), unless the caller can do with an older state.
    async fn barrier(&self, freshness: Freshness) -> Result<(), ApiError> {
        match freshness {
            Freshness::Linearizable => Ok(self.0.replica.read_barrier().await?),
            Freshness::Stale => Ok(()),
        }
    }
}

/// How new the state must be that a read sees.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Freshness {
    /// Everything acknowledged before the read.
    Linearizable,
    /// Whatever this node has.
    Stale,
}

impl Freshness {
    /// What the caller asked for.
    fn of<T>(request: &Request<T>) -> Self {
        let headers: &HeaderMap = request.metadata().as_ref();
        if forward::is_stale(headers) { Freshness::Stale } else { Freshness::Linearizable }
    }
}
