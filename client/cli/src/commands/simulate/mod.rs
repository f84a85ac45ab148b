//! `belfry simulate`: what an outage would come to, reckoned here from the schedules as the cluster has them.

mod outage;
mod report;

use std::collections::HashMap;
use std::time::Duration;

use belfry_sdk::pb;
use belfry_server::config::Config;
use belfry_timing::{TimeZone, Timing, parse_duration, parse_time};
use clap::Args;

use self::outage::{Affected, Misfire, Recovery, in_window, simulate};
use self::report::Report;
use super::schedule::{Selector, schedules};
use super::timings::{Timings, fixed_delay, scheduled};
use super::{Context, converse};
use crate::exit::Failure;
use crate::output::warning;
use crate::text;

/// The longest outage: an instant each second is still counted at once.
const OUTAGE_MAX: Duration = Duration::from_secs(31 * 86_400);
/// More than there are seconds in the longest outage.
const COUNT_MAX: usize = 3_000_000;

/// What applies where a schedule says nothing, as the contract has it.
const SKIP_WINDOW: i64 = 60_000;
const FIRE_ALL_WINDOW: i64 = 24 * 3_600_000;
const FIRE_ALL_LIMIT: u32 = 100;
const BUFFER_LIMIT: u32 = 100;

#[derive(Debug, Args)]
pub(crate) struct SimulateArgs {
    /// How long nobody leads the cluster, at most 31d.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    outage: Duration,
    /// When it begins: 2026-11-23T02:00:00Z. Now unless given.
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// Only schedules with these labels: `team=billing,tier!=test`.
    #[arg(short = 'l', long, default_value = "", value_parser = Selector::parse, hide_default_value = true)]
    selector: Selector,
    /// Starts of recovery in a second, the node's `dispatch.catch_up_starts_per_second`. The default of nodes unless given.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    budget: Option<u32>,
    /// How long a run is taken to run.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, default_value = "10s")]
    run_time: Duration,
}

pub(crate) fn run(context: &Context, args: &SimulateArgs) -> Result<(), Failure> {
    converse(async {
        let span = Span::read(args)?;
        let client = context.client()?;
        let mut survey = Survey {
            span,
            timings: Timings::read_with_spreads(&client, &context.parent()).await?,
            counted: HashMap::new(),
        };
        let (mut looked_at, mut affected) = (0, Vec::new());
        let mut pages = schedules(&client, &context.parent());
        while let Some(page) = pages.next().await? {
            for schedule in page.iter().filter(|schedule| args.selector.fits(&schedule.labels)) {
                looked_at += 1;
                match survey.affected(schedule) {
                    Ok(found) => affected.extend(found),
                    // The others are worth knowing.
                    Err(failure) => warning(&format!("left out: {failure}")),
                }
            }
        }
        let budget = args.budget.unwrap_or(Config::default().dispatch.catch_up_starts_per_second);
        let run_for = i64::try_from(args.run_time.as_millis()).unwrap_or(i64::MAX / 2);
        let simulated = simulate(&affected, Recovery { at: span.until, budget, run_for });
        let report = Report::new(span, (budget, args.run_time), looked_at, affected, simulated);
        let names = report.names();
        context.printer.one(&report, &names, |printer| report.screen(printer))
    })
}

/// The outage: from an instant to before another.
#[derive(Clone, Copy, Debug)]
struct Span {
    from: i64,
    until: i64,
}

impl Span {
    fn read(args: &SimulateArgs) -> Result<Self, Failure> {
        if args.outage.is_zero() || args.outage > OUTAGE_MAX {
            return Err(Failure::usage(
                "an outage is longer than nothing and at most 31d: choose another --outage",
            ));
        }
        let from = match &args.at {
            Some(at) => {
                parse_time(at, &TimeZone::utc()).map_err(|error| Failure::usage(error.to_string()))?
            }
            None => text::now_millis(),
        };
        let long = i64::try_from(args.outage.as_millis()).expect("it is at most a month");
        Ok(Self { from, until: from.saturating_add(long) })
    }

    /// Nominal times from `from` on, the newest first.
    fn newest_first(self, timing: &Timing) -> impl Iterator<Item = i64> + '_ {
        timing.between_rev(self.from - 1, self.until - 1)
    }
}

/// Looks at schedules one after the other.
struct Survey {
    span: Span,
    timings: Timings,
    /// Instants of a timing from a certain one to the end of the outage: many schedules share both.
    counted: HashMap<(String, i64), u64>,
}

