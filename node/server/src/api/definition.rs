//! What a user declares: every field checked against its rules and limits, then turned into the core's types.
//!
//! A function here notes what is wrong and gives back what it could read; the caller goes on only when nothing was noted.

use std::collections::BTreeMap;
use std::time::Duration;

use belfry_core::definition::{CompletionAction, History, Liveness, Priority, Rule, Target, Timing};
use belfry_core::{ScheduleKey, UnixMillis};
use belfry_proto::v1 as pb;
use belfry_timing::{NeverFiring, TimeZone, format_duration};
use bytes::Bytes;
use prost::Message as _;

use super::encode::{COMMAND, HTTP};
use super::names;
use super::violations::{INVALID_CRON, PAYLOAD_TOO_LARGE, Violations};
use crate::config::Limits;
use crate::timings::parse_cron;

/// The pool of schedules that name none.
const DEFAULT_POOL: &str = "default";

/// What fields are checked against.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules<'a> {
    pub(super) limits: &'a Limits,
}

impl Rules<'_> {
    /// Reads `timing`. Where it says what `current` says already, it is `current`: an old instant may stay, and an `H` that
    /// was resolved stays as it was resolved.
    pub(super) fn timing(
        &self,
        key: &ScheduleKey,
        timing: Option<&pb::Timing>,
        current: Option<&Timing>,
        now: UnixMillis,
        found: &mut Violations,
    ) -> Option<Timing> {
        const FIELD: &str = "schedule.timing";
        let Some(timing) = timing else {
            found.add(FIELD, "is required: say when the schedule fires");
            return None;
        };
        let zone = match timing.time_zone.as_str() {
            "" => Some(TimeZone::utc()),
            name => found.take("schedule.timing.time_zone", TimeZone::parse(name)),
        };
        let [rule] = timing.include.as_slice() else {
            let count = timing.include.len();
            found.add(
                "schedule.timing.include",
                format_args!("has {count} rules: this release takes exactly one"),
            );
            return None;
        };
        let zone = zone?;
        if let Some(current) = current.filter(|current| says_the_same(rule, &zone, current)) {
            return Some(current.clone());
        }
        let rule = read_rule(key, rule, &zone, now, found)?;
        Some(Timing::of(vec![rule], zone.name()))
    }

    /// Reads `target`.
    pub(super) fn target(&self, target: Option<&pb::Target>, found: &mut Violations) -> Option<Target> {
        use pb::target::Target as Kind;
        const FIELD: &str = "schedule.target";
        let Some(kind) = target.and_then(|target| target.target.as_ref()) else {
            found.add(FIELD, "is required: give command, http or handler");
            return None;
        };
        let (field, size) = match kind {
            Kind::Command(command) => ("schedule.target.command", command.encoded_len()),
            Kind::Http(http) => ("schedule.target.http", http.encoded_len()),
            Kind::Handler(handler) => ("schedule.target.handler.payload", handler.payload.len()),
        };
        let max = self.limits.payload_bytes_max;
        if size > max {
            // Not looked into: that could take long.
            let why = format_args!(
                "has {size} bytes: at most {max} are accepted (limits.payload_bytes_max); pass a reference to larger data"
            );
            found.add_for(field, why, PAYLOAD_TOO_LARGE);
            return None;
        }
        let (handler, payload) = match kind {
            Kind::Command(command) => {
                check_command(command, found);
                (COMMAND.to_owned(), Bytes::from(command.encode_to_vec()))
            }
            Kind::Http(http) => {
                check_http(http, found);
                (HTTP.to_owned(), Bytes::from(http.encode_to_vec()))
            }
            Kind::Handler(handler) => {
                self.check_handler(&handler.handler, found);
                (handler.handler.clone(), handler.payload.clone())
            }
        };
        Some(Target { handler, payload })
    }

    fn check_handler(&self, handler: &str, found: &mut Violations) {
        const FIELD: &str = "schedule.target.handler.handler";
        found.take(FIELD, names::check_segment("handler", handler, self.limits.name_bytes_max));
        if handler == COMMAND || handler == HTTP {
            found.add(FIELD, format_args!("`{handler}` is a stock handler: use schedule.target.{handler}"));
        }
    }

    /// Reads `pool`.
    pub(super) fn pool(&self, pool: &str, found: &mut Violations) -> String {
        let pool = if pool.is_empty() { DEFAULT_POOL } else { pool };
        found.take("schedule.pool", names::check_segment("pool", pool, self.limits.name_bytes_max));
        pool.to_owned()
    }

    /// Reads `priority`.
    pub(super) fn priority(&self, priority: u32, found: &mut Violations) -> Priority {
        match (priority, Priority::new(priority)) {
            (0, _) => Priority::default(),
            (_, Some(priority)) => priority,
            (_, None) => {
                let why = format_args!("{priority} is not from 1 to 9, where 9 goes first");
                found.add("schedule.priority", why);
                Priority::default()
            }
        }
    }

    /// Reads `completion_action`.
    pub(super) fn completion(&self, action: i32, found: &mut Violations) -> CompletionAction {
        use pb::CompletionAction as Wire;
        match Wire::try_from(action) {
            Ok(Wire::Unspecified | Wire::Keep) => CompletionAction::Keep,
            Ok(Wire::Delete) => CompletionAction::Delete,
            Err(_) => {
                unknown::<()>("schedule.completion_action", action, "KEEP and DELETE", found);
                CompletionAction::Keep
            }
        }
    }

    /// Reads `history`.
    pub(super) fn history(&self, history: Option<&pb::History>, found: &mut Violations) -> History {
        let unset = pb::History::default();
        let history = history.unwrap_or(&unset);
        let (hour, year) = (Duration::from_secs(3600), 366 * Duration::from_secs(86_400));
        let mut read =
            |field: &str, value: &prost_types::Duration| read_duration(field, value, hour, year, found);
        History {
            keep_for: history.keep_for.as_ref().and_then(|value| read("schedule.history.keep_for", value)),
            keep_count: (history.keep_count > 0).then_some(history.keep_count),
        }
    }

    /// Reads `liveness`.
    pub(super) fn liveness(&self, liveness: Option<&pb::Liveness>, found: &mut Violations) -> Liveness {
        let unset = pb::Liveness::default();
        let liveness = liveness.unwrap_or(&unset);
        let (second, year) = (Duration::from_secs(1), 366 * Duration::from_secs(86_400));
        let mut read = |name: &str, value: Option<&prost_types::Duration>| {
            value.and_then(|value| {
                read_duration(&format!("schedule.liveness.{name}"), value, second, year, found)
            })
        };
        Liveness {
            start_grace: read("start_grace", liveness.start_grace.as_ref()),
            success_within: read("success_within", liveness.success_within.as_ref()),
            disabled: liveness.disabled,
        }
    }

    /// Reads `labels`.
    pub(super) fn labels(
        &self,
        labels: &BTreeMap<String, String>,
        found: &mut Violations,
    ) -> BTreeMap<String, String> {
        self.label_map("schedule.labels", labels, found)
    }

    /// Reads `executor_labels`.
    pub(super) fn executor_labels(
        &self,
        labels: &BTreeMap<String, String>,
        found: &mut Violations,
    ) -> BTreeMap<String, String> {
        self.label_map("schedule.executor_labels", labels, found)
    }

    fn label_map(
        &self,
        field: &str,
        labels: &BTreeMap<String, String>,
        found: &mut Violations,
    ) -> BTreeMap<String, String> {
        found.limit(field, labels.len(), self.limits.labels_max, "labels");
        let max = self.limits.label_bytes_max;
        for (key, value) in labels.iter().take(self.limits.labels_max) {
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'/');
            if key.is_empty() || key.len() > max || !key.bytes().all(fits) {
                let shown: String = key.chars().take(80).collect();
                let why =
                    format!("the key `{shown}` may have 1 to {max} letters, digits, `-`, `_`, `.` and `/`");
                found.add(field, why);
            } else if value.len() > max || value.chars().any(char::is_control) {
                let why = "may have no control characters and at most";
                found.add(&format!("{field}[{key}]"), format_args!("the value {why} {max} bytes"));
            }
        }
        labels.clone()
    }

    /// Reads `description`.
    pub(super) fn description(&self, description: &str, found: &mut Violations) -> String {
        found.limit("schedule.description", description.len(), self.limits.description_bytes_max, "bytes");
        description.to_owned()
    }
}

