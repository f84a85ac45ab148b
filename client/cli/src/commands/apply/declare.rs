//! Making the cluster's what a document declares.
//!
//! - DECLARE-1: what is written is bound to what it was compared with. A pause that somebody makes of a pool meanwhile stays.

use belfry_sdk::{Client, ClientError, pb};

use super::document::Document;
use crate::commands::documents::TRIES_MAX;
use crate::exit::{Exit, Failure};
use crate::text;

/// Whether it is done, or only checked.
#[derive(Clone, Debug)]
pub(super) enum Mode {
    Write,
    /// Of schedules, as if these calendars were there: nobody has put them.
    Check {
        calendars: Vec<pb::Calendar>,
    },
}

impl Mode {
    pub(super) fn is_check(&self) -> bool {
        matches!(self, Self::Check { .. })
    }

    /// A check that assumes all calendars of some documents.
    pub(super) fn check(documents: &[Document]) -> Self {
        let calendars = documents.iter().filter_map(|document| match document {
            Document::Calendar(calendar) => Some(calendar.clone()),
            Document::Namespace(_) | Document::Pool(_) | Document::Schedule(_) => None,
        });
        Self::Check { calendars: calendars.collect() }
    }

    /// What to assume for a schedule: those of the calendars that it uses.
    pub(super) fn assumed(&self, schedule: &pb::Schedule) -> Vec<pb::Calendar> {
        match self {
            Self::Write => Vec::new(),
            Self::Check { calendars } => {
                let used = calendars_of(schedule).collect::<Vec<_>>();
                calendars.iter().filter(|calendar| used.contains(&calendar.name)).cloned().collect()
            }
        }
    }
}

/// The calendars that a schedule uses, by resource name.
pub(super) fn calendars_of(schedule: &pb::Schedule) -> impl Iterator<Item = String> {
    let namespace = text::namespace_of(&schedule.name).to_owned();
    let used = schedule.timing.iter().flat_map(|timing| &timing.calendars);
    used.map(move |used| format!("namespaces/{namespace}/calendars/{}", used.calendar))
}

/// All that a schedule uses, by resource name.
pub(super) fn uses(schedule: &pb::Schedule) -> impl Iterator<Item = String> {
    let namespace = format!("namespaces/{}", text::namespace_of(&schedule.name));
    let pool = if schedule.pool.is_empty() { "default" } else { &schedule.pool };
    [namespace, format!("pools/{pool}")].into_iter().chain(calendars_of(schedule))
}

/// What was there, and what is there now, or would be.
pub(super) async fn made(
    client: &Client,
    document: &Document,
    mode: &Mode,
) -> Result<(Option<Document>, Document), Failure> {
    let mut tries = 0;
    loop {
        tries += 1;
        let before = current(client, document).await?;
        match Box::pin(declare(client, document.clone(), before.as_ref(), mode)).await {
            Err(ClientError::Conflict(_)) if tries < TRIES_MAX => {}
            after => return Ok((before, after.map_err(repeatable)?)),
        }
    }
}

/// What the cluster has of this name.
async fn current(client: &Client, document: &Document) -> Result<Option<Document>, Failure> {
    let name = document.name().to_owned();
    let read = match document {
        Document::Namespace(_) => {
            client.get_namespace(pb::GetNamespaceRequest { name }).await.map(Document::Namespace)
        }
        Document::Pool(_) => client.get_pool(pb::GetPoolRequest { name }).await.map(Document::Pool),
        Document::Calendar(_) => {
            client.get_calendar(pb::GetCalendarRequest { name }).await.map(Document::Calendar)
        }
        Document::Schedule(_) => client
            .get_schedule(pb::GetScheduleRequest { name })
            .await
            .map(|schedule| Document::Schedule(Box::new(schedule))),
    };
    match read {
        Ok(current) => Ok(Some(current)),
        Err(ClientError::NotFound(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Makes it what the document declares (APPLY-1, DECLARE-1).
async fn declare(
    client: &Client,
    document: Document,
    before: Option<&Document>,
    mode: &Mode,
) -> Result<Document, ClientError> {
    let (validate_only, request_id) = (mode.is_check(), String::new());
    match document {
        Document::Namespace(namespace) => {
            let etag = match before {
                Some(Document::Namespace(before)) => before.etag.clone(),
                Some(_) | None => String::new(),
            };
            let namespace = Some(pb::Namespace { etag, ..namespace });
            let request = pb::PutNamespaceRequest { namespace, request_id, validate_only };
            client.put_namespace(request).await.map(Document::Namespace)
        }
        Document::Pool(pool) => {
            let (etag, pause) = match before {
                Some(Document::Pool(before)) => (before.etag.clone(), before.pause.clone()),
                Some(_) | None => (String::new(), pool.pause.clone()),
            };
            let pool = Some(pb::Pool { etag, pause, ..pool });
            client.put_pool(pb::PutPoolRequest { pool, request_id, validate_only }).await.map(Document::Pool)
        }
        Document::Calendar(calendar) => {
            let etag = match before {
                Some(Document::Calendar(before)) => before.etag.clone(),
                Some(_) | None => String::new(),
            };
            let calendar = Some(pb::Calendar { etag, ..calendar });
            let request = pb::PutCalendarRequest { calendar, request_id, validate_only };
            client.put_calendar(request).await.map(Document::Calendar)
        }
        Document::Schedule(schedule) => {
            // One call, so that there is no moment in which it is not paused.
            let made = if before.is_none() && schedule.pause.is_some() {
                Box::pin(client.create_schedule(creation(*schedule, mode))).await?
            } else {
                Box::pin(client.update_schedule(update(*schedule, mode))).await?
            };
            Ok(Document::Schedule(Box::new(made)))
        }
    }
}

/// Creates a schedule as it is declared, its pause with it.
pub(super) fn creation(schedule: pb::Schedule, mode: &Mode) -> pb::CreateScheduleRequest {
    pb::CreateScheduleRequest {
        parent: format!("namespaces/{}", text::namespace_of(&schedule.name)),
        schedule_id: text::short_name(&schedule.name).to_owned(),
        validate_only: mode.is_check(),
        assumed_calendars: mode.assumed(&schedule),
        schedule: Some(pb::Schedule { name: String::new(), ..schedule }),
        ..Default::default()
    }
}

/// Creates a schedule or makes it what is declared, without its pause.
pub(super) fn update(schedule: pb::Schedule, mode: &Mode) -> pb::UpdateScheduleRequest {
    pb::UpdateScheduleRequest {
        update_mask: Some(prost_types::FieldMask { paths: vec!["*".to_owned()] }),
        allow_missing: true,
        validate_only: mode.is_check(),
        assumed_calendars: mode.assumed(&schedule),
        schedule: Some(schedule),
        ..Default::default()
    }
}

/// A call with a lost answer needs no request id here: APPLY-2.
pub(super) fn repeatable(error: ClientError) -> Failure {
    match error {
        ClientError::OutcomeUnknown { cause, .. } => Failure::new(
            Exit::OutcomeUnknown,
            format!("outcome unknown ({cause}): apply again, which changes nothing twice"),
        ),
        other => other.into(),
    }
}
