//! Updates of schedules: what is masked of what is given goes on top of what is there.

use std::sync::Arc;

use belfry_core::command::{Fire, FireGroup, RequestKey, Retime};
use belfry_core::definition::Definition;
use belfry_core::{Action, Rejection, Revision, Schedule, ScheduleKey, UnixMillis};
use belfry_proto::v1 as pb;

use super::encode::{self, NEXT_TIMES, ScheduleView};
use super::errors::ApiError;
use super::mask::Mask;
use super::propose::{Patience, check_revision, request_key, revision};
use super::schedules::{Creation, check_not_passed, only_too_late};
use super::violations::Violations;
use super::{Api, Freshness, names};
use crate::timings::Assumed;

/// Changes by others between reading and writing that one update puts up with.
const UPDATE_RACES_MAX: u32 = 10;

/// An update as it was asked for.
struct Update<'a> {
    key: ScheduleKey,
    mask: Mask,
    given: &'a pb::Schedule,
    etag: Option<Revision>,
    request: Option<RequestKey>,
    allow_missing: bool,
    validate_only: bool,
    assumed: Assumed,
    /// How many of its next times the answer says, unless it is of a check.
    next_times: usize,
}

impl Update<'_> {
    /// Whether somebody changed, made or deleted the schedule between our reading and our writing, and the caller did not
    /// ask for a certain version: what was asked for goes on top of what is there now.
    fn lost_race(&self, error: &ApiError) -> bool {
        let ApiError::Rejected(rejection) = error else { return false };
        let lost = match rejection {
            Rejection::RevisionMismatch { .. } => true,
            Rejection::ScheduleExists { .. } | Rejection::ScheduleNotFound { .. } => self.allow_missing,
            Rejection::RequestIdReused { .. }
            | Rejection::NotCaughtUp { .. }
            | Rejection::TooManyWaiting { .. }
            | Rejection::Busy { .. }
            | Rejection::ObjectNotFound { .. }
            | Rejection::ObjectRevisionMismatch { .. }
            | Rejection::ObjectInUse { .. }
            | Rejection::TooManySchedules { .. }
            | Rejection::BackfillNotFound { .. }
            | Rejection::BackfillRunning { .. }
            | Rejection::LedgerTooShort { .. }
            | Rejection::RunNotFound { .. }
            | Rejection::NotUnknown { .. }
            | Rejection::Malformed { .. } => false,
        };
        lost && self.etag.is_none()
    }
}

impl Api {
    pub(super) async fn update(
        &self,
        mut request: pb::UpdateScheduleRequest,
        next_times: usize,
    ) -> Result<pb::Schedule, ApiError> {
        let mut found = Violations::default();
        let request_key = request_key(&mut request, &mut found);
        let mask = Mask::read(request.update_mask.as_ref(), &mut found);
        let assumed = self.read_assumed(request.assumed_calendars, request.validate_only, &mut found);
        let Some(given) = request.schedule.as_ref() else {
            found.add("schedule", "is required");
            return Err(found.into());
        };
        let key = found.take("schedule.name", names::parse_schedule(&given.name, self.name_max()));
        let etag = revision("schedule.etag", &given.etag, &mut found);
        let update = Update {
            key: found.or(key)?,
            mask,
            given,
            etag,
            request: request_key,
            allow_missing: request.allow_missing,
            validate_only: request.validate_only,
            assumed,
            next_times,
        };
        let mut patience = Patience::new(self);
        let mut races = 0;
        loop {
            match self.update_once(&update).await {
                Err(error) if update.lost_race(&error) && races < UPDATE_RACES_MAX => races += 1,
                Err(error) if patience.again(&error).await => {}
                other => return other,
            }
        }
    }

