//! `belfry import kubernetes`: CronJobs as drafts, from manifests or from what `kubectl get cronjobs -A -o yaml` prints.

mod template;

use belfry_sdk::pb;
use belfry_timing::TimeZone;
use clap::Args;
use serde::Deserialize as _;
use serde_json::Value;

use self::template::Template;
use super::dialect::robfig::Seconds;
use super::document::Node;
use super::go_schedule::{GoSchedule, Zone, split_zone};
use super::plan::{Draft, Rejected, Remarks};
use super::{Found, ImportArgs, Origin, carry_out, input, zone};
use crate::commands::Context;
use crate::exit::Failure;
use crate::text;

const ORIGIN: Origin = Origin {
    name: "kubernetes",
    has_names: true,
    paths: &[
        "timing",
        "target",
        "description",
        "policies.overlap_policy",
        "policies.start_deadline",
        "policies.attempt_timeout",
        "policies.retry",
        "history",
    ],
};

/// What the API server fills in where a CronJob says nothing: three successful ones, one that failed.
const HISTORY_DEFAULT: (u64, u64) = (3, 1);
/// The most runs at once that a schedule may have here.
const RUNNING_MAX: u32 = 100;
/// The controller looks every ten seconds: shorter deadlines may pass between two looks.
const CONTROLLER_PERIOD_SECONDS: u64 = 10;

#[derive(Debug, Args)]
pub(crate) struct KubernetesArgs {
    /// CronJobs in YAML or JSON, also lists and several documents; `-` for stdin.
    file: String,
    /// What runs them: `handler=NAME` gives each Job's manifest to a handler of yours, `command` runs the container's
    /// command on the executors' machines.
    #[arg(long, value_name = "TARGET", value_parser = TargetChoice::parse)]
    target: Option<TargetChoice>,
    /// Zone of CronJobs without timeZone: that of the controller manager, mostly UTC.
    #[arg(long, visible_alias = "tz", value_name = "ZONE")]
    assume_tz: Option<String>,
    #[command(flatten)]
    import: ImportArgs,
}

/// What becomes of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
enum TargetChoice {
    Command,
    Handler(String),
}

impl TargetChoice {
    fn parse(text: &str) -> Result<Self, String> {
        match (text, text.strip_prefix("handler=")) {
            ("command", _) => Ok(Self::Command),
            (_, Some(handler)) if !handler.is_empty() => Ok(Self::Handler(handler.to_owned())),
            _other => Err("write command or handler=NAME".to_owned()),
        }
    }
}

pub(super) fn run(context: &Context, args: &KubernetesArgs) -> Result<(), Failure> {
    let assumed = zone(args.assume_tz.as_deref())?;
    let reader =
        Reader { args, namespace: &context.global.namespace, assumed: assumed.as_ref().map(TimeZone::name) };
    let found = reader.read(&input::read(&args.file)?);
    carry_out(context, &ORIGIN, &args.import, found)
}

struct Reader<'a> {
    args: &'a KubernetesArgs,
    /// The namespace of the command line.
    namespace: &'a str,
    /// The controller manager's zone, if it was given.
    assumed: Option<&'a str>,
}

