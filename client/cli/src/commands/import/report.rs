//! What an import says: a table or a document on stdout; remarks, reasons and the sum on stderr.

use std::collections::BTreeMap;

use serde::Serialize;

use super::apply::Outcome;
use super::plan::{Plan, Rejected, Remarks};
use super::{ImportArgs, Origin};
use crate::commands::Context;
use crate::exit::{Exit, Failure};
use crate::output::{Cell, Row, Table, Tone, prose};
use crate::text;

/// Places named in one remark: the rest is counted.
const PLACES_SHOWN: usize = 8;
/// Differing fires said per schedule; documents have more of them.
const DIFFERENCES_SHOWN: usize = 3;

#[derive(Debug, Serialize)]
struct Document<'a> {
    schedules: &'a [Plan],
    not_imported: &'a [Rejected],
    summary: Summary,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
struct Summary {
    same: usize,
    changed: usize,
    not_imported: usize,
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let total = self.same + self.changed + self.not_imported;
        let word = if total == 1 { "schedule" } else { "schedules" };
        write!(
            f,
            "{total} {word}: {} same, {} with changed meaning, {} not imported",
            self.same, self.changed, self.not_imported
        )
    }
}

/// What an import found and did.
pub(super) struct Report<'a> {
    pub(super) origin: &'a Origin,
    pub(super) plans: &'a [Plan],
    pub(super) rejected: &'a [Rejected],
    /// About the input as a whole.
    pub(super) remarks: &'a [String],
}

impl Report<'_> {
    /// Writes everything but the verdict.
    pub(super) fn write(&self, context: &Context, now: i64) -> Result<(), Failure> {
        for Rejected { place, text, reason } in self.rejected {
            prose(&format!("{place}: not imported: {text}: {reason}"));
        }
        self.remarks.iter().for_each(|remark| prose(remark));
        for (remark, places) in self.grouped() {
            prose(&format!("{}: {remark}", shown(&places)));
        }
        self.plans.iter().for_each(|plan| say_differences(plan, self.called(plan)));
        let summary = self.summary();
        let document = Document { schedules: self.plans, not_imported: self.rejected, summary };
        let names: Vec<&str> = self.plans.iter().map(|plan| plan.name.as_str()).collect();
        context.printer.one(&document, &names.join("\n"), |printer| {
            let is_wide = printer.is_wide();
            let rows: Vec<_> = self.plans.iter().map(|plan| plan.cells(is_wide, now)).collect();
            let mut table = Table::new(Plan::headers(is_wide));
            if rows.is_empty() { String::new() } else { printer.lay_out(&mut table, &rows) }
        })?;
        prose(&summary.to_string());
        Ok(())
    }

    /// Exits with 1 when the source and the schedules do not say the same.
    pub(super) fn verdict(&self, args: &ImportArgs) -> Result<(), Failure> {
        if !args.apply && !self.plans.is_empty() {
            prose("dry run: nothing was created; --apply creates these schedules, paused");
        }
        let outcomes = |wanted: Outcome| self.plans.iter().filter(|plan| plan.result == Some(wanted)).count();
        let changed = match (args.apply, args.accept_changes) {
            (_, true) => 0,
            (true, false) => outcomes(Outcome::LeftOut),
            (false, false) => self.summary().changed,
        };
        let problems = [
            (self.rejected.len(), "cannot be imported, see above"),
            (changed, "with changed meaning, see above: --accept-changes creates them"),
            (outcomes(Outcome::SourceChanged), "whose source has changed since: --update changes them"),
            (
                outcomes(Outcome::NameTaken),
                "whose name a schedule has that no import made: choose a --prefix, or --overwrite it",
            ),
            (
                outcomes(Outcome::NotKept),
                "of which the cluster did not keep everything: are its nodes older than this command? They stay paused",
            ),
            (
                outcomes(Outcome::ChangedHere),
                "that somebody has changed here since: --overwrite changes them back",
            ),
        ];
        let problems: Vec<String> = problems
            .iter()
            .filter(|(count, _)| *count > 0)
            .map(|(count, what)| format!("{count} schedule(s) {what}"))
            .collect();
        if problems.is_empty() { Ok(()) } else { Err(Failure::new(Exit::Failed, problems.join("; "))) }
    }

    fn summary(&self) -> Summary {
        let same = self.plans.iter().filter(|plan| plan.is_same()).count();
        Summary { same, changed: self.plans.len() - same, not_imported: self.rejected.len() }
    }

    /// What people call a plan.
    fn called<'p>(&self, plan: &'p Plan) -> &'p str {
        if self.origin.has_names { text::short_name(&plan.name) } else { &plan.place }
    }

    /// Equal remarks of several plans are said once.
    fn grouped(&self) -> Vec<(String, Vec<&str>)> {
        let mut order = Vec::new();
        let mut places: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for plan in self.plans {
            for remark in said_of(plan) {
                if !places.contains_key(&remark) {
                    order.push(remark.clone());
                }
                places.entry(remark).or_default().push(self.called(plan));
            }
        }
        order.into_iter().filter_map(|remark| places.remove(&remark).map(|places| (remark, places))).collect()
    }
}

