//! What must hold: one file per invariant, named by its id.
//!
//! Most are held against the replicas' states between two steps of the simulation, and against what executors wrote down of what they
//! started; API-1 and API-2 are judged where the answers arrive, by the users.

pub mod api_1;
pub mod api_2;
mod apply_1;
pub mod catch_1;
mod clock_1;
mod due_1;
mod lease;
mod ledger_1;
mod ledger_2;
mod run_1;
mod run_2;
mod run_3;
mod run_4;
mod sdk_4;

use std::collections::BTreeMap;
use std::time::Duration;

use belfry_core::{Run, RunId, State, UnixMillis};
use belfry_server::api::names;
use belfry_server::raft::Replica;

use crate::clock::SimClock;
use crate::record::{Phase, Record, Start};

/// One replica at one moment.
struct Look<'a> {
    /// Whose.
    node: u64,
    /// How far it has applied the log.
    index: u64,
    /// What it has.
    state: &'a State,
    /// What executors have started so far.
    starts: &'a [Start],
    /// What no node may take the time to be later than, where that is known.
    time_max: Option<UnixMillis>,
    /// Since when nothing is broken any more.
    healed_for: Option<Duration>,
    /// Begins of what was started, by the name of the run.
    names: &'a mut Names,
}

/// Rows by their names. Names are never used again in a simulation, so what was found stays true.
#[derive(Default)]
struct Names {
    ids: BTreeMap<String, RunId>,
    upto: RunId,
}

impl Names {
    /// The row of a run that somebody named; none while this replica has none.
    fn find<'a>(&mut self, state: &'a State, name: &str) -> Option<&'a Run> {
        for run in state.runs_from(self.upto) {
            if let Some(schedule) = state.schedule(run.schedule) {
                self.ids.insert(names::run_name(&schedule.key, run), run.id);
            }
            self.upto = run.id.next();
        }
        self.ids.get(name).and_then(|id| state.run(*id))
    }
}

/// Says what does not hold.
type Say<'a> = dyn FnMut(&'static str, String) + 'a;

/// An invariant, with what it remembers from one look to the next.
trait Invariant {
    /// Looks at a replica.
    fn look(&mut self, look: &mut Look<'_>, say: &mut Say<'_>);
}

/// All of them.
pub struct Invariants {
    clock: SimClock,
    clocks: clock_1::Clocks,
    all: Vec<Box<dyn Invariant>>,
    names: Names,
}

impl Invariants {
    /// Nothing seen yet of nodes with these clocks.
    #[must_use]
    pub fn new(clocks: Vec<SimClock>) -> Self {
        let all: Vec<Box<dyn Invariant>> = vec![
            Box::new(apply_1::Digests::default()),
            Box::new(run_1::Rows::default()),
            Box::new(run_2::Starts::default()),
            Box::new(run_3::Tokens::default()),
            Box::new(run_4::Moves::default()),
            Box::new(ledger_1::Instants::default()),
            Box::new(ledger_2::Begun),
            Box::new(catch_1::Budget::default()),
            Box::new(clock_1::Rows::default()),
            Box::new(lease::Quiet),
        ];
        let clock = clocks.first().cloned().unwrap_or_default();
        Self { clock, clocks: clock_1::Clocks::new(clocks), all, names: Names::default() }
    }

    /// Looks at every replica.
    pub fn look(&mut self, record: &Record, now: Duration) {
        let time_max = self.clocks.time_max(now, record.lock().slow_links > 0);
        let (replicas, starts, healed_for) = {
            let record = record.lock();
            let healed_for = record.healed_at.map(|at| now - at);
            (record.replicas.clone(), record.starts.clone(), healed_for)
        };
        let mut found = Vec::new();
        for (node, replica) in replicas {
            replica.read_at(|at, state| {
                let mut say = |invariant: &'static str, what: String| {
                    found.push((invariant, format!("on n{node} at {}: {what}", at.index)));
                };
                for violation in state.violations() {
                    say(violation.invariant, violation.what);
                }
                for invariant in &mut self.all {
                    let names = &mut self.names;
                    let starts = starts.as_slice();
                    let mut look = Look { node, index: at.index, state, starts, time_max, healed_for, names };
                    invariant.look(&mut look, &mut say);
                }
            });
        }
        for (invariant, what) in found {
            record.violation(invariant, what);
        }
    }

    /// Whether everything that was due has come to its end.
    pub fn has_settled(&mut self, record: &Record, now: Duration) -> bool {
        let now = self.clock.true_time(now);
        newest(record).is_some_and(|replica| replica.read(|state| due_1::open(state, now).is_empty()))
    }

    /// SDK-4: at the end of everything.
    fn look_for_lost_ends(record: &Record) {
        let Some(replica) = newest(record) else { return };
        let (ends, lives) = {
            let record = record.lock();
            (record.ends.clone(), record.lives.clone())
        };
        for what in replica.read(|state| sdk_4::lost(state, &ends, &lives)) {
            record.violation("SDK-4", what);
        }
    }

    /// DUE-1: says what has not, although nothing is in its way.
    pub fn say_what_is_open(&mut self, record: &Record, now: Duration) {
        let now = self.clock.true_time(now);
        let Some(replica) = newest(record) else {
            return record.violation("DUE-1", "no node runs");
        };
        for what in replica.read(|state| due_1::open(state, now)).into_iter().take(5) {
            record.violation("DUE-1", what);
        }
    }

    /// The last look.
    pub fn at_end(&mut self, record: &Record, now: Duration) {
        self.look(record, now);
        if record.lock().phase == Phase::Progress {
            Self::look_for_lost_ends(record);
        }
        let (starts, rows) = {
            let rows = newest(record).map_or(0, |replica| replica.read(State::run_count));
            (record.lock().starts.len(), rows)
        };
        let mut record = record.lock();
        record.counts.insert("starts", starts as u64);
        record.counts.insert("rows", rows as u64);
        record.trace_at(Some(now), &format!("the end: {rows} rows, {starts} starts"));
    }
}

/// The replica that has applied most.
fn newest(record: &Record) -> Option<Replica> {
    let replicas = record.lock().replicas.clone();
    replicas.into_values().max_by_key(|replica| replica.read_at(|at, _| at.index))
}

/// An instant as people read it in a trace: since the beginning of simulated time.
fn since_epoch(at: UnixMillis) -> String {
    let epoch = i64::try_from(crate::clock::EPOCH_SECONDS * 1000).expect("within range");
    format!("{}ms", at.0 - epoch)
}
