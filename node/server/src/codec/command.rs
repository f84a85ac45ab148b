//! Log entries.

use std::sync::Arc;

use belfry_core::command::{Action, Command, LeaseLoss, Prune, RequestKey, Retime};
use belfry_core::run::Reason;
use belfry_core::{FencingToken, Revision, RunId, ScheduleKey, UnixMillis};
use belfry_proto::internal as pb;
use belfry_proto::internal::command::Action as Wire;
use bytes::Bytes;
use prost::Message;

use super::records::{decode_pause, encode_pause};
use super::{CodecError, definition, packed, required};

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
        Action::CreateSchedule { key, uid, definition, next_fire_at, pause } => {
            Wire::CreateSchedule(pb::CreateSchedule {
                key: encode_key(key),
                uid: uid.to_string(),
                definition: Some(definition::encode(definition)),
                next_fire_unix_ms: next_fire_at.map(|at| at.0),
                pause: pause.as_ref().map(encode_pause),
            })
        }
        Action::UpdateSchedule { key, expected, definition, retime } => {
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
            })
        }
        Action::DeleteSchedule { key, expected } => Wire::DeleteSchedule(pb::DeleteSchedule {
            key: encode_key(key),
            expected_revision: expected.map(|revision| revision.0),
        }),
        Action::PauseSchedule { key, expected, reason, actor } => Wire::PauseSchedule(pb::PauseSchedule {
            key: encode_key(key),
            expected_revision: expected.map(|revision| revision.0),
            reason: reason.clone(),
            actor: actor.clone(),
        }),
        Action::ResumeSchedule { key, expected } => Wire::ResumeSchedule(pb::ResumeSchedule {
            key: encode_key(key),
            expected_revision: expected.map(|revision| revision.0),
        }),
        Action::TriggerSchedule { key, actor } => {
            Wire::TriggerSchedule(pb::TriggerSchedule { key: encode_key(key), actor: actor.to_string() })
        }
        Action::Fire(groups) => Wire::Fire(packed::encode_fire(groups)),
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
        },
        Wire::ResumeSchedule(resume) => Action::ResumeSchedule {
            key: decode_key(resume.key)?,
            expected: resume.expected_revision.map(Revision),
        },
        Wire::TriggerSchedule(trigger) => {
            Action::TriggerSchedule { key: decode_key(trigger.key)?, actor: trigger.actor.into() }
        }
        Wire::Fire(blob) => Action::Fire(packed::decode_fire(&blob)?),
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
