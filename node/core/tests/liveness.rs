//! What is overdue, and what is missed.

#![allow(clippy::unwrap_used, reason = "this is a test")]

use std::sync::Arc;
use std::time::Duration;

use belfry_core::command::{Action, Begin, BeginGroup, Command, Completion, Fire, FireGroup};
use belfry_core::definition::{Definition, Liveness, Rule, Target, Timing};
use belfry_core::liveness::{Judgement, judge};
use belfry_core::run::{AttemptResult, Report};
use belfry_core::{
    AttemptNo, FencingToken, Generation, LogPosition, RunId, ScheduleId, ScheduleKey, State, UnixMillis,
};

const MINUTE: i64 = 60_000;

/// One schedule that fires every ten minutes.
struct World {
    state: State,
    index: u64,
    token: u64,
}

impl World {
    fn new(liveness: Liveness) -> Self {
        let mut world = Self { state: State::default(), index: 0, token: 0 };
        let rule = Rule::Interval { every: Duration::from_secs(600), phase: Duration::ZERO };
        let target = Target { handler: "h".into(), payload: Default::default() };
        let definition = Definition { liveness, ..Definition::new(Timing::of(vec![rule], "UTC"), target) };
        world.apply(
            1,
            Action::CreateSchedule {
                key: ScheduleKey::new("n", "s"),
                uid: "u".into(),
                definition: Arc::new(definition),
                next_fire_at: Some(UnixMillis(10 * MINUTE)),
                calendars: Default::default(),
                pause: None,
            },
        );
        world
    }

    fn apply(&mut self, now: i64, action: Action) {
        self.index += 1;
        let at = LogPosition { term: 1, index: self.index };
        self.state.apply(at, Command { now: UnixMillis(now), request: None, action }).outcome.unwrap();
    }

    /// The row of an instant, made in time.
    fn fire(&mut self, minute: i64) {
        let nominal_at = UnixMillis(minute * MINUTE);
        let fire = Fire::new(ScheduleId(1), Generation(1), Some(UnixMillis((minute + 10) * MINUTE)));
        self.apply(minute * MINUTE, Action::Fire(vec![FireGroup { nominal_at, fires: vec![fire] }]));
    }

    fn begin(&mut self, minute: i64, run: u64) {
        self.token += 1;
        let begins = vec![Begin { run: RunId(run), attempt: AttemptNo(1) }];
        self.apply(minute * MINUTE, Action::Begin(vec![BeginGroup { executor: "A".into(), begins }]));
    }

    fn end(&mut self, minute: i64, run: u64, result: AttemptResult) {
        let (run, token, report) = (RunId(run), FencingToken(self.token), Report::default());
        let done = Completion { retryable: Default::default(), run, token, result, report };
        self.apply(minute * MINUTE, Action::Complete(vec![done]));
    }

    fn at(&self, minute: i64) -> Judgement {
        judge(&self.state, ScheduleId(1), UnixMillis(minute * MINUTE + 1))
    }

    /// Since which minute something is overdue, and of which run.
    fn overdue(&self, minute: i64) -> Option<(i64, Option<u64>)> {
        self.at(minute).overdue.map(|overdue| (overdue.at.0 / MINUTE, overdue.run.map(|run| run.0)))
    }

    fn missed(&self, minute: i64) -> Option<i64> {
        self.at(minute).success_missed_at.map(|at| at.0 / MINUTE)
    }
}

#[test]
fn a_start_is_overdue_after_its_grace_and_so_is_a_row() {
    let mut world = World::new(Liveness::default());
    assert_eq!((world.overdue(14), world.overdue(15)), (None, Some((15, None))));
    world.fire(10);
    assert_eq!((world.overdue(14), world.overdue(15)), (None, Some((15, Some(1)))));
    world.begin(16, 1);
    assert_eq!(world.overdue(19), None);
}

#[test]
fn what_waits_behind_a_stuck_run_is_overdue_though_it_is_always_new() {
    let mut world = World::new(Liveness::default());
    world.fire(10);
    world.begin(10, 1);
    for minute in [20, 30, 40] {
        world.fire(minute);
    }
    // The run of minute 40 stands for 20 and 30.
    assert_eq!(world.overdue(41), Some((25, Some(4))));
}

#[test]
fn a_success_is_missed_after_two_instants_without_one() {
    let mut world = World::new(Liveness::default());
    world.fire(10);
    world.begin(10, 1);
    world.end(13, 1, AttemptResult::Succeeded);
    world.fire(20);
    world.begin(20, 2);
    world.end(21, 2, AttemptResult::Failed);
    assert_eq!(world.missed(29), None);
    world.fire(30);
    world.begin(30, 3);
    // It has the grace, and as long as the last success took.
    assert_eq!((world.missed(37), world.missed(38)), (None, Some(38)));
    world.end(39, 3, AttemptResult::Succeeded);
    assert_eq!(world.missed(40), None);
}

#[test]
fn a_schedule_may_say_how_long_and_nobody_is_told_if_it_wants() {
    let within = Some(Duration::from_secs(60 * 60));
    let mut world = World::new(Liveness { success_within: within, ..Liveness::default() });
    world.fire(10);
    world.begin(10, 1);
    world.end(10, 1, AttemptResult::Failed);
    assert_eq!((world.missed(59), world.missed(61)), (None, Some(60)));
    let mut world = World::new(Liveness { disabled: true, ..Liveness::default() });
    world.fire(10);
    assert!(world.at(1000).is_well());
}

#[test]
fn a_pause_keeps_what_it_holds_from_being_overdue() {
    let mut world = World::new(Liveness::default());
    world.fire(10);
    let key = ScheduleKey::new("n", "s");
    let pause = Action::PauseSchedule {
        key: key.clone(),
        expected: None,
        reason: "r".into(),
        actor: "a".into(),
        until: None,
    };
    world.apply(11 * MINUTE, pause);
    world.fire(20);
    world.fire(30);
    assert!(world.at(34).is_well());
    assert_eq!(world.overdue(46), Some((45, None)), "rows are made all the same");
}
