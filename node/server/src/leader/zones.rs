//! Newer time-zone data: looks at every schedule once, and moves the next instants that the new rules put elsewhere.
//!
//! An instant that has come stays; what lies ahead follows the newest rules. A leader with older data than the cluster's
//! changes nothing and says so: what it fires next may be off for zones whose rules changed in between.

use std::sync::Arc;
use std::time::Duration;

use belfry_core::command::{Action, Command, Outcome, Rezoned};
use belfry_core::definition::CalendarUse;
use belfry_core::state::LastPart;
use belfry_core::{Schedule, ScheduleId, ScheduleKey, State, UnixMillis};

use super::Shared;
use crate::timings::Timings;

/// Schedules looked at under one lock.
const SLICE: usize = 1024;

/// Pause after a proposal that failed, and between two looks at the feature level.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Brings the next instants up to this build's data, until the reign ends.
pub(super) async fn run(shared: Arc<Shared>) {
    while shared.replica.read(State::feature_level) < 2 {
        tokio::time::sleep(RETRY_AFTER).await;
    }
    let ours = belfry_timing::tzdata_version();
    let theirs = shared.replica.read(|state| state.zones().version.clone());
    if *ours < *theirs {
        tracing::warn!(
            ours,
            cluster = theirs,
            "this node leads with older time-zone data than the cluster has seen: run the newest release on all nodes"
        );
    } else if *ours > *theirs {
        bring_up(&shared, ours).await;
    }
    std::future::pending().await
}

async fn bring_up(shared: &Shared, version: &str) {
    let mut from = ScheduleId::default();
    let mut moved = 0;
    loop {
        let now = shared.clock.now();
        let (rezoned, next) = shared.replica.read(|state| look(state, &shared.timings, now, from));
        let last = if next.is_none() { LastPart::Yes } else { LastPart::No };
        if !rezoned.is_empty() || last == LastPart::Yes {
            let action = Action::Rezone { version: version.to_owned(), rezoned, last };
            let command = Command { now, request: None, action };
            match shared.propose("rezone", &command).await {
                Some(Outcome::Retimed(count)) => moved += count,
                Some(_) | None => {
                    tokio::time::sleep(RETRY_AFTER).await;
                    continue;
                }
            }
        }
        match next {
            Some(next) => from = next,
            None => break,
        }
    }
    tracing::info!(version, moved, "time-zone data: the next instants follow this version now");
}

/// What moves among the next schedules, and where to look on.
fn look(
    state: &State,
    timings: &Timings,
    now: UnixMillis,
    from: ScheduleId,
) -> (Vec<Rezoned>, Option<ScheduleId>) {
    let mut rezoned = Vec::new();
    for (seen, id) in state.schedule_ids_from(from).enumerate() {
        if seen == SLICE {
            return (rezoned, Some(id));
        }
        rezoned.extend(move_of(state, timings, now, id));
    }
    (rezoned, None)
}

fn move_of(state: &State, timings: &Timings, now: UnixMillis, id: ScheduleId) -> Option<Rezoned> {
    let schedule = state.schedule(id).filter(|schedule| schedule.remains().deleted_at.is_none())?;
    let timing = &schedule.definition.timing;
    let former = schedule.next_fire_at.filter(|former| *former > now && has_zone(state, schedule))?;
    // A timing that cannot be evaluated is the ticker's to complain about.
    let calendars = timings.calendars(state, &schedule.key.namespace, timing).ok()?;
    let after = schedule.watermark.max(now);
    let next_fire_at = timings.next(timing, &calendars, after).ok()?;
    let counts_from_end = timing.fixed_delay().is_some();
    let moves = !counts_from_end && next_fire_at != Some(former);
    moves.then_some(Rezoned { schedule: id, generation: schedule.generation, former, next_fire_at })
}

/// Whether the instants of a schedule follow the rules of any zone: its own, or those of a calendar that it uses.
fn has_zone(state: &State, schedule: &Schedule) -> bool {
    let timing = &schedule.definition.timing;
    let is_zone = |zone: &str| !zone.is_empty() && zone != "UTC";
    let of_calendar = |used: &CalendarUse| {
        let key = ScheduleKey::new(schedule.key.namespace.clone(), used.calendar.as_str());
        state.calendar(&key).is_some_and(|(calendar, _)| calendar.time_zone.as_deref().is_some_and(is_zone))
    };
    is_zone(&timing.time_zone) || timing.calendars.iter().any(of_calendar)
}

#[cfg(test)]
mod tests {
    use belfry_core::definition::{CalendarMode, Definition, Rule, Target, Timing};
    use belfry_core::object::{Calendar, Declared};
    use belfry_core::{LogPosition, Revision};

