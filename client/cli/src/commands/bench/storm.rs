//! `belfry bench storm`: many schedules that are due at one instant.

use clap::Args;

use super::load::{self, LoadArgs, LoadFigures, Shape};
use super::plan::Spacing;
use super::site::Site;
use crate::exit::Failure;

/// Most schedules of one benchmark: the largest cluster that we have measured.
pub(super) const SCHEDULES_MAX: u64 = 1_000_000;

#[derive(Debug, Args)]
pub(super) struct StormArgs {
    /// Schedules that are due at once.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=SCHEDULES_MAX))]
    due: u64,
    #[command(flatten)]
    load: LoadArgs,
}

pub(super) async fn run(site: &Site, args: &StormArgs) -> Result<LoadFigures, Failure> {
    let shape = Shape { schedules: args.due, instants: 1, spacing: Spacing::AtOnce };
    let carried = load::carry_out(site, &args.load, shape, |_| async { Ok(()) }).await?;
    Ok(carried.figures)
}
