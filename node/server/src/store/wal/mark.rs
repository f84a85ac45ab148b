//! The durable end: where the last acknowledged batch ends, so that damage to the very last record shows.
//!
//! ```text
//!  0                               4096
//!  ├ slot of odd turns … ──────────┼ slot of even turns: magic, version, crc, turn u64, segment u64, end u64
//! ```
//! Written after each batch's sync and before its acknowledgement, but synced only when the log has been idle
//! for a moment and at close: under load the next batch proves the same (WAL-4), so a second sync per batch
//! would buy nothing. Two slots written in turn: a torn write leaves the other.
//!
//! - WAL-5 a mark never names more than what is durable.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::record::{u32_at, u64_at};
use crate::store::{StoreError, files};

const MAGIC: [u8; 8] = *b"BELFRYDE";
const VERSION: u32 = 1;
const SLOT_BYTES: usize = 40;
/// Slots lie in different pages and sectors, so that one torn write cannot reach both.
const SLOT_DISTANCE: u64 = 4096;

pub(super) const FILE_NAME: &str = "durable-end";

/// The end of what was acknowledged.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub(super) struct DurableEnd {
    /// Number of the last segment; 0 before the first.
    pub(super) segment: u64,
    /// Bytes of it.
    pub(super) end: u64,
}

#[derive(Debug)]
pub(super) struct MarkFile {
    file: File,
    path: PathBuf,
    turn: u64,
}

impl MarkFile {
    pub(super) fn create(folder: &Path) -> Result<MarkFile, StoreError> {
        let path = folder.join(FILE_NAME);
        let mut content = vec![0; SLOT_DISTANCE as usize];
        content.extend_from_slice(&encode(2, DurableEnd::default()));
        content[..SLOT_BYTES].copy_from_slice(&encode(1, DurableEnd::default()));
        files::write_whole(&path, &content)?;
        let file = OpenOptions::new().write(true).open(&path).map_err(StoreError::io("open", &path))?;
        Ok(MarkFile { file, path, turn: 2 })
    }

    /// `None` if there is no such file.
    pub(super) fn open(folder: &Path) -> Result<Option<(MarkFile, DurableEnd)>, StoreError> {
        let path = folder.join(FILE_NAME);
        if !path.try_exists().map_err(StoreError::io("look for", &path))? {
            return Ok(None);
        }
        let content = std::fs::read(&path).map_err(StoreError::io("read", &path))?;
        let slots = [0, SLOT_DISTANCE as usize].map(|at| content.get(at..at + SLOT_BYTES).and_then(decode));
        let newest = slots.into_iter().flatten().max_by_key(|slot| slot.turn);
        let Some(slot) = newest else {
            return Err(StoreError::damaged(&path, 0, "both copies of the durable end are unreadable"));
        };
        if slot.version > VERSION {
            return Err(StoreError::NewerFormat { path, found: slot.version, supported: VERSION });
        }
        let file = OpenOptions::new().write(true).open(&path).map_err(StoreError::io("open", &path))?;
        Ok(Some((MarkFile { file, path, turn: slot.turn }, slot.end)))
    }

    /// Hands the mark to the system: it survives the end of this process, not yet a power cut.
    pub(super) fn write(&mut self, end: DurableEnd) -> Result<(), StoreError> {
        self.turn += 1;
        let at = if self.turn % 2 == 1 { 0 } else { SLOT_DISTANCE };
        self.file.write_all_at(&encode(self.turn, end), at).map_err(StoreError::io("write", &self.path))
    }

    pub(super) fn sync(&self) -> Result<(), StoreError> {
        self.file.sync_data().map_err(StoreError::io("sync", &self.path))
    }
}

struct Slot {
    version: u32,
    turn: u64,
    end: DurableEnd,
}

fn encode(turn: u64, end: DurableEnd) -> [u8; SLOT_BYTES] {
    let mut slot = [0; SLOT_BYTES];
    slot[0..8].copy_from_slice(&MAGIC);
    slot[8..12].copy_from_slice(&VERSION.to_le_bytes());
    slot[16..24].copy_from_slice(&turn.to_le_bytes());
    slot[24..32].copy_from_slice(&end.segment.to_le_bytes());
    slot[32..40].copy_from_slice(&end.end.to_le_bytes());
    let crc = checksum(&slot);
    slot[12..16].copy_from_slice(&crc.to_le_bytes());
    slot
}

fn decode(slot: &[u8]) -> Option<Slot> {
    let whole = slot[0..8] == MAGIC && u32_at(slot, 12) == checksum(slot);
    whole.then(|| Slot {
        version: u32_at(slot, 8),
        turn: u64_at(slot, 16),
        end: DurableEnd { segment: u64_at(slot, 24), end: u64_at(slot, 32) },
    })
}

fn checksum(slot: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&slot[0..12]), &slot[16..SLOT_BYTES])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_readable_slot_counts() {
        let folder = tempfile::tempdir().unwrap();
        let mut mark = MarkFile::create(folder.path()).unwrap();
        for end in [200, 300] {
            mark.write(DurableEnd { segment: 1, end }).unwrap();
        }
        let path = folder.path().join(FILE_NAME);
        let whole = std::fs::read(&path).unwrap();
        let end_after = |position: usize| {
            let mut bytes = whole.clone();
            bytes[position] ^= 1;
            std::fs::write(&path, bytes).unwrap();
            MarkFile::open(folder.path()).unwrap().unwrap().1.end
        };
        for position in 0..SLOT_BYTES {
            assert_eq!(end_after(position), 300, "the older slot is flipped at {position}");
            assert_eq!(end_after(SLOT_DISTANCE as usize + position), 200, "the newer one");
        }
    }

    #[test]
    fn two_unreadable_slots_are_damage() {
        let folder = tempfile::tempdir().unwrap();
        MarkFile::create(folder.path()).unwrap();
        std::fs::write(folder.path().join(FILE_NAME), vec![7; 5000]).unwrap();
        assert!(matches!(MarkFile::open(folder.path()), Err(StoreError::Damaged { .. })));
    }
}
