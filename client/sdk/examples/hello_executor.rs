//! An executor with one handler, `hello`. Ctrl-C drains it.
//!
//! ```text
//! BELFRY_ENDPOINT=http://127.0.0.1:7400 cargo run -p belfry-sdk --example hello_executor
//! ```

use belfry_sdk::executor::{Executor, Outcome, RunContext};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_env_filter("info").init();
    let endpoint = std::env::var("BELFRY_ENDPOINT").unwrap_or_else(|_| "http://127.0.0.1:7400".to_owned());
    let executor = Executor::builder().endpoints([endpoint]).slots(8).handler("hello", hello).build()?;
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

async fn hello(run: RunContext) -> Outcome {
    let whom = String::from_utf8_lossy(&run.payload);
    run.output.line(&format!("hello {whom}, it is {}", run.nominal_time));
    println!("{}: hello {whom}, attempt {}, fencing token {}", run.run, run.attempt, run.fencing_token);
    Outcome::Succeeded
}
