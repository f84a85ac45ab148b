//! Brings planned schedules into a cluster.
//!
//! One call creates a schedule and pauses it, so that there is no moment between the two (IMPORT-2), and an import that is
//! cut off leaves whole schedules behind it: the next one finds them unchanged and goes on.
//!
//! A label keeps a fingerprint of what was imported. A schedule that still has it was changed by nobody since, so that a
//! difference comes from the source (IMPORT-3).

use belfry_sdk::{Client, ClientError, pb};
use prost::Message as _;
use serde::Serialize;

use super::plan::Plan;
use super::{ImportArgs, Origin};
use crate::commands::schedule::local_user;
use crate::commands::{Context, converse};
use crate::exit::Failure;
use crate::output::{Cell, Tone};
use crate::text;

/// The label by which imported schedules are found again: `belfry schedule list -l imported-from=crontab`.
const ORIGIN_LABEL: &str = "imported-from";
const FINGERPRINT_LABEL: &str = "imported-fingerprint";
/// What a node takes an attempt timeout to be that is not set.
const ATTEMPT_TIMEOUT_SECONDS: i64 = 3600;

/// What became of a planned schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Outcome {
    /// It is new, and paused.
    Created,
    /// It was there already.
    Unchanged,
    /// It was there with another definition, and is as planned now.
    Updated,
    /// Its source has changed since it was imported; it was left alone.
    SourceChanged,
    /// Somebody has changed it here since; it was left alone.
    ChangedHere,
    /// A schedule that no import made has its name; it was left alone.
    NameTaken,
    /// It means something else here; it was not created.
    LeftOut,
    /// It is there, but the cluster did not keep all of it: a node of an older version drops fields that it does not know.
    NotKept,
}

impl Outcome {
    pub(super) fn cell(self) -> Cell {
        match self {
            Outcome::Created => Cell::new("created, paused", Tone::Good),
            Outcome::Unchanged => Cell::new("unchanged", Tone::Faint),
            Outcome::Updated => Cell::new("updated", Tone::Good),
            Outcome::SourceChanged => Cell::new("source changed", Tone::Bad),
            Outcome::ChangedHere => Cell::new("changed here", Tone::Bad),
            Outcome::NameTaken => Cell::new("name taken", Tone::Bad),
            Outcome::LeftOut => Cell::new("left out", Tone::Open),
            Outcome::NotKept => Cell::new("not kept whole", Tone::Bad),
        }
    }
}

/// Carries out the plans in their order and notes the outcomes in them, up to the first failure.
pub(super) fn run(
    context: &Context,
    origin: &Origin,
    args: &ImportArgs,
    plans: &mut [Plan],
) -> Result<(), Failure> {
    converse(async {
        let client = context.client()?;
        for plan in plans {
            let outcome = Box::pin(import(&client, origin, args, plan)).await;
            plan.result = Some(outcome.map_err(|failure| failure.about(&plan.place))?);
        }
        Ok(())
    })
}

async fn import(
    client: &Client,
    origin: &Origin,
    args: &ImportArgs,
    plan: &Plan,
) -> Result<Outcome, Failure> {
    let planned = labelled(&plan.definition, origin);
    let existing = match client.get_schedule(pb::GetScheduleRequest { name: planned.name.clone() }).await {
        Ok(existing) => Some(existing),
        Err(ClientError::NotFound(_)) => None,
        Err(error) => return Err(error.into()),
    };
    let found = existing.as_ref().map(|existing| state(&planned, existing, origin));
    match (existing, found) {
        (_, Some(State::Same)) => Ok(Outcome::Unchanged),
        (_, Some(State::SourceChanged)) if !args.update && !args.overwrite => Ok(Outcome::SourceChanged),
        (_, Some(State::Foreign)) if !args.overwrite => Ok(Outcome::NameTaken),
        (_, Some(State::ChangedHere)) if !args.overwrite => Ok(Outcome::ChangedHere),
        // IMPORT-5
        _ if !plan.is_same() && !args.accept_changes => Ok(Outcome::LeftOut),
        (Some(existing), _) => {
            let kept = client.update_schedule(change(&planned, existing, origin)).await?;
            Ok(if_kept(&planned, &kept, origin, Outcome::Updated))
        }
        (None, _) => {
            let request = creation(&planned, &plan.pause_reason, local_user());
            let kept = client.create_schedule(request).await?;
            Ok(if_kept(&planned, &kept, origin, Outcome::Created))
        }
    }
}

