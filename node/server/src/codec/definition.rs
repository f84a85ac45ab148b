//! Definitions and policies.

use std::time::Duration;

use belfry_core::UnixMillis;
use belfry_core::definition::{
    CalendarMode, CalendarRule, CalendarUse, CompletionAction, Definition, History, Liveness, MisfirePolicy,
    OverlapPolicy, Policies, Priority, Retry, Rule, Target, Timing, UnknownOutcomePolicy,
};
use belfry_proto::internal as pb;

use super::{CodecError, required};

pub(super) fn encode(definition: &Definition) -> pb::Definition {
    let timing = &definition.timing;
    let liveness = &definition.liveness;
    pb::Definition {
        include: timing.include.iter().map(encode_rule).collect(),
        time_zone: timing.time_zone.clone(),
        handler: definition.target.handler.clone(),
        payload: definition.target.payload.clone(),
        pool: definition.pool.clone(),
        policies: Some(encode_policies(&definition.policies)),
        labels: definition.labels.clone(),
        description: definition.description.clone(),
        exclude: timing.exclude.iter().map(encode_rule).collect(),
        calendars: timing.calendars.iter().map(encode_use).collect(),
        start_unix_ms: timing.start_at.map(|at| at.0),
        end_unix_ms: timing.end_at.map(|at| at.0),
        spread_ms: timing.spread.map(millis),
        priority: unless(definition.priority, Priority::default(), |priority| priority.get().into()),
        max_runs: definition.max_runs.unwrap_or(0),
        completion: unless(definition.completion, CompletionAction::default(), |action| action as u32),
        executor_labels: definition.executor_labels.clone(),
        keep_for_ms: definition.history.keep_for.map(millis),
        keep_count: definition.history.keep_count,
        liveness: (*liveness != Liveness::default()).then(|| pb::Liveness {
            start_grace_ms: liveness.start_grace.map(millis),
            success_within_ms: liveness.success_within.map(millis),
            disabled: liveness.disabled,
        }),
    }
}

pub(super) fn decode(definition: pb::Definition) -> Result<Definition, CodecError> {
    let rules = |rules: Vec<pb::Rule>| rules.into_iter().map(decode_rule).collect::<Result<_, _>>();
    let liveness = definition.liveness.unwrap_or_default();
    Ok(Definition {
        timing: Timing {
            include: rules(definition.include)?,
            exclude: rules(definition.exclude)?,
            calendars: definition.calendars.into_iter().map(decode_use).collect::<Result<_, _>>()?,
            time_zone: definition.time_zone,
            start_at: definition.start_unix_ms.map(UnixMillis),
            end_at: definition.end_unix_ms.map(UnixMillis),
            spread: definition.spread_ms.map(Duration::from_millis),
        },
        target: Target { handler: definition.handler, payload: definition.payload },
        policies: decode_policies(required(definition.policies, "Definition", "policies")?)?,
        pool: definition.pool,
        executor_labels: definition.executor_labels,
        priority: match definition.priority {
            0 => Priority::default(),
            other => Priority::new(other).ok_or_else(|| unknown("priority", other))?,
        },
        max_runs: (definition.max_runs > 0).then_some(definition.max_runs),
        completion: match definition.completion {
            0 | 1 => CompletionAction::Keep,
            2 => CompletionAction::Delete,
            other => return Err(unknown("completion", other)),
        },
        history: History {
            keep_for: definition.keep_for_ms.map(Duration::from_millis),
            keep_count: definition.keep_count,
        },
        liveness: Liveness {
            start_grace: liveness.start_grace_ms.map(Duration::from_millis),
            success_within: liveness.success_within_ms.map(Duration::from_millis),
            disabled: liveness.disabled,
        },
        labels: definition.labels,
        description: definition.description,
    })
}

fn unknown(field: &'static str, value: u32) -> CodecError {
    CodecError::Unknown { field, value: value.into() }
}

/// 0 for a default: entries of the first feature level stay as they were.
fn unless<T: PartialEq>(value: T, default: T, number: impl FnOnce(T) -> u32) -> u32 {
    if value == default { 0 } else { number(value) }
}

