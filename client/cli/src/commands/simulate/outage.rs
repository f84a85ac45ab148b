//! What an outage would come to, as arithmetic: nothing here knows a cluster or a clock.
//!
//! The rules are those of the state machine and of the dispatcher, in the words of the former:
//!
//! - SIM-1: an instant that is missed is merged, skipped, expired or run, and never lost: the four add up.
//! - SIM-2: a schedule makes up for missed instants one at a time.
//! - SIM-3: in no second does recovery start more than the budget. What is less than [`RECOVERY_AFTER`] late starts at once
//!   and beside it.
//!
//! - SIM-4: a schedule begins no more runs than its `max_runs` leaves it; what waits behind the last one is skipped.
//!
//! Executors are taken to be there, and pools to have room: what is told is what the schedules ask for.

use std::collections::{BTreeMap, VecDeque};

/// A run that is made up for less than so late counts as on time: `RECOVERY_AFTER` of the leader's pump.
pub(super) const RECOVERY_AFTER: i64 = 60_000;

const SECOND: i64 = 1000;
const MINUTE: i64 = 60 * SECOND;

/// What becomes of missed instants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Misfire {
    /// The newest stands for all.
    Coalesce,
    /// What is older than the window is skipped, and of the rest so many wait.
    Skip { window: i64, waiting_max: usize },
    /// The newest so many of the window run.
    FireAll { window: i64, limit: usize },
}

impl Misfire {
    /// How many of the newest instants can come to anything.
    pub(super) fn interesting(self) -> usize {
        match self {
            Misfire::Coalesce => 1,
            Misfire::Skip { waiting_max, .. } => waiting_max,
            Misfire::FireAll { limit, .. } => limit,
        }
    }

    fn window(self) -> Option<i64> {
        match self {
            Misfire::Coalesce => None,
            Misfire::Skip { window, .. } | Misfire::FireAll { window, .. } => Some(window),
        }
    }
}

/// A schedule that misses instants.
#[derive(Clone, Debug)]
pub(super) struct Affected {
    pub(super) name: String,
    pub(super) pool: String,
    pub(super) misfire: Misfire,
    /// Latest begin after the scheduled time, in milliseconds.
    pub(super) start_deadline: Option<i64>,
    /// How many more runs of it may begin, where that is limited.
    pub(super) begins_left: Option<u64>,
    /// Instants of the outage.
    pub(super) missed: u64,
    /// Those of them that a freeze or a pause skips in any case.
    pub(super) barred: u64,
    /// How many of the others lie within the window of the misfire policy; all, where it has none.
    pub(super) in_window: u64,
    /// When the newest of these were scheduled, oldest first: at least as many as [`Misfire::interesting`], if there are.
    pub(super) newest: Vec<i64>,
}

/// What becomes of the instants of one schedule, or of several.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Fate {
    pub(super) schedules: u64,
    pub(super) missed: u64,
    /// Of these, `on_time` are less than a minute late and no recovery.
    pub(super) run: u64,
    pub(super) on_time: u64,
    pub(super) merged: u64,
    pub(super) skipped: u64,
    pub(super) expired: u64,
}

impl Fate {
    pub(super) fn add(&mut self, other: Fate) {
        self.schedules += other.schedules;
        self.missed += other.missed;
        self.run += other.run;
        self.on_time += other.on_time;
        self.merged += other.merged;
        self.skipped += other.skipped;
        self.expired += other.expired;
    }
}

/// What happens when the cluster is back.
#[derive(Clone, Copy, Debug)]
pub(super) struct Recovery {
    /// When that is.
    pub(super) at: i64,
    /// Starts of recovery in a second.
    pub(super) budget: u32,
    /// How long a run is taken to run, in milliseconds.
    pub(super) run_for: i64,
}

