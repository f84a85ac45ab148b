//! From the core's types to the contract's.

use std::time::Duration;

use belfry_core::definition::{
    CalendarMode, CalendarRule, CalendarUse, CompletionAction, History, Liveness, MisfirePolicy,
    OverlapPolicy, Policies, Rule, Target, Timing, UnknownOutcomePolicy,
};
use belfry_core::run::{Ending, Reason, Report, RunState, Trigger, Verdict};
use belfry_core::{Run, Schedule, State, UnixMillis};
use belfry_proto::v1 as pb;
use prost::Message as _;

use super::names;
use crate::timings::{Assumed, CompiledTiming, Timings};

/// Handlers that stand for targets of their own in the contract.
pub(super) const COMMAND: &str = "command";
pub(super) const HTTP: &str = "http";

/// Instants shown of one schedule, and of each one in a list.
pub(super) const NEXT_TIMES: usize = 10;
pub(super) const NEXT_TIMES_IN_LIST: usize = 1;

/// A schedule with what the ledger says of it: read under the lock, encoded outside.
#[derive(Clone, Debug)]
pub(super) struct ScheduleView {
    pub(super) schedule: Schedule,
    /// What its timing means; none if this build cannot read it.
    pub(super) compiled: Option<CompiledTiming>,
    pub(super) due: usize,
    pub(super) running: usize,
}

impl ScheduleView {
    pub(super) fn of(state: &State, timings: &Timings, schedule: Schedule) -> Self {
        Self::assuming(state, timings, schedule, &Assumed::new())
    }

    /// Likewise, where some calendars are assumed to be otherwise. Of a schedule that is not stored nothing is in the ledger.
    pub(super) fn assuming(state: &State, timings: &Timings, schedule: Schedule, assumed: &Assumed) -> Self {
        let (due, running) = state.active_counts(schedule.id);
        let compiled = compiled_assuming(state, timings, &schedule, assumed);
        Self { schedule, compiled, due, running }
    }
}

pub(super) fn compiled(state: &State, timings: &Timings, schedule: &Schedule) -> Option<CompiledTiming> {
    compiled_assuming(state, timings, schedule, &Assumed::new())
}

fn compiled_assuming(
    state: &State,
    timings: &Timings,
    schedule: &Schedule,
    assumed: &Assumed,
) -> Option<CompiledTiming> {
    let timing = &schedule.definition.timing;
    let calendars = timings.calendars_assuming(state, &schedule.key.namespace, timing, assumed).ok()?;
    timings.compile(timing, &calendars).ok()
}

/// A run with what belongs to it in other places of the state.
#[derive(Clone, Debug)]
pub(super) struct RunView {
    pub(super) run: Run,
    schedule: Schedule,
    merged_into: String,
    report: Option<Report>,
}

/// Whether the output of a run is wanted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Output {
    Included,
    LeftOut,
}

impl RunView {
    /// None when the row's schedule is not there, which an intact state rules out.
    pub(super) fn of(state: &State, run: &Run) -> Option<Self> {
        let schedule = state.schedule(run.schedule)?.clone();
        let merged_into = match run.state {
            RunState::Ended { ending: Ending::Merged { into, .. }, .. } => {
                // Retention may have dropped the newer row first.
                state.run(into).map_or_else(String::new, |into| names::run_name(&schedule.key, into))
            }
            RunState::Due { .. } | RunState::Running(_) | RunState::Ended { .. } => String::new(),
        };
        Some(Self { run: run.clone(), schedule, merged_into, report: state.report(run.id).cloned() })
    }

    /// A run that is not in the ledger.
    pub(super) fn preview(run: Run, schedule: Schedule) -> Self {
        Self { run, schedule, merged_into: String::new(), report: None }
    }
}

