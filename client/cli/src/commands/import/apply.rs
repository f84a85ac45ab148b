//! Brings planned schedules into a cluster.
//!
//! One call creates a schedule and pauses it, so that there is no moment between the two (IMPORT-2), and an import that is
//! cut off leaves whole schedules behind it: the next one finds them unchanged and goes on.

use belfry_sdk::{Client, ClientError, pb};
use serde::Serialize;

use super::crontab::Planned;
use crate::commands::schedule::local_user;
use crate::commands::{Context, converse};
use crate::exit::Failure;
use crate::output::{Cell, Tone};
use crate::text;

const PAUSE_REASON: &str = "imported from crontab";

/// What became of a planned schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Result {
    /// It is new, and paused.
    Created,
    /// It was there already.
    Unchanged,
    /// It was there with another definition, and is as planned now.
    Updated,
    /// It is there with another definition, and was left alone.
    Different,
}

impl Result {
    pub(super) fn cell(self) -> Cell {
        match self {
            Result::Created => Cell::new("created, paused", Tone::Good),
            Result::Unchanged => Cell::new("unchanged", Tone::Faint),
            Result::Updated => Cell::new("updated", Tone::Good),
            Result::Different => Cell::new("differs", Tone::Bad),
        }
    }
}

/// Carries out the plans in their order and notes the results in them, up to the first failure.
pub(super) fn run(
    context: &Context,
    plans: &mut [Planned],
    update: bool,
) -> std::result::Result<(), Failure> {
    converse(async {
        let client = context.client()?;
        for plan in plans {
            let result = import(&client, &plan.definition, update).await;
            plan.result = Some(result.map_err(|failure| failure.about(&format!("line {}", plan.line)))?);
        }
        Ok(())
    })
}

async fn import(
    client: &Client,
    planned: &pb::Schedule,
    update: bool,
) -> std::result::Result<Result, Failure> {
    let existing = match client.get_schedule(pb::GetScheduleRequest { name: planned.name.clone() }).await {
        Ok(existing) => Some(existing),
        Err(ClientError::NotFound(_)) => None,
        Err(error) => return Err(error.into()),
    };
    match existing {
        None => {
            client.create_schedule(creation(planned, local_user())).await?;
            Ok(Result::Created)
        }
        Some(existing) if is_same(planned, &existing) => Ok(Result::Unchanged),
        Some(existing) if update => {
            client.update_schedule(change(planned, existing.etag)).await?;
            Ok(Result::Updated)
        }
        Some(_) => Ok(Result::Different),
    }
}

/// IMPORT-2: it starts paused.
fn creation(planned: &pb::Schedule, actor: String) -> pb::CreateScheduleRequest {
    let pause = pb::Pause { reason: PAUSE_REASON.to_owned(), actor, ..Default::default() };
    pb::CreateScheduleRequest {
        parent: format!("namespaces/{}", text::namespace_of(&planned.name)),
        schedule_id: text::short_name(&planned.name).to_owned(),
        schedule: Some(pb::Schedule { name: String::new(), pause: Some(pause), ..planned.clone() }),
        ..Default::default()
    }
}

/// What the crontab says, and nothing else: whether it is paused is for people to decide.
fn change(planned: &pb::Schedule, etag: String) -> pb::UpdateScheduleRequest {
    let paths = ["timing", "target", "description"].map(str::to_owned).to_vec();
    pb::UpdateScheduleRequest {
        schedule: Some(pb::Schedule { etag, ..planned.clone() }),
        update_mask: Some(prost_types::FieldMask { paths }),
        ..Default::default()
    }
}

/// Whether a schedule is as planned in what the crontab says. Labels, pool and rules may have been chosen since.
fn is_same(planned: &pb::Schedule, existing: &pb::Schedule) -> bool {
    planned.target == existing.target
        && planned.description == existing.description
        && declared(planned) == declared(existing)
}

/// The timing without what the server adds to it.
fn declared(schedule: &pb::Schedule) -> pb::Timing {
    let mut timing = schedule.timing.clone().unwrap_or_default();
    timing.time_zone = text::zone_or_utc(&timing.time_zone).to_owned();
    for rule in &mut timing.include {
        if let Some(pb::rule::Rule::Cron(cron)) = &mut rule.rule {
            cron.resolved_expression.clear();
        }
    }
    timing
}

#[cfg(test)]
mod tests {
    use super::*;

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
        assert!(is_same(&planned, &existing));
        assert!(!is_same(&planned, &schedule("0 4 * * *", "0 4 * * *", "UTC")));
        assert!(!is_same(&planned, &schedule("0 3 * * *", "", "Europe/Berlin")));
    }

    #[test]
    fn a_new_schedule_starts_paused() {
        let mut planned = schedule("* * * * *", "", "UTC");
        planned.name = "namespaces/n/schedules/s".into();
        let request = creation(&planned, "anna".into());
        let created = request.schedule.unwrap();
        assert_eq!(created.timing, planned.timing);
        assert_eq!(created.pause.unwrap().actor, "anna");
        assert_eq!((request.parent.as_str(), request.schedule_id.as_str()), ("namespaces/n", "s"));
    }
}
