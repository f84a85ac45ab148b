//! Schedules as documents and rows.
//!
//! A document is also what `belfry apply` reads: `commands/apply/document` knows the same names.

use std::collections::BTreeMap;

use belfry_sdk::pb;
use pb::schedule::State;
use serde::Serialize;

use super::policies::{HistoryView, LivenessView, MARK, PoliciesView};
use super::target::TargetView;
use super::timing::TimingView;
use super::{Instant, enum_name};
use crate::output::{Cell, Row, Tone};
use crate::text;

/// What a schedule that names none has.
const POOL_DEFAULT: &str = "default";
const PRIORITY_DEFAULT: u32 = 5;

/// A schedule, with the field names of the contract.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ScheduleView {
    pub(crate) name: String,
    pub(crate) uid: String,
    pub(crate) etag: String,
    pub(crate) generation: u64,
    pub(crate) labels: BTreeMap<String, String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) description: String,
    pub(crate) timing: TimingView,
    pub(crate) target: TargetView,
    pub(crate) policies: PoliciesView,
    pub(crate) pool: String,
    pub(crate) priority: u32,
    pub(crate) executor_labels: BTreeMap<String, String>,
    pub(crate) max_runs: u64,
    pub(crate) completion_action: String,
    pub(crate) history: HistoryView,
    pub(crate) liveness: LivenessView,
    pub(crate) state: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pause: Option<PauseView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) create_time: Option<Instant>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) update_time: Option<Instant>,
    pub(crate) status: StatusView,
}

/// Why, by whom and since when it is paused.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct PauseView {
    pub(crate) reason: String,
    pub(crate) actor: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pause_time: Option<Instant>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) until: Option<Instant>,
    pub(crate) skipped_count: u64,
}

/// How it is doing.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct StatusView {
    pub(crate) next_times: Vec<Instant>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ledger_complete_time: Option<Instant>,
    pub(crate) due_count: u32,
    pub(crate) running_count: u32,
    pub(crate) succeeded_count: u64,
    pub(crate) unsuccessful_count: u64,
    pub(crate) not_started_count: u64,
    pub(crate) begun_count: u64,
    pub(crate) consecutive_failures: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last_success_time: Option<Instant>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) last_failure_time: Option<Instant>,
    pub(crate) warnings: Vec<String>,
}

impl ScheduleView {
    pub(crate) fn is_paused(&self) -> bool {
        self.state == State::Paused.as_str_name()
    }

    pub(crate) fn is_completed(&self) -> bool {
        self.state == State::Completed.as_str_name()
    }

    /// Where it runs, and before what.
    pub(crate) fn placement(&self) -> String {
        let marked = |text: String, is_default: bool| if is_default { text + MARK } else { text };
        let mut parts = vec![format!("pool {}", self.pool)];
        if !self.executor_labels.is_empty() {
            parts.push(format!("executors with {}", pairs(&self.executor_labels)));
        }
        parts.push(marked(format!("priority {}", self.priority), self.priority == PRIORITY_DEFAULT));
        parts.join(", ")
    }

    /// How long it lives.
    pub(crate) fn life(&self) -> String {
        let begun = self.status.begun_count;
        let runs = match self.max_runs {
            0 => format!("any number of runs{MARK}"),
            max => format!("at most {max} runs, {begun} begun"),
        };
        let deleted = self.completion_action == pb::CompletionAction::Delete.as_str_name();
        let end = if deleted { "deleted".to_owned() } else { format!("kept{MARK}") };
        format!("{runs}; then {end}")
    }

    /// Its labels, as flags write them.
    pub(crate) fn labels_in_a_line(&self) -> String {
        pairs(&self.labels)
    }

    /// The state and its tone.
    pub(crate) fn state_cell(&self) -> Cell {
        let tone = if self.is_paused() {
            Tone::Open
        } else if self.is_completed() {
            Tone::Faint
        } else {
            Tone::Good
        };
        Cell::new(&self.state, tone)
    }
}

