//! Many schedules in one call, each with its own answer; and all schedules of a namespace as a stream.
//!
//! - SDK-6: a batch that changes something is sent again like a call for one, also when only some of its items were UNAVAILABLE: each
//!   item keeps its request id, so that none is done twice.
//! - SDK-7: a list that breaks is taken up behind the last page that arrived: no schedule is left out that was there all the time, and none
//!   comes twice.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use belfry_proto::v1::batch_schedules_response::result::Result as Item;
use futures_util::{Stream, StreamExt as _, stream};
use prost::Message as _;
use tokio::time::{Instant, sleep, timeout};
use tonic::{Code, Response, Status, Streaming};
use tonic_types::pb as rpc;

use super::call::Repeat;
use super::{ANSWER_BYTES_MAX, Client, Mutation};
use crate::backoff::Backoff;
use crate::error::ClientError;
use crate::pb;
use crate::pb::schedule_service_client::ScheduleServiceClient;
use crate::random;

/// First and longest wait before a list that broke is taken up.
const BACKOFF_FIRST: Duration = Duration::from_millis(50);
const BACKOFF_CAP: Duration = Duration::from_secs(1);

/// What became of an item.
pub type ItemResult<T> = Result<T, ClientError>;

/// The schedules of a list, page by page, in order of name. It ends after its first error.
pub struct SchedulePages(Pin<Box<dyn Stream<Item = Result<pb::ListSchedulesResponse, ClientError>> + Send>>);

impl Stream for SchedulePages {
    type Item = Result<pb::ListSchedulesResponse, ClientError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.as_mut().poll_next(context)
    }
}

impl fmt::Debug for SchedulePages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SchedulePages")
    }
}

