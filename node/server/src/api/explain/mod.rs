//! `ExplainRun`: why a run is where it is, or why there is none.

mod facts;

use belfry_core::definition::Definition;
use belfry_core::run::{Ending, RunState, Series};
use belfry_core::{Run, RunId, ScheduleId, ScheduleKey, State, UnixMillis, ledger};
use belfry_proto::v1 as pb;
use belfry_timing::{TimeZone, format_local, parse_time};
use pb::fact::Kind;
use pb::run_explanation::Finding;

use self::facts::{at, fact};
use super::encode::{self, Output, RunView};
use super::errors::ApiError;
use super::names::{self, RunKey};
use super::violations::Violations;
use super::{Api, Freshness, runs};
use crate::timings::{CompiledTiming, Timings};

/// Merges followed from a row to the run that stands for it: more than a schedule keeps rows.
const MERGES_MAX: u32 = 100_000;

/// What is asked about.
enum Subject {
    Run(ScheduleKey, RunKey),
    Schedule(ScheduleKey),
}

/// A row and what stands for it.
struct Found {
    run: RunView,
    stands_for: Option<RunView>,
    facts: Vec<pb::Fact>,
}

/// What is read of a schedule under one lock.
struct Reading {
    key: ScheduleKey,
    definition: std::sync::Arc<Definition>,
    compiled: Option<CompiledTiming>,
    time: UnixMillis,
    created_at: UnixMillis,
    deleted_at: Option<UnixMillis>,
    watermark: UnixMillis,
    next_fire_at: Option<UnixMillis>,
    ledger_start: Option<UnixMillis>,
    /// The rows of the timing before and after the instant.
    before: Option<UnixMillis>,
    after: Option<UnixMillis>,
    pause: Option<pb::Fact>,
    found: Option<Found>,
}

impl Api {
    pub(super) async fn explain(
        &self,
        request: pb::ExplainRunRequest,
        freshness: Freshness,
    ) -> Result<pb::RunExplanation, ApiError> {
        let mut found = Violations::default();
        let subject = found.take("name", parse(&request.name, self.name_max()));
        found.limit("at", request.at.len(), AT_BYTES_MAX, "bytes");
        if matches!(subject, Some(Subject::Run(..))) && !request.at.is_empty() {
            found.add("at", "belongs to a schedule: the name of a run says when it is");
        }
        let subject = found.or(subject)?;
        self.barrier(freshness).await?;
        let now = self.0.clock.now();
        let reading = match subject {
            Subject::Run(key, run) => {
                let read = |state: &State| {
                    let run = runs::find(state, &key, run)?;
                    read(state, &self.0.timings, run.schedule, run.nominal_at, Some(run), now)
                };
                self.0.replica.read(read).ok_or(ApiError::RunNotFound { name: request.name })?
            }
            Subject::Schedule(key) => self.read_at(&key, &request, now)?,
        };
        Ok(self.explained(reading, now).await)
    }

    /// Reads an instant of a schedule: as its zone's clocks show it, or as written.
    fn read_at(
        &self,
        key: &ScheduleKey,
        request: &pb::ExplainRunRequest,
        now: UnixMillis,
    ) -> Result<Reading, ApiError> {
        let missing = || ApiError::ScheduleNotFound { name: request.name.clone() };
        let known = self.0.replica.read(|state| {
            let schedule = state.schedule_named(key).or_else(|| state.deleted_named(key).next())?;
            Some((schedule.id, schedule.definition.timing.time_zone.clone()))
        });
        let (id, zone) = known.ok_or_else(missing)?;
        let time = match request.at.as_str() {
            "" => None,
            text => {
                let mut found = Violations::default();
                let time = found.take("at", read_time(text, &zone, now));
                Some(found.or(time)?)
            }
        };
        let reading = self.0.replica.read(|state| {
            let Some(time) = time else {
                let end = (UnixMillis(i64::MAX), Series::LAST);
                let by_timing = state.rows_before(id, end).find(|run| run.series() == Series::Timing);
                // One that has only been started by hand so far.
                let newest = by_timing.or_else(|| state.rows_before(id, end).next());
                let time = newest.map_or(now, |run| run.nominal_at);
                return read(state, &self.0.timings, id, time, newest, now);
            };
            // A name may have been given again: the row may be that of the one before.
            let of_name = state.schedule_named(key).into_iter().chain(state.deleted_named(key));
            let row = of_name.map(|schedule| schedule.id).find_map(|id| row_at(state, id, time));
            read(state, &self.0.timings, row.map_or(id, |run| run.schedule), time, row, now)
        });
        reading.ok_or_else(missing)
    }

