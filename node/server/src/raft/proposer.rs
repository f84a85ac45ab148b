//! What callers propose at the same time goes into the log together.
//!
//! ```text
//!   propose_together ──► waiting ──► all that wait, up to a limit ──► the log: one write, one message to each follower
//!                           ▲                    │
//!                           └── meanwhile the next ones gather
//! ```
//! From feature level [`GROUPS_FROM`] on, edits of schedules that wait side by side become a group, one entry of the log: what consensus
//! and the log cost for each entry, many edits share.
//!
//! - PROPOSE-1 a proposal that was taken is answered, or its answer is dropped with the node: then nobody knows what became of it.
//! - GROUP-1 no two commands of an entry are about one schedule: its revision, which tells one version from the next, is where the entry
//!   stands in the log.
//! - GROUP-2 what is applied of an entry is what would be if each of its commands had one of its own, one after the other: one that is
//!   rejected keeps no other from being applied.

use std::collections::HashSet;
use std::future::pending;
use std::sync::Arc;

use belfry_core::{Applied, ScheduleKey, State};
use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use openraft::errors::ClientWriteError;
use tokio::sync::mpsc;

use super::machine::Shared;
use super::types::{LogId, Proposal, Raft, TypeConfig};

/// Proposals that may wait; beyond it callers queue.
pub(super) const WAITING_MAX: usize = 1024;
/// Proposals taken at once, and written at once: openraft sends up to 300 entries in a message.
const TAKEN_MAX: usize = 256;
/// From this feature level on every member reads entries of several commands.
const GROUPS_FROM: u32 = 5;
/// Bytes of commands in one entry, unless a single one has more: an entry is read, sent and written whole.
const GROUP_BYTES_MAX: usize = 256 << 10;
/// Commands in one entry. It is applied while the state is locked, and what it changed is told as one: a deletion may end 1100 runs that
/// wait, so that 32 are an eighth of what the change log keeps.
const GROUP_COMMANDS_MAX: usize = 32;

/// What became of a command, and where; or why it is not known to have been written.
pub(super) type Written = Result<(LogId, Applied), ClientWriteError<TypeConfig>>;

/// A proposal that waits for its turn.
#[derive(Debug)]
pub(super) struct Waiting {
    /// The command, encoded.
    pub(super) command: Bytes,
    /// The schedule that it edits, if it does no more than that.
    pub(super) edited: Option<ScheduleKey>,
    /// Which one of its caller's it is, from 0 on.
    pub(super) number: usize,
    /// Where to tell what became of it.
    pub(super) answer: Answer,
}

/// Tells of what became of the proposals of a caller, each by its number.
pub(super) type Answer = mpsc::UnboundedSender<(usize, Written)>;

/// Hands groups to consensus until it ends.
pub(super) async fn run(raft: Raft, shared: Arc<Shared>, mut waiting: mpsc::Receiver<Waiting>) {
    let mut taken = Vec::with_capacity(TAKEN_MAX);
    let mut together = false;
    let mut under_way = FuturesUnordered::new();
    loop {
        let answered = async {
            match under_way.next().await {
                Some(()) => (),
                None => pending().await,
            }
        };
        tokio::select! {
            biased;
            () = answered => continue,
            count = waiting.recv_many(&mut taken, TAKEN_MAX) => if count == 0 { return },
        }
        // A level never falls, and the state may be locked for a while.
        together = together || shared.read(State::feature_level) >= GROUPS_FROM;
        let (proposals, answers): (Vec<_>, Vec<_>) = groups(taken.drain(..), together)
            .into_iter()
            .map(|Group { commands, answers, .. }| (Proposal::of_group(commands), answers))
            .unzip();
        let Ok(mut results) = raft.client_write_many(proposals).await else { continue };
        under_way.push(async move {
            for answers in answers {
                let Some(Ok(result)) = results.next().await else { return };
                match result {
                    Ok(written) => answer(answers, written.log_id, written.response),
                    Err(error) => {
                        for (number, answer) in answers {
                            // Whoever asked may have gone away.
                            let _ = answer.send((number, Err(error.clone())));
                        }
                    }
                }
            }
        });
    }
}

