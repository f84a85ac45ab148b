//! Simulates clusters from seeds.
//!
//! ```text
//! sim --seeds 100              100 fresh seeds, a process for each
//! sim --seeds 100 --from 1     those from 1 on
//! sim --seeds 99999 --minutes 60 --jobs 1   as many as there is time for, one after the other
//! sim --fixed --fresh 3        what the gate runs
//! sim --seed 7 --trace t.txt   one, in this process: what a failure says to run
//! sim --seed 7 --twice         one, twice: both must leave the same trace
//! ```
//! Ends with 1 when something was violated, and with 3 when a simulation hangs.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::{Command, ExitCode, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use belfry_sim::faults;
use belfry_sim::record::Record;
use belfry_sim::run::{self, Options, Verdict};
use belfry_sim::seeds::FIXED;
use clap::Parser;

/// The profile of this build: `openraft` checks more of itself where debug assertions are on.
const PROFILE: &str = if cfg!(debug_assertions) { "dev" } else { "release" };

/// Simulates clusters from seeds.
#[derive(Parser, Clone, Debug)]
struct Args {
    /// Simulate this many seeds, each in a process of its own.
    #[arg(long, default_value_t = 0)]
    seeds: u64,
    /// The first of them; without it they are fresh.
    #[arg(long)]
    from: Option<u64>,
    /// The seeds that the gate always runs. They must have seen every kind of fault.
    #[arg(long)]
    fixed: bool,
    /// Beside the others, this many fresh ones.
    #[arg(long, default_value_t = 0)]
    fresh: u64,
    /// Simulate one seed in this process.
    #[arg(long)]
    seed: Option<u64>,
    /// Once more, and compare the traces.
    #[arg(long)]
    twice: bool,
    /// Simulated seconds in which things break.
    #[arg(long, default_value_t = 30)]
    seconds: u64,
    /// Write the trace of the one seed here.
    #[arg(long)]
    trace: Option<PathBuf>,
    /// Simulations at once; all processors by default.
    #[arg(long)]
    jobs: Option<usize>,
    /// Begin no simulation after so many minutes; those under way are finished.
    #[arg(long)]
    minutes: Option<u64>,
    /// Seconds on the wall after which a simulation hangs.
    #[arg(long, default_value_t = 600)]
    watchdog_seconds: u64,
    /// Stop with the first seed that fails.
    #[arg(long)]
    until_caught: bool,
}

fn main() -> anyhow::Result<ExitCode> {
    let args = Args::parse();
    match args.seed {
        Some(seed) => one(&args, seed),
        None => many(&args),
    }
}

/// One seed, here.
fn one(args: &Args, seed: u64) -> anyhow::Result<ExitCode> {
    if std::env::var_os("RUST_LOG").is_some() {
        let filter = tracing_subscriber::EnvFilter::from_default_env();
        let log = tracing_subscriber::fmt().with_ansi(false).with_writer(std::io::stderr);
        log.with_env_filter(filter).with_timer(SimulatedTime).init();
    }
    let limit = Duration::from_secs(args.watchdog_seconds);
    std::thread::spawn(move || {
        std::thread::sleep(limit);
        println!("seed {seed} hangs: it has not ended within {limit:?}");
        std::process::exit(3);
    });
    let safety_for = Duration::from_secs(args.seconds);
    let options = Options { seed, safety_for };
    let record = if args.trace.is_some() { Record::keeping_text() } else { Record::default() };
    end_with_a_panic(seed, record.clone(), args.trace.clone());
    let verdict = run::run(options, &record);
    if let (Some(path), Some(trace)) = (&args.trace, record.lock().text()) {
        std::fs::write(path, trace).with_context(|| format!("cannot write {}", path.display()))?;
    }
    say(&verdict);
    if args.twice {
        // In another process: what differs between processes must not matter either.
        let mut again = this_program(args, seed)?;
        let output = again.stderr(Stdio::inherit()).output()?;
        let first = fingerprint(&verdict);
        let same = String::from_utf8_lossy(&output.stdout).contains(&first);
        println!("{}", if same { "again: the same trace" } else { "again: ANOTHER TRACE" });
        if !same {
            return Ok(ExitCode::from(1));
        }
    }
    Ok(ExitCode::from(u8::from(!verdict.violations.is_empty())))
}

/// A panic of the shipping code is a violation, and the end: what it leaves cannot be taken apart in order.
fn end_with_a_panic(seed: u64, record: Record, trace: Option<PathBuf>) {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        println!("seed {seed} VIOLATION PANIC {}", panic.to_string().replace('\n', " "));
        usual(panic);
        if let (Some(path), Ok(record)) = (&trace, record.try_lock())
            && let Some(text) = record.text()
        {
            // There is nobody left to tell that it cannot be written.
            let _ = std::fs::write(path, text);
        }
        std::process::exit(1);
    }));
}

fn fingerprint(verdict: &Verdict) -> String {
    format!("trace {:016x} of {} lines", verdict.fingerprint.0, verdict.fingerprint.1)
}

