//! `belfry run`: the ledger of what happened, and why.

use belfry_sdk::{Client, pb};
use clap::{ArgGroup, Args, Subcommand, ValueEnum};

use super::schedule::{ActorArgs, CheckArgs, Failures, RequestArgs};
use super::{Context, converse, watch};
use crate::exit::Failure;
use crate::output::prose;
use crate::output::view::{RunView, ScheduleView};
use crate::text;

/// The most runs that a node puts into one page.
const PAGE_MAX: u32 = 1000;

#[derive(Debug, Subcommand)]
pub(crate) enum RunCommand {
    /// List runs, newest first.
    List(ListArgs),
    /// Show one run with the tail of its output.
    Get(GetArgs),
    /// End runs: at once while they wait, by telling their executor while they are running.
    Cancel(CancelArgs),
    /// Say what became of a run whose outcome is unknown.
    Resolve(ResolveArgs),
    /// Show runs as they begin and end, until interrupted.
    Watch(WatchArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Schedule whose runs to list. Without it: all of the namespace.
    schedule: Option<String>,
    /// List only runs in this state; repeat it, or separate several by commas.
    #[arg(long = "state", value_name = "STATE", value_enum, ignore_case = true, value_delimiter = ',')]
    states: Vec<StateArg>,
    /// List at most so many; 0 for all.
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: u32,
    /// Go on with runs as they change, until interrupted.
    #[arg(short = 'w', long)]
    watch: bool,
}

#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    /// Schedule whose runs to watch. Without it: all of the namespace.
    schedule: Option<String>,
    /// Only runs in this state; repeat it, or separate several by commas.
    #[arg(long = "state", value_name = "STATE", value_enum, ignore_case = true, value_delimiter = ',')]
    states: Vec<StateArg>,
    /// Only runs of schedules with these labels: `team=billing,tier!=test,owned,!legacy`.
    #[arg(short = 'l', long, value_name = "SELECTOR", default_value = "", hide_default_value = true)]
    selector: String,
}

#[derive(Debug, Args)]
pub(crate) struct GetArgs {
    /// The run, as SCHEDULE/RUN or as its resource name.
    run: String,
}