impl Survey {
    /// What the outage takes from a schedule, if anything.
    fn affected(&mut self, schedule: &pb::Schedule) -> Result<Option<Affected>, Failure> {
        if schedule.state() == pb::schedule::State::Completed {
            return Ok(None);
        }
        let misfire = misfire(schedule.policies.as_ref());
        let missed = if fixed_delay(schedule) {
            // It counts from the end of a run, so one instant at most.
            let next =
                schedule.status.as_ref().and_then(|status| status.next_times.first()).map(text::millis);
            let next = next.filter(|next| (self.span.from..self.span.until).contains(next));
            Missed::of(next.into_iter(), Some, misfire, self.span.until)
        } else {
            let timing = self.timings.compile(schedule)?;
            self.missed(schedule, &timing, misfire)
        };
        if missed.all == 0 {
            return Ok(None);
        }
        let deadline = schedule.policies.as_ref().and_then(|policies| policies.start_deadline.as_ref());
        let begun = schedule.status.as_ref().map_or(0, |status| status.begun_count);
        let begins_left = (schedule.max_runs > 0).then(|| schedule.max_runs.saturating_sub(begun));
        Ok(Some(Affected {
            name: schedule.name.clone(),
            pool: if schedule.pool.is_empty() { "default".to_owned() } else { schedule.pool.clone() },
            misfire,
            start_deadline: deadline.map(text::duration_millis),
            begins_left,
            missed: missed.all,
            barred: missed.barred,
            in_window: missed.in_window,
            newest: missed.newest,
        }))
    }

    fn missed(&mut self, schedule: &pb::Schedule, timing: &Timing, misfire: Misfire) -> Missed {
        let span = self.span;
        let window = self.timings.spread_of(schedule);
        let freezes = schedule.timing.iter().flat_map(|timing| &timing.calendars);
        let freezes = freezes.into_iter().any(|used| used.mode() == pb::calendar_use::Mode::Freeze);
        let paused_until =
            schedule.pause.as_ref().map(|pause| pause.until.as_ref().map_or(i64::MAX, text::millis));
        if freezes || paused_until.is_some() || window > 0 {
            let scheduled_at = |nominal: i64| {
                let is_barred =
                    paused_until.is_some_and(|until| nominal < until) || timing.frozen_by(nominal).is_some();
                (!is_barred).then(|| scheduled(&schedule.uid, timing, window, nominal))
            };
            return Missed::of(span.newest_first(timing), scheduled_at, misfire, span.until);
        }
        // The newest few are looked at, the rest is counted.
        let newest = span.newest_first(timing).take(misfire.interesting());
        let mut missed = Missed::of(newest, Some, misfire, span.until);
        missed.all = self.count(timing, span.from);
        missed.in_window = match misfire {
            Misfire::Coalesce => missed.all,
            Misfire::Skip { window, .. } | Misfire::FireAll { window, .. } => {
                self.count(timing, span.from.max(span.until - window))
            }
        };
        missed
    }

    fn count(&mut self, timing: &Timing, from: i64) -> u64 {
        let count = || timing.count_between(from - 1, self.span.until - 1, COUNT_MAX) as u64;
        *self.counted.entry((timing.canonical().to_owned(), from)).or_insert_with(count)
    }
}

/// Instants of a schedule in the outage.
struct Missed {
    all: u64,
    barred: u64,
    in_window: u64,
    newest: Vec<i64>,
}

impl Missed {
    /// Sorts instants that come newest first; `scheduled` says when a run of one is scheduled, if there is to be any.
    fn of(
        instants: impl Iterator<Item = i64>,
        scheduled: impl Fn(i64) -> Option<i64>,
        misfire: Misfire,
        recovered_at: i64,
    ) -> Self {
        let mut missed = Self { all: 0, barred: 0, in_window: 0, newest: Vec::new() };
        for nominal in instants {
            missed.all += 1;
            match scheduled(nominal) {
                None => missed.barred += 1,
                Some(at) if in_window(misfire, at, recovered_at) => {
                    missed.in_window += 1;
                    if missed.newest.len() < misfire.interesting() {
                        missed.newest.push(at);
                    }
                }
                Some(_) => {}
            }
        }
        missed.newest.reverse();
        missed
    }
}

