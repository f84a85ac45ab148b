//! The executor runtime: takes runs for the handlers that it offers, and reports how they ended.
//!
//! ```text
//!  Executor::run ── runtime (one loop, owns everything)
//!                     ├── link      the connection: dials, listens, keeps alive, reconnects
//!                     ├── leases    what is held: offers, leases, unacknowledged completions (pure)
//!                     └── attempt   one per run: user code, its timeout, its panic
//! ```
//!
//! - EXEC-1: user code starts only after the lease was answered with a fencing token, and never twice for one
//!   (run, attempt) in one process, however often it is granted or answered.
//! - EXEC-2: whatever was asked or ended and is not answered is said again after every reconnect.
//! - EXEC-3: losing the connection stops no run: what runs goes on and is reported later.
//! - EXEC-4: everything held is bounded by the slots; completions that are not acknowledged hold back credit.
//! - EXEC-5: a lease that may be lost by the time its answer is read (this process stood still) is handed back unstarted.
//! - EXEC-6: a cancel reaches the lease whose token it names and no other; a run that is cancelled before it begins is not begun.

mod attempt;
mod context;
mod deadline;
mod handler;
mod leases;
#[cfg(test)]
mod leases_tests;
mod line;
mod link;
mod output;
mod progress;
mod recent;
mod runtime;
mod slots;
mod stop;
mod watched;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::address::{BadAddress, Directory, parse_all};
use crate::random;
use crate::transport::Dialer;

pub use context::{RunContext, RunName};
pub use handler::{Handler, Outcome};
pub use output::{OUTPUT_TAIL_BYTES, OutputTail};
pub use stop::Cancellation;

use handler::AnyHandler;

/// Default of [`ExecutorBuilder::grace`]: long enough for most runs that have begun.
const GRACE: Duration = Duration::from_secs(30);
/// Limit of connecting and being welcomed. Dialling another node costs less than waiting for a hanging one.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Most slots of one executor: what it holds must fit into one Hello.
const SLOTS_MAX: u32 = 65_536;
/// Limits of the labels of one executor: those of the contract.
const LABELS_MAX: usize = 64;
const LABEL_BYTES_MAX: usize = 128;

/// An executor, ready to run. One value is one executor to the cluster: it has an id of its own.
pub struct Executor {
    config: Config,
    directory: Directory,
}

/// What the runtime needs to know.
pub(crate) struct Config {
    executor_id: String,
    display_name: String,
    pool: String,
    slots: u32,
    handlers: HashMap<String, Arc<dyn AnyHandler>>,
    handler_slots: BTreeMap<String, u32>,
    labels: BTreeMap<String, String>,
    grace: Duration,
    abort_after: Duration,
    connect_timeout: Duration,
    dialer: Dialer,
}

impl Executor {
    /// A builder with the defaults: pool `default`, one slot, 30 s of grace.
    #[must_use]
    pub fn builder() -> ExecutorBuilder {
        ExecutorBuilder::default()
    }

    /// The id by which the cluster knows this executor; unique, and never used again.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.config.executor_id
    }

    /// Executes runs until `shutdown` completes, then drains: no more runs are taken, running ones get the grace period,
    /// then their cancellation token, and all completions are delivered.
    ///
    /// When an operator drains it from the cluster's side it takes no more runs either, and ends with its last one, however
    /// long that takes; a shutdown meanwhile gives the rest the grace period.
    ///
    /// Keeps reconnecting for as long as it takes; an error is a refusal that trying again cannot mend.
    pub async fn run(self, shutdown: impl Future<Output = ()> + Send) -> Result<Summary, ExecutorError> {
        runtime::Runtime::new(self.config, self.directory).run(shutdown).await
    }
}

impl fmt::Debug for Executor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Executor")
            .field("executor_id", &self.config.executor_id)
            .field("pool", &self.config.pool)
            .field("slots", &self.config.slots)
            .finish_non_exhaustive()
    }
}

/// Describes an [`Executor`].
#[derive(Default)]
pub struct ExecutorBuilder {
    endpoints: Vec<String>,
    display_name: Option<String>,
    pool: Option<String>,
    slots: Option<u32>,
    handlers: Vec<(String, Arc<dyn AnyHandler>)>,
    handler_slots: Vec<(String, u32)>,
    labels: Vec<(String, String)>,
    grace: Option<Duration>,
    abort_after: Option<Duration>,
    connect_timeout: Option<Duration>,
    dialer: Dialer,
}

