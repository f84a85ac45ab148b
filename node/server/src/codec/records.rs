//! Records of checkpoints and snapshots.

use std::collections::HashMap;
use std::sync::Arc;

use belfry_core::run::{
    Cancellation, Ending, Lease, Reason, Report, Retrying, Run, RunState, Trigger, Verdict,
};
use belfry_core::schedule::{Counters, LastRun, Pause, Remains, Schedule};
use belfry_core::state::{Answer, BlockKind, Record, Subject, Totals, ZoneChange, ZoneData, ZoneMove};
use belfry_core::{
    AttemptNo, BackfillId, Definition, FencingToken, Generation, ObjectId, Revision, RunId, ScheduleId,
    ScheduleKey, UnixMillis,
};
use belfry_proto::internal as pb;
use bytes::Bytes;
use lz4_flex::block::DecompressError;
use prost::{DecodeError, Message};

use super::{CodecError, definition, objects, required};

/// Each byte of a compressed block stands for at most so many: LZ4 block format, "matchlength".
const LZ4_RATIO_MAX: usize = 255;
/// Blocks have some megabytes at most; those larger than this are not compressed, and no snapshot takes them.
const UNCOMPRESSED_BYTES_MAX: usize = 256 << 20;

/// The records of one block as one stored value.
pub fn encode_block(records: &[Record]) -> Bytes {
    let mut block = match records.first() {
        Some(record) => with_room(record.block().kind, records.len()),
        None => pb::Block::default(),
    };
    let mut definitions = DefinitionEncoder::default();
    for record in records {
        match record {
            Record::Totals(totals) => block.totals = Some(encode_totals(totals)),
            Record::Schedule(schedule) => block.schedules.push(encode_schedule(schedule, &mut definitions)),
            Record::Run(run) => block.runs.push(encode_run(run)),
            Record::Report(id, report) => block.reports.push(encode_report(*id, report)),
            Record::Answer(sequence, answer) => block.answers.push(encode_answer(*sequence, answer)),
            Record::Object(object) => block.objects.push(objects::encode(object)),
        }
    }
    block.encode_to_vec().into()
}

/// A message with room for `count` records of a kind that blocks have many of: lists that grow copy what they have again and again.
fn with_room(kind: BlockKind, count: usize) -> pb::Block {
    let mut block = pb::Block::default();
    match kind {
        BlockKind::Schedules => block.schedules.reserve_exact(count),
        BlockKind::Runs => block.runs.reserve_exact(count),
        BlockKind::Answers => block.answers.reserve_exact(count),
        BlockKind::Totals | BlockKind::Reports | BlockKind::Objects => {}
    }
    block
}

/// Decodes the message, which begins with the tag of what it has.
fn decode_message(value: Bytes) -> Result<pb::Block, DecodeError> {
    let kind = match value.first().map(|tag| tag >> 3) {
        Some(1) => BlockKind::Schedules,
        Some(2) => BlockKind::Runs,
        Some(4) => BlockKind::Answers,
        _ => BlockKind::Totals,
    };
    let mut block = with_room(kind, usize::try_from(kind.span()).unwrap_or(0));
    block.merge(value)?;
    Ok(block)
}

/// A value of [`encode_block`] in less room, if it has some to spare: neighbours say much alike. Members of a feature level below 4 cannot
/// read it.
pub fn compress_block(value: Bytes) -> Bytes {
    if value.len() > UNCOMPRESSED_BYTES_MAX {
        return value;
    }
    let block = pb::Block { lz4: lz4_flex::compress_prepend_size(&value).into(), ..Default::default() };
    if block.encoded_len() < value.len() { block.encode_to_vec().into() } else { value }
}

fn decompress_block(lz4: &[u8]) -> Result<Bytes, CodecError> {
    let malformed = |error: DecompressError| CodecError::Compressed(error.into());
    let (said, packed) = lz4_flex::block::uncompressed_size(lz4).map_err(malformed)?;
    // No length is believed before it is checked (CODEC-2).
    let max = packed.len().saturating_mul(LZ4_RATIO_MAX).min(UNCOMPRESSED_BYTES_MAX);
    if said > max {
        return Err(CodecError::CompressedSize { said, max });
    }
    let value = lz4_flex::decompress(packed, said).map_err(malformed)?;
    if value.len() != said {
        return Err(CodecError::CompressedSize { said, max: value.len() });
    }
    Ok(value.into())
}

