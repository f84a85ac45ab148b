//! Timings in plain English.

use std::{sync::Arc, time::Duration};

use belfry_timing::{
    Calendar, CalendarMode, CalendarRule, CalendarUse, Composition, HashSeed, NeverFiring, TimeZone, Timing,
    parse_time,
};

fn cron(expression: &str, zone: &str) -> Timing {
    let zone = TimeZone::parse(zone).unwrap();
    Timing::parse_cron(expression, &zone, NeverFiring::Allow, &HashSeed::new("prod", "backup")).unwrap()
}

/// What an expression in UTC says, which has no change of the clocks to tell of.
fn said(expression: &str) -> String {
    let words = cron(expression, "UTC").describe();
    words.strip_suffix(" in UTC.").unwrap_or(&words).to_owned()
}

fn rule(text: &str) -> String {
    let rule = CalendarRule::parse(text).unwrap();
    let words = Timing::calendar(&rule, &TimeZone::utc(), NeverFiring::Allow).unwrap().describe();
    words.strip_suffix(" in UTC.").unwrap_or(&words).to_owned()
}

#[test]
fn expressions_are_told() {
    for (expression, expected) in [
        ("* * * * *", "Every minute"),
        ("* * * * * *", "Every second"),
        ("*/10 * * * * *", "Every 10 seconds"),
        ("*/5 * * * *", "Every 5 minutes"),
        ("0 * * * *", "Every hour on the hour"),
        ("30 * * * *", "At minute 30 of every hour"),
        ("5,35 * * * *", "At minutes 5 and 35 of every hour"),
        ("*/7 * * * *", "At minutes 0, 7, 14, 21, 28, 35, 42, 49 and 56 of every hour"),
        ("0 */2 * * *", "At minute 0 of every 2nd hour every day"),
        ("0 9 * * *", "At 09:00 every day"),
        ("30 8 * * 1-5", "At 08:30 on Monday to Friday"),
        ("0 9,12,18 * * 6,0", "At 09:00, 12:00 and 18:00 on Saturday and Sunday"),
        ("30 0 9 * * *", "At 09:00:30 every day"),
        ("*/15 9-17 * * MON-FRI", "Every 15 minutes during hours 9 to 17 on Monday to Friday"),
        ("* 2 * * *", "Every minute during hour 2 every day"),
        ("0 0 1 1 *", "At 00:00 on day 1 of the month in January"),
        ("0 0 * 6-8,12 *", "At 00:00 every day in June to August and December"),
        ("*/5 * * 12 *", "Every 5 minutes every day in December"),
        ("0 0 L * *", "At 00:00 on the last day of the month"),
        ("0 0 LW * *", "At 00:00 on the last working day of the month"),
        ("0 0 1,15W * *", "At 00:00 on day 1 and the working day nearest to day 15 of the month"),
        ("0 0 * * 5L", "At 00:00 on the last Friday of the month"),
        ("0 0 * * 1#2", "At 00:00 on the second Monday of the month"),
        ("0 0 13 * 5", "At 00:00 on day 13 of the month and also on Friday"),
        (
            "0 0 */2 * 5",
            "At 00:00 on days 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29 and 31 of the month if that is Friday",
        ),
        ("0 0 1-31 * 5", "At 00:00 every day"),
        ("H H * * *", "At 13:05 every day"),
        ("5 */20 * * * *", "At second 5 of minutes 0, 20 and 40 of every hour"),
        ("1,2,3 * 8,9 * * *", "At seconds 1 to 3 of every minute during hours 8 and 9 every day"),
        ("0 0 31 2 *", "At 00:00 on day 31 of the month in February"),
        ("@every 90s", "Every 1m30s, counted from 1970-01-01T00:00:00Z."),
    ] {
        assert_eq!(said(expression), expected, "{expression}");
    }
}

