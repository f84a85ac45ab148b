//! Every second of a window, asked one by one whether it should fire, against what the crate finds by searching.
//!
//! The matcher knows zones through jiff and rules as somebody would explain them. A clock on the wall remembers the latest
//! time it has shown: a fixed rule fires for each matching time newly reached or jumped over, a wildcard rule for what the
//! clock shows, and a civil period has begun once the clock has shown its start.

use std::{cell::Cell, sync::Arc, time::Duration};

use belfry_timing::{
    Calendar, CalendarMode, CalendarRule, CalendarUse, Composition, HORIZON_UNIX_MILLIS, HashSeed,
    NeverFiring, TimeOfDay, TimeZone, Timing, Weekday, WeekdayRule,
};
use jiff::{Timestamp, civil, tz};
use proptest::{prelude::*, prop_oneof, sample::select};

use crate::model::{FieldModel, Model, change_of, field, weekday};

const ZONES: [&str; 11] = [
    "Africa/Cairo",
    "Africa/Casablanca",
    "America/New_York",
    "America/St_Johns",
    "Antarctica/Troll",
    "Asia/Kolkata",
    "Australia/Lord_Howe",
    "Europe/Berlin",
    "Pacific/Apia",
    "Pacific/Kiritimati",
    "UTC",
];

/// A rule as data.
#[derive(Clone, Debug)]
enum Spec {
    Cron {
        second: Option<FieldModel>,
        model: Box<Model>,
        zone: &'static str,
    },
    Calendar {
        rule: CalendarRule,
        zone: &'static str,
    },
    Every {
        seconds: i64,
        phase: i64,
    },
    /// So many seconds into the window.
    At {
        offset: i64,
    },
}

/// A calendar, its entries relative to the window.
#[derive(Clone, Debug)]
struct CalendarSpec {
    mode: CalendarMode,
    zone: Option<&'static str>,
    /// Days after the window's first, and whether they come every year.
    days: Vec<(i64, bool)>,
    /// Seconds into the window, length, and whether it is written in civil time.
    periods: Vec<(i64, i64, bool)>,
}

#[derive(Clone, Debug)]
struct CompositionSpec {
    zone: &'static str,
    include: Vec<Spec>,
    exclude: Vec<Spec>,
    calendars: Vec<CalendarSpec>,
    start: Option<i64>,
    end: Option<i64>,
}

/// Where the window is and how long.
#[derive(Clone, Debug)]
struct Place {
    near: Near,
    lead: i64,
    length: i64,
    /// Instants within the window to ask for the next and the previous fire.
    probes: Vec<u32>,
}

#[derive(Clone, Debug)]
enum Near {
    /// A change of the zone's offset.
    Change(usize),
    /// A fire after this second, so that rules that fire seldom do.
    Fire(i64),
    Second(i64),
}

/// The wall clock of a zone for each second of a window.
struct WallClock {
    from: i64,
    walls: Vec<i64>,
    /// The latest wall time that was shown before each second.
    shown_before: Vec<i64>,
}

impl WallClock {
    fn new(zone: &'static str, from: i64, until: i64) -> WallClock {
        let zone = tz::TimeZoneDatabase::bundled().get(zone).unwrap();
        let offset =
            |second: i64| i64::from(zone.to_offset(Timestamp::from_second(second).unwrap()).seconds());
        // A clock may have gone back shortly before the window.
        let start = Timestamp::from_second(from).unwrap();
        let recent = zone.preceding(start).map(|change| change.timestamp().as_second());
        let recent = recent.take_while(|change| *change > from - 3 * 86_400);
        let mut shown = recent
            .map(|change| change - 1 + offset(change - 1))
            .chain([from - 1 + offset(from - 1)])
            .max()
            .unwrap();
        let (mut walls, mut shown_before) = (Vec::new(), Vec::new());
        let mut minute_offset = 0;
        for second in from..=until {
            // All changes since 1970 are on whole minutes.
            if second % 60 == 0 || second == from {
                minute_offset = offset(second);
            }
            walls.push(second + minute_offset);
            shown_before.push(shown);
            shown = shown.max(second + minute_offset);
        }
        WallClock { from, walls, shown_before }
    }

    fn wall(&self, second: i64) -> i64 {
        self.walls[usize::try_from(second - self.from).unwrap()]
    }

