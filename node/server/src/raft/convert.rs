//! Between openraft's types, the wire's and the store's. What a peer or a disk can get wrong is an error here.

use std::collections::BTreeSet;

use belfry_proto::internal as pb;
use bytes::Bytes;
use openraft::EntryPayload;
use openraft::raft::{
    AppendEntriesRequest, StreamAppendError, StreamAppendResult, TransferLeaderRequest, VoteRequest,
    VoteResponse,
};
use prost::Message as _;

use super::Member;
use super::types::{Entry, LeaderId, LogId, Membership, Proposal, StoredMembership, TypeConfig, Vote};
use crate::store;

/// A message that no release of Belfry writes.
#[derive(Debug, thiserror::Error)]
pub(super) enum MalformedMessage {
    #[error("the {message} has no {field}")]
    Missing { message: &'static str, field: &'static str },
    #[error("the membership names a voter that is not among its members")]
    Membership,
    #[error(
        "log entry {index} is of a kind that this release does not know: start the release that wrote it"
    )]
    UnknownPayload { index: u64 },
    #[error("the payload of log entry {index} is not readable: {source}")]
    Payload {
        index: u64,
        #[source]
        source: prost::DecodeError,
    },
}

type Converted<T> = Result<T, MalformedMessage>;

fn required<T>(value: Option<T>, message: &'static str, field: &'static str) -> Converted<T> {
    value.ok_or(MalformedMessage::Missing { message, field })
}

// ---- log ids and votes

pub(super) fn log_id(id: pb::LogId) -> LogId {
    LogId::new(LeaderId { term: id.term, node_id: id.node }, id.index)
}

pub(super) fn log_id_to_wire(id: &LogId) -> pb::LogId {
    pb::LogId { term: id.leader_id.term, node: id.leader_id.node_id, index: id.index }
}

pub(super) fn log_id_from_store(id: store::LogId) -> LogId {
    LogId::new(LeaderId { term: id.term, node_id: id.node }, id.index)
}

pub(super) fn log_id_to_store(id: &LogId) -> store::LogId {
    store::LogId { term: id.leader_id.term, node: id.leader_id.node_id, index: id.index }
}

fn make_vote(term: u64, node: u64, committed: bool) -> Vote {
    if committed { Vote::new_committed(term, node) } else { Vote::new(term, node) }
}

pub(super) fn vote(vote: Option<pb::RaftVote>, message: &'static str) -> Converted<Vote> {
    let vote = required(vote, message, "vote")?;
    Ok(make_vote(vote.term, vote.node, vote.committed))
}

pub(super) fn vote_to_wire(vote: &Vote) -> pb::RaftVote {
    pb::RaftVote { term: vote.leader_id.term, node: vote.leader_id.node_id, committed: vote.committed }
}

pub(super) fn vote_from_store(vote: store::Vote) -> Vote {
    make_vote(vote.term, vote.node, vote.committed)
}

pub(super) fn vote_to_store(vote: &Vote) -> store::Vote {
    store::Vote { term: vote.leader_id.term, node: vote.leader_id.node_id, committed: vote.committed }
}

// ---- membership

pub(super) fn membership(from: pb::Membership) -> Converted<Membership> {
    let configs: Vec<BTreeSet<u64>> =
        from.configs.into_iter().map(|voters| voters.ids.into_iter().collect()).collect();
    if configs.is_empty() && from.members.is_empty() {
        // What a node knows before it hears of any member.
        return Ok(Membership::default());
    }
    let members: std::collections::BTreeMap<u64, Member> =
        from.members.into_iter().map(|(id, member)| (id, member_from_wire(member))).collect();
    Membership::new(configs, members).map_err(|_| MalformedMessage::Membership)
}

pub(super) fn membership_to_wire(membership: &Membership) -> pb::Membership {
    let voters = |ids: &BTreeSet<u64>| pb::Voters { ids: ids.iter().copied().collect() };
    pb::Membership {
        configs: membership.get_joint_config().iter().map(voters).collect(),
        members: membership.nodes().map(|(id, member)| (*id, member_to_wire(member))).collect(),
    }
}

fn member_from_wire(member: pb::Member) -> Member {
    Member {
        api_address: member.api_address,
        peer_address: member.peer_address,
        incarnation: member.incarnation,
    }
}

fn member_to_wire(member: &Member) -> pb::Member {
    pb::Member {
        api_address: member.api_address.clone(),
        peer_address: member.peer_address.clone(),
        incarnation: member.incarnation.clone(),
    }
}

pub(super) fn stored_membership(from: Option<pb::StoredMembership>) -> Converted<StoredMembership> {
    let from = required(from, "head", "membership")?;
    let inner = required(from.membership, "membership", "voters")?;
    Ok(StoredMembership::new(from.log_id.map(log_id), membership(inner)?))
}

pub(super) fn stored_membership_to_wire(from: &StoredMembership) -> pb::StoredMembership {
    pb::StoredMembership {
        log_id: from.log_id().as_ref().map(log_id_to_wire),
        membership: Some(membership_to_wire(from.membership())),
    }
}

