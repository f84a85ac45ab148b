//! A node that keeps schedules in a map and fires nothing.

#![allow(dead_code, reason = "each test binary uses its own part of it")]

mod resources;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use belfry_sdk::pb;
use pb::backfill_service_server::BackfillServiceServer;
use pb::calendar_service_server::CalendarServiceServer;
use pb::cluster_service_server::{ClusterService, ClusterServiceServer};
use pb::namespace_service_server::NamespaceServiceServer;
use pb::pool_service_server::PoolServiceServer;
use pb::run_service_server::{RunService, RunServiceServer};
use pb::schedule_service_server::{ScheduleService, ScheduleServiceServer};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Code, Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use pb::batch_schedules_response::{Result as ItemResult, result::Result as Item};

/// What a command line came to.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs a command line against the node.
pub(crate) fn run(node: &StandIn, words: &[&str]) -> Ended {
    let output = Command::new(env!("CARGO_BIN_EXE_belfry"))
        .env_clear()
        .env("BELFRY_ENDPOINT", node.address())
        .env("USER", "anna")
        .args(words)
        .stdin(Stdio::null())
        .output()
        .expect("the command can be started");
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).expect("output is UTF-8"),
        stderr: String::from_utf8(output.stderr).expect("output is UTF-8"),
    }
}

/// Runs what must succeed.
pub(crate) fn ok(node: &StandIn, words: &[&str]) -> String {
    let ended = run(node, words);
    assert_eq!(ended.code, Some(0), "{words:?}: {}", ended.stderr);
    ended.stdout
}

/// The node, and the runtime that it lives in.
pub(crate) struct StandIn {
    address: SocketAddr,
    node: Node,
    _runtime: tokio::runtime::Runtime,
}

#[derive(Clone, Default)]
struct Node(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    schedules: BTreeMap<String, pb::Schedule>,
    calls: Vec<String>,
    revision: u64,
    interferes: bool,
    is_leaderless: bool,
    feature_level: u32,
    resources: resources::Resources,
}

type Answer<T> = Result<Response<T>, Status>;
type Stream<T> = tokio_stream::Iter<std::vec::IntoIter<Result<T, Status>>>;

impl StandIn {
    pub(crate) fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("a runtime can be built");
        let listener =
            runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("the machine has a free port");
        let address = listener.local_addr().expect("a listener has an address");
        let node = Node::default();
        let server = tonic::transport::Server::builder()
            .add_service(ScheduleServiceServer::new(node.clone()))
            .add_service(RunServiceServer::new(node.clone()))
            .add_service(ClusterServiceServer::new(node.clone()))
            .add_service(CalendarServiceServer::new(node.clone()))
            .add_service(PoolServiceServer::new(node.clone()))
            .add_service(NamespaceServiceServer::new(node.clone()))
            .add_service(BackfillServiceServer::new(node.clone()))
            .serve_with_incoming(TcpListenerStream::new(listener));
        runtime.spawn(server);
        Self { address, node, _runtime: runtime }
    }

    pub(crate) fn address(&self) -> String {
        self.address.to_string()
    }

    /// The writes so far.
    pub(crate) fn calls(&self) -> Vec<String> {
        self.node.state().calls.clone()
    }

    /// Changes the description of the next schedule that is read, right after it was read.
    pub(crate) fn interfere_once(&self) {
        self.node.state().interferes = true;
    }

    /// The level that all nodes of the cluster understand: 0 unless somebody says so.
    pub(crate) fn raise_feature_level(&self, level: u32) {
        self.node.state().feature_level = level;
    }

    pub(crate) fn lose_leader(&self) {
        self.node.state().is_leaderless = true;
    }
}

impl Node {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn note(&mut self, verb: &str, name: &str, more: &str) {
        let name = name.rsplit('/').next().unwrap_or_default();
        self.calls.push(format!("{verb} {name} {more}").trim_end().to_owned());
    }

    fn found(&mut self, name: &str, etag: &str) -> Result<&mut pb::Schedule, Status> {
        let schedule = self.schedules.get_mut(name).ok_or_else(|| Status::not_found(format!("no {name}")))?;
        if etag.is_empty() || schedule.etag == etag {
            Ok(schedule)
        } else {
            Err(Status::aborted(format!("the etag is {}", schedule.etag)))
        }
    }

