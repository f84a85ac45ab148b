//! Faults of every kind, one after the other, for as long as one likes: what is counted, and what the processes take.
//!
//! `cargo build --release && cargo run --release -p belfry-tests --bin soak -- 30` soaks for thirty minutes. As root, with
//! iproute2 and iptables, the network is cut too; elsewhere it says that it is not. Ends with an error at the first thing that
//! is lost or doubled.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::ensure;
use belfry_sdk::pb::run::State;
use belfry_tests::cluster::{Cluster, Setup, place};
use belfry_tests::executor::{self, ExecutorOptions};
use belfry_tests::history;
use belfry_tests::needs::or_not_run;
use belfry_tests::netns::Network;
use belfry_tests::scenario::{Carrier, LEASE, Scenario, now_ms};
use belfry_tests::usage::{self, Usage};
use belfry_tests::writes::{Manner, Random, Writes, read_all};
use clap::{Parser, Subcommand};

/// Little history, so that what is kept comes to its full size within minutes.
const CONFIG: &str = "[retention]\nrows_per_schedule_max = 300\nanswers_for = \"1m\"\n\n\
                      [raft]\nlog_keep_mib = 1\n";
/// Runs of instants this long ago have ended, whatever was broken meanwhile.
const SETTLED_S: i64 = 90;
/// Seconds judged at once: half of what the retention keeps, with what has not settled.
const PART_S: i64 = 60;
/// When samples of memory, disk and handles are taken: whether they grow shows in several.
const SAMPLE_FIRST: Duration = Duration::from_mins(6);
const SAMPLE_EVERY: Duration = Duration::from_mins(5);
const EXECUTORS: [&str; 2] = ["one", "two"];

#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Options {
    #[command(subcommand)]
    command: Option<Command>,
    /// How long.
    #[arg(default_value_t = 30)]
    minutes: u64,
    /// Schedules of every second.
    #[arg(long, default_value_t = 50)]
    schedules: usize,
    /// Decides which faults come in which order.
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

#[derive(Subcommand)]
enum Command {
    /// An executor of this program's runs; it starts them itself.
    Executor(ExecutorOptions),
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Fault {
    KillLeader,
    KillFollower,
    KillAll,
    StopLeader,
    StallLeader,
    KillExecutor,
    StopExecutor,
    StallExecutor,
    IsolateLeader,
    IsolateExecutor,
    OneWayToLeader,
    LosePackets,
}

const WITHOUT_NETWORK: [Fault; 8] = [
    Fault::KillLeader,
    Fault::KillFollower,
    Fault::KillAll,
    Fault::StopLeader,
    Fault::StallLeader,
    Fault::KillExecutor,
    Fault::StopExecutor,
    Fault::StallExecutor,
];
const WITH_NETWORK: [Fault; 4] =
    [Fault::IsolateLeader, Fault::IsolateExecutor, Fault::OneWayToLeader, Fault::LosePackets];

/// A process of this age has read its state and found its peers.
const SETTLED_AGE_S: u64 = 30;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    match options.command {
        Some(Command::Executor(options)) => executor::run(options).await,
        None => Box::pin(soak(&options)).await,
    }
}

