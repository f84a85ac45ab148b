//! A whole cluster that stops, and starts again with many schedules.

use std::time::{Duration, Instant};

use belfry_sdk::{Client, pb};
use belfry_tests::cluster::Cluster;
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
    let cron = pb::Cron { expression: format!("{} 3 1 1 *", number % 60), ..Default::default() };
    let handler = pb::HandlerTarget { handler: "nothing".into(), payload: Default::default() };
    let schedule = pb::Schedule {
        timing: Some(pb::Timing {
            include: vec![pb::Rule { rule: Some(pb::rule::Rule::Cron(cron)) }],
            ..Default::default()
        }),
        target: Some(pb::Target { target: Some(pb::target::Target::Handler(handler)) }),
        ..Default::default()
    };
    let request = pb::CreateScheduleRequest {
        parent: "namespaces/asleep".into(),
        schedule_id: format!("asleep-{number}"),
        schedule: Some(schedule),
        ..Default::default()
    };
    client.create_schedule(request).await?;
    Ok(())
}
