//! The dispatch loop: the one owner of [`Dispatch`]. It turns ready runs and credits into grants on streams.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arcstr::ArcStr;
use belfry_core::object::{Object, ObjectKind, ObjectName};
use belfry_core::run::{RunState, Trigger};
use belfry_core::{Definition, Effect, Revision, RunId, State, UnixMillis};
use belfry_proto::v1 as pb;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::dispatch::{
    Class, Dispatch, Executor, Ledger, NamespaceLimits, Need, PoolLimits, Priority, Rate, ReadyRun, SessionId,
};
use super::grant::grant;
use super::reconcile::{self, Reconcile};
use super::session::Outbox;
use super::{EVENTS_MAX, Shared};
use crate::api::names::RunIds;
use crate::metrics::DispatchGauges;

/// How often gauges and the status of executors are brought up to date.
const REPORT_PERIOD: Duration = Duration::from_millis(250);

/// A row made so long after its instant is recovery work, below what is on time and within the budget. Less is a change of
/// leader or a slow disk, and nothing that could turn into a flood.
const RECOVERY_AFTER: Duration = Duration::from_secs(60);

/// Runs looked at, or granted, under one lock: entries wait for it.
const SLICE: usize = 4096;

/// Cancels in one message: with reasons of the greatest length, well below what an executor takes.
const CANCELS_PER_MESSAGE: usize = 1024;

/// A grant without its payload: names of up to 128 bytes, numbers, the idempotency key.
const GRANT_BYTES: usize = 512;

/// What sessions and committers tell the loop.
pub(super) enum Event {
    /// An executor said hello.
    Joined { session: SessionId, executor: Box<Executor>, outbox: Outbox },
    /// Its stream ended.
    Left { session: SessionId },
    /// It has room.
    Credits { session: SessionId, count: u32 },
    /// It asked to begin these.
    Settled { session: SessionId, runs: Vec<RunId> },
    /// It may not begin these: the ledger refused, or could not be asked.
    Refused { session: SessionId, runs: Vec<RunId> },
    /// It will not take these.
    Declined { session: SessionId, runs: Vec<RunId> },
    /// It wants no more.
    Draining { session: SessionId },
    /// Its attempts of these ended.
    Ended { session: SessionId, runs: Vec<RunId> },
    /// Completions are in the ledger: slots of pools and namespaces may be free.
    Completed,
    /// An operator wants an executor to take no more; the answer is whether it is connected.
    DrainAsked { executor: String, answer: oneshot::Sender<bool> },
    /// Somebody wants to know what a run waits for; none: it does not wait here.
    WhyAsked { run: RunId, answer: oneshot::Sender<Option<String>> },
}

struct Pump {
    shared: Arc<Shared>,
    dispatch: Dispatch,
    outboxes: BTreeMap<SessionId, Outbox>,
    /// The stream of each executor: the latest one.
    sessions: BTreeMap<ArcStr, SessionId>,
    reconcile: Reconcile,
    /// The last change of pools and namespaces that the dispatcher knows, and those that it was told of.
    limits_as_of: Revision,
    limited: BTreeSet<ObjectName>,
}

/// Offers runs to executors until the reign ends.
pub(super) async fn run(
    shared: Arc<Shared>,
    mut events: mpsc::Receiver<Event>,
    report: Arc<Mutex<Vec<pb::ExecutorStatus>>>,
) {
    let effects = shared.replica.effects();
    let reconcile = Reconcile::new(Instant::now());
    let catch_up = Rate { per: Duration::from_secs(1), count: shared.limits.catch_up_starts_per_second };
    let mut pump = Pump {
        shared,
        dispatch: Dispatch::new(catch_up),
        outboxes: BTreeMap::new(),
        sessions: BTreeMap::new(),
        reconcile,
        limits_as_of: Revision::default(),
        limited: BTreeSet::new(),
    };
    pump.refresh_limits();
    let ready: Vec<_> = pump.shared.replica.read(|state| state.ready().iter().collect());
    pump.offer(&ready);

    let offer_timeout = pump.shared.limits.offer_timeout;
    let mut reporting = tokio::time::interval(REPORT_PERIOD);
    reporting.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut taken = Vec::new();
    loop {
        let wake = pump.dispatch.next_wake(offer_timeout);
        tokio::select! {
            count = events.recv_many(&mut taken, EVENTS_MAX) => {
                if count == 0 {
                    return;
                }
                taken.drain(..).for_each(|event| pump.handle(event));
            }
            effects = effects.take() => pump.carry_out(effects),
            () = sleep_until(wake) => {
                let now = Instant::now();
                let expired = pump.dispatch.expire_offers(now, offer_timeout);
                pump.shared.metrics.count_offers_timed_out(expired as u64);
                pump.dispatch.wake(now);
            }
            _ = reporting.tick() => {
                pump.refresh_limits();
                pump.forget_dead();
                pump.find_lost();
                pump.report(&report);
            }
        }
        pump.send_grants();
    }
}

