//! A long rolling deploy under load: every node restarted, round after round, with figures of what a user sees.
//!
//! `cargo build --release && cargo run --release -p belfry-tests --bin rolling -- --rounds 20 --schedules 1000`; across releases:
//! `tests/upgrade.sh COMMIT`.

use std::path::PathBuf;

use belfry_tests::executor::{self, ExecutorOptions};
use belfry_tests::rolling::{Deploy, deploy};
use clap::{Parser, Subcommand};

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
            let program = std::env::current_exe()?;
            let report = Box::pin(deploy(&program, Deploy { from, schedules, rounds, clients })).await?;
            println!("{report}");
            let hand_overs: Vec<_> = report.hand_overs.iter().map(|(_, begin)| begin).collect();
            println!("begins of the first instant after each hand-over, ms late: {hand_overs:?}");
            Ok(())
        }
    }
}
