//! `belfry import dkron`: jobs of Dkron as drafts, from what `/v1/jobs` of its API prints.

mod target;
mod words;

use belfry_sdk::pb;
use belfry_timing::TimeZone;
use clap::Args;
use serde_json::Value;

use super::dialect::Source;
use super::dialect::robfig::Seconds;
use super::document::Node;
use super::go_schedule::{GoSchedule, Zone, split_zone};
use super::plan::{Draft, Rejected, Remarks, Rule, When};
use super::{Found, ImportArgs, Origin, carry_out, input, zone};
use crate::commands::Context;
use crate::exit::Failure;
use crate::text;

const ORIGIN: Origin = Origin {
    name: "dkron",
    has_names: true,
    paths: &[
        "timing",
        "target",
        "description",
        "policies.overlap_policy",
        "policies.attempt_timeout",
        "policies.retry",
        "max_runs",
        "completion_action",
        "executor_labels",
    ],
};

/// The most runs at once that a schedule may have here.
const RUNNING_MAX: u32 = 100;
/// The most attempts that a node accepts.
const ATTEMPTS_MAX: u64 = 100;
/// Dkron tries again at once; this is as near to it as a pause is worth.
const BACKOFF: std::time::Duration = std::time::Duration::from_secs(1);

#[derive(Debug, Args)]
pub(crate) struct DkronArgs {
    /// Jobs in JSON, as /v1/jobs of Dkron's API prints them, or a single one; `-` for stdin.
    file: String,
    /// Handler of yours for executors other than shell and http: `handler=NAME`. Its payload is the executor's configuration.
    #[arg(long, value_name = "TARGET", value_parser = handler)]
    target: Option<String>,
    /// Zone of jobs without timezone: that of the Dkron servers.
    #[arg(long, visible_alias = "tz", value_name = "ZONE")]
    assume_tz: Option<String>,
    #[command(flatten)]
    import: ImportArgs,
}

fn handler(text: &str) -> Result<String, String> {
    let name = text.strip_prefix("handler=").filter(|name| !name.is_empty());
    name.map(str::to_owned).ok_or_else(|| "write handler=NAME".to_owned())
}

pub(super) fn run(context: &Context, args: &DkronArgs) -> Result<(), Failure> {
    let assumed = zone(args.assume_tz.as_deref())?;
    let reader = Reader {
        args,
        namespace: &context.global.namespace,
        assumed: assumed.as_ref().map(TimeZone::name),
        now: args.import.now()?,
    };
    let text = input::read(&args.file)?;
    let jobs = parse(&text).map_err(|error| Failure::usage(format!("{}: {error}", args.file)))?;
    carry_out(context, &ORIGIN, &args.import, reader.read(&jobs))
}

/// A list of jobs; a single one is a list of one.
fn parse(text: &str) -> Result<Vec<Value>, String> {
    match serde_json::from_str(text).map_err(|error| format!("is no JSON: {error}"))? {
        Value::Array(jobs) => Ok(jobs),
        job @ Value::Object(_) => Ok(vec![job]),
        _other => Err("is neither a job nor a list of jobs".to_owned()),
    }
}

struct Reader<'a> {
    args: &'a DkronArgs,
    namespace: &'a str,
    /// The servers' zone, if it was given.
    assumed: Option<&'a str>,
    now: i64,
}

