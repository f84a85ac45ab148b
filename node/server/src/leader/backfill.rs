//! Goes on with backfills: evaluates the timing from where each of them is, and proposes the next instants.
//!
//! The state machine decides which instants get a row, one at a time, and asks for more when that row has ended.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use belfry_core::command::{Action, Command};
use belfry_core::state::LastInstants;
use belfry_core::{BackfillId, Definition, State, UnixMillis};

use super::Shared;
use crate::timings::{Calendars, TimingFault, Timings};

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
        let timings = &shared.timings;
        let wanting = shared.replica.read(|state| collect(state, timings, &mut faulty));
        if wanting.is_empty() {
            if applied.changed().await.is_err() {
                return;
            }
            continue;
        }
        for wanting in wanting {
            let action = match step(timings, &wanting) {
                Ok(action) => action,
                Err(fault) => {
                    give_up(wanting.id, &fault, &mut faulty);
                    continue;
                }
            };
            let command = Command { now: shared.clock.now(), request: None, action };
            if shared.propose("advance backfill", &command).await.is_none() {
                tokio::time::sleep(RETRY_AFTER).await;
            }
        }
    }
}

/// A backfill that wants its next instants, with what they are computed from.
struct Wanting {
    id: BackfillId,
    cursor: UnixMillis,
    until_at: UnixMillis,
    definition: Arc<Definition>,
    calendars: Calendars,
}

/// Backfills that want their next instants: some of them, so that the lock is short.
fn collect(state: &State, timings: &Timings, faulty: &mut HashSet<BackfillId>) -> Vec<Wanting> {
    let mut wanting = Vec::new();
    for backfill in state.advancing() {
        if wanting.len() == BACKFILLS_PER_ROUND {
            break;
        }
        let Some(schedule) = state.schedule(backfill.schedule).filter(|_| !faulty.contains(&backfill.id))
        else {
            continue;
        };
        let definition = schedule.definition.clone();
        match timings.calendars(state, &schedule.key.namespace, &definition.timing) {
            Ok(calendars) => wanting.push(Wanting {
                id: backfill.id,
                cursor: backfill.cursor,
                until_at: backfill.until_at,
                definition,
                calendars,
            }),
            Err(fault) => give_up(backfill.id, &fault, faulty),
        }
    }
    wanting
}

/// Notes that this build cannot evaluate the timing of a backfill.
fn give_up(id: BackfillId, fault: &TimingFault, faulty: &mut HashSet<BackfillId>) {
    tracing::error!(backfill = id.0, %fault, "this node cannot go on with a backfill");
    faulty.insert(id);
}

/// The next instants of a backfill.
fn step(timings: &Timings, wanting: &Wanting) -> Result<Action, TimingFault> {
    let mut instants = Vec::new();
    let mut after = wanting.cursor;
    while instants.len() < INSTANTS_PER_STEP {
        match timings.next(&wanting.definition.timing, &wanting.calendars, after)? {
            Some(next) if next < wanting.until_at => {
                instants.push(next);
                after = next;
            }
            Some(_) | None => break,
        }
    }
    let last = if instants.len() < INSTANTS_PER_STEP { LastInstants::Yes } else { LastInstants::No };
    Ok(Action::AdvanceBackfill { backfill: wanting.id, instants, last })
}
