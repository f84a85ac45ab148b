//! The connection to the leader: dials with patience, listens, notices silence. Owns no run.

use std::pin::Pin;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep, timeout};
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming};

use super::Config;
use super::leases::Leases;
use crate::address::{Address, Directory};
use crate::backoff::Backoff;
use crate::error::{Refusal, innermost};
use crate::pb;
use crate::pb::executor_message::Message;
use crate::pb::executor_reply::Message as Reply;
use crate::pb::executor_service_client::ExecutorServiceClient;
use crate::transport::Dialer;

/// Messages under way to the connection. Few: what waits in `Leases` meanwhile grows into larger batches.
const OUTBOUND_MAX: usize = 4;
/// Largest message taken from the leader: 1024 grants of 16 KiB.
const REPLY_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Keep-alives without an answer after which the leader is taken for gone. Counted rather than measured: a process that
/// was itself stopped for a while has asked only once.
const SILENT_INTERVALS_MAX: u32 = 3;
/// What a leader may ask for as keep-alive interval; and what is used when it asks for nothing.
const KEEP_ALIVE_RANGE: std::ops::RangeInclusive<u32> = 10..=60_000;
const KEEP_ALIVE_DEFAULT_MS: u32 = 5_000;
/// First and longest wait between dials; it grows from one round over the nodes to the next, not with each dial: an
/// election of a second is met within a few hundred milliseconds, and nodes that are gone for good delay the others little.
const BACKOFF_FIRST: Duration = Duration::from_millis(50);
const BACKOFF_CAP: Duration = Duration::from_secs(5);
/// Longest wait for a connection to stand, within the limit of being welcomed: a host that is gone says nothing at all, and the
/// next one is to be asked soon. A lost SYN is sent again after a second (RFC 6298).
const CONNECT_MAX: Duration = Duration::from_secs(2);

/// What the connection has to tell.
pub(super) enum Event {
    /// A leader welcomed this executor; messages go here.
    Opened { outbound: mpsc::Sender<pb::ExecutorMessage>, attempt_max_ms: u64 },
    /// The leader said something.
    Said(Reply),
    /// The keep-alive interval has passed.
    KeepAliveDue { patience: Duration },
    /// There is no connection (any more); `redial` is to be called.
    Lost(Lost),
}

/// Why there is no connection.
pub(super) struct Lost {
    address: Address,
    status: Status,
}

type Dial = Pin<Box<dyn Future<Output = Result<Session, Lost>> + Send>>;

pub(super) struct Link {
    directory: Directory,
    backoff: Backoff,
    /// Whether a hint was followed since the last welcome: the first one is followed without a wait.
    followed: bool,
    state: LinkState,
}

enum LinkState {
    Dialling(Dial),
    Up(Box<Session>),
}

struct Session {
    address: Address,
    outbound: mpsc::Sender<pb::ExecutorMessage>,
    inbound: Streaming<pb::ExecutorReply>,
    /// How long attempts may take in all.
    attempt_max_ms: u64,
    keep_alive: Interval,
    /// Keep-alive intervals since the leader was last heard.
    silent_intervals: u32,
}

impl Link {
    /// A link that dials at once.
    pub(super) fn new(config: &Config, directory: Directory, leases: &Leases) -> Self {
        let first = dial(config, directory.target().clone(), leases, Duration::ZERO);
        let nodes = directory.nodes().len();
        Self {
            directory,
            backoff: Backoff::new(BACKOFF_FIRST, BACKOFF_CAP).in_rounds_of(nodes),
            followed: false,
            state: LinkState::Dialling(first),
        }
    }

    /// Waits for the next event. Nothing is lost when the wait is given up.
    pub(super) async fn next(&mut self) -> Event {
        match &mut self.state {
            LinkState::Dialling(dial) => match dial.as_mut().await {
                Ok(session) => {
                    self.backoff.reset();
                    self.followed = false;
                    tracing::info!(address = %session.address, "connected to the leader");
                    let (outbound, attempt_max_ms) = (session.outbound.clone(), session.attempt_max_ms);
                    self.state = LinkState::Up(Box::new(session));
                    Event::Opened { outbound, attempt_max_ms }
                }
                Err(lost) => Event::Lost(lost),
            },
            LinkState::Up(session) => session.next().await,
        }
    }

    /// Dials again after a loss: the leader that the loss named, or the next node.
    pub(super) fn redial(&mut self, config: &Config, leases: &Leases, lost: &Lost) {
        let refusal = Refusal::of(&lost.status);
        let hinted =
            refusal.leader_address().is_some_and(|leader| self.directory.follow(&lost.address, leader));
        if !hinted {
            self.directory.failed(&lost.address);
        }
        let delay = if hinted && !self.followed { Duration::ZERO } else { self.backoff.delay() };
        self.followed |= hinted;
        let delay = delay.max(refusal.retry_after.unwrap_or_default().min(BACKOFF_CAP));
        let target = self.directory.target().clone();
        tracing::info!(address = %lost.address, cause = lost.status.message(), next = %target, ?delay, "no connection");
        self.state = LinkState::Dialling(dial(config, target, leases, delay));
    }
}

impl Lost {
    /// The refusal in it, when another try cannot change it.
    pub(super) fn is_final(&self) -> bool {
        matches!(self.status.code(), Code::InvalidArgument | Code::PermissionDenied | Code::Unauthenticated)
    }

    pub(super) fn into_status(self) -> Status {
        self.status
    }
}

