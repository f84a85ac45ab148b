//! Who gets which run: the dispatcher's decisions, without a clock, a socket or a lock.
//!
//! Everything here is soft state. An offer gives no right, so forgetting one costs nothing: the run is still DUE in the
//! ledger and is offered again.
//!
//! - DISPATCH-1: a run is offered to at most one executor at a time.
//! - DISPATCH-2: no executor has more offers and runs than it gave credit for.
//! - DISPATCH-3: on-time runs go before catch-up runs.
//! - DUE-1: no ready run waits while a fitting credit is free, except behind its own back-off.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use belfry_core::RunId;

/// Runs offered in one message: large enough to make a message cheap, small enough to spread over executors.
pub(super) const GRANTS_PER_MESSAGE: usize = 1024;

/// Bytes offered in one message, roughly: below the least limit on messages that a node or an executor may have, whatever
/// the payloads. A message that is refused would be made again, for ever.
const GRANT_BYTES_PER_MESSAGE: usize = 2 << 20;

/// Entries that may stand for nothing before they are looked for.
const DEAD_MIN: usize = 1024;

/// Back-off of a run that was declined or left lying: doubled from the first to the last.
const BACKOFF_FIRST: Duration = Duration::from_secs(1);
const BACKOFF_LAST: Duration = Duration::from_secs(60);

/// One stream of one executor. A new stream is a new session.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct SessionId(pub(crate) u64);

/// What kind of executor a run needs.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Need {
    pub(crate) pool: Arc<str>,
    pub(crate) handler: Arc<str>,
}

/// A run that may begin.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ReadyRun {
    pub(crate) id: RunId,
    pub(crate) need: Need,
    pub(crate) on_time: bool,
}

/// An executor as the dispatcher sees it.
#[derive(Clone, Debug)]
pub(crate) struct Executor {
    pub(crate) executor_id: Arc<str>,
    pub(crate) display_name: String,
    pub(crate) version: String,
    pub(crate) pool: Arc<str>,
    pub(crate) handlers: BTreeSet<Arc<str>>,
    pub(crate) slots: u32,
    pub(crate) credits: u32,
    pub(crate) draining: bool,
    offered: BTreeSet<RunId>,
}

impl Executor {
    pub(crate) fn new(
        executor_id: Arc<str>,
        display_name: String,
        version: String,
        pool: Arc<str>,
        handlers: BTreeSet<Arc<str>>,
        slots: u32,
    ) -> Self {
        Self {
            executor_id,
            display_name,
            version,
            pool,
            handlers,
            slots,
            credits: 0,
            draining: false,
            offered: BTreeSet::new(),
        }
    }

    fn takes(&self, need: &Need) -> bool {
        !self.draining && self.credits > 0 && self.pool == need.pool && self.handlers.contains(&need.handler)
    }
}

#[derive(Debug)]
struct Offer {
    session: SessionId,
    run: ReadyRun,
    made_at: Instant,
}

#[derive(Default, Debug)]
struct Queue {
    on_time: VecDeque<RunId>,
    catch_up: VecDeque<RunId>,
}

impl Queue {
    fn len(&self) -> usize {
        self.on_time.len() + self.catch_up.len()
    }

    /// Puts back, in order, what was taken last.
    fn put_back(&mut self, runs: Vec<ReadyId>) {
        for (id, on_time) in runs.into_iter().rev() {
            if on_time { self.on_time.push_front(id) } else { self.catch_up.push_front(id) }
        }
    }

    fn forget(&mut self, dead: &BTreeSet<RunId>) {
        self.on_time.retain(|id| !dead.contains(id));
        self.catch_up.retain(|id| !dead.contains(id));
    }

    fn take(&mut self, count: usize) -> Vec<ReadyId> {
        let first = self.on_time.len().min(count);
        let mut taken: Vec<_> = self.on_time.drain(..first).map(|id| (id, true)).collect();
        let second = self.catch_up.len().min(count - first);
        taken.extend(self.catch_up.drain(..second).map(|id| (id, false)));
        taken
    }
}

type ReadyId = (RunId, bool);

