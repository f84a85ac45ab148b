//! Where runs wait.
//!
//! A *lane* holds runs that are alike in all that decides whether they may go: need, namespace, class. So what holds for
//! its first run holds for all, and no decision looks at a run by itself.
//!
//! ```text
//!   pool ─┬─ demand (one need) ─┬─ ring of on-time lanes, one per namespace, least served first
//!         │                     ├─ ring of catch-up lanes
//!         │                     └─ ring of backfill lanes
//!         └─ share (one namespace): how much it was served here
//! ```
//!
//! Executors belong to one pool, and so do needs: pools never compete for executors. Within a pool namespaces take turns
//! (start-time fair queueing). Each start moves a namespace's *pass* on, by less the greater its weight; the lane with the
//! least pass goes next, whichever need it is for. A namespace that did not wait, or could not be served, has no claim on
//! what went by: its pass is never behind the pool's.
//!
//! - LANE-1: a lane is in the ring of its demand if and only if runs wait in it and it is not parked.
//! - LANE-2: a demand is among those that its pool looks at if and only if it has a lane in a ring and is not starved.
//!   It is starved once no executor has room for it, until one gets room again.

use std::cmp::Reverse;
use std::collections::{BTreeSet, VecDeque};

use arcstr::ArcStr;
use belfry_core::RunId;
use tokio::time::Instant;

use super::executor::{Executor, SessionId};
use super::limits::{NamespaceGate, NamespaceLimits, PoolGate};
use super::queue::Queue;
use super::ready::{Class, Need, Priority};
use super::slab::{Id, Slab};

/// Lanes without a run that are kept, because schedules come again.
const RESTING_MAX: usize = 1024;

/// What one start moves the pass of a namespace of weight 1 on: divided by weights of up to a thousand without much loss.
const STRIDE: u64 = 1 << 20;

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct LaneKey {
    pub(super) need: Need,
    pub(super) namespace: ArcStr,
    pub(super) class: Class,
}

/// Runs of one need, namespace and class.
#[derive(Debug)]
pub(super) struct Lane {
    pub(super) class: Class,
    pub(super) demand: Id<Demand>,
    pub(super) pool: Id<Pool>,
    pub(super) namespace: Id<NamespaceGate>,
    share: Id<Share>,
    pub(super) queue: Queue,
    place: Place,
    /// Runs that name this lane: waiting, waiting out a back-off, offered, beginning.
    pub(super) runs: usize,
    resting: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    /// Nothing waits in it.
    Out,
    /// In the ring of its demand, under this pass.
    Ring(u64),
    /// Its namespace is full.
    Parked,
}

/// What waits for one kind of executor.
#[derive(Debug)]
pub(super) struct Demand {
    pub(super) need: Need,
    pub(super) pool: Id<Pool>,
    rings: [BTreeSet<(u64, Id<Lane>)>; 3],
    /// Runs in the queues of its lanes.
    pub(super) queued: usize,
    starved: bool,
    lanes: usize,
}

/// What one namespace had of one pool.
#[derive(Debug)]
pub(super) struct Share {
    pass: u64,
    lanes: usize,
}

#[derive(Default, Debug)]
pub(super) struct Pool {
    pub(super) gate: PoolGate,
    /// Executors with credit, most first. While grants are given out it lags behind.
    pub(super) open: BTreeSet<(Reverse<u32>, SessionId)>,
    /// Credit of all executors that do not drain.
    pub(super) credits: u64,
    /// Demands to look at, by class.
    pub(super) demands: [BTreeSet<Id<Demand>>; 3],
    starved: BTreeSet<Id<Demand>>,
    /// Runs that wait here or wait out a back-off, by class.
    pub(super) waiting: [usize; 3],
    /// The pass of the lane that went last.
    pass: u64,
    executors: usize,
    needs: usize,
}

type Shares = Slab<(Id<Pool>, Id<NamespaceGate>), Share>;

/// All lanes, and what they belong to.
#[derive(Default, Debug)]
pub(super) struct Lanes {
    pub(super) lanes: Slab<LaneKey, Lane>,
    pub(super) demands: Slab<Need, Demand>,
    pub(super) pools: Slab<ArcStr, Pool>,
    pub(super) namespaces: Slab<ArcStr, NamespaceGate>,
    shares: Shares,
    /// Pools with something to look at.
    pub(super) busy: BTreeSet<Id<Pool>>,
    /// Namespaces with parked lanes.
    pub(super) full: BTreeSet<Id<NamespaceGate>>,
    resting: VecDeque<Id<Lane>>,
    /// The lane asked for last: in a storm the next one too.
    last: Option<Id<Lane>>,
}

impl Lanes {
    /// The lane for such runs.
    pub(super) fn lane(&mut self, key: LaneKey) -> Id<Lane> {
        if let Some(last) = self.last.filter(|last| *self.lanes.key(*last) == key) {
            return last;
        }
        let id = self.lanes.find(&key).unwrap_or_else(|| self.add_lane(key));
        self.last = Some(id);
        id
    }

