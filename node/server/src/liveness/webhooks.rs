//! Webhooks: events as signed requests, tried again until they are taken.
//!
//! What is promised: while one node leads, each event is told at least once, unless its endpoint takes nothing for
//! `webhooks.retry_for`, or its queue is full; both are counted and logged. A new leader tells again what came about in the
//! last [`LOOK_BACK`], as far as its ring of changes and its ledger have it, and whatever is overdue or misses a success still: the
//! former one may not have come to it. Events carry an id that is the same each time, so that a receiver can tell a repetition.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use belfry_core::UnixMillis;
use ring::hmac;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use super::board::{Transition, TransitionKind};
use super::events::{self, Event};
use super::{Parts, http};
use crate::config;
use crate::raft::{Change, ChangeCursor};

/// How far a new leader looks back.
const LOOK_BACK: Duration = Duration::from_secs(600);

/// Changes looked at in one go.
const PART_MAX: usize = 512;

/// How long it rests when there is nothing new, beside what is told of the board.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Ids of events told, so that a run that changes again is not told again.
const TOLD_MAX: usize = 65_536;

/// Waits between tries.
const BACKOFF_FIRST: Duration = Duration::from_secs(1);
const BACKOFF_CAP: Duration = Duration::from_secs(300);

/// A secret that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read the secret of a webhook (webhooks.endpoints, secret_file {path}): {source}")]
pub struct SecretError {
    path: String,
    source: std::io::Error,
}

/// Endpoints, with their secrets.
#[derive(Debug)]
pub struct Webhooks {
    endpoints: Vec<Endpoint>,
    config: config::Webhooks,
}

#[derive(Debug)]
struct Endpoint {
    url: String,
    kinds: HashSet<String>,
    key: Option<hmac::Key>,
}

impl Webhooks {
    /// Reads the secrets.
    pub fn new(config: &config::Webhooks) -> Result<Self, SecretError> {
        let endpoint = |hook: &config::Webhook| {
            let path = &hook.secret_file;
            let key = match path.as_str() {
                "" => None,
                path => {
                    let secret = std::fs::read_to_string(path)
                        .map_err(|source| SecretError { path: path.to_owned(), source })?;
                    Some(hmac::Key::new(hmac::HMAC_SHA256, secret.trim().as_bytes()))
                }
            };
            Ok(Endpoint { url: hook.url.clone(), kinds: hook.events.iter().cloned().collect(), key })
        };
        let endpoints = config.endpoints.iter().map(endpoint).collect::<Result<_, _>>()?;
        Ok(Self { endpoints, config: config.clone() })
    }

    /// Tells whenever this node leads.
    pub(super) async fn run(self, parts: Arc<Parts>, mut transitions: mpsc::Receiver<Transition>) {
        let client = if self.endpoints.is_empty() { None } else { http::client(self.config.timeout.0) };
        let Some(client) = client else {
            // Whoever has nothing to tell must not let the board's channel fill up.
            while transitions.recv().await.is_some() {}
            return;
        };
        loop {
            if !parts.leads() {
                // LIVE-3; what the board says meanwhile is found again by whoever leads.
                while transitions.try_recv().is_ok() {}
                sleep(LOOK_EVERY).await;
                continue;
            }
            self.reign(&parts, &client, &mut transitions).await;
        }
    }

    /// Tells until this node leads no more. What waits then is dropped: the next leader looks back.
    async fn reign(
        &self,
        parts: &Parts,
        client: &reqwest::Client,
        transitions: &mut mpsc::Receiver<Transition>,
    ) {
        let mut queues = Vec::new();
        let mut deliveries = tokio::task::JoinSet::new();
        for endpoint in &self.endpoints {
            let (queue, waiting) = mpsc::channel(self.config.queue_max);
            let delivery = Delivery {
                url: endpoint.url.clone(),
                key: endpoint.key.clone(),
                client: client.clone(),
                retry_for: self.config.retry_for.0,
                metrics: parts.metrics.clone(),
            };
            deliveries.spawn(delivery.run(waiting));
            queues.push((endpoint, queue));
        }
        let since = parts.clock.now().minus(LOOK_BACK);
        let mut teller = Teller { queues, told: Told::default(), since, parts };
        let mut cursor = parts.replica.changes().start();
        for transition in parts.board.all(parts.clock.now()) {
            let event = events::of_transition(&transition);
            match transition.kind {
                TransitionKind::Recovered => teller.tell_recent(event),
                // What is wrong still is told however long ago it began: there may have been no leader to tell it.
                TransitionKind::Overdue | TransitionKind::SuccessMissed => teller.tell(event),
            }
        }
        while parts.leads() {
            let more = teller.look(&mut cursor);
            let rest = if more { Duration::ZERO } else { LOOK_EVERY };
            tokio::select! {
                Some(transition) = transitions.recv() => teller.tell(events::of_transition(&transition)),
                () = sleep(rest) => {}
            }
        }
        deliveries.shutdown().await;
    }
}

/// Turns changes into events and puts them into the queues.
struct Teller<'a> {
    queues: Vec<(&'a Endpoint, mpsc::Sender<Arc<Event>>)>,
    told: Told,
    since: UnixMillis,
    parts: &'a Parts,
}

