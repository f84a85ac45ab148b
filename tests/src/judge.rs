//! The verdict: what the ledger says of schedules of every second, held against what their commands wrote.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use anyhow::Context as _;
use belfry_sdk::{Client, pb};
use futures_util::{StreamExt as _, TryStreamExt as _};
use prost_types::Timestamp;

use crate::journal::Journal;
use crate::ledger::{self, millis};

/// Later than this after its nominal time a begin counts as late, and its row has to say why.
const LATE_MS: i64 = 1000;
/// Schedules whose rows are read at the same time.
const READS: usize = 8;

/// A schedule that fires every second, and from when to when it must have done so.
#[derive(Clone, Debug)]
pub struct Watched {
    /// Its name, without the namespace.
    pub name: String,
    /// When its creation was acknowledged, on this machine's clock.
    pub from_ms: i64,
    /// When it was about to be paused.
    pub until_ms: i64,
}

/// What became of all instants.
#[derive(Default, Debug)]
pub struct Verdict {
    /// Rows.
    pub rows: usize,
    /// Instants whose command ran, by the journal.
    pub begun: usize,
    /// Rows by state.
    pub by_state: BTreeMap<&'static str, usize>,
    /// Begun more than a second after their nominal time.
    pub late: usize,
    /// Instants without a row, or whose row says that they succeeded and that wrote nothing.
    pub lost: usize,
    /// Instants that began twice, or that began although their row says that they did not.
    pub doubled: usize,
    /// Everything that must not be, in words.
    pub problems: Vec<String>,
    /// For each nominal time: how late after it the last row was made.
    pub created: BTreeMap<i64, i64>,
    /// For each nominal time: how late after it the last run began.
    pub began: BTreeMap<i64, i64>,
}

impl Verdict {
    /// Rows in this state.
    pub fn count(&self, state: pb::run::State) -> usize {
        self.by_state.get(state.as_str_name()).copied().unwrap_or_default()
    }

    /// How late the latest row was made of those with a nominal time in this range.
    pub fn latest_between(&self, from_ms: i64, to_ms: i64) -> i64 {
        self.created.range(from_ms..to_ms).map(|(_, late)| *late).max().unwrap_or(0)
    }

    fn lost(&mut self, what: String) {
        self.lost += 1;
        self.problems.push(what);
    }

    fn doubled(&mut self, what: String) {
        self.doubled += 1;
        self.problems.push(what);
    }
}

impl std::fmt::Display for Verdict {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{} rows, {} begun by the journal, {} late, {} lost, {} doubled, by state {:?}",
            self.rows, self.begun, self.late, self.lost, self.doubled, self.by_state
        )
    }
}

type Begins = BTreeMap<(String, String), u32>;

/// Holds the ledger against the journal.
///
/// - LEDGER-1: each second has one row, and each begin in the journal has a row.
/// - RUN-2: nothing began twice, and nothing began whose row says that it did not.
/// - RUN-4: what SUCCEEDED wrote, what is over says how, and what is late says why.
pub async fn judge(client: &Client, journal: &Journal, schedules: &[Watched]) -> anyhow::Result<Verdict> {
    judge_seconds_in(client, journal, schedules, i64::MIN..i64::MAX).await
}

/// The same, of these seconds alone. All of them must have ended.
pub async fn judge_part(
    client: &Client,
    journal: &Journal,
    schedules: &[Watched],
    seconds: Range<i64>,
) -> anyhow::Result<Verdict> {
    let watched = |schedule: &Watched| Watched {
        name: schedule.name.clone(),
        from_ms: (seconds.start - 1) * 1000,
        until_ms: (seconds.end - 1) * 1000,
    };
    let schedules: Vec<_> = schedules.iter().map(watched).collect();
    judge_seconds_in(client, journal, &schedules, seconds).await
}

