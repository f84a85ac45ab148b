//! What processes take of the machine: memory, open files, disk.

use std::path::Path;

use anyhow::Context as _;

/// One process at one time.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct Usage {
    /// Resident memory in KiB.
    pub memory_kib: u64,
    /// Open files and sockets.
    pub handles: u64,
    /// Seconds since it was started.
    pub age_s: u64,
}

/// What a process takes now, by /proc (proc(5)).
pub fn of_process(pid: u32) -> anyhow::Result<Usage> {
    let folder = Path::new("/proc").join(pid.to_string());
    let status = std::fs::read_to_string(folder.join("status"))?;
    let memory = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let memory = memory.and_then(|rest| rest.split_whitespace().next()).context("no VmRSS")?;
    let age = folder.metadata()?.created().or_else(|_| folder.metadata()?.modified())?.elapsed();
    Ok(Usage {
        memory_kib: memory.parse()?,
        handles: std::fs::read_dir(folder.join("fd"))?.count() as u64,
        age_s: age.map_or(0, |age| age.as_secs()),
    })
}

/// User and system time of a process so far: fields 14 and 15 of /proc/PID/stat, in clock ticks of 10 ms
/// (proc_pid_stat(5)).
pub fn cpu_ms(pid: u32) -> anyhow::Result<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let after_name = stat.rsplit(')').next().unwrap_or_default();
    let fields: Vec<_> = after_name.split_whitespace().collect();
    let ticks = |field: usize| -> anyhow::Result<u64> { Ok(fields.get(field - 3).unwrap_or(&"").parse()?) };
    Ok((ticks(14)? + ticks(15)?) * 10)
}

/// Bytes that the files of a folder take on the disk.
pub fn of_folder(folder: &Path) -> anyhow::Result<u64> {
    use std::os::unix::fs::MetadataExt as _;
    let mut bytes = 0;
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        bytes += match entry.metadata() {
            Ok(metadata) if metadata.is_dir() => of_folder(&entry.path())?,
            Ok(metadata) => metadata.blocks() * 512,
            // Gone since the folder was read.
            Err(_) => 0,
        };
    }
    Ok(bytes)
}
