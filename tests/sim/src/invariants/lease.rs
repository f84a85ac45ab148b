//! A lease is lost only when its executor was silent for so long: while nothing is broken, none is.

use std::time::Duration;

use belfry_core::RunId;
use belfry_core::run::{Ending, Reason, RunState};

use super::{Invariant, Look, Say};

/// Connections that were cut are found out within this time after all was mended, and leases that were lost with them.
const SETTLES_WITHIN: Duration = Duration::from_secs(12);

/// What was seen.
#[derive(Default)]
pub(super) struct Quiet {
    /// When the newest run of any replica was made: a follower that waits for a snapshot still has what was new before all was mended.
    newest: i64,
}

impl Invariant for Quiet {
    fn look(&mut self, look: &mut Look<'_>, say: &mut Say<'_>) {
        let runs = || look.state.runs_from(RunId::default());
        self.newest = runs().map(|run| run.created_at.0).fold(self.newest, i64::max);
        let Some(healed_for) =
            look.healed_at.map(|at| look.now - at).filter(|healed_for| *healed_for > SETTLES_WITHIN)
        else {
            return;
        };
        let quiet_for = i64::try_from((healed_for - SETTLES_WITHIN).as_millis()).unwrap_or(i64::MAX);
        let since = self.newest - quiet_for;
        for run in runs().filter(|run| run.created_at.0 > since) {
            let lost = match &run.state {
                RunState::Ended { ending, .. } => {
                    matches!(ending, Ending::Unknown(_) | Ending::Failed(Some(Reason::LeaseLost)))
                }
                RunState::Due { retry, .. } => {
                    retry.as_ref().is_some_and(|retry| retry.cause == Reason::LeaseLost)
                }
                RunState::Running(_) => false,
            };
            if lost {
                say("LEASE-1", format!("run {} is {:?}, and nothing was broken", run.id, run.state));
            }
        }
    }
}
