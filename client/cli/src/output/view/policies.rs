//! By which rules a schedule runs: documents, and the words and defaults of each rule.
//!
//! - DEFAULT-1: the defaults here are those that the contract states for unset fields; a value equal to its default is
//!   marked, whether somebody wrote it or not: the cluster does not know either.

use belfry_sdk::pb;
use serde::Serialize;

use super::{enum_name, written};

/// What stands behind a value that nobody needed to choose.
pub(super) const MARK: &str = " (default)";

#[derive(Clone, Debug, Serialize)]
pub(crate) struct PoliciesView {
    pub(crate) overlap_policy: String,
    pub(crate) overlap_limit: u32,
    pub(crate) misfire_policy: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) misfire_window: Option<String>,
    pub(crate) misfire_limit: u32,
    pub(crate) unknown_outcome_policy: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) start_deadline: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) attempt_timeout: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) lease_duration: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cancel_grace: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) retry: Option<RetryView>,
    pub(crate) pause_after_failures: u32,
}

#[derive(Clone, Debug, Serialize)]
pub(crate) struct RetryView {
    pub(crate) max_attempts: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) initial_backoff: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) max_backoff: Option<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) non_retryable_codes: Vec<i32>,
}

/// What its ledger keeps.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct HistoryView {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) keep_for: Option<String>,
    pub(crate) keep_count: u32,
}

/// When somebody is told that it does not run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct LivenessView {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) start_grace: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) success_within: Option<String>,
    pub(crate) disabled: bool,
}

impl PoliciesView {
    pub(super) fn of(policies: Option<&pb::Policies>) -> Self {
        let policies = policies.cloned().unwrap_or_default();
        Self {
            overlap_policy: enum_name(policies.overlap_policy, pb::OverlapPolicy::as_str_name),
            overlap_limit: policies.overlap_limit,
            misfire_policy: enum_name(policies.misfire_policy, pb::MisfirePolicy::as_str_name),
            misfire_window: written(policies.misfire_window.as_ref()),
            misfire_limit: policies.misfire_limit,
            unknown_outcome_policy: enum_name(
                policies.unknown_outcome_policy,
                pb::UnknownOutcomePolicy::as_str_name,
            ),
            start_deadline: written(policies.start_deadline.as_ref()),
            attempt_timeout: written(policies.attempt_timeout.as_ref()),
            lease_duration: written(policies.lease_duration.as_ref()),
            cancel_grace: written(policies.cancel_grace.as_ref()),
            retry: policies.retry.as_ref().map(RetryView::of),
            pause_after_failures: policies.pause_after_failures,
        }
    }

    /// What happens when an instant comes while a run is running.
    pub(crate) fn overlap(&self) -> String {
        let limit = |default: u32| {
            if self.overlap_limit == 0 { default } else { self.overlap_limit }
        };
        match pb::OverlapPolicy::from_str_name(&self.overlap_policy) {
            Some(pb::OverlapPolicy::Unspecified | pb::OverlapPolicy::HoldOne) => {
                format!("one run at a time, the newest instant waits{MARK}")
            }
            Some(pb::OverlapPolicy::Skip) => "one run at a time, instants meanwhile are skipped".to_owned(),
            Some(pb::OverlapPolicy::BufferAll) => {
                format!("one run at a time, up to {} wait", marked(limit(100), 100))
            }
            Some(pb::OverlapPolicy::Allow) => format!("up to {} runs at once", marked(limit(10), 10)),
            Some(pb::OverlapPolicy::CancelRunning) => {
                "a new instant cancels the run that is running".to_owned()
            }
            None => self.overlap_policy.clone(),
        }
    }

