//! `BackfillService`.

use arcstr::ArcStr;
use belfry_core::backfill::{Backfill, BackfillMode, BackfillState};
use belfry_core::command::BackfillVerb;
use belfry_core::object::{Object, ObjectKind};
use belfry_core::state::BackfillRequest;
use belfry_core::{Action, BackfillId, Rejection, ScheduleKey, State, UnixMillis};
use belfry_proto::v1 as pb;
use belfry_proto::v1::backfill_service_server::BackfillService;
use tonic::{Request, Response, Status};

use super::object_of;
use crate::api::definition::instant;
use crate::api::encode::timestamp;
use crate::api::errors::ApiError;
use crate::api::propose::request_key;
use crate::api::violations::{INVALID_FIELD, Violations};
use crate::api::{Api, Freshness, names};

/// Instants of one backfill: at one at a time, days of work.
const INSTANTS_MAX: usize = 100_000;

#[tonic::async_trait]
impl BackfillService for Api {
    async fn create_backfill(
        &self,
        request: Request<pb::CreateBackfillRequest>,
    ) -> Result<Response<pb::Backfill>, Status> {
        Ok(Response::new(self.make_backfill(request.into_inner()).await?))
    }

    async fn get_backfill(
        &self,
        request: Request<pb::GetBackfillRequest>,
    ) -> Result<Response<pb::Backfill>, Status> {
        let freshness = Freshness::of(&request);
        let name = request.into_inner().name;
        let (key, id) = self.backfill_name(&name)?;
        self.barrier(freshness).await.map_err(Status::from)?;
        let found = self.0.replica.read(|state| find(state, &key, id).map(|backfill| encode(&key, backfill)));
        Ok(Response::new(found.ok_or(ApiError::from(Rejection::BackfillNotFound { backfill: id }))?))
    }

    async fn list_backfills(
        &self,
        request: Request<pb::ListBackfillsRequest>,
    ) -> Result<Response<pb::ListBackfillsResponse>, Status> {
        let freshness = Freshness::of(&request);
        let mut found = Violations::default();
        let parent = request.into_inner().parent;
        let key = found.take("parent", names::parse_schedule(&parent, self.name_max()));
        let key = found.or(key).map_err(ApiError::from)?;
        self.barrier(freshness).await.map_err(Status::from)?;
        let listed = self.0.replica.read(|state| {
            let schedule = state.schedule_named(&key)?;
            let mut backfills: Vec<_> =
                state.backfills_of(schedule.id).map(|backfill| encode(&key, backfill)).collect();
            backfills.reverse();
            Some(backfills)
        });
        let backfills = listed.ok_or(ApiError::ScheduleNotFound { name: parent })?;
        Ok(Response::new(pb::ListBackfillsResponse { backfills }))
    }

    async fn pause_backfill(
        &self,
        request: Request<pb::ControlBackfillRequest>,
    ) -> Result<Response<pb::Backfill>, Status> {
        Ok(Response::new(self.control_backfill(request.into_inner(), BackfillVerb::Pause).await?))
    }

    async fn resume_backfill(
        &self,
        request: Request<pb::ControlBackfillRequest>,
    ) -> Result<Response<pb::Backfill>, Status> {
        Ok(Response::new(self.control_backfill(request.into_inner(), BackfillVerb::Resume).await?))
    }

    async fn cancel_backfill(
        &self,
        request: Request<pb::ControlBackfillRequest>,
    ) -> Result<Response<pb::Backfill>, Status> {
        Ok(Response::new(self.control_backfill(request.into_inner(), BackfillVerb::Cancel).await?))
    }
}

