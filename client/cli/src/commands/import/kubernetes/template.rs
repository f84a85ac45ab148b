//! The job template of a CronJob: what of a pod can be run here.

use std::time::Duration;

use belfry_sdk::pb;
use serde_json::{Map, Value, json};

use super::super::document::Node;
use super::super::plan::Remarks;
use crate::text;

/// The longest attempt and start deadline that a node accepts: 30 days.
pub(super) const LONGEST_SECONDS: u64 = 30 * 86_400;
/// What the API server fills in.
const BACKOFF_LIMIT_DEFAULT: u64 = 6;
/// The most attempts that a node accepts.
const ATTEMPTS_MAX: u64 = 100;
/// Kubernetes' own: 10 s, doubled up to 6 min.
const BACKOFF_FIRST: Duration = Duration::from_secs(10);
const BACKOFF_LONGEST: Duration = Duration::from_secs(360);

pub(super) struct Template<'a> {
    template: Node<'a>,
    job: Node<'a>,
    pod: Node<'a>,
    containers: Vec<Node<'a>>,
}

impl<'a> Template<'a> {
    pub(super) fn read(spec: &Node<'a>) -> Result<Self, String> {
        let within = |node: &Node<'a>, key: &str| {
            let path = if node.path().is_empty() { String::new() } else { format!("{}.", node.path()) };
            node.get(key).ok_or_else(|| format!("{path}{key}: is missing"))
        };
        let template = within(spec, "jobTemplate")?;
        let job = within(&template, "spec")?;
        let pod = within(&within(&job, "template")?, "spec")?;
        let containers = pod.items("containers")?;
        if containers.is_empty() {
            return Err(format!("{}.containers: is empty", pod.path()));
        }
        Ok(Self { template, job, pod, containers })
    }

    /// For people.
    pub(super) fn in_words(&self) -> String {
        let words = self.containers.iter().map(|container| {
            let command = argv(container).unwrap_or_default().join(" ");
            let image = container.text("image").ok().flatten().unwrap_or("no image");
            if command.is_empty() { image.to_owned() } else { command }
        });
        words.collect::<Vec<_>>().join("; ")
    }

    /// Why it is not imported without a choice.
    pub(super) fn ask_for_target(&self) -> String {
        let images = self.containers.iter().filter_map(|container| container.text("image").ok().flatten());
        let images = images.collect::<Vec<_>>().join(", ");
        let hand_over = "--target handler=NAME hands its Job to a handler of yours";
        match self.command_of_one() {
            Ok(_) => format!(
                "Belfry runs no pods ({images}): {hand_over}, --target command runs `{}` on the executors' machines",
                text::shortened(&self.in_words(), 60)
            ),
            Err(why) => {
                format!("Belfry runs no pods ({images}): {hand_over}; as a command it cannot run: {why}")
            }
        }
    }

    /// The whole Job as a manifest, so that a handler of three lines can create it.
    pub(super) fn handler(
        &self,
        handler: &str,
        namespace: &str,
        name: &str,
        remarks: &mut Remarks,
    ) -> pb::Schedule {
        let mut metadata = match self.template.value().get("metadata") {
            Some(Value::Object(metadata)) => metadata.clone(),
            _none => Map::new(),
        };
        metadata.remove("creationTimestamp");
        metadata.insert("namespace".to_owned(), namespace.into());
        metadata.insert("generateName".to_owned(), format!("{name}-").into());
        let manifest = json!({
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": metadata,
            "spec": self.job.value(),
        });
        remarks.note(format!(
            "the payload of handler `{handler}` is the manifest of the Job, with its backoffLimit and deadlines; a run here is over when the handler says so"
        ));
        let payload = sorted(&manifest).to_string().into_bytes().into();
        let target = pb::target::Target::Handler(pb::HandlerTarget { handler: handler.to_owned(), payload });
        pb::Schedule { target: Some(pb::Target { target: Some(target) }), ..Default::default() }
    }

    /// The command of its only container, with everything around it listed as not carried.
    pub(super) fn command(&self, remarks: &mut Remarks) -> Result<pb::Schedule, String> {
        let (container, argv) = self.command_of_one()?;
        let image = container.non_empty("image")?;
        remarks.not_carried.extend(image.map(|image| format!("image {image}")));
        remarks.not_carried.extend(self.job.besides(&JOB_FIELDS));
        remarks.not_carried.extend(self.pod.besides(&POD_FIELDS));
        remarks.not_carried.extend(container.besides(&CONTAINER_FIELDS));
        for (node, key, usual) in [
            (&self.job, "parallelism", 1),
            (&self.job, "completions", 1),
            (&self.pod, "terminationGracePeriodSeconds", 30),
        ] {
            if node.whole(key)?.is_some_and(|value| value != usual) {
                remarks.not_carried.push(format!("{}.{key}", node.path()));
            }
        }
        if self.job.whole("ttlSecondsAfterFinished")?.is_some() {
            remarks.note("ttlSecondsAfterFinished removes pods that have ended; here rows are kept as the retention says");
        }
        let mut environment = std::collections::BTreeMap::new();
        for variable in container.items("env")? {
            let name =
                variable.non_empty("name")?.ok_or_else(|| format!("{}.name: is missing", variable.path()))?;
            match variable.get("valueFrom") {
                Some(_) => remarks.not_carried.push(format!("variable {name}, whose value is elsewhere")),
                None => {
                    environment
                        .insert(name.to_owned(), variable.text("value")?.unwrap_or_default().to_owned());
                }
            }
        }
        if argv.iter().chain(environment.values()).any(|text| text.contains("$(")) {
            remarks.change("command", "Kubernetes replaces $(NAME) in it; here it stays as it is");
        }
        let command = pb::CommandTarget {
            argv,
            environment,
            working_directory: container.text("workingDir")?.unwrap_or_default().to_owned(),
            ..Default::default()
        };
        let target = pb::target::Target::Command(command);
        let policies = pb::Policies { retry: self.retry(remarks)?, ..Default::default() };
        Ok(pb::Schedule {
            target: Some(pb::Target { target: Some(target) }),
            policies: Some(policies),
            ..Default::default()
        })
    }

    /// Sets the limit of an attempt: the Job's, or that of the command line.
    pub(super) fn attempt_timeout(
        &self,
        unset: Duration,
        policies: &mut pb::Policies,
        remarks: &mut Remarks,
    ) -> Result<(), String> {
        let limit = match self.job.whole("activeDeadlineSeconds")? {
            None => {
                remarks.note(super::super::unlimited(unset));
                unset
            }
            Some(seconds) if seconds > LONGEST_SECONDS => {
                remarks.change("activeDeadlineSeconds", "is longer than the 30 days possible here");
                Duration::from_secs(LONGEST_SECONDS)
            }
            Some(seconds) => {
                if policies.retry.is_some() {
                    remarks.note("activeDeadlineSeconds is for all attempts of a Job together; attempt_timeout for each");
                }
                Duration::from_secs(seconds.max(1))
            }
        };
        policies.attempt_timeout = Some(text::proto_duration(limit));
        Ok(())
    }

    fn retry(&self, remarks: &mut Remarks) -> Result<Option<pb::Retry>, String> {
        let limit = self.job.whole("backoffLimit")?.unwrap_or(BACKOFF_LIMIT_DEFAULT);
        if limit == 0 {
            return Ok(None);
        }
        let attempts = limit.saturating_add(1);
        if attempts > ATTEMPTS_MAX {
            remarks.change("backoffLimit", format!("at most {ATTEMPTS_MAX} attempts are possible here"));
        }
        remarks.note("backoffLimit n starts the pod up to n times again after a failure; here the run has n+1 attempts with the same pauses between them");
        Ok(Some(pb::Retry {
            max_attempts: u32::try_from(attempts.min(ATTEMPTS_MAX)).unwrap_or(u32::MAX),
            initial_backoff: Some(text::proto_duration(BACKOFF_FIRST)),
            max_backoff: Some(text::proto_duration(BACKOFF_LONGEST)),
            non_retryable_codes: Vec::new(),
        }))
    }

    /// The only container, and its command, which an image may hide.
    fn command_of_one(&self) -> Result<(&Node<'a>, Vec<String>), String> {
        let [container] = &self.containers[..] else {
            return Err(format!("it has {} containers", self.containers.len()));
        };
        if !self.pod.items("initContainers")?.is_empty() {
            return Err("it has init containers".to_owned());
        }
        if container.texts("command")?.is_empty() {
            return Err("its image decides what runs".to_owned());
        }
        Ok((container, argv(container)?))
    }
}

fn argv(container: &Node<'_>) -> Result<Vec<String>, String> {
    Ok([container.texts("command")?, container.texts("args")?].concat())
}

/// With the keys of every object in order: the same Job is the same text, whoever wrote it down.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(fields) => {
            let fields: std::collections::BTreeMap<_, _> = fields.iter().collect();
            Value::Object(fields.into_iter().map(|(key, value)| (key.clone(), sorted(value))).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

/// Carried, looked at by themselves, or about pods only.
const JOB_FIELDS: [&str; 10] = [
    "template",
    "backoffLimit",
    "activeDeadlineSeconds",
    "ttlSecondsAfterFinished",
    "parallelism",
    "completions",
    "completionMode",
    "podReplacementPolicy",
    "selector",
    "manualSelector",
];
const POD_FIELDS: [&str; 7] = [
    "containers",
    "restartPolicy",
    "terminationGracePeriodSeconds",
    "dnsPolicy",
    "schedulerName",
    "enableServiceLinks",
    "automountServiceAccountToken",
];
const CONTAINER_FIELDS: [&str; 9] = [
    "name",
    "image",
    "imagePullPolicy",
    "command",
    "args",
    "env",
    "workingDir",
    "terminationMessagePath",
    "terminationMessagePolicy",
];
