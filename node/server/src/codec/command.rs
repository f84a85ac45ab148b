//! Log entries.

use std::sync::Arc;

use belfry_core::command::{
    Action, BackfillVerb, Command, LeaseLoss, Prune, RequestKey, ResumeMissed, Retime, Retimed, Rezoned,
    TriggerOverlap,
};
use belfry_core::object::ObjectName;
use belfry_core::run::{Reason, Resolution};
use belfry_core::state::{BackfillRequest, LastInstants, LastPart};
use belfry_core::{
    BackfillId, FencingToken, Generation, Revision, RunId, ScheduleId, ScheduleKey, UnixMillis,
};
use belfry_proto::internal as pb;
use belfry_proto::internal::command::Action as Wire;
use bytes::Bytes;
use prost::Message;

use super::packed::FireBlob;
use super::records::{decode_pause, encode_pause};
use super::{CodecError, definition, objects, packed, required};

/// The command as a log entry.
pub fn encode_command(command: &Command) -> Bytes {
    let (request_id, fingerprint) = match &command.request {
        Some(request) => (request.id.to_string(), request.fingerprint),
        None => Default::default(),
    };
    let message = pb::Command {
        now_unix_ms: command.now.0,
        request_id,
        fingerprint,
        action: Some(encode_action(&command.action)),
    };
    message.encode_to_vec().into()
}

/// The command of a log entry.
pub fn decode_command(entry: &Bytes) -> Result<Command, CodecError> {
    let message = pb::Command::decode(entry.clone())?;
    let request = (!message.request_id.is_empty())
        .then(|| RequestKey { id: message.request_id.into(), fingerprint: message.fingerprint });
    let action = decode_action(required(message.action, "Command", "action")?)?;
    Ok(Command { now: UnixMillis(message.now_unix_ms), request, action })
}

