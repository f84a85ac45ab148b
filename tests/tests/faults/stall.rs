//! Processes that stand still (SIGSTOP: a machine that swaps, a virtual machine that is moved) and then wake up and go on as if
//! nothing had happened.

use std::time::{Duration, Instant};

use belfry_sdk::pb::run::{Reason, State};
use belfry_tests::by_hand::{create, trigger, wait_for};
use belfry_tests::cluster::{Cluster, PATIENCE};
use belfry_tests::scenario::{Carrier, LEASE, Scenario};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_stalls_longer_than_an_election_and_the_lease_makes_nothing_twice() {
    let mut cluster = Cluster::start(3, "").await.unwrap();
    cluster.start_executor("one", 32).unwrap();
    cluster.start_executor("two", 32).unwrap();
    let scenario = Scenario::begin(cluster, 20, Carrier::Command).await.unwrap();
    let cluster = &scenario.cluster;

    for _ in 0..2 {
        let leader = cluster.wait_for_leader().await.unwrap();
        cluster.stall_node(leader).await.unwrap();
        let stalled = Instant::now();
        let others: Vec<_> = (1..=3).filter(|id| *id != leader).collect();
        let next = cluster.wait_for_leader_of(&others).await.unwrap();
        scenario.wait_for_runs(2).await.unwrap();
        // Longer than the lease of what it had begun, too.
        tokio::time::sleep((2 * LEASE).saturating_sub(stalled.elapsed())).await;
        cluster.wake_node(leader).unwrap();
        scenario.wait_for_runs(2).await.unwrap();
        let seen = cluster.status(leader).await.unwrap();
        println!("{leader} stalled, {next} led; awake again, {leader} says that {} leads", seen.leader_id);
        assert!(cluster.log(leader).unwrap().contains("no longer leading"), "it was not replaced");
    }

    scenario.finish("stalled leaders").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_executor_that_stalls_longer_than_the_lease_begins_and_ends_nothing_twice() {
    let mut cluster = Cluster::start(3, "").await.unwrap();
    // All runs begin on the one that is going to stall.
    cluster.start_executor("one", 64).unwrap();
    let scenario = Scenario::begin(cluster, 20, Carrier::Command).await.unwrap();
    let (client, folder) = (scenario.client.clone(), scenario.cluster.folder().to_owned());
    let (begun, end) = (folder.join("begun.txt"), folder.join("end"));
    let until_told = format!(
        "echo $BELFRY_RUN >> {}; until [ -e {} ]; do sleep 0.05; done",
        begun.display(),
        end.display()
    );
    let schedule = create(&client, "long", &until_told).await.unwrap();
    let run = trigger(&client, &schedule).await.unwrap();
    let running = wait_for(&client, &run, &[State::Running]).await.unwrap();
    // A lease whose answer comes when it is over is handed back: this one has been answered, the command runs.
    let start = Instant::now();
    while !begun.exists() {
        assert!(start.elapsed() < PATIENCE, "the command does not begin");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }

    scenario.cluster.stall_executor("one").await.unwrap();
    let unknown = wait_for(&client, &run, &[State::Unknown]).await.unwrap();
    assert_eq!(unknown.reason(), Reason::LeaseLost, "the stall was longer than the lease");
    // Its command goes on and ends, and nobody takes note of it for now.
    std::fs::write(&end, "").unwrap();
    let mut scenario = scenario;
    scenario.cluster.start_executor("two", 64).unwrap();
    scenario.wait_for_runs(2).await.unwrap();
    scenario.cluster.wake_executor("one").unwrap();

    // It still knows what it held, and its word counts: the token is the right one.
    let ended = wait_for(&client, &run, &[State::Succeeded]).await.unwrap();
    assert_eq!((ended.fencing_token, ended.attempt), (running.fencing_token, 1));
    scenario.wait_for_runs(2).await.unwrap();
    assert_eq!(std::fs::read_to_string(&begun).unwrap().lines().count(), 1, "RUN-2");
    scenario.finish("a stalled executor").await.unwrap();
}
