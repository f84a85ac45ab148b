//! `belfry schedule describe`: one screen for somebody who was woken at three.

use belfry_sdk::{Client, pb};
use serde::Serialize;

use super::NameArgs;
use super::explain::meaning;
use super::offline::in_words;
use crate::commands::Context;
use crate::commands::run::Pages;
use crate::exit::Failure;
use crate::output::view::{ClusterView, Instant, RuleView, RunView, ScheduleView};
use crate::output::{Cell, Printer, Row as _, Table, Tone};
use crate::text;

/// Fires and runs shown: what fits on a screen together.
const FIRES_SHOWN: usize = 4;
const RUNS_SHOWN: u32 = 8;
/// The ledger is behind when it has not been continued for this long: a new leader takes about a second.
const LEDGER_BEHIND_MILLIS: i64 = 60_000;

/// Everything known about a schedule.
#[derive(Debug, Serialize)]
struct Description {
    schedule: ScheduleView,
    runs: Vec<RunView>,
    advice: Vec<String>,
    /// What the timing means, in sentences.
    #[serde(skip)]
    words: Vec<String>,
}

pub(crate) async fn run(context: &Context, args: &NameArgs) -> Result<(), Failure> {
    let name = context.schedule(&args.name)?;
    let client = context.client()?;
    let schedule = client.get_schedule(pb::GetScheduleRequest { name: name.clone() }).await?;
    let words = schedule.timing.as_ref().map(in_words).unwrap_or_default();
    let schedule = ScheduleView::from(schedule);
    let runs = Pages::new(client.clone(), name, Vec::new(), RUNS_SHOWN).next().await?.unwrap_or_default();
    // What is known without it is worth showing.
    let cluster = client.get_cluster_status(pb::GetClusterStatusRequest {}).await.ok().map(ClusterView::from);
    let told = match runs.iter().find(|run| run.is_due()) {
        Some(run) => told_by_leader(&client, &run.name).await,
        None => None,
    };
    let now = text::now_millis();
    let advice = advice(&schedule, &runs, &Known { cluster: cluster.as_ref(), told: told.as_deref() }, now);
    let description = Description { schedule, runs, advice, words };
    let name = description.schedule.name.clone();
    context.printer.one(&description, &name, |printer| description.screen(printer, now))
}

/// What the cluster says beside the schedule and its runs, as far as it does.
#[derive(Clone, Copy, Default)]
struct Known<'a> {
    cluster: Option<&'a ClusterView>,
    /// What the newest run that is due waits for: "it" and this are a sentence.
    told: Option<&'a str>,
}

/// What the leader says that a run waits for.
async fn told_by_leader(client: &Client, run: &str) -> Option<String> {
    use pb::fact::Kind;
    let request = pb::ExplainRunRequest { name: run.to_owned(), at: String::new() };
    let facts = client.explain_run(request).await.ok()?.facts;
    let waits = |fact: &pb::Fact| matches!(fact.kind(), Kind::WaitsFor | Kind::Offered);
    facts.into_iter().rfind(waits).map(|fact| fact.text).filter(|text| !text.is_empty())
}

impl Description {
    /// What it does now and what to do about it, then what happened, then how it is set up.
    fn screen(&self, printer: &Printer, now: i64) -> String {
        let mut screen = printer.lay_out(&mut Table::plain(), &self.standing(now));
        screen.push_str("\nWhat to do\n");
        screen.extend(self.advice.iter().map(|advice| format!("  - {advice}\n")));
        screen.push('\n');
        if !self.runs.is_empty() {
            let rows: Vec<_> = self.runs.iter().map(|run| run.cells(printer.is_wide(), now)).collect();
            let mut table = Table::new(RunView::headers(printer.is_wide()));
            screen.push_str(&printer.lay_out(&mut table, &rows));
            screen.push('\n');
        }
        screen.push_str(&printer.lay_out(&mut Table::plain(), &self.definition(now)));
        screen
    }

    fn standing(&self, now: i64) -> Vec<Vec<Cell>> {
        let schedule = &self.schedule;
        let status = &schedule.status;
        let in_a_row = match status.consecutive_failures {
            0 => String::new(),
            count => format!(", the last {count} in a row"),
        };
        let mut facts = vec![
            fact("Schedule", schedule.name.as_str()),
            vec![Cell::new("State", Tone::Faint), self.state(now)],
            fact(
                "Counts",
                format!(
                    "{} succeeded, {} unsuccessful{in_a_row}, {} not started; {} due, {} running now",
                    status.succeeded_count,
                    status.unsuccessful_count,
                    status.not_started_count,
                    status.due_count,
                    status.running_count
                ),
            ),
            fact("Last success", moment(status.last_success_time, now)),
            fact("Last failure", moment(status.last_failure_time, now)),
            fact(
                "Ledger",
                match status.ledger_complete_time {
                    Some(time) => format!("complete up to {time} ({})", text::relative(time.0, now)),
                    None => "empty".to_owned(),
                },
            ),
        ];
        if !schedule.description.is_empty() {
            facts.insert(1, fact("For", text::shortened(&schedule.description, 200)));
        }
        facts
    }

