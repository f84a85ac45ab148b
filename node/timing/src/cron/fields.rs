//! The six fields of an expression and sets of their values.
//!
//! A field has at most 60 values, so a set of them is one `u64`.

use std::fmt;

/// One of the six fields of a cron expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    /// Seconds, 0–59: the optional leading field.
    Second,
    /// Minutes, 0–59.
    Minute,
    /// Hours, 0–23.
    Hour,
    /// Days of the month, 1–31.
    DayOfMonth,
    /// Months, 1–12 or `JAN`–`DEC`.
    Month,
    /// Days of the week, 0–7 or `SUN`–`SAT`; 0 and 7 are both Sunday.
    DayOfWeek,
}

const MONTH_NAMES: [&str; 12] =
    ["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"];
const DAY_NAMES: [&str; 7] = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"];

impl Field {
    /// The values `*` stands for.
    pub(crate) fn range(self) -> (u32, u32) {
        match self {
            Field::Second | Field::Minute => (0, 59),
            Field::Hour => (0, 23),
            Field::DayOfMonth => (1, 31),
            Field::Month => (1, 12),
            Field::DayOfWeek => (0, 6),
        }
    }

    /// The largest number that may be written: Sunday may be 7.
    pub(crate) fn written_max(self) -> u32 {
        match self {
            Field::DayOfWeek => 7,
            Field::Second | Field::Minute | Field::Hour | Field::DayOfMonth | Field::Month => self.range().1,
        }
    }

    /// The values a bare `H` chooses from: every month has a 28th.
    pub(crate) fn hash_range(self) -> (u32, u32) {
        match self {
            Field::DayOfMonth => (1, 28),
            Field::Second | Field::Minute | Field::Hour | Field::Month | Field::DayOfWeek => self.range(),
        }
    }

    /// The names of the values, the first one standing for `range().0`; empty where a field has none.
    pub(crate) fn names(self) -> &'static [&'static str] {
        match self {
            Field::Month => &MONTH_NAMES,
            Field::DayOfWeek => &DAY_NAMES,
            Field::Second | Field::Minute | Field::Hour | Field::DayOfMonth => &[],
        }
    }

    /// The value of a three-letter name in any case.
    pub(crate) fn value_of_name(self, name: &str) -> Option<u32> {
        let index = self.names().iter().position(|known| known.eq_ignore_ascii_case(name))?;
        Some(self.range().0 + u32::try_from(index).ok()?)
    }

    /// How `value` is written: its name in `style`, or its number.
    pub(crate) fn write(self, value: u32, style: Style) -> String {
        let name = value.checked_sub(self.range().0).and_then(|index| self.names().get(index as usize));
        match (style, name) {
            (Style::Name, Some(name)) => (*name).to_owned(),
            (Style::Name, None) | (Style::Number, _) => value.to_string(),
        }
    }
}

impl fmt::Display for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Field::Second => "second",
            Field::Minute => "minute",
            Field::Hour => "hour",
            Field::DayOfMonth => "day-of-month",
            Field::Month => "month",
            Field::DayOfWeek => "day-of-week",
        })
    }
}

/// Whether the user wrote a value by name or by number, so that suggestions answer in kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Style {
    /// `FRI`
    Name,
    /// `5`
    Number,
}

/// A set of field values, each at most 63.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ValueSet(u64);

impl ValueSet {
    pub(crate) const EMPTY: ValueSet = ValueSet(0);

    /// `first`, `first + step`, … up to and including `last`.
    pub(crate) fn stepped(first: u32, last: u32, step: u32) -> ValueSet {
        let mut set = ValueSet::EMPTY;
        for value in (first..=last).step_by(step.max(1) as usize) {
            set.insert(value);
        }
        set
    }

    /// One value.
    pub(crate) fn single(value: u32) -> ValueSet {
        let mut set = ValueSet::EMPTY;
        set.insert(value);
        set
    }

    /// Every value of `field`.
    pub(crate) fn all(field: Field) -> ValueSet {
        let (first, last) = field.range();
        ValueSet::stepped(first, last, 1)
    }

