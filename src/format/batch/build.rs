//! Building a batch: records in, bytes out, sealed where they lie.

use bytes::{BufMut, Bytes, BytesMut};

use super::BATCH_HEADER_LEN;
use super::header::{HeaderFields, Producer, TRANSIENT};
use crate::format::checksum::Seed;
use crate::format::record::Record;
use crate::format::{BATCH_LEN_MAX, compress};
use crate::ids::{Offset, Timestamp};
use crate::options::Codec;

/// Builds one batch at the front of a chunk of memory that outlives it.
///
/// Sealed batches are handed out as slices of the chunk; the next one is built
/// in what is left, so a chunk costs one allocation for many batches.
#[derive(Debug)]
pub(crate) struct BatchBuilder {
    /// The batch under construction: empty, or header and records so far.
    chunk: BytesMut,
    /// Size of the next chunk.
    pub(super) chunk_bytes: usize,
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

    /// Makes room for records of up to `needed` bytes, at once.
    pub(crate) fn reserve(&mut self, needed: usize) {
        if self.growth(needed) > 0 {
            self.grow(needed);
        }
        if self.chunk.is_empty() {
            self.chunk.put_bytes(0, BATCH_HEADER_LEN);
        }
    }

    /// Adds a record; `now` is its time if it has none of its own.
    ///
    /// There is room for it: [`Self::reserve`]. Without, it goes well, but the
    /// batch moves.
    ///
    /// # Panics
    ///
    /// If the batch grows beyond [`BATCH_LEN_MAX`], which no decoder takes:
    /// the caller seals it before.
    #[inline]
    pub(crate) fn push(&mut self, record: &Record<'_>, now: Timestamp) {
        if self.chunk.is_empty() {
            self.reserve(record.encoded_len_max(record.payload_len()));
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
