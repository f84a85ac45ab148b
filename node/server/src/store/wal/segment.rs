//! One file of the log.
//!
//! ```text
//!  00000000000000000007.wal
//!  ├ header 128 B ┼ Carry ┼ record ┼ record ┼ … ┼ zeros: room prepared for the next batches
//! ```
//! - WAL-2 a file named `*.wal` has a whole header and a whole carry record: it is prepared under another name,
//!   synced, put in place, and the folder synced, before anything is acknowledged in it.
//! - WAL-3 the header names the owner and where the segment before it ended: no segment can be exchanged, cut or left out unseen.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use ulid::Ulid;

use super::record::{Encoder, u32_at, u64_at};
use super::{LogOwner, WalOptions};
use crate::store::view::Carry;
use crate::store::{StoreError, files};

const MAGIC: [u8; 8] = *b"BELFRYWL";
/// Format of segments this release writes.
pub(super) const VERSION: u32 = 1;
pub(super) const HEADER_BYTES: usize = 128;
/// Room for the cluster's id in the header.
pub(in crate::store) const CLUSTER_ID_BYTES_MAX: usize = 64;
const SUFFIX: &str = ".wal";
static ZEROS: [u8; 64 * 1024] = [0; 64 * 1024];

/// The segment that batches go to.
#[derive(Debug)]
pub(super) struct Segment {
    pub(super) sequence: u64,
    pub(super) path: PathBuf,
    /// Everything before it is durable, nothing is written behind it.
    pub(super) end: u64,
    /// Highest index of an entry in it.
    pub(super) index_max: Option<u64>,
    file: File,
    /// Length of the file: up to here blocks are allocated, and a sync need not write metadata.
    allocated: u64,
}

/// A full segment: kept until all its entries are purged.
#[derive(Debug)]
pub(super) struct Sealed {
    pub(super) path: PathBuf,
    pub(super) index_max: Option<u64>,
}

impl Segment {
    /// Makes a new segment durable in `folder` (WAL-2).
    pub(super) fn create(
        folder: &Path,
        owner: &LogOwner,
        sequence: u64,
        previous_end: u64,
        carry: &Carry,
    ) -> Result<Segment, StoreError> {
        let path = path_of(folder, sequence);
        let mut encoder = Encoder::new(sequence, HEADER_BYTES as u64, Vec::new());
        encoder.carry(carry);
        let content = [encode_header(owner, sequence, previous_end), encoder.into_buffer()].concat();
        files::write_whole(&path, &content)?;
        Segment::open(path, sequence, content.len() as u64, None)
    }

    /// Continues a segment that ends at `end`: whatever stands behind it is cut off, and the rest made durable.
    pub(super) fn open(
        path: PathBuf,
        sequence: u64,
        end: u64,
        index_max: Option<u64>,
    ) -> Result<Segment, StoreError> {
        let opened = || -> io::Result<File> {
            let file = OpenOptions::new().write(true).open(&path)?;
            file.set_len(end)?;
            file.sync_all()?;
            Ok(file)
        };
        let file = opened().map_err(StoreError::io("open", &path))?;
        Ok(Segment { sequence, path, end, index_max, file, allocated: end })
    }

    /// Adds a batch and makes it durable.
    pub(super) fn write(&mut self, batch: &[u8], options: &WalOptions) -> Result<(), StoreError> {
        self.write_unchecked(batch, options).map_err(StoreError::io("write", &self.path))?;
        self.file.sync_data().map_err(StoreError::io("sync", &self.path))?;
        self.end += batch.len() as u64;
        Ok(())
    }

