//! The hot commands as packed blobs: one opaque field of a log entry for thousands of runs.
//!
//! A protobuf message per run inside an entry costs about a microsecond per run on the leader and half of that on each
//! follower, as much as everything else together. Packed, a fire takes about 6 bytes, a begin 3, a plain completion 5.
//!
//! All numbers are LEB128 varints. Ids are written as zigzag differences from the one before, because batches are nearly
//! sorted. Layouts (version 1 in front of each blob):
//! ```text
//! fire      = 1 count { nominal count { schedule~ generation next-nominal (0: never again) [details] } }
//! details   = spread-ms flags (1: frozen)                       only in `fire_with_details`, feature level 2
//! begin     = 1 count { executor-text count { run~ attempt } }
//! complete  = 1 count { run~ token~ result|flags [exit-code] [message-text] [output-text] }
//! ```

use std::time::Duration;

use arcstr::ArcStr;
use belfry_core::command::{Begin, BeginGroup, Completion, Fire, FireGroup, Freeze, Retryable};
use belfry_core::run::{AttemptResult, Report};
use belfry_core::{AttemptNo, FencingToken, Generation, RunId, ScheduleId, UnixMillis};
use bytes::Bytes;
use prost::encoding::{decode_varint, encode_varint};

use super::CodecError;

const VERSION: u64 = 1;

/// Items that memory is set aside for before they are read: a batch of the largest size; a false count costs no more.
const MANY_RESERVED_MAX: usize = 4096;

const HAS_EXIT_CODE: u64 = 8;
const HAS_MESSAGE: u64 = 16;
const HAS_OUTPUT: u64 = 32;
/// Feature level 2.
const NEVER_AGAIN: u64 = 64;
/// Bits beyond these are of a release that this build does not know (CODEC-3).
const KNOWN_BITS: u64 = 7 | HAS_EXIT_CODE | HAS_MESSAGE | HAS_OUTPUT | NEVER_AGAIN;

/// A packed fire: one with details has a field of its own in a command, which older builds refuse rather than misread.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum FireBlob {
    /// Every run is scheduled at its nominal time.
    Plain(Bytes),
    /// Some are spread or frozen.
    Detailed(Bytes),
}

const FROZEN: u64 = 1;

/// Packs a fire.
pub fn encode_fire(groups: &[FireGroup]) -> FireBlob {
    let detailed = groups.iter().any(|group| group.fires.iter().any(|fire| !fire.is_plain()));
    let mut out = Writer::new(groups.iter().map(|group| group.fires.len() * 8 + 12).sum());
    out.number(groups.len() as u64);
    for group in groups {
        out.signed(group.nominal_at.0);
        out.number(group.fires.len() as u64);
        let mut former = 0;
        for fire in &group.fires {
            out.step(&mut former, fire.schedule.0);
            out.number(fire.generation.0);
            let gap = fire.next_fire_at.map_or(0, |next| next.0.wrapping_sub(group.nominal_at.0));
            out.number(gap.cast_unsigned());
            if detailed {
                out.number(u64::try_from(fire.spread_for.as_millis()).unwrap_or(u64::MAX));
                out.number(match fire.freeze {
                    Freeze::Open => 0,
                    Freeze::Frozen => FROZEN,
                });
            }
        }
    }
    let blob = out.finish();
    if detailed { FireBlob::Detailed(blob) } else { FireBlob::Plain(blob) }
}

