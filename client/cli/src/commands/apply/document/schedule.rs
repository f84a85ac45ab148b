//! A schedule as a document: what `belfry schedule get -o yaml` writes, read back.
//!
//! - ROUND-1: what is read of a document that was written is what it was written of, but for output-only fields, which mean
//!   nothing here.

use std::str::FromStr as _;

use belfry_sdk::pb;
use belfry_timing::{TimeZone, parse_time};

use super::fields::{Fields, Found, Place};
use super::{Kind, name_in_namespace};
use crate::text;

/// Fields that only nodes set.
const OUTPUT_ONLY: [&str; 7] = ["uid", "etag", "generation", "state", "create_time", "update_time", "status"];

/// Reads a schedule. `namespace` is that of documents that name none.
pub(super) fn read(mut fields: Fields<'_>, namespace: &str, found: &mut Found) -> pb::Schedule {
    fields.ignore(&OUTPUT_ONLY);
    let read = pb::Schedule {
        name: name_in_namespace(&mut fields, Kind::Schedule, namespace, found),
        labels: fields.map("labels", found),
        description: fields.text("description", found),
        timing: fields.take("timing").map(|place| timing(&place, found)),
        target: fields.take("target").map(|place| target(&place, found)),
        policies: fields.take("policies").map(|place| policies(&place, found)),
        pool: fields.text("pool", found),
        priority: fields.number("priority", found),
        executor_labels: fields.map("executor_labels", found),
        max_runs: fields.number("max_runs", found),
        completion_action: fields.choice(
            "completion_action",
            "COMPLETION_ACTION_",
            pb::CompletionAction::from_str_name,
            &["KEEP", "DELETE"],
            found,
        ),
        history: fields.take("history").map(|place| history(&place, found)),
        liveness: fields.take("liveness").map(|place| liveness(&place, found)),
        pause: fields.take("pause").map(|place| pause(&place, found)),
        ..Default::default()
    };
    fields.end(found);
    read
}

fn pause(place: &Place<'_>, found: &mut Found) -> pb::Pause {
    let mut fields = place.fields(found);
    fields.ignore(&["pause_time", "skipped_count"]);
    let (reason, actor) = (fields.text("reason", found), fields.text("actor", found));
    let until = instant(&mut fields, "until", &TimeZone::utc(), found);
    fields.end(found);
    pb::Pause { reason, actor, until, ..Default::default() }
}

// ---- when

fn timing(place: &Place<'_>, found: &mut Found) -> pb::Timing {
    let mut fields = place.fields(found);
    let time_zone = fields.text("time_zone", found);
    let zone = TimeZone::parse(text::zone_or_utc(&time_zone)).unwrap_or_else(|error| {
        found.add(&format!("{}.time_zone", place.path), format_args!("is unknown: {error}"));
        TimeZone::utc()
    });
    let read = pb::Timing {
        include: fields.list("include", found, |place, found| rule(place, &zone, found)),
        exclude: fields.list("exclude", found, |place, found| rule(place, &zone, found)),
        calendars: fields.list("calendars", found, calendar_use),
        start_time: instant(&mut fields, "start_time", &zone, found),
        end_time: instant(&mut fields, "end_time", &zone, found),
        spread: fields.duration("spread", found),
        time_zone,
    };
    fields.end(found);
    read
}

fn rule(place: &Place<'_>, zone: &TimeZone, found: &mut Found) -> pb::Rule {
    use pb::rule::Rule;
    let mut fields = place.fields(found);
    let rules = [
        fields.take("cron").map(|place| Rule::Cron(cron(&place, found))),
        fields.take("interval").map(|place| Rule::Interval(interval(&place, found))),
        instant(&mut fields, "at_time", zone, found).map(Rule::AtTime),
        fields.take("at_local_time").map(|place| Rule::AtLocalTime(place.text(found))),
        fields.take("calendar").map(|place| Rule::Calendar(calendar_rule(&place, found))),
        fields.take("fixed_delay").map(|place| Rule::FixedDelay(fixed_delay(&place, found))),
    ];
    fields.end(found);
    let rule = one_of(place, rules, "cron, interval, at_time, at_local_time, calendar or fixed_delay", found);
    pb::Rule { rule }
}

