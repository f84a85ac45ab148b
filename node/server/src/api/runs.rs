//! `RunService`: the ledger, read; and what people decide about single runs.

use std::collections::BTreeSet;

use belfry_core::command::RequestKey;
use belfry_core::run::{Ending, Resolution, RunState, Series};
use belfry_core::{Action, Outcome, Rejection, Run, RunId, ScheduleId, ScheduleKey, State, UnixMillis};
use belfry_proto::v1 as pb;
use belfry_proto::v1::run_service_server::RunService;
use tonic::{Request, Response, Status};

use super::encode::{self, Output, RunView};
use super::errors::ApiError;
use super::names::RunKey;
use super::pages::{self, Place};
use super::propose::request_key;
use super::violations::Violations;
use super::watch::Changes;
use super::{Api, Freshness, names};

/// Rows looked at for one page: a filter that fits few of them gives short pages, not a long lock.
const SCANNED_PER_PAGE: usize = 20_000;

#[tonic::async_trait]
impl RunService for Api {
    type WatchRunsStream = Changes<pb::WatchRunsResponse>;

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

    async fn cancel_run(&self, request: Request<pb::CancelRunRequest>) -> Result<Response<pb::Run>, Status> {
        Ok(Response::new(self.cancel(request.into_inner()).await?))
    }

    async fn resolve_run(
        &self,
        request: Request<pb::ResolveRunRequest>,
    ) -> Result<Response<pb::Run>, Status> {
        Ok(Response::new(self.resolve(request.into_inner()).await?))
    }

    async fn report_runs(
        &self,
        request: Request<pb::ReportRunsRequest>,
    ) -> Result<Response<pb::ReportRunsResponse>, Status> {
        let freshness = Freshness::of(&request);
        Ok(Response::new(self.report(request.into_inner(), freshness).await?))
    }

    async fn explain_run(
        &self,
        request: Request<pb::ExplainRunRequest>,
    ) -> Result<Response<pb::RunExplanation>, Status> {
        let freshness = Freshness::of(&request);
        Ok(Response::new(self.explain(request.into_inner(), freshness).await?))
    }

    async fn watch_runs(
        &self,
        request: Request<pb::WatchRunsRequest>,
    ) -> Result<Response<Self::WatchRunsStream>, Status> {
        Ok(Response::new(self.watch_runs_from(request.into_inner()).await?))
    }
}

/// Whose runs a list has.
#[derive(Clone, Debug)]
pub(super) enum Scope {
    Schedule(ScheduleKey),
    Namespace(String),
    Everything,
}

impl Scope {
    pub(super) fn of(namespace: Option<&str>, name: Option<&str>) -> Self {
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
        let view = self.0.replica.read(|state| RunView::of(state, find(state, &key, run)?));
        let view = view.ok_or(ApiError::RunNotFound { name: request.name })?;
        let running = match &view.run.state {
            RunState::Running(lease) => Some((view.run.id, lease.token)),
            RunState::Due { .. } | RunState::Ended { .. } => None,
        };
        let progress = running.and_then(|(run, token)| self.0.leader.progress(run, token));
        Ok(pb::Run { progress: progress.unwrap_or_default(), ..encode::run(view, Output::Included) })
    }

    async fn cancel(&self, mut request: pb::CancelRunRequest) -> Result<pb::Run, ApiError> {
        let mut found = Violations::default();
        let request_key = request_key(&mut request, &mut found);
        let (name, reason, actor) = (&request.name, &request.reason, &request.actor);
        let decision = self.read_decision(name, reason, actor, &mut found);
        let (key, run) = found.or(decision)?;
        let (id, view) = self.find_run(&key, run, name).await?;
        self.require_level_2("CancelRun")?;
        if request.validate_only {
            return Ok(encode::run(view, Output::LeftOut));
        }
        let action =
            Action::CancelRun { run: id, actor: actor.as_str().into(), reason: reason.as_str().into() };
        let before = view.run.state.ended_at();
        let run = self.decide(request_key, action).await?;
        if before.is_none() && run.state() == pb::run::State::Cancelled {
            self.0.metrics.count_runs_ended("CANCELLED", 1);
        }
        Ok(run)
    }

