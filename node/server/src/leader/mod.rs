//! What only the leader does: make rows when instants come, offer runs to executors, commit their begins and completions,
//! give up on what was lost.
//!
//! ```text
//!              ┌── ticker ──────── Fire ─────────┐
//!   due index ─┤                                 ▼
//!              │                              replica ──► offers ──► dispatch loop ──► sessions ──► executors
//!              └── expiry ─ ExpireLeases/Starts ─▲ ▲                                      │
//!                  housekeeping ─ Prune ─────────┘ └───── Begin, Complete ── committers ◄─┘
//! ```
//!
//! - REIGN-1: all of it exists only between the first barrier of a term and the end of leadership: a [`Reign`] is made
//!   then and dropped after. Nothing in it is worth keeping: the ledger is the truth.
//! - REIGN-2: when a reign ends, every session ends with UNAVAILABLE, so that executors dial the next leader.

mod backfill;
mod commit;
mod dispatch;
mod expiry;
mod grant;
mod housekeeping;
mod members;
mod pace;
mod pump;
mod reconcile;
mod said;
mod session;
mod ticker;
mod upgrade;
mod zones;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use belfry_core::command::{Command, Outcome};
use belfry_core::retention::Retention;
use belfry_core::{FencingToken, RunId, UnixMillis};
use belfry_proto::v1 as pb;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock::SharedClock;
use crate::metrics::Metrics;
use crate::raft::{Leadership, Replica};
use crate::timings::Timings;

pub use session::ExecutorSessions;

/// Limits of the leader's work.
#[derive(Clone, Debug)]
pub struct LeaderLimits {
    /// Schedules fired by one log entry.
    pub fire_batch_max: usize,
    /// Begins in one log entry.
    pub begin_batch_max: usize,
    /// Completions in one log entry.
    pub complete_batch_max: usize,
    /// An offer that was not begun for this long moves on.
    pub offer_timeout: Duration,
    /// Catch-up and backfill runs offered in one second.
    pub catch_up_starts_per_second: u32,
    /// Executors must be heard of this often.
    pub keep_alive: Duration,
    /// Executors connected at once.
    pub executors_max: usize,
    /// Slots of one executor.
    pub slots_max: u32,
    /// What the ledger keeps.
    pub retention: Retention,
}

/// Messages from sessions that the dispatch loop has not looked at yet. Full: the sessions wait, and with them their
/// streams (back-pressure by HTTP/2 flow control).
const EVENTS_MAX: usize = 4096;

/// Batches that wait for a committer; likewise.
const BATCHES_MAX: usize = 1024;

/// The leader's part of a node: watches leadership and reigns while it lasts.
pub struct Leader {
    replica: Replica,
    clock: SharedClock,
    timings: Timings,
    metrics: Metrics,
    limits: LeaderLimits,
    reign: Mutex<Option<Arc<Reign>>>,
}

/// One term of leadership, seen by sessions.
pub(crate) struct Reign {
    term: u64,
    shared: Arc<Shared>,
    events: mpsc::Sender<pump::Event>,
    begins: mpsc::Sender<commit::BeginBatch>,
    completions: mpsc::Sender<commit::CompletionBatch>,
    executors: Arc<Mutex<Vec<pb::ExecutorStatus>>>,
    ended: CancellationToken,
}

/// What the tasks of a reign have in common.
struct Shared {
    replica: Replica,
    clock: SharedClock,
    timings: Timings,
    metrics: Metrics,
    limits: LeaderLimits,
    liveness: expiry::Liveness,
    progress: said::Said<String>,
    /// Until when attempts go on that were extended, by the leader's clock.
    extended: said::Said<UnixMillis>,
}

impl Shared {
    /// Proposes a command of the leader itself. None when it did not go through: the caller's next round decides anew
    /// from the ledger.
    async fn propose(&self, what: &'static str, command: &Command) -> Option<Outcome> {
        match self.replica.propose(command).await {
            Ok((_, applied)) => match applied.outcome {
                Ok(outcome) => Some(outcome),
                Err(rejection) => {
                    tracing::error!(what, %rejection, "the state machine refused the leader's own command");
                    self.metrics.count_proposal_failed(what);
                    None
                }
            },
            Err(error) => {
                tracing::debug!(what, %error, "proposal did not go through");
                self.metrics.count_proposal_failed(what);
                None
            }
        }
    }
}

impl Leader {
    /// A leader-to-be.
    pub fn new(
        replica: Replica,
        clock: SharedClock,
        timings: Timings,
        metrics: Metrics,
        limits: LeaderLimits,
    ) -> Arc<Self> {
        Arc::new(Self { replica, clock, timings, metrics, limits, reign: Mutex::default() })
    }

