//! Handing over, and nodes that must not come back.

use super::super::{Fault, Intent, Leadership, MembershipError, NodeId, TransferError};
use super::cluster::{Cluster, has, reached};
use super::site::{Disk, Site};
use super::{create, eventually, look_again_soon};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leadership_is_handed_to_whom_it_is_meant_for() {
    let cluster = Cluster::start([Disk::twin(), Disk::twin(), Disk::twin()]).await;
    cluster.write(&create("before")).await;
    let (old, leader) = cluster.leader().await;
    let to = NodeId(old % 3 + 1);
    assert_eq!(leader.successor(Some(to)), Ok(to), "a check hands nothing over");
    assert_eq!(leader.successor(Some(NodeId(9))), Err(TransferError::NotAVoter { to: NodeId(9) }));
    assert_eq!(eventually("the handover", leader.transfer_leadership(Some(to))).await, Ok(to));

    let mut leadership = cluster.replica(to.0).leadership();
    let leads = |now: &Leadership| matches!(now, Leadership::Leader { .. });
    eventually("the new leader", leadership.wait_for(leads)).await.unwrap();
    let follows =
        |now: &Leadership| matches!(now, Leadership::Follower { leader: Some((id, _)) } if *id == to);
    eventually("the old one to follow", leader.leadership().wait_for(follows)).await.unwrap();
    assert!(has(&cluster.replica(to.0), "before"), "LEAD-1");
    let refused = leader.transfer_leadership(None).await;
    assert!(
        matches!(refused, Err(TransferError::NotLeader { leader: Some((id, _)) }) if id == to),
        "{refused:?}"
    );

    let (_, leader) = cluster.leader().await;
    let back = eventually("the way back", leader.transfer_leadership(None)).await.unwrap();
    assert_ne!(back, to);
    let stranger = cluster.replica(back.0).leadership();
    eventually("the next leader", stranger.clone().wait_for(leads)).await.unwrap();
    let unknown = cluster.replica(back.0).transfer_leadership(Some(NodeId(9))).await;
    assert_eq!(unknown, Err(TransferError::NotAVoter { to: NodeId(9) }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lone_node_has_nobody_to_hand_over_to() {
    let cluster = Cluster::start([Disk::twin()]).await;
    let (_, leader) = cluster.leader().await;
    assert_eq!(leader.transfer_leadership(None).await, Err(TransferError::NoSuccessor));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn member_5_a_change_that_was_left_half_done_is_finished() {
    let mut cluster = Cluster::start([Disk::twin(), Disk::twin(), Disk::twin()]).await;
    let at = cluster.write(&create("before")).await;
    cluster.agree(at).await;
    let (old, leader) = cluster.leader().await;
    let (leaves, stays) = (old % 3 + 1, (old + 1) % 3 + 1);
    // The change needs a majority of the members that will be, and of these two one writes nothing any more.
    cluster.site(stays).disk.twin_mut().log.hold();
    let removed = tokio::spawn(async move { leader.remove_member(NodeId(leaves), Intent::Act).await });
    let halved = cluster.replica(leaves);
    let has_entry = async {
        while !halved.inner.is_changing_members() {
            assert!(!removed.is_finished(), "the change does not begin");
            look_again_soon().await;
        }
    };
    eventually("the first entry of the change", has_entry).await;
    cluster.stop(stays).await;
    cluster.stop(old).await;
    let refused = eventually("the caller to be told", removed).await.unwrap();
    assert!(matches!(refused, Err(MembershipError::Propose(_))), "{refused:?}");

    cluster.begin(stays).await;
    cluster.begin(old).await;
    let finished = async {
        loop {
            let (_, leader) = cluster.leader().await;
            if leader.finish_membership_change().await.is_ok() && !leader.inner.is_changing_members() {
                return leader;
            }
            look_again_soon().await;
        }
    };
    let leader = eventually("the change to be finished", finished).await;
    let members: Vec<_> = leader.status().members.iter().map(|member| (member.id.0, member.voter)).collect();
    let mut expected = [(old, true), (stays, true)];
    expected.sort_unstable();
    assert_eq!(members, expected);
    let (_, leader) = cluster.leader().await;
    assert!(has(&leader, "before"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_lost_its_disk_is_refused() {
    let mut cluster = Cluster::start(Disk::real_three()).await;
    let at = cluster.write(&create("before")).await;
    cluster.agree(at).await;
    // Also the one that would found a cluster: node 1 must find this one instead.
    for wiped in [1, 3] {
        cluster.stop(wiped).await;
        let kept = std::mem::replace(&mut cluster.site(wiped).disk, Disk::real(wiped));
        let replica = cluster.begin(wiped).await;
        let fault = eventually("the refusal", replica.fatal()).await;
        assert!(matches!(fault, Fault::Wiped { node, .. } if node == wiped), "{fault}");
        assert_eq!(replica.status().last_log_index, 0, "nobody replicates to it");

        let at = cluster.write(&create(&format!("without-{wiped}"))).await;
        cluster.stop(wiped).await;
        // Its own disk is welcome again.
        cluster.site(wiped).disk = kept;
        let replica = cluster.begin(wiped).await;
        reached(&replica, at).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_of_another_cluster_is_not_heard() {
    let mut ours = Cluster::start([Disk::twin()]).await;
    ours.write(&create("ours")).await;
    // A second cluster whose configuration names our address as its node 2: it must not be founded with us.
    let mut site = Site::new(1, Disk::twin()).await;
    let theirs = Site::new(2, Disk::twin()).await;
    let mut config = site.config(&Default::default());
    let address = |site: &Site| super::super::Addresses { api: "api".into(), peer: site.address.clone() };
    config.initial_members.insert(NodeId(1), address(&site));
    config.initial_members.insert(NodeId(2), address(ours.site(1)));
    let stranger = site.try_start(config).await.unwrap();
    let fault = eventually("the refusal", stranger.fatal()).await;
    assert!(matches!(fault, Fault::Wiped { .. }), "as node 1 it is remembered by the other cluster: {fault}");
    assert_eq!(stranger.cluster_id(), None);
    drop(theirs);
    ours.write(&create("still")).await;
}
