//! A crontab as a machine of some years has it: what is read, what is listed as unsupported, and when its lines fire
//! around both changes of three zones.
//!
//! The fires follow Debian's rule: a line whose minute and hour fields do not begin with `*` runs right after a gap that
//! swallowed its time and once in a repeated hour; the others run when the clock on the wall shows their time.

use std::fmt::Write;

use belfry_timing::{
    HashSeed, NeverFiring, TimeZone, Timing,
    crontab::{self, Crontab, CrontabEntry},
    format_local, parse_time,
};

const DEPLOY: &str = include_str!("fixtures/deploy.crontab");

/// What `parse` found, as text.
fn rendered(crontab: &Crontab) -> String {
    let mut text = String::new();
    let none = String::new();
    let environments = crontab.entries.iter().map(|entry| &entry.environment);
    let mut last = None;
    for (entry, environment) in crontab.entries.iter().zip(environments) {
        if last.replace(environment) != Some(environment) {
            writeln!(text, "with {environment:?}").unwrap();
        }
        let zone = entry.time_zone.as_deref().unwrap_or("-");
        writeln!(text, "{}: {} | {} | {zone}", entry.line, entry.suggested_name, entry.expression).unwrap();
        writeln!(text, "    runs {}", entry.command).unwrap();
        for (label, value) in [("reads", &entry.stdin), ("about", &entry.comment)] {
            value.iter().for_each(|value| writeln!(text, "    {label} {value:?}").unwrap());
        }
        for (label, value) in [("written", &entry.written), ("user", entry.user.as_ref().unwrap_or(&none))] {
            let is_news = *value != none && *value != entry.expression;
            is_news.then(|| writeln!(text, "    {label} {value}").unwrap());
        }
        entry.spread.iter().for_each(|spread| writeln!(text, "    up to {spread:?} later").unwrap());
        entry.notes.iter().for_each(|note| writeln!(text, "    note: {note}").unwrap());
    }
    for line in &crontab.unsupported {
        writeln!(text, "unsupported {}: {}\n    {}", line.line, line.text, line.reason).unwrap();
    }
    text
}

#[test]
fn a_real_looking_crontab_is_read() {
    assert_eq!(rendered(&crontab::parse(DEPLOY)), include_str!("fixtures/deploy.expected"));
}

#[test]
fn a_file_of_cron_d_is_read() {
    let text = include_str!("fixtures/cron.d");
    let crontab = crontab::Crontabs::default().read(text, crontab::Form::System);
    assert_eq!(rendered(&crontab), include_str!("fixtures/cron.d.expected"));
}

#[test]
fn files_read_together_share_their_names() {
    let mut crontabs = crontab::Crontabs::default();
    let mut name = |text| crontabs.read(text, crontab::Form::User).entries[0].suggested_name.clone();
    assert_eq!([name("@daily df"), name("@daily df"), name("@daily du")], ["df", "df-2", "du"]);
}

#[test]
fn cron_reads_plain_names_only() {
    for name in ["backup", "e2scrub_all", "Php-8"] {
        assert!(crontab::is_read_by_cron(name), "{name}");
    }
    for name in ["", ".placeholder", "backup.dpkg-old", "backup~", "a b", "s\u{fc}d"] {
        assert!(!crontab::is_read_by_cron(name), "{name}");
    }
}

#[test]
fn every_line_is_somewhere() {
    // TAB-1. All but the comments, the blank line and the settings that are understood.
    let crontab = crontab::parse(DEPLOY);
    let mut lines: Vec<usize> = crontab.entries.iter().map(|entry| entry.line).collect();
    lines.extend(crontab.unsupported.iter().map(|line| line.line));
    lines.sort_unstable();
    assert_eq!(
        lines,
        [7, 9, 10, 11, 12, 14, 15, 16, 17, 18, 19, 21, 22, 23, 25, 29, 30, 31, 34, 35, 36, 37, 39]
    );
}

