//! Who has not been heard of for so long that it does not count any more: the leader for a follower, a member for the
//! leader.
//!
//! - SILENCE-1 a follower knows a leader only while that one calls. openraft alone remembers a leader until a vote
//!   replaces it, and a node that is cut off asks only for pre-votes: it would name the same leader for ever.
//! - SILENCE-2 a member that falls silent is said once, and once more when it is back.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::config::RaftConfig;

/// Election timeouts without a word after which somebody is silent. The others have elected after one or two; a machine
/// that is only busy has caught its breath by then.
const ELECTION_TIMEOUTS: u32 = 3;

/// How long somebody may say nothing.
pub(super) fn bound(config: &RaftConfig) -> Duration {
    config.election_timeout_max * ELECTION_TIMEOUTS
}

/// When a leader last called this node. Clones share.
#[derive(Clone, Default, Debug)]
pub(super) struct Heard(Arc<Mutex<Option<(u64, Instant)>>>);

impl Heard {
    /// The leader of `term` called just now. A leader of an older term is none any more.
    pub(super) fn note(&self, term: u64) {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_none_or(|(newest, _)| newest <= term) {
            *last = Some((term, Instant::now()));
        }
    }

    /// Whether the leader of `term` called within `bound` (SILENCE-1).
    pub(super) fn within(&self, term: u64, bound: Duration) -> bool {
        let last = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        last.is_some_and(|(of, at)| of == term && at.elapsed() <= bound)
    }
}

/// Which members this node does not hear while it leads (SILENCE-2).
#[derive(Default, Debug)]
pub(super) struct SilentMembers {
    silent: BTreeSet<u64>,
    leads_since: Option<Instant>,
}

/// What changed since the last look.
#[derive(PartialEq, Eq, Debug)]
pub(super) struct Changes {
    pub(super) fell_silent: Vec<u64>,
    pub(super) came_back: Vec<u64>,
}

impl SilentMembers {
    /// Takes in how long ago each of the others answered; one that never did is silent for as long as this node leads.
    pub(super) fn update(
        &mut self,
        answered: impl Iterator<Item = (u64, Option<Duration>)>,
        bound: Duration,
    ) -> Changes {
        let leads_since = *self.leads_since.get_or_insert_with(Instant::now);
        let is_silent = |ago: Option<Duration>| ago.unwrap_or_else(|| leads_since.elapsed()) > bound;
        let now: BTreeSet<u64> = answered.filter(|(_, ago)| is_silent(*ago)).map(|(id, _)| id).collect();
        let changes = Changes {
            fell_silent: now.difference(&self.silent).copied().collect(),
            came_back: self.silent.difference(&now).copied().collect(),
        };
        self.silent = now;
        changes
    }

    /// This node stopped leading: how the others are is another's to say.
    pub(super) fn forget(&mut self) {
        *self = Self::default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_newest_leader_is_heard() {
        let heard = Heard::default();
        assert!(!heard.within(1, Duration::MAX));
        heard.note(1);
        assert!(heard.within(1, Duration::MAX));
        heard.note(2);
        heard.note(1);
        assert!(heard.within(2, Duration::MAX) && !heard.within(1, Duration::MAX));
    }

    #[test]
    fn silence_is_said_once() {
        const LONG: Duration = Duration::from_secs(3);
        const SHORT: Duration = Duration::from_secs(1);
        let mut silent = SilentMembers::default();
        let mut check = |answered: [Option<Duration>; 2], fell_silent: &[u64], came_back: &[u64]| {
            let changes = silent.update((2..).zip(answered), Duration::from_secs(2));
            let expected = Changes { fell_silent: fell_silent.to_vec(), came_back: came_back.to_vec() };
            assert_eq!(changes, expected);
        };
        check([None, None], &[], &[]);
        check([Some(LONG), Some(LONG)], &[2, 3], &[]);
        check([Some(LONG), Some(LONG)], &[], &[]);
        check([Some(SHORT), Some(LONG)], &[], &[2]);
        silent.forget();
        assert_eq!(silent.update([(3, Some(SHORT))].into_iter(), LONG).came_back, [0; 0]);
    }
}
