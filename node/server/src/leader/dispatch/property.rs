//! Whatever happens in whatever order, the dispatcher keeps its invariants. The book kept here knows nothing of how it
//! decides: only what was asked, what was given out, and what the limits are.

use std::sync::Arc;

use arcstr::ArcStr;
use proptest::prelude::*;

use super::*;

const POOLS: [&str; 2] = ["a", "b"];
const HANDLERS: [&str; 2] = ["command", "mail"];
const NAMESPACES: [&str; 3] = ["one", "two", "three"];
const SESSIONS: u64 = 4;
const BUDGET: Rate = Rate { per: Duration::from_secs(1), count: 3 };
const OFFER_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Clone, Debug)]
enum Happening {
    Ready {
        pool: usize,
        handler: usize,
        namespace: usize,
        class: usize,
        priority: u8,
        wants_label: bool,
        later: bool,
    },
    Joined {
        session: u64,
        pool: usize,
        both: bool,
        label: bool,
        handler_slots: Option<u32>,
    },
    Left {
        session: u64,
    },
    Credits {
        session: u64,
        count: u32,
    },
    Drains {
        session: u64,
    },
    Begins {
        nth: usize,
    },
    Begun {
        nth: usize,
    },
    Refused {
        nth: usize,
    },
    Ends {
        nth: usize,
    },
    Declines {
        nth: usize,
    },
    Cancelled {
        nth: usize,
    },
    PoolSet {
        pool: usize,
        limits: PoolLimits,
    },
    NamespaceSet {
        namespace: usize,
        limits: NamespaceLimits,
    },
    Passes {
        millis: u64,
    },
}

fn happening() -> impl Strategy<Value = Happening> {
    use Happening::*;
    let small = || proptest::option::of(0..4u32);
    let nth = || 0..64usize;
    prop_oneof![
        8 => (0..2usize, 0..2usize, 0..3usize, 0..3usize, 1..=9u8, prop::bool::weighted(0.2), prop::bool::weighted(0.1))
            .prop_map(|(pool, handler, namespace, class, priority, wants_label, later)| Ready {
                pool, handler, namespace, class, priority, wants_label, later
            }),
        2 => (0..SESSIONS, 0..2usize, any::<bool>(), any::<bool>(), small())
            .prop_map(|(session, pool, both, label, handler_slots)| Joined { session, pool, both, label, handler_slots }),
        1 => (0..SESSIONS).prop_map(|session| Left { session }),
        6 => (0..SESSIONS, 1..4u32).prop_map(|(session, count)| Credits { session, count }),
        1 => (0..SESSIONS).prop_map(|session| Drains { session }),
        4 => nth().prop_map(|nth| Begins { nth }),
        4 => nth().prop_map(|nth| Begun { nth }),
        1 => nth().prop_map(|nth| Refused { nth }),
        3 => nth().prop_map(|nth| Ends { nth }),
        1 => nth().prop_map(|nth| Declines { nth }),
        1 => nth().prop_map(|nth| Cancelled { nth }),
        1 => (0..2usize, small(), proptest::option::of(1..4u32), prop::bool::weighted(0.2)).prop_map(
            |(pool, slots, rate, paused)| {
                let rate = rate.map(|count| Rate { per: Duration::from_millis(700), count });
                PoolSet { pool, limits: PoolLimits { slots, rate, paused } }
            }),
        1 => (0..3usize, 0..4u32, small()).prop_map(|(namespace, weight, max_running)| {
            NamespaceSet { namespace, limits: NamespaceLimits { weight, max_running } }
        }),
        4 => (0..1500u64).prop_map(|millis| Passes { millis }),
    ]
}

/// Where a run is, as the world outside the dispatcher knows.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    Ready,
    /// Asked to begin: still ready for the ledger.
    Beginning(SessionId),
    Running(SessionId),
    Over,
}

/// What the world outside the dispatcher knows.
struct Book {
    now: Instant,
    runs: BTreeMap<RunId, (ReadyRun, Place)>,
    offers: BTreeMap<RunId, (SessionId, Instant)>,
    /// How often each executor has left: a new stream is a new session.
    streams: [u64; SESSIONS as usize],
    executors: BTreeMap<SessionId, (Executor, Option<u32>)>,
    credits: BTreeMap<SessionId, u32>,
    pools: BTreeMap<ArcStr, PoolLimits>,
    namespaces: BTreeMap<ArcStr, NamespaceLimits>,
    /// When recovery runs were given out, and when runs of each pool were.
    recovery: Vec<Instant>,
    starts: BTreeMap<ArcStr, Vec<Instant>>,
}

