//! Compares this node's clock with the others' all the time, and lets no node go on leading whose clock is out.
//!
//! ```text
//!   every second: ask all members for their time ─► Comparison ─► GuardedClock (what this node takes the time to be)
//!                                                        └─ out by more than the bound, and leading ─► hand over
//! ```
//! - CLOCK-3: a leader whose clock is out hands leadership to a voter whose clock is not, and says so. If there is none it
//!   leads on, firing nothing early (CLOCK-1), and tries again.
//! - CLOCK-4: a node does not begin to lead before it has compared its clock, unless nobody tells it the time for 2 s after its election:
//!   one that was cut off before hears from the others then.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::clock::{Comparison, GuardedClock, Reading};
use crate::raft::{Leadership, MemberStatus, NodeId, RaftStatus, Replica};

/// Between two rounds. A clock that jumps is found out this fast; a round costs each member one small call.
const PERIOD: Duration = Duration::from_secs(1);
/// The same until the first comparison: a node may be elected a moment after it starts.
const FIRST_PERIOD: Duration = Duration::from_millis(100);
/// A clock that takes longer to read than this cannot be read well enough.
const READ_TIMEOUT: Duration = Duration::from_millis(500);
/// Between two tries to hand over: the last one needs a moment to show.
const HAND_OVER_AGAIN_AFTER: Duration = Duration::from_secs(5);
/// How long a new leader waits for its first comparison (CLOCK-4): members of a release that does not tell its time would
/// keep it waiting for ever.
const FIRST_COMPARISON_TIMEOUT: Duration = Duration::from_secs(2);

/// The guard of one node's clock.
#[derive(Debug)]
pub(crate) struct ClockGuard {
    /// Knows the members and asks them.
    pub(crate) replica: Replica,
    /// Held back by what they say.
    pub(crate) clock: Arc<GuardedClock>,
    /// No others are configured: until one is added, the machine's clock is believed.
    pub(crate) alone: bool,
}

impl ClockGuard {
    /// Compares until `stop`.
    pub(crate) async fn run(self, stop: CancellationToken) {
        // Nothing is kept that the next start would miss.
        stop.run_until_cancelled(Box::pin(self.rounds())).await;
    }

    async fn rounds(self) {
        let mut readings = BTreeMap::new();
        let mut said = Verdict::Good;
        let mut hand_over_at = Instant::now();
        loop {
            let comparison = self.round(&mut readings).await;
            if let Some(comparison) = &comparison {
                let verdict = Verdict::of(comparison, self.clock.bound());
                verdict.say(said, comparison, self.clock.bound());
                said = verdict;
                if verdict == Verdict::Out && self.leads() && Instant::now() >= hand_over_at {
                    self.hand_over(comparison).await;
                    hand_over_at = Instant::now() + HAND_OVER_AGAIN_AFTER;
                }
            }
            let is_settled = comparison.is_some() || self.is_alone();
            tokio::time::sleep(if is_settled { PERIOD } else { FIRST_PERIOD }).await;
        }
    }

    fn is_alone(&self) -> bool {
        self.alone && !self.replica.has_others()
    }

    fn leads(&self) -> bool {
        matches!(&*self.replica.leadership().borrow(), Leadership::Leader { .. })
    }

    /// Reads all clocks once and disciplines this one.
    async fn round(&self, readings: &mut BTreeMap<u64, Reading>) -> Option<Comparison> {
        if self.is_alone() {
            self.clock.discipline(Instant::now(), None);
            return None;
        }
        let read = self.replica.read_clocks(READ_TIMEOUT).await;
        readings.extend(read.into_iter().map(|reading| (reading.node, reading)));
        let members = self.replica.status().members;
        readings.retain(|node, _| members.iter().any(|member| member.id.0 == *node));
        // The clock first: what passes between the two readings makes it look behind, never ahead.
        let own = self.clock.raw();
        let now = Instant::now();
        let comparison = Comparison::of(own, now, readings.values().copied())?;
        self.clock.discipline(now, Some(comparison.clone()));
        Some(comparison)
    }

    async fn hand_over(&self, comparison: &Comparison) {
        let Some(to) = successor(&self.replica.status(), comparison, self.clock.bound()) else {
            tracing::error!(
                "no other voter has a clock to be trusted and has answered: this node goes on leading"
            );
            return;
        };
        match self.replica.transfer_leadership(Some(to)).await {
            Ok(to) => tracing::warn!(to = to.0, "handed leadership over because of this node's clock"),
            Err(error) => {
                tracing::error!(%error, "leadership was not handed over in spite of this node's clock")
            }
        }
    }
}

/// Waits until a node may begin to lead as far as its clock goes (CLOCK-4).
pub(crate) async fn may_lead(clock: &GuardedClock, leadership: watch::Receiver<Leadership>) {
    tokio::select! {
        biased;
        () = clock.compared() => {}
        () = led_for(leadership, FIRST_COMPARISON_TIMEOUT) => {
            tracing::warn!("no other member tells its time: this node's clock is believed");
        }
    }
}

/// Waits until this node has been the leader for so long, without a break.
async fn led_for(mut leadership: watch::Receiver<Leadership>, long: Duration) {
    let term = |it: &Leadership| match it {
        Leadership::Leader { term } => Some(*term),
        Leadership::Follower { .. } => None,
    };
    loop {
        let elected = leadership.wait_for(|it| term(it).is_some()).await.map(|it| term(&it));
        // Whoever publishes it ends with the node, which ends whoever waits for this.
        let Ok(led) = elected else { return std::future::pending().await };
        let lost = leadership.wait_for(|it| term(it) != led);
        match tokio::time::timeout(long, lost).await.map(|seen| seen.is_ok()) {
            Err(_elapsed) => return,
            Ok(true) => {}
            Ok(false) => return std::future::pending().await,
        }
    }
}

