//! Calendars, pools, namespaces, backfills and executors of the stand-in.

use belfry_sdk::pb;
use pb::backfill_service_server::BackfillService;
use pb::calendar_service_server::CalendarService;
use pb::namespace_service_server::NamespaceService;
use pb::pool_service_server::PoolService;
use tonic::{Request, Response, Status};

use super::{Answer, BTreeMap, Node, StandIn, State};

#[derive(Default)]
pub(super) struct Resources {
    calendars: BTreeMap<String, pb::Calendar>,
    pools: BTreeMap<String, pb::Pool>,
    namespaces: BTreeMap<String, pb::Namespace>,
    backfills: BTreeMap<String, pb::Backfill>,
    pub(super) executors: Vec<pb::ExecutorStatus>,
    /// Puts that are refused because somebody else was faster.
    conflicts: u32,
}

impl StandIn {
    /// Refuses the next writes of documents as if somebody else had been faster.
    pub(crate) fn conflict(&self, times: u32) {
        self.node.state().resources.conflicts = times;
    }

    pub(crate) fn connect(&self, executor: pb::ExecutorStatus) {
        self.node.state().resources.executors.push(executor);
    }
}

impl Resources {
    /// What is connected; whoever drains has one run less the next time, and is gone after its last one.
    pub(super) fn connected(&mut self) -> Vec<pb::ExecutorStatus> {
        let connected = self.executors.clone();
        self.executors.retain(|executor| !executor.draining || executor.running > 0);
        for executor in self.executors.iter_mut().filter(|executor| executor.draining) {
            executor.running -= 1;
        }
        connected
    }
}

/// A page of a map in pages of two, so that lists have several.
fn page<T: Clone>(map: &BTreeMap<String, T>, parent: &str, token: &str) -> (Vec<T>, String) {
    let of_parent = |name: &str| name.starts_with(parent.trim_end_matches('-')) && name > token;
    let mut rest = map.iter().filter(|(name, _)| of_parent(name));
    let page: Vec<_> = rest.by_ref().take(2).collect();
    let last = page.last().map(|(name, _)| (*name).clone()).unwrap_or_default();
    let next = if rest.next().is_some() { last } else { String::new() };
    (page.into_iter().map(|(_, item)| item.clone()).collect(), next)
}

macro_rules! documents {
    ($service:ident, $map:ident, $document:ident, $field:ident,
     $put:ident($put_request:ident), $get:ident($get_request:ident),
     $list:ident($list_request:ident) -> $list_answer:ident by $parent:expr,
     $delete:ident($delete_request:ident)) => {
        #[tonic::async_trait]
        impl $service for Node {
            async fn $put(&self, request: Request<pb::$put_request>) -> Answer<pb::$document> {
                let request = request.into_inner();
                let mut document = request.$field.unwrap_or_default();
                let mut state = self.state();
                if state.resources.conflicts > 0 {
                    state.resources.conflicts -= 1;
                    return Err(Status::aborted("somebody else was faster"));
                }
                let current = state.resources.$map.get(&document.name).cloned();
                let is_same = current.as_ref().is_some_and(|current| {
                    document == pb::$document { etag: document.etag.clone(), ..current.clone() }
                });
                let current = current.map(|current| current.etag);
                if !document.etag.is_empty() && current.as_ref() != Some(&document.etag) {
                    return Err(Status::aborted(format!("the etag is {current:?}")));
                }
                if document.description == "refused" {
                    return Err(Status::invalid_argument("it is refused"));
                }
                if request.validate_only || is_same {
                    return Ok(Response::new(document));
                }
                state.revision += 1;
                document.etag = state.revision.to_string();
                state.note("put", &document.name, "");
                state.resources.$map.insert(document.name.clone(), document.clone());
                Ok(Response::new(document))
            }

            async fn $get(&self, request: Request<pb::$get_request>) -> Answer<pb::$document> {
                let name = request.into_inner().name;
                let found = self.state().resources.$map.get(&name).cloned();
                found.map(Response::new).ok_or_else(|| Status::not_found(format!("no {name}")))
            }

            async fn $list(&self, request: Request<pb::$list_request>) -> Answer<pb::$list_answer> {
                let request = request.into_inner();
                let parent: fn(&pb::$list_request) -> &str = $parent;
                let ($map, next_page_token) =
                    page(&self.state().resources.$map, parent(&request), &request.page_token);
                Ok(Response::new(pb::$list_answer { $map, next_page_token }))
            }

            async fn $delete(&self, request: Request<pb::$delete_request>) -> Answer<()> {
                let request = request.into_inner();
                let mut state = self.state();
                if !state.resources.$map.contains_key(&request.name) && !request.allow_missing {
                    return Err(Status::not_found(format!("no {}", request.name)));
                }
                if !request.validate_only {
                    state.resources.$map.remove(&request.name);
                    state.note("delete", &request.name, "");
                }
                Ok(Response::new(()))
            }
        }
    };
}

