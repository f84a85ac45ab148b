//! The one table from our errors to `tonic::Status`.
//!
//! - ERROR-1: every status carries an ErrorInfo with a reason in UPPER_SNAKE and the domain `belfry`.
//! - ERROR-2: UNAVAILABLE and RESOURCE_EXHAUSTED carry a RetryInfo.
//! - ERROR-3: NOT_LEADER and NO_LEADER mean that nothing was done; whatever may have been done has another reason.
//! - ERROR-4: every status fits into 8 KiB of headers, beyond which clients see a broken stream instead of the error.
//! - ERROR-5: equal errors are equal bytes: connections send the second one as a reference to the first, and a simulation repeats itself.

use std::collections::BTreeMap;
use std::time::Duration;

use belfry_core::Rejection;
use belfry_core::object::ObjectName;
use prost::Message as _;
use thiserror::Error;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _, pb};

use super::names;
use super::violations::{INVALID_FIELD, Violations};
use crate::raft::{
    Leadership, Member, MembershipError, NodeId, ProposeError, Replica, SavingError, TransferError,
};
use crate::timings::TimingFault;

const DOMAIN: &str = "belfry";

/// Bytes of violations in one status. On the wire they are base64, beside a message that may be percent-encoded.
const VIOLATION_BYTES_MAX: usize = 3 * 1024;

/// When a call that found no leader may be tried again: elections take about a second.
const RETRY_LEADER: Duration = Duration::from_millis(200);
/// When a call that met a limit may be tried again.
const RETRY_LIMIT: Duration = Duration::from_millis(100);
/// When another executor may have left.
const RETRY_EXECUTORS: Duration = Duration::from_secs(5);
/// When a schedule that was behind its instants has them recorded.
const RETRY_CAUGHT_UP: Duration = Duration::from_millis(100);

/// Why a call is refused.
#[derive(Debug, Error)]
pub enum ApiError {
    /// Fields break rules.
    #[error("{0}")]
    Invalid(#[from] Violations),
    /// The state machine refused.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// The command did not get into the log, or nobody knows.
    #[error(transparent)]
    Propose(#[from] ProposeError),
    /// No such run.
    #[error("no run named {name}")]
    RunNotFound {
        /// Its name.
        name: String,
    },
    /// The parent of a list names no schedule.
    #[error("no schedule named {name}")]
    ScheduleNotFound {
        /// Its name.
        name: String,
    },
    /// No such executor is connected.
    #[error("no executor {executor} is connected: `belfry executor list` shows those that are")]
    ExecutorNotFound {
        /// Its id.
        executor: String,
    },
    /// Not every member of the cluster understands it yet.
    #[error(
        "{what} needs feature level {needed}, and the cluster is at {level}: it rises by itself once every node runs this release"
    )]
    FeatureLevel {
        /// What was asked for.
        what: &'static str,
        /// The level in force.
        level: u32,
        /// The level that it needs.
        needed: u32,
    },
    /// A node of another release wrote a timing that this build cannot read.
    #[error(transparent)]
    Timing(#[from] TimingFault),
    /// Leadership could not be handed over.
    #[error(transparent)]
    Transfer(#[from] TransferError),
    /// The members stay as they are.
    #[error(transparent)]
    Membership(#[from] MembershipError),
    /// There is no snapshot.
    #[error(transparent)]
    Saving(#[from] SavingError),
    /// Another node leads, and this one cannot pass the call on.
    #[error("this node does not lead: ask node {} at {}", leader.0, leader.1.api_address)]
    NotLeader {
        /// Who leads.
        leader: (NodeId, Member),
    },
    /// Nobody leads, as far as this node knows.
    #[error("no leader is known: most nodes of the cluster must be up and reach each other")]
    NoLeader,
    /// The call was passed on to the leader and the connection broke: it may have been carried out.
    #[error("the connection to the leader at {address} broke: {cause}")]
    ForwardingFailed {
        /// Where the leader was.
        address: String,
        /// What happened.
        cause: String,
    },
    /// A stream of an executor ends because leadership moved.
    #[error("leadership moved: dial again")]
    DialAgain,
    /// The node works on as many calls as it may.
    #[error("this node works on {max} calls already (limits.request_concurrency_max)")]
    Overloaded {
        /// The limit.
        max: usize,
    },
    /// As many executors are connected as may be.
    #[error("{max} executors are connected already (limits.executors_max)")]
    TooManyExecutors {
        /// The limit.
        max: usize,
    },
    /// As many read lists as streams as may.
    #[error(
        "{max} lists are streamed from this node already: ask another one, or for single pages (ListSchedules)"
    )]
    TooManyLists {
        /// The limit.
        max: usize,
    },
    /// As many watch as may.
    #[error("{max} watch already at this node (limits.watchers_max): ask another one")]
    TooManyWatchers {
        /// The limit.
        max: usize,
    },
    /// Changes are asked for that are no longer kept.
    #[error(
        "changes from revision {asked} on are no longer kept, only those from {oldest} on: list again, and watch from the revision of the list"
    )]
    RevisionCompacted {
        /// Where the watcher wanted to begin.
        asked: u64,
        /// The oldest revision to begin at.
        oldest: u64,
    },
    /// Changes are asked for that this node does not know yet.
    #[error("revision {asked} is ahead of this node, which is at {newest}: ask another one")]
    NodeBehind {
        /// Where the watcher wanted to begin.
        asked: u64,
        /// Where the node stands.
        newest: u64,
    },
    /// Changes are asked for that lie behind everything that the leader knows.
    #[error(
        "revision {asked} is ahead of the leader, which is at {newest}: it is of another cluster, or this one was restored; list again"
    )]
    RevisionAhead {
        /// Where the watcher wanted to begin.
        asked: u64,
        /// Where the node stands.
        newest: u64,
    },
    /// This node is going down.
    #[error("this node is stopping: go on at another one")]
    NodeStopping,
    /// The caller's time is up. The call may have been carried out.
    #[error("the call took longer than its deadline")]
    DeadlineExceeded,
    /// An answer of the state machine that does not belong to its question.
    #[error("the state machine gave an answer of another kind: this is a bug")]
    WrongOutcome,
}

