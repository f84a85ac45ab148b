//! Writes the state behind: when there is something to write, and lets the log be purged behind what is durable.
//!
//! - WRITE-1 the log is purged only up to a durable checkpoint, and its last bytes are kept for followers that were
//!   away for a moment: they get entries instead of a whole snapshot.
//! - WRITE-2 nodes write at different moments: a cluster that pauses at once is a cluster that is late.
//! - WRITE-3 what is brought forward takes a small share of the time, however much changes: a storm changes the same blocks again and
//!   again, and what is written of it while it goes on is written for nothing.
//! - WRITE-4 none begins in the midst of a storm, unless that goes on for long or brings much log: most are over within seconds, and what
//!   is late then is late for the sake of a checkpoint that could wait.

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

/// A storm is what brings more log than this in a second: some 30 000 runs, or a thousand schedules changed. (WRITE-4)
const STORM_BYTES_PER_SECOND: u64 = 256 << 10;
/// How long, and for how much log, a checkpoint waits for its end: both are what a node that starts anew has to apply once more. On two
/// cores a million runs are over in so long, and take some ten bytes of log each. A schedule that is created takes a hundred and more:
/// no more than another hundred thousand of them are waited for, as what is written at once lies in memory while it is written.
const STORM_MAX: Duration = Duration::from_secs(15);
const STORM_BYTES_MAX: u64 = 16 << 20;
/// How often it looks, and how often in a row there must be none: a slow disk holds a storm up for a moment.
const STORM_LOOK: Duration = Duration::from_millis(250);
const CALM_LOOKS: u32 = 2;

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
            due(&self.shared, pause, rest).await;
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

/// Until a checkpoint is to begin: after a pause or, after a rest, when much has changed; and in no storm.
async fn due(shared: &Shared, pause: Duration, rest: Duration) {
    tokio::select! {
        () = tokio::time::sleep(pause) => {}
        () = shared.many_dirty(rest) => {}
    }
    calm(|| shared.applied_bytes(), STORM_LOOK.min(pause)).await;
}

/// Until there is no storm, or it has been waited for long enough (WRITE-4). Looks at the bytes that were applied so far.
async fn calm(applied_bytes: impl Fn() -> u64, look: Duration) {
    let (began, bytes) = (Instant::now(), applied_bytes());
    let (mut looked, mut before, mut calm_looks) = (began, bytes, 0);
    while began.elapsed() < STORM_MAX && before - bytes < STORM_BYTES_MAX && calm_looks < CALM_LOOKS {
        tokio::time::sleep(look).await;
        let now = applied_bytes();
        let most = u128::from(STORM_BYTES_PER_SECOND) * looked.elapsed().as_millis() / 1000;
        calm_looks = if u128::from(now - before) < most { calm_looks + 1 } else { 0 };
        (looked, before) = (Instant::now(), now);
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
    use super::super::machine::Replicated;
    use super::super::machine::tests::apply;
    use super::super::tests::create;
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn write_4_a_storm_is_waited_for_but_not_for_ever() {
        // What is applied per second, for how many seconds, and how long that is waited for.
        let storm = STORM_BYTES_PER_SECOND;
        for (rate, lasts, waits) in [
            (storm / 2, 3600, STORM_LOOK * CALM_LOOKS),
            (2 * storm, 3, Duration::from_secs(3) + STORM_LOOK * CALM_LOOKS),
            (2 * storm, 3600, STORM_MAX),
            (STORM_BYTES_MAX / 2, 3600, Duration::from_secs(2)),
        ] {
            let began = Instant::now();
            let applied =
                || rate * u64::try_from(began.elapsed().as_millis()).unwrap().min(lasts * 1000) / 1000;
            calm(applied, STORM_LOOK).await;
            // Timers go by whole milliseconds.
            let late = began.elapsed().saturating_sub(waits);
            assert!(
                began.elapsed() >= waits && late < STORM_LOOK / 2,
                "{rate}/s for {lasts} s: {:?}",
                began.elapsed()
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_checkpoint_is_due_after_the_pause_and_the_storm() {
        let shared = Shared::new(Replicated::default(), usize::MAX);
        let (pause, rest, storm) = (Duration::from_secs(1), Duration::ZERO, Duration::from_secs(5));
        let (step, began) = (Duration::from_millis(10), Instant::now());
        let applied = async {
            let mut index = 0;
            while began.elapsed() < storm {
                tokio::time::sleep(step).await;
                let bytes = shared.applied_bytes();
                while u128::from(shared.applied_bytes() - bytes) * 500
                    < u128::from(STORM_BYTES_PER_SECOND) * step.as_millis()
                {
                    index += 1;
                    apply(&shared, index, &create(&format!("s{index}")));
                }
            }
        };
        tokio::join!(due(&shared, pause, rest), applied);
        let waited = began.elapsed();
        assert!(storm < waited && waited < storm + STORM_LOOK * (CALM_LOOKS + 1), "{waited:?}");
        due(&shared, pause, rest).await;
        assert_eq!(began.elapsed(), waited + pause + STORM_LOOK * CALM_LOOKS);
    }

    #[test]
    fn jitter_stays_within_a_fifth_and_differs() {
        let every = Duration::from_secs(5);
        let pauses: Vec<_> = (0..100).map(|round| jittered(every, 1, round)).collect();
        assert!(pauses.iter().all(|pause| (Duration::from_secs(4)..=Duration::from_secs(6)).contains(pause)));
        assert!(pauses.windows(2).any(|pair| pair[0] != pair[1]));
        assert_ne!(jittered(every, 1, 0), jittered(every, 2, 0));
    }
}