/// What an outage comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Simulated {
    /// In the order of the schedules.
    pub(super) fates: Vec<Fate>,
    pub(super) pools: BTreeMap<String, Fate>,
    pub(super) total: Fate,
    /// Starts of recovery in each minute after the cluster is back, up to the last one with any.
    pub(super) starts: Vec<u64>,
    /// When the last of them starts, in milliseconds after that.
    pub(super) last_start: Option<i64>,
}

/// Recovers the schedules from an outage.
pub(super) fn simulate(schedules: &[Affected], recovery: Recovery) -> Simulated {
    let mut simulated = Simulated { fates: schedules.iter().map(judge).collect(), ..Simulated::default() };
    start_all(schedules, recovery, &mut simulated);
    for (schedule, fate) in schedules.iter().zip(&simulated.fates) {
        debug_assert_eq!(fate.missed, fate.run + fate.merged + fate.skipped + fate.expired, "SIM-1");
        simulated.pools.entry(schedule.pool.clone()).or_default().add(*fate);
        simulated.total.add(*fate);
    }
    simulated
}

/// What the policies make of the instants of a schedule, before anything has expired or started.
fn judge(schedule: &Affected) -> Fate {
    let run = schedule.in_window.min(schedule.misfire.interesting() as u64);
    let in_time = schedule.in_window - run;
    let too_old = schedule.missed - schedule.barred - schedule.in_window;
    let (merged, skipped) = match schedule.misfire {
        Misfire::Coalesce => (in_time, schedule.barred + too_old),
        // Behind the one that waits the older ones merge; a buffer that is full takes no more.
        Misfire::Skip { waiting_max: 1, .. } => (in_time, schedule.barred + too_old),
        Misfire::Skip { .. } | Misfire::FireAll { .. } => (0, schedule.barred + too_old + in_time),
    };
    Fate { schedules: 1, missed: schedule.missed, run, merged, skipped, ..Fate::default() }
}

/// Runs of one schedule that wait, the next one first.
struct Waiting<'a> {
    schedule: usize,
    scheduled: &'a [i64],
    /// Not before this, in milliseconds after the recovery began.
    ready_after: i64,
    begins_left: Option<u64>,
}

/// Starts what is to run, second by second. All runs take equally long, so those that start first are ready first, and a queue
/// is enough.
fn start_all(schedules: &[Affected], recovery: Recovery, simulated: &mut Simulated) {
    let waiting = schedules.iter().zip(&simulated.fates).enumerate().map(|(index, (schedule, fate))| {
        let skipped = schedule.newest.len().saturating_sub(usize::try_from(fate.run).unwrap_or(usize::MAX));
        Waiting {
            schedule: index,
            scheduled: &schedule.newest[skipped..],
            ready_after: 0,
            begins_left: schedule.begins_left,
        }
    });
    let mut queue: VecDeque<Waiting<'_>> = waiting.filter(|waiting| !waiting.scheduled.is_empty()).collect();
    let (mut after, mut left) = (0, recovery.budget);
    while let Some(mut next) = queue.pop_front() {
        if next.ready_after > after {
            (after, left) = ((next.ready_after + SECOND - 1) / SECOND * SECOND, recovery.budget);
        }
        let (Some((scheduled_at, rest)), fate) =
            (next.scheduled.split_first(), &mut simulated.fates[next.schedule])
        else {
            continue;
        };
        if next.begins_left == Some(0) {
            // SIM-4
            let surplus = next.scheduled.len() as u64;
            (fate.run, fate.skipped) = (fate.run - surplus, fate.skipped + surplus);
            continue;
        }
        let is_recovery = recovery.at - scheduled_at >= RECOVERY_AFTER;
        if is_recovery && left == 0 {
            (after, left) = (after + SECOND, recovery.budget);
        }
        next.scheduled = rest;
        let late = recovery.at + after - scheduled_at;
        if schedules[next.schedule].start_deadline.is_some_and(|deadline| late > deadline) {
            (fate.run, fate.expired) = (fate.run - 1, fate.expired + 1);
            // It starts nothing, so the one behind it is next.
            queue.push_front(next);
            continue;
        }
        if is_recovery {
            left -= 1;
            let minute = usize::try_from(after / MINUTE).expect("it is after the recovery began");
            if simulated.starts.len() <= minute {
                simulated.starts.resize(minute + 1, 0);
            }
            simulated.starts[minute] += 1;
            simulated.last_start = Some(after);
        } else {
            fate.on_time += 1;
        }
        next.begins_left = next.begins_left.map(|left| left - 1);
        next.ready_after = after + recovery.run_for;
        queue.push_back(next);
    }
}

