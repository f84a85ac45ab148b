//! Calendars, pools, namespaces, backfills and executors: what the command asks a node for, and what it makes of the answers.

mod stand_in;

use belfry_sdk::pb;
use stand_in::{StandIn, ok, run};

#[test]
fn a_pool_is_declared_changed_paused_and_forgotten() {
    let node = StandIn::start();
    let screen = ok(&node, &["pool", "set", "reports", "--slots", "10", "--rate", "100/1s"]);
    for part in ["pools/reports", "open", "0 in use of 10", "100/1s starts"] {
        assert!(screen.contains(part), "{part} in {screen}");
    }
    let screen =
        ok(&node, &["pool", "set", "reports", "--rate", "none", "--description", "the old database"]);
    for part in ["0 in use of 10", "no limit", "the old database"] {
        assert!(screen.contains(part), "{part} in {screen}");
    }
    let json = ok(&node, &["pool", "pause", "reports", "--reason", "disk is full", "-o", "json"]);
    assert!(json.contains(r#""pause":{"actor":"anna","reason":"disk is full"}"#), "{json}");
    assert!(ok(&node, &["pool", "get", "pools/reports"]).contains("PAUSED by anna: disk is full"));
    assert!(!ok(&node, &["pool", "resume", "reports", "-o", "json"]).contains("pause"));
    assert_eq!(node.calls(), ["put reports"; 4]);
    for (code, words) in [
        (2, &["pool", "set", "reports"][..]),
        (2, &["pool", "set", "a/b", "--slots", "1"]),
        (2, &["pool", "set", "reports", "--slots", "0"]),
        (2, &["pool", "set", "reports", "--description", "refused"]),
        (2, &["pool", "pause", "reports"]),
        (3, &["pool", "get", "missing"]),
        (5, &["pool", "set", "reports", "--slots", "1", "--etag", "stale"]),
    ] {
        assert_eq!(run(&node, words).code, Some(code), "{words:?}");
    }
    ok(&node, &["pool", "delete", "reports", "--dry-run"]);
    let ended = run(&node, &["pool", "delete", "missing", "reports"]);
    assert_eq!(ended.code, Some(3));
    assert!(ended.stderr.starts_with("deleted pools/reports\nerror: pools/missing: "), "{}", ended.stderr);
    ok(&node, &["pool", "delete", "missing", "--allow-missing"]);
    assert_eq!(ok(&node, &["pool", "list", "-o", "json"]), "{\"pools\":[]}\n");
}

#[test]
fn lists_of_documents_join_their_pages() {
    let node = StandIn::start();
    for name in ["a", "b", "c"] {
        ok(&node, &["pool", "set", name, "--slots", "1"]);
        ok(&node, &["namespace", "set", name, "--weight", "2"]);
        ok(&node, &["calendar", "set", name, "--day", "*-12-25"]);
    }
    assert_eq!(ok(&node, &["pool", "list", "-o", "name"]), "pools/a\npools/b\npools/c\n");
    assert_eq!(ok(&node, &["namespace", "list"]).lines().count(), 4);
    assert_eq!(ok(&node, &["calendar", "list"]).lines().count(), 4);
    assert_eq!(ok(&node, &["calendar", "list", "-N", "other", "-o", "name"]), "");
}

#[test]
fn a_lost_race_is_run_again_unless_somebody_bound_it() {
    let node = StandIn::start();
    node.conflict(2);
    ok(&node, &["pool", "set", "p", "--slots", "1"]);
    assert_eq!(node.calls(), ["put p"]);
    for bound in [&["--request-id", "r"], &["--etag", "1"]] {
        node.conflict(1);
        let words = ["pool", "set", "p", "--slots", "2"];
        assert_eq!(run(&node, &[&words[..], bound].concat()).code, Some(5), "{bound:?}");
    }
    node.conflict(100);
    assert_eq!(run(&node, &["pool", "set", "p", "--slots", "2"]).code, Some(5));
}

#[test]
fn a_namespace_has_limits_and_a_share() {
    let node = StandIn::start();
    let words = ["namespace", "set", "billing", "--running-max", "20", "--schedules-max", "500"];
    ok(&node, &words);
    let screen = ok(&node, &["namespace", "set", "billing", "--weight", "3", "--spread", "5m"]);
    for part in ["namespaces/billing", "0 of 20", "0 of 500", "3", "5m"] {
        assert!(screen.contains(part), "{part} in {screen}");
    }
    let json = ok(&node, &["namespace", "set", "billing", "--running-max", "none", "-o", "json"]);
    assert!(json.contains(r#""running_max":0,"schedules_max":500,"weight":3,"spread":"5m""#), "{json}");
    let dry = run(&node, &["namespace", "set", "billing", "--weight", "9", "--dry-run"]);
    assert!(
        dry.stdout.contains('9') && dry.stderr.contains("dry run: nothing was changed"),
        "{}",
        dry.stderr
    );
    assert_eq!(run(&node, &["namespace", "set", "billing", "--weight", "101"]).code, Some(2));
    ok(&node, &["namespace", "delete", "billing"]);
    assert_eq!(run(&node, &["namespace", "get", "billing"]).code, Some(3));
}

#[test]
fn a_calendar_shows_what_it_covers_next() {
    let node = StandIn::start();
    let words =
        ["calendar", "set", "freeze", "--day", "2099-12-25", "--period", "2099-11-27T18:00/2099-11-30T06:00"];
    let screen = ok(&node, &[&words[..], &["--tz", "Europe/Berlin"]].concat());
    for part in [
        "namespaces/default/calendars/freeze",
        "Fri 2099-11-27 18:00:00 CET  Mon 2099-11-30 06:00:00 CET  2d12h",
        "Fri 2099-12-25 00:00:00 CET  Sat 2099-12-26 00:00:00 CET  1d",
    ] {
        assert!(screen.contains(part), "{part} in {screen}");
    }
    ok(&node, &["calendar", "set", "freeze", "--add-day", "2099-12-26", "--remove-day", "2099-12-25"]);
    let json = ok(&node, &["calendar", "get", "freeze", "-o", "json"]);
    assert!(json.contains(r#""days":["2099-12-26"],"periods":[{"start":"2099-11-27T18:00""#), "{json}");
    assert_eq!(run(&node, &["calendar", "set", "freeze", "--remove-day", "2099-12-25"]).code, Some(2));
    let dry = run(&node, &["calendar", "set", "other", "--day", "2099-05-01", "--dry-run"]);
    assert_eq!(dry.code, Some(0), "{}", dry.stderr);
    assert_eq!(run(&node, &["calendar", "get", "other"]).code, Some(3));
}

#[test]
fn calendars_come_from_files_and_what_is_written_reads_back() {
    let node = StandIn::start();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("calendars.yaml");
    let path = file.display().to_string();
    let apply = |more: &[&str]| run(&node, &[&["calendar", "apply", "-f", &path], more].concat());
    std::fs::write(&file, "name: a\ntime_zone: UTC\ndays: ['*-12-25']\n---\nname: b\ndays: []\n").unwrap();
    assert_eq!(apply(&["--dry-run"]).stdout.matches("created").count(), 2);
    assert_eq!(node.calls().len(), 0);
    assert_eq!(apply(&[]).code, Some(0));
    let mut calls = node.calls();
    calls.sort();
    assert_eq!(calls, ["put a", "put b"], "several are under way at once");
    for format in ["yaml", "json"] {
        std::fs::write(&file, ok(&node, &["calendar", "list", "-o", format])).unwrap();
        let again = apply(&[]);
        assert_eq!(again.code, Some(0), "{}", again.stderr);
        assert_eq!(again.stdout.matches("unchanged").count(), 2, "{}", again.stdout);
    }
    for (text, part) in [
        ("name: c\ncolour: red\n", "document 2 (c): colour is no field"),
        ("name: c\ndays: ['2026-13-01']\n", "2026-13-01"),
        ("days: []\n", "document 2: name is missing"),
        ("kind: Pool\nname: p\n", "kind is Pool and should be Calendar"),
        (": [", ""),
    ] {
        std::fs::write(&file, format!("name: a\ndays: ['*-01-01']\n---\n{text}")).unwrap();
        let ended = apply(&[]);
        assert_eq!(ended.code, Some(2), "{text}");
        assert!(ended.stderr.contains("calendars.yaml") && ended.stderr.contains(part), "{}", ended.stderr);
    }
    assert_eq!(node.calls().len(), 2);
}

fn executor(id: &str, name: &str, pool: &str) -> pb::ExecutorStatus {
    pb::ExecutorStatus {
        executor_id: id.into(),
        display_name: name.into(),
        pool: pool.into(),
        handlers: vec!["command".into(), "http".into()],
        slots: 8,
        credits: 6,
        running: 2,
        version: "0.1.0".into(),
        draining: false,
        labels: [("zone".to_owned(), "eu-1".to_owned())].into(),
        handler_slots: [("command".to_owned(), 4)].into(),
    }
}

#[test]
fn executors_are_listed_by_pool() {
    let node = StandIn::start();
    assert!(run(&node, &["executor", "list"]).stderr.contains("no executors: runs wait"));
    node.connect(executor("01B", "web-2", "web"));
    node.connect(executor("01A", "db-1", "default"));
    let table = ok(&node, &["executor", "list"]);
    assert_eq!(
        table,
        "EXECUTOR  POOL     RUNNING  SLOTS  CREDITS  STATE  HANDLERS\n\
         db-1      default  2        8      6        ready  command=4,http\n\
         web-2     web      2        8      6        ready  command=4,http\n"
    );
    assert_eq!(ok(&node, &["executor", "list", "--pool", "web", "-o", "name"]), "01B\n");
    let json = ok(&node, &["executor", "list", "--pool", "web", "-o", "json"]);
    assert!(json.contains(r#""labels":{"zone":"eu-1"},"handler_slots":{"command":4}"#), "{json}");
    node.lose_leader();
    assert_eq!(run(&node, &["executor", "list"]).code, Some(6));
}

#[test]
fn a_drained_executor_is_waited_for() {
    let node = StandIn::start();
    node.connect(executor("01A", "web-1", "web"));
    node.connect(executor("01B", "web-2", "web"));
    assert_eq!(run(&node, &["executor", "drain", "web-1", "nobody"]).code, Some(3));
    assert_eq!(run(&node, &["executor", "drain", "web"]).code, Some(2));
    assert_eq!(node.calls().len(), 0);
    let dry = run(&node, &["executor", "drain", "web-1", "--dry-run"]);
    assert_eq!(dry.code, Some(0), "{}", dry.stderr);
    let told = "web-1 would end after the 2 run(s) that it has\ndry run: nothing was drained\n";
    assert_eq!((dry.stderr.as_str(), node.calls().len()), (told, 0));
    assert!(dry.stdout.contains("ready"), "{}", dry.stdout);
    assert_eq!(run(&node, &["executor", "drain", "web-1", "--dry-run", "--wait"]).code, Some(2));
    let ended = run(&node, &["executor", "drain", "web-1", "--wait"]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stderr.contains("it ends after the 2 that it still runs"), "{}", ended.stderr);
    assert!(ended.stderr.ends_with("gone\n"), "{}", ended.stderr);
    assert!(ended.stdout.contains("draining"), "{}", ended.stdout);
    assert_eq!(node.calls(), ["drain 01A"]);
    assert_eq!(ok(&node, &["executor", "list", "-o", "name"]), "01B\n");
    let ended = run(&node, &["executor", "drain", "01B", "--wait", "--wait-timeout", "0s"]);
    assert_eq!(ended.code, Some(8), "{}", ended.stderr);
}

#[test]
fn a_dry_run_of_a_handover_hands_nothing_over_to_whoever_does_not_know_it() {
    let node = StandIn::start();
    let dry = ["cluster", "transfer-leader", "--to", "2", "--dry-run"];
    node.raise_feature_level(1);
    let refused = run(&node, &dry);
    assert_eq!(refused.code, Some(1), "{}", refused.stderr);
    assert!(refused.stderr.contains("--dry-run would hand leadership over"), "{}", refused.stderr);
    node.raise_feature_level(2);
    let ended = run(&node, &dry);
    assert_eq!(ended.stderr, "node 2 would lead\ndry run: nothing was changed\n");
    assert_eq!(node.calls().len(), 0);
    ok(&node, &["cluster", "transfer-leader", "--to", "2"]);
    assert_eq!(node.calls(), ["transfer 2"]);
}

#[test]
fn flags_of_an_executor_do_not_go_with_its_subcommands() {
    let node = StandIn::start();
    let ended = run(&node, &["executor", "--pool", "web", "list"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{}", ended.stderr);
}

fn with_schedule() -> StandIn {
    let node = StandIn::start();
    let words =
        ["schedule", "create", "sync", "--cron", "0 * * * *", "--tz", "Europe/Berlin", "--command", "x"];
    ok(&node, &words);
    node
}

/// Creates a backfill of the schedule.
fn backfill<'a>(more: &[&'a str]) -> Vec<&'a str> {
    let range = ["--from", "2026-03-29T00:30", "--to", "2026-03-29T05:00"];
    [&["backfill", "create", "sync"], &range[..], more].concat()
}

#[test]
fn a_dry_run_of_a_backfill_shows_its_ends() {
    let node = with_schedule();
    let ended = run(&node, &backfill(&["--reason", "r", "--dry-run", "-o", "json"]));
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    for part in [
        r#""start_time":"2026-03-28T23:30:00Z","end_time":"2026-03-29T03:00:00Z","mode":"MISSING""#,
        r#""instant_count":3,"first_time":"2026-03-29T00:00:00Z","last_time":"2026-03-29T02:00:00Z""#,
    ] {
        assert!(ended.stdout.contains(part), "{part} in {}", ended.stdout);
    }
    assert_eq!(node.calls().len(), 1);
}

#[test]
fn a_backfill_is_waited_for_and_fails_with_its_runs() {
    let node = with_schedule();
    let good = run(&node, &backfill(&["--reason", "lost disk", "--wait"]));
    assert_eq!(good.code, Some(0), "{}", good.stderr);
    assert!(
        good.stderr.contains("3 of 3 done: 3 succeeded, 0 unsuccessful, 0 not started"),
        "{}",
        good.stderr
    );
    assert!(good.stdout.contains("COMPLETED") && good.stdout.contains("lost disk (anna)"), "{}", good.stdout);
    let bad = run(&node, &backfill(&["--reason", "fails", "--reprocess", "--wait"]));
    assert_eq!(bad.code, Some(8), "{}", bad.stderr);
    assert!(bad.stderr.contains("error: sync/2 has 1 run(s) that did not succeed"), "{}", bad.stderr);
    assert_eq!(node.calls()[1..], ["backfill Missing 1 anna", "backfill Reprocess 2 anna"]);
    assert_eq!(ok(&node, &["backfill", "list", "sync", "-o", "name"]).lines().count(), 2);
    let short = run(&node, &backfill(&["--reason", "r", "--wait", "--wait-timeout", "0s"]));
    assert_eq!(short.code, Some(8), "{}", short.stderr);
    assert!(short.stderr.contains("`belfry backfill get sync/3`"), "{}", short.stderr);
}

#[test]
fn a_backfill_is_paused_resumed_and_cancelled() {
    let node = with_schedule();
    ok(&node, &backfill(&["--reason", "r"]));
    for verb in ["pause", "resume", "cancel"] {
        let dry = run(&node, &["backfill", verb, "sync/1", "--reason", "too many", "--dry-run"]);
        assert_eq!((dry.code, dry.stderr.as_str()), (Some(0), "dry run: nothing was changed\n"), "{verb}");
    }
    assert!(ok(&node, &["backfill", "list", "sync"]).contains("RUNNING"));
    let screen = ok(&node, &["backfill", "pause", "sync/1", "--reason", "too many"]);
    assert!(screen.contains("PAUSED") && screen.contains("by anna: too many"), "{screen}");
    ok(&node, &["backfill", "resume", "sync/1"]);
    ok(&node, &["backfill", "cancel", "namespaces/default/schedules/sync/backfills/1", "--reason", "wrong"]);
    assert_eq!(node.calls()[2..], ["pause-backfill 1", "resume-backfill 1", "cancel-backfill 1"]);
    let ended = run(&node, &["backfill", "watch", "sync/1"]);
    assert_eq!(ended.code, Some(8));
    assert!(ended.stderr.contains("error: sync/1 was cancelled by anna: wrong"), "{}", ended.stderr);
    for (code, words) in [
        (2, &["backfill", "pause", "sync/1"][..]),
        (2, &["backfill", "get", "sync"]),
        (2, &["backfill", "get", "sync/x"]),
        (3, &["backfill", "get", "sync/9"]),
    ] {
        assert_eq!(run(&node, words).code, Some(code), "{words:?}");
    }
}

#[test]
fn an_outage_is_reckoned_from_the_schedules_of_the_cluster() {
    let node = StandIn::start();
    for (name, cron, pool) in
        [("minutely", "* * * * *", "web"), ("hourly", "5 * * * *", "web"), ("yearly", "@yearly", "db")]
    {
        let words = ["schedule", "create", name, "--cron", cron, "--pool", pool, "--command", "x"];
        ok(&node, &[&words[..], &["--label", &format!("kind={name}")]].concat());
    }
    let outage = ["simulate", "--outage", "13h", "--at", "2026-11-23T02:00:00Z"];
    let json = ok(&node, &[&outage[..], &["-o", "json"]].concat());
    for part in [
        r#""start_time":"2026-11-23T02:00:00Z","end_time":"2026-11-23T15:00:00Z","budget":50,"schedule_count":3"#,
        r#""total":{"schedules":2,"missed":793,"run":2,"on_time":0,"merged":791,"skipped":0,"expired":0}"#,
        r#""pools":[{"pool":"web","schedules":2,"#,
        r#""recovery":{"starts":2,"last_start_after":"0s","starts_per_minute":[2]}"#,
    ] {
        assert!(json.contains(part), "{part} in {json}");
    }
    let screen = ok(&node, &[&outage[..], &["--budget", "1"]].concat());
    for part in
        ["13h, from 2026", "2 of 3 miss something", "793 missed: 2 run, 791 merged", "the last after 1s"]
    {
        assert!(screen.contains(part), "{part} in {screen}");
    }
    let names = ok(&node, &[&outage[..], &["-l", "kind=hourly", "-N", "-", "-o", "name"]].concat());
    assert_eq!(names, "namespaces/default/schedules/hourly\n");
    for wrong in ["0s", "32d", "x"] {
        assert_eq!(run(&node, &["simulate", "--outage", wrong]).code, Some(2), "{wrong}");
    }
}

#[test]
fn who_joins_a_herd_is_told() {
    let node = StandIn::start();
    let create = |name: &str, more: &[&str]| {
        let words = ["schedule", "create", name, "--cron", "0 0 * * *", "--command", "x"];
        run(&node, &[&words[..], more].concat())
    };
    for number in 0..20 {
        assert_eq!(create(&format!("s{number}"), &[]).code, Some(0));
    }
    let notice =
        "20 other schedules run in the minute of its next run, 2100-01-01T00:00:00Z: --spread 10m, or `H`";
    let joining = create("joining", &["--dry-run"]);
    assert!(joining.stderr.contains(&format!("warning: {notice}")), "{}", joining.stderr);
    let spread = create("spread", &["--spread", "10m", "--dry-run"]);
    assert!(!spread.stderr.contains("other schedules"), "{}", spread.stderr);
    create("joining", &[]);
    let herd = run(&node, &["schedule", "herd", "joining", "-o", "json"]);
    assert!(herd.stdout.contains(r#"{"minute":"2100-01-01T00:00:00Z","count":20,"#), "{}", herd.stdout);
    assert!(herd.stderr.contains(notice), "{}", herd.stderr);
    assert!(ok(&node, &["schedule", "herd", "joining"]).contains("20 of 21 schedules"));
}