documents!(
    CalendarService, calendars, Calendar, calendar,
    put_calendar(PutCalendarRequest), get_calendar(GetCalendarRequest),
    list_calendars(ListCalendarsRequest) -> ListCalendarsResponse by |request| &request.parent,
    delete_calendar(DeleteCalendarRequest)
);
documents!(
    PoolService, pools, Pool, pool,
    put_pool(PutPoolRequest), get_pool(GetPoolRequest),
    list_pools(ListPoolsRequest) -> ListPoolsResponse by |_| "",
    delete_pool(DeletePoolRequest)
);
documents!(
    NamespaceService, namespaces, Namespace, namespace,
    put_namespace(PutNamespaceRequest), get_namespace(GetNamespaceRequest),
    list_namespaces(ListNamespacesRequest) -> ListNamespacesResponse by |_| "",
    delete_namespace(DeleteNamespaceRequest)
);

impl State {
    fn backfill(&mut self, name: &str) -> Result<&mut pb::Backfill, Status> {
        let found = self.resources.backfills.get_mut(name);
        found.ok_or_else(|| Status::not_found(format!("no {name}")))
    }

    fn control(
        &mut self,
        request: pb::ControlBackfillRequest,
        verb: &str,
        state: pb::backfill::State,
    ) -> Answer<pb::Backfill> {
        let backfill = self.backfill(&request.name)?;
        let mut answer = backfill.clone();
        answer.set_state(state);
        answer.changed_by = request.actor;
        answer.change_reason = request.reason;
        if request.validate_only {
            return Ok(Response::new(answer));
        }
        backfill.clone_from(&answer);
        self.note(verb, &request.name, "");
        Ok(Response::new(answer))
    }
}

/// Backfills of three instants, one of which is dealt with each time that somebody looks. The second does not succeed where
/// the reason says so.
#[tonic::async_trait]
impl BackfillService for Node {
    async fn create_backfill(&self, request: Request<pb::CreateBackfillRequest>) -> Answer<pb::Backfill> {
        let request = request.into_inner();
        let mut backfill = request.backfill.unwrap_or_default();
        backfill.instant_count = 3;
        backfill.set_state(pb::backfill::State::Running);
        if request.validate_only {
            return Ok(Response::new(backfill));
        }
        let mut state = self.state();
        backfill.name = format!("{}/backfills/{}", request.parent, state.resources.backfills.len() + 1);
        let verb = format!("backfill {:?}", backfill.mode());
        state.note(&verb, &backfill.name, &backfill.actor);
        state.resources.backfills.insert(backfill.name.clone(), backfill.clone());
        Ok(Response::new(backfill))
    }

    async fn get_backfill(&self, request: Request<pb::GetBackfillRequest>) -> Answer<pb::Backfill> {
        let name = request.into_inner().name;
        let mut state = self.state();
        let backfill = state.backfill(&name)?;
        if backfill.state() == pb::backfill::State::Running {
            backfill.created_count += 1;
            if backfill.created_count == 2 && backfill.reason == "fails" {
                backfill.unsuccessful_count += 1;
            } else {
                backfill.succeeded_count += 1;
            }
            if backfill.created_count == backfill.instant_count {
                backfill.set_state(pb::backfill::State::Completed);
            }
        }
        Ok(Response::new(backfill.clone()))
    }

    async fn list_backfills(
        &self,
        request: Request<pb::ListBackfillsRequest>,
    ) -> Answer<pb::ListBackfillsResponse> {
        let parent = request.into_inner().parent;
        let state = self.state();
        let of_parent = state.resources.backfills.values().filter(|one| one.name.starts_with(&parent));
        let backfills = of_parent.rev().cloned().collect();
        Ok(Response::new(pb::ListBackfillsResponse { backfills }))
    }

    async fn pause_backfill(&self, request: Request<pb::ControlBackfillRequest>) -> Answer<pb::Backfill> {
        self.state().control(request.into_inner(), "pause-backfill", pb::backfill::State::Paused)
    }

    async fn resume_backfill(&self, request: Request<pb::ControlBackfillRequest>) -> Answer<pb::Backfill> {
        self.state().control(request.into_inner(), "resume-backfill", pb::backfill::State::Running)
    }

    async fn cancel_backfill(&self, request: Request<pb::ControlBackfillRequest>) -> Answer<pb::Backfill> {
        self.state().control(request.into_inner(), "cancel-backfill", pb::backfill::State::Cancelled)
    }
}
