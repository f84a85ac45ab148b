//! A validated timing: a rule that says when something fires.

use std::{fmt, hash, sync::Arc, time::Duration};

use crate::{
    calendar_rule::{CalendarRule, CalendarRuleError},
    civil::format_wall,
    clock_text::{TimeError, parse_civil},
    composition::{Composed, Composition, CompositionError},
    cron::{self, CronError, HashSeed, NeverFiring, Parsed},
    duration_text::format_duration,
    format_time, intern,
    interval::{Interval, TimingError},
    mark::Mark,
    rule::{Calendar, Cron, Kind, LocalTime, Rule},
    warning::Warning,
    zone::TimeZone,
};

/// When something fires. Cheap to clone; equal if it means the same, however it was written.
///
/// All instants are milliseconds since the Unix epoch.
#[derive(Clone)]
pub struct Timing {
    rule: Arc<Rule>,
    /// The expression with `H` resolved.
    resolved: Option<Arc<str>>,
    warnings: Arc<[Warning]>,
}

impl Timing {
    /// Reads a cron expression, a macro (`@daily`) or `@every 90s`.
    ///
    /// `hash_seed` decides what `H` stands for. An expression that matches no instant before the horizon is refused
    /// unless `never` allows it.
    pub fn parse_cron(
        expression: &str,
        zone: &TimeZone,
        never: NeverFiring,
        hash_seed: &HashSeed,
    ) -> Result<Timing, CronError> {
        let parsed = match cron::parse(expression, hash_seed)? {
            Parsed::Fields(parsed) => parsed,
            Parsed::Every(every) => {
                let timing = Timing::every(every, Duration::ZERO)
                    .map_err(|source| CronError::EveryRange { column: 1, source })?;
                return Ok(Timing { resolved: Some(expression.into()), ..timing });
            }
        };
        let cron = || Cron { expression: parsed.clone(), rule: parsed.in_zone(zone.clone()) };
        let kind = || Kind::Cron(Box::new(cron()));
        let rule = intern::rule(format!("{parsed} {zone}"), |canonical| Rule { canonical, kind: kind() });
        let mut warnings = parsed.warnings;
        if rule.next(i64::MIN).is_none() {
            match never {
                NeverFiring::Refuse => return Err(CronError::NeverFires { expression: parsed.resolved }),
                NeverFiring::Allow => warnings.push(Warning::NeverFires),
            }
        }
        Ok(Timing { rule, resolved: Some(parsed.resolved.into()), warnings: warnings.into() })
    }

    /// Fires at epoch + n · `every` + `phase`, independent of zones and of when anything was started.
    pub fn every(every: Duration, phase: Duration) -> Result<Timing, TimingError> {
        let interval = Interval::new(every, phase)?;
        let canonical = format!("@every {} +{}", format_duration(every), format_duration(phase));
        Ok(Timing::plain(canonical, Kind::Every(interval)))
    }

    /// Fires once.
    pub fn at(unix_millis: i64) -> Timing {
        Timing::plain(format!("@at {}", format_time(unix_millis)), Kind::At(unix_millis))
    }

    /// Fires once, when the clocks of `zone` show a civil time: `2026-12-24T18:00` or `2026-12-24T18:00:30`.
    ///
    /// A time that the clocks jump over fires at the first instant after the jump; one that they show twice fires in the
    /// first pass.
    pub fn at_local(civil_time: &str, zone: &TimeZone) -> Result<Timing, TimeError> {
        let wall = parse_civil(civil_time)?;
        let seconds = zone.first_instant(wall);
        if seconds < 0 {
            return Err(TimeError::BeforeEpoch { text: civil_time.to_owned() });
        }
        let canonical = format!("@at {} {zone}", format_wall(wall));
        Ok(Timing::plain(
            canonical,
            Kind::AtLocal(LocalTime { wall, zone: zone.clone(), at: seconds * 1000 }),
        ))
    }

    /// Fires by a structured calendar rule.
    ///
    /// A rule that matches no instant before the horizon is refused unless `never` allows it.
    pub fn calendar(
        rule: &CalendarRule,
        zone: &TimeZone,
        never: NeverFiring,
    ) -> Result<Timing, CalendarRuleError> {
        let written = rule.checked()?;
        let kind = || Calendar { rule: written.in_zone(zone.clone()), written: written.clone() };
        let rule = intern::rule(format!("@calendar {written} {zone}"), |canonical| Rule {
            canonical,
            kind: Kind::Calendar(Box::new(kind())),
        });
        let mut warnings = Vec::new();
        if rule.next(i64::MIN).is_none() {
            match never {
                NeverFiring::Refuse => {
                    return Err(CalendarRuleError::NeverFires { rule: written.to_string() });
                }
                NeverFiring::Allow => warnings.push(Warning::NeverFires),
            }
        }
        Ok(Timing { rule, resolved: None, warnings: warnings.into() })
    }

