//! What can go wrong with a call, in words that say what to do.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use tonic::{Code, Status};
use tonic_types::StatusExt as _;

use crate::address::BadAddress;

/// Reasons by which a node says that it could not even try, because no leader is at hand.
pub(crate) const NOT_LEADER: &str = "NOT_LEADER";
pub(crate) const NO_LEADER: &str = "NO_LEADER";
/// Key of the leader's address in the metadata of NOT_LEADER.
pub(crate) const LEADER_ADDRESS: &str = "leader_address";

/// Why a call did not give an answer. Displays as one line that says what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// What was named does not exist.
    #[error("not found: {0}; check the name and its namespace")]
    NotFound(Box<Refusal>),
    /// The name is taken.
    #[error("already exists: {0}; choose another name or update the existing one")]
    AlreadyExists(Box<Refusal>),
    /// Somebody else changed it meanwhile (the etag is not the current one).
    #[error("conflict: {0}; read it again and repeat the change on what you read")]
    Conflict(Box<Refusal>),
    /// The request breaks the rules of the contract; [`ClientError::fields`] says where.
    #[error("invalid request: {0}")]
    InvalidArgument(Box<Refusal>),
    /// The request is well-formed, but not in this state of the thing it names.
    #[error("not possible in the current state: {0}")]
    FailedPrecondition(Box<Refusal>),
    /// The node does not know who calls.
    #[error("not authenticated: {0}; give valid credentials")]
    Unauthenticated(Box<Refusal>),
    /// The node knows who calls and does not allow it.
    #[error("not allowed: {0}; ask for the permission")]
    PermissionDenied(Box<Refusal>),
    /// A limit was hit. The request was not carried out.
    #[error("limit reached: {0}; slow down or raise the limit")]
    ResourceExhausted(Box<Refusal>),
    /// The changes that a watch wants next are no longer kept: list again, and watch from the revision of the list.
    #[error("too far behind: {0}")]
    Compacted(Box<Refusal>),
    /// Nodes answer, but none of them leads or knows a leader.
    #[error("no leader: {0}; check that most nodes are up, then try again")]
    NoLeader(Box<Refusal>),
    /// No node answered in time. A mutation that fails so was certainly not carried out.
    #[error("no node answered at {}: {cause}; check the endpoints and the network", endpoints.join(", "))]
    Unreachable {
        /// Whom the client knows.
        endpoints: Vec<String>,
        /// What the last try came to.
        cause: String,
    },
    /// A mutation was sent and its answer was lost: it may have been carried out.
    #[error("outcome unknown: {cause}; {}", advice(request_id.as_deref()))]
    OutcomeUnknown {
        /// Repeating the same request with this id tells the outcome and is not a second write. None for the few calls
        /// that take no request id.
        request_id: Option<String>,
        /// What the last try came to.
        cause: String,
    },
    /// An endpoint of the options is not an address.
    #[error("{text:?} is not the address of a node ({cause}): write host:port or http://host:port")]
    BadEndpoint {
        /// The endpoint as given.
        text: String,
        /// What is wrong with it.
        cause: String,
    },
    /// The options name no endpoint.
    #[error("no endpoint given: name at least one node as host:port")]
    NoEndpoints,
    /// Anything else that a node answered.
    #[error("{}: {}", code_words(.0.code()), .0.message())]
    Other(Box<Status>),
}

