//! Compositions: unions, excludes, calendars, start and end (COMP-1 to COMP-4, TIMING-5).

use std::{sync::Arc, time::Duration};

use belfry_timing::{
    COMPOSITION_CALENDARS_MAX, COMPOSITION_RULES_MAX, Calendar, CalendarMode, CalendarUse, Composition,
    CompositionError, HORIZON_UNIX_MILLIS, HashSeed, NeverFiring, TimeZone, Timing, format_local, parse_time,
};

fn berlin() -> TimeZone {
    TimeZone::parse("Europe/Berlin").unwrap()
}

fn cron(expression: &str) -> Timing {
    Timing::parse_cron(expression, &berlin(), NeverFiring::Allow, &HashSeed::new("", "")).unwrap()
}

fn every(seconds: u64) -> Timing {
    Timing::every(Duration::from_secs(seconds), Duration::ZERO).unwrap()
}

fn at(time: &str) -> i64 {
    parse_time(time, &berlin()).unwrap()
}

/// A composition of cron expressions.
fn rules(include: &[&str], exclude: &[&str]) -> Composition {
    let crons = |texts: &[&str]| texts.iter().map(|text| cron(text)).collect::<Vec<_>>();
    Composition { exclude: crons(exclude), ..Composition::of(crons(include), berlin()) }
}

fn with_calendar(
    composition: Composition,
    mode: CalendarMode,
    days: &[&str],
    periods: &[(&str, &str)],
) -> Composition {
    let calendar = Arc::new(Calendar::parse("holidays", None, days, periods).unwrap());
    let calendars = composition.calendars.into_iter().chain([CalendarUse { calendar, mode }]).collect();
    Composition { calendars, ..composition }
}

fn compose(composition: &Composition) -> Timing {
    Timing::compose(composition, NeverFiring::Refuse).unwrap()
}

/// The first fires after a time, as local times; walked back they are the same.
fn fires(timing: &Timing, after: &str, count: usize) -> Vec<String> {
    let fires: Vec<i64> = timing.between(at(after), i64::MAX).take(count).collect();
    if let Some(last) = fires.last() {
        let mut back: Vec<i64> = timing.between_rev(at(after), *last).collect();
        back.reverse();
        assert_eq!(back, fires);
    }
    fires.iter().map(|fire| format_local(*fire, &berlin())[5..16].replace('T', " ")).collect()
}

#[test]
fn several_rules_on_one_instant_are_one_fire() {
    let timing = compose(&rules(&["0 9 * * *", "0 9,12 * * MON", "0 12 * * *"], &[]));
    // The 23rd is a Monday.
    assert_eq!(
        fires(&timing, "2026-11-23T00:00", 4),
        ["11-23 09:00", "11-23 12:00", "11-24 09:00", "11-24 12:00"]
    );
}

#[test]
fn rules_of_several_kinds_and_zones_join() {
    let tokyo = TimeZone::parse("Asia/Tokyo").unwrap();
    let noon = "0 12 * * *";
    let tokyo = Timing::parse_cron(noon, &tokyo, NeverFiring::Refuse, &HashSeed::new("", "")).unwrap();
    let once = Timing::at_local("2026-11-23T10:30", &berlin()).unwrap();
    let include = vec![cron(noon), tokyo, once, every(12 * 3600)];
    let timing = compose(&Composition::of(include, berlin()));
    assert_eq!(
        fires(&timing, "2026-11-23T00:00", 6),
        ["11-23 01:00", "11-23 04:00", "11-23 10:30", "11-23 12:00", "11-23 13:00", "11-24 01:00"]
    );
}

#[test]
fn an_exclude_takes_away_the_instants_at_which_it_fires() {
    let timing = compose(&rules(&["*/30 * * * *"], &["* 9-17 * * 1-5", "30 * * * *"]));
    assert_eq!(fires(&timing, "2026-11-23T07:00", 3), ["11-23 08:00", "11-23 18:00", "11-23 19:00"]);
    // An exclude that never fires together with an include takes nothing away.
    let timing = compose(&rules(&["0 9 * * *"], &["1 * * * *"]));
    assert_eq!(fires(&timing, "2026-11-23T07:00", 2), ["11-23 09:00", "11-24 09:00"]);
}

#[test]
fn an_exclude_follows_its_own_daylight_saving_rule() {
    // 02:30 is missing on the 29th: the include fires at 03:00, where the exclude has nothing to say.
    let timing = compose(&rules(&["30 2 * * *"], &["*/30 2 * * *"]));
    // Each year's last Sunday of March.
    assert_eq!(
        fires(&timing, "2026-03-28T12:00", 4),
        ["03-29 03:00", "03-28 03:00", "03-26 03:00", "03-25 03:00"]
    );
    // A fixed exclude sees the first pass of a repeated hour only, so the second one stays.
    let timing = compose(&rules(&["*/30 2 25 10 *"], &["0,30 2 * * *"]));
    let second_pass = timing.next(at("2026-10-25T00:00")).map(|fire| format_local(fire, &berlin()));
    assert_eq!(second_pass.as_deref(), Some("2026-10-25T02:00:00+01:00"));
}