    async fn explained(&self, reading: Reading, now: UnixMillis) -> pb::RunExplanation {
        let timing = &reading.definition.timing;
        // A timing that this build cannot read has no other instants to show.
        let next_after = |at: UnixMillis| reading.compiled.as_ref()?.next(at.0).map(UnixMillis);
        let Reading { time, next_fire_at, .. } = reading;
        let is_instant = next_after(UnixMillis(time.0 - 1)) == Some(time) || next_fire_at == Some(time);
        let has_row = reading.found.is_some();
        let finding = finding(&reading, is_instant, now);
        let mut explanation = pb::RunExplanation {
            finding: finding.into(),
            schedule: names::schedule_name(&reading.key),
            time_zone: if timing.time_zone.is_empty() { "UTC".to_owned() } else { timing.time_zone.clone() },
            time: Some(encode::timestamp(time)),
            ..Default::default()
        };
        match reading.found {
            Some(found) => {
                let waits = self.waits_for(&found).await;
                let extended = self.extended(&found.run.run);
                explanation.facts = facts::with_waiting(found.facts, waits);
                let deadline = explanation.facts.iter_mut().find(|fact| fact.kind() == Kind::AttemptDeadline);
                if let (Some(until), Some(deadline)) = (extended, deadline) {
                    deadline.time = Some(encode::timestamp(until));
                }
                explanation.run = Some(encode::run(found.run, Output::LeftOut));
                explanation.stands_for = found.stands_for.map(|run| encode::run(run, Output::LeftOut));
            }
            None => {
                explanation.facts.push(at(Kind::Created, reading.created_at));
                explanation.facts.extend(reading.ledger_start.map(|start| at(Kind::LedgerStarts, start)));
                explanation.facts.extend(reading.pause);
            }
        }
        explanation.facts.extend(reading.deleted_at.map(|deleted| at(Kind::Deleted, deleted)));
        if reading.deleted_at.is_none() {
            explanation.facts.extend(next_fire_at.map(|next| at(Kind::NextInstant, next)));
        }
        let before = reading.before.or_else(|| next_fire_at.filter(|next| *next < time));
        let after = reading.after.or_else(|| {
            let next = next_after(time.max(reading.watermark));
            next.filter(|next| *next > time && reading.deleted_at.is_none())
        });
        if !has_row {
            explanation.previous_time = before.map(encode::timestamp);
            explanation.next_time = after.map(encode::timestamp);
        }
        explanation
    }

    /// The deadline of an attempt whose code asked for more time: the node that leads knows.
    fn extended(&self, run: &Run) -> Option<UnixMillis> {
        match &run.state {
            RunState::Running(lease) => self.0.leader.extended(run.id, lease.token),
            RunState::Due { .. } | RunState::Ended { .. } => None,
        }
    }

    /// What a run that may begin waits for: the dispatcher knows, on the node that leads.
    async fn waits_for(&self, found: &Found) -> Option<pb::Fact> {
        let run = &found.stands_for.as_ref().unwrap_or(&found.run).run;
        if encode::run_state(&run.state) != pb::run::State::Due {
            return None;
        }
        let text = self.0.leader.why_waiting(run.id).await?;
        let kind = if text.starts_with("is offered") { Kind::Offered } else { Kind::WaitsFor };
        Some(pb::Fact { text, ..fact(kind) })
    }
}

/// An instant as text: RFC 3339 with nine decimals and an offset is the longest.
const AT_BYTES_MAX: usize = 64;

fn parse(name: &str, max: usize) -> Result<Subject, names::NameError> {
    match name.split('/').count() {
        6.. => names::parse_run(name, max).map(|(key, run)| Subject::Run(key, run)),
        _ => names::parse_schedule(name, max).map(Subject::Schedule),
    }
}

/// Reads an instant by the clocks of a zone; a time of day is the last one up to now.
fn read_time(text: &str, zone: &str, now: UnixMillis) -> Result<UnixMillis, String> {
    let zone = match zone {
        "" => TimeZone::utc(),
        zone => TimeZone::parse(zone).map_err(|error| error.to_string())?,
    };
    let is_time_of_day = text.len() <= "03:00:00".len() && text.contains(':') && !text.contains(['-', 'T']);
    if !is_time_of_day {
        return parse_time(text, &zone).map(UnixMillis).map_err(|error| error.to_string());
    }
    let on_day_of = |at: UnixMillis| {
        let day: String = format_local(at.0, &zone).chars().take("2026-11-23".len()).collect();
        parse_time(&format!("{day}T{text}"), &zone).map(UnixMillis).map_err(|error| error.to_string())
    };
    let today = on_day_of(now)?;
    if today <= now { Ok(today) } else { on_day_of(now.minus(std::time::Duration::from_secs(24 * 3600))) }
}

/// The row of an instant. Where the timing has none a run by hand counts, and then that of the latest backfill.
fn row_at(state: &State, id: ScheduleId, time: UnixMillis) -> Option<&Run> {
    let of_backfill =
        || state.rows_before(id, (time, Series::LAST)).next().filter(|run| run.nominal_at == time);
    state
        .run_at(id, time, Series::Timing)
        .or_else(|| state.run_at(id, time, Series::Manual))
        .or_else(of_backfill)
}

