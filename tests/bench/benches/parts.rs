//! What the parts of a run cost, one by one: `cargo bench -p belfry-bench`.
//!
//! Batches are as large as those of a storm, and figures are per batch: divide by [`BATCH`].

#![allow(missing_docs, reason = "criterion makes a function without documentation")]

use std::hint::black_box;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use belfry_core::command::{
    Action, Begin, BeginGroup, BeginResult, Command, Completion, Fire, FireGroup, Outcome,
};
use belfry_core::definition::{Rule, Target, Timing};
use belfry_core::run::{AttemptResult, Report};
use belfry_core::{
    AttemptNo, Definition, FencingToken, Generation, LogPosition, Revision, RunId, ScheduleId, ScheduleKey,
    State, UnixMillis,
};
use belfry_server::codec::{decode_command, encode_command};
use belfry_server::store::{LogEntry, LogId, LogOwner, LogPort, WalLog, WalOptions};
use belfry_timing::{HashSeed, NeverFiring, TimeZone};
use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use ulid::Ulid;

/// Schedules of a batch.
const BATCH: u64 = 4096;
/// When they are created, when they are due, and when again.
const CREATED: UnixMillis = UnixMillis(999_999_940_000);
const FIRST: UnixMillis = UnixMillis(1_000_000_000_000);
const NEXT: UnixMillis = UnixMillis(1_000_000_060_000);

/// A state, and where in the log it is.
#[derive(Clone)]
struct Machine {
    state: State,
    index: u64,
}

impl Machine {
    fn apply(&mut self, action: Action) -> Outcome {
        self.index += 1;
        let at = LogPosition { term: 1, index: self.index };
        let applied = self.state.apply(at, command(action));
        applied.outcome.expect("what is measured is accepted")
    }

    /// Schedules that are all due at [`FIRST`].
    fn with_schedules() -> Self {
        let mut machine = Self { state: State::default(), index: 0 };
        (0..BATCH).for_each(|number| drop(machine.apply(create(number))));
        machine
    }

    /// What is due, fired.
    fn fire(&self) -> Action {
        let fires = self.state.due().until(FIRST).map(|(_, id)| fire(id)).collect();
        Action::Fire(vec![FireGroup { nominal_at: FIRST, fires }])
    }

    /// What is ready, begun.
    fn begin(&self) -> Action {
        let begins = self.state.ready().iter().map(|run| Begin { run, attempt: AttemptNo(1) }).collect();
        Action::Begin(vec![BeginGroup { executor: "01J00000000000000000000000".into(), begins }])
    }
}

fn command(action: Action) -> Command {
    let now = if matches!(action, Action::CreateSchedule { .. }) { CREATED } else { FIRST };
    Command { now, request: None, action }
}

fn fire(schedule: ScheduleId) -> Fire {
    Fire::new(schedule, Generation(1), Some(NEXT))
}

fn create(number: u64) -> Action {
    let rule = Rule::Interval { every: Duration::from_secs(60), phase: Duration::ZERO };
    let target = Target { handler: "bench".into(), payload: Bytes::new() };
    Action::CreateSchedule {
        key: ScheduleKey::new("default", format!("s{number}")),
        uid: format!("uid-{number}").into(),
        definition: Arc::new(Definition::new(Timing::of(vec![rule], "UTC"), target)),
        next_fire_at: Some(FIRST),
        calendars: Revision::default(),
        pause: None,
    }
}

fn complete((run, token): (RunId, FencingToken)) -> Completion {
    Completion {
        run,
        token,
        result: AttemptResult::Succeeded,
        retryable: Default::default(),
        report: Report::default(),
    }
}

/// The completions of what was begun.
fn completions(begins: &Action, begun: &Outcome) -> Action {
    let (Action::Begin(groups), Outcome::Begun(results)) = (begins, begun) else {
        unreachable!("begins are answered as begins")
    };
    let runs = groups.iter().flat_map(|group| group.begins.iter().map(|begin| begin.run));
    let tokens = results.iter().map(|result| match result {
        BeginResult::Begun { token, .. } => *token,
        BeginResult::Refused => unreachable!("nobody else asked for it"),
    });
    Action::Complete(runs.zip(tokens).map(complete).collect())
}

