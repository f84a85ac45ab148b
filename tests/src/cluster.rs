//! A cluster of real processes.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt::Write as _;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use belfry_sdk::pb::cluster_service_client::ClusterServiceClient;
use belfry_sdk::{Client, ClientOptions, pb};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::process::{Child, Command};

use crate::binary;
use crate::netns::Network;
use crate::proxy::{Link, Proxy};

/// Longest wait for anything that must happen: generous, because machines are busy; never how long a test takes.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Ports in a network namespace, where there is nobody to share them with: the defaults of a node.
const PORTS_OF_A_NAMESPACE: [u16; 3] = [7400, 7401, 7402];

/// What a cluster is to be like.
#[derive(Default)]
pub struct Setup {
    size: u64,
    config: String,
    network: Option<Network>,
    link: Option<Link>,
    belfry: Option<PathBuf>,
    environment: BTreeMap<u64, Vec<(OsString, OsString)>>,
}

/// Nodes and executors, ended when dropped.
pub struct Cluster {
    // The processes first: what they use goes after them.
    nodes: BTreeMap<u64, Child>,
    executors: BTreeMap<String, Child>,
    proxies: BTreeMap<u64, Proxy>,
    /// Where the other nodes reach a node, if not where it listens.
    detours: BTreeMap<u64, SocketAddr>,
    network: Option<Network>,
    folder: TempDir,
    belfry: PathBuf,
    addresses: BTreeMap<u64, Addresses>,
    environment: BTreeMap<u64, Vec<(OsString, OsString)>>,
}

#[derive(Clone, Copy)]
struct Addresses {
    api: SocketAddr,
    peer: SocketAddr,
    admin: SocketAddr,
}

impl Setup {
    /// Nodes `1..=size` on loopback.
    pub fn new(size: u64) -> Self {
        Self { size, ..Self::default() }
    }

    /// Adds to every configuration file.
    pub fn config(mut self, extra: &str) -> Self {
        self.config.push_str(extra);
        self
    }

    /// Each node and executor in a namespace of this network: `node-1`, `executor-NAME`.
    pub fn network(mut self, network: Network) -> Self {
        self.network = Some(network);
        self
    }

    /// What nodes say to each other goes through a proxy that delays it.
    pub fn link(mut self, link: Link) -> Self {
        self.link = Some(link);
        self
    }

    /// Another `belfry` than that of this build.
    pub fn belfry(mut self, belfry: PathBuf) -> Self {
        self.belfry = Some(belfry);
        self
    }

    /// Sets a variable of a node's environment.
    pub fn environment(mut self, node: u64, name: &str, value: impl Into<OsString>) -> Self {
        self.environment.entry(node).or_default().push((name.into(), value.into()));
        self
    }

    /// Starts all nodes and waits until one of them leads.
    pub async fn start(self) -> anyhow::Result<Cluster> {
        let Self { size, config, mut network, link, belfry, environment } = self;
        let mut addresses = BTreeMap::new();
        for id in 1..=size {
            let of_node = match &mut network {
                Some(network) => Addresses::in_namespace(network.join(&place(id))?),
                None => Addresses::on_loopback()?,
            };
            addresses.insert(id, of_node);
        }
        let mut proxies = BTreeMap::new();
        if let Some(link) = link {
            ensure!(network.is_none(), "the proxies are on loopback");
            for (id, of_node) in &addresses {
                proxies.insert(*id, Proxy::start(of_node.peer, link).await?);
            }
        }
        let mut cluster = Cluster {
            nodes: BTreeMap::new(),
            executors: BTreeMap::new(),
            proxies,
            detours: BTreeMap::new(),
            network,
            folder: TempDir::with_prefix("belfry-test-")?,
            belfry: belfry.map_or_else(binary::belfry, Ok)?,
            addresses,
            environment,
        };
        for id in 1..=size {
            cluster.write_config(id, true, &config)?;
            cluster.start_node(id)?;
        }
        cluster.wait_for_leader().await?;
        Ok(cluster)
    }
}

