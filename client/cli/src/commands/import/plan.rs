//! What one entry of another scheduler becomes here, and what is to be said about it.

use belfry_sdk::pb;
use belfry_timing::{HashSeed, NeverFiring, TimeZone, Timing};
use serde::Serialize;

use super::apply::Outcome;
use super::compare::{Difference, Fires, compare};
use super::dialect::Source;
use crate::output::view::Instant;
use crate::text;

/// Fires shown per schedule in documents: enough to compare with the other scheduler's own list.
const FIRES_SHOWN: usize = 5;

/// An entry as its reader understood it.
pub(super) struct Draft {
    /// Where it stands in the input.
    pub(super) place: String,
    /// The resource name it gets.
    pub(super) name: String,
    /// What it fires by, as the source writes it.
    pub(super) expression: String,
    /// What it runs, for people.
    pub(super) what: String,
    /// Everything but the name, the timing and where it came from.
    pub(super) schedule: pb::Schedule,
    pub(super) when: When,
    pub(super) remarks: Remarks,
    /// That it does not run at the source either, and why.
    pub(super) pause: Option<String>,
}

/// When a draft fires, here and there.
pub(super) struct When {
    pub(super) rule: Rule,
    pub(super) time_zone: String,
    /// None: the source decides by chance, so there is nothing to compare with.
    pub(super) source: Option<Source>,
    pub(super) start: Option<i64>,
    pub(super) end: Option<i64>,
    pub(super) spread: Option<std::time::Duration>,
}

/// The rule of a draft.
pub(super) enum Rule {
    Cron(String),
    Every { every: std::time::Duration, phase: std::time::Duration },
    At(i64),
}

/// What somebody who imports an entry should know, from bad to good.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Remarks {
    /// What means something else here.
    pub(super) changes: Vec<Change>,
    /// What has no place here.
    pub(super) not_carried: Vec<String>,
    /// What is the same in other words.
    pub(super) notes: Vec<String>,
}

/// A field that means something else here.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(super) struct Change {
    pub(super) field: String,
    pub(super) meaning: String,
}

impl Remarks {
    pub(super) fn change(&mut self, field: &str, meaning: impl Into<String>) {
        self.changes.push(Change { field: field.to_owned(), meaning: meaning.into() });
    }

    pub(super) fn note(&mut self, note: impl Into<String>) {
        self.notes.push(note.into());
    }
}

/// An entry that does not become a schedule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Rejected {
    pub(super) place: String,
    /// The entry's text or name.
    pub(super) text: String,
    /// Why not, and what to do instead.
    pub(super) reason: String,
}

/// An entry that can become a schedule.
#[derive(Debug, Serialize)]
pub(super) struct Plan {
    pub(super) place: String,
    pub(super) name: String,
    pub(super) expression: String,
    /// The rule as Belfry writes it.
    pub(super) timing: String,
    pub(super) time_zone: String,
    pub(super) command: String,
    pub(super) next: Vec<Instant>,
    #[serde(flatten)]
    pub(super) remarks: Remarks,
    pub(super) differences: Vec<Difference>,
    /// What `--apply` did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) result: Option<Outcome>,
    #[serde(skip)]
    pub(super) definition: pb::Schedule,
    #[serde(skip)]
    pub(super) pause_reason: String,
}

impl Plan {
    /// Computes the fires of a draft and compares them.
    pub(super) fn of(draft: Draft, origin: &str, now: i64) -> Result<Self, Rejected> {
        let Draft { place, name, expression, what, schedule, when, mut remarks, pause } = draft;
        let timing = match when.timing(&name) {
            Ok(timing) => timing,
            Err(reason) => return Err(Rejected { place, text: expression, reason }),
        };
        for warning in timing.warnings().iter().map(ToString::to_string) {
            if !remarks.notes.contains(&warning) {
                remarks.notes.push(warning);
            }
        }
        let fires = Fires { timing, start: when.start, end: when.end };
        let next: Vec<i64> =
            std::iter::successors(fires.next(now), |fire| fires.next(*fire)).take(FIRES_SHOWN).collect();
        let differences = match &when.source {
            Some(source) => compare(source, &fires, &when.time_zone, now),
            None => Vec::new(),
        };
        let (rule, shown) = when.rule.proto(next.is_empty());
        let definition = pb::Schedule {
            name: name.clone(),
            timing: Some(pb::Timing {
                include: vec![pb::Rule { rule: Some(rule) }],
                time_zone: when.time_zone.clone(),
                start_time: when.start.map(text::timestamp),
                end_time: when.end.map(text::timestamp),
                spread: when.spread.map(text::proto_duration),
                ..Default::default()
            }),
            ..schedule
        };
        let pause_reason = match pause {
            Some(why) => format!("imported from {origin}; {why}"),
            None => format!("imported from {origin}"),
        };
        Ok(Self {
            place,
            name,
            expression,
            timing: shown,
            time_zone: when.time_zone,
            command: what,
            next: next.into_iter().map(Instant).collect(),
            remarks,
            differences,
            result: None,
            definition,
            pause_reason,
        })
    }

    /// Whether it means what it meant.
    pub(super) fn is_same(&self) -> bool {
        self.remarks.changes.is_empty() && self.remarks.not_carried.is_empty() && self.differences.is_empty()
    }
}

impl When {
    fn timing(&self, name: &str) -> Result<Timing, String> {
        let zone = TimeZone::parse(&self.time_zone).map_err(|error| error.to_string())?;
        match &self.rule {
            Rule::Cron(expression) => {
                let seed = HashSeed::new(text::namespace_of(name), text::short_name(name));
                Timing::parse_cron(expression, &zone, NeverFiring::Allow, &seed)
                    .map_err(|error| error.to_string())
            }
            Rule::Every { every, phase } => Timing::every(*every, *phase).map_err(|error| error.to_string()),
            Rule::At(at) => Ok(Timing::at(*at)),
        }
    }
}

impl Rule {
    fn proto(&self, never_fires: bool) -> (pb::rule::Rule, String) {
        match self {
            Rule::Cron(expression) => {
                let cron = pb::Cron {
                    expression: expression.clone(),
                    allow_never: never_fires,
                    resolved_expression: String::new(),
                };
                (pb::rule::Rule::Cron(cron), expression.clone())
            }
            Rule::Every { every, phase } => {
                let is_shifted = !phase.is_zero();
                let interval = pb::Interval {
                    every: Some(text::proto_duration(*every)),
                    phase: is_shifted.then(|| text::proto_duration(*phase)),
                };
                let shift = if is_shifted {
                    format!(" + {}", belfry_timing::format_duration(*phase))
                } else {
                    String::new()
                };
                let shown = format!("every {}{shift}", belfry_timing::format_duration(*every));
                (pb::rule::Rule::Interval(interval), shown)
            }
            Rule::At(at) => (pb::rule::Rule::AtTime(text::timestamp(*at)), format!("at {}", Instant(*at))),
        }
    }
}
