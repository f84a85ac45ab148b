//! When a schedule fires: every rule checked by itself and all of them together, then turned into the core's types.

use std::borrow::Cow;
use std::fmt::Display;
use std::time::Duration;

use belfry_core::definition::{CalendarMode, CalendarRule, CalendarUse, Rule, Timing};
use belfry_core::{ScheduleKey, UnixMillis};
use belfry_proto::v1 as pb;
use belfry_timing::{CalendarField, NeverFiring, TimeOfDay, TimeZone, Weekday};

use super::definition::{Rules, instant, read_duration};
use super::names;
use super::violations::{INVALID_CRON, Violations};
use crate::timings::{self, Calendars, CompiledTiming, parse_cron};

/// Shortest and longest window that runs are spread over, whoever says so: a schedule or its namespace.
pub(super) const SPREAD_MIN: Duration = Duration::from_secs(1);
pub(super) const SPREAD_MAX: Duration = Duration::from_secs(24 * 3600);

const FIELD: &str = "schedule.timing";

/// Whether an instant that has passed makes sense.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Past {
    Refused,
    Accepted,
}

/// What rules are read against.
struct Reading<'a> {
    key: &'a ScheduleKey,
    zone: &'a TimeZone,
    /// Rules that are stored already, in the same zone: an old instant may stay, and an `H` stays as it was resolved.
    stored: &'a [Rule],
    now: UnixMillis,
    past: Past,
}

impl Rules<'_> {
    /// Reads `timing`. A rule that `current` has already stays as it is there.
    pub(super) fn timing(
        &self,
        key: &ScheduleKey,
        timing: Option<&pb::Timing>,
        current: Option<&Timing>,
        now: UnixMillis,
        found: &mut Violations,
    ) -> Option<Timing> {
        let Some(timing) = timing else {
            found.add(FIELD, "is required: say when the schedule fires");
            return None;
        };
        let zone = match timing.time_zone.as_str() {
            "" => Some(TimeZone::utc()),
            name => found.take("schedule.timing.time_zone", TimeZone::parse(name)),
        };
        if timing.include.is_empty() {
            found.add("schedule.timing.include", "is empty: give at least one rule");
            return None;
        }
        // Without a zone nothing else can be read; with it, everything that is wrong is said at once.
        let zone = zone?;
        let current = current.filter(|current| current.time_zone == zone.name());
        let include = Reading {
            key,
            zone: &zone,
            stored: current.map_or(&[], |current| &current.include),
            now,
            past: Past::Refused,
        };
        let exclude = Reading {
            stored: current.map_or(&[], |current| &current.exclude),
            past: Past::Accepted,
            ..include
        };
        let included = include.rules("include", &timing.include, found);
        let excluded = exclude.rules("exclude", &timing.exclude, found);
        let calendars = self.calendars(&timing.calendars, found);
        let mut edge = |name: &str, at: Option<&prost_types::Timestamp>| {
            at.map(|at| read_instant(format_args!("{FIELD}.{name}"), at, found))
        };
        let start_at = edge("start_time", timing.start_time.as_ref());
        let end_at = edge("end_time", timing.end_time.as_ref());
        let spread = timing
            .spread
            .as_ref()
            .map(|spread| read_duration("schedule.timing.spread", spread, SPREAD_MIN, SPREAD_MAX, found));
        let read = Timing {
            include: included?,
            exclude: excluded?,
            calendars: calendars?,
            time_zone: zone.name().to_owned(),
            start_at: flatten(start_at)?,
            end_at: flatten(end_at)?,
            spread: flatten(spread)?,
        };
        let unchanged = current == Some(&read);
        (unchanged || self.fits_together(&read, now, found)).then_some(read)
    }

    /// Checks what rules say together; each by itself is valid.
    fn fits_together(&self, timing: &Timing, now: UnixMillis, found: &mut Violations) -> bool {
        let before = found.count();
        let delays = |rules: &[Rule]| rules.iter().any(|rule| matches!(rule, Rule::FixedDelay(_)));
        if delays(&timing.exclude) {
            found.add("schedule.timing.exclude", "cannot have a fixed_delay: it names no instants");
        }
        if delays(&timing.include) {
            let alone = timing.include.len() == 1 && timing.exclude.is_empty() && timing.calendars.is_empty();
            if !alone {
                let why = "has a fixed_delay with something beside it: it goes with no other rule, exclude or calendar";
                found.add("schedule.timing.include", why);
            }
            if timing.start_at.zip(timing.end_at).is_some_and(|(start, end)| end <= start) {
                found.add("schedule.timing.end_time", "is not after start_time");
            }
            return found.count() == before;
        }
        // Calendars are looked at where the state is: they may change at any time.
        let without = match timing.calendars.is_empty() {
            true => Cow::Borrowed(timing),
            false => Cow::Owned(Timing { calendars: Vec::new(), ..timing.clone() }),
        };
        match self.timings.compile(&without, &Calendars::default()) {
            Err(fault) => found.add(FIELD, fault),
            Ok(compiled) if compiled.next(now.0).is_none() && !may_never_fire(timing) => {
                let why = "has no instant from now on: loosen its excludes, its start or its end";
                found.add(FIELD, why);
            }
            Ok(_) => {}
        }
        found.count() == before
    }

    fn calendars(&self, uses: &[pb::CalendarUse], found: &mut Violations) -> Option<Vec<CalendarUse>> {
        let mut read = Vec::<CalendarUse>::with_capacity(uses.len());
        let before = found.count();
        for (index, used) in uses.iter().enumerate() {
            let field = format!("{FIELD}.calendars[{index}]");
            let max = self.limits.name_bytes_max;
            let name = format!("{field}.calendar");
            found.take(&name, names::check_segment("calendar", &used.calendar, max));
            if read.iter().any(|other| other.calendar == used.calendar) {
                found.add(&name, format_args!("`{}` is used twice: use it once", used.calendar));
            }
            let mode = match used.mode() {
                pb::calendar_use::Mode::Include => CalendarMode::Include,
                pb::calendar_use::Mode::Exclude => CalendarMode::Exclude,
                pb::calendar_use::Mode::Freeze => CalendarMode::Freeze,
                pb::calendar_use::Mode::Unspecified => {
                    found.add(format_args!("{field}.mode"), "is required: INCLUDE, EXCLUDE or FREEZE");
                    CalendarMode::Freeze
                }
            };
            read.push(CalendarUse { calendar: used.calendar.clone(), mode });
        }
        (found.count() == before).then_some(read)
    }
}

