//! Several sites that form one cluster.

use std::collections::BTreeMap;

use belfry_core::{Command, LogPosition};

use super::super::{Addresses, Leadership, NodeId, RaftConfig, Replica};
use super::site::{Disk, Site};
use super::{eventually, key, look_again_soon};

pub(super) struct Cluster {
    pub(super) sites: BTreeMap<u64, Site>,
    members: BTreeMap<NodeId, Addresses>,
    tune: fn(&mut RaftConfig),
}

impl Cluster {
    /// Starts nodes 1, 2, … on these disks.
    pub(super) async fn start(disks: impl IntoIterator<Item = Disk>) -> Self {
        Self::start_tuned(disks, |_| {}).await
    }

    pub(super) async fn start_tuned(
        disks: impl IntoIterator<Item = Disk>,
        tune: fn(&mut RaftConfig),
    ) -> Self {
        let mut sites = BTreeMap::new();
        for (id, disk) in (1..).zip(disks) {
            sites.insert(id, Site::new(id, disk).await);
        }
        let addresses =
            |site: &Site| Addresses { api: format!("api-{}", site.id), peer: site.address.clone() };
        let members = sites.values().map(|site| (NodeId(site.id), addresses(site))).collect();
        let mut cluster = Self { sites, members, tune };
        for id in cluster.sites.keys().copied().collect::<Vec<_>>() {
            cluster.begin(id).await;
        }
        cluster
    }

    pub(super) fn config(&self, id: u64) -> RaftConfig {
        let mut config = self.sites[&id].config(&self.members);
        (self.tune)(&mut config);
        config
    }

    pub(super) async fn begin(&mut self, id: u64) -> Replica {
        let config = self.config(id);
        self.site(id).try_start(config).await.unwrap()
    }

    pub(super) async fn stop(&mut self, id: u64) {
        self.site(id).stop().await;
    }

    pub(super) fn site(&mut self, id: u64) -> &mut Site {
        self.sites.get_mut(&id).unwrap()
    }

    pub(super) fn replica(&self, id: u64) -> Replica {
        self.sites[&id].replica().clone()
    }

    pub(super) fn living(&self) -> Vec<(u64, Replica)> {
        let living = self.sites.values().filter(|site| site.lives());
        living.map(|site| (site.id, site.replica().clone())).collect()
    }

    /// Waits for a leader among those that live.
    pub(super) async fn leader(&self) -> (u64, Replica) {
        let waits = self.living().into_iter().map(|(id, replica)| {
            Box::pin(async move {
                let mut leadership = replica.leadership();
                let leads = |now: &Leadership| matches!(now, Leadership::Leader { .. });
                if leadership.wait_for(leads).await.is_err() {
                    std::future::pending::<()>().await;
                }
                (id, replica)
            })
        });
        eventually("a leader", futures_util::future::select_all(waits)).await.0
    }

    /// Writes through whoever leads, as a client with a request id does: again until the outcome is known.
    pub(super) async fn write(&self, command: &Command) -> LogPosition {
        let write = async {
            loop {
                let (_, leader) = self.leader().await;
                match leader.propose(command).await {
                    Ok((at, applied)) => {
                        applied.outcome.unwrap();
                        return at;
                    }
                    Err(_) => look_again_soon().await,
                }
            }
        };
        eventually("a write", write).await
    }

    /// Waits until everyone who lives has applied up to `at`, and checks that they are the same there (APPLY-1).
    pub(super) async fn agree(&self, at: LogPosition) {
        let mut digests = BTreeMap::new();
        for (id, replica) in self.living() {
            reached(&replica, at).await;
            let (position, digest) = replica.read_at(|position, state| (position.index, state.digest()));
            let former = digests.insert(position, (id, digest));
            if let Some((other, former)) = former {
                assert_eq!(digest, former, "nodes {id} and {other} differ at {position}");
            }
        }
        assert!(digests.len() <= 2, "nobody writes: {digests:?}");
    }
}

pub(super) async fn reached(replica: &Replica, at: LogPosition) {
    let mut applied = replica.applied();
    let wait = applied.wait_for(|now| now.index >= at.index);
    eventually("the log to be applied", wait).await.unwrap();
}

pub(super) fn has(replica: &Replica, name: &str) -> bool {
    replica.read(|state| state.schedule_named(&key(name)).is_some())
}
