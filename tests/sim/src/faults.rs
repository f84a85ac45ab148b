//! What breaks, when, and for how long: drawn from the seed, carried out between two steps of the simulation.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use turmoil::Sim;

use crate::chance::Chance;
use crate::executor::Place;
use crate::node::{Site, host};
use crate::record::Record;

/// Every kind of fault, and of change of members. A set of seeds must have seen all of them.
pub const KINDS: [&str; 22] = [
    "away",
    "crash",
    "crash_lost_writes",
    "crash_all",
    "handover",
    "leader_cut_off",
    "power_cut",
    "restart",
    "partition",
    "partition_one_way",
    "held_messages",
    "slow_link",
    "delayed_link",
    "slow_disk",
    "disk_full",
    "clock_skew",
    "clock_jump",
    "executor_crash",
    "executor_stall",
    "member_added",
    "member_removed",
    "retired",
];

/// What a message takes at least, in milliseconds.
pub const LINK_MS_MIN: u64 = 1;

/// What may be broken.
pub struct World {
    /// The nodes.
    pub sites: Vec<Arc<Site>>,
    /// The executors.
    pub places: Vec<Arc<Place>>,
    /// The host of the users.
    pub users: String,
    /// What happened.
    pub record: Record,
}

impl World {
    fn site(&self, node: u64) -> &Site {
        &self.sites[usize::try_from(node - 1).expect("few nodes")]
    }

    /// Whether a host is that of a node that was removed.
    fn is_retired(&self, name: &str) -> bool {
        self.sites.iter().any(|site| host(site.id) == name && site.retired.load(Ordering::Relaxed))
    }
}

/// How a fault ends.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Mend {
    Start(String),
    Connect(String, String),
    ConnectOneWay(String, String),
    Release(String, String),
    FastLink(String, String),
    FastDisk(u64),
    RightClock(u64),
    Resume(usize),
}

/// Breaks things and mends them.
pub struct Faults {
    chance: Chance,
    world: World,
    next_at: Duration,
    mends: Vec<(Duration, Mend)>,
    /// Hosts whose process is gone.
    down: BTreeMap<String, ()>,
    /// A rolling restart that is under way: the nodes still to be restarted.
    rolling: Vec<u64>,
    /// A node that crashes as soon as it has something to lose, and until when that is waited for.
    doomed: Option<(u64, Duration)>,
    /// When the power fails. Until then all disks are slow, so that there is much to lose.
    power_cut_at: Option<Duration>,
    link_ms_max: u64,
}

impl Faults {
    /// Faults from a seed on; the first comes when there is something to break.
    #[must_use]
    pub fn new(seed: u64, world: World, link_ms_max: u64) -> Self {
        Self {
            chance: Chance::new(seed, "faults"),
            world,
            next_at: Duration::from_secs(3),
            mends: Vec::new(),
            down: BTreeMap::new(),
            rolling: Vec::new(),
            doomed: None,
            power_cut_at: None,
            link_ms_max,
        }
    }

    /// Between two steps: mends what is to be mended by now, and breaks something if its time has come.
    pub fn step(&mut self, sim: &mut Sim<'_>) {
        let now = sim.elapsed();
        self.bury(sim, now);
        let due: Vec<_> = self.mends.extract_if(.., |(at, _)| *at <= now).map(|(_, mend)| mend).collect();
        due.into_iter().for_each(|mend| self.mend(sim, mend));
        self.roll(sim, now);
        self.doom(sim, now);
        self.cut_power(sim, now);
        if now >= self.next_at {
            self.next_at = now + self.chance.millis(200..3_000);
            self.break_something(sim, now);
        }
    }

    /// Mends everything, at once and for good. Sometimes much is to be made up for then.
    pub fn heal(&mut self, sim: &mut Sim<'_>) {
        let now = sim.elapsed();
        self.bury(sim, now);
        self.rolling.clear();
        self.doomed = None;
        if self.power_cut_at.take().is_some() {
            for node in 1..=self.world.sites.len() as u64 {
                self.mend(sim, Mend::FastDisk(node));
            }
        }
        std::mem::take(&mut self.mends).into_iter().for_each(|(_, mend)| self.mend(sim, mend));
        if self.chance.one_in(3) {
            // What is made up for while nothing else is wrong shows best how fast that goes.
            self.go_away(sim);
        }
        self.say(sim, "healed");
    }