/// The fires of a line, for a machine in Berlin, from one wall time up to and including another.
fn fires(line: usize, from: &str, until: &str) -> Vec<String> {
    let crontab = crontab::parse(DEPLOY);
    let entry: &CrontabEntry = crontab.entries.iter().find(|entry| entry.line == line).unwrap();
    let zone = TimeZone::parse(entry.time_zone.as_deref().unwrap_or("Europe/Berlin")).unwrap();
    let timing =
        Timing::parse_cron(&entry.expression, &zone, NeverFiring::Refuse, &HashSeed::new("", "")).unwrap();
    let time = |text: &str| parse_time(text, &zone).unwrap();
    timing
        .between(time(from) - 1, time(until))
        .map(|fire| format_local(fire, &zone)[5..].to_owned())
        .collect()
}

#[test]
fn fires_around_the_changes_of_berlin() {
    // Sunday 2026-03-29, 01:00Z: the clock goes from 02:00+01 to 03:00+02, so 02:00 to 02:59 are missing.
    let spring = |line| fires(line, "2026-03-29T00:00", "2026-03-29T06:30");
    // `17 *`: the hour begins with `*`. 00:17, 01:17, then the clock shows 03:17; nothing for 02:17.
    assert_eq!(
        spring(7),
        [
            "03-29T00:17:00+01:00",
            "03-29T01:17:00+01:00",
            "03-29T03:17:00+02:00",
            "03-29T04:17:00+02:00",
            "03-29T05:17:00+02:00",
            "03-29T06:17:00+02:00"
        ]
    );
    // `30 2`: fixed, swallowed, so 01:00Z = 03:00+02. `15 2 * * 7` likewise, for the 29th is a Sunday.
    assert_eq!(spring(10), ["03-29T03:00:00+02:00"]);
    assert_eq!(spring(11), ["03-29T03:00:00+02:00"]);
    // `*/20 2`: the minute begins with `*`, and no clock shows 02:xx this day.
    assert_eq!(spring(12), [""; 0]);
    assert_eq!(spring(9), ["03-29T06:25:00+02:00"]);

    // Sunday 2026-10-25, 01:00Z: the clock goes from 03:00+02 back to 02:00+01, so 02:00 to 02:59 come twice.
    let autumn = |line| fires(line, "2026-10-25T01:00", "2026-10-25T03:59");
    assert_eq!(
        autumn(7),
        ["10-25T01:17:00+02:00", "10-25T02:17:00+02:00", "10-25T02:17:00+01:00", "10-25T03:17:00+01:00"]
    );
    // Fixed: 02:30+02 = 00:30Z, the first pass; 02:30+01 = 01:30Z is passed over.
    assert_eq!(autumn(10), ["10-25T02:30:00+02:00"]);
    assert_eq!(autumn(11), ["10-25T02:15:00+02:00"]);
    assert_eq!(
        autumn(12),
        [
            "10-25T02:00:00+02:00",
            "10-25T02:20:00+02:00",
            "10-25T02:40:00+02:00",
            "10-25T02:00:00+01:00",
            "10-25T02:20:00+01:00",
            "10-25T02:40:00+01:00"
        ]
    );
    // `@daily` is fixed and untouched: the days have 23 and 25 hours, midnight comes once.
    assert_eq!(
        fires(18, "2026-10-25T00:00", "2026-10-26T00:00"),
        ["10-25T00:00:00+02:00", "10-26T00:00:00+01:00"]
    );
}

#[test]
fn fires_around_the_changes_of_new_york() {
    // Sunday 2026-03-08, 07:00Z: from 02:00-05 to 03:00-04. 01:xx is whole, so all is as on other days.
    let spring = |line| fires(line, "2026-03-08T00:00", "2026-03-09T00:00");
    assert_eq!(spring(29), ["03-08T01:30:00-05:00"]);
    assert_eq!(spring(30), ["03-08T01:00:00-05:00", "03-08T01:40:00-05:00"]);
    // Sunday 2026-11-01, 06:00Z: from 02:00-04 back to 01:00-05, so 01:xx comes twice.
    let autumn = |line| fires(line, "2026-11-01T00:00", "2026-11-02T00:00");
    // Fixed: 01:30-04 = 05:30Z. 01:30-05 = 06:30Z is the second pass.
    assert_eq!(autumn(29), ["11-01T01:30:00-04:00"]);
    assert_eq!(
        autumn(30),
        ["11-01T01:00:00-04:00", "11-01T01:40:00-04:00", "11-01T01:00:00-05:00", "11-01T01:40:00-05:00"]
    );
    // Office hours: Friday 6 and Monday 9 March; the offset moves, the hours on the wall do not. November is not among
    // its months, and neither is the summer.
    assert_eq!(
        fires(31, "2026-03-06T17:00", "2026-03-09T11:00"),
        ["03-06T17:00:00-05:00", "03-09T09:00:00-04:00", "03-09T11:00:00-04:00"]
    );
    assert_eq!(fires(31, "2026-10-01T00:00", "2026-12-31T00:00"), [""; 0]);
}

