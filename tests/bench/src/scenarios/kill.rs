//! A storm, and a leader that is killed around its instant.

use std::time::Duration;

use belfry_tests::cluster::Cluster;

use super::instant::{instant_ms, now_ms, rfc_3339};
use super::{Bench, Figures};

/// Kills the leader with SIGKILL so many milliseconds after the instant at which `due` runs are due (negative: before it),
/// and starts it again once all is over. `created_per_second` says when that instant can be.
pub async fn kill_the_leader(
    cluster: &mut Cluster,
    nodes: u64,
    due: u64,
    offset_ms: i64,
    created_per_second: f64,
) -> anyhow::Result<Figures> {
    let bench = Bench::of(cluster, nodes)?.without_usage();
    let due_ms = instant_ms(due, created_per_second);
    let storm = bench.start(&["storm", "--due", &due.to_string(), "--at", &rfc_3339(due_ms)])?;
    let leader = cluster.wait_for_leader().await?;
    let wait_ms = (due_ms + offset_ms - now_ms()).max(0);
    tokio::time::sleep(Duration::from_millis(wait_ms.unsigned_abs())).await;
    cluster.kill_node(leader).await?;
    let mut figures = Bench::finish(storm).await?;
    let last_begin_ms = figures.number("/last_begin_ms");
    figures.problem = figures.problem.or_else(|| shows_nothing(offset_ms, last_begin_ms));
    cluster.start_node(leader)?;
    cluster.wait_until_ready(leader).await?;
    Ok(figures)
}

/// Why a kill says nothing, if it does not: there was nothing left to begin when it came.
fn shows_nothing(offset_ms: i64, last_begin_ms: Option<f64>) -> Option<String> {
    let last = last_begin_ms.filter(|last| *last < offset_ms as f64)?;
    Some(format!(
        "the last run began {last:.0} ms after the instant, before the leader was killed: take more schedules"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kill_after_the_storm_shows_nothing() {
        assert!(shows_nothing(100, Some(38.0)).is_some());
        assert!(shows_nothing(100, Some(101.0)).is_none() && shows_nothing(-300, Some(38.0)).is_none());
        assert!(shows_nothing(100, None).is_none(), "it failed in another way");
    }
}
