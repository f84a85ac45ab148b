//! One call, over as many tries as are safe and as its time allows.
//!
//! ```text
//!  try ──► answer ─────────────────────────────────────► Ok
//!   ▲ └──► refusal (NOT_FOUND, ABORTED, ..) ───────────► Err, or unknown: a lost try before it may have been done
//!   │ └──► not done (connect failed, NOT_LEADER, ..) ─┐   after a lost try also: too much for now
//!   │ └──► lost (connection or time ran out) ─────────┤ may have been done
//!   └── hint, next node, or back-off ◄────────────────┘
//! ```
//!
//! Only what says UNAVAILABLE, or did not come to an answer, is tried again; the id of a mutation stays the same (SDK-1).
//! When time is up, one lost try is enough to call the outcome unknown (SDK-2).

use std::error::Error as _;
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use tonic::transport::Channel;
use tonic::{Code, ConnectError, Request, Response, Status, TimeoutExpired};

use super::{Client, Mutation};
use crate::address::Address;
use crate::backoff::Backoff;
use crate::error::{ClientError, Refusal, innermost};
use crate::random;
use crate::time::after;

/// First and longest wait between rounds over the nodes: a leader is elected within about a second.
const BACKOFF_FIRST: Duration = Duration::from_millis(50);
const BACKOFF_CAP: Duration = Duration::from_secs(1);
/// Hints followed without a wait, in one round: two nodes that name each other must not be asked in a hot loop.
const HINTS_PER_ROUND_MAX: u32 = 2;

/// Least time for another try: one that begins with less turns a clear "not done" into an unknown outcome.
const TRY_MIN: Duration = Duration::from_millis(100);

/// How far a call may be repeated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Repeat {
    /// It changes nothing.
    Always,
    /// It changes something, and nodes know a second try by this id.
    Deduplicated { request_id: String },
    /// It changes something: only while it is certain that nobody has received it.
    UntilSent,
}

impl Repeat {
    pub(super) fn read<T>(request: T) -> (T, Self) {
        (request, Self::Always)
    }

    pub(super) fn once<T>(request: T) -> (T, Self) {
        (request, Self::UntilSent)
    }

    /// Gives the request an id unless the caller chose one.
    pub(super) fn mutation<T: Mutation>(mut request: T) -> (T, Self) {
        if request.request_id().is_empty() {
            *request.request_id() = random::ulid().to_string();
        }
        let repeat = if request.validate_only() {
            Self::Always
        } else {
            Self::Deduplicated { request_id: request.request_id().clone() }
        };
        (request, repeat)
    }
}

impl Client {
    /// Makes a call: `send` puts one try of it on a connection.
    pub(super) async fn call<T, A, F, S>(
        &self,
        name: &'static str,
        request: T,
        repeat: Repeat,
        send: S,
    ) -> Result<A, ClientError>
    where
        T: Clone,
        F: Future<Output = Result<Response<A>, Status>>,
        S: Fn(Channel, Request<T>) -> F,
    {
        let options = &self.shared.options;
        let deadline = after(Instant::now(), options.timeout);
        let mut progress = Progress::new();
        loop {
            let address = self.target();
            let limit = self.try_limit(&repeat, deadline);
            let fault = match self.connection(&address, limit).await {
                Ok(connection) => {
                    let mut attempt = Request::new(request.clone());
                    let limit = self.try_limit(&repeat, deadline);
                    attempt.set_timeout(limit);
                    match timeout(limit, send(connection, attempt)).await {
                        Ok(Ok(response)) => return Ok(response.into_inner()),
                        Ok(Err(status)) => Fault::of(status),
                        Err(_) => Fault::Silent,
                    }
                }
                Err(cause) => Fault::NotConnected(cause),
            };
            let fault = match fault {
                // To ask again, when the node says, is the way to find out what became of the lost try.
                Fault::Refused(status) if progress.may_be_done && is_for_later(&status) => {
                    Fault::NotDone(Box::new(Refusal::of(&status)))
                }
                Fault::Refused(status) if progress.may_be_done && !answers_for_all_tries(status.code()) => {
                    progress.record(Fault::Refused(status));
                    return Err(self.give_up(progress, repeat));
                }
                Fault::Refused(status) => return Err(ClientError::refused(status)),
                fault @ (Fault::NotDone(_) | Fault::NotConnected(_) | Fault::Lost(_) | Fault::Silent) => {
                    fault
                }
            };
            tracing::debug!(call = name, %address, cause = fault.cause(), "a try failed");
            let wait = self.turn(&address, &fault, &mut progress);
            progress.record(fault);
            let over = deadline.saturating_duration_since(Instant::now()) <= wait + TRY_MIN;
            if over || (progress.may_be_done && repeat == Repeat::UntilSent) {
                return Err(self.give_up(progress, repeat));
            }
            sleep(wait).await;
        }
    }