    /// After healing: processes that end by themselves are started again.
    pub fn keep_up(&mut self, sim: &mut Sim<'_>) {
        let now = sim.elapsed();
        self.bury(sim, now);
        let due: Vec<_> = self.mends.extract_if(.., |(at, _)| *at <= now).map(|(_, mend)| mend).collect();
        due.into_iter().for_each(|mend| self.mend(sim, mend));
    }

    /// A process that ended by itself takes its connections with it, and is started again by whoever watches over it.
    fn bury(&mut self, sim: &mut Sim<'_>, now: Duration) {
        let exited = std::mem::take(&mut self.world.record.lock().exited);
        for (host, _why) in exited {
            sim.crash(host.clone());
            if self.world.is_retired(&host) {
                continue;
            }
            let again = now + self.chance.millis(50..1_500);
            self.down.insert(host.clone(), ());
            self.mends.push((again, Mend::Start(host)));
        }
    }

    fn say(&self, sim: &Sim<'_>, what: &str) {
        self.world.record.lock().trace_at(Some(sim.elapsed()), what);
    }

    fn count(&self, kind: &'static str) {
        debug_assert!(KINDS.contains(&kind), "{kind} is not listed");
        self.world.record.count(kind);
    }

    fn break_something(&mut self, sim: &mut Sim<'_>, now: Duration) {
        let nodes = self.world.sites.len() as u64;
        let node = self.chance.within(1..nodes + 1);
        let long = self.chance.millis(300..6_000);
        match self.chance.within(0..26) {
            0 => self.crash(sim, node, long),
            1 | 2 => self.doomed = Some((node, now + Duration::from_millis(500))),
            3 => {
                self.say(sim, "FAULT crash of all nodes");
                for node in 1..=nodes {
                    let away = self.chance.millis(50..2_500);
                    self.crash(sim, node, away);
                }
                self.count("crash_all");
            }
            4 | 5 if self.rolling.is_empty() => self.rolling = (1..=nodes).collect(),
            6..=8 => {
                let mut ends = self.hosts_but(&host(node));
                if self.chance.one_in(2) {
                    ends.retain(|_| self.chance.one_in(2));
                }
                for end in ends {
                    self.say(sim, &format!("FAULT partition {} {end} for {long:?}", host(node)));
                    sim.partition(host(node), end.clone());
                    self.mends.push((now + long, Mend::Connect(host(node), end)));
                    self.count("partition");
                }
            }
            9 | 10 => {
                let ends = self.hosts_but(&host(node));
                let end = self.chance.pick(&ends).clone();
                let (from, to) = if self.chance.one_in(2) { (host(node), end) } else { (end, host(node)) };
                self.say(sim, &format!("FAULT one-way partition {from} to {to} for {long:?}"));
                sim.partition_oneway(from.clone(), to.clone());
                self.mends.push((now + long, Mend::ConnectOneWay(from, to)));
                self.count("partition_one_way");
            }
            11 => {
                // As when a process is stopped and goes on: everything to and from it comes late, and at once.
                self.say(sim, &format!("FAULT messages of {} held for {long:?}", host(node)));
                for end in self.hosts_but(&host(node)) {
                    sim.hold(host(node), end.clone());
                    self.mends.push((now + long, Mend::Release(host(node), end)));
                }
                self.count("held_messages");
            }
            12 => {
                let ends = self.hosts_but(&host(node));
                let end = self.chance.pick(&ends).clone();
                let slow = self.chance.millis(50..400);
                self.say(sim, &format!("FAULT slow link {} {end}: {slow:?} for {long:?}", host(node)));
                sim.set_link_latency(host(node), end.clone(), Duration::from_millis(LINK_MS_MIN));
                sim.set_link_max_message_latency(host(node), end.clone(), slow);
                self.mends.push((now + long, Mend::FastLink(host(node), end)));
                self.world.record.lock().slow_links += 1;
                self.count("slow_link");
            }
            24 => {
                // As on a long way: each message takes as long as the others.
                let ends = self.hosts_but(&host(node));
                let end = self.chance.pick(&ends).clone();
                let delay = self.chance.millis(20..250);
                self.say(sim, &format!("FAULT link {} {end} takes {delay:?} for {long:?}", host(node)));
                sim.set_link_latency(host(node), end.clone(), delay);
                self.mends.push((now + long, Mend::FastLink(host(node), end)));
                self.world.record.lock().slow_links += 1;
                self.count("delayed_link");
            }
            13 => {
                let slow = self.chance.millis(50..2_000);
                self.say(sim, &format!("FAULT slow disk of {}: {slow:?} for {long:?}", host(node)));
                self.world.site(node).disk.set_sync_max(Some(slow));
                self.mends.push((now + long, Mend::FastDisk(node)));
                self.count("slow_disk");
            }
            14 => {
                self.say(sim, &format!("FAULT full disk of {} for {long:?}", host(node)));
                self.world.site(node).disk.set_full(true);
                self.mends.push((now + long, Mend::FastDisk(node)));
                self.count("disk_full");
            }
            15 => {
                let skew = i64::try_from(self.chance.within(0..4_000)).expect("small") - 2_000;
                self.set_clock(sim, node, skew);
                self.count("clock_skew");
                self.mends.push((now + long * 4, Mend::RightClock(node)));
            }
            16 => {
                let jump = i64::try_from(self.chance.within(0..30_000)).expect("small") - 15_000;
                self.set_clock(sim, node, jump);
                self.count("clock_jump");
                self.mends.push((now + long, Mend::RightClock(node)));
            }
            17 => {
                let executor =
                    usize::try_from(self.chance.within(0..self.world.places.len() as u64)).expect("few");
                let name = self.world.places[executor].host.clone();
                if self.down.insert(name.clone(), ()).is_none() {
                    self.say(sim, &format!("FAULT crash of {name} for {long:?}"));
                    sim.crash(name.clone());
                    self.world.places[executor].gate.open();
                    self.mends.push((now + long, Mend::Start(name)));
                    self.count("executor_crash");
                }
            }
            18 => {
                let executor =
                    usize::try_from(self.chance.within(0..self.world.places.len() as u64)).expect("few");
                self.say(
                    sim,
                    &format!("FAULT {} stands still for {long:?}", self.world.places[executor].host),
                );
                self.world.places[executor].gate.close();
                self.mends.push((now + long, Mend::Resume(executor)));
                self.count("executor_stall");
            }
            19 => self.go_away(sim),
            20 | 21 => self.cut_off_leader(sim, now, long),
            22 | 23 if self.power_cut_at.is_none() => {
                let slow = self.chance.millis(200..1_500);
                self.say(sim, &format!("FAULT slow disks of all nodes: {slow:?}, until the power fails"));
                for site in &self.world.sites {
                    site.disk.set_sync_max(Some(slow));
                }
                self.power_cut_at = Some(now + self.chance.millis(300..2_000));
            }
            // Sometimes an executor is told to end.
            _ => {
                let executor =
                    usize::try_from(self.chance.within(0..self.world.places.len() as u64)).expect("few");
                let place = &self.world.places[executor];
                if !self.down.contains_key(&place.host) {
                    self.say(sim, &format!("{} is told to end", place.host));
                    place.terminate.notify_one();
                }
            }
        }
    }

