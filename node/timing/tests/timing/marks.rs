//! What a change of the clocks does to single fires.

use belfry_timing::{
    CalendarRule, Composition, HashSeed, Mark, NeverFiring, Pass, TimeZone, Timing, parse_time,
};

fn berlin() -> TimeZone {
    TimeZone::parse("Europe/Berlin").unwrap()
}

fn cron(expression: &str) -> Timing {
    Timing::parse_cron(expression, &berlin(), NeverFiring::Refuse, &HashSeed::new("", "")).unwrap()
}

fn mark(timing: &Timing, instant: &str) -> Option<Mark> {
    timing.mark(parse_time(instant, &berlin()).unwrap())
}

fn moved(wall_time: &str) -> Option<Mark> {
    Some(Mark::MovedByGap { wall_time: wall_time.to_owned() })
}

fn pass(pass: Pass) -> Option<Mark> {
    Some(Mark::RepeatedHour { pass })
}

#[test]
fn a_fire_after_a_gap_says_what_it_was_meant_for() {
    let after_gap = "2026-03-29T01:00:00Z";
    assert_eq!(mark(&cron("30 2 * * *"), after_gap), moved("2026-03-29T02:30:00"));
    assert_eq!(mark(&cron("15,45 2 * * *"), after_gap), moved("2026-03-29T02:15:00"));
    // 03:00 itself matches: the fire is on time.
    assert_eq!(mark(&cron("0 2,3 * * *"), after_gap), None);
    assert_eq!(mark(&cron("30 2 * * *"), "2026-03-30T02:30"), None);
    // No fire, no mark.
    assert_eq!(mark(&cron("30 4 * * *"), after_gap), None);
    let rule = CalendarRule::parse("times=02:00").unwrap();
    let rule = Timing::calendar(&rule, &berlin(), NeverFiring::Refuse).unwrap();
    assert_eq!(mark(&rule, after_gap), moved("2026-03-29T02:00:00"));
    let once = Timing::at_local("2026-03-29T02:59:59", &berlin()).unwrap();
    assert_eq!(mark(&once, after_gap), moved("2026-03-29T02:59:59"));
    assert_eq!(cron("30 2 * * *").mark(i64::MIN), None);
}

#[test]
fn a_fire_in_a_repeated_hour_says_which_pass_it_is() {
    let (first, second) = ("2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z");
    assert_eq!(mark(&cron("30 2 * * *"), first), pass(Pass::First));
    assert_eq!(mark(&cron("30 2 * * *"), second), None);
    assert_eq!(mark(&cron("*/30 2 * * *"), first), pass(Pass::First));
    assert_eq!(mark(&cron("*/30 2 * * *"), second), pass(Pass::Second));
    assert_eq!(mark(&cron("*/30 * * * *"), "2026-10-25T02:00:00Z"), None);
    assert_eq!(mark(&Timing::at_local("2026-10-25T02:30", &berlin()).unwrap(), first), pass(Pass::First));
    // What no zone moves has no marks.
    assert_eq!(mark(&Timing::at(parse_time(first, &berlin()).unwrap()), first), None);
}

#[test]
fn one_rule_on_time_is_enough_for_a_composition_to_be() {
    let after_gap = "2026-03-29T01:00:00Z";
    let compose = |include: &[&str]| {
        let include = include.iter().map(|text| cron(text)).collect();
        Timing::compose(&Composition::of(include, berlin()), NeverFiring::Refuse).unwrap()
    };
    assert_eq!(mark(&compose(&["30 2 * * *", "0 3 * * *"]), after_gap), None);
    assert_eq!(mark(&compose(&["30 2 * * *", "0 4 * * *"]), after_gap), moved("2026-03-29T02:30:00"));
}
