//! The layer around every call: its span, its deadline, its place among the others, who answers it, and its metrics.
//!
//! ```text
//!   call ──► span ──► limit ──► deadline ──► forward ──► services
//!     ◄── metrics: one observation when the answer has ended, been refused or been given up ──┘
//! ```

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderMap, Request, Response};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};
use tonic::body::Body;
use tonic::{Code, Status};
use tower::{Layer, Service};
use tracing::Instrument as _;

use super::body;
use super::errors::ApiError;
use super::forward::{Forward, is_stale};
use super::methods::{self, Kind, Method, Place};
use crate::metrics::Metrics;
use crate::transport;

/// Wraps the services in the edge.
#[derive(Clone)]
pub(crate) struct Edge(Arc<Shared>);

impl std::fmt::Debug for Edge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Edge")
    }
}

struct Shared {
    forward: Forward,
    metrics: Metrics,
    calls: Arc<Semaphore>,
    calls_max: usize,
    timeout_max: Duration,
}

/// The limits of the edge.
#[derive(Clone, Copy, Debug)]
pub(super) struct EdgeLimits {
    /// Calls worked on at once.
    pub(super) calls_max: usize,
    /// Longest time for one of them.
    pub(super) timeout_max: Duration,
}

impl Edge {
    pub(super) fn new(forward: Forward, metrics: Metrics, limits: EdgeLimits) -> Self {
        let EdgeLimits { calls_max, timeout_max } = limits;
        let calls = Arc::new(Semaphore::new(calls_max));
        Self(Arc::new(Shared { forward, metrics, calls, calls_max, timeout_max }))
    }
}

impl<S> Layer<S> for Edge {
    type Service = EdgeService<S>;

    fn layer(&self, inner: S) -> EdgeService<S> {
        EdgeService { inner, shared: self.0.clone() }
    }
}

/// Services with the edge around them.
#[derive(Clone)]
pub(crate) struct EdgeService<S> {
    inner: S,
    shared: Arc<Shared>,
}

impl<S: std::fmt::Debug> std::fmt::Debug for EdgeService<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EdgeService").field("inner", &self.inner).finish_non_exhaustive()
    }
}

type Answer<E> = Pin<Box<dyn Future<Output = Result<Response<Body>, E>> + Send>>;

impl<S> Service<Request<Body>> for EdgeService<S>
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Answer<S::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // The clone is not known to be ready; the one that was asked is.
        let next = self.inner.clone();
        let inner = std::mem::replace(&mut self.inner, next);
        let method = methods::find(request.uri().path());
        let span = tracing::debug_span!("rpc", method = method.name);
        // From here on, not from the first poll: tonic's own clock starts after this call and answers CANCELLED.
        let call = Call { method, started_at: Instant::now(), shared: self.shared.clone() };
        // Not later, either: what comes next on this connection depends on it.
        let connection = request.extensions().get::<transport::ConnectInfo>();
        let on_connection = connection.and_then(|it| it.begin(method.kind == Kind::Executor));
        Box::pin(call.answer(inner, request, on_connection).instrument(span))
    }
}

struct Call {
    method: &'static Method,
    started_at: Instant,
    shared: Arc<Shared>,
}

/// What lasts as long as a call: its place among the others, and the one observation at its end.
struct InProgress {
    call: Call,
    ended_with: Code,
    _permit: Option<OwnedSemaphorePermit>,
    _on_connection: Option<transport::Request>,
}

impl InProgress {
    fn new(
        call: Call,
        permit: Option<OwnedSemaphorePermit>,
        on_connection: Option<transport::Request>,
    ) -> Self {
        call.shared.metrics.rpcs_in_progress.inc();
        // Unless it comes to another end, its caller went away.
        Self { call, ended_with: Code::Cancelled, _permit: permit, _on_connection: on_connection }
    }

    fn end(mut self, code: Code) {
        self.ended_with = code;
    }
}

impl Drop for InProgress {
    fn drop(&mut self) {
        self.call.shared.metrics.rpcs_in_progress.dec();
        self.call.observe(self.ended_with);
    }
}

