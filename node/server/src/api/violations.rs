//! What is wrong with the fields of a request: all of it at once, each by its path.
//!
//! - VIOLATION-1: what is kept of a request's faults is bounded, whatever the request: a message of megabytes can have a
//!   fault in every byte, and what is said of it must fit into the headers of an answer.

use std::fmt::{self, Display, Write};

/// Reason of a field that breaks a rule that has no reason of its own.
pub(super) const INVALID_FIELD: &str = "INVALID_FIELD";
/// Reason of a payload above the limit.
pub(super) const PAYLOAD_TOO_LARGE: &str = "PAYLOAD_TOO_LARGE";
/// Reason of a cron expression that cannot be read, or that never fires.
pub(super) const INVALID_CRON: &str = "INVALID_CRON";
/// Reason of a page token that this list did not give out.
pub(super) const INVALID_PAGE_TOKEN: &str = "INVALID_PAGE_TOKEN";

/// Violations kept; a person fixes the first few and asks again.
const VIOLATIONS_MAX: usize = 32;
/// Longest path kept: a label's key is part of it.
const FIELD_BYTES_MAX: usize = 320;
/// Longest description kept: the longest advice on a cron expression of 256 bytes fits.
const DESCRIPTION_BYTES_MAX: usize = 800;

/// One field that breaks a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Violation {
    /// Path of the field, such as `schedule.timing.include[0].cron.expression`.
    pub field: String,
    /// What is wrong with it and what would do.
    pub description: String,
    /// In UPPER_SNAKE.
    pub reason: &'static str,
}

/// The violations found so far (VIOLATION-1).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Violations {
    kept: Vec<Violation>,
    /// How many came after those that are kept.
    more: usize,
}

impl Violations {
    /// One violation.
    pub fn one(field: impl Display, description: impl Display, reason: &'static str) -> Self {
        let mut violations = Self::default();
        violations.add_for(field, description, reason);
        violations
    }

    /// Notes what is wrong with a field.
    pub fn add(&mut self, field: impl Display, description: impl Display) {
        self.add_for(field, description, INVALID_FIELD);
    }

    /// Notes what is wrong with a field, with a reason of its own.
    pub fn add_for(&mut self, field: impl Display, description: impl Display, reason: &'static str) {
        if self.kept.len() == VIOLATIONS_MAX {
            self.more += 1;
            return;
        }
        let (field, description) = (cut(field, FIELD_BYTES_MAX), cut(description, DESCRIPTION_BYTES_MAX));
        self.kept.push(Violation { field, description, reason });
    }

    /// Notes the error, if it is one.
    pub fn take<T, E: Display>(&mut self, field: impl Display, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.add(field, error)).ok()
    }

    /// Notes a text or a collection that is larger than its limit.
    pub fn limit(&mut self, field: impl Display, size: usize, max: usize, unit: &str) {
        if size > max {
            self.add(field, format_args!("has {size} {unit}: at most {max} are accepted"));
        }
    }

    /// What was found, as far as it is kept.
    pub fn all(&self) -> &[Violation] {
        &self.kept
    }

    /// How many were found.
    pub fn count(&self) -> usize {
        self.kept.len() + self.more
    }

    /// Goes on only if nothing was found.
    pub fn check(self) -> Result<(), Violations> {
        if self.kept.is_empty() { Ok(()) } else { Err(self) }
    }

    /// The value, which is there if nothing was found.
    pub fn or<T>(self, value: Option<T>) -> Result<T, Violations> {
        match value {
            Some(value) if self.kept.is_empty() => Ok(value),
            _ => Err(self),
        }
    }
}

impl Display for Violations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kept.as_slice() {
            [only] => write!(f, "{}: {}", only.field, only.description),
            _many => write!(f, "{} fields are not valid", self.count()),
        }
    }
}

impl std::error::Error for Violations {}

/// As much of a text as fits into so many bytes; the rest is not even formatted.
fn cut(text: impl Display, bytes_max: usize) -> String {
    struct Cut {
        text: String,
        bytes_max: usize,
    }
    impl Write for Cut {
        fn write_str(&mut self, part: &str) -> fmt::Result {
            let room = self.bytes_max - self.text.len();
            let end = part.floor_char_boundary(room);
            self.text.push_str(&part[..end]);
            if end == part.len() { Ok(()) } else { Err(fmt::Error) }
        }
    }
    let mut cut = Cut { text: String::new(), bytes_max };
    match write!(cut, "{text}") {
        Ok(()) => cut.text,
        Err(fmt::Error) => cut.text + "…",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn violation_1_a_request_of_faults_is_told_of_the_first_ones() {
        let mut found = Violations::default();
        for _ in 0..100_000 {
            found.add("states", "is none");
        }
        assert_eq!((found.all().len(), found.count()), (VIOLATIONS_MAX, 100_000));
        assert_eq!(found.to_string(), "100000 fields are not valid");
        assert!(found.check().is_err());
    }

    #[test]
    fn violation_1_long_texts_are_cut_between_characters() {
        let long = "é".repeat(1_000_000);
        let found = Violations::one(&long, format_args!("x{long} is wrong"), INVALID_FIELD);
        let one = &found.all()[0];
        assert_eq!(one.field, format!("{}…", "é".repeat(FIELD_BYTES_MAX / 2)));
        assert_eq!(one.description, format!("x{}…", "é".repeat((DESCRIPTION_BYTES_MAX - 1) / 2)));
        assert_eq!(cut("whole", 5), "whole");
    }
}
