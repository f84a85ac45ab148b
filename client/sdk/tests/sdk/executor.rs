//! The executor runtime: what it does whatever the network and the leader do.

use std::time::Duration;

use belfry_sdk::executor::{
    Cancellation, Executor, ExecutorBuilder, ExecutorError, Outcome, RunContext, Summary,
};
use belfry_sdk::pb;
use belfry_sdk::pb::completion::Result as RunResult;
use belfry_sdk::pb::executor_message::Message;
use belfry_sdk::pb::executor_reply::Message as Reply;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

use crate::fake_leader::FakeLeader;

/// An executor under test, and the runs whose outcome the test decides (handler `played`).
struct Subject {
    shutdown: CancellationToken,
    ended: JoinHandle<Result<Summary, ExecutorError>>,
    started: mpsc::Receiver<(RunContext, oneshot::Sender<Outcome>)>,
}

impl Subject {
    fn start(leader: &FakeLeader) -> Self {
        Self::start_with(leader, |builder| builder)
    }

    fn start_with(leader: &FakeLeader, adapt: impl FnOnce(ExecutorBuilder) -> ExecutorBuilder) -> Self {
        let (reports, started) = mpsc::channel(64);
        let played = move |run: RunContext| {
            let reports = reports.clone();
            async move {
                let (decide, decided) = oneshot::channel();
                reports.send((run, decide)).await.unwrap();
                decided.await.unwrap_or_else(|_| Outcome::failed("the test dropped the run"))
            }
        };
        let builder = Executor::builder()
            .endpoints([leader.endpoint.as_str()])
            .slots(4)
            .handler("played", played)
            .handler(
                "panics",
                |run: RunContext| async move { panic!("no such table: {}", run.run.schedule()) },
            )
            .handler("stuck", |_: RunContext| std::future::pending())
            .handler("patient", |run: RunContext| async move {
                run.cancelled.cancelled().await;
                Outcome::failed("stopped when asked")
            })
            .handler("chatty", |run: RunContext| async move {
                (0..20_000).for_each(|number| run.output.line(&format!("line {number}")));
                Outcome::SucceededWith { exit_code: 3, message: "m".repeat(5000) }
            });
        let executor = adapt(builder).build().unwrap();
        let shutdown = CancellationToken::new();
        let ended = tokio::spawn(executor.run(shutdown.clone().cancelled_owned()));
        Self { shutdown, ended, started }
    }

    async fn stop(self) -> Summary {
        self.shutdown.cancel();
        self.ended.await.unwrap().unwrap()
    }

    /// Waits for the next start of a played run.
    async fn next_start(&mut self) -> (RunContext, oneshot::Sender<Outcome>) {
        self.started.recv().await.unwrap()
    }
}

fn grant(run_id: u64, handler: &str) -> pb::Grant {
    pb::Grant {
        run_id,
        run: format!("namespaces/n/schedules/s/runs/{run_id}"),
        attempt: 1,
        idempotency_key: format!("key-{run_id}"),
        handler: handler.to_owned(),
        attempt_timeout_ms: 3_600_000,
        lease_duration_ms: 30_000,
        ..Default::default()
    }
}

#[tokio::test]
async fn says_who_it_is_and_gives_credit_for_its_slots() {
    let mut leader = FakeLeader::start().await;
    let subject = Subject::start_with(&leader, |builder| builder.pool("batch").display_name("me"));
    let mut session = leader.welcomed().await;
    let hello = session.hello.clone();
    assert_eq!((hello.pool.as_str(), hello.display_name.as_str(), hello.slots), ("batch", "me", 4));
    assert_eq!(hello.handlers, ["chatty", "panics", "patient", "played", "stuck"]);
    assert_eq!(hello.executor_id.len(), 26);
    assert_eq!(session.hear().await, Some(Message::Credits(pb::Credits { count: 4 })));
    let summary = subject.stop().await;
    assert_eq!((summary.sessions, summary.drain_requested), (1, false));
}

#[tokio::test]
async fn says_its_labels_and_the_slots_of_its_handlers() {
    let mut leader = FakeLeader::start().await;
    let _subject = Subject::start_with(&leader, |builder| {
        builder.label("zone", "eu-1").label("gpu", "").handler_slots("stuck", 2)
    });
    let hello = leader.welcomed().await.hello.clone();
    assert_eq!(
        hello.labels,
        [("zone".to_owned(), "eu-1".to_owned()), ("gpu".to_owned(), String::new())].into()
    );
    assert_eq!(hello.handler_slots, [("stuck".to_owned(), 2)].into());
}

