//! What this process holds, and what is to be said about it. Pure: instants come in, messages come out.
//!
//! ```text
//!   grant ──► OFFERED ──Begin──► ASKED ──token──► RUNNING ──ended──► ENDED ──ack──► (forgotten)
//!                │                 └──refused──► (forgotten)           ▲
//!                └──drain──► declined        token while draining ─────┤ NOT_STARTED
//!                                     token that was cancelled before ─┘ CANCELLED
//! ```
//!
//! - EXEC-1: only the step from ASKED to RUNNING hands out a [`Lease`], once per (run, attempt).
//! - EXEC-2: `reconnected` makes every question and every completion due again; nothing but an answer removes them.
//! - EXEC-4: offered + asked + running ≤ slots, of all handlers and of each that has its own: an offer beyond is declined.
//! - EXEC-5: a lease whose answer took longer than the lease itself is handed back, not carried out.
//! - EXEC-6: a cancel reaches the lease whose token it names and no other; one that overtakes its lease waits for it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use foldhash::fast::FixedState;
use prost::Message as _;
use tokio::sync::Notify;
use tokio::time::Instant;

use super::context::{RunName, Told};
use super::deadline::{AttemptMax, Deadline, attempt_timeout};
use super::handler::AnyHandler;
use super::line::one_line;
use super::progress::Note;
use super::recent::{Attempt, Recent};
use super::slots::{HandlerSlot, HandlerSlots};
use super::stop::{Cancellation, Stop};
use crate::pb;
use crate::pb::executor_message::Message;
use crate::time::after;

/// Most items of one message: beyond a thousand, batches no longer become cheaper.
const BATCH_MAX: usize = 1024;
/// Most bytes of completions in one message: a quarter of the 4 MiB that gRPC servers take by default.
const BATCH_BYTES_MAX: usize = 1024 * 1024;
/// Unacknowledged completions, in number and in bytes, beyond which no more credit is given.
const ENDED_MIN: usize = 4096;
const ENDED_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Declines waiting to be said. More than this are left to the leader's offer timeout.
const DECLINES_MAX: usize = 65_536;
/// Limit of the reason of a cancel: with the handler's own words behind it, it fits into the message of a completion.
const REASON_BYTES_MAX: usize = 512;
/// How long a handler has after the grace of its cancellation to say how it ended: a command that was killed then may leave
/// output for a second.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// An offer that this executor can carry out.
pub(super) struct Offer {
    pub(super) run: RunName,
    pub(super) handler: Arc<dyn AnyHandler>,
    pub(super) grant: pb::Grant,
}

impl Offer {
    fn attempt(&self) -> Attempt {
        Attempt::new(self.grant.run_id, &self.run, self.grant.attempt)
    }
}

/// An offer that was taken, and what is kept for it.
struct Taken {
    offer: Box<Offer>,
    attempt: Attempt,
    slot: Option<HandlerSlot>,
}

/// The right to start user code, once.
pub(super) struct Lease {
    pub(super) offer: Box<Offer>,
    pub(super) fencing_token: u64,
    pub(super) told: Arc<Told>,
}

/// A cancel that came before the lease that it names.
struct Forestalled {
    fencing_token: u64,
    cancellation: Cancellation,
}

enum Phase {
    /// Not asked for, so nobody can have given us a lease.
    Offered(Taken),
    /// Asked for, so a lease may have been committed. `asked_at` is none while the question waits to be put again;
    /// `first_asked_at` is when it was first put in this session: no answer can be older.
    Asked {
        taken: Taken,
        first_asked_at: Option<Instant>,
        asked_at: Option<Instant>,
        forestalled: Option<Box<Forestalled>>,
    },
    /// User code runs.
    Running { attempt: Attempt, slot: Option<HandlerSlot>, fencing_token: u64, told: Arc<Told> },
    /// Over, and not acknowledged. `sent_at` is none while the completion waits to be sent (again).
    Ended { completion: pb::Completion, sent_at: Option<Instant> },
}