fn encode_use(used: &CalendarUse) -> pb::CalendarUse {
    pb::CalendarUse { calendar: used.calendar.clone(), mode: used.mode as u32 }
}

fn decode_use(used: pb::CalendarUse) -> Result<CalendarUse, CodecError> {
    let mode = match used.mode {
        1 => CalendarMode::Include,
        2 => CalendarMode::Exclude,
        3 => CalendarMode::Freeze,
        other => return Err(unknown("calendar mode", other)),
    };
    Ok(CalendarUse { calendar: used.calendar, mode })
}

fn encode_rule(rule: &Rule) -> pb::Rule {
    use pb::rule;
    let rule = match rule {
        Rule::Cron { expression, resolved, allow_never } => rule::Rule::Cron(rule::Cron {
            expression: expression.clone(),
            resolved: resolved.clone(),
            allow_never: *allow_never,
        }),
        Rule::Interval { every, phase } => {
            rule::Rule::Interval(rule::Interval { every_ms: millis(*every), phase_ms: millis(*phase) })
        }
        Rule::At(at) => rule::Rule::AtUnixMs(at.0),
        Rule::AtLocal(at) => rule::Rule::AtLocal(at.clone()),
        Rule::Calendar(rule) => rule::Rule::Calendar(encode_calendar_rule(rule)),
        Rule::FixedDelay(delay) => rule::Rule::FixedDelayMs(millis(*delay)),
    };
    pb::Rule { rule: Some(rule) }
}

fn decode_rule(rule: pb::Rule) -> Result<Rule, CodecError> {
    use pb::rule;
    Ok(match required(rule.rule, "Rule", "rule")? {
        rule::Rule::Cron(cron) => {
            Rule::Cron { expression: cron.expression, resolved: cron.resolved, allow_never: cron.allow_never }
        }
        rule::Rule::Interval(interval) => Rule::Interval {
            every: Duration::from_millis(interval.every_ms),
            phase: Duration::from_millis(interval.phase_ms),
        },
        rule::Rule::AtUnixMs(at) => Rule::At(UnixMillis(at)),
        rule::Rule::AtLocal(at) => Rule::AtLocal(at),
        rule::Rule::Calendar(rule) => Rule::Calendar(decode_calendar_rule(rule)?),
        rule::Rule::FixedDelayMs(delay) => Rule::FixedDelay(Duration::from_millis(delay)),
    })
}

fn encode_calendar_rule(rule: &CalendarRule) -> pb::CalendarRule {
    let weekday = |(day, nth): &(u8, Option<i8>)| pb::calendar_rule::Weekday {
        day: (*day).into(),
        nth: nth.map_or(0, i32::from),
    };
    pb::CalendarRule {
        years: rule.years.iter().map(|year| (*year).into()).collect(),
        months: rule.months.iter().map(|month| (*month).into()).collect(),
        month_days: rule.month_days.iter().map(|day| (*day).into()).collect(),
        weekdays: rule.weekdays.iter().map(weekday).collect(),
        times: rule.times.clone(),
    }
}

fn decode_calendar_rule(rule: pb::CalendarRule) -> Result<CalendarRule, CodecError> {
    fn narrow<T: TryFrom<U>, U: Copy + Into<i64>>(
        values: &[U],
        field: &'static str,
    ) -> Result<Vec<T>, CodecError> {
        let unknown = |value: U| CodecError::Unknown { field, value: value.into().cast_unsigned() };
        values.iter().map(|value| T::try_from(*value).map_err(|_| unknown(*value))).collect()
    }
    let days: Vec<u8> =
        narrow(&rule.weekdays.iter().map(|weekday| weekday.day).collect::<Vec<_>>(), "weekday")?;
    let nths: Vec<i8> = narrow(&rule.weekdays.iter().map(|weekday| weekday.nth).collect::<Vec<_>>(), "nth")?;
    let nth = |nth: i8| (nth != 0).then_some(nth);
    Ok(CalendarRule {
        years: narrow(&rule.years, "year")?,
        months: narrow(&rule.months, "month")?,
        month_days: narrow(&rule.month_days, "month day")?,
        weekdays: days.into_iter().zip(nths.into_iter().map(nth)).collect(),
        times: rule.times,
    })
}

