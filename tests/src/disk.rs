//! A small disk in the memory of the machine, to be filled. Needs root.
//!
//! Its name holds the process id of the test: what the dead left behind is unmounted by the next one.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};
use nix::unistd::geteuid;

/// Names of these disks begin so.
const PREFIX: &str = "belfry-test-";
/// Name of the file that takes the room.
const FILLER: &str = "filler";

/// A file system of few megabytes in the place of a folder. Unmounted when dropped.
pub struct SmallDisk {
    folder: PathBuf,
}

impl SmallDisk {
    /// Whether one can be made here.
    pub fn possible() -> anyhow::Result<()> {
        ensure!(geteuid().is_root(), "mounting a small disk needs root");
        unmount_stale()?;
        let probe = tempfile::tempdir()?;
        drop(Self::mount(probe.path(), 1)?);
        Ok(())
    }

    /// Puts a disk of this size in the place of a folder; what is in the folder moves onto it.
    pub fn in_place_of(folder: &Path, mebibytes: u64) -> anyhow::Result<Self> {
        let aside = folder.with_extension("aside");
        std::fs::rename(folder, &aside)?;
        std::fs::create_dir(folder)?;
        let disk = Self::mount(folder, mebibytes)?;
        run("cp", &["-a", &format!("{}/.", aside.display()), &folder.to_string_lossy()])?;
        std::fs::remove_dir_all(aside)?;
        Ok(disk)
    }

    fn mount(folder: &Path, mebibytes: u64) -> anyhow::Result<Self> {
        let size = format!("size={mebibytes}m");
        let name = format!("{PREFIX}{}", std::process::id());
        run("mount", &["-t", "tmpfs", "-o", &size, &name, &folder.to_string_lossy()])?;
        Ok(Self { folder: folder.to_owned() })
    }

    /// Takes all the room there is. Proven: the system says that the disk is full.
    pub fn fill(&self) -> anyhow::Result<()> {
        let mut file = OpenOptions::new().create(true).append(true).open(self.folder.join(FILLER))?;
        for size in [64 * 1024, 1024, 1] {
            let piece = vec![0; size];
            loop {
                match file.write_all(&piece) {
                    Ok(()) => {}
                    Err(error) if error.kind() == ErrorKind::StorageFull => break,
                    Err(error) => return Err(error.into()),
                }
            }
        }
        Ok(())
    }

    /// Gives the room back.
    pub fn free(&self) -> anyhow::Result<()> {
        Ok(std::fs::remove_file(self.folder.join(FILLER))?)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazy: a node that is about to be killed may still have files open.
        let _ = run("umount", &["-l", &self.folder.to_string_lossy()]);
    }
}

/// Unmounts the disks of tests that were killed.
fn unmount_stale() -> anyhow::Result<()> {
    for line in std::fs::read_to_string("/proc/mounts")?.lines() {
        let mut words = line.split(' ');
        let (Some(name), Some(folder)) = (words.next(), words.next()) else { continue };
        let owner = name.strip_prefix(PREFIX).and_then(|owner| owner.parse::<u32>().ok());
        if owner.is_some_and(|owner| !Path::new(&format!("/proc/{owner}")).exists()) {
            // Another test may be at it too.
            let _ = run("umount", &["-l", folder]);
        }
    }
    Ok(())
}

/// Turns one bit of a file.
pub fn flip_a_bit(path: &Path, at: usize) -> anyhow::Result<()> {
    let mut content = std::fs::read(path)?;
    let byte = content.get_mut(at).with_context(|| format!("{} is shorter", path.display()))?;
    *byte ^= 0x10;
    Ok(std::fs::write(path, content)?)
}

/// Cuts a file, as a write that was torn.
pub fn cut(path: &Path, length: u64) -> anyhow::Result<()> {
    Ok(File::options().write(true).open(path)?.set_len(length)?)
}

fn run(program: &str, arguments: &[&str]) -> anyhow::Result<()> {
    let output = Command::new(program).args(arguments).output()?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "`{program} {}` failed: {}", arguments.join(" "), said.trim());
    Ok(())
}
