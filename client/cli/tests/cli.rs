//! The built command, as people and scripts meet it. No cluster is needed.

use std::path::Path;
use std::process::{Command, Output, Stdio};

/// The command without anything that this machine's environment might say.
fn belfry(words: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_belfry"));
    command.env_clear().args(words).stdin(Stdio::null());
    command
}

/// What a command line came to.
struct Ended {
    code: Option<i32>,
    stdout: String,
    stderr: String,
}

fn ended(output: Output) -> Ended {
    Ended {
        code: output.status.code(),
        stdout: String::from_utf8(output.stdout).expect("output is UTF-8"),
        stderr: String::from_utf8(output.stderr).expect("output is UTF-8"),
    }
}

fn run(words: &[&str]) -> Ended {
    ended(belfry(words).output().expect("the command can be started"))
}

/// The next fires in JSON from `from`.
fn next(expression: &str, zone: &str, from: &str) -> Ended {
    run(&["schedule", "next", expression, "--tz", zone, "--from", from, "-n", "3", "-o", "json"])
}

fn check_next(expression: &str, zone: &str, from: &str, expected: &str) {
    let ended = next(expression, zone, from);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), expected), "{}", ended.stderr);
}

fn check_refused(words: &[&str], expected: &str) {
    let ended = run(words);
    assert_eq!(ended.code, Some(2), "{words:?}");
    assert_eq!(ended.stdout, "", "{words:?}");
    assert_eq!(ended.stderr.lines().count(), 1, "{words:?}: {}", ended.stderr);
    assert!(
        ended.stderr.starts_with("error: ") && ended.stderr.contains(expected),
        "{words:?}: {}",
        ended.stderr
    );
}

fn fixture() -> String {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/crontab").display().to_string()
}

#[test]
fn a_wrong_command_line_exits_with_2() {
    for words in
        [&[][..], &["--wrong"], &["schedule", "create"], &["schedule", "pause", "x"], &["frobnicate"]]
    {
        let ended = run(words);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{words:?}");
        assert!(!ended.stderr.is_empty(), "{words:?}");
    }
    check_refused(&["--wrong"], "unexpected argument '--wrong' found; see `belfry --help`");
}

