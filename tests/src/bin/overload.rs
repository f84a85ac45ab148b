//! More calls than a cluster takes: schedules of every second go on firing, and what is too much is refused in words that
//! say when to try again. Prints the lateness of runs while it is quiet and while it is flooded, side by side, and the memory
//! of the nodes. Fails if a second has no row, if a run began twice, or if a refusal says nothing of another try.
//!
//! ```text
//! cargo build --release && cargo run --release -p belfry-tests --bin overload
//! ```

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::ensure;
use belfry_sdk::executor::{Executor, Outcome, RunContext};
use belfry_sdk::{Client, ClientError, pb};
use belfry_tests::cluster::Cluster;
use belfry_tests::ledger::{self, millis};
use clap::Parser;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// A flood of calls, and what it does to runs.
#[derive(Parser)]
struct Options {
    /// Schedules that fire every second.
    #[arg(long, default_value_t = 100)]
    schedules: usize,
    /// Callers, each with one call under way.
    #[arg(long, default_value_t = 2000)]
    callers: usize,
    /// Calls that a node works on at once.
    #[arg(long, default_value_t = 256)]
    limit: usize,
    /// Seconds of quiet, and then of the flood.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
}

/// What became of the calls.
#[derive(Default)]
struct Calls {
    answered: AtomicU64,
    refused: AtomicU64,
    refused_without_advice: AtomicU64,
    others: Mutex<BTreeMap<String, u64>>,
}

/// How often each run (schedule, nominal time) began, and how late, in milliseconds.
type Begun = Arc<Mutex<BTreeMap<(String, i64), Vec<i64>>>>;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let limits = format!("[limits]\nrequest_concurrency_max = {}", options.limit);
    let cluster = Cluster::start(3, &limits).await?;
    let client = cluster.client()?;
    let begun = Begun::default();
    let stop = CancellationToken::new();
    let executor = executor(&cluster, begun.clone())?;
    let running = tokio::spawn(executor.run(stop.clone().cancelled_owned()));
    for number in 0..options.schedules {
        client.create_schedule(creation(&format!("every-second-{number}"), "* * * * * *")).await?;
    }

    println!("{:<10} {:>8} {:>8} {:>8} {:>8}  memory of the nodes", "", "runs", "p50 ms", "p99 ms", "max ms");
    let period = Duration::from_secs(options.seconds);
    let quiet_from = now_ms() + 2000;
    tokio::time::sleep(Duration::from_secs(2) + period).await;
    let flooded_from = now_ms();
    print("quiet", &begun, quiet_from..flooded_from, &cluster)?;

    let (calls, flooding) = (Arc::new(Calls::default()), Arc::new(AtomicBool::new(true)));
    let mut callers = JoinSet::new();
    for number in 0..options.callers {
        // Each thousand its own connections, as a thousand processes would have.
        callers.spawn(call(cluster.client()?, number, calls.clone(), flooding.clone()));
    }
    tokio::time::sleep(period).await;
    print("flooded", &begun, flooded_from..now_ms() - 1000, &cluster)?;
    flooding.store(false, Ordering::Relaxed);
    while let Some(ended) = callers.join_next().await {
        ended?;
    }
    let refused = calls.refused.load(Ordering::Relaxed);
    println!("calls      {} answered, {refused} refused", calls.answered.load(Ordering::Relaxed));
    for (what, count) in &*calls.others.lock().unwrap_or_else(PoisonError::into_inner) {
        println!("           {count} {what}");
    }
    let until = now_ms();
    tokio::time::sleep(Duration::from_secs(2)).await;
    judge(&client, &options, &begun, quiet_from..until).await?;
    ensure!(refused > 0, "nothing was refused: more callers, or a lower limit");
    ensure!(
        calls.refused_without_advice.load(Ordering::Relaxed) == 0,
        "a refusal says nothing of another try"
    );
    stop.cancel();
    running.await??;
    Ok(())
}

fn executor(cluster: &Cluster, begun: Begun) -> anyhow::Result<Executor> {
    let handler = move |run: RunContext| {
        let begun = begun.clone();
        async move {
            let scheduled = run.scheduled_time.0;
            let mut begun = begun.lock().unwrap_or_else(PoisonError::into_inner);
            begun.entry((run.run.schedule().to_owned(), scheduled)).or_default().push(now_ms() - scheduled);
            Outcome::Succeeded
        }
    };
    Ok(Executor::builder().endpoints(cluster.endpoints()).slots(1000).handler("nothing", handler).build()?)
}