    async fn update_once(&self, update: &Update<'_>) -> Result<pb::Schedule, ApiError> {
        let Update { key, mask, given, etag, request, allow_missing, validate_only, assumed, next_times } =
            update;
        self.barrier(Freshness::Linearizable).await?;
        let current = match self.view(key) {
            Ok(current) => current,
            // An etag is that of a schedule that was there: it is not this caller's to bring back.
            Err(ApiError::Rejected(Rejection::ScheduleNotFound { .. }))
                if *allow_missing && etag.is_none() =>
            {
                return Box::pin(self.make(self.creation(update)?, *next_times)).await;
            }
            Err(error) if !validate_only => {
                return self.repeated(key, request.clone(), error, *next_times).await;
            }
            Err(error) => return Err(error),
        };
        let now = self.0.clock.now();
        let definition = match self.merge(key, &current.schedule.definition, mask, given, now) {
            Ok(definition) => definition,
            Err(ApiError::Invalid(violations)) if !validate_only && only_too_late(&violations) => {
                return self.repeated(key, request.clone(), violations.into(), *next_times).await;
            }
            Err(error) => return Err(error),
        };
        self.require_level_of(&definition)?;
        let old = &current.schedule.definition;
        // Not before the watermark: another leader's clock may have been ahead, and its instants have their rows.
        let after = now.max(current.schedule.watermark);
        let (retime, calendars) = if definition.timing != old.timing || definition.max_runs != old.max_runs {
            let (next, calendars) = self.first_after(key, &definition.timing, after, assumed)?;
            // What has passed already may stay.
            if next.is_none() && definition.timing != old.timing {
                check_not_passed(&definition.timing)?;
            }
            (Retime::From(next), calendars)
        } else if may_move(&current.schedule, assumed) {
            // That calendars leave it nothing is no mistake of this update.
            let (next, _) = self.next_after(key, &definition.timing, after, assumed)?;
            (Retime::From(next), Revision::default())
        } else {
            (Retime::Keep, Revision::default())
        };
        let definition = Arc::new(definition);
        if *validate_only {
            check_revision(&current.schedule, *etag)?;
            let mut changed = current.schedule;
            changed.definition = definition;
            if let Retime::From(next) = retime {
                changed.next_fire_at = next;
            }
            // Seen anew: the instants behind the first one are those of the new timing too.
            let changed =
                |state: &belfry_core::State| ScheduleView::assuming(state, &self.0.timings, changed, assumed);
            return Ok(encode::schedule(&self.0.replica.read(changed), now, NEXT_TIMES));
        }
        if let Retime::From(next) = retime {
            self.fire_unreadable(&current.schedule, next, now).await?;
        }
        // Without an etag of the caller's, that of what was merged: a change in between must not be lost.
        let expected = Some(etag.unwrap_or(current.schedule.revision));
        let action = Action::UpdateSchedule { key: key.clone(), expected, definition, retime, calendars };
        let outcome = self.propose(now, request.clone(), action).await?;
        self.encode_outcome(outcome, *next_times)
    }

    /// Makes the row of an instant that has come by a timing that this build cannot evaluate, such as one of a newer release. The
    /// ticker waits for somebody who can, and an edit would wait with it, for ever. `next` is the first instant of the timing
    /// that replaces it; which others there were in between is not known here.
    async fn fire_unreadable(
        &self,
        current: &Schedule,
        next: Option<UnixMillis>,
        now: UnixMillis,
    ) -> Result<(), ApiError> {
        let Some(nominal_at) = current.next_fire_at.filter(|due| *due <= now) else { return Ok(()) };
        let timings = &self.0.timings;
        let timing = &current.definition.timing;
        let calendars = self.0.replica.read(|state| timings.calendars(state, &current.key.namespace, timing));
        let Err(fault) = calendars.and_then(|calendars| timings.next(timing, &calendars, nominal_at)) else {
            return Ok(());
        };
        tracing::warn!(schedule = %current.key, %fault, "an edit replaces a timing that this node cannot evaluate");
        let fires = vec![Fire::new(current.id, current.generation, next)];
        let action = Action::Fire(vec![FireGroup { nominal_at, fires }]);
        self.propose(now, None, action).await?;
        Ok(())
    }

    /// The schedule that an update makes where there is none; masks do not apply then.
    fn creation(&self, update: &Update<'_>) -> Result<Creation, ApiError> {
        let mut found = Violations::default();
        let definition = self.read_definition(&update.key, update.given, &mut found);
        let pause = update.given.pause.as_ref();
        let pause = pause.map(|pause| self.read_pause("schedule.pause.", pause, &mut found));
        let definition = Arc::new(found.or(definition)?);
        let (key, request) = (update.key.clone(), update.request.clone());
        let (validate_only, assumed) = (update.validate_only, update.assumed.clone());
        Ok(Creation { key, definition, pause, request, validate_only, assumed })
    }

