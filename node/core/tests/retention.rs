//! What retention lets go, and that nothing hides from it.

#![allow(clippy::unwrap_used, reason = "this is a test")]

use std::sync::Arc;
use std::time::Duration;

use belfry_core::backfill::BackfillMode;
use belfry_core::command::{
    Action, Begin, BeginGroup, Command, Completion, Fire, FireGroup, Prune, RequestKey,
};
use belfry_core::definition::{Definition, History, Rule, Target, Timing};
use belfry_core::retention::{Cursor, Retention, select};
use belfry_core::run::{AttemptResult, Report};
use belfry_core::state::{Answer, BackfillRequest, Record, RestoreError};
use belfry_core::{
    AttemptNo, FencingToken, Generation, LogPosition, RunId, ScheduleId, ScheduleKey, State, UnixMillis,
    ledger,
};

#[derive(Default)]
struct World {
    state: State,
    index: u64,
}

impl World {
    fn apply(&mut self, now: i64, request: Option<&str>, action: Action) {
        self.index += 1;
        let request = request.map(|id| RequestKey { id: id.into(), fingerprint: 1 });
        let at = LogPosition { term: 1, index: self.index };
        self.state.apply(at, Command { now: UnixMillis(now), request, action }).outcome.unwrap();
    }

    fn create(&mut self, count: u64) {
        self.create_with(count, |_| History::default());
    }

    fn create_with(&mut self, count: u64, history: impl Fn(u64) -> History) {
        let target = Target { handler: "h".into(), payload: Default::default() };
        let timing = Timing::of(vec![Rule::At(UnixMillis(10))], "UTC");
        for number in 0..count {
            let definition = Definition::new(timing.clone(), target.clone());
            let action = Action::CreateSchedule {
                key: ScheduleKey::new("default", format!("s{number}")),
                uid: format!("uid-{number}").into(),
                definition: Arc::new(Definition { history: history(number), ..definition }),
                next_fire_at: Some(UnixMillis(10)),
                calendars: Default::default(),
                pause: None,
            };
            self.apply(0, None, action);
        }
    }

    /// One run of each schedule, that succeeds.
    fn succeed(&mut self, nominal: i64, count: u64) {
        let first = self.state.run_count() as u64 + 1;
        let runs = || (first..first + count).map(RunId);
        let fires = (1..=count)
            .map(|id| Fire::new(ScheduleId(id), Generation(1), Some(UnixMillis(nominal + 10))))
            .collect();
        self.apply(nominal, None, Action::Fire(vec![FireGroup { nominal_at: UnixMillis(nominal), fires }]));
        let begins = runs().map(|run| Begin { run, attempt: AttemptNo(1) }).collect();
        self.apply(nominal, None, Action::Begin(vec![BeginGroup { executor: "A".into(), begins }]));
        let done = |run: RunId| Completion {
            retryable: Default::default(),
            run,
            token: FencingToken(run.0),
            result: AttemptResult::Succeeded,
            report: Report::default(),
        };
        self.apply(nominal, None, Action::Complete(runs().map(done).collect()));
    }

    /// One round of selections; gives the ids of the rows that went.
    fn round(&mut self, now: i64, keep: &Retention) -> Vec<u64> {
        let mut cursor = Cursor::default();
        let mut gone = Vec::new();
        loop {
            let (prune, next) = select(&self.state, keep, UnixMillis(now), cursor);
            gone.extend(prune.runs.iter().map(|run| run.0));
            self.apply(now, None, Action::Prune(prune));
            cursor = next;
            if cursor.is_at_start() {
                return gone;
            }
        }
    }
}

fn keep() -> Retention {
    Retention {
        rows_for: Duration::from_secs(3600),
        rows_per_schedule_max: u64::MAX,
        rows_max: usize::MAX,
        reports_bytes_max: u64::MAX,
        answers_for: Duration::from_secs(3600),
    }
}

#[test]
fn old_rows_go_and_last_words_stay() {
    let mut world = World::default();
    world.create(2);
    world.succeed(10, 2);
    world.succeed(20, 2);
    assert_eq!(world.round(3_600_015, &keep()), [1, 2]);
    assert_eq!(world.round(9_999_999, &keep()), [], "the last success of each stays");
}

#[test]
fn rows_that_stay_do_not_hide_those_behind_them() {
    // Many quiet schedules whose one row stays, in front of a busy one.
    const QUIET: u64 = 20_000;
    let mut world = World::default();
    world.create(QUIET);
    world.succeed(10, QUIET);
    for nominal in [20, 30, 40] {
        world.succeed(nominal, 1);
    }
    let few = Retention { rows_max: 10, ..keep() };
    // Of the busy one all but the newest go.
    assert_eq!(world.round(50, &few), [1, QUIET + 1, QUIET + 2]);
    assert_eq!(world.state.run_count() as u64, QUIET);
}

#[test]
fn a_row_that_is_an_answer_is_not_chosen() {
    let mut world = World::default();
    world.create(1);
    let key = ScheduleKey::new("default", "s0");
    world.apply(
        1,
        Some("r1"),
        Action::TriggerSchedule { key: key.clone(), actor: "".into(), overlap: Default::default() },
    );
    world.apply(2, None, Action::DeleteSchedule { key, expected: None });
    let few = Retention { rows_max: 0, ..keep() };
    assert_eq!(world.round(3, &few), []);
    world.apply(4, None, Action::Prune(Prune { answers: vec![1], ..Prune::default() }));
    assert_eq!(world.round(5, &few), [1]);
    assert_eq!(world.state.schedule_ids_from(ScheduleId(0)).count(), 0);
}

