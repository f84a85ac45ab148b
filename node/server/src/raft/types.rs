//! The types that openraft is built over, and short names for its own.

use std::fmt;

use belfry_core::Applied;
use belfry_proto::internal as pb;
use bytes::Bytes;
use openraft::alias;
use prost::Message as _;

use super::Member;

openraft::declare_raft_types!(
    /// Belfry's choice of types for openraft.
    pub(super) TypeConfig:
        D = Proposal,
        R = Option<Applied>,
        NodeId = u64,
        Node = Member,
        AsyncRuntime = super::runtime::Runtime,
);

pub(super) type Raft = openraft::Raft<TypeConfig, super::machine::Machine>;
pub(super) type Entry = alias::EntryOf<TypeConfig>;
pub(super) type LogId = alias::LogIdOf<TypeConfig>;
pub(super) type LeaderId = alias::LeaderIdOf<TypeConfig>;
pub(super) type Vote = alias::VoteOf<TypeConfig>;
pub(super) type Membership = openraft::Membership<u64, Member>;
pub(super) type StoredMembership = alias::StoredMembershipOf<TypeConfig>;
pub(super) type SnapshotMeta = alias::SnapshotMetaOf<TypeConfig>;
pub(super) type Snapshot = alias::SnapshotOf<TypeConfig, super::snapshot::SnapshotData>;
pub(super) type RpcError = openraft::errors::RPCError<TypeConfig>;

/// A command as it is stored and sent: encoded once by its proposer, shared from there on.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Proposal {
    /// The encoded `EntryPayload`.
    framed: Bytes,
    /// The encoded command: a part of `framed`.
    command: Bytes,
}

impl Proposal {
    /// Frames an encoded command.
    pub(super) fn new(command: Bytes) -> Self {
        let bytes = command.len();
        let payload = pb::EntryPayload { payload: Some(pb::entry_payload::Payload::Command(command)) };
        let framed = Bytes::from(payload.encode_to_vec());
        // The command is the last field of its message.
        let command = framed.slice(framed.len() - bytes..);
        Self { framed, command }
    }

    /// One that was framed before: `command` as decoded from `framed`.
    pub(super) fn from_framed(framed: Bytes, command: Bytes) -> Self {
        Self { framed, command }
    }

    pub(super) fn framed(&self) -> Bytes {
        self.framed.clone()
    }

    pub(super) fn command(&self) -> &Bytes {
        &self.command
    }
}

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "command of {} bytes", self.command.len())
    }
}

impl fmt::Debug for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
