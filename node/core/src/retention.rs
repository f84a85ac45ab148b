//! What the ledger keeps, and for how long. Dropping rows never feeds a scheduling decision.

use std::time::Duration;

use crate::command::Prune;
use crate::definition::History;
use crate::ids::{RunId, ScheduleId, UnixMillis};
use crate::run::Run;
use crate::schedule::LastRun;
use crate::state::{State, Subject};

/// How much is kept, where a schedule's own `history` does not say otherwise. Whichever limit is hit first lets the oldest go; the last success and the last failure of a schedule
/// stay, and so does everything that has not ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Retention {
    /// Age of ended rows.
    pub rows_for: Duration,
    /// Ended rows per schedule.
    pub rows_per_schedule_max: u64,
    /// Rows in all.
    pub rows_max: usize,
    /// Bytes of reports (messages and output) in all.
    pub reports_bytes_max: u64,
    /// Age of answers to request ids.
    pub answers_for: Duration,
}

/// Schedules looked at by one selection, so that no lock is held for long.
const SCHEDULES_PER_PASS: usize = 4096;

/// Rows looked at by one selection, likewise.
const ROWS_PER_PASS: usize = 16_384;

/// Records let go by one command.
const PRUNED_PER_COMMAND: usize = 4096;

/// Where a selection looks on. Rows that stay (the last words of quiet schedules, say) must not hide those behind them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Cursor {
    run: RunId,
    schedule: ScheduleId,
}

impl Cursor {
    /// Whether the next pass begins a new round.
    pub fn is_at_start(&self) -> bool {
        *self == Self::default()
    }
}

/// What to let go now, and where to look on at the next pass.
///
/// Looks at a bounded number of rows and schedules from `cursor` on; the caller goes round.
pub fn select(state: &State, keep: &Retention, now: UnixMillis, cursor: Cursor) -> (Prune, Cursor) {
    let mut prune = Prune::default();
    let mut next = Cursor { run: select_rows(state, keep, now, cursor.run, &mut prune), ..Cursor::default() };

    for (seen, id) in state.schedule_ids_from(cursor.schedule).enumerate() {
        if seen == SCHEDULES_PER_PASS || prune.runs.len() >= PRUNED_PER_COMMAND {
            next.schedule = id;
            break;
        }
        let history =
            state.schedule(id).map_or_else(History::default, |schedule| schedule.definition.history);
        let count_max = history.keep_count.map_or(keep.rows_per_schedule_max, u64::from);
        let surplus = usize::try_from(state.row_count(id).saturating_sub(count_max)).unwrap_or(usize::MAX);
        let old = history.keep_for.map(|keep_for| now.minus(keep_for));
        let room = PRUNED_PER_COMMAND - prune.runs.len().min(PRUNED_PER_COMMAND);
        let rows = state.rows(id).take(ROWS_PER_PASS).enumerate();
        let rows =
            rows.take_while(|(place, run)| *place < surplus || old.is_some_and(|old| run.created_at < old));
        prune.runs.extend(rows.filter(|(_, run)| may_go(state, run)).map(|(_, run)| run.id).take(room));
    }

    // A row may be too old for the cluster and for its schedule.
    prune.runs.sort_unstable();
    prune.runs.dedup();

    let (reports, mut weight) = state.reports();
    for (id, report) in reports.take(PRUNED_PER_COMMAND) {
        if weight <= keep.reports_bytes_max {
            break;
        }
        weight -= report.weight_bytes();
        prune.reports.push(id);
    }

    let unanswered = now.minus(keep.answers_for);
    prune.answers = state
        .answers()
        .take(PRUNED_PER_COMMAND)
        .take_while(|(_, answer)| answer.answered_at < unanswered)
        .map(|(sequence, _)| sequence)
        .collect();
    (prune, next)
}

/// Selects rows that are old, and as many more as are too many in all; gives the row to look on from.
fn select_rows(state: &State, keep: &Retention, now: UnixMillis, from: RunId, prune: &mut Prune) -> RunId {
    let old = now.minus(keep.rows_for);
    let surplus = state.run_count().saturating_sub(keep.rows_max);
    for (seen, run) in state.runs_from(from).enumerate() {
        if prune.runs.len() >= surplus && run.created_at >= old {
            break;
        }
        if seen == ROWS_PER_PASS || prune.runs.len() >= PRUNED_PER_COMMAND {
            return run.id;
        }
        // A schedule that wants its rows for longer keeps them, as long as there is room for all.
        let wanted = state.schedule(run.schedule).and_then(|schedule| schedule.definition.history.keep_for);
        let is_old = wanted.is_none_or(|keep_for| run.created_at < now.minus(keep_for));
        if (is_old || prune.runs.len() < surplus) && may_go(state, run) {
            prune.runs.push(run.id);
        }
    }
    RunId::default()
}

/// Ended, not the last word on how its schedule is doing, and not an answer that may be asked for again.
fn may_go(state: &State, run: &Run) -> bool {
    let last = state.schedule(run.schedule).is_some_and(|schedule| {
        let counters = &schedule.counters;
        let is_this = |last: LastRun| last.get().is_some_and(|(id, _)| id == run.id);
        schedule.remains().deleted_at.is_none()
            && (is_this(counters.last_success) || is_this(counters.last_failure))
    });
    run.state.ended_at().is_some() && !last && !state.is_answer(Subject::Run(run.id))
}