#[test]
fn a_schedule_may_keep_fewer_rows_or_keep_them_for_longer() {
    let mut world = World::default();
    world.create_with(3, |number| match number {
        0 => History { keep_count: Some(2), keep_for: None },
        1 => History { keep_for: Some(Duration::from_secs(60)), keep_count: None },
        _ => History { keep_for: Some(Duration::from_secs(36_000)), keep_count: None },
    });
    for nominal in [10, 20, 30] {
        world.succeed(nominal, 3);
    }
    // Of the first one row is too many, of the second all are too old but the last success.
    assert_eq!(world.round(70_000, &keep()), [1, 2, 5]);
    // The third keeps its rows beyond the hour that the cluster keeps them.
    assert_eq!(world.round(3_700_000, &keep()), [4]);
    assert_eq!(world.round(36_100_000, &keep()), [3, 6]);
}

#[test]
fn the_ledger_knows_from_where_on_it_is_whole() {
    let mut world = World::default();
    world.create(1);
    for nominal in [10, 20, 30, 40] {
        world.succeed(nominal, 1);
    }
    let schedule = ScheduleId(1);
    assert_eq!(ledger::starts_at(&world.state, schedule), None, "nothing was dropped");
    let drop = |runs: &[u64]| {
        Action::Prune(Prune { runs: runs.iter().copied().map(RunId).collect(), ..Default::default() })
    };
    world.apply(50, None, drop(&[1, 2]));
    assert_eq!(ledger::starts_at(&world.state, schedule), Some(UnixMillis(30)));
    world.apply(50, None, drop(&[3]));
    // The last success is there for another reason.
    assert_eq!(ledger::starts_at(&world.state, schedule), Some(UnixMillis(41)));
    assert_eq!(ledger::starts_at(&world.state, ScheduleId(9)), None);
}

#[test]
fn a_store_that_has_lost_a_schedule_is_refused_and_says_whose_record_is_left() {
    let mut world = World::default();
    world.create(1);
    let request = BackfillRequest {
        from_at: UnixMillis(1),
        until_at: UnixMillis(5),
        mode: BackfillMode::Missing,
        expected: 0,
        actor: "ops".into(),
        reason: "lost".into(),
    };
    world.apply(9, None, Action::CreateBackfill { key: ScheduleKey::new("default", "s0"), request });
    let blocks = world.state.blocks();
    let all = || blocks.iter().flat_map(|block| world.state.block(*block));
    assert!(State::restore(all()).is_ok());
    let left = all().filter(|record| !matches!(record, Record::Schedule(_)));
    assert_eq!(State::restore(left).err(), Some(RestoreError::Dangling { what: "backfill", id: 1 }));
}

#[test]
fn a_store_with_answers_about_what_is_lost_or_with_two_of_one_place_is_refused() {
    let mut world = World::default();
    world.create(1);
    let key = ScheduleKey::new("default", "s0");
    let pause =
        Action::PauseSchedule { key, expected: None, reason: "r".into(), actor: "ops".into(), until: None };
    world.apply(9, Some("one"), pause);
    let blocks = world.state.blocks();
    let all: Vec<_> = blocks.iter().flat_map(|block| world.state.block(*block)).collect();
    let restored = State::restore(all.clone()).unwrap();
    assert_eq!(restored.violations(), []);
    let digest = Some(world.state.digest());
    let enough = (0..).find(|bytes| world.state.digest_within(*bytes) == digest).unwrap();
    assert_eq!(
        (world.state.digest_within(enough - 1), world.state.digest_within(usize::MAX)),
        (None, digest)
    );
    let is_left = |record: &&Record| !matches!(record, Record::Schedule(_));
    let left = all.iter().filter(is_left).cloned();
    assert_eq!(State::restore(left).err(), Some(RestoreError::Dangling { what: "answer", id: 1 }));
    let answers = all.iter().filter_map(|record| match record {
        Record::Answer(sequence, answer) => {
            Some(Record::Answer(*sequence, Answer { id: "another".into(), ..answer.clone() }))
        }
        _ => None,
    });
    let twice = all.iter().cloned().chain(answers);
    assert_eq!(State::restore(twice).err(), Some(RestoreError::Twice { what: "answer", id: 1 }));
    // One name of two schedules, one schedule of two names, and one that is deleted as well.
    for (id, name, deleted_at) in [(7, "s0", None), (1, "other", None), (1, "s0", Some(UnixMillis(9)))] {
        let schedules = all.iter().filter_map(|record| match record {
            Record::Schedule(schedule) => {
                let mut again = schedule.clone();
                (again.id, again.key) = (ScheduleId(id), ScheduleKey::new("default", name));
                again.change_remains(|remains| remains.deleted_at = deleted_at);
                Some(Record::Schedule(again))
            }
            _ => None,
        });
        let twice = all.iter().cloned().chain(schedules);
        assert_eq!(State::restore(twice).err(), Some(RestoreError::Twice { what: "schedule", id }));
    }
}
