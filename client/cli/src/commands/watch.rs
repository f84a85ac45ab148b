//! `belfry run watch` and `-w`: what changes, as it changes, until interrupted.

use belfry_sdk::{Client, ClientError, pb};
use futures_util::StreamExt as _;

use super::Context;
use crate::exit::Failure;
use crate::output::view::{RunView, ScheduleView, enum_name};
use crate::output::{Cell, Format, Printer, Table, prose, warning};
use crate::text;

/// Prints runs as they change.
pub(crate) async fn runs(
    context: &Context,
    client: &Client,
    mut request: pb::WatchRunsRequest,
) -> Result<(), Failure> {
    let mut changes = Changes::new(context.printer, RunView::log_headers());
    loop {
        let mut watch = client.watch_runs(request.clone());
        while let Some(response) = watch.next().await {
            match response {
                Ok(response) => {
                    let now = text::now_millis();
                    for run in response.runs.into_iter().map(RunView::from) {
                        changes.print(&run, &run.name, run.log_cells(now))?;
                    }
                }
                Err(error) => request.start_revision = after(error)?,
            }
        }
    }
}

/// Prints schedules as they are created, changed and deleted.
pub(crate) async fn schedules(
    context: &Context,
    client: &Client,
    mut request: pb::WatchSchedulesRequest,
) -> Result<(), Failure> {
    let headers = vec!["EVENT", "SCHEDULE", "STATE", "NEXT", "REMARK"];
    let mut changes = Changes::new(context.printer, headers);
    loop {
        let mut watch = client.watch_schedules(request.clone());
        while let Some(response) = watch.next().await {
            match response {
                Ok(response) => {
                    for event in response.events {
                        let event = ScheduleEvent::from(event);
                        changes.print(&event, &event.schedule.name, event.cells())?;
                    }
                }
                Err(error) => request.start_revision = after(error)?,
            }
        }
    }
}

/// Where to go on after the end of a watch.
fn after(error: ClientError) -> Result<u64, Failure> {
    match error {
        ClientError::Compacted(_) => {
            warning("too far behind: some changes were not shown; going on from now");
            Ok(0)
        }
        error => Err(error.into()),
    }
}

#[derive(Debug, serde::Serialize)]
struct ScheduleEvent {
    event: String,
    schedule: ScheduleView,
    #[serde(skip)]
    is_deleted: bool,
}

impl From<pb::ScheduleEvent> for ScheduleEvent {
    fn from(event: pb::ScheduleEvent) -> Self {
        use pb::schedule_event::Kind;
        Self {
            event: enum_name(event.kind, Kind::as_str_name),
            is_deleted: event.kind() == Kind::Deleted,
            schedule: event.schedule.unwrap_or_default().into(),
        }
    }
}

impl ScheduleEvent {
    fn cells(&self) -> Vec<Cell> {
        let schedule = &self.schedule;
        let next = schedule.status.next_times.first().map(ToString::to_string);
        let (state, remark) = match (&schedule.pause, self.is_deleted) {
            (_, true) => (Cell::from("-"), String::new()),
            (Some(pause), false) => (schedule.state_cell(), format!("by {}: {}", pause.actor, pause.reason)),
            (None, false) => (schedule.state_cell(), String::new()),
        };
        vec![
            self.event.as_str().into(),
            text::short_name(&schedule.name).into(),
            state,
            next.unwrap_or_else(|| "-".to_owned()).into(),
            text::shortened(&remark, 60).into(),
        ]
    }
}

/// Changes on stdout: rows under one header, or one document per change (a line each in JSON).
struct Changes {
    printer: Printer,
    table: Table,
}

impl Changes {
    fn new(printer: Printer, headers: Vec<&'static str>) -> Self {
        Self { printer, table: Table::new(headers) }
    }

    fn print<T: serde::Serialize>(&mut self, item: &T, name: &str, cells: Vec<Cell>) -> Result<(), Failure> {
        if self.printer.format() == Format::Yaml {
            self.printer.text("---\n")?;
        }
        let table = &mut self.table;
        self.printer.one(item, name, |printer| printer.lay_out(table, &[cells]))
    }
}

/// Says on stderr that it goes on, for those who wonder why nothing happens.
pub(crate) fn say_so(what: &str) {
    prose(&format!("watching {what}; interrupt to end"));
}
