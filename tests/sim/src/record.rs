//! What happened: the trace, what executors started, which faults there were, what was violated. One per simulation, shared by all hosts.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use belfry_core::UnixMillis;
use belfry_server::raft::{Leadership, Replica};

/// Violations that are kept: one may repeat itself with every look.
const VIOLATIONS_MAX: usize = 50;

/// The record. Clones are the same one.
#[derive(Clone, Default)]
pub struct Record(Arc<Mutex<Inner>>);

/// Somebody holds the record.
#[derive(Clone, Copy, Debug)]
pub struct Busy;

/// A start of user code, as its executor saw it: the truth that every promise about starts is held against.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Start {
    /// The run's name.
    pub run: String,
    /// Which attempt of it.
    pub attempt: u32,
    /// The fencing token of its lease.
    pub token: u64,
    /// Whose.
    pub executor: String,
    /// When, in simulated time since the beginning.
    pub at: Duration,
    /// A replica that has applied as much knows of its lease.
    pub index: u64,
}

/// An end of user code that its executor had to report.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct End {
    /// The host of the executor, and which of its lives it was.
    pub life: (String, u64),
    /// When.
    pub at: Duration,
}

/// What is in it.
#[derive(Default)]
pub struct Inner {
    hash: u64,
    lines: u64,
    /// The whole trace; only kept when somebody wants to read it.
    kept: Option<String>,
    /// Since the beginning, set by the loop.
    pub now: Duration,
    /// The true time, likewise.
    pub true_now: UnixMillis,
    /// As far as any replica has ever applied the log.
    pub newest_index: u64,
    /// Every start of user code, in order.
    pub starts: Vec<Start>,
    /// Runs that were ended before they began, or between two attempts, and when somebody was told so.
    pub cancelled: BTreeMap<String, Duration>,
    /// Ends of user code, by the token of its lease.
    pub ends: BTreeMap<u64, End>,
    /// Which life each host of a node or an executor is in, from 1 on; while nobody lives there it is the last one.
    pub lives: BTreeMap<String, u64>,
    /// Since when nothing is broken any more.
    pub healed_at: Option<Duration>,
    /// How often what happened.
    pub counts: BTreeMap<&'static str, u64>,
    /// What must not be, first come first.
    pub violations: Vec<String>,
    /// The replicas of the nodes that run.
    pub replicas: BTreeMap<u64, Replica>,
    /// When a node began to lead.
    pub reigns: Vec<Duration>,
    /// Nodes whose process has ended by itself, and why.
    pub exited: BTreeMap<String, String>,
    /// Where the simulation is.
    pub phase: Phase,
    /// Links that are slow.
    pub slow_links: usize,
    /// Users that have done what they wanted.
    pub users_done: usize,
}

/// The phases, in order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub enum Phase {
    /// Things break; only safety is asked for.
    #[default]
    Safety,
    /// Nothing breaks any more, users finish what they are about.
    Heal,
    /// Everything must come to its end within the bound.
    Progress,
}

impl Record {
    /// One that keeps the text of its trace, too.
    #[must_use]
    pub fn keeping_text() -> Self {
        let record = Self::default();
        record.lock().kept = Some(String::new());
        record
    }

    /// The record itself. Nobody holds it across an await.
    pub fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The record, unless somebody holds it: for the last words of a process.
    pub fn try_lock(&self) -> Result<MutexGuard<'_, Inner>, Busy> {
        self.0.try_lock().map_err(|_| Busy)
    }

    /// Says what happens on a host.
    pub fn trace(&self, what: impl AsRef<str>) {
        let at = turmoil::sim_elapsed();
        self.lock().trace_at(at, what.as_ref());
    }

    /// Counts something that a simulation must have seen.
    pub fn count(&self, what: &'static str) {
        *self.lock().counts.entry(what).or_default() += 1;
    }

    /// A node's process has ended by itself.
    pub fn exited(&self, node: u64, why: &str) {
        let mut record = self.lock();
        if let Some(replica) = record.replicas.remove(&node) {
            // What it has applied may be known elsewhere before anybody looks.
            record.newest_index = record.newest_index.max(replica.read_at(|at, _| at.index));
        }
        record.exited.insert(crate::node::host(node), why.to_owned());
    }

    /// Says what must not be.
    pub fn violation(&self, invariant: &str, what: impl AsRef<str>) {
        self.lock().violation(invariant, what.as_ref());
    }
}

impl Inner {
    /// Adds a line to the trace.
    pub fn trace_at(&mut self, at: Option<Duration>, what: &str) {
        let at = at.unwrap_or(self.now);
        let line = format!("{:>10.3} {what}\n", at.as_secs_f64());
        // FNV-1a, over the whole trace.
        let start = if self.lines == 0 { 0xCBF2_9CE4_8422_2325 } else { self.hash };
        self.hash = line
            .bytes()
            .fold(start, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01B3));
        self.lines += 1;
        if let Some(kept) = &mut self.kept {
            kept.push_str(&line);
        }
    }

    /// Says what must not be.
    pub fn violation(&mut self, invariant: &str, what: &str) {
        let said = format!("{invariant}: {what}");
        if self.violations.len() < VIOLATIONS_MAX && !self.violations.contains(&said) {
            let now = self.now;
            self.trace_at(Some(now), &format!("VIOLATION {said}"));
            self.violations.push(said);
        }
    }

    /// The nodes that say that they lead, and in which term.
    pub fn leaders(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        self.replicas.iter().filter_map(|(node, replica)| match &*replica.leadership().borrow() {
            Leadership::Leader { term } => Some((*node, *term)),
            Leadership::Follower { .. } => None,
        })
    }

    /// The hash of the trace, and its length.
    #[must_use]
    pub fn fingerprint(&self) -> (u64, u64) {
        (self.hash, self.lines)
    }

    /// The trace, if it was kept.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        self.kept.as_deref()
    }

    /// The counts as one line.
    #[must_use]
    pub fn counted(&self) -> String {
        let mut line = String::new();
        for (what, count) in &self.counts {
            let _ = write!(line, "{}{what}={count}", if line.is_empty() { "" } else { " " });
        }
        line
    }
}
