//! The log as its reader sees it, in memory: one set of rules for the files, their recovery and the in-memory twin.
//!
//! - VIEW-1 the entries held are consecutive, and the first one follows `floor`.
//! - VIEW-2 outside of a recovery `floor` equals `purged`.

use std::collections::VecDeque;

use super::{LogEntry, LogId, LogState, StoreError, Vote};

/// One change of the log, in the order it was asked for.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Append(Vec<LogEntry>),
    Vote(Vote),
    TruncateAfter(Option<LogId>),
    Purge(LogId),
    Committed(Option<LogId>),
}

impl Change {
    /// What it weighs in a queue and in a file, roughly.
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Change::Append(entries) => entries.iter().map(entry_bytes).sum(),
            Change::Vote(_) | Change::TruncateAfter(_) | Change::Purge(_) | Change::Committed(_) => {
                ENTRY_OVERHEAD_BYTES
            }
        }
    }
}

/// Whether a change had anything to change.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Effect {
    Changed,
    Nothing,
}

/// What each new segment repeats, so that older ones are needed only for their entries.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Carry {
    pub(super) vote: Option<Vote>,
    pub(super) committed: Option<LogId>,
    pub(super) purged: Option<LogId>,
    pub(super) last: Option<LogId>,
}

/// Room an entry takes beside its payload: its record header and its id, or its place in memory.
const ENTRY_OVERHEAD_BYTES: u64 = 56;

/// Room for entries that is never given back: a quarter of a megabyte.
const ROOM_MIN: usize = 4096;

fn entry_bytes(entry: &LogEntry) -> u64 {
    entry.payload.len() as u64 + ENTRY_OVERHEAD_BYTES
}

#[derive(Clone, Default, Debug)]
pub(super) struct LogView {
    vote: Option<Vote>,
    committed: Option<LogId>,
    purged: Option<LogId>,
    floor: Option<LogId>,
    entries: VecDeque<LogEntry>,
    bytes: u64,
}

impl LogView {
    /// A log whose entries up to `carry.last` are not at hand, as a recovery starts.
    pub(super) fn after(carry: Carry) -> LogView {
        LogView {
            vote: carry.vote,
            committed: carry.committed,
            purged: carry.purged,
            floor: carry.last,
            ..LogView::default()
        }
    }

    pub(super) fn carry(&self) -> Carry {
        Carry { vote: self.vote, committed: self.committed, purged: self.purged, last: self.last() }
    }

    pub(super) fn state(&self) -> LogState {
        LogState {
            vote: self.vote,
            committed: self.committed,
            purged: self.purged,
            last: self.last(),
            retained_bytes: self.bytes,
        }
    }

    fn last(&self) -> Option<LogId> {
        self.entries.back().map(|entry| entry.id).or(self.floor)
    }

    /// Carries out `change`, or says what it contradicts and leaves everything as it was.
    pub(super) fn apply(&mut self, change: &Change) -> Result<Effect, StoreError> {
        match change {
            Change::Append(entries) => self.append(entries),
            Change::Vote(vote) => {
                self.vote = Some(*vote);
                Ok(Effect::Changed)
            }
            Change::TruncateAfter(None) => self.truncate_all(),
            Change::TruncateAfter(Some(last)) => self.truncate_after(*last),
            Change::Purge(upto) => Ok(self.purge(*upto)),
            Change::Committed(committed) => {
                self.committed = *committed;
                Ok(Effect::Changed)
            }
        }
    }

    fn append(&mut self, entries: &[LogEntry]) -> Result<Effect, StoreError> {
        let mut last = self.last();
        for entry in entries {
            if let Some(last) = last.filter(|last| last.index.checked_add(1) != Some(entry.id.index)) {
                return misuse(format!("append entry {} after entry {}", entry.id.index, last.index));
            }
            if u32::try_from(entry_bytes(entry)).is_err() {
                return misuse(format!("append entry {} of {} bytes", entry.id.index, entry.payload.len()));
            }
            last = Some(entry.id);
        }
        self.bytes += entries.iter().map(entry_bytes).sum::<u64>();
        self.entries.extend(entries.iter().cloned());
        Ok(if entries.is_empty() { Effect::Nothing } else { Effect::Changed })
    }

    fn truncate_all(&mut self) -> Result<Effect, StoreError> {
        if let Some(purged) = self.purged {
            return misuse(format!("drop all entries: those up to {} are purged", purged.index));
        }
        let before = self.last();
        self.entries.clear();
        self.bytes = 0;
        self.floor = None;
        Ok(if before.is_some() { Effect::Changed } else { Effect::Nothing })
    }

