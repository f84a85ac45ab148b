//! Nodes that cannot start: what `belfry node` says, and how it ends. Real processes, real folders.
//!
//! - FAIL-1 a node that cannot start says why in one line beginning with `error: `, which names what is wrong and what to
//!   do; it never panics.
//! - FAIL-2 a mistake in the configuration is exit code 2, everything else is 1.

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

/// A bound for hangs only.
const PATIENCE: Duration = Duration::from_secs(60);
/// Nobody, wherever there is one.
const NOBODY: u32 = 65534;

/// `belfry node` on ports that the system chooses.
fn node_of(program: &Path, data: &Path, more: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.env_clear().env("RUST_BACKTRACE", "1").stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(Stdio::piped()).args(["node", "--data"]).arg(data);
    for listen in ["api", "peer", "admin"] {
        command.args(["--set", &format!("listen.{listen}=127.0.0.1:0")]);
    }
    command.args(more);
    command
}

fn node(data: &Path, more: &[&str]) -> Command {
    node_of(Path::new(env!("CARGO_BIN_EXE_belfry")), data, more)
}

/// A node that leads; it is killed when it is dropped.
struct Running(
    Child,
    #[expect(dead_code, reason = "the node would fail to write to a closed pipe")] BufReader<ChildStderr>,
);

impl Running {
    fn start(data: &Path) -> Self {
        let mut child = node(data, &[]).spawn().expect("the command can be started");
        let mut log = BufReader::new(child.stderr.take().expect("it is piped"));
        let mut said = String::new();
        while !said.contains("leading") {
            assert!(log.read_line(&mut said).expect("logs are UTF-8") > 0, "it ended before it led: {said}");
        }
        Running(child, log)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().expect("it is ours");
        self.0.wait().expect("it is ours");
    }
}

/// The folder of a node that led and was killed.
fn used_folder() -> (TempDir, PathBuf) {
    let root = tempfile::tempdir().expect("there is room");
    let data = root.path().join("data");
    drop(Running::start(&data));
    (root, data)
}

/// Checks that the node does not start (FAIL-1, FAIL-2).
fn check_refused(mut command: Command, code: i32, says: &[&str]) {
    let mut child = command.spawn().expect("the command can be started");
    let started = Instant::now();
    while child.try_wait().expect("it is ours").is_none() {
        if started.elapsed() > PATIENCE {
            child.kill().expect("it is ours");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let mut said = String::new();
    let mut log = child.stderr.take().expect("it is piped");
    log.read_to_string(&mut said).expect("logs are UTF-8");
    assert_eq!(child.wait().expect("it is ours").code(), Some(code), "{said}");
    let errors: Vec<_> = said.lines().filter(|line| line.starts_with("error: ")).collect();
    let [error] = errors.as_slice() else { panic!("not one line: {said}") };
    for words in says {
        assert!(error.contains(words), "{words:?} is not in: {error}");
    }
    assert!(!said.contains("panicked") && !said.contains("backtrace"), "{said}");
}

fn flip_a_byte(path: &Path, at: usize) {
    let mut content = fs::read(path).expect("the node wrote it");
    content[at] ^= 0xff;
    fs::write(path, content).expect("there is room");
}

fn first_segment(data: &Path) -> PathBuf {
    data.join("log/00000000000000000001.wal")
}

#[test]
fn a_damaged_log() {
    let (_root, data) = used_folder();
    // Behind the header: within what was acknowledged.
    flip_a_byte(&first_segment(&data), 200);
    check_refused(
        node(&data, &[]),
        1,
        &[".wal is damaged at byte", "was acknowledged", "never an older copy"],
    );
}

#[test]
fn a_lost_log() {
    let (_root, data) = used_folder();
    fs::remove_file(first_segment(&data)).unwrap();
    check_refused(node(&data, &[]), 1, &[".wal is damaged", "the segment is missing", "never an older copy"]);
}

#[test]
fn an_emptied_folder_of_a_member() {
    let (_root, data) = used_folder();
    for part in ["log", "state"] {
        fs::remove_dir_all(data.join(part)).unwrap();
        fs::create_dir(data.join(part)).unwrap();
    }
    check_refused(
        node(&data, &[]),
        1,
        &["log is empty", "its votes and its log are lost", "never an older copy"],
    );
}

#[test]
fn a_damaged_state() {
    let (_root, data) = used_folder();
    flip_a_byte(&data.join("state/conf"), 5);
    check_refused(node(&data, &[]), 1, &["state is damaged", "never an older copy"]);
}

#[test]
fn a_folder_of_another_node() {
    let (_root, data) = used_folder();
    check_refused(
        node(&data, &["--id", "2"]),
        1,
        &["belongs to node 1, but this is node 2", "its own folder"],
    );
}

#[test]
fn a_folder_of_somebody_else() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("thesis.tex"), "years of work").unwrap();
    check_refused(node(root.path(), &[]), 1, &["is not empty (thesis.tex)", "give the node an empty folder"]);
}

