//! What people decide about runs: cancel one, say what became of one whose outcome is unknown.

use arcstr::ArcStr;

use crate::command::{Effect, Outcome, Rejection};
use crate::ids::{RunId, ScheduleId, UnixMillis};
use crate::run::{Cancellation, Reason, Resolution, RunEvent, RunState, Series, Verdict};
use crate::state::State;
use crate::state::attempts::unknown_since;

/// Who acts when nobody in particular does.
pub(super) const BELFRY: &str = "belfry";

impl State {
    /// Ends a run that waits; has the executor of one that is running end it. A run that is over stays as it is.
    pub(super) fn cancel_run(
        &mut self,
        now: UnixMillis,
        id: RunId,
        actor: ArcStr,
        reason: ArcStr,
        effects: &mut Vec<Effect>,
    ) -> Result<Outcome, Rejection> {
        let run = self.runs.get(&id).ok_or(Rejection::RunNotFound { run: id })?;
        let schedule = run.schedule;
        let verdict = Verdict { actor, reason, at: now };
        self.cancel(id, Cancellation { cause: Reason::CancelRequested, verdict }, now, effects);
        self.settle(schedule, now, effects);
        Ok(Outcome::Run(Box::new(self.runs[&id].clone())))
    }

    /// CANCEL_RUNNING: what the timing has open makes way for a newer instant.
    pub(super) fn cancel_open(&mut self, schedule: ScheduleId, now: UnixMillis, effects: &mut Vec<Effect>) {
        let of_timing = |id: &RunId| self.runs[id].series() == Series::Timing;
        let open: Vec<_> = self.slots[&schedule].lanes().open.iter().copied().filter(of_timing).collect();
        for id in open {
            let reason = "a newer instant took its place (CANCEL_RUNNING)".into();
            let verdict = Verdict { actor: BELFRY.into(), reason, at: now };
            self.cancel(id, Cancellation { cause: Reason::Replaced, verdict }, now, effects);
        }
    }

    /// The caller settles the schedule.
    fn cancel(&mut self, id: RunId, cancellation: Cancellation, now: UnixMillis, effects: &mut Vec<Effect>) {
        let run = self.runs.get_mut(&id).expect("callers cancel rows that exist");
        let cause = cancellation.cause;
        match &run.state {
            RunState::Ended { .. } => {}
            RunState::Due { .. } => {
                run.cancel = Some(Box::new(cancellation));
                self.end_waiting(id, &RunEvent::Cancel(cause), now);
            }
            // Asked for again, it is told again; who asked first stays.
            RunState::Running(_) => {
                run.cancel.get_or_insert_with(|| Box::new(cancellation));
                self.cancelling.insert(id);
                self.touch_run(id);
                effects.push(Effect::Cancel(id));
            }
        }
    }

    /// Says what became of an UNKNOWN run.
    pub(super) fn resolve_run(
        &mut self,
        now: UnixMillis,
        id: RunId,
        resolution: Resolution,
        actor: ArcStr,
        reason: ArcStr,
        effects: &mut Vec<Effect>,
    ) -> Result<Outcome, Rejection> {
        let run = self.runs.get_mut(&id).ok_or(Rejection::RunNotFound { run: id })?;
        let schedule = run.schedule;
        let Some(since) = unknown_since(&run.state) else {
            return Err(Rejection::NotUnknown { state: run.state.name() });
        };
        run.resolution = Some(Box::new(Verdict { actor, reason, at: now }));
        self.step(id, &RunEvent::Resolve(resolution), now).expect("the row is UNKNOWN");
        self.recount_unknown(id, since, now);
        self.settle(schedule, now, effects);
        Ok(Outcome::Run(Box::new(self.runs[&id].clone())))
    }
}