/// What a status says beside its message.
struct Row {
    code: Code,
    reason: &'static str,
    metadata: Vec<(&'static str, String)>,
    retry_after: Option<Duration>,
}

impl Row {
    fn new(code: Code, reason: &'static str) -> Self {
        Self { code, reason, metadata: Vec::new(), retry_after: None }
    }

    fn with(mut self, key: &'static str, value: impl ToString) -> Self {
        self.metadata.push((key, value.to_string()));
        self
    }

    fn retry(self, after: Duration) -> Self {
        Self { retry_after: Some(after), ..self }
    }
}

/// `google.rpc.ErrorInfo`, with its metadata in order (ERROR-5).
#[derive(Clone, PartialEq, prost::Message)]
struct OrderedInfo {
    #[prost(string, tag = "1")]
    reason: String,
    #[prost(string, tag = "2")]
    domain: String,
    #[prost(btree_map = "string, string", tag = "3")]
    metadata: BTreeMap<String, String>,
}

impl OrderedInfo {
    fn packed(&self) -> prost_types::Any {
        let type_url = "type.googleapis.com/google.rpc.ErrorInfo".to_owned();
        prost_types::Any { type_url, value: self.encode_to_vec() }
    }
}

impl ApiError {
    /// The status of this error.
    pub fn status(&self) -> Status {
        let row = self.row();
        let info = OrderedInfo {
            reason: row.reason.to_owned(),
            domain: DOMAIN.to_owned(),
            metadata: row.metadata.into_iter().map(|(key, value)| (key.to_owned(), value)).collect(),
        };
        let mut details = ErrorDetails::new();
        if row.retry_after.is_some() {
            details.set_retry_info(row.retry_after);
        }
        if let ApiError::Invalid(violations) = self {
            add_violations(&mut details, violations);
        }
        let message = self.to_string();
        let status = Status::with_error_details(row.code, message.as_str(), details);
        let mut whole = pb::Status::decode(status.details()).expect("it was just encoded");
        whole.details.insert(0, info.packed());
        Status::with_details(row.code, message, whole.encode_to_vec().into())
    }

