//! `belfry cluster members|add|remove`.
//!
//! A node takes a step per call and says where it stands; the command asks until it is done. So a command that was cut off is
//! simply given again.

use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use belfry_sdk::pb;
use clap::Args;

use crate::commands::Context;
use crate::commands::schedule::CheckArgs;
use crate::exit::{Exit, Failure};
use crate::output::prose;
use crate::output::view::MemberView;
use crate::text;

/// Between two calls while a node catches up; each waits for a moment by itself.
const AGAIN_AFTER: Duration = Duration::from_millis(100);
/// Between two lines about how far it is.
const SAY_EVERY: Duration = Duration::from_secs(5);

#[derive(Debug, Args)]
pub(crate) struct AddArgs {
    /// host:port of the node's `listen.peer`, as the other nodes reach it. It says its id and its API address by itself.
    #[arg(value_name = "PEER_ADDRESS")]
    peer_address: String,
    /// Add it only if this is its id.
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    id: u64,
    /// How long it may take to catch up. After that it stays a learner, which goes on catching up: ask again.
    #[arg(long, value_name = "DURATION", default_value = "10m", value_parser = belfry_timing::parse_duration)]
    wait: Duration,
    #[command(flatten)]
    check: CheckArgs,
}

#[derive(Debug, Args)]
pub(crate) struct RemoveArgs {
    /// Id of the member.
    #[arg(value_name = "ID")]
    id: u64,
    #[command(flatten)]
    check: CheckArgs,
}

pub(super) async fn list(context: &Context) -> Result<(), Failure> {
    let members = context.client()?.list_members(pb::ListMembersRequest {}).await?.members;
    show(context, members)
}

fn show(context: &Context, members: Vec<pb::Member>) -> Result<(), Failure> {
    let mut listing = context.printer.listing::<MemberView>("members", text::now_millis());
    listing.page(&members.into_iter().map(MemberView::from).collect::<Vec<_>>())?;
    listing.end().map(drop)
}

pub(super) async fn add(context: &Context, args: &AddArgs) -> Result<(), Failure> {
    let client = context.client()?;
    let request = pb::AddMemberRequest {
        peer_address: args.peer_address.clone(),
        node_id: args.id,
        validate_only: args.check.dry_run,
    };
    let (begun, mut said) = (Instant::now(), None);
    let mut changed = false;
    loop {
        let answer = client.add_member(request.clone()).await?;
        let member = MemberView::from(answer.member.unwrap_or_default());
        changed |= answer.changed;
        if args.check.dry_run || member.votes() {
            prose(&added(&member, changed, args.check.dry_run));
            return context.printer.one(&member, &member.id(), |printer| member.table(printer));
        }
        if begun.elapsed() >= args.wait {
            let message = format!(
                "node {} is a learner and has not caught up within {}: {}; it goes on by itself, ask again to let it vote",
                member.id(),
                belfry_timing::format_duration(args.wait),
                member.progress(),
            );
            return Err(Failure::new(Exit::ConditionFalse, message));
        }
        let is_due = said.is_none_or(|at: Instant| at.elapsed() >= SAY_EVERY);
        if is_due && std::io::stderr().is_terminal() {
            prose(&format!("node {} catches up: {}", member.id(), member.progress()));
            said = Some(Instant::now());
        }
        tokio::time::sleep(AGAIN_AFTER).await;
    }
}

fn added(member: &MemberView, changed: bool, is_dry: bool) -> String {
    let id = member.id();
    match (changed, is_dry) {
        (true, true) => format!("node {id} would be added; nothing was changed"),
        (false, _) => format!("node {id} is a member already"),
        (true, false) => format!("node {id} is a member and votes"),
    }
}

pub(super) async fn remove(context: &Context, args: &RemoveArgs) -> Result<(), Failure> {
    let request = pb::RemoveMemberRequest { node_id: args.id, validate_only: args.check.dry_run };
    let answer = context.client()?.remove_member(request).await?;
    prose(&match (answer.changed, args.check.dry_run) {
        (true, true) => format!("node {} would be removed; nothing was changed", args.id),
        (false, _) => format!("node {} is no member", args.id),
        (true, false) => {
            format!("node {} is no member any more: it ends by itself, disable its service", args.id)
        }
    });
    show(context, answer.members)
}
