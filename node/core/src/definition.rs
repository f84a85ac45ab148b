//! What a user declares of a schedule. The core interprets the policies alone: timing and target are data to it.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;

use crate::ids::UnixMillis;

/// The declarative part of a schedule, validated at the edge.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Definition {
    /// When.
    pub timing: Timing,
    /// What.
    pub target: Target,
    /// By which rules.
    pub policies: Policies,
    /// Pool whose executors run it.
    pub pool: String,
    /// Labels that an executor must have.
    pub executor_labels: BTreeMap<String, String>,
    /// Which of the waiting runs goes first.
    pub priority: Priority,
    /// Runs of the timing that may begin; none: no limit.
    pub max_runs: Option<u64>,
    /// What happens to the schedule when it is completed.
    pub completion: CompletionAction,
    /// What its ledger keeps.
    pub history: History,
    /// When somebody should be told that it does not run. Data to the core.
    pub liveness: Liveness,
    /// For selecting and grouping.
    pub labels: BTreeMap<String, String>,
    /// For people.
    pub description: String,
}

impl Definition {
    /// A definition with the default of everything that has one.
    pub fn new(timing: Timing, target: Target) -> Self {
        Self {
            timing,
            target,
            policies: Policies::default(),
            pool: "default".to_owned(),
            executor_labels: BTreeMap::new(),
            priority: Priority::default(),
            max_runs: None,
            completion: CompletionAction::default(),
            history: History::default(),
            liveness: Liveness::default(),
            labels: BTreeMap::new(),
            description: String::new(),
        }
    }

    /// Whether runs made from `other` would be the same: if so, an edit needs no new generation.
    pub fn runs_like(&self, other: &Definition) -> bool {
        self.timing == other.timing
            && self.target == other.target
            && self.policies == other.policies
            && self.pool == other.pool
            && self.executor_labels == other.executor_labels
            && self.priority == other.priority
            && self.max_runs == other.max_runs
    }

    /// The lowest feature level at which every member of a cluster understands it (see [`crate::FEATURE_LEVEL`]).
    pub fn feature_level(&self) -> u32 {
        let plain = Definition {
            labels: self.labels.clone(),
            description: self.description.clone(),
            pool: self.pool.clone(),
            policies: Policies {
                start_deadline: self.policies.start_deadline,
                attempt_timeout: self.policies.attempt_timeout,
                lease_duration: self.policies.lease_duration,
                ..Policies::default()
            },
            ..Definition::new(
                Timing::of(self.timing.include.clone(), self.timing.time_zone.clone()),
                self.target.clone(),
            )
        };
        let plain_rules = matches!(
            self.timing.include.as_slice(),
            [Rule::Cron { .. } | Rule::Interval { .. } | Rule::At(_)]
        );
        if plain == *self && plain_rules { 1 } else { 2 }
    }
}

/// When a schedule fires, as text and numbers. Only proposers evaluate it: time-zone tables differ between builds.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Timing {
    /// The union of these.
    pub include: Vec<Rule>,
    /// Less the instants that these name too.
    pub exclude: Vec<Rule>,
    /// Named calendars that restrict it.
    pub calendars: Vec<CalendarUse>,
    /// IANA name; `UTC` when the user gave none.
    pub time_zone: String,
    /// No instant before this one.
    pub start_at: Option<UnixMillis>,
    /// No instant at or after this one.
    pub end_at: Option<UnixMillis>,
    /// Runs are scheduled up to so long after their nominal time; none: the namespace decides.
    pub spread: Option<Duration>,
}

impl Timing {
    /// A union of rules and nothing else.
    pub fn of(include: Vec<Rule>, time_zone: impl Into<String>) -> Self {
        Self {
            include,
            exclude: Vec::new(),
            calendars: Vec::new(),
            time_zone: time_zone.into(),
            start_at: None,
            end_at: None,
            spread: None,
        }
    }