fn said_of(plan: &Plan) -> Vec<String> {
    let Remarks { changes, not_carried, notes } = &plan.remarks;
    let changes = changes.iter().map(|change| format!("changed: {}: {}", change.field, change.meaning));
    let not_carried =
        (!not_carried.is_empty()).then(|| format!("changed: not carried: {}", not_carried.join(", ")));
    let notes = notes.iter().map(|note| format!("note: {note}"));
    changes.chain(not_carried).chain(notes).collect()
}

/// `line 3, line 5 and 12 more`.
fn shown(places: &[&str]) -> String {
    let named = places.iter().take(PLACES_SHOWN).copied().collect::<Vec<_>>().join(", ");
    match places.len().saturating_sub(PLACES_SHOWN) {
        0 => named,
        more => format!("{named} and {more} more"),
    }
}

fn say_differences(plan: &Plan, name: &str) {
    let mut reason = "";
    for difference in plan.differences.iter().take(DIFFERENCES_SHOWN) {
        let why = match difference.reason() {
            same if same == reason => String::new(),
            other => format!(": {other}"),
        };
        reason = difference.reason();
        prose(&format!("{name}: changed: fires {difference}{why}"));
    }
    match plan.differences.len().saturating_sub(DIFFERENCES_SHOWN) {
        0 => {}
        more => prose(&format!("{name}: changed: and {more} more fires; -o json lists them")),
    }
}

impl Row for Plan {
    fn headers(is_wide: bool) -> Vec<&'static str> {
        let mut headers = vec!["WHERE", "SCHEDULE", "RESULT", "MEANING", "TIMING", "ZONE", "NEXT", "COMMAND"];
        if is_wide {
            headers.insert(7, "AFTER THAT");
        }
        headers
    }

    fn cells(&self, is_wide: bool, now: i64) -> Vec<Cell> {
        let result = self.result.map_or_else(|| "would create".into(), Outcome::cell);
        let meaning =
            if self.is_same() { Cell::new("same", Tone::Good) } else { Cell::new("changed", Tone::Bad) };
        let next = self.next.first();
        let next =
            next.map_or("never".to_owned(), |time| format!("{time} ({})", text::relative(time.0, now)));
        let mut cells: Vec<Cell> = vec![
            self.place.as_str().into(),
            text::short_name(&self.name).into(),
            result,
            meaning,
            self.timing.as_str().into(),
            self.time_zone.as_str().into(),
            next.into(),
            text::shortened(&self.command, 50).into(),
        ];
        if is_wide {
            let later: Vec<String> = self.next.iter().skip(1).take(2).map(ToString::to_string).collect();
            cells.insert(7, later.join(" ").into());
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

    #[test]
    fn many_places_are_counted() {
        assert_eq!(shown(&["line 1", "line 2"]), "line 1, line 2");
        let places: Vec<String> = (1..=20).map(|line| format!("line {line}")).collect();
        let places: Vec<&str> = places.iter().map(String::as_str).collect();
        assert!(shown(&places).ends_with("line 8 and 12 more"));
    }

    #[test]
    fn the_sum_is_one_line() {
        let summary = Summary { same: 9, changed: 2, not_imported: 1 };
        assert_eq!(summary.to_string(), "12 schedules: 9 same, 2 with changed meaning, 1 not imported");
    }
}