/// Everything held, and everything to be said.
pub(super) struct Leases {
    slots: u32,
    handler_slots: HandlerSlots,
    /// The hashes are the same in every process, and what is said in the order of this table is sorted first: one that is simulated
    /// does the same each time.
    held: HashMap<u64, Phase, FixedState>,
    started: Recent,
    unanswered: usize,
    running: usize,
    ended_bytes: usize,
    /// Credit given in this session and not yet spent by a grant.
    outstanding: u32,
    to_ask: VecDeque<u64>,
    to_complete: VecDeque<u64>,
    to_decline: VecDeque<u64>,
    to_note: VecDeque<u64>,
    to_extend: VecDeque<u64>,
    noted: Arc<Notify>,
    attempt_max: AttemptMax,
    draining: bool,
    drain_due: bool,
    keep_alive_due: bool,
    declined: u64,
    handed_back: u64,
    cancelled_unstarted: u64,
}

impl Leases {
    pub(super) fn new(slots: u32, handler_slots: HandlerSlots) -> Self {
        Self {
            slots,
            handler_slots,
            held: HashMap::default(),
            started: Recent::default(),
            unanswered: 0,
            running: 0,
            ended_bytes: 0,
            outstanding: 0,
            to_ask: VecDeque::new(),
            to_complete: VecDeque::new(),
            to_decline: VecDeque::new(),
            to_note: VecDeque::new(),
            to_extend: VecDeque::new(),
            noted: Arc::default(),
            attempt_max: AttemptMax::default(),
            draining: false,
            drain_due: false,
            keep_alive_due: false,
            declined: 0,
            handed_back: 0,
            cancelled_unstarted: 0,
        }
    }

    /// The leases to name in Hello: begun, and not acknowledged as complete.
    pub(super) fn named_in_hello(&self, now: Instant) -> Vec<pb::Held> {
        let held = self.held.iter().filter_map(|(&run_id, phase)| held(run_id, phase, now));
        let mut named: Vec<_> = held.collect();
        named.sort_unstable_by_key(|held| held.run_id);
        named
    }

    /// A new session has begun. The leader knows nothing of what the former one was told and did not acknowledge.
    /// `attempt_max_ms` is what it allows an attempt to take.
    pub(super) fn reconnected(&mut self, attempt_max_ms: u64) {
        self.attempt_max.set(attempt_max_ms);
        self.outstanding = 0;
        self.drain_due = self.draining;
        self.keep_alive_due = false;
        self.to_decline.clear();
        self.to_ask.clear();
        self.to_complete.clear();
        self.to_note.clear();
        self.to_extend.clear();
        for (&run_id, phase) in &mut self.held {
            match phase {
                Phase::Offered(_) => self.to_ask.push_back(run_id),
                Phase::Asked { first_asked_at, asked_at, .. } => {
                    (*first_asked_at, *asked_at) = (None, None);
                    self.to_ask.push_back(run_id);
                }
                // Notes are not replicated: this leader has not heard them.
                Phase::Running { told, .. } => {
                    told.note.renew();
                    if told.note.is_new() {
                        self.to_note.push_back(run_id);
                    }
                    // What was said before is in Hello.
                    if told.deadline.is_new() && self.attempt_max.is_any() {
                        self.to_extend.push_back(run_id);
                    }
                }
                Phase::Ended { sent_at, .. } => {
                    *sent_at = None;
                    self.to_complete.push_back(run_id);
                }
            }
        }
        older_first([&mut self.to_ask, &mut self.to_complete, &mut self.to_note, &mut self.to_extend]);
    }

    /// Takes an offer, or declines it.
    pub(super) fn offer(&mut self, offer: Offer) {
        let run_id = offer.grant.run_id;
        match self.held.get(&run_id) {
            Some(Phase::Offered(taken) | Phase::Asked { taken, .. })
                if taken.offer.grant.attempt == offer.grant.attempt =>
            {
                // The same offer again: the question is put already.
                self.outstanding = self.outstanding.saturating_sub(1);
            }
            // Answers name the run only, so one run is asked for one attempt at a time.
            Some(_) => self.decline(run_id),
            None if self.draining || self.is_full(&offer.grant.handler) => self.decline(run_id),
            None => {
                let attempt = offer.attempt();
                if self.started.contains(&attempt) {
                    let (run, attempt) = (&offer.run, offer.grant.attempt);
                    tracing::warn!(%run, attempt, "declined an attempt that was already started here");
                    return self.decline(run_id);
                }
                self.outstanding = self.outstanding.saturating_sub(1);
                self.unanswered += 1;
                let slot = self.handler_slots.take(&offer.grant.handler);
                let taken = Taken { offer: Box::new(offer), attempt, slot };
                self.held.insert(run_id, Phase::Offered(taken));
                self.to_ask.push_back(run_id);
            }
        }
    }