    /// `current` with the masked fields of `given`. Only those are checked: what is stored was checked when it came in,
    /// and limits may have changed since.
    fn merge(
        &self,
        key: &ScheduleKey,
        current: &Definition,
        mask: &Mask,
        given: &pb::Schedule,
        now: UnixMillis,
    ) -> Result<Definition, ApiError> {
        let (rules, mut found) = (self.rules(), Violations::default());
        let mut merged = current.clone();
        if mask.has("timing") {
            let timing = rules.timing(key, given.timing.as_ref(), Some(&current.timing), now, &mut found);
            merged.timing = timing.unwrap_or(merged.timing);
        }
        if mask.has("target") {
            merged.target = rules.target(given.target.as_ref(), &mut found).unwrap_or(merged.target);
        }
        if mask.has_policies() {
            let given = given.policies.clone().unwrap_or_default();
            let given = mask.policies_of(&given, &encode::policies(&current.policies));
            if let Some(read) = rules.policies(Some(&given), &mut found) {
                merged.policies = mask.merge_policies(merged.policies, &read);
                rules.check_policies(&merged.policies, &mut found);
            }
        }
        if mask.has("pool") {
            merged.pool = rules.pool(&given.pool, &mut found);
        }
        if mask.has("labels") {
            merged.labels = rules.labels(&given.labels, &mut found);
        }
        if mask.has("description") {
            merged.description = rules.description(&given.description, &mut found);
        }
        if mask.has("priority") {
            merged.priority = rules.priority(given.priority, &mut found);
        }
        if mask.has("max_runs") {
            merged.max_runs = (given.max_runs > 0).then_some(given.max_runs);
        }
        if mask.has("completion_action") {
            merged.completion = rules.completion(given.completion_action, &mut found);
        }
        if mask.has("executor_labels") {
            merged.executor_labels = rules.executor_labels(&given.executor_labels, &mut found);
        }
        if mask.has("history") {
            merged.history = rules.history(given.history.as_ref(), &mut found);
        }
        if mask.has("liveness") {
            merged.liveness = rules.liveness(given.liveness.as_ref(), &mut found);
        }
        found.check()?;
        Ok(merged)
    }
}

/// Whether calendars that are assumed may move what comes next: it uses one of them, and has not had all its runs.
fn may_move(schedule: &Schedule, assumed: &Assumed) -> bool {
    let Definition { timing, max_runs, .. } = &*schedule.definition;
    let is_spent = schedule.next_fire_at.is_none() && max_runs.is_some();
    let is_assumed =
        |name: &str| assumed.keys().any(|key| key.namespace == schedule.key.namespace && *key.name == *name);
    !is_spent && timing.calendars.iter().any(|used| is_assumed(&used.calendar))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn loses(etag: Option<Revision>, allow_missing: bool) -> [bool; 4] {
        let (key, given) = (ScheduleKey::new("ns", "name"), pb::Schedule::default());
        let update = Update {
            key: key.clone(),
            mask: Mask::read(None, &mut Violations::default()),
            given: &given,
            etag,
            request: None,
            allow_missing,
            validate_only: false,
            assumed: Assumed::new(),
            next_times: NEXT_TIMES,
        };
        [
            Rejection::RevisionMismatch { key: key.clone(), current: Revision(2) },
            Rejection::ScheduleExists { key: key.clone() },
            Rejection::ScheduleNotFound { key },
            Rejection::RequestIdReused { id: "r".into() },
        ]
        .map(|rejection| update.lost_race(&rejection.into()))
    }

    #[test]
    fn an_update_goes_on_top_of_what_others_made_meanwhile() {
        assert_eq!(loses(None, false), [true, false, false, false]);
        // Two that would create it at once: the second one updates what the first one made.
        assert_eq!(loses(None, true), [true, true, true, false]);
        assert_eq!(loses(Some(Revision(1)), true), [false; 4], "a certain version was asked for");
    }
}