impl Reader<'_> {
    fn read(&self, jobs: &[Value]) -> Found {
        let mut found = Found::default();
        for (index, job) in jobs.iter().enumerate() {
            let place = format!("job {}", index + 1);
            match self.draft(&Node::root(job), &place) {
                Ok(draft) => found.drafts.push(draft),
                Err(reason) => {
                    let name = job.get("name").and_then(Value::as_str);
                    let text = name.unwrap_or("a job without a name").to_owned();
                    found.rejected.push(Rejected { place, text, reason });
                }
            }
        }
        found
    }

    fn draft(&self, job: &Node<'_>, place: &str) -> Result<Draft, String> {
        let short = job.non_empty("name")?.ok_or("name: is missing")?;
        let name = self.args.import.name(self.namespace, short)?;
        if let Some(parent) = job.non_empty("parent_job")? {
            return Err(format!(
                "parent_job: runs after `{parent}` and at no time of its own; Belfry starts nothing after something else: call it at the end of that command"
            ));
        }
        let mut remarks = Remarks::default();
        let expression = job.non_empty("schedule")?.ok_or("schedule: is missing")?;
        let mut when = self.when(job, short, expression, &mut remarks)?;
        when.start = instant(job, "starts_at")?;
        // The last instant is not after it there, and before the end here.
        when.end = instant(job, "expires_at")?.map(|end| end.saturating_add(1));
        if when.end.is_some_and(|end| end <= self.now) {
            return Err("expires_at: has passed".to_owned());
        }
        let (target, what) = target::read(job, self.args.target.as_deref(), &mut remarks)?;
        let (max_runs, completion_action) = completion(job, &when, &mut remarks)?;
        let children = job.texts("dependent_jobs")?;
        if !children.is_empty() {
            remarks.not_carried.push(format!("dependent_jobs: {} start after it there", children.join(", ")));
        }
        for processor in job.keys("processors")? {
            remarks.note(format!(
                "processor `{processor}`: the tail of the output is in the ledger, `belfry run get`"
            ));
        }
        let executor_labels = executor_labels(job, &mut remarks)?;
        let attempt_timeout = target::attempt_timeout(job, self.args.import.attempt_timeout, &mut remarks)?;
        let pause = job.flag("disabled")?.then(|| "disabled in Dkron".to_owned());
        remarks.not_carried.extend(job.besides(&KNOWN));
        let mut policies = pb::Policies {
            attempt_timeout: Some(text::proto_duration(attempt_timeout)),
            ..Default::default()
        };
        overlap(job, &mut policies, &mut remarks)?;
        policies.retry = retry(job, &mut remarks)?;
        Ok(Draft {
            place: place.to_owned(),
            name,
            expression: expression.to_owned(),
            what,
            schedule: pb::Schedule {
                labels: labels(job)?,
                description: job.text("displayname")?.unwrap_or_default().to_owned(),
                target: Some(pb::Target { target: Some(target) }),
                policies: Some(policies),
                pool: self.args.import.pool.clone(),
                executor_labels,
                max_runs,
                completion_action: completion_action.into(),
                ..Default::default()
            },
            when,
            remarks,
            pause,
        })
    }

    fn when(&self, job: &Node<'_>, name: &str, text: &str, remarks: &mut Remarks) -> Result<When, String> {
        let plain = |rule: Rule, source: Source| When {
            rule,
            time_zone: "UTC".to_owned(),
            source: Some(source),
            start: None,
            end: None,
            spread: None,
        };
        if text == "@manually" {
            remarks.note("@manually: runs only by hand, `belfry schedule trigger`");
            return Ok(plain(Rule::Cron("0 0 31 2 *".to_owned()), Source::Never));
        }
        if let Some(at) = text.strip_prefix("@at ") {
            let at = belfry_timing::parse_time(at, &TimeZone::utc())
                .map_err(|error| format!("schedule: {error}"))?;
            if at <= self.now {
                return Err(format!("schedule: `{text}` has passed"));
            }
            return Ok(plain(Rule::At(at), Source::At(at)));
        }
        let (in_text, rest) = split_zone(text);
        let given = job.non_empty("timezone")?;
        let is_word = text.starts_with('@');
        if let Some(zone) = given.filter(|_| is_word && !text.starts_with("@every ")) {
            remarks.note(format!(
                "Dkron does not apply timezone {zone} to `{text}`, which follows its servers' clocks"
            ));
        }
        let zone = match (in_text, given) {
            (Some(zone), _) => Zone::Known(zone),
            (None, Some(zone)) if !is_word => Zone::Known(zone),
            (None, _) => self.assumed.map_or(Zone::Machine, Zone::Known),
        };
        let unknown = "without timezone it is that of Dkron's servers, which no job says: read in UTC; --assume-tz gives it";
        let resolved = words::resolved(rest, name);
        if resolved != rest {
            remarks.note(format!("`~` stands for the same value as in Dkron: `{rest}` is `{resolved}`"));
        }
        let (resolved, seconds) = match resolved.as_str() {
            "@minutely" => ("* * * * *".to_owned(), Seconds::None),
            _other => (resolved, Seconds::First),
        };
        let schedule =
            GoSchedule { field: "schedule", text: &resolved, seconds, anchor: instant(job, "next")? };
        schedule.when(&zone, unknown, remarks)
    }
}

/// Carried, looked at by themselves, or what Dkron computes.
const KNOWN: [&str; 27] = [
    "id",
    "name",
    "displayname",
    "timezone",
    "schedule",
    "owner",
    "owner_email",
    "success_count",
    "error_count",
    "last_success",
    "last_error",
    "disabled",
    "tags",
    "metadata",
    "retries",
    "dependent_jobs",
    "parent_job",
    "processors",
    "concurrency",
    "executor",
    "executor_config",
    "status",
    "next",
    "ephemeral",
    "starts_at",
    "expires_at",
    "version",
];

