//! Those who call too much: each with a connection of its own, and none of them waits for anything but its answer.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use belfry_sdk::{Client, ClientError, ClientOptions, pb};
use belfry_tests::creation::{creation, handler};
use clap::Args;
use tokio::task::JoinSet;

/// What the callers are told.
#[derive(Args, Debug)]
pub(super) struct CallersOptions {
    /// Nodes, separated by commas.
    #[arg(long, value_delimiter = ',')]
    endpoints: Vec<String>,
    /// Callers, each with one call under way.
    #[arg(long)]
    callers: usize,
    /// How long.
    #[arg(long)]
    seconds: u64,
}

/// What became of the calls.
#[derive(Default, Debug)]
pub(super) struct Calls {
    pub(super) answered: u64,
    pub(super) refused: u64,
    pub(super) refused_without_advice: u64,
    /// Failures, in words.
    pub(super) others: BTreeMap<String, u64>,
}

#[derive(Default)]
struct Counted {
    answered: AtomicU64,
    refused: AtomicU64,
    refused_without_advice: AtomicU64,
    others: Mutex<BTreeMap<String, u64>>,
}

/// Calls for a while, and prints what became of it.
pub(super) async fn run(options: CallersOptions) -> anyhow::Result<()> {
    let (counted, flooding) = (Arc::new(Counted::default()), Arc::new(AtomicBool::new(true)));
    let mut callers = JoinSet::new();
    for number in 0..options.callers {
        // A thousand processes would not share their connections either.
        let client = Client::connect(ClientOptions::new(options.endpoints.clone()))?;
        callers.spawn(call(client, number, counted.clone(), flooding.clone()));
    }
    tokio::time::sleep(Duration::from_secs(options.seconds)).await;
    flooding.store(false, Ordering::Relaxed);
    while let Some(ended) = callers.join_next().await {
        ended?;
    }
    let read = |of: &AtomicU64| of.load(Ordering::Relaxed);
    let calls = Calls {
        answered: read(&counted.answered),
        refused: read(&counted.refused),
        refused_without_advice: read(&counted.refused_without_advice),
        others: std::mem::take(&mut *counted.others.lock().unwrap_or_else(PoisonError::into_inner)),
    };
    print!("{calls}");
    Ok(())
}

/// Creates, reads and deletes one schedule, over and over.
async fn call(client: Client, number: usize, counted: Arc<Counted>, flooding: Arc<AtomicBool>) {
    let id = format!("flood-{number}");
    let name = format!("namespaces/default/schedules/{id}");
    while flooding.load(Ordering::Relaxed) {
        let request = creation("default", &id, "30 4 1 1 *", handler("nothing"));
        counted.count(client.create_schedule(request).await.map(drop));
        counted.count(client.get_schedule(pb::GetScheduleRequest { name: name.clone() }).await.map(drop));
        let delete = pb::DeleteScheduleRequest { name: name.clone(), ..Default::default() };
        counted.count(client.delete_schedule(delete).await.map(drop));
    }
}

impl Counted {
    fn count(&self, outcome: Result<(), ClientError>) {
        match outcome {
            // A delete or a read of what was refused before finds nothing: an answer too.
            Ok(()) | Err(ClientError::NotFound(_) | ClientError::AlreadyExists(_)) => {
                self.answered.fetch_add(1, Ordering::Relaxed);
            }
            Err(ClientError::ResourceExhausted(refusal)) => {
                self.refused.fetch_add(1, Ordering::Relaxed);
                if refusal.retry_after.is_none() {
                    self.refused_without_advice.fetch_add(1, Ordering::Relaxed);
                }
            }
            Err(error) => {
                let mut others = self.others.lock().unwrap_or_else(PoisonError::into_inner);
                let words = error.to_string().replace('\n', " ").chars().take(100).collect();
                *others.entry(words).or_default() += 1;
            }
        }
    }
}

/// One line each: a count, and of what. [`Calls::read`] reads it.
impl fmt::Display for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} {ANSWERED}", self.answered)?;
        writeln!(f, "{} {REFUSED}", self.refused)?;
        writeln!(f, "{} {WITHOUT_ADVICE}", self.refused_without_advice)?;
        self.others.iter().try_for_each(|(what, count)| writeln!(f, "{count} {what}"))
    }
}

const ANSWERED: &str = "answered";
const REFUSED: &str = "refused";
const WITHOUT_ADVICE: &str = "refused without a time to try again";

impl Calls {
    pub(super) fn read(text: &str) -> anyhow::Result<Self> {
        let mut calls = Self::default();
        for line in text.lines() {
            let (count, what) = line.split_once(' ').context("callers print a count and words")?;
            let count = count.parse()?;
            match what {
                ANSWERED => calls.answered = count,
                REFUSED => calls.refused = count,
                WITHOUT_ADVICE => calls.refused_without_advice = count,
                other => *calls.others.entry(other.to_owned()).or_default() += count,
            }
        }
        Ok(calls)
    }
}