    /// A try gets all the time there is, unless it may be repeated and somebody else could be asked.
    fn try_limit(&self, repeat: &Repeat, deadline: Instant) -> Duration {
        let left = deadline.saturating_duration_since(Instant::now());
        let alone = self.with_state(|state| state.directory.nodes().len()) == 1;
        if alone || *repeat == Repeat::UntilSent { left } else { left.min(self.shared.options.try_timeout) }
    }

    /// Chooses whom to ask next and says how long to wait before.
    fn turn(&self, address: &Address, fault: &Fault, progress: &mut Progress) -> Duration {
        self.with_state(|state| {
            if fault.breaks_connection() {
                // Whoever comes here next connects afresh.
                state.connections.remove(address);
            }
            let hint = fault.refusal().and_then(Refusal::leader_address);
            if let Some(leader) = hint
                && progress.hints_followed < HINTS_PER_ROUND_MAX
                && state.directory.follow(address, leader)
            {
                progress.hints_followed += 1;
                return Duration::ZERO;
            }
            state.directory.failed(address);
            progress
                .wait(state.directory.nodes().len(), fault.refusal().and_then(|refusal| refusal.retry_after))
        })
    }

    fn give_up(&self, progress: Progress, repeat: Repeat) -> ClientError {
        let cause = progress.cause();
        match repeat {
            Repeat::Deduplicated { request_id } if progress.may_be_done => {
                return ClientError::OutcomeUnknown { request_id: Some(request_id), cause };
            }
            Repeat::UntilSent if progress.may_be_done => {
                return ClientError::OutcomeUnknown { request_id: None, cause };
            }
            Repeat::Deduplicated { .. } | Repeat::UntilSent | Repeat::Always => {}
        }
        match progress.last {
            Some(Fault::NotDone(refusal)) if refusal.is_leaderless() => ClientError::NoLeader(refusal),
            Some(Fault::Refused(status)) => ClientError::refused(status),
            Some(Fault::NotDone(_) | Fault::NotConnected(_) | Fault::Lost(_) | Fault::Silent) | None => {
                ClientError::Unreachable {
                    endpoints: self.with_state(|state| {
                        state.directory.nodes().iter().map(ToString::to_string).collect()
                    }),
                    cause,
                }
            }
        }
    }
}

/// What a try came to when it came to no answer.
#[derive(Debug)]
enum Fault {
    /// The last word of a node: not to be repeated.
    Refused(Status),
    /// A node said UNAVAILABLE and certainly did nothing.
    NotDone(Box<Refusal>),
    /// Nobody received it.
    NotConnected(String),
    /// It was sent, and then the connection or the node went away.
    Lost(Box<Refusal>),
    /// It was sent, and nothing came back in time.
    Silent,
}

impl Fault {
    fn of(status: Status) -> Self {
        let refusal = || Box::new(Refusal::of(&status));
        if caused_by::<ConnectError>(&status) {
            return Self::NotConnected(innermost(&status));
        }
        if caused_by::<TimeoutExpired>(&status) {
            return Self::Silent;
        }
        // A status with a source was made on this side: the connection broke under the call.
        if status.source().is_some() {
            return Self::Lost(refusal());
        }
        match status.code() {
            Code::Unavailable => {
                let refusal = refusal();
                if refusal.is_leaderless() { Self::NotDone(refusal) } else { Self::Lost(refusal) }
            }
            // A node that ran into the deadline of the call says CANCELLED where tonic gave up for it.
            Code::DeadlineExceeded | Code::Cancelled => Self::Silent,
            Code::Ok
            | Code::Unknown
            | Code::InvalidArgument
            | Code::NotFound
            | Code::AlreadyExists
            | Code::PermissionDenied
            | Code::ResourceExhausted
            | Code::FailedPrecondition
            | Code::Aborted
            | Code::OutOfRange
            | Code::Unimplemented
            | Code::Internal
            | Code::DataLoss
            | Code::Unauthenticated => Self::Refused(status),
        }
    }

    fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::NotDone(refusal) | Self::Lost(refusal) => Some(refusal),
            Self::Refused(_) | Self::NotConnected(_) | Self::Silent => None,
        }
    }

    fn may_be_done(&self) -> bool {
        match self {
            Self::Lost(_) | Self::Silent => true,
            Self::Refused(_) | Self::NotDone(_) | Self::NotConnected(_) => false,
        }
    }

    fn breaks_connection(&self) -> bool {
        match self {
            Self::Lost(_) | Self::Silent | Self::NotConnected(_) => true,
            Self::Refused(_) | Self::NotDone(_) => false,
        }
    }

    fn cause(&self) -> String {
        match self {
            Self::Refused(status) => status.message().to_owned(),
            Self::NotDone(refusal) | Self::Lost(refusal) => refusal.to_string(),
            Self::NotConnected(cause) => cause.clone(),
            Self::Silent => "no answer in time".to_owned(),
        }
    }
}