    fn row(&self) -> Row {
        match self {
            ApiError::Invalid(violations) => {
                let reason = violations.all().first().map_or(INVALID_FIELD, |first| first.reason);
                Row::new(Code::InvalidArgument, reason)
            }
            ApiError::Rejected(rejection) => rejection_row(rejection),
            ApiError::Propose(error) => propose_row(error),
            ApiError::RunNotFound { name } => Row::new(Code::NotFound, "RUN_NOT_FOUND").with("name", name),
            ApiError::ScheduleNotFound { name } => {
                Row::new(Code::NotFound, "SCHEDULE_NOT_FOUND").with("name", name)
            }
            ApiError::ExecutorNotFound { executor } => {
                Row::new(Code::NotFound, "EXECUTOR_NOT_FOUND").with("executor", executor)
            }
            ApiError::FeatureLevel { level, needed, .. } => {
                Row::new(Code::FailedPrecondition, "FEATURE_LEVEL")
                    .with("level", level)
                    .with("needed", needed)
            }
            ApiError::Timing(_) => Row::new(Code::Internal, "TIMING_UNREADABLE"),
            ApiError::Transfer(error) => transfer_row(error),
            ApiError::Membership(error) => membership_row(error),
            ApiError::Saving(SavingError::Propose(error)) => propose_row(error),
            ApiError::Saving(SavingError::Busy) => {
                Row::new(Code::ResourceExhausted, "SNAPSHOT_BEING_SAVED").retry(RETRY_EXECUTORS)
            }
            ApiError::Saving(SavingError::Disk(_)) => Row::new(Code::Internal, "SNAPSHOT_NOT_WRITTEN"),
            ApiError::NotLeader { leader } => leader_row(leader),
            ApiError::NoLeader => Row::new(Code::Unavailable, "NO_LEADER").retry(RETRY_LEADER),
            // The SDK takes every reason of UNAVAILABLE but the two above for "may have been done".
            ApiError::ForwardingFailed { .. } => {
                Row::new(Code::Unavailable, "FORWARDING_FAILED").retry(RETRY_LEADER)
            }
            ApiError::DialAgain => Row::new(Code::Unavailable, "LEADERSHIP_MOVED").retry(Duration::ZERO),
            ApiError::TooManyExecutors { max } => Row::new(Code::ResourceExhausted, "TOO_MANY_EXECUTORS")
                .with("limit", max)
                .retry(RETRY_EXECUTORS),
            ApiError::Overloaded { max } => {
                Row::new(Code::ResourceExhausted, "TOO_MANY_CALLS").with("max", max).retry(RETRY_LIMIT)
            }
            ApiError::TooManyLists { max } => {
                Row::new(Code::ResourceExhausted, "TOO_MANY_LISTS").with("limit", max).retry(RETRY_LIMIT)
            }
            ApiError::TooManyWatchers { max } => Row::new(Code::ResourceExhausted, "TOO_MANY_WATCHERS")
                .with("limit", max)
                .retry(RETRY_EXECUTORS),
            ApiError::RevisionCompacted { asked, oldest } => Row::new(Code::OutOfRange, "REVISION_COMPACTED")
                .with("start_revision", asked)
                .with("oldest_revision", oldest),
            ApiError::RevisionAhead { asked, newest } => Row::new(Code::OutOfRange, "REVISION_AHEAD")
                .with("start_revision", asked)
                .with("newest_revision", newest),
            ApiError::NodeBehind { asked, newest } => Row::new(Code::Unavailable, "NODE_BEHIND")
                .with("start_revision", asked)
                .with("newest_revision", newest)
                .retry(RETRY_LEADER),
            ApiError::NodeStopping => Row::new(Code::Unavailable, "NODE_STOPPING").retry(RETRY_LEADER),
            ApiError::DeadlineExceeded => Row::new(Code::DeadlineExceeded, "DEADLINE_EXCEEDED"),
            ApiError::WrongOutcome => Row::new(Code::Internal, "WRONG_OUTCOME"),
        }
    }
}

/// Adds as many violations as fit (ERROR-4), and says how many do not.
fn add_violations(details: &mut ErrorDetails, violations: &Violations) {
    let mut room = VIOLATION_BYTES_MAX;
    let mut added = 0;
    for violation in violations.all() {
        let bytes = violation.field.len() + violation.description.len();
        if bytes > room && added > 0 {
            break;
        }
        room = room.saturating_sub(bytes);
        details.add_bad_request_violation(&violation.field, &violation.description);
        added += 1;
    }
    let left_out = violations.count() - added;
    if left_out > 0 {
        details.add_bad_request_violation("", format!("{left_out} more fields are not valid"));
    }
}

fn rejection_row(rejection: &Rejection) -> Row {
    match rejection {
        Rejection::ScheduleNotFound { key } => {
            Row::new(Code::NotFound, "SCHEDULE_NOT_FOUND").with("name", names::schedule_name(key))
        }
        Rejection::ScheduleExists { key } => {
            Row::new(Code::AlreadyExists, "SCHEDULE_EXISTS").with("name", names::schedule_name(key))
        }
        Rejection::RevisionMismatch { key, current } => Row::new(Code::Aborted, "ETAG_MISMATCH")
            .with("name", names::schedule_name(key))
            .with("etag", current),
        Rejection::RequestIdReused { id } => {
            Row::new(Code::InvalidArgument, "REQUEST_ID_REUSED").with("request_id", id)
        }
        Rejection::NotCaughtUp { key } => Row::new(Code::Unavailable, "NOT_CAUGHT_UP")
            .with("name", names::schedule_name(key))
            .retry(RETRY_CAUGHT_UP),
        Rejection::TooManyWaiting { key, waiting } => Row::new(Code::ResourceExhausted, "TOO_MANY_WAITING")
            .with("name", names::schedule_name(key))
            .with("waiting", waiting)
            .retry(RETRY_LIMIT),
        Rejection::Busy { key } => {
            Row::new(Code::FailedPrecondition, "SCHEDULE_BUSY").with("name", names::schedule_name(key))
        }
        Rejection::RunNotFound { run } => Row::new(Code::NotFound, "RUN_NOT_FOUND").with("run", run),
        Rejection::NotUnknown { state } => {
            Row::new(Code::FailedPrecondition, "RUN_NOT_UNKNOWN").with("state", state)
        }
        Rejection::ObjectNotFound { name } => object_row(Code::NotFound, name, "NOT_FOUND"),
        Rejection::ObjectRevisionMismatch { name, current } => {
            Row::new(Code::Aborted, "ETAG_MISMATCH").with("name", name).with("etag", current)
        }
        Rejection::ObjectInUse { name, by } => {
            object_row(Code::FailedPrecondition, name, "IN_USE").with("used_by", names::schedule_name(by))
        }
        Rejection::TooManySchedules { namespace, max } => {
            Row::new(Code::FailedPrecondition, "TOO_MANY_SCHEDULES")
                .with("namespace", namespace)
                .with("max", max)
        }
        Rejection::BackfillNotFound { backfill } => {
            Row::new(Code::NotFound, "BACKFILL_NOT_FOUND").with("backfill", backfill)
        }
        Rejection::BackfillRunning { key, backfill } => {
            Row::new(Code::FailedPrecondition, "BACKFILL_RUNNING")
                .with("name", names::schedule_name(key))
                .with("backfill", backfill)
        }
        Rejection::LedgerTooShort { key, .. } => {
            Row::new(Code::FailedPrecondition, "LEDGER_TOO_SHORT").with("name", names::schedule_name(key))
        }
        Rejection::Malformed { .. } => Row::new(Code::Internal, "MALFORMED_COMMAND"),
    }
}

fn object_row(code: Code, name: &ObjectName, what: &'static str) -> Row {
    let reason = match (name, what) {
        (ObjectName::Calendar(_), "IN_USE") => "CALENDAR_IN_USE",
        (ObjectName::Pool(_), "IN_USE") => "POOL_IN_USE",
        (ObjectName::Namespace(_), "IN_USE") => "NAMESPACE_IN_USE",
        (ObjectName::Calendar(_), _) => "CALENDAR_NOT_FOUND",
        (ObjectName::Pool(_), _) => "POOL_NOT_FOUND",
        (ObjectName::Namespace(_), _) => "NAMESPACE_NOT_FOUND",
    };
    Row::new(code, reason).with("name", name)
}

fn propose_row(error: &ProposeError) -> Row {
    match error {
        ProposeError::NotLeader { leader: Some(leader) } => leader_row(leader),
        ProposeError::NotLeader { leader: None } | ProposeError::NoLeader => {
            Row::new(Code::Unavailable, "NO_LEADER").retry(RETRY_LEADER)
        }
        ProposeError::OutcomeUnknown => Row::new(Code::Unavailable, "OUTCOME_UNKNOWN").retry(RETRY_LEADER),
        ProposeError::TooLarge { .. } => Row::new(Code::InvalidArgument, "COMMAND_TOO_LARGE"),
        ProposeError::Stopped => Row::new(Code::Unavailable, "NODE_STOPPING").retry(RETRY_LEADER),
    }
}

fn transfer_row(error: &TransferError) -> Row {
    match error {
        TransferError::NotLeader { leader: Some(leader) } => leader_row(leader),
        TransferError::NotLeader { leader: None } => {
            Row::new(Code::Unavailable, "NO_LEADER").retry(RETRY_LEADER)
        }
        TransferError::NoSuccessor => Row::new(Code::FailedPrecondition, "NO_SUCCESSOR"),
        TransferError::NotAVoter { to } => {
            Row::new(Code::FailedPrecondition, "NOT_A_VOTER").with("node_id", to)
        }
        TransferError::TimedOut { to } => {
            Row::new(Code::Unavailable, "TRANSFER_TIMED_OUT").with("node_id", to).retry(RETRY_LEADER)
        }
        TransferError::Stopped => Row::new(Code::Unavailable, "NODE_STOPPING").retry(RETRY_LEADER),
    }
}

fn membership_row(error: &MembershipError) -> Row {
    let refused = |reason| Row::new(Code::FailedPrecondition, reason);
    match error {
        MembershipError::Unreachable { address, .. } => {
            refused("MEMBER_UNREACHABLE").with("address", address)
        }
        MembershipError::OtherNode { address, is, expected } => refused("NODE_ID_MISMATCH")
            .with("address", address)
            .with("node_id", is)
            .with("expected", expected),
        MembershipError::OtherCluster { node, theirs, ours } => {
            refused("OTHER_CLUSTER").with("node_id", node).with("cluster_id", theirs).with("expected", ours)
        }
        MembershipError::IdTaken { node, known, said } => {
            refused("NODE_ID_TAKEN").with("node_id", node).with("incarnation", known).with("offered", said)
        }
        MembershipError::AddressTaken { address, by } => {
            refused("ADDRESS_TAKEN").with("address", address).with("node_id", by)
        }
        MembershipError::TooOld { node, level, needed } => {
            refused("FEATURE_LEVEL").with("node_id", node).with("level", level).with("needed", needed)
        }
        MembershipError::TooMany => refused("TOO_MANY_MEMBERS"),
        MembershipError::QuorumAtRisk { voters, answering, needed } => refused("QUORUM_AT_RISK")
            .with("voters", voters)
            .with("answering", answering)
            .with("needed", needed),
        MembershipError::LastVoter { node } => refused("LAST_VOTER").with("node_id", node),
        MembershipError::Busy => Row::new(Code::Unavailable, "MEMBERS_CHANGING").retry(RETRY_LEADER),
        MembershipError::Propose(error) => propose_row(error),
        MembershipError::Transfer(error) => transfer_row(error),
    }
}

fn leader_row((id, member): &(NodeId, Member)) -> Row {
    Row::new(Code::Unavailable, "NOT_LEADER")
        .with("leader_id", id)
        .with("leader_address", &member.api_address)
        .retry(RETRY_LEADER)
}

impl From<ApiError> for Status {
    fn from(error: ApiError) -> Self {
        error.status()
    }
}

/// The status of a node that does not lead: with the leader, if it knows one.
pub fn not_leader(replica: &Replica) -> Status {
    let leadership = replica.leadership().borrow().clone();
    match leadership {
        Leadership::Follower { leader: Some(leader) } => ApiError::NotLeader { leader },
        Leadership::Follower { leader: None } | Leadership::Leader { .. } => ApiError::NoLeader,
    }
    .status()
}

/// The end of an executor's stream when leadership moves.
pub fn dial_again() -> Status {
    ApiError::DialAgain.status()
}

/// The status of one field that breaks a rule.
pub fn invalid_argument(field: &str, why: &str) -> Status {
    ApiError::Invalid(Violations::one(field, why, INVALID_FIELD)).status()
}

/// The name of a code, as the gRPC specification writes it.
pub fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

#[cfg(test)]
mod tests {
    use belfry_core::{Revision, ScheduleKey};

