//! A storm of one tenant, and what the others notice of it.

use belfry_tests::cluster::Cluster;

use super::bench::Interval;
use super::instant::{instant_ms, rfc_3339};
use super::{Bench, Figures};

/// Runs of the others, per second: enough for a 99th percentile of each interval, few enough to cost nothing.
const RATE: u64 = 100;
/// How long before the storm they begin.
const BEFORE_S: u64 = 5;
/// How long they go on: a storm of a million is asked to have begun after 15 s, and may take twice that.
const SECONDS: u64 = 40;

/// What came of it.
pub struct Tenants {
    /// The storm's figures.
    pub storm: Figures,
    /// Those of the others. They have a problem when the storm has one: then nothing happened beside them.
    pub others: Figures,
}

/// Runs that are on time all along, in a namespace and a pool of their own, while `due` runs of another one are due at
/// once. `created_per_second` says when that can be.
pub async fn storm_beside_others(
    cluster: &Cluster,
    nodes: u64,
    due: u64,
    created_per_second: f64,
) -> anyhow::Result<Tenants> {
    let bench = Bench::of(cluster, nodes)?.without_usage();
    // The others' schedules are made meanwhile.
    let before_ms = 1000 * BEFORE_S.cast_signed();
    let due_ms = instant_ms(due, created_per_second) + before_ms;
    eprintln!("   storm of {due} beside {RATE} runs/s of others");
    let storm = bench.start(&["storm", "--due", &due.to_string(), "--at", &rfc_3339(due_ms)])?;
    let (rate, seconds) = (RATE.to_string(), format!("{SECONDS}s"));
    let at = rfc_3339(due_ms - before_ms);
    let others = bench.start(&["steady", "--rate", &rate, "--for", &seconds, "--at", &at])?;
    let (storm, mut others) = (Bench::finish(storm).await?, Bench::finish(others).await?);
    others.problem = others.problem.or_else(|| storm.problem.clone()).or_else(|| outlasted(&storm));
    Ok(Tenants { storm, others })
}

/// Why what the others saw is not all of it, if it is not.
fn outlasted(storm: &Figures) -> Option<String> {
    let beside_ms = 1000.0 * (SECONDS - BEFORE_S) as f64;
    let storm_ms = storm.number("/last_completion_ms").filter(|storm_ms| *storm_ms > beside_ms)?;
    Some(format!("the storm took {storm_ms:.0} ms, the others were looked at for {beside_ms:.0} ms of it"))
}

impl Tenants {
    /// The worst of the 99th percentiles of the others' lag, in milliseconds, over the intervals that the storm reached into.
    pub fn worst_p99_ms(&self) -> Option<f64> {
        worst(&self.others.intervals(), self.storm.number("/last_completion_ms")?)
    }
}

fn worst(intervals: &[Interval], storm_ms: f64) -> Option<f64> {
    let (from_s, to_s) = (BEFORE_S as f64, BEFORE_S as f64 + storm_ms / 1000.0);
    let within = intervals.iter().filter(|interval| interval.to_s > from_s && interval.from_s < to_s);
    within.map(|interval| interval.p99_ms).max_by(f64::total_cmp)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_comes_before_and_after_the_storm_does_not_count() {
        let interval = |from_s, to_s, p99_ms| Interval { from_s, to_s, p99_ms };
        let all = [interval(0.0, 4.0, 90.0), interval(4.0, 8.0, 20.0), interval(8.0, 12.0, 30.0)];
        assert_eq!(worst(&all, 2_999.0), Some(20.0));
        assert_eq!(worst(&all, 3_001.0), Some(30.0));
        assert_eq!(worst(&[], 3_000.0), None);
    }
}
