//! `belfry report`: which schedules did not do what they should, why, and what to do.

use std::collections::BTreeMap;
use std::time::Duration;

use belfry_sdk::pb;
use belfry_timing::{TimeZone, parse_time};
use clap::Args;
use pb::run::State;
use serde::Serialize;

use super::{Context, converse};
use crate::exit::{Exit, Failure};
use crate::output::view::{DiscrepancyView, Instant, ScheduleReportView};
use crate::output::{Cell, Printer, Table, Tone, warning};
use crate::text;

/// Schedules per call.
const PAGE_SIZE: i32 = 500;
/// Ways to go wrong shown of one schedule; `-o wide` shows all that nodes tell.
const WAYS_SHOWN: usize = 3;
/// Schedules with advice: as many as somebody reads.
const ADVISED_MAX: usize = 12;

#[derive(Debug, Args)]
pub(crate) struct ReportArgs {
    /// Schedule to report on. Without it: all of the namespace; `-N -` for all namespaces.
    schedule: Option<String>,
    /// Length of the range, back from its end.
    #[arg(long, value_name = "DURATION", default_value = "24h", value_parser = belfry_timing::parse_duration, conflicts_with = "from")]
    since: Duration,
    /// Instants from this one on: `2026-11-23T02:00:00Z`, or by the clocks of --tz: `2026-11-23T03:00`.
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Instants before this one. Without it: up to now.
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// Zone of times without an offset.
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    tz: String,
    /// Report only on schedules with these labels: `team=billing,tier!=test,owned,!legacy`.
    #[arg(short = 'l', long, value_name = "SELECTOR", default_value = "", hide_default_value = true)]
    selector: String,
    /// Leave clean schedules out.
    #[arg(long)]
    only_discrepancies: bool,
    /// Also pauses, freezes, what is not over yet, late begins, and rows that the ledger has dropped are not clean.
    #[arg(long)]
    strict: bool,
    /// Add the schedules up by `namespace`, or by a label: `label=team`.
    #[arg(long, value_name = "WHAT", default_value = "schedule", value_parser = Grouping::parse)]
    by: Grouping,
}

/// By what the schedules are added up.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Grouping {
    Schedule,
    Namespace,
    Label(String),
}

impl Grouping {
    fn parse(text: &str) -> Result<Self, String> {
        match text.split_once('=') {
            None if text == "schedule" => Ok(Self::Schedule),
            None if text == "namespace" => Ok(Self::Namespace),
            Some(("label", key)) if !key.is_empty() => Ok(Self::Label(key.to_owned())),
            Some(_) | None => Err("write schedule, namespace or label=KEY".to_owned()),
        }
    }

    fn header(&self) -> &'static str {
        match self {
            Self::Schedule => "SCHEDULE",
            Self::Namespace => "NAMESPACE",
            Self::Label(_) => "LABEL",
        }
    }

    fn of(&self, report: &ScheduleReportView, shown: &str) -> String {
        match self {
            Self::Schedule => shown.to_owned(),
            Self::Namespace => text::namespace_of(&report.schedule).to_owned(),
            Self::Label(key) => report.labels.get(key).cloned().unwrap_or_else(|| format!("(no {key})")),
        }
    }
}

/// Schedules added up.
#[derive(Clone, Debug, Default, Serialize)]
struct Sum {
    schedules: u64,
    unclean_schedules: u64,
    expected: u64,
    succeeded: u64,
    merged: u64,
    skipped: u64,
    open: u64,
    discrepancies: u64,
    late: u64,
    #[serde(skip)]
    lateness_max_ms: u64,
}

impl Sum {
    fn add(&mut self, report: &ScheduleReportView) {
        self.schedules += 1;
        self.unclean_schedules += u64::from(!report.is_clean());
        self.expected += report.expected_count;
        self.succeeded += report.count_of(State::Succeeded);
        self.merged += report.count_of(State::Merged);
        self.skipped += report.count_of(State::Skipped);
        self.open += report.open_count;
        self.discrepancies += report.discrepancy_count;
        self.late += report.late_count;
        self.lateness_max_ms = self.lateness_max_ms.max(report.lateness_max_ms);
    }

    fn cells(&self, group: &str) -> Vec<Cell> {
        let tone = if self.discrepancies > 0 { Tone::Bad } else { Tone::Plain };
        let late_max = if self.late > 0 { text::rough(self.lateness_max_ms) } else { "-".to_owned() };
        vec![
            group.into(),
            self.schedules.to_string().into(),
            self.expected.to_string().into(),
            self.succeeded.to_string().into(),
            self.merged.to_string().into(),
            self.skipped.to_string().into(),
            self.open.to_string().into(),
            Cell::new(self.discrepancies.to_string(), tone),
            self.late.to_string().into(),
            late_max.into(),
        ]
    }
}