    /// The schedule as it is from now on, or would be.
    fn store(&mut self, schedule: pb::Schedule, verb: &str, validate_only: bool) -> pb::Schedule {
        if validate_only {
            return schedule;
        }
        let name = schedule.name.clone();
        let (verb, more) = verb.split_once(' ').unwrap_or((verb, ""));
        self.note(verb, &name, more);
        self.schedules.insert(name.clone(), schedule);
        self.changed(&name)
    }

    fn changed(&mut self, name: &str) -> pb::Schedule {
        self.revision += 1;
        let etag = self.revision.to_string();
        let schedule = self.schedules.get_mut(name).expect("the caller found it");
        schedule.etag = etag;
        schedule.clone()
    }
}

/// What a node makes of a definition.
fn as_made(mut schedule: pb::Schedule) -> pb::Schedule {
    if schedule.pool.is_empty() {
        schedule.pool = "default".to_owned();
    }
    if let Some(timing) = schedule.timing.as_mut().filter(|timing| timing.time_zone.is_empty()) {
        timing.time_zone = "UTC".to_owned();
    }
    schedule.priority = if schedule.priority == 0 { 5 } else { schedule.priority };
    schedule.policies.get_or_insert_default();
    schedule.history.get_or_insert_default();
    schedule.liveness.get_or_insert_default();
    schedule.set_state(match schedule.pause {
        Some(_) => pb::schedule::State::Paused,
        None => pb::schedule::State::Active,
    });
    let fires = schedule.timing.iter().flat_map(|timing| &timing.include).map(|rule| match &rule.rule {
        Some(pb::rule::Rule::AtTime(at)) => *at,
        _other => prost_types::Timestamp { seconds: 4_102_444_800, nanos: 0 },
    });
    schedule.status = Some(pb::ScheduleStatus {
        next_times: fires.collect(),
        warnings: vec!["a stand-in never fires".to_owned()],
        ..Default::default()
    });
    schedule
}

/// What a batch says of one of its items.
fn item(answer: Answer<Item>) -> ItemResult {
    let result = answer.map(Response::into_inner).unwrap_or_else(|status| {
        let details: tonic_types::pb::Status = prost::Message::decode(status.details()).unwrap_or_default();
        let (code, message) = (status.code().into(), status.message().to_owned());
        Item::Error(tonic_types::pb::Status { code, message, details: details.details })
    });
    ItemResult { result: Some(result) }
}

#[tonic::async_trait]
impl ScheduleService for Node {
    type WatchSchedulesStream = Stream<pb::WatchSchedulesResponse>;

    async fn watch_schedules(
        &self,
        _: Request<pb::WatchSchedulesRequest>,
    ) -> Answer<Self::WatchSchedulesStream> {
        Err(Status::permission_denied("nobody watches"))
    }

    async fn batch_get_schedules(
        &self,
        request: Request<pb::BatchGetSchedulesRequest>,
    ) -> Answer<pb::BatchSchedulesResponse> {
        let mut results = Vec::new();
        for name in request.into_inner().names {
            let read = self.get_schedule(Request::new(pb::GetScheduleRequest { name })).await;
            results.push(item(read.map(|it| it.map(Item::Schedule))));
        }
        Ok(Response::new(pb::BatchSchedulesResponse { results }))
    }

    async fn batch_create_schedules(
        &self,
        request: Request<pb::BatchCreateSchedulesRequest>,
    ) -> Answer<pb::BatchSchedulesResponse> {
        let mut results = Vec::new();
        for request in request.into_inner().requests {
            results.push(item(
                self.create_schedule(Request::new(request)).await.map(|it| it.map(Item::Schedule)),
            ));
        }
        Ok(Response::new(pb::BatchSchedulesResponse { results }))
    }

    async fn batch_update_schedules(
        &self,
        request: Request<pb::BatchUpdateSchedulesRequest>,
    ) -> Answer<pb::BatchSchedulesResponse> {
        let mut results = Vec::new();
        for request in request.into_inner().requests {
            results.push(item(
                self.update_schedule(Request::new(request)).await.map(|it| it.map(Item::Schedule)),
            ));
        }
        Ok(Response::new(pb::BatchSchedulesResponse { results }))
    }

    async fn batch_delete_schedules(
        &self,
        request: Request<pb::BatchDeleteSchedulesRequest>,
    ) -> Answer<pb::BatchSchedulesResponse> {
        let mut results = Vec::new();
        for request in request.into_inner().requests {
            results.push(item(
                self.delete_schedule(Request::new(request)).await.map(|it| it.map(Item::Deleted)),
            ));
        }
        Ok(Response::new(pb::BatchSchedulesResponse { results }))
    }