    use super::*;

    const NOW: UnixMillis = UnixMillis(1_795_399_200_000);

    /// A schedule at 03:00 in Berlin, whose next instant some build put at `next`.
    fn state(zone: &str, next: UnixMillis) -> State {
        let text = "0 3 * * *".to_owned();
        let rule = Rule::Cron { expression: text.clone(), resolved: text, allow_never: false };
        let target = Target { handler: "h".into(), payload: Default::default() };
        let mut state = State::default();
        let action = Action::CreateSchedule {
            key: ScheduleKey::new("ns", "nightly"),
            uid: "u".into(),
            definition: Arc::new(Definition::new(Timing::of(vec![rule], zone), target)),
            next_fire_at: Some(next),
            calendars: Default::default(),
            pause: None,
        };
        apply(&mut state, 1, action);
        state
    }

    fn apply(state: &mut State, index: u64, action: Action) -> Outcome {
        let command = Command { now: NOW, request: None, action };
        state.apply(LogPosition { term: 1, index }, command).outcome.unwrap()
    }

    #[test]
    fn newer_data_moves_what_lies_ahead_and_says_what() {
        // 2026-11-24T02:00:00Z is 03:00 in Berlin; the older data had put it an hour later.
        let right = UnixMillis(NOW.0 + 24 * 3_600_000);
        let wrong = UnixMillis(right.0 + 3_600_000);
        let mut state = state("Europe/Berlin", wrong);
        let (rezoned, next) = look(&state, &Timings::default(), NOW, ScheduleId::default());
        assert_eq!(next, None);
        assert_eq!((rezoned.len(), rezoned[0].former, rezoned[0].next_fire_at), (1, wrong, Some(right)));
        let action = Action::Rezone { version: "2026b".into(), rezoned, last: LastPart::Yes };
        assert_eq!(apply(&mut state, 2, action.clone()), Outcome::Retimed(1));
        assert_eq!(state.due().all().map(|(at, _)| at).collect::<Vec<_>>(), [right]);
        let change = state.zones().change.clone().unwrap();
        assert_eq!((change.to.as_str(), change.moved, change.named.len()), ("2026b", 1, 1));
        assert_eq!(state.violations(), []);
        // Forward only: the same again, or older data, moves nothing.
        assert_eq!(apply(&mut state, 3, action), Outcome::Retimed(0));
        assert_eq!(look(&state, &Timings::default(), NOW, ScheduleId::default()).0, []);
    }

    #[test]
    fn a_calendar_with_a_zone_of_its_own_moves_a_schedule_in_utc() {
        let mut state = State::default();
        let calendar = Calendar {
            key: ScheduleKey::new("ns", "berlin"),
            time_zone: Some("Europe/Berlin".into()),
            days: vec!["2026-11-25".into()],
            periods: Vec::new(),
            description: String::new(),
        };
        apply(&mut state, 1, Action::PutObject { declared: Declared::Calendar(calendar), expected: None });
        let text = "0 * * * *".to_owned();
        let rule = Rule::Cron { expression: text.clone(), resolved: text, allow_never: false };
        let mut timing = Timing::of(vec![rule], "UTC");
        timing.calendars = vec![CalendarUse { calendar: "berlin".into(), mode: CalendarMode::Include }];
        let target = Target { handler: "h".into(), payload: Default::default() };
        // By older rules the day begins an hour later in Berlin.
        let wrong = UnixMillis(1_795_564_800_000);
        let action = Action::CreateSchedule {
            key: ScheduleKey::new("ns", "hourly"),
            uid: "u".into(),
            definition: Arc::new(Definition::new(timing, target)),
            next_fire_at: Some(wrong),
            calendars: Revision(1),
            pause: None,
        };
        apply(&mut state, 2, action);
        let (rezoned, _) = look(&state, &Timings::default(), NOW, ScheduleId::default());
        assert_eq!(rezoned.len(), 1);
        assert_eq!(rezoned[0].next_fire_at, Some(UnixMillis(wrong.0 - 3_600_000)));
    }

    #[test]
    fn what_no_zone_moves_and_what_has_come_stays() {
        let wrong = UnixMillis(NOW.0 + 5);
        assert_eq!(look(&state("UTC", wrong), &Timings::default(), NOW, ScheduleId::default()).0, []);
        let state = state("Europe/Berlin", wrong);
        let later = UnixMillis(NOW.0 + 10);
        assert_eq!(look(&state, &Timings::default(), later, ScheduleId::default()).0, []);
    }
}
