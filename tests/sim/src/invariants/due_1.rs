//! DUE-1: no due run waits while a fitting credit is free. Judged when nothing is broken any more: everything that was due must have begun
//! or have ended, with a reason.

use belfry_core::run::RunState;
use belfry_core::{RunId, ScheduleId, State, UnixMillis};
use belfry_server::api::names;

use super::{backfill_1, since_epoch};

/// How long a row may wait, or its instant for it, when nothing is in the way.
const WAITS_MS_MAX: i64 = 5_000;

/// How long an attempt may run: no timeout of the workload and no lease is longer, together with the time to dial again.
const RUNS_MS_MAX: i64 = 25_000;

/// What is not as it should be, now that it could.
pub(super) fn open(state: &State, now: UnixMillis) -> Vec<String> {
    let mut open = backfill_1::open(state, now, WAITS_MS_MAX);
    for id in state.schedule_ids_from(ScheduleId::default()) {
        let Some(schedule) = state.schedule(id).filter(|schedule| schedule.remains().deleted_at.is_none())
        else {
            continue;
        };
        if let Some(next) = schedule.next_fire_at.filter(|next| next.0 < now.0 - WAITS_MS_MAX) {
            open.push(format!("{} has no row for {}", schedule.key, since_epoch(next)));
        }
    }
    for run in state.runs_from(RunId::default()) {
        let Some(schedule) = state.schedule(run.schedule) else { continue };
        let waits = match &run.state {
            RunState::Due { .. } => {
                // A paused schedule keeps what waits.
                schedule.pause.is_none() && run.not_before().0.max(run.created_at.0) < now.0 - WAITS_MS_MAX
            }
            RunState::Running(lease) => lease.begun_at.0 < now.0 - RUNS_MS_MAX,
            RunState::Ended { .. } => false,
        };
        if waits {
            let ready = if state.ready().contains(&run.id) { ", and may begin" } else { "" };
            open.push(format!("{} is {:?}{ready}", names::run_name(&schedule.key, run), run.state));
        }
    }
    open
}
