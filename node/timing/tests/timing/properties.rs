//! Whatever is written, nothing panics; whatever fires, an independent reading of the rules fires too.

use belfry_timing::{
    Calendar, CalendarRule, HORIZON_UNIX_MILLIS, HashSeed, NeverFiring, TimeOfDay, TimeZone, Timing, Weekday,
    WeekdayRule, crontab, parse_duration, parse_time,
};
use jiff::{Timestamp, civil, tz};
use proptest::{prelude::*, sample::select};

use crate::model::{Model, change_of, models};

const ZONES: [&str; 17] = [
    "Africa/Cairo",
    "Africa/Casablanca",
    "America/Havana",
    "America/New_York",
    "America/Nuuk",
    "America/Sao_Paulo",
    "America/St_Johns",
    "Antarctica/Troll",
    "Asia/Beirut",
    "Asia/Kolkata",
    "Asia/Tehran",
    "Australia/Lord_Howe",
    "Europe/Berlin",
    "Europe/Dublin",
    "Pacific/Apia",
    "Pacific/Chatham",
    "UTC",
];

/// The fires in a window, minute by minute, as a clock on the wall would see them: it remembers the latest wall time it has
/// shown, a fixed rule fires for every wall time newly reached or jumped over, a wildcard rule for what the clock shows.
fn brute_force(model: &Model, zone: &tz::TimeZone, from: i64, until: i64) -> Vec<i64> {
    let wall_minute = |minute: i64| {
        let at = Timestamp::from_second(minute * 60).unwrap();
        minute + i64::from(zone.to_offset(at).seconds() / 60)
    };
    let civil = |wall: i64| tz::Offset::UTC.to_datetime(Timestamp::from_second(wall * 60).unwrap());
    let mut shown = wall_minute(from - 1);
    let mut fires = Vec::new();
    for minute in from..=until {
        let wall = wall_minute(minute);
        let fires_now = if model.is_wildcard() {
            model.matches(civil(wall))
        } else {
            (shown + 1..=wall).any(|wall| model.matches(civil(wall)))
        };
        shown = shown.max(wall);
        if fires_now {
            fires.push(minute * 60_000);
        }
    }
    fires
}

/// A field with an `H` in it, or with none; many fit into every field.
fn choices() -> impl Strategy<Value = String> {
    let item = prop_oneof![
        3 => Just("H".to_owned()),
        2 => (1..70_u8).prop_map(|step| format!("H/{step}")),
        2 => (0..8_u8, 0..5_u8, prop::option::of(1..9_u8)).prop_map(|(first, size, step)| {
            let step = step.map(|step| format!("/{step}")).unwrap_or_default();
            format!("h({first}-{}){step}", first + size)
        }),
        2 => Just("*".to_owned()),
        1 => (1..7_u8).prop_map(|value| value.to_string()),
    ];
    prop_oneof![
        6 => prop::collection::vec(item.clone(), 1..3),
        1 => prop::collection::vec(item, 1..30),
    ]
    .prop_map(|items| items.join(","))
}

fn parse(expression: &str, zone: &TimeZone) -> Option<Timing> {
    Timing::parse_cron(expression, zone, NeverFiring::Allow, &HashSeed::new("ns", "name")).ok()
}

/// Changes a text in a few places, with what the grammar is made of.
fn mutate(text: &str, changes: &[(usize, u8, char)]) -> String {
    let mut characters: Vec<char> = text.chars().collect();
    for (place, kind, character) in changes {
        let at = place % (characters.len() + 1);
        match kind % 3 {
            0 => characters.insert(at, *character),
            1 if at < characters.len() => characters[at] = *character,
            _remove => drop((at < characters.len()).then(|| characters.remove(at))),
        }
    }
    characters.into_iter().collect()
}

fn check_answers(timing: &Timing, afters: &[i64]) {
    for after in afters {
        if let Some(fire) = timing.next(*after) {
            assert!(
                fire > *after && (0..HORIZON_UNIX_MILLIS).contains(&fire),
                "TIMING-1: {timing:?} {after} {fire}"
            );
            assert_eq!(timing.previous(fire + 1), Some(fire), "{timing:?}");
            assert!(
                timing.previous(fire).is_none_or(|earlier| earlier <= *after),
                "{timing:?} {after} {fire}"
            );
        }
        if let Some(fire) = timing.previous(*after) {
            assert!(
                fire < *after && (0..HORIZON_UNIX_MILLIS).contains(&fire),
                "TIMING-1: {timing:?} {after} {fire}"
            );
            assert_eq!(timing.next(fire - 1), Some(fire), "{timing:?}");
            assert!(timing.next(fire).is_none_or(|later| later >= *after), "{timing:?} {after} {fire}");
        }
    }
}

