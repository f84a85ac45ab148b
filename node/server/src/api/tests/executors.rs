//! Streams of executors: what is said on them, and when.

use std::time::Duration;

use belfry_proto::v1::pool_service_client::PoolServiceClient;

use super::hand::Hand;
use super::*;

const NAME: &str = "namespaces/team/schedules/invoices";

/// Longest wait for anything that must happen.
const PATIENCE: Duration = Duration::from_secs(60);

/// Triggers a schedule so often, each beside the others.
async fn trigger_beside(alone: &Alone, id: &str, count: usize) -> Vec<String> {
    let schedule = alone.create("team", id).await;
    let mut runs = Vec::new();
    for _ in 0..count {
        let request = pb::TriggerScheduleRequest {
            name: schedule.name.clone(),
            overlap: pb::trigger_schedule_request::Overlap::Allow.into(),
            ..Default::default()
        };
        runs.push(alone.schedules().trigger_schedule(request).await.unwrap().into_inner().name);
    }
    runs
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_of_a_pool_goes_on_to_the_next_run_at_once() {
    // Were a free slot seen four times a second only, these would take longer than anybody waits here.
    const SCHEDULES: usize = 4;
    const RUNS: usize = 75;
    let alone = Alone::start().await;
    let pool = pb::Pool { name: "pools/default".into(), slots: 1, ..Default::default() };
    let put = pb::PutPoolRequest { pool: Some(pool), ..Default::default() };
    PoolServiceClient::new(alone.channel.clone()).put_pool(put).await.unwrap();
    for number in 0..SCHEDULES {
        trigger_beside(&alone, &format!("invoices-{number}"), RUNS).await;
    }
    let mut hand = Hand::dial(&alone, "bill", 1000).await;
    hand.give_credit(1000).await;
    let one_by_one = async {
        for _ in 0..SCHEDULES * RUNS {
            let grant = hand.next_grant().await;
            let lease = hand.begin(&[grant]).await;
            hand.succeed(&lease).await;
        }
    };
    tokio::time::timeout(PATIENCE, one_by_one).await.expect("a run waited for a slot that was free");
    assert_eq!(hand.unasked(), 0);
    alone.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_executor_that_comes_back_is_told_of_all_its_cancels() {
    const SCHEDULES: usize = 8;
    const RUNS: usize = 100;
    let alone = Alone::start().await;
    let mut runs = Vec::new();
    for number in 0..SCHEDULES {
        runs.extend(trigger_beside(&alone, &format!("invoices-{number}"), RUNS).await);
    }
    let mut hand = Hand::dial(&alone, "bill", 1000).await;
    let grants = hand.take(runs.len() as u32).await;
    let mut expected: Vec<_> = hand.begin(&grants).await.iter().map(|lease| lease.run_id).collect();
    drop(hand);
    for name in runs {
        let request = pb::CancelRunRequest { name, reason: "wrong data".into(), ..Default::default() };
        alone.runs().cancel_run(request).await.unwrap();
    }
    let mut hand = Hand::dial(&alone, "bill", 1000).await;
    let told = tokio::time::timeout(PATIENCE, hand.next_cancels(expected.len())).await;
    let mut told = told.expect("the stream goes on and says what to end");
    told.sort_unstable();
    expected.sort_unstable();
    assert_eq!(told, expected);
    alone.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_stream_of_an_executor_ends_its_former_one() {
    let alone = Alone::start().await;
    alone.create("team", "invoices").await;
    alone.trigger(NAME).await;
    let mut former = Hand::dial(&alone, "bill", 1).await;
    let offered = former.take(1).await;
    // The network has not told anybody that the former stream is dead.
    let mut latter = Hand::dial(&alone, "bill", 1).await;
    let end = tokio::time::timeout(PATIENCE, former.end()).await.expect("it leads nowhere");
    assert_eq!(end.code(), Code::Unavailable);
    let grants = latter.take(1).await;
    assert_eq!(grants, offered, "what was offered there is offered here");
    let lease = latter.begin(&grants).await;
    // What is to be ended is said where the executor is.
    let name = grants[0].run.clone();
    let request = pb::CancelRunRequest { name, reason: "wrong data".into(), ..Default::default() };
    alone.runs().cancel_run(request).await.unwrap();
    assert_eq!(latter.next_cancels(1).await, [lease[0].run_id]);
    alone.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_executor_that_reads_nothing_is_cut_off_and_its_offers_go_to_others() {
    let alone = Alone::start().await;
    alone.create("team", "invoices").await;
    alone.trigger(NAME).await;
    // On a connection of its own, whose windows it lets fill up.
    let channel = Endpoint::from_shared(format!("http://{}", alone.api)).unwrap().connect_lazy();
    let mut deaf = Hand::dial_over(channel, "deaf", "bill", 1).await;
    let offered = deaf.take(1).await;
    tokio::time::timeout(PATIENCE, deaf.talk_to_the_end()).await.expect("its answers may not pile up");
    let mut other = Hand::dial(&alone, "bill", 1).await;
    let grants = tokio::time::timeout(PATIENCE, other.take(1)).await.expect("the offer is free again");
    assert_eq!((grants[0].run_id, grants.len()), (offered[0].run_id, 1));
    other.begin(&grants).await;
    alone.stop().await;
}
