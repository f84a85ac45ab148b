//! `belfry bench steady`: so many runs per second, evenly, and whether their lag stays level.

use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::Figures;
use super::load::{self, LoadArgs, LoadFigures, Shape};
use super::plan::{Plan, Spacing};
use super::record::Begin;
use super::site::Site;
use super::stats::{Spread, shown_ms};
use crate::exit::Failure;
use crate::output::{Cell, Printer, Table};

/// Intervals in which the lag is shown: as many as a screen takes.
const INTERVALS: u64 = 10;
/// Most runs: each is kept in memory until the end, in 40 bytes.
const RUNS_MAX: u64 = 20_000_000;

#[derive(Debug, Args)]
pub(super) struct SteadyArgs {
    /// Runs per second: as many schedules, each due every second.
    #[arg(long, value_name = "R", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    rate: u64,
    /// How long, in whole seconds.
    #[arg(long = "for", value_name = "DURATION", default_value = "10s", value_parser = belfry_timing::parse_duration)]
    length: Duration,
    #[command(flatten)]
    load: LoadArgs,
}

#[derive(Debug, Serialize)]
pub(super) struct SteadyFigures {
    rate: u64,
    #[serde(flatten)]
    load: LoadFigures,
    intervals: Vec<Interval>,
}

/// The lag of what was due in a part of the time.
#[derive(Clone, PartialEq, Debug, Serialize)]
struct Interval {
    /// After the first instant.
    from_s: u64,
    to_s: u64,
    begun: u64,
    lag: Spread,
}

pub(super) async fn run(site: &Site, args: &SteadyArgs) -> Result<SteadyFigures, Failure> {
    let instants = args.length.as_secs();
    if instants == 0 || args.length.subsec_nanos() != 0 || args.rate.saturating_mul(instants) > RUNS_MAX {
        let limits = format!("--for takes whole seconds, and no more than {RUNS_MAX} runs in all");
        return Err(Failure::usage(limits));
    }
    let shape = Shape { schedules: args.rate, instants, spacing: Spacing::Even };
    let carried = load::carry_out(site, &args.load, shape, |_| async { Ok(()) }).await?;
    let intervals = intervals(&carried.plan, &carried.begins);
    Ok(SteadyFigures { rate: args.rate, load: carried.figures, intervals })
}

fn intervals(plan: &Plan, begins: &[Begin]) -> Vec<Interval> {
    let length_s = plan.instants.div_ceil(INTERVALS).max(1);
    let count = plan.instants.div_ceil(length_s);
    let mut lags = vec![Vec::new(); usize::try_from(count).unwrap_or_default()];
    for begin in begins.iter().filter(|begin| plan.has(begin.number, begin.nominal_ms)) {
        let second = (begin.nominal_ms - plan.first_ms).unsigned_abs() / 1000;
        let interval = usize::try_from(second / length_s).unwrap_or_default();
        lags[interval].push(begin.lag_us());
    }
    let interval = |(number, lags): (u64, Vec<i64>)| Interval {
        from_s: number * length_s,
        to_s: ((number + 1) * length_s).min(plan.instants),
        begun: lags.len() as u64,
        lag: Spread::of(lags),
    };
    (0..).zip(lags).map(interval).collect()
}

impl Figures for SteadyFigures {
    fn screen(&self, printer: &Printer) -> String {
        let rows: Vec<Vec<Cell>> = self
            .intervals
            .iter()
            .map(|interval| {
                let Spread { p50_ms, p99_ms, max_ms } = interval.lag;
                vec![
                    format!("{} s to {} s", interval.from_s, interval.to_s).into(),
                    interval.begun.to_string().into(),
                    shown_ms(p50_ms).into(),
                    shown_ms(p99_ms).into(),
                    shown_ms(max_ms).into(),
                ]
            })
            .collect();
        let mut table = Table::new(vec!["INTERVAL", "BEGUN", "P50", "P99", "MAX"]);
        format!("{}\n{}", printer.facts(self.load.facts()), printer.lay_out(&mut table, &rows))
    }

    fn problem(&self) -> Option<String> {
        self.load.problem()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn begins_belong_to_the_interval_in_which_they_were_due() {
        let plan = Plan { schedules: 2, first_ms: 10_000, instants: 12, spacing: Spacing::AtOnce };
        let begin =
            |nominal_ms, at_us| Begin { number: 0, nominal_ms, at_us, scheduled_ms: nominal_ms, merged: 0 };
        // The second one began in the second interval and was due in the first; the last is not of the plan.
        let begins = [
            begin(10_000, 10_001_000),
            begin(11_000, 13_000_000),
            begin(21_000, 21_000_000),
            begin(22_000, 0),
        ];
        let found = intervals(&plan, &begins);
        let counts: Vec<_> =
            found.iter().map(|interval| (interval.from_s, interval.to_s, interval.begun)).collect();
        assert_eq!(counts, [(0, 2, 2), (2, 4, 0), (4, 6, 0), (6, 8, 0), (8, 10, 0), (10, 12, 1)]);
        assert!(found[0].lag.max_ms > 1990.0, "{found:?}");
    }
}
