//! API-1: schedule operations are linearizable, and an acknowledged write survives.

use std::time::Duration;

use belfry_sdk::ClientError;

use crate::record::Record;
use crate::users::book::Value;

/// A read may only find what was acknowledged when it began, or later, or was being changed meanwhile.
pub fn may_read(record: &Record, name: &str, allowed: &[Option<Value>], read: Option<&Value>) {
    if !allowed.iter().any(|allowed| allowed.as_ref() == read) {
        record.violation("API-1", format!("{name} was read as {read:?}, which must be one of {allowed:?}"));
    }
}

/// A list has in order of name, each once, all that its reader has, and nothing of it that is no more. `prefix` begins the names of
/// what is the reader's.
pub fn must_list(record: &Record, known: &[(Value, String)], listed: &[(Value, String)], prefix: &str) {
    if !listed.is_sorted_by(|(_, one), (_, next)| one < next) {
        record.violation("API-1", format!("a list is not in order of name: {listed:?}"));
    }
    let listed: Vec<_> = listed.iter().filter(|(_, name)| name.starts_with(prefix)).collect();
    if !known.iter().eq(listed.iter().copied()) {
        record.violation("API-1", format!("the list of {prefix} has {listed:?}, which must be {known:?}"));
    }
}

/// A run that was acknowledged to be cancelled, and not told to end, does not start any more.
pub fn starts(record: &Record, run: &str, attempt: u32, at: Duration) {
    let cancelled = record.lock().cancelled.get(run).copied();
    if let Some(since) = cancelled.filter(|since| *since < at) {
        let what = format!("attempt {attempt} of {run} started at {at:?}, and was cancelled at {since:?}");
        record.violation("API-1", what);
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
