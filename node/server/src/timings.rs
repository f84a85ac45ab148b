//! Evaluating timings: the one place of the server that knows cron and time zones.
//!
//! Compiled timings are shared: ten thousand schedules of `* * * * *` are one compiled timing. A timing that uses calendars is
//! compiled with those as they are: [`Calendars`] names their versions.

use std::collections::{BTreeMap, HashMap};
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use belfry_core::definition::{CalendarMode, CalendarRule, Rule, Timing};
use belfry_core::object::{Object, ObjectKind, ObjectName};
use belfry_core::{DrawnId, ObjectId, Revision, ScheduleKey, State, UnixMillis};
use belfry_timing::{
    Calendar, CalendarUse, Composition, HashSeed, NeverFiring, TimeOfDay, TimeZone, Weekday, WeekdayRule,
};
use thiserror::Error;

/// Different timings, and different calendars, kept compiled; beyond that all are forgotten and compiled again when wanted.
const COMPILED_MAX: usize = 65_536;
const CALENDARS_MAX: usize = 1024;

/// A timing that can be asked for its instants. Cheap to clone.
pub type CompiledTiming = belfry_timing::Timing;

/// This build cannot evaluate a timing that another build accepted.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("cannot evaluate the timing: {0}")]
pub struct TimingFault(String);

impl TimingFault {
    fn new(why: impl std::fmt::Display) -> Self {
        Self(why.to_string())
    }
}

/// The calendars that a timing uses, as they are.
#[derive(Clone, Default, Debug)]
pub struct Calendars {
    used: Vec<(Version, Arc<Calendar>)>,
    changed_at: UnixMillis,
    /// Some are not those of the state: what is compiled with them is nobody else's.
    has_assumed: bool,
}

/// Calendars that are not stored, to see what would be if they were.
pub type Assumed = BTreeMap<ScheduleKey, Arc<Calendar>>;

/// Which calendar, as of which change.
type Version = (ObjectId, Revision);

impl Calendars {
    /// The revision of the one that changed last; 0 without any.
    pub fn revision(&self) -> Revision {
        self.used.iter().map(|((_, revision), _)| *revision).max().unwrap_or_default()
    }

    /// When the last of them changed: instants up to then follow them as they were.
    pub fn changed_at(&self) -> UnixMillis {
        self.changed_at
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.used.is_empty()
    }

    fn versions(&self) -> Vec<Version> {
        self.used.iter().map(|(version, _)| *version).collect()
    }
}

/// Compiled timings and calendars, shared by the parts of a node.
#[derive(Clone, Default, Debug)]
pub struct Timings {
    compiled: Kept<Timing, CompiledTiming>,
    with_calendars: Kept<(Timing, Vec<Version>), CompiledTiming>,
    calendars: Kept<Version, Arc<Calendar>>,
}

/// What was made once and is shared.
type Kept<K, V> = Arc<Mutex<HashMap<K, V>>>;

impl Timings {
    /// The compiled form of a timing that was validated at the edge.
    pub fn compile(&self, timing: &Timing, calendars: &Calendars) -> Result<CompiledTiming, TimingFault> {
        let fresh = || compile(timing, calendars, NeverFiring::Allow);
        if calendars.has_assumed {
            return fresh();
        }
        if calendars.is_empty() {
            let known = self.compiled.lock().unwrap_or_else(PoisonError::into_inner).get(timing).cloned();
            return known.map_or_else(|| remember(&self.compiled, timing.clone(), COMPILED_MAX, fresh), Ok);
        }
        let key = (timing.clone(), calendars.versions());
        let known = self.with_calendars.lock().unwrap_or_else(PoisonError::into_inner).get(&key).cloned();
        known.map_or_else(|| remember(&self.with_calendars, key, COMPILED_MAX, fresh), Ok)
    }

    /// The calendars that a timing of a namespace uses, as the state has them.
    pub fn calendars(
        &self,
        state: &State,
        namespace: &str,
        timing: &Timing,
    ) -> Result<Calendars, TimingFault> {
        self.calendars_assuming(state, namespace, timing, &Assumed::new())
    }

