//! Keeps small commits apart.
//!
//! A commit costs the same whether it carries one run or a hundred: a sync on each node, messages, wake-ups. At a few hundred
//! runs a second, evenly, each would be a commit of its own, and a cluster busy with nothing else.
//!
//! - PACE-1: what comes after a quiet spell is committed at once.
//! - PACE-2: what follows a small commit waits, together, until the time apart is over; a large one is followed at once.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// Least time from the begin of a small commit of fires to the next one.
pub(super) const FIRES_APART: Duration = Duration::from_millis(10);

/// The same of begins: less than between fires, so that the begins of one fire never wait for those of the one before.
pub(super) const BEGINS_APART: Duration = Duration::from_millis(5);

/// The same of completions.
pub(super) const COMPLETIONS_APART: Duration = Duration::from_millis(10);

/// A commit of so many is large: it has paid for itself, and more may be behind it.
const LARGE: usize = 128;

/// One commit, from before it is proposed.
pub(super) struct Commit {
    next_at: Instant,
}

impl Commit {
    pub(super) fn begin(apart: Duration) -> Self {
        Self { next_at: Instant::now() + apart }
    }

    /// Waits until the next one may begin, after this one carried `size` items.
    pub(super) async fn rest(self, size: usize) {
        if size < LARGE {
            sleep_until(self.next_at).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const APART: Duration = Duration::from_millis(10);

    #[tokio::test(start_paused = true)]
    async fn small_commits_begin_apart_and_large_ones_do_not_wait() {
        let start = Instant::now();
        Commit::begin(APART).rest(1).await;
        assert_eq!(start.elapsed(), APART);
        Commit::begin(APART).rest(LARGE).await;
        assert_eq!(start.elapsed(), APART);
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_after_a_quiet_spell_does_not_wait() {
        let commit = Commit::begin(APART);
        tokio::time::sleep(2 * APART).await;
        let asked_at = Instant::now();
        commit.rest(1).await;
        assert_eq!(asked_at.elapsed(), Duration::ZERO);
    }
}
