//! Schedules: create, read, change, delete.

use belfry_core::ScheduleKey;
use belfry_core::command::{Action, Command};
use belfry_core::definition::{Definition, Target, Timing};

use super::*;
use crate::api::encode;

const NAME: &str = "namespaces/team/schedules/invoices";

fn masked(schedule: pb::Schedule, paths: &[&str]) -> pb::UpdateScheduleRequest {
    pb::UpdateScheduleRequest {
        schedule: Some(pb::Schedule { name: NAME.into(), ..schedule }),
        update_mask: Some(prost_types::FieldMask { paths: paths.iter().map(ToString::to_string).collect() }),
        ..Default::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schedule_is_created_read_and_listed() {
    let alone = Alone::start().await;
    let created = alone.create("team", "invoices").await;
    assert_eq!(created.name, NAME);
    assert_eq!((created.uid.len(), created.generation, created.pool.as_str()), (26, 1, "default"));
    assert_eq!(created.state(), pb::schedule::State::Active);
    assert_eq!(created.timing.as_ref().unwrap().time_zone, "UTC");
    let status = created.status.as_ref().unwrap();
    assert_eq!(status.next_times.len(), 10);
    assert!(status.next_times.windows(2).all(|pair| pair[0].seconds < pair[1].seconds));
    assert!(status.ledger_complete_time.unwrap().seconds >= created.create_time.unwrap().seconds);

    let read = alone.get(NAME).await;
    assert_eq!((read.uid, read.etag), (created.uid, created.etag));
    let request = pb::ListSchedulesRequest { parent: "namespaces/team".into(), ..Default::default() };
    let listed = alone.schedules().list_schedules(request).await.unwrap().into_inner();
    assert_eq!(listed.schedules.len(), 1);
    assert_eq!(listed.schedules[0].status.as_ref().unwrap().next_times.len(), 1);

    let refused = alone.schedules().create_schedule(creation("team", "invoices")).await.unwrap_err();
    assert_eq!(told(&refused), (Code::AlreadyExists, "SCHEDULE_EXISTS".into()));
    let missing = pb::GetScheduleRequest { name: "namespaces/team/schedules/other".into() };
    let refused = alone.schedules().get_schedule(missing).await.unwrap_err();
    assert_eq!(told(&refused), (Code::NotFound, "SCHEDULE_NOT_FOUND".into()));
    alone.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn api_2_the_same_request_gets_the_same_answer() {
    let alone = Alone::start().await;
    let request = pb::CreateScheduleRequest { request_id: "r1".into(), ..creation("team", "invoices") };
    let first = alone.schedules().create_schedule(request.clone()).await.unwrap().into_inner();
    let again = alone.schedules().create_schedule(request.clone()).await.unwrap().into_inner();
    assert_eq!((again.uid, again.etag), (first.uid, first.etag));
    let other = pb::CreateScheduleRequest { schedule_id: "other".into(), ..request };
    let refused = alone.schedules().create_schedule(other).await.unwrap_err();
    assert_eq!(told(&refused), (Code::InvalidArgument, "REQUEST_ID_REUSED".into()));

    let trigger =
        pb::TriggerScheduleRequest { name: NAME.into(), request_id: "r2".into(), ..Default::default() };
    let first = alone.schedules().trigger_schedule(trigger.clone()).await.unwrap().into_inner();
    let again = alone.schedules().trigger_schedule(trigger).await.unwrap().into_inner();
    assert_eq!(first, again);
    alone.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn api_2_a_repeated_request_does_not_come_too_late() {
    let alone = Alone::start().await;
    let soon = std::time::SystemTime::now() + std::time::Duration::from_secs(600);
    let once = pb::Timing {
        include: vec![pb::Rule { rule: Some(pb::rule::Rule::AtTime(soon.into())) }],
        time_zone: String::new(),
        ..Default::default()
    };
    let once = pb::Schedule { timing: Some(once), ..schedule() };
    let request = pb::CreateScheduleRequest {
        schedule: Some(once),
        request_id: "r1".into(),
        ..creation("team", "invoices")
    };
    let create = |request| async { alone.schedules().create_schedule(request).await.map(|a| a.into_inner()) };
    let first = create(request.clone()).await.unwrap();
    alone.clock.step_ms(1_200_000);
    let again = create(request.clone()).await.unwrap();
    assert_eq!(again.uid, first.uid);
    let late = pb::CreateScheduleRequest { request_id: "r2".into(), ..request };
    assert_eq!(fields(&create(late).await.unwrap_err()), ["schedule.timing.include[0].at_time"]);

    let described = pb::Schedule { description: "x".into(), ..Default::default() };
    let described = |id: &str| pb::UpdateScheduleRequest {
        request_id: id.into(),
        ..masked(described.clone(), &["description"])
    };
    let update = |request| async { alone.schedules().update_schedule(request).await.map(|a| a.into_inner()) };
    let first = update(described("r3")).await.unwrap();
    alone.delete(NAME).await;
    let again = update(described("r3")).await.unwrap();
    assert_eq!((again.uid, again.description.as_str()), (first.uid, "x"));
    let refused = update(described("r4")).await.unwrap_err();
    assert_eq!(told(&refused), (Code::NotFound, "SCHEDULE_NOT_FOUND".into()));
    alone.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_update_changes_the_masked_fields_and_nothing_else() {
    let alone = Alone::start().await;
    let created = alone.create("team", "invoices").await;
    let update = |request| async { alone.schedules().update_schedule(request).await.map(|a| a.into_inner()) };

    let described =
        pb::Schedule { description: "monthly".into(), pool: "ignored".into(), ..Default::default() };
    let described = update(masked(described, &["description"])).await.unwrap();
    assert_eq!((described.description.as_str(), described.pool.as_str()), ("monthly", "default"));
    assert_eq!(described.generation, 1, "words make no new generation");
    assert_ne!(described.etag, created.etag);

    let policies = pb::Policies {
        attempt_timeout: Some(prost_types::Duration { seconds: 7, nanos: 0 }),
        lease_duration: Some(prost_types::Duration { seconds: 9, nanos: 0 }),
        ..Default::default()
    };
    let limited = pb::Schedule { policies: Some(policies), ..Default::default() };
    let limited = update(masked(limited, &["policies.attempt_timeout"])).await.unwrap();
    let policies = limited.policies.unwrap();
    assert_eq!(
        (policies.attempt_timeout.unwrap().seconds, policies.lease_duration.unwrap().seconds),
        (7, 30)
    );
    assert_eq!(limited.generation, 2);
    assert_eq!(limited.target, created.target);

    let same = update(masked(alone.get(NAME).await, &[])).await.unwrap();
    assert_eq!((same.etag, same.generation), (limited.etag, limited.generation));
    alone.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_update_is_refused_where_it_cannot_be_meant() {
    let alone = Alone::start().await;
    let update = |request| async { alone.schedules().update_schedule(request).await.map(|a| a.into_inner()) };
    let refused = update(masked(schedule(), &[])).await.unwrap_err();
    assert_eq!(told(&refused), (Code::NotFound, "SCHEDULE_NOT_FOUND".into()));

    let seen_before = pb::Schedule { etag: "1".into(), ..schedule() };
    let request = pb::UpdateScheduleRequest { allow_missing: true, ..masked(seen_before, &[]) };
    let refused = update(request).await.unwrap_err();
    assert_eq!(told(&refused), (Code::NotFound, "SCHEDULE_NOT_FOUND".into()));
    let request = pb::UpdateScheduleRequest { allow_missing: true, ..masked(schedule(), &["labels"]) };
    let made = update(request).await.unwrap();
    assert_eq!((made.generation, made.target), (1, Some(handler("bill"))));

    let words =
        |etag: &str| pb::Schedule { description: "x".into(), etag: etag.into(), ..Default::default() };
    let refused = update(masked(words("1"), &["description"])).await.unwrap_err();
    assert_eq!(told(&refused), (Code::Aborted, "ETAG_MISMATCH".into()));
    assert_eq!(metadata(&refused)["etag"], made.etag);
    update(masked(words(&made.etag), &["description"])).await.unwrap();

    let refused = update(masked(words("no etag"), &["uid"])).await.unwrap_err();
    assert_eq!(fields(&refused), ["update_mask", "schedule.etag"]);
    alone.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_wrong_is_said_at_once() {
    let alone = Alone::start().await;
    let cron = pb::Cron { expression: "61 * * * *".into(), ..Default::default() };
    let timing = pb::Timing {
        include: vec![pb::Rule { rule: Some(pb::rule::Rule::Cron(cron)) }],
        time_zone: "UTC".into(),
        ..Default::default()
    };
    let request = pb::CreateScheduleRequest {
        parent: "namespaces/-".into(),
        schedule_id: "a b".into(),
        schedule: Some(pb::Schedule {
            timing: Some(timing),
            target: Some(handler("command")),
            pool: "a/b".into(),
            pause: Some(pb::Pause::default()),
            ..Default::default()
        }),
        request_id: "x".repeat(65),
        ..Default::default()
    };
    let refused = alone.schedules().create_schedule(request).await.unwrap_err();
    assert_eq!(
        fields(&refused),
        [
            "parent",
            "schedule_id",
            "request_id",
            "schedule.timing.include[0].cron.expression",
            "schedule.target.handler.handler",
            "schedule.pool",
            "schedule.pause.reason",
        ]
    );
    let mut large = creation("team", "large");
    let payload = vec![0; 256 * 1024 + 1].into();
    let target = pb::target::Target::Handler(pb::HandlerTarget { handler: "h".into(), payload });
    large.schedule.as_mut().unwrap().target = Some(pb::Target { target: Some(target) });
    let refused = alone.schedules().create_schedule(large).await.unwrap_err();
    assert_eq!(told(&refused), (Code::InvalidArgument, "PAYLOAD_TOO_LARGE".into()));
    let empty = pb::CreateScheduleRequest { schedule: None, ..creation("team", "x") };
    let refused = alone.schedules().create_schedule(empty).await.unwrap_err();
    assert_eq!(fields(&refused), ["schedule", "schedule.timing", "schedule.target"]);
    alone.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn error_4_requests_full_of_faults_get_a_readable_answer() {
    let alone = Alone::start().await;
    let invalid = (Code::InvalidArgument, "INVALID_FIELD".to_owned());
    let paths: Vec<String> = (0..20_000).map(|n| format!("é{n}")).collect();
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    let refused = alone.schedules().update_schedule(masked(schedule(), &paths)).await.unwrap_err();
    assert_eq!(told(&refused), invalid);
    assert_eq!(refused.message(), "20000 fields are not valid");

    let states = vec![99; 100_000];
    let request = pb::ListRunsRequest { parent: NAME.into(), states, ..Default::default() };
    let refused = alone.runs().list_runs(request).await.unwrap_err();
    assert_eq!(told(&refused), invalid);

    for (bytes, reason) in [(200_000, "INVALID_FIELD"), (1_000_000, "PAYLOAD_TOO_LARGE")] {
        let command = pb::CommandTarget {
            argv: vec!["true".into()],
            environment: [(format!("={}", "x".repeat(bytes)), String::new())].into(),
            ..Default::default()
        };
        let target = pb::Target { target: Some(pb::target::Target::Command(command)) };
        let mut request = creation("team", "invoices");
        request.schedule.as_mut().unwrap().target = Some(target);
        let refused = alone.schedules().create_schedule(request).await.unwrap_err();
        assert_eq!(told(&refused), (Code::InvalidArgument, reason.into()));
    }
    alone.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_schedule_is_paused_and_resumed() {
    let alone = Alone::start().await;
    alone.create("team", "invoices").await;
    let pause = |reason: &str| pb::PauseScheduleRequest {
        name: NAME.into(),
        reason: reason.into(),
        actor: "ann".into(),
        ..Default::default()
    };
    let refused = alone.schedules().pause_schedule(pause(" ")).await.unwrap_err();
    assert_eq!(fields(&refused), ["reason"]);
    let paused = alone.schedules().pause_schedule(pause("audit")).await.unwrap().into_inner();
    assert_eq!(paused.state(), pb::schedule::State::Paused);
    let why = paused.pause.unwrap();
    assert_eq!((why.reason.as_str(), why.actor.as_str()), ("audit", "ann"));
    let resume = pb::ResumeScheduleRequest { name: NAME.into(), etag: "1".into(), ..Default::default() };
    let refused = alone.schedules().resume_schedule(resume.clone()).await.unwrap_err();
    assert_eq!(told(&refused), (Code::Aborted, "ETAG_MISMATCH".into()));
    let resume = pb::ResumeScheduleRequest { etag: paused.etag, ..resume };
    let resumed = alone.schedules().resume_schedule(resume).await.unwrap().into_inner();
    assert_eq!((resumed.state(), resumed.pause), (pb::schedule::State::Active, None));

    let mut asleep = creation("team", "asleep");
    let pause = pb::Pause { reason: "not yet".into(), actor: "bob".into(), ..Default::default() };
    asleep.schedule.as_mut().unwrap().pause = Some(pause);
    let created = alone.schedules().create_schedule(asleep).await.unwrap().into_inner();
    assert_eq!(created.state(), pb::schedule::State::Paused);
    assert_eq!(created.pause.unwrap().pause_time, created.create_time);
    alone.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_validation_says_what_would_be_and_changes_nothing() {
    let alone = Alone::start().await;
    let validate = pb::CreateScheduleRequest { validate_only: true, ..creation("team", "invoices") };
    let preview = alone.schedules().create_schedule(validate.clone()).await.unwrap().into_inner();
    assert_eq!((preview.name.as_str(), preview.uid.as_str(), preview.etag.as_str()), (NAME, "", ""));
    assert_eq!(preview.status.unwrap().next_times.len(), 10);
    let created = alone.create("team", "invoices").await;
    let refused = alone.schedules().create_schedule(validate).await.unwrap_err();
    assert_eq!(told(&refused).1, "SCHEDULE_EXISTS");

    let update = pb::Schedule { description: "x".into(), etag: created.etag.clone(), ..Default::default() };
    let update = pb::UpdateScheduleRequest { validate_only: true, ..masked(update, &["description"]) };
    assert_eq!(alone.schedules().update_schedule(update).await.unwrap().into_inner().description, "x");
    let hour = prost_types::Duration { seconds: 3600, nanos: 0 };
    let hourly = pb::rule::Rule::Interval(pb::Interval { every: Some(hour), phase: None });
    let hourly = pb::Timing { include: vec![pb::Rule { rule: Some(hourly) }], ..Default::default() };
    let retimed = pb::Schedule { timing: Some(hourly), ..Default::default() };
    let retimed = pb::UpdateScheduleRequest { validate_only: true, ..masked(retimed, &["timing"]) };
    let retimed = alone.schedules().update_schedule(retimed).await.unwrap().into_inner();
    let fires = retimed.status.unwrap().next_times;
    assert!(fires.windows(2).all(|pair| pair[1].seconds - pair[0].seconds == 3600), "{fires:?}");
    let pause = pb::PauseScheduleRequest {
        name: NAME.into(),
        reason: "r".into(),
        validate_only: true,
        ..Default::default()
    };
    let paused = alone.schedules().pause_schedule(pause).await.unwrap().into_inner();
    assert_eq!(paused.state(), pb::schedule::State::Paused);
    let trigger = pb::TriggerScheduleRequest { name: NAME.into(), validate_only: true, ..Default::default() };
    let run = alone.schedules().trigger_schedule(trigger).await.unwrap().into_inner();
    assert!(run.name.ends_with("-manual") && run.state() == pb::run::State::Due);
    let delete = |etag: &str| pb::DeleteScheduleRequest {
        name: NAME.into(),
        etag: etag.into(),
        validate_only: true,
        ..Default::default()
    };
    let refused = alone.schedules().delete_schedule(delete("1")).await.unwrap_err();
    assert_eq!(told(&refused).1, "ETAG_MISMATCH");
    alone.schedules().delete_schedule(delete(&created.etag)).await.unwrap();

    let now = alone.get(NAME).await;
    assert_eq!(now.state(), pb::schedule::State::Active);
    assert_eq!((now.etag, now.description), (created.etag, String::new()));
    assert_eq!(now.status.unwrap().due_count, 0);
    alone.stop().await;
}

/// LEDGER-2: a change waits for the rows of the instants before it, without the caller's help.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_waits_for_instants_that_are_just_being_recorded() {
    let alone = Alone::start().await;
    let every = |seconds| {
        let every = Some(prost_types::Duration { seconds, nanos: 0 });
        let rule = pb::rule::Rule::Interval(pb::Interval { every, phase: None });
        pb::Timing {
            include: vec![pb::Rule { rule: Some(rule) }],
            time_zone: String::new(),
            ..Default::default()
        }
    };
    let mut request = creation("team", "invoices");
    request.schedule.as_mut().unwrap().timing = Some(every(3600));
    alone.schedules().create_schedule(request).await.unwrap();
    for changed in 0..3 {
        // Three instants have come at once, and the ticker, asleep, does not know.
        alone.clock.step_ms(3 * 3_600_000);
        let timing = pb::Schedule { timing: Some(every(3600 + changed % 2)), ..Default::default() };
        alone.schedules().update_schedule(masked(timing, &["timing"])).await.unwrap();
    }
    alone.clock.step_ms(2 * 3_600_000);
    alone.delete(NAME).await;
    let request = pb::ListRunsRequest { parent: NAME.into(), ..Default::default() };
    let rows = alone.runs().list_runs(request).await.unwrap().into_inner().runs;
    assert!(rows.len() >= 9, "{} rows", rows.len());
    alone.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lists_go_page_by_page() {
    let alone = Alone::start().await;
    for (namespace, id) in [("a", "3"), ("b", "1"), ("a", "1"), ("a", "2"), ("ab", "1")] {
        alone.create(namespace, id).await;
    }
    let list = |parent: &str, page_token: String| {
        let request = pb::ListSchedulesRequest { parent: parent.into(), page_size: 2, page_token };
        let mut schedules = alone.schedules();
        async move { schedules.list_schedules(request).await.map(|answer| answer.into_inner()) }
    };
    let mut pages = Vec::new();
    let mut token = String::new();
    loop {
        let page = list("namespaces/-", token).await.unwrap();
        pages.push(page.schedules.iter().map(|schedule| schedule.name.clone()).collect::<Vec<_>>());
        token = page.next_page_token;
        if token.is_empty() {
            break;
        }
    }
    let name = |namespace: &str, id: &str| format!("namespaces/{namespace}/schedules/{id}");
    assert_eq!(
        pages,
        [vec![name("a", "1"), name("a", "2")], vec![name("a", "3"), name("ab", "1")], vec![name("b", "1")]]
    );
    let first = list("namespaces/a", String::new()).await.unwrap();
    let second = list("namespaces/a", first.next_page_token.clone()).await.unwrap();
    assert_eq!((second.schedules.len(), second.next_page_token.as_str()), (1, ""));
    // A token of another list, and no token at all.
    for token in [first.next_page_token.clone(), "x".into()] {
        let refused = list("namespaces/b", token).await.unwrap_err();
        assert_eq!(told(&refused), (Code::InvalidArgument, "INVALID_PAGE_TOKEN".into()));
    }
    alone.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_is_limited_by_its_bytes_too() {
    let alone = Alone::start().await;
    for id in 0..12 {
        let mut request = creation("a", &id.to_string());
        let payload = vec![1; 250_000].into();
        let target = pb::target::Target::Handler(pb::HandlerTarget { handler: "h".into(), payload });
        request.schedule.as_mut().unwrap().target = Some(pb::Target { target: Some(target) });
        alone.schedules().create_schedule(request).await.unwrap();
    }
    let mut sizes = Vec::new();
    let mut request = pb::ListSchedulesRequest { parent: "namespaces/a".into(), ..Default::default() };
    loop {
        // A client with the default limit of 4 MiB.
        let page = alone.schedules().list_schedules(request.clone()).await.unwrap().into_inner();
        sizes.push(page.schedules.len());
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    assert_eq!(sizes, [8, 4]);
    alone.stop().await;
}

/// LEDGER-1: an instant that passes while it is being accepted is refused or gets its row, never neither.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_accepted_instant_has_its_row() {
    let alone = Alone::start().await;
    for number in 0..60_u64 {
        let at = std::time::SystemTime::now() + std::time::Duration::from_micros(300 + number % 6 * 300);
        let rule = pb::rule::Rule::AtTime(at.into());
        let once = pb::Timing {
            include: vec![pb::Rule { rule: Some(rule) }],
            time_zone: String::new(),
            ..Default::default()
        };
        let request = pb::CreateScheduleRequest {
            schedule: Some(pb::Schedule { timing: Some(once), ..schedule() }),
            ..creation("team", &format!("once-{number}"))
        };
        let Ok(created) = alone.schedules().create_schedule(request).await else { continue };
        let parent = created.into_inner().name;
        let rows = || async {
            let request = pb::ListRunsRequest { parent: parent.clone(), ..Default::default() };
            alone.runs().list_runs(request).await.unwrap().into_inner().runs
        };
        let mut applied = alone.node.replica().applied();
        while rows().await.is_empty() {
            let passed = tokio::time::timeout(std::time::Duration::from_secs(20), applied.changed()).await;
            assert!(passed.is_ok(), "{parent} was accepted and has no row");
        }
    }
    alone.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_update_that_creates_takes_the_pause_that_is_given() {
    let alone = Alone::start().await;
    let pause = pb::Pause { reason: "not yet".into(), actor: "ann".into(), ..Default::default() };
    let given = pb::Schedule { name: NAME.into(), pause: Some(pause), ..schedule() };
    let request = |given| pb::UpdateScheduleRequest { allow_missing: true, ..masked(given, &[]) };
    let without_reason = pb::Schedule { pause: Some(pb::Pause::default()), ..given.clone() };
    let refused = alone.schedules().update_schedule(request(without_reason)).await.unwrap_err();
    assert_eq!(fields(&refused), ["schedule.pause.reason"]);
    let made = alone.schedules().update_schedule(request(given)).await.unwrap().into_inner();
    assert_eq!(made.state(), pb::schedule::State::Paused);
    assert_eq!(made.pause.unwrap().reason, "not yet");
    alone.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_edit_of_something_else_keeps_a_single_instant_that_has_passed() {
    let alone = Alone::start().await;
    let at = UnixMillis(alone.clock.now().0 + 3_600_000);
    let rule = pb::rule::Rule::AtTime(encode::timestamp(at));
    let timing = pb::Timing { include: vec![pb::Rule { rule: Some(rule) }], ..Default::default() };
    let request = pb::CreateScheduleRequest {
        schedule: Some(pb::Schedule { timing: Some(timing), ..schedule() }),
        ..creation("team", "invoices")
    };
    alone.schedules().create_schedule(request).await.unwrap();
    alone.clock.step_ms(7_200_000);
    alone.until(|state| state.run_count() == 1).await;
    let changed = pb::Schedule { name: NAME.into(), max_runs: 7, ..Default::default() };
    let changed =
        alone.schedules().update_schedule(masked(changed, &["max_runs"])).await.unwrap().into_inner();
    assert_eq!(changed.max_runs, 7);
    alone.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_timing_that_this_build_cannot_evaluate_can_be_replaced_when_it_is_due() {
    let alone = Alone::start().await;
    let now = alone.clock.now();
    let target = Target { handler: "bill".into(), payload: Default::default() };
    let action = Action::CreateSchedule {
        key: ScheduleKey::new("team", "invoices"),
        uid: "u".into(),
        // As the rules of a newer release may look here.
        definition: Arc::new(Definition::new(Timing::of(Vec::new(), "UTC"), target)),
        next_fire_at: Some(UnixMillis(now.0 + 1000)),
        calendars: Default::default(),
        pause: None,
    };
    let command = Command { now, request: None, action };
    alone.node.replica().propose(&command).await.unwrap().1.outcome.unwrap();
    alone.clock.step_ms(2000);
    let edit = pb::Schedule { name: NAME.into(), timing: Some(yearly()), ..Default::default() };
    let edited = alone.schedules().update_schedule(masked(edit, &["timing"])).await.unwrap().into_inner();
    assert_eq!(edited.generation, 2);
    let rows = alone
        .node
        .replica()
        .read(|state| state.runs_from(Default::default()).map(|run| run.nominal_at).collect::<Vec<_>>());
    assert_eq!(rows, [UnixMillis(now.0 + 1000)], "the instant that had come has its row");
    alone.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trigger_on_trial_counts_the_triggers_that_wait_and_nothing_else() {
    let alone = Alone::start().await;
    let every = prost_types::Duration { seconds: 1, nanos: 0 };
    let rule = pb::rule::Rule::Interval(pb::Interval { every: Some(every), ..Default::default() });
    let policies = pb::Policies {
        overlap_policy: pb::OverlapPolicy::BufferAll.into(),
        overlap_limit: 200,
        misfire_policy: pb::MisfirePolicy::Skip.into(),
        misfire_window: Some(prost_types::Duration { seconds: 3600, nanos: 0 }),
        ..Default::default()
    };
    let timing = pb::Timing { include: vec![pb::Rule { rule: Some(rule) }], ..Default::default() };
    let request = pb::CreateScheduleRequest {
        schedule: Some(pb::Schedule { timing: Some(timing), policies: Some(policies), ..schedule() }),
        ..creation("team", "invoices")
    };
    alone.schedules().create_schedule(request).await.unwrap();
    alone.clock.step_ms(150_000);
    alone.until(|state| state.run_count() > 140).await;
    let dry = pb::TriggerScheduleRequest { name: NAME.into(), validate_only: true, ..Default::default() };
    alone.schedules().trigger_schedule(dry).await.unwrap();
    alone.stop().await;
}
