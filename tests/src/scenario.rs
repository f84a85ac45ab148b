//! How most tests begin and end: schedules of every second that write into the journal, and the verdict over them.
//!
//! ```text
//!   begin ─► wait_for_runs ─► a fault, and proof of it ─► heal ─► wait_for_runs ─► finish
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{bail, ensure};
use belfry_sdk::{Client, pb};
use futures_util::{StreamExt as _, TryStreamExt as _};
use prost_types::{Duration as WireDuration, Timestamp};

use crate::cluster::{Cluster, PATIENCE};
use crate::journal::Journal;
use crate::judge::{Verdict, Watched, judge, judge_part};
use crate::ledger;

/// Lease of the schedules: short, so that what was lost is known soon.
pub const LEASE: Duration = Duration::from_secs(3);
/// What a node takes the time to be is never further ahead: the default of `clock.offset_max`.
const EARLY_MS_MAX: i64 = 500;
/// Calls of one client at the same time, where many schedules are made or paused.
const CALLS: usize = 32;

/// A cluster with schedules of every second.
pub struct Scenario {
    /// The cluster. Faults go here.
    pub cluster: Cluster,
    /// A client of all nodes.
    pub client: Client,
    /// What the commands write.
    pub journal: Journal,
    /// How far the clock of a leader may be from this machine's: as much may be missing at the beginning and at the end.
    pub clocks_out_by_ms: i64,
    schedules: Vec<Watched>,
}

/// Who carries the runs out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Carrier {
    /// `belfry executor`, by a shell command.
    Command,
    /// An executor of the handler `journal`: cheaper than a process for each run.
    Handler,
}

impl Scenario {
    /// Makes schedules of every second and waits until each of them has run.
    pub async fn begin(cluster: Cluster, count: usize, carrier: Carrier) -> anyhow::Result<Self> {
        let client = cluster.client()?;
        let journal = Journal::new(cluster.folder());
        let target = match carrier {
            Carrier::Command => pb::target::Target::Command(pb::CommandTarget {
                shell: journal.command(),
                ..Default::default()
            }),
            Carrier::Handler => pb::target::Target::Handler(pb::HandlerTarget {
                handler: "journal".into(),
                payload: Default::default(),
            }),
        };
        let schedules = (0..count).map(|number| create(&client, format!("s{number:04}"), target.clone()));
        let schedules = futures_util::stream::iter(schedules).buffered(CALLS).try_collect().await?;
        let scenario = Self { cluster, client, journal, clocks_out_by_ms: 0, schedules };
        scenario.wait_for_runs(1).await?;
        Ok(scenario)
    }

    /// Waits until every schedule has run so often from now on: the cluster is at work.
    pub async fn wait_for_runs(&self, more: u32) -> anyhow::Result<()> {
        let (now, start) = (now_ms() / 1000, Instant::now());
        let mut read = self.journal.path().metadata().map_or(0, |journal| journal.len());
        let mut runs = BTreeMap::<String, u32>::new();
        loop {
            for entry in self.journal.entries_from(&mut read)? {
                let nominal: Timestamp = entry.nominal_time.parse()?;
                // Seen in the journal: it has begun.
                let early_ms = nominal.seconds * 1000 - now_ms();
                ensure!(early_ms <= EARLY_MS_MAX, "CLOCK-1: {entry:?} began {early_ms} ms early");
                // Not what is made up for: an instant that comes now.
                if nominal.seconds > now {
                    *runs.entry(entry.schedule).or_default() += 1;
                }
            }
            let good = runs.values().filter(|count| **count >= more).count();
            if good == self.schedules.len() {
                return Ok(());
            }
            if start.elapsed() > PATIENCE {
                let all = self.schedules.len();
                bail!("only {good} of {all} schedules ran {more} times\n{}", self.cluster.logs());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Judges some seconds of the past, all of whose runs must have ended.
    pub async fn judge_part(&self, seconds: Range<i64>) -> anyhow::Result<Verdict> {
        judge_part(&self.client, &self.journal, &self.schedules, seconds).await
    }

    /// Pauses all schedules, waits until nothing runs, and compares the replicas (APPLY-1).
    pub async fn rest(&mut self) -> anyhow::Result<()> {
        let names: Vec<_> = self.schedules.iter().map(|schedule| schedule.name.clone()).collect();
        let pauses = names.iter().map(|name| pause(&self.client, name));
        let until: Vec<i64> = futures_util::stream::iter(pauses).buffered(CALLS).try_collect().await?;
        for (schedule, until_ms) in self.schedules.iter_mut().zip(until) {
            schedule.from_ms += self.clocks_out_by_ms;
            schedule.until_ms = until_ms - self.clocks_out_by_ms;
        }
        ledger::wait_until_ended(&self.client).await?;
        let digests = self.cluster.settled_digests().await?;
        let distinct: BTreeSet<_> = digests.values().collect();
        ensure!(distinct.len() == 1, "APPLY-1: replicas differ: {digests:?}");
        Ok(())
    }

    /// Ends the scenario: lets it come to rest and judges all of it. Nothing may be lost or doubled.
    pub async fn finish(mut self, what: &str) -> anyhow::Result<(Cluster, Verdict)> {
        self.rest().await?;
        let verdict = judge(&self.client, &self.journal, &self.schedules).await?;
        println!("{what}: {verdict}");
        if !verdict.problems.is_empty() {
            let first: Vec<_> = verdict.problems.iter().take(20).collect();
            bail!("{what}: {verdict}\n{first:#?}\n{}", self.cluster.logs());
        }
        Ok((self.cluster, verdict))
    }
}

async fn create(client: &Client, name: String, target: pb::target::Target) -> anyhow::Result<Watched> {
    let lease = WireDuration { seconds: LEASE.as_secs().cast_signed(), nanos: 0 };
    let every_second = pb::Cron { expression: "* * * * * *".into(), ..Default::default() };
    let schedule = pb::Schedule {
        timing: Some(pb::Timing {
            include: vec![pb::Rule { rule: Some(pb::rule::Rule::Cron(every_second)) }],
            ..Default::default()
        }),
        target: Some(pb::Target { target: Some(target) }),
        policies: Some(pb::Policies { lease_duration: Some(lease), ..Default::default() }),
        ..Default::default()
    };
    let request = pb::CreateScheduleRequest {
        parent: "namespaces/default".into(),
        schedule_id: name.clone(),
        schedule: Some(schedule),
        ..Default::default()
    };
    client.create_schedule(request).await?;
    Ok(Watched { name, from_ms: now_ms(), until_ms: i64::MAX })
}

/// Pauses a schedule; says when it began to.
async fn pause(client: &Client, name: &str) -> anyhow::Result<i64> {
    let began = now_ms();
    let request = pb::PauseScheduleRequest {
        name: format!("namespaces/default/schedules/{name}"),
        reason: "the test is over".into(),
        ..Default::default()
    };
    client.pause_schedule(request).await?;
    Ok(began)
}

/// This machine's clock.
pub fn now_ms() -> i64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_epoch.as_millis()).unwrap_or(i64::MAX)
}
