//! How a cluster begins, and how a node finds out that it must not go on.
//!
//! ```text
//!  every node without a log:  Identify ──► all other initial members
//!    somebody's membership names me under another incarnation ─► fault: wiped
//!    I am the lowest, may bootstrap, all answered, nobody belongs to a cluster ─► found it, with their incarnations
//!    otherwise ─► wait: whoever founded the cluster will call
//! ```
//! - BOOT-1 a cluster is founded once: by its lowest initial member, with an empty store, and only after all initial
//!   members said that they belong to none. So a wiped founder finds the cluster again instead of a second one.
//! - BOOT-2 the founding membership names the incarnation of each member: from the first vote on, IDENT-1 holds.
//! - BOOT-3 waiting never ends the node: names may not resolve yet, and peers may be minutes behind.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use belfry_proto::internal as pb;
use futures_util::future::join_all;

use super::config::{Addresses, RaftConfig};
use super::fault::{Fault, Faults};
use super::identity::Identity;
use super::network::Network;
use super::types::Raft;
use super::{Member, NodeId};

const ROUND: Duration = Duration::from_millis(250);
const IDENTIFY_TIMEOUT: Duration = Duration::from_secs(1);
/// Rounds between two lines that say what is being waited for.
const SAY_EVERY_ROUNDS: u32 = 20;

pub(super) struct Bootstrap {
    pub(super) config: Arc<RaftConfig>,
    pub(super) identity: Arc<Identity>,
    pub(super) raft: Raft,
    pub(super) network: Network,
    pub(super) faults: Faults,
}

/// What to do after a round of questions.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Verdict {
    Found(BTreeMap<u64, Member>),
    Wiped { expected: String },
    Wait(String),
}

impl Bootstrap {
    /// Returns once this node has a log: its own founding entry, or what a leader sent.
    pub(super) async fn run(self) {
        for round in 0_u32.. {
            // The core has stopped, or somebody founded the cluster.
            if self.raft.is_initialized().await.unwrap_or(true) {
                return;
            }
            match judge(&self.config, &self.identity.incarnation, &self.ask_all().await) {
                Verdict::Wiped { expected } => {
                    let (node, found) = (self.identity.node, self.identity.incarnation.clone());
                    self.faults.raise(Fault::Wiped { node, expected, found });
                    return;
                }
                Verdict::Found(members) => return self.found(members).await,
                Verdict::Wait(reason) if round % SAY_EVERY_ROUNDS == 0 => {
                    tracing::info!(reason, "waiting to become part of a cluster");
                }
                Verdict::Wait(_) => {}
            }
            tokio::time::sleep(ROUND).await;
        }
    }

    async fn ask_all(&self) -> BTreeMap<NodeId, Option<pb::IdentifyResponse>> {
        let others = self.config.initial_members.iter().filter(|(id, _)| **id != self.config.node_id);
        let asked = others.map(|(id, addresses)| async move {
            let answer = self.network.identify(&addresses.peer, IDENTIFY_TIMEOUT).await;
            if let Err(status) = &answer {
                tracing::debug!(node = id.0, %status, "an initial member does not answer yet");
            }
            (*id, answer.ok())
        });
        join_all(asked).await.into_iter().collect()
    }

    async fn found(&self, members: BTreeMap<u64, Member>) {
        // One that was cut off between these two steps goes on with the id it has: nobody else knows it yet.
        let cluster = self.identity.cluster().unwrap_or_else(|| crate::random::ulid().to_string());
        if let Err(error) = self.identity.join(cluster).await {
            self.faults.raise(Fault::Storage(error.to_string()));
            return;
        }
        tracing::info!(members = ?members.keys(), "founding the cluster");
        if let Err(error) = self.raft.initialize(members).await {
            // Somebody else's entries arrived first, or the core has stopped and says so itself.
            tracing::warn!(%error, "the cluster was not founded");
        }
    }
}

fn judge(
    config: &RaftConfig,
    incarnation: &str,
    answers: &BTreeMap<NodeId, Option<pb::IdentifyResponse>>,
) -> Verdict {
    let me = config.node_id;
    let remembered =
        answers.values().flatten().filter_map(|answer| answer.membership.as_ref()?.members.get(&me.0));
    if let Some(member) = remembered.into_iter().find(|member| member.incarnation != incarnation) {
        return Verdict::Wiped { expected: member.incarnation.clone() };
    }
    let founded = |(_, answer): &(&NodeId, &Option<pb::IdentifyResponse>)| {
        answer.as_ref().is_some_and(|it| it.initialized)
    };
    if let Some((id, Some(answer))) = answers.iter().find(founded) {
        return Verdict::Wait(belongs(config, *id, answer));
    }
    let lowest = config.initial_members.keys().next().copied().unwrap_or(me);
    if me != lowest {
        return Verdict::Wait(format!("node {lowest}, the lowest initial member, founds the cluster"));
    }
    if !config.bootstrap {
        return Verdict::Wait("bootstrap is switched off on this node, the lowest initial member".to_owned());
    }
    let mut members = BTreeMap::from([(me.0, member(config, me, incarnation))]);
    for (id, answer) in answers {
        match answer {
            None => {
                return Verdict::Wait(format!("node {id} does not answer at {}", peer_address(config, *id)));
            }
            Some(answer) if answer.node_id != id.0 => {
                let (at, is) = (peer_address(config, *id), answer.node_id);
                return Verdict::Wait(format!("{at} should be node {id}, but says that it is node {is}"));
            }
            Some(answer) => members.insert(id.0, member(config, *id, &answer.incarnation)),
        };
    }
    Verdict::Found(members)
}

