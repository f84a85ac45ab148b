//! An executor with one handler, `copy`, whose runs may take much longer than their attempt timeout: as long as they get on.
//! Ctrl-C drains it.
//!
//! ```text
//! BELFRY_ENDPOINT=http://127.0.0.1:7400 cargo run -p belfry-sdk --example long_executor
//! belfry schedule create copy --cron '@daily' --handler copy --attempt-timeout 5m
//! ```

use std::time::Duration;

use belfry_sdk::executor::{Executor, Outcome, RunContext};

const BATCHES: u32 = 100;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_env_filter("info").init();
    let endpoint = std::env::var("BELFRY_ENDPOINT").unwrap_or_else(|_| "http://127.0.0.1:7400".to_owned());
    let executor = Executor::builder().endpoints([endpoint]).slots(8).handler("copy", copy).build()?;
    let shutdown = async {
        // An error means that Ctrl-C cannot be heard; then only the end of the process ends the example.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending().await
        }
    };
    let summary = executor.run(shutdown).await?;
    println!("{summary:?}");
    Ok(())
}

async fn copy(run: RunContext) -> Outcome {
    for batch in 1..=BATCHES {
        tokio::select! {
            () = copy_batch(batch) => {}
            () = run.cancelled.cancelled() => return Outcome::cancelled(format!("after batch {}", batch - 1)),
        }
        run.progress(format!("{batch} of {BATCHES}"));
        run.extend();
    }
    Outcome::Succeeded
}

/// Stands for work of some length.
async fn copy_batch(_batch: u32) {
    tokio::time::sleep(Duration::from_secs(10)).await;
}
