//! `belfry bench crud`: the calls that manage schedules, one at a time, many at once, and in batches.

use std::ops::Range;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use belfry_sdk::pb;
use clap::Args;
use futures_util::{StreamExt as _, TryStreamExt as _};
use serde::Serialize;

use super::Figures;
use super::progress::Progress;
use super::site::{BATCH, Site, asleep_schedule, batches, update};
use super::stats::{Spread, per_second, shown_ms};
use super::storm::SCHEDULES_MAX;
use crate::exit::Failure;
use crate::output::{Cell, Printer, Table};

/// Schedules per page of a list.
const PAGE_SIZE: u64 = 100;

#[derive(Debug, Args)]
pub(super) struct CrudArgs {
    /// Schedules, for each number of calls at once.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=SCHEDULES_MAX))]
    count: u64,
    /// How many calls are under way at once; separate several by commas.
    #[arg(long, value_name = "C", value_delimiter = ',', default_value = "1,64", value_parser = clap::value_parser!(u32).range(1..=4096))]
    concurrency: Vec<u32>,
    /// Schedules that are created, read, changed and deleted in batches. 0: none.
    #[arg(long, value_name = "N", default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(0..=SCHEDULES_MAX))]
    bulk: u64,
}

/// Batches under way at once: while one is synced the next one is decoded.
const BATCHES_IN_FLIGHT: u32 = 4;

#[derive(Debug, Serialize)]
pub(super) struct CrudFigures {
    count: u64,
    operations: Vec<Operation>,
}

/// One kind of call, measured.
#[derive(Debug, Serialize)]
struct Operation {
    operation: &'static str,
    in_flight: u32,
    /// Schedules of one call.
    batch: u64,
    calls: u64,
    calls_per_second: f64,
    schedules_per_second: f64,
    latency: Spread,
}

#[derive(Clone, Copy)]
enum Call {
    Create,
    Get,
    Update,
    /// The first page, for want of a token: pages of one list cannot be asked for at once.
    List,
    Delete,
}

impl Call {
    /// In this order: what is read must be there.
    const ALL: [Self; 5] = [Self::Create, Self::Get, Self::Update, Self::List, Self::Delete];

    fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Get => "get",
            Self::Update => "update",
            Self::List => "list",
            Self::Delete => "delete",
        }
    }

    /// How many calls, for so many schedules.
    fn calls(self, count: u64) -> u64 {
        match self {
            Self::Create | Self::Get | Self::Update | Self::Delete => count,
            Self::List => count.div_ceil(PAGE_SIZE),
        }
    }

    /// The same for the schedules of a batch.
    async fn make_batch(self, site: &Site, numbers: Range<u64>) -> Result<(), Failure> {
        let id = |number| format!("bulk-{number}");
        let name = |number| site.schedule_name(&id(number));
        match self {
            Self::Create => site.create_batch(numbers.map(|number| (id(number), asleep_schedule()))).await,
            Self::Get => {
                let read = site.client().batch_get_schedules(numbers.map(name).collect()).await?;
                Ok(read.into_iter().try_for_each(|result| result.map(drop))?)
            }
            Self::Update => site.update_batch(numbers.map(|number| described(name(number))).collect()).await,
            Self::List => {
                let request = pb::ListSchedulesRequest {
                    parent: site.parent(),
                    page_size: BATCH as i32,
                    ..Default::default()
                };
                let mut pages = site.client().stream_schedules(request);
                while pages.next().await.transpose()?.is_some() {}
                Ok(())
            }
            Self::Delete => site.delete_batch(numbers.map(name).collect()).await,
        }
    }

    async fn make(self, site: &Site, number: u64) -> Result<(), Failure> {
        let id = format!("crud-{number}");
        match self {
            Self::Create => site.create(id, asleep_schedule()).await,
            Self::Get => {
                let request = pb::GetScheduleRequest { name: site.schedule_name(&id) };
                Ok(site.client().get_schedule(request).await.map(drop)?)
            }
            Self::Update => {
                let request = described(site.schedule_name(&id));
                Ok(Box::pin(site.client().update_schedule(request)).await.map(drop)?)
            }
            Self::List => {
                let request = pb::ListSchedulesRequest {
                    parent: site.parent(),
                    page_size: i32::try_from(PAGE_SIZE).unwrap_or(i32::MAX),
                    ..Default::default()
                };
                Ok(site.client().list_schedules(request).await.map(drop)?)
            }
            Self::Delete => site.delete(id).await,
        }
    }
}

