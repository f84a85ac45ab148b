//! The state machine as openraft sees it: the core's [`State`] behind a lock, with where in the log it stands.
//!
//! - MACHINE-1 `state`, `applied` and `membership` always belong to the same position of the log.
//! - MACHINE-2 a committed entry that cannot be decoded or applied stops the node: skipping it would let replicas drift. What was
//!   applied of it is in no checkpoint: the entry is applied again at the next start.
//! - MACHINE-3 no lock is held across an await.

use std::collections::BTreeMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use belfry_core::state::{BlockId, Record};
use belfry_core::{Action, Applied, Command, FEATURE_LEVEL, LogPosition, State};
use bytes::Bytes;
use futures_util::{Stream, StreamExt as _};
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder};
use tokio::sync::{Notify, watch};

use super::changes::{CHANGES_MAX, ChangeLog};
use super::checkpoint::{Checkpoints, Head, corrupt};
use super::effects::Effects;
use super::fault::Faults;
use super::snapshot::SnapshotData;
use super::types::{Entry, LogId, Snapshot, SnapshotMeta, StoredMembership, TypeConfig};
use crate::codec;

/// Everything that is replicated, at one position of the log (MACHINE-1).
#[derive(Default)]
pub(super) struct Replicated {
    pub(super) state: State,
    pub(super) applied: Option<LogId>,
    pub(super) membership: StoredMembership,
}

/// The changed blocks of the state at one position of the log.
pub(super) struct Cut<T> {
    pub(super) applied: Option<LogId>,
    pub(super) membership: StoredMembership,
    /// What was made of the records of each.
    pub(super) blocks: BTreeMap<BlockId, T>,
}

/// Blocks copied under one lock: a storm must not wait for a checkpoint.
const CUT_SLICE_BLOCKS: usize = 32;
/// Rounds after which the rest is copied under one lock, however much it is. Each must leave less than half of what it copied: in a
/// storm that changes everything again meanwhile, one more would leave as much.
const CUT_ROUNDS_MAX: usize = 5;

/// The live state, shared by openraft's state machine, readers and the checkpointer.
pub(super) struct Shared {
    replicated: RwLock<Replicated>,
    applied: watch::Sender<LogPosition>,
    effects: Arc<Effects>,
    changes: Arc<ChangeLog>,
    dirty_blocks_max: usize,
    /// Told when more blocks than that are dirty.
    told: Notify,
    /// Bytes of the commands that were applied since the start.
    applied_bytes: AtomicU64,
}

impl Shared {
    pub(super) fn new(replicated: Replicated, dirty_blocks_max: usize) -> Arc<Self> {
        let position = position_of(replicated.applied.as_ref());
        let (applied, floor) = (watch::Sender::new(position), position.index);
        Arc::new(Self {
            replicated: RwLock::new(replicated),
            applied,
            effects: Arc::default(),
            changes: Arc::new(ChangeLog::new(floor, CHANGES_MAX)),
            dirty_blocks_max,
            told: Notify::new(),
            applied_bytes: AtomicU64::new(0),
        })
    }

    /// Reads the state as it is now.
    pub(super) fn read<R>(&self, read: impl FnOnce(&State) -> R) -> R {
        read(&self.lock().state)
    }

    /// Reads the state together with the position it is at.
    pub(super) fn read_at<R>(&self, read: impl FnOnce(LogPosition, &State) -> R) -> R {
        let replicated = self.lock();
        read(position_of(replicated.applied.as_ref()), &replicated.state)
    }

    pub(super) fn applied(&self) -> Option<LogId> {
        self.lock().applied
    }

    /// The membership that is applied: it is committed.
    pub(super) fn membership(&self) -> StoredMembership {
        self.lock().membership.clone()
    }

    pub(super) fn watch_applied(&self) -> watch::Receiver<LogPosition> {
        self.applied.subscribe()
    }

    pub(super) fn effects(&self) -> Arc<Effects> {
        self.effects.clone()
    }

    pub(super) fn changes(&self) -> Arc<ChangeLog> {
        self.changes.clone()
    }

    /// Everything, once nobody else has it.
    pub(super) fn take(&self) -> Replicated {
        std::mem::take(&mut *self.lock_mut())
    }

    pub(super) fn replace(&self, replicated: Replicated) {
        let position = position_of(replicated.applied.as_ref());
        let former = std::mem::replace(&mut *self.lock_mut(), replicated);
        self.changes.reset(position.index);
        self.applied.send_replace(position);
        // Dropping a million records takes a while: not under the lock.
        drop(former);
    }