/// Unpacks a fire.
pub fn decode_fire(blob: &FireBlob) -> Result<Vec<FireGroup>, CodecError> {
    let (blob, detailed) = match blob {
        FireBlob::Plain(blob) => (blob, false),
        FireBlob::Detailed(blob) => (blob, true),
    };
    let mut input = Reader::new("fire", blob)?;
    let groups = input.many(|input| {
        let nominal_at = UnixMillis(input.signed()?);
        let mut former = 0;
        let fires = input.many(|input| {
            let schedule = ScheduleId(input.step(&mut former)?);
            let generation = Generation(input.number()?);
            let gap = input.number()?.cast_signed();
            let next_fire_at = (gap != 0).then_some(UnixMillis(nominal_at.0.wrapping_add(gap)));
            let mut fire = Fire::new(schedule, generation, next_fire_at);
            if detailed {
                fire.spread_for = Duration::from_millis(input.number()?);
                fire.freeze = match input.number()? {
                    0 => Freeze::Open,
                    FROZEN => Freeze::Frozen,
                    value => return Err(CodecError::Unknown { field: "fire flags", value }),
                };
            }
            Ok(fire)
        })?;
        Ok(FireGroup { nominal_at, fires })
    })?;
    input.end(groups)
}

/// Packs begins.
pub fn encode_begin(groups: &[BeginGroup]) -> Bytes {
    let mut out = Writer::new(groups.iter().map(|group| group.begins.len() * 4 + 40).sum());
    out.number(groups.len() as u64);
    for group in groups {
        out.bytes(group.executor.as_bytes());
        out.number(group.begins.len() as u64);
        let mut former = 0;
        for begin in &group.begins {
            out.step(&mut former, begin.run.0);
            out.number(begin.attempt.0.into());
        }
    }
    out.finish()
}

/// Unpacks begins.
pub fn decode_begin(blob: &Bytes) -> Result<Vec<BeginGroup>, CodecError> {
    let mut input = Reader::new("begin", blob)?;
    let groups = input.many(|input| {
        let executor: ArcStr = input.text()?.into();
        let mut former = 0;
        let begins = input.many(|input| {
            Ok(Begin { run: RunId(input.step(&mut former)?), attempt: AttemptNo(input.small()?) })
        })?;
        Ok(BeginGroup { executor, begins })
    })?;
    input.end(groups)
}

/// Packs completions.
pub fn encode_complete(completions: &[Completion]) -> Bytes {
    let weight: u64 = completions.iter().map(|completion| 12 + completion.report.weight_bytes()).sum();
    let mut out = Writer::new(weight as usize);
    out.number(completions.len() as u64);
    let (mut run, mut token) = (0, 0);
    for completion in completions {
        out.step(&mut run, completion.run.0);
        out.step(&mut token, completion.token.0);
        let report = &completion.report;
        let flags = if report.exit_code.is_some() { HAS_EXIT_CODE } else { 0 }
            | if report.message.is_empty() { 0 } else { HAS_MESSAGE }
            | if report.output_tail.is_empty() { 0 } else { HAS_OUTPUT }
            | if completion.retryable == Retryable::Never { NEVER_AGAIN } else { 0 };
        out.number(result_number(completion.result) | flags);
        if let Some(code) = report.exit_code {
            out.signed(code.into());
        }
        if flags & HAS_MESSAGE != 0 {
            out.bytes(report.message.as_bytes());
        }
        if flags & HAS_OUTPUT != 0 {
            out.bytes(&report.output_tail);
        }
    }
    out.finish()
}

/// Unpacks completions.
pub fn decode_complete(blob: &Bytes) -> Result<Vec<Completion>, CodecError> {
    let mut input = Reader::new("complete", blob)?;
    let (mut run, mut token) = (0, 0);
    let completions = input.many(|input| {
        let run = RunId(input.step(&mut run)?);
        let token = FencingToken(input.step(&mut token)?);
        let word = input.number()?;
        if word & !KNOWN_BITS != 0 {
            return Err(CodecError::Unknown { field: "completion flags", value: word });
        }
        let result = result_of(word & 7).ok_or_else(|| input.malformed())?;
        let retryable = if word & NEVER_AGAIN == 0 { Retryable::Perhaps } else { Retryable::Never };
        let mut report = Report::default();
        if word & HAS_EXIT_CODE != 0 {
            report.exit_code = Some(i32::try_from(input.signed()?).map_err(|_| input.malformed())?);
        }
        if word & HAS_MESSAGE != 0 {
            report.message = input.text()?;
        }
        if word & HAS_OUTPUT != 0 {
            report.output_tail = input.bytes()?;
        }
        Ok(Completion { run, token, result, retryable, report })
    })?;
    input.end(completions)
}

