//! The ticker: proposes the rows of instants that have come.
//!
//! It looks at the due index, never at "the next time after now", so an instant that passed while nobody led is due, not
//! lost. One timer serves all schedules; an idle schedule costs nothing.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use belfry_core::command::{Action, Command, Fire, FireGroup, Outcome};
use belfry_core::definition::Timing;
use belfry_core::{Definition, Generation, ScheduleId, State, UnixMillis};

use super::Shared;
use crate::timings::Timings;

/// Instants of one schedule in one batch while it catches up: bounded, so that one long backlog does not keep the
/// instants of others waiting.
const CHAIN_MAX: usize = 512;

/// Schedules in the first batch of a storm; each full batch is followed by one of four times its size, up to the limit. So
/// the first runs are on their way to executors while the rest is still being fired.
const FIRST_BATCH: usize = 256;

/// Longest sleep: a wall clock that jumps forward is noticed after this long.
const SLEEP_MAX: Duration = Duration::from_millis(500);

/// Pause after a proposal that failed.
const RETRY_AFTER: Duration = Duration::from_millis(50);

/// A schedule whose instant has come.
struct DueSchedule {
    id: ScheduleId,
    generation: Generation,
    nominal_at: UnixMillis,
    definition: Arc<Definition>,
}

/// Proposes fires until the reign ends.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut applied = shared.replica.applied();
    // Schedules whose timing this build cannot evaluate: said once, looked at again by the next leader.
    let mut faulty = HashSet::new();
    let batch_max = shared.limits.fire_batch_max;
    let mut batch = FIRST_BATCH.min(batch_max);
    loop {
        applied.mark_unchanged();
        let now = shared.clock.now();
        let (due, next) = shared.replica.read(|state| collect(state, now, batch, &faulty));
        let is_full = due.len() == batch;
        if !due.is_empty() {
            let groups = compute(&shared.timings, due, now, batch_max, &mut faulty);
            if !groups.is_empty() && !propose(&shared, now, groups).await {
                // Leadership is going, or the disk is slow: the instants stay due.
                tokio::time::sleep(RETRY_AFTER).await;
            }
            batch = if is_full { batch.saturating_mul(4) } else { FIRST_BATCH }.min(batch_max);
            continue;
        }
        let sleep = next.map_or(SLEEP_MAX, |next| next.since(now).min(SLEEP_MAX));
        tokio::select! {
            () = tokio::time::sleep(sleep) => {}
            changed = applied.changed() => if changed.is_err() { return },
        }
    }
}

/// What is due now, at most `batch_max` schedules, and when the next one will be.
fn collect(
    state: &State,
    now: UnixMillis,
    batch_max: usize,
    faulty: &HashSet<ScheduleId>,
) -> (Vec<DueSchedule>, Option<UnixMillis>) {
    let due: Vec<_> = state
        .due()
        .until(now)
        .filter(|(_, id)| !faulty.contains(id))
        .take(batch_max)
        .filter_map(|(nominal_at, id)| {
            let schedule = state.schedule(id)?;
            let definition = schedule.definition.clone();
            Some(DueSchedule { id, generation: schedule.generation, nominal_at, definition })
        })
        .collect();
    let mut rest = state.due().all().filter(|(_, id)| !faulty.contains(id));
    (due, rest.next().map(|(at, _)| at))
}

/// The fires of due schedules with the instants after them. A schedule that is behind gets a chain of fires, each
/// continuing where the one before ends.
fn compute(
    timings: &Timings,
    due: Vec<DueSchedule>,
    now: UnixMillis,
    batch_max: usize,
    faulty: &mut HashSet<ScheduleId>,
) -> Vec<FireGroup> {
    let mut groups = BTreeMap::<UnixMillis, Vec<Fire>>::new();
    // In a storm most schedules share their timing: compute each (timing, instant) once.
    let mut known = HashMap::<(&Timing, UnixMillis), Option<UnixMillis>>::new();
    let mut room = batch_max.saturating_sub(due.len());
    for schedule in &due {
        let timing = &schedule.definition.timing;
        let mut nominal_at = schedule.nominal_at;
        for link in 0..CHAIN_MAX {
            if link > 0 {
                if room == 0 {
                    break;
                }
                room -= 1;
            }
            let next_fire_at = match known.get(&(timing, nominal_at)) {
                Some(next) => *next,
                None => match timings.next(timing, nominal_at) {
                    Ok(next) => *known.entry((timing, nominal_at)).or_insert(next),
                    Err(fault) => {
                        tracing::error!(schedule = schedule.id.0, %fault, "this node cannot fire a schedule");
                        faulty.insert(schedule.id);
                        break;
                    }
                },
            };
            let fire = Fire::new(schedule.id, schedule.generation, next_fire_at);
            groups.entry(nominal_at).or_default().push(fire);
            match next_fire_at {
                Some(next) if next <= now => nominal_at = next,
                _ => break,
            }
        }
    }
    groups.into_iter().map(|(nominal_at, fires)| FireGroup { nominal_at, fires }).collect()
}

