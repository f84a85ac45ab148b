//! What is known of one row, in the order in which it happened.

use std::time::Duration;

use belfry_core::run::{Ending, Lease, Reason, RunState, Trigger};
use belfry_core::schedule::Pause;
use belfry_core::state::LATE_AFTER_MS;
use belfry_core::{Run, Schedule, State, UnixMillis};
use belfry_proto::v1 as pb;
use pb::fact::Kind;

use crate::api::{encode, names};

/// Enough of a message for a line or two.
const TEXT_CHARS_MAX: usize = 1000;

/// A fact of which nothing else is known.
pub(super) fn fact(kind: Kind) -> pb::Fact {
    pb::Fact { kind: kind.into(), ..Default::default() }
}

/// A fact with its time.
pub(super) fn at(kind: Kind, time: UnixMillis) -> pb::Fact {
    pb::Fact { time: Some(encode::timestamp(time)), ..fact(kind) }
}

/// That a schedule is paused.
pub(super) fn paused(pause: &Pause) -> pb::Fact {
    let (actor, text) = (pause.actor.clone(), pause.reason.clone());
    pb::Fact { actor, text, ..at(Kind::Paused, pause.paused_at) }
}

/// Everything about a row.
pub(super) fn of(state: &State, schedule: &Schedule, run: &Run, now: UnixMillis) -> Vec<pb::Fact> {
    let mut facts = origin(run);
    facts.extend(kept_waiting(state, schedule, run));
    if let Some(cancel) = run.cancel.as_deref() {
        let (actor, text) = (cancel.verdict.actor.to_string(), cancel.verdict.reason.to_string());
        let reason = encode::reason(cancel.cause).into();
        facts.push(pb::Fact { actor, text, reason, ..at(Kind::CancelAsked, cancel.verdict.at) });
    }
    facts.extend(run.state.lease().map(|lease| begun(run, lease)));
    // A cancel may come before the begin, after it, or after the end.
    facts.sort_by_key(|fact| match fact.kind() {
        Kind::CancelAsked | Kind::Begun => fact.time.map(|time| (time.seconds, time.nanos)),
        _other => None,
    });
    facts.extend(outcome(state, schedule, run));
    facts.extend(to_come(schedule, run, now));
    facts
}

/// Puts what a run waits for before what is to come.
pub(super) fn with_waiting(mut facts: Vec<pb::Fact>, waits: Option<pb::Fact>) -> Vec<pb::Fact> {
    // Something in the ledger keeps it: that comes first, and executors do not matter yet.
    let is_kept =
        facts.iter().any(|fact| matches!(fact.kind(), Kind::Paused | Kind::WaitsFor | Kind::Offered));
    let Some(waits) = waits.filter(|_| !is_kept) else { return facts };
    let is_to_come = |fact: &pb::Fact| matches!(fact.kind(), Kind::MayBegin | Kind::StartDeadline);
    let place = facts.iter().position(is_to_come).unwrap_or(facts.len());
    facts.insert(place, waits);
    facts
}

fn origin(run: &Run) -> Vec<pb::Fact> {
    let by_somebody = |kind| pb::Fact { actor: run.actor.to_string(), ..at(kind, run.created_at) };
    let mut facts = match run.trigger {
        Trigger::Timer | Trigger::CatchUp => vec![at(Kind::Nominal, run.nominal_at)],
        Trigger::Manual => vec![by_somebody(Kind::Triggered)],
        Trigger::Resume => vec![by_somebody(Kind::Resumed)],
        Trigger::Backfill(id) => vec![
            at(Kind::Nominal, run.nominal_at),
            pb::Fact { text: id.to_string(), ..at(Kind::Backfilled, run.created_at) },
        ],
    };
    if run.scheduled_at > run.nominal_at {
        let duration = Some(encode::duration(run.scheduled_at.since(run.nominal_at)));
        facts.push(pb::Fact { duration, ..at(Kind::Spread, run.scheduled_at) });
    }
    if matches!(run.trigger, Trigger::Timer | Trigger::CatchUp) {
        let late = run.created_at.since(run.scheduled_at);
        let late =
            (late > Duration::from_millis(LATE_AFTER_MS.unsigned_abs())).then(|| encode::duration(late));
        facts.push(pb::Fact { duration: late, ..at(Kind::Recorded, run.created_at) });
    }
    if run.merged_count > 0 {
        facts.push(pb::Fact { count: run.merged_count, ..at(Kind::StandsFor, run.window_start_at) });
    }
    facts
}