async fn judge_seconds_in(
    client: &Client,
    journal: &Journal,
    schedules: &[Watched],
    seconds: Range<i64>,
) -> anyhow::Result<Verdict> {
    let mut begins = Begins::new();
    for ((schedule, nominal), count) in journal.begins()? {
        if seconds.contains(&nominal.parse::<Timestamp>()?.seconds) {
            begins.insert((schedule, nominal), count);
        }
    }
    let mut verdict = Verdict { begun: begins.len(), ..Verdict::default() };
    for ((schedule, nominal), count) in begins.iter().filter(|(_, count)| **count != 1) {
        verdict.doubled(format!("RUN-2: {schedule} at {nominal} began {count} times"));
    }
    let rows = schedules.iter().map(|schedule| ledger::rows(client, &schedule.name));
    let rows: Vec<_> = futures_util::stream::iter(rows).buffered(READS).try_collect().await?;
    let mut known = BTreeSet::new();
    for (schedule, mut rows) in schedules.iter().zip(rows) {
        rows.retain(|row| row.nominal_time.is_some_and(|time| seconds.contains(&time.seconds)));
        judge_schedule(schedule, &rows, &begins, &mut known, &mut verdict)?;
    }
    for begin in begins.keys().filter(|begin| !known.contains(*begin)) {
        verdict.doubled(format!("LEDGER-1: {begin:?} began and has no row"));
    }
    Ok(verdict)
}

fn judge_schedule(
    schedule: &Watched,
    rows: &[pb::Run],
    begins: &Begins,
    known: &mut BTreeSet<(String, String)>,
    verdict: &mut Verdict,
) -> anyhow::Result<()> {
    judge_seconds(schedule, rows, verdict)?;
    for row in rows {
        let time = row.nominal_time.as_ref().context("a row without its nominal time")?.to_string();
        let key = (schedule.name.clone(), time);
        judge_row(&schedule.name, row, begins.contains_key(&key), verdict)?;
        known.insert(key);
    }
    Ok(())
}

/// Every second has one row.
fn judge_seconds(schedule: &Watched, rows: &[pb::Run], verdict: &mut Verdict) -> anyhow::Result<()> {
    let name = &schedule.name;
    let second = |ms: i64| ms.div_euclid(1000);
    let mut seconds = Vec::with_capacity(rows.len());
    for row in rows {
        seconds.push(second(millis(row.nominal_time.as_ref()).context("a row without its nominal time")?));
    }
    let (Some(first), Some(last)) = (seconds.first(), seconds.last()) else {
        verdict.lost(format!("LEDGER-1: {name} has no row at all"));
        return Ok(());
    };
    // What came between the commit and its acknowledgement may have a row too.
    for (what, missing) in [
        ("at the beginning", first - second(schedule.from_ms) - 1),
        ("at the end", second(schedule.until_ms) - last),
    ] {
        if missing > 0 {
            verdict.lost(format!("LEDGER-1: {name} lacks {missing} rows {what}"));
        }
    }
    for pair in seconds.windows(2).filter(|pair| pair[1] != pair[0] + 1) {
        verdict.lost(format!("LEDGER-1: {name} has rows at {} and {}, and none between", pair[0], pair[1]));
    }
    Ok(())
}

