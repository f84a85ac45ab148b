//! What the processes take: the nodes by the metrics of their admin ports, this one by what the system says.

use std::time::Duration;

use futures_util::future::try_join_all;
use nix::sys::resource::{UsageWho, getrusage};
use serde::Serialize;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::exit::{Exit, Failure};

/// Limit of reading the metrics of one node, which may be busy.
const SCRAPE_TIMEOUT: Duration = Duration::from_secs(10);
/// Largest answer read: some 20 KiB are usual.
const SCRAPE_BYTES_MAX: u64 = 16 << 20;

const CPU: &str = "process_cpu_seconds_total";
const MEMORY: &str = "process_resident_memory_bytes";
const LOG: &str = "belfry_raft_log_bytes_total";
const APPLIED: &str = "belfry_raft_applied_index";
const CHECKPOINT: &str = "belfry_raft_checkpoint_index";

/// The nodes whose metrics are read; empty: none.
#[derive(Clone, Debug)]
pub(super) struct Nodes {
    admin: Vec<String>,
}

/// What all processes have taken at one moment.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub(super) struct Usage {
    nodes: Option<NodeUsage>,
    own_cpu_s: f64,
}

/// CPU and memory summed up over the nodes; each has the whole log.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct NodeUsage {
    pub(super) count: u64,
    pub(super) cpu_s: f64,
    pub(super) memory_bytes: f64,
    /// Of the node with the longest log: others may have been away.
    pub(super) log_bytes: f64,
    /// Last entry that any of them has applied.
    pub(super) applied_index: f64,
    /// Last entry in the checkpoints of all of them.
    pub(super) checkpoint_index: f64,
}

/// What was taken between two moments, in all and by each of so many things.
#[derive(Clone, Copy, PartialEq, Debug, Serialize)]
pub(super) struct Cost {
    /// Of the processes below.
    pub(super) cpu_us_per_item: f64,
    /// All nodes. Absent without `--admin`.
    pub(super) nodes_cpu_s: Option<f64>,
    /// This process: the driver, and the executors with what they ran.
    pub(super) driver_cpu_s: f64,
    /// In the log of one node.
    pub(super) log_bytes_per_item: Option<f64>,
    /// All nodes, at the end.
    pub(super) nodes_memory_bytes: Option<f64>,
}

impl Nodes {
    pub(super) fn new(admin: Vec<String>) -> Self {
        Self { admin }
    }

    pub(super) fn is_known(&self) -> bool {
        !self.admin.is_empty()
    }

    /// Says early what would be missing at the end.
    pub(super) async fn require_all(&self) -> Result<(), Failure> {
        self.read().await.map(drop)
    }

    pub(super) async fn read(&self) -> Result<Usage, Failure> {
        let own_cpu_s = own_cpu_s();
        if !self.is_known() {
            return Ok(Usage { nodes: None, own_cpu_s });
        }
        let texts = try_join_all(self.admin.iter().map(|address| scrape(address))).await?;
        let mut sum = NodeUsage {
            count: 0,
            cpu_s: 0.0,
            memory_bytes: 0.0,
            log_bytes: 0.0,
            applied_index: 0.0,
            checkpoint_index: f64::INFINITY,
        };
        for (address, text) in self.admin.iter().zip(texts) {
            let value = |name| {
                metric(&text, name).ok_or_else(|| {
                    let what = format!(
                        "{address} exports no {name}: is it the admin port of a node of this release?"
                    );
                    Failure::new(Exit::Failed, what)
                })
            };
            sum.count += 1;
            sum.cpu_s += value(CPU)?;
            sum.memory_bytes += value(MEMORY)?;
            sum.log_bytes = sum.log_bytes.max(value(LOG)?);
            sum.applied_index = sum.applied_index.max(value(APPLIED)?);
            sum.checkpoint_index = sum.checkpoint_index.min(value(CHECKPOINT)?);
        }
        Ok(Usage { nodes: Some(sum), own_cpu_s })
    }
}