fn pairs(map: &BTreeMap<String, String>) -> String {
    map.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(",")
}

impl StatusView {
    fn of(status: pb::ScheduleStatus) -> Self {
        Self {
            next_times: status.next_times.iter().map(|time| Instant(text::millis(time))).collect(),
            ledger_complete_time: Instant::of(status.ledger_complete_time.as_ref()),
            due_count: status.due_count,
            running_count: status.running_count,
            succeeded_count: status.succeeded_count,
            unsuccessful_count: status.unsuccessful_count,
            not_started_count: status.not_started_count,
            begun_count: status.begun_count,
            consecutive_failures: status.consecutive_failures,
            last_success_time: Instant::of(status.last_success_time.as_ref()),
            last_failure_time: Instant::of(status.last_failure_time.as_ref()),
            warnings: status.warnings,
        }
    }
}

impl From<pb::Schedule> for ScheduleView {
    fn from(schedule: pb::Schedule) -> Self {
        Self {
            timing: TimingView::of(schedule.timing.as_ref()),
            target: TargetView::of(schedule.target.as_ref()),
            policies: PoliciesView::of(schedule.policies.as_ref()),
            state: enum_name(schedule.state, State::as_str_name),
            pause: schedule.pause.map(|pause| PauseView {
                reason: pause.reason,
                actor: pause.actor,
                pause_time: Instant::of(pause.pause_time.as_ref()),
                until: Instant::of(pause.until.as_ref()),
                skipped_count: pause.skipped_count,
            }),
            create_time: Instant::of(schedule.create_time.as_ref()),
            update_time: Instant::of(schedule.update_time.as_ref()),
            status: StatusView::of(schedule.status.unwrap_or_default()),
            pool: if schedule.pool.is_empty() { POOL_DEFAULT.to_owned() } else { schedule.pool },
            priority: if schedule.priority == 0 { PRIORITY_DEFAULT } else { schedule.priority },
            executor_labels: schedule.executor_labels,
            max_runs: schedule.max_runs,
            completion_action: enum_name(schedule.completion_action, pb::CompletionAction::as_str_name),
            history: HistoryView::of(schedule.history.as_ref()),
            liveness: LivenessView::of(schedule.liveness.as_ref()),
            name: schedule.name,
            uid: schedule.uid,
            etag: schedule.etag,
            generation: schedule.generation,
            labels: schedule.labels,
            description: schedule.description,
        }
    }
}

