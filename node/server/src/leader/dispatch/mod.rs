//! Who gets which run: the dispatcher's decisions, without a clock, a socket or a lock.
//!
//! Everything here is soft state. An offer gives no right, so forgetting one costs nothing: the run is still DUE in the
//! ledger and is offered again.
//!
//! - DISPATCH-1: a run is offered to at most one executor at a time.
//! - DISPATCH-2: no executor has more offers and runs than it gave credit for, nor more of a handler than that takes.
//! - DISPATCH-3: within a pool on-time runs go before catch-up runs, and those before backfill runs.
//! - DISPATCH-4: of runs of equal class, need and namespace the greater priority goes first, then the older; waiting makes
//!   up for priority ([`AGING_STEP`](ready::AGING_STEP)), so that nothing starves.
//! - DISPATCH-5: namespaces that wait for the same executors get starts in proportion to their weights, however many runs
//!   each has waiting.
//! - DISPATCH-6: what is offered, beginning and running never exceeds the slots of a pool or the limit of a namespace; what
//!   was offered in a stretch of time never exceeds the rate of a pool; a paused pool is offered nothing.
//! - CATCH-1: catch-up and backfill runs offered in any one second never exceed the budget, over all pools.
//! - DUE-1: no ready run waits while a fitting credit is free, except behind its own back-off and the limits above.
//!
//! What it costs: an event costs O(log n) for each run that it names. Giving out costs a look at each pool with something
//! that could go, at the needs that wait there, and at each namespace that is full; then O(1) for each run of a storm, or
//! O(log n) and a look at those needs where namespaces take turns. Credit costs a look at the needs of its pool that no
//! executor had room for. Runs that do not move are looked at only where they are compared with the ledger.

mod allowance;
mod assign;
mod executor;
mod lanes;
mod limits;
mod queue;
mod ready;
mod slab;
mod why;

use std::cmp::Reverse;
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use arcstr::ArcStr;
use belfry_core::RunId;
use tokio::time::Instant;

use allowance::Allowance;
use lanes::{Lane, LaneKey, Lanes};
use slab::Id;

pub(crate) use allowance::Rate;
pub(crate) use executor::{Executor, SessionId};
pub(crate) use limits::{NamespaceLimits, PoolLimits};
pub(crate) use ready::{Class, Need, Priority, ReadyRun};

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

/// What the ledger says, at one moment.
pub(crate) trait Ledger {
    /// Bytes of a run's grant, roughly; none if it may not begin: it was merged, expired or cancelled, or has begun.
    fn weigh(&self, run: RunId) -> Option<usize>;
    /// Runs of a pool that have begun and not ended.
    fn running_in_pool(&self, pool: &str) -> u32;
    /// Runs of a namespace that have begun and not ended.
    fn running_in_namespace(&self, namespace: &str) -> u32;
}

/// A run that is here.
#[derive(Debug)]
struct Known {
    lane: Id<Lane>,
    priority: Priority,
    /// How often it came back unbegun.
    returns: u8,
    /// Its age counts from here, however often it comes back.
    since: Instant,
    stage: Stage,
}

/// Where a run is on its way.
#[derive(Clone, Copy, Debug)]
enum Stage {
    /// In the queue of its lane.
    Queued,
    /// Waiting out a back-off.
    Delayed {
        until: Instant,
    },
    Offered {
        session: SessionId,
        made_at: Instant,
    },
    /// An executor asked to begin it. Only kept where slots are counted, and not known to others.
    Beginning,
}

/// The dispatcher's state.
#[derive(Debug)]
pub(crate) struct Dispatch {
    executors: BTreeMap<SessionId, Executor>,
    lanes: Lanes,
    /// By id, because ids are counted up: runs that come and go together are neighbours in memory.
    runs: BTreeMap<RunId, Known>,
    /// Runs that are queued or delayed.
    waiting: usize,
    /// Offers by age. One that is settled already is skipped when its turn comes.
    offers_by_age: VecDeque<(Instant, RunId)>,
    /// Runs waiting out a back-off.
    delayed: BTreeSet<(Instant, RunId)>,
    /// Starts of catch-up and backfill runs.
    budget: Allowance,
    /// When the first token comes back of those that runs wait for.
    token_at: Option<Instant>,
    /// Which pool is the first.
    turn: usize,
}