/// The place of a node in a network.
pub fn place(node: u64) -> String {
    format!("node-{node}")
}

impl Cluster {
    /// Starts nodes `1..=size` and waits until one of them leads. `extra` is added to every configuration file.
    pub async fn start(size: u64, extra: &str) -> anyhow::Result<Self> {
        Setup::new(size).config(extra).start().await
    }

    /// Gives a further node its ports and its configuration, which knows all nodes so far and may not bootstrap.
    pub fn prepare_node(&mut self, id: u64, extra: &str) -> anyhow::Result<()> {
        self.addresses.insert(id, Addresses::on_loopback()?);
        self.write_config(id, false, extra)
    }

    /// Lets the other nodes reach a node by another address, from the next start of each on: through a slow link.
    pub fn detour(&mut self, id: u64, through: SocketAddr, extra: &str) -> anyhow::Result<()> {
        self.detours.insert(id, through);
        self.addresses.keys().try_for_each(|node| self.write_config(*node, true, extra))
    }

    /// Forgets a node that was removed: what is configured or asked from now on knows nothing of it.
    pub fn forget_node(&mut self, id: u64) {
        self.nodes.remove(&id);
        self.addresses.remove(&id);
    }

    /// Folder of everything: configuration, data, logs, journals.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// The network, where the cluster has one of its own.
    pub fn network(&self) -> &Network {
        self.network.as_ref().expect("this cluster was started on a network")
    }

    /// The proxy in front of a node's peer port, where there is one.
    pub fn proxy(&self, id: u64) -> &Proxy {
        &self.proxies[&id]
    }

    /// Addresses of the client APIs.
    pub fn endpoints(&self) -> Vec<String> {
        self.addresses.keys().map(|id| self.endpoint(*id)).collect()
    }

    /// Address of one node's client API.
    pub fn endpoint(&self, id: u64) -> String {
        format!("http://{}", self.addresses[&id].api)
    }

    /// Address of one node's admin HTTP.
    pub fn admin(&self, id: u64) -> String {
        self.addresses[&id].admin.to_string()
    }

    /// A client of all nodes.
    pub fn client(&self) -> anyhow::Result<Client> {
        Ok(Client::connect(ClientOptions::new(self.endpoints()))?)
    }

    /// host:port of one node's service for other nodes.
    pub fn peer(&self, id: u64) -> String {
        self.addresses[&id].peer.to_string()
    }

    /// A metric of a node without labels; none when it does not answer, or has none of this name.
    pub async fn metric(&self, id: u64, name: &str) -> Option<f64> {
        let mut stream = tokio::net::TcpStream::connect(self.admin(id)).await.ok()?;
        stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: node\r\nconnection: close\r\n\r\n").await.ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await.ok()?;
        let line = text.lines().find(|line| line.split(' ').next() == Some(name))?;
        line.split(' ').nth(1)?.parse().ok()
    }

    /// The data folder of a node.
    pub fn data(&self, id: u64) -> PathBuf {
        self.folder.path().join(format!("data-{id}"))
    }

    /// Runs the command line against these nodes and waits for its end.
    pub async fn cli(&self, nodes: &[u64], arguments: &[&str]) -> anyhow::Result<Ended> {
        let endpoints: Vec<_> = nodes.iter().map(|id| self.endpoint(*id)).collect();
        let output = Command::new(&self.belfry)
            .args(arguments)
            .env("BELFRY_ENDPOINT", endpoints.join(","))
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output();
        let output = tokio::time::timeout(PATIENCE, output).await.context("the command does not end")??;
        Ok(Ended {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        })
    }

    /// Waits until the log of a node says something.
    pub async fn wait_for_log(&self, id: u64, text: &str) -> anyhow::Result<()> {
        let path = self.folder.path().join(format!("node-{id}.log"));
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if std::fs::read_to_string(&path).unwrap_or_default().contains(text) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        bail!("node {id} never said {text:?}\n{}", self.logs())
    }

