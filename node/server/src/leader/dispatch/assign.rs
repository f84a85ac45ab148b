//! Which run goes to whom now.
//!
//! ```text
//!   class by class ─► pool by pool ─► the lane whose turn it is ─► the executor whose turn it is ─► its next message
//!    (budget)          (paused, slots,  (namespace full?)            (credit, handler slots, room)
//!                       rate, credit)
//! ```
//! What holds for many is asked first and once. A lane that competes with nobody gives each executor an even share at once:
//! a storm costs a few decisions per message, not per run.

use std::collections::{BTreeMap, HashMap};

use belfry_core::RunId;
use tokio::time::Instant;

use super::executor::SessionId;
use super::lanes::{Demand, Lane, Lanes, Pool};
use super::limits::{NamespaceGate, UnderWay};
use super::ready::Class;
use super::slab::Id;
use super::{Dispatch, GRANT_BYTES_PER_MESSAGE, GRANTS_PER_MESSAGE, Ledger, Stage};

/// One call of [`Dispatch::assign`].
struct Round<'a, L, R> {
    now: Instant,
    /// Runs that may still be given out.
    left: usize,
    ledger: &'a L,
    room: R,
    grants: Vec<(SessionId, Vec<RunId>)>,
    desks: BTreeMap<SessionId, Desk>,
    fitting: HashMap<Id<Demand>, Fitting>,
}

/// The message to one executor that is being filled.
#[derive(Default)]
struct Desk {
    /// Its place among the grants; none when the last one is full.
    message: Option<usize>,
    bytes: usize,
    messages: usize,
}

/// Executors that may take what a demand waits for. Each gets a share in turn.
#[derive(Default)]
struct Fitting {
    sessions: Vec<SessionId>,
    next: usize,
}

/// Why no executor takes a run.
enum Nobody {
    HasRoom,
    /// Only because messages to those that fit are full.
    CanBeSent,
}

impl<L, R: Fn(SessionId) -> usize> Round<'_, L, R> {
    fn can_send(&self, session: SessionId) -> bool {
        match self.desks.get(&session) {
            Some(desk) => desk.message.is_some() || desk.messages < (self.room)(session),
            None => (self.room)(session) > 0,
        }
    }
}

impl Dispatch {
    /// Gives at most `max` waiting runs to executors with credit; those that the ledger no longer lets begin are dropped.
    /// `room` asks a stream how many messages it takes.
    pub(crate) fn assign<L: Ledger>(
        &mut self,
        now: Instant,
        max: usize,
        ledger: &L,
        room: impl Fn(SessionId) -> usize,
    ) -> Vec<(SessionId, Vec<RunId>)> {
        let mut round = Round {
            now,
            left: max,
            ledger,
            room,
            grants: Vec::new(),
            desks: BTreeMap::new(),
            fitting: HashMap::new(),
        };
        self.token_at = None;
        for namespace in self.lanes.full.iter().copied().collect::<Vec<_>>() {
            if self.namespace_free(namespace, ledger) > 0 {
                self.lanes.unpark(namespace);
            }
        }
        // Another pool is the first each time: what pools share, the budget and the limits of namespaces, goes round.
        let mut pools: Vec<_> = self.lanes.busy.iter().copied().collect();
        if !pools.is_empty() {
            self.turn = (self.turn + 1) % pools.len();
            pools.rotate_left(self.turn);
        }
        for class in Class::ALL {
            self.assign_class(class, &pools, &mut round);
        }
        for session in round.desks.into_keys() {
            self.relist(session);
        }
        round.grants.retain(|(_, runs)| !runs.is_empty());
        round.grants
    }

    fn assign_class<L: Ledger, R: Fn(SessionId) -> usize>(
        &mut self,
        class: Class,
        pools: &[Id<Pool>],
        round: &mut Round<'_, L, R>,
    ) {
        let waits = |pool: &Id<Pool>| !self.lanes.pools[*pool].demands[class as usize].is_empty();
        let pools: Vec<_> = pools.iter().copied().filter(waits).collect();
        if !class.is_recovery() {
            pools.iter().for_each(|pool| {
                self.assign_pool(*pool, class, usize::MAX, round);
            });
            return;
        }
        let mut is_first = true;
        while !pools.is_empty() {
            let before = round.left;
            for (position, pool) in pools.iter().enumerate() {
                let tokens = self.budget.left(round.now) as usize;
                if tokens == 0 {
                    self.wake_for_token(self.budget.next_at(round.now));
                    return;
                }
                // First to each pool its part of the budget, then to each what others leave.
                let part = if is_first { tokens.div_ceil(pools.len() - position) } else { tokens };
                let given = self.assign_pool(*pool, class, part, round);
                if given > 0 {
                    self.budget.draw(round.now, u32::try_from(given).unwrap_or(u32::MAX));
                }
            }
            if round.left == before {
                return;
            }
            is_first = false;
        }
    }