#[tokio::test]
async fn takes_no_more_runs_of_a_handler_than_it_has_slots() {
    let mut leader = FakeLeader::start().await;
    let mut subject = Subject::start_with(&leader, |builder| builder.handler_slots("played", 1));
    let mut session = leader.welcomed().await;
    session.lease(grant(7, "played"), 70).await;
    let (_run, decide) = subject.next_start().await;
    session.grant([grant(8, "played")]).await;
    assert_eq!(session.hear_work().await, Message::Declines(pb::Declines { run_ids: vec![8] }));
    session.lease(grant(9, "stuck"), 90).await;
    decide.send(Outcome::Succeeded).unwrap();
    assert_eq!(session.completion().await.run_id, 7);
    session.lease(grant(8, "played"), 80).await;
    assert_eq!(subject.next_start().await.0.fencing_token, 80);
}

#[tokio::test]
async fn user_code_starts_with_its_lease_and_ends_with_an_acknowledgement() {
    let mut leader = FakeLeader::start().await;
    let mut subject = Subject::start(&leader);
    let mut session = leader.welcomed().await;
    session.lease(pb::Grant { merged_count: 3, payload: "p".into(), ..grant(7, "played") }, 70).await;
    let (run, decide) = subject.next_start().await;
    assert_eq!((run.fencing_token, run.attempt, run.merged_count), (70, 1, 3));
    assert_eq!((run.idempotency_key.as_str(), run.payload.as_ref()), ("key-7", b"p".as_slice()));
    run.output.line("hello");
    decide.send(Outcome::Succeeded).unwrap();
    let completion = session.completion().await;
    assert_eq!(
        (completion.run_id, completion.fencing_token, completion.result()),
        (7, 70, RunResult::Succeeded)
    );
    assert_eq!(completion.output_tail, "hello\n");
    session.acknowledge(&completion).await;
    let summary = subject.stop().await;
    assert_eq!((summary.started, summary.succeeded, summary.undelivered), (1, 1, 0));
}

#[tokio::test]
async fn a_lost_answer_to_begin_is_asked_for_again() {
    let mut leader = FakeLeader::start().await;
    let mut subject = Subject::start(&leader);
    let mut session = leader.welcomed().await;
    session.grant([grant(7, "played")]).await;
    let begin = pb::Begin { run_id: 7, attempt: 1 };
    assert_eq!(session.begins().await, [begin]);
    drop(session);
    let mut session = leader.welcomed().await;
    assert!(session.hello.held.is_empty(), "it does not know its token, so it cannot name the lease");
    assert_eq!(session.begins().await, [begin]);
    session.answer(7, 70).await;
    let (run, _decide) = subject.next_start().await;
    assert_eq!(run.fencing_token, 70);
}

#[tokio::test]
async fn a_refused_begin_starts_nothing() {
    let mut leader = FakeLeader::start().await;
    let subject = Subject::start(&leader);
    let mut session = leader.welcomed().await;
    session.lease(grant(7, "played"), 0).await;
    let summary = subject.stop().await;
    assert_eq!((summary.started, summary.undelivered), (0, 0));
}

#[tokio::test]
async fn runs_go_on_without_a_connection_and_are_named_in_the_next_hello() {
    let mut leader = FakeLeader::start().await;
    let mut subject = Subject::start(&leader);
    let mut session = leader.welcomed().await;
    session.lease(grant(7, "played"), 70).await;
    let (run, decide) = subject.next_start().await;
    session.fail(Status::unavailable("leadership moved")).await;
    let mut session = leader.welcomed().await;
    assert_eq!(session.hello.held, [pb::Held { run_id: 7, fencing_token: 70, extended_for_ms: 0 }]);
    assert_eq!(session.hear().await, Some(Message::Credits(pb::Credits { count: 3 })));
    assert!(!run.cancelled.is_cancelled());
    decide.send(Outcome::Succeeded).unwrap();
    assert_eq!(session.completion().await.fencing_token, 70);
}