/// Whether a rule declares what is stored, whatever its output-only fields say.
fn says_the_same(rule: &pb::Rule, zone: &TimeZone, current: &Timing) -> bool {
    use pb::rule::Rule as Kind;
    if current.time_zone != zone.name() {
        return false;
    }
    match (rule.rule.as_ref(), current.include.as_slice()) {
        (Some(Kind::Cron(cron)), [Rule::Cron { expression, allow_never, .. }]) => {
            cron.expression == *expression && cron.allow_never == *allow_never
        }
        (Some(Kind::AtTime(at)), [Rule::At(current)]) => instant(at) == Some(*current),
        // The others are read again: nothing about them depends on when.
        (Some(_) | None, _) => false,
    }
}

fn read_rule(
    key: &ScheduleKey,
    rule: &pb::Rule,
    zone: &TimeZone,
    now: UnixMillis,
    found: &mut Violations,
) -> Option<Rule> {
    use pb::rule::Rule as Kind;
    const FIELD: &str = "schedule.timing.include[0]";
    match rule.rule.as_ref() {
        Some(Kind::Cron(cron)) => read_cron(key, cron, zone, found),
        Some(Kind::Interval(interval)) => read_interval(interval, found),
        Some(Kind::AtTime(at)) => {
            let field = format!("{FIELD}.at_time");
            let Some(at) = instant(at) else {
                found.add(&field, "is not a time: nanos must be from 0 to 999999999, and seconds within the years 1 to 9999");
                return None;
            };
            if at <= now || at.0 >= belfry_timing::HORIZON_UNIX_MILLIS {
                let (at, now) = (belfry_timing::format_time(at.0), belfry_timing::format_time(now.0));
                found.add(
                    &field,
                    format_args!("{at} must lie in the future (it is {now}) and before the year 2101"),
                );
                return None;
            }
            Some(Rule::At(at))
        }
        Some(Kind::AtLocalTime(_) | Kind::Calendar(_) | Kind::FixedDelay(_)) | None => {
            found.add(FIELD, "is empty: give cron, interval or at_time");
            None
        }
    }
}

