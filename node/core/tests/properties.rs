//! Properties of the state machine under any sequence of commands, sensible or not.

#![allow(clippy::unwrap_used, reason = "this is a test")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use belfry_core::backfill::BackfillMode;
use belfry_core::command::{
    Action, BackfillVerb, Begin, BeginGroup, BeginResult, Command, Completion, Fire, FireGroup, Freeze,
    LeaseLoss, Outcome, Prune, RequestKey, ResumeMissed, Retime, Retimed, Retryable, TriggerOverlap,
};
use belfry_core::definition::{
    CalendarMode, CalendarUse, CompletionAction, Definition, MisfirePolicy, OverlapPolicy, Policies, Retry,
    Rule, Target, Timing, UnknownOutcomePolicy,
};
use belfry_core::object::{Calendar, Declared, Namespace, ObjectName, Pool};
use belfry_core::run::{AttemptResult, Reason, Report, Resolution, RunState, Series};
use belfry_core::schedule::Pause;
use belfry_core::state::{BackfillRequest, LastInstants};
use belfry_core::{
    AttemptNo, BackfillId, Changes, FencingToken, Generation, LogPosition, Revision, Run, RunId, ScheduleId,
    ScheduleKey, State, UnixMillis,
};
use proptest::prelude::*;

/// Instants are whole seconds and every schedule fires every second, so that what is expected can be counted.
const SECOND: i64 = 1000;

/// Fires every second, whatever its rules.
fn definition() -> impl Strategy<Value = Arc<Definition>> {
    let plain = (0..3u8, prop::option::of(1..5u64));
    let rules = (overlap(), misfire(), unknown_outcome(), 1..4u32, prop::option::weighted(0.3, 1..4u32));
    let rest = (prop::option::weighted(0.2, 1..4u64), any::<bool>());
    (plain, rules, rest).prop_map(|((payload, deadline), rules, (max_runs, delete))| {
        let (overlap, misfire, unknown_outcome, max_attempts, pause_after_failures) = rules;
        let every = Duration::from_secs(1);
        let rule = Rule::Interval { every, phase: Duration::ZERO };
        let calendar = CalendarUse { calendar: "c".into(), mode: CalendarMode::Freeze };
        let calendars = if payload == 2 { vec![calendar] } else { vec![] };
        let timing = Timing { calendars, ..Timing::of(vec![rule], "UTC") };
        let target = Target { handler: "h".into(), payload: vec![payload].into() };
        Arc::new(Definition {
            policies: Policies {
                start_deadline: deadline.map(Duration::from_secs),
                overlap,
                misfire,
                unknown_outcome,
                retry: Retry { max_attempts, initial_backoff: every, ..Retry::default() },
                pause_after_failures,
                ..Policies::default()
            },
            max_runs,
            completion: if delete { CompletionAction::Delete } else { CompletionAction::Keep },
            ..Definition::new(timing, target)
        })
    })
}

fn overlap() -> impl Strategy<Value = OverlapPolicy> {
    prop_oneof![
        4 => Just(OverlapPolicy::HoldOne),
        1 => Just(OverlapPolicy::Skip),
        1 => (1..4u32).prop_map(|waiting_max| OverlapPolicy::BufferAll { waiting_max }),
        2 => (1..4u32).prop_map(|running_max| OverlapPolicy::Allow { running_max }),
        1 => Just(OverlapPolicy::CancelRunning),
    ]
}

fn misfire() -> impl Strategy<Value = MisfirePolicy> {
    let window = || (0..6u64).prop_map(Duration::from_secs);
    prop_oneof![
        3 => Just(MisfirePolicy::Coalesce),
        1 => window().prop_map(|window| MisfirePolicy::Skip { window }),
        2 => (window(), 1..4u32).prop_map(|(window, count_max)| MisfirePolicy::FireAll { window, count_max }),
    ]
}

fn unknown_outcome() -> impl Strategy<Value = UnknownOutcomePolicy> {
    prop_oneof![
        3 => Just(UnknownOutcomePolicy::Hold),
        1 => Just(UnknownOutcomePolicy::Retry),
        1 => Just(UnknownOutcomePolicy::Pause),
        1 => Just(UnknownOutcomePolicy::Fail),
    ]
}

fn name() -> impl Strategy<Value = ScheduleKey> {
    (0..3u8).prop_map(|n| ScheduleKey::new("default", format!("s{n}")))
}

