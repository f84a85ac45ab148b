//! The lanes in which the runs of one schedule wait, and which of them may begin.
//!
//! ```text
//!   manual ───► triggers and resumes, in order
//!   waiting ──► rows of the timing, as the overlap policy keeps them       ──► ready ──► (begin) ──► open
//!   backlog ──► missed instants that FIRE_ALL makes up for, one at a time
//!   backfill ─► the row that a backfill is at
//! ```
//!
//! A run is *open* from its first begin to its end, between two attempts too: that is what "running" means to the overlap
//! policy; only what a pause holds between two attempts lets triggers pass. Lanes follow from the rows alone, so that a restart
//! finds every run in its place (APPLY-1).
//!
//! - LANES-1: a schedule of whose runs none is open or waits has no lanes. A million that sleep are what the memory of a node
//!   must have room for.

use std::collections::BTreeSet;

use smallvec::SmallVec;

use crate::command::Effect;
use crate::definition::MisfirePolicy;
use crate::ids::{RunId, ScheduleId, UnixMillis};
use crate::run::{Reason, Run, RunEvent, RunState, Series, Trigger};
use crate::schedule::Schedule;
use crate::state::run_set::RunSet;
use crate::state::{BlockId, State};

/// A schedule with what is derived from its runs.
#[derive(Clone)]
pub(super) struct Slot {
    pub(super) schedule: Schedule,
    /// None while no run is open or waits (LANES-1).
    lanes: Option<Box<Lanes>>,
    /// Its rows: as long as there are any, it stays.
    pub(super) rows: u32,
    /// Answers about it: likewise (API-2).
    pub(super) answers: u32,
}

/// The runs of one schedule that are not over.
#[derive(Clone, Default)]
pub(super) struct Lanes {
    /// Rows of the timing that wait to begin, oldest first.
    pub(super) waiting: RunSet,
    /// Missed instants that FIRE_ALL makes up for, oldest first.
    pub(super) backlog: RunSet,
    /// The row that a backfill waits for.
    pub(super) backfill: Option<RunId>,
    /// Triggered rows that wait to begin, in order.
    pub(super) manual: RunSet,
    /// Begun and not over.
    pub(super) open: RunSet,
    /// The one of them that came from the backlog or a backfill.
    pub(super) recovering: Option<RunId>,
    /// May begin now.
    pub(super) ready: Ready,
}

/// Those of a schedule that sleeps.
static NO_LANES: Lanes = Lanes {
    waiting: RunSet::new(),
    backlog: RunSet::new(),
    backfill: None,
    manual: RunSet::new(),
    open: RunSet::new(),
    recovering: None,
    ready: Ready::new_const(),
};

/// Runs of one schedule that may begin now: few, in the order in which they were made ready.
pub(super) type Ready = SmallVec<[RunId; 2]>;

/// Where a run waits before its first begin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Lane {
    Waiting,
    Backlog,
    Backfill,
    Manual,
}

impl Lane {
    /// Whether its runs make up for something, one at a time.
    fn is_recovery(self) -> bool {
        match self {
            Lane::Backlog | Lane::Backfill => true,
            Lane::Waiting | Lane::Manual => false,
        }
    }
}

impl Slot {
    pub(super) fn new(schedule: Schedule) -> Self {
        Self { schedule, lanes: None, rows: 0, answers: 0 }
    }

    /// Its runs that are not over.
    pub(super) fn lanes(&self) -> &Lanes {
        self.lanes.as_deref().unwrap_or(&NO_LANES)
    }

    /// The same, to be changed.
    pub(super) fn lanes_mut(&mut self) -> &mut Lanes {
        self.lanes.get_or_insert_default()
    }

    /// From now on nothing is offered.
    pub(super) fn take_ready(&mut self) -> Ready {
        let ready = self.lanes.as_mut().map(|lanes| std::mem::take(&mut lanes.ready)).unwrap_or_default();
        self.drop_empty_lanes();
        ready
    }

    /// Whether it has lanes and nothing in them: never after a command.
    pub(super) fn keeps_empty_lanes(&self) -> bool {
        self.lanes.as_ref().is_some_and(|lanes| !lanes.is_active() && lanes.ready.is_empty())
    }

    fn drop_empty_lanes(&mut self) {
        if self.keeps_empty_lanes() {
            self.lanes = None;
        }
    }

