//! The values of a calendar rule that are more than a number.

use std::fmt;

use crate::wall::Shape;

/// A day of the week.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Weekday {
    Monday,
    Tuesday,
    Wednesday,
    Thursday,
    Friday,
    Saturday,
    Sunday,
}

impl Weekday {
    /// All seven, Monday first.
    pub const ALL: [Weekday; 7] = [
        Weekday::Monday,
        Weekday::Tuesday,
        Weekday::Wednesday,
        Weekday::Thursday,
        Weekday::Friday,
        Weekday::Saturday,
        Weekday::Sunday,
    ];

    /// `MON`, as in cron.
    pub fn short_name(self) -> &'static str {
        match self {
            Weekday::Monday => "MON",
            Weekday::Tuesday => "TUE",
            Weekday::Wednesday => "WED",
            Weekday::Thursday => "THU",
            Weekday::Friday => "FRI",
            Weekday::Saturday => "SAT",
            Weekday::Sunday => "SUN",
        }
    }

    /// The day with this three-letter name, in any case.
    pub fn parse(name: &str) -> Option<Weekday> {
        Weekday::ALL.into_iter().find(|day| day.short_name().eq_ignore_ascii_case(name))
    }

    /// Sunday being 0, as in cron.
    pub(crate) fn sunday_zero(self) -> u32 {
        (self as u32 + 1) % 7
    }
}

/// A weekday, or the nth one of the month.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct WeekdayRule {
    /// The day of the week.
    pub weekday: Weekday,
    /// 1 to 5, or −1 to −5 counted from the month's end; `None` for each of them.
    pub nth: Option<i8>,
}

impl WeekdayRule {
    /// The matching days of a month as bits, day `n` at bit `n`.
    pub(super) fn in_month(self, month: Shape) -> u32 {
        let weekday = self.weekday.sunday_zero();
        match self.nth {
            None => month.every_weekday(weekday),
            Some(nth) if nth > 0 => month.nth(weekday, u32::from(nth.unsigned_abs())),
            Some(nth) => month.nth_last(weekday, u32::from(nth.unsigned_abs())),
        }
    }
}

impl fmt::Display for WeekdayRule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.weekday.short_name())?;
        self.nth.map_or(Ok(()), |nth| write!(f, "#{nth}"))
    }
}

/// A time of day that exists: `09:00` or `09:00:30`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TimeOfDay {
    second_of_day: u32,
}

impl TimeOfDay {
    /// A time of day, or `None` if clocks do not show it. There is no 24:00 and no leap second.
    pub fn new(hour: u8, minute: u8, second: u8) -> Option<TimeOfDay> {
        let (hour, minute, second) = (u32::from(hour), u32::from(minute), u32::from(second));
        let exists = hour < 24 && minute < 60 && second < 60;
        exists.then_some(TimeOfDay { second_of_day: hour * 3600 + minute * 60 + second })
    }

    /// Reads `HH:MM` or `HH:MM:SS`, two digits each.
    pub fn parse(text: &str) -> Option<TimeOfDay> {
        let mut parts = text.split(':').map(two_digits);
        let (hour, minute) = (parts.next()??, parts.next()??);
        let second = parts.next().unwrap_or(Some(0))?;
        let is_whole = parts.next().is_none();
        TimeOfDay::new(hour, minute, second).filter(|_| is_whole)
    }

    /// Seconds since midnight.
    pub fn second_of_day(self) -> u32 {
        self.second_of_day
    }
}

impl fmt::Display for TimeOfDay {
    /// With seconds only if there are any.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let second = self.second_of_day;
        write!(f, "{:02}:{:02}", second / 3600, second / 60 % 60)?;
        if second.is_multiple_of(60) { Ok(()) } else { write!(f, ":{:02}", second % 60) }
    }
}

fn two_digits(text: &str) -> Option<u8> {
    let is_number = text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok())?
}
