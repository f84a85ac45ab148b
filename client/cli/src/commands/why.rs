//! `belfry why`: what happened to a run, or why there is none, in sentences; and what to do next.

use belfry_sdk::pb;
use clap::Args;
use pb::fact::Kind;
use pb::run_explanation::Finding;
use serde::Serialize;

use super::{Context, converse};
use crate::exit::Failure;
use crate::output::view::{Instant, RunView, enum_name, reason_in_words};
use crate::output::{Cell, Printer, Table, Tone};
use crate::text;

#[derive(Debug, Args)]
pub(crate) struct WhyArgs {
    /// SCHEDULE@TIME, a run as SCHEDULE/RUN or its resource name, or SCHEDULE for its newest run. TIME is
    /// `2026-11-23T02:00:00Z`; or, by the clocks of the schedule's zone, `2026-11-23T03:00`, or `03:00` for the last one.
    #[arg(value_name = "SCHEDULE@TIME|RUN")]
    subject: String,
}

/// Everything that is known, as a document.
#[derive(Debug, Serialize)]
struct Explanation {
    finding: String,
    schedule: String,
    time_zone: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<Instant>,
    #[serde(skip_serializing_if = "Option::is_none")]
    run: Option<RunView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    stands_for: Option<RunView>,
    facts: Vec<Fact>,
    #[serde(skip_serializing_if = "Option::is_none")]
    previous_time: Option<Instant>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_time: Option<Instant>,
    advice: Vec<String>,
    #[serde(skip)]
    raw_finding: i32,
}

#[derive(Debug, Serialize)]
struct Fact {
    kind: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<Instant>,
    #[serde(skip_serializing_if = "String::is_empty")]
    run: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    actor: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    text: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    executor: String,
    #[serde(skip_serializing_if = "is_zero")]
    fencing_token: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    attempt: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    duration: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_code: Option<i32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<u32>,
    sentence: String,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

pub(crate) fn run(context: &Context, args: &WhyArgs) -> Result<(), Failure> {
    converse(async {
        let request = request(context, &args.subject)?;
        let answer = context.client()?.explain_run(request).await?;
        let now = text::now_millis();
        let explanation = Explanation::of(answer, now);
        let name = explanation.run.as_ref().map_or(&explanation.schedule, |run| &run.name).clone();
        context.printer.one(&explanation, &name, |printer| explanation.screen(printer, now))
    })
}

fn request(context: &Context, subject: &str) -> Result<pb::ExplainRunRequest, Failure> {
    if let Some((schedule, at)) = subject.split_once('@') {
        if at.is_empty() {
            return Err(Failure::usage("write a time behind the @, or no @ for the newest run"));
        }
        return Ok(pb::ExplainRunRequest { name: context.schedule(schedule)?, at: at.to_owned() });
    }
    let is_schedule = !subject.contains('/') || subject.split('/').count() == 4;
    let name = if is_schedule { context.schedule(subject)? } else { context.run(subject)? };
    Ok(pb::ExplainRunRequest { name, at: String::new() })
}

impl Explanation {
    fn of(answer: pb::RunExplanation, now: i64) -> Self {
        let instant = |time: &Option<prost_types::Timestamp>| Instant::of(time.as_ref());
        let advice = advice(&answer, now);
        Self {
            finding: enum_name(answer.finding, Finding::as_str_name),
            raw_finding: answer.finding,
            time: instant(&answer.time),
            previous_time: instant(&answer.previous_time),
            next_time: instant(&answer.next_time),
            run: answer.run.map(RunView::from),
            stands_for: answer.stands_for.map(RunView::from),
            facts: answer.facts.into_iter().map(|fact| Fact::of(fact, now)).collect(),
            schedule: answer.schedule,
            time_zone: answer.time_zone,
            advice,
        }
    }

