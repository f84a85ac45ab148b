//! Faults: what ends this node, said once and clearly.
//!
//! - FAULT-1 the first fault is final; the daemon exits with it rather than let a replica drift.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;

use crate::store::LOST_DATA_ADVICE;

/// Why this node cannot go on.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Fault {
    /// The log, the checkpoint or the state machine failed.
    #[error("{0}")]
    Storage(String),
    /// Consensus panicked: a defect of the program.
    #[error(
        "consensus stopped unexpectedly: {0}; this is a defect of the program, start the node again and report it"
    )]
    Consensus(String),
    /// The folder is new but the cluster remembers this node: acknowledged data was lost.
    #[error(
        "this node's data folder is new (incarnation {found}), but the cluster knows node {node} as incarnation \
         {expected}: what it had acknowledged is lost, so it must not vote again under this id; {LOST_DATA_ADVICE}"
    )]
    Wiped {
        /// This node.
        node: u64,
        /// What the cluster remembers.
        expected: String,
        /// What the folder says.
        found: String,
    },
    /// The members decided to go on without this node.
    #[error(
        "node {node} was removed from the cluster and takes no part in it any more: disable this service; to have the \
         machine back as a member, start it with an empty data folder and a new node.id, and add it with `belfry cluster add`"
    )]
    Removed {
        /// This node.
        node: u64,
    },
}

/// Where faults are raised and awaited. Clones share.
#[derive(Clone, Debug)]
pub(super) struct Faults {
    first: Arc<watch::Sender<Option<Fault>>>,
    /// The node has ended by itself: what still finds its stores closed is no fault.
    ended: Arc<AtomicBool>,
}

impl Faults {
    pub(super) fn new() -> Self {
        Self { first: Arc::new(watch::Sender::new(None)), ended: Arc::default() }
    }

    /// Records what ended the node, unless something else did before (FAULT-1).
    pub(super) fn raise(&self, fault: Fault) {
        if self.ended.load(Ordering::Acquire) {
            tracing::debug!(%fault, "after the end");
            return;
        }
        let raised = self.first.send_if_modified(|first| {
            let fresh = first.is_none();
            if fresh {
                *first = Some(fault.clone());
            }
            fresh
        });
        if raised {
            tracing::error!(%fault, "this node cannot go on");
        }
    }

    /// From here on nothing is a fault any more.
    pub(super) fn end(&self) {
        self.ended.store(true, Ordering::Release);
    }

    /// Reports the cause of a storage error before openraft wraps it: whoever reads the last line of the node's log
    /// should see the disk's words.
    pub(super) fn watch<T>(&self, result: std::io::Result<T>) -> std::io::Result<T> {
        if let Err(error) = &result {
            self.raise(Fault::Storage(error.to_string()));
        }
        result
    }

    /// The first fault, if there was one.
    pub(super) fn get(&self) -> Option<Fault> {
        self.first.borrow().clone()
    }

    /// Waits for the first fault; for ever when there is none.
    pub(super) async fn first(&self) -> Fault {
        let mut first = self.first.subscribe();
        let fault = first.wait_for(Option::is_some).await.expect("the sender lives in self");
        fault.clone().expect("it was just found to be there")
    }
}