    /// The lane of a run, by what it was made from.
    pub(super) fn lane_of(&self, run: &Run) -> Lane {
        match run.trigger {
            Trigger::Manual | Trigger::Resume => Lane::Manual,
            Trigger::Backfill(_) => Lane::Backfill,
            Trigger::Timer => Lane::Waiting,
            Trigger::CatchUp => match self.schedule.definition_of(run.generation).policies.misfire {
                MisfirePolicy::FireAll { .. } => Lane::Backlog,
                MisfirePolicy::Coalesce | MisfirePolicy::Skip { .. } => Lane::Waiting,
            },
        }
    }

    /// See [`Lanes::is_active`].
    pub(super) fn is_active(&self) -> bool {
        self.lanes().is_active()
    }
}

impl Lanes {
    /// Runs that have not begun.
    pub(super) fn not_begun(&self) -> impl Iterator<Item = RunId> + '_ {
        self.waiting.iter().chain(&self.backlog).chain(&self.backfill).chain(&self.manual).copied()
    }

    /// Runs that are not over.
    pub(super) fn active(&self) -> impl Iterator<Item = RunId> + '_ {
        self.not_begun().chain(self.open.iter().copied())
    }

    pub(super) fn waiting_count(&self) -> usize {
        self.waiting.len() + self.backlog.len() + usize::from(self.backfill.is_some()) + self.manual.len()
    }

    /// Whether a run of the timing is not over. Others stand beside the timing.
    pub(super) fn has_timing_runs(&self) -> bool {
        !self.open.is_empty() || !self.waiting.is_empty() || !self.backlog.is_empty()
    }

    /// Whether any of its runs is not over.
    pub(super) fn is_active(&self) -> bool {
        !self.open.is_empty() || self.waiting_count() > 0
    }
}

impl State {
    /// Puts a run that is not over where it belongs.
    pub(super) fn take_place(&mut self, id: RunId) {
        let run = &self.runs[&id];
        let slot = self.slots.get_mut(&run.schedule).expect("every row has its schedule");
        let lane = slot.lane_of(run);
        let lanes = slot.lanes_mut();
        if run.attempt.0 > 0 {
            lanes.open.insert(id);
            if lane.is_recovery() {
                lanes.recovering = Some(id);
            }
            return;
        }
        match lane {
            Lane::Waiting => lanes.waiting.insert(id),
            Lane::Backlog => lanes.backlog.insert(id),
            Lane::Backfill => lanes.backfill = Some(id),
            Lane::Manual => lanes.manual.insert(id),
        }
    }

    /// Takes a run out of every lane.
    pub(super) fn leave_place(&mut self, id: RunId) {
        let slot = self.slot_mut(self.runs[&id].schedule);
        let Some(lanes) = &mut slot.lanes else { return };
        lanes.waiting.remove(&id);
        lanes.backlog.remove(&id);
        lanes.manual.remove(&id);
        lanes.open.remove(&id);
        lanes.backfill.take_if(|backfill| *backfill == id);
        lanes.recovering.take_if(|recovering| *recovering == id);
        slot.drop_empty_lanes();
    }

    /// What follows from a change of a schedule's runs: who may begin, the next instant of a fixed delay, the end of a schedule
    /// that is over.
    pub(super) fn settle(&mut self, schedule: ScheduleId, now: UnixMillis, effects: &mut Vec<Effect>) {
        self.offer_ready(schedule, now, effects);
        self.forget_retired(schedule);
        let slot = &self.slots[&schedule];
        if slot.schedule.next_fire_at.is_none()
            && slot.schedule.remains().deleted_at.is_none()
            && !slot.is_active()
        {
            self.after_last_run(schedule, now);
        }
    }

