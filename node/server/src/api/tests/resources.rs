//! Calendars, pools, namespaces and backfills; and verbs of runs and schedules that came with them.

use belfry_proto::v1::backfill_service_client::BackfillServiceClient;
use belfry_proto::v1::calendar_service_client::CalendarServiceClient;
use belfry_proto::v1::namespace_service_client::NamespaceServiceClient;
use belfry_proto::v1::pool_service_client::PoolServiceClient;

use super::*;

const NAME: &str = "namespaces/team/schedules/invoices";
const HOUR_MS: i64 = 3_600_000;

impl Alone {
    fn calendars(&self) -> CalendarServiceClient<Channel> {
        CalendarServiceClient::new(self.channel.clone())
    }

    fn pools(&self) -> PoolServiceClient<Channel> {
        PoolServiceClient::new(self.channel.clone())
    }

    fn namespaces(&self) -> NamespaceServiceClient<Channel> {
        NamespaceServiceClient::new(self.channel.clone())
    }

    fn backfills(&self) -> BackfillServiceClient<Channel> {
        BackfillServiceClient::new(self.channel.clone())
    }

    /// Creates a schedule that fires every hour.
    async fn create_hourly(&self, change: impl FnOnce(&mut pb::Schedule)) -> pb::Schedule {
        let mut request = creation("team", "invoices");
        let schedule = request.schedule.as_mut().unwrap();
        schedule.timing = Some(hourly());
        change(schedule);
        self.schedules().create_schedule(request).await.unwrap().into_inner()
    }

    /// The rows of the schedule, oldest first, once there are so many.
    async fn rows(&self, count: usize) -> Vec<pb::Run> {
        let mut applied = self.node.replica().applied();
        loop {
            applied.mark_unchanged();
            let request = pb::ListRunsRequest { parent: NAME.into(), ..Default::default() };
            let mut rows = self.runs().list_runs(request).await.unwrap().into_inner().runs;
            if rows.len() >= count {
                rows.reverse();
                return rows;
            }
            applied.changed().await.unwrap();
        }
    }
}

fn hourly() -> pb::Timing {
    let every = Some(prost_types::Duration { seconds: 3600, nanos: 0 });
    let rule = pb::rule::Rule::Interval(pb::Interval { every, phase: None });
    pb::Timing { include: vec![pb::Rule { rule: Some(rule) }], ..Default::default() }
}

fn holidays(day: &str) -> pb::Calendar {
    let name = "namespaces/team/calendars/holidays".into();
    pb::Calendar { name, days: vec![day.into()], ..Default::default() }
}