    fn write_config(&self, id: u64, bootstrap: bool, extra: &str) -> anyhow::Result<()> {
        let mut text = format!(
            "[node]\nid = {id}\ndata = {:?}\n\n[cluster]\nname = \"test\"\nbootstrap = {bootstrap}\nmembers = [\n",
            self.data(id)
        );
        for (id, addresses) in &self.addresses {
            let proxied = self.proxies.get(id).map(Proxy::address);
            let peer = self.detours.get(id).copied().or(proxied).unwrap_or(addresses.peer);
            writeln!(text, "  {{ id = {id}, api = \"{}\", peer = \"{peer}\" }},", addresses.api)?;
        }
        let Addresses { api, peer, admin } = self.addresses[&id];
        write!(text, "]\n\n[listen]\napi = \"{api}\"\npeer = \"{peer}\"\nadmin = \"{admin}\"\n\n{extra}\n")?;
        Ok(std::fs::write(self.config_path(id), text)?)
    }

    /// Configuration file of a node.
    pub fn config_path(&self, id: u64) -> PathBuf {
        self.folder.path().join(format!("node-{id}.toml"))
    }

    /// The `belfry` of what is started from now on: another release.
    pub fn belfry(&mut self, belfry: PathBuf) {
        self.belfry = belfry;
    }

    /// Starts a node, for the first time or again.
    pub fn start_node(&mut self, id: u64) -> anyhow::Result<()> {
        let config = self.config_path(id).to_string_lossy().into_owned();
        let arguments = ["node", "--config", &config].map(str::to_owned);
        let environment = self.environment.get(&id).cloned().unwrap_or_default();
        let child = self.spawn(&place(id), &self.belfry, &arguments, &environment)?;
        self.nodes.insert(id, child);
        Ok(())
    }

    /// Starts an executor with the stock handlers.
    pub fn start_executor(&mut self, name: &str, slots: u32) -> anyhow::Result<()> {
        let belfry = self.belfry.clone();
        let arguments = [
            "executor",
            "--endpoint",
            &self.endpoints().join(","),
            "--pool",
            "default",
            "--slots",
            &slots.to_string(),
            "--name",
            name,
            "--grace",
            "1s",
        ];
        self.start_executor_of(name, &belfry, &arguments.map(str::to_owned))
    }

    /// Starts a program as an executor.
    pub fn start_executor_of(
        &mut self,
        name: &str,
        program: &Path,
        arguments: &[String],
    ) -> anyhow::Result<()> {
        let place = format!("executor-{name}");
        if let Some(network) = &mut self.network {
            network.join(&place)?;
        }
        let child = self.spawn(&place, program, arguments, &[])?;
        self.executors.insert(name.to_owned(), child);
        Ok(())
    }

    fn spawn(
        &self,
        place: &str,
        program: &Path,
        arguments: &[String],
        environment: &[(OsString, OsString)],
    ) -> anyhow::Result<Child> {
        let path = self.folder.path().join(format!("{place}.log"));
        let log = std::fs::OpenOptions::new().create(true).append(true).open(path)?;
        let mut words = self.network.as_ref().map_or_else(Vec::new, |network| network.enter(place));
        words.push(program.to_string_lossy().into_owned());
        words.extend_from_slice(arguments);
        Command::new(&words[0])
            .args(&words[1..])
            .envs(environment.iter().cloned())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("{} does not start", words[0]))
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

    /// Stalls a node with SIGSTOP. Proven: the kernel says that it is stopped.
    pub async fn stall_node(&self, id: u64) -> anyhow::Result<()> {
        stall(self.nodes.get(&id).context("this node does not run")?).await
    }

    /// Lets a stalled node go on.
    pub fn wake_node(&self, id: u64) -> anyhow::Result<()> {
        signal(self.nodes.get(&id).context("this node does not run")?, Signal::SIGCONT)
    }

    /// Stalls an executor with SIGSTOP; what it has started goes on.
    pub async fn stall_executor(&self, name: &str) -> anyhow::Result<()> {
        stall(self.executors.get(name).context("this executor does not run")?).await
    }

