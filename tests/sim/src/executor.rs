//! An executor of the simulation: the SDK's runtime, with user code that writes down what it starts.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use belfry_sdk::executor::{Executor, Outcome, RunContext};
use tokio::sync::Notify;

use crate::chance::Chance;
use crate::invariants::api_1;
use crate::net;
use crate::node::api;
use crate::record::{End, Phase, Record, Start};

/// The handler that all schedules of a simulation have.
pub const HANDLER: &str = "work";

/// What is so much later than its instant is probably recovery work.
const LATE_MS: i64 = 20_000;

/// Where an executor lives.
pub struct Place {
    /// Name of its host.
    pub host: String,
    /// Seed of the simulation.
    pub seed: u64,
    /// Nodes of the cluster.
    pub nodes: u64,
    /// Slots.
    pub slots: u32,
    /// SIGTERM.
    pub terminate: Notify,
    /// Whether it stands still.
    pub gate: Arc<Gate>,
    /// What happened.
    pub record: Record,
}

impl Place {
    /// One life of the executor's process. Called on its host.
    pub async fn live(self: Arc<Self>) -> turmoil::Result {
        let this = self.clone();
        let user_code = move |run: RunContext| this.clone().carry_out(run);
        let executor = Executor::builder()
            .endpoints((1..=self.nodes).map(api))
            .slots(self.slots)
            .display_name(self.host.clone())
            .handler(HANDLER, user_code)
            .grace(Duration::from_secs(2))
            .abort_after(Duration::from_secs(1))
            .dialer(net::sdk_dialer())
            .build()?;
        self.record.trace(format!("{} starts as {}", self.host, executor.id()));
        *self.record.lock().lives.entry(self.host.clone()).or_default() += 1;
        let running = executor.run(self.terminate.notified());
        let ended = Gated { inner: Box::pin(running), gate: self.gate.clone() }.await;
        let why = match ended {
            Ok(summary) => format!("started {} undelivered {}", summary.started, summary.undelivered),
            Err(error) => error.to_string(),
        };
        self.record.trace(format!("{} exits: {why}", self.host));
        self.record.lock().exited.insert(self.host.clone(), why);
        std::future::pending().await
    }

    async fn carry_out(self: Arc<Self>, run: RunContext) -> Outcome {
        let name = run.run.to_string();
        {
            let at = turmoil::sim_elapsed().expect("user code runs on a host");
            let (executor, token) = (self.host.clone(), run.fencing_token);
            let index = self.record.lock().newest_index;
            let start = Start { run: name.clone(), attempt: run.attempt, token, executor, at, index };
            self.record.trace(format!("{} starts {name} attempt {} token {token}", self.host, run.attempt));
            api_1::starts(&self.record, &name, run.attempt, at);
            self.record.lock().starts.push(start);
        }
        let mut chance = Chance::new(self.seed, &format!("{name} {}", run.attempt));
        let healed = self.record.lock().phase > Phase::Safety;
        let is_late = self.record.lock().true_now.0 - run.nominal_time.0 > LATE_MS;
        let takes = match chance.within(0..10) {
            // What is made up for is much, and quick: only the budget keeps it from being done at once.
            _ if is_late => chance.millis(1..20),
            // Longer than it takes to judge a lease, shorter than any timeout; and seldom, so that a schedule of every second whose runs
            // wait for each other has time left to make up for what it missed.
            0 if healed => Duration::from_millis(2_200),
            _ if healed => chance.millis(1..50),
            0 => chance.millis(2_000..9_000),
            1..=3 => chance.millis(500..2_000),
            _ => chance.millis(1..300),
        };
        let obeys = !chance.one_in(4);
        tokio::select! {
            biased;
            () = run.cancelled.cancelled(), if obeys => return Outcome::failed("cancelled"),
            () = tokio::time::sleep(takes) => {}
        }
        self.gate.pass().await;
        {
            let mut record = self.record.lock();
            let life = (self.host.clone(), record.lives.get(&self.host).copied().unwrap_or_default());
            let at = record.now;
            record.ends.insert(run.fencing_token, End { life, at });
        }
        if chance.one_in(if healed { 12 } else { 6 }) {
            Outcome::failed("by chance")
        } else {
            Outcome::Succeeded
        }
    }
}

/// Lets a process go on, or makes it stand still.
#[derive(Default)]
pub struct Gate {
    closed: AtomicBool,
    waiting: Mutex<Vec<Waker>>,
}

impl Gate {
    /// From now on it stands still.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    /// It goes on.
    pub fn open(&self) {
        self.closed.store(false, Ordering::Relaxed);
        let waiting = std::mem::take(&mut *self.waiting.lock().unwrap_or_else(PoisonError::into_inner));
        waiting.into_iter().for_each(Waker::wake);
    }

    fn poll_pass(&self, cx: &Context<'_>) -> Poll<()> {
        if !self.closed.load(Ordering::Relaxed) {
            return Poll::Ready(());
        }
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).push(cx.waker().clone());
        Poll::Pending
    }

    async fn pass(&self) {
        std::future::poll_fn(|cx| self.poll_pass(cx)).await;
    }
}

/// A future that is not polled while the gate is closed.
struct Gated<F> {
    inner: Pin<Box<F>>,
    gate: Arc<Gate>,
}

impl<F: Future> Future for Gated<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<F::Output> {
        match self.gate.poll_pass(cx) {
            Poll::Pending => Poll::Pending,
            Poll::Ready(()) => self.inner.as_mut().poll(cx),
        }
    }
}
