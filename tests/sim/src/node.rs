//! A node of the simulation: the shipping [`Node`], on a simulated host.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use belfry_server::config::{Config, Member, Period};
use belfry_server::node::{Ground, Handover, Node, Threads};
use belfry_server::raft::{Fault, Leadership};
use tokio::sync::Notify;

use crate::clock::SimClock;
use crate::disk::SimDisk;
use crate::invariants::catch_1;
use crate::net;
use crate::record::Record;

/// Where a node lives: what outlasts its processes.
pub struct Site {
    /// Its id.
    pub id: u64,
    /// Its disk.
    pub disk: SimDisk,
    /// Its clock.
    pub clock: SimClock,
    /// SIGTERM.
    pub terminate: Notify,
    /// It was removed from the cluster, and has heard of it: nobody starts it again.
    pub retired: AtomicBool,
    /// Its configuration.
    pub config: Config,
    /// What happened.
    pub record: Record,
}

/// Name of a node's host.
#[must_use]
pub fn host(id: u64) -> String {
    format!("n{id}")
}

/// The address of a node's API.
#[must_use]
pub fn api(id: u64) -> String {
    format!("{}:{}", host(id), net::API_PORT)
}

/// The address of a node's node-to-node service.
#[must_use]
pub fn peer(id: u64) -> String {
    format!("{}:{}", host(id), net::PEER_PORT)
}

/// The configuration of a node of a cluster that `founders` nodes make. A node of another id waits to be added.
#[must_use]
pub fn config(id: u64, founders: u64, disk: &SimDisk) -> Config {
    let member = |id| Member { id, api: api(id), peer: peer(id) };
    let mut config = Config::default();
    config.node.id = id;
    config.node.data = disk.folder();
    config.cluster.bootstrap = id <= founders;
    config.cluster.members = (1..=founders).map(member).collect();
    if id > founders {
        config.cluster.members.push(member(id));
    }
    config.dispatch.offer_timeout = Period::from_secs(2);
    config.dispatch.catch_up_starts_per_second = catch_1::BUDGET;
    config
}

impl Site {
    /// One life of the node's process. Called on its host.
    pub async fn live(self: Arc<Self>) -> turmoil::Result {
        let stores = self.disk.open();
        let state = stores.log.state();
        let (last, purged) = (state.last.map(|id| id.index), state.purged.map(|id| id.index));
        self.record.trace(format!(
            "{} starts, log {purged:?}..{last:?} vote {:?}",
            host(self.id),
            state.vote
        ));
        let ground = Ground {
            clock: Arc::new(self.clock.clone()),
            stores,
            dialer: net::dialer(),
            api: net::incoming(net::API_PORT).await?,
            peer: net::incoming(net::PEER_PORT).await?,
            admin: None,
            callers: Threads::Shared,
        };
        let node = match Box::pin(Node::start_on(&self.config, ground)).await {
            Ok(node) => node,
            Err(error) => return self.fail(&format!("does not start: {error}")).await,
        };
        {
            let mut record = self.record.lock();
            *record.lives.entry(host(self.id)).or_default() += 1;
            record.replicas.insert(self.id, node.replica().clone());
        }
        let mut leadership = node.replica().leadership();
        let watch = async {
            while leadership.changed().await.is_ok() {
                let leads = leadership.borrow_and_update().clone();
                self.record.trace(format!("{} {leads:?}", host(self.id)));
                if matches!(leads, Leadership::Leader { .. }) {
                    let mut record = self.record.lock();
                    let now = record.now;
                    record.reigns.push(now);
                }
            }
            std::future::pending::<()>().await;
        };
        tokio::select! {
            biased;
            fault = node.fatal() => match fault {
                Fault::Removed { .. } => self.retire(&fault).await,
                _ => self.fail(&fault.to_string()).await,
            },
            () = self.terminate.notified() => {
                self.record.trace(format!("{} stops", host(self.id)));
                node.stop(Handover::Try).await;
                self.exit("stopped").await
            }
            () = watch => Ok(()),
        }
    }

    /// The process ends because the cluster goes on without it.
    async fn retire(&self, why: &Fault) -> turmoil::Result {
        self.retired.store(true, Ordering::Relaxed);
        self.record.count("retired");
        self.exit(&why.to_string()).await
    }

    /// The process ends because it cannot go on: a full disk is the only good reason of a simulation.
    async fn fail(&self, why: &str) -> turmoil::Result {
        if !self.disk.was_full() {
            self.record.violation("FAULT-1", format!("{} cannot go on: {why}", host(self.id)));
        }
        self.exit(why).await
    }

    /// The process ends. The loop of the simulation clears its host, so that its connections break.
    async fn exit(&self, why: &str) -> turmoil::Result {
        self.record.trace(format!("{} exits: {why}", host(self.id)));
        self.record.exited(self.id, why);
        std::future::pending().await
    }
}
