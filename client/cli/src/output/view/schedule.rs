//! Schedules as documents and rows.

use std::collections::BTreeMap;

use belfry_sdk::pb;
use pb::schedule::State;
use serde::Serialize;

use super::target::TargetView;
use super::{Instant, enum_name};
use crate::output::{Cell, Row, Tone};
use crate::text;

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
    pub(crate) state: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pause: Option<PauseView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) create_time: Option<Instant>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) update_time: Option<Instant>,
    pub(crate) status: StatusView,
}

/// When it fires.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct TimingView {
    pub(crate) include: Vec<RuleView>,
    pub(crate) time_zone: String,
}

/// Exactly one of its fields.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct RuleView {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) cron: Option<CronView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) interval: Option<IntervalView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) at_time: Option<Instant>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct CronView {
    pub(crate) expression: String,
    pub(crate) allow_never: bool,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(crate) resolved_expression: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct IntervalView {
    pub(crate) every: String,
    pub(crate) phase: String,
}

/// By which rules it runs.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct PoliciesView {
    pub(crate) overlap_policy: String,
    pub(crate) misfire_policy: String,
    pub(crate) unknown_outcome_policy: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) start_deadline: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) attempt_timeout: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) lease_duration: Option<String>,
}

/// Why, by whom and since when it is paused.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct PauseView {
    pub(crate) reason: String,
    pub(crate) actor: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) pause_time: Option<Instant>,
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

impl TimingView {
    pub(crate) fn of(timing: Option<&pb::Timing>) -> Self {
        let include = timing.map_or(&[][..], |timing| &timing.include);
        let zone = timing.map_or("", |timing| &timing.time_zone);
        Self {
            include: include.iter().map(RuleView::of).collect(),
            time_zone: text::zone_or_utc(zone).to_owned(),
        }
    }

    /// The rules in few characters: `0 3 * * *`, `every 1h`, `at 2026-…`.
    pub(crate) fn short(&self) -> String {
        self.include.iter().map(RuleView::short).collect::<Vec<_>>().join(" + ")
    }
}

impl RuleView {
    fn of(rule: &pb::Rule) -> Self {
        use pb::rule::Rule;
        match &rule.rule {
            Some(Rule::Cron(cron)) => Self {
                cron: Some(CronView {
                    expression: cron.expression.clone(),
                    allow_never: cron.allow_never,
                    resolved_expression: cron.resolved_expression.clone(),
                }),
                ..Self::default()
            },
            Some(Rule::Interval(interval)) => {
                let written = |part: &Option<_>| part.as_ref().map_or("0s".to_owned(), text::duration);
                let view = IntervalView { every: written(&interval.every), phase: written(&interval.phase) };
                Self { interval: Some(view), ..Self::default() }
            }
            Some(Rule::AtTime(time)) => {
                Self { at_time: Some(Instant(text::millis(time))), ..Self::default() }
            }
            Some(Rule::AtLocalTime(_) | Rule::Calendar(_) | Rule::FixedDelay(_)) | None => Self::default(),
        }
    }

    /// Whether it was made to run by hand only.
    pub(crate) fn may_never_fire(&self) -> bool {
        self.cron.as_ref().is_some_and(|cron| cron.allow_never)
    }

    fn short(&self) -> String {
        match (&self.cron, &self.interval, self.at_time) {
            (Some(cron), _, _) => cron.expression.clone(),
            (None, Some(interval), _) if interval.phase == "0s" => format!("every {}", interval.every),
            (None, Some(interval), _) => format!("every {} + {}", interval.every, interval.phase),
            (None, None, Some(at)) => format!("at {at}"),
            (None, None, None) => "?".to_owned(),
        }
    }
}

impl PoliciesView {
    fn of(policies: Option<&pb::Policies>) -> Self {
        let policies = policies.cloned().unwrap_or_default();
        let written = |part: Option<prost_types::Duration>| part.as_ref().map(text::duration);
        Self {
            overlap_policy: enum_name(policies.overlap_policy, pb::OverlapPolicy::as_str_name),
            misfire_policy: enum_name(policies.misfire_policy, pb::MisfirePolicy::as_str_name),
            unknown_outcome_policy: enum_name(
                policies.unknown_outcome_policy,
                pb::UnknownOutcomePolicy::as_str_name,
            ),
            start_deadline: written(policies.start_deadline),
            attempt_timeout: written(policies.attempt_timeout),
            lease_duration: written(policies.lease_duration),
        }
    }
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
            }),
            create_time: Instant::of(schedule.create_time.as_ref()),
            update_time: Instant::of(schedule.update_time.as_ref()),
            status: StatusView::of(schedule.status.unwrap_or_default()),
            pool: if schedule.pool.is_empty() { "default".to_owned() } else { schedule.pool },
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
            let labels: Vec<String> =
                self.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
            cells.push(labels.join(",").into());
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
            r#""policies":{"overlap_policy":"OVERLAP_POLICY_HOLD_ONE","misfire_policy":"MISFIRE_POLICY_UNSPECIFIED","#,
            r#""unknown_outcome_policy":"UNKNOWN_OUTCOME_POLICY_UNSPECIFIED","lease_duration":"30s"},"pool":"default","#,
            r#""state":"PAUSED","pause":{"reason":"disk","actor":"anna","pause_time":"1970-01-01T00:00:00Z"},"#,
            r#""status":{"next_times":["1970-01-01T01:00:00Z"],"due_count":0,"running_count":0,"succeeded_count":0,"#,
            r#""unsuccessful_count":0,"not_started_count":0,"warnings":[]}}"#,
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
