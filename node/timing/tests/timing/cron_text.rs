//! What expressions mean and which are refused.

use belfry_timing::{CronError, HashSeed, NeverFiring, TimeZone, Timing, format_time, parse_time};

fn parse(expression: &str, never: NeverFiring) -> Result<Timing, CronError> {
    Timing::parse_cron(expression, &TimeZone::utc(), never, &HashSeed::new("prod", "backup"))
}

fn timing(expression: &str) -> Timing {
    parse(expression, NeverFiring::Refuse).unwrap_or_else(|error| panic!("{expression}: {error}"))
}

/// The first fires after a time, as days and times without seconds.
fn fires(expression: &str, after: &str, count: usize) -> Vec<String> {
    let after = parse_time(after, &TimeZone::utc()).unwrap();
    let timing = timing(expression);
    timing
        .between(after, i64::MAX)
        .take(count)
        .map(|fire| format_time(fire)[..16].replace('T', " "))
        .collect()
}

/// The days of a month on which something fires.
fn days(expression: &str, month: &str) -> Vec<u32> {
    let zone = TimeZone::utc();
    let first = parse_time(&format!("{month}-01T00:00"), &zone).unwrap();
    let timing = timing(expression);
    let fires = timing.between(first - 1, first + 31 * 86_400_000 - 1).map(format_time);
    fires.filter(|fire| fire.starts_with(month)).map(|fire| fire[8..10].parse().unwrap()).collect()
}

fn check_days(expression: &str, month: &str, expected: &[u32]) {
    assert_eq!(days(expression, month), expected, "{expression} in {month}");
}

/// The column and the message of a refusal.
fn check_refused(expression: &str, column: impl Into<Option<usize>>, part: &str) {
    let error = match parse(expression, NeverFiring::Refuse) {
        Ok(timing) => panic!("{expression:?} was accepted as {timing:?}"),
        Err(error) => error,
    };
    let message = error.to_string();
    assert!(message.contains(part), "{expression:?}: {message}");
    assert_eq!(error.column(), column.into(), "{expression:?}: {message}");
    assert!(!message.contains('\n') && !message.ends_with('.'), "{message}");
    assert!(message.starts_with(|c: char| !c.is_uppercase()), "{message}");
    if let Some(column) = error.column() {
        assert!(message.starts_with(&format!("column {column}: ")), "{message}");
    }
}

fn warnings(expression: &str) -> Vec<String> {
    timing(expression).warnings().iter().map(ToString::to_string).collect()
}

#[test]
fn plain_fields_fire_where_they_say() {
    // 2026-11-23 is a Monday.
    let after = "2026-11-23T02:00";
    assert_eq!(fires("0 9 * * *", after, 2), ["2026-11-23 09:00", "2026-11-24 09:00"]);
    assert_eq!(fires("0 2 * * *", after, 1), ["2026-11-24 02:00"]);
    assert_eq!(fires("*/20 * * * *", after, 3), ["2026-11-23 02:20", "2026-11-23 02:40", "2026-11-23 03:00"]);
    assert_eq!(fires("50/5 2 * * *", after, 3), ["2026-11-23 02:50", "2026-11-23 02:55", "2026-11-24 02:50"]);
    assert_eq!(fires("10-30/15 2 * * *", after, 2), ["2026-11-23 02:10", "2026-11-23 02:25"]);
    assert_eq!(
        fires("5,1,3 2 * * *", after, 3),
        ["2026-11-23 02:01", "2026-11-23 02:03", "2026-11-23 02:05"]
    );
    assert_eq!(fires("0 0 1 1 *", after, 2), ["2027-01-01 00:00", "2028-01-01 00:00"]);
    assert_eq!(fires("0 0 1 JAN,jul *", after, 2), ["2027-01-01 00:00", "2027-07-01 00:00"]);
    assert_eq!(fires("\t 0  9\t*  * *  ", after, 1), ["2026-11-23 09:00"]);
    assert_eq!(fires("00 09 * * *", after, 1), ["2026-11-23 09:00"]);
    assert_eq!(fires("*,5 9 * * *", after, 1), ["2026-11-23 09:00"]);
}

