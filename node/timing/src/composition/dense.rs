//! Stretches that an exclude rule takes away whole.
//!
//! `* 9-17 * * 1-5` fires each minute for nine hours. If all includes fire on whole minutes only, everything between its
//! first and its last minute is gone, and a search can jump over it.

use crate::{
    HORIZON_UNIX_MILLIS,
    civil::DAY_SECONDS,
    cron::Expression,
    rule::{Kind, LocalTime, Rule},
    wall::{Direction, WallRule},
    zone::Span,
};

/// What all fires of a rule are whole multiples of, from fine to coarse.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Grain {
    Unknown,
    Second,
    Minute,
}

impl Grain {
    pub(super) fn of(rule: &Rule) -> Grain {
        let of_zone = |rule: &WallRule, is_on_minutes: bool| {
            if is_on_minutes && rule.zone.is_on_minutes() { Grain::Minute } else { Grain::Second }
        };
        match &rule.kind {
            Kind::Cron(cron) => of_zone(&cron.rule, cron.expression.seconds.last() == Some(0)),
            Kind::Calendar(calendar) => {
                let is_on_minute = |time: &crate::TimeOfDay| time.second_of_day().is_multiple_of(60);
                of_zone(&calendar.rule, calendar.written.times.iter().all(is_on_minute))
            }
            Kind::Every(interval) => {
                Grain::of_instant(interval.every_millis()).min(Grain::of_instant(interval.phase_millis()))
            }
            Kind::At(at) | Kind::AtLocal(LocalTime { at, .. }) => Grain::of_instant(*at),
            Kind::Composed(_) => Grain::Unknown,
        }
    }

    fn of_instant(instant: i64) -> Grain {
        match (instant % 60_000, instant % 1000) {
            (0, _) => Grain::Minute,
            (_, 0) => Grain::Second,
            (_, _) => Grain::Unknown,
        }
    }

    fn millis(self) -> Option<i64> {
        match self {
            Grain::Unknown => None,
            Grain::Second => Some(1000),
            Grain::Minute => Some(60_000),
        }
    }
}

impl Rule {
    /// Given that it fires at `fire`: the last instant on the way such that it fires at all multiples of `grain` from
    /// `fire` up to there. That may be `fire` itself.
    pub(super) fn dense_through(&self, direction: Direction, fire: i64, grain: Grain) -> i64 {
        match &self.kind {
            Kind::Cron(cron) => {
                let last = dense_seconds(&cron.rule, &cron.expression, direction, fire / 1000, grain);
                last.map_or(fire, |second| second * 1000)
            }
            Kind::Every(interval) => {
                let is_dense = grain.millis().is_some_and(|grain| grain % interval.every_millis() == 0);
                match direction {
                    _ if !is_dense => fire,
                    Direction::Forward => HORIZON_UNIX_MILLIS,
                    Direction::Backward => 0,
                }
            }
            Kind::Calendar(_) | Kind::At(_) | Kind::AtLocal(_) | Kind::Composed(_) => fire,
        }
    }
}

/// The same for a cron rule, in seconds; `None` if it is not dense there.
fn dense_seconds(
    rule: &WallRule,
    expression: &Expression,
    direction: Direction,
    fire: i64,
    grain: Grain,
) -> Option<i64> {
    let has_minutes = expression.minutes.len() == 60;
    let has_seconds = match grain {
        Grain::Unknown => false,
        Grain::Second => expression.seconds.len() == 60,
        Grain::Minute => rule.zone.is_on_minutes() && expression.seconds.contains(0),
    };
    // A fire that a gap has moved says nothing about its neighbours.
    if !(has_minutes && has_seconds && rule.shows(fire)) {
        return None;
    }
    let span = rule.zone.span_at(fire);
    Some(match direction {
        Direction::Forward => (hours_end(rule, expression, span, fire) - span.offset).min(span.end) - 1,
        Direction::Backward => {
            hours_start(rule, expression, span, fire).max(rule.fresh_walls(&span)) - span.offset
        }
    })
}

/// The first wall time whose hour does not match, in the span's offset.
fn hours_end(rule: &WallRule, expression: &Expression, span: Span, fire: i64) -> i64 {
    let (mut day, second) = split(fire + span.offset);
    let mut hour = (second / 3600) as u32;
    // Each turn ends a day, and the horizon ends the days.
    loop {
        while hour < 24 && expression.hours.contains(hour) {
            hour += 1;
        }
        let end = day * DAY_SECONDS + i64::from(hour) * 3600;
        let goes_on = hour == 24 && end - span.offset < span.end && rule.walker.days.contains(day + 1);
        if !goes_on {
            return end;
        }
        (day, hour) = (day + 1, 0);
    }
}

/// The first wall time of the unbroken stretch of matching hours up to `fire`, in the span's offset.
fn hours_start(rule: &WallRule, expression: &Expression, span: Span, fire: i64) -> i64 {
    let (mut day, second) = split(fire + span.offset);
    let mut hour = (second / 3600) as u32;
    loop {
        while hour > 0 && expression.hours.contains(hour - 1) {
            hour -= 1;
        }
        let start = day * DAY_SECONDS + i64::from(hour) * 3600;
        let goes_on = hour == 0
            && expression.hours.contains(23)
            && start - span.offset > span.start
            && rule.walker.days.contains(day - 1);
        if !goes_on {
            return start;
        }
        (day, hour) = (day - 1, 23);
    }
}

fn split(wall: i64) -> (i64, i64) {
    (wall.div_euclid(DAY_SECONDS), wall.rem_euclid(DAY_SECONDS))
}