    fn shown_before(&self, second: i64) -> i64 {
        self.shown_before[usize::try_from(second - self.from).unwrap()]
    }

    /// The latest wall time shown up to and including a second.
    fn shown(&self, second: i64) -> i64 {
        self.shown_before(second).max(self.wall(second))
    }
}

fn date_of(wall: i64) -> civil::Date {
    tz::Offset::UTC.to_datetime(Timestamp::from_second(wall).unwrap()).date()
}

/// A rule over wall time, quick to ask.
struct Matcher<'a> {
    clock: WallClock,
    is_wildcard: bool,
    time: Box<dyn Fn(i64) -> bool + 'a>,
    date: Box<dyn Fn(civil::Date) -> bool + 'a>,
    /// The last date asked about.
    known: Cell<(i64, bool)>,
}

impl<'a> Matcher<'a> {
    fn new(spec: &'a Spec, from: i64, until: i64) -> Option<Matcher<'a>> {
        let bits = |field: &FieldModel| field.values.iter().fold(0_u64, |bits, value| bits | 1 << value);
        let known = Cell::new((i64::MIN, false));
        match spec {
            Spec::Cron { second, model, zone } => {
                let (seconds, minutes) = (second.as_ref().map_or(1, bits), bits(&model.minute));
                let hours = bits(&model.hour);
                let has = |bits: u64, value: i64| bits >> value & 1 == 1;
                let time = move |of_day: i64| {
                    has(seconds, of_day % 60) && has(minutes, of_day / 60 % 60) && has(hours, of_day / 3600)
                };
                let date = |date: civil::Date| {
                    model.month.values.contains(&date.month().into()) && model.matches_day(date)
                };
                let (time, date) = (Box::new(time), Box::new(date));
                let clock = WallClock::new(zone, from, until);
                Some(Matcher { clock, is_wildcard: model.is_wildcard(), time, date, known })
            }
            Spec::Calendar { rule, zone } => {
                let time =
                    |of_day: i64| rule.times.iter().any(|time| i64::from(time.second_of_day()) == of_day);
                let (time, date) = (Box::new(time), Box::new(|date| rule_matches(rule, date)));
                let clock = WallClock::new(zone, from, until);
                Some(Matcher { clock, is_wildcard: false, time, date, known })
            }
            Spec::Every { .. } | Spec::At { .. } => None,
        }
    }

    fn matches(&self, wall: i64) -> bool {
        (self.time)(wall.rem_euclid(86_400)) && {
            let day = wall.div_euclid(86_400);
            if self.known.get().0 != day {
                self.known.set((day, (self.date)(date_of(wall))));
            }
            self.known.get().1
        }
    }

    fn fires(&self, second: i64) -> bool {
        let wall = self.clock.wall(second);
        if self.is_wildcard {
            self.matches(wall)
        } else {
            (self.clock.shown_before(second) + 1..=wall).any(|wall| self.matches(wall))
        }
    }
}

/// A calendar rule's day, by counting the days of the month.
fn rule_matches(rule: &CalendarRule, date: civil::Date) -> bool {
    let (day, length) = (date.day(), date.days_in_month());
    let is_day = |wanted: &i8| *wanted == day || *wanted == day - length - 1;
    let is_weekday = |wanted: &WeekdayRule| {
        let name = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"][usize::try_from(weekday(date)).unwrap()];
        let from_start = (day - 1) / 7 + 1;
        let from_end = -((length - day) / 7 + 1);
        wanted.weekday.short_name() == name
            && wanted.nth.is_none_or(|nth| nth == from_start || nth == from_end)
    };
    (rule.years.is_empty() || rule.years.contains(&date.year()))
        && (rule.months.is_empty()
            || rule.months.iter().any(|month| i8::try_from(*month) == Ok(date.month())))
        && (rule.month_days.is_empty() || rule.month_days.iter().any(is_day))
        && (rule.weekdays.is_empty() || rule.weekdays.iter().any(is_weekday))
}

impl Spec {
    fn timing(&self, from: i64) -> Timing {
        match self {
            Spec::Cron { second, model, zone } => {
                let second = second.as_ref().map(|field| format!("{} ", field.text)).unwrap_or_default();
                let (text, zone) = (format!("{second}{}", model.text()), TimeZone::parse(zone).unwrap());
                Timing::parse_cron(&text, &zone, NeverFiring::Allow, &HashSeed::new("", "")).unwrap()
            }
            Spec::Calendar { rule, zone } => {
                Timing::calendar(rule, &TimeZone::parse(zone).unwrap(), NeverFiring::Allow).unwrap()
            }
            Spec::Every { seconds, phase } => {
                let duration = |seconds: i64| Duration::from_secs(seconds.unsigned_abs());
                Timing::every(duration(*seconds), duration(*phase)).unwrap()
            }
            Spec::At { offset } => Timing::at((from + offset) * 1000),
        }
    }

