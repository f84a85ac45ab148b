//! Writes and reads of schedules through the SDK, several clients at once, each answer recorded.
//!
//! The schedules never fire by themselves, so that their revisions move by these writes alone. Every write but a create is
//! conditional on the etag that its client saw last.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use belfry_sdk::{Client, ClientError, pb};
use prost_types::FieldMask;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::cluster::PATIENCE;
use crate::history::{Action, Operation, Outcome, Version};

/// A namespace of their own: whatever else the cluster has, their list is one page, read at one revision.
const PARENT: &str = "namespaces/writes";

/// How the clients go about it.
#[derive(Clone, Copy, Debug)]
pub struct Manner {
    /// Schedules that they share.
    pub keys: u32,
    /// Each client has its own schedules instead: then nothing is ever refused.
    pub apart: bool,
    /// Between two operations of a client.
    pub pace: Duration,
    /// Decides what is done.
    pub seed: u64,
}

/// Clients at work.
pub struct Writes {
    stop: CancellationToken,
    acknowledged: Arc<AtomicU64>,
    clients: JoinSet<Recorder>,
}

/// What came of it all.
#[derive(Default, Debug)]
pub struct Record {
    /// Every operation.
    pub history: Vec<Operation>,
    /// Calls that gave a user neither an answer nor a refusal by the ledger, in words.
    pub failures: Vec<String>,
}

impl Record {
    /// Writes that were acknowledged.
    pub fn acknowledged(&self) -> usize {
        let is_write = |operation: &&Operation| !matches!(operation.action, Action::Get | Action::List);
        let is_done = |operation: &&Operation| matches!(operation.outcome, Outcome::Is(_) | Outcome::Deleted);
        self.history.iter().filter(is_write).filter(is_done).count()
    }

    /// Operations whose outcome nobody knows.
    pub fn unknown(&self) -> usize {
        self.history.iter().filter(|operation| operation.outcome == Outcome::Unknown).count()
    }

    /// Takes another record, of the same clock, in.
    pub fn extend(&mut self, other: Record) {
        self.history.extend(other.history);
        self.failures.extend(other.failures);
    }
}

impl std::fmt::Display for Record {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} operations, {} writes acknowledged, {} unknown, {} calls without an answer",
            self.history.len(),
            self.acknowledged(),
            self.unknown(),
            self.failures.len()
        )
    }
}

impl Writes {
    /// Lets each of these clients work until [`Writes::stop`]. `clock` is the zero of the record's times.
    pub fn start(clients: Vec<Client>, manner: Manner, clock: Instant) -> Self {
        let stop = CancellationToken::new();
        let acknowledged = Arc::new(AtomicU64::new(0));
        let mut working = JoinSet::new();
        for (number, client) in clients.into_iter().enumerate() {
            let recorder = Recorder {
                client,
                number,
                manner,
                clock,
                random: Random(manner.seed ^ ((number as u64 + 1) << 32)),
                values: 0,
                seen: BTreeMap::new(),
                record: Record::default(),
                acknowledged: acknowledged.clone(),
            };
            working.spawn(recorder.work(stop.clone()));
        }
        Self { stop, acknowledged, clients: working }
    }

