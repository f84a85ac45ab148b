//! What a timing is warned about, seen from an instant.

use std::sync::Arc;

use belfry_timing::{
    Calendar, CalendarMode, CalendarRule, CalendarUse, Composition, HashSeed, NeverFiring, TimeZone, Timing,
    parse_time,
};

fn cron(expression: &str, zone: &str) -> Timing {
    let zone = TimeZone::parse(zone).unwrap();
    Timing::parse_cron(expression, &zone, NeverFiring::Allow, &HashSeed::new("", "")).unwrap()
}

fn berlin() -> TimeZone {
    TimeZone::parse("Europe/Berlin").unwrap()
}

fn warnings(timing: &Timing, from: &str) -> Vec<String> {
    let from = parse_time(from, &TimeZone::utc()).unwrap();
    timing.warnings_from(from).iter().map(ToString::to_string).collect()
}

#[test]
fn a_rhythm_that_names_hours_is_warned_of_both_changes() {
    let timing = cron("*/30 2 * * *", "Europe/Berlin");
    assert_eq!(
        warnings(&timing, "2026-01-01T00:00"),
        [
            "does not fire at 2026-03-29T02:00:00, which the clocks of Europe/Berlin jump over: write minute and hour without `*` to fire right after the jump",
            "fires twice at 2026-10-25T02:00:00, which the clocks of Europe/Berlin show twice: write minute and hour without `*` to fire once",
        ]
    );
    // What is over is not warned of: the next ones are those of 2027 and 2026.
    let later = warnings(&timing, "2026-06-01T00:00");
    assert!(
        later[0].contains("2027-03-28T02:00:00") && later[1].contains("2026-10-25T02:00:00"),
        "{later:?}"
    );
}

#[test]
fn a_fixed_rule_is_warned_of_the_gap_only() {
    let timing = cron("30 2 * * *", "Europe/Berlin");
    let expected = "fires at 2026-03-29T03:00:00+02:00 instead of 2026-03-29T02:30:00, which the clocks of Europe/Berlin jump over";
    assert_eq!(warnings(&timing, "2026-01-01T00:00"), [expected]);
    let rule = CalendarRule::parse("times=02:30").unwrap();
    let rule = Timing::calendar(&rule, &berlin(), NeverFiring::Refuse).unwrap();
    assert_eq!(warnings(&rule, "2026-01-01T00:00"), [expected]);
    let once = Timing::at_local("2026-03-29T02:30", &berlin()).unwrap();
    assert_eq!(warnings(&once, "2026-01-01T00:00"), [expected]);
    assert_eq!(warnings(&once, "2026-04-01T00:00"), Vec::<String>::new());
}

#[test]
fn what_no_change_concerns_is_not_warned_of() {
    for timing in [
        cron("0 9 * * *", "Europe/Berlin"),
        cron("30 2 1 * *", "Europe/Berlin"),
        // All hours: a rhythm by intention.
        cron("*/5 * * * *", "Europe/Berlin"),
        cron("30 * * * *", "Europe/Berlin"),
        cron("30 2 * * *", "UTC"),
        cron("30 2 * * *", "Asia/Kolkata"),
        Timing::at(5),
    ] {
        assert_eq!(warnings(&timing, "2026-01-01T00:00"), Vec::<String>::new(), "{timing:?}");
        assert_eq!((timing.warnings_from(i64::MIN), timing.warnings_from(i64::MAX)), (vec![], vec![]));
    }
}

#[test]
fn a_composition_that_leaves_nothing_for_a_year_is_warned_of() {
    let nothing = "does not fire within a year: its rules would at 2026-01-01T09:00:00Z, but excludes or calendars take everything away";
    let rule = || Composition::of(vec![cron("0 9 * * *", "UTC")], TimeZone::utc());
    let compose = |composition: &Composition| Timing::compose(composition, NeverFiring::Allow).unwrap();
    let excluded = Composition { exclude: vec![cron("* 8-10 * * *", "UTC")], ..rule() };
    assert_eq!(warnings(&compose(&excluded), "2026-01-01T00:00"), [nothing]);
    let two_years = [("2025-06-01T00:00Z", "2027-06-01T00:00Z")];
    let calendar = Arc::new(Calendar::parse("freeze", None, &[], &two_years).unwrap());
    let used =
        |mode| Composition { calendars: vec![CalendarUse { calendar: calendar.clone(), mode }], ..rule() };
    assert_eq!(warnings(&compose(&used(CalendarMode::Exclude)), "2026-01-01T00:00"), [nothing]);
    assert_eq!(warnings(&compose(&used(CalendarMode::Exclude)), "2026-08-01T00:00"), Vec::<String>::new());
    // Frozen instants are still instants; what has ended or not begun is no surprise.
    assert_eq!(warnings(&compose(&used(CalendarMode::Freeze)), "2026-01-01T00:00"), Vec::<String>::new());
    let at = |text: &str| Some(parse_time(text, &TimeZone::utc()).unwrap());
    let ended = Composition { end_at: at("2025-01-01T00:00"), ..rule() };
    assert_eq!(warnings(&compose(&ended), "2026-01-01T00:00"), Vec::<String>::new());
    let later = Composition { start_at: at("2035-01-01T00:00"), ..rule() };
    assert_eq!(warnings(&compose(&later), "2026-01-01T00:00"), Vec::<String>::new());
}

#[test]
fn rules_of_a_composition_are_warned_of_once_each() {
    let include = vec![cron("30 2 * * *", "Europe/Berlin"), cron("30 2 * * SUN", "Europe/Berlin")];
    let timing = Timing::compose(&Composition::of(include, berlin()), NeverFiring::Refuse).unwrap();
    assert_eq!(warnings(&timing, "2026-01-01T00:00").len(), 1);
}
