//! Backfills: instants of the past, run one at a time.
//!
//! The leader evaluates the timing and proposes instants; here it is decided which of them get a row. A row that ends makes its
//! backfill ask for the next instant.

use arcstr::ArcStr;

use crate::backfill::{Backfill, BackfillCounts, BackfillMode, BackfillState};
use crate::command::{BackfillVerb, Effect, Outcome, Rejection};
use crate::ids::{AttemptNo, BackfillId, ObjectId, Revision, RunId, ScheduleId, ScheduleKey, UnixMillis};
use crate::object::{Object, ObjectKind};
use crate::run::{Ending, Reason, Run, RunEvent, RunState, Series, Trigger, Verdict};
use crate::state::{BlockId, RowKey, State};

/// Ended backfills of one schedule that are kept.
const ENDED_MAX: usize = 20;

/// What somebody asks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BackfillRequest {
    /// The range is [from_at, until_at).
    pub from_at: UnixMillis,
    /// See [`BackfillRequest::from_at`].
    pub until_at: UnixMillis,
    /// Which instants of it.
    pub mode: BackfillMode,
    /// Instants in the range, as its proposer counted them.
    pub expected: u64,
    /// Who asks.
    pub actor: ArcStr,
    /// Why.
    pub reason: ArcStr,
}

impl State {
    pub(super) fn create_backfill(
        &mut self,
        now: UnixMillis,
        key: ScheduleKey,
        request: BackfillRequest,
    ) -> Result<Outcome, Rejection> {
        let schedule = self.find(&key)?;
        if request.from_at >= request.until_at || request.until_at > now.next() {
            return Err(Rejection::Malformed {
                why: "the range of a backfill ends before it begins, or after now",
            });
        }
        self.backfill_possible(schedule, request.mode, request.from_at)?;
        Ok(self.add_backfill(now, schedule, request))
    }

    /// Refuses a second backfill, and one that would take instants for missing that the ledger has only forgotten.
    pub fn backfill_possible(
        &self,
        schedule: ScheduleId,
        mode: BackfillMode,
        from_at: UnixMillis,
    ) -> Result<(), Rejection> {
        let declared = &self.slots[&schedule].schedule;
        if let Some(running) = self.open_backfill(schedule) {
            return Err(Rejection::BackfillRunning { key: declared.key.clone(), backfill: running });
        }
        match (mode, declared.remains().pruned_until) {
            (BackfillMode::Missing, Some(until)) if from_at <= until => {
                Err(Rejection::LedgerTooShort { key: declared.key.clone(), pruned_until: until })
            }
            (BackfillMode::Missing | BackfillMode::Reprocess, _) => Ok(()),
        }
    }

    /// The backfill of a schedule that is not over, if there is one.
    pub fn open_backfill(&self, schedule: ScheduleId) -> Option<BackfillId> {
        let backfills = self.backfills_of(schedule).filter(|backfill| !backfill.state.has_ended());
        backfills.map(|backfill| backfill.id).next()
    }

    pub(super) fn add_backfill(
        &mut self,
        now: UnixMillis,
        schedule: ScheduleId,
        request: BackfillRequest,
    ) -> Outcome {
        self.forget_old_backfills(schedule);
        let id = self.next_object_id();
        let backfill = Backfill {
            id: BackfillId(id.0),
            schedule,
            from_at: request.from_at,
            until_at: request.until_at,
            mode: request.mode,
            created: Verdict { actor: request.actor, reason: request.reason, at: now },
            expected: request.expected,
            cursor: UnixMillis(request.from_at.0.saturating_sub(1)),
            state: BackfillState::Running,
            counts: BackfillCounts::default(),
        };
        let kind = ObjectKind::Backfill(Box::new(backfill));
        let object = Object { id, revision: Revision(self.at.index), updated_at: now, kind };
        self.touch(BlockId::of_object(id));
        self.backfills.insert((schedule, BackfillId(id.0)));
        self.advancing.insert(BackfillId(id.0));
        self.objects.insert(id, object.clone());
        Outcome::Object(Box::new(object))
    }

    /// Makes the row of the next instant that wants one. `instants` are the next ones of the timing after the cursor; `last`
    /// says that there are none behind them in the range.
    pub(super) fn advance_backfill(
        &mut self,
        now: UnixMillis,
        id: BackfillId,
        instants: &[UnixMillis],
        last: LastInstants,
        effects: &mut Vec<Effect>,
    ) -> Outcome {
        let mut made = 0;
        if !self.advancing.contains(&id) {
            return Outcome::Advanced(made);
        }
        for at in instants {
            let backfill = self.backfill(id).expect("what advances exists");
            if *at <= backfill.cursor || *at >= backfill.until_at {
                continue;
            }
            let wanted = match backfill.mode {
                BackfillMode::Reprocess => true,
                BackfillMode::Missing => self.is_missing(backfill.schedule, *at),
            };
            let schedule = backfill.schedule;
            let backfill = self.backfill_mut(id, now);
            backfill.cursor = *at;
            if wanted {
                backfill.counts.created += 1;
                self.add_backfill_row(now, schedule, id, *at);
                made += 1;
                self.advancing.remove(&id);
                self.settle(schedule, now, effects);
                return Outcome::Advanced(made);
            }
            backfill.counts.present += 1;
        }
        if last == LastInstants::Yes {
            let backfill = self.backfill_mut(id, now);
            backfill.state = BackfillState::Completed { at: now };
            let schedule = backfill.schedule;
            self.advancing.remove(&id);
            // A schedule that deletes itself has waited for this.
            self.settle(schedule, now, effects);
        }
        Outcome::Advanced(made)
    }

