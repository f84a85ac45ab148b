//! What a user declares: every field checked against its rules and limits, then turned into the core's types.
//!
//! A function here notes what is wrong and gives back what it could read; the caller goes on only when nothing was noted.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::time::Duration;

use belfry_core::UnixMillis;
use belfry_core::definition::{CompletionAction, History, Liveness, Priority, Target};
use belfry_proto::v1 as pb;
use belfry_timing::format_duration;
use bytes::Bytes;
use prost::Message as _;

use super::encode::{COMMAND, HTTP};
use super::names;
use super::violations::{PAYLOAD_TOO_LARGE, Violations};
use crate::config::Limits;
use crate::timings::Timings;

/// The pool of schedules that name none.
const DEFAULT_POOL: &str = "default";

/// What fields are checked against.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules<'a> {
    pub(super) limits: &'a Limits,
    /// Timings that are compiled already.
    pub(super) timings: &'a Timings,
}

impl Rules<'_> {
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
                read_duration(format_args!("schedule.liveness.{name}"), value, second, year, found)
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
                found.add(format_args!("{field}[{key}]"), format_args!("the value {why} {max} bytes"));
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

fn check_command(command: &pb::CommandTarget, found: &mut Violations) {
    const FIELD: &str = "schedule.target.command";
    let field = |name: &str| format!("{FIELD}.{name}");
    match (command.argv.is_empty(), command.shell.is_empty()) {
        (true, true) => found.add(FIELD, "is empty: give argv or shell"),
        (false, false) => found.add(FIELD, "has both argv and shell: give one of them"),
        (true, false) => {}
        (false, true) if command.argv[0].is_empty() => {
            found.add(field("argv[0]"), "is empty: name a program")
        }
        (false, true) => {}
    }
    // The operating system ends texts at a NUL.
    let mut plain = |name: &str, text: &str| {
        if text.contains('\0') {
            found.add(field(name), "contains a NUL character: remove it");
        }
    };
    command.argv.iter().for_each(|argument| plain("argv", argument));
    plain("shell", &command.shell);
    plain("working_directory", &command.working_directory);
    plain("user", &command.user);
    command.environment.values().for_each(|value| plain("environment", value));
    for name in command.environment.keys() {
        if name.is_empty() || name.contains(['=', '\0']) {
            found.add(field("environment"), format_args!("`{name}` is not the name of a variable"));
        }
    }
}

fn check_http(target: &pb::HttpTarget, found: &mut Violations) {
    let field = |name: &str| format!("schedule.target.http.{name}");
    let url = target.url.parse::<http::Uri>().ok();
    let scheme = url.as_ref().and_then(http::Uri::scheme_str);
    if !matches!(scheme, Some("http" | "https")) {
        found.add(field("url"), "is not a URL that begins with http:// or https://");
    }
    if !target.method.is_empty() && target.method.parse::<http::Method>().is_err() {
        found.add(field("method"), "is not a method: write GET, POST, PUT, …, or leave it empty for POST");
    }
    for (name, value) in &target.headers {
        if name.parse::<http::HeaderName>().is_err() || value.parse::<http::HeaderValue>().is_err() {
            let shown: String = name.chars().take(80).collect();
            found.add(
                field("headers"),
                format_args!("`{shown}` has a name or a value that HTTP does not allow"),
            );
        }
    }
    for code in &target.success_codes {
        if !(100..=599).contains(code) {
            found.add(field("success_codes"), format_args!("{code} is not a status code: use 100 to 599"));
        }
    }
}

/// Reads a duration of whole milliseconds within bounds. The name of the field is not written unless it is told of.
pub(super) fn read_duration(
    field: impl Display,
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
pub(super) mod tests {
    use super::super::encode;
    use super::*;

    /// What is read, and what is wrong with it.
    pub(in crate::api) fn check<T>(read: impl FnOnce(&Rules<'_>, &mut Violations) -> T) -> (T, Vec<String>) {
        let (limits, timings) = (Limits::default(), Timings::default());
        let mut found = Violations::default();
        let value = read(&Rules { limits: &limits, timings: &timings }, &mut found);
        let lines = found
            .all()
            .iter()
            .map(|one| format!("{} {}: {}", one.reason, one.field, one.description))
            .collect();
        (value, lines)
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
