//! A state that begins anew in another cluster (RESTORE): what may have begun since the snapshot begins no more.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "this is a test")]

use std::sync::Arc;
use std::time::Duration;

use belfry_core::backfill::{BackfillMode, BackfillState};
use belfry_core::command::{Action, Begin, BeginGroup, Command, Fire, FireGroup, Outcome, TriggerOverlap};
use belfry_core::definition::{Definition, Rule, Target, Timing};
use belfry_core::run::Reason;
use belfry_core::state::{BackfillRequest, COUNTER_GAP, Restoration};
use belfry_core::{AttemptNo, LogPosition, RunId, RunState, ScheduleId, ScheduleKey, State, UnixMillis};

struct World {
    state: State,
    index: u64,
}

fn key(name: &str) -> ScheduleKey {
    ScheduleKey::new("default", name)
}

fn at(seconds: i64) -> UnixMillis {
    UnixMillis(seconds * 1000)
}

impl World {
    fn new() -> Self {
        let mut world = Self { state: State::default(), index: 0 };
        world.act(0, Action::RaiseFeatureLevel(2));
        world
    }

    fn act(&mut self, now: i64, action: Action) -> Outcome {
        self.index += 1;
        let command = Command { now: at(now), request: None, action };
        let applied = self.state.apply(LogPosition { term: 1, index: self.index }, command);
        assert_eq!(self.state.violations(), []);
        applied.outcome.unwrap()
    }

    fn create(&mut self, name: &str, next: i64) -> ScheduleId {
        let rule = Rule::Interval { every: Duration::from_secs(10), phase: Duration::ZERO };
        let target = Target { handler: "command".into(), payload: Default::default() };
        let action = Action::CreateSchedule {
            key: key(name),
            uid: name.into(),
            definition: Arc::new(Definition::new(Timing::of(vec![rule], "UTC"), target)),
            next_fire_at: Some(at(next)),
            calendars: Default::default(),
            pause: None,
        };
        let Outcome::Schedule(schedule) = self.act(0, action) else { panic!("not created") };
        schedule.id
    }

    /// Makes the row of one instant.
    fn fire(&mut self, now: i64, schedule: ScheduleId, nominal: i64) -> RunId {
        let generation = self.state.schedule(schedule).unwrap().generation;
        let fire = Fire::new(schedule, generation, Some(at(nominal + 10)));
        let Outcome::Fired(tally) =
            self.act(now, Action::Fire(vec![FireGroup { nominal_at: at(nominal), fires: vec![fire] }]))
        else {
            panic!("not fired")
        };
        assert_eq!(tally.stale, 0);
        self.state.runs_from(RunId(0)).last().unwrap().id
    }

    fn begin(&mut self, now: i64, run: RunId) {
        let begins = vec![Begin { run, attempt: AttemptNo(1) }];
        self.act(now, Action::Begin(vec![BeginGroup { executor: "e".into(), begins }]));
        assert!(matches!(self.state.run(run).unwrap().state, RunState::Running(_)));
    }

    /// As in another cluster, from what a snapshot holds.
    fn restored(&self, now: i64, skip_until: Option<i64>) -> World {
        let records = self.state.blocks().into_iter().flat_map(|block| self.state.block(block));
        let mut state = State::restore(records.collect::<Vec<_>>()).unwrap();
        let index = self.index + COUNTER_GAP;
        let restoration =
            Restoration { at: LogPosition { term: 1, index }, now: at(now), skip_until: skip_until.map(at) };
        state.begin_anew(&restoration);
        assert_eq!(state.violations(), []);
        World { state, index }
    }

    fn told(&self, run: RunId) -> (&'static str, Option<Reason>) {
        let run = self.state.run(run).unwrap();
        (run.state.name(), run.reason())
    }
}