fn say(verdict: &Verdict) {
    let mut counts = String::new();
    for (what, count) in &verdict.counts {
        counts.push_str(&format!(" {what}={count}"));
    }
    let seed = verdict.seed;
    for violation in &verdict.violations {
        println!("seed {seed} VIOLATION {violation}");
    }
    let (simulated, wall) = (verdict.simulated.as_secs_f64(), verdict.wall.as_secs_f64());
    println!("seed {seed} {}, simulated {simulated:.1} s in {wall:.1} s:{counts}", fingerprint(verdict));
}

fn this_program(args: &Args, seed: u64) -> anyhow::Result<Command> {
    let mut program = Command::new(std::env::current_exe()?);
    program.args(["--seed", &seed.to_string(), "--seconds", &args.seconds.to_string()]);
    program.args(["--watchdog-seconds", &args.watchdog_seconds.to_string()]);
    Ok(program)
}

/// What came of many.
#[derive(Default)]
struct Tally {
    counts: BTreeMap<String, u64>,
    failed: Vec<u64>,
    simulated: u64,
}

/// Each in a process of its own, some at once.
fn many(args: &Args) -> anyhow::Result<ExitCode> {
    let fresh = || {
        SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |since| since.as_micros()) as u64
            % 1_000_000_000
    };
    let mut seeds = if args.fixed { FIXED.to_vec() } else { Vec::new() };
    let from = args.from.unwrap_or_else(fresh);
    seeds.extend((from..).take(usize::try_from(args.seeds)?));
    let from = fresh();
    seeds.extend((from..).take(usize::try_from(args.fresh)?));
    anyhow::ensure!(!seeds.is_empty(), "nothing to simulate: give --seeds, --fixed or --seed");
    let jobs = args.jobs.or_else(|| std::thread::available_parallelism().ok().map(usize::from)).unwrap_or(1);
    let begun = Instant::now();
    let is_over = || args.minutes.is_some_and(|minutes| begun.elapsed().as_secs() >= minutes * 60);
    seeds.reverse();
    let (waiting, tally) = (Mutex::new(seeds), Mutex::new(Tally::default()));
    let lock = |tally| Mutex::lock(tally).unwrap_or_else(PoisonError::into_inner);
    std::thread::scope(|scope| {
        for _ in 0..jobs {
            scope.spawn(|| {
                loop {
                    if is_over() {
                        return;
                    }
                    let next = waiting.lock().unwrap_or_else(PoisonError::into_inner).pop();
                    let Some(seed) = next else { return };
                    if args.until_caught && !lock(&tally).failed.is_empty() {
                        return;
                    }
                    if let Err(error) = child(args, seed, &tally) {
                        println!("seed {seed} could not be simulated: {error}");
                        lock(&tally).failed.push(seed);
                    }
                }
            });
        }
    });
    let tally = tally.into_inner().unwrap_or_else(PoisonError::into_inner);
    let counts: Vec<_> = tally.counts.iter().map(|(what, count)| format!("{what} {count}")).collect();
    println!(
        "\n{} seeds in {:.0} s, {} failed: {}",
        tally.simulated,
        begun.elapsed().as_secs_f64(),
        tally.failed.len(),
        counts.join(", ")
    );
    for seed in &tally.failed {
        println!(
            "replay: cargo run --profile {PROFILE} -p belfry-sim --bin sim -- --seed {seed} --seconds {} --trace seed-{seed}.txt",
            args.seconds
        );
    }
    let missing: Vec<_> = faults::KINDS.iter().filter(|kind| !tally.counts.contains_key(**kind)).collect();
    if args.fixed && !missing.is_empty() && tally.failed.is_empty() {
        println!("no seed has seen {missing:?}: choose others");
        return Ok(ExitCode::from(1));
    }
    Ok(ExitCode::from(u8::from(!tally.failed.is_empty())))
}

fn child(args: &Args, seed: u64, tally: &Mutex<Tally>) -> anyhow::Result<()> {
    let mut program = this_program(args, seed)?;
    let output = program.stderr(Stdio::piped()).output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    let ok = output.status.success();
    let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
    tally.simulated += 1;
    if !ok {
        tally.failed.push(seed);
        println!("{text}{}", String::from_utf8_lossy(&output.stderr));
    } else {
        let line = text.lines().last().unwrap_or_default();
        println!("{}", line.split(':').next().unwrap_or_default());
    }
    std::io::stdout().flush()?;
    for word in text.lines().last().unwrap_or_default().split(' ') {
        if let Some((what, count)) = word.split_once('=')
            && let Ok(count) = count.parse::<u64>()
        {
            *tally.counts.entry(what.to_owned()).or_default() += count;
        }
    }
    Ok(())
}

/// Log lines with the time of the simulation.
struct SimulatedTime;

impl tracing_subscriber::fmt::time::FormatTime for SimulatedTime {
    fn format_time(&self, into: &mut tracing_subscriber::fmt::format::Writer<'_>) -> std::fmt::Result {
        write!(into, "{:.3}", turmoil::sim_elapsed().unwrap_or_default().as_secs_f64())
    }
}
