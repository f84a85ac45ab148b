//! Serves the connections of callers and executors, each kind on threads of its own.
//!
//! ```text
//!   accept ──► on the threads of callers ──► calls
//!                     └── an executor speaks ──► handed over: on the threads that schedule, its stream too
//! ```
//! What a connection carries shows with its first request. A flood of calls takes the threads of callers all the processor time
//! that the system gives them: what makes schedules fire must not wait for those.
//!
//! - SERVE-1: the stream of an executor, and the connection it came by, are worked on by the threads that schedule.
//! - SERVE-2: when serving ends, connections are told to go away and get the time that the owner of this future gives them;
//!   with the future they end.

use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Duration;

use futures_util::StreamExt as _;
use http::Request;
use hyper::body::Incoming as IncomingBody;
use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::body::Body;
use tonic::service::Routes;
use tonic::transport::server::Connected as _;
use tower::Service as _;

use super::edge::EdgeService;
use crate::transport::{Accepted, Incoming, Use};

/// A peer that is gone without a word shows within this; then what it held is free.
const PROBE_INTERVAL: Duration = Duration::from_secs(10);
const PROBE_TIMEOUT: Duration = Duration::from_secs(5);

/// Whose threads connections are worked on by.
#[derive(Clone, Debug)]
pub(crate) struct Runtimes {
    /// Those that calls cannot keep from scheduling.
    pub(crate) callers: Handle,
    /// Those that schedule.
    pub(crate) executors: Handle,
}

/// The API of a node, ready to be served.
pub(crate) struct Server {
    pub(super) service: EdgeService<Routes>,
    /// Streams on one connection.
    pub(super) streams_max: u32,
    /// HTTP/2 windows.
    pub(super) window_bytes: u32,
}

impl Server {
    /// Serves what comes in until `stop`, and then until the last connection has ended.
    pub(crate) async fn run(self, incoming: Incoming, runtimes: Runtimes, stop: CancellationToken) {
        let connections = TaskTracker::new();
        // SERVE-2.
        let over = CancellationToken::new();
        let _guard = over.clone().drop_guard();
        let mut incoming = incoming.into_stream();
        while let Some(Some(accepted)) = stop.run_until_cancelled(incoming.next()).await {
            match accepted {
                Ok(accepted) => {
                    let ends = Ends { stop: stop.clone(), over: over.clone() };
                    self.begin(accepted, runtimes.clone(), ends, &connections);
                }
                Err(error) => tracing::debug!(%error, "a connection was not accepted"),
            }
        }
        drop(incoming);
        connections.close();
        connections.wait().await;
    }

    fn begin(&self, accepted: Accepted, runtimes: Runtimes, ends: Ends, connections: &TaskTracker) {
        let info = accepted.connect_info();
        let of = info.use_of();
        let service = self.service.clone();
        let serve = hyper::service::service_fn(move |request: Request<IncomingBody>| {
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(info.clone());
            // Always ready: routes are.
            service.clone().call(request)
        });
        let spread = Spread { runtimes: runtimes.clone(), of: of.clone() };
        let connection = http2::Builder::new(spread)
            .timer(TokioTimer::new())
            .initial_stream_window_size(self.window_bytes)
            .initial_connection_window_size(self.window_bytes)
            .max_concurrent_streams(self.streams_max)
            .keep_alive_interval(PROBE_INTERVAL)
            .keep_alive_timeout(PROBE_TIMEOUT)
            .serve_connection(TokioIo::new(accepted), serve);
        let mut connection = Box::pin(connection);
        let tracked = connections.token();
        runtimes.callers.spawn(async move {
            let handed_over = drive(connection.as_mut(), &ends, of.as_ref()).await;
            if let (End::HandedOver, Some(of)) = (handed_over, of) {
                of.hand_over();
                runtimes.executors.spawn(async move {
                    drive(connection.as_mut(), &ends, None).await;
                    drop(tracked);
                });
            }
        });
    }
}

/// What ends connections: first the word to go away, then the end.
struct Ends {
    stop: CancellationToken,
    over: CancellationToken,
}

#[derive(PartialEq, Eq)]
enum End {
    Closed,
    /// It goes on elsewhere.
    HandedOver,
}

/// A connection, whatever it serves.
trait Connection: Future<Output = hyper::Result<()>> {
    fn go_away(self: Pin<&mut Self>);
}

impl<I, S, E> Connection for http2::Connection<I, S, E>
where
    S: hyper::service::Service<Request<IncomingBody>, Response = http::Response<Body>>,
    S::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    I: hyper::rt::Read + hyper::rt::Write + Unpin,
    E: hyper::rt::bounds::Http2ServerConnExec<S::Future, Body>,
{
    fn go_away(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

/// Works on a connection until it ends, or until `of` says that it carries an executor.
async fn drive(mut connection: Pin<&mut impl Connection>, ends: &Ends, of: Option<&Arc<Use>>) -> End {
    let (mut stop, mut over) = (pin!(ends.stop.cancelled()), pin!(ends.over.cancelled()));
    let mut told = false;
    poll_fn(|cx| {
        if over.as_mut().poll(cx).is_ready() {
            return Poll::Ready(End::Closed);
        }
        if !told && stop.as_mut().poll(cx).is_ready() {
            told = true;
            connection.as_mut().go_away();
        }
        match connection.as_mut().poll(cx) {
            Poll::Ready(ended) => {
                if let Err(error) = ended {
                    tracing::debug!(%error, "a connection broke");
                }
                Poll::Ready(End::Closed)
            }
            Poll::Pending if of.is_some_and(|of| of.carries_executors()) => Poll::Ready(End::HandedOver),
            Poll::Pending => Poll::Pending,
        }
    })
    .await
}

/// Where the requests of a connection are worked on (SERVE-1).
#[derive(Clone)]
struct Spread {
    runtimes: Runtimes,
    of: Option<Arc<Use>>,
}

impl<F> Executor<F> for Spread
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, work: F) {
        let of_executor = self.of.as_ref().is_some_and(|of| of.carries_executors());
        let runtime = if of_executor { &self.runtimes.executors } else { &self.runtimes.callers };
        runtime.spawn(work);
    }
}