fn encode_policies(policies: &Policies) -> pb::Policies {
    let (overlap, overlap_limit) = match policies.overlap {
        OverlapPolicy::HoldOne => (1, 0),
        OverlapPolicy::Skip => (2, 0),
        OverlapPolicy::BufferAll { waiting_max } => (3, waiting_max),
        OverlapPolicy::Allow { running_max } => (4, running_max),
        OverlapPolicy::CancelRunning => (5, 0),
    };
    let (misfire, window, misfire_limit) = match policies.misfire {
        MisfirePolicy::Coalesce => (1, None, 0),
        MisfirePolicy::Skip { window } => (2, Some(window), 0),
        MisfirePolicy::FireAll { window, count_max } => (3, Some(window), count_max),
    };
    let (retry, default) = (&policies.retry, Policies::default());
    pb::Policies {
        overlap,
        misfire,
        unknown_outcome: policies.unknown_outcome as u32,
        start_deadline_ms: policies.start_deadline.map(millis),
        attempt_timeout_ms: millis(policies.attempt_timeout),
        lease_duration_ms: millis(policies.lease_duration),
        overlap_limit,
        misfire_window_ms: window.map(millis),
        misfire_limit,
        retry: (*retry != default.retry).then(|| pb::Retry {
            max_attempts: retry.max_attempts,
            initial_backoff_ms: millis(retry.initial_backoff),
            max_backoff_ms: millis(retry.max_backoff),
            non_retryable_codes: retry.non_retryable_codes.clone(),
        }),
        pause_after_failures: policies.pause_after_failures.unwrap_or(0),
        cancel_grace_ms: (policies.cancel_grace != default.cancel_grace)
            .then(|| millis(policies.cancel_grace)),
    }
}

fn decode_policies(policies: pb::Policies) -> Result<Policies, CodecError> {
    let window = policies.misfire_window_ms.map(Duration::from_millis);
    let window = || required(window, "Policies", "misfire_window_ms");
    let default = Policies::default();
    Ok(Policies {
        overlap: match policies.overlap {
            1 => OverlapPolicy::HoldOne,
            2 => OverlapPolicy::Skip,
            3 => OverlapPolicy::BufferAll { waiting_max: policies.overlap_limit },
            4 => OverlapPolicy::Allow { running_max: policies.overlap_limit },
            5 => OverlapPolicy::CancelRunning,
            other => return Err(unknown("overlap", other)),
        },
        misfire: match policies.misfire {
            1 => MisfirePolicy::Coalesce,
            2 => MisfirePolicy::Skip { window: window()? },
            3 => MisfirePolicy::FireAll { window: window()?, count_max: policies.misfire_limit },
            other => return Err(unknown("misfire", other)),
        },
        unknown_outcome: match policies.unknown_outcome {
            1 => UnknownOutcomePolicy::Hold,
            2 => UnknownOutcomePolicy::Retry,
            3 => UnknownOutcomePolicy::Pause,
            4 => UnknownOutcomePolicy::Fail,
            other => return Err(unknown("unknown_outcome", other)),
        },
        start_deadline: policies.start_deadline_ms.map(Duration::from_millis),
        attempt_timeout: Duration::from_millis(policies.attempt_timeout_ms),
        lease_duration: Duration::from_millis(policies.lease_duration_ms),
        retry: policies.retry.map_or(default.retry, |retry| Retry {
            max_attempts: retry.max_attempts,
            initial_backoff: Duration::from_millis(retry.initial_backoff_ms),
            max_backoff: Duration::from_millis(retry.max_backoff_ms),
            non_retryable_codes: retry.non_retryable_codes,
        }),
        pause_after_failures: (policies.pause_after_failures > 0).then_some(policies.pause_after_failures),
        cancel_grace: policies.cancel_grace_ms.map_or(default.cancel_grace, Duration::from_millis),
    })
}

pub(super) fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
