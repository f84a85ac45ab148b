//! CATCH-1: starts that make up for the past stay within the budget.

use std::time::Duration;

use belfry_core::Run;
use belfry_core::run::Trigger;

use super::{Invariant, Look, Say};

/// Starts per second that a cluster of the simulation may make of what is late.
pub const BUDGET: u32 = 4;

/// A row that was made so long after its instant is recovery work.
const RECOVERY_AFTER_MS: i64 = 60_000;

/// In any second the budget may be used up, and come back once; a change of the leader gives it anew.
const STARTS_MAX: usize = 3 * BUDGET as usize;

/// Starts that were looked at.
#[derive(Default)]
pub(super) struct Budget {
    seen: usize,
    recovering: Vec<Duration>,
}

impl Invariant for Budget {
    fn look(&mut self, look: &mut Look<'_>, say: &mut Say<'_>) {
        while let Some(start) = look.starts.get(self.seen) {
            let Some(run) = look.names.find(look.state, &start.run) else { return };
            self.seen += 1;
            if is_recovery(run) && start.attempt == 1 {
                self.recovering.push(start.at);
                let second = Duration::from_secs(1);
                let lately = self.recovering.iter().rev().take_while(|at| **at + second > start.at).count();
                if lately > STARTS_MAX {
                    say("CATCH-1", format!("{lately} recovery runs started within a second, {BUDGET} may"));
                }
            }
        }
    }
}

fn is_recovery(run: &Run) -> bool {
    match run.trigger {
        Trigger::Timer | Trigger::Manual => false,
        Trigger::CatchUp => run.created_at.0 - run.scheduled_at.0 >= RECOVERY_AFTER_MS,
        Trigger::Backfill(_) | Trigger::Resume => true,
    }
}
