//! `belfry schedule create` and `set`.

use std::io::{self, IsTerminal as _};

use belfry_sdk::{Client, ClientError, pb};
use clap::Args;

use super::definition::DefinitionArgs;
use super::{RequestArgs, herd, show_changed};
use crate::commands::Context;
use crate::exit::Failure;
use crate::output::prose;
use crate::text;

/// How often `set` reads again after somebody else was faster.
const TRIES_MAX: u32 = 5;

pub(crate) const CREATE_EXAMPLES: &str = "Examples:
  belfry schedule create backup --cron '0 3 * * *' --tz Europe/Berlin --command 'pg_dump shop > /backup/shop.sql'
  belfry schedule create poll --every 90s --start-deadline 1m --argv -- /usr/bin/poll --quick
  belfry schedule create invoices --cron 'H 6 1 * *' --http-post https://billing/run --header 'Accept: application/json'";

#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// Name of the schedule: letters, digits, `-`, `_` and `.`.
    name: String,
    #[command(flatten)]
    definition: DefinitionArgs,
    /// Only check it, and show when it would fire.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    request: RequestArgs,
}

#[derive(Debug, Args)]
pub(crate) struct SetArgs {
    /// The schedule, as NAME or as its resource name.
    name: String,
    #[command(flatten)]
    definition: DefinitionArgs,
    /// Change it only if this is still its etag.
    #[arg(long)]
    etag: Option<String>,
    /// Only check it, and show when it would fire.
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    request: RequestArgs,
}

pub(crate) async fn create(context: &Context, args: &CreateArgs) -> Result<(), Failure> {
    let name = context.schedule(&args.name)?;
    let request = pb::CreateScheduleRequest {
        parent: format!("namespaces/{}", text::namespace_of(&name)),
        schedule_id: text::short_name(&name).to_owned(),
        schedule: Some(args.definition.new_schedule()?),
        request_id: args.request.id(),
        validate_only: args.dry_run,
        ..Default::default()
    };
    let client = context.client()?;
    let schedule = client.create_schedule(request).await?;
    if args.dry_run {
        prose("dry run: nothing was created");
    }
    show_changed(context, schedule.clone())?;
    if args.dry_run || io::stderr().is_terminal() {
        Box::pin(herd::notice(&client, &schedule)).await;
    }
    Ok(())
}

pub(crate) async fn set(context: &Context, args: &SetArgs) -> Result<(), Failure> {
    let name = context.schedule(&args.name)?;
    if args.definition.is_empty() {
        return Err(Failure::usage(
            "nothing to change: give at least one flag, see `belfry schedule set --help`",
        ));
    }
    let schedule = Box::pin(change(&context.client()?, &name, args)).await?;
    if args.dry_run {
        prose("dry run: nothing was changed");
    }
    show_changed(context, schedule)
}

/// Reads, changes and writes. Without an etag of the caller's the write is bound to what was read, and when somebody else
/// was faster it is done again: neither's change is lost.
async fn change(client: &Client, name: &str, args: &SetArgs) -> Result<pb::Schedule, Failure> {
    let mut tries = 0;
    loop {
        tries += 1;
        let mut schedule = client.get_schedule(pb::GetScheduleRequest { name: name.to_owned() }).await?;
        let paths = args.definition.apply(&mut schedule)?;
        if let Some(etag) = &args.etag {
            schedule.etag.clone_from(etag);
        }
        let request = pb::UpdateScheduleRequest {
            schedule: Some(schedule),
            update_mask: Some(prost_types::FieldMask {
                paths: paths.iter().map(ToString::to_string).collect(),
            }),
            allow_missing: false,
            request_id: args.request.id(),
            validate_only: args.dry_run,
            ..Default::default()
        };
        match client.update_schedule(request).await {
            // With a request id of the caller's a second try with other content would be refused.
            Err(ClientError::Conflict(_))
                if args.etag.is_none() && args.request.request_id.is_none() && tries < TRIES_MAX => {}
            result => return Ok(result?),
        }
    }
}