impl Ledger for Book {
    fn weigh(&self, run: RunId) -> Option<usize> {
        matches!(self.runs[&run].1, Place::Ready | Place::Beginning(_)).then_some(100)
    }

    fn running_in_pool(&self, pool: &str) -> u32 {
        self.count(|run, place| *run.need.pool == *pool && matches!(place, Place::Running(_)))
    }

    fn running_in_namespace(&self, namespace: &str) -> u32 {
        self.count(|run, place| *run.namespace == *namespace && matches!(place, Place::Running(_)))
    }
}

impl Book {
    fn session(&self, number: u64) -> SessionId {
        SessionId(number + SESSIONS * self.streams[number as usize])
    }

    fn count(&self, which: impl Fn(&ReadyRun, Place) -> bool) -> u32 {
        self.runs.values().filter(|(run, place)| which(run, *place)).count() as u32
    }

    /// What is offered, beginning or running.
    fn under_way(&self, which: impl Fn(&ReadyRun) -> bool) -> u32 {
        self.count(|run, place| {
            let is_out = matches!(place, Place::Beginning(_) | Place::Running(_));
            which(run) && (is_out || (place == Place::Ready && self.offers.contains_key(&run.id)))
        })
    }

    fn at_handler(&self, session: SessionId, handler: &str) -> u32 {
        self.count(|run, place| {
            let held = match place {
                Place::Ready => self.offers.get(&run.id).is_some_and(|(holder, _)| *holder == session),
                Place::Beginning(holder) | Place::Running(holder) => holder == session,
                Place::Over => false,
            };
            held && *run.need.handler == *handler
        })
    }

    fn nth(&self, nth: usize, which: impl Fn(RunId, Place) -> bool) -> Option<RunId> {
        let found: Vec<_> = self.runs.iter().filter(|(id, (_, place))| which(**id, *place)).collect();
        (!found.is_empty()).then(|| *found[nth % found.len()].0)
    }

    fn left_of(rate: Rate, starts: &[Instant], now: Instant) -> u32 {
        rate.count.saturating_sub(starts.iter().filter(|at| **at + rate.per > now).count() as u32)
    }

    fn pool_has_room(&self, pool: &ArcStr, dispatch: &Dispatch) -> bool {
        let limits = self.pools.get(pool).copied().unwrap_or_default();
        let slots = limits.slots.is_none_or(|slots| self.under_way(|run| run.need.pool == *pool) < slots);
        // What is left of a rate that was changed meanwhile is the dispatcher's to say.
        let id = dispatch.lanes.pools.find(pool);
        let rate = limits.rate.is_none()
            || id.is_some_and(|id| dispatch.lanes.pools[id].gate.free(self.now, || 0).is_ok());
        !limits.paused && slots && rate
    }

    fn takes(&self, session: SessionId, run: &ReadyRun) -> bool {
        let (executor, handler_slots) = &self.executors[&session];
        let need = &run.need;
        let slots = handler_slots.filter(|_| *need.handler == *HANDLERS[0]);
        !executor.draining
            && self.credits[&session] > 0
            && executor.pool == need.pool
            && executor.handlers.contains(&need.handler)
            && need.selector.iter().all(|(key, value)| executor.labels.get(key) == Some(value))
            && slots.is_none_or(|slots| self.at_handler(session, HANDLERS[0]) < slots)
    }

