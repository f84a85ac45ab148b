//! A node that was removed while it did not listen finds out by asking.
//!
//! The leader stops calling a node with the entry that removes it, which that node may never get: it would stand for
//! election for ever, and its operator would look for a fault of the network.
//!
//! - OUTCAST-1 only a node that hears of no leader asks, and only a committed membership, at least as new as its own and
//!   without it, in answers of its own cluster, twice in a row, ends it. A learner that is just being added has heard of its
//!   leader, or has no log yet.

use std::collections::BTreeMap;
use std::sync::Arc;

use belfry_proto::internal as pb;
use futures_util::future::join_all;
use openraft::async_runtime::WatchReceiver as _;
use tokio::sync::watch;

use super::config::RaftConfig;
use super::convert;
use super::fault::{Fault, Faults};
use super::identity::Identity;
use super::leadership::Leadership;
use super::network::Network;
use super::replica::IDENTIFY_TIMEOUT;
use super::silence;
use super::types::{Raft, StoredMembership};

pub(super) struct Outcast {
    pub(super) config: Arc<RaftConfig>,
    pub(super) identity: Arc<Identity>,
    pub(super) raft: Raft,
    pub(super) network: Network,
    pub(super) leadership: watch::Receiver<Leadership>,
    pub(super) faults: Faults,
}

impl Outcast {
    /// Asks whenever this node is left alone, until it is known to be removed.
    pub(super) async fn run(self) {
        let mut suspected = false;
        loop {
            tokio::time::sleep(silence::bound(&self.config)).await;
            let is_alone = matches!(&*self.leadership.borrow(), Leadership::Follower { leader: None });
            let removed = is_alone && self.is_removed().await;
            if removed && suspected {
                self.faults.raise(Fault::Removed { node: self.config.node_id.0 });
                return;
            }
            suspected = removed;
        }
    }

    async fn is_removed(&self) -> bool {
        let Some(cluster) = self.identity.cluster() else { return false };
        let own = self.raft.metrics().borrow_watched().membership_config.clone();
        if own.log_id().is_none() {
            return false;
        }
        let me = self.config.node_id.0;
        let mut others: BTreeMap<u64, String> =
            self.config.initial_members.iter().map(|(id, it)| (id.0, it.peer.clone())).collect();
        for (id, member) in own.membership().nodes() {
            others.insert(*id, self.config.peer_address(*id, member).to_owned());
        }
        others.remove(&me);
        let asked = others.values().map(|address| self.network.identify(address, IDENTIFY_TIMEOUT));
        let answers: Vec<_> = join_all(asked).await.into_iter().flatten().collect();
        knows_of_removal(me, &cluster, &own, answers)
    }
}

/// OUTCAST-1.
fn knows_of_removal(
    me: u64,
    cluster: &str,
    own: &StoredMembership,
    answers: Vec<pb::IdentifyResponse>,
) -> bool {
    let index = |of: &StoredMembership| of.log_id().as_ref().map(|id| id.index);
    let known = answers.into_iter().filter(|answer| answer.cluster_id == cluster);
    let known = known.filter_map(|answer| convert::stored_membership(answer.applied_membership).ok());
    let newest = known.filter(|it| it.log_id().is_some()).max_by_key(index);
    newest.is_some_and(|newest| index(&newest) >= index(own) && newest.membership().get_node(&me).is_none())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::Member;
    use super::super::types::{LeaderId, LogId, Membership};
    use super::*;

    fn membership(index: u64, ids: &[u64]) -> StoredMembership {
        let voters: BTreeSet<u64> = ids.iter().copied().collect();
        let members: BTreeMap<u64, Member> = ids.iter().map(|id| (*id, Member::default())).collect();
        let log_id = LogId::new(LeaderId { term: 1, node_id: 1 }, index);
        StoredMembership::new(Some(log_id), Membership::new(vec![voters], members).unwrap())
    }

    fn answer(cluster: &str, index: u64, ids: &[u64]) -> pb::IdentifyResponse {
        pb::IdentifyResponse {
            cluster_id: cluster.to_owned(),
            applied_membership: Some(convert::stored_membership_to_wire(&membership(index, ids))),
            ..Default::default()
        }
    }

    #[test]
    fn outcast_1_only_a_newer_membership_of_its_own_cluster_counts() {
        let own = membership(5, &[1, 2, 3]);
        let knows = |answers| knows_of_removal(3, "c", &own, answers);
        assert!(knows(vec![answer("c", 9, &[1, 2])]));
        assert!(!knows(vec![]), "nobody answers");
        assert!(!knows(vec![answer("d", 9, &[1, 2])]), "another cluster");
        assert!(!knows(vec![answer("c", 4, &[1, 2])]), "before it was added");
        assert!(!knows(vec![answer("c", 9, &[1, 2]), answer("c", 12, &[1, 2, 3])]), "added again");
        assert!(!knows(vec![pb::IdentifyResponse { cluster_id: "c".into(), ..Default::default() }]), "older");
        // Started again after it applied its own removal.
        assert!(knows_of_removal(3, "c", &membership(9, &[1, 2]), vec![answer("c", 9, &[1, 2])]));
    }
}