    /// Until many blocks are dirty, and no earlier than after `rest`.
    pub(super) async fn many_dirty(&self, rest: Duration) {
        tokio::time::sleep(rest).await;
        // What was told before a checkpoint may have been written by it.
        while !self.has_many_dirty(&self.lock().state) {
            self.told.notified().await;
        }
    }

    /// Bytes of the commands that were applied since the start: how fast they grow tells a storm.
    pub(super) fn applied_bytes(&self) -> u64 {
        self.applied_bytes.load(Ordering::Relaxed)
    }

    fn has_many_dirty(&self, state: &State) -> bool {
        state.dirty_count() > self.dirty_blocks_max
    }

    /// The changed blocks, as of one position, each as what `keep` makes of its records; of none, when the block is gone.
    ///
    /// Copies slice by slice while entries go on being applied, then what changed meanwhile, until little is left;
    /// only that last part is copied in one piece. A block that was copied and did not change again is the same at
    /// the final position. Records are copied under the lock and let go of as soon as `keep` has seen them, without it.
    ///
    /// # Errors
    /// The state is of no position any more (MACHINE-2).
    pub(super) fn cut<T>(&self, keep: impl Fn(Vec<Record>) -> T) -> io::Result<Cut<T>> {
        let (mut blocks, mut copied_before) = (BTreeMap::new(), usize::MAX);
        for _ in 0..CUT_ROUNDS_MAX {
            let dirty = {
                let mut replicated = self.lock_mut();
                let count = replicated.state.dirty_count();
                if count <= CUT_SLICE_BLOCKS || count > copied_before / 2 {
                    break;
                }
                copied_before = count;
                replicated.state.take_dirty().into_iter().collect::<Vec<_>>()
            };
            for slice in dirty.chunks(CUT_SLICE_BLOCKS) {
                let copied = {
                    let replicated = self.lock();
                    slice.iter().map(|id| (*id, replicated.state.block(*id))).collect::<Vec<_>>()
                };
                blocks.extend(copied.into_iter().map(|(id, records)| (id, keep(records))));
            }
        }
        let (rest, applied, membership) = {
            let Ok(mut replicated) = self.replicated.write() else {
                return Err(io::Error::other("a log entry was applied in part: nothing is stored of that"));
            };
            let dirty = replicated.state.take_dirty();
            let rest = dirty.into_iter().map(|id| (id, replicated.state.block(id))).collect::<Vec<_>>();
            (rest, replicated.applied, replicated.membership.clone())
        };
        blocks.extend(rest.into_iter().map(|(id, records)| (id, keep(records))));
        Ok(Cut { applied, membership, blocks })
    }

    /// Applies one entry, the next one.
    pub(super) fn apply(&self, entry: Entry) -> io::Result<Vec<Applied>> {
        let log_id = entry.log_id;
        match entry.payload {
            EntryPayload::Blank => {
                self.lock_mut().applied = Some(log_id);
                Ok(Vec::new())
            }
            EntryPayload::Membership(membership) => {
                let mut replicated = self.lock_mut();
                replicated.applied = Some(log_id);
                replicated.membership = StoredMembership::new(Some(log_id), membership);
                Ok(Vec::new())
            }
            EntryPayload::Normal(proposal) => {
                let commands = proposal.commands();
                let bytes: usize = commands.iter().map(Bytes::len).sum();
                self.applied_bytes.fetch_add(bytes as u64, Ordering::Relaxed);
                let decoded: Result<Vec<_>, _> = commands.iter().map(codec::decode_command).collect();
                let commands = decoded.map_err(|error| {
                    corrupt(format!(
                        "log entry {} is committed but not readable: {error}; start the release that wrote it",
                        log_id.index
                    ))
                })?;
                self.apply_commands(log_id, commands)
            }
        }
    }

