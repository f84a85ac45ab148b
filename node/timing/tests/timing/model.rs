//! Cron expressions as somebody would explain them: fields as sets of values, days by counting. Nothing here uses the
//! code under test, so that tests can compare the two.

use std::collections::BTreeSet;

use jiff::{Timestamp, civil, tz};
use proptest::prelude::*;

/// One field: its text, and the plain values and day signs it names.
#[derive(Clone, Debug, Default)]
pub(crate) struct FieldModel {
    pub(crate) text: String,
    pub(crate) values: BTreeSet<i32>,
    pub(crate) signs: Vec<Sign>,
}

#[derive(Clone, Debug)]
pub(crate) enum Sign {
    Last,
    LastWorkingDay,
    Nearest(i32),
    LastWeekday(i32),
    Nth(i32, i32),
}

/// An expression as somebody would explain it.
#[derive(Clone, Debug)]
pub(crate) struct Model {
    pub(crate) minute: FieldModel,
    pub(crate) hour: FieldModel,
    pub(crate) month_day: FieldModel,
    pub(crate) month: FieldModel,
    pub(crate) week_day: FieldModel,
}

impl Model {
    pub(crate) fn text(&self) -> String {
        let fields = [&self.minute, &self.hour, &self.month_day, &self.month, &self.week_day];
        fields.map(|field| field.text.as_str()).join(" ")
    }

    pub(crate) fn is_wildcard(&self) -> bool {
        self.minute.text.starts_with('*') || self.hour.text.starts_with('*')
    }

    pub(crate) fn matches(&self, wall: civil::DateTime) -> bool {
        self.minute.values.contains(&wall.minute().into())
            && self.hour.values.contains(&wall.hour().into())
            && self.month.values.contains(&wall.month().into())
            && self.matches_day(wall.date())
    }

    pub(crate) fn matches_day(&self, date: civil::Date) -> bool {
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

pub(crate) fn weekday(date: civil::Date) -> i32 {
    date.weekday().to_sunday_zero_offset().into()
}

/// A field with these values; `stars` to two it is a plain `*`.
pub(crate) fn field(
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

pub(crate) fn models() -> impl Strategy<Value = Model> {
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

/// A change of a zone between 1990 and 2090, or some instant if the zone has none.
pub(crate) fn change_of(zone: &tz::TimeZone, index: usize) -> i64 {
    let (start, end) = (Timestamp::from_second(631_152_000).unwrap(), 3_786_912_000);
    let changes = zone.following(start).map(|change| change.timestamp().as_second());
    let changes: Vec<i64> = changes.take_while(|change| *change < end).collect();
    changes.get(index % changes.len().max(1)).map_or(1_795_399_200, |change| *change)
}
