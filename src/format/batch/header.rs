//! The header of a batch: 64 bytes, and what they must agree on.
//!
//! The drawing is in the module above; docs/format.md section 4 has the last
//! word.

use super::BATCH_HEADER_LEN;
use crate::format::checksum::Seed;
use crate::format::cursor::{Cursor, patch_u32, patch_u64};
use crate::format::record::RECORD_LEN_MIN;
use crate::format::{BATCH_LEN_MAX, DecodeError};
use crate::ids::{Offset, Timestamp, to_u64, to_usize};
use crate::options::Codec;

const VERSION: u8 = 1;
const CODEC_MASK: u16 = 0b111;
pub(super) const TRANSIENT: u16 = 1 << 3;
const KNOWN_FLAGS: u16 = 1 | TRANSIENT;

const AT_CRC: usize = 0;
pub(super) const AT_LENGTH: usize = 4;
pub(super) const AT_COUNT: usize = 16;
const AT_FLAGS: usize = 20;
const AT_BASE_TIME: usize = 24;
const AT_MAX_TIME: usize = 32;
pub(super) const AT_RAW: usize = 56;
pub(super) const AT_SPAN: usize = 60;

fn codec_from_flags(flags: u16) -> Result<Codec, DecodeError> {
    let bits = flags & CODEC_MASK;
    u8::try_from(bits)
        .ok()
        .and_then(Codec::from_code)
        .ok_or(DecodeError::Unsupported {
            what: "codec of a batch",
            found: u64::from(bits),
            supported: "0 (none) and 1 (lz4)",
        })
}

/// What the header of a batch says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct BatchHeader {
    pub(crate) crc: u32,
    /// Bytes of the whole batch, this header included.
    pub(crate) length: usize,
    pub(crate) base_offset: Offset,
    pub(crate) count: u32,
    pub(crate) codec: Codec,
    pub(crate) transient: bool,
    pub(crate) base_timestamp: Timestamp,
    pub(crate) max_timestamp: Timestamp,
    /// Producer id, epoch and first sequence of an idempotent append; zeros otherwise.
    pub(crate) producer: Producer,
    /// Bytes of the records before compression.
    pub(crate) raw_length: usize,
    /// From the base offset to the one after the last record. More than
    /// `count` where records between were dropped.
    pub(crate) span: u32,
}

/// Who appended a batch, for idempotence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Producer {
    pub(crate) id: u64,
    pub(crate) epoch: u16,
    pub(crate) sequence: u32,
}

impl BatchHeader {
    /// Offset after the last record.
    pub(crate) fn end_offset(&self) -> Offset {
        // Checked when the header was decoded or built.
        self.base_offset.saturating_add(u64::from(self.span))
    }

