//! An order-independent digest of records (APPLY-1).
//!
//! Each record is written as canonical bytes and hashed with XXH3-128; the digest of a set is the wrapping sum of the
//! hashes. So replicas can be compared at the same log position, a checkpoint can be verified when it is read back, and
//! changing one record costs one subtraction and one addition.

use std::fmt;

use xxhash_rust::xxh3::xxh3_128;

use crate::ids::DrawnId;

/// Digest of a set of records.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Digest(pub u128);

impl Digest {
    /// The digest of one record, from its canonical bytes.
    pub fn of_bytes(canonical: &[u8]) -> Self {
        Self(xxh3_128(canonical))
    }

    /// The digest of both sets together.
    #[must_use]
    pub fn plus(self, other: Digest) -> Self {
        Self(self.0.wrapping_add(other.0))
    }

    /// The digest of this set without the other, which must be part of it.
    #[must_use]
    pub fn minus(self, other: Digest) -> Self {
        Self(self.0.wrapping_sub(other.0))
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Writes a record as canonical bytes: fixed order, fixed width, lengths in front of texts.
///
/// The layout must never change for what exists: two builds compare digests during a rolling deploy. A new field is
/// written only when it differs from its default, after all others, with a tag of its own.
#[derive(Default)]
pub struct Canonical(Vec<u8>);

impl Canonical {
    /// Starts a record of this kind.
    pub fn new(kind: u8) -> Self {
        // Most records fit.
        Self(Vec::with_capacity(512)).anew(kind)
    }

    /// Starts another record, in the same memory.
    #[must_use]
    pub fn anew(mut self, kind: u8) -> Self {
        self.0.clear();
        self.0.push(kind);
        self
    }

    /// Adds what was written elsewhere.
    #[must_use]
    pub fn written(mut self, canonical: &[u8]) -> Self {
        self.0.extend_from_slice(canonical);
        self
    }

    /// What was written.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// What was written, in its own memory.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// Adds a number.
    #[must_use]
    pub fn number(mut self, value: u64) -> Self {
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    /// Adds a signed number.
    #[must_use]
    pub fn signed(self, value: i64) -> Self {
        self.number(value.cast_unsigned())
    }

    /// Adds bytes.
    #[must_use]
    pub fn bytes(self, value: &[u8]) -> Self {
        let mut out = self.number(value.len() as u64);
        out.0.extend_from_slice(value);
        out
    }

    /// Adds a text.
    #[must_use]
    pub fn text(self, value: &str) -> Self {
        self.bytes(value.as_bytes())
    }

    /// Adds the text of an identity.
    #[must_use]
    pub fn drawn(self, id: &DrawnId) -> Self {
        id.with_text(|text| self.text(text))
    }

    /// Adds something that may be absent.
    #[must_use]
    pub fn option<T>(self, value: Option<T>, write: impl FnOnce(Self, T) -> Self) -> Self {
        match value {
            None => self.number(0),
            Some(value) => write(self.number(1), value),
        }
    }

    /// Adds a sequence.
    #[must_use]
    pub fn each<T>(self, values: impl ExactSizeIterator<Item = T>, write: impl Fn(Self, T) -> Self) -> Self {
        let out = self.number(values.len() as u64);
        values.fold(out, write)
    }

    /// Adds a field that came with a later feature level, unless it says nothing: records without it keep their digest.
    #[must_use]
    pub fn unless_default<T: Default + PartialEq>(
        self,
        tag: u64,
        value: T,
        write: impl FnOnce(Self, T) -> Self,
    ) -> Self {
        if value == T::default() { self } else { write(self.number(tag), value) }
    }

    /// The digest of what was written.
    pub fn digest(&self) -> Digest {
        Digest::of_bytes(&self.0)
    }
}