#[tokio::test]
async fn a_completion_is_said_again_until_it_is_acknowledged() {
    let mut leader = FakeLeader::start().await;
    let mut subject = Subject::start(&leader);
    let mut session = leader.welcomed().await;
    session.lease(grant(7, "played"), 70).await;
    subject.next_start().await.1.send(Outcome::failed("no luck")).unwrap();
    let first = session.completion().await;
    for _ in 0..2 {
        drop(session);
        session = leader.welcomed().await;
        assert_eq!(session.hello.held, [pb::Held { run_id: 7, fencing_token: 70, extended_for_ms: 0 }]);
        assert_eq!(session.completion().await, first);
    }
    session.acknowledge(&first).await;
    // Whatever follows the acknowledgement in the stream has been read after it.
    session.lease(grant(8, "played"), 80).await;
    subject.next_start().await;
    drop(session);
    let session = leader.welcomed().await;
    assert!(session.hello.held.iter().all(|held| held.run_id == 8), "{:?}", session.hello.held);
}

#[tokio::test]
async fn an_attempt_that_is_granted_and_answered_twice_runs_once() {
    let mut leader = FakeLeader::start().await;
    let mut subject = Subject::start(&leader);
    let mut session = leader.welcomed().await;
    session.grant([grant(7, "played"), grant(7, "played")]).await;
    assert_eq!(session.begins().await.len(), 1);
    session.answer(7, 70).await;
    session.answer(7, 70).await;
    session.grant([grant(7, "played")]).await;
    assert_eq!(session.hear_work().await, Message::Declines(pb::Declines { run_ids: vec![7] }));
    subject.next_start().await.1.send(Outcome::Succeeded).unwrap();
    let completion = session.completion().await;
    session.acknowledge(&completion).await;
    session.grant([grant(7, "played")]).await;
    assert_eq!(session.hear_work().await, Message::Declines(pb::Declines { run_ids: vec![7] }));
    assert_eq!(subject.stop().await.started, 1);
}

#[tokio::test]
async fn a_panic_is_a_failed_run_and_the_executor_lives_on() {
    let mut leader = FakeLeader::start().await;
    let mut subject = Subject::start(&leader);
    let mut session = leader.welcomed().await;
    session.lease(grant(7, "panics"), 70).await;
    let completion = session.completion().await;
    assert_eq!(completion.result(), RunResult::Failed);
    assert_eq!(completion.message, "the handler panicked: no such table: s");
    session.lease(grant(8, "played"), 80).await;
    assert_eq!(subject.next_start().await.0.fencing_token, 80);
}

#[tokio::test]
async fn progress_is_passed_on_without_a_flood() {
    let mut leader = FakeLeader::start().await;
    let mut subject = Subject::start(&leader);
    let mut session = leader.welcomed().await;
    session.lease(grant(7, "played"), 70).await;
    session.lease(grant(8, "played"), 80).await;
    let (seven, _goes_on) = subject.next_start().await;
    let (eight, _goes_on_too) = subject.next_start().await;
    for number in 1..=1000 {
        seven.progress(format!("{number} of 1000"));
        // Let the runtime look at each of them.
        tokio::task::yield_now().await;
    }
    eight.progress("half\n");
    assert_eq!(eight.latest_progress().as_deref(), Some("half"));
    let mut messages = 0;
    let mut heard = std::collections::BTreeMap::new();
    while heard.get(&70).map(String::as_str) != Some("1000 of 1000") || !heard.contains_key(&80) {
        let Message::Progress(progress) = session.hear_work().await else { panic!("nothing else goes on") };
        messages += 1;
        heard.extend(progress.notes.into_iter().map(|note| (note.fencing_token, note.text)));
    }
    assert!(messages < 100, "{messages} messages");
}

#[tokio::test]
async fn a_run_knows_its_attempts_and_may_rule_out_more() {
    let mut leader = FakeLeader::start().await;
    let mut subject = Subject::start(&leader);
    let mut session = leader.welcomed().await;
    let third = pb::Grant { attempt: 3, max_attempts: 5, backfill: true, ..grant(7, "played") };
    session.lease(third, 70).await;
    let (run, decide) = subject.next_start().await;
    assert_eq!((run.attempt, run.max_attempts, run.backfill), (3, 5, true));
    decide.send(Outcome::failed("there is no customer 4711").non_retryable()).unwrap();
    let completion = session.completion().await;
    assert_eq!((completion.result(), completion.non_retryable), (RunResult::Failed, true));
    assert_eq!(completion.message, "there is no customer 4711");
    // A leader that knows of no retries.
    session.lease(grant(8, "played"), 80).await;
    let (run, decide) = subject.next_start().await;
    assert_eq!((run.attempt, run.max_attempts, run.backfill), (1, 1, false));
    decide.send(Outcome::failed("no luck")).unwrap();
    assert!(!session.completion().await.non_retryable);
}