    fn definition(&self, now: i64) -> Vec<Vec<Cell>> {
        let (schedule, policies) = (&self.schedule, &self.schedule.policies);
        let mut facts = vec![fact("When", schedule.timing.short())];
        facts.extend(meaning(&self.words));
        facts.extend(
            schedule
                .status
                .warnings
                .iter()
                .map(|warning| vec![Cell::new("Warning", Tone::Faint), Cell::new(warning, Tone::Open)]),
        );
        facts.extend(self.fires(now));
        facts.extend([
            fact("Runs", self.target()),
            setting("Where", schedule.placement()),
            setting("Overlap", policies.overlap()),
            setting("Missed", policies.misfire()),
            setting("Failed", policies.failure()),
            setting("Unknown", policies.unknown_outcome()),
            setting("Limits", policies.limits()),
            setting("Life", schedule.life()),
            setting("History", schedule.history.in_words()),
            setting("Liveness", schedule.liveness.in_words()),
        ]);
        if !schedule.labels.is_empty() {
            facts.push(fact("Labels", schedule.labels_in_a_line()));
        }
        facts
    }

    fn state(&self, now: i64) -> Cell {
        let Some(pause) = &self.schedule.pause else { return self.schedule.state_cell() };
        let since = moment(pause.pause_time, now);
        let until = match pause.until {
            Some(until) => format!(", until {}", moment(Some(until), now)),
            None => String::new(),
        };
        let skipped = match pause.skipped_count {
            0 => String::new(),
            count => format!(" ({count} instants skipped so far)"),
        };
        let (actor, reason) = (&pause.actor, &pause.reason);
        Cell::new(format!("PAUSED by {actor} since {since}{until}: {reason}{skipped}"), Tone::Open)
    }

    fn target(&self) -> String {
        let mut parts = vec![text::shortened(&self.schedule.target.short(), 200)];
        parts.extend(self.schedule.target.circumstances());
        parts.join(", ")
    }

    fn fires(&self, now: i64) -> Vec<Vec<Cell>> {
        let zone = &self.schedule.timing.time_zone;
        let label = if self.schedule.is_paused() { "Next if resumed" } else { "Next" };
        let fires = self.schedule.status.next_times.iter().take(FIRES_SHOWN).enumerate();
        let fire = |(index, time): (usize, &Instant)| {
            let local = text::in_zone(time.0, zone).filter(|_| zone != "UTC");
            let local = local.map(|local| format!("   {local}")).unwrap_or_default();
            let label = if index == 0 { label } else { "" };
            fact(label, format!("{time}{local}   {}", text::relative(time.0, now)))
        };
        fires.map(fire).collect()
    }
}

/// A fact in which defaults are marked.
fn setting(label: &str, text: String) -> Vec<Cell> {
    vec![Cell::new(label, Tone::Faint), Cell::new(text, Tone::Settings)]
}

fn fact(label: &str, text: impl Into<String>) -> Vec<Cell> {
    vec![Cell::new(label, Tone::Faint), text.into().into()]
}

fn moment(time: Option<Instant>, now: i64) -> String {
    time.map_or("never".to_owned(), |time| format!("{time} ({})", text::relative(time.0, now)))
}

/// What somebody who looks at this schedule may want to do now; never empty.
fn advice(schedule: &ScheduleView, runs: &[RunView], known: &Known<'_>, now: i64) -> Vec<String> {
    let name = text::short_name(&schedule.name);
    let namespace = match text::namespace_of(&schedule.name) {
        "default" => String::new(),
        namespace => format!(" -N {namespace}"),
    };
    let mut advice = Vec::new();
    if known.cluster.is_some_and(|cluster| !cluster.has_leader()) {
        advice.push("the cluster has no leader: see `belfry cluster status`".to_owned());
    }
    if let Some(time) = schedule.status.ledger_complete_time
        && !schedule.is_completed()
        && now - time.0 > LEDGER_BEHIND_MILLIS
        && schedule.status.next_times.first().is_some_and(|next| next.0 < now - LEDGER_BEHIND_MILLIS)
    {
        advice.push("its instants are not being handled: see `belfry cluster status`".to_owned());
    }
    if schedule.is_paused() {
        advice.push(format!(
            "it starts nothing by itself: `belfry schedule resume {name}{namespace}` once the reason is gone"
        ));
    }
    if schedule.is_completed() && schedule.timing.include.iter().any(RuleView::may_never_fire) {
        advice.push(format!("it runs by hand only: `belfry schedule trigger {name}{namespace}`"));
    } else if schedule.is_completed() {
        advice.push(format!("its timing has no instant left: give it another with `belfry schedule set {name}{namespace}`, or delete it"));
    }
    if let Some(waiting) = waiting(schedule, runs, known, now) {
        advice.push(waiting);
    }
    if let Some(run) = runs.iter().find(|run| run.is_unknown()) {
        advice.push(format!(
            "{run} may or may not have done its work: look there, and say what you found: `belfry run resolve {run}{namespace} --did-run` (or --failed, --did-not-run) with --reason",
            run = run.short_name()
        ));
    }
    let last = runs.iter().find(|run| run.has_succeeded() || run.is_unsuccessful());
    if let Some(run) = last.filter(|run| run.is_unsuccessful() && !run.is_unknown()) {
        advice.push(format!(
            "the last run that began did not succeed: `belfry run get {}{namespace}` shows its output",
            run.short_name()
        ));
    }
    if advice.is_empty() {
        advice.push("nothing: it is as it should be".to_owned());
    }
    advice
}

