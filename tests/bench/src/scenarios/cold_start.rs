//! A whole cluster that stops, and starts again with many schedules.

use std::ops::Range;
use std::time::{Duration, Instant};

use belfry_sdk::Client;
use belfry_tests::cluster::Cluster;
use belfry_tests::creation::{creation, handler};
use futures_util::{StreamExt as _, TryStreamExt as _};

/// Schedules of one batch, and batches under way at once.
const BATCH: u64 = 1000;
const IN_FLIGHT: usize = 4;

/// Creates so many schedules that are not due, stops all nodes, and says how long they take from their start until all
/// are ready.
pub async fn cold_start(cluster: &mut Cluster, nodes: u64, schedules: u64) -> anyhow::Result<Duration> {
    eprintln!("   a cold start with {schedules} schedules");
    let client = cluster.client()?;
    let firsts = (0..schedules).step_by(usize::try_from(BATCH)?);
    let acts =
        futures_util::stream::iter(firsts).map(|first| create(&client, first..schedules.min(first + BATCH)));
    acts.buffer_unordered(IN_FLIGHT).try_collect::<()>().await?;
    for id in 1..=nodes {
        cluster.stop_node(id).await?;
    }
    let start = Instant::now();
    for id in 1..=nodes {
        cluster.start_node(id)?;
    }
    for id in 1..=nodes {
        cluster.wait_until_ready(id).await?;
    }
    Ok(start.elapsed())
}

async fn create(client: &Client, numbers: Range<u64>) -> anyhow::Result<()> {
    let request = |number| {
        let (id, cron) = (format!("asleep-{number}"), format!("{} 3 1 1 *", number % 60));
        creation("asleep", id, cron, handler("nothing"))
    };
    let answers = client.batch_create_schedules(numbers.map(request).collect()).await?;
    answers.into_iter().try_for_each(|answer| answer.map(|_| ()))?;
    Ok(())
}
