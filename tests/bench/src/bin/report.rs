//! Measures everything on this machine and writes `docs/performance.md`.
//!
//! ```text
//! cargo build --release && cargo run --release -p belfry-bench --bin report -- --quick --page /tmp/performance.md
//! ```

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::ensure;
use belfry_bench::machine::{Machine, said_by};
use belfry_bench::page::{Asked, Report, Row, median, page};
use belfry_bench::postgres::{Server, Storm};
use belfry_bench::scenarios::{
    Bench, Figures, Interval, Sizes, cold_start, kill_the_leader, storm_beside_others,
};
use belfry_tests::binary;
use belfry_tests::cluster::Cluster;
use clap::Parser;

/// Nodes of a cluster: as many as most have.
const NODES: u64 = 3;
/// When the leader is killed, in milliseconds after the instant.
const KILLS_MS: [i64; 4] = [-300, 0, 20, 100];
/// Days of history beside a storm; rows are kept for thirty.
const DAYS: [u64; 3] = [1, 10, 30];
/// How often a storm or a small change is measured whose cost is held against another's: what the nodes write behind falls into some.
const REPEATS: usize = 3;
/// What a large storm leaves behind is over by then: a checkpoint of all that it changed, which begins within 36 seconds, and memory
/// that goes back to the kernel. It is no cost of the storms after it.
const AFTERMATH: Duration = Duration::from_secs(45);
/// What an item of a benchmark cost.
const COST: &str = "/cost/cpu_us_per_item";
/// Connections of the baseline: more do not make it faster on two cores.
const BATCH_WORKERS: u32 = 4;
const SINGLE_WORKERS: u32 = 32;
/// What those who claim in batches claim at once.
const BATCH: u32 = 1000;

/// Measures everything on this machine and writes docs/performance.md.
#[derive(Parser)]
struct Options {
    /// Small sizes: some minutes.
    #[arg(long)]
    quick: bool,
    /// Where the page is written.
    #[arg(long, value_name = "FILE", default_value = "docs/performance.md")]
    page: PathBuf,
    /// Only these groups; separate several by commas.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Group>,
}

/// What is measured on one cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Group {
    Storm,
    Tenants,
    Beside,
    Steady,
    Crud,
    Failover,
    Change,
    Growth,
    History,
    Idle,
    ColdStart,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let options = Options::parse();
    let sizes = if options.quick { Sizes::quick() } else { Sizes::full() };
    // Before anything is started: the load that others make.
    let machine = Machine::here(&binary::belfry()?, &std::env::temp_dir());
    let mut report = Report {
        machine,
        date: said_by(Command::new("date").args(["--utc", "+%Y-%m-%d %H:%M"])),
        sizes: if options.quick { "quick".into() } else { "full".into() },
        ..Report::default()
    };
    use Group::{Beside, Change, ColdStart, Crud, Failover, Growth, History, Idle, Steady, Storm, Tenants};
    for group in [Storm, Tenants, Beside, Steady, Crud, Failover, Change, Growth, History, Idle, ColdStart] {
        if !options.only.is_empty() && !options.only.contains(&group) {
            continue;
        }
        eprintln!("== {group:?}");
        let mut cluster = start().await?;
        let rows = &mut report.rows;
        match group {
            Storm => storms(&cluster, &sizes, rows).await?,
            Tenants => tenants(&cluster, &sizes, rows).await?,
            Beside => report.baseline = beside(&cluster, &sizes, rows).await?,
            Steady => steady(&cluster, &sizes, rows).await?,
            Crud => crud(&cluster, &sizes, rows).await?,
            Failover => failover(&mut cluster, &sizes, rows).await?,
            Change => changes(&cluster, &sizes, rows).await?,
            Growth => growth(&cluster, &sizes, rows).await?,
            History => history(&cluster, &sizes, rows).await?,
            Idle => idle(&cluster, &sizes, rows).await?,
            ColdStart => cold(&mut cluster, &sizes, rows).await?,
        }
        // After each group: what was measured is not lost when a later one fails.
        std::fs::write(&options.page, page(&report))?;
    }
    eprintln!("written to {}", options.page.display());
    let failed = report.rows.iter().filter(|row| row.problem.is_some()).count();
    ensure!(failed == 0, "{failed} figures are of scenarios that failed: see the page");
    Ok(())
}

