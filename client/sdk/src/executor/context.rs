//! What a handler is told about its run.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::deadline::{AttemptMax, Deadline};
use super::output::OutputTail;
use super::progress::Note;
use super::stop::{Cancellation, Stop};
use crate::pb;
use crate::time::{UnixMillis, after};

/// The resource name of a run: `namespaces/{namespace}/schedules/{schedule}/runs/{run}`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunName(String);

impl RunName {
    /// Reads a resource name; none when it is not the name of a run.
    #[must_use]
    pub fn parse(text: String) -> Option<Self> {
        Self::of(text).ok()
    }

    /// The same; gives back what is not one.
    pub(super) fn of(text: String) -> Result<Self, String> {
        let is_one = split(&text).is_some_and(|parts| {
            let named = [parts[1], parts[3], parts[5]].iter().all(|part| !part.is_empty());
            named && [parts[0], parts[2], parts[4]] == ["namespaces", "schedules", "runs"]
        });
        if is_one { Ok(Self(text)) } else { Err(text) }
    }

    /// The whole name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The namespace in it.
    #[must_use]
    pub fn namespace(&self) -> &str {
        self.part(1)
    }

    /// The schedule in it, without its namespace.
    #[must_use]
    pub fn schedule(&self) -> &str {
        self.part(3)
    }

    fn part(&self, index: usize) -> &str {
        self.0.split('/').nth(index).expect("a run's name has six parts")
    }
}

impl fmt::Display for RunName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The six parts of `text`, if it has exactly six.
fn split(text: &str) -> Option<[&str; 6]> {
    let mut parts = [""; 6];
    let mut pieces = text.split('/');
    for part in &mut parts {
        *part = pieces.next()?;
    }
    pieces.next().is_none().then_some(parts)
}

/// The attempt timeout of a trial, and how long it may take in all: the defaults of a schedule and of a cluster.
const TRIAL_TIMEOUT: Duration = Duration::from_secs(3600);
const TRIAL_MAX_MS: u64 = 24 * 3600 * 1000;

/// What a handler is told about its run.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RunContext {
    /// The run's resource name, with its namespace and its schedule.
    pub run: RunName,
    /// The instant that the timing names: what the run is for, however late it is.
    pub nominal_time: UnixMillis,
    /// When it was meant to begin: the nominal time, and the spread of the schedule.
    pub scheduled_time: UnixMillis,
    /// The run stands for all instants after this one, up to its nominal time.
    pub window_start: UnixMillis,
    /// How many older instants were merged into it.
    pub merged_count: u32,
    /// Which try of the run this is, from 1.
    pub attempt: u32,
    /// How many tries there may be in all: after a failure of the last one the run has failed.
    pub max_attempts: u32,
    /// The same for every attempt of this run and for no other run.
    pub idempotency_key: String,
    /// Larger for every later lease of the schedule: whoever is written to can refuse a smaller one than it has seen.
    pub fencing_token: u64,
    /// When the attempt times out, by the clock of this machine; later by what [`RunContext::extend`] adds.
    pub deadline: UnixMillis,
    /// Whether somebody triggered it by hand.
    pub manual: bool,
    /// Whether it makes up for an instant of the past: it belongs to a backfill, or to a resume after a pause.
    pub backfill: bool,
    /// What the schedule's target says; for the stock handlers the encoded target.
    pub payload: Bytes,
    /// Where to write what people shall see.
    pub output: OutputTail,
    /// Fires when the run is to end: it was cancelled, its attempt timeout passed, or the executor's grace period did.
    /// [`RunContext::cancellation`] says which.
    pub cancelled: CancellationToken,
    told: Arc<Told>,
}

/// What the runtime and the code of a run tell each other.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) stop: Stop,
    pub(super) note: Note,
    pub(super) deadline: Deadline,
}

