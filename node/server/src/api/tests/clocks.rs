//! Three nodes whose clocks are moved: who leads, and what is fired by whose clock (CLOCK-1, CLOCK-3); and a day that one of them
//! is away.

use std::time::Duration;

use belfry_core::RunId;

use super::*;
use crate::config::Member;

/// A node that lives, and its clock.
struct Clocked {
    node: Node,
    clock: Arc<ShiftedClock>,
    channel: Channel,
    /// With the addresses that it was given.
    config: Config,
    data: TempDir,
}

async fn three() -> Vec<Clocked> {
    let any = || "127.0.0.1:0".to_owned();
    let mut sites = Vec::new();
    for id in 1..=3 {
        let data = tempfile::tempdir().unwrap();
        let mut config =
            Config { listen: Listen { api: any(), peer: any(), admin: any() }, ..Config::default() };
        config.node.id = id;
        config.node.data = data.path().display().to_string();
        config.cluster.bootstrap = true;
        let listeners = Listeners::bind(&config).await.unwrap();
        sites.push((config, listeners, data));
    }
    let member = |(config, listeners, _): &(Config, Listeners, TempDir)| {
        let [api, peer, _] = listeners.addresses().unwrap().map(|address| address.to_string());
        Member { id: config.node.id, api, peer }
    };
    let members: Vec<Member> = sites.iter().map(member).collect();
    let mut nodes = Vec::new();
    for ((mut config, listeners, data), member) in sites.into_iter().zip(&members) {
        config.cluster.members = members.clone();
        config.listen = Listen { api: member.api.clone(), peer: member.peer.clone(), admin: any() };
        let clock = Arc::new(ShiftedClock::new(Arc::new(SystemClock)));
        let node = Box::pin(Node::start(&config, listeners, clock.clone())).await.unwrap();
        let channel = Endpoint::from_shared(format!("http://{}", member.api)).unwrap().connect_lazy();
        nodes.push(Clocked { node, clock, channel, config, data });
    }
    nodes
}

/// The one that leads, once it is another than `not`.
async fn leader(nodes: &[Clocked], not: Option<usize>) -> usize {
    let candidates = nodes.iter().enumerate().filter(|(index, _)| Some(*index) != not);
    let waits = candidates.map(|(index, clocked)| {
        Box::pin(async move {
            let mut leadership = clocked.node.replica().leadership();
            leadership.wait_for(|now| matches!(now, Leadership::Leader { .. })).await.unwrap();
            index
        })
    });
    futures_util::future::select_all(waits).await.0
}

/// Waits until a node has made `count` rows of the schedule `ticks`.
async fn rows(clocked: &Clocked, count: usize) {
    let mut applied = clocked.node.replica().applied();
    while clocked.node.replica().read(State::run_count) < count {
        applied.changed().await.unwrap();
    }
}

async fn every_second(clocked: &Clocked) {
    every(clocked, 1).await;
}

async fn every_hour(clocked: &Clocked) {
    every(clocked, 3600).await;
}

async fn every(clocked: &Clocked, seconds: i64) {
    let every = Some(prost_types::Duration { seconds, nanos: 0 });
    let interval = pb::Interval { every, ..Default::default() };
    let timing = pb::Timing {
        include: vec![pb::Rule { rule: Some(pb::rule::Rule::Interval(interval)) }],
        ..Default::default()
    };
    let schedule = pb::Schedule { timing: Some(timing), ..schedule() };
    let request = pb::CreateScheduleRequest { schedule: Some(schedule), ..creation("team", "ticks") };
    ScheduleServiceClient::new(clocked.channel.clone()).create_schedule(request).await.unwrap();
}

/// Fails if an instant has its row before its time.
fn nothing_early(clocked: &Clocked) {
    const BOUND: Duration = Duration::from_millis(500);
    // What the comparison of clocks on a busy machine leaves uncertain.
    const SLACK: Duration = Duration::from_millis(500);
    let latest = SystemClock.now().plus(BOUND).plus(SLACK);
    clocked.node.replica().read(|state| {
        let newest = state.runs_from(RunId::default()).map(|run| run.nominal_at).max();
        assert!(newest <= Some(latest), "a row of {newest:?} at {latest:?}");
    });
}

/// The leader's clock is moved by so much: another node leads, instants go on having their rows, and none has one early.
async fn check(step_ms: i64) {
    let nodes = three().await;
    let first = leader(&nodes, None).await;
    every_second(&nodes[first]).await;
    rows(&nodes[first], 1).await;
    nodes[first].clock.step_ms(step_ms);
    let second = leader(&nodes, Some(first)).await;
    nothing_early(&nodes[second]);
    let before = nodes[second].node.replica().read(State::run_count);
    rows(&nodes[second], before + 2).await;
    nothing_early(&nodes[second]);
    for clocked in nodes {
        clocked.node.stop(Handover::Skip).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_clock_jumps_ahead_fires_nothing_early_and_hands_over() {
    check(3_600_000).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_whose_clock_falls_behind_hands_over() {
    check(-3_600_000).await;
}

/// A day passes hour by hour while a follower is away. It comes back to the same state.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_follower_that_was_away_for_a_day_catches_up() {
    const HOUR_MS: i64 = 3_600_000;
    let mut nodes = three().await;
    let first = leader(&nodes, None).await;
    every_hour(&nodes[first]).await;
    let away = nodes.remove((first + 1) % 3);
    away.node.stop(Handover::Skip).await;
    for _ in 0..24 {
        let leads = leader(&nodes, None).await;
        let before = nodes[leads].node.replica().read(State::run_count);
        nodes.iter().for_each(|clocked| clocked.clock.step_ms(HOUR_MS));
        rows(&nodes[leads], before + 1).await;
    }

    let listeners = Listeners::bind(&away.config).await.unwrap();
    away.clock.step_ms(24 * HOUR_MS);
    let node = Box::pin(Node::start(&away.config, listeners, away.clock.clone())).await.unwrap();
    let leads = leader(&nodes, None).await;
    let at = |node: &Node| node.replica().read_at(|position, state| (position, state.digest()));
    // The two are not read at the same moment, and the leader goes on: until both stood at one entry.
    let (here, there) = tokio::time::timeout(Duration::from_secs(60), async {
        loop {
            let ((here, digest), (there, digest_of_leader)) = (at(&node), at(&nodes[leads].node));
            if here == there {
                return (digest, digest_of_leader);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .unwrap();
    assert_eq!(here, there, "APPLY-1");
    assert!(node.replica().read(State::run_count) >= 24);
    node.stop(Handover::Skip).await;
    for clocked in nodes {
        clocked.node.stop(Handover::Skip).await;
    }
    // Not before the node that lives in it.
    drop(away.data);
}