pub(super) fn schedule(view: &ScheduleView, now: UnixMillis, next_times: usize) -> pb::Schedule {
    let ScheduleView { schedule, .. } = view;
    let definition = &schedule.definition;
    pb::Schedule {
        name: names::schedule_name(&schedule.key),
        uid: schedule.uid.to_string(),
        etag: schedule.revision.to_string(),
        generation: schedule.generation.0,
        labels: definition.labels.clone(),
        description: definition.description.clone(),
        timing: Some(timing(&definition.timing)),
        target: Some(target(&definition.target)),
        policies: Some(policies(&definition.policies)),
        pool: definition.pool.clone(),
        state: schedule_state(schedule).into(),
        pause: schedule.pause.as_ref().map(|pause| pb::Pause {
            reason: pause.reason.clone(),
            actor: pause.actor.clone(),
            pause_time: Some(timestamp(pause.paused_at)),
            until: pause.until.map(timestamp),
            skipped_count: pause.skipped,
        }),
        create_time: Some(timestamp(schedule.created_at)),
        update_time: Some(timestamp(schedule.updated_at)),
        status: Some(status(view, now, next_times)),
        priority: definition.priority.get().into(),
        max_runs: definition.max_runs.unwrap_or(0),
        completion_action: completion_action(definition.completion).into(),
        executor_labels: definition.executor_labels.clone(),
        history: Some(history(&definition.history)),
        liveness: Some(liveness(&definition.liveness)),
    }
}

fn completion_action(action: CompletionAction) -> pb::CompletionAction {
    match action {
        CompletionAction::Keep => pb::CompletionAction::Keep,
        CompletionAction::Delete => pb::CompletionAction::Delete,
    }
}

pub(super) fn history(history: &History) -> pb::History {
    pb::History { keep_for: history.keep_for.map(duration), keep_count: history.keep_count.unwrap_or(0) }
}

pub(super) fn liveness(liveness: &Liveness) -> pb::Liveness {
    pb::Liveness {
        start_grace: liveness.start_grace.map(duration),
        success_within: liveness.success_within.map(duration),
        disabled: liveness.disabled,
    }
}

fn schedule_state(schedule: &Schedule) -> pb::schedule::State {
    if schedule.pause.is_some() {
        pb::schedule::State::Paused
    } else if schedule.next_fire_at.is_none() {
        pb::schedule::State::Completed
    } else {
        pb::schedule::State::Active
    }
}

fn status(view: &ScheduleView, now: UnixMillis, next_times: usize) -> pb::ScheduleStatus {
    let ScheduleView { schedule, compiled, due, running } = view;
    let counters = &schedule.counters;
    // A timing that this build cannot read, or that counts from the end of a run, has no further times to show.
    // Shown while paused too: they are what will become SKIPPED rows, or what a resume brings back.
    let following = |at: &UnixMillis| compiled.as_ref()?.next(at.0).map(UnixMillis);
    let mut next: Vec<_> = schedule.next_fire_at.into_iter().take(next_times).collect();
    while next.len() < next_times
        && let Some(at) = next.last().and_then(following)
    {
        next.push(at);
    }
    let warnings = compiled.as_ref().map_or(&[][..], |compiled| compiled.warnings());
    let count = |size: usize| u32::try_from(size).unwrap_or(u32::MAX);
    pb::ScheduleStatus {
        next_times: next.into_iter().map(timestamp).collect(),
        ledger_complete_time: Some(timestamp(ledger_complete_at(schedule, now))),
        due_count: count(*due),
        running_count: count(*running),
        succeeded_count: counters.succeeded.into(),
        unsuccessful_count: counters.unsuccessful.into(),
        not_started_count: counters.not_started.into(),
        last_success_time: counters.last_success.get().map(|(_, at)| timestamp(at)),
        last_failure_time: counters.last_failure.get().map(|(_, at)| timestamp(at)),
        warnings: warnings.iter().map(ToString::to_string).collect(),
        consecutive_failures: counters.consecutive_failures,
        begun_count: counters.begun,
    }
}

/// Every instant up to here has its row.
///
/// The watermark is the last instant that got one; between it and the next instant there is none that could lack one, so
/// the ledger is complete up to just before the next instant, or up to now where that lies in the future or never comes.
/// It says nothing of the future, because an edit may still put instants there. (A stale read says it of the state that it
/// reads: an edit that has not arrived yet is not in it.)
fn ledger_complete_at(schedule: &Schedule, now: UnixMillis) -> UnixMillis {
    let before_next = schedule.next_fire_at.map_or(now, |next| UnixMillis(next.0.saturating_sub(1)).min(now));
    schedule.watermark.max(before_next)
}

