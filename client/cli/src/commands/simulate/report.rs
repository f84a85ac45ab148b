//! What an outage comes to, as a document and on one screen.

use std::time::Duration;

use belfry_timing::format_duration;
use serde::Serialize;

use super::Span;
use super::outage::{Affected, Fate, Misfire, Simulated};
use crate::output::view::Instant;
use crate::output::{Cell, Printer, Table, Tone};
use crate::text;

/// Schedules and lines of the histogram on the screen.
const SCHEDULES_SHOWN: usize = 10;
const LINES_SHOWN: usize = 12;
/// Characters of the longest bar.
const BAR: u64 = 40;

/// What an outage comes to.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    start_time: Instant,
    end_time: Instant,
    budget: u32,
    #[serde(skip)]
    run_time: Duration,
    /// Those looked at.
    schedule_count: u64,
    total: FateView,
    pools: Vec<Pool>,
    recovery: RecoveryView,
    schedules: Vec<Schedule>,
}

#[derive(Debug, Serialize)]
struct FateView {
    schedules: u64,
    missed: u64,
    run: u64,
    on_time: u64,
    merged: u64,
    skipped: u64,
    expired: u64,
}

#[derive(Debug, Serialize)]
struct Pool {
    pool: String,
    #[serde(flatten)]
    fate: FateView,
}

#[derive(Debug, Serialize)]
struct Schedule {
    name: String,
    pool: String,
    misfire: String,
    missed: u64,
    run: u64,
    merged: u64,
    skipped: u64,
    expired: u64,
}

#[derive(Debug, Serialize)]
struct RecoveryView {
    starts: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_start_after: Option<String>,
    /// In each minute after the cluster is back.
    starts_per_minute: Vec<u64>,
}

impl From<Fate> for FateView {
    fn from(fate: Fate) -> Self {
        let Fate { schedules, missed, run, on_time, merged, skipped, expired } = fate;
        Self { schedules, missed, run, on_time, merged, skipped, expired }
    }
}

impl Report {
    pub(super) fn new(
        span: Span,
        (budget, run_time): (u32, Duration),
        schedule_count: u64,
        affected: Vec<Affected>,
        simulated: Simulated,
    ) -> Self {
        let schedule = |(affected, fate): (Affected, &Fate)| Schedule {
            misfire: in_words(affected.misfire),
            name: affected.name,
            pool: affected.pool,
            missed: fate.missed,
            run: fate.run,
            merged: fate.merged,
            skipped: fate.skipped,
            expired: fate.expired,
        };
        let mut schedules: Vec<_> = affected.into_iter().zip(&simulated.fates).map(schedule).collect();
        // Those that make most of the recovery first.
        schedules.sort_by(|a, b| (b.run, b.missed, &a.name).cmp(&(a.run, a.missed, &b.name)));
        Self {
            start_time: Instant(span.from),
            end_time: Instant(span.until),
            budget,
            run_time,
            schedule_count,
            total: simulated.total.into(),
            pools: simulated.pools.into_iter().map(|(pool, fate)| Pool { pool, fate: fate.into() }).collect(),
            recovery: RecoveryView {
                starts: simulated.starts.iter().sum(),
                last_start_after: simulated.last_start.map(|after| long(after.unsigned_abs())),
                starts_per_minute: simulated.starts,
            },
            schedules,
        }
    }

    /// The schedules that miss anything, one per line.
    pub(super) fn names(&self) -> String {
        self.schedules.iter().map(|schedule| schedule.name.as_str()).collect::<Vec<_>>().join("\n")
    }

    pub(super) fn screen(&self, printer: &Printer) -> String {
        let mut screen = printer.facts(self.facts());
        if self.schedules.is_empty() {
            return screen;
        }
        screen.push('\n');
        screen.push_str(&self.pool_table(printer));
        screen.push('\n');
        screen.push_str(&self.schedule_table(printer));
        if !self.recovery.starts_per_minute.is_empty() {
            screen.push('\n');
            screen.push_str(&self.histogram(printer));
        }
        screen
    }