#[test]
fn a_sixth_field_in_front_is_seconds() {
    let after = parse_time("2026-11-23T02:00:00Z", &TimeZone::utc()).unwrap();
    let fires: Vec<i64> =
        timing("*/25 * * * * *").between(after, after + 75_000).map(|fire| fire - after).collect();
    assert_eq!(fires, [25_000, 50_000, 60_000]);
}

#[test]
fn fires_are_strictly_after_to_the_millisecond() {
    let nine = parse_time("2026-11-23T09:00Z", &TimeZone::utc()).unwrap();
    let timing = timing("0 9 * * *");
    assert_eq!(timing.next(nine - 1), Some(nine));
    assert_eq!(timing.next(nine), Some(nine + 86_400_000));
    assert_eq!(timing.next(nine + 1), Some(nine + 86_400_000));
}

#[test]
fn macros_are_aliases() {
    for (name, fields) in [
        ("@yearly", "0 0 1 1 *"),
        ("@annually", "0 0 1 1 *"),
        ("@monthly", "0 0 1 * *"),
        ("@weekly", "0 0 * * 0"),
        ("@daily", "0 0 * * *"),
        ("@midnight", "0 0 * * *"),
        ("@hourly", "0 * * * *"),
        (" @Daily ", "0 0 * * *"),
    ] {
        assert_eq!(timing(name), timing(fields), "{name}");
        assert_eq!(timing(name).resolved_expression(), Some(name));
    }
    let every = timing("@every 1h30m");
    assert_eq!(every.next(0), Some(5_400_000));
    assert_eq!(
        every,
        Timing::every(std::time::Duration::from_secs(5400), std::time::Duration::ZERO).unwrap()
    );
}

#[test]
fn weekdays_have_two_sundays_and_names() {
    // November 2026 begins on a Sunday.
    for sunday in ["0", "7", "SUN", "sun", "0,7", "7-7", "SUN-SUN", "0-SUN", "*/7"] {
        check_days(&format!("0 0 * * {sunday}"), "2026-11", &[1, 8, 15, 22, 29]);
    }
    for (weekdays, expected) in [
        ("MON-FRI", &[2, 3, 4, 5, 6, 9][..]),
        ("1-5", &[2, 3, 4, 5, 6, 9]),
        ("FRI-SUN", &[1, 6, 7, 8]),
        ("5-7", &[1, 6, 7, 8]),
        ("SUN-MON", &[1, 2, 8, 9]),
        ("MON-SUN/3", &[1, 2, 5, 8, 9]),
        ("1/2", &[2, 4, 6, 9]),
        ("7/2", &[1, 3, 5, 7, 8]),
    ] {
        let found = days(&format!("0 0 * * {weekdays}"), "2026-11");
        assert_eq!(found[..expected.len()], *expected, "{weekdays}");
    }
    assert_eq!(timing("0 0 * * 0-7"), timing("0 0 * * *"));
    assert_eq!(timing("0 0 * * MON-SUN"), timing("0 0 * * *"));
}

#[test]
fn day_fields_combine_as_in_vixie_cron() {
    // DAY-1. The Fridays of November 2026 are 6, 13, 20, 27.
    check_days("0 0 13 * 5", "2026-11", &[6, 13, 20, 27]);
    check_days("0 0 1,15 * 5", "2026-11", &[1, 6, 13, 15, 20, 27]);
    check_days("0 0 13 * *", "2026-11", &[13]);
    check_days("0 0 * * 5", "2026-11", &[6, 13, 20, 27]);
    check_days("0 0 ? * 5", "2026-11", &[6, 13, 20, 27]);
    check_days("0 0 13 * ?", "2026-11", &[13]);
    // Begins with a star, so both must match.
    check_days("0 0 */2 * 5", "2026-11", &[13, 27]);
    check_days("0 0 13,20 * */5", "2026-11", &[13, 20]);
    check_days("0 0 *,5 * 5", "2026-11", &[6, 13, 20, 27]);
    // The same days as a star, but not written as one: either is enough.
    check_days("0 0 1-31 * 5", "2026-11", &(1..=30).collect::<Vec<_>>());
    check_days("0 0 13 * 0-6", "2026-11", &(1..=30).collect::<Vec<_>>());
    // A star later in the list does not count.
    check_days("0 0 5,* * 5", "2026-11", &(1..=30).collect::<Vec<_>>());
}