    fn screen(&self, printer: &Printer, now: i64) -> String {
        let mut screen = format!("{}\n\n", self.headline(now));
        let rows: Vec<Vec<Cell>> = self.facts.iter().map(|fact| fact.cells(&self.time_zone)).collect();
        screen.push_str(&printer.lay_out(&mut Table::plain(), &rows));
        screen.push_str("\nWhat to do\n");
        screen.extend(self.advice.iter().map(|advice| format!("  - {advice}\n")));
        screen
    }

    /// The answer in one sentence.
    fn headline(&self, now: i64) -> String {
        let schedule = text::short_name(&self.schedule);
        let time = self.time.map_or_else(|| "that time".to_owned(), |time| self.both_clocks(time, now));
        let near =
            |label: &str, at: Option<Instant>| at.map(|at| format!("{label} {}", self.both_clocks(at, now)));
        match Finding::try_from(self.raw_finding) {
            Ok(Finding::Row) => match (&self.run, &self.stands_for) {
                (Some(run), Some(into)) => format!(
                    "{} is {}; {}, which stands for it, is {}.",
                    run.short_name(),
                    run.state,
                    into.short_name(),
                    into.state
                ),
                (Some(run), None) => format!("{} is {}. Its time is {time}.", run.short_name(), run.state),
                (None, _) => format!("{schedule} has a run at {time}."),
            },
            Ok(Finding::NotAnInstant) => {
                let near: Vec<_> =
                    [near("the one before is", self.previous_time), near("the one after is", self.next_time)]
                        .into_iter()
                        .flatten()
                        .collect();
                let near = if near.is_empty() { "it has none near".to_owned() } else { near.join("; ") };
                format!("{time} is no instant of {schedule}: {near}.")
            }
            Ok(Finding::NotYet) => format!("{schedule} is not due yet: {time}."),
            Ok(Finding::NoRow) => format!("{schedule} should have a run at {time} and has none yet."),
            Ok(Finding::BeforeSchedule) => format!("{schedule} did not exist at {time}."),
            Ok(Finding::AfterSchedule) => format!("{schedule} had been deleted by {time}."),
            Ok(Finding::Dropped) => {
                format!("The ledger has dropped what {schedule} did at {time}: nobody can say any more.")
            }
            Ok(Finding::Unspecified) | Err(_) => format!("{schedule} at {time}: {}.", self.finding),
        }
    }

    /// An instant in UTC and by the schedule's clocks.
    fn both_clocks(&self, at: Instant, now: i64) -> String {
        let away = text::relative(at.0, now);
        match text::in_zone(at.0, &self.time_zone).filter(|_| self.time_zone != "UTC") {
            Some(local) => format!("{at} ({local}, {away})"),
            None => format!("{at} ({away})"),
        }
    }
}

impl Fact {
    fn of(fact: pb::Fact, now: i64) -> Self {
        let sentence = sentence(&fact, now);
        Self {
            kind: enum_name(fact.kind, Kind::as_str_name),
            time: Instant::of(fact.time.as_ref()),
            state: (fact.state != 0).then(|| enum_name(fact.state, pb::run::State::as_str_name)),
            reason: (fact.reason != 0).then(|| enum_name(fact.reason, pb::run::Reason::as_str_name)),
            attempt: (fact.attempt > 0).then_some(fact.attempt),
            duration: fact.duration.as_ref().map(text::duration),
            exit_code: fact.exit_code,
            count: (fact.count > 0).then_some(fact.count),
            run: fact.run,
            actor: fact.actor,
            text: fact.text,
            executor: fact.executor,
            fencing_token: fact.fencing_token,
            sentence,
        }
    }

