//! An executor that writes the journal itself: a process for each run would cost more than the cluster does.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::PathBuf;
use std::sync::Arc;

use belfry_sdk::executor::{Executor, Outcome, RunContext};
use clap::Args;
use tokio::signal::unix::{SignalKind, signal};

/// What it is told on its command line.
#[derive(Args, Debug)]
pub struct ExecutorOptions {
    /// Nodes, separated by commas.
    #[arg(long, value_delimiter = ',')]
    pub endpoints: Vec<String>,
    /// Its name.
    #[arg(long)]
    pub name: String,
    /// Runs at once.
    #[arg(long, default_value_t = 512)]
    pub slots: u32,
    /// Where it writes.
    #[arg(long)]
    pub journal: PathBuf,
}

/// Carries out runs of the handler `journal` until SIGTERM: each appends its line (see [`crate::journal`]).
pub async fn run(options: ExecutorOptions) -> anyhow::Result<()> {
    let journal = Arc::new(OpenOptions::new().create(true).append(true).open(&options.journal)?);
    let executor = Executor::builder()
        .endpoints(options.endpoints)
        .display_name(options.name)
        .slots(options.slots)
        .handler("journal", move |run: RunContext| {
            let journal = journal.clone();
            async move {
                let values: std::collections::BTreeMap<_, _> = run.environment().into_iter().collect();
                let words =
                    ["BELFRY_SCHEDULE", "BELFRY_NOMINAL_TIME", "BELFRY_ATTEMPT", "BELFRY_FENCING_TOKEN"]
                        .map(|name| values.get(name).map_or("?", String::as_str));
                // One short write with O_APPEND: the kernel does not mix it with others.
                match (&*journal).write_all(format!("{}\n", words.join(" ")).as_bytes()) {
                    Ok(()) => Outcome::Succeeded,
                    Err(error) => Outcome::failed(error.to_string()),
                }
            }
        })
        .build()?;
    until_terminated(executor).await
}

/// Runs an executor until SIGTERM, and drains it.
pub async fn until_terminated(executor: Executor) -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let told = async move { terminate.recv().await.unwrap_or_default() };
    executor.run(told).await?;
    Ok(())
}
