//! Runs as documents and rows.

use std::time::Duration;

use belfry_sdk::pb;
use pb::run::{Reason, State, Trigger};
use serde::Serialize;

use super::{Content, Instant, enum_name};
use crate::output::{Cell, Printer, Row, Table, Tone};
use crate::text;

/// A run, with the field names of the contract, and `lateness`: begin time − scheduled time.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct RunView {
    pub(crate) name: String,
    schedule_uid: String,
    schedule_generation: u64,
    pub(crate) state: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) reason: Option<String>,
    trigger: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    nominal_time: Option<Instant>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scheduled_time: Option<Instant>,
    #[serde(skip_serializing_if = "Option::is_none")]
    create_time: Option<Instant>,
    #[serde(skip_serializing_if = "Option::is_none")]
    begin_time: Option<Instant>,
    #[serde(skip_serializing_if = "Option::is_none")]
    end_time: Option<Instant>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lateness: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    window_start_time: Option<Instant>,
    merged_count: u32,
    #[serde(skip_serializing_if = "String::is_empty")]
    merged_into: String,
    attempt: u32,
    #[serde(skip_serializing_if = "String::is_empty")]
    executor: String,
    fencing_token: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    exit_code: Option<i32>,
    #[serde(skip_serializing_if = "String::is_empty")]
    message: String,
    #[serde(flatten)]
    output_tail: Content,
    idempotency_key: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    actor: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    cancel: Option<VerdictView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    resolution: Option<VerdictView>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_attempt_time: Option<Instant>,
    #[serde(skip_serializing_if = "String::is_empty")]
    backfill: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    progress: String,
    /// Attempts that its schedule allows, where that is known.
    #[serde(skip)]
    pub(crate) attempts_max: Option<u32>,
    #[serde(skip)]
    raw_state: i32,
    #[serde(skip)]
    raw_reason: i32,
}

/// What somebody decided about it.
#[derive(Clone, Debug, Serialize)]
pub(super) struct VerdictView {
    actor: String,
    reason: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<Instant>,
}

impl VerdictView {
    pub(super) fn of(verdict: pb::Verdict) -> Self {
        let time = Instant::of(verdict.time.as_ref());
        Self { actor: verdict.actor, reason: verdict.reason, time }
    }

    pub(super) fn in_words(&self, now: i64) -> String {
        let when = self.time.map(|time| format!(" {}", text::relative(time.0, now))).unwrap_or_default();
        let by = if self.actor.is_empty() { String::new() } else { format!("by {}", self.actor) };
        text::shortened(&format!("{by}{when}: {}", self.reason), 1024)
    }
}

impl From<pb::Run> for RunView {
    fn from(run: pb::Run) -> Self {
        let instant = |time: &Option<prost_types::Timestamp>| Instant::of(time.as_ref());
        let (scheduled_time, begin_time) = (instant(&run.scheduled_time), instant(&run.begin_time));
        Self {
            state: enum_name(run.state, State::as_str_name),
            reason: (run.reason != 0).then(|| enum_name(run.reason, Reason::as_str_name)),
            trigger: enum_name(run.trigger, Trigger::as_str_name),
            nominal_time: instant(&run.nominal_time),
            create_time: instant(&run.create_time),
            end_time: instant(&run.end_time),
            lateness: between(scheduled_time, begin_time).map(exact),
            window_start_time: instant(&run.window_start_time),
            output_tail: Content::of("output_tail", &run.output_tail),
            scheduled_time,
            begin_time,
            cancel: run.cancel.map(VerdictView::of),
            resolution: run.resolution.map(VerdictView::of),
            next_attempt_time: instant(&run.next_attempt_time),
            backfill: run.backfill,
            progress: run.progress,
            attempts_max: None,
            raw_state: run.state,
            raw_reason: run.reason,
            name: run.name,
            schedule_uid: run.schedule_uid,
            schedule_generation: run.schedule_generation,
            merged_count: run.merged_count,
            merged_into: run.merged_into,
            attempt: run.attempt,
            executor: run.executor,
            fencing_token: run.fencing_token,
            exit_code: run.exit_code,
            message: run.message,
            idempotency_key: run.idempotency_key,
            actor: run.actor,
        }
    }
}

/// Where BEGUN stands among the columns.
const BEGUN: usize = 3;

