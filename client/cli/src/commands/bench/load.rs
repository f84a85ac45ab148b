//! What a storm, a steady load and a failover have in common: schedules of a plan, executors, and the verdict.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use belfry_sdk::pb;
use clap::Args;
use serde::Serialize;
use tokio::time::{sleep, timeout};

use super::executors::{Crew, Executors, HandlerKind, now_us};
use super::plan::{Plan, Spacing};
use super::progress::Progress;
use super::record::{Begin, Record, Verdict};
use super::site::Site;
use super::stats::{Spread, per_second, shown_ms};
use super::usage::Cost;
use super::{Figures, none_wanted};
use crate::exit::{Exit, Failure};
use crate::output::{Cell, Printer, prose};
use crate::text;

/// Schedules created beforehand, to learn how long the others take.
const PROBE: u64 = 256;
/// Between the last creation and the first instant, so that the cluster has come to rest.
const REST: Duration = Duration::from_secs(1);
/// What is due is measured from so long before on.
const MEASURED_BEFORE: Duration = Duration::from_millis(500);
/// Schedules per page of the ledger's report: as many as a node gives.
const PAGE_SIZE: i32 = 1000;
/// How often progress is looked at.
const LOOK_PERIOD: Duration = Duration::from_millis(500);

/// Flags of all loads.
#[derive(Clone, Debug, Args)]
pub(super) struct LoadArgs {
    /// Executors, each with a connection of its own, all in this process.
    #[arg(long, value_name = "E", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1000))]
    executors: u32,
    /// Runs that an executor takes at once. Without it: 4096, or 16 processes.
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u32).range(1..=65_536))]
    slots: Option<u32>,
    /// What a run does.
    #[arg(long, value_name = "HANDLER", value_enum, default_value = "noop")]
    handler: HandlerKind,
    /// Further schedules that are not due.
    #[arg(long, value_name = "N", default_value_t = 0)]
    asleep: u64,
    /// The first instant. Without it: as soon as all schedules are there.
    #[arg(long, value_name = "TIME", value_parser = first_instant)]
    at: Option<i64>,
    /// How long to wait for what is late.
    #[arg(long, value_name = "DURATION", default_value = "60s", value_parser = belfry_timing::parse_duration)]
    patience: Duration,
}

/// RFC 3339, whole seconds.
fn first_instant(text: &str) -> Result<i64, String> {
    let time: prost_types::Timestamp =
        text.parse().map_err(|_| "write it as 2026-11-23T02:00:00Z".to_owned())?;
    if time.nanos == 0 { Ok(text::millis(&time)) } else { Err("use whole seconds".to_owned()) }
}

/// How many schedules fire how often.
#[derive(Clone, Copy, Debug)]
pub(super) struct Shape {
    pub(super) schedules: u64,
    pub(super) instants: u64,
    pub(super) spacing: Spacing,
}

/// What a load came to.
#[derive(Clone, Debug, Serialize)]
pub(super) struct LoadFigures {
    #[serde(flatten)]
    pub(super) verdict: Verdict,
    /// From the scheduled time to the start of the handler.
    pub(super) lag: Spread,
    /// After the first instant.
    pub(super) first_begin_ms: f64,
    pub(super) last_begin_ms: f64,
    /// When the cluster had acknowledged that all had ended.
    pub(super) last_completion_ms: f64,
    /// From the first instant to the last completion.
    pub(super) runs_per_second: f64,
    /// What the ledger says of the instants.
    pub(super) ledger: BTreeMap<&'static str, u64>,
    pub(super) created_per_second: f64,
    pub(super) cost: Cost,
}

/// A load that was carried out, with each begin.
pub(super) struct Carried {
    pub(super) plan: Plan,
    pub(super) begins: Vec<Begin>,
    pub(super) figures: LoadFigures,
}

/// Carries a load out. `meanwhile` begins right before the first instant, which it is told.
pub(super) async fn carry_out<F: Future<Output = Result<(), Failure>>>(
    site: &Site,
    args: &LoadArgs,
    shape: Shape,
    meanwhile: impl FnOnce(i64) -> F,
) -> Result<Carried, Failure> {
    let record = Arc::new(Record::new(shape.schedules * shape.instants));
    let crew = Crew { executors: args.executors, slots: args.slots, handler: args.handler };
    let mut executors = Executors::start(site, crew, &record)?;
    let (plan, creation) = prepare(site, args, shape).await?;

    rest_until(plan.first_ms, MEASURED_BEFORE).await;
    let before = site.nodes().read().await?;
    let progress = Progress::new("begun", plan.expected());
    let complete = async {
        let until_last = Duration::from_millis((plan.end_ms() - text::now_millis()).max(0).unsigned_abs());
        // Whoever is missing then is missed.
        let _ = timeout(until_last + args.patience, record.complete()).await;
    };
    let told = async {
        loop {
            sleep(LOOK_PERIOD).await;
            progress.say(record.accounted());
        }
    };
    tokio::select! {
        ((), acted) = futures_util::future::join(complete, meanwhile(plan.first_ms)) => acted?,
        failure = executors.failure() => return Err(failure),
        () = told => {}
    }
    executors.drain().await?;
    let completed_us = now_us();
    let after = site.nodes().read().await?;

    let mut begins = record.take();
    let verdict = Verdict::of(&plan, &mut begins);
    let since_first = |us: i64| (us - plan.first_ms * 1000) as f64 / 1e3;
    let starts = || begins.iter().map(|begin| begin.at_us);
    let taken = Duration::from_micros((completed_us - plan.first_ms * 1000).max(0).unsigned_abs());
    let figures = LoadFigures {
        verdict,
        lag: Spread::of(begins.iter().map(Begin::lag_us)),
        first_begin_ms: starts().min().map_or(0.0, since_first),
        last_begin_ms: starts().max().map_or(0.0, since_first),
        last_completion_ms: since_first(completed_us),
        runs_per_second: per_second(verdict.begun, taken),
        ledger: ledger(site, &plan).await?,
        created_per_second: per_second(shape.schedules, creation),
        cost: after.since(&before, verdict.begun),
    };
    Ok(Carried { plan, begins, figures })
}

