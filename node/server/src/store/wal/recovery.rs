//! Reads a log back: what was acknowledged, or a refusal (STORE-1).
//!
//! Each segment but the last was durable to its end before the next one existed, so any fault in it is damage.
//! In the last segment the reading stops at the first record that is not whole. That is a torn tail, and dropped,
//! unless the durable end or a later record says that it had been acknowledged.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::LogOwner;
use super::mark::{self, DurableEnd, MarkFile};
use super::record::{self, Found, Record};
use super::segment::{self, Sealed, Segment};
use crate::store::StoreError;
use crate::store::view::{Carry, Change, LogView};

/// A log ready to be continued.
#[derive(Debug)]
pub(super) struct Recovered {
    pub(super) view: LogView,
    pub(super) sealed: VecDeque<Sealed>,
    pub(super) current: Segment,
    pub(super) mark: MarkFile,
}

pub(super) fn recover(folder: &Path, owner: &LogOwner) -> Result<Recovered, StoreError> {
    let sequences = segment::list(folder)?;
    let (mark, durable) = match MarkFile::open(folder)? {
        Some(opened) => opened,
        None if sequences.is_empty() => (MarkFile::create(folder)?, DurableEnd::default()),
        None => return Err(StoreError::damaged(&folder.join(mark::FILE_NAME), 0, "the file is missing")),
    };
    let last = sequences.last().copied().unwrap_or(0);
    if durable.segment > last {
        return Err(missing_segment(folder, durable.segment));
    }
    if let Some(gap) = sequences.windows(2).find(|pair| pair[1] != pair[0] + 1) {
        return Err(missing_segment(folder, gap[0] + 1));
    }
    let recovered = if sequences.is_empty() {
        start(folder, owner, mark)
    } else {
        replay(folder, owner, &sequences, mark, durable)
    };
    let mut recovered = recovered?;
    // From here on this end is acknowledged, also if the power goes before the first batch.
    recovered.mark.write(DurableEnd { segment: recovered.current.sequence, end: recovered.current.end })?;
    recovered.mark.sync()?;
    Ok(recovered)
}

fn start(folder: &Path, owner: &LogOwner, mark: MarkFile) -> Result<Recovered, StoreError> {
    let current = Segment::create(folder, owner, 1, 0, &Carry::default())?;
    Ok(Recovered { view: LogView::default(), sealed: VecDeque::new(), current, mark })
}

fn replay(
    folder: &Path,
    owner: &LogOwner,
    sequences: &[u64],
    mark: MarkFile,
    durable: DurableEnd,
) -> Result<Recovered, StoreError> {
    let mut view = None;
    let mut read: VecDeque<Read> = VecDeque::new();
    for &sequence in sequences {
        let next = read_segment(folder, owner, sequence, read.back(), &mut view)?;
        read.push_back(next);
    }
    let last = read.pop_back().expect("there is at least one segment");
    last.must_not_hide_damage(durable)?;
    last.report_torn_tail();

    let view = view.expect("each segment read has set it");
    if let Some(index) = view.missing() {
        let what = format!("entry {index} should be in it or in an earlier segment that is missing");
        return Err(StoreError::damaged(&segment::path_of(folder, sequences[0]), 0, what));
    }
    let sealed = read.into_iter().map(|read| Sealed { path: read.path, index_max: read.index_max }).collect();
    let current = Segment::open(last.path, last.sequence, last.end as u64, last.index_max)?;
    Ok(Recovered { view, sealed, current, mark })
}

/// A segment after its records were carried out.
struct Read {
    sequence: u64,
    path: PathBuf,
    content: Bytes,
    /// The first byte that is not part of a whole record, and what stands there.
    end: usize,
    stop: &'static str,
    index_max: Option<u64>,
}

