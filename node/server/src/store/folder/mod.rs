//! The data folder of a node: whose it is, who uses it now, and where things lie in it.
//!
//! ```text
//!  identity.json   format, cluster id, node id, incarnation, created
//!  LOCK            held by the running process, whose id is in it
//!  log/  state/  snapshots/
//! ```
//! - FOLDER-1 a folder that belongs to another node or cluster is refused and left untouched.
//! - FOLDER-2 an incarnation lives exactly as long as the folder: a node that lost its disk is somebody else, and
//!   must not vote under its old name.
//! - FOLDER-3 one process at a time.
//! - FOLDER-4 the identity is written last at the first start: with it, everything else must be there.
//! - FOLDER-5 a node joins a cluster only after its log was made: an empty log folder of a member has lost its votes.
//! - FOLDER-6 a folder that a restore has begun and not ended is refused.

mod error;

#[cfg(test)]
mod tests;

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use ulid::Ulid;

use super::wal::{CLUSTER_ID_BYTES_MAX, LogOwner};
use super::{LogId, LogState, files};
pub use error::FolderError;

const FORMAT: u32 = 1;
const IDENTITY: &str = "identity.json";
const LOCK: &str = "LOCK";
const RESTORING: &str = "RESTORING";
const LOG: &str = "log";
const STATE: &str = "state";
const SNAPSHOTS: &str = "snapshots";
/// Every file system makes this one by itself at the top of a volume.
const LOST_AND_FOUND: &str = "lost+found";

/// Who a node believes to be.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    /// The cluster, if its configuration names one.
    pub cluster_id: Option<String>,
    /// The node's id, never reused after a lost disk.
    pub node_id: u64,
}

/// Who the folder belongs to.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StoredIdentity {
    /// Format of the folder.
    pub format: u32,
    /// `None` until the node has bootstrapped or joined a cluster.
    pub cluster_id: Option<String>,
    /// The node's id.
    pub node_id: u64,
    /// Made at the first start, gone with the disk.
    pub incarnation: String,
    /// When the folder was first used; for people.
    pub created: String,
}

/// An opened data folder. The lock is held until it is dropped.
#[derive(Debug)]
pub struct DataFolder {
    path: PathBuf,
    identity: StoredIdentity,
    incarnation: Ulid,
    _lock: File,
}

impl DataFolder {
    /// Opens the folder at `path` for this node; makes it if it does not exist or is empty.
    pub fn open(path: &Path, identity: Identity) -> Result<DataFolder, FolderError> {
        check_cluster_id(identity.cluster_id.as_deref())?;
        fs::create_dir_all(path).map_err(unwritable(path))?;
        if path.join(RESTORING).exists() {
            return Err(FolderError::HalfRestored(path.to_path_buf()));
        }
        Self::open_as_it_is(path, identity)
    }

    /// Opens the folder of a node that is stopped, whoever it is.
    pub fn open_stopped(path: &Path) -> Result<DataFolder, FolderError> {
        let stored = read_identity(path)?.ok_or_else(|| FolderError::NoNode(path.to_path_buf()))?;
        Self::open(path, Identity { cluster_id: None, node_id: stored.node_id })
    }

    /// Makes a folder to restore into. Until [`DataFolder::restored`] it is refused (FOLDER-6).
    pub fn begin_restore(path: &Path, identity: Identity) -> Result<DataFolder, FolderError> {
        fs::create_dir_all(path).map_err(unwritable(path))?;
        let items = fs::read_dir(path).map_err(unwritable(path))?;
        for item in items {
            if item.map_err(unwritable(path))?.file_name() != LOST_AND_FOUND {
                return Err(FolderError::Used(path.to_path_buf()));
            }
        }
        // Before anything else: a folder with an identity and nothing in it would be that of a new node.
        files::write_whole(&path.join(RESTORING), b"")?;
        Self::open_as_it_is(path, identity)
    }

    /// The folder is whole.
    pub fn restored(&self) -> Result<(), FolderError> {
        let mark = self.path.join(RESTORING);
        fs::remove_file(&mark).map_err(unwritable(&mark))?;
        Ok(files::sync_folder(&self.path)?)
    }

