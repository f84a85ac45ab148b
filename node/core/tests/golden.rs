//! Golden scripts: each file under `tests/golden` is a list of commands (lines that begin with `>`) and, below each, what
//! came of it. Run with `BLESS=1` to write what comes of it now, then read the difference.
//!
//! Times are seconds. Runs are named `#1`, `#2`, …, tokens `t1`, `t2`, …. `NAME@10..50/10` is the chain of instants with which
//! the ticker catches up; `tally NAME` counts rows that nobody would want to read.
//!
//! Scripts named after a project show a trouble that others had. [`SCENARIOS`] lists those that must stay.

#![allow(clippy::unwrap_used, clippy::disallowed_methods, reason = "this is a test")]

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use belfry_core::backfill::{BackfillMode, BackfillState};
use belfry_core::command::{
    Action, Applied, BackfillVerb, Begin, BeginGroup, BeginResult, Command, Completion, CompletionResult,
    Effect, Fire, FireGroup, Freeze, LeaseLoss, Outcome, Prune, RequestKey, ResumeMissed, Retime, Retimed,
    Retryable, TriggerOverlap,
};
use belfry_core::definition::{
    CalendarMode, CalendarUse, CompletionAction, Definition, MisfirePolicy, OverlapPolicy, Policies, Retry,
    Rule, Target, Timing, UnknownOutcomePolicy,
};
use belfry_core::object::{Calendar, Declared, Namespace, Object, ObjectKind, Pool};
use belfry_core::run::{AttemptResult, Ending, Reason, Report, Resolution, Run, RunState, Trigger};
use belfry_core::schedule::{Pause, Schedule};
use belfry_core::state::{BackfillRequest, BlockId, LastInstants, Record};
use belfry_core::{
    AttemptNo, BackfillId, FencingToken, LogPosition, Revision, RunId, ScheduleId, ScheduleKey, State,
    UnixMillis,
};

/// The scripts.
const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden");

/// Scenarios of timings alone.
const TIMING: &str = include_str!("../../timing/tests/timing/scenarios.rs");

/// Issues of other projects whose trouble Belfry must not have: for each, a script whose header names it, or a scenario of
/// `belfry-timing`. A plain list, so that nobody drops one unnoticed.
const SCENARIOS: [&str; 30] = [
    "kubernetes#42649",
    "kubernetes#83642",
    "kubernetes#63371",
    "kubernetes#130838",
    "kubernetes#45825",
    "kubernetes#127678",
    "nomad#5410",
    "nomad#2721",
    "nomad#11052",
    "temporal#4866",
    "temporal#3059",
    "temporal#4332",
    "temporal#11162",
    "temporal#8087",
    "dagster#13597",
    "dagster#7010",
    "dagster#14555",
    "airflow#35558",
    "airflow#30195",
    "hangfire#529",
    "hangfire#1591",
    "quartz#674",
    "river#791",
    "river#1035",
    "db-scheduler#27",
    "cadence#8267",
    "argo-workflows#2773",
    "argo-workflows#7868",
    "healthchecks#912",
    "camunda#54840",
];

#[test]
fn every_scenario_is_played() {
    let mut headers: Vec<String> = std::fs::read_dir(FOLDER)
        .unwrap()
        .map(|entry| std::fs::read_to_string(entry.unwrap().path()).unwrap())
        .map(|script| script.lines().take_while(|line| line.starts_with('#')).collect())
        .collect();
    headers.push(TIMING.lines().filter(|line| line.starts_with("///")).collect());
    let names = |header: &str, issue: &str| {
        let mut after = header.match_indices(issue).map(|(at, _)| header[at + issue.len()..].chars().next());
        after.any(|next| !next.is_some_and(|next| next.is_ascii_digit()))
    };
    let missing: Vec<_> =
        SCENARIOS.into_iter().filter(|issue| !headers.iter().any(|header| names(header, issue))).collect();
    assert!(missing.is_empty(), "no script and no scenario names {missing:?}");
}