/// The whole report.
#[derive(Debug, Serialize)]
struct Report {
    from_time: Option<Instant>,
    to_time: Option<Instant>,
    clean: bool,
    summary: Sum,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    groups: BTreeMap<String, Sum>,
    schedules: Vec<ScheduleReportView>,
}

pub(crate) fn run(context: &Context, args: &ReportArgs) -> Result<(), Failure> {
    converse(report(context, args))
}

async fn report(context: &Context, args: &ReportArgs) -> Result<(), Failure> {
    let request = request(context, args)?;
    let report = read(context, args, request).await?;
    let names: Vec<_> =
        report.schedules.iter().filter(|one| !one.is_clean()).map(|one| one.schedule.as_str()).collect();
    context.printer.one(&report, &names.join("\n"), |printer| screen(printer, &report, args))?;
    let pruned: Vec<_> = report.schedules.iter().filter_map(|one| one.ledger_start_time).collect();
    if let Some(latest) = pruned.iter().max() {
        warning(&format!(
            "the ledger has dropped older rows of {} schedule(s) and knows all of them only from {latest} on: ask for less, or keep more (`[retention]` of the nodes, history of the schedule)",
            pruned.len()
        ));
    }
    if report.clean { Ok(()) } else { Err(Failure::silent(Exit::Failed)) }
}

fn request(context: &Context, args: &ReportArgs) -> Result<pb::ReportRunsRequest, Failure> {
    let zone = TimeZone::parse(&args.tz).map_err(|error| Failure::usage(error.to_string()))?;
    let read = |text: &str| parse_time(text, &zone).map_err(|error| Failure::usage(error.to_string()));
    let to = args.to.as_deref().map(read).transpose()?;
    let since = i64::try_from(args.since.as_millis()).unwrap_or(i64::MAX);
    let from = match &args.from {
        Some(from) => read(from)?,
        None => to.unwrap_or_else(text::now_millis).saturating_sub(since),
    };
    Ok(pb::ReportRunsRequest {
        parent: context.schedule(args.schedule.as_deref().unwrap_or("-"))?,
        selector: args.selector.clone(),
        from_time: Some(text::timestamp(from)),
        to_time: to.map(text::timestamp),
        page_size: PAGE_SIZE,
        // The summary wants the clean ones too.
        only_discrepancies: false,
        strict: args.strict,
        page_token: String::new(),
    })
}

async fn read(
    context: &Context,
    args: &ReportArgs,
    mut request: pb::ReportRunsRequest,
) -> Result<Report, Failure> {
    let client = context.client()?;
    let mut report = Report {
        from_time: None,
        to_time: None,
        clean: true,
        summary: Sum::default(),
        groups: BTreeMap::new(),
        schedules: Vec::new(),
    };
    // Held back, because the next page may go on with it.
    let mut last: Option<ScheduleReportView> = None;
    loop {
        let page = client.report_runs(request.clone()).await?;
        report.from_time = Instant::of(page.from_time.as_ref());
        report.to_time = Instant::of(page.to_time.as_ref());
        for next in page.schedules {
            match &mut last {
                Some(last) if last.continues(&next) => last.add(next.into()),
                _ => report.take(last.replace(next.into()), args),
            }
        }
        if page.next_page_token.is_empty() {
            break;
        }
        request.page_token = page.next_page_token;
    }
    report.take(last, args);
    report.clean = report.summary.discrepancies == 0;
    Ok(report)
}

impl Report {
    fn take(&mut self, one: Option<ScheduleReportView>, args: &ReportArgs) {
        let Some(one) = one else { return };
        self.summary.add(&one);
        if args.by != Grouping::Schedule {
            self.groups.entry(args.by.of(&one, "")).or_default().add(&one);
        }
        if !args.only_discrepancies || !one.is_clean() {
            self.schedules.push(one);
        }
    }
}

