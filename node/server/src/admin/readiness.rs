//! Whether a node should get traffic.

use std::sync::atomic::{AtomicBool, Ordering};

use thiserror::Error;

use crate::raft::{Leadership, Replica, Role};

/// Committed entries that a node may not have applied yet and still call itself caught up: a storm writes some dozens per
/// second, and a follower that restarts with less than this is level before its executors have dialled.
const BEHIND_MAX: u64 = 1000;

/// Why a node is not ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NotReady {
    /// It was told to stop.
    #[error("this node is stopping")]
    Stopping,
    /// Consensus ended.
    #[error("consensus has ended here: the log of this node says why")]
    Ended,
    /// Nobody leads, or this node does not hear of it.
    #[error("no leader is known: most nodes of the cluster must be up and reach each other")]
    NoLeader,
    /// The state is old.
    #[error("{entries} committed entries are not applied yet")]
    Behind {
        /// How many.
        entries: u64,
    },
}

/// Judges a node by its replica, unless it was told to stop.
#[derive(Debug)]
pub struct Readiness {
    replica: Replica,
    stopping: AtomicBool,
}

impl Readiness {
    /// The readiness of this replica's node.
    pub fn new(replica: Replica) -> Self {
        Self { replica, stopping: AtomicBool::new(false) }
    }

    /// From here on the node is not ready: traffic goes elsewhere while it hands over.
    pub fn stopping(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    /// Goes through only if the node is ready.
    pub fn check(&self) -> Result<(), NotReady> {
        if self.stopping.load(Ordering::Acquire) {
            return Err(NotReady::Stopping);
        }
        let status = self.replica.status();
        if status.role == Role::Stopped {
            return Err(NotReady::Ended);
        }
        let leader_known = match &*self.replica.leadership().borrow() {
            Leadership::Leader { .. } => true,
            Leadership::Follower { leader } => leader.is_some(),
        };
        if !leader_known {
            return Err(NotReady::NoLeader);
        }
        match status.committed_index.saturating_sub(status.applied_index) {
            entries if entries > BEHIND_MAX => Err(NotReady::Behind { entries }),
            _ => Ok(()),
        }
    }
}