/// The value, or nothing where nothing was given; none if what was given could not be read.
fn flatten<T>(read: Option<Option<T>>) -> Option<Option<T>> {
    match read {
        None => Some(None),
        Some(read) => read.map(Some),
    }
}

/// Whether its user said that it may have no instants, or it is over by its nature.
pub(super) fn may_never_fire(timing: &Timing) -> bool {
    timing.include.iter().any(|rule| match rule {
        Rule::Cron { allow_never, .. } => *allow_never,
        Rule::At(_) | Rule::AtLocal(_) => true,
        Rule::Interval { .. } | Rule::Calendar(_) | Rule::FixedDelay(_) => false,
    })
}

impl Reading<'_> {
    fn rules(&self, list: &str, rules: &[pb::Rule], found: &mut Violations) -> Option<Vec<Rule>> {
        let read: Vec<_> = rules
            .iter()
            .enumerate()
            .map(|(index, rule)| {
                let stored = self.stored.iter().find(|stored| says_the_same(rule, stored));
                let field = format!("{FIELD}.{list}[{index}]");
                stored.cloned().or_else(|| self.rule(&field, rule, found))
            })
            .collect();
        read.into_iter().collect()
    }

    fn rule(&self, field: &str, rule: &pb::Rule, found: &mut Violations) -> Option<Rule> {
        use pb::rule::Rule as Kind;
        match rule.rule.as_ref() {
            Some(Kind::Cron(cron)) => self.cron(field, cron, found),
            Some(Kind::Interval(interval)) => {
                read_interval(format_args!("{field}.interval"), interval, found)
            }
            Some(Kind::AtTime(at)) => {
                let field = format!("{field}.at_time");
                let at = read_instant(&field, at, found)?;
                self.in_reach(&field, at, found).map(|()| Rule::At(at))
            }
            Some(Kind::AtLocalTime(text)) => {
                let field = format!("{field}.at_local_time");
                let compiled = found.take(&field, CompiledTiming::at_local(text, self.zone))?;
                let at = compiled.next(i64::MIN).map_or(UnixMillis(i64::MAX), UnixMillis);
                self.in_reach(&field, at, found).map(|()| Rule::AtLocal(text.clone()))
            }
            Some(Kind::Calendar(rule)) => self.calendar(&format!("{field}.calendar"), rule, found),
            Some(Kind::FixedDelay(delay)) => {
                let field = format!("{field}.fixed_delay.delay");
                let Some(delay) = delay.delay.as_ref() else {
                    found.add(&field, "is required");
                    return None;
                };
                let (min, max) = (belfry_timing::EVERY_MIN, belfry_timing::EVERY_MAX);
                read_duration(&field, delay, min, max, found).map(Rule::FixedDelay)
            }
            None => {
                let why = "is empty: give cron, interval, at_time, at_local_time, calendar or fixed_delay";
                found.add(field, why);
                None
            }
        }
    }

    fn in_reach(&self, field: &str, at: UnixMillis, found: &mut Violations) -> Option<()> {
        let passed = at <= self.now && self.past == Past::Refused;
        if passed || at.0 >= belfry_timing::HORIZON_UNIX_MILLIS {
            let (at, now) = (belfry_timing::format_time(at.0), belfry_timing::format_time(self.now.0));
            let why = format_args!("{at} must lie in the future (it is {now}) and before the year 2101");
            found.add(field, why);
            return None;
        }
        Some(())
    }

    fn cron(&self, field: &str, cron: &pb::Cron, found: &mut Violations) -> Option<Rule> {
        let never = if cron.allow_never { NeverFiring::Allow } else { NeverFiring::Refuse };
        match parse_cron(self.key, &cron.expression, self.zone, never) {
            Ok(compiled) => Some(Rule::Cron {
                expression: cron.expression.clone(),
                resolved: compiled.resolved_expression().unwrap_or(&cron.expression).to_owned(),
                allow_never: cron.allow_never,
            }),
            Err(error) => {
                // The error names the column and the way out.
                found.add_for(format_args!("{field}.cron.expression"), error, INVALID_CRON);
                None
            }
        }
    }

    fn calendar(&self, field: &str, rule: &pb::CalendarRule, found: &mut Violations) -> Option<Rule> {
        let before = found.count();
        let read = read_calendar_rule(field, rule, found);
        let compiled = timings::calendar_rule(&read).filter(|_| found.count() == before)?;
        match CompiledTiming::calendar(&compiled, self.zone, NeverFiring::Refuse) {
            Ok(_valid) => Some(Rule::Calendar(read)),
            Err(error) => {
                let name = match error.field() {
                    Some(CalendarField::MonthDays) => ".month_days".to_owned(),
                    Some(field) => format!(".{}", field.key()),
                    None => String::new(),
                };
                found.add(format_args!("{field}{name}"), error);
                None
            }
        }
    }
}

