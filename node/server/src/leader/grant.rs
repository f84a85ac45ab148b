//! What an executor is told about a run that it is offered.

use belfry_core::run::Trigger;
use belfry_core::{RunId, State};
use belfry_proto::v1 as pb;

use crate::api::names;

/// The grant for a run, one of many that `ids` names; none when the run is no longer there.
pub(super) fn grant(state: &State, id: RunId, ids: &mut names::RunIds) -> Option<pb::Grant> {
    let run = state.run(id)?;
    let schedule = state.schedule(run.schedule)?;
    let definition = schedule.definition_of(run.generation);
    Some(pb::Grant {
        run_id: id.0,
        run: ids.name(&schedule.key, run),
        attempt: run.attempt.next().0,
        idempotency_key: ids.idempotency_key(schedule, run),
        handler: definition.target.handler.clone(),
        payload: definition.target.payload.clone(),
        nominal_unix_ms: run.nominal_at.0,
        scheduled_unix_ms: run.scheduled_at.0,
        window_start_unix_ms: run.window_start_at.0,
        merged_count: run.merged_count,
        manual: matches!(run.trigger, Trigger::Manual),
        attempt_timeout_ms: millis(definition.policies.attempt_timeout),
        lease_duration_ms: millis(definition.policies.lease_duration),
        backfill: matches!(run.trigger, Trigger::Backfill(_) | Trigger::Resume),
        max_attempts: definition.policies.retry.max_attempts,
    })
}

fn millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
