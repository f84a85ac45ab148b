//! The loop that owns an executor: takes what the link and the runs have to tell, and says what is due.
//!
//! ```text
//!   SERVING ──shutdown──► DRAINING ──grace passed──► STOPPING ──nothing held, or given up──► the end
//!      │                     ▲ └──────────nothing held──────────────────────────────────────►┘
//!      └─the leader asks─► DRAINING without end ──nothing held──────────────────────────────►┘
//!                            └──shutdown──► DRAINING
//! ```
//!
//! Who shuts the process down kills it some time; who drains an executor waits for its runs. So only a shutdown has a grace.
//!
//! One pass of the loop takes everything that is ready before it says anything: what is due meanwhile becomes one batch.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tracing::Instrument as _;

use super::attempt::carry_out;
use super::context::RunName;
use super::leases::{Lease, Leases, Offer};
use super::link::{Event, Link, Lost};
use super::progress::Pace;
use super::slots::HandlerSlots;
use super::{Config, ExecutorError, Summary};
use crate::address::Directory;
use crate::pb;
use crate::pb::completion::Result as RunResult;
use crate::pb::executor_reply::Message as Reply;
use crate::time::{after, at};

/// How long the last completions may wait for an acknowledgement once nothing runs any more: a leader is elected within
/// about a second.
const DELIVERY: Duration = Duration::from_secs(5);
/// How long dropping what still runs at the very end may take.
const LAST_STOP: Duration = Duration::from_secs(1);
/// Ends of runs taken in one pass of the loop.
const ENDS_PER_PASS: usize = 1024;

pub(super) struct Runtime {
    config: Config,
    leases: Leases,
    link: Link,
    outbound: Option<mpsc::Sender<pb::ExecutorMessage>>,
    running: JoinSet<pb::Completion>,
    stage: Stage,
    summary: Summary,
    noted: Arc<Notify>,
    pace: Pace,
}

#[derive(Clone, Copy)]
enum Stage {
    Serving,
    /// Nothing new is begun; at this instant, if there is one, what runs is cancelled.
    Draining {
        cancel_at: Option<Instant>,
    },
    /// All is cancelled; at this instant what is not delivered stays undelivered.
    Stopping {
        give_up_at: Instant,
    },
}

impl Runtime {
    pub(super) fn new(config: Config, directory: Directory) -> Self {
        let leases = Leases::new(config.slots, HandlerSlots::new(&config.handler_slots));
        let link = Link::new(&config, directory, &leases);
        Self {
            noted: leases.noted(),
            pace: Pace::default(),
            config,
            leases,
            link,
            outbound: None,
            running: JoinSet::new(),
            stage: Stage::Serving,
            summary: Summary::default(),
        }
    }

    pub(super) async fn run(
        mut self,
        shutdown: impl Future<Output = ()> + Send,
    ) -> Result<Summary, ExecutorError> {
        let mut shutdown = std::pin::pin!(shutdown);
        while !self.is_over() {
            let may_say = self.outbound.is_some() && self.leases.has_message();
            tokio::select! {
                biased;
                () = &mut shutdown, if self.stage.may_shut_down() => self.shut_down(),
                () = at(self.stage.next_at()), if self.stage.next_at().is_some() => self.next_stage(),
                event = self.link.next() => self.take(event)?,
                Some(ended) = self.running.join_next() => {
                    self.ended(ended);
                    self.take_more_ends();
                }
                () = self.noted.notified(), if self.pace.due_at().is_none() => self.pace.noted(Instant::now()),
                () = at(self.pace.due_at()), if self.pace.due_at().is_some() => self.pass_notes_on(),
                open = room(self.outbound.as_ref()), if may_say => self.say(open),
            }
        }
        Ok(self.finish().await)
    }

    /// Says the next thing, now that there is room for it.
    fn say(&mut self, open: bool) {
        let message = if open { self.leases.next_message(Instant::now()) } else { None };
        let Some(outbound) = &self.outbound else { return };
        let sent = match message {
            Some(message) => outbound.try_send(pb::ExecutorMessage { message: Some(message) }).is_ok(),
            None => open,
        };
        if !sent {
            // The connection is gone: the link is about to tell, and a new session says everything again.
            self.outbound = None;
        }
    }

    fn pass_notes_on(&mut self) {
        self.pace.passed_on(Instant::now());
        self.leases.notes_due();
    }

    fn is_over(&self) -> bool {
        match self.stage {
            Stage::Serving => false,
            Stage::Draining { .. } => self.leases.len() == 0,
            Stage::Stopping { give_up_at } => self.leases.len() == 0 || Instant::now() >= give_up_at,
        }
    }

    fn shut_down(&mut self) {
        tracing::info!(held = self.leases.len(), grace = ?self.config.grace, "shutdown: draining");
        if matches!(self.stage, Stage::Serving) {
            self.leases.drain();
        }
        self.stage = Stage::Draining { cancel_at: Some(after(Instant::now(), self.config.grace)) };
    }

    /// The leader asks, again after each reconnect.
    fn drain_requested(&mut self) {
        if matches!(self.stage, Stage::Serving) {
            tracing::info!(
                held = self.leases.len(),
                "the cluster asks this executor to drain: it ends with its last run"
            );
            self.summary.drain_requested = true;
            self.leases.drain();
            self.stage = Stage::Draining { cancel_at: None };
        }
    }

