//! The calendar walker: the wall-clock times that a rule matches, in both directions.
//!
//! Forward, which is the way that schedules fire, the months, hours, minutes and seconds of a cron expression are walked by
//! the `cron` crate, over wall-clock time that is dressed up as `DateTime<Utc>`: it never sees a user's text or a zone. It is
//! given every day of the month, because its days are always ANDed and know no `L`, `W` or `#`; which days match is ours to
//! say, and whole stretches without one are jumped over. Backward, and for calendar rules, the walk is over bits; a property
//! test holds the two against each other.

use chrono::{DateTime, Utc};

use super::{days::Days, times::Times};
use crate::{HORIZON_SECONDS, civil::DAY_SECONDS};

/// The walls worth walking: two days around 1970 and 2101, so that every offset fits.
const WALL_MIN: i64 = -2 * DAY_SECONDS;
const WALL_MAX: i64 = HORIZON_SECONDS + 2 * DAY_SECONDS;

/// Days and the times at which something happens on each of them. Walls are in seconds as if the wall were UTC.
#[derive(Clone, Debug)]
pub(crate) struct Walker {
    pub(crate) days: Days,
    pub(crate) times: Times,
    /// Months and times of a cron expression, on every day.
    pub(crate) schedule: Option<Box<cron::Schedule>>,
}

impl Walker {
    pub(crate) fn contains(&self, wall: i64) -> bool {
        let (day, second) = split(wall);
        self.times.contains(second) && self.days.contains(day)
    }

    /// The first matching wall time from `wall` on.
    pub(crate) fn from(&self, wall: i64) -> Option<i64> {
        let wall = wall.clamp(WALL_MIN, WALL_MAX);
        match &self.schedule {
            Some(schedule) => self.walk_by_schedule(schedule, wall),
            None => self.walk_by_bits(wall),
        }
    }

    /// Each turn moves to a later day that matches, so the search ends with the last year (TIMING-2).
    fn walk_by_schedule(&self, schedule: &cron::Schedule, wall: i64) -> Option<i64> {
        let mut from = wall;
        loop {
            let just_before = DateTime::<Utc>::from_timestamp(from - 1, 0)?;
            let candidate = schedule.after(&just_before).next()?.timestamp();
            let (day, _) = split(candidate);
            if self.days.contains(day) {
                return Some(candidate);
            }
            from = join(self.days.from(day + 1)?, 0);
        }
    }

    fn walk_by_bits(&self, wall: i64) -> Option<i64> {
        let (day, second) = split(wall);
        if let Some(time) = self.times.from(second)
            && self.days.contains(day)
        {
            return Some(join(day, time));
        }
        Some(join(self.days.from(day + 1)?, self.times.first()))
    }

    /// The last matching wall time up to `wall`.
    pub(crate) fn until(&self, wall: i64) -> Option<i64> {
        let (day, second) = split(wall.clamp(WALL_MIN, WALL_MAX));
        if let Some(time) = self.times.until(second)
            && self.days.contains(day)
        {
            return Some(join(day, time));
        }
        Some(join(self.days.until(day - 1)?, self.times.last()))
    }
}

fn split(wall: i64) -> (i64, u32) {
    (wall.div_euclid(DAY_SECONDS), wall.rem_euclid(DAY_SECONDS) as u32)
}

fn join(day: i64, time: u32) -> i64 {
    day * DAY_SECONDS + i64::from(time)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use crate::{HashSeed, TimeZone, cron};

    fn field(low: u32, high: u32) -> impl Strategy<Value = String> {
        prop_oneof![
            2 => Just("*".to_owned()),
            2 => (low..=high).prop_map(|value| value.to_string()),
            1 => (low..=high, 1..=high).prop_map(|(from, step)| format!("{from}/{step}")),
            1 => (low..=high, low..=high).prop_map(|(one, other)| format!("{one},{other}")),
        ]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        /// Two walks over the same expression: the `cron` crate's and ours.
        #[test]
        fn both_walks_find_the_same_times(
            fields in (field(0, 59), field(0, 59), field(0, 23), field(1, 31), field(1, 12), field(0, 6)),
            wall in -86_400..crate::HORIZON_SECONDS,
        ) {
            let (second, minute, hour, day, month, weekday) = fields;
            let text = format!("{second} {minute} {hour} {day} {month} {weekday}");
            let parsed = cron::parse(&text, &HashSeed::new("", "")).unwrap();
            let cron::Parsed::Fields(parsed) = parsed else { panic!("{text} has fields") };
            let walker = parsed.in_zone(TimeZone::utc()).walker;
            prop_assert!(walker.schedule.is_some());
            prop_assert_eq!(walker.from(wall), walker.walk_by_bits(wall), "{} from {}", text, wall);
        }
    }
}