// ---- log entries

/// The bytes that follow the log id, in the store and on the wire alike.
fn payload_to_bytes(payload: EntryPayload<Proposal, u64, Member>) -> Bytes {
    let payload = match payload {
        EntryPayload::Normal(proposal) => return proposal.framed(),
        EntryPayload::Blank => pb::entry_payload::Payload::Blank(pb::Blank {}),
        EntryPayload::Membership(membership) => {
            pb::entry_payload::Payload::Membership(membership_to_wire(&membership))
        }
    };
    pb::EntryPayload { payload: Some(payload) }.encode_to_vec().into()
}

fn entry(log_id: LogId, bytes: Bytes) -> Converted<Entry> {
    let decoded = pb::EntryPayload::decode(bytes.clone())
        .map_err(|source| MalformedMessage::Payload { index: log_id.index, source })?;
    let index = log_id.index;
    let payload = match decoded.payload.ok_or(MalformedMessage::UnknownPayload { index })? {
        pb::entry_payload::Payload::Blank(_) => EntryPayload::Blank,
        pb::entry_payload::Payload::Command(command) => {
            EntryPayload::Normal(Proposal::from_framed(bytes, vec![command]))
        }
        pb::entry_payload::Payload::Group(group) if group.commands.is_empty() => {
            return Err(MalformedMessage::Missing { message: "log entry", field: "command" });
        }
        pb::entry_payload::Payload::Group(group) => {
            EntryPayload::Normal(Proposal::from_framed(bytes, group.commands))
        }
        pb::entry_payload::Payload::Membership(from) => EntryPayload::Membership(membership(from)?),
    };
    Ok(Entry { log_id, payload })
}

pub(super) fn entry_from_store(from: store::LogEntry) -> Converted<Entry> {
    entry(log_id_from_store(from.id), from.payload)
}

pub(super) fn entry_to_store(entry: Entry) -> store::LogEntry {
    store::LogEntry { id: log_id_to_store(&entry.log_id), payload: payload_to_bytes(entry.payload) }
}

fn entry_from_wire(from: pb::Entry) -> Converted<Entry> {
    entry(log_id(required(from.log_id, "log entry", "log id")?), from.payload)
}

fn entry_to_wire(entry: Entry) -> pb::Entry {
    pb::Entry { log_id: Some(log_id_to_wire(&entry.log_id)), payload: payload_to_bytes(entry.payload) }
}

// ---- requests and responses

pub(super) fn append_request(from: pb::AppendRequest) -> Converted<AppendEntriesRequest<TypeConfig>> {
    Ok(AppendEntriesRequest {
        vote: vote(from.vote, "append request")?,
        prev_log_id: from.prev_log_id.map(log_id),
        entries: from.entries.into_iter().map(entry_from_wire).collect::<Converted<_>>()?,
        leader_commit: from.leader_commit.map(log_id),
    })
}

pub(super) fn append_request_to_wire(request: AppendEntriesRequest<TypeConfig>) -> pb::AppendRequest {
    pb::AppendRequest {
        vote: Some(vote_to_wire(&request.vote)),
        prev_log_id: request.prev_log_id.as_ref().map(log_id_to_wire),
        entries: request.entries.into_iter().map(entry_to_wire).collect(),
        leader_commit: request.leader_commit.as_ref().map(log_id_to_wire),
    }
}

pub(super) fn append_result(from: pb::AppendResponse) -> Converted<StreamAppendResult<TypeConfig>> {
    use pb::append_response::Result as Wire;
    Ok(match required(from.result, "append response", "result")? {
        Wire::Matched(id) => Ok(Some(log_id(id))),
        Wire::MatchedNone(_) => Ok(None),
        Wire::Conflict(id) => Err(StreamAppendError::Conflict(log_id(id))),
        Wire::HigherVote(higher) => {
            Err(StreamAppendError::HigherVote(make_vote(higher.term, higher.node, higher.committed)))
        }
    })
}

pub(super) fn append_result_to_wire(result: StreamAppendResult<TypeConfig>) -> pb::AppendResponse {
    use pb::append_response::Result as Wire;
    let result = match result {
        Ok(Some(id)) => Wire::Matched(log_id_to_wire(&id)),
        Ok(None) => Wire::MatchedNone(pb::Blank {}),
        Err(StreamAppendError::Conflict(id)) => Wire::Conflict(log_id_to_wire(&id)),
        Err(StreamAppendError::HigherVote(vote)) => Wire::HigherVote(vote_to_wire(&vote)),
    };
    pb::AppendResponse { result: Some(result) }
}

pub(super) fn vote_request(from: pb::VoteRequest) -> Converted<VoteRequest<TypeConfig>> {
    let mut request = VoteRequest::new(vote(from.vote, "vote request")?, from.last_log_id.map(log_id));
    request.leadership_transfer = from.leadership_transfer;
    Ok(request)
}

pub(super) fn vote_request_to_wire(request: &VoteRequest<TypeConfig>) -> pb::VoteRequest {
    pb::VoteRequest {
        vote: Some(vote_to_wire(&request.vote)),
        last_log_id: request.last_log_id.as_ref().map(log_id_to_wire),
        leadership_transfer: request.leadership_transfer,
    }
}