pub(super) fn timing(timing: &Timing) -> pb::Timing {
    let calendar = |used: &CalendarUse| pb::CalendarUse {
        calendar: used.calendar.clone(),
        mode: match used.mode {
            CalendarMode::Include => pb::calendar_use::Mode::Include,
            CalendarMode::Exclude => pb::calendar_use::Mode::Exclude,
            CalendarMode::Freeze => pb::calendar_use::Mode::Freeze,
        }
        .into(),
    };
    pb::Timing {
        include: timing.include.iter().map(rule).collect(),
        exclude: timing.exclude.iter().map(rule).collect(),
        calendars: timing.calendars.iter().map(calendar).collect(),
        time_zone: timing.time_zone.clone(),
        start_time: timing.start_at.map(timestamp),
        end_time: timing.end_at.map(timestamp),
        spread: timing.spread.map(duration),
    }
}

fn rule(rule: &Rule) -> pb::Rule {
    use pb::rule;
    let rule = match rule {
        Rule::Cron { expression, resolved, allow_never } => rule::Rule::Cron(pb::Cron {
            expression: expression.clone(),
            allow_never: *allow_never,
            resolved_expression: resolved.clone(),
        }),
        Rule::Interval { every, phase } => rule::Rule::Interval(pb::Interval {
            every: Some(duration(*every)),
            phase: (!phase.is_zero()).then(|| duration(*phase)),
        }),
        Rule::At(at) => rule::Rule::AtTime(timestamp(*at)),
        Rule::AtLocal(at) => rule::Rule::AtLocalTime(at.clone()),
        Rule::Calendar(rule) => rule::Rule::Calendar(calendar_rule(rule)),
        Rule::FixedDelay(delay) => rule::Rule::FixedDelay(pb::FixedDelay { delay: Some(duration(*delay)) }),
    };
    pb::Rule { rule: Some(rule) }
}

/// Names of the days of the week, from Monday.
pub(super) const WEEKDAYS: [&str; 7] = ["MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN"];

fn calendar_rule(rule: &CalendarRule) -> pb::CalendarRule {
    let weekday = |(day, nth): &(u8, Option<i8>)| pb::Weekday {
        day: WEEKDAYS[usize::from(*day - 1) % WEEKDAYS.len()].to_owned(),
        nth: nth.map_or(0, i32::from),
    };
    pb::CalendarRule {
        years: rule.years.iter().map(|year| (*year).into()).collect(),
        months: rule.months.iter().map(|month| (*month).into()).collect(),
        month_days: rule.month_days.iter().map(|day| (*day).into()).collect(),
        weekdays: rule.weekdays.iter().map(weekday).collect(),
        times: rule.times.iter().map(|time| time_of_day(*time)).collect(),
    }
}

/// Seconds of the day as `09:00`, or `09:00:30` where there are any.
fn time_of_day(seconds: u32) -> String {
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    match second {
        0 => format!("{hour:02}:{minute:02}"),
        second => format!("{hour:02}:{minute:02}:{second:02}"),
    }
}

pub(super) fn target(target: &Target) -> pb::Target {
    use pb::target::Target as Kind;
    let known = match target.handler.as_str() {
        COMMAND => pb::CommandTarget::decode(target.payload.clone()).ok().map(Kind::Command),
        HTTP => pb::HttpTarget::decode(target.payload.clone()).ok().map(Kind::Http),
        _ => None,
    };
    let opaque = || {
        let (handler, payload) = (target.handler.clone(), target.payload.clone());
        Kind::Handler(pb::HandlerTarget { handler, payload })
    };
    pb::Target { target: Some(known.unwrap_or_else(opaque)) }
}

