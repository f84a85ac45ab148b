//! Networks that are cut: each node and executor in a network namespace of its own. Needs root, iproute2 and iptables.

use std::time::{Duration, Instant};

use belfry_sdk::{Client, ClientOptions};
use belfry_tests::cluster::{Setup, place};
use belfry_tests::history;
use belfry_tests::needs::or_not_run;
use belfry_tests::netns::Network;
use belfry_tests::scenario::{Carrier, Scenario};
use belfry_tests::writes::{Manner, Writes, read_all};

const EXECUTORS: [&str; 2] = ["executor-one", "executor-two"];

/// Three nodes and two executors, each in its own namespace; none where that cannot be.
async fn on_a_network(what: &str) -> Option<Scenario> {
    let network = or_not_run(what, Network::create())?;
    let mut cluster = Setup::new(3).network(network).start().await.unwrap();
    cluster.start_executor("one", 32).unwrap();
    cluster.start_executor("two", 32).unwrap();
    Some(Scenario::begin(cluster, 20, Carrier::Command).await.unwrap())
}

/// The leader's place, and those of the others with their ids.
async fn sides(scenario: &Scenario) -> (u64, Vec<u64>) {
    let leader = scenario.cluster.wait_for_leader().await.unwrap();
    (leader, (1..=3).filter(|id| *id != leader).collect())
}

fn names(places: &[String]) -> Vec<&str> {
    places.iter().map(String::as_str).collect()
}

/// Ends all faults; shows that they happened.
fn heal(scenario: &Scenario, what: &str) {
    let dropped = scenario.cluster.network().heal().unwrap();
    println!("{what}: {dropped} packets were dropped");
    assert!(dropped > 0, "{what}: the fault did not happen");
}

