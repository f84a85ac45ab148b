//! What values may be, alone and together (CONFIG-2).

use std::collections::BTreeSet;
use std::fmt::Display;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::time::Duration;

use super::{Config, Period, Problem, Provenance};

/// Everything that is wrong with a configuration.
pub(super) fn check(config: &Config, provenance: &Provenance) -> Vec<Problem> {
    let mut check = Check { provenance, problems: Vec::new() };
    check_places(config, &mut check);
    check_raft(config, &mut check);
    check_limits(config, &mut check);
    check_retention_and_dispatch(config, &mut check);
    check_webhooks_and_liveness(config, &mut check);
    check.problems
}

fn check_places(config: &Config, check: &mut Check<'_>) {
    check.that(!config.node.data.is_empty(), "node.data", || "name a folder".to_owned());
    check.that(!config.cluster.name.is_empty(), "cluster.name", || "give the cluster a name".to_owned());
    for (key, address) in [
        ("listen.api", &config.listen.api),
        ("listen.peer", &config.listen.peer),
        ("listen.admin", &config.listen.admin),
    ] {
        check.that(address.parse::<SocketAddr>().is_ok(), key, || {
            format!("`{address}` is not an address to listen on: write it as 0.0.0.0:7400 or [::]:7400")
        });
    }
    check_ports_differ(config, check);
    check.that(!config.log.level.is_empty(), "log.level", || "write a level such as info".to_owned());
    check_members(config, check);
}

/// Two of the three on one port: the system would blame another process. Port 0 is a new one each time.
fn check_ports_differ(config: &Config, check: &mut Check<'_>) {
    let listen = &config.listen;
    let mut taken: Vec<(&str, SocketAddr)> = Vec::new();
    for (key, address) in
        [("listen.api", &listen.api), ("listen.peer", &listen.peer), ("listen.admin", &listen.admin)]
    {
        let Ok(address) = address.parse::<SocketAddr>() else { continue };
        let clash = taken.iter().find(|(_, other)| clash(*other, address));
        check.that(clash.is_none(), key, || {
            let other = clash.map_or("another", |(key, _)| *key);
            format!("{address} is taken by {other}: give each its own port")
        });
        taken.push((key, address));
    }
}

fn clash(one: SocketAddr, other: SocketAddr) -> bool {
    let everywhere = one.ip().is_unspecified() || other.ip().is_unspecified();
    one.port() == other.port() && one.port() != 0 && (everywhere || one.ip() == other.ip())
}

fn check_members(config: &Config, check: &mut Check<'_>) {
    let key = "cluster.members";
    let members = &config.cluster.members;
    let (mut ids, mut addresses) = (BTreeSet::new(), BTreeSet::new());
    for member in members {
        check.that(member.id != 0, key, || "0 is no id: count from 1".to_owned());
        check.that(ids.insert(member.id), key, || format!("id {} is given twice", member.id));
        for address in [&member.api, &member.peer] {
            check.that(is_reachable(address), key, || {
                format!(
                    "`{address}` of member {} is not an address that others reach: write host:port",
                    member.id
                )
            });
            check.that(addresses.insert(address), key, || {
                format!("`{address}` is given twice: every member has its own api and peer address")
            });
        }
    }
    if members.is_empty() {
        return;
    }
    let own = config.node.id;
    check.that(own != 0, "node.id", || "is not set: give this node its id of cluster.members".to_owned());
    check.that(own == 0 || ids.contains(&own), "node.id", || {
        format!("{own} is not among cluster.members, which are {}", list(&ids))
    });
}

fn check_raft(config: &Config, check: &mut Check<'_>) {
    let raft = &config.raft;
    check.within("raft.heartbeat_ms", raft.heartbeat_ms, 10..=10_000);
    check.within("raft.election_min_ms", raft.election_min_ms, 20..=60_000);
    check.within("raft.election_max_ms", raft.election_max_ms, 40..=120_000);
    check.that(raft.election_min_ms >= 2 * raft.heartbeat_ms, "raft.election_min_ms", || {
        format!(
            "{} is less than two heartbeats of {} ms: one lost packet would start an election",
            raft.election_min_ms, raft.heartbeat_ms
        )
    });
    check.that(raft.election_max_ms > raft.election_min_ms, "raft.election_max_ms", || {
        format!(
            "{} is not greater than raft.election_min_ms ({}): nodes would stand for election at once",
            raft.election_max_ms, raft.election_min_ms
        )
    });
    check.period("raft.checkpoint_interval", raft.checkpoint_interval, 1, DAY);
    // Less than the precision of a reading over a busy network would accuse good clocks.
    check.millis("clock.offset_max", config.clock.offset_max, 50, 60_000);
    check.within("raft.log_keep_mib", raft.log_keep_mib, 1..=1_048_576);
}

fn check_limits(config: &Config, check: &mut Check<'_>) {
    let limits = &config.limits;
    check.within("limits.payload_bytes_max", limits.payload_bytes_max, 1024..=1024 * 1024);
    check.within("limits.name_bytes_max", limits.name_bytes_max, 1..=128);
    check.within("limits.labels_max", limits.labels_max, 0..=1024);
    check.within("limits.label_bytes_max", limits.label_bytes_max, 1..=4096);
    check.within("limits.description_bytes_max", limits.description_bytes_max, 0..=65_536);
    check.within("limits.message_bytes_max", limits.message_bytes_max, 4 * MIB..=256 * MIB);
    check.within("limits.page_size_max", limits.page_size_max, 1..=1000);
    check.within("limits.executors_max", limits.executors_max, 1..=1_000_000);
    check.within("limits.slots_max", limits.slots_max, 1..=1_000_000);
    check.within("limits.request_concurrency_max", limits.request_concurrency_max, 1..=1_000_000);
    check.within("limits.connections_max", limits.connections_max, 16..=1_000_000);
    check.within("limits.watchers_max", limits.watchers_max, 0..=100_000);
    check.millis("limits.lease_min", limits.lease_min, 20, 3_600_000);
    check.period("limits.request_timeout_max", limits.request_timeout_max, 1, 3600);
}