impl ClientError {
    /// The reason in UPPER_SNAKE that the node gave (`ErrorInfo.reason`), if it gave one.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        self.refusal().and_then(|refusal| refusal.reason.as_deref())
    }

    /// The fields that broke a rule; empty unless the node named some.
    #[must_use]
    pub fn fields(&self) -> &[FieldViolation] {
        self.refusal().map_or(&[], |refusal| &refusal.fields)
    }

    /// The refusal of a node, where this is one.
    #[must_use]
    pub fn refusal(&self) -> Option<&Refusal> {
        match self {
            Self::NotFound(refusal)
            | Self::AlreadyExists(refusal)
            | Self::Conflict(refusal)
            | Self::InvalidArgument(refusal)
            | Self::FailedPrecondition(refusal)
            | Self::Unauthenticated(refusal)
            | Self::PermissionDenied(refusal)
            | Self::ResourceExhausted(refusal)
            | Self::Compacted(refusal)
            | Self::NoLeader(refusal) => Some(refusal),
            Self::Unreachable { .. }
            | Self::OutcomeUnknown { .. }
            | Self::BadEndpoint { .. }
            | Self::NoEndpoints
            | Self::Other(_) => None,
        }
    }

    /// The error of a status that is a node's last word.
    pub(crate) fn refused(status: Status) -> Self {
        let refusal = || Box::new(Refusal::of(&status));
        match status.code() {
            Code::NotFound => Self::NotFound(refusal()),
            Code::AlreadyExists => Self::AlreadyExists(refusal()),
            Code::Aborted => Self::Conflict(refusal()),
            Code::InvalidArgument => Self::InvalidArgument(refusal()),
            Code::FailedPrecondition => Self::FailedPrecondition(refusal()),
            Code::Unauthenticated => Self::Unauthenticated(refusal()),
            Code::PermissionDenied => Self::PermissionDenied(refusal()),
            Code::ResourceExhausted => Self::ResourceExhausted(refusal()),
            Code::OutOfRange => Self::Compacted(refusal()),
            Code::Ok
            | Code::Cancelled
            | Code::Unknown
            | Code::DeadlineExceeded
            | Code::Unimplemented
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss => Self::Other(Box::new(status)),
        }
    }
}

impl From<BadAddress> for ClientError {
    fn from(bad: BadAddress) -> Self {
        Self::BadEndpoint { text: bad.text, cause: bad.cause.to_owned() }
    }
}

/// What a node said when it refused.
#[derive(Clone, Debug, Default, PartialEq)]
#[non_exhaustive]
pub struct Refusal {
    /// The node's message.
    pub message: String,
    /// `ErrorInfo.reason`.
    pub reason: Option<String>,
    /// `ErrorInfo.metadata`.
    pub metadata: BTreeMap<String, String>,
    /// `BadRequest.field_violations`.
    pub fields: Vec<FieldViolation>,
    /// `RetryInfo.retry_delay`: not before this, please.
    pub retry_after: Option<Duration>,
}

/// One field that broke a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldViolation {
    /// Path of the field, such as `schedule.timing.include[0].cron.expression`.
    pub field: String,
    /// What is wrong with it.
    pub description: String,
}

impl Refusal {
    /// Reads the message and the error details of a status. Details that cannot be read are left out: the code and the
    /// message still say what happened.
    pub(crate) fn of(status: &Status) -> Self {
        let details = status.get_error_details();
        let info = details.error_info();
        let violations = details.bad_request().map_or(&[][..], |request| &request.field_violations);
        Self {
            message: status.message().to_owned(),
            reason: info.map(|info| info.reason.clone()),
            metadata: info.map(|info| info.metadata.clone().into_iter().collect()).unwrap_or_default(),
            fields: violations
                .iter()
                .map(|violation| FieldViolation {
                    field: violation.field.clone(),
                    description: violation.description.clone(),
                })
                .collect(),
            retry_after: details.retry_info().and_then(|info| info.retry_delay),
        }
    }

    /// The address of the leader, when this refusal says where to go instead.
    pub(crate) fn leader_address(&self) -> Option<&str> {
        if self.reason.as_deref() != Some(NOT_LEADER) {
            return None;
        }
        self.metadata.get(LEADER_ADDRESS).map(String::as_str).filter(|address| !address.is_empty())
    }