    use super::*;

    fn rejections() -> Vec<Rejection> {
        let key = ScheduleKey::new("a", "b");
        vec![
            Rejection::ScheduleNotFound { key: key.clone() },
            Rejection::ScheduleExists { key: key.clone() },
            Rejection::RevisionMismatch { key: key.clone(), current: Revision(7) },
            Rejection::RequestIdReused { id: "r".into() },
            Rejection::NotCaughtUp { key: key.clone() },
            Rejection::TooManyWaiting { key: key.clone(), waiting: 100 },
            Rejection::Busy { key: key.clone() },
            Rejection::ObjectNotFound { name: ObjectName::Calendar(key.clone()) },
            Rejection::ObjectRevisionMismatch { name: ObjectName::Pool("p".into()), current: Revision(7) },
            Rejection::ObjectInUse { name: ObjectName::Calendar(key.clone()), by: key.clone() },
            Rejection::TooManySchedules { namespace: "n".into(), max: 1 },
            Rejection::BackfillNotFound { backfill: belfry_core::BackfillId(3) },
            Rejection::BackfillRunning { key: key.clone(), backfill: belfry_core::BackfillId(3) },
            Rejection::LedgerTooShort { key, pruned_until: belfry_core::UnixMillis(5) },
            Rejection::RunNotFound { run: belfry_core::RunId(7) },
            Rejection::NotUnknown { state: "DUE" },
            Rejection::Malformed { why: "so" },
        ]
    }

