//! Records as canonical bytes, and the digests of those.

use std::collections::BTreeMap;
use std::time::Duration;

use super::definitions::ByDefinition;
use super::records::{Record, Subject};
use super::zones::ZoneChange;
use crate::backfill::{Backfill, BackfillState};
use crate::definition::{Definition, MisfirePolicy, OverlapPolicy, Policies, Retry, Rule};
use crate::digest::{Canonical, Digest};
use crate::ids::{RunId, UnixMillis};
use crate::object::{Object, ObjectKind};
use crate::run::{Ending, Lease, Run, RunState, Trigger, Verdict};
use crate::schedule::Schedule;

/// The digest of some records: the sum of theirs.
pub fn digest_of(records: &[Record]) -> Digest {
    Digester::default().digest_of(records)
}

/// Computes digests, of one record after the other: what many of them share is written out once.
#[derive(Default)]
pub struct Digester {
    definitions: WrittenDefinitions,
    /// The record before, whose memory the next one takes.
    written: Canonical,
}

impl Digester {
    /// The sum of the digests of some records.
    pub fn digest_of(&mut self, records: &[Record]) -> Digest {
        self.digests(records).fold(Digest::default(), |sum, (digest, _)| sum.plus(digest))
    }

    /// The digest of each record, and how many bytes were written for it.
    pub(super) fn digests(&mut self, records: &[Record]) -> impl Iterator<Item = (Digest, usize)> {
        records.iter().map(|record| {
            let empty = std::mem::take(&mut self.written).anew(record.block().kind as u8);
            self.written = record.write(empty, &mut self.definitions);
            (self.written.digest(), self.written.as_bytes().len())
        })
    }
}

impl Record {
    /// The digest of this record.
    pub fn digest(&self) -> Digest {
        self.write(Canonical::new(self.block().kind as u8), &mut WrittenDefinitions::default()).digest()
    }

    fn write(&self, out: Canonical, definitions: &mut WrittenDefinitions) -> Canonical {
        match self {
            Record::Totals(totals) => out
                .number(totals.feature_level.into())
                .number(totals.next_schedule)
                .number(totals.next_run)
                .number(totals.next_token)
                .number(totals.next_answer)
                .unless_default(1, totals.next_object, Canonical::number)
                .unless_default(2, totals.zones.version.as_str(), Canonical::text)
                .unless_default(3, totals.zones.change.as_ref(), |out, change| {
                    out.option(change, write_zone_change)
                })
                .unless_default(4, totals.restored_until, |out, until| {
                    out.option(until, |out, until| out.signed(until.0))
                }),
            Record::Schedule(schedule) => write_schedule(out, schedule, definitions),
            Record::Run(run) => write_run(out, run),
            Record::Report(id, report) => out
                .number(id.0)
                .option(report.exit_code, |out, code| out.signed(code.into()))
                .text(&report.message)
                .bytes(&report.output_tail),
            Record::Answer(sequence, answer) => {
                let out = out.number(*sequence).drawn(&answer.id).number(answer.fingerprint);
                let out = out.signed(answer.answered_at.0);
                match answer.subject {
                    Subject::Schedule(schedule) => out.number(1).number(schedule.0),
                    Subject::Run(run) => out.number(2).number(run.0),
                    Subject::Object(object) => out.number(3).number(object.0),
                }
            }
            Record::Object(object) => write_object(out, object),
        }
    }
}

/// Definitions that schedules share, as they were written.
type WrittenDefinitions = ByDefinition<Vec<u8>>;

