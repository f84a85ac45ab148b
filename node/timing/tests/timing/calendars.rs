//! Named calendars: which instants are inside, and why an entry is refused (CAL-1, CAL-2).

use std::sync::Arc;

use belfry_timing::{
    CALENDAR_DAYS_MAX, CALENDAR_PERIODS_MAX, Calendar, Coverage, TimeZone, format_time, parse_time,
};

fn zone(name: &str) -> TimeZone {
    TimeZone::parse(name).unwrap()
}

fn coverage(days: &[&str], periods: &[(&str, &str)], zone_name: &str) -> Coverage {
    Calendar::parse("holidays", None, days, periods).unwrap().coverage(&zone(zone_name))
}

/// The spans after an instant, as texts in UTC.
fn spans(coverage: &Coverage, from: &str, count: usize) -> Vec<String> {
    let mut from = parse_time(from, &TimeZone::utc()).unwrap();
    let mut spans = Vec::new();
    while let Some(start) = coverage.next_inside(from).filter(|_| spans.len() < count) {
        from = coverage.next_outside(start);
        let short = |instant| format_time(instant)[..16].to_owned();
        spans.push(format!("{} {}", short(start), short(from)));
    }
    spans
}

#[test]
fn a_day_lasts_from_midnight_to_midnight_in_the_zone_that_uses_it() {
    let day = ["2026-12-25"];
    assert_eq!(
        spans(&coverage(&day, &[], "UTC"), "2026-01-01T00:00", 9),
        ["2026-12-25T00:00 2026-12-26T00:00"]
    );
    assert_eq!(
        spans(&coverage(&day, &[], "Australia/Sydney"), "2026-01-01T00:00", 9),
        ["2026-12-24T13:00 2026-12-25T13:00"]
    );
}

#[test]
fn a_calendar_with_a_zone_of_its_own_keeps_it() {
    let calendar = Calendar::parse("exchange", Some(zone("America/New_York")), &["2026-12-25"], &[]).unwrap();
    let covered = calendar.coverage(&zone("Asia/Tokyo"));
    assert_eq!(spans(&covered, "2026-01-01T00:00", 9), ["2026-12-25T05:00 2026-12-26T05:00"]);
}

#[test]
fn days_of_every_year_come_every_year_that_has_them() {
    let covered = coverage(&["*-02-29"], &[], "UTC");
    assert_eq!(
        spans(&covered, "2026-01-01T00:00", 2),
        ["2028-02-29T00:00 2028-03-01T00:00", "2032-02-29T00:00 2032-03-01T00:00"]
    );
    // Neighbours are one span, over the year's end too.
    let covered = coverage(&["*-12-31", "*-01-01", "2027-01-02"], &[], "UTC");
    assert_eq!(
        spans(&covered, "2026-06-01T00:00", 2),
        ["2026-12-31T00:00 2027-01-03T00:00", "2027-12-31T00:00 2028-01-02T00:00"]
    );
}

#[test]
fn days_follow_the_clocks() {
    // 23 and 25 hours; a day that Samoa skipped; the midnight that Cairo skips.
    assert_eq!(
        spans(&coverage(&["2026-03-29", "2026-10-25"], &[], "Europe/Berlin"), "2026-01-01T00:00", 2),
        ["2026-03-28T23:00 2026-03-29T22:00", "2026-10-24T22:00 2026-10-25T23:00"]
    );
    assert_eq!(
        spans(&coverage(&["2011-12-30"], &[], "Pacific/Apia"), "2011-01-01T00:00", 2),
        Vec::<String>::new()
    );
    assert_eq!(
        spans(&coverage(&["2026-04-24"], &[], "Africa/Cairo"), "2026-01-01T00:00", 2),
        ["2026-04-23T22:00 2026-04-24T21:00"]
    );
    // St. John's went back at 00:01 to 23:01 of the day before: that day comes in two pieces.
    assert_eq!(
        spans(&coverage(&["2010-11-06"], &[], "America/St_Johns"), "2010-01-01T00:00", 9),
        ["2010-11-06T02:30 2010-11-07T02:30", "2010-11-07T02:31 2010-11-07T03:30"]
    );
}