/// The records of a stored value.
pub fn decode_block(value: &Bytes) -> Result<Vec<Record>, CodecError> {
    BlockDecoder::default().decode(value)
}

/// Decodes stored values, one after the other: a definition that many schedules have is decoded once.
#[derive(Default)]
pub struct BlockDecoder {
    definitions: DefinitionDecoder,
}

impl BlockDecoder {
    /// The records of a stored value.
    pub fn decode(&mut self, value: &Bytes) -> Result<Vec<Record>, CodecError> {
        let mut block = decode_message(value.clone())?;
        let lz4 = std::mem::take(&mut block.lz4);
        if !lz4.is_empty() {
            let unpacked = decode_message(decompress_block(&lz4)?)?;
            if block != pb::Block::default() || !unpacked.lz4.is_empty() {
                return Err(CodecError::CompressedWithMore);
            }
            block = unpacked;
        }
        decode_records(block, &mut self.definitions)
    }
}

fn decode_records(block: pb::Block, definitions: &mut DefinitionDecoder) -> Result<Vec<Record>, CodecError> {
    let lists = [block.schedules.len(), block.runs.len(), block.reports.len(), block.answers.len()];
    let mut records = Vec::with_capacity(1 + lists.iter().sum::<usize>() + block.objects.len());
    records.extend(block.totals.map(|totals| Record::Totals(decode_totals(&totals))));
    for schedule in block.schedules {
        records.push(Record::Schedule(Box::new(decode_schedule(schedule, definitions)?)));
    }
    for run in block.runs {
        records.push(Record::Run(Box::new(decode_run(run)?)));
    }
    for report in block.reports {
        let (id, report) = decode_report(report);
        records.push(Record::Report(id, report));
    }
    for answer in block.answers {
        let (sequence, answer) = decode_answer(answer)?;
        records.push(Record::Answer(sequence, answer));
    }
    for object in block.objects {
        records.push(Record::Object(Box::new(objects::decode(object)?)));
    }
    Ok(records)
}

/// Encodes the definitions of neighbours, which are often one and the same.
#[derive(Default)]
struct DefinitionEncoder<'a> {
    last: Option<(&'a Arc<Definition>, Bytes)>,
}

impl<'a> DefinitionEncoder<'a> {
    fn encode(&mut self, definition: &'a Arc<Definition>) -> Bytes {
        match &self.last {
            Some((last, bytes)) if Arc::ptr_eq(last, definition) => bytes.clone(),
            _ => {
                let bytes = Bytes::from(definition::encode(definition).encode_to_vec());
                self.last = Some((definition, bytes.clone()));
                bytes
            }
        }
    }
}

/// Encoded definitions that are remembered: a few thousand of the usual ones, or a few that are large.
const DEFINITIONS_BYTES_MAX: usize = 256 << 10;

/// Decodes definitions: what has the same bytes is one.
#[derive(Default)]
struct DefinitionDecoder {
    known: HashMap<Bytes, Arc<Definition>>,
    /// How many of their bytes there are.
    known_bytes: usize,
}

impl DefinitionDecoder {
    fn decode(&mut self, bytes: &[u8]) -> Result<Arc<Definition>, CodecError> {
        if let Some(definition) = self.known.get(bytes) {
            return Ok(definition.clone());
        }
        // A copy: the whole block would be kept for it.
        let bytes = Bytes::copy_from_slice(bytes);
        let definition = Arc::new(definition::decode(pb::Definition::decode(bytes.clone())?)?);
        self.known_bytes += bytes.len();
        if self.known_bytes > DEFINITIONS_BYTES_MAX {
            self.known.clear();
            self.known_bytes = bytes.len();
        }
        self.known.insert(bytes, definition.clone());
        Ok(definition)
    }
}

