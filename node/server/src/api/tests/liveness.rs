//! Who is told what goes wrong.

use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use super::report::{minutely, pass};
use super::whole::admin;
use super::*;
use crate::config::{Period, Webhook};

/// Longest wait for anything that must happen.
const PATIENCE: Duration = Duration::from_secs(60);

const NAME: &str = "namespaces/team/schedules/invoices";

/// A request that arrived: its head in lower case, and its body.
struct Arrived {
    head: String,
    body: String,
}

impl Arrived {
    fn header(&self, name: &str) -> &str {
        let line = self.head.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
        line.unwrap_or_else(|| panic!("no {name} in {}", self.head))
    }

    fn event(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }
}

/// Takes the next request and answers it.
async fn take(listener: &TcpListener, status: &str) -> Arrived {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut bytes = Vec::new();
    loop {
        let mut part = [0; 4096];
        let read = stream.read(&mut part).await.unwrap();
        bytes.extend_from_slice(&part[..read]);
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
        let head = head.to_lowercase();
        let length =
            head.lines().find_map(|line| line.strip_prefix("content-length: ")).map_or("0", |length| length);
        if body.len() == length.parse::<usize>().unwrap() {
            let answer = format!("HTTP/1.1 {status}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            stream.write_all(answer.as_bytes()).await.unwrap();
            return Arrived { head, body: body.to_owned() };
        }
    }
}

async fn listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook", listener.local_addr().unwrap());
    (listener, url)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_are_signed_and_told_until_they_are_taken() {
    let (hook, url) = listener().await;
    let folder = tempfile::tempdir().unwrap();
    let secret_file = folder.path().join("secret").display().to_string();
    std::fs::write(&secret_file, "secret\n").unwrap();
    let events = vec!["schedule.paused".to_owned()];
    let alone = Alone::start_by(Arc::new(SystemClock), |config| {
        config.webhooks.endpoints = vec![Webhook { url, events, secret_file }];
    })
    .await;
    alone.create("team", "invoices").await;
    let pause = |reason: &str| pb::PauseScheduleRequest {
        name: NAME.into(),
        reason: reason.into(),
        actor: "ann".into(),
        ..Default::default()
    };
    alone.schedules().pause_schedule(pause("disk")).await.unwrap();
    let first = take(&hook, "503 Not Now").await;
    let again = take(&hook, "200 OK").await;
    assert_eq!(first.header("belfry-event-id"), again.header("belfry-event-id"));
    assert_eq!(first.body, again.body);
    let event = again.event();
    assert_eq!((&event["event"], &event["schedule"]["name"]), (&"schedule.paused".into(), &NAME.into()));
    assert_eq!((&event["pause"]["reason"], &event["pause"]["actor"]), (&"disk".into(), &"ann".into()));
    assert_eq!(event["id"].as_str().unwrap().to_lowercase(), again.header("belfry-event-id"));
    let (time, signature) = again.header("belfry-signature").split_once(",v1=").unwrap();
    let signed = format!("{}.{}", time.strip_prefix("t=").unwrap(), again.body);
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, b"secret");
    let expected = ring::hmac::sign(&key, signed.as_bytes());
    let hex: String = expected.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(signature, hex);
    // Other words are no other pause; a pause after a resume is.
    alone.schedules().pause_schedule(pause("another disk")).await.unwrap();
    let resume = pb::ResumeScheduleRequest { name: NAME.into(), ..Default::default() };
    alone.schedules().resume_schedule(resume).await.unwrap();
    alone.schedules().pause_schedule(pause("third")).await.unwrap();
    assert_eq!(take(&hook, "200 OK").await.event()["pause"]["reason"], "third");
    alone.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_overdue_start_is_told_and_shown_everywhere() {
    let (hook, url) = listener().await;
    let endpoint = Webhook { url, events: vec!["liveness.overdue".into()], secret_file: String::new() };
    let alone =
        Alone::start_by(Arc::new(SystemClock), |config| config.webhooks.endpoints = vec![endpoint]).await;
    minutely(&alone, "team", "invoices", &[]).await;
    pass(&alone, Duration::from_secs(1200)).await;
    let told = take(&hook, "200 OK").await.event();
    assert_eq!(told["schedule"]["name"], NAME);
    assert!(told["run"]["name"].as_str().unwrap().starts_with(NAME), "{told}");
    let (status, text) = admin(&alone, "/liveness").await;
    let document: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((status.as_u16(), &document["overdue_count"]), (200, &1.into()));
    assert_eq!(document["overdue"][0]["schedule"], NAME);
    let lines =
        ["belfry_schedules_overdue{namespace=\"team\"} 1", "belfry_webhooks_total{outcome=\"delivered\"} 1"];
    // The node counts what it delivered once it has read the answer, which is after the answer was written here.
    let counted = async {
        loop {
            let metrics = admin(&alone, "/metrics").await.1;
            if lines.iter().all(|line| metrics.lines().any(|found| found == *line)) {
                return;
            }
        }
    };
    tokio::time::timeout(PATIENCE, counted).await.expect("what was delivered is counted");
    alone.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_overdue_before_anybody_led_is_told() {
    let (hook, url) = listener().await;
    let endpoint = Webhook { url, events: vec!["liveness.overdue".into()], secret_file: String::new() };
    let mut alone =
        Alone::start_by(Arc::new(SystemClock), |config| config.webhooks.endpoints = vec![endpoint]).await;
    minutely(&alone, "team", "invoices", &[]).await;
    // Longer than a new leader looks back.
    alone = alone.be_away_for(3_600_000).await;
    let told = tokio::time::timeout(PATIENCE, take(&hook, "200 OK")).await.expect("an hour without a start");
    assert_eq!(told.event()["schedule"]["name"], NAME);
    alone.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_works_is_pinged_for() {
    let (hook, url) = listener().await;
    let alone = Alone::start_by(Arc::new(SystemClock), |config| {
        config.liveness.ping_url = url;
        config.liveness.ping_interval = Period::from_secs(1);
    })
    .await;
    let ping = take(&hook, "200 OK").await;
    assert!(ping.head.starts_with("get /hook http/1.1"), "{}", ping.head);
    alone.stop().await;
}
