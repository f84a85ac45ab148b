//! `belfry cluster snapshot save|verify|restore`.
//!
//! - SAVE-1: a file has its name only once it is whole, verified and synced; until then it is `FILE.partial`.
//! - SAVE-2: nothing is written over.

use std::io::IsTerminal as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use belfry_sdk::pb;
use belfry_server::offline::{self, Missed, OfflineError, RestoreOptions, Restored, Summary};
use belfry_timing::{TimeZone, format_time, parse_time};
use clap::{Args, Subcommand};
use serde::Serialize;
use tokio::io::AsyncWriteExt as _;

use crate::commands::Context;
use crate::exit::{Exit, Failure};
use crate::output::{Cell, prose};

/// Between two lines about how far it is.
const SAY_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug, Subcommand)]
pub(crate) enum SnapshotCommand {
    /// Save everything that is committed now to a file.
    Save(SaveArgs),
    /// Check a snapshot, and show what it holds. Talks to no node.
    Verify(VerifyArgs),
    /// Make a snapshot the data folder of the first node of a new cluster. Talks to no node.
    Restore(RestoreArgs),
}

#[derive(Debug, Args)]
pub(crate) struct SaveArgs {
    /// The file to make.
    file: PathBuf,
    /// Save what this data folder of a stopped node holds, when the majority of its cluster is lost.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {
    /// The snapshot.
    file: PathBuf,
}

#[derive(Debug, Args)]
pub(crate) struct RestoreArgs {
    /// The snapshot.
    file: PathBuf,
    /// The data folder to make: it must not exist, or be empty.
    #[arg(long, value_name = "DIR")]
    data: PathBuf,
    /// Id of the node that it is for, as in its configuration.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    node_id: u64,
    /// host:port of the node's API, as others reach it.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7400")]
    api: String,
    /// host:port of the node's service for other nodes, as they reach it.
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:7401")]
    peer: String,
    /// When the former cluster ended for certain: what it may have begun until then is not run, what came later is made up for.
    /// An instant, as in 2026-11-25T18:00:00Z. Without it: now.
    #[arg(long, value_name = "TIME", conflicts_with = "catch_up")]
    skip_until: Option<String>,
    /// The former cluster began nothing after the snapshot: make up for what waits and what was missed, as policies say.
    #[arg(long)]
    catch_up: bool,
}

/// What a snapshot holds, as a document.
#[derive(Debug, Serialize)]
struct SummaryView {
    cluster_id: String,
    saved_at: String,
    saved_by: u64,
    release: String,
    term: u64,
    index: u64,
    digest: String,
    feature_level: u32,
    members: Vec<u64>,
    schedule_count: u64,
    run_count: u64,
    due_count: u64,
    running_count: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    watermark: Option<String>,
}

impl From<Summary> for SummaryView {
    fn from(summary: Summary) -> Self {
        Self {
            cluster_id: summary.info.cluster_id,
            saved_at: format_time(summary.info.saved_at.0),
            saved_by: summary.info.node.0,
            release: summary.info.release,
            term: summary.position.term,
            index: summary.position.index,
            digest: summary.digest,
            feature_level: summary.feature_level,
            members: summary.members.iter().map(|(id, _)| id.0).collect(),
            schedule_count: summary.schedules,
            run_count: summary.runs,
            due_count: summary.due,
            running_count: summary.running,
            watermark: summary.watermark.map(|at| format_time(at.0)),
        }
    }
}

impl From<OfflineError> for Failure {
    fn from(error: OfflineError) -> Self {
        Self::new(Exit::Failed, error.to_string())
    }
}

pub(super) async fn run(context: &Context, command: SnapshotCommand) -> Result<(), Failure> {
    match command {
        SnapshotCommand::Save(args) => save(context, &args).await,
        SnapshotCommand::Verify(args) => show(context, offline::verify(&args.file)?),
        SnapshotCommand::Restore(args) => restore(context, &args),
    }
}

async fn save(context: &Context, args: &SaveArgs) -> Result<(), Failure> {
    if args.file.exists() {
        let message = format!("{} exists: name another file, or remove it first", args.file.display());
        return Err(Failure::new(Exit::Conflict, message));
    }
    let summary = match &args.data {
        Some(data) => offline::save(data, &args.file)?,
        None => {
            let partial = partial(&args.file);
            let received = receive(context, &partial).await;
            // SAVE-1.
            match received.and_then(|()| put_in_place(&partial, &args.file)) {
                Ok(summary) => summary,
                Err(failure) => {
                    // It may not even exist; what went wrong is more worth saying.
                    std::fs::remove_file(&partial).ok();
                    return Err(failure);
                }
            }
        }
    };
    show(context, summary)?;
    prose(&format!("saved to {}", args.file.display()));
    Ok(())
}

fn partial(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".partial");
    name.into()
}