    /// Whether an instant never began, and no other run stands for it. What the ledger has forgotten is not missing.
    fn is_missing(&self, schedule: ScheduleId, at: UnixMillis) -> bool {
        let row = |series| RowKey { schedule, nominal_at: at, series };
        let backfills = row(Series::Backfill(BackfillId(0)))..=row(Series::LAST);
        if self.by_nominal.range(backfills).any(|(_, id)| !was_abandoned(&self.runs[id].state)) {
            return false;
        }
        match self.run_at(schedule, at, Series::Timing).map(|run| &run.state) {
            None => self.slots[&schedule].schedule.remains().pruned_until.is_none_or(|until| at > until),
            Some(RunState::Due { .. } | RunState::Running(_)) => false,
            Some(RunState::Ended { ending: Ending::Skipped(Reason::Paused), .. }) => {
                self.resume_of(schedule, at).is_none_or(|resume| never_began(&resume.state))
            }
            Some(state @ RunState::Ended { .. }) => never_began(state),
        }
    }

    /// The run by which a resume stood for an instant of the pause that it ended.
    fn resume_of(&self, schedule: ScheduleId, at: UnixMillis) -> Option<&Run> {
        // The pause that covered it ended with the first resume behind it, or by itself.
        let resume = self.rows_from(schedule, at).find(|run| run.trigger == Trigger::Resume);
        resume.filter(|resume| resume.window_start_at < at)
    }

    fn add_backfill_row(
        &mut self,
        now: UnixMillis,
        schedule: ScheduleId,
        backfill: BackfillId,
        at: UnixMillis,
    ) -> RunId {
        let generation = self.slots[&schedule].schedule.generation;
        let actor = self.backfill(backfill).map(|backfill| backfill.created.actor.clone());
        let id = self.next_run_id();
        self.add_row(Run {
            id,
            schedule,
            generation,
            nominal_at: at,
            scheduled_at: at,
            trigger: Trigger::Backfill(backfill),
            actor: actor.unwrap_or_default(),
            created_at: now,
            window_start_at: UnixMillis(at.0.saturating_sub(1)),
            merged_count: 0,
            attempt: AttemptNo(0),
            beside: false,
            cancel: None,
            resolution: None,
            state: RunState::Due { held: None, retry: None },
        });
        self.take_place(id);
        id
    }

    pub(super) fn control_backfill(
        &mut self,
        now: UnixMillis,
        id: BackfillId,
        verb: BackfillVerb,
        verdict: Verdict,
        effects: &mut Vec<Effect>,
    ) -> Result<Outcome, Rejection> {
        let backfill = self.backfill(id).ok_or(Rejection::BackfillNotFound { backfill: id })?;
        let schedule = backfill.schedule;
        if !backfill.state.has_ended() {
            let waiting = self.slots[&schedule].lanes().backfill;
            let state = backfill.state.after(verb, verdict);
            self.backfill_mut(id, now).state = state;
            if let (BackfillVerb::Cancel, Some(waiting)) = (verb, waiting) {
                self.end_waiting(waiting, &RunEvent::Cancel(Reason::BackfillCancelled), now);
            }
            self.ask_for_more(id);
            self.settle(schedule, now, effects);
        }
        let object = self.objects[&ObjectId(id.0)].clone();
        Ok(Outcome::Object(Box::new(object)))
    }

    /// A row of a backfill ended.
    pub(super) fn count_backfilled(&mut self, id: BackfillId, ending: &Ending, now: UnixMillis) {
        if self.backfill(id).is_some() {
            self.backfill_mut(id, now).counts.count(ending);
            self.ask_for_more(id);
        }
    }

    /// A row that was counted as UNKNOWN is about to be counted as what it is.
    pub(super) fn uncount_backfilled(&mut self, id: BackfillId, now: UnixMillis) {
        if self.backfill(id).is_some() {
            let counts = &mut self.backfill_mut(id, now).counts;
            counts.unsuccessful = counts.unsuccessful.saturating_sub(1);
        }
    }

    /// Whether a run was made by a backfill that is over.
    pub(super) fn is_abandoned(&self, run: RunId) -> bool {
        match self.runs[&run].trigger {
            Trigger::Backfill(id) => self.backfill(id).is_none_or(|backfill| backfill.state.has_ended()),
            Trigger::Timer | Trigger::CatchUp | Trigger::Manual | Trigger::Resume => false,
        }
    }