fn read_calendar_rule(field: &str, rule: &pb::CalendarRule, found: &mut Violations) -> CalendarRule {
    let mut read = CalendarRule {
        years: narrow(&format!("{field}.years"), &rule.years, found),
        months: narrow(&format!("{field}.months"), &rule.months, found),
        month_days: narrow(&format!("{field}.month_days"), &rule.month_days, found),
        ..CalendarRule::default()
    };
    for weekday in &rule.weekdays {
        let nth: Vec<i8> = narrow(&format!("{field}.weekdays"), &[weekday.nth], found);
        match (Weekday::parse(&weekday.day), nth.first()) {
            (Some(day), Some(nth)) => {
                let number = Weekday::ALL.iter().zip(1..).find(|(known, _)| **known == day);
                let number = number.map_or(0, |(_, number)| number);
                read.weekdays.push((number, (*nth != 0).then_some(*nth)));
            }
            (None, _) => found.add(
                format_args!("{field}.weekdays"),
                format_args!(
                    "`{}` is not a day: write MON, TUE, WED, THU, FRI, SAT or SUN",
                    cut(&weekday.day)
                ),
            ),
            (Some(_), None) => {}
        }
    }
    for time in &rule.times {
        match TimeOfDay::parse(time) {
            Some(time) => read.times.push(time.second_of_day()),
            None => found.add(
                format_args!("{field}.times"),
                format_args!("`{}` is not a time of day: write 09:00 or 09:00:30", cut(time)),
            ),
        }
    }
    read
}

fn narrow<T: TryFrom<i32>>(field: &str, values: &[i32], found: &mut Violations) -> Vec<T> {
    let mut read = Vec::with_capacity(values.len());
    for value in values {
        match T::try_from(*value) {
            Ok(value) => read.push(value),
            Err(_) => found.add(field, format_args!("{value} is out of range")),
        }
    }
    read
}

