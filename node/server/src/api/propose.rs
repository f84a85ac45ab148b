//! Mutations: request ids, etags, and patience with a schedule whose instants are just being recorded.

use std::time::Duration;

use belfry_core::command::RequestKey;
use belfry_core::{
    Action, Command, Definition, LogPosition, Outcome, Rejection, Revision, Schedule, UnixMillis,
};
use belfry_proto::v1 as pb;
use prost::Message;
use tokio::sync::watch;
use xxhash_rust::xxh3::xxh3_64;

use super::Api;
use super::errors::ApiError;
use super::violations::Violations;

/// Longest request id; a ULID has 26 bytes, a UUID 36.
const REQUEST_ID_BYTES_MAX: usize = 64;

/// A request that changes something.
pub(super) trait Mutation: Message {
    /// Which one: two kinds of requests with the same fields are not the same request.
    const NAME: &'static str;
    /// The client's id of it.
    fn request_id(&mut self) -> &mut String;
}

macro_rules! mutations {
    ($($request:ident)+) => {
        $(impl Mutation for pb::$request {
            const NAME: &'static str = stringify!($request);

            fn request_id(&mut self) -> &mut String {
                &mut self.request_id
            }
        })+
    };
}

mutations! {
    CreateScheduleRequest UpdateScheduleRequest DeleteScheduleRequest PauseScheduleRequest ResumeScheduleRequest
    TriggerScheduleRequest CancelRunRequest ResolveRunRequest PutCalendarRequest DeleteCalendarRequest PutPoolRequest
    DeletePoolRequest PutNamespaceRequest DeleteNamespaceRequest CreateBackfillRequest ControlBackfillRequest
}

/// The identity of a request, which no longer has its id after this; none if the client gave it none.
pub(super) fn request_key<M: Mutation>(request: &mut M, found: &mut Violations) -> Option<RequestKey> {
    let id = std::mem::take(request.request_id());
    found.limit("request_id", id.len(), REQUEST_ID_BYTES_MAX, "bytes");
    if id.is_empty() {
        return None;
    }
    // Maps are sorted, so that equal requests have equal bytes.
    let mut bytes = M::NAME.as_bytes().to_vec();
    bytes.extend(request.encode_to_vec());
    Some(RequestKey { id: id.into(), fingerprint: xxh3_64(&bytes) })
}

/// The revision that an etag stands for; none for an empty one: any will do.
pub(super) fn revision(field: &str, etag: &str, found: &mut Violations) -> Option<Revision> {
    if etag.is_empty() {
        return None;
    }
    let revision = etag.parse().ok().filter(|revision: &u64| revision.to_string() == etag);
    if revision.is_none() {
        found.add(field, "is not an etag that this API gives out: pass one back as it came, or none");
    }
    revision.map(Revision)
}

/// What a proposal would say of an etag.
pub(super) fn check_revision(schedule: &Schedule, expected: Option<Revision>) -> Result<(), ApiError> {
    match expected {
        Some(expected) if expected != schedule.revision => {
            let (key, current) = (schedule.key.clone(), schedule.revision);
            Err(Rejection::RevisionMismatch { key, current }.into())
        }
        Some(_) | None => Ok(()),
    }
}

impl Api {
    /// Proposes a command; a rejection is an error.
    pub(super) async fn propose(
        &self,
        now: UnixMillis,
        request: Option<RequestKey>,
        action: Action,
    ) -> Result<Outcome, ApiError> {
        self.propose_command(Command { now, request, action }).await
    }

    /// Likewise.
    pub(super) async fn propose_command(&self, command: Command) -> Result<Outcome, ApiError> {
        let proposed = self.propose_together(vec![Ok(command)]).await;
        proposed.into_iter().next().unwrap_or(Err(ApiError::WrongOutcome))
    }

    /// Proposes commands at once, [`PROPOSALS_MAX`](super::PROPOSALS_MAX) at most, but for those that were refused before. What became of
    /// each comes in their order, once it is known of all.
    pub(super) async fn propose_together(
        &self,
        commands: Vec<Result<Command, ApiError>>,
    ) -> Vec<Result<Outcome, ApiError>> {
        let replica = &self.0.replica;
        // Encoded first: while they wait there are only their bytes.
        let (mut prepared, mut results) = (Vec::with_capacity(commands.len()), Vec::new());
        results.extend(commands.into_iter().map(|command| {
            prepared.push(replica.prepare(&command?)?);
            Ok(())
        }));
        let places = u32::try_from(prepared.len()).unwrap_or(u32::MAX);
        let _turn = self.0.proposals.acquire_many(places).await.expect("the semaphore is never closed");
        let mut written = replica.propose_together(prepared).await.into_iter();
        let mut next = || Ok(written.next().ok_or(ApiError::WrongOutcome)??.1.outcome?);
        results.into_iter().map(|proposed: Result<(), ApiError>| proposed.and_then(|()| next())).collect()
    }