fn afters() -> impl Strategy<Value = Vec<i64>> {
    let after = prop_oneof![any::<i64>(), -1_000..HORIZON_UNIX_MILLIS + 1_000, 0..HORIZON_UNIX_MILLIS];
    prop::collection::vec(after, 3)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn fires_agree_with_a_clock_on_the_wall(model in models(), name in select(&ZONES[..]), index in 0_usize..200) {
        let reference = tz::TimeZoneDatabase::bundled().get(name).unwrap();
        let zone = TimeZone::parse(name).unwrap();
        let change = change_of(&reference, index) / 60;
        let (from, until) = (change - 26 * 60, change + 26 * 60);
        let timing = parse(&model.text(), &zone).expect("models are valid");
        let fires: Vec<i64> = timing.between((from - 1) * 60_000, until * 60_000).collect();
        prop_assert_eq!(fires, brute_force(&model, &reference, from, until), "{} {}", model.text(), name);
    }

    #[test]
    fn next_agrees_with_days_further_out(model in models(), after in 0..HORIZON_UNIX_MILLIS) {
        let timing = parse(&model.text(), &TimeZone::utc()).expect("models are valid");
        let fire = timing.next(after);
        let date = |millis: i64| tz::Offset::UTC.to_datetime(Timestamp::from_millisecond(millis).unwrap()).date();
        let is_day = |date: civil::Date| model.month.values.contains(&date.month().into()) && model.matches_day(date);
        let (today, last) = (date(after), date(fire.unwrap_or(HORIZON_UNIX_MILLIS - 1)));
        let missed = today.series(jiff::Span::new().days(1)).skip(1).take_while(|day| *day < last).find(|day| is_day(*day));
        prop_assert_eq!(missed, None, "{} after {}", model.text(), today);
        prop_assert!(fire.is_none_or(|fire| is_day(date(fire))));
    }

    /// What every node compiles is the resolved text: whatever was accepted must be accepted again and mean the same.
    #[test]
    fn what_h_stands_for_reads_back(items in prop::collection::vec(choices(), 5..=6), name in "[a-z]{1,8}") {
        let seed = HashSeed::new("ns", &name);
        let utc = TimeZone::utc();
        let read = |text: &str, seed| Timing::parse_cron(text, &utc, NeverFiring::Allow, seed);
        if let Ok(timing) = read(&items.join(" "), &seed) {
            let resolved = timing.resolved_expression().unwrap();
            prop_assert!(!resolved.contains(['H', 'h']), "{}", resolved);
            let again = read(resolved, &HashSeed::new("", ""));
            prop_assert_eq!(again.as_ref(), Ok(&timing), "{} for {:?}", resolved, items);
        }
    }

    #[test]
    fn no_text_panics(text in "\\PC{0,300}", afters in afters()) {
        if let Some(timing) = parse(&text, &TimeZone::utc()) {
            check_answers(&timing, &afters);
        }
        let _ = (TimeZone::parse(&text), parse_duration(&text));
        let _ = (parse_time(&text, &TimeZone::utc()), crontab::parse(&text));
        let _ = (CalendarRule::parse(&text), Timing::at_local(&text, &TimeZone::utc()));
        let _ = Calendar::parse(&text, None, &[&text], &[(&text, &text)]);
    }

    #[test]
    fn no_text_like_an_expression_panics(
        model in models(),
        changes in prop::collection::vec((any::<usize>(), any::<u8>(), select("0123456789*,-/?LWH#()~@= \tJANSUNtz\n%".chars().collect::<Vec<_>>())), 0..6),
        name in select(&ZONES[..]),
        afters in afters(),
    ) {
        let text = mutate(&model.text(), &changes);
        let timing = parse(&text, &TimeZone::parse(name).unwrap());
        if let Some(timing) = &timing {
            check_answers(timing, &afters);
            // The resolved text means the same and has nothing left to resolve.
            let resolved = timing.resolved_expression().unwrap();
            let again = parse(resolved, &TimeZone::parse(name).unwrap());
            prop_assert_eq!(again.as_ref(), Some(timing), "{} {}", text, resolved);
        }
        let _ = crontab::parse(&format!("{text} command\n{text}"));
    }

    #[test]
    fn no_text_like_a_calendar_rule_or_a_calendar_panics(
        changes in prop::collection::vec((any::<usize>(), any::<u8>(), select("0123456789*,-:=#TZz+ \tMONFRIJANtimesdays\n%é".chars().collect::<Vec<_>>())), 0..8),
        afters in afters(),
        name in select(&ZONES[..]),
    ) {
        let zone = TimeZone::parse(name).unwrap();
        let rule = mutate("years=2027 months=1,7 days=-1,13 weekdays=MON#1,FRI#-1,SUN times=09:00,18:30:05", &changes);
        if let Ok(rule) = CalendarRule::parse(&rule)
            && let Ok(timing) = Timing::calendar(&rule, &zone, NeverFiring::Allow)
        {
            check_answers(&timing, &afters);
            // Its text means the same.
            let again = CalendarRule::parse(&rule.to_string());
            prop_assert_eq!(again.as_ref(), Ok(&rule));
        }
        if let Ok(timing) = Timing::at_local(&mutate("2026-12-24T18:00:30", &changes), &zone) {
            check_answers(&timing, &afters);
        }
        let (day, yearly) = (mutate("2026-12-25", &changes), mutate("*-12-25", &changes));
        let (start, end) = (mutate("2026-11-27T18:00", &changes), mutate("2026-11-27T18:00:30Z", &changes));
        for (days, periods) in [
            (vec![day.as_str()], vec![]),
            (vec![yearly.as_str()], vec![]),
            (vec![], vec![(start.as_str(), "2099-01-01T00:00")]),
            (vec![], vec![("1980-01-01T00:00Z", end.as_str())]),
        ] {
            let Ok(calendar) = Calendar::parse(&day, None, &days, &periods) else { continue };
            let coverage = calendar.coverage(&zone);
            for after in &afters {
                prop_assert_eq!(coverage.contains(*after), coverage.next_inside(*after) == Some(*after));
                prop_assert_eq!(coverage.contains(*after), coverage.next_outside(*after) != *after);
            }
        }
    }

    /// What was sent as lists instead of text is refused as well, or written so that it reads back.
    #[test]
    fn no_list_makes_a_calendar_rule_panic(
        years in prop::collection::vec(prop_oneof![any::<i16>(), 1970..2101_i16], 0..3),
        months in prop::collection::vec(prop_oneof![any::<u8>(), 1..13_u8], 0..3),
        month_days in prop::collection::vec(prop_oneof![any::<i8>(), -31..32_i8], 0..5),
        weekdays in prop::collection::vec((select(&Weekday::ALL[..]), prop::option::of(prop_oneof![any::<i8>(), -5..6_i8])), 0..4),
        times in prop::collection::vec((0..24_u8, 0..60_u8, 0..60_u8), 0..300),
        afters in afters(),
    ) {
        let rule = CalendarRule {
            years,
            months,
            month_days,
            weekdays: weekdays.into_iter().map(|(weekday, nth)| WeekdayRule { weekday, nth }).collect(),
            times: times.into_iter().filter_map(|(hour, minute, second)| TimeOfDay::new(hour, minute, second)).collect(),
        };
        if let Ok(timing) = Timing::calendar(&rule, &TimeZone::utc(), NeverFiring::Allow) {
            check_answers(&timing, &afters);
            prop_assert_eq!(CalendarRule::parse(&rule.to_string()), Ok(rule));
        }
    }

    #[test]
    fn times_read_back(millis in 0_i64..253_402_300_800_000, name in select(&ZONES[..])) {
        let zone = TimeZone::parse(name).unwrap();
        prop_assert_eq!(parse_time(&belfry_timing::format_time(millis), &zone), Ok(millis));
        prop_assert_eq!(parse_time(&belfry_timing::format_local(millis, &zone), &zone), Ok(millis));
    }
}
