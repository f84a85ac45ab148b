//! The two moves with files that must not be forgotten: making a name durable, and replacing a file whole.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;

use super::StoreError;

/// Makes the names inside `folder` durable: without it a new file may be gone after a power cut, contents and all.
pub(super) fn sync_folder(folder: &Path) -> Result<(), StoreError> {
    File::open(folder).and_then(|file| file.sync_all()).map_err(StoreError::io("sync the folder", folder))
}

/// Creates or replaces `path` so that after a crash it holds the old content or the new one, never a part.
pub(super) fn write_whole(path: &Path, content: &[u8]) -> Result<(), StoreError> {
    let fresh = fresh_name(path);
    let written = || -> io::Result<()> {
        let mut file = File::create(&fresh)?;
        file.write_all(content)?;
        file.sync_all()
    };
    written().map_err(StoreError::io("write", &fresh))?;
    fs::rename(&fresh, path).map_err(StoreError::io("put in place", path))?;
    sync_folder(path.parent().unwrap_or(Path::new(".")))
}

/// The name under which a file is prepared before it is put in place.
pub(super) fn fresh_name(path: &Path) -> std::path::PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(FRESH_SUFFIX);
    name.into()
}

/// Ends the name of a file that is not in place yet; such a file means nothing after a crash.
pub(super) const FRESH_SUFFIX: &str = ".new";