fn action() -> impl Strategy<Value = Action> {
    let run = || (1..40u64).prop_map(RunId);
    let token = || (1..30u64).prop_map(FencingToken);
    let expected = || prop::option::weighted(0.1, (1..100u64).prop_map(Revision));
    prop_oneof![
        2 => (name(), definition(), any::<bool>()).prop_map(|(key, definition, paused)| {
            Action::CreateSchedule {
                key,
                uid: "uid".into(),
                definition,
                next_fire_at: None,
                calendars: Revision::default(),
                pause: paused.then(|| Pause {
                    reason: "r".into(),
                    actor: "a".into(),
                    paused_at: UnixMillis::default(),
                    until: None,
                    skipped: 0,
                }),
            }
        }),
        2 => (name(), definition(), expected(), any::<bool>()).prop_map(|(key, definition, expected, retime)| {
            Action::UpdateSchedule {
                key,
                expected,
                definition,
                calendars: Revision::default(),
                retime: if retime { Retime::From(None) } else { Retime::Keep },
            }
        }),
        1 => (name(), expected()).prop_map(|(key, expected)| Action::DeleteSchedule { key, expected }),
        1 => (name(), prop::option::of(1..60i64)).prop_map(|(key, until)| Action::PauseSchedule {
            key, expected: None, reason: "r".into(), actor: "a".into(),
            until: until.map(|until| UnixMillis(until * SECOND + 500)),
        }),
        2 => (name(), 0..3usize).prop_map(|(key, missed)| Action::ResumeSchedule {
            key,
            expected: None,
            missed: [
                ResumeMissed::Skip,
                ResumeMissed::Coalesce,
                ResumeMissed::FireAll { from_at: UnixMillis(0), expected: 1 },
            ][missed],
            actor: "a".into(),
        }),
        2 => (1..4u64).prop_map(|id| Action::EndPauses(vec![ScheduleId(id)])),
        2 => (name(), 0..3usize).prop_map(|(key, overlap)| Action::TriggerSchedule {
            key,
            actor: "a".into(),
            overlap: [TriggerOverlap::Wait, TriggerOverlap::Allow, TriggerOverlap::Refuse][overlap],
        }),
        1 => (0..3u8, 0..3u32).prop_map(|(kind, number)| Action::PutObject {
            declared: declared(kind, number), expected: None,
        }),
        1 => (0..3u8).prop_map(|kind| Action::DeleteObject {
            name: declared(kind, 0).name(), expected: None,
        }),
        2 => (1..4u64, 1..3u64).prop_map(|(schedule, generation)| Action::Retime(vec![Retimed {
            schedule: ScheduleId(schedule),
            generation: Generation(generation),
            calendars: Revision::default(),
            next_fire_at: None,
        }])),
        1 => (name(), 0..20i64, 1..9i64, any::<bool>()).prop_map(|(key, from, length, all)| {
            Action::CreateBackfill {
                key,
                request: BackfillRequest {
                    from_at: UnixMillis(from * SECOND),
                    until_at: UnixMillis((from + length) * SECOND),
                    mode: if all { BackfillMode::Reprocess } else { BackfillMode::Missing },
                    expected: 1,
                    actor: "a".into(),
                    reason: "r".into(),
                },
            }
        }),
        4 => (1..9u64).prop_map(|id| Action::AdvanceBackfill {
            backfill: BackfillId(id), instants: vec![], last: LastInstants::No,
        }),
        1 => (1..9u64, 0..3usize).prop_map(|(id, verb)| Action::ControlBackfill {
            backfill: BackfillId(id),
            verb: [BackfillVerb::Pause, BackfillVerb::Resume, BackfillVerb::Cancel][verb],
            actor: "a".into(),
            reason: "r".into(),
        }),
        1 => run().prop_map(|run| Action::CancelRun { run, actor: "a".into(), reason: "r".into() }),
        1 => (run(), 0..3usize).prop_map(|(run, resolution)| Action::ResolveRun {
            run,
            resolution: [Resolution::Succeeded, Resolution::Failed, Resolution::DidNotRun][resolution],
            actor: "a".into(),
            reason: "r".into(),
        }),
        // Wild fires: most are stale, none may do harm.
        2 => (1..4u64, 0..60i64, 1..3u64).prop_map(|(schedule, at, generation)| {
            Action::Fire(vec![FireGroup {
                nominal_at: UnixMillis(at * SECOND),
                fires: vec![Fire::new(
                    ScheduleId(schedule),
                    Generation(generation),
                    Some(UnixMillis((at + 1) * SECOND)),
                )],
            }])
        }),
        8 => (prop::sample::select(vec!["A", "B"]), run(), 1..4u32).prop_map(|(executor, run, attempt)| {
            let begins = vec![Begin { run, attempt: AttemptNo(attempt) }];
            Action::Begin(vec![BeginGroup { executor: executor.into(), begins }])
        }),
        8 => (run(), token(), 0..5u8).prop_map(|(run, token, result)| {
            let result = [
                AttemptResult::Succeeded, AttemptResult::Failed, AttemptResult::TimedOut, AttemptResult::NotStarted,
                AttemptResult::Cancelled,
            ][usize::from(result)];
            let report = Report { exit_code: Some(1), ..Report::default() };
            Action::Complete(vec![Completion { run, token, result, retryable: Retryable::Perhaps, report }])
        }),
        2 => (run(), token()).prop_map(|(run, token)| {
            Action::ExpireLeases(vec![LeaseLoss { run, token, reason: Reason::LeaseLost }])
        }),
        2 => run().prop_map(|run| Action::ExpireStarts(vec![run])),
        1 => run().prop_map(|run| {
            Action::Prune(Prune { runs: vec![run], reports: vec![run], answers: vec![run.0] })
        }),
    ]
}