/// The dispatcher's state.
#[derive(Default, Debug)]
pub(crate) struct Dispatch {
    executors: BTreeMap<SessionId, Executor>,
    queues: BTreeMap<Need, Queue>,
    /// In a queue or waiting out a back-off.
    queued: BTreeSet<RunId>,
    offers: HashMap<RunId, Offer>,
    /// Offers by age. One that is settled already is skipped when its turn comes.
    offers_by_age: VecDeque<(Instant, RunId)>,
    /// Runs waiting out a back-off.
    delayed: BTreeMap<(Instant, RunId), ReadyRun>,
    /// How often a run came back unbegun.
    returns: HashMap<RunId, u32>,
}

impl Dispatch {
    /// A run may begin now.
    pub(crate) fn offer(&mut self, run: ReadyRun) {
        if self.offers.contains_key(&run.id) || !self.queued.insert(run.id) {
            return;
        }
        let queue = self.queues.entry(run.need).or_default();
        if run.on_time { queue.on_time.push_back(run.id) } else { queue.catch_up.push_back(run.id) }
    }

    /// An executor dialled in.
    pub(crate) fn join(&mut self, session: SessionId, executor: Executor) {
        self.executors.insert(session, executor);
    }

    /// An executor's stream ended: what it was offered moves at once.
    pub(crate) fn leave(&mut self, session: SessionId) {
        let Some(executor) = self.executors.remove(&session) else { return };
        for id in executor.offered {
            if let Some(offer) = self.offers.remove(&id) {
                self.offer(offer.run);
            }
        }
    }

    /// An executor has room for more.
    pub(crate) fn credit(&mut self, session: SessionId, count: u32) {
        if let Some(executor) = self.executors.get_mut(&session) {
            executor.credits = executor.credits.saturating_add(count).min(executor.slots);
        }
    }

    /// An executor wants no more.
    pub(crate) fn drain(&mut self, session: SessionId) {
        if let Some(executor) = self.executors.get_mut(&session) {
            executor.draining = true;
        }
    }

    /// An executor asked to begin these: the ledger decides now.
    pub(crate) fn settle(&mut self, session: SessionId, runs: impl IntoIterator<Item = RunId>) {
        for id in runs {
            if self.offers.get(&id).is_some_and(|offer| offer.session == session) {
                self.offers.remove(&id);
                if let Some(executor) = self.executors.get_mut(&session) {
                    executor.offered.remove(&id);
                }
                self.returns.remove(&id);
            }
        }
    }

    /// An executor will not take these: they go elsewhere, later and later.
    pub(crate) fn decline(
        &mut self,
        session: SessionId,
        runs: impl IntoIterator<Item = RunId>,
        now: Instant,
    ) {
        for id in runs {
            if self.offers.get(&id).is_some_and(|offer| offer.session == session) {
                self.take_back(id, now);
            }
        }
    }

    /// Takes back the offers that are older than `timeout`; says how many.
    pub(crate) fn expire_offers(&mut self, now: Instant, timeout: Duration) -> usize {
        let mut expired = 0;
        while let Some((made_at, id)) = self.offers_by_age.front().copied() {
            let settled = self.offers.get(&id).is_none_or(|offer| offer.made_at != made_at);
            if !settled {
                if now.saturating_duration_since(made_at) < timeout {
                    break;
                }
                self.take_back(id, now);
                expired += 1;
            }
            self.offers_by_age.pop_front();
        }
        expired
    }

    fn take_back(&mut self, id: RunId, now: Instant) {
        let Some(offer) = self.offers.remove(&id) else { return };
        if let Some(executor) = self.executors.get_mut(&offer.session) {
            executor.offered.remove(&id);
        }
        self.put_off(offer.run, now);
    }

    /// A run may begin, but not at once: something was wrong the last time.
    pub(crate) fn put_off(&mut self, run: ReadyRun, now: Instant) {
        if self.knows(run.id) {
            return;
        }
        let returns = self.returns.entry(run.id).or_default();
        *returns = returns.saturating_add(1);
        let delay = BACKOFF_FIRST.saturating_mul(1 << (*returns - 1).min(6)).min(BACKOFF_LAST);
        self.queued.insert(run.id);
        self.delayed.insert((now + delay, run.id), run);
    }