fn encode_totals(totals: &Totals) -> pb::Totals {
    pb::Totals {
        feature_level: totals.feature_level,
        next_schedule: totals.next_schedule,
        next_run: totals.next_run,
        next_token: totals.next_token,
        next_answer: totals.next_answer,
        next_object: totals.next_object,
        tzdata_version: totals.zones.version.clone(),
        zone_change: totals.zones.change.as_ref().map(|change| pb::ZoneChange {
            from_version: change.from.clone(),
            to_version: change.to.clone(),
            at_unix_ms: change.at.0,
            moved: change.moved,
            named: change
                .named
                .iter()
                .map(|step| pb::zone_change::Move {
                    namespace: step.key.namespace.to_string(),
                    name: step.key.name.to_string(),
                    former_unix_ms: step.former.0,
                    next_unix_ms: step.next.map(|at| at.0),
                })
                .collect(),
        }),
        restored_until_unix_ms: totals.restored_until.map(|until| until.0),
    }
}

fn decode_zones(version: &str, change: Option<&pb::ZoneChange>) -> ZoneData {
    let step = |step: &pb::zone_change::Move| ZoneMove {
        key: ScheduleKey::new(step.namespace.as_str(), step.name.as_str()),
        former: UnixMillis(step.former_unix_ms),
        next: step.next_unix_ms.map(UnixMillis),
    };
    let change = change.map(|change| ZoneChange {
        from: change.from_version.clone(),
        to: change.to_version.clone(),
        at: UnixMillis(change.at_unix_ms),
        moved: change.moved,
        named: change.named.iter().map(step).collect(),
    });
    ZoneData { version: version.to_owned(), change }
}

fn decode_totals(totals: &pb::Totals) -> Totals {
    Totals {
        feature_level: totals.feature_level,
        next_schedule: totals.next_schedule,
        next_run: totals.next_run,
        next_token: totals.next_token,
        next_answer: totals.next_answer,
        next_object: totals.next_object,
        zones: decode_zones(&totals.tzdata_version, totals.zone_change.as_ref()),
        restored_until: totals.restored_until_unix_ms.map(UnixMillis),
    }
}

fn encode_schedule<'a>(schedule: &'a Schedule, definitions: &mut DefinitionEncoder<'a>) -> pb::Schedule {
    let last = |last: LastRun| last.get().map(|(run, at)| pb::LastRun { run: run.0, ended_unix_ms: at.0 });
    let remains = schedule.remains();
    pb::Schedule {
        id: schedule.id.0,
        uid: schedule.uid.to_string(),
        namespace: schedule.key.namespace.to_string(),
        name: schedule.key.name.to_string(),
        generation: schedule.generation.0,
        revision: schedule.revision.0,
        definition: definitions.encode(&schedule.definition),
        retired: remains
            .retired
            .iter()
            .map(|(generation, retired)| (generation.0, definition::encode(retired)))
            .collect(),
        next_fire_unix_ms: schedule.next_fire_at.map(|at| at.0),
        watermark_unix_ms: schedule.watermark.0,
        catching_up: schedule.catching_up,
        pause: schedule.pause.as_deref().map(encode_pause),
        created_unix_ms: schedule.created_at.0,
        updated_unix_ms: schedule.updated_at.0,
        counters: Some(pb::Counters {
            succeeded: schedule.counters.succeeded.into(),
            unsuccessful: schedule.counters.unsuccessful.into(),
            not_started: schedule.counters.not_started.into(),
            last_success: last(schedule.counters.last_success),
            last_failure: last(schedule.counters.last_failure),
            consecutive_failures: schedule.counters.consecutive_failures,
            begun: schedule.counters.begun,
        }),
        deleted_unix_ms: remains.deleted_at.map(|at| at.0),
        timed_with_revision: schedule.timed_with.0,
        pruned_until_unix_ms: remains.pruned_until.map(|at| at.0),
    }
}

