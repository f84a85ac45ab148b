//! What to say about a text that is no item: the slip it looks like, and how to write what was meant.

use super::{
    error::{CronError, Problem},
    fields::{Field, Style},
    piece::Piece,
};

/// A value and how it was written.
#[derive(Clone, Copy)]
pub(super) struct Value {
    pub(super) number: u32,
    pub(super) style: Style,
}

/// Spellings of `L` and `W` that other programs know and this language does not.
pub(super) fn refuse_month_day_slips(item: Piece<'_>) -> Result<(), CronError> {
    let upper = item.text.to_ascii_uppercase();
    let field = Field::DayOfMonth;
    if upper.starts_with("L-") {
        return Err(refuse(field, item, Problem::BeforeLast));
    }
    let rewritten = match (upper.as_str(), upper.strip_prefix('W')) {
        ("WL", _) => Some("LW".to_owned()),
        (_, Some(day)) if is_digits(day) => Some(format!("{day}W")),
        _other => None,
    };
    if let Some(rewritten) = rewritten {
        return Err(refuse(field, item, Problem::Order { rewritten }));
    }
    let has_sign =
        upper.starts_with('L') || (upper.contains('W') && upper.starts_with(|c: char| c.is_ascii_digit()));
    if has_sign && upper.contains(['/', '-']) {
        return Err(refuse(field, item, Problem::NotSingle));
    }
    Ok(())
}

/// The same for the day-of-week field.
pub(super) fn refuse_week_day_slips(item: Piece<'_>) -> Result<(), CronError> {
    let upper = item.text.to_ascii_uppercase();
    let field = Field::DayOfWeek;
    if upper == "L" {
        return Err(refuse(field, item, Problem::LastOfWeek));
    }
    if let Some(day) = upper.strip_prefix('L').filter(|day| is_digits(day)) {
        return Err(refuse(field, item, Problem::Order { rewritten: format!("{day}L") }));
    }
    if upper.starts_with(|c: char| c.is_ascii_digit()) && upper.contains('L') {
        return Err(refuse(field, item, Problem::NotSingle));
    }
    Ok(())
}

/// Why a text that is no number is no value either.
pub(super) fn why_no_value(field: Field, text: Piece<'_>) -> Problem {
    let written = text.text;
    let others = [Field::Month, Field::DayOfWeek];
    if let Some(other) = others.into_iter().find(|other| other.value_of_name(written).is_some()) {
        return Problem::OtherField { belongs: other };
    }
    if let Some(short) = written.get(..3)
        && field.value_of_name(short).is_some()
        && written.bytes().all(|byte| byte.is_ascii_alphabetic())
    {
        return Problem::LongName { short: short.to_ascii_uppercase() };
    }
    let upper = written.to_ascii_uppercase();
    let has_sign = matches!(upper.as_str(), "L" | "LW" | "W")
        || upper.contains('#')
        || upper.strip_suffix(['L', 'W']).is_some_and(is_digits);
    if has_sign { Problem::DaySign } else { not_a_value(field) }
}

/// The forward ranges with the values a backward one would have if it ran over the end of the field.
pub(super) fn forward(field: Field, first: Value, last: Value, step: Option<u32>) -> String {
    let (low, high) = field.range();
    if field == Field::DayOfWeek && first.number == 7 {
        let first = Value { number: 0, ..first };
        return span(field, first.number, last.number, first.style, step);
    }
    // `5-0` in the day-of-week field is the week's end.
    if field == Field::DayOfWeek && last.number == 0 && step.is_none() {
        return format!("{}-7", field.write(first.number, first.style));
    }
    let style = if first.style == last.style { first.style } else { Style::Number };
    let upper = span(field, first.number, high, style, step);
    let step_size = step.unwrap_or(1);
    let in_upper = (high - first.number) / step_size + 1;
    let start =
        u64::from(first.number) + u64::from(in_upper) * u64::from(step_size) - u64::from(high - low + 1);
    match u32::try_from(start) {
        Ok(start) if start <= last.number => {
            format!("{upper},{}", span(field, start, last.number, style, step))
        }
        Ok(_) | Err(_) => upper,
    }
}

fn span(field: Field, first: u32, last: u32, style: Style, step: Option<u32>) -> String {
    if first == last {
        return field.write(first, style);
    }
    let step = step.map(|step| format!("/{step}")).unwrap_or_default();
    format!("{}-{}{step}", field.write(first, style), field.write(last, style))
}

/// The stable reading of cronie's `a~b`, whose ends may be left out.
pub(super) fn random_as_hash(field: Field, first: Piece<'_>, last: Piece<'_>) -> String {
    if first.text.is_empty() && last.text.is_empty() {
        return "H".to_owned();
    }
    let (low, high) = field.range();
    let end = |text: &str, default: u32| if text.is_empty() { default.to_string() } else { text.to_owned() };
    format!("H({}-{})", end(first.text, low), end(last.text, high))
}

pub(super) fn refuse(field: Field, piece: Piece<'_>, problem: Problem) -> CronError {
    CronError::Field { column: piece.column, field, text: piece.text.to_owned(), problem }
}

pub(super) fn missing(field: Field) -> Problem {
    Problem::Missing { first: field.range().0, last: field.written_max() }
}

pub(super) fn not_a_value(field: Field) -> Problem {
    Problem::NotAValue { first: field.range().0, last: field.written_max(), names: !field.names().is_empty() }
}

pub(super) fn is_digits(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}
