//! The ticker: proposes the rows of instants that have come.
//!
//! It looks at the due index, never at "the next time after now", so an instant that passed while nobody led is due, not
//! lost. One timer serves all schedules; an idle schedule costs nothing.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use belfry_core::command::{Action, Command, Fire, FireGroup, Freeze, Outcome, Retimed};
use belfry_core::definition::Timing;
use belfry_core::{Definition, DrawnId, Generation, Revision, ScheduleId, State, UnixMillis};

use super::{Shared, pace};
use crate::timings::{Calendars, TimingFault, Timings, spread_for};

/// Instants of one schedule in one batch while it catches up: bounded, so that one long backlog does not keep the
/// instants of others waiting.
const CHAIN_MAX: usize = 512;

/// Schedules in the first batch of a storm; each full batch is followed by one of four times its size, up to the limit. So
/// the first runs are on their way to executors while the rest is still being fired.
const FIRST_BATCH: usize = 256;

/// The part of a full batch that is left to the latest instants: what comes while a storm, or the backlog of an outage, is still
/// being fired, does not wait for the end of it. A schedule that fires more often would miss instants otherwise. A fourth is more than
/// is due beside a storm on most days, and makes the storm a third longer when it is not. What is due at the very instant of the
/// storm is part of it, and waits in order of handle.
const LATEST_PART: usize = 4;

/// Longest sleep: a wall clock that jumps forward is noticed after this long.
const SLEEP_MAX: Duration = Duration::from_millis(500);

/// Pause after a proposal that failed.
const RETRY_AFTER: Duration = Duration::from_millis(50);

/// Schedules whose timing this build cannot evaluate, each as of a generation: an edit is tried at once.
type Faulty = HashSet<(ScheduleId, Generation)>;

/// A schedule whose instant has come.
struct DueSchedule {
    id: ScheduleId,
    generation: Generation,
    nominal_at: UnixMillis,
    definition: Arc<Definition>,
    calendars: Calendars,
    /// Its uid and the window that its runs are spread over, if they are.
    spread: Option<(DrawnId, Duration)>,
}

/// A schedule whose calendars changed since its next instant was computed.
struct StaleSchedule {
    id: ScheduleId,
    generation: Generation,
    definition: Arc<Definition>,
    calendars: Calendars,
    watermark: UnixMillis,
}

/// Proposes fires until the reign ends.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut applied = shared.replica.applied();
    // Said once, looked at again by the next leader.
    let mut faulty = Faulty::new();
    let batch_max = shared.limits.fire_batch_max;
    let mut batch = FIRST_BATCH.min(batch_max);
    loop {
        applied.mark_unchanged();
        let now = shared.clock.now();
        let timings = &shared.timings;
        let stale = shared.replica.read(|state| collect_stale(state, timings, batch_max, &mut faulty));
        if !stale.is_empty() {
            let retimed = retime(timings, stale, now, &mut faulty);
            let command = Command { now, request: None, action: Action::Retime(retimed) };
            if shared.propose("retime", &command).await.is_none() {
                tokio::time::sleep(RETRY_AFTER).await;
            }
            continue;
        }
        let (due, next) = shared.replica.read(|state| collect(state, timings, now, batch, &mut faulty));
        let is_full = due.len() == batch;
        if !due.is_empty() {
            let pace = pace::Commit::begin(pace::FIRES_APART);
            let size = due.len();
            let groups = compute(timings, due, now, batch_max, &mut faulty);
            if !groups.is_empty() && !propose(&shared, now, groups).await {
                // Leadership is going, or the disk is slow: the instants stay due.
                tokio::time::sleep(RETRY_AFTER).await;
            }
            // More are due after a full batch, however small the limit makes it.
            if is_full {
                batch = batch.saturating_mul(4).min(batch_max);
            } else {
                batch = FIRST_BATCH.min(batch_max);
                pace.rest(size).await;
            }
            continue;
        }
        let sleep = next.map_or(SLEEP_MAX, |next| next.since(now).min(SLEEP_MAX));
        tokio::select! {
            () = tokio::time::sleep(sleep) => {}
            changed = applied.changed() => if changed.is_err() { return },
        }
    }
}

/// Notes that this build cannot evaluate the timing of a schedule.
fn give_up(id: ScheduleId, generation: Generation, fault: &TimingFault, faulty: &mut Faulty) {
    tracing::error!(schedule = id.0, %fault, "this node cannot fire a schedule");
    faulty.insert((id, generation));
}

