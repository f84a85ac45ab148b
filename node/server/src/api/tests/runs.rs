//! Runs: named, listed, and kept beyond their schedule.

use super::*;

const NAME: &str = "namespaces/team/schedules/invoices";

async fn list(alone: &Alone, request: pb::ListRunsRequest) -> Result<pb::ListRunsResponse, Status> {
    alone.runs().list_runs(request).await.map(|answer| answer.into_inner())
}

fn of(parent: &str) -> pb::ListRunsRequest {
    pb::ListRunsRequest { parent: parent.into(), ..Default::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_triggered_run_is_found_by_its_name() {
    let alone = Alone::start().await;
    let schedule = alone.create("team", "invoices").await;
    let run = alone.trigger(NAME).await;
    assert!(
        run.name.starts_with(&format!("{NAME}/runs/2")) && run.name.ends_with("Z-manual"),
        "{}",
        run.name
    );
    assert_eq!((run.state(), run.trigger()), (pb::run::State::Due, pb::run::Trigger::Manual));
    assert_eq!((run.schedule_uid.as_str(), run.actor.as_str()), (schedule.uid.as_str(), "ann"));
    let id = run.name.rsplit('/').next().unwrap();
    assert_eq!(run.idempotency_key, format!("{}-{id}", schedule.uid));
    let read = alone.runs().get_run(pb::GetRunRequest { name: run.name.clone() }).await.unwrap().into_inner();
    assert_eq!(read, run);
    assert_eq!(alone.get(NAME).await.status.unwrap().due_count, 1);

    let missing = format!("{NAME}/runs/20200101T000000Z");
    let refused = alone.runs().get_run(pb::GetRunRequest { name: missing }).await.unwrap_err();
    assert_eq!(told(&refused), (Code::NotFound, "RUN_NOT_FOUND".into()));
    let refused =
        alone.runs().get_run(pb::GetRunRequest { name: format!("{NAME}/runs/now") }).await.unwrap_err();
    assert_eq!(fields(&refused), ["name"]);
    alone.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_outlives_its_schedule_and_its_schedules_name() {
    let alone = Alone::start().await;
    alone.create("team", "invoices").await;
    let run = alone.trigger(NAME).await;
    alone.delete(NAME).await;
    let read = || async {
        alone.runs().get_run(pb::GetRunRequest { name: run.name.clone() }).await.unwrap().into_inner()
    };
    let cancelled = read().await;
    assert_eq!(
        (cancelled.state(), cancelled.reason()),
        (pb::run::State::Cancelled, pb::run::Reason::ScheduleDeleted)
    );
    let listed = list(&alone, of(NAME)).await.unwrap();
    assert_eq!(listed.runs.len(), 1);
    // The name is given to another schedule: the old run keeps its own.
    let again = alone.create("team", "invoices").await;
    assert_ne!(again.uid, run.schedule_uid);
    assert_eq!(read().await.schedule_uid, run.schedule_uid);
    assert_eq!(list(&alone, of(NAME)).await.unwrap().runs.len(), 0);
    let refused = list(&alone, of("namespaces/team/schedules/never")).await.unwrap_err();
    assert_eq!(told(&refused), (Code::NotFound, "SCHEDULE_NOT_FOUND".into()));
    alone.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn runs_are_listed_newest_first_page_by_page() {
    let alone = Alone::start().await;
    let mut made = Vec::new();
    for (namespace, id) in [("a", "x"), ("b", "x"), ("a", "y")] {
        alone.create(namespace, id).await;
    }
    for (namespace, id) in [("a", "x"), ("a", "y"), ("b", "x"), ("a", "x"), ("a", "x")] {
        made.push(alone.trigger(&format!("namespaces/{namespace}/schedules/{id}")).await.name);
    }
    made.reverse();
    let all = |parent: &str, states: Vec<i32>| {
        let mut request = pb::ListRunsRequest { page_size: 2, states, ..of(parent) };
        let alone = &alone;
        async move {
            let mut names = Vec::new();
            loop {
                let page = list(alone, request.clone()).await.unwrap();
                assert!(page.runs.len() <= 2);
                names.extend(page.runs.into_iter().map(|run| run.name));
                if page.next_page_token.is_empty() {
                    return names;
                }
                request.page_token = page.next_page_token;
            }
        }
    };
    let within = |part: &str| made.iter().filter(|name| name.starts_with(part)).cloned().collect::<Vec<_>>();
    assert_eq!(all("namespaces/-/schedules/-", vec![]).await, made);
    assert_eq!(all("namespaces/a/schedules/-", vec![]).await, within("namespaces/a/"));
    assert_eq!(all("namespaces/a/schedules/x", vec![]).await, within("namespaces/a/schedules/x/"));
    let due = pb::run::State::Due.into();
    assert_eq!(all("namespaces/a/schedules/-", vec![due]).await.len(), 4);
    assert_eq!(all("namespaces/a/schedules/x", vec![pb::run::State::Failed.into()]).await.len(), 0);
    let refused =
        list(&alone, pb::ListRunsRequest { states: vec![0, 99], ..of("namespaces/a/schedules/x") }).await;
    assert_eq!(fields(&refused.unwrap_err()), ["states", "states"]);
    alone.stop().await;
}
