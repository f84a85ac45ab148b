//! `belfry diff`: what an apply would change, and which fires that adds and takes away.
//!
//! The answer is the cluster's own: it is asked to validate each document, and says what it would make of it. So defaults,
//! calendars and limits are those that an apply would meet; calendars among the documents count as if they were there.
//!
//! - DIFF-1: a calendar that would change is shown by what it does: each schedule that uses it and would fire otherwise is
//!   listed, also when no document defines it.

use std::collections::BTreeSet;

use belfry_sdk::{Client, pb};
use clap::Args;
use futures_util::{StreamExt as _, stream};
use serde::Serialize;
use serde_json::Value;

use super::declare::{Mode, calendars_of, made};
use super::declared::{Change, changes};
use super::document::{Document, Kind};
use super::files::Accepted;
use super::{CONCURRENT, FilesArgs, files};
use crate::commands::schedule::{Failures, schedules};
use crate::commands::{Context, converse};
use crate::exit::{Exit, Failure};
use crate::output::view::Instant;
use crate::output::{Cell, Printer, Table, Tone, prose};
use crate::text;

/// Schedules asked for because of calendars alone: two calls each, a few seconds in all.
const USERS_MAX: usize = 1000;

#[derive(Debug, Args)]
pub(crate) struct DiffArgs {
    #[command(flatten)]
    files: FilesArgs,
}

#[derive(Debug, Serialize)]
struct Differences {
    documents: Vec<Difference>,
}

/// How what is there differs from its document, or a schedule from what changed calendars make of it.
#[derive(Debug, Serialize)]
struct Difference {
    kind: Kind,
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
    let documents = files::documents(&args.files.files, &context.global.namespace, Accepted::All)?;
    converse(diff(context, documents))
}