async fn propose(shared: &Shared, now: UnixMillis, groups: Vec<FireGroup>) -> bool {
    let metrics = &shared.metrics;
    let size: usize = groups.iter().map(|group| group.fires.len()).sum();
    metrics.fire_batch_size.observe(size as f64);
    let command = Command { now, request: None, action: Action::Fire(groups) };
    let Some(Outcome::Fired(tally)) = shared.propose("fire", &command).await else { return false };
    metrics.count_rows_created("timer", u64::from(tally.created - tally.late));
    metrics.count_rows_created("catch_up", u64::from(tally.late));
    metrics.count_runs_ended("SKIPPED", u64::from(tally.skipped));
    metrics.count_runs_ended("MERGED", u64::from(tally.merged));
    true
}

#[cfg(test)]
mod tests {
    use belfry_core::definition::{Rule, Target};

    use super::*;

    fn every_second() -> Arc<Definition> {
        let every = Duration::from_secs(1);
        let target = Target { handler: "command".into(), payload: Default::default() };
        let rule = Rule::Interval { every, phase: Duration::ZERO };
        Arc::new(Definition::new(Timing::of(vec![rule], "UTC"), target))
    }

    fn due(id: u64, nominal_ms: i64) -> DueSchedule {
        DueSchedule {
            id: ScheduleId(id),
            generation: Generation(1),
            nominal_at: UnixMillis(nominal_ms),
            definition: every_second(),
        }
    }

    fn fires(groups: &[FireGroup]) -> Vec<(i64, Vec<u64>)> {
        groups
            .iter()
            .map(|group| (group.nominal_at.0, group.fires.iter().map(|fire| fire.schedule.0).collect()))
            .collect()
    }

    #[test]
    fn schedules_of_one_instant_share_a_group() {
        let groups = compute(
            &Timings::default(),
            vec![due(1, 5000), due(2, 5000)],
            UnixMillis(5000),
            100,
            &mut HashSet::new(),
        );
        assert_eq!(fires(&groups), [(5000, vec![1, 2])]);
        assert_eq!(groups[0].fires[0].next_fire_at, Some(UnixMillis(6000)));
    }

    #[test]
    fn a_schedule_that_is_behind_gets_a_chain() {
        let groups = compute(
            &Timings::default(),
            vec![due(1, 5000), due(2, 7000)],
            UnixMillis(7500),
            100,
            &mut HashSet::new(),
        );
        assert_eq!(fires(&groups), [(5000, vec![1]), (6000, vec![1]), (7000, vec![1, 2])]);
    }

    #[test]
    fn a_long_backlog_leaves_room_for_others() {
        let groups = compute(
            &Timings::default(),
            vec![due(1, 0), due(2, 900_000)],
            UnixMillis(900_500),
            10,
            &mut HashSet::new(),
        );
        let count: usize = groups.iter().map(|group| group.fires.len()).sum();
        assert_eq!(count, 10);
        assert!(groups.iter().any(|group| group.fires.iter().any(|fire| fire.schedule == ScheduleId(2))));
    }

    #[test]
    fn a_timing_that_cannot_be_evaluated_stops_nobody_else() {
        let mut broken = due(1, 5000);
        let mut definition = (*broken.definition).clone();
        definition.timing.include.clear();
        broken.definition = Arc::new(definition);
        let mut faulty = HashSet::new();
        let groups =
            compute(&Timings::default(), vec![broken, due(2, 5000)], UnixMillis(5000), 100, &mut faulty);
        assert_eq!(fires(&groups), [(5000, vec![2])]);
        assert_eq!(faulty, HashSet::from([ScheduleId(1)]));
    }

    #[test]
    fn a_faulty_schedule_keeps_nobody_else_waiting() {
        let mut state = State::default();
        for (index, next) in [(1, 1000), (2, 9000)] {
            let action = Action::CreateSchedule {
                key: belfry_core::ScheduleKey::new("default", index.to_string()),
                uid: index.to_string().into(),
                definition: every_second(),
                next_fire_at: Some(UnixMillis(next)),
                pause: None,
            };
            let command = Command { now: UnixMillis(0), request: None, action };
            state.apply(belfry_core::LogPosition { term: 1, index }, command);
        }
        let faulty = HashSet::from([ScheduleId(1)]);
        let (due, next) = collect(&state, UnixMillis(5000), 100, &faulty);
        assert!(due.is_empty());
        assert_eq!(next, Some(UnixMillis(9000)), "the timer is set for the next one that can fire");
    }
}