/// The one that is given.
fn one_of<T, const N: usize>(
    place: &Place<'_>,
    given: [Option<T>; N],
    names: &str,
    found: &mut Found,
) -> Option<T> {
    let mut given: Vec<T> = given.into_iter().flatten().collect();
    // An empty one may be one that could not be read, which has been said.
    if given.len() > 1 || (given.is_empty() && found.0.is_empty()) {
        found.add(&place.path, format_args!("should have exactly one of {names}"));
    }
    given.pop()
}

fn cron(place: &Place<'_>, found: &mut Found) -> pb::Cron {
    let mut fields = place.fields(found);
    fields.ignore(&["resolved_expression"]);
    let (expression, allow_never) = (fields.text("expression", found), fields.flag("allow_never", found));
    fields.end(found);
    pb::Cron { expression, allow_never, resolved_expression: String::new() }
}

fn interval(place: &Place<'_>, found: &mut Found) -> pb::Interval {
    let mut fields = place.fields(found);
    let (every, phase) = (fields.duration("every", found), fields.duration("phase", found));
    fields.end(found);
    // What is not shifted is written `0s`.
    pb::Interval { every, phase: phase.filter(|phase| *phase != prost_types::Duration::default()) }
}

fn fixed_delay(place: &Place<'_>, found: &mut Found) -> pb::FixedDelay {
    let mut fields = place.fields(found);
    let delay = fields.duration("delay", found);
    fields.end(found);
    pb::FixedDelay { delay }
}

fn calendar_rule(place: &Place<'_>, found: &mut Found) -> pb::CalendarRule {
    let mut fields = place.fields(found);
    let read = pb::CalendarRule {
        years: fields.list("years", found, Place::number),
        months: fields.list("months", found, Place::number),
        month_days: fields.list("month_days", found, Place::number),
        weekdays: fields.list("weekdays", found, weekday),
        times: fields.texts("times", found),
    };
    fields.end(found);
    read
}

fn weekday(place: &Place<'_>, found: &mut Found) -> pb::Weekday {
    // `MON#1` as the flags have it, or its two parts.
    if let Some(text) = place.value.as_str() {
        let (day, nth) = text.split_once('#').unwrap_or((text, "0"));
        let nth = i32::from_str(nth).unwrap_or_else(|_not_a_number| {
            found.add(&place.path, format_args!("`{text}` is no weekday such as MON or MON#1"));
            0
        });
        return pb::Weekday { day: day.to_uppercase(), nth };
    }
    let mut fields = place.fields(found);
    let (day, nth) = (fields.text("day", found), fields.number("nth", found));
    fields.end(found);
    pb::Weekday { day, nth }
}

fn calendar_use(place: &Place<'_>, found: &mut Found) -> pb::CalendarUse {
    let mut fields = place.fields(found);
    let calendar = fields.text("calendar", found);
    let values = ["INCLUDE", "EXCLUDE", "FREEZE"];
    let mode = fields.choice("mode", "", pb::calendar_use::Mode::from_str_name, &values, found);
    fields.end(found);
    pb::CalendarUse { calendar, mode }
}

fn instant(
    fields: &mut Fields<'_>,
    name: &'static str,
    zone: &TimeZone,
    found: &mut Found,
) -> Option<prost_types::Timestamp> {
    let place = fields.take(name)?;
    let text = place.text(found);
    if text.is_empty() {
        return None;
    }
    match parse_time(&text, zone) {
        Ok(at) => Some(text::timestamp(at)),
        Err(error) => {
            found.add(&place.path, format_args!("is no time: {error}"));
            None
        }
    }
}

// ---- what

fn target(place: &Place<'_>, found: &mut Found) -> pb::Target {
    use pb::target::Target;
    let mut fields = place.fields(found);
    let targets = [
        fields.take("command").map(|place| Target::Command(command(&place, found))),
        fields.take("http").map(|place| Target::Http(http(&place, found))),
        fields.take("handler").map(|place| Target::Handler(handler(&place, found))),
    ];
    fields.end(found);
    pb::Target { target: one_of(place, targets, "command, http or handler", found) }
}