#[test]
fn a_fixed_exclude_is_not_taken_to_be_dense_in_the_second_pass() {
    // It fires at each minute of the first pass and of the hours around, and at none of the second pass.
    let timing = compose(&rules(&["*/30 * 25 10 *"], &["0-59 0-23 * * *"]));
    let (first, second) = (at("2026-10-25T01:00Z"), at("2026-10-25T01:30Z"));
    assert_eq!(
        timing.between(at("2026-10-24T00:00"), at("2026-10-27T00:00")).collect::<Vec<_>>(),
        [first, second]
    );
    assert_eq!(timing.previous(at("2026-10-27T00:00")), Some(second));
    assert_eq!(timing.previous(second), Some(first));
}

#[test]
fn calendars_limit_the_instants() {
    let outside =
        with_calendar(rules(&["0 9 * * *"], &[]), CalendarMode::Exclude, &["*-12-25", "*-12-26"], &[]);
    assert_eq!(
        fires(&compose(&outside), "2026-12-24T00:00", 3),
        ["12-24 09:00", "12-27 09:00", "12-28 09:00"]
    );
    let inside =
        with_calendar(rules(&["0 9 * * *"], &[]), CalendarMode::Include, &["*-12-25", "*-12-26"], &[]);
    assert_eq!(
        fires(&compose(&inside), "2026-12-24T00:00", 3),
        ["12-25 09:00", "12-26 09:00", "12-25 09:00"]
    );
    // Inside every Include calendar, outside every Exclude one.
    let both = with_calendar(inside, CalendarMode::Include, &[], &[("2026-12-26T00:00", "2030-01-01T00:00")]);
    let both = with_calendar(both, CalendarMode::Exclude, &["2027-12-25"], &[]);
    assert_eq!(fires(&compose(&both), "2026-12-24T00:00", 3), ["12-26 09:00", "12-26 09:00", "12-25 09:00"]);
}

#[test]
fn a_long_freeze_keeps_its_instants_and_names_the_calendar() {
    let periods = [("2026-11-27T18:00", "2026-11-30T06:00")];
    let timing = compose(&with_calendar(rules(&["0 9 * * *"], &[]), CalendarMode::Freeze, &[], &periods));
    assert_eq!(fires(&timing, "2026-11-27T00:00", 3), ["11-27 09:00", "11-28 09:00", "11-29 09:00"]);
    assert_eq!(timing.frozen_by(at("2026-11-27T09:00")), None);
    assert_eq!(timing.frozen_by(at("2026-11-28T09:00")), Some("holidays"));
    assert_eq!(timing.frozen_by(at("2026-11-30T06:00")), None);
    assert_eq!(cron("0 9 * * *").frozen_by(at("2026-11-28T09:00")), None);
}

#[test]
fn start_and_end_are_half_open() {
    let (start, end) = (at("2026-11-23T09:00"), at("2026-11-25T09:00"));
    let limited = Composition { start_at: Some(start), end_at: Some(end), ..rules(&["0 9 * * *"], &[]) };
    let timing = compose(&limited);
    assert_eq!(fires(&timing, "1990-01-01T00:00", 9), ["11-23 09:00", "11-24 09:00"]);
    assert_eq!((timing.next(i64::MIN), timing.next(end - 1)), (Some(start), None));
    assert_eq!((timing.previous(i64::MAX), timing.previous(start)), (Some(at("2026-11-24T09:00")), None));
    assert_eq!(timing.count_between(i64::MIN, i64::MAX, 10), 2);
    let shifted = Composition { start_at: Some(start + 1), ..limited };
    assert_eq!(compose(&shifted).next(i64::MIN), Some(at("2026-11-24T09:00")));
}

#[test]
fn a_single_rule_is_itself() {
    let plain = cron("0 9 * * *");
    let composed = compose(&Composition::of(vec![plain.clone()], TimeZone::utc()));
    assert_eq!(composed, plain);
    assert_eq!((composed.canonical(), composed.time_zone()), (plain.canonical(), Some(&berlin())));
    assert_eq!(composed.resolved_expression(), Some("0 9 * * *"));
    assert_eq!(compose(&rules(&["0 9 * * *", "0 9 * * *"], &[])), plain);
    assert_ne!(compose(&rules(&["0 9 * * *"], &["0 9 1 1 *"])), plain);
}

#[test]
fn compositions_that_say_the_same_are_equal() {
    let one = compose(&rules(&["0 9 * * *", "0 12 * * *"], &["0 9 1 1 *", "0 9 2 1 *"]));
    let other = compose(&rules(&["0 12 * * *", "0 9 * * *", "0 9 * * *"], &["0 9 2 1 *", "0 9 1 1 *"]));
    assert_eq!(one, other);
    let with = |days: &[&str]| {
        compose(&with_calendar(rules(&["0 9 * * *"], &[]), CalendarMode::Exclude, days, &[]))
            .canonical()
            .to_owned()
    };
    assert_eq!(with(&["*-12-25", "*-12-26"]), with(&["*-12-26", "*-12-25", "*-12-25"]));
    assert_ne!(with(&["*-12-25"]), with(&["*-12-24"]));
}