    /// Whether a run is offered or waits here.
    pub(crate) fn knows(&self, id: RunId) -> bool {
        self.offers.contains_key(&id) || self.queued.contains(&id)
    }

    /// Runs that wait here, to be compared with the ledger; none while there cannot be many that are over. Without an
    /// executor for them, merged and expired runs would pile up.
    pub(crate) fn suspects(&self, ready: usize) -> Vec<RunId> {
        let crowded = self.queued.len() > 2 * ready + DEAD_MIN;
        if crowded { self.queued.iter().copied().collect() } else { Vec::new() }
    }

    /// Forgets runs that wait here and may not begin any more.
    pub(crate) fn forget(&mut self, dead: &BTreeSet<RunId>) {
        self.queues.values_mut().for_each(|queue| queue.forget(dead));
        self.queues.retain(|_, queue| queue.len() > 0);
        self.delayed.retain(|(_, id), _| !dead.contains(id));
        for id in dead {
            self.queued.remove(id);
            self.returns.remove(id);
        }
    }

    /// Puts runs whose back-off has passed into their queues.
    pub(crate) fn wake(&mut self, now: Instant) {
        while let Some(entry) = self.delayed.first_entry() {
            if entry.key().0 > now {
                break;
            }
            let run = entry.remove();
            self.queued.remove(&run.id);
            self.offer(run);
        }
    }

    /// The earliest instant at which something here wants attention.
    pub(crate) fn next_wake(&self, offer_timeout: Duration) -> Option<Instant> {
        let offer = self.offers_by_age.front().map(|(made_at, _)| *made_at + offer_timeout);
        let delayed = self.delayed.first_key_value().map(|((at, _), _)| *at);
        offer.into_iter().chain(delayed).min()
    }

    /// Gives at most `max` queued runs to executors with credit. `weigh` asks the ledger how many bytes a run's grant has:
    /// none if it was merged, expired or cancelled since it was queued, and is then dropped here. `room` asks a stream
    /// how many messages it takes.
    pub(crate) fn assign(
        &mut self,
        now: Instant,
        max: usize,
        weigh: impl Fn(RunId) -> Option<usize>,
        room: impl Fn(SessionId) -> usize,
    ) -> Vec<(SessionId, Vec<RunId>)> {
        let mut grants = Vec::new();
        let mut left = max;
        let mut messages = HashMap::<SessionId, usize>::new();
        let needs: Vec<Need> =
            self.queues.iter().filter(|(_, queue)| queue.len() > 0).map(|(need, _)| need.clone()).collect();
        for need in needs {
            while left > 0 && self.queues.get(&need).is_some_and(|queue| queue.len() > 0) {
                let has_room = |session| messages.get(&session).copied().unwrap_or(0) < room(session);
                let fitting = self.fitting(&need, has_room);
                if fitting.is_empty() {
                    break;
                }
                for (position, (session, credits)) in fitting.iter().enumerate() {
                    let Some(queue) = self.queues.get_mut(&need) else { break };
                    let even = queue.len().div_ceil(fitting.len() - position);
                    let taken = queue.take(even.min(*credits as usize).min(GRANTS_PER_MESSAGE).min(left));
                    let runs = self.grant(*session, &need, taken, now, &weigh);
                    if !runs.is_empty() {
                        left -= runs.len();
                        *messages.entry(*session).or_default() += 1;
                        grants.push((*session, runs));
                    }
                }
            }
            if self.queues.get(&need).is_some_and(|queue| queue.len() == 0) {
                self.queues.remove(&need);
            }
        }
        grants
    }

    /// The executors that take a need now, most credit first: each gets an even share of what waits.
    fn fitting(&self, need: &Need, has_room: impl Fn(SessionId) -> bool) -> Vec<(SessionId, u32)> {
        let mut fitting: Vec<_> = self
            .executors
            .iter()
            .filter(|(session, executor)| executor.takes(need) && has_room(**session))
            .map(|(session, executor)| (*session, executor.credits))
            .collect();
        fitting.sort_by_key(|(session, credits)| (std::cmp::Reverse(*credits), *session));
        fitting
    }

