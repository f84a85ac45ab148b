//! `belfry diff`: what an apply would change, and which fires that adds and takes away.
//!
//! The answer is the cluster's own: it is asked to validate each document, and says what it would make of it. So defaults,
//! calendars and limits are those that an apply would meet.

use std::collections::BTreeSet;

use belfry_sdk::{Client, pb};
use clap::Args;
use futures_util::{StreamExt as _, stream};
use serde::Serialize;
use serde_json::Value;

use super::declared::{Change, changes};
use super::{CONCURRENT, FilesArgs, current, declare, files};
use crate::commands::schedule::Failures;
use crate::commands::{Context, converse};
use crate::exit::{Exit, Failure};
use crate::output::view::Instant;
use crate::output::{Cell, Printer, Table, Tone, prose};
use crate::text;

#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    #[command(flatten)]
    files: FilesArgs,
}

#[derive(Debug, Serialize)]
struct Differences {
    schedules: Vec<Difference>,
}

/// How a schedule differs from its document.
#[derive(Debug, Serialize)]
struct Difference {
    name: String,
    is_new: bool,
    changes: Vec<Change>,
    /// Among the next fires of either side, as far as both are known.
    added_fires: Vec<Instant>,
    removed_fires: Vec<Instant>,
    #[serde(skip)]
    zone: String,
}

pub(crate) fn run(context: &Context, args: &DiffArgs) -> Result<(), Failure> {
    let documents = files::schedules(&args.files.files, &context.global.namespace)?;
    converse(diff(context, documents))
}

async fn diff(context: &Context, documents: Vec<pb::Schedule>) -> Result<(), Failure> {
    let client = context.client()?;
    let mut schedules = Vec::new();
    let mut failures = Failures::default();
    let mut all =
        stream::iter(documents).map(|document| Box::pin(differing(&client, document))).buffered(CONCURRENT);
    while let Some((name, difference)) = all.next().await {
        match difference {
            Ok(difference) if difference.changes.is_empty() => {}
            Ok(difference) => schedules.push(difference),
            Err(failure) => failures.add(failure.about(&name)),
        }
    }
    let names: Vec<String> = schedules.iter().map(|difference| difference.name.clone()).collect();
    let differences = Differences { schedules };
    let shown = |printer: &Printer| differences.schedules.iter().map(|one| one.shown(printer)).collect();
    // A name per line, and no empty line for none.
    if !names.is_empty() || context.printer.is_document() {
        context.printer.one(&differences, &names.join("\n"), shown)?;
    }
    failures.end().map_err(|failure| match failure.exit() {
        // 1 says that there are differences.
        Exit::Failed => failure.with_exit(Exit::Usage),
        _other => failure,
    })?;
    if names.is_empty() {
        prose("no differences");
        return Ok(());
    }
    Err(Failure::silent(Exit::Failed))
}

async fn differing(client: &Client, document: pb::Schedule) -> (String, Result<Difference, Failure>) {
    let name = document.name.clone();
    (name, difference(client, document).await)
}

async fn difference(client: &Client, document: pb::Schedule) -> Result<Difference, Failure> {
    let before = current(client, &document.name).await?;
    let after = Box::pin(declare(client, document, before.is_none(), true)).await?;
    let changes = changes(before.as_ref(), &after)?;
    let (old, new) = (before.as_ref().map(fires).unwrap_or_default(), fires(&after));
    let (added_fires, removed_fires) = compare(&old, &new);
    Ok(Difference {
        is_new: before.is_none(),
        zone: text::zone_or_utc(after.timing.as_ref().map_or("", |timing| &timing.time_zone)).to_owned(),
        name: after.name,
        changes,
        added_fires,
        removed_fires,
    })
}

fn fires(schedule: &pb::Schedule) -> Vec<Instant> {
    let status = schedule.status.as_ref();
    status.iter().flat_map(|status| &status.next_times).map(|time| Instant(text::millis(time))).collect()
}

/// Nodes tell as many fires of a schedule as this; fewer mean that there are no more.
const FIRES_TOLD: usize = 10;

/// The fires that only the new side has, and those that only the old one has, up to where both sides are known: what lies
/// behind the last fire that is told of a schedule is no difference.
fn compare(old: &[Instant], new: &[Instant]) -> (Vec<Instant>, Vec<Instant>) {
    let known_until = |fires: &[Instant]| match fires.last() {
        Some(last) if fires.len() >= FIRES_TOLD => *last,
        Some(_) | None => Instant(i64::MAX),
    };
    let until = known_until(old).min(known_until(new));
    let within =
        |fires: &[Instant]| fires.iter().copied().filter(|fire| *fire <= until).collect::<BTreeSet<_>>();
    let (old, new) = (within(old), within(new));
    (new.difference(&old).copied().collect(), old.difference(&new).copied().collect())
}

