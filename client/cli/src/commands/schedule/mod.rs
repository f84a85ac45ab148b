//! `belfry schedule`: what should run, when, and by which rules.

mod definition;
mod describe;
mod edit;
mod explain;
mod herd;
mod list;
mod matched;
mod next;
mod offline;
mod verbs;

/// The grammar is the API's own: what one accepts the other does.
pub(crate) use belfry_server::selector::Selector;
pub(crate) use definition::{Count, Limit};
pub(crate) use list::schedules;
pub(crate) use matched::{Failures, agree, check_narrow};
pub(crate) use offline::compile_known;
pub(crate) use verbs::{ActorArgs, local_user};

use belfry_sdk::pb;
use clap::{Args, Subcommand};

use super::{Context, converse};
use crate::exit::Failure;
use crate::output::view::ScheduleView;
use crate::output::{Cell, Printer, Row as _, Table, Tone, prose, warning};
use crate::text;

/// Schedules that one call deletes.
pub(crate) const DELETED_TOGETHER: usize = 500;

/// Next fires shown behind a change.
const NEXT_SHOWN: usize = 3;

#[derive(Debug, Subcommand)]
pub(crate) enum ScheduleCommand {
    /// Create a schedule.
    #[command(after_help = edit::CREATE_EXAMPLES)]
    Create(Box<edit::CreateArgs>),
    /// Show one schedule.
    Get(NameArgs),
    /// List schedules in order of name.
    List(list::ListArgs),
    /// Show all about one schedule on one screen: state, next fires, last runs, what to do.
    Describe(NameArgs),
    /// Change what is given and leave the rest as it is.
    Set(Box<edit::SetArgs>),
    /// Delete schedules. Their ledger stays.
    Delete(verbs::DeleteArgs),
    /// Keep schedules from starting runs by themselves.
    Pause(verbs::PauseArgs),
    /// End pauses.
    Resume(verbs::ResumeArgs),
    /// Run a schedule once, now, without moving its timing. Works on a paused one too.
    Trigger(verbs::TriggerArgs),
    /// Tell how many others run in the same minute as the next run of a schedule.
    Herd(herd::HerdArgs),
    /// Show when a timing fires next. Needs no cluster.
    Next(Box<next::NextArgs>),
    /// Show when a timing would have fired. Needs no cluster.
    Previous(Box<next::PreviousArgs>),
    /// Show the fires between two instants. Needs no cluster.
    Between(Box<next::BetweenArgs>),
    /// Tell what a timing means, and what may surprise in it. Needs no cluster.
    Explain(Box<explain::ExplainArgs>),
}

#[derive(Debug, Args)]
pub(crate) struct NameArgs {
    /// The schedule, as NAME or as its resource name.
    name: String,
}

/// Whether a change is only checked.
#[derive(Clone, Copy, Debug, Default, Args)]
pub(crate) struct CheckArgs {
    /// Only check it; nothing is changed.
    #[arg(long)]
    pub(crate) dry_run: bool,
}

impl CheckArgs {
    /// Says that nothing was done, where that is so.
    pub(crate) fn remark(self, done: &str) {
        if self.dry_run {
            prose(&format!("dry run: nothing was {done}"));
        }
    }
}

/// What protects a change.
#[derive(Clone, Debug, Default, Args)]
pub(crate) struct RequestArgs {
    /// Id of this request: repeating it with the same id within an hour tells the outcome and is not a second write.
    #[arg(long, value_name = "ID")]
    request_id: Option<String>,
}

impl RequestArgs {
    pub(crate) fn id(&self) -> String {
        self.request_id.clone().unwrap_or_default()
    }
}

pub(crate) fn run(context: &Context, command: ScheduleCommand) -> Result<(), Failure> {
    converse(async {
        match command {
            ScheduleCommand::Create(args) => edit::create(context, &args).await,
            ScheduleCommand::Get(args) => get(context, &args).await,
            ScheduleCommand::List(args) => list::run(context, &args).await,
            ScheduleCommand::Describe(args) => describe::run(context, &args).await,
            ScheduleCommand::Set(args) => Box::pin(edit::set(context, &args)).await,
            ScheduleCommand::Delete(args) => verbs::delete(context, &args).await,
            ScheduleCommand::Pause(args) => verbs::pause(context, &args).await,
            ScheduleCommand::Resume(args) => verbs::resume(context, &args).await,
            ScheduleCommand::Trigger(args) => verbs::trigger(context, &args).await,
            ScheduleCommand::Herd(args) => herd::run(context, &args).await,
            ScheduleCommand::Next(args) => next::run(context, &args),
            ScheduleCommand::Previous(args) => next::previous(context, &args),
            ScheduleCommand::Between(args) => next::between(context, &args),
            ScheduleCommand::Explain(args) => explain::run(context, &args),
        }
    })
}

async fn get(context: &Context, args: &NameArgs) -> Result<(), Failure> {
    let name = context.schedule(&args.name)?;
    let schedule = context.client()?.get_schedule(pb::GetScheduleRequest { name }).await?;
    let view = ScheduleView::from(schedule);
    context.printer.one(&view, &view.name, |printer| {
        let mut table = Table::new(ScheduleView::headers(printer.is_wide()));
        printer.lay_out(&mut table, &[view.cells(printer.is_wide(), text::now_millis())])
    })
}

/// Shows a schedule that was just changed: what comes next, and what somebody should know about it.
fn show_changed(context: &Context, schedule: pb::Schedule) -> Result<(), Failure> {
    let view = ScheduleView::from(schedule);
    view.status.warnings.iter().for_each(|text| warning(text));
    context.printer.one(&view, &view.name, |printer| changed_table(printer, &view, text::now_millis()))
}

fn changed_table(printer: &Printer, view: &ScheduleView, now: i64) -> String {
    let mut next = view
        .status
        .next_times
        .iter()
        .take(NEXT_SHOWN)
        .map(|time| format!("{time} ({})", text::relative(time.0, now)));
    let first = next.next().map_or_else(|| Cell::new("none: only by hand", Tone::Faint), Cell::from);
    let name = text::short_name(&view.name).into();
    let (timing, zone) = (text::shortened(&view.timing.short(), 40), view.timing.time_zone.as_str());
    let mut rows: Vec<Vec<Cell>> = vec![vec![name, view.state_cell(), timing.into(), zone.into(), first]];
    rows.extend(next.map(|time| vec!["".into(), "".into(), "".into(), "".into(), time.into()]));
    let next = if view.is_paused() { "NEXT IF RESUMED" } else { "NEXT FIRES" };
    printer.lay_out(&mut Table::new(vec!["NAME", "STATE", "TIMING", "ZONE", next]), &rows)
}