    /// Takes the minutes and seconds of another expression: such an exclude takes away whole stretches.
    fn mirror(&mut self, other: &Spec) {
        if let (Spec::Cron { second, model, .. }, Spec::Cron { second: seconds, model: other, .. }) =
            (self, other)
        {
            second.clone_from(seconds);
            model.minute.clone_from(&other.minute);
        }
    }

    fn zone(&self) -> &'static str {
        match self {
            Spec::Cron { zone, .. } | Spec::Calendar { zone, .. } => zone,
            Spec::Every { .. } | Spec::At { .. } => "UTC",
        }
    }

    /// The seconds of a window at which the rule fires.
    fn fires(&self, from: i64, until: i64) -> Vec<bool> {
        let matcher = Matcher::new(self, from, until);
        let fires = |second: i64| match (self, &matcher) {
            (Spec::Every { seconds, phase }, _) => second % seconds == *phase,
            (Spec::At { offset }, _) => second == from + offset,
            (_, matcher) => matcher.as_ref().is_some_and(|matcher| matcher.fires(second)),
        };
        (from..=until).map(fires).collect()
    }
}

impl CalendarSpec {
    fn calendar(&self, zone: &'static str, from: i64) -> Calendar {
        let first = self.first_wall(zone, from);
        let day = |(offset, yearly): &(i64, bool)| {
            let date = date_of(first + offset * 86_400);
            if *yearly { format!("*{}", &date.to_string()[4..]) } else { date.to_string() }
        };
        let days: Vec<String> = self.days.iter().map(day).collect();
        let time = |base: i64, is_civil: bool| {
            let text = tz::Offset::UTC.to_datetime(Timestamp::from_second(base).unwrap()).to_string();
            if is_civil { text } else { format!("{text}Z") }
        };
        let period = |(start, length, is_civil): &(i64, i64, bool)| {
            let base = if *is_civil { first } else { from };
            (time(base + start, *is_civil), time(base + start + length, *is_civil))
        };
        let periods: Vec<(String, String)> = self.periods.iter().map(period).collect();
        let days: Vec<&str> = days.iter().map(String::as_str).collect();
        let periods: Vec<(&str, &str)> =
            periods.iter().map(|(start, end)| (start.as_str(), end.as_str())).collect();
        let zone = self.zone.map(|zone| TimeZone::parse(zone).unwrap());
        Calendar::parse("calendar", zone, &days, &periods).unwrap()
    }

    /// The wall time at the window's first second.
    fn first_wall(&self, zone: &'static str, from: i64) -> i64 {
        WallClock::new(self.zone.unwrap_or(zone), from, from).wall(from)
    }

    /// The seconds of a window that are inside.
    fn covers(&self, zone: &'static str, from: i64, until: i64) -> Vec<bool> {
        let clock = WallClock::new(self.zone.unwrap_or(zone), from, until);
        let first = self.first_wall(zone, from);
        let days: Vec<(civil::Date, bool)> =
            self.days.iter().map(|(offset, yearly)| (date_of(first + offset * 86_400), *yearly)).collect();
        let known = Cell::new((i64::MIN, false));
        let is_day = |wall: i64| {
            let day = wall.div_euclid(86_400);
            if known.get().0 != day {
                let date = date_of(wall);
                let same = |(other, yearly): &(civil::Date, bool)| {
                    *other == date || (*yearly && (other.month(), other.day()) == (date.month(), date.day()))
                };
                known.set((day, days.iter().any(same)));
            }
            known.get().1
        };
        let is_in_period = |second: i64| {
            self.periods.iter().any(|(start, length, is_civil)| {
                let (base, now) = if *is_civil { (first, clock.shown(second)) } else { (from, second) };
                (base + start..base + start + length).contains(&now)
            })
        };
        (from..=until).map(|second| is_day(clock.wall(second)) || is_in_period(second)).collect()
    }
}

