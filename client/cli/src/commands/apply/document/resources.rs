//! Calendars, pools and namespaces as documents: what `belfry calendar get -o yaml` and the like write, read back.
//!
//! - ROUND-1 (see schedules) holds for them too.

use belfry_sdk::pb;
use belfry_timing::TimeZone;

use super::fields::{Fields, Found, Place};
use super::{Kind, name_in_namespace, written_name};
use crate::commands::calendar;
use crate::text;

pub(super) fn namespace(mut fields: Fields<'_>, found: &mut Found) -> pb::Namespace {
    fields.ignore(&["etag", "running_count", "schedule_count", "update_time"]);
    let read = pb::Namespace {
        name: outermost(&mut fields, Kind::Namespace, text::namespace_name, found),
        description: fields.text("description", found),
        running_max: fields.number("running_max", found),
        schedules_max: fields.number("schedules_max", found),
        weight: fields.number("weight", found),
        spread: fields.duration("spread", found),
        ..Default::default()
    };
    fields.end(found);
    read
}

pub(super) fn pool(mut fields: Fields<'_>, found: &mut Found) -> pb::Pool {
    fields.ignore(&["etag", "running_count", "update_time"]);
    let read = pb::Pool {
        name: outermost(&mut fields, Kind::Pool, text::pool_name, found),
        description: fields.text("description", found),
        slots: fields.number("slots", found),
        rate: fields.take("rate").map(|place| rate(&place, found)),
        pause: fields.take("pause").map(|place| pause(&place, found)),
        ..Default::default()
    };
    fields.end(found);
    read
}

fn rate(place: &Place<'_>, found: &mut Found) -> pb::pool::Rate {
    let mut fields = place.fields(found);
    let read = pb::pool::Rate { count: fields.number("count", found), per: fields.duration("per", found) };
    fields.end(found);
    read
}

fn pause(place: &Place<'_>, found: &mut Found) -> pb::Verdict {
    let mut fields = place.fields(found);
    fields.ignore(&["time"]);
    let (reason, actor) = (fields.text("reason", found), fields.text("actor", found));
    fields.end(found);
    pb::Verdict { reason, actor, ..Default::default() }
}

pub(super) fn calendar(mut fields: Fields<'_>, namespace: &str, found: &mut Found) -> pb::Calendar {
    fields.ignore(&["etag", "update_time", "next"]);
    let read = pb::Calendar {
        name: name_in_namespace(&mut fields, Kind::Calendar, namespace, found),
        description: fields.text("description", found),
        time_zone: fields.text("time_zone", found),
        days: fields.texts("days", found),
        periods: fields.list("periods", found, period),
        ..Default::default()
    };
    fields.end(found);
    check(&read, found);
    read
}

fn period(place: &Place<'_>, found: &mut Found) -> pb::calendar::Period {
    let mut fields = place.fields(found);
    let (start, end) = (fields.text("start", found), fields.text("end", found));
    fields.end(found);
    pb::calendar::Period { start, end }
}

/// Whether its days and periods are some: many calendars are applied together, or none.
fn check(read: &pb::Calendar, found: &mut Found) {
    let zone = match read.time_zone.as_str() {
        "" => None,
        zone => match TimeZone::parse(zone) {
            Ok(zone) => Some(zone),
            Err(error) => return found.add("time_zone", format_args!("is unknown: {error}")),
        },
    };
    // An entry that could not be read has been said.
    if found.0.is_empty()
        && let Err(error) = calendar::entries(read, zone)
    {
        // It names the entry.
        found.0.push(error.to_string());
    }
}

fn outermost(
    fields: &mut Fields<'_>,
    kind: Kind,
    name: fn(&str) -> Result<String, String>,
    found: &mut Found,
) -> String {
    let written = written_name(fields, kind, found);
    if written.is_empty() {
        return written;
    }
    name(&written).unwrap_or_else(|error| {
        found.add("name", error);
        written
    })
}

#[cfg(test)]
mod tests {
    use super::super::{Document, read};
    use super::*;
    use crate::output::view::{CalendarView, NamespaceView, PoolView};

    fn parse(text: &str) -> Result<Document, Vec<String>> {
        read(&serde_yaml_ng::from_str(text).unwrap(), "default", Kind::Schedule)
    }

