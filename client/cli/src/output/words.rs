//! Timings as a sentence, for somebody who was woken by one.
//!
//! - WORDS-1: what is not certain to be put right into words is quoted as it stands.

use super::view::{RuleView, TimingView};
use crate::text;

/// When a timing fires, as the end of a sentence.
pub(crate) fn timing_in_words(timing: &TimingView) -> String {
    let words = |rules: &[RuleView]| {
        rules.iter().map(|rule| rule_in_words(rule, &timing.time_zone)).collect::<Vec<_>>()
    };
    let mut text = words(&timing.include).join("; and ");
    for excluded in words(&timing.exclude) {
        text.push_str(&format!("; but not {excluded}"));
    }
    for bound in timing.bounds() {
        text.push_str(&format!("; {bound}"));
    }
    text
}

fn rule_in_words(rule: &RuleView, zone: &str) -> String {
    if let Some(cron) = &rule.cron {
        let resolved = &cron.resolved_expression;
        let expression = if resolved.is_empty() { &cron.expression } else { resolved };
        return format!("{} (clocks of {zone})", cron_in_words(expression));
    }
    if let Some(interval) = &rule.interval {
        return match interval.phase.as_str() {
            "0s" => format!("every {}, counted from 1970-01-01T00:00:00Z", interval.every),
            phase => format!("every {}, counted from {phase} after 1970-01-01T00:00:00Z", interval.every),
        };
    }
    if let Some(fixed) = &rule.fixed_delay {
        return format!("{} after the last run ended", fixed.delay);
    }
    if let Some(calendar) = &rule.calendar {
        return format!("by `{}` (clocks of {zone})", calendar.short());
    }
    if let Some(at) = &rule.at_local_time {
        return format!("once, at {at} (clocks of {zone})");
    }
    match rule.at_time {
        Some(at) => {
            let local = text::in_zone(at.0, zone).map(|local| format!(" ({local})")).unwrap_or_default();
            format!("once, at {at}{local}")
        }
        None => "by a rule that this release of belfry does not know".to_owned(),
    }
}

/// A cron expression in words.
fn cron_in_words(expression: &str) -> String {
    let words: Vec<&str> = expression.split_whitespace().collect();
    match words.as_slice() {
        [name] => match macro_fields(name) {
            Some(fields) => cron_in_words(fields),
            None => quoted(expression),
        },
        [every, duration] if every.eq_ignore_ascii_case("@every") => format!("every {duration}"),
        [minute, hour, day, month, weekday] => {
            fields_in_words("0", minute, hour, Days { day, month, weekday })
        }
        [second, minute, hour, day, month, weekday] => {
            fields_in_words(second, minute, hour, Days { day, month, weekday })
        }
        _other => quoted(expression),
    }
}

fn macro_fields(name: &str) -> Option<&'static str> {
    match name.to_ascii_lowercase().as_str() {
        "@yearly" | "@annually" => Some("0 0 1 1 *"),
        "@monthly" => Some("0 0 1 * *"),
        "@weekly" => Some("0 0 * * 0"),
        "@daily" | "@midnight" => Some("0 0 * * *"),
        "@hourly" => Some("0 * * * *"),
        _unknown => None,
    }
}

fn quoted(text: &str) -> String {
    format!("by `{text}`")
}

#[derive(Clone, Copy)]
struct Days<'a> {
    day: &'a str,
    month: &'a str,
    weekday: &'a str,
}

fn fields_in_words(second: &str, minute: &str, hour: &str, days: Days<'_>) -> String {
    let time = clock_times(second, minute, hour).unwrap_or_else(|| time_pattern(second, minute, hour));
    let days = days_in_words(days);
    if days.is_empty() && time.starts_with("at ") && !hour.starts_with('*') {
        return format!("{time} every day");
    }
    format!("{time}{}{days}", if days.is_empty() { "" } else { " " })
}

