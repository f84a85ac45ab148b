//! A network between the nodes that is slow, through proxies of the harness: nothing to install.

use std::time::Duration;

use belfry_tests::cluster::Setup;
use belfry_tests::proxy::Link;
use belfry_tests::scenario::{Carrier, Scenario};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_network_between_the_nodes_makes_runs_late_and_nothing_else() {
    // A round trip of 40 to 160 ms, with a heartbeat of 100 ms, and elections after 800 to 1000 ms of silence.
    let link = Link { delay: Duration::from_millis(20), jitter: Duration::from_millis(60), ..Link::FAST };
    let mut cluster = Setup::new(3).link(link).start().await.unwrap();
    cluster.start_executor("one", 32).unwrap();
    cluster.start_executor("two", 32).unwrap();
    let mut scenario = Scenario::begin(cluster, 20, Carrier::Command).await.unwrap();

    scenario.wait_for_runs(4).await.unwrap();
    // The same with an election and a follower that has to catch up.
    let leader = scenario.cluster.wait_for_leader().await.unwrap();
    scenario.cluster.kill_node(leader).await.unwrap();
    scenario.cluster.wait_for_leader().await.unwrap();
    scenario.wait_for_runs(2).await.unwrap();
    scenario.cluster.start_node(leader).unwrap();
    scenario.wait_for_runs(2).await.unwrap();

    for id in 1..=3 {
        let delayed = scenario.cluster.proxy(id).delayed();
        println!("to and from node {id}: {delayed} pieces came late");
        assert!(delayed > 0, "the nodes do not speak through the proxies");
    }
    scenario.finish("a slow network").await.unwrap();
}
