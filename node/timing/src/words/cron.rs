//! Cron expressions in words.

use super::lists::{and, counted, even_step, month, nth, ordinal, ranges, weekday};
use crate::cron::{Combine, Expression, Field, MonthDays, ValueSet, WeekDays};

/// Up to so many times of a day are listed.
const TIMES_LISTED_MAX: u32 = 6;

/// What an expression says, but for the zone: `at 09:00 on Monday to Friday`.
pub(super) fn words(expression: &Expression) -> String {
    let times = times(expression);
    let days = days(expression);
    let months = if is_all(expression.months, Field::Month) {
        String::new()
    } else {
        format!(" in {}", ranges(expression.months, month))
    };
    // `every 5 minutes` says by itself that it means all days.
    let goes_on = is_all(expression.hours, Field::Hour) && days.is_empty();
    let days =
        if days.is_empty() && !(goes_on && months.is_empty()) { " every day".to_owned() } else { days };
    format!("{times}{days}{months}")
}

fn is_all(set: ValueSet, field: Field) -> bool {
    set == ValueSet::all(field)
}

fn times(expression: &Expression) -> String {
    let (seconds, minutes, hours) = (expression.seconds, expression.minutes, expression.hours);
    let on_the_minute = seconds == ValueSet::single(0);
    if seconds.len() * minutes.len() * hours.len() <= TIMES_LISTED_MAX {
        return format!("at {}", and(&listed(expression)));
    }
    let of_hours = of_hours(hours);
    if on_the_minute {
        return match even_step(minutes, 60) {
            _ if is_all(minutes, Field::Minute) => format!("every minute{}", during(hours)),
            Some(step) if step < 60 => format!("every {step} minutes{}", during(hours)),
            Some(_) | None if minutes == ValueSet::single(0) && is_all(hours, Field::Hour) => {
                "every hour on the hour".to_owned()
            }
            Some(_) | None => format!("at {}{of_hours}", counted("minute", minutes)),
        };
    }
    let each = match even_step(seconds, 60) {
        _ if is_all(seconds, Field::Second) => "every second".to_owned(),
        Some(step) if step < 60 => format!("every {step} seconds"),
        Some(_) | None => format!("at {}", counted("second", seconds)),
    };
    let is_each_minute = is_all(minutes, Field::Minute);
    let goes_on = even_step(seconds, 60).is_some_and(|step| step < 60) || is_all(seconds, Field::Second);
    match (is_each_minute, goes_on) {
        (true, true) => format!("{each}{}", during(hours)),
        (true, false) => format!("{each} of every minute{}", during(hours)),
        (false, _) => format!("{each} of {}{of_hours}", counted("minute", minutes)),
    }
}

fn listed(expression: &Expression) -> Vec<String> {
    let seconds_of = |hour: u32, minute: u32| {
        expression.seconds.iter().map(move |second| match second {
            0 => format!("{hour:02}:{minute:02}"),
            second => format!("{hour:02}:{minute:02}:{second:02}"),
        })
    };
    let minutes_of = |hour: u32| {
        expression.minutes.iter().flat_map(move |minute| seconds_of(hour, minute).collect::<Vec<_>>())
    };
    expression.hours.iter().flat_map(|hour| minutes_of(hour).collect::<Vec<_>>()).collect()
}

fn during(hours: ValueSet) -> String {
    if is_all(hours, Field::Hour) { String::new() } else { format!(" during {}", counted("hour", hours)) }
}

fn of_hours(hours: ValueSet) -> String {
    match even_step(hours, 24) {
        _ if is_all(hours, Field::Hour) => " of every hour".to_owned(),
        Some(step) if step < 24 => format!(" of every {} hour", ordinal(step)),
        Some(_) | None => format!(" of {}", counted("hour", hours)),
    }
}

/// Which days, with a blank in front; nothing for all.
fn days(expression: &Expression) -> String {
    let rule = &expression.days;
    let month_days = month_days(&rule.month_days);
    let week_days = week_days(&rule.week_days);
    match (month_days, week_days, rule.combine) {
        (None, None, _) | (None, Some(_), Combine::Either) | (Some(_), None, Combine::Either) => {
            String::new()
        }
        (Some(days), None, Combine::Both) | (None, Some(days), Combine::Both) => format!(" on {days}"),
        (Some(month), Some(week), Combine::Both) => format!(" on {month} if that is {week}"),
        (Some(month), Some(week), Combine::Either) => format!(" on {month} and also on {week}"),
    }
}

/// `days 1 and 15 of the month`; `None` for all days.
fn month_days(days: &MonthDays) -> Option<String> {
    if is_all(days.plain, Field::DayOfMonth) {
        return None;
    }
    let mut parts = Vec::new();
    if !days.plain.is_empty() {
        parts.push(counted("day", days.plain));
    }
    parts.extend(days.nearest.iter().map(|day| format!("the working day nearest to day {day}")));
    if days.last_weekday {
        parts.push("the last working day".to_owned());
    }
    if days.last {
        parts.push("the last day".to_owned());
    }
    Some(format!("{} of the month", and(&parts)))
}

/// `Monday to Friday` or `the last Friday of the month`; `None` for all days.
fn week_days(days: &WeekDays) -> Option<String> {
    if is_all(days.plain, Field::DayOfWeek) {
        return None;
    }
    let of_month = (1..)
        .zip(&days.nth)
        .flat_map(|(index, set)| set.iter().map(move |day| format!("the {} {}", nth(index), weekday(day))))
        .chain(days.last.iter().map(|day| format!("the last {}", weekday(day))))
        .collect::<Vec<_>>();
    let mut parts = Vec::new();
    if !days.plain.is_empty() {
        parts.push(ranges(monday_first(days.plain), weekday));
    }
    if !of_month.is_empty() {
        parts.push(format!("{} of the month", and(&of_month)));
    }
    Some(and(&parts))
}

/// The same days with Sunday as 7, so that a week ends with it.
fn monday_first(days: ValueSet) -> ValueSet {
    let rename = |day: u32| ValueSet::single(if day == 0 { 7 } else { day });
    days.iter().fold(ValueSet::EMPTY, |set, day| set.union(rename(day)))
}
