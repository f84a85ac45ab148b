//! RUN-3: fencing tokens strictly increase: every lease has a greater one than all before it, and no two starts share one.

use std::collections::BTreeMap;

use belfry_core::RunId;

use super::{Invariant, Look, Say};

/// Tokens that were seen.
#[derive(Default)]
pub(super) struct Tokens {
    newest_index: u64,
    /// The greatest token of all leases at that index, and the token of each run's last lease.
    greatest: u64,
    of_run: BTreeMap<RunId, u64>,
    starts: usize,
    started: BTreeMap<u64, String>,
}

impl Invariant for Tokens {
    fn look(&mut self, look: &mut Look<'_>, say: &mut Say<'_>) {
        for start in &look.starts[self.starts..] {
            let said = format!("attempt {} of {} on {}", start.attempt, start.run, start.executor);
            if let Some(other) = self.started.insert(start.token, said.clone()) {
                say("RUN-3", format!("token {} was given to {other} and to {said}", start.token));
            }
        }
        self.starts = look.starts.len();
        if look.index <= self.newest_index {
            return;
        }
        self.newest_index = look.index;
        let before = self.greatest;
        for run in look.state.runs_from(RunId::default()) {
            let Some(token) = run.state.lease().map(|lease| lease.token.0) else { continue };
            if self.of_run.insert(run.id, token) != Some(token) && token <= before {
                say("RUN-3", format!("run {} got token {token} after {before} was handed out", run.id));
            }
            self.greatest = self.greatest.max(token);
        }
    }
}
