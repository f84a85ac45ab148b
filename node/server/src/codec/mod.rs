//! Between the core's types and their stored form, protobuf `belfry.internal.v1`.
//!
//! Invariants:
//! - CODEC-1: decoding what was encoded gives the same value.
//! - CODEC-2: nothing decodes to a panic, and no length in the input is believed before it is checked.
//! - CODEC-3: what an old build wrote keeps its meaning for ever; an unknown kind is an error, never a guess.

mod command;
mod definition;
pub mod packed;
mod records;

pub use command::{decode_command, encode_command};
pub use records::{decode_block, encode_block};

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

    use belfry_core::command::{
        Action, Begin, BeginGroup, Command, Completion, Fire, FireGroup, LeaseLoss, Prune, RequestKey, Retime,
    };
    use belfry_core::definition::{Definition, Policies, Rule, Target, Timing};
    use belfry_core::run::{AttemptResult, Reason, Report};
    use belfry_core::schedule::Pause;
    use belfry_core::{
        AttemptNo, FencingToken, Generation, LogPosition, Revision, RunId, ScheduleId, ScheduleKey, State,
        UnixMillis,
    };

    use super::*;

    fn definition(rule: Rule) -> Arc<Definition> {
        Arc::new(Definition {
            timing: Timing { include: vec![rule], time_zone: "Europe/Berlin".into() },
            target: Target { handler: "command".into(), payload: b"\x00\xff payload".as_slice().into() },
            policies: Policies { start_deadline: Some(Duration::from_secs(90)), ..Policies::default() },
            pool: "default".into(),
            labels: [("team".into(), "billing".into())].into(),
            description: "nightly".into(),
        })
    }

    fn create(name: &str, rule: Rule, pause: Option<Pause>) -> Action {
        Action::CreateSchedule {
            key: ScheduleKey::new("default", name),
            uid: format!("uid-{name}").into(),
            definition: definition(rule),
            next_fire_at: Some(UnixMillis(10_000)),
            pause,
        }
    }

    fn cron() -> Rule {
        Rule::Cron { expression: "H 3 * * *".into(), resolved: "17 3 * * *".into(), allow_never: true }
    }

    fn fire(schedule: u64, nominal: i64, next: Option<i64>) -> FireGroup {
        FireGroup {
            nominal_at: UnixMillis(nominal),
            fires: vec![Fire {
                schedule: ScheduleId(schedule),
                generation: Generation(1),
                next_fire_at: next.map(UnixMillis),
            }],
        }
    }

    /// One command of every kind, and rows in every state that the first release can make.
    fn story() -> Vec<(i64, Action)> {
        let key = || ScheduleKey::new("default", "a");
        let every = Duration::from_secs(10);
        let pause = Pause { reason: "imported".into(), actor: "ops".into(), paused_at: UnixMillis(0) };
        let begin = |run, executor: &str| {
            Action::Begin(vec![BeginGroup {
                executor: executor.into(),
                begins: vec![Begin { run: RunId(run), attempt: AttemptNo(1) }],
            }])
        };
        let complete = |run, token, result, report| {
            Action::Complete(vec![Completion { run: RunId(run), token: FencingToken(token), result, report }])
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
            (32_000, Action::TriggerSchedule { key: key(), actor: "ops".into() }),
            (
                33_000,
                Action::UpdateSchedule {
                    key: key(),
                    expected: Some(Revision(1)),
                    definition: definition(Rule::At(UnixMillis(99_000))),
                    retime: Retime::From(Some(UnixMillis(99_000))),
                },
            ),
            (
                34_000,
                Action::PauseSchedule {
                    key: key(),
                    expected: None,
                    reason: "why".into(),
                    actor: "me".into(),
                },
            ),
            (35_000, Action::ResumeSchedule { key: key(), expected: None }),
            (200_000, Action::ExpireStarts(vec![RunId(6)])),
            (200_000, Action::DeleteSchedule { key: ScheduleKey::new("default", "c"), expected: None }),
            (200_000, Action::RaiseFeatureLevel(1)),
            (
                200_000,
                Action::Prune(Prune { runs: vec![RunId(2)], reports: vec![RunId(9)], answers: vec![99] }),
            ),
        ]
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
                assert_eq!(decode_block(&encode_block(&records)).unwrap(), records);
            }
        }
        let states: Vec<_> =
            state.census().iter().filter(|(_, count)| **count > 0).map(|(state, _)| *state).collect();
        assert_eq!(states, ["EXPIRED", "FAILED", "MERGED", "RUNNING", "UNKNOWN"], "the story covers these");
    }

    #[test]
    fn codec_3_an_unknown_command_is_an_error() {
        // Field 200 of a future release: decodes as a command without an action.
        let entry = bytes::Bytes::from_static(&[0xc2, 0x0c, 0x01, 0x00]);
        assert!(matches!(decode_command(&entry), Err(CodecError::Missing { field: "action", .. })));
    }
}
