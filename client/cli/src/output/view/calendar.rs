//! Calendars as documents, rows and screens.

use std::fmt;

use belfry_sdk::pb;
use serde::Serialize;

use super::{Instant, described};
use crate::output::{Cell, Printer, Row, Table, Tone};
use crate::text;

/// A calendar, with the field names of the contract, and what it covers next.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct CalendarView {
    pub(crate) name: String,
    etag: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    description: String,
    time_zone: String,
    days: Vec<String>,
    periods: Vec<PeriodView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    update_time: Option<Instant>,
    next: Vec<Span>,
    /// Zone by whose clocks `next` is, where it has none of its own.
    #[serde(skip)]
    shown_in: String,
}

#[derive(Clone, Debug, Serialize)]
struct PeriodView {
    start: String,
    end: String,
}

/// A stretch of time: from its start to before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Span {
    start: Instant,
    end: Instant,
}

impl Span {
    pub(crate) fn new(start: i64, end: i64) -> Self {
        Self { start: Instant(start), end: Instant(end) }
    }

    pub(crate) fn end(&self) -> i64 {
        self.end.0
    }

    fn length(&self) -> String {
        text::rough(self.end.0.abs_diff(self.start.0))
    }
}

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.start, self.end)
    }
}

impl CalendarView {
    pub(crate) fn new(calendar: pb::Calendar, next: Vec<Span>, shown_in: &str) -> Self {
        let period = |period: pb::calendar::Period| PeriodView { start: period.start, end: period.end };
        let shown_in = if calendar.time_zone.is_empty() { shown_in } else { &calendar.time_zone };
        Self {
            shown_in: shown_in.to_owned(),
            update_time: Instant::of(calendar.update_time.as_ref()),
            name: calendar.name,
            etag: calendar.etag,
            description: calendar.description,
            time_zone: calendar.time_zone,
            days: calendar.days,
            periods: calendar.periods.into_iter().map(period).collect(),
            next,
        }
    }

    /// All about it.
    pub(crate) fn screen(&self, printer: &Printer, now: i64) -> String {
        let zone = match self.time_zone.as_str() {
            "" => "that of the schedule that uses it",
            zone => zone,
        };
        let mut facts: Vec<(&'static str, Cell)> = vec![
            ("Calendar", self.name.as_str().into()),
            ("Zone", zone.into()),
            ("Days", text::shortened(&listed(&self.days), 200).into()),
            ("Periods", text::shortened(&listed(&self.periods_in_short()), 200).into()),
        ];
        facts.extend(described(&self.description, self.update_time, now));
        let mut screen = printer.facts(facts);
        screen.push('\n');
        if self.next.is_empty() {
            screen.push_str("It covers nothing from now on.\n");
            return screen;
        }
        let local = |time: Instant| text::in_zone(time.0, &self.shown_in).unwrap_or_else(|| time.to_string());
        let row = |span: &Span| -> Vec<Cell> {
            let away = match span.start.0 <= now {
                true => Cell::new("now", Tone::Open),
                false => Cell::new(text::relative(span.start.0, now), Tone::Faint),
            };
            vec![local(span.start).into(), local(span.end).into(), span.length().into(), away]
        };
        let rows: Vec<_> = self.next.iter().map(row).collect();
        screen + &printer.lay_out(&mut Table::new(vec!["COVERS FROM", "BEFORE", "FOR", "AWAY"]), &rows)
    }

    fn periods_in_short(&self) -> Vec<String> {
        self.periods.iter().map(|period| format!("{}/{}", period.start, period.end)).collect()
    }
}

fn listed(texts: &[String]) -> String {
    if texts.is_empty() { "none".to_owned() } else { texts.join(", ") }
}

impl Row for CalendarView {
    fn headers(_is_wide: bool) -> Vec<&'static str> {
        vec!["CALENDAR", "DAYS", "PERIODS", "ZONE", "COVERS NEXT", "FOR"]
    }

    fn cells(&self, _is_wide: bool, now: i64) -> Vec<Cell> {
        let next = match self.next.first() {
            Some(span) if span.start.0 <= now => Cell::new(format!("now, until {}", span.end), Tone::Open),
            Some(span) => format!("{} ({})", span.start, text::relative(span.start.0, now)).into(),
            None => Cell::new("nothing", Tone::Faint),
        };
        let zone = if self.time_zone.is_empty() { "-" } else { &self.time_zone };
        vec![
            text::short_name(&self.name).into(),
            self.days.len().to_string().into(),
            self.periods.len().to_string().into(),
            zone.into(),
            next,
            text::shortened(&self.description, 60).into(),
        ]
    }

    fn name(&self) -> &str {
        &self.name
    }
}
