//! Raises the cluster's feature level once every member understands a higher one.
//!
//! During a rolling deploy some nodes run the old release: what the new one brings is refused at the API until the last of
//! them is replaced. Then this proposes the level, and no older node can join any more.

use std::sync::Arc;
use std::time::Duration;

use belfry_core::command::{Action, Command};
use belfry_core::{FEATURE_LEVEL, State};

use super::Shared;

/// Between two rounds of questions: a node restarts in seconds.
const PERIOD: Duration = Duration::from_secs(2);

/// Raises the level whenever it can be, until the reign ends.
pub(super) async fn run(shared: Arc<Shared>) {
    while shared.replica.read(State::feature_level) < FEATURE_LEVEL {
        let current = shared.replica.read(State::feature_level);
        match shared.replica.common_feature_level().await {
            Some(level) if level > current => {
                let action = Action::RaiseFeatureLevel(level);
                let command = Command { now: shared.clock.now(), request: None, action };
                if shared.propose("raise feature level", &command).await.is_some() {
                    tracing::info!(
                        level,
                        "every node understands a higher feature level: it is in force now"
                    );
                }
            }
            Some(_) | None => tokio::time::sleep(PERIOD).await,
        }
    }
    std::future::pending().await
}
