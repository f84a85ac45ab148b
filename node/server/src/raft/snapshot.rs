//! Snapshot files: a checkpoint on its way to another node.
//!
//! ```text
//!  "BELFSNP1"
//!  frame*      length u32, CRC-32C u32 (of the body), body          little endian
//!    body 1    head: an encoded CheckpointHead                      first, once
//!    body 2    block: kind u8, number u64, encoded Block            in order of key
//!    body 3    end: number of blocks u64                            last, once
//! ```
//! - SNAP-1 a snapshot is built from the durable checkpoint, never from the live state.
//! - SNAP-2 a received file is verified as a whole (checksums, completeness, digest) before it can replace anything.
//! - SNAP-3 a file lives as long as somebody holds it; what a crash left behind is removed at start.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::OwnedMutexGuard;

use super::checkpoint::{Checkpoints, Head, Ledger, corrupt};
use super::types::LogId;
use crate::store::BlockKey;

const MAGIC: &[u8; 8] = b"BELFSNP1";
/// A block holds at most a few megabytes; a longer frame is damage, and not worth the memory.
const FRAME_BYTES_MAX: u32 = 256 << 20;
const HEAD: u8 = 1;
const BLOCK: u8 = 2;
const END: u8 = 3;

/// A whole snapshot file. It is removed with its last holder (SNAP-3).
#[derive(Debug)]
pub(super) struct SnapshotFile {
    path: PathBuf,
    pub(super) head: Head,
}

impl SnapshotFile {
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The blocks, in order; reading checks every checksum and the end.
    pub(super) fn blocks(&self) -> io::Result<BlockReader> {
        Ok(BlockReader::open(&self.path)?.1)
    }

    /// Reads a received file to its end: it becomes a snapshot only if all of it is sound (SNAP-2).
    pub(super) fn verify(path: TemporaryPath) -> io::Result<Arc<SnapshotFile>> {
        let (head, blocks) = BlockReader::open(&path.0)?;
        let mut digest = belfry_core::digest::Digest::default();
        for block in blocks {
            digest = digest.plus(super::checkpoint::digest_of_block(&block?.1)?);
        }
        head.must_have(digest)?;
        Ok(Arc::new(SnapshotFile { path: path.keep(), head }))
    }
}

impl Drop for SnapshotFile {
    fn drop(&mut self) {
        remove(&self.path);
    }
}

fn remove(path: &Path) {
    if let Err(error) = fs::remove_file(path) {
        tracing::warn!(path = %path.display(), %error, "a snapshot file could not be removed");
    }
}

/// A file being written: removed unless it is kept.
#[derive(Debug)]
pub(super) struct TemporaryPath(PathBuf);

