//! `ReportRuns`: what was expected of each schedule in a range of time, and what came of it, read from the ledger.
//!
//! The ledger is read in slices, so that no lock is held for long, and a call ends after a bounded number of steps with a
//! token to go on: a schedule with very many rows is continued on the next page.

mod tally;

use std::sync::Arc;
use std::time::Duration;

use belfry_core::run::Series;
use belfry_core::{Definition, DrawnId, ScheduleId, ScheduleKey, State, UnixMillis, ledger, liveness};
use belfry_proto::v1 as pb;
use prost::Message as _;

use self::tally::{Strictness, Tally};
use super::errors::ApiError;
use super::pages::{self, Place};
use super::runs::Scope;
use super::violations::Violations;
use super::{Api, Freshness, encode, names};
use crate::selector::Selector;
use crate::timings::{CompiledTiming, Timings};

/// Rows and schedules looked at under one lock: some milliseconds.
const STEPS_PER_SLICE: usize = 10_000;
/// Rows and schedules looked at by one call.
const STEPS_PER_CALL: usize = 200_000;
/// Instants without a row that are counted of one schedule, the newest of the range: more than an outage of a week leaves of a
/// minutely one.
const MISSING_MAX: usize = 12_000;
/// The range, where none is asked for.
const RANGE: Duration = Duration::from_secs(24 * 3600);

/// What is asked for.
struct Question {
    scope: Scope,
    selector: Selector,
    from: UnixMillis,
    to: UnixMillis,
    strictness: Strictness,
    now: UnixMillis,
    timings: Timings,
}

/// Where the reading stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Cursor {
    schedule: ScheduleId,
    /// Before this row of it; none: all of its rows.
    before: Option<(UnixMillis, Series)>,
}

/// What is known of a schedule so far.
struct Draft {
    id: ScheduleId,
    key: ScheduleKey,
    uid: DrawnId,
    definition: Arc<Definition>,
    created_at: UnixMillis,
    deleted_at: Option<UnixMillis>,
    paused: bool,
    /// The first instant without a row.
    next_fire_at: Option<UnixMillis>,
    timing: Option<CompiledTiming>,
    ledger_start: Option<UnixMillis>,
    success_missed_at: Option<UnixMillis>,
    tally: Tally,
}

impl Api {
    pub(super) async fn report(
        &self,
        request: pb::ReportRunsRequest,
        freshness: Freshness,
    ) -> Result<pb::ReportRunsResponse, ApiError> {
        let mut found = Violations::default();
        let parent = found.take("parent", names::parse_schedules(&request.parent, self.name_max()));
        let size = pages::size(request.page_size, self.0.limits.page_size_max, &mut found);
        let selector = found.take("selector", Selector::parse(&request.selector)).unwrap_or_default();
        let list = list_name(&request);
        let place = pages::place(&list, &request.page_token, &mut found);
        let now = self.0.clock.now();
        let (range, mut cursor) = match place {
            Some(Place::Report { range, schedule, before }) => (range, Cursor { schedule, before }),
            Some(Place::Schedule(_) | Place::Row(..) | Place::Run(_) | Place::Object(_)) | None => {
                let begin = Cursor { schedule: ScheduleId::default(), before: None };
                (read_range(&request, now, &mut found), begin)
            }
        };
        let (namespace, name) = found.or(parent)?;
        let (from, to) = range;
        let strictness = if request.strict { Strictness::Strict } else { Strictness::Usual };
        let (scope, timings) = (Scope::of(namespace, name), self.0.timings.clone());
        let question = Question { scope, selector, from, to, strictness, now, timings };
        self.barrier(freshness).await?;

        let (mut schedules, mut steps, mut bytes) = (Vec::new(), 0, 0);
        let mut draft = None;
        let mut more = true;
        while more && schedules.len() < size && steps < STEPS_PER_CALL && bytes < pages::PAGE_BYTES_MAX {
            let room = size - schedules.len();
            let slice = self.0.replica.read(|state| read(state, &question, cursor, draft.take(), room));
            if slice.scope_is_missing && cursor.schedule == ScheduleId::default() {
                return Err(ApiError::ScheduleNotFound { name: request.parent });
            }
            steps += slice.steps;
            for done in slice.done {
                let report = encoded(done, &question);
                if report.discrepancy_count > 0 || !request.only_discrepancies {
                    bytes += report.encoded_len();
                    schedules.push(report);
                }
            }
            more = slice.next.is_some();
            cursor = slice.next.unwrap_or(cursor);
            draft = slice.unfinished;
        }
        if let Some(unfinished) = draft {
            let report = encoded(unfinished, &question);
            if report.discrepancy_count > 0 || !request.only_discrepancies {
                schedules.push(report);
            }
        }
        let Cursor { schedule, before } = cursor;
        let token = || pages::token(&list, &Place::Report { range, schedule, before });
        Ok(pb::ReportRunsResponse {
            schedules,
            next_page_token: if more { token() } else { String::new() },
            from_time: Some(encode::timestamp(from)),
            to_time: Some(encode::timestamp(to)),
        })
    }
}

