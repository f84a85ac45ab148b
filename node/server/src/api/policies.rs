//! The policies of a schedule: every field checked against its rules and limits, then turned into the core's types.

use std::time::Duration;

use belfry_core::definition::{MisfirePolicy, OverlapPolicy, Policies, Retry, UnknownOutcomePolicy};
use belfry_proto::v1 as pb;

use super::definition::{Rules, read_duration, unknown};
use super::violations::Violations;

/// Longest attempt, start deadline, misfire window and back-off: beyond a month a schedule is a project.
const LONG: Duration = Duration::from_secs(30 * 24 * 3600);
/// Longest silence of an executor that may still be believed in, and longest grace of a cancelled run.
const HOUR: Duration = Duration::from_secs(3600);
const MILLISECOND: Duration = Duration::from_millis(1);

/// What may wait under BUFFER_ALL: each waiting run is a row in memory.
const WAITING: Limit = Limit { default: 100, max: 1000 };
/// What may run at once under ALLOW.
const RUNNING: Limit = Limit { default: 10, max: 100 };
/// What FIRE_ALL makes up for.
const MISFIRES: Limit = Limit { default: 100, max: 1000 };

/// Lateness that SKIP accepts, unless told otherwise: a leader change takes seconds.
const SKIP_WINDOW: Duration = Duration::from_secs(60);
/// How far back FIRE_ALL goes, unless told otherwise.
const FIRE_ALL_WINDOW: Duration = Duration::from_secs(24 * 3600);

/// Window and limit of FIRE_ALL, unless told otherwise.
pub(super) const FIRE_ALL_DEFAULTS: (Duration, u32) = (FIRE_ALL_WINDOW, MISFIRES.default);

/// Attempts of one run, and codes that a retry policy may name.
const ATTEMPTS_MAX: u32 = 100;
const CODES_MAX: usize = 64;

struct Limit {
    default: u32,
    max: u32,
}

impl Limit {
    fn read(&self, field: &str, value: u32, found: &mut Violations) -> u32 {
        match value {
            0 => self.default,
            value if value <= self.max => value,
            value => {
                found.add(field, format_args!("{value} is more than {}", self.max));
                self.default
            }
        }
    }
}

fn field(name: &str) -> String {
    format!("schedule.policies.{name}")
}

impl Rules<'_> {
    /// Reads `policies`; what is not set has its default.
    pub(super) fn policies(
        &self,
        policies: Option<&pb::Policies>,
        found: &mut Violations,
    ) -> Option<Policies> {
        let unset = pb::Policies::default();
        let policies = policies.unwrap_or(&unset);
        let default = Policies::default();
        let overlap = read_overlap(policies, found);
        let misfire = read_misfire(policies, found);
        let unknown_outcome = read_unknown_outcome(policies, found);

        let lease_min = self.limits.lease_min.0;
        let mut period = |name: &str, value: Option<&prost_types::Duration>, min, max| {
            value.map(|value| read_duration(field(name), value, min, max, found))
        };
        let start_deadline = period("start_deadline", policies.start_deadline.as_ref(), MILLISECOND, LONG);
        let attempt_timeout = period("attempt_timeout", policies.attempt_timeout.as_ref(), MILLISECOND, LONG);
        let lease_duration = period("lease_duration", policies.lease_duration.as_ref(), lease_min, HOUR);
        let cancel_grace = period("cancel_grace", policies.cancel_grace.as_ref(), Duration::ZERO, HOUR);
        let retry = read_retry(policies.retry.as_ref(), found);
        Some(Policies {
            overlap: overlap?,
            misfire: misfire?,
            unknown_outcome: unknown_outcome?,
            start_deadline: match start_deadline {
                None => None,
                Some(read) => Some(read?),
            },
            attempt_timeout: attempt_timeout.unwrap_or(Some(default.attempt_timeout))?,
            lease_duration: lease_duration.unwrap_or(Some(default.lease_duration.max(lease_min)))?,
            retry: retry?,
            pause_after_failures: (policies.pause_after_failures > 0)
                .then_some(policies.pause_after_failures),
            cancel_grace: cancel_grace.unwrap_or(Some(default.cancel_grace))?,
        })
    }

    /// What must fit together, whichever of it an update changed.
    pub(super) fn check_policies(&self, policies: &Policies, found: &mut Violations) {
        if policies.unknown_outcome == UnknownOutcomePolicy::Retry && policies.retry.max_attempts < 2 {
            let why = "RETRY needs attempts to try: set retry.max_attempts to 2 or more";
            found.add(field("unknown_outcome_policy"), why);
        }
    }
}

