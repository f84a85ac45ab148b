//! `belfry bench failover`: a storm during which leadership is handed over, as in a rolling deploy.
//!
//! A node that is killed is another matter, and needs its process: the report of `tests/bench` does that.

use std::time::{Duration, Instant};

use belfry_sdk::pb;
use clap::Args;
use serde::Serialize;
use tokio::sync::OnceCell;

use super::Figures;
use super::load::{self, LoadArgs, LoadFigures, Shape, rest_until};
use super::plan::Spacing;
use super::site::Site;
use super::stats::shown_ms;
use super::storm::SCHEDULES_MAX;
use crate::exit::Failure;
use crate::output::Printer;

/// Latest hand-over before the instant: what is measured begins half a second before it.
const BEFORE_MAX_MS: i64 = 400;

#[derive(Debug, Args)]
pub(super) struct FailoverArgs {
    /// Schedules that are due at once.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=SCHEDULES_MAX))]
    due: u64,
    /// When leadership is handed over, in milliseconds after the instant; negative: before it.
    #[arg(long, value_name = "MS", default_value_t = 20, allow_hyphen_values = true, value_parser = clap::value_parser!(i64).range(-BEFORE_MAX_MS..=60_000))]
    offset_ms: i64,
    #[command(flatten)]
    load: LoadArgs,
}

#[derive(Debug, Serialize)]
pub(super) struct FailoverFigures {
    new_leader: u64,
    /// How long the call took.
    handed_over_ms: f64,
    #[serde(flatten)]
    load: LoadFigures,
}

pub(super) async fn run(site: &Site, args: &FailoverArgs) -> Result<FailoverFigures, Failure> {
    let shape = Shape { schedules: args.due, instants: 1, spacing: Spacing::AtOnce };
    let handed_over = OnceCell::new();
    let hand_over = async |first_ms: i64| {
        rest_until(first_ms + args.offset_ms, Duration::ZERO).await;
        let start = Instant::now();
        let leader = site.client().transfer_leadership(pb::TransferLeadershipRequest::default()).await?;
        // It is called once.
        let _ = handed_over.set((leader.leader_id, start.elapsed().as_secs_f64() * 1e3));
        Ok(())
    };
    let carried = load::carry_out(site, &args.load, shape, hand_over).await?;
    let (new_leader, handed_over_ms) = handed_over.get().copied().unwrap_or_default();
    Ok(FailoverFigures { new_leader, handed_over_ms, load: carried.figures })
}

impl Figures for FailoverFigures {
    fn screen(&self, printer: &Printer) -> String {
        let mut facts = self.load.facts();
        let text = format!("to node {} in {}", self.new_leader, shown_ms(self.handed_over_ms));
        facts.push(("handed over", text.into()));
        printer.facts(facts)
    }

    fn problem(&self) -> Option<String> {
        self.load.problem()
    }
}