/// Reads one segment and carries its records out on `view`, which its first segment creates.
fn read_segment(
    folder: &Path,
    owner: &LogOwner,
    sequence: u64,
    previous: Option<&Read>,
    view: &mut Option<LogView>,
) -> Result<Read, StoreError> {
    let path = segment::path_of(folder, sequence);
    let content = Bytes::from(fs::read(&path).map_err(StoreError::io("read", &path))?);
    let header = segment::read_header(&path, &content, owner, sequence)?;
    if let Some(previous) = previous {
        previous.must_end_at(header.previous_end)?;
    }
    let mut end = segment::HEADER_BYTES;
    let mut index_max = None;
    let stop = loop {
        match record::read_at(&content, sequence, end) {
            Found::Record { record, next } => {
                if let Record::Entry(entry) = &record {
                    index_max = index_max.max(Some(entry.id.index));
                }
                let first = end == segment::HEADER_BYTES;
                carry_out(view, record, first)
                    .map_err(|what| StoreError::damaged(&path, end as u64, what))?;
                end = next;
            }
            Found::Unknown { kind } => {
                let found = segment::VERSION.max(u32::from(kind));
                return Err(StoreError::NewerFormat { path, found, supported: segment::VERSION });
            }
            Found::Stop { what } => break what,
        }
    };
    if end == segment::HEADER_BYTES {
        return Err(StoreError::damaged(&path, end as u64, "its first record is not whole"));
    }
    Ok(Read { sequence, path, content, end, stop, index_max })
}

fn carry_out(view: &mut Option<LogView>, record: Record, first: bool) -> Result<(), String> {
    let change = match (record, first) {
        (Record::Carry(carry), true) => {
            let view = view.get_or_insert_with(|| LogView::after(carry));
            let same = view.carry() == carry;
            return if same { Ok(()) } else { Err("it does not continue the segment before it".into()) };
        }
        (Record::Carry(_), false) => return Err("a carry record stands in the middle".into()),
        (_, true) => return Err("the segment does not start with a carry record".into()),
        (Record::Entry(entry), false) => Change::Append(vec![entry]),
        (Record::Vote(vote), false) => Change::Vote(vote),
        (Record::TruncateAfter(last), false) => Change::TruncateAfter(last),
        (Record::Purge(upto), false) => Change::Purge(upto),
        (Record::Committed(committed), false) => Change::Committed(committed),
    };
    let view = view.as_mut().expect("the carry record came first");
    view.apply(&change).map(|_| ()).map_err(|error| error.to_string())
}

impl Read {
    /// A segment that has a successor.
    fn must_end_at(&self, end: u64) -> Result<(), StoreError> {
        if self.end as u64 == end {
            return Ok(());
        }
        let what = format!("{}, but the next segment says that this one ends at byte {end}", self.stop);
        Err(StoreError::damaged(&self.path, self.end as u64, what))
    }

    /// The segment without a successor: is what could not be read a torn tail?
    fn must_not_hide_damage(&self, durable: DurableEnd) -> Result<(), StoreError> {
        let end = self.end as u64;
        if durable.segment == self.sequence && durable.end > end {
            let what = format!("{}, but everything up to byte {} was acknowledged", self.stop, durable.end);
            return Err(StoreError::damaged(&self.path, end, what));
        }
        if record::proves_acknowledged(&self.content, self.sequence, self.end) {
            let what = format!("{}, but a later record says that it was acknowledged", self.stop);
            return Err(StoreError::damaged(&self.path, end, what));
        }
        Ok(())
    }

    /// The operator may wonder why the log is shorter than its file.
    fn report_torn_tail(&self) {
        let tail = &self.content[self.end..];
        if tail.iter().any(|byte| *byte != 0) {
            let (path, offset, what) = (self.path.display(), self.end, self.stop);
            tracing::info!(%path, offset, what, "dropping the end of the log, which was never acknowledged");
        }
    }
}

fn missing_segment(folder: &Path, sequence: u64) -> StoreError {
    StoreError::damaged(&segment::path_of(folder, sequence), 0, "the segment is missing")
}