    fn write_unchecked(&mut self, batch: &[u8], options: &WalOptions) -> io::Result<()> {
        #[cfg(test)]
        if let Some(fits) = options.room.as_ref().and_then(|room| room.take(batch.len())) {
            self.file.write_all_at(&batch[..fits], self.end)?;
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.file.write_all_at(batch, self.end)?;
        let end = self.end + batch.len() as u64;
        if end <= self.allocated {
            return Ok(());
        }
        // Blocks written ahead make the next syncs cheaper; a large batch spreads that cost by itself.
        let ahead = if (batch.len() as u64) < options.grow_bytes / 4 { options.grow_bytes } else { 0 };
        write_zeros(&self.file, end, end + ahead)?;
        self.allocated = end + ahead;
        Ok(())
    }

    pub(super) fn seal(self) -> Sealed {
        Sealed { path: self.path, index_max: self.index_max }
    }
}

fn write_zeros(file: &File, from: u64, to: u64) -> io::Result<()> {
    let mut at = from;
    while at < to {
        let step = (to - at).min(ZEROS.len() as u64);
        file.write_all_at(&ZEROS[..step as usize], at)?;
        at += step;
    }
    Ok(())
}

/// What a segment's header says.
#[derive(Debug)]
pub(super) struct Header {
    pub(super) previous_end: u64,
}

fn encode_header(owner: &LogOwner, sequence: u64, previous_end: u64) -> Vec<u8> {
    let cluster_id = owner.cluster_id.as_deref().unwrap_or_default().as_bytes();
    let mut header = vec![0; HEADER_BYTES];
    header[0..8].copy_from_slice(&MAGIC);
    header[8..12].copy_from_slice(&VERSION.to_le_bytes());
    header[16..24].copy_from_slice(&sequence.to_le_bytes());
    header[24..32].copy_from_slice(&previous_end.to_le_bytes());
    header[32..40].copy_from_slice(&owner.node_id.to_le_bytes());
    header[40..56].copy_from_slice(&owner.incarnation.to_bytes());
    header[56..64].copy_from_slice(&(cluster_id.len() as u64).to_le_bytes());
    header[64..64 + cluster_id.len()].copy_from_slice(cluster_id);
    let crc = header_checksum(&header);
    header[12..16].copy_from_slice(&crc.to_le_bytes());
    header
}

/// Checks that the segment is whole at its start, ours, and the one its name says.
pub(super) fn read_header(
    path: &Path,
    content: &[u8],
    owner: &LogOwner,
    sequence: u64,
) -> Result<Header, StoreError> {
    let Some(header) = content.get(..HEADER_BYTES) else {
        return Err(StoreError::damaged(path, content.len() as u64, "the file ends inside its header"));
    };
    if header[0..8] != MAGIC || u32_at(header, 12) != header_checksum(header) {
        return Err(StoreError::damaged(path, 0, "the checksum of its header does not match"));
    }
    let version = u32_at(header, 8);
    if version > VERSION {
        return Err(StoreError::NewerFormat { path: path.to_path_buf(), found: version, supported: VERSION });
    }
    if u64_at(header, 16) != sequence {
        let what = format!("its header says that it is segment {}", u64_at(header, 16));
        return Err(StoreError::damaged(path, 0, what));
    }
    let found = owner_of(header);
    let same_cluster = found.cluster_id.is_none() || found.cluster_id == owner.cluster_id;
    if found.node_id != owner.node_id || found.incarnation != owner.incarnation || !same_cluster {
        let path = path.to_path_buf();
        return Err(StoreError::Foreign { path, found: found.to_string(), expected: owner.to_string() });
    }
    Ok(Header { previous_end: u64_at(header, 24) })
}

fn owner_of(header: &[u8]) -> LogOwner {
    let cluster_bytes = usize::try_from(u64_at(header, 56)).unwrap_or(usize::MAX).min(CLUSTER_ID_BYTES_MAX);
    let cluster_id = String::from_utf8_lossy(&header[64..64 + cluster_bytes]).into_owned();
    let incarnation: [u8; 16] = header[40..56].try_into().expect("sixteen bytes were sliced");
    LogOwner {
        cluster_id: (!cluster_id.is_empty()).then_some(cluster_id),
        node_id: u64_at(header, 32),
        incarnation: Ulid::from_bytes(incarnation),
    }
}

fn header_checksum(header: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&header[0..12]), &header[16..HEADER_BYTES])
}

pub(super) fn path_of(folder: &Path, sequence: u64) -> PathBuf {
    folder.join(format!("{sequence:020}{SUFFIX}"))
}

/// Numbers of the segments in `folder`, ascending. What was never put in place is removed.
pub(super) fn list(folder: &Path) -> Result<Vec<u64>, StoreError> {
    let mut sequences = Vec::new();
    for item in fs::read_dir(folder).map_err(StoreError::io("list", folder))? {
        let path = item.map_err(StoreError::io("list", folder))?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.ends_with(files::FRESH_SUFFIX) {
            fs::remove_file(&path).map_err(StoreError::io("remove", &path))?;
        } else if let Some(number) = name.strip_suffix(SUFFIX).filter(|number| number.len() == 20) {
            sequences.extend(number.parse::<u64>().ok());
        }
    }
    sequences.sort_unstable();
    Ok(sequences)
}
