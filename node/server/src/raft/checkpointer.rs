//! Writes the state behind: when there is something to write, and lets the log be purged behind what is durable.
//!
//! - WRITE-1 the log is purged only up to a durable checkpoint, and its last bytes are kept for followers that were
//!   away for a moment: they get entries instead of a whole snapshot.
//! - WRITE-2 nodes write at different moments: a cluster that pauses at once is a cluster that is late.
//! - WRITE-3 what is brought forward takes a small share of the time, however much changes: a storm changes the same blocks again and
//!   again, and what is written of it while it goes on is written for nothing.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::checkpoint::Checkpoints;
use super::config::RaftConfig;
use super::log::RaftLog;
use super::machine::Shared;
use super::types::{LogId, Raft};

/// Longest wait for one checkpoint before looking around again. It is not given up: there is one at a time.
const CHECKPOINT_TIMEOUT: Duration = Duration::from_secs(60);

/// After a checkpoint none is brought forward for so many times as long as that one took (WRITE-3): a fifth of one core at most is spent
/// on them, which a storm hardly notices. The regular ones do not wait.
const REST: u32 = 4;

pub(super) struct Checkpointer {
    pub(super) raft: Raft,
    pub(super) config: Arc<RaftConfig>,
    pub(super) shared: Arc<Shared>,
    pub(super) checkpoints: Arc<Checkpoints>,
    pub(super) log: RaftLog,
}

impl Checkpointer {
    /// Runs until the core ends. What fails here fails openraft's snapshot, and with it the node.
    pub(super) async fn run(self) {
        let mut rest = Duration::ZERO;
        for round in 0.. {
            let pause = jittered(self.config.checkpoint_every, self.config.node_id.0, round);
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.shared.many_dirty(rest) => {}
            }
            let begun = Instant::now();
            if self.write().await.is_err() || self.purge().await.is_err() {
                return;
            }
            rest = jittered(begun.elapsed() * REST, self.config.node_id.0, round);
        }
    }

    async fn write(&self) -> Result<(), CoreEnded> {
        let applied = self.shared.applied();
        if applied.is_none() || self.checkpoints.head().is_some_and(|head| head.applied == applied) {
            return Ok(());
        }
        self.raft.trigger().snapshot().await.map_err(|_| CoreEnded)?;
        let index = |id: Option<LogId>| id.map(|id| id.index);
        let wait = self.raft.wait(Some(CHECKPOINT_TIMEOUT));
        let written = move |metrics: &openraft::RaftMetrics<_>| index(metrics.snapshot) >= index(applied);
        match wait.metrics(written, "checkpoint written").await {
            Ok(_) => Ok(()),
            Err(openraft::metrics::WaitError::ShuttingDown) => Err(CoreEnded),
            Err(openraft::metrics::WaitError::Timeout(..)) => {
                tracing::warn!("a checkpoint takes longer than {CHECKPOINT_TIMEOUT:?}: the disk is slow");
                Ok(())
            }
        }
    }

    async fn purge(&self) -> Result<(), CoreEnded> {
        let Some(upto) = self.log.purgeable(self.config.log_keep_bytes) else { return Ok(()) };
        // WRITE-1.
        let upto = upto.min(self.checkpoints.index());
        let purged = self.log.port().state().purged.map_or(0, |id| id.index);
        if upto <= purged {
            return Ok(());
        }
        self.raft.trigger().purge_log(upto).await.map_err(|_| CoreEnded)
    }
}

/// openraft has stopped.
struct CoreEnded;

/// `every`, give or take a fifth (WRITE-2). From the node's id and the round, so that a simulation repeats itself.
fn jittered(every: Duration, node: u64, round: u64) -> Duration {
    // SplitMix64's finalizer spreads neighbouring numbers.
    let mut mixed = (node << 32 ^ round).wrapping_add(0x9E37_79B9_7F4A_7C15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    let share = u32::try_from((mixed ^ (mixed >> 31)) % 401).expect("below 401");
    every * (800 + share) / 1000
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_stays_within_a_fifth_and_differs() {
        let every = Duration::from_secs(5);
        let pauses: Vec<_> = (0..100).map(|round| jittered(every, 1, round)).collect();
        assert!(pauses.iter().all(|pause| (Duration::from_secs(4)..=Duration::from_secs(6)).contains(pause)));
        assert!(pauses.windows(2).any(|pair| pair[0] != pair[1]));
        assert_ne!(jittered(every, 1, 0), jittered(every, 2, 0));
    }
}
