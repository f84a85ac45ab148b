//! Structured calendar rules and civil times: what they match, how they are written, why they are refused.

use belfry_timing::{
    CalendarRule, CalendarRuleError, NeverFiring, TimeOfDay, TimeZone, Timing, Weekday, WeekdayRule,
    format_local, parse_time,
};

fn timing(rule: &str, zone: &str) -> Timing {
    let rule: CalendarRule = rule.parse().unwrap();
    Timing::calendar(&rule, &TimeZone::parse(zone).unwrap(), NeverFiring::Refuse).unwrap()
}

/// The first fires after the beginning of 2026, as local times.
fn fires(rule: &str, zone: &str, count: usize) -> Vec<String> {
    let (timing, zone) = (timing(rule, zone), TimeZone::parse(zone).unwrap());
    let after = parse_time("2026-01-01T00:00", &zone).unwrap() - 1;
    timing
        .between(after, i64::MAX)
        .take(count)
        .map(|fire| format_local(fire, &zone)[..16].to_owned())
        .collect()
}

fn refusal(rule: &str) -> String {
    let rule = CalendarRule::parse(rule);
    let timing = rule.and_then(|rule| Timing::calendar(&rule, &TimeZone::utc(), NeverFiring::Refuse));
    timing.unwrap_err().to_string()
}

#[test]
fn empty_lists_stand_for_every_value() {
    assert_eq!(
        fires("times=09:00,18:30", "UTC", 3),
        ["2026-01-01T09:00", "2026-01-01T18:30", "2026-01-02T09:00"]
    );
}

#[test]
fn days_count_from_both_ends_of_the_month() {
    assert_eq!(
        fires("days=-1 times=09:00", "UTC", 4),
        ["2026-01-31T09:00", "2026-02-28T09:00", "2026-03-31T09:00", "2026-04-30T09:00"]
    );
    assert_eq!(
        fires("days=-30,1 months=2,4 times=09:00", "UTC", 3),
        ["2026-02-01T09:00", "2026-04-01T09:00", "2027-02-01T09:00"]
    );
    // Only a leap year's February has a 29th day from its end.
    assert_eq!(fires("days=-29 months=2 times=09:00", "UTC", 1), ["2028-02-01T09:00"]);
}

#[test]
fn weekdays_count_from_both_ends_of_the_month() {
    assert_eq!(
        fires("weekdays=MON#1,FRI#-1 times=09:00", "UTC", 4),
        ["2026-01-05T09:00", "2026-01-30T09:00", "2026-02-02T09:00", "2026-02-27T09:00"]
    );
    // The last but one Friday of a month with five of them is the fourth.
    assert_eq!(fires("weekdays=FRI#-2 months=1 times=09:00", "UTC", 1), ["2026-01-23T09:00"]);
    assert_eq!(fires("weekdays=THU#5 times=09:00", "UTC", 2), ["2026-01-29T09:00", "2026-04-30T09:00"]);
    // Both ends meet: a fifth one from the end is the first one of a long month.
    assert_eq!(fires("weekdays=THU#-5 times=09:00", "UTC", 2), ["2026-01-01T09:00", "2026-04-02T09:00"]);
}

#[test]
fn month_days_and_weekdays_must_both_match() {
    assert_eq!(
        fires("days=13 weekdays=FRI times=09:00", "UTC", 3),
        ["2026-02-13T09:00", "2026-03-13T09:00", "2026-11-13T09:00"]
    );
}

#[test]
fn years_end_a_rule() {
    assert_eq!(
        fires("years=2027,2029 months=1 days=1 times=00:00", "UTC", 9),
        ["2027-01-01T00:00", "2029-01-01T00:00"]
    );
}

#[test]
fn each_time_fires_once_a_day_whatever_the_clocks_do() {
    // The gap of Berlin, and a fire that the gap moves onto one that is there already.
    let gap = "years=2026 months=3 days=29 times=01:59:59,02:00,02:30,03:00,03:01";
    assert_eq!(fires(gap, "Europe/Berlin", 9), ["2026-03-29T01:59", "2026-03-29T03:00", "2026-03-29T03:01"]);
    let overlap = "years=2026 months=10 days=25 times=02:00,02:30,03:00";
    assert_eq!(
        fires(overlap, "Europe/Berlin", 9),
        ["2026-10-25T02:00", "2026-10-25T02:30", "2026-10-25T03:00"]
    );
}

#[test]
fn rules_that_say_the_same_are_equal() {
    assert_eq!(
        timing("times=18:30,09:00,09:00 months=JAN,2", "UTC"),
        timing("months=2,1 times=09:00:00,18:30", "UTC")
    );
    assert_ne!(timing("times=09:00", "UTC"), timing("times=09:00", "Europe/Berlin"));
    assert_ne!(timing("times=09:00 days=1", "UTC"), timing("times=09:00 days=-31", "UTC"));
}

#[test]
fn rules_are_built_from_parts_and_written_as_text() {
    let rule = CalendarRule {
        years: vec![2027],
        months: vec![1, 7],
        month_days: vec![-1],
        weekdays: vec![
            WeekdayRule { weekday: Weekday::Monday, nth: Some(1) },
            WeekdayRule { weekday: Weekday::Friday, nth: Some(-1) },
            WeekdayRule { weekday: Weekday::Sunday, nth: None },
        ],
        times: vec![TimeOfDay::new(9, 0, 0).unwrap(), TimeOfDay::new(18, 30, 5).unwrap()],
    };
    let text = "years=2027 months=1,7 days=-1 weekdays=MON#1,FRI#-1,SUN times=09:00,18:30:05";
    assert_eq!(rule.to_string(), text);
    assert_eq!(CalendarRule::parse(text), Ok(rule.clone()));
    let shuffled = "times=09:00,18:30:05  weekdays=mon#1,fri#-1,Sun\tmonth_days=-1 months=JAN,jul years=2027";
    assert_eq!(CalendarRule::parse(shuffled), Ok(rule));
}

