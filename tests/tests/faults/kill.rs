//! `kill -9`, again and again, while clients write.

use std::time::{Duration, Instant};

use belfry_sdk::{Client, ClientOptions};
use belfry_tests::cluster::Cluster;
use belfry_tests::history;
use belfry_tests::writes::{Manner, Random, Writes, read_all};

const ROUNDS: u32 = 8;

/// API-1: what was acknowledged is there after each restart, and the whole history is linearizable.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writes_that_were_acknowledged_survive_every_kill() {
    let mut cluster = Cluster::start(3, "").await.unwrap();
    // Impatient clients, so that outcomes do become unknown. Each asks another node first.
    let impatient = |first: u64| {
        let mut options = ClientOptions::new((0..3).map(|turn| cluster.endpoint((first + turn) % 3 + 1)));
        options.timeout = Duration::from_millis(700);
        Client::connect(options).unwrap()
    };
    let clients = (0..3).map(impatient).collect();
    let manner = Manner { keys: 4, apart: false, pace: Duration::from_millis(2), seed: 7 };
    let clock = Instant::now();
    let patient = cluster.client().unwrap();
    let mut random = Random(7);
    let (mut kills, mut reads) = (0, Vec::new());

    let writes = Writes::start(clients, manner, clock);
    for round in 0..ROUNDS {
        writes.wait_for_acknowledged(60).await.unwrap();
        let all = [1, 2, 3];
        let leader = cluster.wait_for_leader().await.unwrap();
        let victims = match round % 4 {
            0 => vec![leader],
            1 => all.to_vec(),
            2 => vec![u64::from(random.below(3)) + 1],
            _ => all.into_iter().filter(|id| *id != leader).collect(),
        };
        for id in &victims {
            cluster.kill_node(*id).await.unwrap();
            kills += 1;
        }
        for id in &victims {
            cluster.start_node(*id).unwrap();
        }
        cluster.wait_for_leader().await.unwrap();
        reads.push(read_all(patient.clone(), manner, 3, clock).await);
    }
    let mut record = writes.stop().await.unwrap();
    reads.push(read_all(patient, manner, 3, clock).await);
    reads.into_iter().for_each(|read| record.extend(read));

    println!("{kills} kills: {record}");
    assert_eq!(history::check(&record.history), Vec::<String>::new());
    let digests = cluster.settled_digests().await.unwrap();
    let distinct: std::collections::BTreeSet<_> = digests.values().collect();
    assert_eq!(distinct.len(), 1, "APPLY-1: replicas differ: {digests:?}");
}
