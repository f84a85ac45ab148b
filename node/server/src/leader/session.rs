//! One executor's stream.
//!
//! The session reads the stream and passes batches on; it never waits for a commit, and nothing waits for a slow
//! executor: an outbox that is full ends its stream, and the executor dials again with what it holds.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use arcstr::ArcStr;
use belfry_core::command::{Begin, Completion, Retryable};
use belfry_core::run::{AttemptResult, Report};
use belfry_core::{AttemptNo, FencingToken, RunId, State, UnixMillis};
use belfry_proto::v1 as pb;
use belfry_proto::v1::executor_service_server::ExecutorService;
use futures_util::{Stream, StreamExt};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::commit::{BeginBatch, CompletionBatch, ENTRY_BYTES_MAX};
use super::dispatch::{Executor, SessionId};
use super::pump::Event;
use super::said::lease_of;
use super::{Leader, Reign};
use crate::api::errors::{self, ApiError};

/// Messages on their way to one executor.
const OUTBOX_MAX: usize = 256;

/// Runs named by one message.
const RUNS_PER_MESSAGE_MAX: usize = 4096;

/// Tail of the output that is kept.
const OUTPUT_TAIL_BYTES_MAX: usize = 64 * 1024;

/// Length of a message kept with a run.
const MESSAGE_BYTES_MAX: usize = 1024;

/// Length of a note of progress: one line.
const PROGRESS_BYTES_MAX: usize = 256;

/// How long an attempt may take in all when its code asks for more time: longer than a day is not one attempt any more, and
/// the next run of a daily schedule waits. Half of it is what the large queue services allow.
const ATTEMPT_MAX: Duration = Duration::from_secs(24 * 3600);

/// Labels of one executor, and length of each key and value.
const LABELS_MAX: usize = 64;
const LABEL_BYTES_MAX: usize = 128;

/// Handlers offered by one executor.
const HANDLERS_MAX: usize = 1024;

/// How long a stream may stay silent before its Hello.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);

/// Length of ids and names in Hello.
const NAME_BYTES_MAX: usize = 256;

type Reply = Result<pb::ExecutorReply, Status>;

/// Where messages to one executor go. Never waits: a full or closed outbox ends the session.
#[derive(Clone)]
pub(super) struct Outbox {
    sender: mpsc::Sender<Reply>,
    ended: CancellationToken,
}

impl Outbox {
    pub(super) fn send(&self, message: pb::executor_reply::Message) {
        if self.sender.try_send(Ok(pb::ExecutorReply { message: Some(message) })).is_err() {
            self.end();
        }
    }

    /// How many grants fit: they leave room for replies and acknowledgements.
    pub(super) fn room(&self) -> usize {
        self.sender.capacity().saturating_sub(OUTBOX_MAX / 2)
    }

    /// Ends the session; the executor dials again and says what it holds.
    pub(super) fn end(&self) {
        self.ended.cancel();
    }
}

/// The executor service of this node. It answers while the node leads.
pub struct ExecutorSessions {
    leader: Arc<Leader>,
    next_session: AtomicU64,
}

impl ExecutorSessions {
    /// The service over a leader.
    pub fn new(leader: Arc<Leader>) -> Self {
        Self { leader, next_session: AtomicU64::new(1) }
    }
}

#[tonic::async_trait]
impl ExecutorService for ExecutorSessions {
    type SessionStream = Pin<Box<dyn Stream<Item = Reply> + Send>>;

