//! Reports as documents, and the words for what went wrong.

use std::collections::BTreeMap;

use belfry_sdk::pb;
use pb::discrepancy::Kind;
use pb::run::{Reason, State};
use serde::Serialize;

use super::{Instant, enum_name, reason_in_words};
use crate::text;

/// One schedule against what was expected of it, with the field names of the contract.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ScheduleReportView {
    pub(crate) schedule: String,
    schedule_uid: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) expected_count: u64,
    /// Rows of the timing by state.
    pub(crate) states: BTreeMap<String, u64>,
    pub(crate) missing_count: u64,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    beside: BTreeMap<String, u64>,
    pub(crate) late_count: u64,
    #[serde(skip)]
    pub(crate) lateness_max_ms: u64,
    lateness_max: String,
    pub(crate) open_count: u64,
    pub(crate) discrepancy_count: u64,
    pub(crate) discrepancies: Vec<DiscrepancyView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_inside_time: Option<Instant>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ledger_start_time: Option<Instant>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delete_time: Option<Instant>,
    pub(crate) paused: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) success_missed_time: Option<Instant>,
}

/// An instant that did not come to what it should have.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct DiscrepancyView {
    kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) nominal_time: Option<Instant>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) run: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) message: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    lateness: Option<String>,
    #[serde(skip)]
    raw: (i32, i32, i32),
}

impl From<pb::ScheduleReport> for ScheduleReportView {
    fn from(report: pb::ScheduleReport) -> Self {
        let instant = |time: &Option<prost_types::Timestamp>| Instant::of(time.as_ref());
        let lateness_max = report.lateness_max.unwrap_or_default();
        Self {
            states: counts(&report.states),
            beside: counts(&report.beside),
            lateness_max_ms: millis_of(&lateness_max),
            lateness_max: text::duration(&lateness_max),
            created_inside_time: instant(&report.created_inside_time),
            ledger_start_time: instant(&report.ledger_start_time),
            delete_time: instant(&report.delete_time),
            success_missed_time: instant(&report.success_missed_time),
            discrepancies: report.discrepancies.into_iter().map(DiscrepancyView::from).collect(),
            schedule: report.schedule,
            schedule_uid: report.schedule_uid,
            labels: report.labels,
            expected_count: report.expected_count,
            missing_count: report.missing_count,
            late_count: report.late_count,
            open_count: report.open_count,
            discrepancy_count: report.discrepancy_count,
            paused: report.paused,
        }
    }
}

impl ScheduleReportView {
    /// Adds what the next page says of the same schedule.
    pub(crate) fn continues(&self, next: &pb::ScheduleReport) -> bool {
        self.schedule_uid == next.schedule_uid
    }

    /// Adds the rest of the schedule, which a later page brought.
    pub(crate) fn add(&mut self, rest: Self) {
        for (state, count) in rest.states {
            *self.states.entry(state).or_default() += count;
        }
        for (state, count) in rest.beside {
            *self.beside.entry(state).or_default() += count;
        }
        self.expected_count += rest.expected_count;
        self.missing_count += rest.missing_count;
        self.late_count += rest.late_count;
        self.open_count += rest.open_count;
        self.discrepancy_count += rest.discrepancy_count;
        self.discrepancies.extend(rest.discrepancies);
        self.discrepancies.truncate(TOLD_MAX);
        if rest.lateness_max_ms > self.lateness_max_ms {
            self.lateness_max_ms = rest.lateness_max_ms;
            self.lateness_max = rest.lateness_max;
        }
    }

    pub(crate) fn is_clean(&self) -> bool {
        self.discrepancy_count == 0
    }

    pub(crate) fn count_of(&self, state: State) -> u64 {
        self.states.get(state.as_str_name()).copied().unwrap_or(0)
    }
}

/// Discrepancies kept of one schedule: as many as a node tells.
const TOLD_MAX: usize = 20;

