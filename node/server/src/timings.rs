//! Evaluating timings: the one place of the server that knows cron and time zones.
//!
//! Compiled timings are shared: ten thousand schedules of `* * * * *` are one compiled timing.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use belfry_core::definition::{Rule, Timing};
use belfry_core::{ScheduleKey, UnixMillis};
use belfry_timing::{HashSeed, NeverFiring, TimeZone};
use thiserror::Error;

/// Different timings kept compiled; beyond that all are forgotten and compiled again when wanted.
const COMPILED_MAX: usize = 65_536;

/// A timing that can be asked for its instants. Cheap to clone.
pub type CompiledTiming = belfry_timing::Timing;

/// This build cannot evaluate a timing that another build accepted.
#[derive(Debug, Error)]
#[error("cannot evaluate the timing: {0}")]
pub struct TimingFault(String);

/// Compiled timings, shared by the parts of a node.
#[derive(Clone, Default, Debug)]
pub struct Timings {
    compiled: Arc<Mutex<HashMap<Timing, CompiledTiming>>>,
}

impl Timings {
    /// The compiled form of a timing that was validated at the edge.
    pub fn compile(&self, timing: &Timing) -> Result<CompiledTiming, TimingFault> {
        let mut compiled = self.compiled.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = compiled.get(timing) {
            return Ok(known.clone());
        }
        let fresh = compile(timing)?;
        if compiled.len() >= COMPILED_MAX {
            compiled.clear();
        }
        compiled.insert(timing.clone(), fresh.clone());
        Ok(fresh)
    }

    /// The first instant of a timing strictly after `after`.
    pub fn next(&self, timing: &Timing, after: UnixMillis) -> Result<Option<UnixMillis>, TimingFault> {
        Ok(self.compile(timing)?.next(after.0).map(UnixMillis))
    }
}

/// Compiles what a user wrote, resolving every `H` by the schedule's name.
///
/// # Errors
/// Says what is wrong, with the column.
pub fn parse_cron(
    key: &ScheduleKey,
    expression: &str,
    time_zone: &TimeZone,
    never: NeverFiring,
) -> Result<CompiledTiming, belfry_timing::CronError> {
    let seed = HashSeed::new(&key.namespace, &key.name);
    CompiledTiming::parse_cron(expression, time_zone, never, &seed)
}

fn compile(timing: &Timing) -> Result<CompiledTiming, TimingFault> {
    let fault = |why: &dyn std::fmt::Display| TimingFault(why.to_string());
    let [rule] = timing.include.as_slice() else {
        return Err(fault(&"it has not exactly one rule: written by a newer release?"));
    };
    match rule {
        Rule::Cron { resolved, .. } => {
            let zone = TimeZone::parse(&timing.time_zone).map_err(|e| fault(&e))?;
            // `H` is resolved already, and never-firing was decided at the edge.
            let seed = HashSeed::new("", "");
            CompiledTiming::parse_cron(resolved, &zone, NeverFiring::Allow, &seed).map_err(|e| fault(&e))
        }
        Rule::Interval { every, phase } => CompiledTiming::every(*every, *phase).map_err(|e| fault(&e)),
        Rule::At(at) => Ok(CompiledTiming::at(at.0)),
        Rule::AtLocal(_) | Rule::Calendar(_) | Rule::FixedDelay(_) => {
            Err(fault(&"it has a rule of a newer release"))
        }
    }
}