impl Dispatch {
    /// A dispatcher that knows of nothing; `catch_up` is its budget for catch-up and backfill runs.
    pub(crate) fn new(catch_up: Rate) -> Self {
        Self {
            executors: BTreeMap::new(),
            lanes: Lanes::default(),
            runs: BTreeMap::new(),
            waiting: 0,
            offers_by_age: VecDeque::new(),
            delayed: BTreeSet::new(),
            budget: Allowance::new(catch_up),
            token_at: None,
            turn: 0,
        }
    }

    /// Limits a pool from now on. What it has is not taken away.
    pub(crate) fn set_pool(&mut self, name: &ArcStr, limits: PoolLimits) {
        let pool = self.lanes.pool(name);
        self.lanes.pools[pool].gate.set(limits);
        self.lanes.drop_pool_without_use(pool);
    }

    /// Limits a namespace from now on. What it has is not taken away.
    pub(crate) fn set_namespace(&mut self, name: &ArcStr, limits: NamespaceLimits) {
        self.lanes.set_namespace(name, limits);
    }

    /// A run may begin now, or once its `not_before` has come.
    pub(crate) fn offer(&mut self, run: ReadyRun, now: Instant) {
        if let Some(known) = self.learn(run, now) {
            self.queue(known);
        }
    }

    /// A run may begin, but not at once: something was wrong the last time.
    pub(crate) fn put_off(&mut self, run: ReadyRun, now: Instant) {
        let earliest = run.not_before;
        if let Some(id) = self.learn(ReadyRun { not_before: None, ..run }, now) {
            self.back_off(id, now, earliest);
        }
    }

    /// Notes a run that is new here. None if it is not, or if it waits out its `not_before`.
    fn learn(&mut self, run: ReadyRun, now: Instant) -> Option<RunId> {
        let ReadyRun { id, need, namespace, class, priority, not_before } = run;
        let entry = match self.runs.entry(id) {
            Entry::Vacant(entry) => entry,
            // That begin was refused, or the attempt is over already and another may begin.
            Entry::Occupied(known) if matches!(known.get().stage, Stage::Beginning) => {
                self.end_begin(id);
                return self.learn(ReadyRun { id, need, namespace, class, priority, not_before }, now);
            }
            Entry::Occupied(_) => return None,
        };
        let lane = self.lanes.lane(LaneKey { need, namespace, class });
        let since = not_before.map_or(now, |at| at.max(now));
        let until = not_before.filter(|at| *at > now);
        let stage = until.map_or(Stage::Queued, |until| Stage::Delayed { until });
        entry.insert(Known { lane, priority, returns: 0, since, stage });
        let lane = &mut self.lanes.lanes[lane];
        lane.runs += 1;
        self.lanes.pools[lane.pool].waiting[class as usize] += 1;
        self.waiting += 1;
        match until {
            Some(until) => {
                self.delayed.insert((until, id));
                None
            }
            None => Some(id),
        }
    }

    /// Puts a run that waits into the queue of its lane.
    fn queue(&mut self, id: RunId) {
        let Some(known) = self.runs.get_mut(&id) else { return };
        known.stage = Stage::Queued;
        self.lanes.push(known.lane, id, known.priority, known.since);
    }

    /// Lets a run that waits wait out its back-off.
    fn back_off(&mut self, id: RunId, now: Instant, earliest: Option<Instant>) {
        let Some(known) = self.runs.get_mut(&id) else { return };
        let delay = BACKOFF_FIRST.saturating_mul(1 << known.returns.min(6)).min(BACKOFF_LAST);
        known.returns = known.returns.saturating_add(1);
        let until = earliest.map_or(now + delay, |earliest| earliest.max(now + delay));
        known.stage = Stage::Delayed { until };
        self.delayed.insert((until, id));
    }

    /// An executor dialled in.
    pub(crate) fn join(&mut self, session: SessionId, mut executor: Executor) {
        self.lanes.join(&executor.pool);
        let credits = std::mem::take(&mut executor.credits);
        self.executors.insert(session, executor);
        self.credit(session, credits);
    }

    /// An executor's stream ended: what it was offered moves at once.
    pub(crate) fn leave(&mut self, session: SessionId) {
        // Its credit goes first, so that nothing is in the books of its pool.
        self.drain(session);
        let Some(executor) = self.executors.remove(&session) else { return };
        for id in executor.offered {
            if self.take_from(session, id) {
                self.queue(id);
            }
        }
        let pool = self.lanes.pool(&executor.pool);
        self.lanes.part(pool);
    }

