//! Batches: records that are encoded, checked and compressed together.
//!
//! The same bytes lie in the WAL, in the tail, in segments, and in what a
//! reader fetches: encoded once, never again.
//!
//! ```text
//!  0      4       8            16      20     22       23   24
//!  +------+-------+------------+-------+------+--------+----+
//!  | crc  | length| base offset| count | flags| version| 0  |
//!  +------+-------+-----+------+-------+---+--+--------+----+
//!  | base timestamp (24)| max timestamp(32)| producer id(40)|
//!  +-----------+--------+---+--------------+----------------+
//!  | epoch (48)| zero (50)  | sequence (52)| raw length (56)|
//!  +-----------+------------+--------------+----------------+
//!  | end offset delta (60)  | payload: records, from byte 64
//!  +------------------------+---------- - - -
//! ```
//!
//! The checksum covers all from byte 4 on. docs/format.md section 4 has the
//! last word.

use bytes::{BufMut, Bytes, BytesMut};

use super::checksum::Seed;
use super::cursor::{Cursor, patch_u32, patch_u64};
use super::record::{self, RECORD_LEN_MIN, Record, Records};
use super::{BATCH_LEN_MAX, DecodeError, compress};
use crate::ids::{Offset, Timestamp, to_u64, to_usize};
use crate::options::Codec;

/// Bytes before the records.
pub(crate) const BATCH_HEADER_LEN: usize = 64;

const VERSION: u8 = 1;
const CODEC_MASK: u16 = 0b111;
const TRANSIENT: u16 = 1 << 3;
const KNOWN_FLAGS: u16 = 1 | TRANSIENT;

const AT_CRC: usize = 0;
const AT_LENGTH: usize = 4;
const AT_COUNT: usize = 16;
const AT_FLAGS: usize = 20;
const AT_BASE_TIME: usize = 24;
const AT_MAX_TIME: usize = 32;
const AT_RAW: usize = 56;
const AT_SPAN: usize = 60;

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

/// Splits the first batch off `bytes`, checked: its header and its length.
///
/// `Incomplete` if `bytes` ends inside it; whether that is a torn tail or lost
/// data is the caller's to say.
pub(crate) fn split_first(bytes: &[u8], seed: Seed) -> Result<BatchHeader, DecodeError> {
    let header = BatchHeader::decode(bytes)?;
    let Some(whole) = bytes.get(..header.length) else {
        return Err(DecodeError::Incomplete {
            what: "batch",
            needed: header.length,
            found: bytes.len(),
        });
    };
    verify(whole, &header, seed)?;
    Ok(header)
}

/// Checks the checksum of a whole batch.
pub(crate) fn verify(whole: &[u8], header: &BatchHeader, seed: Seed) -> Result<(), DecodeError> {
    let covered = whole.get(AT_LENGTH..).unwrap_or_default();
    seed.verify(covered, header.crc, "batch")
}

/// Builds one batch at the front of a chunk of memory that outlives it.
///
/// Sealed batches are handed out as slices of the chunk; the next one is built
/// in what is left, so a chunk costs one allocation for many batches.
#[derive(Debug)]
pub(crate) struct BatchBuilder {
    /// The batch under construction: empty, or header and records so far.
    chunk: BytesMut,
    /// Size of the next chunk.
    chunk_bytes: usize,
    base_offset: Offset,
    base_timestamp: Timestamp,
    max_timestamp: Timestamp,
    count: u32,
    transient: bool,
}

