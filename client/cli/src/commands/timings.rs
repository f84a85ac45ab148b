//! The timings of schedules as the cluster has them, evaluated here.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use belfry_sdk::{Client, pb};
use belfry_timing::{Calendar, CalendarMode, CalendarUse, Timing, spread_offset_millis};

use super::schedule::compile_known;
use super::{calendar, namespace};
use crate::exit::Failure;
use crate::text;

/// Compiles timings, each once however many schedules have it.
pub(crate) struct Timings {
    /// By resource name.
    calendars: BTreeMap<String, Arc<Calendar>>,
    /// Of namespaces that have one, in milliseconds, by resource name.
    spreads: BTreeMap<String, i64>,
    compiled: HashMap<String, Timing>,
}

impl Timings {
    /// With the calendars of a namespace, `namespaces/-` for all.
    pub(crate) async fn read(client: &Client, parent: &str) -> Result<Self, Failure> {
        let mut calendars = BTreeMap::new();
        calendar::each_page(client, parent, |page| {
            for calendar in page {
                calendars.insert(calendar.name.clone(), Arc::new(calendar::compile(&calendar)?));
            }
            Ok(())
        })
        .await?;
        Ok(Self::with(calendars, BTreeMap::new()))
    }

    /// With the spreads of namespaces too: [`Timings::spread_of`] needs them.
    pub(crate) async fn read_with_spreads(client: &Client, parent: &str) -> Result<Self, Failure> {
        let mut timings = Self::read(client, parent).await?;
        namespace::each_page(client, |page| {
            let spread =
                |one: &pb::Namespace| Some((one.name.clone(), text::duration_millis(one.spread.as_ref()?)));
            timings.spreads.extend(page.iter().filter_map(spread));
            Ok(())
        })
        .await?;
        Ok(timings)
    }

    pub(crate) fn with(calendars: BTreeMap<String, Arc<Calendar>>, spreads: BTreeMap<String, i64>) -> Self {
        Self { calendars, spreads, compiled: HashMap::new() }
    }

    /// The window that the runs of a schedule are spread over, in milliseconds; 0 for none.
    pub(crate) fn spread_of(&self, schedule: &pb::Schedule) -> i64 {
        let own = schedule.timing.as_ref().and_then(|timing| timing.spread.as_ref());
        let namespace = format!("namespaces/{}", text::namespace_of(&schedule.name));
        own.map(text::duration_millis).or_else(|| self.spreads.get(&namespace).copied()).unwrap_or(0)
    }

    /// The timing of a schedule. A fixed delay has none that could be asked: see [`fixed_delay`].
    pub(crate) fn compile(&mut self, schedule: &pb::Schedule) -> Result<Timing, Failure> {
        let unset = pb::Timing::default();
        let declared = schedule.timing.as_ref().unwrap_or(&unset);
        let namespace = text::namespace_of(&schedule.name);
        // Names of calendars mean something in their namespace only.
        let scope = if declared.calendars.is_empty() { "" } else { namespace };
        let key = format!("{scope} {declared:?}");
        if let Some(known) = self.compiled.get(&key) {
            return Ok(known.clone());
        }
        let calendars = declared.calendars.iter().map(|used| self.used(namespace, used));
        let calendars =
            calendars.collect::<Result<Vec<_>, _>>().map_err(|failure| failure.about(&schedule.name))?;
        let timing = compile_known(declared, calendars).map_err(|failure| failure.about(&schedule.name))?;
        self.compiled.insert(key, timing.clone());
        Ok(timing)
    }

    fn used(&self, namespace: &str, used: &pb::CalendarUse) -> Result<CalendarUse, Failure> {
        use pb::calendar_use::Mode;
        let mode = match used.mode() {
            Mode::Include => CalendarMode::Include,
            Mode::Exclude => CalendarMode::Exclude,
            Mode::Freeze => CalendarMode::Freeze,
            Mode::Unspecified => {
                return Err(Failure::usage(format!(
                    "calendar {} is used in a way that this release of belfry does not know",
                    used.calendar
                )));
            }
        };
        let calendar = self.calendars.get(&format!("namespaces/{namespace}/calendars/{}", used.calendar));
        let calendar = calendar.cloned().ok_or_else(|| {
            Failure::usage(format!(
                "calendar {} is not in namespace {namespace} any more: try again",
                used.calendar
            ))
        })?;
        Ok(CalendarUse { calendar, mode })
    }
}

/// When the run of an instant is scheduled, where runs are spread over `window` milliseconds.
pub(crate) fn scheduled(uid: &str, timing: &Timing, window: i64, nominal: i64) -> i64 {
    if window == 0 {
        return nominal;
    }
    let gap = timing.next(nominal).map(|next| next - nominal);
    nominal + spread_offset_millis(uid, window, gap)
}

/// Whether a schedule runs so long after its last run ended.
pub(crate) fn fixed_delay(schedule: &pb::Schedule) -> bool {
    let rules = schedule.timing.iter().flat_map(|timing| &timing.include);
    rules.into_iter().any(|rule| matches!(rule.rule, Some(pb::rule::Rule::FixedDelay(_))))
}
