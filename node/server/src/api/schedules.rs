//! `ScheduleService`.

use std::pin::Pin;
use std::sync::Arc;

use arcstr::ArcStr;
use belfry_core::command::{RequestKey, ResumeMissed, TriggerOverlap};
use belfry_core::definition::{Definition, MisfirePolicy, Rule, Timing};
use belfry_core::object::ObjectName;
use belfry_core::run::{RunState, Trigger};
use belfry_core::schedule::Pause;
use belfry_core::state::MANUAL_WAITING_MAX;
use belfry_core::{
    Action, AttemptNo, Command, Outcome, Rejection, Revision, Run, RunId, Schedule, ScheduleId, ScheduleKey,
    UnixMillis,
};
use belfry_proto::v1 as pb;
use belfry_proto::v1::schedule_service_server::ScheduleService;
use futures_util::Stream;
use prost::Message as _;
use tonic::{Request, Response, Status};

use super::definition::instant;
use super::encode::{self, NEXT_TIMES, NEXT_TIMES_IN_LIST, Output, RunView, ScheduleView};
use super::errors::ApiError;
use super::pages::{self, Place};
use super::policies::FIRE_ALL_DEFAULTS;
use super::propose::{check_revision, request_key, revision};
use super::timing::may_never_fire;
use super::violations::{INVALID_FIELD, Violations};
use super::watch::Changes;
use super::{Api, Freshness, names};
use crate::timings::{Assumed, Calendars};

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl ScheduleService for Api {
    type WatchSchedulesStream = Changes<pb::WatchSchedulesResponse>;
    type StreamSchedulesStream =
        Pin<Box<dyn Stream<Item = Result<pb::ListSchedulesResponse, Status>> + Send>>;

    async fn create_schedule(&self, request: Request<pb::CreateScheduleRequest>) -> Answer<pb::Schedule> {
        Ok(Response::new(self.create(request.into_inner()).await?))
    }

    async fn get_schedule(&self, request: Request<pb::GetScheduleRequest>) -> Answer<pb::Schedule> {
        let freshness = Freshness::of(&request);
        Ok(Response::new(self.get(request.into_inner(), freshness).await?))
    }

    async fn list_schedules(
        &self,
        request: Request<pb::ListSchedulesRequest>,
    ) -> Answer<pb::ListSchedulesResponse> {
        let freshness = Freshness::of(&request);
        Ok(Response::new(self.list(request.into_inner(), freshness).await?))
    }

    async fn update_schedule(&self, request: Request<pb::UpdateScheduleRequest>) -> Answer<pb::Schedule> {
        Ok(Response::new(self.update(request.into_inner(), NEXT_TIMES).await?))
    }

    async fn delete_schedule(&self, request: Request<pb::DeleteScheduleRequest>) -> Answer<()> {
        Ok(Response::new(self.delete(request.into_inner()).await?))
    }

    async fn pause_schedule(&self, request: Request<pb::PauseScheduleRequest>) -> Answer<pb::Schedule> {
        Ok(Response::new(self.pause(request.into_inner()).await?))
    }

    async fn resume_schedule(&self, request: Request<pb::ResumeScheduleRequest>) -> Answer<pb::Schedule> {
        Ok(Response::new(self.resume(request.into_inner()).await?))
    }

    async fn trigger_schedule(&self, request: Request<pb::TriggerScheduleRequest>) -> Answer<pb::Run> {
        Ok(Response::new(self.trigger(request.into_inner()).await?))
    }

    async fn watch_schedules(
        &self,
        request: Request<pb::WatchSchedulesRequest>,
    ) -> Answer<Self::WatchSchedulesStream> {
        Ok(Response::new(self.watch_schedules_from(request.into_inner()).await?))
    }

    async fn batch_get_schedules(
        &self,
        request: Request<pb::BatchGetSchedulesRequest>,
    ) -> Answer<pb::BatchSchedulesResponse> {
        let freshness = Freshness::of(&request);
        Ok(Response::new(self.batch_get(request.into_inner(), freshness).await?))
    }

    async fn batch_create_schedules(
        &self,
        request: Request<pb::BatchCreateSchedulesRequest>,
    ) -> Answer<pb::BatchSchedulesResponse> {
        Ok(Response::new(self.batch_create(request.into_inner()).await?))
    }

    async fn batch_update_schedules(
        &self,
        request: Request<pb::BatchUpdateSchedulesRequest>,
    ) -> Answer<pb::BatchSchedulesResponse> {
        Ok(Response::new(self.batch_update(request.into_inner()).await?))
    }

    async fn batch_delete_schedules(
        &self,
        request: Request<pb::BatchDeleteSchedulesRequest>,
    ) -> Answer<pb::BatchSchedulesResponse> {
        Ok(Response::new(self.batch_delete(request.into_inner()).await?))
    }

    async fn stream_schedules(
        &self,
        request: Request<pb::ListSchedulesRequest>,
    ) -> Answer<Self::StreamSchedulesStream> {
        let freshness = Freshness::of(&request);
        Ok(Response::new(Box::pin(self.pages(request.into_inner(), freshness)?)))
    }
}