    fn apply_commands(&self, log_id: LogId, commands: Vec<Command>) -> io::Result<Vec<Applied>> {
        for command in &commands {
            if let Action::RaiseFeatureLevel(level) = command.action
                && level > FEATURE_LEVEL
            {
                return Err(corrupt(format!(
                    "log entry {} raises the feature level to {level}, and this release knows those up to {FEATURE_LEVEL}: start \
                     the release of the others",
                    log_id.index
                )));
            }
        }
        let position = position_of(Some(&log_id));
        let apply = || {
            let mut replicated = self.lock_mut();
            let apply = |command| replicated.state.apply(position, command);
            let applied = commands.into_iter().map(apply).collect::<Vec<_>>();
            replicated.applied = Some(log_id);
            (applied, self.has_many_dirty(&replicated.state))
        };
        // A panic here would happen on every node and again after each restart: say which entry it is. The lock is poisoned then
        // (MACHINE-2).
        let (mut applied, many) = catch_unwind(AssertUnwindSafe(apply)).map_err(|_| {
            io::Error::other(format!(
                "applying log entry {} panicked: a defect of the program, report it with the node's log",
                log_id.index
            ))
        })?;
        for applied in &mut applied {
            self.effects.push(&applied.effects);
            // CHANGES-2: before the position is published.
            self.changes.push(log_id.index, std::mem::take(&mut applied.changes));
        }
        if many {
            self.told.notify_one();
        }
        Ok(applied)
    }

    fn publish(&self) {
        let position = position_of(self.applied().as_ref());
        self.applied.send_if_modified(|published| {
            let changed = *published != position;
            *published = position;
            changed
        });
    }

    fn lock(&self) -> RwLockReadGuard<'_, Replicated> {
        // Of a state that a panic left in the midst of an entry nothing is stored (MACHINE-2), and the node stops.
        self.replicated.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock_mut(&self) -> RwLockWriteGuard<'_, Replicated> {
        self.replicated.write().unwrap_or_else(PoisonError::into_inner)
    }
}

fn position_of(id: Option<&LogId>) -> LogPosition {
    id.map_or_else(LogPosition::default, |id| LogPosition { term: id.leader_id.term, index: id.index })
}

/// The state machine. Clones are the same one.
#[derive(Clone)]
pub(super) struct Machine {
    pub(super) shared: Arc<Shared>,
    pub(super) checkpoints: Arc<Checkpoints>,
    pub(super) faults: Faults,
}

/// Entries applied between two publications of the position.
const PUBLISH_EVERY: usize = 64;

impl RaftStateMachine<TypeConfig> for Machine {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        let replicated = self.shared.lock();
        Ok((replicated.applied, replicated.membership.clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        let mut unpublished = 0;
        while let Some(item) = entries.next().await {
            let (entry, responder) = item?;
            let applied = self.faults.watch(self.shared.apply(entry))?;
            if let Some(responder) = responder {
                responder.send(applied);
            }
            unpublished += 1;
            if unpublished == PUBLISH_EVERY {
                self.shared.publish();
                unpublished = 0;
            }
        }
        self.shared.publish();
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Self::SnapshotBuilder {
        self.clone()
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: SnapshotData,
    ) -> Result<(), io::Error> {
        let file = snapshot.into_file().await?;
        assert_eq!(file.head.applied, meta.last_log_id, "the receiver compares both before it installs");
        self.faults.watch(self.checkpoints.install(file, &self.shared).await)
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        // The ledger first: while it is held, the head stays.
        let ledger = self.checkpoints.try_ledger();
        let Some(head) = self.checkpoints.head() else { return Ok(None) };
        let snapshot = SnapshotData::of_checkpoint(self.checkpoints.clone(), head.applied, ledger);
        Ok(Some(Snapshot { meta: meta_of(&head), snapshot }))
    }
}

/// A checkpoint is openraft's snapshot: to build one is to write what changed.
impl RaftSnapshotBuilder<TypeConfig> for Machine {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        let head = self.faults.watch(self.checkpoints.save(&self.shared).await)?;
        let snapshot = SnapshotData::of_checkpoint(self.checkpoints.clone(), head.applied, None);
        Ok(Snapshot { meta: meta_of(&head), snapshot })
    }
}

fn meta_of(head: &Head) -> SnapshotMeta {
    SnapshotMeta { last_log_id: head.applied, last_membership: head.membership.clone() }
}

#[cfg(test)]
pub(super) mod tests {
    use belfry_core::command::{ResumeMissed, Retime};
    use belfry_core::state::BlockKind;
    use belfry_core::{Definition, Outcome, Revision};

    use super::*;
    use crate::raft::convert;
    use crate::raft::tests::{command, create, entry, entry_of, key};

    const SCHEDULES: u64 = 4000;
    /// Cuts that must have seen something new.
    const CUTS: u32 = 5;

    pub(in super::super) fn apply(shared: &Shared, index: u64, command: &Command) {
        for applied in apply_entry(shared, entry(index, command)) {
            applied.outcome.expect("callers apply what is not rejected");
        }
    }

