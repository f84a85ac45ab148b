//! Schedules that run only by hand: one run at a time, looked at closely.

use std::time::{Duration, Instant};

use anyhow::ensure;
use belfry_sdk::{Client, pb};

use crate::cluster::PATIENCE;

/// A schedule that runs `shell`, and only when it is triggered. Its lease is 2 s.
pub async fn create(client: &Client, name: &str, shell: &str) -> anyhow::Result<pb::Schedule> {
    let schedule = pb::Schedule {
        timing: Some(pb::Timing {
            include: vec![pb::Rule {
                rule: Some(pb::rule::Rule::Cron(pb::Cron {
                    // Only by hand.
                    expression: "0 0 30 2 *".into(),
                    allow_never: true,
                    ..Default::default()
                })),
            }],
            time_zone: "Europe/Berlin".into(),
            ..Default::default()
        }),
        target: Some(pb::Target {
            target: Some(pb::target::Target::Command(pb::CommandTarget {
                shell: shell.into(),
                ..Default::default()
            })),
        }),
        policies: Some(pb::Policies {
            lease_duration: Some(prost_types::Duration { seconds: 2, nanos: 0 }),
            ..Default::default()
        }),
        ..Default::default()
    };
    let request = pb::CreateScheduleRequest {
        parent: "namespaces/default".into(),
        schedule_id: name.into(),
        schedule: Some(schedule),
        ..Default::default()
    };
    Ok(client.create_schedule(request).await?)
}

/// Runs it once; says the name of the run.
pub async fn trigger(client: &Client, schedule: &pb::Schedule) -> anyhow::Result<String> {
    let request = pb::TriggerScheduleRequest { name: schedule.name.clone(), ..Default::default() };
    Ok(client.trigger_schedule(request).await?.name)
}

/// Waits until a run is in one of these states.
pub async fn wait_for(client: &Client, run: &str, states: &[pb::run::State]) -> anyhow::Result<pb::Run> {
    let start = Instant::now();
    loop {
        let found = client.get_run(pb::GetRunRequest { name: run.into() }).await?;
        if states.contains(&found.state()) {
            return Ok(found);
        }
        ensure!(start.elapsed() < PATIENCE, "it stays {}: {found:?}", found.state().as_str_name());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
