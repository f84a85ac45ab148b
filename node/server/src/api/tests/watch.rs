//! What changes is told, in order and without a gap.

use std::time::Duration;

use pb::run::State;
use pb::schedule_event::Kind;

use super::*;

const NAME: &str = "namespaces/team/schedules/invoices";
const ALL: &str = "namespaces/-/schedules/-";
/// How long something may take that takes milliseconds, on a machine that does other things.
const PATIENCE: Duration = Duration::from_secs(30);

fn runs_of(parent: &str, start_revision: u64) -> pb::WatchRunsRequest {
    pb::WatchRunsRequest { parent: parent.into(), start_revision, ..Default::default() }
}

async fn watch_runs(
    alone: &Alone,
    request: pb::WatchRunsRequest,
) -> Result<tonic::Streaming<pb::WatchRunsResponse>, Status> {
    alone.runs().watch_runs(request).await.map(|answer| answer.into_inner())
}

async fn watch_schedules(alone: &Alone, selector: &str) -> tonic::Streaming<pb::WatchSchedulesResponse> {
    let request =
        pb::WatchSchedulesRequest { parent: ALL.into(), selector: selector.into(), start_revision: 0 };
    alone.schedules().watch_schedules(request).await.unwrap().into_inner()
}

/// The next response that tells of runs.
async fn told(changes: &mut tonic::Streaming<pb::WatchRunsResponse>) -> pb::WatchRunsResponse {
    loop {
        let response = changes.message().await.unwrap().unwrap();
        if !response.runs.is_empty() {
            return response;
        }
    }
}

