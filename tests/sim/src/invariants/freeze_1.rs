//! FREEZE-1: instants inside a freeze of their schedule's calendar become SKIPPED as BLACKOUT, and no others do, however often the
//! calendar is written anew.

use belfry_core::RunId;
use belfry_core::run::{Ending, Reason, RunState, Series};

use super::{Invariant, Look, Say, since_epoch};
use crate::clock::EPOCH_SECONDS;
use crate::users::request::is_frozen;

/// Rows that were looked at: what is skipped is so from the beginning.
#[derive(Default)]
pub(super) struct Frozen {
    upto: RunId,
}

impl Invariant for Frozen {
    fn look(&mut self, look: &mut Look<'_>, say: &mut Say<'_>) {
        let epoch = i64::try_from(EPOCH_SECONDS * 1000).expect("within range");
        for run in look.state.runs_from(self.upto) {
            self.upto = run.id.next();
            let Some(schedule) = look.state.schedule(run.schedule) else { continue };
            let definition = match schedule.remains().retired.get(&run.generation) {
                Some(retired) => retired,
                None if schedule.generation == run.generation => &schedule.definition,
                None => continue,
            };
            if run.series() != Series::Timing {
                continue;
            }
            let frozen = !definition.timing.calendars.is_empty() && is_frozen(run.nominal_at.0 - epoch);
            let skipped = matches!(
                &run.state,
                RunState::Ended { ending: Ending::Skipped(Reason::Blackout), lease: None, .. }
            );
            // A pause, for example, is a reason as good.
            let is_off =
                matches!(&run.state, RunState::Ended { ending: Ending::Skipped(_), lease: None, .. });
            if (skipped && !frozen) || (frozen && !is_off) {
                let (at, state) = (since_epoch(run.nominal_at), run.state.name());
                say("FREEZE-1", format!("{} of {at} is {state}, frozen: {frozen}", schedule.key));
            }
        }
    }
}