/// One screen for somebody who was woken.
fn screen(printer: &Printer, report: &Report, args: &ReportArgs) -> String {
    let shown = |name: &str| match text::namespace_of(name) {
        "default" => text::short_name(name).to_owned(),
        namespace => format!("{namespace}/{}", text::short_name(name)),
    };
    let mut text = String::new();
    let headers = ["SCHEDULES", "EXPECTED", "SUCCEEDED", "MERGED", "SKIPPED", "OPEN", "BAD", "LATE", "BY"];
    let headers = std::iter::once(args.by.header()).chain(headers).collect();
    let rows: Vec<_> = match args.by {
        Grouping::Schedule => report
            .schedules
            .iter()
            .map(|one| {
                let mut sum = Sum::default();
                sum.add(one);
                sum.cells(&shown(&one.schedule))
            })
            .collect(),
        Grouping::Namespace | Grouping::Label(_) => {
            let wanted = |sum: &Sum| !args.only_discrepancies || sum.discrepancies > 0;
            report.groups.iter().filter(|(_, sum)| wanted(sum)).map(|(group, sum)| sum.cells(group)).collect()
        }
    };
    if !rows.is_empty() {
        text.push_str(&printer.lay_out(&mut Table::new(headers), &rows));
        text.push('\n');
    }
    let unclean: Vec<_> = report.schedules.iter().filter(|one| !one.is_clean()).collect();
    if !unclean.is_empty() {
        let rows: Vec<_> =
            unclean.iter().flat_map(|one| findings(one, &shown(&one.schedule), printer.is_wide())).collect();
        let headers = vec!["NOT CLEAN", "COUNT", "WHAT", "NEWEST", "WHY"];
        text.push_str(&printer.lay_out(&mut Table::new(headers), &rows));
        text.push_str("\nWhat to do\n");
        for one in unclean.iter().take(ADVISED_MAX) {
            text.push_str(&format!("  - {}: {}\n", shown(&one.schedule), advice(one)));
        }
        if unclean.len() > ADVISED_MAX {
            text.push_str(&format!("  - and so on, for {} more\n", unclean.len() - ADVISED_MAX));
        }
        text.push('\n');
    }
    let missed: Vec<_> = report.schedules.iter().filter(|one| one.success_missed_time.is_some()).collect();
    if !missed.is_empty() {
        text.push_str("Success missed: ");
        let names: Vec<_> = missed.iter().take(ADVISED_MAX).map(|one| shown(&one.schedule)).collect();
        text.push_str(&names.join(", "));
        if missed.len() > ADVISED_MAX {
            text.push_str(&format!(" and {} more", missed.len() - ADVISED_MAX));
        }
        text.push_str("\n\n");
    }
    text.push_str(&summary(report));
    text
}

/// The ways in which the instants of a schedule went wrong, each with its newest instant.
fn ways(report: &ScheduleReportView) -> Vec<(usize, &DiscrepancyView)> {
    let mut ways: Vec<(usize, &DiscrepancyView)> = Vec::new();
    for discrepancy in &report.discrepancies {
        match ways.iter_mut().find(|(_, first)| first.is_like(discrepancy)) {
            Some((count, _)) => *count += 1,
            None => ways.push((1, discrepancy)),
        }
    }
    ways
}

fn findings(report: &ScheduleReportView, shown: &str, is_wide: bool) -> Vec<Vec<Cell>> {
    let ways = ways(report);
    let untold = usize::try_from(report.discrepancy_count).unwrap_or(usize::MAX) - report.discrepancies.len();
    let limit = if is_wide { usize::MAX } else { WAYS_SHOWN };
    let hidden: usize = ways.iter().skip(limit).map(|(count, _)| count).sum::<usize>() + untold;
    let mut rows: Vec<Vec<Cell>> = Vec::new();
    for (count, newest) in ways.into_iter().take(limit) {
        rows.push(vec![
            if rows.is_empty() { shown.into() } else { "".into() },
            count.to_string().into(),
            Cell::new(newest.what(), Tone::Bad),
            newest.nominal_time.map_or_else(|| "-".to_owned(), |at| at.to_string()).into(),
            text::shortened(&newest.why(), if is_wide { 200 } else { 70 }).into(),
        ]);
    }
    if hidden > 0 {
        let first = if rows.is_empty() { shown } else { "" };
        let what = if untold > 0 && report.discrepancies.is_empty() {
            "not in the ledger any more"
        } else {
            "older ones"
        };
        rows.push(vec![first.into(), hidden.to_string().into(), what.into(), "".into(), "".into()]);
    }
    rows
}

fn advice(report: &ScheduleReportView) -> String {
    let namespace = match text::namespace_of(&report.schedule) {
        "default" => String::new(),
        namespace => format!(" -N {namespace}"),
    };
    let schedule = text::short_name(&report.schedule);
    match report.discrepancies.first() {
        Some(newest) => newest.advice(&namespace, schedule),
        None => format!("`belfry schedule describe {schedule}{namespace}` says more"),
    }
}