    fn happens(&mut self, what: Happening, dispatch: &mut Dispatch) {
        let now = self.now;
        match what {
            Happening::Ready { pool, handler, namespace, class, priority, wants_label, later } => {
                let id = RunId(self.runs.len() as u64 + 1);
                let label = wants_label.then(|| ("zone".into(), "a".into()));
                let run = ReadyRun {
                    id,
                    need: Need {
                        pool: POOLS[pool].into(),
                        handler: HANDLERS[handler].into(),
                        selector: Arc::new(label.into_iter().collect()),
                    },
                    namespace: NAMESPACES[namespace].into(),
                    class: Class::ALL[class],
                    priority: Priority::new(priority).unwrap(),
                    not_before: later.then(|| now + Duration::from_millis(400)),
                };
                self.runs.insert(id, (run.clone(), Place::Ready));
                dispatch.offer(run, now);
            }
            Happening::Joined { session, pool, both, label, handler_slots } => {
                let session = self.session(session);
                if self.executors.contains_key(&session) {
                    return;
                }
                let handlers =
                    HANDLERS[..if both { 2 } else { 1 }].iter().map(|name| (*name).into()).collect();
                let labels = label.then(|| ("zone".into(), "a".into())).into_iter().collect();
                let slots = handler_slots.map(|slots| (HANDLERS[0].into(), slots)).into_iter().collect();
                let executor =
                    Executor::new("01X".into(), "host".into(), "1".into(), POOLS[pool].into(), handlers, 5)
                        .with_labels(labels)
                        .with_handler_slots(slots);
                self.executors.insert(session, (executor.clone(), handler_slots));
                self.credits.insert(session, 0);
                dispatch.join(session, executor);
            }
            Happening::Left { session: number } => {
                let session = self.session(number);
                if self.executors.remove(&session).is_some() {
                    self.offers.retain(|_, (holder, _)| *holder != session);
                    dispatch.leave(session);
                    self.streams[number as usize] += 1;
                }
            }
            Happening::Credits { session, count } => {
                let session = self.session(session);
                if self.executors.contains_key(&session) {
                    let credits = self.credits.entry(session).or_default();
                    *credits = (*credits + count).min(5);
                    dispatch.credit(session, count);
                }
            }
            Happening::Drains { session } => {
                let session = self.session(session);
                if let Some((executor, _)) = self.executors.get_mut(&session) {
                    executor.draining = true;
                    dispatch.drain(session);
                }
            }
            Happening::Begins { nth } => {
                let offered = |id, _| self.offers.contains_key(&id);
                if let Some(id) = self.nth(nth, offered)
                    && let Some((session, _)) = self.offers.remove(&id)
                {
                    let entry = self.runs.get_mut(&id).unwrap();
                    if entry.1 == Place::Ready {
                        entry.1 = Place::Beginning(session);
                    }
                    dispatch.settle(session, [id]);
                }
            }
            Happening::Begun { nth } => {
                if let Some(id) = self.nth(nth, |_, place| matches!(place, Place::Beginning(_))) {
                    let place = &mut self.runs.get_mut(&id).unwrap().1;
                    if let Place::Beginning(session) = *place {
                        *place = Place::Running(session);
                    }
                }
            }
            Happening::Refused { nth } => {
                if let Some(id) = self.nth(nth, |_, place| matches!(place, Place::Beginning(_))) {
                    let (run, place) = self.runs.get_mut(&id).unwrap();
                    if let Place::Beginning(session) = *place {
                        dispatch.ended(session, &[id]);
                    }
                    *place = Place::Ready;
                    dispatch.put_off(run.clone(), now);
                }
            }
            Happening::Ends { nth } => {
                if let Some(id) = self.nth(nth, |_, place| matches!(place, Place::Running(_))) {
                    let place = &mut self.runs.get_mut(&id).unwrap().1;
                    if let Place::Running(session) = *place {
                        dispatch.ended(session, &[id]);
                    }
                    *place = Place::Over;
                }
            }
            Happening::Declines { nth } => {
                let offered = |id, _| self.offers.contains_key(&id);
                if let Some(id) = self.nth(nth, offered)
                    && let Some((session, _)) = self.offers.remove(&id)
                {
                    dispatch.decline(session, [id], now);
                }
            }
            Happening::Cancelled { nth } => {
                let waits = |id, place| place == Place::Ready && !self.offers.contains_key(&id);
                if let Some(id) = self.nth(nth, waits) {
                    self.runs.get_mut(&id).unwrap().1 = Place::Over;
                    if nth % 2 == 0 {
                        dispatch.forget(&BTreeSet::from([id]));
                    }
                }
            }
            Happening::PoolSet { pool, limits } => {
                if self.pools.get(POOLS[pool]).is_none_or(|limits| limits.slots.is_none()) {
                    self.answer_begins();
                }
                self.pools.insert(POOLS[pool].into(), limits);
                self.starts.remove(POOLS[pool]);
                dispatch.set_pool(&POOLS[pool].into(), limits);
            }
            Happening::NamespaceSet { namespace, limits } => {
                let before = self.namespaces.get(NAMESPACES[namespace]);
                if before.is_none_or(|limits| limits.max_running.is_none()) {
                    self.answer_begins();
                }
                self.namespaces.insert(NAMESPACES[namespace].into(), limits);
                dispatch.set_namespace(&NAMESPACES[namespace].into(), limits);
            }
            Happening::Passes { millis } => {
                self.now += Duration::from_millis(millis);
                let late = |(_, made_at): &(SessionId, Instant)| *made_at + OFFER_TIMEOUT <= self.now;
                self.offers.retain(|_, offer| !late(offer));
                dispatch.expire_offers(self.now, OFFER_TIMEOUT);
                dispatch.wake(self.now);
            }
        }
    }

