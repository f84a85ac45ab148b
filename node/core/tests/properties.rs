//! Properties of the state machine under any sequence of commands, sensible or not.

#![allow(clippy::unwrap_used, reason = "this is a test")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use belfry_core::command::{
    Action, Begin, BeginGroup, BeginResult, Command, Completion, Fire, FireGroup, LeaseLoss, Outcome, Prune,
    RequestKey, Retime,
};
use belfry_core::definition::{Definition, Policies, Rule, Target, Timing};
use belfry_core::run::{AttemptResult, Reason, Report, RunState};
use belfry_core::schedule::Pause;
use belfry_core::{
    AttemptNo, FencingToken, Generation, LogPosition, Revision, RunId, ScheduleId, ScheduleKey, State,
    UnixMillis,
};
use proptest::prelude::*;

/// Instants are whole seconds and every schedule fires every second, so that what is expected can be counted.
const SECOND: i64 = 1000;

fn definition(payload: u8, deadline: Option<u64>) -> Arc<Definition> {
    let every = Duration::from_secs(1);
    Arc::new(Definition {
        timing: Timing {
            include: vec![Rule::Interval { every, phase: Duration::ZERO }],
            time_zone: "UTC".into(),
        },
        target: Target { handler: "h".into(), payload: vec![payload].into() },
        policies: Policies { start_deadline: deadline.map(Duration::from_secs), ..Policies::default() },
        pool: "default".into(),
        labels: BTreeMap::new(),
        description: String::new(),
    })
}

fn name() -> impl Strategy<Value = ScheduleKey> {
    (0..3u8).prop_map(|n| ScheduleKey::new("default", format!("s{n}")))
}

fn action() -> impl Strategy<Value = Action> {
    let run = || (1..40u64).prop_map(RunId);
    let token = || (1..30u64).prop_map(FencingToken);
    let expected = || prop::option::weighted(0.1, (1..100u64).prop_map(Revision));
    prop_oneof![
        2 => (name(), 0..3u8, prop::option::of(1..5u64), any::<bool>()).prop_map(|(key, p, deadline, paused)| {
            Action::CreateSchedule {
                key,
                uid: "uid".into(),
                definition: definition(p, deadline),
                next_fire_at: None,
                pause: paused.then(|| Pause {
                    reason: "r".into(), actor: "a".into(), paused_at: UnixMillis::default(),
                }),
            }
        }),
        2 => (name(), 0..3u8, expected(), any::<bool>()).prop_map(|(key, p, expected, retime)| {
            Action::UpdateSchedule {
                key,
                expected,
                definition: definition(p, None),
                retime: if retime { Retime::From(None) } else { Retime::Keep },
            }
        }),
        1 => (name(), expected()).prop_map(|(key, expected)| Action::DeleteSchedule { key, expected }),
        1 => name().prop_map(|key| Action::PauseSchedule {
            key, expected: None, reason: "r".into(), actor: "a".into(),
        }),
        2 => name().prop_map(|key| Action::ResumeSchedule { key, expected: None }),
        2 => name().prop_map(|key| Action::TriggerSchedule { key, actor: "a".into() }),
        // Wild fires: most are stale, none may do harm.
        2 => (1..4u64, 0..60i64, 1..3u64).prop_map(|(schedule, at, generation)| {
            Action::Fire(vec![FireGroup {
                nominal_at: UnixMillis(at * SECOND),
                fires: vec![Fire {
                    schedule: ScheduleId(schedule),
                    generation: Generation(generation),
                    next_fire_at: Some(UnixMillis((at + 1) * SECOND)),
                }],
            }])
        }),
        8 => (prop::sample::select(vec!["A", "B"]), run(), 1..4u32).prop_map(|(executor, run, attempt)| {
            let begins = vec![Begin { run, attempt: AttemptNo(attempt) }];
            Action::Begin(vec![BeginGroup { executor: executor.into(), begins }])
        }),
        8 => (run(), token(), 0..4u8).prop_map(|(run, token, result)| {
            let result = [
                AttemptResult::Succeeded, AttemptResult::Failed, AttemptResult::TimedOut, AttemptResult::NotStarted,
            ][usize::from(result)];
            let report = Report { exit_code: Some(1), ..Report::default() };
            Action::Complete(vec![Completion { run, token, result, report }])
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
            Action::CreateSchedule { key, uid, definition, pause, next_fire_at: Some(next) }
        }
        Action::UpdateSchedule { key, expected, definition, retime: Retime::From(_) } => {
            Action::UpdateSchedule { key, expected, definition, retime: Retime::From(Some(next)) }
        }
        other => other,
    }
}

/// What the ticker would propose.
fn fire_due(state: &State, now: UnixMillis) -> Action {
    let groups = state
        .due()
        .until(now)
        .map(|(nominal_at, schedule)| FireGroup {
            nominal_at,
            fires: vec![Fire {
                schedule,
                generation: state.schedule(schedule).unwrap().generation,
                next_fire_at: Some(UnixMillis(nominal_at.0 + SECOND)),
            }],
        })
        .collect();
    Action::Fire(groups)
}

/// LEDGER-1: every second after activation and up to the watermark has exactly one row of the timing.
fn check_ledger(state: &State, pruned: bool) {
    if pruned {
        return;
    }
    for id in state.schedule_ids_from(ScheduleId(0)) {
        let schedule = state.schedule(id).unwrap();
        let mut expected = schedule.created_at.0.div_euclid(SECOND) + 1;
        for run in state.rows(id).filter(|run| !matches!(run.trigger, belfry_core::run::Trigger::Manual)) {
            assert_eq!(run.nominal_at.0, expected * SECOND, "schedule {id} has a hole");
            expected += 1;
        }
        let upto = schedule.watermark.0.div_euclid(SECOND);
        assert!(expected > upto, "schedule {id} has no row at {expected}, its watermark is {upto}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn invariants_hold_under_any_commands(
        steps in prop::collection::vec((action(), passed(), any::<bool>(), 0..20u8), 1..120),
    ) {
        let mut state = State::default();
        let mut replica = State::default();
        let mut now = UnixMillis(0);
        let mut pruned = false;
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
            let applied = state.apply(at, command.clone());

            // APPLY-1, also across a restart from records in between.
            if index % 7 == 3 {
                let records: Vec<_> =
                    replica.blocks().into_iter().flat_map(|block| replica.block(block)).collect();
                replica = State::restore(records).unwrap();
            }
            prop_assert_eq!(&replica.apply(at, command.clone()), &applied);
            prop_assert_eq!(replica.digest(), state.digest());

            prop_assert_eq!(state.violations(), vec![]);
            check_ledger(&state, pruned);
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
