//! Namespaces as documents, rows and screens.

use belfry_sdk::pb;
use serde::Serialize;

use super::{Instant, described, written};
use crate::output::{Cell, Printer, Row};
use crate::text;

/// A namespace, with the field names of the contract.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct NamespaceView {
    pub(crate) name: String,
    etag: String,
    description: String,
    running_max: u32,
    schedules_max: u64,
    weight: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    spread: Option<String>,
    running_count: u32,
    schedule_count: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    update_time: Option<Instant>,
}

impl From<pb::Namespace> for NamespaceView {
    fn from(namespace: pb::Namespace) -> Self {
        Self {
            spread: written(namespace.spread.as_ref()),
            update_time: Instant::of(namespace.update_time.as_ref()),
            name: namespace.name,
            etag: namespace.etag,
            description: namespace.description,
            running_max: namespace.running_max,
            schedules_max: namespace.schedules_max,
            weight: namespace.weight,
            running_count: namespace.running_count,
            schedule_count: namespace.schedule_count,
        }
    }
}

impl NamespaceView {
    /// All about it.
    pub(crate) fn screen(&self, printer: &Printer, now: i64) -> String {
        let of = |used: u64, limit: u64| match limit {
            0 => format!("{used}, no limit"),
            limit => format!("{used} of {limit}"),
        };
        let spread = self.spread.clone().unwrap_or_else(|| "none, unless a schedule has its own".to_owned());
        let mut facts: Vec<(&'static str, Cell)> = vec![
            ("Namespace", self.name.as_str().into()),
            ("Running", of(self.running_count.into(), self.running_max.into()).into()),
            ("Schedules", of(self.schedule_count, self.schedules_max).into()),
            ("Weight", self.weight.to_string().into()),
            ("Spread", spread.into()),
        ];
        facts.extend(described(&self.description, self.update_time, now));
        printer.facts(facts)
    }
}

impl Row for NamespaceView {
    fn headers(_is_wide: bool) -> Vec<&'static str> {
        vec!["NAMESPACE", "RUNNING", "SCHEDULES", "WEIGHT", "SPREAD", "FOR"]
    }

    fn cells(&self, _is_wide: bool, _now: i64) -> Vec<Cell> {
        let of = |used: u64, limit: u64| match limit {
            0 => used.to_string(),
            limit => format!("{used}/{limit}"),
        };
        vec![
            text::short_name(&self.name).into(),
            of(self.running_count.into(), self.running_max.into()).into(),
            of(self.schedule_count, self.schedules_max).into(),
            self.weight.to_string().into(),
            self.spread.clone().unwrap_or_else(|| "-".to_owned()).into(),
            text::shortened(&self.description, 60).into(),
        ]
    }

    fn name(&self) -> &str {
        &self.name
    }
}
