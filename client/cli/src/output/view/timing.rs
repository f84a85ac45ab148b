//! Timings as documents and in a line.

use belfry_sdk::pb;
use serde::Serialize;

use super::{Instant, enum_name, written};
use crate::text;

/// When it fires.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct TimingView {
    pub(crate) include: Vec<RuleView>,
    pub(crate) time_zone: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) exclude: Vec<RuleView>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) calendars: Vec<CalendarUseView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) start_time: Option<Instant>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) end_time: Option<Instant>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) spread: Option<String>,
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
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) at_local_time: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) calendar: Option<CalendarRuleView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) fixed_delay: Option<FixedDelayView>,
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

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct CalendarRuleView {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    years: Vec<i32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    months: Vec<i32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    month_days: Vec<i32>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    weekdays: Vec<WeekdayView>,
    times: Vec<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct WeekdayView {
    day: String,
    nth: i32,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct FixedDelayView {
    pub(crate) delay: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct CalendarUseView {
    pub(crate) calendar: String,
    pub(crate) mode: String,
}

impl TimingView {
    pub(crate) fn of(timing: Option<&pb::Timing>) -> Self {
        let unset = pb::Timing::default();
        let timing = timing.unwrap_or(&unset);
        let calendar = |used: &pb::CalendarUse| CalendarUseView {
            calendar: used.calendar.clone(),
            mode: enum_name(used.mode, pb::calendar_use::Mode::as_str_name),
        };
        Self {
            include: timing.include.iter().map(RuleView::of).collect(),
            time_zone: text::zone_or_utc(&timing.time_zone).to_owned(),
            exclude: timing.exclude.iter().map(RuleView::of).collect(),
            calendars: timing.calendars.iter().map(calendar).collect(),
            start_time: Instant::of(timing.start_time.as_ref()),
            end_time: Instant::of(timing.end_time.as_ref()),
            spread: written(timing.spread.as_ref()),
        }
    }

    /// The rules in few characters: `0 3 * * *`, `every 1h + at 2026-…`.
    pub(crate) fn short(&self) -> String {
        let short = |rules: &[RuleView]| rules.iter().map(RuleView::short).collect::<Vec<_>>();
        let mut text = short(&self.include).join(" + ");
        for excluded in short(&self.exclude) {
            text.push_str(&format!(" − {excluded}"));
        }
        text
    }

    /// What only the cluster can apply, in words.
    pub(crate) fn beside(&self) -> Vec<String> {
        let mode = |used: &CalendarUseView| match used.mode.as_str() {
            "INCLUDE" => format!("Only inside calendar {}", used.calendar),
            "EXCLUDE" => format!("Not inside calendar {}", used.calendar),
            "FREEZE" => format!("Inside calendar {} its instants are skipped and say so", used.calendar),
            newer => format!("{newer} calendar {}", used.calendar),
        };
        let mut words: Vec<String> = self.calendars.iter().map(mode).collect();
        let spread = self.spread.as_ref();
        words.extend(
            spread.map(|spread| format!("Each begins up to {spread} later, by an offset of its own")),
        );
        words
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
            Some(Rule::AtLocalTime(time)) => Self { at_local_time: Some(time.clone()), ..Self::default() },
            Some(Rule::Calendar(rule)) => {
                Self { calendar: Some(CalendarRuleView::of(rule)), ..Self::default() }
            }
            Some(Rule::FixedDelay(fixed)) => {
                let delay = fixed.delay.as_ref().map_or("0s".to_owned(), text::duration);
                Self { fixed_delay: Some(FixedDelayView { delay }), ..Self::default() }
            }
            None => Self::default(),
        }
    }

    /// Whether it was made to run by hand only.
    pub(crate) fn may_never_fire(&self) -> bool {
        self.cron.as_ref().is_some_and(|cron| cron.allow_never)
    }

    pub(crate) fn short(&self) -> String {
        if let Some(cron) = &self.cron {
            return cron.expression.clone();
        }
        if let Some(interval) = &self.interval {
            return match interval.phase.as_str() {
                "0s" => format!("every {}", interval.every),
                phase => format!("every {} + {phase}", interval.every),
            };
        }
        if let Some(rule) = &self.calendar {
            return rule.short();
        }
        if let Some(fixed) = &self.fixed_delay {
            return format!("{} after the last run", fixed.delay);
        }
        match (self.at_time, &self.at_local_time) {
            (Some(at), _) => format!("at {at}"),
            (None, Some(at)) => format!("at {at}"),
            (None, None) => "?".to_owned(),
        }
    }
}

impl CalendarRuleView {
    fn of(rule: &pb::CalendarRule) -> Self {
        let weekday = |weekday: &pb::Weekday| WeekdayView { day: weekday.day.clone(), nth: weekday.nth };
        Self {
            years: rule.years.clone(),
            months: rule.months.clone(),
            month_days: rule.month_days.clone(),
            weekdays: rule.weekdays.iter().map(weekday).collect(),
            times: rule.times.clone(),
        }
    }

    /// The text that `--calendar-rule` takes.
    pub(crate) fn short(&self) -> String {
        fn listed<T: ToString>(key: &str, values: &[T]) -> Option<String> {
            let values: Vec<String> = values.iter().map(ToString::to_string).collect();
            (!values.is_empty()).then(|| format!("{key}={}", values.join(",")))
        }
        let weekday = |weekday: &WeekdayView| match weekday.nth {
            0 => weekday.day.clone(),
            nth => format!("{}#{nth}", weekday.day),
        };
        let weekdays: Vec<String> = self.weekdays.iter().map(weekday).collect();
        let lists = [
            listed("years", &self.years),
            listed("months", &self.months),
            listed("days", &self.month_days),
            listed("weekdays", &weekdays),
            listed("times", &self.times),
        ];
        lists.into_iter().flatten().collect::<Vec<_>>().join(" ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_rule_has_a_document_and_a_short_form() {
        use pb::rule::Rule;
        let minute = Some(prost_types::Duration { seconds: 60, nanos: 0 });
        let rule = pb::CalendarRule {
            months: vec![1, 7],
            month_days: vec![-1],
            weekdays: vec![
                pb::Weekday { day: "MON".into(), nth: 1 },
                pb::Weekday { day: "FRI".into(), nth: 0 },
            ],
            times: vec!["09:00".into()],
            ..Default::default()
        };
        let cron =
            |expression: &str| Rule::Cron(pb::Cron { expression: expression.into(), ..Default::default() });
        for (rule, short, json) in [
            (cron("@daily"), "@daily", r#"{"cron":{"expression":"@daily","allow_never":false}}"#),
            (
                Rule::Interval(pb::Interval { every: minute, phase: None }),
                "every 1m",
                r#"{"interval":{"every":"1m","phase":"0s"}}"#,
            ),
            (
                Rule::AtTime(text::timestamp(0)),
                "at 1970-01-01T00:00:00Z",
                r#"{"at_time":"1970-01-01T00:00:00Z"}"#,
            ),
            (
                Rule::AtLocalTime("2026-12-24T18:00".into()),
                "at 2026-12-24T18:00",
                r#"{"at_local_time":"2026-12-24T18:00"}"#,
            ),
            (
                Rule::Calendar(rule),
                "months=1,7 days=-1 weekdays=MON#1,FRI times=09:00",
                r#"{"calendar":{"months":[1,7],"month_days":[-1],"weekdays":[{"day":"MON","nth":1},{"day":"FRI","nth":0}],"times":["09:00"]}}"#,
            ),
            (
                Rule::FixedDelay(pb::FixedDelay { delay: minute }),
                "1m after the last run",
                r#"{"fixed_delay":{"delay":"1m"}}"#,
            ),
        ] {
            let view = RuleView::of(&pb::Rule { rule: Some(rule) });
            assert_eq!(view.short(), short);
            assert_eq!(serde_json::to_string(&view).unwrap(), json);
        }
    }
}
