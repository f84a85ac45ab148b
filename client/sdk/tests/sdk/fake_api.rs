//! A node whose answers are written down beforehand.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use belfry_sdk::pb;
use belfry_sdk::pb::cluster_service_server::{ClusterService, ClusterServiceServer};
use belfry_sdk::pb::schedule_service_server::{ScheduleService, ScheduleServiceServer};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_stream::Stream;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::{Request, Response, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

/// What a node does with a call.
#[derive(Clone, Debug)]
pub(crate) enum Play {
    Answer,
    Refuse(Status),
    /// Takes the call and never answers.
    Hang,
}

/// A status with an ErrorInfo.
pub(crate) fn status(code: tonic::Code, reason: &str, metadata: &[(&str, &str)]) -> Status {
    let metadata: std::collections::HashMap<String, String> =
        metadata.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    Status::with_error_details(
        code,
        reason.to_lowercase(),
        ErrorDetails::with_error_info(reason, "belfry", metadata),
    )
}

pub(crate) struct FakeNode {
    pub(crate) endpoint: String,
    book: Arc<Mutex<Book>>,
    server: JoinHandle<()>,
}

#[derive(Default)]
struct Book {
    plays: VecDeque<Play>,
    /// What is done when no play is left.
    ever_after: Option<Play>,
    calls: Vec<String>,
}

impl FakeNode {
    /// A node that plays these, one per call, and then the last one for ever; without any it answers.
    pub(crate) async fn start(plays: impl IntoIterator<Item = Play>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let endpoint = listener.local_addr().unwrap().to_string();
        let plays: VecDeque<Play> = plays.into_iter().collect();
        let book = Arc::new(Mutex::new(Book { ever_after: plays.back().cloned(), plays, calls: Vec::new() }));
        let (schedules, cluster) = (Node(Arc::clone(&book)), Node(Arc::clone(&book)));
        let server = tokio::spawn(async move {
            tonic::transport::Server::builder()
                .add_service(ScheduleServiceServer::new(schedules))
                .add_service(ClusterServiceServer::new(cluster))
                .serve_with_incoming(TcpListenerStream::new(listener))
                .await
                .unwrap();
        });
        Self { endpoint, book, server }
    }

    /// The calls that arrived: name and request id.
    pub(crate) fn calls(&self) -> Vec<String> {
        self.book.lock().unwrap().calls.clone()
    }
}

impl Drop for FakeNode {
    fn drop(&mut self) {
        self.server.abort();
    }
}

struct Node(Arc<Mutex<Book>>);

impl Node {
    async fn play<T>(&self, call: String, answer: T) -> Result<Response<T>, Status> {
        let play = {
            let mut book = self.0.lock().unwrap();
            book.calls.push(call);
            book.plays.pop_front().or_else(|| book.ever_after.clone()).unwrap_or(Play::Answer)
        };
        match play {
            Play::Answer => Ok(Response::new(answer)),
            Play::Refuse(status) => Err(status),
            Play::Hang => std::future::pending().await,
        }
    }
}

type Answer<T> = Result<Response<T>, Status>;

fn unused<T>() -> Answer<T> {
    Err(Status::unimplemented("no test calls this"))
}

#[tonic::async_trait]
impl ScheduleService for Node {
    async fn get_schedule(&self, request: Request<pb::GetScheduleRequest>) -> Answer<pb::Schedule> {
        let name = request.into_inner().name;
        self.play("get".to_owned(), pb::Schedule { name, ..Default::default() }).await
    }

    async fn pause_schedule(&self, request: Request<pb::PauseScheduleRequest>) -> Answer<pb::Schedule> {
        let pb::PauseScheduleRequest { name, request_id, .. } = request.into_inner();
        self.play(format!("pause {request_id}"), pb::Schedule { name, ..Default::default() }).await
    }

    async fn create_schedule(&self, _: Request<pb::CreateScheduleRequest>) -> Answer<pb::Schedule> {
        unused()
    }

    async fn list_schedules(
        &self,
        _: Request<pb::ListSchedulesRequest>,
    ) -> Answer<pb::ListSchedulesResponse> {
        unused()
    }

    async fn update_schedule(&self, _: Request<pb::UpdateScheduleRequest>) -> Answer<pb::Schedule> {
        unused()
    }

    async fn delete_schedule(&self, _: Request<pb::DeleteScheduleRequest>) -> Answer<()> {
        unused()
    }

    async fn resume_schedule(&self, _: Request<pb::ResumeScheduleRequest>) -> Answer<pb::Schedule> {
        unused()
    }

    async fn trigger_schedule(&self, _: Request<pb::TriggerScheduleRequest>) -> Answer<pb::Run> {
        unused()
    }

    async fn batch_get_schedules(
        &self,
        _: Request<pb::BatchGetSchedulesRequest>,
    ) -> Answer<pb::BatchSchedulesResponse> {
        unused()
    }

    /// The first item is taken, the others are refused; those of the first try named "leaderless" for now.
    async fn batch_create_schedules(
        &self,
        request: Request<pb::BatchCreateSchedulesRequest>,
    ) -> Answer<pb::BatchSchedulesResponse> {
        let items = request.into_inner().requests;
        let ids: Vec<_> = items.iter().map(|item| item.request_id.as_str()).collect();
        let is_first = self.0.lock().unwrap().calls.is_empty();
        let result = |(index, item): (usize, &pb::CreateScheduleRequest)| {
            if is_first && item.schedule_id == "leaderless" {
                return item_refused(tonic::Code::Unavailable, "NO_LEADER");
            }
            item_result(index == 0)
        };
        let results = items.iter().enumerate().map(result).collect();
        self.play(format!("batch_create {}", ids.join(" ")), pb::BatchSchedulesResponse { results }).await
    }

    async fn batch_update_schedules(
        &self,
        _: Request<pb::BatchUpdateSchedulesRequest>,
    ) -> Answer<pb::BatchSchedulesResponse> {
        unused()
    }

    async fn batch_delete_schedules(
        &self,
        _: Request<pb::BatchDeleteSchedulesRequest>,
    ) -> Answer<pb::BatchSchedulesResponse> {
        unused()
    }

    type StreamSchedulesStream =
        Pin<Box<dyn Stream<Item = Result<pb::ListSchedulesResponse, Status>> + Send>>;

    /// Three pages, and after each the stream breaks off.
    async fn stream_schedules(
        &self,
        request: Request<pb::ListSchedulesRequest>,
    ) -> Answer<Self::StreamSchedulesStream> {
        let token = request.into_inner().page_token;
        let page: usize = token.parse().unwrap_or_default();
        let name = format!("page {page}");
        let next_page_token = if page < 2 { (page + 1).to_string() } else { String::new() };
        let schedules = vec![pb::Schedule { name, ..Default::default() }];
        let response = pb::ListSchedulesResponse { schedules, next_page_token, ..Default::default() };
        let end = status(tonic::Code::Unavailable, "NODE_STOPPING", &[]);
        let stream: Self::StreamSchedulesStream = Box::pin(tokio_stream::iter([Ok(response), Err(end)]));
        self.play(format!("stream {token}"), stream).await
    }

    type WatchSchedulesStream =
        Pin<Box<dyn Stream<Item = Result<pb::WatchSchedulesResponse, Status>> + Send>>;

    /// One response, two revisions behind where the watch began; then the stream breaks off.
    async fn watch_schedules(
        &self,
        request: Request<pb::WatchSchedulesRequest>,
    ) -> Answer<Self::WatchSchedulesStream> {
        let start = request.into_inner().start_revision;
        let response = pb::WatchSchedulesResponse { revision: start + 2, ..Default::default() };
        let end = status(tonic::Code::Unavailable, "NODE_STOPPING", &[]);
        let stream: Self::WatchSchedulesStream = Box::pin(tokio_stream::iter([Ok(response), Err(end)]));
        self.play(format!("watch {start}"), stream).await
    }
}

fn item_result(is_taken: bool) -> pb::batch_schedules_response::Result {
    use pb::batch_schedules_response::result::Result as Item;
    let result = if is_taken {
        Item::Schedule(pb::Schedule { name: "taken".to_owned(), ..Default::default() })
    } else {
        return item_refused(tonic::Code::AlreadyExists, "SCHEDULE_EXISTS");
    };
    pb::batch_schedules_response::Result { result: Some(result) }
}

fn item_refused(code: tonic::Code, reason: &str) -> pb::batch_schedules_response::Result {
    use pb::batch_schedules_response::result::Result as Item;
    let refused = status(code, reason, &[]);
    let error = prost::Message::decode(refused.details()).unwrap();
    pb::batch_schedules_response::Result { result: Some(Item::Error(error)) }
}

#[tonic::async_trait]
impl ClusterService for Node {
    async fn get_cluster_status(&self, _: Request<pb::GetClusterStatusRequest>) -> Answer<pb::ClusterStatus> {
        unused()
    }

    async fn transfer_leadership(
        &self,
        _: Request<pb::TransferLeadershipRequest>,
    ) -> Answer<pb::TransferLeadershipResponse> {
        self.play("transfer".to_owned(), pb::TransferLeadershipResponse { leader_id: 2 }).await
    }

    async fn drain_executor(
        &self,
        _request: Request<pb::DrainExecutorRequest>,
    ) -> Answer<pb::DrainExecutorResponse> {
        Ok(Response::new(pb::DrainExecutorResponse {}))
    }

    type SaveSnapshotStream = Pin<Box<dyn Stream<Item = Result<pb::SnapshotPart, Status>> + Send>>;

    async fn save_snapshot(&self, _: Request<pb::SaveSnapshotRequest>) -> Answer<Self::SaveSnapshotStream> {
        unused()
    }

    async fn list_members(&self, _: Request<pb::ListMembersRequest>) -> Answer<pb::ListMembersResponse> {
        unused()
    }

    async fn add_member(&self, _: Request<pb::AddMemberRequest>) -> Answer<pb::AddMemberResponse> {
        unused()
    }

    async fn remove_member(&self, _: Request<pb::RemoveMemberRequest>) -> Answer<pb::RemoveMemberResponse> {
        unused()
    }
}