#[test]
fn limits_are_said() {
    let refusal =
        |composition: &Composition| Timing::compose(composition, NeverFiring::Allow).unwrap_err().to_string();
    assert!(refusal(&rules(&[], &["0 9 * * *"])).contains("at least one rule to include"));
    let many: Vec<Timing> = (0..COMPOSITION_RULES_MAX as i64).map(|at| Timing::at(at * 1000)).collect();
    let most = Composition::of(many, berlin());
    assert_eq!(compose(&most).count_between(-1, i64::MAX, 100), 64);
    let too_many = Composition { exclude: vec![cron("0 9 * * *")], ..most.clone() };
    assert!(refusal(&too_many).contains("has 65 rules: at most 64"));
    let nested = Composition { exclude: vec![compose(&most)], ..rules(&["0 9 * * *"], &[]) };
    assert!(refusal(&nested).contains("cannot be a composition itself"));
    let limited = Composition { end_at: Some(9), ..Composition::of(vec![compose(&most)], berlin()) };
    assert!(refusal(&limited).contains("cannot be a composition itself"));
    let backward = Composition { start_at: Some(60_000), end_at: Some(60_000), ..rules(&["0 9 * * *"], &[]) };
    assert!(refusal(&backward).contains("the end 1970-01-01T00:01:00Z is not after the start"));
    let mut calendars = rules(&["0 9 * * *"], &[]);
    for _ in 0..=COMPOSITION_CALENDARS_MAX {
        calendars = with_calendar(calendars, CalendarMode::Exclude, &["*-12-25"], &[]);
    }
    assert!(refusal(&calendars).contains("uses 17 calendars: at most 16"));
}

#[test]
fn what_leaves_no_instant_is_refused_unless_allowed() {
    let all_year = [("1970-01-01T00:00Z", "2101-01-01T00:00Z")];
    let utc = TimeZone::utc();
    let every_minute_in_utc =
        Timing::parse_cron("* * * * *", &utc, NeverFiring::Refuse, &HashSeed::new("", "")).unwrap();
    let none = [
        rules(&["0 9 * * *"], &["0 9 * * *"]),
        // Dense excludes are jumped over: no budget is needed to know that nothing is left.
        rules(&["* * * * *"], &["* * * * * *"]),
        rules(&["* * * * * *"], &["* * * * * *"]),
        rules(&["0 9 31 2 *", "0 9 30 2 *"], &[]),
        // The include's zone changes twice a year, the exclude's never.
        Composition { exclude: vec![every_minute_in_utc.clone()], ..rules(&["* * * * *"], &[]) },
        Composition { exclude: vec![every(1)], ..rules(&["* * * * * *"], &[]) },
        Composition { end_at: Some(-5), ..rules(&["0 9 * * *"], &[]) },
        Composition { start_at: Some(HORIZON_UNIX_MILLIS), ..rules(&["0 9 * * *"], &[]) },
        with_calendar(rules(&["* * * * * *"], &[]), CalendarMode::Exclude, &[], &all_year),
        with_calendar(rules(&["* * * * * *"], &[]), CalendarMode::Include, &[], &[]),
        // Only the bound of the search ends this one: each minute of each day goes one by one.
        rules(&["* * * * *"], &["0-58 * * * *", "59 * * * *"]),
    ];
    for composition in none {
        let refused = Timing::compose(&composition, NeverFiring::Refuse);
        assert_eq!(refused.err(), Some(CompositionError::NeverFires), "{composition:?}");
        let timing = Timing::compose(&composition, NeverFiring::Allow).unwrap();
        assert_eq!((timing.next(at("2026-01-01T00:00")), timing.previous(i64::MAX)), (None, None));
        assert!(!timing.warnings().is_empty());
    }
}

#[test]
fn long_exclusions_are_jumped_over() {
    // Eleven months of seconds, in another zone and with another rule than the include's.
    let timing = compose(&rules(&["* * * * * *"], &["* * * * 1-11 *"]));
    assert_eq!(timing.next(at("2026-12-31T23:59:59")), Some(at("2027-12-01T00:00")));
    let timing = compose(&rules(&["* * * * * *"], &["* * * * 1-11 *", "* * * 1-30 * *"]));
    assert_eq!(fires(&timing, "2026-01-01T00:00", 2), ["12-31 00:00", "12-31 00:00"]);
    let utc = TimeZone::utc();
    let exclude =
        Timing::parse_cron("* * * 1-11 *", &utc, NeverFiring::Refuse, &HashSeed::new("", "")).unwrap();
    let timing =
        compose(&Composition { exclude: vec![exclude], ..Composition::of(vec![every(60)], berlin()) });
    assert_eq!(fires(&timing, "2026-01-01T01:00", 2), ["12-01 01:00", "12-01 01:01"]);
}
