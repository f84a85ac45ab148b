//! `belfry dev`: a whole cluster in one process, to try Belfry with.

use std::path::PathBuf;

use clap::Args;

use super::Context;
use crate::exit::{Exit, Failure};

#[derive(Debug, Args)]
pub(crate) struct DevArgs {
    /// Nodes of the cluster: 1, 3 or 5.
    #[arg(long, default_value_t = 1, value_parser = number_of_nodes)]
    pub(crate) nodes: u8,
    /// Folder to keep the data in. Without it the data goes when the process does.
    #[arg(long, value_name = "DIR")]
    pub(crate) data: Option<PathBuf>,
    /// Address that the first node listens on for the API.
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7400")]
    pub(crate) api: String,
    /// Do not create the schedule that shows how it works.
    #[arg(long)]
    pub(crate) no_demo: bool,
}

fn number_of_nodes(text: &str) -> Result<u8, String> {
    match text.parse() {
        Ok(nodes @ (1 | 3 | 5)) => Ok(nodes),
        Ok(_) | Err(_) => {
            Err("choose 1, 3 or 5: an even number survives no more failures than one less".to_owned())
        }
    }
}

/// Runs the cluster until it is told to stop.
pub(crate) fn run(_context: &Context, args: DevArgs) -> Result<(), Failure> {
    let DevArgs { nodes: _, data: _, api: _, no_demo: _ } = args;
    Err(Failure::new(Exit::Failed, "this build has no node in it yet: use a build with the server"))
}
