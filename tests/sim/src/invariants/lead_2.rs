//! LEAD-2: a leader that no quorum answers takes back that it leads: two nodes do so at once for a moment only.

use std::time::Duration;

use crate::record::Inner;

/// A follower stands for election 800 ms after it heard from its leader at the earliest; the former leader asks a quorum 500 ms after the
/// last answer, waits as long for it, and looks every 100 ms.
const BOTH_LEAD_FOR_MAX: Duration = Duration::from_millis(2_000);

/// Since when more than one node says that it leads, and those.
#[derive(Default)]
pub(super) struct Overlap(Option<(Duration, Vec<u64>)>);

impl Overlap {
    /// Looks at all nodes; says what lasts for too long.
    pub(super) fn look(&mut self, record: &Inner, now: Duration) -> Option<String> {
        let mut leaders: Vec<_> = record.leaders().collect();
        leaders.sort_unstable_by_key(|(_, term)| *term);
        leaders.pop();
        let former: Vec<_> = leaders.into_iter().map(|(node, _)| node).collect();
        match &self.0 {
            _ if former.is_empty() => self.0 = None,
            Some((since, known)) if *known == former => {
                let lasts = now - *since;
                return (lasts > BOTH_LEAD_FOR_MAX)
                    .then(|| format!("n{former:?} still leads after {lasts:?} of another leader"));
            }
            _ => self.0 = Some((now, former)),
        }
        None
    }
}