#[tokio::test]
async fn output_and_message_are_cut_to_their_limits() {
    let mut leader = FakeLeader::start().await;
    let _subject = Subject::start(&leader);
    let mut session = leader.welcomed().await;
    session.lease(grant(7, "chatty"), 70).await;
    let completion = session.completion().await;
    assert_eq!((completion.result(), completion.exit_code), (RunResult::Succeeded, Some(3)));
    assert_eq!((completion.output_tail.len(), completion.message.len()), (64 * 1024, 1024));
    assert!(completion.output_tail.ends_with(b"line 19998\nline 19999\n"));
}

#[tokio::test]
async fn a_run_is_cancelled_at_its_attempt_timeout() {
    let mut leader = FakeLeader::start().await;
    let _subject = Subject::start(&leader);
    let mut session = leader.welcomed().await;
    session.lease(pb::Grant { attempt_timeout_ms: 20, ..grant(7, "patient") }, 70).await;
    let completion = session.completion().await;
    assert_eq!(completion.result(), RunResult::TimedOut);
    assert_eq!(completion.message, "attempt timeout of 20ms passed: stopped when asked");
}

#[tokio::test]
async fn a_run_that_extends_itself_outlives_its_attempt_timeout_and_says_so_to_each_leader() {
    let mut leader = FakeLeader::start().await;
    let mut subject = Subject::start(&leader);
    let mut session = leader.session().await;
    session.welcome(3_600_000).await;
    session.lease(pb::Grant { attempt_timeout_ms: 60_000, ..grant(7, "played") }, 70).await;
    let (run, decide) = subject.next_start().await;
    assert!(run.extend() >= run.deadline);
    let Message::Extensions(said) = session.hear_work().await else { panic!("it was extended") };
    let extension = said.extensions[0];
    assert_eq!((extension.run_id, extension.fencing_token), (7, 70));
    assert!((1..=60_000).contains(&extension.for_ms), "{}", extension.for_ms);
    session.fail(Status::unavailable("another leads")).await;
    let mut session = leader.session().await;
    assert!((1..=60_000).contains(&session.hello.held[0].extended_for_ms));
    // A leader of an older release gives no more time, and is not asked for any.
    session.welcome(0).await;
    let before = run.extend();
    run.progress("half");
    assert!(matches!(session.hear_work().await, Message::Progress(_)));
    assert!(run.extend() <= before, "nothing was added");
    decide.send(Outcome::Succeeded).unwrap();
    assert_eq!(session.completion().await.result(), RunResult::Succeeded);
}

#[tokio::test]
async fn an_attempt_that_goes_on_extending_itself_ends_at_what_the_cluster_allows() {
    let mut leader = FakeLeader::start().await;
    let extends = |run: RunContext| async move {
        while !run.cancelled.is_cancelled() {
            run.extend();
            tokio::task::yield_now().await;
        }
        Outcome::failed("stopped when asked")
    };
    let _subject = Subject::start_with(&leader, |builder| builder.handler("extends", extends));
    let mut session = leader.session().await;
    session.welcome(50).await;
    session.lease(pb::Grant { attempt_timeout_ms: 20, ..grant(7, "extends") }, 70).await;
    let completion = loop {
        match session.hear_work().await {
            Message::Extensions(_) => {}
            Message::Completions(completions) => break completions.completions[0].clone(),
            other => panic!("heard {other:?}"),
        }
    };
    assert_eq!(completion.result(), RunResult::TimedOut);
    let message = completion.message;
    assert!(
        message.starts_with("attempt timeout of ") && message.ends_with(": stopped when asked"),
        "{message}"
    );
}

#[tokio::test]
async fn a_run_that_ignores_its_cancellation_is_dropped() {
    let mut leader = FakeLeader::start().await;
    let _subject = Subject::start_with(&leader, |builder| builder.abort_after(Duration::from_millis(20)));
    let mut session = leader.welcomed().await;
    session.lease(pb::Grant { attempt_timeout_ms: 20, ..grant(7, "stuck") }, 70).await;
    let completion = session.completion().await;
    assert_eq!(completion.result(), RunResult::TimedOut);
    assert!(
        completion.message.ends_with("it did not stop when cancelled and was dropped"),
        "{}",
        completion.message
    );
}