/// A schedule to be made.
pub(super) struct Creation {
    pub(super) key: ScheduleKey,
    pub(super) definition: Arc<Definition>,
    pub(super) pause: Option<Pause>,
    pub(super) request: Option<RequestKey>,
    pub(super) validate_only: bool,
    pub(super) assumed: Assumed,
}

/// Why a request makes no schedule.
pub(super) enum NoCreation {
    /// An instant has passed, which it may not have when the request came for the first time (API-2).
    TooLate { key: ScheduleKey, request: Option<RequestKey>, refusal: Box<ApiError> },
    /// Something is wrong with it.
    Refused(Box<ApiError>),
}

impl Api {
    pub(super) async fn create(&self, request: pb::CreateScheduleRequest) -> Result<pb::Schedule, ApiError> {
        let creation = self.read_creation(request);
        self.make_or_repeat(creation, NEXT_TIMES).await
    }

    /// Makes what was read, or says what was wrong with it.
    pub(super) async fn make_or_repeat(
        &self,
        read: Result<Creation, NoCreation>,
        next_times: usize,
    ) -> Result<pb::Schedule, ApiError> {
        match read {
            Ok(creation) => self.make(creation, next_times).await,
            Err(NoCreation::TooLate { key, request, refusal }) => {
                // On the heap, as it is seldom: there may be a thousand of these futures.
                Box::pin(self.repeated(&key, request, *refusal, next_times)).await
            }
            Err(NoCreation::Refused(error)) => Err(*error),
        }
    }

    /// Reads a request all at once, so that nothing of it is kept while others are waited for.
    pub(super) fn read_creation(
        &self,
        mut request: pb::CreateScheduleRequest,
    ) -> Result<Creation, NoCreation> {
        let mut found = Violations::default();
        let max = self.name_max();
        let namespace = found.take("parent", names::parse_namespace(&request.parent, max));
        found.take("schedule_id", names::check_segment("schedule", &request.schedule_id, max));
        let key = ScheduleKey::new(namespace.unwrap_or_default(), request.schedule_id.as_str());
        let request_key = request_key(&mut request, &mut found);
        let assumed = self.read_assumed(request.assumed_calendars, request.validate_only, &mut found);
        let given = request.schedule.unwrap_or_else(|| {
            found.add("schedule", "is required");
            pb::Schedule::default()
        });
        let definition = self.read_definition(&key, &given, &mut found);
        let pause = given.pause.as_ref().map(|pause| self.read_pause("schedule.pause.", pause, &mut found));
        let validate_only = request.validate_only;
        let definition = match found.or(definition) {
            Ok(definition) => Arc::new(definition),
            Err(violations) if !validate_only && only_too_late(&violations) => {
                return Err(NoCreation::TooLate {
                    key,
                    request: request_key,
                    refusal: Box::new(violations.into()),
                });
            }
            Err(violations) => return Err(NoCreation::Refused(Box::new(violations.into()))),
        };
        Ok(Creation { key, definition, pause, request: request_key, validate_only, assumed })
    }