impl CompositionSpec {
    fn timing(&self, from: i64) -> Timing {
        let zone = TimeZone::parse(self.zone).unwrap();
        let timings = |specs: &[Spec]| specs.iter().map(|spec| spec.timing(from)).collect::<Vec<_>>();
        let used = |spec: &CalendarSpec| CalendarUse {
            calendar: Arc::new(spec.calendar(self.zone, from)),
            mode: spec.mode,
        };
        let composition = Composition {
            exclude: timings(&self.exclude),
            calendars: self.calendars.iter().map(used).collect(),
            start_at: self.start.map(|start| (from + start) * 1000),
            end_at: self.end.map(|end| (from + end) * 1000),
            ..Composition::of(timings(&self.include), zone)
        };
        Timing::compose(&composition, NeverFiring::Allow).unwrap()
    }

    /// The fires of a window, each with whether it is frozen.
    fn fires(&self, from: i64, until: i64) -> Vec<(i64, bool)> {
        let all = |specs: &[Spec]| specs.iter().map(|spec| spec.fires(from, until)).collect::<Vec<_>>();
        let (include, exclude) = (all(&self.include), all(&self.exclude));
        let calendars: Vec<(CalendarMode, Vec<bool>)> =
            self.calendars.iter().map(|spec| (spec.mode, spec.covers(self.zone, from, until))).collect();
        let mut fires = Vec::new();
        for (index, second) in (from..=until).enumerate() {
            let is_open = calendars.iter().all(|(mode, covers)| match mode {
                CalendarMode::Include => covers[index],
                CalendarMode::Exclude => !covers[index],
                CalendarMode::Freeze => true,
            });
            let is_within = self.start.is_none_or(|start| second >= from + start)
                && self.end.is_none_or(|end| second < from + end);
            let fires_here = include.iter().any(|fires| fires[index])
                && !exclude.iter().any(|fires| fires[index])
                && is_open
                && is_within;
            if fires_here {
                let frozen =
                    calendars.iter().any(|(mode, covers)| *mode == CalendarMode::Freeze && covers[index]);
                fires.push((second * 1000, frozen));
            }
        }
        fires
    }
}

/// How far windows stay away from the ends of time, in seconds: calendars name days around a window, and the matcher knows
/// nothing of TIMING-3, which is tested elsewhere.
const ENDS: i64 = 10 * 86_400;

/// The first and the last second of a window.
fn window(place: &Place, zone: &'static str, timing: impl Fn(i64) -> Timing) -> (i64, i64) {
    let around = match place.near {
        Near::Change(index) => change_of(&tz::TimeZoneDatabase::bundled().get(zone).unwrap(), index),
        Near::Fire(after) => timing(after).next(after * 1000).map_or(after, |fire| fire / 1000),
        Near::Second(second) => second,
    };
    let from = (around - place.lead).clamp(ENDS, HORIZON_UNIX_MILLIS / 1000 - ENDS);
    (from, from + place.length)
}

/// Where two lists of instants differ first.
fn difference(found: &[i64], expected: &[i64]) -> Option<String> {
    let same = found.iter().zip(expected).take_while(|(one, other)| one == other).count();
    let is_same = found.len() == expected.len() && same == found.len();
    (!is_same).then(|| format!("found {:?}, expected {:?}", found.get(same), expected.get(same)))
}

/// Compares everything a timing answers within a window with the fires that were found one by one.
fn check(
    timing: &Timing,
    expected: &[i64],
    (from, until): (i64, i64),
    probes: &[u32],
) -> Result<(), TestCaseError> {
    let (from, until) = (from * 1000, until * 1000);
    let found: Vec<i64> = timing.between(from - 1, until).collect();
    prop_assert_eq!(difference(&found, expected), None, "between of {:?}", timing);
    let mut back: Vec<i64> = timing.between_rev(from - 1, until).collect();
    back.reverse();
    prop_assert_eq!(difference(&back, expected), None, "between_rev of {:?}", timing);
    prop_assert_eq!(timing.count_between(from - 1, until, 10), expected.len().min(10));
    let probes = probes.iter().map(|probe| from + i64::from(*probe) % (until - from));
    for probe in probes.chain(expected.iter().take(2).copied()) {
        let (next, previous) = (timing.next(probe), timing.previous(probe));
        let later = expected.iter().find(|fire| **fire > probe).copied();
        let earlier = expected.iter().rfind(|fire| **fire < probe).copied();
        // What lies outside the window is only known to lie there.
        prop_assert_eq!(next.filter(|next| *next <= until), later, "next of {:?} after {}", timing, probe);
        prop_assert_eq!(
            previous.filter(|previous| *previous >= from),
            earlier,
            "previous of {:?} before {}",
            timing,
            probe
        );
    }
    Ok(())
}