    type StreamSchedulesStream = Stream<pb::ListSchedulesResponse>;

    async fn stream_schedules(
        &self,
        request: Request<pb::ListSchedulesRequest>,
    ) -> Answer<Self::StreamSchedulesStream> {
        // One page: the next one is asked for anew.
        let page = self.list_schedules(request).await?.into_inner();
        Ok(Response::new(tokio_stream::iter(vec![Ok(page)])))
    }

    async fn create_schedule(&self, request: Request<pb::CreateScheduleRequest>) -> Answer<pb::Schedule> {
        let request = request.into_inner();
        if request.schedule_id.contains('@') {
            let details = ErrorDetails::with_bad_request_violation("schedule_id", "is not a name");
            return Err(Status::with_error_details(Code::InvalidArgument, "bad request", details));
        }
        let mut schedule = as_made(request.schedule.unwrap_or_default());
        schedule.name = format!("{}/schedules/{}", request.parent, request.schedule_id);
        let mut state = self.state();
        if state.schedules.contains_key(&schedule.name) {
            return Err(Status::already_exists(schedule.name));
        }
        Ok(Response::new(state.store(schedule, "create", request.validate_only)))
    }

    async fn get_schedule(&self, request: Request<pb::GetScheduleRequest>) -> Answer<pb::Schedule> {
        let name = request.into_inner().name;
        if name.ends_with("/secret") {
            return Err(Status::permission_denied("it is a secret"));
        }
        let mut state = self.state();
        let schedule = state.found(&name, "")?.clone();
        if std::mem::take(&mut state.interferes) {
            state.found(&name, "")?.description = "interfered".to_owned();
            state.changed(&name);
        }
        Ok(Response::new(schedule))
    }

    async fn list_schedules(
        &self,
        request: Request<pb::ListSchedulesRequest>,
    ) -> Answer<pb::ListSchedulesResponse> {
        let request = request.into_inner();
        let state = self.state();
        let size = usize::try_from(request.page_size).unwrap_or_default();
        let parent = request.parent.trim_end_matches('-');
        let all = state.schedules.values().filter(|schedule| schedule.name.starts_with(parent));
        let mut rest = all.filter(|schedule| schedule.name > request.page_token).cloned();
        let schedules: Vec<_> = rest.by_ref().take(size).collect();
        let last = schedules.last().map(|schedule| schedule.name.clone()).unwrap_or_default();
        let next_page_token = if rest.next().is_some() { last } else { String::new() };
        Ok(Response::new(pb::ListSchedulesResponse { schedules, next_page_token, ..Default::default() }))
    }

    async fn update_schedule(&self, request: Request<pb::UpdateScheduleRequest>) -> Answer<pb::Schedule> {
        let request = request.into_inner();
        let (wanted, mask) = (request.schedule.unwrap_or_default(), request.update_mask.unwrap_or_default());
        if wanted.description == "refused" {
            return Err(Status::invalid_argument("it is refused"));
        }
        let mut state = self.state();
        if request.allow_missing && !state.schedules.contains_key(&wanted.name) {
            let made = pb::Schedule { pause: None, ..as_made(wanted) };
            return Ok(Response::new(state.store(made, "create", request.validate_only)));
        }
        let current = state.found(&wanted.name, &wanted.etag)?.clone();
        let mut changed = current.clone();
        for path in &mask.paths {
            match path.as_str() {
                "*" => {
                    changed = pb::Schedule {
                        etag: current.etag.clone(),
                        pause: current.pause.clone(),
                        state: current.state,
                        ..as_made(wanted.clone())
                    }
                }
                "timing" => changed.timing.clone_from(&wanted.timing),
                "target" => changed.target.clone_from(&wanted.target),
                "description" => changed.description.clone_from(&wanted.description),
                "priority" => changed.priority = wanted.priority,
                "labels" => changed.labels.clone_from(&wanted.labels),
                "history" => changed.history = wanted.history,
                "max_runs" => changed.max_runs = wanted.max_runs,
                "completion_action" => changed.completion_action = wanted.completion_action,
                "executor_labels" => changed.executor_labels.clone_from(&wanted.executor_labels),
                policy if policy.starts_with("policies.") => {
                    changed.policies.clone_from(&wanted.policies);
                }
                unknown => return Err(Status::invalid_argument(unknown)),
            }
        }
        if changed == current {
            return Ok(Response::new(current));
        }
        let verb = format!("update {}", mask.paths.join(","));
        Ok(Response::new(state.store(changed, &verb, request.validate_only)))
    }

