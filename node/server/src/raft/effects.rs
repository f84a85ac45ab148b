//! What the state machine wants done, collected while this node leads.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use belfry_core::Effect;
use tokio::sync::Notify;

/// Effects in the order they were applied. One reader: the dispatcher of a leader.
#[derive(Debug, Default)]
pub struct Effects {
    collecting: AtomicBool,
    effects: Mutex<Vec<Effect>>,
    ready: Notify,
}

impl Effects {
    /// Begins to collect, with nothing collected. Call it before scanning `State::ready`: what becomes ready during
    /// the scan is then found twice rather than never.
    pub fn start(&self) {
        let mut effects = self.lock();
        effects.clear();
        self.collecting.store(true, Ordering::Release);
    }

    /// Stops collecting and forgets what was collected.
    pub fn stop(&self) {
        let mut effects = self.lock();
        self.collecting.store(false, Ordering::Release);
        effects.clear();
    }

    /// Everything collected since the last call; waits until there is something. Nothing is lost when the call is
    /// dropped before it returns.
    pub async fn take(&self) -> Vec<Effect> {
        loop {
            let ready = self.ready.notified();
            let effects = std::mem::take(&mut *self.lock());
            if !effects.is_empty() {
                return effects;
            }
            ready.await;
        }
    }

    pub(super) fn push(&self, effects: &[Effect]) {
        if effects.is_empty() || !self.collecting.load(Ordering::Acquire) {
            return;
        }
        let mut collected = self.lock();
        if !self.collecting.load(Ordering::Acquire) {
            return;
        }
        collected.extend(effects);
        drop(collected);
        self.ready.notify_one();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Effect>> {
        self.effects.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use belfry_core::RunId;

    use super::*;

    #[tokio::test]
    async fn only_what_came_while_collecting_is_taken() {
        let offer = |run| Effect::Offer(RunId(run));
        let effects = Effects::default();
        effects.push(&[offer(1)]);
        effects.start();
        effects.push(&[offer(2), Effect::Cancel(RunId(3))]);
        assert_eq!(effects.take().await, [offer(2), Effect::Cancel(RunId(3))]);
        effects.push(&[offer(4)]);
        effects.stop();
        effects.start();
        effects.push(&[offer(5)]);
        assert_eq!(effects.take().await, [offer(5)]);
    }
}