pub(super) async fn run(site: &Site, args: &CrudArgs) -> Result<CrudFigures, Failure> {
    let mut operations = Vec::new();
    for in_flight in &args.concurrency {
        for call in Call::ALL {
            let numbers = (0..call.calls(args.count)).map(|number| number..number + 1).collect();
            let make = |numbers: Range<u64>| call.make(site, numbers.start);
            operations.push(measure(call.name(), numbers, *in_flight, make).await?);
        }
    }
    if args.bulk > 0 {
        for call in Call::ALL {
            // A stream has all of them.
            let numbers: Vec<_> = match call {
                Call::List => std::iter::once(0..args.bulk).collect(),
                _ => batches(args.bulk).collect(),
            };
            let make = |numbers: Range<u64>| call.make_batch(site, numbers);
            operations.push(measure(call.name(), numbers, BATCHES_IN_FLIGHT, make).await?);
        }
    }
    Ok(CrudFigures { count: args.count, operations })
}

/// Makes a call for each of these, so many at once.
async fn measure<F: Future<Output = Result<(), Failure>>>(
    operation: &'static str,
    numbers: Vec<Range<u64>>,
    in_flight: u32,
    make: impl Fn(Range<u64>) -> F,
) -> Result<Operation, Failure> {
    let calls = numbers.len() as u64;
    let schedules = numbers.iter().map(|numbers| numbers.end - numbers.start).sum();
    let batch = numbers.first().map_or(0, |numbers| numbers.end - numbers.start);
    let progress = Progress::new(operation, schedules);
    let taken: Mutex<Vec<Duration>> = Mutex::default();
    let start = Instant::now();
    let timed = |numbers: Range<u64>| {
        let (count, made, taken, progress) = (numbers.end - numbers.start, make(numbers), &taken, &progress);
        async move {
            let asked_at = Instant::now();
            made.await?;
            taken.lock().unwrap_or_else(PoisonError::into_inner).push(asked_at.elapsed());
            progress.step_by(count);
            Ok::<_, Failure>(())
        }
    };
    let all = futures_util::stream::iter(numbers).map(timed).buffer_unordered(in_flight as usize);
    all.try_collect::<()>().await?;
    let elapsed = start.elapsed();
    let taken = taken.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(Operation {
        operation,
        in_flight,
        batch,
        calls,
        calls_per_second: per_second(calls, elapsed),
        schedules_per_second: per_second(schedules, elapsed),
        latency: Spread::of_durations(&taken),
    })
}

/// Changes a description.
fn described(name: String) -> pb::UpdateScheduleRequest {
    update(pb::Schedule { name, description: "changed".to_owned(), ..Default::default() }, "description")
}

impl Figures for CrudFigures {
    fn screen(&self, printer: &Printer) -> String {
        let row = |operation: &Operation| -> Vec<Cell> {
            let Spread { p50_ms, p99_ms, max_ms } = operation.latency;
            vec![
                operation.operation.into(),
                operation.in_flight.to_string().into(),
                operation.batch.to_string().into(),
                operation.calls.to_string().into(),
                format!("{:.0}", operation.schedules_per_second).into(),
                shown_ms(p50_ms).into(),
                shown_ms(p99_ms).into(),
                shown_ms(max_ms).into(),
            ]
        };
        let rows: Vec<_> = self.operations.iter().map(row).collect();
        let headers = vec!["OPERATION", "AT ONCE", "BATCH", "CALLS", "PER SECOND", "P50", "P99", "MAX"];
        printer.lay_out(&mut Table::new(headers), &rows)
    }

    /// A call that fails has ended it already.
    fn problem(&self) -> Option<String> {
        None
    }
}