#[derive(Debug, Args)]
pub(crate) struct CancelArgs {
    /// The runs, as SCHEDULE/RUN or as resource names.
    #[arg(required = true, value_name = "RUN")]
    runs: Vec<String>,
    /// Why: the row keeps it for whoever asks later.
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
#[command(group = ArgGroup::new("outcome").required(true))]
pub(crate) struct ResolveArgs {
    /// The run, as SCHEDULE/RUN or as its resource name.
    run: String,
    /// It did its work: it becomes SUCCEEDED.
    #[arg(long, group = "outcome")]
    did_run: bool,
    /// It ran and did not do its work: it becomes FAILED.
    #[arg(long, group = "outcome")]
    failed: bool,
    /// It did nothing at all: it becomes SKIPPED.
    #[arg(long, group = "outcome")]
    did_not_run: bool,
    /// How you know.
    #[arg(long, value_name = "TEXT")]
    reason: String,
    #[command(flatten)]
    actor: ActorArgs,
    #[command(flatten)]
    check: CheckArgs,
    #[command(flatten)]
    request: RequestArgs,
}

/// States as people type them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "snake_case")]
pub(crate) enum StateArg {
    Due,
    Running,
    Succeeded,
    Failed,
    #[value(alias = "timed-out")]
    TimedOut,
    Unknown,
    Skipped,
    Merged,
    Expired,
    Cancelled,
}

impl From<StateArg> for pb::run::State {
    fn from(state: StateArg) -> Self {
        match state {
            StateArg::Due => Self::Due,
            StateArg::Running => Self::Running,
            StateArg::Succeeded => Self::Succeeded,
            StateArg::Failed => Self::Failed,
            StateArg::TimedOut => Self::TimedOut,
            StateArg::Unknown => Self::Unknown,
            StateArg::Skipped => Self::Skipped,
            StateArg::Merged => Self::Merged,
            StateArg::Expired => Self::Expired,
            StateArg::Cancelled => Self::Cancelled,
        }
    }
}

pub(crate) fn run(context: &Context, command: RunCommand) -> Result<(), Failure> {
    converse(async {
        match command {
            RunCommand::List(args) => list(context, &args).await,
            RunCommand::Get(args) => get(context, &args).await,
            RunCommand::Cancel(args) => cancel(context, &args).await,
            RunCommand::Resolve(args) => resolve(context, &args).await,
            RunCommand::Watch(args) => watch_runs(context, &args).await,
        }
    })
}

async fn list(context: &Context, args: &ListArgs) -> Result<(), Failure> {
    let parent = context.schedule(args.schedule.as_deref().unwrap_or("-"))?;
    let states = read_states(&args.states);
    let client = context.client()?;
    let mut pages = Pages::new(client.clone(), parent.clone(), states.clone(), args.limit);
    let mut listing = context.printer.listing::<RunView>("runs", text::now_millis());
    while let Some(runs) = pages.next().await? {
        listing.page(&runs)?;
    }
    let count = listing.end()?;
    if args.watch {
        let start_revision = pages.revision;
        let request = pb::WatchRunsRequest { parent, states, start_revision, ..Default::default() };
        return watch::runs(context, &client, request).await;
    }
    if count == 0 {
        prose(&format!("no such runs in {parent}"));
    }
    Ok(())
}

fn read_states(states: &[StateArg]) -> Vec<i32> {
    states.iter().map(|state| pb::run::State::from(*state).into()).collect()
}

async fn watch_runs(context: &Context, args: &WatchArgs) -> Result<(), Failure> {
    let parent = context.schedule(args.schedule.as_deref().unwrap_or("-"))?;
    let (states, selector) = (read_states(&args.states), args.selector.clone());
    watch::say_so(&parent);
    let request = pb::WatchRunsRequest { parent, selector, states, start_revision: 0 };
    watch::runs(context, &context.client()?, request).await
}

async fn get(context: &Context, args: &GetArgs) -> Result<(), Failure> {
    let name = context.run(&args.run)?;
    let client = context.client()?;
    let mut run = RunView::from(client.get_run(pb::GetRunRequest { name: name.clone() }).await?);
    if let Some((schedule, _)) = name.rsplit_once("/runs/") {
        // How many attempts it may have is worth showing, and not worth failing for.
        let schedule = client.get_schedule(pb::GetScheduleRequest { name: schedule.to_owned() }).await.ok();
        run.attempts_max = schedule.map(|schedule| ScheduleView::from(schedule).policies.attempts());
    }
    show(context, &run)
}

async fn cancel(context: &Context, args: &CancelArgs) -> Result<(), Failure> {
    let names: Vec<String> = args.runs.iter().map(|run| context.run(run)).collect::<Result<_, _>>()?;
    let is_one = names.len() == 1;
    if !is_one && !args.request.id().is_empty() {
        return Err(Failure::usage("--request-id is for one run: name just one"));
    }
    let client = context.client()?;
    let mut listing = context.printer.listing::<RunView>("runs", text::now_millis());
    let mut failures = Failures::default();
    for name in names {
        let request = pb::CancelRunRequest {
            name: name.clone(),
            reason: args.reason.clone(),
            actor: args.actor.name(),
            request_id: args.request.id(),
            validate_only: args.check.dry_run,
        };
        match client.cancel_run(request).await.map(RunView::from).map_err(Failure::from) {
            Ok(run) if is_one => show(context, &run)?,
            Ok(run) => listing.page(&[run])?,
            Err(failure) => failures.add(if is_one { failure } else { failure.about(&name) }),
        }
    }
    if !is_one {
        listing.end()?;
    }
    args.check.remark("cancelled");
    failures.end()
}

async fn resolve(context: &Context, args: &ResolveArgs) -> Result<(), Failure> {
    use pb::resolve_run_request::Outcome;
    let outcome = match (args.did_run, args.failed) {
        (true, _) => Outcome::Succeeded,
        (false, true) => Outcome::Failed,
        // One of the three was given.
        (false, false) => Outcome::DidNotRun,
    };
    let request = pb::ResolveRunRequest {
        name: context.run(&args.run)?,
        outcome: outcome.into(),
        reason: args.reason.clone(),
        actor: args.actor.name(),
        request_id: args.request.id(),
        validate_only: args.check.dry_run,
    };
    let run = RunView::from(context.client()?.resolve_run(request).await?);
    show(context, &run)?;
    args.check.remark("changed");
    Ok(())
}

/// Shows everything about a run.
pub(crate) fn show(context: &Context, run: &RunView) -> Result<(), Failure> {
    context.printer.one(run, &run.name, |printer| run.details(printer, text::now_millis()))
}

/// Runs of a schedule or of a namespace, page by page.
pub(crate) struct Pages {
    client: Client,
    request: Option<pb::ListRunsRequest>,
    left: Option<u32>,
    /// What the first page was read at.
    revision: u64,
}

impl Pages {
    /// At most `limit` runs, all for 0.
    pub(crate) fn new(client: Client, parent: String, states: Vec<i32>, limit: u32) -> Self {
        let request = pb::ListRunsRequest { parent, states, ..Default::default() };
        Self { client, request: Some(request), left: (limit > 0).then_some(limit), revision: 0 }
    }

    /// The next page; none behind the last one.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<RunView>>, Failure> {
        let Some(mut request) = self.request.take() else { return Ok(None) };
        let size = self.left.map_or(PAGE_MAX, |left| left.min(PAGE_MAX));
        request.page_size = i32::try_from(size).expect("a page is small");
        let mut page = self.client.list_runs(request.clone()).await?;
        if self.revision == 0 {
            self.revision = page.revision;
        }
        // A node may give less than asked for, and must not be believed to never give more.
        page.runs.truncate(size as usize);
        if let Some(left) = &mut self.left {
            *left -= u32::try_from(page.runs.len()).expect("a page is small");
        }
        if !page.next_page_token.is_empty() && self.left != Some(0) {
            self.request = Some(pb::ListRunsRequest { page_token: page.next_page_token, ..request });
        }
        Ok(Some(page.runs.into_iter().map(RunView::from).collect()))
    }
}
