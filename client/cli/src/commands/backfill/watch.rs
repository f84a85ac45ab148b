//! Waiting for a backfill.

use std::time::Duration;

use belfry_sdk::{Client, pb};
use belfry_timing::{format_duration, parse_duration};
use clap::Args;
use tokio::time::{Instant, sleep};

use super::show;
use crate::commands::Context;
use crate::exit::{Exit, Failure};
use crate::output::prose;
use crate::output::view::BackfillView;
use crate::text;

/// How often it is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How often it says how it gets on: a screen of lines is a minute.
const SAY_EVERY: Duration = Duration::from_secs(2);

#[derive(Debug, Args)]
pub(crate) struct WatchArgs {
    /// The backfill, as SCHEDULE/NUMBER or as its resource name.
    backfill: String,
    #[command(flatten)]
    waiting: WaitArgs,
}

#[derive(Debug, Args)]
pub(crate) struct WaitArgs {
    /// Wait no longer than this, and then exit with 8.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    wait_timeout: Option<Duration>,
}

pub(super) async fn run(context: &Context, args: &WatchArgs) -> Result<(), Failure> {
    let name = context.backfill(&args.backfill)?;
    until_it_ends(context, &context.client()?, &name, &args.waiting).await
}

/// Waits for a backfill, shows what became of it, and fails unless all of it succeeded.
pub(super) async fn until_it_ends(
    context: &Context,
    client: &Client,
    name: &str,
    args: &WaitArgs,
) -> Result<(), Failure> {
    let begun_at = Instant::now();
    let mut progress = Progress::default();
    let view = loop {
        let backfill = client.get_backfill(pb::GetBackfillRequest { name: name.to_owned() }).await?;
        let view = BackfillView::from(backfill);
        if let Some(line) = progress.line(&view, begun_at.elapsed()) {
            prose(&line);
        }
        if view.has_ended() {
            break view;
        }
        if let Some(limit) = args.wait_timeout.filter(|limit| begun_at.elapsed() >= *limit) {
            let (limit, name) = (format_duration(limit), view.short_name());
            return Err(Failure::new(
                Exit::ConditionFalse,
                format!(
                    "{name} has not ended within {limit}: it goes on, look again with `belfry backfill get {name}`"
                ),
            ));
        }
        sleep(LOOK_EVERY).await;
    };
    show(context, &view)?;
    match view.shortcoming() {
        None => Ok(()),
        Some(why) => Err(Failure::new(Exit::ConditionFalse, format!("{} {why}", view.short_name()))),
    }
}

/// What was said of a backfill so far.
#[derive(Default)]
struct Progress {
    first: Option<Look>,
    said: String,
    said_at: Duration,
}

#[derive(Clone, Copy)]
struct Look {
    after: Duration,
    done: u64,
}

impl Progress {
    /// What there is to say now, if it is anything new.
    fn line(&mut self, view: &BackfillView, after: Duration) -> Option<String> {
        let look = Look { after, done: view.done() };
        let first = *self.first.get_or_insert(look);
        let counts = view.progress();
        let is_early = !self.said.is_empty() && after < self.said_at + SAY_EVERY;
        if counts == self.said || (is_early && !view.has_ended()) {
            return None;
        }
        self.said.clone_from(&counts);
        self.said_at = after;
        let left = left(first, look, view.instant_count()).filter(|_| view.is_running());
        Some(match left {
            Some(left) => {
                let millis = u64::try_from(left.as_millis()).unwrap_or(u64::MAX);
                format!("{counts}; about {} left", text::rough(millis))
            }
            None => counts,
        })
    }
}

/// How long the rest takes at the pace so far; none before there is a pace.
fn left(first: Look, now: Look, expected: u64) -> Option<Duration> {
    let (done, rest) = (now.done.saturating_sub(first.done), expected.saturating_sub(now.done));
    let took = now.after.saturating_sub(first.after);
    if done == 0 || rest == 0 {
        return None;
    }
    let millis = took.as_millis().checked_mul(rest.into())? / u128::from(done);
    Some(Duration::from_millis(u64::try_from(millis).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_follows_from_the_pace_since_the_first_look() {
        let look = |seconds, done| Look { after: Duration::from_secs(seconds), done };
        assert_eq!(left(look(0, 10), look(60, 40), 100), Some(Duration::from_secs(120)));
        assert_eq!(left(look(0, 10), look(60, 10), 100), None);
        assert_eq!(left(look(0, 10), look(60, 100), 100), None);
        assert_eq!(left(look(0, 0), look(60, 120), 100), None);
    }

    #[test]
    fn nothing_is_said_twice_nor_too_often() {
        let view = |done| {
            BackfillView::from(pb::Backfill {
                instant_count: 10,
                succeeded_count: done,
                state: pb::backfill::State::Running.into(),
                ..Default::default()
            })
        };
        let mut progress = Progress::default();
        let mut said = |done, seconds| progress.line(&view(done), Duration::from_secs(seconds));
        assert!(said(1, 0).is_some_and(|line| line.starts_with("1 of 10 done")));
        assert_eq!(said(2, 1), None);
        assert!(said(2, 2).is_some_and(|line| line.ends_with("; about 16s left")));
        assert_eq!(said(2, 9), None);
    }
}