#[test]
fn help_goes_to_stdout_and_lists_the_exit_codes() {
    let ended = run(&["--help"]);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
    assert!(ended.stdout.contains("7    outcome unknown"), "{}", ended.stdout);
    assert_eq!(run(&["--version"]).stdout, format!("belfry {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn next_answers_without_a_cluster() {
    check_next(
        "0 3 * * *",
        "Europe/Berlin",
        "2026-11-23T01:00:00Z",
        "{\"next\":[\"2026-11-23T02:00:00Z\",\"2026-11-24T02:00:00Z\",\"2026-11-25T02:00:00Z\"]}\n",
    );
    let every = run(&[
        "schedule",
        "next",
        "--every",
        "1h",
        "--from",
        "2026-11-23T01:00:00Z",
        "-n",
        "1",
        "-o",
        "json",
    ]);
    assert_eq!(every.stdout, "{\"next\":[\"2026-11-23T02:00:00Z\"]}\n");
}

#[test]
fn next_runs_once_after_a_gap_and_once_in_a_repeated_hour() {
    check_next(
        "30 2 * * *",
        "Europe/Berlin",
        "2026-03-28T12:00:00Z",
        "{\"next\":[\"2026-03-29T01:00:00Z\",\"2026-03-30T00:30:00Z\",\"2026-03-31T00:30:00Z\"]}\n",
    );
    check_next(
        "30 2 * * *",
        "Europe/Berlin",
        "2026-10-24T12:00:00Z",
        "{\"next\":[\"2026-10-25T00:30:00Z\",\"2026-10-26T01:30:00Z\",\"2026-10-27T01:30:00Z\"]}\n",
    );
}

#[test]
fn from_may_be_a_civil_time_of_the_zone() {
    check_next(
        "0 3 * * *",
        "Europe/Berlin",
        "2026-11-23T03:00",
        "{\"next\":[\"2026-11-24T02:00:00Z\",\"2026-11-25T02:00:00Z\",\"2026-11-26T02:00:00Z\"]}\n",
    );
}

#[test]
fn tables_show_the_clocks_of_the_zone() {
    let words = [
        "schedule",
        "next",
        "0 3 * * *",
        "--tz",
        "Europe/Berlin",
        "--from",
        "2026-11-23T01:00:00Z",
        "-n",
        "1",
    ];
    let expected = "UTC                   LOCAL                        AWAY\n\
                    2026-11-23T02:00:00Z  Mon 2026-11-23 03:00:00 CET  in 1h\n";
    assert_eq!(run(&words).stdout, expected);
}

#[test]
fn documents_come_as_yaml_too() {
    let words = ["schedule", "next", "@daily", "--from", "2026-11-23T01:00:00Z", "-n", "1", "-o", "yaml"];
    assert_eq!(run(&words).stdout, "next:\n- 2026-11-24T00:00:00Z\n");
}

#[test]
fn warnings_do_not_mix_with_the_answer() {
    let ended = next("*/7 * * * *", "UTC", "2026-11-23T01:00:00Z");
    assert_eq!(ended.code, Some(0));
    assert!(ended.stdout.starts_with("{\"next\":[\"2026-11-23T01:07:00Z\""), "{}", ended.stdout);
    assert!(ended.stderr.starts_with("warning: column 1: "), "{}", ended.stderr);
}

#[test]
fn what_never_fires_must_be_meant() {
    check_refused(&["schedule", "next", "0 0 30 2 *"], "--allow-never");
    let ended = run(&["schedule", "next", "0 0 30 2 *", "--allow-never", "-o", "json"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(0), "{\"next\":[]}\n"));
}

#[test]
fn rules_unite_and_are_narrowed_offline() {
    let words = [
        "schedule",
        "next",
        "0 3 * * *",
        "--every",
        "12h",
        "--at-local",
        "2026-11-23T05:00",
        "--calendar-rule",
        "days=-1 times=09:00",
        "--exclude-cron",
        "0 12 * * *",
        "--end",
        "2026-12-01",
        "--tz",
        "UTC",
        "--from",
        "2026-11-23T00:00:00Z",
        "-n",
        "50",
        "-o",
        "name",
    ];
    let words: Vec<&str> =
        words.iter().map(|word| if *word == "2026-12-01" { "2026-12-01T00:00" } else { word }).collect();
    let ended = run(&words);
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), "there are no more fires\n"));
    let fires: Vec<&str> = ended.stdout.lines().collect();
    assert_eq!(fires[..3], ["2026-11-23T03:00:00Z", "2026-11-23T05:00:00Z", "2026-11-24T00:00:00Z"]);
    assert_eq!(fires.last(), Some(&"2026-11-30T09:00:00Z"));
    assert!(!ended.stdout.contains("T12:00"), "{}", ended.stdout);
}

#[test]
fn fires_of_the_past_and_of_a_range_are_told_too() {
    let words =
        ["schedule", "previous", "0 3 * * *", "--before", "2026-11-23T03:00:00Z", "-n", "2", "-o", "json"];
    assert_eq!(run(&words).stdout, "{\"previous\":[\"2026-11-22T03:00:00Z\",\"2026-11-21T03:00:00Z\"]}\n");
    let range = |from: &str, to: &str| {
        run(&["schedule", "between", "--every", "1h", "--from", from, "--to", to, "-n", "2", "-o", "name"])
    };
    assert_eq!(range("2026-11-23T03:00:00Z", "2026-11-23T04:00:00Z").stdout, "2026-11-23T03:00:00Z\n");
    let more = range("2026-11-23T03:00:00Z", "2026-11-23T09:00:00Z");
    assert_eq!(
        (more.stdout.lines().count(), more.stderr.as_str()),
        (2, "there are more than 2: see --count\n")
    );
    assert_eq!(range("2026-11-23T03:00:00Z", "2026-11-23T03:00:00Z").code, Some(2));
}