    fn errors() -> Vec<ApiError> {
        let member =
            Member { api_address: "n2:7400".into(), peer_address: "n2:7401".into(), incarnation: "".into() };
        let leader = (NodeId(2), member);
        let mut errors: Vec<_> = rejections().into_iter().map(ApiError::Rejected).collect();
        errors.extend([
            ApiError::Invalid(Violations::one("f", "is wrong", INVALID_FIELD)),
            ApiError::Propose(ProposeError::NotLeader { leader: Some(leader.clone()) }),
            ApiError::Propose(ProposeError::NotLeader { leader: None }),
            ApiError::Propose(ProposeError::NoLeader),
            ApiError::Propose(ProposeError::OutcomeUnknown),
            ApiError::Propose(ProposeError::Stopped),
            ApiError::Propose(ProposeError::TooLarge { bytes: 2, max: 1 }),
            ApiError::Transfer(TransferError::NotLeader { leader: Some(leader.clone()) }),
            ApiError::Transfer(TransferError::NotLeader { leader: None }),
            ApiError::Transfer(TransferError::NoSuccessor),
            ApiError::Transfer(TransferError::NotAVoter { to: NodeId(9) }),
            ApiError::Transfer(TransferError::TimedOut { to: NodeId(2) }),
            ApiError::Transfer(TransferError::Stopped),
            ApiError::RunNotFound { name: "r".into() },
            ApiError::ScheduleNotFound { name: "s".into() },
            ApiError::Membership(MembershipError::QuorumAtRisk { voters: 2, answering: 1, needed: 2 }),
            ApiError::Membership(MembershipError::Busy),
            ApiError::Membership(MembershipError::TooMany),
            ApiError::Saving(SavingError::Busy),
            ApiError::Saving(SavingError::Disk(std::io::ErrorKind::StorageFull.into())),
            ApiError::Membership(ProposeError::NotLeader { leader: Some(leader.clone()) }.into()),
            ApiError::NotLeader { leader },
            ApiError::NoLeader,
            ApiError::ForwardingFailed { address: "n2:7400".into(), cause: "reset".into() },
            ApiError::DialAgain,
            ApiError::TooManyExecutors { max: 1 },
            ApiError::Overloaded { max: 1 },
            ApiError::TooManyLists { max: 1 },
            ApiError::TooManyWatchers { max: 1 },
            ApiError::RevisionCompacted { asked: 1, oldest: 2 },
            ApiError::RevisionAhead { asked: 2, newest: 1 },
            ApiError::NodeBehind { asked: 2, newest: 1 },
            ApiError::NodeStopping,
            ApiError::DeadlineExceeded,
            ApiError::WrongOutcome,
        ]);
        errors
    }

