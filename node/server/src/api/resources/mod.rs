//! What schedules refer to by name: calendars, pools and namespaces; and backfills.
//!
//! Calendars, pools and namespaces are small documents that are written whole: reading, proposing and listing them is the same
//! for all three, and stands here.

mod backfills;
mod calendars;
mod namespaces;
mod pools;

use belfry_core::command::RequestKey;
use belfry_core::object::{Declared, Object, ObjectName};
use belfry_core::{Action, Outcome, Rejection, Revision, State};

use super::errors::ApiError;
use super::pages::{self, Place};
use super::propose::revision;
use super::violations::Violations;
use super::{Api, Freshness};

/// A document to be written, as its request says.
struct Putting {
    declared: Declared,
    expected: Option<Revision>,
    request: Option<RequestKey>,
    validate_only: bool,
}

/// A page of a list, as its request asks for.
struct Listing<'a> {
    list: String,
    page_size: i32,
    page_token: &'a str,
    first: ObjectName,
}

impl Api {
    /// Writes a document; gives it as it is then. One that is only validated has no revision.
    async fn put(&self, putting: Putting) -> Result<Object, ApiError> {
        let Putting { declared, expected, request, validate_only } = putting;
        self.require_level_2("a calendar, pool or namespace")?;
        if validate_only {
            self.barrier(Freshness::Linearizable).await?;
            let name = declared.name();
            let current = self.0.replica.read(|state| state.object(&name).map(|object| object.revision));
            check_expected(name, current, expected)?;
            let (id, revision) = Default::default();
            return Ok(Object { id, revision, updated_at: self.0.clock.now(), kind: declared.into() });
        }
        let action = || Action::PutObject { declared: declared.clone(), expected };
        object_of(self.propose_patiently(request, action).await?)
    }

    /// Reads a document.
    async fn object(&self, name: ObjectName, freshness: Freshness) -> Result<Object, ApiError> {
        self.barrier(freshness).await?;
        let found = self.0.replica.read(|state| state.object(&name).cloned());
        found.ok_or_else(|| Rejection::ObjectNotFound { name }.into())
    }

    /// Reads a page of documents in order of name, and the token of the next one.
    async fn objects(
        &self,
        listing: Listing<'_>,
        freshness: Freshness,
        inside: impl Fn(&ObjectName) -> bool,
    ) -> Result<(Vec<Object>, String), ApiError> {
        let mut found = Violations::default();
        let size = pages::size(listing.page_size, self.0.limits.page_size_max, &mut found);
        let place = pages::place(&listing.list, listing.page_token, &mut found);
        found.check()?;
        let from = match place {
            Some(Place::Object(name)) => name,
            Some(Place::Schedule(_) | Place::Row(..) | Place::Run(_) | Place::Report { .. }) | None => {
                listing.first
            }
        };
        self.barrier(freshness).await?;
        // One more than asked for: it says where the next page begins.
        let mut objects: Vec<_> = self.0.replica.read(|state| {
            let objects = state.objects_from(&from);
            let objects = objects.take_while(|object| object.kind.name().is_some_and(|name| inside(&name)));
            objects.take(size + 1).cloned().collect()
        });
        let next = (objects.len() > size).then(|| objects.remove(size)).and_then(|next| next.kind.name());
        let token = next.map_or_else(String::new, |name| pages::token(&listing.list, &Place::Object(name)));
        Ok((objects, token))
    }

    /// Removes a document; one that is not there is no error if the caller says so.
    async fn delete_object(
        &self,
        request_key: Option<RequestKey>,
        name: Option<ObjectName>,
        etag: &str,
        allow_missing: bool,
        validate_only: bool,
        mut found: Violations,
    ) -> Result<(), ApiError> {
        let expected = revision("etag", etag, &mut found);
        let name = found.or(name)?;
        self.require_level_2("a calendar, pool or namespace")?;
        let deleted = if validate_only {
            self.barrier(Freshness::Linearizable).await?;
            let deletable = |state: &State| state.deletable(&name, expected).map(drop);
            self.0.replica.read(deletable).map_err(ApiError::from)
        } else {
            let action = Action::DeleteObject { name, expected };
            self.propose(self.0.clock.now(), request_key, action).await.map(drop)
        };
        match deleted {
            Err(ApiError::Rejected(Rejection::ObjectNotFound { .. })) if allow_missing => Ok(()),
            other => other,
        }
    }
}

fn object_of(outcome: Outcome) -> Result<Object, ApiError> {
    match outcome {
        Outcome::Object(object) => Ok(*object),
        _other => Err(ApiError::WrongOutcome),
    }
}

/// What a proposal would say of an etag.
fn check_expected(
    name: ObjectName,
    current: Option<Revision>,
    expected: Option<Revision>,
) -> Result<(), ApiError> {
    match (current, expected) {
        (_, None) => Ok(()),
        (Some(current), Some(expected)) if current == expected => Ok(()),
        (Some(current), Some(_)) => Err(Rejection::ObjectRevisionMismatch { name, current }.into()),
        (None, Some(_)) => Err(Rejection::ObjectNotFound { name }.into()),
    }
}

/// The etag of an object; empty for one that was only validated.
fn etag(object: &Object) -> String {
    if object.revision == Revision::default() { String::new() } else { object.revision.to_string() }
}
