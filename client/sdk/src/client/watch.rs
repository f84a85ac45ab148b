//! Watching: a stream of changes that goes on at another node when the one it listens to goes away.
//!
//! - SDK-5: a watch that goes on begins behind the last revision it has told, so that nothing is left out; what it told
//!   once may be told again. When no node keeps what comes next, the caller is told (`ClientError::Compacted`): list again.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::Stream;
use tokio::time::{Instant, sleep, timeout};
use tonic::transport::Channel;
use tonic::{Code, Status, Streaming};

use super::{ANSWER_BYTES_MAX, Client};
use crate::address::Address;
use crate::backoff::Backoff;
use crate::error::{ClientError, Refusal};
use crate::pb;
use crate::pb::run_service_client::RunServiceClient;
use crate::pb::schedule_service_client::ScheduleServiceClient;

/// Nodes say something every 5 seconds: three times nothing is a dead connection.
const SILENCE_MAX: Duration = Duration::from_secs(15);
/// A node that is behind takes up to 3 seconds to come to the revision that another one gave out.
const OPEN_TIMEOUT: Duration = Duration::from_secs(5);
/// Waits between tries: as long as an election at most.
const BACKOFF_FIRST: Duration = Duration::from_millis(100);
const BACKOFF_CAP: Duration = Duration::from_secs(2);

/// Responses as they come. It ends after its first error.
pub struct Watch<T>(Pin<Box<dyn Stream<Item = Result<T, ClientError>> + Send>>);

impl<T> Stream for Watch<T> {
    type Item = Result<T, ClientError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.as_mut().poll_next(context)
    }
}

impl<T> fmt::Debug for Watch<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Watch")
    }
}

impl Client {
    /// Runs that change, as they change, from `start_revision` on. The first response comes at once, and one at least every
    /// few seconds, with runs or without.
    ///
    /// When the node goes away, the watch goes on at another one (SDK-5). It ends with [`ClientError::Compacted`] when the
    /// changes are no longer kept, and with [`ClientError::Unreachable`] when no node answers for as long as a call may
    /// take.
    #[must_use]
    pub fn watch_runs(&self, request: pb::WatchRunsRequest) -> Watch<pb::WatchRunsResponse> {
        self.watch(request)
    }

    /// Schedules that are created, changed and deleted, as [`Client::watch_runs`] does it for runs.
    #[must_use]
    pub fn watch_schedules(&self, request: pb::WatchSchedulesRequest) -> Watch<pb::WatchSchedulesResponse> {
        self.watch(request)
    }

    fn watch<R: Watched>(&self, request: R) -> Watch<R::Response> {
        let follow = Follow {
            client: self.clone(),
            request,
            stream: None,
            backoff: Backoff::new(BACKOFF_FIRST, BACKOFF_CAP),
            heard_at: Instant::now(),
        };
        Watch(Box::pin(futures_util::stream::unfold(Some(follow), |follow| async {
            let mut follow = follow?;
            match follow.next().await {
                Ok(response) => Some((Ok(response), Some(follow))),
                Err(error) => Some((Err(error), None)),
            }
        })))
    }
}

/// A request that can be watched.
trait Watched: Clone + Send + 'static {
    type Response: Send + 'static;

    fn start_revision(&mut self) -> &mut u64;
    fn revision(response: &Self::Response) -> u64;
    fn open(
        self,
        connection: Channel,
    ) -> impl Future<Output = Result<Streaming<Self::Response>, Status>> + Send;
}

macro_rules! watched {
    ($request:ident, $response:ident, $client:ident, $method:ident) => {
        impl Watched for pb::$request {
            type Response = pb::$response;

            fn start_revision(&mut self) -> &mut u64 {
                &mut self.start_revision
            }

            fn revision(response: &pb::$response) -> u64 {
                response.revision
            }

            async fn open(self, connection: Channel) -> Result<Streaming<pb::$response>, Status> {
                let mut client = $client::new(connection).max_decoding_message_size(ANSWER_BYTES_MAX);
                client.$method(self).await.map(|answer| answer.into_inner())
            }
        }
    };
}

watched!(WatchRunsRequest, WatchRunsResponse, RunServiceClient, watch_runs);
watched!(WatchSchedulesRequest, WatchSchedulesResponse, ScheduleServiceClient, watch_schedules);

struct Follow<R: Watched> {
    client: Client,
    request: R,
    stream: Option<(Address, Streaming<R::Response>)>,
    backoff: Backoff,
    /// When a node last said something.
    heard_at: Instant,
}

impl<R: Watched> Follow<R> {
    async fn next(&mut self) -> Result<R::Response, ClientError> {
        loop {
            let (address, fault) = match &mut self.stream {
                None => match self.open().await? {
                    None => continue,
                    Some(fault) => fault,
                },
                Some((address, stream)) => match timeout(SILENCE_MAX, stream.message()).await {
                    Ok(Ok(Some(response))) => {
                        let start = self.request.start_revision();
                        *start = R::revision(&response).max(*start);
                        self.backoff.reset();
                        self.heard_at = Instant::now();
                        return Ok(response);
                    }
                    Ok(Ok(None)) => (address.clone(), "the stream ended".to_owned()),
                    Ok(Err(status)) => (address.clone(), last_word(status)?),
                    Err(_) => (address.clone(), "nothing was heard for a while".to_owned()),
                },
            };
            self.stream = None;
            self.turn(&address, &fault).await?;
        }
    }

    /// Opens a stream; or says which node did not, and why.
    async fn open(&mut self) -> Result<Option<(Address, String)>, ClientError> {
        let address = self.client.target();
        let connection = match self.client.connection(&address, self.client.shared.options.try_timeout).await
        {
            Ok(connection) => connection,
            Err(cause) => return Ok(Some((address, cause))),
        };
        match timeout(OPEN_TIMEOUT, self.request.clone().open(connection)).await {
            Ok(Ok(stream)) => {
                self.stream = Some((address, stream));
                Ok(None)
            }
            Ok(Err(status)) => last_word(status).map(|cause| Some((address, cause))),
            Err(_) => Ok(Some((address, "no answer in time".to_owned()))),
        }
    }

    /// Turns to another node after a while, unless none has answered for too long.
    async fn turn(&mut self, address: &Address, cause: &str) -> Result<(), ClientError> {
        tracing::debug!(%address, cause, "a watch was interrupted");
        self.client.with_state(|state| {
            // Whoever comes here next connects afresh.
            state.connections.remove(address);
            state.directory.failed(address);
        });
        if self.heard_at.elapsed() >= self.client.shared.options.timeout {
            let nodes =
                |state: &mut super::State| state.directory.nodes().iter().map(ToString::to_string).collect();
            let endpoints = self.client.with_state(nodes);
            return Err(ClientError::Unreachable { endpoints, cause: cause.to_owned() });
        }
        sleep(self.backoff.delay()).await;
        Ok(())
    }
}

/// What to call the end of a stream if another node may go on; else the error.
fn last_word(status: Status) -> Result<String, ClientError> {
    match status.code() {
        // Another node may have room.
        Code::ResourceExhausted
        | Code::Unavailable
        | Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Unknown
        | Code::Internal
        | Code::Ok => Ok(Refusal::of(&status).to_string()),
        Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unimplemented
        | Code::DataLoss
        | Code::Unauthenticated => Err(ClientError::refused(status)),
    }
}