    /// Gives out at most `max` runs of one class of one pool; says how many it were.
    fn assign_pool<L: Ledger, R: Fn(SessionId) -> usize>(
        &mut self,
        pool: Id<Pool>,
        class: Class,
        max: usize,
        round: &mut Round<'_, L, R>,
    ) -> usize {
        let mut given = 0;
        // Once its slots are taken, some may turn out to be free: it is asked again.
        while self.lanes.pools[pool].credits > 0 && given < max {
            let free = self.pool_free(pool, round.now, round.ledger) as usize;
            let part = free.min(max - given).min(round.left);
            let taken = self.assign_part(pool, class, part, round);
            given += taken;
            if taken < part || part == 0 {
                break;
            }
        }
        given
    }

    /// The same for what the pool has room for.
    fn assign_part<L: Ledger, R: Fn(SessionId) -> usize>(
        &mut self,
        pool: Id<Pool>,
        class: Class,
        max: usize,
        round: &mut Round<'_, L, R>,
    ) -> usize {
        let mut demands: Vec<_> = self.lanes.pools[pool].demands[class as usize].iter().copied().collect();
        let mut given = 0;
        while given < max && self.lanes.pools[pool].credits > 0 {
            let Some((at, lane)) = self.next_lane(&demands, class) else { break };
            let demand = demands[at];
            let namespace = self.lanes.lanes[lane].namespace;
            let free = self.namespace_free(namespace, round.ledger) as usize;
            if free == 0 {
                self.lanes.park(lane);
            } else {
                match self.next_executor(demand, round) {
                    Ok((session, turns)) => {
                        let alone = demands.len() == 1 && self.lanes.ring_len(demand, class) == 1;
                        let waiting = self.lanes.lanes[lane].queue.len();
                        let part = if alone { waiting.div_ceil(turns) } else { 1 };
                        given += self.give(lane, session, part.min(free).min(max - given), alone, round);
                    }
                    Err(Nobody::HasRoom) => {
                        demands.swap_remove(at);
                        self.lanes.starve(demand);
                        continue;
                    }
                    Err(Nobody::CanBeSent) => {
                        demands.swap_remove(at);
                        continue;
                    }
                }
            }
            if self.lanes.ring_len(demand, class) == 0 {
                demands.swap_remove(at);
            }
        }
        given
    }

    /// The lane whose namespace was served least; of one namespace, that whose first run goes first.
    fn next_lane(&mut self, demands: &[Id<Demand>], class: Class) -> Option<(usize, Id<Lane>)> {
        if let [demand] = demands {
            return self.lanes.head(*demand, class).map(|(_, lane)| (0, lane));
        }
        let heads = demands.iter().enumerate().filter_map(|(at, demand)| {
            let (pass, lane) = self.lanes.head(*demand, class)?;
            Some((pass, self.lanes.lanes[lane].queue.first(), at, lane))
        });
        heads.min_by_key(|(pass, first, ..)| (*pass, *first)).map(|(_, _, at, lane)| (at, lane))
    }

    /// The executor whose turn it is, and how many have theirs before the first has it again.
    fn next_executor<L, R: Fn(SessionId) -> usize>(
        &self,
        demand: Id<Demand>,
        round: &mut Round<'_, L, R>,
    ) -> Result<(SessionId, usize), Nobody> {
        let Demand { need, pool, queued, .. } = &self.lanes.demands[demand];
        let mut fitting = round.fitting.remove(&demand).unwrap_or_default();
        let takes = |session: SessionId| self.executors[&session].room_for(&need.handler) > 0;
        let mut found = None;
        while found.is_none() && !fitting.sessions.is_empty() {
            fitting.next %= fitting.sessions.len();
            let session = fitting.sessions[fitting.next];
            if takes(session) && round.can_send(session) {
                found = Some(session);
            } else {
                fitting.sessions.remove(fitting.next);
            }
        }
        let mut are_full = false;
        if found.is_none() {
            // More than there are runs need not be looked at.
            fitting.next = 0;
            let open = self.lanes.pools[*pool].open.iter().map(|(_, session)| *session);
            let open = open.filter(|session| self.executors[session].fits(need) && takes(*session));
            let sendable = open.filter(|session| {
                let can = round.can_send(*session);
                are_full |= !can;
                can
            });
            fitting.sessions.extend(sendable.take(*queued));
            found = fitting.sessions.first().copied();
        }
        let turns = fitting.sessions.len() - fitting.next;
        fitting.next += 1;
        round.fitting.insert(demand, fitting);
        match found {
            Some(session) => Ok((session, turns)),
            None if are_full => Err(Nobody::CanBeSent),
            None => Err(Nobody::HasRoom),
        }
    }