impl Reader<'_> {
    fn read(&self, text: &str) -> Found {
        let mut found = Found::default();
        for (index, document) in serde_yaml_ng::Deserializer::from_str(text).enumerate() {
            let place = format!("document {}", index + 1);
            match json(document) {
                Ok(value) => self.object(&value, &place, &mut found),
                Err(error) => {
                    let reason = format!("is no YAML or JSON: {error}");
                    found.rejected.push(Rejected { place, text: "the document".to_owned(), reason });
                    // What follows a broken document is read in the middle of it.
                    break;
                }
            }
        }
        found
    }

    fn object(&self, value: &Value, place: &str, found: &mut Found) {
        let node = Node::root(value);
        let kind = value.get("kind").and_then(Value::as_str).unwrap_or_default();
        if value.is_null() {
            return;
        }
        if let Some(items) = value.get("items").and_then(Value::as_array).filter(|_| kind.ends_with("List")) {
            for (index, item) in items.iter().enumerate() {
                // Items of a CronJobList need not name their kind.
                self.item(item, kind == "CronJobList", &format!("{place} item {}", index + 1), found);
            }
        } else if kind == "CronJob" {
            self.cron_job(&node, place, found);
        } else {
            found.remarks.push(format!("{place}: passed over: {kind:?} is not a CronJob"));
        }
    }

    fn item(&self, item: &Value, is_cron_job: bool, place: &str, found: &mut Found) {
        match item.get("kind").and_then(Value::as_str) {
            None if is_cron_job => self.cron_job(&Node::root(item), place, found),
            Some("CronJob") => self.cron_job(&Node::root(item), place, found),
            other => found
                .remarks
                .push(format!("{place}: passed over: {:?} is not a CronJob", other.unwrap_or_default())),
        }
    }

    fn cron_job(&self, node: &Node<'_>, place: &str, found: &mut Found) {
        match self.draft(node, place) {
            Ok(draft) => found.drafts.push(draft),
            Err(reason) => {
                let name = node.get("metadata").and_then(|meta| meta.text("name").ok().flatten());
                let text = name.unwrap_or("a CronJob without a name").to_owned();
                found.rejected.push(Rejected { place: place.to_owned(), text, reason });
            }
        }
    }

    fn draft(&self, node: &Node<'_>, place: &str) -> Result<Draft, String> {
        let metadata = node.get("metadata").ok_or("metadata: is missing")?;
        let short = metadata.non_empty("name")?.ok_or("metadata.name: is missing")?;
        // A namespace on the command line brings all of them together.
        let namespace = match (self.namespace, metadata.non_empty("namespace")?) {
            ("default", Some(namespace)) => namespace,
            (chosen, _) => chosen,
        };
        let name = self.args.import.name(namespace, short)?;
        let spec = node.get("spec").ok_or("spec: is missing")?;
        let mut remarks = Remarks::default();

        let expression = spec.non_empty("schedule")?.ok_or("spec.schedule: is missing")?;
        let when = self.when(node, &spec, expression, &mut remarks)?;
        let template = Template::read(&spec)?;
        let choice = self.args.target.as_ref().ok_or_else(|| template.ask_for_target())?;
        let mut schedule = match choice {
            TargetChoice::Command => template.command(&mut remarks)?,
            TargetChoice::Handler(handler) => template.handler(handler, namespace, short, &mut remarks),
        };
        let policies = schedule.policies.get_or_insert_default();
        overlap(&spec, policies, &mut remarks)?;
        policies.start_deadline = start_deadline(&spec, &mut remarks)?;
        template.attempt_timeout(self.args.import.attempt_timeout, policies, &mut remarks)?;
        schedule.history = history(&spec, &mut remarks)?;
        schedule.labels = metadata.pairs("labels")?.into_iter().collect();
        let annotations = metadata.get("annotations");
        let description = match &annotations {
            Some(annotations) => annotations.text("kubernetes.io/description")?.unwrap_or_default(),
            None => "",
        };
        schedule.description = description.to_owned();
        schedule.pool = self.args.import.pool.clone();
        let pause = spec.flag("suspend")?.then(|| "suspended in Kubernetes".to_owned());
        remarks.not_carried.extend(spec.besides(&KNOWN));
        Ok(Draft {
            place: place.to_owned(),
            name,
            expression: expression.to_owned(),
            what: template.in_words(),
            schedule,
            when,
            remarks,
            pause,
        })
    }

    fn when(
        &self,
        node: &Node<'_>,
        spec: &Node<'_>,
        text: &str,
        remarks: &mut Remarks,
    ) -> Result<super::plan::When, String> {
        let (in_text, rest) = split_zone(text);
        let zone = match (spec.non_empty("timeZone")?, in_text) {
            (Some(_), Some(_)) => {
                return Err("spec.timeZone: the schedule names a zone too; Kubernetes refuses both together: remove one".to_owned());
            }
            (Some(zone), None) => Zone::Known(zone),
            (None, Some(zone)) => {
                remarks.note("the zone in front of the schedule is the schedule's time zone here");
                Zone::Known(zone)
            }
            (None, None) => self.assumed.map_or(Zone::Machine, Zone::Known),
        };
        let unknown = "without spec.timeZone it is the controller manager's, which no CronJob says: read in UTC; --assume-tz gives it";
        let anchor = anchor(node)?;
        let schedule = GoSchedule { field: "spec.schedule", text: rest, seconds: Seconds::None, anchor };
        schedule.when(&zone, unknown, remarks)
    }
}

const KNOWN: [&str; 8] = [
    "schedule",
    "timeZone",
    "startingDeadlineSeconds",
    "concurrencyPolicy",
    "suspend",
    "jobTemplate",
    "successfulJobsHistoryLimit",
    "failedJobsHistoryLimit",
];

/// A document as JSON, with `<<` carried out as Kubernetes' own reader does.
fn json(document: serde_yaml_ng::Deserializer<'_>) -> Result<Value, serde_yaml_ng::Error> {
    let mut value = serde_yaml_ng::Value::deserialize(document)?;
    value.apply_merge()?;
    serde_yaml_ng::from_value(value)
}