fn write_schedule(out: Canonical, schedule: &Schedule, definitions: &mut WrittenDefinitions) -> Canonical {
    let counters = &schedule.counters;
    let last = |out: Canonical, (run, at): (RunId, UnixMillis)| out.number(run.0).signed(at.0);
    let remains = schedule.remains();
    let out = out
        .number(schedule.id.0)
        .drawn(&schedule.uid)
        .text(&schedule.key.namespace)
        .text(&schedule.key.name)
        .number(schedule.generation.0)
        .number(schedule.revision.0);
    let definition = definitions.get_or_make(&schedule.definition, || {
        write_definition(Canonical::default(), &schedule.definition).into_bytes()
    });
    let out = out.written(definition);
    out.each(remains.retired.iter(), |out, (generation, definition)| {
        write_definition(out.number(generation.0), definition)
    })
    .option(schedule.next_fire_at, |out, at| out.signed(at.0))
    .signed(schedule.watermark.0)
    .number(schedule.catching_up.into())
    .option(schedule.pause.as_ref(), |out, pause| {
        out.text(&pause.reason).text(&pause.actor).signed(pause.paused_at.0)
    })
    .signed(schedule.created_at.0)
    .signed(schedule.updated_at.0)
    .number(counters.succeeded.into())
    .number(counters.unsuccessful.into())
    .number(counters.not_started.into())
    .option(counters.last_success.get(), last)
    .option(counters.last_failure.get(), last)
    .option(remains.deleted_at, |out, at| out.signed(at.0))
    // Feature level 2: each with a tag, and only where it says something.
    .unless_default(1, schedule.pause.as_ref().and_then(|pause| pause.until), |out, until| {
        out.option(until, |out, until| out.signed(until.0))
    })
    .unless_default(2, schedule.pause.as_ref().map_or(0, |pause| pause.skipped), Canonical::number)
    .unless_default(3, counters.consecutive_failures, |out, count| out.number(count.into()))
    .unless_default(4, counters.begun, Canonical::number)
    .unless_default(5, schedule.timed_with, |out, revision| out.number(revision.0))
    .unless_default(6, remains.pruned_until, |out, at| out.option(at, |out, at| out.signed(at.0)))
}

fn write_zone_change(out: Canonical, change: &ZoneChange) -> Canonical {
    let out = out.text(&change.from).text(&change.to).signed(change.at.0).number(change.moved);
    out.each(change.named.iter(), |out, step| {
        out.text(&step.key.namespace)
            .text(&step.key.name)
            .signed(step.former.0)
            .option(step.next, |out, next| out.signed(next.0))
    })
}

fn write_object(out: Canonical, object: &Object) -> Canonical {
    let out = out.number(object.id.0).number(object.revision.0).signed(object.updated_at.0);
    match &object.kind {
        ObjectKind::Calendar(calendar) => out
            .number(1)
            .text(&calendar.key.namespace)
            .text(&calendar.key.name)
            .option(calendar.time_zone.as_deref(), Canonical::text)
            .each(calendar.days.iter(), |out, day| out.text(day))
            .each(calendar.periods.iter(), |out, (from, until)| out.text(from).text(until))
            .text(&calendar.description),
        ObjectKind::Pool(pool) => out
            .number(2)
            .text(&pool.name)
            .option(pool.slots, |out, slots| out.number(slots.into()))
            .option(pool.rate, |out, rate| write_millis(out.number(rate.count.into()), rate.per))
            .option(pool.paused.as_ref(), write_verdict)
            .text(&pool.description),
        ObjectKind::Namespace(namespace) => out
            .number(3)
            .text(&namespace.name)
            .option(namespace.running_max, |out, max| out.number(max.into()))
            .option(namespace.schedules_max, Canonical::number)
            .number(namespace.weight.into())
            .option(namespace.spread, write_millis)
            .text(&namespace.description),
        ObjectKind::Backfill(backfill) => write_backfill(out.number(4), backfill),
    }
}

fn write_backfill(out: Canonical, backfill: &Backfill) -> Canonical {
    let counts = &backfill.counts;
    let out = out
        .number(backfill.schedule.0)
        .signed(backfill.from_at.0)
        .signed(backfill.until_at.0)
        .number(backfill.mode as u64);
    let out = write_verdict(out, &backfill.created).number(backfill.expected).signed(backfill.cursor.0);
    let out = match &backfill.state {
        BackfillState::Running => out.number(1),
        BackfillState::Paused(verdict) => write_verdict(out.number(2), verdict),
        BackfillState::Cancelled(verdict) => write_verdict(out.number(3), verdict),
        BackfillState::Completed { at } => out.number(4).signed(at.0),
    };
    out.number(counts.created)
        .number(counts.present)
        .number(counts.succeeded)
        .number(counts.unsuccessful)
        .number(counts.not_started)
}

/// The digest of a definition by itself: which ones say the same.
pub(super) fn definition_digest(definition: &Definition) -> Digest {
    write_definition(Canonical::new(0), definition).digest()
}