    pub(super) async fn make(&self, creation: Creation, next_times: usize) -> Result<pb::Schedule, ApiError> {
        if creation.validate_only {
            return Box::pin(self.validated_creation(creation)).await;
        }
        let outcome = self.propose_command(self.creation_command(creation)?).await?;
        self.encode_outcome(outcome, next_times)
    }

    /// The command that makes what was read.
    pub(super) fn creation_command(&self, creation: Creation) -> Result<Command, ApiError> {
        let (now, next_fire_at, calendars) = self.first_of(&creation)?;
        let Creation { key, definition, pause, request, .. } = creation;
        let uid = crate::random::ulid().into();
        let action = Action::CreateSchedule { key, uid, definition, next_fire_at, calendars, pause };
        Ok(Command { now, request, action })
    }

    async fn validated_creation(&self, creation: Creation) -> Result<pb::Schedule, ApiError> {
        let (now, next_fire_at, _) = self.first_of(&creation)?;
        let Creation { key, definition, pause, assumed, .. } = creation;
        self.barrier(Freshness::Linearizable).await?;
        if let Some(rejection) = self.0.replica.read(|state| has_no_place(state, &key)) {
            return Err(rejection.into());
        }
        let pause = pause.map(|pause| Pause { paused_at: now, ..pause });
        Ok(self.preview(preview(key, definition, next_fire_at, pause, now), now, &assumed))
    }

    /// The first instant of a schedule that is made now, with the revision of its calendars.
    fn first_of(&self, creation: &Creation) -> Result<(UnixMillis, Option<UnixMillis>, Revision), ApiError> {
        let Creation { key, definition, pause, assumed, .. } = creation;
        self.require_level_of(definition)?;
        if pause.as_ref().is_some_and(|pause| pause.until.is_some()) {
            self.require_level_2("a pause that ends by itself")?;
        }
        let now = self.0.clock.now();
        let (next_fire_at, calendars) = self.first_after(key, &definition.timing, now, assumed)?;
        if next_fire_at.is_none() {
            check_not_passed(&definition.timing)?;
        }
        Ok((now, next_fire_at, calendars))
    }

    /// The first instant of a timing that is about to be proposed.
    pub(super) fn first_after(
        &self,
        key: &ScheduleKey,
        timing: &Timing,
        after: UnixMillis,
        assumed: &Assumed,
    ) -> Result<(Option<UnixMillis>, Revision), ApiError> {
        let (next, calendars) = self.next_after(key, timing, after, assumed)?;
        if next.is_none() && !calendars.is_empty() && !may_never_fire(timing) {
            let why = "leave no instant from now on: use others, or change them";
            return Err(Violations::one("schedule.timing.calendars", why, INVALID_FIELD).into());
        }
        Ok((next, calendars.revision()))
    }

    /// The first instant of a timing, and the calendars that it was computed with.
    pub(super) fn next_after(
        &self,
        key: &ScheduleKey,
        timing: &Timing,
        after: UnixMillis,
        assumed: &Assumed,
    ) -> Result<(Option<UnixMillis>, Calendars), ApiError> {
        let timings = &self.0.timings;
        let calendars = self.0.replica.read(|state| {
            for used in &timing.calendars {
                let calendar = ScheduleKey::new(key.namespace.clone(), used.calendar.as_str());
                if state.calendar(&calendar).is_none() && !assumed.contains_key(&calendar) {
                    return Err(Rejection::ObjectNotFound { name: ObjectName::Calendar(calendar) }.into());
                }
            }
            Ok::<_, ApiError>(timings.calendars_assuming(state, &key.namespace, timing, assumed)?)
        })?;
        Ok((timings.first(timing, &calendars, after)?, calendars))
    }