/// What `@every` counts from: the last time, or the creation.
fn anchor(node: &Node<'_>) -> Result<Option<i64>, String> {
    let last = match node.get("status") {
        Some(status) => status.non_empty("lastScheduleTime")?,
        None => None,
    };
    let created = match node.get("metadata") {
        Some(metadata) => metadata.non_empty("creationTimestamp")?,
        None => None,
    };
    let Some(text) = last.or(created) else { return Ok(None) };
    let time = belfry_timing::parse_time(text, &TimeZone::utc());
    time.map(Some).map_err(|error| format!("the time that `@every` counts from: {error}"))
}

fn overlap(spec: &Node<'_>, policies: &mut pb::Policies, remarks: &mut Remarks) -> Result<(), String> {
    match spec.text("concurrencyPolicy")?.unwrap_or("Allow") {
        "Allow" | "" => {
            policies.set_overlap_policy(pb::OverlapPolicy::Allow);
            policies.overlap_limit = RUNNING_MAX;
            remarks.note(format!("concurrencyPolicy Allow: at most {RUNNING_MAX} runs at once here"));
        }
        "Forbid" => {
            policies.set_overlap_policy(pb::OverlapPolicy::Skip);
            remarks.note("concurrencyPolicy Forbid drops an instant while a run is running, and so does SKIP; Belfry's own HOLD_ONE would let it wait");
        }
        "Replace" => policies.set_overlap_policy(pb::OverlapPolicy::CancelRunning),
        other => {
            return Err(format!("spec.concurrencyPolicy: `{other}` is none of Allow, Forbid and Replace"));
        }
    }
    Ok(())
}

/// There, at most the latest missed instant is started, and within the deadline only: COALESCE with a start deadline.
fn start_deadline(spec: &Node<'_>, remarks: &mut Remarks) -> Result<Option<prost_types::Duration>, String> {
    let Some(seconds) = spec.whole("startingDeadlineSeconds")? else { return Ok(None) };
    if seconds == 0 {
        return Err(
            "spec.startingDeadlineSeconds: with 0 nothing ever starts: remove it or give it time".to_owned()
        );
    }
    if seconds < CONTROLLER_PERIOD_SECONDS {
        remarks.note(
            "startingDeadlineSeconds below 10 may keep Kubernetes from starting anything; here it is exact",
        );
    }
    let deadline = std::time::Duration::from_secs(seconds.min(template::LONGEST_SECONDS));
    if seconds > template::LONGEST_SECONDS {
        remarks.change("spec.startingDeadlineSeconds", "is longer than the 30 days possible here");
    }
    Ok(Some(text::proto_duration(deadline)))
}

