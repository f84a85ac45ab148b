//! Expected against actual.

use std::time::Duration;

use pb::discrepancy::Kind;

use super::*;

const ALL: &str = "namespaces/-/schedules/-";
const MINUTE: Duration = Duration::from_secs(60);

pub(super) async fn minutely(
    alone: &Alone,
    namespace: &str,
    id: &str,
    labels: &[(&str, &str)],
) -> pb::Schedule {
    let every = prost_types::Duration { seconds: 60, nanos: 0 };
    let interval = pb::Interval { every: Some(every), phase: None };
    let rule = pb::Rule { rule: Some(pb::rule::Rule::Interval(interval)) };
    let timing = pb::Timing { include: vec![rule], ..Default::default() };
    let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    let schedule = pb::Schedule { timing: Some(timing), labels, ..schedule() };
    let request = pb::CreateScheduleRequest { schedule: Some(schedule), ..creation(namespace, id) };
    alone.schedules().create_schedule(request).await.unwrap().into_inner()
}

/// A node whose clock stands just behind a full minute: none passes by itself while a test runs.
pub(super) async fn start() -> Alone {
    let alone = Alone::start().await;
    let now = crate::clock::Clock::now(&*alone.clock);
    alone.clock.step_ms(61_000 - now.0.rem_euclid(60_000));
    alone
}

/// Moves the clock on and waits until every instant has its row.
pub(super) async fn pass(alone: &Alone, by: Duration) {
    alone.clock.step_ms(i64::try_from(by.as_millis()).unwrap());
    let mut applied = alone.node.replica().applied();
    let now = crate::clock::Clock::now(&*alone.clock);
    while alone.node.replica().read(|state| state.due().until(now).next().is_some()) {
        applied.changed().await.unwrap();
    }
}

async fn report(alone: &Alone, request: pb::ReportRunsRequest) -> Result<Vec<pb::ScheduleReport>, Status> {
    let (mut request, mut schedules) = (request, Vec::new());
    loop {
        let page = alone.runs().report_runs(request.clone()).await?.into_inner();
        schedules.extend(page.schedules);
        if page.next_page_token.is_empty() {
            return Ok(schedules);
        }
        request.page_token = page.next_page_token;
    }
}

fn on(parent: &str) -> pb::ReportRunsRequest {
    pb::ReportRunsRequest { parent: parent.into(), ..Default::default() }
}

fn kinds(report: &pb::ScheduleReport) -> Vec<Kind> {
    report.discrepancies.iter().map(pb::Discrepancy::kind).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_began_is_overdue_and_so_is_what_was_merged_into_it() {
    let alone = start().await;
    minutely(&alone, "team", "invoices", &[("team", "billing")]).await;
    minutely(&alone, "team", "quiet", &[]).await;
    let pause = pb::PauseScheduleRequest {
        name: "namespaces/team/schedules/quiet".into(),
        reason: "x".into(),
        ..Default::default()
    };
    alone.schedules().pause_schedule(pause).await.unwrap();
    alone.create("team", "yearly").await;
    alone.trigger("namespaces/team/schedules/yearly").await;
    pass(&alone, 3 * MINUTE).await;
    let fresh = report(&alone, on("namespaces/team/schedules/invoices")).await.unwrap();
    assert_eq!((fresh[0].expected_count, fresh[0].open_count, fresh[0].discrepancy_count), (3, 3, 0));
    assert!(fresh[0].created_inside_time.is_some() && fresh[0].ledger_start_time.is_none());

    pass(&alone, 8 * MINUTE).await;
    // The newest is fresh, and the others are part of it.
    let all = report(&alone, pb::ReportRunsRequest { page_size: 1, ..on(ALL) }).await.unwrap();
    assert_eq!(all.iter().map(|one| one.expected_count).collect::<Vec<_>>(), [11, 11, 0]);
    assert_eq!(all.iter().map(|one| one.discrepancy_count).collect::<Vec<_>>(), [0, 0, 0]);
    assert_eq!((all[2].beside[0].state(), all[2].beside[0].count), (pb::run::State::Due, 1));
    assert!(all[1].paused);

    let strict = pb::ReportRunsRequest { strict: true, only_discrepancies: true, ..on(ALL) };
    let strict = report(&alone, strict).await.unwrap();
    assert_eq!(strict.iter().map(|one| one.discrepancy_count).collect::<Vec<_>>(), [11, 11]);
    assert_eq!(strict[1].discrepancies[0].reason(), pb::run::Reason::Paused);

    // Paused from here on, the newest one grows old.
    let pause = pb::PauseScheduleRequest {
        name: "namespaces/team/schedules/invoices".into(),
        reason: "x".into(),
        ..Default::default()
    };
    alone.schedules().pause_schedule(pause).await.unwrap();
    pass(&alone, 6 * MINUTE).await;
    let selected = pb::ReportRunsRequest { selector: "team=billing".into(), ..on(ALL) };
    let held = report(&alone, selected.clone()).await.unwrap();
    assert_eq!((held.len(), held[0].discrepancy_count, held[0].open_count), (1, 0, 11), "a pause holds it");
    let resume =
        pb::ResumeScheduleRequest { name: "namespaces/team/schedules/invoices".into(), ..Default::default() };
    alone.schedules().resume_schedule(resume).await.unwrap();
    let overdue = report(&alone, selected).await.unwrap();
    assert_eq!(overdue[0].discrepancy_count, 11);
    assert_eq!(kinds(&overdue[0])[0], Kind::Overdue);
    assert!(overdue[0].discrepancies[0].run.contains("/runs/"));
    alone.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_range_is_half_open_and_a_wrong_one_is_refused() {
    let alone = start().await;
    let made = minutely(&alone, "team", "invoices", &[]).await;
    let next = made.status.unwrap().next_times[0];
    pass(&alone, 3 * MINUTE).await;
    let range = |from: i64, to: i64| pb::ReportRunsRequest {
        from_time: Some(prost_types::Timestamp { seconds: next.seconds + from, nanos: 0 }),
        to_time: Some(prost_types::Timestamp { seconds: next.seconds + to, nanos: 0 }),
        ..on("namespaces/team/schedules/invoices")
    };
    for (from, to, expected) in [(0, 60, 1), (0, 61, 2), (1, 61, 1), (-60, 0, 0), (0, 100_000, 3)] {
        let found = report(&alone, range(from, to)).await.unwrap();
        let count: u64 = found.iter().map(|one| one.expected_count).sum();
        assert_eq!(count, expected, "{from} to {to}");
    }
    assert_eq!(fields(&report(&alone, range(60, 60)).await.unwrap_err()), ["from_time"]);
    let refused = pb::ReportRunsRequest { selector: "=".into(), page_token: "x".into(), ..on(ALL) };
    assert_eq!(fields(&report(&alone, refused).await.unwrap_err()), ["selector", "page_token"]);
    let unknown = report(&alone, on("namespaces/team/schedules/never")).await.unwrap_err();
    assert_eq!(told(&unknown), (Code::NotFound, "SCHEDULE_NOT_FOUND".into()));
    alone.stop().await;
}