impl Teller<'_> {
    /// Looks at a part of the changes; says whether there are more.
    fn look(&mut self, cursor: &mut ChangeCursor) -> bool {
        let log = self.parts.replica.changes();
        let part = match log.read(*cursor, PART_MAX) {
            Ok(part) => part,
            Err(gone) => {
                tracing::warn!(%gone, "webhooks fell behind: some events are not told");
                self.parts.metrics.count_webhooks("dropped", 1);
                *cursor = log.end();
                return false;
            }
        };
        *cursor = part.next;
        let more = part.whole_up_to.is_some();
        let found: Vec<_> = self.parts.replica.read(|state| {
            let event = |(_, change)| match change {
                Change::Run(id) => events::of_run(state, state.run(id)?),
                Change::Schedule(id, _) => events::of_schedule(state.schedule(id)?),
                Change::Deleted(_) => None,
            };
            part.changes.into_iter().filter_map(event).collect()
        });
        for event in found {
            self.tell_recent(event);
        }
        more
    }

    /// Tells what the former leader may not have come to.
    fn tell_recent(&mut self, event: Event) {
        if event.at >= self.since {
            self.tell(event);
        }
    }

    fn tell(&mut self, event: Event) {
        if !self.told.is_new(&event.id) {
            return;
        }
        let event = Arc::new(event);
        for (endpoint, queue) in &self.queues {
            let wanted = endpoint.kinds.is_empty() || endpoint.kinds.contains(event.kind);
            if wanted && queue.try_send(event.clone()).is_err() {
                // LIVE-2
                self.parts.metrics.count_webhooks("dropped", 1);
                tracing::warn!(id = event.id, "a webhook's queue is full: the event is dropped");
            }
        }
    }
}

/// Ids, the oldest forgotten first.
#[derive(Default)]
struct Told {
    ids: HashSet<String>,
    order: VecDeque<String>,
}

impl Told {
    fn is_new(&mut self, id: &str) -> bool {
        if !self.ids.insert(id.to_owned()) {
            return false;
        }
        self.order.push_back(id.to_owned());
        if self.order.len() > TOLD_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
        true
    }
}

/// Brings the events of one endpoint there, one after the other.
struct Delivery {
    url: String,
    key: Option<hmac::Key>,
    client: reqwest::Client,
    retry_for: Duration,
    metrics: crate::metrics::Metrics,
}

impl Delivery {
    async fn run(self, mut waiting: mpsc::Receiver<Arc<Event>>) {
        while let Some(event) = waiting.recv().await {
            let (begun_at, mut backoff) = (Instant::now(), BACKOFF_FIRST);
            loop {
                let why = match self.send(&event).await {
                    Ok(()) => {
                        self.metrics.count_webhooks("delivered", 1);
                        break;
                    }
                    Err(why) => why,
                };
                if begun_at.elapsed() + backoff > self.retry_for {
                    self.metrics.count_webhooks("failed", 1);
                    tracing::warn!(id = event.id, why, "a webhook did not take an event: given up");
                    break;
                }
                tracing::debug!(id = event.id, why, "a webhook did not take an event: trying again");
                sleep(backoff).await;
                backoff = (backoff * 2).min(BACKOFF_CAP);
            }
        }
    }

    async fn send(&self, event: &Event) -> Result<(), String> {
        let body = event.body.to_string();
        let seconds = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        let mut request = self
            .client
            .post(&self.url)
            .header("content-type", "application/json")
            .header("belfry-event", event.kind)
            .header("belfry-event-id", &event.id);
        if let Some(key) = &self.key {
            request = request.header("belfry-signature", signature(key, seconds.as_secs(), &body));
        }
        let answer = request.body(body).send().await.map_err(|error| error.without_url().to_string())?;
        if answer.status().is_success() { Ok(()) } else { Err(format!("it answered {}", answer.status())) }
    }
}

/// `t=…,v1=…`: HMAC-SHA256 of the time, a dot and the body.
fn signature(key: &hmac::Key, unix_seconds: u64, body: &str) -> String {
    use std::fmt::Write as _;
    let tag = hmac::sign(key, format!("{unix_seconds}.{body}").as_bytes());
    let mut text = format!("t={unix_seconds},v1=");
    for byte in tag.as_ref() {
        write!(text, "{byte:02x}").expect("writing to a string cannot fail");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_signed_as_anybody_can_check() {
        // printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac secret
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"secret");
        let expected = "t=1700000000,v1=49f24e537407743fa4a0242bb63b94b9a47ee99cbbe071ccd8a22550ae411686";
        assert_eq!(signature(&key, 1_700_000_000, r#"{"a":1}"#), expected);
    }

    #[test]
    fn an_event_is_told_once_and_ids_are_bounded() {
        let mut told = Told::default();
        assert!(told.is_new("a") && !told.is_new("a"));
        for number in 0..TOLD_MAX {
            told.is_new(&number.to_string());
        }
        assert_eq!(told.ids.len(), TOLD_MAX);
        assert!(told.is_new("a"), "it was forgotten");
    }
}