impl Difference {
    fn shown(&self, printer: &Printer) -> String {
        let mut text = format!("{}{}\n", self.name, if self.is_new { " (new)" } else { "" });
        let mut rows: Vec<Vec<Cell>> = Vec::new();
        // Of a new schedule every field is new: what its document says is not said again.
        for change in self.changes.iter().filter(|_| !self.is_new) {
            let gone =
                only_in(&change.before, &change.after).into_iter().map(|value| (value, "-", Tone::Bad));
            let new =
                only_in(&change.after, &change.before).into_iter().map(|value| (value, "+", Tone::Good));
            for (value, sign, tone) in gone.chain(new) {
                let line = format!("{}: {}", change.field, in_a_line(value));
                rows.push(vec![Cell::new(sign, tone), Cell::new(line, tone)]);
            }
        }
        let added = self.added_fires.iter().map(|fire| (*fire, "+", Tone::Good));
        let mut fires: Vec<_> =
            self.removed_fires.iter().map(|fire| (*fire, "-", Tone::Bad)).chain(added).collect();
        fires.sort_by_key(|(fire, sign, _)| (*fire, *sign == "+"));
        for (fire, sign, tone) in fires {
            let local = text::in_zone(fire.0, &self.zone).unwrap_or_default();
            rows.push(vec![Cell::new(sign, tone), Cell::new(format!("fires {fire}  {local}"), tone)]);
        }
        for line in printer.lay_out(&mut Table::plain(), &rows).lines() {
            text.push_str(&format!("  {line}\n"));
        }
        text
    }
}

/// What one value has and the other has not: of lists the items, unless only their order differs.
fn only_in<'a>(one: &'a Value, other: &Value) -> Vec<&'a Value> {
    match (one, other) {
        (Value::Null, _) => Vec::new(),
        (Value::Array(items), Value::Array(others)) => {
            let has_all = |items: &[Value], others: &[Value]| items.iter().all(|item| others.contains(item));
            if has_all(items, others) && has_all(others, items) {
                return vec![one];
            }
            items.iter().filter(|item| !others.contains(item)).collect()
        }
        (one, _) => vec![one],
    }
}

fn in_a_line(value: &Value) -> String {
    match value {
        Value::String(text) => text::shortened(text, 200),
        other => text::shortened(&other.to_string(), 200),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every(step: i64, count: i64) -> Vec<Instant> {
        (1..=count).map(|n| Instant(n * step)).collect()
    }

    #[test]
    fn fires_are_compared_as_far_as_both_sides_are_known() {
        let (added, removed) = compare(&every(10, 10), &every(20, 10));
        assert_eq!(
            (added, removed.len()),
            (vec![], 5),
            "every other one goes, and nothing is said of 110 and later"
        );
        let (added, removed) = compare(&every(10, 10), &[]);
        assert_eq!((added.len(), removed.len()), (0, 10), "it never fires again");
        let (added, removed) = compare(&[], &every(10, 10));
        assert_eq!((added.len(), removed.len()), (10, 0));
        assert_eq!(compare(&every(7, 10), &every(7, 10)), (vec![], vec![]));
        let (added, removed) = compare(&every(10, 3), &every(10, 10));
        assert_eq!((added.len(), removed.len()), (7, 0), "it had but three left");
    }

    #[test]
    fn a_difference_reads_like_a_patch() {
        let change =
            Change { field: "policies.lease_duration".into(), before: "30s".into(), after: "1m".into() };
        let difference = Difference {
            name: "namespaces/a/schedules/b".into(),
            is_new: false,
            changes: vec![
                change,
                Change { field: "labels.x".into(), before: Value::Null, after: "y".into() },
                Change { field: "codes".into(), before: vec![1, 2].into(), after: vec![2, 3].into() },
            ],
            added_fires: vec![Instant(1_795_399_200_000)],
            removed_fires: vec![Instant(1_795_399_200_000)],
            zone: "Europe/Berlin".into(),
        };
        let expected = "namespaces/a/schedules/b\n  -  policies.lease_duration: 30s\n  +  policies.lease_duration: 1m\n  \
                        +  labels.x: y\n  -  codes: 1\n  +  codes: 3\n  -  fires 2026-11-23T02:00:00Z  Mon 2026-11-23 03:00:00 CET\n  \
                        +  fires 2026-11-23T02:00:00Z  Mon 2026-11-23 03:00:00 CET\n";
        assert_eq!(difference.shown(&Printer::new(crate::output::Format::Table, true)), expected);
    }
}
