//! Work handed out against work known: finds runs that may begin and that the dispatcher has lost sight of.
//!
//! There should be none. But an executor may die between asking to begin and the commit, a proposal may fail, a session may
//! be cut at the wrong moment; and a run that is never offered again would wait for the next leader (DUE-1).

use std::collections::HashSet;
use std::time::Duration;

use belfry_core::RunId;
use tokio::time::Instant;

/// Runs looked at in one go, so that no lock is held for long.
pub(super) const SLICE: usize = 4096;

/// Goes round the ready runs, a slice at a time.
#[derive(Debug)]
pub(super) struct Reconcile {
    cursor: RunId,
    /// When the next round may begin.
    round_at: Instant,
    /// Unknown to the dispatcher in the last round: begins under way, most likely.
    suspects: HashSet<RunId>,
    /// Unknown to the dispatcher in this round.
    unknown: HashSet<RunId>,
}

impl Reconcile {
    pub(super) fn new(now: Instant) -> Self {
        Self {
            cursor: RunId::default(),
            round_at: now,
            suspects: HashSet::default(),
            unknown: HashSet::default(),
        }
    }

    /// Where to look on; none while it is too early for another round.
    pub(super) fn cursor(&self, now: Instant) -> Option<RunId> {
        (self.cursor != RunId::default() || now >= self.round_at).then_some(self.cursor)
    }

    /// Looks at the first [`SLICE`] ready runs from the cursor on. Gives those that the dispatcher did not know of in two
    /// rounds that are at least `apart` from each other.
    pub(super) fn look(
        &mut self,
        ready: &[RunId],
        knows: impl Fn(RunId) -> bool,
        now: Instant,
        apart: Duration,
    ) -> Vec<RunId> {
        let unknown = ready.iter().copied().filter(|id| !knows(*id));
        let (lost, unknown): (Vec<_>, Vec<_>) = unknown.partition(|id| self.suspects.contains(id));
        self.unknown.extend(unknown);
        match ready.last() {
            Some(last) if ready.len() >= SLICE => self.cursor = last.next(),
            Some(_) | None => {
                self.cursor = RunId::default();
                self.round_at = now + apart;
                self.suspects = std::mem::take(&mut self.unknown);
            }
        }
        lost
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const APART: Duration = Duration::from_secs(5);

    fn ids(range: std::ops::Range<u64>) -> Vec<RunId> {
        range.map(RunId).collect()
    }

    #[test]
    fn a_run_is_lost_when_two_rounds_did_not_know_it() {
        let start = Instant::now();
        let mut reconcile = Reconcile::new(start);
        assert_eq!(reconcile.cursor(start), Some(RunId(0)));
        let known = |id: RunId| id.0 == 1;
        assert_eq!(reconcile.look(&ids(1..4), known, start, APART), []);
        assert_eq!(reconcile.cursor(start + APART / 2), None, "begins under way need their time");
        // Run 2 has begun meanwhile, run 4 is new.
        let ready = [RunId(1), RunId(3), RunId(4)];
        assert_eq!(reconcile.look(&ready, known, start + APART, APART), [RunId(3)]);
    }

    #[test]
    fn many_runs_are_looked_at_in_slices() {
        let start = Instant::now();
        let mut reconcile = Reconcile::new(start);
        let all = ids(1..SLICE as u64 + 3);
        for round in 0..2 {
            let expected = if round == 0 { 0 } else { all.len() };
            let mut lost = reconcile.look(&all[..SLICE], |_| false, start, APART);
            assert_eq!(reconcile.cursor(start), Some(RunId(SLICE as u64 + 1)));
            lost.extend(reconcile.look(&all[SLICE..], |_| false, start, APART));
            assert_eq!(reconcile.cursor(start), None);
            assert_eq!(lost.len(), expected);
        }
    }
}
