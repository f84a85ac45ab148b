//! SDK-4: what a run came to is kept by its executor and said again until it is acknowledged: an executor that lives on has its word in the
//! ledger, whoever led meanwhile.

use std::collections::BTreeMap;
use std::time::Duration;

use belfry_core::run::{Ending, RunState};
use belfry_core::{RunId, State};
use belfry_server::api::names;

use crate::record::End;

/// How long a word may be on its way when nothing is broken.
const SAID_WITHIN: Duration = Duration::from_secs(2);

/// Runs that ended on an executor that is still there, and whose rows do not say so.
pub(super) fn lost(
    state: &State,
    ends: &BTreeMap<u64, End>,
    lives: &BTreeMap<String, u64>,
    now: Duration,
) -> Vec<String> {
    let mut lost = Vec::new();
    for run in state.runs_from(RunId::default()) {
        let unsaid = match &run.state {
            RunState::Running(lease) => Some(lease),
            RunState::Ended { ending: Ending::Unknown(_), lease, .. } => lease.as_ref(),
            RunState::Ended { .. } | RunState::Due { .. } => None,
        };
        let Some(end) = unsaid.and_then(|lease| ends.get(&lease.token.0)) else { continue };
        if end.at + SAID_WITHIN < now
            && lives.get(&end.life.0) == Some(&end.life.1)
            && let Some(schedule) = state.schedule(run.schedule)
        {
            let name = names::run_name(&schedule.key, run);
            lost.push(format!(
                "{name} ended on {} at {:?}, and its row is {}",
                end.life.0,
                end.at,
                run.state.name()
            ));
        }
    }
    lost
}