#[test]
fn a_folder_in_use() {
    let root = tempfile::tempdir().unwrap();
    let running = Running::start(root.path());
    let holder = format!("in use by process {}", running.0.id());
    check_refused(node(root.path(), &[]), 1, &[&holder, "stop that process"]);
}

#[test]
fn a_folder_of_a_newer_release() {
    let (_root, data) = used_folder();
    let path = data.join("identity.json");
    let identity = fs::read_to_string(&path).unwrap();
    fs::write(&path, identity.replace("\"format\": 1", "\"format\": 9")).unwrap();
    check_refused(node(&data, &[]), 1, &["has format 9", "start the newer release again"]);
}

#[test]
fn a_folder_that_may_not_be_written() {
    let root = tempfile::tempdir().unwrap();
    let folder = root.path().join("owned");
    fs::create_dir(&folder).unwrap();
    for path in [root.path(), &folder] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o555)).unwrap();
    }
    let says = &["cannot write to data folder", "that this user may write to"][..];
    if fs::metadata(&folder).unwrap().uid() == 0 {
        // Nothing is forbidden to root. Nobody may not be allowed to where the program lies, hence the link.
        let program = root.path().join("belfry");
        let original = env!("CARGO_BIN_EXE_belfry");
        fs::hard_link(original, &program).or_else(|_| fs::copy(original, &program).map(drop)).unwrap();
        let mut command = node_of(&program, &folder.join("data"), &[]);
        command.uid(NOBODY).gid(NOBODY);
        check_refused(command, 1, says);
    } else {
        check_refused(node(&folder.join("data"), &[]), 1, says);
        // So that it can be removed.
        fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
    }
}

#[test]
fn a_port_that_is_taken() {
    let root = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let command = node(&root.path().join("data"), &["--set", &format!("listen.peer={address}")]);
    check_refused(command, 1, &[&address, "listen.peer", "another process"]);
    assert!(!root.path().join("data").exists(), "nothing is made before the ports are known to be free");
}

#[test]
fn mistakes_in_the_configuration() {
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("data");
    let check = |setting: &str, says: &[&str]| check_refused(node(&data, &["--set", setting]), 2, says);
    check("raft.heartbeet_ms=5", &["unknown key `raft.heartbeet_ms`", "heartbeat_ms"]);
    check("raft.heartbeat_ms=soon", &["`raft.heartbeat_ms` (from flag)"]);
    check("raft.election_min_ms=150", &["less than two heartbeats"]);
    check("log.level=a=b=c", &["log.level", "debug"]);
    let members = "[{id=2,api=\"a:1\",peer=\"a:2\"},{id=3,api=\"b:1\",peer=\"b:2\"}]";
    let of_three = format!("cluster.members={members}");
    check_refused(
        node(&data, &["--id", "1", "--set", &of_three]),
        2,
        &["1 is not among cluster.members, which are 2, 3"],
    );
    let twice = ["--set", "listen.api=127.0.0.1:7400", "--set", "listen.admin=127.0.0.1:7400"];
    check_refused(node(&data, &twice), 2, &["taken by listen.api", "give each its own port"]);
    let missing = root.path().join("no.toml");
    let command = node(&data, &["--config", &missing.to_string_lossy()]);
    check_refused(command, 2, &["cannot read the configuration file", "no.toml"]);
    assert!(!data.exists(), "a mistake is found before anything is made");
}