fn cut(text: &str) -> String {
    text.chars().take(80).collect()
}

/// Whether a rule declares what is stored, whatever its output-only fields say.
fn says_the_same(rule: &pb::Rule, stored: &Rule) -> bool {
    use pb::rule::Rule as Kind;
    match (rule.rule.as_ref(), stored) {
        (Some(Kind::Cron(cron)), Rule::Cron { expression, allow_never, .. }) => {
            cron.expression == *expression && cron.allow_never == *allow_never
        }
        (Some(Kind::AtTime(at)), Rule::At(stored)) => instant(at) == Some(*stored),
        (Some(Kind::AtLocalTime(at)), Rule::AtLocal(stored)) => at == stored,
        // The others are read again: nothing about them depends on when.
        (Some(_) | None, _) => false,
    }
}

fn read_instant(
    field: impl Display,
    at: &prost_types::Timestamp,
    found: &mut Violations,
) -> Option<UnixMillis> {
    let read = instant(at);
    if read.is_none() {
        let why = "is not a time: nanos must be from 0 to 999999999, and seconds within the years 1 to 9999";
        found.add(field, why);
    }
    read
}

fn read_interval(field: impl Display, interval: &pb::Interval, found: &mut Violations) -> Option<Rule> {
    let Some(every) = interval.every.as_ref() else {
        found.add(format_args!("{field}.every"), "is required");
        return None;
    };
    let (min, max) = (belfry_timing::EVERY_MIN, belfry_timing::EVERY_MAX);
    let every = read_duration(format_args!("{field}.every"), every, min, max, found)?;
    let phase = match interval.phase.as_ref() {
        None => Duration::ZERO,
        Some(phase) => read_duration(format_args!("{field}.phase"), phase, Duration::ZERO, max, found)?,
    };
    found.take(field, belfry_timing::Timing::every(every, phase))?;
    Some(Rule::Interval { every, phase })
}