fn result_number(result: AttemptResult) -> u64 {
    match result {
        AttemptResult::Succeeded => 1,
        AttemptResult::Failed => 2,
        AttemptResult::TimedOut => 3,
        AttemptResult::NotStarted => 4,
        AttemptResult::Cancelled => 5,
    }
}

fn result_of(number: u64) -> Option<AttemptResult> {
    match number {
        1 => Some(AttemptResult::Succeeded),
        2 => Some(AttemptResult::Failed),
        3 => Some(AttemptResult::TimedOut),
        4 => Some(AttemptResult::NotStarted),
        5 => Some(AttemptResult::Cancelled),
        _ => None,
    }
}

struct Writer(Vec<u8>);

impl Writer {
    fn new(capacity: usize) -> Self {
        let mut out = Self(Vec::with_capacity(capacity + 8));
        out.number(VERSION);
        out
    }

    fn number(&mut self, value: u64) {
        encode_varint(value, &mut self.0);
    }

    fn signed(&mut self, value: i64) {
        self.number(zigzag(value));
    }

    fn step(&mut self, former: &mut u64, value: u64) {
        self.signed(value.wrapping_sub(*former).cast_signed());
        *former = value;
    }

    fn bytes(&mut self, value: &[u8]) {
        self.number(value.len() as u64);
        self.0.extend_from_slice(value);
    }

    fn finish(self) -> Bytes {
        self.0.into()
    }
}

struct Reader {
    what: &'static str,
    whole: usize,
    rest: Bytes,
}

impl Reader {
    fn new(what: &'static str, blob: &Bytes) -> Result<Self, CodecError> {
        let mut reader = Self { what, whole: blob.len(), rest: blob.clone() };
        match reader.number()? {
            VERSION => Ok(reader),
            value => Err(CodecError::Unknown { field: what, value }),
        }
    }

    fn malformed(&self) -> CodecError {
        CodecError::Packed { what: self.what, at: self.whole - self.rest.len() }
    }

    fn number(&mut self) -> Result<u64, CodecError> {
        decode_varint(&mut self.rest).map_err(|_| self.malformed())
    }

    fn small(&mut self) -> Result<u32, CodecError> {
        u32::try_from(self.number()?).map_err(|_| self.malformed())
    }

    fn signed(&mut self) -> Result<i64, CodecError> {
        Ok(unzigzag(self.number()?))
    }

    fn step(&mut self, former: &mut u64) -> Result<u64, CodecError> {
        *former = former.wrapping_add(self.signed()?.cast_unsigned());
        Ok(*former)
    }

    fn bytes(&mut self) -> Result<Bytes, CodecError> {
        let length = usize::try_from(self.number()?).map_err(|_| self.malformed())?;
        if length > self.rest.len() {
            return Err(self.malformed());
        }
        Ok(self.rest.split_to(length))
    }

    fn text(&mut self) -> Result<String, CodecError> {
        String::from_utf8(self.bytes()?.into()).map_err(|_| self.malformed())
    }

    /// A counted sequence. Every item takes a byte at least, so a count beyond the rest is refused before it is believed.
    fn many<T>(
        &mut self,
        mut item: impl FnMut(&mut Self) -> Result<T, CodecError>,
    ) -> Result<Vec<T>, CodecError> {
        let count = usize::try_from(self.number()?).map_err(|_| self.malformed())?;
        if count > self.rest.len() {
            return Err(self.malformed());
        }
        let mut items = Vec::with_capacity(count.min(MANY_RESERVED_MAX));
        for _ in 0..count {
            items.push(item(self)?);
        }
        Ok(items)
    }

