//! `belfry backfill`: instants of the past, run now.

mod create;
mod watch;

use belfry_sdk::pb;
use clap::{Args, Subcommand};

use super::schedule::{ActorArgs, CheckArgs, RequestArgs};
use super::{Context, converse};
use crate::exit::Failure;
use crate::output::prose;
use crate::output::view::BackfillView;
use crate::text;

#[derive(Debug, Subcommand)]
pub(crate) enum BackfillCommand {
    /// Run the instants between two times, one at a time and after what is on time.
    Create(create::CreateArgs),
    /// List the backfills of a schedule, newest first.
    List(ListArgs),
    /// Show a backfill.
    Get(NameArgs),
    /// Make no further runs until resumed.
    Pause(ControlArgs),
    /// Go on.
    Resume(ResumeArgs),
    /// End a backfill: what waits becomes CANCELLED, what runs ends as it ends.
    Cancel(ControlArgs),
    /// Wait for a backfill to end, and say how it gets on. Exits with 8 when it does not succeed.
    Watch(watch::WatchArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// The schedule, as NAME or as its resource name.
    schedule: String,
}

#[derive(Debug, Args)]
pub(crate) struct NameArgs {
    /// The backfill, as SCHEDULE/NUMBER or as its resource name.
    backfill: String,
}

#[derive(Debug, Args)]
pub(crate) struct ControlArgs {
    /// The backfill, as SCHEDULE/NUMBER or as its resource name.
    backfill: String,
    /// Why: whoever finds it so wants to know.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    actor: ActorArgs,
    #[command(flatten)]
    check: CheckArgs,
    #[command(flatten)]
    request: RequestArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ResumeArgs {
    /// The backfill, as SCHEDULE/NUMBER or as its resource name.
    backfill: String,
    /// Why, for the record.
    #[arg(long, value_name = "TEXT", default_value_t, hide_default_value = true)]
    reason: String,
    #[command(flatten)]
    actor: ActorArgs,
    #[command(flatten)]
    check: CheckArgs,
    #[command(flatten)]
    request: RequestArgs,
}

pub(crate) fn run(context: &Context, command: BackfillCommand) -> Result<(), Failure> {
    converse(async {
        match command {
            BackfillCommand::Create(args) => create::run(context, &args).await,
            BackfillCommand::List(args) => list(context, &args).await,
            BackfillCommand::Get(args) => {
                let name = context.backfill(&args.backfill)?;
                let backfill = context.client()?.get_backfill(pb::GetBackfillRequest { name }).await?;
                show(context, &BackfillView::from(backfill))
            }
            BackfillCommand::Pause(args) => {
                let request = args.request(context)?;
                show_changed(context, args.check, context.client()?.pause_backfill(request).await?)
            }
            BackfillCommand::Resume(args) => {
                let ResumeArgs { backfill, reason, actor, check, request } = args;
                let request = ControlArgs { backfill, reason, actor, check, request }.request(context)?;
                show_changed(context, check, context.client()?.resume_backfill(request).await?)
            }
            BackfillCommand::Cancel(args) => {
                let request = args.request(context)?;
                show_changed(context, args.check, context.client()?.cancel_backfill(request).await?)
            }
            BackfillCommand::Watch(args) => watch::run(context, &args).await,
        }
    })
}

impl ControlArgs {
    fn request(&self, context: &Context) -> Result<pb::ControlBackfillRequest, Failure> {
        Ok(pb::ControlBackfillRequest {
            name: context.backfill(&self.backfill)?,
            reason: self.reason.clone(),
            actor: self.actor.name(),
            request_id: self.request.id(),
            validate_only: self.check.dry_run,
        })
    }
}

async fn list(context: &Context, args: &ListArgs) -> Result<(), Failure> {
    let parent = context.schedule(&args.schedule)?;
    let request = pb::ListBackfillsRequest { parent: parent.clone() };
    let backfills = context.client()?.list_backfills(request).await?.backfills;
    let mut listing = context.printer.listing::<BackfillView>("backfills", text::now_millis());
    listing.page(&backfills.into_iter().map(BackfillView::from).collect::<Vec<_>>())?;
    if listing.end()? == 0 {
        prose(&format!("no backfills of {parent}"));
    }
    Ok(())
}

fn show_changed(context: &Context, check: CheckArgs, backfill: pb::Backfill) -> Result<(), Failure> {
    check.remark("changed");
    show(context, &backfill.into())
}

fn show(context: &Context, view: &BackfillView) -> Result<(), Failure> {
    context.printer.one(view, &view.name, |printer| view.screen(printer, text::now_millis()))
}

impl Context {
    /// The resource name of a backfill, from `SCHEDULE/NUMBER` or the name itself.
    fn backfill(&self, name: &str) -> Result<String, Failure> {
        match name.split('/').collect::<Vec<_>>().as_slice() {
            ["namespaces", _, "schedules", _, "backfills", _] => Ok(name.to_owned()),
            [schedule, number] if !schedule.is_empty() && number.parse::<u64>().is_ok() => {
                Ok(format!("{}/schedules/{schedule}/backfills/{number}", self.parent()))
            }
            _other => Err(Failure::usage(format!(
                "{name:?} is not the name of a backfill: write SCHEDULE/NUMBER as `belfry backfill list` shows it, or its resource name"
            ))),
        }
    }
}
