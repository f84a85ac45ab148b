//! `belfry bench remove`: what it costs to delete many schedules.

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
pub(super) struct RemoveArgs {
    /// Schedules, all of which are deleted.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=SCHEDULES_MAX))]
    schedules: u64,
}

#[derive(Debug, Serialize)]
pub(super) struct RemoveFigures {
    schedules: u64,
    created_per_second: f64,
    removed_per_second: f64,
    cost: Cost,
}

pub(super) async fn run(site: &Site, args: &RemoveArgs) -> Result<RemoveFigures, Failure> {
    let creation = site.create_asleep(args.schedules).await?;
    let before = site.nodes().read().await?;
    let removal = site.delete_asleep(args.schedules).await?;
    let after = site.nodes().read().await?;
    Ok(RemoveFigures {
        schedules: args.schedules,
        created_per_second: per_second(args.schedules, creation),
        removed_per_second: per_second(args.schedules, removal),
        cost: after.since(&before, args.schedules),
    })
}

impl Figures for RemoveFigures {
    fn screen(&self, printer: &Printer) -> String {
        printer.facts(vec![
            ("schedules", self.schedules.to_string().into()),
            ("created per second", format!("{:.0}", self.created_per_second).into()),
            ("removed per second", format!("{:.0}", self.removed_per_second).into()),
            ("CPU", self.cost.cpu_text("removal").into()),
            ("log", self.cost.log_text("removal").into()),
        ])
    }

    fn problem(&self) -> Option<String> {
        None
    }
}
