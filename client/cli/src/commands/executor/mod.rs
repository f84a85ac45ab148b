//! `belfry executor`: executes runs, and shows and drains those that do.
//!
//! Only the leader knows the executors, so the two that look at them ask it, whichever node was named.

mod drain;
mod list;
mod serve;

use belfry_sdk::{Client, ClientOptions, pb};
use clap::{Args, Subcommand};

use super::{Context, converse};
use crate::exit::{Exit, Failure};

/// Without a subcommand it is an executor.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct ExecutorArgs {
    #[command(subcommand)]
    command: Option<ExecutorCommand>,
    #[command(flatten)]
    serve: serve::ServeArgs,
}

#[derive(Debug, Subcommand)]
enum ExecutorCommand {
    /// List the executors that are connected.
    List(list::ListArgs),
    /// Let executors take no more runs, and end with their last one.
    Drain(drain::DrainArgs),
}

pub(crate) fn run(context: &Context, args: ExecutorArgs) -> Result<(), Failure> {
    match args.command {
        None => serve::run(context, args.serve),
        Some(ExecutorCommand::List(args)) => converse(list::run(context, &args)),
        Some(ExecutorCommand::Drain(args)) => converse(drain::run(context, &args)),
    }
}

/// Asks the leader for the executors.
struct Leader<'a> {
    context: &'a Context,
    /// Of the nodes that were named: a leader that goes leaves others to ask.
    named: Client,
    /// Of the leader that answered last.
    client: Client,
    term: u64,
}

impl<'a> Leader<'a> {
    fn find(context: &'a Context) -> Result<Self, Failure> {
        let client = context.client()?;
        Ok(Self { context, named: client.clone(), client, term: 0 })
    }

    /// The executors that are connected.
    async fn executors(&mut self) -> Result<Vec<pb::ExecutorStatus>, Failure> {
        let status = self.named.get_cluster_status(pb::GetClusterStatusRequest {}).await?;
        if status.leader_id == status.node_id && status.leader_id != 0 {
            (self.client, self.term) = (self.named.clone(), status.term);
            return Ok(status.executors);
        }
        let address = leader_address(&status)?;
        let options = ClientOptions { timeout: self.context.global.timeout, ..ClientOptions::new([address]) };
        self.client = Client::connect(options)?;
        let status = self.client.get_cluster_status(pb::GetClusterStatusRequest {}).await?;
        if status.leader_id == status.node_id {
            self.term = status.term;
            return Ok(status.executors);
        }
        Err(no_leader("leadership is moving: try again"))
    }
}

fn leader_address(status: &pb::ClusterStatus) -> Result<&str, Failure> {
    let leads = |node: &&pb::NodeStatus| node.node_id == status.leader_id && status.leader_id != 0;
    match status.nodes.iter().find(leads) {
        Some(leader) if !leader.api_address.is_empty() => Ok(&leader.api_address),
        Some(_) | None => Err(no_leader(
            "the cluster has no leader, and only a leader knows the executors: see `belfry cluster status`",
        )),
    }
}

fn no_leader(message: &str) -> Failure {
    Failure::new(Exit::NoLeader, message)
}
