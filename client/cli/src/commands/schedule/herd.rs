//! `belfry schedule herd`, and the notice of `create`: who else runs in the same minute.
//!
//! - HERD-1: at most [`READ_MAX`] schedules are read. Beyond them the count is what was found among those.

use belfry_sdk::{Client, pb};
use belfry_timing::Timing;
use clap::Args;
use serde::Serialize;

use super::NameArgs;
use crate::commands::Context;
use crate::commands::timings::{Timings, fixed_delay, scheduled};
use crate::exit::Failure;
use crate::output::view::Instant;
use crate::output::{prose, warning};
use crate::text;

/// Schedules read, in pages of so many: a moment of reading.
const READ_MAX: usize = 10_000;
const PAGE_SIZE: i32 = 1000;
/// From so many others on a new schedule is told of them: fewer are what any cluster has at the hour.
const MANY: u64 = 20;
/// Others that are named.
const NAMED_MAX: usize = 20;
/// Instants looked at of a timing that is spread, before the minute: two hours of a minutely one.
const SPREAD_INSTANTS_MAX: usize = 120;

const MINUTE: i64 = 60_000;

#[derive(Debug, Args)]
pub(crate) struct HerdArgs {
    #[command(flatten)]
    schedule: NameArgs,
}

/// Who runs in one minute.
#[derive(Debug, Serialize)]
struct Herd {
    /// The minute of the next run.
    minute: Instant,
    /// Others whose runs are scheduled in it, and the first of them.
    count: u64,
    schedules: Vec<String>,
    /// Schedules looked at.
    read_count: usize,
}

pub(super) async fn run(context: &Context, args: &HerdArgs) -> Result<(), Failure> {
    let (name, client) = (context.schedule(&args.schedule.name)?, context.client()?);
    let schedule = client.get_schedule(pb::GetScheduleRequest { name: name.clone() }).await?;
    let Some((herd, is_spread)) = herd(&client, &schedule).await? else {
        prose("it has no next run");
        return Ok(());
    };
    let names = herd.schedules.join("\n");
    context.printer.one(&herd, &names, |printer| {
        let mut facts = vec![
            ("Minute", herd.minute.to_string().into()),
            ("Others", format!("{} of {} schedules", herd.count, herd.read_count).into()),
        ];
        let names: Vec<_> = herd.schedules.iter().map(|name| text::short_name(name)).collect();
        if !names.is_empty() {
            facts.push(("Among them", text::shortened(&names.join(", "), 200).into()));
        }
        printer.facts(facts)
    })?;
    if let Some(advice) = advice(&schedule, &herd, is_spread) {
        prose(&advice);
    }
    Ok(())
}

/// Says so when many others run in the minute of a schedule's next run. Whoever creates a schedule has not asked for it, so
/// what goes wrong here is no failure.
pub(super) async fn notice(client: &Client, schedule: &pb::Schedule) {
    if let Ok(Some((herd, is_spread))) = herd(client, schedule).await
        && let Some(advice) = advice(schedule, &herd, is_spread)
    {
        warning(&advice);
    }
}

/// What to do about many others; nothing about few, or for a schedule that is spread already.
fn advice(schedule: &pb::Schedule, herd: &Herd, is_spread: bool) -> Option<String> {
    if herd.count < MANY || is_spread {
        return None;
    }
    let rules = schedule.timing.iter().flat_map(|timing| &timing.include);
    let has_cron = rules.into_iter().any(|rule| matches!(rule.rule, Some(pb::rule::Rule::Cron(_))));
    let h = if has_cron {
        ", or `H` for its minute, gives it a place of its own"
    } else {
        " moves its runs apart"
    };
    let at_least = if herd.read_count >= READ_MAX { "at least " } else { "" };
    Some(format!(
        "{at_least}{} other schedules run in the minute of its next run, {}: --spread 10m{h}",
        herd.count, herd.minute
    ))
}

