//! The built command from end to end: `belfry dev` with one node and its executor, and the commands against it.
//!
//! Nothing here sleeps: the first line of `belfry dev` says that it is ready, `--wait` waits for a run, and reading a line
//! waits until it is written.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// A `belfry dev` that is killed when the test ends early.
struct Dev {
    process: Child,
    stdout: BufReader<ChildStdout>,
    endpoint: String,
}

impl Dev {
    fn start(data: &Path) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_belfry"))
            .env_clear()
            .args(["dev", "--nodes", "1", "--no-demo", "--api", "127.0.0.1:0", "--data"])
            .arg(data)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the command can be started");
        let mut stdout = BufReader::new(process.stdout.take().expect("stdout is piped"));
        let mut line = String::new();
        stdout.read_line(&mut line).expect("its output is UTF-8");
        let endpoint = line.split_whitespace().find(|word| word.starts_with("http://"));
        let endpoint = endpoint.unwrap_or_else(|| panic!("no endpoint in {line:?}"));
        let endpoint = endpoint.trim_end_matches(':').to_owned();
        Self { process, stdout, endpoint }
    }

    /// The next line of its output with this text in it; waits until it comes.
    fn line_with(&mut self, text: &str) -> String {
        loop {
            let mut line = String::new();
            let length = self.stdout.read_line(&mut line).expect("its output is UTF-8");
            assert_ne!(length, 0, "it ended without saying {text:?}");
            if line.contains(text) {
                return line;
            }
        }
    }

    /// Ends it as Ctrl-C does, and returns what else it said.
    fn interrupt(mut self) -> (ExitStatus, String) {
        let pid = Pid::from_raw(i32::try_from(self.process.id()).expect("process ids are small"));
        kill(pid, Signal::SIGINT).expect("it still runs");
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).expect("its output is UTF-8");
        (self.process.wait().expect("it can be waited for"), rest)
    }

    fn run(&self, words: &[&str]) -> Ended {
        let output = Command::new(env!("CARGO_BIN_EXE_belfry"))
            .env_clear()
            .env("BELFRY_ENDPOINT", &self.endpoint)
            // Machines that are busy with other tests must not make this one fail.
            .env("BELFRY_TIMEOUT", "60s")
            .args(words)
            .stdin(Stdio::null())
            .output()
            .expect("the command can be started");
        Ended {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).expect("output is UTF-8"),
            stderr: String::from_utf8(output.stderr).expect("output is UTF-8"),
        }
    }

    /// The document that a command which must succeed writes.
    fn json(&self, words: &[&str]) -> Value {
        let ended = self.run(&[words, &["-o", "json"]].concat());
        assert_eq!(ended.code, Some(0), "{words:?}: {}", ended.stderr);
        serde_json::from_str(&ended.stdout).expect("the document is JSON")
    }

    /// A command that must be refused with `code`, and in one line that begins so.
    fn check_refused(&self, code: i32, line: &str, words: &[&str]) {
        let ended = self.run(words);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(code), ""), "{words:?}: {}", ended.stderr);
        assert_eq!(ended.stderr.lines().count(), 1, "{words:?}: {}", ended.stderr);
        assert!(ended.stderr.starts_with(line), "{words:?}: {}", ended.stderr);
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        // After `interrupt` there is nothing left to kill.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// What a command line came to.
struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

/// A schedule whose only instant is far away: only triggers make runs.
fn create_greet(dev: &Dev) -> Value {
    let words = ["schedule", "create", "greet", "--at", "2100-01-01T00:00:00Z", "--argv", "--"];
    let program = ["/bin/sh", "-c", "echo first; echo second >&2"];
    // `-o json` must stand before `--`.
    let ended = dev.run(&[&["-o", "json"], &words[..], &program].concat());
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    serde_json::from_str(&ended.stdout).expect("the document is JSON")
}