#[test]
fn golden_scripts() {
    let mut failed = Vec::new();
    let mut scripts = 0;
    for entry in std::fs::read_dir(FOLDER).unwrap() {
        let path = entry.unwrap().path();
        let expected = std::fs::read_to_string(&path).unwrap();
        let actual = play(&expected);
        scripts += 1;
        if std::env::var("BLESS").is_ok() {
            std::fs::write(&path, &actual).unwrap();
        } else if expected != actual {
            failed.push(format!("{}\n--- expected\n{expected}\n--- actual\n{actual}", path.display()));
        }
    }
    assert!(scripts > 0, "no golden scripts found");
    assert!(failed.is_empty(), "{} scripts differ:\n{}", failed.len(), failed.join("\n"));
}

/// Plays the commands of a script and writes the script anew.
fn play(script: &str) -> String {
    let mut world = World::default();
    let mut out = String::new();
    for line in script.lines() {
        if let Some(command) = line.strip_prefix("> ") {
            writeln!(out, "> {command}").unwrap();
            out.push_str(&world.step(command));
        } else if line.starts_with('#') && !line.starts_with("#1 ") && out.lines().all(|l| l.starts_with('#'))
        {
            writeln!(out, "{line}").unwrap();
        }
    }
    out
}

#[derive(Default)]
struct World {
    state: State,
    /// What a checkpoint after every command, of the changed blocks alone, has written.
    stored: BTreeMap<BlockId, Vec<Record>>,
    index: u64,
    schedules: BTreeMap<String, ScheduleId>,
}

/// Words of a command: positional ones and `key=value` ones.
struct Words<'a> {
    words: Vec<&'a str>,
    options: BTreeMap<&'a str, &'a str>,
}

impl<'a> Words<'a> {
    fn of(line: &'a str) -> Self {
        let (options, words): (Vec<_>, Vec<_>) = line.split_whitespace().partition(|word| word.contains('='));
        Self { words, options: options.iter().filter_map(|word| word.split_once('=')).collect() }
    }

    /// The words after the first `count` ones.
    fn from(&self, count: usize) -> Self {
        Self { words: self.words[count..].to_vec(), options: self.options.clone() }
    }

    fn seconds(&self, option: &str) -> Option<Duration> {
        self.options.get(option).map(|value| Duration::from_secs(value.parse().unwrap()))
    }
}

fn at(seconds: &str) -> UnixMillis {
    UnixMillis((seconds.parse::<f64>().unwrap() * 1000.0) as i64)
}

fn instant(option: Option<&&str>) -> Option<UnixMillis> {
    option.filter(|value| **value != "never").map(|value| at(value))
}

fn show(at: UnixMillis) -> String {
    format!("{}", at.0 as f64 / 1000.0)
}

fn run_id(word: &str) -> RunId {
    RunId(word.trim_start_matches('#').parse().unwrap())
}

fn key(name: &str) -> ScheduleKey {
    ScheduleKey::new("default", name)
}

impl World {
    fn step(&mut self, line: &str) -> String {
        let words = Words::of(line);
        match words.words[0] {
            "rows" => return self.rows(words.words[1]),
            "tally" => return self.tally(words.words[1]),
            "backfills" => {
                let backfills = self.state.backfills_of(self.schedules[words.words[1]]);
                let ids: Vec<_> = backfills.map(|backfill| backfill.id).collect();
                let object = |id: BackfillId| render_object(&self.state.backfill_object(id).unwrap().clone());
                return ids.into_iter().map(|id| format!("  {}\n", object(id))).collect();
            }
            "stale" => {
                let stale: Vec<_> = self.state.stale().map(|id| id.0).collect();
                return format!("  {stale:?}\n");
            }
            "schedule" => return self.schedule(words.words[1]),
            "restart" => {
                self.state = State::restore(self.stored.values().flatten().cloned()).unwrap();
                return "restarted\n".into();
            }
            _ => {}
        }
        let now = at(words.words[0]);
        let action = self.action(&words);
        let request = words.options.get("request").map(|id| RequestKey {
            id: (*id).into(),
            fingerprint: words.options.get("fingerprint").map_or(1, |value| value.parse().unwrap()),
        });
        self.index += 1;
        let position = LogPosition { term: 1, index: self.index };
        let applied = self.state.apply(position, Command { now, request, action });
        assert_eq!(self.state.violations(), [], "after {line}");
        self.checkpoint(line);
        if let Ok(Outcome::Schedule(schedule)) = &applied.outcome {
            self.schedules.insert(schedule.key.name.to_string(), schedule.id);
        }
        render(&applied)
    }

