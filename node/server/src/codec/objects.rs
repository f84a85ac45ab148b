//! Calendars, pools, namespaces and backfills: in commands and in records.

use std::time::Duration;

use belfry_core::backfill::{Backfill, BackfillCounts, BackfillMode, BackfillState};
use belfry_core::object::{Calendar, Declared, Namespace, Object, ObjectKind, Pool, Rate};
use belfry_core::{BackfillId, ObjectId, Revision, ScheduleId, ScheduleKey, UnixMillis};
use belfry_proto::internal as pb;
use pb::object::Object as Wire;

use super::definition::millis;
use super::records::{decode_verdict, encode_verdict};
use super::{CodecError, required};

pub(super) fn encode(object: &Object) -> pb::Object {
    pb::Object {
        id: object.id.0,
        revision: object.revision.0,
        updated_unix_ms: object.updated_at.0,
        object: Some(match &object.kind {
            ObjectKind::Calendar(calendar) => Wire::Calendar(encode_calendar(calendar)),
            ObjectKind::Pool(pool) => Wire::Pool(encode_pool(pool)),
            ObjectKind::Namespace(namespace) => Wire::Namespace(encode_namespace(namespace)),
            ObjectKind::Backfill(backfill) => Wire::Backfill(encode_backfill(backfill)),
        }),
    }
}

pub(super) fn decode(object: pb::Object) -> Result<Object, CodecError> {
    let kind = match required(object.object, "Object", "object")? {
        Wire::Calendar(calendar) => ObjectKind::Calendar(decode_calendar(calendar)),
        Wire::Pool(pool) => ObjectKind::Pool(decode_pool(pool)),
        Wire::Namespace(namespace) => ObjectKind::Namespace(decode_namespace(namespace)),
        Wire::Backfill(backfill) => {
            ObjectKind::Backfill(Box::new(decode_backfill(BackfillId(object.id), backfill)?))
        }
    };
    Ok(Object {
        id: ObjectId(object.id),
        revision: Revision(object.revision),
        updated_at: UnixMillis(object.updated_unix_ms),
        kind,
    })
}

pub(super) fn encode_declared(declared: &Declared) -> pb::put_object::Object {
    use pb::put_object::Object as Put;
    match declared {
        Declared::Calendar(calendar) => Put::Calendar(encode_calendar(calendar)),
        Declared::Pool(pool) => Put::Pool(encode_pool(pool)),
        Declared::Namespace(namespace) => Put::Namespace(encode_namespace(namespace)),
    }
}

pub(super) fn decode_declared(put: pb::put_object::Object) -> Declared {
    use pb::put_object::Object as Put;
    match put {
        Put::Calendar(calendar) => Declared::Calendar(decode_calendar(calendar)),
        Put::Pool(pool) => Declared::Pool(decode_pool(pool)),
        Put::Namespace(namespace) => Declared::Namespace(decode_namespace(namespace)),
    }
}

fn encode_calendar(calendar: &Calendar) -> pb::Calendar {
    let period =
        |(from, until): &(String, String)| pb::calendar::Period { from: from.clone(), until: until.clone() };
    pb::Calendar {
        namespace: calendar.key.namespace.to_string(),
        name: calendar.key.name.to_string(),
        time_zone: calendar.time_zone.clone().unwrap_or_default(),
        days: calendar.days.clone(),
        periods: calendar.periods.iter().map(period).collect(),
        description: calendar.description.clone(),
    }
}

fn decode_calendar(calendar: pb::Calendar) -> Calendar {
    Calendar {
        key: ScheduleKey::new(calendar.namespace, calendar.name),
        time_zone: Some(calendar.time_zone).filter(|zone| !zone.is_empty()),
        days: calendar.days,
        periods: calendar.periods.into_iter().map(|period| (period.from, period.until)).collect(),
        description: calendar.description,
    }
}

fn encode_pool(pool: &Pool) -> pb::Pool {
    pb::Pool {
        name: pool.name.to_string(),
        slots: pool.slots,
        rate_count: pool.rate.map_or(0, |rate| rate.count),
        rate_per_ms: pool.rate.map_or(0, |rate| millis(rate.per)),
        paused: pool.paused.as_ref().map(encode_verdict),
        description: pool.description.clone(),
    }
}

