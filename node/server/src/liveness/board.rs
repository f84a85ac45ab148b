//! What is wrong with which schedules, as of the last round.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use belfry_core::liveness::{Judgement, judge};
use belfry_core::{DrawnId, ScheduleId, ScheduleKey, State, UnixMillis};
use serde_json::{Value, json};

use crate::api::names;

/// Schedules judged under one lock.
const SLICE_MAX: usize = 2048;

/// Schedules listed by `GET /liveness`; how many there are is said in any case.
const LISTED_MAX: usize = 1000;

/// Recoveries remembered, as many as may wait to be told.
const RECOVERED_MAX: usize = 4096;

/// Namespaces with a metric of their own; the others are added up.
const NAMESPACES_MAX: usize = 100;

/// Where the namespaces beyond that are added up. No namespace begins with a dot.
const OTHER_NAMESPACES: &str = ".other";

/// How many schedules of each namespace are overdue, and miss a success.
pub type Namespaces = BTreeMap<String, (u64, u64)>;

/// A schedule that is not well.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Condition {
    pub(super) key: ScheduleKey,
    pub(super) uid: DrawnId,
    pub(super) judgement: Judgement,
    /// The name of the run that is overdue.
    pub(super) run: String,
}

/// Something about a schedule changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Transition {
    pub(super) kind: TransitionKind,
    pub(super) condition: Condition,
    /// Since when, by the ledger: the same on every node.
    pub(super) since: UnixMillis,
    pub(super) at: UnixMillis,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TransitionKind {
    Overdue,
    SuccessMissed,
    /// From either, and now well.
    Recovered,
}

/// A part of a round.
pub(super) struct Slice {
    from: ScheduleId,
    pub(super) next: Option<ScheduleId>,
    unwell: BTreeMap<ScheduleId, Condition>,
}

/// Judges a bounded number of schedules (LIVE-1).
pub(super) fn judge_slice(state: &State, from: ScheduleId, now: UnixMillis) -> Slice {
    let mut slice = Slice { from, next: None, unwell: BTreeMap::new() };
    for (seen, id) in state.schedule_ids_from(from).enumerate() {
        if seen == SLICE_MAX {
            slice.next = Some(id);
            break;
        }
        let judgement = judge(state, id, now);
        let Some(schedule) = state.schedule(id).filter(|_| !judgement.is_well()) else { continue };
        let run = judgement.overdue.and_then(|overdue| state.run(overdue.run?));
        let run = run.map_or_else(String::new, |run| names::run_name(&schedule.key, run));
        let (key, uid) = (schedule.key.clone(), schedule.uid.clone());
        slice.unwell.insert(id, Condition { key, uid, judgement, run });
    }
    slice
}

/// What is known. Clones are one.
#[derive(Clone, Debug, Default)]
pub struct Board(Arc<Mutex<Known>>);

#[derive(Debug, Default)]
struct Known {
    unwell: BTreeMap<ScheduleId, Condition>,
    /// What recovered lately, oldest first.
    recovered: VecDeque<Transition>,
    /// When the last whole round ended.
    judged_at: Option<UnixMillis>,
}

impl Known {
    fn remember(&mut self, recovered: Transition) {
        if self.recovered.len() == RECOVERED_MAX {
            self.recovered.pop_front();
        }
        self.recovered.push_back(recovered);
    }
}

impl Board {
    /// Takes a slice in, and says what changed.
    pub(super) fn take(&self, slice: &Slice, now: UnixMillis) -> Vec<Transition> {
        let mut known = self.known();
        let mut transitions = Vec::new();
        let of_slice = known.unwell.range(slice.from..).map(|(id, _)| *id);
        let of_slice = of_slice.take_while(|id| slice.next.is_none_or(|next| *id < next));
        let well: Vec<_> = of_slice.filter(|id| !slice.unwell.contains_key(id)).collect();
        for (id, condition) in &slice.unwell {
            let before = known.unwell.insert(*id, condition.clone()).map(|before| before.judgement);
            transitions.extend(raised(condition, before.unwrap_or_default(), now));
        }
        for condition in well.iter().filter_map(|id| known.unwell.remove(id)).collect::<Vec<_>>() {
            let since = since(&condition.judgement).unwrap_or(now);
            let recovered = Transition { kind: TransitionKind::Recovered, condition, since, at: now };
            known.remember(recovered.clone());
            transitions.push(recovered);
        }
        transitions
    }

    pub(super) fn round_ended(&self, now: UnixMillis) {
        self.known().judged_at = Some(now);
    }

    /// What recovered lately, and everything that is wrong as if it had just been found: for a leader that begins. The
    /// former one may not have come to either.
    pub(super) fn all(&self, now: UnixMillis) -> Vec<Transition> {
        let known = self.known();
        let wrong = known.unwell.values();
        let wrong = wrong.flat_map(|condition| raised(condition, Judgement::default(), now));
        known.recovered.iter().cloned().chain(wrong).collect()
    }