fn read_cron(key: &ScheduleKey, cron: &pb::Cron, zone: &TimeZone, found: &mut Violations) -> Option<Rule> {
    let never = if cron.allow_never { NeverFiring::Allow } else { NeverFiring::Refuse };
    match parse_cron(key, &cron.expression, zone, never) {
        Ok(compiled) => Some(Rule::Cron {
            expression: cron.expression.clone(),
            resolved: compiled.resolved_expression().unwrap_or(&cron.expression).to_owned(),
            allow_never: cron.allow_never,
        }),
        Err(error) => {
            // The error names the column and the way out.
            found.add_for("schedule.timing.include[0].cron.expression", error, INVALID_CRON);
            None
        }
    }
}

fn read_interval(interval: &pb::Interval, found: &mut Violations) -> Option<Rule> {
    const FIELD: &str = "schedule.timing.include[0].interval";
    let Some(every) = interval.every.as_ref() else {
        found.add(&format!("{FIELD}.every"), "is required");
        return None;
    };
    let (min, max) = (belfry_timing::EVERY_MIN, belfry_timing::EVERY_MAX);
    let every = read_duration(&format!("{FIELD}.every"), every, min, max, found)?;
    let phase = match interval.phase.as_ref() {
        None => Duration::ZERO,
        Some(phase) => read_duration(&format!("{FIELD}.phase"), phase, Duration::ZERO, max, found)?,
    };
    found.take(FIELD, belfry_timing::Timing::every(every, phase))?;
    Some(Rule::Interval { every, phase })
}

fn check_command(command: &pb::CommandTarget, found: &mut Violations) {
    const FIELD: &str = "schedule.target.command";
    let field = |name: &str| format!("{FIELD}.{name}");
    match (command.argv.is_empty(), command.shell.is_empty()) {
        (true, true) => found.add(FIELD, "is empty: give argv or shell"),
        (false, false) => found.add(FIELD, "has both argv and shell: give one of them"),
        (true, false) => {}
        (false, true) if command.argv[0].is_empty() => {
            found.add(&field("argv[0]"), "is empty: name a program")
        }
        (false, true) => {}
    }
    // The operating system ends texts at a NUL.
    let mut plain = |name: &str, text: &str| {
        if text.contains('\0') {
            found.add(&field(name), "contains a NUL character: remove it");
        }
    };
    command.argv.iter().for_each(|argument| plain("argv", argument));
    plain("shell", &command.shell);
    plain("working_directory", &command.working_directory);
    plain("user", &command.user);
    command.environment.values().for_each(|value| plain("environment", value));
    for name in command.environment.keys() {
        if name.is_empty() || name.contains(['=', '\0']) {
            found.add(&field("environment"), format_args!("`{name}` is not the name of a variable"));
        }
    }
}

