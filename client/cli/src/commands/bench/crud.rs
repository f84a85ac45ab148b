//! `belfry bench crud`: the calls that manage schedules, one at a time and many at once.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use belfry_sdk::pb;
use clap::Args;
use futures_util::{StreamExt as _, TryStreamExt as _};
use serde::Serialize;

use super::Figures;
use super::progress::Progress;
use super::site::{Site, asleep_schedule};
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
}

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
    calls: u64,
    calls_per_second: f64,
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

    async fn make(self, site: &Site, number: u64) -> Result<(), Failure> {
        let id = format!("crud-{number}");
        match self {
            Self::Create => site.create(id, asleep_schedule()).await,
            Self::Get => {
                let request = pb::GetScheduleRequest { name: site.schedule_name(&id) };
                Ok(site.client().get_schedule(request).await.map(drop)?)
            }
            Self::Update => {
                let schedule = pb::Schedule {
                    name: site.schedule_name(&id),
                    description: "changed".to_owned(),
                    ..Default::default()
                };
                let mask = prost_types::FieldMask { paths: vec!["description".to_owned()] };
                let request = pb::UpdateScheduleRequest {
                    schedule: Some(schedule),
                    update_mask: Some(mask),
                    ..Default::default()
                };
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
            operations.push(measure(site, call, call.calls(args.count), *in_flight).await?);
        }
    }
    Ok(CrudFigures { count: args.count, operations })
}

async fn measure(site: &Site, call: Call, calls: u64, in_flight: u32) -> Result<Operation, Failure> {
    let progress = Progress::new(call.name(), calls);
    let taken: Mutex<Vec<Duration>> = Mutex::default();
    let start = Instant::now();
    let timed = |number| {
        let (taken, progress) = (&taken, &progress);
        async move {
            let asked_at = Instant::now();
            call.make(site, number).await?;
            taken.lock().unwrap_or_else(PoisonError::into_inner).push(asked_at.elapsed());
            progress.step();
            Ok::<_, Failure>(())
        }
    };
    let all = futures_util::stream::iter(0..calls).map(timed).buffer_unordered(in_flight as usize);
    all.try_collect::<()>().await?;
    let elapsed = start.elapsed();
    let taken = taken.into_inner().unwrap_or_else(PoisonError::into_inner);
    Ok(Operation {
        operation: call.name(),
        in_flight,
        calls,
        calls_per_second: per_second(calls, elapsed),
        latency: Spread::of_durations(&taken),
    })
}

impl Figures for CrudFigures {
    fn screen(&self, printer: &Printer) -> String {
        let row = |operation: &Operation| -> Vec<Cell> {
            let Spread { p50_ms, p99_ms, max_ms } = operation.latency;
            vec![
                operation.operation.into(),
                operation.in_flight.to_string().into(),
                operation.calls.to_string().into(),
                format!("{:.0}", operation.calls_per_second).into(),
                shown_ms(p50_ms).into(),
                shown_ms(p99_ms).into(),
                shown_ms(max_ms).into(),
            ]
        };
        let rows: Vec<_> = self.operations.iter().map(row).collect();
        let headers = vec!["OPERATION", "AT ONCE", "CALLS", "PER SECOND", "P50", "P99", "MAX"];
        printer.lay_out(&mut Table::new(headers), &rows)
    }

    /// A call that fails has ended it already.
    fn problem(&self) -> Option<String> {
        None
    }
}