    /// Decides which runs of a schedule may begin now, and says of each once that it should be offered.
    ///
    /// Triggers go first and do not care about a pause, because somebody asked for them; then rows of the timing; what makes
    /// up for missed instants goes last and one at a time.
    pub(super) fn offer_ready(&mut self, schedule: ScheduleId, now: UnixMillis, effects: &mut Vec<Effect>) {
        let slot = &self.slots[&schedule];
        let lanes = slot.lanes();
        let paused = slot.schedule.pause.is_some();
        let running_max = slot.schedule.definition.policies.overlap.running_max();
        let (mut ready, held_retries) = self.ready_retries(slot, running_max);
        let mut free = running_max.saturating_sub(lanes.open.len() - held_retries);
        for id in &lanes.manual {
            if self.runs[id].beside {
                ready.push(*id);
            } else if free > 0 {
                free -= 1;
                ready.push(*id);
            }
        }
        let held = if free == 0 {
            Some(Reason::Overlap)
        } else if paused {
            Some(Reason::Paused)
        } else if slot.schedule.catching_up {
            Some(Reason::CatchUp)
        } else {
            None
        };
        let begin = if held.is_none() { free.min(lanes.waiting.len()) } else { 0 };
        ready.extend(lanes.waiting.iter().take(begin).copied());
        if begin < free && lanes.recovering.is_none() {
            let backlog = lanes.backlog.first().filter(|_| held.is_none());
            ready.extend(backlog.or(lanes.backfill.as_ref()).copied());
        }
        // The first and the newest of those that have to wait: each row is one of them when it comes.
        let mut behind = lanes.waiting.iter().skip(begin);
        let behind = [behind.next().copied(), behind.next_back().copied()];
        for id in behind.into_iter().flatten() {
            self.hold(id, held.unwrap_or(Reason::Overlap), now);
        }
        if let (Some(first), Some(reason)) = (self.slots[&schedule].lanes().backlog.first().copied(), held) {
            self.hold(first, reason, now);
        }
        self.announce(schedule, ready, effects);
    }

    /// The runs between two attempts that may begin the next one, and how many a pause holds back.
    ///
    /// What a pause holds is in nobody's way: a trigger would wait behind it for the resume, and it does not care about a
    /// pause. After the resume the next attempt waits in turn, until there is room again.
    fn ready_retries(&self, slot: &Slot, running_max: usize) -> (Ready, usize) {
        let open = &slot.lanes().open;
        if open.is_empty() {
            return (Ready::new(), 0);
        }
        let is_running = |id: &&RunId| matches!(self.runs[id].state, RunState::Running(_));
        let held_by_pause =
            |id: &RunId| slot.schedule.pause.is_some() && self.runs[id].series() == Series::Timing;
        let retries = || open.iter().copied().filter(|id| !is_running(&id));
        if !self.knows_level_2() {
            // The first release had a trigger wait.
            return (retries().filter(|id| !held_by_pause(id)).collect(), 0);
        }
        let running = open.iter().filter(is_running).filter(|id| !self.runs[id].beside).count();
        let mut room = running_max.saturating_sub(running);
        let (mut ready, mut held) = (Ready::new(), 0);
        for id in retries() {
            if held_by_pause(&id) {
                held += 1;
            } else if self.runs[&id].beside {
                ready.push(id);
            } else if room > 0 {
                room -= 1;
                ready.push(id);
            }
        }
        (ready, held)
    }

    fn hold(&mut self, id: RunId, reason: Reason, now: UnixMillis) {
        if matches!(self.runs[&id].state, RunState::Due { held: None, .. }) {
            self.step(id, &RunEvent::Hold(reason), now).expect("a waiting row is DUE");
        }
    }

    fn announce(&mut self, schedule: ScheduleId, ready: Ready, effects: &mut Vec<Effect>) {
        let slot = self.slots.get_mut(&schedule).expect("callers name schedules that exist");
        if slot.lanes().ready != ready {
            for id in slot.lanes().ready.iter().filter(|id| !ready.contains(id)) {
                self.ready.remove(id);
            }
            for id in &ready {
                if self.ready.insert(*id) {
                    effects.push(Effect::Offer(*id));
                }
            }
            slot.lanes_mut().ready = ready;
        }
        slot.drop_empty_lanes();
    }

    /// An older definition stays for as long as a row that has not ended was made from it.
    pub(super) fn forget_retired(&mut self, schedule: ScheduleId) {
        let slot = &self.slots[&schedule];
        if slot.schedule.remains().retired.is_empty() {
            return;
        }
        let wanted: BTreeSet<_> = slot.lanes().active().map(|id| self.runs[&id].generation).collect();
        let slot = self.slot_mut(schedule);
        let former = slot.schedule.remains().retired.len();
        slot.schedule
            .change_remains(|remains| remains.retired.retain(|generation, _| wanted.contains(generation)));
        if slot.schedule.remains().retired.len() != former {
            self.touch(BlockId::of_schedule(schedule));
        }
    }
}