fn summary(report: &Report) -> String {
    let sum = &report.summary;
    let verdict = match (report.clean, sum.expected) {
        (true, 0) => "Clean: no instant was expected".to_owned(),
        (true, _) => "Clean".to_owned(),
        (false, _) => {
            format!("NOT CLEAN: {} instants of {} schedules", sum.discrepancies, sum.unclean_schedules)
        }
    };
    let range = match (report.from_time, report.to_time) {
        (Some(from), Some(to)) => format!("{from} to {to}"),
        (_, _) => "the range".to_owned(),
    };
    let late = match sum.late {
        0 => "none late".to_owned(),
        late => format!("{late} late (by up to {})", text::rough(sum.lateness_max_ms)),
    };
    format!(
        "{verdict}. {range}: {} schedules, {} instants expected, {} succeeded, {} merged, {} skipped, {} open, {late}.\n",
        sum.schedules, sum.expected, sum.succeeded, sum.merged, sum.skipped, sum.open
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::Format;

    fn discrepancy(at: i64, state: State) -> pb::Discrepancy {
        pb::Discrepancy {
            kind: pb::discrepancy::Kind::NotSucceeded.into(),
            nominal_time: Some(text::timestamp(at)),
            run: "namespaces/default/schedules/backup/runs/r".into(),
            state: state.into(),
            message: "no space left".into(),
            ..Default::default()
        }
    }

    fn backup() -> ScheduleReportView {
        let count = |state: State, count| pb::schedule_report::StateCount { state: state.into(), count };
        let mut discrepancies =
            vec![discrepancy(7_200_000, State::Failed), discrepancy(3_600_000, State::Failed)];
        discrepancies.push(discrepancy(0, State::Expired));
        pb::ScheduleReport {
            schedule: "namespaces/default/schedules/backup".into(),
            expected_count: 24,
            states: vec![count(State::Succeeded, 19), count(State::Failed, 2), count(State::Expired, 3)],
            discrepancy_count: 5,
            discrepancies,
            late_count: 1,
            lateness_max: Some(prost_types::Duration { seconds: 243, nanos: 0 }),
            ..Default::default()
        }
        .into()
    }

    fn args(by: Grouping) -> ReportArgs {
        ReportArgs {
            schedule: None,
            since: Duration::from_secs(86_400),
            from: None,
            to: None,
            tz: "UTC".into(),
            selector: String::new(),
            only_discrepancies: true,
            strict: false,
            by,
        }
    }

    fn reported(by: Grouping) -> String {
        let args = args(by);
        let mut report = Report {
            from_time: Some(Instant(0)),
            to_time: Some(Instant(86_400_000)),
            clean: false,
            summary: Sum::default(),
            groups: BTreeMap::new(),
            schedules: Vec::new(),
        };
        report.take(Some(backup()), &args);
        let clean = pb::ScheduleReport { schedule: "namespaces/x/schedules/y".into(), ..Default::default() };
        report.take(Some(clean.into()), &args);
        screen(&Printer::new(Format::Table, true), &report, &args)
    }

    #[test]
    fn the_screen_says_what_why_and_what_to_do() {
        let expected = "\
SCHEDULE  SCHEDULES  EXPECTED  SUCCEEDED  MERGED  SKIPPED  OPEN  BAD  LATE  BY
backup    1          24        19         0       0        0     5    1     4m3s

NOT CLEAN  COUNT  WHAT        NEWEST                WHY
backup     2      FAILED      1970-01-01T02:00:00Z  no space left
           1      EXPIRED     1970-01-01T00:00:00Z  no space left
           2      older ones

What to do
  - backup: `belfry run get backup/r` shows its output; mend the cause, then `belfry schedule trigger backup` if it cannot wait for the next instant

NOT CLEAN: 5 instants of 1 schedules. 1970-01-01T00:00:00Z to 1970-01-02T00:00:00Z: 2 schedules, 24 instants expected, 19 succeeded, 0 merged, 0 skipped, 0 open, 1 late (by up to 4m3s).
";
        assert_eq!(reported(Grouping::Schedule), expected);
    }

    #[test]
    fn schedules_are_added_up() {
        let text = reported(Grouping::Namespace);
        assert!(text.starts_with("NAMESPACE  SCHEDULES"), "{text}");
        assert!(text.contains("\ndefault    1 ") && !text.contains("\nx "), "{text}");
        assert!(reported(Grouping::parse("label=team").unwrap()).contains("(no team)"));
        assert!(Grouping::parse("team").is_err() && Grouping::parse("label=").is_err());
    }

    #[test]
    fn a_schedule_goes_on_on_the_next_page() {
        let mut first = backup();
        first.add(backup());
        assert_eq!(
            (first.expected_count, first.discrepancy_count, first.count_of(State::Failed)),
            (48, 10, 4)
        );
    }
}
