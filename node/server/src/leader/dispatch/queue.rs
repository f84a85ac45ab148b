//! Runs that are alike but for priority and age, in the order in which they go.
//!
//! All runs age alike, so who goes before whom never changes while they wait: a run's rank is the instant at which it began
//! to wait, later by [`AGING_STEP`](super::ready::AGING_STEP) for each level below the greatest. No entry is ever touched
//! again. In a storm all have one priority and come in order: then this is a plain queue.

use std::collections::{BTreeSet, VecDeque};

use belfry_core::RunId;
use tokio::time::Instant;

use super::ready::Priority;

/// Room that an empty queue keeps: that of a large storm is given back.
const KEPT_CAPACITY: usize = 1024;

#[derive(Default, Debug)]
pub(super) struct Queue {
    /// The priorities that wait, at most nine; mostly one.
    levels: Vec<Level>,
    len: usize,
}

/// Runs of one priority, older first.
#[derive(Debug)]
struct Level {
    priority: Priority,
    /// Those that came in order.
    in_order: VecDeque<(Instant, RunId)>,
    /// Those that came back, and are older than they would be at the end.
    returned: BTreeSet<(Instant, RunId)>,
}

impl Level {
    fn first(&self) -> Option<(Instant, RunId)> {
        match (self.in_order.front(), self.returned.first()) {
            (Some(one), Some(other)) => Some(*one.min(other)),
            (one, other) => one.or(other).copied(),
        }
    }

    fn pop(&mut self) -> Option<(Instant, RunId)> {
        let first = self.first()?;
        if self.in_order.front() == Some(&first) {
            self.in_order.pop_front();
        } else {
            self.returned.pop_first();
        }
        Some(first)
    }

    fn len(&self) -> usize {
        self.in_order.len() + self.returned.len()
    }
}

impl Queue {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Adds a run that has waited since `since`.
    pub(super) fn push(&mut self, id: RunId, priority: Priority, since: Instant) {
        let at = match self.levels.iter().position(|level| level.priority == priority) {
            Some(at) => at,
            None => {
                self.levels.push(Level { priority, in_order: VecDeque::new(), returned: BTreeSet::new() });
                self.levels.len() - 1
            }
        };
        let level = &mut self.levels[at];
        let entry = (since, id);
        if level.in_order.back().is_none_or(|last| *last < entry) {
            level.in_order.push_back(entry);
        } else {
            level.returned.insert(entry);
        }
        self.len += 1;
    }

    /// The run that goes next and its rank: the earlier, the sooner.
    pub(super) fn first(&self) -> Option<(Instant, RunId)> {
        self.first_level().map(|(_, rank, id)| (rank, id))
    }

    pub(super) fn pop(&mut self) -> Option<RunId> {
        let (at, ..) = self.first_level()?;
        let (_, id) = self.levels[at].pop()?;
        self.len -= 1;
        if self.levels[at].len() == 0 {
            if self.levels.len() > 1 {
                self.levels.swap_remove(at);
            } else if self.levels[at].in_order.capacity() > KEPT_CAPACITY {
                self.levels[at].in_order = VecDeque::new();
            }
        }
        Some(id)
    }

    fn first_level(&self) -> Option<(usize, Instant, RunId)> {
        self.levels
            .iter()
            .enumerate()
            .filter_map(|(at, level)| {
                let (since, id) = level.first()?;
                Some((at, since + level.priority.handicap(), id))
            })
            .min_by_key(|(_, rank, id)| (*rank, *id))
    }

    /// Roughly how many go before a run that is here: those that came back count as older, whatever their age.
    pub(super) fn ahead_of(&self, id: RunId, priority: Priority, since: Instant) -> usize {
        let mine = (since + priority.handicap(), id);
        self.levels
            .iter()
            .map(|level| {
                let handicap = level.priority.handicap();
                let before = level.in_order.partition_point(|(since, id)| (*since + handicap, *id) < mine);
                before + level.returned.len()
            })
            .sum::<usize>()
            .min(self.len.saturating_sub(1))
    }

    /// Forgets these runs; says how many were here.
    pub(super) fn forget(&mut self, dead: &BTreeSet<RunId>) -> usize {
        let before = self.len;
        for level in &mut self.levels {
            level.in_order.retain(|(_, id)| !dead.contains(id));
            level.returned.retain(|(_, id)| !dead.contains(id));
        }
        self.levels.retain(|level| level.len() > 0);
        self.len = self.levels.iter().map(Level::len).sum();
        before - self.len
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::leader::dispatch::ready::AGING_STEP;

    fn drain(queue: &mut Queue) -> Vec<u64> {
        std::iter::from_fn(|| queue.pop()).map(|id| id.0).collect()
    }

    fn priority(level: u8) -> Priority {
        Priority::new(level).unwrap()
    }

    #[test]
    fn the_greater_priority_goes_first_then_the_older() {
        let start = Instant::now();
        let mut queue = Queue::default();
        for (id, level, millis) in [(1, 5, 0), (2, 9, 1), (3, 1, 0), (4, 9, 2), (5, 5, 3)] {
            queue.push(RunId(id), priority(level), start + Duration::from_millis(millis));
        }
        assert_eq!(queue.ahead_of(RunId(5), priority(5), start + Duration::from_millis(3)), 3);
        assert_eq!(drain(&mut queue), [2, 4, 1, 5, 3]);
    }

    #[test]
    fn a_level_is_gained_with_every_step() {
        let start = Instant::now();
        let mut queue = Queue::default();
        queue.push(RunId(1), priority(4), start);
        queue.push(RunId(2), priority(5), start + AGING_STEP - Duration::from_millis(1));
        queue.push(RunId(3), priority(5), start + AGING_STEP + Duration::from_millis(1));
        assert_eq!(drain(&mut queue), [2, 1, 3]);
    }

    #[test]
    fn a_run_that_comes_back_keeps_its_age() {
        let start = Instant::now();
        let mut queue = Queue::default();
        for id in 1..=4 {
            queue.push(RunId(id), Priority::default(), start + Duration::from_secs(id));
        }
        assert_eq!((queue.pop(), queue.pop()), (Some(RunId(1)), Some(RunId(2))));
        queue.push(RunId(2), Priority::default(), start + Duration::from_secs(2));
        assert_eq!(queue.forget(&BTreeSet::from([RunId(3), RunId(9)])), 1);
        assert_eq!(drain(&mut queue), [2, 4]);
        assert_eq!(queue.len(), 0);
    }
}