    /// Likewise, where some are assumed to be otherwise.
    pub fn calendars_assuming(
        &self,
        state: &State,
        namespace: &str,
        timing: &Timing,
        assumed: &Assumed,
    ) -> Result<Calendars, TimingFault> {
        let mut found = Calendars::default();
        for used in &timing.calendars {
            let key = ScheduleKey::new(namespace, used.calendar.as_str());
            if let Some(calendar) = assumed.get(&key) {
                found.has_assumed = true;
                found.used.push((Version::default(), calendar.clone()));
                continue;
            }
            let name = ObjectName::Calendar(key);
            let object =
                state.object(&name).ok_or_else(|| TimingFault::new(format!("there is no {name}")))?;
            let version = (object.id, object.revision);
            let known = self.calendars.lock().unwrap_or_else(PoisonError::into_inner).get(&version).cloned();
            let calendar = match known {
                Some(known) => known,
                None => remember(&self.calendars, version, CALENDARS_MAX, || read_calendar(object))?,
            };
            found.changed_at = found.changed_at.max(object.updated_at);
            found.used.push((version, calendar));
        }
        Ok(found)
    }

    /// The first instant of a timing that begins after `after`: of a fixed delay, so long after it.
    pub fn first(
        &self,
        timing: &Timing,
        calendars: &Calendars,
        after: UnixMillis,
    ) -> Result<Option<UnixMillis>, TimingFault> {
        match timing.fixed_delay() {
            Some(delay) => {
                let first = after.max(timing.start_at.unwrap_or(after)).plus(delay);
                Ok(timing.end_at.is_none_or(|end| first < end).then_some(first))
            }
            None => self.next(timing, calendars, after),
        }
    }

    /// The first instant of a timing strictly after `after`. A fixed delay has none: it counts from the end of a run, which
    /// the state machine does.
    pub fn next(
        &self,
        timing: &Timing,
        calendars: &Calendars,
        after: UnixMillis,
    ) -> Result<Option<UnixMillis>, TimingFault> {
        if timing.fixed_delay().is_some() {
            return Ok(None);
        }
        Ok(self.compile(timing, calendars)?.next(after.0).map(UnixMillis))
    }

    /// How many instants of a timing the range [from, until) has, counted up to `at_most`.
    pub fn count(
        &self,
        timing: &Timing,
        calendars: &Calendars,
        (from_at, until_at): (UnixMillis, UnixMillis),
        at_most: usize,
    ) -> Result<usize, TimingFault> {
        if timing.fixed_delay().is_some() {
            return Ok(0);
        }
        let compiled = self.compile(timing, calendars)?;
        Ok(compiled.count_between(from_at.0.saturating_sub(1), until_at.0.saturating_sub(1), at_most))
    }
}

/// How long after its nominal time a run is scheduled: stable for its schedule, and before the next instant.
pub fn spread_for(
    uid: &DrawnId,
    window: Duration,
    nominal_at: UnixMillis,
    next: Option<UnixMillis>,
) -> Duration {
    let window = i64::try_from(window.as_millis()).unwrap_or(i64::MAX);
    let gap = next.map(|next| next.0.saturating_sub(nominal_at.0));
    let offset = uid.with_text(|uid| belfry_timing::spread_offset_millis(uid, window, gap));
    Duration::from_millis(u64::try_from(offset).unwrap_or(0))
}

/// Makes a value and keeps it. Two that do so at once make it twice.
fn remember<K: Hash + Eq, V: Clone>(
    kept: &Mutex<HashMap<K, V>>,
    key: K,
    max: usize,
    fresh: impl FnOnce() -> Result<V, TimingFault>,
) -> Result<V, TimingFault> {
    let fresh = fresh()?;
    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
    if kept.len() >= max {
        kept.clear();
    }
    kept.insert(key, fresh.clone());
    Ok(fresh)
}

fn read_calendar(object: &Object) -> Result<Arc<Calendar>, TimingFault> {
    let ObjectKind::Calendar(declared) = &object.kind else {
        return Err(TimingFault::new("an object of another kind has a calendar's name"));
    };
    parse_calendar(declared).map(Arc::new).map_err(TimingFault::new)
}

/// Reads a calendar as it is declared.
///
/// # Errors
/// Says what is wrong with which entry.
pub fn parse_calendar(declared: &belfry_core::object::Calendar) -> Result<Calendar, CalendarProblem> {
    let zone = declared.time_zone.as_deref().map(TimeZone::parse).transpose()?;
    let days: Vec<_> = declared.days.iter().map(String::as_str).collect();
    let periods: Vec<_> =
        declared.periods.iter().map(|(from, until)| (from.as_str(), until.as_str())).collect();
    Ok(Calendar::parse(&declared.key.name, zone, &days, &periods)?)
}

