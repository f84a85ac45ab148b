//! Update masks: which fields of a schedule an update means.

use std::collections::BTreeSet;

use belfry_core::definition::Policies;
use belfry_proto::v1 as pb;

use super::violations::Violations;

/// Fields that an update can change.
const FIELDS: [&str; 6] = ["labels", "description", "timing", "target", "policies", "pool"];

/// Fields of `policies` that an update can change by themselves.
const POLICIES: [&str; 6] = [
    "overlap_policy",
    "misfire_policy",
    "unknown_outcome_policy",
    "start_deadline",
    "attempt_timeout",
    "lease_duration",
];

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

    /// The fields of `given` that the update means, the others unset: only those are checked.
    pub(super) fn policies_of(&self, given: &pb::Policies) -> pb::Policies {
        let mut masked = pb::Policies::default();
        for policy in &self.policies {
            match *policy {
                "overlap_policy" => masked.overlap_policy = given.overlap_policy,
                "misfire_policy" => masked.misfire_policy = given.misfire_policy,
                "unknown_outcome_policy" => masked.unknown_outcome_policy = given.unknown_outcome_policy,
                "start_deadline" => masked.start_deadline = given.start_deadline,
                "attempt_timeout" => masked.attempt_timeout = given.attempt_timeout,
                "lease_duration" => masked.lease_duration = given.lease_duration,
                other => unreachable!("{other} is not in the table"),
            }
        }
        masked
    }

    /// `current` with the fields that the update means taken from `read`.
    pub(super) fn merge_policies(&self, current: Policies, read: &Policies) -> Policies {
        let mut merged = current;
        for policy in &self.policies {
            match *policy {
                "overlap_policy" => merged.overlap = read.overlap,
                "misfire_policy" => merged.misfire = read.misfire,
                "unknown_outcome_policy" => merged.unknown_outcome = read.unknown_outcome,
                "start_deadline" => merged.start_deadline = read.start_deadline,
                "attempt_timeout" => merged.attempt_timeout = read.attempt_timeout,
                "lease_duration" => merged.lease_duration = read.lease_duration,
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
            overlap_policy: 1,
            misfire_policy: 1,
            unknown_outcome_policy: 1,
            start_deadline: duration,
            attempt_timeout: duration,
            lease_duration: duration,
        };
        assert_eq!(read(&["policies"]).0.policies_of(&given), given);
        let mut changed = BTreeSet::new();
        for policy in POLICIES {
            let masked = read(&[&format!("policies.{policy}")]).0.policies_of(&given);
            changed.insert(format!("{masked:?}"));
        }
        assert_eq!(changed.len(), POLICIES.len());
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