    /// Declines an offer that was received.
    pub(super) fn decline(&mut self, run_id: u64) {
        self.outstanding = self.outstanding.saturating_sub(1);
        self.declined += 1;
        if self.to_decline.len() < DECLINES_MAX {
            self.to_decline.push_back(run_id);
        }
    }

    /// Takes the answer to a Begin. A lease is to be carried out at once.
    pub(super) fn answer(&mut self, reply: pb::BeginReply, now: Instant) -> Option<Lease> {
        let pb::BeginReply { run_id, fencing_token } = reply;
        match self.held.remove(&run_id) {
            Some(Phase::Offered(taken)) => {
                self.unanswered -= 1;
                self.leased(taken, fencing_token, Duration::ZERO, now)
            }
            Some(Phase::Asked { taken, forestalled: Some(forestalled), .. })
                if forestalled.fencing_token == fencing_token =>
            {
                self.unanswered -= 1;
                self.handler_slots.free(taken.slot);
                self.cancel_unstarted(run_id, &forestalled);
                None
            }
            Some(Phase::Asked { taken, first_asked_at, .. }) => {
                self.unanswered -= 1;
                let age = first_asked_at.map_or(Duration::ZERO, |at| now.saturating_duration_since(at));
                self.leased(taken, fencing_token, age, now)
            }
            Some(Phase::Ended { completion, .. }) if completion.fencing_token < fencing_token => {
                // A later lease proves that this completion was taken: only its acknowledgement is under way.
                self.ended_bytes -= completion.encoded_len();
                self.hand_back(run_id, fencing_token, "the executor no longer holds this offer");
                None
            }
            Some(phase @ (Phase::Running { .. } | Phase::Ended { .. })) => {
                // Answered twice; the first answer counts (EXEC-1).
                self.held.insert(run_id, phase);
                None
            }
            None => {
                // Nobody here waits for it, yet it may be a lease: the leader shall not wait for this run.
                if fencing_token != 0 {
                    self.hand_back(run_id, fencing_token, "the executor no longer holds this offer");
                }
                None
            }
        }
    }

    fn leased(&mut self, taken: Taken, fencing_token: u64, age: Duration, now: Instant) -> Option<Lease> {
        let Taken { offer, attempt, slot } = taken;
        if !self.may_begin(&offer, fencing_token, age) {
            self.handler_slots.free(slot);
            return None;
        }
        assert!(self.started.insert(attempt), "EXEC-1: an attempt is started once");
        let (max, noted) = (self.attempt_max.clone(), Arc::clone(&self.noted));
        let told = Arc::new(Told {
            stop: Stop::new(),
            note: Note::new(Arc::clone(&noted)),
            deadline: Deadline::new(now, attempt_timeout(&offer.grant), max, noted),
        });
        self.running += 1;
        let phase = Phase::Running { attempt, slot, fencing_token, told: Arc::clone(&told) };
        self.held.insert(offer.grant.run_id, phase);
        Some(Lease { offer, fencing_token, told })
    }

    /// Whether an answer lets its run begin. A lease that does not is handed back.
    fn may_begin(&mut self, offer: &Offer, fencing_token: u64, age: Duration) -> bool {
        let run_id = offer.grant.run_id;
        if fencing_token == 0 {
            return false;
        }
        if self.draining {
            self.hand_back(run_id, fencing_token, "the executor is draining");
            return false;
        }
        // This process stood still, or the leader did: the lease may be lost, and the run called UNKNOWN, already.
        let lease_for = offer.grant.lease_duration_ms;
        if lease_for > 0 && age >= Duration::from_millis(lease_for) {
            tracing::warn!(run = %offer.run, ?age, "handing a lease back: its answer took longer than the lease");
            self.hand_back(run_id, fencing_token, "the answer to the begin took longer than the lease");
            return false;
        }
        true
    }