    /// What happens with instants that Belfry missed.
    pub(crate) fn misfire(&self) -> String {
        let window = |default: &str| marked_text(self.misfire_window.as_deref(), default);
        match pb::MisfirePolicy::from_str_name(&self.misfire_policy) {
            Some(pb::MisfirePolicy::Unspecified | pb::MisfirePolicy::Coalesce) => {
                format!("one run stands for all of them{MARK}")
            }
            Some(pb::MisfirePolicy::Skip) => format!("skipped when missed by more than {}", window("1m")),
            Some(pb::MisfirePolicy::FireAll) => {
                let limit = if self.misfire_limit == 0 { 100 } else { self.misfire_limit };
                format!("the newest {} of the last {} run", marked(limit, 100), window("1d"))
            }
            None => self.misfire_policy.clone(),
        }
    }

    /// What happens with a run whose executor vanished.
    pub(crate) fn unknown_outcome(&self) -> String {
        match pb::UnknownOutcomePolicy::from_str_name(&self.unknown_outcome_policy) {
            Some(pb::UnknownOutcomePolicy::Unspecified | pb::UnknownOutcomePolicy::Hold) => {
                format!("stays UNKNOWN, never started again{MARK}")
            }
            Some(pb::UnknownOutcomePolicy::Retry) => "tried again: its work may be done twice".to_owned(),
            Some(pb::UnknownOutcomePolicy::Pause) => "stays UNKNOWN, and the schedule is paused".to_owned(),
            Some(pb::UnknownOutcomePolicy::Fail) => "counts as FAILED".to_owned(),
            None => self.unknown_outcome_policy.clone(),
        }
    }

    /// How long what may take.
    pub(crate) fn limits(&self) -> String {
        let begin = match &self.start_deadline {
            Some(deadline) => format!("begins within {deadline} or expires"),
            None => format!("begins however late{MARK}"),
        };
        format!(
            "{begin}; ends within {}; its executor may be silent for {}; killed {} after a cancel",
            marked_text(self.attempt_timeout.as_deref(), "1h"),
            marked_text(self.lease_duration.as_deref(), "30s"),
            marked_text(self.cancel_grace.as_deref(), "10s"),
        )
    }

    /// Attempts of one run.
    pub(crate) fn attempts(&self) -> u32 {
        self.retry.as_ref().map_or(1, |retry| retry.max_attempts.max(1))
    }

    /// What follows a failure.
    pub(crate) fn failure(&self) -> String {
        let pause = match self.pause_after_failures {
            0 => format!("never paused for failures{MARK}"),
            count => format!("paused after {count} failures in a row"),
        };
        let Some(retry) = self.retry.as_ref().filter(|_| self.attempts() > 1) else {
            return format!("no retries{MARK}; {pause}");
        };
        let mut text = format!(
            "{} more attempts, after {} and then twice as long each time, up to {}",
            self.attempts() - 1,
            marked_text(retry.initial_backoff.as_deref(), "10s"),
            marked_text(retry.max_backoff.as_deref(), "1h"),
        );
        if !retry.non_retryable_codes.is_empty() {
            let codes: Vec<String> = retry.non_retryable_codes.iter().map(ToString::to_string).collect();
            text.push_str(&format!("; none after code {}", codes.join(", ")));
        }
        format!("{text}; {pause}")
    }
}

impl RetryView {
    fn of(retry: &pb::Retry) -> Self {
        Self {
            max_attempts: retry.max_attempts,
            initial_backoff: written(retry.initial_backoff.as_ref()),
            max_backoff: written(retry.max_backoff.as_ref()),
            non_retryable_codes: retry.non_retryable_codes.clone(),
        }
    }
}

impl HistoryView {
    pub(super) fn of(history: Option<&pb::History>) -> Self {
        Self {
            keep_for: written(history.and_then(|history| history.keep_for.as_ref())),
            keep_count: history.map_or(0, |history| history.keep_count),
        }
    }

    /// What the ledger keeps.
    pub(crate) fn in_words(&self) -> String {
        let time = self.keep_for.clone().unwrap_or_else(|| format!("as long as the cluster does{MARK}"));
        let count = match self.keep_count {
            0 => format!("as many as the cluster does{MARK}"),
            count => format!("at most {count} runs"),
        };
        format!("kept {time}, {count}")
    }
}