#[test]
fn last_days_and_nearest_weekdays() {
    check_days("0 0 L * *", "2026-02", &[28]);
    check_days("0 0 L * *", "2028-02", &[29]);
    check_days("0 0 l,1 * *", "2026-11", &[1, 30]);
    // 2026-01-31 is a Saturday, 2026-05-31 a Sunday, 2026-03-31 a Tuesday.
    check_days("0 0 LW * *", "2026-01", &[30]);
    check_days("0 0 LW * *", "2026-05", &[29]);
    check_days("0 0 LW * *", "2026-03", &[31]);
    // 2026-11-15 is a Sunday, 2026-08-15 a Saturday, 2026-12-15 a Tuesday.
    check_days("0 0 15W * *", "2026-11", &[16]);
    check_days("0 0 15W * *", "2026-08", &[14]);
    check_days("0 0 15w * *", "2026-12", &[15]);
    // Never out of the month: 2026-08-01 is a Saturday, 2026-11-01 a Sunday, 2026-05-31 a Sunday.
    check_days("0 0 1W * *", "2026-08", &[3]);
    check_days("0 0 1W * *", "2026-11", &[2]);
    check_days("0 0 31W * *", "2026-05", &[29]);
    check_days("0 0 31W * *", "2026-01", &[30]);
    // A month without a 31st has no nearest day to it.
    check_days("0 0 31W * *", "2026-11", &[]);
    check_days("0 0 1W,15,LW * *", "2026-11", &[2, 15, 30]);
}

#[test]
fn nth_and_last_weekdays() {
    // November 2026 has five Sundays (1 to 29) and five Mondays (2 to 30), four of the others.
    check_days("0 0 * * 1#5", "2026-11", &[30]);
    check_days("0 0 * * 2#5", "2026-11", &[]);
    check_days("0 0 * * FRI#1,fri#3", "2026-11", &[6, 20]);
    check_days("0 0 * * 7#1", "2026-11", &[1]);
    check_days("0 0 * * 5L", "2026-11", &[27]);
    check_days("0 0 * * 0L,7L,SUNL", "2026-11", &[29]);
    check_days("0 0 * * MON,5L", "2026-11", &[2, 9, 16, 23, 27, 30]);
    // Either day field is enough, as always.
    check_days("0 0 L * 5L", "2026-11", &[27, 30]);
    check_days("0 0 */9 * 1#2", "2026-11", &[]);
    check_days("0 0 */9 * 5L", "2026-11", &[]);
    check_days("0 0 */2 * 5L", "2026-11", &[27]);
}

#[test]
fn leap_days_and_the_century_without_one() {
    assert_eq!(fires("0 0 29 2 *", "2026-11-23T00:00", 2), ["2028-02-29 00:00", "2032-02-29 00:00"]);
    // 2100 is no leap year, so 2096 has the last one before the horizon.
    assert_eq!(fires("0 0 29 2 *", "2092-03-01T00:00", 3), ["2096-02-29 00:00"]);
    // A fifth Monday in February is a leap day that is a Monday: 2044, then 2072.
    assert_eq!(fires("0 0 * 2 1#5", "2026-11-23T00:00", 3), ["2044-02-29 00:00", "2072-02-29 00:00"]);
    assert_eq!(fires("59 59 23 31 12 *", "2099-12-31T23:59:59", 9), ["2100-12-31 23:59"]);
}

