//! The flags that say what is kept, and when somebody is told.

use belfry_sdk::pb;
use clap::Args;

use super::values::{Count, Limit};

#[derive(Clone, Debug, Default, PartialEq, Args)]
#[command(next_help_heading = "Ledger and alarms")]
pub(super) struct UpkeepArgs {
    /// Keep ended runs so long, or `none` for what the cluster keeps.
    #[arg(long, value_name = "DURATION", value_parser = Limit::parse)]
    keep_for: Option<Limit>,
    /// Keep so many ended runs, or `none` for what the cluster keeps.
    #[arg(long, value_name = "N", value_parser = Count::parse)]
    keep_count: Option<Count>,
    /// A run that has not begun so long after its time is overdue, or `none` for the default of 5m.
    #[arg(long, value_name = "DURATION", value_parser = Limit::parse)]
    start_grace: Option<Limit>,
    /// Longest time between two successes, or `none` for the default of two periods.
    #[arg(long, value_name = "DURATION", value_parser = Limit::parse)]
    success_within: Option<Limit>,
    /// Tell nobody when it does not run.
    #[arg(long, overrides_with = "liveness")]
    no_liveness: bool,
    /// Tell somebody when it does not run, which is the default.
    #[arg(long, overrides_with = "no_liveness")]
    liveness: bool,
}

impl UpkeepArgs {
    pub(super) fn apply(&self, schedule: &mut pb::Schedule) -> Vec<&'static str> {
        let mut paths = Vec::new();
        if self.keep_for.is_some() || self.keep_count.is_some() {
            let history = schedule.history.get_or_insert_default();
            if let Some(keep_for) = self.keep_for {
                history.keep_for = keep_for.proto();
            }
            if let Some(count) = self.keep_count {
                history.keep_count = count.get();
            }
            paths.push("history");
        }
        let switch = self.no_liveness || self.liveness;
        if switch || self.start_grace.is_some() || self.success_within.is_some() {
            let liveness = schedule.liveness.get_or_insert_default();
            if let Some(grace) = self.start_grace {
                liveness.start_grace = grace.proto();
            }
            if let Some(within) = self.success_within {
                liveness.success_within = within.proto();
            }
            if switch {
                liveness.disabled = self.no_liveness;
            }
            paths.push("liveness");
        }
        paths
    }
}
