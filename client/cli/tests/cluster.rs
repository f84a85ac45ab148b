//! The built command against a node. The node is a stand-in that keeps schedules in a map: what is tested is what the
//! command asks for, and what it makes of the answers.

mod stand_in;

use stand_in::{StandIn, ok, run};

fn create(node: &StandIn, name: &str) {
    ok(
        node,
        &["schedule", "create", name, "--cron", "0 3 * * *", "--tz", "Europe/Berlin", "--command", "backup"],
    );
}

#[test]
fn a_schedule_is_created_and_shown_with_its_next_fires() {
    let node = StandIn::start();
    let words = [
        "schedule",
        "create",
        "poll",
        "--every",
        "1h",
        "--label",
        "team=ops",
        "--argv",
        "--",
        "/bin/poll",
        "-q",
    ];
    let ended = run(&node, &words);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let lines: Vec<&str> = ended.stdout.lines().collect();
    assert!(lines[0].starts_with("NAME  STATE   TIMING    ZONE  NEXT FIRES"), "{}", ended.stdout);
    assert!(
        lines[1].starts_with("poll  ACTIVE  every 1h  UTC   2100-01-01T00:00:00Z (in "),
        "{}",
        ended.stdout
    );
    assert_eq!(ended.stderr, "warning: a stand-in never fires\n");
    let json = ok(&node, &["schedule", "get", "poll", "-o", "json"]);
    for part in [r#""argv":["/bin/poll","-q"]"#, r#""every":"1h""#, r#""labels":{"team":"ops"}"#] {
        assert!(json.contains(part), "{part} in {json}");
    }
    assert_eq!(ok(&node, &["schedule", "get", "poll", "-o", "name"]), "namespaces/default/schedules/poll\n");
}

#[test]
fn content_may_come_from_a_file() {
    let node = StandIn::start();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("body");
    std::fs::write(&file, b"\xff\x00").unwrap();
    let body = format!("@{}", file.display());
    ok(&node, &["schedule", "create", "x", "--every", "1h", "--http-post", "http://a/", "--body", &body]);
    let yaml = ok(&node, &["schedule", "get", "x", "-o", "yaml"]);
    assert!(yaml.contains("    method: POST\n") && yaml.contains("    body_base64: /wA=\n"), "{yaml}");
}

#[test]
fn a_dry_run_creates_nothing() {
    let node = StandIn::start();
    let ended = run(&node, &["schedule", "create", "x", "--every", "1h", "--command", "true", "--dry-run"]);
    assert_eq!(ended.code, Some(0));
    assert!(ended.stderr.contains("dry run: nothing was created"), "{}", ended.stderr);
    assert_eq!(run(&node, &["schedule", "get", "x"]).code, Some(3));
}

#[test]
fn refusals_have_their_exit_codes_and_one_line_each() {
    let node = StandIn::start();
    create(&node, "taken");
    for (code, line, words) in [
        (3, "error: not found: ", &["schedule", "get", "missing"][..]),
        (5, "error: already exists: ", &["schedule", "create", "taken", "--every", "1h", "--command", "x"]),
        (5, "error: conflict: ", &["schedule", "set", "taken", "--pool", "p", "--etag", "stale"]),
        (
            2,
            "error: schedule_id: is not a name",
            &["schedule", "create", "b@d", "--every", "1h", "--command", "x"],
        ),
        (4, "error: not allowed: ", &["schedule", "get", "secret"]),
    ] {
        let ended = run(&node, words);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(code), ""), "{words:?}: {}", ended.stderr);
        assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
        assert!(ended.stderr.starts_with(line), "{words:?}: {}", ended.stderr);
    }
}

#[test]
fn lists_join_their_pages_and_select_by_label() {
    let node = StandIn::start();
    for (name, team) in [("a", "ops"), ("b", "web"), ("c", "ops")] {
        let label = format!("team={team}");
        ok(&node, &["schedule", "create", name, "--every", "1h", "--command", "x", "--label", &label]);
    }
    let names = ok(&node, &["schedule", "list", "--page-size", "1", "-o", "name", "-l", "team=ops"]);
    assert_eq!(names, "namespaces/default/schedules/a\nnamespaces/default/schedules/c\n");
    let json = ok(&node, &["schedule", "list", "--page-size", "2", "-o", "json"]);
    assert!(json.starts_with("{\"schedules\":[{") && json.ends_with("}]}\n"), "{json}");
    assert_eq!(json.matches("\"uid\"").count(), 3);
    assert_eq!(ok(&node, &["schedule", "list", "-N", "empty", "-o", "json"]), "{\"schedules\":[]}\n");
}

