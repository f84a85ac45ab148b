//! What a load consists of: which schedules there are, and what must begin when. Pure.
//!
//! Schedule `number` fires `instants` times, every second, the first time at `first_ms` and its own offset. A storm is the
//! case of one instant and no offsets.

use belfry_sdk::pb;

use crate::text;

/// Between two instants of a schedule: the shortest interval there is.
const EVERY_MS: i64 = 1000;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Plan {
    pub(super) schedules: u64,
    /// The first instant of schedule 0, a whole second.
    pub(super) first_ms: i64,
    /// Instants of each schedule.
    pub(super) instants: u64,
    pub(super) spacing: Spacing,
}

/// How the schedules lie within a second.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Spacing {
    /// All at once.
    AtOnce,
    /// As evenly as milliseconds allow.
    Even,
}

impl Plan {
    pub(super) fn expected(&self) -> u64 {
        self.schedules * self.instants
    }

    /// Right after the last instant.
    pub(super) fn end_ms(&self) -> i64 {
        self.first_ms + EVERY_MS * i64::try_from(self.instants).unwrap_or(i64::MAX / EVERY_MS)
    }

    pub(super) fn timing(&self, number: u64) -> pb::Timing {
        let first = text::timestamp(self.first_ms + self.offset_ms(number));
        let rule = match self.instants {
            1 => pb::rule::Rule::AtTime(first),
            _ => pb::rule::Rule::Interval(pb::Interval {
                every: Some(proto_ms(EVERY_MS)),
                phase: Some(proto_ms(self.offset_ms(number))),
            }),
        };
        pb::Timing {
            include: vec![pb::Rule { rule: Some(rule) }],
            start_time: (self.instants > 1).then_some(first),
            end_time: (self.instants > 1).then(|| text::timestamp(self.end_ms())),
            ..Default::default()
        }
    }

    /// Whether this instant of this schedule is one of the plan.
    pub(super) fn has(&self, number: u64, nominal_ms: i64) -> bool {
        let since = nominal_ms - self.first_ms - self.offset_ms(number);
        number < self.schedules
            && since >= 0
            && since % EVERY_MS == 0
            && (since / EVERY_MS).unsigned_abs() < self.instants
    }

    fn offset_ms(&self, number: u64) -> i64 {
        match self.spacing {
            Spacing::AtOnce => 0,
            // Below a second, because the number is below the count.
            Spacing::Even => (number * EVERY_MS.unsigned_abs() / self.schedules.max(1)).cast_signed(),
        }
    }
}

fn proto_ms(ms: i64) -> prost_types::Duration {
    prost_types::Duration { seconds: ms / 1000, nanos: i32::try_from(ms % 1000).unwrap_or(0) * 1_000_000 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_storm_has_one_instant_of_each() {
        let plan = Plan { schedules: 3, first_ms: 5000, instants: 1, spacing: Spacing::AtOnce };
        assert_eq!((plan.expected(), plan.end_ms()), (3, 6000));
        assert!(plan.has(2, 5000));
        assert!(!plan.has(3, 5000) && !plan.has(0, 6000) && !plan.has(0, 4000));
    }

    #[test]
    fn a_steady_load_is_even_within_each_second() {
        let plan = Plan { schedules: 4, first_ms: 5000, instants: 2, spacing: Spacing::Even };
        assert_eq!(plan.expected(), 8);
        assert!(plan.has(1, 5250) && plan.has(3, 6750));
        assert!(!plan.has(1, 5000) && !plan.has(0, 7000));
        let timing = plan.timing(3);
        assert_eq!(timing.start_time.map(|time| text::millis(&time)), Some(5750));
        assert_eq!(timing.end_time.map(|time| text::millis(&time)), Some(7000));
    }
}