#[tokio::test]
async fn a_cancelled_run_learns_who_wants_it_and_ends_within_its_grace() {
    let mut leader = FakeLeader::start().await;
    let mut subject = Subject::start(&leader);
    let mut session = leader.welcomed().await;
    session.lease(grant(7, "played"), 70).await;
    let (run, decide) = subject.next_start().await;
    for _ in 0..2 {
        session.cancel(7, 70, 3_600_000).await;
    }
    run.cancelled.cancelled().await;
    let (reason, grace) = ("by ann: wrong data".to_owned(), Duration::from_secs(3600));
    assert_eq!(run.cancellation(), Some(Cancellation::Requested { reason, grace }));
    decide.send(Outcome::cancelled("at row 7")).unwrap();
    let completion = session.completion().await;
    assert_eq!((completion.fencing_token, completion.result()), (70, RunResult::Cancelled));
    assert_eq!(completion.message, "cancelled: by ann: wrong data: at row 7");
    // One that comes too late changes nothing.
    session.cancel(7, 70, 0).await;
    session.acknowledge(&completion).await;
    let summary = subject.stop().await;
    assert_eq!((summary.started, summary.cancelled, summary.failed, summary.undelivered), (1, 1, 0, 0));
}

#[tokio::test]
async fn a_cancelled_run_that_comes_to_its_end_is_reported_as_it_ended() {
    for (outcome, result) in [
        (Outcome::Succeeded, RunResult::Succeeded),
        (Outcome::failed("disk full"), RunResult::Failed),
        (Outcome::NotStarted { message: "had not begun".into() }, RunResult::Cancelled),
    ] {
        let mut leader = FakeLeader::start().await;
        let mut subject = Subject::start(&leader);
        let mut session = leader.welcomed().await;
        session.lease(grant(7, "played"), 70).await;
        let (run, decide) = subject.next_start().await;
        session.cancel(7, 70, 3_600_000).await;
        run.cancelled.cancelled().await;
        decide.send(outcome).unwrap();
        assert_eq!(session.completion().await.result(), result);
    }
}

#[tokio::test]
async fn a_cancelled_run_that_does_not_end_is_dropped_after_its_grace() {
    let mut leader = FakeLeader::start().await;
    let mut subject = Subject::start_with(&leader, |builder| builder.abort_after(Duration::from_millis(20)));
    let mut session = leader.welcomed().await;
    session.lease(grant(7, "played"), 70).await;
    let (_run, _never) = subject.next_start().await;
    session.cancel(7, 70, 20).await;
    let completion = session.completion().await;
    assert_eq!(completion.result(), RunResult::Cancelled);
    let expected = "cancelled: by ann: wrong data: it did not stop when cancelled and was dropped";
    assert_eq!(completion.message, expected);
}

#[tokio::test]
async fn a_cancel_with_less_grace_shortens_the_rest() {
    let mut leader = FakeLeader::start().await;
    let mut subject = Subject::start_with(&leader, |builder| builder.abort_after(Duration::from_millis(20)));
    let mut session = leader.welcomed().await;
    session.lease(grant(7, "played"), 70).await;
    let (_run, _never) = subject.next_start().await;
    session.cancel(7, 70, u64::MAX).await;
    session.cancel(7, 70, 0).await;
    assert_eq!(session.completion().await.result(), RunResult::Cancelled);
}

#[tokio::test]
async fn a_cancel_gives_no_time_beyond_the_attempt_timeout() {
    let mut leader = FakeLeader::start().await;
    let mut subject = Subject::start_with(&leader, |builder| builder.abort_after(Duration::from_millis(20)));
    let mut session = leader.welcomed().await;
    session.lease(pb::Grant { attempt_timeout_ms: 200, ..grant(7, "played") }, 70).await;
    let (_run, _never) = subject.next_start().await;
    session.cancel(7, 70, u64::MAX).await;
    // Whichever came first gives it its name.
    let result = session.completion().await.result();
    assert!(matches!(result, RunResult::Cancelled | RunResult::TimedOut), "{result:?}");
}