fn decode_schedule(
    schedule: pb::Schedule,
    definitions: &mut DefinitionDecoder,
) -> Result<Schedule, CodecError> {
    let counters = schedule.counters.unwrap_or_default();
    let count = |value| {
        u32::try_from(value).map_err(|_| CodecError::TooLarge { field: "a counter of a schedule", value })
    };
    let last = |last: Option<pb::LastRun>| {
        LastRun::from(last.map(|last| (RunId(last.run), UnixMillis(last.ended_unix_ms))))
    };
    let (id, key) = (ScheduleId(schedule.id), ScheduleKey::new(schedule.namespace, schedule.name));
    let definition = definitions.decode(&schedule.definition)?;
    let created_at = UnixMillis(schedule.created_unix_ms);
    let remains = Remains {
        retired: schedule
            .retired
            .into_iter()
            .map(|(generation, retired)| Ok((Generation(generation), Arc::new(definition::decode(retired)?))))
            .collect::<Result<_, CodecError>>()?,
        pruned_until: schedule.pruned_until_unix_ms.map(UnixMillis),
        deleted_at: schedule.deleted_unix_ms.map(UnixMillis),
    };
    let mut decoded = Schedule::new(id, schedule.uid.into(), key, definition, created_at);
    decoded.generation = Generation(schedule.generation);
    decoded.revision = Revision(schedule.revision);
    decoded.next_fire_at = schedule.next_fire_unix_ms.map(UnixMillis);
    decoded.watermark = UnixMillis(schedule.watermark_unix_ms);
    decoded.catching_up = schedule.catching_up;
    decoded.pause = schedule.pause.map(decode_pause).map(Box::new);
    decoded.updated_at = UnixMillis(schedule.updated_unix_ms);
    decoded.timed_with = Revision(schedule.timed_with_revision);
    decoded.counters = Counters {
        succeeded: count(counters.succeeded)?,
        unsuccessful: count(counters.unsuccessful)?,
        not_started: count(counters.not_started)?,
        last_success: last(counters.last_success),
        last_failure: last(counters.last_failure),
        consecutive_failures: counters.consecutive_failures,
        begun: counters.begun,
    };
    if remains != Remains::default() {
        decoded.change_remains(|kept| *kept = remains);
    }
    Ok(decoded)
}

pub(super) fn encode_pause(pause: &Pause) -> pb::Pause {
    pb::Pause {
        reason: pause.reason.clone(),
        actor: pause.actor.clone(),
        paused_unix_ms: pause.paused_at.0,
        until_unix_ms: pause.until.map(|until| until.0),
        skipped: pause.skipped,
    }
}

pub(super) fn decode_pause(pause: pb::Pause) -> Pause {
    Pause {
        reason: pause.reason,
        actor: pause.actor,
        paused_at: UnixMillis(pause.paused_unix_ms),
        until: pause.until_unix_ms.map(UnixMillis),
        skipped: pause.skipped,
    }
}

const DUE: u32 = 1;
const RUNNING: u32 = 2;
const SUCCEEDED: u32 = 3;
const FAILED: u32 = 4;
const TIMED_OUT: u32 = 5;
const UNKNOWN: u32 = 6;
const SKIPPED: u32 = 7;
const MERGED: u32 = 8;
const EXPIRED: u32 = 9;
const CANCELLED: u32 = 10;

