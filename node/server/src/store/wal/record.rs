//! The bytes of one record, and how to tell a torn tail from damage.
//!
//! ```text
//!  0        4            8          12         16                24     25        32
//!  ├ "BWR1" ┼ header crc ┼ body crc ┼ body len ┼ durable up to u64 ┼ kind ┼ 7 zeros ┼ body, zeros to a multiple of 8
//! ```
//! All numbers little endian, checksums CRC32C. The header's checksum also covers the segment's number and the
//! record's offset, so that a record counts only where it was written.
//!
//! - WAL-4 `durable up to` is how much of the segment was durable before this record was written. A record whose
//!   header is whole therefore proves that everything before that offset had been acknowledged: damage there is
//!   refused, never taken for a torn tail.

use bytes::Bytes;

use crate::store::view::Carry;
use crate::store::{LogEntry, LogId, Vote};

const MAGIC: [u8; 4] = *b"BWR1";
const HEADER_BYTES: usize = 32;
const ALIGNMENT: usize = 8;

const KIND_CARRY: u8 = 1;
const KIND_ENTRY: u8 = 2;
const KIND_VOTE: u8 = 3;
const KIND_TRUNCATE: u8 = 4;
const KIND_PURGE: u8 = 5;
const KIND_COMMITTED: u8 = 6;

/// What a record says. A kind keeps its meaning for ever; a new meaning is a new kind.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Record {
    /// First in each segment: everything but the entries, as it stood when the segment was made.
    Carry(Carry),
    Entry(LogEntry),
    Vote(Vote),
    TruncateAfter(Option<LogId>),
    Purge(LogId),
    Committed(Option<LogId>),
}

/// What stands at an offset.
#[derive(Debug)]
pub(super) enum Found {
    Record {
        record: Record,
        next: usize,
    },
    /// A whole record of a kind this release does not know.
    Unknown {
        kind: u8,
    },
    /// No whole record: the end, or damage.
    Stop {
        what: &'static str,
    },
}

/// Encodes records for one place in one segment.
#[derive(Debug)]
pub(super) struct Encoder {
    sequence: u64,
    /// Offset of the buffer's first byte, and how much of the segment is durable: the same, because each batch is synced.
    base: u64,
    buffer: Vec<u8>,
}

impl Encoder {
    /// Takes a buffer to reuse; its content is dropped.
    pub(super) fn new(sequence: u64, base: u64, mut buffer: Vec<u8>) -> Encoder {
        buffer.clear();
        Encoder { sequence, base, buffer }
    }

    pub(super) fn into_buffer(self) -> Vec<u8> {
        self.buffer
    }

    pub(super) fn carry(&mut self, carry: &Carry) {
        self.record(KIND_CARRY, |body| {
            put_optional(body, carry.vote, put_vote);
            put_optional(body, carry.committed, put_id);
            put_optional(body, carry.purged, put_id);
            put_optional(body, carry.last, put_id);
        });
    }

    pub(super) fn entry(&mut self, entry: &LogEntry) {
        self.record(KIND_ENTRY, |body| {
            put_id(body, entry.id);
            body.extend_from_slice(&entry.payload);
        });
    }

    pub(super) fn vote(&mut self, vote: Vote) {
        self.record(KIND_VOTE, |body| put_vote(body, vote));
    }

    pub(super) fn truncate_after(&mut self, last: Option<LogId>) {
        self.record(KIND_TRUNCATE, |body| put_optional(body, last, put_id));
    }

    pub(super) fn purge(&mut self, upto: LogId) {
        self.record(KIND_PURGE, |body| put_id(body, upto));
    }

    pub(super) fn committed(&mut self, committed: Option<LogId>) {
        self.record(KIND_COMMITTED, |body| put_optional(body, committed, put_id));
    }

    fn record(&mut self, kind: u8, write_body: impl FnOnce(&mut Vec<u8>)) {
        let start = self.buffer.len();
        self.buffer.resize(start + HEADER_BYTES, 0);
        write_body(&mut self.buffer);
        let body_bytes = u32::try_from(self.buffer.len() - start - HEADER_BYTES)
            .expect("the view refuses entries that do not fit");
        self.buffer.resize(start + padded(self.buffer.len() - start), 0);

        let body_crc = crc32c::crc32c(&self.buffer[start + HEADER_BYTES..]);
        let offset = self.base + start as u64;
        let header = &mut self.buffer[start..start + HEADER_BYTES];
        header[0..4].copy_from_slice(&MAGIC);
        header[8..12].copy_from_slice(&body_crc.to_le_bytes());
        header[12..16].copy_from_slice(&body_bytes.to_le_bytes());
        header[16..24].copy_from_slice(&self.base.to_le_bytes());
        header[24] = kind;
        let header_crc = header_crc(self.sequence, offset, header);
        header[4..8].copy_from_slice(&header_crc.to_le_bytes());
    }
}