    /// The delay after the last run, if that is what the timing counts from.
    pub fn fixed_delay(&self) -> Option<Duration> {
        match self.include.as_slice() {
            [Rule::FixedDelay(delay)] => Some(*delay),
            _ => None,
        }
    }
}

/// One rule of a timing.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Rule {
    /// A cron expression.
    Cron {
        /// As the user wrote it.
        expression: String,
        /// With every `H` resolved.
        resolved: String,
        /// The user knows that it may never fire.
        allow_never: bool,
    },
    /// epoch + n · every + phase.
    Interval {
        /// Period.
        every: Duration,
        /// Offset from the epoch.
        phase: Duration,
    },
    /// Once.
    At(UnixMillis),
    /// Once, by the clocks of the zone: `2026-12-24T18:00`.
    AtLocal(String),
    /// Wall-clock times on days that match.
    Calendar(CalendarRule),
    /// So long after the last run of the timing ended. The only rule of its timing.
    FixedDelay(Duration),
}

/// Wall-clock times on the days that match; an empty list is every value, and all lists must match.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub struct CalendarRule {
    /// Years.
    pub years: Vec<i16>,
    /// Months, 1 to 12.
    pub months: Vec<u8>,
    /// Days of the month, 1 to 31, or -1 (the last) to -31.
    pub month_days: Vec<i8>,
    /// Days of the week, 1 (Monday) to 7, with the nth of the month, if only that one counts.
    pub weekdays: Vec<(u8, Option<i8>)>,
    /// Seconds of the day.
    pub times: Vec<u32>,
}

/// A named calendar of the schedule's namespace, and what it does.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct CalendarUse {
    /// Its name.
    pub calendar: String,
    /// What it does.
    pub mode: CalendarMode,
}

/// See [`CalendarUse`]. The numbers are those of the wire.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum CalendarMode {
    /// Only instants inside it.
    Include = 1,
    /// No instants inside it.
    Exclude = 2,
    /// Instants inside it become SKIPPED.
    Freeze = 3,
}

/// What to run: the name of a handler and what to tell it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Target {
    /// Handler that an executor must offer.
    pub handler: String,
    /// Opaque to the cluster.
    pub payload: Bytes,
}

/// Which of the waiting runs goes first: 1 to 9, greater first.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Priority(u8);

impl Priority {
    /// A priority of 1 to 9.
    pub fn new(value: u32) -> Option<Self> {
        u8::try_from(value).ok().filter(|value| (1..=9).contains(value)).map(Self)
    }

    /// Its number.
    pub fn get(self) -> u8 {
        self.0
    }
}

impl Default for Priority {
    fn default() -> Self {
        Self(5)
    }
}

/// See [`Definition::completion`]. The numbers are those of the wire.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum CompletionAction {
    /// It stays, COMPLETED.
    #[default]
    Keep = 1,
    /// It is deleted once its last run has ended; its rows stay.
    Delete = 2,
}

/// What the ledger of one schedule keeps, where it differs from the cluster's retention.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct History {
    /// Age of ended rows.
    pub keep_for: Option<Duration>,
    /// Ended rows.
    pub keep_count: Option<u32>,
}

/// When a schedule is overdue.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Liveness {
    /// Longest wait for a begin after the scheduled time; none: 5 minutes.
    pub start_grace: Option<Duration>,
    /// Longest time between two successes; none: derived from the timing.
    pub success_within: Option<Duration>,
    /// Nobody is told.
    pub disabled: bool,
}

/// The rules of a schedule. The enums are open: more policies come with higher feature levels.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Policies {
    /// What happens to an instant while the previous run is still running.
    pub overlap: OverlapPolicy,
    /// What happens to instants that passed while Belfry was away.
    pub misfire: MisfirePolicy,
    /// What happens to a run whose executor vanished.
    pub unknown_outcome: UnknownOutcomePolicy,
    /// Latest begin after the scheduled time.
    pub start_deadline: Option<Duration>,
    /// Longest time for one attempt.
    pub attempt_timeout: Duration,
    /// Longest silence of an executor before its leases are lost.
    pub lease_duration: Duration,
    /// What happens after an attempt that failed.
    pub retry: Retry,
    /// Unsuccessful runs in a row after which the schedule is paused.
    pub pause_after_failures: Option<u32>,
    /// Between telling a cancelled run to end and killing it.
    pub cancel_grace: Duration,
}

