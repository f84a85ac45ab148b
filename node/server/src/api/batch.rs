//! Many schedules in one call, and lists as streams.
//!
//! - BATCH-1 each item is carried out and answered as if it were alone; one that is refused keeps no other from being done. The
//!   call as a whole is refused, and nothing is done, only for what is wrong with the batch itself.
//! - BATCH-2 no two items are about one schedule: they are carried out side by side.
//! - BATCH-3 an answer is never too large to be sent once its items are done: beyond a page's worth, schedules have their names,
//!   uids, etags and generations alone; of what is only read, nothing more is sent. What was made or changed has its first next time
//!   alone, as in lists: ten for each would take as long as making it.

use std::collections::BTreeSet;

use belfry_proto::v1 as pb;
use belfry_proto::v1::batch_schedules_response::{Result as ItemResult, result::Result as Item};
use futures_util::future::join;
use futures_util::{Stream, StreamExt as _, stream};
use prost::Message as _;
use tonic::Status;
use tonic_types::pb as rpc;

use super::encode::NEXT_TIMES_IN_LIST;
use super::errors::ApiError;
use super::pages::PAGE_BYTES_MAX;
use super::violations::Violations;
use super::{Api, Freshness, PROPOSALS_MAX};
use crate::raft::TOGETHER_MAX;

/// Items of one batch.
const ITEMS_MAX: usize = 1000;
/// Items of one batch that are under way at once: calls for one find room between them.
const UNDER_WAY_MAX: usize = 256;
/// Items that are proposed at once: they share what it costs to wait, and the next ones are read meanwhile. Two log entries full.
const PROPOSED_TOGETHER_MAX: usize = 64;
const _: () = assert!(PROPOSED_TOGETHER_MAX <= PROPOSALS_MAX && PROPOSED_TOGETHER_MAX <= TOGETHER_MAX);
/// Lists that are streamed at once: each may keep a page for a reader who does not read.
pub(super) const LISTS_MAX: usize = 256;

impl Api {
    pub(super) async fn batch_get(
        &self,
        request: pb::BatchGetSchedulesRequest,
        freshness: Freshness,
    ) -> Result<pb::BatchSchedulesResponse, ApiError> {
        check("names", request.names.iter().map(String::as_str))?;
        self.barrier(freshness).await?;
        let (mut results, mut bytes) = (Vec::with_capacity(request.names.len()), 0);
        for name in request.names {
            let read = self.get(pb::GetScheduleRequest { name }, Freshness::Stale).await;
            let result = item(read.map(Item::Schedule));
            bytes += result.encoded_len();
            if bytes > PAGE_BYTES_MAX && !results.is_empty() {
                break;
            }
            results.push(result);
        }
        Ok(pb::BatchSchedulesResponse { results })
    }

    pub(super) async fn batch_create(
        &self,
        request: pb::BatchCreateSchedulesRequest,
    ) -> Result<pb::BatchSchedulesResponse, ApiError> {
        let name = |item: &pb::CreateScheduleRequest| match item.schedule_id.as_str() {
            "" => String::new(),
            id => format!("{}/schedules/{id}", item.parent),
        };
        let names: Vec<_> = request.requests.iter().map(name).collect();
        check("requests", names.iter().map(String::as_str))?;
        let mut requests = request.requests.into_iter();
        let parts = std::iter::from_fn(|| {
            let part: Vec<_> = requests.by_ref().take(PROPOSED_TOGETHER_MAX).collect();
            (!part.is_empty()).then(|| self.create_together(part))
        });
        let done: Vec<_> =
            stream::iter(parts).buffered(UNDER_WAY_MAX / PROPOSED_TOGETHER_MAX).collect().await;
        Ok(answer(done.into_iter().flatten().map(|done| done.map(Item::Schedule))))
    }

