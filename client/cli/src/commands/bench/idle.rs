//! `belfry bench idle`: what schedules cost that are not due.

use std::time::Duration;

use clap::Args;
use serde::Serialize;
use tokio::time::{Instant, sleep};

use super::Figures;
use super::site::Site;
use super::storm::SCHEDULES_MAX;
use super::usage::NodeUsage;
use crate::exit::Failure;
use crate::output::{Printer, prose};

/// Longest wait for the checkpoints of the nodes: twice the longest time between two, which is 30 s, a fifth and what a storm adds unless configured.
const CHECKPOINT_WAIT: Duration = Duration::from_secs(102);
/// Between two looks at them.
const CHECKPOINT_LOOK_PERIOD: Duration = Duration::from_millis(500);
/// After them: the log behind them goes, and its memory.
const REST: Duration = Duration::from_secs(3);

#[derive(Debug, Args)]
pub(super) struct IdleArgs {
    /// Schedules that are not due.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=SCHEDULES_MAX))]
    schedules: u64,
    /// How long to look, once without them and once with them.
    #[arg(long = "for", value_name = "DURATION", default_value = "10s", value_parser = belfry_timing::parse_duration)]
    length: Duration,
}

/// All of them of one node, on average.
#[derive(Debug, Serialize)]
pub(super) struct IdleFigures {
    schedules: u64,
    /// Percent of one core.
    empty_cpu_percent: f64,
    cpu_percent: f64,
    empty_memory_bytes: f64,
    memory_bytes: f64,
    memory_bytes_per_schedule: f64,
}

pub(super) async fn run(site: &Site, args: &IdleArgs) -> Result<IdleFigures, Failure> {
    nodes(site).await?;
    prose(&format!("looking at the cluster without them for {:?}", args.length));
    let empty = look(site, args.length).await?;
    site.create_asleep(args.schedules).await?;
    wait_for_checkpoints(site).await?;
    sleep(REST).await;
    prose(&format!("looking at {} schedules for {:?}", args.schedules, args.length));
    let full = look(site, args.length).await?;
    Ok(IdleFigures {
        schedules: args.schedules,
        empty_cpu_percent: empty.cpu_percent,
        cpu_percent: full.cpu_percent,
        empty_memory_bytes: empty.memory_bytes,
        memory_bytes: full.memory_bytes,
        memory_bytes_per_schedule: (full.memory_bytes - empty.memory_bytes) / args.schedules as f64,
    })
}

/// Until every node has stored what has been created: what it keeps and does for that is no cost of sleep.
async fn wait_for_checkpoints(site: &Site) -> Result<(), Failure> {
    let created = nodes(site).await?.applied_index;
    prose("waiting until the nodes have stored them");
    let start = Instant::now();
    while nodes(site).await?.checkpoint_index < created {
        if start.elapsed() > CHECKPOINT_WAIT {
            prose("they have not yet (raft.checkpoint_interval): what they keep until then is counted too");
            break;
        }
        sleep(CHECKPOINT_LOOK_PERIOD).await;
    }
    Ok(())
}

struct Look {
    cpu_percent: f64,
    memory_bytes: f64,
}

async fn look(site: &Site, length: Duration) -> Result<Look, Failure> {
    let start = Instant::now();
    let before = nodes(site).await?;
    sleep(length).await;
    let after = nodes(site).await?;
    let count = after.count.max(1) as f64;
    Ok(Look {
        cpu_percent: (after.cpu_s - before.cpu_s) / start.elapsed().as_secs_f64() / count * 100.0,
        memory_bytes: after.memory_bytes / count,
    })
}

async fn nodes(site: &Site) -> Result<NodeUsage, Failure> {
    let unknown =
        || Failure::usage("what is measured here are the nodes: name their admin ports with --admin");
    site.nodes().read().await?.nodes().ok_or_else(unknown)
}

impl Figures for IdleFigures {
    fn screen(&self, printer: &Printer) -> String {
        let mib = |bytes: f64| format!("{:.1} MiB", bytes / f64::from(1 << 20));
        printer.facts(vec![
            ("schedules", self.schedules.to_string().into()),
            (
                "CPU of a node",
                format!("{:.2} % of a core; {:.2} % without them", self.cpu_percent, self.empty_cpu_percent)
                    .into(),
            ),
            (
                "memory of a node",
                format!("{}; {} without them", mib(self.memory_bytes), mib(self.empty_memory_bytes)).into(),
            ),
            ("memory of a schedule", format!("{:.0} B", self.memory_bytes_per_schedule).into()),
        ])
    }

    fn problem(&self) -> Option<String> {
        None
    }
}