    /// Lets a stalled executor go on.
    pub fn wake_executor(&self, name: &str) -> anyhow::Result<()> {
        signal(self.executors.get(name).context("this executor does not run")?, Signal::SIGCONT)
    }

    /// Waits until a node has ended by itself, and says how.
    pub async fn wait_for_exit(&mut self, id: u64) -> anyhow::Result<ExitStatus> {
        let mut child = self.nodes.remove(&id).context("this node does not run")?;
        let status = tokio::time::timeout(PATIENCE, child.wait()).await;
        Ok(status.with_context(|| format!("node {id} does not end\n{}", self.logs()))??)
    }

    /// What a node wrote to its log so far, over all its starts.
    pub fn log(&self, id: u64) -> anyhow::Result<String> {
        Ok(std::fs::read_to_string(self.folder.path().join(format!("{}.log", place(id))))?)
    }

    /// Whether a node was started and has not been ended by this test.
    pub fn runs(&self, id: u64) -> bool {
        self.nodes.contains_key(&id)
    }

    /// Process ids of the nodes and executors that run.
    pub fn pids(&self) -> Vec<u32> {
        self.processes().into_values().collect()
    }

    /// The same, by name.
    pub fn processes(&self) -> BTreeMap<String, u32> {
        let nodes = self.nodes.iter().map(|(id, child)| (place(*id), child.id()));
        let executors = self.executors.iter().map(|(name, child)| (format!("executor-{name}"), child.id()));
        nodes.chain(executors).filter_map(|(name, pid)| Some((name, pid?))).collect()
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
        let running: Vec<_> = self.nodes.keys().copied().collect();
        self.wait_for_leader_of(&running).await
    }

