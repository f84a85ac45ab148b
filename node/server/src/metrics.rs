//! All metrics of a node, with their help texts. Names follow the conventions of Prometheus: base units, `_total` for what
//! only rises; no ids as labels.
//!
//! Two kinds: what is counted where it happens (the fields of [`Metrics`]), and what is sampled when somebody asks
//! ([`Metrics::encode`] with a [`Sample`]), because the raft log and the state know it anyway.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::process::ProcessUsage;

/// One label whose values are known beforehand.
pub type Label = [(&'static str, &'static str); 1];
/// The pool of an executor.
pub type PoolLabel = [(&'static str, String); 1];
/// A pool and a class of traffic.
pub type WaitingLabels = [(&'static str, String); 2];
/// Method and code of a call.
pub type RpcLabels = [(&'static str, &'static str); 2];

/// The content type of what [`Metrics::encode`] gives.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// From a begin on time to one after a long outage.
const LATENESS_BUCKETS: [f64; 15] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0, 60.0, 600.0, 3600.0];
/// From a local read to a call that waits for an election.
const RPC_BUCKETS: [f64; 13] =
    [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];
/// From one fire by itself to a full log entry.
const BATCH_BUCKETS: [f64; 9] = [1.0, 4.0, 16.0, 64.0, 256.0, 1024.0, 4096.0, 16_384.0, 65_536.0];

/// The metrics of a node. Cheap to clone; all clones are one.
#[derive(Clone)]
pub struct Metrics(Arc<Handles>);

/// The handles; see each help text in [`Metrics::new`].
#[allow(missing_docs, reason = "the help texts below are the documentation")]
pub struct Handles {
    registry: Registry,
    pub rows_created: Family<Label, Counter>,
    pub runs_ended: Family<Label, Counter>,
    pub runs_begun: Counter,
    pub lateness_seconds: Histogram,
    pub due_backlog: Gauge,
    pub executors: Family<PoolLabel, Gauge>,
    pub credits: Family<PoolLabel, Gauge>,
    pub runs_waiting: Family<WaitingLabels, Gauge>,
    pub catch_up_budget: Gauge,
    pub begins_refused: Counter,
    pub offers_timed_out: Counter,
    pub declines: Counter,
    pub fire_batch_size: Histogram,
    pub proposals_failed: Family<Label, Counter>,
    pub rpc_duration_seconds: Family<RpcLabels, Histogram, fn() -> Histogram>,
    pub rpcs_in_progress: Gauge,
    pub rpcs_forwarded: Counter,
    pub webhooks: Family<Label, Counter>,
    pub pings: Family<Label, Counter>,
    pub watchers: Gauge,
}

impl std::ops::Deref for Metrics {
    type Target = Handles;

    fn deref(&self) -> &Handles {
        &self.0
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Metrics")
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// All metrics, at zero.
    pub fn new() -> Self {
        let mut handles = Handles {
            registry: Registry::with_prefix("belfry"),
            rows_created: Family::default(),
            runs_ended: Family::default(),
            runs_begun: Counter::default(),
            lateness_seconds: Histogram::new(LATENESS_BUCKETS),
            due_backlog: Gauge::default(),
            executors: Family::default(),
            credits: Family::default(),
            runs_waiting: Family::default(),
            catch_up_budget: Gauge::default(),
            begins_refused: Counter::default(),
            offers_timed_out: Counter::default(),
            declines: Counter::default(),
            fire_batch_size: Histogram::new(BATCH_BUCKETS),
            proposals_failed: Family::default(),
            rpc_duration_seconds: Family::new_with_constructor(rpc_histogram as fn() -> Histogram),
            rpcs_in_progress: Gauge::default(),
            rpcs_forwarded: Counter::default(),
            webhooks: Family::default(),
            pings: Family::default(),
            watchers: Gauge::default(),
        };
        register(&mut handles);
        // At zero from the start: an alert on what never happened yet must find it.
        for outcome in ["delivered", "failed", "dropped"] {
            _ = handles.webhooks.get_or_create(&[("outcome", outcome)]);
        }
        for outcome in ["delivered", "failed", "withheld"] {
            _ = handles.pings.get_or_create(&[("outcome", outcome)]);
        }
        Self(Arc::new(handles))
    }

    /// Everything as text, for a scrape.
    pub fn encode(&self, sample: &Sample) -> String {
        let mut text = String::new();
        let mut sampled = Registry::with_prefix("belfry");
        sampled.register_collector(Box::new(sample.clone()));
        let mut process = Registry::default();
        if let Some(usage) = sample.process {
            process.register_collector(Box::new(OfProcess(usage)));
        }
        // Writing to a string cannot fail; if an encoder does, half a text is better than no node.
        let written = prometheus_client::encoding::text::encode_registry(&mut text, &self.registry)
            .and_then(|()| prometheus_client::encoding::text::encode_registry(&mut text, &sampled))
            .and_then(|()| prometheus_client::encoding::text::encode_registry(&mut text, &process))
            .and_then(|()| prometheus_client::encoding::text::encode_eof(&mut text));
        if let Err(error) = written {
            tracing::error!(%error, "metrics cannot be encoded");
        }
        text
    }

    /// Rows of the ledger that were made; `trigger` is `timer`, `catch_up` or `manual`.
    pub fn count_rows_created(&self, trigger: &'static str, count: u64) {
        self.rows_created.get_or_create(&[("trigger", trigger)]).inc_by(count);
    }

    /// Runs that ended; `state` as users see it.
    pub fn count_runs_ended(&self, state: &'static str, count: u64) {
        self.runs_ended.get_or_create(&[("state", state)]).inc_by(count);
    }

    /// A begin that was committed, so long after its scheduled time.
    pub fn observe_begin(&self, lateness: Duration) {
        self.runs_begun.inc();
        self.lateness_seconds.observe(lateness.as_secs_f64());
    }

    /// Begins that lost the compare-and-set.
    pub fn count_begins_refused(&self, count: u64) {
        self.begins_refused.inc_by(count);
    }

    /// Offers that no executor answered.
    pub fn count_offers_timed_out(&self, count: u64) {
        self.offers_timed_out.inc_by(count);
    }

    /// Offers that an executor declined.
    pub fn count_declines(&self, count: u64) {
        self.declines.inc_by(count);
    }

    /// A command of the leader itself that did not go through.
    pub fn count_proposal_failed(&self, what: &'static str) {
        self.proposals_failed.get_or_create(&[("what", what)]).inc();
    }

    /// What the dispatch loop sees.
    pub fn set_dispatch_gauges(&self, gauges: &DispatchGauges<'_>) {
        self.due_backlog.set(gauge(gauges.due_backlog));
        self.catch_up_budget.set(gauge(gauges.catch_up_budget));
        // Pools whose last executor left must not keep their last value, and so with runs that wait.
        self.executors.clear();
        self.credits.clear();
        self.runs_waiting.clear();
        for (pool, (executors, credits)) in &gauges.pools {
            let label = [("pool", (*pool).to_owned())];
            self.executors.get_or_create(&label).set(gauge(*executors));
            self.credits.get_or_create(&label).set(gauge(*credits));
        }
        for (pool, class, count) in &gauges.waiting {
            let labels = [("pool", (*pool).to_owned()), ("class", (*class).to_owned())];
            self.runs_waiting.get_or_create(&labels).set(gauge(*count));
        }
    }

    /// Events for webhooks; `outcome` is `delivered`, `failed` or `dropped`.
    pub fn count_webhooks(&self, outcome: &'static str, count: u64) {
        self.webhooks.get_or_create(&[("outcome", outcome)]).inc_by(count);
    }

    /// Pings; `outcome` is `delivered`, `failed` or `withheld`.
    pub fn count_pings(&self, outcome: &'static str) {
        self.pings.get_or_create(&[("outcome", outcome)]).inc();
    }

    /// This node no longer leads: what only a leader knows is gone.
    pub fn clear_leader_gauges(&self) {
        self.set_dispatch_gauges(&DispatchGauges::default());
    }

    /// A call that came to its end; both words are from fixed tables.
    pub fn observe_rpc(&self, method: &'static str, code: &'static str, taken: Duration) {
        let labels = [("method", method), ("code", code)];
        self.rpc_duration_seconds.get_or_create(&labels).observe(taken.as_secs_f64());
    }
}

fn rpc_histogram() -> Histogram {
    Histogram::new(RPC_BUCKETS)
}

fn gauge(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

/// Registers the handles with their help texts; the registry puts a full stop behind each.
fn register(handles: &mut Handles) {
    let Handles {
        registry,
        rows_created,
        runs_ended,
        runs_begun,
        lateness_seconds,
        due_backlog,
        executors,
        credits,
        runs_waiting,
        catch_up_budget,
        begins_refused,
        offers_timed_out,
        declines,
        fire_batch_size,
        proposals_failed,
        rpc_duration_seconds,
        rpcs_in_progress,
        rpcs_forwarded,
        webhooks,
        pings,
        watchers,
    } = handles;
    let build = [("version", env!("CARGO_PKG_VERSION")), ("tzdata", belfry_timing::tzdata_version())];
    registry.register("build", "Release of this node and of its time-zone data", Info::new(build));
    registry.register(
        "rows_created",
        "Rows of the ledger made while this node led, by what made them",
        rows_created.clone(),
    );
    registry.register(
        "runs_ended",
        "Runs that ended while this node led, by how they ended",
        runs_ended.clone(),
    );
    registry.register("runs_begun", "Attempts begun while this node led", runs_begun.clone());
    registry.register(
        "run_lateness_seconds",
        "Begin minus scheduled time of each attempt begun while this node led",
        lateness_seconds.clone(),
    );
    registry.register(
        "due_backlog",
        "Runs that may begin and wait for a fitting executor with credit. 0 on nodes that do not lead",
        due_backlog.clone(),
    );
    registry.register("executors", "Executors connected to this leader", executors.clone());
    registry.register("executor_credits", "Runs that connected executors would take now", credits.clone());
    registry.register(
        "runs_waiting",
        "Runs that wait at the dispatcher of this leader for an executor, a limit or a back-off, by pool and class",
        runs_waiting.clone(),
    );
    registry.register(
        "catch_up_budget",
        "Catch-up and backfill runs that this leader may start at once. 0 on nodes that do not lead",
        catch_up_budget.clone(),
    );
    registry.register(
        "begins_refused",
        "Begins that came too late: somebody else was first, or the run was over",
        begins_refused.clone(),
    );
    registry.register(
        "offers_timed_out",
        "Offers that an executor did not answer in time and that went to another one",
        offers_timed_out.clone(),
    );
    registry.register("declines", "Offers that executors declined", declines.clone());
    registry.register("fire_batch_size", "Fires per log entry", fire_batch_size.clone());
    registry.register(
        "proposals_failed",
        "Commands of the leader itself that did not go through and were decided anew",
        proposals_failed.clone(),
    );
    registry.register(
        "rpc_duration_seconds",
        "Time from the arrival of a call to the end of its answer, by method and code. Streams of executors are not in it",
        rpc_duration_seconds.clone(),
    );
    registry.register("rpcs_in_progress", "Calls being worked on", rpcs_in_progress.clone());
    registry.register(
        "webhooks",
        "Events for webhooks while this node led: delivered, failed (given up) or dropped",
        webhooks.clone(),
    );
    registry.register(
        "pings",
        "Pings of the dead man's switch while this node led: delivered, failed, or withheld because not all was well",
        pings.clone(),
    );
    registry.register("watchers", "Streams of changes served by this node", watchers.clone());
    registry.register("rpcs_forwarded", "Calls and streams passed on to the leader", rpcs_forwarded.clone());
}

/// What the dispatch loop of a leader sees at one moment.
#[derive(Clone, Debug, Default)]
pub struct DispatchGauges<'a> {
    /// Runs that may begin.
    pub due_backlog: u64,
    /// Executors and their credits, by pool.
    pub pools: BTreeMap<&'a str, (u64, u64)>,
    /// Runs that wait at the dispatcher, by pool and class.
    pub waiting: Vec<(&'a str, &'static str, u64)>,
    /// Starts left of the catch-up budget.
    pub catch_up_budget: u64,
}

/// What is sampled when somebody asks.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    /// The term that this node is in.
    pub term: u64,
    /// Whether this node leads.
    pub is_leader: bool,
    /// Whether this node knows a leader.
    pub has_leader: bool,
    /// The last entry of its log.
    pub last_log_index: u64,
    /// The last entry that it knows to be committed.
    pub committed_index: u64,
    /// The last entry that it has applied.
    pub applied_index: u64,
    /// Up to here a restart needs no log.
    pub checkpoint_index: u64,
    /// Up to here the log is gone.
    pub purged_index: u64,
    /// Bytes of the entries appended to its log since its start.
    pub log_appended_bytes: u64,
    /// Schedules that are not deleted.
    pub schedules: u64,
    /// Rows of the ledger by state.
    pub runs: BTreeMap<&'static str, u64>,
    /// By namespace: schedules that are overdue, and that miss a success.
    pub liveness: BTreeMap<String, (u64, u64)>,
    /// How far this node's clock is ahead of the median of all; none before the first comparison.
    pub clock_ahead_seconds: Option<f64>,
    /// Durations of the syncs of the log: upper bounds in seconds with their counts, the last one without a bound, and
    /// the sum in seconds.
    pub log_syncs: (Vec<(f64, u64)>, f64),
    /// What the process takes; none where the system does not say.
    pub process: Option<ProcessUsage>,
}

/// What a process takes of the machine, under the names that all programs use for it: without our prefix.
#[derive(Clone, Copy, Debug)]
struct OfProcess(ProcessUsage);

impl Collector for OfProcess {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let ProcessUsage { cpu, resident_bytes } = self.0;
        let help = "User and system CPU time since the start of the process.";
        let metric = ConstCounter::new(cpu.as_secs_f64());
        metric.encode(encoder.encode_descriptor(
            "process_cpu_seconds",
            help,
            None,
            MetricType::Counter,
        )?)?;
        let help = "Resident memory of the process.";
        let metric = ConstGauge::new(gauge(resident_bytes));
        metric.encode(encoder.encode_descriptor(
            "process_resident_memory_bytes",
            help,
            None,
            MetricType::Gauge,
        )?)
    }
}

impl Collector for Sample {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let gauges = [
            ("raft_term", "Term that this node is in.", self.term),
            ("raft_is_leader", "1 if this node leads.", self.is_leader.into()),
            ("raft_has_leader", "1 if this node knows a leader.", self.has_leader.into()),
            ("raft_last_log_index", "Last entry of this node's log.", self.last_log_index),
            ("raft_committed_index", "Last entry known to be committed.", self.committed_index),
            ("raft_applied_index", "Last entry applied to the state.", self.applied_index),
            ("raft_checkpoint_index", "Last entry in the durable checkpoint.", self.checkpoint_index),
            ("raft_purged_index", "Last entry that is gone from this node's log.", self.purged_index),
            (
                "raft_apply_lag",
                "Entries committed and not yet applied.",
                self.committed_index.saturating_sub(self.applied_index),
            ),
            ("schedules", "Schedules that are not deleted.", self.schedules),
        ];
        for (name, help, value) in gauges {
            let metric = ConstGauge::new(gauge(value));
            metric.encode(encoder.encode_descriptor(name, help, None, MetricType::Gauge)?)?;
        }
        if let Some(ahead) = self.clock_ahead_seconds {
            let help =
                "How far this node's clock is ahead of the median of all nodes' clocks; behind is negative.";
            let metric = ConstGauge::new(ahead);
            metric.encode(encoder.encode_descriptor(
                "clock_ahead_seconds",
                help,
                None,
                MetricType::Gauge,
            )?)?;
        }
        let help = "Bytes of the entries appended to this node's log.";
        let metric = ConstCounter::new(self.log_appended_bytes);
        metric.encode(encoder.encode_descriptor("raft_log_bytes", help, None, MetricType::Counter)?)?;
        let mut runs =
            encoder.encode_descriptor("runs", "Rows of the ledger by state.", None, MetricType::Gauge)?;
        for (state, count) in &self.runs {
            let metric = ConstGauge::new(gauge(*count));
            metric.encode(runs.encode_family(&[("state", *state)])?)?;
        }
        type Count = fn(&(u64, u64)) -> u64;
        let unwell: [(_, _, Count); 2] = [
            ("schedules_overdue", "Schedules with a start that is overdue, by namespace.", |counts| counts.0),
            ("schedules_success_missed", "Schedules that miss a success, by namespace.", |counts| counts.1),
        ];
        for (name, help, count) in unwell {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (namespace, counts) in &self.liveness {
                let metric = ConstGauge::new(gauge(count(counts)));
                metric.encode(family.encode_family(&[("namespace", namespace.as_str())])?)?;
            }
        }
        let (buckets, sum) = &self.log_syncs;
        let count = buckets.iter().map(|(_, count)| count).sum();
        let help = "Duration of each sync of the log to disk.";
        encoder
            .encode_descriptor("log_sync_seconds", help, None, MetricType::Histogram)?
            .encode_histogram::<Label>(*sum, count, buckets, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_has_what_was_counted_and_what_was_sampled() {
        let metrics = Metrics::new();
        metrics.count_rows_created("timer", 3);
        metrics.count_runs_ended("SUCCEEDED", 2);
        metrics.observe_begin(Duration::from_millis(3));
        metrics.set_dispatch_gauges(&DispatchGauges {
            due_backlog: 7,
            pools: BTreeMap::from([("default", (2, 9))]),
            waiting: vec![("default", "catch_up", 6)],
            catch_up_budget: 50,
        });
        metrics.observe_rpc("GetSchedule", "OK", Duration::from_millis(1));
        let sample = Sample {
            committed_index: 12,
            applied_index: 10,
            checkpoint_index: 9,
            purged_index: 8,
            log_appended_bytes: 4096,
            process: Some(ProcessUsage { cpu: Duration::from_millis(1500), resident_bytes: 8192 }),
            runs: BTreeMap::from([("DUE", 4)]),
            clock_ahead_seconds: Some(-0.25),
            log_syncs: (vec![(0.001, 5), (f64::INFINITY, 1)], 0.25),
            ..Sample::default()
        };
        let text = metrics.encode(&sample);
        for line in [
            "belfry_rows_created_total{trigger=\"timer\"} 3",
            "belfry_runs_ended_total{state=\"SUCCEEDED\"} 2",
            "belfry_runs_begun_total 1",
            "belfry_run_lateness_seconds_bucket{le=\"0.0025\"} 0",
            "belfry_run_lateness_seconds_bucket{le=\"0.005\"} 1",
            "belfry_due_backlog 7",
            "belfry_executor_credits{pool=\"default\"} 9",
            "belfry_runs_waiting{pool=\"default\",class=\"catch_up\"} 6",
            "belfry_catch_up_budget 50",
            "belfry_rpc_duration_seconds_count{method=\"GetSchedule\",code=\"OK\"} 1",
            "belfry_raft_apply_lag 2",
            "belfry_raft_checkpoint_index 9",
            "belfry_raft_purged_index 8",
            "belfry_raft_log_bytes_total 4096",
            "process_cpu_seconds_total 1.5",
            "process_resident_memory_bytes 8192",
            "belfry_runs{state=\"DUE\"} 4",
            "belfry_clock_ahead_seconds -0.25",
            "belfry_log_sync_seconds_bucket{le=\"0.001\"} 5",
            "belfry_log_sync_seconds_bucket{le=\"+Inf\"} 6",
            "belfry_log_sync_seconds_sum 0.25",
        ] {
            assert!(text.lines().any(|found| found == line), "no line {line} in\n{text}");
        }
        assert!(text.ends_with("# EOF\n"));
        metrics.clear_leader_gauges();
        assert!(!metrics.encode(&Sample::default()).contains("pool="));
    }

    #[test]
    fn every_metric_has_help_and_a_conventional_name() {
        let process = Some(ProcessUsage { cpu: Duration::ZERO, resident_bytes: 0 });
        let text = Metrics::new().encode(&Sample { process, ..Sample::default() });
        let described: Vec<_> = text.lines().filter_map(|line| line.strip_prefix("# HELP ")).collect();
        assert!(described.len() > 15, "{described:?}");
        for line in described {
            let (name, help) = line.split_once(' ').unwrap();
            let is_ours = name.starts_with("belfry_") || name.starts_with("process_");
            assert!(is_ours && !name.ends_with("_total"), "{name}");
            assert!(help.ends_with('.') && !help.ends_with(".."), "{name}: {help}");
        }
    }
}