    /// Waits until so many more operations were answered.
    pub async fn wait_for_acknowledged(&self, more: u64) -> anyhow::Result<()> {
        let target = self.acknowledged.load(Ordering::Relaxed) + more;
        let start = Instant::now();
        while self.acknowledged.load(Ordering::Relaxed) < target {
            if start.elapsed() > PATIENCE {
                bail!("fewer than {more} operations were answered within {PATIENCE:?}");
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok(())
    }

    /// Lets the clients end what they are at, and says what came of it.
    pub async fn stop(mut self) -> anyhow::Result<Record> {
        self.stop.cancel();
        let mut record = Record::default();
        while let Some(recorder) = self.clients.join_next().await {
            record.extend(recorder.context("a client ended badly")?.record);
        }
        Ok(record)
    }
}

/// Reads everything once more: each schedule by itself, and the list.
pub async fn read_all(client: Client, manner: Manner, clients: usize, clock: Instant) -> Record {
    let mut record = Record::default();
    for number in 0..if manner.apart { clients } else { 1 } {
        let mut reader = Recorder {
            client: client.clone(),
            number,
            manner,
            clock,
            random: Random(1),
            values: 0,
            seen: BTreeMap::new(),
            record: Record::default(),
            acknowledged: Arc::default(),
        };
        for key in 0..manner.keys {
            let key = reader.key(key);
            Box::pin(reader.carry_out(&key, Action::Get, None)).await;
        }
        Box::pin(reader.carry_out("", Action::List, None)).await;
        record.extend(reader.record);
    }
    record
}

/// One client.
struct Recorder {
    client: Client,
    number: usize,
    manner: Manner,
    clock: Instant,
    random: Random,
    values: u64,
    /// What this client saw last of each schedule; none for an absence.
    seen: BTreeMap<String, Option<Version>>,
    record: Record,
    acknowledged: Arc<AtomicU64>,
}

impl Recorder {
    async fn work(mut self, stop: CancellationToken) -> Self {
        while !stop.is_cancelled() {
            self.step().await;
            tokio::time::sleep(self.manner.pace).await;
        }
        self
    }

    fn key(&self, number: u32) -> String {
        let owner = if self.manner.apart { self.number } else { 0 };
        format!("w-{owner}-{number}")
    }

    async fn step(&mut self) {
        let number = self.random.below(self.manner.keys);
        let key = self.key(number);
        let seen = self.seen.get(&key).cloned();
        let (action, etag) = self.choose(seen.as_ref().map(Option::as_ref));
        let key = if action == Action::List { String::new() } else { key };
        self.carry_out(&key, action, etag).await;
    }

    fn choose(&mut self, seen: Option<Option<&Version>>) -> (Action, Option<u64>) {
        self.values += 1;
        let value = format!("v{}-{}-{}", self.manner.seed, self.number, self.values);
        let dice = self.random.below(100);
        let version = match seen {
            None => return (Action::Get, None),
            Some(None) if dice < 80 => return (Action::Create(value), None),
            Some(None) => return (Action::List, None),
            Some(Some(version)) => version,
        };
        let action = match dice {
            0..40 => Action::Update(value),
            40..65 if version.pause.is_some() => Action::Resume,
            40..65 => Action::Pause(value),
            65..75 => Action::Delete,
            75..90 => return (Action::Get, None),
            _ => return (Action::List, None),
        };
        (action, Some(version.revision))
    }

    async fn carry_out(&mut self, key: &str, action: Action, etag: Option<u64>) {
        let began = self.now();
        let answer = call(&self.client, key, &action, etag).await;
        let ended = self.now();
        let outcome = match answer {
            Ok(outcome) => outcome,
            Err(error) => {
                let outcome = outcome_of(&action, &error);
                if matches!(outcome, Outcome::NotDone | Outcome::Unknown) {
                    self.record.failures.push(format!("{action:?} of {key}: {error}"));
                }
                outcome
            }
        };
        match &outcome {
            Outcome::Is(version) => drop(self.seen.insert(key.to_owned(), Some(version.clone()))),
            Outcome::Deleted | Outcome::Absent => drop(self.seen.insert(key.to_owned(), None)),
            // To be read before anything else.
            Outcome::Refused | Outcome::NotDone | Outcome::Unknown => drop(self.seen.remove(key)),
            Outcome::Listed(..) => {}
        }
        if !matches!(outcome, Outcome::NotDone | Outcome::Unknown) {
            self.acknowledged.fetch_add(1, Ordering::Relaxed);
        }
        self.record.history.push(Operation { key: key.to_owned(), action, etag, outcome, began, ended });
    }

    fn now(&self) -> u64 {
        u64::try_from(self.clock.elapsed().as_micros()).unwrap_or(u64::MAX)
    }
}

/// What an error says of the operation.
fn outcome_of(action: &Action, error: &ClientError) -> Outcome {
    match error {
        ClientError::NotFound(_) if *action == Action::Get => Outcome::Absent,
        ClientError::NotFound(_)
        | ClientError::AlreadyExists(_)
        | ClientError::Conflict(_)
        | ClientError::FailedPrecondition(_) => Outcome::Refused,
        ClientError::NoLeader(_) | ClientError::Unreachable { .. } => Outcome::NotDone,
        _ if matches!(action, Action::Get | Action::List) => Outcome::NotDone,
        _ => Outcome::Unknown,
    }
}

async fn call(
    client: &Client,
    key: &str,
    action: &Action,
    etag: Option<u64>,
) -> Result<Outcome, ClientError> {
    let name = format!("{PARENT}/schedules/{key}");
    let etag = etag.map_or_else(String::new, |etag| etag.to_string());
    let schedule = match action {
        Action::Create(value) => {
            let request = pb::CreateScheduleRequest {
                parent: PARENT.into(),
                schedule_id: key.into(),
                schedule: Some(schedule_of(value)),
                ..Default::default()
            };
            client.create_schedule(request).await?
        }
        Action::Update(value) => {
            let schedule = pb::Schedule { name, etag, description: value.clone(), ..Default::default() };
            let request = pb::UpdateScheduleRequest {
                schedule: Some(schedule),
                update_mask: Some(FieldMask { paths: vec!["description".into()] }),
                ..Default::default()
            };
            client.update_schedule(request).await?
        }
        Action::Pause(value) => {
            let request =
                pb::PauseScheduleRequest { name, etag, reason: value.clone(), ..Default::default() };
            client.pause_schedule(request).await?
        }
        Action::Resume => {
            client.resume_schedule(pb::ResumeScheduleRequest { name, etag, ..Default::default() }).await?
        }
        Action::Delete => {
            client.delete_schedule(pb::DeleteScheduleRequest { name, etag, ..Default::default() }).await?;
            return Ok(Outcome::Deleted);
        }
        Action::Get => client.get_schedule(pb::GetScheduleRequest { name }).await?,
        Action::List => return list(client).await,
    };
    Ok(Outcome::Is(version_of(schedule)))
}

/// One page: it is read at one revision.
async fn list(client: &Client) -> Result<Outcome, ClientError> {
    let request =
        pb::ListSchedulesRequest { parent: PARENT.into(), page_size: 1000, page_token: String::new() };
    let page = client.list_schedules(request).await?;
    assert!(page.next_page_token.is_empty(), "the clients have more schedules than a page holds");
    let versions = page.schedules.into_iter().map(|schedule| {
        let key = schedule.name.rsplit('/').next().unwrap_or_default().to_owned();
        (key, version_of(schedule))
    });
    Ok(Outcome::Listed(page.revision, versions.collect()))
}

fn version_of(schedule: pb::Schedule) -> Version {
    Version {
        revision: schedule.etag.parse().expect("an etag is a revision"),
        uid: schedule.uid,
        description: schedule.description,
        pause: schedule.pause.map(|pause| pause.reason),
    }
}

/// A schedule that fires never by itself.
fn schedule_of(description: &str) -> pb::Schedule {
    let never = pb::Cron { expression: "0 0 30 2 *".into(), allow_never: true, ..Default::default() };
    pb::Schedule {
        description: description.into(),
        timing: Some(pb::Timing {
            include: vec![pb::Rule { rule: Some(pb::rule::Rule::Cron(never)) }],
            ..Default::default()
        }),
        target: Some(pb::Target {
            target: Some(pb::target::Target::Command(pb::CommandTarget {
                argv: vec!["true".into()],
                ..Default::default()
            })),
        }),
        ..Default::default()
    }
}

/// Chance that is the same for the same seed (splitmix64).
pub struct Random(pub u64);

impl Random {
    /// A number below `bound`.
    pub fn below(&mut self, bound: u32) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let high = ((mixed ^ (mixed >> 31)) >> 32) as u32;
        // Close enough to even for small bounds.
        high % bound.max(1)
    }
}