impl From<pb::Discrepancy> for DiscrepancyView {
    fn from(discrepancy: pb::Discrepancy) -> Self {
        let named = |raw: i32, name: fn(i32) -> String| (raw != 0).then(|| name(raw));
        Self {
            kind: enum_name(discrepancy.kind, Kind::as_str_name),
            nominal_time: Instant::of(discrepancy.nominal_time.as_ref()),
            state: named(discrepancy.state, |raw| enum_name(raw, State::as_str_name)),
            reason: named(discrepancy.reason, |raw| enum_name(raw, Reason::as_str_name)),
            lateness: discrepancy.lateness.as_ref().map(text::duration),
            raw: (discrepancy.kind, discrepancy.state, discrepancy.reason),
            run: discrepancy.run,
            message: discrepancy.message,
        }
    }
}

impl DiscrepancyView {
    /// Whether two instants went wrong in the same way.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        self.raw == other.raw
    }

    /// What went wrong, in a few words.
    pub(crate) fn what(&self) -> String {
        let state = self.state.as_deref().unwrap_or("of unknown state");
        match Kind::try_from(self.raw.0) {
            Ok(Kind::NotSucceeded) => state.to_owned(),
            Ok(Kind::MergedIntoUnsuccessful) => format!("MERGED into one that is {state}"),
            Ok(Kind::MergedIntoDropped) => "MERGED into one that is gone".to_owned(),
            Ok(Kind::Overdue) => "OVERDUE: not begun".to_owned(),
            Ok(Kind::NoRow) => "OVERDUE: no row".to_owned(),
            Ok(Kind::Late) => format!("LATE by {}", self.lateness.as_deref().unwrap_or("some time")),
            Ok(Kind::Open) => format!("{state}: not over"),
            Ok(Kind::Unspecified) | Err(_) => format!("{} {state}", self.kind),
        }
    }

    /// Why, in words.
    pub(crate) fn why(&self) -> String {
        let reason = match Kind::try_from(self.raw.0) {
            Ok(Kind::NoRow) => Some("nobody led the cluster, or its leader could not write"),
            Ok(Kind::MergedIntoDropped) => Some("the ledger has dropped the run that stood for it"),
            _ => reason_in_words(self.raw.2),
        };
        let parts = [Some(self.message.as_str()).filter(|message| !message.is_empty()), reason];
        parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
    }

    /// What to do about it; `why` is the command that tells more.
    pub(crate) fn advice(&self, namespace: &str, schedule: &str) -> String {
        let mut parts = self.run.rsplit('/');
        let run = parts.next().unwrap_or_default();
        let get = format!("`belfry run get {schedule}/{run}{namespace}` shows its output");
        let trigger = format!("`belfry schedule trigger {schedule}{namespace}`");
        let why = match self.nominal_time {
            Some(at) => format!("`belfry why {schedule}@{at}{namespace}` says why"),
            None => format!("`belfry schedule describe {schedule}{namespace}` says more"),
        };
        match (Kind::try_from(self.raw.0), State::try_from(self.raw.1)) {
            (Ok(Kind::NoRow), _) => format!("{why}; `belfry cluster status` shows who leads"),
            (Ok(Kind::Overdue | Kind::Open), _) => why,
            (_, Ok(State::Failed | State::TimedOut)) => {
                format!("{get}; mend the cause, then {trigger} if it cannot wait for the next instant")
            }
            (_, Ok(State::Unknown)) => {
                format!(
                    "it may or may not have run: look where its work leaves traces; if it is not done, {trigger}"
                )
            }
            (_, Ok(State::Expired | State::Skipped | State::Cancelled)) => {
                format!("{why}; if it is still wanted, {trigger}")
            }
            (_, _) => why,
        }
    }
}

fn counts(counts: &[pb::schedule_report::StateCount]) -> BTreeMap<String, u64> {
    counts.iter().map(|one| (enum_name(one.state, State::as_str_name), one.count)).collect()
}

fn millis_of(duration: &prost_types::Duration) -> u64 {
    let duration = std::time::Duration::try_from(*duration).unwrap_or_default();
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
