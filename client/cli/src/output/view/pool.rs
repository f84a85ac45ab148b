//! Pools as documents, rows and screens.

use belfry_sdk::pb;
use serde::Serialize;

use super::run::VerdictView;
use super::{Instant, described, written};
use crate::output::{Cell, Printer, Row, Tone};
use crate::text;

/// A pool, with the field names of the contract.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct PoolView {
    pub(crate) name: String,
    etag: String,
    description: String,
    slots: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    rate: Option<RateView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pause: Option<VerdictView>,
    running_count: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    update_time: Option<Instant>,
}

#[derive(Clone, Debug, Serialize)]
struct RateView {
    count: u32,
    per: String,
}

impl From<pb::Pool> for PoolView {
    fn from(pool: pb::Pool) -> Self {
        let rate = |rate: pb::pool::Rate| RateView {
            count: rate.count,
            per: written(rate.per.as_ref()).unwrap_or_default(),
        };
        Self {
            rate: pool.rate.map(rate),
            pause: pool.pause.map(VerdictView::of),
            update_time: Instant::of(pool.update_time.as_ref()),
            name: pool.name,
            etag: pool.etag,
            description: pool.description,
            slots: pool.slots,
            running_count: pool.running_count,
        }
    }
}

impl PoolView {
    /// All about it.
    pub(crate) fn screen(&self, printer: &Printer, now: i64) -> String {
        let state = match &self.pause {
            Some(pause) => Cell::new(format!("PAUSED {}", pause.in_words(now)), Tone::Open),
            None => Cell::new("open", Tone::Good),
        };
        let slots = match self.slots {
            0 => format!("{} in use, of any number", self.running_count),
            slots => format!("{} in use of {slots}", self.running_count),
        };
        let mut facts = vec![("Pool", self.name.as_str().into()), ("State", state), ("Slots", slots.into())];
        let rate = self.rate_in_short().map_or("no limit".to_owned(), |rate| format!("{rate} starts"));
        facts.push(("Rate", rate.into()));
        facts.extend(described(&self.description, self.update_time, now));
        printer.facts(facts)
    }

    fn rate_in_short(&self) -> Option<String> {
        self.rate.as_ref().map(|rate| format!("{}/{}", rate.count, rate.per))
    }
}

impl Row for PoolView {
    fn headers(_is_wide: bool) -> Vec<&'static str> {
        vec!["POOL", "STATE", "IN USE", "SLOTS", "RATE", "FOR"]
    }

    fn cells(&self, _is_wide: bool, _now: i64) -> Vec<Cell> {
        let state = match self.pause {
            Some(_) => Cell::new("PAUSED", Tone::Open),
            None => Cell::new("open", Tone::Good),
        };
        let slots = if self.slots == 0 { "-".to_owned() } else { self.slots.to_string() };
        vec![
            text::short_name(&self.name).into(),
            state,
            self.running_count.to_string().into(),
            slots.into(),
            self.rate_in_short().unwrap_or_else(|| "-".to_owned()).into(),
            text::shortened(&self.description, 60).into(),
        ]
    }

    fn name(&self) -> &str {
        &self.name
    }
}
