//! `belfry bench … -o json` against a cluster of the harness.

use std::path::PathBuf;
use std::process::Stdio;

use anyhow::Context as _;
use belfry_tests::binary;
use belfry_tests::cluster::Cluster;
use serde_json::Value;
use tokio::process::{Child, Command};

/// The command, and the cluster that it talks to.
pub struct Bench {
    belfry: PathBuf,
    endpoints: String,
    admin: Option<String>,
}

/// What a benchmark wrote.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    document: Value,
    /// Why it counts as failed (REPORT-1).
    pub problem: Option<String>,
}

/// A part of a steady load.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Interval {
    /// After the first instant.
    pub from_s: f64,
    /// The same.
    pub to_s: f64,
    /// 99th percentile of the lag of what was due in it.
    pub p99_ms: f64,
}

impl Bench {
    /// Of all nodes of a cluster.
    pub fn of(cluster: &Cluster, nodes: u64) -> anyhow::Result<Self> {
        let admin: Vec<_> = (1..=nodes).map(|id| cluster.admin(id)).collect();
        Ok(Self {
            belfry: binary::belfry()?,
            endpoints: cluster.endpoints().join(","),
            admin: Some(admin.join(",")),
        })
    }

    /// The same without what nodes say of themselves: one of them is about to be killed.
    pub fn without_usage(self) -> Self {
        Self { admin: None, ..self }
    }

    /// Starts one.
    pub fn start(&self, arguments: &[&str]) -> anyhow::Result<Child> {
        let mut command = Command::new(&self.belfry);
        command.arg("bench").args(arguments).args(["--output", "json", "--yes"]);
        command.env("BELFRY_ENDPOINT", &self.endpoints).env("BELFRY_TIMEOUT", "60s");
        if let Some(admin) = &self.admin {
            command.env("BELFRY_ADMIN", admin);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        command.spawn().with_context(|| format!("{} does not start", self.belfry.display()))
    }

    /// Waits for what it found.
    pub async fn finish(child: Child) -> anyhow::Result<Figures> {
        let output = child.wait_with_output().await?;
        let said = String::from_utf8_lossy(&output.stderr);
        let errors: Vec<_> = said.lines().filter_map(|line| line.strip_prefix("error: ")).collect();
        let document = match output.stdout.is_empty() {
            true => Value::Null,
            false => serde_json::from_slice(&output.stdout).context("its output is no JSON")?,
        };
        let problem = (!output.status.success()).then(|| errors.join("; "));
        Ok(Figures { document, problem })
    }

    /// Runs one to its end.
    pub async fn run(&self, arguments: &[&str]) -> anyhow::Result<Figures> {
        eprintln!("   belfry bench {}", arguments.join(" "));
        Self::finish(self.start(arguments)?).await
    }
}

impl Figures {
    /// One figure, by its path: `/lag/p99_ms`. None where it was not measured.
    pub fn number(&self, path: &str) -> Option<f64> {
        self.document.pointer(path)?.as_f64()
    }

    /// The lag of a steady load over time.
    pub fn intervals(&self) -> Vec<Interval> {
        let intervals = self.document.pointer("/intervals").and_then(Value::as_array);
        let read = |interval: &Value| {
            Some(Interval {
                from_s: interval["from_s"].as_f64()?,
                to_s: interval["to_s"].as_f64()?,
                p99_ms: interval.pointer("/lag/p99_ms")?.as_f64()?,
            })
        };
        intervals.into_iter().flatten().filter_map(read).collect()
    }

    /// Schedules per second of one kind of call of `crud`, so many calls at once.
    pub fn operation(&self, name: &str, in_flight: u64) -> Option<f64> {
        let operations = self.document.pointer("/operations")?.as_array()?;
        let found = operations.iter().find(|operation| {
            operation["operation"] == name && operation["in_flight"] == in_flight && operation["batch"] == 1
        })?;
        found["schedules_per_second"].as_f64()
    }

    /// The same in batches.
    pub fn bulk(&self, name: &str) -> Option<f64> {
        let operations = self.document.pointer("/operations")?.as_array()?;
        let found = operations
            .iter()
            .find(|operation| operation["operation"] == name && operation["batch"].as_u64() > Some(1))?;
        found["schedules_per_second"].as_f64()
    }
}