    /// Refuses what not every member of the cluster understands yet.
    pub(super) fn require_level_2(&self, what: &'static str) -> Result<(), ApiError> {
        let level = self.feature_level();
        if level >= 2 { Ok(()) } else { Err(ApiError::FeatureLevel { what, level, needed: 2 }) }
    }

    /// Likewise, of what a definition says.
    pub(super) fn require_level_of(&self, definition: &Definition) -> Result<(), ApiError> {
        // Looking into the definition takes longer, and is in vain once the level is there.
        if self.feature_level() >= 2 || definition.feature_level() < 2 {
            return Ok(());
        }
        self.require_level_2("a field of this schedule")
    }

    fn feature_level(&self) -> u32 {
        self.0.replica.read(belfry_core::State::feature_level)
    }

    /// Proposes until the schedule has caught up with its instants: the ticker records them within milliseconds.
    pub(super) async fn propose_patiently(
        &self,
        request: Option<RequestKey>,
        action: impl Fn() -> Action,
    ) -> Result<Outcome, ApiError> {
        let mut patience = Patience::new(self);
        loop {
            match self.propose(self.0.clock.now(), request.clone(), action()).await {
                Err(error) if patience.again(&error).await => {}
                other => return other,
            }
        }
    }
}

/// How often, and for how long, a proposal is repeated that came before the rows of the instants before it.
pub(super) struct Patience {
    applied: watch::Receiver<LogPosition>,
    tried: u32,
}

/// Tries, and the longest wait before each: a second in all, ten times what a busy ticker needs.
const TRIES: u32 = 20;
const WAIT_MAX: Duration = Duration::from_millis(50);

impl Patience {
    pub(super) fn new(api: &Api) -> Self {
        Self { applied: api.0.replica.applied(), tried: 0 }
    }

    /// Whether to propose once more; waits until that may make a difference.
    pub(super) async fn again(&mut self, error: &ApiError) -> bool {
        if !matches!(error, ApiError::Rejected(Rejection::NotCaughtUp { .. })) || self.tried == TRIES {
            return false;
        }
        self.tried += 1;
        self.applied.borrow_and_update();
        // On a busy cluster something is applied all the time: a short pause keeps the tries from being used up.
        tokio::time::sleep(Duration::from_millis(u64::from(self.tried))).await;
        // Time is up, or the replica ended: the next proposal says which.
        let _ = tokio::time::timeout(WAIT_MAX, self.applied.changed()).await;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fingerprint_is_that_of_the_request_without_its_id() {
        let key = |request: &pb::PauseScheduleRequest| {
            request_key(&mut request.clone(), &mut Violations::default())
        };
        let request =
            pb::PauseScheduleRequest { name: "n".into(), request_id: "a".into(), ..Default::default() };
        let other = pb::PauseScheduleRequest { request_id: "b".into(), ..request.clone() };
        let (first, second) = (key(&request).unwrap(), key(&other).unwrap());
        assert_eq!((first.id, second.id), ("a".into(), "b".into()));
        assert_eq!(first.fingerprint, second.fingerprint);
        let changed = pb::PauseScheduleRequest { reason: "r".into(), ..request.clone() };
        assert_ne!(key(&changed).unwrap().fingerprint, first.fingerprint);
        // A pause and a resume with the same fields are two requests.
        let mut resume =
            pb::ResumeScheduleRequest { name: "n".into(), request_id: "a".into(), ..Default::default() };
        let resume = request_key(&mut resume, &mut Violations::default()).unwrap();
        assert_ne!(resume.fingerprint, first.fingerprint);
        assert_eq!(key(&pb::PauseScheduleRequest::default()), None);
    }

    #[test]
    fn request_ids_and_etags_are_checked() {
        let mut found = Violations::default();
        let mut long = pb::PauseScheduleRequest { request_id: "x".repeat(65), ..Default::default() };
        request_key(&mut long, &mut found);
        for etag in ["x", "07", "-1", "+7"] {
            assert_eq!(revision("etag", etag, &mut found), None);
        }
        assert_eq!(found.all().len(), 5);
        let mut found = Violations::default();
        assert_eq!(revision("etag", "7", &mut found), Some(Revision(7)));
        assert_eq!(revision("etag", "", &mut found), None);
        assert!(found.all().is_empty());
    }
}