impl RunView {
    /// The headers of [`Self::log_cells`].
    pub(crate) fn log_headers() -> Vec<&'static str> {
        let mut headers = Self::headers(false);
        headers.remove(BEGUN);
        headers
    }

    /// A row of a log that is read later too: without the column that says how long ago it was.
    pub(crate) fn log_cells(&self, now: i64) -> Vec<Cell> {
        let mut cells = self.cells(false, now);
        cells.remove(BEGUN);
        cells
    }

    /// `SCHEDULE/RUN`: what `belfry run get` takes.
    pub(crate) fn short_name(&self) -> String {
        let mut parts = self.name.rsplit('/');
        let run = parts.next().unwrap_or_default();
        match parts.nth(1) {
            Some(schedule) => format!("{schedule}/{run}"),
            None => run.to_owned(),
        }
    }

    /// Whether nothing will change any more, but for an operator's word.
    pub(crate) fn has_ended(&self) -> bool {
        !matches!(State::try_from(self.raw_state), Ok(State::Due | State::Running | State::Unspecified))
    }

    /// Whether it did what it should.
    pub(crate) fn has_succeeded(&self) -> bool {
        self.raw_state == i32::from(State::Succeeded)
    }

    /// Whether it may or may not have run.
    pub(crate) fn is_unknown(&self) -> bool {
        self.raw_state == i32::from(State::Unknown)
    }

    /// Whether it began and did not succeed.
    pub(crate) fn is_unsuccessful(&self) -> bool {
        matches!(State::try_from(self.raw_state), Ok(State::Failed | State::TimedOut | State::Unknown))
    }

    /// Whether it waits to begin.
    pub(crate) fn is_due(&self) -> bool {
        self.raw_state == i32::from(State::Due)
    }

    /// When it is tried again, and after which attempt that did not succeed; none unless it is between two.
    pub(crate) fn next_attempt(&self) -> Option<(Instant, u32)> {
        self.next_attempt_time.filter(|_| self.is_due()).map(|time| (time, self.attempt))
    }

    /// Whether it was made by the timing, which a pause holds back.
    pub(crate) fn is_of_timing(&self) -> bool {
        matches!(self.trigger.as_str(), "TIMER" | "CATCH_UP")
    }

    pub(crate) fn state_cell(&self) -> Cell {
        Cell::new(&self.state, state_tone(self.raw_state))
    }

    /// `2 of 4`, where it may have more than one.
    fn attempts(&self) -> Option<String> {
        match (self.attempt, self.attempts_max) {
            (0, _) => None,
            (attempt, Some(max)) if max > 1 => Some(format!("{attempt} of {}", max.max(attempt))),
            (attempt, Some(_) | None) => Some(attempt.to_string()),
        }
    }

    fn took(&self, now: i64) -> Option<Duration> {
        between(self.begin_time, self.end_time.or(Some(Instant(now))))
    }

    fn remark(&self) -> String {
        // The handler for commands says it in its message too.
        let exit = self.exit_code.filter(|code| *code != 0).map(|code| format!("exit code {code}"));
        let exit = exit.filter(|exit| !self.message.contains(exit));
        let merged =
            (!self.merged_into.is_empty()).then(|| format!("into {}", text::short_name(&self.merged_into)));
        let retry = self.next_attempt_time.map(|time| format!("next attempt at {time}"));
        let cancel = self.cancel.as_ref().filter(|_| !self.has_ended()).map(|_| "being cancelled".to_owned());
        let progress = Some(self.progress.clone()).filter(|progress| !progress.is_empty());
        let parts = [
            Some(self.message.clone()).filter(|message| !message.is_empty()),
            exit,
            merged,
            retry,
            cancel,
            progress,
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join("; ")
    }

    /// Everything about it, for a screen.
    pub(crate) fn details(&self, printer: &Printer, now: i64) -> String {
        let time = |time: Option<Instant>| {
            time.map(|time| Cell::from(format!("{time} ({})", text::relative(time.0, now))))
        };
        let some = |text: &str| (!text.is_empty()).then(|| Cell::from(text));
        let window = self.window_start_time.filter(|_| self.merged_count > 0);
        let window =
            window.map(|start| format!("all instants after {start}: {} merged into it", self.merged_count));
        let rows: Vec<Vec<Cell>> = [
            ("Run", some(&self.short_name())),
            ("State", Some(self.state_cell())),
            ("Reason", reason_in_words(self.raw_reason).map(Cell::from)),
            ("Progress", some(&text::shortened(&self.progress, 1024))),
            ("Message", some(&text::shortened(&self.message, 1024))),
            ("Exit code", self.exit_code.map(|code| code.to_string().into())),
            (
                "Trigger",
                some(&match self.actor.as_str() {
                    "" => self.trigger.clone(),
                    actor => format!("{} by {actor}", self.trigger),
                }),
            ),
            ("Nominal", time(self.nominal_time)),
            ("Scheduled", time(self.scheduled_time.filter(|time| Some(*time) != self.nominal_time))),
            ("Begun", time(self.begin_time)),
            ("Lateness", self.lateness.as_deref().map(Cell::from)),
            ("Ended", time(self.end_time)),
            ("Took", self.took(now).map(exact).map(Cell::from)),
            ("Stands for", window.map(Cell::from)),
            ("Merged into", some(&self.merged_into)),
            ("Attempt", self.attempts().map(Cell::from)),
            ("Next attempt", time(self.next_attempt_time)),
            ("Cancel", self.cancel.as_ref().map(|verdict| verdict.in_words(now).into())),
            ("Resolution", self.resolution.as_ref().map(|verdict| verdict.in_words(now).into())),
            ("Backfill", some(&self.backfill)),
            ("Executor", some(&self.executor)),
            ("Fencing token", (self.fencing_token > 0).then(|| self.fencing_token.to_string().into())),
            ("Idempotency key", some(&self.idempotency_key)),
            ("Generation", Some(self.schedule_generation.to_string().into())),
        ]
        .into_iter()
        .filter_map(|(label, value)| Some(vec![Cell::new(label, Tone::Faint), value?]))
        .collect();
        let mut text = printer.lay_out(&mut Table::plain(), &rows);
        if let Some(output) = self.output_tail.shown() {
            text.push_str("\nOutput (the last 64 KiB at most)\n");
            text.extend(output.lines().map(|line| format!("  {line}\n")));
        }
        text
    }
}