#[test]
fn calendar_rules_are_told() {
    for (text, expected) in [
        ("times=09:00,18:30", "At 09:00 and 18:30 every day"),
        ("days=-1 months=1,7 times=09:00", "At 09:00 on the last day of the month in January and July"),
        (
            "days=1,-2 years=2027 times=09:00",
            "At 09:00 on day 1 and the 2nd day from the end of the month in 2027",
        ),
        (
            "weekdays=MON#1,FRI#-1 times=09:00",
            "At 09:00 on the first Monday and the last Friday of the month",
        ),
        (
            "weekdays=SUN,SAT,FRI#-2 months=5 years=2026,2027 times=00:00:30",
            "At 00:00:30 on Saturday and Sunday and the second last Friday of the month in May of 2026 and 2027",
        ),
        ("days=13 weekdays=FRI times=09:00", "At 09:00 on day 13 of the month if that is Friday"),
        (
            "times=01:00,02:00,03:00,04:00,05:00,06:00,07:00,08:00,09:00",
            "At 9 times from 01:00 to 09:00 every day",
        ),
    ] {
        assert_eq!(rule(text), expected, "{text}");
    }
}

#[test]
fn the_class_is_told_where_clocks_change() {
    assert_eq!(
        cron("30 2 * * *", "Europe/Berlin").describe(),
        "At 02:30 every day by the clocks of Europe/Berlin. This is fixed: a time that the clocks jump over fires right \
         after the jump, and one that they show twice fires the first time only."
    );
    assert_eq!(
        cron("*/5 * * * *", "Europe/Berlin").describe(),
        "Every 5 minutes by the clocks of Europe/Berlin. This is a rhythm: it follows real time, with nothing made up for \
         when the clocks jump and both passes of a repeated hour."
    );
    assert_eq!(cron("30 2 * * *", "Etc/GMT-3").describe(), "At 02:30 every day by the clocks of Etc/GMT-3.");
}

#[test]
fn single_instants_are_told() {
    assert_eq!(Timing::at(1_795_399_200_000).describe(), "Once, at 2026-11-23T02:00:00Z.");
    let berlin = TimeZone::parse("Europe/Berlin").unwrap();
    assert_eq!(
        Timing::at_local("2026-12-24T18:00", &berlin).unwrap().describe(),
        "Once, at 2026-12-24T18:00:00 by the clocks of Europe/Berlin."
    );
    let shifted = Timing::every(Duration::from_secs(3600), Duration::from_secs(900)).unwrap();
    assert_eq!(shifted.describe(), "Every 1h, counted from 1970-01-01T00:00:00Z, 15m later.");
}

#[test]
fn compositions_are_told() {
    let berlin = TimeZone::parse("Europe/Berlin").unwrap();
    let calendar = |name: &str, mode| CalendarUse {
        calendar: Arc::new(Calendar::parse(name, None, &["*-12-25"], &[]).unwrap()),
        mode,
    };
    let composition = Composition {
        exclude: vec![cron("* 12 * * *", "UTC")],
        calendars: vec![
            calendar("trading", CalendarMode::Include),
            calendar("holidays", CalendarMode::Exclude),
            calendar("summer", CalendarMode::Exclude),
            calendar("freeze", CalendarMode::Freeze),
        ],
        start_at: Some(parse_time("2026-11-23T02:00", &berlin).unwrap()),
        end_at: Some(parse_time("2027-11-23T02:00", &berlin).unwrap()),
        ..Composition::of(vec![cron("*/5 * * * *", "UTC"), cron("0 9 * * 1", "UTC")], berlin)
    };
    let timing = Timing::compose(&composition, NeverFiring::Allow).unwrap();
    assert_eq!(
        timing.describe(),
        "Each of: at 09:00 on Monday in UTC; every 5 minutes in UTC. Except every minute during hour 12 every day in UTC. \
         Only inside the calendar `trading`. Not inside the calendars `holidays` and `summer`. Nothing \
         is started inside the calendar `freeze`: its instants are skipped with that reason. From \
         2026-11-23T02:00:00+01:00 and before 2027-11-23T02:00:00+01:00."
    );
}