    /// Decodes a header and checks that its fields agree with each other; the
    /// checksum needs the whole batch, see [`verify`].
    pub(crate) fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut cursor = Cursor::new(bytes);
        let crc = cursor.u32("batch checksum")?;
        let length = bounded_length(cursor.u32("batch length")?)?;
        let base_offset = Offset::new(cursor.u64("base offset")?);
        let count = cursor.u32("record count")?;
        let flags = cursor.u16("batch flags")?;
        let version = cursor.u8("batch version")?;
        if version != VERSION {
            return Err(DecodeError::Unsupported {
                what: "batch version",
                found: u64::from(version),
                supported: "1",
            });
        }
        cursor.zeros(1, "batch byte 23")?;
        if flags & !KNOWN_FLAGS & !CODEC_MASK != 0 {
            return Err(DecodeError::Unsupported {
                what: "batch flags",
                found: u64::from(flags),
                supported: "codec and transient",
            });
        }
        let codec = codec_from_flags(flags)?;
        let base_timestamp = Timestamp::from_millis(cursor.i64("base timestamp")?);
        let max_timestamp = Timestamp::from_millis(cursor.i64("max timestamp")?);
        let id = cursor.u64("producer id")?;
        let epoch = cursor.u16("producer epoch")?;
        cursor.zeros(2, "batch bytes 50 and 51")?;
        let sequence = cursor.u32("producer sequence")?;
        let raw_length = to_usize(u64::from(cursor.u32("raw length")?));
        let span = cursor.u32("end offset delta")?;
        let header = Self {
            crc,
            length,
            base_offset,
            count,
            codec,
            transient: flags & TRANSIENT != 0,
            base_timestamp,
            max_timestamp,
            producer: Producer {
                id,
                epoch,
                sequence,
            },
            raw_length,
            span,
        };
        header.check().map(|()| header)
    }

    fn check(&self) -> Result<(), DecodeError> {
        let wrong = |what, found, expected| {
            Err(DecodeError::Value {
                what,
                found,
                expected,
            })
        };
        let payload = self.length - BATCH_HEADER_LEN;
        if self.codec == Codec::None && self.raw_length != payload {
            return wrong(
                "raw length",
                to_u64(self.raw_length),
                "the payload's length",
            );
        }
        if self.codec != Codec::None && self.raw_length <= payload {
            return wrong(
                "raw length",
                to_u64(self.raw_length),
                "more than the compressed payload's",
            );
        }
        if self.raw_length > BATCH_LEN_MAX - BATCH_HEADER_LEN {
            return wrong("raw length", to_u64(self.raw_length), "a batch of 32 MiB");
        }
        if self.count == 0 || to_usize(u64::from(self.count)) > self.raw_length / RECORD_LEN_MIN {
            return wrong(
                "record count",
                u64::from(self.count),
                "between 1 and what the payload can hold",
            );
        }
        if self.span < self.count {
            return wrong(
                "end offset delta",
                u64::from(self.span),
                "at least the record count",
            );
        }
        if self.base_offset.checked_add(u64::from(self.span)).is_none() {
            return wrong("base offset", self.base_offset.get(), "an end below 2^64");
        }
        Ok(())
    }
}

fn bounded_length(length: u32) -> Result<usize, DecodeError> {
    let len = to_usize(u64::from(length));
    if (BATCH_HEADER_LEN..=BATCH_LEN_MAX).contains(&len) {
        return Ok(len);
    }
    Err(DecodeError::Value {
        what: "batch length",
        found: u64::from(length),
        expected: "between 64 bytes and 32 MiB",
    })
}

/// What a builder knows of the batch that it finishes.
pub(super) struct HeaderFields {
    pub(super) base_offset: Offset,
    pub(super) count: u32,
    pub(super) span: u32,
    pub(super) flags: u16,
    pub(super) base_timestamp: Timestamp,
    pub(super) max_timestamp: Timestamp,
    pub(super) producer: Producer,
    pub(super) raw: u32,
}

impl HeaderFields {
    /// Fills the first 64 bytes of `batch`, whose payload stands.
    pub(super) fn write(&self, batch: &mut [u8], seed: Seed) {
        let length = u32::try_from(batch.len()).expect("bounded by BATCH_LEN_MAX");
        patch_u32(batch, AT_LENGTH, length);
        patch_u64(batch, 8, self.base_offset.get());
        patch_u32(batch, AT_COUNT, self.count);
        // Flags, version and a zero are one word.
        let word = u32::from(self.flags) | u32::from(VERSION) << 16;
        patch_u32(batch, AT_FLAGS, word);
        patch_u64(
            batch,
            AT_BASE_TIME,
            self.base_timestamp.millis().cast_unsigned(),
        );
        patch_u64(
            batch,
            AT_MAX_TIME,
            self.max_timestamp.millis().cast_unsigned(),
        );
        patch_u64(batch, 40, self.producer.id);
        patch_u32(batch, 48, u32::from(self.producer.epoch));
        patch_u32(batch, 52, self.producer.sequence);
        patch_u32(batch, AT_RAW, self.raw);
        patch_u32(batch, AT_SPAN, self.span);
        let covered = batch.get(AT_LENGTH..).unwrap_or_default();
        let crc = seed.checksum(covered);
        patch_u32(batch, AT_CRC, crc);
    }
}