    #[test]
    fn a_level_that_this_release_does_not_know_is_an_error() {
        let shared = Shared::new(Replicated::default(), usize::MAX);
        let raise = |level| shared.apply(entry(1, &command(Action::RaiseFeatureLevel(level))));
        let error = raise(FEATURE_LEVEL + 1).unwrap_err().to_string();
        assert!(error.contains("start the release of the others"), "{error}");
        assert_eq!(shared.read(State::feature_level), 1);
        raise(FEATURE_LEVEL).unwrap();
    }

    fn apply_entry(shared: &Shared, entry: Entry) -> Vec<Applied> {
        shared.apply(entry).expect("it is of this release, and what it does never panics")
    }

    fn cut<T>(shared: &Shared, keep: impl Fn(Vec<Record>) -> T) -> Cut<T> {
        shared.cut(keep).expect("no entry was applied in part")
    }

    fn edits() -> [Command; 5] {
        let delete = |name| command(Action::DeleteSchedule { key: key(name), expected: None });
        let Action::CreateSchedule { definition, .. } = create("c").action else {
            unreachable!("this is what it makes")
        };
        let description = "changed".to_owned();
        let update = Action::UpdateSchedule {
            key: key("c"),
            expected: None,
            definition: Arc::new(Definition { description, ..(*definition).clone() }),
            retime: Retime::Keep,
            calendars: Revision::default(),
        };
        [create("a"), delete("nobody's"), command(update), delete("d"), create("b")]
    }

    /// Two schedules, a run of one of which waits.
    fn prepared() -> Arc<Shared> {
        let shared = Shared::new(Replicated::default(), usize::MAX);
        shared.effects.start();
        let trigger =
            Action::TriggerSchedule { key: key("d"), actor: "test".into(), overlap: Default::default() };
        for (index, command) in (1..).zip([create("c"), create("d"), command(trigger)]) {
            apply(&shared, index, &command);
        }
        shared
    }

    #[test]
    fn group_2_an_entry_does_what_its_commands_do_one_after_the_other() {
        let (together, alone) = (prepared(), prepared());
        let cursor = together.changes.end();
        let of_one = apply_entry(&together, entry_of(4, &edits()));
        let of_each = (4..).zip(edits()).flat_map(|(index, edit)| apply_entry(&alone, entry(index, &edit)));
        // Where they stand in the log is what differs.
        let unplaced = |applied: Applied| {
            let outcome = applied.outcome.map(|outcome| match outcome {
                Outcome::Schedule(mut schedule) => {
                    schedule.revision = Revision::default();
                    Outcome::Schedule(schedule)
                }
                Outcome::Deleted { mut schedule, cancelled } => {
                    schedule.revision = Revision::default();
                    Outcome::Deleted { schedule, cancelled }
                }
                other => other,
            });
            (outcome, applied.effects)
        };
        let (of_one, of_each): (Vec<_>, Vec<_>) =
            (of_one.into_iter().map(unplaced).collect(), of_each.map(unplaced).collect());
        assert_eq!(of_one, of_each);
        assert_eq!(
            of_one.iter().map(|(outcome, _)| outcome.is_ok()).collect::<Vec<_>>(),
            [true, false, true, true, true]
        );
        assert!(matches!(of_one[3].0, Ok(Outcome::Deleted { cancelled: 1, .. })));
        let names = |shared: &Shared| {
            shared.read(|state| {
                let from = key("");
                state.schedules_from(&from).map(|schedule| schedule.key.clone()).collect::<Vec<_>>()
            })
        };
        assert_eq!(names(&together), names(&alone));
        let told = together.changes.read(cursor, usize::MAX).expect("so little is all kept");
        assert!(told.changes.len() > 4 && told.changes.iter().all(|(index, _)| *index == 4));
    }

    /// Recorded by the first release of feature level 5 and never written anew (CODEC-3, APPLY-1).
    #[test]
    fn an_entry_of_several_commands_gives_the_state_that_it_gave() {
        let recorded = include_str!("../codec/testdata/level_5_entry.txt");
        let (payload, digest) = recorded.trim_end().split_once('\n').expect("it has two lines");
        let digits = |at: usize| u8::from_str_radix(&payload[at..at + 2], 16).expect("it is in hexadecimal");
        let payload: Vec<_> = (0..payload.len()).step_by(2).map(digits).collect();
        let id = crate::store::LogId { term: 1, node: 1, index: 4 };
        let stored = crate::store::LogEntry { id, payload: payload.into() };
        let entry = convert::entry_from_store(stored).expect("what was written once stays readable");
        assert_eq!(entry, entry_of(4, &edits()), "it is written otherwise");
        let shared = prepared();
        apply_entry(&shared, entry);
        assert_eq!(shared.read(State::digest).to_string(), digest);
    }

