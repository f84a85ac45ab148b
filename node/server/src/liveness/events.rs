//! What webhooks are told, as documents. An event has the same id on every node and at every try: it is made of what the
//! ledger says, not of when somebody noticed.

use belfry_core::run::{Ending, RunState};
use belfry_core::{Run, Schedule, State, UnixMillis};
use serde_json::{Value, json};

use super::board::{Transition, TransitionKind};
use crate::api::names;

/// Kinds of events.
pub const EVENT_KINDS: [&str; 7] = [
    "run.failed",
    "run.unknown",
    "run.expired",
    "schedule.paused",
    "liveness.overdue",
    "liveness.success_missed",
    "liveness.recovered",
];

/// Enough of a message for somebody on call; the output is in the ledger.
const MESSAGE_CHARS_MAX: usize = 1000;

/// Something to tell.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Event {
    pub(super) id: String,
    pub(super) kind: &'static str,
    /// When it came about.
    pub(super) at: UnixMillis,
    pub(super) body: Value,
}

fn event(id: String, kind: &'static str, at: UnixMillis, schedule: Value) -> Event {
    let time = belfry_timing::format_time(at.0);
    let body = json!({ "id": id, "event": kind, "time": time, "schedule": schedule });
    Event { id, kind, at, body }
}

fn described(schedule: &Schedule) -> Value {
    json!({
        "name": names::schedule_name(&schedule.key),
        "uid": schedule.uid.to_string(),
        "labels": schedule.definition.labels,
    })
}

/// What a run is worth telling, if it is.
pub(super) fn of_run(state: &State, run: &Run) -> Option<Event> {
    let RunState::Ended { ending, at, lease } = &run.state else { return None };
    let kind = match ending {
        Ending::Failed(_) | Ending::TimedOut => "run.failed",
        Ending::Unknown(_) => "run.unknown",
        Ending::Expired => "run.expired",
        Ending::Succeeded | Ending::Skipped(_) | Ending::Merged { .. } | Ending::Cancelled(_) => return None,
    };
    if run.resolution.is_some() {
        // Whoever said so knows.
        return None;
    }
    let schedule = state.schedule(run.schedule)?;
    let token = lease.as_ref().map_or(0, |lease| lease.token.0);
    let id = format!("{kind}-{}-{token}", names::idempotency_key(schedule, run));
    let mut event = event(id, kind, *at, described(schedule));
    let mut document = json!({
        "name": names::run_name(&schedule.key, run),
        "state": ending.name(),
        "nominal_time": belfry_timing::format_time(run.nominal_at.0),
        "attempt": run.attempt.0,
    });
    if let Some(reason) = run.reason() {
        document["reason"] = crate::api::reason_name(reason).into();
    }
    if let Some(report) = state.report(run.id) {
        document["exit_code"] = report.exit_code.into();
        document["message"] = report.message.chars().take(MESSAGE_CHARS_MAX).collect::<String>().into();
    }
    event.body["run"] = document;
    Some(event)
}

/// That a schedule is paused, if it is.
pub(super) fn of_schedule(schedule: &Schedule) -> Option<Event> {
    let pause = schedule.pause.as_ref().filter(|_| schedule.remains().deleted_at.is_none())?;
    let id = format!("schedule.paused-{}-{}", schedule.uid, pause.paused_at.0);
    let mut event = event(id, "schedule.paused", pause.paused_at, described(schedule));
    let reason: String = pause.reason.chars().take(MESSAGE_CHARS_MAX).collect();
    event.body["pause"] = json!({
        "reason": reason,
        "actor": pause.actor,
        "until": pause.until.map(|until| belfry_timing::format_time(until.0)),
    });
    Some(event)
}

/// That a schedule is not well, or is again.
pub(super) fn of_transition(transition: &Transition) -> Event {
    let condition = &transition.condition;
    let kind = match transition.kind {
        TransitionKind::Overdue => "liveness.overdue",
        TransitionKind::SuccessMissed => "liveness.success_missed",
        TransitionKind::Recovered => "liveness.recovered",
    };
    let id = format!("{kind}-{}-{}", condition.uid, transition.since.0);
    let at = match transition.kind {
        TransitionKind::Overdue | TransitionKind::SuccessMissed => transition.since,
        TransitionKind::Recovered => transition.at,
    };
    let schedule = json!({ "name": names::schedule_name(&condition.key), "uid": condition.uid.to_string() });
    let mut event = event(id, kind, at, schedule);
    event.body["since"] = belfry_timing::format_time(transition.since.0).into();
    if !condition.run.is_empty() {
        event.body["run"] = json!({ "name": condition.run });
    }
    event
}
