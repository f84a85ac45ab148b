//! The power goes: two cuts. The script makes as many as it is asked for.

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, ensure};
use belfry_tests::needs::{not_run, or_not_run};

/// The program that writes and checks: an example, built with all others before the first test runs.
fn program() -> anyhow::Result<PathBuf> {
    let test = std::env::current_exe()?;
    let folder = test.ancestors().nth(2).context("it lies in target/PROFILE/deps")?;
    let program = folder.join("examples/powercut");
    ensure!(
        program.exists(),
        "build {} first: cargo build -p belfry-server --example powercut",
        program.display()
    );
    Ok(program)
}

/// A file system on a loop device, once. Neither root nor a package gives a container loop devices, so the gate does without where there
/// are none, and says so.
fn loop_devices() -> anyhow::Result<()> {
    const PROBE: &str =
        "truncate -s 4M disk && mkfs.ext4 -q -F disk && mkdir on && mount -o loop disk on && umount on";
    let folder = tempfile::tempdir()?;
    let asked = Command::new("sh").args(["-c", PROBE]).current_dir(folder.path()).output()?;
    ensure!(asked.status.success(), "no loop device: {}", String::from_utf8_lossy(&asked.stderr).trim());
    Ok(())
}

/// Lets the program write until it has said of both stores that something is durable.
fn write_some(program: &Path, store: &Path) {
    let mut writer = Command::new(program);
    let mut writer = writer.arg("write").arg(store).arg("both").stdout(Stdio::piped()).spawn().unwrap();
    let mut missing = vec!["log ", "state "];
    for line in BufReader::new(writer.stdout.take().unwrap()).lines() {
        let line = line.unwrap();
        missing.retain(|what| !line.starts_with(what));
        if missing.is_empty() {
            break;
        }
    }
    writer.kill().unwrap();
    writer.wait().unwrap();
    assert!(missing.is_empty(), "it ended");
}

fn checks(program: &Path, folder: &Path, index: u64, number: u64) -> bool {
    let arguments = [index, number].map(|number| number.to_string());
    let status = Command::new(program).arg("check").arg(folder).args(arguments).status();
    status.unwrap().success()
}

#[test]
fn a_power_cut_loses_nothing_that_was_acknowledged() {
    let Some(program) = or_not_run("power cuts", program()) else { return };
    // What the judge of the cuts says of a store that lacks what was acknowledged.
    let folder = tempfile::tempdir().unwrap();
    let store = folder.path().join("node");
    write_some(&program, &store);
    assert!(checks(&program, &store, 1, 1), "it writes");
    assert!(!checks(&program, &store, u64::MAX, 1), "an entry is missing");
    assert!(!checks(&program, &store, 1, u64::MAX), "a checkpoint is missing");

    if let Err(cause) = loop_devices() {
        return not_run("power cuts", &cause);
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("powercut/run.sh");
    let output =
        Command::new("bash").arg(script).arg("2").env("POWERCUT_PROGRAM", &program).output().unwrap();
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    println!("{}", said[0]);
    assert!(output.status.success(), "{said:?}");
}