/// Why a calendar cannot be read.
#[derive(Debug, Error)]
pub enum CalendarProblem {
    /// Its zone.
    #[error(transparent)]
    Zone(#[from] belfry_timing::UnknownTimeZone),
    /// A day or a period.
    #[error(transparent)]
    Entry(#[from] belfry_timing::CalendarError),
}

/// Compiles what a user wrote, resolving every `H` by the schedule's name.
///
/// # Errors
/// Says what is wrong, with the column.
pub fn parse_cron(
    key: &ScheduleKey,
    expression: &str,
    time_zone: &TimeZone,
    never: NeverFiring,
) -> Result<CompiledTiming, belfry_timing::CronError> {
    let seed = HashSeed::new(&key.namespace, &key.name);
    CompiledTiming::parse_cron(expression, time_zone, never, &seed)
}

/// Compiles a timing whose rules are valid each by itself.
///
/// # Errors
/// Says what is wrong with them together.
pub fn compile(
    timing: &Timing,
    calendars: &Calendars,
    never: NeverFiring,
) -> Result<CompiledTiming, TimingFault> {
    let zone = TimeZone::parse(&timing.time_zone).map_err(TimingFault::new)?;
    let rules =
        |rules: &[Rule]| rules.iter().map(|rule| compile_rule(rule, &zone)).collect::<Result<Vec<_>, _>>();
    let uses = timing.calendars.iter().zip(&calendars.used).map(|(used, (_, calendar))| CalendarUse {
        calendar: calendar.clone(),
        mode: match used.mode {
            CalendarMode::Include => belfry_timing::CalendarMode::Include,
            CalendarMode::Exclude => belfry_timing::CalendarMode::Exclude,
            CalendarMode::Freeze => belfry_timing::CalendarMode::Freeze,
        },
    });
    let composition = Composition {
        include: rules(&timing.include)?,
        exclude: rules(&timing.exclude)?,
        calendars: uses.collect(),
        start_at: timing.start_at.map(|at| at.0),
        end_at: timing.end_at.map(|at| at.0),
        zone: zone.clone(),
    };
    CompiledTiming::compose(&composition, never).map_err(TimingFault::new)
}

fn compile_rule(rule: &Rule, zone: &TimeZone) -> Result<CompiledTiming, TimingFault> {
    match rule {
        Rule::Cron { resolved, .. } => {
            // `H` is resolved already, and never-firing was decided at the edge.
            let seed = HashSeed::new("", "");
            CompiledTiming::parse_cron(resolved, zone, NeverFiring::Allow, &seed).map_err(TimingFault::new)
        }
        Rule::Interval { every, phase } => CompiledTiming::every(*every, *phase).map_err(TimingFault::new),
        Rule::At(at) => Ok(CompiledTiming::at(at.0)),
        Rule::AtLocal(at) => CompiledTiming::at_local(at, zone).map_err(TimingFault::new),
        Rule::Calendar(rule) => {
            let rule =
                calendar_rule(rule).ok_or_else(|| TimingFault::new("a calendar rule has no such day"))?;
            CompiledTiming::calendar(&rule, zone, NeverFiring::Allow).map_err(TimingFault::new)
        }
        Rule::FixedDelay(_) => Err(TimingFault::new("a fixed delay has no instants of its own")),
    }
}

/// The rule as the timing crate has it; none if it names a day or a time that does not exist.
pub fn calendar_rule(rule: &CalendarRule) -> Option<belfry_timing::CalendarRule> {
    let weekday = |(day, nth): &(u8, Option<i8>)| {
        let weekday = *Weekday::ALL.get(usize::from(day.checked_sub(1)?))?;
        Some(WeekdayRule { weekday, nth: *nth })
    };
    let time = |seconds: &u32| {
        let part = |value: u32| u8::try_from(value).ok();
        TimeOfDay::new(part(seconds / 3600)?, part(seconds / 60 % 60)?, part(seconds % 60)?)
    };
    Some(belfry_timing::CalendarRule {
        years: rule.years.clone(),
        months: rule.months.clone(),
        month_days: rule.month_days.clone(),
        weekdays: rule.weekdays.iter().map(weekday).collect::<Option<_>>()?,
        times: rule.times.iter().map(time).collect::<Option<_>>()?,
    })
}
