//! HTTP for whoever operates a node: is it alive, is it ready, what does it count.
//!
//! - ADMIN-1: `/healthz` never depends on a quorum: a node that is restarted because the others are away makes it worse.
//! - ADMIN-2: `/readyz` does: only a node that knows a leader and has caught up should get traffic, and the next node of a
//!   rolling deploy stops only when this one is ready.

mod readiness;

pub use readiness::{NotReady, Readiness};

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::clock::GuardedClock;
use crate::liveness::Board;
use crate::metrics::{self, Metrics, Sample};
use crate::process::ProcessUsage;
use crate::raft::{LATENCY_BOUNDS_US, LatencyCounts, Replica, Role};

const INDEX: &str = "\
belfry node

/healthz   200 while the process serves
/readyz    200 while a leader is known and this node has caught up; else 503 and why
/metrics   Prometheus text
/liveness  schedules that do not do what they should, as JSON
";

/// What the admin port tells of.
#[derive(Clone, Debug)]
pub struct AdminParts {
    /// Whether this node should get traffic.
    pub ready: Arc<Readiness>,
    /// Of consensus and the state.
    pub replica: Replica,
    /// What was counted.
    pub metrics: Metrics,
    /// Of schedules.
    pub board: Board,
    /// Of this node's clock.
    pub clock: Arc<GuardedClock>,
}

/// Serves the admin port until `stop` is cancelled.
pub async fn serve(listener: TcpListener, parts: AdminParts, stop: CancellationToken) {
    let served =
        axum::serve(listener, router(Arc::new(parts))).with_graceful_shutdown(stop.cancelled_owned()).await;
    if let Err(error) = served {
        tracing::error!(%error, "the admin port ended");
    }
}

fn router(admin: Arc<AdminParts>) -> Router {
    Router::new()
        .route("/", get(|| async { INDEX }))
        .route("/healthz", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics_text))
        .route("/liveness", get(liveness))
        .with_state(admin)
}

async fn readyz(State(admin): State<Arc<AdminParts>>) -> Response {
    match admin.ready.check() {
        Ok(()) => "ready\n".into_response(),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {why}\n")).into_response(),
    }
}

async fn metrics_text(State(admin): State<Arc<AdminParts>>) -> Response {
    let text = admin.metrics.encode(&sample(&admin));
    ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response()
}

async fn liveness(State(admin): State<Arc<AdminParts>>) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], admin.board.document().to_string() + "\n").into_response()
}

/// What a replica says of itself, for a scrape.
fn sample(parts: &AdminParts) -> Sample {
    let AdminParts { replica, board, clock, .. } = parts;
    let raft = replica.status();
    let (schedules, runs) = replica.read(|state| (state.schedule_count(), state.census().iter().collect()));
    Sample {
        term: raft.term,
        is_leader: raft.role == Role::Leader,
        has_leader: raft.leader.is_some(),
        last_log_index: raft.last_log_index,
        checkpoint_index: raft.checkpoint_index,
        purged_index: raft.purged_index,
        committed_index: raft.committed_index,
        applied_index: raft.applied_index,
        log_appended_bytes: raft.log_appended_bytes,
        process: ProcessUsage::read(),
        schedules: schedules as u64,
        runs,
        liveness: board.namespaces(),
        clock_ahead_seconds: clock.ahead_ms().map(|ahead| ahead as f64 / 1e3),
        log_syncs: seconds(&raft.log_sync_latency.read()),
    }
}

/// Counts by upper bounds in seconds, and the sum.
fn seconds(read: &LatencyCounts) -> (Vec<(f64, u64)>, f64) {
    let from_us = |us: u64| us as f64 / 1e6;
    let bounds = LATENCY_BOUNDS_US.map(from_us).into_iter().chain([f64::INFINITY]);
    (bounds.zip(read.counts).collect(), from_us(read.sum_us))
}
