//! Runs that are due, and nobody to carry them out: what that takes of a node's memory.
//!
//! Schedules of a minute (or of whatever `--cron` says) whose runs nobody takes. From the second instant on each has a row that waits,
//! and every further instant ends as a row that is merged into it.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use belfry_sdk::{Client, pb};
use belfry_tests::cluster::Cluster;
use belfry_tests::creation::{creation, handler};
use belfry_tests::usage;
use clap::Args;
use futures_util::{StreamExt as _, TryStreamExt as _};

/// Schedules of one batch: as many as a node takes. And batches under way at once.
const BATCH: usize = 1000;
const IN_FLIGHT: usize = 4;
/// How often it is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long it may take until all are due: the next minute, and the time to fire them.
const DUE_WITHIN: Duration = Duration::from_secs(180);
/// Of fewer, what the process takes otherwise hides a row that is not let go of.
const MEMORY_SHOWS_FROM: u64 = 100_000;

/// How much of it.
#[derive(Args, Debug)]
pub(super) struct BacklogOptions {
    /// Runs that are due.
    #[arg(long, default_value_t = 1_000_000)]
    due: u64,
    /// When each schedule is due.
    #[arg(long, default_value = "* * * * *")]
    cron: String,
    /// Seconds that are looked at once all are due; half of them to come to rest.
    #[arg(long, default_value_t = 180)]
    seconds: u64,
    /// Rows that the node keeps (`retention.rows_max`).
    #[arg(long, default_value_t = 1_000_000)]
    rows_max: u64,
    /// Rows beyond them that may be there: those that wait are kept anyway, and the retention looks every ten seconds. Without it: two for
    /// each schedule.
    #[arg(long)]
    rows_beyond: Option<u64>,
    /// Milliseconds that a status and a list may take.
    #[arg(long, default_value_t = 1000)]
    answered_within_ms: u64,
}

pub(super) async fn run(options: BacklogOptions) -> anyhow::Result<()> {
    let cluster = Cluster::start(1, &format!("[retention]\nrows_max = {}\n", options.rows_max)).await?;
    let client = cluster.client()?;
    println!("empty: {} MiB", memory_mib(&cluster)?);
    create(&client, &options).await?;
    println!("{} schedules: {} MiB", options.due, memory_mib(&cluster)?);
    let start = Instant::now();
    while status(&client).await?.due_count < options.due {
        ensure!(start.elapsed() < DUE_WITHIN, "not all are due after {DUE_WITHIN:?}");
        tokio::time::sleep(LOOK_EVERY).await;
    }
    println!("{} runs due: {} MiB", options.due, memory_mib(&cluster)?);

    let (start, length) = (Instant::now(), Duration::from_secs(options.seconds));
    let (mut rest_mib, mut end_mib, mut slowest) = (0, 0, Duration::ZERO);
    while start.elapsed() < length {
        tokio::time::sleep(LOOK_EVERY).await;
        let asked = Instant::now();
        let status = status(&client).await?;
        let page = pb::ListRunsRequest {
            parent: "namespaces/backlog/schedules/-".into(),
            page_size: 100,
            ..Default::default()
        };
        client.list_runs(page).await?;
        slowest = slowest.max(asked.elapsed());
        let (due, rows) = (status.due_count, status.run_count);
        ensure!(
            due == options.due,
            "{due} runs are due, not {}: each schedule has one that waits",
            options.due
        );
        let rows_max = options.rows_max + options.rows_beyond.unwrap_or(2 * options.due);
        ensure!(rows <= rows_max, "there are {rows} rows, which is more than {rows_max}");
        let half = if start.elapsed() < length / 2 { &mut rest_mib } else { &mut end_mib };
        *half = memory_mib(&cluster)?.max(*half);
    }
    println!("most in the first half of {length:?}: {rest_mib} MiB, in the second: {end_mib} MiB");
    println!("a status and a list took {} ms at most", slowest.as_millis());
    ensure!(rest_mib > 0 && end_mib > 0, "{length:?} are too short to look twice");
    let is_level = options.due < MEMORY_SHOWS_FROM || end_mib <= rest_mib + rest_mib / 10;
    ensure!(is_level, "memory grows: {rest_mib} MiB, then {end_mib} MiB");
    let within = Duration::from_millis(options.answered_within_ms);
    ensure!(slowest <= within, "a status and a list took {slowest:?}");
    Ok(())
}

async fn create(client: &Client, options: &BacklogOptions) -> anyhow::Result<()> {
    let all: Vec<_> = (0..options.due).collect();
    let batches = all.chunks(BATCH).map(|numbers| async {
        let request =
            |number: &u64| creation("backlog", format!("s{number}"), &*options.cron, handler("nobody"));
        let made = client.batch_create_schedules(numbers.iter().map(request).collect()).await?;
        made.into_iter().try_for_each(|one| one.map(drop))?;
        anyhow::Ok(())
    });
    futures_util::stream::iter(batches).buffer_unordered(IN_FLIGHT).try_collect().await
}

async fn status(client: &Client) -> anyhow::Result<pb::ClusterStatus> {
    Ok(client.get_cluster_status(pb::GetClusterStatusRequest {}).await?)
}

/// Resident memory of the node.
fn memory_mib(cluster: &Cluster) -> anyhow::Result<u64> {
    let (_, pid) = cluster.processes().into_iter().next().context("the node is gone")?;
    Ok(usage::of_process(pid)?.memory_kib / 1024)
}