    fn checkpoint(&mut self, line: &str) {
        for block in self.state.take_dirty() {
            self.stored.insert(block, self.state.block(block));
        }
        let restored = State::restore(self.stored.values().flatten().cloned()).unwrap();
        assert_eq!(restored.digest(), self.state.digest(), "a block that {line} changed was not marked");
        assert_eq!(restored.ready(), self.state.ready(), "after {line}");
        assert_eq!(restored.violations(), [], "after {line} and a restart");
    }

    fn action(&self, words: &Words<'_>) -> Action {
        let name = words.words.get(2).copied().unwrap_or_default();
        let expected = words.options.get("etag").map(|value| Revision(value.parse().unwrap()));
        let revision =
            |option: &str| words.options.get(option).map_or(Revision(0), |at| Revision(at.parse().unwrap()));
        match words.words[1] {
            "create" => Action::CreateSchedule {
                key: key(name),
                uid: format!("uid-{name}-{}", self.index).into(),
                definition: Arc::new(definition(words)),
                next_fire_at: instant(words.options.get("next")),
                calendars: revision("calendars"),
                pause: words.options.get("paused").map(|reason| Pause {
                    reason: (*reason).into(),
                    actor: "ops".into(),
                    paused_at: UnixMillis::default(),
                    until: None,
                    skipped: 0,
                }),
            },
            "update" => Action::UpdateSchedule {
                key: key(name),
                expected,
                definition: Arc::new(definition(words)),
                calendars: revision("calendars"),
                retime: if words.options.contains_key("next") {
                    Retime::From(instant(words.options.get("next")))
                } else {
                    Retime::Keep
                },
            },
            "delete" => Action::DeleteSchedule { key: key(name), expected },
            "pause" => Action::PauseSchedule {
                key: key(name),
                expected,
                reason: words.options["reason"].into(),
                actor: "ops".into(),
                until: instant(words.options.get("until")),
            },
            "resume" => Action::ResumeSchedule {
                key: key(name),
                expected,
                missed: match words.options.get("missed") {
                    Some(&"coalesce") => ResumeMissed::Coalesce,
                    Some(&"fire-all") => {
                        ResumeMissed::FireAll { from_at: at(words.options["from"]), expected: 2 }
                    }
                    Some(other) => panic!("unknown choice {other}"),
                    None => ResumeMissed::Skip,
                },
                actor: "ops".into(),
            },
            // calendar NAME days=2026-12-25 | pool NAME slots=2 | namespace NAME running=2
            "calendar" | "pool" | "namespace" => Action::PutObject { declared: declared(words), expected },
            "delete-object" => Action::DeleteObject { name: declared(&words.from(1)).name(), expected },
            "retime" => {
                let schedule = self.schedules[name];
                Action::Retime(vec![Retimed {
                    schedule,
                    generation: self.state.schedule(schedule).unwrap().generation,
                    calendars: revision("calendars"),
                    next_fire_at: instant(words.options.get("next")),
                }])
            }
            // backfill NAME from=10 until=40 mode=missing
            "backfill" => Action::CreateBackfill {
                key: key(name),
                request: BackfillRequest {
                    from_at: at(words.options["from"]),
                    until_at: at(words.options["until"]),
                    mode: match words.options.get("mode") {
                        Some(&"reprocess") => BackfillMode::Reprocess,
                        _ => BackfillMode::Missing,
                    },
                    expected: 3,
                    actor: "ops".into(),
                    reason: "lost".into(),
                },
            },
            // advance 1 10 20 30 last
            "advance" => Action::AdvanceBackfill {
                backfill: BackfillId(name.parse().unwrap()),
                instants: words.words[3..]
                    .iter()
                    .filter(|word| **word != "last")
                    .map(|word| at(word))
                    .collect(),
                last: if words.words.contains(&"last") { LastInstants::Yes } else { LastInstants::No },
            },
            "control" => Action::ControlBackfill {
                backfill: BackfillId(name.parse().unwrap()),
                verb: match words.words[3] {
                    "pause" => BackfillVerb::Pause,
                    "resume" => BackfillVerb::Resume,
                    "cancel" => BackfillVerb::Cancel,
                    other => panic!("unknown verb {other}"),
                },
                actor: "ops".into(),
                reason: "why".into(),
            },
            "end-pauses" => Action::EndPauses(vec![self.schedules[name]]),
            "trigger" => Action::TriggerSchedule {
                key: key(name),
                actor: "ops".into(),
                overlap: match words.options.get("beside") {
                    Some(&"allow") => TriggerOverlap::Allow,
                    Some(&"refuse") => TriggerOverlap::Refuse,
                    Some(other) => panic!("unknown choice {other}"),
                    None => TriggerOverlap::Wait,
                },
            },
            "cancel" => Action::CancelRun {
                run: run_id(name),
                actor: "ops".into(),
                reason: words.options["reason"].into(),
            },
            // resolve #1 succeeded reason=seen
            "resolve" => Action::ResolveRun {
                run: run_id(name),
                resolution: match words.words[3] {
                    "succeeded" => Resolution::Succeeded,
                    "failed" => Resolution::Failed,
                    "did-not-run" => Resolution::DidNotRun,
                    other => panic!("unknown resolution {other}"),
                },
                actor: "ops".into(),
                reason: words.options["reason"].into(),
            },
            // fire NAME@10->20 NAME@20->never, or all from 10 to 50: NAME@10..50/10
            "fire" => Action::Fire(words.words[2..].iter().flat_map(|word| self.fires(word)).collect()),
            // begin EXECUTOR #1.1
            "begin" => Action::Begin(vec![BeginGroup {
                executor: name.into(),
                begins: words.words[3..]
                    .iter()
                    .map(|word| {
                        let (run, attempt) = word.split_once('.').unwrap();
                        Begin { run: run_id(run), attempt: AttemptNo(attempt.parse().unwrap()) }
                    })
                    .collect(),
            }]),
            // complete #1 t1 failed exit=2
            "complete" => Action::Complete(vec![Completion {
                run: run_id(name),
                token: FencingToken(words.words[3].trim_start_matches('t').parse().unwrap()),
                result: match words.words[4] {
                    "succeeded" => AttemptResult::Succeeded,
                    "failed" => AttemptResult::Failed,
                    "timed-out" => AttemptResult::TimedOut,
                    "not-started" => AttemptResult::NotStarted,
                    "cancelled" => AttemptResult::Cancelled,
                    other => panic!("unknown result {other}"),
                },
                retryable: match words.options.get("retryable") {
                    Some(_) => Retryable::Never,
                    None => Retryable::Perhaps,
                },
                report: Report {
                    exit_code: words.options.get("exit").map(|code| code.parse().unwrap()),
                    ..Report::default()
                },
            }]),
            "lose" => Action::ExpireLeases(vec![LeaseLoss {
                run: run_id(name),
                token: FencingToken(words.words[3].trim_start_matches('t').parse().unwrap()),
                reason: Reason::LeaseLost,
            }]),
            "expire" => Action::ExpireStarts(vec![run_id(name)]),
            "prune" => Action::Prune(Prune {
                runs: words.words[2..].iter().map(|word| run_id(word)).collect(),
                answers: words.options.get("answer").iter().map(|answer| answer.parse().unwrap()).collect(),
                ..Prune::default()
            }),
            "raise" => Action::RaiseFeatureLevel(name.parse().unwrap()),
            other => panic!("unknown command {other}"),
        }
    }

