//! Disks that are full, and files that are not what was written: one node with it beside two healthy ones.

use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use belfry_tests::by_hand::create;
use belfry_tests::cluster::{Cluster, Setup};
use belfry_tests::creation::noise;
use belfry_tests::disk::{SmallDisk, cut, flip_a_bit};
use belfry_tests::history;
use belfry_tests::needs::or_not_run;
use belfry_tests::scenario::{Carrier, Scenario};
use belfry_tests::writes::{Manner, Writes, read_all};
use tokio_util::sync::CancellationToken;

/// Checkpoints often, so that they meet the full disk soon.
const CONFIG: &str = "[raft]\ncheckpoint_interval = \"1s\"\n";
const MANNER: Manner = Manner { keys: 4, apart: false, pace: Duration::from_millis(10), seed: 3 };

/// Schedules that are written without a pause.
const BURST: u32 = 40;

/// Room for what is written until the node ends, several times over: freed, the disk holds all of it.
const DISK_MEBIBYTES: u64 = 128;

/// Schedules of 200 KiB each, until the node cannot store them: what is written ahead and what is cached is used up. In bursts: in the midst
/// of one no checkpoint begins.
async fn write_until_it_ends(cluster: &mut Cluster, victim: u64) -> ExitStatus {
    let client = cluster.client().unwrap();
    let stop = CancellationToken::new();
    let ballast = noise(1, 200 * 1024);
    let writing = tokio::spawn(stop.clone().run_until_cancelled_owned(async move {
        for number in 0.. {
            // The answer may be lost with the leader, and nobody waits for these schedules. In a list they come last.
            let _ = create(&client, &format!("z-ballast-{number}"), &format!(": {ballast}")).await;
            if number % BURST == BURST - 1 {
                tokio::time::sleep(Duration::from_secs(2)).await;
            }
        }
    }));
    let status = cluster.wait_for_exit(victim).await.unwrap();
    stop.cancel();
    writing.await.unwrap();
    status
}

