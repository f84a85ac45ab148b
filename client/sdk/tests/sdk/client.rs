//! The client: whom it asks, what it repeats, what it reports.

use std::time::Duration;

use belfry_sdk::transport::Dialer;
use belfry_sdk::{Client, ClientError, ClientOptions, pb};
use tokio::net::{TcpListener, TcpSocket};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::fake_api::{FakeNode, Play, status};

/// A client with time for a test to pass; for what ends only when time is up, see `hasty`.
fn client(nodes: &[&str]) -> Client {
    let timeout = Duration::from_secs(60);
    Client::connect(ClientOptions { timeout, ..ClientOptions::new(nodes.iter().copied()) }).unwrap()
}

fn hasty(nodes: &[&str]) -> Client {
    let timeout = Duration::from_secs(1);
    Client::connect(ClientOptions { timeout, ..ClientOptions::new(nodes.iter().copied()) }).unwrap()
}

async fn get(client: &Client) -> Result<pb::Schedule, ClientError> {
    client.get_schedule(pb::GetScheduleRequest { name: "namespaces/n/schedules/s".into() }).await
}

async fn pause(client: &Client) -> Result<pb::Schedule, ClientError> {
    let request_id = "R1".to_owned();
    client.pause_schedule(pb::PauseScheduleRequest { request_id, ..Default::default() }).await
}

/// An address that refuses connections for as long as the socket lives: bound, so that nobody else gets it, and not
/// listening.
fn nobody() -> (String, TcpSocket) {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    (socket.local_addr().unwrap().to_string(), socket)
}

#[tokio::test]
async fn finds_the_node_that_works_and_stays_with_it() {
    let refusing = FakeNode::start([Play::Refuse(Status::unavailable("shutting down"))]).await;
    let working = FakeNode::start([]).await;
    let nobody = nobody();
    let client = client(&[&nobody.0, &refusing.endpoint, &working.endpoint]);
    for _ in 0..3 {
        assert_eq!(get(&client.clone()).await.unwrap().name, "namespaces/n/schedules/s");
    }
    assert_eq!((refusing.calls().len(), working.calls().len()), (1, 3));
}

#[tokio::test]
async fn follows_the_hint_to_a_leader_that_was_not_named() {
    let leader = FakeNode::start([]).await;
    let metadata = [("leader_address", leader.endpoint.as_str())];
    let follower = FakeNode::start([Play::Refuse(status(Code::Unavailable, "NOT_LEADER", &metadata))]).await;
    let client = client(&[&follower.endpoint]);
    get(&client).await.unwrap();
    get(&client).await.unwrap();
    assert_eq!((follower.calls().len(), leader.calls().len()), (1, 2));
}

#[tokio::test]
async fn repeats_a_mutation_under_one_request_id() {
    let unavailable = || Play::Refuse(Status::unavailable("leadership moved"));
    let node = FakeNode::start([unavailable(), unavailable(), Play::Answer]).await;
    let client = client(&[&node.endpoint]);
    client.pause_schedule(pb::PauseScheduleRequest::default()).await.unwrap();
    let calls = node.calls();
    assert_eq!(calls.len(), 3);
    assert!(calls[0].len() == "pause ".len() + 26 && calls.iter().all(|call| *call == calls[0]), "{calls:?}");
    pause(&client).await.unwrap();
    assert_eq!(node.calls()[3], "pause R1");
}

#[tokio::test]
async fn a_refusal_is_the_last_word() {
    let details = ErrorDetails::with_bad_request_violation("reason", "is empty");
    let plays = [
        Play::Refuse(Status::with_error_details(Code::InvalidArgument, "cannot pause", details)),
        Play::Refuse(status(Code::Aborted, "ETAG_MISMATCH", &[])),
        Play::Refuse(status(Code::NotFound, "SCHEDULE_NOT_FOUND", &[])),
        Play::Refuse(status(Code::ResourceExhausted, "TOO_MANY_SCHEDULES", &[])),
    ];
    let node = FakeNode::start(plays).await;
    let client = client(&[&node.endpoint]);
    let invalid = pause(&client).await.unwrap_err();
    assert_eq!(invalid.to_string(), "invalid request: cannot pause; reason: is empty");
    assert_eq!(invalid.fields()[0].field, "reason");
    let conflict = pause(&client).await.unwrap_err();
    assert!(matches!(conflict, ClientError::Conflict(_)) && conflict.reason() == Some("ETAG_MISMATCH"));
    assert!(matches!(pause(&client).await, Err(ClientError::NotFound(_))));
    assert!(matches!(pause(&client).await, Err(ClientError::ResourceExhausted(_))));
    assert_eq!(node.calls().len(), 4);
}

