//! `WatchRuns` and `WatchSchedules`: what changes, as it changes, from this node's own state.
//!
//! ```text
//!   apply ──► ring of names (raft::ChangeLog) ──► watcher: reads on from its cursor, then what they are now ──► stream
//! ```
//! A watcher has no queue: it reads the ring when its stream has room. One that is too slow finds that the ring has dropped
//! what it wants next, and is told so.
//!
//! - WATCH-1: a response's revision is one up to which everything has been told; it never goes back.
//! - WATCH-2: every change that a filter wants is told at least once, or the stream ends with an error.

mod cursor;

use std::collections::{BTreeSet, HashSet, VecDeque};
use std::pin::Pin;

use belfry_core::ScheduleKey;
use belfry_core::command::ScheduleChange;
use belfry_proto::v1 as pb;
use futures_util::Stream;
use prost::Message as _;
use tonic::Status;

use self::cursor::{Cursor, Part};
use super::encode::{self, NEXT_TIMES_IN_LIST, Output, RunView, ScheduleView};
use super::errors::ApiError;
use super::violations::Violations;
use super::{Api, names, pages, runs};
use crate::raft::Change;
use crate::selector::Selector;

/// Changes looked at in one go.
const RUNS_MAX: usize = 256;
/// Fewer, because a schedule may be as large as `limits.payload_bytes_max`.
const SCHEDULES_MAX: usize = 32;

/// A stream of responses.
pub(super) type Changes<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Which schedules a watcher wants.
#[derive(Debug)]
struct Filter {
    namespace: Option<String>,
    name: Option<String>,
    selector: Selector,
}

impl Filter {
    fn wants(&self, key: &ScheduleKey, labels: &std::collections::BTreeMap<String, String>) -> bool {
        self.namespace.as_deref().is_none_or(|namespace| *key.namespace == *namespace)
            && self.name.as_deref().is_none_or(|name| *key.name == *name)
            && self.selector.fits(labels)
    }
}

impl Api {
    fn read_filter(&self, parent: &str, selector: &str, found: &mut Violations) -> Filter {
        let parent = found.take("parent", names::parse_schedules(parent, self.name_max()));
        let selector = found.take("selector", Selector::parse(selector)).unwrap_or_default();
        let (namespace, name) = parent.unwrap_or_default();
        Filter { namespace: namespace.map(str::to_owned), name: name.map(str::to_owned), selector }
    }

    pub(super) async fn watch_runs_from(
        &self,
        request: pb::WatchRunsRequest,
    ) -> Result<Changes<pb::WatchRunsResponse>, ApiError> {
        let mut found = Violations::default();
        let filter = self.read_filter(&request.parent, &request.selector, &mut found);
        let states = runs::read_states(&request.states, &mut found);
        found.check()?;
        let cursor = Cursor::start(self, request.start_revision, RUNS_MAX).await?;
        let watcher = RunWatcher { api: self.clone(), filter, states, cursor };
        Ok(stream(watcher))
    }

    pub(super) async fn watch_schedules_from(
        &self,
        request: pb::WatchSchedulesRequest,
    ) -> Result<Changes<pb::WatchSchedulesResponse>, ApiError> {
        let mut found = Violations::default();
        let filter = self.read_filter(&request.parent, &request.selector, &mut found);
        found.check()?;
        let cursor = Cursor::start(self, request.start_revision, SCHEDULES_MAX).await?;
        Ok(stream(ScheduleWatcher { api: self.clone(), filter, cursor }))
    }
}

/// Something that gives responses.
trait Watcher: Send + 'static {
    type Response: Send + 'static;

    fn cursor(&mut self) -> &mut Cursor;
    /// What a part of the changes means for this watcher. All but the last response carry `before` as their revision.
    fn told(&self, changes: Vec<Change>, before: u64, revision: u64) -> VecDeque<Self::Response>;
    /// That there was nothing up to here.
    fn bookmark(&self, revision: u64) -> Self::Response;
}

/// The responses of a watcher, until its first error.
fn stream<W: Watcher>(watcher: W) -> Changes<W::Response> {
    let start = Some((watcher, VecDeque::new()));
    Box::pin(futures_util::stream::unfold(start, |state| async {
        let (mut watcher, mut waiting) = state?;
        loop {
            if let Some(response) = waiting.pop_front() {
                watcher.cursor().has_told();
                return Some((Ok(response), Some((watcher, waiting))));
            }
            match watcher.cursor().next().await {
                Ok(Part::Changes { changes, before, revision }) => {
                    waiting = watcher.told(changes, before, revision);
                }
                Ok(Part::Bookmark { revision }) => waiting.push_back(watcher.bookmark(revision)),
                Err(error) => return Some((Err(error.status()), None)),
            }
        }
    }))
}

