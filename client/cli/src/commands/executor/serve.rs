//! `belfry executor` by itself: executes commands and HTTP requests until it is told to stop.
//!
//! The first SIGTERM or SIGINT drains: nothing new is begun, what runs gets the grace period. The second one ends at once.
//! Drained from the cluster's side it ends with its last run, and with 0: whoever supervises it may start it anew.

use std::time::Duration;

use belfry_sdk::executor::{Executor, Summary};
use belfry_timing::parse_duration;
use clap::Args;
use tokio_util::sync::CancellationToken;

use crate::commands::{Context, Signals, cannot_start};
use crate::exit::{Exit, Failure};
use crate::logs::{self, LogFormat, Usually};

#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    /// Pool whose runs it takes.
    #[arg(long, default_value = "default")]
    pool: String,
    /// How many runs it takes at once.
    #[arg(long, value_name = "N", default_value_t = 8, value_parser = clap::value_parser!(u32).range(1..=65_536))]
    slots: u32,
    /// How many runs of one of its handlers, `command` or `http`, it takes at once, of all its slots.
    #[arg(long, value_name = "HANDLER=N", value_parser = handler_slots)]
    handler_slots: Vec<(String, u32)>,
    /// A label, by which schedules choose their executors. May be given several times.
    #[arg(long, value_name = "KEY=VALUE", value_parser = label)]
    label: Vec<(String, String)>,
    /// Name for people. Without it: host and process.
    #[arg(long)]
    name: Option<String>,
    /// How long running runs may go on after it was told to stop.
    #[arg(long, value_name = "DURATION", default_value = "30s", value_parser = parse_duration)]
    grace: Duration,
    /// How log lines are written.
    #[arg(long, value_name = "FORMAT", value_enum, default_value_t)]
    log_format: LogFormat,
}

fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
        None => Err("write KEY=VALUE".to_owned()),
    }
}

fn handler_slots(text: &str) -> Result<(String, u32), String> {
    let (handler, slots) = text.split_once('=').ok_or("write HANDLER=N")?;
    let slots = slots.parse().map_err(|_| format!("{slots:?} is not a number of slots"))?;
    Ok((handler.to_owned(), slots))
}

pub(super) fn run(context: &Context, args: ServeArgs) -> Result<(), Failure> {
    logs::start(args.log_format, Usually::Progress, context.global.verbose);
    let executor = describe(context, &args).build().map_err(|error| Failure::usage(error.to_string()))?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| cannot_start(&error))?;
    let result = runtime.block_on(serve(executor, &args));
    // What still holds a thread after the grace period must not hold up the end.
    runtime.shutdown_background();
    result
}

fn describe(context: &Context, args: &ServeArgs) -> belfry_sdk::executor::ExecutorBuilder {
    let builder = Executor::builder()
        .endpoints(context.global.endpoint.iter().cloned())
        .pool(&args.pool)
        .slots(args.slots)
        .grace(args.grace);
    let builder = match &args.name {
        Some(name) => builder.display_name(name),
        None => builder,
    };
    let limited =
        args.handler_slots.iter().fold(builder, |builder, (name, slots)| builder.handler_slots(name, *slots));
    let labelled = args.label.iter().fold(limited, |builder, (key, value)| builder.label(key, value));
    belfry_executor::stock(labelled)
}

async fn serve(executor: Executor, args: &ServeArgs) -> Result<(), Failure> {
    let mut signals = Signals::listen()?;
    let shutdown = CancellationToken::new();
    tracing::info!(executor_id = executor.id(), pool = args.pool, slots = args.slots, "executor starts");
    let serving = executor.run(shutdown.clone().cancelled_owned());
    let mut serving = std::pin::pin!(serving);
    loop {
        tokio::select! {
            result = &mut serving => {
                let summary = result.map_err(|error| Failure::new(Exit::Failed, error.to_string()))?;
                return ended(&summary);
            }
            () = signals.next() => {
                if shutdown.is_cancelled() {
                    tracing::warn!("second signal: ending at once");
                    return Err(Failure::silent(Exit::Interrupted));
                }
                tracing::info!(grace = ?args.grace, "signal: draining, a second one ends at once");
                shutdown.cancel();
            }
        }
    }
}

fn ended(summary: &Summary) -> Result<(), Failure> {
    tracing::info!(
        started = summary.started,
        succeeded = summary.succeeded,
        failed = summary.failed,
        timed_out = summary.timed_out,
        cancelled = summary.cancelled,
        drain_requested = summary.drain_requested,
        undelivered = summary.undelivered,
        "executor has ended"
    );
    match summary.undelivered {
        0 => Ok(()),
        count => Err(Failure::new(
            Exit::Failed,
            format!(
                "the cluster has not heard how {count} run(s) ended: they become UNKNOWN, see `belfry run list --state unknown`"
            ),
        )),
    }
}
