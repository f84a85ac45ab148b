//! A rolling deploy under load: every node is stopped and started again, one after the other, while schedules fire every
//! second, clients write, and executors are restarted too.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{bail, ensure};
use belfry_sdk::pb;

use crate::binary;
use crate::cluster::{Cluster, PATIENCE, Setup};
use crate::history;
use crate::scenario::{Carrier, Scenario, now_ms};
use crate::writes::{Manner, Writes, read_all};

/// How much of it.
#[derive(Clone, Debug)]
pub struct Deploy {
    /// The `belfry` of a former release: the first round brings the nodes from it to this one.
    pub from: Option<PathBuf>,
    /// Schedules of every second.
    pub schedules: usize,
    /// Times that every node is restarted.
    pub rounds: usize,
    /// Clients that write.
    pub clients: usize,
}

/// What a user saw of it.
#[derive(Debug)]
pub struct Report {
    /// The feature levels in force at the beginning and at the end.
    pub levels: (u32, u32),
    /// For each stop of a leader, how late the last row of the first instant after it was made, and how late its last run
    /// began, in milliseconds.
    pub hand_overs: Vec<(i64, i64)>,
    /// Runs that began.
    pub runs: usize,
    /// Instants without their run.
    pub lost: usize,
    /// Runs that began twice.
    pub doubled: usize,
    /// Operations of the clients.
    pub operations: usize,
    /// Those that failed, in words.
    pub failures: Vec<String>,
}

impl std::fmt::Display for Report {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let worst = |of: fn(&(i64, i64)) -> i64| self.hand_overs.iter().map(of).max().unwrap_or(0);
        write!(
            f,
            "feature level {} to {}; {} runs, {} lost, {} doubled; {} operations of clients, {} failed; {} hand-overs, first \
             instant after them: rows at most {} ms late, begins at most {} ms",
            self.levels.0,
            self.levels.1,
            self.runs,
            self.lost,
            self.doubled,
            self.operations,
            self.failures.len(),
            self.hand_overs.len(),
            worst(|(row, _)| *row),
            worst(|(_, begin)| *begin),
        )
    }
}

/// Runs it. `program` is one whose `executor` command is [`crate::executor`]. Nothing may be lost, doubled or failed.
pub async fn deploy(program: &Path, deploy: Deploy) -> anyhow::Result<Report> {
    let mut setup = Setup::new(3);
    if let Some(former) = &deploy.from {
        setup = setup.belfry(former.clone());
    }
    let mut cluster = setup.start().await?;
    let executors = ["one", "two"];
    let endpoints = cluster.endpoints().join(",");
    let journal = crate::journal::Journal::new(cluster.folder());
    let arguments = |name: &str| {
        let journal = journal.path().to_string_lossy();
        ["executor", "--endpoints", &endpoints, "--name", name, "--journal", &journal].map(str::to_owned)
    };
    for name in executors {
        cluster.start_executor_of(name, program, &arguments(name))?;
    }
    cluster.belfry(binary::belfry()?);
    let mut scenario = Scenario::begin(cluster, deploy.schedules, Carrier::Handler).await?;
    // Each client has schedules of its own: whatever goes wrong is then the fault of the cluster.
    let manner = Manner { keys: 3, apart: true, pace: Duration::from_millis(20), seed: 11 };
    let clock = Instant::now();
    let clients = (0..deploy.clients).map(|_| scenario.cluster.client()).collect::<anyhow::Result<_>>()?;
    let writes = Writes::start(clients, manner, clock);
    writes.wait_for_acknowledged(20).await?;

    let level = level_in_force(&scenario.cluster).await?;
    let mut stops = Vec::new();
    for round in 0..deploy.rounds {
        // The leader last, as the handbook says.
        let leader = scenario.cluster.wait_for_leader().await?;
        for id in (1..=3).filter(|id| *id != leader).chain([leader]) {
            let stopped_at = now_ms();
            let leads = scenario.cluster.wait_for_leader().await? == id;
            scenario.cluster.stop_node(id).await?;
            scenario.cluster.start_node(id)?;
            scenario.cluster.wait_until_ready(id).await?;
            if leads {
                stops.push(stopped_at);
            }
            scenario.wait_for_runs(1).await?;
        }
        wait_for_level(&scenario.cluster).await?;
        let name = executors[round % executors.len()];
        scenario.cluster.stop_executor(name).await?;
        scenario.cluster.start_executor_of(name, program, &arguments(name))?;
        scenario.wait_for_runs(1).await?;
    }
    let mut record = writes.stop().await?;
    record.extend(read_all(scenario.client.clone(), manner, deploy.clients, clock).await);
    let problems = history::check(&record.history);
    ensure!(problems.is_empty(), "{problems:#?}");
    ensure!(record.failures.is_empty(), "calls failed: {:#?}\n{}", record.failures, scenario.cluster.logs());
    let levels = (level, level_in_force(&scenario.cluster).await?);
    let (_, verdict) = scenario.finish("a rolling deploy").await?;
    let first_after = |stopped_at: &i64| {
        // The first instant that the next leader fired: the first one after the stop.
        let late = |of: &std::collections::BTreeMap<i64, i64>| {
            of.range(stopped_at..).next().map_or(0, |(_, late)| *late)
        };
        (late(&verdict.created), late(&verdict.began))
    };
    Ok(Report {
        levels,
        hand_overs: stops.iter().map(first_after).collect(),
        runs: verdict.begun,
        lost: verdict.lost,
        doubled: verdict.doubled,
        operations: record.history.len(),
        failures: record.failures,
    })
}

async fn level_in_force(cluster: &Cluster) -> anyhow::Result<u32> {
    Ok(cluster.client()?.get_cluster_status(pb::GetClusterStatusRequest {}).await?.feature_level)
}

/// Waits until what every node understands is in force.
async fn wait_for_level(cluster: &Cluster) -> anyhow::Result<()> {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        let said = cluster.client()?.list_members(pb::ListMembersRequest {}).await?;
        if said.members.iter().all(|member| member.feature_level == Some(said.feature_level)) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    bail!("the feature level does not rise to that of the nodes\n{}", cluster.logs())
}