impl BatchBuilder {
    /// A builder without memory: an idle partition costs none.
    pub(crate) fn new() -> Self {
        Self {
            chunk: BytesMut::new(),
            chunk_bytes: 0,
            base_offset: Offset::ZERO,
            base_timestamp: Timestamp::MIN,
            max_timestamp: Timestamp::MIN,
            count: 0,
            transient: false,
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes of the batch so far, header included.
    pub(crate) fn len(&self) -> usize {
        self.chunk.len()
    }

    pub(crate) fn is_transient(&self) -> bool {
        self.transient
    }

    /// Offset of the first record.
    pub(crate) fn base_offset(&self) -> Offset {
        self.base_offset
    }

    /// Gives up the memory that no batch uses.
    ///
    /// Invariant: only while the builder is empty.
    pub(crate) fn release_chunk(&mut self) {
        debug_assert!(self.is_empty(), "records would be lost");
        self.chunk = BytesMut::new();
        self.chunk_bytes = 0;
    }

    /// Memory that a push of `needed` bytes would allocate: the size of a new
    /// chunk, or 0 if the present one has room.
    pub(crate) fn growth(&self, needed: usize) -> usize {
        if self.chunk.capacity() - self.chunk.len() >= needed + BATCH_HEADER_LEN {
            0
        } else {
            self.next_chunk(needed)
        }
    }

    fn next_chunk(&self, needed: usize) -> usize {
        // Doubling keeps idle partitions small and busy ones cheap: see
        // CHUNK_BYTES_MAX for where it ends.
        let wanted = (self.chunk_bytes * 2).clamp(CHUNK_BYTES_MIN, CHUNK_BYTES_MAX);
        wanted.max(self.chunk.len() + needed + BATCH_HEADER_LEN)
    }

    /// Starts a batch whose first record gets `base_offset`; the times of its
    /// records are stored as distances from `timestamp`.
    pub(crate) fn start(&mut self, base_offset: Offset, timestamp: Timestamp, transient: bool) {
        debug_assert!(self.is_empty(), "one batch at a time");
        self.base_offset = base_offset;
        self.base_timestamp = timestamp;
        self.max_timestamp = Timestamp::MIN;
        self.transient = transient;
    }

    /// Adds a record; `now` is its time if it has none of its own.
    ///
    /// # Panics
    ///
    /// If the batch grows beyond [`BATCH_LEN_MAX`], which no decoder takes:
    /// the caller seals it before.
    pub(crate) fn push(&mut self, record: &Record<'_>, now: Timestamp) {
        let needed = record.encoded_len_max();
        if self.growth(needed) > 0 {
            self.grow(needed);
        }
        if self.chunk.is_empty() {
            self.chunk.put_bytes(0, BATCH_HEADER_LEN);
        }
        let timestamp = record.time().unwrap_or(now);
        let delta = timestamp
            .millis()
            .wrapping_sub(self.base_timestamp.millis());
        record.encode(u64::from(self.count), delta, &mut self.chunk);
        assert!(self.chunk.len() <= BATCH_LEN_MAX, "sealed before");
        self.max_timestamp = self.max_timestamp.max(timestamp);
        self.count += 1;
    }

    fn grow(&mut self, needed: usize) {
        let capacity = self.next_chunk(needed);
        let mut chunk = BytesMut::with_capacity(capacity);
        chunk.put_slice(&self.chunk);
        self.chunk_bytes = capacity;
        self.chunk = chunk;
    }

    /// Finishes the batch: compressed if that makes it smaller, with its
    /// checksum, sharing the chunk's memory.
    pub(crate) fn seal(&mut self, codec: Codec, seed: Seed) -> Bytes {
        self.seal_from(codec, seed, Producer::default())
    }

    /// The same, by an idempotent producer.
    pub(crate) fn seal_from(&mut self, codec: Codec, seed: Seed, producer: Producer) -> Bytes {
        debug_assert!(!self.is_empty(), "an empty batch has no offsets");
        let raw = self.chunk.len() - BATCH_HEADER_LEN;
        let payload = self.chunk.get(BATCH_HEADER_LEN..).unwrap_or_default();
        let mut flags = if self.transient { TRANSIENT } else { 0 };
        if let Some(packed) = compress::compress(codec, payload) {
            self.chunk.truncate(BATCH_HEADER_LEN);
            self.chunk.put_slice(&packed);
            flags |= u16::from(codec.code());
        }
        let mut batch = self.chunk.split();
        let header = HeaderFields {
            base_offset: self.base_offset,
            count: self.count,
            span: self.count,
            flags,
            base_timestamp: self.base_timestamp,
            max_timestamp: self.max_timestamp,
            producer,
            raw: u32::try_from(raw).expect("bounded by BATCH_LEN_MAX"),
        };
        header.write(&mut batch, seed);
        self.count = 0;
        batch.freeze()
    }
}

/// Smallest and largest chunk that a partition builds batches in.
const CHUNK_BYTES_MIN: usize = 2 << 10;
const CHUNK_BYTES_MAX: usize = 256 << 10;

struct HeaderFields {
    base_offset: Offset,
    count: u32,
    span: u32,
    flags: u16,
    base_timestamp: Timestamp,
    max_timestamp: Timestamp,
    producer: Producer,
    raw: u32,
}

impl HeaderFields {
    /// Fills the first 64 bytes of `batch`, whose payload stands.
    fn write(&self, batch: &mut [u8], seed: Seed) {
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

/// A batch as it was fetched: shares memory with the tail or the map, still
/// compressed if its producer compressed it.
///
/// # Examples
///
/// ```
/// use duolog::{Engine, Fetch, Options, Record, Start, TopicOptions};
///
/// let dir = tempfile::tempdir()?;
/// let engine = Engine::open(dir.path().join("data"), Options::default())?;
/// let words = engine.create_topic("words", TopicOptions::default())?;
/// words.append(&Record::new("hello"))?;
///
/// let fetched = words.reader(0, Start::Earliest)?.fetch(&Fetch::default())?;
/// for batch in fetched.batches() {
///     for record in &batch.records()? {
///         assert_eq!(record?.value(), b"hello");
///     }
/// }
/// # engine.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Batch {
    bytes: Bytes,
    header: BatchHeader,
    /// Records outside `from..to` are in the bytes but were not asked for.
    from: Offset,
    to: Offset,
}

impl Batch {
    /// Wraps bytes whose checksum has been checked.
    pub(crate) fn new(bytes: Bytes, header: BatchHeader) -> Self {
        debug_assert_eq!(bytes.len(), header.length, "one batch, whole");
        Self {
            bytes,
            header,
            from: header.base_offset,
            to: header.end_offset(),
        }
    }

    /// The same batch without the records before `from`.
    pub(crate) fn starting_at(mut self, from: Offset) -> Self {
        self.from = self.from.max(from);
        self
    }

    /// The same batch without the records from `to` on.
    pub(crate) fn ending_at(mut self, to: Offset) -> Self {
        self.to = self.to.min(to);
        self
    }

    /// Offset of the first record that was asked for.
    #[must_use]
    pub fn first_offset(&self) -> Offset {
        self.from
    }

    /// Offset after the last record that was asked for.
    #[must_use]
    pub fn end_offset(&self) -> Offset {
        self.to
    }

    /// How many records were asked for.
    ///
    /// Exact unless records were compacted away; then an upper bound.
    #[must_use]
    pub fn record_count(&self) -> u64 {
        self.to.since(self.from)
    }

    /// Time of the latest event in the batch.
    #[must_use]
    pub fn max_timestamp(&self) -> Timestamp {
        self.header.max_timestamp
    }

    /// True if the records were never meant to survive a restart.
    pub(crate) fn is_transient(&self) -> bool {
        self.header.transient
    }

    /// How the records are compressed.
    #[must_use]
    pub fn codec(&self) -> Codec {
        self.header.codec
    }

    /// The whole batch as it lies in the log, described in docs/format.md:
    /// what a broker may hand to a client as it is.
    #[must_use]
    pub fn raw(&self) -> &Bytes {
        &self.bytes
    }

    /// The records: borrowed where the batch is not compressed, decompressed
    /// here where it is.
    ///
    /// # Errors
    ///
    /// [`DecodeError::Unsupported`] if this build lacks the codec;
    /// [`DecodeError::Value`] if the payload does not decompress, which a
    /// valid checksum makes a defect of the writer.
    pub fn records(&self) -> Result<Records, DecodeError> {
        let packed = self.bytes.slice(BATCH_HEADER_LEN..);
        let payload = match self.header.codec {
            Codec::None => packed,
            codec @ Codec::Lz4 => {
                compress::decompress(codec, &packed, self.header.raw_length)?.into()
            }
        };
        Ok(Records {
            payload,
            base_offset: self.header.base_offset,
            base_timestamp: self.header.base_timestamp,
            from: self.from,
            to: self.to,
        })
    }
}

/// Checks that the records of a batch decode and count up: what `verify` does
/// beyond the checksum.
pub(crate) fn check_records(batch: &Batch) -> Result<(), DecodeError> {
    let records = batch.records()?;
    let mut rest = &records.payload[..];
    let mut count = 0_u32;
    let mut next = batch.header.base_offset;
    while !rest.is_empty() {
        let (view, after) =
            record::split_first(rest, batch.header.base_offset, batch.header.base_timestamp)?;
        rest = after;
        count = count.saturating_add(1);
        if view.offset() < next || view.offset() >= batch.header.end_offset() {
            return Err(DecodeError::Value {
                what: "offset of a record",
                found: view.offset().get(),
                expected: "rising offsets within the batch",
            });
        }
        if view.timestamp() > batch.header.max_timestamp {
            return Err(DecodeError::Value {
                what: "milliseconds of a record beyond the maximum of its batch",
                found: view
                    .timestamp()
                    .millis()
                    .abs_diff(batch.header.max_timestamp.millis()),
                expected: "none",
            });
        }
        next = view.offset().saturating_add(1);
    }
    if count == batch.header.count {
        return Ok(());
    }
    Err(DecodeError::Value {
        what: "records in a batch",
        found: u64::from(count),
        expected: "the count in its header",
    })
}

#[cfg(test)]
mod tests;