/// Time between two commands: the next leader's clock may be behind.
fn passed() -> impl Strategy<Value = i64> {
    prop_oneof![15 => 0..700i64, 1 => -3000..0i64]
}

/// The revision of the calendars that a proposer computes with.
fn calendars_of(state: &State, definition: &Definition) -> Revision {
    let name = ObjectName::Calendar(ScheduleKey::new("default", "c"));
    let calendar = state.object(&name).map(|calendar| calendar.revision);
    calendar.filter(|_| !definition.timing.calendars.is_empty()).unwrap_or_default()
}

/// Fills in what a proposer computes: the first instant after now, or after the watermark if it looks at that.
fn proposed(state: &State, action: Action, now: UnixMillis) -> Action {
    let watermark = match &action {
        Action::UpdateSchedule { key, expected: None, .. } => state.schedule_named(key).map(|s| s.watermark),
        _ => None,
    };
    let after = watermark.map_or(now, |watermark| watermark.max(now));
    let next = UnixMillis((after.0.div_euclid(SECOND) + 1) * SECOND);
    match action {
        Action::CreateSchedule { key, uid, definition, pause, .. } => {
            let calendars = calendars_of(state, &definition);
            Action::CreateSchedule { key, uid, definition, calendars, pause, next_fire_at: Some(next) }
        }
        Action::UpdateSchedule { key, expected, definition, retime, .. } => {
            let timing = state.schedule_named(&key).map(|schedule| &schedule.definition.timing);
            let is_kept = retime == Retime::Keep && timing == Some(&definition.timing);
            let retime = if is_kept { Retime::Keep } else { Retime::From(Some(next)) };
            let calendars = calendars_of(state, &definition);
            Action::UpdateSchedule { key, expected, definition, calendars, retime }
        }
        // What the leader finds for a schedule whose calendar changed.
        Action::Retime(retimed) => {
            let fresh = |retimed: Retimed| {
                let watermark = state.schedule(retimed.schedule).map_or(now, |s| s.watermark);
                let calendar = state.calendar(&ScheduleKey::new("default", "c"));
                let changed_at = calendar.map_or(watermark, |(_, changed_at)| changed_at);
                let second = watermark.max(changed_at.min(now)).0.div_euclid(SECOND) + 1;
                Retimed {
                    calendars: state.calendars_revision(retimed.schedule),
                    next_fire_at: Some(UnixMillis(second * SECOND)),
                    ..retimed
                }
            };
            Action::Retime(retimed.into_iter().map(fresh).collect())
        }
        Action::AdvanceBackfill { backfill, .. } => {
            let id = state.advancing().next().map_or(backfill, |backfill| backfill.id);
            let cursor = state.backfill(id).map_or(0, |backfill| backfill.cursor.0.div_euclid(SECOND));
            let instants = (1..4).map(|n| UnixMillis((cursor + n) * SECOND)).collect();
            let over = state.backfill(id).is_some_and(|b| UnixMillis((cursor + 4) * SECOND) >= b.until_at);
            let last = if over { LastInstants::Yes } else { LastInstants::No };
            Action::AdvanceBackfill { backfill: id, instants, last }
        }
        other => other,
    }
}