    /// Begins under way where nothing counted them are not seen by a limit that is set just then.
    fn answer_begins(&mut self) {
        for (_, place) in self.runs.values_mut() {
            if let Place::Beginning(session) = *place {
                *place = Place::Running(session);
            }
        }
    }

    /// Assigns, and looks at every grant by itself.
    fn assign(&mut self, dispatch: &mut Dispatch) {
        for (session, runs) in dispatch.assign(self.now, usize::MAX, self, |_| usize::MAX) {
            for id in runs {
                let (run, place) = self.runs[&id].clone();
                assert_eq!(place, Place::Ready, "{id} may not begin");
                assert!(!self.offers.contains_key(&id), "DISPATCH-1: {id} is offered already");
                assert!(self.takes(session, &run), "DISPATCH-2: {session:?} does not take {run:?}");
                *self.credits.get_mut(&session).unwrap() -= 1;
                self.offers.insert(id, (session, self.now));
                self.starts.entry(run.need.pool.clone()).or_default().push(self.now);
                if run.class.is_recovery() {
                    self.recovery.push(self.now);
                }
                self.check_limits(&run);
            }
        }
    }

    fn check_limits(&self, run: &ReadyRun) {
        let limits = self.pools.get(&run.need.pool).copied().unwrap_or_default();
        let in_use = self.under_way(|other| other.need.pool == run.need.pool);
        assert!(!limits.paused, "DISPATCH-6: the pool is paused");
        assert!(limits.slots.is_none_or(|slots| in_use <= slots), "DISPATCH-6: {in_use} in {limits:?}");
        let starts = &self.starts[&run.need.pool];
        let within = |rate: Rate, starts: &[Instant]| {
            starts.iter().filter(|at| **at + rate.per > self.now).count() <= rate.count as usize
        };
        assert!(limits.rate.is_none_or(|rate| within(rate, starts)), "DISPATCH-6: rate");
        let max = self.namespaces.get(&run.namespace).and_then(|limits| limits.max_running);
        let in_use = self.under_way(|other| other.namespace == run.namespace);
        assert!(max.is_none_or(|max| in_use <= max), "DISPATCH-6: {in_use} of {max:?}");
        assert!(within(BUDGET, &self.recovery), "CATCH-1");
    }

    fn check_due_1(&self, dispatch: &Dispatch) {
        let budget = Self::left_of(BUDGET, &self.recovery, self.now) > 0;
        for (id, known) in &dispatch.runs {
            if !matches!(known.stage, Stage::Queued) {
                continue;
            }
            let (run, place) = &self.runs[id];
            let max = self.namespaces.get(&run.namespace).and_then(|limits| limits.max_running);
            let may_go = *place == Place::Ready
                && (budget || !run.class.is_recovery())
                && self.pool_has_room(&run.need.pool, dispatch)
                && max.is_none_or(|max| self.under_way(|other| other.namespace == run.namespace) < max)
                && self.executors.keys().any(|session| self.takes(*session, run));
            assert!(!may_go, "DUE-1: {run:?} could go");
            assert!(dispatch.why_waiting(*id, self.now, self).is_some(), "{run:?} waits for nothing");
        }
        for (id, (run, place)) in &self.runs {
            assert!(*place != Place::Ready || dispatch.knows(*id), "{run:?} was lost");
        }
        assert_eq!(
            dispatch.backlog(),
            dispatch.backlogs().map(|(_, _, count)| count).sum::<usize>(),
            "the books of the dispatcher agree with each other"
        );
    }
}

proptest! {
    #[test]
    fn whatever_happens_limits_hold_and_nothing_waits_without_a_reason(
        what in proptest::collection::vec(happening(), 1..150)
    ) {
        let mut dispatch = Dispatch::new(BUDGET);
        let mut book = Book {
            now: Instant::now(),
            runs: BTreeMap::new(),
            offers: BTreeMap::new(),
            streams: [0; SESSIONS as usize],
            executors: BTreeMap::new(),
            credits: BTreeMap::new(),
            pools: BTreeMap::new(),
            namespaces: BTreeMap::new(),
            recovery: Vec::new(),
            starts: BTreeMap::new(),
        };
        for happening in what {
            book.happens(happening, &mut dispatch);
            book.assign(&mut dispatch);
            book.check_due_1(&dispatch);
        }
    }
}