#[tokio::test]
async fn a_lost_answer_leaves_the_outcome_of_a_mutation_unknown() {
    let node = FakeNode::start([Play::Hang]).await;
    let client = hasty(&[&node.endpoint]);
    let error = pause(&client).await.unwrap_err();
    assert!(
        matches!(&error, ClientError::OutcomeUnknown { request_id: Some(id), .. } if id == "R1"),
        "{error}"
    );
    assert!(matches!(get(&client).await, Err(ClientError::Unreachable { .. })), "a read has no outcome");
}

#[tokio::test]
async fn a_refusal_at_the_door_does_not_say_what_became_of_a_lost_try() {
    let lost = || Play::Refuse(Status::unavailable("going away"));
    let full = || Play::Refuse(status(Code::ResourceExhausted, "TOO_MANY_CALLS", &[]));
    let not_found = Play::Refuse(status(Code::NotFound, "SCHEDULE_NOT_FOUND", &[]));
    let node = FakeNode::start([lost(), full(), lost(), full(), lost(), not_found]).await;
    let client = client(&[&node.endpoint]);
    let error = pause(&client).await.unwrap_err();
    assert!(
        matches!(&error, ClientError::OutcomeUnknown { request_id: Some(id), cause }
            if id == "R1" && cause.contains("too_many_calls")),
        "{error}"
    );
    assert!(matches!(get(&client).await, Err(ClientError::ResourceExhausted(_))), "a read has no outcome");
    // The ledger knows the request by its id: it speaks for the lost try, too.
    assert!(matches!(pause(&client).await, Err(ClientError::NotFound(_))));
}

#[tokio::test]
async fn after_a_lost_try_one_that_is_too_much_for_now_is_tried_again() {
    let lost = Play::Refuse(Status::unavailable("going away"));
    let details = ErrorDetails::with_retry_info(Some(Duration::from_millis(1)));
    let full = Play::Refuse(Status::with_error_details(Code::ResourceExhausted, "too many calls", details));
    let node = FakeNode::start([lost, full, Play::Answer]).await;
    pause(&client(&[&node.endpoint])).await.unwrap();
    assert_eq!(node.calls(), ["pause R1", "pause R1", "pause R1"]);
}

#[tokio::test]
async fn a_call_that_a_node_cancelled_is_tried_again() {
    let node = FakeNode::start([Play::Refuse(Status::cancelled("Timeout expired")), Play::Answer]).await;
    pause(&client(&[&node.endpoint])).await.unwrap();
    assert_eq!(node.calls(), ["pause R1", "pause R1"]);
}

#[tokio::test]
async fn limits_may_be_for_ever() {
    let node = FakeNode::start([]).await;
    let (timeout, try_timeout, connect_timeout) = (Duration::MAX, Duration::MAX, Duration::MAX);
    let endpoints = vec![node.endpoint.clone()];
    let options =
        ClientOptions { endpoints, timeout, try_timeout, connect_timeout, dialer: Dialer::default() };
    get(&Client::connect(options).unwrap()).await.unwrap();
}

#[tokio::test]
async fn a_mutation_that_nobody_received_is_not_unknown() {
    let nobodies = [nobody(), nobody()];
    let client = hasty(&[&nobodies[0].0, &nobodies[1].0]);
    let error = pause(&client).await.unwrap_err();
    assert!(
        matches!(&error, ClientError::Unreachable { endpoints, cause }
            if endpoints.len() == 2 && cause.contains("refused")),
        "{error}"
    );
}

#[tokio::test]
async fn says_that_there_is_no_leader() {
    let node = FakeNode::start([Play::Refuse(status(Code::Unavailable, "NO_LEADER", &[]))]).await;
    let error = pause(&hasty(&[&node.endpoint])).await.unwrap_err();
    assert!(matches!(error, ClientError::NoLeader(_)), "{error}");
    assert!(node.calls().len() > 1, "an election takes a moment, so it tries again");
}

#[tokio::test]
async fn leaves_a_node_that_hangs() {
    let hanging = FakeNode::start([Play::Hang]).await;
    let working = FakeNode::start([]).await;
    let options = ClientOptions {
        timeout: Duration::from_secs(60),
        try_timeout: Duration::from_millis(100),
        ..ClientOptions::new([hanging.endpoint.as_str(), working.endpoint.as_str()])
    };
    pause(&Client::connect(options).unwrap()).await.unwrap();
    assert_eq!(
        (hanging.calls(), working.calls()),
        (vec!["pause R1".to_owned()], vec!["pause R1".to_owned()])
    );
}

#[tokio::test]
async fn survives_a_connection_that_breaks_under_a_call() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let breaking = listener.local_addr().unwrap().to_string();
    tokio::spawn(async move { while listener.accept().await.is_ok() {} });
    let working = FakeNode::start([]).await;
    pause(&client(&[&breaking, &working.endpoint])).await.unwrap();
    assert_eq!(working.calls(), ["pause R1"]);
}