    fn add_lane(&mut self, key: LaneKey) -> Id<Lane> {
        let pool = self.pool(&key.need.pool);
        let namespace = self.namespace(&key.namespace);
        let share = self.shares.find(&(pool, namespace)).unwrap_or_else(|| {
            let pass = self.pools[pool].pass;
            self.namespaces[namespace].pools += 1;
            self.shares.insert((pool, namespace), Share { pass, lanes: 0 })
        });
        let demand = self.demands.find(&key.need).unwrap_or_else(|| {
            self.pools[pool].needs += 1;
            let need = key.need.clone();
            let demand =
                Demand { need, pool, rings: Default::default(), queued: 0, starved: false, lanes: 0 };
            self.demands.insert(key.need.clone(), demand)
        });
        self.shares[share].lanes += 1;
        self.demands[demand].lanes += 1;
        let lane = Lane {
            class: key.class,
            demand,
            pool,
            namespace,
            share,
            queue: Queue::default(),
            place: Place::Out,
            runs: 0,
            resting: false,
        };
        self.lanes.insert(key, lane)
    }

    pub(super) fn pool(&mut self, name: &ArcStr) -> Id<Pool> {
        self.pools.find(name).unwrap_or_else(|| self.pools.insert(name.clone(), Pool::default()))
    }

    fn namespace(&mut self, name: &ArcStr) -> Id<NamespaceGate> {
        let namespaces = &mut self.namespaces;
        namespaces.find(name).unwrap_or_else(|| namespaces.insert(name.clone(), NamespaceGate::default()))
    }

    pub(super) fn set_namespace(&mut self, name: &ArcStr, limits: NamespaceLimits) {
        let namespace = self.namespace(name);
        self.namespaces[namespace].limits = limits;
        self.drop_namespace_without_use(namespace);
    }

    /// A run waits in a lane.
    pub(super) fn push(&mut self, lane: Id<Lane>, id: RunId, priority: Priority, since: Instant) {
        let entry = &mut self.lanes[lane];
        entry.queue.push(id, priority, since);
        self.demands[entry.demand].queued += 1;
        if entry.place == Place::Out {
            self.enter(lane);
        }
    }

    /// So many runs no longer wait in a lane.
    pub(super) fn popped(&mut self, lane: Id<Lane>, count: usize) {
        let entry = &mut self.lanes[lane];
        self.demands[entry.demand].queued -= count;
        if entry.queue.len() > 0 {
            return;
        }
        match entry.place {
            Place::Out => {}
            Place::Ring(_) => self.leave(lane, Place::Out),
            Place::Parked => {
                entry.place = Place::Out;
                let namespace = entry.namespace;
                let parked = &mut self.namespaces[namespace].parked;
                parked.retain(|parked| *parked != lane);
                if parked.is_empty() {
                    self.full.remove(&namespace);
                }
            }
        }
    }

    /// Counts starts: whose turn it is next. A lane that competes with nobody takes the pool's pass along, so that it
    /// does not pay later for what nobody else wanted.
    pub(super) fn served(&mut self, lane: Id<Lane>, count: usize, alone: bool) {
        let entry = &self.lanes[lane];
        let (pool, share) = (entry.pool, entry.share);
        let weight = u64::from(self.namespaces[entry.namespace].limits.weight.max(1));
        let (pool, share) = (&mut self.pools[pool], &mut self.shares[share]);
        pool.pass = pool.pass.max(share.pass);
        share.pass = pool.pass + (STRIDE * count as u64).div_ceil(weight);
        if alone {
            pool.pass = share.pass;
        }
    }

    /// The lane of a demand whose turn it is, with its namespace's pass.
    pub(super) fn head(&mut self, demand: Id<Demand>, class: Class) -> Option<(u64, Id<Lane>)> {
        loop {
            let ring = &mut self.demands[demand].rings[class as usize];
            let (pass, lane) = *ring.first()?;
            // Its namespace may have been served for another need since.
            let entry = &mut self.lanes[lane];
            let current = self.shares[entry.share].pass;
            if current == pass {
                return Some((pass.max(self.pools[entry.pool].pass), lane));
            }
            ring.remove(&(pass, lane));
            ring.insert((current, lane));
            entry.place = Place::Ring(current);
        }
    }

    /// Lanes that a demand has in a ring.
    pub(super) fn ring_len(&self, demand: Id<Demand>, class: Class) -> usize {
        self.demands[demand].rings[class as usize].len()
    }

    fn enter(&mut self, lane: Id<Lane>) {
        let entry = &mut self.lanes[lane];
        let pass = self.shares[entry.share].pass;
        entry.place = Place::Ring(pass);
        let (id, class) = (entry.demand, entry.class as usize);
        let demand = &mut self.demands[id];
        demand.rings[class].insert((pass, lane));
        if !demand.starved {
            self.pools[entry.pool].demands[class].insert(id);
            self.busy.insert(entry.pool);
        }
    }