    async fn resolve(&self, mut request: pb::ResolveRunRequest) -> Result<pb::Run, ApiError> {
        use pb::resolve_run_request::Outcome as Wire;
        let mut found = Violations::default();
        let request_key = request_key(&mut request, &mut found);
        let resolution = match request.outcome() {
            Wire::Succeeded => Resolution::Succeeded,
            Wire::Failed => Resolution::Failed,
            Wire::DidNotRun => Resolution::DidNotRun,
            Wire::Unspecified => {
                found.add("outcome", "is required: SUCCEEDED, FAILED or DID_NOT_RUN");
                Resolution::Failed
            }
        };
        let (name, reason, actor) = (&request.name, &request.reason, &request.actor);
        let decision = self.read_decision(name, reason, actor, &mut found);
        let (key, run) = found.or(decision)?;
        let (id, view) = self.find_run(&key, run, name).await?;
        self.require_level_2("ResolveRun")?;
        if request.validate_only {
            return match view.run.state {
                RunState::Ended { ending: Ending::Unknown(_), .. } => Ok(encode::run(view, Output::LeftOut)),
                state => Err(Rejection::NotUnknown { state: state.name() }.into()),
            };
        }
        let action = Action::ResolveRun {
            run: id,
            resolution,
            actor: actor.as_str().into(),
            reason: reason.as_str().into(),
        };
        self.decide(request_key, action).await
    }

    /// Reads what a decision about a run must have: its name, a reason, and who decides.
    fn read_decision(
        &self,
        name: &str,
        reason: &str,
        actor: &str,
        found: &mut Violations,
    ) -> Option<(ScheduleKey, RunKey)> {
        self.check_words("", reason, actor, found);
        found.take("name", names::parse_run(name, self.name_max()))
    }

    /// Checks why somebody decides something, and who it is.
    pub(super) fn check_words(&self, prefix: &str, reason: &str, actor: &str, found: &mut Violations) {
        let field = |name: &str| format!("{prefix}{name}");
        if reason.trim().is_empty() {
            found.add(field("reason"), "is required: whoever asks later wants to know why");
        }
        found.limit(field("reason"), reason.len(), self.0.limits.description_bytes_max, "bytes");
        found.limit(field("actor"), actor.len(), self.name_max(), "bytes");
    }

    async fn find_run(
        &self,
        key: &ScheduleKey,
        run: RunKey,
        name: &str,
    ) -> Result<(RunId, RunView), ApiError> {
        self.barrier(Freshness::Linearizable).await?;
        let found = self.0.replica.read(|state| {
            let run = find(state, key, run)?;
            Some((run.id, RunView::of(state, run)?))
        });
        found.ok_or_else(|| ApiError::RunNotFound { name: name.to_owned() })
    }

    async fn decide(&self, request: Option<RequestKey>, action: Action) -> Result<pb::Run, ApiError> {
        let Outcome::Run(run) = self.propose(self.0.clock.now(), request, action).await? else {
            return Err(ApiError::WrongOutcome);
        };
        let view = self.0.replica.read(|state| RunView::of(state, &run));
        Ok(encode::run(view.ok_or(ApiError::WrongOutcome)?, Output::LeftOut))
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
        let (revision, page) =
            self.0.replica.read_at(|at, state| (at.index, page(state, &scope, place, size, &states)));
        let Some(page) = page else {
            return Err(ApiError::ScheduleNotFound { name: request.parent });
        };
        Ok(pb::ListRunsResponse {
            runs: page.runs.into_iter().map(|view| encode::run(view, Output::LeftOut)).collect(),
            next_page_token: page.next.map_or_else(String::new, |place| pages::token(&list, &place)),
            revision,
        })
    }
}

/// The run of a name: of the schedule that has it, else of those that had it before, for a run of a deleted schedule keeps
/// its name.
pub(super) fn find<'a>(state: &'a State, key: &ScheduleKey, run: RunKey) -> Option<&'a Run> {
    let mut schedules = state.schedule_named(key).into_iter().chain(state.deleted_named(key));
    schedules.find_map(|schedule| state.run_at(schedule.id, run.nominal_at, run.series))
}

/// The states that a list is limited to; none: all.
pub(super) fn read_states(states: &[i32], found: &mut Violations) -> BTreeSet<i32> {
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
            let end = (UnixMillis(i64::MAX), Series::LAST);
            let (schedule, before) = match place {
                Some(Place::Row(schedule, at, series)) => (schedule, (at, series)),
                Some(Place::Schedule(_) | Place::Run(_) | Place::Object(_) | Place::Report { .. }) | None => {
                    (listed(state, key)?, end)
                }
            };
            let place = |run: &Run| Place::Row(schedule, run.nominal_at, run.series());
            Some(fill(state, state.rows_before(schedule, before), size, wanted, place))
        }
        Scope::Namespace(_) | Scope::Everything => {
            let before = match place {
                Some(Place::Run(run)) => run,
                Some(Place::Schedule(_) | Place::Row(..) | Place::Object(_) | Place::Report { .. })
                | None => RunId(u64::MAX),
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