    /// A backfill wants its next instant when it is running and none of its rows waits or runs.
    pub(super) fn ask_for_more(&mut self, id: BackfillId) {
        let Some(backfill) = self.backfill(id) else { return };
        let lanes = self.slots[&backfill.schedule].lanes();
        let is_its = |run: &RunId| self.runs[run].trigger == Trigger::Backfill(id);
        let busy = lanes.backfill.iter().chain(&lanes.recovering).any(is_its);
        if backfill.state == BackfillState::Running && !busy {
            self.advancing.insert(id);
        } else {
            self.advancing.remove(&id);
        }
    }

    /// With its schedule a backfill ends.
    pub(super) fn cancel_backfills(&mut self, schedule: ScheduleId, now: UnixMillis) {
        if let Some(id) = self.open_backfill(schedule) {
            let reason = "its schedule was deleted".into();
            let verdict = Verdict { actor: super::verdicts::BELFRY.into(), reason, at: now };
            self.backfill_mut(id, now).state = BackfillState::Cancelled(verdict);
            self.advancing.remove(&id);
        }
    }

    fn forget_old_backfills(&mut self, schedule: ScheduleId) {
        let ended: Vec<_> = self
            .backfills_of(schedule)
            .filter(|backfill| backfill.state.has_ended())
            .map(|backfill| backfill.id)
            .collect();
        let surplus = (ended.len() + 1).saturating_sub(ENDED_MAX);
        ended.into_iter().take(surplus).for_each(|id| self.forget_backfill(schedule, id));
    }

    pub(super) fn forget_backfills(&mut self, schedule: ScheduleId) {
        let all: Vec<_> = self.backfills_of(schedule).map(|backfill| backfill.id).collect();
        all.into_iter().for_each(|id| self.forget_backfill(schedule, id));
    }

    fn forget_backfill(&mut self, schedule: ScheduleId, id: BackfillId) {
        self.backfills.remove(&(schedule, id));
        self.advancing.remove(&id);
        self.objects.remove(&ObjectId(id.0));
        self.touch(BlockId::of_object(ObjectId(id.0)));
    }

    fn backfill_mut(&mut self, id: BackfillId, now: UnixMillis) -> &mut Backfill {
        self.touch(BlockId::of_object(ObjectId(id.0)));
        let revision = Revision(self.at.index);
        let object = self.objects.get_mut(&ObjectId(id.0)).expect("callers name backfills that exist");
        (object.revision, object.updated_at) = (revision, now);
        match &mut object.kind {
            ObjectKind::Backfill(backfill) => backfill,
            ObjectKind::Calendar(_) | ObjectKind::Pool(_) | ObjectKind::Namespace(_) => {
                unreachable!("a backfill's handle is a backfill")
            }
        }
    }

    // ---- what others may read

    /// A backfill.
    pub fn backfill(&self, id: BackfillId) -> Option<&Backfill> {
        match self.objects.get(&ObjectId(id.0)).map(|object| &object.kind) {
            Some(ObjectKind::Backfill(backfill)) => Some(backfill),
            Some(ObjectKind::Calendar(_) | ObjectKind::Pool(_) | ObjectKind::Namespace(_)) | None => None,
        }
    }

    /// A backfill with its revision.
    pub fn backfill_object(&self, id: BackfillId) -> Option<&Object> {
        self.objects.get(&ObjectId(id.0)).filter(|object| matches!(object.kind, ObjectKind::Backfill(_)))
    }

    /// Backfills of a schedule, oldest first.
    pub fn backfills_of(&self, schedule: ScheduleId) -> impl Iterator<Item = &Backfill> {
        let (first, last) = ((schedule, BackfillId(0)), (schedule, BackfillId(u64::MAX)));
        self.backfills.range(first..=last).filter_map(|(_, id)| self.backfill(*id))
    }

    /// Backfills that want their next instant.
    pub fn advancing(&self) -> impl Iterator<Item = &Backfill> {
        self.advancing.iter().filter_map(|id| self.backfill(*id))
    }
}

/// Whether a run ended without a begin, and nobody wanted it so.
fn never_began(state: &RunState) -> bool {
    match state {
        RunState::Due { .. } | RunState::Running(_) => false,
        RunState::Ended { ending, .. } => match ending {
            Ending::Skipped(_) | Ending::Expired => true,
            // Somebody did not want it.
            Ending::Cancelled(_) => false,
            Ending::Succeeded
            | Ending::Failed(_)
            | Ending::TimedOut
            | Ending::Unknown(_)
            | Ending::Merged { .. } => false,
        },
    }
}

/// Whether a row of a backfill never began because the backfill was cancelled.
fn was_abandoned(state: &RunState) -> bool {
    matches!(state, RunState::Ended { ending: Ending::Cancelled(Reason::BackfillCancelled), .. })
}

/// Whether the instants of a step are the last ones of the range.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LastInstants {
    /// There are none behind them.
    Yes,
    /// There may be more.
    No,
}
