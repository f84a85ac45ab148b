//! Instants far out, and expressions that make a search long (TIMING-1, TIMING-2, TIMING-3).

use belfry_timing::{HORIZON_UNIX_MILLIS, HashSeed, NeverFiring, TimeZone, Timing, format_time, parse_time};

const ZONES: [&str; 6] =
    ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia", "Africa/Monrovia"];

fn timing(expression: &str, zone: &str) -> Timing {
    let zone = TimeZone::parse(zone).unwrap();
    Timing::parse_cron(expression, &zone, NeverFiring::Allow, &HashSeed::new("", "")).unwrap()
}

#[test]
fn the_ends_of_time_are_answered() {
    for zone in ZONES {
        for expression in
            ["* * * * *", "* * * * * *", "30 2 * * *", "0 0 29 2 *", "0 0 30 2 *", "0 0 L * 5L", "@every 1s"]
        {
            let timing = timing(expression, zone);
            for after in
                [i64::MIN, i64::MIN + 1, -1, 0, 1, HORIZON_UNIX_MILLIS - 1, HORIZON_UNIX_MILLIS, i64::MAX]
            {
                if let Some(fire) = timing.next(after) {
                    assert!(
                        fire > after && (0..HORIZON_UNIX_MILLIS).contains(&fire),
                        "{expression} {zone} {after}"
                    );
                }
            }
            assert_eq!(timing.next(i64::MAX), None);
            assert_eq!(timing.next(HORIZON_UNIX_MILLIS - 1), None);
            assert_eq!(timing.between(i64::MAX, i64::MIN).count(), 0);
            assert_eq!(timing.between(0, 0).count(), 0);
        }
    }
    assert_eq!(timing("* * * * *", "UTC").next(i64::MIN), Some(0));
    assert_eq!(format_time(HORIZON_UNIX_MILLIS), "2101-01-01T00:00:00Z");
}

#[test]
fn the_last_fires_before_the_horizon_are_found() {
    let last = |expression: &str, zone: &str, after: &str| {
        let zone = TimeZone::parse(zone).unwrap();
        let after = parse_time(after, &zone).unwrap();
        let fires: Vec<String> =
            timing(expression, zone.name()).between(after, i64::MAX).map(format_time).collect();
        fires.last().cloned()
    };
    assert_eq!(last("0 12 * * *", "UTC", "2100-12-30T00:00").as_deref(), Some("2100-12-31T12:00:00Z"));
    // East of Greenwich the wall's year 2100 ends first, west of it the year of UTC does.
    assert_eq!(
        last("0 * * * *", "Europe/Berlin", "2100-12-31T00:00").as_deref(),
        Some("2100-12-31T22:00:00Z")
    );
    assert_eq!(
        last("0 * * * *", "America/New_York", "2100-12-31T00:00").as_deref(),
        Some("2100-12-31T23:00:00Z")
    );
}

#[test]
fn expressions_that_search_long_are_answered() {
    for zone in ZONES {
        for expression in [
            "0 0 29 2 1#5",
            "0 0 */2 2 1#5",
            "0 0 29-31 2 *",
            "59 59 23 31W 2 *",
            "0 0 31W 2,4,6,9,11 *",
            "* * 31W */2 0#5",
            "* * 30 2 ?",
            "* * 31 2,4,6,9,11 *",
            "* * * 31W 2,4,6,9,11 ?",
            "0 0 ? 2 0#5,1#5,2#5,3#5,4#5,5#5,6#5",
        ] {
            let timing = timing(expression, zone);
            let fires: Vec<i64> = timing.between(i64::MIN, i64::MAX).take(40).collect();
            assert!(fires.windows(2).all(|pair| pair[0] < pair[1]), "{expression}: {fires:?}");
        }
    }
    // A leap day that is a Monday, from the last one to the next: 28 years, or 40 over a century without a leap year.
    let utc = TimeZone::utc();
    let after = parse_time("2016-03-01T00:00", &utc).unwrap();
    let fires: Vec<String> =
        timing("0 0 */28 2 1#5", "UTC").between(after, i64::MAX).map(format_time).collect();
    assert_eq!(fires, ["2044-02-29T00:00:00Z", "2072-02-29T00:00:00Z"]);
}

#[test]
fn a_single_instant_fires_once() {
    let at = Timing::at(5_000);
    assert_eq!(at.next(i64::MIN), Some(5_000));
    assert_eq!(at.next(4_999), Some(5_000));
    assert_eq!(at.next(5_000), None);
    assert_eq!(at.between(0, i64::MAX).collect::<Vec<_>>(), [5_000]);
    assert_eq!(Timing::at(-1).next(i64::MIN), None);
    assert_eq!(Timing::at(i64::MAX).next(0), None);
    assert_eq!(at.resolved_expression(), None);
}
