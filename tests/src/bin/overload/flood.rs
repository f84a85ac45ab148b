//! A flood of calls, and what it does to runs.
//!
//! Three times the same seconds, on one machine: quiet; the callers flood *another* cluster (what they take of the processors,
//! no server can give back); they flood this one.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::ensure;
use belfry_sdk::{Client, pb};
use belfry_tests::cluster::Cluster;
use belfry_tests::creation::{creation, handler};
use belfry_tests::ledger::{self, millis};
use belfry_tests::usage;
use clap::Args;

use super::begins::{Begins, percentile};
use super::callers::Calls;
use super::now_ms;

/// How the ids of the schedules begin that fire every second.
const EVERY_SECOND: &str = "every-second-";
/// How much later runs may begin under a flood than beside one that takes the same of the processors: so many times, and a few group
/// commits of the log on a slow disk more.
const LATE_FACTOR_MAX: i64 = 4;
const LATE_MORE_MS_MAX: i64 = 200;

/// How much of it.
#[derive(Args, Debug)]
pub(super) struct FloodOptions {
    /// Schedules that fire every second.
    #[arg(long, default_value_t = 100)]
    schedules: usize,
    /// Callers, each with one call under way.
    #[arg(long, default_value_t = 2000)]
    callers: usize,
    /// More of the configuration of the nodes. By default they take fewer calls at once than there are callers.
    #[arg(long, default_value = "[limits]\\nrequest_concurrency_max = 256")]
    config: String,
    /// The node that leads. The callers turn to node 1 first: another one has their calls passed on to it.
    #[arg(long, default_value_t = 2)]
    leader: u64,
    /// Seconds of each part.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
}

/// One part of the measurement.
struct Part {
    name: &'static str,
    due: std::ops::Range<i64>,
    calls: Calls,
    /// How long it took to ask for the status meanwhile, in milliseconds, sorted; and how often there was no answer.
    probes: Vec<i64>,
    unanswered: usize,
    /// CPU time of each process, as a share of one processor in percent.
    cpu: BTreeMap<String, u64>,
}

