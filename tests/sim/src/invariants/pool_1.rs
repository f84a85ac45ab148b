//! POOL-1: no run begins beyond the slots of its pool, whoever leads: after the last begin no more ran than the limit of then.

use belfry_core::RunId;
use belfry_core::run::RunState;

use super::{Invariant, Look, Say};

/// The pool that all schedules are in.
const POOL: &str = "default";

/// What was seen last.
#[derive(Default)]
pub(super) struct Slots {
    newest_index: u64,
    greatest: u64,
    limit: Option<u32>,
}

impl Invariant for Slots {
    fn look(&mut self, look: &mut Look<'_>, say: &mut Say<'_>) {
        if look.index <= self.newest_index {
            return;
        }
        self.newest_index = look.index;
        let limit = look.state.pool(POOL).and_then(|pool| pool.slots);
        let (mut running, mut greatest) = (0_u32, self.greatest);
        for run in look.state.runs_from(RunId::default()) {
            if let RunState::Running(lease) = &run.state {
                running += 1;
                greatest = greatest.max(lease.token.0);
            }
        }
        let has_begun = std::mem::replace(&mut self.greatest, greatest) < greatest;
        // It was changed at most once since the last look; which of the two was in force is not known.
        let former = std::mem::replace(&mut self.limit, limit);
        if let (true, Some(former), Some(limit)) = (has_begun, former, limit)
            && running > former.max(limit)
        {
            say("POOL-1", format!("{running} runs hold slots of {POOL}, which has {limit} and had {former}"));
        }
    }
}
