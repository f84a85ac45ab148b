//! RUN-1: one row for each instant of a schedule, and it stays the same one.

use std::collections::BTreeMap;

use belfry_core::run::Series;
use belfry_core::{DrawnId, RunId, UnixMillis};

use super::{Invariant, Look, Say, since_epoch};

/// Rows by what they stand for.
#[derive(Default)]
pub(super) struct Rows(BTreeMap<(DrawnId, UnixMillis, Series), RunId>);

impl Invariant for Rows {
    fn look(&mut self, look: &mut Look<'_>, say: &mut Say<'_>) {
        let mut here = BTreeMap::new();
        for run in look.state.runs_from(RunId::default()) {
            let Some(schedule) = look.state.schedule(run.schedule) else { continue };
            let key = (schedule.uid.clone(), run.nominal_at, run.series());
            if let Some(other) = here.insert(key.clone(), run.id) {
                say(
                    "RUN-1",
                    format!("runs {other} and {} are both {} {}", run.id, key.0, since_epoch(key.1)),
                );
            }
            let known = *self.0.entry(key.clone()).or_insert(run.id);
            if known != run.id {
                say(
                    "RUN-1",
                    format!("run {} was run {known} before: {} {}", run.id, key.0, since_epoch(key.1)),
                );
            }
        }
    }
}
