//! `belfry backfill create`.

use belfry_sdk::pb;
use belfry_timing::{TimeZone, parse_time};
use clap::Args;

use super::watch::WaitArgs;
use super::{show, watch};
use crate::commands::Context;
use crate::commands::schedule::{ActorArgs, RequestArgs};
use crate::commands::timings::{Timings, fixed_delay};
use crate::exit::Failure;
use crate::output::prose;
use crate::output::view::{BackfillView, Instant};
use crate::text;

#[derive(Debug, Args)]
pub(crate) struct CreateArgs {
    /// The schedule, as NAME or as its resource name.
    schedule: String,
    /// The first instant: 2026-11-23T02:00:00Z, or 2026-11-23T02:00 by the clocks of the schedule.
    #[arg(long, value_name = "TIME")]
    from: String,
    /// The first instant that is not part of it, and not in the future.
    #[arg(long, value_name = "TIME")]
    to: String,
    /// Run all instants, also those that ran. Without it: those that never began and that no other run stands for.
    #[arg(long)]
    reprocess: bool,
    /// Why, for the record.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    actor: ActorArgs,
    /// Only count the instants, and show the first and the last one.
    #[arg(long, conflicts_with = "wait")]
    dry_run: bool,
    /// Wait for it to end, and say how it gets on. Exits with 8 when it does not succeed.
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    waiting: WaitArgs,
    #[command(flatten)]
    request: RequestArgs,
}

pub(super) async fn run(context: &Context, args: &CreateArgs) -> Result<(), Failure> {
    let (parent, client) = (context.schedule(&args.schedule)?, context.client()?);
    let schedule = client.get_schedule(pb::GetScheduleRequest { name: parent.clone() }).await?;
    let zone = schedule.timing.as_ref().map_or("", |timing| &timing.time_zone);
    let refused = |error: &dyn std::fmt::Display| Failure::usage(error.to_string());
    let zone = TimeZone::parse(text::zone_or_utc(zone)).map_err(|error| refused(&error))?;
    let instant = |text: &str| parse_time(text, &zone).map_err(|error| refused(&error));
    let (from, to) = (instant(&args.from)?, instant(&args.to)?);
    let mode = if args.reprocess { pb::backfill::Mode::Reprocess } else { pb::backfill::Mode::Missing };
    let request = pb::CreateBackfillRequest {
        parent: parent.clone(),
        backfill: Some(pb::Backfill {
            start_time: Some(text::timestamp(from)),
            end_time: Some(text::timestamp(to)),
            mode: mode.into(),
            reason: args.reason.clone(),
            actor: args.actor.name(),
            ..Default::default()
        }),
        request_id: args.request.id(),
        validate_only: args.dry_run,
    };
    let mut view = BackfillView::from(client.create_backfill(request).await?);
    if args.dry_run {
        if !fixed_delay(&schedule) {
            let timing = Timings::read(&client, &namespace_of(&parent)).await?.compile(&schedule)?;
            view.first_time = timing.next(from - 1).filter(|first| *first < to).map(Instant);
            view.last_time = timing.previous(to).filter(|last| *last >= from).map(Instant);
        }
        show(context, &view)?;
        prose("dry run: nothing was created");
        return Ok(());
    }
    if args.wait {
        prose(&format!("waiting for {}", view.short_name()));
        return watch::until_it_ends(context, &client, &view.name, &args.waiting).await;
    }
    show(context, &view)?;
    prose(&format!("how it gets on: `belfry backfill watch {}`", view.short_name()));
    Ok(())
}

fn namespace_of(name: &str) -> String {
    format!("namespaces/{}", text::namespace_of(name))
}
