//! The disk of a node: outlives its process, loses at a crash what was not synced, may be slow, full or broken.
//!
//! - DISK-1 nothing is acknowledged before its sync has ended; a crash keeps some prefix of what was not synced, often nothing.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use belfry_server::raft::{IdentityPort, Stores};
use belfry_server::store::{
    DiskCall, Durable, LogEntry, LogId, LogPort, LogState, MemoryCheckpoint, MemoryLog, Offload, OffloadPort,
    Vote,
};
use futures_util::future::BoxFuture;
use tempfile::TempDir;
use tokio::sync::Notify;

use crate::chance::Chance;

/// The disk of one node.
pub struct SimDisk {
    log: Mutex<Arc<MemoryLog>>,
    pending: Mutex<Arc<Pending>>,
    checkpoint: MemoryCheckpoint,
    identity: Arc<SimIdentity>,
    pace: Arc<Pace>,
    /// For snapshots on their way.
    folder: TempDir,
}

/// How slow it is.
struct Pace {
    chance: Mutex<Chance>,
    /// Longest sync, in milliseconds.
    sync_ms_max: AtomicU64,
    /// A call to the checkpoint fails.
    full: AtomicBool,
    /// It was full since a process opened it.
    was_full: AtomicBool,
}

/// The longest sync of a disk that is well.
const SYNC_MS_MAX: u64 = 6;

impl Pace {
    fn sync(&self) -> Duration {
        let max = self.sync_ms_max.load(Ordering::Relaxed);
        self.chance().millis(0..max + 1)
    }

