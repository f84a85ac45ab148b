//! Committers: begins and completions of all executors, gathered into log entries.
//!
//! One proposal is under way at a time; what arrives meanwhile, and shortly after a small one ([`pace`]), makes the next
//! one. So a single begin is committed at once, and a storm is committed in entries of thousands: no per-run consensus, no
//! per-run sync.

use std::sync::Arc;

use arcstr::ArcStr;
use belfry_core::command::{
    Action, Begin, BeginGroup, BeginResult, Command, Completion, CompletionResult, Outcome,
};
use belfry_proto::v1 as pb;
use tokio::sync::mpsc;

use super::dispatch::SessionId;
use super::pump::Event;
use super::session::Outbox;
use super::{Shared, pace};

/// Output of completions in one log entry, roughly: an entry must fit a message between nodes, whatever was written.
pub(super) const ENTRY_BYTES_MAX: usize = 1 << 20;

/// Batches taken in one go.
const TAKEN_MAX: usize = 256;

/// Begins asked for by one executor in one message.
pub(super) struct BeginBatch {
    pub(super) session: SessionId,
    pub(super) executor: ArcStr,
    pub(super) begins: Vec<Begin>,
    pub(super) outbox: Outbox,
}

/// Completions reported by one executor in one message.
pub(super) struct CompletionBatch {
    pub(super) completions: Vec<Completion>,
    pub(super) outbox: Outbox,
}

impl CompletionBatch {
    fn weight_bytes(&self) -> usize {
        self.completions.iter().map(|completion| completion.report.weight_bytes() as usize).sum()
    }
}

/// Commits begins until the reign ends.
pub(super) async fn run_begins(
    shared: Arc<Shared>,
    mut batches: mpsc::Receiver<BeginBatch>,
    events: mpsc::Sender<Event>,
) {
    let mut taken = Vec::new();
    while batches.recv_many(&mut taken, TAKEN_MAX).await > 0 {
        let pace = pace::Commit::begin(pace::BEGINS_APART);
        let size = taken.iter().map(|batch| batch.begins.len()).sum();
        let max = shared.limits.begin_batch_max;
        for batch in split(std::mem::take(&mut taken), max, |batch| batch.begins.len()) {
            commit_begins(&shared, batch, &events).await;
        }
        pace.rest(size).await;
    }
}

async fn commit_begins(shared: &Shared, batch: Vec<BeginBatch>, events: &mpsc::Sender<Event>) {
    let groups = batch
        .iter()
        .map(|batch| BeginGroup { executor: batch.executor.clone(), begins: batch.begins.clone() })
        .collect();
    let command = Command { now: shared.clock.now(), request: None, action: Action::Begin(groups) };
    let Some(Outcome::Begun(results)) = shared.propose("begin", &command).await else {
        // No answer is the right answer: whether it was committed is not known here. The executor asks again; should it
        // not come back, and nothing was committed, the runs go to others.
        for batch in batch {
            batch.outbox.end();
            let runs = batch.begins.iter().map(|begin| begin.run).collect();
            if events.send(Event::Refused { session: batch.session, runs }).await.is_err() {
                return;
            }
        }
        return;
    };
    let mut results = results.into_iter();
    for batch in batch {
        let mut refused = Vec::new();
        let replies = batch
            .begins
            .iter()
            .zip(results.by_ref())
            .map(|(begin, result)| {
                let fencing_token = match result {
                    BeginResult::Begun { token, lateness, again } => {
                        if !again {
                            shared.metrics.observe_begin(lateness);
                        }
                        token.0
                    }
                    BeginResult::Refused => {
                        refused.push(begin.run);
                        0
                    }
                };
                pb::BeginReply { run_id: begin.run.0, fencing_token }
            })
            .collect();
        batch.outbox.send(pb::executor_reply::Message::BeginReplies(pb::BeginReplies { replies }));
        if !refused.is_empty() {
            shared.metrics.count_begins_refused(refused.len() as u64);
            // One that was refused for a reason that has passed is offered again.
            let event = Event::Refused { session: batch.session, runs: refused };
            if events.send(event).await.is_err() {
                return;
            }
        }
    }
}

/// Commits completions until the reign ends.
pub(super) async fn run_completions(
    shared: Arc<Shared>,
    mut batches: mpsc::Receiver<CompletionBatch>,
    events: mpsc::Sender<Event>,
) {
    let mut taken = Vec::new();
    while batches.recv_many(&mut taken, TAKEN_MAX).await > 0 {
        let pace = pace::Commit::begin(pace::COMPLETIONS_APART);
        let size = taken.iter().map(|batch| batch.completions.len()).sum();
        let max = shared.limits.complete_batch_max;
        for batch in split(std::mem::take(&mut taken), max, |batch| batch.completions.len()) {
            for batch in split(batch, ENTRY_BYTES_MAX, CompletionBatch::weight_bytes) {
                commit_completions(&shared, batch).await;
                // Whatever became of them: what waits for a slot is not to wait for the next report.
                if events.send(Event::Completed).await.is_err() {
                    return;
                }
            }
        }
        pace.rest(size).await;
    }
}

async fn commit_completions(shared: &Shared, batch: Vec<CompletionBatch>) {
    let (outboxes, completions): (Vec<_>, Vec<_>) =
        batch.into_iter().map(|batch| (batch.outbox, batch.completions)).unzip();
    let sizes: Vec<_> = completions.iter().map(Vec::len).collect();
    let all: Vec<_> = completions.into_iter().flatten().collect();
    let whats: Vec<_> = all.iter().map(|completion| (completion.run, completion.token)).collect();
    let command = Command { now: shared.clock.now(), request: None, action: Action::Complete(all) };
    let Some(Outcome::Completed(results)) = shared.propose("complete", &command).await else {
        outboxes.iter().for_each(Outbox::end);
        return;
    };
    let mut answers = whats.into_iter().zip(results);
    for (outbox, size) in outboxes.into_iter().zip(sizes) {
        let acks = answers
            .by_ref()
            .take(size)
            .map(|((run, token), answer)| {
                let accepted = match answer {
                    CompletionResult::Accepted { ended } => {
                        if let Some(ending) = ended {
                            shared.metrics.count_runs_ended(ending.name(), 1);
                        }
                        true
                    }
                    CompletionResult::Repeated => true,
                    CompletionResult::Refused => false,
                };
                pb::CompletionAck { run_id: run.0, fencing_token: token.0, accepted }
            })
            .collect();
        outbox.send(pb::executor_reply::Message::CompletionAcks(pb::CompletionAcks { acks }));
    }
}

/// Cuts a list of batches into lists of at most `max` items each, a single larger batch by itself.
fn split<T>(batches: Vec<T>, max: usize, size: impl Fn(&T) -> usize) -> Vec<Vec<T>> {
    let mut out = Vec::<Vec<T>>::new();
    let mut room = 0;
    for batch in batches {
        let size = size(&batch);
        match out.last_mut() {
            Some(last) if size <= room => {
                room -= size;
                last.push(batch);
            }
            _ => {
                room = max.saturating_sub(size);
                out.push(vec![batch]);
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn batches_are_gathered_up_to_the_limit() {
        let sizes = |lists: Vec<Vec<usize>>| lists;
        assert_eq!(sizes(split(vec![3, 3, 3, 3], 7, |n| *n)), [vec![3, 3], vec![3, 3]]);
        assert_eq!(sizes(split(vec![9, 1], 7, |n| *n)), [vec![9], vec![1]]);
        assert_eq!(sizes(split(vec![], 7, |n| *n)), Vec::<Vec<usize>>::new());
    }
}