/// The herd of a schedule's next run, and whether the schedule is spread.
async fn herd(client: &Client, schedule: &pb::Schedule) -> Result<Option<(Herd, bool)>, Failure> {
    let next = schedule.status.as_ref().and_then(|status| status.next_times.first()).map(text::millis);
    let Some(next) = next else { return Ok(None) };
    let mut timings = Timings::read_with_spreads(client, "namespaces/-").await?;
    let window = timings.spread_of(schedule);
    let at = match fixed_delay(schedule) {
        true => next,
        false => scheduled(&schedule.uid, &timings.compile(schedule)?, window, next),
    };
    let minute = at.div_euclid(MINUTE) * MINUTE;
    let mut herd = Herd { minute: Instant(minute), count: 0, schedules: Vec::new(), read_count: 0 };
    let mut page_token = String::new();
    loop {
        let parent = "namespaces/-".to_owned();
        let request = pb::ListSchedulesRequest { parent, page_size: PAGE_SIZE, page_token };
        let page = client.list_schedules(request).await?;
        herd.read_count += page.schedules.len();
        for other in page.schedules.into_iter().filter(|other| other.name != schedule.name) {
            if runs_in(&mut timings, &other, minute) {
                herd.count += 1;
                if herd.schedules.len() < NAMED_MAX {
                    herd.schedules.push(other.name);
                }
            }
        }
        page_token = page.next_page_token;
        // HERD-1
        if page_token.is_empty() || herd.read_count >= READ_MAX {
            return Ok(Some((herd, window > 0)));
        }
    }
}

/// Whether a run of a schedule is scheduled in a minute. What this release cannot evaluate is taken not to be.
fn runs_in(timings: &mut Timings, schedule: &pb::Schedule, minute: i64) -> bool {
    if schedule.state() != pb::schedule::State::Active || fixed_delay(schedule) {
        return false;
    }
    let window = timings.spread_of(schedule);
    timings.compile(schedule).is_ok_and(|timing| fires_in(&timing, &schedule.uid, window, minute))
}

fn fires_in(timing: &Timing, uid: &str, window: i64, minute: i64) -> bool {
    let (first, last) = (minute - window, minute + MINUTE - 1);
    let mut nominal = timing.between_rev(first - 1, last).take(SPREAD_INSTANTS_MAX);
    nominal.any(|nominal| (minute..=last).contains(&scheduled(uid, timing, window, nominal)))
}

#[cfg(test)]
mod tests {
    use belfry_timing::{HashSeed, NeverFiring, TimeZone};

    use super::*;

    /// 2026-11-23T02:00:00Z
    const TWO: i64 = 1_795_399_200_000;

    fn fires(expression: &str, window: i64, minute: i64) -> bool {
        let seed = HashSeed::new("", "");
        let timing = Timing::parse_cron(expression, &TimeZone::utc(), NeverFiring::Refuse, &seed).unwrap();
        fires_in(&timing, "01J9ZK3V5T", window, minute)
    }

    #[test]
    fn a_minute_has_its_own_seconds_only() {
        assert!(fires("0 * * * *", 0, TWO) && fires("59 0 2 * * *", 0, TWO));
        assert!(!fires("1 * * * *", 0, TWO) && !fires("59 * * * *", 0, TWO));
    }

    #[test]
    fn what_is_spread_runs_in_the_minute_of_its_offset() {
        // The offset of this uid in an hour is 30m39s: the golden test of the timing crate has it.
        assert!(!fires("0 * * * *", 60 * MINUTE, TWO));
        assert!(fires("0 * * * *", 60 * MINUTE, TWO + 30 * MINUTE));
    }

    #[test]
    fn advice_is_for_many_and_for_what_is_not_spread() {
        let herd = |count| Herd { minute: Instant(TWO), count, schedules: Vec::new(), read_count: 100 };
        let schedule = pb::Schedule::default();
        assert_eq!(advice(&schedule, &herd(MANY - 1), false), None);
        assert_eq!(advice(&schedule, &herd(MANY), true), None);
        assert!(
            advice(&schedule, &herd(MANY), false).unwrap().ends_with("--spread 10m moves its runs apart")
        );
    }
}
