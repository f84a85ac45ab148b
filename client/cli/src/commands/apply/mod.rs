//! `belfry apply`, `diff` and `export`: schedules as documents in files.
//!
//! ```text
//! files ──► documents ──► compared with the cluster ──► created, changed, unchanged      apply
//!                                   └──────────────────► what would differ, and its fires   diff
//! cluster ──► documents                                                                   export
//! ```
//! - APPLY-1: a document declares all of its schedule: what it leaves out has its default. Pausing and resuming are verbs and
//!   no declarations: a pause in a document is that of a schedule that has to be created, and nothing else.
//! - APPLY-2: applying the same documents again changes nothing.
//! - APPLY-3: `--prune` deletes nothing unless everything could be applied, and never for lack of any document.

mod declared;
mod diff;
mod document;
mod export;
mod files;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use belfry_sdk::{Client, ClientError, pb};
use clap::Args;
use futures_util::StreamExt as _;
use futures_util::stream;
use serde::Serialize;

use self::declared::changes;
pub(crate) use self::diff::{DiffArgs, run as run_diff};
pub(crate) use self::export::{ExportArgs, run as run_export};
use super::schedule::{CheckArgs, Failures, Selector, agree, schedules};
use super::{Context, converse};
use crate::exit::{Exit, Failure};
use crate::output::{Cell, Row, Tone, prose};
use crate::text;

/// Schedules under way at once: enough to hide the way to the cluster, and too few to disturb it.
const CONCURRENT: usize = 8;

#[derive(Debug, Args)]
pub(crate) struct FilesArgs {
    /// File or folder of documents in YAML or JSON, or `-` for stdin; repeatable.
    #[arg(short = 'f', long = "file", value_name = "FILE", required = true)]
    files: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct ApplyArgs {
    #[command(flatten)]
    files: FilesArgs,
    /// Delete schedules that --selector matches and no document defines, after listing them.
    #[arg(long, requires = "selector")]
    prune: bool,
    /// Which schedules --prune may delete: `managed-by=git`.
    #[arg(short = 'l', long, value_parser = Selector::parse, requires = "prune")]
    selector: Option<Selector>,
    /// Do not ask.
    #[arg(short, long)]
    yes: bool,
    #[command(flatten)]
    check: CheckArgs,
}

/// What became of a schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Fate {
    Created,
    Changed,
    Unchanged,
    Deleted,
    Failed,
}

#[derive(Clone, Debug, Serialize)]
struct Applied {
    name: String,
    result: Fate,
    /// The fields that differed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    changed_fields: Vec<String>,
    #[serde(skip)]
    failure: Option<Failure>,
}

impl Row for Applied {
    fn headers(_is_wide: bool) -> Vec<&'static str> {
        vec!["SCHEDULE", "RESULT", "FIELDS"]
    }

    fn cells(&self, _is_wide: bool, _now: i64) -> Vec<Cell> {
        let result = match self.result {
            Fate::Created => Cell::new("created", Tone::Good),
            Fate::Changed => Cell::new("changed", Tone::Good),
            Fate::Unchanged => Cell::new("unchanged", Tone::Faint),
            Fate::Deleted => Cell::new("deleted", Tone::Open),
            Fate::Failed => Cell::new("failed", Tone::Bad),
        };
        // Of a new schedule every field differs.
        let fields = if self.result == Fate::Created { String::new() } else { self.changed_fields.join(",") };
        vec![self.name.as_str().into(), result, fields.into()]
    }

    fn name(&self) -> &str {
        &self.name
    }
}

pub(crate) fn run(context: &Context, args: &ApplyArgs) -> Result<(), Failure> {
    let documents = files::schedules(&args.files.files, &context.global.namespace)?;
    converse(apply(context, args, documents))
}

async fn apply(context: &Context, args: &ApplyArgs, documents: Vec<pb::Schedule>) -> Result<(), Failure> {
    let client = context.client()?;
    let surplus = surplus(context, args, &client, &documents).await?;
    let dry_run = args.check.dry_run;
    let mut listing = context.printer.listing::<Applied>("schedules", text::now_millis());
    let mut failures = Failures::default();
    let mut failed = 0;
    let is_over = AtomicBool::new(false);
    let mut all = stream::iter(documents)
        .map(|document| Box::pin(applied(&client, document, dry_run, &is_over)))
        .buffered(CONCURRENT);
    while let Some(mut applied) = all.next().await {
        if let Some(failure) = applied.failure.take() {
            failed += 1;
            failures.add(failure.about(&applied.name));
        }
        listing.page(&[applied])?;
    }
    if failed > 0 && !surplus.is_empty() {
        prose(&format!("nothing was pruned, because {failed} schedule(s) could not be applied"));
    } else {
        for name in surplus {
            let deleted = deleted(&client, name, dry_run).await;
            if let Some(failure) = &deleted.failure {
                failures.add(failure.clone().about(&deleted.name));
            }
            listing.page(&[deleted])?;
        }
    }
    if listing.end()? == 0 {
        prose("no documents: nothing to apply");
    }
    args.check.remark("changed");
    failures.end().map_err(|failure| match failure.exit() {
        // Nobody could be reached, which has a code of its own; all others are failures of some.
        Exit::NoLeader => failure,
        _other => failure.with_exit(Exit::Failed),
    })
}

