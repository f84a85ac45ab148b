//! What users ask for, and the answers in a form that can be compared.

use belfry_sdk::{Client, ClientError, pb};
use futures_util::future::BoxFuture;
use prost_types::{Duration, FieldMask};

use crate::chance::Chance;
use crate::executor::HANDLER;

/// The pool that all schedules are in.
pub const POOL: &str = "pools/default";

/// A calendar that some schedules use: for the first seconds of every so many nothing of them begins.
const CALENDAR: &str = "frozen";
const FREEZE_EVERY_MS: i64 = 20_000;
const FREEZE_MS: i64 = 3_000;

/// Freezes of the calendar: for longer than a simulation lasts, with all the time that nobody sees.
const FREEZES: i64 = 300;

/// Whether an instant is in a freeze: so long after the beginning of simulated time.
pub fn is_frozen(since_epoch_ms: i64) -> bool {
    since_epoch_ms < FREEZES * FREEZE_EVERY_MS && since_epoch_ms.rem_euclid(FREEZE_EVERY_MS) < FREEZE_MS
}

/// A change that somebody asks for.
#[derive(Clone, Debug)]
pub enum Request {
    /// A schedule.
    Create(Box<pb::CreateScheduleRequest>),
    /// Fields of one.
    Update(Box<pb::UpdateScheduleRequest>),
    /// None of it.
    Delete(pb::DeleteScheduleRequest),
    /// A pause.
    Pause(pb::PauseScheduleRequest),
    /// Its end.
    Resume(pb::ResumeScheduleRequest),
    /// A run.
    Trigger(pb::TriggerScheduleRequest),
    /// The limits of the pool that all schedules are in.
    PutPool(pb::PutPoolRequest),
    /// The calendar that freezes some of them.
    PutCalendar(pb::PutCalendarRequest),
    /// Instants of the past.
    Backfill(Box<pb::CreateBackfillRequest>),
    /// The end of a run.
    Cancel(pb::CancelRunRequest),
    /// What became of an UNKNOWN run.
    Resolve(pb::ResolveRunRequest),
}

/// What must be the same whenever the same is asked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Answer {
    /// The schedule with this uid.
    Schedule(String),
    /// The run with this name.
    Run(String),
    /// The pool, calendar or backfill with this name.
    Object(String),
    /// The run with this name, and whether it is over.
    Cancelled(String, bool),
    /// Done.
    Deleted,
}

impl Request {
    /// A new schedule.
    pub fn create(id: &str, chance: &mut Chance) -> Self {
        let handler = pb::HandlerTarget { handler: HANDLER.to_owned(), payload: bytes::Bytes::new() };
        let schedule = pb::Schedule {
            timing: Some(timing(chance)),
            target: Some(pb::Target { target: Some(pb::target::Target::Handler(handler)) }),
            policies: Some(policies(chance)),
            priority: u32::try_from(chance.within(1..10)).expect("small"),
            ..pb::Schedule::default()
        };
        Self::Create(Box::new(pb::CreateScheduleRequest {
            parent: "namespaces/default".to_owned(),
            schedule_id: id.to_owned(),
            schedule: Some(schedule),
            ..pb::CreateScheduleRequest::default()
        }))
    }

    fn update(schedule: pb::Schedule, path: &str) -> Self {
        Self::Update(Box::new(pb::UpdateScheduleRequest {
            schedule: Some(schedule),
            update_mask: Some(FieldMask { paths: vec![path.to_owned()] }),
            ..pb::UpdateScheduleRequest::default()
        }))
    }

    /// Another description.
    pub fn describe(name: &str, text: String) -> Self {
        Self::update(
            pb::Schedule { name: name.to_owned(), description: text, ..pb::Schedule::default() },
            "description",
        )
    }

    /// Another timing.
    pub fn retime(name: &str, chance: &mut Chance) -> Self {
        let timing = Some(timing(chance));
        Self::update(pb::Schedule { name: name.to_owned(), timing, ..pb::Schedule::default() }, "timing")
    }

