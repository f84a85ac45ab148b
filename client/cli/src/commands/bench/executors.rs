//! The executors of a benchmark: in this process, each with its own connection, all with one record.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use belfry_executor::{COMMAND, CommandHandler};
use belfry_sdk::executor::{Executor, ExecutorError, Handler, Outcome, RunContext, Summary};
use belfry_sdk::pb;
use clap::ValueEnum;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::record::Record;
use super::site::{Site, handler_target};
use crate::exit::{Exit, Failure};

/// The handler that does nothing.
const NOOP: &str = "bench";
/// Slots where nobody says how many: enough that the cluster is the limit.
const NOOP_SLOTS: u32 = 4096;
/// Processes are limited by the machine: a few more than it has cores.
const COMMAND_SLOTS: u32 = 16;

/// What a run does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum HandlerKind {
    /// Nothing: what is measured is the cluster.
    Noop,
    /// The process `/bin/true`.
    Command,
}

impl HandlerKind {
    pub(super) fn target(self) -> pb::Target {
        match self {
            Self::Noop => handler_target(NOOP),
            Self::Command => {
                let command = pb::CommandTarget { argv: vec!["/bin/true".to_owned()], ..Default::default() };
                pb::Target { target: Some(pb::target::Target::Command(command)) }
            }
        }
    }

    fn slots(self) -> u32 {
        match self {
            Self::Noop => NOOP_SLOTS,
            Self::Command => COMMAND_SLOTS,
        }
    }
}

/// How many executors, and what they can do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Crew {
    pub(super) executors: u32,
    /// Of each.
    pub(super) slots: Option<u32>,
    pub(super) handler: HandlerKind,
}

/// Executors at work. Dropped, they drain by themselves, as far as there is time.
pub(super) struct Executors {
    shutdown: CancellationToken,
    running: Vec<JoinHandle<Result<Summary, ExecutorError>>>,
}

impl Executors {
    pub(super) fn start(site: &Site, crew: Crew, record: &Arc<Record>) -> Result<Self, Failure> {
        let shutdown = CancellationToken::new();
        let mut executors = Self { shutdown: shutdown.clone(), running: Vec::new() };
        for number in 1..=crew.executors {
            let builder = Executor::builder()
                .endpoints(site.endpoints().to_vec())
                .pool(site.pool())
                .display_name(format!("bench-{number}"))
                .slots(crew.slots.unwrap_or(crew.handler.slots()));
            let record = record.clone();
            let builder = match crew.handler {
                HandlerKind::Noop => builder.handler(NOOP, Recorded { record, then: Noop }),
                HandlerKind::Command => {
                    builder.handler(COMMAND, Recorded { record, then: CommandHandler::new() })
                }
            };
            let executor = builder.build().map_err(|error| Failure::usage(error.to_string()))?;
            executors.running.push(tokio::spawn(executor.run(shutdown.clone().cancelled_owned())));
        }
        Ok(executors)
    }

    /// Ends when one of them ends by itself, which it should not.
    pub(super) async fn failure(&mut self) -> Failure {
        let (ended, index, _) = futures_util::future::select_all(self.running.iter_mut()).await;
        self.running.swap_remove(index);
        Failure::new(Exit::Failed, format!("an executor of the benchmark ended by itself: {ended:?}"))
    }

    /// Takes no more runs, and ends once the cluster has acknowledged every completion.
    pub(super) async fn drain(mut self) -> Result<(), Failure> {
        self.shutdown.cancel();
        let mut undelivered = 0;
        for running in std::mem::take(&mut self.running) {
            let failed = |what: String| Failure::new(Exit::Failed, format!("an executor failed: {what}"));
            let summary = running.await.map_err(|error| failed(error.to_string()))?;
            undelivered += summary.map_err(|error| failed(error.to_string()))?.undelivered;
        }
        match undelivered {
            0 => Ok(()),
            some => {
                let what = format!("{some} completions were not acknowledged by the cluster in time");
                Err(Failure::new(Exit::Failed, what))
            }
        }
    }
}

impl Drop for Executors {
    fn drop(&mut self) {
        self.shutdown.cancel();
    }
}

/// A handler whose starts are recorded, before anything else.
struct Recorded<H> {
    record: Arc<Record>,
    then: H,
}

impl<H: Handler> Handler for Recorded<H> {
    async fn run(&self, run: RunContext) -> Outcome {
        self.record.began(&run, now_us());
        self.then.run(run).await
    }
}

struct Noop;

impl Handler for Noop {
    async fn run(&self, _: RunContext) -> Outcome {
        Outcome::Succeeded
    }
}

pub(super) fn now_us() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX)
}
