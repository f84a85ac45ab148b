//! `belfry import crontab`: the plan of an import, and its report.

use std::collections::BTreeMap;
use std::io::Read as _;

use belfry_sdk::pb;
use belfry_timing::crontab::{self, Crontab, CrontabEntry, Unsupported};
use belfry_timing::{HashSeed, NeverFiring, TimeZone, Timing};
use clap::Args;
use serde::Serialize;

use super::apply;
use crate::commands::Context;
use crate::exit::{Exit, Failure};
use crate::output::view::Instant;
use crate::output::{Cell, Row, prose, warning};
use crate::text;

/// Fires shown per line in documents: enough to compare with the other scheduler's.
const FIRES_SHOWN: usize = 5;
/// The label by which imported schedules are found again: `belfry schedule list -l imported-from=crontab`.
const ORIGIN: (&str, &str) = ("imported-from", "crontab");

#[derive(Debug, Args)]
pub(crate) struct CrontabArgs {
    /// The crontab, as `crontab -l` prints it; `-` for stdin.
    file: String,
    /// Create the schedules, paused.
    #[arg(long)]
    apply: bool,
    /// Also change schedules that exist and differ.
    #[arg(long, requires = "apply")]
    update: bool,
    /// Zone of lines without CRON_TZ: that of the machine the crontab is from.
    #[arg(long, value_name = "ZONE")]
    tz: Option<String>,
    /// Put this in front of every name.
    #[arg(long, default_value = "")]
    prefix: String,
    /// Pool whose executors run them.
    #[arg(long, default_value = "")]
    pool: String,
}

/// What one line becomes.
#[derive(Debug, Serialize)]
pub(super) struct Planned {
    pub(super) line: usize,
    pub(super) name: String,
    expression: String,
    time_zone: String,
    command: String,
    next: Vec<Instant>,
    notes: Vec<String>,
    #[serde(skip)]
    pub(super) definition: pb::Schedule,
    /// What `--apply` did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) result: Option<apply::Result>,
}

#[derive(Debug, Serialize)]
struct Skipped<'a> {
    line: usize,
    text: &'a str,
    reason: &'a str,
}

#[derive(Debug, Serialize)]
struct Report<'a> {
    schedules: &'a [Planned],
    unsupported: Vec<Skipped<'a>>,
}

pub(super) fn run(context: &Context, args: &CrontabArgs) -> Result<(), Failure> {
    let crontab = crontab::parse(&read(&args.file)?);
    let zone = args.tz.as_deref().map(TimeZone::parse).transpose();
    let zone = zone.map_err(|error| Failure::usage(error.to_string()))?;
    if zone.is_none() && crontab.entries.iter().any(|entry| entry.time_zone.is_none()) {
        warning("lines without CRON_TZ are read in UTC, but cron uses its machine's zone: give it by --tz");
    }
    let zone = zone.unwrap_or_else(TimeZone::utc);
    let plan = |entry| planned(context, args, &zone, entry);
    let mut plans: Vec<Planned> = crontab.entries.iter().map(plan).collect::<Result<_, _>>()?;
    let result = if args.apply { apply::run(context, &mut plans, args.update) } else { Ok(()) };
    // What was done before a failure is said too.
    report(context, &plans, &crontab)?;
    result?;
    if !args.apply && !plans.is_empty() {
        prose("dry run: nothing was created; --apply creates these schedules, paused");
    }
    verdict(&plans, &crontab.unsupported)
}

fn read(file: &str) -> Result<String, Failure> {
    let bytes = if file == "-" {
        let mut bytes = Vec::new();
        std::io::stdin().read_to_end(&mut bytes).map(|_| bytes)
    } else {
        std::fs::read(file)
    };
    let bytes = bytes.map_err(|error| Failure::usage(format!("cannot read {file}: {error}")))?;
    String::from_utf8(bytes).map_err(|error| {
        let line =
            error.as_bytes()[..error.utf8_error().valid_up_to()].iter().filter(|b| **b == b'\n').count();
        Failure::usage(format!("line {} of {file} is not UTF-8: convert the file first", line + 1))
    })
}

