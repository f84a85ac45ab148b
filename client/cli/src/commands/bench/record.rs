//! The executors' own record of what began, and the verdict on it.
//!
//! Handlers write it at their very start, before they do anything else: not the ledger, but what really ran.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use belfry_sdk::executor::RunContext;
use serde::Serialize;
use tokio::sync::Notify;

use super::plan::Plan;

/// One start of a handler.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Begin {
    /// Which schedule.
    pub(super) number: u64,
    pub(super) nominal_ms: i64,
    /// On the clock of this machine.
    pub(super) at_us: i64,
    /// When it was meant to begin.
    pub(super) scheduled_ms: i64,
    /// Older instants that it stands for too.
    pub(super) merged: u32,
}

impl Begin {
    pub(super) fn lag_us(&self) -> i64 {
        self.at_us - self.scheduled_ms * 1000
    }
}

/// What began so far. The handlers of all executors share it.
#[derive(Debug)]
pub(super) struct Record {
    begins: Mutex<Vec<Begin>>,
    /// Instants that a begin stands for.
    accounted: AtomicU64,
    expected: u64,
    complete: Notify,
}

impl Record {
    pub(super) fn new(expected: u64) -> Self {
        let capacity = usize::try_from(expected).unwrap_or_default();
        Self {
            begins: Mutex::new(Vec::with_capacity(capacity)),
            accounted: AtomicU64::new(0),
            expected,
            complete: Notify::new(),
        }
    }

    /// The handler of this run has just begun.
    pub(super) fn began(&self, run: &RunContext, at_us: i64) {
        let number = run.run.schedule().strip_prefix(super::site::DUE).and_then(|digits| digits.parse().ok());
        let begin = Begin {
            // No plan has so many: it counts as unexpected.
            number: number.unwrap_or(u64::MAX),
            nominal_ms: run.nominal_time.0,
            at_us,
            scheduled_ms: run.scheduled_time.0,
            merged: run.merged_count,
        };
        self.begins.lock().unwrap_or_else(PoisonError::into_inner).push(begin);
        let stands_for = 1 + u64::from(begin.merged);
        if self.accounted.fetch_add(stands_for, Ordering::Relaxed) + stands_for >= self.expected {
            self.complete.notify_one();
        }
    }

    pub(super) fn accounted(&self) -> u64 {
        self.accounted.load(Ordering::Relaxed)
    }

    /// Waits until as much has begun as was expected.
    pub(super) async fn complete(&self) {
        while self.accounted() < self.expected {
            self.complete.notified().await;
        }
    }

    pub(super) fn take(&self) -> Vec<Begin> {
        std::mem::take(&mut self.begins.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// What became of a plan (BENCH-3).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub(super) struct Verdict {
    pub(super) expected: u64,
    pub(super) begun: u64,
    /// Instants for which nothing began.
    pub(super) missed: u64,
    /// Begins of an instant that had begun already.
    pub(super) doubled: u64,
    /// Instants for which a newer one of the same schedule began: the cluster did not keep up.
    pub(super) merged: u64,
    /// Begins of what was not expected at all.
    pub(super) unexpected: u64,
}

impl Verdict {
    /// Sorts the begins and holds them against the plan.
    pub(super) fn of(plan: &Plan, begins: &mut [Begin]) -> Self {
        begins.sort_unstable();
        let is_planned = |begin: &&Begin| plan.has(begin.number, begin.nominal_ms);
        let planned = begins.iter().filter(is_planned).count() as u64;
        let same = |pair: &&[Begin]| {
            (pair[0].number, pair[0].nominal_ms) == (pair[1].number, pair[1].nominal_ms)
                && is_planned(&&pair[0])
        };
        let doubled = begins.windows(2).filter(same).count() as u64;
        let merged = begins.iter().map(|begin| u64::from(begin.merged)).sum();
        let begun = planned - doubled;
        Self {
            expected: plan.expected(),
            begun,
            missed: plan.expected().saturating_sub(begun + merged),
            doubled,
            merged,
            unexpected: begins.len() as u64 - planned,
        }
    }

    pub(super) fn problem(&self) -> Option<String> {
        let Self { expected, missed, doubled, merged, unexpected, .. } = self;
        (missed + doubled + merged + unexpected > 0).then(|| {
            format!(
                "of {expected} runs {missed} were missed, {doubled} began twice, {merged} were merged into later ones, and {unexpected} began that nobody expected"
            )
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan::Spacing;
    use super::*;

    const PLAN: Plan = Plan { schedules: 2, first_ms: 1000, instants: 2, spacing: Spacing::AtOnce };

    fn check(begins: &[(u64, i64, u32)], expected: [u64; 5]) {
        let begin = |&(number, nominal_ms, merged)| Begin {
            number,
            nominal_ms,
            merged,
            at_us: 0,
            scheduled_ms: nominal_ms,
        };
        let mut begins: Vec<_> = begins.iter().map(begin).collect();
        let Verdict { begun, missed, doubled, merged, unexpected, .. } = Verdict::of(&PLAN, &mut begins);
        assert_eq!([begun, missed, doubled, merged, unexpected], expected);
    }

    #[test]
    fn every_instant_once_is_as_it_should_be() {
        check(&[(0, 1000, 0), (1, 1000, 0), (1, 2000, 0), (0, 2000, 0)], [4, 0, 0, 0, 0]);
    }

    #[test]
    fn what_did_not_begin_is_missed_and_what_began_again_is_doubled() {
        check(&[(0, 1000, 0), (1, 1000, 0), (0, 1000, 0), (0, 2000, 0)], [3, 1, 1, 0, 0]);
        check(&[], [0, 4, 0, 0, 0]);
    }

    #[test]
    fn merged_instants_are_not_missed_and_strangers_do_not_make_up_for_them() {
        check(&[(0, 2000, 1), (1, 1000, 0), (1, 2000, 0)], [3, 0, 0, 1, 0]);
        check(&[(0, 1000, 0), (0, 2000, 0), (1, 1000, 0), (7, 1000, 0)], [3, 1, 0, 0, 1]);
    }
}
