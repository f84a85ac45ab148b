//! `belfry apply`, `diff` and `export`: schedules, and the calendars, pools and namespaces that they use, as documents in files.
//!
//! ```text
//! files ──► documents ──► compared with the cluster ──► created, changed, unchanged      apply
//!                                   └──────────────────► what would differ, and its fires   diff
//! cluster ──► documents                                                                   export
//! ```
//! - APPLY-1: a document declares all of what it is about: what it leaves out has its default. Pausing and resuming are verbs
//!   and no declarations: a pause in a document is that of a schedule or pool that has to be created, and nothing else.
//! - APPLY-2: applying the same documents again changes nothing.
//! - APPLY-3: `--prune` deletes nothing unless everything could be applied, and never for lack of any schedule. It deletes
//!   schedules alone: they have labels to choose by, and are in use by nobody. A pool or calendar may be someone else's too.
//! - APPLY-4: namespaces, pools and calendars come before the schedules, and a schedule is left as it is when something that it
//!   uses could not be applied: it would run without the limits that its documents promise.

mod batch;
mod declare;
mod declared;
mod diff;
mod document;
mod export;
mod files;

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};

use belfry_sdk::{Client, pb};
use clap::Args;
use futures_util::StreamExt as _;
use futures_util::stream;
use serde::Serialize;

use self::declare::{Mode, made, repeatable, uses};
use self::declared::changes;
pub(crate) use self::diff::{DiffArgs, run as run_diff};
use self::document::Document;
pub(crate) use self::document::Kind;
pub(crate) use self::export::{ExportArgs, run as run_export};
use self::files::Accepted;
use super::schedule::{CheckArgs, DELETED_TOGETHER, Failures, Selector, agree, check_narrow, schedules};
use super::{Context, converse};
use crate::exit::{Exit, Failure};
use crate::output::{Cell, Listing, Row, Tone, prose};
use crate::text;

/// Documents other than schedules under way at once: enough to hide the way to the cluster, and too few to disturb it.
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

/// What became of a document.
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
    kind: Kind,
    name: String,
    result: Fate,
    /// The fields that differed.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    changed_fields: Vec<String>,
    #[serde(skip)]
    failure: Option<Failure>,
}

impl Applied {
    fn of(document: &Document, result: Result<(Fate, Vec<String>), Failure>) -> Self {
        let (kind, name) = (document.kind(), document.name().to_owned());
        match result {
            Ok((result, changed_fields)) => Self { kind, name, result, changed_fields, failure: None },
            Err(failure) => {
                Self { kind, name, result: Fate::Failed, changed_fields: Vec::new(), failure: Some(failure) }
            }
        }
    }
}

impl Row for Applied {
    fn headers(_is_wide: bool) -> Vec<&'static str> {
        vec!["NAME", "RESULT", "FIELDS"]
    }

    fn cells(&self, _is_wide: bool, _now: i64) -> Vec<Cell> {
        let result = match self.result {
            Fate::Created => Cell::new("created", Tone::Good),
            Fate::Changed => Cell::new("changed", Tone::Good),
            Fate::Unchanged => Cell::new("unchanged", Tone::Faint),
            Fate::Deleted => Cell::new("deleted", Tone::Open),
            Fate::Failed => Cell::new("failed", Tone::Bad),
        };
        // Of what is new every field differs.
        let fields = if self.result == Fate::Created { String::new() } else { self.changed_fields.join(",") };
        vec![self.name.as_str().into(), result, fields.into()]
    }

    fn name(&self) -> &str {
        &self.name
    }
}

pub(crate) fn run(context: &Context, args: &ApplyArgs) -> Result<(), Failure> {
    let documents = files::documents(&args.files.files, &context.global.namespace, Accepted::All)?;
    converse(async {
        let client = context.client()?;
        let surplus = surplus(context, args, &client, &documents).await?;
        apply(context, client, documents, surplus, args.check).await
    })
}