    /// Waits until one of these nodes leads, by what they themselves say.
    pub async fn wait_for_leader_of(&self, nodes: &[u64]) -> anyhow::Result<u64> {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            for id in nodes {
                if let Some(status) = self.status(*id).await
                    && status.writable
                    && nodes.contains(&status.leader_id)
                {
                    return Ok(status.leader_id);
                }
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        bail!("no leader within {PATIENCE:?}\n{}", self.logs())
    }

    /// Waits until a node is ready, as the step of a rolling restart does.
    pub async fn wait_until_ready(&self, id: u64) -> anyhow::Result<()> {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if self.is_ready(id).await.unwrap_or(false) {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        bail!("node {id} is not ready within {PATIENCE:?}\n{}", self.logs())
    }

    /// Waits until a node that was started is ready, or has ended; whether it is ready.
    pub async fn becomes_ready(&mut self, id: u64) -> anyhow::Result<bool> {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if self.nodes.get_mut(&id).context("this node does not run")?.try_wait()?.is_some() {
                return Ok(false);
            }
            if self.is_ready(id).await.unwrap_or(false) {
                return Ok(true);
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        bail!("node {id} neither ends nor is ready\n{}", self.logs())
    }

    /// Makes a node the leader, however often it takes.
    pub async fn lead(&self, id: u64) -> anyhow::Result<()> {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            if self.wait_for_leader().await? == id {
                return Ok(());
            }
            // It may be behind still, or somebody else may be elected meanwhile: the next round asks again.
            let _ = self.ask_to_lead(id).await;
        }
        bail!("node {id} does not come to lead\n{}", self.logs())
    }

    /// Asks for a node to become the leader, once.
    pub async fn ask_to_lead(&self, id: u64) -> anyhow::Result<()> {
        let request = pb::TransferLeadershipRequest { to_node_id: id, ..Default::default() };
        self.client()?.transfer_leadership(request).await?;
        Ok(())
    }

    async fn is_ready(&self, id: u64) -> anyhow::Result<bool> {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let ask = async {
            let mut stream = tokio::net::TcpStream::connect(self.addresses[&id].admin).await?;
            stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: node\r\nConnection: close\r\n\r\n").await?;
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await?;
            anyhow::Ok(answer.starts_with("HTTP/1.1 200"))
        };
        tokio::time::timeout(Duration::from_secs(1), ask).await?
    }

    /// Waits until every running node has applied the same log, and says what digest of the state each has there.
    pub async fn settled_digests(&self) -> anyhow::Result<BTreeMap<u64, String>> {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            let mut indexes = BTreeSet::new();
            for id in self.nodes.keys() {
                indexes.insert(self.status(*id).await.map(|status| status.applied_index));
            }
            // Whole digests take their time, and entries wait meanwhile: only once they are of the same state.
            if let (1, Some(Some(settled))) = (indexes.len(), indexes.first()) {
                let mut digests = BTreeMap::new();
                for id in self.nodes.keys() {
                    let (index, digest) = self.whole_digest(*id).await?;
                    if index == *settled {
                        digests.insert(*id, digest);
                    }
                }
                if digests.len() == self.nodes.len() {
                    return Ok(digests);
                }
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        bail!("the nodes did not settle within {PATIENCE:?}\n{}", self.logs())
    }

    /// The digest of all that a node has, however much it is, and the index that it is of.
    async fn whole_digest(&self, id: u64) -> anyhow::Result<(u64, String)> {
        let mut request = tonic::Request::new(pb::GetClusterStatusRequest {});
        request.metadata_mut().insert("belfry-digest", "full".parse()?);
        let ask = async {
            let mut client = ClusterServiceClient::connect(self.endpoint(id)).await?;
            anyhow::Ok(client.get_cluster_status(request).await?.into_inner())
        };
        let status = tokio::time::timeout(PATIENCE, ask).await??;
        ensure!(!status.state_digest.is_empty(), "node {id} says no digest");
        Ok((status.applied_index, status.state_digest))
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

/// How a command line ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ended {
    /// Its exit code.
    pub code: Option<i32>,
    /// What it wrote to stdout.
    pub stdout: String,
    /// What it wrote to stderr.
    pub stderr: String,
}

impl Ended {
    /// What it wrote to stdout, if it ended well.
    pub fn ok(self) -> anyhow::Result<String> {
        ensure!(self.code == Some(0), "it ended with {:?}: {}", self.code, self.stderr);
        Ok(self.stdout)
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

fn signal(child: &Child, signal: Signal) -> anyhow::Result<()> {
    let pid = child.id().context("the process has ended already")?;
    Ok(kill(Pid::from_raw(pid.cast_signed()), signal)?)
}

async fn stall(child: &Child) -> anyhow::Result<()> {
    signal(child, Signal::SIGSTOP)?;
    let pid = child.id().context("the process has ended already")?;
    let start = Instant::now();
    while start.elapsed() < PATIENCE {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
        // The state follows the name, which is in parentheses (proc_pid_stat(5)).
        if stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T')) {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    bail!("process {pid} does not stop on SIGSTOP")
}

impl Addresses {
    fn in_namespace(address: Ipv4Addr) -> Self {
        let [api, peer, admin] = PORTS_OF_A_NAMESPACE.map(|port| SocketAddr::new(address.into(), port));
        Self { api, peer, admin }
    }

    /// Ports that the system chose, on an address that only this process uses: nobody takes them while a node is away.
    fn on_loopback() -> anyhow::Result<Self> {
        Ok(Self { api: free_port()?, peer: free_port()?, admin: free_port()? })
    }
}

/// A port that was free a moment ago and that nobody in this process has been given before.
pub(crate) fn free_port() -> anyhow::Result<SocketAddr> {
    static GIVEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    let ours = IpAddr::V4(Ipv4Addr::new(127, 64 | high & 63, middle, low));
    // Systems other than Linux have 127.0.0.1 alone.
    let listener = TcpListener::bind((ours, 0)).or_else(|_| TcpListener::bind("127.0.0.1:0"));
    let mut held = vec![listener?];
    loop {
        let address = held.last().expect("it begins with one").local_addr()?;
        if GIVEN.lock().unwrap_or_else(PoisonError::into_inner).insert(address.port()) {
            return Ok(address);
        }
        // Held until another port is found, so that the system chooses another one.
        held.push(TcpListener::bind((address.ip(), 0))?);
    }
}