/// A time of the API. The year 1 is how it writes none.
fn instant(job: &Node<'_>, key: &str) -> Result<Option<i64>, String> {
    let text = job.non_empty(key)?.filter(|text| !text.starts_with("0001-"));
    let time = text.map(|text| belfry_timing::parse_time(text, &TimeZone::utc()));
    time.transpose().map_err(|error| format!("{key}: {error}"))
}

fn overlap(job: &Node<'_>, policies: &mut pb::Policies, remarks: &mut Remarks) -> Result<(), String> {
    match job.text("concurrency")?.unwrap_or_default() {
        "allow" | "" => {
            policies.set_overlap_policy(pb::OverlapPolicy::Allow);
            policies.overlap_limit = RUNNING_MAX;
            remarks.note(format!("concurrency allow: at most {RUNNING_MAX} runs at once here"));
        }
        "forbid" => {
            policies.set_overlap_policy(pb::OverlapPolicy::Skip);
            remarks.note("concurrency forbid drops an instant while a run is running, and so does SKIP; Belfry's own HOLD_ONE would let it wait");
        }
        other => return Err(format!("concurrency: `{other}` is neither allow nor forbid")),
    }
    Ok(())
}

fn retry(job: &Node<'_>, remarks: &mut Remarks) -> Result<Option<pb::Retry>, String> {
    let retries = job.whole("retries")?.unwrap_or(0);
    if retries == 0 {
        return Ok(None);
    }
    let attempts = retries.saturating_add(1);
    if attempts > ATTEMPTS_MAX {
        remarks.change("retries", format!("at most {ATTEMPTS_MAX} attempts are possible here"));
    }
    remarks.note(
        "retries: Dkron tries again at once and on the same node; here after a second, on any executor",
    );
    Ok(Some(pb::Retry {
        max_attempts: u32::try_from(attempts.min(ATTEMPTS_MAX)).unwrap_or(u32::MAX),
        initial_backoff: Some(text::proto_duration(BACKOFF)),
        max_backoff: Some(text::proto_duration(BACKOFF)),
        non_retryable_codes: Vec::new(),
    }))
}

/// `ephemeral`: it is deleted after its first success.
fn completion(
    job: &Node<'_>,
    when: &When,
    remarks: &mut Remarks,
) -> Result<(u64, pb::CompletionAction), String> {
    if !job.flag("ephemeral")? {
        return Ok((0, pb::CompletionAction::Keep));
    }
    match when.rule {
        Rule::At(_) => {
            remarks.note("ephemeral: deleted after its run; its row stays");
            Ok((0, pb::CompletionAction::Delete))
        }
        Rule::Cron(_) | Rule::Every { .. } => {
            remarks.change(
                "ephemeral",
                "there it runs until a run succeeds and is then deleted; here it is deleted after its first run, however that ends",
            );
            Ok((1, pb::CompletionAction::Delete))
        }
    }
}

/// Tags choose nodes there, and how many of them run the job at once.
fn executor_labels(
    job: &Node<'_>,
    remarks: &mut Remarks,
) -> Result<std::collections::BTreeMap<String, String>, String> {
    let mut labels = std::collections::BTreeMap::new();
    let mut count: Option<u64> = None;
    for (tag, value) in job.pairs("tags")? {
        let (value, number) = match value.split_once(':') {
            Some((value, number)) => {
                let number = number
                    .parse()
                    .map_err(|_not_a_number| format!("tags.{tag}: `{value}:{number}` has no count"))?;
                (value.to_owned(), Some(number))
            }
            None => (value, None),
        };
        labels.insert(tag, value);
        count = [count, number].into_iter().flatten().min();
    }
    match count {
        Some(1) => {}
        Some(count) => {
            remarks.change("tags", format!("there {count} nodes run it at once; here one executor does"))
        }
        None if labels.is_empty() => {
            remarks.change("tags", "without any, every node runs it there; here one executor does");
        }
        None => remarks.change("tags", "there every node that has them runs it; here one executor does"),
    }
    if !labels.is_empty() {
        let shown: Vec<String> = labels.iter().map(|(tag, value)| format!("{tag}={value}")).collect();
        remarks.note(format!("runs on executors with the label {}", shown.join(", ")));
    }
    Ok(labels)
}