/// Clients that know one node each: they do not run away from the one that is cut off.
fn clients_of_one_node(scenario: &Scenario) -> Vec<Client> {
    let of_node = |id| {
        let mut options = ClientOptions::new([scenario.cluster.endpoint(id)]);
        options.timeout = Duration::from_secs(2);
        Client::connect(options).unwrap()
    };
    (1..=3).map(of_node).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_isolated_leader_is_replaced_and_answers_nothing_that_is_old() {
    let what = "an isolated leader";
    let Some(scenario) = on_a_network(what).await else { return };
    let manner = Manner { keys: 3, apart: false, pace: Duration::from_millis(10), seed: 1 };
    let clock = Instant::now();
    let writes = Writes::start(clients_of_one_node(&scenario), manner, clock);
    for _ in 0..2 {
        let (leader, others) = sides(&scenario).await;
        let (alone, rest) = (place(leader), others.iter().map(|id| place(*id)).collect::<Vec<_>>());
        writes.wait_for_acknowledged(30).await.unwrap();
        // Clients and executors still reach it: it must know by itself that it leads no more.
        scenario.cluster.network().cut(&[&alone], &names(&rest)).unwrap();
        scenario.cluster.wait_for_leader_of(&others).await.unwrap();
        writes.wait_for_acknowledged(30).await.unwrap();
        scenario.wait_for_runs(2).await.unwrap();
        heal(&scenario, what);
        scenario.wait_for_runs(1).await.unwrap();
    }
    let mut record = writes.stop().await.unwrap();
    record.extend(read_all(scenario.client.clone(), manner, 3, clock).await);
    println!("{what}: {record}");
    assert!(!record.failures.is_empty(), "a client of the isolated node cannot have been answered always");
    assert_eq!(history::check(&record.history), Vec::<String>::new());
    scenario.finish(what).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_minority_with_an_executor_begins_nothing_that_the_majority_begins() {
    let what = "a minority with an executor";
    let Some(scenario) = on_a_network(what).await else { return };
    let network = scenario.cluster.network();
    // First the minority is a follower, then it is the leader itself, each time with an executor.
    for with_leader in [false, true] {
        let (leader, others) = sides(&scenario).await;
        let minority = if with_leader { leader } else { others[0] };
        let majority: Vec<_> = (1..=3).filter(|id| *id != minority).collect();
        let (these, mut those) = (place(minority), majority.iter().map(|id| place(*id)).collect::<Vec<_>>());
        those.push(EXECUTORS[1].into());
        network.cut(&[&these, EXECUTORS[0]], &names(&those)).unwrap();
        scenario.cluster.wait_for_leader_of(&majority).await.unwrap();
        scenario.wait_for_runs(3).await.unwrap();
        heal(&scenario, what);
        scenario.wait_for_runs(1).await.unwrap();
    }
    scenario.finish(what).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_majority_nothing_begins_and_afterwards_nothing_is_missing() {
    let what = "no majority";
    let Some(scenario) = on_a_network(what).await else { return };
    let network = scenario.cluster.network();
    let nodes = [1, 2, 3].map(place);
    for (index, node) in nodes.iter().enumerate() {
        network.cut(&[node], &names(&nodes[index + 1..])).unwrap();
    }
    // Nobody leads: every node says so itself.
    for id in 1..=3 {
        let start = Instant::now();
        while scenario.cluster.status(id).await.is_none_or(|status| status.writable) {
            assert!(start.elapsed() < belfry_tests::cluster::PATIENCE, "node {id} believes in a leader");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    let begun = scenario.journal.entries().unwrap().len();
    // Long enough for several instants, for leases to run out and for elections to fail.
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(scenario.journal.entries().unwrap().len(), begun, "something began without a majority");
    heal(&scenario, what);
    scenario.wait_for_runs(2).await.unwrap();
    let (_, verdict) = scenario.finish(what).await.unwrap();
    assert!(verdict.count(belfry_sdk::pb::run::State::Merged) > 0, "what was missed is merged into one run");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_isolated_executor_loses_its_runs_to_the_other_one() {
    let what = "an isolated executor";
    let Some(scenario) = on_a_network(what).await else { return };
    let nodes = [1, 2, 3].map(place);
    for _ in 0..2 {
        scenario.cluster.network().cut(&[EXECUTORS[0]], &names(&nodes)).unwrap();
        // Longer than the lease, by far: the other one carries every schedule several times.
        scenario.wait_for_runs(6).await.unwrap();
        heal(&scenario, what);
        scenario.wait_for_runs(2).await.unwrap();
    }
    scenario.finish(what).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_that_work_one_way_only_are_links_that_do_not_work() {
    let what = "one-way links";
    let Some(scenario) = on_a_network(what).await else { return };
    let network = scenario.cluster.network();
    // What the leader says does not arrive; then what it is told does not.
    for leader_speaks in [false, true] {
        let (leader, others) = sides(&scenario).await;
        let (alone, rest) = (place(leader), others.iter().map(|id| place(*id)).collect::<Vec<_>>());
        if leader_speaks {
            network.block(&names(&rest), &[&alone]).unwrap();
        } else {
            network.block(&[&alone], &names(&rest)).unwrap();
        }
        scenario.cluster.wait_for_leader_of(&others).await.unwrap();
        scenario.wait_for_runs(2).await.unwrap();
        heal(&scenario, what);
        scenario.wait_for_runs(1).await.unwrap();
    }
    // An executor that hears its grants and cannot ask for them; and one that asks and does not hear the answer.
    let nodes = [1, 2, 3].map(place);
    for executor_speaks in [false, true] {
        if executor_speaks {
            network.block(&names(&nodes), &[EXECUTORS[0]]).unwrap();
        } else {
            network.block(&[EXECUTORS[0]], &names(&nodes)).unwrap();
        }
        scenario.wait_for_runs(5).await.unwrap();
        heal(&scenario, what);
        scenario.wait_for_runs(1).await.unwrap();
    }
    scenario.finish(what).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_loses_packets_loses_no_runs() {
    let what = "lost packets";
    let Some(scenario) = on_a_network(what).await else { return };
    let network = scenario.cluster.network();
    for share in [0.1, 0.2, 0.3] {
        for to in [1, 2, 3].map(place).iter().map(String::as_str).chain(EXECUTORS) {
            network.lose(to, share).unwrap();
        }
        scenario.wait_for_runs(3).await.unwrap();
        heal(&scenario, what);
    }
    scenario.wait_for_runs(2).await.unwrap();
    scenario.finish(what).await.unwrap();
}