    /// Nobody is there for a while: all that is missed is recovery work.
    fn go_away(&mut self, sim: &mut Sim<'_>) {
        let missed = i64::try_from(self.chance.within(65_000..150_000)).expect("small");
        self.say(sim, &format!("FAULT the whole cluster is away for {missed} ms"));
        for node in 1..=self.world.sites.len() as u64 {
            self.crash(sim, node, Duration::from_millis(50 * node));
        }
        self.world.sites[0].clock.skip(missed);
        self.count("away");
    }

    /// Whoever leads does not reach the other nodes any more, and executors and users still reach it.
    fn cut_off_leader(&mut self, sim: &Sim<'_>, now: Duration, long: Duration) {
        let leader = self.world.record.lock().leaders().map(|(node, _)| node).max();
        let Some(leader) = leader else { return };
        self.say(
            sim,
            &format!("FAULT {} leads and is cut off from the other nodes for {long:?}", host(leader)),
        );
        for other in self.world.sites.iter().map(|site| site.id).filter(|other| *other != leader) {
            sim.partition(host(leader), host(other));
            self.mends.push((now + long, Mend::Connect(host(leader), host(other))));
        }
        self.count("leader_cut_off");
    }

    /// The power fails, for all nodes at once.
    fn cut_power(&mut self, sim: &mut Sim<'_>, now: Duration) {
        if self.power_cut_at.is_none_or(|at| now < at) {
            return;
        }
        self.power_cut_at = None;
        self.say(sim, "FAULT the power fails");
        for node in 1..=self.world.sites.len() as u64 {
            let away = self.chance.millis(50..1_500);
            self.crash(sim, node, away);
            self.mend(sim, Mend::FastDisk(node));
        }
        self.count("power_cut");
    }

