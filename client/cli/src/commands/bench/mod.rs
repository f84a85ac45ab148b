//! `belfry bench`: how fast a cluster is, measured from outside with the calls that everybody has.
//!
//! ```text
//!   scenarios: storm steady failover ── load ── plan, record (pure)   what must begin, and what began
//!              crud idle change         │  └─── executors             who begins it
//!                  └────────────────────┴────── site, usage, stats    schedules; CPU and memory; percentiles (pure)
//! ```
//!
//! - BENCH-1: it works in a namespace and a pool of its own, and takes its schedules away again, also when it is interrupted.
//!   Rows of the ledger stay as long as the retention keeps them.
//! - BENCH-2: a cluster that has schedules is left alone unless `--yes` is given: a benchmark takes all it can get.
//! - BENCH-3: a run that was missed, or that began twice, by the executors' own record, is a failure whatever the speed.

mod change;
mod crud;
mod executors;
mod failover;
mod idle;
mod load;
mod plan;
mod progress;
mod record;
mod site;
mod stats;
mod steady;
mod storm;
mod usage;

use belfry_sdk::pb;
use clap::{Args, Subcommand};
use serde::Serialize;

use self::change::Change;
use self::site::Site;
use self::usage::Nodes;
use super::{Context, Signals, cannot_start};
use crate::exit::{Exit, Failure};
use crate::output::{Cell, Printer, Tone, prose};

#[derive(Debug, Args)]
pub(crate) struct BenchArgs {
    /// Also in a cluster that has schedules: they will be late.
    #[arg(long, global = true)]
    yes: bool,
    /// Admin addresses of the nodes, for their CPU, memory and log: host:port; repeat it, or separate several by commas.
    #[arg(long, global = true, value_name = "ADDR", value_delimiter = ',')]
    admin: Vec<String>,
    #[command(subcommand)]
    scenario: Scenario,
}

#[derive(Debug, Subcommand)]
enum Scenario {
    /// Many schedules that are due at one instant.
    Storm(storm::StormArgs),
    /// So many runs per second, evenly.
    Steady(steady::SteadyArgs),
    /// Create, read, change, list and delete schedules, one at a time and many at once.
    Crud(crud::CrudArgs),
    /// A storm during which leadership is handed over.
    Failover(failover::FailoverArgs),
    /// What schedules cost that are not due. Needs --admin.
    Idle(idle::IdleArgs),
    /// Delete many schedules.
    Remove(change::ChangeArgs),
    /// Move the next instant of many schedules.
    Reschedule(change::ChangeArgs),
}

/// What a scenario found.
trait Figures: Serialize {
    /// For people.
    fn screen(&self, printer: &Printer) -> String;
    /// What makes it a failure (BENCH-3).
    fn problem(&self) -> Option<String>;
}

pub(crate) fn run(context: &Context, args: &BenchArgs) -> Result<(), Failure> {
    // Many threads: the executors are in this process.
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build();
    runtime.map_err(|error| cannot_start(&error))?.block_on(Box::pin(bench(context, args)))
}

async fn bench(context: &Context, args: &BenchArgs) -> Result<(), Failure> {
    let mut signals = Signals::listen()?;
    let site = Site::new(context, Nodes::new(args.admin.clone()))?;
    let mut ended = tokio::select! {
        ended = measure(context, &site, args) => ended,
        () = signals.next() => Err(Failure::silent(Exit::Interrupted)),
    };
    let cleaned = tokio::select! {
        cleaned = site.clean_up() => cleaned,
        () = signals.next() => Err(Failure::new(
            Exit::Interrupted,
            format!("interrupted again: schedules of namespace {} are left", site.namespace()),
        )),
    };
    match (&mut ended, cleaned) {
        (_, Ok(())) => ended,
        (Ok(()), Err(failure)) => Err(failure),
        (Err(first), Err(failure)) => {
            first.also(failure);
            ended
        }
    }
}

async fn measure(context: &Context, site: &Site, args: &BenchArgs) -> Result<(), Failure> {
    require_empty(site, args.yes).await?;
    site.nodes().require_all().await?;
    match &args.scenario {
        Scenario::Storm(args) => show(context, &storm::run(site, args).await?),
        Scenario::Steady(args) => show(context, &steady::run(site, args).await?),
        Scenario::Crud(args) => show(context, &crud::run(site, args).await?),
        Scenario::Failover(args) => show(context, &failover::run(site, args).await?),
        Scenario::Idle(args) => show(context, &idle::run(site, args).await?),
        Scenario::Remove(args) => show(context, &change::run(site, args, Change::Remove).await?),
        Scenario::Reschedule(args) => show(context, &change::run(site, args, Change::Reschedule).await?),
    }
}

/// BENCH-2
async fn require_empty(site: &Site, yes: bool) -> Result<(), Failure> {
    let status = site.client().get_cluster_status(pb::GetClusterStatusRequest {}).await?;
    match status.schedule_count {
        0 => Ok(()),
        count if yes => {
            prose(&format!("this cluster has {count} schedules: they take part in what is measured"));
            Ok(())
        }
        count => Err(Failure::usage(format!(
            "this cluster has {count} schedules, and a benchmark would make them late: use another cluster, or add --yes"
        ))),
    }
}

fn show<T: Figures>(context: &Context, figures: &T) -> Result<(), Failure> {
    context.printer.one(figures, "bench", |printer| figures.screen(printer))?;
    match figures.problem() {
        None => Ok(()),
        Some(problem) => Err(Failure::new(Exit::Failed, problem)),
    }
}

/// A number of which none is as it should be.
fn none_wanted(count: u64) -> Cell {
    Cell::new(count.to_string(), if count == 0 { Tone::Good } else { Tone::Bad })
}