impl Session {
    async fn next(&mut self) -> Event {
        loop {
            tokio::select! {
                biased;
                message = self.inbound.message() => {
                    self.silent_intervals = 0;
                    return match message {
                        Ok(Some(pb::ExecutorReply { message: Some(reply) })) => Event::Said(reply),
                        // A kind of message that a later release added.
                        Ok(Some(pb::ExecutorReply { message: None })) => continue,
                        Ok(None) => self.lost(Status::unavailable("the leader ended the stream")),
                        Err(status) => self.lost(status),
                    };
                }
                _ = self.keep_alive.tick() => {
                    self.silent_intervals += 1;
                    if self.silent_intervals > SILENT_INTERVALS_MAX {
                        return self.lost(Status::unavailable("the leader is silent"));
                    }
                    return Event::KeepAliveDue { patience: self.keep_alive.period() * SILENT_INTERVALS_MAX };
                }
            }
        }
    }

    fn lost(&self, status: Status) -> Event {
        Event::Lost(Lost { address: self.address.clone(), status })
    }
}

/// A future that waits, connects, says Hello, and is welcomed.
fn dial(config: &Config, address: Address, leases: &Leases, delay: Duration) -> Dial {
    let hello = hello(config, leases);
    let (limit, dialer) = (config.connect_timeout, config.dialer.clone());
    Box::pin(async move {
        sleep(delay).await;
        let opened = match timeout(limit, open(&address, &dialer, hello, limit)).await {
            Ok(opened) => opened,
            Err(_) => Err(Status::unavailable(format!("not welcomed within {limit:?}"))),
        };
        opened.map_err(|status| Lost { address, status: explained(status) })
    })
}

/// What answers without knowing executors is usually another port of a node, or another server.
fn explained(status: Status) -> Status {
    if status.code() != Code::Unimplemented {
        return status;
    }
    let words =
        format!("no executors are taken here, is this the API port of a node? ({})", status.message());
    Status::unimplemented(words)
}

async fn open(
    address: &Address,
    dialer: &Dialer,
    hello: pb::Hello,
    limit: Duration,
) -> Result<Session, Status> {
    let connection = match timeout(CONNECT_MAX, dialer.connect(address.endpoint(limit))).await {
        Ok(connection) => connection.map_err(|error| Status::unavailable(innermost(&error)))?,
        Err(_) => return Err(Status::unavailable(format!("not connected within {CONNECT_MAX:?}"))),
    };
    let mut client = ExecutorServiceClient::new(connection).max_decoding_message_size(REPLY_BYTES_MAX);
    let (outbound, messages) = mpsc::channel(OUTBOUND_MAX);
    // Before the call: a node may want to read Hello before it answers at all.
    let hello = pb::ExecutorMessage { message: Some(Message::Hello(hello)) };
    outbound.try_send(hello).expect("a new channel has room");
    let mut inbound = client.session(ReceiverStream::new(messages)).await?.into_inner();
    let welcome = match inbound.message().await?.and_then(|reply| reply.message) {
        Some(Reply::Welcome(welcome)) => welcome,
        Some(
            Reply::Grants(_)
            | Reply::BeginReplies(_)
            | Reply::CompletionAcks(_)
            | Reply::KeepAlive(_)
            | Reply::Cancels(_)
            | Reply::DrainRequest(_),
        )
        | None => return Err(Status::unavailable("the first message was not a welcome")),
    };
    let asked_for = if welcome.keep_alive_ms == 0 { KEEP_ALIVE_DEFAULT_MS } else { welcome.keep_alive_ms };
    let period = asked_for.clamp(*KEEP_ALIVE_RANGE.start(), *KEEP_ALIVE_RANGE.end());
    let period = Duration::from_millis(period.into());
    let mut keep_alive = interval_at(Instant::now() + period, period);
    keep_alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let attempt_max_ms = welcome.attempt_max_ms;
    Ok(Session {
        address: address.clone(),
        outbound,
        inbound,
        attempt_max_ms,
        keep_alive,
        silent_intervals: 0,
    })
}

fn hello(config: &Config, leases: &Leases) -> pb::Hello {
    let mut handlers: Vec<String> = config.handlers.keys().cloned().collect();
    handlers.sort();
    pb::Hello {
        executor_id: config.executor_id.clone(),
        display_name: config.display_name.clone(),
        pool: config.pool.clone(),
        handlers,
        slots: config.slots,
        version: env!("CARGO_PKG_VERSION").to_owned(),
        held: leases.named_in_hello(Instant::now()),
        labels: config.labels.clone(),
        handler_slots: config.handler_slots.clone(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_host_that_answers_nothing_costs_two_seconds() {
        let dialer = Dialer::by(Arc::new(|_| Box::pin(std::future::pending())));
        let address = Address::parse("gone:7400").expect("it is one");
        let began = Instant::now();
        let Err(status) = open(&address, &dialer, pb::Hello::default(), Duration::from_secs(5)).await else {
            panic!("nobody is there");
        };
        assert_eq!((began.elapsed(), status.message()), (CONNECT_MAX, "not connected within 2s"));
    }

    #[test]
    fn says_that_the_port_may_be_the_wrong_one() {
        let words = explained(Status::unimplemented("mapped from HTTP status code 404"));
        assert_eq!(
            words.message(),
            "no executors are taken here, is this the API port of a node? (mapped from HTTP status code 404)"
        );
        assert_eq!(explained(Status::unavailable("no leader")).message(), "no leader");
    }
}