impl Row for RunView {
    fn headers(is_wide: bool) -> Vec<&'static str> {
        let mut headers = vec!["RUN", "STATE", "REASON", "BEGUN", "LATE", "TOOK", "REMARK"];
        if is_wide {
            headers.extend(["TRIGGER", "ATTEMPT", "EXECUTOR", "TOKEN"]);
        }
        headers
    }

    fn cells(&self, is_wide: bool, now: i64) -> Vec<Cell> {
        let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
        let late = between(self.scheduled_time, self.begin_time).map(millis_of).map(text::rough);
        let took = self.took(now).map(millis_of).map(text::rough);
        let mut cells: Vec<Cell> = vec![
            self.short_name().into(),
            self.state_cell(),
            or_dash(self.reason.clone()).into(),
            or_dash(self.begin_time.map(|time| text::relative(time.0, now))).into(),
            or_dash(late).into(),
            or_dash(took).into(),
            text::shortened(&self.remark(), 60).into(),
        ];
        if is_wide {
            cells.push(self.trigger.as_str().into());
            cells.push(self.attempt.to_string().into());
            cells.push(or_dash(Some(self.executor.clone()).filter(|name| !name.is_empty())).into());
            cells.push(self.fencing_token.to_string().into());
        }
        cells
    }

    fn name(&self) -> &str {
        &self.name
    }
}

/// How a state looks.
fn state_tone(state: i32) -> Tone {
    match State::try_from(state) {
        Ok(State::Succeeded) => Tone::Good,
        Ok(State::Due | State::Running) => Tone::Open,
        Ok(State::Failed | State::TimedOut | State::Unknown | State::Expired) => Tone::Bad,
        Ok(State::Skipped | State::Merged | State::Cancelled) => Tone::Faint,
        Ok(State::Unspecified) | Err(_) => Tone::Plain,
    }
}

/// A reason as a sentence; none where there is nothing to explain.
pub(crate) fn reason_in_words(reason: i32) -> Option<&'static str> {
    match Reason::try_from(reason) {
        Ok(Reason::Unspecified) => None,
        Ok(Reason::Overlap) => Some("the previous run was still running"),
        Ok(Reason::Paused) => Some("the schedule was paused"),
        Ok(Reason::CatchUp) => Some("Belfry was away at its instant and caught up afterwards"),
        Ok(Reason::NoExecutor) => Some("no executor took it in time"),
        Ok(Reason::LeaseLost) => {
            Some("its executor fell silent for longer than the lease: it may or may not have finished")
        }
        Ok(Reason::AttemptTimeout) => Some("its executor did not end it within the attempt timeout"),
        Ok(Reason::StartDeadline) => Some("its start deadline passed before an executor began it"),
        Ok(Reason::ScheduleDeleted) => Some("the schedule was deleted"),
        Ok(Reason::Blackout) => Some("a freeze calendar covered its instant"),
        Ok(Reason::Misfire) => Some("it was missed, and its misfire policy does not make up for it"),
        Ok(Reason::BufferFull) => Some("as many runs waited already as BUFFER_ALL keeps"),
        Ok(Reason::CancelRequested) => Some("somebody cancelled it"),
        Ok(Reason::Replaced) => Some("a newer instant took its place (CANCEL_RUNNING)"),
        Ok(Reason::RetryBackoff) => Some("the attempt before failed, and this one waited for its back-off"),
        Ok(Reason::MaxRuns) => Some("the schedule had begun as many runs as max_runs allows"),
        Ok(Reason::Resolved) => Some("an operator said what became of it"),
        Ok(Reason::BackfillCancelled) => Some("its backfill was cancelled"),
        Ok(Reason::Restored) => {
            Some("the cluster was restored from a snapshot, and the former one may have run it")
        }
        Err(_) => Some("a reason that this release of belfry does not know: use the release of the cluster"),
    }
}