    #[test]
    fn every_error_has_a_reason_and_says_when_to_retry() {
        for error in errors() {
            let status = error.status();
            let details = status.get_error_details();
            let info = details.error_info().unwrap_or_else(|| panic!("ERROR-1: {error}"));
            assert_eq!(info.domain, "belfry");
            assert!(
                info.reason.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_'),
                "{}",
                info.reason
            );
            let wants_retry = matches!(status.code(), Code::Unavailable | Code::ResourceExhausted);
            assert_eq!(details.retry_info().is_some(), wants_retry, "ERROR-2: {error}");
            assert!(!status.message().is_empty() && !status.message().ends_with('.'), "{error}");
        }
    }

    #[test]
    fn error_5_equal_errors_are_equal_bytes() {
        for error in errors() {
            let first = error.status();
            assert!((0..8).all(|_| error.status().details() == first.details()), "ERROR-5: {error}");
        }
    }

    #[test]
    fn only_what_was_certainly_not_done_says_so() {
        for error in errors() {
            let undone = matches!(
                &error,
                ApiError::NotLeader { .. }
                    | ApiError::NoLeader
                    | ApiError::Propose(ProposeError::NotLeader { .. } | ProposeError::NoLeader)
                    | ApiError::Transfer(TransferError::NotLeader { .. })
                    | ApiError::Membership(MembershipError::Propose(ProposeError::NotLeader { .. }))
            );
            let reason = error.row().reason;
            assert_eq!(matches!(reason, "NOT_LEADER" | "NO_LEADER"), undone, "ERROR-3: {error}");
        }
    }

