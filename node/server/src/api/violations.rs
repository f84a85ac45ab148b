//! What is wrong with the fields of a request: all of it at once, each by its path.

use std::fmt::{self, Display};

/// Reason of a field that breaks a rule that has no reason of its own.
pub(super) const INVALID_FIELD: &str = "INVALID_FIELD";
/// Reason of a payload above the limit.
pub(super) const PAYLOAD_TOO_LARGE: &str = "PAYLOAD_TOO_LARGE";
/// Reason of a cron expression that cannot be read, or that never fires.
pub(super) const INVALID_CRON: &str = "INVALID_CRON";
/// Reason of a page token that this list did not give out.
pub(super) const INVALID_PAGE_TOKEN: &str = "INVALID_PAGE_TOKEN";

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

/// The violations found so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Violations(Vec<Violation>);

impl Violations {
    /// One violation.
    pub fn one(field: &str, description: impl Display, reason: &'static str) -> Self {
        let mut violations = Self::default();
        violations.add_for(field, description, reason);
        violations
    }

    /// Notes what is wrong with a field.
    pub fn add(&mut self, field: &str, description: impl Display) {
        self.add_for(field, description, INVALID_FIELD);
    }

    /// Notes what is wrong with a field, with a reason of its own.
    pub fn add_for(&mut self, field: &str, description: impl Display, reason: &'static str) {
        let (field, description) = (field.to_owned(), description.to_string());
        self.0.push(Violation { field, description, reason });
    }

    /// Notes the error, if it is one.
    pub fn take<T, E: Display>(&mut self, field: &str, result: Result<T, E>) -> Option<T> {
        result.map_err(|error| self.add(field, error)).ok()
    }

    /// Notes a text or a collection that is larger than its limit.
    pub fn limit(&mut self, field: &str, size: usize, max: usize, unit: &str) {
        if size > max {
            self.add(field, format_args!("has {size} {unit}: at most {max} are accepted"));
        }
    }

    /// What was found.
    pub fn all(&self) -> &[Violation] {
        &self.0
    }

    /// Goes on only if nothing was found.
    pub fn check(self) -> Result<(), Violations> {
        if self.0.is_empty() { Ok(()) } else { Err(self) }
    }

    /// The value, which is there if nothing was found.
    pub fn or<T>(self, value: Option<T>) -> Result<T, Violations> {
        match value {
            Some(value) if self.0.is_empty() => Ok(value),
            _ => Err(self),
        }
    }
}

impl Display for Violations {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_slice() {
            [only] => write!(f, "{}: {}", only.field, only.description),
            many => write!(f, "{} fields are not valid", many.len()),
        }
    }
}

impl std::error::Error for Violations {}