    /// Offers of `taken` what fits into one message, and puts the rest back.
    fn grant(
        &mut self,
        session: SessionId,
        need: &Need,
        mut taken: Vec<ReadyId>,
        now: Instant,
        weigh: &impl Fn(RunId) -> Option<usize>,
    ) -> Vec<RunId> {
        let executor = self.executors.get_mut(&session).expect("it was just chosen");
        let mut runs = Vec::with_capacity(taken.len());
        let mut bytes = 0;
        let mut looked_at = 0;
        for (id, on_time) in &taken {
            let weight = weigh(*id);
            bytes += weight.unwrap_or(0);
            if bytes > GRANT_BYTES_PER_MESSAGE && !runs.is_empty() {
                break;
            }
            looked_at += 1;
            self.queued.remove(id);
            if weight.is_none() {
                self.returns.remove(id);
                continue;
            }
            executor.credits -= 1;
            executor.offered.insert(*id);
            let run = ReadyRun { id: *id, need: need.clone(), on_time: *on_time };
            self.offers.insert(*id, Offer { session, run, made_at: now });
            self.offers_by_age.push_back((now, *id));
            runs.push(*id);
        }
        let rest = taken.split_off(looked_at);
        if let Some(queue) = self.queues.get_mut(need) {
            queue.put_back(rest);
        }
        runs
    }

    /// Executors, for status and metrics.
    pub(crate) fn executors(&self) -> impl Iterator<Item = (SessionId, &Executor)> {
        self.executors.iter().map(|(session, executor)| (*session, executor))
    }