    fn fires(&self, word: &str) -> Vec<FireGroup> {
        let Some((name, (first, (last, step)))) = word.split_once('@').and_then(|(name, times)| {
            let (first, rest) = times.split_once("..")?;
            Some((name, (first, rest.split_once('/')?)))
        }) else {
            return vec![self.fire(word)];
        };
        let seconds = |word: &str| word.parse::<usize>().unwrap();
        let step = seconds(step);
        let chain = (seconds(first)..=seconds(last)).step_by(step);
        chain.map(|at| self.fire(&format!("{name}@{at}->{}", at + step))).collect()
    }

    fn fire(&self, word: &str) -> FireGroup {
        let (name, times) = word.split_once('@').unwrap();
        let (nominal, next) = times.split_once("->").unwrap();
        let (name, generation) = name.split_once('^').unwrap_or((name, ""));
        let id = self.schedules[name];
        let current = self.state.schedule(id).map(|schedule| schedule.generation);
        let generation = generation.parse().map(belfry_core::Generation).ok().or(current).unwrap_or_default();
        // NAME@10->20+5 is spread by 5 seconds, NAME@10->20* is under a freeze.
        let (next, freeze) = match next.strip_suffix('*') {
            Some(next) => (next, Freeze::Frozen),
            None => (next, Freeze::Open),
        };
        let (next, spread) = next.split_once('+').unwrap_or((next, "0"));
        let spread_for = Duration::from_secs(spread.parse().unwrap());
        let fire = Fire { schedule: id, generation, next_fire_at: instant(Some(&next)), spread_for, freeze };
        FireGroup { nominal_at: at(nominal), fires: vec![fire] }
    }

