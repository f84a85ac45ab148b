//! Update masks: which fields of a schedule an update means.

use std::collections::BTreeSet;

use belfry_core::definition::Policies;
use belfry_proto::v1 as pb;

use super::violations::Violations;

/// Fields that an update can change.
const FIELDS: [&str; 12] = [
    "labels",
    "description",
    "timing",
    "target",
    "policies",
    "pool",
    "priority",
    "max_runs",
    "completion_action",
    "executor_labels",
    "history",
    "liveness",
];

/// Fields of `policies` that an update can change by themselves.
const POLICIES: [&str; 12] = [
    "overlap_policy",
    "overlap_limit",
    "misfire_policy",
    "misfire_window",
    "misfire_limit",
    "unknown_outcome_policy",
    "start_deadline",
    "attempt_timeout",
    "lease_duration",
    "retry",
    "pause_after_failures",
    "cancel_grace",
];

/// Fields that are one value to the core: who changes one of them keeps the others, as far as they still mean something.
const OVERLAP: [&str; 2] = ["overlap_policy", "overlap_limit"];
const MISFIRE: [&str; 3] = ["misfire_policy", "misfire_window", "misfire_limit"];

/// The fields that an update means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mask {
    fields: BTreeSet<&'static str>,
    policies: BTreeSet<&'static str>,
}

impl Mask {
    /// Reads a mask. None, an empty one and `*` mean everything that can be changed.
    pub(super) fn read(mask: Option<&prost_types::FieldMask>, found: &mut Violations) -> Self {
        let paths = mask.map_or(&[][..], |mask| &mask.paths);
        if paths.is_empty() || paths == ["*"] {
            return Self { fields: FIELDS.into(), policies: POLICIES.into() };
        }
        let mut read = Self { fields: BTreeSet::new(), policies: BTreeSet::new() };
        let known = FIELDS.join(", ");
        for path in paths {
            let policy = path.strip_prefix("policies.").unwrap_or_default();
            if let Some(field) = FIELDS.iter().find(|field| *field == path) {
                read.fields.insert(field);
            } else if let Some(policy) = POLICIES.iter().find(|known| **known == policy) {
                read.policies.insert(policy);
            } else {
                let shown = path.get(..path.floor_char_boundary(80)).unwrap_or_default();
                found.add(
                    "update_mask",
                    format_args!(
                        "`{shown}` cannot be updated: the paths are {known}, and fields of policies such as policies.attempt_timeout"
                    ),
                );
            }
        }
        if read.fields.contains("policies") {
            read.policies = POLICIES.into();
        }
        read
    }

    /// Whether the update means this field.
    pub(super) fn has(&self, field: &'static str) -> bool {
        debug_assert!(FIELDS.contains(&field), "{field} is not in the table");
        self.fields.contains(field)
    }

    /// Whether the update means any field of `policies`.
    pub(super) fn has_policies(&self) -> bool {
        !self.policies.is_empty()
    }

    /// The fields of `given` that the update means, the others unset: only those are checked. Of fields that belong together
    /// the ones that are not meant come from `current`.
    pub(super) fn policies_of(&self, given: &pb::Policies, current: &pb::Policies) -> pb::Policies {
        let has = |field| self.policies.contains(field);
        let (mut masked, unset) = (pb::Policies::default(), pb::Policies::default());
        if self.means_any(&OVERLAP) {
            masked.overlap_policy = if has("overlap_policy") { given } else { current }.overlap_policy;
            let kept = if masked.overlap_policy == current.overlap_policy { current } else { &unset };
            masked.overlap_limit = if has("overlap_limit") { given } else { kept }.overlap_limit;
        }
        if self.means_any(&MISFIRE) {
            masked.misfire_policy = if has("misfire_policy") { given } else { current }.misfire_policy;
            // Another policy begins with its own window and limit.
            let kept = if masked.misfire_policy == current.misfire_policy { current } else { &unset };
            masked.misfire_window = if has("misfire_window") { given } else { kept }.misfire_window;
            masked.misfire_limit = if has("misfire_limit") { given } else { kept }.misfire_limit;
        }
        for policy in &self.policies {
            match *policy {
                "overlap_policy" | "overlap_limit" => {}
                "misfire_policy" | "misfire_window" | "misfire_limit" => {}
                "unknown_outcome_policy" => masked.unknown_outcome_policy = given.unknown_outcome_policy,
                "start_deadline" => masked.start_deadline = given.start_deadline,
                "attempt_timeout" => masked.attempt_timeout = given.attempt_timeout,
                "lease_duration" => masked.lease_duration = given.lease_duration,
                "retry" => masked.retry.clone_from(&given.retry),
                "pause_after_failures" => masked.pause_after_failures = given.pause_after_failures,
                "cancel_grace" => masked.cancel_grace = given.cancel_grace,
                other => unreachable!("{other} is not in the table"),
            }
        }
        masked
    }

    fn means_any(&self, fields: &[&str]) -> bool {
        fields.iter().any(|field| self.policies.contains(field))
    }

