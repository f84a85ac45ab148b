//! The stock handlers, with real processes and a real, tiny HTTP server.

#![allow(clippy::unwrap_used, reason = "these are tests; clippy does not see it of their fakes")]

mod command;
mod http;

use belfry_sdk::executor::{RunContext, RunName};
use belfry_sdk::pb;

/// A run with this target.
fn run(target: &impl prost::Message) -> RunContext {
    let name = RunName::parse("namespaces/n/schedules/s/runs/r".to_owned()).unwrap();
    RunContext::for_trial(name, target.encode_to_vec())
}

fn shell(text: &str) -> pb::CommandTarget {
    pb::CommandTarget { shell: text.to_owned(), ..Default::default() }
}
