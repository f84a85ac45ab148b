//! The one error enum of the stores: what went wrong in our words, where, and what to do.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// What to do about data that is lost on this node. An older copy would have forgotten votes and acknowledged entries, and
/// nothing could tell.
pub const LOST_DATA_ADVICE: &str = "put the data folder back as it was when the node stopped, never an older copy; if \
     it is gone for good, see \"A lost or damaged disk\" in docs/operations.md";

/// Why a store cannot be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The operating system refused.
    #[error("cannot {action} {}: {source}; {}", path.display(), io_advice(source))]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Something that had been acknowledged is not there as it was written.
    #[error(
        "{} is damaged{}: {what}; what was acknowledged there is lost on this node: {LOST_DATA_ADVICE}",
        path.display(),
        at_byte(*offset)
    )]
    Damaged {
        /// The damaged file.
        path: PathBuf,
        /// First byte that cannot be trusted, if the store can tell.
        offset: Option<u64>,
        /// How it shows.
        what: String,
    },
    /// The file was written by another node, another life of this node, or for another cluster.
    #[error(
        "{} belongs to {found}, but this data folder belongs to {expected}; {LOST_DATA_ADVICE}",
        path.display()
    )]
    Foreign {
        /// The foreign file.
        path: PathBuf,
        /// Who wrote it.
        found: String,
        /// Who we are.
        expected: String,
    },
    /// The file was written by a newer release.
    #[error(
        "{} has format {found}, this release reads up to {supported}; start the newer release again",
        path.display()
    )]
    NewerFormat {
        /// The file.
        path: PathBuf,
        /// Its format.
        found: u32,
        /// The newest format this release knows.
        supported: u32,
    },
    /// The caller asked for something that contradicts the log. Nothing was changed.
    #[error("the log refuses to {what}; this is a defect of the program: report it with the node's log")]
    Misuse {
        /// What was asked, and what it contradicts.
        what: String,
    },
    /// An earlier failure was final (STORE-3).
    #[error("the store stopped at an earlier failure: {0}")]
    Failed(Arc<StoreError>),
    /// The store was closed.
    #[error("the store at {} is closed; start the node again to use it", .0.display())]
    Closed(PathBuf),
}

impl StoreError {
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
        let path = path.to_path_buf();
        move |source| StoreError::Io { action, path, source }
    }

    pub(super) fn damaged(
        path: &Path,
        offset: impl Into<Option<u64>>,
        what: impl Into<String>,
    ) -> StoreError {
        StoreError::Damaged { path: path.to_path_buf(), offset: offset.into(), what: what.into() }
    }

    /// The nearest kind of the standard library, for callers that only know `io::Error`.
    pub fn kind(&self) -> io::ErrorKind {
        match self {
            StoreError::Io { source, .. } => source.kind(),
            StoreError::Damaged { .. } | StoreError::Foreign { .. } => io::ErrorKind::InvalidData,
            StoreError::NewerFormat { .. } => io::ErrorKind::Unsupported,
            StoreError::Misuse { .. } => io::ErrorKind::InvalidInput,
            StoreError::Failed(first) => first.kind(),
            StoreError::Closed(_) => io::ErrorKind::BrokenPipe,
        }
    }
}

impl From<StoreError> for io::Error {
    fn from(error: StoreError) -> io::Error {
        io::Error::new(error.kind(), error)
    }
}

fn at_byte(offset: Option<u64>) -> String {
    offset.map(|offset| format!(" at byte {offset}")).unwrap_or_default()
}

fn io_advice(source: &io::Error) -> &'static str {
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "free some space on the disk, then start the node again"
        }
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "make the data folder writable for this user, then start the node again"
        }
        // Every other kind is the disk's own trouble, or a file that somebody removed.
        _ => "check the disk and the data folder, then start the node again",
    }
}
