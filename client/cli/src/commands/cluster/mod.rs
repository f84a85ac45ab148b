//! `belfry cluster`: who leads, who follows, who executes, and who shall.

mod members;
mod snapshot;

use belfry_sdk::{Client, pb};
use clap::{Args, Subcommand};

use super::schedule::CheckArgs;
use super::{Context, converse};
use crate::exit::{Exit, Failure};
use crate::output::prose;
use crate::output::view::ClusterView;

#[derive(Debug, Subcommand)]
pub(crate) enum ClusterCommand {
    /// Show what the node that answers knows of the cluster. Exits with 6 when there is no leader.
    Status,
    /// Hand leadership to another node.
    TransferLeader(TransferArgs),
    /// List the members: their part, how far they are, and what they understand.
    Members,
    /// Make a node that runs and waits a member: it catches up, then it votes. Asked again, goes on where it ended.
    Add(members::AddArgs),
    /// Remove a member. One that leads hands leadership over first.
    Remove(members::RemoveArgs),
    /// Save the cluster to a file, check such a file, begin a new cluster with it.
    #[command(subcommand)]
    Snapshot(snapshot::SnapshotCommand),
}

#[derive(Debug, Args)]
pub(crate) struct TransferArgs {
    /// Id of the node that shall lead. Without it: the most caught-up one.
    #[arg(long, value_name = "ID", default_value_t = 0, hide_default_value = true)]
    to: u64,
    #[command(flatten)]
    check: CheckArgs,
}

pub(crate) fn run(context: &Context, command: ClusterCommand) -> Result<(), Failure> {
    converse(async {
        match command {
            ClusterCommand::Status => status(context).await,
            ClusterCommand::TransferLeader(args) => transfer_leader(context, &args).await,
            ClusterCommand::Members => members::list(context).await,
            ClusterCommand::Add(args) => members::add(context, &args).await,
            ClusterCommand::Remove(args) => members::remove(context, &args).await,
            ClusterCommand::Snapshot(command) => snapshot::run(context, command).await,
        }
    })
}

async fn status(context: &Context) -> Result<(), Failure> {
    let status = context.client()?.get_cluster_status(pb::GetClusterStatusRequest {}).await?;
    let view = ClusterView::from(status);
    let name = view.leader_id.to_string();
    context.printer.one(&view, &name, |printer| view.screen(printer))?;
    if view.has_leader() {
        return Ok(());
    }
    let message = "the cluster has no leader: nothing fires until most nodes are up and reach each other";
    Err(Failure::new(Exit::NoLeader, message))
}

async fn transfer_leader(context: &Context, args: &TransferArgs) -> Result<(), Failure> {
    let client = context.client()?;
    let dry_run = args.check.dry_run;
    if dry_run {
        require_checks(&client).await?;
    }
    let request = pb::TransferLeadershipRequest { to_node_id: args.to, validate_only: dry_run };
    let leader_id = client.transfer_leadership(request).await?.leader_id;
    let answer = serde_json::json!({ "leader_id": leader_id });
    context.printer.one(&answer, &leader_id.to_string(), |_| String::new())?;
    prose(&format!("node {leader_id} {}", if dry_run { "would lead" } else { "leads" }));
    args.check.remark("changed");
    Ok(())
}

/// The first release hands leadership over without looking whether it is asked to. While one of its nodes is in the cluster,
/// the feature level is below this one.
const CHECKS_FROM_LEVEL: u32 = 2;

async fn require_checks(client: &Client) -> Result<(), Failure> {
    let level = client.get_cluster_status(pb::GetClusterStatusRequest {}).await?.feature_level;
    if level >= CHECKS_FROM_LEVEL {
        return Ok(());
    }
    let message = "--dry-run would hand leadership over: a node of the cluster is of a release that does not only check; replace it first";
    Err(Failure::new(Exit::Failed, message))
}
