//! Rules over wall-clock time: which civil times match, and at which instants a zone's clocks show them.
//!
//! ```text
//! days ─┐
//!       ├─► walker: matching wall times ─► rule: instants, by the zone's offsets and the daylight-saving rule
//! times ┘
//! ```
//!
//! Cron expressions and calendar rules are both such rules: they differ in how their days and times are written.

mod days;
mod rule;
mod times;
mod walker;

pub(crate) use self::{
    days::{Days, Shape, YEAR_MAX, YEAR_MIN, Years},
    rule::{Direction, DstRule, WallRule},
    times::Times,
    walker::Walker,
};
