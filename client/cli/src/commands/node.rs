//! `belfry node`: a node of a cluster.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use belfry_server::clock::SystemClock;
use belfry_server::config::{Config, ConfigError, LoadOptions, LogFormat as ConfigLogFormat};
use belfry_server::node::{Handover, Listeners, Node};
use belfry_server::raft::Fault;
use clap::Args;

use super::{Context, Signals, cannot_start};
use crate::exit::{Exit, Failure};
use crate::logs::{self, LogFormat};

#[derive(Debug, Args)]
pub(crate) struct NodeArgs {
    /// Configuration file, in TOML.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// `node.id`: its number in `cluster.members`.
    #[arg(long, value_name = "N")]
    id: Option<u64>,
    /// `node.data`: the folder of its log and its state.
    #[arg(long, value_name = "DIR")]
    data: Option<String>,
    /// Any other key of the configuration, such as `raft.heartbeat_ms=200`; repeat it for several.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = key_and_value)]
    overrides: Vec<(String, String)>,
    /// Print the configuration in force, with where each value came from, and stop.
    #[arg(long)]
    print_config: bool,
}

fn key_and_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) => Ok((key.trim().to_owned(), value.trim().to_owned())),
        None => Err("write it as KEY=VALUE".to_owned()),
    }
}

/// Runs a node until it is told to stop.
pub(crate) fn run(context: &Context, args: NodeArgs) -> Result<(), Failure> {
    let print_config = args.print_config;
    let (config, provenance) = Config::load(load_options(args)).map_err(config_failure)?;
    if print_config {
        return context.printer.text(&config.render_with_provenance(&provenance));
    }
    let format = match config.log.format {
        ConfigLogFormat::Text => LogFormat::Text,
        ConfigLogFormat::Json => LogFormat::Json,
    };
    logs::start_with_filter(format, &config.log.level)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    let runtime = runtime.map_err(|error| cannot_start(&error))?;
    let result = runtime.block_on(serve(config));
    // A call to the disk that is under way after a second signal, or a fault, is not waited for.
    runtime.shutdown_timeout(Duration::from_secs(1));
    result
}

fn load_options(args: NodeArgs) -> LoadOptions {
    let id = args.id.map(|id| ("node.id".to_owned(), id.to_string()));
    let data = args.data.map(|data| ("node.data".to_owned(), data));
    let overrides = id.into_iter().chain(data).chain(args.overrides).collect();
    LoadOptions::from_process(args.config, overrides)
}

/// A configuration that cannot be used is a mistake of whoever wrote it: exit code 2, one line per finding.
fn config_failure(error: ConfigError) -> Failure {
    let cause = std::error::Error::source(&error).map(|cause| format!(": {cause}")).unwrap_or_default();
    let text = format!("{error}{cause}");
    let mut lines = text.lines();
    let mut failure = Failure::usage(lines.next().unwrap_or_default());
    lines.for_each(|line| failure.also(Failure::usage(line)));
    failure
}

async fn serve(config: Config) -> Result<(), Failure> {
    let mut signals = Signals::listen()?;
    let failed = |error: &dyn std::fmt::Display| Failure::new(Exit::Failed, error.to_string());
    let listeners = Listeners::bind(&config).await.map_err(|error| failed(&error))?;
    let started = Box::pin(Node::start(&config, listeners, Arc::new(SystemClock))).await;
    let node = started.map_err(|error| failed(&error))?;
    tracing::info!(
        node = config.node.id,
        api = config.listen.api,
        peer = config.listen.peer,
        admin = config.listen.admin,
        data = config.node.data,
        "node runs"
    );
    let fault = tokio::select! {
        fault = node.fatal() => Some(fault),
        () = signals.next() => None,
    };
    if let Some(fault) = fault {
        // The stores are in an unknown state: no hand-over, no drain. The supervisor starts the process again, unless that
        // cannot help.
        let exit = match fault {
            Fault::Storage(_) | Fault::Consensus(_) => Exit::Failed,
            Fault::Removed { .. } | Fault::Wiped { .. } => Exit::NoMember,
        };
        return Err(Failure::new(exit, fault.to_string()));
    }
    tracing::info!("signal: handing over and draining, a second one ends at once");
    tokio::select! {
        () = node.stop(Handover::Try) => {
            tracing::info!("node has ended");
            Ok(())
        }
        () = signals.next() => Err(Failure::silent(Exit::Interrupted)),
    }
}
