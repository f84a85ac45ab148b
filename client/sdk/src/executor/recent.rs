//! A memory of what was started lately.

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasher as _, Hash, Hasher};

use foldhash::{fast, quality};

use super::context::RunName;

/// Attempts remembered: several seconds of the fastest storm, far longer than a stale offer can be under way.
const REMEMBERED_MAX: usize = 65_536;

/// One attempt of one run.
///
/// The name belongs to it: a cluster that was set up anew or restored counts run ids again that this process knows from
/// before, and those are other runs. Its hash stands for it, which keeps the memory small.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Attempt {
    run_id: u64,
    name: u64,
    attempt: u32,
}

impl Attempt {
    pub(super) fn new(run_id: u64, name: &RunName, attempt: u32) -> Self {
        Self { run_id, name: quality::FixedState::default().hash_one(name), attempt }
    }
}

impl Hash for Attempt {
    /// The name is a hash already, and the attempts of a run are few.
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.name ^ self.run_id);
    }
}

/// The attempts started last; the second line of defence of EXEC-1 after the leader's own compare-and-set.
#[derive(Debug, Default)]
pub(super) struct Recent {
    known: HashSet<Attempt, fast::FixedState>,
    order: VecDeque<Attempt>,
}

impl Recent {
    pub(super) fn contains(&self, attempt: &Attempt) -> bool {
        self.known.contains(attempt)
    }

    /// Remembers a start and says whether it is the first of this attempt.
    pub(super) fn insert(&mut self, attempt: Attempt) -> bool {
        if !self.known.insert(attempt) {
            return false;
        }
        self.order.push_back(attempt);
        if self.order.len() > REMEMBERED_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
        true
    }

    /// Forgets a start that turned out to be none. Its place in the order stays taken, which only shortens the memory.
    pub(super) fn remove(&mut self, attempt: &Attempt) {
        self.known.remove(attempt);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn remembers_each_attempt_once_and_forgets_the_oldest() {
        let name = RunName::parse("namespaces/n/schedules/s/runs/r".into()).unwrap();
        let attempt = |run_id, number| Attempt::new(run_id, &name, number);
        let mut recent = Recent::default();
        assert!(recent.insert(attempt(1, 1)));
        assert!(!recent.insert(attempt(1, 1)));
        assert!(recent.insert(attempt(1, 2)));
        for run_id in 0..REMEMBERED_MAX as u64 {
            recent.insert(attempt(run_id + 10, 1));
        }
        assert!(!recent.contains(&attempt(1, 1)) && recent.contains(&attempt(10, 1)));
        assert_eq!(recent.known.len(), recent.order.len());
    }
}