    pub(super) async fn get(
        &self,
        request: pb::GetScheduleRequest,
        freshness: Freshness,
    ) -> Result<pb::Schedule, ApiError> {
        let key = self.read_name("name", &request.name)?;
        self.barrier(freshness).await?;
        let view = self.view(&key)?;
        Ok(encode::schedule(&view, self.0.clock.now(), NEXT_TIMES))
    }

    pub(super) async fn list(
        &self,
        request: pb::ListSchedulesRequest,
        freshness: Freshness,
    ) -> Result<pb::ListSchedulesResponse, ApiError> {
        let mut found = Violations::default();
        let namespace = found.take("parent", names::parse_namespaces(&request.parent, self.name_max()));
        let size = pages::size(request.page_size, self.0.limits.page_size_max, &mut found);
        let list = format!("ListSchedules {}", request.parent);
        let place = pages::place(&list, &request.page_token, &mut found);
        let namespace = found.or(namespace)?;
        let from = match place {
            Some(Place::Schedule(key)) => key,
            Some(Place::Row(..) | Place::Run(_) | Place::Object(_) | Place::Report { .. }) | None => {
                ScheduleKey::new(namespace.unwrap_or_default(), "")
            }
        };
        self.barrier(freshness).await?;
        // One more than asked for: it says where the next page begins.
        let (revision, mut views) = self.0.replica.read_at(|at, state| {
            let inside = |schedule: &&Schedule| {
                namespace.is_none_or(|namespace| *schedule.key.namespace == *namespace)
            };
            let schedules = state.schedules_from(&from).take_while(inside).take(size + 1);
            let views = schedules
                .map(|schedule| ScheduleView::of(state, &self.0.timings, schedule.clone()))
                .collect::<Vec<_>>();
            (at.index, views)
        });
        let mut next = (views.len() > size).then(|| views.remove(size).schedule.key);
        let now = self.0.clock.now();
        let mut schedules = Vec::with_capacity(views.len());
        let mut bytes = 0;
        for view in views {
            let schedule = encode::schedule(&view, now, NEXT_TIMES_IN_LIST);
            bytes += schedule.encoded_len();
            if bytes > pages::PAGE_BYTES_MAX && !schedules.is_empty() {
                next = Some(view.schedule.key);
                break;
            }
            schedules.push(schedule);
        }
        let next_page_token = next.map_or_else(String::new, |key| pages::token(&list, &Place::Schedule(key)));
        Ok(pb::ListSchedulesResponse { schedules, next_page_token, revision })
    }

    pub(super) async fn delete(&self, mut request: pb::DeleteScheduleRequest) -> Result<(), ApiError> {
        let mut found = Violations::default();
        let request_key = request_key(&mut request, &mut found);
        let expected = revision("etag", &request.etag, &mut found);
        let key = found.take("name", names::parse_schedule(&request.name, self.name_max()));
        let key = found.or(key)?;
        let deleted = if request.validate_only {
            self.barrier(Freshness::Linearizable).await?;
            self.view(&key).and_then(|view| check_revision(&view.schedule, expected))
        } else {
            let action = || Action::DeleteSchedule { key: key.clone(), expected };
            self.propose_patiently(request_key, action).await.map(|outcome| {
                // A repeated answer is the schedule alone: what was cancelled is counted once.
                if let Outcome::Deleted { cancelled, .. } = outcome {
                    self.0.metrics.count_runs_ended("CANCELLED", cancelled.into());
                }
            })
        };
        match deleted {
            Err(ApiError::Rejected(Rejection::ScheduleNotFound { .. })) if request.allow_missing => Ok(()),
            other => other,
        }
    }

