//! What survives, and what is said of what did not.

#![allow(clippy::unwrap_used, reason = "this is a test")]

use std::collections::BTreeSet;

use belfry_sdk::pb;
use belfry_tests::by_hand::{create, trigger, wait_for};
use belfry_tests::cluster::Cluster;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// API-1: everything acknowledged is there after `kill -9` of every node at once.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_acknowledged_survives_the_death_of_all_nodes() {
    let mut cluster = Cluster::start(3, "").await.unwrap();
    let client = cluster.client().unwrap();
    let mut acknowledged = BTreeSet::new();
    for round in 0..3 {
        for number in 0..20 {
            let schedule = create(&client, &format!("r{round}-{number}"), "true").await.unwrap();
            acknowledged.insert((schedule.name, schedule.uid, schedule.etag));
        }
        for id in 1..=3 {
            cluster.kill_node(id).await.unwrap();
        }
        for id in 1..=3 {
            cluster.start_node(id).unwrap();
        }
        cluster.wait_for_leader().await.unwrap();
        let request = pb::ListSchedulesRequest {
            parent: "namespaces/default".into(),
            page_size: 1000,
            ..Default::default()
        };
        let found = client.list_schedules(request).await.unwrap().schedules;
        let found: BTreeSet<_> =
            found.into_iter().map(|schedule| (schedule.name, schedule.uid, schedule.etag)).collect();
        assert_eq!(found, acknowledged, "after round {round}");
    }
    let digests = cluster.settled_digests().await.unwrap();
    let distinct: BTreeSet<_> = digests.values().collect();
    assert_eq!(distinct.len(), 1, "APPLY-1: replicas differ: {digests:?}");
}

/// An executor that vanishes in the middle leaves UNKNOWN: the run is never started again, and the next one goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_whose_executor_vanished_is_unknown_and_never_starts_again() {
    use pb::run::{Reason, State};
    let mut cluster = Cluster::start(3, "").await.unwrap();
    let client = cluster.client().unwrap();
    let journal = cluster.folder().join("begun.txt");
    let once = format!("echo $BELFRY_RUN $$ >> {}; exec sleep 600", journal.display());
    let schedule = create(&client, "long", &once).await.unwrap();
    cluster.start_executor("one", 4).unwrap();

    let run = trigger(&client, &schedule).await.unwrap();
    let running = wait_for(&client, &run, &[State::Running]).await.unwrap();
    let second = trigger(&client, &schedule).await.unwrap();
    cluster.kill_executor("one").await.unwrap();
    cluster.start_executor("two", 4).unwrap();

    let unknown = wait_for(&client, &run, &[State::Unknown]).await.unwrap();
    assert_eq!(unknown.reason(), Reason::LeaseLost);
    assert_eq!((unknown.fencing_token, unknown.attempt), (running.fencing_token, 1));
    let next = wait_for(&client, &second, &[State::Running]).await.unwrap();
    assert!(next.fencing_token > running.fencing_token, "RUN-3");
    let begun = std::fs::read_to_string(&journal).unwrap();
    let of_run: Vec<_> = begun.lines().filter_map(|line| line.strip_prefix(&format!("{run} "))).collect();
    assert_eq!(of_run.len(), 1, "RUN-2: {begun}");
    // Nobody ends the command of an executor that was killed.
    kill(Pid::from_raw(of_run[0].parse().unwrap()), Signal::SIGKILL).unwrap();

    // The leader may change at any time without costing the lease that is held now.
    let leader = cluster.wait_for_leader().await.unwrap();
    cluster.kill_node(leader).await.unwrap();
    cluster.wait_for_leader().await.unwrap();
    let still = wait_for(&client, &second, &[State::Running, State::Unknown]).await.unwrap();
    assert_eq!((still.state(), still.fencing_token), (State::Running, next.fencing_token));
    // Drained, the executor ends what it runs and says so.
    cluster.stop_executor("two").await.unwrap();
    let ended = wait_for(&client, &second, &[State::Failed]).await.unwrap();
    assert_eq!(ended.fencing_token, next.fencing_token);
}
