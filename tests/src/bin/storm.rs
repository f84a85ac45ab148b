//! The storm: many schedules due at the same second, a handler that does nothing, three nodes and one executor, all as
//! real processes on this machine (the executor is this one). Prints how long it took until the last began and until the
//! last was acknowledged, and the CPU time per run of all processes together.
//!
//! ```text
//! cargo build --release && cargo run --release -p belfry-tests --bin storm -- --schedules 10000
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use belfry_sdk::executor::{Executor, Outcome, RunContext};
use belfry_sdk::{Client, pb};
use belfry_tests::cluster::{Cluster, PATIENCE};
use clap::Parser;
use futures_util::{StreamExt, TryStreamExt};
use prost_types::Timestamp;
use tokio_util::sync::CancellationToken;

/// A storm of runs, measured.
#[derive(Parser)]
struct Options {
    /// Schedules due at the same second.
    #[arg(long, default_value_t = 10_000)]
    schedules: u64,
    /// Nodes.
    #[arg(long, default_value_t = 3)]
    nodes: u64,
    /// Slots of the executor.
    #[arg(long, default_value_t = 4096)]
    slots: u32,
}

/// What the handler saw, in milliseconds since the epoch.
#[derive(Default)]
struct Seen {
    count: AtomicU64,
    first_ms: AtomicI64,
    last_ms: AtomicI64,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let cluster = Cluster::start(options.nodes, "").await?;
    let client = cluster.client()?;

    let seen = Arc::new(Seen { first_ms: AtomicI64::new(i64::MAX), ..Seen::default() });
    let executor = Executor::builder()
        .endpoints(cluster.endpoints())
        .slots(options.slots)
        .handler("nothing", {
            let seen = seen.clone();
            move |_: RunContext| {
                let seen = seen.clone();
                async move {
                    let now = now_ms();
                    seen.first_ms.fetch_min(now, Ordering::Relaxed);
                    seen.last_ms.fetch_max(now, Ordering::Relaxed);
                    seen.count.fetch_add(1, Ordering::Relaxed);
                    Outcome::Succeeded
                }
            }
        })
        .build()?;
    let shutdown = CancellationToken::new();
    let running = tokio::spawn(executor.run(shutdown.clone().cancelled_owned()));

    // Time to create them all, at some 200 microseconds each, and to come to rest.
    let lead_s = 5 + (options.schedules / 1000).cast_signed();
    let due_s = now_ms() / 1000 + lead_s;
    let start = Instant::now();
    create(&client, options.schedules, due_s).await?;
    println!("created {} schedules in {:.2?}", options.schedules, start.elapsed());
    let rest = due_s * 1000 - now_ms() - 500;
    anyhow::ensure!(rest > 0, "creating them took until they were due: this machine is too busy");
    tokio::time::sleep(Duration::from_millis(rest.unsigned_abs())).await;

    let before = cpu_ms(&cluster)?;
    wait_for_all(&client, &seen, options.schedules).await?;
    let done_ms = now_ms();
    let spent_ms = cpu_ms(&cluster)? - before;

    let after_due = |at: i64| at - due_s * 1000;
    println!("runs                  {}", options.schedules);
    println!(
        "first begin           {} ms after they were due",
        after_due(seen.first_ms.load(Ordering::Relaxed))
    );
    println!("last begin            {} ms", after_due(seen.last_ms.load(Ordering::Relaxed)));
    println!("all acknowledged by   {} ms", after_due(done_ms));
    println!(
        "CPU of all processes  {spent_ms} ms, {:.1} us per run",
        spent_ms as f64 * 1000.0 / options.schedules as f64
    );
    shutdown.cancel();
    running.await??;
    Ok(())
}

async fn create(client: &Client, count: u64, due_s: i64) -> anyhow::Result<()> {
    let at = Timestamp { seconds: due_s, nanos: 0 };
    futures_util::stream::iter(0..count)
        .map(|number| {
            let schedule = pb::Schedule {
                timing: Some(pb::Timing {
                    include: vec![pb::Rule { rule: Some(pb::rule::Rule::AtTime(at)) }],
                    time_zone: String::new(),
                    ..Default::default()
                }),
                target: Some(pb::Target {
                    target: Some(pb::target::Target::Handler(pb::HandlerTarget {
                        handler: "nothing".into(),
                        payload: Default::default(),
                    })),
                }),
                ..Default::default()
            };
            let request = pb::CreateScheduleRequest {
                parent: "namespaces/default".into(),
                schedule_id: format!("storm-{number}"),
                schedule: Some(schedule),
                ..Default::default()
            };
            async move { client.create_schedule(request).await.map(drop) }
        })
        .buffer_unordered(128)
        .try_collect::<()>()
        .await?;
    Ok(())
}

/// Waits until every run has begun here and is acknowledged in the ledger.
async fn wait_for_all(client: &Client, seen: &Seen, count: u64) -> anyhow::Result<()> {
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        if seen.count.load(Ordering::Relaxed) >= count {
            let status = client.get_cluster_status(pb::GetClusterStatusRequest {}).await?;
            if status.run_count >= count && status.due_count == 0 && status.running_count == 0 {
                anyhow::ensure!(seen.count.load(Ordering::Relaxed) == count, "more begins than runs");
                return Ok(());
            }
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    anyhow::bail!("only {} of {count} began", seen.count.load(Ordering::Relaxed))
}

/// CPU time of all nodes and of this process so far.
fn cpu_ms(cluster: &Cluster) -> anyhow::Result<u64> {
    let pids = cluster.pids().into_iter().chain([std::process::id()]);
    pids.map(process_cpu_ms).sum()
}

/// User and system time of a process: fields 14 and 15 of /proc/PID/stat, in clock ticks of 10 ms (proc_pid_stat(5)).
fn process_cpu_ms(pid: u32) -> anyhow::Result<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let fields: Vec<_> = after_name.split_whitespace().collect();
    let ticks = |field: usize| -> anyhow::Result<u64> { Ok(fields.get(field - 3).unwrap_or(&"").parse()?) };
    Ok((ticks(14)? + ticks(15)?) * 10)
}

fn now_ms() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
}