    async fn session(
        &self,
        request: Request<Streaming<pb::ExecutorMessage>>,
    ) -> Result<Response<Self::SessionStream>, Status> {
        let Some(reign) = self.leader.current() else {
            return Err(errors::not_leader(&self.leader.replica));
        };
        let session = SessionId(self.next_session.fetch_add(1, Ordering::Relaxed));
        let mut messages = request.into_inner();
        let (executor, held) = hello(&reign, &mut messages).await?;
        let (sender, receiver) = mpsc::channel(OUTBOX_MAX);
        let outbox = Outbox { sender, ended: reign.ended.child_token() };
        let ended = outbox.ended.clone();
        tokio::spawn(serve(reign, session, executor, held, messages, outbox));
        // When the session ends, the executor is told to dial again, whatever is still in the outbox.
        let replies = ReceiverStream::new(receiver).take_until(async move { ended.cancelled().await });
        let end = futures_util::stream::once(async { Err(ApiError::DialAgain.status()) });
        Ok(Response::new(Box::pin(replies.chain(end))))
    }
}

/// Waits for the first message of a stream: who is there, and which leases it holds. A refusal is the answer to the call itself.
async fn hello(
    reign: &Reign,
    messages: &mut Streaming<pb::ExecutorMessage>,
) -> Result<(Executor, Vec<pb::Held>), Status> {
    let refuse = |field: &str, why: String| Err(errors::invalid_argument(field, &why));
    let first = match tokio::time::timeout(HELLO_TIMEOUT, messages.message()).await {
        Ok(message) => message?,
        Err(_elapsed) => return refuse("hello", "the first message of a session must come at once".into()),
    };
    let Some(pb::executor_message::Message::Hello(hello)) = first.and_then(|first| first.message) else {
        return refuse("hello", "the first message of a session must be Hello".into());
    };
    let limits = &reign.shared.limits;
    if hello.executor_id.is_empty() || hello.executor_id.len() > NAME_BYTES_MAX {
        return refuse("hello.executor_id", format!("must have 1 to {NAME_BYTES_MAX} bytes"));
    }
    if hello.handlers.is_empty() || hello.handlers.len() > HANDLERS_MAX {
        return refuse("hello.handlers", format!("must name 1 to {HANDLERS_MAX} handlers"));
    }
    if hello.slots == 0 || hello.slots > limits.slots_max {
        return refuse("hello.slots", format!("must be 1 to {} (limits.slots_max)", limits.slots_max));
    }
    let short = |text: &String| text.len() <= LABEL_BYTES_MAX;
    if hello.labels.len() > LABELS_MAX || !hello.labels.iter().all(|(key, value)| short(key) && short(value))
    {
        let why = format!("may be {LABELS_MAX} with keys and values of {LABEL_BYTES_MAX} bytes at most");
        return refuse("hello.labels", why);
    }
    if let Some(handler) = hello.handler_slots.keys().find(|handler| !hello.handlers.contains(handler)) {
        return refuse(
            "hello.handler_slots",
            format!("`{}` is not one of the handlers", clipped(handler.clone(), 80)),
        );
    }
    let connected = reign.executors.lock().unwrap_or_else(PoisonError::into_inner).len();
    if connected >= limits.executors_max {
        return Err(ApiError::TooManyExecutors { max: limits.executors_max }.status());
    }
    let handlers = hello.handlers.iter().map(|handler| handler.as_str().into()).collect();
    let pool = if hello.pool.is_empty() { "default" } else { &hello.pool };
    let executor = Executor::new(
        hello.executor_id.into(),
        clipped(hello.display_name, NAME_BYTES_MAX),
        clipped(hello.version, NAME_BYTES_MAX),
        pool.into(),
        handlers,
        hello.slots,
    )
    .with_labels(hello.labels.into_iter().map(|(key, value)| (key.into(), value.into())).collect())
    .with_handler_slots(
        hello.handler_slots.into_iter().map(|(handler, slots)| (handler.into(), slots)).collect(),
    );
    Ok((executor, hello.held))
}