fn encode_run(run: &Run) -> pb::Run {
    let state = match &run.state {
        RunState::Due { .. } => DUE,
        RunState::Running(_) => RUNNING,
        RunState::Ended { ending, .. } => match ending {
            Ending::Succeeded => SUCCEEDED,
            Ending::Failed(_) => FAILED,
            Ending::TimedOut => TIMED_OUT,
            Ending::Unknown(_) => UNKNOWN,
            Ending::Skipped(_) => SKIPPED,
            Ending::Merged { .. } => MERGED,
            Ending::Expired => EXPIRED,
            Ending::Cancelled(_) => CANCELLED,
        },
    };
    let merged_into = match &run.state {
        RunState::Ended { ending: Ending::Merged { into, .. }, .. } => into.0,
        RunState::Due { .. } | RunState::Running(_) | RunState::Ended { .. } => 0,
    };
    let retry = match &run.state {
        RunState::Due { retry, .. } => retry.as_ref(),
        RunState::Running(_) | RunState::Ended { .. } => None,
    };
    pb::Run {
        id: run.id.0,
        schedule: run.schedule.0,
        generation: run.generation.0,
        nominal_unix_ms: run.nominal_at.0,
        trigger: match run.trigger {
            Trigger::Timer => 1,
            Trigger::CatchUp => 2,
            Trigger::Manual => 3,
            Trigger::Backfill(_) => 4,
            Trigger::Resume => 5,
        },
        created_unix_ms: run.created_at.0,
        window_start_unix_ms: run.window_start_at.0,
        merged_count: run.merged_count,
        attempt: run.attempt.0,
        actor: run.actor.to_string(),
        state,
        reason: own_reason(&run.state).map_or(0, |reason| reason as u32),
        merged_into,
        lease: run.state.lease().map(|lease| pb::Lease {
            executor: lease.executor.to_string(),
            fencing_token: lease.token.0,
            begun_unix_ms: lease.begun_at.0,
            late_reason: lease.late.map_or(0, |reason| reason as u32),
        }),
        ended_unix_ms: run.state.ended_at().map_or(0, |at| at.0),
        scheduled_unix_ms: (run.scheduled_at != run.nominal_at).then_some(run.scheduled_at.0),
        retry_unix_ms: retry.map(|retry| retry.not_before.0),
        retry_cause: retry.map_or(0, |retry| retry.cause as u32),
        cancel: run.cancel.as_ref().map(|cancel| encode_verdict(&cancel.verdict)),
        cancel_cause: run.cancel.as_ref().map_or(0, |cancel| cancel.cause as u32),
        resolution: run.resolution.as_deref().map(encode_verdict),
        backfill: match run.trigger {
            Trigger::Backfill(id) => id.0,
            Trigger::Timer | Trigger::CatchUp | Trigger::Manual | Trigger::Resume => 0,
        },
        beside: run.beside,
    }
}

pub(super) fn encode_verdict(verdict: &Verdict) -> pb::Verdict {
    pb::Verdict {
        actor: verdict.actor.to_string(),
        reason: verdict.reason.to_string(),
        at_unix_ms: verdict.at.0,
    }
}

pub(super) fn decode_verdict(verdict: pb::Verdict) -> Verdict {
    Verdict { actor: verdict.actor.into(), reason: verdict.reason.into(), at: UnixMillis(verdict.at_unix_ms) }
}

/// The reason that belongs to the state itself; why a lease began late is stored with the lease.
fn own_reason(state: &RunState) -> Option<Reason> {
    match state {
        RunState::Due { held, .. } => *held,
        RunState::Running(_) => None,
        RunState::Ended { ending, .. } => match ending {
            Ending::Unknown(reason) | Ending::Skipped(reason) | Ending::Cancelled(reason) => Some(*reason),
            Ending::Merged { reason, .. } => Some(*reason),
            Ending::Failed(reason) => *reason,
            Ending::Succeeded | Ending::TimedOut | Ending::Expired => None,
        },
    }
}

fn decode_run(run: pb::Run) -> Result<Run, CodecError> {
    let state = decode_state(&run)?;
    let cancel = match run.cancel {
        Some(verdict) => {
            let cause = required(decode_reason(run.cancel_cause)?, "Run", "cancel_cause")?;
            Some(Box::new(Cancellation { cause, verdict: decode_verdict(verdict) }))
        }
        None => None,
    };
    Ok(Run {
        id: RunId(run.id),
        schedule: ScheduleId(run.schedule),
        generation: Generation(run.generation),
        nominal_at: UnixMillis(run.nominal_unix_ms),
        scheduled_at: UnixMillis(run.scheduled_unix_ms.unwrap_or(run.nominal_unix_ms)),
        trigger: match run.trigger {
            1 => Trigger::Timer,
            2 => Trigger::CatchUp,
            3 => Trigger::Manual,
            4 => Trigger::Backfill(BackfillId(run.backfill)),
            5 => Trigger::Resume,
            other => return Err(CodecError::Unknown { field: "trigger", value: other.into() }),
        },
        actor: run.actor.into(),
        created_at: UnixMillis(run.created_unix_ms),
        window_start_at: UnixMillis(run.window_start_unix_ms),
        merged_count: run.merged_count,
        attempt: AttemptNo(run.attempt),
        beside: run.beside,
        cancel,
        resolution: run.resolution.map(decode_verdict).map(Box::new),
        state,
    })
}

