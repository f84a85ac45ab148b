//! The input of an import: a file, stdin or a folder, never more of it than is sensible.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use crate::exit::Failure;

/// Ten thousand CronJobs as `kubectl` prints them; more is another file by mistake.
const INPUT_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// The text of a file, or of stdin for `-`.
pub(super) fn read(file: &str) -> Result<String, Failure> {
    let mut bytes = Vec::new();
    // One byte more than allowed tells too much from just enough, also where a file has no end.
    let limit = INPUT_BYTES_MAX + 1;
    let read = match file {
        "-" => std::io::stdin().take(limit).read_to_end(&mut bytes),
        path => File::open(path).and_then(|file| file.take(limit).read_to_end(&mut bytes)),
    };
    let size = read.map_err(|error| Failure::usage(format!("cannot read {file}: {error}")))?;
    if size as u64 > INPUT_BYTES_MAX {
        let message = format!("{file} has more than {INPUT_BYTES_MAX} bytes: import it in parts");
        return Err(Failure::usage(message));
    }
    String::from_utf8(bytes).map_err(|error| {
        let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        Failure::usage(format!("line {line} of {file} is not UTF-8: convert the file first"))
    })
}

/// The files in a folder in order of their names; none if it is no folder.
pub(super) fn files_of(folder: &str) -> Result<Option<Vec<PathBuf>>, Failure> {
    let path = Path::new(folder);
    if folder == "-" || !path.is_dir() {
        return Ok(None);
    }
    let cannot_read = |error: std::io::Error| Failure::usage(format!("cannot read {folder}: {error}"));
    let entries = path.read_dir().map_err(cannot_read)?;
    let mut files: Vec<PathBuf> = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()
        .map_err(cannot_read)?;
    files.retain(|file| file.is_file());
    files.sort_unstable();
    Ok(Some(files))
}