    /// Counts by namespace, for metrics: of a bounded number of namespaces, the rest under `.other`.
    pub fn namespaces(&self) -> Namespaces {
        let known = self.known();
        let mut all = Namespaces::new();
        for condition in known.unwell.values() {
            let namespace = condition.key.namespace.as_ref();
            let full = all.len() >= NAMESPACES_MAX && !all.contains_key(namespace);
            let counts = all.entry(if full { OTHER_NAMESPACES } else { namespace }.to_owned()).or_default();
            counts.0 += u64::from(condition.judgement.overdue.is_some());
            counts.1 += u64::from(condition.judgement.success_missed_at.is_some());
        }
        all
    }

    /// What `GET /liveness` answers.
    pub fn document(&self) -> Value {
        let known = self.known();
        let time = |at: UnixMillis| belfry_timing::format_time(at.0);
        let overdue = known.unwell.values().filter_map(|condition| {
            let overdue = condition.judgement.overdue?;
            let mut item =
                json!({ "schedule": names::schedule_name(&condition.key), "since": time(overdue.at) });
            if !condition.run.is_empty() {
                item["run"] = condition.run.as_str().into();
            }
            Some(item)
        });
        let missed = known.unwell.values().filter_map(|condition| {
            let at = condition.judgement.success_missed_at?;
            Some(json!({ "schedule": names::schedule_name(&condition.key), "since": time(at) }))
        });
        let (overdue, missed): (Vec<_>, Vec<_>) = (overdue.collect(), missed.collect());
        json!({
            "judged_time": known.judged_at.map(time),
            "overdue_count": overdue.len(),
            "success_missed_count": missed.len(),
            "overdue": overdue.into_iter().take(LISTED_MAX).collect::<Vec<_>>(),
            "success_missed": missed.into_iter().take(LISTED_MAX).collect::<Vec<_>>(),
        })
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn since(judgement: &Judgement) -> Option<UnixMillis> {
    judgement.overdue.map(|overdue| overdue.at).into_iter().chain(judgement.success_missed_at).min()
}

/// What is wrong now and was not before.
fn raised(condition: &Condition, before: Judgement, now: UnixMillis) -> Vec<Transition> {
    let found = |kind, since| Transition { kind, condition: condition.clone(), since, at: now };
    let overdue = condition.judgement.overdue.filter(|_| before.overdue.is_none());
    let missed = condition.judgement.success_missed_at.filter(|_| before.success_missed_at.is_none());
    let overdue = overdue.map(|overdue| found(TransitionKind::Overdue, overdue.at));
    overdue.into_iter().chain(missed.map(|at| found(TransitionKind::SuccessMissed, at))).collect()
}

#[cfg(test)]
mod tests {
    use belfry_core::liveness::Overdue;

    use super::*;

    fn slice(from: u64, next: Option<u64>, unwell: &[(u64, Judgement)]) -> Slice {
        let condition = |(id, judgement): &(u64, Judgement)| {
            let key = ScheduleKey::new(format!("n{}", id % 200), format!("s{id}"));
            (ScheduleId(*id), Condition { key, uid: "u".into(), judgement: *judgement, run: String::new() })
        };
        let (from, next) = (ScheduleId(from), next.map(ScheduleId));
        Slice { from, next, unwell: unwell.iter().map(condition).collect() }
    }

    fn overdue(at: i64) -> Judgement {
        Judgement { overdue: Some(Overdue { at: UnixMillis(at), run: None }), success_missed_at: None }
    }

    #[test]
    fn a_board_says_what_changed_in_its_slice_and_leaves_the_rest() {
        use TransitionKind::{Overdue, Recovered, SuccessMissed};
        let board = Board::default();
        let take = |slice: Slice| {
            let changed = board.take(&slice, UnixMillis(9));
            changed.into_iter().map(|one| (one.kind, one.condition.key.name.to_string())).collect::<Vec<_>>()
        };
        let name = |number: u64| format!("s{number}");
        assert_eq!(take(slice(0, Some(5), &[(1, overdue(1))])), [(Overdue, name(1))]);
        assert_eq!(take(slice(5, None, &[(7, overdue(2))])), [(Overdue, name(7))]);
        let both = Judgement { success_missed_at: Some(UnixMillis(3)), ..overdue(1) };
        assert_eq!(take(slice(0, Some(5), &[(1, both)])), [(SuccessMissed, name(1))]);
        assert_eq!(take(slice(0, Some(5), &[])), [(Recovered, name(1))]);
        assert_eq!(take(slice(0, Some(5), &[])), []);
        let all: Vec<_> = board.all(UnixMillis(9)).into_iter().map(|one| (one.kind, one.since.0)).collect();
        assert_eq!(all, [(Recovered, 1), (Overdue, 2)], "the other slice is as it was");
        assert_eq!(board.document()["overdue_count"], 1);
    }

    #[test]
    fn namespaces_are_bounded() {
        let board = Board::default();
        let many: Vec<_> = (0..400).map(|id| (id, overdue(1))).collect();
        board.take(&slice(0, None, &many), UnixMillis(9));
        let counts = board.namespaces();
        assert_eq!(counts.len(), NAMESPACES_MAX + 1);
        assert_eq!(counts.values().map(|(overdue, _)| overdue).sum::<u64>(), 400);
        assert_eq!(counts[OTHER_NAMESPACES], (200, 0));
    }
}
