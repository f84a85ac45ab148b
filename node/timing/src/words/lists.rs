//! Lists and numbers in words.

use crate::cron::ValueSet;

/// `a`, `a and b`, `a, b and c`.
pub(super) fn and<T: AsRef<str>>(items: &[T]) -> String {
    let (last, before) = match items.split_last() {
        None => return String::new(),
        Some((last, [])) => return last.as_ref().to_owned(),
        Some((last, before)) => (last, before),
    };
    let before: Vec<&str> = before.iter().map(AsRef::as_ref).collect();
    format!("{} and {}", before.join(", "), last.as_ref())
}

/// The values of a set, three neighbours and more as `a to c`.
pub(super) fn ranges(set: ValueSet, name: impl Fn(u32) -> String) -> String {
    let mut parts = Vec::new();
    let mut rest = set.first();
    while let Some(first) = rest {
        let mut last = first;
        while set.contains(last + 1) {
            last += 1;
        }
        match last - first {
            0 => parts.push(name(first)),
            1 => parts.extend([name(first), name(last)]),
            _more => parts.push(format!("{} to {}", name(first), name(last))),
        }
        rest = set.from(last + 1);
    }
    and(&parts)
}

/// `minute 5` or `minutes 5 and 10`.
pub(super) fn counted(noun: &str, set: ValueSet) -> String {
    let plural = if set.len() == 1 { "" } else { "s" };
    format!("{noun}{plural} {}", ranges(set, |value| value.to_string()))
}

/// The step of a set that is `0, step, 2·step, …` over a whole field of `size` values, which the step divides.
pub(super) fn even_step(set: ValueSet, size: u32) -> Option<u32> {
    let step = size.checked_div(set.len()).filter(|step| *step > 1 && size.is_multiple_of(*step))?;
    (set == ValueSet::stepped(0, size - 1, step)).then_some(step)
}

/// `1st`, `2nd`, `23rd`.
pub(super) fn ordinal(number: u32) -> String {
    let ending = match (number % 100, number % 10) {
        (11..=13, _) => "th",
        (_, 1) => "st",
        (_, 2) => "nd",
        (_, 3) => "rd",
        (_, _) => "th",
    };
    format!("{number}{ending}")
}

/// `first` to `fifth`, as people count weekdays.
pub(super) fn nth(number: u32) -> String {
    match number {
        1 => "first".to_owned(),
        2 => "second".to_owned(),
        3 => "third".to_owned(),
        4 => "fourth".to_owned(),
        5 => "fifth".to_owned(),
        more => ordinal(more),
    }
}

/// Sunday being 0 and 7.
pub(super) fn weekday(number: u32) -> String {
    let names = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];
    names[(number % 7) as usize].to_owned()
}

/// From 1.
pub(super) fn month(number: u32) -> String {
    let names = [
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
    names[(number.clamp(1, 12) - 1) as usize].to_owned()
}

/// With its first letter in upper case.
pub(super) fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_ascii_uppercase().to_string() + letters.as_str())
}
