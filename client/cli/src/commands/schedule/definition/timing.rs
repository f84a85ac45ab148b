//! The flags that say when.

use std::time::Duration;

use belfry_sdk::pb;
use belfry_timing::{TimeZone, parse_duration, parse_time};
use clap::Args;

use crate::exit::Failure;
use crate::text;

#[derive(Clone, Debug, Default, PartialEq, Args)]
#[command(next_help_heading = "When")]
pub(super) struct TimingArgs {
    /// Cron expression: five fields or six with seconds first, macros, L, W, #, H.
    #[arg(long, value_name = "EXPR", group = "when")]
    cron: Option<String>,
    /// Interval, counted from 1970: it does not start anew with a deploy.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, group = "when")]
    every: Option<Duration>,
    /// One instant: 2026-11-23T02:00:00Z, or 2026-11-23T02:00 by the clocks of --tz.
    #[arg(long, value_name = "TIME", group = "when")]
    at: Option<String>,
    /// Shift of the interval.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, requires = "every")]
    phase: Option<Duration>,
    /// Time zone, such as Europe/Berlin. UTC unless given.
    #[arg(long, value_name = "ZONE")]
    tz: Option<String>,
    /// Accept an expression that never fires: a schedule that runs by hand only.
    #[arg(long)]
    allow_never: bool,
}

impl TimingArgs {
    pub(super) fn apply(&self, timing: &mut Option<pb::Timing>) -> Result<bool, Failure> {
        let rule = self.rule(timing.as_ref())?;
        if rule.is_none() && self.tz.is_none() {
            return Ok(false);
        }
        let timing = timing.get_or_insert_default();
        if let Some(zone) = &self.tz {
            timing.time_zone.clone_from(zone);
        }
        if let Some(rule) = rule {
            timing.include = vec![pb::Rule { rule: Some(rule) }];
        }
        Ok(true)
    }

    /// The rule that the flags ask for; none when they leave it as it is.
    fn rule(&self, current: Option<&pb::Timing>) -> Result<Option<pb::rule::Rule>, Failure> {
        use pb::rule::Rule;
        let cron = |expression: &str| {
            Rule::Cron(pb::Cron {
                expression: expression.to_owned(),
                allow_never: self.allow_never,
                resolved_expression: String::new(),
            })
        };
        if let Some(expression) = &self.cron {
            return Ok(Some(cron(expression)));
        }
        if self.allow_never {
            let rule = current.and_then(|timing| timing.include.first()).and_then(|rule| rule.rule.as_ref());
            return match (rule, self.every.is_some() || self.at.is_some()) {
                (Some(Rule::Cron(current)), false) => Ok(Some(cron(&current.expression))),
                _other => Err(Failure::usage("--allow-never goes with --cron: other rules always fire")),
            };
        }
        if let Some(every) = self.every {
            let interval = pb::Interval {
                every: Some(text::proto_duration(every)),
                phase: self.phase.map(text::proto_duration),
            };
            return Ok(Some(Rule::Interval(interval)));
        }
        let Some(at) = &self.at else { return Ok(None) };
        let zone = self.tz.as_deref().or(current.map(|timing| timing.time_zone.as_str())).unwrap_or_default();
        let zone =
            TimeZone::parse(text::zone_or_utc(zone)).map_err(|error| Failure::usage(error.to_string()))?;
        let at = parse_time(at, &zone).map_err(|error| Failure::usage(error.to_string()))?;
        Ok(Some(Rule::AtTime(text::timestamp(at))))
    }
}