fn declared(kind: u8, number: u32) -> Declared {
    match kind {
        0 => Declared::Calendar(Calendar {
            key: ScheduleKey::new("default", "c"),
            time_zone: None,
            days: vec![number.to_string()],
            periods: vec![],
            description: String::new(),
        }),
        1 => Declared::Pool(Pool {
            name: "default".into(),
            slots: (number > 0).then_some(number),
            rate: None,
            paused: None,
            description: String::new(),
        }),
        _ => Declared::Namespace(Namespace {
            name: "default".into(),
            running_max: (number > 0).then_some(number),
            schedules_max: (number > 1).then_some(2),
            weight: 1,
            spread: None,
            description: String::new(),
        }),
    }
}

/// The next second; some instants are spread, some frozen.
fn fire_of(state: &State, schedule: ScheduleId, nominal_at: UnixMillis) -> Fire {
    let second = nominal_at.0 / SECOND;
    let generation = state.schedule(schedule).unwrap().generation;
    Fire {
        spread_for: Duration::from_millis(if second % 4 == 1 { 700 } else { 0 }),
        freeze: if second % 7 == 3 { Freeze::Frozen } else { Freeze::Open },
        ..Fire::new(schedule, generation, Some(UnixMillis(nominal_at.0 + SECOND)))
    }
}

/// What the ticker would propose.
fn fire_due(state: &State, now: UnixMillis) -> Action {
    let groups = state
        .due()
        .until(now)
        .map(|(nominal_at, schedule)| FireGroup {
            nominal_at,
            fires: vec![fire_of(state, schedule, nominal_at)],
        })
        .collect();
    Action::Fire(groups)
}

/// LEDGER-1: every second after activation and up to the watermark has exactly one row of the timing. One that was over by
/// its count, and goes on since an edit, had no instants in between.
fn check_ledger(state: &State, pruned: bool, were_over: &mut BTreeSet<ScheduleId>) {
    if pruned {
        return;
    }
    for id in state.schedule_ids_from(ScheduleId(0)) {
        let schedule = state.schedule(id).unwrap();
        if schedule.is_exhausted() {
            were_over.insert(id);
        }
        if were_over.contains(&id) {
            continue;
        }
        let mut expected = schedule.created_at.0.div_euclid(SECOND) + 1;
        for run in state.rows(id).filter(|run| run.series() == Series::Timing) {
            assert_eq!(run.nominal_at.0, expected * SECOND, "schedule {id} has a hole");
            expected += 1;
        }
        let upto = schedule.watermark.0.div_euclid(SECOND);
        assert!(expected > upto, "schedule {id} has no row at {expected}, its watermark is {upto}");
    }
}

/// What those who watch see of a state.
struct Seen {
    runs: BTreeMap<RunId, Run>,
    schedules: BTreeMap<ScheduleId, (Revision, Option<String>, bool)>,
}

impl Seen {
    fn of(state: &State) -> Self {
        let runs = state.runs_from(RunId(0)).map(|run| (run.id, run.clone())).collect();
        let schedules = state.schedule_ids_from(ScheduleId(0)).filter_map(|id| {
            let schedule = state.schedule(id).filter(|schedule| schedule.remains().deleted_at.is_none())?;
            let pause = schedule.pause.as_ref().map(|pause| pause.reason.clone());
            Some((id, (schedule.revision, pause, schedule.next_fire_at.is_none())))
        });
        Self { runs, schedules: schedules.collect() }
    }

    /// Whatever changed is told, and what is told is there.
    fn check(&self, state: &State, changes: &Changes) {
        let after = Self::of(state);
        for (id, run) in &after.runs {
            let told = changes.runs.contains(id);
            assert!(told || self.runs.get(id) == Some(run), "run {id} changed in silence");
        }
        for (id, schedule) in &after.schedules {
            let told = changes.schedules.iter().any(|(told, _)| told == id);
            assert!(told || self.schedules.get(id) == Some(schedule), "schedule {id} changed in silence");
        }
        let gone = self.schedules.keys().filter(|id| !after.schedules.contains_key(id)).count();
        assert_eq!(gone, changes.deleted.len(), "a schedule was deleted in silence");
    }
}

