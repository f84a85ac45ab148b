//! Belfry for programs: a client of its API, and the runtime that executes runs.
//!
//! # Manage schedules
//!
//! [`Client`] speaks to any node of a cluster, follows leadership and repeats what is safe to repeat. Requests and
//! answers are the messages of the contract, re-exported as [`pb`].
//!
//! ```no_run
//! use belfry_sdk::{Client, ClientOptions, pb};
//!
//! # async fn example() -> Result<(), belfry_sdk::ClientError> {
//! let client = Client::connect(ClientOptions::new(["belfry-0:7400", "belfry-1:7400", "belfry-2:7400"]))?;
//! let request = pb::GetScheduleRequest { name: "namespaces/billing/schedules/invoices".into() };
//! println!("{:?}", client.get_schedule(request).await?.timing);
//! # Ok(())
//! # }
//! ```
//!
//! # Execute runs
//!
//! [`executor::Executor`] dials the cluster, takes runs for the handlers that it offers, and reports how they ended.
//! The code of a run starts at most once, whatever happens to the network or to the leader meanwhile.
//!
//! ```no_run
//! use belfry_sdk::executor::{Executor, Outcome, RunContext};
//!
//! # async fn example(shutdown: tokio_util::sync::CancellationToken) -> Result<(), belfry_sdk::executor::ExecutorError> {
//! let executor = Executor::builder()
//!     .endpoints(["belfry-0:7400", "belfry-1:7400", "belfry-2:7400"])
//!     .slots(8)
//!     .handler("invoices", |run: RunContext| async move {
//!         run.output.line(&format!("invoices of {}", run.nominal_time));
//!         Outcome::Succeeded
//!     })
//!     .build()?;
//! executor.run(shutdown.cancelled_owned()).await?;
//! # Ok(())
//! # }
//! ```
//!
//! A handler that has effects outside passes [`executor::RunContext::idempotency_key`] on (the same for every attempt
//! of one run), or has the other side refuse a [`executor::RunContext::fencing_token`] older than one it has seen.
//!
//! # Invariants
//!
//! - SDK-1: a mutation carries one request id through all its tries, so that a repeated try is not a second write.
//! - SDK-2: an answer that got lost is never reported as a failure: the caller learns that the outcome is unknown.
//! - SDK-3: user code starts only after its lease has been answered, and never twice for one (run, attempt).
//! - SDK-4: what a run came to is kept and said again until the leader has acknowledged it.
//! - SDK-5: a watch that goes on at another node leaves nothing out, or says so.

mod address;
mod backoff;
mod client;
mod error;
pub mod executor;
pub mod random;
mod time;
pub mod transport;

/// The messages of the contract, `belfry.v1`.
pub use belfry_proto::v1 as pb;

pub use client::{Client, ClientOptions, ItemResult, SchedulePages, SnapshotParts, Watch};
pub use error::{ClientError, FieldViolation, Refusal};
pub use time::UnixMillis;
