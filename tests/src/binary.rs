//! Where the `belfry` under test is.

use std::path::PathBuf;

use anyhow::{Context, bail};

/// The `belfry` of the same build as the running test, or the one that `BELFRY_BINARY` names.
///
/// `cargo test --workspace` builds it before any test runs.
pub fn belfry() -> anyhow::Result<PathBuf> {
    if let Ok(path) = std::env::var("BELFRY_BINARY") {
        return Ok(path.into());
    }
    let test = std::env::current_exe().context("this program has no path")?;
    let folders = test.ancestors().skip(1).take(2);
    let candidates: Vec<_> = folders.map(|folder| folder.join("belfry")).collect();
    match candidates.iter().find(|path| path.is_file()) {
        Some(path) => Ok(path.clone()),
        None => bail!("no belfry in {candidates:?}: build it first with `cargo build`, or set BELFRY_BINARY"),
    }
}