    /// Other policies.
    pub fn other_policies(name: &str, chance: &mut Chance) -> Self {
        let policies = Some(policies(chance));
        Self::update(pb::Schedule { name: name.to_owned(), policies, ..pb::Schedule::default() }, "policies")
    }

    /// No schedule.
    pub fn delete(name: &str) -> Self {
        Self::Delete(pb::DeleteScheduleRequest {
            name: name.to_owned(),
            ..pb::DeleteScheduleRequest::default()
        })
    }

    /// A pause without an end.
    pub fn pause(name: &str) -> Self {
        Self::Pause(pb::PauseScheduleRequest {
            name: name.to_owned(),
            reason: "simulated".to_owned(),
            actor: "user".to_owned(),
            ..pb::PauseScheduleRequest::default()
        })
    }

    /// Its end.
    pub fn resume(name: &str, chance: &mut Chance) -> Self {
        Self::Resume(pb::ResumeScheduleRequest {
            name: name.to_owned(),
            actor: "user".to_owned(),
            missed: i32::try_from(chance.within(0..4)).expect("small"),
            ..pb::ResumeScheduleRequest::default()
        })
    }

    /// A run by hand.
    pub fn trigger(name: &str, chance: &mut Chance) -> Self {
        Self::Trigger(pb::TriggerScheduleRequest {
            name: name.to_owned(),
            actor: "user".to_owned(),
            overlap: i32::try_from(chance.within(0..4)).expect("small"),
            ..pb::TriggerScheduleRequest::default()
        })
    }

    /// At most so many runs at once, in the pool that all schedules are in; 0: as many as there is room for.
    pub fn put_pool(slots: u32) -> Self {
        let pool = pb::Pool { name: POOL.to_owned(), slots, ..pb::Pool::default() };
        Self::PutPool(pb::PutPoolRequest { pool: Some(pool), ..pb::PutPoolRequest::default() })
    }

    /// The freezes of [`is_frozen`], and a description: every change has the schedules that use it timed anew, and moves nothing.
    pub fn put_calendar(description: String) -> Self {
        let at = |millis: i64| {
            let seconds = millis / 1000;
            let (days, second) = (seconds / 86_400 + 15, seconds % 86_400);
            format!("2027-06-{days:02}T{:02}:{:02}:{:02}Z", second / 3600, second / 60 % 60, second % 60)
        };
        let period = |number: i64| {
            let (start, end) = (number * FREEZE_EVERY_MS, number * FREEZE_EVERY_MS + FREEZE_MS);
            pb::calendar::Period { start: at(start), end: at(end) }
        };
        let calendar = pb::Calendar {
            name: format!("namespaces/default/calendars/{CALENDAR}"),
            description,
            periods: (0..FREEZES).map(period).collect(),
            ..pb::Calendar::default()
        };
        Self::PutCalendar(pb::PutCalendarRequest {
            calendar: Some(calendar),
            ..pb::PutCalendarRequest::default()
        })
    }

    /// All instants between two moments once more, or those that are missing.
    pub fn backfill(schedule: &str, from_ms: i64, until_ms: i64, mode: pb::backfill::Mode) -> Self {
        let time = |millis: i64| {
            let nanos = i32::try_from(millis.rem_euclid(1000) * 1_000_000).expect("less than a second");
            Some(prost_types::Timestamp { seconds: millis.div_euclid(1000), nanos })
        };
        let backfill = pb::Backfill {
            start_time: time(from_ms),
            end_time: time(until_ms),
            mode: mode.into(),
            reason: "simulated".to_owned(),
            actor: "user".to_owned(),
            ..pb::Backfill::default()
        };
        Self::Backfill(Box::new(pb::CreateBackfillRequest {
            parent: schedule.to_owned(),
            backfill: Some(backfill),
            ..pb::CreateBackfillRequest::default()
        }))
    }

