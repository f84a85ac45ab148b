//! API-2: the same request id gives the same answer, at every node and across changes of the leader.

use belfry_sdk::ClientError;

use crate::record::Record;
use crate::users::request::Answer;

/// Two answers to one request.
pub fn same(record: &Record, id: &str, first: &Answer, second: &Answer) {
    if about(first) != about(second) {
        record.violation(
            "API-2",
            format!("request {id} was answered with {first:?}, and then with {second:?}"),
        );
    }
}

/// What an answer is about: a run that was told to end may have come to its end since.
fn about(answer: &Answer) -> Answer {
    match answer {
        Answer::Cancelled(run, _) => Answer::Run(run.clone()),
        Answer::Schedule(_) | Answer::Run(_) | Answer::Object(_) | Answer::Deleted => answer.clone(),
    }
}

/// A refusal of what was done before.
pub fn refused(record: &Record, id: &str, first: &Answer, error: &ClientError) {
    record.violation("API-2", format!("request {id} was answered with {first:?}, and then refused: {error}"));
}
