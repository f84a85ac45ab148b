//! Creates the schedule `hello` in the namespace `default`: every minute, for the handler of the example `hello_executor`.
//!
//! ```text
//! BELFRY_ENDPOINT=http://127.0.0.1:7400 cargo run -p belfry-sdk --example create_schedule
//! ```

use belfry_sdk::{Client, ClientError, ClientOptions, pb};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let endpoint = std::env::var("BELFRY_ENDPOINT").unwrap_or_else(|_| "http://127.0.0.1:7400".to_owned());
    let client = Client::connect(ClientOptions::new([endpoint]))?;
    let request = pb::CreateScheduleRequest {
        parent: "namespaces/default".to_owned(),
        schedule_id: "hello".to_owned(),
        schedule: Some(every_minute("hello", "world")),
        ..Default::default()
    };
    match client.create_schedule(request).await {
        Ok(schedule) => println!("created {} with etag {}", schedule.name, schedule.etag),
        Err(ClientError::AlreadyExists(_)) => println!("namespaces/default/schedules/hello is there already"),
        Err(error) => return Err(error.into()),
    }
    Ok(())
}

fn every_minute(handler: &str, payload: &str) -> pb::Schedule {
    let cron = pb::Cron { expression: "* * * * *".to_owned(), ..Default::default() };
    let target = pb::HandlerTarget { handler: handler.to_owned(), payload: payload.to_owned().into() };
    pb::Schedule {
        timing: Some(pb::Timing {
            include: vec![pb::Rule { rule: Some(pb::rule::Rule::Cron(cron)) }],
            time_zone: "Europe/Berlin".to_owned(),
            ..Default::default()
        }),
        target: Some(pb::Target { target: Some(pb::target::Target::Handler(target)) }),
        ..Default::default()
    }
}