impl RunContext {
    /// A context outside of any cluster, for trying a handler in a test: attempt 1 of a manual run of now, one hour long.
    #[must_use]
    pub fn for_trial(run: RunName, payload: impl Into<Bytes>) -> Self {
        let now = UnixMillis::now();
        let (stop, max) = (Stop::new(), AttemptMax::default());
        max.set(TRIAL_MAX_MS);
        let deadline = Deadline::new(Instant::now(), TRIAL_TIMEOUT, max, Arc::default());
        Self {
            idempotency_key: run.as_str().to_owned(),
            run,
            nominal_time: now,
            scheduled_time: now,
            window_start: now,
            merged_count: 0,
            attempt: 1,
            max_attempts: 1,
            fencing_token: 1,
            deadline: now.after(TRIAL_TIMEOUT),
            manual: true,
            backfill: false,
            payload: payload.into(),
            output: OutputTail::new(),
            cancelled: stop.token(),
            told: Arc::new(Told { stop, note: Note::new(Arc::default()), deadline }),
        }
    }

    /// The context of a granted run under its lease.
    pub(super) fn of(
        run: RunName,
        grant: pb::Grant,
        fencing_token: u64,
        told: Arc<Told>,
        output: OutputTail,
        now: UnixMillis,
    ) -> Self {
        Self {
            run,
            nominal_time: UnixMillis(grant.nominal_unix_ms),
            scheduled_time: UnixMillis(grant.scheduled_unix_ms),
            window_start: UnixMillis(grant.window_start_unix_ms),
            merged_count: grant.merged_count,
            attempt: grant.attempt,
            // A leader that knows of no retries says 0.
            max_attempts: grant.max_attempts.max(grant.attempt),
            idempotency_key: grant.idempotency_key,
            fencing_token,
            deadline: now.after(told.deadline.allowed()),
            manual: grant.manual,
            backfill: grant.backfill,
            payload: grant.payload,
            output,
            cancelled: told.stop.token(),
            told,
        }
    }

    /// Says how far it has come, for people: `run.progress("42 of 100")`. One line, of which 256 bytes are kept.
    ///
    /// Costs next to nothing and never waits: the latest note is passed on about once a second, others are dropped. Notes
    /// are no part of the ledger, and nothing depends on them.
    pub fn progress(&self, note: impl AsRef<str>) {
        self.told.note.write(note.as_ref());
    }

    /// What it said last of its progress.
    #[must_use]
    pub fn latest_progress(&self) -> Option<String> {
        self.told.note.text()
    }

    /// Says that the run gets on and needs more time: from now on it has the attempt timeout of its schedule once more. Gives
    /// the deadline that holds now, by the clock of this machine.
    ///
    /// So the attempt timeout becomes the longest time between two calls, and code that is stuck is still ended. There is an
    /// end to it: in all an attempt takes no longer than the cluster allows (24 hours). A run that was told to end gets no
    /// more time, and neither does any from a cluster of a release that cannot give it. Costs next to nothing and never waits.
    ///
    /// ```
    /// # use belfry_sdk::executor::{Outcome, RunContext};
    /// # async fn copy(batch: u32) {}
    /// async fn handler(run: RunContext) -> Outcome {
    ///     for batch in 0..1000 {
    ///         copy(batch).await;
    ///         run.extend();
    ///     }
    ///     Outcome::Succeeded
    /// }
    /// ```
    pub fn extend(&self) -> UnixMillis {
        let now = Instant::now();
        let deadline = match self.told.stop.cancellation() {
            None => self.told.deadline.extend(now),
            Some(_) => self.told.deadline.at(),
        };
        UnixMillis::now().after(deadline.saturating_duration_since(now))
    }

    /// Why the run is to end; none until [`RunContext::cancelled`] fires.
    ///
    /// ```
    /// # use belfry_sdk::executor::{Cancellation, Outcome, RunContext};
    /// # async fn work() -> Outcome { Outcome::Succeeded }
    /// async fn handler(run: RunContext) -> Outcome {
    ///     tokio::select! {
    ///         outcome = work() => outcome,
    ///         () = run.cancelled.cancelled() => {
    ///             if let Some(Cancellation::Requested { reason, grace }) = run.cancellation() {
    ///                 run.output.line(&format!("to end within {grace:?}: {reason}"));
    ///             }
    ///             Outcome::cancelled("stopped between two batches")
    ///         }
    ///     }
    /// }
    /// ```
    #[must_use]
    pub fn cancellation(&self) -> Option<Cancellation> {
        self.told.stop.cancellation()
    }

