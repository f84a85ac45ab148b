//! Many schedules in one call, and lists as streams.

use belfry_proto::v1::batch_schedules_response::result::Result as Item;
use prost::Message as _;

use super::*;

fn name(id: &str) -> String {
    format!("namespaces/team/schedules/{id}")
}

/// What was said of each item: the name of its schedule, or code and reason.
fn said(response: pb::BatchSchedulesResponse) -> Vec<Result<String, (Code, String)>> {
    let say = |result: pb::batch_schedules_response::Result| match result.result.unwrap() {
        Item::Schedule(schedule) => Ok(schedule.name),
        Item::Deleted(()) => Ok("deleted".to_owned()),
        Item::Error(error) => {
            let (code, message) = (Code::from_i32(error.code), error.message.clone());
            Err(told(&Status::with_details(code, message, error.encode_to_vec().into())))
        }
    };
    response.results.into_iter().map(say).collect()
}

fn refused(code: Code, reason: &str) -> Result<String, (Code, String)> {
    Err((code, reason.to_owned()))
}

async fn create(alone: &Alone, ids: &[&str]) -> pb::BatchSchedulesResponse {
    let requests = ids.iter().map(|id| creation("team", id)).collect();
    let request = pb::BatchCreateSchedulesRequest { requests };
    alone.schedules().batch_create_schedules(request).await.unwrap().into_inner()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batch_1_each_item_is_answered_as_if_it_were_alone() {
    let alone = Alone::start().await;
    alone.create("team", "taken").await;
    let created = said(create(&alone, &["a", "taken", "not a name", "b"]).await);
    let expected = [
        Ok(name("a")),
        refused(Code::AlreadyExists, "SCHEDULE_EXISTS"),
        refused(Code::InvalidArgument, "INVALID_FIELD"),
        Ok(name("b")),
    ];
    assert_eq!(created, expected);

    let update = |id: &str, etag: &str| pb::UpdateScheduleRequest {
        schedule: Some(pb::Schedule {
            name: name(id),
            etag: etag.into(),
            description: "changed".into(),
            ..Default::default()
        }),
        update_mask: Some(prost_types::FieldMask { paths: vec!["description".into()] }),
        ..Default::default()
    };
    let requests = vec![update("a", ""), update("b", "1"), update("missing", "")];
    let request = pb::BatchUpdateSchedulesRequest { requests };
    let updated = alone.schedules().batch_update_schedules(request).await.unwrap().into_inner();
    let expected = [
        Ok(name("a")),
        refused(Code::Aborted, "ETAG_MISMATCH"),
        refused(Code::NotFound, "SCHEDULE_NOT_FOUND"),
    ];
    assert_eq!(said(updated), expected);

    let names = ["a", "missing", "b"].map(name).to_vec();
    let read = alone.schedules().batch_get_schedules(pb::BatchGetSchedulesRequest { names }).await.unwrap();
    let Some(Item::Schedule(first)) = &read.get_ref().results[0].result else { panic!("{read:?}") };
    assert_eq!(first.description, "changed");
    let expected = [Ok(name("a")), refused(Code::NotFound, "SCHEDULE_NOT_FOUND"), Ok(name("b"))];
    assert_eq!(said(read.into_inner()), expected);

    let delete = |id: &str, allow_missing| pb::DeleteScheduleRequest {
        name: name(id),
        allow_missing,
        ..Default::default()
    };
    let requests = vec![delete("a", false), delete("missing", true), delete("also missing", false)];
    let request = pb::BatchDeleteSchedulesRequest { requests };
    let deleted = alone.schedules().batch_delete_schedules(request).await.unwrap().into_inner();
    let gone = || Ok("deleted".to_owned());
    assert_eq!(said(deleted), [gone(), gone(), refused(Code::InvalidArgument, "INVALID_FIELD")]);
    alone.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batch_1_answers_come_in_the_order_of_the_items() {
    let alone = Alone::start().await;
    alone.create("team", "s010").await;
    alone.create("team", "s020").await;
    let id = |number: usize| format!("s{number:03}");
    let requests = (0..400).map(|number| {
        let mut request = creation("team", &id(number));
        request.validate_only = number % 7 == 3;
        let schedule = request.schedule.as_mut().unwrap();
        if number % 11 == 5 {
            schedule.pool = "no pool!".into();
        }
        let timing = schedule.timing.as_mut().unwrap();
        match number {
            30 => timing.calendars = vec![pb::CalendarUse { calendar: "none".into(), mode: 2 }],
            40 => {
                request.request_id = "forty".into();
                let past = prost_types::Timestamp { seconds: 1, nanos: 0 };
                timing.include = vec![pb::Rule { rule: Some(pb::rule::Rule::AtTime(past)) }];
            }
            _ => {}
        }
        request
    });
    let request = pb::BatchCreateSchedulesRequest { requests: requests.collect() };
    let response = alone.schedules().batch_create_schedules(request).await.unwrap().into_inner();
    let names = (0..400).map(|number| match number {
        40 => refused(Code::InvalidArgument, "INVALID_FIELD"),
        _ if number % 11 == 5 => refused(Code::InvalidArgument, "INVALID_FIELD"),
        // The one is only checked, the other one proposed.
        10 | 20 => refused(Code::AlreadyExists, "SCHEDULE_EXISTS"),
        30 => refused(Code::NotFound, "CALENDAR_NOT_FOUND"),
        _ => Ok(name(&id(number))),
    });
    assert_eq!(said(response.clone()), names.collect::<Vec<_>>());
    for (number, result) in response.results.into_iter().enumerate() {
        // What was checked alone is not there.
        if let Some(Item::Schedule(schedule)) = result.result {
            let found = alone.schedules().get_schedule(pb::GetScheduleRequest { name: schedule.name }).await;
            let is_made = number % 7 != 3;
            assert_eq!((found.is_ok(), schedule.etag.is_empty()), (is_made, !is_made), "{number}");
        }
    }
    alone.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn api_2_a_batch_that_is_sent_again_changes_nothing() {
    let alone = Alone::start().await;
    let request = |id: &str| pb::CreateScheduleRequest { request_id: id.into(), ..creation("team", id) };
    let batch = pb::BatchCreateSchedulesRequest { requests: vec![request("a"), request("b")] };
    let uids = |response: pb::BatchSchedulesResponse| -> Vec<_> {
        let uid = |result: pb::batch_schedules_response::Result| match result.result {
            Some(Item::Schedule(schedule)) => schedule.uid,
            other => panic!("{other:?}"),
        };
        response.results.into_iter().map(uid).collect()
    };
    let first = alone.schedules().batch_create_schedules(batch.clone()).await.unwrap().into_inner();
    let again = alone.schedules().batch_create_schedules(batch).await.unwrap().into_inner();
    assert_eq!(uids(first), uids(again));
    alone.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_batch_made_or_changed_has_its_first_next_time_alone() {
    let alone = Alone::start().await;
    let times = |schedule: &pb::Schedule| schedule.status.as_ref().unwrap().next_times.len();
    let of_batch = |response: pb::BatchSchedulesResponse| -> Vec<_> {
        let schedule = |result: pb::batch_schedules_response::Result| match result.result {
            Some(Item::Schedule(schedule)) => times(&schedule),
            other => panic!("{other:?}"),
        };
        response.results.into_iter().map(schedule).collect()
    };
    let request = pb::BatchCreateSchedulesRequest { requests: vec![creation("team", "a")] };
    let created = of_batch(alone.schedules().batch_create_schedules(request).await.unwrap().into_inner());
    let request = pb::GetScheduleRequest { name: name("a") };
    let alone_read = alone.schedules().get_schedule(request).await.unwrap().into_inner();
    let request = pb::BatchGetSchedulesRequest { names: vec![name("a")] };
    let read = of_batch(alone.schedules().batch_get_schedules(request).await.unwrap().into_inner());
    let updated = async |validate_only| {
        let schedule = Some(alone_read.clone());
        let update = pb::UpdateScheduleRequest { schedule, validate_only, ..Default::default() };
        let request = pb::BatchUpdateSchedulesRequest { requests: vec![update] };
        of_batch(alone.schedules().batch_update_schedules(request).await.unwrap().into_inner())
    };
    // What is read and what would become of it are held side by side by those who ask for both.
    assert_eq!((read, updated(true).await, times(&alone_read)), (vec![10], vec![10], 10));
    assert_eq!((created, updated(false).await), (vec![1], vec![1]));
    alone.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn batch_2_a_schedule_may_not_be_named_twice() {
    let alone = Alone::start().await;
    let requests = ["a", "b", "a"].map(|id| creation("team", id)).to_vec();
    let request = pb::BatchCreateSchedulesRequest { requests };
    let refusal = alone.schedules().batch_create_schedules(request).await.unwrap_err();
    assert_eq!((refusal.code(), fields(&refusal)), (Code::InvalidArgument, vec!["requests[2]".to_owned()]));
    let request = pb::GetScheduleRequest { name: name("b") };
    assert_eq!(alone.schedules().get_schedule(request).await.unwrap_err().code(), Code::NotFound);
    alone.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_list_is_streamed_page_by_page_and_can_be_taken_up() {
    let alone = Alone::start().await;
    let ids: Vec<String> = (0..25).map(|number| format!("s{number:02}")).collect();
    create(&alone, &ids.iter().map(String::as_str).collect::<Vec<_>>()).await;
    let request =
        pb::ListSchedulesRequest { parent: "namespaces/team".into(), page_size: 10, ..Default::default() };
    let streamed = async |request| {
        let mut stream = alone.schedules().stream_schedules(request).await.unwrap().into_inner();
        let mut pages = Vec::new();
        while let Some(page) = stream.message().await.unwrap() {
            pages.push(page);
        }
        pages
    };
    let pages = streamed(request.clone()).await;
    assert_eq!(pages.iter().map(|page| page.schedules.len()).collect::<Vec<_>>(), [10, 10, 5]);
    let names = |pages: &[pb::ListSchedulesResponse]| -> Vec<String> {
        pages.iter().flat_map(|page| page.schedules.iter().map(|schedule| schedule.name.clone())).collect()
    };
    assert_eq!(names(&pages), ids.iter().map(|id| name(id)).collect::<Vec<_>>());
    let page_token = pages[0].next_page_token.clone();
    let rest = streamed(pb::ListSchedulesRequest { page_token, ..request.clone() }).await;
    assert_eq!(names(&rest), names(&pages[1..]));

    let wrong = pb::ListSchedulesRequest { page_token: "x".into(), ..request };
    let mut stream = alone.schedules().stream_schedules(wrong).await.unwrap().into_inner();
    assert_eq!(stream.message().await.unwrap_err().code(), Code::InvalidArgument);
    alone.stop().await;
}

/// Lists as streams whose reader takes nothing: what they have to say does not fit the windows of its connection.
struct Unread {
    alone: Alone,
    reader: ScheduleServiceClient<Channel>,
    request: pb::ListSchedulesRequest,
}

impl Unread {
    async fn start() -> Self {
        let alone = Alone::start().await;
        let ids: Vec<String> = (0..200).map(|number| format!("s{number:03}")).collect();
        let requests = ids.iter().map(|id| {
            let mut request = creation("team", id);
            request.schedule.as_mut().unwrap().description = "x".repeat(1024);
            request
        });
        let request = pb::BatchCreateSchedulesRequest { requests: requests.collect() };
        alone.schedules().batch_create_schedules(request).await.unwrap();
        let endpoint = Endpoint::from_shared(format!("http://{}", alone.api)).unwrap();
        let small = 65_535;
        let endpoint = endpoint.initial_stream_window_size(small).initial_connection_window_size(small);
        let reader = ScheduleServiceClient::new(endpoint.connect_lazy());
        let request = pb::ListSchedulesRequest {
            parent: "namespaces/team".into(),
            page_size: 10,
            ..Default::default()
        };
        Self { alone, reader, request }
    }

    async fn open(&self) -> Result<tonic::Streaming<pb::ListSchedulesResponse>, Status> {
        Ok(self.reader.clone().stream_schedules(self.request.clone()).await?.into_inner())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_that_nobody_reads_are_counted_until_they_are_dropped() {
    let unread = Unread::start().await;
    let mut open = Vec::new();
    let refusal = loop {
        match unread.open().await {
            Ok(stream) => open.push(stream),
            Err(refusal) => break refusal,
        }
    };
    assert_eq!(told(&refusal), (Code::ResourceExhausted, "TOO_MANY_LISTS".to_owned()));
    assert_eq!(metadata(&refusal)["limit"], open.len().to_string());
    open.pop();
    // The node hears of it when its connection does.
    while let Err(refusal) = unread.open().await {
        assert_eq!(told(&refusal).1, "TOO_MANY_LISTS");
    }
    unread.alone.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_streamed_list_ends_with_its_node_and_says_so() {
    let unread = Unread::start().await;
    let mut stream = unread.open().await.unwrap();
    assert_eq!(stream.message().await.unwrap().unwrap().schedules.len(), 10);
    let stopped = tokio::spawn(unread.alone.stop());
    let refusal = loop {
        match stream.message().await {
            Ok(Some(_page)) => {}
            Ok(None) => panic!("the list came to its end before its node stopped"),
            Err(refusal) => break refusal,
        }
    };
    assert_eq!(told(&refusal), (Code::Unavailable, "NODE_STOPPING".to_owned()));
    stopped.await.unwrap();
}
