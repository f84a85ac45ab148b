//! The flags that say by which rules.

use std::time::Duration;

use belfry_sdk::pb;
use belfry_timing::parse_duration;
use clap::Args;

use super::replace;
use crate::text::{self, Pair};

#[derive(Clone, Debug, Default, PartialEq, Args)]
#[command(next_help_heading = "Rules")]
pub(super) struct RuleArgs {
    /// Pool whose executors run it.
    #[arg(long)]
    pool: Option<String>,
    /// Label; repeatable.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = Pair::parse_equals)]
    labels: Vec<Pair>,
    /// For people.
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,
    /// Latest begin after the scheduled time, or `none`: late, but not dropped.
    #[arg(long, value_name = "DURATION", value_parser = Limit::parse)]
    start_deadline: Option<Limit>,
    /// Longest time of one attempt, or `none` for the default of 1h.
    #[arg(long, value_name = "DURATION", value_parser = Limit::parse)]
    attempt_timeout: Option<Limit>,
    /// Longest silence of an executor, or `none` for the default of 30s.
    #[arg(long, value_name = "DURATION", value_parser = Limit::parse)]
    lease: Option<Limit>,
}

/// A duration, or `none` for what applies without one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Limit(Option<Duration>);

impl Limit {
    fn parse(text: &str) -> Result<Self, belfry_timing::DurationError> {
        if text == "none" { Ok(Self(None)) } else { parse_duration(text).map(Some).map(Self) }
    }

    fn proto(self) -> Option<prost_types::Duration> {
        self.0.map(text::proto_duration)
    }
}

impl RuleArgs {
    pub(super) fn apply(&self, schedule: &mut pb::Schedule) -> Vec<&'static str> {
        let mut paths = Vec::new();
        if replace(&mut schedule.pool, self.pool.as_ref()) {
            paths.push("pool");
        }
        if !self.labels.is_empty() {
            schedule.labels = Pair::map(&self.labels);
            paths.push("labels");
        }
        if replace(&mut schedule.description, self.description.as_ref()) {
            paths.push("description");
        }
        let mut policies = schedule.policies.take().unwrap_or_default();
        for (limit, field, path) in [
            (self.start_deadline, &mut policies.start_deadline, "policies.start_deadline"),
            (self.attempt_timeout, &mut policies.attempt_timeout, "policies.attempt_timeout"),
            (self.lease, &mut policies.lease_duration, "policies.lease_duration"),
        ] {
            if let Some(limit) = limit {
                *field = limit.proto();
                paths.push(path);
            }
        }
        schedule.policies = Some(policies);
        paths
    }
}