    fn leave(&mut self, lane: Id<Lane>, to: Place) {
        let entry = &mut self.lanes[lane];
        if let Place::Ring(pass) = entry.place {
            let (id, pool, class) = (entry.demand, entry.pool, entry.class as usize);
            entry.place = to;
            let ring = &mut self.demands[id].rings[class];
            ring.remove(&(pass, lane));
            if ring.is_empty() {
                self.pools[pool].demands[class].remove(&id);
                self.rest_pool(pool);
            }
        }
    }

    fn rest_pool(&mut self, pool: Id<Pool>) {
        if self.pools[pool].demands.iter().all(BTreeSet::is_empty) {
            self.busy.remove(&pool);
        }
    }

    /// Its namespace takes nothing more: the lane stands aside.
    pub(super) fn park(&mut self, lane: Id<Lane>) {
        self.leave(lane, Place::Parked);
        let namespace = self.lanes[lane].namespace;
        self.namespaces[namespace].parked.push(lane);
        self.full.insert(namespace);
    }

    /// A namespace takes runs again.
    pub(super) fn unpark(&mut self, namespace: Id<NamespaceGate>) {
        self.full.remove(&namespace);
        for lane in std::mem::take(&mut self.namespaces[namespace].parked) {
            self.enter(lane);
        }
    }

    /// No executor has room for a demand: nobody looks at it until one has.
    pub(super) fn starve(&mut self, demand: Id<Demand>) {
        let entry = &mut self.demands[demand];
        entry.starved = true;
        let pool = entry.pool;
        self.pools[pool].starved.insert(demand);
        self.pools[pool].demands.iter_mut().for_each(|demands| {
            demands.remove(&demand);
        });
        self.rest_pool(pool);
    }

    /// An executor has room: what waits for one like it is looked at again.
    pub(super) fn feed(&mut self, pool: Id<Pool>, executor: &Executor) {
        if self.pools[pool].starved.is_empty() {
            return;
        }
        let room_for = |need: &Need| executor.fits(need) && executor.room_for(&need.handler) > 0;
        let fed: Vec<_> = self.pools[pool]
            .starved
            .iter()
            .copied()
            .filter(|demand| room_for(&self.demands[*demand].need))
            .collect();
        for id in fed {
            let demand = &mut self.demands[id];
            demand.starved = false;
            let pool_entry = &mut self.pools[pool];
            pool_entry.starved.remove(&id);
            for (ring, demands) in demand.rings.iter().zip(&mut pool_entry.demands) {
                if !ring.is_empty() {
                    demands.insert(id);
                    self.busy.insert(pool);
                }
            }
        }
    }

    pub(super) fn join(&mut self, pool: &ArcStr) {
        let pool = self.pool(pool);
        self.pools[pool].executors += 1;
    }

    pub(super) fn part(&mut self, pool: Id<Pool>) {
        self.pools[pool].executors -= 1;
        self.drop_pool_without_use(pool);
    }

    /// A run no longer names this lane. Of lanes that nobody names only the latest are kept.
    pub(super) fn release(&mut self, lane: Id<Lane>, runs: usize) {
        let entry = &mut self.lanes[lane];
        entry.runs -= runs;
        if entry.runs > 0 || entry.resting {
            return;
        }
        entry.resting = true;
        self.resting.push_back(lane);
        if self.resting.len() > RESTING_MAX
            && let Some(oldest) = self.resting.pop_front()
        {
            self.lanes[oldest].resting = false;
            if self.lanes[oldest].runs == 0 {
                self.remove(oldest);
            }
        }
    }

    fn remove(&mut self, id: Id<Lane>) {
        self.last = self.last.filter(|last| *last != id);
        let Some(lane) = self.lanes.remove(id) else { return };
        self.demands[lane.demand].lanes -= 1;
        if self.demands[lane.demand].lanes == 0 {
            self.demands.remove(lane.demand);
            let pool = &mut self.pools[lane.pool];
            pool.starved.remove(&lane.demand);
            pool.needs -= 1;
        }
        self.shares[lane.share].lanes -= 1;
        if self.shares[lane.share].lanes == 0 {
            self.shares.remove(lane.share);
            self.namespaces[lane.namespace].pools -= 1;
            self.drop_namespace_without_use(lane.namespace);
        }
        self.drop_pool_without_use(lane.pool);
    }

    fn drop_namespace_without_use(&mut self, id: Id<NamespaceGate>) {
        let namespace = &self.namespaces[id];
        if namespace.pools == 0 && namespace.limits == NamespaceLimits::default() {
            self.namespaces.remove(id);
        }
    }

    pub(super) fn drop_pool_without_use(&mut self, id: Id<Pool>) {
        let pool = &self.pools[id];
        if pool.needs == 0 && pool.executors == 0 && pool.gate.is_open() {
            self.pools.remove(id);
        }
    }
}