fn answer(answers: Vec<(usize, Answer)>, id: LogId, applied: Vec<Applied>) {
    assert_eq!(answers.len(), applied.len(), "every command of an entry is answered");
    for ((number, answer), applied) in answers.into_iter().zip(applied) {
        // Whoever asked may have gone away.
        let _ = answer.send((number, Ok((id, applied))));
    }
}

/// The commands of one entry, with who waits for each.
#[derive(Default)]
struct Group {
    commands: Vec<Bytes>,
    answers: Vec<(usize, Answer)>,
    bytes: usize,
    edited: HashSet<ScheduleKey>,
}

impl Group {
    /// Whether one more may be part of it (GROUP-1).
    fn takes(&self, waiting: &Waiting) -> bool {
        // What it has, if it names no schedule, is no edit: it stays alone.
        let is_new = |key| !self.edited.is_empty() && !self.edited.contains(key);
        waiting.edited.as_ref().is_some_and(is_new)
            && self.commands.len() < GROUP_COMMANDS_MAX
            && self.bytes + waiting.command.len() <= GROUP_BYTES_MAX
    }

    fn add(&mut self, waiting: Waiting) {
        self.bytes += waiting.command.len();
        self.commands.push(waiting.command);
        self.answers.push((waiting.number, waiting.answer));
        self.edited.extend(waiting.edited);
    }
}

/// What was taken, in its order: each by itself unless they may go together.
fn groups(taken: impl Iterator<Item = Waiting>, together: bool) -> Vec<Group> {
    let mut groups = Vec::<Group>::new();
    for waiting in taken {
        match groups.last_mut() {
            Some(group) if together && group.takes(&waiting) => group.add(waiting),
            Some(_) | None => {
                let mut group = Group::default();
                group.add(waiting);
                groups.push(group);
            }
        }
    }
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::tests::key;

    fn waiting(edited: Option<&str>, bytes: usize) -> Waiting {
        let (answer, _) = mpsc::unbounded_channel();
        Waiting { command: vec![0; bytes].into(), edited: edited.map(key), number: 0, answer }
    }

    fn sizes(all: &[(Option<&str>, usize)], together: bool) -> Vec<usize> {
        let groups = groups(all.iter().map(|(edited, bytes)| waiting(*edited, *bytes)), together);
        groups.into_iter().map(|group| group.commands.len()).collect()
    }

    #[test]
    fn group_1_an_entry_edits_a_schedule_once() {
        let edits = [(Some("a"), 1), (Some("b"), 1), (Some("a"), 1), (Some("b"), 1), (Some("b"), 1)];
        assert_eq!(sizes(&edits, true), [2, 2, 1]);
        assert_eq!(sizes(&edits, false), [1; 5], "before every member reads them");
    }

    #[test]
    fn what_is_no_edit_of_one_schedule_has_an_entry_of_its_own() {
        let others = [(None, 1), (Some("a"), 1), (None, 1), (None, 1), (Some("b"), 1), (Some("c"), 1)];
        assert_eq!(sizes(&others, true), [1, 1, 1, 1, 2]);
    }

    #[test]
    fn an_entry_is_no_larger_than_it_has_to_be() {
        let large = [(Some("a"), GROUP_BYTES_MAX - 1), (Some("b"), 1), (Some("c"), 1)];
        assert_eq!(sizes(&large, true), [2, 1]);
        let larger = [(Some("a"), 1), (Some("b"), GROUP_BYTES_MAX + 1), (Some("c"), 1)];
        assert_eq!(sizes(&larger, true), [1, 1, 1]);
        let names: Vec<_> = (0..=GROUP_COMMANDS_MAX).map(|number| number.to_string()).collect();
        let many: Vec<_> = names.iter().map(|name| (Some(name.as_str()), 1)).collect();
        assert_eq!(sizes(&many, true), [GROUP_COMMANDS_MAX, 1]);
    }
}