impl Row for ScheduleView {
    fn headers(is_wide: bool) -> Vec<&'static str> {
        let mut headers =
            vec!["NAMESPACE", "NAME", "STATE", "TIMING", "ZONE", "NEXT", "LAST SUCCESS", "LAST FAILURE"];
        if is_wide {
            headers.extend(["POOL", "RUNS", "LABELS"]);
        }
        headers
    }

    fn cells(&self, is_wide: bool, now: i64) -> Vec<Cell> {
        let ago = |time: Option<Instant>| time.map_or("-".to_owned(), |time| text::relative(time.0, now));
        let condition = if self.is_paused() { ", if resumed" } else { "" };
        let next = self.status.next_times.first();
        let next = next.map(|time| format!("{time} ({}{condition})", text::relative(time.0, now)));
        let mut cells: Vec<Cell> = vec![
            text::namespace_of(&self.name).into(),
            text::short_name(&self.name).into(),
            self.state_cell(),
            text::shortened(&self.timing.short(), 40).into(),
            self.timing.time_zone.as_str().into(),
            next.unwrap_or_else(|| "-".to_owned()).into(),
            ago(self.status.last_success_time).into(),
            ago(self.status.last_failure_time).into(),
        ];
        if is_wide {
            cells.push(self.pool.as_str().into());
            cells.push(text::shortened(&self.target.short(), 60).into());
            cells.push(pairs(&self.labels).into());
        }
        cells
    }

    fn name(&self) -> &str {
        &self.name
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn schedule() -> pb::Schedule {
        let cron = pb::Cron { expression: "0 3 * * *".into(), ..Default::default() };
        let command = pb::CommandTarget {
            shell: "backup".into(),
            stdin: b"\xff".to_vec().into(),
            ..Default::default()
        };
        pb::Schedule {
            name: "namespaces/default/schedules/invoices".into(),
            etag: "7".into(),
            generation: 2,
            timing: Some(pb::Timing {
                include: vec![pb::Rule { rule: Some(pb::rule::Rule::Cron(cron)) }],
                time_zone: "Europe/Berlin".into(),
                ..Default::default()
            }),
            target: Some(pb::Target { target: Some(pb::target::Target::Command(command)) }),
            policies: Some(pb::Policies {
                overlap_policy: 1,
                lease_duration: Some(text::proto_duration(Duration::from_secs(30))),
                ..Default::default()
            }),
            state: State::Paused.into(),
            pause: Some(pb::Pause {
                reason: "disk".into(),
                actor: "anna".into(),
                pause_time: Some(text::timestamp(0)),
                ..Default::default()
            }),
            status: Some(pb::ScheduleStatus {
                next_times: vec![text::timestamp(3_600_000)],
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    #[test]
    fn documents_use_the_names_of_the_contract() {
        let json = serde_json::to_string(&ScheduleView::from(schedule())).unwrap();
        let expected = concat!(
            r#"{"name":"namespaces/default/schedules/invoices","uid":"","etag":"7","generation":2,"labels":{},"#,
            r#""timing":{"include":[{"cron":{"expression":"0 3 * * *","allow_never":false}}],"time_zone":"Europe/Berlin"},"#,
            r#""target":{"command":{"shell":"backup","environment":{},"stdin_base64":"/w=="}},"#,
            r#""policies":{"overlap_policy":"OVERLAP_POLICY_HOLD_ONE","overlap_limit":0,"#,
            r#""misfire_policy":"MISFIRE_POLICY_UNSPECIFIED","misfire_limit":0,"#,
            r#""unknown_outcome_policy":"UNKNOWN_OUTCOME_POLICY_UNSPECIFIED","lease_duration":"30s","#,
            r#""pause_after_failures":0},"pool":"default","priority":5,"executor_labels":{},"max_runs":0,"#,
            r#""completion_action":"COMPLETION_ACTION_UNSPECIFIED","history":{"keep_count":0},"#,
            r#""liveness":{"disabled":false},"#,
            r#""state":"PAUSED","pause":{"reason":"disk","actor":"anna","pause_time":"1970-01-01T00:00:00Z","#,
            r#""skipped_count":0},"#,
            r#""status":{"next_times":["1970-01-01T01:00:00Z"],"due_count":0,"running_count":0,"succeeded_count":0,"#,
            r#""unsuccessful_count":0,"not_started_count":0,"begun_count":0,"consecutive_failures":0,"warnings":[]}}"#,
        );
        assert_eq!(json, expected);
        let yaml = serde_yaml_ng::to_string(&ScheduleView::from(schedule())).unwrap();
        assert!(yaml.contains("timing:\n  include:\n  - cron:\n      expression: 0 3 * * *\n"), "{yaml}");
    }

    #[test]
    fn a_row_says_what_comes_next() {
        let cells = ScheduleView::from(schedule()).cells(false, 0);
        let expected: Vec<Cell> = vec![
            "default".into(),
            "invoices".into(),
            Cell::new("PAUSED", Tone::Open),
            "0 3 * * *".into(),
            "Europe/Berlin".into(),
            "1970-01-01T01:00:00Z (in 1h, if resumed)".into(),
            "-".into(),
            "-".into(),
        ];
        assert_eq!(cells, expected);
        assert_eq!(cells.len(), ScheduleView::headers(false).len());
    }

    #[test]
    fn states_of_newer_nodes_are_numbers() {
        let view = ScheduleView::from(pb::Schedule { state: 99, ..Default::default() });
        assert_eq!(view.state, "99");
    }
}
