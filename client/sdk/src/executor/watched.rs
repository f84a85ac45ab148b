//! A value that one task waits for changes of.
//!
//! `tokio::sync::watch` serves any number of receivers; made for every attempt and hardly ever waited for, its eight lists of
//! waiters cost a tenth of what an executor does for a run.
//!
//! - WATCHED-1: a change that is told of wakes the task that waits, or is found by the next wait; one task waits at a time.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::Notify;

/// The value, and whoever waits for it.
#[derive(Debug)]
pub(super) struct Watched<T> {
    value: Mutex<T>,
    changed: Notify,
}

impl<T> Watched<T> {
    /// The value as it is at first; nobody is told of it.
    pub(super) fn new(value: T) -> Self {
        Self { value: Mutex::new(value), changed: Notify::new() }
    }

    /// The value. Nobody changes it while this is held.
    pub(super) fn lock(&self) -> MutexGuard<'_, T> {
        // Every change is a single step, so a panic elsewhere does not spoil it.
        self.value.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the value; whoever waits is woken if `change` says so.
    pub(super) fn change(&self, change: impl FnOnce(&mut T) -> bool) -> bool {
        let tells = change(&mut self.lock());
        if tells {
            self.changed.notify_one();
        }
        tells
    }

    /// Completes when somebody was told of a change since this was awaited last (WATCHED-1).
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn watched_1_a_change_wakes_whoever_waits_also_when_it_comes_before() {
        let (watched, seconds) = (std::sync::Arc::new(Watched::new(0)), std::time::Duration::from_secs);
        let waits = || tokio::time::timeout(seconds(1), watched.changed());
        assert!(waits().await.is_err());
        watched.change(|value| {
            *value = 1;
            false
        });
        assert!(waits().await.is_err(), "a change of which nobody is told");
        watched.change(|value| {
            *value = 2;
            true
        });
        assert!(waits().await.is_ok() && waits().await.is_err());
        let waiting = tokio::spawn({
            let watched = watched.clone();
            async move { watched.changed().await }
        });
        tokio::task::yield_now().await;
        watched.change(|_| true);
        waiting.await.unwrap();
        assert_eq!(*watched.lock(), 2);
    }
}
