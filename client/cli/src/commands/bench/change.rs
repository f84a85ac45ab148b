//! `belfry bench remove` and `belfry bench reschedule`: what it costs to delete, or to move, many schedules.

use clap::Args;
use serde::Serialize;

use super::Figures;
use super::site::Site;
use super::stats::per_second;
use super::storm::SCHEDULES_MAX;
use super::usage::Cost;
use crate::exit::Failure;
use crate::output::Printer;

#[derive(Debug, Args)]
pub(super) struct ChangeArgs {
    /// Schedules, all of which are deleted, or moved.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=SCHEDULES_MAX))]
    schedules: u64,
}

/// What is done to each schedule, in batches.
#[derive(Clone, Copy, Debug)]
pub(super) enum Change {
    /// It gets another next instant.
    Reschedule,
    /// It is deleted.
    Remove,
}

#[derive(Debug, Serialize)]
pub(super) struct ChangeFigures {
    schedules: u64,
    created_per_second: f64,
    schedules_per_second: f64,
    cost: Cost,
}

pub(super) async fn run(site: &Site, args: &ChangeArgs, change: Change) -> Result<ChangeFigures, Failure> {
    let creation = site.create_asleep(args.schedules).await?;
    let before = site.nodes().read().await?;
    let taken = match change {
        Change::Reschedule => site.reschedule_asleep(args.schedules).await?,
        Change::Remove => site.delete_asleep(args.schedules).await?,
    };
    let after = site.nodes().read().await?;
    Ok(ChangeFigures {
        schedules: args.schedules,
        created_per_second: per_second(args.schedules, creation),
        schedules_per_second: per_second(args.schedules, taken),
        cost: after.since(&before, args.schedules),
    })
}

impl Figures for ChangeFigures {
    fn screen(&self, printer: &Printer) -> String {
        printer.facts(vec![
            ("schedules", self.schedules.to_string().into()),
            ("created per second", format!("{:.0}", self.created_per_second).into()),
            ("schedules per second", format!("{:.0}", self.schedules_per_second).into()),
            ("CPU", self.cost.cpu_text("schedule").into()),
            ("log", self.cost.log_text("schedule").into()),
        ])
    }

    /// A call that fails has ended it already.
    fn problem(&self) -> Option<String> {
        None
    }
}