/// Reads one stream to its end.
async fn serve(
    reign: Arc<Reign>,
    session: SessionId,
    executor: Executor,
    held: Vec<pb::Held>,
    mut messages: Streaming<pb::ExecutorMessage>,
    outbox: Outbox,
) {
    let id = executor.executor_id.clone();
    tracing::info!(
        executor = %id, name = executor.display_name, pool = %executor.pool, slots = executor.slots,
        handlers = ?executor.handlers, "executor connected"
    );
    let ended = outbox.ended.clone();
    let work = async {
        // Before it counts as heard: from then on an attempt that overran is given up.
        let extensions = held.into_iter().filter(|held| held.extended_for_ms > 0);
        extend(&reign, &id, extensions.map(|held| (held.run_id, held.fencing_token, held.extended_for_ms)));
        reign.shared.liveness.hear(&id, Instant::now());
        outbox.send(pb::executor_reply::Message::Welcome(pb::Welcome {
            keep_alive_ms: u32::try_from(reign.shared.limits.keep_alive.as_millis()).unwrap_or(u32::MAX),
            term: reign.term,
            attempt_max_ms: u64::try_from(ATTEMPT_MAX.as_millis()).expect("a day fits"),
        }));
        let joined = Event::Joined { session, executor: Box::new(executor), outbox: outbox.clone() };
        if reign.events.send(joined).await.is_err() {
            return;
        }
        while let Ok(Some(message)) = messages.message().await {
            reign.shared.liveness.hear(&id, Instant::now());
            let handled = handle(&reign, session, &id, &outbox, message);
            if heard_meanwhile(&reign, &id, handled).await.is_none() {
                break;
            }
        }
    };
    tokio::select! {
        () = work => {}
        () = ended.cancelled() => {}
    }
    outbox.end();
    tracing::info!(executor = %id, "executor disconnected");
    // The reign may be over; then there is nobody to tell.
    let _ = reign.events.send(Event::Left { session }).await;
}

/// Waits for `handled`. While our own queues are full the executor cannot be heard: that silence is ours, not its.
async fn heard_meanwhile(
    reign: &Reign,
    executor: &ArcStr,
    handled: impl Future<Output = Option<()>>,
) -> Option<()> {
    let mut handled = std::pin::pin!(handled);
    loop {
        match tokio::time::timeout(reign.shared.limits.keep_alive, &mut handled).await {
            Ok(result) => return result,
            Err(_still_waiting) => reign.shared.liveness.hear(executor, Instant::now()),
        }
    }
}

/// Passes one message on; none when the session should end.
async fn handle(
    reign: &Reign,
    session: SessionId,
    executor: &ArcStr,
    outbox: &Outbox,
    message: pb::ExecutorMessage,
) -> Option<()> {
    use pb::executor_message::Message;
    match message.message? {
        Message::Hello(_) => None,
        Message::KeepAlive(_) => {
            outbox.send(pb::executor_reply::Message::KeepAlive(pb::KeepAlive {}));
            Some(())
        }
        Message::Credits(credits) => {
            reign.events.send(Event::Credits { session, count: credits.count }).await.ok()
        }
        Message::Progress(progress) => {
            note(reign, executor, progress.notes);
            Some(())
        }
        Message::Extensions(extensions) => {
            let extensions = extensions.extensions.into_iter().take(RUNS_PER_MESSAGE_MAX);
            extend(reign, executor, extensions.map(|one| (one.run_id, one.fencing_token, one.for_ms)));
            Some(())
        }
        Message::Drain(_) => reign.events.send(Event::Draining { session }).await.ok(),
        Message::Declines(declines) => {
            let runs = declines.run_ids.into_iter().take(RUNS_PER_MESSAGE_MAX).map(RunId).collect();
            reign.events.send(Event::Declined { session, runs }).await.ok()
        }
        Message::Begins(begins) => {
            if begins.begins.len() > RUNS_PER_MESSAGE_MAX {
                return None;
            }
            let begins: Vec<_> = begins
                .begins
                .into_iter()
                .map(|begin| Begin { run: RunId(begin.run_id), attempt: AttemptNo(begin.attempt) })
                .collect();
            let runs = begins.iter().map(|begin| begin.run).collect();
            reign.events.send(Event::Settled { session, runs }).await.ok()?;
            let batch = BeginBatch { session, executor: executor.clone(), begins, outbox: outbox.clone() };
            reign.begins.send(batch).await.ok()
        }
        Message::Completions(completions) => {
            if completions.completions.len() > RUNS_PER_MESSAGE_MAX {
                return None;
            }
            let mut completions =
                completions.completions.into_iter().map(completion).collect::<Option<Vec<_>>>()?;
            let runs: Vec<_> = completions.iter().map(|completion| completion.run).collect();
            reign.shared.progress.forget(runs.iter().copied());
            reign.shared.extended.forget(runs.iter().copied());
            reign.events.send(Event::Ended { session, runs }).await.ok()?;
            if reign.shared.replica.read(belfry_core::State::feature_level) < 2 {
                completions.iter_mut().for_each(as_of_level_1);
            }
            for completions in in_parts(completions) {
                let batch = CompletionBatch { completions, outbox: outbox.clone() };
                reign.completions.send(batch).await.ok()?;
            }
            Some(())
        }
    }
}