    fn chance(&self) -> MutexGuard<'_, Chance> {
        self.chance.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl SimDisk {
    /// An empty disk.
    pub fn new(seed: u64, node: u64) -> io::Result<Self> {
        let chance = Mutex::new(Chance::new(seed, &format!("disk {node}")));
        Ok(Self {
            log: Mutex::default(),
            pending: Mutex::default(),
            checkpoint: MemoryCheckpoint::new(),
            identity: Arc::new(SimIdentity {
                incarnation: format!("disk-{node}"),
                cluster: Mutex::default(),
            }),
            pace: Arc::new(Pace {
                chance,
                sync_ms_max: AtomicU64::new(SYNC_MS_MAX),
                full: AtomicBool::new(false),
                was_full: AtomicBool::new(false),
            }),
            folder: tempfile::tempdir()?,
        })
    }

    /// Where snapshots go.
    #[must_use]
    pub fn folder(&self) -> String {
        self.folder.path().display().to_string()
    }

    /// Makes it as slow as this, or well again.
    pub fn set_sync_max(&self, longest: Option<Duration>) {
        let millis =
            longest.map_or(SYNC_MS_MAX, |longest| u64::try_from(longest.as_millis()).unwrap_or(u64::MAX));
        self.pace.sync_ms_max.store(millis, Ordering::Relaxed);
    }

    /// Whether there was no room at some time in the life of the process that has opened it: a store that has failed stays so, and the
    /// process may find out when there is room again.
    #[must_use]
    pub fn was_full(&self) -> bool {
        self.pace.was_full.load(Ordering::Relaxed)
    }

    /// From now on there is no room, or there is again.
    pub fn set_full(&self, full: bool) {
        self.pace.full.store(full, Ordering::Relaxed);
        if full {
            self.pace.was_full.store(true, Ordering::Relaxed);
            self.checkpoint.fail_writes();
            lock(&self.log).fail(io::ErrorKind::StorageFull.into());
        } else {
            self.checkpoint.allow_writes();
        }
    }

    /// Changes that were asked for and are not synced.
    #[must_use]
    pub fn pending(&self) -> usize {
        lock(&self.pending).count.load(Ordering::Relaxed)
    }

    /// The process is gone, or the power: of what was not synced some prefix is there, which may be nothing.
    pub fn crash(&self) -> usize {
        let pending = self.pending();
        let mut log = lock(&self.log);
        let kept = {
            let mut chance = self.pace.chance();
            if chance.one_in(2) { 0 } else { chance.within(0..pending as u64 + 1) }
        };
        log.release(usize::try_from(kept).expect("no more than there are"));
        let left = log.crash();
        *log = Arc::new(left);
        pending - usize::try_from(kept).expect("no more than there are")
    }

    /// What a process that starts on this host finds. Called on the host.
    pub fn open(&self) -> Stores {
        self.pace.was_full.store(self.pace.full.load(Ordering::Relaxed), Ordering::Relaxed);
        let log = {
            let mut log = lock(&self.log);
            // A process that ended by itself has closed it.
            *log = Arc::new(log.crash());
            log.hold();
            log.clone()
        };
        let pending = Arc::new(Pending::default());
        *lock(&self.pending) = pending.clone();
        tokio::spawn(sync_for_ever(log.clone(), pending.clone(), self.pace.clone()));
        Stores {
            identity: self.identity.clone(),
            log: Arc::new(SimLog { log, pending }),
            checkpoint: Arc::new(self.checkpoint.clone()),
            offload: Offload::new(SlowCalls(self.pace.clone())),
        }
    }
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What was asked of the log and is not synced.
#[derive(Default)]
struct Pending {
    count: AtomicUsize,
    more: Notify,
}

/// One sync after the other; each covers what was asked for before it began.
async fn sync_for_ever(log: Arc<MemoryLog>, pending: Arc<Pending>, pace: Arc<Pace>) {
    loop {
        pending.more.notified().await;
        loop {
            let count = pending.count.load(Ordering::Relaxed);
            if count == 0 {
                break;
            }
            tokio::time::sleep(pace.sync()).await;
            pending.count.fetch_sub(count, Ordering::Relaxed);
            log.release(count);
        }
    }
}

/// The in-memory log, whose changes wait for a sync.
struct SimLog {
    log: Arc<MemoryLog>,
    pending: Arc<Pending>,
}

impl SimLog {
    fn asked(&self) {
        self.pending.count.fetch_add(1, Ordering::Relaxed);
        self.pending.more.notify_one();
    }
}

impl LogPort for SimLog {
    fn append(&self, entries: Vec<LogEntry>, durable: Durable) {
        self.log.append(entries, durable);
        self.asked();
    }

    fn save_vote(&self, vote: Vote, durable: Durable) {
        self.log.save_vote(vote, durable);
        self.asked();
    }

    fn truncate_after(&self, last: Option<LogId>, durable: Durable) {
        self.log.truncate_after(last, durable);
        self.asked();
    }

    fn purge(&self, upto: LogId, durable: Durable) {
        self.log.purge(upto, durable);
        self.asked();
    }

    fn save_committed(&self, committed: Option<LogId>) {
        self.log.save_committed(committed);
        self.asked();
    }

    fn read(&self, from: u64, to_exclusive: u64, bytes_max: usize) -> io::Result<Vec<LogEntry>> {
        self.log.read(from, to_exclusive, bytes_max)
    }

    fn state(&self) -> LogState {
        self.log.state()
    }

    fn close(&self) {
        self.log.close();
    }
}

/// Calls that wait for the disk: each takes as long as a sync, and runs on the one thread there is.
struct SlowCalls(Arc<Pace>);

impl OffloadPort for SlowCalls {
    fn run(&self, call: DiskCall) -> BoxFuture<'static, io::Result<()>> {
        let wait = self.0.sync();
        Box::pin(async move {
            tokio::time::sleep(wait).await;
            call();
            Ok(())
        })
    }
}

struct SimIdentity {
    incarnation: String,
    cluster: Mutex<Option<String>>,
}

impl IdentityPort for SimIdentity {
    fn cluster_id(&self) -> Option<String> {
        lock(&self.cluster).clone()
    }

    fn incarnation(&self) -> String {
        self.incarnation.clone()
    }

    fn set_cluster_id(&self, cluster_id: &str) -> io::Result<()> {
        *lock(&self.cluster) = Some(cluster_id.to_owned());
        Ok(())
    }

    /// As the real folder: a checkpoint before what was purged cannot be replayed.
    fn verify(&self, log: &LogState, applied: Option<LogId>) -> io::Result<()> {
        let index = |id: Option<LogId>| id.map_or(0, |id| id.index);
        if index(log.purged) > index(applied) {
            let (purged, applied) = (index(log.purged), index(applied));
            return Err(io::Error::other(format!(
                "the log begins after {purged}, the checkpoint is at {applied}"
            )));
        }
        Ok(())
    }
}