/// `at 03:00 and 15:00`, where the fields name a few times of day one by one.
fn clock_times(second: &str, minute: &str, hour: &str) -> Option<String> {
    const TIMES_MAX: usize = 6;
    let (seconds, minutes, hours) = (numbers(second)?, numbers(minute)?, numbers(hour)?);
    if seconds.len() != 1 || minutes.len() * hours.len() > TIMES_MAX {
        return None;
    }
    let second = if seconds[0] == 0 { String::new() } else { format!(":{:02}", seconds[0]) };
    let mut times: Vec<String> = hours
        .iter()
        .flat_map(|hour| minutes.iter().map(move |minute| format!("{hour:02}:{minute:02}")))
        .collect();
    times.sort();
    let times: Vec<String> = times.iter().map(|time| format!("{time}{second}")).collect();
    Some(format!("at {}", listed(&times)))
}

fn time_pattern(second: &str, minute: &str, hour: &str) -> String {
    let mut parts = Vec::new();
    if second != "0" {
        parts.push(steps("second", second));
    }
    match (minute, second) {
        ("*", "0") => parts.push("every minute".to_owned()),
        ("*", _) => {}
        ("0", "0") if hour == "*" => return "every hour, on the hour".to_owned(),
        (minute, _) => parts.push(steps("minute", minute)),
    }
    match hour {
        "*" if numbers(minute).is_some() => parts.push("of every hour".to_owned()),
        "*" => {}
        hour => parts.push(format!("within {}", hours(hour))),
    }
    parts.join(" ")
}

/// `every 5 minutes`, `at minutes 5 and 10`.
fn steps(unit: &str, field: &str) -> String {
    if field == "*" {
        return format!("every {unit}");
    }
    if let Some(step) = field.strip_prefix("*/").and_then(|step| step.parse::<u32>().ok()) {
        // A step that does not divide the hour starts again at its end.
        let again = if step > 0 && 60 % step == 0 { "" } else { ", counted anew from 0" };
        return format!("every {step} {unit}s{again}");
    }
    match numbers(field) {
        Some(one) if one.len() == 1 => format!("at {unit} {}", one[0]),
        Some(more) => format!("at {unit}s {}", listed(&more)),
        None => format!("at {unit}s `{field}`"),
    }
}

fn hours(field: &str) -> String {
    if let Some(numbers) = numbers(field) {
        let word = if numbers.len() == 1 { "hour" } else { "hours" };
        return format!("{word} {}", listed(&numbers));
    }
    match range(field, &|hour| hour.parse::<u32>().ok().map(|hour| hour.to_string())) {
        Some((first, last)) => format!("hours {first} to {last}"),
        None => format!("hours `{field}`"),
    }
}

fn days_in_words(days: Days<'_>) -> String {
    let is_any = |field: &str| matches!(field, "*" | "?" | "*/1");
    let day = (!is_any(days.day)).then(|| month_days(days.day));
    let weekday = (!is_any(days.weekday)).then(|| weekdays(days.weekday));
    let begins_open = days.day.starts_with(['*', '?']) || days.weekday.starts_with(['*', '?']);
    let which = match (day, weekday) {
        (Some(day), Some(weekday)) if begins_open => format!("{day}, if that is also {weekday}"),
        (Some(day), Some(weekday)) => format!("{day}, and also {weekday}"),
        (Some(one), None) | (None, Some(one)) => one,
        (None, None) => String::new(),
    };
    match (which.is_empty(), is_any(days.month)) {
        (_, true) => which,
        (true, false) => format!("on every day in {}", months(days.month)),
        (false, false) => format!("{which} in {}", months(days.month)),
    }
}

fn month_days(field: &str) -> String {
    match field.to_ascii_uppercase().as_str() {
        "L" => return "on the last day of the month".to_owned(),
        "LW" => return "on the last working day of the month".to_owned(),
        _other => {}
    }
    if let Some(numbers) = numbers(field) {
        let word = if numbers.len() == 1 { "day" } else { "days" };
        return format!("on {word} {} of the month", listed(&numbers));
    }
    let day = |text: &str| text.parse::<u32>().ok().map(|day| day.to_string());
    match range(field, &day) {
        Some((first, last)) => format!("on days {first} to {last} of the month"),
        None => format!("on days `{field}` of the month"),
    }
}

const WEEKDAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
const ORDINALS: [&str; 5] = ["first", "second", "third", "fourth", "fifth"];