fn command(place: &Place<'_>, found: &mut Found) -> pb::CommandTarget {
    let mut fields = place.fields(found);
    let read = pb::CommandTarget {
        argv: fields.texts("argv", found),
        shell: fields.text("shell", found),
        environment: fields.map("environment", found),
        working_directory: fields.text("working_directory", found),
        user: fields.text("user", found),
        stdin: fields.bytes("stdin", "stdin_base64", found).into(),
    };
    fields.end(found);
    read
}

fn http(place: &Place<'_>, found: &mut Found) -> pb::HttpTarget {
    let mut fields = place.fields(found);
    let read = pb::HttpTarget {
        url: fields.text("url", found),
        method: fields.text("method", found),
        headers: fields.map("headers", found),
        body: fields.bytes("body", "body_base64", found).into(),
        success_codes: fields.list("success_codes", found, Place::number),
    };
    fields.end(found);
    read
}

fn handler(place: &Place<'_>, found: &mut Found) -> pb::HandlerTarget {
    let mut fields = place.fields(found);
    let read = pb::HandlerTarget {
        handler: fields.text("handler", found),
        payload: fields.bytes("payload", "payload_base64", found).into(),
    };
    fields.end(found);
    read
}

// ---- by which rules

fn policies(place: &Place<'_>, found: &mut Found) -> pb::Policies {
    let mut fields = place.fields(found);
    let read = pb::Policies {
        overlap_policy: fields.choice(
            "overlap_policy",
            "OVERLAP_POLICY_",
            pb::OverlapPolicy::from_str_name,
            &["HOLD_ONE", "SKIP", "BUFFER_ALL", "ALLOW", "CANCEL_RUNNING"],
            found,
        ),
        overlap_limit: fields.number("overlap_limit", found),
        misfire_policy: fields.choice(
            "misfire_policy",
            "MISFIRE_POLICY_",
            pb::MisfirePolicy::from_str_name,
            &["COALESCE", "SKIP", "FIRE_ALL"],
            found,
        ),
        misfire_window: fields.duration("misfire_window", found),
        misfire_limit: fields.number("misfire_limit", found),
        unknown_outcome_policy: fields.choice(
            "unknown_outcome_policy",
            "UNKNOWN_OUTCOME_POLICY_",
            pb::UnknownOutcomePolicy::from_str_name,
            &["HOLD", "RETRY", "PAUSE", "FAIL"],
            found,
        ),
        start_deadline: fields.duration("start_deadline", found),
        attempt_timeout: fields.duration("attempt_timeout", found),
        lease_duration: fields.duration("lease_duration", found),
        cancel_grace: fields.duration("cancel_grace", found),
        retry: fields.take("retry").map(|place| retry(&place, found)),
        pause_after_failures: fields.number("pause_after_failures", found),
    };
    fields.end(found);
    read
}

fn retry(place: &Place<'_>, found: &mut Found) -> pb::Retry {
    let mut fields = place.fields(found);
    let read = pb::Retry {
        max_attempts: fields.number("max_attempts", found),
        initial_backoff: fields.duration("initial_backoff", found),
        max_backoff: fields.duration("max_backoff", found),
        non_retryable_codes: fields.list("non_retryable_codes", found, Place::number),
    };
    fields.end(found);
    read
}

fn history(place: &Place<'_>, found: &mut Found) -> pb::History {
    let mut fields = place.fields(found);
    let read = pb::History {
        keep_for: fields.duration("keep_for", found),
        keep_count: fields.number("keep_count", found),
    };
    fields.end(found);
    read
}

fn liveness(place: &Place<'_>, found: &mut Found) -> pb::Liveness {
    let mut fields = place.fields(found);
    let read = pb::Liveness {
        start_grace: fields.duration("start_grace", found),
        success_within: fields.duration("success_within", found),
        disabled: fields.flag("disabled", found),
    };
    fields.end(found);
    read
}

#[cfg(test)]
mod tests {
    use super::super::{Document, read as read_document};
    use super::*;
    use crate::output::view::ScheduleView;

