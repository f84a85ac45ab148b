//! Stretches that an exclude rule takes away whole.
//!
//! `* 9-17 * * 1-5` fires each minute for nine hours: if all includes fire on whole minutes, nothing is left of these
//! hours, and a search can jump over them. The same goes for `*/5 * * 1-11 *` if the includes are `*/15 * * * *`: what
//! counts is that each minute and second of the includes is one of the exclude's.

use super::Composed;
use crate::{
    HORIZON_SECONDS,
    civil::DAY_SECONDS,
    cron::{Expression, ValueSet},
    interval::Interval,
    rule::{Kind, LocalTime, Rule},
    wall::{Direction, DstRule, WallRule},
    zone::Span,
};

/// Minutes of an hour of UTC and seconds of a minute. Every fire between two instants is on one of each.
#[derive(Clone, Copy, Debug)]
pub(super) struct Pattern {
    minutes: ValueSet,
    seconds: ValueSet,
    /// The first second for which it holds.
    from: i64,
    /// The first second for which it does not hold any more.
    until: i64,
}

impl Composed {
    /// What the fires of all includes around `instant` are on, in milliseconds; `None` if there is nothing to say.
    pub(super) fn pattern_at(&self, instant: i64) -> Option<Pattern> {
        let patterns = self.include.iter().map(|rule| rule.pattern_at(instant / 1000));
        patterns.reduce(|one, other| one?.union(other?))?
    }
}

impl Pattern {
    fn always(minutes: ValueSet, seconds: ValueSet) -> Pattern {
        Pattern { minutes, seconds, from: 0, until: HORIZON_SECONDS }
    }

    fn union(self, other: Pattern) -> Option<Pattern> {
        Some(Pattern {
            minutes: self.minutes.union(other.minutes),
            seconds: self.seconds.union(other.seconds),
            from: self.from.max(other.from),
            until: self.until.min(other.until),
        })
    }

    /// Whether it holds at `instant`, in milliseconds.
    pub(super) fn holds_at(&self, instant: i64) -> bool {
        (self.from..self.until).contains(&instant.div_euclid(1000))
    }

    fn is_within(&self, minutes: ValueSet, seconds: ValueSet) -> bool {
        self.minutes.is_subset(minutes) && self.seconds.is_subset(seconds)
    }
}

impl Rule {
    /// What its fires around `second` are on.
    fn pattern_at(&self, second: i64) -> Option<Pattern> {
        match &self.kind {
            Kind::Cron(cron) => {
                of_wall_rule(&cron.rule, cron.expression.minutes, cron.expression.seconds, second)
            }
            Kind::Calendar(calendar) => {
                let times = calendar.written.times.iter().map(|time| time.second_of_day());
                let (minutes, seconds) = times.fold((ValueSet::EMPTY, ValueSet::EMPTY), |sets, time| {
                    let (minute, second) = on(i64::from(time));
                    (sets.0.union(minute), sets.1.union(second))
                });
                of_wall_rule(&calendar.rule, minutes, seconds, second)
            }
            Kind::Every(interval) => {
                let (every, phase) = whole_seconds(*interval)?;
                Some(match every {
                    every if every % 60 == 0 => {
                        let minutes = residues(phase / 60, every / 60);
                        Pattern::always(minutes, ValueSet::single((phase % 60) as u32))
                    }
                    every => Pattern::always(ValueSet::stepped(0, 59, 1), residues(phase, every)),
                })
            }
            Kind::At(at) | Kind::AtLocal(LocalTime { at, .. }) => {
                let (minute, second) = on(*at / 1000);
                (at % 1000 == 0).then(|| Pattern::always(minute, second))
            }
            Kind::Composed(_) => None,
        }
    }