fn check_http(target: &pb::HttpTarget, found: &mut Violations) {
    let field = |name: &str| format!("schedule.target.http.{name}");
    let url = target.url.parse::<http::Uri>().ok();
    let scheme = url.as_ref().and_then(http::Uri::scheme_str);
    if !matches!(scheme, Some("http" | "https")) {
        found.add(&field("url"), "is not a URL that begins with http:// or https://");
    }
    if !target.method.is_empty() && target.method.parse::<http::Method>().is_err() {
        found.add(&field("method"), "is not a method: write GET, POST, PUT, …, or leave it empty for POST");
    }
    for (name, value) in &target.headers {
        if name.parse::<http::HeaderName>().is_err() || value.parse::<http::HeaderValue>().is_err() {
            let shown: String = name.chars().take(80).collect();
            found.add(
                &field("headers"),
                format_args!("`{shown}` has a name or a value that HTTP does not allow"),
            );
        }
    }
    for code in &target.success_codes {
        if !(100..=599).contains(code) {
            found.add(&field("success_codes"), format_args!("{code} is not a status code: use 100 to 599"));
        }
    }
}

/// Reads a duration of whole milliseconds within bounds.
pub(super) fn read_duration(
    field: &str,
    value: &prost_types::Duration,
    min: Duration,
    max: Duration,
    found: &mut Violations,
) -> Option<Duration> {
    let (Ok(seconds), Ok(nanos)) = (u64::try_from(value.seconds), u32::try_from(value.nanos)) else {
        found.add(field, "must not be negative");
        return None;
    };
    if nanos > 999_999_999 {
        // A `Duration` would carry them over, which overflows behind the largest number of seconds.
        found.add(field, "is not a duration: nanos must be from 0 to 999999999");
        return None;
    }
    if nanos % 1_000_000 != 0 {
        found.add(field, "must be whole milliseconds");
        return None;
    }
    let duration = Duration::new(seconds, nanos);
    if duration < min || duration > max {
        let text = format_duration;
        let why = format!("{} is not between {} and {}", text(duration), text(min), text(max));
        found.add(field, why);
        return None;
    }
    Some(duration)
}

/// The instant of a timestamp; what is below a millisecond is cut.
pub(super) fn instant(at: &prost_types::Timestamp) -> Option<UnixMillis> {
    let nanos = i64::from(at.nanos);
    let millis = at.seconds.checked_mul(1000)?.checked_add(nanos / 1_000_000)?;
    (0..1_000_000_000).contains(&nanos).then_some(UnixMillis(millis))
}

pub(super) fn unknown<T>(field: &str, number: i32, known: &str, found: &mut Violations) -> Option<T> {
    found.add(field, format_args!("{number} is no policy that this release knows: it has {known}"));
    None
}

#[cfg(test)]
mod tests {
    use super::super::encode;
    use super::*;

    const NOW: UnixMillis = UnixMillis(1_795_399_200_000);