#[test]
fn set_loses_no_change_of_somebody_else() {
    let node = StandIn::start();
    create(&node, "x");
    node.interfere_once();
    ok(&node, &["schedule", "set", "x", "--env", "A=1", "--start-deadline", "1h"]);
    assert_eq!(node.calls().last().map(String::as_str), Some("update x target,policies.start_deadline"));
    let json = ok(&node, &["schedule", "get", "x", "-o", "json"]);
    for part in [r#""shell":"backup""#, r#""environment":{"A":"1"}"#, r#""description":"interfered""#] {
        assert!(json.contains(part), "{part} in {json}");
    }
}

#[test]
fn a_pause_names_who_and_why_and_describe_repeats_it() {
    let node = StandIn::start();
    create(&node, "x");
    ok(&node, &["schedule", "pause", "x", "--reason", "disk is full"]);
    let screen = ok(&node, &["schedule", "describe", "x"]);
    for part in [
        "PAUSED by anna",
        "disk is full",
        "At 03:00 every day by the clocks of Europe/Berlin.",
        "x/r2  FAILED",
        "belfry schedule resume x",
        "belfry run get x/r2",
    ] {
        assert!(screen.contains(part), "{part} in\n{screen}");
    }
    let resumed = ok(&node, &["schedule", "resume", "x", "-o", "json"]);
    assert!(resumed.contains(r#""state":"ACTIVE""#), "{resumed}");
}

#[test]
fn a_resume_says_what_was_skipped_and_what_becomes_of_it() {
    let node = StandIn::start();
    create(&node, "x");
    let paused = run(
        &node,
        &["schedule", "pause", "x", "--reason", "r", "--until", "2099-01-01T00:00:00Z", "-o", "json"],
    );
    assert!(paused.stdout.contains(r#""until":"2099-01-01T00:00:00Z""#), "{}", paused.stdout);
    let resumed = run(&node, &["schedule", "resume", "x", "--missed", "coalesce"]);
    assert_eq!(
        resumed.stderr.lines().next(),
        Some("x: 3 instant(s) were skipped in the pause; one run stands for them")
    );
    assert_eq!(node.calls().last().map(String::as_str), Some("resume x Coalesce"));
    let relative = run(&node, &["schedule", "pause", "x", "--reason", "r", "--until", "2h"]);
    assert!(relative.stderr.starts_with("until 2"), "{}", relative.stderr);
}

#[test]
fn what_a_selector_matches_is_listed_and_changed_after_a_yes() {
    let node = StandIn::start();
    for (name, team) in [("a", "ops"), ("b", "web"), ("c", "ops")] {
        let label = format!("team={team}");
        ok(&node, &["schedule", "create", name, "--every", "1h", "--command", "x", "--label", &label]);
    }
    let created = node.calls().len();
    let ended = run(&node, &["schedule", "pause", "-l", "team=ops", "--reason", "r"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""));
    assert_eq!(
        ended.stderr,
        "  a\n  c\nerror: would pause 2 schedule(s), and nobody is there to ask: repeat it with --yes\n"
    );
    assert_eq!(node.calls().len(), created);
    let preview = run(&node, &["schedule", "delete", "-l", "team=ops", "--dry-run"]);
    assert_eq!(preview.code, Some(0));
    assert!(
        preview.stderr.starts_with("would delete namespaces/default/schedules/a\n"),
        "{}",
        preview.stderr
    );
    assert_eq!(node.calls().len(), created);
    let names = ok(&node, &["schedule", "pause", "-l", "team=ops", "--reason", "r", "--yes", "-o", "name"]);
    assert_eq!(names, "namespaces/default/schedules/a\nnamespaces/default/schedules/c\n");
    assert_eq!(node.calls()[created..], ["pause a", "pause c"]);
    let everything = run(&node, &["schedule", "resume", "-l", "", "--yes"]);
    assert_eq!(everything.code, Some(2));
    assert!(everything.stderr.contains("an empty selector matches every schedule"), "{}", everything.stderr);
    let nothing = run(&node, &["schedule", "delete", "-l", "team=none", "--yes"]);
    assert_eq!(nothing.code, Some(0), "{}", nothing.stderr);
}

#[test]
fn verbs_are_checked_without_effect() {
    let node = StandIn::start();
    create(&node, "x");
    for words in [
        &["schedule", "pause", "x", "--reason", "r"][..],
        &["schedule", "resume", "x"],
        &["schedule", "trigger", "x"],
        &["schedule", "delete", "x"],
        &["schedule", "set", "x", "--priority", "9"],
        &["run", "cancel", "x/r2", "--reason", "r"],
        &["run", "resolve", "x/r2", "--did-run", "--reason", "r"],
    ] {
        ok(&node, &[words, &["--dry-run"]].concat());
    }
    assert_eq!(node.calls(), ["create x"]);
}

#[test]
fn a_trigger_says_what_to_do_about_others() {
    let node = StandIn::start();
    create(&node, "x");
    ok(&node, &["schedule", "trigger", "x", "--overlap", "allow"]);
    assert_eq!(node.calls().last().map(String::as_str), Some("trigger x Allow"));
    assert_eq!(run(&node, &["schedule", "trigger", "x", "--overlap", "refuse"]).code, Some(1));
}

#[test]
fn runs_are_cancelled_and_resolved_with_a_reason() {
    let node = StandIn::start();
    let screen = ok(&node, &["run", "cancel", "x/r2", "--reason", "wrong data"]);
    assert!(screen.contains("by anna: wrong data") && screen.contains("CANCELLED"), "{screen}");
    let ended = run(&node, &["run", "cancel", "x/r1", "x/missing", "x/r2", "--reason", "r", "-o", "name"]);
    assert_eq!((ended.code, ended.stdout.lines().count()), (Some(3), 2), "{}", ended.stderr);
    for (flag, state) in [("--did-run", "SUCCEEDED"), ("--failed", "FAILED"), ("--did-not-run", "SKIPPED")] {
        let json = ok(&node, &["run", "resolve", "x/r2", flag, "--reason", "looked", "-o", "json"]);
        assert!(json.contains(&format!(r#""state":"{state}""#)), "{json}");
    }
    assert_eq!(run(&node, &["run", "resolve", "x/r2", "--reason", "r"]).code, Some(2));
    assert_eq!(
        run(&node, &["run", "resolve", "x/r2", "--failed", "--did-run", "--reason", "r"]).code,
        Some(2)
    );
}

#[test]
fn runs_are_listed_up_to_the_limit_and_shown_with_their_output() {
    let node = StandIn::start();
    assert_eq!(
        ok(&node, &["run", "list", "x", "--limit", "1", "-o", "name"]),
        "namespaces/default/schedules/x/runs/r2\n"
    );
    let all = ok(&node, &["run", "list", "--limit", "0", "-o", "name"]);
    assert_eq!(all.lines().count(), 2);
    let failed = ok(&node, &["run", "list", "--state", "FAILED", "-o", "name"]);
    assert_eq!(failed.lines().count(), 1);
    let screen = ok(&node, &["run", "get", "x/r2"]);
    assert!(screen.contains("no space left") && screen.ends_with("  last line\n"), "{screen}");
}

#[test]
fn waiting_for_a_run_that_fails_exits_with_8() {
    let node = StandIn::start();
    create(&node, "x");
    let ended = run(&node, &["schedule", "trigger", "x", "--wait"]);
    assert_eq!(ended.code, Some(8), "{}", ended.stderr);
    assert!(ended.stderr.ends_with("error: x/r2 did not succeed: it is FAILED\n"), "{}", ended.stderr);
}

#[test]
fn deleting_goes_on_after_a_failure() {
    let node = StandIn::start();
    create(&node, "a");
    create(&node, "b");
    let ended = run(&node, &["schedule", "delete", "a", "missing", "b", "--yes"]);
    assert_eq!(ended.code, Some(3));
    let lines: Vec<&str> = ended.stderr.lines().collect();
    assert_eq!(
        lines[..2],
        ["deleted namespaces/default/schedules/a", "deleted namespaces/default/schedules/b"]
    );
    assert!(lines[2].starts_with("error: namespaces/default/schedules/missing: not found"), "{}", lines[2]);
}

#[test]
fn a_cluster_without_a_leader_exits_with_6() {
    let node = StandIn::start();
    assert!(ok(&node, &["cluster", "status"]).contains("node 1, term 3"));
    assert_eq!(ok(&node, &["cluster", "transfer-leader", "--to", "2", "-o", "json"]), "{\"leader_id\":2}\n");
    node.lose_leader();
    let ended = run(&node, &["cluster", "status", "-o", "json"]);
    assert_eq!(ended.code, Some(6));
    assert!(ended.stdout.contains("\"leader_id\":0"), "{}", ended.stdout);
    assert!(ended.stderr.starts_with("error: the cluster has no leader"), "{}", ended.stderr);
}

#[test]
fn an_import_starts_paused_in_one_call_and_repeats_without_effect() {
    let node = StandIn::start();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("crontab");
    std::fs::write(&file, "* * * * * /bin/tick\n").unwrap();
    let words = ["import", "crontab", &file.display().to_string(), "--tz", "UTC", "--apply", "-o", "json"];
    assert!(ok(&node, &words).contains(r#""result":"created""#));
    assert_eq!(node.calls(), ["create tick"]);
    let json = ok(&node, &["schedule", "get", "tick", "-o", "json"]);
    for part in [
        r#""expression":"* * * * *""#,
        r#""state":"PAUSED""#,
        r#""reason":"imported from crontab","actor":"anna""#,
    ] {
        assert!(json.contains(part), "{part} in {json}");
    }

    assert!(ok(&node, &words).contains(r#""result":"unchanged""#));
    assert_eq!(node.calls().len(), 1);

    std::fs::write(&file, "*/2 * * * * /bin/tick\n").unwrap();
    let ended = run(&node, &words);
    assert_eq!(ended.code, Some(1));
    assert!(ended.stdout.contains(r#""result":"source_changed""#), "{}", ended.stdout);
    assert_eq!(node.calls().len(), 1);
    assert!(ok(&node, &[&words[..], &["--update"]].concat()).contains(r#""result":"updated""#));
    assert_eq!(
        node.calls(),
        ["create tick", "update tick timing,target,description,policies.attempt_timeout,labels"]
    );
    assert!(ok(&node, &["schedule", "get", "tick", "-o", "json"]).contains(r#""state":"PAUSED""#));

    // What somebody changes here is not changed back unasked, whether or not the source has changed too.
    ok(&node, &["schedule", "set", "tick", "--description", "Ours now"]);
    let ended = run(&node, &[&words[..], &["--update"]].concat());
    assert_eq!(ended.code, Some(1));
    assert!(ended.stdout.contains(r#""result":"changed_here""#), "{}", ended.stdout);
    assert!(ok(&node, &[&words[..], &["--overwrite"]].concat()).contains(r#""result":"updated""#));
    assert!(ok(&node, &words).contains(r#""result":"unchanged""#));
}

#[test]
fn a_watch_shows_changes_and_says_when_it_missed_some() {
    let node = StandIn::start();
    let ended = run(&node, &["run", "watch", "backup"]);
    assert_eq!(ended.code, Some(4), "{}", ended.stderr);
    assert!(
        ended.stdout.starts_with("RUN") && ended.stdout.contains("backup/r3  RUNNING"),
        "{}",
        ended.stdout
    );
    assert!(ended.stderr.contains("warning: too far behind"), "{}", ended.stderr);
    assert_eq!(node.calls(), ["watch backup 0", "watch backup 0"], "it goes on from now");

    let node = StandIn::start();
    let ended = run(&node, &["run", "list", "backup", "-w", "-o", "json"]);
    let lines: Vec<_> = ended.stdout.lines().collect();
    assert_eq!(lines.len(), 2, "{}", ended.stdout);
    assert!(lines[0].ends_with("]}") && lines[1].contains(r#""state":"RUNNING""#), "{}", ended.stdout);
}

#[test]
fn a_report_of_clean_schedules_exits_with_0() {
    let node = StandIn::start();
    let report = ok(&node, &["report", "backup", "--from", "2026-11-23T00:00", "--tz", "Europe/Berlin"]);
    assert!(report.contains("\nClean: no instant was expected. "), "{report}");
    let ended = run(&node, &["report", "--from", "2026-11-23"]);
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
}
