//! What the ledger can vouch for.

use crate::ids::{ScheduleId, UnixMillis};
use crate::run::{Run, Series};
use crate::state::{State, Subject};

/// Rows looked at for one answer. Before the oldest ordinary row stand a handful: the last success, the last failure, what
/// has not ended, and answers that may be asked for again.
const LOOKED_AT_MAX: usize = 4096;

/// From which instant on every row of a schedule's timing is there, if retention has dropped any.
///
/// How many were dropped follows from the counters, which count every row that has ended. Retention takes the oldest and
/// leaves some out; so the oldest row that it had no reason to leave out is where the rest begins. (A row that is the last
/// success no longer is such a row until retention comes round.)
pub fn starts_at(state: &State, id: ScheduleId) -> Option<UnixMillis> {
    let schedule = state.schedule(id)?;
    let counters = &schedule.counters;
    let ended = counters.ended();
    let (due, running) = state.active_counts(id);
    let kept = state.row_count(id).saturating_sub((due + running) as u64);
    if ended <= kept {
        return None;
    }
    let last = [counters.last_success.get(), counters.last_failure.get()];
    let is_ordinary = |run: &&Run| {
        run.series() == Series::Timing
            && run.state.ended_at().is_some()
            && !last.iter().flatten().any(|(id, _)| *id == run.id)
            && !state.is_answer(Subject::Run(run.id))
    };
    let oldest = state.rows(id).take(LOOKED_AT_MAX).find(is_ordinary).map(|run| run.nominal_at);
    Some(oldest.unwrap_or(UnixMillis(schedule.watermark.0.saturating_add(1))))
}
