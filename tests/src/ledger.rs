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

/// Whether a row would begin only after a resume. One that was held by its predecessor at the time of the pause keeps that
/// as its reason, and so does one that was made late: for an instant before the pause, after it.
pub fn waits_for_resume(run: &pb::Run) -> bool {
    use pb::run::{Reason, State};
    run.state() == State::Due && matches!(run.reason(), Reason::Paused | Reason::Overlap | Reason::CatchUp)
}

/// Waits until nothing runs and nothing more will begin, once every schedule is paused.
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
        if open.iter().all(waits_for_resume) {
            return Ok(());
        }
        open.retain(|run| !waits_for_resume(run));
        if start.elapsed() > PATIENCE {
            let names: Vec<_> =
                open.iter().take(10).map(|run| (&run.name, run.state(), run.reason())).collect();
            let request = pb::ExplainRunRequest { name: open[0].name.clone(), ..Default::default() };
            let why = client.explain_run(request).await?;
            bail!("these {} runs do not end: {names:?}\n{:#?}\n{why:#?}", open.len(), open[0]);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// A timestamp in milliseconds since the epoch.
pub fn millis(timestamp: Option<&Timestamp>) -> Option<i64> {
    timestamp.map(|time| time.seconds * 1000 + i64::from(time.nanos / 1_000_000))
}
