//! A cluster of real processes.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use belfry_sdk::{Client, ClientOptions, pb};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::process::{Child, Command};

use crate::binary;

/// Longest wait for anything that must happen: generous, because machines are busy; never how long a test takes.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Nodes and executors, ended when dropped.
pub struct Cluster {
    folder: TempDir,
    belfry: PathBuf,
    ports: BTreeMap<u64, Ports>,
    nodes: BTreeMap<u64, Child>,
    executors: BTreeMap<String, Child>,
}

#[derive(Clone, Copy)]
struct Ports {
    api: u16,
    peer: u16,
    admin: u16,
}

impl Cluster {
    /// Starts nodes `1..=size` and waits until one of them leads. `extra` is added to every configuration file.
    pub async fn start(size: u64, extra: &str) -> anyhow::Result<Self> {
        let folder = TempDir::with_prefix("belfry-test-")?;
        let ports = (1..=size).map(|id| Ok((id, free_ports()?))).collect::<anyhow::Result<_>>()?;
        let mut cluster = Self {
            folder,
            belfry: binary::belfry()?,
            ports,
            nodes: BTreeMap::new(),
            executors: BTreeMap::new(),
        };
        for id in 1..=size {
            cluster.write_config(id, extra)?;
            cluster.start_node(id)?;
        }
        cluster.wait_for_leader().await?;
        Ok(cluster)
    }

    /// Folder of everything: configuration, data, logs, journals.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Addresses of the client APIs.
    pub fn endpoints(&self) -> Vec<String> {
        self.ports.values().map(|ports| format!("http://127.0.0.1:{}", ports.api)).collect()
    }

    /// Address of one node's client API.
    pub fn endpoint(&self, id: u64) -> String {
        format!("http://127.0.0.1:{}", self.ports[&id].api)
    }

    /// Address of one node's admin HTTP.
    pub fn admin(&self, id: u64) -> String {
        format!("127.0.0.1:{}", self.ports[&id].admin)
    }

    /// A client of all nodes.
    pub fn client(&self) -> anyhow::Result<Client> {
        Ok(Client::connect(ClientOptions::new(self.endpoints()))?)
    }

    fn write_config(&self, id: u64, extra: &str) -> anyhow::Result<()> {
        let mut text = format!(
            "[node]\nid = {id}\ndata = {:?}\n\n[cluster]\nname = \"test\"\nbootstrap = true\nmembers = [\n",
            self.folder.path().join(format!("data-{id}"))
        );
        for (id, ports) in &self.ports {
            writeln!(
                text,
                "  {{ id = {id}, api = \"127.0.0.1:{}\", peer = \"127.0.0.1:{}\" }},",
                ports.api, ports.peer
            )?;
        }
        let ports = self.ports[&id];
        write!(
            text,
            "]\n\n[listen]\napi = \"127.0.0.1:{}\"\npeer = \"127.0.0.1:{}\"\nadmin = \"127.0.0.1:{}\"\n\n{extra}\n",
            ports.api, ports.peer, ports.admin
        )?;
        Ok(std::fs::write(self.config_path(id), text)?)
    }

    /// Configuration file of a node.
    pub fn config_path(&self, id: u64) -> PathBuf {
        self.folder.path().join(format!("node-{id}.toml"))
    }

    /// Starts a node, for the first time or again.
    pub fn start_node(&mut self, id: u64) -> anyhow::Result<()> {
        let config = self.config_path(id);
        let child = self.spawn(&format!("node-{id}"), &["node", "--config", &config.to_string_lossy()])?;
        self.nodes.insert(id, child);
        Ok(())
    }

    /// Starts an executor with the stock handlers.
    pub fn start_executor(&mut self, name: &str, slots: u32) -> anyhow::Result<()> {
        let endpoints = self.endpoints().join(",");
        let slots = slots.to_string();
        let arguments = [
            "executor",
            "--endpoint",
            &endpoints,
            "--pool",
            "default",
            "--slots",
            &slots,
            "--name",
            name,
            "--grace",
            "1s",
        ];
        let child = self.spawn(&format!("executor-{name}"), &arguments)?;
        self.executors.insert(name.to_owned(), child);
        Ok(())
    }

    fn spawn(&self, name: &str, arguments: &[&str]) -> anyhow::Result<Child> {
        let path = self.folder.path().join(format!("{name}.log"));
        let log = std::fs::OpenOptions::new().create(true).append(true).open(path)?;
        Command::new(&self.belfry)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{} does not start", self.belfry.display()))
    }

