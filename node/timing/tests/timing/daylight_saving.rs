//! Hand-worked vectors around both changes of the year, for fixed, wildcard and step rules (DST-1, DST-2, DST-3).
//!
//! | zone | gap | overlap |
//! | --- | --- | --- |
//! | Europe/Berlin | 2026-03-29: 02:00+01 becomes 03:00+02, at 01:00Z | 2026-10-25: 03:00+02 becomes 02:00+01, at 01:00Z |
//! | America/New_York | 2026-03-08: 02:00-05 becomes 03:00-04, at 07:00Z | 2026-11-01: 02:00-04 becomes 01:00-05, at 06:00Z |
//! | Australia/Lord_Howe | 2026-10-04: 02:00+10:30 becomes 02:30+11, at 15:30Z the day before | 2026-04-05: 02:00+11 becomes 01:30+10:30, at 15:00Z the day before |

use belfry_timing::{HashSeed, NeverFiring, TimeZone, Timing, format_local, parse_time};

/// The fires from one wall time up to and including another, as local times: `25 02:30:00+02:00`.
fn fires(expression: &str, zone: &str, from: &str, until: &str) -> Vec<String> {
    let zone = TimeZone::parse(zone).unwrap();
    let timing = Timing::parse_cron(expression, &zone, NeverFiring::Refuse, &HashSeed::new("", "")).unwrap();
    let time = |text: &str| parse_time(text, &zone).unwrap();
    let fires = timing.between(time(from) - 1, time(until));
    fires.map(|fire| format_local(fire, &zone)[8..].replace('T', " ")).collect()
}

fn check(expression: &str, zone: &str, from: &str, until: &str, expected: &[&str]) {
    assert_eq!(fires(expression, zone, from, until), expected, "{expression} in {zone}");
}

#[test]
fn berlin_gap() {
    let check = |expression: &str, expected: &[&str]| {
        check(expression, "Europe/Berlin", "2026-03-28T12:00", "2026-03-30T12:00", expected);
    };
    // Fixed: 02:30 is missing on the 29th, so the run comes at the gap's end.
    check("30 2 * * *", &["29 03:00:00+02:00", "30 02:30:00+02:00"]);
    // Four missing times, one instant, one fire.
    check("0,15,30,45 2 29 3 *", &["29 03:00:00+02:00"]);
    check("0-59/15 2 29 3 *", &["29 03:00:00+02:00"]);
    // 02:00 moves onto 03:00, which matches by itself: still one fire.
    check("0 2,3 29 3 *", &["29 03:00:00+02:00"]);
    check("30 2,3 29 3 *", &["29 03:00:00+02:00", "29 03:30:00+02:00"]);
    // The date must match the missing time: the 29th is a Sunday.
    check("30 2 * * MON", &["30 02:30:00+02:00"]);
    check("30 2 * * SUN", &["29 03:00:00+02:00"]);
    check("59 1 29 3 *", &["29 01:59:00+01:00"]);
    check("1 3 29 3 *", &["29 03:01:00+02:00"]);
    // Seconds go the same way.
    check("15,45 30 2 29 3 *", &["29 03:00:00+02:00"]);
    check("*/20 30 2 29 3 *", &["29 03:00:00+02:00"]);
    // Wildcard by the minute, by the hour, by a step of either: nothing in the gap, nothing made up for.
    check("*/30 2 * * *", &["30 02:00:00+02:00", "30 02:30:00+02:00"]);
    check("* 2 29 3 *", &[]);
    check("30 * 29 3 *", {
        &[
            "29 00:30:00+01:00",
            "29 01:30:00+01:00",
            "29 03:30:00+02:00",
            "29 04:30:00+02:00",
            "29 05:30:00+02:00",
            "29 06:30:00+02:00",
            "29 07:30:00+02:00",
            "29 08:30:00+02:00",
            "29 09:30:00+02:00",
            "29 10:30:00+02:00",
            "29 11:30:00+02:00",
            "29 12:30:00+02:00",
            "29 13:30:00+02:00",
            "29 14:30:00+02:00",
            "29 15:30:00+02:00",
            "29 16:30:00+02:00",
            "29 17:30:00+02:00",
            "29 18:30:00+02:00",
            "29 19:30:00+02:00",
            "29 20:30:00+02:00",
            "29 21:30:00+02:00",
            "29 22:30:00+02:00",
            "29 23:30:00+02:00",
        ]
    });
    check(
        "30 */6 29 3 *",
        &["29 00:30:00+01:00", "29 06:30:00+02:00", "29 12:30:00+02:00", "29 18:30:00+02:00"],
    );
}