    async fn pause(&self, mut request: pb::PauseScheduleRequest) -> Result<pb::Schedule, ApiError> {
        let mut found = Violations::default();
        let request_key = request_key(&mut request, &mut found);
        let expected = revision("etag", &request.etag, &mut found);
        let asked = pb::Pause {
            reason: request.reason,
            actor: request.actor,
            until: request.until,
            ..Default::default()
        };
        let pause = self.read_pause("", &asked, &mut found);
        let key = found.take("name", names::parse_schedule(&request.name, self.name_max()));
        let key = match (found.or(key.clone()), key) {
            (Ok(key), _) => key,
            (Err(violations), Some(key)) if !request.validate_only && only_too_late(&violations) => {
                return self.repeated(&key, request_key, violations.into(), NEXT_TIMES).await;
            }
            (Err(violations), _) => return Err(violations.into()),
        };
        if pause.until.is_some() {
            self.require_level_2("a pause that ends by itself")?;
        }
        if request.validate_only {
            return self
                .validated(&key, expected, |schedule, now| {
                    let paused_at = schedule.pause.as_ref().map_or(now, |pause| pause.paused_at);
                    schedule.pause = Some(Box::new(Pause { paused_at, ..pause }));
                })
                .await;
        }
        let action = || {
            let Pause { reason, actor, until, .. } = pause.clone();
            Action::PauseSchedule { key: key.clone(), expected, reason, actor, until }
        };
        let outcome = self.propose_patiently(request_key, action).await?;
        self.encode_outcome(outcome, NEXT_TIMES)
    }

    async fn resume(&self, mut request: pb::ResumeScheduleRequest) -> Result<pb::Schedule, ApiError> {
        let mut found = Violations::default();
        let request_key = request_key(&mut request, &mut found);
        let expected = revision("etag", &request.etag, &mut found);
        found.limit("actor", request.actor.len(), self.name_max(), "bytes");
        let key = found.take("name", names::parse_schedule(&request.name, self.name_max()));
        let key = found.or(key)?;
        use pb::resume_schedule_request::Missed;
        let missed = match request.missed() {
            Missed::Unspecified | Missed::Skip => ResumeMissed::Skip,
            Missed::Coalesce => ResumeMissed::Coalesce,
            Missed::FireAll => self.fire_all_of_pause(&key)?,
        };
        if missed != ResumeMissed::Skip {
            self.require_level_2("a resume that makes up for the pause")?;
        }
        if request.validate_only {
            return self.validated(&key, expected, |schedule, _| schedule.pause = None).await;
        }
        let actor: ArcStr = request.actor.into();
        let action = || Action::ResumeSchedule { key: key.clone(), expected, missed, actor: actor.clone() };
        let outcome = self.propose_patiently(request_key, action).await?;
        self.encode_outcome(outcome, NEXT_TIMES)
    }

    async fn trigger(&self, mut request: pb::TriggerScheduleRequest) -> Result<pb::Run, ApiError> {
        let mut found = Violations::default();
        let request_key = request_key(&mut request, &mut found);
        found.limit("actor", request.actor.len(), self.name_max(), "bytes");
        let key = found.take("name", names::parse_schedule(&request.name, self.name_max()));
        let key = found.or(key)?;
        use pb::trigger_schedule_request::Overlap as Wire;
        let overlap = match request.overlap() {
            Wire::Unspecified | Wire::Wait => TriggerOverlap::Wait,
            Wire::Allow => TriggerOverlap::Allow,
            Wire::Refuse => TriggerOverlap::Refuse,
        };
        if overlap != TriggerOverlap::Wait {
            self.require_level_2("a trigger that does not wait")?;
        }
        let now = self.0.clock.now();
        let actor: ArcStr = request.actor.into();
        if request.validate_only {
            self.barrier(Freshness::Linearizable).await?;
            let view = self.view(&key)?;
            let waiting = self.0.replica.read(|state| state.waiting_triggers(view.schedule.id));
            if waiting >= MANUAL_WAITING_MAX {
                return Err(Rejection::TooManyWaiting { key, waiting }.into());
            }
            if overlap == TriggerOverlap::Refuse && view.due + view.running > 0 {
                return Err(Rejection::Busy { key }.into());
            }
            let run = manual_run(&view.schedule, actor, now);
            return Ok(encode::run(RunView::preview(run, view.schedule), Output::LeftOut));
        }
        let action = Action::TriggerSchedule { key, actor, overlap };
        let Outcome::Run(run) = self.propose(now, request_key, action).await? else {
            return Err(ApiError::WrongOutcome);
        };
        // A repeated request counts again here; it is rare, and the ledger is exact.
        self.0.metrics.count_rows_created("manual", 1);
        let view = self.0.replica.read(|state| RunView::of(state, &run));
        Ok(encode::run(view.ok_or(ApiError::WrongOutcome)?, Output::LeftOut))
    }