impl Call {
    async fn answer<S>(
        self,
        inner: S,
        request: Request<Body>,
        on_connection: Option<transport::Request>,
    ) -> Result<Response<Body>, S::Error>
    where
        S: Service<Request<Body>, Response = Response<Body>>,
    {
        let permit = match self.method.kind {
            Kind::Probe | Kind::Stream | Kind::Executor => None,
            Kind::Call => match self.shared.calls.clone().try_acquire_owned() {
                Ok(permit) => Some(permit),
                Err(_) => {
                    let refusal = ApiError::Overloaded { max: self.shared.calls_max }.status();
                    self.observe(refusal.code());
                    return Ok(refusal.into_http());
                }
            },
        };
        let in_progress = InProgress::new(self, permit, on_connection);
        let call = &in_progress.call;
        let response = match call.method.kind {
            Kind::Stream | Kind::Executor => call.route(inner, request).await?,
            Kind::Call | Kind::Probe => {
                let deadline = call.started_at + call.limit(request.headers());
                match timeout_at(deadline, call.route(inner, request)).await {
                    Ok(response) => response?,
                    Err(_elapsed) => ApiError::DeadlineExceeded.status().into_http(),
                }
            }
        };
        let (parts, body) = response.into_parts();
        // An error without a message is all in the headers; every other answer says its code behind the body.
        let code = Status::from_header_map(&parts.headers).map(|status| status.code());
        let body = body::observed(body, code, move |code| in_progress.end(code));
        Ok(Response::from_parts(parts, body))
    }

    async fn route<S>(&self, mut inner: S, request: Request<Body>) -> Result<Response<Body>, S::Error>
    where
        S: Service<Request<Body>, Response = Response<Body>>,
    {
        let here = match self.method.place {
            Place::Here => true,
            Place::Leader => false,
            Place::LeaderUnlessStale => is_stale(request.headers()),
        };
        if here {
            return inner.call(request).await;
        }
        // Shorter than the deadline, so that a caller with little time learns that nothing was done.
        let patience = self.limit(request.headers()) * 9 / 10;
        match self.shared.forward.find(request.headers(), patience).await {
            Ok(None) => inner.call(request).await,
            Ok(Some(leader)) => {
                self.shared.metrics.rpcs_forwarded.inc();
                Ok(self.shared.forward.pass(leader, request, self.method.kind).await)
            }
            Err(error) => Ok(error.status().into_http()),
        }
    }

    /// How long the call may take: as its caller says, but not longer than is allowed.
    fn limit(&self, headers: &HeaderMap) -> Duration {
        let asked = headers.get("grpc-timeout").and_then(|value| read_timeout(value.to_str().ok()?));
        let limit = asked.unwrap_or(self.shared.timeout_max).min(self.shared.timeout_max);
        // A tick before tonic's own clock, whose answer to the same header would be CANCELLED.
        limit.saturating_sub(Duration::from_millis(2))
    }

    fn observe(&self, code: Code) {
        // The duration of a stream says nothing about latency.
        if matches!(self.method.kind, Kind::Call | Kind::Probe) {
            let code = super::errors::code_name(code);
            self.shared.metrics.observe_rpc(self.method.name, code, self.started_at.elapsed());
        }
    }
}

/// Reads `grpc-timeout`: at most eight digits and a unit.
fn read_timeout(text: &str) -> Option<Duration> {
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let count: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(count * 3600),
        "M" => Duration::from_secs(count * 60),
        "S" => Duration::from_secs(count),
        "m" => Duration::from_millis(count),
        "u" => Duration::from_micros(count),
        "n" => Duration::from_nanos(count),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_as_grpc_writes_them() {
        for (text, expected) in [
            ("1H", Some(3_600_000)),
            ("2M", Some(120_000)),
            ("3S", Some(3000)),
            ("99999999m", Some(99_999_999)),
            ("5000u", Some(5)),
            ("6000000n", Some(6)),
            ("", None),
            ("S", None),
            ("5", None),
            ("123456789S", None),
            ("-5S", None),
            ("5é", None),
        ] {
            assert_eq!(read_timeout(text), expected.map(Duration::from_millis), "{text}");
        }
    }
}
