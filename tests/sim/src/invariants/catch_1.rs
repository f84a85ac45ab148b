//! CATCH-1: starts that make up for the past stay within the budget: in any stretch of time no more than it allows for as long, used up
//! once at its beginning. A start may come later than its grant, which is what the budget pays for; and a leader begins with a full one.

use std::collections::VecDeque;
use std::time::Duration;

use belfry_core::Run;
use belfry_core::run::Trigger;

use super::{Invariant, Look, Say};

/// Starts per second that a cluster of the simulation may make of what is late.
pub const BUDGET: u32 = 4;

/// A row that was made so long after its instant is recovery work.
const RECOVERY_AFTER_MS: i64 = 60_000;

/// From a grant to the start: messages are held for up to 6 s, and an executor starts nothing whose lease would be over, which is so
/// after 5 s at most.
const GRANTED_WITHIN: Duration = Duration::from_secs(7);

/// The same when nothing is broken.
const GRANTED_WITHIN_CALM: Duration = Duration::from_secs(1);

/// When all is mended, what was under way arrives within this time.
const CALM_AFTER: Duration = Duration::from_millis(500);

/// Stretches that are looked at, back from each start.
const LONGEST: Duration = Duration::from_secs(10);

/// Starts that were looked at.
#[derive(Default)]
pub(super) struct Budget {
    seen: usize,
    recovering: VecDeque<Duration>,
}

impl Invariant for Budget {
    fn look(&mut self, look: &mut Look<'_>, say: &mut Say<'_>) {
        while let Some(start) = look.starts.get(self.seen) {
            let Some(run) = look.names.find(look.state, &start.run) else { return };
            self.seen += 1;
            if !is_recovery(run) || start.attempt > 1 {
                continue;
            }
            self.recovering.push_back(start.at);
            while self.recovering.front().is_some_and(|at| *at + LONGEST < start.at) {
                self.recovering.pop_front();
            }
            for (before, since) in self.recovering.iter().enumerate() {
                let count = self.recovering.len() - before;
                let is_calm = look.healed_at.is_some_and(|at| *since > at + CALM_AFTER);
                let granted_within = if is_calm { GRANTED_WITHIN_CALM } else { GRANTED_WITHIN };
                let paid_from = since.saturating_sub(granted_within);
                let reigns = look.reigns.iter().filter(|at| (paid_from..=start.at).contains(at)).count();
                let seconds = (start.at - paid_from).as_secs() as usize + 1;
                let allowed = BUDGET as usize * (seconds + 1 + reigns);
                if count > allowed {
                    let took = start.at - *since;
                    say("CATCH-1", format!("{count} recovery runs started within {took:?}, {allowed} may"));
                    return;
                }
            }
        }
    }
}

fn is_recovery(run: &Run) -> bool {
    match run.trigger {
        Trigger::Timer | Trigger::Manual => false,
        Trigger::CatchUp => run.created_at.0 - run.scheduled_at.0 >= RECOVERY_AFTER_MS,
        Trigger::Backfill(_) | Trigger::Resume => true,
    }
}
