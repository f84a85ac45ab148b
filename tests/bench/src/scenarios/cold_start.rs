//! A whole cluster that stops, and starts again with many schedules.

use std::time::{Duration, Instant};

use belfry_sdk::Client;
use belfry_tests::cluster::Cluster;
use belfry_tests::creation::{creation, handler};
use futures_util::{StreamExt as _, TryStreamExt as _};

/// Calls under way at once.
const IN_FLIGHT: usize = 64;

/// Creates so many schedules that are not due, stops all nodes, and says how long they take from their start until all
/// are ready.
pub async fn cold_start(cluster: &mut Cluster, nodes: u64, schedules: u64) -> anyhow::Result<Duration> {
    eprintln!("   a cold start with {schedules} schedules");
    let client = cluster.client()?;
    let acts = futures_util::stream::iter(0..schedules).map(|number| create(&client, number));
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

async fn create(client: &Client, number: u64) -> anyhow::Result<()> {
    let (id, cron) = (format!("asleep-{number}"), format!("{} 3 1 1 *", number % 60));
    client.create_schedule(creation("asleep", id, cron, handler("nothing"))).await?;
    Ok(())
}