fn encode_action(action: &Action) -> Wire {
    match action {
        Action::CreateSchedule { key, uid, definition, next_fire_at, calendars, pause } => {
            Wire::CreateSchedule(pb::CreateSchedule {
                key: encode_key(key),
                uid: uid.to_string(),
                definition: Some(definition::encode(definition)),
                next_fire_unix_ms: next_fire_at.map(|at| at.0),
                pause: pause.as_ref().map(encode_pause),
                calendars_revision: calendars.0,
            })
        }
        Action::UpdateSchedule { key, expected, definition, retime, calendars } => {
            let (retime, next) = match retime {
                Retime::Keep => (false, None),
                Retime::From(next) => (true, next.map(|at| at.0)),
            };
            Wire::UpdateSchedule(pb::UpdateSchedule {
                key: encode_key(key),
                expected_revision: expected.map(|revision| revision.0),
                definition: Some(definition::encode(definition)),
                retime,
                next_fire_unix_ms: next,
                calendars_revision: calendars.0,
            })
        }
        Action::DeleteSchedule { key, expected } => Wire::DeleteSchedule(pb::DeleteSchedule {
            key: encode_key(key),
            expected_revision: expected.map(|revision| revision.0),
        }),
        Action::PauseSchedule { key, expected, reason, actor, until } => {
            Wire::PauseSchedule(pb::PauseSchedule {
                key: encode_key(key),
                expected_revision: expected.map(|revision| revision.0),
                reason: reason.clone(),
                actor: actor.clone(),
                until_unix_ms: until.map(|until| until.0),
            })
        }
        Action::ResumeSchedule { key, expected, missed, actor } => {
            let (missed, from_at, instants) = match missed {
                // Absent where nothing is new, as the first release wrote it.
                ResumeMissed::Skip => (0, UnixMillis::default(), 0),
                ResumeMissed::Coalesce => (2, UnixMillis::default(), 0),
                ResumeMissed::FireAll { from_at, expected } => (3, *from_at, *expected),
            };
            Wire::ResumeSchedule(pb::ResumeSchedule {
                key: encode_key(key),
                expected_revision: expected.map(|revision| revision.0),
                missed,
                actor: actor.to_string(),
                from_unix_ms: from_at.0,
                expected: instants,
            })
        }
        Action::EndPauses(schedules) => {
            Wire::EndPauses(pb::EndPauses { schedules: schedules.iter().map(|id| id.0).collect() })
        }
        Action::TriggerSchedule { key, actor, overlap } => Wire::TriggerSchedule(pb::TriggerSchedule {
            key: encode_key(key),
            actor: actor.to_string(),
            // Likewise.
            overlap: match overlap {
                TriggerOverlap::Wait => 0,
                TriggerOverlap::Allow | TriggerOverlap::Refuse => *overlap as u32,
            },
        }),
        Action::CancelRun { run, actor, reason } => Wire::CancelRun(pb::CancelRun {
            run: run.0,
            actor: actor.to_string(),
            reason: reason.to_string(),
        }),
        Action::ResolveRun { run, resolution, actor, reason } => Wire::ResolveRun(pb::ResolveRun {
            run: run.0,
            outcome: *resolution as u32,
            actor: actor.to_string(),
            reason: reason.to_string(),
        }),
        Action::PutObject { declared, expected } => Wire::PutObject(pb::PutObject {
            expected_revision: expected.map(|revision| revision.0),
            object: Some(objects::encode_declared(declared)),
        }),
        Action::DeleteObject { name, expected } => Wire::DeleteObject(pb::DeleteObject {
            expected_revision: expected.map(|revision| revision.0),
            name: Some(encode_name(name)),
        }),
        Action::Retime(retimed) => Wire::Retime(pb::Retime {
            items: retimed
                .iter()
                .map(|retimed| pb::retime::Item {
                    schedule: retimed.schedule.0,
                    generation: retimed.generation.0,
                    calendars_revision: retimed.calendars.0,
                    next_fire_unix_ms: retimed.next_fire_at.map(|at| at.0),
                })
                .collect(),
        }),
        Action::Rezone { version, rezoned, last } => Wire::Rezone(pb::Rezone {
            version: version.clone(),
            items: rezoned
                .iter()
                .map(|rezoned| pb::rezone::Item {
                    schedule: rezoned.schedule.0,
                    generation: rezoned.generation.0,
                    former_unix_ms: rezoned.former.0,
                    next_fire_unix_ms: rezoned.next_fire_at.map(|at| at.0),
                })
                .collect(),
            last: *last == LastPart::Yes,
        }),
        Action::CreateBackfill { key, request } => Wire::CreateBackfill(pb::CreateBackfill {
            key: encode_key(key),
            from_unix_ms: request.from_at.0,
            until_unix_ms: request.until_at.0,
            mode: request.mode as u32,
            expected: request.expected,
            actor: request.actor.to_string(),
            reason: request.reason.to_string(),
        }),
        Action::AdvanceBackfill { backfill, instants, last } => Wire::AdvanceBackfill(pb::AdvanceBackfill {
            backfill: backfill.0,
            instants_unix_ms: instants.iter().map(|at| at.0).collect(),
            last: *last == LastInstants::Yes,
        }),
        Action::ControlBackfill { backfill, verb, actor, reason } => {
            Wire::ControlBackfill(pb::ControlBackfill {
                backfill: backfill.0,
                verb: *verb as u32,
                actor: actor.to_string(),
                reason: reason.to_string(),
            })
        }
        Action::Fire(groups) => match packed::encode_fire(groups) {
            FireBlob::Plain(blob) => Wire::Fire(blob),
            FireBlob::Detailed(blob) => Wire::FireWithDetails(blob),
        },
        Action::Begin(groups) => Wire::Begin(packed::encode_begin(groups)),
        Action::Complete(completions) => Wire::Complete(packed::encode_complete(completions)),
        Action::ExpireLeases(losses) => Wire::ExpireLeases(pb::ExpireLeases {
            items: losses
                .iter()
                .map(|loss| pb::expire_leases::Item {
                    run: loss.run.0,
                    fencing_token: loss.token.0,
                    reason: loss.reason as u32,
                })
                .collect(),
        }),
        Action::ExpireStarts(runs) => {
            Wire::ExpireStarts(pb::ExpireStarts { runs: runs.iter().map(|run| run.0).collect() })
        }
        Action::Prune(prune) => Wire::Prune(pb::Prune {
            runs: prune.runs.iter().map(|run| run.0).collect(),
            reports: prune.reports.iter().map(|run| run.0).collect(),
            answers: prune.answers.clone(),
        }),
        Action::RaiseFeatureLevel(level) => Wire::RaiseFeatureLevel(pb::RaiseFeatureLevel { level: *level }),
    }
}

