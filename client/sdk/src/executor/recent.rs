//! A memory of what was started lately.

use std::collections::{HashSet, VecDeque};

/// Attempts remembered: several seconds of the fastest storm, far longer than a stale offer can be under way.
const REMEMBERED_MAX: usize = 65_536;

/// The (run, attempt) pairs started last; the second line of defence of EXEC-1 after the leader's own compare-and-set.
#[derive(Debug, Default)]
pub(super) struct Recent {
    known: HashSet<(u64, u32)>,
    order: VecDeque<(u64, u32)>,
}

impl Recent {
    pub(super) fn contains(&self, run_id: u64, attempt: u32) -> bool {
        self.known.contains(&(run_id, attempt))
    }

    /// Remembers a start and says whether it is the first of this attempt.
    pub(super) fn insert(&mut self, run_id: u64, attempt: u32) -> bool {
        if !self.known.insert((run_id, attempt)) {
            return false;
        }
        self.order.push_back((run_id, attempt));
        if self.order.len() > REMEMBERED_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }

    /// Forgets a start that turned out to be none. Its place in the order stays taken, which only shortens the memory.
    pub(super) fn remove(&mut self, run_id: u64, attempt: u32) {
        self.known.remove(&(run_id, attempt));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_each_attempt_once_and_forgets_the_oldest() {
        let mut recent = Recent::default();
        assert!(recent.insert(1, 1));
        assert!(!recent.insert(1, 1));
        assert!(recent.insert(1, 2));
        for run_id in 0..REMEMBERED_MAX as u64 {
            recent.insert(run_id + 10, 1);
        }
        assert!(!recent.contains(1, 1) && recent.contains(10, 1));
        assert_eq!(recent.known.len(), recent.order.len());
    }
}
