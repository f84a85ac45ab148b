//! `belfry schedule next`: when an expression fires, answered without a cluster by the code that decides it there.
//!
//! A refused expression exits with 2, like every other value that is refused.

use std::time::Duration;

use belfry_timing::{HashSeed, NeverFiring, TimeZone, Timing, format_time, parse_duration, parse_time};
use clap::Args;
use serde::Serialize;

use crate::commands::Context;
use crate::exit::Failure;
use crate::output::view::Instant;
use crate::output::{Cell, Printer, Table, Tone, prose, warning};
use crate::text;

/// More lines than anybody reads, and few enough to answer at once.
const COUNT_MAX: i64 = 100_000;

#[derive(Debug, Args)]
pub(crate) struct NextArgs {
    /// Cron expression, as for --cron of `belfry schedule create`.
    #[arg(value_name = "EXPR", required_unless_present = "every", conflicts_with = "every")]
    expression: Option<String>,
    /// Interval instead of an expression.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    every: Option<Duration>,
    /// Shift of the interval.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, requires = "every")]
    phase: Option<Duration>,
    /// Time zone, such as Europe/Berlin.
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    tz: String,
    /// Show fires after this instant: 2026-11-23T02:00:00Z, or 2026-11-23T02:00 by the clocks of --tz. Now unless given.
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// How many.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=COUNT_MAX))]
    count: u32,
    /// Accept an expression that never fires.
    #[arg(long)]
    allow_never: bool,
    /// Name of the schedule it is for: what `H` stands for depends on it.
    #[arg(long = "for", value_name = "NAME", default_value = "")]
    schedule: String,
}

#[derive(Debug, Serialize)]
struct Next {
    next: Vec<Instant>,
}

pub(crate) fn run(context: &Context, args: &NextArgs) -> Result<(), Failure> {
    let zone = TimeZone::parse(&args.tz).map_err(|error| Failure::usage(error.to_string()))?;
    let from = match &args.from {
        Some(from) => parse_time(from, &zone).map_err(|error| Failure::usage(error.to_string()))?,
        None => text::now_millis(),
    };
    let timing = timing(args, &zone, &context.global.namespace)?;
    let fires = std::iter::successors(timing.next(from), |fire| timing.next(*fire));
    let next = Next { next: fires.take(args.count as usize).map(Instant).collect() };

    timing.warnings().iter().for_each(|text| warning(&text.to_string()));
    if let (Some(written), Some(resolved)) = (&args.expression, timing.resolved_expression())
        && written.trim() != resolved.trim()
    {
        prose(&format!("`{written}` is `{resolved}` for the schedule {:?}", args.schedule));
    }
    if next.next.len() < args.count as usize {
        prose("there are no more fires");
    }
    let names: Vec<String> = next.next.iter().map(ToString::to_string).collect();
    context.printer.one(&next, &names.join("\n"), |printer| table(printer, &next.next, zone.name(), from))
}

fn timing(args: &NextArgs, zone: &TimeZone, namespace: &str) -> Result<Timing, Failure> {
    if let Some(every) = args.every {
        let timing = Timing::every(every, args.phase.unwrap_or_default());
        return timing.map_err(|error| Failure::usage(error.to_string()));
    }
    let expression = args.expression.as_deref().unwrap_or_default();
    let never = if args.allow_never { NeverFiring::Allow } else { NeverFiring::Refuse };
    let seed = HashSeed::new(namespace, text::short_name(&args.schedule));
    Timing::parse_cron(expression, zone, never, &seed).map_err(|error| {
        let failure = Failure::usage(error.to_string());
        match error.column() {
            Some(column) => failure.with_caret(expression, column),
            None => failure,
        }
    })
}

fn table(printer: &Printer, fires: &[Instant], zone: &str, from: i64) -> String {
    let row = |fire: &Instant| -> Vec<Cell> {
        let local = text::in_zone(fire.0, zone).unwrap_or_default();
        vec![format_time(fire.0).into(), local.into(), Cell::new(text::relative(fire.0, from), Tone::Faint)]
    };
    let rows: Vec<Vec<Cell>> = fires.iter().map(row).collect();
    if rows.is_empty() {
        return String::new();
    }
    printer.lay_out(&mut Table::new(vec!["UTC", "LOCAL", "AWAY"]), &rows)
}