    /// Tells the handler of a trial to end, as the runtime does with one that runs. Nobody drops its future.
    pub fn cancel_trial(&self, cancellation: Cancellation) {
        self.told.stop.ask(cancellation, after(Instant::now(), Duration::MAX));
    }

    /// The same as variables for a process. Instants are RFC 3339 in UTC; `BELFRY_TRIGGER` is `timer` or `manual`,
    /// `BELFRY_BACKFILL` is `true` or `false`.
    #[must_use]
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        vec![
            ("BELFRY_RUN", self.run.to_string()),
            ("BELFRY_NAMESPACE", self.run.namespace().to_owned()),
            ("BELFRY_SCHEDULE", self.run.schedule().to_owned()),
            ("BELFRY_NOMINAL_TIME", self.nominal_time.to_string()),
            ("BELFRY_SCHEDULED_TIME", self.scheduled_time.to_string()),
            ("BELFRY_ATTEMPT", self.attempt.to_string()),
            ("BELFRY_MAX_ATTEMPTS", self.max_attempts.to_string()),
            ("BELFRY_IDEMPOTENCY_KEY", self.idempotency_key.clone()),
            ("BELFRY_FENCING_TOKEN", self.fencing_token.to_string()),
            ("BELFRY_WINDOW_START", self.window_start.to_string()),
            ("BELFRY_MERGED_COUNT", self.merged_count.to_string()),
            ("BELFRY_DEADLINE", self.deadline.to_string()),
            ("BELFRY_TRIGGER", if self.manual { "manual" } else { "timer" }.to_owned()),
            ("BELFRY_BACKFILL", self.backfill.to_string()),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_names_of_runs_only() {
        let name = RunName::parse("namespaces/n/schedules/s/runs/r".into()).unwrap();
        assert_eq!((name.namespace(), name.schedule()), ("n", "s"));
        for text in [
            "",
            "namespaces/n/schedules/s",
            "namespaces/n/schedules//runs/r",
            "a/n/b/s/c/r",
            "namespaces/n/schedules/s/runs/r/x",
        ] {
            assert_eq!(RunName::parse(text.into()), None, "{text}");
        }
    }

    #[test]
    fn writes_all_variables() {
        let name = RunName::parse("namespaces/n/schedules/s/runs/r".into()).unwrap();
        let grant = pb::Grant {
            attempt: 2,
            max_attempts: 5,
            backfill: true,
            idempotency_key: "key".into(),
            nominal_unix_ms: 3_600_000,
            scheduled_unix_ms: 3_601_500,
            window_start_unix_ms: 0,
            merged_count: 4,
            ..Default::default()
        };
        let timeout = Duration::from_secs(60);
        let deadline = Deadline::new(Instant::now(), timeout, AttemptMax::default(), Arc::default());
        let told = Arc::new(Told { stop: Stop::new(), note: Note::new(Arc::default()), deadline });
        let run = RunContext::of(name, grant, 77, told, OutputTail::new(), UnixMillis(7_200_000));
        let written: Vec<String> =
            run.environment().into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        let expected = "BELFRY_RUN=namespaces/n/schedules/s/runs/r BELFRY_NAMESPACE=n BELFRY_SCHEDULE=s \
            BELFRY_NOMINAL_TIME=1970-01-01T01:00:00Z BELFRY_SCHEDULED_TIME=1970-01-01T01:00:01.500Z BELFRY_ATTEMPT=2 \
            BELFRY_MAX_ATTEMPTS=5 BELFRY_IDEMPOTENCY_KEY=key BELFRY_FENCING_TOKEN=77 BELFRY_WINDOW_START=1970-01-01T00:00:00Z \
            BELFRY_MERGED_COUNT=4 BELFRY_DEADLINE=1970-01-01T02:01:00Z BELFRY_TRIGGER=timer BELFRY_BACKFILL=true";
        assert_eq!(written.join(" "), expected);
    }
}
