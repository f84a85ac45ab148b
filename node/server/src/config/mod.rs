//! The configuration of a node: one TOML file, environment variables and flags over it.
//!
//! ```text
//!   default ◄── file (--config) ◄── environment (BELFRY_SECTION__KEY) ◄── flags     the right one wins
//! ```
//! An environment variable is a key of the configuration if and only if it begins with `BELFRY_` and has two underscores
//! between section and key: `BELFRY_NODE__ID=2` is `node.id`. Every other `BELFRY_*` variable belongs to somebody else and
//! is ignored: to the command line (`BELFRY_CONFIG`, `BELFRY_ENDPOINT`, `BELFRY_NAMESPACE`, `BELFRY_OUTPUT`, …), to a command
//! that an executor runs (`BELFRY_RUN`, …), or to Kubernetes, which sets `BELFRY_SERVICE_HOST` and the like for a service
//! named `belfry`. That is why one underscore is not enough: `BELFRY_NODE_PORT` would be both.
//!
//! Invariants:
//! - CONFIG-1: a key that does not exist is an error that names the key and where it stands, never ignored.
//! - CONFIG-2: a [`Config`] that [`Config::load`] gave out has passed every check.

mod check;
mod load;
mod text;

pub use load::{ConfigError, LoadOptions, Problem, Provenance};
pub use text::Period;

use belfry_core::retention::Retention;
use serde::{Deserialize, Serialize};

