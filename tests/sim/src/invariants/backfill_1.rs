//! BACKFILL-1: a backfill that was completed has made the rows of its range: all of them when it runs everything once more, and only what
//! is missing otherwise; and each instant of the range has a row.

use std::collections::{BTreeMap, BTreeSet};

use belfry_core::backfill::{Backfill, BackfillMode, BackfillState};
use belfry_core::run::Trigger;
use belfry_core::{BackfillId, Generation, Schedule, ScheduleId, State, UnixMillis};

use super::ledger_1::Beat;
use super::since_epoch;

/// Of which generation schedules were when their backfills were made. Times would not tell: leaders' clocks differ.
#[derive(Default)]
pub(super) struct Begun {
    /// None where it is not known: the schedule was edited between the looks between which its backfill was made.
    generations: BTreeMap<BackfillId, Option<Generation>>,
    /// Those of all schedules at the newest log index that was looked at.
    newest: (u64, BTreeMap<ScheduleId, Generation>),
}

impl Begun {
    pub(super) fn look(&mut self, index: u64, state: &State) {
        for (backfill, schedule) in all(state) {
            // They only rise: the same at both looks, or the first, it was the same between them.
            let known = self.newest.1.get(&schedule.id).unwrap_or(&Generation(1));
            let unedited = schedule.generation == *known;
            self.generations.entry(backfill.id).or_insert(unedited.then_some(schedule.generation));
        }
        if index > self.newest.0 {
            let schedules =
                state.schedule_ids_from(ScheduleId::default()).filter_map(|id| state.schedule(id));
            self.newest = (index, schedules.map(|schedule| (schedule.id, schedule.generation)).collect());
        }
    }
}

/// What is wrong with the backfills of a state.
pub(super) fn wrong(begun: &Begun, state: &State) -> Vec<String> {
    let mut wrong = Vec::new();
    for (backfill, schedule) in completed(state) {
        let rows = || state.rows(schedule.id);
        let mine = |trigger: Trigger| trigger == Trigger::Backfill(backfill.id);
        let made: Vec<_> = rows().filter(|run| mine(run.trigger)).collect();
        if made.len() as u64 != backfill.counts.created {
            let (made, counted) = (made.len(), backfill.counts.created);
            wrong.push(format!("{} of {} has {made} rows and says {counted}", backfill.id, schedule.key));
        }
        // An edit in its time makes it unknown which instants it saw; and rows of others tell when there was one.
        let edited = begun.generations.get(&backfill.id) != Some(&Some(schedule.generation));
        let Some(beat) = Beat::of(&schedule.definition.timing).filter(|_| !edited) else { continue };
        let expected: BTreeSet<_> = beat.between(backfill.from_at.0, backfill.until_at.0).collect();
        let made: BTreeSet<_> = made.iter().map(|run| run.nominal_at.0).collect();
        let known: BTreeSet<_> = rows().map(|run| run.nominal_at.0).collect();
        let is_right = match backfill.mode {
            BackfillMode::Reprocess => made == expected,
            BackfillMode::Missing => made.is_subset(&expected) && expected.is_subset(&known),
        };
        if !is_right {
            let (from, until) = (since_epoch(backfill.from_at), since_epoch(backfill.until_at));
            wrong.push(format!(
                "{} of {} has made {made:?} of {expected:?} in {from} to {until} ({:?})",
                backfill.id, schedule.key, backfill.mode
            ));
        }
    }
    wrong
}

fn completed(state: &State) -> impl Iterator<Item = (&Backfill, &Schedule)> {
    all(state).filter(|(backfill, _)| matches!(backfill.state, BackfillState::Completed { .. }))
}

/// Those that have not come to their end, of schedules that are not paused, a while after they were asked for.
pub(super) fn open(state: &State, now: UnixMillis, waits_ms_max: i64) -> Vec<String> {
    let is_open = |(backfill, schedule): &(&Backfill, &Schedule)| {
        !backfill.state.has_ended()
            && schedule.pause.is_none()
            && schedule.remains().deleted_at.is_none()
            && backfill.created.at.0 < now.0 - waits_ms_max
    };
    let say = |(backfill, schedule): (&Backfill, &Schedule)| {
        format!("{} of {} is {:?}, at {:?}", backfill.id, schedule.key, backfill.state, backfill.cursor)
    };
    all(state).filter(is_open).map(say).collect()
}

fn all(state: &State) -> impl Iterator<Item = (&Backfill, &Schedule)> {
    let ids = state.schedule_ids_from(ScheduleId::default());
    ids.flat_map(|id| state.backfills_of(id))
        .filter_map(|backfill| Some((backfill, state.schedule(backfill.schedule)?)))
}