fn places(longest: i64) -> impl Strategy<Value = Place> {
    let second = ENDS..HORIZON_UNIX_MILLIS / 1000 - ENDS;
    let near = prop_oneof![
        4 => (0_usize..250).prop_map(Near::Change),
        3 => second.clone().prop_map(Near::Fire),
        1 => second.prop_map(Near::Second),
    ];
    let place = (near, 0..longest, 600..longest, prop::collection::vec(any::<u32>(), 3));
    place.prop_map(|(near, lead, length, probes)| Place { near, lead: lead.min(length), length, probes })
}

/// Cron expressions of five and six fields; half of them fire on most days, so that windows see them.
fn crons() -> impl Strategy<Value = Spec> {
    let any_day = |field: BoxedStrategy<FieldModel>, min: i32, max: i32| {
        let star =
            FieldModel { text: "*".to_owned(), values: (min..=max).collect(), ..FieldModel::default() };
        prop_oneof![3 => Just(star), 1 => field].boxed()
    };
    // Where most zones change their clocks.
    let early_hours = prop::collection::btree_set(0..5_i32, 1..4).prop_map(|values| {
        let text = values.iter().map(ToString::to_string).collect::<Vec<_>>().join(",");
        FieldModel { text, values, signs: vec![] }
    });
    // Every minute without a star: a fixed rule that leaves no minute out.
    let all_minutes = Just(FieldModel { text: "0-59".to_owned(), values: (0..=59).collect(), signs: vec![] });
    let days = crate::model::models().prop_map(|model| (model.month_day, model.month, model.week_day));
    let all = |min: i32, max: i32| any_day(field(min, max, 1, None), min, max);
    let fields = (
        prop::option::of(prop_oneof![1 => field(0, 59, 1, None), 2 => field(0, 59, 0, None)]),
        prop_oneof![4 => field(0, 59, 1, None), 1 => all_minutes],
        prop_oneof![2 => field(0, 23, 2, None), 1 => early_hours],
        days,
        (any_day(field(1, 31, 1, None), 1, 31), all(1, 12), any_day(field(0, 6, 1, None), 0, 6)),
        any::<bool>(),
        select(&ZONES[..]),
    );
    fields.prop_map(|(second, minute, hour, rare, often, is_rare, zone)| {
        let (month_day, month, week_day) = if is_rare { rare } else { often };
        Spec::Cron { second, model: Box::new(Model { minute, hour, month_day, month, week_day }), zone }
    })
}

fn calendar_rules() -> impl Strategy<Value = Spec> {
    let time = (prop_oneof![0..5_u8, 0..24_u8], 0..60_u8, prop_oneof![3 => Just(0_u8), 1 => 0..60_u8]);
    let time = time.prop_map(|(hour, minute, second)| TimeOfDay::new(hour, minute, second).unwrap());
    let month_day = (1..=31_i8, any::<bool>()).prop_map(|(day, back)| if back { -day } else { day });
    let nth = prop_oneof![Just(None), (1..=5_i8).prop_map(Some), (-5..=-1_i8).prop_map(Some)];
    let weekday = (select(&Weekday::ALL[..]), nth).prop_map(|(weekday, nth)| WeekdayRule { weekday, nth });
    let seldom = |most: usize| prop_oneof![3 => Just(0_usize), 1 => 1..=most];
    let lists = (
        seldom(3).prop_flat_map(|count| prop::collection::vec(1990..2090_i16, count)),
        seldom(6).prop_flat_map(|count| prop::collection::vec(1..=12_u8, count)),
        seldom(20).prop_flat_map(move |count| prop::collection::vec(month_day.clone(), count)),
        seldom(8).prop_flat_map(move |count| prop::collection::vec(weekday.clone(), count)),
        prop::collection::vec(time, 1..24),
        select(&ZONES[..]),
    );
    lists.prop_map(|(years, months, month_days, weekdays, times, zone)| Spec::Calendar {
        rule: CalendarRule { years, months, month_days, weekdays, times },
        zone,
    })
}