/// Binds a token to everything that was asked for but the page.
fn list_name(request: &pb::ReportRunsRequest) -> String {
    let pb::ReportRunsRequest { parent, selector, from_time, to_time, only_discrepancies, strict, .. } =
        request;
    format!("ReportRuns {parent} {selector} {from_time:?} {to_time:?} {only_discrepancies} {strict}")
}

/// Half-open; nothing of the future, which is not expected yet.
fn read_range(
    request: &pb::ReportRunsRequest,
    now: UnixMillis,
    found: &mut Violations,
) -> (UnixMillis, UnixMillis) {
    let to = request.to_time.as_ref().map_or(now, instant);
    let from = request.from_time.as_ref().map_or_else(|| to.minus(RANGE), instant);
    if from >= to {
        found.add("from_time", "must lie before to_time");
    }
    // The instant of this millisecond is expected.
    (from, to.min(UnixMillis(now.0.saturating_add(1))))
}

pub(super) fn instant(time: &prost_types::Timestamp) -> UnixMillis {
    UnixMillis(time.seconds.saturating_mul(1000).saturating_add(i64::from(time.nanos / 1_000_000)))
}

/// What one look at the ledger gave.
struct Slice {
    done: Vec<Draft>,
    unfinished: Option<Draft>,
    /// Where to look on; none: that was all.
    next: Option<Cursor>,
    steps: usize,
    scope_is_missing: bool,
}

/// Reads on from `cursor`, in the middle of `draft` if there is one.
fn read(state: &State, question: &Question, cursor: Cursor, draft: Option<Draft>, room: usize) -> Slice {
    let Some(ids) = ids(state, &question.scope, cursor.schedule) else {
        return Slice { done: Vec::new(), unfinished: None, next: None, steps: 0, scope_is_missing: true };
    };
    let mut slice =
        Slice { done: Vec::new(), unfinished: None, next: None, steps: 0, scope_is_missing: false };
    let (mut before, mut draft) = (cursor.before, draft);
    for id in ids {
        let here = if id == cursor.schedule { before.take() } else { None };
        if slice.done.len() == room || slice.steps >= STEPS_PER_SLICE {
            slice.next = Some(Cursor { schedule: id, before: here });
            return slice;
        }
        slice.steps += 1;
        let carried = draft.take().filter(|draft| draft.id == id);
        let Some(mut current) = carried.or_else(|| begin(state, question, id, here.is_none())) else {
            continue;
        };
        let schedule = state.schedule(id).expect("a draft is made of a schedule that is there");
        let end = here.unwrap_or((question.to, Series::Timing));
        for run in state.rows_before(id, end).take_while(|run| run.nominal_at >= question.from) {
            current.tally.row(state, schedule, run);
            slice.steps += 1;
            if slice.steps >= STEPS_PER_SLICE {
                slice.next = Some(Cursor { schedule: id, before: Some((run.nominal_at, run.series())) });
                slice.unfinished = Some(current);
                return slice;
            }
        }
        slice.done.push(current);
    }
    slice
}

/// The schedules of a scope from `from` on; none if it names one that never was.
fn ids<'a>(
    state: &'a State,
    scope: &Scope,
    from: ScheduleId,
) -> Option<Box<dyn Iterator<Item = ScheduleId> + 'a>> {
    match scope {
        Scope::Schedule(key) => {
            let named = state.schedule_named(key).into_iter().chain(state.deleted_named(key));
            let mut ids: Vec<_> = named.map(|schedule| schedule.id).collect();
            ids.sort();
            let is_missing = ids.is_empty();
            (!is_missing).then(|| Box::new(ids.into_iter().filter(move |id| *id >= from)) as _)
        }
        Scope::Namespace(_) | Scope::Everything => Some(Box::new(state.schedule_ids_from(from))),
    }
}