/// Whether this node's clock is to be trusted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    Good,
    Out,
}

impl Verdict {
    fn of(comparison: &Comparison, bound: Duration) -> Self {
        if comparison.is_out(bound) { Verdict::Out } else { Verdict::Good }
    }

    /// Says it, if it is another one than before.
    fn say(self, before: Self, comparison: &Comparison, bound: Duration) {
        let (ahead_ms, bound_ms) = (comparison.own_ahead_ms, bound.as_millis());
        match (before, self) {
            (Verdict::Good, Verdict::Out) => tracing::error!(
                ahead_ms,
                bound_ms,
                "this node's clock differs from the others' by more than clock.offset_max: it must not lead; \
                 is its time service running (chronyc tracking, timedatectl)?"
            ),
            (Verdict::Out, Verdict::Good) => {
                tracing::info!(ahead_ms, bound_ms, "this node's clock agrees with the others' again");
            }
            (Verdict::Good, Verdict::Good) | (Verdict::Out, Verdict::Out) => {}
        }
    }
}

/// The most caught-up of the other voters whose clocks are good and who answer; none if there is no such.
fn successor(status: &RaftStatus, comparison: &Comparison, bound: Duration) -> Option<NodeId> {
    let good: Vec<u64> = comparison.within(bound).collect();
    let answers = |member: &&MemberStatus| member.silent_for.is_some_and(|silent| silent <= PERIOD);
    status
        .members
        .iter()
        .filter(|member| member.voter && member.id != status.node_id && good.contains(&member.id.0))
        .filter(answers)
        .max_by_key(|member| member.matched_index)
        .map(|member| member.id)
}

#[cfg(test)]
mod tests {
    use belfry_core::UnixMillis;

    use super::*;
    use crate::raft::{Member, Role};

    const BOUND: Duration = Duration::from_millis(500);

    /// Node 1 leads; the others are (id, votes, matched, silent for so many ms, their clock).
    fn check(others: &[(u64, bool, u64, u64, i64)], expected: Option<u64>) {
        let now = Instant::now();
        let readings = others.iter().map(|(node, .., wall)| Reading {
            node: *node,
            wall: UnixMillis(*wall),
            at: now,
            uncertainty: Duration::ZERO,
        });
        let comparison = Comparison::of(UnixMillis(60_000), now, readings).unwrap();
        let member = |(id, voter, matched, silent, _): &(u64, bool, u64, u64, i64)| MemberStatus {
            id: NodeId(*id),
            member: Member::default(),
            voter: *voter,
            matched_index: Some(*matched),
            silent_for: Some(Duration::from_millis(*silent)),
        };
        let status = RaftStatus {
            node_id: NodeId(1),
            cluster_id: None,
            role: Role::Leader,
            term: 1,
            leader: Some(NodeId(1)),
            last_log_index: 9,
            committed_index: 9,
            applied_index: 9,
            checkpoint_index: 0,
            purged_index: 0,
            log_retained_bytes: 0,
            log_appended_bytes: 0,
            members: others.iter().map(member).collect(),
            log_sync_latency: Arc::default(),
        };
        assert_eq!(successor(&status, &comparison, BOUND).map(|id| id.0), expected, "{others:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn clock_4_the_wait_for_a_comparison_begins_with_the_election() {
        let clock = GuardedClock::new(Arc::new(crate::clock::SystemClock), BOUND);
        let (elect, leadership) = watch::channel(Leadership::Follower { leader: None });
        let waiting = may_lead(&clock, leadership);
        tokio::pin!(waiting);
        let mut waits_for = async |long: Duration| tokio::time::timeout(long, &mut waiting).await.is_err();
        assert!(waits_for(Duration::from_secs(60)).await, "it does not lead: there is time");
        elect.send_replace(Leadership::Leader { term: 1 });
        assert!(waits_for(Duration::from_millis(1_900)).await);
        elect.send_replace(Leadership::Follower { leader: None });
        assert!(waits_for(Duration::from_secs(60)).await);
        elect.send_replace(Leadership::Leader { term: 2 });
        assert!(waits_for(Duration::from_millis(1_900)).await, "from the last election on");
        assert!(!waits_for(Duration::from_millis(200)).await, "nobody tells the time");
    }

    #[tokio::test(start_paused = true)]
    async fn clock_4_a_comparison_ends_the_wait() {
        let clock = GuardedClock::new(Arc::new(crate::clock::SystemClock), BOUND);
        let (_elect, leadership) = watch::channel(Leadership::Leader { term: 1 });
        let began = Instant::now();
        let compare = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            let reading =
                Reading { node: 2, wall: clock.raw(), at: Instant::now(), uncertainty: Duration::ZERO };
            clock.discipline(Instant::now(), Comparison::of(clock.raw(), Instant::now(), [reading]));
        };
        tokio::join!(may_lead(&clock, leadership), compare);
        assert_eq!(began.elapsed().as_millis(), 300);
    }

    #[test]
    fn leadership_goes_to_the_most_caught_up_voter_with_a_good_clock() {
        check(&[(2, true, 8, 10, 0), (3, true, 9, 10, 1)], Some(3));
        check(&[(2, true, 8, 10, 0), (3, true, 9, 5000, 1)], Some(2));
        check(&[(2, false, 9, 10, 0), (3, true, 7, 10, 1)], Some(3));
        check(&[(2, true, 9, 10, 90_000), (3, true, 7, 10, 59_000), (4, true, 7, 10, 0)], Some(3));
        check(&[(2, true, 9, 10, 90_000), (3, true, 7, 5000, 0)], None);
    }
}