fn intervals() -> impl Strategy<Value = Spec> {
    let seconds = prop_oneof![1..120_i64, select(&[60, 90, 300, 900, 3600, 86_400][..]), 1..5_000_i64];
    (seconds, 0..5_000_i64).prop_map(|(seconds, phase)| Spec::Every { seconds, phase: phase % seconds })
}

fn rules() -> impl Strategy<Value = Spec> {
    prop_oneof![
        4 => crons(),
        2 => calendar_rules(),
        2 => intervals(),
        1 => (0..7200_i64).prop_map(|offset| Spec::At { offset }),
    ]
}

fn calendars() -> impl Strategy<Value = CalendarSpec> {
    let modes = [CalendarMode::Include, CalendarMode::Exclude, CalendarMode::Freeze];
    let zone = prop::option::of(select(&ZONES[..]));
    let days = prop::collection::vec((-1..=2_i64, any::<bool>()), 0..3);
    let periods = prop::collection::vec((-5_000..7_200_i64, 1..9_000_i64, any::<bool>()), 0..3);
    (select(modes.to_vec()), zone, days, periods).prop_map(|(mode, zone, days, periods)| CalendarSpec {
        mode,
        zone,
        days,
        periods,
    })
}

fn compositions() -> impl Strategy<Value = CompositionSpec> {
    let parts = (
        select(&ZONES[..]),
        prop::collection::vec(rules(), 1..4),
        prop::collection::vec(rules(), 0..3),
        prop::collection::vec(calendars(), 0..3),
        prop::option::weighted(0.2, -1_000..1_000_i64),
        prop::option::weighted(0.2, 1_000..5_000_i64),
        // Seldom: if nothing is left, each answer takes the longest search there is.
        prop::bool::weighted(0.1),
    );
    parts.prop_map(|(zone, include, mut exclude, calendars, start, end, mirrors)| {
        if mirrors {
            exclude.iter_mut().for_each(|spec| spec.mirror(&include[0]));
        }
        CompositionSpec { zone, include, exclude, calendars, start, end }
    })
}

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases(6_000))]

    #[test]
    fn crons_fire_at_the_seconds_they_should(spec in crons(), place in places(5_400)) {
        let (from, until) = window(&place, spec.zone(), |from| spec.timing(from));
        let fires = spec.fires(from, until);
        let expected: Vec<i64> = (from..=until).zip(&fires).filter(|(_, fires)| **fires).map(|(second, _)| second * 1000).collect();
        check(&spec.timing(from), &expected, (from, until), &place.probes)?;
    }
}

proptest! {
    #![proptest_config(cases(4_000))]

    #[test]
    fn calendar_rules_and_intervals_fire_at_the_seconds_they_should(
        spec in prop_oneof![4 => calendar_rules(), 1 => intervals()],
        place in places(5_400),
    ) {
        let (from, until) = window(&place, spec.zone(), |from| spec.timing(from));
        let fires = spec.fires(from, until);
        let expected: Vec<i64> = (from..=until).zip(&fires).filter(|(_, fires)| **fires).map(|(second, _)| second * 1000).collect();
        check(&spec.timing(from), &expected, (from, until), &place.probes)?;
    }
}

proptest! {
    #![proptest_config(cases(5_000))]

    #[test]
    fn compositions_fire_at_the_seconds_they_should(spec in compositions(), place in places(4_000)) {
        let (from, until) = window(&place, spec.zone, |from| spec.timing(from));
        let timing = spec.timing(from);
        let expected = spec.fires(from, until);
        let fires: Vec<i64> = expected.iter().map(|(fire, _)| *fire).collect();
        check(&timing, &fires, (from, until), &place.probes)?;
        for (fire, is_frozen) in &expected {
            prop_assert_eq!(timing.frozen_by(*fire).is_some(), *is_frozen);
        }
    }
}