    fn next_stage(&mut self) {
        let now = Instant::now();
        match self.stage {
            Stage::Serving => {}
            Stage::Draining { .. } => {
                tracing::warn!(running = self.running.len(), "the grace period passed: cancelling what runs");
                self.leases.cancel_running(after(now, self.config.abort_after));
                let stop = if self.running.is_empty() { Duration::ZERO } else { self.config.abort_after };
                self.stage = Stage::Stopping { give_up_at: after(after(now, stop), DELIVERY) };
            }
            // `is_over` ends the loop.
            Stage::Stopping { .. } => {}
        }
    }

    fn take(&mut self, event: Event) -> Result<(), ExecutorError> {
        match event {
            Event::Opened { outbound, attempt_max_ms } => {
                self.summary.sessions += 1;
                self.leases.reconnected(attempt_max_ms);
                self.outbound = Some(outbound);
            }
            Event::Said(reply) => self.hear(reply),
            Event::KeepAliveDue { patience } => self.leases.tick(Instant::now(), patience),
            Event::Lost(lost) => return self.lost(lost),
        }
        Ok(())
    }

    fn hear(&mut self, reply: Reply) {
        match reply {
            Reply::Grants(grants) => grants.grants.into_iter().for_each(|grant| self.granted(grant)),
            Reply::BeginReplies(answers) => {
                let now = Instant::now();
                for answer in answers.replies {
                    if let Some(lease) = self.leases.answer(answer, now) {
                        self.start(lease);
                    }
                }
            }
            Reply::CompletionAcks(acks) => acks.acks.iter().for_each(|ack| self.leases.acknowledged(ack)),
            // Their arrival is all there is to them.
            Reply::Welcome(_) | Reply::KeepAlive(_) => {}
            Reply::Cancels(cancels) => {
                let now = Instant::now();
                let abort_after = self.config.abort_after;
                cancels.cancels.iter().for_each(|cancel| self.leases.cancel(cancel, now, abort_after));
            }
            Reply::DrainRequest(_) => self.drain_requested(),
        }
    }

    fn granted(&mut self, mut grant: pb::Grant) {
        let Some(handler) = self.config.handlers.get(&grant.handler) else {
            tracing::warn!(run = grant.run, handler = grant.handler, "declined: no such handler here");
            return self.leases.decline(grant.run_id);
        };
        let run = match RunName::of(std::mem::take(&mut grant.run)) {
            Ok(run) => run,
            Err(text) => {
                tracing::warn!(run = text, "declined: this is not the name of a run");
                return self.leases.decline(grant.run_id);
            }
        };
        self.leases.offer(Offer { run, handler: Arc::clone(handler), grant });
    }

    fn start(&mut self, lease: Lease) {
        self.summary.started += 1;
        let span = tracing::info_span!(
            "run",
            run = %lease.offer.run,
            attempt = lease.offer.grant.attempt,
            fencing_token = lease.fencing_token,
        );
        self.running.spawn(carry_out(lease, self.config.abort_after).instrument(span));
    }

    fn take_more_ends(&mut self) {
        for _ in 1..ENDS_PER_PASS {
            let Some(ended) = self.running.try_join_next() else { return };
            self.ended(ended);
        }
    }

    fn ended(&mut self, ended: Result<pb::Completion, tokio::task::JoinError>) {
        // `carry_out` catches the panics of user code, and nobody aborts it before the end.
        let completion = ended.expect("an attempt ends with a completion");
        match completion.result() {
            RunResult::Succeeded => self.summary.succeeded += 1,
            RunResult::Failed | RunResult::Unspecified => self.summary.failed += 1,
            RunResult::Cancelled => self.summary.cancelled += 1,
            RunResult::TimedOut => self.summary.timed_out += 1,
            RunResult::NotStarted => self.summary.not_started += 1,
        }
        self.leases.ended(completion);
    }

    fn lost(&mut self, lost: Lost) -> Result<(), ExecutorError> {
        self.outbound = None;
        if lost.is_final() && self.summary.sessions == 0 {
            let status = Box::new(lost.into_status());
            return Err(ExecutorError::Refused { message: status.message().to_owned(), status });
        }
        self.link.redial(&self.config, &self.leases, &lost);
        Ok(())
    }

    async fn finish(mut self) -> Summary {
        // Code that blocks its thread cannot be stopped; it must not keep the process from ending either.
        if timeout(LAST_STOP, self.running.shutdown()).await.is_err() {
            tracing::error!("some user code blocks its thread and cannot be stopped");
        }
        let undelivered = self.leases.len();
        if undelivered > 0 {
            tracing::error!(undelivered, "stopped without telling the cluster how these runs ended");
        }
        Summary {
            declined: self.leases.declined(),
            cancelled: self.summary.cancelled + self.leases.cancelled_unstarted(),
            not_started: self.summary.not_started + self.leases.handed_back(),
            undelivered: u64::try_from(undelivered).unwrap_or(u64::MAX),
            ..self.summary
        }
    }
}

impl Stage {
    /// When the stage ends by itself.
    fn next_at(self) -> Option<Instant> {
        match self {
            Self::Serving => None,
            Self::Draining { cancel_at } => cancel_at,
            Self::Stopping { give_up_at } => Some(give_up_at),
        }
    }

    /// Whether a shutdown would still change something. It is waited for no longer once it has come.
    fn may_shut_down(self) -> bool {
        match self {
            Self::Serving | Self::Draining { cancel_at: None } => true,
            Self::Draining { cancel_at: Some(_) } | Self::Stopping { .. } => false,
        }
    }
}

/// Waits for room for one message; false when the connection is gone. This loop is the only sender, so room stays.
async fn room(outbound: Option<&mpsc::Sender<pb::ExecutorMessage>>) -> bool {
    match outbound {
        Some(outbound) => outbound.reserve().await.is_ok(),
        None => false,
    }
}