    fn rows(&self, name: &str) -> String {
        let said = |run: &Run| self.state.report(run.id).and_then(|report| report.exit_code);
        let said = |run| said(run).map_or(String::new(), |code| format!(", exit code {code}"));
        let rows = self.state.rows(self.schedules[name]);
        rows.map(|run| format!("  {}{}\n", render_run(run), said(run))).collect()
    }

    fn tally(&self, name: &str) -> String {
        let mut counts = BTreeMap::<String, usize>::new();
        for run in self.state.rows(self.schedules[name]) {
            let reason = run.reason().map_or(String::new(), |reason| format!(" because {reason:?}"));
            *counts.entry(format!("{}{reason}", run.state.name())).or_default() += 1;
        }
        counts.into_iter().map(|(what, count)| format!("  {count} {what}\n")).collect()
    }

    fn schedule(&self, name: &str) -> String {
        match self.state.schedule(self.schedules[name]) {
            Some(schedule) => format!("  {}\n", render_schedule(schedule)),
            None => "  gone\n".into(),
        }
    }
}

fn declared(words: &Words<'_>) -> Declared {
    let number = |option: &str| words.options.get(option).map(|value| value.parse::<u32>().unwrap());
    let name = words.words[2];
    match words.words[1] {
        "calendar" => Declared::Calendar(Calendar {
            key: key(name),
            time_zone: None,
            days: words.options.get("days").iter().map(ToString::to_string).collect(),
            periods: vec![],
            description: String::new(),
        }),
        "pool" => Declared::Pool(Pool {
            name: name.into(),
            slots: number("slots"),
            rate: None,
            paused: None,
            description: String::new(),
        }),
        "namespace" => Declared::Namespace(Namespace {
            name: name.into(),
            running_max: number("running"),
            schedules_max: number("schedules").map(u64::from),
            weight: 1,
            spread: None,
            description: String::new(),
        }),
        other => panic!("{other} is no kind of object"),
    }
}

fn definition(words: &Words<'_>) -> Definition {
    let every = words.seconds("every").unwrap_or(Duration::from_secs(10));
    let rule = match words.seconds("delay") {
        Some(delay) => Rule::FixedDelay(delay),
        None => Rule::Interval { every, phase: Duration::ZERO },
    };
    let mut timing = Timing::of(vec![rule], "UTC");
    timing.end_at = instant(words.options.get("end"));
    let freeze = |calendar: &&str| CalendarUse { calendar: (*calendar).into(), mode: CalendarMode::Freeze };
    timing.calendars = words.options.get("freeze").iter().map(|calendar| freeze(calendar)).collect();
    let payload = words.options.get("payload").copied().unwrap_or_default();
    let target = Target { handler: "command".into(), payload: payload.as_bytes().to_vec().into() };
    Definition {
        policies: policies(words),
        max_runs: words.options.get("max-runs").map(|max| max.parse().unwrap()),
        completion: if words.options.contains_key("then-delete") {
            CompletionAction::Delete
        } else {
            CompletionAction::Keep
        },
        description: words.options.get("description").copied().unwrap_or_default().into(),
        ..Definition::new(timing, target)
    }
}

