//! A long rolling deploy under load: every node restarted, round after round, with figures of what a user sees.
//!
//! `cargo build --release && cargo run --release -p belfry-tests --bin rolling -- --rounds 20 --schedules 1000`; across releases:
//! `tests/upgrade.sh COMMIT`.

use std::path::PathBuf;

use anyhow::{Context as _, ensure};
use belfry_tests::executor::{self, ExecutorOptions};
use belfry_tests::rolling::{Deploy, deploy};
use clap::{Parser, Subcommand};

/// How late the runs of the first instant after a hand-over may begin: well before the next one.
const LATE_MS_MAX: i64 = 300;

#[derive(Parser)]
struct Options {
    #[command(subcommand)]
    command: Option<Command>,
    /// Schedules of every second.
    #[arg(long, default_value_t = 1000)]
    schedules: usize,
    /// Times that every node is restarted.
    #[arg(long, default_value_t = 20)]
    rounds: usize,
    /// The `belfry` of a former release, with which the nodes begin.
    #[arg(long)]
    from: Option<PathBuf>,
    /// Clients that write.
    #[arg(long, default_value_t = 4)]
    clients: usize,
}

#[derive(Subcommand)]
enum Command {
    /// An executor of this program's runs; it starts them itself.
    Executor(ExecutorOptions),
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let Options { command, schedules, rounds, from, clients } = Options::parse();
    match command {
        Some(Command::Executor(options)) => executor::run(options).await,
        None => {
            let (program, is_upgrade) = (std::env::current_exe()?, from.is_some());
            let report = Box::pin(deploy(&program, Deploy { from, schedules, rounds, clients })).await?;
            println!("{report}");
            let hand_overs: Vec<_> = report.hand_overs.iter().map(|(_, begin)| begin).collect();
            println!("begins of the first instant after each hand-over, ms late: {hand_overs:?}");
            let worst = hand_overs.into_iter().max().context("no leader was stopped")?;
            ensure!(*worst < LATE_MS_MAX, "a run began {worst} ms late after a hand-over");
            if is_upgrade && report.levels.0 == report.levels.1 {
                println!("the feature level stayed as it was: both releases have the same");
            }
            Ok(())
        }
    }
}