/// What one that found a cluster has to wait for.
fn belongs(config: &RaftConfig, id: NodeId, answer: &pb::IdentifyResponse) -> String {
    let members = answer.membership.as_ref().map(|membership| &membership.members);
    if members.is_none_or(|members| members.is_empty() || members.contains_key(&config.node_id.0)) {
        return format!("node {id} belongs to a cluster: its leader has to call this node");
    }
    let api = config.initial_members.get(&id).map_or("", |addresses| &addresses.api);
    format!(
        "node {id} belongs to cluster {}, and node {} is no member of it: add it with `belfry cluster add {} --endpoint {api}`",
        answer.cluster_id,
        config.node_id,
        peer_address(config, config.node_id),
    )
}

fn peer_address(config: &RaftConfig, id: NodeId) -> &str {
    config.initial_members.get(&id).map_or("", |addresses| &addresses.peer)
}

fn member(config: &RaftConfig, id: NodeId, incarnation: &str) -> Member {
    let addresses = config.initial_members.get(&id).cloned();
    let Addresses { api, peer } = addresses.expect("only initial members are asked, and this node is one");
    Member { api_address: api, peer_address: peer, incarnation: incarnation.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(me: u64) -> RaftConfig {
        let addresses = |id: u64| Addresses { api: format!("api-{id}"), peer: format!("peer-{id}") };
        let members = (1..=3).map(|id| (NodeId(id), addresses(id))).collect();
        RaftConfig::new(NodeId(me), members, "snapshots".into())
    }

    fn answer(id: u64) -> (NodeId, Option<pb::IdentifyResponse>) {
        let incarnation = format!("life-{id}");
        (NodeId(id), Some(pb::IdentifyResponse { node_id: id, incarnation, ..Default::default() }))
    }

    fn waits(verdict: &Verdict, why: &str) {
        assert!(matches!(verdict, Verdict::Wait(reason) if reason.contains(why)), "{verdict:?}");
    }

    #[test]
    fn only_the_lowest_founds_and_only_when_all_others_are_empty() {
        let all = BTreeMap::from([answer(2), answer(3)]);
        let Verdict::Found(members) = judge(&config(1), "life-1", &all) else { panic!("not founded") };
        let lives: Vec<_> = members.values().map(|member| member.incarnation.as_str()).collect();
        assert_eq!(lives, ["life-1", "life-2", "life-3"]);

        waits(&judge(&config(2), "life-2", &BTreeMap::from([answer(1), answer(3)])), "node 1");
        waits(
            &judge(&config(1), "life-1", &BTreeMap::from([answer(2), (NodeId(3), None)])),
            "does not answer",
        );
        waits(&judge(&config(1), "life-1", &BTreeMap::from([answer(2), (NodeId(3), answer(7).1)])), "node 7");
        waits(&judge(&RaftConfig { bootstrap: false, ..config(1) }, "life-1", &all), "switched off");
    }

    #[test]
    fn a_wiped_node_is_told_and_founds_nothing() {
        let mut other = answer(2).1.unwrap();
        other.initialized = true;
        let answers = BTreeMap::from([(NodeId(2), Some(other.clone())), (NodeId(3), None)]);
        waits(&judge(&config(1), "life-1", &answers), "belongs to a cluster");

        let member = pb::Member { incarnation: "life-0".to_owned(), ..Default::default() };
        other.membership =
            Some(pb::Membership { members: BTreeMap::from([(1, member)]), ..Default::default() });
        let answers = BTreeMap::from([(NodeId(2), Some(other)), (NodeId(3), None)]);
        let wiped = Verdict::Wiped { expected: "life-0".to_owned() };
        assert_eq!(judge(&config(1), "life-1", &answers), wiped);
        waits(&judge(&config(1), "life-0", &answers), "its leader has to call this node");
    }

    #[test]
    fn a_node_that_is_no_member_says_how_it_becomes_one() {
        let mut other = answer(1).1.unwrap();
        (other.initialized, other.cluster_id) = (true, "c".to_owned());
        let members = BTreeMap::from([(1, pb::Member::default())]);
        other.membership = Some(pb::Membership { members, ..Default::default() });
        let verdict = judge(&config(3), "life-3", &BTreeMap::from([(NodeId(1), Some(other)), answer(2)]));
        waits(&verdict, "`belfry cluster add peer-3 --endpoint api-1`");
    }
}
