//! The handler `http`.

use belfry_executor::HttpHandler;
use belfry_sdk::UnixMillis;
use belfry_sdk::executor::{Handler as _, Outcome, RunContext};
use belfry_sdk::pb;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpSocket};
use tokio::task::JoinHandle;

use crate::run;

/// A server that takes one request, answers it with this text, and hands the request over.
struct Server {
    url: String,
    request: JoinHandle<String>,
}

impl Server {
    async fn answering(answer: impl Into<Vec<u8>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/path?q=1", listener.local_addr().unwrap());
        let answer = answer.into();
        let request = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !is_whole(&request) {
                assert_ne!(stream.read_buf(&mut request).await.unwrap(), 0, "the request is cut short");
            }
            // A client that has read enough of the answer may be gone.
            let _ = stream.write_all(&answer).await;
            String::from_utf8(request).unwrap()
        });
        Self { url, request }
    }
}

/// Whether a request with its body is there.
fn is_whole(request: &[u8]) -> bool {
    let text = String::from_utf8_lossy(request).to_lowercase();
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
    body.len() >= length.map_or(0, |length| length.parse().unwrap())
}

fn answer(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}

async fn outcome_of(run: RunContext) -> (Outcome, String) {
    let output = run.output.clone();
    let outcome = HttpHandler::new().run(run).await;
    (outcome, String::from_utf8_lossy(&output.bytes()).into_owned())
}

async fn outcome(target: &pb::HttpTarget) -> (Outcome, String) {
    outcome_of(run(target)).await
}

fn succeeded(code: i32, message: &str) -> Outcome {
    Outcome::SucceededWith { exit_code: code, message: message.to_owned() }
}

fn failed(code: i32, message: &str) -> Outcome {
    Outcome::Failed { exit_code: Some(code), message: message.to_owned() }
}

#[tokio::test]
async fn tells_the_server_which_run_it_is() {
    let server = Server::answering(answer("200 OK", "thanks")).await;
    let target = pb::HttpTarget {
        url: server.url,
        headers: [("X-Own".to_owned(), "mine".to_owned()), ("belfry-run".to_owned(), "forged".to_owned())]
            .into(),
        body: "the body".into(),
        ..Default::default()
    };
    let mut run = run(&target);
    run.nominal_time = UnixMillis(0);
    run.scheduled_time = UnixMillis(1_000);
    run.window_start = UnixMillis(-60_000);
    run.deadline = UnixMillis(60_000);
    run.idempotency_key = "key".to_owned();
    (run.attempt, run.max_attempts, run.merged_count, run.fencing_token) = (2, 5, 3, 44);
    run.backfill = true;
    assert_eq!(outcome_of(run).await, (succeeded(200, "status 200 OK"), "thanks".to_owned()));
    let request = server.request.await.unwrap();
    assert!(
        request.starts_with("POST /path?q=1 HTTP/1.1\r\n") && request.ends_with("\r\n\r\nthe body"),
        "{request}"
    );
    for header in [
        "x-own: mine",
        "idempotency-key: key",
        "belfry-run: namespaces/n/schedules/s/runs/r",
        "belfry-nominal-time: 1970-01-01T00:00:00Z",
        "belfry-scheduled-time: 1970-01-01T00:00:01Z",
        "belfry-attempt: 2",
        "belfry-max-attempts: 5",
        "belfry-fencing-token: 44",
        "belfry-window-start: 1969-12-31T23:59:00Z",
        "belfry-merged-count: 3",
        "belfry-deadline: 1970-01-01T00:01:00Z",
        "belfry-trigger: manual",
        "belfry-backfill: true",
    ] {
        assert!(request.contains(&format!("\r\n{header}\r\n")), "{header} is missing in {request}");
    }
    assert!(!request.contains("forged"));
}

#[tokio::test]
async fn uses_the_method_and_the_idempotency_key_of_the_target() {
    let server = Server::answering(answer("204 No Content", "")).await;
    let headers = [("Idempotency-Key".to_owned(), "own".to_owned())].into();
    let target = pb::HttpTarget { url: server.url, method: "PUT".to_owned(), headers, ..Default::default() };
    assert_eq!(outcome(&target).await.0, succeeded(204, "status 204 No Content"));
    let request = server.request.await.unwrap();
    assert!(request.starts_with("PUT ") && request.contains("idempotency-key: own\r\n"), "{request}");
}

#[tokio::test]
async fn the_status_decides() {
    for (status, success_codes, expected) in [
        ("201 Created", vec![], succeeded(201, "status 201 Created")),
        ("500 Internal Server Error", vec![], failed(500, "status 500 Internal Server Error")),
        ("409 Conflict", vec![200, 409], succeeded(409, "status 409 Conflict")),
        ("201 Created", vec![200, 409], failed(201, "status 201 Created")),
    ] {
        let server = Server::answering(answer(status, "words")).await;
        let target = pb::HttpTarget { url: server.url, success_codes, ..Default::default() };
        assert_eq!(outcome(&target).await, (expected, "words".to_owned()));
    }
}

#[tokio::test]
async fn follows_no_redirect() {
    let redirect = "HTTP/1.1 302 Found\r\nlocation: http://elsewhere/\r\ncontent-length: 0\r\n\r\n";
    let server = Server::answering(redirect).await;
    let target = pb::HttpTarget { url: server.url, method: "GET".to_owned(), ..Default::default() };
    let expected =
        failed(302, "status 302 Found, redirects to http://elsewhere/ (redirects are not followed)");
    assert_eq!(outcome(&target).await.0, expected);
}

