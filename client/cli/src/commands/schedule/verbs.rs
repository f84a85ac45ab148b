//! `belfry schedule delete`, `pause`, `resume` and `trigger`.

use std::time::Duration;

use belfry_sdk::{Client, ClientError, pb};
use belfry_timing::{format_time, parse_duration};
use clap::{Args, ValueEnum};
use tokio::time::{sleep, timeout};

use super::definition::instant;
use super::matched::{Asks, Failures, MatchArgs, Matched};
use super::{CheckArgs, DELETED_TOGETHER, RequestArgs, show_changed};
use crate::commands::{Context, run};
use crate::exit::{Exit, Failure};
use crate::output::prose;
use crate::output::view::{RunView, ScheduleView};
use crate::text;

/// How often a run that is waited for is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// A run usually begins within milliseconds; after three seconds somebody who waits wants to know why not.
const LOOKS_BEFORE_A_HINT: u32 = 6;

#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    #[command(flatten)]
    schedules: MatchArgs,
    /// Delete it only if this is still its etag.
    #[arg(long, default_value_t, hide_default_value = true)]
    etag: String,
    #[command(flatten)]
    check: CheckArgs,
    #[command(flatten)]
    request: RequestArgs,
}

#[derive(Debug, Args)]
pub(crate) struct PauseArgs {
    #[command(flatten)]
    schedules: MatchArgs,
    /// Why: whoever finds it paused at night wants to know.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    /// End the pause by itself then: 2026-11-23T02:00:00Z (UTC, unless it names an offset), or after 2h30m.
    #[arg(long, value_name = "TIME|DURATION")]
    until: Option<String>,
    #[command(flatten)]
    actor: ActorArgs,
    /// Pause it only if this is still its etag.
    #[arg(long, default_value_t, hide_default_value = true)]
    etag: String,
    #[command(flatten)]
    check: CheckArgs,
    #[command(flatten)]
    request: RequestArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ResumeArgs {
    #[command(flatten)]
    schedules: MatchArgs,
    /// What becomes of the instants inside the pause.
    #[arg(long, value_enum, default_value_t)]
    missed: MissedArg,
    #[command(flatten)]
    actor: ActorArgs,
    /// Resume it only if this is still its etag.
    #[arg(long, default_value_t, hide_default_value = true)]
    etag: String,
    #[command(flatten)]
    check: CheckArgs,
    #[command(flatten)]
    request: RequestArgs,
}

/// What becomes of missed instants, as people type it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum MissedArg {
    /// They stay skipped.
    #[default]
    Skip,
    /// One run stands for all of them.
    Coalesce,
    /// Each runs, one at a time.
    FireAll,
}

#[derive(Debug, Args)]
pub(crate) struct TriggerArgs {
    /// The schedule, as NAME or as its resource name.
    name: String,
    /// When something of the schedule is running: wait for it, run beside it, or do nothing.
    #[arg(long, value_enum, default_value_t)]
    overlap: OverlapArg,
    #[command(flatten)]
    actor: ActorArgs,
    /// Wait for the run to end, and show its output. Exits with 8 when it does not succeed.
    #[arg(long, conflicts_with = "dry_run")]
    wait: bool,
    /// Wait no longer than this.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, requires = "wait")]
    wait_timeout: Option<Duration>,
    #[command(flatten)]
    check: CheckArgs,
    #[command(flatten)]
    request: RequestArgs,
}

/// What a trigger does about others, as people type it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
enum OverlapArg {
    /// Begin when what is running has ended.
    #[default]
    Wait,
    /// Begin beside what is running.
    Allow,
    /// Fail when anything is running or waiting.
    Refuse,
}

impl From<MissedArg> for pb::resume_schedule_request::Missed {
    fn from(missed: MissedArg) -> Self {
        match missed {
            MissedArg::Skip => Self::Skip,
            MissedArg::Coalesce => Self::Coalesce,
            MissedArg::FireAll => Self::FireAll,
        }
    }
}

impl From<OverlapArg> for pb::trigger_schedule_request::Overlap {
    fn from(overlap: OverlapArg) -> Self {
        match overlap {
            OverlapArg::Wait => Self::Wait,
            OverlapArg::Allow => Self::Allow,
            OverlapArg::Refuse => Self::Refuse,
        }
    }
}

