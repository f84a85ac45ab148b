//! What a test needs of the machine and cannot bring along: root, namespaces, loop devices, libfaketime.
//!
//! Where it is missing, the test says on the terminal that it did not run, and what it needs. The gate sets
//! [`REQUIRED`]: there a missing need is a failure, so that nothing passes by not running.

use std::io::Write as _;
use std::path::PathBuf;

use anyhow::Context as _;

/// Set to `required`, a missing need fails the test.
pub const REQUIRED: &str = "BELFRY_TEST_NEEDS";

/// What the test needs, or none where this machine does not have it; `what` is the test that then does not run.
pub fn or_not_run<T>(what: &str, needed: anyhow::Result<T>) -> Option<T> {
    match needed {
        Ok(needed) => Some(needed),
        Err(cause) if std::env::var(REQUIRED).is_ok_and(|value| value == "required") => {
            panic!("{what} cannot run, and {REQUIRED} is set: {cause:#}")
        }
        Err(cause) => {
            not_run(what, &cause);
            None
        }
    }
}

/// Says that a test does not run.
pub fn not_run(what: &str, cause: &anyhow::Error) {
    // Not `eprintln`: the output of a test that passes is not shown.
    let _ = writeln!(std::io::stderr(), "\nNOT RUN: {what}: {cause:#}");
}

/// The library that shifts the clock of a program that is linked dynamically.
pub fn libfaketime() -> anyhow::Result<PathBuf> {
    // Debian's place: /usr/lib/x86_64-linux-gnu/faketime.
    let folders = std::fs::read_dir("/usr/lib")?.flatten().map(|entry| entry.path());
    let mut paths = folders.map(|folder| folder.join("faketime/libfaketimeMT.so.1"));
    paths.find(|path| path.exists()).context("libfaketime is missing: apt-get install libfaketime")
}