fn check_retention_and_dispatch(config: &Config, check: &mut Check<'_>) {
    let retention = &config.retention;
    check.period("retention.rows_for", retention.rows_for, 60, 3660 * DAY);
    check.within("retention.rows_per_schedule_max", retention.rows_per_schedule_max, 1..=10_000_000);
    check.within("retention.rows_max", retention.rows_max, 1000..=100_000_000);
    check.within("retention.reports_bytes_max", retention.reports_bytes_max, 0..=1 << 40);
    check.period("retention.answers_for", retention.answers_for, 60, 30 * DAY);
    let dispatch = &config.dispatch;
    check.millis("dispatch.offer_timeout", dispatch.offer_timeout, 100, 600_000);
    let catch_up = dispatch.catch_up_starts_per_second;
    check.within("dispatch.catch_up_starts_per_second", catch_up, 1..=1_000_000);
    check.millis("dispatch.keep_alive", dispatch.keep_alive, 10, 60_000);
    let (lease_min, keep_alive) = (config.limits.lease_min.0, dispatch.keep_alive.0);
    check.that(lease_min >= 2 * keep_alive, "limits.lease_min", || {
        let text = belfry_timing::format_duration;
        let (lease_min, keep_alive) = (text(lease_min), text(keep_alive));
        format!("{lease_min} is less than two of dispatch.keep_alive ({keep_alive}): one lost packet would lose leases")
    });
    check.within("dispatch.fire_batch_max", dispatch.fire_batch_max, 1..=65_536);
    check.within("dispatch.begin_batch_max", dispatch.begin_batch_max, 1..=65_536);
    check.within("dispatch.complete_batch_max", dispatch.complete_batch_max, 1..=65_536);
}

fn check_webhooks_and_liveness(config: &Config, check: &mut Check<'_>) {
    let webhooks = &config.webhooks;
    let key = "webhooks.endpoints";
    check.that(webhooks.endpoints.len() <= 16, key, || "has more than 16 endpoints".to_owned());
    for endpoint in &webhooks.endpoints {
        check.that(is_web_address(&endpoint.url), key, || {
            format!("`{}` is not an address: write http://host/path or https://host/path", endpoint.url)
        });
        for event in &endpoint.events {
            check.that(crate::liveness::EVENT_KINDS.contains(&event.as_str()), key, || {
                format!("`{event}` is no event: choose among {}", crate::liveness::EVENT_KINDS.join(", "))
            });
        }
    }
    check.millis("webhooks.timeout", webhooks.timeout, 100, 60_000);
    check.period("webhooks.retry_for", webhooks.retry_for, 1, 30 * DAY);
    check.within("webhooks.queue_max", webhooks.queue_max, 1..=100_000);
    let liveness = &config.liveness;
    check.that(
        liveness.ping_url.is_empty() || is_web_address(&liveness.ping_url),
        "liveness.ping_url",
        || format!("`{}` is not an address: write http://host/path or https://host/path", liveness.ping_url),
    );
    check.period("liveness.ping_interval", liveness.ping_interval, 1, DAY);
    check.period("liveness.row_grace", liveness.row_grace, 1, DAY);
}

fn is_web_address(url: &str) -> bool {
    let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
    rest.is_some_and(|rest| !rest.is_empty() && !rest.starts_with('/')) && url.parse::<http::Uri>().is_ok()
}

const DAY: u64 = 24 * 3600;
const MIB: usize = 1024 * 1024;

struct Check<'a> {
    provenance: &'a Provenance,
    problems: Vec<Problem>,
}

impl Check<'_> {
    fn that(&mut self, holds: bool, key: &str, why: impl FnOnce() -> String) {
        if !holds {
            let origin = self.provenance.origin(key).to_owned();
            self.problems.push(Problem { key: key.to_owned(), origin, why: why() });
        }
    }

    fn within<T: PartialOrd + Display>(&mut self, key: &str, value: T, bounds: RangeInclusive<T>) {
        self.that(bounds.contains(&value), key, || {
            format!("{value} is not between {} and {}", bounds.start(), bounds.end())
        });
    }

    fn period(&mut self, key: &str, value: Period, min_seconds: u64, max_seconds: u64) {
        self.millis(key, value, min_seconds * 1000, max_seconds * 1000);
    }

    fn millis(&mut self, key: &str, value: Period, min: u64, max: u64) {
        let bounds = Duration::from_millis(min)..=Duration::from_millis(max);
        self.that(bounds.contains(&value.0), key, || {
            let text = belfry_timing::format_duration;
            format!("{} is not between {} and {}", text(value.0), text(*bounds.start()), text(*bounds.end()))
        });
    }
}

/// `host:port`, with a port that can be dialled. The name need not resolve yet.
fn is_reachable(address: &str) -> bool {
    let Ok(authority) = address.parse::<http::uri::Authority>() else { return false };
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    !host.is_empty()
        && host != "0.0.0.0"
        && host != "::"
        && authority.port_u16().is_some_and(|port| port != 0)
}

fn list(ids: &BTreeSet<u64>) -> String {
    ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ")
}