    /// Proposes the creations at once, and has what is no plain creation go its own way beside them.
    fn create_together(
        &self,
        requests: Vec<pb::CreateScheduleRequest>,
    ) -> impl Future<Output = Vec<Result<pb::Schedule, ApiError>>> + Send {
        // Read before anything is waited for: what is kept meanwhile is small.
        let (mut commands, mut others) = (Vec::with_capacity(requests.len()), Vec::new());
        for (index, request) in requests.into_iter().enumerate() {
            match self.read_creation(request) {
                Ok(creation) if !creation.validate_only => {
                    commands.push((index, self.creation_command(creation)));
                }
                read => others.push((index, read)),
            }
        }
        async move {
            let (places, commands): (Vec<_>, Vec<_>) = commands.into_iter().unzip();
            let (other_places, others): (Vec<_>, Vec<_>) = others.into_iter().unzip();
            // On the heap, as they are seldom.
            let others =
                others.into_iter().map(|read| Box::pin(self.make_or_repeat(read, NEXT_TIMES_IN_LIST)));
            let (proposed, others) = join(self.propose_together(commands), all(others)).await;
            let made = proposed.into_iter().map(|outcome| self.encode_outcome(outcome?, NEXT_TIMES_IN_LIST));
            let mut done: Vec<_> =
                places.into_iter().zip(made).chain(other_places.into_iter().zip(others)).collect();
            done.sort_unstable_by_key(|(index, _)| *index);
            done.into_iter().map(|(_, done)| done).collect()
        }
    }

    pub(super) async fn batch_update(
        &self,
        request: pb::BatchUpdateSchedulesRequest,
    ) -> Result<pb::BatchSchedulesResponse, ApiError> {
        let name = |item: &pb::UpdateScheduleRequest| {
            item.schedule.as_ref().map(|schedule| schedule.name.clone()).unwrap_or_default()
        };
        let names: Vec<_> = request.requests.iter().map(name).collect();
        check("requests", names.iter().map(String::as_str))?;
        let items = request.requests.into_iter().map(|item| Box::pin(self.update(item, NEXT_TIMES_IN_LIST)));
        Ok(answer(all(items).await.into_iter().map(|done| done.map(Item::Schedule))))
    }

    pub(super) async fn batch_delete(
        &self,
        request: pb::BatchDeleteSchedulesRequest,
    ) -> Result<pb::BatchSchedulesResponse, ApiError> {
        check("requests", request.requests.iter().map(|item| item.name.as_str()))?;
        let items = request.requests.into_iter().map(|item| Box::pin(self.delete(item)));
        Ok(answer(all(items).await.into_iter().map(|done| done.map(Item::Deleted))))
    }

    /// The pages of a list from one on, each read when the one before it was taken. It ends with an error when this node stops.
    pub(super) fn pages(
        &self,
        request: pb::ListSchedulesRequest,
        freshness: Freshness,
    ) -> Result<impl Stream<Item = Result<pb::ListSchedulesResponse, Status>> + use<>, ApiError> {
        let place = self.0.lists.clone().try_acquire_owned();
        let place = place.map_err(|_| ApiError::TooManyLists { max: LISTS_MAX })?;
        let api = self.clone();
        // The place is kept until the last page was taken, or the stream dropped.
        Ok(stream::try_unfold((place, Some(request)), move |(place, request)| {
            let api = api.clone();
            async move {
                let Some(request) = request else { return Ok(None) };
                let page = tokio::select! {
                    biased;
                    () = api.0.stop.cancelled() => return Err(ApiError::NodeStopping.into()),
                    page = api.list(request.clone(), freshness) => page?,
                };
                let page_token = page.next_page_token.clone();
                let next =
                    (!page_token.is_empty()).then_some(pb::ListSchedulesRequest { page_token, ..request });
                Ok(Some((page, (place, next))))
            }
        }))
    }
}

