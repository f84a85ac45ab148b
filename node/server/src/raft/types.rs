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
        R = Vec<Applied>,
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

/// The commands of one entry as they are stored and sent: encoded once by who proposed each, shared from there on.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Proposal {
    /// The encoded `EntryPayload`.
    framed: Bytes,
    /// The encoded commands, at least one: parts of `framed`.
    commands: Vec<Bytes>,
}

impl Proposal {
    /// Frames an encoded command.
    pub(super) fn new(command: Bytes) -> Self {
        let bytes = command.len();
        let framed = frame(pb::entry_payload::Payload::Command(command));
        // The command is the last field of its message.
        let command = framed.slice(framed.len() - bytes..);
        Self { framed, commands: vec![command] }
    }

    /// Frames encoded commands that are to be applied one after the other (GROUP-1, GROUP-2).
    pub(super) fn of_group(mut commands: Vec<Bytes>) -> Self {
        assert!(!commands.is_empty(), "an entry has at least one command");
        if commands.len() == 1 {
            return Self::new(commands.swap_remove(0));
        }
        let sizes: Vec<_> = commands.iter().map(Bytes::len).collect();
        let framed = frame(pb::entry_payload::Payload::Group(pb::CommandGroup { commands }));
        // From the last one back: before each stand its tag, of a byte, and its length.
        let mut end = framed.len();
        let mut commands: Vec<_> = sizes
            .iter()
            .rev()
            .map(|bytes| {
                let command = framed.slice(end - bytes..end);
                end -= bytes + prost::length_delimiter_len(*bytes) + 1;
                command
            })
            .collect();
        commands.reverse();
        Self { framed, commands }
    }

    /// One that was framed before: `commands` as decoded from `framed`.
    pub(super) fn from_framed(framed: Bytes, commands: Vec<Bytes>) -> Self {
        Self { framed, commands }
    }

    pub(super) fn framed(&self) -> Bytes {
        self.framed.clone()
    }

    pub(super) fn commands(&self) -> &[Bytes] {
        &self.commands
    }
}

fn frame(payload: pb::entry_payload::Payload) -> Bytes {
    pb::EntryPayload { payload: Some(payload) }.encode_to_vec().into()
}

impl fmt::Display for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} command(s) of {} bytes", self.commands.len(), self.framed.len())
    }
}

impl fmt::Debug for Proposal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