macro_rules! batches {
    ($($(#[$doc:meta])* $name:ident($item:ident, $request:ident) -> $answer:ty, $read:ident;)+) => {
        impl Client {$(
            $(#[$doc])*
            pub async fn $name(&self, requests: Vec<pb::$item>) -> Result<Vec<ItemResult<$answer>>, ClientError> {
                let (requests, repeat) = repeatable(requests);
                let count = requests.len();
                let send = |connection, request| async move {
                    let mut client = ScheduleServiceClient::new(connection);
                    client = client.max_decoding_message_size(ANSWER_BYTES_MAX);
                    client.$name(request).await.and_then(settled)
                };
                let response = self.call(stringify!($name), pb::$request { requests }, repeat, send).await?;
                let results: Vec<_> = response.results.into_iter().map(|it| $read(it.result)).collect();
                complete(results, count)
            }
        )+}
    };
}

batches! {
    /// Creates schedules, at most 1000, each as [`Client::create_schedule`] would; one answer for each, in order, with the first of its
    /// next times.
    ///
    /// The call fails as a whole when it is too large, names a schedule twice, or until its time is up no node could answer for
    /// all items: then send it again, with the same request ids if it is [`ClientError::OutcomeUnknown`].
    ///
    /// ```no_run
    /// # async fn example(client: belfry_sdk::Client, requests: Vec<belfry_sdk::pb::CreateScheduleRequest>)
    /// # -> Result<(), belfry_sdk::ClientError> {
    /// for (number, answer) in client.batch_create_schedules(requests).await?.into_iter().enumerate() {
    ///     match answer {
    ///         Ok(schedule) => println!("created {}", schedule.name),
    ///         Err(error) => eprintln!("item {number}: {error}"),
    ///     }
    /// }
    /// # Ok(())
    /// # }
    /// ```
    batch_create_schedules(CreateScheduleRequest, BatchCreateSchedulesRequest) -> pb::Schedule, schedule;
    /// Changes schedules, at most 1000, each as [`Client::update_schedule`] would; one answer for each, in order, with the first of its
    /// next times.
    batch_update_schedules(UpdateScheduleRequest, BatchUpdateSchedulesRequest) -> pb::Schedule, schedule;
    /// Deletes schedules, at most 1000, each as [`Client::delete_schedule`] would; one answer for each, in order.
    batch_delete_schedules(DeleteScheduleRequest, BatchDeleteSchedulesRequest) -> (), deleted;
}

impl Client {
    /// Reads schedules, at most 1000, each as [`Client::get_schedule`] would; one answer for each, in order.
    pub async fn batch_get_schedules(
        &self,
        names: Vec<String>,
    ) -> Result<Vec<ItemResult<pb::Schedule>>, ClientError> {
        let mut results = Vec::with_capacity(names.len());
        // A node answers as many as fit, one at least.
        while results.len() < names.len() {
            let request = pb::BatchGetSchedulesRequest { names: names[results.len()..].to_vec() };
            let send = |connection, request| async move {
                ScheduleServiceClient::new(connection)
                    .max_decoding_message_size(ANSWER_BYTES_MAX)
                    .batch_get_schedules(request)
                    .await
            };
            let response = self.call("batch_get_schedules", request, Repeat::Always, send).await?;
            if response.results.is_empty() {
                return Err(malformed("no answer for any of them"));
            }
            results.extend(response.results.into_iter().map(|it| schedule(it.result)));
        }
        Ok(results)
    }

    /// All schedules of a list, from the page of its token on. Pages are read as they are taken, and a connection that breaks is
    /// made again, here or elsewhere (SDK-7), for as long as a call may take.
    #[must_use]
    pub fn stream_schedules(&self, request: pb::ListSchedulesRequest) -> SchedulePages {
        let listing = Listing {
            client: self.clone(),
            page_token: Some(request.page_token.clone()),
            request,
            open: None,
            backoff: Backoff::new(BACKOFF_FIRST, BACKOFF_CAP),
        };
        SchedulePages(Box::pin(stream::unfold(Some(listing), |listing| async {
            let mut listing = listing?;
            match listing.next().await {
                Ok(None) => None,
                Ok(Some(page)) => Some((Ok(page), Some(listing))),
                Err(error) => Some((Err(error), None)),
            }
        })))
    }
}

/// A list under way.
struct Listing {
    client: Client,
    request: pb::ListSchedulesRequest,
    /// Of the next page; none behind the last one.
    page_token: Option<String>,
    open: Option<Streaming<pb::ListSchedulesResponse>>,
    backoff: Backoff,
}

impl Listing {
    async fn next(&mut self) -> Result<Option<pb::ListSchedulesResponse>, ClientError> {
        let began = Instant::now();
        while let Some(page_token) = self.page_token.clone() {
            let pages = match &mut self.open {
                Some(pages) => pages,
                None => {
                    let request = pb::ListSchedulesRequest { page_token, ..self.request.clone() };
                    let send = |connection, request| async move {
                        ScheduleServiceClient::new(connection)
                            .max_decoding_message_size(ANSWER_BYTES_MAX)
                            .stream_schedules(request)
                            .await
                    };
                    let opened = self.client.call("stream_schedules", request, Repeat::Always, send).await?;
                    self.open.insert(opened)
                }
            };
            let options = &self.client.shared.options;
            let broken = match timeout(options.try_timeout, pages.next()).await {
                Ok(Some(Ok(page))) => {
                    self.page_token = Some(page.next_page_token.clone()).filter(|token| !token.is_empty());
                    self.backoff.reset();
                    return Ok(Some(page));
                }
                Ok(Some(Err(status))) => status,
                Ok(None) => Status::unavailable("the list broke off"),
                Err(_) => Status::unavailable("no page arrived in time"),
            };
            if !is_broken(&broken) || began.elapsed() > options.timeout {
                return Err(ClientError::refused(broken));
            }
            // What comes next is asked for anew.
            self.open = None;
            sleep(self.backoff.delay()).await;
        }
        Ok(None)
    }
}

/// The answer to a batch, unless one of its items has to be asked for again: it is so with all of them.
fn settled(
    response: Response<pb::BatchSchedulesResponse>,
) -> Result<Response<pb::BatchSchedulesResponse>, Status> {
    let unavailable = response.get_ref().results.iter().find_map(|result| match &result.result {
        Some(Item::Error(status)) if Code::from_i32(status.code) == Code::Unavailable => Some(status),
        _ => None,
    });
    unavailable.map(status_of).map_or(Ok(response), Err)
}

fn status_of(item: &rpc::Status) -> Status {
    Status::with_details(Code::from_i32(item.code), item.message.clone(), item.encode_to_vec().into())
}

/// Whether the stream ended, and not the list.
fn is_broken(status: &Status) -> bool {
    matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Cancelled | Code::Internal)
}

/// Gives each item an id unless the caller chose one (SDK-6).
fn repeatable<T: Mutation>(mut requests: Vec<T>) -> (Vec<T>, Repeat) {
    for request in requests.iter_mut().filter(|request| !request.validate_only()) {
        if request.request_id().is_empty() {
            *request.request_id() = random::ulid().to_string();
        }
    }
    let changing = requests.iter_mut().find(|request| !request.validate_only());
    let repeat = changing
        .map_or(Repeat::Always, |request| Repeat::Deduplicated { request_id: request.request_id().clone() });
    (requests, repeat)
}

fn schedule(item: Option<Item>) -> ItemResult<pb::Schedule> {
    match item {
        Some(Item::Schedule(schedule)) => Ok(schedule),
        other => Err(refusal(other)),
    }
}

fn deleted(item: Option<Item>) -> ItemResult<()> {
    match item {
        Some(Item::Deleted(())) => Ok(()),
        other => Err(refusal(other)),
    }
}

fn refusal(item: Option<Item>) -> ClientError {
    match item {
        Some(Item::Error(status)) => ClientError::refused(status_of(&status)),
        _ => malformed("another answer than the item asked for"),
    }
}

fn complete<T>(results: Vec<ItemResult<T>>, count: usize) -> Result<Vec<ItemResult<T>>, ClientError> {
    if results.len() == count { Ok(results) } else { Err(malformed("not one answer for each item")) }
}

fn malformed(what: &str) -> ClientError {
    ClientError::refused(Status::internal(format!("the node gave {what}")))
}
