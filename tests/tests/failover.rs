//! The main job, for real: three nodes, two executors, fifty schedules a second; leaders and executors are killed, and
//! nothing is lost and nothing is doubled. The judge is the file that the commands wrote.

#![allow(clippy::unwrap_used, reason = "this is a test")]

use belfry_tests::cluster::Cluster;
use belfry_tests::scenario::{Carrier, Scenario, now_ms};

/// Kills the leader, waits for the next one, starts the killed node again. Returns when the leader died and when the next
/// one was first seen, both on the wall clock.
async fn kill_leader(cluster: &mut Cluster) -> (i64, i64) {
    let leader = cluster.wait_for_leader().await.unwrap();
    let died = now_ms();
    cluster.kill_node(leader).await.unwrap();
    cluster.wait_for_leader().await.unwrap();
    let elected = now_ms();
    cluster.start_node(leader).unwrap();
    (died, elected)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn killed_leaders_and_executors_lose_and_double_nothing() {
    let mut cluster = Cluster::start(3, "").await.unwrap();
    cluster.start_executor("one", 64).unwrap();
    cluster.start_executor("two", 64).unwrap();
    let mut scenario = Scenario::begin(cluster, 50, Carrier::Command).await.unwrap();

    scenario.wait_for_runs(3).await.unwrap();
    let mut outages = vec![kill_leader(&mut scenario.cluster).await];
    scenario.wait_for_runs(3).await.unwrap();
    scenario.cluster.kill_executor("one").await.unwrap();
    scenario.wait_for_runs(2).await.unwrap();
    scenario.cluster.start_executor("three", 64).unwrap();
    scenario.wait_for_runs(2).await.unwrap();
    outages.push(kill_leader(&mut scenario.cluster).await);
    scenario.wait_for_runs(3).await.unwrap();
    // A graceful stop in the same run: hand-over instead of election.
    let leader = scenario.cluster.wait_for_leader().await.unwrap();
    let stopped = now_ms();
    scenario.cluster.stop_node(leader).await.unwrap();
    scenario.cluster.start_node(leader).unwrap();
    scenario.wait_for_runs(3).await.unwrap();

    let (_, verdict) = scenario.finish("killed leaders and executors").await.unwrap();
    for (died, elected) in outages {
        println!(
            "leader killed: next one seen after {} ms; rows of that outage at most {} ms late",
            elected - died,
            verdict.latest_between(died - 1000, elected + 2000),
        );
    }
    println!(
        "leader stopped: rows around it at most {} ms late",
        verdict.latest_between(stopped - 1000, stopped + 2000)
    );
}