    /// Kills a node with SIGKILL and waits for its end.
    pub async fn kill_node(&mut self, id: u64) -> anyhow::Result<()> {
        let mut child = self.nodes.remove(&id).context("this node does not run")?;
        child.kill().await?;
        Ok(())
    }

    /// Stops a node with SIGTERM and waits until it has gone by itself.
    pub async fn stop_node(&mut self, id: u64) -> anyhow::Result<()> {
        let child = self.nodes.remove(&id).context("this node does not run")?;
        terminate(child).await
    }

    /// Kills an executor with SIGKILL.
    pub async fn kill_executor(&mut self, name: &str) -> anyhow::Result<()> {
        let mut child = self.executors.remove(name).context("this executor does not run")?;
        child.kill().await?;
        Ok(())
    }

    /// Stops an executor with SIGTERM and waits until it has drained.
    pub async fn stop_executor(&mut self, name: &str) -> anyhow::Result<()> {
        let child = self.executors.remove(name).context("this executor does not run")?;
        terminate(child).await
    }

    /// Process ids of the nodes and executors that run.
    pub fn pids(&self) -> Vec<u32> {
        self.nodes.values().chain(self.executors.values()).filter_map(Child::id).collect()
    }

    /// What a node says of the cluster; none when it cannot be asked.
    pub async fn status(&self, id: u64) -> Option<pb::ClusterStatus> {
        let mut options = ClientOptions::new([self.endpoint(id)]);
        options.timeout = Duration::from_millis(500);
        let client = Client::connect(options).ok()?;
        client.get_cluster_status(pb::GetClusterStatusRequest {}).await.ok()
    }

    /// Waits until a running node leads, and says which.
    pub async fn wait_for_leader(&self) -> anyhow::Result<u64> {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            for id in self.nodes.keys() {
                if let Some(status) = self.status(*id).await
                    && status.writable
                    && self.nodes.contains_key(&status.leader_id)
                {
                    return Ok(status.leader_id);
                }
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        bail!("no leader within {PATIENCE:?}\n{}", self.logs())
    }

    /// Waits until every running node has applied the same log, and says what digest of the state each has there.
    pub async fn settled_digests(&self) -> anyhow::Result<BTreeMap<u64, String>> {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            let mut seen = BTreeMap::new();
            for id in self.nodes.keys() {
                if let Some(status) = self.status(*id).await {
                    seen.insert(*id, (status.applied_index, status.state_digest));
                }
            }
            let indexes: std::collections::BTreeSet<_> = seen.values().map(|(index, _)| *index).collect();
            if seen.len() == self.nodes.len() && indexes.len() == 1 {
                return Ok(seen.into_iter().map(|(id, (_, digest))| (id, digest)).collect());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        bail!("the nodes did not settle within {PATIENCE:?}\n{}", self.logs())
    }

    /// The last lines of every log, for failures.
    pub fn logs(&self) -> String {
        let mut out = String::new();
        let Ok(entries) = std::fs::read_dir(self.folder.path()) else { return out };
        for path in entries.flatten().map(|entry| entry.path()) {
            if path.extension().is_some_and(|extension| extension == "log") {
                let text = std::fs::read_to_string(&path).unwrap_or_default();
                let lines: Vec<_> = text.lines().collect();
                let tail = lines[lines.len().saturating_sub(25)..].join("\n");
                let _ = writeln!(out, "--- {}\n{tail}", path.display());
            }
        }
        out
    }
}

async fn terminate(mut child: Child) -> anyhow::Result<()> {
    let pid = child.id().context("the process has ended already")?;
    kill(Pid::from_raw(pid.cast_signed()), Signal::SIGTERM)?;
    let status =
        tokio::time::timeout(PATIENCE, child.wait()).await.context("it does not stop on SIGTERM")??;
    ensure!(status.success(), "it stopped with {status}");
    Ok(())
}

/// Three ports that were free a moment ago.
fn free_ports() -> anyhow::Result<Ports> {
    let listeners = [
        TcpListener::bind("127.0.0.1:0")?,
        TcpListener::bind("127.0.0.1:0")?,
        TcpListener::bind("127.0.0.1:0")?,
    ];
    let [api, peer, admin] = listeners.map(|listener| listener.local_addr().map(|address| address.port()));
    Ok(Ports { api: api?, peer: peer?, admin: admin? })
}
