//! Passing calls on to the leader as they are: raw HTTP/2 bodies, nothing decoded.
//!
//! - FWD-1: a call is passed on at most once. A node that gets a call passed on and does not lead says NOT_LEADER.
//! - FWD-2: a passed-on stream of an executor ends when leadership leaves the node that it was passed to, or when this
//!   node stops, so that the executor dials again.
//! - FWD-3: NOT_LEADER is said only while nothing was sent; afterwards the failure is FORWARDING_FAILED.
//! - FWD-4: streams of executors have a connection of their own, so that the leader reads them without reading calls.

use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Request, Response};
use tokio::sync::watch;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tonic::body::Body;
use tonic::transport::{Channel, Endpoint};
use tonic::{ConnectError, TimeoutExpired};
use tower::{Service as _, ServiceExt as _};

use super::body;
use super::errors::{ApiError, dial_again};
use super::methods::Kind;
use crate::raft::{Leadership, Member, NodeId};
use crate::transport::Dialer;

/// Names the node that passed a call on.
const FORWARDED_BY: &str = "belfry-forwarded-by";
/// What a read may be; the only value is `stale`.
const CONSISTENCY: &str = "belfry-consistency";

/// Longest wait for a leader: elections take about a second.
const LEADER_WAIT_MAX: Duration = Duration::from_secs(2);
/// Longest wait for a connection: nodes are near each other.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);
/// A leader that is gone without a word shows within seconds; by then another one is elected.
const PROBE_INTERVAL: Duration = Duration::from_secs(2);
const PROBE_TIMEOUT: Duration = Duration::from_secs(2);
/// The default of 64 KiB would slow the batches of a storm down.
const WINDOW_BYTES: u32 = 2 * 1024 * 1024;
/// Connections kept: two for each node of a large cluster.
const CHANNELS_MAX: usize = 32;

/// What a connection is for (FWD-4).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Lane {
    Calls,
    Executors,
}

/// Who leads.
pub(super) type Leader = (NodeId, Member);

/// Finds the leader and passes calls on to it.
pub(super) struct Forward {
    own: NodeId,
    leadership: watch::Receiver<Leadership>,
    stop: CancellationToken,
    dialer: Dialer,
    /// In order, as they are let go of: a simulation repeats itself.
    channels: Mutex<BTreeMap<(Lane, String), Channel>>,
}

impl Forward {
    /// A forwarder of node `own`; streams end when `stop` is cancelled.
    pub(super) fn new(
        own: NodeId,
        leadership: watch::Receiver<Leadership>,
        stop: CancellationToken,
        dialer: Dialer,
    ) -> Self {
        Self { own, leadership, stop, dialer, channels: Mutex::default() }
    }

    /// Whom to pass a call on to: nobody if this node leads. Waits a while for somebody to lead.
    pub(super) async fn find(
        &self,
        headers: &HeaderMap,
        patience: Duration,
    ) -> Result<Option<Leader>, ApiError> {
        let mut leadership = self.leadership.clone();
        // A node that is elected but not ready yet says that it leads itself: soon it will.
        let decided = |now: &Leadership| match now {
            Leadership::Leader { .. } => true,
            Leadership::Follower { leader } => leader.as_ref().is_some_and(|(id, _)| *id != self.own),
        };
        let found = match timeout(patience.min(LEADER_WAIT_MAX), leadership.wait_for(decided)).await {
            Ok(Ok(found)) => found.clone(),
            // Nobody yet; or the replica has ended.
            Err(_) | Ok(Err(_)) => return Err(ApiError::NoLeader),
        };
        match found {
            Leadership::Leader { .. } => Ok(None),
            Leadership::Follower { leader: None } => Err(ApiError::NoLeader),
            Leadership::Follower { leader: Some(leader) } if headers.contains_key(FORWARDED_BY) => {
                Err(ApiError::NotLeader { leader })
            }
            Leadership::Follower { leader: Some(leader) } => Ok(Some(leader)),
        }
    }

    /// Passes a call on. Failures are answers, too.
    pub(super) async fn pass(
        &self,
        leader: Leader,
        mut request: Request<Body>,
        kind: Kind,
    ) -> Response<Body> {
        let lane = match kind {
            Kind::Executor => Lane::Executors,
            Kind::Call | Kind::Probe | Kind::Stream => Lane::Calls,
        };
        let Some(mut channel) = self.channel(lane, &leader.1.api_address) else {
            return ApiError::NotLeader { leader }.status().into_http();
        };
        let own = HeaderValue::from(self.own.0);
        request.headers_mut().insert(FORWARDED_BY, own);
        let answered = async {
            // Not ready: the connection's task has ended. Nothing was sent.
            let channel = channel.ready().await?;
            channel.call(request).await
        };
        match answered.await {
            Ok(response) => match kind {
                Kind::Stream | Kind::Executor => {
                    response.map(|body| body::cut_off(body, self.moved_from(leader.0), dial_again()))
                }
                Kind::Call | Kind::Probe => response,
            },
            Err(error) => failure(leader, &error).status().into_http(),
        }
    }

    /// Ends when `leader` leads no more, or this node stops.
    fn moved_from(&self, leader: NodeId) -> impl Future<Output = ()> + Send + 'static {
        let (mut leadership, stop) = (self.leadership.clone(), self.stop.clone());
        async move {
            let elsewhere = |now: &Leadership| match now {
                Leadership::Leader { .. } => true,
                Leadership::Follower { leader: now } => now.as_ref().is_none_or(|(id, _)| *id != leader),
            };
            tokio::select! {
                // An error says that the replica has ended: nobody here knows where the leader is.
                _ = leadership.wait_for(elsewhere) => {}
                () = stop.cancelled() => {}
            }
        }
    }

    /// The connection to an address, which need not stand yet; none if the address cannot be read.
    fn channel(&self, lane: Lane, address: &str) -> Option<Channel> {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(channel) = channels.get(&(lane, address.to_owned())) {
            return Some(channel.clone());
        }
        let endpoint = Endpoint::from_shared(format!("http://{address}")).ok()?;
        let endpoint = endpoint
            .connect_timeout(CONNECT_TIMEOUT)
            .tcp_nodelay(true)
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(WINDOW_BYTES)
            .http2_keep_alive_interval(PROBE_INTERVAL)
            .keep_alive_timeout(PROBE_TIMEOUT);
        let channel = self.dialer.channel(&endpoint);
        if channels.len() >= CHANNELS_MAX {
            channels.clear();
        }
        channels.insert((lane, address.to_owned()), channel.clone());
        Some(channel)
    }
}

impl fmt::Debug for Forward {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Forward").field("own", &self.own).finish_non_exhaustive()
    }
}

/// Whether a read may be answered from an older state.
pub(super) fn is_stale(headers: &HeaderMap) -> bool {
    headers.get(CONSISTENCY).is_some_and(|value| value == "stale")
}

/// What to answer when a call could not be passed on (FWD-3).
fn failure(leader: Leader, error: &(dyn Error + 'static)) -> ApiError {
    tracing::debug!(leader = %leader.0, %error, "a call was not passed on");
    let mut innermost = error;
    loop {
        if innermost.is::<ConnectError>() {
            return ApiError::NotLeader { leader };
        }
        if innermost.is::<TimeoutExpired>() {
            return ApiError::DeadlineExceeded;
        }
        match innermost.source() {
            Some(source) => innermost = source,
            None => break,
        }
    }
    ApiError::ForwardingFailed { address: leader.1.api_address, cause: innermost.to_string() }
}