    async fn delete_schedule(&self, request: Request<pb::DeleteScheduleRequest>) -> Answer<()> {
        let request = request.into_inner();
        let mut state = self.state();
        state.found(&request.name, &request.etag)?;
        if !request.validate_only {
            state.schedules.remove(&request.name);
            state.note("delete", &request.name, "");
        }
        Ok(Response::new(()))
    }

    async fn pause_schedule(&self, request: Request<pb::PauseScheduleRequest>) -> Answer<pb::Schedule> {
        let request = request.into_inner();
        let mut state = self.state();
        let mut schedule = state.found(&request.name, &request.etag)?.clone();
        schedule.set_state(pb::schedule::State::Paused);
        let pb::PauseScheduleRequest { reason, actor, until, .. } = request;
        schedule.pause = Some(pb::Pause { reason, actor, until, skipped_count: 3, ..Default::default() });
        Ok(Response::new(state.store(schedule, "pause", request.validate_only)))
    }

    async fn resume_schedule(&self, request: Request<pb::ResumeScheduleRequest>) -> Answer<pb::Schedule> {
        let request = request.into_inner();
        let mut state = self.state();
        let mut schedule = state.found(&request.name, &request.etag)?.clone();
        schedule.set_state(pb::schedule::State::Active);
        schedule.pause = None;
        let verb = format!("resume {:?}", request.missed());
        Ok(Response::new(state.store(schedule, &verb, request.validate_only)))
    }

    async fn trigger_schedule(&self, request: Request<pb::TriggerScheduleRequest>) -> Answer<pb::Run> {
        let request = request.into_inner();
        if request.overlap() == pb::trigger_schedule_request::Overlap::Refuse {
            return Err(Status::failed_precondition("something is running"));
        }
        let name = format!("{}/runs/r2", request.name);
        if !request.validate_only {
            self.state().note("trigger", &request.name, &format!("{:?}", request.overlap()));
        }
        Ok(Response::new(pb::Run { name, state: pb::run::State::Due.into(), ..Default::default() }))
    }
}

#[tonic::async_trait]
impl RunService for Node {
    type WatchRunsStream = Stream<pb::WatchRunsResponse>;

    /// One run; the next watch is too far behind, and the one after it is not allowed.
    async fn watch_runs(&self, request: Request<pb::WatchRunsRequest>) -> Answer<Self::WatchRunsStream> {
        let request = request.into_inner();
        let mut state = self.state();
        let watches = state.calls.iter().filter(|call| call.starts_with("watch")).count();
        state.note("watch", &request.parent, &request.start_revision.to_string());
        match watches {
            0 => {
                let name = format!("{}/runs/r3", request.parent);
                let run = pb::Run { name, state: pb::run::State::Running.into(), ..Default::default() };
                let told = pb::WatchRunsResponse { runs: vec![run], revision: 7 };
                let behind = Status::out_of_range("no longer kept");
                Ok(Response::new(tokio_stream::iter(vec![Ok(told), Err(behind)])))
            }
            _later => Err(Status::permission_denied("enough")),
        }
    }

    async fn get_run(&self, request: Request<pb::GetRunRequest>) -> Answer<pb::Run> {
        let run = pb::Run {
            name: request.into_inner().name,
            message: "no space left".to_owned(),
            state: pb::run::State::Failed.into(),
            output_tail: "first line\nlast line\n".into(),
            ..Default::default()
        };
        Ok(Response::new(run))
    }

    /// Two runs, in pages of one.
    async fn list_runs(&self, request: Request<pb::ListRunsRequest>) -> Answer<pb::ListRunsResponse> {
        let request = request.into_inner();
        let (id, state, next) = match request.page_token.as_str() {
            "" => ("r2", pb::run::State::Failed, "second"),
            _second => ("r1", pb::run::State::Succeeded, ""),
        };
        let name = format!("{}/runs/{id}", request.parent);
        let run = pb::Run { name, state: state.into(), ..Default::default() };
        let is_asked_for = request.states.is_empty() || request.states.contains(&run.state);
        let runs = if is_asked_for { vec![run] } else { Vec::new() };
        Ok(Response::new(pb::ListRunsResponse {
            runs,
            next_page_token: next.to_owned(),
            ..Default::default()
        }))
    }

