//! The flags that say by which rules.

use belfry_sdk::pb;
use clap::{Args, ValueEnum};

use super::values::{Count, Limit};

#[derive(Clone, Debug, Default, PartialEq, Args)]
#[command(next_help_heading = "Limits of a run")]
pub(super) struct PolicyArgs {
    /// Latest begin after the scheduled time, or `none`: late, but not dropped.
    #[arg(long, value_name = "DURATION", value_parser = Limit::parse)]
    start_deadline: Option<Limit>,
    /// Longest time of one attempt, or `none` for the default of 1h.
    #[arg(long, value_name = "DURATION", value_parser = Limit::parse)]
    attempt_timeout: Option<Limit>,
    /// Longest silence of an executor, or `none` for the default of 30s.
    #[arg(long, value_name = "DURATION", value_parser = Limit::parse)]
    lease: Option<Limit>,
    /// Between telling a cancelled run to end and killing it, or `none` for the default of 10s.
    #[arg(long, value_name = "DURATION", value_parser = Limit::parse)]
    cancel_grace: Option<Limit>,
    /// When an instant comes while a run is running. hold-one unless given.
    #[arg(long, value_enum, help_heading = "Overlaps and missed instants")]
    overlap: Option<OverlapArg>,
    /// buffer-all: how many may wait (100); allow: how many may run at once (10). `none` for the default.
    #[arg(long, value_name = "N", value_parser = Count::parse, help_heading = "Overlaps and missed instants")]
    overlap_limit: Option<Count>,
    /// What becomes of instants that Belfry missed. coalesce unless given.
    #[arg(long, value_enum, help_heading = "Overlaps and missed instants")]
    misfire: Option<MisfireArg>,
    /// skip: later than this is missed (1m); fire-all: how far back to go (1d). `none` for the default.
    #[arg(long, value_name = "DURATION", value_parser = Limit::parse, help_heading = "Overlaps and missed instants")]
    misfire_window: Option<Limit>,
    /// fire-all: how many missed instants run at most (100). `none` for the default.
    #[arg(long, value_name = "N", value_parser = Count::parse, help_heading = "Overlaps and missed instants")]
    misfire_limit: Option<Count>,
    /// Attempts after one that failed. 0 unless given.
    #[arg(long, value_name = "N", help_heading = "Failures")]
    retries: Option<u32>,
    /// Wait before the first retry, doubled for each further one, or `none` for the default of 10s.
    #[arg(long, value_name = "DURATION", value_parser = Limit::parse, help_heading = "Failures")]
    retry_backoff: Option<Limit>,
    /// Longest wait before a retry, or `none` for the default of 1h.
    #[arg(long, value_name = "DURATION", value_parser = Limit::parse, help_heading = "Failures")]
    retry_max_backoff: Option<Limit>,
    /// Exit code or HTTP status after which a retry is useless, or `none`; repeatable.
    #[arg(long = "no-retry-code", value_name = "CODE", value_parser = Code::parse, allow_negative_numbers = true, help_heading = "Failures")]
    no_retry_codes: Vec<Code>,
    /// Pause the schedule after so many runs in a row that did not succeed, or `none`.
    #[arg(long, value_name = "N", value_parser = Count::parse, help_heading = "Failures")]
    pause_after_failures: Option<Count>,
    /// When an executor vanishes with a run. hold unless given; retry means that work may be done twice.
    #[arg(long, value_enum, help_heading = "Failures")]
    on_unknown: Option<UnknownArg>,
}

/// Overlap policies as people type them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum OverlapArg {
    /// One runs, the newest waits.
    HoldOne,
    /// One runs, instants meanwhile are skipped.
    Skip,
    /// One runs, the others wait.
    BufferAll,
    /// Several run at once.
    Allow,
    /// The new one replaces the one that is running.
    CancelRunning,
}

/// Misfire policies as people type them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum MisfireArg {
    /// One run for all of them.
    Coalesce,
    /// None runs.
    Skip,
    /// Each runs.
    FireAll,
}

/// Policies for unknown outcomes as people type them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum UnknownArg {
    /// It stays UNKNOWN; the next instant goes on.
    Hold,
    /// It is tried again: at least once.
    Retry,
    /// It stays UNKNOWN, and the schedule is paused.
    Pause,
    /// It is FAILED.
    Fail,
}

/// A code, or `none`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Code(Option<i32>);