    /// Runs that wait for a credit or a back-off.
    pub(crate) fn backlog(&self) -> usize {
        self.queued.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn need(pool: &str, handler: &str) -> Need {
        Need { pool: pool.into(), handler: handler.into() }
    }

    fn run(id: u64, on_time: bool) -> ReadyRun {
        ReadyRun { id: RunId(id), need: need("default", "command"), on_time }
    }

    fn executor(slots: u32, handler: &str) -> Executor {
        let handlers = BTreeSet::from([Arc::from(handler)]);
        Executor::new("01X".into(), "host".into(), "1".into(), "default".into(), handlers, slots)
    }

    fn with_executors(slots: &[u32]) -> Dispatch {
        let mut dispatch = Dispatch::default();
        for (number, slots) in slots.iter().enumerate() {
            let session = SessionId(number as u64);
            dispatch.join(session, executor(*slots, "command"));
            dispatch.credit(session, *slots);
        }
        dispatch
    }

    fn assign(dispatch: &mut Dispatch, now: Instant) -> Vec<(u64, Vec<u64>)> {
        dispatch
            .assign(now, usize::MAX, |_| Some(100), |_| usize::MAX)
            .into_iter()
            .map(|(session, runs)| (session.0, runs.into_iter().map(|run| run.0).collect()))
            .collect()
    }

    #[test]
    fn work_is_spread_over_executors() {
        let mut dispatch = with_executors(&[10, 10]);
        (1..=6).for_each(|id| dispatch.offer(run(id, true)));
        assert_eq!(assign(&mut dispatch, Instant::now()), [(0, vec![1, 2, 3]), (1, vec![4, 5, 6])]);
    }

    #[test]
    fn dispatch_2_credit_bounds_what_is_offered() {
        let mut dispatch = with_executors(&[2]);
        (1..=5).for_each(|id| dispatch.offer(run(id, true)));
        let now = Instant::now();
        assert_eq!(assign(&mut dispatch, now), [(0, vec![1, 2])]);
        assert_eq!(assign(&mut dispatch, now), []);
        dispatch.credit(SessionId(0), 1);
        assert_eq!(assign(&mut dispatch, now), [(0, vec![3])]);
        dispatch.credit(SessionId(0), 1000);
        assert_eq!(dispatch.executors().next().unwrap().1.credits, 2, "never more than its slots");
    }

    #[test]
    fn dispatch_3_on_time_goes_before_catch_up() {
        let mut dispatch = with_executors(&[2]);
        dispatch.offer(run(1, false));
        dispatch.offer(run(2, true));
        dispatch.offer(run(3, true));
        assert_eq!(assign(&mut dispatch, Instant::now()), [(0, vec![2, 3])]);
    }

    #[test]
    fn dispatch_1_an_offered_run_is_not_offered_again() {
        let mut dispatch = with_executors(&[2, 2]);
        dispatch.offer(run(1, true));
        let now = Instant::now();
        assert_eq!(assign(&mut dispatch, now).len(), 1);
        dispatch.offer(run(1, true));
        assert_eq!(assign(&mut dispatch, now), []);
    }

    #[test]
    fn an_executor_that_leaves_gives_its_offers_to_others_at_once() {
        let mut dispatch = with_executors(&[1]);
        dispatch.offer(run(1, true));
        let now = Instant::now();
        assert_eq!(assign(&mut dispatch, now), [(0, vec![1])]);
        dispatch.join(SessionId(7), executor(1, "command"));
        dispatch.credit(SessionId(7), 1);
        dispatch.leave(SessionId(0));
        assert_eq!(assign(&mut dispatch, now), [(7, vec![1])]);
    }

    #[test]
    fn an_offer_left_lying_moves_after_its_timeout_and_a_back_off() {
        let mut dispatch = with_executors(&[1, 1]);
        dispatch.offer(run(1, true));
        let start = Instant::now();
        let timeout = Duration::from_secs(5);
        assert_eq!(assign(&mut dispatch, start), [(0, vec![1])]);
        assert_eq!(dispatch.expire_offers(start + Duration::from_secs(4), timeout), 0);
        let late = start + timeout;
        assert_eq!(dispatch.expire_offers(late, timeout), 1);
        dispatch.wake(late);
        assert_eq!(assign(&mut dispatch, late), [], "it waits out its back-off");
        let later = late + BACKOFF_FIRST;
        assert_eq!(dispatch.next_wake(timeout), Some(later));
        dispatch.wake(later);
        assert_eq!(assign(&mut dispatch, later), [(1, vec![1])]);
    }

    #[test]
    fn a_begun_run_is_forgotten() {
        let mut dispatch = with_executors(&[1]);
        dispatch.offer(run(1, true));
        let now = Instant::now();
        assign(&mut dispatch, now);
        dispatch.settle(SessionId(0), [RunId(1)]);
        let timeout = Duration::from_secs(5);
        assert_eq!(dispatch.expire_offers(now + timeout, timeout), 0);
        assert_eq!((dispatch.backlog(), dispatch.next_wake(timeout)), (0, None));
    }

    #[test]
    fn a_declined_run_backs_off_further_each_time() {
        let mut dispatch = with_executors(&[64]);
        dispatch.offer(run(1, true));
        let mut now = Instant::now();
        for delay in [1, 2, 4, 8, 16, 32, 60, 60] {
            assert_eq!(assign(&mut dispatch, now), [(0, vec![1])]);
            dispatch.decline(SessionId(0), [RunId(1)], now);
            let early = now + Duration::from_millis(delay * 1000 - 1);
            dispatch.wake(early);
            assert_eq!(assign(&mut dispatch, early), []);
            now += Duration::from_secs(delay);
            dispatch.wake(now);
        }
    }

    #[test]
    fn a_handler_that_nobody_offers_blocks_no_other() {
        let mut dispatch = with_executors(&[2]);
        dispatch.offer(ReadyRun { id: RunId(1), need: need("default", "mail"), on_time: true });
        dispatch.offer(ReadyRun { id: RunId(2), need: need("other", "command"), on_time: true });
        dispatch.offer(run(3, true));
        assert_eq!(assign(&mut dispatch, Instant::now()), [(0, vec![3])]);
        assert_eq!(dispatch.backlog(), 2);
    }

    #[test]
    fn a_draining_executor_gets_nothing() {
        let mut dispatch = with_executors(&[2]);
        dispatch.drain(SessionId(0));
        dispatch.offer(run(1, true));
        assert_eq!(assign(&mut dispatch, Instant::now()), []);
    }

    #[test]
    fn a_run_that_is_no_longer_ready_is_dropped_and_costs_no_credit() {
        let mut dispatch = with_executors(&[1]);
        dispatch.offer(run(1, true));
        dispatch.offer(run(2, true));
        let weigh = |id| (id == RunId(2)).then_some(100);
        let grants = dispatch.assign(Instant::now(), usize::MAX, weigh, |_| usize::MAX);
        assert_eq!(grants, [(SessionId(0), vec![RunId(2)])]);
    }

    #[test]
    fn grants_of_large_payloads_are_cut_into_messages_that_fit() {
        let mut dispatch = with_executors(&[10]);
        (1..=7).for_each(|id| dispatch.offer(run(id, true)));
        let mut assign = |messages| {
            let large = GRANT_BYTES_PER_MESSAGE / 2;
            dispatch.assign(Instant::now(), usize::MAX, |_| Some(large), |_| messages)
        };
        let runs = |ids: [u64; 2]| (SessionId(0), ids.map(RunId).to_vec());
        assert_eq!(assign(2), [runs([1, 2]), runs([3, 4])], "the stream takes two messages");
        assert_eq!(assign(2), [runs([5, 6]), (SessionId(0), vec![RunId(7)])]);
        assert_eq!(dispatch.executors().next().unwrap().1.credits, 3);
    }

    #[test]
    fn a_grant_that_is_too_large_goes_by_itself() {
        let mut dispatch = with_executors(&[2]);
        (1..=2).for_each(|id| dispatch.offer(run(id, true)));
        let huge = |_| Some(GRANT_BYTES_PER_MESSAGE + 1);
        let grants = dispatch.assign(Instant::now(), usize::MAX, huge, |_| usize::MAX);
        assert_eq!(grants, [(SessionId(0), vec![RunId(1)]), (SessionId(0), vec![RunId(2)])]);
    }

    #[test]
    fn no_more_than_asked_for_is_assigned_at_once() {
        let mut dispatch = with_executors(&[9, 9]);
        (1..=6).for_each(|id| dispatch.offer(run(id, true)));
        let mut assign = |max| dispatch.assign(Instant::now(), max, |_| Some(100), |_| usize::MAX);
        let count =
            |grants: Vec<(SessionId, Vec<RunId>)>| grants.iter().map(|(_, runs)| runs.len()).sum::<usize>();
        assert_eq!(count(assign(4)), 4);
        assert_eq!(count(assign(4)), 2);
    }

    #[test]
    fn runs_that_are_over_do_not_pile_up_without_an_executor() {
        let mut dispatch = Dispatch::default();
        let now = Instant::now();
        let last = DEAD_MIN as u64 + 10;
        (1..last).for_each(|id| dispatch.offer(run(id, id % 2 == 0)));
        dispatch.put_off(run(last, true), now);
        assert_eq!(dispatch.suspects(last as usize), [], "all of them may be ready");
        let suspects = dispatch.suspects(1);
        assert_eq!(suspects.len() as u64, last);
        dispatch.forget(&suspects.into_iter().filter(|id| *id != RunId(7)).collect());
        assert_eq!((dispatch.backlog(), dispatch.returns.len(), dispatch.delayed.len()), (1, 0, 0));
        dispatch.join(SessionId(0), executor(5, "command"));
        dispatch.credit(SessionId(0), 5);
        assert_eq!(assign(&mut dispatch, now), [(0, vec![7])]);
    }

    #[test]
    fn a_run_that_is_put_off_waits_and_is_known() {
        let mut dispatch = with_executors(&[1]);
        let now = Instant::now();
        dispatch.put_off(run(1, true), now);
        assert!(dispatch.knows(RunId(1)));
        dispatch.offer(run(1, true));
        assert_eq!(assign(&mut dispatch, now), []);
        dispatch.wake(now + BACKOFF_FIRST);
        assert_eq!(assign(&mut dispatch, now), [(0, vec![1])]);
    }
}
