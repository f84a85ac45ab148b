//! The bytes of keys and values. Each value starts with a checksum that covers its key too.
//!
//! ```text
//!  pointer value  crc, format u32, generation u64
//!  head value     crc, head
//!  chunk key      kind, number u64, chunk u32, big endian     chunk value  crc, chunks of this block u32, bytes
//! ```

use crate::store::BlockKey;

pub(super) const FORMAT: u32 = 1;
/// In the default tree.
pub(super) const POINTER_KEY: &[u8] = b"generation";
/// In the tree of the blocks; shorter than any chunk's key.
pub(super) const HEAD_KEY: &[u8] = b"head";
pub(super) const CHUNK_KEY_BYTES: usize = 13;

pub(super) fn chunk_key(key: BlockKey, chunk: u32) -> [u8; CHUNK_KEY_BYTES] {
    let mut bytes = [0; CHUNK_KEY_BYTES];
    bytes[0] = key.kind;
    // Big endian: the order of the bytes is the order of the numbers.
    bytes[1..9].copy_from_slice(&key.number.to_be_bytes());
    bytes[9..13].copy_from_slice(&chunk.to_be_bytes());
    bytes
}

pub(super) fn parse_chunk_key(key: &[u8]) -> Option<(BlockKey, u32)> {
    let key: &[u8; CHUNK_KEY_BYTES] = key.try_into().ok()?;
    let number = u64::from_be_bytes(key[1..9].try_into().expect("eight bytes were sliced"));
    let chunk = u32::from_be_bytes(key[9..13].try_into().expect("four bytes were sliced"));
    Some((BlockKey { kind: key[0], number }, chunk))
}

pub(super) fn chunk_value(key: &[u8], chunks: u32, bytes: &[u8]) -> Vec<u8> {
    seal(key, &chunks.to_le_bytes(), bytes)
}

/// How many chunks the block has, and the bytes of this one. `None` if the value is not what was written.
pub(super) fn parse_chunk_value<'a>(key: &[u8], value: &'a [u8]) -> Option<(u32, &'a [u8])> {
    let (chunks, bytes) = unseal(key, value)?.split_first_chunk()?;
    Some((u32::from_le_bytes(*chunks), bytes))
}

pub(super) fn head_value(head: &[u8]) -> Vec<u8> {
    seal(HEAD_KEY, &[], head)
}

/// `None` if the value is not what was written.
pub(super) fn parse_head_value(value: &[u8]) -> Option<&[u8]> {
    unseal(HEAD_KEY, value)
}

pub(super) fn pointer_value(generation: u64) -> Vec<u8> {
    seal(POINTER_KEY, &FORMAT.to_le_bytes(), &generation.to_le_bytes())
}

/// Format and generation; a format unknown to this release may have no generation. `None` if the value is not what was written.
pub(super) fn parse_pointer_value(value: &[u8]) -> Option<(u32, Option<u64>)> {
    let (format, generation) = unseal(POINTER_KEY, value)?.split_first_chunk()?;
    Some((u32::from_le_bytes(*format), generation.try_into().ok().map(u64::from_le_bytes)))
}

fn seal(key: &[u8], start: &[u8], rest: &[u8]) -> Vec<u8> {
    let crc = crc32c::crc32c_append(crc32c::crc32c_append(crc32c::crc32c(key), start), rest);
    [&crc.to_le_bytes(), start, rest].concat()
}

fn unseal<'a>(key: &[u8], sealed: &'a [u8]) -> Option<&'a [u8]> {
    let (crc, value) = sealed.split_first_chunk()?;
    let expected = crc32c::crc32c_append(crc32c::crc32c(key), value);
    (u32::from_le_bytes(*crc) == expected).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_sort_like_their_numbers_and_are_read_back() {
        let key = |kind, number, chunk| chunk_key(BlockKey { kind, number }, chunk);
        let sorted = [key(1, 2, 0), key(1, 2, 1), key(1, 300, 0), key(2, 0, 9), key(2, u64::MAX, u32::MAX)];
        assert!(sorted.is_sorted());
        assert_eq!(parse_chunk_key(&sorted[3]), Some((BlockKey { kind: 2, number: 0 }, 9)));
        assert_eq!(parse_chunk_key(HEAD_KEY), None);
    }

    #[test]
    fn values_are_read_back_and_every_flipped_bit_is_noticed() {
        let key = chunk_key(BlockKey { kind: 1, number: 2 }, 0);
        let value = chunk_value(&key, 3, b"block");
        assert_eq!(parse_chunk_value(&key, &value), Some((3, &b"block"[..])));
        for bit in 0..value.len() * 8 {
            let mut flipped = value.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(parse_chunk_value(&key, &flipped), None, "bit {bit}");
        }
        assert_eq!(parse_chunk_value(b"another key", &value), None);
        assert_eq!(parse_head_value(&head_value(b"head")), Some(&b"head"[..]));
        assert_eq!(parse_pointer_value(&pointer_value(7)), Some((FORMAT, Some(7))));
        assert_eq!(parse_pointer_value(b"x"), None);
    }
}