/// The draft of a schedule that the question is about.
fn begin(state: &State, question: &Question, id: ScheduleId, whole: bool) -> Option<Draft> {
    let schedule = state.schedule(id)?;
    let inside = match &question.scope {
        Scope::Namespace(namespace) => *schedule.key.namespace == **namespace,
        Scope::Schedule(_) | Scope::Everything => true,
    };
    let there = schedule.created_at < question.to
        && schedule.remains().deleted_at.is_none_or(|at| at >= question.from);
    if !inside || !there || !question.selector.fits(&schedule.definition.labels) {
        return None;
    }
    let mut tally = Tally::new(schedule, question.strictness, question.now);
    let ledger_start = ledger::starts_at(state, id).filter(|start| *start > question.from);
    if whole && ledger_start.is_some() {
        tally.dropped();
    }
    // Counted on the first page of the schedule only, and wanted by few.
    let next_fire_at = schedule.next_fire_at.filter(|next| whole && *next <= question.now);
    let timing = next_fire_at.and_then(|_| encode::compiled(state, &question.timings, schedule));
    Some(Draft {
        id,
        key: schedule.key.clone(),
        uid: schedule.uid.clone(),
        definition: schedule.definition.clone(),
        created_at: schedule.created_at,
        deleted_at: schedule.remains().deleted_at,
        paused: schedule.pause.is_some(),
        next_fire_at,
        timing,
        ledger_start,
        success_missed_at: liveness::judge(state, id, question.now).success_missed_at,
        tally,
    })
}

/// Counts what has no row yet, outside the lock, and puts it into the words of the contract.
fn encoded(mut draft: Draft, question: &Question) -> pb::ScheduleReport {
    if let Some(first) = draft.next_fire_at {
        let until = question.now.min(UnixMillis(question.to.0.saturating_sub(1)));
        let instants = without_rows(first, draft.timing.take().as_ref(), question.from, until);
        let told = std::mem::take(&mut draft.tally.told);
        instants.into_iter().for_each(|at| draft.tally.missing(at));
        draft.tally.told.extend(told);
        draft.tally.told.truncate(tally::TOLD_MAX);
    }
    let tally = draft.tally;
    let counts = |states: std::collections::BTreeMap<pb::run::State, u64>| {
        let count = |(state, count): (pb::run::State, u64)| pb::schedule_report::StateCount {
            state: state.into(),
            count,
        };
        states.into_iter().map(count).collect()
    };
    pb::ScheduleReport {
        schedule: names::schedule_name(&draft.key),
        schedule_uid: draft.uid.to_string(),
        labels: draft.definition.labels.clone(),
        expected_count: tally.expected,
        states: counts(tally.states),
        missing_count: tally.missing,
        beside: counts(tally.beside),
        late_count: tally.late,
        lateness_max: Some(encode::duration(tally.lateness_max)),
        open_count: tally.open,
        discrepancy_count: tally.discrepancies,
        discrepancies: tally.told,
        created_inside_time: (draft.created_at > question.from).then(|| encode::timestamp(draft.created_at)),
        ledger_start_time: draft.ledger_start.map(encode::timestamp),
        delete_time: draft.deleted_at.map(encode::timestamp),
        paused: draft.paused,
        success_missed_time: draft.success_missed_at.map(encode::timestamp),
    }
}

/// The instants from `first` on that lie in `[from, until]`, the newest first, as rows: however long a schedule has been behind,
/// what was asked for is looked at. A timing that this build cannot read has at least the instant that is known.
fn without_rows(
    first: UnixMillis,
    timing: Option<&CompiledTiming>,
    from: UnixMillis,
    until: UnixMillis,
) -> Vec<UnixMillis> {
    let is_inside = |at: &UnixMillis| *at >= from && *at <= until;
    let after = first.max(from.minus(Duration::from_millis(1)));
    let later = timing.into_iter().flat_map(|timing| timing.between_rev(after.0, until.0)).map(UnixMillis);
    later.chain([first].into_iter().filter(is_inside)).take(MISSING_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1000;

    fn seconds(first: i64, from: i64, until: i64) -> Vec<i64> {
        let timing = CompiledTiming::every(Duration::from_secs(1), Duration::ZERO).unwrap();
        let at = |seconds: i64| UnixMillis(seconds * SECOND);
        let found = without_rows(at(first), Some(&timing), at(from), at(until));
        found.into_iter().map(|at| at.0 / SECOND).collect()
    }

    #[test]
    fn what_has_no_row_is_counted_from_the_newest() {
        assert_eq!(seconds(5, 0, 8), [8, 7, 6, 5]);
        assert_eq!(seconds(5, 7, 8), [8, 7]);
        assert_eq!(seconds(9, 0, 8), [0; 0]);
        // Behind for longer than is counted: what was asked for is not hidden by what came before it.
        assert_eq!(seconds(5, 1_000_000, 1_000_002), [1_000_002, 1_000_001, 1_000_000]);
        let capped = seconds(5, 0, 1_000_000);
        assert_eq!((capped.len(), capped[0]), (MISSING_MAX, 1_000_000));
    }

    #[test]
    fn a_timing_that_cannot_be_read_has_the_instant_that_is_known() {
        let at = |from| without_rows(UnixMillis(5), None, UnixMillis(from), UnixMillis(9));
        assert_eq!(at(0), [UnixMillis(5)]);
        assert_eq!(at(6), []);
    }
}