#[test]
fn marks_say_what_the_clocks_did() {
    let words =
        ["schedule", "next", "30 2 * * *", "--tz", "Europe/Berlin", "--from", "2026-03-28T12:00", "-n", "2"];
    let expected = "UTC                   LOCAL                         AWAY      CLOCKS\n\
                    2026-03-29T01:00:00Z  Sun 2026-03-29 03:00:00 CEST  in 14h    for 2026-03-29T02:30:00, which the clocks jump over\n\
                    2026-03-30T00:30:00Z  Mon 2026-03-30 02:30:00 CEST  in 1d13h\n";
    assert_eq!(run(&words).stdout, expected);
}

#[test]
fn a_timing_is_explained_without_a_cluster() {
    let words =
        ["schedule", "explain", "30 2 1 * MON", "--tz", "Europe/Berlin", "--from", "2026-11-23T00:00:00Z"];
    let ended = run(&words);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    for part in [
        "30 2 1 * MON",
        "Means    At 02:30 on day 1 of the month and also on Monday by the clocks of Europe/Berlin.\n",
        "Warning",
        "cron reads two restricted day fields",
        "LOCAL",
        "2026-11-23T01:30:00Z",
    ] {
        assert!(ended.stdout.contains(part), "{part} in\n{}", ended.stdout);
    }
    let json = run(&[&words[..], &["-o", "json"]].concat()).stdout;
    for part in ["\"words\":[\"At 02:30", "\"warnings\":[\"", "\"next\":[{\"time\":\"2026-11-23T01:30:00Z\"}"]
    {
        assert!(json.contains(part), "{part} in {json}");
    }
}

#[test]
fn what_only_a_cluster_knows_is_not_guessed() {
    check_refused(&["schedule", "next"], "say when: an expression");
    check_refused(&["schedule", "next", "--delay", "1h"], "--delay counts from the end of a run");
    check_refused(
        &["schedule", "next", "@daily", "--calendar", "holidays"],
        "calendar holidays is in the cluster",
    );
    check_refused(
        &["schedule", "next", "@daily", "--start", "2027-01-01T00:00", "--end", "2026-01-01T00:00"],
        "is not after the start",
    );
}

#[test]
fn h_depends_on_the_name() {
    let fires = |name: &str| {
        let from = ["--from", "2026-11-23T00:00:00Z", "-o", "json", "-n", "1"];
        run(&[&["schedule", "next", "H H * * *", "--for", name][..], &from].concat()).stdout
    };
    assert_eq!(fires("a"), fires("a"));
    assert_ne!(fires("a"), fires("b"));
}

#[test]
fn refused_values_are_one_line_that_says_where() {
    check_refused(&["schedule", "next", "0 25 * * *"], "column 3: `25` in the hour field is out of range");
    check_refused(&["schedule", "next", "* * * *"], "found 4 fields instead of five");
    check_refused(&["schedule", "next", "@daily", "--tz", "Europe/Berlim"], "did you mean `Europe/Berlin`?");
    check_refused(&["schedule", "next", "@daily", "--from", "tomorrow"], "is not a time");
    check_refused(&["schedule", "get", "a/b"], "is not the name of a schedule");
    check_refused(&["schedule", "create", "x", "--every", "1h"], "say what it runs");
    check_refused(&["schedule", "set", "x"], "nothing to change");
    check_refused(&["schedule", "list", "--endpoint", "https://a:1"], "no TLS");
    check_refused(&["executor", "--endpoint", "nowhere"], "it has no port");
}

#[test]
fn without_a_node_the_error_says_where_it_looked() {
    // Port 1 of this machine: nothing listens there, and connecting is refused at once.
    for words in [&["schedule", "list"][..], &["cluster", "status"], &["schedule", "delete", "x"]] {
        let words = [words, &["--endpoint", "http://127.0.0.1:1", "--timeout", "200ms"]].concat();
        let ended = run(&words);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(6), ""), "{words:?}: {}", ended.stderr);
        assert_eq!(ended.stderr.lines().count(), 1, "{}", ended.stderr);
        assert!(
            ended.stderr.contains("http://127.0.0.1:1 ") && ended.stderr.contains("--endpoint"),
            "{}",
            ended.stderr
        );
    }
}

