//! LEDGER-1: every instant up to the watermark has its row, and the watermark never goes back. The instants are counted here by other means
//! than those of the shipping code: the workload's timings are all multiples of some seconds.

use std::collections::BTreeMap;
use std::time::Duration;

use belfry_core::definition::{Rule, Timing};
use belfry_core::run::Series;
use belfry_core::{Generation, Schedule, ScheduleId, UnixMillis};

use super::{Invariant, Look, Say, since_epoch};

/// Every so many milliseconds, so many after a multiple.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Beat {
    every: i64,
    phase: i64,
}

impl Beat {
    pub(super) fn of(timing: &Timing) -> Option<Self> {
        let millis = |duration: &Duration| i64::try_from(duration.as_millis()).ok();
        match timing.include.as_slice() {
            [Rule::Interval { every, phase }] => Some(Self { every: millis(every)?, phase: millis(phase)? }),
            [Rule::Cron { resolved, .. }] => {
                let step = resolved.strip_prefix("*/").and_then(|rest| rest.split(' ').next());
                let seconds: i64 = step?.parse().ok()?;
                Some(Self { every: seconds * 1000, phase: 0 })
            }
            _ => None,
        }
    }

    /// The first instant after `at`.
    fn after(self, at: i64) -> i64 {
        at - (at - self.phase).rem_euclid(self.every) + self.every
    }

    /// The instants from `from` on and before `until`.
    pub(super) fn between(self, from: i64, until: i64) -> impl Iterator<Item = i64> {
        let first = self.after(from - 1);
        std::iter::successors(Some(first), move |at| Some(at + self.every)).take_while(move |at| *at < until)
    }

    /// The last instant before `at`.
    fn before(self, at: i64) -> i64 {
        let since = (at - self.phase).rem_euclid(self.every);
        if since == 0 { at - self.every } else { at - since }
    }
}

/// The timings of generations that were seen.
#[derive(Default)]
pub(super) struct Instants(BTreeMap<(ScheduleId, Generation), Option<Beat>>);

impl Invariant for Instants {
    fn look(&mut self, look: &mut Look<'_>, say: &mut Say<'_>) {
        let ids: Vec<_> = look.state.schedule_ids_from(ScheduleId::default()).collect();
        for id in ids {
            let Some(schedule) = look.state.schedule(id) else { continue };
            for (generation, definition) in &schedule.remains().retired {
                self.0.entry((id, *generation)).or_insert_with(|| Beat::of(&definition.timing));
            }
            self.0.entry((id, schedule.generation)).or_insert_with(|| Beat::of(&schedule.definition.timing));
            let rows = look.state.rows(id).filter(|run| run.series() == Series::Timing);
            let mut rows: Vec<_> = rows.map(|run| (run.nominal_at.0, run.generation)).collect();
            rows.sort_unstable();
            if let Some(next) = schedule.next_fire_at {
                rows.push((next.0, schedule.generation));
            }
            self.check(schedule, &rows, say);
        }
    }
}

impl Instants {
    fn check(&self, schedule: &Schedule, rows: &[(i64, Generation)], say: &mut Say<'_>) {
        let beat = |generation| self.0.get(&(schedule.id, generation)).copied().flatten();
        let instant = |at| since_epoch(UnixMillis(at));
        if let Some((first, generation)) = rows.first()
            && *generation == Generation(1)
            && let Some(beat) = beat(*generation)
            && beat.after(schedule.created_at.0) != *first
        {
            let (created, expected) =
                (instant(schedule.created_at.0), instant(beat.after(schedule.created_at.0)));
            say(
                "LEDGER-1",
                format!(
                    "{} of {created} has its first instant at {}, which should be {expected}",
                    schedule.key,
                    instant(*first)
                ),
            );
        }
        for pair in rows.windows(2) {
            let [(one, of_one), (other, of_other)] = pair else { continue };
            let (Some(old), Some(new)) = (beat(*of_one), beat(*of_other)) else { continue };
            let holds = if of_one == of_other {
                old.after(*one) == *other
            } else {
                // Generations between the two, without a row of their own.
                let between = (of_one.0 + 1..of_other.0).map(|generation| beat(Generation(generation)));
                let Some(between) = between.collect::<Option<Vec<_>>>() else { continue };
                // An edit that does not touch the timing moves nothing.
                let untouched = old == new && between.iter().all(|beat| *beat == old);
                if untouched {
                    old.after(*one) == *other
                } else {
                    changed_between(old, &between, new, *one, *other)
                }
            };
            if !holds {
                let (one, other) = (instant(*one), instant(*other));
                say(
                    "LEDGER-1",
                    format!(
                        "{}: after {one} ({old:?}, {of_one}) comes {other} ({new:?}, {of_other})",
                        schedule.key
                    ),
                );
            }
        }
    }
}

/// How far each schedule was, on the replica that was furthest.
#[derive(Default)]
pub(super) struct Watermarks {
    index: u64,
    reached: BTreeMap<ScheduleId, UnixMillis>,
}

impl Invariant for Watermarks {
    fn look(&mut self, look: &mut Look<'_>, say: &mut Say<'_>) {
        // One that is behind has older ones.
        if look.index < self.index {
            return;
        }
        self.index = look.index;
        for id in look.state.schedule_ids_from(ScheduleId::default()) {
            let Some(schedule) = look.state.schedule(id) else { continue };
            let reached = self.reached.entry(id).or_insert(schedule.watermark);
            if schedule.watermark < *reached {
                let (now, before) = (since_epoch(schedule.watermark), since_epoch(*reached));
                say(
                    "LEDGER-1",
                    format!("the watermark of {} went back from {before} to {now}", schedule.key),
                );
            }
            *reached = schedule.watermark;
        }
    }
}

/// Whether edits between two instants explain them: up to some moment the old timing has all its rows, and from a later one on the new
/// one does; and those between had no instant in their time.
fn changed_between(old: Beat, between: &[Beat], new: Beat, one: i64, other: i64) -> bool {
    // The latest moment at which the next edit may have come, exclusive.
    let latest = between.iter().fold(old.after(one), |latest, beat| latest.max(beat.after(latest - 1)));
    new.after(other - 1) == other && one.max(new.before(other)) < latest.min(other)
}