impl Code {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "none" => Ok(Self(None)),
            text => text.parse().map(Some).map(Self).map_err(|_| "write a number, or none".to_owned()),
        }
    }
}

impl From<OverlapArg> for pb::OverlapPolicy {
    fn from(policy: OverlapArg) -> Self {
        match policy {
            OverlapArg::HoldOne => Self::HoldOne,
            OverlapArg::Skip => Self::Skip,
            OverlapArg::BufferAll => Self::BufferAll,
            OverlapArg::Allow => Self::Allow,
            OverlapArg::CancelRunning => Self::CancelRunning,
        }
    }
}

impl From<MisfireArg> for pb::MisfirePolicy {
    fn from(policy: MisfireArg) -> Self {
        match policy {
            MisfireArg::Coalesce => Self::Coalesce,
            MisfireArg::Skip => Self::Skip,
            MisfireArg::FireAll => Self::FireAll,
        }
    }
}

impl From<UnknownArg> for pb::UnknownOutcomePolicy {
    fn from(policy: UnknownArg) -> Self {
        match policy {
            UnknownArg::Hold => Self::Hold,
            UnknownArg::Retry => Self::Retry,
            UnknownArg::Pause => Self::Pause,
            UnknownArg::Fail => Self::Fail,
        }
    }
}

impl PolicyArgs {
    pub(super) fn apply(&self, schedule: &mut pb::Schedule) -> Vec<&'static str> {
        let mut policies = schedule.policies.take().unwrap_or_default();
        let mut paths = self.limits(&mut policies);
        if let Some(overlap) = self.overlap {
            policies.set_overlap_policy(overlap.into());
            // Another policy begins with its own limit.
            policies.overlap_limit = 0;
            paths.push("policies.overlap_policy");
        }
        if let Some(misfire) = self.misfire {
            policies.set_misfire_policy(misfire.into());
            (policies.misfire_window, policies.misfire_limit) = (None, 0);
            paths.push("policies.misfire_policy");
        }
        if let Some(window) = self.misfire_window {
            policies.misfire_window = window.proto();
            paths.push("policies.misfire_window");
        }
        if let Some(unknown) = self.on_unknown {
            policies.set_unknown_outcome_policy(unknown.into());
            paths.push("policies.unknown_outcome_policy");
        }
        for (count, field, path) in [
            (self.overlap_limit, &mut policies.overlap_limit, "policies.overlap_limit"),
            (self.misfire_limit, &mut policies.misfire_limit, "policies.misfire_limit"),
            (self.pause_after_failures, &mut policies.pause_after_failures, "policies.pause_after_failures"),
        ] {
            if let Some(count) = count {
                *field = count.get();
                paths.push(path);
            }
        }
        if self.retry(&mut policies.retry) {
            paths.push("policies.retry");
        }
        schedule.policies = Some(policies);
        paths
    }

    fn limits(&self, policies: &mut pb::Policies) -> Vec<&'static str> {
        let mut paths = Vec::new();
        for (limit, field, path) in [
            (self.start_deadline, &mut policies.start_deadline, "policies.start_deadline"),
            (self.attempt_timeout, &mut policies.attempt_timeout, "policies.attempt_timeout"),
            (self.lease, &mut policies.lease_duration, "policies.lease_duration"),
            (self.cancel_grace, &mut policies.cancel_grace, "policies.cancel_grace"),
        ] {
            if let Some(limit) = limit {
                *field = limit.proto();
                paths.push(path);
            }
        }
        paths
    }

    fn retry(&self, retry: &mut Option<pb::Retry>) -> bool {
        let mut changed = retry.clone().unwrap_or_default();
        if let Some(retries) = self.retries {
            changed.max_attempts = retries.saturating_add(1);
        }
        if let Some(backoff) = self.retry_backoff {
            changed.initial_backoff = backoff.proto();
        }
        if let Some(backoff) = self.retry_max_backoff {
            changed.max_backoff = backoff.proto();
        }
        if !self.no_retry_codes.is_empty() {
            changed.non_retryable_codes = self.no_retry_codes.iter().filter_map(|Code(code)| *code).collect();
        }
        let is_named = self.retries.is_some()
            || self.retry_backoff.is_some()
            || self.retry_max_backoff.is_some()
            || !self.no_retry_codes.is_empty();
        if is_named {
            *retry = Some(changed);
        }
        is_named
    }
}
