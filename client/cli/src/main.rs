//! `belfry`: the one binary. It administers a cluster, is a node or an executor of it, and answers when a schedule fires
//! without any cluster.
//!
//! ```text
//! main ── args ── commands ── output     stdout: data (OUT-1)
//!                    │
//!                    └─────── exit       stderr: one line per failure (EXIT-1), and the code
//! ```

mod args;
mod commands;
mod exit;
mod logs;
mod output;
mod text;

use std::io::{IsTerminal as _, Write as _};
use std::process::ExitCode;

use clap::FromArgMatches as _;
use clap::error::ErrorKind;

use crate::exit::{Exit, Failure};

/// The system's allocator took a sixth of a storm's CPU, and musl's, which a static binary has, is slower by far.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let parsed = args::command().try_get_matches().and_then(|matches| args::Cli::from_arg_matches(&matches));
    let cli = match parsed {
        Ok(cli) => cli,
        Err(refusal) => return refused(&refusal),
    };
    match commands::run(cli) {
        Ok(()) => Exit::Ok.into(),
        Err(failure) => failed(&failure),
    }
}

/// Help that was asked for goes to stdout and is no failure; a wrong command line is one.
fn refused(refusal: &clap::Error) -> ExitCode {
    let is_without_command = refusal.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
    if refusal.use_stderr() && !is_without_command {
        return failed(&args::refusal(refusal));
    }
    // Whoever closed the pipe does not want to read it.
    let _ = refusal.print();
    if is_without_command { Exit::Usage.into() } else { Exit::Ok.into() }
}

fn failed(failure: &Failure) -> ExitCode {
    let report = failure.report(std::io::stderr().is_terminal());
    // Nobody is left to be told that nobody can be told.
    let _ = std::io::stderr().write_all(report.as_bytes());
    failure.exit().into()
}