#[test]
fn periods_are_half_open_and_joined() {
    let periods = [
        ("2026-11-27T18:00", "2026-11-30T06:00"),
        ("2026-11-30T06:00", "2026-11-30T08:00"),
        ("2026-12-01T00:00Z", "2026-12-01T01:00:00.500+01:00"),
        ("2026-12-01T00:00Z", "2026-12-01T00:10Z"),
    ];
    let covered = coverage(&[], &periods, "Europe/Berlin");
    assert_eq!(
        spans(&covered, "2026-01-01T00:00", 9),
        ["2026-11-27T17:00 2026-11-30T07:00", "2026-12-01T00:00 2026-12-01T00:10"]
    );
    let start = parse_time("2026-11-27T17:00Z", &TimeZone::utc()).unwrap();
    let end = parse_time("2026-11-30T07:00Z", &TimeZone::utc()).unwrap();
    assert!(!covered.contains(start - 1) && covered.contains(start));
    assert!(covered.contains(end - 1) && !covered.contains(end));
    assert_eq!(
        (covered.previous_inside(end + 5), covered.previous_outside(end - 1)),
        (Some(end - 1), start - 1)
    );
    assert_eq!((covered.previous_inside(start - 1), covered.previous_outside(end)), (None, end));
    assert_eq!((covered.next_inside(i64::MAX), covered.next_outside(i64::MIN)), (None, i64::MIN));
}

#[test]
fn a_period_inside_a_gap_is_empty() {
    let covered = coverage(&[], &[("2026-03-29T02:10", "2026-03-29T02:50:00.5")], "Europe/Berlin");
    assert_eq!(covered.next_inside(i64::MIN), None);
}

#[test]
fn schedules_of_one_zone_share_what_a_calendar_covers() {
    let calendar = Arc::new(Calendar::parse("holidays", None, &["*-12-25"], &[]).unwrap());
    let (one, other) = (calendar.coverage(&zone("UTC")), calendar.coverage(&zone("Europe/Berlin")));
    assert_ne!(one.next_inside(0), other.next_inside(0));
    assert_eq!(calendar.coverage(&zone("UTC")).next_inside(0), one.next_inside(0));
}

#[test]
fn refusals_name_the_entry() {
    let refusal = |days: &[&str], periods: &[(&str, &str)]| {
        Calendar::parse("c", None, days, periods).unwrap_err().to_string()
    };
    for (day, part) in [
        ("", "days[1]: `` is not a day: write `2026-12-25`, or `*-12-25` for every year"),
        ("25.12.2026", "days[1]: `25.12.2026` is not a day"),
        ("2026-12-25T00:00", "is not a day"),
        ("26-12-25", "is not a day"),
        ("2026-1-1", "is not a day"),
        ("2026-02-29", "days[1]: `2026-02-29` does not exist: check month and day"),
        ("*-02-30", "`*-02-30` does not exist"),
        ("*-13-01", "does not exist"),
        ("2026-00-01", "does not exist"),
        ("1969-12-31", "is out of range: use years from 1970 to 2100"),
        ("2101-01-01", "is out of range"),
    ] {
        let message = refusal(&["2026-01-01", day], &[]);
        assert!(message.contains(part), "{day}: {message}");
    }
    let noon = "2026-01-01T12:00";
    assert!(refusal(&[], &[(noon, "soon")]).starts_with("periods[0]: `soon` is not a time"));
    assert!(refusal(&[], &[(noon, noon)]).contains("`2026-01-01T12:00` is not after `2026-01-01T12:00`"));
    assert!(refusal(&[], &[(noon, "2026-01-01T18:00Z")]).contains("are not of one form"));
    let days = vec!["*-12-25"; CALENDAR_DAYS_MAX + 1];
    assert!(refusal(&days, &[]).contains("has 4097 days: at most 4096"));
    let periods = vec![(noon, "2026-01-01T13:00"); CALENDAR_PERIODS_MAX + 1];
    assert!(refusal(&[], &periods).contains("has 1025 periods: at most 1024"));
}
