//! Whether schedules do what they should, judged on every node from its own replica; and whom the leader tells.
//!
//! ```text
//!   ledger ──► sweep ──► Board ──► metrics, GET /liveness          (every node)
//!                          └─► events ─┐
//!   ring of changes ──► events ────────┴─► webhooks                (the leader)
//!   ledger complete, quorum answers ─────► ping                    (the leader)
//! ```
//! - LIVE-1: a sweep holds the lock for a bounded slice of the schedules and goes round; it never waits for anybody.
//! - LIVE-2: nothing here keeps the cluster from working: what cannot be told is dropped, counted and logged.
//! - LIVE-3: only the leader tells and pings.

mod board;
mod events;
mod http;
mod ping;
mod webhooks;

pub use board::{Board, Namespaces};
pub use events::EVENT_KINDS;
pub use webhooks::{SecretError, Webhooks};

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use self::board::Transition;
use crate::clock::SharedClock;
use crate::metrics::Metrics;
use crate::raft::{Leadership, Replica};

/// Rest between two slices of a round: with 2048 schedules each, 100 000 schedules are judged in 2.5 seconds, and a million in 25.
const SLICE_PERIOD: Duration = Duration::from_millis(50);

/// Shortest time from the start of a round to the next.
const ROUND_PERIOD: Duration = Duration::from_secs(5);

/// What is told of changes of the board and not looked at yet; more are dropped (LIVE-2).
const TRANSITIONS_MAX: usize = 4096;

/// What the tasks of this folder work with.
#[derive(Clone)]
pub struct Parts {
    /// Read.
    pub replica: Replica,
    /// For what is late.
    pub clock: SharedClock,
    /// Counts what was told.
    pub metrics: Metrics,
    /// Filled by the sweep.
    pub board: Board,
}

impl std::fmt::Debug for Parts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Parts")
    }
}

impl Parts {
    fn leads(&self) -> bool {
        matches!(&*self.replica.leadership().borrow(), Leadership::Leader { .. })
    }
}

/// Judges, tells and pings until `stop`.
pub async fn run(parts: Parts, webhooks: Webhooks, config: crate::config::Liveness, stop: CancellationToken) {
    let (told, transitions) = mpsc::channel(TRANSITIONS_MAX);
    let parts = Arc::new(parts);
    let work = async {
        tokio::join!(
            sweep(parts.clone(), told),
            webhooks.run(parts.clone(), transitions),
            ping::run(parts.clone(), config),
        )
    };
    // Nothing is kept that a new leader would not find out by itself.
    stop.run_until_cancelled(Box::pin(work)).await;
}

async fn sweep(parts: Arc<Parts>, told: mpsc::Sender<Transition>) {
    loop {
        let round_at = tokio::time::Instant::now();
        let mut from = Default::default();
        loop {
            let now = parts.clock.now();
            let slice = parts.replica.read(|state| board::judge_slice(state, from, now));
            for transition in parts.board.take(&slice, now) {
                if told.try_send(transition).is_err() {
                    parts.metrics.count_webhooks("dropped", 1);
                }
            }
            match slice.next {
                Some(next) => from = next,
                None => break,
            }
            tokio::time::sleep(SLICE_PERIOD).await;
        }
        parts.board.round_ended(parts.clock.now());
        tokio::time::sleep_until(round_at + ROUND_PERIOD).await;
    }
}
