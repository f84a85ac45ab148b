//! An executor in a process of its own, which writes down when it began what. It is not to wait behind those who flood the
//! cluster for more than the cluster makes it wait.

use std::collections::BTreeMap;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use belfry_sdk::executor::{Executor, Outcome, RunContext};
use belfry_tests::executor::until_terminated;
use clap::Args;

use super::now_ms;

/// What the executor is told.
#[derive(Args, Debug)]
pub(super) struct ExecutorOptions {
    /// Nodes, separated by commas.
    #[arg(long, value_delimiter = ',')]
    endpoints: Vec<String>,
    /// Runs at once.
    #[arg(long, default_value_t = 1000)]
    slots: u32,
    /// Where it writes.
    #[arg(long)]
    record: PathBuf,
}

/// Begins runs until SIGTERM: each is a line `SCHEDULE SCHEDULED_MS BEGUN_MS`.
pub(super) async fn run(options: ExecutorOptions) -> anyhow::Result<()> {
    let record = Arc::new(OpenOptions::new().create(true).append(true).open(&options.record)?);
    let executor = Executor::builder()
        .endpoints(options.endpoints)
        .slots(options.slots)
        .handler("nothing", move |run: RunContext| {
            let record = record.clone();
            async move {
                let line = format!("{} {} {}\n", run.run.schedule(), run.scheduled_time.0, now_ms());
                match (&*record).write_all(line.as_bytes()) {
                    Ok(()) => Outcome::Succeeded,
                    Err(error) => Outcome::failed(error.to_string()),
                }
            }
        })
        .build()?;
    until_terminated(executor).await
}

/// How late each run (schedule, time) began, in milliseconds; more than one number: it began more than once.
pub(super) struct Begins(BTreeMap<(String, i64), Vec<i64>>);

impl Begins {
    pub(super) fn read(path: &Path) -> anyhow::Result<Self> {
        let mut begins = BTreeMap::<_, Vec<i64>>::new();
        for line in std::fs::read_to_string(path)?.lines() {
            let words: Vec<_> = line.split(' ').collect();
            let [schedule, scheduled, begun] = words[..] else {
                anyhow::bail!("not a line of a record: {line}")
            };
            let scheduled: i64 = scheduled.parse().context("scheduled")?;
            let begun: i64 = begun.parse().context("begun")?;
            begins.entry((schedule.to_owned(), scheduled)).or_default().push(begun - scheduled);
        }
        Ok(Self(begins))
    }

    /// Those of schedules whose id begins so, scheduled within a range of time, sorted.
    pub(super) fn lateness(&self, prefix: &str, due: &Range<i64>) -> Vec<i64> {
        let those =
            self.0.iter().filter(|((schedule, at), _)| schedule.starts_with(prefix) && due.contains(at));
        let mut late: Vec<i64> = those.flat_map(|(_, late)| late.clone()).collect();
        late.sort_unstable();
        late
    }

    pub(super) fn doubled(&self) -> usize {
        self.0.values().filter(|begins| begins.len() > 1).count()
    }
}

/// The value that this share of sorted values, in percent, does not exceed.
pub(super) fn percentile(sorted: &[i64], share: usize) -> i64 {
    sorted.get((sorted.len() * share / 100).min(sorted.len().saturating_sub(1))).copied().unwrap_or(0)
}
