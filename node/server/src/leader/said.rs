//! What executors say of attempts that run: notes of their progress, and that they go on beyond their timeout.
//!
//! Nothing of it is replicated, as keep-alives are not. A new leader begins with none: extensions are in Hello, notes are said
//! again. Notes are for people; an extension only keeps the leader from giving up on an attempt whose executor keeps the time.
//!
//! - SAID-1: only the executor that holds the lease is listened to, so that what is kept is bounded by the leases.
//! - SAID-2: what is said of a lease goes with it, whether it was reported or lost.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use belfry_core::run::{Lease, RunState};
use belfry_core::{FencingToken, RunId, State};

/// Runs of which something is kept; of more nothing is.
const RUNS_MAX: usize = 100_000;

/// The latest word on each run.
#[derive(Debug)]
pub(super) struct Said<T>(Mutex<HashMap<RunId, (FencingToken, T)>>);

impl<T> Default for Said<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Clone> Said<T> {
    /// Keeps the word on an attempt, in place of the former one. The caller has seen its lease.
    pub(super) fn say(&self, run: RunId, token: FencingToken, word: T) {
        let mut said = self.said();
        if said.len() < RUNS_MAX || said.contains_key(&run) {
            said.insert(run, (token, word));
        }
    }

    /// The latest word on an attempt, if there was any.
    pub(super) fn of(&self, run: RunId, token: FencingToken) -> Option<T> {
        let said = self.said();
        said.get(&run).filter(|(of, _)| *of == token).map(|(_, word)| word.clone())
    }

    /// Forgets runs that are over.
    pub(super) fn forget(&self, runs: impl IntoIterator<Item = RunId>) {
        let mut said = self.said();
        if !said.is_empty() {
            runs.into_iter().for_each(|run| drop(said.remove(&run)));
        }
    }

    /// Forgets what was said of leases that are no more (SAID-2).
    pub(super) fn keep_held(&self, state: &State) {
        self.said().retain(|run, (token, _)| lease_of(state, *run, *token).is_some());
    }

    fn said(&self) -> MutexGuard<'_, HashMap<RunId, (FencingToken, T)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The lease with this token, if it is held.
pub(super) fn lease_of(state: &State, run: RunId, token: FencingToken) -> Option<&Lease> {
    match state.run_state(run) {
        Some(RunState::Running(lease)) if lease.token == token => Some(lease),
        Some(RunState::Running(_) | RunState::Due { .. } | RunState::Ended { .. }) | None => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::leader::expiry::tests::running;

    #[test]
    fn the_latest_word_on_an_attempt_is_kept_until_it_is_over() {
        let said = Said::default();
        let (run, token) = (RunId(1), FencingToken(7));
        said.say(run, token, "1 of 2");
        said.say(run, token, "2 of 2");
        assert_eq!(said.of(run, token), Some("2 of 2"));
        assert_eq!(said.of(run, FencingToken(8)), None, "another attempt");
        said.forget([run]);
        assert_eq!(said.of(run, token), None);
    }

    #[test]
    fn said_2_what_was_said_of_a_lost_lease_is_forgotten() {
        let said = Said::default();
        let (state, run, token) = running();
        said.say(run, token, "half");
        said.say(RunId(77), token, "of no run");
        said.keep_held(&state);
        assert_eq!((said.of(run, token), said.of(RunId(77), token)), (Some("half"), None));
        said.keep_held(&State::default());
        assert_eq!(said.of(run, token), None);
    }
}
