//! First and last bytes of a segment: what the file is, and, once sealed, what
//! it holds.
//!
//! ```text
//!  +--------+-------+-------+-----+--------+
//!  | header | batch | batch | ... | footer |
//!  +--------+-------+-------+-----+--------+
//!  0        64                    data end
//! ```
//!
//! Batches lie back to back, offsets rising. Only a sealed segment has a
//! footer. docs/format.md section 8.

use bytes::{BufMut, BytesMut};

use super::DecodeError;
use super::checksum::Seed;
use super::cursor::{Cursor, patch_u32};
use crate::ids::{Lsn, Offset, PartitionId, Position, StoreId, Timestamp, TopicId};

/// Bytes before the first batch.
pub(crate) const SEGMENT_HEADER_LEN: usize = 64;

/// Bytes after the last batch of a sealed segment.
pub(crate) const SEGMENT_FOOTER_LEN: usize = 64;

const HEADER_MAGIC: u32 = u32::from_le_bytes(*b"dlsg");
const FOOTER_MAGIC: u32 = u32::from_le_bytes(*b"dlsf");

/// What the first bytes of a segment say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHeader {
    pub(crate) store: StoreId,
    pub(crate) partition: PartitionId,
    /// Offset that the name of the file has, and that no record lies below.
    pub(crate) base: Offset,
    pub(crate) created: Timestamp,
}

impl SegmentHeader {
    pub(crate) fn encode(&self) -> BytesMut {
        let mut out = BytesMut::with_capacity(SEGMENT_HEADER_LEN);
        out.put_u32_le(0);
        out.put_u32_le(HEADER_MAGIC);
        out.put_u16_le(super::FORMAT_VERSION);
        out.put_bytes(0, 6);
        out.put_slice(self.store.bytes());
        out.put_u32_le(self.partition.topic.get());
        out.put_u32_le(self.partition.partition);
        out.put_u64_le(self.base.get());
        out.put_i64_le(self.created.millis());
        out.put_bytes(0, SEGMENT_HEADER_LEN - 56);
        let seed = Seed::partition(self.store, self.partition);
        let crc = seed.checksum(out.get(4..).unwrap_or_default());
        patch_u32(&mut out, 0, crc);
        out
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut cursor = Cursor::new(bytes);
        let crc = cursor.u32("segment header checksum")?;
        cursor.magic(HEADER_MAGIC, "segment magic")?;
        cursor.version("segment version")?;
        cursor.zeros(6, "segment header bytes 10 to 15")?;
        let header = Self {
            store: StoreId::new(cursor.id("store id")?),
            partition: PartitionId {
                topic: TopicId::new(cursor.u32("topic id")?),
                partition: cursor.u32("partition")?,
            },
            base: Offset::new(cursor.u64("segment base offset")?),
            created: Timestamp::from_millis(cursor.i64("segment creation time")?),
        };
        cursor.zeros(SEGMENT_HEADER_LEN - 56, "segment header bytes from 56")?;
        let covered = bytes.get(4..SEGMENT_HEADER_LEN).unwrap_or_default();
        let seed = Seed::partition(header.store, header.partition);
        seed.verify(covered, crc, "segment header")?;
        Ok(header)
    }
}

/// What the last bytes of a sealed segment say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentFooter {
    /// Offset after the last record.
    pub(crate) end: Offset,
    /// First byte of the footer: the end of the batches.
    pub(crate) data_end: Position,
    pub(crate) records: u64,
    pub(crate) max_timestamp: Timestamp,
    pub(crate) sealed: Timestamp,
    /// Everything in the segment was durable in the WAL below this.
    pub(crate) durable: Lsn,
}

impl SegmentFooter {
    pub(crate) fn encode(&self, seed: Seed) -> BytesMut {
        let mut out = BytesMut::with_capacity(SEGMENT_FOOTER_LEN);
        out.put_u32_le(0);
        out.put_u32_le(FOOTER_MAGIC);
        out.put_u64_le(self.end.get());
        out.put_u64_le(self.data_end.get());
        out.put_u64_le(self.records);
        out.put_i64_le(self.max_timestamp.millis());
        out.put_i64_le(self.sealed.millis());
        out.put_u64_le(self.durable.get());
        out.put_bytes(0, SEGMENT_FOOTER_LEN - 56);
        let crc = seed.checksum(out.get(4..).unwrap_or_default());
        patch_u32(&mut out, 0, crc);
        out
    }

    pub(crate) fn decode(bytes: &[u8], seed: Seed) -> Result<Self, DecodeError> {
        let mut cursor = Cursor::new(bytes);
        let crc = cursor.u32("segment footer checksum")?;
        cursor.magic(FOOTER_MAGIC, "segment footer magic")?;
        let footer = Self {
            end: Offset::new(cursor.u64("segment end offset")?),
            data_end: Position::new(cursor.u64("end of the batches")?),
            records: cursor.u64("records in the segment")?,
            max_timestamp: Timestamp::from_millis(cursor.i64("max timestamp")?),
            sealed: Timestamp::from_millis(cursor.i64("time of sealing")?),
            durable: Lsn::new(cursor.u64("durable lsn")?),
        };
        cursor.zeros(SEGMENT_FOOTER_LEN - 56, "segment footer bytes from 56")?;
        let covered = bytes.get(4..SEGMENT_FOOTER_LEN).unwrap_or_default();
        seed.verify(covered, crc, "segment footer")?;
        Ok(footer)
    }
}
