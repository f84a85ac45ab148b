//! Where a benchmark works: a namespace and a pool of its own (BENCH-1), and its schedules.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use belfry_sdk::{Client, pb};
use futures_util::{StreamExt as _, TryStreamExt as _};

use super::super::Context;
use super::progress::Progress;
use super::usage::Nodes;
use crate::exit::Failure;
use crate::output::prose;
use crate::text;

/// Calls under way at once, where it is not them that are measured.
const IN_FLIGHT: usize = 64;
/// Schedules per page when cleaning up: as many as a node gives.
const PAGE_SIZE: i32 = 1000;
/// Schedules with this prefix are due in the benchmark; the digits behind it say which of its plan.
pub(super) const DUE: &str = "due-";
/// Schedules with this prefix sleep.
const ASLEEP: &str = "asleep-";
/// When schedules that sleep are due: not in any benchmark.
const ASLEEP_FOR: Duration = Duration::from_secs(5 * 366 * 86_400);

pub(super) struct Site {
    client: Client,
    endpoints: Vec<String>,
    namespace: String,
    nodes: Nodes,
    is_used: AtomicBool,
}

impl Site {
    pub(super) fn new(context: &Context, nodes: Nodes) -> Result<Self, Failure> {
        Ok(Self {
            client: context.client()?,
            endpoints: context.global.endpoint.clone(),
            // Nobody else's: no process makes two in one run.
            namespace: format!("bench-{}-{}", text::now_millis(), std::process::id()),
            nodes,
            is_used: AtomicBool::new(false),
        })
    }

    pub(super) fn client(&self) -> &Client {
        &self.client
    }

    pub(super) fn endpoints(&self) -> &[String] {
        &self.endpoints
    }

    pub(super) fn nodes(&self) -> &Nodes {
        &self.nodes
    }

    pub(super) fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Its pool has the name of its namespace.
    pub(super) fn pool(&self) -> &str {
        &self.namespace
    }

    pub(super) fn parent(&self) -> String {
        format!("namespaces/{}", self.namespace)
    }

    pub(super) fn schedule_name(&self, id: &str) -> String {
        format!("namespaces/{}/schedules/{id}", self.namespace)
    }

    pub(super) async fn create(&self, id: String, schedule: pb::Schedule) -> Result<(), Failure> {
        self.is_used.store(true, Ordering::Relaxed);
        let request = pb::CreateScheduleRequest {
            parent: self.parent(),
            schedule_id: id,
            schedule: Some(pb::Schedule { pool: self.pool().to_owned(), ..schedule }),
            ..Default::default()
        };
        // On the heap: there are many of them at once, and they are large.
        Ok(Box::pin(self.client.create_schedule(request)).await.map(drop)?)
    }

    pub(super) async fn delete(&self, id: String) -> Result<(), Failure> {
        let request = pb::DeleteScheduleRequest { name: self.schedule_name(&id), ..Default::default() };
        Ok(self.client.delete_schedule(request).await?)
    }

    /// Creates schedules `0..count` of a plan; says how long it took.
    pub(super) async fn create_due(
        &self,
        count: u64,
        schedule: impl Fn(u64) -> pb::Schedule,
    ) -> Result<Duration, Failure> {
        self.each("created", count, |number| self.create(due(number), schedule(number))).await
    }

    /// Creates schedules that are not due for years; says how long it took.
    pub(super) async fn create_asleep(&self, count: u64) -> Result<Duration, Failure> {
        self.each("created, not due", count, |number| self.create(asleep(number), asleep_schedule())).await
    }

    /// Deletes them again; says how long it took.
    pub(super) async fn delete_asleep(&self, count: u64) -> Result<Duration, Failure> {
        self.each("deleted", count, |number| self.delete(asleep(number))).await
    }

    /// Does something for each of `0..count`, many at once.
    async fn each<F: Future<Output = Result<(), Failure>>>(
        &self,
        what: &'static str,
        count: u64,
        act: impl Fn(u64) -> F,
    ) -> Result<Duration, Failure> {
        let (start, progress) = (Instant::now(), Progress::new(what, count));
        let acts = futures_util::stream::iter(0..count).map(act).buffer_unordered(IN_FLIGHT);
        acts.inspect_ok(|()| progress.step()).try_collect::<()>().await?;
        Ok(start.elapsed())
    }

    /// Deletes every schedule of the namespace.
    pub(super) async fn clean_up(&self) -> Result<(), Failure> {
        if !self.is_used.load(Ordering::Relaxed) {
            return Ok(());
        }
        let left = |failure: Failure| {
            failure.about(&format!(
                "cannot clean up; delete what is left (`belfry schedule list -N {}`)",
                self.namespace
            ))
        };
        self.delete_all().await.map_err(left)
    }

    async fn delete_all(&self) -> Result<(), Failure> {
        let mut deleted = 0;
        loop {
            let request = pb::ListSchedulesRequest {
                parent: self.parent(),
                page_size: PAGE_SIZE,
                ..Default::default()
            };
            let page = self.client.list_schedules(request).await?.schedules;
            if page.is_empty() {
                return Ok(());
            }
            let delete = |name: String| async {
                let request = pb::DeleteScheduleRequest { name, allow_missing: true, ..Default::default() };
                self.client.delete_schedule(request).await
            };
            deleted += page.len();
            let names = page.into_iter().map(|schedule| schedule.name);
            let deletions = futures_util::stream::iter(names).map(delete).buffer_unordered(IN_FLIGHT);
            deletions.try_collect::<()>().await?;
            if page_is_worth_a_line(deleted) {
                prose(&format!("cleaning up: {deleted} schedules deleted"));
            }
        }
    }
}

/// One line per ten thousand.
fn page_is_worth_a_line(deleted: usize) -> bool {
    deleted.is_multiple_of(10 * PAGE_SIZE.unsigned_abs() as usize)
}

fn due(number: u64) -> String {
    format!("{DUE}{number}")
}

fn asleep(number: u64) -> String {
    format!("{ASLEEP}{number}")
}

/// A schedule that is not due for years.
pub(super) fn asleep_schedule() -> pb::Schedule {
    let at = text::timestamp(text::now_millis() + i64::try_from(ASLEEP_FOR.as_millis()).unwrap_or(i64::MAX));
    let timing = pb::Timing {
        include: vec![pb::Rule { rule: Some(pb::rule::Rule::AtTime(at)) }],
        ..Default::default()
    };
    pb::Schedule { timing: Some(timing), target: Some(handler_target("bench")), ..Default::default() }
}

pub(super) fn handler_target(handler: &str) -> pb::Target {
    let target = pb::HandlerTarget { handler: handler.to_owned(), payload: Default::default() };
    pb::Target { target: Some(pb::target::Target::Handler(target)) }
}