    /// Fires by several rules, without the instants of others, within calendars and between two instants.
    ///
    /// What leaves no instant, or none within reach of the search (TIMING-5), is refused unless `never` allows it.
    pub fn compose(composition: &Composition, never: NeverFiring) -> Result<Timing, CompositionError> {
        composition.check()?;
        if let Some(plain) = composition.plain() {
            return Ok(plain.clone());
        }
        let composed = Composed::new(composition);
        let canonical = composed.canonical();
        let rule =
            intern::rule(canonical, |canonical| Rule { canonical, kind: Kind::Composed(Box::new(composed)) });
        let of_rules = composition.include.iter().flat_map(|timing| timing.warnings());
        let mut warnings: Vec<Warning> = of_rules.cloned().collect();
        if rule.next(i64::MIN).is_none() {
            match never {
                NeverFiring::Refuse => return Err(CompositionError::NeverFires),
                NeverFiring::Allow => warnings.push(Warning::NeverFires),
            }
        }
        Ok(Timing { rule, resolved: None, warnings: warnings.into() })
    }

    fn plain(canonical: String, kind: Kind) -> Timing {
        Timing { rule: Arc::new(Rule { canonical, kind }), resolved: None, warnings: Arc::new([]) }
    }

    /// The first fire strictly after `after_unix_millis`, or `None` if there is none before the horizon.
    pub fn next(&self, after_unix_millis: i64) -> Option<i64> {
        self.rule.next(after_unix_millis)
    }

    /// The last fire strictly before `before_unix_millis`, or `None` if there is none since the epoch.
    pub fn previous(&self, before_unix_millis: i64) -> Option<i64> {
        self.rule.previous(before_unix_millis)
    }

    /// The fires in `(after, until]`, strictly increasing, computed as they are asked for.
    pub fn between(&self, after: i64, until: i64) -> impl Iterator<Item = i64> + '_ {
        let first = self.next(after);
        std::iter::successors(first, |fire| self.next(*fire)).take_while(move |fire| *fire <= until)
    }

    /// The same fires from the last to the first.
    pub fn between_rev(&self, after: i64, until: i64) -> impl Iterator<Item = i64> + '_ {
        let last = self.previous(until.saturating_add(1));
        std::iter::successors(last, |fire| self.previous(*fire)).take_while(move |fire| *fire > after)
    }

    /// How many fires lie in `(after, until]`, counted up to `at_most`: the work is in proportion to the answer.
    pub fn count_between(&self, after: i64, until: i64, at_most: usize) -> usize {
        self.between(after, until).take(at_most).count()
    }

    /// The name of the freeze calendar that an instant is inside of: nothing may be started for it (COMP-3).
    pub fn frozen_by(&self, instant: i64) -> Option<&str> {
        match &self.rule.kind {
            Kind::Composed(composed) => composed.frozen_by(instant),
            Kind::Cron(_) | Kind::Calendar(_) | Kind::Every(_) | Kind::At(_) | Kind::AtLocal(_) => None,
        }
    }

    /// What a change of the clocks did to the fire at `instant`; `None` if nothing, or if it does not fire then.
    pub fn mark(&self, instant: i64) -> Option<Mark> {
        let fires = self.next(instant.checked_sub(1)?) == Some(instant);
        if fires { self.rule.mark(instant) } else { None }
    }

    /// What it says, in plain English sentences: for people who check whether it is what they meant.
    pub fn describe(&self) -> String {
        self.rule.describe()
    }

    /// What the user may not have meant, whenever it is looked at.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// What the user may not have meant, seen from `instant`: times that the next change of the clocks doubles, delays or
    /// drops, and compositions that leave nothing for a year. Not part of [`Timing::warnings`].
    pub fn warnings_from(&self, instant: i64) -> Vec<Warning> {
        self.rule.warnings_from(instant)
    }

    /// The expression after `H` was resolved, equal to the input without `H`; `None` if there was no expression.
    pub fn resolved_expression(&self) -> Option<&str> {
        self.resolved.as_deref()
    }

    /// The zone by whose clocks it fires, for a composition that of its schedule; `None` for what no zone moves.
    pub fn time_zone(&self) -> Option<&TimeZone> {
        self.rule.kind.time_zone()
    }

    pub(crate) fn rule(&self) -> &Arc<Rule> {
        &self.rule
    }

    /// A text that is equal for timings that mean the same: what `==` compares. For keys of caches, not for people.
    pub fn canonical(&self) -> &str {
        &self.rule.canonical
    }
}

impl PartialEq for Timing {
    fn eq(&self, other: &Timing) -> bool {
        self.canonical() == other.canonical()
    }
}

impl Eq for Timing {}

impl hash::Hash for Timing {
    fn hash<H: hash::Hasher>(&self, state: &mut H) {
        self.canonical().hash(state);
    }
}

impl fmt::Debug for Timing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Timing({})", self.canonical())
    }
}