    fn open_as_it_is(path: &Path, identity: Identity) -> Result<DataFolder, FolderError> {
        must_be_ours_or_empty(path)?;
        let lock = take_lock(path)?;
        let stored = match read_identity(path)? {
            Some(stored) => {
                must_have_its_log(path, &stored)?;
                stored
            }
            None => first_start(path, &identity)?,
        };
        let incarnation = check_identity(path, &stored, &identity)?;
        for part in [LOG, STATE, SNAPSHOTS].map(|name| path.join(name)) {
            if !part.is_dir() {
                return Err(FolderError::Missing(part));
            }
        }
        let mut folder = DataFolder { path: path.to_path_buf(), identity: stored, incarnation, _lock: lock };
        if let Some(cluster_id) = identity.cluster_id {
            folder.set_cluster_id(&cluster_id)?;
        }
        Ok(folder)
    }

    /// Durably remembers the cluster this node now belongs to; refused if it belongs to another.
    pub fn set_cluster_id(&mut self, cluster_id: &str) -> Result<(), FolderError> {
        check_cluster_id(Some(cluster_id))?;
        match &self.identity.cluster_id {
            Some(found) if found == cluster_id => Ok(()),
            Some(found) => Err(FolderError::OtherCluster {
                path: self.path.clone(),
                found: found.clone(),
                expected: cluster_id.to_owned(),
            }),
            None => {
                let identity =
                    StoredIdentity { cluster_id: Some(cluster_id.to_owned()), ..self.identity.clone() };
                write_identity(&self.path, &identity)?;
                self.identity = identity;
                Ok(())
            }
        }
    }

    /// Whose folder this is.
    pub fn identity(&self) -> &StoredIdentity {
        &self.identity
    }

    /// This life of the node's disk (FOLDER-2).
    pub fn incarnation(&self) -> Ulid {
        self.incarnation
    }

    /// What the segments of the log are marked with.
    pub fn log_owner(&self) -> LogOwner {
        LogOwner {
            cluster_id: self.identity.cluster_id.clone(),
            node_id: self.identity.node_id,
            incarnation: self.incarnation,
        }
    }

    /// Where the log lies.
    pub fn log_path(&self) -> PathBuf {
        self.path.join(LOG)
    }

    /// Where the checkpoints of the state lie.
    pub fn state_path(&self) -> PathBuf {
        self.path.join(STATE)
    }

    /// Where snapshots lie, received and to be sent.
    pub fn snapshots_path(&self) -> PathBuf {
        self.path.join(SNAPSHOTS)
    }

    /// Refuses a checkpoint and a log that do not belong together: entries that neither holds, or a log that was
    /// removed while the checkpoint stayed. To be called once both are opened, with the applied id of the checkpoint's head.
    pub fn verify(&self, log: &LogState, applied: Option<LogId>) -> Result<(), FolderError> {
        let path = self.path.clone();
        let applied = applied.map(|applied| applied.index);
        if let Some(purged) = log.purged.filter(|purged| applied.is_none_or(|applied| applied < purged.index))
        {
            let applied = applied.map_or("none".to_owned(), |applied| applied.to_string());
            return Err(FolderError::CheckpointBehindLog { path, applied, purged: purged.index });
        }
        match applied {
            // A checkpoint comes from a log entry or a leader's snapshot, and both come after a vote was saved.
            Some(applied) if log.vote.is_none() => Err(FolderError::LogLost { path, applied }),
            Some(_) | None => Ok(()),
        }
    }
}

fn check_cluster_id(cluster_id: Option<&str>) -> Result<(), FolderError> {
    match cluster_id {
        Some(id) if id.is_empty() || id.len() > CLUSTER_ID_BYTES_MAX => {
            Err(FolderError::BadClusterId(id.to_owned()))
        }
        Some(_) | None => Ok(()),
    }
}

/// Looks before the lock file is made: a stranger's folder stays as it is (FOLDER-1).
fn must_be_ours_or_empty(path: &Path) -> Result<(), FolderError> {
    if path.join(IDENTITY).exists() {
        return Ok(());
    }
    for item in fs::read_dir(path).map_err(unwritable(path))? {
        let item = item.map_err(unwritable(path))?.path();
        let name = item.file_name().unwrap_or_default().to_string_lossy().into_owned();
        // A first start that was cut off has made these, and nothing in them (FOLDER-4).
        let harmless = match name.as_str() {
            LOCK | LOST_AND_FOUND | RESTORING => true,
            LOG | STATE | SNAPSHOTS => fs::read_dir(&item).is_ok_and(|mut items| items.next().is_none()),
            name => files::fresh_name(Path::new(IDENTITY)) == Path::new(name),
        };
        if !harmless {
            return Err(FolderError::NotOurs { path: path.to_path_buf(), example: name });
        }
    }
    Ok(())
}

