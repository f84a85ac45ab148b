//! Clusters that are lost and begin anew, over the command line. The judge is the file that the commands wrote, in the former
//! cluster and in the new one alike: nothing is in it twice.

#![allow(clippy::unwrap_used, reason = "this is a test")]

use std::collections::BTreeSet;
use std::time::{Duration, Instant, SystemTime};

use belfry_sdk::pb;
use belfry_tests::cluster::{Cluster, PATIENCE};
use belfry_tests::journal::{Entry, Journal};
use belfry_tests::ledger::{self, millis};

const SCHEDULES: usize = 5;

async fn create_schedules(cluster: &Cluster, nodes: &[u64], journal: &Journal) {
    let command = journal.command();
    for number in 0..SCHEDULES {
        let name = format!("s{number}");
        let create =
            ["schedule", "create", &name, "--cron", "* * * * * *", "--lease", "2s", "--command", &command];
        cluster.cli(nodes, &create).await.unwrap().ok().unwrap();
    }
    // One that has begun when everything ends, and nobody will ever know what became of it.
    // It goes on after its executor was killed, until the test takes its folder away.
    let folder = cluster.folder().display();
    let command = format!("{}; while [ -e {folder} ]; do sleep 0.2; done", journal.command());
    let create =
        ["schedule", "create", "endless", "--cron", "0 3 29 2 *", "--lease", "2s", "--command", &command];
    cluster.cli(nodes, &create).await.unwrap().ok().unwrap();
    cluster.cli(nodes, &["schedule", "trigger", "endless"]).await.unwrap().ok().unwrap();
}