fn policies(words: &Words<'_>) -> Policies {
    let option = |name: &str| words.options.get(name).copied();
    let number = |name: &str, default: u32| option(name).map_or(default, |value| value.parse().unwrap());
    let window = |seconds| words.seconds("window").unwrap_or(Duration::from_secs(seconds));
    Policies {
        start_deadline: words.seconds("deadline"),
        overlap: match option("overlap").unwrap_or("hold-one") {
            "hold-one" => OverlapPolicy::HoldOne,
            "skip" => OverlapPolicy::Skip,
            "buffer-all" => OverlapPolicy::BufferAll { waiting_max: number("limit", 100) },
            "allow" => OverlapPolicy::Allow { running_max: number("limit", 10) },
            "cancel-running" => OverlapPolicy::CancelRunning,
            other => panic!("unknown overlap policy {other}"),
        },
        misfire: match option("misfire").unwrap_or("coalesce") {
            "coalesce" => MisfirePolicy::Coalesce,
            "skip" => MisfirePolicy::Skip { window: window(60) },
            "fire-all" => MisfirePolicy::FireAll { window: window(86_400), count_max: number("count", 100) },
            other => panic!("unknown misfire policy {other}"),
        },
        unknown_outcome: match option("unknown").unwrap_or("hold") {
            "hold" => UnknownOutcomePolicy::Hold,
            "retry" => UnknownOutcomePolicy::Retry,
            "pause" => UnknownOutcomePolicy::Pause,
            "fail" => UnknownOutcomePolicy::Fail,
            other => panic!("unknown policy {other}"),
        },
        retry: Retry {
            max_attempts: number("attempts", 1),
            initial_backoff: words.seconds("backoff").unwrap_or(Duration::from_secs(10)),
            non_retryable_codes: option("useless").iter().map(|code| code.parse().unwrap()).collect(),
            ..Retry::default()
        },
        pause_after_failures: option("pause-after").map(|count| count.parse().unwrap()),
        ..Policies::default()
    }
}

fn render(applied: &Applied) -> String {
    let mut out = match &applied.outcome {
        Err(rejection) => format!("  rejected: {rejection}\n"),
        Ok(Outcome::Schedule(schedule)) => format!("  {}\n", render_schedule(schedule)),
        Ok(Outcome::Deleted { schedule, cancelled }) => {
            format!("  deleted {} cancelled={cancelled}\n", schedule.key.name)
        }
        Ok(Outcome::Run(run)) => format!("  {}\n", render_run(run)),
        Ok(Outcome::Fired(tally)) => format!(
            "  created={} late={} skipped={} merged={} stale={}\n",
            tally.created, tally.late, tally.skipped, tally.merged, tally.stale
        ),
        Ok(Outcome::Begun(results)) => results
            .iter()
            .map(|result| match result {
                BeginResult::Begun { token, lateness, again } => {
                    let again = if *again { " again" } else { "" };
                    format!("  begun t{token} late={}s{again}\n", lateness.as_secs_f64())
                }
                BeginResult::Refused => "  refused\n".into(),
            })
            .collect(),
        Ok(Outcome::Completed(results)) => results
            .iter()
            .map(|result| match result {
                CompletionResult::Accepted { ended: Some(ending) } => {
                    format!("  accepted: {}\n", ending.name())
                }
                CompletionResult::Accepted { ended: None } => "  accepted: DUE again\n".into(),
                CompletionResult::Repeated => "  accepted before\n".into(),
                CompletionResult::Refused => "  refused\n".into(),
            })
            .collect(),
        Ok(Outcome::Lost(endings)) => format!("  expired={}\n", endings.len()),
        Ok(Outcome::Expired(count)) => format!("  expired={count}\n"),
        Ok(Outcome::Pruned(count)) => format!("  pruned={count}\n"),
        Ok(Outcome::Object(object)) => format!("  {}\n", render_object(object)),
        Ok(Outcome::Retimed(count)) => format!("  moved={count}\n"),
        Ok(Outcome::Gone) => "  gone\n".into(),
        Ok(Outcome::Advanced(count)) => format!("  made={count}\n"),
        Ok(Outcome::FeatureLevel(level)) => format!("  feature level {level}\n"),
    };
    for effect in &applied.effects {
        match effect {
            Effect::Offer(run) => writeln!(out, "  ! offer #{run}").unwrap(),
            Effect::Cancel(run) => writeln!(out, "  ! cancel #{run}").unwrap(),
        }
    }
    out
}

