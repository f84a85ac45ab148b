//! The flags that say when.

use std::time::Duration;

use belfry_sdk::pb;
use belfry_timing::{CalendarRule, TimeZone, WeekdayRule, parse_duration, parse_time};
use clap::Args;

use super::values::{Limit, Named};
use crate::exit::Failure;
use crate::text;

#[derive(Clone, Debug, Default, PartialEq, Args)]
#[command(next_help_heading = "When (rules may be given several times, and unite)")]
pub(crate) struct TimingArgs {
    /// Cron expression: five fields or six with seconds first, macros, L, W, #, H.
    #[arg(long, value_name = "EXPR")]
    cron: Vec<String>,
    /// Interval, counted from 1970: it does not start anew with a deploy.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    every: Vec<Duration>,
    /// Shift of the interval.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration, requires = "every")]
    phase: Option<Duration>,
    /// One instant: 2026-11-23T02:00:00Z, or 2026-11-23T02:00 by what the clocks of --tz are known to show then.
    #[arg(long, value_name = "TIME")]
    at: Vec<String>,
    /// One instant that stays at this time of the clocks, should their zone change its rules: 2026-11-23T02:00.
    #[arg(long, value_name = "CIVIL")]
    at_local: Vec<String>,
    /// Calendar rule: `months=1,7 days=-1 weekdays=MON#1 times=09:00,18:00`; days and weekdays must both match.
    #[arg(long, value_name = "RULE")]
    calendar_rule: Vec<String>,
    /// So long after the last run ended. Not beside other rules.
    #[arg(long, value_name = "DURATION", value_parser = parse_duration)]
    delay: Option<Duration>,
    /// Time zone, such as Europe/Berlin. UTC unless given.
    #[arg(long, value_name = "ZONE")]
    tz: Option<String>,
    /// Accept an expression that never fires: a schedule that runs by hand only.
    #[arg(long)]
    allow_never: bool,
    /// Leave out the instants of this cron expression, or `none`; repeatable.
    #[arg(long, value_name = "EXPR")]
    exclude_cron: Vec<Named>,
    /// Leave out the instants of this calendar rule, or `none`; repeatable.
    #[arg(long, value_name = "RULE")]
    exclude_calendar_rule: Vec<Named>,
    /// Only instants inside this calendar, or `none`; repeatable.
    #[arg(long, value_name = "NAME")]
    calendar: Vec<Named>,
    /// No instants inside this calendar, or `none`; repeatable.
    #[arg(long, value_name = "NAME")]
    exclude_calendar: Vec<Named>,
    /// Instants inside this calendar are skipped and say so, or `none`; repeatable.
    #[arg(long, value_name = "NAME")]
    freeze_calendar: Vec<Named>,
    /// No instant before this time, or `none`.
    #[arg(long, value_name = "TIME")]
    start: Option<Named>,
    /// No instant at or after this time, or `none`.
    #[arg(long, value_name = "TIME")]
    end: Option<Named>,
    /// Begin up to so long after the instant, by an offset that stays, or `none`.
    #[arg(long, value_name = "DURATION", value_parser = Limit::parse)]
    spread: Option<Limit>,
}

impl TimingArgs {
    /// The same with one more expression, in front.
    pub(crate) fn with_cron(mut self, expression: Option<&String>) -> Self {
        self.cron.splice(0..0, expression.cloned());
        self
    }

    /// Whether a timing that never fires is meant so.
    pub(crate) fn allows_never(&self) -> bool {
        self.allow_never
    }

    /// Changes what the flags name, and says whether they named anything.
    pub(crate) fn apply(&self, timing: &mut Option<pb::Timing>) -> Result<bool, Failure> {
        if *self == Self::default() {
            return Ok(false);
        }
        let mut changed = timing.clone().unwrap_or_default();
        if let Some(zone) = &self.tz {
            changed.time_zone.clone_from(zone);
        }
        let rules = self.rules(&changed)?;
        if !rules.is_empty() {
            changed.include = rules;
        }
        self.exclude(&mut changed.exclude)?;
        self.calendars(&mut changed.calendars);
        for (flag, field) in [(&self.start, &mut changed.start_time), (&self.end, &mut changed.end_time)] {
            if let Some(time) = flag {
                *field = match time.get() {
                    Some(time) => Some(instant(time, &changed.time_zone)?),
                    None => None,
                };
            }
        }
        if let Some(spread) = self.spread {
            changed.spread = spread.proto();
        }
        *timing = Some(changed);
        Ok(true)
    }

    /// The rules that the flags ask for; none when they leave them as they are.
    fn rules(&self, current: &pb::Timing) -> Result<Vec<pb::Rule>, Failure> {
        use pb::rule::Rule;
        let mut rules: Vec<Rule> =
            self.cron.iter().map(|expression| cron(expression, self.allow_never)).collect();
        if self.allow_never && rules.is_empty() {
            rules = self.allowed(current)?;
        }
        if self.phase.is_some() && self.every.len() > 1 {
            return Err(Failure::usage(
                "--phase goes with one --every: which of them it shifts is not clear",
            ));
        }
        let phase = self.phase.map(text::proto_duration);
        rules.extend(
            self.every.iter().map(|every| {
                Rule::Interval(pb::Interval { every: Some(text::proto_duration(*every)), phase })
            }),
        );
        for at in &self.at {
            rules.push(Rule::AtTime(instant(at, &current.time_zone)?));
        }
        rules.extend(self.at_local.iter().cloned().map(Rule::AtLocalTime));
        for rule in &self.calendar_rule {
            rules.push(Rule::Calendar(calendar_rule(rule)?));
        }
        let delay = self.delay.map(text::proto_duration);
        rules.extend(delay.map(|delay| Rule::FixedDelay(pb::FixedDelay { delay: Some(delay) })));
        Ok(rules.into_iter().map(|rule| pb::Rule { rule: Some(rule) }).collect())
    }