impl Default for Policies {
    fn default() -> Self {
        Self {
            overlap: OverlapPolicy::HoldOne,
            misfire: MisfirePolicy::Coalesce,
            unknown_outcome: UnknownOutcomePolicy::Hold,
            start_deadline: None,
            attempt_timeout: Duration::from_secs(3600),
            lease_duration: Duration::from_secs(30),
            retry: Retry::default(),
            pause_after_failures: None,
            cancel_grace: Duration::from_secs(10),
        }
    }
}

/// See [`Policies::overlap`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum OverlapPolicy {
    /// Keep one waiting: the newest; older ones are merged into it.
    HoldOne,
    /// The new one is skipped.
    Skip,
    /// All wait, and run one after the other.
    BufferAll {
        /// How many may wait.
        waiting_max: u32,
    },
    /// Several run at once; beyond that as [`OverlapPolicy::HoldOne`].
    Allow {
        /// How many may run.
        running_max: u32,
    },
    /// The one that is running is cancelled.
    CancelRunning,
}

impl OverlapPolicy {
    /// How many runs of the timing may run at once.
    pub fn running_max(self) -> usize {
        match self {
            OverlapPolicy::HoldOne
            | OverlapPolicy::Skip
            | OverlapPolicy::BufferAll { .. }
            | OverlapPolicy::CancelRunning => 1,
            OverlapPolicy::Allow { running_max } => running_max as usize,
        }
    }
}

/// See [`Policies::misfire`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MisfirePolicy {
    /// One run for all of them: the newest; the others are merged into it.
    Coalesce,
    /// What is older is skipped.
    Skip {
        /// Lateness that is still accepted.
        window: Duration,
    },
    /// All of them run, one at a time, after what is on time.
    FireAll {
        /// What is older is skipped.
        window: Duration,
        /// More than so many: the oldest are skipped.
        count_max: u32,
    },
}

/// See [`Policies::unknown_outcome`]. The numbers are those of the wire.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum UnknownOutcomePolicy {
    /// It stays UNKNOWN and is never started again.
    Hold = 1,
    /// It is tried again as after a failure: at least once.
    Retry = 2,
    /// It stays UNKNOWN, and the schedule is paused.
    Pause = 3,
    /// It is FAILED.
    Fail = 4,
}

/// What happens after an attempt that failed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Retry {
    /// Attempts in all, at least 1.
    pub max_attempts: u32,
    /// Wait before the second attempt; doubled for each further one.
    pub initial_backoff: Duration,
    /// Longest wait.
    pub max_backoff: Duration,
    /// Codes after which trying again is useless.
    pub non_retryable_codes: Vec<i32>,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            max_attempts: 1,
            initial_backoff: Duration::from_secs(10),
            max_backoff: Duration::from_secs(3600),
            non_retryable_codes: Vec::new(),
        }
    }
}

impl Retry {
    /// The wait after `attempt` failed: exponential, with up to a quarter of jitter that is derived from `seed`, so that every
    /// replica computes the same.
    pub fn backoff_after(&self, attempt: u32, seed: u64) -> Duration {
        let doublings = attempt.saturating_sub(1).min(31);
        let base = self.initial_backoff.saturating_mul(1 << doublings).min(self.max_backoff);
        let millis = u64::try_from(base.as_millis()).unwrap_or(u64::MAX);
        let mut bytes = seed.to_le_bytes().to_vec();
        bytes.extend(attempt.to_le_bytes());
        let jitter = xxhash_rust::xxh3::xxh3_64(&bytes) % (millis / 4 + 1);
        Duration::from_millis(millis.saturating_add(jitter))
    }
}
