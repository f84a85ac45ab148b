//! The text form of calendar rules, for the command line: `months=1,7 days=-1 weekdays=MON#1,FRI#-1 times=09:00,18:30`.

use std::{fmt, str::FromStr};

use super::{CalendarField, CalendarRule, CalendarRuleError, TimeOfDay, Weekday, WeekdayRule};
use crate::cron::Field;

/// A text longer than this is refused before it is read: all 288 times have 2591 bytes, all other lists 1500.
pub const CALENDAR_RULE_BYTES_MAX: usize = 4096;

impl CalendarRule {
    /// Reads the text form: `field=value,value`, the fields in any order and separated by blanks. What comes out has
    /// been read, not checked: making a timing of it does that.
    pub fn parse(text: &str) -> Result<CalendarRule, CalendarRuleError> {
        if text.len() > CALENDAR_RULE_BYTES_MAX {
            return Err(CalendarRuleError::TooLong { bytes: text.len() });
        }
        let mut rule = CalendarRule::default();
        let mut seen = Vec::new();
        for word in text.split_ascii_whitespace() {
            let (field, values) =
                known(word).ok_or_else(|| CalendarRuleError::UnknownField { text: shown(word) })?;
            if seen.contains(&field) {
                return Err(CalendarRuleError::Repeated { field });
            }
            seen.push(field);
            rule.read(field, values)?;
        }
        if rule.times.is_empty() { Err(CalendarRuleError::NoTimes) } else { Ok(rule) }
    }

    fn read(&mut self, field: CalendarField, values: &str) -> Result<(), CalendarRuleError> {
        match field {
            CalendarField::Years => self.years = list(field, values, number)?,
            CalendarField::Months => self.months = list(field, values, month)?,
            CalendarField::MonthDays => self.month_days = list(field, values, number)?,
            CalendarField::Weekdays => self.weekdays = list(field, values, weekday)?,
            CalendarField::Times => self.times = list(field, values, TimeOfDay::parse)?,
        }
        Ok(())
    }
}

impl FromStr for CalendarRule {
    type Err = CalendarRuleError;

    fn from_str(text: &str) -> Result<CalendarRule, CalendarRuleError> {
        CalendarRule::parse(text)
    }
}

impl fmt::Display for CalendarRule {
    /// The text form; [`CalendarRule::parse`] reads it back.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lists = [
            joined(CalendarField::Years, &self.years),
            joined(CalendarField::Months, &self.months),
            joined(CalendarField::MonthDays, &self.month_days),
            joined(CalendarField::Weekdays, &self.weekdays),
            joined(CalendarField::Times, &self.times),
        ];
        f.write_str(&lists.into_iter().flatten().collect::<Vec<_>>().join(" "))
    }
}

fn joined<T: fmt::Display>(field: CalendarField, values: &[T]) -> Option<String> {
    let values: Vec<String> = values.iter().map(ToString::to_string).collect();
    (!values.is_empty()).then(|| format!("{}={}", field.key(), values.join(",")))
}

/// The field and its values.
fn known(word: &str) -> Option<(CalendarField, &str)> {
    let (key, values) = word.split_once('=')?;
    // What the API calls the field is understood too.
    let key = if key == "month_days" { CalendarField::MonthDays.key() } else { key };
    let field = CalendarField::ALL.into_iter().find(|field| field.key() == key)?;
    Some((field, values))
}

fn list<T>(
    field: CalendarField,
    values: &str,
    read: impl Fn(&str) -> Option<T>,
) -> Result<Vec<T>, CalendarRuleError> {
    let value =
        |text: &str| read(text).ok_or_else(|| CalendarRuleError::NotAValue { field, text: shown(text) });
    values.split(',').map(value).collect()
}

/// A number with nothing around it: no plus sign, no blanks.
fn number<T: FromStr>(text: &str) -> Option<T> {
    text.parse().ok().filter(|_| !text.starts_with('+'))
}

fn month(text: &str) -> Option<u8> {
    match Field::Month.value_of_name(text) {
        Some(month) => u8::try_from(month).ok(),
        None => number(text),
    }
}

fn weekday(text: &str) -> Option<WeekdayRule> {
    let (name, nth) = match text.split_once('#') {
        Some((name, nth)) => (name, Some(number(nth)?)),
        None => (text, None),
    };
    Some(WeekdayRule { weekday: Weekday::parse(name)?, nth })
}

fn shown(text: &str) -> String {
    text.chars().take(32).collect()
}