/// Why a run waits, as far as that is known.
fn waiting(schedule: &ScheduleView, runs: &[RunView], known: &Known<'_>, now: i64) -> Option<String> {
    if schedule.status.due_count == 0 && !runs.iter().any(RunView::is_due) {
        return None;
    }
    if schedule.status.running_count > 0 {
        return Some("a run waits until the one that is running has ended".to_owned());
    }
    if let Some((run, (time, attempt))) = runs.iter().find_map(|run| Some((run, run.next_attempt()?))) {
        let run_name = run.short_name();
        let after = format!("attempt {attempt} did not succeed");
        if schedule.is_paused() && run.is_of_timing() {
            return Some(format!("{run_name} is tried again once the schedule is resumed: {after}"));
        }
        if time.0 > now {
            let relative = text::relative(time.0, now);
            return Some(format!("{run_name} is tried again at {time} ({relative}): {after}"));
        }
    }
    let (pool, handler) = (&schedule.pool, schedule.target.handler_name());
    let Some(leader) = known.cluster.filter(|cluster| cluster.is_answered_by_leader()) else {
        // Only the leader knows the executors; silence would say that all is well.
        return Some(format!(
            "a run waits for an executor of pool {pool} with handler {handler}: `belfry cluster status` shows them"
        ));
    };
    Some(match leader.fitting_executors(pool, handler) {
        0 => {
            let start = match handler {
                "command" | "http" => format!("start one with `belfry executor --pool {pool}`"),
                _own => "start the program that registers it".to_owned(),
            };
            format!(
                "a run waits for an executor of pool {pool} with handler {handler}: none is connected, {start}"
            )
        }
        count => match (known.told, runs.iter().find(|run| run.is_due())) {
            (Some(told), Some(run)) => {
                format!("{} {told}: `belfry pool get {pool}` shows the pool", run.short_name())
            }
            _ => format!("a run waits for a free slot of the {count} executor(s) in pool {pool}"),
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Format;

    fn schedule(state: pb::schedule::State) -> pb::Schedule {
        pb::Schedule {
            name: "namespaces/default/schedules/backup".into(),
            timing: Some(pb::Timing {
                include: vec![pb::Rule {
                    rule: Some(pb::rule::Rule::Cron(pb::Cron {
                        expression: "0 3 * * *".into(),
                        ..Default::default()
                    })),
                }],
                time_zone: "Europe/Berlin".into(),
                ..Default::default()
            }),
            target: Some(pb::Target {
                target: Some(pb::target::Target::Command(pb::CommandTarget {
                    shell: "backup".into(),
                    ..Default::default()
                })),
            }),
            state: state.into(),
            status: Some(pb::ScheduleStatus {
                next_times: vec![text::timestamp(1_795_399_200_000)],
                ..Default::default()
            }),
            ..Default::default()
        }
    }

    fn run_of(state: pb::run::State) -> RunView {
        let name = "namespaces/default/schedules/backup/runs/2026-11-22T02:00:00Z".into();
        RunView::from(pb::Run { name, state: state.into(), ..Default::default() })
    }

    fn advised(schedule: pb::Schedule, runs: &[RunView], cluster: Option<pb::ClusterStatus>) -> String {
        let cluster = cluster.map(ClusterView::from);
        let known = Known {
            cluster: cluster.as_ref(),
            told: Some("waits for a slot of its pool: 1 of 1 are in use"),
        };
        advice(&schedule.into(), runs, &known, 1_795_390_000_000).join("\n")
    }

    #[test]
    fn advice_fits_the_state() {
        use pb::run::State as Run;
        use pb::schedule::State;
        assert!(advised(schedule(State::Active), &[run_of(Run::Succeeded)], None).starts_with("nothing"));
        assert!(advised(schedule(State::Paused), &[], None).contains("resume backup"));
        assert!(advised(schedule(State::Completed), &[], None).contains("no instant left"));
        let failed = advised(schedule(State::Active), &[run_of(Run::Failed), run_of(Run::Succeeded)], None);
        assert!(failed.contains("belfry run get backup/2026-11-22T02:00:00Z"), "{failed}");
        let recovered =
            advised(schedule(State::Active), &[run_of(Run::Succeeded), run_of(Run::Failed)], None);
        assert!(recovered.starts_with("nothing"), "{recovered}");
        let unknown = advised(schedule(State::Active), &[run_of(Run::Unknown)], None);
        assert!(unknown.contains("may or may not") && !unknown.contains("did not succeed"), "{unknown}");
    }

    #[test]
    fn a_waiting_run_says_what_it_waits_for() {
        let leader = pb::ClusterStatus { node_id: 1, leader_id: 1, writable: true, ..Default::default() };
        let runs = [run_of(pb::run::State::Due)];
        let text = advised(schedule(pb::schedule::State::Active), &runs, Some(leader.clone()));
        assert!(
            text.contains("none is connected, start one with `belfry executor --pool default`"),
            "{text}"
        );
        let full = pb::ClusterStatus {
            executors: vec![pb::ExecutorStatus {
                pool: "default".into(),
                handlers: vec!["command".into()],
                ..Default::default()
            }],
            ..leader.clone()
        };
        let text = advised(schedule(pb::schedule::State::Active), &runs, Some(full));
        let expected =
            "waits for a slot of its pool: 1 of 1 are in use: `belfry pool get default` shows the pool";
        assert!(text.contains(expected), "{text}");
        let follower = pb::ClusterStatus { node_id: 2, leader_id: 1, writable: true, ..Default::default() };
        let text = advised(schedule(pb::schedule::State::Active), &runs, Some(follower));
        assert!(
            text.starts_with("a run waits for an executor of pool default with handler command"),
            "{text}"
        );
        let lost = pb::ClusterStatus::default();
        let text = advised(schedule(pb::schedule::State::Active), &runs, Some(lost));
        assert!(text.starts_with("the cluster has no leader"), "{text}");
    }

    #[test]
    fn a_run_between_two_attempts_says_when_it_is_tried_again() {
        let leader = pb::ClusterStatus { node_id: 1, leader_id: 1, writable: true, ..Default::default() };
        let run = |retry_at: i64| {
            RunView::from(pb::Run {
                name: "namespaces/default/schedules/backup/runs/2026-11-22T02:00:00Z".into(),
                state: pb::run::State::Due.into(),
                trigger: pb::run::Trigger::Timer.into(),
                attempt: 2,
                next_attempt_time: Some(text::timestamp(retry_at)),
                ..Default::default()
            })
        };
        let now = 1_795_390_000_000;
        let told = |state, retry_at| advised(schedule(state), &[run(retry_at)], Some(leader.clone()));
        let waits = told(pb::schedule::State::Active, now + 30_000);
        assert_eq!(
            waits,
            "backup/2026-11-22T02:00:00Z is tried again at 2026-11-22T23:27:10Z (in 30s): attempt 2 did not succeed"
        );
        let paused = told(pb::schedule::State::Paused, now + 30_000);
        assert!(
            paused.ends_with("is tried again once the schedule is resumed: attempt 2 did not succeed"),
            "{paused}"
        );
        let ready = told(pb::schedule::State::Active, now - 1000);
        assert!(ready.contains("a run waits for an executor"), "{ready}");
    }

    #[test]
    fn the_screen_says_it_in_words() {
        let mut paused = schedule(pb::schedule::State::Paused);
        paused.pause =
            Some(pb::Pause { reason: "disk is full".into(), actor: "anna".into(), ..Default::default() });
        let description = Description {
            words: in_words(paused.timing.as_ref().unwrap()),
            schedule: paused.into(),
            runs: vec![run_of(pb::run::State::Skipped)],
            advice: vec!["look".to_owned()],
        };
        let screen = description.screen(&Printer::new(Format::Table, true), 1_795_399_140_000);
        for part in [
            "PAUSED by anna since never: disk is full",
            "When             0 3 * * *\nMeans            At 03:00 every day by the clocks of Europe/Berlin.\n",
            "shell backup",
            "pool default, priority 5 (default)",
            "one run at a time, the newest instant waits (default)",
            "Next if resumed  2026-11-23T02:00:00Z   Mon 2026-11-23 03:00:00 CET   in 1m",
            "backup/2026-11-22T02:00:00Z  SKIPPED",
            "\nWhat to do\n  - look\n",
        ] {
            assert!(screen.contains(part), "{part:?} in\n{screen}");
        }
    }
}
