//! Calendar rules in words.

use super::lists::{and, counted, month, nth, ordinal, ranges, weekday};
use crate::{
    calendar_rule::{CalendarRule, WeekdayRule},
    cron::ValueSet,
};

/// More times than this are counted and not listed.
const TIMES_LISTED_MAX: usize = 8;

/// What a rule says, but for the zone: `at 09:00 on the last day of the month in January and July`.
pub(super) fn words(rule: &CalendarRule) -> String {
    let times: Vec<String> = rule.times.iter().map(ToString::to_string).collect();
    let times = match times.as_slice() {
        [first, .., last] if times.len() > TIMES_LISTED_MAX => {
            format!("at {} times from {first} to {last}", times.len())
        }
        times => format!("at {}", and(times)),
    };
    let days = match (month_days(&rule.month_days), weekdays(&rule.weekdays)) {
        (None, None) => " every day".to_owned(),
        (Some(days), None) | (None, Some(days)) => format!(" on {days}"),
        // RULE-2.
        (Some(month_days), Some(weekdays)) => format!(" on {month_days} if that is {weekdays}"),
    };
    let months = rule.months.iter().map(|month| u32::from(*month));
    let months = named(" in ", &ranges(set(months), month));
    let years: Vec<String> = rule.years.iter().map(ToString::to_string).collect();
    let years = named(if months.is_empty() { " in " } else { " of " }, &and(&years));
    format!("{times}{days}{months}{years}")
}

fn set(values: impl Iterator<Item = u32>) -> ValueSet {
    values.fold(ValueSet::EMPTY, |set, value| set.union(ValueSet::single(value)))
}

fn named(before: &str, words: &str) -> String {
    if words.is_empty() { String::new() } else { format!("{before}{words}") }
}

fn month_days(days: &[i8]) -> Option<String> {
    let from_start = set(days.iter().filter(|day| **day > 0).map(|day| u32::from(day.unsigned_abs())));
    let from_end = days.iter().rev().filter(|day| **day < 0).map(|day| match day {
        -1 => "the last day".to_owned(),
        day => format!("the {} day from the end", ordinal(u32::from(day.unsigned_abs()))),
    });
    let from_start = (!from_start.is_empty()).then(|| counted("day", from_start));
    let parts: Vec<String> = from_start.into_iter().chain(from_end).collect();
    (!parts.is_empty()).then(|| format!("{} of the month", and(&parts)))
}

fn weekdays(rules: &[WeekdayRule]) -> Option<String> {
    // Sunday ends the week here.
    let number = |rule: &WeekdayRule| match rule.weekday.sunday_zero() {
        0 => 7,
        day => day,
    };
    let plain = set(rules.iter().filter(|rule| rule.nth.is_none()).map(number));
    let of_month: Vec<String> = rules
        .iter()
        .filter_map(|rule| {
            let name = weekday(number(rule));
            rule.nth.map(|place| match place {
                -1 => format!("the last {name}"),
                place if place < 0 => format!("the {} last {name}", nth(u32::from(place.unsigned_abs()))),
                place => format!("the {} {name}", nth(u32::from(place.unsigned_abs()))),
            })
        })
        .collect();
    let plain = (!plain.is_empty()).then(|| ranges(plain, weekday));
    let of_month = (!of_month.is_empty()).then(|| format!("{} of the month", and(&of_month)));
    let parts: Vec<String> = plain.into_iter().chain(of_month).collect();
    (!parts.is_empty()).then(|| and(&parts))
}