/// What is due now, at most `batch_max` schedules, and when the next one will be. When more are due, those that have waited longest,
/// and with them some of the latest instants.
fn collect(
    state: &State,
    timings: &Timings,
    now: UnixMillis,
    batch_max: usize,
    faulty: &mut Faulty,
) -> (Vec<DueSchedule>, Option<UnixMillis>) {
    let mut due = Vec::new();
    let mut look = |due| look_at(state, timings, due, faulty);
    let mut earliest = state.due().until(now).peekable();
    let earliest_max = batch_max - batch_max / LATEST_PART;
    while due.len() < earliest_max {
        let Some(next) = earliest.next() else { break };
        due.extend(look(next));
    }
    if let Some((reached, _)) = earliest.peek().copied() {
        let latest = state.due().latest(reached, now).filter_map(&mut look);
        due.extend(latest.take(batch_max - due.len()));
        // What is left of the batch: when any is, all after that instant are in it.
        let rest = earliest.take_while(|(at, _)| *at == reached).filter_map(look);
        due.extend(rest.take(batch_max - due.len()));
    }
    let is_faulty = |id: ScheduleId| {
        state.schedule(id).is_some_and(|schedule| faulty.contains(&(id, schedule.generation)))
    };
    let mut rest = state.due().all().filter(|(_, id)| faulty.is_empty() || !is_faulty(*id));
    (due, rest.next().map(|(at, _)| at))
}

/// What it takes to fire a schedule; none, if its timing cannot be evaluated.
fn look_at(
    state: &State,
    timings: &Timings,
    (nominal_at, id): (UnixMillis, ScheduleId),
    faulty: &mut Faulty,
) -> Option<DueSchedule> {
    let schedule = state.schedule(id).filter(|schedule| !faulty.contains(&(id, schedule.generation)))?;
    let (generation, definition) = (schedule.generation, schedule.definition.clone());
    let calendars = match timings.calendars(state, &schedule.key.namespace, &definition.timing) {
        Ok(calendars) => calendars,
        Err(fault) => {
            give_up(id, generation, &fault, faulty);
            return None;
        }
    };
    let window = definition.timing.spread.or_else(|| state.namespace(&schedule.key.namespace)?.spread);
    let spread = window.map(|window| (schedule.uid.clone(), window));
    Some(DueSchedule { id, generation, nominal_at, definition, calendars, spread })
}

/// Schedules to be timed anew, at most `batch_max`.
fn collect_stale(
    state: &State,
    timings: &Timings,
    batch_max: usize,
    faulty: &mut Faulty,
) -> Vec<StaleSchedule> {
    let mut stale = Vec::new();
    for id in state.stale() {
        if stale.len() == batch_max {
            break;
        }
        let schedule = state.schedule(id).filter(|schedule| !faulty.contains(&(id, schedule.generation)));
        let Some(schedule) = schedule else { continue };
        let definition = schedule.definition.clone();
        match timings.calendars(state, &schedule.key.namespace, &definition.timing) {
            Ok(calendars) => {
                let (generation, watermark) = (schedule.generation, schedule.watermark);
                stale.push(StaleSchedule { id, generation, definition, calendars, watermark });
            }
            Err(fault) => give_up(id, schedule.generation, &fault, faulty),
        }
    }
    stale
}

/// The next instants of schedules by their calendars as they are now: those after the change and after what has its row. A
/// change that lies ahead, by the clock of this leader, took nothing away that comes before it.
fn retime(
    timings: &Timings,
    stale: Vec<StaleSchedule>,
    now: UnixMillis,
    faulty: &mut Faulty,
) -> Vec<Retimed> {
    let mut retimed = Vec::with_capacity(stale.len());
    for schedule in stale {
        let after = schedule.watermark.max(schedule.calendars.changed_at().min(now));
        match timings.next(&schedule.definition.timing, &schedule.calendars, after) {
            Ok(next_fire_at) => retimed.push(Retimed {
                schedule: schedule.id,
                generation: schedule.generation,
                calendars: schedule.calendars.revision(),
                next_fire_at,
            }),
            Err(fault) => give_up(schedule.id, schedule.generation, &fault, faulty),
        }
    }
    retimed
}

/// The fires of due schedules with the instants after them. A schedule that is behind gets a chain of fires, each
/// continuing where the one before ends.
fn compute(
    timings: &Timings,
    due: Vec<DueSchedule>,
    now: UnixMillis,
    batch_max: usize,
    faulty: &mut Faulty,
) -> Vec<FireGroup> {
    let mut groups = BTreeMap::<UnixMillis, Vec<Fire>>::new();
    // In a storm most schedules share their timing: compute each (timing, instant) once.
    let mut known = HashMap::<(&Timing, Revision, UnixMillis), Instant>::new();
    let mut room = batch_max.saturating_sub(due.len());
    for schedule in &due {
        let (timing, revision) = (&schedule.definition.timing, schedule.calendars.revision());
        let mut nominal_at = schedule.nominal_at;
        for link in 0..CHAIN_MAX {
            if link > 0 {
                if room == 0 {
                    break;
                }
                room -= 1;
            }
            let instant = match known.get(&(timing, revision, nominal_at)) {
                Some(instant) => *instant,
                None => match evaluate(timings, schedule, nominal_at) {
                    Ok(instant) => *known.entry((timing, revision, nominal_at)).or_insert(instant),
                    Err(fault) => {
                        give_up(schedule.id, schedule.generation, &fault, faulty);
                        break;
                    }
                },
            };
            let spread_for = schedule
                .spread
                .as_ref()
                .map_or(Duration::ZERO, |(uid, window)| spread_for(uid, *window, nominal_at, instant.next));
            let fire = Fire::new(schedule.id, schedule.generation, instant.next);
            groups.entry(nominal_at).or_default().push(Fire { spread_for, freeze: instant.freeze, ..fire });
            match instant.next {
                Some(next) if next <= now => nominal_at = next,
                _ => break,
            }
        }
    }
    groups.into_iter().map(|(nominal_at, fires)| FireGroup { nominal_at, fires }).collect()
}

