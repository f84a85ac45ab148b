//! Reads the items of a field: values, ranges, steps, `H`, and the signs of the day fields.

use super::{
    advice::{
        Value, forward, is_digits, missing, not_a_value, random_as_hash, refuse, refuse_month_day_slips,
        refuse_week_day_slips, why_no_value,
    },
    days::{MonthDays, WeekDays},
    error::{CronError, Problem},
    fields::{Field, Style, ValueSet},
    hash::HashSeed,
    piece::Piece,
};
use crate::warning::Warning;

/// Reads fields one after another and keeps what was noticed on the way.
pub(crate) struct Items<'a> {
    seed: &'a HashSeed,
    warnings: Vec<Warning>,
    /// What stands for each `H` item: where it begins, how long it is, the new text; in the order of the text.
    resolved: Vec<(usize, usize, String)>,
}

impl<'a> Items<'a> {
    pub(crate) fn new(seed: &'a HashSeed) -> Items<'a> {
        Items { seed, warnings: Vec::new(), resolved: Vec::new() }
    }

    /// The text with each `H` item replaced, and the warnings.
    pub(crate) fn finish(self, text: &str) -> (String, Vec<Warning>) {
        let mut resolved = String::with_capacity(text.len());
        let mut done = 0;
        for (column, length, replacement) in &self.resolved {
            let start = column - 1;
            resolved.push_str(&text[done..start]);
            resolved.push_str(replacement);
            done = start + length;
        }
        resolved.push_str(&text[done..]);
        (resolved, self.warnings)
    }

    /// A field without signs of its own.
    pub(crate) fn plain(&mut self, field: Field, text: Piece<'_>) -> Result<ValueSet, CronError> {
        let mut values = ValueSet::EMPTY;
        for item in list(field, text) {
            values = values.union(self.values(field, item?)?);
        }
        Ok(values)
    }

    /// The day-of-month field.
    pub(crate) fn month_days(&mut self, text: Piece<'_>) -> Result<MonthDays, CronError> {
        let field = Field::DayOfMonth;
        if text.text == "?" {
            return Ok(MonthDays { plain: ValueSet::all(field), ..MonthDays::default() });
        }
        let mut days = MonthDays::default();
        for item in list(field, text) {
            let item = item?;
            if item.text.eq_ignore_ascii_case("L") {
                days.last = true;
            } else if item.text.eq_ignore_ascii_case("LW") {
                days.last_weekday = true;
            } else if let Some(day) = item.before("W").filter(|day| is_digits(day.text)) {
                days.nearest.insert(self.single(field, day)?.number);
            } else {
                refuse_month_day_slips(item)?;
                days.plain = days.plain.union(self.values(field, item)?);
            }
        }
        Ok(days)
    }

    /// The day-of-week field.
    pub(crate) fn week_days(&mut self, text: Piece<'_>) -> Result<WeekDays, CronError> {
        let field = Field::DayOfWeek;
        if text.text == "?" {
            return Ok(WeekDays { plain: ValueSet::all(field), ..WeekDays::default() });
        }
        let mut days = WeekDays::default();
        for item in list(field, text) {
            let item = item?;
            if let Some((weekday, nth)) = item.split_once('#') {
                let weekday = self.single(field, weekday)?.number % 7;
                let nth = nth_week(item, nth)?;
                days.nth[nth - 1].insert(weekday);
            } else if let Some(weekday) = item.before("L").filter(|weekday| is_weekday(weekday.text)) {
                days.last.insert(self.single(field, weekday)?.number % 7);
            } else {
                refuse_week_day_slips(item)?;
                days.plain = days.plain.union(self.values(field, item)?);
            }
        }
        Ok(days)
    }

    /// An item that is a value, a range or `H`, each with or without a step.
    fn values(&mut self, field: Field, item: Piece<'_>) -> Result<ValueSet, CronError> {
        let (base, step) = match item.split_once('/') {
            Some((base, step)) => (base, Some(read_step(field, item, step)?)),
            None => (item, None),
        };
        if base.text.is_empty() {
            return Err(refuse(field, item, missing(field)));
        }
        if base.text.contains('?') {
            let problem = match field {
                Field::DayOfMonth | Field::DayOfWeek => Problem::Question,
                Field::Second | Field::Minute | Field::Hour | Field::Month => Problem::DaySign,
            };
            return Err(refuse(field, item, problem));
        }
        if base.text == "*" {
            let (first, last) = field.range();
            self.warn_uneven(field, item, (first, last), step);
            return Ok(self.stepped(field, item, first, last, step));
        }
        if let Some(rest) = base.after("*") {
            let fix = if is_digits(rest.text) { rest.text.to_owned() } else { String::new() };
            return Err(refuse(field, base, Problem::AfterStar { fix }));
        }
        if let Some(range) = base.after("H") {
            return self.hashed(field, item, range, step);
        }
        if let Some((first, last)) = base.split_once('~') {
            let rewritten = random_as_hash(field, first, last);
            return Err(refuse(field, base, Problem::Random { rewritten }));
        }
        if let Some((first, last)) = base.split_once('-') {
            return self.range(field, item, first, last, step);
        }
        let value = self.single(field, base)?;
        // Both spellings of Sunday begin the week here: `7/2` is `0/2`.
        let first = if field == Field::DayOfWeek { value.number % 7 } else { value.number };
        let last = if step.is_some() { field.range().1 } else { first };
        Ok(self.stepped(field, item, first, last, step))
    }

    fn range(
        &mut self,
        field: Field,
        item: Piece<'_>,
        first: Piece<'_>,
        last: Piece<'_>,
        step: Option<u32>,
    ) -> Result<ValueSet, CronError> {
        if last.text.contains('-') {
            return Err(refuse(field, item, Problem::Repeated { sign: '-' }));
        }
        if first.text.is_empty() || last.text.is_empty() {
            return Err(refuse(field, item, missing(field)));
        }
        let (first, mut last) = (self.single(field, first)?, self.single(field, last)?);
        // `MON-SUN` ends with the week, although SUN is 0.
        if field == Field::DayOfWeek && last.style == Style::Name && last.number == 0 && first.number > 0 {
            last.number = 7;
        }
        if first.number > last.number {
            let rewritten = forward(field, first, last, step);
            return Err(refuse(field, item, Problem::Backward { rewritten }));
        }
        Ok(self.stepped(field, item, first.number, last.number, step))
    }

    /// `H`, `H(a-b)`, either with a step: one stable choice per schedule and field, after Jenkins.
    fn hashed(
        &mut self,
        field: Field,
        item: Piece<'_>,
        range: Piece<'_>,
        step: Option<u32>,
    ) -> Result<ValueSet, CronError> {
        let (first, last) = self.hash_range(field, item, range)?;
        let size = last - first + 1;
        let Some(step) = step else {
            let value = first + self.seed.choose(field, size);
            self.resolved.push((item.column, item.text.len(), value.to_string()));
            return Ok(ValueSet::single(value));
        };
        if range.text.is_empty() {
            self.warn_uneven(field, item, (first, last), Some(step));
        }
        let start = first + self.seed.choose(field, step.min(size));
        self.resolved.push((item.column, item.text.len(), format!("{start}-{last}/{step}")));
        if step >= size {
            self.warnings.push(Warning::StepTooLarge {
                column: item.column,
                text: item.text.to_owned(),
                only: start,
            });
        }
        Ok(ValueSet::stepped(start, last, step))
    }

    fn hash_range(&self, field: Field, item: Piece<'_>, range: Piece<'_>) -> Result<(u32, u32), CronError> {
        if range.text.is_empty() {
            return Ok(field.hash_range());
        }
        let ends =
            range.after("(").and_then(|inside| inside.before(")")).and_then(|ends| ends.split_once('-'));
        let (first, last) = ends.ok_or_else(|| refuse(field, item, not_a_value(field)))?;
        let (first, last) = (self.single(field, first)?.number, self.single(field, last)?.number);
        // A choice of 7 would be Sunday twice: the week ends with 6 here.
        let last = last.min(field.range().1);
        if first > last { Err(refuse(field, item, Problem::BackwardHash)) } else { Ok((first, last)) }
    }

    fn stepped(
        &mut self,
        field: Field,
        item: Piece<'_>,
        first: u32,
        last: u32,
        step: Option<u32>,
    ) -> ValueSet {
        if let Some(step) = step
            && step > last - first
            && step > 1
        {
            self.warnings.push(Warning::StepTooLarge {
                column: item.column,
                text: item.text.to_owned(),
                only: first,
            });
        }
        let values = ValueSet::stepped(first, last, step.unwrap_or(1));
        if field == Field::DayOfWeek { values.sunday_as_zero() } else { values }
    }

    fn warn_uneven(&mut self, field: Field, item: Piece<'_>, (first, last): (u32, u32), step: Option<u32>) {
        let size = last - first + 1;
        // Months differ in length: no step but 1 divides the days of all of them.
        let divides =
            |step: u32| if field == Field::DayOfMonth { step == 1 } else { size.is_multiple_of(step) };
        if let Some(step) = step
            && step < size
            && !divides(step)
        {
            self.warnings.push(Warning::StepUneven {
                column: item.column,
                text: item.text.to_owned(),
                field,
            });
        }
    }

    /// One number or name.
    fn single(&self, field: Field, text: Piece<'_>) -> Result<Value, CronError> {
        if let Some(number) = field.value_of_name(text.text) {
            return Ok(Value { number, style: Style::Name });
        }
        if !is_digits(text.text) {
            return Err(refuse(field, text, why_no_value(field, text)));
        }
        let (first, last) = (field.range().0, field.written_max());
        let number: u32 = text.text.parse().unwrap_or(u32::MAX);
        if (first..=last).contains(&number) {
            return Ok(Value { number, style: Style::Number });
        }
        // A seventh field is refused before; a year in place of another field lands here.
        let problem =
            if (1970..2200).contains(&number) { Problem::Year } else { Problem::OutOfRange { first, last } };
        Err(refuse(field, text, problem))
    }
}

/// The items of a list, an empty one being an error that shows the whole list.
fn list<'t>(field: Field, text: Piece<'t>) -> impl Iterator<Item = Result<Piece<'t>, CronError>> {
    text.split(|c| c == ',').map(move |item| {
        if item.text.is_empty() {
            let place = Piece { column: item.column, text: text.text };
            Err(refuse(field, place, missing(field)))
        } else {
            Ok(item)
        }
    })
}

