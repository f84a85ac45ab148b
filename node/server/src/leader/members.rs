//! Finishes a change of the members that the former leader left half done: until then both the old and the new majority
//! are needed for everything.

use std::sync::Arc;
use std::time::Duration;

use super::Shared;

/// Between two tries: the half that is missing needs both majorities, which may be away.
const PERIOD: Duration = Duration::from_secs(1);

/// Tries until it is done, at the beginning of a reign. What this leader changes itself it also ends.
pub(super) async fn run(shared: Arc<Shared>) {
    while let Err(error) = shared.replica.finish_membership_change().await {
        tracing::warn!(%error, "a change of the members is still half done");
        tokio::time::sleep(PERIOD).await;
    }
    std::future::pending().await
}