#[test]
fn h_is_resolved_once_and_stays_where_it_was_put() {
    let resolved = |text: &str| timing(text).resolved_expression().unwrap().to_owned();
    // Golden values: a difference here moves every schedule that uses `H`.
    assert_eq!(resolved("H H * * *"), "5 13 * * *");
    assert_eq!(resolved("H/15 * * * *"), "5-59/15 * * * *");
    assert_eq!(resolved(" H(0-29)/10  9-17 * * H"), " 5-29/10  9-17 * * 0");
    assert_eq!(resolved("0 0 h H *"), "0 0 7 5 *");
    assert_eq!(resolved("0 9 * * 1-5"), "0 9 * * 1-5");
    for text in [
        "H H * * *",
        "H/15 * * * *",
        "H(0-29)/10 * * * *",
        "H H H H H H",
        "H(5-5) H(3-4),12 * * *",
        "H/90 * * * *",
    ] {
        assert_eq!(timing(text), timing(&resolved(text)), "{text}");
    }
}

#[test]
fn h_differs_between_schedules_and_stays_in_its_range() {
    let mut minutes = std::collections::BTreeSet::new();
    for number in 0..200 {
        let seed = HashSeed::new("prod", &format!("report-{number}"));
        let resolve = |text: &str| {
            let timing = Timing::parse_cron(text, &TimeZone::utc(), NeverFiring::Refuse, &seed).unwrap();
            timing.resolved_expression().unwrap().to_owned()
        };
        let fields = resolve("H H H H H");
        let values: Vec<u32> = fields.split(' ').map(|value| value.parse().unwrap()).collect();
        assert!(values[0] < 60 && values[1] < 24 && (1..=28).contains(&values[2]), "{fields}");
        assert!((1..=12).contains(&values[3]) && values[4] < 7, "{fields}");
        minutes.insert(values[0]);
        let start: u32 = resolve("H(10-40)/7 * * * *").split('-').next().unwrap().parse().unwrap();
        assert!((10..17).contains(&start));
    }
    assert!(minutes.len() > 50, "{} of 60 minutes used", minutes.len());
}

#[test]
fn never_firing_needs_to_be_meant() {
    for expression in ["0 0 30 2 *", "0 0 31 2,4,6,9,11 *", "0 0 31W 2 *", "0 0 30,31 FEB *"] {
        check_refused(expression, None, "never fires");
        check_refused(expression, None, "--allow-never");
        let timing = parse(expression, NeverFiring::Allow).unwrap();
        assert_eq!(timing.next(0), None);
        assert_eq!(timing.warnings().last().unwrap().to_string(), "never fires: it runs only by hand");
    }
}

#[test]
fn texts_that_are_no_expression_are_refused_with_the_column() {
    for (expression, column, part) in [
        ("* * * *", 8, "found 4 fields instead of five"),
        ("*", 2, "found 1 field instead"),
        ("0 0 12 1 1 ? 2027", 14, "years are not supported"),
        ("0 12 1 1 2027", 10, "years are not supported"),
        ("* * * * * * * *", 13, "found 8 fields"),
        ("0 24 * * *", 3, "`24` in the hour field is out of range: use 0-23"),
        ("60 * * * *", 1, "use 0-59"),
        ("0 0 0 * *", 5, "use 1-31"),
        ("0 0 * 13 *", 7, "use 1-12"),
        ("0 0 * * 8", 9, "use 0-7"),
        ("99999999999999999999 * * * *", 1, "out of range"),
        ("*5 * * * *", 1, "write `*/5` or `5`"),
        ("** * * * *", 1, "`*` or `*/n`"),
        ("****** * * * *", 1, "joins `*` with more text"),
        ("1, * * * *", 3, "`1,` in the minute field lacks a value"),
        (", * * * *", 1, "lacks a value"),
        ("1,,2 * * * *", 3, "lacks a value"),
        ("0 1- * * *", 3, "lacks a value"),
        ("0 -1 * * *", 3, "lacks a value"),
        ("0 /5 * * *", 3, "lacks a value"),
        ("*/ * * * *", 3, "needs a number as its step"),
        ("*/x * * * *", 3, "needs a number as its step"),
        ("*/-5 * * * *", 3, "needs a number as its step"),
        ("*/0 * * * *", 1, "step of zero"),
        ("*/5/5 * * * *", 1, "one `/` too many"),
        ("0 1-2-3 * * *", 3, "one `-` too many"),
        ("x * * * *", 1, "is not a value: use 0-59"),
        ("0 0 * X *", 7, "use 1-12 or a three-letter name"),
        ("0 0 * MON *", 7, "is a day-of-week name"),
        ("0 0 * * JAN", 9, "is a month name"),
        ("0 0 MON * *", 5, "is a day-of-week name"),
        ("0 0 * * MONDAY", 9, "write `MON`"),
        ("0 0 * JAN-June *", 11, "write `JUN`"),
        ("+5 * * * *", 1, "is not a value"),
        ("1.5 * * * *", 1, "is not a value"),
        ("0 9 * * 1-5;", 11, "`5;` in the day-of-week field"),
        ("0 9 * * é", 9, "unexpected character 'é'"),
        ("0 9 * *\n*", 8, "unexpected character '\\n'"),
        ("0 9 * * *\0", 10, "unexpected character '\\0'"),
    ] {
        check_refused(expression, column, part);
    }
    check_refused("", None, "the expression is empty");
    check_refused("  \t ", None, "the expression is empty");
    check_refused(&"1".repeat(257), None, "the expression has 257 bytes: at most 256");
    // The text that is stored and read again on every node is the resolved one.
    let choices = vec!["H/2"; 60].join(",");
    check_refused(
        &format!("{choices} * * * *"),
        None,
        "once each `H` is replaced by its values: at most 256",
    );
}

