//! What a run says of its progress, and when that is passed on.
//!
//! - NOTE-1: the latest note wins: one that was not passed on when the next one comes never is.
//! - NOTE-2: saying something never waits, and what is kept is one line per run.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use super::line::one_line;

/// Limit of a note in the contract.
const NOTE_BYTES_MAX: usize = 256;
/// The notes of all runs are passed on at most this often: people do not read faster.
const NOTES_PERIOD: Duration = Duration::from_secs(1);

/// The note of one run.
#[derive(Debug)]
pub(super) struct Note {
    latest: Mutex<Latest>,
    noted: Arc<Notify>,
}

#[derive(Debug, Default)]
struct Latest {
    text: Option<String>,
    is_new: bool,
}

impl Note {
    /// An empty note. Whoever passes notes on waits for `noted`.
    pub(super) fn new(noted: Arc<Notify>) -> Self {
        Self { latest: Mutex::default(), noted }
    }

    pub(super) fn write(&self, text: &str) {
        let text = one_line(text, NOTE_BYTES_MAX);
        let mut latest = self.lock();
        if latest.text.as_ref() != Some(&text) {
            *latest = Latest { text: Some(text), is_new: true };
            self.noted.notify_one();
        }
    }

    pub(super) fn text(&self) -> Option<String> {
        self.lock().text.clone()
    }

    pub(super) fn is_new(&self) -> bool {
        self.lock().is_new
    }

    /// The text, unless it was taken already.
    pub(super) fn take_new(&self) -> Option<String> {
        let mut latest = self.lock();
        if std::mem::take(&mut latest.is_new) { latest.text.clone() } else { None }
    }

    /// Makes the text new again, for somebody who has not heard it.
    pub(super) fn renew(&self) {
        let mut latest = self.lock();
        latest.is_new = latest.text.is_some();
    }

    fn lock(&self) -> MutexGuard<'_, Latest> {
        // A note is valid after every operation, so a panic elsewhere does not spoil it.
        self.latest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// When notes are passed on: the first one at once, later ones together and a second after the former.
#[derive(Debug, Default)]
pub(super) struct Pace {
    due_at: Option<Instant>,
    not_before: Option<Instant>,
}

impl Pace {
    /// Something was noted.
    pub(super) fn noted(&mut self, now: Instant) {
        self.due_at = self.due_at.or(Some(self.not_before.map_or(now, |at| at.max(now))));
    }

    /// When notes are to be passed on; none while there are none.
    pub(super) fn due_at(&self) -> Option<Instant> {
        self.due_at
    }

    /// They are passed on now.
    pub(super) fn passed_on(&mut self, now: Instant) {
        *self = Self { due_at: None, not_before: Some(now + NOTES_PERIOD) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note() -> Note {
        Note::new(Arc::default())
    }

    #[test]
    fn note_1_the_latest_wins_and_is_new_once() {
        let note = note();
        assert_eq!((note.take_new(), note.text()), (None, None));
        note.write("1 of 100");
        note.write("42 of 100");
        assert_eq!(note.take_new().as_deref(), Some("42 of 100"));
        note.write("42 of 100");
        assert!(note.take_new().is_none(), "the same again is no news");
        note.renew();
        assert_eq!(note.take_new().as_deref(), Some("42 of 100"));
    }

    #[test]
    fn note_2_a_note_is_one_line_within_its_limit() {
        let note = note();
        note.write(&format!("{}\n", "x".repeat(1 << 20)));
        assert_eq!(note.text().unwrap(), "x".repeat(253) + "…");
        note.write("two\nlines\n");
        assert_eq!(note.text().unwrap(), "two lines");
    }

    #[test]
    fn passes_on_at_once_after_a_quiet_second_and_else_once_a_second() {
        let start = Instant::now();
        let at = |millis| start + Duration::from_millis(millis);
        let mut pace = Pace::default();
        assert_eq!(pace.due_at(), None);
        pace.noted(at(0));
        assert_eq!(pace.due_at(), Some(at(0)));
        pace.passed_on(at(0));
        assert_eq!(pace.due_at(), None);
        for millis in [1, 500, 999] {
            pace.noted(at(millis));
            assert_eq!(pace.due_at(), Some(at(1000)));
        }
        pace.passed_on(at(1010));
        pace.noted(at(5000));
        assert_eq!(pace.due_at(), Some(at(5000)));
    }
}
