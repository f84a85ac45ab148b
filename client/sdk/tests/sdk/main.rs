//! The client and the executor runtime against a cluster that does as the test says.

#![allow(clippy::unwrap_used, reason = "these are tests; clippy does not see it of their fakes")]

mod client;
mod executor;
mod fake_api;
mod fake_leader;