async fn soak(options: &Options) -> anyhow::Result<()> {
    let network = or_not_run("partitions and lost packets", Network::create());
    let mut faults = WITHOUT_NETWORK.to_vec();
    let mut setup = Setup::new(3).config(CONFIG);
    if let Some(network) = network {
        faults.extend(WITH_NETWORK);
        setup = setup.network(network);
    }
    let mut cluster = Box::pin(setup.start()).await?;
    for name in EXECUTORS {
        start_executor(&mut cluster, name)?;
    }
    let mut soak = Soak {
        scenario: Scenario::begin(cluster, options.schedules, Carrier::Handler).await?,
        random: Random(options.seed),
        judged_until: now_ms() / 1000 + 1,
        counts: Counts::default(),
        taken_first: BTreeMap::new(),
    };
    let manner = Manner { keys: 4, apart: false, pace: Duration::from_millis(100), seed: options.seed };
    let clock = Instant::now();
    let clients = (0..3).map(|_| soak.scenario.cluster.client()).collect::<anyhow::Result<_>>()?;
    let writes = Writes::start(clients, manner, clock);

    let length = Duration::from_secs(options.minutes * 60);
    // The first sample when the retention has begun to let rows go, or half-way.
    let mut sample_at = SAMPLE_FIRST.min(length / 2);
    while clock.elapsed() < length {
        let fault = faults[soak.random.below(faults.len() as u32) as usize];
        Box::pin(soak.inflict(fault)).await?;
        soak.scenario.wait_for_runs(2).await?;
        soak.judge_what_has_settled(SETTLED_S).await?;
        if clock.elapsed() > sample_at {
            soak.sample(&format!("after {} min", clock.elapsed().as_secs() / 60))?;
            sample_at += SAMPLE_EVERY;
        }
    }
    let mut record = writes.stop().await?;
    record.extend(read_all(soak.scenario.client.clone(), manner, 3, clock).await);
    soak.scenario.wait_for_runs(3).await?;
    soak.scenario.rest().await?;
    soak.sample("end")?;
    soak.judge_what_has_settled(2).await?;

    println!("{record}");
    println!("{}", soak.counts);
    let problems = history::check(&record.history);
    ensure!(problems.is_empty(), "{problems:#?}");
    Ok(())
}

fn start_executor(cluster: &mut Cluster, name: &str) -> anyhow::Result<()> {
    let journal = belfry_tests::journal::Journal::new(cluster.folder());
    let (endpoints, journal) = (cluster.endpoints().join(","), journal.path().to_string_lossy().into_owned());
    let arguments = ["executor", "--endpoints", &endpoints, "--name", name, "--journal", &journal];
    cluster.start_executor_of(name, &std::env::current_exe()?, &arguments.map(str::to_owned))
}

#[derive(Default)]
struct Counts {
    faults: BTreeMap<Fault, u32>,
    kills: u32,
    partitions: u32,
    packets_dropped: u64,
    runs: usize,
    late: usize,
    unknown: usize,
    lost: usize,
    doubled: usize,
}

impl std::fmt::Display for Counts {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "{:?}", self.faults)?;
        write!(
            f,
            "{} processes killed, {} partitions, {} packets dropped; {} runs, {} late, {} unknown, {} lost, {} doubled",
            self.kills,
            self.partitions,
            self.packets_dropped,
            self.runs,
            self.late,
            self.unknown,
            self.lost,
            self.doubled
        )
    }
}

struct Soak {
    scenario: Scenario,
    random: Random,
    /// The first second that has not been judged.
    judged_until: i64,
    counts: Counts,
    /// What each process took when it was first looked at.
    taken_first: BTreeMap<String, Usage>,
}

impl Soak {
    /// Breaks something for a while, and mends it.
    async fn inflict(&mut self, fault: Fault) -> anyhow::Result<()> {
        *self.counts.faults.entry(fault).or_default() += 1;
        let leader = self.scenario.cluster.wait_for_leader().await?;
        let others: Vec<_> = (1..=3).filter(|id| *id != leader).collect();
        let executor = EXECUTORS[self.random.below(2) as usize];
        match fault {
            Fault::KillLeader => self.kill(&[leader]).await,
            Fault::KillFollower => self.kill(&others[..1]).await,
            Fault::KillAll => self.kill(&[1, 2, 3]).await,
            Fault::StopLeader => {
                self.scenario.cluster.stop_node(leader).await?;
                self.scenario.cluster.start_node(leader)?;
                self.scenario.cluster.wait_until_ready(leader).await
            }
            Fault::StallLeader => {
                self.scenario.cluster.stall_node(leader).await?;
                self.scenario.cluster.wait_for_leader_of(&others).await?;
                self.scenario.wait_for_runs(1).await?;
                self.scenario.cluster.wake_node(leader)
            }
            Fault::KillExecutor => {
                self.counts.kills += 1;
                self.scenario.cluster.kill_executor(executor).await?;
                start_executor(&mut self.scenario.cluster, executor)
            }
            Fault::StopExecutor => {
                self.scenario.cluster.stop_executor(executor).await?;
                start_executor(&mut self.scenario.cluster, executor)
            }
            Fault::StallExecutor => {
                self.scenario.cluster.stall_executor(executor).await?;
                tokio::time::sleep(LEASE * 2).await;
                self.scenario.cluster.wake_executor(executor)
            }
            Fault::IsolateLeader | Fault::IsolateExecutor | Fault::OneWayToLeader | Fault::LosePackets => {
                self.break_network(fault, leader, &others, executor).await
            }
        }
    }

