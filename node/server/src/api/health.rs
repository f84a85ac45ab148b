//! `grpc.health.v1`: each service is SERVING while this node knows a leader and is not stopping.
//!
//! Answered from what the node knows at that moment; there is no second copy that could lag behind.

use std::pin::Pin;

use futures_util::{Stream, StreamExt as _};
use tokio_stream::wrappers::WatchStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::Health;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use tokio::sync::watch;

use crate::raft::Leadership;

/// Services that may be asked for; the empty name is all of them.
const SERVICES: [&str; 5] = [
    "",
    "belfry.v1.ScheduleService",
    "belfry.v1.RunService",
    "belfry.v1.ExecutorService",
    "belfry.v1.ClusterService",
];

/// The health service of a node.
#[derive(Clone, Debug)]
pub(super) struct NodeHealth {
    leadership: watch::Receiver<Leadership>,
    stop: CancellationToken,
}

impl NodeHealth {
    pub(super) fn new(leadership: watch::Receiver<Leadership>, stop: CancellationToken) -> Self {
        Self { leadership, stop }
    }
}

fn status(leadership: &Leadership, stop: &CancellationToken) -> ServingStatus {
    let leader_known = match leadership {
        Leadership::Leader { .. } => true,
        Leadership::Follower { leader } => leader.is_some(),
    };
    if leader_known && !stop.is_cancelled() { ServingStatus::Serving } else { ServingStatus::NotServing }
}

fn response(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

#[tonic::async_trait]
impl Health for NodeHealth {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let service = &request.get_ref().service;
        if !SERVICES.contains(&service.as_str()) {
            // Cut, because a message travels in headers.
            let shown: String = service.chars().take(80).collect();
            return Err(Status::not_found(format!("no service named {shown}")));
        }
        let status = status(&self.leadership.borrow(), &self.stop);
        Ok(Response::new(response(status)))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        if !SERVICES.contains(&request.get_ref().service.as_str()) {
            // The protocol wants a stream that says so, because the service may come.
            let unknown = tokio_stream::once(Ok(response(ServingStatus::ServiceUnknown)));
            return Ok(Response::new(Box::pin(unknown.chain(tokio_stream::pending()))));
        }
        let stop = self.stop.clone();
        let mut last = None;
        let changes = WatchStream::new(self.leadership.clone())
            .map(move |leadership| status(&leadership, &stop))
            .filter(move |status| std::future::ready(last.replace(*status) != Some(*status)));
        let stopped = self.stop.clone();
        let stopping = futures_util::stream::once(async { response(ServingStatus::NotServing) });
        let watched = changes.map(response).take_until(stopped.cancelled_owned()).chain(stopping);
        Ok(Response::new(Box::pin(watched.map(Ok))))
    }
}
