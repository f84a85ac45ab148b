//! LEDGER-2: pausing, editing, a change of the leader, a restore or a jump of the clock create no start: every start has its row, and the
//! row says that it was begun.

use belfry_core::run::{Ending, Reason, RunState};

use super::{Invariant, Look, Say};

/// Nothing to remember.
#[derive(Default)]
pub(super) struct Begun;

impl Invariant for Begun {
    fn look(&mut self, look: &mut Look<'_>, say: &mut Say<'_>) {
        // A replica that is behind does not know the newest leases yet.
        for start in look.starts.iter().filter(|start| start.index <= look.index) {
            let Some(run) = look.names.find(look.state, &start.run) else {
                say("LEDGER-2", format!("{} started on {} and has no row", start.run, start.executor));
                continue;
            };
            let lease = run.state.lease();
            let never = matches!(
                &run.state,
                RunState::Ended {
                    ending: Ending::Skipped(_) | Ending::Merged { .. } | Ending::Expired,
                    lease: None,
                    ..
                }
            );
            // Handed back with this token, or refused by policy before any began.
            let gave_back = matches!(
                &run.state,
                RunState::Ended { ending: Ending::Skipped(reason), lease: Some(lease), .. }
                    if *reason != Reason::Resolved && lease.token.0 == start.token
            );
            if never || gave_back || run.attempt.0 < start.attempt {
                let state = run.state.name();
                say(
                    "LEDGER-2",
                    format!("{} started on {}, and its row is {state}", start.run, start.executor),
                );
            }
            if let Some(lease) = lease
                && run.attempt.0 == start.attempt
                && lease.token.0 != start.token
            {
                let (row, token) = (lease.token, start.token);
                say("LEDGER-2", format!("{} started with token {token}, its row has {row}", start.run));
            }
        }
    }
}