    /// Given that it fires at `fire`, in milliseconds: the last instant on the way such that it fires at every instant of
    /// `pattern` up to there. That may be `fire` itself.
    pub(super) fn dense_through(&self, direction: Direction, fire: i64, pattern: &Pattern) -> i64 {
        let second = fire / 1000;
        let stretch = match &self.kind {
            Kind::Cron(cron) => dense_cron(&cron.rule, &cron.expression, direction, second, pattern),
            Kind::Every(interval) => dense_interval(*interval, pattern),
            Kind::Calendar(_) | Kind::At(_) | Kind::AtLocal(_) | Kind::Composed(_) => None,
        };
        let Some((from, until)) = stretch else { return fire };
        match direction {
            Direction::Forward => fire.max((until.min(pattern.until) - 1) * 1000),
            Direction::Backward => fire.min(from.max(pattern.from) * 1000),
        }
    }
}

fn of_wall_rule(rule: &WallRule, minutes: ValueSet, seconds: ValueSet, second: i64) -> Option<Pattern> {
    let span = rule.zone.span_at(second);
    // What a gap has moved to the first instant after it is on no minute of the rule.
    let from = match rule.dst {
        DstRule::Fixed => span.start + 1,
        DstRule::Wildcard => span.start,
    };
    let minutes = in_utc(minutes, span.offset)?;
    Some(Pattern { minutes, seconds, from, until: span.end })
}

/// A stretch around `fire` in which a cron rule fires at all instants of the pattern, half-open, in seconds. It is as long
/// as can be seen in the direction, and may be short in the other.
fn dense_cron(
    rule: &WallRule,
    expression: &Expression,
    direction: Direction,
    fire: i64,
    pattern: &Pattern,
) -> Option<(i64, i64)> {
    let mut span = rule.zone.span_at(fire);
    let minutes = in_utc(expression.minutes, span.offset)?;
    // No further than the pattern holds: days seen beyond it would be seen again, and again.
    (span.start, span.end) = (span.start.max(pattern.from), span.end.min(pattern.until));
    // A fire that a gap has moved says nothing about its neighbours.
    if !(pattern.is_within(minutes, expression.seconds) && rule.shows(fire)) {
        return None;
    }
    Some(match direction {
        Direction::Forward => (fire, (hours_end(rule, expression, span, fire) - span.offset).min(span.end)),
        Direction::Backward => {
            let start = hours_start(rule, expression, span, fire).max(rule.fresh_walls(&span));
            (start - span.offset, fire + 1)
        }
    })
}

/// The same for an interval that comes at the same places of every hour: for ever, or not at all.
fn dense_interval(interval: Interval, pattern: &Pattern) -> Option<(i64, i64)> {
    let (every, phase) = whole_seconds(interval)?;
    let is_within = if every % 60 == 0 && 3600 % every == 0 {
        pattern.is_within(residues(phase / 60, every / 60), ValueSet::single((phase % 60) as u32))
    } else {
        60 % every == 0 && pattern.is_within(ValueSet::stepped(0, 59, 1), residues(phase, every))
    };
    is_within.then_some((0, HORIZON_SECONDS))
}

/// The interval and its phase in seconds, if they are whole.
fn whole_seconds(interval: Interval) -> Option<(i64, i64)> {
    let (every, phase) = (interval.every_millis(), interval.phase_millis());
    (every % 1000 == 0 && phase % 1000 == 0).then_some((every / 1000, phase / 1000))
}

/// The values below 60 that `first + n · step` takes, counted around.
fn residues(first: i64, step: i64) -> ValueSet {
    let mut set = ValueSet::EMPTY;
    let mut value = first % 60;
    while !set.contains(value as u32) {
        set.insert(value as u32);
        value = (value + step) % 60;
    }
    set
}

/// The minute of its hour and the second of its minute.
fn on(second: i64) -> (ValueSet, ValueSet) {
    (ValueSet::single((second / 60 % 60) as u32), ValueSet::single((second % 60) as u32))
}

/// Minutes on the wall as minutes of UTC; `None` for an offset that has seconds, which only Monrovia had.
fn in_utc(minutes: ValueSet, offset: i64) -> Option<ValueSet> {
    let shift = (offset / 60).rem_euclid(60) as u32;
    (offset % 60 == 0).then(|| {
        minutes
            .iter()
            .fold(ValueSet::EMPTY, |set, minute| set.union(ValueSet::single((minute + 60 - shift) % 60)))
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
