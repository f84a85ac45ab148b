//! The calendar walker: the wall-clock times that a rule matches, in both directions.

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
}

impl Walker {
    pub(crate) fn contains(&self, wall: i64) -> bool {
        let (day, second) = split(wall);
        self.times.contains(second) && self.days.contains(day)
    }

    /// The first matching wall time from `wall` on.
    pub(crate) fn from(&self, wall: i64) -> Option<i64> {
        let (day, second) = split(wall.clamp(WALL_MIN, WALL_MAX));
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
