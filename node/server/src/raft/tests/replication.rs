//! Writes, reads, restarts, snapshots.

use std::collections::BTreeSet;

use belfry_core::{Action, Applied, Effect, FEATURE_LEVEL, LogPosition, Outcome, Rejection};

use super::super::{Leadership, ProposeError, Role};
use super::cluster::{Cluster, has, reached};
use super::site::Disk;
use super::{command, create, eventually, key, until};
use crate::store::LogPort;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_acknowledged_survives_the_leader() {
    let mut cluster = Cluster::start(Disk::real_three()).await;
    let at = cluster.write(&create("first")).await;
    cluster.agree(at).await;
    assert!(cluster.living().iter().all(|(_, replica)| has(replica, "first")));

    let (old, _) = cluster.leader().await;
    cluster.stop(old).await;
    let (new, leader) = cluster.leader().await;
    assert_ne!(new, old);
    eventually("a read barrier", leader.read_barrier()).await.unwrap();
    assert!(has(&leader, "first"));

    cluster.write(&create("second")).await;
    cluster.begin(old).await;
    let at = cluster.write(&create("third")).await;
    cluster.agree(at).await;
    assert!(["first", "second", "third"].iter().all(|name| has(&cluster.replica(old), name)));
    let clusters: Vec<_> =
        cluster.living().iter().map(|(_, replica)| replica.cluster_id().unwrap()).collect();
    assert!(clusters.windows(2).all(|pair| pair[0] == pair[1]), "{clusters:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everybody_may_restart_at_once() {
    let mut cluster = Cluster::start(Disk::real_three()).await;
    cluster.write(&create("kept")).await;
    for id in 1..=3 {
        cluster.stop(id).await;
    }
    for id in 1..=3 {
        cluster.begin(id).await;
    }
    let (_, leader) = cluster.leader().await;
    eventually("a read barrier", leader.read_barrier()).await.unwrap();
    assert!(has(&leader, "kept"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_was_away_too_long_gets_a_snapshot() {
    let disks = Disk::real_three();
    let mut cluster = Cluster::start_tuned(disks, |config| config.log_keep_bytes = 0).await;
    let (leader, _) = cluster.leader().await;
    let away = if leader == 3 { 2 } else { 3 };
    let missed = cluster.write(&create("before")).await;
    reached(&cluster.replica(away), missed).await;
    cluster.stop(away).await;

    let mut at = missed;
    for number in 0..200 {
        at = cluster.write(&create(&format!("missed-{number}"))).await;
    }
    let (_, leader) = cluster.leader().await;
    until("the log to be purged", || leader.status().purged_index > missed.index + 1).await;

    let back = cluster.begin(away).await;
    reached(&back, at).await;
    cluster.agree(at).await;
    assert!(has(&back, "missed-199"));
    assert!(back.status().checkpoint_index > missed.index, "{:?}", back.status());

    // The installed checkpoint is what a restart begins from.
    cluster.stop(away).await;
    let back = cluster.begin(away).await;
    reached(&back, at).await;
    assert!(has(&back, "missed-0") && has(&back, "missed-199"));
    let at = cluster.write(&create("after")).await;
    cluster.agree(at).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lone_node_keeps_what_it_acknowledged() {
    let mut cluster = Cluster::start([Disk::real(1)]).await;
    cluster.leader().await;
    let cluster_id = cluster.replica(1).cluster_id();
    for life in 0..3 {
        let at = cluster.write(&create(&format!("life-{life}"))).await;
        cluster.stop(1).await;
        let replica = cluster.begin(1).await;
        let (_, leader) = cluster.leader().await;
        assert!((0..=life).all(|life| has(&leader, &format!("life-{life}"))), "life {life}, {at:?}");
        assert_eq!(replica.cluster_id(), cluster_id);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn power_loss_takes_only_what_was_not_acknowledged() {
    let mut cluster = Cluster::start([Disk::twin()]).await;
    for number in 0..20 {
        cluster.write(&create(&format!("kept-{number}"))).await;
    }
    let replica = cluster.replica(1);
    let log = cluster.site(1).disk.twin_mut().log.clone();
    let before = log.state().last;
    log.hold();
    let lost = tokio::spawn(async move { replica.propose(&create("lost")).await });
    until("the last write to reach the log", || log.state().last != before).await;
    cluster.site(1).lose_power().await;
    assert!(matches!(lost.await.unwrap(), Err(ProposeError::OutcomeUnknown | ProposeError::Stopped)));

    let replica = cluster.begin(1).await;
    cluster.leader().await;
    assert!((0..20).all(|number| has(&replica, &format!("kept-{number}"))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn followers_say_who_leads() {
    let cluster = Cluster::start([Disk::twin(), Disk::twin(), Disk::twin()]).await;
    let (leader, _) = cluster.leader().await;
    let follower = cluster.living().into_iter().find(|(id, _)| *id != leader).unwrap().1;
    let knows =
        |now: &Leadership| matches!(now, Leadership::Follower { leader: Some((id, _)) } if id.0 == leader);
    eventually("the leader to be known", follower.leadership().wait_for(knows)).await.unwrap();

    let refused = follower.propose(&create("x")).await.unwrap_err();
    assert!(refused.is_retryable());
    let ProposeError::NotLeader { leader: Some((id, member)) } = refused else { panic!("{refused:?}") };
    assert_eq!((id.0, member.api_address), (leader, format!("api-{leader}")));
    assert!(matches!(follower.read_barrier().await, Err(ProposeError::NotLeader { .. })));

    let status = cluster.replica(leader).status();
    assert_eq!((status.role, status.members.len()), (Role::Leader, 3));
    assert!(status.members.iter().all(|member| member.voter && !member.member.incarnation.is_empty()));
}

/// LEAD-3.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_is_cut_off_knows_no_leader() {
    let mut cluster = Cluster::start([Disk::twin(), Disk::twin(), Disk::twin()]).await;
    let (leader, _) = cluster.leader().await;
    let (left, follower) = cluster.living().into_iter().find(|(id, _)| *id != leader).unwrap();
    let mut leadership = follower.leadership();
    let knows_one = |now: &Leadership| matches!(now, Leadership::Follower { leader: Some(_) });
    eventually("the leader to be known", leadership.wait_for(knows_one)).await.unwrap();
    assert_eq!(follower.status().leader.map(|id| id.0), Some(leader));

    for away in (1..=3).filter(|id| *id != left) {
        cluster.stop(away).await;
    }
    let knows_none = |now: &Leadership| matches!(now, Leadership::Follower { leader: None });
    eventually("the leader to be forgotten", leadership.wait_for(knows_none)).await.unwrap();
    assert_eq!(follower.status().leader, None);

    cluster.begin(leader).await;
    let known = |now: &Leadership| !matches!(now, Leadership::Follower { leader: None });
    eventually("a leader to be known again", leadership.wait_for(known)).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_command_that_is_too_large_is_not_proposed() {
    let cluster = Cluster::start_tuned([Disk::twin()], |config| config.command_bytes_max = 100).await;
    let (_, leader) = cluster.leader().await;
    let before = leader.status().last_log_index;
    assert!(matches!(leader.propose(&create("x")).await, Err(ProposeError::TooLarge { max: 100, .. })));
    assert_eq!(leader.status().last_log_index, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_leader_collects_effects() {
    let cluster = Cluster::start([Disk::twin()]).await;
    let (_, leader) = cluster.leader().await;
    cluster.write(&create("x")).await;
    leader.effects().start();
    let trigger =
        command(Action::TriggerSchedule { key: key("x"), actor: "test".into(), overlap: Default::default() });
    let (at, applied) = leader.propose(&trigger).await.unwrap();
    applied.outcome.unwrap();
    assert!(at > LogPosition::default());
    let offered = eventually("an offer", leader.effects().take()).await;
    assert_eq!(offered, leader.read(|state| state.ready().iter().map(Effect::Offer).collect::<Vec<_>>()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_proposed_together_shares_entries_once_all_members_read_them() {
    let mut cluster = Cluster::start(Disk::real_three()).await;
    let (id, leader) = cluster.leader().await;
    cluster.write(&create("taken-0")).await;
    cluster.write(&create("taken-100")).await;
    let create_all = async |prefix: &str| {
        let creation = |number| {
            let mut command = create(&format!("{prefix}-{number}"));
            // By somebody else, who does not know of the first ones.
            command.request = None;
            leader.prepare(&command).unwrap()
        };
        let numbers: Vec<_> = (0..200).collect();
        // Callers with one command and callers with several.
        let callers = numbers[..50].chunks(1).chain(numbers[50..].chunks(7));
        let creations =
            callers.map(|numbers| leader.propose_together(numbers.iter().map(creation).collect()));
        let done = eventually("all creations", futures_util::future::join_all(creations)).await;
        done.into_iter().flatten().collect::<Vec<_>>()
    };
    let entries = |done: &[Result<(LogPosition, Applied), ProposeError>]| {
        done.iter().map(|done| done.as_ref().unwrap().0.index).collect::<BTreeSet<_>>().len()
    };

    assert_eq!(entries(&create_all("alone").await), 200);
    cluster.write(&command(Action::RaiseFeatureLevel(FEATURE_LEVEL))).await;
    let done = create_all("taken").await;
    assert!(entries(&done) < 200, "no two of them share one");
    for (number, done) in done.iter().enumerate() {
        let (at, applied) = done.as_ref().unwrap();
        match (&applied.outcome, number) {
            (Err(Rejection::ScheduleExists { key: taken }), 0 | 100) => {
                assert_eq!(*taken, key(&format!("taken-{number}")));
            }
            (Ok(Outcome::Schedule(schedule)), _) if !matches!(number, 0 | 100) => {
                assert_eq!(schedule.key, key(&format!("taken-{number}")));
                assert_eq!(schedule.revision.0, at.index);
            }
            (other, _) => panic!("{number}: {other:?}"),
        }
    }
    let last = done.iter().map(|done| done.as_ref().unwrap().0).max().unwrap();
    cluster.agree(last).await;

    // Each is told of an entry that was not written, and a log of such entries is read at a start.
    let (_, follower) = cluster.living().into_iter().find(|(node, _)| *node != id).unwrap();
    let commands = ["x", "y", "z"].map(create);
    let commands = commands.iter().map(|command| follower.prepare(command).unwrap()).collect();
    let refused = eventually("all refusals", follower.propose_together(commands)).await;
    assert_eq!(refused.len(), 3);
    for refused in refused {
        assert!(matches!(refused, Err(ProposeError::NotLeader { .. })), "{refused:?}");
    }
    drop((leader, follower));
    for node in 1..=3 {
        cluster.stop(node).await;
    }
    for node in 1..=3 {
        cluster.begin(node).await;
    }
    let at = cluster.write(&create("after")).await;
    cluster.agree(at).await;
    assert!((0..200).all(|number| has(&cluster.replica(id), &format!("taken-{number}"))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_writes_and_reads_at_once() {
    let cluster = Cluster::start(Disk::real_three()).await;
    let (_, leader) = cluster.leader().await;
    let writes = (0..200).map(|number| {
        let leader = leader.clone();
        async move {
            let (at, applied) = leader.propose(&create(&format!("many-{number}"))).await.unwrap();
            applied.outcome.unwrap();
            leader.read_barrier().await.unwrap();
            assert!(has(&leader, &format!("many-{number}")));
            at
        }
    });
    let positions = eventually("all writes", futures_util::future::join_all(writes)).await;
    cluster.agree(*positions.iter().max().unwrap()).await;
    let syncs = leader.status().log_sync_latency.read();
    assert!(syncs.counts.iter().sum::<u64>() > 0 && syncs.sum_us > 0);
}
