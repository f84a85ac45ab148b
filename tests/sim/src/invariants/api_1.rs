//! API-1: schedule operations are linearizable, and an acknowledged write survives.

use belfry_sdk::ClientError;

use crate::record::Record;
use crate::users::book::Value;

/// A read may only find what was acknowledged when it began, or later, or was being changed meanwhile.
pub fn may_read(record: &Record, name: &str, allowed: &[Option<Value>], read: Option<&Value>) {
    if !allowed.iter().any(|allowed| allowed.as_ref() == read) {
        record.violation("API-1", format!("{name} was read as {read:?}, which must be one of {allowed:?}"));
    }
}

/// A refusal must fit what its user knows: nobody else changes its schedules.
pub fn refused(record: &Record, name: &str, what: &str, error: &ClientError) {
    match error {
        // By the overlap policy of a trigger, for example.
        ClientError::FailedPrecondition(_) => {}
        error => record.violation("API-1", format!("{what} of {name} was refused: {error}")),
    }
}