pub(super) fn policies(policies: &Policies) -> pb::Policies {
    let (overlap, overlap_limit) = match policies.overlap {
        OverlapPolicy::HoldOne => (pb::OverlapPolicy::HoldOne, 0),
        OverlapPolicy::Skip => (pb::OverlapPolicy::Skip, 0),
        OverlapPolicy::BufferAll { waiting_max } => (pb::OverlapPolicy::BufferAll, waiting_max),
        OverlapPolicy::Allow { running_max } => (pb::OverlapPolicy::Allow, running_max),
        OverlapPolicy::CancelRunning => (pb::OverlapPolicy::CancelRunning, 0),
    };
    let (misfire, window, misfire_limit) = match policies.misfire {
        MisfirePolicy::Coalesce => (pb::MisfirePolicy::Coalesce, None, 0),
        MisfirePolicy::Skip { window } => (pb::MisfirePolicy::Skip, Some(window), 0),
        MisfirePolicy::FireAll { window, count_max } => (pb::MisfirePolicy::FireAll, Some(window), count_max),
    };
    let unknown_outcome = match policies.unknown_outcome {
        UnknownOutcomePolicy::Hold => pb::UnknownOutcomePolicy::Hold,
        UnknownOutcomePolicy::Retry => pb::UnknownOutcomePolicy::Retry,
        UnknownOutcomePolicy::Pause => pb::UnknownOutcomePolicy::Pause,
        UnknownOutcomePolicy::Fail => pb::UnknownOutcomePolicy::Fail,
    };
    let retry = &policies.retry;
    pb::Policies {
        overlap_policy: overlap.into(),
        misfire_policy: misfire.into(),
        unknown_outcome_policy: unknown_outcome.into(),
        start_deadline: policies.start_deadline.map(duration),
        attempt_timeout: Some(duration(policies.attempt_timeout)),
        lease_duration: Some(duration(policies.lease_duration)),
        overlap_limit,
        misfire_window: window.map(duration),
        misfire_limit,
        retry: Some(pb::Retry {
            max_attempts: retry.max_attempts,
            initial_backoff: Some(duration(retry.initial_backoff)),
            max_backoff: Some(duration(retry.max_backoff)),
            non_retryable_codes: retry.non_retryable_codes.clone(),
        }),
        pause_after_failures: policies.pause_after_failures.unwrap_or(0),
        cancel_grace: Some(duration(policies.cancel_grace)),
    }
}

pub(super) fn run(view: RunView, output: Output) -> pb::Run {
    let RunView { run, schedule, merged_into, report } = view;
    let lease = run.state.lease();
    let report = report.unwrap_or_default();
    pb::Run {
        name: names::run_name(&schedule.key, &run),
        schedule_uid: schedule.uid.to_string(),
        schedule_generation: run.generation.0,
        state: run_state(&run.state).into(),
        reason: run.reason().map_or(pb::run::Reason::Unspecified, reason).into(),
        trigger: trigger(run.trigger).into(),
        nominal_time: Some(timestamp(run.nominal_at)),
        scheduled_time: Some(timestamp(run.scheduled_at)),
        create_time: Some(timestamp(run.created_at)),
        begin_time: lease.map(|lease| timestamp(lease.begun_at)),
        end_time: run.state.ended_at().map(timestamp),
        window_start_time: Some(timestamp(run.window_start_at)),
        merged_count: run.merged_count,
        merged_into,
        attempt: run.attempt.0,
        executor: lease.map_or_else(String::new, |lease| lease.executor.to_string()),
        fencing_token: lease.map_or(0, |lease| lease.token.0),
        exit_code: report.exit_code,
        message: report.message,
        output_tail: match output {
            Output::Included => report.output_tail,
            Output::LeftOut => Default::default(),
        },
        idempotency_key: names::idempotency_key(&schedule, &run),
        actor: run.actor.to_string(),
        cancel: run.cancel.as_ref().map(|cancel| verdict(&cancel.verdict)),
        resolution: run.resolution.as_deref().map(verdict),
        next_attempt_time: match &run.state {
            RunState::Due { retry: Some(retry), .. } => Some(timestamp(retry.not_before)),
            RunState::Due { retry: None, .. } | RunState::Running(_) | RunState::Ended { .. } => None,
        },
        backfill: match run.trigger {
            Trigger::Backfill(id) => id.to_string(),
            Trigger::Timer | Trigger::CatchUp | Trigger::Manual | Trigger::Resume => String::new(),
        },
        progress: String::new(),
    }
}

pub(super) fn verdict(verdict: &Verdict) -> pb::Verdict {
    pb::Verdict {
        actor: verdict.actor.to_string(),
        reason: verdict.reason.to_string(),
        time: Some(timestamp(verdict.at)),
    }
}

pub(super) fn run_state(state: &RunState) -> pb::run::State {
    match state {
        RunState::Due { .. } => pb::run::State::Due,
        RunState::Running(_) => pb::run::State::Running,
        RunState::Ended { ending, .. } => match ending {
            Ending::Succeeded => pb::run::State::Succeeded,
            Ending::Failed(_) => pb::run::State::Failed,
            Ending::TimedOut => pb::run::State::TimedOut,
            Ending::Unknown(_) => pb::run::State::Unknown,
            Ending::Skipped(_) => pb::run::State::Skipped,
            Ending::Merged { .. } => pb::run::State::Merged,
            Ending::Expired => pb::run::State::Expired,
            Ending::Cancelled(_) => pb::run::State::Cancelled,
        },
    }
}