#[test]
fn flags_come_from_the_environment_too_but_not_for_set() {
    let words = ["schedule", "next", "@daily", "--from", "2026-11-23T01:00:00Z"];
    let output = belfry(&words).env("BELFRY_OUTPUT", "json").env("BELFRY_COUNT", "1").output().unwrap();
    assert_eq!(ended(output).stdout, "{\"next\":[\"2026-11-24T00:00:00Z\"]}\n");
    // A variable would have been refused as a value of `--every`.
    let output = belfry(&["schedule", "set", "x", "--help"]).env("BELFRY_EVERY", "never").output().unwrap();
    assert_eq!(ended(output).code, Some(0));
    let words =
        ["schedule", "set", "x", "--pool", "p", "--endpoint", "http://127.0.0.1:1", "--timeout", "50ms"];
    let output = belfry(&words).env("BELFRY_EVERY", "never").output().unwrap();
    assert_eq!(ended(output).code, Some(6));
}

#[test]
fn a_reader_that_has_enough_is_no_failure() {
    let words = ["schedule", "next", "* * * * *", "-n", "20000"];
    let mut child = belfry(&words).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let ended = ended(child.wait_with_output().unwrap());
    assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""));
}

#[test]
fn a_crontab_is_shown_and_what_cannot_be_imported_is_said() {
    let ended = run(&["import", "crontab", &fixture(), "--tz", "Europe/Berlin", "--prefix", "web-"]);
    assert_eq!(ended.code, Some(1), "{}", ended.stderr);
    let rows: Vec<Vec<&str>> = ended
        .stdout
        .lines()
        .map(|line| line.split("  ").filter(|cell| !cell.is_empty()).map(str::trim).collect())
        .collect();
    let column = |index: usize| rows.iter().map(|row| row[index]).collect::<Vec<_>>();
    assert_eq!(column(0), ["WHERE", "line 6", "line 7", "line 10"]);
    assert_eq!(column(1), ["SCHEDULE", "web-backup", "web-poll", "web-mail-hi"], "{}", ended.stdout);
    assert_eq!(column(3), ["MEANING", "same", "same", "same"]);
    assert_eq!(column(4), ["TIMING", "0 3 * * *", "*/5 9-17 * * 1-5", "30 2 * * *"]);
    assert_eq!(column(5), ["ZONE", "Europe/Berlin", "Europe/Berlin", "America/New_York"]);
    let lines: Vec<&str> = ended.stderr.lines().collect();
    assert!(lines[0].starts_with("line 8: not imported: @reboot"), "{}", ended.stderr);
    assert!(lines[1].starts_with("line 11: not imported: 61 * * * *"), "{}", ended.stderr);
    assert_eq!(lines.last(), Some(&"error: 2 schedule(s) cannot be imported, see above"));
}

#[test]
fn a_crontab_may_come_from_stdin_and_go_out_as_a_document() {
    use std::io::Write as _;
    let mut command = belfry(&["import", "crontab", "-", "--tz", "UTC", "-o", "json"]);
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"0 0 31 2 * /bin/by-hand\n").unwrap();
    let ended = ended(child.wait_with_output().unwrap());
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    let expected = "{\"schedules\":[{\"place\":\"line 1\",\"name\":\"namespaces/default/schedules/by-hand\",\
                    \"expression\":\"0 0 31 2 *\",\"timing\":\"0 0 31 2 *\",\"time_zone\":\"UTC\",\
                    \"command\":\"/bin/by-hand\",\"next\":[],\"changes\":[],\"not_carried\":[],\
                    \"notes\":[\"never fires: it runs only by hand\"],\"differences\":[]}],\"not_imported\":[],\
                    \"summary\":{\"same\":1,\"changed\":0,\"not_imported\":0}}\n";
    assert_eq!(ended.stdout, expected);
}

#[test]
fn completion_knows_the_commands() {
    for shell in ["bash", "zsh", "fish"] {
        let ended = run(&["completion", shell]);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{shell}");
        assert!(ended.stdout.contains("transfer-leader"), "{shell}");
    }
}