/// Reads the record at `offset` of the segment whose whole content is `file`.
pub(super) fn read_at(file: &Bytes, sequence: u64, offset: usize) -> Found {
    let Some(header) = Header::read(file, sequence, offset) else {
        return Found::Stop { what: what_stands_at(file, offset) };
    };
    let body_start = offset + HEADER_BYTES;
    let next = offset.saturating_add(padded(HEADER_BYTES + header.body_bytes));
    let Some(padded_body) = file.get(body_start..next) else {
        return Found::Stop { what: "the file ends inside a record" };
    };
    if crc32c::crc32c(padded_body) != header.body_crc {
        return Found::Stop { what: "the checksum of a record does not match" };
    }
    match parse(header.kind, file.slice(body_start..body_start + header.body_bytes)) {
        Parsed::Record(record) => Found::Record { record, next },
        Parsed::UnknownKind => Found::Unknown { kind: header.kind },
        Parsed::WrongShape => Found::Stop { what: "a record has the wrong length" },
    }
}

/// Looks behind `damage` for a record that proves that what stood there had been acknowledged (WAL-4).
pub(super) fn proves_acknowledged(file: &[u8], sequence: u64, damage: usize) -> bool {
    (damage.next_multiple_of(ALIGNMENT)..file.len())
        .step_by(ALIGNMENT)
        .filter_map(|offset| Header::read(file, sequence, offset))
        .any(|header| header.durable > damage as u64)
}

struct Header {
    body_crc: u32,
    body_bytes: usize,
    durable: u64,
    kind: u8,
}

impl Header {
    fn read(file: &[u8], sequence: u64, offset: usize) -> Option<Header> {
        let bytes = file.get(offset..offset.checked_add(HEADER_BYTES)?)?;
        let whole = bytes[0..4] == MAGIC && u32_at(bytes, 4) == header_crc(sequence, offset as u64, bytes);
        whole.then(|| Header {
            body_crc: u32_at(bytes, 8),
            body_bytes: u32_at(bytes, 12) as usize,
            durable: u64_at(bytes, 16),
            kind: bytes[24],
        })
    }
}

fn header_crc(sequence: u64, offset: u64, header: &[u8]) -> u32 {
    let place = crc32c::crc32c_append(crc32c::crc32c(&sequence.to_le_bytes()), &offset.to_le_bytes());
    crc32c::crc32c_append(place, &header[8..HEADER_BYTES])
}

fn what_stands_at(file: &[u8], offset: usize) -> &'static str {
    let rest = file.get(offset..).unwrap_or_default();
    let start = &rest[..rest.len().min(HEADER_BYTES)];
    match start {
        [] => "the file ends here",
        start if start.iter().all(|byte| *byte == 0) => "nothing is written here",
        _ => "this is not the start of a record",
    }
}

enum Parsed {
    Record(Record),
    UnknownKind,
    WrongShape,
}

fn parse(kind: u8, body: Bytes) -> Parsed {
    let mut fields = Fields { body };
    let record = match kind {
        KIND_CARRY => fields.carry().map(Record::Carry),
        KIND_ENTRY => fields.id().map(|id| Record::Entry(LogEntry { id, payload: fields.rest() })),
        KIND_VOTE => fields.vote().map(Record::Vote),
        KIND_TRUNCATE => fields.optional(Fields::id).map(Record::TruncateAfter),
        KIND_PURGE => fields.id().map(Record::Purge),
        KIND_COMMITTED => fields.optional(Fields::id).map(Record::Committed),
        _ => return Parsed::UnknownKind,
    };
    match record {
        Some(record) if fields.body.is_empty() => Parsed::Record(record),
        Some(_) | None => Parsed::WrongShape,
    }
}

/// What of a body has not been read yet.
struct Fields {
    body: Bytes,
}

impl Fields {
    fn byte(&mut self) -> Option<u8> {
        (!self.body.is_empty()).then(|| self.body.split_to(1)[0])
    }

    fn number(&mut self) -> Option<u64> {
        (self.body.len() >= 8).then(|| u64_at(&self.body.split_to(8), 0))
    }

    fn id(&mut self) -> Option<LogId> {
        Some(LogId { term: self.number()?, node: self.number()?, index: self.number()? })
    }

    fn vote(&mut self) -> Option<Vote> {
        Some(Vote { term: self.number()?, node: self.number()?, committed: self.flag()? })
    }