#[test]
fn one_node_serves_every_step_and_carries_on_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let mut dev = Dev::start(&data);
    // What ends before this line counts as known already.
    dev.line_with("Runs as they end");

    let created = create_greet(&dev);
    assert_eq!(created["state"], "ACTIVE");

    let triggered = dev.json(&["schedule", "trigger", "greet", "--wait"]);
    let line = dev.line_with("greet/");
    assert!(line.contains("SUCCEEDED"), "{line}");
    let name = triggered["name"].as_str().expect("a run has a name");
    let run = dev.json(&["run", "get", name]);
    assert_eq!((&run["state"], &run["exit_code"]), (&"SUCCEEDED".into(), &0.into()), "{run}");
    assert_eq!(run["output_tail"], "first\nsecond\n", "{run}");

    let etag = created["etag"].as_str().expect("a schedule has an etag");
    let paused = dev.json(&["schedule", "pause", "greet", "--reason", "the test says so"]);
    assert_ne!(paused["etag"], etag, "a pause is a change");
    dev.check_refused(5, "error: conflict: ", &["schedule", "set", "greet", "--pool", "p", "--etag", etag]);
    let again = ["schedule", "create", "greet", "--every", "1h", "--command", "true"];
    dev.check_refused(5, "error: already exists: ", &again);
    let zone = ["schedule", "create", "x", "--cron", "@daily", "--tz", "Europe/Berlim", "--command", "true"];
    dev.check_refused(2, "error: schedule.timing.time_zone: unknown time zone `Europe/Berlim`", &zone);
    check_oversized(&dev, folder.path());

    let (status, rest) = dev.interrupt();
    assert_eq!(status.code(), Some(0), "{rest}");

    let dev = Dev::start(&data);
    let kept = dev.json(&["schedule", "get", "greet"]);
    for field in ["uid", "etag", "target", "pause"] {
        assert_eq!(kept[field], paused[field], "{field}");
    }
    assert_eq!(dev.json(&["run", "get", name])["output_tail"], run["output_tail"]);
    assert_eq!(dev.run(&["schedule", "delete", "greet", "--yes"]).code, Some(0));
    dev.check_refused(3, "error: not found: ", &["schedule", "get", "greet"]);
    assert_eq!(dev.interrupt().0.code(), Some(0));
}

#[test]
fn what_is_announced_is_ready_for_all_that_this_release_can_do() {
    let folder = tempfile::tempdir().unwrap();
    let dev = Dev::start(folder.path());
    let status = dev.json(&["cluster", "status"]);
    let known = dev.json(&["cluster", "members"])["members"][0]["feature_level"].take();
    assert!(known.is_u64(), "the newest level of this release: {known}");
    assert_eq!((&status["writable"], &status["feature_level"]), (&true.into(), &known), "{status}");
    assert_eq!(dev.run(&["pool", "set", "first", "--slots", "1"]).code, Some(0));
    assert_eq!(dev.interrupt().0.code(), Some(0));
}

#[test]
fn a_benchmark_finds_what_began_and_takes_its_schedules_away_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut dev = Dev::start(folder.path());
    let metrics = dev.line_with("metrics");
    let admin = metrics.split_whitespace().nth(1).expect("it says where").trim_end_matches("/metrics");

    let storm = dev.json(&["bench", "storm", "--due", "30", "--executors", "2", "--admin", admin]);
    for (figure, expected) in [("begun", 30), ("missed", 0), ("doubled", 0)] {
        assert_eq!(storm[figure], expected, "{storm}");
    }
    assert_eq!(storm["ledger"]["SUCCEEDED"], 30, "{storm}");
    let is_positive =
        |pointer| storm.pointer(pointer).and_then(Value::as_f64).is_some_and(|value| value > 0.0);
    for figure in ["/lag/max_ms", "/cost/nodes_cpu_s", "/cost/log_bytes_per_item", "/runs_per_second"] {
        assert!(is_positive(figure), "{figure} in {storm}");
    }
    let crud = dev.json(&["bench", "crud", "--count", "3", "--concurrency", "2", "--bulk", "1500"]);
    let operations = crud["operations"].as_array().expect("a list");
    let names: Vec<_> = operations.iter().filter_map(|operation| operation["operation"].as_str()).collect();
    let each = ["create", "get", "update", "list", "delete"];
    assert_eq!(names, [each, each].concat());
    let calls: Vec<_> = operations.iter().filter_map(|operation| operation["calls"].as_u64()).collect();
    assert_eq!(calls, [3, 3, 3, 1, 3, 2, 2, 2, 1, 2], "a list of 1500 is one stream");

    check_interrupted(&dev);
    assert_eq!(dev.json(&["schedule", "list", "-N", "-"])["schedules"], Value::Array(Vec::new()));

    create_greet(&dev);
    let line = "error: this cluster has 1 schedules";
    dev.check_refused(2, line, &["bench", "remove", "--schedules", "1"]);
    let removed = dev.json(&["bench", "remove", "--schedules", "3", "--yes"]);
    assert_eq!(removed["schedules"], 3, "{removed}");
    let rescheduled = dev.json(&["bench", "reschedule", "--schedules", "3", "--yes"]);
    assert!(rescheduled["schedules_per_second"].as_f64().is_some_and(|rate| rate > 0.0), "{rescheduled}");
    let left = dev.json(&["schedule", "list", "-N", "-"]);
    assert_eq!(left["schedules"].as_array().map(Vec::len), Some(1), "{left}");
    dev.json(&["schedule", "get", "greet"]);
    assert_eq!(dev.interrupt().0.code(), Some(0));
}

