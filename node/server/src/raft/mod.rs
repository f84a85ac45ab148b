//! Consensus: the replicated log that feeds the state machine. The only user of openraft.
//!
//! ```text
//!   propose ─► Replica ─► openraft ─► RaftLog ─► LogPort                 peers: Network ◄── gRPC ──► Peer
//!                            │
//!                            ▼ committed
//!   read ◄──── Shared ◄── Machine ──► Checkpoints ─► CheckpointPort ─► snapshots to followers that are far behind
//! ```
//! `api` and `leader` see only [`Replica`]. openraft's types never leave this folder.
//!
//! Invariants, kept in the modules named by their ids: LOG (`log`), MACHINE (`machine`), CKPT (`checkpoint`), WRITE
//! (`checkpointer`), SNAP (`snapshot`), BACKUP (`backup`), IDENT (`identity`), NET (`network`), BOOT (`bootstrap`), LEAD (`leadership`),
//! MEMBER (`members`),
//! OUTCAST (`outcast`), PROPOSE and GROUP (`proposer`), SILENCE (`silence`), FAULT (`fault`). Together with the store's they give API-1: an acknowledged proposal survives any minority failure,
//! `kill -9` and power loss.

mod backup;
mod bootstrap;
mod changes;
mod checkpoint;
mod checkpointer;
mod config;
mod convert;
mod effects;
mod fault;
mod identity;
mod latency;
mod leadership;
mod log;
mod machine;
mod members;
mod network;
mod node;
mod outcast;
mod proposer;
mod replica;
mod runtime;
mod saving;
mod service;
mod silence;
mod snapshot;
mod status;
#[cfg(test)]
mod tests;
mod types;

use std::fmt;

pub use backup::{Backup, BackupInfo, NewCluster};
pub use changes::{Change, ChangeCursor, ChangeLog, ChangePart, Compacted};
pub use config::{Addresses, ConfigError, RaftConfig};
pub use effects::Effects;
pub use fault::Fault;
pub use identity::IdentityPort;
pub use latency::{LATENCY_BOUNDS_US, LatencyCounts, LatencyHistogram};
pub use leadership::Leadership;
pub use members::{Candidate, Intent, MemberReport, MembershipError, Step};
pub use node::{RaftNode, StartError, Stores, start};
pub use replica::{Prepared, ProposeError, Replica, TOGETHER_MAX, TransferError};
pub use saving::{SavedSnapshot, SavingError};
pub use service::{Peer, PeerService};
pub use status::{MemberStatus, RaftStatus, Role};

/// Identity of a node within its cluster: chosen by whoever runs it, never reused after a lost disk.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct NodeId(pub u64);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// What the replicated membership says of a node.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Member {
    /// host:port of its client API.
    pub api_address: String,
    /// host:port of its node-to-node service.
    pub peer_address: String,
    /// The life of its disk that the cluster knows.
    pub incarnation: String,
}

impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.peer_address)
    }
}