    /// Whether the node refused for want of a leader, and so has certainly done nothing.
    pub(crate) fn is_leaderless(&self) -> bool {
        matches!(self.reason.as_deref(), Some(NOT_LEADER | NO_LEADER))
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let message = if self.message.is_empty() { "no details given" } else { &self.message };
        f.write_str(message)?;
        for violation in &self.fields {
            // Nodes often repeat the only violation as the message: once is enough.
            if !message.contains(&violation.description) {
                write!(f, "; {}: {}", violation.field, violation.description)?;
            } else if !message.contains(&violation.field) {
                write!(f, " (field {})", violation.field)?;
            }
        }
        Ok(())
    }
}

/// The words of the first error in a chain of causes, such as `Connection refused (os error 111)`.
pub(crate) fn innermost(error: &dyn std::error::Error) -> String {
    let mut error = error;
    while let Some(source) = error.source() {
        error = source;
    }
    error.to_string()
}

fn advice(request_id: Option<&str>) -> String {
    match request_id {
        Some(id) => {
            format!("repeat the same request with request id {id} to learn it, that is not a second write")
        }
        None => "look at the current state before you repeat it".to_owned(),
    }
}

/// The words of codes that have no variant of their own.
fn code_words(code: Code) -> &'static str {
    match code {
        Code::Unimplemented => {
            "the node does not know this call, its release may be older or this is not its API port"
        }
        Code::Internal | Code::DataLoss => "the node failed, its log says more",
        Code::Cancelled => "the call was cancelled",
        Code::DeadlineExceeded => "the node ran out of time",
        Code::Unavailable => "the node is not available now, try again",
        Code::OutOfRange => "out of range",
        Code::Ok
        | Code::Unknown
        | Code::InvalidArgument
        | Code::NotFound
        | Code::AlreadyExists
        | Code::PermissionDenied
        | Code::ResourceExhausted
        | Code::FailedPrecondition
        | Code::Aborted
        | Code::Unauthenticated => "the node answered with an error",
    }
}

#[cfg(test)]
mod tests {
    use tonic_types::ErrorDetails;

    use super::*;

    fn status(code: Code, message: &str, details: ErrorDetails) -> Status {
        Status::with_error_details(code, message, details)
    }

    #[test]
    fn reads_reason_fields_and_hint_from_the_details() {
        let mut details = ErrorDetails::new();
        details
            .set_error_info(NOT_LEADER, "belfry", [(LEADER_ADDRESS.to_owned(), "n2:7400".to_owned())])
            .set_retry_info(Some(Duration::from_millis(250)))
            .add_bad_request_violation("parent", "is empty");
        let refusal = Refusal::of(&status(Code::Unavailable, "ask the leader", details));
        assert_eq!(refusal.leader_address(), Some("n2:7400"));
        assert!(refusal.is_leaderless());
        assert_eq!(refusal.retry_after, Some(Duration::from_millis(250)));
        assert_eq!(refusal.fields.len(), 1);
        assert_eq!(refusal.to_string(), "ask the leader; parent: is empty");
    }

    #[test]
    fn says_in_one_line_what_to_do() {
        let details = ErrorDetails::with_error_info("ETAG_MISMATCH", "belfry", []);
        let conflict = ClientError::refused(status(Code::Aborted, "etag is 4, not 3", details));
        assert_eq!(conflict.reason(), Some("ETAG_MISMATCH"));
        assert_eq!(
            conflict.to_string(),
            "conflict: etag is 4, not 3; read it again and repeat the change on what you read"
        );
        let unknown =
            ClientError::OutcomeUnknown { request_id: Some("R".into()), cause: "connection lost".into() };
        assert_eq!(
            unknown.to_string(),
            "outcome unknown: connection lost; repeat the same request with request id R to learn it, that is not a second write"
        );
    }

    #[test]
    fn details_that_cannot_be_read_leave_the_message() {
        let status =
            Status::with_details(Code::NotFound, "no such schedule", bytes::Bytes::from_static(b"\xff\xff"));
        let error = ClientError::refused(status);
        assert!(matches!(&error, ClientError::NotFound(refusal) if refusal.message == "no such schedule"));
        assert!(error.fields().is_empty());
    }
}
