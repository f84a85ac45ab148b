//! Which times of a day a rule matches, in seconds since midnight.

use crate::cron::ValueSet;

/// The matching times of a day; never empty.
#[derive(Clone, Debug)]
pub(crate) enum Times {
    /// Each combination of the values.
    Product { hours: ValueSet, minutes: ValueSet, seconds: ValueSet },
    /// Just these, sorted.
    List(Box<[u32]>),
}

impl Times {
    /// The first time.
    pub(crate) fn first(&self) -> u32 {
        self.from(0).expect("a rule has at least one time of day")
    }

    /// The last time.
    pub(crate) fn last(&self) -> u32 {
        self.until(86_399).expect("a rule has at least one time of day")
    }

    pub(crate) fn contains(&self, second: u32) -> bool {
        match self {
            Times::Product { hours, minutes, seconds } => {
                let (hour, minute, second) = split(second);
                hours.contains(hour) && minutes.contains(minute) && seconds.contains(second)
            }
            Times::List(times) => times.binary_search(&second).is_ok(),
        }
    }

    /// The first time from `second` on.
    pub(crate) fn from(&self, second: u32) -> Option<u32> {
        let (hours, minutes, seconds) = match self {
            Times::Product { hours, minutes, seconds } => (hours, minutes, seconds),
            Times::List(times) => {
                return times.get(times.partition_point(|time| *time < second)).copied();
            }
        };
        let (hour, minute, of_minute) = split(second);
        if hours.contains(hour) {
            if minutes.contains(minute)
                && let Some(found) = seconds.from(of_minute)
            {
                return Some(join(hour, minute, found));
            }
            if let Some(minute) = minutes.from(minute + 1) {
                return Some(join(hour, minute, seconds.first()?));
            }
        }
        Some(join(hours.from(hour + 1)?, minutes.first()?, seconds.first()?))
    }

    /// The last time up to `second`.
    pub(crate) fn until(&self, second: u32) -> Option<u32> {
        let (hours, minutes, seconds) = match self {
            Times::Product { hours, minutes, seconds } => (hours, minutes, seconds),
            Times::List(times) => {
                return times[..times.partition_point(|time| *time <= second)].last().copied();
            }
        };
        let (hour, minute, of_minute) = split(second);
        if hours.contains(hour) {
            if minutes.contains(minute)
                && let Some(found) = seconds.until(of_minute)
            {
                return Some(join(hour, minute, found));
            }
            if let Some(minute) = minute.checked_sub(1).and_then(|minute| minutes.until(minute)) {
                return Some(join(hour, minute, seconds.last()?));
            }
        }
        Some(join(hours.until(hour.checked_sub(1)?)?, minutes.last()?, seconds.last()?))
    }
}

fn split(second: u32) -> (u32, u32, u32) {
    (second / 3600, second / 60 % 60, second % 60)
}

fn join(hour: u32, minute: u32, second: u32) -> u32 {
    hour * 3600 + minute * 60 + second
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_shapes_answer_like_a_search_second_by_second() {
        let set = |values: &[u32]| {
            values.iter().fold(ValueSet::EMPTY, |set, value| set.union(ValueSet::single(*value)))
        };
        let product =
            Times::Product { hours: set(&[0, 7, 22]), minutes: set(&[5, 59]), seconds: set(&[0, 30]) };
        let list = Times::List([0, 61, 40_000, 86_399].into());
        for times in [product, list] {
            let all: Vec<u32> = (0..86_400).filter(|second| times.contains(*second)).collect();
            assert_eq!((times.first(), times.last()), (all[0], all[all.len() - 1]));
            for second in 0..86_400 {
                assert_eq!(times.from(second), all.iter().copied().find(|time| *time >= second));
                assert_eq!(times.until(second), all.iter().copied().rfind(|time| *time <= second));
            }
        }
    }
}
