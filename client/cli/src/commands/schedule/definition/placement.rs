//! The flags that say where, before what and for how long.

use belfry_sdk::pb;
use clap::Args;

use super::replace;
use super::values::Count;
use crate::text::Pair;

#[derive(Clone, Debug, Default, PartialEq, Args)]
#[command(next_help_heading = "Where, and for how long")]
pub(super) struct PlacementArgs {
    /// Pool whose executors run it.
    #[arg(long)]
    pool: Option<String>,
    /// Label that an executor must have to run it; repeatable.
    #[arg(long = "executor-label", value_name = "KEY=VALUE", value_parser = Pair::parse_equals)]
    executor_labels: Vec<Pair>,
    /// Which of several waiting runs goes first: 1 to 9, greater first, or `none` for the default of 5.
    #[arg(long, value_name = "1-9", value_parser = Count::parse)]
    priority: Option<Count>,
    /// Label; repeatable.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = Pair::parse_equals)]
    labels: Vec<Pair>,
    /// For people.
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Begin no more than so many runs of the timing, or `none`.
    #[arg(long, value_name = "N", value_parser = Count::parse)]
    max_runs: Option<Count>,
    /// Delete the schedule once it is completed; its ledger stays.
    #[arg(long, overrides_with = "then_keep")]
    then_delete: bool,
    /// Keep the schedule once it is completed, which is the default.
    #[arg(long, overrides_with = "then_delete")]
    then_keep: bool,
}

impl PlacementArgs {
    pub(super) fn apply(&self, schedule: &mut pb::Schedule) -> Vec<&'static str> {
        let mut paths = Vec::new();
        if replace(&mut schedule.pool, self.pool.as_ref()) {
            paths.push("pool");
        }
        if !self.executor_labels.is_empty() {
            schedule.executor_labels = Pair::map(&self.executor_labels);
            paths.push("executor_labels");
        }
        if let Some(priority) = self.priority {
            schedule.priority = priority.get();
            paths.push("priority");
        }
        if !self.labels.is_empty() {
            schedule.labels = Pair::map(&self.labels);
            paths.push("labels");
        }
        if replace(&mut schedule.description, self.description.as_ref()) {
            paths.push("description");
        }
        if let Some(max_runs) = self.max_runs {
            schedule.max_runs = max_runs.get().into();
            paths.push("max_runs");
        }
        if let Some(action) = self.completion_action() {
            schedule.set_completion_action(action);
            paths.push("completion_action");
        }
        paths
    }

    fn completion_action(&self) -> Option<pb::CompletionAction> {
        if self.then_delete {
            return Some(pb::CompletionAction::Delete);
        }
        self.then_keep.then_some(pb::CompletionAction::Keep)
    }
}