    /// How far back FIRE_ALL goes in the pause of a schedule: by its misfire policy, or the defaults of FIRE_ALL.
    fn fire_all_of_pause(&self, key: &ScheduleKey) -> Result<ResumeMissed, ApiError> {
        let now = self.0.clock.now();
        let found = self.0.replica.read(|state| {
            let schedule = state.schedule_named(key)?;
            let timing = &schedule.definition.timing;
            let calendars = self.0.timings.calendars(state, &key.namespace, timing);
            let paused_at = schedule.pause.as_ref().map(|pause| pause.paused_at)?;
            Some((schedule.definition.clone(), calendars, paused_at))
        });
        let Some((definition, calendars, paused_at)) = found else { return Ok(ResumeMissed::Skip) };
        if definition.timing.fixed_delay().is_some() {
            // It has no instants of its own: one run stands for the pause.
            return Ok(ResumeMissed::Coalesce);
        }
        let (window, count_max) = match definition.policies.misfire {
            MisfirePolicy::FireAll { window, count_max } => (window, count_max),
            MisfirePolicy::Coalesce | MisfirePolicy::Skip { .. } => FIRE_ALL_DEFAULTS,
        };
        let earliest = paused_at.max(now.minus(window));
        let compiled = self.0.timings.compile(&definition.timing, &calendars?)?;
        let newest: Vec<_> = compiled.between_rev(earliest.0, now.0).take(count_max as usize).collect();
        Ok(match newest.last() {
            Some(first) => {
                ResumeMissed::FireAll { from_at: UnixMillis(*first), expected: newest.len() as u64 }
            }
            None => ResumeMissed::Skip,
        })
    }

    // ---- reading requests

    fn read_name(&self, field: &str, name: &str) -> Result<ScheduleKey, ApiError> {
        let mut found = Violations::default();
        let key = found.take(field, names::parse_schedule(name, self.name_max()));
        Ok(found.or(key)?)
    }

    pub(super) fn read_definition(
        &self,
        key: &ScheduleKey,
        given: &pb::Schedule,
        found: &mut Violations,
    ) -> Option<Definition> {
        let rules = self.rules();
        // All of them are read before any is missed, so that everything wrong is said at once.
        let timing = rules.timing(key, given.timing.as_ref(), None, self.0.clock.now(), found);
        let target = rules.target(given.target.as_ref(), found);
        let policies = rules.policies(given.policies.as_ref(), found);
        let pool = rules.pool(&given.pool, found);
        let labels = rules.labels(&given.labels, found);
        let description = rules.description(&given.description, found);
        let definition = Definition {
            pool,
            executor_labels: rules.executor_labels(&given.executor_labels, found),
            priority: rules.priority(given.priority, found),
            max_runs: (given.max_runs > 0).then_some(given.max_runs),
            completion: rules.completion(given.completion_action, found),
            history: rules.history(given.history.as_ref(), found),
            liveness: rules.liveness(given.liveness.as_ref(), found),
            labels,
            description,
            ..Definition::new(timing?, target?)
        };
        let policies = policies?;
        rules.check_policies(&policies, found);
        Some(Definition { policies, ..definition })
    }