fn take_lock(path: &Path) -> Result<File, FolderError> {
    let lock_path = path.join(LOCK);
    let opened = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(&lock_path);
    let mut lock = opened.map_err(unwritable(&lock_path))?;
    match lock.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            let mut text = String::new();
            // The holder may be writing its id right now: then it stays unknown.
            let known = lock.read_to_string(&mut text).is_ok() && !text.trim().is_empty();
            let holder =
                if known { format!("process {}", text.trim()) } else { "another process".to_owned() };
            return Err(FolderError::InUse { path: path.to_path_buf(), holder });
        }
        Err(TryLockError::Error(source)) => return Err(FolderError::Unwritable { path: lock_path, source }),
    }
    let mut write_id = || -> io::Result<()> {
        lock.set_len(0)?;
        lock.rewind()?;
        writeln!(lock, "{}", std::process::id())
    };
    write_id().map_err(unwritable(&lock_path))?;
    Ok(lock)
}

fn first_start(path: &Path, identity: &Identity) -> Result<StoredIdentity, FolderError> {
    for part in [LOG, STATE, SNAPSHOTS].map(|name| path.join(name)) {
        fs::create_dir_all(&part).map_err(unwritable(&part))?;
    }
    let stored = StoredIdentity {
        format: FORMAT,
        cluster_id: identity.cluster_id.clone(),
        node_id: identity.node_id,
        incarnation: Ulid::generate().to_string(),
        created: jiff::Timestamp::now().to_string(),
    };
    write_identity(path, &stored)?;
    Ok(stored)
}

/// FOLDER-5. Made anew, the log would let this node vote again in terms in which it has voted.
fn must_have_its_log(path: &Path, stored: &StoredIdentity) -> Result<(), FolderError> {
    let Some(cluster) = &stored.cluster_id else { return Ok(()) };
    let log = path.join(LOG);
    let is_empty = fs::read_dir(&log).is_ok_and(|mut items| items.next().is_none());
    if is_empty { Err(FolderError::LogEmptied { path: log, cluster: cluster.clone() }) } else { Ok(()) }
}

fn read_identity(folder: &Path) -> Result<Option<StoredIdentity>, FolderError> {
    let path = folder.join(IDENTITY);
    let unreadable = |what: String| FolderError::UnreadableIdentity { path: path.clone(), what };
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(unreadable(error.to_string())),
    };
    // The format first, alone: a newer one may have fields that this release does not know.
    #[derive(Deserialize)]
    struct Format {
        format: u32,
    }
    let found = serde_json::from_str::<Format>(&text).map_err(|error| unreadable(error.to_string()))?.format;
    if found > FORMAT {
        return Err(FolderError::NewerFormat { path: folder.to_path_buf(), found, supported: FORMAT });
    }
    serde_json::from_str(&text).map(Some).map_err(|error| unreadable(error.to_string()))
}

fn write_identity(path: &Path, identity: &StoredIdentity) -> Result<(), FolderError> {
    let text = serde_json::to_string_pretty(identity).expect("an identity has only strings and numbers");
    files::write_whole(&path.join(IDENTITY), format!("{text}\n").as_bytes())?;
    Ok(())
}

fn check_identity(path: &Path, stored: &StoredIdentity, expected: &Identity) -> Result<Ulid, FolderError> {
    if stored.node_id != expected.node_id {
        let (found, expected) = (stored.node_id, expected.node_id);
        return Err(FolderError::OtherNode { path: path.to_path_buf(), found, expected });
    }
    if let (Some(found), Some(expected)) = (&stored.cluster_id, &expected.cluster_id)
        && found != expected
    {
        let (found, expected) = (found.clone(), expected.clone());
        return Err(FolderError::OtherCluster { path: path.to_path_buf(), found, expected });
    }
    Ulid::from_string(&stored.incarnation).map_err(|error| FolderError::UnreadableIdentity {
        path: path.join(IDENTITY),
        what: format!("the incarnation is not a ULID ({error})"),
    })
}

fn unwritable(path: &Path) -> impl Fn(io::Error) -> FolderError {
    let path = path.to_path_buf();
    move |source| FolderError::Unwritable { path: path.clone(), source }
}
