//! Trouble that other schedulers had, one test each, with the issue it comes from.

use belfry_timing::{
    CalendarRule, Composition, HashSeed, Mark, NeverFiring, TimeZone, Timing, format_local, format_time,
    parse_time, spread_offset_millis,
};

fn zone(name: &str) -> TimeZone {
    TimeZone::parse(name).unwrap()
}

fn cron(expression: &str, zone_name: &str) -> Timing {
    Timing::parse_cron(expression, &zone(zone_name), NeverFiring::Refuse, &HashSeed::new("", "")).unwrap()
}

/// The fires between two times, as local times.
fn fires(timing: &Timing, zone_name: &str, from: &str, until: &str) -> Vec<String> {
    let zone = zone(zone_name);
    let at = |text: &str| parse_time(text, &zone).unwrap();
    timing
        .between(at(from) - 1, at(until))
        .map(|fire| format_local(fire, &zone)[5..16].replace('T', " "))
        .collect()
}

/// nomad#5410: a rule for 02:00 was evaluated many thousands of times on the day New York skipped that hour,
/// because its next time was not after the instant asked about.
#[test]
fn a_change_of_the_clocks_does_not_fire_a_rule_over_and_over() {
    let timing = cron("0 2 * * *", "America/New_York");
    let day = fires(&timing, "America/New_York", "2019-03-09T12:00", "2019-03-11T12:00");
    assert_eq!(day, ["03-10 03:00", "03-11 02:00"]);
    // Asked at each second around the change, it has one next fire before it and another one after.
    let change = parse_time("2019-03-10T07:00Z", &TimeZone::utc()).unwrap();
    for after in (change - 7_200_000..change).step_by(1000) {
        assert_eq!(timing.next(after), Some(change));
    }
    for after in (change..change + 7_200_000).step_by(1000) {
        assert_eq!(timing.next(after), Some(change + 23 * 3_600_000));
    }
}

/// temporal#3059: the limit that keeps a spread run before the next instant was computed from a next instant that did not
/// exist, and runs came up to 50 days late.
#[test]
fn no_run_is_spread_past_the_next_instant() {
    let timing = cron("*/5 2 * * *", "Europe/Berlin");
    let utc = TimeZone::utc();
    let (from, until) = ("2026-10-24T12:00Z", "2026-10-26T12:00Z");
    let (from, until) = (parse_time(from, &utc).unwrap(), parse_time(until, &utc).unwrap());
    for uid in (0..50).map(|number: u32| format!("uid-{number}")) {
        let spread = |fire: i64| {
            fire + spread_offset_millis(&uid, 3_600_000, timing.next(fire).map(|next| next - fire))
        };
        let due: Vec<i64> = timing.between(from, until).map(spread).collect();
        assert_eq!(due.len(), 36);
        assert!(due.windows(2).all(|pair| pair[0] < pair[1]), "{uid}: {due:?}");
        for (fire, due) in timing.between(from, until).zip(&due) {
            assert!(fire <= *due && timing.next(fire).is_none_or(|next| *due < next));
        }
    }
}

/// quartz#1104, quartz#81: rules that follow real time stopped for the repeated hour.
#[test]
fn a_rhythm_goes_on_through_the_repeated_hour() {
    let timing = cron("*/15 * * * * *", "Europe/Berlin");
    let before = parse_time("2026-10-25T00:00Z", &TimeZone::utc()).unwrap();
    let found: Vec<i64> = timing.between(before, before + 3 * 3_600_000).collect();
    assert_eq!(found.len(), 3 * 240);
    assert!(found.windows(2).all(|pair| pair[1] - pair[0] == 15_000));
}

/// quartz#1138: with Casablanca's clocks changing for Ramadan, a rule for one day a year was said never to fire.
#[test]
fn a_rule_of_one_day_a_year_meets_a_change_of_ramadan() {
    let timing = cron("29 5 2 23 2 *", "Africa/Casablanca");
    let after = parse_time("2025-02-23T02:45:10", &zone("Africa/Casablanca")).unwrap();
    assert_eq!(timing.next(after).map(format_time).as_deref(), Some("2026-02-23T02:05:29Z"));
}