pub(super) async fn run(options: FloodOptions) -> anyhow::Result<()> {
    let program = std::env::current_exe()?;
    let config = options.config.replace("\\n", "\n");
    let mut cluster = Cluster::start(3, &config).await?;
    let elsewhere = Cluster::start(1, &config).await?;
    let client = cluster.client()?;
    let record = cluster.folder().join("record");
    let endpoints = cluster.endpoints().join(",");
    let arguments = ["executor", "--endpoints", &endpoints, "--record", &record.to_string_lossy()];
    cluster.start_executor_of("one", &program, &arguments.map(str::to_owned))?;
    for number in 0..options.schedules {
        client
            .create_schedule(creation(
                "default",
                format!("{EVERY_SECOND}{number}"),
                "* * * * * *",
                handler("nothing"),
            ))
            .await?;
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let from = now_ms();
    cluster.lead(options.leader).await?;

    println!(
        "{:<10} {:>6} {:>7} {:>7} {:>7} {:>9} {:>9}  % of a processor",
        "", "runs", "p50 ms", "p99 ms", "max ms", "status 50", "99 ms"
    );
    let mut parts = Vec::new();
    for (name, target) in [("quiet", None), ("elsewhere", Some(&elsewhere)), ("flooded", Some(&cluster))] {
        let part = part(name, &options, &program, &cluster, target).await?;
        // What was due at the end of it.
        tokio::time::sleep(Duration::from_secs(3)).await;
        print(&part, &Begins::read(&record)?);
        parts.push(part);
    }
    for (name, pid) in cluster.processes() {
        println!("memory     {name} {} MiB", usage::of_process(pid)?.memory_kib / 1024);
    }
    let begins = Begins::read(&record)?;
    judge(&client, &options, &begins, from..now_ms() - 3000).await?;
    let [_, elsewhere, flooded] = &parts[..] else { unreachable!("three parts") };
    let p99 = |part: &Part| -> anyhow::Result<i64> {
        let late = begins.lateness(EVERY_SECOND, &part.due);
        ensure!(!late.is_empty(), "nothing began in the part {}", part.name);
        Ok(percentile(&late, 99))
    };
    let (beside, under) = (p99(elsewhere)?, p99(flooded)?);
    ensure!(
        under <= LATE_FACTOR_MAX * beside + LATE_MORE_MS_MAX,
        "runs begin {under} ms late at p99 under the flood, {beside} ms when it floods another cluster of this machine"
    );
    let flooded = &flooded.calls;
    ensure!(flooded.refused > 0, "nothing was refused: more callers, or a lower limit");
    ensure!(flooded.refused_without_advice == 0, "a refusal says nothing of another try");
    cluster.stop_executor("one").await
}

/// One part: callers, if any, against `target`, and meanwhile somebody who asks for the status now and then.
async fn part(
    name: &'static str,
    options: &FloodOptions,
    program: &Path,
    cluster: &Cluster,
    target: Option<&Cluster>,
) -> anyhow::Result<Part> {
    let cpu = |cluster: &Cluster| -> anyhow::Result<BTreeMap<String, u64>> {
        let of = |(name, pid)| Ok((name, usage::cpu_ms(pid)?));
        cluster.processes().into_iter().map(of).collect()
    };
    let (before, start, from) = (cpu(cluster)?, Instant::now(), now_ms());
    let callers = target.map(|target| {
        tokio::process::Command::new(program)
            .args(["callers", "--endpoints", &target.endpoints().join(",")])
            .args(["--callers", &options.callers.to_string(), "--seconds", &options.seconds.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
    });
    let callers = callers.transpose()?;
    let calling = callers.as_ref().and_then(tokio::process::Child::id);
    let (mut probes, mut unanswered) = (Vec::new(), 0);
    while start.elapsed() < Duration::from_secs(options.seconds) {
        let asked = Instant::now();
        // A client of its own each time, as people with a command line have: it must get in.
        match cluster.client()?.get_cluster_status(pb::GetClusterStatusRequest {}).await {
            Ok(_) => probes.push(i64::try_from(asked.elapsed().as_millis())?),
            Err(_) => unanswered += 1,
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    probes.sort_unstable();
    let (due, took) = (from..now_ms() - 1000, start.elapsed().as_millis());
    let share = |ms: u64| u64::try_from(u128::from(ms) * 100 / took.max(1)).unwrap_or(0);
    let mut spent: BTreeMap<String, u64> = cpu(cluster)?
        .into_iter()
        .map(|(name, ms)| (name.clone(), share(ms - before.get(&name).copied().unwrap_or(0))))
        .collect();
    if let Some(pid) = calling {
        spent.insert("callers".into(), share(usage::cpu_ms(pid)?));
    }
    let calls = match callers {
        Some(callers) => Calls::read(&String::from_utf8(callers.wait_with_output().await?.stdout)?)?,
        None => Calls::default(),
    };
    Ok(Part { name, due, calls, probes, unanswered, cpu: spent })
}

fn print(part: &Part, begins: &Begins) {
    let late = begins.lateness(EVERY_SECOND, &part.due);
    let cpu: Vec<_> = part.cpu.iter().map(|(name, share)| format!("{name} {share}")).collect();
    println!(
        "{:<10} {:>6} {:>7} {:>7} {:>7} {:>9} {:>9}  {}",
        part.name,
        late.len(),
        percentile(&late, 50),
        percentile(&late, 99),
        percentile(&late, 100),
        percentile(&part.probes, 50),
        percentile(&part.probes, 99),
        cpu.join(", ")
    );
    if part.unanswered > 0 {
        println!("           {} times no answer to a question for the status", part.unanswered);
    }
    let Calls { answered, refused, others, .. } = &part.calls;
    if answered + refused > 0 {
        println!("           calls: {answered} answered, {refused} refused");
    }
    for (what, count) in others {
        println!("           calls: {count} {what}");
    }
}

/// Every second of every schedule has its row, and none began twice.
async fn judge(
    client: &Client,
    options: &FloodOptions,
    begins: &Begins,
    time: std::ops::Range<i64>,
) -> anyhow::Result<()> {
    let doubled = begins.doubled();
    let (mut rows, mut missing, mut merged) = (0, 0, 0);
    for number in 0..options.schedules {
        let found: BTreeMap<i64, _> = ledger::rows(client, &format!("{EVERY_SECOND}{number}"))
            .await?
            .into_iter()
            .filter_map(|run| Some((millis(run.nominal_time.as_ref())?, run.state())))
            .collect();
        for second in time.start / 1000 + 1..time.end / 1000 {
            match found.get(&(second * 1000)) {
                Some(pb::run::State::Merged) => merged += 1,
                Some(_) => rows += 1,
                None => missing += 1,
            }
        }
    }
    println!("rows       {rows}, {merged} merged into a later one, {missing} missing, {doubled} begun twice");
    ensure!(missing == 0 && doubled == 0, "a promise was broken");
    Ok(())
}