/// How many of the newest instants are within the window of a policy, when they were scheduled then.
pub(super) fn in_window(misfire: Misfire, scheduled_at: i64, recovered_at: i64) -> bool {
    misfire.window().is_none_or(|window| recovered_at - scheduled_at <= window)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 60 * MINUTE;
    const BACK: i64 = 100 * HOUR;
    const FIRE_ALL: Misfire = Misfire::FireAll { window: 24 * HOUR, limit: 100 };

    fn recovery(budget: u32, run_for: i64) -> Recovery {
        Recovery { at: BACK, budget, run_for }
    }

    /// A schedule with an instant each `every` before the recovery, the newest `newest_late` before it.
    fn affected(misfire: Misfire, missed: i64, every: i64, newest_late: i64) -> Affected {
        let scheduled: Vec<i64> = (0..missed).rev().map(|n| BACK - newest_late - n * every).collect();
        let open: Vec<i64> = scheduled.into_iter().filter(|at| in_window(misfire, *at, BACK)).collect();
        Affected {
            name: "s".into(),
            pool: "default".into(),
            misfire,
            start_deadline: None,
            begins_left: None,
            missed: missed.unsigned_abs(),
            barred: 0,
            in_window: open.len() as u64,
            newest: open,
        }
    }

    fn one(schedule: Affected) -> Fate {
        let simulated = simulate(&[schedule], recovery(50, 10 * SECOND));
        let fate = simulated.fates[0];
        assert_eq!(fate.missed, fate.run + fate.merged + fate.skipped + fate.expired, "SIM-1");
        assert_eq!(fate.run - fate.on_time, simulated.starts.iter().sum::<u64>());
        Fate { schedules: 0, ..fate }
    }

    #[test]
    fn policies_make_of_thirteen_hours_what_they_say() {
        let fate = |run, merged, skipped| Fate { missed: 780, run, merged, skipped, ..Fate::default() };
        let minutely = |misfire| affected(misfire, 780, MINUTE, 2 * MINUTE);
        assert_eq!(one(minutely(Misfire::Coalesce)), fate(1, 779, 0));
        let skip = |window, waiting_max| Misfire::Skip { window, waiting_max };
        assert_eq!(one(minutely(skip(MINUTE, 1))), fate(0, 0, 780));
        assert_eq!(one(minutely(skip(11 * MINUTE, 1))), fate(1, 9, 770));
        assert_eq!(one(minutely(skip(11 * MINUTE, 4))), fate(4, 0, 776));
        assert_eq!(one(minutely(FIRE_ALL)), fate(100, 0, 680));
        assert_eq!(one(minutely(Misfire::FireAll { window: 11 * MINUTE, limit: 100 })), fate(10, 0, 770));
    }

    #[test]
    fn less_than_a_minute_late_is_no_recovery() {
        let simulated = simulate(
            &[
                affected(Misfire::Coalesce, 3, MINUTE, RECOVERY_AFTER - 1),
                affected(FIRE_ALL, 3, 30 * SECOND, SECOND),
            ],
            recovery(50, SECOND),
        );
        assert_eq!((simulated.fates[0].run, simulated.fates[0].on_time), (1, 1));
        assert_eq!((simulated.fates[1].run, simulated.fates[1].on_time), (3, 2));
        assert_eq!(simulated.starts, [1]);
    }

    #[test]
    fn the_budget_bounds_every_second() {
        let schedules = vec![affected(Misfire::Coalesce, 13, HOUR, HOUR); 10_000];
        let simulated = simulate(&schedules, recovery(50, 10 * SECOND));
        assert_eq!(simulated.starts, [3000, 3000, 3000, 1000]);
        assert_eq!(simulated.last_start, Some(199 * SECOND));
        assert_eq!(
            simulated.total,
            Fate { schedules: 10_000, missed: 130_000, run: 10_000, merged: 120_000, ..Fate::default() }
        );
    }

    #[test]
    fn a_schedule_recovers_one_at_a_time() {
        let simulated = simulate(&[affected(FIRE_ALL, 13, HOUR, HOUR)], recovery(50, 20 * SECOND));
        assert_eq!(simulated.starts, [3, 3, 3, 3, 1]);
        assert_eq!(simulated.last_start, Some(12 * 20 * SECOND));
        let instant = simulate(&[affected(FIRE_ALL, 100, MINUTE, HOUR)], recovery(50, 0));
        assert_eq!((instant.starts, instant.last_start), (vec![100], Some(SECOND)));
    }

    #[test]
    fn deadlines_pass_before_the_recovery_and_in_its_queue() {
        let with = |deadline, schedule| Affected { start_deadline: Some(deadline), ..schedule };
        let late = one(with(HOUR - 1, affected(Misfire::Coalesce, 5, HOUR, HOUR)));
        assert_eq!((late.run, late.merged, late.expired), (0, 4, 1));
        // Ten seconds of budget for those before it.
        let mut schedules = vec![affected(Misfire::Coalesce, 1, HOUR, HOUR); 10];
        schedules.push(with(HOUR + 9 * SECOND, affected(Misfire::Coalesce, 1, HOUR, HOUR)));
        let simulated = simulate(&schedules, recovery(1, SECOND));
        assert_eq!((simulated.total.run, simulated.total.expired), (10, 1));
        // The first ones of a backlog have passed, the others have not.
        let partly = one(with(3 * HOUR - SECOND, affected(FIRE_ALL, 13, HOUR, HOUR)));
        assert_eq!((partly.run, partly.expired), (2, 11));
    }

    #[test]
    fn sim_4_what_max_runs_leaves_is_all_that_begins() {
        let with = |left, schedule| Affected { begins_left: Some(left), ..schedule };
        let fate = one(with(3, affected(FIRE_ALL, 13, HOUR, HOUR)));
        assert_eq!((fate.run, fate.skipped, fate.expired), (3, 10, 0));
        // What expires has not begun.
        let deadline = Affected { start_deadline: Some(5 * HOUR), ..affected(FIRE_ALL, 13, HOUR, HOUR) };
        let fate = one(with(3, deadline));
        assert_eq!((fate.run, fate.skipped, fate.expired), (3, 2, 8));
        assert_eq!(one(with(1, affected(Misfire::Coalesce, 13, HOUR, HOUR))).run, 1);
    }

    #[test]
    fn what_a_pause_or_a_freeze_bars_is_skipped() {
        let paused =
            Affected { barred: 13, in_window: 0, newest: Vec::new(), ..affected(FIRE_ALL, 13, HOUR, HOUR) };
        assert_eq!(one(paused), Fate { missed: 13, skipped: 13, ..Fate::default() });
    }

    #[test]
    fn pools_add_up() {
        let other = Affected { pool: "gpu".into(), ..affected(FIRE_ALL, 3, HOUR, HOUR) };
        let simulated = simulate(&[affected(Misfire::Coalesce, 5, HOUR, HOUR), other], recovery(50, SECOND));
        let runs: Vec<_> = simulated.pools.iter().map(|(pool, fate)| (pool.as_str(), fate.run)).collect();
        assert_eq!(runs, [("default", 1), ("gpu", 3)]);
    }
}
