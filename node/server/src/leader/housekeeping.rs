//! Retention: lets old rows, reports and answers go.

use std::sync::Arc;
use std::time::Duration;

use belfry_core::command::{Action, Command};
use belfry_core::retention;

use super::Shared;

/// How often retention looks, when it found nothing the last time.
const PERIOD: Duration = Duration::from_secs(10);

/// How soon it looks again after it let something go, so that it keeps up with a storm without a storm of its own.
const BUSY_PERIOD: Duration = Duration::from_millis(200);

/// Proposes what to let go until the reign ends.
pub(super) async fn run(shared: Arc<Shared>) {
    let mut cursor = retention::Cursor::default();
    let mut pause = PERIOD;
    loop {
        tokio::time::sleep(pause).await;
        let now = shared.clock.now();
        let (prune, next) =
            shared.replica.read(|state| retention::select(state, &shared.limits.retention, now, cursor));
        let more = !next.is_at_start() || !prune.is_empty();
        cursor = next;
        pause = if more { BUSY_PERIOD } else { PERIOD };
        if !prune.is_empty() {
            let command = Command { now, request: None, action: Action::Prune(prune) };
            shared.propose("prune", &command).await;
        }
    }
}
