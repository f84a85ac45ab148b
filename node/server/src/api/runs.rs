//! `RunService`: the ledger, read.

use std::collections::BTreeSet;

use belfry_core::run::Trigger;
use belfry_core::{Run, RunId, ScheduleId, ScheduleKey, State, UnixMillis};
use belfry_proto::v1 as pb;
use belfry_proto::v1::run_service_server::RunService;
use tonic::{Request, Response, Status};

use super::encode::{self, Output, RunView};
use super::errors::ApiError;
use super::pages::{self, Place};
use super::violations::Violations;
use super::{Api, Freshness, names};

/// Rows looked at for one page: a filter that fits few of them gives short pages, not a long lock.
const SCANNED_PER_PAGE: usize = 20_000;

#[tonic::async_trait]
impl RunService for Api {
    async fn get_run(&self, request: Request<pb::GetRunRequest>) -> Result<Response<pb::Run>, Status> {
        let freshness = Freshness::of(&request);
        Ok(Response::new(self.run(request.into_inner(), freshness).await?))
    }

    async fn list_runs(
        &self,
        request: Request<pb::ListRunsRequest>,
    ) -> Result<Response<pb::ListRunsResponse>, Status> {
        let freshness = Freshness::of(&request);
        Ok(Response::new(self.runs(request.into_inner(), freshness).await?))
    }
}

/// Whose runs a list has.
#[derive(Debug)]
enum Scope {
    Schedule(ScheduleKey),
    Namespace(String),
    Everything,
}

impl Scope {
    fn of(namespace: Option<&str>, name: Option<&str>) -> Self {
        match (namespace, name) {
            (Some(namespace), Some(name)) => Scope::Schedule(ScheduleKey::new(namespace, name)),
            (Some(namespace), None) => Scope::Namespace(namespace.to_owned()),
            (None, _) => Scope::Everything,
        }
    }

    fn has(&self, state: &State, run: &Run) -> bool {
        match self {
            Scope::Schedule(_) | Scope::Everything => true,
            Scope::Namespace(namespace) => {
                state.schedule(run.schedule).is_some_and(|schedule| *schedule.key.namespace == **namespace)
            }
        }
    }
}

/// A page in the making.
#[derive(Default)]
struct Page {
    runs: Vec<RunView>,
    /// The last row that was looked at, if there are more.
    next: Option<Place>,
}

impl Api {
    async fn run(&self, request: pb::GetRunRequest, freshness: Freshness) -> Result<pb::Run, ApiError> {
        let mut found = Violations::default();
        let name = found.take("name", names::parse_run(&request.name, self.name_max()));
        let (key, run) = found.or(name)?;
        self.barrier(freshness).await?;
        let view = self.0.replica.read(|state| {
            // The schedule of that name, then those that had it before: a run of a deleted schedule keeps its name.
            let mut schedules = state.schedule_named(&key).into_iter().chain(state.deleted_named(&key));
            let run = schedules.find_map(|schedule| state.run_at(schedule.id, run.nominal_at, run.manual))?;
            RunView::of(state, run)
        });
        let view = view.ok_or(ApiError::RunNotFound { name: request.name })?;
        Ok(encode::run(view, Output::Included))
    }

    async fn runs(
        &self,
        request: pb::ListRunsRequest,
        freshness: Freshness,
    ) -> Result<pb::ListRunsResponse, ApiError> {
        let mut found = Violations::default();
        let parent = found.take("parent", names::parse_schedules(&request.parent, self.name_max()));
        let size = pages::size(request.page_size, self.0.limits.page_size_max, &mut found);
        let states = read_states(&request.states, &mut found);
        let list = format!("ListRuns {} {states:?}", request.parent);
        let place = pages::place(&list, &request.page_token, &mut found);
        let (namespace, name) = found.or(parent)?;
        let scope = Scope::of(namespace, name);
        self.barrier(freshness).await?;
        let page = self.0.replica.read(|state| page(state, &scope, place, size, &states));
        let Some(page) = page else {
            return Err(ApiError::ScheduleNotFound { name: request.parent });
        };
        Ok(pb::ListRunsResponse {
            runs: page.runs.into_iter().map(|view| encode::run(view, Output::LeftOut)).collect(),
            next_page_token: page.next.map_or_else(String::new, |place| pages::token(&list, &place)),
        })
    }
}

/// The states that a list is limited to; none: all.
fn read_states(states: &[i32], found: &mut Violations) -> BTreeSet<i32> {
    let mut read = BTreeSet::new();
    for state in states {
        match pb::run::State::try_from(*state) {
            Ok(pb::run::State::Unspecified) | Err(_) => {
                found.add("states", format_args!("{state} is no state of a run"));
            }
            Ok(_known) => {
                read.insert(*state);
            }
        }
    }
    read
}

/// A page of runs, newest first; none if the schedule does not exist.
fn page(
    state: &State,
    scope: &Scope,
    place: Option<Place>,
    size: usize,
    states: &BTreeSet<i32>,
) -> Option<Page> {
    let wanted = |run: &Run| {
        scope.has(state, run) && (states.is_empty() || states.contains(&encode::run_state(&run.state).into()))
    };
    match scope {
        Scope::Schedule(key) => {
            let end = (UnixMillis(i64::MAX), true);
            let (schedule, before) = match place {
                Some(Place::Row(schedule, at, manual)) => (schedule, (at, manual)),
                Some(Place::Schedule(_) | Place::Run(_)) | None => (listed(state, key)?, end),
            };
            let place =
                |run: &Run| Place::Row(schedule, run.nominal_at, matches!(run.trigger, Trigger::Manual));
            Some(fill(state, state.rows_before(schedule, before), size, wanted, place))
        }
        Scope::Namespace(_) | Scope::Everything => {
            let before = match place {
                Some(Place::Run(run)) => run,
                Some(Place::Schedule(_) | Place::Row(..)) | None => RunId(u64::MAX),
            };
            Some(fill(state, state.runs_before(before), size, wanted, |run| Place::Run(run.id)))
        }
    }
}

/// The schedule whose runs a list of this name shows: the one that has the name, else the last one that had it.
fn listed(state: &State, key: &ScheduleKey) -> Option<ScheduleId> {
    let schedule = state.schedule_named(key).or_else(|| state.deleted_named(key).next())?;
    Some(schedule.id)
}

fn fill<'a>(
    state: &State,
    rows: impl Iterator<Item = &'a Run>,
    size: usize,
    wanted: impl Fn(&Run) -> bool,
    place: impl Fn(&Run) -> Place,
) -> Page {
    let mut page = Page::default();
    let mut last = None;
    for (scanned, run) in rows.enumerate() {
        if page.runs.len() == size || scanned == SCANNED_PER_PAGE {
            page.next = last.map(place);
            break;
        }
        last = Some(run);
        if wanted(run) {
            page.runs.extend(RunView::of(state, run));
        }
    }
    page
}