fn planned(
    context: &Context,
    args: &CrontabArgs,
    default_zone: &TimeZone,
    entry: &CrontabEntry,
) -> Result<Planned, Failure> {
    let zone = entry.time_zone.as_deref().unwrap_or(default_zone.name());
    let name = context.schedule(&format!("{}{}", args.prefix, entry.suggested_name))?;
    let next = fires(&name, &entry.expression, zone)
        .map_err(|error| error.about(&format!("line {}", entry.line)))?;
    let mut notes = entry.notes.clone();
    notes.extend(mail_note(entry));
    Ok(Planned {
        line: entry.line,
        expression: entry.expression.clone(),
        time_zone: zone.to_owned(),
        command: entry.command.clone(),
        definition: definition(args, entry, &name, zone, next.is_empty()),
        name,
        next,
        notes,
        result: None,
    })
}

fn fires(name: &str, expression: &str, zone: &str) -> Result<Vec<Instant>, Failure> {
    let zone = TimeZone::parse(zone).map_err(|error| Failure::usage(error.to_string()))?;
    let seed = HashSeed::new(text::namespace_of(name), text::short_name(name));
    let timing = Timing::parse_cron(expression, &zone, NeverFiring::Allow, &seed)
        .map_err(|error| Failure::usage(error.to_string()))?;
    let fires = std::iter::successors(timing.next(text::now_millis()), |fire| timing.next(*fire));
    Ok(fires.take(FIRES_SHOWN).map(Instant).collect())
}

fn mail_note(entry: &CrontabEntry) -> Option<String> {
    let to = entry.environment.get("MAILTO").filter(|to| !to.is_empty())?;
    Some(format!("Belfry sends no mail to {to}: the tail of the output is in the ledger, `belfry run get`"))
}

/// The schedule of a line. What cron does with SHELL and HOME is done here too; all settings reach the command.
fn definition(
    args: &CrontabArgs,
    entry: &CrontabEntry,
    name: &str,
    zone: &str,
    never_fires: bool,
) -> pb::Schedule {
    let mut command = pb::CommandTarget {
        environment: entry.environment.clone(),
        working_directory: entry.environment.get("HOME").cloned().unwrap_or_default(),
        stdin: entry.stdin.clone().unwrap_or_default().into_bytes().into(),
        ..Default::default()
    };
    match entry.environment.get("SHELL").map(String::as_str) {
        None | Some("/bin/sh") => command.shell.clone_from(&entry.command),
        Some(shell) => command.argv = vec![shell.to_owned(), "-c".to_owned(), entry.command.clone()],
    }
    let cron = pb::Cron {
        expression: entry.expression.clone(),
        allow_never: never_fires,
        resolved_expression: String::new(),
    };
    pb::Schedule {
        name: name.to_owned(),
        labels: BTreeMap::from([(ORIGIN.0.to_owned(), ORIGIN.1.to_owned())]),
        description: entry.comment.clone().unwrap_or_default(),
        timing: Some(pb::Timing {
            include: vec![pb::Rule { rule: Some(pb::rule::Rule::Cron(cron)) }],
            time_zone: zone.to_owned(),
            ..Default::default()
        }),
        target: Some(pb::Target { target: Some(pb::target::Target::Command(command)) }),
        pool: args.pool.clone(),
        ..Default::default()
    }
}

