//! Whatever is written, nothing panics; whatever fires, an independent reading of the rules fires too.

use std::collections::BTreeSet;

use belfry_timing::{
    HORIZON_UNIX_MILLIS, HashSeed, NeverFiring, TimeZone, Timing, crontab, parse_duration, parse_time,
};
use jiff::{Timestamp, civil, tz};
use proptest::{prelude::*, sample::select};

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

/// One field: its text, and the plain values and day signs it names.
#[derive(Clone, Debug, Default)]
struct FieldModel {
    text: String,
    values: BTreeSet<i32>,
    signs: Vec<Sign>,
}

#[derive(Clone, Debug)]
enum Sign {
    Last,
    LastWorkingDay,
    Nearest(i32),
    LastWeekday(i32),
    Nth(i32, i32),
}

/// An expression as somebody would explain it.
#[derive(Clone, Debug)]
struct Model {
    minute: FieldModel,
    hour: FieldModel,
    month_day: FieldModel,
    month: FieldModel,
    week_day: FieldModel,
}

impl Model {
    fn text(&self) -> String {
        let fields = [&self.minute, &self.hour, &self.month_day, &self.month, &self.week_day];
        fields.map(|field| field.text.as_str()).join(" ")
    }

    fn is_wildcard(&self) -> bool {
        self.minute.text.starts_with('*') || self.hour.text.starts_with('*')
    }

    fn matches(&self, wall: civil::DateTime) -> bool {
        self.minute.values.contains(&wall.minute().into())
            && self.hour.values.contains(&wall.hour().into())
            && self.month.values.contains(&wall.month().into())
            && self.matches_day(wall.date())
    }

    fn matches_day(&self, date: civil::Date) -> bool {
        let by_month_day = self.month_day.values.contains(&date.day().into())
            || self.month_day.signs.iter().any(|sign| sign.matches(date));
        let by_week_day = self.week_day.values.contains(&weekday(date))
            || self.week_day.signs.iter().any(|sign| sign.matches(date));
        if self.month_day.text.starts_with(['*', '?']) || self.week_day.text.starts_with(['*', '?']) {
            by_month_day && by_week_day
        } else {
            by_month_day || by_week_day
        }
    }
}

impl Sign {
    fn matches(&self, date: civil::Date) -> bool {
        let (day, length) = (i32::from(date.day()), i32::from(date.days_in_month()));
        let working_days = || {
            let days = (1..=date.days_in_month()).map(|day| date.with().day(day).build().unwrap());
            days.filter(|date| !matches!(weekday(*date), 0 | 6)).map(|date| i32::from(date.day()))
        };
        match self {
            Sign::Last => day == length,
            Sign::LastWorkingDay => working_days().max() == Some(day),
            Sign::Nearest(wanted) => {
                *wanted <= length && working_days().min_by_key(|near| (near - wanted).abs()) == Some(day)
            }
            Sign::LastWeekday(wanted) => weekday(date) == wanted % 7 && day + 7 > length,
            Sign::Nth(wanted, nth) => weekday(date) == wanted % 7 && (day - 1) / 7 + 1 == *nth,
        }
    }
}

fn weekday(date: civil::Date) -> i32 {
    date.weekday().to_sunday_zero_offset().into()
}

/// A field with these values; `stars` to two it is a plain `*`.
fn field(
    min: i32,
    max: i32,
    stars: u32,
    signs: Option<BoxedStrategy<(String, Sign)>>,
) -> BoxedStrategy<FieldModel> {
    let plain = |text: String, values: BTreeSet<i32>| FieldModel { text, values, signs: vec![] };
    let star = Just(plain("*".to_owned(), (min..=max).collect())).boxed();
    let star_step = (1..max + 5)
        .prop_map(move |step| plain(format!("*/{step}"), (min..=max).step_by(step as usize).collect()))
        .boxed();
    let value = (min..=max).prop_map(move |value| plain(value.to_string(), [value].into())).boxed();
    let from_step = (min..=max, 1..max + 5)
        .prop_map(move |(from, step)| {
            plain(format!("{from}/{step}"), (from..=max).step_by(step as usize).collect())
        })
        .boxed();
    let range = (min..=max, min..=max, prop::option::of(1..max))
        .prop_map(move |(a, b, step)| {
            let (from, to) = (a.min(b), a.max(b));
            let text = step.map_or(format!("{from}-{to}"), |step| format!("{from}-{to}/{step}"));
            plain(text, (from..=to).step_by(step.unwrap_or(1) as usize).collect())
        })
        .boxed();
    let mut items = vec![(3, value), (2, range), (2, star_step), (1, from_step), (1, star.clone())];
    items.extend(signs.map(|signs| {
        let sign = |(text, sign)| FieldModel { text, values: BTreeSet::new(), signs: vec![sign] };
        (3, signs.prop_map(sign).boxed())
    }));
    let item = prop::strategy::Union::new_weighted(items);
    let list = prop::collection::vec(item, 1..4).prop_map(|items| {
        let text = items.iter().map(|item| item.text.as_str()).collect::<Vec<_>>().join(",");
        let values = items.iter().flat_map(|item| item.values.iter().copied()).collect();
        FieldModel { text, values, signs: items.into_iter().flat_map(|item| item.signs).collect() }
    });
    prop_oneof![stars => star, 2 => list].boxed()
}

fn models() -> impl Strategy<Value = Model> {
    let month_signs = prop_oneof![
        Just(("L".to_owned(), Sign::Last)),
        Just(("LW".to_owned(), Sign::LastWorkingDay)),
        (1..=31).prop_map(|day| (format!("{day}W"), Sign::Nearest(day))),
    ];
    let week_signs = prop_oneof![
        (0..=7).prop_map(|day| (format!("{day}L"), Sign::LastWeekday(day))),
        (0..=7, 1..=5).prop_map(|(day, nth)| (format!("{day}#{nth}"), Sign::Nth(day, nth))),
    ];
    let fields = (
        field(0, 59, 1, None),
        field(0, 23, 1, None),
        field(1, 31, 3, Some(month_signs.boxed())),
        field(1, 12, 6, None),
        field(0, 6, 3, Some(week_signs.boxed())),
    );
    fields.prop_map(|(minute, hour, month_day, month, week_day)| Model {
        minute,
        hour,
        month_day,
        month,
        week_day,
    })
}

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

/// A change of a zone between 1990 and 2090, or some instant if the zone has none.
fn change_of(zone: &tz::TimeZone, index: usize) -> i64 {
    let (start, end) = (Timestamp::from_second(631_152_000).unwrap(), 3_786_912_000);
    let changes = zone.following(start).map(|change| change.timestamp().as_second());
    let changes: Vec<i64> = changes.take_while(|change| *change < end).collect();
    changes.get(index % changes.len().max(1)).map_or(1_795_399_200, |change| *change)
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
    fn times_read_back(millis in 0_i64..253_402_300_800_000, name in select(&ZONES[..])) {
        let zone = TimeZone::parse(name).unwrap();
        prop_assert_eq!(parse_time(&belfry_timing::format_time(millis), &zone), Ok(millis));
        prop_assert_eq!(parse_time(&belfry_timing::format_local(millis, &zone), &zone), Ok(millis));
    }
}
