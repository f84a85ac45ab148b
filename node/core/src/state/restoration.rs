//! A state that begins anew in another cluster, from a snapshot of one that went on after it was taken.
//!
//! What that cluster did since is in no ledger. So by default everything that it may have begun is taken for begun:
//!
//! - RESTORE-1 rows that waited in the snapshot end as RESTORED, and instants up to `skip_until` get a row that says so; none of
//!   them begins. Whoever knows better runs them by a backfill of what is missing.
//! - RESTORE-2 rows that were RUNNING stay so: their executors may still report, and if none does within the lease, each becomes
//!   what its schedule's policy says of an unknown outcome.
//! - RESTORE-3 tokens and handles of runs go on so far above the snapshot's that the former cluster cannot have handed them out.
//! - RESTORE-4 backfills are paused: the former cluster may have gone on with them.
//! - RESTORE-5 only nodes that know of all this take part: the feature level is raised.

use crate::backfill::BackfillState;
use crate::command::BackfillVerb;
use crate::ids::{BackfillId, LogPosition, RunId, UnixMillis};
use crate::run::{Reason, RunEvent, RunState, Verdict};
use crate::state::State;

/// How far counters jump: a cluster that begins a million runs a second needs eleven days for as many. In JSON numbers there is room
/// for nine thousand restores.
pub const COUNTER_GAP: u64 = 1_000_000_000_000;

/// The first feature level that knows restored states.
const LEVEL: u32 = 3;

/// How a state begins anew.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Restoration {
    /// Where the log of the new cluster begins: what the restored state's revisions stay below.
    pub at: LogPosition,
    /// Now.
    pub now: UnixMillis,
    /// Until when the former cluster may have begun runs. None: whoever restores says that it began nothing since, so what waits
    /// and what was missed is made up for as policies say.
    pub skip_until: Option<UnixMillis>,
}

/// What that came to.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct RestoreTally {
    /// Rows that waited, and end as RESTORED.
    pub not_run: u64,
    /// Rows whose outcome their executors may still tell.
    pub running: u64,
    /// Backfills that wait for somebody to look.
    pub paused_backfills: u64,
}

impl State {
    /// Makes a state that was read from a snapshot that of a new cluster.
    pub fn begin_anew(&mut self, restoration: &Restoration) -> RestoreTally {
        let Restoration { at, now, skip_until } = *restoration;
        self.at = at;
        let totals = self.totals_mut();
        totals.feature_level = totals.feature_level.max(LEVEL);
        totals.next_token = totals.next_token.saturating_add(COUNTER_GAP);
        totals.next_run = totals.next_run.saturating_add(COUNTER_GAP);
        totals.restored_until = skip_until;
        let running = self.runs.values().filter(|run| matches!(run.state, RunState::Running(_))).count();
        let mut tally = RestoreTally { running: running as u64, ..RestoreTally::default() };
        if skip_until.is_some() {
            tally.paused_backfills = self.pause_backfills(now);
            tally.not_run = self.end_what_waits(now);
        }
        self.changes = Default::default();
        tally
    }

    /// RESTORE-4. Before anything ends, so that none makes its next row.
    fn pause_backfills(&mut self, now: UnixMillis) -> u64 {
        let running = |id: &BackfillId| {
            self.backfill(*id).is_some_and(|backfill| backfill.state == BackfillState::Running)
        };
        let running: Vec<_> = self.backfills.iter().map(|(_, id)| *id).filter(running).collect();
        for id in &running {
            let reason = "the cluster was restored from a snapshot: see what has run, then resume it".into();
            let verdict = Verdict { actor: "belfry".into(), reason, at: now };
            self.control_backfill(now, *id, BackfillVerb::Pause, verdict, &mut Vec::new())
                .expect("it was just found");
        }
        running.len() as u64
    }

    /// RESTORE-1.
    fn end_what_waits(&mut self, now: UnixMillis) -> u64 {
        let waits = |(id, run): (RunId, &crate::Run)| match &run.state {
            RunState::Due { retry: None, .. } => Some((id, RunEvent::Skip(Reason::Restored))),
            // It has begun before, so it is not skipped: another attempt is what was taken back.
            RunState::Due { retry: Some(_), .. } => Some((id, RunEvent::Cancel(Reason::Restored))),
            RunState::Running(_) | RunState::Ended { .. } => None,
        };
        let waiting: Vec<_> = self.runs.iter().filter_map(waits).collect();
        for (id, event) in &waiting {
            self.end_waiting(*id, event, now);
        }
        for schedule in self.slots.keys().collect::<Vec<_>>() {
            self.settle(schedule, now, &mut Vec::new());
        }
        for id in std::mem::take(&mut self.leaving) {
            self.forget_deleted(id);
        }
        waiting.len() as u64
    }
}