    fn facts(&self) -> Vec<(&'static str, Cell)> {
        let total = &self.total;
        let outage = long(self.end_time.0.abs_diff(self.start_time.0));
        let mut facts: Vec<(&'static str, Cell)> = vec![
            ("Outage", format!("{outage}, from {} to {}", self.start_time, self.end_time).into()),
            ("Schedules", format!("{} of {} miss something", total.schedules, self.schedule_count).into()),
            (
                "Instants",
                format!(
                    "{} missed: {} run, {} merged into those, {} skipped, {} expired",
                    total.missed, total.run, total.merged, total.skipped, total.expired
                )
                .into(),
            ),
        ];
        let recovery = match &self.recovery.last_start_after {
            Some(after) => {
                format!(
                    "{} start(s), at most {} a second, the last after {after}",
                    self.recovery.starts, self.budget
                )
            }
            None => "none".to_owned(),
        };
        facts.push(("Recovery", recovery.into()));
        if total.on_time > 0 {
            facts.push((
                "On time",
                format!("{} start(s) less than a minute late, beside it", total.on_time).into(),
            ));
        }
        let run_time = format_duration(self.run_time);
        let assumed = format!("executors and room in every pool for what may begin; a run takes {run_time}");
        facts.push(("Assumed", assumed.into()));
        facts
    }

    fn pool_table(&self, printer: &Printer) -> String {
        let row = |pool: &Pool| {
            let fate = &pool.fate;
            let counts = [fate.schedules, fate.missed, fate.run, fate.merged, fate.skipped, fate.expired];
            let mut row: Vec<Cell> = vec![pool.pool.as_str().into()];
            row.extend(counts.map(|count| Cell::from(count.to_string())));
            row
        };
        let headers = vec!["POOL", "SCHEDULES", "MISSED", "RUN", "MERGED", "SKIPPED", "EXPIRED"];
        printer.lay_out(&mut Table::new(headers), &self.pools.iter().map(row).collect::<Vec<_>>())
    }

    fn schedule_table(&self, printer: &Printer) -> String {
        let shown = if printer.is_wide() { self.schedules.len() } else { SCHEDULES_SHOWN };
        let row = |schedule: &Schedule| {
            let counts = [schedule.missed, schedule.run, schedule.merged, schedule.skipped, schedule.expired];
            let mut row: Vec<Cell> = vec![text::short_name(&schedule.name).into()];
            row.extend(counts.map(|count| Cell::from(count.to_string())));
            row.push(schedule.misfire.as_str().into());
            row
        };
        let headers = vec!["SCHEDULE", "MISSED", "RUN", "MERGED", "SKIPPED", "EXPIRED", "POLICY"];
        let rows: Vec<_> = self.schedules.iter().take(shown).map(row).collect();
        let mut table = printer.lay_out(&mut Table::new(headers), &rows);
        if self.schedules.len() > rows.len() {
            table.push_str(&format!("… and {} more: -o wide\n", self.schedules.len() - rows.len()));
        }
        table
    }

    fn histogram(&self, printer: &Printer) -> String {
        let minutes = &self.recovery.starts_per_minute;
        let per_line = minutes.len().div_ceil(LINES_SHOWN);
        let lines: Vec<u64> = minutes.chunks(per_line).map(|chunk| chunk.iter().sum()).collect();
        let most = lines.iter().copied().max().unwrap_or(0).max(1);
        let row = |(index, starts): (usize, &u64)| -> Vec<Cell> {
            let bar = "#".repeat(usize::try_from((starts * BAR).div_ceil(most)).expect("it is short"));
            let minute = format!("{}m", index * per_line);
            vec![minute.into(), starts.to_string().into(), Cell::new(bar, Tone::Open)]
        };
        let rows: Vec<_> = lines.iter().enumerate().map(row).collect();
        printer.lay_out(&mut Table::new(vec!["AFTER", "STARTS", ""]), &rows)
    }
}

fn in_words(misfire: Misfire) -> String {
    let window = |millis: i64| long(millis.unsigned_abs());
    match misfire {
        Misfire::Coalesce => "COALESCE".to_owned(),
        Misfire::Skip { window: millis, .. } => format!("SKIP after {}", window(millis)),
        Misfire::FireAll { window: millis, limit } => format!("FIRE_ALL {limit} of {}", window(millis)),
    }
}

fn long(millis: u64) -> String {
    format_duration(Duration::from_millis(millis))
}