    /// Offers at most `max` runs of a lane to an executor, as far as they fit into one message; says how many it were.
    fn give<L: Ledger, R: Fn(SessionId) -> usize>(
        &mut self,
        lane_id: Id<Lane>,
        session: SessionId,
        max: usize,
        alone: bool,
        round: &mut Round<'_, L, R>,
    ) -> usize {
        let lane = &mut self.lanes.lanes[lane_id];
        let handler = &self.lanes.demands[lane.demand].need.handler;
        let executor = self.executors.get_mut(&session).expect("it was just chosen");
        let max = max.min(executor.room_for(handler) as usize);
        let desk = round.desks.entry(session).or_default();
        let at = *desk.message.get_or_insert_with(|| {
            round.grants.push((session, Vec::with_capacity(max.min(GRANTS_PER_MESSAGE))));
            desk.messages += 1;
            desk.bytes = 0;
            round.grants.len() - 1
        });
        let message = &mut round.grants[at].1;
        let (mut given, mut dropped) = (0, 0);
        while given < max
            && let Some((_, id)) = lane.queue.first()
        {
            let Some(weight) = round.ledger.weigh(id) else {
                lane.queue.pop();
                self.runs.remove(&id);
                dropped += 1;
                continue;
            };
            if message.len() >= GRANTS_PER_MESSAGE
                || (desk.bytes + weight > GRANT_BYTES_PER_MESSAGE && !message.is_empty())
            {
                desk.message = None;
                break;
            }
            lane.queue.pop();
            desk.bytes += weight;
            let run = self.runs.get_mut(&id).expect("what waits in a lane is known");
            run.stage = Stage::Offered { session, made_at: round.now };
            executor.take(id, handler);
            self.offers_by_age.push_back((round.now, id));
            message.push(id);
            given += 1;
        }
        let taken = u32::try_from(given).expect("no more than its credits");
        executor.credits -= taken;
        let (namespace, class) = (lane.namespace, lane.class as usize);
        let pool = &mut self.lanes.pools[lane.pool];
        pool.credits -= u64::from(taken);
        pool.waiting[class] -= given + dropped;
        pool.gate.under_way.offered += taken;
        pool.gate.draw(round.now, taken);
        self.lanes.namespaces[namespace].under_way.offered += taken;
        self.waiting -= given + dropped;
        round.left -= given;
        self.lanes.served(lane_id, given, alone);
        self.lanes.popped(lane_id, given + dropped);
        self.lanes.release(lane_id, dropped);
        given
    }

    /// How many more runs a pool takes. If it waits for a token, somebody is woken for that.
    fn pool_free(&mut self, pool: Id<Pool>, now: Instant, ledger: &impl Ledger) -> u32 {
        let free = |lanes: &Lanes| {
            lanes.pools[pool].gate.free(now, || ledger.running_in_pool(lanes.pools.key(pool)))
        };
        let mut answer = free(&self.lanes);
        if answer.is_err() || self.lanes.pools[pool].gate.under_way.is_crowded() {
            self.confirm(|lanes| &mut lanes.pools[pool].gate.under_way, ledger);
            answer = free(&self.lanes);
        }
        answer.unwrap_or_else(|why| {
            self.wake_for_token(why.until());
            0
        })
    }

    /// How many more runs a namespace takes.
    fn namespace_free(&mut self, id: Id<NamespaceGate>, ledger: &impl Ledger) -> u32 {
        let free = |lanes: &Lanes| {
            lanes.namespaces[id].free(|| ledger.running_in_namespace(lanes.namespaces.key(id)))
        };
        let mut answer = free(&self.lanes);
        if answer.is_err() || self.lanes.namespaces[id].under_way.is_crowded() {
            self.confirm(|lanes| &mut lanes.namespaces[id].under_way, ledger);
            answer = free(&self.lanes);
        }
        answer.unwrap_or(0)
    }

    /// Looks which of those that asked to begin have begun, or are over: they are the ledger's to count now.
    fn confirm(&mut self, under_way: impl Fn(&mut Lanes) -> &mut UnderWay, ledger: &impl Ledger) {
        let beginning = under_way(&mut self.lanes).beginning.iter().copied();
        let begun: Vec<_> = beginning.filter(|id| ledger.weigh(*id).is_none()).collect();
        begun.into_iter().for_each(|id| self.end_begin(id));
        under_way(&mut self.lanes).confirmed();
    }

    fn wake_for_token(&mut self, at: Option<Instant>) {
        self.token_at = self.token_at.into_iter().chain(at).min();
    }
}
