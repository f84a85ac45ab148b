//! The dispatch loop: the one owner of [`Dispatch`]. It turns ready runs and credits into grants on streams.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use belfry_core::run::{RunState, Trigger};
use belfry_core::{Effect, RunId, State};
use belfry_proto::v1 as pb;
use tokio::sync::mpsc;

use super::dispatch::{Class, Dispatch, Executor, Ledger, Need, Priority, Rate, ReadyRun, SessionId};
use super::grant::grant;
use super::reconcile::{self, Reconcile};
use super::session::Outbox;
use super::{EVENTS_MAX, Shared};
use crate::metrics::DispatchGauges;

/// How often gauges and the status of executors are brought up to date.
const REPORT_PERIOD: Duration = Duration::from_millis(250);

/// Runs looked at, or granted, under one lock: entries wait for it.
const SLICE: usize = 4096;

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
    /// An operator wants it to take no more.
    DrainAsked { session: SessionId },
}

struct Pump {
    shared: Arc<Shared>,
    dispatch: Dispatch,
    outboxes: HashMap<SessionId, Outbox>,
    reconcile: Reconcile,
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
    let mut pump = Pump { shared, dispatch: Dispatch::new(catch_up), outboxes: HashMap::new(), reconcile };
    let ready: Vec<_> = pump.shared.replica.read(|state| state.ready().iter().copied().collect());
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
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

impl Pump {
    fn handle(&mut self, event: Event) {
        match event {
            Event::Joined { session, executor, outbox } => {
                // What it was told to end on a former stream may not have reached it.
                let id = executor.executor_id.clone();
                self.dispatch.join(session, *executor);
                self.outboxes.insert(session, outbox);
                let runs: Vec<_> =
                    self.shared.replica.read(|state| state.cancelling().iter().copied().collect());
                self.cancel(&runs, Some(&id));
            }
            Event::DrainAsked { session } => {
                if let Some(outbox) = self.outboxes.get(&session) {
                    outbox.send(pb::executor_reply::Message::DrainRequest(pb::DrainRequest {}));
                }
            }
            Event::Left { session } => {
                self.dispatch.leave(session);
                self.outboxes.remove(&session);
            }
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

    /// Tells executors to end runs: all of them, or one that just came back.
    fn cancel(&self, runs: &[RunId], only: Option<&Arc<str>>) {
        if runs.is_empty() {
            return;
        }
        let told: Vec<_> = self.shared.replica.read(|state| {
            let cancels = runs.iter().filter_map(|id| cancel(state, *id));
            cancels.filter(|(executor, _)| only.is_none_or(|only| only == executor)).collect()
        });
        for (executor, cancel) in told {
            let of_executor = |(_, connected): &(SessionId, &Executor)| connected.executor_id == executor;
            let session = self.dispatch.executors().find(of_executor).map(|(session, _)| session);
            if let Some(outbox) = session.and_then(|session| self.outboxes.get(&session)) {
                let cancels = pb::Cancels { cancels: vec![cancel] };
                outbox.send(pb::executor_reply::Message::Cancels(cancels));
            }
        }
    }

    /// Queues those of `runs` that may begin.
    fn offer(&mut self, runs: &[RunId]) {
        let now = Instant::now();
        self.ready_runs(runs).into_iter().for_each(|run| self.dispatch.offer(run, now));
    }

    fn ready_runs(&self, runs: &[RunId]) -> Vec<ReadyRun> {
        let mut needs = Needs::default();
        let mut ready = Vec::new();
        for slice in runs.chunks(SLICE) {
            self.shared.replica.read(|state| {
                ready.extend(slice.iter().filter_map(|id| ready_run(state, *id, &mut needs)));
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
            assigned
                .into_iter()
                .map(|(session, runs)| {
                    let grants = runs.into_iter().filter_map(|id| grant(state, id)).collect();
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
        let ready: Vec<_> = self
            .shared
            .replica
            .read(|state| state.ready().range(from..).take(reconcile::SLICE).copied().collect());
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
            let waiting = state.census().get("DUE").copied().unwrap_or(0);
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
                ..Default::default()
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

/// Whom to tell that a run shall end, and what; none if it is not running.
fn cancel(state: &State, id: RunId) -> Option<(Arc<str>, pb::Cancel)> {
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

/// Names of pools and handlers, each allocated once per batch.
#[derive(Default)]
struct Needs {
    known: HashMap<(String, String), Need>,
    no_labels: Arc<BTreeMap<Arc<str>, Arc<str>>>,
}

impl Needs {
    fn intern(&mut self, pool: &str, handler: &str) -> Need {
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

    // Asked only where there is a limit, and nothing sets one yet.
    fn running_in_pool(&self, _pool: &str) -> u32 {
        0
    }

    fn running_in_namespace(&self, _namespace: &str) -> u32 {
        0
    }
}

fn ready_run(state: &State, id: RunId, needs: &mut Needs) -> Option<ReadyRun> {
    if !state.ready().contains(&id) {
        return None;
    }
    let run = state.run(id)?;
    let schedule = state.schedule(run.schedule)?;
    let definition = schedule.definition_of(run.generation);
    let class = match run.trigger {
        Trigger::Timer | Trigger::Manual => Class::OnTime,
        Trigger::CatchUp => Class::CatchUp,
    };
    Some(ReadyRun {
        id,
        need: needs.intern(&definition.pool, &definition.target.handler),
        namespace: schedule.key.namespace.clone(),
        class,
        priority: Priority::default(),
        not_before: None,
    })
}