    /// Reads a pause; the instant is the state machine's to say.
    pub(super) fn read_pause(&self, prefix: &str, pause: &pb::Pause, found: &mut Violations) -> Pause {
        let field = |name: &str| format!("{prefix}{name}");
        if pause.reason.trim().is_empty() {
            found.add(field("reason"), "is required: whoever finds it paused at night wants to know why");
        }
        found.limit(field("reason"), pause.reason.len(), self.0.limits.description_bytes_max, "bytes");
        found.limit(field("actor"), pause.actor.len(), self.name_max(), "bytes");
        let until = pause.until.as_ref().map(|until| match instant(until) {
            Some(until) if until > self.0.clock.now() => until,
            Some(_) | None => {
                found.add(field("until"), "must be a time in the future: the pause ends by itself then");
                UnixMillis::default()
            }
        });
        let (reason, actor) = (pause.reason.clone(), pause.actor.clone());
        Pause { reason, actor, paused_at: UnixMillis::default(), until, skipped: 0 }
    }

    // ---- writing answers

    pub(super) fn view(&self, key: &ScheduleKey) -> Result<ScheduleView, ApiError> {
        let view = |state: &belfry_core::State| {
            state
                .schedule_named(key)
                .map(|schedule| ScheduleView::of(state, &self.0.timings, schedule.clone()))
        };
        let view = self.0.replica.read(view);
        view.ok_or_else(|| Rejection::ScheduleNotFound { key: key.clone() }.into())
    }

    /// API-2: the schedule that this request was answered with before, where now it is refused.
    pub(super) async fn repeated(
        &self,
        key: &ScheduleKey,
        request: Option<RequestKey>,
        refusal: ApiError,
        next_times: usize,
    ) -> Result<pb::Schedule, ApiError> {
        self.encode_outcome(self.answered(key, request, refusal).await?, next_times)
    }

    /// API-2: the answer that this request got before, where now it is refused because time went on or others went on.
    pub(super) async fn answered(
        &self,
        key: &ScheduleKey,
        request: Option<RequestKey>,
        refusal: ApiError,
    ) -> Result<Outcome, ApiError> {
        if request.is_none() {
            return Err(refusal);
        }
        // The state machine alone knows the answers. Revisions begin with 1, so that this cannot resume anything.
        let (expected, missed) = (Some(Revision::default()), ResumeMissed::Skip);
        let action = Action::ResumeSchedule { key: key.clone(), expected, missed, actor: "".into() };
        match self.propose(self.0.clock.now(), request, action).await {
            Err(ApiError::Rejected(
                Rejection::ScheduleNotFound { .. } | Rejection::RevisionMismatch { .. },
            )) => Err(refusal),
            other => other,
        }
    }

    /// The schedule that a proposal left, with what the ledger says of it by now.
    pub(super) fn encode_outcome(
        &self,
        outcome: Outcome,
        next_times: usize,
    ) -> Result<pb::Schedule, ApiError> {
        let (Outcome::Schedule(schedule) | Outcome::Deleted { schedule, .. }) = outcome else {
            return Err(ApiError::WrongOutcome);
        };
        let view = self.0.replica.read(|state| ScheduleView::of(state, &self.0.timings, *schedule));
        Ok(encode::schedule(&view, self.0.clock.now(), next_times))
    }

    /// What `change` would make of a schedule, without doing it.
    async fn validated(
        &self,
        key: &ScheduleKey,
        expected: Option<Revision>,
        change: impl FnOnce(&mut Schedule, UnixMillis) + Send,
    ) -> Result<pb::Schedule, ApiError> {
        self.barrier(Freshness::Linearizable).await?;
        let mut view = self.view(key)?;
        check_revision(&view.schedule, expected)?;
        let now = self.0.clock.now();
        change(&mut view.schedule, now);
        Ok(encode::schedule(&view, now, NEXT_TIMES))
    }

