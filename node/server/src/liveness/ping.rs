//! The dead man's switch: pinged only while all is well, so that silence is the alarm.

use std::sync::Arc;
use std::time::Duration;

use belfry_core::UnixMillis;

use super::{Parts, http};
use crate::config::Liveness;

/// Longest time for a ping.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Pings while this node leads, the ledger is complete, and the cluster can write.
pub(super) async fn run(parts: Arc<Parts>, config: Liveness) {
    let client = if config.ping_url.is_empty() { None } else { http::client(TIMEOUT) };
    let Some(client) = client else { return };
    let mut was_fine = true;
    loop {
        tokio::time::sleep(config.ping_interval.0).await;
        if !parts.leads() {
            continue;
        }
        if let Some(why) = hindrance(&parts, config.row_grace.0).await {
            tracing::warn!(why, "no ping: the dead man's switch will say so");
            parts.metrics.count_pings("withheld");
            continue;
        }
        let answer = client.get(&config.ping_url).send().await;
        let is_fine = answer.as_ref().is_ok_and(|answer| answer.status().is_success());
        parts.metrics.count_pings(if is_fine { "delivered" } else { "failed" });
        if was_fine && !is_fine {
            let why = answer
                .map_or_else(|error| error.without_url().to_string(), |answer| answer.status().to_string());
            tracing::warn!(why, "a ping was not taken (said once)");
        }
        was_fine = is_fine;
    }
}

/// Why there must be no ping.
async fn hindrance(parts: &Parts, row_grace: Duration) -> Option<&'static str> {
    let now = parts.clock.now();
    let next = parts.replica.read(|state| state.due().all().next());
    if is_behind(next.map(|(at, _)| at), now, row_grace) {
        return Some("instants have no row though their time has passed");
    }
    // A quorum answers, and this node leads it.
    parts.replica.read_barrier().await.err().map(|_| "the cluster cannot write")
}

fn is_behind(next_fire_at: Option<UnixMillis>, now: UnixMillis, row_grace: Duration) -> bool {
    next_fire_at.is_some_and(|next| next.plus(row_grace) < now)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_is_behind_when_its_first_instant_is_old() {
        let behind =
            |next: Option<i64>| is_behind(next.map(UnixMillis), UnixMillis(100_000), Duration::from_secs(60));
        assert_eq!(
            [None, Some(39_999), Some(40_000), Some(200_000)].map(behind),
            [false, true, false, false]
        );
    }
}