#[tokio::test]
async fn keeps_the_start_of_a_body_without_end() {
    let body = "0123456789".repeat(100_000);
    // The length promises more than ever comes.
    let server =
        Server::answering(format!("HTTP/1.1 200 OK\r\ncontent-length: 999999999\r\n\r\n{body}")).await;
    let target = pb::HttpTarget { url: server.url, ..Default::default() };
    let (outcome, output) = outcome(&target).await;
    assert_eq!(outcome, succeeded(200, "status 200 OK"));
    assert_eq!(output, body[..64 * 1024]);
}

#[tokio::test]
async fn the_length_of_the_body_may_be_said_again() {
    let server = Server::answering(answer("200 OK", "")).await;
    let headers = [("Content-Length".to_owned(), "2".to_owned())].into();
    let target = pb::HttpTarget { url: server.url, headers, body: "hi".into(), ..Default::default() };
    assert_eq!(outcome(&target).await.0, succeeded(200, "status 200 OK"));
    assert!(server.request.await.unwrap().ends_with("\r\n\r\nhi"));
}

#[tokio::test]
async fn each_request_has_a_connection_of_its_own() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let target =
        pb::HttpTarget { url: format!("http://{}/", listener.local_addr().unwrap()), ..Default::default() };
    let server = tokio::spawn(async move {
        let mut kept = Vec::new();
        for _ in 0..2 {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut request = Vec::new();
            while !is_whole(&request) {
                stream.read_buf(&mut request).await.unwrap();
            }
            // The server would take another request, and does not answer it: as one that is about to close.
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
            kept.push(tokio::spawn(async move {
                let more = stream.read_buf(&mut request).await.unwrap();
                assert_eq!(more, 0, "a second request came on one connection");
            }));
        }
        for stream in kept {
            stream.await.unwrap();
        }
    });
    let handler = HttpHandler::new();
    for _ in 0..2 {
        assert_eq!(handler.run(run(&target)).await, succeeded(200, "status 200 OK"));
    }
    drop(handler);
    server.await.unwrap();
}

#[tokio::test]
async fn says_that_nothing_was_sent_when_nobody_listens() {
    // Bound, so that nobody else gets the port, and not listening.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let host = socket.local_addr().unwrap();
    let target = pb::HttpTarget { url: format!("http://name:secret@{host}/"), ..Default::default() };
    let Outcome::Failed { exit_code: None, message } = outcome(&target).await.0 else { panic!("it failed") };
    assert!(message.starts_with(&format!("could not connect to {host}, nothing was sent: ")), "{message}");
    assert!(message.contains("refused") && !message.contains("secret"), "{message}");
}

#[tokio::test]
async fn says_that_the_request_may_have_been_carried_out_when_the_answer_is_lost() {
    let server = Server::answering("").await;
    let target = pb::HttpTarget { url: server.url, ..Default::default() };
    let Outcome::Failed { exit_code: None, message } = outcome(&target).await.0 else { panic!("it failed") };
    assert!(message.contains("may have been carried out"), "{message}");
}

#[tokio::test]
async fn stops_waiting_when_it_is_cancelled() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let run = run(&pb::HttpTarget { url, ..Default::default() });
    let cancel = run.cancelled.clone();
    let (outcome, ()) = tokio::join!(outcome_of(run), async {
        let _open = listener.accept().await.unwrap();
        cancel.cancel();
        cancel.cancelled().await;
    });
    let expected = "no answer yet, the request may have been carried out";
    assert_eq!(outcome.0, Outcome::cancelled(expected));
}

#[tokio::test]
async fn bad_targets_fail_with_a_clear_message() {
    let url = || "http://127.0.0.1:1/".to_owned();
    let header = |name: &str, value: &str| [(name.to_owned(), value.to_owned())].into();
    for (target, words) in [
        (pb::HttpTarget::default(), "is not an http or https URL"),
        (pb::HttpTarget { url: "ftp://a/".to_owned(), ..Default::default() }, "its scheme is ftp"),
        (
            pb::HttpTarget { url: url(), method: "A B".to_owned(), ..Default::default() },
            "is not an HTTP method",
        ),
        (pb::HttpTarget { url: url(), headers: header("a b", ""), ..Default::default() }, "header \"a b\""),
        (pb::HttpTarget { url: url(), headers: header("a", "\n"), ..Default::default() }, "header \"a\""),
        (
            pb::HttpTarget { url: url(), headers: header("content-length", "1"), ..Default::default() },
            "the header \"content-length\" cannot be set",
        ),
        (
            pb::HttpTarget { url: url(), headers: header("Transfer-Encoding", "gzip"), ..Default::default() },
            "the header \"Transfer-Encoding\" cannot be set",
        ),
        (pb::HttpTarget { url: url(), success_codes: vec![20], ..Default::default() }, "success code 20"),
    ] {
        let (outcome, _) = outcome(&target).await;
        assert!(
            matches!(&outcome, Outcome::FailedForGood { exit_code: None, message } if message.contains(words)),
            "{outcome:?}"
        );
    }
}