fn write_definition(out: Canonical, definition: &Definition) -> Canonical {
    let timing = &definition.timing;
    let out = out
        .each(timing.include.iter(), write_rule)
        .text(&timing.time_zone)
        .text(&definition.target.handler)
        .bytes(&definition.target.payload)
        .text(&definition.pool);
    let texts = |out: Canonical, map: &BTreeMap<String, String>| {
        out.each(map.iter(), |out, (key, value)| out.text(key).text(value))
    };
    let out = write_policies(out, &definition.policies);
    let out = texts(out, &definition.labels).text(&definition.description);
    // Feature level 2.
    let millis = |out: Canonical, time: Option<Duration>| out.option(time, write_millis);
    let instant = |out: Canonical, at: Option<UnixMillis>| out.option(at, |out, at| out.signed(at.0));
    let out = write_new_policies(out, &definition.policies)
        .unless_default(1, timing.exclude.as_slice(), |out, rules| out.each(rules.iter(), write_rule))
        .unless_default(2, timing.calendars.as_slice(), |out, calendars| {
            out.each(calendars.iter(), |out, used| out.text(&used.calendar).number(used.mode as u64))
        })
        .unless_default(3, timing.start_at, instant)
        .unless_default(4, timing.end_at, instant)
        .unless_default(5, timing.spread, millis)
        .unless_default(6, definition.priority, |out, priority| out.number(priority.get().into()))
        .unless_default(7, definition.max_runs, |out, max| out.option(max, Canonical::number))
        .unless_default(8, definition.completion, |out, completion| out.number(completion as u64))
        .unless_default(9, definition.history.keep_for, millis)
        .unless_default(10, definition.history.keep_count, |out, count| {
            out.option(count, |out, count| out.number(count.into()))
        });
    let liveness = &definition.liveness;
    let out = out
        .unless_default(11, liveness.start_grace, millis)
        .unless_default(12, liveness.success_within, millis)
        .unless_default(13, liveness.disabled, |out, disabled| out.number(disabled.into()));
    if definition.executor_labels.is_empty() {
        out
    } else {
        texts(out.number(14), &definition.executor_labels)
    }
}