#[test]
fn refusals_name_the_field_and_the_way_out() {
    for (rule, part) in [
        ("", "times: a calendar rule needs at least one time of day, as in times=09:00"),
        ("days=1", "times: a calendar rule needs at least one time of day"),
        ("times=", "times: `` is not a value: use times of day as HH:MM or HH:MM:SS"),
        ("times=24:00", "times: `24:00` is not a value"),
        ("times=9:00", "times: `9:00` is not a value"),
        ("times=09:00:00:00", "is not a value"),
        ("times=09:00 times=10:00", "times is given twice: join its values with commas"),
        ("times=09:00 month=1", "`month=1` is no field of a calendar rule: write years=,"),
        ("09:00", "`09:00` is no field"),
        ("times=09:00 months=13", "months: 13 is out of range: use 1 to 12, or names such as JAN"),
        ("times=09:00 months=0", "months: 0 is out of range"),
        ("times=09:00 months=MON", "months: `MON` is not a value"),
        (
            "times=09:00 days=0",
            "days: 0 is out of range: use 1 to 31, or -1 to -31 counted from the month's end",
        ),
        ("times=09:00 days=32", "days: 32 is out of range"),
        ("times=09:00 days=+1", "days: `+1` is not a value"),
        ("times=09:00 days=1-5", "days: `1-5` is not a value"),
        ("times=09:00 weekdays=MON#6", "weekdays: 6 is out of range: use names such as MON, MON#1"),
        ("times=09:00 weekdays=MON#0", "weekdays: 0 is out of range"),
        ("times=09:00 weekdays=MON-FRI", "weekdays: `MON-FRI` is not a value"),
        ("times=09:00 years=1969", "years: 1969 is out of range: use years from 1970 to 2100"),
        ("times=09:00 years=26", "years: 26 is out of range"),
        ("times=09:00 months=2 days=30", "`months=2 days=30 times=09:00` never fires"),
        ("times=09:00 days=1 weekdays=MON#2", "month days and weekdays must both match"),
    ] {
        let message = refusal(rule);
        assert!(message.contains(part), "{rule}: {message}");
    }
    let too_many = format!("times={}", vec!["09:00"; 289].join(","));
    assert_eq!(refusal(&too_many), "times: 289 entries are too many: at most 288 are accepted");
    let long = "x".repeat(5000);
    assert!(refusal(&long).contains("has 5000 bytes: at most 4096 are accepted"));
    let bad_day = CalendarRule::parse("times=09:00 days=0").unwrap();
    let error = Timing::calendar(&bad_day, &TimeZone::utc(), NeverFiring::Allow).unwrap_err();
    assert_eq!(error.field().map(|field| field.to_string()).as_deref(), Some("days"));
}

#[test]
fn a_rule_that_never_fires_is_accepted_on_request() {
    let rule = CalendarRule::parse("times=09:00 months=2 days=30").unwrap();
    let refused = Timing::calendar(&rule, &TimeZone::utc(), NeverFiring::Refuse);
    assert!(matches!(refused, Err(CalendarRuleError::NeverFires { .. })));
    let timing = Timing::calendar(&rule, &TimeZone::utc(), NeverFiring::Allow).unwrap();
    assert_eq!((timing.next(i64::MIN), timing.previous(i64::MAX)), (None, None));
    assert_eq!(timing.warnings().len(), 1);
}

#[test]
fn a_civil_time_fires_once() {
    let at = |text: &str, zone: &str| {
        let zone = TimeZone::parse(zone).unwrap();
        let fires: Vec<i64> = Timing::at_local(text, &zone).unwrap().between(i64::MIN, i64::MAX).collect();
        assert_eq!(fires.len(), 1);
        format_local(fires[0], &zone)
    };
    assert_eq!(at("2026-12-24T18:00", "Europe/Berlin"), "2026-12-24T18:00:00+01:00");
    assert_eq!(at("2026-12-24T18:00:30", "America/New_York"), "2026-12-24T18:00:30-05:00");
    // Missing on that day; shown twice on that day; a day that Samoa never had.
    assert_eq!(at("2026-03-29T02:30", "Europe/Berlin"), "2026-03-29T03:00:00+02:00");
    assert_eq!(at("2026-10-25T02:30", "Europe/Berlin"), "2026-10-25T02:30:00+02:00");
    assert_eq!(at("2011-12-30T12:00", "Pacific/Apia"), "2011-12-31T00:00:00+14:00");
    let timing = Timing::at_local("2026-12-24T18:00", &TimeZone::utc()).unwrap();
    assert_eq!(timing.time_zone(), Some(&TimeZone::utc()));
    assert_eq!(timing.previous(i64::MAX), timing.next(0));
}

#[test]
fn other_texts_are_no_civil_times() {
    let refusal = |text: &str| Timing::at_local(text, &TimeZone::utc()).unwrap_err().to_string();
    assert!(refusal("2026-12-24T18:00Z").contains("is not a plain civil time"));
    assert!(refusal("2026-12-24T18:00:00+01:00").contains("without an offset"));
    assert!(refusal("2026-12-24T18:00:00.5").contains("or a fraction"));
    assert!(refusal("tomorrow").contains("is not a time"));
    assert!(refusal("2026-02-29T18:00").contains("check the date"));
    assert!(refusal("1969-12-24T18:00").contains("lies before 1970"));
}
