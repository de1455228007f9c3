//! Index entries: every few KiB of a segment, where an offset and a time are.
//!
//! An index file is a header and then entries of equal size, offsets, positions
//! and times rising, so that one binary search serves both questions. Each entry
//! has a checksum of its own, seeded with its number: a file that ends early
//! or was written in part is good up to the first entry that fails.
//! docs/format.md section 9.

use bytes::{BufMut, BytesMut};

use super::DecodeError;
use super::checksum::Seed;
use super::cursor::{Cursor, patch_u32};
use crate::ids::{Offset, Position, Timestamp};

/// Bytes before the first entry.
pub(crate) const INDEX_HEADER_LEN: usize = 32;

/// Bytes of an entry.
pub(crate) const INDEX_ENTRY_LEN: usize = 24;

const MAGIC: u32 = u32::from_le_bytes(*b"dlix");

/// Where a batch starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IndexEntry {
    /// Base offset of the batch, less the base of the segment.
    pub(crate) offset_delta: u32,
    /// Where the batch starts in the file.
    pub(crate) position: u32,
    /// Latest event in the segment before this batch. Rises with the offset,
    /// so that a search for a time starts at the last entry below it.
    pub(crate) max_timestamp_before: Timestamp,
}

impl IndexEntry {
    pub(crate) fn encode(&self, seed: Seed, number: u64, out: &mut BytesMut) {
        let at = out.len();
        out.put_u32_le(0);
        out.put_u32_le(self.offset_delta);
        out.put_u32_le(self.position);
        out.put_u32_le(0);
        out.put_i64_le(self.max_timestamp_before.millis());
        let crc = seed
            .and(number)
            .checksum(out.get(at + 4..).unwrap_or_default());
        patch_u32(out, at, crc);
    }

    pub(crate) fn decode(bytes: &[u8], seed: Seed, number: u64) -> Result<Self, DecodeError> {
        let mut cursor = Cursor::new(bytes);
        let crc = cursor.u32("index entry checksum")?;
        let entry = Self {
            offset_delta: cursor.u32("offset delta")?,
            position: cursor.u32("position")?,
            max_timestamp_before: {
                cursor.zeros(4, "index entry bytes 12 to 15")?;
                Timestamp::from_millis(cursor.i64("timestamp")?)
            },
        };
        let covered = bytes.get(4..INDEX_ENTRY_LEN).unwrap_or_default();
        seed.and(number).verify(covered, crc, "index entry")?;
        Ok(entry)
    }

    pub(crate) fn position(&self) -> Position {
        Position::new(u64::from(self.position))
    }
}

/// The first bytes of an index of the segment at `base`.
pub(crate) fn encode_header(base: Offset, seed: Seed) -> BytesMut {
    let mut out = BytesMut::with_capacity(INDEX_HEADER_LEN);
    out.put_u32_le(0);
    out.put_u32_le(MAGIC);
    out.put_u16_le(super::FORMAT_VERSION);
    out.put_bytes(0, 6);
    out.put_u64_le(base.get());
    out.put_bytes(0, INDEX_HEADER_LEN - 24);
    let crc = seed.checksum(out.get(4..).unwrap_or_default());
    patch_u32(&mut out, 0, crc);
    out
}

/// Checks the first bytes of an index; returns the base offset of its segment.
pub(crate) fn decode_header(bytes: &[u8], seed: Seed) -> Result<Offset, DecodeError> {
    let mut cursor = Cursor::new(bytes);
    let crc = cursor.u32("index header checksum")?;
    cursor.magic(MAGIC, "index magic")?;
    cursor.version("index version")?;
    cursor.zeros(6, "index header bytes 10 to 15")?;
    let base = Offset::new(cursor.u64("index base offset")?);
    cursor.zeros(INDEX_HEADER_LEN - 24, "index header bytes from 24")?;
    let covered = bytes.get(4..INDEX_HEADER_LEN).unwrap_or_default();
    seed.verify(covered, crc, "index header")?;
    Ok(base)
}