/// spring#28245: the run of 02:30 was dropped on the day the clocks skipped it, whichever way the zone was given.
#[test]
fn a_run_in_the_gap_is_late_and_not_lost() {
    let timing = cron("0 30 2 * * ?", "Europe/Zurich");
    let days = fires(&timing, "Europe/Zurich", "2022-03-26T12:00", "2022-03-28T12:00");
    assert_eq!(days, ["03-27 03:00", "03-28 02:30"]);
    let late = parse_time("2022-03-27T03:00", &zone("Europe/Zurich")).unwrap();
    let wall_time = "2022-03-27T02:30:00".to_owned();
    assert_eq!(timing.mark(late), Some(Mark::MovedByGap { wall_time }));
}

/// spring#28038, spring#28095: asked on the day of a change, the next day was left out; or it was found twice.
#[test]
fn the_day_after_a_change_is_not_left_out() {
    let timing = cron("0 5 0 * * *", "Europe/Amsterdam");
    let spring = fires(&timing, "Europe/Amsterdam", "2021-03-28T01:00", "2021-03-30T12:00");
    assert_eq!(spring, ["03-29 00:05", "03-30 00:05"]);
    let autumn = fires(&timing, "Europe/Amsterdam", "2019-10-27T01:05", "2019-10-28T12:00");
    assert_eq!(autumn, ["10-28 00:05"]);
}

/// spring#36859: where the clocks skip midnight, as in Cairo, the whole day was skipped.
#[test]
fn a_day_without_a_midnight_still_fires() {
    let timing = cron("0 */2 * * *", "Africa/Cairo");
    let day = fires(&timing, "Africa/Cairo", "2025-04-24T22:00", "2025-04-25T06:00");
    assert_eq!(day, ["04-24 22:00", "04-25 02:00", "04-25 04:00", "04-25 06:00"]);
}

/// cron-utils#446: asked on the day itself, the date's rule for next year answered with the same instant, or a past one
/// (cron-utils#623).
#[test]
fn asking_again_from_an_answer_moves_on() {
    for (expression, zone_name) in [
        ("0 2 25 10 *", "Europe/Rome"),
        ("0 0 23 * * *", "Europe/Kyiv"),
        ("*/20 1 * 4 *", "Australia/Lord_Howe"),
        ("0 0 * 12 *", "Pacific/Apia"),
    ] {
        let timing = cron(expression, zone_name);
        let mut at = parse_time("2010-01-01T00:00", &zone(zone_name)).unwrap();
        for _ in 0..2_000 {
            let Some(next) = timing.next(at) else { break };
            assert!(next > at, "TIMING-1");
            // Whoever stands between two fires sees the one on either side.
            assert_eq!(timing.previous(next + 1), Some(next));
            assert_eq!(timing.next(next - 1), Some(next));
            at = next;
        }
    }
}

/// quartznet#587: after the change of November, weekly and monthly fires were an hour late for good.
#[test]
fn wall_times_do_not_drift_with_the_offset() {
    let rule = CalendarRule::parse("weekdays=SUN,MON times=07:11").unwrap();
    let rule = Timing::calendar(&rule, &zone("America/New_York"), NeverFiring::Refuse).unwrap();
    for timing in [cron("11 7 * * SUN,MON", "America/New_York"), rule] {
        let days = fires(&timing, "America/New_York", "2017-10-29T12:00", "2017-11-07T12:00");
        assert_eq!(days, ["10-30 07:11", "11-05 07:11", "11-06 07:11"]);
    }
}

/// argo-workflows#7868: a weekly outage had to be patched into the schedule by suspending it; here it is an exclude.
#[test]
fn a_weekly_outage_is_an_exclude() {
    let (all, outage) = (cron("*/10 * * * *", "UTC"), cron("* 22-23 * * SAT", "UTC"));
    let composition = Composition { exclude: vec![outage], ..Composition::of(vec![all], TimeZone::utc()) };
    let timing = Timing::compose(&composition, NeverFiring::Refuse).unwrap();
    let evening = fires(&timing, "UTC", "2026-11-28T21:40", "2026-11-29T00:10");
    assert_eq!(evening, ["11-28 21:40", "11-28 21:50", "11-29 00:00", "11-29 00:10"]);
}

