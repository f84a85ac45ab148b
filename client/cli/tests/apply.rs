//! `belfry apply`, `diff` and `export` against a stand-in node.

mod stand_in;

use std::fs;
use std::path::Path;

use stand_in::{StandIn, ok, run};
use tempfile::TempDir;

fn document(name: &str, more: &str) -> String {
    format!(
        "name: {name}\nlabels: {{by: git}}\ntiming:\n  include:\n  - interval: {{every: 1h}}\ntarget:\n  command: {{shell: {name}}}\n{more}"
    )
}

/// A folder with these documents in one file.
fn folder(documents: &[String]) -> TempDir {
    let folder = tempfile::tempdir().expect("a folder can be made");
    write(folder.path(), documents);
    folder
}

fn write(folder: &Path, documents: &[String]) {
    fs::write(folder.join("schedules.yaml"), documents.join("---\n")).expect("the folder is there");
}

/// The writes in order of their text: several are under way at once.
fn calls(node: &StandIn) -> Vec<String> {
    let mut calls = node.calls();
    calls.sort();
    calls
}

fn path(folder: &TempDir) -> String {
    folder.path().display().to_string()
}

#[test]
fn documents_are_created_then_left_alone_then_changed() {
    let node = StandIn::start();
    let files = folder(&[document("a", ""), document("b", "namespace: ops\n")]);
    let apply = ["apply", "-f", &path(&files)];
    let dry = run(&node, &[&apply[..], &["--dry-run"]].concat());
    assert_eq!(dry.code, Some(0), "{}", dry.stderr);
    assert!(dry.stderr.contains("dry run: nothing was changed") && node.calls().is_empty(), "{}", dry.stderr);
    let expected = "NAME                             RESULT   FIELDS\n\
                    namespaces/default/schedules/a   created\n\
                    namespaces/ops/schedules/b       created\n";
    let lines = |text: &str| {
        text.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect::<Vec<_>>()
    };
    assert_eq!(lines(&dry.stdout), lines(expected));
    assert_eq!(lines(&ok(&node, &apply)), lines(expected));
    assert_eq!(calls(&node), ["create a", "create b"]);
    assert_eq!(ok(&node, &apply).matches("unchanged").count(), 2);
    assert_eq!(node.calls().len(), 2, "APPLY-2");
    write(
        files.path(),
        &[
            document("a", "priority: 9\npolicies: {retry: {max_attempts: 3}}\n"),
            document("b", "namespace: ops\n"),
        ],
    );
    let json = ok(&node, &[&apply[..], &["-o", "json"]].concat());
    let expected = "{\"documents\":[{\"kind\":\"Schedule\",\"name\":\"namespaces/default/schedules/a\",\"result\":\"changed\",\
                    \"changed_fields\":[\"policies.retry\",\"priority\"]},\
                    {\"kind\":\"Schedule\",\"name\":\"namespaces/ops/schedules/b\",\"result\":\"unchanged\"}]}\n";
    assert_eq!(json, expected);
}

#[test]
fn what_a_node_shows_can_be_applied() {
    let node = StandIn::start();
    let words = [
        "schedule",
        "create",
        "a",
        "--cron",
        "0 3 * * *",
        "--every",
        "1h",
        "--tz",
        "Europe/Berlin",
        "--command",
        "x",
        "--env",
        "A=1",
        "--retries",
        "2",
        "--overlap",
        "allow",
        "--label",
        "by=hand",
    ];
    ok(&node, &words);
    ok(&node, &["schedule", "create", "b", "--every", "1h", "--http-post", "http://a/", "--body", "x"]);
    let files = tempfile::tempdir().unwrap();
    for (file, words) in [
        ("get.yaml", &["schedule", "get", "a", "-o", "yaml"][..]),
        ("list.json", &["schedule", "list", "-o", "json", "-l", "!by"]),
    ] {
        fs::write(files.path().join(file), ok(&node, words)).unwrap();
    }
    assert_eq!(ok(&node, &["apply", "-f", &path(&files)]).matches("unchanged").count(), 2);
    let exported = tempfile::tempdir().unwrap();
    fs::write(exported.path().join("all.yaml"), ok(&node, &["export"])).unwrap();
    assert_eq!(ok(&node, &["apply", "-f", &path(&exported)]).matches("unchanged").count(), 2);
    fs::write(exported.path().join("all.yaml"), ok(&node, &["export", "-o", "json", "-l", "by=hand"]))
        .unwrap();
    assert_eq!(run(&node, &["diff", "-f", &path(&exported)]).code, Some(0));
    assert_eq!(node.calls(), ["create a", "create b"]);
}