async fn diff(context: &Context, documents: Vec<Document>) -> Result<(), Failure> {
    let client = context.client()?;
    let mut comparing = Comparing {
        mode: Mode::check(&documents),
        client,
        changed_calendars: BTreeSet::new(),
        differences: Vec::new(),
        failures: Failures::default(),
    };
    let defined: BTreeSet<String> = documents.iter().map(|document| document.name().to_owned()).collect();
    let (schedules, mut used): (Vec<_>, Vec<_>) =
        documents.into_iter().partition(|document| document.kind() == Kind::Schedule);
    used.sort_by_key(Document::kind);
    comparing.compare(used).await;
    comparing.compare(schedules).await;
    comparing.compare_users(&defined).await?;
    let Comparing { differences, failures, .. } = comparing;

    let names: Vec<String> = differences.iter().map(|difference| difference.name.clone()).collect();
    let differences = Differences { documents: differences };
    let shown = |printer: &Printer| differences.documents.iter().map(|one| one.shown(printer)).collect();
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

/// A comparison under way.
struct Comparing {
    client: Client,
    mode: Mode,
    /// Those that are there and would change.
    changed_calendars: BTreeSet<String>,
    differences: Vec<Difference>,
    failures: Failures,
}

impl Comparing {
    /// Compares documents that do not use one another.
    async fn compare(&mut self, documents: Vec<Document>) {
        let Self { client, mode, changed_calendars, .. } = self;
        let all = stream::iter(documents)
            .map(|document| Box::pin(differing(client, mode, document)))
            .buffered(CONCURRENT);
        let all: Vec<_> = all.collect().await;
        let moved = |difference: &Difference, calendars: &[String]| {
            let has_moved = !(difference.added_fires.is_empty() && difference.removed_fires.is_empty());
            has_moved && calendars.iter().any(|calendar| changed_calendars.contains(calendar))
        };
        let mut changed = Vec::new();
        for (name, calendars, difference) in all {
            match difference {
                Ok(difference) if difference.changes.is_empty() && !moved(&difference, &calendars) => {}
                Ok(difference) => changed.push(difference),
                Err(failure) => self.failures.add(failure.about(&name)),
            }
        }
        for difference in changed {
            if difference.kind == Kind::Calendar && !difference.is_new {
                self.changed_calendars.insert(difference.name.clone());
            }
            self.differences.push(difference);
        }
    }

    /// DIFF-1: what changed calendars make of schedules that no document defines.
    async fn compare_users(&mut self, defined: &BTreeSet<String>) -> Result<(), Failure> {
        let namespaces: BTreeSet<&str> =
            self.changed_calendars.iter().map(|calendar| text::namespace_of(calendar)).collect();
        let mut users = Vec::new();
        for namespace in namespaces {
            let mut pages = schedules(&self.client, &format!("namespaces/{namespace}"));
            while let Some(page) = pages.next().await? {
                users.extend(page.into_iter().filter(|schedule| {
                    let is_user = calendars_of(schedule).any(|used| self.changed_calendars.contains(&used));
                    is_user && !defined.contains(&schedule.name)
                }));
            }
        }
        if users.len() > USERS_MAX {
            prose(&format!(
                "{} schedules use calendars that would change: the fires of {USERS_MAX} of them are compared",
                users.len()
            ));
            users.truncate(USERS_MAX);
        }
        let Self { client, mode, .. } = self;
        let all = stream::iter(users)
            .map(|schedule| Box::pin(differing_by_calendars(client, mode, schedule)))
            .buffered(CONCURRENT);
        let all: Vec<_> = all.collect().await;
        for (name, difference) in all {
            match difference {
                Ok(Some(difference)) => self.differences.push(difference),
                Ok(None) => {}
                Err(failure) => self.failures.add(failure.about(&name)),
            }
        }
        Ok(())
    }
}

/// With the calendars that it uses, if it is a schedule.
async fn differing(
    client: &Client,
    mode: &Mode,
    document: Document,
) -> (String, Vec<String>, Result<Difference, Failure>) {
    let calendars = document.schedule().map(|schedule| calendars_of(schedule).collect()).unwrap_or_default();
    let difference = async {
        let (before, after) = made(client, &document, mode).await?;
        let changes = changes(before.as_ref(), &after)?;
        let fires = |document: &Document| document.schedule().map(fires).unwrap_or_default();
        let (old, new) = (before.as_ref().map(fires).unwrap_or_default(), fires(&after));
        let zone = zone(after.schedule());
        Ok(Difference::new(after.kind(), after.name(), before.is_none(), changes, (&old, &new), zone))
    };
    let difference = difference.await;
    (document.name().to_owned(), calendars, difference)
}

/// None where it would fire as it does.
async fn differing_by_calendars(
    client: &Client,
    mode: &Mode,
    listed: pb::Schedule,
) -> (String, Result<Option<Difference>, Failure>) {
    let name = listed.name.clone();
    let difference = async {
        let before = client.get_schedule(pb::GetScheduleRequest { name: name.clone() }).await?;
        let request = pb::UpdateScheduleRequest {
            assumed_calendars: mode.assumed(&before),
            // All stays as it is.
            schedule: Some(before.clone()),
            update_mask: Some(prost_types::FieldMask { paths: vec!["description".to_owned()] }),
            validate_only: true,
            ..Default::default()
        };
        let after = client.update_schedule(request).await?;
        let fires = (&*fires(&before), &*fires(&after));
        let difference = Difference::new(Kind::Schedule, &name, false, Vec::new(), fires, zone(Some(&after)));
        let is_same = difference.added_fires.is_empty() && difference.removed_fires.is_empty();
        Ok((!is_same).then_some(difference))
    };
    let difference = Box::pin(difference).await;
    (name, difference)
}

fn zone(schedule: Option<&pb::Schedule>) -> String {
    let timing = schedule.and_then(|schedule| schedule.timing.as_ref());
    text::zone_or_utc(timing.map_or("", |timing| &timing.time_zone)).to_owned()
}

fn fires(schedule: &pb::Schedule) -> Vec<Instant> {
    let status = schedule.status.as_ref();
    status.iter().flat_map(|status| &status.next_times).map(|time| Instant(text::millis(time))).collect()
}

/// Nodes tell as many fires of a schedule that is read or checked as this; fewer mean that there are no more.
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
    fn new(
        kind: Kind,
        name: &str,
        is_new: bool,
        changes: Vec<Change>,
        (old, new): (&[Instant], &[Instant]),
        zone: String,
    ) -> Self {
        // What came due between the two answers is no difference.
        let now = Instant(text::now_millis());
        let coming = |fires: Vec<Instant>| fires.into_iter().filter(|fire| *fire > now).collect::<Vec<_>>();
        let (added, removed) = compare(old, new);
        let (added_fires, removed_fires) = (coming(added), coming(removed));
        Self { kind, name: name.to_owned(), is_new, changes, added_fires, removed_fires, zone }
    }

    fn shown(&self, printer: &Printer) -> String {
        let why = match (self.is_new, self.changes.is_empty()) {
            (true, _) => " (new)",
            (false, true) => " (by its calendars)",
            (false, false) => "",
        };
        let mut text = format!("{}{why}\n", self.name);
        let mut rows: Vec<Vec<Cell>> = Vec::new();
        // Of what is new every field is new: what its document says is not said again.
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
            kind: Kind::Schedule,
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