#[test]
fn berlin_overlap() {
    let check = |expression: &str, expected: &[&str]| {
        check(expression, "Europe/Berlin", "2026-10-24T12:00", "2026-10-26T12:00", expected);
    };
    // Fixed: the first pass only.
    check("30 2 * * *", &["25 02:30:00+02:00", "26 02:30:00+01:00"]);
    check("0-59/30 2 25 10 *", &["25 02:00:00+02:00", "25 02:30:00+02:00"]);
    check("0 2,3 25 10 *", &["25 02:00:00+02:00", "25 03:00:00+01:00"]);
    check("*/30 30 2 25 10 *", &["25 02:30:00+02:00", "25 02:30:30+02:00"]);
    // Wildcard: both passes.
    check(
        "*/30 2 25 10 *",
        &["25 02:00:00+02:00", "25 02:30:00+02:00", "25 02:00:00+01:00", "25 02:30:00+01:00"],
    );
    check("45 */2 25 10 *", &{
        let mut expected =
            vec!["25 00:45:00+02:00", "25 02:45:00+02:00", "25 02:45:00+01:00", "25 04:45:00+01:00"];
        expected.extend(["25 06:45:00+01:00", "25 08:45:00+01:00", "25 10:45:00+01:00", "25 12:45:00+01:00"]);
        expected.extend(["25 14:45:00+01:00", "25 16:45:00+01:00", "25 18:45:00+01:00", "25 20:45:00+01:00"]);
        expected.push("25 22:45:00+01:00");
        expected
    });
}

#[test]
fn berlin_asked_from_within_the_overlap() {
    let zone = TimeZone::parse("Europe/Berlin").unwrap();
    let next = |expression: &str, after: &str| {
        let timing =
            Timing::parse_cron(expression, &zone, NeverFiring::Refuse, &HashSeed::new("", "")).unwrap();
        format_local(timing.next(parse_time(after, &zone).unwrap()).unwrap(), &zone)
    };
    // 00:50Z is 02:50 of the first pass, 01:10Z is 02:10 of the second, whose 02:45 a fixed rule does not see.
    assert_eq!(next("45 2 * * *", "2026-10-25T00:40Z"), "2026-10-25T02:45:00+02:00");
    assert_eq!(next("45 2 * * *", "2026-10-25T00:50Z"), "2026-10-26T02:45:00+01:00");
    assert_eq!(next("45 2 * * *", "2026-10-25T01:10Z"), "2026-10-26T02:45:00+01:00");
    assert_eq!(next("*/45 2 * * *", "2026-10-25T00:50Z"), "2026-10-25T02:00:00+01:00");
    assert_eq!(next("*/45 2 * * *", "2026-10-25T01:10Z"), "2026-10-25T02:45:00+01:00");
    assert_eq!(next("*/45 2 * * *", "2026-10-25T01:45Z"), "2026-10-26T02:00:00+01:00");
    // Asked at the very instant after the gap, what fell into it has fired.
    assert_eq!(next("30 2 * * *", "2026-03-29T00:59:59Z"), "2026-03-29T03:00:00+02:00");
    assert_eq!(next("30 2 * * *", "2026-03-29T01:00Z"), "2026-03-30T02:30:00+02:00");
}

#[test]
fn new_york() {
    let gap = |expression: &str, expected: &[&str]| {
        check(expression, "America/New_York", "2026-03-08T00:00", "2026-03-09T05:00", expected);
    };
    gap("30 2 * * *", &["08 03:00:00-04:00", "09 02:30:00-04:00"]);
    gap("0 1-4 8 * *", &["08 01:00:00-05:00", "08 03:00:00-04:00", "08 04:00:00-04:00"]);
    gap("0-40/20 2 8 * *", &["08 03:00:00-04:00"]);
    gap("*/20 2 * * *", &["09 02:00:00-04:00", "09 02:20:00-04:00", "09 02:40:00-04:00"]);
    gap(
        "*/40 1-3 8 * *",
        &["08 01:00:00-05:00", "08 01:40:00-05:00", "08 03:00:00-04:00", "08 03:40:00-04:00"],
    );

    let overlap = |expression: &str, expected: &[&str]| {
        check(expression, "America/New_York", "2026-11-01T00:00", "2026-11-02T01:59", expected);
    };
    overlap("30 1 * * *", &["01 01:30:00-04:00", "02 01:30:00-05:00"]);
    overlap("0 1,2 1 * *", &["01 01:00:00-04:00", "01 02:00:00-05:00"]);
    overlap("5-35/30 1 1 * *", &["01 01:05:00-04:00", "01 01:35:00-04:00"]);
    overlap(
        "*/40 1 1 * *",
        &["01 01:00:00-04:00", "01 01:40:00-04:00", "01 01:00:00-05:00", "01 01:40:00-05:00"],
    );
    overlap(
        "*/20 0-1 2 * *",
        &[
            "02 00:00:00-05:00",
            "02 00:20:00-05:00",
            "02 00:40:00-05:00",
            "02 01:00:00-05:00",
            "02 01:20:00-05:00",
            "02 01:40:00-05:00",
        ],
    );
}

