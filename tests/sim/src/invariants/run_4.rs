//! RUN-4: rows move along the legal transitions only; what has ended stays as it is, except UNKNOWN.

use std::collections::BTreeMap;

use belfry_core::RunId;
use belfry_core::run::{Ending, Run, RunState};

use super::{Invariant, Look, Say};

/// Rows as they were last seen.
#[derive(Default)]
pub(super) struct Moves {
    newest_index: u64,
    rows: BTreeMap<RunId, Run>,
}

impl Invariant for Moves {
    fn look(&mut self, look: &mut Look<'_>, say: &mut Say<'_>) {
        if look.index <= self.newest_index {
            return;
        }
        self.newest_index = look.index;
        for run in look.state.runs_from(RunId::default()) {
            if let Some(before) = self.rows.insert(run.id, run.clone())
                && !may_become(&before, run)
            {
                say("RUN-4", format!("run {} was {:?} and is {:?}", run.id, before.state, run.state));
            }
        }
        let gone = self
            .rows
            .iter()
            .find(|(id, run)| look.state.run(**id).is_none() && !matches!(run.state, RunState::Ended { .. }));
        if let Some((id, run)) = gone {
            say("RUN-4", format!("run {id} was {:?} and is gone", run.state));
        }
    }
}

/// Whether some steps lead from one to the other.
fn may_become(before: &Run, after: &Run) -> bool {
    let same = before.schedule == after.schedule
        && before.nominal_at == after.nominal_at
        && before.generation == after.generation
        && before.trigger == after.trigger
        && before.created_at == after.created_at;
    let counted = before.attempt <= after.attempt || handed_back(before, after);
    let moved = match (&before.state, &after.state) {
        (RunState::Ended { ending: Ending::Unknown(_), .. }, RunState::Ended { ending, lease, .. }) => {
            let settled = matches!(
                ending,
                Ending::Unknown(_)
                    | Ending::Succeeded
                    | Ending::Failed(_)
                    | Ending::TimedOut
                    | Ending::Cancelled(_)
                    // Handed back late, which proves that nothing ran; or somebody says so.
                    | Ending::Skipped(_)
            );
            settled
                && lease.as_ref().map(|lease| lease.token) == before.state.lease().map(|lease| lease.token)
        }
        // Handed back, or retried: a late word of an executor says that it never began.
        (RunState::Ended { ending: Ending::Unknown(_), .. }, RunState::Due { .. } | RunState::Running(_)) => {
            true
        }
        (RunState::Ended { .. }, _) => before.state == after.state,
        (RunState::Due { .. } | RunState::Running(_), RunState::Due { .. } | RunState::Running(_)) => true,
        (RunState::Due { .. } | RunState::Running(_), RunState::Ended { .. }) => true,
    };
    same && counted && moved
}

/// A lease that was given back before user code began does not count as an attempt.
fn handed_back(before: &Run, after: &Run) -> bool {
    before.attempt.0 == after.attempt.0 + 1
}
