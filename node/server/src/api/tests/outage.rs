//! Incident 2 on a whole node: nobody leads for 13 hours, a hundred schedules of every five minutes miss 156 instants each, and
//! an executor takes what comes then. The clock stands still but for the steps of the test. That catch-up starts stay within
//! their budget per second is a property of the dispatcher (CATCH-1 in `leader/dispatch/property.rs`): here it is large.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use belfry_core::ScheduleKey;
use belfry_core::run::{Ending, Reason, Run, RunState};

use super::hand::{Hand, Lease};
use super::*;
use crate::config::Period;

const SCHEDULES: usize = 100;
const MINUTE: i64 = 60_000;
const OUTAGE: i64 = 13 * 60 * MINUTE;

/// Two minutes after an instant of every five minutes, so that the newest missed one is two minutes late.
const CREATED_AT: i64 = 1_763_000_100_000 + 2 * MINUTE;

/// Instants in 13 hours.
const MISSED: usize = 156;

fn every(seconds: u32) -> pb::Timing {
    let every = Some(prost_types::Duration { seconds: seconds.into(), nanos: 0 });
    let rule = pb::rule::Rule::Interval(pb::Interval { every, phase: None });
    pb::Timing { include: vec![pb::Rule { rule: Some(rule) }], ..Default::default() }
}

async fn create(alone: &Alone, id: &str, timing: pb::Timing, policies: pb::Policies) -> pb::Schedule {
    let schedule = pb::Schedule { timing: Some(timing), policies: Some(policies), ..schedule() };
    let request = pb::CreateScheduleRequest { schedule: Some(schedule), ..creation("team", id) };
    alone.schedules().create_schedule(request).await.unwrap().into_inner()
}

/// A hundred schedules, and the node back after 13 hours: every instant has its row, and nothing has begun.
async fn after_the_outage(policies: pb::Policies) -> (Alone, Vec<pb::Schedule>) {
    assert_eq!((CREATED_AT - 2 * MINUTE) % (5 * MINUTE), 0);
    let still = Arc::new(StillClock(UnixMillis(CREATED_AT)));
    let alone = Alone::start_by(still, |config| {
        config.dispatch.catch_up_starts_per_second = 1_000_000;
        // However long this machine takes.
        config.dispatch.offer_timeout = Period(Duration::from_secs(600));
    })
    .await;
    alone.until(|state| state.feature_level() == belfry_core::FEATURE_LEVEL).await;
    let mut schedules = Vec::new();
    for number in 0..SCHEDULES {
        schedules.push(create(&alone, &format!("reminder-{number}"), every(300), policies.clone()).await);
    }
    let alone = alone.be_away_for(OUTAGE).await;
    alone.until(|state| state.run_count() == SCHEDULES * MISSED).await;
    (alone, schedules)
}

/// Rows of a schedule, oldest first, as what became of them and why.
fn rows(alone: &Alone, id: &str) -> Vec<Run> {
    alone.node.replica().read(|state| {
        let schedule = state.schedule_named(&ScheduleKey::new("team", id)).unwrap().id;
        state.rows(schedule).cloned().collect()
    })
}

fn ending(run: &Run) -> Ending {
    match run.state {
        RunState::Ended { ending, .. } => ending,
        ref other => panic!("run {} is {}", run.id, other.name()),
    }
}

