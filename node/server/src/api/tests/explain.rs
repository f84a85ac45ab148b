//! Why a run is where it is, or why there is none.

use std::time::Duration;

use pb::fact::Kind;
use pb::run_explanation::Finding;

use super::report::{minutely, pass, start};
use super::*;

const NAME: &str = "namespaces/team/schedules/invoices";

async fn why(alone: &Alone, name: &str, at: &str) -> Result<pb::RunExplanation, Status> {
    let request = pb::ExplainRunRequest { name: name.into(), at: at.into() };
    alone.runs().explain_run(request).await.map(|answer| answer.into_inner())
}

fn kinds(explanation: &pb::RunExplanation) -> Vec<Kind> {
    explanation.facts.iter().map(pb::Fact::kind).collect()
}

fn text(time: Option<prost_types::Timestamp>) -> String {
    belfry_timing::format_time(time.unwrap().seconds * 1000)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_instant_has_an_explanation() {
    let alone = start().await;
    let made = minutely(&alone, "team", "invoices", &[]).await;
    let first = made.status.unwrap().next_times[0];
    pass(&alone, Duration::from_secs(180)).await;
    let at = |seconds: i64| belfry_timing::format_time((first.seconds + seconds) * 1000);

    let merged = why(&alone, NAME, &at(0)).await.unwrap();
    assert_eq!((merged.finding(), merged.run.unwrap().state()), (Finding::Row, pb::run::State::Merged));
    let into = merged.stands_for.unwrap();
    assert_eq!((into.state(), into.merged_count), (pb::run::State::Due, 2));
    let merge = merged.facts.iter().find(|fact| fact.kind() == Kind::Merged).unwrap();
    assert_eq!((merge.run.as_str(), merge.count), (into.name.as_str(), 2));

    let newest = why(&alone, NAME, "").await.unwrap();
    assert_eq!(newest.run.as_ref().unwrap().name, into.name);
    assert_eq!(
        kinds(&newest),
        [Kind::Nominal, Kind::Recorded, Kind::StandsFor, Kind::Held, Kind::WaitsFor, Kind::NextInstant]
    );
    assert!(newest.facts[4].text.contains("none is connected"), "{:?}", newest.facts[4]);
    let by_name = why(&alone, &into.name, "").await.unwrap();
    assert_eq!(by_name, newest);

    let between = why(&alone, NAME, &at(61)).await.unwrap();
    assert_eq!(between.finding(), Finding::NotAnInstant);
    assert_eq!((text(between.previous_time), text(between.next_time)), (at(60), at(120)));
    let future = why(&alone, NAME, &at(3600)).await.unwrap();
    assert_eq!((future.finding(), future.previous_time.is_some()), (Finding::NotYet, true));
    assert_eq!(why(&alone, NAME, &at(3601)).await.unwrap().finding(), Finding::NotAnInstant);
    assert_eq!(why(&alone, NAME, &at(-3600)).await.unwrap().finding(), Finding::BeforeSchedule);

    alone.delete(NAME).await;
    let deleted = why(&alone, NAME, &at(3600)).await.unwrap();
    assert_eq!(deleted.finding(), Finding::AfterSchedule);
    assert!(kinds(&deleted).contains(&Kind::Deleted));
    let cancelled = why(&alone, NAME, &at(120)).await.unwrap();
    assert_eq!(cancelled.run.unwrap().state(), pb::run::State::Cancelled);
    alone.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_waits_says_for_what() {
    let alone = start().await;
    minutely(&alone, "team", "invoices", &[]).await;
    let pause = pb::PauseScheduleRequest {
        name: NAME.into(),
        reason: "disk".into(),
        actor: "ann".into(),
        ..Default::default()
    };
    pass(&alone, Duration::from_secs(60)).await;
    alone.schedules().pause_schedule(pause).await.unwrap();
    let waiting = why(&alone, NAME, "").await.unwrap();
    let paused = waiting.facts.iter().find(|fact| fact.kind() == Kind::Paused).unwrap();
    assert_eq!((paused.actor.as_str(), paused.text.as_str()), ("ann", "disk"));
    assert!(!kinds(&waiting).contains(&Kind::WaitsFor));
    let by_hand = alone.trigger(NAME).await;
    let triggered = why(&alone, &by_hand.name, "").await.unwrap();
    assert_eq!(kinds(&triggered)[..2], [Kind::Triggered, Kind::WaitsFor]);
    alone.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_by_hand_is_explained_where_the_timing_has_none() {
    let alone = start().await;
    minutely(&alone, "team", "invoices", &[]).await;
    let by_hand = alone.trigger(NAME).await;
    let newest = why(&alone, NAME, "").await.unwrap();
    assert_eq!(
        (newest.finding(), newest.run.as_ref().unwrap().name.as_str()),
        (Finding::Row, by_hand.name.as_str())
    );
    alone.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_explained_is_refused() {
    let alone = start().await;
    minutely(&alone, "team", "invoices", &[]).await;
    for (name, at, field) in [(NAME, "yesterday", "at"), ("x", "", "name"), (NAME, "2026-13-01T00:00", "at")]
    {
        assert_eq!(fields(&why(&alone, name, at).await.unwrap_err()), [field], "{name} {at}");
    }
    let run = format!("{NAME}/runs/20200101T000000Z");
    assert_eq!(told(&why(&alone, &run, "").await.unwrap_err()).1, "RUN_NOT_FOUND");
    assert_eq!(fields(&why(&alone, &run, "03:00").await.unwrap_err()), ["at"]);
    let never = "namespaces/team/schedules/never";
    assert_eq!(told(&why(&alone, never, "").await.unwrap_err()).1, "SCHEDULE_NOT_FOUND");
    alone.stop().await;
}
