//! A network of its own for a cluster: each node and executor in its own network namespace, all on one bridge.
//!
//! ```text
//!   this machine ──veth── hub (a namespace with the bridge) ──veth── node-1, node-2, .., executor-one, ..
//! ```
//!
//! Faults are rules of iptables at the receiver, so that one direction of a link can be cut alone. The rules count what
//! they drop: [`Network::heal`] says how much, which is the proof that the fault happened.
//!
//! Names hold the process id of the test: what the dead left behind is removed by the next one that starts. Needs root, and
//! `ip` and `iptables` (Debian: iproute2, iptables).

use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, geteuid};

/// Networks of this process so far.
static NETWORKS: AtomicU32 = AtomicU32::new(0);
/// 198.18.0.0/15 is for tests of networks (RFC 2544): no real network uses it. One /24 for each network of ours.
const SUBNETS: u32 = 512;
/// This machine's own address in a network; nodes and executors count up from 1.
const HOST: u8 = 254;
const PREFIX: &str = "belfry-test";

/// Namespaces on a bridge, removed when dropped.
pub struct Network {
    /// Prefix of the names of all its namespaces.
    name: String,
    subnet: u32,
    places: BTreeMap<String, Ipv4Addr>,
}

impl Network {
    /// A network with nobody in it but this process.
    pub fn create() -> anyhow::Result<Self> {
        ensure!(geteuid().is_root(), "network namespaces need root");
        for (program, package) in [("ip", "iproute2"), ("iptables", "iptables")] {
            run(program, &["-V"])
                .with_context(|| format!("install {package} (apt-get install {package})"))?;
        }
        remove_stale()?;
        let number = NETWORKS.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}-{}-{number}", std::process::id());
        ip(&["netns", "add", &format!("{name}-hub")])?;
        // From here on dropping it cleans up.
        let mut network = Self { name, subnet: 0, places: BTreeMap::new() };
        let hub = network.namespace("hub");
        ip(&["-n", &hub, "link", "add", "bridge", "type", "bridge"])?;
        ip(&["-n", &hub, "link", "set", "bridge", "up"])?;
        network.subnet = network.claim_subnet()?;
        let (host, address) = (network.host_link(), format!("{}/24", network.address(HOST)));
        ip(&["address", "add", &address, "dev", &host])?;
        ip(&["link", "set", &host, "up"])?;
        Ok(network)
    }

    /// Takes the first free subnet: the name of the link on this machine says which, and a name is given once.
    fn claim_subnet(&self) -> anyhow::Result<u32> {
        let hub = self.namespace("hub");
        let first = std::process::id() % SUBNETS;
        for subnet in (first..SUBNETS).chain(0..first) {
            let link = format!("{PREFIX}{subnet}");
            let peer = ["type", "veth", "peer", "name", "host", "netns", &hub];
            if ip(&[&["link", "add", link.as_str()], &peer[..]].concat()).is_ok() {
                ip(&["-n", &hub, "link", "set", "host", "master", "bridge", "up"])?;
                return Ok(subnet);
            }
        }
        bail!(
            "no subnet of 198.18.0.0/15 is free, or links cannot be made: `ip link` shows those of {PREFIX}"
        )
    }

    fn host_link(&self) -> String {
        format!("{PREFIX}{}", self.subnet)
    }

    fn address(&self, host: u8) -> Ipv4Addr {
        let [high, low] = u16::try_from(self.subnet).expect("there are 512").to_be_bytes();
        Ipv4Addr::new(198, 18 + high, low, host)
    }

    fn namespace(&self, place: &str) -> String {
        format!("{}-{place}", self.name)
    }

    /// Makes a place in the network, once, and says its address.
    pub fn join(&mut self, place: &str) -> anyhow::Result<Ipv4Addr> {
        if let Some(address) = self.places.get(place) {
            return Ok(*address);
        }
        let host = u8::try_from(self.places.len() + 1)?;
        ensure!(host < HOST, "this network is full");
        let (namespace, hub, address) = (self.namespace(place), self.namespace("hub"), self.address(host));
        ip(&["netns", "add", &namespace])?;
        self.places.insert(place.to_owned(), address);
        let link = format!("place{host}");
        ip(&["-n", &hub, "link", "add", &link, "type", "veth", "peer", "name", "eth0", "netns", &namespace])?;
        ip(&["-n", &hub, "link", "set", &link, "master", "bridge", "up"])?;
        ip(&["-n", &namespace, "address", "add", &format!("{address}/24"), "dev", "eth0"])?;
        ip(&["-n", &namespace, "link", "set", "eth0", "up"])?;
        ip(&["-n", &namespace, "link", "set", "lo", "up"])?;
        Ok(address)
    }

    /// What to put before a program and its arguments so that it runs there, under the same process id.
    pub fn enter(&self, place: &str) -> Vec<String> {
        ["ip", "netns", "exec", &self.namespace(place)].map(str::to_owned).to_vec()
    }

    /// From now on, nothing from these places arrives at those.
    pub fn block(&self, from: &[&str], to: &[&str]) -> anyhow::Result<()> {
        for receiver in to {
            for sender in from {
                let source = self.places.get(*sender).context("nobody of this name is here")?.to_string();
                self.filter(receiver, &["-A", "INPUT", "-s", &source, "-j", "DROP"])?;
            }
        }
        Ok(())
    }

    /// From now on, nothing goes between these places and those, either way.
    pub fn cut(&self, these: &[&str], those: &[&str]) -> anyhow::Result<()> {
        self.block(these, those)?;
        self.block(those, these)
    }

    /// From now on, this share of what is sent to a place gets lost, at random.
    pub fn lose(&self, to: &str, share: f64) -> anyhow::Result<()> {
        let share = format!("{share:.3}");
        let at_random = ["-m", "statistic", "--mode", "random", "--probability", &share];
        self.filter(to, &[&["-A", "INPUT", "-i", "eth0"], &at_random[..], &["-j", "DROP"]].concat())
    }

    /// Ends all faults, and says how many packets they dropped.
    pub fn heal(&self) -> anyhow::Result<u64> {
        let mut dropped = 0;
        for place in self.places.keys() {
            let rules = self.filtered(place, &["-L", "INPUT", "-v", "-x", "-n"])?;
            let counts = rules.lines().filter(|line| line.contains(" DROP "));
            let count =
                |line: &str| line.split_whitespace().next().and_then(|count| count.parse::<u64>().ok());
            dropped += counts.filter_map(count).sum::<u64>();
            self.filter(place, &["-F", "INPUT"])?;
        }
        Ok(dropped)
    }

    fn filter(&self, place: &str, rule: &[&str]) -> anyhow::Result<()> {
        self.filtered(place, rule).map(drop)
    }

    fn filtered(&self, place: &str, rule: &[&str]) -> anyhow::Result<String> {
        let namespace = self.namespace(place);
        run("ip", &[&["netns", "exec", &namespace, "iptables", "-w"], rule].concat())
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        let places = self.places.keys().map(String::as_str).chain(["hub"]);
        for place in places {
            // The link to this machine goes with the hub. Nothing can be done about an error.
            let _ = ip(&["netns", "delete", &self.namespace(place)]);
        }
    }
}

/// Removes what tests left behind that were killed: their processes, then their namespaces.
fn remove_stale() -> anyhow::Result<()> {
    for line in ip(&["netns", "list"])?.lines() {
        let Some(namespace) = line.split_whitespace().next() else { continue };
        let owner = namespace.strip_prefix(PREFIX).and_then(|rest| rest.split('-').nth(1));
        let Some(owner) = owner.and_then(|owner| owner.parse::<u32>().ok()) else { continue };
        if Path::new(&format!("/proc/{owner}")).exists() {
            continue;
        }
        // Another test may be at it too: what is gone is gone.
        for pid in ip(&["netns", "pids", namespace]).unwrap_or_default().lines() {
            if let Ok(pid) = pid.trim().parse() {
                let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
            }
        }
        let _ = ip(&["netns", "delete", namespace]);
    }
    Ok(())
}

fn ip(arguments: &[&str]) -> anyhow::Result<String> {
    run("ip", arguments)
}

fn run(program: &str, arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .with_context(|| format!("`{program}` does not start"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "`{program} {}` failed: {}", arguments.join(" "), said.trim());
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