impl Api {
    async fn make_backfill(&self, mut request: pb::CreateBackfillRequest) -> Result<pb::Backfill, ApiError> {
        let mut found = Violations::default();
        let request_key = request_key(&mut request, &mut found);
        let key = found.take("parent", names::parse_schedule(&request.parent, self.name_max()));
        let given = request.backfill.unwrap_or_default();
        let mut time = |name: &str, at: Option<&prost_types::Timestamp>| {
            let read = at.and_then(instant);
            if read.is_none() {
                found.add(format_args!("backfill.{name}"), "is required, as a time");
            }
            read
        };
        let start = time("start_time", given.start_time.as_ref());
        let end = time("end_time", given.end_time.as_ref());
        let now = self.0.clock.now();
        if let (Some(start), Some(end)) = (start, end)
            && start >= end
        {
            found.add("backfill.end_time", "is not after start_time");
        }
        let (reason, actor) = (given.reason.as_str(), given.actor.as_str());
        self.check_words("backfill.", reason, actor, &mut found);
        let mode = match given.mode() {
            pb::backfill::Mode::Unspecified | pb::backfill::Mode::Missing => BackfillMode::Missing,
            pb::backfill::Mode::Reprocess => BackfillMode::Reprocess,
        };
        let range = start.zip(end);
        let (key, (from_at, until_at)) = found.or(key.zip(range))?;
        self.require_level_2("a backfill")?;
        self.barrier(Freshness::Linearizable).await?;
        let counted =
            has_passed(until_at, now).and_then(|()| self.count_for_backfill(&key, mode, from_at, until_at));
        let expected = match counted {
            Ok(expected) => expected,
            // Asked for again, it may be its own backfill that is in the way, or a leader whose clock is behind.
            Err(refusal) if !request.validate_only => {
                return encode_object(&key, &object_of(self.answered(&key, request_key, refusal).await?)?);
            }
            Err(refusal) => return Err(refusal),
        };
        let asked =
            BackfillRequest { from_at, until_at, mode, expected, actor: actor.into(), reason: reason.into() };
        if request.validate_only {
            let created = belfry_core::run::Verdict { actor: asked.actor, reason: asked.reason, at: now };
            return Ok(encode(&key, &preview(created, mode, (from_at, until_at), expected)));
        }
        let action = Action::CreateBackfill { key: key.clone(), request: asked };
        encode_object(&key, &object_of(self.propose(now, request_key, action).await?)?)
    }

    /// Counts the instants of a range, and refuses what the state machine would refuse, in words that name the field.
    fn count_for_backfill(
        &self,
        key: &ScheduleKey,
        mode: BackfillMode,
        from_at: UnixMillis,
        until_at: UnixMillis,
    ) -> Result<u64, ApiError> {
        let found = self.0.replica.read(|state| {
            let not_found = || Rejection::ScheduleNotFound { key: key.clone() };
            let schedule = state.schedule_named(key).ok_or_else(not_found)?;
            state.backfill_possible(schedule.id, mode, from_at)?;
            let calendars = self.0.timings.calendars(state, &key.namespace, &schedule.definition.timing)?;
            Ok((schedule.definition.clone(), calendars))
        });
        // Not under the lock: a range may have many instants.
        let counted = found.and_then(|(definition, calendars)| {
            let range = (from_at, until_at);
            Ok(self.0.timings.count(&definition.timing, &calendars, range, INSTANTS_MAX + 1)?)
        });
        match counted {
            Err(ApiError::Rejected(Rejection::LedgerTooShort { pruned_until, .. })) => Err(Violations::one(
                "backfill.start_time",
                format_args!(
                    "the ledger has dropped rows up to {}: what is missing before is not known; begin after it, or use REPROCESS",
                    belfry_timing::format_time(pruned_until.0)
                ),
                INVALID_FIELD,
            )
            .into()),
            Ok(count) if count > INSTANTS_MAX => Err(Violations::one(
                "backfill.end_time",
                format_args!("the range has more than {INSTANTS_MAX} instants: take a shorter one"),
                INVALID_FIELD,
            )
            .into()),
            Ok(0) => Err(Violations::one(
                "backfill.start_time",
                "the timing has no instant in the range",
                INVALID_FIELD,
            )
            .into()),
            other => other.map(|count| count as u64),
        }
    }

    async fn control_backfill(
        &self,
        mut request: pb::ControlBackfillRequest,
        verb: BackfillVerb,
    ) -> Result<pb::Backfill, ApiError> {
        let mut found = Violations::default();
        // The three verbs take the same request: the verb is part of what was asked.
        let request_key = request_key(&mut request, &mut found).map(|key| {
            let fingerprint = key.fingerprint.rotate_left(verb as u32);
            belfry_core::command::RequestKey { fingerprint, ..key }
        });
        match verb {
            BackfillVerb::Pause | BackfillVerb::Cancel => {
                self.check_words("", &request.reason, &request.actor, &mut found);
            }
            BackfillVerb::Resume => {}
        }
        found.check()?;
        let (key, id) = self.backfill_name(&request.name)?;
        self.barrier(Freshness::Linearizable).await?;
        let current = self.0.replica.read(|state| find(state, &key, id).cloned());
        let (actor, reason): (ArcStr, ArcStr) = (request.actor.into(), request.reason.into());
        match current {
            Some(mut backfill) if request.validate_only => {
                let verdict = belfry_core::run::Verdict { actor, reason, at: self.0.clock.now() };
                backfill.state = backfill.state.after(verb, verdict);
                return Ok(encode(&key, &backfill));
            }
            Some(_) => {}
            None => {
                let refusal = Rejection::BackfillNotFound { backfill: id }.into();
                if request.validate_only {
                    return Err(refusal);
                }
                return encode_object(&key, &object_of(self.answered(&key, request_key, refusal).await?)?);
            }
        }
        let action = Action::ControlBackfill { backfill: id, verb, actor, reason };
        encode_object(&key, &object_of(self.propose(self.0.clock.now(), request_key, action).await?)?)
    }