#[tokio::test]
async fn a_run_that_is_cancelled_before_its_lease_is_answered_does_not_start() {
    let mut leader = FakeLeader::start().await;
    let subject = Subject::start(&leader);
    let mut session = leader.welcomed().await;
    session.grant([grant(7, "panics")]).await;
    assert_eq!(session.begins().await.len(), 1);
    session.cancel(7, 70, 0).await;
    session.answer(7, 70).await;
    let completion = session.completion().await;
    assert_eq!((completion.fencing_token, completion.result()), (70, RunResult::Cancelled));
    assert_eq!(completion.message, "cancelled: by ann: wrong data, before it began");
    session.acknowledge(&completion).await;
    let summary = subject.stop().await;
    assert_eq!((summary.started, summary.cancelled, summary.not_started), (0, 1, 0));
}

#[tokio::test]
async fn a_cancel_with_another_token_is_ignored() {
    let mut leader = FakeLeader::start().await;
    let mut subject = Subject::start(&leader);
    let mut session = leader.welcomed().await;
    session.lease(grant(7, "played"), 70).await;
    let (run, decide) = subject.next_start().await;
    session.cancel(7, 69, 0).await;
    // Whatever follows the cancel in the stream has been read after it.
    session.lease(grant(8, "played"), 80).await;
    subject.next_start().await;
    assert!(!run.cancelled.is_cancelled() && run.cancellation().is_none());
    decide.send(Outcome::Succeeded).unwrap();
    let completions = session.completions(2).await;
    assert!(completions.iter().any(|end| end.run_id == 7 && end.result() == RunResult::Succeeded));
}

#[tokio::test]
async fn a_cancel_comes_through_after_a_reconnect() {
    let mut leader = FakeLeader::start().await;
    let mut subject = Subject::start(&leader);
    let mut session = leader.welcomed().await;
    session.lease(grant(7, "played"), 70).await;
    let (run, decide) = subject.next_start().await;
    session.fail(Status::unavailable("leadership moved")).await;
    let mut session = leader.welcomed().await;
    assert_eq!(session.hello.held, [pb::Held { run_id: 7, fencing_token: 70, extended_for_ms: 0 }]);
    session.cancel(7, 70, 3_600_000).await;
    run.cancelled.cancelled().await;
    drop(session);
    session = leader.welcomed().await;
    session.cancel(7, 70, 3_600_000).await;
    decide.send(Outcome::cancelled("")).unwrap();
    assert_eq!(session.completion().await.result(), RunResult::Cancelled);
}

#[tokio::test]
async fn unknown_handlers_and_malformed_names_are_declined() {
    let mut leader = FakeLeader::start().await;
    let subject = Subject::start(&leader);
    let mut session = leader.welcomed().await;
    session.grant([grant(7, "nobody"), pb::Grant { run: "rubbish".into(), ..grant(8, "played") }]).await;
    assert_eq!(session.hear_work().await, Message::Declines(pb::Declines { run_ids: vec![7, 8] }));
    assert_eq!(subject.stop().await.declined, 2);
}

#[tokio::test]
async fn draining_takes_nothing_new_and_delivers_what_runs() {
    let mut leader = FakeLeader::start().await;
    let mut subject = Subject::start(&leader);
    let mut session = leader.welcomed().await;
    session.lease(grant(7, "played"), 70).await;
    let (run, decide) = subject.next_start().await;
    session.grant([grant(8, "played")]).await;
    assert_eq!(session.begins().await.len(), 1);
    subject.shutdown.cancel();
    assert_eq!(session.hear_work().await, Message::Drain(pb::Drain {}));
    session.grant([grant(9, "played")]).await;
    assert_eq!(session.hear_work().await, Message::Declines(pb::Declines { run_ids: vec![9] }));
    session.answer(8, 80).await;
    let handed_back = session.completion().await;
    assert_eq!((handed_back.run_id, handed_back.result()), (8, RunResult::NotStarted));
    session.acknowledge(&handed_back).await;
    assert!(!run.cancelled.is_cancelled());
    decide.send(Outcome::Succeeded).unwrap();
    // The connection breaks right before the last acknowledgement.
    let completion = session.completion().await;
    drop(session);
    let mut session = leader.welcomed().await;
    assert_eq!(session.hear_work().await, Message::Drain(pb::Drain {}));
    assert_eq!(session.completion().await, completion);
    session.acknowledge(&completion).await;
    let summary = subject.ended.await.unwrap().unwrap();
    assert_eq!((summary.started, summary.not_started, summary.declined, summary.undelivered), (1, 1, 1, 0));
}

