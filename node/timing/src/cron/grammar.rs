//! From an expression's text to sets of values: the strict tokenizer in front of the calendar walker.
//!
//! - CRON-1: what is not in the grammar is refused with the column; nothing is skipped or guessed.
//! - CRON-2: the user's text decides the day rule (DAY-1) and the daylight-saving rule (DST-1, DST-2), before it
//!   becomes sets: `*/1` and `0-59` are the same minutes but not the same rule.
//!
//! ```text
//! expression = [second] minute hour day-of-month month day-of-week | macro | "@every" duration
//! field      = item *( "," item ) | "?"            ("?" in day fields only, alone)
//! item       = ( "*" | value | value "-" value | "H" [ "(" value "-" value ")" ] ) [ "/" step ]
//!            | "L" | "LW" | day "W"                (day-of-month)
//!            | weekday "L" | weekday "#" 1-5       (day-of-week)
//! ```

use std::time::Duration;

use super::{
    days::{Combine, DayRule},
    error::{CronError, EXPRESSION_BYTES_MAX},
    fields::{Field, ValueSet},
    hash::HashSeed,
    items::Items,
    piece::Piece,
};
use crate::{duration_text, interval, wall::DstRule, warning::Warning};

/// What a text means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Parsed {
    /// Five or six fields, or a macro for them.
    Fields(Expression),
    /// `@every`.
    Every(Duration),
}

/// A rule over wall-clock time, with everything the text decided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Expression {
    pub(crate) seconds: ValueSet,
    pub(crate) minutes: ValueSet,
    pub(crate) hours: ValueSet,
    pub(crate) months: ValueSet,
    pub(crate) days: DayRule,
    pub(crate) dst: DstRule,
    /// The text with `H` replaced by what it stands for.
    pub(crate) resolved: String,
    pub(crate) warnings: Vec<Warning>,
}

/// Reads an expression.
pub(crate) fn parse(text: &str, seed: &HashSeed) -> Result<Parsed, CronError> {
    if text.len() > EXPRESSION_BYTES_MAX {
        return Err(CronError::TooLong { bytes: text.len() });
    }
    let unexpected = |c: &char| !(c.is_ascii_graphic() || matches!(c, ' ' | '\t'));
    if let Some((index, character)) = text.chars().enumerate().find(|(_, c)| unexpected(c)) {
        return Err(CronError::Character { column: index + 1, character });
    }
    let words: Vec<Piece<'_>> = Piece::words(text).collect();
    let first = words.first().ok_or(CronError::Empty)?;
    refuse_zone(text, first, words.get(1))?;
    if first.text.starts_with('@') {
        return parse_macro(text, &words, seed);
    }
    parse_fields(text, &words, seed).map(Parsed::Fields)
}

fn refuse_zone(text: &str, first: &Piece<'_>, second: Option<&Piece<'_>>) -> Result<(), CronError> {
    let is_zone = |name: &str| name.eq_ignore_ascii_case("TZ") || name.eq_ignore_ascii_case("CRON_TZ");
    match first.text.split_once('=') {
        Some((name, _)) if is_zone(name) => Err(CronError::ZoneInText {
            column: first.column,
            text: first.text.to_owned(),
            rest: second.map_or("0 9 * * *", |word| text[word.column - 1..].trim_end()).to_owned(),
        }),
        Some(_) | None => Ok(()),
    }
}