/// Makes the state count what the second feature level counts.
fn raise(state: &mut State) {
    let command = Command { now: UnixMillis(0), request: None, action: Action::RaiseFeatureLevel(2) };
    state.apply(LogPosition { term: 1, index: 0 }, command).outcome.unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 800, ..ProptestConfig::default() })]

    #[test]
    fn invariants_hold_under_any_commands(
        steps in prop::collection::vec((action(), passed(), any::<bool>(), 0..20u8), 1..120),
    ) {
        let mut state = State::default();
        let mut replica = State::default();
        for each in [&mut state, &mut replica] {
            raise(each);
        }
        let mut now = UnixMillis(0);
        let mut pruned = false;
        let mut were_over = BTreeSet::new();
        let mut begun = BTreeMap::<RunId, Vec<FencingToken>>::new();
        let mut last_token = FencingToken(0);
        for (index, (action, passed, tick, request)) in steps.into_iter().enumerate() {
            now = UnixMillis((now.0 + passed).max(0));
            pruned |= matches!(action, Action::Prune(_));
            let action = if tick { fire_due(&state, now) } else { proposed(&state, action, now) };
            // Few ids, so that some are repeated, with the same request and with others.
            let request = (request < 4).then(|| RequestKey {
                id: format!("r{request}").into(), fingerprint: u64::from(request % 2),
            });
            let command = Command { now, request, action };
            let at = LogPosition { term: 1, index: index as u64 + 1 };
            let before = Seen::of(&state);
            let applied = state.apply(at, command.clone());
            before.check(&state, &applied.changes);

            // APPLY-1, also across a restart from records in between.
            if index % 7 == 3 {
                let records: Vec<_> =
                    replica.blocks().into_iter().flat_map(|block| replica.block(block)).collect();
                replica = State::restore(records).unwrap();
            }
            prop_assert_eq!(&replica.apply(at, command.clone()), &applied);
            prop_assert_eq!(replica.digest(), state.digest());

            prop_assert_eq!(state.violations(), vec![]);
            check_ledger(&state, pruned, &mut were_over);
            if let (Action::Begin(groups), Ok(Outcome::Begun(results))) = (&command.action, &applied.outcome) {
                for (begin, result) in groups.iter().flat_map(|group| &group.begins).zip(results) {
                    if let BeginResult::Begun { token, again: false, .. } = result {
                        prop_assert!(*token > last_token, "RUN-3");
                        last_token = *token;
                        begun.entry(begin.run).or_default().push(*token);
                    }
                }
            }
        }
        // RUN-2: a second lease only after the first was handed back as not started.
        for (run, tokens) in begun {
            if let Some(lease) = state.run(run).and_then(|run| run.state.lease()) {
                prop_assert_eq!(Some(&lease.token), tokens.last());
            }
            let unknown = state.run_state(run).is_some_and(|state| {
                matches!(state, RunState::Ended { ending: belfry_core::run::Ending::Unknown(_), .. })
            });
            prop_assert!(!unknown || !tokens.is_empty());
        }
    }

    #[test]
    fn only_dirty_blocks_differ(
        steps in prop::collection::vec((action(), passed(), any::<bool>()), 1..80),
    ) {
        // A checkpoint that writes only what is dirty ends with the whole state.
        let mut state = State::default();
        raise(&mut state);
        let mut stored = BTreeMap::new();
        let mut now = UnixMillis(0);
        for (index, (action, passed, tick)) in steps.into_iter().enumerate() {
            now = UnixMillis((now.0 + passed).max(0));
            let action = if tick { fire_due(&state, now) } else { proposed(&state, action, now) };
            state.apply(LogPosition { term: 1, index: index as u64 + 1 }, Command { now, request: None, action });
            if index % 5 == 0 {
                for block in state.take_dirty() {
                    stored.insert(block, state.block(block));
                }
            }
        }
        for block in state.take_dirty() {
            stored.insert(block, state.block(block));
        }
        let restored = State::restore(stored.into_values().flatten()).unwrap();
        for block in state.blocks() {
            prop_assert_eq!(restored.block(block), state.block(block));
        }
        prop_assert_eq!(restored.blocks(), state.blocks());
        prop_assert_eq!(restored.digest(), state.digest());
    }
}
