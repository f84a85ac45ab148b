//! Who listens while a leader is killed hears everything: watchers of three nodes, and the receiver of a webhook.

#![allow(clippy::unwrap_used, reason = "this is a test")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use belfry_sdk::{Client, ClientError, pb};
use belfry_tests::cluster::{Cluster, PATIENCE};
use belfry_tests::creation::{creation, shell};
use belfry_tests::ledger;
use futures_util::{Stream, StreamExt as _};
use pb::run::State;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::timeout;

/// Every run of them fails, so each is an event for the webhook.
const SCHEDULES: usize = 10;

/// Instants before the leader is killed, and after the next one fires.
const INSTANTS: usize = 3;

/// Ids of the events that were told.
type Told = Arc<Mutex<BTreeSet<String>>>;

/// Takes events until it is dropped.
async fn receive(listener: TcpListener, told: Told) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        tokio::spawn(answer(stream, told.clone()));
    }
}

/// One event of each connection. A leader that is killed in the middle tells it not at all; the next one tells it again.
async fn answer(mut stream: TcpStream, told: Told) -> Option<()> {
    let mut request = Vec::new();
    let body_at = loop {
        if stream.read_buf(&mut request).await.ok()? == 0 {
            return None;
        }
        if let Some(head) = request.windows(4).position(|bytes| bytes == b"\r\n\r\n") {
            break head + 4;
        }
    };
    let head = String::from_utf8_lossy(&request[..body_at]).to_lowercase();
    let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    let length: usize = header("content-length")?.parse().ok()?;
    while request.len() < body_at + length {
        if stream.read_buf(&mut request).await.ok()? == 0 {
            return None;
        }
    }
    told.lock().unwrap().insert(header("belfry-event-id")?.to_owned());
    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    stream.write_all(answer).await.ok()
}

async fn create_schedules(client: &Client) {
    for number in 0..SCHEDULES {
        let request = creation("default", format!("s{number}"), "* * * * * *", shell("exit 3"));
        client.create_schedule(request).await.unwrap();
    }
}

/// The latest state told of each run.
type Seen = BTreeMap<String, State>;

/// Reads changes until `enough`.
async fn read(
    mut changes: impl Stream<Item = Result<pb::WatchRunsResponse, ClientError>> + Unpin,
    seen: &mut Seen,
    revision: &mut u64,
    enough: impl Fn(&Seen) -> bool,
) {
    while !enough(seen) {
        let response = changes.next().await.unwrap().unwrap();
        assert!(response.revision >= *revision, "WATCH-1: a revision went back");
        *revision = response.revision;
        seen.extend(response.runs.into_iter().map(|run| (run.name.clone(), run.state())));
    }
}

fn failed(seen: &Seen) -> usize {
    seen.values().filter(|state| **state == State::Failed).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_leader_costs_no_watcher_and_no_webhook_an_event() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    let told = Told::default();
    let receiver = tokio::spawn(receive(listener, told.clone()));
    let extra = format!("[webhooks]\nendpoints = [{{ url = \"{url}\", events = [\"run.failed\"] }}]\n");
    let mut cluster = Cluster::start(3, &extra).await.unwrap();
    cluster.start_executor("one", 64).unwrap();
    let client = cluster.client().unwrap();

    // One watcher asks all nodes, beginning with the leader: it must go on elsewhere. The others keep to a follower.
    let leader = cluster.wait_for_leader().await.unwrap();
    let first = cluster.endpoint(leader);
    let others = cluster.endpoints().into_iter().filter(|endpoint| *endpoint != first);
    let endpoints: Vec<_> = std::iter::once(first.clone()).chain(others).collect();
    let follower = endpoints[1].clone();
    let request =
        || pb::WatchRunsRequest { parent: "namespaces/default/schedules/-".into(), ..Default::default() };
    let mut watchers = Vec::new();
    for endpoints in [endpoints, vec![follower]] {
        let options = belfry_sdk::ClientOptions::new(endpoints);
        let mut changes = Client::connect(options).unwrap().watch_runs(request());
        // From its first response on, nothing is missed.
        let first = timeout(PATIENCE, changes.next()).await.unwrap().unwrap().unwrap();
        watchers.push((changes, Seen::new(), first.revision));
    }
    create_schedules(&client).await;
    for (changes, seen, revision) in &mut watchers {
        let some = read(changes, seen, revision, |seen| failed(seen) >= INSTANTS * SCHEDULES);
        timeout(PATIENCE, some).await.expect("runs before the kill");
    }
    cluster.kill_node(leader).await.unwrap();
    cluster.wait_for_leader().await.unwrap();
    for (changes, seen, revision) in &mut watchers {
        let before = failed(seen);
        let more = read(changes, seen, revision, |seen| failed(seen) >= before + INSTANTS * SCHEDULES);
        timeout(PATIENCE, more).await.expect("runs after the kill");
    }
    for number in 0..SCHEDULES {
        let request = pb::PauseScheduleRequest {
            name: format!("namespaces/default/schedules/s{number}"),
            reason: "the test is over".into(),
            ..Default::default()
        };
        client.pause_schedule(request).await.unwrap();
    }
    ledger::wait_until_ended(&client).await.unwrap();

    // The judge is the ledger: each row as it ended, to each watcher.
    let mut rows = Vec::new();
    for number in 0..SCHEDULES {
        rows.extend(ledger::rows(&client, &format!("s{number}")).await.unwrap());
    }
    let began = |state: State| matches!(state, State::Failed | State::Merged | State::Unknown);
    let expected: Seen =
        rows.iter().map(|run| (run.name.clone(), run.state())).filter(|(_, state)| began(*state)).collect();
    for (changes, seen, revision) in &mut watchers {
        let all = read(changes, seen, revision, |seen| {
            expected.iter().all(|(name, state)| seen.get(name) == Some(state))
        });
        timeout(PATIENCE, all).await.expect("WATCH-2: a watcher misses how a run ended");
    }
    let failures: BTreeSet<_> = rows
        .iter()
        .filter(|run| run.state() == State::Failed)
        .map(|run| format!("run.failed-{}-{}", run.idempotency_key, run.fencing_token).to_lowercase())
        .collect();
    let all_told = async {
        while !failures.is_subset(&told.lock().unwrap()) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let in_time = timeout(PATIENCE, all_told).await;
    let missing: Vec<_> = failures.difference(&told.lock().unwrap()).cloned().collect();
    assert!(in_time.is_ok(), "never told by webhook: {missing:?}\n{}", cluster.logs());
    eprintln!("{} rows, {} failures: each told to both watchers and by webhook", rows.len(), failures.len());
    receiver.abort();
}
