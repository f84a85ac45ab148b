//! A place where a node can live, die and live again: its disk and its address outlast it.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt as _;
use tempfile::TempDir;
use tokio::io::DuplexStream;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

use super::super::{Addresses, IdentityPort, NodeId, RaftConfig, Replica, StartError, Stores, start};
use crate::store::{
    CheckpointPort, DataFolder, Identity, LogId, LogState, MemoryCheckpoint, MemoryLog, Offload,
    SledCheckpoint, WalLog, WalOptions,
};

/// What a site keeps its data on.
pub(super) enum Disk {
    /// The real stores. The folder is locked as long as the site exists: a test holds replicas of former lives.
    Real(Arc<Mutex<DataFolder>>, #[expect(dead_code, reason = "removed with the site")] TempDir),
    /// Their twins, which can fail and crash on demand.
    Twin(Twin),
}

pub(super) struct Twin {
    pub(super) log: Arc<MemoryLog>,
    pub(super) checkpoint: MemoryCheckpoint,
    identity: Arc<MemoryIdentity>,
    snapshots: TempDir,
}

impl Disk {
    /// An empty disk for node `node_id`.
    pub(super) fn real(node_id: u64) -> Self {
        let root = tempfile::tempdir().unwrap();
        let folder = DataFolder::open(root.path(), Identity { cluster_id: None, node_id }).unwrap();
        Disk::Real(Arc::new(Mutex::new(folder)), root)
    }

    pub(super) fn real_three() -> [Self; 3] {
        [1, 2, 3].map(Disk::real)
    }

    pub(super) fn twin() -> Self {
        Disk::Twin(Twin {
            log: Arc::default(),
            checkpoint: MemoryCheckpoint::new(),
            identity: Arc::default(),
            snapshots: tempfile::tempdir().unwrap(),
        })
    }

    pub(super) fn twin_mut(&mut self) -> &mut Twin {
        match self {
            Disk::Twin(twin) => twin,
            Disk::Real(..) => panic!("a real disk does not fail on demand"),
        }
    }

    fn open(&self) -> (Stores, std::path::PathBuf) {
        match self {
            Disk::Real(identity, _) => {
                let folder = identity.lock().unwrap();
                let log =
                    WalLog::open(&folder.log_path(), folder.log_owner(), WalOptions::default()).unwrap();
                let checkpoint = SledCheckpoint::open(&folder.state_path()).unwrap();
                let stores = Stores {
                    identity: identity.clone(),
                    log: Arc::new(log),
                    checkpoint: Arc::new(checkpoint),
                    offload: Offload::default(),
                };
                (stores, folder.snapshots_path())
            }
            Disk::Twin(twin) => {
                let checkpoint = Arc::new(twin.checkpoint.clone());
                let stores = Stores {
                    identity: twin.identity.clone(),
                    log: twin.log.clone(),
                    checkpoint,
                    offload: Offload::default(),
                };
                (stores, twin.snapshots.path().join("snapshots"))
            }
        }
    }
}

struct MemoryIdentity {
    incarnation: String,
    cluster: Mutex<Option<String>>,
}

impl Default for MemoryIdentity {
    fn default() -> Self {
        Self { incarnation: ulid::Ulid::generate().to_string(), cluster: Mutex::default() }
    }
}

impl IdentityPort for MemoryIdentity {
    fn cluster_id(&self) -> Option<String> {
        self.cluster.lock().unwrap().clone()
    }

    fn incarnation(&self) -> String {
        self.incarnation.clone()
    }

    fn set_cluster_id(&self, cluster_id: &str) -> io::Result<()> {
        *self.cluster.lock().unwrap() = Some(cluster_id.to_owned());
        Ok(())
    }

