//! What running runs say of their progress. For people: nothing is decided from it, and a new leader begins with none.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use belfry_core::{FencingToken, RunId};

/// Notes kept; as many runs may say something at once, and others say nothing.
const NOTES_MAX: usize = 100_000;

/// The latest note of each run.
#[derive(Debug, Default)]
pub(super) struct Progress(Mutex<HashMap<RunId, (FencingToken, String)>>);

impl Progress {
    pub(super) fn note(&self, run: RunId, token: FencingToken, text: String) {
        let mut notes = self.notes();
        if notes.len() < NOTES_MAX || notes.contains_key(&run) {
            notes.insert(run, (token, text));
        }
    }

    /// The latest note of an attempt, if it said anything.
    pub(super) fn of(&self, run: RunId, token: FencingToken) -> Option<String> {
        let notes = self.notes();
        notes.get(&run).filter(|(of, _)| *of == token).map(|(_, text)| text.clone())
    }

    /// Forgets runs that are over.
    pub(super) fn forget(&self, runs: impl IntoIterator<Item = RunId>) {
        let mut notes = self.notes();
        if !notes.is_empty() {
            runs.into_iter().for_each(|run| drop(notes.remove(&run)));
        }
    }

    fn notes(&self) -> MutexGuard<'_, HashMap<RunId, (FencingToken, String)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_latest_note_of_an_attempt_is_kept_until_it_is_over() {
        let progress = Progress::default();
        let (run, token) = (RunId(1), FencingToken(7));
        progress.note(run, token, "1 of 2".into());
        progress.note(run, token, "2 of 2".into());
        assert_eq!(progress.of(run, token).as_deref(), Some("2 of 2"));
        assert_eq!(progress.of(run, FencingToken(8)), None, "another attempt");
        progress.forget([run]);
        assert_eq!(progress.of(run, token), None);
    }
}