/// A node whose disk has no room for `part` ends and says so; the others go on; with room again it comes back.
async fn check_full_disk(part: &str) {
    let what = format!("no room for the {part} of a leader");
    if or_not_run(&what, SmallDisk::possible()).is_none() {
        return;
    }
    let mut cluster = Setup::new(3).config(CONFIG).start().await.unwrap();
    cluster.start_executor("one", 32).unwrap();
    let mut scenario = Scenario::begin(cluster, 10, Carrier::Command).await.unwrap();
    let clock = Instant::now();
    let writes = Writes::start(vec![scenario.client.clone(), scenario.client.clone()], MANNER, clock);
    let cluster = &mut scenario.cluster;

    // The node that is going to suffer gets a small disk, and the leadership.
    let victim = cluster.wait_for_leader().await.unwrap();
    cluster.stop_node(victim).await.unwrap();
    let disk = SmallDisk::in_place_of(&cluster.data(victim).join(part), DISK_MEBIBYTES).unwrap();
    cluster.start_node(victim).unwrap();
    cluster.wait_until_ready(victim).await.unwrap();
    cluster.lead(victim).await.unwrap();
    writes.wait_for_acknowledged(20).await.unwrap();

    disk.fill().unwrap();
    let status = write_until_it_ends(cluster, victim).await;
    assert_eq!(status.code(), Some(1));
    let said = cluster.log(victim).unwrap();
    let error = said.lines().rfind(|line| line.starts_with("error: ")).unwrap_or_default();
    println!("{what}: {error}");
    assert!(error.contains("No space left on device"), "{said}");
    assert!(error.contains(part), "it names what is full: {error}");
    assert!(!said.contains("panicked"), "{said}");

    // The others go on.
    cluster.wait_for_leader().await.unwrap();
    writes.wait_for_acknowledged(50).await.unwrap();
    scenario.wait_for_runs(2).await.unwrap();
    let cluster = &mut scenario.cluster;

    disk.free().unwrap();
    cluster.start_node(victim).unwrap();
    cluster.wait_until_ready(victim).await.unwrap();
    // Everything that was acknowledged is read from this very node once it leads.
    cluster.lead(victim).await.unwrap();
    writes.wait_for_acknowledged(20).await.unwrap();
    let mut record = writes.stop().await.unwrap();
    record.extend(read_all(scenario.client.clone(), MANNER, 1, clock).await);
    println!("{what}: {record}");
    assert_eq!(history::check(&record.history), Vec::<String>::new());
    let (cluster, _) = scenario.finish(&what).await.unwrap();
    // The processes first: a disk in use cannot be unmounted.
    drop(cluster);
    drop(disk);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_log_has_no_room_ends_and_comes_back_whole() {
    Box::pin(check_full_disk("log")).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_state_has_no_room_ends_and_comes_back_whole() {
    Box::pin(check_full_disk("state")).await;
}

/// The newest segment of the log, and how much of it was written: zeros follow.
fn written_part_of_log(data: &Path) -> (PathBuf, usize) {
    let files = std::fs::read_dir(data.join("log")).unwrap().flatten().map(|entry| entry.path());
    let segments = files.filter(|path| path.extension().is_some_and(|extension| extension == "wal"));
    let newest = segments.max().unwrap();
    let content = std::fs::read(&newest).unwrap();
    let written = content.iter().rposition(|byte| *byte != 0).unwrap() + 1;
    (newest, written)
}

/// Starts a node with a damaged file: it refuses, and says what to do.
async fn check_refused(cluster: &mut Cluster, node: u64, what: &str) -> String {
    let said_before = cluster.log(node).unwrap().len();
    cluster.start_node(node).unwrap();
    let status = cluster.wait_for_exit(node).await.unwrap();
    check_said(cluster, node, said_before, status, what)
}

fn check_said(cluster: &Cluster, node: u64, said_before: usize, status: ExitStatus, what: &str) -> String {
    let said = cluster.log(node).unwrap().split_off(said_before);
    let error = said.lines().find(|line| line.starts_with("error: ")).unwrap_or_default();
    println!("{what}: {error}");
    assert_eq!(status.code(), Some(1), "{what}: {said}");
    assert!(error.contains("damaged") && error.contains("never an older copy"), "{what}: {said}");
    assert!(!said.contains("panicked"), "{what}: {said}");
    error.to_owned()
}

/// Up to which byte of the log the node had acknowledged, by its own words.
fn acknowledged_in(error: &str) -> u64 {
    let words: Vec<_> = error.split("everything up to byte ").collect();
    words[1].split(' ').next().unwrap().parse().unwrap()
}

/// Nothing that was acknowledged is lost in silence: the damaged node refuses, says what to do, and the others go on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_with_a_damaged_file_refuses_and_the_others_go_on() {
    let mut cluster = Setup::new(3).config(CONFIG).start().await.unwrap();
    cluster.start_executor("one", 32).unwrap();
    let mut scenario = Scenario::begin(cluster, 10, Carrier::Command).await.unwrap();
    let clock = Instant::now();
    let writes = Writes::start(vec![scenario.client.clone(), scenario.client.clone()], MANNER, clock);
    writes.wait_for_acknowledged(50).await.unwrap();

    let victim = scenario.cluster.wait_for_leader().await.unwrap();
    scenario.cluster.kill_node(victim).await.unwrap();
    let data = scenario.cluster.data(victim);
    let kept = data.with_extension("kept");
    std::fs::rename(&data, &kept).unwrap();
    let (log, written) = written_part_of_log(&kept);
    let log = log.strip_prefix(&kept).unwrap().to_owned();
    let state = Path::new("state/db");
    let mut acknowledged = 0;
    type Damage<'a> = (&'a str, &'a dyn Fn(&Path, u64));
    let damages: [Damage<'_>; 4] = [
        ("a bit of the log", &|log, _| flip_a_bit(log, written / 2).unwrap()),
        ("the log is cut in the middle", &|log, _| cut(log, written as u64 / 2).unwrap()),
        ("the last of what was acknowledged is cut off", &|log, acknowledged| {
            cut(log, acknowledged - 7).unwrap()
        }),
        ("the log is empty", &|log, _| cut(log, 0).unwrap()),
    ];
    for (what, damage) in damages {
        copy(&kept, &data);
        damage(&data.join(&log), acknowledged);
        let error = check_refused(&mut scenario.cluster, victim, what).await;
        if acknowledged == 0 {
            acknowledged = acknowledged_in(&error);
        }
        std::fs::remove_dir_all(&data).unwrap();
        writes.wait_for_acknowledged(10).await.unwrap();
    }
    // With its own folder, as it was when it died, it comes back. From here on no copy may be put back.
    std::fs::rename(&kept, &data).unwrap();
    let cluster = &mut scenario.cluster;
    cluster.start_node(victim).unwrap();
    cluster.wait_until_ready(victim).await.unwrap();
    cluster.lead(victim).await.unwrap();
    writes.wait_for_acknowledged(20).await.unwrap();
    let mut record = writes.stop().await.unwrap();
    record.extend(read_all(scenario.client.clone(), MANNER, 1, clock).await);
    println!("damaged files: {record}");
    assert_eq!(history::check(&record.history), Vec::<String>::new());

    // The state is made anew from the log, which is whole still, where the damage is of no importance; else the node refuses,
    // and the others settle without it.
    let damages: [(&str, &dyn Fn(u64)); 2] = [
        ("a bit of the state", &|length| flip_a_bit(&data.join(state), length as usize / 2).unwrap()),
        ("the state is empty", &|_| cut(&data.join(state), 0).unwrap()),
    ];
    for (what, damage) in damages {
        let cluster = &mut scenario.cluster;
        cluster.kill_node(victim).await.unwrap();
        damage(std::fs::metadata(data.join(state)).unwrap().len());
        let said_before = cluster.log(victim).unwrap().len();
        cluster.start_node(victim).unwrap();
        if !cluster.becomes_ready(victim).await.unwrap() {
            let status = cluster.wait_for_exit(victim).await.unwrap();
            check_said(cluster, victim, said_before, status, what);
            break;
        }
        println!("{what}: it starts");
    }
    scenario.finish("damaged files").await.unwrap();
}

fn copy(from: &Path, to: &Path) {
    let status = std::process::Command::new("cp").arg("-a").args([from, to]).status().unwrap();
    assert!(status.success());
}