#[tokio::test]
async fn what_outlives_the_grace_period_is_cancelled_and_reported() {
    let mut leader = FakeLeader::start().await;
    let subject = Subject::start_with(&leader, |builder| {
        builder.grace(Duration::from_millis(20)).abort_after(Duration::from_millis(20))
    });
    let mut session = leader.welcomed().await;
    session.grant([grant(7, "patient"), grant(8, "stuck")]).await;
    assert_eq!(session.begins().await.len(), 2);
    session.answer(7, 70).await;
    session.answer(8, 80).await;
    // Declined after the answers, so both runs have started before the shutdown.
    session.grant([grant(9, "nobody")]).await;
    assert!(matches!(session.hear_work().await, Message::Declines(_)));
    subject.shutdown.cancel();
    assert_eq!(session.hear_work().await, Message::Drain(pb::Drain {}));
    let mut completions = session.completions(2).await;
    completions.sort_by_key(|completion| completion.run_id);
    for (completion, (run_id, end)) in
        completions.into_iter().zip([(7, "stopped when asked"), (8, "was dropped")])
    {
        assert_eq!((completion.run_id, completion.result()), (run_id, RunResult::Failed));
        assert!(completion.message.ends_with(end), "{}", completion.message);
        session.acknowledge(&completion).await;
    }
    assert_eq!(subject.ended.await.unwrap().unwrap().failed, 2);
}

#[tokio::test]
async fn the_cluster_may_drain_it_and_it_ends_with_its_last_run() {
    let mut leader = FakeLeader::start().await;
    let mut subject = Subject::start_with(&leader, |builder| builder.grace(Duration::ZERO));
    let mut session = leader.welcomed().await;
    session.lease(grant(7, "played"), 70).await;
    let (run, decide) = subject.next_start().await;
    for _ in 0..2 {
        session.say(Reply::DrainRequest(pb::DrainRequest {})).await;
    }
    assert_eq!(session.hear_work().await, Message::Drain(pb::Drain {}));
    session.grant([grant(8, "played")]).await;
    assert_eq!(session.hear_work().await, Message::Declines(pb::Declines { run_ids: vec![8] }));
    // The next leader does not have to ask again.
    drop(session);
    let mut session = leader.welcomed().await;
    assert_eq!(session.hear_work().await, Message::Drain(pb::Drain {}));
    assert!(!run.cancelled.is_cancelled(), "nobody is about to kill the process");
    decide.send(Outcome::Succeeded).unwrap();
    let completion = session.completion().await;
    session.acknowledge(&completion).await;
    let summary = subject.ended.await.unwrap().unwrap();
    assert!(summary.drain_requested);
    assert_eq!((summary.started, summary.succeeded, summary.undelivered), (1, 1, 0));
}

#[tokio::test]
async fn a_shutdown_gives_a_drained_executor_its_grace() {
    let mut leader = FakeLeader::start().await;
    let mut subject = Subject::start_with(&leader, |builder| builder.grace(Duration::from_millis(20)));
    let mut session = leader.welcomed().await;
    session.lease(grant(7, "played"), 70).await;
    let (run, decide) = subject.next_start().await;
    session.say(Reply::DrainRequest(pb::DrainRequest {})).await;
    assert_eq!(session.hear_work().await, Message::Drain(pb::Drain {}));
    subject.shutdown.cancel();
    run.cancelled.cancelled().await;
    assert_eq!(run.cancellation(), Some(Cancellation::Draining));
    decide.send(Outcome::cancelled("at row 7")).unwrap();
    let completion = session.completion().await;
    assert_eq!(completion.result(), RunResult::Failed);
    assert_eq!(completion.message, "the executor shut down and the grace period passed: at row 7");
    session.acknowledge(&completion).await;
    assert!(subject.ended.await.unwrap().unwrap().drain_requested);
}

#[tokio::test]
async fn the_grace_period_may_be_for_ever() {
    let mut leader = FakeLeader::start().await;
    let subject = Subject::start_with(&leader, |builder| {
        builder.grace(Duration::MAX).abort_after(Duration::MAX).connect_timeout(Duration::MAX)
    });
    let _session = leader.welcomed().await;
    assert_eq!(subject.stop().await.undelivered, 0);
}

