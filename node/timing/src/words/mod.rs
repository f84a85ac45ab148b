//! A timing in plain English, for people who check whether it says what they meant.
//!
//! The words are made from what a rule means and not from how it was written: `*/5 * * * *` and `0/5 * * * *` read alike
//! but for their class, which the last sentence names. Two classes exist: a *fixed* rule names times and each of them
//! happens once; a *rhythm* follows real time.

mod calendar;
mod cron;
mod lists;

use crate::{
    civil::format_wall,
    composition::{CalendarMode, Composed},
    duration_text::format_duration,
    format_local, format_time,
    rule::{Kind, LocalTime, Rule},
    wall::{DstRule, WallRule},
    zone::TimeZone,
};

use self::lists::{and, capital};

/// More rules of a composition than this are counted and not told.
const RULES_TOLD_MAX: usize = 8;

impl Rule {
    /// One or two sentences, or some more for a composition.
    pub(crate) fn describe(&self) -> String {
        let what = match &self.kind {
            Kind::Composed(composed) => describe_composed(composed),
            Kind::Cron(_) | Kind::Calendar(_) | Kind::Every(_) | Kind::At(_) | Kind::AtLocal(_) => {
                format!("{}.", capital(&self.clause()))
            }
        };
        [what].into_iter().chain(daylight_saving(&self.wall_rules())).collect::<Vec<_>>().join(" ")
    }

    /// What a rule says, as a part of a sentence: `at 09:00 on Monday to Friday by the clocks of Europe/Berlin`.
    fn clause(&self) -> String {
        match &self.kind {
            Kind::Cron(cron) => format!("{} {}", cron::words(&cron.expression), by_clocks(&cron.rule.zone)),
            Kind::Calendar(calendar) => {
                format!("{} {}", calendar::words(&calendar.written), by_clocks(&calendar.rule.zone))
            }
            Kind::Every(interval) => {
                let (every, phase) = interval.parts();
                let phase = if phase.is_zero() {
                    String::new()
                } else {
                    format!(", {} later", format_duration(phase))
                };
                format!("every {}, counted from 1970-01-01T00:00:00Z{phase}", format_duration(every))
            }
            Kind::At(at) => format!("once, at {}", format_time(*at)),
            Kind::AtLocal(LocalTime { wall, zone, .. }) => {
                format!("once, at {} {}", format_wall(*wall), by_clocks(zone))
            }
            Kind::Composed(_) => "by several rules".to_owned(),
        }
    }

    /// The rules that a change of the clocks concerns.
    pub(crate) fn wall_rules(&self) -> Vec<&WallRule> {
        match &self.kind {
            Kind::Cron(cron) => vec![&cron.rule],
            Kind::Calendar(calendar) => vec![&calendar.rule],
            Kind::Every(_) | Kind::At(_) | Kind::AtLocal(_) => vec![],
            Kind::Composed(composed) => composed.include.iter().flat_map(|rule| rule.wall_rules()).collect(),
        }
    }
}

fn describe_composed(composed: &Composed) -> String {
    let mut sentences = Vec::new();
    match composed.include.as_slice() {
        [only] => sentences.push(format!("{}.", capital(&only.clause()))),
        several => sentences.push(format!("Each of: {}.", told(several))),
    }
    if !composed.exclude.is_empty() {
        sentences.push(format!("Except {}.", told(&composed.exclude)));
    }
    for (mode, before, after) in [
        (CalendarMode::Include, "Only inside", ""),
        (CalendarMode::Exclude, "Not inside", ""),
        (CalendarMode::Freeze, "Nothing is started inside", ": its instants are skipped with that reason"),
    ] {
        let names = composed.calendars.iter().filter(|used| used.mode == mode);
        let names: Vec<String> = names.map(|used| format!("`{}`", used.name)).collect();
        if !names.is_empty() {
            let noun = if names.len() == 1 { "calendar" } else { "calendars" };
            sentences.push(format!("{before} the {noun} {}{after}.", and(&names)));
        }
    }
    let at = |instant: i64| format_local(instant, &composed.zone);
    match (composed.start_at, composed.end_at) {
        (Some(start), Some(end)) => sentences.push(format!("From {} and before {}.", at(start), at(end))),
        (Some(start), None) => sentences.push(format!("From {} on.", at(start))),
        (None, Some(end)) => sentences.push(format!("Before {}.", at(end))),
        (None, None) => {}
    }
    sentences.join(" ")
}

fn told(rules: &[std::sync::Arc<Rule>]) -> String {
    let clauses = rules.iter().take(RULES_TOLD_MAX).map(|rule| rule.clause());
    let more = rules.len().saturating_sub(RULES_TOLD_MAX);
    let more = (more > 0).then(|| format!("and by {more} more rules"));
    clauses.chain(more).collect::<Vec<_>>().join("; ")
}

fn by_clocks(zone: &TimeZone) -> String {
    if zone.name() == "UTC" { "in UTC".to_owned() } else { format!("by the clocks of {zone}") }
}

/// What a change of the clocks does, if the clocks ever change.
fn daylight_saving(rules: &[&WallRule]) -> Option<String> {
    let has = |class| rules.iter().any(|rule| rule.dst == class && rule.zone.has_changes());
    let fixed = "a time that the clocks jump over fires right after the jump, and one that they show twice fires the first time only";
    let rhythm = "it follows real time, with nothing made up for when the clocks jump and both passes of a repeated hour";
    match (has(DstRule::Fixed), has(DstRule::Wildcard)) {
        (true, false) => Some(format!("This is fixed: {fixed}.")),
        (false, true) => Some(format!("This is a rhythm: {rhythm}.")),
        (true, true) => Some(format!("Of its fixed rules, {fixed}; where it is a rhythm, {rhythm}.")),
        (false, false) => None,
    }
}