async fn sleep_until(wake: Option<Instant>) {
    match wake {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

impl Pump {
    fn handle(&mut self, event: Event) {
        match event {
            Event::Joined { session, executor, outbox } => {
                let id = executor.executor_id.clone();
                // It has left its former stream, whatever the network still makes of that one: what is sent there is lost.
                match self.sessions.get(&id).copied() {
                    Some(later) if later > session => return outbox.end(),
                    Some(former) => self.leave(former),
                    None => {}
                }
                self.sessions.insert(id.clone(), session);
                self.dispatch.join(session, *executor);
                self.outboxes.insert(session, outbox);
                // What it was told to end there may not have reached it.
                let runs: Vec<_> =
                    self.shared.replica.read(|state| state.cancelling().iter().copied().collect());
                self.cancel(&runs, Some(&id));
            }
            Event::DrainAsked { executor, answer } => {
                // Who asked may have gone.
                let _ = answer.send(self.ask_to_drain(&executor));
            }
            Event::WhyAsked { run, answer } => {
                let _ = answer.send(self.why_waiting(run));
            }
            Event::Ended { session, runs } => self.dispatch.ended(session, &runs),
            // What waits for a slot is looked at after each event.
            Event::Completed => {}
            Event::Left { session } => self.leave(session),
            Event::Credits { session, count } => self.dispatch.credit(session, count),
            Event::Settled { session, runs } => self.dispatch.settle(session, runs),
            Event::Refused { session, runs } => {
                tracing::debug!(session = session.0, count = runs.len(), "begins refused");
                // Not at once: what was wrong (a start deadline that passed, a slow disk) may still be.
                let now = Instant::now();
                self.dispatch.ended(session, &runs);
                self.ready_runs(&runs).into_iter().for_each(|run| self.dispatch.put_off(run, now));
            }
            Event::Declined { session, runs } => {
                self.shared.metrics.count_declines(runs.len() as u64);
                self.dispatch.decline(session, runs, Instant::now());
            }
            Event::Draining { session } => self.dispatch.drain(session),
        }
    }

    fn leave(&mut self, session: SessionId) {
        self.dispatch.leave(session);
        if let Some(outbox) = self.outboxes.remove(&session) {
            outbox.end();
        }
        self.sessions.retain(|_, current| *current != session);
    }

    /// Where messages to an executor go, if it is connected.
    fn outbox(&self, executor_id: &str) -> Option<&Outbox> {
        self.outboxes.get(self.sessions.get(executor_id)?)
    }

    fn carry_out(&mut self, effects: Vec<Effect>) {
        let mut cancelled = Vec::new();
        let offered: Vec<_> = effects
            .into_iter()
            .filter_map(|effect| match effect {
                Effect::Offer(run) => Some(run),
                Effect::Cancel(run) => {
                    cancelled.push(run);
                    None
                }
            })
            .collect();
        self.offer(&offered);
        self.cancel(&cancelled, None);
    }

    fn ask_to_drain(&mut self, executor_id: &str) -> bool {
        let Some(outbox) = self.outbox(executor_id) else { return false };
        outbox.send(pb::executor_reply::Message::DrainRequest(pb::DrainRequest {}));
        true
    }

    fn why_waiting(&self, run: RunId) -> Option<String> {
        let now = Instant::now();
        let waiting =
            self.shared.replica.read(|state| self.dispatch.why_waiting(run, now, &Ledgered(state)))?;
        let name = |session: SessionId| {
            let of_session = |(id, _): &(SessionId, &Executor)| *id == session;
            let executor = self.dispatch.executors().find(of_session);
            executor.map_or("an executor".to_owned(), |(_, executor)| executor.display_name.clone())
        };
        Some(waiting.in_words(now, name))
    }

    /// Tells the dispatcher of pools and namespaces that changed since it was told.
    fn refresh_limits(&mut self) {
        let as_of = self.limits_as_of;
        let changed = self.shared.replica.read(|state| {
            (state.declared_revision() != as_of).then(|| {
                let first = ObjectName::Pool("".into());
                let limits = state.objects_from(&first).filter_map(limits_of).collect::<Vec<_>>();
                (state.declared_revision(), limits)
            })
        });
        let Some((revision, limits)) = changed else { return };
        let mut gone = std::mem::take(&mut self.limited);
        for limits in limits {
            gone.remove(&limits.name());
            self.limited.insert(limits.name());
            self.set_limits(limits);
        }
        for name in gone {
            match name {
                ObjectName::Pool(name) => self.set_limits(Limits::Pool(name, PoolLimits::default())),
                ObjectName::Namespace(name) => {
                    self.set_limits(Limits::Namespace(name, NamespaceLimits::default()));
                }
                ObjectName::Calendar(_) => {}
            }
        }
        self.limits_as_of = revision;
    }

    fn set_limits(&mut self, limits: Limits) {
        match limits {
            Limits::Pool(name, limits) => self.dispatch.set_pool(&name, limits),
            Limits::Namespace(name, limits) => self.dispatch.set_namespace(&name, limits),
        }
    }

    /// Tells executors to end runs: all of them, or one that just came back.
    fn cancel(&self, runs: &[RunId], only: Option<&ArcStr>) {
        if runs.is_empty() {
            return;
        }
        // In order: whose connection is written to first is the same in every process.
        let mut told = BTreeMap::<ArcStr, Vec<pb::Cancel>>::new();
        for slice in runs.chunks(SLICE) {
            self.shared.replica.read(|state| {
                for (executor, cancel) in slice.iter().filter_map(|id| cancel(state, *id)) {
                    if only.is_none_or(|only| *only == executor) {
                        told.entry(executor).or_default().push(cancel);
                    }
                }
            });
        }
        for (executor, mut cancels) in told {
            let Some(outbox) = self.outbox(&executor) else { continue };
            // One message for each would fill the outbox and end the stream, and again on the next one.
            while !cancels.is_empty() {
                let rest = cancels.split_off(cancels.len().min(CANCELS_PER_MESSAGE));
                outbox.send(pb::executor_reply::Message::Cancels(pb::Cancels { cancels }));
                cancels = rest;
            }
        }
    }

    /// Queues those of `runs` that may begin.
    fn offer(&mut self, runs: &[RunId]) {
        let now = Instant::now();
        self.ready_runs(runs).into_iter().for_each(|run| self.dispatch.offer(run, now));
    }

    fn ready_runs(&self, runs: &[RunId]) -> Vec<ReadyRun> {
        let now = self.shared.clock.now();
        let mut needs = Needs::default();
        let mut ready = Vec::with_capacity(runs.len());
        for slice in runs.chunks(SLICE) {
            self.shared.replica.read(|state| {
                ready.extend(slice.iter().filter_map(|id| ready_run(state, now, *id, &mut needs)));
            });
        }
        ready
    }

    fn send_grants(&mut self) {
        while self.dispatch.backlog() > 0 && self.send_some() {}
    }

    /// Sends what can be sent under one lock; whether that was anything.
    fn send_some(&mut self) -> bool {
        let outboxes = &self.outboxes;
        let room = |session: SessionId| outboxes.get(&session).map_or(0, Outbox::room);
        let messages: Vec<_> = self.shared.replica.read(|state| {
            let assigned = self.dispatch.assign(Instant::now(), SLICE, &Ledgered(state), room);
            let mut ids = RunIds::default();
            assigned
                .into_iter()
                .map(|(session, runs)| {
                    let mut grants = Vec::with_capacity(runs.len());
                    grants.extend(runs.into_iter().filter_map(|id| grant(state, id, &mut ids)));
                    (session, pb::Grants { grants })
                })
                .collect()
        });
        let sent = !messages.is_empty();
        for (session, grants) in messages {
            if let Some(outbox) = self.outboxes.get(&session) {
                outbox.send(pb::executor_reply::Message::Grants(grants));
            }
        }
        sent
    }

    /// Forgets queued runs that are over, when there may be many.
    fn forget_dead(&mut self) {
        let replica = &self.shared.replica;
        let suspects = self.dispatch.suspects(replica.read(|state| state.ready().len()));
        let mut dead = BTreeSet::new();
        for slice in suspects.chunks(SLICE) {
            replica.read(|state| dead.extend(slice.iter().filter(|id| !state.ready().contains(id))));
        }
        if !dead.is_empty() {
            self.dispatch.forget(&dead);
        }
    }

    /// Offers runs again that may begin and that were lost sight of.
    fn find_lost(&mut self) {
        let now = Instant::now();
        let Some(from) = self.reconcile.cursor(now) else { return };
        let ready: Vec<_> =
            self.shared.replica.read(|state| state.ready().range(from..).take(reconcile::SLICE).collect());
        let apart = self.shared.limits.offer_timeout;
        let lost = self.reconcile.look(&ready, |id| self.dispatch.knows(id), now, apart);
        if !lost.is_empty() {
            tracing::warn!(count = lost.len(), "runs were offered to nobody: offering them again");
            self.offer(&lost);
        }
    }

    fn report(&self, report: &Mutex<Vec<pb::ExecutorStatus>>) {
        let (running, waiting) = self.shared.replica.read(|state| {
            let executors = self.dispatch.executors();
            let running = executors.map(|(_, executor)| state.leases().count_of(&executor.executor_id));
            let waiting = state.census().get("DUE");
            (running.collect::<Vec<_>>(), usize::try_from(waiting).unwrap_or(usize::MAX))
        });
        let status: Vec<_> = self
            .dispatch
            .executors()
            .zip(running)
            .map(|((_, executor), running)| pb::ExecutorStatus {
                executor_id: executor.executor_id.to_string(),
                display_name: executor.display_name.clone(),
                pool: executor.pool.to_string(),
                handlers: executor.handlers.iter().map(ToString::to_string).collect(),
                slots: executor.slots,
                credits: executor.credits,
                running: u32::try_from(running).unwrap_or(u32::MAX),
                version: executor.version.clone(),
                draining: executor.draining,
                labels: executor
                    .labels
                    .iter()
                    .map(|(key, value)| (key.to_string(), value.to_string()))
                    .collect(),
                handler_slots: executor.handler_slots().collect(),
            })
            .collect();
        let mut pools = BTreeMap::<&str, (u64, u64)>::new();
        for executor in &status {
            let (executors, credits) = pools.entry(&executor.pool).or_default();
            *executors += 1;
            *credits += u64::from(executor.credits);
        }
        let backlogs =
            self.dispatch.backlogs().map(|(pool, class, count)| (&**pool, class.name(), count as u64));
        self.shared.metrics.set_dispatch_gauges(&DispatchGauges {
            due_backlog: waiting as u64,
            pools,
            waiting: backlogs.collect(),
            catch_up_budget: self.dispatch.budget_left(Instant::now()).into(),
        });
        *report.lock().unwrap_or_else(PoisonError::into_inner) = status;
    }
}

/// What a pool or a namespace takes.
enum Limits {
    Pool(ArcStr, PoolLimits),
    Namespace(ArcStr, NamespaceLimits),
}

impl Limits {
    fn name(&self) -> ObjectName {
        match self {
            Limits::Pool(name, _) => ObjectName::Pool(name.clone()),
            Limits::Namespace(name, _) => ObjectName::Namespace(name.clone()),
        }
    }
}

fn limits_of(object: &Object) -> Option<Limits> {
    match &object.kind {
        ObjectKind::Pool(pool) => {
            let rate = pool.rate.map(|rate| Rate { per: rate.per, count: rate.count });
            let limits = PoolLimits { slots: pool.slots, rate, paused: pool.paused.is_some() };
            Some(Limits::Pool(pool.name.clone(), limits))
        }
        ObjectKind::Namespace(namespace) => {
            let limits = NamespaceLimits { weight: namespace.weight, max_running: namespace.running_max };
            Some(Limits::Namespace(namespace.name.clone(), limits))
        }
        ObjectKind::Calendar(_) | ObjectKind::Backfill(_) => None,
    }
}

/// Whom to tell that a run shall end, and what; none if it is not running.
fn cancel(state: &State, id: RunId) -> Option<(ArcStr, pb::Cancel)> {
    let run = state.run(id)?;
    let RunState::Running(lease) = &run.state else { return None };
    let asked = run.cancel.as_ref()?;
    let policies = &state.schedule(run.schedule)?.definition_of(run.generation).policies;
    let told = pb::Cancel {
        run_id: id.0,
        fencing_token: lease.token.0,
        grace_ms: u64::try_from(policies.cancel_grace.as_millis()).unwrap_or(u64::MAX),
        reason: format!("{}: {}", asked.verdict.actor, asked.verdict.reason),
    };
    Some((lease.executor.clone(), told))
}

/// What runs need, each allocated once per batch.
#[derive(Default)]
struct Needs {
    known: HashMap<(String, String), Need>,
    no_labels: Arc<BTreeMap<ArcStr, ArcStr>>,
    /// What was asked for last: schedules that are due together have one definition as often as not.
    last: Option<(Arc<Definition>, Need)>,
}

impl Needs {
    fn of(&mut self, definition: &Arc<Definition>) -> Need {
        if let Some((last, need)) = &self.last
            && Arc::ptr_eq(last, definition)
        {
            return need.clone();
        }
        let Definition { pool, target, executor_labels, .. } = &**definition;
        let need = self.intern(pool, &target.handler, executor_labels);
        self.last.insert((definition.clone(), need)).1.clone()
    }

    fn intern(&mut self, pool: &str, handler: &str, labels: &BTreeMap<String, String>) -> Need {
        if !labels.is_empty() {
            let selector = labels.iter().map(|(key, value)| (key.as_str().into(), value.as_str().into()));
            let selector = Arc::new(selector.collect());
            return Need { pool: pool.into(), handler: handler.into(), selector };
        }
        self.known
            .entry((pool.to_owned(), handler.to_owned()))
            .or_insert_with(|| Need {
                pool: pool.into(),
                handler: handler.into(),
                selector: self.no_labels.clone(),
            })
            .clone()
    }
}

/// The ledger as the dispatcher reads it, under one lock.
struct Ledgered<'a>(&'a State);

impl Ledger for Ledgered<'_> {
    fn weigh(&self, id: RunId) -> Option<usize> {
        let state = self.0;
        if !state.ready().contains(&id) {
            return None;
        }
        let run = state.run(id)?;
        let target = &state.schedule(run.schedule)?.definition_of(run.generation).target;
        Some(target.payload.len() + target.handler.len() + GRANT_BYTES)
    }

    fn running_in_pool(&self, pool: &str) -> u32 {
        self.0.running_in_pool(pool)
    }

    fn running_in_namespace(&self, namespace: &str) -> u32 {
        self.0.running_in_namespace(namespace)
    }
}

