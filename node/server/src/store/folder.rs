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

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use ulid::Ulid;

use super::wal::LogOwner;
use super::{LogId, LogState, StoreError, files};

const FORMAT: u32 = 1;
const IDENTITY: &str = "identity.json";
const LOCK: &str = "LOCK";
const LOG: &str = "log";
const STATE: &str = "state";
const SNAPSHOTS: &str = "snapshots";
/// Every file system makes this one by itself at the top of a volume.
const LOST_AND_FOUND: &str = "lost+found";
/// What fits into the header of a log segment.
const CLUSTER_ID_BYTES_MAX: usize = 64;

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

/// Why a data folder cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// FOLDER-1.
    #[error(
        "data folder {} belongs to cluster {found}, not to {expected}; point the node at its own folder, or wipe \
         this one if that cluster is gone",
        path.display()
    )]
    OtherCluster {
        /// The folder.
        path: PathBuf,
        /// Whose it is.
        found: String,
        /// Who we are.
        expected: String,
    },
    /// FOLDER-1.
    #[error(
        "data folder {} belongs to node {found}, but this is node {expected}; point the node at its own folder, \
         or start it with the id it had",
        path.display()
    )]
    OtherNode {
        /// The folder.
        path: PathBuf,
        /// Whose it is.
        found: u64,
        /// Who we are.
        expected: u64,
    },
    /// FOLDER-3.
    #[error("data folder {} is in use by {holder}; stop that process, or give this node its own folder", path.display())]
    InUse {
        /// The folder.
        path: PathBuf,
        /// What the lock file says.
        holder: String,
    },
    /// Not even the lock can be taken.
    #[error("cannot write to data folder {}: {source}; make it a folder that this user may write to", path.display())]
    Unwritable {
        /// The folder, or what in it cannot be written.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The folder was used by a newer release.
    #[error(
        "data folder {} has format {found}, this release knows formats up to {supported}; start the newer release \
         again, or wipe the folder and let the node rejoin under a new id",
        path.display()
    )]
    NewerFormat {
        /// The folder.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// Ours.
        supported: u32,
    },
    /// There are files, but nothing says whose they are.
    #[error(
        "{} is not empty ({example}) and has no {IDENTITY}; give the node an empty folder, or restore \
         the missing file if this was its folder",
        path.display()
    )]
    NotOurs {
        /// The folder.
        path: PathBuf,
        /// Something that lies in it.
        example: String,
    },
    /// The identity cannot be understood.
    #[error(
        "{} cannot be read: {what}; restore the file from a copy, or wipe the data folder and let the node \
         rejoin under a new id",
        path.display()
    )]
    UnreadableIdentity {
        /// The file.
        path: PathBuf,
        /// Why not.
        what: String,
    },
    /// FOLDER-4.
    #[error(
        "{} is missing from the data folder; restore it from a copy, or wipe the data folder and let the node \
         rejoin under a new id",
        .0.display()
    )]
    Missing(PathBuf),
    /// A cluster id that cannot be one.
    #[error("cluster id {0:?} cannot be used; it needs 1 to {CLUSTER_ID_BYTES_MAX} bytes")]
    BadClusterId(String),
    /// The checkpoint has gone back, or the log has gone ahead without it.
    #[error(
        "the checkpoint in {} ends at log index {applied}, but the log begins after {purged}: the entries between \
         are lost on this node; wipe the data folder and let the node rejoin under a new id, or restore the \
         folder from a copy (a lone node: start from its last saved snapshot)",
        path.display()
    )]
    CheckpointBehindLog {
        /// The folder.
        path: PathBuf,
        /// Last index in the checkpoint, `none` without one.
        applied: String,
        /// Last index purged from the log.
        purged: u64,
    },
    /// The log was removed: the votes are gone, and the node might vote twice.
    #[error(
        "the checkpoint in {} ends at log index {applied}, but the log is empty and has no vote: the log is lost; \
         wipe the data folder and let the node rejoin under a new id, or restore the folder from a copy",
        path.display()
    )]
    LogLost {
        /// The folder.
        path: PathBuf,
        /// Last index in the checkpoint.
        applied: u64,
    },
    /// A file of the folder cannot be written.
    #[error(transparent)]
    Store(#[from] StoreError),
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
        must_be_ours_or_empty(path)?;
        let lock = take_lock(path)?;
        let stored = match read_identity(path)? {
            Some(stored) => stored,
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
            LOCK | LOST_AND_FOUND => true,
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

fn read_identity(path: &Path) -> Result<Option<StoredIdentity>, FolderError> {
    let path = path.join(IDENTITY);
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
        return Err(FolderError::NewerFormat { path, found, supported: FORMAT });
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Vote;

    fn node(node_id: u64) -> Identity {
        Identity { cluster_id: None, node_id }
    }

    fn of_cluster(cluster_id: &str) -> Identity {
        Identity { cluster_id: Some(cluster_id.into()), node_id: 1 }
    }

    fn refusal(path: &Path, identity: Identity) -> String {
        DataFolder::open(path, identity).unwrap_err().to_string()
    }

    #[test]
    fn a_folder_keeps_its_identity() {
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("deep/inside");
        let first = DataFolder::open(&path, node(1)).unwrap();
        let (identity, incarnation) = (first.identity().clone(), first.incarnation());
        assert_eq!((identity.node_id, identity.cluster_id.clone()), (1, None));
        assert!(first.log_path().is_dir() && first.state_path().is_dir() && first.snapshots_path().is_dir());
        drop(first);
        let second = DataFolder::open(&path, node(1)).unwrap();
        assert_eq!((second.identity(), second.incarnation()), (&identity, incarnation));
    }

    #[test]
    fn two_folders_are_two_lives() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let one = DataFolder::open(one.path(), node(1)).unwrap();
        let other = DataFolder::open(other.path(), node(1)).unwrap();
        assert_ne!(one.incarnation(), other.incarnation());
    }

    #[test]
    fn the_cluster_is_learnt_once() {
        let folder = tempfile::tempdir().unwrap();
        let mut opened = DataFolder::open(folder.path(), node(1)).unwrap();
        opened.set_cluster_id("blue").unwrap();
        opened.set_cluster_id("blue").unwrap();
        assert!(matches!(opened.set_cluster_id("red"), Err(FolderError::OtherCluster { .. })));
        drop(opened);
        assert!(refusal(folder.path(), of_cluster("red")).contains("belongs to cluster blue, not to red"));
        let again = DataFolder::open(folder.path(), node(1)).unwrap();
        assert_eq!(again.log_owner().cluster_id.as_deref(), Some("blue"));
    }

    #[test]
    fn a_cluster_id_must_fit() {
        let folder = tempfile::tempdir().unwrap();
        for bad in [String::new(), "x".repeat(65)] {
            let refused = DataFolder::open(folder.path(), of_cluster(&bad)).unwrap_err();
            assert!(matches!(refused, FolderError::BadClusterId(_)), "{refused}");
        }
        DataFolder::open(folder.path(), of_cluster(&"x".repeat(64))).unwrap();
    }

    #[test]
    fn the_folder_of_another_node_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        drop(DataFolder::open(folder.path(), node(1)).unwrap());
        assert!(refusal(folder.path(), node(2)).contains("belongs to node 1, but this is node 2"));
    }

    #[test]
    fn a_folder_in_use_names_its_holder() {
        let folder = tempfile::tempdir().unwrap();
        let held = DataFolder::open(folder.path(), node(1)).unwrap();
        let said = refusal(folder.path(), node(1));
        assert!(said.contains(&format!("in use by process {}", std::process::id())), "{said}");
        drop(held);
        DataFolder::open(folder.path(), node(1)).unwrap();
    }

    #[test]
    fn a_strangers_folder_is_refused_and_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("thesis.tex"), "years of work").unwrap();
        assert!(refusal(folder.path(), node(1)).contains("not empty (thesis.tex)"));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_lost_identity_is_not_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let opened = DataFolder::open(folder.path(), node(1)).unwrap();
        fs::write(opened.log_path().join("00000000000000000001.wal"), "entries").unwrap();
        drop(opened);
        fs::remove_file(folder.path().join(IDENTITY)).unwrap();
        assert!(refusal(folder.path(), node(1)).contains("has no identity.json"));
    }

    #[test]
    fn a_first_start_that_was_cut_off_is_repeated() {
        let folder = tempfile::tempdir().unwrap();
        drop(DataFolder::open(folder.path(), node(1)).unwrap());
        fs::rename(folder.path().join(IDENTITY), folder.path().join("identity.json.new")).unwrap();
        fs::create_dir(folder.path().join(LOST_AND_FOUND)).unwrap();
        DataFolder::open(folder.path(), node(2)).unwrap();
    }

    #[test]
    fn a_missing_part_is_not_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        drop(DataFolder::open(folder.path(), node(1)).unwrap());
        fs::remove_dir(folder.path().join(STATE)).unwrap();
        assert!(matches!(DataFolder::open(folder.path(), node(1)), Err(FolderError::Missing(_))));
    }

    #[test]
    fn an_identity_that_cannot_be_understood_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        drop(DataFolder::open(folder.path(), node(1)).unwrap());
        let path = folder.path().join(IDENTITY);
        let whole = fs::read_to_string(&path).unwrap();
        for text in [
            "",
            "{",
            "{\"format\":1}",
            "not json",
            &whole.replace("\"incarnation\": \"0", "\"incarnation\": \"!"),
        ] {
            fs::write(&path, text).unwrap();
            let refused = DataFolder::open(folder.path(), node(1)).unwrap_err();
            assert!(matches!(refused, FolderError::UnreadableIdentity { .. }), "{text}: {refused}");
        }
        fs::write(&path, "{\"format\":2,\"shape\":\"new\"}").unwrap();
        assert!(matches!(
            DataFolder::open(folder.path(), node(1)),
            Err(FolderError::NewerFormat { found: 2, .. })
        ));
    }

    #[test]
    fn what_cannot_be_written_is_refused() {
        let parent = tempfile::tempdir().unwrap();
        let file = parent.path().join("a file");
        fs::write(&file, "").unwrap();
        let refused = DataFolder::open(&file, node(1)).unwrap_err();
        assert!(matches!(refused, FolderError::Unwritable { .. }), "{refused}");
    }

    #[test]
    fn checkpoint_and_log_must_belong_together() {
        let parent = tempfile::tempdir().unwrap();
        let folder = DataFolder::open(parent.path(), node(1)).unwrap();
        let at = |index| Some(LogId { term: 1, node: 1, index });
        let vote = Some(Vote { term: 1, node: 1, committed: true });
        let log = |purged, last| LogState { vote, purged, last, ..LogState::default() };
        let behind = |log: LogState, applied| {
            matches!(folder.verify(&log, applied), Err(FolderError::CheckpointBehindLog { .. }))
        };
        assert!(folder.verify(&LogState::default(), None).is_ok(), "a first start");
        assert!(folder.verify(&log(None, at(9)), None).is_ok(), "no checkpoint yet, all entries there");
        assert!(folder.verify(&log(at(5), at(9)), at(5)).is_ok());
        assert!(folder.verify(&log(None, at(9)), at(50)).is_ok(), "a snapshot was installed just before");
        assert!(behind(log(at(5), at(9)), at(4)));
        assert!(behind(log(at(5), at(9)), None));
        assert!(matches!(
            folder.verify(&LogState::default(), at(4)),
            Err(FolderError::LogLost { applied: 4, .. })
        ));
    }
}