    async fn kill(&mut self, nodes: &[u64]) -> anyhow::Result<()> {
        let cluster = &mut self.scenario.cluster;
        for id in nodes {
            cluster.kill_node(*id).await?;
            self.counts.kills += 1;
        }
        for id in nodes {
            cluster.start_node(*id)?;
        }
        cluster.wait_for_leader().await?;
        Ok(())
    }

    async fn break_network(
        &mut self,
        fault: Fault,
        leader: u64,
        others: &[u64],
        executor: &str,
    ) -> anyhow::Result<()> {
        let network = self.scenario.cluster.network();
        let (alone, rest) = (place(leader), others.iter().map(|id| place(*id)).collect::<Vec<_>>());
        let rest: Vec<_> = rest.iter().map(String::as_str).collect();
        let executor = format!("executor-{executor}");
        match fault {
            Fault::IsolateLeader => network.cut(&[&alone], &rest)?,
            Fault::OneWayToLeader => network.block(&rest, &[&alone])?,
            Fault::IsolateExecutor => network.cut(&[&executor], &[&[alone.as_str()], &rest[..]].concat())?,
            _ => {
                for to in rest.iter().copied().chain([alone.as_str(), &executor]) {
                    network.lose(to, 0.2)?;
                }
            }
        }
        self.counts.partitions += u32::from(fault != Fault::LosePackets);
        tokio::time::sleep(LEASE * 2).await;
        let dropped = network.heal()?;
        ensure!(dropped > 0, "{fault:?} did not happen");
        self.counts.packets_dropped += dropped;
        Ok(())
    }

    /// Judges what is older than that and has not been judged yet.
    async fn judge_what_has_settled(&mut self, settled_s: i64) -> anyhow::Result<()> {
        let until = now_ms() / 1000 - settled_s;
        while self.judged_until < until {
            let seconds = self.judged_until..until.min(self.judged_until + PART_S);
            if settled_s == SETTLED_S && seconds.end - seconds.start < PART_S {
                return Ok(());
            }
            let verdict = self.scenario.judge_part(seconds.clone()).await?;
            self.judged_until = seconds.end;
            let counts = &mut self.counts;
            counts.runs += verdict.begun;
            counts.late += verdict.late;
            counts.unknown += verdict.count(State::Unknown);
            counts.lost += verdict.lost;
            counts.doubled += verdict.doubled;
            println!("{seconds:?}: {verdict}");
            let first: Vec<_> = verdict.problems.iter().take(20).collect();
            ensure!(verdict.problems.is_empty(), "{first:#?}\n{}", self.scenario.cluster.logs());
        }
        Ok(())
    }

    /// Says what every process takes; of one that has come to rest it may not be half as much again as when it first had, nor may it have
    /// twice as many handles: connections come and go.
    fn sample(&mut self, when: &str) -> anyhow::Result<()> {
        for (name, pid) in self.scenario.cluster.processes() {
            let usage = usage::of_process(pid)?;
            if usage.age_s >= SETTLED_AGE_S {
                let first = *self.taken_first.entry(name.clone()).or_insert(usage);
                let grows = usage.memory_kib > first.memory_kib * 3 / 2 || usage.handles > first.handles * 2;
                ensure!(!grows, "{name} took {first:?} at first, {when} it takes {usage:?}");
            }
            println!(
                "{when}: {name}: {} MiB of memory, {} handles, {} s old",
                usage.memory_kib / 1024,
                usage.handles,
                usage.age_s
            );
        }
        for id in 1..=3 {
            let data = self.scenario.cluster.data(id);
            // The log goes by whole segments: it grows up to one of 64 MiB.
            let (log, state) = (usage::of_folder(&data.join("log"))?, usage::of_folder(&data.join("state"))?);
            println!("{when}: node {id}: {} MiB of log and {} MiB of state on disk", log >> 20, state >> 20);
        }
        Ok(())
    }
}