    /// Reigns whenever this node leads, until `stop`.
    pub async fn run(self: Arc<Self>, stop: CancellationToken) {
        let mut leadership = self.replica.leadership();
        loop {
            let term = match &*leadership.borrow_and_update() {
                Leadership::Leader { term } => Some(*term),
                Leadership::Follower { .. } => None,
            };
            if let Some(term) = term {
                tracing::info!(term, "leading: schedules fire from here");
                self.reign(term, &mut leadership, &stop).await;
                tracing::info!(term, "no longer leading");
            }
            if stop.is_cancelled() {
                return;
            }
            tokio::select! {
                () = stop.cancelled() => return,
                changed = leadership.changed(), if term.is_none() => if changed.is_err() { return },
                () = std::future::ready(()), if term.is_some() => {}
            }
        }
    }

    /// One reign, to its end.
    async fn reign(
        &self,
        term: u64,
        leadership: &mut tokio::sync::watch::Receiver<Leadership>,
        stop: &CancellationToken,
    ) {
        let (reign, mut tasks) = self.begin_reign(term);
        *self.reign.lock().unwrap_or_else(PoisonError::into_inner) = Some(reign.clone());
        let still =
            |now: &Leadership| matches!(now, Leadership::Leader { term: current } if *current == term);
        tokio::select! {
            _ = leadership.wait_for(|now| !still(now)) => {}
            () = stop.cancelled() => {}
            ended = tasks.join_next() => {
                // A task of a reign ends only with its reign; anything else is a bug worth a restart of all of them.
                tracing::error!(?ended, "a task of the leader ended by itself");
            }
        }
        *self.reign.lock().unwrap_or_else(PoisonError::into_inner) = None;
        reign.ended.cancel();
        self.replica.effects().stop();
        tasks.shutdown().await;
        self.metrics.clear_leader_gauges();
    }

    fn begin_reign(&self, term: u64) -> (Arc<Reign>, JoinSet<()>) {
        let shared = Arc::new(Shared {
            replica: self.replica.clone(),
            clock: self.clock.clone(),
            timings: self.timings.clone(),
            metrics: self.metrics.clone(),
            limits: self.limits.clone(),
            liveness: expiry::Liveness::new(Instant::now()),
            progress: said::Said::default(),
            extended: said::Said::default(),
        });
        let (events, events_in) = mpsc::channel(EVENTS_MAX);
        let (begins, begins_in) = mpsc::channel(BATCHES_MAX);
        let (completions, completions_in) = mpsc::channel(BATCHES_MAX);
        let executors = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = JoinSet::new();
        // Collecting starts before the dispatch loop scans what is ready: nothing falls in between.
        self.replica.effects().start();
        tasks.spawn(pump::run(shared.clone(), events_in, executors.clone()));
        tasks.spawn(commit::run_begins(shared.clone(), begins_in, events.clone()));
        tasks.spawn(commit::run_completions(shared.clone(), completions_in, events.clone()));
        tasks.spawn(ticker::run(shared.clone()));
        tasks.spawn(expiry::run(shared.clone()));
        tasks.spawn(housekeeping::run(shared.clone()));
        tasks.spawn(upgrade::run(shared.clone()));
        tasks.spawn(members::run(shared.clone()));
        tasks.spawn(backfill::run(shared.clone()));
        tasks.spawn(zones::run(shared.clone()));
        let ended = CancellationToken::new();
        (Arc::new(Reign { term, shared, events, begins, completions, executors, ended }), tasks)
    }

    /// The reign of now, if this node leads.
    pub(crate) fn current(&self) -> Option<Arc<Reign>> {
        self.reign.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// What a run waits for, as part of a sentence; nothing unless this node leads and the run waits.
    pub async fn why_waiting(&self, run: RunId) -> Option<String> {
        let (answer, answered) = oneshot::channel();
        self.current()?.events.send(pump::Event::WhyAsked { run, answer }).await.ok()?;
        answered.await.ok()?
    }

    /// Asks an executor to take nothing more and to end once its runs have; whether it is connected.
    pub async fn drain_executor(&self, executor: &str) -> bool {
        let Some(reign) = self.current() else { return false };
        let (answer, answered) = oneshot::channel();
        let asked = pump::Event::DrainAsked { executor: executor.to_owned(), answer };
        reign.events.send(asked).await.is_ok() && answered.await.unwrap_or(false)
    }

    /// What a running run last said of its progress; nothing unless this node leads.
    pub fn progress(&self, run: RunId, token: FencingToken) -> Option<String> {
        self.current()?.shared.progress.of(run, token)
    }

    /// The deadline of an attempt that was extended; nothing unless this node leads.
    pub fn extended(&self, run: RunId, token: FencingToken) -> Option<UnixMillis> {
        self.current()?.shared.extended.of(run, token)
    }

    /// The executors connected to this node; none unless it leads.
    pub fn executors(&self) -> Vec<pb::ExecutorStatus> {
        self.current()
            .map(|reign| reign.executors.lock().unwrap_or_else(PoisonError::into_inner).clone())
            .unwrap_or_default()
    }
}
