//! Marks: what a change of the clocks did to one fire.

use crate::{
    civil::format_wall,
    rule::{Kind, LocalTime, Rule},
    wall::WallRule,
    zone::{Pass, TimeZone},
};

/// Why a fire is not what the wall clock would make one expect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Mark {
    /// It fires late: the clocks jumped over the time it was meant for (DST-1).
    MovedByGap {
        /// The time that no clock showed, or the earliest of several: `2026-03-29T02:30:00`.
        wall_time: String,
    },
    /// The clocks show its time twice.
    RepeatedHour {
        /// Which of the two it is.
        pass: Pass,
    },
}

impl Rule {
    /// The mark of an instant at which it fires.
    pub(crate) fn mark(&self, fire: i64) -> Option<Mark> {
        match &self.kind {
            Kind::Cron(cron) => of_wall_rule(&cron.rule, fire / 1000),
            Kind::Calendar(calendar) => of_wall_rule(&calendar.rule, fire / 1000),
            Kind::AtLocal(local) => of_local_time(local, fire / 1000),
            Kind::Every(_) | Kind::At(_) => None,
            Kind::Composed(composed) => {
                let rules = composed.include.iter().filter(|rule| rule.next(fire - 1) == Some(fire));
                let mut marks: Vec<Option<Mark>> = rules.map(|rule| rule.mark(fire)).collect();
                // One rule that fires there by right is enough for the fire not to be late.
                let by_right = marks.iter().position(|mark| !matches!(mark, Some(Mark::MovedByGap { .. })));
                let index = by_right.unwrap_or(0);
                if index < marks.len() { marks.swap_remove(index) } else { None }
            }
        }
    }
}

fn of_wall_rule(rule: &WallRule, second: i64) -> Option<Mark> {
    if rule.shows(second) {
        return of_pass(&rule.zone, second);
    }
    let wall_time = format_wall(rule.swallowed_at(second)?);
    Some(Mark::MovedByGap { wall_time })
}

fn of_local_time(local: &LocalTime, second: i64) -> Option<Mark> {
    if second + local.zone.offset_at(second) == local.wall {
        return of_pass(&local.zone, second);
    }
    Some(Mark::MovedByGap { wall_time: format_wall(local.wall) })
}

fn of_pass(zone: &TimeZone, second: i64) -> Option<Mark> {
    zone.pass_at(second).map(|pass| Mark::RepeatedHour { pass })
}