    fn verify(&self, _log: &LogState, _applied: Option<LogId>) -> io::Result<()> {
        Ok(())
    }
}

/// Who gets the connections that arrive at a site's address; while nobody lives there they are closed at once.
type Door = Arc<Mutex<Option<(mpsc::Sender<io::Result<DuplexStream>>, CancellationToken)>>>;

pub(super) struct Site {
    pub(super) id: u64,
    pub(super) address: String,
    pub(super) disk: Disk,
    door: Door,
    resident: Option<Resident>,
}

struct Resident {
    replica: Replica,
    server: tokio::task::JoinHandle<()>,
    /// Cancelled: every connection breaks, as when a process dies.
    dead: CancellationToken,
}

impl Site {
    pub(super) async fn new(id: u64, disk: Disk) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let door = Door::default();
        tokio::spawn(let_in(listener, door.clone()));
        Self { id, address, disk, door, resident: None }
    }

    pub(super) fn config(&self, members: &BTreeMap<NodeId, Addresses>) -> RaftConfig {
        RaftConfig {
            checkpoint_every: Duration::from_millis(50),
            ..RaftConfig::new(NodeId(self.id), members.clone(), "set when the disk is opened".into())
        }
    }

    pub(super) async fn try_start(&mut self, config: RaftConfig) -> Result<Replica, StartError> {
        assert!(self.resident.is_none(), "node {} lives already", self.id);
        let (stores, snapshots_folder) = self.disk.open();
        self.start(RaftConfig { snapshots_folder, ..config }, stores).await
    }

    /// With another store of checkpoints than that of its disk.
    pub(super) async fn try_start_with(
        &mut self,
        config: RaftConfig,
        checkpoint: Arc<dyn CheckpointPort>,
    ) -> Result<Replica, StartError> {
        let (stores, snapshots_folder) = self.disk.open();
        self.start(RaftConfig { snapshots_folder, ..config }, Stores { checkpoint, ..stores }).await
    }

    async fn start(&mut self, config: RaftConfig, stores: Stores) -> Result<Replica, StartError> {
        let node = start(config, stores).await?;
        let (door, connections) = mpsc::channel(16);
        let dead = CancellationToken::new();
        *self.door.lock().unwrap() = Some((door, dead.clone()));
        let server = tonic::transport::Server::builder()
            .add_service(node.service)
            .serve_with_incoming(ReceiverStream::new(connections).fuse());
        let server = tokio::spawn(async move { server.await.unwrap() });
        self.resident = Some(Resident { replica: node.replica.clone(), server, dead });
        Ok(node.replica)
    }

    pub(super) fn replica(&self) -> &Replica {
        &self.resident.as_ref().unwrap_or_else(|| panic!("node {} does not live", self.id)).replica
    }

    pub(super) fn lives(&self) -> bool {
        self.resident.is_some()
    }

    /// The node goes away without handing anything over.
    pub(super) async fn stop(&mut self) {
        self.end().await;
        if let Disk::Twin(twin) = &mut self.disk {
            // Closing was for good: the next life finds what was durable.
            twin.log = Arc::new(twin.log.crash());
        }
    }

    /// The machine loses power: what the twin did not acknowledge is gone.
    pub(super) async fn lose_power(&mut self) {
        let twin = self.disk.twin_mut();
        let left = Arc::new(twin.log.crash());
        twin.log = left;
        self.end().await;
    }

    async fn end(&mut self) {
        let resident = self.resident.take().unwrap_or_else(|| panic!("node {} does not live", self.id));
        *self.door.lock().unwrap() = None;
        resident.dead.cancel();
        resident.server.abort();
        resident.server.await.ok();
        resident.replica.shutdown().await;
    }
}

async fn let_in(listener: TcpListener, door: Door) {
    loop {
        let Ok((stream, _)) = listener.accept().await else { continue };
        // As the daemon does: Nagle's algorithm and delayed acknowledgements cost 40 ms per write together.
        stream.set_nodelay(true).unwrap();
        let resident = door.lock().unwrap().clone();
        // Nobody home: dropping the stream closes it.
        let Some((door, dead)) = resident else { continue };
        let (inside, outside) = tokio::io::duplex(1 << 20);
        if door.send(Ok(inside)).await.is_ok() {
            tokio::spawn(dead.run_until_cancelled_owned(pass(stream, outside)));
        }
    }
}

async fn pass(mut stream: TcpStream, mut inside: DuplexStream) {
    // Either side may go away at any moment: then both do.
    tokio::io::copy_bidirectional(&mut stream, &mut inside).await.ok();
}