fn apply(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("apply");
    group.throughput(Throughput::Elements(BATCH)).sample_size(20);
    let empty = Machine { state: State::default(), index: 0 };
    let created = Machine::with_schedules();
    let mut fired = created.clone();
    let fires = created.fire();
    fired.apply(fires.clone());
    let begins = fired.begin();
    let mut begun = fired.clone();
    let completions = completions(&begins, &begun.apply(begins.clone()));
    group.bench_function("create", |bencher| {
        bencher.iter_batched_ref(
            || empty.clone(),
            |machine| (0..BATCH).for_each(|number| drop(machine.apply(create(number)))),
            BatchSize::LargeInput,
        );
    });
    for (name, before, action) in
        [("fire", &created, &fires), ("begin", &fired, &begins), ("complete", &begun, &completions)]
    {
        group.bench_function(name, |bencher| {
            bencher.iter_batched(
                || (before.clone(), action.clone()),
                |(mut machine, action)| {
                    machine.apply(action);
                    machine
                },
                BatchSize::LargeInput,
            );
        });
    }
    group.finish();

    criterion.bench_function("due index: read what is due", |bencher| {
        bencher.iter(|| black_box(&created.state).due().until(FIRST).count());
    });
    criterion
        .bench_function("digest of the state", |bencher| bencher.iter(|| black_box(&begun.state).digest()));

    let mut group = criterion.benchmark_group("codec");
    group.throughput(Throughput::Elements(BATCH));
    for (name, action) in [("fire", fires), ("begin", begins), ("complete", completions)] {
        let command = command(action);
        let bytes = encode_command(&command);
        group.bench_function(format!("encode {name}"), |bencher| bencher.iter(|| encode_command(&command)));
        group.bench_function(format!("decode {name}"), |bencher| bencher.iter(|| decode_command(&bytes)));
    }
    group.finish();
}

fn timing(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("next instant");
    let berlin = TimeZone::parse("Europe/Berlin").expect("this zone exists");
    for expression in ["*/5 * * * *", "0 3 * * MON#1", "0 2 29 2 *"] {
        let seed = HashSeed::new("default", "bench");
        let timing = belfry_timing::Timing::parse_cron(expression, &berlin, NeverFiring::Refuse, &seed);
        let timing = timing.expect("these are expressions");
        // Another instant each time, so that nothing can be remembered.
        let mut after = FIRST.0;
        group.bench_function(expression, |bencher| {
            bencher.iter(|| {
                after += 61_000;
                timing.next(black_box(after))
            });
        });
    }
    group.finish();
}

/// One entry, durable: mostly the disk.
fn log(criterion: &mut Criterion) {
    let folder = tempfile::tempdir().expect("a folder can be made");
    let owner = LogOwner { cluster_id: None, node_id: 1, incarnation: Ulid::nil() };
    let log = WalLog::open(folder.path(), owner, WalOptions::default()).expect("an empty folder is a log");
    let mut group = criterion.benchmark_group("log append and sync");
    group.sample_size(20);
    let mut index = 0;
    for bytes in [64, 24 * 1024] {
        let payload = Bytes::from(vec![7; bytes]);
        group.throughput(Throughput::Bytes(bytes as u64));
        group.bench_function(format!("{bytes} B"), |bencher| {
            bencher.iter(|| {
                let (told, durable) = mpsc::channel();
                let entry = LogEntry { id: LogId { term: 1, node: 1, index }, payload: payload.clone() };
                index += 1;
                log.append(vec![entry], Box::new(move |outcome| drop(told.send(outcome))));
                durable.recv().expect("it is answered").expect("it is written");
            });
        });
    }
    group.finish();
    log.close();
}

criterion_group!(benches, apply, timing, log);
criterion_main!(benches);