#[derive(Debug, Args)]
pub(crate) struct ActorArgs {
    /// Who does it, for the record. Without it: the user of this machine.
    #[arg(long, value_name = "NAME")]
    actor: Option<String>,
}

impl ActorArgs {
    pub(crate) fn name(&self) -> String {
        self.actor.clone().unwrap_or_else(local_user)
    }
}

/// The name by which the machine knows who runs this.
pub(crate) fn local_user() -> String {
    let of = |variable| std::env::var(variable).ok().filter(|name: &String| !name.is_empty());
    of("USER").or_else(|| of("LOGNAME")).unwrap_or_else(|| "unknown".to_owned())
}

pub(crate) async fn delete(context: &Context, args: &DeleteArgs) -> Result<(), Failure> {
    args.schedules.check(&args.etag, &args.request)?;
    let (client, dry_run) = (context.client()?, args.check.dry_run);
    let matched = args.schedules.resolve(context, &client, "delete", Asks::Always, dry_run).await?;
    let request = |name: &String| pb::DeleteScheduleRequest {
        name: name.clone(),
        etag: args.etag.clone(),
        request_id: args.request.id(),
        validate_only: dry_run,
        ..Default::default()
    };
    let done = |name: &str| prose(&format!("{} {name}", if dry_run { "would delete" } else { "deleted" }));
    if let (true, [name]) = (matched.is_one(), &matched.names[..]) {
        client.delete_schedule(request(name)).await?;
        done(name);
        return Ok(());
    }
    let mut failures = Failures::default();
    for names in matched.names.chunks(DELETED_TOGETHER) {
        let requests = names.iter().map(request).collect();
        let results = match client.batch_delete_schedules(requests).await {
            Ok(results) => results,
            Err(error) => {
                failures.add(deleting(error).about(&format!("{} schedules from {}", names.len(), names[0])));
                break;
            }
        };
        for (name, result) in names.iter().zip(results) {
            match result.map_err(deleting) {
                Ok(()) => done(name),
                Err(failure) => failures.add(failure.about(name)),
            }
        }
    }
    failures.end()
}

/// Of several schedules no request id can be given: what was deleted says so when asked again.
fn deleting(error: ClientError) -> Failure {
    match error {
        ClientError::OutcomeUnknown { cause, .. } => Failure::new(
            Exit::OutcomeUnknown,
            format!("outcome unknown ({cause}): delete again, what is gone already is not found"),
        ),
        other => other.into(),
    }
}

pub(crate) async fn pause(context: &Context, args: &PauseArgs) -> Result<(), Failure> {
    args.schedules.check(&args.etag, &args.request)?;
    let until = args.until.as_deref().map(|until| end_of_pause(until, text::now_millis())).transpose()?;
    let (client, dry_run) = (context.client()?, args.check.dry_run);
    let matched = args.schedules.resolve(context, &client, "pause", Asks::AboutSelections, dry_run).await?;
    let request = |name: &str| pb::PauseScheduleRequest {
        name: name.to_owned(),
        reason: args.reason.clone(),
        actor: args.actor.name(),
        etag: args.etag.clone(),
        request_id: args.request.id(),
        validate_only: dry_run,
        until,
    };
    each(context, &matched, async |name: &str| client.pause_schedule(request(name)).await).await?;
    args.check.remark("paused");
    Ok(())
}

/// The instant of `--until`, in full: an answer that got lost can be asked for again.
fn end_of_pause(until: &str, now: i64) -> Result<prost_types::Timestamp, Failure> {
    let Ok(after) = parse_duration(until) else { return instant(until, "UTC") };
    let after = i64::try_from(after.as_millis()).unwrap_or(i64::MAX);
    // Whole seconds can be typed.
    let until = now.saturating_add(after) / 1000 * 1000;
    prose(&format!("until {}", format_time(until)));
    Ok(text::timestamp(until))
}

