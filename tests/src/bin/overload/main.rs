//! More than a cluster takes: schedules of every second go on firing, and what is too much is refused in words that say when
//! to try again; what is due and nobody carries out waits. Fails if a second has no row, if a run began twice or late because of a
//! flood, if a refusal says nothing of another try, or if what waits takes ever more memory.
//!
//! ```text
//! cargo build --release && cargo run --release -p belfry-tests --bin overload -- flood
//! cargo build --release && cargo run --release -p belfry-tests --bin overload -- backlog
//! ```

mod backlog;
mod begins;
mod callers;
mod flood;

use std::time::{SystemTime, UNIX_EPOCH};

use clap::{Parser, Subcommand};

#[derive(Parser)]
struct Options {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Calls without end, beside schedules that fire every second.
    Flood(flood::FloodOptions),
    /// Runs that are due, and no executor.
    Backlog(backlog::BacklogOptions),
    /// An executor of this program's runs; it starts them itself.
    Executor(begins::ExecutorOptions),
    /// The callers of a flood; likewise.
    Callers(callers::CallersOptions),
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Options::parse().command {
        Command::Flood(options) => Box::pin(flood::run(options)).await,
        Command::Backlog(options) => backlog::run(options).await,
        Command::Executor(options) => begins::run(options).await,
        Command::Callers(options) => callers::run(options).await,
    }
}

fn now_ms() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
}