    pub(crate) fn insert(&mut self, value: u32) {
        assert!(value < 64, "field values are below 64, got {value}");
        self.0 |= 1 << value;
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn union(self, other: ValueSet) -> ValueSet {
        ValueSet(self.0 | other.0)
    }

    /// The same days of the week with 7 written as 0.
    pub(crate) fn sunday_as_zero(self) -> ValueSet {
        ValueSet((self.0 | self.0 >> 7) & 0x7f)
    }

    pub(crate) fn contains(self, value: u32) -> bool {
        value < 64 && self.0 >> value & 1 == 1
    }

    /// The first value from `value` on.
    pub(crate) fn from(self, value: u32) -> Option<u32> {
        let later = self.0.checked_shr(value).map_or(0, |bits| bits << value);
        (later != 0).then(|| later.trailing_zeros())
    }

    /// The last value up to `value`.
    pub(crate) fn until(self, value: u32) -> Option<u32> {
        let earlier = self.0 & (u64::MAX >> (63 - value.min(63)));
        (earlier != 0).then(|| 63 - earlier.leading_zeros())
    }

    pub(crate) fn first(self) -> Option<u32> {
        self.from(0)
    }

    pub(crate) fn last(self) -> Option<u32> {
        self.until(63)
    }

    pub(crate) fn is_subset(self, other: ValueSet) -> bool {
        self.0 & !other.0 == 0
    }

    pub(crate) fn len(self) -> u32 {
        self.0.count_ones()
    }

    /// The values as bits, value `n` at bit `n`.
    pub(crate) fn bits(self) -> u64 {
        self.0
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = u32> {
        let after_lowest = |bits: u64| bits & bits.wrapping_sub(1);
        let rest = std::iter::successors(Some(self.0), move |bits| Some(after_lowest(*bits)));
        rest.take_while(|bits| *bits != 0).map(u64::trailing_zeros)
    }

    /// The set as a field's text: `*`, or numbers and ranges.
    pub(crate) fn text(self, field: Field) -> String {
        if self == ValueSet::all(field) { "*".to_owned() } else { self.ranges() }
    }

    /// The set as numbers and ranges, `0-5,10`.
    pub(crate) fn ranges(self) -> String {
        let mut parts = Vec::new();
        let mut value = 0;
        while value < 64 {
            let length = (self.0 >> value).trailing_ones();
            match length {
                0 => value += 1,
                1 => parts.push(value.to_string()),
                more => parts.push(format!("{value}-{}", value + more - 1)),
            }
            value += length;
        }
        parts.join(",")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_list_their_values() {
        let values: Vec<u32> = ValueSet::stepped(3, 63, 20).iter().collect();
        assert_eq!(values, [3, 23, 43, 63]);
        assert_eq!(ValueSet::EMPTY.iter().count(), 0);
    }

    #[test]
    fn sets_find_their_neighbours() {
        let set = ValueSet::stepped(3, 63, 20);
        assert_eq!(
            [0, 3, 4, 63, 64].map(|value| set.from(value)),
            [Some(3), Some(3), Some(23), Some(63), None]
        );
        assert_eq!(
            [2, 3, 62, 63, 99].map(|value| set.until(value)),
            [None, Some(3), Some(43), Some(63), Some(63)]
        );
        assert_eq!((ValueSet::EMPTY.first(), ValueSet::EMPTY.last()), (None, None));
        assert!(set.contains(43) && !set.contains(44) && !set.contains(64));
    }

    #[test]
    fn sets_write_themselves_as_ranges() {
        let mut set = ValueSet::stepped(0, 5, 1);
        set.insert(10);
        set.insert(59);
        assert_eq!(set.ranges(), "0-5,10,59");
        assert_eq!(ValueSet::all(Field::Month).text(Field::Month), "*");
        assert_eq!(ValueSet::EMPTY.ranges(), "");
        assert_eq!(ValueSet(u64::MAX).ranges(), "0-63");
    }
}