/// Creates all schedules, and says how long those that are due took.
async fn prepare(site: &Site, args: &LoadArgs, shape: Shape) -> Result<(Plan, Duration), Failure> {
    let probe = if args.at.is_some() { args.asleep } else { args.asleep.max(PROBE) };
    let probed = site.create_asleep(probe).await?;
    let first_ms = args.at.unwrap_or_else(|| {
        let each = probed.as_secs_f64() / probe as f64;
        // Half as long again: a cluster gets no faster.
        let creation = Duration::from_secs_f64(each * shape.schedules as f64 * 1.5);
        let lead_ms = i64::try_from((creation + REST).as_millis()).unwrap_or(i64::MAX / 2);
        ((text::now_millis() + lead_ms) / 1000 + 1) * 1000
    });
    let Shape { schedules, instants, spacing } = shape;
    let plan = Plan { schedules, first_ms, instants, spacing };
    let target = args.handler.target();
    let schedule = |number| pb::Schedule {
        timing: Some(plan.timing(number)),
        target: Some(target.clone()),
        ..Default::default()
    };
    let creation = site.create_due(schedules, schedule).await?;
    let left_ms = first_ms - text::now_millis();
    if left_ms < i64::try_from(MEASURED_BEFORE.as_millis()).unwrap_or(i64::MAX) {
        let late = format!(
            "creating the schedules took {creation:.1?}, and they are due already: the cluster is too busy for its own pace; try again, or give them time with --at"
        );
        return Err(Failure::new(Exit::Failed, late));
    }
    prose(&format!("created {schedules} schedules in {creation:.1?}; due in {left_ms} ms"));
    Ok((plan, creation))
}

/// Sleeps until shortly before an instant.
pub(super) async fn rest_until(instant_ms: i64, before: Duration) {
    let at_us = instant_ms * 1000 - i64::try_from(before.as_micros()).unwrap_or(i64::MAX);
    sleep(Duration::from_micros((at_us - now_us()).max(0).unsigned_abs())).await;
}

/// Instants of which the ledger has dropped the rows, for want of room.
const DROPPED: &str = "DROPPED";

/// What the ledger says of the instants of a plan, by state.
async fn ledger(site: &Site, plan: &Plan) -> Result<BTreeMap<&'static str, u64>, Failure> {
    let start = Instant::now();
    let mut request = pb::ReportRunsRequest {
        parent: format!("{}/schedules/-", site.parent()),
        from_time: Some(text::timestamp(plan.first_ms)),
        to_time: Some(text::timestamp(plan.end_ms())),
        page_size: PAGE_SIZE,
        ..Default::default()
    };
    let mut counts = BTreeMap::new();
    loop {
        let page = site.client().report_runs(request.clone()).await?;
        for report in &page.schedules {
            for state in &report.states {
                *counts.entry(state.state().as_str_name()).or_default() += state.count;
            }
            if report.missing_count > 0 {
                *counts.entry("MISSING").or_default() += report.missing_count;
            }
            if report.ledger_start_time.is_some() {
                let rows: u64 = report.states.iter().map(|state| state.count).sum();
                *counts.entry(DROPPED).or_default() +=
                    plan.instants.saturating_sub(rows + report.missing_count);
            }
        }
        if page.next_page_token.is_empty() {
            tracing::debug!(taken = ?start.elapsed(), "the ledger was read");
            return Ok(counts);
        }
        request.page_token = page.next_page_token;
    }
}

impl LoadFigures {
    pub(super) fn facts(&self) -> Vec<(&'static str, Cell)> {
        let Verdict { expected, begun, missed, doubled, merged, unexpected } = self.verdict;
        let ledger: Vec<_> = self.ledger.iter().map(|(state, count)| format!("{count} {state}")).collect();
        let mut facts = vec![
            ("runs", Cell::from(format!("{begun} of {expected}"))),
            ("missed", none_wanted(missed)),
            ("doubled", none_wanted(doubled)),
        ];
        for (name, count) in [("merged", merged), ("unexpected", unexpected)] {
            if count > 0 {
                facts.push((name, none_wanted(count)));
            }
        }
        facts.extend([
            ("ledger", ledger.join(", ").into()),
            ("lag", self.lag.text().into()),
            ("first begin", shown_ms(self.first_begin_ms).into()),
            ("last begin", shown_ms(self.last_begin_ms).into()),
            ("last completion", shown_ms(self.last_completion_ms).into()),
            ("runs per second", format!("{:.0}", self.runs_per_second).into()),
            ("CPU", self.cost.cpu_text("run").into()),
            ("log", self.cost.log_text("run").into()),
            ("created per second", format!("{:.0}", self.created_per_second).into()),
        ]);
        facts
    }
}

impl Figures for LoadFigures {
    fn screen(&self, printer: &Printer) -> String {
        printer.facts(self.facts())
    }

    fn problem(&self) -> Option<String> {
        let count = |state| self.ledger.get(state).copied().unwrap_or_default();
        let (succeeded, dropped) = (count(pb::run::State::Succeeded.as_str_name()), count(DROPPED));
        let unlike = || {
            let Verdict { begun, .. } = self.verdict;
            (succeeded + dropped != begun).then(|| {
                format!(
                    "{begun} runs began, and the ledger has {succeeded} that succeeded and dropped {dropped}"
                )
            })
        };
        self.verdict.problem().or_else(unlike)
    }
}