fn ready_run(state: &State, now: UnixMillis, id: RunId, needs: &mut Needs) -> Option<ReadyRun> {
    if !state.ready().contains(&id) {
        return None;
    }
    let run = state.run(id)?;
    let schedule = state.schedule(run.schedule)?;
    let definition = schedule.definition_of(run.generation);
    let class = match run.trigger {
        Trigger::Timer | Trigger::Manual => Class::OnTime,
        Trigger::CatchUp if run.created_at.since(run.scheduled_at) < RECOVERY_AFTER => Class::OnTime,
        Trigger::CatchUp => Class::CatchUp,
        Trigger::Backfill(_) | Trigger::Resume => Class::Backfill,
    };
    let wait = run.not_before().since(now);
    Some(ReadyRun {
        id,
        need: needs.of(definition),
        namespace: schedule.key.namespace.clone(),
        class,
        priority: Priority::new(definition.priority.get()).unwrap_or_default(),
        // A little later rather than a little too early, when the ledger would refuse it.
        not_before: (!wait.is_zero()).then(|| Instant::now() + wait + Duration::from_millis(1)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::leader::expiry::tests::running;

    #[test]
    fn what_was_asked_for_last_is_not_the_need_of_another_definition() {
        let (state, run, _) = running();
        let schedule = state.run(run).and_then(|run| state.schedule(run.schedule));
        let one = schedule.expect("`running` made both").definition.clone();
        let with = |change: fn(&mut Definition)| {
            let mut other = Definition::clone(&one);
            change(&mut other);
            Arc::new(other)
        };
        let others = [
            with(|definition| definition.pool = "other".into()),
            with(|definition| definition.target.handler = "other".into()),
            with(|definition| definition.executor_labels = [("zone".into(), "b".into())].into()),
        ];
        let mut needs = Needs::default();
        let need = needs.of(&one);
        assert_eq!(needs.of(&with(|_| ())), need, "alike, and not the same");
        for other in others {
            let (asked, afresh) = (needs.of(&other), Needs::default().of(&other));
            assert!(asked == afresh && asked != need);
            assert_eq!(needs.of(&one), need);
        }
    }
}