#[cfg(test)]
mod tests {
    use super::super::definition::tests::check;
    use super::super::encode;
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_795_399_200_000);

    fn key() -> ScheduleKey {
        ScheduleKey::new("ns", "name")
    }

    fn cron(expression: &str) -> pb::rule::Rule {
        pb::rule::Rule::Cron(pb::Cron { expression: expression.into(), ..Default::default() })
    }

    fn timing(rule: pb::rule::Rule, zone: &str) -> pb::Timing {
        pb::Timing {
            include: vec![pb::Rule { rule: Some(rule) }],
            time_zone: zone.into(),
            ..Default::default()
        }
    }

    fn read_timing(timing: &pb::Timing) -> (Option<Timing>, Vec<String>) {
        check(|rules, found| rules.timing(&key(), Some(timing), None, NOW, found))
    }

    fn seconds(seconds: i64) -> Option<prost_types::Duration> {
        Some(prost_types::Duration { seconds, nanos: 0 })
    }

    #[test]
    fn timings_come_back_as_they_were_given() {
        let interval = pb::Interval { every: seconds(90), phase: seconds(5) };
        let at = prost_types::Timestamp { seconds: NOW.0 / 1000 + 60, nanos: 250_000_000 };
        for rule in
            [cron("*/5 9-17 * * MON-FRI"), pb::rule::Rule::Interval(interval), pb::rule::Rule::AtTime(at)]
        {
            let given = timing(rule, "Europe/Berlin");
            let (read, problems) = read_timing(&given);
            assert_eq!(problems, [""; 0]);
            let mut back = encode::timing(&read.unwrap());
            if let Some(pb::rule::Rule::Cron(cron)) = &mut back.include[0].rule {
                assert_eq!(cron.resolved_expression, cron.expression);
                cron.resolved_expression.clear();
            }
            assert_eq!(back, given);
        }
    }

    #[test]
    fn an_h_is_resolved_by_the_name_and_stays_resolved() {
        let given = timing(cron("H H * * *"), "");
        let (read, _) = read_timing(&given);
        let mut read = read.unwrap();
        assert_eq!(read.time_zone, "UTC");
        let Rule::Cron { resolved, .. } = &mut read.include[0] else { panic!("cron") };
        assert!(!resolved.contains('H'));
        // As an older build may have resolved it.
        *resolved = "59 23 * * *".into();
        let again =
            check(|rules, found| rules.timing(&key(), Some(&given), Some(&read), NOW, found)).0.unwrap();
        assert_eq!(again, read);
        let other = timing(cron("H 1 * * *"), "");
        let changed = check(|rules, found| rules.timing(&key(), Some(&other), Some(&read), NOW, found)).0;
        assert_ne!(changed.unwrap(), read);
    }

    #[test]
    fn an_instant_that_has_passed_may_stay_but_not_be_set() {
        let past = timing(pb::rule::Rule::AtTime(encode::timestamp(UnixMillis(NOW.0 - 1))), "");
        let (_, problems) = read_timing(&past);
        assert_eq!(
            problems,
            [
                "INVALID_FIELD schedule.timing.include[0].at_time: 2026-11-23T01:59:59.999Z must lie in the future (it is 2026-11-23T02:00:00Z) and before the year 2101"
            ]
        );
        for (seconds, nanos, why) in [
            (i64::MIN, 0, "is not a time"),
            (i64::MAX, 999_999_999, "is not a time"),
            (NOW.0, i32::MIN, "is not a time"),
            (NOW.0, 1_000_000_000, "is not a time"),
            (-1, 0, "must lie in the future"),
            (253_402_300_800, 0, "before the year 2101"),
            (i64::MAX / 1000, 0, "before the year 2101"),
        ] {
            let at = prost_types::Timestamp { seconds, nanos };
            let (_, problems) = read_timing(&timing(pb::rule::Rule::AtTime(at), ""));
            assert!(problems[0].contains(why), "{seconds} {nanos}: {problems:?}");
        }
        let stored = Timing::of(vec![Rule::At(UnixMillis(NOW.0 - 1))], "UTC");
        let (kept, problems) =
            check(|rules, found| rules.timing(&key(), Some(&past), Some(&stored), NOW, found));
        assert_eq!((kept, problems.len()), (Some(stored), 0));
    }

    #[test]
    fn timings_are_refused_with_field_and_way_out() {
        let problem = |given: &pb::Timing| read_timing(given).1.join("\n");
        assert_eq!(
            problem(&pb::Timing::default()),
            "INVALID_FIELD schedule.timing.include: is empty: give at least one rule"
        );
        let refused = problem(&timing(cron("61 * * * *"), ""));
        assert!(
            refused.starts_with("INVALID_CRON schedule.timing.include[0].cron.expression: column 1: `61`"),
            "{refused}"
        );
        let refused = problem(&timing(cron("0 0 30 2 *"), ""));
        assert!(refused.contains("never fires") && refused.contains("--allow-never"), "{refused}");
        assert_eq!(
            problem(&timing(cron("* * * * *"), "Europe/Berlni")),
            "INVALID_FIELD schedule.timing.time_zone: unknown time zone `Europe/Berlni`: did you mean `Europe/Berlin`?"
        );
        let interval = |every| pb::rule::Rule::Interval(pb::Interval { every, phase: None });
        for (every, why) in [
            (None, "every: is required"),
            (seconds(0), "every: 0s is not between "),
            (seconds(-5), "every: must not be negative"),
            (seconds(i64::MIN), "every: must not be negative"),
            (seconds(i64::MAX), "is not between "),
            (Some(prost_types::Duration { seconds: i64::MAX, nanos: i32::MAX }), "nanos must be from 0 to"),
            (Some(prost_types::Duration { seconds: 5, nanos: i32::MIN }), "every: must not be negative"),
            (Some(prost_types::Duration { seconds: 5, nanos: 1 }), "every: must be whole milliseconds"),
        ] {
            let refused = problem(&timing(interval(every), ""));
            assert!(refused.contains(why), "{refused}");
        }
        let (_, problems) = check(|rules, found| rules.timing(&key(), None, None, NOW, found));
        assert_eq!(problems, ["INVALID_FIELD schedule.timing: is required: say when the schedule fires"]);
    }

    fn including(rules: Vec<pb::rule::Rule>) -> pb::Timing {
        let include = rules.into_iter().map(|rule| pb::Rule { rule: Some(rule) }).collect();
        pb::Timing { include, time_zone: "Europe/Berlin".into(), ..Default::default() }
    }

    fn month_end() -> pb::rule::Rule {
        pb::rule::Rule::Calendar(pb::CalendarRule {
            months: vec![3, 12],
            month_days: vec![-1],
            weekdays: vec![
                pb::Weekday { day: "MON".into(), nth: 0 },
                pb::Weekday { day: "FRI".into(), nth: -1 },
            ],
            times: vec!["09:00".into(), "17:30:15".into()],
            ..Default::default()
        })
    }

    #[test]
    fn a_composition_comes_back_as_it_was_given() {
        let mut given = including(vec![
            cron("0 3 * * *"),
            month_end(),
            pb::rule::Rule::AtLocalTime("2026-12-24T18:00".into()),
        ]);
        given.exclude = vec![pb::Rule { rule: Some(cron("0 3 25 12 *")) }];
        given.calendars = vec![pb::CalendarUse {
            calendar: "holidays".into(),
            mode: pb::calendar_use::Mode::Freeze.into(),
        }];
        given.start_time = Some(encode::timestamp(UnixMillis(NOW.0 + 1000)));
        given.end_time = Some(encode::timestamp(UnixMillis(NOW.0 + 90 * 86_400_000)));
        given.spread = seconds(300);
        let (read, problems) = read_timing(&given);
        assert_eq!(problems, [""; 0]);
        let mut back = encode::timing(&read.clone().unwrap());
        for rule in back.include.iter_mut().chain(&mut back.exclude) {
            if let Some(pb::rule::Rule::Cron(cron)) = &mut rule.rule {
                cron.resolved_expression.clear();
            }
        }
        assert_eq!(back, given);
        // What has passed meanwhile may stay.
        let later = UnixMillis(NOW.0 + 365 * 86_400_000);
        let again = check(|rules, found| rules.timing(&key(), Some(&given), read.as_ref(), later, found));
        assert_eq!(again, (read, vec![]));
    }

    #[test]
    fn what_does_not_fit_together_is_said() {
        let problem = |given: &pb::Timing| read_timing(given).1.join("\n");
        let delay = pb::rule::Rule::FixedDelay(pb::FixedDelay { delay: seconds(60) });
        let beside = problem(&including(vec![delay.clone(), cron("* * * * *")]));
        assert!(
            beside.contains("schedule.timing.include: has a fixed_delay with something beside it"),
            "{beside}"
        );
        assert_eq!(problem(&including(vec![delay])), "");
        let nothing = pb::Timing {
            exclude: vec![pb::Rule { rule: Some(cron("* * * * *")) }],
            ..including(vec![cron("0 * * * *")])
        };
        assert!(
            problem(&nothing).contains("schedule.timing: has no instant from now on"),
            "{}",
            problem(&nothing)
        );
        let over = pb::Timing {
            end_time: Some(encode::timestamp(UnixMillis(NOW.0 - 1))),
            ..including(vec![cron("0 * * * *")])
        };
        assert!(problem(&over).contains("schedule.timing: has no instant from now on"));
        let twice = pb::CalendarUse { calendar: "c".into(), mode: 1 };
        let calendars = vec![twice.clone(), twice, pb::CalendarUse { calendar: "a b".into(), mode: 0 }];
        let given = pb::Timing { calendars, ..including(vec![cron("0 * * * *")]) };
        assert_eq!(read_timing(&given).1.len(), 3, "{}", problem(&given));
        let many = including(vec![cron("0 * * * *"); 65]);
        assert!(problem(&many).contains("at most 64"), "{}", problem(&many));
    }

    #[test]
    fn calendar_rules_are_refused_with_field_and_way_out() {
        let problem = |rule: pb::CalendarRule| {
            read_timing(&including(vec![pb::rule::Rule::Calendar(rule)])).1.join("\n")
        };
        let times = vec!["09:00".to_owned()];
        let none = problem(pb::CalendarRule::default());
        assert!(none.contains("include[0].calendar.times"), "{none}");
        let day = pb::Weekday { day: "Monday!".into(), nth: 0 };
        let odd =
            problem(pb::CalendarRule { weekdays: vec![day], times: times.clone(), ..Default::default() });
        assert!(odd.contains("calendar.weekdays: `Monday!` is not a day"), "{odd}");
        let far =
            problem(pb::CalendarRule { month_days: vec![32], times: times.clone(), ..Default::default() });
        assert!(far.contains("calendar.month_days"), "{far}");
        let late = problem(pb::CalendarRule { times: vec!["24:00".into()], ..Default::default() });
        assert!(late.contains("calendar.times: `24:00` is not a time of day"), "{late}");
        let never = pb::CalendarRule { months: vec![2], month_days: vec![30], times, ..Default::default() };
        assert!(problem(never).contains("never fires"));
    }
}