/// Carries items out side by side; the answers come in their order.
async fn all<T, F: Future<Output = Result<T, ApiError>>>(
    items: impl Iterator<Item = F>,
) -> Vec<Result<T, ApiError>> {
    stream::iter(items).buffered(UNDER_WAY_MAX).collect().await
}

/// Refuses what is no batch (BATCH-1, BATCH-2). An item without a name is refused as an item.
fn check<'a>(field: &str, names: impl ExactSizeIterator<Item = &'a str>) -> Result<(), ApiError> {
    let mut found = Violations::default();
    found.limit(field, names.len(), ITEMS_MAX, "items");
    if names.len() == 0 {
        found.add(field, "is empty: name at least one schedule");
    }
    let mut seen = BTreeSet::new();
    for (index, name) in names.enumerate() {
        if !name.is_empty() && !seen.insert(name) {
            let why = format!("is about {name}, as another item is: send one after the other");
            found.add(format_args!("{field}[{index}]"), &why);
            break;
        }
    }
    Ok(found.check()?)
}

fn item(done: Result<Item, ApiError>) -> ItemResult {
    let result = done.unwrap_or_else(|error| {
        let status = error.status();
        Item::Error(rpc::Status::decode(status.details()).expect("errors have details, which say it all"))
    });
    ItemResult { result: Some(result) }
}

/// The answers of items that were carried out (BATCH-3).
fn answer(done: impl Iterator<Item = Result<Item, ApiError>>) -> pb::BatchSchedulesResponse {
    let mut bytes = 0;
    let shortened = done.map(|done| {
        let full = item(done);
        if bytes > PAGE_BYTES_MAX {
            return shorten(full);
        }
        bytes += full.encoded_len();
        full
    });
    pb::BatchSchedulesResponse { results: shortened.collect() }
}

fn shorten(full: ItemResult) -> ItemResult {
    match full.result {
        Some(Item::Schedule(pb::Schedule { name, uid, etag, generation, .. })) => {
            let schedule = pb::Schedule { name, uid, etag, generation, ..Default::default() };
            ItemResult { result: Some(Item::Schedule(schedule)) }
        }
        // Of a refusal, what it is about; not every field that was wrong.
        Some(Item::Error(mut error)) => {
            error.details.truncate(1);
            ItemResult { result: Some(Item::Error(error)) }
        }
        Some(Item::Deleted(())) | None => full,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(names: &[&str]) -> Option<String> {
        check("requests", names.iter().copied()).err().map(|error| error.to_string())
    }

    #[test]
    fn batch_2_a_schedule_is_named_once() {
        assert_eq!(refusal(&["a", "b", "", ""]), None);
        assert!(refusal(&[]).unwrap().contains("is empty"));
        assert!(refusal(&["a", "b", "a"]).unwrap().contains("requests[2]"));
        let many: Vec<String> = (0..=ITEMS_MAX).map(|number| number.to_string()).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(refusal(&many[..ITEMS_MAX]), None);
        assert!(refusal(&many).unwrap().contains("1001"), "{:?}", refusal(&many));
    }

    #[test]
    fn batch_3_what_does_not_fit_is_shortened() {
        let schedule = |number: usize| pb::Schedule {
            name: number.to_string(),
            etag: "7".to_owned(),
            description: "x".repeat(PAGE_BYTES_MAX),
            ..Default::default()
        };
        let refused = || Err(ApiError::WrongOutcome);
        let done = vec![Ok(Item::Schedule(schedule(0))), Ok(Item::Schedule(schedule(1))), refused()];
        let results = answer(done.into_iter()).results.into_iter().map(|result| result.result.unwrap());
        let results: Vec<_> = results.collect();
        let [Item::Schedule(first), Item::Schedule(second), Item::Error(error)] = &results[..] else {
            panic!("{results:?}")
        };
        assert_eq!(*first, schedule(0));
        assert_eq!((second.name.as_str(), second.etag.as_str(), second.description.as_str()), ("1", "7", ""));
        assert_ne!(error.code, 0);
    }
}