/// A figure of a benchmark.
fn row(
    scenario: &str,
    figure: &'static str,
    (unit, asked): (&'static str, Asked),
    (figures, path): (&Figures, &str),
) -> Row {
    let seen = figures.number(path);
    Row { scenario: scenario.to_owned(), figure, unit, asked, seen, problem: figures.problem.clone() }
}

/// A figure that was computed from those of a benchmark with this problem, if it had one.
fn computed(
    scenario: &str,
    figure: &'static str,
    (unit, asked): (&'static str, Asked),
    (seen, problem): (Option<f64>, &Option<String>),
) -> Row {
    Row { scenario: scenario.to_owned(), figure, unit, asked, seen, problem: problem.clone() }
}

/// A cluster in which all of this release is in force, which is a moment after it has a leader.
async fn start() -> anyhow::Result<Cluster> {
    let cluster = Cluster::start(NODES, "").await?;
    let client = cluster.client()?;
    let is_over = tokio::time::Instant::now() + belfry_tests::cluster::PATIENCE;
    while client.get_cluster_status(Default::default()).await?.feature_level < belfry_core::FEATURE_LEVEL {
        anyhow::ensure!(tokio::time::Instant::now() < is_over, "the feature level does not rise");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    Ok(cluster)
}

async fn storms(cluster: &Cluster, sizes: &Sizes, rows: &mut Vec<Row>) -> anyhow::Result<()> {
    let bench = Bench::of(cluster, NODES)?;
    for due in &sizes.storms {
        let figures = bench.run(&["storm", "--due", &due.to_string()]).await?;
        let name = format!("storm of {due}");
        let p99 = match due {
            ..=1_000 => Asked::AtMost(50.0),
            ..=10_000 => Asked::AtMost(200.0),
            _ => Asked::Nothing,
        };
        let last_begin = match due {
            ..=10_000 => Asked::Nothing,
            ..=100_000 => Asked::AtMost(1_200.0),
            _ => Asked::AtMost(15_000.0),
        };
        let is_large = *due == 100_000;
        let of_large = |asked| if is_large { asked } else { Asked::Nothing };
        rows.extend([
            row(&name, "lag p50", ("ms", Asked::Nothing), (&figures, "/lag/p50_ms")),
            row(&name, "lag p99", ("ms", p99), (&figures, "/lag/p99_ms")),
            row(&name, "last begin", ("ms", last_begin), (&figures, "/last_begin_ms")),
            row(&name, "last completion", ("ms", Asked::Nothing), (&figures, "/last_completion_ms")),
            row(&name, "runs", ("/s", of_large(Asked::AtLeast(80_000.0))), (&figures, "/runs_per_second")),
            row(&name, "CPU of all", ("us per run", of_large(Asked::AtMost(20.0))), (&figures, COST)),
            row(&name, "log", ("B per run", Asked::AtMost(150.0)), (&figures, "/cost/log_bytes_per_item")),
        ]);
    }
    let figures = bench.run(&["storm", "--due", "1000", "--handler", "command"]).await?;
    let name = "storm of 1000 processes";
    rows.push(row(name, "last completion", ("ms", Asked::Nothing), (&figures, "/last_completion_ms")));
    Ok(())
}

/// What others notice of the largest storm.
async fn tenants(cluster: &Cluster, sizes: &Sizes, rows: &mut Vec<Row>) -> anyhow::Result<()> {
    let probe = Bench::of(cluster, NODES)?.run(&["storm", "--due", "1000"]).await?;
    let created = probe.number("/created_per_second").unwrap_or_default();
    let found = storm_beside_others(cluster, NODES, sizes.tenants, created).await?;
    let name = format!("on-time runs of others beside a storm of {}", sizes.tenants);
    rows.extend([
        computed(
            &name,
            "lag p99, worst part of the storm",
            ("ms", Asked::AtMost(1_000.0)),
            (found.worst_p99_ms(), &found.others.problem),
        ),
        row(&name, "last begin of the storm", ("ms", Asked::Nothing), (&found.storm, "/last_begin_ms")),
    ]);
    Ok(())
}

/// In turn with PostgreSQL; says what it was held against.
async fn beside(cluster: &Cluster, sizes: &Sizes, rows: &mut Vec<Row>) -> anyhow::Result<String> {
    let Some(server) = Server::start().await? else {
        return Ok("none: PostgreSQL is not installed here (apt-get install postgresql)".to_owned());
    };
    let bench = Bench::of(cluster, NODES)?;
    let due = u32::try_from(sizes.beside)?;
    let one_by_one = u32::try_from(sizes.one_by_one)?;
    let batched = Storm { due, asleep: due, workers: BATCH_WORKERS, batch: BATCH };
    let single = Storm { due: one_by_one, asleep: due, workers: SINGLE_WORKERS, batch: 1 };
    let (mut ours, mut theirs, mut theirs_single, mut cpu) = (vec![], vec![], vec![], vec![]);
    let mut problem = None;
    for round in 1..=sizes.rounds {
        let figures = bench.run(&["storm", "--due", &due.to_string()]).await?;
        ours.extend(figures.number("/runs_per_second"));
        problem = problem.or(figures.problem);
        let measured = batched.measure(&server).await?;
        let measured_single = single.measure(&server).await?;
        eprintln!("   round {round}: {measured:?}, {measured_single:?}");
        theirs.push(measured.per_second());
        cpu.push(measured.cpu_us_per_run);
        theirs_single.push(measured_single.per_second());
    }
    let version = server.version().to_owned();
    server.stop().await?;
    let name = format!("storm of {due}, median of {} rounds", sizes.rounds);
    let ratio = |of: &[f64], to: &[f64]| Some(median(of)? / median(to)?);
    rows.extend([
        computed(&name, "Belfry, 3 nodes", ("runs/s", Asked::Nothing), (median(&ours), &problem)),
        computed(&name, "PostgreSQL in batches", ("runs/s", Asked::Nothing), (median(&theirs), &problem)),
        computed(
            &name,
            "PostgreSQL in batches, CPU of the server",
            ("us per run", Asked::Nothing),
            (median(&cpu), &problem),
        ),
        computed(
            &name,
            "PostgreSQL one by one",
            ("runs/s", Asked::Nothing),
            (median(&theirs_single), &problem),
        ),
        computed(
            &name,
            "Belfry by PostgreSQL in batches",
            ("x", Asked::AtLeast(1.5)),
            (ratio(&ours, &theirs), &problem),
        ),
        computed(
            &name,
            "Belfry by PostgreSQL one by one",
            ("x", Asked::AtLeast(10.0)),
            (ratio(&ours, &theirs_single), &problem),
        ),
    ]);
    Ok(format!(
        "{version}; batches of {BATCH} on {BATCH_WORKERS} connections, one by one on {SINGLE_WORKERS}"
    ))
}

async fn steady(cluster: &Cluster, sizes: &Sizes, rows: &mut Vec<Row>) -> anyhow::Result<()> {
    let (rate, seconds) = sizes.steady;
    let bench = Bench::of(cluster, NODES)?;
    let figures =
        bench.run(&["steady", "--rate", &rate.to_string(), "--for", &format!("{seconds}s")]).await?;
    let name = format!("{rate} runs/s for {seconds} s");
    let intervals = figures.intervals();
    let p99_of = |interval: Option<&Interval>| interval.map(|interval| interval.p99_ms);
    let cores = figures.number(COST).map(|us| us * rate as f64 / 1e6);
    rows.extend([
        row(&name, "lag p50", ("ms", Asked::Nothing), (&figures, "/lag/p50_ms")),
        row(&name, "lag p99", ("ms", Asked::AtMost(100.0)), (&figures, "/lag/p99_ms")),
        computed(
            &name,
            "lag p99 of the first tenth",
            ("ms", Asked::Nothing),
            (p99_of(intervals.first()), &figures.problem),
        ),
        computed(
            &name,
            "lag p99 of the last tenth",
            ("ms", Asked::AtMost(100.0)),
            (p99_of(intervals.last()), &figures.problem),
        ),
        // What is asked of a run's CPU is asked of the storm, where many runs share an entry of the log; here few do.
        row(&name, "CPU of all", ("us per run", Asked::Nothing), (&figures, COST)),
        computed(&name, "CPU of all", ("cores", Asked::Nothing), (cores, &figures.problem)),
    ]);
    Ok(())
}

async fn crud(cluster: &Cluster, sizes: &Sizes, rows: &mut Vec<Row>) -> anyhow::Result<()> {
    let (count, bulk) = (sizes.crud.to_string(), sizes.bulk.to_string());
    let figures = Bench::of(cluster, NODES)?.run(&["crud", "--count", &count, "--bulk", &bulk]).await?;
    for (in_flight, create) in [(1, 500.0), (64, 8_000.0)] {
        let name = format!("{} schedules, {in_flight} calls at once", sizes.crud);
        for (operation, asked) in [
            ("create", Asked::AtLeast(create)),
            ("get", Asked::Nothing),
            ("update", Asked::Nothing),
            ("list", Asked::Nothing),
            ("delete", Asked::Nothing),
        ] {
            let seen = figures.operation(operation, in_flight);
            rows.push(computed(&name, operation, ("calls/s", asked), (seen, &figures.problem)));
        }
    }
    let name = format!("{} schedules in batches of 1000", sizes.bulk);
    for (operation, asked) in [
        ("create", Asked::AtLeast(50_000.0)),
        ("get", Asked::Nothing),
        ("update", Asked::Nothing),
        ("list", Asked::Nothing),
        ("delete", Asked::Nothing),
    ] {
        let seen = figures.bulk(operation);
        rows.push(computed(&name, operation, ("schedules/s", asked), (seen, &figures.problem)));
    }
    Ok(())
}

async fn failover(cluster: &mut Cluster, sizes: &Sizes, rows: &mut Vec<Row>) -> anyhow::Result<()> {
    let (due, repeats) = sizes.failover;
    let bench = Bench::of(cluster, NODES)?;
    let figures = bench.run(&["failover", "--due", &due.to_string(), "--offset-ms", "20"]).await?;
    let created = figures.number("/created_per_second").unwrap_or_default();
    let name = format!("{due} due, leadership handed over 20 ms after");
    rows.extend([
        row(&name, "first begin", ("ms", Asked::Nothing), (&figures, "/first_begin_ms")),
        row(&name, "last begin", ("ms", Asked::Nothing), (&figures, "/last_begin_ms")),
    ]);
    for offset_ms in KILLS_MS {
        // So many that some are left then.
        let due = if offset_ms >= 100 { 3 * due } else { due };
        let name = format!("{due} due, leader killed at T{offset_ms:+} ms, {repeats} times");
        let (mut first, mut last, mut problem) = (Vec::new(), Vec::new(), None);
        for repeat in 1..=repeats {
            eprintln!("   SIGKILL at {offset_ms} ms, {repeat} of {repeats}");
            let figures = kill_the_leader(cluster, NODES, due, offset_ms, created).await?;
            first.extend(figures.number("/first_begin_ms"));
            last.extend(figures.number("/last_begin_ms"));
            problem = problem.or(figures.problem);
        }
        let worst = |values: Vec<f64>| values.into_iter().max_by(f64::total_cmp);
        rows.extend([
            computed(&name, "first begin, worst", ("ms", Asked::AtMost(1500.0)), (worst(first), &problem)),
            computed(&name, "last begin, worst", ("ms", Asked::AtMost(2500.0)), (worst(last), &problem)),
        ]);
    }
    Ok(())
}

async fn changes(cluster: &Cluster, sizes: &Sizes, rows: &mut Vec<Row>) -> anyhow::Result<()> {
    let bench = Bench::of(cluster, NODES)?;
    for change in ["remove", "reschedule"] {
        let mut growth = Growth::default();
        let [few, many] = sizes.change;
        // Few are over in an instant: one such change says little.
        for (schedules, repeats) in [(few, REPEATS), (many, 1)] {
            let number = schedules.to_string();
            let (figures, cost) = repeated(&bench, &[change, "--schedules", &number], repeats).await?;
            let name = format!("{change} {schedules} of {schedules}");
            let per_second = "/schedules_per_second";
            rows.push(row(&name, "schedules", ("/s", Asked::Nothing), (&figures, per_second)));
            rows.push(computed(&name, "CPU of all", ("us each", Asked::Nothing), (cost, &figures.problem)));
            growth.add(cost, figures.problem);
        }
        rows.push(growth.row(&format!("{change} {many} by {few}")));
    }
    Ok(())
}

/// What each item costs, from few to many.
#[derive(Default)]
struct Growth {
    costs: Vec<Option<f64>>,
    problem: Option<String>,
}

impl Growth {
    fn add(&mut self, cost: Option<f64>, problem: Option<String>) {
        self.costs.push(cost);
        self.problem = self.problem.take().or(problem);
    }

    /// How much more each costs in the last case than in the first.
    fn row(&self, name: &str) -> Row {
        let ratio = || Some(self.costs.last().copied()?? / self.costs.first().copied()??);
        computed(name, "CPU of each", ("x", Asked::AtMost(1.5)), (ratio(), &self.problem))
    }
}

/// The median cost of a run, over some storms of the same size.
async fn cost_of_storms(bench: &Bench, arguments: &[&str]) -> anyhow::Result<(Option<f64>, Option<String>)> {
    let (figures, cost) = repeated(bench, &[&["storm"], arguments].concat(), REPEATS).await?;
    Ok((cost, figures.problem))
}

/// What the last of some runs of a benchmark found, with the first problem of any of them, and the median of what an item cost.
async fn repeated(
    bench: &Bench,
    arguments: &[&str],
    repeats: usize,
) -> anyhow::Result<(Figures, Option<f64>)> {
    let (mut last, mut costs) = (Figures::default(), Vec::new());
    for _ in 0..repeats {
        let figures = bench.run(arguments).await?;
        costs.extend(figures.number(COST));
        let former_problem = last.problem.take();
        last = figures;
        last.problem = former_problem.or(last.problem);
    }
    Ok((last, median(&costs)))
}

/// Storms beside ever more schedules that sleep.
async fn growth(cluster: &Cluster, sizes: &Sizes, rows: &mut Vec<Row>) -> anyhow::Result<()> {
    let bench = Bench::of(cluster, NODES)?;
    let due = sizes.growth_storm;
    let mut growth = Growth::default();
    for asleep in &sizes.growth {
        let arguments = ["--due", &due.to_string(), "--asleep", &asleep.to_string()];
        let (cost, problem) = cost_of_storms(&bench, &arguments).await?;
        let name = format!("storm of {due} beside {asleep} that sleep");
        rows.push(computed(&name, "CPU of all", ("us per run", Asked::Nothing), (cost, &problem)));
        growth.add(cost, problem);
    }
    if let [few, .., many] = sizes.growth[..] {
        rows.push(growth.row(&format!("storm of {due} beside {many} by {few}")));
    }
    Ok(())
}

/// Storms beside ever more rows of the ledger: those of earlier ones, whose schedules are gone.
async fn history(cluster: &Cluster, sizes: &Sizes, rows: &mut Vec<Row>) -> anyhow::Result<()> {
    let bench = Bench::of(cluster, NODES)?;
    let due = sizes.growth_storm;
    let (mut growth, mut ended) = (Growth::default(), 0);
    for days in DAYS {
        let wanted = days * sizes.history_day;
        // So that the second of the three storms has so many before it, and its cost is the one in the middle.
        let more = wanted.saturating_sub(ended + due).max(1);
        let earlier = bench.run(&["storm", "--due", &more.to_string()]).await?;
        tokio::time::sleep(AFTERMATH).await;
        let (cost, problem) = cost_of_storms(&bench, &["--due", &due.to_string()]).await?;
        let problem = problem.or(earlier.problem);
        ended += more + due * REPEATS as u64;
        let name = format!("storm of {due} beside {days} × {} rows of history", sizes.history_day);
        rows.push(computed(&name, "CPU of all", ("us per run", Asked::Nothing), (cost, &problem)));
        growth.add(cost, problem);
    }
    let [first, .., last] = DAYS;
    rows.push(growth.row(&format!("storm of {due} beside {last} days of history by {first}")));
    Ok(())
}

async fn idle(cluster: &Cluster, sizes: &Sizes, rows: &mut Vec<Row>) -> anyhow::Result<()> {
    let schedules = sizes.asleep.to_string();
    let figures =
        Bench::of(cluster, NODES)?.run(&["idle", "--schedules", &schedules, "--for", "20s"]).await?;
    let name = format!("{schedules} schedules that sleep");
    let more = figures.number("/cpu_percent").zip(figures.number("/empty_cpu_percent"));
    rows.extend([
        row(&name, "CPU of a node", ("% of a core", Asked::Nothing), (&figures, "/cpu_percent")),
        computed(
            &name,
            "CPU of a node above the empty cluster",
            ("% of a core", Asked::AtMost(1.0)),
            (more.map(|(with, without)| with - without), &figures.problem),
        ),
        row(
            &name,
            "memory of a node",
            ("B each", Asked::AtMost(600.0)),
            (&figures, "/memory_bytes_per_schedule"),
        ),
    ]);
    Ok(())
}

async fn cold(cluster: &mut Cluster, sizes: &Sizes, rows: &mut Vec<Row>) -> anyhow::Result<()> {
    let taken = cold_start(cluster, NODES, sizes.asleep).await?;
    let name = format!("cold start with {} schedules", sizes.asleep);
    let seen = Some(taken.as_secs_f64());
    rows.push(computed(&name, "all nodes ready", ("s", Asked::AtMost(5.0)), (seen, &None)));
    Ok(())
}