    fn parse_in(text: &str, namespace: &str) -> Result<pb::Schedule, Vec<String>> {
        match read_document(&serde_yaml_ng::from_str(text).unwrap(), namespace, Kind::Schedule)? {
            Document::Schedule(schedule) => Ok(*schedule),
            other => panic!("{other:?}"),
        }
    }

    fn parse(text: &str) -> Result<pb::Schedule, Vec<String>> {
        parse_in(text, "default")
    }

    fn seconds(seconds: i64) -> Option<prost_types::Duration> {
        Some(prost_types::Duration { seconds, nanos: 500_000_000 })
    }

    /// Every field that is not output only, set.
    fn full() -> pb::Schedule {
        use pb::rule::Rule;
        let rules = [
            Rule::Cron(pb::Cron { expression: "H 3 * * *".into(), allow_never: true, ..Default::default() }),
            Rule::Interval(pb::Interval { every: seconds(60), phase: seconds(1) }),
            Rule::AtTime(text::timestamp(1_795_399_200_250)),
            Rule::AtLocalTime("2026-12-24T18:00".into()),
            Rule::Calendar(pb::CalendarRule {
                years: vec![2027],
                months: vec![1, 7],
                month_days: vec![-1],
                weekdays: vec![pb::Weekday { day: "MON".into(), nth: -1 }],
                times: vec!["09:00".into(), "18:30:15".into()],
            }),
            Rule::FixedDelay(pb::FixedDelay { delay: seconds(9) }),
        ];
        let used = |mode: i32| pb::CalendarUse { calendar: format!("c{mode}"), mode };
        let pairs = |key: &str| [(key.to_owned(), "1.10".to_owned())].into();
        pb::Schedule {
            name: "namespaces/ops/schedules/full".into(),
            labels: pairs("team"),
            description: "for: people\nand # more".into(),
            timing: Some(pb::Timing {
                include: rules.map(|rule| pb::Rule { rule: Some(rule) }).into(),
                time_zone: "Europe/Berlin".into(),
                exclude: vec![pb::Rule { rule: Some(Rule::AtTime(text::timestamp(0))) }],
                calendars: vec![used(1), used(2), used(3)],
                start_time: Some(text::timestamp(1000)),
                end_time: Some(text::timestamp(2000)),
                spread: seconds(3),
            }),
            target: Some(pb::Target {
                target: Some(pb::target::Target::Command(pb::CommandTarget {
                    argv: vec!["/bin/x".into(), "-1".into(), "yes".into()],
                    environment: pairs("A"),
                    working_directory: "/".into(),
                    user: "nobody".into(),
                    stdin: b"\xff\x00".to_vec().into(),
                    ..Default::default()
                })),
            }),
            policies: Some(pb::Policies {
                overlap_policy: 4,
                misfire_policy: 3,
                unknown_outcome_policy: 2,
                start_deadline: seconds(1),
                attempt_timeout: seconds(2),
                lease_duration: seconds(3),
                overlap_limit: 4,
                misfire_window: seconds(5),
                misfire_limit: 6,
                retry: Some(pb::Retry {
                    max_attempts: 7,
                    initial_backoff: seconds(8),
                    max_backoff: seconds(9),
                    non_retryable_codes: vec![-1, 404],
                }),
                pause_after_failures: 10,
                cancel_grace: seconds(11),
            }),
            pool: "gpu".into(),
            pause: Some(pb::Pause {
                reason: "disk".into(),
                actor: "anna".into(),
                until: Some(text::timestamp(3000)),
                ..Default::default()
            }),
            priority: 9,
            max_runs: u64::MAX,
            completion_action: 2,
            executor_labels: pairs("gpu"),
            history: Some(pb::History { keep_for: seconds(12), keep_count: 13 }),
            liveness: Some(pb::Liveness {
                start_grace: seconds(14),
                success_within: seconds(15),
                disabled: true,
            }),
            ..Default::default()
        }
    }