    /// The end of a run.
    pub fn cancel(run: &str) -> Self {
        Self::Cancel(pb::CancelRunRequest {
            name: run.to_owned(),
            reason: "simulated".to_owned(),
            actor: "user".to_owned(),
            ..pb::CancelRunRequest::default()
        })
    }

    /// An UNKNOWN run did its work.
    pub fn resolve(run: &str) -> Self {
        Self::Resolve(pb::ResolveRunRequest {
            name: run.to_owned(),
            outcome: pb::resolve_run_request::Outcome::Succeeded.into(),
            reason: "simulated".to_owned(),
            actor: "user".to_owned(),
            ..pb::ResolveRunRequest::default()
        })
    }

    /// The same with a request id.
    pub fn with_id(mut self, id: &str) -> Self {
        *match &mut self {
            Self::Create(request) => &mut request.request_id,
            Self::Update(request) => &mut request.request_id,
            Self::Delete(request) => &mut request.request_id,
            Self::Pause(request) => &mut request.request_id,
            Self::Resume(request) => &mut request.request_id,
            Self::Trigger(request) => &mut request.request_id,
            Self::PutPool(request) => &mut request.request_id,
            Self::PutCalendar(request) => &mut request.request_id,
            Self::Backfill(request) => &mut request.request_id,
            Self::Cancel(request) => &mut request.request_id,
            Self::Resolve(request) => &mut request.request_id,
        } = id.to_owned();
        self
    }

    /// Its id.
    pub fn id(&self) -> String {
        match self {
            Self::Create(request) => request.request_id.clone(),
            Self::Update(request) => request.request_id.clone(),
            Self::Delete(request) => request.request_id.clone(),
            Self::Pause(request) => request.request_id.clone(),
            Self::Resume(request) => request.request_id.clone(),
            Self::Trigger(request) => request.request_id.clone(),
            Self::PutPool(request) => request.request_id.clone(),
            Self::PutCalendar(request) => request.request_id.clone(),
            Self::Backfill(request) => request.request_id.clone(),
            Self::Cancel(request) => request.request_id.clone(),
            Self::Resolve(request) => request.request_id.clone(),
        }
    }

    /// What it asks about.
    pub fn name(&self) -> &str {
        match self {
            Self::Create(request) => &request.schedule_id,
            Self::Update(request) => request.schedule.as_ref().map_or("", |schedule| &schedule.name),
            Self::Delete(request) => &request.name,
            Self::Pause(request) => &request.name,
            Self::Resume(request) => &request.name,
            Self::Trigger(request) => &request.name,
            Self::PutPool(_) => POOL,
            Self::PutCalendar(_) => CALENDAR,
            Self::Backfill(request) => &request.parent,
            Self::Cancel(request) => &request.name,
            Self::Resolve(request) => &request.name,
        }
    }

