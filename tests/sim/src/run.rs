//! One simulation, from its seed to its verdict.
//!
//! ```text
//!   safety: workload and faults ──► heal: all is mended, users finish ──► progress: everything comes to its end
//! ```

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant, UNIX_EPOCH};

use tokio::sync::Notify;
use turmoil::Sim;

use crate::chance::Chance;
use crate::clock::{EPOCH_SECONDS, SimClock};
use crate::disk::SimDisk;
use crate::executor::Place;
use crate::faults::{Faults, LINK_MS_MIN, World};
use crate::invariants::Invariants;
use crate::node::{self, Site, host};
use crate::record::{Phase, Record};
use crate::users;

/// Nodes that make the cluster.
const FOUNDERS: u64 = 3;
/// Nodes that may be added to it, in one of three simulations.
const SPARES: u64 = 2;
/// Executors.
const EXECUTORS: u64 = 2;
/// The host of all users.
const USERS: &str = "users";
/// The step of the simulation, in milliseconds: the grain of messages, crashes and looks, one of these by seed. Half of what a simulation
/// takes is to step, whether anything happens or not.
const TICKS_MS: [u64; 4] = [1, 3, 5, 5];
/// How often the invariants are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// How long users may take after healing: connections that lost a segment are only noticed by keep-alive.
const USERS_FINISH_WITHIN: Duration = Duration::from_secs(60);
/// How long everything due may take to come to its end after that: what is to be made up for is up to 40 instants of each of some schedules,
/// and all those of backfills, up to a thousand in all; four in a second.
const PROGRESS_WITHIN: Duration = Duration::from_secs(250);

/// How long it is watched at least after healing: leases of what begins then are held, and judged, several times.
const HEALED_FOR_MIN: Duration = Duration::from_secs(20);
/// The same where nodes may have been removed: an executor that still knows them waits for each to answer, and longer from try to try.
const HEALED_FOR_MIN_WITH_SPARES: Duration = Duration::from_secs(50);

/// What to simulate.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Everything follows from it.
    pub seed: u64,
    /// Length of the safety phase.
    pub safety_for: Duration,
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// The seed.
    pub seed: u64,
    /// What must not be.
    pub violations: Vec<String>,
    /// How often what happened.
    pub counts: std::collections::BTreeMap<&'static str, u64>,
    /// Hash of the trace, and its lines.
    pub fingerprint: (u64, u64),
    /// Simulated time.
    pub simulated: Duration,
    /// Time on the wall.
    pub wall: Duration,
}