/// Rows in these states.
fn count(alone: &Alone, states: &[&str]) -> usize {
    let census = alone.node.replica().read(|state| state.census().clone());
    states.iter().map(|name| census.get(name) as usize).sum()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thirteen_hours_of_backlog_are_one_start_each() {
    let (alone, schedules) = after_the_outage(pb::Policies::default()).await;
    let mut hand = Hand::dial(&alone, "bill", 1000).await;
    let grants = hand.take(SCHEDULES as u32).await;
    let newest = CREATED_AT + OUTAGE - 2 * MINUTE;
    let uids: BTreeMap<_, _> = schedules.iter().map(|schedule| (&*schedule.name, &*schedule.uid)).collect();
    let mut keys = BTreeSet::new();
    for grant in &grants {
        assert_eq!((grant.nominal_unix_ms, grant.scheduled_unix_ms), (newest, newest));
        assert_eq!((grant.window_start_unix_ms, grant.merged_count), (CREATED_AT, MISSED as u32 - 1));
        let (schedule, instant) = grant.run.rsplit_once("/runs/").unwrap();
        assert_eq!(grant.idempotency_key, format!("{}-{instant}", uids[schedule]));
        assert!(keys.insert(grant.idempotency_key.clone()));
    }
    assert_eq!(keys.len(), SCHEDULES, "one start of each");
    let leases = hand.begin(&grants).await;
    hand.succeed(&leases).await;

    assert_eq!((count(&alone, &["DUE", "RUNNING"]), hand.unasked()), (0, 0), "nothing is left");
    for number in 0..SCHEDULES {
        let rows = rows(&alone, &format!("reminder-{number}"));
        assert_eq!(rows.len(), MISSED);
        let (last, merged) = rows.split_last().unwrap();
        assert_eq!(ending(last), Ending::Succeeded);
        for (row, next) in merged.iter().zip(&rows[1..]) {
            assert_eq!(ending(row), Ending::Merged { into: next.id, reason: Reason::CatchUp });
            assert_eq!(next.nominal_at.0 - row.nominal_at.0, 5 * MINUTE, "none is missing in between");
        }
    }
    println!("{MISSED} x {SCHEDULES} -> {} starts", grants.len());
    alone.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fire_all_recovers_one_at_a_time_behind_what_is_on_time() {
    const LIMIT: usize = 10;
    const ON_TIME: usize = 5;
    const SECONDS: usize = 6;
    let policies = pb::Policies {
        misfire_policy: pb::MisfirePolicy::FireAll.into(),
        misfire_limit: LIMIT as u32,
        ..Default::default()
    };
    let (alone, _) = after_the_outage(policies).await;
    let mut hand = Hand::dial(&alone, "bill", 1000).await;
    let mut recovery = Recovery::default();

    // While recovery work waits, every second five runs are due, and there is credit for two more.
    for number in 0..ON_TIME {
        create(&alone, &format!("poll-{number}"), every(1), pb::Policies::default()).await;
    }
    for _ in 0..SECONDS {
        until_wait_on_time(&alone, 0).await;
        alone.clock.step_ms(1000);
        until_wait_on_time(&alone, ON_TIME).await;
        let grants = hand.take(ON_TIME as u32 + 2).await;
        let is_on_time = |grant: &pb::Grant| grant.run.contains("/schedules/poll-");
        let leases = hand.begin(&grants).await;
        let (on_time, behind) = leases.split_at(ON_TIME);
        assert!(grants[..ON_TIME].iter().all(is_on_time), "recovery work went before: {grants:?}");
        assert!(!grants[ON_TIME..].iter().any(is_on_time));
        assert!(on_time.last().map(|lease| lease.fencing_token) < behind.first().map(|l| l.fencing_token));
        recovery.begin(&grants[ON_TIME..]);
        hand.succeed(&leases).await;
        recovery.end(behind);
    }

    // The rest as far as it may run at once: one run of each schedule, and never a second one beside it.
    while recovery.starts.len() < SCHEDULES * LIMIT {
        let waiting = alone.node.replica().read(|state| state.ready().len());
        let grants = hand.take(waiting as u32).await;
        recovery.begin(&grants);
        let leases = hand.begin(&grants).await;
        assert_eq!(count(&alone, &["RUNNING"]), recovery.running.len());
        hand.succeed(&leases).await;
        recovery.end(&leases);
    }

    assert_eq!((count(&alone, &["DUE", "RUNNING"]), hand.unasked()), (0, 0), "nothing is left");
    for number in 0..SCHEDULES {
        let rows = rows(&alone, &format!("reminder-{number}"));
        assert_eq!(rows.len(), MISSED);
        let (skipped, run) = rows.split_at(MISSED - LIMIT);
        assert!(skipped.iter().all(|row| ending(row) == Ending::Skipped(Reason::Misfire)));
        assert!(run.iter().all(|row| ending(row) == Ending::Succeeded), "the newest are kept");
    }
    for number in 0..ON_TIME {
        let rows = rows(&alone, &format!("poll-{number}"));
        let seconds = (1..).map(|second| CREATED_AT + OUTAGE + second * 1000);
        assert!(rows.iter().map(|row| row.nominal_at.0).eq(seconds.take(SECONDS)), "an instant is missing");
        assert!(rows.iter().all(|row| ending(row) == Ending::Succeeded));
    }
    println!(
        "FIRE_ALL, limit {LIMIT}: {MISSED} x {SCHEDULES} -> {} starts; {SECONDS} x {ON_TIME} on time before them",
        recovery.starts.len()
    );
    alone.stop().await;
}

/// Waits until the dispatcher has so many runs that are on time. Nothing tells but its gauges.
async fn until_wait_on_time(alone: &Alone, count: usize) {
    loop {
        let (_, metrics) = whole::admin(alone, "/metrics").await;
        let on_time = "belfry_runs_waiting{pool=\"default\",class=\"on_time\"} ";
        let waiting = metrics.lines().find_map(|line| line.strip_prefix(on_time));
        if waiting.map_or(0, |waiting| waiting.parse().unwrap()) == count {
            return;
        }
        tokio::task::yield_now().await;
    }
}

/// What makes up for the outage, by what the executor is told.
#[derive(Default)]
struct Recovery {
    running: BTreeMap<u64, String>,
    starts: BTreeSet<String>,
}

impl Recovery {
    fn begin(&mut self, grants: &[pb::Grant]) {
        for grant in grants {
            assert_eq!(grant.merged_count, 0);
            assert_eq!(grant.nominal_unix_ms - grant.window_start_unix_ms, 5 * MINUTE);
            let (schedule, _) = grant.run.rsplit_once("/runs/").unwrap();
            let beside = self.running.values().any(|running| running == schedule);
            assert!(!beside, "two runs of {schedule} at once");
            self.running.insert(grant.run_id, schedule.to_owned());
            assert!(self.starts.insert(grant.idempotency_key.clone()), "{} started twice", grant.run);
        }
    }

    fn end(&mut self, leases: &[Lease]) {
        for lease in leases {
            self.running.remove(&lease.run_id).unwrap();
        }
    }
}