fn parse_macro(text: &str, words: &[Piece<'_>], seed: &HashSeed) -> Result<Parsed, CronError> {
    let (name, rest) = words.split_first().expect("the caller found a first word");
    let lower = name.text.to_ascii_lowercase();
    if lower == "@every" {
        return parse_every(text, rest);
    }
    let (column, written) = (name.column, name.text.to_owned());
    let fields = match lower.as_str() {
        "@yearly" | "@annually" => "0 0 1 1 *",
        "@monthly" => "0 0 1 * *",
        "@weekly" => "0 0 * * 0",
        "@daily" | "@midnight" => "0 0 * * *",
        "@hourly" => "0 * * * *",
        "@reboot" => return Err(CronError::Reboot { column, text: written }),
        _unknown => return Err(CronError::UnknownMacro { column, text: written }),
    };
    if let Some(extra) = rest.first() {
        return Err(CronError::AfterMacro {
            column: extra.column,
            text: extra.text.to_owned(),
            name: written,
        });
    }
    let words: Vec<Piece<'_>> = Piece::words(fields).collect();
    let expression = parse_fields(fields, &words, seed)?;
    Ok(Parsed::Fields(Expression { resolved: text.to_owned(), ..expression }))
}

fn parse_every(text: &str, rest: &[Piece<'_>]) -> Result<Parsed, CronError> {
    let (column, duration) = rest.first().map_or((text.len() + 1, ""), |word| (word.column, word.text));
    if let Some(extra) = rest.get(1) {
        let name = format!("@every {duration}");
        return Err(CronError::AfterMacro { column: extra.column, text: extra.text.to_owned(), name });
    }
    let every =
        duration_text::parse_duration(duration).map_err(|source| CronError::EveryText { column, source })?;
    interval::Interval::new(every, Duration::ZERO)
        .map_err(|source| CronError::EveryRange { column, source })?;
    Ok(Parsed::Every(every))
}

fn parse_fields(text: &str, words: &[Piece<'_>], seed: &HashSeed) -> Result<Expression, CronError> {
    let on_the_minute = Piece { column: 1, text: "0" };
    let (second, rest) = match words {
        [_, _, _, _, _] => (&on_the_minute, words),
        [second, rest @ ..] if rest.len() == 5 => (second, rest),
        _other => {
            let column = words.get(6).map_or(text.trim_end().len() + 1, |extra| extra.column);
            return Err(CronError::FieldCount { column, found: words.len() });
        }
    };
    let [minute, hour, month_day, month, week_day] = rest else {
        return Err(CronError::FieldCount { column: 1, found: words.len() });
    };

    let mut items = Items::new(seed);
    let seconds = items.plain(Field::Second, *second)?;
    let minutes = items.plain(Field::Minute, *minute)?;
    let hours = items.plain(Field::Hour, *hour)?;
    let month_days = items.month_days(*month_day)?;
    let months = items.plain(Field::Month, *month)?;
    let week_days = items.week_days(*week_day)?;

    let (resolved, mut warnings) = items.finish(text);
    if resolved.len() > EXPRESSION_BYTES_MAX {
        return Err(CronError::ResolvedTooLong { bytes: resolved.len() });
    }
    warnings.extend(day_warning(*month_day, *week_day));
    let combine =
        if begins_open(*month_day) || begins_open(*week_day) { Combine::Both } else { Combine::Either };
    let is_wildcard = minute.text.starts_with('*') || hour.text.starts_with('*');
    let dst = if is_wildcard { DstRule::Wildcard } else { DstRule::Fixed };
    let days = DayRule { month_days, week_days, combine };
    Ok(Expression { seconds, minutes, hours, months, days, dst, resolved, warnings })
}

/// Whether a day field leaves the decision to the other one (DAY-1).
fn begins_open(field: Piece<'_>) -> bool {
    field.text.starts_with(['*', '?'])
}

fn day_warning(month_day: Piece<'_>, week_day: Piece<'_>) -> Option<Warning> {
    let is_any = |field: Piece<'_>| matches!(field.text, "*" | "?" | "*/1");
    let stepped = [month_day, week_day].into_iter().find(|field| begins_open(*field) && !is_any(*field));
    match (is_any(month_day) || is_any(week_day), stepped) {
        (true, _) => None,
        (false, Some(field)) => {
            Some(Warning::StepWithOtherDay { column: field.column, text: field.text.to_owned() })
        }
        (false, None) => Some(Warning::EitherDay {
            month_days: month_day.text.to_owned(),
            week_days: week_day.text.to_owned(),
        }),
    }
}