/// Why it did not begin at once; and if it still waits, for what.
fn kept_waiting(state: &State, schedule: &Schedule, run: &Run) -> Vec<pb::Fact> {
    let held = match &run.state {
        RunState::Due { held, .. } => *held,
        RunState::Running(lease) => lease.late,
        RunState::Ended { lease: Some(lease), .. } => lease.late,
        RunState::Ended { ending: Ending::Merged { reason, .. }, lease: None, .. } => Some(*reason),
        RunState::Ended { lease: None, .. } => None,
    };
    let held = held.filter(|reason| *reason != Reason::RetryBackoff);
    let mut facts: Vec<_> = held
        .map(|reason| pb::Fact { reason: encode::reason(reason).into(), ..fact(Kind::Held) })
        .into_iter()
        .collect();
    let waits = matches!(run.state, RunState::Due { .. });
    if !waits || state.ready().contains(&run.id) {
        return facts;
    }
    let open = state.active_runs(run.schedule).filter(|other| other.attempt.0 > 0 && other.id != run.id);
    let open: Vec<_> = open.take(OTHERS_MAX).map(|other| names::run_name(&schedule.key, other)).collect();
    match (&schedule.pause, open.as_slice()) {
        (Some(pause), _) => facts.push(paused(pause)),
        (None, [other, ..]) => {
            let text = match open.len() {
                1 => "waits for the end of the run that is running".to_owned(),
                count => format!("waits for the end of one of {count} runs that are running"),
            };
            facts.push(pb::Fact { run: other.clone(), text, ..fact(Kind::WaitsFor) });
        }
        (None, []) if schedule.catching_up => {
            facts.push(pb::Fact {
                text: "waits for the rows of the instants after it".to_owned(),
                ..fact(Kind::WaitsFor)
            });
        }
        (None, []) => {
            facts.push(pb::Fact { text: "waits for the runs before it".to_owned(), ..fact(Kind::WaitsFor) })
        }
    }
    facts
}

/// Runs counted as standing in the way.
const OTHERS_MAX: usize = 100;

fn begun(run: &Run, lease: &Lease) -> pb::Fact {
    pb::Fact {
        executor: lease.executor.to_string(),
        fencing_token: lease.token.0,
        attempt: run.attempt.0,
        duration: Some(encode::duration(lease.begun_at.since(run.scheduled_at))),
        ..at(Kind::Begun, lease.begun_at)
    }
}

fn outcome(state: &State, schedule: &Schedule, run: &Run) -> Vec<pb::Fact> {
    let report = state.report(run.id).cloned().unwrap_or_default();
    let text: String = report.message.chars().take(TEXT_CHARS_MAX).collect();
    let exit_code = report.exit_code;
    match &run.state {
        RunState::Due { retry: Some(retry), .. } => {
            let reason = encode::reason(retry.cause).into();
            vec![pb::Fact { reason, text, exit_code, attempt: run.attempt.0, ..fact(Kind::AttemptEnded) }]
        }
        RunState::Due { retry: None, .. } | RunState::Running(_) => Vec::new(),
        RunState::Ended { ending: Ending::Merged { into, reason }, at: ended_at, .. } => {
            let into = state.run(*into).map_or_else(String::new, |into| names::run_name(&schedule.key, into));
            let reason = encode::reason(*reason).into();
            vec![pb::Fact { run: into, reason, count: 1, ..at(Kind::Merged, *ended_at) }]
        }
        RunState::Ended { at: ended_at, lease, .. } => {
            let ended = pb::Fact {
                state: encode::run_state(&run.state).into(),
                reason: run.state.reason().map_or(pb::run::Reason::Unspecified, encode::reason).into(),
                text,
                exit_code,
                duration: lease.as_ref().map(|lease| encode::duration(ended_at.since(lease.begun_at))),
                ..at(Kind::Ended, *ended_at)
            };
            let resolved = run.resolution.as_deref().map(|verdict| pb::Fact {
                actor: verdict.actor.to_string(),
                text: verdict.reason.to_string(),
                state: encode::run_state(&run.state).into(),
                ..at(Kind::Resolved, verdict.at)
            });
            match resolved {
                Some(resolved) => vec![resolved],
                None => vec![ended],
            }
        }
    }
}

fn to_come(schedule: &Schedule, run: &Run, now: UnixMillis) -> Vec<pb::Fact> {
    let policies = &schedule.definition_of(run.generation).policies;
    match &run.state {
        RunState::Due { .. } => {
            let may_begin = Some(run.not_before()).filter(|begin| *begin > now);
            let deadline = policies.start_deadline.filter(|_| run.attempt.0 == 0);
            let deadline = deadline.map(|deadline| run.scheduled_at.plus(deadline));
            let may_begin = may_begin.map(|begin| at(Kind::MayBegin, begin));
            may_begin.into_iter().chain(deadline.map(|deadline| at(Kind::StartDeadline, deadline))).collect()
        }
        RunState::Running(lease) => {
            vec![at(Kind::AttemptDeadline, lease.begun_at.plus(policies.attempt_timeout))]
        }
        RunState::Ended { ending: Ending::Unknown(_), .. } => vec![fact(Kind::NeedsVerdict)],
        RunState::Ended { .. } => Vec::new(),
    }
}