fn is_weekday(text: &str) -> bool {
    is_digits(text) || Field::DayOfWeek.value_of_name(text).is_some()
}

fn read_step(field: Field, item: Piece<'_>, step: Piece<'_>) -> Result<u32, CronError> {
    if step.text.contains('/') {
        return Err(refuse(field, item, Problem::Repeated { sign: '/' }));
    }
    if !is_digits(step.text) {
        let shown = if step.text.is_empty() { Piece { column: step.column, ..item } } else { step };
        return Err(refuse(field, shown, Problem::StepNotANumber));
    }
    // However long the number is, it is larger than any range.
    match step.text.parse().unwrap_or(u32::MAX) {
        0 => Err(refuse(field, item, Problem::StepZero)),
        step => Ok(step),
    }
}

fn nth_week(item: Piece<'_>, nth: Piece<'_>) -> Result<usize, CronError> {
    if nth.text.contains(['/', '-', 'L', 'l']) {
        return Err(refuse(Field::DayOfWeek, item, Problem::NotSingle));
    }
    match nth.text.parse() {
        Ok(week @ 1..=5) if is_digits(nth.text) => Ok(week),
        Ok(_) | Err(_) => Err(refuse(Field::DayOfWeek, item, Problem::NthOutOfRange)),
    }
}
