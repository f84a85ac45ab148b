//! How an attempt is told from outside to end, and why.
//!
//! - STOP-1: being told again never prolongs what is left of an attempt, and may shorten it.
//! - STOP-2: somebody's wish outranks the executor's own end: a run that was cancelled is reported as CANCELLED even when the
//!   executor was going down already. What passed its attempt timeout before has timed out.

use std::fmt;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::watched::Watched;
use crate::time::at;

/// Why a run is to end before it has come to its end. Displays as one line.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cancellation {
    /// Somebody cancelled the run, or its schedule's overlap policy did.
    Requested {
        /// Who wants it and why, in words.
        reason: String,
        /// How long it may take to end.
        grace: Duration,
    },
    /// The attempt took too long.
    AttemptTimeout {
        /// How long it was allowed to take.
        timeout: Duration,
    },
    /// The executor is told to end, and its grace period passed.
    Draining,
}

impl fmt::Display for Cancellation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Requested { reason, .. } if reason.is_empty() => f.write_str("cancelled"),
            Self::Requested { reason, .. } => write!(f, "cancelled: {reason}"),
            Self::AttemptTimeout { timeout } => write!(f, "attempt timeout of {timeout:?} passed"),
            Self::Draining => f.write_str("the executor shut down and the grace period passed"),
        }
    }
}

/// The way by which one attempt is told to end.
#[derive(Debug)]
pub(super) struct Stop {
    token: CancellationToken,
    asked: Watched<Option<Asked>>,
}

#[derive(Clone, Debug)]
struct Asked {
    cancellation: Cancellation,
    drop_at: Instant,
}

impl Stop {
    pub(super) fn new() -> Self {
        Self { token: CancellationToken::new(), asked: Watched::new(None) }
    }

    /// What user code watches. It fires when the reason is known.
    pub(super) fn token(&self) -> CancellationToken {
        self.token.clone()
    }

    /// Tells the attempt to end; at `drop_at` nobody waits for it any longer.
    pub(super) fn ask(&self, cancellation: Cancellation, drop_at: Instant) {
        self.asked.change(|asked| {
            match asked {
                None => *asked = Some(Asked { cancellation, drop_at }),
                Some(asked) => {
                    // STOP-1
                    asked.drop_at = asked.drop_at.min(drop_at);
                    if outranks(&cancellation, &asked.cancellation) {
                        asked.cancellation = cancellation;
                    }
                }
            }
            true
        });
        self.token.cancel();
    }

    /// Why it was told to end, once it was.
    pub(super) fn cancellation(&self) -> Option<Cancellation> {
        self.asked.lock().as_ref().map(|asked| asked.cancellation.clone())
    }

    /// Completes when the attempt has not ended in time. For one task.
    pub(super) async fn overdue(&self) {
        loop {
            let drop_at = self.asked.lock().as_ref().map(|asked| asked.drop_at);
            tokio::select! {
                () = at(drop_at) => return,
                () = self.asked.changed() => {}
            }
        }
    }
}

/// STOP-2.
fn outranks(new: &Cancellation, known: &Cancellation) -> bool {
    matches!((new, known), (Cancellation::Requested { .. }, Cancellation::Draining))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn requested() -> Cancellation {
        Cancellation::Requested { reason: "by ann: wrong data".into(), grace: Duration::from_secs(5) }
    }

    #[test]
    fn says_who_wants_it_or_what_passed() {
        let timeout = Duration::from_secs(2);
        assert_eq!(requested().to_string(), "cancelled: by ann: wrong data");
        assert_eq!(Cancellation::AttemptTimeout { timeout }.to_string(), "attempt timeout of 2s passed");
    }

    #[test]
    fn stop_1_being_told_again_never_prolongs_it() {
        let (stop, start) = (Stop::new(), Instant::now());
        let drop_at = || stop.asked.lock().as_ref().unwrap().drop_at - start;
        let seconds = Duration::from_secs;
        assert!(stop.cancellation().is_none());
        stop.ask(requested(), start + seconds(10));
        stop.ask(requested(), start + seconds(30));
        assert_eq!(drop_at(), seconds(10));
        stop.ask(Cancellation::Draining, start + seconds(4));
        assert_eq!((drop_at(), stop.cancellation()), (seconds(4), Some(requested())));
    }

    #[test]
    fn stop_2_a_wish_outranks_the_end_of_the_executor() {
        let now = Instant::now();
        let told = |first: Cancellation, second: Cancellation| {
            let stop = Stop::new();
            stop.ask(first, now);
            stop.ask(second, now);
            stop.cancellation().unwrap()
        };
        let timeout = Cancellation::AttemptTimeout { timeout: Duration::from_secs(2) };
        assert_eq!(told(Cancellation::Draining, requested()), requested());
        assert_eq!(told(timeout.clone(), requested()), timeout);
        assert_eq!(told(requested(), timeout), requested());
    }
}
