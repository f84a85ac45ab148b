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
mod tests;