fn history(spec: &Node<'_>, remarks: &mut Remarks) -> Result<Option<pb::History>, String> {
    let kept = (spec.whole("successfulJobsHistoryLimit")?, spec.whole("failedJobsHistoryLimit")?);
    let kept = (kept.0.unwrap_or(HISTORY_DEFAULT.0), kept.1.unwrap_or(HISTORY_DEFAULT.1));
    if kept == HISTORY_DEFAULT {
        return Ok(None);
    }
    match kept.0.saturating_add(kept.1) {
        0 => {
            remarks.note("history limits of 0: the ledger keeps rows as the cluster's retention says");
            Ok(None)
        }
        count => {
            remarks.note("the history limits are one count here, of rows of every kind");
            let keep_count = u32::try_from(count).unwrap_or(u32::MAX);
            Ok(Some(pb::History { keep_for: None, keep_count }))
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;
    use proptest::prelude::*;

    use super::*;

    const CRON_JOBS: &str = include_str!("../../../../tests/data/import/cronjobs.yaml");

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        args: KubernetesArgs,
    }

    fn read(text: &str, flags: &[&str]) -> Found {
        let line = Line::parse_from([&["belfry", "-"], flags].concat());
        Reader { args: &line.args, namespace: "default", assumed: Some("UTC") }.read(text)
    }

    fn draft(name: &str, flags: &[&str]) -> Draft {
        let drafts = read(CRON_JOBS, flags).drafts;
        drafts.into_iter().find(|draft| draft.name.ends_with(&format!("/{name}"))).unwrap()
    }

    fn seconds(duration: Option<prost_types::Duration>) -> Option<i64> {
        duration.map(|duration| duration.seconds)
    }

    #[test]
    fn a_container_with_a_command_becomes_a_command() {
        let draft = draft("nightly-dump", &["--target", "command"]);
        assert_eq!(draft.name, "namespaces/default/schedules/nightly-dump");
        let policies = draft.schedule.policies.unwrap();
        assert_eq!(policies.overlap_policy(), pb::OverlapPolicy::Skip);
        assert_eq!(seconds(policies.start_deadline), Some(3600));
        assert_eq!(seconds(policies.attempt_timeout), Some(7200));
        let retry = policies.retry.unwrap();
        assert_eq!((retry.max_attempts, seconds(retry.max_backoff)), (3, Some(360)));
        assert_eq!(draft.schedule.history.unwrap().keep_count, 15);
        let Some(pb::target::Target::Command(command)) = draft.schedule.target.unwrap().target else {
            panic!("not a command");
        };
        assert_eq!(command.argv, ["/bin/dump", "--full", "--to=$(BUCKET)"]);
        assert_eq!((command.environment["BUCKET"].as_str(), command.environment.len()), ("backups", 1));
        assert_eq!(command.working_directory, "/work");
    }

    #[test]
    fn a_handler_is_given_the_manifest_of_the_job() {
        let draft = draft("eu-every-other-day", &["--target", "handler=k8s", "--prefix", "eu-"]);
        assert_eq!(draft.name, "namespaces/reports/schedules/eu-every-other-day");
        assert_eq!(draft.pause.as_deref(), Some("suspended in Kubernetes"));
        assert_eq!(draft.schedule.description, "Numbers for the board");
        assert_eq!(draft.schedule.labels["app.kubernetes.io/name"], "reports");
        assert_eq!(draft.schedule.policies.as_ref().unwrap().overlap_limit, 100);
        assert_eq!((draft.schedule.history, draft.remarks.not_carried.len()), (None, 0));
        let Some(pb::target::Target::Handler(handler)) = draft.schedule.target.unwrap().target else {
            panic!("not a handler");
        };
        let payload: Value = serde_json::from_slice(&handler.payload).unwrap();
        assert_eq!(payload["metadata"]["namespace"], "reports");
        assert_eq!(payload["metadata"]["generateName"], "every-other-day-");
        assert_eq!(payload["spec"]["template"]["spec"]["containers"][0]["image"], "report:1");
    }

    #[test]
    fn a_broken_document_ends_the_reading_with_its_place() {
        let found = read("kind: Secret\n---\nkind: [\n---\nkind: CronJob\n", &[]);
        assert_eq!((found.remarks.len(), found.rejected.len()), (1, 1));
        assert_eq!(found.rejected[0].place, "document 2");
    }

    #[test]
    fn anchors_and_merges_are_carried_out() {
        let text = "common: &common {schedule: '@daily', timeZone: UTC, jobTemplate: {spec: {template: {spec: \
                    {containers: [{command: [a]}]}}}}}\nkind: CronJob\nmetadata: {name: a}\nspec: {<<: *common}\n";
        let found = read(text, &["--target", "command"]);
        assert_eq!((found.drafts.len(), found.rejected.as_slice()), (1, &[][..]));
    }

    proptest! {
        /// Whatever is damaged, in the text or in a value, is a reason and no panic.
        #[test]
        fn no_input_panics(text in ".{0,200}", at in 0..CRON_JOBS.len(), length in 0..40_usize) {
            read(&text, &[]);
            let (start, end) = (CRON_JOBS.floor_char_boundary(at), CRON_JOBS.floor_char_boundary(at + length));
            let damaged = format!("{}{text}{}", &CRON_JOBS[..start], &CRON_JOBS[end..]);
            read(&damaged, &["--target", "command"]);
            read(&damaged.replace(&text, ""), &["--target", "handler=k8s"]);
        }

        #[test]
        fn no_schedule_panics(schedule in "(@every |TZ=|@|)?[-0-9*/?,LWhms. A-Za-z~+µ]{0,30}", zone in "|UTC|Europe/Berlin") {
            let value = serde_json::json!({
                "kind": "CronJob", "metadata": {"name": "a", "creationTimestamp": "2026-01-05T10:00:00Z"},
                "spec": {"schedule": schedule, "timeZone": zone, "jobTemplate": {"spec": {"template": {"spec": {
                    "containers": [{"command": ["a"]}]}}}}},
            });
            let found = read(&value.to_string(), &["--target", "command"]);
            prop_assert_eq!(found.drafts.len() + found.rejected.len(), 1);
            for draft in found.drafts {
                // 2026-11-25.
                let _ = super::super::plan::Plan::of(draft, "kubernetes", 1_795_564_800_000);
            }
        }
    }
}
