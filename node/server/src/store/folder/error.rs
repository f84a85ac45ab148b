//! Why a data folder is refused, and what to do about it.

use std::io;
use std::path::PathBuf;

use crate::store::{LOST_DATA_ADVICE, StoreError};

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
    /// FOLDER-6.
    #[error(
        "data folder {} is half restored: the restore was cut off; empty the folder and restore again",
        .0.display()
    )]
    HalfRestored(PathBuf),
    /// A restore makes a node; it replaces none.
    #[error("data folder {} is used already; restore into a folder that does not exist or is empty", .0.display())]
    Used(PathBuf),
    /// There is nothing to read.
    #[error("{} is no data folder of a node: it has no identity.json", .0.display())]
    NoNode(PathBuf),
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
         again",
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
        "{} is not empty ({example}) and has no identity.json; give the node an empty folder, or restore \
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
    #[error("{} cannot be read: {what}; {LOST_DATA_ADVICE}", path.display())]
    UnreadableIdentity {
        /// The file.
        path: PathBuf,
        /// Why not.
        what: String,
    },
    /// FOLDER-4.
    #[error("{} is missing from the data folder; {LOST_DATA_ADVICE}", .0.display())]
    Missing(PathBuf),
    /// FOLDER-5.
    #[error(
        "{} is empty, but this node belongs to cluster {cluster}: its votes and its log are lost on this node; \
         {LOST_DATA_ADVICE}",
        path.display()
    )]
    LogEmptied {
        /// The folder of the log.
        path: PathBuf,
        /// Whose member the node is.
        cluster: String,
    },
    /// A cluster id that cannot be one.
    #[error("cluster id {0:?} cannot be used; it needs 1 to 64 bytes")]
    BadClusterId(String),
    /// The checkpoint has gone back, or the log has gone ahead without it.
    #[error(
        "the checkpoint in {} ends at log index {applied}, but the log begins after {purged}: the entries between \
         are lost on this node; {LOST_DATA_ADVICE}",
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
        "the checkpoint in {} ends at log index {applied}, but the log is empty and has no vote: both are lost on this \
         node; {LOST_DATA_ADVICE}",
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