impl Usage {
    /// What was taken since an earlier moment, by so many things.
    pub(super) fn since(&self, earlier: &Self, items: u64) -> Cost {
        let items = (items.max(1)) as f64;
        let both = self.nodes.zip(earlier.nodes);
        let nodes_cpu_s = both.map(|(now, then)| now.cpu_s - then.cpu_s);
        let driver_cpu_s = self.own_cpu_s - earlier.own_cpu_s;
        Cost {
            cpu_us_per_item: (nodes_cpu_s.unwrap_or_default() + driver_cpu_s) * 1e6 / items,
            nodes_cpu_s,
            driver_cpu_s,
            log_bytes_per_item: both.map(|(now, then)| (now.log_bytes - then.log_bytes) / items),
            nodes_memory_bytes: self.nodes.map(|nodes| nodes.memory_bytes),
        }
    }

    pub(super) fn nodes(&self) -> Option<NodeUsage> {
        self.nodes
    }
}

impl Cost {
    pub(super) fn cpu_text(&self, item: &str) -> String {
        match self.nodes_cpu_s {
            Some(nodes) => format!(
                "{:.1} us per {item} (nodes {nodes:.2} s, driver and executors {:.2} s)",
                self.cpu_us_per_item, self.driver_cpu_s
            ),
            None => format!(
                "{:.1} us per {item} of driver and executors; --admin adds the nodes",
                self.cpu_us_per_item
            ),
        }
    }

    pub(super) fn log_text(&self, item: &str) -> String {
        let shown = |bytes: f64| format!("{bytes:.0} B per {item}, on each node");
        self.log_bytes_per_item.map_or_else(|| "unknown without --admin".to_owned(), shown)
    }
}

/// This process and what it has run and waited for.
fn own_cpu_s() -> f64 {
    let of = |who| {
        let usage = getrusage(who).ok()?;
        let seconds = |time: nix::sys::time::TimeVal| time.tv_sec() as f64 + time.tv_usec() as f64 / 1e6;
        Some(seconds(usage.user_time()) + seconds(usage.system_time()))
    };
    let all = [UsageWho::RUSAGE_SELF, UsageWho::RUSAGE_CHILDREN];
    all.into_iter().filter_map(of).sum()
}

async fn scrape(address: &str) -> Result<String, Failure> {
    let address = address.trim_start_matches("http://").trim_end_matches('/');
    let read = async {
        let mut stream = TcpStream::connect(address).await?;
        // 1.0, so that the answer ends where the connection does.
        let request = format!("GET /metrics HTTP/1.0\r\nhost: {address}\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut text = String::new();
        stream.take(SCRAPE_BYTES_MAX).read_to_string(&mut text).await?;
        std::io::Result::Ok(text)
    };
    let failed = |why: String| {
        Failure::new(Exit::Failed, format!("cannot read the metrics of {address} ({why}): check --admin"))
    };
    match timeout(SCRAPE_TIMEOUT, read).await {
        Ok(Ok(text)) => Ok(text),
        Ok(Err(error)) => Err(failed(error.to_string())),
        Err(_) => Err(failed(format!("no answer within {SCRAPE_TIMEOUT:?}"))),
    }
}

/// A metric without labels.
fn metric(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find(|line| line.split(' ').next() == Some(name))?;
    line.split(' ').nth(1)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_a_metric_by_its_whole_name() {
        let text = "# TYPE a counter\na_total_of_all 3\na_total 1.5\n";
        assert_eq!((metric(text, "a_total"), metric(text, "a")), (Some(1.5), None));
    }

    #[test]
    fn what_is_not_known_of_the_nodes_is_left_out() {
        let nodes = NodeUsage {
            count: 3,
            cpu_s: 1.0,
            memory_bytes: 10.0,
            log_bytes: 100.0,
            applied_index: 5.0,
            checkpoint_index: 5.0,
        };
        let then = Usage { nodes: Some(nodes), own_cpu_s: 1.0 };
        let now = Usage { nodes: Some(NodeUsage { cpu_s: 4.0, log_bytes: 300.0, ..nodes }), own_cpu_s: 2.0 };
        let cost = now.since(&then, 2);
        assert_eq!((cost.cpu_us_per_item, cost.log_bytes_per_item), (2e6, Some(100.0)));
        let without = Usage { nodes: None, ..now }.since(&then, 2);
        assert_eq!((without.cpu_us_per_item, without.log_bytes_per_item), (5e5, None));
    }
}