#[test]
fn fires_around_the_changes_of_lord_howe() {
    // Sunday 2026-04-05, 2026-04-04T15:00Z: from 02:00+11 back to 01:30+10:30, so 01:30 to 01:59 come twice.
    let autumn = |line| fires(line, "2026-04-05T00:00", "2026-04-06T00:00");
    // `45 1` is fixed: 01:45+11 = 14:45Z; 01:45+10:30 = 15:15Z is the second pass.
    assert_eq!(autumn(34), ["04-05T01:45:00+11:00"]);
    // `15 2`: 02:15 comes once, after the second pass: 02:15+10:30 = 15:45Z.
    assert_eq!(autumn(35), ["04-05T02:15:00+10:30"]);
    // Sunday 2026-10-04, 2026-10-03T15:30Z: from 02:00+10:30 to 02:30+11, so 02:00 to 02:29 are missing.
    let spring = |line| fires(line, "2026-10-04T00:00", "2026-10-05T00:00");
    assert_eq!(spring(34), ["10-04T01:45:00+10:30"]);
    // 02:15 is swallowed: the run comes at the gap's end, 15:30Z = 02:30+11.
    assert_eq!(spring(35), ["10-04T02:30:00+11:00"]);
}

#[test]
fn settings_are_read_as_cron_reads_them() {
    let text = "  A = \"  b c \" \n'D'='e'\n\"F G\"=h\nEMPTY=\nX=\"half\nA=1=2 # no comment\n* * * * * x";
    let crontab = crontab::parse(text);
    let environment: Vec<(&str, &str)> =
        crontab.entries[0].environment.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    assert_eq!(environment, [("A", "1=2 # no comment"), ("D", "e"), ("EMPTY", ""), ("X", "\"half")]);
    // A name with a blank is none; what it is instead is for somebody to look at.
    assert_eq!(crontab.unsupported[0].line, 3);
    let value = crontab::parse("A = \"  b c \" \n* * * * * x").entries[0].environment["A"].clone();
    assert_eq!(value, "  b c ");
}

#[test]
fn lines_that_are_no_entry_say_why() {
    let reason = |line: &str| {
        let crontab = crontab::parse(line);
        assert!(crontab.entries.is_empty(), "{line}");
        crontab.unsupported[0].reason.clone()
    };
    assert!(reason("* * * * *").contains("no command"));
    assert!(reason("@daily").contains("no command"));
    assert!(reason("* * * * * %only input").contains("the command is empty"));
    assert!(reason("* * * *").contains("found 4 fields"));
    assert!(reason("run-me daily").contains("found 2 fields"));
    assert!(reason("--*/5 * * * * quiet").contains("column 1"));
    assert!(reason("@reboot x").contains("names no time"));
    assert!(reason(" 0  9 *  * 1-5; x").contains("column 13: `5;`"));
    assert!(reason("TZ=UTC\n@fortnightly x").contains("unknown"));
}

#[test]
fn only_a_comment_right_above_belongs_to_a_line() {
    let comment = |text: &str| crontab::parse(text).entries[0].comment.clone();
    assert_eq!(comment("## Backup ##\n* * * * * x").as_deref(), Some("Backup"));
    assert_eq!(comment("# one\n# two\n* * * * * x").as_deref(), Some("two"));
    assert_eq!(comment("# far\n\n* * * * * x"), None);
    assert_eq!(comment("# far\nA=b\n* * * * * x"), None);
    assert_eq!(comment("#------\n* * * * * x"), None);
    assert_eq!(comment("#* * * * * y\n* * * * * x"), None);
}

#[test]
fn line_ends_of_other_systems_are_not_part_of_commands() {
    let crontab = crontab::parse("A=b\r\n@hourly x\r\n");
    assert_eq!(
        (crontab.entries[0].command.as_str(), crontab.entries[0].environment["A"].as_str()),
        ("x", "b")
    );
}