fn creation(id: &str, cron: &str) -> pb::CreateScheduleRequest {
    let cron = pb::Cron { expression: cron.into(), ..Default::default() };
    let handler = pb::HandlerTarget { handler: "nothing".into(), payload: Default::default() };
    let schedule = pb::Schedule {
        timing: Some(pb::Timing {
            include: vec![pb::Rule { rule: Some(pb::rule::Rule::Cron(cron)) }],
            ..Default::default()
        }),
        target: Some(pb::Target { target: Some(pb::target::Target::Handler(handler)) }),
        ..Default::default()
    };
    pb::CreateScheduleRequest {
        parent: "namespaces/default".into(),
        schedule_id: id.into(),
        schedule: Some(schedule),
        ..Default::default()
    }
}

/// Creates, reads and deletes one schedule for as long as it floods; waits for nothing but the answers, as bad callers do.
async fn call(client: Client, number: usize, calls: Arc<Calls>, flooding: Arc<AtomicBool>) {
    let id = format!("flood-{number}");
    let name = format!("namespaces/default/schedules/{id}");
    while flooding.load(Ordering::Relaxed) {
        calls.count(client.create_schedule(creation(&id, "30 4 1 1 *")).await.map(drop));
        calls.count(client.get_schedule(pb::GetScheduleRequest { name: name.clone() }).await.map(drop));
        let delete = pb::DeleteScheduleRequest { name: name.clone(), ..Default::default() };
        calls.count(client.delete_schedule(delete).await.map(drop));
    }
}

impl Calls {
    fn count(&self, outcome: Result<(), ClientError>) {
        match outcome {
            // A delete or a read of what was refused before finds nothing: an answer too.
            Ok(()) | Err(ClientError::NotFound(_) | ClientError::AlreadyExists(_)) => {
                self.answered.fetch_add(1, Ordering::Relaxed);
            }
            Err(ClientError::ResourceExhausted(refusal)) => {
                self.refused.fetch_add(1, Ordering::Relaxed);
                if refusal.retry_after.is_none() {
                    self.refused_without_advice.fetch_add(1, Ordering::Relaxed);
                }
            }
            Err(error) => {
                let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
                *others.entry(error.to_string().chars().take(80).collect()).or_default() += 1;
            }
        }
    }
}

/// Lateness of the runs that were due in a range of time.
fn print(what: &str, begun: &Begun, due: std::ops::Range<i64>, cluster: &Cluster) -> anyhow::Result<()> {
    let begun = begun.lock().unwrap_or_else(PoisonError::into_inner);
    let mut late: Vec<i64> =
        begun.iter().filter(|((_, at), _)| due.contains(at)).flat_map(|(_, late)| late.clone()).collect();
    late.sort_unstable();
    let at = |share: usize| late.get((late.len() * share / 100).min(late.len().saturating_sub(1))).copied();
    let memory: Vec<String> = cluster
        .pids()
        .into_iter()
        .map(|pid| Ok(format!("{} MiB", resident_kib(pid)? / 1024)))
        .collect::<anyhow::Result<_>>()?;
    println!(
        "{what:<10} {:>8} {:>8} {:>8} {:>8}  {}",
        late.len(),
        at(50).unwrap_or(0),
        at(99).unwrap_or(0),
        at(100).unwrap_or(0),
        memory.join(", ")
    );
    Ok(())
}

/// Every second of every schedule has its row, and none began twice.
async fn judge(
    client: &Client,
    options: &Options,
    begun: &Begun,
    time: std::ops::Range<i64>,
) -> anyhow::Result<()> {
    let doubled = {
        let begun = begun.lock().unwrap_or_else(PoisonError::into_inner);
        begun.values().filter(|begins| begins.len() > 1).count()
    };
    let (mut rows, mut missing, mut merged) = (0, 0, 0);
    for number in 0..options.schedules {
        let found: BTreeMap<i64, _> = ledger::rows(client, &format!("every-second-{number}"))
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

/// Memory of a process: the field VmRSS of /proc/PID/status (proc_pid_status(5)).
fn resident_kib(pid: u32) -> anyhow::Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap_or("0 kB");
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

fn now_ms() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
}
