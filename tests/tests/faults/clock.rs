//! A node whose clock is wrong. Needs libfaketime.

use belfry_tests::cluster::Setup;
use belfry_tests::needs::{libfaketime, or_not_run};
use belfry_tests::scenario::{Carrier, Scenario, now_ms};

/// Seconds by which the clocks are wrong.
const OFFSET: i64 = 4;

async fn check_wrong_clock(offset: i64) {
    let what = format!("a clock that is {offset:+} s out");
    let Some(library) = or_not_run(&what, libfaketime()) else { return };
    // Wall time only: timers of a machine with a wrong clock go on as they should.
    let mut cluster = Setup::new(3)
        .environment(1, "LD_PRELOAD", library)
        .environment(1, "FAKETIME", format!("{offset:+}"))
        .environment(1, "FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .start()
        .await
        .unwrap();
    cluster.start_executor("one", 32).unwrap();
    cluster.start_executor("two", 32).unwrap();
    let now = cluster.status(1).await.unwrap().now.unwrap();
    let out = now.seconds - now_ms() / 1000;
    println!("{what}: node 1 is {out} s out");
    assert!((out - offset).abs() <= 1, "the fault did not happen: {out}");

    let mut scenario = Scenario::begin(cluster, 20, Carrier::Command).await.unwrap();
    scenario.clocks_out_by_ms = offset.abs() * 1000 + 1000;
    let mut led = false;
    for _ in 0..2 {
        // Leadership goes to the wrong clock, which hands it on.
        for node in [1, 2] {
            let asked = scenario.cluster.ask_to_lead(node).await;
            let leads = scenario.cluster.wait_for_leader().await.unwrap();
            println!("{what}: asked for {node} to lead ({}), {leads} does", asked.is_ok());
            led |= leads == 1;
            scenario.wait_for_runs(2).await.unwrap();
            // CLOCK-3: it does not keep it.
            scenario.cluster.wait_for_leader_of(&[2, 3]).await.unwrap();
        }
    }
    let handed_over =
        scenario.cluster.log(1).unwrap().contains("handed leadership over because of this node's clock");
    assert!(led || handed_over, "the node with the wrong clock never led");
    scenario.finish(&what).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_clock_is_ahead_loses_and_doubles_nothing() {
    check_wrong_clock(OFFSET).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_clock_is_behind_loses_and_doubles_nothing() {
    check_wrong_clock(-OFFSET).await;
}