fn decode_action(action: Wire) -> Result<Action, CodecError> {
    Ok(match action {
        Wire::CreateSchedule(create) => Action::CreateSchedule {
            key: decode_key(create.key)?,
            uid: create.uid.into(),
            definition: decode_definition(create.definition)?,
            next_fire_at: create.next_fire_unix_ms.map(UnixMillis),
            calendars: Revision(create.calendars_revision),
            pause: create.pause.map(decode_pause),
        },
        Wire::UpdateSchedule(update) => Action::UpdateSchedule {
            key: decode_key(update.key)?,
            expected: update.expected_revision.map(Revision),
            definition: decode_definition(update.definition)?,
            retime: match update.retime {
                false => Retime::Keep,
                true => Retime::From(update.next_fire_unix_ms.map(UnixMillis)),
            },
            calendars: Revision(update.calendars_revision),
        },
        Wire::DeleteSchedule(delete) => Action::DeleteSchedule {
            key: decode_key(delete.key)?,
            expected: delete.expected_revision.map(Revision),
        },
        Wire::PauseSchedule(pause) => Action::PauseSchedule {
            key: decode_key(pause.key)?,
            expected: pause.expected_revision.map(Revision),
            reason: pause.reason,
            actor: pause.actor,
            until: pause.until_unix_ms.map(UnixMillis),
        },
        Wire::ResumeSchedule(resume) => Action::ResumeSchedule {
            key: decode_key(resume.key)?,
            expected: resume.expected_revision.map(Revision),
            missed: match resume.missed {
                0 | 1 => ResumeMissed::Skip,
                2 => ResumeMissed::Coalesce,
                3 => ResumeMissed::FireAll {
                    from_at: UnixMillis(resume.from_unix_ms),
                    expected: resume.expected,
                },
                other => return Err(unknown("missed", other)),
            },
            actor: resume.actor.into(),
        },
        Wire::EndPauses(end) => Action::EndPauses(end.schedules.into_iter().map(ScheduleId).collect()),
        Wire::TriggerSchedule(trigger) => Action::TriggerSchedule {
            key: decode_key(trigger.key)?,
            actor: trigger.actor.into(),
            overlap: match trigger.overlap {
                0 | 1 => TriggerOverlap::Wait,
                2 => TriggerOverlap::Allow,
                3 => TriggerOverlap::Refuse,
                other => return Err(unknown("overlap", other)),
            },
        },
        Wire::CancelRun(cancel) => Action::CancelRun {
            run: RunId(cancel.run),
            actor: cancel.actor.into(),
            reason: cancel.reason.into(),
        },
        Wire::ResolveRun(resolve) => Action::ResolveRun {
            run: RunId(resolve.run),
            resolution: match resolve.outcome {
                1 => Resolution::Succeeded,
                2 => Resolution::Failed,
                3 => Resolution::DidNotRun,
                other => return Err(unknown("outcome", other)),
            },
            actor: resolve.actor.into(),
            reason: resolve.reason.into(),
        },
        Wire::PutObject(put) => Action::PutObject {
            declared: objects::decode_declared(required(put.object, "PutObject", "object")?),
            expected: put.expected_revision.map(Revision),
        },
        Wire::DeleteObject(delete) => Action::DeleteObject {
            name: decode_name(required(delete.name, "DeleteObject", "name")?),
            expected: delete.expected_revision.map(Revision),
        },
        Wire::Retime(retime) => {
            let item = |item: pb::retime::Item| Retimed {
                schedule: ScheduleId(item.schedule),
                generation: Generation(item.generation),
                calendars: Revision(item.calendars_revision),
                next_fire_at: item.next_fire_unix_ms.map(UnixMillis),
            };
            Action::Retime(retime.items.into_iter().map(item).collect())
        }
        Wire::Rezone(rezone) => {
            let item = |item: pb::rezone::Item| Rezoned {
                schedule: ScheduleId(item.schedule),
                generation: Generation(item.generation),
                former: UnixMillis(item.former_unix_ms),
                next_fire_at: item.next_fire_unix_ms.map(UnixMillis),
            };
            Action::Rezone {
                version: rezone.version,
                rezoned: rezone.items.into_iter().map(item).collect(),
                last: if rezone.last { LastPart::Yes } else { LastPart::No },
            }
        }
        Wire::CreateBackfill(create) => Action::CreateBackfill {
            key: decode_key(create.key)?,
            request: BackfillRequest {
                from_at: UnixMillis(create.from_unix_ms),
                until_at: UnixMillis(create.until_unix_ms),
                mode: objects::decode_mode(create.mode)?,
                expected: create.expected,
                actor: create.actor.into(),
                reason: create.reason.into(),
            },
        },
        Wire::AdvanceBackfill(advance) => Action::AdvanceBackfill {
            backfill: BackfillId(advance.backfill),
            instants: advance.instants_unix_ms.into_iter().map(UnixMillis).collect(),
            last: if advance.last { LastInstants::Yes } else { LastInstants::No },
        },
        Wire::ControlBackfill(control) => Action::ControlBackfill {
            backfill: BackfillId(control.backfill),
            verb: match control.verb {
                1 => BackfillVerb::Pause,
                2 => BackfillVerb::Resume,
                3 => BackfillVerb::Cancel,
                other => return Err(unknown("verb", other)),
            },
            actor: control.actor.into(),
            reason: control.reason.into(),
        },
        Wire::Fire(blob) => Action::Fire(packed::decode_fire(&FireBlob::Plain(blob))?),
        Wire::FireWithDetails(blob) => Action::Fire(packed::decode_fire(&FireBlob::Detailed(blob))?),
        Wire::Begin(blob) => Action::Begin(packed::decode_begin(&blob)?),
        Wire::Complete(blob) => Action::Complete(packed::decode_complete(&blob)?),
        Wire::ExpireLeases(expire) => {
            Action::ExpireLeases(expire.items.into_iter().map(decode_loss).collect::<Result<_, _>>()?)
        }
        Wire::ExpireStarts(expire) => Action::ExpireStarts(expire.runs.into_iter().map(RunId).collect()),
        Wire::Prune(prune) => Action::Prune(Prune {
            runs: prune.runs.into_iter().map(RunId).collect(),
            reports: prune.reports.into_iter().map(RunId).collect(),
            answers: prune.answers,
        }),
        Wire::RaiseFeatureLevel(raise) => Action::RaiseFeatureLevel(raise.level),
    })
}

