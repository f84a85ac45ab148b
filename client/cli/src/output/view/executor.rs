//! Executors as documents and rows.

use std::collections::BTreeMap;

use belfry_sdk::pb;
use serde::Serialize;

use crate::output::{Cell, Row, Tone};
use crate::text;

/// The most characters of a column that has no end of its own.
const COLUMN_MAX: usize = 60;

/// An executor, with the field names of the contract.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct ExecutorView {
    executor_id: String,
    display_name: String,
    pub(crate) pool: String,
    pub(super) handlers: Vec<String>,
    slots: u32,
    credits: u32,
    running: u32,
    version: String,
    pub(super) draining: bool,
    labels: BTreeMap<String, String>,
    handler_slots: BTreeMap<String, u32>,
}

impl From<pb::ExecutorStatus> for ExecutorView {
    fn from(executor: pb::ExecutorStatus) -> Self {
        Self {
            executor_id: executor.executor_id,
            display_name: executor.display_name,
            pool: executor.pool,
            handlers: executor.handlers,
            slots: executor.slots,
            credits: executor.credits,
            running: executor.running,
            version: executor.version,
            draining: executor.draining,
            labels: executor.labels.into_iter().collect(),
            handler_slots: executor.handler_slots.into_iter().collect(),
        }
    }
}

impl ExecutorView {
    /// What lists are sorted by.
    pub(crate) fn order(&self) -> (&str, &str, &str) {
        (&self.pool, &self.display_name, &self.executor_id)
    }

    /// `command=2,http`: those with slots of their own say how many.
    fn handlers_in_short(&self) -> String {
        let short = |handler: &String| match self.handler_slots.get(handler) {
            Some(slots) => format!("{handler}={slots}"),
            None => handler.clone(),
        };
        self.handlers.iter().map(short).collect::<Vec<_>>().join(",")
    }
}

impl Row for ExecutorView {
    fn headers(is_wide: bool) -> Vec<&'static str> {
        let mut headers = vec!["EXECUTOR", "POOL", "RUNNING", "SLOTS", "CREDITS", "STATE", "HANDLERS"];
        if is_wide {
            headers.extend(["LABELS", "VERSION", "ID"]);
        }
        headers
    }

    fn cells(&self, is_wide: bool, _now: i64) -> Vec<Cell> {
        let state = match self.draining {
            true => Cell::new("draining", Tone::Open),
            false => Cell::new("ready", Tone::Good),
        };
        let mut cells = vec![
            self.display_name.as_str().into(),
            self.pool.as_str().into(),
            self.running.to_string().into(),
            self.slots.to_string().into(),
            self.credits.to_string().into(),
            state,
            text::shortened(&self.handlers_in_short(), COLUMN_MAX).into(),
        ];
        if is_wide {
            let labels: Vec<_> = self.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
            cells.push(text::shortened(&labels.join(","), COLUMN_MAX).into());
            cells.push(self.version.as_str().into());
            cells.push(self.executor_id.as_str().into());
        }
        cells
    }

    fn name(&self) -> &str {
        &self.executor_id
    }
}