/// Whether a node refuses for now, and says when to ask again.
fn is_for_later(status: &Status) -> bool {
    status.code() == Code::ResourceExhausted && Refusal::of(status).retry_after.is_some()
}

/// Whether a refusal holds for the earlier tries of the call too: the ledger gives it, and knows the request by its id. The
/// others are given at the door (too many calls, no permission, an older release) and say nothing of a try that was lost.
fn answers_for_all_tries(code: Code) -> bool {
    match code {
        Code::NotFound
        | Code::AlreadyExists
        | Code::Aborted
        | Code::FailedPrecondition
        | Code::InvalidArgument
        | Code::OutOfRange => true,
        Code::Ok
        | Code::Cancelled
        | Code::Unknown
        | Code::DeadlineExceeded
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::Unimplemented
        | Code::Internal
        | Code::Unavailable
        | Code::DataLoss
        | Code::Unauthenticated => false,
    }
}

/// What is known after the tries so far.
#[derive(Debug)]
struct Progress {
    backoff: Backoff,
    tries_in_round: usize,
    hints_followed: u32,
    may_be_done: bool,
    last: Option<Fault>,
}

impl Progress {
    fn new() -> Self {
        Self {
            backoff: Backoff::new(BACKOFF_FIRST, BACKOFF_CAP),
            tries_in_round: 0,
            hints_followed: 0,
            may_be_done: false,
            last: None,
        }
    }

    /// Nodes are asked one after the other at once; a wait comes after each round, and wherever a node asked for one.
    fn wait(&mut self, nodes: usize, asked_for: Option<Duration>) -> Duration {
        self.tries_in_round += 1;
        let round_over = self.tries_in_round >= nodes;
        if round_over {
            self.tries_in_round = 0;
            self.hints_followed = 0;
        }
        let own = if round_over { self.backoff.delay() } else { Duration::ZERO };
        own.max(asked_for.unwrap_or_default())
    }

    fn record(&mut self, fault: Fault) {
        self.may_be_done |= fault.may_be_done();
        self.last = Some(fault);
    }

    fn cause(&self) -> String {
        self.last.as_ref().map_or_else(|| "no time left".to_owned(), Fault::cause)
    }
}

/// Whether an error of this kind is in the chain of sources.
fn caused_by<E: std::error::Error + 'static>(status: &Status) -> bool {
    let mut source = status.source();
    while let Some(error) = source {
        if error.is::<E>() {
            return true;
        }
        source = error.source();
    }
    false
}

#[cfg(test)]
mod tests {
    use tonic_types::{ErrorDetails, StatusExt as _};

    use super::*;
    use crate::pb;

    #[test]
    fn a_mutation_gets_an_id_unless_it_has_one() {
        let (request, repeat) = Repeat::mutation(pb::PauseScheduleRequest::default());
        assert_eq!(request.request_id.len(), 26);
        assert_eq!(repeat, Repeat::Deduplicated { request_id: request.request_id });
        let chosen = pb::PauseScheduleRequest { request_id: "mine".into(), ..Default::default() };
        assert_eq!(Repeat::mutation(chosen).1, Repeat::Deduplicated { request_id: "mine".into() });
    }

    #[test]
    fn only_unavailable_and_lost_answers_are_tried_again() {
        let unavailable = |reason: &str| {
            let details = ErrorDetails::with_error_info(reason, "belfry", []);
            Status::with_error_details(Code::Unavailable, "later", details)
        };
        assert!(matches!(Fault::of(unavailable("NO_LEADER")), Fault::NotDone(_)));
        assert!(matches!(Fault::of(unavailable("NOT_LEADER")), Fault::NotDone(_)));
        assert!(matches!(Fault::of(unavailable("FORWARDING_FAILED")), Fault::Lost(_)));
        assert!(matches!(Fault::of(Status::deadline_exceeded("")), Fault::Silent));
        assert!(matches!(Fault::of(Status::cancelled("Timeout expired")), Fault::Silent));
        assert!(matches!(Fault::of(Status::resource_exhausted("")), Fault::Refused(_)));
        assert!(matches!(Fault::of(Status::aborted("")), Fault::Refused(_)));
        assert!(matches!(Fault::of(Status::internal("")), Fault::Refused(_)));
    }

    #[test]
    fn waits_after_each_round_and_where_a_node_asks_for_it() {
        let mut progress = Progress::new();
        assert_eq!(progress.wait(2, None), Duration::ZERO);
        assert!(progress.wait(2, None) > Duration::ZERO);
        assert_eq!(progress.wait(2, Some(Duration::from_secs(3))), Duration::from_secs(3));
    }
}
