//! The dispatch loop: the one owner of [`Dispatch`]. It turns ready runs and credits into grants on streams.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use belfry_core::run::{RunState, Trigger};
use belfry_core::{RunId, State};
use belfry_proto::v1 as pb;
use tokio::sync::mpsc;

use super::dispatch::{Dispatch, Executor, Need, ReadyRun, SessionId};
use super::grant::grant;
use super::session::Outbox;
use super::{EVENTS_MAX, Shared};

/// How often gauges and the status of executors are brought up to date.
const REPORT_PERIOD: Duration = Duration::from_millis(250);

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
    /// The ledger refused to let it begin these.
    Refused { session: SessionId, runs: Vec<RunId> },
    /// It will not take these.
    Declined { session: SessionId, runs: Vec<RunId> },
    /// It wants no more.
    Draining { session: SessionId },
}

struct Pump {
    shared: Arc<Shared>,
    dispatch: Dispatch,
    outboxes: HashMap<SessionId, Outbox>,
}

/// Offers runs to executors until the reign ends.
pub(super) async fn run(
    shared: Arc<Shared>,
    mut events: mpsc::Receiver<Event>,
    report: Arc<Mutex<Vec<pb::ExecutorStatus>>>,
) {
    let offers = shared.replica.offers();
    let mut pump = Pump { shared, dispatch: Dispatch::default(), outboxes: HashMap::new() };
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
            runs = offers.take() => pump.offer(&runs),
            () = sleep_until(wake) => {
                let now = Instant::now();
                let expired = pump.dispatch.expire_offers(now, offer_timeout);
                pump.shared.metrics.count_offers_timed_out(expired as u64);
                pump.dispatch.wake(now);
            }
            _ = reporting.tick() => {
                pump.report(&report);
                continue;
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
                self.dispatch.join(session, *executor);
                self.outboxes.insert(session, outbox);
            }
            Event::Left { session } => {
                self.dispatch.leave(session);
                self.outboxes.remove(&session);
            }
            Event::Credits { session, count } => self.dispatch.credit(session, count),
            Event::Settled { session, runs } => self.dispatch.settle(session, runs),
            Event::Refused { session, runs } => {
                tracing::debug!(session = session.0, count = runs.len(), "begins refused");
                self.offer(&runs);
            }
            Event::Declined { session, runs } => {
                self.shared.metrics.count_declines(runs.len() as u64);
                self.dispatch.decline(session, runs, Instant::now());
            }
            Event::Draining { session } => self.dispatch.drain(session),
        }
    }

    /// Queues those of `runs` that may begin.
    fn offer(&mut self, runs: &[RunId]) {
        let mut needs = Needs::default();
        let ready: Vec<_> = self
            .shared
            .replica
            .read(|state| runs.iter().filter_map(|id| ready_run(state, *id, &mut needs)).collect());
        ready.into_iter().for_each(|run| self.dispatch.offer(run));
    }

    fn send_grants(&mut self) {
        if self.dispatch.backlog() == 0 {
            return;
        }
        let outboxes = &self.outboxes;
        let has_room = |session: SessionId| outboxes.get(&session).is_some_and(Outbox::has_room);
        let messages: Vec<_> = self.shared.replica.read(|state| {
            let assigned = self.dispatch.assign(Instant::now(), |id| state.ready().contains(&id), has_room);
            assigned
                .into_iter()
                .map(|(session, runs)| {
                    let grants = runs.into_iter().filter_map(|id| grant(state, id)).collect();
                    (session, pb::Grants { grants })
                })
                .collect()
        });
        for (session, grants) in messages {
            if let Some(outbox) = self.outboxes.get(&session) {
                outbox.send(pb::executor_reply::Message::Grants(grants));
            }
        }
    }

    fn report(&self, report: &Mutex<Vec<pb::ExecutorStatus>>) {
        let mut running = HashMap::<Arc<str>, u32>::new();
        let waiting = self.shared.replica.read(|state| {
            for id in state.running() {
                if let Some(RunState::Running(lease)) = state.run_state(*id) {
                    *running.entry(lease.executor.clone()).or_default() += 1;
                }
            }
            usize::try_from(state.census().get("DUE").copied().unwrap_or(0)).unwrap_or(usize::MAX)
        });
        let status: Vec<_> = self
            .dispatch
            .executors()
            .map(|(_, executor)| pb::ExecutorStatus {
                executor_id: executor.executor_id.to_string(),
                display_name: executor.display_name.clone(),
                pool: executor.pool.to_string(),
                handlers: executor.handlers.iter().map(ToString::to_string).collect(),
                slots: executor.slots,
                credits: executor.credits,
                running: running.get(&executor.executor_id).copied().unwrap_or(0),
                version: executor.version.clone(),
                draining: executor.draining,
            })
            .collect();
        let mut pools = BTreeMap::<&str, (u64, u64)>::new();
        for executor in &status {
            let (executors, credits) = pools.entry(&executor.pool).or_default();
            *executors += 1;
            *credits += u64::from(executor.credits);
        }
        self.shared.metrics.set_dispatch_gauges(waiting, &pools);
        *report.lock().unwrap_or_else(PoisonError::into_inner) = status;
    }
}

/// Names of pools and handlers, each allocated once per batch.
#[derive(Default)]
struct Needs(HashMap<(String, String), Need>);

impl Needs {
    fn intern(&mut self, pool: &str, handler: &str) -> Need {
        self.0
            .entry((pool.to_owned(), handler.to_owned()))
            .or_insert_with(|| Need { pool: pool.into(), handler: handler.into() })
            .clone()
    }
}

fn ready_run(state: &State, id: RunId, needs: &mut Needs) -> Option<ReadyRun> {
    if !state.ready().contains(&id) {
        return None;
    }
    let run = state.run(id)?;
    let definition = state.schedule(run.schedule)?.definition_of(run.generation);
    let need = needs.intern(&definition.pool, &definition.target.handler);
    Some(ReadyRun { id, need, on_time: !matches!(run.trigger, Trigger::CatchUp) })
}
