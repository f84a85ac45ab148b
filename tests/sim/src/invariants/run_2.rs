//! RUN-2: user code of an attempt starts once; further attempts there are only by an explicit policy.

use std::collections::BTreeMap;

use super::{Invariant, Look, Say};

/// Starts, by run and attempt.
#[derive(Default)]
pub(super) struct Starts {
    seen: usize,
    once: BTreeMap<(String, u32), String>,
}

impl Invariant for Starts {
    fn look(&mut self, look: &mut Look<'_>, say: &mut Say<'_>) {
        for start in &look.starts[self.seen..] {
            let executor = format!("{} at {:?} with token {}", start.executor, start.at, start.token);
            if let Some(other) = self.once.insert((start.run.clone(), start.attempt), executor.clone()) {
                say(
                    "RUN-2",
                    format!("attempt {} of {} started twice: {other}, {executor}", start.attempt, start.run),
                );
            }
        }
        self.seen = look.starts.len();
        for start in look.starts.iter().filter(|start| start.attempt > 1) {
            let Some(run) = look.names.find(look.state, &start.run) else { continue };
            let Some(schedule) = look.state.schedule(run.schedule) else { continue };
            // The definition of a row that has ended may be gone; then the current one is no measure.
            let Some(definition) = schedule
                .remains()
                .retired
                .get(&run.generation)
                .or_else(|| (schedule.generation == run.generation).then_some(&schedule.definition))
            else {
                continue;
            };
            if definition.policies.retry.max_attempts < start.attempt {
                say(
                    "RUN-2",
                    format!("attempt {} of {} has no policy that allows it", start.attempt, start.run),
                );
            }
        }
    }
}