/// airflow#35558: after the night in which Paris got its hour back, the next run of a rule for 07:00 to 21:00 was computed
/// as one that had been, over and over, and nothing ran any more.
#[test]
fn a_working_day_follows_the_night_with_an_hour_more() {
    let timing = cron("0 7-21 * * *", "Europe/Paris");
    let fires = fires(&timing, "Europe/Paris", "2023-10-28T20:30", "2023-10-29T08:30");
    assert_eq!(fires, ["10-28 21:00", "10-29 07:00", "10-29 08:00"]);
    let day = parse_time("2023-10-28T00:00", &zone("Europe/Paris")).unwrap();
    // 15 instants on each of three days, one of which has 25 hours.
    assert_eq!(timing.between(day, day + 73 * 3_600_000).count(), 45);
}

/// airflow#30195: when Toronto skipped 02:00, two runs of a rule for every second hour started at one time, and then none.
#[test]
fn every_second_hour_goes_on_behind_a_gap() {
    let timing = cron("0 */2 * * *", "America/Toronto");
    let fires = fires(&timing, "America/Toronto", "2023-03-11T22:00", "2023-03-12T08:00");
    assert_eq!(fires, ["03-11 22:00", "03-12 00:00", "03-12 04:00", "03-12 06:00", "03-12 08:00"]);
    let change = parse_time("2023-03-12T07:00Z", &TimeZone::utc()).unwrap();
    assert_eq!(
        timing.between(change - 1, change).count(),
        0,
        "02:00 is not made up for, nor is 03:00 one of them"
    );
}

/// hangfire#529: a wall time that the clocks skipped was no valid time, and the whole scheduler failed on it, for days.
#[test]
fn a_time_that_does_not_exist_is_no_error() {
    for expression in ["* * * * *", "0 2 * * *", "30 2 * * *", "*/5 2 * * SUN", "0 30 2 13 3 *"] {
        let timing = cron(expression, "America/Chicago");
        let change = parse_time("2016-03-13T08:00Z", &TimeZone::utc()).unwrap();
        for after in (change - 7_200_000..change + 7_200_000).step_by(60_000) {
            assert!(timing.next(after).is_some_and(|next| next > after), "{expression} after {after}");
        }
    }
    let two = cron("0 2 * * *", "America/Chicago");
    let days = fires(&two, "America/Chicago", "2016-03-12T12:00", "2016-03-14T12:00");
    assert_eq!(days, ["03-13 03:00", "03-14 02:00"]);
}

/// healthchecks#912: on the night when New York got its hour back, the ping of 01:00 was missing: the machine that should
/// have sent it skipped the instant at which its clock was set. Whoever watches expects eight instants in these two hours.
#[test]
fn the_instant_of_the_change_itself_is_not_left_out() {
    let timing = cron("*/15 * * * *", "America/New_York");
    let change = parse_time("2023-11-05T06:00Z", &TimeZone::utc()).unwrap();
    let found: Vec<i64> = timing.between(change - 3_600_001, change + 3_599_999).collect();
    assert_eq!(found.len(), 8);
    assert!(found.contains(&change) && found.windows(2).all(|pair| pair[1] - pair[0] == 900_000));
}

/// quartz#674: its text is in none of our stores. What Quartz is known for moves on import: there days of the week count
/// from Sunday, and the day of the month and the day of the week must both match.
#[test]
fn a_quartz_expression_is_read_as_vixie_reads_it() {
    let second_day = cron("0 0 12 ? * 2", "UTC");
    let days = fires(&second_day, "UTC", "2026-11-22T00:00", "2026-11-29T00:00");
    assert_eq!(days, ["11-24 12:00"], "2 is Tuesday");
    for sunday in ["0 0 12 ? * 0", "0 0 12 ? * 7", "0 0 12 ? * SUN"] {
        let days = fires(&cron(sunday, "UTC"), "UTC", "2026-11-22T00:00", "2026-11-28T00:00");
        assert_eq!(days, ["11-22 12:00"], "{sunday}");
    }
    let either = fires(&cron("0 0 12 13 * FRI", "UTC"), "UTC", "2026-11-10T00:00", "2026-11-22T00:00");
    assert_eq!(either, ["11-13 12:00", "11-20 12:00"]);
}
