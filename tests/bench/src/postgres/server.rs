//! A PostgreSQL server of its own: in a temporary folder, on a socket there, ended by its process id.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, User, geteuid};
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio_postgres::{Client, Config, NoTls};

use crate::machine::said_by;

/// Where Debian and its relatives put the programs of each version.
const VERSIONS: &str = "/usr/lib/postgresql";
/// PostgreSQL refuses to run as root; its package makes this user.
const USER: &str = "postgres";
/// Longest wait for a start or an end.
const PATIENCE: Duration = Duration::from_secs(60);
/// What anybody sets on a machine of this size. All that decides whether a commit is durable stays as it comes: fsync and
/// synchronous_commit are on.
const SETTINGS: &str = "
listen_addresses = ''
shared_buffers = 1GB
max_wal_size = 4GB
wal_buffers = 64MB
random_page_cost = 1.1
";

/// A server that runs.
pub struct Server {
    folder: TempDir,
    process: Child,
    version: String,
}

impl Server {
    /// Starts one; none where PostgreSQL is not installed.
    pub async fn start() -> anyhow::Result<Option<Self>> {
        let Some(programs) = programs() else { return Ok(None) };
        let folder = TempDir::with_prefix("belfry-postgres-")?;
        let user = if geteuid().is_root() {
            let user =
                User::from_name(USER)?.with_context(|| format!("there is no user {USER} to run as"))?;
            std::os::unix::fs::chown(folder.path(), Some(user.uid.as_raw()), Some(user.gid.as_raw()))?;
            Some(user)
        } else {
            None
        };
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o700))?;
        let as_user = |program: &str| {
            let mut command = Command::new(programs.join(program));
            command.current_dir(folder.path()).stdin(Stdio::null());
            if let Some(user) = &user {
                command.uid(user.uid.as_raw()).gid(user.gid.as_raw());
            }
            command
        };
        let data = folder.path().join("data");
        let made = as_user("initdb")
            .args(["--auth=trust", "--username=bench", "--encoding=UTF8", "--locale=C", "--pgdata"])
            .arg(&data)
            .output()
            .await?;
        ensure!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        let socket = format!("unix_socket_directories = '{}'\n", folder.path().display());
        let config = data.join("postgresql.conf");
        let text = fs::read_to_string(&config)?;
        fs::write(&config, text + SETTINGS + &socket)?;
        let log = fs::File::create(folder.path().join("log"))?;
        let process = as_user("postgres")
            .arg("-D")
            .arg(&data)
            .stdout(log.try_clone()?)
            .stderr(log)
            .kill_on_drop(true)
            .spawn()?;
        let version = said_by(std::process::Command::new(programs.join("postgres")).arg("--version"));
        let server = Self { folder, process, version };
        server.wait_until_ready().await?;
        Ok(Some(server))
    }

    /// What it says of itself.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// A connection.
    pub async fn connect(&self) -> anyhow::Result<Client> {
        let mut config = Config::new();
        config.host_path(self.folder.path()).user("bench").dbname("postgres");
        let (client, connection) = config.connect(NoTls).await?;
        // It ends with the client; what goes wrong on it the client's calls say.
        tokio::spawn(connection);
        Ok(client)
    }

    async fn wait_until_ready(&self) -> anyhow::Result<()> {
        let start = Instant::now();
        while self.connect().await.is_err() {
            if start.elapsed() > PATIENCE {
                let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
                bail!("PostgreSQL does not start: {log}");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        Ok(())
    }

    /// CPU time of all its processes so far, in seconds; those that have ended count where their parent waited for them.
    pub fn cpu_s(&self) -> anyhow::Result<f64> {
        let parent = self.process.id().context("PostgreSQL has ended")?;
        let mut ticks = stat(parent).context("PostgreSQL has ended")?.ticks_with_children;
        for entry in fs::read_dir("/proc")?.flatten() {
            let pid = entry.file_name().to_string_lossy().parse().ok();
            if let Some(stat) = pid.and_then(stat)
                && stat.parent == parent
            {
                ticks += stat.ticks;
            }
        }
        // Of 10 ms each (proc_pid_stat(5)).
        Ok(ticks as f64 / 100.0)
    }

    /// Ends it, as its package would: clients are disconnected, and it writes a last checkpoint.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        let pid = self.process.id().context("PostgreSQL has ended by itself")?;
        kill(Pid::from_raw(pid.cast_signed()), Signal::SIGINT)?;
        tokio::time::timeout(PATIENCE, self.process.wait()).await.context("PostgreSQL does not end")??;
        Ok(())
    }
}

/// The programs of the newest version.
fn programs() -> Option<PathBuf> {
    let versions = fs::read_dir(VERSIONS).ok()?.flatten();
    let number = |path: &Path| path.file_name()?.to_str()?.parse::<u32>().ok();
    let newest = versions.map(|entry| entry.path()).filter_map(|path| Some((number(&path)?, path))).max()?;
    let programs = newest.1.join("bin");
    programs.join("initdb").is_file().then_some(programs)
}

struct Stat {
    parent: u32,
    ticks: u64,
    ticks_with_children: u64,
}

/// Fields 4 and 14 to 17 of /proc/PID/stat (proc_pid_stat(5)).
fn stat(pid: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let after_name = text.rsplit(')').next()?;
    let fields: Vec<u64> =
        after_name.split_whitespace().skip(1).map(|field| field.parse().unwrap_or(0)).collect();
    let field = |number: usize| fields.get(number - 4).copied();
    let ticks = field(14)? + field(15)?;
    Some(Stat {
        parent: u32::try_from(field(4)?).ok()?,
        ticks,
        ticks_with_children: ticks + field(16)? + field(17)?,
    })
}