fn decode_pool(pool: pb::Pool) -> Pool {
    let rate = Rate { count: pool.rate_count, per: Duration::from_millis(pool.rate_per_ms) };
    Pool {
        name: pool.name.into(),
        slots: pool.slots,
        rate: (rate.count > 0).then_some(rate),
        paused: pool.paused.map(decode_verdict),
        description: pool.description,
    }
}

fn encode_namespace(namespace: &Namespace) -> pb::Namespace {
    pb::Namespace {
        name: namespace.name.to_string(),
        running_max: namespace.running_max,
        schedules_max: namespace.schedules_max,
        weight: namespace.weight,
        spread_ms: namespace.spread.map(millis),
        description: namespace.description.clone(),
    }
}

fn decode_namespace(namespace: pb::Namespace) -> Namespace {
    Namespace {
        name: namespace.name.into(),
        running_max: namespace.running_max,
        schedules_max: namespace.schedules_max,
        weight: namespace.weight,
        spread: namespace.spread_ms.map(Duration::from_millis),
        description: namespace.description,
    }
}

const RUNNING: u32 = 1;
const PAUSED: u32 = 2;
const CANCELLED: u32 = 3;
const COMPLETED: u32 = 4;

fn encode_backfill(backfill: &Backfill) -> pb::Backfill {
    let (state, verdict, completed) = match &backfill.state {
        BackfillState::Running => (RUNNING, None, 0),
        BackfillState::Paused(verdict) => (PAUSED, Some(verdict), 0),
        BackfillState::Cancelled(verdict) => (CANCELLED, Some(verdict), 0),
        BackfillState::Completed { at } => (COMPLETED, None, at.0),
    };
    let counts = &backfill.counts;
    pb::Backfill {
        schedule: backfill.schedule.0,
        from_unix_ms: backfill.from_at.0,
        until_unix_ms: backfill.until_at.0,
        mode: backfill.mode as u32,
        created: Some(encode_verdict(&backfill.created)),
        expected: backfill.expected,
        cursor_unix_ms: backfill.cursor.0,
        state,
        verdict: verdict.map(encode_verdict),
        completed_unix_ms: completed,
        created_count: counts.created,
        present_count: counts.present,
        succeeded_count: counts.succeeded,
        unsuccessful_count: counts.unsuccessful,
        not_started_count: counts.not_started,
    }
}

fn decode_backfill(id: BackfillId, backfill: pb::Backfill) -> Result<Backfill, CodecError> {
    let verdict = backfill.verdict.map(decode_verdict);
    let given = || required(verdict.clone(), "Backfill", "verdict");
    Ok(Backfill {
        id,
        schedule: ScheduleId(backfill.schedule),
        from_at: UnixMillis(backfill.from_unix_ms),
        until_at: UnixMillis(backfill.until_unix_ms),
        mode: decode_mode(backfill.mode)?,
        created: decode_verdict(required(backfill.created, "Backfill", "created")?),
        expected: backfill.expected,
        cursor: UnixMillis(backfill.cursor_unix_ms),
        state: match backfill.state {
            RUNNING => BackfillState::Running,
            PAUSED => BackfillState::Paused(given()?),
            CANCELLED => BackfillState::Cancelled(given()?),
            COMPLETED => BackfillState::Completed { at: UnixMillis(backfill.completed_unix_ms) },
            other => return Err(CodecError::Unknown { field: "backfill state", value: other.into() }),
        },
        counts: BackfillCounts {
            created: backfill.created_count,
            present: backfill.present_count,
            succeeded: backfill.succeeded_count,
            unsuccessful: backfill.unsuccessful_count,
            not_started: backfill.not_started_count,
        },
    })
}

pub(super) fn decode_mode(mode: u32) -> Result<BackfillMode, CodecError> {
    match mode {
        1 => Ok(BackfillMode::Missing),
        2 => Ok(BackfillMode::Reprocess),
        other => Err(CodecError::Unknown { field: "backfill mode", value: other.into() }),
    }
}