    #[test]
    fn the_codes_are_those_of_the_conventions() {
        let codes: Vec<_> =
            rejections().into_iter().map(|rejection| ApiError::Rejected(rejection).status().code()).collect();
        assert_eq!(
            codes,
            [
                Code::NotFound,
                Code::AlreadyExists,
                Code::Aborted,
                Code::InvalidArgument,
                Code::Unavailable,
                Code::ResourceExhausted,
                Code::FailedPrecondition,
                Code::NotFound,
                Code::Aborted,
                Code::FailedPrecondition,
                Code::FailedPrecondition,
                Code::NotFound,
                Code::FailedPrecondition,
                Code::FailedPrecondition,
                Code::NotFound,
                Code::FailedPrecondition,
                Code::Internal
            ]
        );
    }

    #[test]
    fn error_4_however_much_is_wrong_the_status_fits_into_headers() {
        let wrong = |count: usize, bytes: usize| {
            let mut found = Violations::default();
            (0..count).for_each(|_| found.add("schedule.target.command", "é".repeat(bytes)));
            ApiError::Invalid(found).status()
        };
        for (count, bytes) in [(1, 1_000_000), (2, 1_000_000), (1_000, 30), (100_000, 1)] {
            let status = wrong(count, bytes);
            let mut headers = http::HeaderMap::new();
            status.add_header(&mut headers).unwrap();
            let size: usize =
                headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum();
            assert!(size < 8 * 1024, "ERROR-4: {count} of {bytes}: {size}");
        }
        let status = wrong(1_000, 500);
        let details = status.get_error_details();
        let told = &details.bad_request().unwrap().field_violations;
        let last = &told.last().unwrap().description;
        assert_eq!(*last, format!("{} more fields are not valid", 1_000 - (told.len() - 1)));
    }

    #[test]
    fn details_carry_fields_and_the_leader() {
        let status = invalid_argument("schedule.pool", "is wrong");
        assert_eq!(status.message(), "schedule.pool: is wrong");
        let details = status.get_error_details();
        assert_eq!(details.bad_request().unwrap().field_violations[0].field, "schedule.pool");
        let not_leader =
            errors().into_iter().find(|error| matches!(error, ApiError::NotLeader { .. })).unwrap();
        let details = not_leader.status().get_error_details();
        let metadata = &details.error_info().unwrap().metadata;
        assert_eq!((metadata["leader_id"].as_str(), metadata["leader_address"].as_str()), ("2", "n2:7400"));
    }
}