fn put(calendar: pb::Calendar) -> pb::PutCalendarRequest {
    pb::PutCalendarRequest { calendar: Some(calendar), ..Default::default() }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_check_may_assume_calendars_that_nobody_put() {
    let alone = Alone::start().await;
    let used = pb::CalendarUse { calendar: "holidays".into(), mode: pb::calendar_use::Mode::Exclude.into() };
    let mut request = creation("team", "invoices");
    request.schedule.as_mut().unwrap().timing = Some(pb::Timing { calendars: vec![used], ..hourly() });
    request.assumed_calendars = vec![holidays("2020-01-01")];
    let refused = alone.schedules().create_schedule(request.clone()).await.unwrap_err();
    assert_eq!(fields(&refused), ["assumed_calendars"], "{refused:?}");
    let checked = pb::CreateScheduleRequest { validate_only: true, ..request.clone() };
    let preview = alone.schedules().create_schedule(checked.clone()).await.unwrap().into_inner();
    let next_times = |schedule: &pb::Schedule| schedule.status.as_ref().unwrap().next_times.clone();
    assert_eq!(next_times(&preview).len(), 10);
    let wrong = vec![holidays("2020-01-01"), pb::Calendar { name: "x".into(), ..Default::default() }];
    let wrong = pb::CreateScheduleRequest { assumed_calendars: wrong, ..checked };
    let refused = alone.schedules().create_schedule(wrong).await.unwrap_err();
    assert_eq!(fields(&refused), ["assumed_calendars[1].name"], "{refused:?}");

    // Assumed in place of one that is there, it moves the next times of the answer and nothing else.
    alone.calendars().put_calendar(put(holidays("2020-01-01"))).await.unwrap();
    let stored = pb::CreateScheduleRequest { assumed_calendars: Vec::new(), ..request };
    let made = alone.schedules().create_schedule(stored).await.unwrap().into_inner();
    let first = next_times(&made)[0].seconds;
    let stamp = |seconds: i64| belfry_timing::format_time(seconds * 1000);
    let hour = pb::calendar::Period { start: stamp(first - 60), end: stamp(first + 60) };
    let changed = pb::Calendar { periods: vec![hour], ..holidays("2020-01-01") };
    let update = |calendar: pb::Calendar| pb::UpdateScheduleRequest {
        schedule: Some(made.clone()),
        update_mask: Some(prost_types::FieldMask { paths: vec!["description".into()] }),
        validate_only: true,
        assumed_calendars: vec![calendar],
        ..Default::default()
    };
    let preview = alone.schedules().update_schedule(update(changed)).await.unwrap().into_inner();
    assert_eq!(next_times(&preview)[..9], next_times(&made)[1..]);
    let for_ever = pb::calendar::Period { start: stamp(first - 60), end: "2200-01-01T00:00:00Z".into() };
    let all = pb::Calendar { periods: vec![for_ever], ..holidays("2020-01-01") };
    let preview = alone.schedules().update_schedule(update(all)).await.unwrap().into_inner();
    assert_eq!(next_times(&preview).first(), None::<&_>, "nothing is left, and that is no error");
    let get = pb::GetScheduleRequest { name: NAME.into() };
    let still = alone.schedules().get_schedule(get).await.unwrap().into_inner();
    assert_eq!((next_times(&still), still.etag), (next_times(&made), made.etag));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_calendar_freezes_and_cannot_go_while_it_is_used() {
    let alone = Alone::start().await;
    let used = pb::CalendarUse { calendar: "holidays".into(), mode: pb::calendar_use::Mode::Freeze.into() };
    let mut request = creation("team", "invoices");
    let timing = pb::Timing { calendars: vec![used], ..hourly() };
    request.schedule.as_mut().unwrap().timing = Some(timing);
    let refused = alone.schedules().create_schedule(request.clone()).await.unwrap_err();
    assert_eq!(told(&refused), (Code::NotFound, "CALENDAR_NOT_FOUND".into()));

    let refused = alone.calendars().put_calendar(put(holidays("2026-13-45"))).await.unwrap_err();
    assert_eq!(fields(&refused), ["calendar"], "{refused:?}");
    let made = alone.calendars().put_calendar(put(holidays("2020-01-01"))).await.unwrap().into_inner();
    assert!(!made.etag.is_empty());
    alone.schedules().create_schedule(request).await.unwrap();

    // From now on every day is frozen: the next instants are there, and skipped.
    let all = |year: &str| format!("{year}-01-01T00:00Z");
    let period = pb::calendar::Period { start: all("2020"), end: all("2099") };
    let frozen = pb::Calendar { periods: vec![period], ..holidays("2020-01-01") };
    let stale = pb::Calendar { etag: "1".into(), ..frozen.clone() };
    let refused = alone.calendars().put_calendar(put(stale)).await.unwrap_err();
    assert_eq!(told(&refused), (Code::Aborted, "ETAG_MISMATCH".into()));
    alone.calendars().put_calendar(put(frozen)).await.unwrap();
    alone.clock.step_ms(2 * HOUR_MS);
    let rows = alone.rows(2).await;
    for row in rows {
        assert_eq!((row.state(), row.reason()), (pb::run::State::Skipped, pb::run::Reason::Blackout));
    }

    let delete =
        || pb::DeleteCalendarRequest { name: holidays("").name, allow_missing: true, ..Default::default() };
    let refused = alone.calendars().delete_calendar(delete()).await.unwrap_err();
    assert_eq!(told(&refused), (Code::FailedPrecondition, "CALENDAR_IN_USE".into()));
    let dry = pb::DeleteCalendarRequest { validate_only: true, ..delete() };
    let refused = alone.calendars().delete_calendar(dry).await.unwrap_err();
    assert_eq!(told(&refused), (Code::FailedPrecondition, "CALENDAR_IN_USE".into()));
    alone.delete(NAME).await;
    alone.calendars().delete_calendar(delete()).await.unwrap();
    alone.calendars().delete_calendar(delete()).await.unwrap();
    let listed = pb::ListCalendarsRequest { parent: "namespaces/-".into(), ..Default::default() };
    assert_eq!(alone.calendars().list_calendars(listed).await.unwrap().into_inner().calendars, []);
    alone.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pools_and_namespaces_are_declared_listed_and_forgotten() {
    let alone = Alone::start().await;
    let pool = pb::Pool {
        name: "pools/gpu".into(),
        slots: 3,
        rate: Some(pb::pool::Rate { count: 5, per: Some(prost_types::Duration { seconds: 1, nanos: 0 }) }),
        pause: Some(pb::Verdict { actor: "ann".into(), reason: "hot".into(), time: None }),
        ..Default::default()
    };
    let put = |pool: pb::Pool| pb::PutPoolRequest { pool: Some(pool), ..Default::default() };
    let made = alone.pools().put_pool(put(pool.clone())).await.unwrap().into_inner();
    assert_eq!((made.slots, made.rate, made.running_count), (pool.slots, pool.rate, 0));
    assert!(made.pause.as_ref().unwrap().time.is_some());
    let again = alone.pools().put_pool(put(pool.clone())).await.unwrap().into_inner();
    assert_eq!(again, made, "the same again changes nothing");
    let unnamed = pb::Pool { pause: Some(pb::Verdict::default()), ..pool };
    assert_eq!(fields(&alone.pools().put_pool(put(unnamed)).await.unwrap_err()), ["pool.pause.reason"]);
    let listed = alone.pools().list_pools(pb::ListPoolsRequest::default()).await.unwrap().into_inner();
    assert_eq!(listed.pools, [made]);

    let namespace = pb::Namespace { name: "namespaces/team".into(), schedules_max: 1, ..Default::default() };
    let put = |namespace: pb::Namespace| pb::PutNamespaceRequest {
        namespace: Some(namespace),
        ..Default::default()
    };
    let dry = pb::PutNamespaceRequest { validate_only: true, ..put(namespace.clone()) };
    assert_eq!(alone.namespaces().put_namespace(dry).await.unwrap().into_inner().etag, "");
    alone.namespaces().put_namespace(put(namespace)).await.unwrap();
    alone.create("team", "invoices").await;
    let refused = alone.schedules().create_schedule(creation("team", "other")).await.unwrap_err();
    assert_eq!(told(&refused), (Code::FailedPrecondition, "TOO_MANY_SCHEDULES".into()));
    let dry = pb::CreateScheduleRequest { validate_only: true, ..creation("team", "other") };
    let refused = alone.schedules().create_schedule(dry).await.unwrap_err();
    assert_eq!(told(&refused), (Code::FailedPrecondition, "TOO_MANY_SCHEDULES".into()));
    let get = pb::GetNamespaceRequest { name: "namespaces/team".into() };
    let read = alone.namespaces().get_namespace(get).await.unwrap().into_inner();
    assert_eq!((read.schedule_count, read.weight), (1, 1));
    let delete = pb::DeleteNamespaceRequest { name: "namespaces/team".into(), ..Default::default() };
    alone.namespaces().delete_namespace(delete).await.unwrap();
    alone.create("team", "other").await;
    alone.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn api_2_a_backfill_is_answered_again_by_a_clock_that_is_behind() {
    let alone = Alone::start().await;
    let created = alone.create_hourly(|_| {}).await;
    alone.clock.step_ms(3 * HOUR_MS);
    alone.rows(3).await;
    let start = created.create_time.unwrap();
    let request = |request_id: &str| pb::CreateBackfillRequest {
        parent: NAME.into(),
        backfill: Some(pb::Backfill {
            start_time: Some(start),
            end_time: Some(prost_types::Timestamp { seconds: start.seconds + 3 * 3600, nanos: 0 }),
            reason: "lost".into(),
            actor: "ann".into(),
            ..Default::default()
        }),
        request_id: request_id.into(),
        ..Default::default()
    };
    let made = alone.backfills().create_backfill(request("R1")).await.unwrap().into_inner();
    alone.clock.step_ms(-2 * HOUR_MS);
    let again = alone.backfills().create_backfill(request("R1")).await.unwrap().into_inner();
    assert_eq!(again.name, made.name);
    let refused = alone.backfills().create_backfill(request("R2")).await.unwrap_err();
    assert_eq!(fields(&refused), ["backfill.end_time"]);
    alone.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backfill_is_counted_made_and_cancelled() {
    let alone = Alone::start().await;
    let created = alone.create_hourly(|_| {}).await;
    alone.clock.step_ms(3 * HOUR_MS);
    alone.rows(3).await;
    let start = created.create_time.unwrap();
    let end = prost_types::Timestamp { seconds: start.seconds + 3 * 3600, nanos: 0 };
    let request = pb::CreateBackfillRequest {
        parent: NAME.into(),
        backfill: Some(pb::Backfill {
            start_time: Some(start),
            end_time: Some(end),
            mode: pb::backfill::Mode::Reprocess.into(),
            reason: "lost".into(),
            actor: "ann".into(),
            ..Default::default()
        }),
        ..Default::default()
    };
    let dry = pb::CreateBackfillRequest { validate_only: true, ..request.clone() };
    let counted = alone.backfills().create_backfill(dry).await.unwrap().into_inner();
    assert_eq!((counted.instant_count, counted.name.as_str()), (3, ""));
    let mut future = request.clone();
    future.backfill.as_mut().unwrap().end_time =
        Some(prost_types::Timestamp { seconds: end.seconds + 86_400, nanos: 0 });
    let refused = alone.backfills().create_backfill(future).await.unwrap_err();
    assert_eq!(fields(&refused), ["backfill.end_time"]);

    let made = alone.backfills().create_backfill(request.clone()).await.unwrap().into_inner();
    assert_eq!(made.state(), pb::backfill::State::Running);
    let refused = alone.backfills().create_backfill(request).await.unwrap_err();
    assert_eq!(told(&refused), (Code::FailedPrecondition, "BACKFILL_RUNNING".into()));
    // Its first row waits for an executor; the others wait for it.
    let rows = alone.rows(4).await;
    let backfilled: Vec<_> = rows.iter().filter(|row| !row.backfill.is_empty()).collect();
    assert_eq!(backfilled.len(), 1);
    assert!(backfilled[0].name.contains("-backfill"), "{}", backfilled[0].name);
    let read = alone.runs().get_run(pb::GetRunRequest { name: backfilled[0].name.clone() }).await.unwrap();
    assert_eq!(read.into_inner().trigger(), pb::run::Trigger::Backfill);

    let control = pb::ControlBackfillRequest {
        name: made.name.clone(),
        reason: "enough".into(),
        actor: "ann".into(),
        ..Default::default()
    };
    let unexplained = pb::ControlBackfillRequest { reason: String::new(), ..control.clone() };
    assert_eq!(fields(&alone.backfills().cancel_backfill(unexplained).await.unwrap_err()), ["reason"]);
    let check = pb::ControlBackfillRequest { validate_only: true, ..control.clone() };
    let checked = alone.backfills().cancel_backfill(check.clone()).await.unwrap().into_inner();
    assert_eq!((checked.state(), checked.change_reason.as_str()), (pb::backfill::State::Cancelled, "enough"));
    let missing = pb::ControlBackfillRequest { name: format!("{NAME}/backfills/99"), ..check.clone() };
    let refused = alone.backfills().pause_backfill(missing).await.unwrap_err();
    assert_eq!(told(&refused), (Code::NotFound, "BACKFILL_NOT_FOUND".into()));
    let get = pb::GetBackfillRequest { name: check.name.clone() };
    let still = alone.backfills().get_backfill(get).await.unwrap().into_inner();
    assert_eq!(still.state(), pb::backfill::State::Running, "a check changes nothing");
    let paused = alone.backfills().pause_backfill(control.clone()).await.unwrap().into_inner();
    let checked = alone.backfills().resume_backfill(check).await.unwrap().into_inner();
    assert_eq!(checked.state(), pb::backfill::State::Running);
    assert_eq!((paused.state(), paused.change_reason.as_str()), (pb::backfill::State::Paused, "enough"));
    let cancelled = alone.backfills().cancel_backfill(control).await.unwrap().into_inner();
    assert_eq!((cancelled.state(), cancelled.not_started_count), (pb::backfill::State::Cancelled, 1));
    let listed = pb::ListBackfillsRequest { parent: NAME.into() };
    assert_eq!(alone.backfills().list_backfills(listed).await.unwrap().into_inner().backfills.len(), 1);
    alone.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_instant_that_only_a_backfill_ran_is_explained_by_its_row() {
    let alone = Alone::start().await;
    let created = alone.create_hourly(|_| {}).await;
    let end = created.create_time.unwrap();
    let start = prost_types::Timestamp { seconds: end.seconds - 7200, nanos: 0 };
    let backfill = pb::Backfill {
        start_time: Some(start),
        end_time: Some(end),
        reason: "before its time".into(),
        ..Default::default()
    };
    let request =
        pb::CreateBackfillRequest { parent: NAME.into(), backfill: Some(backfill), ..Default::default() };
    alone.backfills().create_backfill(request).await.unwrap();
    let rows = alone.rows(1).await;
    let at = belfry_timing::format_time(rows[0].nominal_time.unwrap().seconds * 1000);
    let request = pb::ExplainRunRequest { name: NAME.into(), at };
    let explained = alone.runs().explain_run(request).await.unwrap().into_inner();
    assert_eq!(explained.run.map(|run| run.name), Some(rows[0].name.clone()));
    alone.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_asked_for_before_gets_its_answer_again() {
    let alone = Alone::start().await;
    let created = alone.create_hourly(|_| {}).await;
    alone.clock.step_ms(3 * HOUR_MS);
    alone.rows(3).await;
    let start = created.create_time.unwrap();
    let later = |seconds| Some(prost_types::Timestamp { seconds: start.seconds + seconds, nanos: 0 });
    let backfill = pb::CreateBackfillRequest {
        parent: NAME.into(),
        backfill: Some(pb::Backfill {
            start_time: Some(start),
            end_time: later(3 * 3600),
            mode: pb::backfill::Mode::Reprocess.into(),
            reason: "lost".into(),
            ..Default::default()
        }),
        request_id: "backfill".into(),
        ..Default::default()
    };
    let made = alone.backfills().create_backfill(backfill.clone()).await.unwrap().into_inner();
    let again = alone.backfills().create_backfill(backfill).await.unwrap().into_inner();
    assert_eq!(again.name, made.name, "its own backfill is not in its way");

    let pool = pb::Pool { name: "pools/gpu".into(), slots: 3, ..Default::default() };
    let put = pb::PutPoolRequest { pool: Some(pool), ..Default::default() };
    alone.pools().put_pool(put).await.unwrap();
    let delete =
        pb::DeletePoolRequest { name: "pools/gpu".into(), request_id: "delete".into(), ..Default::default() };
    alone.pools().delete_pool(delete.clone()).await.unwrap();
    alone.pools().delete_pool(delete).await.unwrap();

    let pause = pb::PauseScheduleRequest {
        name: NAME.into(),
        reason: "move".into(),
        until: later(4 * 3600 - 1),
        request_id: "pause".into(),
        ..Default::default()
    };
    alone.schedules().pause_schedule(pause.clone()).await.unwrap();
    alone.clock.step_ms(HOUR_MS);
    let again = alone.schedules().pause_schedule(pause.clone()).await.unwrap().into_inner();
    assert_eq!(again.uid, created.uid, "its end lay in the future then");
    let other = pb::PauseScheduleRequest { request_id: "other".into(), ..pause };
    assert_eq!(fields(&alone.schedules().pause_schedule(other).await.unwrap_err()), ["until"]);
    alone.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_run_that_waits_is_cancelled_with_a_reason() {
    let alone = Alone::start().await;
    alone.create("team", "invoices").await;
    let run = alone.trigger(NAME).await;
    let request = pb::CancelRunRequest {
        name: run.name.clone(),
        reason: "wrong month".into(),
        actor: "ann".into(),
        ..Default::default()
    };
    let unexplained = pb::CancelRunRequest { reason: " ".into(), ..request.clone() };
    assert_eq!(fields(&alone.runs().cancel_run(unexplained).await.unwrap_err()), ["reason"]);
    let dry = pb::CancelRunRequest { validate_only: true, ..request.clone() };
    assert_eq!(alone.runs().cancel_run(dry).await.unwrap().into_inner().state(), pb::run::State::Due);
    let cancelled = alone.runs().cancel_run(request.clone()).await.unwrap().into_inner();
    assert_eq!(
        (cancelled.state(), cancelled.reason(), cancelled.cancel.as_ref().unwrap().reason.as_str()),
        (pb::run::State::Cancelled, pb::run::Reason::CancelRequested, "wrong month")
    );
    let again = alone.runs().cancel_run(request).await.unwrap().into_inner();
    assert_eq!(again.cancel, cancelled.cancel);

    let resolve = pb::ResolveRunRequest {
        name: run.name,
        outcome: pb::resolve_run_request::Outcome::Succeeded.into(),
        reason: "seen".into(),
        ..Default::default()
    };
    let refused = alone.runs().resolve_run(resolve.clone()).await.unwrap_err();
    assert_eq!(told(&refused), (Code::FailedPrecondition, "RUN_NOT_UNKNOWN".into()));
    let unsaid = pb::ResolveRunRequest { outcome: 0, ..resolve };
    assert_eq!(fields(&alone.runs().resolve_run(unsaid).await.unwrap_err()), ["outcome"]);
    alone.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pause_ends_by_itself_and_a_resume_may_make_up_for_one() {
    let alone = Alone::start().await;
    let created = alone.create_hourly(|_| {}).await;
    let at = |seconds: i64| {
        Some(prost_types::Timestamp { seconds: created.create_time.unwrap().seconds + seconds, nanos: 0 })
    };
    let pause = |until| pb::PauseScheduleRequest {
        name: NAME.into(),
        reason: "move".into(),
        actor: "ann".into(),
        until,
        ..Default::default()
    };
    let refused = alone.schedules().pause_schedule(pause(at(-5))).await.unwrap_err();
    assert_eq!(fields(&refused), ["until"]);
    alone.schedules().pause_schedule(pause(at(2 * 3600 + 1))).await.unwrap();
    alone.clock.step_ms(4 * HOUR_MS);
    let rows = alone.rows(4).await;
    let states: Vec<_> = rows.iter().map(pb::Run::state).collect();
    use pb::run::State::{Due, Merged, Skipped};
    assert_eq!(states, [Skipped, Skipped, Merged, Due]);

    alone.schedules().pause_schedule(pause(None)).await.unwrap();
    alone.clock.step_ms(2 * HOUR_MS);
    alone.rows(6).await;
    assert_eq!(alone.get(NAME).await.pause.unwrap().skipped_count, 2);
    let resume = pb::ResumeScheduleRequest {
        name: NAME.into(),
        actor: "ann".into(),
        missed: pb::resume_schedule_request::Missed::FireAll.into(),
        ..Default::default()
    };
    alone.schedules().resume_schedule(resume).await.unwrap();
    let listed = pb::ListBackfillsRequest { parent: NAME.into() };
    let backfills = alone.backfills().list_backfills(listed).await.unwrap().into_inner().backfills;
    assert_eq!((backfills.len(), backfills[0].instant_count), (1, 2));
    assert_eq!(backfills[0].reason, "resumed from: move");
    alone.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_field_of_a_schedule_is_kept_and_changed_by_itself() {
    let alone = Alone::start().await;
    let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
    let created = alone
        .create_hourly(|schedule| {
            schedule.priority = 9;
            schedule.max_runs = 7;
            schedule.completion_action = pb::CompletionAction::Delete.into();
            schedule.executor_labels = [("gpu".to_owned(), "yes".to_owned())].into();
            schedule.history = Some(pb::History { keep_for: seconds(7200), keep_count: 5 });
            schedule.liveness = Some(pb::Liveness {
                start_grace: seconds(60),
                success_within: seconds(9000),
                disabled: true,
            });
            schedule.policies = Some(pb::Policies {
                overlap_policy: pb::OverlapPolicy::Allow.into(),
                overlap_limit: 3,
                ..Default::default()
            });
            schedule.timing.as_mut().unwrap().spread = seconds(60);
        })
        .await;
    let read = alone.get(NAME).await;
    assert_eq!(
        (read.priority, read.max_runs, read.executor_labels["gpu"].as_str()),
        (9, 7, "yes"),
        "{created:?}"
    );
    assert_eq!((read.history, read.liveness), (created.history, created.liveness));
    let policies = read.policies.unwrap();
    assert_eq!((policies.overlap_policy(), policies.overlap_limit), (pb::OverlapPolicy::Allow, 3));

    for (path, change) in [
        ("priority", pb::Schedule { priority: 1, ..Default::default() }),
        ("max_runs", pb::Schedule { max_runs: 2, ..Default::default() }),
        ("completion_action", pb::Schedule::default()),
        ("executor_labels", pb::Schedule::default()),
        ("history", pb::Schedule::default()),
        ("liveness", pb::Schedule::default()),
        ("policies.overlap_limit", {
            let policies = pb::Policies { overlap_limit: 4, ..Default::default() };
            pb::Schedule { policies: Some(policies), ..Default::default() }
        }),
    ] {
        let before = alone.get(NAME).await;
        let request = pb::UpdateScheduleRequest {
            schedule: Some(pb::Schedule { name: NAME.into(), ..change }),
            update_mask: Some(prost_types::FieldMask { paths: vec![path.into()] }),
            ..Default::default()
        };
        let after = alone.schedules().update_schedule(request.clone()).await.unwrap().into_inner();
        assert_ne!(after.etag, before.etag, "{path} was changed");
        let again = alone.schedules().update_schedule(request).await.unwrap().into_inner();
        assert_eq!(again.etag, after.etag, "{path}: the same again changes nothing");
    }
    let read = alone.get(NAME).await;
    assert_eq!((read.priority, read.max_runs, read.executor_labels.len()), (1, 2, 0));
    assert_eq!(read.policies.unwrap().overlap_limit, 4);
    alone.stop().await;
}