    /// An executor has room for more.
    pub(crate) fn credit(&mut self, session: SessionId, count: u32) {
        let Some(executor) = self.executors.get_mut(&session) else { return };
        let before = executor.credits;
        executor.credits = before.saturating_add(count).min(executor.slots);
        let pool = self.lanes.pool(&executor.pool);
        if !executor.draining {
            self.lanes.pools[pool].credits += u64::from(executor.credits - before);
        }
        self.has_room(session);
    }

    /// An executor wants no more.
    pub(crate) fn drain(&mut self, session: SessionId) {
        let Some(executor) = self.executors.get_mut(&session) else { return };
        if !std::mem::replace(&mut executor.draining, true) {
            let pool = self.lanes.pool(&executor.pool);
            self.lanes.pools[pool].credits -= u64::from(executor.credits);
            self.relist(session);
        }
    }

    /// An executor asked to begin these: the ledger decides now.
    pub(crate) fn settle(&mut self, session: SessionId, runs: impl IntoIterator<Item = RunId>) {
        for id in runs {
            let Some(known) = offered_to(&mut self.runs, session, id) else { continue };
            let lane = &self.lanes.lanes[known.lane];
            let pool = &mut self.lanes.pools[lane.pool].gate;
            let namespace = &mut self.lanes.namespaces[lane.namespace];
            pool.under_way.offered -= 1;
            namespace.under_way.offered -= 1;
            if pool.has_slots() || namespace.limits.max_running.is_some() {
                pool.under_way.beginning.insert(id);
                namespace.under_way.beginning.insert(id);
                known.stage = Stage::Beginning;
            } else {
                let lane = known.lane;
                self.runs.remove(&id);
                self.lanes.release(lane, 1);
            }
            if let Some(executor) = self.executors.get_mut(&session) {
                executor.offered.remove(&id);
            }
        }
    }

    /// An executor has these no longer: they ended there, or the ledger did not let them begin. Makes room at handlers with
    /// slots of their own.
    pub(crate) fn ended(&mut self, session: SessionId, runs: &[RunId]) {
        let Some(executor) = self.executors.get_mut(&session) else { return };
        if executor.release(runs) {
            self.has_room(session);
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
            if self.take_from(session, id) {
                self.back_off(id, now, None);
            }
        }
    }

    /// Takes back the offers that are older than `timeout`; says how many.
    pub(crate) fn expire_offers(&mut self, now: Instant, timeout: Duration) -> usize {
        let mut expired = 0;
        while let Some((at, id)) = self.offers_by_age.front().copied() {
            let stage = self.runs.get(&id).map(|known| known.stage);
            if let Some(Stage::Offered { session, made_at }) = stage
                && made_at == at
            {
                if now.saturating_duration_since(at) < timeout {
                    break;
                }
                if self.take_from(session, id) {
                    self.back_off(id, now, None);
                    expired += 1;
                }
            }
            self.offers_by_age.pop_front();
        }
        expired
    }

    /// Takes an offer back from `session`: the run waits again, where is for the caller to say. Whether there was one.
    fn take_from(&mut self, session: SessionId, id: RunId) -> bool {
        let Some(known) = offered_to(&mut self.runs, session, id) else { return false };
        let lane = &self.lanes.lanes[known.lane];
        let pool = &mut self.lanes.pools[lane.pool];
        pool.gate.under_way.offered -= 1;
        pool.waiting[lane.class as usize] += 1;
        self.lanes.namespaces[lane.namespace].under_way.offered -= 1;
        self.waiting += 1;
        if let Some(executor) = self.executors.get_mut(&session) {
            executor.offered.remove(&id);
        }
        self.ended(session, &[id]);
        true
    }

    /// The ledger has answered a begin.
    fn end_begin(&mut self, id: RunId) {
        let Some(known) = self.runs.remove(&id) else { return };
        let lane = &self.lanes.lanes[known.lane];
        self.lanes.pools[lane.pool].gate.under_way.beginning.remove(&id);
        self.lanes.namespaces[lane.namespace].under_way.beginning.remove(&id);
        self.lanes.release(known.lane, 1);
    }

    /// An executor has room, for all that is known: what waits for one like it is looked at again.
    fn has_room(&mut self, session: SessionId) {
        self.relist(session);
        let Some(executor) = self.executors.get(&session) else { return };
        let pool = self.lanes.pool(&executor.pool);
        self.lanes.feed(pool, executor);
    }