/// What the policies of a schedule make of missed instants.
fn misfire(policies: Option<&pb::Policies>) -> Misfire {
    let unset = pb::Policies::default();
    let policies = policies.unwrap_or(&unset);
    let window = |default: i64| policies.misfire_window.as_ref().map_or(default, text::duration_millis);
    let or = |given: u32, default: u32| if given == 0 { default } else { given } as usize;
    match policies.misfire_policy() {
        pb::MisfirePolicy::Unspecified | pb::MisfirePolicy::Coalesce => Misfire::Coalesce,
        pb::MisfirePolicy::Skip => Misfire::Skip {
            window: window(SKIP_WINDOW),
            waiting_max: match policies.overlap_policy() {
                pb::OverlapPolicy::BufferAll => or(policies.overlap_limit, BUFFER_LIMIT),
                // Nothing of it may begin while its instants are being handled, so the older ones merge.
                pb::OverlapPolicy::Unspecified
                | pb::OverlapPolicy::HoldOne
                | pb::OverlapPolicy::Skip
                | pb::OverlapPolicy::Allow
                | pb::OverlapPolicy::CancelRunning => 1,
            },
        },
        pb::MisfirePolicy::FireAll => Misfire::FireAll {
            window: window(FIRE_ALL_WINDOW),
            limit: or(policies.misfire_limit, FIRE_ALL_LIMIT),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    const HOUR: i64 = 3_600_000;

    fn schedule(expression: &str) -> pb::Schedule {
        let cron = pb::Cron { expression: expression.into(), ..Default::default() };
        pb::Schedule {
            name: "namespaces/n/schedules/s".into(),
            uid: "01J9ZK3V5T".into(),
            timing: Some(pb::Timing {
                include: vec![pb::Rule { rule: Some(pb::rule::Rule::Cron(cron)) }],
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    /// What thirteen hours from 2026-11-23T02:00:00Z take.
    fn taken(schedule: &pb::Schedule) -> Option<Affected> {
        let calendar = pb::Calendar {
            name: "namespaces/n/calendars/freeze".into(),
            periods: vec![pb::calendar::Period {
                start: "2026-11-23T03:00Z".into(),
                end: "2026-11-23T05:00Z".into(),
            }],
            ..Default::default()
        };
        let calendar = super::super::calendar::compile(&calendar).unwrap();
        let calendars = BTreeMap::from([("namespaces/n/calendars/freeze".to_owned(), calendar.into())]);
        let from = 1_795_399_200_000;
        let mut survey = Survey {
            span: Span { from, until: from + 13 * HOUR },
            timings: Timings::with(calendars, BTreeMap::from([("namespaces/wide".to_owned(), 60_000)])),
            counted: HashMap::new(),
        };
        survey.affected(schedule).unwrap()
    }

    #[test]
    fn the_end_of_an_outage_is_not_part_of_it() {
        let hourly = taken(&schedule("0 * * * *")).unwrap();
        assert_eq!((hourly.missed, hourly.in_window, hourly.barred), (13, 13, 0));
        assert_eq!(hourly.newest, [1_795_399_200_000 + 12 * HOUR]);
        assert!(taken(&schedule("0 1 * * *")).is_none());
        assert_eq!(taken(&schedule("* * * * * *")).unwrap().missed, 46_800);
    }

    #[test]
    fn counting_and_looking_at_each_come_to_the_same() {
        let mut counted = schedule("*/7 * * * *");
        counted.policies = Some(pb::Policies {
            misfire_policy: pb::MisfirePolicy::FireAll.into(),
            misfire_window: Some(prost_types::Duration { seconds: 3 * 3600, nanos: 0 }),
            misfire_limit: 5,
            ..Default::default()
        });
        let mut looked_at = counted.clone();
        looked_at.timing.as_mut().unwrap().spread =
            Some(prost_types::Duration { seconds: 0, nanos: 1_000_000 });
        let (counted, looked_at) = (taken(&counted).unwrap(), taken(&looked_at).unwrap());
        assert_eq!(
            (counted.missed, counted.in_window, counted.newest),
            (looked_at.missed, looked_at.in_window, looked_at.newest)
        );
    }

    #[test]
    fn pauses_and_freezes_bar_what_is_inside() {
        let mut paused = schedule("0 * * * *");
        paused.pause = Some(pb::Pause::default());
        assert_eq!(taken(&paused).unwrap().barred, 13);
        paused.pause = Some(pb::Pause {
            until: Some(text::timestamp(1_795_399_200_000 + 4 * HOUR)),
            ..Default::default()
        });
        assert_eq!(taken(&paused).unwrap().barred, 4);
        let mut frozen = schedule("0 * * * *");
        let mode = pb::calendar_use::Mode::Freeze.into();
        frozen.timing.as_mut().unwrap().calendars = vec![pb::CalendarUse { calendar: "freeze".into(), mode }];
        assert_eq!(taken(&frozen).unwrap().barred, 2);
    }

    #[test]
    fn a_spread_moves_when_a_run_is_late() {
        let mut spread = schedule("0 * * * *");
        spread.timing.as_mut().unwrap().spread = Some(prost_types::Duration { seconds: 3600, nanos: 0 });
        // The offset of this uid in an hour, as the golden test of the timing crate has it.
        assert_eq!(taken(&spread).unwrap().newest, [1_795_399_200_000 + 12 * HOUR + 1_839_000]);
        spread.timing.as_mut().unwrap().spread = None;
        spread.name = "namespaces/wide/schedules/s".into();
        assert!(taken(&spread).unwrap().newest[0] > 1_795_399_200_000 + 12 * HOUR);
    }

    #[test]
    fn max_runs_leaves_what_has_not_begun() {
        let mut limited = schedule("0 * * * *");
        assert_eq!(taken(&limited).unwrap().begins_left, None);
        limited.max_runs = 5;
        limited.status = Some(pb::ScheduleStatus { begun_count: 3, ..Default::default() });
        assert_eq!(taken(&limited).unwrap().begins_left, Some(2));
    }

    #[test]
    fn a_fixed_delay_misses_one_instant_at_most() {
        let mut delayed = schedule("0 * * * *");
        let rule = pb::rule::Rule::FixedDelay(pb::FixedDelay::default());
        delayed.timing.as_mut().unwrap().include = vec![pb::Rule { rule: Some(rule) }];
        assert!(taken(&delayed).is_none());
        let next_times = vec![text::timestamp(1_795_399_200_000 + HOUR)];
        delayed.status = Some(pb::ScheduleStatus { next_times, ..Default::default() });
        assert_eq!(taken(&delayed).unwrap().missed, 1);
    }
}