/// Keeps the notes on attempts that the executor holds (SAID-1).
fn note(reign: &Reign, executor: &ArcStr, notes: Vec<pb::ProgressNote>) {
    let mut notes = notes;
    notes.truncate(RUNS_PER_MESSAGE_MAX);
    reign.shared.replica.read(|state| {
        notes.retain(|note| {
            let lease = lease_of(state, RunId(note.run_id), FencingToken(note.fencing_token));
            lease.is_some_and(|lease| lease.executor == *executor)
        });
    });
    for note in notes {
        let text = clipped(note.text, PROGRESS_BYTES_MAX);
        reign.shared.progress.say(RunId(note.run_id), FencingToken(note.fencing_token), text);
    }
}

/// Keeps until when attempts go on that the executor holds, as (run, token, milliseconds from now on).
fn extend(reign: &Reign, executor: &ArcStr, extensions: impl Iterator<Item = (u64, u64, u64)>) {
    let extensions: Vec<_> = extensions.collect();
    if extensions.is_empty() {
        return;
    }
    let now = reign.shared.clock.now();
    let until: Vec<_> = reign.shared.replica.read(|state| {
        let held = |(run, token, for_ms)| {
            let (run, token) = (RunId(run), FencingToken(token));
            Some((
                run,
                token,
                extended_until(state, executor, run, token, Duration::from_millis(for_ms), now)?,
            ))
        };
        extensions.into_iter().filter_map(held).collect()
    });
    for (run, token, until) in until {
        reign.shared.extended.say(run, token, until);
    }
}

/// Until when an attempt goes on whose executor says that it does for `wanted`: within one attempt timeout from now on, and
/// [`ATTEMPT_MAX`] in all. None if the executor does not hold it.
fn extended_until(
    state: &State,
    executor: &ArcStr,
    run: RunId,
    token: FencingToken,
    wanted: Duration,
    now: UnixMillis,
) -> Option<UnixMillis> {
    let lease = lease_of(state, run, token).filter(|lease| lease.executor == *executor)?;
    let run = state.run(run)?;
    let policies = &state.schedule(run.schedule)?.definition_of(run.generation).policies;
    Some(now.plus(wanted.min(policies.attempt_timeout)).min(lease.begun_at.plus(ATTEMPT_MAX)))
}

/// Cuts completions into parts that fit a log entry each: a message may have more output than that, and an entry that is
/// refused for its size would be refused again, for ever.
fn in_parts(completions: Vec<Completion>) -> Vec<Vec<Completion>> {
    let mut parts = Vec::<Vec<Completion>>::new();
    let mut bytes = 0;
    for completion in completions {
        let weight = usize::try_from(completion.report.weight_bytes()).unwrap_or(usize::MAX);
        match parts.last_mut() {
            Some(part) if bytes + weight <= ENTRY_BYTES_MAX => {
                bytes += weight;
                part.push(completion);
            }
            Some(_) | None => {
                bytes = weight;
                parts.push(vec![completion]);
            }
        }
    }
    parts
}