impl TemporaryPath {
    pub(super) fn new(path: PathBuf) -> Self {
        Self(path)
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    fn keep(mut self) -> PathBuf {
        std::mem::take(&mut self.0)
    }

    /// It has another name now.
    pub(super) fn kept(self) {
        self.keep();
    }
}

impl Drop for TemporaryPath {
    fn drop(&mut self) {
        if !self.0.as_os_str().is_empty() {
            remove(&self.0);
        }
    }
}

/// Makes the folder, empty (SNAP-3).
pub(super) fn clear_folder(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    for item in fs::read_dir(folder)? {
        fs::remove_file(item?.path())?;
    }
    Ok(())
}

/// Writes a snapshot: a temporary file, synced, renamed, and the folder synced.
pub(super) fn write_file(
    path: &Path,
    head: &Head,
    blocks: impl Iterator<Item = io::Result<(BlockKey, Bytes)>>,
) -> io::Result<SnapshotFile> {
    let temporary = TemporaryPath::new(path.with_extension("new"));
    let mut out = BufWriter::with_capacity(1 << 20, File::create(temporary.path())?);
    write_to(&mut out, head, blocks)?;
    out.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    fs::rename(temporary.path(), path)?;
    temporary.keep();
    let file = SnapshotFile { path: path.to_path_buf(), head: head.clone() };
    File::open(path.parent().unwrap_or(Path::new(".")))?.sync_all()?;
    Ok(file)
}

/// Writes a snapshot to wherever it shall be.
pub(super) fn write_to(
    out: &mut impl Write,
    head: &Head,
    blocks: impl Iterator<Item = io::Result<(BlockKey, Bytes)>>,
) -> io::Result<()> {
    out.write_all(MAGIC)?;
    write_frame(out, &[&[HEAD], &head.encode()])?;
    let mut count = 0_u64;
    for block in blocks {
        let (key, value) = block?;
        write_frame(out, &[&[BLOCK, key.kind], &key.number.to_le_bytes(), &value])?;
        count += 1;
    }
    write_frame(out, &[&[END], &count.to_le_bytes()])
}

pub(super) fn write_frame(out: &mut impl Write, parts: &[&[u8]]) -> io::Result<()> {
    let bytes: usize = parts.iter().map(|part| part.len()).sum();
    let bytes = u32::try_from(bytes).ok().filter(|bytes| *bytes <= FRAME_BYTES_MAX);
    let bytes = bytes.ok_or_else(|| corrupt("a block is too large for a snapshot"))?;
    let crc = parts.iter().fold(0, |crc, part| crc32c::crc32c_append(crc, part));
    out.write_all(&bytes.to_le_bytes())?;
    out.write_all(&crc.to_le_bytes())?;
    parts.iter().try_for_each(|part| out.write_all(part))
}

pub(super) fn read_frame(input: &mut impl Read) -> io::Result<Bytes> {
    let (mut length, mut crc) = ([0; 4], [0; 4]);
    input.read_exact(&mut length)?;
    input.read_exact(&mut crc)?;
    let length = u32::from_le_bytes(length);
    if length > FRAME_BYTES_MAX {
        return Err(corrupt("a frame of the snapshot is longer than any block"));
    }
    let mut body = Vec::new();
    // Grows with what is there: a length is not believed before it is.
    let read = input.take(length.into()).read_to_end(&mut body)?;
    if read != length as usize {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    if crc32c::crc32c(&body) != u32::from_le_bytes(crc) {
        return Err(corrupt("a checksum of the snapshot does not match"));
    }
    Ok(body.into())
}

/// Reads the blocks of a snapshot file. It ends only after the end frame; anything else is an error.
#[derive(Debug)]
pub(super) struct BlockReader {
    input: BufReader<File>,
    count: u64,
    finished: bool,
}

impl BlockReader {
    fn open(path: &Path) -> io::Result<(Head, BlockReader)> {
        Self::read(BufReader::with_capacity(1 << 20, File::open(path)?))
    }

    /// Reads from where a snapshot begins.
    pub(super) fn read(mut input: BufReader<File>) -> io::Result<(Head, BlockReader)> {
        let mut magic = [0; MAGIC.len()];
        input.read_exact(&mut magic)?;
        if &magic != MAGIC {
            return Err(corrupt("it is not a snapshot of a format that this release reads"));
        }
        let mut reader = BlockReader { input, count: 0, finished: false };
        let frame = reader.frame()?;
        match frame.first() {
            Some(&HEAD) => Ok((Head::decode(frame.slice(1..))?, reader)),
            Some(_) | None => Err(corrupt("the snapshot has no head")),
        }
    }

    fn frame(&mut self) -> io::Result<Bytes> {
        read_frame(&mut self.input)
    }

    fn block(&mut self) -> io::Result<Option<(BlockKey, Bytes)>> {
        let body = self.frame()?;
        let number = |from: usize| {
            let bytes = body.get(from..from + 8).and_then(|bytes| bytes.try_into().ok());
            bytes.map(u64::from_le_bytes).ok_or_else(|| corrupt("a frame of the snapshot is cut"))
        };
        match body.first() {
            Some(&BLOCK) => {
                let key = BlockKey { kind: body.get(1).copied().unwrap_or_default(), number: number(2)? };
                self.count += 1;
                Ok(Some((key, body.slice(10..))))
            }
            Some(&END) if number(1)? == self.count => {
                let mut rest = [0; 1];
                match self.input.read(&mut rest)? {
                    0 => Ok(None),
                    _ => Err(corrupt("the snapshot goes on after its end")),
                }
            }
            Some(_) | None => Err(corrupt("blocks of the snapshot are missing")),
        }
    }
}

impl Iterator for BlockReader {
    type Item = io::Result<(BlockKey, Bytes)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.finished {
            return None;
        }
        let next = self.block().transpose();
        self.finished = !matches!(next, Some(Ok(_)));
        next
    }
}

/// What openraft hands from the state machine to the network and back: a file, made only when somebody needs it.
#[derive(Debug)]
pub(super) struct SnapshotData(Source);

#[derive(Debug)]
enum Source {
    /// The durable checkpoint at this position. The guard keeps it from moving on until the file is written.
    Checkpoint {
        checkpoints: Arc<Checkpoints>,
        applied: Option<LogId>,
        ledger: Option<OwnedMutexGuard<Ledger>>,
    },
    File(Arc<SnapshotFile>),
}

impl SnapshotData {
    pub(super) fn of_checkpoint(
        checkpoints: Arc<Checkpoints>,
        applied: Option<LogId>,
        ledger: Option<OwnedMutexGuard<Ledger>>,
    ) -> Self {
        Self(Source::Checkpoint { checkpoints, applied, ledger })
    }

