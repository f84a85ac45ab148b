//! `belfry run`: the ledger of what happened, and why.

use belfry_sdk::{Client, pb};
use clap::{Args, Subcommand, ValueEnum};

use super::{Context, converse};
use crate::exit::Failure;
use crate::output::prose;
use crate::output::view::RunView;
use crate::text;

/// The most runs that a node puts into one page.
const PAGE_MAX: u32 = 1000;

#[derive(Debug, Subcommand)]
pub(crate) enum RunCommand {
    /// List runs, newest first.
    List(ListArgs),
    /// Show one run with the tail of its output.
    Get(GetArgs),
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
}

#[derive(Debug, Args)]
pub(crate) struct GetArgs {
    /// The run, as SCHEDULE/RUN or as its resource name.
    run: String,
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
        }
    })
}

async fn list(context: &Context, args: &ListArgs) -> Result<(), Failure> {
    let parent = context.schedule(args.schedule.as_deref().unwrap_or("-"))?;
    let states = args.states.iter().map(|state| pb::run::State::from(*state).into()).collect();
    let mut pages = Pages::new(context.client()?, parent.clone(), states, args.limit);
    let mut listing = context.printer.listing::<RunView>("runs", text::now_millis());
    while let Some(runs) = pages.next().await? {
        listing.page(&runs)?;
    }
    if listing.end()? == 0 {
        prose(&format!("no such runs in {parent}"));
    }
    Ok(())
}

async fn get(context: &Context, args: &GetArgs) -> Result<(), Failure> {
    let name = context.run(&args.run)?;
    let run = context.client()?.get_run(pb::GetRunRequest { name }).await?;
    show(context, &RunView::from(run))
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
}

impl Pages {
    /// At most `limit` runs, all for 0.
    pub(crate) fn new(client: Client, parent: String, states: Vec<i32>, limit: u32) -> Self {
        let request = pb::ListRunsRequest { parent, states, ..Default::default() };
        Self { client, request: Some(request), left: (limit > 0).then_some(limit) }
    }

    /// The next page; none behind the last one.
    pub(crate) async fn next(&mut self) -> Result<Option<Vec<RunView>>, Failure> {
        let Some(mut request) = self.request.take() else { return Ok(None) };
        let size = self.left.map_or(PAGE_MAX, |left| left.min(PAGE_MAX));
        request.page_size = i32::try_from(size).expect("a page is small");
        let mut page = self.client.list_runs(request.clone()).await?;
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