#[test]
fn lord_howe_changes_by_half_an_hour() {
    let gap = |expression: &str, expected: &[&str]| {
        check(expression, "Australia/Lord_Howe", "2026-10-04T00:00", "2026-10-05T03:00", expected);
    };
    // 02:00 to 02:29 are missing.
    gap("15 2 * * *", &["04 02:30:00+11:00", "05 02:15:00+11:00"]);
    gap("15,30 2 4 * *", &["04 02:30:00+11:00"]);
    gap("0,15,30,45 2 4 * *", &["04 02:30:00+11:00", "04 02:45:00+11:00"]);
    gap("0-59/20 2 4 * *", &["04 02:30:00+11:00", "04 02:40:00+11:00"]);
    gap("*/15 2 4 * *", &["04 02:30:00+11:00", "04 02:45:00+11:00"]);
    gap(
        "*/20 1-2 4 * *",
        &["04 01:00:00+10:30", "04 01:20:00+10:30", "04 01:40:00+10:30", "04 02:40:00+11:00"],
    );
    gap(
        "10 */2 4 * *",
        &[
            "04 00:10:00+10:30",
            "04 04:10:00+11:00",
            "04 06:10:00+11:00",
            "04 08:10:00+11:00",
            "04 10:10:00+11:00",
            "04 12:10:00+11:00",
            "04 14:10:00+11:00",
            "04 16:10:00+11:00",
            "04 18:10:00+11:00",
            "04 20:10:00+11:00",
            "04 22:10:00+11:00",
        ],
    );

    let overlap = |expression: &str, expected: &[&str]| {
        check(expression, "Australia/Lord_Howe", "2026-04-05T00:00", "2026-04-06T01:59", expected);
    };
    // 01:30 to 01:59 come twice.
    overlap("45 1 * * *", &["05 01:45:00+11:00", "06 01:45:00+10:30"]);
    overlap("0 2 * * *", &["05 02:00:00+10:30"]);
    overlap(
        "0-59/15 1 5 * *",
        &["05 01:00:00+11:00", "05 01:15:00+11:00", "05 01:30:00+11:00", "05 01:45:00+11:00"],
    );
    overlap(
        "*/15 1 5 * *",
        &[
            "05 01:00:00+11:00",
            "05 01:15:00+11:00",
            "05 01:30:00+11:00",
            "05 01:45:00+11:00",
            "05 01:30:00+10:30",
            "05 01:45:00+10:30",
        ],
    );
    overlap(
        "40 * 5 4 *",
        &{
            let mut expected = vec!["05 00:40:00+11:00".to_owned(), "05 01:40:00+11:00".to_owned()];
            expected.extend((1..24).map(|hour| format!("05 {hour:02}:40:00+10:30")));
            expected
        }
        .iter()
        .map(String::as_str)
        .collect::<Vec<_>>(),
    );
}

#[test]
fn changes_at_midnight_and_of_a_whole_day() {
    // Cairo skips 00:00 to 00:59 on the last Friday of April, and repeats 23:00 to 23:59 on the last Thursday of October.
    let cairo = |expression: &str, from: &str, until: &str, expected: &[&str]| {
        check(expression, "Africa/Cairo", from, until, expected);
    };
    cairo("0 0 * * *", "2026-04-23T12:00", "2026-04-25T12:00", &["24 01:00:00+03:00", "25 00:00:00+03:00"]);
    cairo("30 0 24 * *", "2026-04-23T12:00", "2026-04-25T12:00", &["24 01:00:00+03:00"]);
    cairo("30 0 * * THU,SAT", "2026-04-23T12:00", "2026-04-25T12:00", &["25 00:30:00+03:00"]);
    cairo("30 23 * * *", "2026-10-29T12:00", "2026-10-30T12:00", &["29 23:30:00+03:00"]);
    cairo(
        "*/30 23 * * *",
        "2026-10-29T12:00",
        "2026-10-30T12:00",
        &["29 23:00:00+03:00", "29 23:30:00+03:00", "29 23:00:00+02:00", "29 23:30:00+02:00"],
    );
    cairo("0 0 * * *", "2026-10-29T12:00", "2026-10-30T12:00", &["30 00:00:00+02:00"]);
    // Samoa had no 2011-12-30: both of its times fall on the first instant of the 31st.
    check(
        "0 6,18 * * *",
        "Pacific/Apia",
        "2011-12-29T12:00",
        "2011-12-31T23:00",
        &["29 18:00:00-10:00", "31 00:00:00+14:00", "31 06:00:00+14:00", "31 18:00:00+14:00"],
    );
    check(
        "0 */12 * * *",
        "Pacific/Apia",
        "2011-12-29T12:00",
        "2011-12-31T12:00",
        &["29 12:00:00-10:00", "31 00:00:00+14:00", "31 12:00:00+14:00"],
    );
}

#[test]
fn intervals_and_every_do_not_look_at_the_clock_on_the_wall() {
    let berlin = TimeZone::parse("Europe/Berlin").unwrap();
    let timing =
        Timing::parse_cron("@every 1h", &berlin, NeverFiring::Refuse, &HashSeed::new("", "")).unwrap();
    let from = parse_time("2026-10-25T00:00Z", &berlin).unwrap();
    let fires: Vec<i64> =
        timing.between(from, from + 3 * 3_600_000).map(|fire| (fire - from) / 3_600_000).collect();
    assert_eq!(fires, [1, 2, 3]);
}