fn decode_state(run: &pb::Run) -> Result<RunState, CodecError> {
    let reason = decode_reason(run.reason)?;
    let given = || required(reason, "Run", "reason");
    let lease = run.lease.as_ref().map(decode_lease).transpose()?;
    let ending = match run.state {
        DUE => {
            let retry = match (run.retry_unix_ms, lease) {
                (Some(at), Some(lease)) => {
                    let cause = required(decode_reason(run.retry_cause)?, "Run", "retry_cause")?;
                    Some(Retrying { not_before: UnixMillis(at), lease, cause })
                }
                (Some(_), None) => return Err(CodecError::Missing { message: "Run", field: "lease" }),
                (None, _) => None,
            };
            return Ok(RunState::Due { held: reason, retry });
        }
        RUNNING => return Ok(RunState::Running(required(lease, "Run", "lease")?)),
        SUCCEEDED => Ending::Succeeded,
        FAILED => Ending::Failed(reason),
        TIMED_OUT => Ending::TimedOut,
        UNKNOWN => Ending::Unknown(given()?),
        SKIPPED => Ending::Skipped(given()?),
        MERGED => Ending::Merged { into: RunId(run.merged_into), reason: given()? },
        EXPIRED => Ending::Expired,
        CANCELLED => Ending::Cancelled(given()?),
        other => return Err(CodecError::Unknown { field: "state", value: other.into() }),
    };
    Ok(RunState::Ended { ending, at: UnixMillis(run.ended_unix_ms), lease })
}

fn decode_lease(lease: &pb::Lease) -> Result<Lease, CodecError> {
    Ok(Lease {
        executor: lease.executor.as_str().into(),
        token: FencingToken(lease.fencing_token),
        begun_at: UnixMillis(lease.begun_unix_ms),
        late: decode_reason(lease.late_reason)?,
    })
}

fn decode_reason(number: u32) -> Result<Option<Reason>, CodecError> {
    match (number, Reason::from_number(number)) {
        (0, _) => Ok(None),
        (_, Some(reason)) => Ok(Some(reason)),
        (other, None) => Err(CodecError::Unknown { field: "reason", value: other.into() }),
    }
}

fn encode_report(id: RunId, report: &Report) -> pb::Report {
    pb::Report {
        run: id.0,
        exit_code: report.exit_code,
        message: report.message.clone(),
        output_tail: report.output_tail.clone(),
    }
}

fn decode_report(report: pb::Report) -> (RunId, Report) {
    let id = RunId(report.run);
    (id, Report { exit_code: report.exit_code, message: report.message, output_tail: report.output_tail })
}

fn encode_answer(sequence: u64, answer: &Answer) -> pb::Answer {
    pb::Answer {
        sequence,
        request_id: answer.id.to_string(),
        fingerprint: answer.fingerprint,
        answered_unix_ms: answer.answered_at.0,
        subject: Some(match answer.subject {
            Subject::Schedule(schedule) => pb::answer::Subject::Schedule(schedule.0),
            Subject::Run(run) => pb::answer::Subject::Run(run.0),
            Subject::Object(object) => pb::answer::Subject::Object(object.0),
        }),
    }
}

fn decode_answer(answer: pb::Answer) -> Result<(u64, Answer), CodecError> {
    let subject = match required(answer.subject, "Answer", "subject")? {
        pb::answer::Subject::Schedule(schedule) => Subject::Schedule(ScheduleId(schedule)),
        pb::answer::Subject::Run(run) => Subject::Run(RunId(run)),
        pb::answer::Subject::Object(object) => Subject::Object(ObjectId(object)),
    };
    let decoded = Answer {
        id: answer.request_id.into(),
        fingerprint: answer.fingerprint,
        answered_at: UnixMillis(answer.answered_unix_ms),
        subject,
    };
    Ok((answer.sequence, decoded))
}