fn write_millis(out: Canonical, time: Duration) -> Canonical {
    out.number(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
}

fn write_rule(out: Canonical, rule: &Rule) -> Canonical {
    match rule {
        Rule::Cron { expression, resolved, allow_never } => {
            out.number(1).text(expression).text(resolved).number((*allow_never).into())
        }
        Rule::Interval { every, phase } => write_millis(write_millis(out.number(2), *every), *phase),
        Rule::At(at) => out.number(3).signed(at.0),
        Rule::AtLocal(at) => out.number(4).text(at),
        Rule::Calendar(rule) => out
            .number(5)
            .each(rule.years.iter(), |out, year| out.signed((*year).into()))
            .each(rule.months.iter(), |out, month| out.number((*month).into()))
            .each(rule.month_days.iter(), |out, day| out.signed((*day).into()))
            .each(rule.weekdays.iter(), |out, (day, nth)| {
                out.number((*day).into()).option(*nth, |out, nth| out.signed(nth.into()))
            })
            .each(rule.times.iter(), |out, time| out.number((*time).into())),
        Rule::FixedDelay(delay) => write_millis(out.number(6), *delay),
    }
}

fn write_policies(out: Canonical, policies: &Policies) -> Canonical {
    let overlap = match policies.overlap {
        OverlapPolicy::HoldOne => 1,
        OverlapPolicy::Skip => 2,
        OverlapPolicy::BufferAll { .. } => 3,
        OverlapPolicy::Allow { .. } => 4,
        OverlapPolicy::CancelRunning => 5,
    };
    let misfire = match policies.misfire {
        MisfirePolicy::Coalesce => 1,
        MisfirePolicy::Skip { .. } => 2,
        MisfirePolicy::FireAll { .. } => 3,
    };
    let out = out
        .number(overlap)
        .number(misfire)
        .number(policies.unknown_outcome as u64)
        .option(policies.start_deadline, write_millis);
    write_millis(write_millis(out, policies.attempt_timeout), policies.lease_duration)
}

/// What feature level 2 added.
fn write_new_policies(out: Canonical, policies: &Policies) -> Canonical {
    let out = match policies.overlap {
        OverlapPolicy::HoldOne | OverlapPolicy::Skip | OverlapPolicy::CancelRunning => out,
        OverlapPolicy::BufferAll { waiting_max: max } | OverlapPolicy::Allow { running_max: max } => {
            out.number(20).number(max.into())
        }
    };
    let out = match policies.misfire {
        MisfirePolicy::Coalesce => out,
        MisfirePolicy::Skip { window } => write_millis(out.number(21), window),
        MisfirePolicy::FireAll { window, count_max } => {
            write_millis(out.number(22), window).number(count_max.into())
        }
    };
    let retry = &policies.retry;
    let out = if *retry == Retry::default() {
        out
    } else {
        let out = write_millis(out.number(23).number(retry.max_attempts.into()), retry.initial_backoff);
        write_millis(out, retry.max_backoff)
            .each(retry.non_retryable_codes.iter(), |out, code| out.signed((*code).into()))
    };
    let out = out.unless_default(24, policies.pause_after_failures, |out, count| {
        out.option(count, |out, count| out.number(count.into()))
    });
    if policies.cancel_grace == Policies::default().cancel_grace {
        out
    } else {
        write_millis(out.number(25), policies.cancel_grace)
    }
}

fn write_run(out: Canonical, run: &Run) -> Canonical {
    let trigger = match run.trigger {
        Trigger::Timer => 1,
        Trigger::CatchUp => 2,
        Trigger::Manual => 3,
        Trigger::Backfill(_) => 4,
        Trigger::Resume => 5,
    };
    let out = out
        .number(run.id.0)
        .number(run.schedule.0)
        .number(run.generation.0)
        .signed(run.nominal_at.0)
        .number(trigger)
        .text(&run.actor)
        .signed(run.created_at.0)
        .signed(run.window_start_at.0)
        .number(run.merged_count.into())
        .number(run.attempt.0.into())
        .text(run.state.name())
        .number(run.state.reason().map_or(0, |reason| reason as u64))
        .option(run.state.ended_at(), |out, at| out.signed(at.0))
        .option(run.state.lease(), write_lease);
    let out = match &run.state {
        RunState::Ended { ending: Ending::Merged { into, .. }, .. } => out.number(into.0),
        RunState::Due { .. } | RunState::Running(_) | RunState::Ended { .. } => out,
    };
    // Feature level 2.
    let spread_ms = run.scheduled_at.0 - run.nominal_at.0;
    let out =
        out.unless_default(1, spread_ms, Canonical::signed)
            .unless_default(2, run.beside, |out, beside| out.number(beside.into()));
    let out = match &run.state {
        RunState::Due { retry: Some(retry), .. } => {
            out.number(3).signed(retry.not_before.0).number(retry.cause as u64)
        }
        RunState::Due { retry: None, .. } | RunState::Running(_) | RunState::Ended { .. } => out,
    };
    let out = match &run.cancel {
        Some(cancel) => write_verdict(out.number(4).number(cancel.cause as u64), &cancel.verdict),
        None => out,
    };
    let out = match &run.resolution {
        Some(resolution) => write_verdict(out.number(5), resolution),
        None => out,
    };
    match run.trigger {
        Trigger::Backfill(id) => out.number(6).number(id.0),
        Trigger::Timer | Trigger::CatchUp | Trigger::Manual | Trigger::Resume => out,
    }
}

fn write_verdict(out: Canonical, verdict: &Verdict) -> Canonical {
    out.text(&verdict.actor).text(&verdict.reason).signed(verdict.at.0)
}

fn write_lease(out: Canonical, lease: &Lease) -> Canonical {
    out.text(&lease.executor)
        .number(lease.token.0)
        .signed(lease.begun_at.0)
        .number(lease.late.map_or(0, |reason| reason as u64))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::definition::{Target, Timing};
    use crate::ids::{Generation, ScheduleId, ScheduleKey};

    #[test]
    fn what_schedules_share_is_in_the_digest_of_each() {
        let definition = |handler: &str| {
            let timing = Timing::of(vec![Rule::At(UnixMillis(1))], "UTC");
            Arc::new(Definition::new(timing, Target { handler: handler.into(), payload: Default::default() }))
        };
        let (one, other) = (definition("one"), definition("other"));
        let schedule = |id: u64, definition: &Arc<Definition>| {
            let key = ScheduleKey::new("team", id.to_string());
            Schedule::new(ScheduleId(id), "u".into(), key, definition.clone(), UnixMillis(0))
        };
        let mut edited = schedule(5, &one);
        edited.change_remains(|remains| remains.retired.extend([(Generation(1), other.clone())]));
        let mut schedules =
            [&one, &one, &other, &one].map(|it| schedule(it.target.handler.len() as u64, it)).to_vec();
        schedules.extend([edited, schedule(6, &one), schedule(7, &other)]);
        let records: Vec<_> = schedules.into_iter().map(|it| Record::Schedule(Box::new(it))).collect();
        let one_by_one = records.iter().fold(Digest::default(), |sum, record| sum.plus(record.digest()));
        assert_eq!(digest_of(&records), one_by_one);
        assert_ne!(digest_of(&records[..2]), digest_of(&records[2..4]));
    }
}
