//! `docs/performance.md`, as a pure function of what was measured.

use std::fmt::Write as _;

use crate::machine::Machine;

/// What was asked for.
#[derive(Clone, Copy, PartialEq, Debug)]
pub enum Asked {
    /// No more than so much.
    AtMost(f64),
    /// No less than so much.
    AtLeast(f64),
    /// Nobody asked: it is told because it explains something.
    Nothing,
}

/// One line: a scenario and one of its figures.
#[derive(Clone, PartialEq, Debug)]
pub struct Row {
    /// What was done, with its size.
    pub scenario: String,
    /// What was measured.
    pub figure: &'static str,
    /// In this unit.
    pub unit: &'static str,
    /// What was asked for.
    pub asked: Asked,
    /// What was seen; none: it could not be measured (REPORT-3).
    pub seen: Option<f64>,
    /// Why the scenario counts as failed (REPORT-1).
    pub problem: Option<String>,
}

/// Everything that the page says.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// On what.
    pub machine: Machine,
    /// When, in UTC.
    pub date: String,
    /// How large: `full` or `quick`.
    pub sizes: String,
    /// What it was held against, or why it was not.
    pub baseline: String,
    /// The figures, in order.
    pub rows: Vec<Row>,
}

const HEAD: &str = "# Performance

Written by `cargo run --release -p belfry-bench --bin report`; [bench.md](bench.md) says how to measure a cluster of your own.
Nobody corrects it by hand.
";

const METHOD: &str = "
Three nodes, each a process, share this one machine and its loopback with the process of the benchmark, which is the driver and the
executors; every acknowledged write is synced on a quorum of the nodes. The handlers do nothing, and what began is counted by the
executors themselves, not by the ledger. The log is counted as its entries, without framing, on one node. A run that was missed, or that began twice, makes its scenario *failed*, whatever its speed.
Times are from the instant at which runs were due. A ratio is what was seen by what was asked. A leader that was killed
only after the last run had begun shows nothing, and its scenario is *failed* too. Days of history are as many rows as they would
leave, made at once by earlier storms. Others beside a storm have a namespace and a pool of their own; their lag is the worst of the
parts of the time that the storm reached into.

Absolute times are those of this machine with whatever else it was doing. What stands beside PostgreSQL was measured in turn with it,
in the same rounds, and as the median of them: that ratio depends much less on the machine. PostgreSQL is one server that neither
replicates nor dispatches: it claims what is due with `FOR UPDATE SKIP LOCKED`, moves the schedule on, writes a row with a lease, commits,
and writes the completion; fsync is on.
";

/// The middle one, or the mean of the two in the middle; none of nothing.
pub fn median(values: &[f64]) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let upper = *sorted.get(sorted.len() / 2)?;
    let lower = sorted[(sorted.len() - 1) / 2];
    Some(f64::midpoint(lower, upper))
}

/// The page.
pub fn page(report: &Report) -> String {
    let Report { machine, date, sizes, baseline, rows } = report;
    let mut text = HEAD.to_owned();
    let facts = [
        ("measured", date.clone()),
        ("sizes", sizes.clone()),
        ("machine", format!("{}; {}", machine.cpu, machine.memory)),
        ("kernel", format!("{}; data on {}", machine.kernel, machine.disk)),
        ("load before", machine.load.clone()),
        ("Belfry", machine.belfry.clone()),
        ("baseline", baseline.clone()),
    ];
    text.push_str("\n| | |\n|---|---|\n");
    for (name, value) in facts {
        _ = writeln!(text, "| {name} | {value} |");
    }
    text.push_str(METHOD);
    text.push_str("\n| scenario | figure | asked | seen | ratio | |\n|---|---|---|---|---|---|\n");
    for row in rows {
        text.push_str(&line(row));
    }
    let failed = |row: &Row| Some(format!("- {}: {}\n", row.scenario, row.problem.as_ref()?));
    let mut problems: Vec<_> = rows.iter().filter_map(failed).collect();
    // Rows of one scenario stand together, and tell of the same.
    problems.dedup();
    if !problems.is_empty() {
        _ = write!(text, "\n## What failed\n\n{}", problems.concat());
    }
    text
}

fn line(row: &Row) -> String {
    let Row { scenario, figure, unit, asked, seen, problem } = row;
    let limit = match asked {
        Asked::AtMost(limit) => format!("≤ {} {unit}", number(*limit)),
        Asked::AtLeast(limit) => format!("≥ {} {unit}", number(*limit)),
        Asked::Nothing => String::new(),
    };
    let shown = seen.map_or("not measured".to_owned(), |seen| format!("{} {unit}", number(seen)));
    let ratio = match (asked, seen) {
        (Asked::AtMost(limit) | Asked::AtLeast(limit), Some(seen)) => format!("{:.2}", seen / limit),
        (Asked::Nothing, _) | (_, None) => String::new(),
    };
    let verdict = match (problem, asked, seen) {
        (Some(_), _, _) => "**failed**",
        (None, Asked::AtMost(limit), Some(seen)) if seen > limit => "missed",
        (None, Asked::AtLeast(limit), Some(seen)) if seen < limit => "missed",
        (None, Asked::Nothing, _) | (None, _, None) => "",
        (None, Asked::AtMost(_) | Asked::AtLeast(_), Some(_)) => "met",
    };
    format!("| {scenario} | {figure} | {limit} | {shown} | {ratio} | {verdict} |\n")
}

/// Three digits or whole ones, with blanks between thousands.
fn number(value: f64) -> String {
    if value.abs() < 100.0 {
        let digits = if value.abs() < 10.0 { 2 } else { 1 };
        let text = format!("{value:.digits$}");
        return text.trim_end_matches('0').trim_end_matches('.').to_owned();
    }
    let digits = format!("{value:.0}");
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(asked: Asked, seen: Option<f64>) -> Row {
        let scenario = "storm".to_owned();
        Row { scenario, figure: "last begin", unit: "ms", asked, seen, problem: None }
    }

    #[test]
    fn a_line_says_what_was_asked_and_what_was_seen() {
        for (asked, seen, expected) in [
            (
                Asked::AtMost(1200.0),
                Some(600.0),
                "| storm | last begin | ≤ 1 200 ms | 600 ms | 0.50 | met |\n",
            ),
            (
                Asked::AtMost(50.0),
                Some(75.25),
                "| storm | last begin | ≤ 50 ms | 75.2 ms | 1.50 | missed |\n",
            ),
            (Asked::AtLeast(2.0), Some(1.0), "| storm | last begin | ≥ 2 ms | 1 ms | 0.50 | missed |\n"),
            (Asked::AtLeast(2.0), None, "| storm | last begin | ≥ 2 ms | not measured |  |  |\n"),
            (Asked::Nothing, Some(1_234_567.0), "| storm | last begin |  | 1 234 567 ms |  |  |\n"),
        ] {
            assert_eq!(line(&row(asked, seen)), expected);
        }
    }

    #[test]
    fn the_median_of_two_is_between_them() {
        assert_eq!(median(&[]), None);
        assert_eq!(median(&[3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median(&[3.0, 1.0]), Some(2.0));
    }

    #[test]
    fn a_missed_run_fails_however_fast_it_was_and_is_told_once() {
        let failed = Row { problem: Some("1 was missed".to_owned()), ..row(Asked::AtMost(5.0), Some(1.0)) };
        assert!(line(&failed).ends_with("| **failed** |\n"));
        let report = Report { rows: vec![failed.clone(), failed], ..Report::default() };
        let page = page(&report);
        assert_eq!(page.matches("- storm: 1 was missed\n").count(), 1, "{page}");
    }
}
