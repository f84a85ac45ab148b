//! `belfry executor drain`.

use std::collections::BTreeSet;
use std::time::Duration;

use belfry_sdk::pb;
use belfry_timing::{format_duration, parse_duration};
use clap::Args;
use tokio::time::{Instant, sleep};

use super::Leader;
use crate::commands::Context;
use crate::commands::schedule::CheckArgs;
use crate::exit::{Exit, Failure};
use crate::output::prose;
use crate::output::view::ExecutorView;
use crate::text;

/// How often executors that are waited for are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Executors dial a new leader within seconds. Until then it does not know them, which does not mean that they are gone.
const NEW_LEADER_KNOWS_AFTER: Duration = Duration::from_secs(10);

#[derive(Debug, Args)]
pub(super) struct DrainArgs {
    /// The executors: id, name, or the beginning of one that no other has.
    #[arg(required = true, value_name = "EXECUTOR")]
    executors: Vec<String>,
    /// Wait until they are gone.
    #[arg(long, conflicts_with = "dry_run")]
    wait: bool,
    /// Wait no longer than this, and then exit with 8.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, requires = "wait")]
    wait_timeout: Option<Duration>,
    #[command(flatten)]
    check: CheckArgs,
}

pub(super) async fn run(context: &Context, args: &DrainArgs) -> Result<(), Failure> {
    let mut leader = Leader::find(context)?;
    let connected = leader.executors().await?;
    // All of them, or none: a name with a slip in it drains nobody.
    let mut chosen: Vec<&pb::ExecutorStatus> = Vec::new();
    for name in &args.executors {
        let executor = find(&connected, name)?;
        if !chosen.iter().any(|other| other.executor_id == executor.executor_id) {
            chosen.push(executor);
        }
    }
    for executor in &chosen {
        let executor_id = executor.executor_id.clone();
        let request = pb::DrainExecutorRequest { executor_id, validate_only: args.check.dry_run };
        leader.client.drain_executor(request).await?;
        prose(&told(executor, args.check));
    }
    args.check.remark("drained");
    let asked = |executor: &pb::ExecutorStatus| {
        let draining = executor.draining || !args.check.dry_run;
        ExecutorView::from(pb::ExecutorStatus { draining, ..executor.clone() })
    };
    let mut listing = context.printer.listing::<ExecutorView>("executors", text::now_millis());
    listing.page(&chosen.iter().map(|executor| asked(executor)).collect::<Vec<_>>())?;
    listing.end()?;
    if args.wait {
        let ids = chosen.iter().map(|executor| executor.executor_id.clone()).collect();
        gone(&mut leader, ids, args.wait_timeout).await?;
    }
    Ok(())
}

fn told(executor: &pb::ExecutorStatus, check: CheckArgs) -> String {
    let name = &executor.display_name;
    match (executor.running, check.dry_run) {
        (0, false) => format!("{name} takes no more runs; it has none and ends now"),
        (count, false) => format!("{name} takes no more runs; it ends after the {count} that it still runs"),
        (0, true) => format!("{name} would end at once: it has no runs"),
        (count, true) => format!("{name} would end after the {count} run(s) that it has"),
    }
}

/// The one executor that a text means.
fn find<'a>(connected: &'a [pb::ExecutorStatus], text: &str) -> Result<&'a pb::ExecutorStatus, Failure> {
    let matching = |fits: &dyn Fn(&str) -> bool| -> Vec<&'a pb::ExecutorStatus> {
        connected.iter().filter(|one| fits(&one.executor_id) || fits(&one.display_name)).collect()
    };
    let exact = matching(&|name| name == text);
    let found = if exact.is_empty() { matching(&|name| name.starts_with(text)) } else { exact };
    match found.as_slice() {
        [one] => Ok(one),
        [] => Err(Failure::new(
            Exit::NotFound,
            format!("no executor {text:?} is connected: see `belfry executor list`"),
        )),
        several => {
            let names: Vec<_> =
                several.iter().map(|one| format!("{} ({})", one.executor_id, one.display_name)).collect();
            Err(Failure::usage(format!("{text:?} may be any of {}: write more of it", names.join(", "))))
        }
    }
}

/// Waits until none of these is connected.
async fn gone(
    leader: &mut Leader<'_>,
    ids: BTreeSet<String>,
    limit: Option<Duration>,
) -> Result<(), Failure> {
    let begun_at = Instant::now();
    let (mut said, mut term, mut known_from) = (String::new(), leader.term, begun_at);
    loop {
        let executors = leader.executors().await?;
        if leader.term != term {
            (term, known_from) = (leader.term, Instant::now() + NEW_LEADER_KNOWS_AFTER);
        }
        let left: Vec<_> = executors.iter().filter(|executor| ids.contains(&executor.executor_id)).collect();
        if left.is_empty() && Instant::now() >= known_from {
            prose("gone");
            return Ok(());
        }
        if let Some(limit) = limit.filter(|limit| begun_at.elapsed() >= *limit) {
            return Err(Failure::new(
                Exit::ConditionFalse,
                format!(
                    "{} executor(s) have not ended within {}: they go on draining, see `belfry executor list`",
                    left.len(),
                    format_duration(limit)
                ),
            ));
        }
        let running: u32 = left.iter().map(|executor| executor.running).sum();
        let line = format!("waiting for {} executor(s) with {running} run(s)", left.len());
        if line != said {
            prose(&line);
            said = line;
        }
        sleep(LOOK_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_executor_is_meant_by_id_name_or_the_beginning_of_one() {
        let one = |id: &str, name: &str| pb::ExecutorStatus {
            executor_id: id.into(),
            display_name: name.into(),
            ..Default::default()
        };
        let connected = [one("01AAA", "web"), one("01AAB", "web-2"), one("01CCC", "db"), one("01DDD", "db")];
        let found = |text: &str| find(&connected, text).map(|executor| executor.executor_id.clone());
        assert_eq!(found("01AAB").unwrap(), "01AAB");
        assert_eq!(found("web").unwrap(), "01AAA");
        assert_eq!(found("web-").unwrap(), "01AAB");
        assert_eq!(found("01C").unwrap(), "01CCC");
        assert_eq!(found("x").unwrap_err().exit(), Exit::NotFound);
        for ambiguous in ["db", "01A", ""] {
            assert_eq!(found(ambiguous).unwrap_err().exit(), Exit::Usage, "{ambiguous}");
        }
        assert!(found("db").unwrap_err().to_string().contains("01CCC (db), 01DDD (db)"));
    }
}
