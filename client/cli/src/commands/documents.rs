//! Calendars, pools and namespaces: small documents that are written whole.
//!
//! - WHOLE-1: a change of some fields loses nothing that somebody else changes at the same time: it is bound to what was
//!   read, and when that is no longer so, it is made again.

use belfry_sdk::ClientError;
use clap::Args;

use super::Context;
use super::schedule::{CheckArgs, Failures, RequestArgs};
use crate::exit::Failure;
use crate::output::prose;
use crate::text;

/// How often a change is made again after somebody else was faster.
pub(crate) const TRIES_MAX: u32 = 5;
/// Documents per call: the most that a node gives.
pub(crate) const PAGE_SIZE: i32 = 1000;

/// What protects the change of a document.
#[derive(Debug, Args)]
pub(crate) struct ChangeArgs {
    /// Change it only if this is still its etag.
    #[arg(long)]
    etag: Option<String>,
    #[command(flatten)]
    pub(crate) check: CheckArgs,
    #[command(flatten)]
    pub(crate) request: RequestArgs,
}

impl ChangeArgs {
    /// The etag to write with, where `read` is that of what was read.
    pub(crate) fn etag(&self, read: &str) -> String {
        self.etag.as_deref().unwrap_or(read).to_owned()
    }

    /// With an etag or a request id of the caller's a second try would be another request.
    fn may_repeat(&self) -> bool {
        self.etag.is_none() && self.request.id().is_empty()
    }
}

/// Reads, changes and writes (WHOLE-1).
pub(crate) async fn change<T>(
    args: &ChangeArgs,
    read: impl AsyncFn() -> Result<T, ClientError>,
    edit: impl Fn(&mut T) -> Result<(), Failure>,
    write: impl AsyncFn(T) -> Result<T, ClientError>,
) -> Result<T, Failure> {
    let mut tries = 0;
    loop {
        tries += 1;
        let mut document = read().await?;
        edit(&mut document)?;
        match write(document).await {
            Err(ClientError::Conflict(_)) if args.may_repeat() && tries < TRIES_MAX => {}
            result => {
                let written = result?;
                args.check.remark("changed");
                return Ok(written);
            }
        }
    }
}

/// What was read, or a new one where there is none.
pub(crate) fn or_new<T>(read: Result<T, ClientError>, new: impl FnOnce() -> T) -> Result<T, ClientError> {
    match read {
        Err(ClientError::NotFound(_)) => Ok(new()),
        other => other,
    }
}

/// Reads a list to its end: `fetch` gives the page of a token and the token behind it, `take` gets the pages.
pub(crate) async fn pages<T>(
    fetch: impl AsyncFn(String) -> Result<(Vec<T>, String), ClientError>,
    mut take: impl FnMut(Vec<T>) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut token = String::new();
    loop {
        let (page, next) = fetch(token).await?;
        take(page)?;
        if next.is_empty() {
            return Ok(());
        }
        token = next;
    }
}

#[derive(Debug, Args)]
pub(crate) struct DeleteArgs {
    /// What to delete, as NAME or as resource names.
    #[arg(required = true, value_name = "NAME")]
    names: Vec<String>,
    /// Delete it only if this is still its etag.
    #[arg(long, default_value_t, hide_default_value = true)]
    etag: String,
    /// Succeed where there is nothing of that name.
    #[arg(long)]
    allow_missing: bool,
    #[command(flatten)]
    check: CheckArgs,
    #[command(flatten)]
    request: RequestArgs,
}

/// A document to delete: the fields that the requests of all kinds have.
pub(crate) struct Deletion {
    pub(crate) name: String,
    pub(crate) etag: String,
    pub(crate) allow_missing: bool,
    pub(crate) validate_only: bool,
    pub(crate) request_id: String,
}

/// Deletes documents one after the other, and goes on after a failure.
pub(crate) async fn delete(
    args: &DeleteArgs,
    name: impl Fn(&str) -> Result<String, Failure>,
    delete: impl AsyncFn(Deletion) -> Result<(), ClientError>,
) -> Result<(), Failure> {
    let has_many = args.names.len() > 1;
    let is_bound = !(args.etag.is_empty() && args.request.id().is_empty());
    if is_bound && has_many {
        return Err(Failure::usage("--etag and --request-id are for one name: give just one"));
    }
    let names: Vec<String> = args.names.iter().map(|text| name(text)).collect::<Result<_, _>>()?;
    let mut failures = Failures::default();
    for name in names {
        let deletion = Deletion {
            name: name.clone(),
            etag: args.etag.clone(),
            allow_missing: args.allow_missing,
            validate_only: args.check.dry_run,
            request_id: args.request.id(),
        };
        match delete(deletion).await.map_err(Failure::from) {
            Ok(()) if args.check.dry_run => prose(&format!("would delete {name}")),
            Ok(()) => prose(&format!("deleted {name}")),
            Err(failure) if !has_many => failures.add(failure),
            Err(failure) => failures.add(failure.about(&name)),
        }
    }
    args.check.remark("deleted");
    failures.end()
}

impl Context {
    /// `pools/{name}`, unless `name` is that already.
    pub(crate) fn pool(&self, name: &str) -> Result<String, Failure> {
        text::pool_name(name).map_err(Failure::usage)
    }

    /// `namespaces/{name}`, unless `name` is that already.
    pub(crate) fn namespace(&self, name: &str) -> Result<String, Failure> {
        text::namespace_name(name).map_err(Failure::usage)
    }

    /// The resource name of a calendar.
    pub(crate) fn calendar(&self, name: &str) -> Result<String, Failure> {
        text::calendar_name(&self.global.namespace, name).map_err(Failure::usage)
    }
}