    fn flag(&mut self) -> Option<bool> {
        match self.byte()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    fn optional<T>(&mut self, read: impl FnOnce(&mut Fields) -> Option<T>) -> Option<Option<T>> {
        if self.flag()? { read(self).map(Some) } else { Some(None) }
    }

    fn carry(&mut self) -> Option<Carry> {
        Some(Carry {
            vote: self.optional(Fields::vote)?,
            committed: self.optional(Fields::id)?,
            purged: self.optional(Fields::id)?,
            last: self.optional(Fields::id)?,
        })
    }

    fn rest(&mut self) -> Bytes {
        std::mem::take(&mut self.body)
    }
}

fn put_id(body: &mut Vec<u8>, id: LogId) {
    for number in [id.term, id.node, id.index] {
        body.extend_from_slice(&number.to_le_bytes());
    }
}

fn put_vote(body: &mut Vec<u8>, vote: Vote) {
    body.extend_from_slice(&vote.term.to_le_bytes());
    body.extend_from_slice(&vote.node.to_le_bytes());
    body.push(u8::from(vote.committed));
}

fn put_optional<T>(body: &mut Vec<u8>, value: Option<T>, put: impl FnOnce(&mut Vec<u8>, T)) {
    body.push(u8::from(value.is_some()));
    if let Some(value) = value {
        put(body, value);
    }
}

fn padded(bytes: usize) -> usize {
    bytes.saturating_add(ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes were sliced"))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes were sliced"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(index: u64) -> LogId {
        LogId { term: 3, node: 2, index }
    }

    fn samples() -> Vec<Record> {
        let vote = Vote { term: 7, node: 1, committed: true };
        vec![
            Record::Carry(Carry::default()),
            Record::Carry(Carry {
                vote: Some(vote),
                committed: Some(id(4)),
                purged: None,
                last: Some(id(9)),
            }),
            Record::Entry(LogEntry { id: id(10), payload: Bytes::from_static(b"payload of a run") }),
            Record::Entry(LogEntry { id: id(11), payload: Bytes::new() }),
            Record::Vote(vote),
            Record::TruncateAfter(None),
            Record::TruncateAfter(Some(id(10))),
            Record::Purge(id(5)),
            Record::Committed(Some(id(8))),
            Record::Committed(None),
        ]
    }

    fn encode(records: &[Record], base: u64) -> Vec<u8> {
        let mut encoder = Encoder::new(5, base, Vec::new());
        for record in records {
            match record {
                Record::Carry(carry) => encoder.carry(carry),
                Record::Entry(entry) => encoder.entry(entry),
                Record::Vote(vote) => encoder.vote(*vote),
                Record::TruncateAfter(last) => encoder.truncate_after(*last),
                Record::Purge(upto) => encoder.purge(*upto),
                Record::Committed(committed) => encoder.committed(*committed),
            }
        }
        encoder.into_buffer()
    }

    #[test]
    fn every_record_is_read_back() {
        let file = Bytes::from(encode(&samples(), 0));
        let mut offset = 0;
        for expected in samples() {
            let Found::Record { record, next } = read_at(&file, 5, offset) else { panic!("at {offset}") };
            assert_eq!(record, expected);
            offset = next;
        }
        assert_eq!(offset, file.len());
        assert!(matches!(read_at(&file, 5, offset), Found::Stop { .. }));
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        for record in samples() {
            let whole = encode(std::slice::from_ref(&record), 0);
            for bit in 0..whole.len() * 8 {
                let mut bytes = whole.clone();
                bytes[bit / 8] ^= 1 << (bit % 8);
                assert!(
                    matches!(read_at(&Bytes::from(bytes), 5, 0), Found::Stop { .. }),
                    "bit {bit} of {record:?}"
                );
            }
        }
    }

    #[test]
    fn a_record_counts_only_where_it_was_written() {
        let file = Bytes::from(encode(&samples()[4..5], 64));
        assert!(matches!(read_at(&file, 5, 0), Found::Stop { .. }), "another offset");
        let placed = Bytes::from([vec![0; 64], file.to_vec()].concat());
        assert!(matches!(read_at(&placed, 5, 64), Found::Record { .. }));
        assert!(matches!(read_at(&placed, 6, 64), Found::Stop { .. }), "another segment");
    }

    #[test]
    fn a_later_record_proves_only_what_was_durable_before_it() {
        let first = encode(&samples()[4..5], 0);
        let second = encode(&samples()[4..6], first.len() as u64);
        let file = [first.clone(), second].concat();
        assert!(proves_acknowledged(&file, 5, 0));
        assert!(!proves_acknowledged(&file, 5, first.len()), "its own batch was not acknowledged");
    }
}
