//! Backfills as documents, rows and screens.

use belfry_sdk::pb;
use pb::backfill::{Mode, State};
use serde::Serialize;

use super::{Instant, enum_name};
use crate::output::{Cell, Printer, Row, Tone};
use crate::text;

/// A backfill, with the field names of the contract.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct BackfillView {
    pub(crate) name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    start_time: Option<Instant>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end_time: Option<Instant>,
    mode: String,
    reason: String,
    actor: String,
    state: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    create_time: Option<Instant>,
    instant_count: u64,
    /// The first and the last of them, where they were asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) first_time: Option<Instant>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last_time: Option<Instant>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor_time: Option<Instant>,
    created_count: u64,
    present_count: u64,
    succeeded_count: u64,
    unsuccessful_count: u64,
    not_started_count: u64,
    #[serde(skip_serializing_if = "String::is_empty")]
    changed_by: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    change_reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    change_time: Option<Instant>,
    #[serde(skip)]
    raw_state: i32,
}

impl From<pb::Backfill> for BackfillView {
    fn from(backfill: pb::Backfill) -> Self {
        let instant = |time: &Option<prost_types::Timestamp>| Instant::of(time.as_ref());
        Self {
            start_time: instant(&backfill.start_time),
            end_time: instant(&backfill.end_time),
            mode: enum_name(backfill.mode, Mode::as_str_name),
            state: enum_name(backfill.state, State::as_str_name),
            create_time: instant(&backfill.create_time),
            first_time: None,
            last_time: None,
            cursor_time: instant(&backfill.cursor_time),
            change_time: instant(&backfill.change_time),
            name: backfill.name,
            reason: backfill.reason,
            actor: backfill.actor,
            instant_count: backfill.instant_count,
            created_count: backfill.created_count,
            present_count: backfill.present_count,
            succeeded_count: backfill.succeeded_count,
            unsuccessful_count: backfill.unsuccessful_count,
            not_started_count: backfill.not_started_count,
            changed_by: backfill.changed_by,
            change_reason: backfill.change_reason,
            raw_state: backfill.state,
        }
    }
}

impl BackfillView {
    /// `SCHEDULE/NUMBER`.
    pub(crate) fn short_name(&self) -> String {
        let parts: Vec<&str> = self.name.split('/').collect();
        match parts.as_slice() {
            [_, _, _, schedule, _, number] => format!("{schedule}/{number}"),
            _other => self.name.clone(),
        }
    }

    pub(crate) fn instant_count(&self) -> u64 {
        self.instant_count
    }

    pub(crate) fn is_running(&self) -> bool {
        self.raw_state == State::Running as i32
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.raw_state == State::Completed as i32 || self.raw_state == State::Cancelled as i32
    }

    /// Instants that have been dealt with.
    pub(crate) fn done(&self) -> u64 {
        self.present_count + self.succeeded_count + self.unsuccessful_count + self.not_started_count
    }

    /// How far it is, in a line.
    pub(crate) fn progress(&self) -> String {
        let paused = match self.raw_state == State::Paused as i32 {
            true => format!("; paused by {}: {}", self.changed_by, self.change_reason),
            false => String::new(),
        };
        format!("{} of {} done: {}{paused}", self.done(), self.instant_count, self.outcomes())
    }

    /// Why it is no success, if it has ended as none.
    pub(crate) fn shortcoming(&self) -> Option<String> {
        if self.raw_state == State::Cancelled as i32 {
            return Some(format!("was cancelled by {}: {}", self.changed_by, self.change_reason));
        }
        match self.unsuccessful_count + self.not_started_count {
            0 => None,
            count => Some(format!(
                "has {count} run(s) that did not succeed: `belfry run list` of its schedule shows them"
            )),
        }
    }

    fn outcomes(&self) -> String {
        let mut parts = vec![
            format!("{} succeeded", self.succeeded_count),
            format!("{} unsuccessful", self.unsuccessful_count),
            format!("{} not started", self.not_started_count),
        ];
        if self.present_count > 0 {
            parts.push(format!("{} left alone because they ran", self.present_count));
        }
        parts.join(", ")
    }

    /// All about it.
    pub(crate) fn screen(&self, printer: &Printer, now: i64) -> String {
        let time = |time: Option<Instant>| time.map_or("-".to_owned(), |time| time.to_string());
        let which = match Mode::from_str_name(&self.mode) {
            Some(Mode::Reprocess) => "all, also those that ran",
            Some(Mode::Missing | Mode::Unspecified) => "those that never began",
            None => &self.mode,
        };
        let mut facts: Vec<(&'static str, Cell)> = Vec::new();
        if !self.name.is_empty() {
            facts.push(("Backfill", self.short_name().into()));
            facts.push(("State", self.state_cell()));
        }
        facts.push((
            "Range",
            format!("from {} to before {}", time(self.start_time), time(self.end_time)).into(),
        ));
        facts.push(("Instants", format!("{}, of which run {which}", self.instant_count).into()));
        facts.extend(self.first_time.map(|time| ("First", time.to_string().into())));
        facts.extend(self.last_time.map(|time| ("Last", time.to_string().into())));
        if !self.name.is_empty() {
            let done = format!("{} of {}: {}", self.done(), self.instant_count, self.outcomes());
            facts.push(("Done", done.into()));
        }
        facts.push(("Reason", format!("{} ({})", text::shortened(&self.reason, 200), self.actor).into()));
        facts.extend(
            self.create_time
                .filter(|_| !self.name.is_empty())
                .map(|time| ("Created", format!("{time} ({})", text::relative(time.0, now)).into())),
        );
        if !self.changed_by.is_empty() || !self.change_reason.is_empty() {
            let change = format!("by {}: {}", self.changed_by, text::shortened(&self.change_reason, 200));
            facts.push(("Changed", change.into()));
        }
        printer.facts(facts)
    }

    fn state_cell(&self) -> Cell {
        let tone = match State::try_from(self.raw_state) {
            Ok(State::Running | State::Paused) => Tone::Open,
            Ok(State::Completed) if self.shortcoming().is_none() => Tone::Good,
            Ok(State::Completed | State::Cancelled) => Tone::Bad,
            Ok(State::Unspecified) | Err(_) => Tone::Plain,
        };
        Cell::new(self.state.as_str(), tone)
    }
}

impl Row for BackfillView {
    fn headers(_is_wide: bool) -> Vec<&'static str> {
        vec!["BACKFILL", "STATE", "FROM", "BEFORE", "DONE", "OK", "NOT OK", "REASON"]
    }

    fn cells(&self, _is_wide: bool, _now: i64) -> Vec<Cell> {
        let time = |time: Option<Instant>| time.map_or("-".to_owned(), |time| time.to_string());
        vec![
            self.short_name().into(),
            self.state_cell(),
            time(self.start_time).into(),
            time(self.end_time).into(),
            format!("{}/{}", self.done(), self.instant_count).into(),
            self.succeeded_count.to_string().into(),
            (self.unsuccessful_count + self.not_started_count).to_string().into(),
            text::shortened(&self.reason, 60).into(),
        ]
    }

    fn name(&self) -> &str {
        &self.name
    }
}