    fn end<T>(self, value: T) -> Result<T, CodecError> {
        if self.rest.is_empty() { Ok(value) } else { Err(self.malformed()) }
    }
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fires() -> Vec<FireGroup> {
        (0..3)
            .map(|group| FireGroup {
                nominal_at: UnixMillis(1_800_000_000_000 + group * 1000),
                fires: (0..1000)
                    .map(|n| {
                        let next = (n != 7).then_some(UnixMillis(1_800_000_060_000 + group * 1000));
                        Fire::new(ScheduleId(5000 + n), Generation(1 + n % 3), next)
                    })
                    .collect(),
            })
            .collect()
    }

    #[test]
    fn fires_survive_and_stay_small() {
        let blob = encode_fire(&fires());
        assert_eq!(decode_fire(&blob).unwrap(), fires());
        let FireBlob::Plain(blob) = blob else { panic!("none of them has details") };
        assert!(blob.len() < 3000 * 7, "{} bytes for 3000 fires", blob.len());
    }

    #[test]
    fn fires_with_details_survive_as_a_kind_of_their_own() {
        let mut fires = fires();
        fires[1].fires[2].spread_for = Duration::from_millis(1500);
        fires[2].fires[0].freeze = Freeze::Frozen;
        let blob = encode_fire(&fires);
        assert!(matches!(blob, FireBlob::Detailed(_)));
        assert_eq!(decode_fire(&blob).unwrap(), fires);
    }

    #[test]
    fn begins_survive() {
        let groups = vec![
            BeginGroup {
                executor: "01J".into(),
                begins: vec![Begin { run: RunId(9), attempt: AttemptNo(1) }],
            },
            BeginGroup {
                executor: "02K".into(),
                begins: (0..50).rev().map(|n| Begin { run: RunId(n), attempt: AttemptNo(3) }).collect(),
            },
        ];
        assert_eq!(decode_begin(&encode_begin(&groups)).unwrap(), groups);
    }

    #[test]
    fn completions_survive() {
        let report = Report {
            exit_code: Some(-9),
            message: "killed".into(),
            output_tail: Bytes::from_static(b"\xff\x00 raw"),
        };
        let results = [
            AttemptResult::Succeeded,
            AttemptResult::Failed,
            AttemptResult::TimedOut,
            AttemptResult::NotStarted,
            AttemptResult::Cancelled,
        ];
        let completions: Vec<_> = results
            .into_iter()
            .flat_map(|result| [(result, Report::default()), (result, report.clone())])
            .zip(1..)
            .map(|((result, report), n)| Completion {
                run: RunId(n * 7),
                token: FencingToken(n),
                result,
                retryable: if n % 3 == 0 { Retryable::Never } else { Retryable::Perhaps },
                report,
            })
            .collect();
        assert_eq!(decode_complete(&encode_complete(&completions)).unwrap(), completions);
    }

    #[test]
    fn codec_3_an_unknown_flag_is_an_error() {
        // One completion of run 1 by token 1, succeeded, with a flag of a future release.
        let blob = Bytes::from_static(&[1, 1, 2, 2, 0x81, 1]);
        assert!(matches!(decode_complete(&blob), Err(CodecError::Unknown { value: 129, .. })));
    }

    proptest! {
        /// CODEC-2.
        #[test]
        fn no_input_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut blob = vec![1];
            blob.extend(bytes);
            let blob = Bytes::from(blob);
            let _ = decode_fire(&FireBlob::Plain(blob.clone()));
            let _ = decode_fire(&FireBlob::Detailed(blob.clone()));
            let _ = decode_begin(&blob);
            let _ = decode_complete(&blob);
        }

        #[test]
        fn a_cut_blob_is_refused(cut in 1..6000usize) {
            let FireBlob::Plain(blob) = encode_fire(&fires()) else { panic!("none of them has details") };
            let cut = blob.slice(..blob.len().saturating_sub(cut));
            prop_assert!(decode_fire(&FireBlob::Plain(cut)).is_err());
        }
    }
}