fn unknown(field: &'static str, value: u32) -> CodecError {
    CodecError::Unknown { field, value: value.into() }
}

fn encode_name(name: &ObjectName) -> pb::delete_object::Name {
    use pb::delete_object::Name;
    match name {
        ObjectName::Calendar(key) => Name::Calendar(pb::ScheduleKey {
            namespace: key.namespace.to_string(),
            name: key.name.to_string(),
        }),
        ObjectName::Pool(name) => Name::Pool(name.to_string()),
        ObjectName::Namespace(name) => Name::Namespace(name.to_string()),
    }
}

fn decode_name(name: pb::delete_object::Name) -> ObjectName {
    use pb::delete_object::Name;
    match name {
        Name::Calendar(key) => ObjectName::Calendar(ScheduleKey::new(key.namespace, key.name)),
        Name::Pool(name) => ObjectName::Pool(name.into()),
        Name::Namespace(name) => ObjectName::Namespace(name.into()),
    }
}

fn encode_key(key: &ScheduleKey) -> Option<pb::ScheduleKey> {
    Some(pb::ScheduleKey { namespace: key.namespace.to_string(), name: key.name.to_string() })
}

fn decode_key(key: Option<pb::ScheduleKey>) -> Result<ScheduleKey, CodecError> {
    let key = required(key, "Command", "key")?;
    Ok(ScheduleKey::new(key.namespace, key.name))
}

fn decode_definition(definition: Option<pb::Definition>) -> Result<Arc<belfry_core::Definition>, CodecError> {
    Ok(Arc::new(definition::decode(required(definition, "Command", "definition")?)?))
}

fn decode_loss(item: pb::expire_leases::Item) -> Result<LeaseLoss, CodecError> {
    let reason = Reason::from_number(item.reason)
        .ok_or(CodecError::Unknown { field: "reason", value: item.reason.into() })?;
    Ok(LeaseLoss { run: RunId(item.run), token: FencingToken(item.fencing_token), reason })
}