pub(super) fn vote_response(from: pb::VoteResponse) -> Converted<VoteResponse<TypeConfig>> {
    let vote = vote(from.vote, "vote response")?;
    Ok(VoteResponse::new(vote, from.last_log_id.map(log_id), from.granted))
}

pub(super) fn vote_response_to_wire(response: &VoteResponse<TypeConfig>) -> pb::VoteResponse {
    pb::VoteResponse {
        vote: Some(vote_to_wire(&response.vote)),
        granted: response.vote_granted,
        last_log_id: response.last_log_id.as_ref().map(log_id_to_wire),
    }
}

pub(super) fn transfer_request(from: pb::TransferRequest) -> Converted<TransferLeaderRequest<TypeConfig>> {
    let vote = vote(from.from, "transfer request")?;
    Ok(TransferLeaderRequest::new(vote, from.to, from.last_log_id.map(log_id)))
}

pub(super) fn transfer_request_to_wire(request: &TransferLeaderRequest<TypeConfig>) -> pb::TransferRequest {
    pb::TransferRequest {
        from: Some(vote_to_wire(request.from_leader())),
        to: *request.to_node_id(),
        last_log_id: request.last_log_id().map(log_id_to_wire),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn check_entry(payload: EntryPayload<Proposal, u64, Member>) {
        let entry = Entry { log_id: log_id(pb::LogId { term: 3, node: 2, index: 7 }), payload };
        assert_eq!(entry_from_store(entry_to_store(entry.clone())).unwrap(), entry);
        assert_eq!(entry_from_wire(entry_to_wire(entry.clone())).unwrap(), entry);
    }

    #[test]
    fn entries_survive_store_and_wire() {
        let member = |name: &str| Member {
            api_address: format!("{name}:1"),
            peer_address: format!("{name}:2"),
            incarnation: format!("{name}-life"),
        };
        let members = BTreeMap::from([(1, member("a")), (2, member("b")), (9, member("learner"))]);
        let configs = vec![BTreeSet::from([1]), BTreeSet::from([1, 2])];
        check_entry(EntryPayload::Blank);
        check_entry(EntryPayload::Normal(Proposal::new(Bytes::from_static(b"a command"))));
        check_entry(EntryPayload::Normal(Proposal::new(Bytes::new())));
        let sizes = [3, 0, 1000, 20_000, 5];
        let group = sizes.map(|size| Bytes::from(vec![size as u8; size]));
        let group = Proposal::of_group(group.into());
        assert_eq!(group.commands().iter().map(Bytes::len).collect::<Vec<_>>(), sizes);
        check_entry(EntryPayload::Normal(group));
        check_entry(EntryPayload::Membership(Membership::new(configs, members).unwrap()));
    }

    #[test]
    fn a_proposal_shares_one_buffer() {
        let commands = vec![Bytes::from(vec![7; 1000]), Bytes::from(vec![8; 10])];
        for proposal in [Proposal::new(commands[0].clone()), Proposal::of_group(commands.clone())] {
            assert_eq!(proposal.commands(), &commands[..proposal.commands().len()]);
            for command in proposal.commands() {
                assert!(proposal.framed().as_ptr_range().contains(&command.as_ptr()));
            }
        }
    }

    /// What nodes of feature level 5 write and read for ever (CODEC-3).
    #[test]
    fn a_group_is_stored_as_it_was_and_one_command_as_ever() {
        let commands =
            |commands: &[&'static [u8]]| commands.iter().copied().map(Bytes::from_static).collect();
        assert_eq!(Proposal::of_group(commands(&[b"a"])).framed().as_ref(), b"\x12\x01a");
        let group = Proposal::of_group(commands(&[b"a", b"", b"bc"]));
        assert_eq!(group.framed().as_ref(), b"\x22\x09\x0a\x01a\x0a\x00\x0a\x02bc");
    }

    #[test]
    fn nonsense_is_an_error() {
        let id = pb::LogId { term: 1, node: 1, index: 1 };
        let unknown = pb::Entry { log_id: Some(id), payload: Bytes::from_static(b"\x2a\x01a") };
        let refused = entry_from_wire(unknown);
        assert!(matches!(refused, Err(MalformedMessage::UnknownPayload { index: 1 })), "{refused:?}");
        for payload in [&b""[..], b"\xff\xff\xff", b"\x0a\xff", b"\x22\x00"] {
            let entry = pb::Entry { log_id: Some(id), payload: Bytes::copy_from_slice(payload) };
            assert!(entry_from_wire(entry).is_err());
        }
        assert!(append_request(pb::AppendRequest::default()).is_err());
        assert!(vote_response(pb::VoteResponse::default()).is_err());
        assert!(append_result(pb::AppendResponse::default()).is_err());
        let stranger = pb::Membership { configs: vec![pb::Voters { ids: vec![5] }], ..Default::default() };
        assert!(membership(stranger).is_err());
    }
}