    #[test]
    fn what_was_written_is_read_back() {
        let seconds = |seconds| Some(prost_types::Duration { seconds, nanos: 0 });
        let namespace = pb::Namespace {
            name: "namespaces/billing".into(),
            description: "d".into(),
            running_max: 1,
            schedules_max: u64::MAX,
            weight: 3,
            spread: seconds(4),
            ..Default::default()
        };
        let pool = pb::Pool {
            name: "pools/gpu".into(),
            description: "d".into(),
            slots: 1,
            rate: Some(pb::pool::Rate { count: 2, per: seconds(3) }),
            pause: Some(pb::Verdict { actor: "anna".into(), reason: "r".into(), time: None }),
            ..Default::default()
        };
        let period =
            pb::calendar::Period { start: "2026-11-27T18:00".into(), end: "2026-11-30T06:00".into() };
        let calendar = pb::Calendar {
            name: "namespaces/billing/calendars/freeze".into(),
            description: "d".into(),
            time_zone: "Europe/Berlin".into(),
            days: vec!["*-12-25".into()],
            periods: vec![period],
            ..Default::default()
        };
        let time = Some(text::timestamp(1));
        // With what only nodes set. The kind is that of the name.
        let made = pb::Namespace {
            etag: "1".into(),
            running_count: 2,
            schedule_count: 3,
            update_time: time,
            ..namespace.clone()
        };
        let yaml = serde_yaml_ng::to_string(&NamespaceView::from(made)).unwrap();
        assert_eq!(parse(&yaml).unwrap(), Document::Namespace(namespace));
        let pause = pool.pause.clone().map(|pause| pb::Verdict { time, ..pause });
        let made = pb::Pool { etag: "1".into(), running_count: 2, update_time: time, pause, ..pool.clone() };
        let yaml = serde_yaml_ng::to_string(&PoolView::from(made)).unwrap();
        assert_eq!(parse(&yaml).unwrap(), Document::Pool(pool));
        let made = pb::Calendar { etag: "1".into(), update_time: time, ..calendar.clone() };
        let yaml = serde_yaml_ng::to_string(&CalendarView::new(made, Vec::new(), "UTC")).unwrap();
        assert_eq!(parse(&yaml).unwrap(), Document::Calendar(calendar));
    }

    #[test]
    fn a_kind_is_said_or_follows_from_the_name() {
        let kind = |text: &str| parse(text).map(|document| document.kind());
        assert_eq!(kind("{kind: Pool, name: gpu}"), Ok(Kind::Pool));
        assert_eq!(kind("{kind: namespace, name: ops}"), Ok(Kind::Namespace));
        assert_eq!(kind("{kind: Calendar, name: c, namespace: ops}"), Ok(Kind::Calendar));
        assert_eq!(kind("{name: namespaces/ops}"), Ok(Kind::Namespace));
        let refused = kind("{kind: Pond, name: a}").unwrap_err();
        assert_eq!(refused[0], "kind is none of Namespace, Pool, Calendar, Schedule");
        let other = kind("{kind: Pool, name: namespaces/ops}").unwrap_err();
        assert!(other[0].starts_with("name \"namespaces/ops\" is not the name of a pool"), "{other:?}");
        assert_eq!(kind("{kind: Pool}").unwrap_err(), ["name is missing: say which pool this is"]);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_field() {
        for (text, expected) in [
            ("{kind: Pool, name: a, slot: 1}", "slot is no field: did you mean `slots`?"),
            ("{kind: Pool, name: a, rate: {count: -1}}", "rate.count is a number and should be "),
            ("{kind: Namespace, name: a, spread: soon}", "spread is no duration: "),
            ("{kind: Calendar, name: a, time_zone: Mars}", "time_zone is unknown: "),
            ("{kind: Calendar, name: a, days: ['2026-13-01']}", "days[0]: `2026-13-01` "),
            ("{kind: Calendar, name: a, periods: [{start: x}]}", "periods[0]"),
            ("{kind: Calendar, name: a, days: [1.5]}", "days[0] is no text: put it in quotes"),
        ] {
            let problems = parse(text).unwrap_err();
            assert!(problems[0].starts_with(expected), "{problems:?} instead of {expected}");
        }
    }
}