impl LivenessView {
    pub(super) fn of(liveness: Option<&pb::Liveness>) -> Self {
        Self {
            start_grace: written(liveness.and_then(|liveness| liveness.start_grace.as_ref())),
            success_within: written(liveness.and_then(|liveness| liveness.success_within.as_ref())),
            disabled: liveness.is_some_and(|liveness| liveness.disabled),
        }
    }

    /// When somebody is told.
    pub(crate) fn in_words(&self) -> String {
        if self.disabled {
            return "nobody is told when it does not run".to_owned();
        }
        format!(
            "overdue {} after its time; a success is expected every {}",
            marked_text(self.start_grace.as_deref(), "5m"),
            self.success_within.clone().unwrap_or_else(|| format!("two periods{MARK}")),
        )
    }
}

fn marked(value: u32, default: u32) -> String {
    if value == default { format!("{value}{MARK}") } else { value.to_string() }
}

fn marked_text(value: Option<&str>, default: &str) -> String {
    match value {
        Some(value) if value != default => value.to_owned(),
        Some(_) | None => format!("{default}{MARK}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(seconds: i64) -> Option<prost_types::Duration> {
        Some(prost_types::Duration { seconds, nanos: 0 })
    }

    /// What a node sends of a schedule of which nothing was said.
    fn as_stored() -> pb::Policies {
        pb::Policies {
            overlap_policy: pb::OverlapPolicy::HoldOne.into(),
            misfire_policy: pb::MisfirePolicy::Coalesce.into(),
            unknown_outcome_policy: pb::UnknownOutcomePolicy::Hold.into(),
            attempt_timeout: seconds(3600),
            lease_duration: seconds(30),
            cancel_grace: seconds(10),
            retry: Some(pb::Retry {
                max_attempts: 1,
                initial_backoff: seconds(10),
                max_backoff: seconds(3600),
                non_retryable_codes: vec![],
            }),
            ..Default::default()
        }
    }

    fn words(policies: &pb::Policies) -> [String; 5] {
        let view = PoliciesView::of(Some(policies));
        [view.overlap(), view.misfire(), view.unknown_outcome(), view.limits(), view.failure()]
    }

    #[test]
    fn what_nobody_chose_is_marked_however_it_is_sent() {
        assert_eq!(words(&as_stored()), words(&pb::Policies::default()));
        for text in words(&as_stored()) {
            assert!(text.contains("(default)"), "{text}");
        }
        assert_eq!(HistoryView::of(None).in_words().matches(MARK).count(), 2);
        assert_eq!(LivenessView::of(None).in_words().matches(MARK).count(), 2);
    }

    #[test]
    fn what_somebody_chose_is_not() {
        let chosen = pb::Policies {
            overlap_policy: pb::OverlapPolicy::Allow.into(),
            overlap_limit: 3,
            misfire_policy: pb::MisfirePolicy::FireAll.into(),
            misfire_window: seconds(7200),
            misfire_limit: 7,
            unknown_outcome_policy: pb::UnknownOutcomePolicy::Retry.into(),
            start_deadline: seconds(60),
            attempt_timeout: seconds(7),
            lease_duration: seconds(9),
            cancel_grace: seconds(3),
            retry: Some(pb::Retry {
                max_attempts: 4,
                initial_backoff: seconds(2),
                max_backoff: seconds(20),
                non_retryable_codes: vec![2, 404],
            }),
            pause_after_failures: 5,
        };
        assert_eq!(
            words(&chosen),
            [
                "up to 3 runs at once",
                "the newest 7 of the last 2h run",
                "tried again: its work may be done twice",
                "begins within 1m or expires; ends within 7s; its executor may be silent for 9s; killed 3s after a cancel",
                "3 more attempts, after 2s and then twice as long each time, up to 20s; none after code 2, 404; paused after 5 failures in a row",
            ]
        );
    }

    #[test]
    fn policies_of_newer_nodes_are_numbers() {
        assert_eq!(
            PoliciesView::of(Some(&pb::Policies { overlap_policy: 99, ..Default::default() })).overlap(),
            "99"
        );
    }
}