    fn cells(&self, zone: &str) -> Vec<Cell> {
        let time = self.time.map(|time| {
            let local = text::in_zone(time.0, zone).filter(|_| zone != "UTC");
            local.map_or_else(|| time.to_string(), |local| format!("{time}  {local}"))
        });
        vec![Cell::new(time.unwrap_or_default(), Tone::Faint), self.sentence.as_str().into()]
    }
}

/// A fact as a sentence.
fn sentence(fact: &pb::Fact, now: i64) -> String {
    let duration = fact.duration.as_ref().map(text::duration);
    let late = duration.as_deref().unwrap_or("0s");
    let reason = reason_in_words(fact.reason).unwrap_or("for a reason that was not kept");
    let by = |actor: &str| if actor.is_empty() { "somebody".to_owned() } else { actor.to_owned() };
    let says =
        if fact.text.is_empty() { String::new() } else { format!(": {}", text::shortened(&fact.text, 300)) };
    // The handler for commands says it in its message too.
    let says = if fact.exit_code.is_some_and(|code| fact.text == format!("exit code {code}")) {
        String::new()
    } else {
        says
    };
    let exit = fact.exit_code.map(|code| format!(" with exit code {code}")).unwrap_or_default();
    let away = fact.time.as_ref().map(|time| text::relative(text::millis(time), now)).unwrap_or_default();
    let run = text::short_name(&fact.run);
    let about = match fact.kind() {
        Kind::Offered | Kind::WaitsFor | Kind::Merged => String::new(),
        _other if fact.run.is_empty() => String::new(),
        _other => format!("[{run}] "),
    };
    let said = match fact.kind() {
        Kind::Created => "The schedule was created.".to_owned(),
        Kind::Nominal => "Its timing names this instant.".to_owned(),
        Kind::Triggered => format!("{} triggered it by hand.", by(&fact.actor)),
        Kind::Resumed => {
            format!("{} resumed the schedule and wanted one run for the pause.", by(&fact.actor))
        }
        Kind::Backfilled => format!("Backfill {} made the run.", fact.text),
        Kind::Spread => format!("Spread: it is to begin {late} after its nominal time."),
        Kind::Recorded => match duration {
            Some(late) => format!(
                "Its row was made {late} late: nobody led the cluster, or its leader could not write."
            ),
            None => "Its row was made, on time.".to_owned(),
        },
        Kind::StandsFor => format!("It stands for {} older instants too, all after this one.", fact.count),
        Kind::Held => format!("It could not begin at once: {reason}."),
        Kind::Paused => format!("{} paused the schedule{says}.", by(&fact.actor)),
        Kind::Offered | Kind::WaitsFor if run.is_empty() => format!("It {}.", fact.text),
        Kind::Offered | Kind::WaitsFor => format!("It {} ({run}).", fact.text),
        Kind::Begun => format!(
            "{} began attempt {}, {late} after its scheduled time (fencing token {}).",
            fact.executor, fact.attempt, fact.fencing_token
        ),
        Kind::CancelAsked => format!("{} wanted it to end{says}.", by(&fact.actor)),
        Kind::AttemptEnded => format!("Attempt {} ended{exit}{says}; another one follows.", fact.attempt),
        Kind::Ended => {
            let state = fact.state().as_str_name();
            let why = match reason_in_words(fact.reason) {
                Some(reason) if says.is_empty() => format!(": {reason}"),
                _ => says,
            };
            match duration {
                Some(after) => format!("It ended {state}{exit}, {after} after its begin{why}."),
                None => format!("It ended {state}{why}."),
            }
        }
        Kind::Merged if run.is_empty() => {
            format!("It became part of a run that the ledger has dropped: {reason}.")
        }
        Kind::Merged if fact.count > 1 => {
            format!("It became part of newer ones, and in the end of {run}: {reason}.")
        }
        Kind::Merged => format!("It became part of {run}: {reason}."),
        Kind::Resolved => {
            format!("{} said that it is {}{says}.", by(&fact.actor), fact.state().as_str_name())
        }
        Kind::Deleted => "The schedule was deleted.".to_owned(),
        Kind::LedgerStarts => {
            "The ledger knows every instant from here on; older rows were dropped.".to_owned()
        }
        Kind::MayBegin => format!("It may begin then ({away})."),
        Kind::StartDeadline => format!("Its start deadline ({away}): without a begin it becomes EXPIRED."),
        Kind::AttemptDeadline => format!("Its attempt timeout ({away}): then it is killed."),
        Kind::NextInstant => format!("The schedule's next instant ({away})."),
        Kind::NeedsVerdict => {
            "It stays so until its executor comes back, or somebody says what became of it.".to_owned()
        }
        Kind::Unspecified => {
            format!("A fact that this release of belfry does not know (kind {}).", fact.kind)
        }
    };
    about + &said
}

/// What somebody may want to do next; never empty.
fn advice(answer: &pb::RunExplanation, now: i64) -> Vec<String> {
    use pb::run::State;
    let namespace = match text::namespace_of(&answer.schedule) {
        "default" => String::new(),
        namespace => format!(" -N {namespace}"),
    };
    let schedule = text::short_name(&answer.schedule);
    let trigger = format!("`belfry schedule trigger {schedule}{namespace}`");
    let describe = format!("`belfry schedule describe {schedule}{namespace}`");
    let why = |time: &prost_types::Timestamp| {
        format!("`belfry why {schedule}@{}{namespace}`", Instant(text::millis(time)))
    };
    let paused = answer.facts.iter().any(|fact| fact.kind() == Kind::Paused);
    let mut advice = Vec::new();
    if let Some(run) = answer.stands_for.as_ref().or(answer.run.as_ref()) {
        let short = format!("{schedule}/{}", text::short_name(&run.name));
        let get = format!("`belfry run get {short}{namespace}`");
        match run.state() {
            State::Failed | State::TimedOut => advice.push(format!(
                "{get} shows its output; mend the cause, then {trigger} if it cannot wait for the next instant"
            )),
            State::Unknown => advice.push(format!(
                "it may or may not have done its work: look where that leaves traces, and say what you found: `belfry run \
                 resolve {short}{namespace} --did-run` (or --failed, --did-not-run) with --reason; if it is not done, {trigger}"
            )),
            State::Expired | State::Cancelled => advice.push(format!("if it is still wanted: {trigger}")),
            State::Skipped => advice.push(format!("if it was wanted all the same: {trigger}")),
            State::Running => advice.push(format!("nothing: it is running; {get} shows it")),
            State::Due if paused => advice.push(format!("`belfry schedule resume {schedule}{namespace}` lets it begin")),
            State::Due => advice.push(
                "`belfry cluster status` shows the executors and their free slots, `belfry pool list` what the pools let through"
                    .to_owned(),
            ),
            State::Succeeded | State::Merged | State::Unspecified => {}
        }
    } else {
        match answer.finding() {
            Finding::NotAnInstant => {
                advice.extend(
                    answer.previous_time.iter().map(|time| format!("{} explains the one before", why(time))),
                );
                let future = |time: &&prost_types::Timestamp| text::millis(time) > now;
                let after = answer.next_time.iter().filter(|time| !future(time));
                advice.extend(after.map(|time| format!("{} explains the one after", why(time))));
                advice.push(format!("{describe} shows its timing"));
            }
            Finding::NotYet if paused => {
                advice
                    .push(format!("`belfry schedule resume {schedule}{namespace}`, else it becomes SKIPPED"));
            }
            Finding::NoRow => {
                advice.push("`belfry cluster status` shows whether anybody leads and can write".to_owned())
            }
            Finding::Dropped => {
                advice.push(format!("{describe} shows its last success and its last failure"))
            }
            Finding::AfterSchedule => {
                advice.push(format!("`belfry run list {schedule}{namespace}` shows what it did before"))
            }
            Finding::NotYet | Finding::BeforeSchedule | Finding::Row | Finding::Unspecified => {}
        }
    }
    if advice.is_empty() {
        advice.push("nothing".to_owned());
    }
    advice
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Format;

    fn fact(kind: Kind) -> pb::Fact {
        pb::Fact { kind: kind.into(), ..Default::default() }
    }

    fn screen(answer: pb::RunExplanation) -> String {
        Explanation::of(answer, 1_795_400_000_000)
            .screen(&Printer::new(Format::Table, true), 1_795_400_000_000)
    }

    #[test]
    fn a_run_is_told_in_order_with_what_to_do() {
        let run = pb::Run {
            name: "namespaces/ops/schedules/backup/runs/20261123T020000Z".into(),
            state: pb::run::State::Failed.into(),
            ..Default::default()
        };
        let at = |millis| Some(text::timestamp(millis));
        let text = screen(pb::RunExplanation {
            finding: Finding::Row.into(),
            schedule: "namespaces/ops/schedules/backup".into(),
            time_zone: "Europe/Berlin".into(),
            time: at(1_795_399_200_000),
            run: Some(run),
            facts: vec![
                pb::Fact { time: at(1_795_399_200_000), ..fact(Kind::Nominal) },
                pb::Fact { reason: pb::run::Reason::Overlap.into(), ..fact(Kind::Held) },
                pb::Fact {
                    time: at(1_795_399_260_000),
                    executor: "host-1".into(),
                    attempt: 1,
                    fencing_token: 7,
                    duration: Some(prost_types::Duration { seconds: 60, nanos: 0 }),
                    ..fact(Kind::Begun)
                },
                pb::Fact {
                    time: at(1_795_399_290_000),
                    state: pb::run::State::Failed.into(),
                    exit_code: Some(3),
                    text: "no space left".into(),
                    duration: Some(prost_types::Duration { seconds: 30, nanos: 0 }),
                    ..fact(Kind::Ended)
                },
            ],
            ..Default::default()
        });
        let expected = "\
backup/20261123T020000Z is FAILED. Its time is 2026-11-23T02:00:00Z (Mon 2026-11-23 03:00:00 CET, 13m20s ago).

2026-11-23T02:00:00Z  Mon 2026-11-23 03:00:00 CET  Its timing names this instant.
                                                   It could not begin at once: the previous run was still running.
2026-11-23T02:01:00Z  Mon 2026-11-23 03:01:00 CET  host-1 began attempt 1, 1m after its scheduled time (fencing token 7).
2026-11-23T02:01:30Z  Mon 2026-11-23 03:01:30 CET  It ended FAILED with exit code 3, 30s after its begin: no space left.

What to do
  - `belfry run get backup/20261123T020000Z -N ops` shows its output; mend the cause, then `belfry schedule trigger backup -N ops` if it cannot wait for the next instant
";
        assert_eq!(text, expected);
    }

    #[test]
    fn whoever_is_asked_what_became_of_a_run_is_told_how_to_say_it() {
        let name = "namespaces/ops/schedules/backup/runs/20261123T020000Z".into();
        let run = pb::Run { name, state: pb::run::State::Unknown.into(), ..Default::default() };
        let text = screen(pb::RunExplanation {
            finding: Finding::Row.into(),
            schedule: "namespaces/ops/schedules/backup".into(),
            run: Some(run),
            ..Default::default()
        });
        assert!(text.contains("`belfry run resolve backup/20261123T020000Z -N ops --did-run`"), "{text}");
    }

    #[test]
    fn where_there_is_no_run_the_nearest_ones_are_named() {
        let text = screen(pb::RunExplanation {
            finding: Finding::NotAnInstant.into(),
            schedule: "namespaces/default/schedules/backup".into(),
            time_zone: "UTC".into(),
            time: Some(text::timestamp(1_795_399_260_000)),
            previous_time: Some(text::timestamp(1_795_399_200_000)),
            next_time: Some(text::timestamp(1_795_485_600_000)),
            ..Default::default()
        });
        for part in [
            "2026-11-23T02:01:00Z (12m20s ago) is no instant of backup: the one before is 2026-11-23T02:00:00Z",
            "the one after is 2026-11-24T02:00:00Z (in 23h46m)",
            "`belfry why backup@2026-11-23T02:00:00Z` explains the one before",
        ] {
            assert!(text.contains(part), "{part} in\n{text}");
        }
    }

    #[test]
    fn every_kind_of_fact_has_a_sentence() {
        for kind in 1..=25 {
            let text = sentence(&pb::Fact { kind, ..Default::default() }, 0);
            assert!(!text.contains("does not know") && text.ends_with('.'), "{kind}: {text}");
        }
    }
}