fn read_overlap(policies: &pb::Policies, found: &mut Violations) -> Option<OverlapPolicy> {
    use pb::OverlapPolicy as Wire;
    let limit = policies.overlap_limit;
    let mut unlimited = |policy| {
        if limit > 0 {
            found.add(field("overlap_limit"), "means something with BUFFER_ALL and ALLOW only: leave it 0");
        }
        Some(policy)
    };
    match Wire::try_from(policies.overlap_policy) {
        Ok(Wire::Unspecified | Wire::HoldOne) => unlimited(OverlapPolicy::HoldOne),
        Ok(Wire::Skip) => unlimited(OverlapPolicy::Skip),
        Ok(Wire::CancelRunning) => unlimited(OverlapPolicy::CancelRunning),
        Ok(Wire::BufferAll) => {
            let waiting_max = WAITING.read(&field("overlap_limit"), limit, found);
            Some(OverlapPolicy::BufferAll { waiting_max })
        }
        Ok(Wire::Allow) => {
            let running_max = RUNNING.read(&field("overlap_limit"), limit, found);
            Some(OverlapPolicy::Allow { running_max })
        }
        Err(_) => {
            let known = "HOLD_ONE, SKIP, BUFFER_ALL, ALLOW and CANCEL_RUNNING";
            unknown(&field("overlap_policy"), policies.overlap_policy, known, found)
        }
    }
}

fn read_misfire(policies: &pb::Policies, found: &mut Violations) -> Option<MisfirePolicy> {
    use pb::MisfirePolicy as Wire;
    let window = match policies.misfire_window.as_ref() {
        None => None,
        Some(window) => {
            Some(read_duration(field("misfire_window"), window, Duration::from_secs(1), LONG, found)?)
        }
    };
    let policy = match Wire::try_from(policies.misfire_policy) {
        Ok(Wire::Unspecified | Wire::Coalesce) => MisfirePolicy::Coalesce,
        Ok(Wire::Skip) => MisfirePolicy::Skip { window: window.unwrap_or(SKIP_WINDOW) },
        Ok(Wire::FireAll) => MisfirePolicy::FireAll {
            window: window.unwrap_or(FIRE_ALL_WINDOW),
            count_max: MISFIRES.read(&field("misfire_limit"), policies.misfire_limit, found),
        },
        Err(_) => {
            let known = "COALESCE, SKIP and FIRE_ALL";
            return unknown(&field("misfire_policy"), policies.misfire_policy, known, found);
        }
    };
    let (windowed, limited) = match policy {
        MisfirePolicy::Coalesce => (false, false),
        MisfirePolicy::Skip { .. } => (true, false),
        MisfirePolicy::FireAll { .. } => (true, true),
    };
    if window.is_some() && !windowed {
        found.add(field("misfire_window"), "means something with SKIP and FIRE_ALL only: leave it out");
    }
    if policies.misfire_limit > 0 && !limited {
        found.add(field("misfire_limit"), "means something with FIRE_ALL only: leave it 0");
    }
    Some(policy)
}

fn read_unknown_outcome(policies: &pb::Policies, found: &mut Violations) -> Option<UnknownOutcomePolicy> {
    use pb::UnknownOutcomePolicy as Wire;
    match Wire::try_from(policies.unknown_outcome_policy) {
        Ok(Wire::Unspecified | Wire::Hold) => Some(UnknownOutcomePolicy::Hold),
        Ok(Wire::Retry) => Some(UnknownOutcomePolicy::Retry),
        Ok(Wire::Pause) => Some(UnknownOutcomePolicy::Pause),
        Ok(Wire::Fail) => Some(UnknownOutcomePolicy::Fail),
        Err(_) => {
            let known = "HOLD, RETRY, PAUSE and FAIL";
            unknown(&field("unknown_outcome_policy"), policies.unknown_outcome_policy, known, found)
        }
    }
}