#[test]
fn backward_ranges_are_refused_with_the_forward_ones() {
    for (expression, column, rewritten) in [
        ("0 22-2 * * *", 3, "`22-23,0-2`"),
        ("0 23-0 * * *", 3, "`23,0`"),
        ("0 20-4/3 * * *", 3, "`20-23/3,2-4/3`"),
        ("50-10 * * * *", 1, "`50-59,0-10`"),
        ("0 0 28-3 * *", 5, "`28-31,1-3`"),
        ("0 0 * NOV-FEB *", 7, "`NOV-DEC,JAN-FEB`"),
        ("0 0 * 11-1 *", 7, "`11-12,1`"),
        ("0 0 * * FRI-MON", 9, "`FRI-SAT,SUN-MON`"),
        ("0 0 * * 6-0", 9, "`6-7`"),
        ("0 0 * * 5-2", 9, "`5-6,0-2`"),
        ("0 0 * * 7-2", 9, "`0-2`"),
        ("0 0 * * 5-1/2", 9, "`5-6/2,0-1/2`"),
    ] {
        check_refused(expression, column, &format!("runs backward: write {rewritten}"));
    }
    check_refused("H(40-20) * * * *", 1, "`H` needs one forward range");
}

#[test]
fn backward_ranges_rewritten_are_accepted() {
    for (backward, hours) in
        [("22-2", vec![22, 23, 0, 1, 2]), ("20-4/3", vec![20, 23, 2]), ("23-0", vec![23, 0])]
    {
        let error = parse(&format!("0 {backward} * * *"), NeverFiring::Refuse).unwrap_err().to_string();
        let rewritten = error.rsplit('`').nth(1).unwrap();
        let mut expected = hours.clone();
        expected.sort_unstable();
        let list: Vec<String> = expected.iter().map(ToString::to_string).collect();
        assert_eq!(timing(&format!("0 {rewritten} * * *")), timing(&format!("0 {} * * *", list.join(","))));
    }
}