#[tokio::test]
async fn a_transfer_of_leadership_is_not_repeated_once_it_was_sent() {
    let node = FakeNode::start([Play::Refuse(Status::unavailable("going away"))]).await;
    let nobody = nobody();
    let client = client(&[&nobody.0, &node.endpoint]);
    let error = client.transfer_leadership(pb::TransferLeadershipRequest::default()).await.unwrap_err();
    assert!(matches!(error, ClientError::OutcomeUnknown { request_id: None, .. }), "{error}");
    assert_eq!(node.calls(), ["transfer"]);
}

#[tokio::test]
async fn refuses_options_that_cannot_work() {
    let none: [&str; 0] = [];
    assert!(matches!(Client::connect(ClientOptions::new(none)), Err(ClientError::NoEndpoints)));
    let error = Client::connect(ClientOptions::new(["https://a:1"])).unwrap_err();
    assert!(error.to_string().contains("speaks no TLS"), "{error}");
}

/// SDK-5.
#[tokio::test]
async fn a_watch_goes_on_at_another_node_behind_what_it_has_told() {
    use tokio_stream::StreamExt as _;
    let first = FakeNode::start([Play::Answer, Play::Refuse(Status::unavailable("gone"))]).await;
    let compacted = Play::Refuse(status(Code::OutOfRange, "REVISION_COMPACTED", &[]));
    let second = FakeNode::start([Play::Answer, compacted]).await;
    let client = client(&[&first.endpoint, &second.endpoint]);
    let request = pb::WatchSchedulesRequest { start_revision: 5, ..Default::default() };
    let mut watch = client.watch_schedules(request);
    assert_eq!(watch.next().await.unwrap().unwrap().revision, 7);
    assert_eq!(watch.next().await.unwrap().unwrap().revision, 9);
    let error = watch.next().await.unwrap().unwrap_err();
    assert!(matches!(error, ClientError::Compacted(_)), "{error}");
    assert!(watch.next().await.is_none());
    assert_eq!(
        (first.calls()[0].as_str(), &second.calls()[..]),
        ("watch 5", &["watch 7".into(), "watch 9".into()][..])
    );
}

/// SDK-6.
#[tokio::test]
async fn a_batch_keeps_the_ids_of_its_items_and_answers_each() {
    let node = FakeNode::start([Play::Refuse(Status::unavailable("leadership moved")), Play::Answer]).await;
    let client = client(&[&node.endpoint]);
    let item = |id: &str| pb::CreateScheduleRequest { request_id: id.to_owned(), ..Default::default() };
    let answers = client.batch_create_schedules(vec![item("R1"), item("")]).await.unwrap();
    let [Ok(taken), Err(ClientError::AlreadyExists(refusal))] = &answers[..] else { panic!("{answers:?}") };
    assert_eq!(taken.name, "taken");
    assert_eq!(refusal.reason.as_deref(), Some("SCHEDULE_EXISTS"));
    let calls = node.calls();
    assert!(calls[0].starts_with("batch_create R1 ") && calls[0].len() == "batch_create R1 ".len() + 26);
    assert_eq!(calls[0], calls[1], "sent again as it was");
}

/// SDK-6.
#[tokio::test]
async fn a_batch_is_sent_again_for_items_that_found_no_leader() {
    let node = FakeNode::start([Play::Answer]).await;
    let client = client(&[&node.endpoint]);
    let item = |id: &str| pb::CreateScheduleRequest { schedule_id: id.to_owned(), ..Default::default() };
    let answers = client.batch_create_schedules(vec![item("a"), item("leaderless")]).await.unwrap();
    assert!(matches!(&answers[..], [Ok(_), Err(ClientError::AlreadyExists(_))]), "{answers:?}");
    let calls = node.calls();
    assert_eq!((calls.len(), &calls[0]), (2, &calls[1]), "all of them, with the same ids");
}

/// SDK-7.
#[tokio::test]
async fn a_list_that_breaks_is_taken_up_behind_its_last_page() {
    use tokio_stream::StreamExt as _;
    let stopping = Play::Refuse(Status::unavailable("stopping"));
    let node = FakeNode::start([Play::Answer, stopping, Play::Answer]).await;
    let request = pb::ListSchedulesRequest::default();
    let pages: Vec<_> = client(&[&node.endpoint]).stream_schedules(request).collect().await;
    let names: Vec<_> = pages.into_iter().map(|page| page.unwrap().schedules[0].name.clone()).collect();
    assert_eq!(names, ["page 0", "page 1", "page 2"]);
    assert_eq!(node.calls(), ["stream ", "stream 1", "stream 1", "stream 2"]);
}
