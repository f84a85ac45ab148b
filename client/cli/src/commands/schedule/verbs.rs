//! `belfry schedule delete`, `pause`, `resume` and `trigger`.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::Duration;

use belfry_sdk::{Client, pb};
use belfry_timing::parse_duration;
use clap::Args;
use tokio::time::{sleep, timeout};

use super::{RequestArgs, show_changed};
use crate::commands::{Context, run};
use crate::exit::{Exit, Failure};
use crate::output::prose;
use crate::output::view::RunView;

/// How often a run that is waited for is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// A run usually begins within milliseconds; after three seconds somebody who waits wants to know why not.
const LOOKS_BEFORE_A_HINT: u32 = 6;

#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    /// The schedules, as NAME or as resource names.
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// Delete it only if this is still its etag.
    #[arg(long)]
    etag: Option<String>,
    /// Do not ask.
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    request: RequestArgs,
}

#[derive(Debug, Args)]
pub(crate) struct PauseArgs {
    /// The schedule, as NAME or as its resource name.
    name: String,
    /// Why: whoever finds it paused at night wants to know.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    actor: ActorArgs,
    /// Pause it only if this is still its etag.
    #[arg(long, default_value_t)]
    etag: String,
    #[command(flatten)]
    request: RequestArgs,
}

#[derive(Debug, Args)]
pub(crate) struct ResumeArgs {
    /// The schedule, as NAME or as its resource name.
    name: String,
    #[command(flatten)]
    actor: ActorArgs,
    /// Resume it only if this is still its etag.
    #[arg(long, default_value_t)]
    etag: String,
    #[command(flatten)]
    request: RequestArgs,
}

#[derive(Debug, Args)]
pub(crate) struct TriggerArgs {
    /// The schedule, as NAME or as its resource name.
    name: String,
    #[command(flatten)]
    actor: ActorArgs,
    /// Wait for the run to end, and show its output. Exits with 8 when it does not succeed.
    #[arg(long)]
    wait: bool,
    /// Wait no longer than this.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, requires = "wait")]
    wait_timeout: Option<Duration>,
    #[command(flatten)]
    request: RequestArgs,
}

#[derive(Debug, Args)]
struct ActorArgs {
    /// Who does it, for the record. Without it: the user of this machine.
    #[arg(long, value_name = "NAME")]
    actor: Option<String>,
}

impl ActorArgs {
    fn name(&self) -> String {
        self.actor.clone().unwrap_or_else(local_user)
    }
}

/// The name by which the machine knows who runs this.
pub(crate) fn local_user() -> String {
    let of = |variable| std::env::var(variable).ok().filter(|name: &String| !name.is_empty());
    of("USER").or_else(|| of("LOGNAME")).unwrap_or_else(|| "unknown".to_owned())
}

pub(crate) async fn delete(context: &Context, args: &DeleteArgs) -> Result<(), Failure> {
    let names: Vec<String> =
        args.names.iter().map(|name| context.schedule(name)).collect::<Result<_, _>>()?;
    let is_single = names.len() == 1;
    if !is_single && (args.etag.is_some() || args.request.request_id.is_some()) {
        return Err(Failure::usage("--etag and --request-id are for one schedule: name just one"));
    }
    if !args.yes && io::stdin().is_terminal() && !confirms(&args.names)? {
        return Err(Failure::new(Exit::Failed, "nothing was deleted"));
    }
    let client = context.client()?;
    let mut failed = None;
    let about = |failure: Failure, name: &str| if is_single { failure } else { failure.about(name) };
    for name in names {
        let request = pb::DeleteScheduleRequest {
            name: name.clone(),
            etag: args.etag.clone().unwrap_or_default(),
            request_id: args.request.id(),
            ..Default::default()
        };
        match client.delete_schedule(request).await.map_err(Failure::from) {
            Ok(()) => prose(&format!("deleted {name}")),
            Err(failure) => match &mut failed {
                None => failed = Some(about(failure, &name)),
                Some(failed) => failed.also(about(failure, &name)),
            },
        }
    }
    failed.map_or(Ok(()), Err)
}

fn confirms(names: &[String]) -> Result<bool, Failure> {
    let mut stderr = io::stderr().lock();
    write!(stderr, "delete {}? [y/N] ", names.join(", "))?;
    stderr.flush()?;
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
}

pub(crate) async fn pause(context: &Context, args: &PauseArgs) -> Result<(), Failure> {
    let request = pb::PauseScheduleRequest {
        name: context.schedule(&args.name)?,
        reason: args.reason.clone(),
        actor: args.actor.name(),
        etag: args.etag.clone(),
        request_id: args.request.id(),
        ..Default::default()
    };
    show_changed(context, context.client()?.pause_schedule(request).await?)
}

pub(crate) async fn resume(context: &Context, args: &ResumeArgs) -> Result<(), Failure> {
    let request = pb::ResumeScheduleRequest {
        name: context.schedule(&args.name)?,
        actor: args.actor.name(),
        etag: args.etag.clone(),
        request_id: args.request.id(),
        ..Default::default()
    };
    show_changed(context, context.client()?.resume_schedule(request).await?)
}

pub(crate) async fn trigger(context: &Context, args: &TriggerArgs) -> Result<(), Failure> {
    let request = pb::TriggerScheduleRequest {
        name: context.schedule(&args.name)?,
        actor: args.actor.name(),
        request_id: args.request.id(),
        ..Default::default()
    };
    let client = context.client()?;
    let run = RunView::from(client.trigger_schedule(request).await?);
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