/// From one instant to another; nothing when either is unknown, zero when they are the wrong way round.
fn between(from: Option<Instant>, to: Option<Instant>) -> Option<Duration> {
    let distance = to?.0.saturating_sub(from?.0);
    Some(Duration::from_millis(u64::try_from(distance).unwrap_or(0)))
}

fn exact(duration: Duration) -> String {
    belfry_timing::format_duration(duration)
}

fn millis_of(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run() -> pb::Run {
        pb::Run {
            name: "namespaces/n/schedules/s/runs/2026-11-23T02:00:00Z".into(),
            state: State::Failed.into(),
            trigger: Trigger::Timer.into(),
            nominal_time: Some(text::timestamp(10_000)),
            scheduled_time: Some(text::timestamp(10_000)),
            begin_time: Some(text::timestamp(11_250)),
            end_time: Some(text::timestamp(14_250)),
            attempt: 1,
            fencing_token: 9,
            exit_code: Some(3),
            message: "no space left".into(),
            output_tail: b"one\ntwo\n".to_vec().into(),
            ..Default::default()
        }
    }

    #[test]
    fn rows_say_how_late_and_why() {
        let view = RunView::from(run());
        let expected: Vec<Cell> = vec![
            "s/2026-11-23T02:00:00Z".into(),
            Cell::new("FAILED", Tone::Bad),
            "-".into(),
            "3s ago".into(),
            "1s".into(),
            "3s".into(),
            "no space left; exit code 3".into(),
        ];
        assert_eq!(view.cells(false, 14_250), expected);
        assert_eq!(RunView::headers(false)[BEGUN], "BEGUN");
        assert_eq!(view.log_cells(14_250), [&expected[..BEGUN], &expected[BEGUN + 1..]].concat());
        assert!(view.has_ended() && view.is_unsuccessful() && !view.has_succeeded());
    }

    #[test]
    fn documents_hold_text_output_and_lateness() {
        let json = serde_json::to_string(&RunView::from(run())).unwrap();
        for part in [
            r#""state":"FAILED""#,
            r#""begin_time":"1970-01-01T00:00:11.250Z""#,
            r#""lateness":"1s250ms""#,
            r#""exit_code":3"#,
            r#""output_tail":"one\ntwo\n""#,
        ] {
            assert!(json.contains(part), "{part} in {json}");
        }
        assert!(!json.contains("raw_state"), "{json}");
    }

    #[test]
    fn what_was_decided_and_what_comes_next_is_shown() {
        let verdict = |reason: &str| {
            Some(pb::Verdict { actor: "anna".into(), reason: reason.into(), time: Some(text::timestamp(0)) })
        };
        let mut view = RunView::from(pb::Run {
            state: State::Due.into(),
            cancel: verdict("wrong data"),
            resolution: verdict("looked there"),
            next_attempt_time: Some(text::timestamp(20_000)),
            backfill: "7".into(),
            progress: "half".into(),
            ..run()
        });
        assert_eq!(
            view.remark(),
            "no space left; exit code 3; next attempt at 1970-01-01T00:00:20Z; being cancelled; half"
        );
        view.attempts_max = Some(4);
        let screen = view.details(&Printer::new(crate::output::Format::Table, true), 10_000);
        for line in [
            "Progress       half",
            "Attempt        1 of 4",
            "Next attempt   1970-01-01T00:00:20Z (in 10s)",
            "Cancel         by anna 10s ago: wrong data",
            "Resolution     by anna 10s ago: looked there",
            "Backfill       7",
        ] {
            assert!(screen.contains(line), "{line} in\n{screen}");
        }
        let json = serde_json::to_string(&view).unwrap();
        assert!(
            json.contains(r#""cancel":{"actor":"anna","reason":"wrong data","time":"1970-01-01T00:00:00Z"}"#)
        );
    }

    #[test]
    fn every_reason_has_words() {
        for reason in 1..=17 {
            let words = reason_in_words(reason).unwrap();
            assert!(!words.contains("does not know"), "{reason}: {words}");
        }
        assert_eq!(reason_in_words(0), None);
    }
}
