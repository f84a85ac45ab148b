//! What the figures were measured on.

use std::fs;
use std::process::Command;

/// Hardware and versions, in words.
#[derive(Clone, Debug, Default)]
pub struct Machine {
    /// Cores and their kind.
    pub cpu: String,
    /// Memory in GiB.
    pub memory: String,
    /// Of the operating system.
    pub kernel: String,
    /// How busy it was before anything was started: processes that wanted a core, over a minute.
    pub load: String,
    /// What `belfry --version` says, and the commit that is checked out.
    pub belfry: String,
    /// File system of the data folders.
    pub disk: String,
}

impl Machine {
    /// This machine, as far as it says.
    pub fn here(belfry: &std::path::Path, folder: &std::path::Path) -> Self {
        let cpu_info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let field = |text: &str, name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name));
            line.map(|rest| rest.trim_start_matches([':', ' ', '\t']).trim().to_owned()).unwrap_or_default()
        };
        let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
        let memory = field(&fs::read_to_string("/proc/meminfo").unwrap_or_default(), "MemTotal");
        let kib: u64 = memory.trim_end_matches(" kB").parse().unwrap_or_default();
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        Self {
            cpu: format!("{cores} cores, {}", field(&cpu_info, "model name")),
            memory: format!("{} GiB", kib.div_ceil(1 << 20)),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
            load: load.split(' ').next().unwrap_or_default().to_owned(),
            belfry: format!(
                "{}; checked out: {}",
                said_by(Command::new(belfry).arg("--version")),
                said_by(Command::new("git").args(["describe", "--always", "--dirty"])),
            ),
            disk: said_by(Command::new("stat").args(["--file-system", "--format=%T"]).arg(folder)),
        }
    }
}

/// What a program says in its first line.
pub fn said_by(command: &mut Command) -> String {
    let output = command.output().map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    output.unwrap_or_default().lines().next().unwrap_or_default().to_owned()
}