    pub(super) fn of_file(file: Arc<SnapshotFile>) -> Self {
        Self(Source::File(file))
    }

    /// The file; fails when the checkpoint moved on in the meantime: ask for the current snapshot again.
    pub(super) async fn into_file(self) -> io::Result<Arc<SnapshotFile>> {
        match self.0 {
            Source::File(file) => Ok(file),
            Source::Checkpoint { checkpoints, applied, ledger } => {
                checkpoints.write_snapshot(applied, ledger).await
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::checkpoint::Packing;

    fn head() -> Head {
        let (membership, digest) = Default::default();
        Head { applied: None, membership, digest, packing: Packing::Plain }
    }

    fn blocks() -> Vec<(BlockKey, Bytes)> {
        (0..5).map(|number| (BlockKey { kind: 3, number }, crate::codec::encode_block(&[]))).collect()
    }

    #[test]
    fn a_file_gives_back_its_blocks_and_goes_away() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.snap");
        let file = write_file(&path, &head(), blocks().into_iter().map(Ok)).unwrap();
        assert_eq!(file.blocks().unwrap().map(Result::unwrap).collect::<Vec<_>>(), blocks());
        assert_eq!(file.head, head());
        drop(file);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn no_damage_goes_unnoticed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.snap");
        let file = write_file(&path, &head(), blocks().into_iter().map(Ok)).unwrap();
        let whole = fs::read(file.path()).unwrap();
        let received = folder.path().join("received");
        let check = |bytes: &[u8]| {
            fs::write(&received, bytes).unwrap();
            SnapshotFile::verify(TemporaryPath::new(received.clone()))
        };
        check(&whole).unwrap();
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 0x10;
            assert!(check(&flipped).is_err(), "flipped byte {at}");
            assert!(check(&whole[..at]).is_err(), "cut at {at}");
        }
        assert!(check(&[&whole[..], b"x"].concat()).is_err());
        let wrong = Head { digest: belfry_core::digest::Digest(7), ..head() };
        let file = write_file(&folder.path().join("b.snap"), &wrong, blocks().into_iter().map(Ok)).unwrap();
        assert!(check(&fs::read(file.path()).unwrap()).unwrap_err().to_string().contains("digest"));
        assert!(!received.exists());
    }
}