/// A completion off the wire, cut to what is kept; none when it makes no sense.
fn completion(completion: pb::Completion) -> Option<Completion> {
    use pb::completion::Result as Wire;
    let result = match completion.result() {
        Wire::Succeeded => AttemptResult::Succeeded,
        Wire::Failed => AttemptResult::Failed,
        Wire::TimedOut => AttemptResult::TimedOut,
        Wire::NotStarted => AttemptResult::NotStarted,
        // The cluster told it to, so every member knows what that is.
        Wire::Cancelled => AttemptResult::Cancelled,
        Wire::Unspecified => return None,
    };
    let output = completion.output_tail;
    let tail_from = output.len().saturating_sub(OUTPUT_TAIL_BYTES_MAX);
    Some(Completion {
        run: RunId(completion.run_id),
        token: FencingToken(completion.fencing_token),
        result,
        retryable: if completion.non_retryable { Retryable::Never } else { Retryable::Perhaps },
        report: Report {
            exit_code: completion.exit_code,
            message: clipped(completion.message, MESSAGE_BYTES_MAX),
            output_tail: output.slice(tail_from..),
        },
    })
}

/// Says it as members of the first release understand it: there, trying again was never thought of, and nobody was told to
/// end.
fn as_of_level_1(completion: &mut Completion) {
    completion.retryable = Retryable::Perhaps;
    if completion.result == AttemptResult::Cancelled {
        completion.result = AttemptResult::Failed;
    }
}

/// A text cut to at most `max` bytes, at a character.
fn clipped(mut text: String, max: usize) -> String {
    if text.len() > max {
        let end = (0..=max).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        text.truncate(end);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::leader::expiry::tests::{EXECUTOR, NOW, running};

    #[test]
    fn an_extension_is_one_timeout_from_now_on_and_has_an_end() {
        let (state, run, token) = running();
        let hour = Duration::from_secs(3600);
        let until = |executor: &str, token, wanted, now| {
            extended_until(&state, &executor.into(), run, token, wanted, now)
        };
        assert_eq!(until(EXECUTOR, token, hour / 2, NOW), Some(NOW.plus(hour / 2)));
        assert_eq!(until(EXECUTOR, token, 30 * hour, NOW), Some(NOW.plus(hour)), "its attempt timeout");
        let late = NOW.plus(ATTEMPT_MAX - hour / 4);
        assert_eq!(until(EXECUTOR, token, hour, late), Some(NOW.plus(ATTEMPT_MAX)));
        assert_eq!(until("other", token, hour, NOW), None);
        assert_eq!(until(EXECUTOR, FencingToken(99), hour, NOW), None);
    }

    #[test]
    fn completions_are_cut_into_parts_that_fit_an_entry() {
        let with_output = |run: u64, bytes: usize| Completion {
            run: RunId(run),
            token: FencingToken(run),
            result: AttemptResult::Failed,
            retryable: Retryable::Perhaps,
            report: Report { output_tail: vec![b'x'; bytes].into(), ..Report::default() },
        };
        let half = ENTRY_BYTES_MAX / 2;
        let completions = vec![
            with_output(1, half),
            with_output(2, half - 100),
            with_output(3, half),
            with_output(4, 2 * ENTRY_BYTES_MAX),
            with_output(5, 0),
        ];
        let parts: Vec<Vec<_>> = in_parts(completions)
            .iter()
            .map(|part| part.iter().map(|completion| completion.run.0).collect())
            .collect();
        assert_eq!(parts, [vec![1, 2], vec![3], vec![4], vec![5]]);
    }
}
