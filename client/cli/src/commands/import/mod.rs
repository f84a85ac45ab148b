//! `belfry import`: what another scheduler runs, as schedules.
//!
//! - IMPORT-1: without `--apply` nothing is changed and no cluster is needed.
//! - IMPORT-2: an imported schedule starts paused, so that nothing runs twice while the other scheduler is still there; no
//!   import resumes one.
//! - IMPORT-3: importing the same file again changes nothing; a schedule that differs is changed with `--update` only.

mod apply;
mod crontab;

use clap::Subcommand;

use super::Context;
use crate::exit::Failure;

#[derive(Debug, Subcommand)]
pub(crate) enum ImportCommand {
    /// Import the crontab of a user. Shows what would be created, unless --apply is given.
    Crontab(crontab::CrontabArgs),
}

pub(crate) fn run(context: &Context, command: ImportCommand) -> Result<(), Failure> {
    match command {
        ImportCommand::Crontab(args) => crontab::run(context, &args),
    }
}