fn labels(job: &Node<'_>) -> Result<std::collections::BTreeMap<String, String>, String> {
    let mut labels: std::collections::BTreeMap<_, _> = job.pairs("metadata")?.into_iter().collect();
    for key in ["owner", "owner_email"] {
        if let Some(value) = job.non_empty(key)? {
            labels.entry(key.to_owned()).or_insert_with(|| value.to_owned());
        }
    }
    Ok(labels)
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use proptest::prelude::*;

    use super::*;

    const JOBS: &str = include_str!("../../../../tests/data/import/dkron.json");
    /// 2026-11-25.
    const NOW: i64 = 1_795_564_800_000;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: DkronArgs,
    }

    fn read(text: &str, flags: &[&str]) -> Result<Found, String> {
        let line = Line::parse_from([&["belfry", "-"], flags].concat());
        let reader = Reader { args: &line.args, namespace: "n", assumed: Some("UTC"), now: NOW };
        Ok(reader.read(&parse(text)?))
    }

    fn draft(name: &str) -> Draft {
        let drafts = read(JOBS, &["--target", "handler=other"]).unwrap().drafts;
        drafts.into_iter().find(|draft| draft.name.ends_with(&format!("/{name}"))).unwrap()
    }

    fn target(draft: &Draft) -> pb::target::Target {
        draft.schedule.target.clone().unwrap().target.unwrap()
    }

    #[test]
    fn a_command_keeps_what_surrounds_it() {
        let draft = draft("backup");
        let pb::target::Target::Command(command) = target(&draft) else { panic!("not a command") };
        assert_eq!(
            (command.shell.as_str(), command.working_directory.as_str()),
            ("backup | gzip > /b.gz", "/srv")
        );
        assert_eq!(command.environment["B"], "x=y");
        let policies = draft.schedule.policies.unwrap();
        assert_eq!(policies.overlap_policy(), pb::OverlapPolicy::Skip);
        assert_eq!(policies.attempt_timeout.unwrap().seconds, 5400);
        assert_eq!(policies.retry.unwrap().max_attempts, 3);
        assert_eq!(draft.schedule.executor_labels["role"], "db");
        assert_eq!(draft.schedule.labels["owner_email"], "anna@example.org");
        assert_eq!(draft.schedule.description, "Nightly backup");
    }

    #[test]
    fn a_request_keeps_its_limit_and_codes() {
        let draft = draft("ping");
        let pb::target::Target::Http(http) = target(&draft) else { panic!("not a request") };
        assert_eq!((http.method.as_str(), &http.success_codes[..]), ("GET", &[200, 204][..]));
        assert_eq!(http.headers["Accept"], "text/plain");
        assert_eq!(draft.schedule.policies.unwrap().attempt_timeout.unwrap().seconds, 30);
    }

    #[test]
    fn what_ends_or_runs_once_does_so_here() {
        let once = draft("once");
        assert_eq!(once.schedule.completion_action(), pb::CompletionAction::Delete);
        assert!(matches!(once.when.rule, Rule::At(at) if at == 1_893_452_400_000));
        let campaign = draft("campaign");
        let end = belfry_timing::format_time(campaign.when.end.unwrap());
        assert_eq!(end, "2026-12-24T09:00:00.001Z");
        assert_eq!(draft("hook").pause.as_deref(), Some("disabled in Dkron"));
    }

    #[test]
    fn other_executors_are_handed_over() {
        let pb::target::Target::Handler(handler) = target(&draft("stream")) else { panic!("not a handler") };
        assert_eq!(&handler.payload[..], br#"{"executor":"kafka","executor_config":{"topic":"ticks"}}"#);
    }

    proptest! {
        #[test]
        fn no_input_panics(text in ".{0,100}", at in 0..JOBS.len(), length in 0..40_usize) {
            let _ = read(&text, &[]);
            let (start, end) = (JOBS.floor_char_boundary(at), JOBS.floor_char_boundary(at + length));
            let _ = read(&format!("{}{text}{}", &JOBS[..start], &JOBS[end..]), &[]);
        }

        #[test]
        fn no_value_panics(schedule in "(@every |@at |TZ=|@|)?[-0-9*/?,LWhms. A-Z~+:]{0,30}", env in ".{0,20}", tag in ".{0,9}", zone in "|UTC|Asia/Tokyo") {
            let job = serde_json::json!({
                "name": "a", "schedule": schedule, "timezone": zone, "tags": {"t": tag}, "executor": "shell",
                "executor_config": {"command": env, "env": env, "payload": tag, "timeout": tag},
            });
            let found = read(&job.to_string(), &[]).unwrap();
            prop_assert_eq!(found.drafts.len() + found.rejected.len(), 1);
            for draft in found.drafts {
                let _ = super::super::plan::Plan::of(draft, "dkron", NOW);
            }
        }
    }
}