struct RunWatcher {
    api: Api,
    filter: Filter,
    states: BTreeSet<i32>,
    cursor: Cursor,
}

impl Watcher for RunWatcher {
    type Response = pb::WatchRunsResponse;

    fn cursor(&mut self) -> &mut Cursor {
        &mut self.cursor
    }

    fn told(&self, changes: Vec<Change>, _: u64, revision: u64) -> VecDeque<pb::WatchRunsResponse> {
        let ids = changes.into_iter().filter_map(|change| match change {
            Change::Run(id) => Some(id),
            Change::Schedule(..) | Change::Deleted(_) => None,
        });
        let mut seen = HashSet::new();
        let ids: Vec<_> = ids.filter(|id| seen.insert(*id)).collect();
        if ids.is_empty() {
            return VecDeque::new();
        }
        let views: Vec<_> = self.api.0.replica.read(|state| {
            let wanted = ids.into_iter().filter_map(|id| {
                let run = state.run(id)?;
                let state_wanted =
                    self.states.is_empty() || self.states.contains(&encode::run_state(&run.state).into());
                let schedule = state.schedule(run.schedule).filter(|_| state_wanted)?;
                let wanted = self.filter.wants(&schedule.key, &schedule.definition.labels);
                wanted.then(|| RunView::of(state, run)).flatten()
            });
            wanted.collect()
        });
        let runs: Vec<_> = views.into_iter().map(|view| encode::run(view, Output::LeftOut)).collect();
        (!runs.is_empty()).then_some(pb::WatchRunsResponse { runs, revision }).into_iter().collect()
    }

    fn bookmark(&self, revision: u64) -> pb::WatchRunsResponse {
        pb::WatchRunsResponse { runs: Vec::new(), revision }
    }
}

struct ScheduleWatcher {
    api: Api,
    filter: Filter,
    cursor: Cursor,
}

impl Watcher for ScheduleWatcher {
    type Response = pb::WatchSchedulesResponse;

    fn cursor(&mut self) -> &mut Cursor {
        &mut self.cursor
    }

    fn told(&self, changes: Vec<Change>, before: u64, revision: u64) -> VecDeque<pb::WatchSchedulesResponse> {
        use pb::schedule_event::Kind;
        let mut events: Vec<pb::ScheduleEvent> = Vec::new();
        let (mut responses, mut bytes) = (VecDeque::new(), 0);
        let now = self.api.0.clock.now();
        for change in changes {
            let (id, kind) = match change {
                Change::Run(_) => continue,
                Change::Schedule(id, ScheduleChange::Created) => (id, Kind::Created),
                Change::Schedule(id, ScheduleChange::Changed) => (id, Kind::Changed),
                Change::Deleted(deleted) => {
                    if self.filter.wants(&deleted.key, &deleted.labels) {
                        let schedule = pb::Schedule {
                            name: names::schedule_name(&deleted.key),
                            uid: deleted.uid.to_string(),
                            labels: deleted.labels.clone(),
                            ..Default::default()
                        };
                        events
                            .push(pb::ScheduleEvent { kind: Kind::Deleted.into(), schedule: Some(schedule) });
                    }
                    continue;
                }
            };
            // One that was deleted meanwhile is told as deleted, by its own change.
            let view = self.api.0.replica.read(|state| {
                let schedule =
                    state.schedule(id).filter(|schedule| schedule.remains().deleted_at.is_none())?;
                let wanted = self.filter.wants(&schedule.key, &schedule.definition.labels);
                wanted.then(|| ScheduleView::of(state, &self.api.0.timings, schedule.clone()))
            });
            let encoded = |view| encode::schedule(&view, now, NEXT_TIMES_IN_LIST);
            let Some(schedule) = view.map(encoded) else { continue };
            let event = pb::ScheduleEvent { kind: kind.into(), schedule: Some(schedule) };
            let size = event.encoded_len();
            if bytes + size > pages::PAGE_BYTES_MAX && !events.is_empty() {
                let events = std::mem::take(&mut events);
                responses.push_back(pb::WatchSchedulesResponse { events, revision: before });
                bytes = 0;
            }
            bytes += size;
            events.push(event);
        }
        if !events.is_empty() {
            responses.push_back(pb::WatchSchedulesResponse { events, revision });
        }
        responses
    }

    fn bookmark(&self, revision: u64) -> pb::WatchSchedulesResponse {
        pb::WatchSchedulesResponse { events: Vec::new(), revision }
    }
}
