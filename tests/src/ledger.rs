//! Rows of a cluster, through the SDK.

use std::time::{Duration, Instant};

use anyhow::bail;
use belfry_sdk::{Client, pb};
use prost_types::Timestamp;

use crate::cluster::PATIENCE;

/// All rows of a schedule, oldest first.
pub async fn rows(client: &Client, schedule: &str) -> anyhow::Result<Vec<pb::Run>> {
    let mut rows = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = pb::ListRunsRequest {
            parent: format!("namespaces/default/schedules/{schedule}"),
            page_size: 1000,
            page_token,
            states: Vec::new(),
        };
        let page = client.list_runs(request).await?;
        rows.extend(page.runs);
        page_token = page.next_page_token;
        if page_token.is_empty() {
            rows.reverse();
            return Ok(rows);
        }
    }
}

/// Waits until nothing runs and nothing more will begin: a row that was due when its schedule was paused stays DUE.
pub async fn wait_until_ended(client: &Client) -> anyhow::Result<()> {
    let start = Instant::now();
    let request = || pb::ListRunsRequest {
        parent: "namespaces/default/schedules/-".into(),
        page_size: 1000,
        page_token: String::new(),
        states: vec![pb::run::State::Due.into(), pb::run::State::Running.into()],
    };
    loop {
        let mut open = client.list_runs(request()).await?.runs;
        open.retain(|run| !(run.state() == pb::run::State::Due && run.reason() == pb::run::Reason::Paused));
        if open.is_empty() {
            return Ok(());
        }
        if start.elapsed() > PATIENCE {
            let names: Vec<_> =
                open.iter().take(10).map(|run| (&run.name, run.state(), run.reason())).collect();
            bail!("these runs do not end: {names:?}");
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A timestamp in milliseconds since the epoch.
pub fn millis(timestamp: Option<&Timestamp>) -> Option<i64> {
    timestamp.map(|time| time.seconds * 1000 + i64::from(time.nanos / 1_000_000))
}
