//! What callers propose at the same time goes into the log together.
//!
//! ```text
//!   propose_together ──► waiting ──► all that wait, at most a group ──► the log: one write, one message to each follower
//!                           ▲                    │
//!                           └── meanwhile the next ones gather
//! ```
//! - PROPOSE-1 a proposal that was taken is answered, or its answer is dropped with the node: then nobody knows what became of it.

use std::future::pending;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use openraft::raft::WriteResult;
use tokio::sync::{mpsc, oneshot};

use super::types::{Proposal, Raft, TypeConfig};

/// Proposals that may wait; beyond it callers queue.
pub(super) const WAITING_MAX: usize = 1024;
/// Proposals of one group: as many as a message to a follower carries.
const GROUP_MAX: usize = 256;

/// A proposal, and where to tell what became of it.
pub(super) struct Waiting {
    pub(super) proposal: Proposal,
    pub(super) answer: oneshot::Sender<WriteResult<TypeConfig>>,
}

/// Hands groups to consensus until it ends.
pub(super) async fn run(raft: Raft, mut waiting: mpsc::Receiver<Waiting>) {
    let mut group = Vec::with_capacity(GROUP_MAX);
    let mut under_way = FuturesUnordered::new();
    loop {
        let answered = async {
            match under_way.next().await {
                Some(()) => (),
                None => pending().await,
            }
        };
        tokio::select! {
            biased;
            () = answered => continue,
            taken = waiting.recv_many(&mut group, GROUP_MAX) => if taken == 0 { return },
        }
        let (proposals, answers): (Vec<_>, Vec<_>) =
            group.drain(..).map(|it: Waiting| (it.proposal, it.answer)).unzip();
        let Ok(mut results) = raft.client_write_many(proposals).await else { continue };
        under_way.push(async move {
            for answer in answers {
                let Some(Ok(result)) = results.next().await else { return };
                // Whoever asked may have gone away.
                let _ = answer.send(result);
            }
        });
    }
}