/// Applies the documents of one kind, which need not say that they are.
pub(crate) async fn run_only(
    context: &Context,
    kind: Kind,
    args: &FilesArgs,
    check: CheckArgs,
) -> Result<(), Failure> {
    let documents = files::documents(&args.files, &context.global.namespace, Accepted::Only(kind))?;
    apply(context, context.client()?, documents, Vec::new(), check).await
}

async fn apply(
    context: &Context,
    client: Client,
    documents: Vec<Document>,
    surplus: Vec<String>,
    check: CheckArgs,
) -> Result<(), Failure> {
    let mut applying = Applying {
        client,
        mode: if check.dry_run { Mode::check(&documents) } else { Mode::Write },
        listing: context.printer.listing("documents", text::now_millis()),
        failures: Failures::default(),
        failed: BTreeSet::new(),
        is_over: AtomicBool::new(false),
    };
    let (schedules, mut used): (Vec<_>, Vec<_>) =
        documents.into_iter().partition(|document| document.kind() == Kind::Schedule);
    used.sort_by_key(Document::kind);
    applying.apply(used).await?;
    applying.apply_schedules(schedules).await?;
    applying.prune(surplus).await?;
    if applying.listing.end()? == 0 {
        prose("no documents: nothing to apply");
    }
    check.remark("changed");
    applying.failures.end().map_err(|failure| match failure.exit() {
        // Nobody could be reached, which has a code of its own; all others are failures of some.
        Exit::NoLeader => failure,
        _other => failure.with_exit(Exit::Failed),
    })
}

/// An apply under way.
struct Applying {
    client: Client,
    mode: Mode,
    listing: Listing<Applied>,
    failures: Failures,
    /// What could not be applied, by resource name.
    failed: BTreeSet<String>,
    /// Whether the cluster cannot be reached.
    is_over: AtomicBool,
}

impl Applying {
    /// Applies documents that do not use one another.
    async fn apply(&mut self, documents: Vec<Document>) -> Result<(), Failure> {
        let Self { client, mode, failed, is_over, .. } = &*self;
        let all = stream::iter(documents)
            .map(|document| Box::pin(applied(client, document, mode, failed, is_over)))
            .buffered(CONCURRENT);
        let applied = all.collect().await;
        self.show(applied)
    }

    /// Likewise for schedules, of which there may be many.
    async fn apply_schedules(&mut self, documents: Vec<Document>) -> Result<(), Failure> {
        for batch in batch::batches(documents, &self.mode) {
            let applied = self.applied_together(batch).await;
            self.show(applied)?;
        }
        Ok(())
    }

    /// Creates or changes what the documents of a batch are about.
    async fn applied_together(&self, documents: Vec<Document>) -> Vec<Applied> {
        let Self { client, mode, failed, is_over, .. } = self;
        let hindrances: Vec<_> = documents.iter().map(|it| hindrance(it, failed, is_over)).collect();
        let free = documents.iter().zip(&hindrances).filter(|(_, hindrance)| hindrance.is_none());
        let free: Vec<&pb::Schedule> = free.filter_map(|(document, _)| document.schedule()).collect();
        let made = if free.is_empty() { Vec::new() } else { batch::made(client, &free, mode).await };
        let mut made = made.into_iter();
        let mut all = Vec::with_capacity(documents.len());
        for (document, hindrance) in documents.into_iter().zip(hindrances) {
            let result = match hindrance.map_or_else(|| made.next().unwrap_or(Ok(None)), Err) {
                Ok(Some((before, after))) => fate(before.as_ref(), &after),
                Ok(None) => {
                    all.push(applied(client, document, mode, failed, is_over).await);
                    continue;
                }
                // Said once: nothing was done of the others either.
                Err(failure) if failure.exit() == Exit::NoLeader => {
                    let is_known = is_over.fetch_or(true, Ordering::Relaxed);
                    Err(if is_known { not_tried() } else { failure })
                }
                Err(failure) => Err(failure),
            };
            all.push(Applied::of(&document, result));
        }
        all
    }

    fn show(&mut self, applied: Vec<Applied>) -> Result<(), Failure> {
        for mut applied in applied {
            if let Some(failure) = applied.failure.take() {
                self.failed.insert(applied.name.clone());
                self.failures.add(failure.about(&applied.name));
            }
            self.listing.page(&[applied])?;
        }
        Ok(())
    }