/// The outcome, unless the answer to the write lacks something of it.
fn if_kept(planned: &pb::Schedule, kept: &pb::Schedule, origin: &Origin, outcome: Outcome) -> Outcome {
    let is_kept = declared(planned, origin) == declared(kept, origin);
    if is_kept { outcome } else { Outcome::NotKept }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Same,
    SourceChanged,
    ChangedHere,
    /// It came from elsewhere.
    Foreign,
}

/// How a schedule that is there compares with what its source says now.
fn state(planned: &pb::Schedule, existing: &pb::Schedule, origin: &Origin) -> State {
    let is_untouched =
        existing.labels.get(FINGERPRINT_LABEL).is_some_and(|label| *label == fingerprint(existing, origin));
    match declared(planned, origin) == declared(existing, origin) {
        true => State::Same,
        false if is_untouched => State::SourceChanged,
        false if !existing.labels.contains_key(ORIGIN_LABEL) => State::Foreign,
        false => State::ChangedHere,
    }
}

/// The plan with the labels that tell where it came from.
fn labelled(planned: &pb::Schedule, origin: &Origin) -> pb::Schedule {
    let mut schedule = planned.clone();
    schedule.labels.insert(ORIGIN_LABEL.to_owned(), origin.name.to_owned());
    schedule.labels.insert(FINGERPRINT_LABEL.to_owned(), fingerprint(planned, origin));
    schedule
}

/// IMPORT-2: it starts paused.
fn creation(planned: &pb::Schedule, reason: &str, actor: String) -> pb::CreateScheduleRequest {
    let pause = pb::Pause { reason: reason.to_owned(), actor, ..Default::default() };
    pb::CreateScheduleRequest {
        parent: format!("namespaces/{}", text::namespace_of(&planned.name)),
        schedule_id: text::short_name(&planned.name).to_owned(),
        schedule: Some(pb::Schedule { name: String::new(), pause: Some(pause), ..planned.clone() }),
        ..Default::default()
    }
}

/// What the source says, and nothing else: whether it is paused is for people to decide, and labels of theirs stay.
fn change(planned: &pb::Schedule, existing: pb::Schedule, origin: &Origin) -> pb::UpdateScheduleRequest {
    let mut labels = existing.labels;
    labels.extend(planned.labels.clone());
    let paths = origin.paths.iter().copied().chain(["labels"]).map(str::to_owned).collect();
    pb::UpdateScheduleRequest {
        schedule: Some(pb::Schedule { etag: existing.etag, labels, ..planned.clone() }),
        update_mask: Some(prost_types::FieldMask { paths }),
        ..Default::default()
    }
}

/// The fields that the source decides, with the defaults that a node fills in taken out again.
fn declared(schedule: &pb::Schedule, origin: &Origin) -> pb::Schedule {
    let given = schedule.policies.clone().unwrap_or_default();
    let mut declared = pb::Schedule::default();
    let mut policies = pb::Policies::default();
    for path in origin.paths {
        match *path {
            "timing" => declared.timing = Some(declared_timing(schedule)),
            "target" => declared.target.clone_from(&schedule.target),
            "description" => declared.description.clone_from(&schedule.description),
            "max_runs" => declared.max_runs = schedule.max_runs,
            "completion_action" => declared.completion_action = schedule.completion_action.max(1),
            "executor_labels" => declared.executor_labels.clone_from(&schedule.executor_labels),
            "history" => {
                declared.history = schedule.history.filter(|history| *history != pb::History::default());
            }
            "policies.overlap_policy" => {
                policies.overlap_policy = given.overlap_policy.max(1);
                policies.overlap_limit = given.overlap_limit;
            }
            "policies.start_deadline" => policies.start_deadline = given.start_deadline,
            "policies.attempt_timeout" => {
                let unset = prost_types::Duration { seconds: ATTEMPT_TIMEOUT_SECONDS, nanos: 0 };
                policies.attempt_timeout = Some(given.attempt_timeout.unwrap_or(unset));
            }
            "policies.retry" => {
                policies.retry = given.retry.clone().filter(|retry| retry.max_attempts > 1);
            }
            other => unreachable!("{other} is a path of no origin"),
        }
    }
    declared.policies = Some(policies);
    declared
}

