//! A leader whose side of each session is played by the test.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use belfry_sdk::pb;
use belfry_sdk::pb::executor_message::Message;
use belfry_sdk::pb::executor_reply::Message as Reply;
use belfry_sdk::pb::executor_service_server::{ExecutorService, ExecutorServiceServer};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Request, Response, Status, Streaming};

pub(crate) struct FakeLeader {
    pub(crate) endpoint: String,
    refusals: Arc<Mutex<VecDeque<Status>>>,
    sessions: mpsc::Receiver<FakeSession>,
    server: JoinHandle<()>,
}

/// The leader's side of one session. Dropping it ends the stream.
pub(crate) struct FakeSession {
    pub(crate) hello: pb::Hello,
    inbound: Streaming<pb::ExecutorMessage>,
    outbound: mpsc::Sender<Result<pb::ExecutorReply, Status>>,
}

impl FakeLeader {
    pub(crate) async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = listener.local_addr().unwrap().to_string();
        let refusals = Arc::new(Mutex::new(VecDeque::new()));
        let (opened, sessions) = mpsc::channel(16);
        let service = ExecutorServiceServer::new(Service { refusals: Arc::clone(&refusals), opened });
        let server = tokio::spawn(async move {
            let incoming = TcpListenerStream::new(listener);
            tonic::transport::Server::builder()
                .add_service(service)
                .serve_with_incoming(incoming)
                .await
                .unwrap();
        });
        Self { endpoint, refusals, sessions, server }
    }

    /// The next session is refused so.
    pub(crate) fn refuse_next(&self, status: Status) {
        self.refusals.lock().unwrap().push_back(status);
    }

    /// The next session, not welcomed yet.
    pub(crate) async fn session(&mut self) -> FakeSession {
        self.sessions.recv().await.unwrap()
    }

    /// The next session, welcomed.
    pub(crate) async fn welcomed(&mut self) -> FakeSession {
        self.welcomed_with_keep_alive(60_000).await
    }

    pub(crate) async fn welcomed_with_keep_alive(&mut self, keep_alive_ms: u32) -> FakeSession {
        let session = self.session().await;
        session.say(Reply::Welcome(pb::Welcome { keep_alive_ms, term: 1, attempt_max_ms: 0 })).await;
        session
    }
}

impl Drop for FakeLeader {
    fn drop(&mut self) {
        self.server.abort();
    }
}

impl FakeSession {
    /// Welcomes an executor whose attempts may take so long in all.
    pub(crate) async fn welcome(&self, attempt_max_ms: u64) {
        self.say(Reply::Welcome(pb::Welcome { keep_alive_ms: 60_000, term: 1, attempt_max_ms })).await;
    }

    pub(crate) async fn say(&self, message: Reply) {
        self.outbound.send(Ok(pb::ExecutorReply { message: Some(message) })).await.unwrap();
    }

    pub(crate) async fn fail(self, status: Status) {
        self.outbound.send(Err(status)).await.unwrap();
    }

    pub(crate) async fn grant(&self, grants: impl IntoIterator<Item = pb::Grant>) {
        self.say(Reply::Grants(pb::Grants { grants: grants.into_iter().collect() })).await;
    }

    pub(crate) async fn answer(&self, run_id: u64, fencing_token: u64) {
        let replies = vec![pb::BeginReply { run_id, fencing_token }];
        self.say(Reply::BeginReplies(pb::BeginReplies { replies })).await;
    }

    pub(crate) async fn cancel(&self, run_id: u64, fencing_token: u64, grace_ms: u64) {
        let reason = "by ann: wrong data".to_owned();
        let cancels = vec![pb::Cancel { run_id, fencing_token, grace_ms, reason }];
        self.say(Reply::Cancels(pb::Cancels { cancels })).await;
    }

    pub(crate) async fn acknowledge(&self, completion: &pb::Completion) {
        let pb::Completion { run_id, fencing_token, .. } = *completion;
        let acks = vec![pb::CompletionAck { run_id, fencing_token, accepted: true }];
        self.say(Reply::CompletionAcks(pb::CompletionAcks { acks })).await;
    }

    /// The next message, whatever it is; none when the executor has ended the stream.
    pub(crate) async fn hear(&mut self) -> Option<Message> {
        self.inbound.message().await.ok().flatten().and_then(|message| message.message)
    }

    /// The next message that is neither credit nor keep-alive.
    pub(crate) async fn hear_work(&mut self) -> Message {
        loop {
            match self.hear().await.expect("the executor goes on talking") {
                Message::Credits(_) | Message::KeepAlive(_) => {}
                message => return message,
            }
        }
    }

    pub(crate) async fn begins(&mut self) -> Vec<pb::Begin> {
        match self.hear_work().await {
            Message::Begins(begins) => begins.begins,
            other => panic!("expected begins, heard {other:?}"),
        }
    }

    /// The next completion, which comes alone.
    pub(crate) async fn completion(&mut self) -> pb::Completion {
        self.completions(1).await.remove(0)
    }

    /// The next completions, in as many messages as they come.
    pub(crate) async fn completions(&mut self, count: usize) -> Vec<pb::Completion> {
        let mut all = Vec::new();
        while all.len() < count {
            match self.hear_work().await {
                Message::Completions(batch) => all.extend(batch.completions),
                other => panic!("expected completions, heard {other:?}"),
            }
        }
        assert_eq!(all.len(), count);
        all
    }

    /// Grants a run and gives it a lease.
    pub(crate) async fn lease(&mut self, grant: pb::Grant, fencing_token: u64) {
        let run_id = grant.run_id;
        let attempt = grant.attempt;
        self.grant([grant]).await;
        assert_eq!(self.begins().await, [pb::Begin { run_id, attempt }]);
        self.answer(run_id, fencing_token).await;
    }
}

struct Service {
    refusals: Arc<Mutex<VecDeque<Status>>>,
    opened: mpsc::Sender<FakeSession>,
}

#[tonic::async_trait]
impl ExecutorService for Service {
    type SessionStream = ReceiverStream<Result<pb::ExecutorReply, Status>>;

    async fn session(
        &self,
        request: Request<Streaming<pb::ExecutorMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        if let Some(status) = self.refusals.lock().unwrap().pop_front() {
            return Err(status);
        }
        let mut inbound = request.into_inner();
        let first = inbound.message().await?.and_then(|message| message.message);
        let Some(Message::Hello(hello)) = first else {
            return Err(Status::invalid_argument("the first message is not a hello"));
        };
        let (outbound, replies) = mpsc::channel(16);
        self.opened.send(FakeSession { hello, inbound, outbound }).await.unwrap();
        Ok(Response::new(ReceiverStream::new(replies)))
    }
}