impl ExecutorBuilder {
    /// Nodes as `host:port` or `http://host:port`. Any node takes the stream and passes it to the leader.
    #[must_use]
    pub fn endpoints<T: Into<String>>(mut self, endpoints: impl IntoIterator<Item = T>) -> Self {
        self.endpoints.extend(endpoints.into_iter().map(Into::into));
        self
    }

    /// The pool whose runs it takes. Default: `default`.
    #[must_use]
    pub fn pool(mut self, pool: impl Into<String>) -> Self {
        self.pool = Some(pool.into());
        self
    }

    /// How many runs it takes at once, from 1 to 65 536. Default: 1.
    #[must_use]
    pub fn slots(mut self, slots: u32) -> Self {
        self.slots = Some(slots);
        self
    }

    /// A name for people. Default: host and process.
    #[must_use]
    pub fn display_name(mut self, name: impl Into<String>) -> Self {
        self.display_name = Some(name.into());
        self
    }

    /// Offers a handler under this name: runs of schedules with this handler as their target come here.
    #[must_use]
    pub fn handler(mut self, name: impl Into<String>, handler: impl Handler) -> Self {
        self.handlers.push((name.into(), Arc::new(handler)));
        self
    }

    /// The same, and the executor takes no more than `slots` of its runs at once, of all the slots that it has.
    ///
    /// ```
    /// # use belfry_sdk::executor::{Executor, Outcome, RunContext};
    /// # async fn invoice(_: RunContext) -> Outcome { Outcome::Succeeded }
    /// # async fn import(_: RunContext) -> Outcome { Outcome::Succeeded }
    /// let executor = Executor::builder()
    ///     .endpoints(["belfry-0:7400"])
    ///     .slots(16)
    ///     .handler("invoice", invoice)
    ///     // It needs much memory.
    ///     .handler_with_slots("import", 2, import)
    ///     .label("zone", "eu-1")
    ///     .build()?;
    /// # Ok::<(), belfry_sdk::executor::ExecutorError>(())
    /// ```
    #[must_use]
    pub fn handler_with_slots(self, name: impl Into<String>, slots: u32, handler: impl Handler) -> Self {
        let name = name.into();
        self.handler_slots(name.clone(), slots).handler(name, handler)
    }

    /// How many runs of this handler it takes at once: from 1 to all of its slots, which is the default. For handlers that
    /// somebody else offers.
    #[must_use]
    pub fn handler_slots(mut self, name: impl Into<String>, slots: u32) -> Self {
        self.handler_slots.push((name.into(), slots));
        self
    }

    /// A label, by which schedules choose their executors. At most 64; keys and values of at most 128 bytes, keys not empty.
    #[must_use]
    pub fn label(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.labels.push((key.into(), value.into()));
        self
    }

    /// How long running runs may go on after shutdown was asked for, before they are cancelled. Default: 30 s.
    ///
    /// Stopping and reporting them takes up to [`ExecutorBuilder::abort_after`] and 6 s more: whoever kills the process
    /// (Kubernetes does after 30 s by default) must wait for the sum, or the runs become UNKNOWN.
    #[must_use]
    pub fn grace(mut self, grace: Duration) -> Self {
        self.grace = Some(grace);
        self
    }

    /// How long a handler may go on after it was cancelled (by its attempt timeout, or at the end of the grace period)
    /// before its future is dropped. Default: 10 s, which leaves the stock command handler room for SIGTERM and SIGKILL.
    #[must_use]
    pub fn abort_after(mut self, abort_after: Duration) -> Self {
        self.abort_after = Some(abort_after);
        self
    }

    /// Limit of connecting to a node and being welcomed. Default: 5 s. The connection itself is waited for 2 s at most, whatever the
    /// limit: then the next node is asked.
    #[must_use]
    pub fn connect_timeout(mut self, timeout: Duration) -> Self {
        self.connect_timeout = Some(timeout);
        self
    }

    /// How nodes are dialled. Default: TCP.
    #[must_use]
    pub fn dialer(mut self, dialer: Dialer) -> Self {
        self.dialer = dialer;
        self
    }