    fn cancel_unstarted(&mut self, run_id: u64, forestalled: &Forestalled) {
        self.cancelled_unstarted += 1;
        self.keep(pb::Completion {
            run_id,
            fencing_token: forestalled.fencing_token,
            result: pb::completion::Result::Cancelled.into(),
            message: format!("{}, before it began", forestalled.cancellation),
            ..Default::default()
        });
    }

    fn hand_back(&mut self, run_id: u64, fencing_token: u64, message: &str) {
        self.handed_back += 1;
        self.keep(pb::Completion {
            run_id,
            fencing_token,
            result: pb::completion::Result::NotStarted.into(),
            message: message.to_owned(),
            ..Default::default()
        });
    }

    /// Takes what a started run came to.
    pub(super) fn ended(&mut self, completion: pb::Completion) {
        if let Some(Phase::Running { attempt, slot, .. }) = self.held.remove(&completion.run_id) {
            self.running -= 1;
            self.handler_slots.free(slot);
            if completion.result() == pb::completion::Result::NotStarted {
                // The handler says that nothing happened, and the ledger will offer the same attempt again.
                self.started.remove(&attempt);
            }
        }
        self.keep(completion);
    }

    fn keep(&mut self, completion: pb::Completion) {
        self.ended_bytes += completion.encoded_len();
        self.to_complete.push_back(completion.run_id);
        self.held.insert(completion.run_id, Phase::Ended { completion, sent_at: None });
    }

    /// Forgets a completion. A refused one too: refusals are final.
    pub(super) fn acknowledged(&mut self, ack: &pb::CompletionAck) {
        let Some(Phase::Ended { completion, .. }) = self.held.get(&ack.run_id) else { return };
        if completion.fencing_token != ack.fencing_token {
            return;
        }
        if !ack.accepted {
            tracing::warn!(
                run_id = ack.run_id,
                "the leader has settled this run otherwise, its completion is dropped"
            );
        }
        self.ended_bytes -= completion.encoded_len();
        self.held.remove(&ack.run_id);
    }

    /// From now on nothing new is begun: what was not asked for is declined, what is answered with a lease goes back.
    pub(super) fn drain(&mut self) {
        self.draining = true;
        self.drain_due = true;
        let mut unasked = Vec::new();
        for (run_id, phase) in self.held.extract_if(|_, phase| matches!(phase, Phase::Offered(_))) {
            if let Phase::Offered(taken) = phase {
                self.handler_slots.free(taken.slot);
            }
            unasked.push(run_id);
        }
        unasked.sort_unstable();
        self.unanswered -= unasked.len();
        for run_id in unasked {
            self.decline(run_id);
        }
    }

    /// Tells one attempt to end, or does not begin it (EXEC-6). `abort_after` is the patience at other ends.
    pub(super) fn cancel(&mut self, cancel: &pb::Cancel, now: Instant, abort_after: Duration) {
        let &pb::Cancel { run_id, fencing_token, grace_ms, .. } = cancel;
        let grace = Duration::from_millis(grace_ms);
        let cancellation =
            || Cancellation::Requested { reason: one_line(&cancel.reason, REASON_BYTES_MAX), grace };
        match self.held.get_mut(&run_id) {
            Some(Phase::Running { fencing_token: held, told, .. }) if *held == fencing_token => {
                tracing::info!(run_id, fencing_token, reason = cancel.reason, ?grace, "the run is to end");
                let last_words = LAST_WORDS.min(abort_after);
                told.stop.ask(cancellation(), after(now, grace.saturating_add(last_words)));
            }
            // The lease may be committed and its answer under way: only that tells whether the token is ours.
            Some(Phase::Asked { forestalled, .. }) => {
                *forestalled = Some(Box::new(Forestalled { fencing_token, cancellation: cancellation() }));
            }
            // Another lease than ours, or one that is over: its completion says what it came to.
            Some(Phase::Offered(_) | Phase::Running { .. } | Phase::Ended { .. }) | None => {
                tracing::debug!(run_id, fencing_token, "nothing of this lease runs here");
            }
        }
    }

    /// Tells all that runs to end by then, because this executor does.
    pub(super) fn cancel_running(&self, drop_at: Instant) {
        let mut running = Vec::new();
        for (&run_id, phase) in &self.held {
            if let Phase::Running { told, .. } = phase {
                running.push((run_id, told));
            }
        }
        running.sort_unstable_by_key(|(run_id, _)| *run_id);
        for (_, told) in running {
            told.stop.ask(Cancellation::Draining, drop_at);
        }
    }

