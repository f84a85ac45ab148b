//! Executors of Dkron as targets.

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use belfry_sdk::pb;
use pb::target::Target;

use super::super::dialect::go;
use super::super::document::Node;
use super::super::plan::Remarks;
use super::words;

/// Dkron's own limit of a request.
const HTTP_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest attempt that a node accepts.
const LONGEST: Duration = Duration::from_secs(30 * 86_400);

type Config = BTreeMap<String, String>;

/// What a job runs, and that in words.
pub(super) fn read(
    job: &Node<'_>,
    handler: Option<&str>,
    remarks: &mut Remarks,
) -> Result<(Target, String), String> {
    let config: Config = job.pairs("executor_config")?.into_iter().collect();
    match (job.text("executor")?.unwrap_or_default(), handler) {
        ("shell", _) => shell(&config, remarks),
        ("http", _) => http(&config, remarks),
        ("", _) => Err("executor: is missing".to_owned()),
        (executor, Some(handler)) => {
            let payload = serde_json::json!({ "executor": executor, "executor_config": config }).to_string();
            remarks.note(format!(
                "executor {executor}: the payload of handler `{handler}` is its configuration"
            ));
            let target =
                pb::HandlerTarget { handler: handler.to_owned(), payload: payload.into_bytes().into() };
            Ok((Target::Handler(target), format!("{executor} by {handler}")))
        }
        (executor, None) => Err(format!(
            "executor: Belfry runs shell and http; --target handler=NAME hands the configuration of `{executor}` to a handler of yours"
        )),
    }
}

/// The limit of an attempt.
pub(super) fn attempt_timeout(
    job: &Node<'_>,
    unset: Duration,
    remarks: &mut Remarks,
) -> Result<Duration, String> {
    let config: Config = job.pairs("executor_config")?.into_iter().collect();
    let given = config.get("timeout").filter(|timeout| !timeout.is_empty());
    let field = |why: String| format!("executor_config.timeout: {why}");
    let timeout = match (job.text("executor")?.unwrap_or_default(), given) {
        ("http", None) => HTTP_TIMEOUT,
        ("http", Some(seconds)) => {
            let seconds = seconds
                .parse()
                .map_err(|_no_number| field(format!("`{seconds}` is no number of seconds")))?;
            Duration::from_secs(seconds)
        }
        ("shell", Some(timeout)) => go::duration(timeout).map_err(field)?,
        (_, _) => {
            remarks.note(super::super::unlimited(unset));
            unset
        }
    };
    if timeout > LONGEST {
        remarks.change("executor_config.timeout", "is longer than the 30 days possible here");
    }
    let timeout = if timeout.is_zero() { unset } else { timeout };
    Ok(timeout.min(LONGEST).max(Duration::from_millis(1)))
}

fn shell(config: &Config, remarks: &mut Remarks) -> Result<(Target, String), String> {
    let get = |key: &str| config.get(key).map(String::as_str).unwrap_or_default();
    let command = get("command");
    if command.trim().is_empty() {
        return Err("executor_config.command: is empty".to_owned());
    }
    let has_shell = matches!(get("shell"), "1" | "t" | "T" | "TRUE" | "true" | "True");
    let mut target = pb::CommandTarget {
        working_directory: get("cwd").to_owned(),
        user: get("su").to_owned(),
        ..Default::default()
    };
    if has_shell {
        target.shell = command.to_owned();
    } else {
        target.argv = words::split(command).map_err(|why| format!("executor_config.command: {why}"))?;
        if target.argv.is_empty() {
            return Err("executor_config.command: names no program".to_owned());
        }
    }
    for pair in get("env").split(',').filter(|pair| !pair.is_empty()) {
        match pair.split_once('=') {
            Some((name, value)) if !name.is_empty() => {
                target.environment.insert(name.to_owned(), value.to_owned());
            }
            Some(_) | None => {
                return Err(format!(
                    "executor_config.env: `{pair}` is no NAME=value: a comma ends a value there"
                ));
            }
        }
    }
    let payload = BASE64_STANDARD.decode(get("payload"));
    target.stdin = payload.map_err(|_not_base64| "executor_config.payload: is no base64")?.into();
    if target.user.contains(':') {
        return Err(
            "executor_config.su: names a group too; Belfry becomes a user with its own groups".to_owned()
        );
    }
    if !target.user.is_empty() {
        remarks.note(format!("runs as {}: the executor must be allowed to become that user", target.user));
    }
    report_others(config, &["command", "shell", "env", "cwd", "su", "payload", "timeout"], remarks);
    Ok((Target::Command(target), command.to_owned()))
}

fn http(config: &Config, remarks: &mut Remarks) -> Result<(Target, String), String> {
    let get = |key: &str| config.get(key).map(String::as_str).unwrap_or_default();
    let (url, method) = (get("url"), get("method"));
    if url.is_empty() || method.is_empty() {
        return Err("executor_config: url or method is missing".to_owned());
    }
    let success_codes = match get("expectCode") {
        "" => {
            remarks.change(
                "executor_config.expectCode",
                "without it any answer is a success there; here 200-299 are",
            );
            Vec::new()
        }
        codes => codes
            .split(',')
            .map(|code| code.trim().parse())
            .collect::<Result<_, _>>()
            .map_err(|_no_number| format!("executor_config.expectCode: `{codes}` is no list of codes"))?,
    };
    let target = pb::HttpTarget {
        url: url.to_owned(),
        method: method.to_owned(),
        headers: headers(get("headers"))?,
        body: get("body").to_owned().into_bytes().into(),
        success_codes,
    };
    let known = ["url", "method", "headers", "body", "timeout", "expectCode", "debug"];
    report_others(config, &known, remarks);
    Ok((Target::Http(target), format!("{method} {url}")))
}

/// A list of `Name: value` in JSON, as a text.
fn headers(text: &str) -> Result<BTreeMap<String, String>, String> {
    if text.is_empty() {
        return Ok(BTreeMap::new());
    }
    let refuse = || format!("executor_config.headers: `{text}` is no JSON list of \"Name: value\"");
    let lines: Vec<String> = serde_json::from_str(text).map_err(|_no_list| refuse())?;
    let pair = |line: &String| {
        let (name, value) = line.split_once(':')?;
        Some((name.trim().to_owned(), value.trim().to_owned()))
    };
    lines.iter().filter(|line| !line.is_empty()).map(pair).collect::<Option<_>>().ok_or_else(refuse)
}

fn report_others(config: &Config, known: &[&str], remarks: &mut Remarks) {
    let others = config.iter().filter(|(key, value)| {
        !known.contains(&key.as_str()) && !matches!(value.as_str(), "" | "false" | "0")
    });
    remarks.not_carried.extend(others.map(|(key, _)| format!("executor_config.{key}")));
}