fn read_retry(retry: Option<&pb::Retry>, found: &mut Violations) -> Option<Retry> {
    let default = Retry::default();
    let Some(retry) = retry else { return Some(default) };
    let field = |name: &str| field(&format!("retry.{name}"));
    if retry.max_attempts > ATTEMPTS_MAX {
        let why = format_args!("{} is more than {ATTEMPTS_MAX}", retry.max_attempts);
        found.add(field("max_attempts"), why);
    }
    found.limit(field("non_retryable_codes"), retry.non_retryable_codes.len(), CODES_MAX, "codes");
    let mut period = |name: &str, value: Option<&prost_types::Duration>, default: Duration| match value {
        None => Some(default),
        Some(value) => read_duration(field(name), value, MILLISECOND, LONG, found),
    };
    let initial_backoff = period("initial_backoff", retry.initial_backoff.as_ref(), default.initial_backoff);
    let max_backoff = period("max_backoff", retry.max_backoff.as_ref(), default.max_backoff);
    let (initial_backoff, max_backoff) = (initial_backoff?, max_backoff?);
    if max_backoff < initial_backoff && retry.max_backoff.is_some() {
        found.add(field("max_backoff"), "is shorter than initial_backoff: make it at least as long");
    }
    Some(Retry {
        max_attempts: retry.max_attempts.max(1),
        initial_backoff,
        max_backoff: max_backoff.max(initial_backoff),
        non_retryable_codes: retry.non_retryable_codes.clone(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::encode;
    use super::*;
    use crate::config::Limits;
    use crate::timings::Timings;

    fn read(policies: &pb::Policies) -> (Option<Policies>, Vec<String>) {
        let (limits, timings) = (Limits::default(), Timings::default());
        let (rules, mut found) = (Rules { limits: &limits, timings: &timings }, Violations::default());
        let read = rules.policies(Some(policies), &mut found);
        if let Some(read) = &read {
            rules.check_policies(read, &mut found);
        }
        let lines = found.all().iter().map(|one| format!("{}: {}", one.field, one.description)).collect();
        (read, lines)
    }

    fn seconds(seconds: i64) -> Option<prost_types::Duration> {
        Some(prost_types::Duration { seconds, nanos: 0 })
    }

    #[test]
    fn policies_have_defaults_and_come_back_as_they_were_given() {
        assert_eq!(read(&pb::Policies::default()), (Some(Policies::default()), vec![]));
        let given = pb::Policies {
            overlap_policy: pb::OverlapPolicy::Allow.into(),
            misfire_policy: pb::MisfirePolicy::FireAll.into(),
            unknown_outcome_policy: pb::UnknownOutcomePolicy::Retry.into(),
            start_deadline: seconds(60),
            attempt_timeout: seconds(7),
            lease_duration: seconds(9),
            overlap_limit: 3,
            misfire_window: seconds(3600),
            misfire_limit: 7,
            retry: Some(pb::Retry {
                max_attempts: 4,
                initial_backoff: seconds(2),
                max_backoff: seconds(20),
                non_retryable_codes: vec![2, 404],
            }),
            pause_after_failures: 5,
            cancel_grace: seconds(3),
        };
        let (policies, problems) = read(&given);
        assert_eq!(problems, [""; 0]);
        assert_eq!(encode::policies(&policies.unwrap()), given);
    }

    #[test]
    fn limits_and_windows_have_the_default_of_their_policy() {
        let given = |overlap: pb::OverlapPolicy, misfire: pb::MisfirePolicy| pb::Policies {
            overlap_policy: overlap.into(),
            misfire_policy: misfire.into(),
            ..Default::default()
        };
        let (policies, _) = read(&given(pb::OverlapPolicy::BufferAll, pb::MisfirePolicy::Skip));
        let policies = policies.unwrap();
        assert_eq!(policies.overlap, OverlapPolicy::BufferAll { waiting_max: 100 });
        assert_eq!(policies.misfire, MisfirePolicy::Skip { window: SKIP_WINDOW });
        let (policies, _) = read(&given(pb::OverlapPolicy::Allow, pb::MisfirePolicy::FireAll));
        let policies = policies.unwrap();
        assert_eq!(policies.overlap, OverlapPolicy::Allow { running_max: 10 });
        assert_eq!(policies.misfire, MisfirePolicy::FireAll { window: FIRE_ALL_WINDOW, count_max: 100 });
    }

    #[test]
    fn policies_are_refused_with_their_bounds() {
        let (policies, problems) = read(&pb::Policies {
            overlap_policy: 99,
            start_deadline: seconds(0),
            lease_duration: seconds(1),
            ..Default::default()
        });
        assert_eq!(policies, None);
        assert_eq!(
            problems,
            [
                "schedule.policies.overlap_policy: 99 is no policy that this release knows: it has HOLD_ONE, SKIP, BUFFER_ALL, ALLOW and CANCEL_RUNNING",
                "schedule.policies.start_deadline: 0s is not between 1ms and 30d",
                "schedule.policies.lease_duration: 1s is not between 2s and 1h",
            ]
        );
    }

    #[test]
    fn what_does_not_fit_together_is_said() {
        let problem = |policies: pb::Policies| read(&policies).1.join("\n");
        let limited = problem(pb::Policies { overlap_limit: 5, ..Default::default() });
        assert!(
            limited.contains("overlap_limit: means something with BUFFER_ALL and ALLOW only"),
            "{limited}"
        );
        let many = pb::Policies { overlap_policy: 4, overlap_limit: 101, ..Default::default() };
        assert!(problem(many).contains("overlap_limit: 101 is more than 100"));
        let windowed = problem(pb::Policies { misfire_window: seconds(5), ..Default::default() });
        assert!(windowed.contains("misfire_window: means something with SKIP and FIRE_ALL only"));
        let counted = problem(pb::Policies { misfire_policy: 2, misfire_limit: 5, ..Default::default() });
        assert!(counted.contains("misfire_limit: means something with FIRE_ALL only"));
        let retried = problem(pb::Policies { unknown_outcome_policy: 2, ..Default::default() });
        assert!(retried.contains("unknown_outcome_policy: RETRY needs attempts"), "{retried}");
        let retry = pb::Retry {
            max_attempts: 101,
            initial_backoff: seconds(9),
            max_backoff: seconds(8),
            non_retryable_codes: vec![1; 65],
        };
        let (_, problems) = read(&pb::Policies { retry: Some(retry), ..Default::default() });
        assert_eq!(problems.len(), 3, "{problems:?}");
    }
}