    /// The keep-alive interval has passed. Whatever has waited for an answer for longer than `patience` is said again.
    pub(super) fn tick(&mut self, now: Instant, patience: Duration) {
        self.keep_alive_due = true;
        let overdue = |since: &Option<Instant>| since.is_some_and(|since| now - since > patience);
        let (mut to_ask, mut to_complete) = (VecDeque::new(), VecDeque::new());
        for (&run_id, phase) in &mut self.held {
            match phase {
                Phase::Asked { asked_at, .. } if overdue(asked_at) => {
                    *asked_at = None;
                    to_ask.push_back(run_id);
                }
                Phase::Ended { sent_at, .. } if overdue(sent_at) => {
                    *sent_at = None;
                    to_complete.push_back(run_id);
                }
                Phase::Offered(_) | Phase::Asked { .. } | Phase::Running { .. } | Phase::Ended { .. } => {}
            }
        }
        older_first([&mut to_ask, &mut to_complete]);
        self.to_ask.append(&mut to_ask);
        self.to_complete.append(&mut to_complete);
    }

    /// Told when a run has noted something, or asked for more time.
    pub(super) fn noted(&self) -> Arc<Notify> {
        Arc::clone(&self.noted)
    }

    /// It is time to say what was noted, and who asked for more time.
    pub(super) fn notes_due(&mut self) {
        let news = |phase: &Phase| matches!(phase, Phase::Running { told, .. } if told.note.is_new());
        self.to_note = self.held.iter().filter(|(_, phase)| news(phase)).map(|(&run_id, _)| run_id).collect();
        let longer = |phase: &Phase| matches!(phase, Phase::Running { told, .. } if told.deadline.is_new());
        // An older leader would end the stream.
        let any = self.attempt_max.is_any();
        let extended = self.held.iter().filter(|(_, phase)| any && longer(phase));
        self.to_extend = extended.map(|(&run_id, _)| run_id).collect();
        older_first([&mut self.to_note, &mut self.to_extend]);
    }

    /// Whether there is something to say.
    pub(super) fn has_message(&self) -> bool {
        self.drain_due
            || self.keep_alive_due
            || !self.to_ask.is_empty()
            || !self.to_complete.is_empty()
            || !self.to_decline.is_empty()
            || !self.to_note.is_empty()
            || !self.to_extend.is_empty()
            || self.credit_due() > 0
    }

    /// The next thing to say, as one batch of all that is due of its kind.
    pub(super) fn next_message(&mut self, now: Instant) -> Option<Message> {
        if std::mem::take(&mut self.drain_due) {
            return Some(Message::Drain(pb::Drain {}));
        }
        if std::mem::take(&mut self.keep_alive_due) {
            return Some(Message::KeepAlive(pb::KeepAlive {}));
        }
        // Begins first: somebody's run is late until they are answered.
        self.next_begins(now)
            .or_else(|| self.next_credits())
            .or_else(|| self.next_completions(now))
            .or_else(|| self.next_declines())
            .or_else(|| self.next_extensions(now))
            .or_else(|| self.next_notes())
    }

    fn next_begins(&mut self, now: Instant) -> Option<Message> {
        let mut begins = Vec::new();
        while begins.len() < BATCH_MAX
            && let Some(run_id) = self.to_ask.pop_front()
        {
            let (taken, first_asked_at, forestalled) = match self.held.remove(&run_id) {
                Some(Phase::Offered(taken)) => (taken, now, None),
                Some(Phase::Asked { taken, first_asked_at, asked_at: None, forestalled }) => {
                    (taken, first_asked_at.unwrap_or(now), forestalled)
                }
                Some(phase) => {
                    self.held.insert(run_id, phase);
                    continue;
                }
                None => continue,
            };
            begins.push(pb::Begin { run_id, attempt: taken.offer.grant.attempt });
            let (first_asked_at, asked_at) = (Some(first_asked_at), Some(now));
            self.held.insert(run_id, Phase::Asked { taken, first_asked_at, asked_at, forestalled });
        }
        (!begins.is_empty()).then_some(Message::Begins(pb::Begins { begins }))
    }