/// The timing without what the server adds to it.
fn declared_timing(schedule: &pb::Schedule) -> pb::Timing {
    let mut timing = schedule.timing.clone().unwrap_or_default();
    timing.time_zone = text::zone_or_utc(&timing.time_zone).to_owned();
    for rule in &mut timing.include {
        match &mut rule.rule {
            Some(pb::rule::Rule::Cron(cron)) => cron.resolved_expression.clear(),
            Some(pb::rule::Rule::Interval(interval)) => {
                interval.phase = interval.phase.filter(|phase| *phase != prost_types::Duration::default());
            }
            Some(_) | None => {}
        }
    }
    timing
}

/// FNV-1a over the declared fields as they are sent: fields that later versions add change nothing while they are unset.
fn fingerprint(schedule: &pb::Schedule, origin: &Origin) -> String {
    let bytes = declared(schedule, origin).encode_to_vec();
    let hash = bytes.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const ORIGIN: Origin = Origin {
        name: "test",
        has_names: true,
        paths: &["timing", "target", "description", "policies.attempt_timeout", "policies.retry", "history"],
    };

    fn schedule(expression: &str, resolved: &str, zone: &str) -> pb::Schedule {
        let cron = pb::Cron {
            expression: expression.into(),
            allow_never: false,
            resolved_expression: resolved.into(),
        };
        pb::Schedule {
            timing: Some(pb::Timing {
                include: vec![pb::Rule { rule: Some(pb::rule::Rule::Cron(cron)) }],
                time_zone: zone.into(),
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    #[test]
    fn what_the_server_adds_is_no_difference() {
        let planned = schedule("0 3 * * *", "", "UTC");
        let mut existing = schedule("0 3 * * *", "0 3 * * *", "");
        existing.pool = "default".into();
        existing.labels.insert("team".into(), "billing".into());
        existing.history = Some(pb::History::default());
        existing.policies = Some(pb::Policies {
            attempt_timeout: Some(prost_types::Duration { seconds: 3600, nanos: 0 }),
            retry: Some(pb::Retry { max_attempts: 1, ..Default::default() }),
            ..Default::default()
        });
        assert_eq!(state(&planned, &existing, &ORIGIN), State::Same);
        assert_eq!(if_kept(&planned, &existing, &ORIGIN, Outcome::Created), Outcome::Created);
        assert_eq!(fingerprint(&planned, &ORIGIN), fingerprint(&existing, &ORIGIN));
    }

    #[test]
    fn who_has_changed_it_is_known() {
        let existing = labelled(&schedule("0 3 * * *", "", "UTC"), &ORIGIN);
        let later = schedule("0 4 * * *", "", "UTC");
        assert_eq!(state(&later, &existing, &ORIGIN), State::SourceChanged);
        let touched = pb::Schedule { description: "mine".into(), ..existing.clone() };
        assert_eq!(state(&later, &touched, &ORIGIN), State::ChangedHere);
        let unlabelled = pb::Schedule { labels: Default::default(), ..existing };
        assert_eq!(state(&later, &unlabelled, &ORIGIN), State::Foreign);
    }

    #[test]
    fn what_an_older_node_drops_is_noticed() {
        let mut planned = schedule("0 3 * * *", "", "UTC");
        let kept = planned.clone();
        let timing = planned.timing.as_mut().unwrap();
        timing.spread = Some(prost_types::Duration { seconds: 60, nanos: 0 });
        assert_eq!(if_kept(&planned, &kept, &ORIGIN, Outcome::Created), Outcome::NotKept);
    }

    #[test]
    fn a_new_schedule_starts_paused() {
        let mut planned = schedule("* * * * *", "", "UTC");
        planned.name = "namespaces/n/schedules/s".into();
        let request = creation(&planned, "imported", "anna".into());
        let created = request.schedule.unwrap();
        assert_eq!(created.timing, planned.timing);
        assert_eq!(created.pause.unwrap().actor, "anna");
        assert_eq!((request.parent.as_str(), request.schedule_id.as_str()), ("namespaces/n", "s"));
    }
}