/// Runs a simulation to its end, and writes down in `record` what happens.
#[must_use]
pub fn run(options: Options, record: &Record) -> Verdict {
    let wall = Instant::now();
    let seed = options.seed;
    belfry_server::random::seed_this_thread(Chance::new(seed, "server").number());
    belfry_sdk::random::seed_this_thread(Chance::new(seed, "sdk").number());
    let mut chance = Chance::new(seed, "network");
    let link_ms_max = chance.within(2..30);
    let tick = Duration::from_millis(*chance.pick(&TICKS_MS));
    let mut builder = turmoil::Builder::new();
    builder
        .rng_seed(seed)
        .epoch(UNIX_EPOCH + Duration::from_secs(EPOCH_SECONDS))
        .tick_duration(tick)
        .simulation_duration(Duration::from_secs(24 * 3600))
        .min_message_latency(Duration::from_millis(LINK_MS_MIN))
        .max_message_latency(Duration::from_millis(link_ms_max))
        .tcp_capacity(1 << 16)
        .enable_random_order();
    let mut sim = builder.build();
    let world = populate(&mut sim, seed, record);
    let clock = SimClock::beside(&world.sites[0].clock);
    let has_spares = world.sites.len() as u64 > FOUNDERS;
    let healed_for_min = if has_spares { HEALED_FOR_MIN_WITH_SPARES } else { HEALED_FOR_MIN };
    let mut invariants = Invariants::new(world.sites.iter().map(|site| site.clock.clone()).collect());
    let mut faults = Faults::new(seed, world, link_ms_max);
    let mut look_at = LOOK_EVERY;
    let mut phase_until = options.safety_for;
    loop {
        let stepped = catch_unwind(AssertUnwindSafe(|| sim.step()));
        let now = sim.elapsed();
        note_progress(record, &clock, now);
        match stepped {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => {
                record.violation("PANIC", format!("a host ended with {error}"));
                break;
            }
            Err(panic) => {
                record.violation("PANIC", panic_text(&panic));
                break;
            }
        }
        let phase = record.lock().phase;
        match phase {
            Phase::Safety => faults.step(&mut sim),
            Phase::Heal | Phase::Progress => faults.keep_up(&mut sim),
        }
        if now >= look_at {
            look_at = now + LOOK_EVERY;
            invariants.look(record, now);
        }
        match phase {
            Phase::Safety if now >= phase_until => {
                faults.heal(&mut sim);
                let mut record = record.lock();
                record.phase = Phase::Heal;
                record.healed_at = Some(now);
                phase_until = now + USERS_FINISH_WITHIN;
            }
            Phase::Heal => {
                let done = record.lock().users_done == users::FINISHING;
                if done {
                    record.lock().phase = Phase::Progress;
                    phase_until = now + PROGRESS_WITHIN;
                } else if now >= phase_until {
                    record.violation("PROGRESS", "users did not finish after all was mended");
                    break;
                }
            }
            Phase::Progress => {
                let long_enough = record.lock().healed_at.is_some_and(|at| now >= at + healed_for_min);
                if long_enough && invariants.has_settled(record, now) {
                    break;
                }
                if now >= phase_until {
                    invariants.say_what_is_open(record, now);
                    break;
                }
            }
            Phase::Safety => {}
        }
        if !record.lock().violations.is_empty() {
            break;
        }
    }
    invariants.at_end(record, sim.elapsed());
    let simulated = sim.elapsed();
    // Handles of replicas end before their hosts do.
    record.lock().replicas.clear();
    let inner = record.lock();
    Verdict {
        seed,
        violations: inner.violations.clone(),
        counts: inner.counts.clone(),
        fingerprint: inner.fingerprint(),
        simulated,
        wall: wall.elapsed(),
    }
}

/// After each step, because whatever a replica has applied may be known elsewhere with the next one.
fn note_progress(record: &Record, clock: &SimClock, now: Duration) {
    let mut record = record.lock();
    record.now = now;
    record.true_now = clock.true_time(now);
    let newest = record.replicas.values().map(|replica| replica.read_at(|at, _| at.index)).max();
    record.newest_index = record.newest_index.max(newest.unwrap_or_default());
}

fn populate(sim: &mut Sim<'_>, seed: u64, record: &Record) -> World {
    let world_clock = SimClock::default();
    let mut chance = Chance::new(seed, "places");
    let nodes = FOUNDERS + if Chance::new(seed, "spares").one_in(3) { SPARES } else { 0 };
    let sites: Vec<_> = (1..=nodes)
        .map(|id| {
            let disk = SimDisk::new(seed, id).expect("a folder for snapshots can be made");
            let mut config = node::config(id, FOUNDERS, &disk);
            // Some clusters keep no log behind their checkpoints: followers that were away need a snapshot.
            if Chance::new(seed, "log").one_in(2) {
                config.raft.log_keep_mib = 0;
                config.raft.checkpoint_interval = belfry_server::config::Period::from_secs(2);
            }
            let clock = SimClock::beside(&world_clock);
            Arc::new(Site {
                id,
                disk,
                clock,
                terminate: Notify::new(),
                retired: AtomicBool::new(false),
                config,
                record: record.clone(),
            })
        })
        .collect();
    for site in &sites {
        let site = site.clone();
        sim.host(host(site.id), move || site.clone().live());
    }
    let places: Vec<_> = (1..=EXECUTORS)
        .map(|number| {
            let slots = u32::try_from(chance.within(2..12)).expect("few");
            Arc::new(Place {
                host: format!("e{number}"),
                seed,
                nodes,
                slots,
                terminate: Notify::new(),
                gate: Arc::default(),
                record: record.clone(),
            })
        })
        .collect();
    for place in &places {
        let place = place.clone();
        sim.host(place.host.clone(), move || place.clone().live());
    }
    let everyone = users::all(seed, nodes, FOUNDERS, record.clone());
    sim.client(USERS, everyone);
    World { sites, places, users: USERS.to_owned(), record: record.clone() }
}

fn panic_text(panic: &Box<dyn std::any::Any + Send>) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic without words").to_owned()
}