    async fn cancel_run(&self, request: Request<pb::CancelRunRequest>) -> Answer<pb::Run> {
        let pb::CancelRunRequest { name, reason, actor, .. } = request.into_inner();
        if name.ends_with("/missing") {
            return Err(Status::not_found(name));
        }
        let cancel = Some(pb::Verdict { actor, reason, time: None });
        Ok(Response::new(pb::Run {
            name,
            state: pb::run::State::Cancelled.into(),
            cancel,
            ..Default::default()
        }))
    }

    async fn resolve_run(&self, request: Request<pb::ResolveRunRequest>) -> Answer<pb::Run> {
        use pb::resolve_run_request::Outcome;
        let request = request.into_inner();
        let state = match request.outcome() {
            Outcome::Succeeded => pb::run::State::Succeeded,
            Outcome::Failed => pb::run::State::Failed,
            Outcome::DidNotRun => pb::run::State::Skipped,
            Outcome::Unspecified => return Err(Status::invalid_argument("outcome")),
        };
        let state = state.into();
        let pb::ResolveRunRequest { name, reason, actor, .. } = request;
        let resolution = Some(pb::Verdict { actor, reason, time: None });
        Ok(Response::new(pb::Run { name, state, resolution, ..Default::default() }))
    }

    async fn explain_run(&self, request: Request<pb::ExplainRunRequest>) -> Answer<pb::RunExplanation> {
        let schedule = request.into_inner().name;
        Ok(Response::new(pb::RunExplanation { schedule, ..Default::default() }))
    }

    /// One clean schedule.
    async fn report_runs(&self, request: Request<pb::ReportRunsRequest>) -> Answer<pb::ReportRunsResponse> {
        let request = request.into_inner();
        let schedule = pb::ScheduleReport { schedule: request.parent, ..Default::default() };
        let (from_time, to_time) = (request.from_time, request.to_time);
        let next_page_token = String::new();
        Ok(Response::new(pb::ReportRunsResponse {
            schedules: vec![schedule],
            next_page_token,
            from_time,
            to_time,
        }))
    }
}

#[tonic::async_trait]
impl ClusterService for Node {
    async fn get_cluster_status(
        &self,
        _request: Request<pb::GetClusterStatusRequest>,
    ) -> Answer<pb::ClusterStatus> {
        let mut state = self.state();
        let has_leader = !state.is_leaderless;
        Ok(Response::new(pb::ClusterStatus {
            node_id: 1,
            leader_id: u64::from(has_leader),
            term: 3,
            writable: has_leader,
            executors: state.resources.connected(),
            feature_level: state.feature_level,
            ..Default::default()
        }))
    }

    async fn transfer_leadership(
        &self,
        request: Request<pb::TransferLeadershipRequest>,
    ) -> Answer<pb::TransferLeadershipResponse> {
        let request = request.into_inner();
        let leader_id = request.to_node_id;
        if !request.validate_only {
            self.state().note("transfer", &leader_id.to_string(), "");
        }
        Ok(Response::new(pb::TransferLeadershipResponse { leader_id }))
    }

    type SaveSnapshotStream = tokio_stream::Empty<Result<pb::SnapshotPart, Status>>;

    async fn save_snapshot(
        &self,
        _request: Request<pb::SaveSnapshotRequest>,
    ) -> Answer<Self::SaveSnapshotStream> {
        Err(Status::unimplemented("snapshots are tested with real nodes"))
    }

    async fn list_members(
        &self,
        _request: Request<pb::ListMembersRequest>,
    ) -> Answer<pb::ListMembersResponse> {
        Err(Status::unimplemented("members are tested with real nodes"))
    }

    async fn add_member(&self, _request: Request<pb::AddMemberRequest>) -> Answer<pb::AddMemberResponse> {
        Err(Status::unimplemented("members are tested with real nodes"))
    }

    async fn remove_member(
        &self,
        _request: Request<pb::RemoveMemberRequest>,
    ) -> Answer<pb::RemoveMemberResponse> {
        Err(Status::unimplemented("members are tested with real nodes"))
    }

    async fn drain_executor(
        &self,
        request: Request<pb::DrainExecutorRequest>,
    ) -> Answer<pb::DrainExecutorResponse> {
        let pb::DrainExecutorRequest { executor_id: id, validate_only } = request.into_inner();
        let mut state = self.state();
        let found = state.resources.executors.iter_mut().find(|executor| executor.executor_id == id);
        let found = found.ok_or_else(|| Status::not_found(id.clone()))?;
        if !validate_only {
            found.draining = true;
            state.note("drain", &id, "");
        }
        Ok(Response::new(pb::DrainExecutorResponse {}))
    }
}
