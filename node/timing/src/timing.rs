//! A validated timing: cron expression in a zone, interval, or single instant.

use std::{fmt, hash, sync::Arc, time::Duration};

use crate::{
    HORIZON_UNIX_MILLIS,
    cron::{self, CronError, CronRule, HashSeed, NeverFiring, Parsed, Warning},
    duration_text::format_duration,
    format_time, intern,
    interval::{Interval, TimingError},
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

/// What a timing means, shared by all that mean the same.
pub(crate) struct Rule {
    canonical: String,
    kind: Kind,
}

enum Kind {
    Cron(Box<CronRule>),
    Every(Interval),
    At(i64),
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
        let kind = || Kind::Cron(Box::new(CronRule::new(&parsed, zone.clone())));
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

    fn plain(canonical: String, kind: Kind) -> Timing {
        Timing { rule: Arc::new(Rule { canonical, kind }), resolved: None, warnings: Arc::new([]) }
    }

    /// The first fire strictly after `after_unix_millis`, or `None` if there is none before the horizon.
    pub fn next(&self, after_unix_millis: i64) -> Option<i64> {
        self.rule.next(after_unix_millis)
    }

    /// The fires in `(after, until]`, strictly increasing, computed as they are asked for.
    pub fn between(&self, after: i64, until: i64) -> impl Iterator<Item = i64> + '_ {
        let first = self.next(after);
        std::iter::successors(first, |fire| self.next(*fire)).take_while(move |fire| *fire <= until)
    }

    /// What the user may not have meant.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// The expression after `H` was resolved, equal to the input without `H`; `None` if there was no expression.
    pub fn resolved_expression(&self) -> Option<&str> {
        self.resolved.as_deref()
    }

    /// The zone of a cron expression; `None` for what no zone moves.
    pub fn time_zone(&self) -> Option<&TimeZone> {
        match &self.rule.kind {
            Kind::Cron(rule) => Some(rule.zone()),
            Kind::Every(_) | Kind::At(_) => None,
        }
    }

    /// A text that is equal for timings that mean the same: what `==` compares. For keys of caches, not for people.
    pub fn canonical(&self) -> &str {
        &self.rule.canonical
    }
}

impl Rule {
    fn next(&self, after: i64) -> Option<i64> {
        match &self.kind {
            // Strictly after: the second that contains `after` has passed, even if `after` is its first millisecond.
            Kind::Cron(rule) => rule.next(after.div_euclid(1000)).map(|seconds| seconds * 1000),
            Kind::Every(interval) => interval.next(after),
            Kind::At(at) => (*at > after && (0..HORIZON_UNIX_MILLIS).contains(at)).then_some(*at),
        }
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
