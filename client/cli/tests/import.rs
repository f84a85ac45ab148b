//! Imports as people and scripts meet them: what is said of awkward input, and what repeating one does.
//!
//! `BLESS=1` writes the expected texts anew; then read the difference.

mod stand_in;

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use stand_in::StandIn;

/// All golden texts look from here, so that both changes of the clocks lie within the year.
const FROM: [&str; 2] = ["--from", "2026-11-25T12:00:00Z"];

struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/import").join(name)
}

fn import(node: Option<&StandIn>, source: &str, file: &str, flags: &[&str]) -> Ended {
    let mut command = Command::new(env!("CARGO_BIN_EXE_belfry"));
    command.env_clear().env("USER", "anna").stdin(Stdio::null());
    command.args(["import", source]).arg(data(file)).args(flags).args(FROM);
    if let Some(node) = node {
        command.args(["--endpoint", &node.address()]);
    }
    let output = command.output().expect("the command can be started");
    let text = |bytes| String::from_utf8(bytes).expect("output is UTF-8");
    Ended { code: output.status.code(), stdout: text(output.stdout), stderr: text(output.stderr) }
}

/// Compares what a dry run says with `{expected}.expected`.
fn check(source: &str, file: &str, flags: &[&str], expected: &str) {
    let Ended { code, stdout, stderr } = import(None, source, file, flags);
    let said = format!("{stdout}---\n{stderr}---\nexit {}\n", code.expect("it was not killed"));
    let path = data(&format!("{expected}.expected"));
    if std::env::var_os("BLESS").is_some() {
        std::fs::write(&path, &said).expect("the expected text can be written");
    }
    let expected = std::fs::read_to_string(&path).unwrap_or_default();
    assert_eq!(said, expected, "{}", path.display());
}

#[test]
fn cron_d_is_reported() {
    check("crontab", "cron.d", &["--tz", "Europe/Berlin"], "cron.d");
    check("crontab", "cron.d/shop", &["--system", "--only", "dump"], "cron.d-without-a-zone");
}

#[test]
fn cron_jobs_are_reported() {
    check("kubernetes", "cronjobs.yaml", &[], "cronjobs-without-a-target");
    check(
        "kubernetes",
        "cronjobs.yaml",
        &["--target", "command", "--assume-tz", "UTC"],
        "cronjobs-as-commands",
    );
    check("kubernetes", "cronjobs.yaml", &["--target", "handler=kubernetes-job"], "cronjobs-by-a-handler");
}

#[test]
fn dkron_is_reported() {
    check("dkron", "dkron.json", &[], "dkron");
    check(
        "dkron",
        "dkron.json",
        &["--assume-tz", "Europe/Berlin", "--only", "hook", "-o", "yaml"],
        "dkron-hook",
    );
}

/// The results in a JSON document, in its order.
fn results(ended: &Ended) -> Vec<String> {
    let parts = ended.stdout.split("\"result\":\"").skip(1);
    parts.map(|part| part.split('"').next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn a_repeated_import_changes_nothing() {
    for (source, file, flags, count) in [
        ("crontab", "cron.d", &["--tz", "Europe/Berlin"][..], 6),
        ("kubernetes", "cronjobs.yaml", &["--target", "command"], 4),
        ("kubernetes", "cronjobs.yaml", &["--target", "handler=k"], 5),
        ("dkron", "dkron.json", &["--target", "handler=k"], 8),
    ] {
        let node = StandIn::start();
        let flags = [flags, &["--apply", "--accept-changes", "-o", "json"]].concat();
        let first = import(Some(&node), source, file, &flags);
        assert_eq!(results(&first), vec!["created"; count], "{source}: {}", first.stderr);
        // What cannot be imported stays a failure, however often it is said.
        assert_eq!(first.code, Some(1), "{source}: {}", first.stderr);
        let calls = node.calls();
        assert_eq!(calls.len(), count);
        let second = import(Some(&node), source, file, &flags);
        assert_eq!(results(&second), vec!["unchanged"; count], "{source}: {}", second.stderr);
        assert_eq!(node.calls(), calls, "{source}");
    }
}

#[test]
fn another_meaning_is_created_only_when_it_is_accepted() {
    let node = StandIn::start();
    let flags = ["--target", "handler=k", "--apply", "-o", "json"];
    let ended = import(Some(&node), "kubernetes", "cronjobs.yaml", &flags);
    assert_eq!(results(&ended), ["left_out", "left_out", "created", "created", "created"]);
    assert_eq!(node.calls(), ["create heartbeat", "create tokyo", "create sidecar"]);
}

#[test]
fn clean_input_exits_with_0() {
    let ended = import(None, "crontab", "cron.d/rotate", &["--tz", "Europe/Berlin"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("2 schedules: 2 same, 0 with changed meaning, 0 not imported\n"),
        "{}",
        ended.stderr
    );
    let ended = import(None, "dkron", "dkron.json", &["--only", "campaign", "-o", "name"]);
    assert_eq!(
        (ended.code, ended.stdout.as_str()),
        (Some(0), "namespaces/default/schedules/campaign\n"),
        "{}",
        ended.stderr
    );
}

#[test]
fn what_is_no_input_is_refused() {
    for (source, file, expected) in [
        ("dkron", "cronjobs.yaml", "is no JSON: "),
        ("dkron", "missing", "cannot read "),
        ("kubernetes", "cron.d", "cannot read "),
        ("crontab", "/dev/zero", "has more than 67108864 bytes: import it in parts"),
        ("dkron", "dkron.json", "--only nothing: "),
    ] {
        let ended = import(None, source, file, &["--only", "nothing"]);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{source} {file}: {}", ended.stderr);
        assert!(ended.stderr.contains(expected), "{source} {file}: {}", ended.stderr);
    }
}