/// A benchmark that is interrupted while it waits for an instant that is far away.
fn check_interrupted(dev: &Dev) {
    let mut bench = Command::new(env!("CARGO_BIN_EXE_belfry"))
        .env_clear()
        .args(["bench", "storm", "--due", "5", "--at", "2100-01-01T00:00:00Z", "--endpoint", &dev.endpoint])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the command can be started");
    let mut stderr = BufReader::new(bench.stderr.take().expect("stderr is piped"));
    let mut line = String::new();
    while !line.contains("created 5 schedules") {
        line.clear();
        assert_ne!(stderr.read_line(&mut line).expect("its output is UTF-8"), 0, "it ended by itself");
    }
    let schedules = dev.json(&["schedule", "list", "-N", "-"]);
    assert_eq!(schedules["schedules"].as_array().map(Vec::len), Some(5), "{schedules}");
    let pid = Pid::from_raw(i32::try_from(bench.id()).expect("process ids are small"));
    kill(pid, Signal::SIGINT).expect("it still runs");
    assert_eq!(bench.wait().expect("it can be waited for").code(), Some(130));
}

#[test]
fn a_drained_executor_ends_and_the_cluster_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let mut dev = Dev::start(folder.path());
    dev.line_with("Runs as they end");
    create_greet(&dev);
    dev.json(&["schedule", "trigger", "greet", "--wait"]);
    dev.line_with("greet/");
    let drained = dev.run(&["executor", "drain", "dev", "--wait"]);
    assert_eq!(drained.code, Some(0), "{}", drained.stderr);
    let line = dev.line_with("the executor was drained");
    assert!(line.contains("its runs wait for another one"), "{line}");
    let waiting = dev.json(&["schedule", "trigger", "greet"]);
    assert_eq!(waiting["state"], "DUE");
    // Another one takes what waits.
    let mut other = Command::new(env!("CARGO_BIN_EXE_belfry"))
        .env_clear()
        .args(["executor", "--endpoint", &dev.endpoint])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the command can be started");
    let line = dev.line_with("greet/");
    other.kill().expect("it still runs");
    other.wait().expect("it can be waited for");
    assert!(line.contains("SUCCEEDED"), "{line}");
    let (status, rest) = dev.interrupt();
    assert_eq!(status.code(), Some(0), "{rest}");
}

/// Both what the node refuses and what is too much to be sent at all.
fn check_oversized(dev: &Dev, folder: &Path) {
    for (size, line) in [
        (300_000, "error: schedule.target.handler.payload: has 300000 bytes: at most "),
        (20_000_000, "error: "),
    ] {
        let file = folder.join("big");
        std::fs::write(&file, vec![b'x'; size]).expect("the folder takes files");
        let payload = format!("@{}", file.display());
        let words = ["schedule", "create", "x", "--every", "1h", "--handler", "h", "--payload", &payload];
        dev.check_refused(2, line, &words);
    }
}