#[test]
fn a_paused_schedule_is_moved_to_another_cluster_paused() {
    let (old, new) = (StandIn::start(), StandIn::start());
    ok(&old, &["schedule", "create", "a", "--every", "1h", "--command", "x"]);
    ok(&old, &["schedule", "pause", "a", "--reason", "disk is full"]);
    let files = tempfile::tempdir().unwrap();
    fs::write(files.path().join("all.yaml"), ok(&old, &["export"])).unwrap();
    ok(&new, &["apply", "-f", &path(&files)]);
    let json = ok(&new, &["schedule", "get", "a", "-o", "json"]);
    assert!(json.contains(r#""state":"PAUSED","pause":{"reason":"disk is full","actor":"anna""#), "{json}");
    // It is for people to resume it, and for nobody's documents to pause it again.
    ok(&new, &["schedule", "resume", "a"]);
    assert!(ok(&new, &["apply", "-f", &path(&files)]).contains("unchanged"));
    assert!(ok(&new, &["schedule", "get", "a", "-o", "json"]).contains(r#""state":"ACTIVE""#));
}

#[test]
fn a_document_that_cannot_be_read_stops_all() {
    let node = StandIn::start();
    let files = folder(&[document("a", ""), document("b", "polcies: {}\n"), document("c", "name: c\n")]);
    let ended = run(&node, &["apply", "-f", &path(&files)]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""));
    assert!(ended.stderr.contains("is no YAML"), "{}", ended.stderr);
    write(files.path(), &[document("a", ""), document("b", "polcies: {}\n"), document("c", "pool: 7\n")]);
    let ended = run(&node, &["apply", "-f", &path(&files)]);
    let lines: Vec<&str> = ended.stderr.lines().collect();
    assert_eq!((ended.code, lines.len()), (Some(2), 2), "{}", ended.stderr);
    assert!(
        lines[0].ends_with("schedules.yaml, document 2 (b): polcies is no field: did you mean `policies`?"),
        "{}",
        lines[0]
    );
    assert!(lines[1].ends_with("document 3 (c): pool is no text: put it in quotes"), "{}", lines[1]);
    assert!(node.calls().is_empty(), "FILES-2");
}

#[test]
fn applying_goes_on_after_a_failure_and_prunes_nothing_then() {
    let node = StandIn::start();
    ok(&node, &["schedule", "create", "old", "--every", "1h", "--command", "x", "--label", "by=git"]);
    let files = folder(&[document("a", "description: refused\n"), document("b", "")]);
    let ended = run(&node, &["apply", "-f", &path(&files), "--prune", "-l", "by=git", "--yes"]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    assert!(ended.stdout.contains("failed") && ended.stdout.contains("created"), "{}", ended.stdout);
    let lines: Vec<&str> = ended.stderr.lines().collect();
    assert_eq!(lines[0], "nothing was pruned, because 1 document(s) could not be applied");
    assert!(
        lines[1].starts_with("error: namespaces/default/schedules/a: invalid request: it is refused"),
        "{}",
        lines[1]
    );
    assert_eq!(node.calls(), ["create old", "create b"]);
}

#[test]
fn pruning_lists_what_it_deletes_and_spares_what_is_defined_or_unlabelled() {
    let node = StandIn::start();
    for (name, label) in [("a", "by=git"), ("gone", "by=git"), ("mine", "by=hand")] {
        ok(&node, &["schedule", "create", name, "--every", "1h", "--command", name, "--label", label]);
    }
    let files = folder(&[document("a", "")]);
    let words = ["apply", "-f", &path(&files), "--prune", "-l", "by=git"];
    let asked = run(&node, &words);
    assert_eq!((asked.code, asked.stdout.as_str()), (Some(2), ""));
    assert!(asked.stderr.starts_with("  gone\nerror: would delete 1 schedule(s)"), "{}", asked.stderr);
    let dry = ok(&node, &[&words[..], &["--dry-run"]].concat());
    assert!(dry.contains("deleted") && node.calls().len() == 3, "{dry}");
    ok(&node, &[&words[..], &["--yes"]].concat());
    assert_eq!(node.calls().last().map(String::as_str), Some("delete gone"));
    assert!(
        ok(&node, &["schedule", "list", "-o", "name"]).ends_with("/a\nnamespaces/default/schedules/mine\n")
    );
    assert_eq!(run(&node, &["apply", "-f", &path(&files), "--prune", "--yes"]).code, Some(2));
    let empty = folder(&[]);
    let ended = run(&node, &["apply", "-f", &path(&empty), "--prune", "-l", "by=git", "--yes"]);
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("no schedules in the documents: --prune would delete everything"),
        "{}",
        ended.stderr
    );
}

#[test]
fn a_diff_shows_fields_and_fires_and_changes_nothing() {
    let node = StandIn::start();
    let at = |time: &str| {
        format!("name: a\ntiming: {{include: [{{at_time: '{time}'}}]}}\ntarget: {{command: {{shell: x}}}}\n")
    };
    let files = folder(&[at("2099-01-01T00:00:00Z")]);
    let diff = ["diff", "-f", &path(&files)];
    let new = run(&node, &diff);
    assert_eq!(new.code, Some(1), "{}", new.stderr);
    assert!(new.stdout.starts_with("namespaces/default/schedules/a (new)\n"), "{}", new.stdout);
    ok(&node, &["apply", "-f", &path(&files)]);
    let same = run(&node, &diff);
    assert_eq!((same.code, same.stdout.as_str(), same.stderr.as_str()), (Some(0), "", "no differences\n"));
    write(files.path(), &[at("2099-01-02T00:00:00Z")]);
    let moved = run(&node, &diff);
    assert_eq!((moved.code, moved.stderr.as_str()), (Some(1), ""));
    for line in [
        "  -  timing.include: {\"at_time\":\"2099-01-01T00:00:00Z\"}\n",
        "  +  timing.include: {\"at_time\":\"2099-01-02T00:00:00Z\"}\n",
        "  -  fires 2099-01-01T00:00:00Z  Thu 2099-01-01 00:00:00 UTC\n",
        "  +  fires 2099-01-02T00:00:00Z  Fri 2099-01-02 00:00:00 UTC\n",
    ] {
        assert!(moved.stdout.contains(line), "{line} in\n{}", moved.stdout);
    }
    assert_eq!(node.calls(), ["create a"]);
    write(files.path(), &[at("2099-01-02T00:00:00Z") + "description: refused\n"]);
    assert_eq!(run(&node, &diff).code, Some(2), "1 is for differences");
}

#[test]
fn documents_may_come_from_stdin_and_nobody_there_is_said_once() {
    use std::io::Write as _;
    use std::process::{Command, Stdio};
    let apply = |address: &str, text: &str| {
        let mut child = Command::new(env!("CARGO_BIN_EXE_belfry"))
            .env_clear()
            .args(["apply", "-f", "-", "--endpoint", address, "--timeout", "200ms"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
        child.wait_with_output().unwrap()
    };
    let node = StandIn::start();
    let text = [document("a", ""), document("b", "")].join("---\n");
    assert_eq!(apply(&node.address(), &text).status.code(), Some(0));
    assert_eq!(calls(&node), ["create a", "create b"]);
    let many: Vec<String> = (0..50).map(|n| document(&format!("s{n}"), "")).collect();
    let nobody = apply("127.0.0.1:1", &many.join("---\n"));
    let stderr = String::from_utf8(nobody.stderr).unwrap();
    assert_eq!(nobody.status.code(), Some(6), "{stderr}");
    assert_eq!(stderr.matches("no node answered").count(), 1, "{stderr}");
    assert_eq!(stderr.matches("not tried: the cluster cannot be reached").count(), 49, "{stderr}");
}

/// What a team owns: all four kinds, and the schedule uses the others.
fn all_of_a_team() -> Vec<String> {
    let schedule = "labels: {by: git}\ntiming:\n  include: [{interval: {every: 1h}}]\n  calendars: [{calendar: holidays, mode: EXCLUDE}]\n\
                    target: {command: {shell: x}}\npool: reports\n";
    vec![
        format!("kind: Schedule\nname: a\n{schedule}"),
        "kind: Calendar\nname: holidays\ndays: ['*-12-25']\n".to_owned(),
        "kind: Pool\nname: reports\nslots: 2\nrate: {count: 5, per: 1m}\n".to_owned(),
        "kind: Namespace\nname: default\nrunning_max: 9\n".to_owned(),
    ]
}

#[test]
fn all_that_a_team_owns_is_applied_and_what_is_used_comes_first() {
    let node = StandIn::start();
    let mut documents = all_of_a_team();
    let files = folder(&documents);
    let apply = ["apply", "-f", &path(&files)];
    let dry = ok(&node, &[&apply[..], &["--dry-run"]].concat());
    assert!(dry.matches("created").count() == 4 && node.calls().is_empty(), "{dry}");
    ok(&node, &apply);
    let calls = node.calls();
    assert_eq!(calls.last().map(String::as_str), Some("create a"), "APPLY-4: {calls:?}");
    assert_eq!(calls.len(), 4);
    assert_eq!(ok(&node, &apply).matches("unchanged").count(), 4);
    assert_eq!(node.calls().len(), 4, "APPLY-2");
    // Pausing is for people, and not undone by documents.
    ok(&node, &["pool", "pause", "reports", "--reason", "disk is full"]);
    documents[2] = documents[2].replace("slots: 2", "slots: 3");
    documents[1] = documents[1].replace("'*-12-25'", "'*-12-26'");
    write(files.path(), &documents);
    let diff = run(&node, &["diff", "-f", &path(&files)]);
    assert_eq!(diff.code, Some(1), "{}", diff.stderr);
    let expected = "pools/reports\n  -  slots: 2\n  +  slots: 3\n\
                    namespaces/default/calendars/holidays\n  -  days: *-12-25\n  +  days: *-12-26\n";
    assert_eq!(diff.stdout, expected);
    let json = ok(&node, &[&apply[..], &["-o", "json"]].concat());
    assert!(
        json.contains(
            r#"{"kind":"Pool","name":"pools/reports","result":"changed","changed_fields":["slots"]}"#
        ),
        "{json}"
    );
    assert!(ok(&node, &["pool", "get", "reports"]).contains("PAUSED by anna: disk is full"));
}

#[test]
fn an_export_has_what_its_schedules_use() {
    let (node, other) = (StandIn::start(), StandIn::start());
    let files = folder(&all_of_a_team());
    ok(&node, &["apply", "-f", &path(&files)]);
    ok(&node, &["pool", "set", "unused", "--slots", "1"]);
    ok(&node, &["calendar", "set", "unused", "--day", "*-05-01"]);
    let names = |words: &[&str]| {
        let text = ok(&node, &[&["export", "-o", "name"], words].concat());
        text.lines().map(|name| name.rsplit('/').next().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(names(&[]), ["a", "holidays", "unused", "reports", "default"]);
    assert_eq!(names(&["-l", "by=git"]), ["a", "holidays", "reports", "default"]);
    assert_eq!(names(&["-l", "by=hand"]), [""; 0]);
    assert_eq!(names(&["-N", "-"]), ["a", "holidays", "unused", "reports", "unused", "default"]);
    assert_eq!(names(&["--kind", "Pool", "--kind", "namespace"]), ["reports", "default"]);
    let exported = tempfile::tempdir().unwrap();
    for format in ["yaml", "json"] {
        fs::write(exported.path().join("all.yaml"), ok(&node, &["export", "-o", format])).unwrap();
        assert_eq!(ok(&node, &["apply", "-f", &path(&exported)]).matches("unchanged").count(), 5);
        ok(&other, &["apply", "-f", &path(&exported)]);
    }
    assert_eq!(ok(&other, &["export"]), ok(&node, &["export"]));
    for kind in ["pool", "namespace", "calendar"] {
        fs::write(exported.path().join("all.yaml"), ok(&node, &[kind, "list", "-o", "yaml"])).unwrap();
        let again = ok(&node, &["apply", "-f", &path(&exported)]);
        assert!(again.contains("unchanged") && !again.contains("created"), "{kind}: {again}");
    }
}

#[test]
fn a_schedule_is_not_applied_without_what_it_uses() {
    let node = StandIn::start();
    let mut documents = all_of_a_team();
    documents[2] += "description: refused\n";
    documents.push(document("b", ""));
    let files = folder(&documents);
    let ended = run(&node, &["apply", "-f", &path(&files)]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    let expected = "namespaces/default/schedules/a: not tried: pools/reports could not be applied";
    assert!(ended.stderr.contains(expected), "{}", ended.stderr);
    assert_eq!(node.calls().last().map(String::as_str), Some("create b"), "the other goes on");
    assert!(!node.calls().contains(&"create a".to_owned()), "APPLY-4");
}

#[test]
fn pruning_deletes_no_pools_or_calendars_and_nothing_for_lack_of_schedules() {
    let node = StandIn::start();
    let files = folder(&all_of_a_team());
    ok(&node, &["apply", "-f", &path(&files)]);
    write(files.path(), &all_of_a_team()[1..]);
    let prune = ["apply", "-f", &path(&files), "--prune", "-l", "by=git", "--yes"];
    let ended = run(&node, &prune);
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    write(files.path(), &[document("b", "")]);
    ok(&node, &prune);
    assert_eq!(node.calls().last().map(String::as_str), Some("delete a"));
    assert!(ok(&node, &["pool", "list", "-o", "name"]).contains("reports"));
    assert!(ok(&node, &["calendar", "list", "-o", "name"]).contains("holidays"));
}