    fn next_credits(&mut self) -> Option<Message> {
        let count = self.credit_due();
        self.outstanding += count;
        (count > 0).then_some(Message::Credits(pb::Credits { count }))
    }

    fn next_completions(&mut self, now: Instant) -> Option<Message> {
        let mut completions = Vec::new();
        let mut bytes = 0;
        while completions.len() < BATCH_MAX
            && bytes < BATCH_BYTES_MAX
            && let Some(run_id) = self.to_complete.pop_front()
        {
            if let Some(Phase::Ended { completion, sent_at: sent_at @ None }) = self.held.get_mut(&run_id) {
                *sent_at = Some(now);
                bytes += completion.encoded_len();
                completions.push(completion.clone());
            }
        }
        (!completions.is_empty()).then_some(Message::Completions(pb::Completions { completions }))
    }

    fn next_declines(&mut self) -> Option<Message> {
        let run_ids: Vec<u64> = self.to_decline.drain(..self.to_decline.len().min(BATCH_MAX)).collect();
        (!run_ids.is_empty()).then_some(Message::Declines(pb::Declines { run_ids }))
    }

    fn next_extensions(&mut self, now: Instant) -> Option<Message> {
        let mut extensions = Vec::new();
        while extensions.len() < BATCH_MAX
            && let Some(run_id) = self.to_extend.pop_front()
        {
            if let Some(Phase::Running { fencing_token, told, .. }) = self.held.get(&run_id)
                && let Some(for_ms) = told.deadline.take_new(now)
            {
                extensions.push(pb::Extension { run_id, fencing_token: *fencing_token, for_ms });
            }
        }
        (!extensions.is_empty()).then_some(Message::Extensions(pb::Extensions { extensions }))
    }

    fn next_notes(&mut self) -> Option<Message> {
        let mut notes = Vec::new();
        while notes.len() < BATCH_MAX
            && let Some(run_id) = self.to_note.pop_front()
        {
            if let Some(Phase::Running { fencing_token, told, .. }) = self.held.get(&run_id)
                && let Some(text) = told.note.take_new()
            {
                notes.push(pb::ProgressNote { run_id, fencing_token: *fencing_token, text });
            }
        }
        (!notes.is_empty()).then_some(Message::Progress(pb::Progress { notes }))
    }

    /// Free slots for which the leader has no credit. Computed from what is held, so that a lost grant, a duplicate or a
    /// declined one cannot leak credit.
    fn credit_due(&self) -> u32 {
        let ended = self.held.len() - self.unanswered - self.running;
        let clogged = ended >= ENDED_MIN.max(self.slots as usize) || self.ended_bytes >= ENDED_BYTES_MAX;
        if self.draining || clogged {
            return 0;
        }
        let busy = u32::try_from(self.unanswered + self.running).unwrap_or(u32::MAX);
        self.slots.saturating_sub(busy).saturating_sub(self.outstanding)
    }

    fn is_full(&self, handler: &str) -> bool {
        self.unanswered + self.running >= self.slots as usize || self.handler_slots.is_full(handler)
    }

    /// How many runs are offered, asked for, running, or over and not acknowledged.
    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    /// Offers declined so far.
    pub(super) fn declined(&self) -> u64 {
        self.declined
    }

    /// Leases handed back so far without a start.
    pub(super) fn handed_back(&self) -> u64 {
        self.handed_back
    }

    /// Leases reported as cancelled so far without a start.
    pub(super) fn cancelled_unstarted(&self) -> u64 {
        self.cancelled_unstarted
    }
}

/// Sorts run ids, those of older runs first: they are counted up.
fn older_first<const N: usize>(queues: [&mut VecDeque<u64>; N]) {
    for run_ids in queues {
        run_ids.make_contiguous().sort_unstable();
    }
}

fn held(run_id: u64, phase: &Phase, now: Instant) -> Option<pb::Held> {
    match phase {
        Phase::Offered(_) | Phase::Asked { .. } => None,
        Phase::Running { fencing_token, told, .. } => {
            let extended_for_ms = told.deadline.extended_for_ms(now);
            Some(pb::Held { run_id, fencing_token: *fencing_token, extended_for_ms })
        }
        Phase::Ended { completion, .. } => {
            Some(pb::Held { run_id, fencing_token: completion.fencing_token, ..Default::default() })
        }
    }
}