    /// `current` with the fields that the update means taken from `read`.
    pub(super) fn merge_policies(&self, current: Policies, read: &Policies) -> Policies {
        let mut merged = current;
        for policy in &self.policies {
            match *policy {
                "overlap_policy" | "overlap_limit" => merged.overlap = read.overlap,
                "misfire_policy" | "misfire_window" | "misfire_limit" => merged.misfire = read.misfire,
                "unknown_outcome_policy" => merged.unknown_outcome = read.unknown_outcome,
                "start_deadline" => merged.start_deadline = read.start_deadline,
                "attempt_timeout" => merged.attempt_timeout = read.attempt_timeout,
                "lease_duration" => merged.lease_duration = read.lease_duration,
                "retry" => merged.retry.clone_from(&read.retry),
                "pause_after_failures" => merged.pause_after_failures = read.pause_after_failures,
                "cancel_grace" => merged.cancel_grace = read.cancel_grace,
                other => unreachable!("{other} is not in the table"),
            }
        }
        merged
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(paths: &[&str]) -> (Mask, Vec<String>) {
        let mut found = Violations::default();
        let mask = prost_types::FieldMask { paths: paths.iter().map(ToString::to_string).collect() };
        let mask = Mask::read(Some(&mask), &mut found);
        (mask, found.all().iter().map(|one| one.description.clone()).collect())
    }

    #[test]
    fn nothing_and_a_star_mean_everything() {
        for mask in [read(&[]).0, read(&["*"]).0, Mask::read(None, &mut Violations::default())] {
            assert!(FIELDS.iter().all(|field| mask.has(field)));
            assert_eq!(mask.policies, BTreeSet::from(POLICIES));
        }
    }

    #[test]
    fn paths_mean_themselves() {
        let (mask, problems) = read(&["labels", "policies.attempt_timeout"]);
        assert!(problems.is_empty());
        assert!(mask.has("labels") && !mask.has("timing") && !mask.has("policies") && mask.has_policies());
        assert_eq!(read(&["policies"]).0.policies, BTreeSet::from(POLICIES));
        assert!(!read(&["pool"]).0.has_policies());
    }

    #[test]
    fn every_policy_can_be_changed_by_itself() {
        let duration = Some(prost_types::Duration { seconds: 5, nanos: 0 });
        let given = pb::Policies {
            overlap_policy: 4,
            misfire_policy: 3,
            unknown_outcome_policy: 1,
            start_deadline: duration,
            attempt_timeout: duration,
            lease_duration: duration,
            overlap_limit: 3,
            misfire_window: duration,
            misfire_limit: 5,
            retry: Some(pb::Retry::default()),
            pause_after_failures: 7,
            cancel_grace: duration,
        };
        let unset = pb::Policies::default();
        assert_eq!(read(&["policies"]).0.policies_of(&given, &unset), given);
        let mut changed = BTreeSet::new();
        for policy in POLICIES {
            let masked = read(&[&format!("policies.{policy}")]).0.policies_of(&given, &unset);
            changed.insert(format!("{masked:?}"));
        }
        assert_eq!(changed.len(), POLICIES.len());
    }

    #[test]
    fn what_belongs_to_a_policy_stays_with_it_and_goes_with_it() {
        let current = pb::Policies { overlap_policy: 4, overlap_limit: 3, ..Default::default() };
        let given = pb::Policies { overlap_policy: 4, overlap_limit: 9, ..Default::default() };
        let of = |path: &str, given: &pb::Policies| {
            let masked = read(&[path]).0.policies_of(given, &current);
            (masked.overlap_policy, masked.overlap_limit)
        };
        assert_eq!(of("policies.overlap_limit", &given), (4, 9));
        assert_eq!(of("policies.overlap_policy", &given), (4, 3));
        let other = pb::Policies { overlap_policy: 1, ..Default::default() };
        assert_eq!(
            of("policies.overlap_policy", &other),
            (1, 0),
            "the limit meant nothing without its policy"
        );
    }

    #[test]
    fn policies_that_are_not_meant_stay() {
        let second = std::time::Duration::from_secs(1);
        let current = Policies { lease_duration: second, attempt_timeout: 2 * second, ..Policies::default() };
        let read_policies = Policies { start_deadline: Some(second), ..Policies::default() };
        let merged = read(&["policies.start_deadline"]).0.merge_policies(current.clone(), &read_policies);
        assert_eq!(merged, Policies { start_deadline: Some(second), ..current.clone() });
        assert_eq!(read(&["policies"]).0.merge_policies(current, &read_policies), read_policies);
    }

    #[test]
    fn paths_that_cannot_be_updated_are_refused() {
        for path in ["uid", "name", "timing.time_zone", "policies.", "policies.x", "pause", ""] {
            let (_, problems) = read(&["labels", path]);
            assert_eq!(problems.len(), 1, "{path}");
            assert!(problems[0].starts_with(&format!("`{path}` cannot be updated: the paths are labels,")));
        }
    }
}