fn render_schedule(schedule: &Schedule) -> String {
    let mut out = format!(
        "{} generation={} etag={} next={} watermark={}",
        schedule.key.name,
        schedule.generation,
        schedule.revision,
        schedule.next_fire_at.map_or("never".into(), show),
        show(schedule.watermark),
    );
    if let Some(pause) = &schedule.pause {
        write!(out, " paused since {} ({})", show(pause.paused_at), pause.reason).unwrap();
        if let Some(until) = pause.until {
            write!(out, " until {}", show(until)).unwrap();
        }
        if pause.skipped > 0 {
            write!(out, " skipped={}", pause.skipped).unwrap();
        }
    }
    if schedule.catching_up {
        out.push_str(" catching up");
    }
    if !schedule.remains().retired.is_empty() {
        write!(
            out,
            " keeps generations {:?}",
            schedule.remains().retired.keys().map(|g| g.0).collect::<Vec<_>>()
        )
        .unwrap();
    }
    let counters = &schedule.counters;
    write!(
        out,
        " ({} ok, {} not ok, {} not started)",
        counters.succeeded, counters.unsuccessful, counters.not_started
    )
    .unwrap();
    out
}

fn render_object(object: &Object) -> String {
    match &object.kind {
        ObjectKind::Backfill(backfill) => {
            let counts = &backfill.counts;
            let state = match &backfill.state {
                BackfillState::Running => "running",
                BackfillState::Paused(_) => "paused",
                BackfillState::Cancelled(_) => "cancelled",
                BackfillState::Completed { .. } => "completed",
            };
            format!(
                "backfill {} {state} up to {}: {} made, {} present, {} ok, {} not ok, {} not started",
                backfill.id,
                show(backfill.cursor),
                counts.created,
                counts.present,
                counts.succeeded,
                counts.unsuccessful,
                counts.not_started
            )
        }
        kind => format!("{} etag={}", kind.name().unwrap(), object.revision),
    }
}

fn render_run(run: &Run) -> String {
    let mut out = format!("run {} of {}: {}", run.id, show(run.nominal_at), run.state.name());
    if let Some(reason) = run.reason() {
        write!(out, " because {reason:?}").unwrap();
    }
    match run.trigger {
        Trigger::Timer => {}
        Trigger::CatchUp => out.push_str(", catch-up"),
        Trigger::Manual => out.push_str(", by hand"),
        Trigger::Resume => out.push_str(", by a resume"),
        Trigger::Backfill(id) => write!(out, ", by backfill {id}").unwrap(),
    }
    if run.scheduled_at != run.nominal_at {
        write!(out, ", scheduled {}", show(run.scheduled_at)).unwrap();
    }
    if run.generation.0 != 1 {
        write!(out, ", generation {}", run.generation).unwrap();
    }
    if run.merged_count > 0 {
        write!(out, ", stands for {} more since {}", run.merged_count, show(run.window_start_at)).unwrap();
    }
    if let RunState::Ended { ending: Ending::Merged { into, .. }, .. } = run.state {
        write!(out, ", into {into}").unwrap();
    }
    if let Some(lease) = run.state.lease() {
        write!(out, ", t{} on {} since {}", lease.token, lease.executor, show(lease.begun_at)).unwrap();
    }
    if run.attempt.0 > 1 {
        write!(out, ", attempt {}", run.attempt.0).unwrap();
    }
    if let RunState::Due { retry: Some(retry), .. } = &run.state {
        write!(out, ", again from {}", show(retry.not_before)).unwrap();
    }
    if let Some(cancel) = &run.cancel {
        write!(out, ", cancelled by {} ({})", cancel.verdict.actor, cancel.verdict.reason).unwrap();
    }
    if let Some(resolution) = &run.resolution {
        write!(out, ", resolved by {} ({})", resolution.actor, resolution.reason).unwrap();
    }
    out
}