    fn hosts_but(&self, but: &str) -> Vec<String> {
        let nodes = self.world.sites.iter().map(|site| host(site.id));
        let executors = self.world.places.iter().map(|place| place.host.clone());
        let all = nodes.chain(executors).chain([self.world.users.clone()]);
        all.filter(|host| host != but).collect()
    }

    fn crash(&mut self, sim: &mut Sim<'_>, node: u64, away: Duration) {
        let name = host(node);
        if self.world.is_retired(&name) || self.down.insert(name.clone(), ()).is_some() {
            return;
        }
        self.world.record.lock().replicas.remove(&node);
        let lost = self.world.site(node).disk.crash();
        self.say(sim, &format!("FAULT crash of {name} for {away:?}, {lost} changes were not synced"));
        sim.crash(name.clone());
        // What it said last does not count any more.
        self.world.record.lock().exited.remove(&name);
        self.mends.push((sim.elapsed() + away, Mend::Start(name)));
        self.count("crash");
        if lost > 0 {
            self.count("crash_lost_writes");
        }
    }

    fn doom(&mut self, sim: &mut Sim<'_>, now: Duration) {
        let Some((node, until)) = self.doomed else { return };
        let pending = self.world.site(node).disk.pending();
        if pending > 0 || now >= until {
            self.doomed = None;
            let away = self.chance.millis(50..4_000);
            self.crash(sim, node, away);
        }
    }

    /// One node after the other is told to stop; the next only once this one is back.
    fn roll(&mut self, sim: &Sim<'_>, _now: Duration) {
        let Some(next) = self.rolling.last().copied() else { return };
        let staying = self.world.sites.iter().filter(|site| !site.retired.load(Ordering::Relaxed)).count();
        let all_run = self.world.record.lock().replicas.len() == staying;
        if all_run && self.down.is_empty() {
            self.rolling.pop();
            if self.world.is_retired(&host(next)) {
                return;
            }
            // Until it has ended and is back.
            self.down.insert(host(next), ());
            self.say(sim, &format!("{} is told to stop", host(next)));
            self.world.site(next).terminate.notify_one();
            self.count("restart");
        }
    }

    fn set_clock(&self, sim: &Sim<'_>, node: u64, skew_ms: i64) {
        self.say(sim, &format!("FAULT clock of {} is off by {skew_ms} ms", host(node)));
        self.world.site(node).clock.set_skew(skew_ms);
    }

    fn mend(&mut self, sim: &mut Sim<'_>, mend: Mend) {
        self.say(sim, &format!("mend {mend:?}"));
        match mend {
            Mend::Start(host) => {
                self.down.remove(&host);
                sim.bounce(host);
            }
            Mend::Connect(a, b) => sim.repair(a, b),
            Mend::ConnectOneWay(a, b) => sim.repair_oneway(a, b),
            Mend::Release(a, b) => sim.release(a, b),
            Mend::FastLink(a, b) => {
                self.world.record.lock().slow_links -= 1;
                sim.set_link_latency(a.clone(), b.clone(), Duration::from_millis(LINK_MS_MIN));
                sim.set_link_max_message_latency(a, b, Duration::from_millis(self.link_ms_max));
            }
            Mend::FastDisk(node) => {
                self.world.site(node).disk.set_sync_max(None);
                self.world.site(node).disk.set_full(false);
            }
            Mend::RightClock(node) => self.world.site(node).clock.set_skew(0),
            Mend::Resume(executor) => self.world.places[executor].gate.open(),
        }
    }
}
