//! The proleptic Gregorian calendar in plain integers: days since 1970-01-01, months, times of day.
//!
//! Walking a calendar asks for nothing but these, millions of times: no allocation, no error that cannot happen.

/// Seconds of a civil day.
pub(crate) const DAY_SECONDS: i64 = 86_400;

/// One month of one year.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Month {
    pub(crate) year: i64,
    /// 1 to 12.
    pub(crate) number: u32,
    /// Its first day, in days since the epoch.
    pub(crate) first_day: i64,
    /// How many days it has.
    pub(crate) length: u32,
}

impl Month {
    /// The month `number` (1 to 12) of a year.
    pub(crate) fn new(year: i64, number: u32) -> Month {
        assert!((1..=12).contains(&number), "months are 1 to 12, got {number}");
        Month { year, number, first_day: first_day(year, number), length: length(year, number) }
    }

    /// The month that contains a day, and which day of it that is, from 1.
    pub(crate) fn containing(day: i64) -> (Month, u32) {
        // Howard Hinnant's `civil_from_days`: years begin in March, so that the leap day comes last.
        let shifted = day + 719_468;
        let era = shifted.div_euclid(146_097);
        let of_era = shifted.rem_euclid(146_097);
        let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let march_month = (5 * of_year + 2) / 153;
        let number = if march_month < 10 { march_month + 3 } else { march_month - 9 } as u32;
        let year = year_of_era + era * 400 + i64::from(number <= 2);
        let month = Month::new(year, number);
        (month, (day - month.first_day + 1) as u32)
    }

    /// The month after it.
    pub(crate) fn next(self) -> Month {
        let (year, number) =
            if self.number == 12 { (self.year + 1, 1) } else { (self.year, self.number + 1) };
        let first_day = self.first_day + i64::from(self.length);
        Month { year, number, first_day, length: length(year, number) }
    }

    /// The month before it.
    pub(crate) fn previous(self) -> Month {
        let (year, number) =
            if self.number == 1 { (self.year - 1, 12) } else { (self.year, self.number - 1) };
        let length = length(year, number);
        Month { year, number, first_day: self.first_day - i64::from(length), length }
    }

    /// The weekday of day 1, Sunday being 0.
    pub(crate) fn first_weekday(self) -> u32 {
        (self.first_day + 4).rem_euclid(7) as u32
    }
}

/// The days since the epoch of a date, if it exists.
pub(crate) fn day_of(year: i64, month: u32, day: u32) -> Option<i64> {
    let month = (1..=12).contains(&month).then(|| Month::new(year, month))?;
    (1..=month.length).contains(&day).then(|| month.first_day + i64::from(day) - 1)
}

/// The wall time of a date and a time of day, in seconds as if the wall were UTC, if both exist. There are no leap seconds.
pub(crate) fn wall_of(date: (i64, u32, u32), (hour, minute, second): (u32, u32, u32)) -> Option<i64> {
    let day = day_of(date.0, date.1, date.2)?;
    let exists = hour < 24 && minute < 60 && second < 60;
    exists.then(|| day * DAY_SECONDS + i64::from(hour * 3600 + minute * 60 + second))
}

/// Writes a wall time: `2026-11-23T02:00:00`.
pub(crate) fn format_wall(wall: i64) -> String {
    let (month, day) = Month::containing(wall.div_euclid(DAY_SECONDS));
    let (year, number) = (month.year, month.number);
    let second = wall.rem_euclid(DAY_SECONDS);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{number:02}-{day:02}T{hour:02}:{minute:02}:{second:02}")
}

fn first_day(year: i64, number: u32) -> i64 {
    let year = year - i64::from(number <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let march_month = i64::from(if number > 2 { number - 3 } else { number + 9 });
    let of_year = (153 * march_month + 2) / 5;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year - 719_468
}

fn length(year: i64, number: u32) -> u32 {
    match number {
        4 | 6 | 9 | 11 => 30,
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        _long => 31,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_day_of_eight_centuries_agrees_with_jiff() {
        let mut date = jiff::civil::date(1600, 1, 1);
        let first = day_of(1600, 1, 1).unwrap();
        let mut walked = Month::new(1600, 1);
        for day in first..first + 800 * 365 {
            let (month, of_month) = Month::containing(day);
            let expected = (i64::from(date.year()), date.month() as u32, date.day() as u32);
            assert_eq!((month.year, month.number, of_month), expected);
            assert_eq!(month.length, date.days_in_month() as u32);
            if of_month == 1 {
                assert_eq!(month.first_weekday(), date.weekday().to_sunday_zero_offset() as u32);
                walked = if day == first { walked } else { walked.next() };
                assert_eq!((walked, walked.next().previous()), (month, month));
            }
            date = date.tomorrow().unwrap();
        }
    }

    #[test]
    fn what_does_not_exist_has_no_wall_time() {
        assert_eq!(wall_of((1970, 1, 1), (0, 0, 0)), Some(0));
        assert_eq!(format_wall(wall_of((2026, 11, 23), (2, 0, 59)).unwrap()), "2026-11-23T02:00:59");
        for date in [(2026, 0, 1), (2026, 13, 1), (2026, 2, 29), (2026, 4, 31), (2026, 1, 0)] {
            assert_eq!(wall_of(date, (0, 0, 0)), None, "{date:?}");
        }
        for time in [(24, 0, 0), (0, 60, 0), (0, 0, 60)] {
            assert_eq!(wall_of((2026, 1, 1), time), None, "{time:?}");
        }
    }
}
