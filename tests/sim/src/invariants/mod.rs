//! What must hold: one file per invariant, named by its id.
//!
//! Most are held against the replicas' states between two steps of the simulation, and against what executors wrote down of what they
//! started; API-1 and API-2 are judged where the answers arrive, by the users.

pub mod api_1;
pub mod api_2;
mod apply_1;
mod backfill_1;
pub mod catch_1;
mod clock_1;
mod due_1;
mod freeze_1;
mod lead_2;
mod lease;
mod ledger_1;
mod ledger_2;
mod pool_1;
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
use crate::node::host;
use crate::record::{Phase, Record, Start};

/// One replica at one moment.
struct Look<'a> {
    /// How far it has applied the log.
    index: u64,
    /// What it has.
    state: &'a State,
    /// What executors have started so far.
    starts: &'a [Start],
    /// When leaders began to lead.
    reigns: &'a [Duration],
    /// What no node may take the time to be later than, where that is known.
    time_max: Option<UnixMillis>,
    /// When it is looked at.
    now: Duration,
    /// Since when nothing is broken any more.
    healed_at: Option<Duration>,
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
    digests: apply_1::Digests,
    leaders: lead_2::Overlap,
    backfills: backfill_1::Begun,
    all: Vec<Box<dyn Invariant>>,
    names: Names,
    /// What of each replica was looked at last: it is the same until it has applied more, or is that of a new process.
    looked: BTreeMap<u64, Seen>,
}

/// What of a replica can be told apart without looking into it.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Seen {
    /// Which of its node's processes it is of.
    life: u64,
    /// How far it has applied the log.
    index: u64,
    /// How many starts there were.
    starts: usize,
}

impl Invariants {
    /// Nothing seen yet of nodes with these clocks.
    #[must_use]
    pub fn new(clocks: Vec<SimClock>) -> Self {
        let all: Vec<Box<dyn Invariant>> = vec![
            Box::new(run_1::Rows::default()),
            Box::new(run_2::Starts::default()),
            Box::new(run_3::Tokens::default()),
            Box::new(run_4::Moves::default()),
            Box::new(ledger_1::Instants::default()),
            Box::new(ledger_1::Watermarks::default()),
            Box::new(ledger_2::Begun),
            Box::new(catch_1::Budget::default()),
            Box::new(clock_1::Rows::default()),
            Box::new(lease::Quiet::default()),
            Box::new(pool_1::Slots::default()),
            Box::new(freeze_1::Frozen::default()),
        ];
        let clock = clocks.first().cloned().unwrap_or_default();
        let (clocks, digests) = (clock_1::Clocks::new(clocks), apply_1::Digests::default());
        let leaders = lead_2::Overlap::default();
        Self {
            clock,
            clocks,
            digests,
            leaders,
            backfills: backfill_1::Begun::default(),
            all,
            names: Names::default(),
            looked: BTreeMap::new(),
        }
    }

    /// Looks at every replica that has changed. States with one digest are the same: the first of them is looked at for all.
    pub fn look(&mut self, record: &Record, now: Duration) {
        self.look_at(record, now, false);
    }

    /// Likewise; the last look is at all of them, because time alone lets more be judged.
    fn look_at(&mut self, record: &Record, now: Duration, last: bool) {
        // Nobody writes the record between two steps, and no invariant does.
        let held = record.lock();
        let time_max = self.clocks.time_max(now, held.slow_links > 0);
        let healed_at = held.healed_at;
        let (starts, reigns) = (held.starts.as_slice(), held.reigns.as_slice());
        let mut found = Vec::new();
        found.extend(self.leaders.look(&held, now).map(|what| ("LEAD-2", what)));
        for (&node, replica) in &held.replicas {
            let life = held.lives.get(&host(node)).copied().unwrap_or_default();
            replica.read_at(|at, state| {
                let seen = Seen { life, index: at.index, starts: starts.len() };
                let before = self.looked.insert(node, seen);
                if before == Some(seen) && !last {
                    return;
                }
                let mut say = |invariant: &'static str, what: String| {
                    found.push((invariant, format!("on n{node} at {}: {what}", at.index)));
                };
                let is_new = self.digests.look(node, seen, state, &mut say);
                if before.is_none_or(|before| (before.life, before.index) != (life, at.index)) {
                    // These are about what is not part of the digest, too.
                    for violation in state.violations() {
                        say(violation.invariant, violation.what);
                    }
                }
                if !is_new && !last {
                    return;
                }
                self.backfills.look(at.index, state);
                for invariant in &mut self.all {
                    let names = &mut self.names;
                    let mut look =
                        Look { index: at.index, state, starts, reigns, time_max, now, healed_at, names };
                    invariant.look(&mut look, &mut say);
                }
            });
        }
        drop(held);
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
    fn look_for_lost_ends(record: &Record, now: Duration) {
        let Some(replica) = newest(record) else { return };
        let (ends, lives) = {
            let record = record.lock();
            (record.ends.clone(), record.lives.clone())
        };
        for what in replica.read(|state| sdk_4::lost(state, &ends, &lives, now)) {
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
        self.look_at(record, now, true);
        if let Some(newest) = newest(record) {
            for what in newest.read(|state| backfill_1::wrong(&self.backfills, state)) {
                record.violation("BACKFILL-1", what);
            }
        }
        if record.lock().phase == Phase::Progress {
            Self::look_for_lost_ends(record, now);
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
