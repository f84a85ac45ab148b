//! Goes on with backfills: evaluates the timing from where each of them is, and proposes the next instants.
//!
//! The state machine decides which instants get a row, one at a time, and asks for more when that row has ended.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use belfry_core::backfill::Backfill;
use belfry_core::command::{Action, Command};
use belfry_core::state::LastInstants;
use belfry_core::{BackfillId, State, UnixMillis};

use super::Shared;
use crate::timings::{TimingFault, Timings};

/// Instants proposed at once: most of a range may have run, and is passed over in steps of this.
const INSTANTS_PER_STEP: usize = 256;

/// Backfills looked at under one lock.
const BACKFILLS_PER_ROUND: usize = 64;

/// Pause after a proposal that failed.
const RETRY_AFTER: Duration = Duration::from_millis(50);

/// Proposes steps until the reign ends.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut applied = shared.replica.applied();
    // Backfills of schedules whose timing this build cannot evaluate: looked at again by the next leader.
    let mut faulty = HashSet::new();
    loop {
        applied.mark_unchanged();
        let steps = shared.replica.read(|state| steps(state, &shared.timings, &mut faulty));
        if steps.is_empty() {
            if applied.changed().await.is_err() {
                return;
            }
            continue;
        }
        for action in steps {
            let command = Command { now: shared.clock.now(), request: None, action };
            if shared.propose("advance backfill", &command).await.is_none() {
                tokio::time::sleep(RETRY_AFTER).await;
            }
        }
    }
}

/// The next steps of backfills that want one.
fn steps(state: &State, timings: &Timings, faulty: &mut HashSet<BackfillId>) -> Vec<Action> {
    let mut steps = Vec::new();
    for backfill in state.advancing().take(BACKFILLS_PER_ROUND) {
        if faulty.contains(&backfill.id) {
            continue;
        }
        match step(state, timings, backfill) {
            Ok(step) => steps.push(step),
            Err(fault) => {
                tracing::error!(backfill = backfill.id.0, %fault, "this node cannot go on with a backfill");
                faulty.insert(backfill.id);
            }
        }
    }
    steps
}

fn step(state: &State, timings: &Timings, backfill: &Backfill) -> Result<Action, TimingFault> {
    let mut instants = Vec::new();
    if let Some(schedule) = state.schedule(backfill.schedule) {
        let timing = &schedule.definition.timing;
        let calendars = timings.calendars(state, &schedule.key.namespace, timing)?;
        let mut after = backfill.cursor;
        while instants.len() < INSTANTS_PER_STEP {
            match timings.next(timing, &calendars, after)? {
                Some(next) if next < backfill.until_at => {
                    instants.push(next);
                    after = next;
                }
                Some(_) | None => break,
            }
        }
    }
    let last = if instants.len() < INSTANTS_PER_STEP { LastInstants::Yes } else { LastInstants::No };
    Ok(Action::AdvanceBackfill { backfill: backfill.id, instants, last })
}

/// How many instants of a timing a range has, counted up to `at_most`.
pub fn count_instants(
    state: &State,
    timings: &Timings,
    namespace: &str,
    timing: &belfry_core::definition::Timing,
    (from_at, until_at): (UnixMillis, UnixMillis),
    at_most: usize,
) -> Result<usize, TimingFault> {
    if timing.fixed_delay().is_some() {
        return Ok(0);
    }
    let compiled = timings.compile(timing, &timings.calendars(state, namespace, timing)?)?;
    Ok(compiled.count_between(from_at.0.saturating_sub(1), until_at.0.saturating_sub(1), at_most))
}