pub(super) fn reason(reason: Reason) -> pb::run::Reason {
    match reason {
        Reason::Overlap => pb::run::Reason::Overlap,
        Reason::Paused => pb::run::Reason::Paused,
        Reason::CatchUp => pb::run::Reason::CatchUp,
        Reason::NoExecutor => pb::run::Reason::NoExecutor,
        Reason::LeaseLost => pb::run::Reason::LeaseLost,
        Reason::AttemptTimeout => pb::run::Reason::AttemptTimeout,
        Reason::StartDeadline => pb::run::Reason::StartDeadline,
        Reason::ScheduleDeleted => pb::run::Reason::ScheduleDeleted,
        Reason::Blackout => pb::run::Reason::Blackout,
        Reason::Misfire => pb::run::Reason::Misfire,
        Reason::BufferFull => pb::run::Reason::BufferFull,
        Reason::CancelRequested => pb::run::Reason::CancelRequested,
        Reason::Replaced => pb::run::Reason::Replaced,
        Reason::RetryBackoff => pb::run::Reason::RetryBackoff,
        Reason::MaxRuns => pb::run::Reason::MaxRuns,
        Reason::Resolved => pb::run::Reason::Resolved,
        Reason::BackfillCancelled => pb::run::Reason::BackfillCancelled,
        Reason::Restored => pb::run::Reason::Restored,
    }
}

/// A reason as users see it.
pub(crate) fn reason_name(why: Reason) -> &'static str {
    reason(why).as_str_name()
}

fn trigger(trigger: Trigger) -> pb::run::Trigger {
    match trigger {
        Trigger::Timer => pb::run::Trigger::Timer,
        Trigger::CatchUp => pb::run::Trigger::CatchUpTimer,
        Trigger::Manual => pb::run::Trigger::Manual,
        Trigger::Backfill(_) => pb::run::Trigger::Backfill,
        Trigger::Resume => pb::run::Trigger::Resume,
    }
}

pub(super) fn timestamp(at: UnixMillis) -> prost_types::Timestamp {
    let nanos = at.0.rem_euclid(1000) as i32 * 1_000_000;
    prost_types::Timestamp { seconds: at.0.div_euclid(1000), nanos }
}

pub(super) fn duration(duration: Duration) -> prost_types::Duration {
    let seconds = i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    prost_types::Duration { seconds, nanos: duration.subsec_nanos() as i32 }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use belfry_core::definition::Definition;
    use belfry_core::{Revision, ScheduleId, ScheduleKey};

    use super::*;

    #[test]
    fn the_ledger_is_complete_up_to_the_next_instant_and_never_beyond_now() {
        let at = |watermark, next| {
            let mut schedule = sample();
            schedule.watermark = UnixMillis(watermark);
            schedule.next_fire_at = next;
            schedule
        };
        let complete = |schedule: Schedule| ledger_complete_at(&schedule, UnixMillis(500)).0;
        assert_eq!(complete(at(100, Some(UnixMillis(900)))), 500);
        assert_eq!(complete(at(100, Some(UnixMillis(300)))), 299);
        assert_eq!(complete(at(100, None)), 500);
        // The proposer's clock was ahead of this one: what has its row has it.
        assert_eq!(complete(at(700, Some(UnixMillis(900)))), 700);
    }

    #[test]
    fn instants_before_the_epoch_have_positive_nanos() {
        assert_eq!(timestamp(UnixMillis(-1)), prost_types::Timestamp { seconds: -1, nanos: 999_000_000 });
    }

    fn sample() -> Schedule {
        let definition = Definition::new(
            Timing::of(vec![Rule::At(UnixMillis(1))], "UTC"),
            Target { handler: "h".into(), payload: Default::default() },
        );
        let key = ScheduleKey::new("a", "b");
        let mut schedule = Schedule::new(ScheduleId(1), "u".into(), key, Arc::new(definition), UnixMillis(0));
        schedule.revision = Revision(1);
        schedule
    }
}