#[test]
fn restore_1_what_waited_and_what_came_since_does_not_begin() {
    let mut world = World::new();
    let schedule = world.create("s", 10);
    let due = world.fire(10, schedule, 10);
    let other = world.create("by-hand", 1000);
    world.act(
        11,
        Action::TriggerSchedule { key: key("by-hand"), actor: "a".into(), overlap: TriggerOverlap::Wait },
    );
    let manual = world.state.runs_from(RunId(0)).last().unwrap().id;

    let mut restored = world.restored(45, Some(45));
    assert_eq!(restored.told(due), ("SKIPPED", Some(Reason::Restored)));
    assert_eq!(restored.told(manual), ("SKIPPED", Some(Reason::Restored)));
    assert_eq!(restored.state.ready().len(), 0);
    for nominal in [20, 30, 40] {
        let row = restored.fire(46, schedule, nominal);
        assert_eq!(restored.told(row), ("SKIPPED", Some(Reason::Restored)), "LEDGER-1: a row with a reason");
        assert_eq!(restored.state.ready().len(), 0);
    }
    // What comes after the restore is its own.
    let next = restored.fire(50, schedule, 50);
    assert_eq!(restored.told(next).0, "DUE");
    assert_eq!(restored.state.ready().len(), 1);
    assert!(restored.state.schedule(other).is_some());
    // It is found by the next restart of the node, too.
    let again = restored.restored(51, Some(51));
    assert_eq!(again.told(next), ("SKIPPED", Some(Reason::Restored)));
}

#[test]
fn whoever_knows_that_nothing_began_may_make_up_for_it() {
    let mut world = World::new();
    let schedule = world.create("s", 10);
    let due = world.fire(10, schedule, 10);
    let mut restored = world.restored(45, None);
    assert_eq!(restored.told(due).0, "DUE");
    for nominal in [20, 30, 40] {
        restored.fire(46, schedule, nominal);
    }
    let state = &restored.state;
    assert_eq!(restored.told(due).0, "MERGED", "COALESCE");
    assert_eq!(state.runs_from(RunId(0)).filter(|run| run.state.name() == "DUE").count(), 1);
}

#[test]
fn restore_2_and_3_a_running_run_keeps_its_lease_and_numbers_go_on_above() {
    let mut world = World::new();
    let schedule = world.create("s", 10);
    let run = world.fire(10, schedule, 10);
    world.begin(11, run);
    let token = world.state.run(run).unwrap().state.lease().unwrap().token;
    // The former cluster goes on: what it hands out stays below.
    let lost = world.fire(20, schedule, 20);

    let mut restored = world.restored(45, Some(15));
    assert_eq!(restored.told(run).0, "RUNNING");
    assert_eq!(restored.state.run(run).unwrap().state.lease().unwrap().token, token);
    let late = restored.fire(46, schedule, 30);
    assert!(late.0 >= COUNTER_GAP && late != lost);
    let other = restored.create("other", 50);
    let run = restored.fire(50, other, 50);
    restored.begin(51, run);
    let newer = restored.state.run(run).unwrap().state.lease().unwrap().token;
    assert!(newer.0 > token.0 + COUNTER_GAP / 2, "RUN-3");
    assert_eq!(restored.state.feature_level(), 3, "RESTORE-5");
}

#[test]
fn restore_4_a_backfill_waits_for_somebody_to_look() {
    let mut world = World::new();
    let schedule = world.create("s", 1000);
    let request = BackfillRequest {
        from_at: at(10),
        until_at: at(50),
        mode: BackfillMode::Reprocess,
        expected: 4,
        actor: "a".into(),
        reason: "r".into(),
    };
    world.act(60, Action::CreateBackfill { key: key("s"), request });
    let restored = world.restored(70, Some(70));
    let backfill = restored.state.backfills_of(schedule).next().unwrap();
    assert!(matches!(backfill.state, BackfillState::Paused(_)), "{backfill:?}");
    assert_eq!(restored.state.advancing().count(), 0);
}