    /// The expressions that are there already, allowed to never fire.
    fn allowed(&self, current: &pb::Timing) -> Result<Vec<pb::rule::Rule>, Failure> {
        let allowed = |rule: &pb::Rule| match &rule.rule {
            Some(pb::rule::Rule::Cron(current)) => Some(cron(&current.expression, true)),
            _other => None,
        };
        let allowed: Option<Vec<_>> = current.include.iter().map(allowed).collect();
        match allowed.filter(|rules| !rules.is_empty() && !self.has_rules()) {
            Some(rules) => Ok(rules),
            None => Err(Failure::usage("--allow-never goes with --cron: other rules always fire")),
        }
    }

    fn has_rules(&self) -> bool {
        !self.every.is_empty()
            || !self.at.is_empty()
            || !self.at_local.is_empty()
            || !self.calendar_rule.is_empty()
            || self.delay.is_some()
    }

    /// Each flag replaces the excludes of its kind (DEF-1).
    fn exclude(&self, exclude: &mut Vec<pb::Rule>) -> Result<(), Failure> {
        use pb::rule::Rule;
        let rule = |rule| pb::Rule { rule: Some(rule) };
        if !self.exclude_cron.is_empty() {
            exclude.retain(|rule| !matches!(rule.rule, Some(Rule::Cron(_))));
            exclude.extend(Named::all(&self.exclude_cron).map(|expression| rule(cron(expression, false))));
        }
        if !self.exclude_calendar_rule.is_empty() {
            exclude.retain(|rule| !matches!(rule.rule, Some(Rule::Calendar(_))));
            for text in Named::all(&self.exclude_calendar_rule) {
                exclude.push(rule(Rule::Calendar(calendar_rule(text)?)));
            }
        }
        Ok(())
    }

    /// Each flag replaces the calendars that are used in its way (DEF-1).
    fn calendars(&self, calendars: &mut Vec<pb::CalendarUse>) {
        use pb::calendar_use::Mode;
        for (names, mode) in [
            (&self.calendar, Mode::Include),
            (&self.exclude_calendar, Mode::Exclude),
            (&self.freeze_calendar, Mode::Freeze),
        ] {
            if !names.is_empty() {
                calendars.retain(|used| used.mode() != mode);
                let used = |name: &str| pb::CalendarUse { calendar: name.to_owned(), mode: mode.into() };
                calendars.extend(Named::all(names).map(used));
            }
        }
    }
}

fn cron(expression: &str, allow_never: bool) -> pb::rule::Rule {
    pb::rule::Rule::Cron(pb::Cron {
        expression: expression.to_owned(),
        allow_never,
        resolved_expression: String::new(),
    })
}

/// An instant, or what the clocks of a zone show at it.
pub(crate) fn instant(time: &str, zone: &str) -> Result<prost_types::Timestamp, Failure> {
    let zone = TimeZone::parse(text::zone_or_utc(zone)).map_err(|error| Failure::usage(error.to_string()))?;
    let at = parse_time(time, &zone).map_err(|error| Failure::usage(error.to_string()))?;
    Ok(text::timestamp(at))
}

/// Reads the text form of the timing crate.
fn calendar_rule(rule: &str) -> Result<pb::CalendarRule, Failure> {
    let read = CalendarRule::parse(rule).map_err(|error| Failure::usage(error.to_string()))?;
    let weekday = |rule: &WeekdayRule| pb::Weekday {
        day: rule.weekday.short_name().to_owned(),
        nth: rule.nth.map_or(0, i32::from),
    };
    Ok(pb::CalendarRule {
        years: read.years.iter().map(|year| i32::from(*year)).collect(),
        months: read.months.iter().map(|month| i32::from(*month)).collect(),
        month_days: read.month_days.iter().map(|day| i32::from(*day)).collect(),
        weekdays: read.weekdays.iter().map(weekday).collect(),
        times: read.times.iter().map(ToString::to_string).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calendar_rules_are_lists_by_name() {
        let rule = calendar_rule("months=1,7 days=-1 weekdays=mon#1,FRI times=09:00,18:30").unwrap();
        assert_eq!((rule.months, rule.month_days), (vec![1, 7], vec![-1]));
        let weekday = |day: &str, nth| pb::Weekday { day: day.into(), nth };
        assert_eq!(rule.weekdays, [weekday("MON", 1), weekday("FRI", 0)]);
        assert_eq!(rule.times, ["09:00", "18:30"]);
        for wrong in ["", "months=1", "hours=1 times=09:00", "weekdays=MON#x times=09:00", "09:00"] {
            assert!(calendar_rule(wrong).is_err(), "{wrong}");
        }
    }
}
