//! From the core's types to the contract's.

use std::time::Duration;

use belfry_core::definition::{
    Definition, MisfirePolicy, OverlapPolicy, Policies, Rule, Target, Timing, UnknownOutcomePolicy,
};
use belfry_core::run::{Ending, Reason, Report, RunState, Trigger};
use belfry_core::{Run, Schedule, State, UnixMillis};
use belfry_proto::v1 as pb;
use prost::Message as _;

use super::names;
use crate::timings::Timings;

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
    pub(super) due: usize,
    pub(super) running: usize,
}

impl ScheduleView {
    pub(super) fn of(state: &State, schedule: &Schedule) -> Self {
        let (due, running) = state.active_counts(schedule.id);
        Self { schedule: schedule.clone(), due, running }
    }

    /// A schedule of which nothing is in the ledger yet.
    pub(super) fn fresh(schedule: Schedule) -> Self {
        Self { schedule, due: 0, running: 0 }
    }
}

/// A run with what belongs to it in other places of the state.
#[derive(Clone, Debug)]
pub(super) struct RunView {
    run: Run,
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

pub(super) fn schedule(
    view: &ScheduleView,
    timings: &Timings,
    now: UnixMillis,
    next_times: usize,
) -> pb::Schedule {
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
        }),
        create_time: Some(timestamp(schedule.created_at)),
        update_time: Some(timestamp(schedule.updated_at)),
        status: Some(status(view, definition, timings, now, next_times)),
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

fn status(
    view: &ScheduleView,
    definition: &Definition,
    timings: &Timings,
    now: UnixMillis,
    next_times: usize,
) -> pb::ScheduleStatus {
    let ScheduleView { schedule, due, running } = view;
    let counters = &schedule.counters;
    // A timing that this build cannot read has no next times to show; the rest is still true.
    let compiled = timings.compile(&definition.timing).ok();
    // Shown while paused too: they are what will become SKIPPED rows, or what a resume brings back.
    let following = |at: &UnixMillis| compiled.as_ref()?.next(at.0).map(UnixMillis);
    let next = std::iter::successors(schedule.next_fire_at, following).take(next_times);
    let warnings = compiled.as_ref().map_or(&[][..], |compiled| compiled.warnings());
    let count = |size: usize| u32::try_from(size).unwrap_or(u32::MAX);
    pb::ScheduleStatus {
        next_times: next.map(timestamp).collect(),
        ledger_complete_time: Some(timestamp(ledger_complete_at(schedule, now))),
        due_count: count(*due),
        running_count: count(*running),
        succeeded_count: counters.succeeded,
        unsuccessful_count: counters.unsuccessful,
        not_started_count: counters.not_started,
        last_success_time: counters.last_success.map(|(_, at)| timestamp(at)),
        last_failure_time: counters.last_failure.map(|(_, at)| timestamp(at)),
        warnings: warnings.iter().map(ToString::to_string).collect(),
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
    pb::Timing { include: timing.include.iter().map(rule).collect(), time_zone: timing.time_zone.clone() }
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
    };
    pb::Rule { rule: Some(rule) }
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
    let overlap = match policies.overlap {
        OverlapPolicy::HoldOne => pb::OverlapPolicy::HoldOne,
    };
    let misfire = match policies.misfire {
        MisfirePolicy::Coalesce => pb::MisfirePolicy::Coalesce,
    };
    let unknown_outcome = match policies.unknown_outcome {
        UnknownOutcomePolicy::Hold => pb::UnknownOutcomePolicy::Hold,
    };
    pb::Policies {
        overlap_policy: overlap.into(),
        misfire_policy: misfire.into(),
        unknown_outcome_policy: unknown_outcome.into(),
        start_deadline: policies.start_deadline.map(duration),
        attempt_timeout: Some(duration(policies.attempt_timeout)),
        lease_duration: Some(duration(policies.lease_duration)),
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
        reason: run.state.reason().map_or(pb::run::Reason::Unspecified, reason).into(),
        trigger: trigger(run.trigger).into(),
        nominal_time: Some(timestamp(run.nominal_at)),
        scheduled_time: Some(timestamp(run.scheduled_at())),
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
    }
}

pub(super) fn run_state(state: &RunState) -> pb::run::State {
    match state {
        RunState::Due { .. } => pb::run::State::Due,
        RunState::Running(_) => pb::run::State::Running,
        RunState::Ended { ending, .. } => match ending {
            Ending::Succeeded => pb::run::State::Succeeded,
            Ending::Failed => pb::run::State::Failed,
            Ending::TimedOut => pb::run::State::TimedOut,
            Ending::Unknown(_) => pb::run::State::Unknown,
            Ending::Skipped(_) => pb::run::State::Skipped,
            Ending::Merged { .. } => pb::run::State::Merged,
            Ending::Expired => pb::run::State::Expired,
            Ending::Cancelled(_) => pb::run::State::Cancelled,
        },
    }
}

fn reason(reason: Reason) -> pb::run::Reason {
    match reason {
        Reason::Overlap => pb::run::Reason::Overlap,
        Reason::Paused => pb::run::Reason::Paused,
        Reason::CatchUp => pb::run::Reason::CatchUp,
        Reason::NoExecutor => pb::run::Reason::NoExecutor,
        Reason::LeaseLost => pb::run::Reason::LeaseLost,
        Reason::AttemptTimeout => pb::run::Reason::AttemptTimeout,
        Reason::StartDeadline => pb::run::Reason::StartDeadline,
        Reason::ScheduleDeleted => pb::run::Reason::ScheduleDeleted,
    }
}

fn trigger(trigger: Trigger) -> pb::run::Trigger {
    match trigger {
        Trigger::Timer => pb::run::Trigger::Timer,
        Trigger::CatchUp => pb::run::Trigger::CatchUpTimer,
        Trigger::Manual => pb::run::Trigger::Manual,
    }
}

pub(super) fn timestamp(at: UnixMillis) -> prost_types::Timestamp {
    let nanos = at.0.rem_euclid(1000) as i32 * 1_000_000;
    prost_types::Timestamp { seconds: at.0.div_euclid(1000), nanos }
}

fn duration(duration: Duration) -> prost_types::Duration {
    let seconds = i64::try_from(duration.as_secs()).unwrap_or(i64::MAX);
    prost_types::Duration { seconds, nanos: duration.subsec_nanos() as i32 }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use belfry_core::{Generation, Revision, ScheduleId, ScheduleKey};

    use super::*;

    #[test]
    fn the_ledger_is_complete_up_to_the_next_instant_and_never_beyond_now() {
        let at =
            |watermark, next| Schedule { watermark: UnixMillis(watermark), next_fire_at: next, ..sample() };
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
        Schedule {
            id: ScheduleId(1),
            uid: "u".into(),
            key: ScheduleKey::new("a", "b"),
            generation: Generation(1),
            revision: Revision(1),
            definition: Arc::new(Definition {
                timing: Timing { include: vec![Rule::At(UnixMillis(1))], time_zone: "UTC".into() },
                target: Target { handler: "h".into(), payload: Default::default() },
                policies: Policies::default(),
                pool: "default".into(),
                labels: Default::default(),
                description: String::new(),
            }),
            retired: Default::default(),
            next_fire_at: None,
            watermark: UnixMillis(0),
            catching_up: false,
            pause: None,
            created_at: UnixMillis(0),
            updated_at: UnixMillis(0),
            counters: Default::default(),
            deleted_at: None,
        }
    }
}