/// Creates or changes one schedule.
async fn applied(client: &Client, document: pb::Schedule, dry_run: bool, is_over: &AtomicBool) -> Applied {
    let name = document.name.clone();
    let result = if is_over.load(Ordering::Relaxed) {
        Err(Failure::new(Exit::NoLeader, "not tried: the cluster cannot be reached"))
    } else {
        change(client, document, dry_run).await
    };
    match result {
        Ok((result, changed_fields)) => Applied { name, result, changed_fields, failure: None },
        Err(failure) => {
            // The others would wait for their timeouts one after the other, only to say the same.
            is_over.fetch_or(failure.exit() == Exit::NoLeader, Ordering::Relaxed);
            Applied { name, result: Fate::Failed, changed_fields: Vec::new(), failure: Some(failure) }
        }
    }
}

async fn change(
    client: &Client,
    document: pb::Schedule,
    dry_run: bool,
) -> Result<(Fate, Vec<String>), Failure> {
    let before = current(client, &document.name).await?;
    let after = Box::pin(declare(client, document, before.is_none(), dry_run)).await?;
    let fields = changes(before.as_ref(), &after)?.into_iter().map(|change| change.field).collect::<Vec<_>>();
    let fate = match before {
        None => Fate::Created,
        Some(_) if fields.is_empty() => Fate::Unchanged,
        Some(_) => Fate::Changed,
    };
    Ok((fate, fields))
}

/// The schedule as it is.
async fn current(client: &Client, name: &str) -> Result<Option<pb::Schedule>, Failure> {
    match client.get_schedule(pb::GetScheduleRequest { name: name.to_owned() }).await {
        Ok(schedule) => Ok(Some(schedule)),
        Err(ClientError::NotFound(_)) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Makes a schedule what a document declares it to be (APPLY-1).
async fn declare(
    client: &Client,
    document: pb::Schedule,
    is_new: bool,
    validate_only: bool,
) -> Result<pb::Schedule, Failure> {
    if is_new && document.pause.is_some() {
        // One call, so that there is no moment in which it is not paused.
        let request = pb::CreateScheduleRequest {
            parent: format!("namespaces/{}", text::namespace_of(&document.name)),
            schedule_id: text::short_name(&document.name).to_owned(),
            schedule: Some(pb::Schedule { name: String::new(), ..document }),
            validate_only,
            ..Default::default()
        };
        return client.create_schedule(request).await.map_err(repeatable);
    }
    let request = pb::UpdateScheduleRequest {
        schedule: Some(document),
        update_mask: Some(prost_types::FieldMask { paths: vec!["*".to_owned()] }),
        allow_missing: true,
        validate_only,
        ..Default::default()
    };
    client.update_schedule(request).await.map_err(repeatable)
}

/// A call with a lost answer needs no request id here: APPLY-2.
fn repeatable(error: ClientError) -> Failure {
    match error {
        ClientError::OutcomeUnknown { cause, .. } => Failure::new(
            Exit::OutcomeUnknown,
            format!("outcome unknown ({cause}): apply again, which changes nothing twice"),
        ),
        other => other.into(),
    }
}

/// The schedules that `--prune` would delete, once somebody has agreed to that (APPLY-3).
async fn surplus(
    context: &Context,
    args: &ApplyArgs,
    client: &Client,
    documents: &[pb::Schedule],
) -> Result<Vec<String>, Failure> {
    let Some(selector) = args.selector.as_ref().filter(|_| args.prune) else { return Ok(Vec::new()) };
    selector.check_narrow()?;
    if documents.is_empty() {
        return Err(Failure::usage(
            "no documents: --prune would delete everything that the selector matches, which `belfry schedule delete -l` does",
        ));
    }
    let defined: BTreeSet<&str> = documents.iter().map(|document| document.name.as_str()).collect();
    let namespaces: BTreeSet<String> = documents
        .iter()
        .map(|document| format!("namespaces/{}", text::namespace_of(&document.name)))
        .chain([context.parent()])
        .collect();
    let mut surplus = Vec::new();
    for namespace in namespaces {
        let mut pages = schedules(client, &namespace);
        while let Some(page) = pages.next().await? {
            let fitting = page.into_iter().filter(|schedule| selector.fits(&schedule.labels));
            surplus.extend(
                fitting.map(|schedule| schedule.name).filter(|name| !defined.contains(name.as_str())),
            );
        }
    }
    if !surplus.is_empty() && !args.yes && !args.check.dry_run {
        agree("delete", &surplus)?;
    }
    Ok(surplus)
}

async fn deleted(client: &Client, name: String, validate_only: bool) -> Applied {
    // Somebody else may have been faster.
    let request = pb::DeleteScheduleRequest {
        name: name.clone(),
        allow_missing: true,
        validate_only,
        ..Default::default()
    };
    let failure = client.delete_schedule(request).await.map_err(repeatable).err();
    let result = if failure.is_some() { Fate::Failed } else { Fate::Deleted };
    Applied { name, result, changed_fields: Vec::new(), failure }
}