fn judge_row(schedule: &str, row: &pb::Run, began: bool, verdict: &mut Verdict) -> anyhow::Result<()> {
    use pb::run::{Reason, State};
    let nominal = millis(row.nominal_time.as_ref()).context("a row without its nominal time")?;
    let created = millis(row.create_time.as_ref()).context("a row without its creation")?;
    let begun = millis(row.begin_time.as_ref());
    verdict.rows += 1;
    *verdict.by_state.entry(row.state().as_str_name()).or_default() += 1;
    let keep_latest = |of: &mut BTreeMap<i64, i64>, late: i64| {
        let latest = of.entry(nominal).or_default();
        *latest = (*latest).max(late);
    };
    keep_latest(&mut verdict.created, created - nominal);
    if let Some(begun) = begun {
        keep_latest(&mut verdict.began, begun - nominal);
    }
    let state = row.state().as_str_name();
    match row.state() {
        State::Succeeded if began => {}
        State::Succeeded => {
            verdict
                .lost(format!("RUN-4: {schedule} at {nominal} is SUCCEEDED, but the command wrote nothing"));
        }
        // It may have run, or not: that is what the row says. The reason says why nobody knows.
        State::Unknown => {}
        // Due when the test paused its schedule: it would begin after a resume.
        State::Due if ledger::waits_for_resume(row) && !began => {}
        State::Merged | State::Skipped | State::Cancelled | State::Expired if !began => {}
        State::Merged | State::Skipped | State::Cancelled | State::Expired => {
            verdict.doubled(format!("RUN-4: {schedule} at {nominal} is {state}, but the command ran"));
        }
        State::Unspecified | State::Due | State::Running | State::Failed | State::TimedOut => {
            verdict.problems.push(format!("{schedule} at {nominal} is {state}: {}", row.message));
        }
    }
    let is_late = begun.is_some_and(|begun| begun - nominal > LATE_MS);
    verdict.late += usize::from(is_late);
    if row.reason() == Reason::Unspecified && (begun.is_none() || is_late) {
        verdict.problems.push(format!("{schedule} at {nominal}: not begun on time, and no reason given"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "these are tests")]

    use pb::run::{Reason, State};

    use super::*;

    fn row(second: i64, state: State, reason: Reason) -> pb::Run {
        let at = |seconds| Some(Timestamp { seconds, nanos: 0 });
        let mut row = pb::Run { nominal_time: at(second), create_time: at(second), ..Default::default() };
        row.set_state(state);
        row.set_reason(reason);
        if matches!(state, State::Succeeded | State::Unknown) {
            row.begin_time = at(second);
        }
        row
    }

    /// What is said of rows of the seconds from 1 to 3, and of begins in these seconds.
    fn check(rows: &[pb::Run], began: &[i64]) -> (usize, usize, usize) {
        let schedule = Watched { name: "s".into(), from_ms: 500, until_ms: 3200 };
        let key = |second: &i64| ("s".to_owned(), Timestamp { seconds: *second, nanos: 0 }.to_string());
        let begins = began.iter().map(|second| (key(second), 1)).collect();
        let mut verdict = Verdict::default();
        judge_schedule(&schedule, rows, &begins, &mut BTreeSet::new(), &mut verdict).unwrap();
        (verdict.lost, verdict.doubled, verdict.problems.len())
    }

    fn good(second: i64) -> pb::Run {
        row(second, State::Succeeded, Reason::Unspecified)
    }

    #[test]
    fn passes_what_is_as_it_should_be() {
        let unknown = row(2, State::Unknown, Reason::LeaseLost);
        let merged = row(2, State::Merged, Reason::CatchUp);
        assert_eq!(check(&[good(1), good(2), good(3)], &[1, 2, 3]), (0, 0, 0));
        assert_eq!(check(&[good(1), unknown.clone(), good(3)], &[1, 2, 3]), (0, 0, 0));
        assert_eq!(check(&[good(1), unknown, good(3)], &[1, 3]), (0, 0, 0));
        assert_eq!(check(&[good(1), merged, good(3)], &[1, 3]), (0, 0, 0));
    }

    #[test]
    fn finds_what_was_lost() {
        assert_eq!(check(&[], &[]), (1, 0, 1), "no row at all");
        assert_eq!(check(&[good(1), good(3)], &[1, 3]), (1, 0, 1), "in the middle");
        assert_eq!(check(&[good(2), good(3)], &[2, 3]), (1, 0, 1), "at the beginning");
        assert_eq!(check(&[good(1), good(2)], &[1, 2]), (1, 0, 1), "at the end");
        assert_eq!(check(&[good(1), good(2), good(3)], &[1, 3]), (1, 0, 1), "SUCCEEDED without a trace");
    }

    #[test]
    fn finds_what_began_though_its_row_says_that_it_did_not() {
        for state in [State::Skipped, State::Merged, State::Cancelled, State::Expired] {
            let row = row(2, state, Reason::CatchUp);
            assert_eq!(check(&[good(1), row, good(3)], &[1, 2, 3]), (0, 1, 1), "{state:?}");
        }
    }

    #[test]
    fn finds_what_does_not_end_and_what_is_late_without_a_reason() {
        let running = row(2, State::Running, Reason::CatchUp);
        assert_eq!(check(&[good(1), running, good(3)], &[1, 2, 3]), (0, 0, 1));
        let mut late = good(2);
        late.begin_time = Some(Timestamp { seconds: 4, nanos: 0 });
        assert_eq!(check(&[good(1), late, good(3)], &[1, 2, 3]), (0, 0, 1));
    }
}