    /// A schedule that was not made: it has neither uid nor etag.
    fn preview(&self, schedule: Schedule, now: UnixMillis, assumed: &Assumed) -> pb::Schedule {
        let timings = &self.0.timings;
        let view = self.0.replica.read(|state| ScheduleView::assuming(state, timings, schedule, assumed));
        let encoded = encode::schedule(&view, now, NEXT_TIMES);
        pb::Schedule { etag: String::new(), ..encoded }
    }
}

/// Why a schedule of this name cannot be made, if it cannot.
fn has_no_place(state: &belfry_core::State, key: &ScheduleKey) -> Option<Rejection> {
    if state.schedule_named(key).is_some() {
        return Some(Rejection::ScheduleExists { key: key.clone() });
    }
    let max = state.namespace(&key.namespace)?.schedules_max?;
    let namespace = key.namespace.clone();
    (state.schedules_in(&namespace) >= max).then_some(Rejection::TooManySchedules { namespace, max })
}

/// Refuses a timing of single instants that has none left: they lay in the future when they were read and have passed since. A
/// schedule that was accepted and never fires would be silence (LEDGER-1).
pub(super) fn check_not_passed(timing: &Timing) -> Result<(), Violations> {
    let single = |rule: &Rule| match rule {
        Rule::At(at) => Some(("at_time", belfry_timing::format_time(at.0))),
        Rule::AtLocal(at) => Some(("at_local_time", at.clone())),
        Rule::Cron { .. } | Rule::Interval { .. } | Rule::Calendar(_) | Rule::FixedDelay(_) => None,
    };
    let singles: Option<Vec<_>> = timing.include.iter().map(single).collect();
    match singles.and_then(|singles| singles.into_iter().next()) {
        Some((field, at)) => Err(Violations::one(
            format_args!("schedule.timing.include[0].{field}"),
            format_args!("{at} has just passed: give a later time"),
            INVALID_FIELD,
        )),
        None => Ok(()),
    }
}

/// Whether nothing is wrong but an instant that has passed: it may not have when the request came for the first time.
pub(super) fn only_too_late(violations: &Violations) -> bool {
    violations
        .all()
        .iter()
        .all(|one| matches!(one.field.rsplit('.').next(), Some("at_time" | "at_local_time" | "until")))
}

fn preview(
    key: ScheduleKey,
    definition: Arc<Definition>,
    next_fire_at: Option<UnixMillis>,
    pause: Option<Pause>,
    now: UnixMillis,
) -> Schedule {
    let mut schedule = Schedule::new(ScheduleId::default(), "".into(), key, definition, now);
    schedule.next_fire_at = next_fire_at;
    schedule.pause = pause.map(Box::new);
    schedule
}

/// The run that a trigger would make.
fn manual_run(schedule: &Schedule, actor: ArcStr, now: UnixMillis) -> Run {
    Run {
        id: RunId::default(),
        schedule: schedule.id,
        generation: schedule.generation,
        nominal_at: now,
        scheduled_at: now,
        trigger: Trigger::Manual,
        actor,
        created_at: now,
        window_start_at: now,
        merged_count: 0,
        attempt: AttemptNo(0),
        beside: false,
        cancel: None,
        resolution: None,
        state: RunState::Due { held: None, retry: None },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_single_instant_that_passed_while_it_was_checked_is_refused() {
        let refused = |rules| {
            check_not_passed(&Timing::of(rules, "Europe/Berlin"))
                .err()
                .map(|found| found.all()[0].field.clone())
        };
        let local = Rule::AtLocal("2026-11-23T03:00:00".into());
        assert_eq!(refused(vec![local.clone()]).as_deref(), Some("schedule.timing.include[0].at_local_time"));
        let at = Rule::At(UnixMillis(1));
        assert_eq!(refused(vec![at, local.clone()]).as_deref(), Some("schedule.timing.include[0].at_time"));
        let never =
            Rule::Cron { expression: "0 0 30 2 *".into(), resolved: "0 0 30 2 *".into(), allow_never: true };
        assert_eq!(refused(vec![local, never]), None, "by hand only, and that was said");
    }
}
