//! `belfry schedule next`, `previous` and `between`: when something fires, answered without a cluster.

use belfry_timing::format_time;
use clap::Args;
use serde::Serialize;

use super::offline::{Spec, SpecArgs};
use crate::commands::Context;
use crate::exit::Failure;
use crate::output::view::Instant;
use crate::output::{Cell, Printer, Table, Tone, prose, warning};
use crate::text;

/// More lines than anybody reads, and few enough to answer at once.
const COUNT_MAX: i64 = 100_000;

#[derive(Debug, Args)]
pub(crate) struct NextArgs {
    #[command(flatten)]
    spec: SpecArgs,
    /// Show fires after this instant: 2026-11-23T02:00:00Z, or 2026-11-23T02:00 by the clocks of --tz. Now unless given.
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// How many.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=COUNT_MAX))]
    count: u32,
}

#[derive(Debug, Args)]
pub(crate) struct PreviousArgs {
    #[command(flatten)]
    spec: SpecArgs,
    /// Show fires before this instant, the latest first. Now unless given.
    #[arg(long, value_name = "TIME")]
    before: Option<String>,
    /// How many.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=COUNT_MAX))]
    count: u32,
}

#[derive(Debug, Args)]
pub(crate) struct BetweenArgs {
    #[command(flatten)]
    spec: SpecArgs,
    /// The first instant that counts.
    #[arg(long, value_name = "TIME")]
    from: String,
    /// The first instant that does not count any more.
    #[arg(long, value_name = "TIME")]
    to: String,
    /// At most so many.
    #[arg(short = 'n', long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=COUNT_MAX))]
    count: u32,
}

#[derive(Debug, Serialize)]
struct Next {
    next: Vec<Instant>,
}

#[derive(Debug, Serialize)]
struct Previous {
    previous: Vec<Instant>,
}

#[derive(Debug, Serialize)]
struct Between {
    between: Vec<Instant>,
}

pub(crate) fn run(context: &Context, args: &NextArgs) -> Result<(), Failure> {
    let spec = args.spec.read(context)?;
    let from = spec.instant(args.from.as_ref())?;
    let fires = std::iter::successors(spec.timing.next(from), |fire| spec.timing.next(*fire));
    let next = Next { next: taken(fires, args.count) };
    spec.timing.warnings().iter().for_each(|text| warning(&text.to_string()));
    spec.remark(&args.spec);
    if next.next.len() < args.count as usize {
        prose("there are no more fires");
    }
    context.printer.one(&next, &names(&next.next), |printer| table(printer, &spec, &next.next, from))
}

pub(crate) fn previous(context: &Context, args: &PreviousArgs) -> Result<(), Failure> {
    let spec = args.spec.read(context)?;
    let before = spec.instant(args.before.as_ref())?;
    let fires = std::iter::successors(spec.timing.previous(before), |fire| spec.timing.previous(*fire));
    let previous = Previous { previous: taken(fires, args.count) };
    spec.remark(&args.spec);
    if previous.previous.len() < args.count as usize {
        prose("there are no fires before these");
    }
    let fires = &previous.previous;
    context.printer.one(&previous, &names(fires), |printer| table(printer, &spec, fires, before))
}

pub(crate) fn between(context: &Context, args: &BetweenArgs) -> Result<(), Failure> {
    let spec = args.spec.read(context)?;
    let (from, to) = (spec.instant(Some(&args.from))?, spec.instant(Some(&args.to))?);
    if from >= to {
        return Err(Failure::usage("--to is not after --from: give a later one"));
    }
    let mut fires = spec.timing.between(from - 1, to - 1);
    let between = Between { between: taken(fires.by_ref(), args.count) };
    spec.remark(&args.spec);
    if fires.next().is_some() {
        prose(&format!("there are more than {}: see --count", args.count));
    }
    let fires = &between.between;
    context.printer.one(&between, &names(fires), |printer| table(printer, &spec, fires, from))
}

fn taken(fires: impl Iterator<Item = i64>, count: u32) -> Vec<Instant> {
    fires.take(count as usize).map(Instant).collect()
}

fn names(fires: &[Instant]) -> String {
    fires.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

/// Fires as seen from an instant. What the clocks did to them is said where they did something.
pub(super) fn table(printer: &Printer, spec: &Spec, fires: &[Instant], from: i64) -> String {
    let row = |fire: &Instant| -> Vec<Cell> {
        let local = text::in_zone(fire.0, spec.zone.name()).unwrap_or_default();
        let mark = spec.mark(fire.0).unwrap_or_default();
        vec![
            format_time(fire.0).into(),
            local.into(),
            Cell::new(text::relative(fire.0, from), Tone::Faint),
            Cell::new(mark, Tone::Open),
        ]
    };
    let mut rows: Vec<Vec<Cell>> = fires.iter().map(row).collect();
    if rows.is_empty() {
        return String::new();
    }
    let mut headers = vec!["UTC", "LOCAL", "AWAY", "CLOCKS"];
    if rows.iter().all(|row| row.last().is_some_and(|mark| *mark == Cell::new("", Tone::Open))) {
        headers.pop();
        rows.iter_mut().for_each(|row| drop(row.pop()));
    }
    printer.lay_out(&mut Table::new(headers), &rows)
}
