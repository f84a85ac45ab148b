//! What the state machine wants offered, collected while this node leads.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use belfry_core::{Effect, RunId};
use tokio::sync::Notify;

/// Runs that became ready, in the order they were applied. One reader: the dispatcher of a leader.
#[derive(Debug, Default)]
pub struct Offers {
    collecting: AtomicBool,
    runs: Mutex<Vec<RunId>>,
    ready: Notify,
}

impl Offers {
    /// Begins to collect, with nothing collected. Call it before scanning `State::ready`: what becomes ready during
    /// the scan is then found twice rather than never.
    pub fn start(&self) {
        let mut runs = self.lock();
        runs.clear();
        self.collecting.store(true, Ordering::Release);
    }

    /// Stops collecting and forgets what was collected.
    pub fn stop(&self) {
        let mut runs = self.lock();
        self.collecting.store(false, Ordering::Release);
        runs.clear();
    }

    /// Everything collected since the last call; waits until there is something. Nothing is lost when the call is
    /// dropped before it returns.
    pub async fn take(&self) -> Vec<RunId> {
        loop {
            let ready = self.ready.notified();
            let runs = std::mem::take(&mut *self.lock());
            if !runs.is_empty() {
                return runs;
            }
            ready.await;
        }
    }

    pub(super) fn push(&self, effects: &[Effect]) {
        if effects.is_empty() || !self.collecting.load(Ordering::Acquire) {
            return;
        }
        let mut runs = self.lock();
        if !self.collecting.load(Ordering::Acquire) {
            return;
        }
        runs.extend(effects.iter().map(|effect| match effect {
            Effect::Offer(run) => *run,
        }));
        drop(runs);
        self.ready.notify_one();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<RunId>> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_what_came_while_collecting_is_taken() {
        let offers = Offers::default();
        offers.push(&[Effect::Offer(RunId(1))]);
        offers.start();
        offers.push(&[Effect::Offer(RunId(2)), Effect::Offer(RunId(3))]);
        assert_eq!(offers.take().await, [RunId(2), RunId(3)]);
        offers.push(&[Effect::Offer(RunId(4))]);
        offers.stop();
        offers.start();
        offers.push(&[Effect::Offer(RunId(5))]);
        assert_eq!(offers.take().await, [RunId(5)]);
    }
}