fn read(
    state: &State,
    timings: &Timings,
    id: ScheduleId,
    time: UnixMillis,
    run: Option<&Run>,
    now: UnixMillis,
) -> Option<Reading> {
    let schedule = state.schedule(id)?;
    let of_timing = |run: &&Run| run.series() == Series::Timing;
    let before = state.rows_before(id, (time, Series::Timing)).take(NEAR_MAX).find(of_timing);
    let after = state.rows_from(id, UnixMillis(time.0.saturating_add(1))).take(NEAR_MAX).find(of_timing);
    let found = match run {
        Some(run) => Some(found(state, run, now)?),
        None => None,
    };
    Some(Reading {
        key: schedule.key.clone(),
        definition: schedule.definition.clone(),
        compiled: encode::compiled(state, timings, schedule),
        time,
        created_at: schedule.created_at,
        deleted_at: schedule.remains().deleted_at,
        watermark: schedule.watermark,
        next_fire_at: schedule.next_fire_at,
        ledger_start: ledger::starts_at(state, id),
        before: before.map(|run| run.nominal_at),
        after: after.map(|run| run.nominal_at),
        pause: schedule.pause.as_deref().map(facts::paused),
        found,
    })
}

/// Rows by hand and of backfills passed over on the way to the nearest one of the timing.
const NEAR_MAX: usize = 4096;

fn found(state: &State, run: &Run, now: UnixMillis) -> Option<Found> {
    let (standing, merges) = standing(state, run);
    let schedule = state.schedule(run.schedule)?;
    let mut facts = facts::of(state, schedule, run, now);
    let stands_for = match standing {
        Some(id) if id != run.id => {
            let into = state.run(id)?;
            let name = names::run_name(&schedule.key, into);
            let merged = facts.iter_mut().find(|fact| fact.kind() == Kind::Merged);
            if let Some(merged) = merged {
                merged.run.clone_from(&name);
                merged.count = merges;
            }
            let of_into = facts::of(state, schedule, into, now).into_iter();
            facts.extend(of_into.map(|fact| match fact.run.as_str() {
                "" => pb::Fact { run: name.clone(), ..fact },
                _other => fact,
            }));
            Some(RunView::of(state, into)?)
        }
        Some(_) | None => None,
    };
    Some(Found { run: RunView::of(state, run)?, stands_for, facts })
}

/// The run that stands for a row in the end, and how many merges lie between them; none if the ledger has dropped it.
fn standing(state: &State, run: &Run) -> (Option<RunId>, u32) {
    let (mut current, mut merges) = (run, 0);
    while let Some(Ending::Merged { into, .. }) = current.state.ending() {
        merges += 1;
        match state.run(into) {
            Some(next) if merges < MERGES_MAX => current = next,
            Some(_) | None => return (None, merges),
        }
    }
    (Some(current.id), merges)
}

fn finding(reading: &Reading, is_instant: bool, now: UnixMillis) -> Finding {
    let time = reading.time;
    if reading.found.is_some() {
        return Finding::Row;
    }
    if time <= reading.created_at {
        return Finding::BeforeSchedule;
    }
    if reading.deleted_at.is_some_and(|deleted| time > deleted) {
        return Finding::AfterSchedule;
    }
    if reading.ledger_start.is_some_and(|start| time < start) {
        return Finding::Dropped;
    }
    match (is_instant && time > reading.watermark, time > now) {
        (true, true) => Finding::NotYet,
        (true, false) => Finding::NoRow,
        // Up to the watermark every instant that there was has its row; an edit may have made this one an instant since.
        (false, _) => Finding::NotAnInstant,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_by_the_clocks_of_the_schedule() {
        // 2026-11-23T02:30:00Z, half past three in Berlin.
        let now = UnixMillis(1_795_401_000_000);
        let read =
            |text: &str| read_time(text, "Europe/Berlin", now).map(|at| belfry_timing::format_time(at.0));
        for (text, expected) in [
            ("2026-11-23T02:00:00Z", "2026-11-23T02:00:00Z"),
            ("2026-11-23T03:00", "2026-11-23T02:00:00Z"),
            ("2026-11-23 03:00", "2026-11-23T02:00:00Z"),
            ("03:00", "2026-11-23T02:00:00Z"),
            ("03:30:00", "2026-11-23T02:30:00Z"),
            ("04:00", "2026-11-22T03:00:00Z"),
        ] {
            assert_eq!(read(text).as_deref(), Ok(expected), "{text}");
        }
        assert!(read("3 o'clock").is_err() && read("25:00").is_err());
        assert_eq!(read_time("02:00", "", now), Ok(UnixMillis(1_795_399_200_000)));
    }
}