fn weekdays(field: &str) -> String {
    if let Some((day, nth)) = field.split_once('#') {
        let ordinal = nth.parse::<usize>().ok().and_then(|nth| ORDINALS.get(nth.checked_sub(1)?));
        if let (Some(day), Some(ordinal)) = (weekday(day), ordinal) {
            return format!("on the {ordinal} {day} of the month");
        }
    }
    if let Some(day) = field.strip_suffix(['L', 'l']).and_then(weekday) {
        return format!("on the last {day} of the month");
    }
    match named(field, &weekday) {
        Some(names) => format!("on {names}"),
        None => format!("on weekdays `{field}`"),
    }
}

fn months(field: &str) -> String {
    let month = |text: &str| name_of(text, &MONTHS, 1);
    named(field, &month).unwrap_or_else(|| format!("months `{field}`"))
}

fn weekday(text: &str) -> Option<String> {
    name_of(if text == "7" { "0" } else { text }, &WEEKDAYS, 0)
}

/// The name of a number or of a three-letter abbreviation.
fn name_of(text: &str, names: &[&str], first: usize) -> Option<String> {
    let by_number = text.parse::<usize>().ok().and_then(|number| names.get(number.checked_sub(first)?));
    let by_name =
        || names.iter().find(|name| name.get(..3).is_some_and(|short| short.eq_ignore_ascii_case(text)));
    by_number.or_else(by_name).map(|name| (*name).to_owned())
}

/// `Monday to Friday`, `Monday and Thursday`: items of names and ranges.
fn named(field: &str, name: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    let items: Option<Vec<String>> = field
        .split(',')
        .map(|item| match range(item, name) {
            Some((first, last)) => Some(format!("{first} to {last}")),
            None => name(item),
        })
        .collect();
    items.map(|items| listed(&items))
}

fn range(item: &str, name: &dyn Fn(&str) -> Option<String>) -> Option<(String, String)> {
    let (first, last) = item.split_once('-')?;
    Some((name(first)?, name(last)?))
}

/// The numbers of a field that is nothing but numbers.
fn numbers(field: &str) -> Option<Vec<u32>> {
    field.split(',').map(|number| number.parse().ok()).collect()
}

/// `a`, `a and b`, `a, b and c`.
fn listed<T: ToString>(items: &[T]) -> String {
    let items: Vec<String> = items.iter().map(ToString::to_string).collect();
    match items.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, rest)) => format!("{} and {last}", rest.join(", ")),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expressions_become_sentences() {
        for (expression, expected) in [
            ("0 3 * * *", "at 03:00 every day"),
            ("0,30 8,20 * * *", "at 08:00, 08:30, 20:00 and 20:30 every day"),
            ("0 3 * * 1-5", "at 03:00 on Monday to Friday"),
            ("15 6 1 * *", "at 06:15 on day 1 of the month"),
            ("0 0 1,15 * FRI", "at 00:00 on days 1 and 15 of the month, and also on Friday"),
            ("0 0 */2 * 1", "at 00:00 on days `*/2` of the month, if that is also on Monday"),
            ("0 0 * * 7", "at 00:00 on Sunday"),
            ("0 9 * * 5#2", "at 09:00 on the second Friday of the month"),
            ("0 9 * * 5L", "at 09:00 on the last Friday of the month"),
            ("0 22 LW * *", "at 22:00 on the last working day of the month"),
            ("* * * * *", "every minute"),
            ("*/5 * * * *", "every 5 minutes"),
            ("*/7 * * * *", "every 7 minutes, counted anew from 0"),
            ("*/5 9-17 * * MON-FRI", "every 5 minutes within hours 9 to 17 on Monday to Friday"),
            ("0 * * * *", "every hour, on the hour"),
            ("5 * * * *", "at minute 5 of every hour"),
            ("5 */4 * * *", "at minute 5 within hours `*/4`"),
            ("*/10 * * * * *", "every 10 seconds"),
            ("30 0 3 * * *", "at 03:00:30 every day"),
            ("0 0 1 1,7 *", "at 00:00 on day 1 of the month in January and July"),
            ("0 0 * DEC *", "at 00:00 on every day in December"),
            ("@daily", "at 00:00 every day"),
            ("@every 90s", "every 90s"),
            ("nonsense", "by `nonsense`"),
        ] {
            assert_eq!(cron_in_words(expression), expected, "{expression}");
        }
    }
}