/// What a timing says at one of its instants.
#[derive(Clone, Copy)]
struct Instant {
    next: Option<UnixMillis>,
    freeze: Freeze,
}

fn evaluate(timings: &Timings, schedule: &DueSchedule, at: UnixMillis) -> Result<Instant, TimingFault> {
    let timing = &schedule.definition.timing;
    let next = timings.next(timing, &schedule.calendars, at)?;
    // Only a calendar can freeze an instant.
    let frozen = !schedule.calendars.is_empty()
        && timings.compile(timing, &schedule.calendars)?.frozen_by(at.0).is_some();
    Ok(Instant { next, freeze: if frozen { Freeze::Frozen } else { Freeze::Open } })
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
            calendars: Calendars::default(),
            spread: None,
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
        assert_eq!(faulty, Faulty::from([(ScheduleId(1), Generation(1))]));
    }

    /// A schedule for each of the instants.
    fn state(next: impl IntoIterator<Item = i64>) -> State {
        let mut state = State::default();
        for (index, next) in (1..).zip(next) {
            let action = Action::CreateSchedule {
                key: belfry_core::ScheduleKey::new("default", index.to_string()),
                uid: index.to_string().into(),
                definition: every_second(),
                next_fire_at: Some(UnixMillis(next)),
                calendars: Revision::default(),
                pause: None,
            };
            let command = Command { now: UnixMillis(0), request: None, action };
            state.apply(belfry_core::LogPosition { term: 1, index }, command);
        }
        state
    }

    fn collected(state: &State, batch_max: usize) -> Vec<(i64, u64)> {
        let (due, _) = collect(state, &Timings::default(), UnixMillis(5000), batch_max, &mut Faulty::new());
        due.iter().map(|due| (due.nominal_at.0, due.id.0)).collect()
    }

    #[test]
    fn what_has_just_come_does_not_wait_for_the_end_of_a_storm() {
        let storm = state([1000; 20].into_iter().chain([4000, 3000, 4000, 6000]));
        let oldest: Vec<_> = (1..=6).map(|id| (1000, id)).collect();
        assert_eq!(collected(&storm, 8), [&oldest[..], &[(4000, 21), (4000, 23)]].concat());
        // A batch that has room for more than they are is filled with the storm.
        let oldest: Vec<_> = (1..=12).map(|id| (1000, id)).collect();
        let latest = [(4000, 21), (4000, 23), (3000, 22)];
        assert_eq!(collected(&storm, 16), [&oldest[..], &latest, &[(1000, 13)]].concat());
        assert_eq!(collected(&storm, 23).len(), 23);
        assert_eq!(collected(&storm, 100).len(), 23);
        assert_eq!(collected(&state([1000; 20]), 8), (1..=8).map(|id| (1000, id)).collect::<Vec<_>>());
        assert_eq!(collected(&storm, 1), [(1000, 1)]);
    }

    #[test]
    fn every_batch_is_of_schedules_that_differ() {
        let storm = state((0..40).map(|number| 1000 + number % 7));
        for batch_max in 1..50 {
            let due = collected(&storm, batch_max);
            let ids: std::collections::BTreeSet<_> = due.iter().map(|(_, id)| id).collect();
            assert_eq!((due.len(), ids.len()), (batch_max.min(40), batch_max.min(40)));
        }
    }

    #[test]
    fn a_faulty_schedule_keeps_nobody_else_waiting() {
        let state = state([1000, 9000]);
        let mut faulty = Faulty::from([(ScheduleId(1), Generation(1))]);
        let (due, next) = collect(&state, &Timings::default(), UnixMillis(5000), 100, &mut faulty);
        assert!(due.is_empty());
        assert_eq!(next, Some(UnixMillis(9000)), "the timer is set for the next one that can fire");
        let mut faulty = Faulty::from([(ScheduleId(1), Generation(7))]);
        let (due, _) = collect(&state, &Timings::default(), UnixMillis(5000), 100, &mut faulty);
        assert_eq!(due.len(), 1, "another generation is tried at once");
    }
}