async fn receive(context: &Context, path: &Path) -> Result<(), Failure> {
    let mut parts = context.client()?.save_snapshot().await?;
    let cut_off =
        || Failure::new(Exit::Failed, "the snapshot was cut off: leadership may have moved, try again");
    let unwritable = |error: std::io::Error| {
        Failure::new(Exit::Failed, format!("cannot write {}: {error}", path.display()))
    };
    let Some(pb::snapshot_part::Part::Head(head)) = parts.next().await? else { return Err(cut_off()) };
    let mut out = tokio::fs::File::create(path).await.map_err(unwritable)?;
    let (mut written, mut said) = (0, Instant::now());
    let is_watched = std::io::stderr().is_terminal();
    while let Some(part) = parts.next().await? {
        let pb::snapshot_part::Part::Data(data) = part else { return Err(cut_off()) };
        out.write_all(&data).await.map_err(unwritable)?;
        written += data.len() as u64;
        if is_watched && said.elapsed() >= SAY_EVERY {
            prose(&format!("{} of {} MiB", written >> 20, head.bytes >> 20));
            said = Instant::now();
        }
    }
    if written != head.bytes {
        return Err(cut_off());
    }
    out.sync_all().await.map_err(unwritable)
}

fn put_in_place(partial: &Path, file: &Path) -> Result<Summary, Failure> {
    let summary = offline::verify(partial)?;
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let renamed = std::fs::rename(partial, file).and_then(|()| std::fs::File::open(folder)?.sync_all());
    renamed
        .map_err(|error| Failure::new(Exit::Failed, format!("cannot write {}: {error}", file.display())))?;
    Ok(summary)
}

fn show(context: &Context, summary: Summary) -> Result<(), Failure> {
    let view = SummaryView::from(summary);
    context.printer.one(&view, &view.cluster_id, |printer| printer.facts(facts(&view)))
}

fn facts(view: &SummaryView) -> Vec<(&'static str, Cell)> {
    let members: Vec<_> = view.members.iter().map(ToString::to_string).collect();
    vec![
        ("Cluster", view.cluster_id.as_str().into()),
        ("Saved", format!("{} by node {}, version {}", view.saved_at, view.saved_by, view.release).into()),
        ("Members", members.join(", ").into()),
        ("State", format!("term {}, index {}, digest {}", view.term, view.index, view.digest).into()),
        ("Feature level", view.feature_level.to_string().into()),
        ("Schedules", view.schedule_count.to_string().into()),
        (
            "Runs",
            format!(
                "{} due, {} running, {} in the ledger",
                view.due_count, view.running_count, view.run_count
            )
            .into(),
        ),
        ("Newest instant", view.watermark.as_deref().unwrap_or("-").into()),
    ]
}

fn restore(context: &Context, args: &RestoreArgs) -> Result<(), Failure> {
    let missed = match (&args.skip_until, args.catch_up) {
        (_, true) => Missed::CatchUp,
        (None, false) => Missed::Skip(None),
        (Some(text), false) => {
            let utc = TimeZone::parse("UTC").expect("every build knows UTC");
            let at =
                parse_time(text, &utc).map_err(|error| Failure::usage(format!("--skip-until: {error}")))?;
            Missed::Skip(Some(belfry_server::offline::instant(at)))
        }
    };
    let options = RestoreOptions {
        data: args.data.clone(),
        node_id: args.node_id,
        api: args.api.clone(),
        peer: args.peer.clone(),
        missed,
    };
    let Restored { cluster_id, summary, skip_until, tally } = offline::restore(&args.file, &options)?;
    let document = serde_json::json!({
        "cluster_id": cluster_id,
        "node_id": args.node_id,
        "restored_from": summary.info.cluster_id,
        "index": summary.position.index,
        "skip_until": skip_until.map(|at| format_time(at.0)),
        "not_run": tally.not_run,
        "running": tally.running,
        "paused_backfills": tally.paused_backfills,
    });
    context.printer.one(&document, &cluster_id, |printer| {
        printer.facts(vec![
            ("Cluster", cluster_id.as_str().into()),
            (
                "Restored from",
                format!("cluster {}, index {}", summary.info.cluster_id, summary.position.index).into(),
            ),
            ("Schedules", summary.schedules.to_string().into()),
            (
                "Taken back",
                format!("{} waiting runs, {} backfills paused", tally.not_run, tally.paused_backfills).into(),
            ),
            (
                "Running",
                format!("{}: by their policies, unless their executors report", tally.running).into(),
            ),
            (
                "Not run",
                skip_until
                    .map_or("nothing".to_owned(), |at| format!("instants up to {}", format_time(at.0)))
                    .into(),
            ),
        ])
    })?;
    prose(&format!(
        "start node {} on {}, then let others in with `belfry cluster add`",
        args.node_id,
        args.data.display()
    ));
    Ok(())
}