    /// Deletes schedules that nothing defines any more (APPLY-3).
    async fn prune(&mut self, surplus: Vec<String>) -> Result<(), Failure> {
        if !self.failed.is_empty() && !surplus.is_empty() {
            prose(&format!(
                "nothing was pruned, because {} document(s) could not be applied",
                self.failed.len()
            ));
            return Ok(());
        }
        // Somebody else may have been faster.
        let validate_only = self.mode.is_check();
        let request = |name: &String| pb::DeleteScheduleRequest {
            name: name.clone(),
            allow_missing: true,
            validate_only,
            ..Default::default()
        };
        for names in surplus.chunks(DELETED_TOGETHER) {
            let requests = names.iter().map(request).collect();
            let results = match self.client.batch_delete_schedules(requests).await {
                Ok(results) => results.into_iter().map(|result| result.map_err(repeatable)).collect(),
                Err(error) => vec![Err(repeatable(error)); names.len()],
            };
            let deleted = names.iter().zip(results).map(|(name, result)| Applied {
                kind: Kind::Schedule,
                name: name.clone(),
                result: if result.is_ok() { Fate::Deleted } else { Fate::Failed },
                changed_fields: Vec::new(),
                failure: result.err(),
            });
            self.show(deleted.collect())?;
        }
        Ok(())
    }
}

/// Creates or changes what one document is about.
async fn applied(
    client: &Client,
    document: Document,
    mode: &Mode,
    failed: &BTreeSet<String>,
    is_over: &AtomicBool,
) -> Applied {
    let result = match hindrance(&document, failed, is_over) {
        Some(failure) => Err(failure),
        None => change(client, &document, mode).await,
    };
    if let Err(failure) = &result {
        // The others would wait for their timeouts one after the other, only to say the same.
        is_over.fetch_or(failure.exit() == Exit::NoLeader, Ordering::Relaxed);
    }
    Applied::of(&document, result)
}

/// Why a document is not even tried.
fn hindrance(document: &Document, failed: &BTreeSet<String>, is_over: &AtomicBool) -> Option<Failure> {
    if is_over.load(Ordering::Relaxed) {
        return Some(not_tried());
    }
    let missing = uses(document.schedule()?).find(|used| failed.contains(used))?;
    Some(Failure::new(Exit::Failed, format!("not tried: {missing} could not be applied")))
}

async fn change(client: &Client, document: &Document, mode: &Mode) -> Result<(Fate, Vec<String>), Failure> {
    let (before, after) = made(client, document, mode).await?;
    fate(before.as_ref(), &after)
}

fn not_tried() -> Failure {
    Failure::new(Exit::NoLeader, "not tried: the cluster cannot be reached")
}

fn fate(before: Option<&Document>, after: &Document) -> Result<(Fate, Vec<String>), Failure> {
    let fields = changes(before, after)?.into_iter().map(|change| change.field).collect::<Vec<_>>();
    let fate = match before {
        None => Fate::Created,
        Some(_) if fields.is_empty() => Fate::Unchanged,
        Some(_) => Fate::Changed,
    };
    Ok((fate, fields))
}

/// The schedules that `--prune` would delete, once somebody has agreed to that (APPLY-3).
async fn surplus(
    context: &Context,
    args: &ApplyArgs,
    client: &Client,
    documents: &[Document],
) -> Result<Vec<String>, Failure> {
    let Some(selector) = args.selector.as_ref().filter(|_| args.prune) else { return Ok(Vec::new()) };
    check_narrow(selector)?;
    let defined: BTreeSet<&str> =
        documents.iter().filter_map(Document::schedule).map(|schedule| schedule.name.as_str()).collect();
    if defined.is_empty() {
        return Err(Failure::usage(
            "no schedules in the documents: --prune would delete everything that the selector matches, which `belfry schedule delete -l` does",
        ));
    }
    let namespaces: BTreeSet<String> = defined
        .iter()
        .map(|name| format!("namespaces/{}", text::namespace_of(name)))
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
