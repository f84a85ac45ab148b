//! The stock handlers: what an executor can run without anybody writing a handler.
//!
//! - [`CommandHandler`], offered as `command`, runs programs.
//! - [`HttpHandler`], offered as `http`, makes HTTP requests.
//!
//! ```no_run
//! use belfry_sdk::executor::Executor;
//!
//! # async fn example() -> Result<(), belfry_sdk::executor::ExecutorError> {
//! let executor = belfry_executor::stock(Executor::builder().endpoints(["belfry-0:7400"]).slots(8)).build()?;
//! executor.run(std::future::pending()).await?;
//! # Ok(())
//! # }
//! ```
//!
//! - STOCK-1: a run that was cancelled leaves no process of its group behind.
//! - STOCK-2: what cannot be started is a failed run with a message that says why, never a dead executor.
//! - STOCK-3: a request is sent once: no redirect is followed and nothing is tried again.

mod command;
mod http;

use belfry_sdk::executor::ExecutorBuilder;

pub use command::CommandHandler;
pub use http::HttpHandler;

/// The name under which schedules with a command as their target find their executors.
pub const COMMAND: &str = "command";
/// The name under which schedules with an HTTP request as their target find their executors.
pub const HTTP: &str = "http";

/// Offers both stock handlers.
#[must_use]
pub fn stock(builder: ExecutorBuilder) -> ExecutorBuilder {
    builder.handler(COMMAND, CommandHandler::new()).handler(HTTP, HttpHandler::new())
}