    fn backfill_name(&self, name: &str) -> Result<(ScheduleKey, BackfillId), ApiError> {
        let mut found = Violations::default();
        let read = found.take("name", names::parse_backfill(name, self.name_max()));
        Ok(found.or(read)?)
    }
}

/// A backfill of the schedule that has the name now.
fn find<'a>(state: &'a State, key: &ScheduleKey, id: BackfillId) -> Option<&'a Backfill> {
    let schedule = state.schedule_named(key)?;
    state.backfill(id).filter(|backfill| backfill.schedule == schedule.id)
}

/// A backfill that was not made.
fn preview(
    created: belfry_core::run::Verdict,
    mode: BackfillMode,
    (from_at, until_at): (UnixMillis, UnixMillis),
    expected: u64,
) -> Backfill {
    Backfill {
        id: BackfillId::default(),
        schedule: Default::default(),
        from_at,
        until_at,
        mode,
        created,
        expected,
        cursor: from_at,
        state: BackfillState::Running,
        counts: Default::default(),
    }
}

fn encode_object(key: &ScheduleKey, object: &Object) -> Result<pb::Backfill, ApiError> {
    match &object.kind {
        ObjectKind::Backfill(backfill) => Ok(encode(key, backfill)),
        ObjectKind::Calendar(_) | ObjectKind::Pool(_) | ObjectKind::Namespace(_) => {
            Err(ApiError::WrongOutcome)
        }
    }
}

fn encode(key: &ScheduleKey, backfill: &Backfill) -> pb::Backfill {
    use pb::backfill::State as Wire;
    let (state, verdict, completed_at) = match &backfill.state {
        BackfillState::Running => (Wire::Running, None, None),
        BackfillState::Paused(verdict) => (Wire::Paused, Some(verdict), None),
        BackfillState::Cancelled(verdict) => (Wire::Cancelled, Some(verdict), None),
        BackfillState::Completed { at } => (Wire::Completed, None, Some(*at)),
    };
    let is_made = backfill.id != BackfillId::default();
    let counts = &backfill.counts;
    pb::Backfill {
        name: if is_made { names::backfill_name(key, backfill.id) } else { String::new() },
        start_time: Some(timestamp(backfill.from_at)),
        end_time: Some(timestamp(backfill.until_at)),
        mode: match backfill.mode {
            BackfillMode::Missing => pb::backfill::Mode::Missing,
            BackfillMode::Reprocess => pb::backfill::Mode::Reprocess,
        }
        .into(),
        reason: backfill.created.reason.to_string(),
        actor: backfill.created.actor.to_string(),
        state: state.into(),
        create_time: Some(timestamp(backfill.created.at)),
        instant_count: backfill.expected,
        cursor_time: Some(timestamp(backfill.cursor)),
        created_count: counts.created,
        present_count: counts.present,
        succeeded_count: counts.succeeded,
        unsuccessful_count: counts.unsuccessful,
        not_started_count: counts.not_started,
        changed_by: verdict.map_or_else(String::new, |verdict| verdict.actor.to_string()),
        change_reason: verdict.map_or_else(String::new, |verdict| verdict.reason.to_string()),
        change_time: verdict.map(|verdict| verdict.at).or(completed_at).map(timestamp),
    }
}

/// A backfill runs instants that have passed.
fn has_passed(until_at: UnixMillis, now: UnixMillis) -> Result<(), ApiError> {
    let mut found = Violations::default();
    if until_at > now.next() {
        found.add("backfill.end_time", "lies in the future: a backfill runs instants that have passed");
    }
    Ok(found.or(Some(()))?)
}