/// A section of the configuration: a struct, its defaults and its documentation from one description.
macro_rules! section {
    (
        $(#[doc = $about:literal])+
        $name:ident { $( $(#[doc = $doc:literal])+ $field:ident: $type:ty = $default:expr, )+ }
    ) => {
        $(#[doc = $about])+
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
        #[serde(deny_unknown_fields)]
        pub struct $name { $( $(#[doc = $doc])+ pub $field: $type, )+ }

        impl Default for $name {
            fn default() -> Self {
                Self { $( $field: $default, )+ }
            }
        }

        impl $name {
            /// What the section is for.
            const ABOUT: &'static str = concat!($($about),+);
            /// What each field is for.
            const FIELDS: &'static [(&'static str, &'static str)] =
                &[$( (stringify!($field), concat!($($doc),+)), )+];
        }
    };
}

/// Everything that can be set. See the module's documentation for where values come from.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// This node.
    pub node: Node,
    /// The cluster that it belongs to.
    pub cluster: Cluster,
    /// Where it listens.
    pub listen: Listen,
    /// What it writes to standard error.
    pub log: Log,
    /// Consensus and storage.
    pub raft: Raft,
    /// How far clocks may differ.
    pub clock: Clock,
    /// What clients may ask for.
    pub limits: Limits,
    /// What the ledger keeps.
    pub retention: Retain,
    /// How runs reach executors.
    pub dispatch: Dispatch,
    /// Who is told what goes wrong.
    pub webhooks: Webhooks,
    /// What says that all is well.
    pub liveness: Liveness,
}

section! {
    /// This node: the only section that differs between the nodes of a cluster.
    Node {
        /// Its number in `cluster.members`. May be left out by a node that is alone.
        id: u64 = 0,
        /// The folder of its log and its state. A node that loses it must come back under a new id.
        data: String = "data".to_owned(),
    }
}

section! {
    /// The cluster: the same on all of its nodes.
    Cluster {
        /// For people. What keeps the nodes of two clusters apart is an id that each makes when it begins.
        name: String = "belfry".to_owned(),
        /// The node with the lowest id, if its folder is empty and no member knows of a cluster, makes a new one of all members. A node that is alone does so in any case.
        bootstrap: bool = false,
        /// All nodes, with their addresses as others reach them: `[{ id = 1, api = "host:7400", peer = "host:7401" }, …]`. Empty: this node is alone.
        members: Vec<Member> = Vec::new(),
    }
}

/// One node of a cluster, as others reach it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Member {
    /// Its number: unique, never 0, never given to another disk.
    pub id: u64,
    /// `host:port` of its API.
    pub api: String,
    /// `host:port` of its node-to-node service.
    pub peer: String,
}

section! {
    /// Where this node listens. By default on all interfaces where `cluster.members` is set, because a node that only its own host reaches is no member and the probes of an orchestrator come from outside; and on the loopback interface where it is alone, because this release asks nobody for a password.
    Listen {
        /// `address:port` for clients and executors (gRPC).
        api: String = "127.0.0.1:7400".to_owned(),
        /// `address:port` for other nodes (gRPC).
        peer: String = "127.0.0.1:7401".to_owned(),
        /// `address:port` for health and metrics (HTTP).
        admin: String = "127.0.0.1:7402".to_owned(),
    }
}

impl Listen {
    fn on_all_interfaces() -> Self {
        let open = |text: String| text.replace("127.0.0.1", "0.0.0.0");
        let Self { api, peer, admin } = Self::default();
        Self { api: open(api), peer: open(peer), admin: open(admin) }
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// For machines: one object per line.
    Json,
}

section! {
    /// What a node writes to standard error.
    Log {
        /// `text` or `json`.
        format: LogFormat = LogFormat::Text,
        /// Least level, or a filter such as `info,belfry_server=debug`. openraft would warn of a node that is away ten times a second; the leader says it once.
        level: String = "info,openraft=error".to_owned(),
    }
}

section! {
    /// Consensus and storage. The defaults elect a new leader about a second after a crash; a planned hand-over takes some 20 ms with any of them.
    Raft {
        /// How often the leader says that it is there, in milliseconds.
        heartbeat_ms: u64 = 100,
        /// How long a voter waits at least, once the leader counts as lost, before it stands for election, in milliseconds.
        election_min_ms: u64 = 300,
        /// How long a leader may be silent before it counts as lost, and how long a voter waits at most then, in milliseconds.
        election_max_ms: u64 = 500,
        /// How often what changed is written to the embedded store, so that the log before it can go: earlier when much has, and up to
        /// 15 seconds later in a storm. What changes several times in between is written once; a restart applies the log since the last time.
        checkpoint_interval: Period = Period::from_secs(30),
        /// Log that is kept behind the last checkpoint, so that a node that was away for a moment needs no snapshot.
        log_keep_mib: u64 = 32,
    }
}

section! {
    /// The clocks of the nodes, which compare them every second. Nothing is fired earlier than `offset_max` by the median of the clocks, and a leader whose clock differs from it by more hands leadership to a node whose clock does not.
    Clock {
        /// How far a clock may be ahead or behind.
        offset_max: Period = Period::from_millis(500),
    }
}

section! {
    /// What clients and executors may ask for. Beyond it they are refused, in words that name the limit.
    Limits {
        /// Payload of a schedule: its encoded target.
        payload_bytes_max: usize = 256 * 1024,
        /// Namespaces, schedules, pools, handlers, actors.
        name_bytes_max: usize = 128,
        /// Labels of a schedule.
        labels_max: usize = 64,
        /// Key, and value, of one label.
        label_bytes_max: usize = 256,
        /// Description of a schedule, reason of a pause.
        description_bytes_max: usize = 4096,
        /// Shortest lease that a schedule may ask for: at least two keep-alives, because one may be lost.
        lease_min: Period = Period::from_secs(2),
        /// One gRPC message, in either direction.
        message_bytes_max: usize = 16 * 1024 * 1024,
        /// Items on a page of a list.
        page_size_max: usize = 1000,
        /// Executors connected to the cluster.
        executors_max: usize = 10_000,
        /// Slots of one executor.
        slots_max: u32 = 10_000,
        /// Calls that this node works on at once, streams of executors not counted. More are refused and may be tried again.
        request_concurrency_max: usize = 4096,
        /// Connections of clients and executors to this node. Beyond it, whoever comes takes the place of the one that has been idle for longest. Never more than half of the files that the process may open.
        connections_max: usize = 16_384,
        /// Streams of changes (WatchRuns, WatchSchedules) that this node serves at once.
        watchers_max: usize = 256,
        /// Longest time for one call; clients may ask for less.
        request_timeout_max: Period = Period::from_secs(60),
    }
}

section! {
    /// What the ledger keeps. Whichever limit is hit first lets the oldest rows go; the last success and the last failure of a schedule stay, and so does everything that has not ended.
    Retain {
        /// Age of ended rows.
        rows_for: Period = Period::from_secs(30 * 24 * 3600),
        /// Ended rows of one schedule.
        rows_per_schedule_max: u64 = 1000,
        /// Rows in all.
        rows_max: usize = 1_000_000,
        /// Messages and output of runs, in all.
        reports_bytes_max: u64 = 256 * 1024 * 1024,
        /// How long the answer to a request id is remembered.
        answers_for: Period = Period::from_secs(3600),
    }
}

section! {
    /// How runs reach executors.
    Dispatch {
        /// An offer that is not begun for so long goes to another executor.
        offer_timeout: Period = Period::from_secs(5),
        /// Catch-up and backfill runs started in one second, over all pools. Runs that are on time have no such limit and go first.
        catch_up_starts_per_second: u32 = 50,
        /// How often executors are asked to give a sign of life.
        keep_alive: Period = Period::from_secs(1),
        /// Fires in one log entry.
        fire_batch_max: usize = 4096,
        /// Begins in one log entry.
        begin_batch_max: usize = 4096,
        /// Completions in one log entry.
        complete_batch_max: usize = 4096,
    }
}

section! {
    /// Whom the leader tells what goes wrong, by a signed POST. See docs/liveness.md.
    Webhooks {
        /// `[{ url = "https://…", events = ["run.failed", …], secret_file = "/etc/belfry/hook.secret" }, …]`. No events: all of them.
        endpoints: Vec<Webhook> = Vec::new(),
        /// Longest time for one request.
        timeout: Period = Period::from_secs(10),
        /// How long an event is tried again before it is given up.
        retry_for: Period = Period::from_secs(3600),
        /// Events that wait for one endpoint. More are dropped, counted and logged.
        queue_max: usize = 1000,
    }
}

/// An address that is told of events.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Webhook {
    /// `http://` or `https://`.
    pub url: String,
    /// Kinds of events; none: all.
    #[serde(default)]
    pub events: Vec<String>,
    /// A file with the secret that requests are signed with. A file, so that no configuration that is shown has it.
    #[serde(default)]
    pub secret_file: String,
}

section! {
    /// A dead man's switch: an address that hears of the cluster only while it works.
    Liveness {
        /// `http://` or `https://`; empty: nobody is pinged.
        ping_url: String = String::new(),
        /// How often the leader asks for it with GET.
        ping_interval: Period = Period::from_secs(60),
        /// No ping while an instant older than this has no row.
        row_grace: Period = Period::from_secs(60),
    }
}

impl Config {
    /// Reads the configuration from everywhere, checks it, and says where each value comes from.
    pub fn load(options: LoadOptions) -> Result<(Config, Provenance), ConfigError> {
        load::load(options)
    }

    /// The effective configuration as TOML, each line with its origin: what `--print-config` shows.
    pub fn render_with_provenance(&self, provenance: &Provenance) -> String {
        text::render(self, &|key| format!("# from {}", provenance.origin(key)))
    }

    /// All keys with their defaults and what they mean, as TOML: the reference of the documentation.
    pub fn reference() -> String {
        text::reference()
    }

    /// Whether no other nodes were named.
    pub fn is_alone(&self) -> bool {
        self.cluster.members.is_empty()
    }

    /// All nodes of the cluster, this one included. A node that is alone reaches itself where it listens.
    pub fn members(&self) -> Vec<Member> {
        if !self.is_alone() {
            return self.cluster.members.clone();
        }
        let reach = |listen: &str| listen.replace("0.0.0.0", "127.0.0.1").replace("[::]", "[::1]");
        vec![Member { id: self.node.id, api: reach(&self.listen.api), peer: reach(&self.listen.peer) }]
    }

    /// Whether this node is the one that makes a new cluster where there is none.
    pub fn bootstraps(&self) -> bool {
        let lowest = self.cluster.members.iter().map(|member| member.id).min();
        self.is_alone() || (self.cluster.bootstrap && lowest == Some(self.node.id))
    }
}

impl Retain {
    /// In the words of the core.
    pub fn retention(&self) -> Retention {
        Retention {
            rows_for: self.rows_for.0,
            rows_per_schedule_max: self.rows_per_schedule_max,
            rows_max: self.rows_max,
            reports_bytes_max: self.reports_bytes_max,
            answers_for: self.answers_for.0,
        }
    }
}

/// A section with its description and the descriptions of its fields.
struct Section {
    name: &'static str,
    about: &'static str,
    fields: &'static [(&'static str, &'static str)],
}

/// All sections, in the order in which they are shown.
const SECTIONS: [Section; 11] = [
    Section { name: "node", about: Node::ABOUT, fields: Node::FIELDS },
    Section { name: "cluster", about: Cluster::ABOUT, fields: Cluster::FIELDS },
    Section { name: "listen", about: Listen::ABOUT, fields: Listen::FIELDS },
    Section { name: "log", about: Log::ABOUT, fields: Log::FIELDS },
    Section { name: "raft", about: Raft::ABOUT, fields: Raft::FIELDS },
    Section { name: "clock", about: Clock::ABOUT, fields: Clock::FIELDS },
    Section { name: "limits", about: Limits::ABOUT, fields: Limits::FIELDS },
    Section { name: "retention", about: Retain::ABOUT, fields: Retain::FIELDS },
    Section { name: "dispatch", about: Dispatch::ABOUT, fields: Dispatch::FIELDS },
    Section { name: "webhooks", about: Webhooks::ABOUT, fields: Webhooks::FIELDS },
    Section { name: "liveness", about: Liveness::ABOUT, fields: Liveness::FIELDS },
];

#[cfg(test)]
mod tests;
