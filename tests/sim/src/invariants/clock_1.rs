//! CLOCK-1: no row is made for an instant that is further ahead of the lower median of the clocks than the bound.
//!
//! A node that leads has heard from another one. The lower median of any two or more of the clocks is not later than the second latest of
//! all, so that this holds for whichever members there are, and whichever clocks a node knows of. Two things keep it from being exact:
//!
//! - A reading is good for 30 s, and a clock that was set since still counts as it was: of each clock the most that it was ahead lately
//!   is taken.
//! - A node that nobody tells the time within 2 s of its election believes its own clock. The clocks are asked with a limit of 500 ms, which
//!   only a slow link takes from one that is needed for the election: while a link is slow nothing is judged.

use std::collections::VecDeque;
use std::time::Duration;

use belfry_core::run::Series;
use belfry_core::{RunId, UnixMillis};

use super::{Invariant, Look, Say, since_epoch};
use crate::clock::SimClock;

/// How long a reading may count: 30 s, until the next round of readings, which may take as long as its limit.
const READING_COUNTS_FOR: Duration = Duration::from_secs(33);

/// `clock.offset_max`.
const OFFSET_MAX_MS: i64 = 500;

/// The middle of question and answer may be this far from when the clock was read: half of what a reading may take.
const UNCERTAIN_MS: i64 = 251;

/// The clocks of all nodes, and how far ahead they lately were.
pub(super) struct Clocks(Vec<(SimClock, VecDeque<(Duration, i64)>)>);

impl Clocks {
    pub(super) fn new(clocks: Vec<SimClock>) -> Self {
        Self(clocks.into_iter().map(|clock| (clock, VecDeque::new())).collect())
    }

    /// What no node takes the time to be later than.
    pub(super) fn time_max(&mut self, now: Duration, is_any_link_slow: bool) -> Option<UnixMillis> {
        let mut most = Vec::new();
        for (clock, lately) in &mut self.0 {
            lately.push_back((now, clock.take_most_ms()));
            while lately.front().is_some_and(|(at, _)| *at + READING_COUNTS_FOR < now) {
                lately.pop_front();
            }
            most.extend(lately.iter().map(|(_, ahead)| *ahead).max());
        }
        most.sort_unstable();
        let second = *most.get(most.len().checked_sub(2)?)?;
        let (clock, _) = self.0.first()?;
        let time_max = clock.true_time(now).0 + second + OFFSET_MAX_MS + UNCERTAIN_MS;
        (!is_any_link_slow).then_some(UnixMillis(time_max))
    }
}

/// Rows that were looked at.
#[derive(Default)]
pub(super) struct Rows {
    upto: RunId,
}

impl Invariant for Rows {
    fn look(&mut self, look: &mut Look<'_>, say: &mut Say<'_>) {
        for run in look.state.runs_from(self.upto).filter(|run| run.series() == Series::Timing) {
            if let Some(time_max) = look.time_max.filter(|time_max| run.nominal_at > *time_max) {
                let (nominal, time_max) = (since_epoch(run.nominal_at), since_epoch(time_max));
                say(
                    "CLOCK-1",
                    format!("row {} of {nominal} was there when it was {time_max} at most", run.id.0),
                );
            }
        }
        if let Some(last) = look.state.runs_from(self.upto).last() {
            self.upto = last.id.next();
        }
    }
}