    /// As a verb.
    pub fn what(&self) -> &'static str {
        match self {
            Self::Create(_) => "create",
            Self::Update(_) => "update",
            Self::Delete(_) => "delete",
            Self::Pause(_) => "pause",
            Self::Resume(_) => "resume",
            Self::Trigger(_) => "trigger",
            Self::PutPool(_) => "put_pool",
            Self::PutCalendar(_) => "put_calendar",
            Self::Backfill(_) => "backfill",
            Self::Cancel(_) => "cancel",
            Self::Resolve(_) => "resolve",
        }
    }

    /// Asks for it.
    pub fn send<'a>(&self, client: &'a Client) -> BoxFuture<'a, Result<Answer, ClientError>> {
        let schedule = |schedule: pb::Schedule| Answer::Schedule(schedule.uid);
        let request = self.clone();
        Box::pin(async move {
            match request {
                Self::Create(request) => client.create_schedule(*request).await.map(schedule),
                Self::Update(request) => client.update_schedule(*request).await.map(schedule),
                Self::Delete(request) => client.delete_schedule(request).await.map(|()| Answer::Deleted),
                Self::Pause(request) => client.pause_schedule(request).await.map(schedule),
                Self::Resume(request) => client.resume_schedule(request).await.map(schedule),
                Self::Trigger(request) => {
                    client.trigger_schedule(request).await.map(|run| Answer::Run(run.name))
                }
                Self::PutPool(request) => {
                    client.put_pool(request).await.map(|pool| Answer::Object(pool.name))
                }
                Self::PutCalendar(request) => {
                    client.put_calendar(request).await.map(|calendar| Answer::Object(calendar.name))
                }
                Self::Backfill(request) => {
                    client.create_backfill(*request).await.map(|backfill| Answer::Object(backfill.name))
                }
                Self::Cancel(request) => client.cancel_run(request).await.map(|run| {
                    let is_over = run.state() == pb::run::State::Cancelled;
                    Answer::Cancelled(run.name, is_over)
                }),
                Self::Resolve(request) => client.resolve_run(request).await.map(|run| Answer::Run(run.name)),
            }
        })
    }
}

fn seconds(seconds: u64) -> Option<Duration> {
    Some(Duration { seconds: i64::try_from(seconds).expect("small"), nanos: 0 })
}

/// A timing whose instants LEDGER-1 can count by itself.
fn timing(chance: &mut Chance) -> pb::Timing {
    let every = chance.within(1..6);
    let rule = if chance.one_in(3) {
        // A divisor of 60, so that it is an interval, too.
        let step = if every == 5 { 6 } else { every };
        pb::rule::Rule::Cron(pb::Cron { expression: format!("*/{step} * * * * *"), ..pb::Cron::default() })
    } else {
        pb::rule::Rule::Interval(pb::Interval {
            every: seconds(every),
            phase: seconds(chance.within(0..every)),
        })
    };
    let spread = if chance.one_in(5) { seconds(2) } else { None };
    let freeze =
        pb::CalendarUse { calendar: CALENDAR.to_owned(), mode: pb::calendar_use::Mode::Freeze.into() };
    let calendars = if chance.one_in(4) { vec![freeze] } else { Vec::new() };
    pb::Timing { include: vec![pb::Rule { rule: Some(rule) }], spread, calendars, ..pb::Timing::default() }
}

fn policies(chance: &mut Chance) -> pb::Policies {
    let number = |chance: &mut Chance, range| i32::try_from(chance.within(range)).expect("small");
    let overlap = number(chance, 0..6);
    let limited = matches!(overlap, 3 | 4);
    let misfire = number(chance, 0..6).min(3);
    // HOLD, RETRY, FAIL: PAUSE would change what users know.
    let unknown = *chance.pick(&[0, 1, 2, 2, 4]);
    pb::Policies {
        overlap_policy: overlap,
        // With all that is made up for allowed at once, the budget alone holds it back (CATCH-1).
        overlap_limit: match (limited, misfire) {
            (true, 3) => 40,
            (true, _) => u32::try_from(chance.within(1..5)).expect("small"),
            _ => 0,
        },
        misfire_policy: misfire,
        misfire_limit: if misfire == 3 { 40 } else { 0 },
        unknown_outcome_policy: unknown,
        start_deadline: if chance.one_in(4) { seconds(chance.within(1..6)) } else { None },
        attempt_timeout: seconds(chance.within(3..12)),
        lease_duration: seconds(chance.within(2..6)),
        retry: (unknown == 2 || chance.one_in(4)).then(|| pb::Retry {
            max_attempts: u32::try_from(chance.within(2..4)).expect("small"),
            initial_backoff: seconds(1),
            max_backoff: seconds(2),
            ..pb::Retry::default()
        }),
        cancel_grace: seconds(1),
        ..pb::Policies::default()
    }
}