fn names(response: &pb::WatchRunsResponse) -> Vec<&str> {
    response.runs.iter().map(|run| run.name.as_str()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn list_then_watch_has_no_gap() {
    let alone = Alone::start().await;
    alone.create("team", "invoices").await;
    let before = alone.trigger(NAME).await;
    let list = pb::ListRunsRequest { parent: NAME.into(), ..Default::default() };
    let list = alone.runs().list_runs(list).await.unwrap().into_inner();
    assert_eq!(list.runs[0].name, before.name);
    // Between the list and the watch.
    let between = alone.trigger(NAME).await;
    let mut changes = watch_runs(&alone, runs_of(NAME, list.revision)).await.unwrap();
    let first = told(&mut changes).await;
    assert_eq!(names(&first), [between.name.as_str()]);
    assert!(first.revision > list.revision, "WATCH-1");
    let after = alone.trigger(NAME).await;
    let second = told(&mut changes).await;
    assert_eq!(names(&second), [after.name.as_str()]);
    // From where the first one left off, by another connection.
    let mut again = watch_runs(&alone, runs_of(ALL, first.revision)).await.unwrap();
    assert_eq!(told(&mut again).await.runs, second.runs);
    alone.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn filters_choose_by_schedule_state_and_label() {
    let alone = Alone::start().await;
    for (namespace, id, team) in [("a", "x", "red"), ("b", "x", "blue")] {
        let labels = [("team".to_owned(), team.to_owned())].into();
        let schedule = pb::Schedule { labels, ..schedule() };
        let request = pb::CreateScheduleRequest { schedule: Some(schedule), ..creation(namespace, id) };
        alone.schedules().create_schedule(request).await.unwrap();
    }
    let by_label = pb::WatchRunsRequest { selector: "team=blue".into(), ..runs_of(ALL, 0) };
    let by_state = pb::WatchRunsRequest { states: vec![State::Cancelled.into()], ..runs_of(ALL, 0) };
    let (mut by_label, mut by_state) =
        (watch_runs(&alone, by_label).await.unwrap(), watch_runs(&alone, by_state).await.unwrap());
    // Each begins with a bookmark: from then on nothing is missed.
    assert!(by_label.message().await.unwrap().unwrap().revision > 0);
    assert!(by_state.message().await.unwrap().unwrap().runs.is_empty());
    let red = alone.trigger("namespaces/a/schedules/x").await;
    let blue = alone.trigger("namespaces/b/schedules/x").await;
    assert_eq!(names(&told(&mut by_label).await), [blue.name.as_str()]);
    let cancel = pb::CancelRunRequest { name: red.name.clone(), reason: "x".into(), ..Default::default() };
    alone.runs().cancel_run(cancel).await.unwrap();
    let cancelled = told(&mut by_state).await;
    assert_eq!((names(&cancelled), cancelled.runs[0].state()), (vec![red.name.as_str()], State::Cancelled));

    let wrong = pb::WatchRunsRequest { selector: "=".into(), states: vec![77], ..runs_of("x", 0) };
    let mut wrong = fields(&watch_runs(&alone, wrong).await.unwrap_err());
    wrong.sort();
    assert_eq!(wrong, ["parent", "selector", "states"]);
    alone.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn schedules_come_change_and_go() {
    let alone = Alone::start().await;
    let mut changes = watch_schedules(&alone, "").await;
    assert!(changes.message().await.unwrap().unwrap().events.is_empty());
    alone.create("team", "invoices").await;
    let mut next = async || loop {
        let response = changes.message().await.unwrap().unwrap();
        if let Some(event) = response.events.into_iter().next() {
            let schedule = event.schedule.clone().unwrap();
            assert_eq!(schedule.name, NAME);
            return (event.kind(), schedule.pause.map(|pause| pause.reason));
        }
    };
    assert_eq!(next().await, (Kind::Created, None));
    // What its runs do is not told.
    alone.trigger(NAME).await;
    let pause = pb::PauseScheduleRequest { name: NAME.into(), reason: "disk".into(), ..Default::default() };
    alone.schedules().pause_schedule(pause).await.unwrap();
    assert_eq!(next().await, (Kind::Changed, Some("disk".into())));
    alone.delete(NAME).await;
    // The delete changed it, too; what is told of that is its end.
    assert_eq!(next().await, (Kind::Deleted, None));
    alone.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_there_is_said_to_be() {
    let alone = Alone::start().await;
    let revision = alone.node.replica().applied().borrow().index;
    alone.node.replica().changes().forget_for_test(revision + 5);
    let refused = watch_runs(&alone, runs_of(ALL, revision)).await.unwrap_err();
    assert_eq!(super::told(&refused), (Code::OutOfRange, "REVISION_COMPACTED".into()));
    assert_eq!(metadata(&refused)["oldest_revision"], (revision + 5).to_string());
    let refused = watch_runs(&alone, runs_of(ALL, revision + 1_000_000)).await.unwrap_err();
    assert_eq!(super::told(&refused), (Code::OutOfRange, "REVISION_AHEAD".into()));
    alone.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_who_falls_behind_what_is_kept_is_told() {
    let alone = Alone::start().await;
    alone.create("team", "invoices").await;
    let mut changes = watch_runs(&alone, runs_of(ALL, 0)).await.unwrap();
    changes.message().await.unwrap().unwrap();
    let revision = alone.node.replica().applied().borrow().index;
    alone.node.replica().changes().forget_for_test(revision + 5);
    let ended = tokio::time::timeout(PATIENCE, async {
        loop {
            alone.trigger(NAME).await;
            match tokio::time::timeout(Duration::from_millis(50), changes.message()).await {
                Err(_) | Ok(Ok(Some(_))) => {}
                Ok(Ok(None)) => panic!("it ended without a word"),
                Ok(Err(status)) => return status,
            }
        }
    });
    let ended = ended.await.unwrap();
    assert_eq!(super::told(&ended), (Code::OutOfRange, "REVISION_COMPACTED".into()));
    // Where to begin anew.
    assert_eq!(metadata(&ended)["oldest_revision"], (revision + 5).to_string());
    alone.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_takes_so_many_who_watch() {
    let alone = Alone::start_by(Arc::new(SystemClock), |config| config.limits.watchers_max = 1).await;
    let mut first = watch_runs(&alone, runs_of(ALL, 0)).await.unwrap();
    first.message().await.unwrap().unwrap();
    let refused = watch_runs(&alone, runs_of(ALL, 0)).await.unwrap_err();
    assert_eq!(super::told(&refused), (Code::ResourceExhausted, "TOO_MANY_WATCHERS".into()));
    drop(first);
    // Its place is free once the node has seen that it is gone.
    let freed = tokio::time::timeout(PATIENCE, async {
        while let Err(refused) = watch_runs(&alone, runs_of(ALL, 0)).await {
            assert_eq!(super::told(&refused).1, "TOO_MANY_WATCHERS");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    freed.await.unwrap();
    alone.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_stops_says_so() {
    let alone = Alone::start().await;
    let mut changes = watch_runs(&alone, runs_of(ALL, 0)).await.unwrap();
    changes.message().await.unwrap().unwrap();
    let stopping = tokio::spawn(alone.stop());
    let ended = loop {
        match changes.message().await {
            Ok(Some(_)) => {}
            Ok(None) => panic!("it ended without a word"),
            Err(status) => break status,
        }
    };
    assert_eq!(super::told(&ended), (Code::Unavailable, "NODE_STOPPING".into()));
    stopping.await.unwrap();
}