    #[test]
    fn machine_2_nothing_is_stored_of_an_entry_that_was_applied_in_part() {
        let shared = prepared();
        let stops_in_the_midst = || {
            let _replicated = shared.lock_mut();
            panic!("as a defect of `State::apply` would");
        };
        assert!(catch_unwind(AssertUnwindSafe(stops_in_the_midst)).is_err());
        assert!(shared.cut(|records| records.len()).is_err());
    }

    fn name(number: u64) -> String {
        format!("schedule-{number}")
    }

    /// Changes one schedule after the other, from block to block; over and over.
    fn pause_or_resume(index: u64) -> Command {
        let key = key(&name(index * 1009 % SCHEDULES + 1));
        let is_pause = (index / SCHEDULES) % 2 == 1;
        command(if is_pause {
            Action::PauseSchedule {
                key,
                expected: None,
                reason: index.to_string(),
                actor: "test".into(),
                until: None,
            }
        } else {
            Action::ResumeSchedule { key, expected: None, missed: ResumeMissed::Skip, actor: "test".into() }
        })
    }

    /// CKPT-1, while entries are applied between the slices.
    #[test]
    fn a_cut_is_one_position() {
        let shared = Shared::new(Replicated::default(), usize::MAX);
        (1..=SCHEDULES).for_each(|number| apply(&shared, number, &create(&name(number))));
        let mut blocks = std::thread::scope(|scope| {
            let cutter = scope.spawn(|| {
                let (mut blocks, mut last, mut moved) = (BTreeMap::new(), SCHEDULES, 0);
                while moved < CUTS {
                    let cut = cut(&shared, |records| records);
                    blocks.extend(cut.blocks);
                    let state = State::restore(blocks.values().flatten().cloned()).unwrap();
                    let newest = state
                        .schedule_ids_from(Default::default())
                        .filter_map(|id| state.schedule(id))
                        .map(|schedule| schedule.revision)
                        .max();
                    let index = cut.applied.unwrap().index;
                    assert_eq!(newest, Some(Revision(index)));
                    moved += u32::from(index > last);
                    last = index;
                }
                blocks
            });
            let mut index = SCHEDULES;
            while !cutter.is_finished() {
                index += 1;
                apply(&shared, index, &pause_or_resume(index));
            }
            cutter.join().unwrap()
        });
        blocks.extend(cut(&shared, |records| records).blocks);
        let restored = State::restore(blocks.into_values().flatten()).unwrap();
        assert_eq!(restored.digest(), shared.read(State::digest));
    }

    #[tokio::test(start_paused = true)]
    async fn write_3_what_has_changed_waits_for_the_rest_and_for_more() {
        let (shared, rest) = (Shared::new(Replicated::default(), 3), Duration::from_secs(4));
        let began = tokio::time::Instant::now();
        let mut index = 0;
        let mut create = || {
            // Each in a block of its own, beside that of the totals.
            for _ in 0..BlockKind::Schedules.span() {
                index += 1;
                apply(&shared, index, &create(&name(index)));
            }
        };
        (0..5).for_each(|_| create());
        shared.many_dirty(rest).await;
        assert_eq!(began.elapsed(), rest, "what was told before the rest is not forgotten");
        cut(&shared, |records| records.len());
        create();
        let more = async {
            tokio::time::sleep(2 * rest).await;
            (0..5).for_each(|_| create());
        };
        tokio::join!(shared.many_dirty(rest), more);
        assert_eq!(began.elapsed(), 3 * rest, "what was told of blocks that are written is");
    }

    #[test]
    fn a_cut_names_blocks_that_are_gone() {
        let shared = Shared::new(Replicated::default(), usize::MAX);
        apply(&shared, 1, &create("x"));
        assert!(cut(&shared, |records| records.len()).blocks.values().all(|count| *count > 0));
        let prune = belfry_core::command::Prune { answers: vec![1], ..Default::default() };
        apply(&shared, 2, &command(Action::Prune(prune)));
        let cut = cut(&shared, |records| records.len());
        assert_eq!(cut.blocks.values().filter(|count| **count == 0).count(), 1);
    }
}
