//! `belfry node`: a node of a cluster.

use std::path::PathBuf;

use clap::Args;

use super::Context;
use crate::exit::{Exit, Failure};

#[derive(Debug, Args)]
pub(crate) struct NodeArgs {
    /// Configuration file, in TOML.
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// Print the configuration in force, with where each value came from, and stop.
    #[arg(long)]
    pub(crate) print_config: bool,
}

/// Runs a node until it is told to stop.
pub(crate) fn run(_context: &Context, args: NodeArgs) -> Result<(), Failure> {
    let NodeArgs { config: _, print_config: _ } = args;
    Err(Failure::new(Exit::Failed, "this build has no node in it yet: use a build with the server"))
}
