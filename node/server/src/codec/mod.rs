//! Between the core's types and their stored form, protobuf `belfry.internal.v1`.
//!
//! Invariants:
//! - CODEC-1: decoding what was encoded gives the same value.
//! - CODEC-2: nothing decodes to a panic, and no length in the input is believed before it is checked.
//! - CODEC-3: what an old build wrote keeps its meaning for ever; an unknown kind is an error, never a guess.

mod command;
#[cfg(test)]
mod compat;
mod definition;
mod objects;
pub mod packed;
mod records;

pub use command::{decode_command, encode_command};
pub use records::{BlockDecoder, compress_block, decode_block, encode_block};

use thiserror::Error;

/// Stored bytes do not make sense: damage, or a build newer than this one wrote them.
#[derive(Debug, Error)]
pub enum CodecError {
    /// Not protobuf of the expected message.
    #[error("not a readable message: {0}")]
    Message(#[from] prost::DecodeError),
    /// A field that every build writes is not there.
    #[error("{message} has no {field}")]
    Missing {
        /// Message type.
        message: &'static str,
        /// Field name.
        field: &'static str,
    },
    /// A number that this build does not know: a newer one wrote it.
    #[error("{field} has the unknown value {value}: written by a newer release?")]
    Unknown {
        /// Field name.
        field: &'static str,
        /// Its value.
        value: u64,
    },
    /// A number is larger than this build can count.
    #[error("{field} is {value}, which is more than this release counts: written by another release?")]
    TooLarge {
        /// Field name.
        field: &'static str,
        /// Its value.
        value: u64,
    },
    /// A compressed block is cut or malformed.
    #[error("a compressed block is not what was written: {0}")]
    Compressed(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// A compressed block does not hold what it says.
    #[error("a compressed block says that it holds {said} bytes, and holds {max} at most")]
    CompressedSize {
        /// What it says.
        said: usize,
        /// What it holds, or can hold.
        max: usize,
    },
    /// Records are both in the compressed part of a block and beside it, or compressed twice.
    #[error("a compressed block has more beside it: written by a newer release?")]
    CompressedWithMore,
    /// A packed blob is cut or malformed.
    #[error("packed {what} is malformed at byte {at}")]
    Packed {
        /// Kind of blob.
        what: &'static str,
        /// Offset in it.
        at: usize,
    },
}

fn required<T>(value: Option<T>, message: &'static str, field: &'static str) -> Result<T, CodecError> {
    value.ok_or(CodecError::Missing { message, field })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use arcstr::ArcStr;
    use belfry_core::backfill::BackfillMode;
    use belfry_core::command::{
        Action, BackfillVerb, Begin, BeginGroup, Command, Completion, Fire, FireGroup, Freeze, LeaseLoss,
        Prune, RequestKey, ResumeMissed, Retime, Retimed, Retryable, Rezoned, TriggerOverlap,
    };
    use belfry_core::definition::{
        CalendarMode, CalendarRule, CalendarUse, CompletionAction, Definition, History, Liveness,
        MisfirePolicy, OverlapPolicy, Policies, Priority, Retry, Rule, Target, Timing, UnknownOutcomePolicy,
    };
    use belfry_core::object::{Calendar, Declared, Namespace, Pool, Rate};
    use belfry_core::run::{AttemptResult, Reason, Report, Resolution, Verdict};
    use belfry_core::schedule::{Pause, Schedule};
    use belfry_core::state::{BackfillRequest, LastInstants, LastPart, Record, Totals, ZoneData};
    use belfry_core::{
        AttemptNo, BackfillId, FencingToken, Generation, LogPosition, Revision, RunId, ScheduleId,
        ScheduleKey, State, UnixMillis,
    };
    use belfry_proto::internal as pb;
    use bytes::Bytes;
    use prost::Message as _;

    use super::*;

    fn definition(rule: Rule) -> Arc<Definition> {
        let payload = b"\x00\xff payload".as_slice().into();
        Arc::new(Definition {
            policies: Policies { start_deadline: Some(Duration::from_secs(90)), ..Policies::default() },
            labels: [("team".into(), "billing".into())].into(),
            description: "nightly".into(),
            ..Definition::new(
                Timing::of(vec![rule], "Europe/Berlin"),
                Target { handler: "command".into(), payload },
            )
        })
    }

    /// Everything that feature level 2 brought, each with a value that is not its default.
    fn full_definition() -> Arc<Definition> {
        let second = Duration::from_secs(1);
        let rules = vec![
            cron(),
            Rule::AtLocal("2026-12-24T18:00".into()),
            Rule::Calendar(CalendarRule {
                years: vec![2027],
                months: vec![1, 7],
                month_days: vec![1, -1],
                weekdays: vec![(1, Some(-1)), (7, None)],
                times: vec![32_400],
            }),
            Rule::FixedDelay(second),
        ];
        let calendars = [CalendarMode::Include, CalendarMode::Exclude, CalendarMode::Freeze];
        let timing = Timing {
            include: rules.clone(),
            exclude: rules,
            calendars: calendars.map(|mode| CalendarUse { calendar: "holidays".into(), mode }).into(),
            time_zone: "UTC".into(),
            start_at: Some(UnixMillis(1)),
            end_at: Some(UnixMillis(2)),
            spread: Some(second),
        };
        let target = Target { handler: "h".into(), payload: Default::default() };
        Arc::new(Definition {
            policies: Policies {
                overlap: OverlapPolicy::Allow { running_max: 3 },
                misfire: MisfirePolicy::FireAll { window: second, count_max: 7 },
                unknown_outcome: UnknownOutcomePolicy::Retry,
                retry: Retry {
                    max_attempts: 3,
                    initial_backoff: second,
                    max_backoff: 2 * second,
                    non_retryable_codes: vec![-2],
                },
                pause_after_failures: Some(4),
                cancel_grace: 5 * second,
                ..Policies::default()
            },
            executor_labels: [("gpu".into(), "yes".into())].into(),
            priority: Priority::new(9).unwrap(),
            max_runs: Some(12),
            completion: CompletionAction::Delete,
            history: History { keep_for: Some(second), keep_count: Some(8) },
            liveness: Liveness {
                start_grace: Some(second),
                success_within: Some(2 * second),
                disabled: true,
            },
            ..Definition::new(timing, target)
        })
    }

    fn create(name: &str, rule: Rule, pause: Option<Pause>) -> Action {
        Action::CreateSchedule {
            key: ScheduleKey::new("default", name),
            uid: format!("uid-{name}").into(),
            definition: definition(rule),
            next_fire_at: Some(UnixMillis(10_000)),
            calendars: Revision::default(),
            pause,
        }
    }

    fn cron() -> Rule {
        Rule::Cron { expression: "H 3 * * *".into(), resolved: "17 3 * * *".into(), allow_never: true }
    }

    fn fire(schedule: u64, nominal: i64, next: Option<i64>) -> FireGroup {
        FireGroup {
            nominal_at: UnixMillis(nominal),
            fires: vec![Fire::new(ScheduleId(schedule), Generation(1), next.map(UnixMillis))],
        }
    }

    fn calendar(day: &str) -> Declared {
        Declared::Calendar(Calendar {
            key: ScheduleKey::new("default", "holidays"),
            time_zone: Some("Europe/Berlin".into()),
            days: vec![day.into()],
            periods: vec![("2026-11-27T18:00".into(), "2026-11-30T06:00".into())],
            description: "closed".into(),
        })
    }

    fn pool() -> Declared {
        Declared::Pool(Pool {
            name: "default".into(),
            slots: Some(3),
            rate: Some(Rate { count: 5, per: Duration::from_secs(2) }),
            paused: Some(Verdict { actor: "ops".into(), reason: "why".into(), at: UnixMillis(7) }),
            description: "all".into(),
        })
    }

    fn namespace() -> Declared {
        Declared::Namespace(Namespace {
            name: "default".into(),
            running_max: Some(4),
            schedules_max: Some(100),
            weight: 2,
            spread: Some(Duration::from_secs(9)),
            description: "us".into(),
        })
    }

    fn trigger(key: ScheduleKey, overlap: TriggerOverlap) -> Action {
        Action::TriggerSchedule { key, actor: "ops".into(), overlap }
    }

    fn resume(key: ScheduleKey, missed: ResumeMissed) -> Action {
        Action::ResumeSchedule { key, expected: None, missed, actor: "ops".into() }
    }

    /// One command of every kind that feature level 2 brought, and rows in every shape.
    fn second_story() -> Vec<(i64, Action)> {
        let key = || ScheduleKey::new("default", "full");
        let detailed = |nominal, freeze| FireGroup {
            nominal_at: UnixMillis(nominal),
            fires: vec![Fire {
                spread_for: Duration::from_secs(2),
                freeze,
                ..Fire::new(ScheduleId(1), Generation(1), Some(UnixMillis(nominal + 10_000)))
            }],
        };
        let begin = |run, attempt| {
            let begins = vec![Begin { run: RunId(run), attempt: AttemptNo(attempt) }];
            Action::Begin(vec![BeginGroup { executor: "A".into(), begins }])
        };
        let failed = |run, token| {
            Action::Complete(vec![Completion {
                run: RunId(run),
                token: FencingToken(token),
                result: AttemptResult::Failed,
                retryable: Retryable::Perhaps,
                report: Report::default(),
            }])
        };
        let (actor, reason): (ArcStr, ArcStr) = ("ops".into(), "why".into());
        let put = |declared| Action::PutObject { declared, expected: None };
        let advance = |id, instants: Vec<i64>, last| Action::AdvanceBackfill {
            backfill: BackfillId(id),
            instants: instants.into_iter().map(UnixMillis).collect(),
            last,
        };
        let control = |verb| Action::ControlBackfill {
            backfill: BackfillId(4),
            verb,
            actor: "ops".into(),
            reason: "why".into(),
        };
        let retimed = Retimed {
            schedule: ScheduleId(1),
            generation: Generation(1),
            calendars: Revision(21),
            next_fire_at: Some(UnixMillis(200_000)),
        };
        let rezoned = Rezoned {
            schedule: ScheduleId(1),
            generation: Generation(1),
            former: UnixMillis(200_000),
            next_fire_at: Some(UnixMillis(203_600)),
        };
        let request = BackfillRequest {
            from_at: UnixMillis(11_000),
            until_at: UnixMillis(29_000),
            mode: BackfillMode::Reprocess,
            expected: 2,
            actor: "ops".into(),
            reason: "why".into(),
        };
        let lost = LeaseLoss { run: RunId(4), token: FencingToken(3), reason: Reason::LeaseLost };
        vec![
            (0, Action::RaiseFeatureLevel(2)),
            (0, put(calendar("2026-12-25"))),
            (
                0,
                Action::CreateSchedule {
                    key: key(),
                    uid: "full".into(),
                    definition: full_definition(),
                    next_fire_at: Some(UnixMillis(10_000)),
                    calendars: Revision(2),
                    pause: None,
                },
            ),
            (10_000, Action::Fire(vec![detailed(10_000, Freeze::Open)])),
            (12_000, begin(1, 1)),
            (13_000, failed(1, 1)),
            (20_000, Action::Fire(vec![detailed(20_000, Freeze::Frozen)])),
            (
                21_000,
                Action::PauseSchedule {
                    key: key(),
                    expected: None,
                    reason: "why".into(),
                    actor: "me".into(),
                    until: Some(UnixMillis(45_000)),
                },
            ),
            (30_000, Action::Fire(vec![detailed(30_000, Freeze::Open)])),
            (31_000, resume(key(), ResumeMissed::Coalesce)),
            (31_000, trigger(key(), TriggerOverlap::Allow)),
            (32_000, begin(5, 1)),
            (33_000, Action::CancelRun { run: RunId(5), actor: actor.clone(), reason: reason.clone() }),
            (34_000, begin(4, 1)),
            (80_000, Action::ExpireLeases(vec![lost])),
            (81_000, Action::ResolveRun { run: RunId(4), resolution: Resolution::Failed, actor, reason }),
            (82_000, Action::EndPauses(vec![ScheduleId(1)])),
            (83_000, put(pool())),
            (83_000, put(namespace())),
            (84_000, put(calendar("*-12-26"))),
            (85_000, Action::Retime(vec![retimed])),
            (86_000, Action::CreateBackfill { key: key(), request }),
            (86_000, advance(1, vec![15_000, 25_000], LastInstants::No)),
            (87_000, advance(4, vec![15_000, 25_000], LastInstants::Yes)),
            (88_000, control(BackfillVerb::Pause)),
            (88_000, control(BackfillVerb::Cancel)),
            (88_000, Action::PutObject { declared: pool(), expected: Some(Revision(1)) }),
            (89_000, Action::DeleteObject { name: pool().name(), expected: None }),
            (89_000, Action::DeleteObject { name: namespace().name(), expected: Some(Revision(1)) }),
            (89_000, Action::DeleteObject { name: calendar("").name(), expected: None }),
            (89_000, Action::Rezone { version: "2026b".into(), rezoned: vec![rezoned], last: LastPart::No }),
            (89_000, Action::Rezone { version: "2026b".into(), rezoned: vec![], last: LastPart::Yes }),
            (89_000, resume(key(), ResumeMissed::FireAll { from_at: UnixMillis(5), expected: 7 })),
        ]
    }

    /// One command of every kind, and rows in every state that the first release can make.
    fn story() -> Vec<(i64, Action)> {
        let key = || ScheduleKey::new("default", "a");
        let every = Duration::from_secs(10);
        let pause = Pause {
            reason: "imported".into(),
            actor: "ops".into(),
            paused_at: UnixMillis(0),
            until: None,
            skipped: 0,
        };
        let begin = |run, executor: &str| {
            Action::Begin(vec![BeginGroup {
                executor: executor.into(),
                begins: vec![Begin { run: RunId(run), attempt: AttemptNo(1) }],
            }])
        };
        let complete = |run, token, result, report| {
            let (run, token, retryable) = (RunId(run), FencingToken(token), Retryable::Perhaps);
            Action::Complete(vec![Completion { run, token, result, retryable, report }])
        };
        let report =
            Report { exit_code: Some(-2), message: "no".into(), output_tail: b"\xfe".as_slice().into() };
        vec![
            (0, create("a", cron(), None)),
            (0, create("b", Rule::Interval { every, phase: Duration::from_millis(3) }, Some(pause))),
            (0, create("c", Rule::At(UnixMillis(10_000)), None)),
            (10_000, Action::Fire(vec![fire(1, 10_000, Some(20_000)), fire(2, 10_000, Some(20_000))])),
            (10_000, Action::Fire(vec![fire(3, 10_000, None)])),
            (12_000, begin(1, "A")),
            (13_000, complete(1, 1, AttemptResult::Failed, report)),
            (13_000, begin(3, "A")),
            (20_000, Action::Fire(vec![fire(1, 20_000, Some(30_000))])),
            (30_000, Action::Fire(vec![fire(1, 30_000, Some(40_000))])),
            (
                60_000,
                Action::ExpireLeases(vec![LeaseLoss {
                    run: RunId(3),
                    token: FencingToken(2),
                    reason: Reason::LeaseLost,
                }]),
            ),
            (31_000, begin(5, "B")),
            (32_000, trigger(key(), TriggerOverlap::Wait)),
            (
                33_000,
                Action::UpdateSchedule {
                    key: key(),
                    expected: Some(Revision(1)),
                    definition: definition(Rule::At(UnixMillis(99_000))),
                    retime: Retime::From(Some(UnixMillis(99_000))),
                    calendars: Revision::default(),
                },
            ),
            (
                34_000,
                Action::PauseSchedule {
                    key: key(),
                    expected: None,
                    reason: "why".into(),
                    actor: "me".into(),
                    until: None,
                },
            ),
            (35_000, resume(key(), ResumeMissed::Skip)),
            (200_000, Action::ExpireStarts(vec![RunId(6)])),
            (200_000, Action::DeleteSchedule { key: ScheduleKey::new("default", "c"), expected: None }),
            (200_000, Action::RaiseFeatureLevel(1)),
            (
                200_000,
                Action::Prune(Prune { runs: vec![RunId(2)], reports: vec![RunId(9)], answers: vec![99] }),
            ),
        ]
    }

    /// CODEC-1 for a block, as it is and compressed.
    fn survives(records: &[Record]) {
        let plain = encode_block(records);
        assert_eq!(decode_block(&plain).unwrap(), records);
        let compressed = compress_block(plain.clone());
        assert!(compressed.len() <= plain.len());
        assert_eq!(decode_block(&compressed).unwrap(), records);
    }

    #[test]
    fn codec_1_commands_and_records_survive() {
        let mut state = State::default();
        for (index, (now, action)) in story().into_iter().enumerate() {
            let request = (index % 2 == 0)
                .then(|| RequestKey { id: format!("r{index}").into(), fingerprint: u64::MAX - index as u64 });
            let command = Command { now: UnixMillis(now), request, action };
            let entry = encode_command(&command);
            assert_eq!(decode_command(&entry).unwrap(), command);
            state.apply(LogPosition { term: 1, index: index as u64 + 1 }, command);
            for block in state.blocks() {
                let records = state.block(block);
                survives(&records);
            }
        }
        let states: Vec<_> =
            state.census().iter().filter(|(_, count)| *count > 0).map(|(state, _)| state).collect();
        assert_eq!(states, ["RUNNING", "FAILED", "UNKNOWN", "MERGED", "EXPIRED"], "the story covers these");
    }

    #[test]
    fn codec_1_what_feature_level_2_brought_survives() {
        let mut state = State::default();
        for (index, (now, action)) in second_story().into_iter().enumerate() {
            let command = Command { now: UnixMillis(now), request: None, action };
            assert_eq!(decode_command(&encode_command(&command)).unwrap(), command);
            let applied = state.apply(LogPosition { term: 1, index: index as u64 + 1 }, command);
            if let Err(rejection) = applied.outcome {
                let expected = match now {
                    81_000 => belfry_core::Rejection::NotUnknown { state: "DUE" },
                    88_000 => belfry_core::Rejection::ObjectRevisionMismatch {
                        name: pool().name(),
                        current: Revision(18),
                    },
                    _ => continue,
                };
                assert_eq!(rejection, expected, "at {now}");
            }
            for block in state.blocks() {
                let records = state.block(block);
                survives(&records);
            }
        }
        let shapes: Vec<_> = state.runs_from(RunId(0)).map(|run| (run.state.name(), run.reason())).collect();
        assert_eq!(
            shapes,
            [
                ("DUE", Some(Reason::RetryBackoff)),
                ("SKIPPED", Some(Reason::Blackout)),
                ("SKIPPED", Some(Reason::Paused)),
                ("DUE", Some(Reason::LeaseLost)),
                ("RUNNING", None),
                ("CANCELLED", Some(Reason::BackfillCancelled)),
            ]
        );
        assert_eq!(full_definition().feature_level(), 2);
        assert_eq!(definition(cron()).feature_level(), 1);
    }

    #[test]
    fn what_neighbours_have_in_common_is_stored_once() {
        let mut state = State::default();
        for index in 1..=63 {
            let action = create(&format!("s{index}"), cron(), None);
            let command = Command { now: UnixMillis(0), request: None, action };
            state.apply(LogPosition { term: 1, index }, command);
        }
        let records = state.block(state.blocks().into_iter().next_back().unwrap());
        assert_eq!(records.len(), 63);
        let (plain, compressed) = (encode_block(&records), compress_block(encode_block(&records)));
        assert!(compressed.len() * 3 < plain.len(), "{} of {} bytes", compressed.len(), plain.len());
    }

    #[test]
    fn codec_2_no_size_of_a_compressed_block_is_believed() {
        let zones = ZoneData { version: "v".repeat(4096), change: None };
        let plain = encode_block(&[Record::Totals(Totals { zones, ..Totals::default() })]);
        let compressed = compress_block(plain.clone());
        assert!(compressed.len() < plain.len() / 4);
        let lz4 = pb::Block::decode(compressed).unwrap().lz4;
        let decode = |block: pb::Block| decode_block(&block.encode_to_vec().into());
        let block = |lz4: Bytes| pb::Block { lz4, ..Default::default() };
        for size in [u32::MAX, 256 << 20, plain.len() as u32 + 1, plain.len() as u32 - 1, 0] {
            let bytes = [&size.to_le_bytes(), &lz4[4..]].concat();
            assert!(decode(block(bytes.into())).is_err(), "{size} bytes");
        }
        for length in 1..lz4.len() {
            assert!(decode(block(lz4.slice(..length))).is_err(), "{length} bytes");
        }
        let both = pb::Block { totals: pb::Block::decode(plain).unwrap().totals, ..block(lz4.clone()) };
        assert!(matches!(decode(both), Err(CodecError::CompressedWithMore)));
        let twice = lz4_flex::compress_prepend_size(&block(lz4).encode_to_vec());
        assert!(matches!(decode(block(twice.into())), Err(CodecError::CompressedWithMore)));
    }

    #[test]
    fn a_definition_of_several_blocks_is_decoded_once() {
        let block = |number: i64| {
            let (id, at) = (ScheduleId(1), UnixMillis(number));
            let schedule = Schedule::new(
                id,
                "u".into(),
                ScheduleKey::new("n", "s"),
                definition(Rule::At(at)),
                UnixMillis(0),
            );
            encode_block(&[Record::Schedule(Box::new(schedule))])
        };
        let mut decoder = BlockDecoder::default();
        let mut decoded =
            |number| match decoder.decode(&block(number)).expect("it was just encoded").as_slice() {
                [Record::Schedule(schedule)] => schedule.definition.clone(),
                other => panic!("one schedule was encoded, not {other:?}"),
            };
        let (one, two) = (decoded(1), decoded(2));
        assert!(Arc::ptr_eq(&one, &decoded(1)) && Arc::ptr_eq(&two, &decoded(2)));
        assert_eq!(
            (one.clone(), two),
            (definition(Rule::At(UnixMillis(1))), definition(Rule::At(UnixMillis(2))))
        );
        (3..5000).for_each(|number| drop(decoded(number)));
        assert!(!Arc::ptr_eq(&one, &decoded(1)), "it is kept for ever");

        let damaged = pb::Schedule { definition: vec![0xff].into(), ..Default::default() };
        let damaged = pb::Block { schedules: vec![damaged], ..Default::default() }.encode_to_vec().into();
        assert!(decoder.decode(&damaged).is_err() && decoder.decode(&damaged).is_err());
    }

    #[test]
    fn codec_3_an_unknown_command_is_an_error() {
        // Field 200 of a future release: decodes as a command without an action.
        let entry = bytes::Bytes::from_static(&[0xc2, 0x0c, 0x01, 0x00]);
        assert!(matches!(decode_command(&entry), Err(CodecError::Missing { field: "action", .. })));
    }
}