    fn check<T>(read: impl FnOnce(&Rules<'_>, &mut Violations) -> T) -> (T, Vec<String>) {
        let limits = Limits::default();
        let mut found = Violations::default();
        let value = read(&Rules { limits: &limits }, &mut found);
        let lines = found
            .all()
            .iter()
            .map(|one| format!("{} {}: {}", one.reason, one.field, one.description))
            .collect();
        (value, lines)
    }

    fn key() -> ScheduleKey {
        ScheduleKey::new("ns", "name")
    }

    fn cron(expression: &str) -> pb::rule::Rule {
        pb::rule::Rule::Cron(pb::Cron { expression: expression.into(), ..Default::default() })
    }

    fn timing(rule: pb::rule::Rule, zone: &str) -> pb::Timing {
        pb::Timing {
            include: vec![pb::Rule { rule: Some(rule) }],
            time_zone: zone.into(),
            ..Default::default()
        }
    }

    fn read_timing(timing: &pb::Timing) -> (Option<Timing>, Vec<String>) {
        check(|rules, found| rules.timing(&key(), Some(timing), None, NOW, found))
    }

    fn seconds(seconds: i64) -> Option<prost_types::Duration> {
        Some(prost_types::Duration { seconds, nanos: 0 })
    }

    #[test]
    fn timings_come_back_as_they_were_given() {
        let interval = pb::Interval { every: seconds(90), phase: seconds(5) };
        let at = prost_types::Timestamp { seconds: NOW.0 / 1000 + 60, nanos: 250_000_000 };
        for rule in
            [cron("*/5 9-17 * * MON-FRI"), pb::rule::Rule::Interval(interval), pb::rule::Rule::AtTime(at)]
        {
            let given = timing(rule, "Europe/Berlin");
            let (read, problems) = read_timing(&given);
            assert_eq!(problems, [""; 0]);
            let mut back = encode::timing(&read.unwrap());
            if let Some(pb::rule::Rule::Cron(cron)) = &mut back.include[0].rule {
                assert_eq!(cron.resolved_expression, cron.expression);
                cron.resolved_expression.clear();
            }
            assert_eq!(back, given);
        }
    }

    #[test]
    fn an_h_is_resolved_by_the_name_and_stays_resolved() {
        let given = timing(cron("H H * * *"), "");
        let (read, _) = read_timing(&given);
        let mut read = read.unwrap();
        assert_eq!(read.time_zone, "UTC");
        let Rule::Cron { resolved, .. } = &mut read.include[0] else { panic!("cron") };
        assert!(!resolved.contains('H'));
        // As an older build may have resolved it.
        *resolved = "59 23 * * *".into();
        let again =
            check(|rules, found| rules.timing(&key(), Some(&given), Some(&read), NOW, found)).0.unwrap();
        assert_eq!(again, read);
        let other = timing(cron("H 1 * * *"), "");
        let changed = check(|rules, found| rules.timing(&key(), Some(&other), Some(&read), NOW, found)).0;
        assert_ne!(changed.unwrap(), read);
    }

    #[test]
    fn an_instant_that_has_passed_may_stay_but_not_be_set() {
        let past = timing(pb::rule::Rule::AtTime(encode::timestamp(UnixMillis(NOW.0 - 1))), "");
        let (_, problems) = read_timing(&past);
        assert_eq!(
            problems,
            [
                "INVALID_FIELD schedule.timing.include[0].at_time: 2026-11-23T01:59:59.999Z must lie in the future (it is 2026-11-23T02:00:00Z) and before the year 2101"
            ]
        );
        for (seconds, nanos, why) in [
            (i64::MIN, 0, "is not a time"),
            (i64::MAX, 999_999_999, "is not a time"),
            (NOW.0, i32::MIN, "is not a time"),
            (NOW.0, 1_000_000_000, "is not a time"),
            (-1, 0, "must lie in the future"),
            (253_402_300_800, 0, "before the year 2101"),
            (i64::MAX / 1000, 0, "before the year 2101"),
        ] {
            let at = prost_types::Timestamp { seconds, nanos };
            let (_, problems) = read_timing(&timing(pb::rule::Rule::AtTime(at), ""));
            assert!(problems[0].contains(why), "{seconds} {nanos}: {problems:?}");
        }
        let stored = Timing::of(vec![Rule::At(UnixMillis(NOW.0 - 1))], "UTC");
        let (kept, problems) =
            check(|rules, found| rules.timing(&key(), Some(&past), Some(&stored), NOW, found));
        assert_eq!((kept, problems.len()), (Some(stored), 0));
    }

    #[test]
    fn timings_are_refused_with_field_and_way_out() {
        let problem = |given: &pb::Timing| read_timing(given).1.join("\n");
        assert_eq!(
            problem(&pb::Timing::default()),
            "INVALID_FIELD schedule.timing.include: has 0 rules: this release takes exactly one"
        );
        let refused = problem(&timing(cron("61 * * * *"), ""));
        assert!(
            refused.starts_with("INVALID_CRON schedule.timing.include[0].cron.expression: column 1: `61`"),
            "{refused}"
        );
        let refused = problem(&timing(cron("0 0 30 2 *"), ""));
        assert!(refused.contains("never fires") && refused.contains("--allow-never"), "{refused}");
        assert_eq!(
            problem(&timing(cron("* * * * *"), "Europe/Berlni")),
            "INVALID_FIELD schedule.timing.time_zone: unknown time zone `Europe/Berlni`: did you mean `Europe/Berlin`?"
        );
        let interval = |every| pb::rule::Rule::Interval(pb::Interval { every, phase: None });
        for (every, why) in [
            (None, "every: is required"),
            (seconds(0), "every: 0s is not between "),
            (seconds(-5), "every: must not be negative"),
            (seconds(i64::MIN), "every: must not be negative"),
            (seconds(i64::MAX), "is not between "),
            (Some(prost_types::Duration { seconds: i64::MAX, nanos: i32::MAX }), "nanos must be from 0 to"),
            (Some(prost_types::Duration { seconds: 5, nanos: i32::MIN }), "every: must not be negative"),
            (Some(prost_types::Duration { seconds: 5, nanos: 1 }), "every: must be whole milliseconds"),
        ] {
            let refused = problem(&timing(interval(every), ""));
            assert!(refused.contains(why), "{refused}");
        }
        let (_, problems) = check(|rules, found| rules.timing(&key(), None, None, NOW, found));
        assert_eq!(problems, ["INVALID_FIELD schedule.timing: is required: say when the schedule fires"]);
    }

    #[test]
    fn targets_come_back_as_they_were_given() {
        use pb::target::Target as Kind;
        let command = pb::CommandTarget {
            argv: vec!["/bin/true".into(), "-x".into()],
            environment: BTreeMap::from([("A".into(), "b".into())]),
            stdin: Bytes::from_static(b"in"),
            ..Default::default()
        };
        let http = pb::HttpTarget {
            url: "https://example.com/x?y=1".into(),
            method: "PUT".into(),
            headers: BTreeMap::from([("X-Y".into(), "z".into())]),
            success_codes: vec![204],
            ..Default::default()
        };
        let handler = pb::HandlerTarget { handler: "bill".into(), payload: Bytes::from_static(b"{}") };
        for (kind, name) in [
            (Kind::Command(command), "command"),
            (Kind::Http(http), "http"),
            (Kind::Handler(handler), "bill"),
        ] {
            let given = pb::Target { target: Some(kind) };
            let (read, problems) = check(|rules, found| rules.target(Some(&given), found));
            assert_eq!(problems, [""; 0]);
            let read = read.unwrap();
            assert_eq!(read.handler, name);
            assert_eq!(encode::target(&read), given);
        }
    }

    #[test]
    fn targets_are_refused_with_field_and_way_out() {
        use pb::target::Target as Kind;
        let problem = |kind: Kind| {
            let given = pb::Target { target: Some(kind) };
            check(|rules, found| rules.target(Some(&given), found)).1.join("\n")
        };
        assert_eq!(
            problem(Kind::Command(Default::default())),
            "INVALID_FIELD schedule.target.command: is empty: give argv or shell"
        );
        let both = pb::CommandTarget { argv: vec!["a".into()], shell: "b".into(), ..Default::default() };
        assert!(problem(Kind::Command(both)).ends_with("has both argv and shell: give one of them"));
        let variable = pb::CommandTarget {
            shell: "a\0b".into(),
            environment: BTreeMap::from([("A=B".into(), "c".into())]),
            ..Default::default()
        };
        let refused = problem(Kind::Command(variable));
        assert!(
            refused.contains("command.shell: contains a NUL") && refused.contains("`A=B` is not the name")
        );
        let http = pb::HttpTarget {
            url: "example.com".into(),
            method: "P T".into(),
            headers: BTreeMap::from([("X Y".into(), "z".into())]),
            success_codes: vec![7],
            ..Default::default()
        };
        assert_eq!(problem(Kind::Http(http)).lines().count(), 4);
        let stock = pb::HandlerTarget { handler: "http".into(), ..Default::default() };
        assert!(
            problem(Kind::Handler(stock)).ends_with("`http` is a stock handler: use schedule.target.http")
        );
        let large = pb::HandlerTarget { handler: "h".into(), payload: vec![0; 262_145].into() };
        assert_eq!(
            problem(Kind::Handler(large)),
            "PAYLOAD_TOO_LARGE schedule.target.handler.payload: has 262145 bytes: at most 262144 are accepted (limits.payload_bytes_max); pass a reference to larger data"
        );
        let (_, problems) = check(|rules, found| rules.target(None, found));
        assert_eq!(problems, ["INVALID_FIELD schedule.target: is required: give command, http or handler"]);
    }

    #[test]
    fn labels_pools_and_descriptions_have_limits() {
        let many: BTreeMap<_, _> = (0..65).map(|n| (format!("k{n}"), String::new())).collect();
        let (_, problems) = check(|rules, found| rules.labels(&many, found));
        assert_eq!(problems, ["INVALID_FIELD schedule.labels: has 65 labels: at most 64 are accepted"]);
        let odd = BTreeMap::from([("a b".into(), String::new()), ("ok".into(), "x\n".into())]);
        assert_eq!(check(|rules, found| rules.labels(&odd, found)).1.len(), 2);
        assert_eq!(check(|rules, found| rules.pool("", found)), ("default".to_owned(), vec![]));
        assert_eq!(check(|rules, found| rules.pool("a/b", found)).1.len(), 1);
        assert_eq!(check(|rules, found| rules.description(&"x".repeat(4097), found)).1.len(), 1);
    }
}