pub(crate) async fn resume(context: &Context, args: &ResumeArgs) -> Result<(), Failure> {
    args.schedules.check(&args.etag, &args.request)?;
    let (client, dry_run) = (context.client()?, args.check.dry_run);
    let matched = args.schedules.resolve(context, &client, "resume", Asks::AboutSelections, dry_run).await?;
    let missed: pb::resume_schedule_request::Missed = args.missed.into();
    let request = |name: &str| pb::ResumeScheduleRequest {
        name: name.to_owned(),
        actor: args.actor.name(),
        etag: args.etag.clone(),
        request_id: args.request.id(),
        validate_only: dry_run,
        missed: missed.into(),
    };
    each(context, &matched, async |name: &str| {
        // The pause is gone from the answer, and with it the count.
        let before = client.get_schedule(pb::GetScheduleRequest { name: name.to_owned() }).await?;
        let resumed = client.resume_schedule(request(name)).await?;
        say_skipped(name, before.pause.as_ref(), args.missed);
        Ok(resumed)
    })
    .await?;
    args.check.remark("resumed");
    Ok(())
}

fn say_skipped(name: &str, pause: Option<&pb::Pause>, missed: MissedArg) {
    let name = text::short_name(name);
    let Some(pause) = pause else {
        return prose(&format!("{name} was not paused"));
    };
    let fate = match (pause.skipped_count, missed) {
        (0, _) => "",
        (_, MissedArg::Skip) => "; they stay skipped, unless --missed says otherwise",
        (_, MissedArg::Coalesce) => "; one run stands for them",
        (_, MissedArg::FireAll) => "; they are made up for one at a time",
    };
    prose(&format!("{name}: {} instant(s) were skipped in the pause{fate}", pause.skipped_count));
}

/// Changes each of the schedules, shows what came of it, and goes on after failures.
async fn each(
    context: &Context,
    matched: &Matched,
    change: impl AsyncFn(&str) -> Result<pb::Schedule, ClientError>,
) -> Result<(), Failure> {
    if let (true, [name]) = (matched.is_one(), matched.names.as_slice()) {
        return show_changed(context, change(name).await?);
    }
    let mut listing = context.printer.listing::<ScheduleView>("schedules", text::now_millis());
    let mut failures = Failures::default();
    for name in &matched.names {
        match change(name).await {
            Ok(schedule) => listing.page(&[ScheduleView::from(schedule)])?,
            Err(error) => failures.add(Failure::from(error).about(name)),
        }
    }
    listing.end()?;
    failures.end()
}

pub(crate) async fn trigger(context: &Context, args: &TriggerArgs) -> Result<(), Failure> {
    let overlap: pb::trigger_schedule_request::Overlap = args.overlap.into();
    let request = pb::TriggerScheduleRequest {
        name: context.schedule(&args.name)?,
        actor: args.actor.name(),
        request_id: args.request.id(),
        validate_only: args.check.dry_run,
        overlap: overlap.into(),
    };
    let client = context.client()?;
    let run = RunView::from(client.trigger_schedule(request).await?);
    if args.check.dry_run {
        run::show(context, &run)?;
        args.check.remark("triggered");
        return Ok(());
    }
    if !args.wait {
        run::show(context, &run)?;
        prose(&format!("how it went: `belfry run get {}`, or trigger with --wait", run.short_name()));
        return Ok(());
    }
    prose(&format!("waiting for {}", run.short_name()));
    let ended = ended(&client, &run.name);
    let run = match args.wait_timeout {
        Some(limit) => match timeout(limit, ended).await {
            Ok(run) => run?,
            Err(_) => return Err(Failure::new(Exit::ConditionFalse, still_open(&run, limit))),
        },
        None => ended.await?,
    };
    run::show(context, &run)?;
    if run.has_succeeded() {
        return Ok(());
    }
    Err(Failure::new(
        Exit::ConditionFalse,
        format!("{} did not succeed: it is {}", run.short_name(), run.state),
    ))
}

fn still_open(run: &RunView, limit: Duration) -> String {
    let (limit, name) = (belfry_timing::format_duration(limit), run.short_name());
    format!("{name} has not ended within {limit}: look again with `belfry run get {name}`")
}

/// The run once it has ended.
async fn ended(client: &Client, name: &str) -> Result<RunView, Failure> {
    let mut looks = 0;
    loop {
        let run = RunView::from(client.get_run(pb::GetRunRequest { name: name.to_owned() }).await?);
        if run.has_ended() {
            return Ok(run);
        }
        looks += 1;
        if looks == LOOKS_BEFORE_A_HINT && run.is_due() {
            prose("it has not begun yet: `belfry schedule describe` says what it waits for");
        }
        sleep(LOOK_EVERY).await;
    }
}