#[test]
fn signs_of_other_dialects_are_refused_with_the_way_out() {
    for (expression, column, part) in [
        ("0 0 L-3 * *", 5, "counts back from the end of the month"),
        ("0 0 WL * *", 5, "write `LW`"),
        ("0 0 W15 * *", 5, "write `15W`"),
        ("0 0 1-5W * *", 5, "list the days with commas"),
        ("0 0 L/2 * *", 5, "list the days with commas"),
        ("0 0 32W * *", 5, "out of range"),
        ("0 0 0W * *", 5, "out of range"),
        ("0 0 5L * *", 5, "uses a sign of the day fields"),
        ("0 0 5#2 * *", 5, "uses a sign of the day fields"),
        ("0 0 * * L", 9, "write `6` for Saturday or `5L`"),
        ("0 0 * * L5", 9, "write `5L`"),
        ("0 0 * * 15W", 9, "uses a sign of the day fields"),
        ("0 0 * * 1-5L", 9, "list the days with commas"),
        ("0 0 * * 8L", 9, "out of range"),
        ("0 0 * * 1#6", 9, "outside 1-5"),
        ("0 0 * * 1#0", 9, "outside 1-5"),
        ("0 0 * * 1#", 9, "outside 1-5"),
        ("0 0 * * #1", 9, "is not a value"),
        ("0 0 * * 1#2/3", 9, "list the days with commas"),
        ("0 L * * *", 3, "uses a sign of the day fields"),
        ("? * * * *", 1, "uses a sign of the day fields"),
        ("0 0 ?/2 * *", 5, "must stand alone"),
        ("0 0 1,? * *", 7, "must stand alone"),
        ("0~29 * * * *", 1, "write `H(0-29)`"),
        ("~ * * * *", 1, "write `H`"),
        ("H(1) * * * *", 1, "is not a value"),
        ("H5 * * * *", 1, "is not a value"),
        ("H(1-99) * * * *", 5, "out of range"),
        ("@reboot", 1, "names no time"),
        ("  @Reboot", 3, "names no time"),
        ("@fortnightly", 1, "is unknown: use @hourly"),
        ("@daily 5", 8, "unexpected `5` after `@daily`"),
        ("@every", 7, "needs a duration"),
        ("@every 5x", 8, "unknown unit `x`"),
        ("@every 100ms", 8, "use 1s to 366d"),
        ("@every 400d", 8, "use 1s to 366d"),
        ("@every 5m 3", 11, "unexpected `3`"),
        ("TZ=Europe/Berlin 0 9 * * *", 1, "give the time zone in its own field and write `0 9 * * *`"),
        (" CRON_TZ=UTC  @daily ", 2, "write `@daily`"),
        ("tz=UTC", 1, "write `0 9 * * *`"),
    ] {
        check_refused(expression, column, part);
    }
}

#[test]
fn surprises_are_warned_about() {
    assert_eq!(
        warnings("*/90 * * * *"),
        ["column 1: the step of `*/90` is larger than its range: it means just `0`"]
    );
    assert_eq!(
        warnings("0 9-17/9 * * *"),
        ["column 3: the step of `9-17/9` is larger than its range: it means just `9`"]
    );
    assert!(warnings("*/7 * * * *")[0].contains("does not divide the minute field"));
    assert!(warnings("0 0 */2 * *")[0].contains("does not divide the day-of-month field"));
    assert!(warnings("0 0 */2 * 1")[1].contains("Kubernetes reads this as one or the other"));
    assert!(warnings("0 0 13 * 5")[0].contains("days matching `13` and also on weekdays matching `5`"));
    for quiet in [
        "*/15 * * * *",
        "0 */6 * * *",
        "0 9 * * 1-5",
        "0 0 1 */3 *",
        "0 0 ? * 5",
        "0 0 */1 * 5",
        "@weekly",
        "5/1 * * * *",
    ] {
        assert_eq!(warnings(quiet), Vec::<String>::new(), "{quiet}");
    }
}

#[test]
fn equal_meaning_is_equal() {
    assert_eq!(timing("0 9 * * MON-FRI"), timing("0 9  * * 1,2,3,4,5"));
    assert_eq!(format!("{:?}", timing("0 9 * * 1-5")), "Timing(0 0 9 * and 1-5 * fixed UTC)");
    // Not the same rule, although the same minutes (DST-1, DST-2).
    assert_ne!(timing("*/1 9 * * *"), timing("0-59 9 * * *"));
    // Not the same rule, although the same days (DAY-1).
    assert_ne!(timing("0 0 * * 5"), timing("0 0 1-31 * 5"));
    let berlin = TimeZone::parse("Europe/Berlin").unwrap();
    let seed = HashSeed::new("a", "b");
    assert_ne!(
        timing("0 9 * * *"),
        Timing::parse_cron("0 9 * * *", &berlin, NeverFiring::Refuse, &seed).unwrap()
    );
    assert_eq!(Timing::at(5), Timing::at(5));
    assert_ne!(Timing::at(5), Timing::at(6));
}