    /// Checks the description.
    pub fn build(self) -> Result<Executor, ExecutorError> {
        let directory = Directory::new(parse_all(&self.endpoints)?).ok_or(ExecutorError::NoEndpoints)?;
        let slots = self.slots.unwrap_or(1);
        if !(1..=SLOTS_MAX).contains(&slots) {
            return Err(ExecutorError::Slots { slots });
        }
        let mut handlers = HashMap::new();
        for (name, handler) in self.handlers {
            if name.is_empty() {
                return Err(ExecutorError::UnnamedHandler);
            }
            if handlers.insert(name.clone(), handler).is_some() {
                return Err(ExecutorError::DuplicateHandler { name });
            }
        }
        if handlers.is_empty() {
            return Err(ExecutorError::NoHandlers);
        }
        let handler_slots = check_handler_slots(self.handler_slots, slots, &handlers)?;
        let config = Config {
            executor_id: random::ulid().to_string(),
            display_name: self.display_name.unwrap_or_else(host_and_process),
            pool: self.pool.unwrap_or_else(|| "default".to_owned()),
            slots,
            handlers,
            handler_slots,
            labels: check_labels(self.labels)?,
            grace: self.grace.unwrap_or(GRACE),
            abort_after: self.abort_after.unwrap_or(attempt::ABORT_AFTER),
            connect_timeout: self.connect_timeout.unwrap_or(CONNECT_TIMEOUT),
            dialer: self.dialer,
        };
        Ok(Executor { config, directory })
    }
}

fn check_handler_slots(
    given: Vec<(String, u32)>,
    all: u32,
    handlers: &HashMap<String, Arc<dyn AnyHandler>>,
) -> Result<BTreeMap<String, u32>, ExecutorError> {
    let mut checked = BTreeMap::new();
    for (name, slots) in given {
        if !handlers.contains_key(&name) {
            return Err(ExecutorError::SlotsOfNoHandler { name });
        }
        if !(1..=all).contains(&slots) {
            return Err(ExecutorError::HandlerSlots { name, slots, all });
        }
        // Said again: the last word counts, as with all other settings.
        checked.insert(name, slots);
    }
    Ok(checked)
}

fn check_labels(given: Vec<(String, String)>) -> Result<BTreeMap<String, String>, ExecutorError> {
    let mut checked = BTreeMap::new();
    for (key, value) in given {
        if !(1..=LABEL_BYTES_MAX).contains(&key.len()) || value.len() > LABEL_BYTES_MAX {
            return Err(ExecutorError::Label { key, value });
        }
        if checked.len() == LABELS_MAX && !checked.contains_key(&key) {
            return Err(ExecutorError::TooManyLabels { key });
        }
        if checked.insert(key.clone(), value).is_some() {
            return Err(ExecutorError::DuplicateLabel { key });
        }
    }
    Ok(checked)
}

impl fmt::Debug for ExecutorBuilder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExecutorBuilder")
            .field("endpoints", &self.endpoints)
            .field("pool", &self.pool)
            .field("slots", &self.slots)
            .finish_non_exhaustive()
    }
}

/// What an executor did from its start to its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Summary {
    /// Runs whose user code was started.
    pub started: u64,
    /// Of those, the ones that succeeded.
    pub succeeded: u64,
    /// Of those, the ones that failed.
    pub failed: u64,
    /// Of those, the ones that ran into their attempt timeout.
    pub timed_out: u64,
    /// Runs that were cancelled and ended for it. Those of them that had not begun are not among the started ones.
    pub cancelled: u64,
    /// Leases handed back because user code did not begin.
    pub not_started: u64,
    /// Offers declined.
    pub declined: u64,
    /// Times that a leader welcomed it.
    pub sessions: u64,
    /// Whether it ended because the cluster asked it to drain, rather than by a shutdown alone.
    pub drain_requested: bool,
    /// Leases and completions still held when it stopped: the cluster has not heard how these runs ended.
    pub undelivered: u64,
}

