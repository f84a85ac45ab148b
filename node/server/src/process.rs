//! What this process takes of the machine.

use std::fs;
use std::time::Duration;

use nix::sys::resource::{UsageWho, getrusage};
use nix::sys::time::TimeVal;

/// CPU and memory of a process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ProcessUsage {
    /// User and system CPU time since its start.
    pub cpu: Duration,
    /// Resident memory.
    pub resident_bytes: u64,
}

impl ProcessUsage {
    /// Of this process now; none where the system does not say (memory is read from /proc).
    pub fn read() -> Option<Self> {
        let usage = getrusage(UsageWho::RUSAGE_SELF).ok()?;
        let status = fs::read_to_string("/proc/self/status").ok()?;
        Some(Self {
            cpu: duration(usage.user_time()) + duration(usage.system_time()),
            resident_bytes: resident_bytes(&status)?,
        })
    }
}

fn duration(time: TimeVal) -> Duration {
    let micros = time.tv_sec() * 1_000_000 + time.tv_usec();
    Duration::from_micros(micros.unsigned_abs())
}

/// `VmRSS:     5432 kB` (proc_pid_status(5)).
fn resident_bytes(status: &str) -> Option<u64> {
    let rest = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = rest.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_kernel_writes() {
        assert_eq!(resident_bytes("VmHWM:\t 9000 kB\nVmRSS:\t    5432 kB\n"), Some(5432 * 1024));
        assert_eq!(resident_bytes("VmHWM:\t 9000 kB\n"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn this_process_takes_something() {
        let usage = ProcessUsage::read().unwrap();
        assert!(usage.resident_bytes > 0);
    }
}
