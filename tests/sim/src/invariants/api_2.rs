//! API-2: the same request id gives the same answer, at every node and across changes of the leader.

use belfry_sdk::ClientError;

use crate::record::Record;
use crate::users::request::Answer;

/// Two answers to one request.
pub fn same(record: &Record, id: &str, first: &Answer, second: &Answer) {
    if first != second {
        record.violation(
            "API-2",
            format!("request {id} was answered with {first:?}, and then with {second:?}"),
        );
    }
}

/// A refusal of what was done before.
pub fn refused(record: &Record, id: &str, first: &Answer, error: &ClientError) {
    record.violation("API-2", format!("request {id} was answered with {first:?}, and then refused: {error}"));
}