fn report(context: &Context, plans: &[Planned], crontab: &Crontab) -> Result<(), Failure> {
    let skipped = |line: &Unsupported| prose(&format!("line {}: {}: {}", line.line, line.text, line.reason));
    crontab.unsupported.iter().for_each(skipped);
    let mut notes: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for plan in plans {
        plan.notes.iter().for_each(|note| notes.entry(note).or_default().push(plan.line.to_string()));
    }
    for (note, lines) in &notes {
        let word = if lines.len() == 1 { "line" } else { "lines" };
        prose(&format!("{word} {}: note: {note}", lines.join(", ")));
    }
    let unsupported = crontab.unsupported.iter();
    let unsupported =
        unsupported.map(|line| Skipped { line: line.line, text: &line.text, reason: &line.reason });
    let report = Report { schedules: plans, unsupported: unsupported.collect() };
    let names: Vec<&str> = plans.iter().map(|plan| plan.name.as_str()).collect();
    context.printer.one(&report, &names.join("\n"), |printer| {
        let rows: Vec<_> =
            plans.iter().map(|plan| plan.cells(printer.is_wide(), text::now_millis())).collect();
        let mut table = crate::output::Table::new(Planned::headers(printer.is_wide()));
        if rows.is_empty() { String::new() } else { printer.lay_out(&mut table, &rows) }
    })
}

/// Exits with 1 when the file and the schedules do not say the same.
fn verdict(plans: &[Planned], unsupported: &[Unsupported]) -> Result<(), Failure> {
    let count = |wanted: apply::Result| plans.iter().filter(|plan| plan.result == Some(wanted)).count();
    let mut problems = Vec::new();
    if !unsupported.is_empty() {
        problems.push(format!("{} line(s) cannot be imported, see above", unsupported.len()));
    }
    match count(apply::Result::Different) {
        0 => {}
        different => {
            problems.push(format!("{different} schedule(s) exist and differ: --update changes them"))
        }
    }
    if problems.is_empty() { Ok(()) } else { Err(Failure::new(Exit::Failed, problems.join("; "))) }
}

impl Row for Planned {
    fn headers(is_wide: bool) -> Vec<&'static str> {
        let mut headers = vec!["LINE", "SCHEDULE", "RESULT", "TIMING", "ZONE", "NEXT", "COMMAND"];
        if is_wide {
            headers.insert(6, "AFTER THAT");
        }
        headers
    }

    fn cells(&self, is_wide: bool, now: i64) -> Vec<Cell> {
        let result = self.result.map_or_else(|| "would create".into(), apply::Result::cell);
        let next = self.next.first();
        let next =
            next.map_or("never".to_owned(), |time| format!("{time} ({})", text::relative(time.0, now)));
        let mut cells: Vec<Cell> = vec![
            self.line.to_string().into(),
            text::short_name(&self.name).into(),
            result,
            self.expression.as_str().into(),
            self.time_zone.as_str().into(),
            next.into(),
            text::shortened(&self.command, 50).into(),
        ];
        if is_wide {
            let later: Vec<String> = self.next.iter().skip(1).take(2).map(ToString::to_string).collect();
            cells.insert(6, later.join(" ").into());
        }
        cells
    }

    fn name(&self) -> &str {
        &self.name
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args() -> CrontabArgs {
        CrontabArgs {
            file: "-".into(),
            apply: false,
            update: false,
            tz: None,
            prefix: String::new(),
            pool: String::new(),
        }
    }

    fn command_of(text: &str) -> pb::CommandTarget {
        let entry = crontab::parse(text).entries.remove(0);
        let schedule = definition(&args(), &entry, "namespaces/n/schedules/s", "UTC", false);
        match schedule.target.unwrap().target.unwrap() {
            pb::target::Target::Command(command) => command,
            other => panic!("not a command: {other:?}"),
        }
    }

    #[test]
    fn a_line_becomes_what_cron_would_run() {
        let command = command_of("HOME=/srv\n0 3 * * * mail -s hi me%Hello\n");
        assert_eq!(command.shell, "mail -s hi me");
        assert_eq!(&command.stdin[..], b"Hello\n");
        assert_eq!(
            (command.working_directory.as_str(), command.environment["HOME"].as_str()),
            ("/srv", "/srv")
        );
    }

    #[test]
    fn another_shell_is_named() {
        let command = command_of("SHELL=/bin/bash\n0 3 * * * [[ -e x ]] && y\n");
        assert_eq!(command.argv, ["/bin/bash", "-c", "[[ -e x ]] && y"]);
        assert_eq!(command.shell, "");
    }
}