/// Waits until the journal has this.
async fn until(journal: &Journal, what: &str, holds: impl Fn(&[Entry]) -> bool) -> Vec<Entry> {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        // It is made by the first run.
        let entries = journal.entries().unwrap_or_default();
        if holds(&entries) {
            return entries;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{what}: not within {PATIENCE:?}");
}

fn of_all_schedules(entries: &[Entry], at_least: usize) -> bool {
    let count = |name: String| entries.iter().filter(|entry| entry.schedule.ends_with(&name)).count();
    (0..SCHEDULES).all(|number| count(format!("s{number}")) >= at_least) && count("endless".into()) > 0
}

async fn restore(cluster: &mut Cluster, file: &str, id: u64) -> String {
    cluster.prepare_node(id, "").unwrap();
    let data = cluster.data(id).to_string_lossy().into_owned();
    let (api, peer) = (cluster.endpoint(id).replace("http://", ""), cluster.peer(id));
    let id = id.to_string();
    let restore = [
        "cluster",
        "snapshot",
        "restore",
        file,
        "--data",
        &data,
        "--node-id",
        &id,
        "--api",
        &api,
        "--peer",
        &peer,
    ];
    let restored = cluster.cli(&[], &restore).await.unwrap().ok().unwrap();
    let again = cluster.cli(&[], &restore).await.unwrap();
    assert!(again.code == Some(1) && again.stderr.contains("is used already"), "{again:?}");
    restored
}

async fn cluster_id(cluster: &Cluster) -> String {
    let asked = cluster.client().unwrap().get_cluster_status(pb::GetClusterStatusRequest {}).await;
    asked.unwrap().cluster_id
}

/// Everything that began, began once, and tokens only rise from one cluster to the next; every second of every schedule has
/// its row; what the former cluster may have run says so. Gives how many rows are RESTORED.
async fn judge(cluster: &Cluster, journal: &Journal, former: &[Entry]) -> usize {
    let client = cluster.client().unwrap();
    ledger::wait_until_ended(&client).await.unwrap();
    let begins = journal.begins().unwrap();
    assert!(begins.values().all(|count| *count == 1), "RUN-2: {begins:?}");
    let entries = journal.entries().unwrap();
    let highest = former.iter().map(|entry| entry.fencing_token).max().unwrap();
    let newer = entries.iter().filter(|entry| !former.contains(entry));
    assert!(newer.clone().count() > 0, "the new cluster ran nothing");
    assert!(newer.clone().all(|entry| entry.fencing_token > highest + 1_000_000_000), "RUN-3");

    let mut restored = 0;
    for number in 0..SCHEDULES {
        let rows = ledger::rows(&client, &format!("s{number}")).await.unwrap();
        let nominal: Vec<i64> = rows.iter().map(|row| millis(row.nominal_time.as_ref()).unwrap()).collect();
        let missing = nominal.windows(2).filter(|pair| pair[1] - pair[0] != 1000).count();
        assert_eq!(missing, 0, "LEDGER-1: {nominal:?}");
        restored += rows.iter().filter(|row| row.reason() == pb::run::Reason::Restored).count();
    }
    let endless = ledger::rows(&client, "endless").await.unwrap();
    let states: Vec<_> = endless.iter().map(|row| row.state()).collect();
    assert_eq!(states, [pb::run::State::Unknown], "RESTORE-2");
    restored
}

async fn pause_all(cluster: &Cluster, nodes: &[u64]) {
    for number in 0..SCHEDULES {
        let pause = ["schedule", "pause", &format!("s{number}"), "--reason", "the test is over"];
        cluster.cli(nodes, &pause).await.unwrap().ok().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_majority_is_recovered_from_one_survivor() {
    let mut cluster = Cluster::start(3, "").await.unwrap();
    let journal = Journal::new(cluster.folder());
    cluster.start_executor("one", 16).unwrap();
    create_schedules(&cluster, &[1, 2, 3], &journal).await;
    until(&journal, "runs", |entries| of_all_schedules(entries, 3)).await;

    let former_id = cluster_id(&cluster).await;
    // Two die for good, the leader among them.
    let leader = cluster.wait_for_leader().await.unwrap();
    let survivor = if leader == 3 { 2 } else { 3 };
    for id in (1..=3).filter(|id| *id != survivor) {
        cluster.kill_node(id).await.unwrap();
    }
    let data = cluster.data(survivor).to_string_lossy().into_owned();
    let file = cluster.folder().join("survivor.snapshot").to_string_lossy().into_owned();
    let save = ["cluster", "snapshot", "save", &file, "--data", &data];
    let in_use = cluster.cli(&[], &save).await.unwrap();
    assert!(in_use.code == Some(1) && in_use.stderr.contains("is in use by"), "{in_use:?}");
    cluster.kill_node(survivor).await.unwrap();
    cluster.kill_executor("one").await.unwrap();
    cluster.cli(&[], &save).await.unwrap().ok().unwrap();
    let again = cluster.cli(&[], &save).await.unwrap();
    assert_eq!(again.code, Some(5), "SAVE-2: {again:?}");
    let former = journal.entries().unwrap();
    (1..=3).for_each(|id| cluster.forget_node(id));
    // Instants come and nobody fires.
    let died = SystemTime::now();
    while died.elapsed().unwrap() < Duration::from_secs(2) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    let restored = restore(&mut cluster, &file, 10).await;
    assert!(restored.contains("instants up to"), "{restored}");
    cluster.start_node(10).unwrap();
    cluster.wait_for_leader().await.unwrap();
    for id in [11, 12] {
        cluster.prepare_node(id, "").unwrap();
        cluster.start_node(id).unwrap();
        cluster.wait_for_log(id, "belfry cluster add").await.unwrap();
        cluster.cli(&[10], &["cluster", "add", &cluster.peer(id)]).await.unwrap().ok().unwrap();
    }
    cluster.start_executor("two", 16).unwrap();
    let count = former.len();
    until(&journal, "runs of the new cluster", |entries| {
        let newer: BTreeSet<_> = entries[count..].iter().map(|entry| entry.schedule.clone()).collect();
        newer.len() >= SCHEDULES && entries.len() > count + 3 * SCHEDULES
    })
    .await;
    assert_ne!(
        cluster_id(&cluster).await,
        former_id,
        "nodes of the former cluster must not take it for theirs"
    );
    pause_all(&cluster, &[10, 11, 12]).await;
    let restored = judge(&cluster, &journal, &former).await;
    assert!(restored > 0, "the survivor was dead for seconds");
    let digests = cluster.settled_digests().await.unwrap();
    assert!(digests.len() == 3 && digests.values().all(|digest| *digest == digests[&10]), "{digests:?}");
    eprintln!(
        "{} runs before, {} after, none twice; {restored} rows RESTORED",
        count,
        journal.entries().unwrap().len() - count
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_snapshot_of_a_cluster_that_went_on_starts_nothing_again() {
    let mut cluster = Cluster::start(3, "").await.unwrap();
    let journal = Journal::new(cluster.folder());
    cluster.start_executor("one", 16).unwrap();
    create_schedules(&cluster, &[1, 2, 3], &journal).await;
    until(&journal, "runs", |entries| of_all_schedules(entries, 2)).await;

    // Through a follower.
    let leader = cluster.wait_for_leader().await.unwrap();
    let follower = leader % 3 + 1;
    let file = cluster.folder().join("online.snapshot").to_string_lossy().into_owned();
    let saved = cluster
        .cli(&[follower], &["cluster", "snapshot", "save", &file, "-o", "json"])
        .await
        .unwrap()
        .ok()
        .unwrap();
    let verified = cluster
        .cli(&[], &["cluster", "snapshot", "verify", &file, "-o", "json"])
        .await
        .unwrap()
        .ok()
        .unwrap();
    assert_eq!(saved, verified);
    assert!(saved.contains("\"schedule_count\":6"), "{saved}");
    let whole = std::fs::read(&file).unwrap();
    let damaged = cluster.folder().join("damaged.snapshot");
    for at in (0..whole.len()).step_by(whole.len() / 8) {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        std::fs::write(&damaged, bytes).unwrap();
        let refused =
            cluster.cli(&[], &["cluster", "snapshot", "verify", &damaged.to_string_lossy()]).await.unwrap();
        assert!(refused.code == Some(1) && refused.stderr.contains("cannot be used"), "{at}: {refused:?}");
    }

    // The cluster goes on; what it runs now is in no snapshot.
    let at_snapshot = journal.entries().unwrap().len();
    until(&journal, "runs after the snapshot", |entries| entries.len() > at_snapshot + 4 * SCHEDULES).await;
    for id in 1..=3 {
        cluster.kill_node(id).await.unwrap();
    }
    cluster.kill_executor("one").await.unwrap();
    let former = journal.entries().unwrap();
    (1..=3).for_each(|id| cluster.forget_node(id));

    restore(&mut cluster, &file, 7).await;
    cluster.start_node(7).unwrap();
    cluster.wait_for_leader().await.unwrap();
    cluster.start_executor("two", 16).unwrap();
    let count = former.len();
    until(&journal, "runs of the new cluster", |entries| entries.len() > count + 3 * SCHEDULES).await;
    pause_all(&cluster, &[7]).await;
    let restored = judge(&cluster, &journal, &former).await;
    assert!(
        restored >= former.len() - at_snapshot - SCHEDULES,
        "what ran after the snapshot is RESTORED: {restored}"
    );
    eprintln!(
        "{} runs before the snapshot, {} after it, {restored} rows RESTORED, none twice",
        at_snapshot,
        count - at_snapshot
    );
}
