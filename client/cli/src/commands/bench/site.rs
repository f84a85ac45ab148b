//! Where a benchmark works: a namespace and a pool of its own (BENCH-1), and its schedules.

use std::ops::Range;
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

/// Schedules of one call: as many as a node takes.
pub(super) const BATCH: u64 = 1000;
/// Batches under way at once, where it is not them that are measured.
const IN_FLIGHT: usize = 4;
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
        // On the heap: there are many of them at once, and they are large.
        Ok(Box::pin(self.client.create_schedule(self.creation(id, schedule))).await.map(drop)?)
    }

    fn creation(&self, id: String, schedule: pb::Schedule) -> pb::CreateScheduleRequest {
        self.is_used.store(true, Ordering::Relaxed);
        pb::CreateScheduleRequest {
            parent: self.parent(),
            schedule_id: id,
            schedule: Some(pb::Schedule { pool: self.pool().to_owned(), ..schedule }),
            ..Default::default()
        }
    }

    /// Creates schedules in one call.
    pub(super) async fn create_batch(
        &self,
        schedules: impl Iterator<Item = (String, pb::Schedule)>,
    ) -> Result<(), Failure> {
        let requests = schedules.map(|(id, schedule)| self.creation(id, schedule)).collect();
        let results = self.client.batch_create_schedules(requests).await?;
        Ok(results.into_iter().try_for_each(|result| result.map(drop))?)
    }

    /// Changes schedules in one call.
    pub(super) async fn update_batch(&self, requests: Vec<pb::UpdateScheduleRequest>) -> Result<(), Failure> {
        let results = self.client.batch_update_schedules(requests).await?;
        Ok(results.into_iter().try_for_each(|result| result.map(drop))?)
    }

    /// Deletes schedules in one call.
    pub(super) async fn delete_batch(&self, names: Vec<String>) -> Result<(), Failure> {
        let request = |name| pb::DeleteScheduleRequest { name, allow_missing: true, ..Default::default() };
        let results = self.client.batch_delete_schedules(names.into_iter().map(request).collect()).await?;
        Ok(results.into_iter().collect::<Result<(), _>>()?)
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
        let create = |numbers: Range<u64>| {
            self.create_batch(
                numbers.map(|number| (due(number), schedule(number))).collect::<Vec<_>>().into_iter(),
            )
        };
        self.each("created", count, create).await
    }

    /// Creates schedules that are not due for years; says how long it took.
    pub(super) async fn create_asleep(&self, count: u64) -> Result<Duration, Failure> {
        let create = |numbers: Range<u64>| {
            self.create_batch(numbers.map(|number| (asleep(number), asleep_schedule())))
        };
        self.each("created, not due", count, create).await
    }

    /// Gives each of them another next instant; says how long it took.
    pub(super) async fn reschedule_asleep(&self, count: u64) -> Result<Duration, Failure> {
        let request = |number| {
            // Later than before, and each at an instant of its own: an index that has one for all is not what is measured.
            let timing = Some(at_time(2 * ASLEEP_FOR + Duration::from_millis(number)));
            let name = self.schedule_name(&asleep(number));
            update(pb::Schedule { name, timing, ..Default::default() }, "timing")
        };
        let reschedule = |numbers: Range<u64>| self.update_batch(numbers.map(request).collect());
        self.each("rescheduled", count, reschedule).await
    }

    /// Deletes them again; says how long it took.
    pub(super) async fn delete_asleep(&self, count: u64) -> Result<Duration, Failure> {
        let delete = |numbers: Range<u64>| {
            self.delete_batch(numbers.map(|number| self.schedule_name(&asleep(number))).collect())
        };
        self.each("deleted", count, delete).await
    }

    /// Does something for `0..count`, a batch at a time, some at once.
    async fn each<F: Future<Output = Result<(), Failure>>>(
        &self,
        what: &'static str,
        count: u64,
        act: impl Fn(Range<u64>) -> F,
    ) -> Result<Duration, Failure> {
        let (start, progress) = (Instant::now(), Progress::new(what, count));
        let one = |numbers: Range<u64>| {
            let (acted, batch, progress) = (act(numbers.clone()), numbers.end - numbers.start, &progress);
            async move {
                acted.await?;
                progress.step_by(batch);
                Ok::<_, Failure>(())
            }
        };
        let acts = futures_util::stream::iter(batches(count)).map(one).buffer_unordered(IN_FLIGHT);
        acts.try_collect::<()>().await?;
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
                page_size: BATCH as i32,
                ..Default::default()
            };
            let page = self.client.list_schedules(request).await?.schedules;
            if page.is_empty() {
                return Ok(());
            }
            deleted += page.len() as u64;
            self.delete_batch(page.into_iter().map(|schedule| schedule.name).collect()).await?;
            // One line per so many.
            if deleted.is_multiple_of(100 * BATCH) {
                prose(&format!("cleaning up: {deleted} schedules deleted"));
            }
        }
    }
}

/// `0..count` in batches.
pub(super) fn batches(count: u64) -> impl Iterator<Item = Range<u64>> {
    (0..count).step_by(BATCH as usize).map(move |start| start..count.min(start + BATCH))
}

fn due(number: u64) -> String {
    format!("{DUE}{number}")
}

fn asleep(number: u64) -> String {
    format!("{ASLEEP}{number}")
}

/// Changes one field.
pub(super) fn update(schedule: pb::Schedule, field: &str) -> pb::UpdateScheduleRequest {
    let update_mask = Some(prost_types::FieldMask { paths: vec![field.to_owned()] });
    pb::UpdateScheduleRequest { schedule: Some(schedule), update_mask, ..Default::default() }
}

/// A schedule that is not due for years.
pub(super) fn asleep_schedule() -> pb::Schedule {
    pb::Schedule {
        timing: Some(at_time(ASLEEP_FOR)),
        target: Some(handler_target("bench")),
        ..Default::default()
    }
}

/// Once, so long from now.
fn at_time(from_now: Duration) -> pb::Timing {
    let at = text::timestamp(
        text::now_millis()
            + i64::try_from(from_now.as_millis()).expect("schedules sleep for years, not for ages"),
    );
    pb::Timing { include: vec![pb::Rule { rule: Some(pb::rule::Rule::AtTime(at)) }], ..Default::default() }
}

pub(super) fn handler_target(handler: &str) -> pb::Target {
    let target = pb::HandlerTarget { handler: handler.to_owned(), payload: Default::default() };
    pb::Target { target: Some(pb::target::Target::Handler(target)) }
}