    /// Lists an executor at its pool under the credit that it has now.
    fn relist(&mut self, session: SessionId) {
        let Some(executor) = self.executors.get_mut(&session) else { return };
        let listed = (executor.credits > 0 && !executor.draining).then_some(executor.credits);
        if listed == executor.listed {
            return;
        }
        let pool = self.lanes.pool(&executor.pool);
        let open = &mut self.lanes.pools[pool].open;
        if let Some(before) = std::mem::replace(&mut executor.listed, listed) {
            open.remove(&(Reverse(before), session));
        }
        if let Some(credits) = listed {
            open.insert((Reverse(credits), session));
        }
    }

    /// Whether a run is offered or waits here.
    pub(crate) fn knows(&self, id: RunId) -> bool {
        self.runs.get(&id).is_some_and(|known| !matches!(known.stage, Stage::Beginning))
    }

    /// Runs that wait here, to be compared with the ledger; none while there cannot be many that are over. Without an
    /// executor for them, merged and expired runs would pile up.
    pub(crate) fn suspects(&self, ready: usize) -> Vec<RunId> {
        if self.waiting <= 2 * ready + DEAD_MIN {
            return Vec::new();
        }
        let waits = |known: &Known| matches!(known.stage, Stage::Queued | Stage::Delayed { .. });
        self.runs.iter().filter(|(_, known)| waits(known)).map(|(id, _)| *id).collect()
    }

    /// Forgets runs that wait here and may not begin any more.
    pub(crate) fn forget(&mut self, dead: &BTreeSet<RunId>) {
        let mut lanes = BTreeMap::<_, usize>::new();
        for id in dead {
            let Some(Known { lane, stage, .. }) = self.runs.get(id) else { continue };
            match stage {
                Stage::Queued => {}
                Stage::Delayed { until } => {
                    self.delayed.remove(&(*until, *id));
                }
                Stage::Offered { .. } | Stage::Beginning => continue,
            }
            *lanes.entry(*lane).or_default() += 1;
            self.runs.remove(id);
        }
        for (id, count) in lanes {
            let lane = &mut self.lanes.lanes[id];
            self.lanes.pools[lane.pool].waiting[lane.class as usize] -= count;
            self.waiting -= count;
            let queued = lane.queue.forget(dead);
            self.lanes.popped(id, queued);
            self.lanes.release(id, count);
        }
    }

    /// Puts runs whose back-off has passed into their queues.
    pub(crate) fn wake(&mut self, now: Instant) {
        // Whether tokens are there is seen when runs are assigned. Should none be, nobody is woken for this one again.
        self.token_at = self.token_at.filter(|at| *at > now);
        while let Some((at, id)) = self.delayed.first().copied() {
            if at > now {
                break;
            }
            self.delayed.pop_first();
            self.queue(id);
        }
    }

    /// The earliest instant at which something here wants attention.
    pub(crate) fn next_wake(&self, offer_timeout: Duration) -> Option<Instant> {
        let offer = self.offers_by_age.front().map(|(made_at, _)| *made_at + offer_timeout);
        let delayed = self.delayed.first().map(|(at, _)| *at);
        offer.into_iter().chain(delayed).chain(self.token_at).min()
    }

    /// Executors, for status and metrics.
    pub(crate) fn executors(&self) -> impl Iterator<Item = (SessionId, &Executor)> {
        self.executors.iter().map(|(session, executor)| (*session, executor))
    }

    /// Runs that wait for a credit or a back-off.
    pub(crate) fn backlog(&self) -> usize {
        self.waiting
    }

    /// The same by pool and class, where there are any.
    pub(crate) fn backlogs(&self) -> impl Iterator<Item = (&ArcStr, Class, usize)> {
        self.lanes.pools.values().flat_map(|(name, pool)| {
            Class::ALL.into_iter().map(move |class| (name, class, pool.waiting[class as usize]))
        })
    }

    /// Catch-up and backfill runs that may start at once.
    pub(crate) fn budget_left(&self, now: Instant) -> u32 {
        self.budget.left(now)
    }
}

/// A run that was offered to `session`.
fn offered_to(runs: &mut BTreeMap<RunId, Known>, session: SessionId, id: RunId) -> Option<&mut Known> {
    let known = runs.get_mut(&id)?;
    match known.stage {
        Stage::Offered { session: holder, .. } if holder == session => Some(known),
        Stage::Offered { .. } | Stage::Queued | Stage::Delayed { .. } | Stage::Beginning => None,
    }
}

#[cfg(test)]
mod property;
#[cfg(test)]
mod tests;