/// Why an executor cannot be built, or cannot go on.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExecutorError {
    /// No endpoint was given.
    #[error("no endpoint given: name at least one node as host:port")]
    NoEndpoints,
    /// An endpoint is not an address.
    #[error("{text:?} is not the address of a node ({cause}): write host:port or http://host:port")]
    BadEndpoint {
        /// The endpoint as given.
        text: String,
        /// What is wrong with it.
        cause: String,
    },
    /// No handler was given.
    #[error("no handler given: an executor offers at least one")]
    NoHandlers,
    /// A handler without a name.
    #[error("a handler has an empty name: give it the name that schedules use as their target")]
    UnnamedHandler,
    /// Two handlers of one name.
    #[error("two handlers are named {name:?}: give each its own name")]
    DuplicateHandler {
        /// The name.
        name: String,
    },
    /// A number of slots out of range.
    #[error("{slots} slots are out of range: choose from 1 to 65536")]
    Slots {
        /// The number as given.
        slots: u32,
    },
    /// Slots of a handler out of range.
    #[error(
        "{slots} slots of the handler {name:?} are out of range: choose from 1 to {all}, the slots of the executor"
    )]
    HandlerSlots {
        /// The handler.
        name: String,
        /// The number as given.
        slots: u32,
        /// The slots of the executor.
        all: u32,
    },
    /// Slots of a handler that is not offered.
    #[error("there are slots for the handler {name:?}, and no handler of that name")]
    SlotsOfNoHandler {
        /// The name.
        name: String,
    },
    /// A label beyond its limits.
    #[error("the label {key:?}={value:?} cannot be used: its key has 1 to 128 bytes, its value at most 128")]
    Label {
        /// Its key.
        key: String,
        /// Its value.
        value: String,
    },
    /// More labels than an executor may have.
    #[error("the label {key:?} is one too many: an executor has at most 64")]
    TooManyLabels {
        /// The key of the first one too many.
        key: String,
    },
    /// Two labels of one key.
    #[error("two labels have the key {key:?}: give one of them")]
    DuplicateLabel {
        /// The key.
        key: String,
    },
    /// The cluster does not take this executor.
    #[error("the cluster refuses this executor: {message}; correct its settings and start it again")]
    Refused {
        /// What the node said.
        message: String,
        /// The status itself.
        #[source]
        status: Box<tonic::Status>,
    },
}

impl From<BadAddress> for ExecutorError {
    fn from(bad: BadAddress) -> Self {
        Self::BadEndpoint { text: bad.text, cause: bad.cause.to_owned() }
    }
}

/// `host/4711`, as far as the host's name is known.
fn host_and_process() -> String {
    let host = std::env::var("HOSTNAME")
        .or_else(|_| std::fs::read_to_string("/proc/sys/kernel/hostname"))
        .unwrap_or_default();
    let host = host.trim();
    format!("{}/{}", if host.is_empty() { "unknown" } else { host }, std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complete() -> ExecutorBuilder {
        Executor::builder().endpoints(["a:1"]).handler("h", |_: RunContext| async { Outcome::Succeeded })
    }

    #[test]
    fn two_executors_have_two_ids() {
        assert_ne!(complete().build().unwrap().id(), complete().build().unwrap().id());
    }

    #[test]
    fn says_what_is_missing() {
        let message = |builder: ExecutorBuilder| builder.build().unwrap_err().to_string();
        assert!(message(Executor::builder()).starts_with("no endpoint given"));
        assert!(message(Executor::builder().endpoints(["a:1"])).starts_with("no handler given"));
        assert!(message(complete().endpoints(["nowhere"])).contains("it has no port"));
        assert!(message(complete().slots(0)).starts_with("0 slots"));
        let twice = complete().handler("h", |_: RunContext| async { Outcome::Succeeded });
        assert!(message(twice).starts_with("two handlers are named \"h\""));
    }

    #[test]
    fn slots_of_a_handler_are_a_part_of_all() {
        let message = |name: &str, slots| {
            complete()
                .slots(4)
                .handler_slots(name, slots)
                .build()
                .map(|_| ())
                .map_err(|error| error.to_string())
        };
        assert_eq!(message("h", 4), Ok(()));
        for slots in [0, 5] {
            let words = format!("{slots} slots of the handler \"h\" are out of range: choose from 1 to 4");
            assert!(message("h", slots).unwrap_err().starts_with(&words));
        }
        let words = "there are slots for the handler \"other\", and no handler of that name";
        assert_eq!(message("other", 1).unwrap_err(), words);
    }

    #[test]
    fn a_label_beyond_the_limits_is_named() {
        let message =
            |builder: ExecutorBuilder| builder.build().map(|_| ()).map_err(|error| error.to_string());
        let limit = "x".repeat(128);
        assert_eq!(message(complete().label(limit.clone(), limit.clone())), Ok(()));
        for (key, value) in [("", "v"), ((limit.clone() + "x").as_str(), "v"), ("k", (limit + "x").as_str())]
        {
            let words = message(complete().label(key, value)).unwrap_err();
            assert!(words.starts_with(&format!("the label {key:?}={value:?} cannot be used")), "{words}");
        }
        let twice = message(complete().label("k", "1").label("k", "1")).unwrap_err();
        assert!(twice.starts_with("two labels have the key \"k\""), "{twice}");
        let many = (0..65).fold(complete(), |builder, number| builder.label(format!("key-{number}"), ""));
        assert!(message(many).unwrap_err().starts_with("the label \"key-64\" is one too many"));
    }
}