    fn truncate_after(&mut self, last: LogId) -> Result<Effect, StoreError> {
        if let Some(purged) = self.purged.filter(|purged| last.index < purged.index) {
            return misuse(format!(
                "truncate after {}: entries up to {} are purged",
                last.index, purged.index
            ));
        }
        if let Some(held) = self.id_at(last.index).filter(|held| *held != last) {
            return misuse(format!("truncate after {last:?}: the entry at that index is {held:?}"));
        }
        if self.last().is_none_or(|end| end.index <= last.index) {
            return Ok(Effect::Nothing);
        }
        while let Some(entry) = self.entries.pop_back_if(|entry| entry.id.index > last.index) {
            self.bytes -= entry_bytes(&entry);
        }
        // Only a recovery comes here with entries that are not at hand: they lie in a segment purged later.
        if self.floor.is_some_and(|floor| floor.index > last.index) {
            self.floor = Some(last);
        }
        Ok(Effect::Changed)
    }

    fn purge(&mut self, upto: LogId) -> Effect {
        if self.purged.is_some_and(|purged| purged.index >= upto.index) {
            return Effect::Nothing;
        }
        while let Some(entry) = self.entries.pop_front_if(|entry| entry.id.index <= upto.index) {
            self.bytes -= entry_bytes(&entry);
        }
        self.purged = Some(upto);
        if self.floor.is_none_or(|floor| floor.index < upto.index) {
            self.floor = Some(upto);
        }
        self.give_back_room();
        Effect::Changed
    }

    /// Many schedules created at once are as many entries: without this, the room of the most there ever were would stay.
    fn give_back_room(&mut self) {
        let room = (self.entries.len() * 3 / 2).max(ROOM_MIN);
        // For less, an allocator leaves it where it is.
        if self.entries.capacity() > 2 * room {
            self.entries.shrink_to(room);
        }
    }

    /// The first entry that ought to be held and is not, when a recovery has ended.
    pub(super) fn missing(&self) -> Option<u64> {
        let floor = self.floor?;
        match self.purged {
            Some(purged) => (floor.index > purged.index).then_some(purged.index + 1),
            None => Some(0),
        }
    }

    fn id_at(&self, index: u64) -> Option<LogId> {
        if let Some(floor) = self.floor.filter(|floor| floor.index == index) {
            return Some(floor);
        }
        let first = self.entries.front()?.id.index;
        let entry = self.entries.get(usize::try_from(index.checked_sub(first)?).ok()?)?;
        Some(entry.id)
    }

    pub(super) fn read(&self, from: u64, to_exclusive: u64, bytes_max: usize) -> Vec<LogEntry> {
        let Some(first) = self.entries.front().map(|entry| entry.id.index) else { return Vec::new() };
        let skip = usize::try_from(from.saturating_sub(first)).unwrap_or(usize::MAX).min(self.entries.len());
        let mut bytes = 0_usize;
        let mut taken = Vec::new();
        for entry in self.entries.range(skip..) {
            bytes = bytes.saturating_add(entry.payload.len());
            let full = bytes > bytes_max && !taken.is_empty();
            if entry.id.index >= to_exclusive || full {
                break;
            }
            taken.push(entry.clone());
        }
        taken
    }
}

fn misuse(what: String) -> Result<Effect, StoreError> {
    Err(StoreError::Misuse { what })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn what_is_purged_leaves_no_room_behind() {
        let id = |index| LogId { term: 1, node: 1, index };
        let entries = |indexes: std::ops::Range<u64>| {
            indexes.map(|index| LogEntry { id: id(index), payload: Bytes::new() }).collect::<Vec<_>>()
        };
        let mut log = LogView::default();
        log.append(&entries(0..100_000)).expect("an empty log takes any first entry");
        log.purge(id(89_999));
        assert!(log.entries.capacity() <= 20_000, "{} places for 10 000 entries", log.entries.capacity());
        assert_eq!(log.read(0, u64::MAX, usize::MAX), entries(90_000..100_000));
        log.purge(id(99_999));
        assert_eq!(log.entries.capacity(), ROOM_MIN);
        log.append(&entries(100_000..100_001)).expect("it follows the last one that was purged");
        assert_eq!(log.read(0, u64::MAX, usize::MAX), entries(100_000..100_001));
    }
}
