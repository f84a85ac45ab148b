//! Tests of consensus as a whole: openraft's own suite on both stores, and clusters over loopback gRPC.

mod cluster;
mod faults;
mod membership;
mod packing;
mod replication;
mod site;
mod suite;

use std::sync::Arc;
use std::time::Duration;

use belfry_core::command::RequestKey;
use belfry_core::definition::{Definition, Rule, Target, Timing};
use belfry_core::{Action, Command, ScheduleKey, UnixMillis};
use openraft::EntryPayload;

use super::types::{Entry, LeaderId, LogId, Proposal};
use crate::codec::encode_command;

/// A bound for hangs only: every wait is for a condition.
const PATIENCE: Duration = Duration::from_secs(60);

/// A command as an entry of the log.
pub(super) fn entry(index: u64, command: &Command) -> Entry {
    entry_of(index, std::slice::from_ref(command))
}

/// Commands as one entry of the log.
pub(super) fn entry_of(index: u64, commands: &[Command]) -> Entry {
    let log_id = LogId::new(LeaderId { term: 1, node_id: 1 }, index);
    let commands = commands.iter().map(encode_command).collect();
    Entry { log_id, payload: EntryPayload::Normal(Proposal::of_group(commands)) }
}

/// Waits for a condition that must come.
async fn eventually<T>(what: &str, wait: impl Future<Output = T>) -> T {
    let waited = tokio::time::timeout(PATIENCE, wait).await;
    waited.unwrap_or_else(|_| panic!("{what}: not within {PATIENCE:?}"))
}

/// Looks again and again until `holds`; for what no channel tells.
async fn until(what: &str, holds: impl Fn() -> bool) {
    eventually(what, async {
        while !holds() {
            look_again_soon().await;
        }
    })
    .await;
}

/// Leaves the processor to those that are waited for.
async fn look_again_soon() {
    tokio::time::sleep(Duration::from_millis(2)).await;
}

pub(super) fn command(action: Action) -> Command {
    Command { now: UnixMillis(1_000), request: None, action }
}

/// Creates a schedule; proposed again, it is the same request.
pub(super) fn create(name: &str) -> Command {
    let rule = Rule::Interval { every: Duration::from_secs(60), phase: Duration::ZERO };
    let target = Target { handler: "http".to_owned(), payload: vec![7; 300].into() };
    let definition = Definition::new(Timing::of(vec![rule], "UTC"), target);
    let action = Action::CreateSchedule {
        key: key(name),
        uid: format!("uid-{name}").into(),
        definition: Arc::new(definition),
        next_fire_at: Some(UnixMillis(60_000)),
        calendars: Default::default(),
        pause: None,
    };
    Command { request: Some(RequestKey { id: name.into(), fingerprint: 1 }), ..command(action) }
}

pub(super) fn key(name: &str) -> ScheduleKey {
    ScheduleKey::new("default", name)
}