    #[test]
    fn what_was_written_is_read_back() {
        let http = pb::HttpTarget {
            url: "https://a/?b=c".into(),
            method: "PUT".into(),
            headers: [("Accept".to_owned(), "*/*".to_owned())].into(),
            body: b"{}".to_vec().into(),
            success_codes: vec![204],
        };
        let handler = pb::HandlerTarget { handler: "bill".into(), payload: b"p".to_vec().into() };
        let targets = [pb::target::Target::Http(http), pb::target::Target::Handler(handler)];
        let mut schedules = vec![full(), pb::Schedule { pause: None, history: None, ..full() }];
        schedules.extend(
            targets
                .map(|target| pb::Schedule { target: Some(pb::Target { target: Some(target) }), ..full() }),
        );
        for mut schedule in schedules {
            let output_only = pb::Schedule {
                uid: "u".into(),
                etag: "e".into(),
                generation: 3,
                state: 2,
                create_time: Some(text::timestamp(1)),
                update_time: Some(text::timestamp(2)),
                status: Some(pb::ScheduleStatus {
                    next_times: vec![text::timestamp(1)],
                    ..Default::default()
                }),
                ..schedule.clone()
            };
            let view = ScheduleView::from(output_only);
            schedule.history.get_or_insert_default();
            assert_eq!(parse(&serde_yaml_ng::to_string(&view).unwrap()).unwrap(), schedule);
            let json = serde_json::to_string(&view).unwrap();
            assert_eq!(parse_in(&json, "x").unwrap(), schedule);
        }
    }

    #[test]
    fn people_may_write_less() {
        let schedule = parse(
            "name: backup\nnamespace: ops\ntiming:\n  include:\n  - cron: {expression: 0 3 * * *}\n  - calendar: {weekdays: [mon#1, FRI], times: ['09:00']}\n\
             target: {command: {shell: backup}}\npolicies: {overlap_policy: hold-one, lease_duration: 90, misfire_policy: }\n",
        )
        .unwrap();
        assert_eq!(schedule.name, "namespaces/ops/schedules/backup");
        let policies = schedule.policies.unwrap();
        assert_eq!((policies.overlap_policy, policies.misfire_policy), (1, 0));
        assert_eq!(policies.lease_duration, Some(prost_types::Duration { seconds: 90, nanos: 0 }));
        assert_eq!(schedule.timing.unwrap().include.len(), 2);
    }

    #[test]
    fn what_is_wrong_is_said_with_its_path_all_at_once() {
        let problems = parse(
            "name: namespaces/a/schedules/b\nnamespace: c\nlabels: {tier: 1}\ncolour: red\n\
             timing: {include: [{cron: {expresion: '* * * * *'}, interval: {every: 1h}}, {at_time: soon}], time_zone: Mars}\n\
             target: []\npolicies: {overlap_polcy: SKIP, misfire_policy: FORBID, retry: {max_attempts: -1, initial_backoff: soon}}\n\
             liveness: {disabled: 'no'}\n",
        )
        .unwrap_err();
        let expected = [
            "namespace `c` is not that of the name namespaces/a/schedules/b",
            "labels.tier is no text: put it in quotes",
            "timing.time_zone is unknown: ",
            "timing.include[0].cron.expresion is no field: did you mean `expression`?",
            "timing.include[0] should have exactly one of cron, interval, ",
            "timing.include[1].at_time is no time: `soon` is not a time",
            "target is a list and should be a mapping of fields",
            "policies.misfire_policy `FORBID` is unknown: it can be COALESCE, SKIP, FIRE_ALL",
            "policies.retry.max_attempts is a number and should be a whole number that fits",
            "policies.retry.initial_backoff is no duration: ",
            "policies.overlap_polcy is no field: did you mean `overlap_policy`?",
            "liveness.disabled is a text and should be true or false",
            "colour is no field: there are kind, uid, etag, ",
        ];
        assert_eq!(problems.len(), expected.len(), "{problems:#?}");
        for (problem, expected) in problems.iter().zip(expected) {
            assert!(problem.starts_with(expected), "{problem} instead of {expected}");
        }
    }

    #[test]
    fn a_document_is_a_mapping_with_a_name() {
        assert_eq!(parse("- 1").unwrap_err()[0], "the document is a list and should be a mapping of fields");
        assert_eq!(parse("{}").unwrap_err(), ["name is missing: say which schedule this is"]);
    }
}
