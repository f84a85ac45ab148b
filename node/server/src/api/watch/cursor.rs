//! Where one watcher stands in the changes of its node.

use std::sync::Arc;
use std::time::Duration;

use belfry_core::LogPosition;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::api::Api;
use crate::api::errors::ApiError;
use crate::metrics::Metrics;
use crate::raft::{Change, ChangeCursor, ChangeLog, Compacted, Leadership};

/// How often a watcher hears that there was nothing: often enough to tell a quiet cluster from a dead connection.
const BOOKMARK_EVERY: Duration = Duration::from_secs(5);

/// Least time between two looks that find nothing more: in a storm, a run that moves twice meanwhile is told once.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// How long a node that is behind may take to come to the revision that another node gave out. A leader is not behind.
const CATCH_UP_TIMEOUT: Duration = Duration::from_secs(3);

/// What comes next.
pub(super) enum Part {
    /// All up to `before` has been told already; with these, all up to `revision`.
    Changes {
        changes: Vec<Change>,
        before: u64,
        revision: u64,
    },
    Bookmark {
        revision: u64,
    },
}

pub(super) struct Cursor {
    log: Arc<ChangeLog>,
    place: ChangeCursor,
    applied: watch::Receiver<LogPosition>,
    /// Up to where everything has been told (WATCH-1).
    revision: u64,
    bookmark_at: Instant,
    looked_at: Instant,
    asked_for: u64,
    part_max: usize,
    stop: CancellationToken,
    metrics: Metrics,
    _place: OwnedSemaphorePermit,
}

impl Drop for Cursor {
    fn drop(&mut self) {
        self.metrics.watchers.dec();
    }
}

impl Cursor {
    /// A cursor behind `revision`, or behind everything for 0, that looks at `part_max` changes in one go.
    pub(super) async fn start(api: &Api, revision: u64, part_max: usize) -> Result<Self, ApiError> {
        let shared = &api.0;
        let max = shared.limits.watchers_max;
        let permit = shared.watchers.clone().try_acquire_owned();
        let permit = permit.map_err(|_| ApiError::TooManyWatchers { max })?;
        let log = shared.replica.changes();
        let mut applied = shared.replica.applied();
        let (place, revision) = match revision {
            0 => {
                // Not the end of the ring: that may be ahead of what is published, and what lies between would be
                // counted as told.
                let now = applied.borrow_and_update().index;
                log.after_what_is_kept(now)
            }
            asked => {
                let caught_up = applied.wait_for(|position| position.index >= asked);
                let caught_up = timeout(CATCH_UP_TIMEOUT, caught_up).await.map(|seen| seen.is_ok());
                match caught_up {
                    Ok(true) => {}
                    Ok(false) => return Err(ApiError::NodeStopping),
                    Err(_elapsed) => {
                        let newest = applied.borrow().index;
                        let leads =
                            matches!(&*shared.replica.leadership().borrow(), Leadership::Leader { .. });
                        return Err(match leads {
                            true => ApiError::RevisionAhead { asked, newest },
                            false => ApiError::NodeBehind { asked, newest },
                        });
                    }
                }
                (log.after(asked).map_err(|gone| compacted(asked, gone))?, asked)
            }
        };
        shared.metrics.watchers.inc();
        let now = Instant::now();
        Ok(Self {
            log,
            place,
            applied,
            revision,
            // The first response comes at once.
            bookmark_at: now,
            looked_at: now - LOOK_EVERY,
            asked_for: revision,
            part_max,
            stop: shared.stop.clone(),
            metrics: shared.metrics.clone(),
            _place: permit,
        })
    }

    /// The next changes, or a bookmark when there were none for a while.
    pub(super) async fn next(&mut self) -> Result<Part, ApiError> {
        loop {
            // CHANGES-2: whatever is published now is in the ring.
            let published = self.applied.borrow_and_update().index;
            let part =
                self.log.read(self.place, self.part_max).map_err(|gone| compacted(self.asked_for, gone))?;
            self.place = part.next;
            let before = self.revision;
            self.revision = self.revision.max(part.whole_up_to.unwrap_or(published));
            self.looked_at = Instant::now();
            if !part.changes.is_empty() {
                let changes = part.changes.into_iter().map(|(_, change)| change).collect();
                return Ok(Part::Changes { changes, before, revision: self.revision });
            }
            let looks_at = self.looked_at + LOOK_EVERY;
            tokio::select! {
                biased;
                () = self.stop.cancelled() => return Err(ApiError::NodeStopping),
                () = sleep_until(self.bookmark_at) => return Ok(Part::Bookmark { revision: self.revision }),
                changed = self.applied.changed() => {
                    if changed.is_err() {
                        return Err(ApiError::NodeStopping);
                    }
                }
            }
            sleep_until(looks_at.min(self.bookmark_at)).await;
        }
    }

    /// Something was told: the next bookmark is not due for a while.
    pub(super) fn has_told(&mut self) {
        self.bookmark_at = Instant::now() + BOOKMARK_EVERY;
    }
}

fn compacted(asked: u64, gone: Compacted) -> ApiError {
    ApiError::RevisionCompacted { asked, oldest: gone.oldest }
}