#[tokio::test]
async fn keeps_alive_and_leaves_a_silent_leader() {
    let mut leader = FakeLeader::start().await;
    let _subject = Subject::start(&leader);
    let mut silent = leader.welcomed_with_keep_alive(10).await;
    let mut keep_alives = 0;
    while let Some(message) = silent.hear().await {
        keep_alives += u32::from(message == Message::KeepAlive(pb::KeepAlive {}));
    }
    assert_eq!(keep_alives, 3);
    leader.welcomed().await;
}

#[tokio::test]
async fn a_leader_that_is_heard_is_not_left() {
    let mut leader = FakeLeader::start().await;
    let _subject = Subject::start(&leader);
    let mut session = leader.welcomed_with_keep_alive(100).await;
    let mut keep_alives = 0;
    while keep_alives < 10 {
        if session.hear().await.expect("it stays") == Message::KeepAlive(pb::KeepAlive {}) {
            session.say(Reply::KeepAlive(pb::KeepAlive {})).await;
            keep_alives += 1;
        }
    }
}

#[tokio::test]
async fn follows_the_hint_to_the_leader() {
    let follower = FakeLeader::start().await;
    let mut leader = FakeLeader::start().await;
    let metadata = [("leader_address".to_owned(), leader.endpoint.clone())];
    let details = ErrorDetails::with_error_info("NOT_LEADER", "belfry", metadata);
    follower.refuse_next(Status::with_error_details(Code::Unavailable, "ask the leader", details));
    let _subject = Subject::start(&follower);
    leader.welcomed().await;
}

#[tokio::test]
async fn tries_the_next_node_when_one_is_gone() {
    let mut leader = FakeLeader::start().await;
    let gone = FakeLeader::start().await.endpoint.clone();
    let here = leader.endpoint.clone();
    let executor = Executor::builder()
        .endpoints([gone, here])
        .handler("h", |_: RunContext| async { Outcome::Succeeded })
        .build()
        .unwrap();
    let running = tokio::spawn(executor.run(std::future::pending()));
    leader.welcomed().await;
    running.abort();
}

#[tokio::test]
async fn gives_up_when_the_cluster_refuses_it() {
    let leader = FakeLeader::start().await;
    leader.refuse_next(Status::permission_denied("pool batch is not yours"));
    let error = Subject::start(&leader).ended.await.unwrap().unwrap_err();
    assert_eq!(
        error.to_string(),
        "the cluster refuses this executor: pool batch is not yours; correct its settings and start it again"
    );
}

#[tokio::test]
async fn a_storm_of_short_runs_is_carried_in_batches() {
    const RUNS: u64 = 5_000;
    let mut leader = FakeLeader::start().await;
    let subject = Subject::start_with(&leader, |builder| {
        builder.slots(1000).handler("nothing", |_: RunContext| async { Outcome::Succeeded })
    });
    let mut session = leader.welcomed().await;
    let (mut granted, mut completed, mut messages) = (0, 0, 0_u64);
    while completed < RUNS {
        messages += 1;
        match session.hear().await.unwrap() {
            Message::Credits(credits) => {
                let upto = RUNS.min(granted + u64::from(credits.count));
                session.grant((granted + 1..=upto).map(|run_id| grant(run_id, "nothing"))).await;
                granted = upto;
            }
            Message::Begins(begins) => {
                let leased =
                    |begin: pb::Begin| pb::BeginReply { run_id: begin.run_id, fencing_token: begin.run_id };
                let replies = begins.begins.into_iter().map(leased).collect();
                session.say(Reply::BeginReplies(pb::BeginReplies { replies })).await;
            }
            Message::Completions(completions) => {
                completed += completions.completions.len() as u64;
                let acked = |end: pb::Completion| pb::CompletionAck {
                    run_id: end.run_id,
                    fencing_token: end.fencing_token,
                    accepted: true,
                };
                let acks = completions.completions.into_iter().map(acked).collect();
                session.say(Reply::CompletionAcks(pb::CompletionAcks { acks })).await;
            }
            other => panic!("unexpected {other:?}"),
        }
    }
    assert!(messages < RUNS, "{messages} messages for {RUNS} runs");
    drop(session);
    let summary = subject.stop().await;
    assert_eq!((summary.started, summary.succeeded), (RUNS, RUNS));
}
