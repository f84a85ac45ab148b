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
        let returns = self.returns.entry(id).or_default();
        *returns += 1;
        if self.queued.insert(id) {
            let delay = BACKOFF_FIRST.saturating_mul(1 << (*returns - 1).min(6)).min(BACKOFF_LAST);
            self.delayed.insert((now + delay, id), offer.run);
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

    /// Gives queued runs to executors with credit. `still_ready` asks the ledger: a run may have been merged, expired or
    /// cancelled since it was queued, and is then dropped here. `has_room` asks the stream.
    pub(crate) fn assign(
        &mut self,
        now: Instant,
        still_ready: impl Fn(RunId) -> bool,
        has_room: impl Fn(SessionId) -> bool,
    ) -> Vec<(SessionId, Vec<RunId>)> {
        let mut grants = Vec::new();
        let needs: Vec<Need> =
            self.queues.iter().filter(|(_, queue)| queue.len() > 0).map(|(need, _)| need.clone()).collect();
        for need in needs {
            while self.queues.get(&need).is_some_and(|queue| queue.len() > 0) {
                let fitting = self.fitting(&need, &has_room);
                if fitting.is_empty() {
                    break;
                }
                for (position, (session, credits)) in fitting.iter().enumerate() {
                    let Some(queue) = self.queues.get_mut(&need) else { break };
                    let even = queue.len().div_ceil(fitting.len() - position);
                    let taken = queue.take(even.min(*credits as usize).min(GRANTS_PER_MESSAGE));
                    let runs = self.grant(*session, &need, taken, now, &still_ready);
                    if !runs.is_empty() {
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
    fn fitting(&self, need: &Need, has_room: &impl Fn(SessionId) -> bool) -> Vec<(SessionId, u32)> {
        let mut fitting: Vec<_> = self
            .executors
            .iter()
            .filter(|(session, executor)| executor.takes(need) && has_room(**session))
            .map(|(session, executor)| (*session, executor.credits))
            .collect();
        fitting.sort_by_key(|(session, credits)| (std::cmp::Reverse(*credits), *session));
        fitting
    }

    fn grant(
        &mut self,
        session: SessionId,
        need: &Need,
        taken: Vec<ReadyId>,
        now: Instant,
        still_ready: &impl Fn(RunId) -> bool,
    ) -> Vec<RunId> {
        let executor = self.executors.get_mut(&session).expect("it was just chosen");
        let mut runs = Vec::with_capacity(taken.len());
        for (id, on_time) in taken {
            self.queued.remove(&id);
            if !still_ready(id) {
                self.returns.remove(&id);
                continue;
            }
            executor.credits -= 1;
            executor.offered.insert(id);
            let run = ReadyRun { id, need: need.clone(), on_time };
            self.offers.insert(id, Offer { session, run, made_at: now });
            self.offers_by_age.push_back((now, id));
            runs.push(id);
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
            .assign(now, |_| true, |_| true)
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
        let grants = dispatch.assign(Instant::now(), |id| id == RunId(2), |_| true);
        assert_eq!(grants, [(SessionId(0), vec![RunId(2)])]);
    }
}
