//! A follower that was away for so long that the log was purged catches up by snapshot, over a link that is slow, while writes
//! go on.

#![allow(clippy::unwrap_used, reason = "this is a test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use belfry_sdk::Client;
use belfry_tests::cluster::{Cluster, PATIENCE};
use belfry_tests::creation::{creation, noise, shell};
use belfry_tests::proxy::{Link, Proxy};

/// As little of the log as may be, and often a checkpoint to purge behind.
const CONFIG: &str = "[raft]\nlog_keep_mib = 1\ncheckpoint_interval = \"1s\"\n";
/// Bytes of each schedule: some thousand of them are more than the log keeps.
const PAYLOAD_BYTES: usize = 8 * 1024;
const SCHEDULES: u64 = 400;

async fn create(client: &Client, number: u64) {
    let request = creation("default", format!("s{number}"), "0 3 1 1 *", shell(noise(number, PAYLOAD_BYTES)));
    client.create_schedule(request).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_arrives_over_a_slow_link_while_writes_go_on() {
    let mut cluster = Cluster::start(3, CONFIG).await.unwrap();
    let target = cluster.peer(3).parse().unwrap();
    let proxy = Proxy::start(target, Link::FAST).await.unwrap();
    let behind = cluster.metric(3, "belfry_raft_last_log_index").await.unwrap() + 10.0;
    for id in 1..=3 {
        cluster.stop_node(id).await.unwrap();
    }
    cluster.detour(3, proxy.address(), CONFIG).unwrap();
    for id in [1, 2] {
        cluster.start_node(id).unwrap();
    }
    cluster.wait_for_leader().await.unwrap();
    let client = cluster.client().unwrap();
    for number in 0..SCHEDULES {
        create(&client, number).await;
    }
    // What node 3 would need is gone from the logs: a checkpoint holds it.
    let start = Instant::now();
    for id in [1, 2] {
        while cluster.metric(id, "belfry_raft_purged_index").await.is_none_or(|purged| purged < behind) {
            assert!(start.elapsed() < PATIENCE, "node {id} keeps its log\n{}", cluster.logs());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    proxy.set(Link { delay: Duration::from_millis(30), bytes_per_second: Some(1 << 20), ..Link::FAST });
    let (done, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let writer = tokio::spawn({
        let (client, done, written) = (client.clone(), done.clone(), written.clone());
        async move {
            while !done.load(Ordering::Acquire) {
                create(&client, SCHEDULES + written.fetch_add(1, Ordering::AcqRel)).await;
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    });
    cluster.start_node(3).unwrap();
    cluster.wait_for_log(3, "installed a snapshot").await.unwrap();
    let meanwhile = written.load(Ordering::Acquire);
    assert!(meanwhile > 0, "nothing was written while the snapshot was on its way");
    // It follows, while writes go on.
    let wanted = cluster.status(cluster.wait_for_leader().await.unwrap()).await.unwrap().applied_index;
    while cluster.status(3).await.is_none_or(|status| status.applied_index < wanted) {
        assert!(start.elapsed() < PATIENCE * 2, "it does not catch up\n{}", cluster.logs());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    done.store(true, Ordering::Release);
    writer.await.unwrap();
    let digests = cluster.settled_digests().await.unwrap();
    assert!(
        digests.len() == 3 && digests.values().all(|digest| *digest == digests[&1]),
        "APPLY-1: {digests:?}"
    );
    eprintln!(
        "{meanwhile} writes while the snapshot was on its way, {} in all",
        written.load(Ordering::Acquire)
    );
}
