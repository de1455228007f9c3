//! Snapshots: the state of the store up to an LSN, so that opening reads only
//! the log after it.
//!
//! A header with the checksum of the payload, then sections. A section that
//! this build does not know is refused: leaving state out would lose it.
//! docs/format.md section 10.

use bytes::{BufMut, BytesMut};

use super::checksum::Seed;
use super::cursor::{Cursor, patch_u32, put_varint};
use super::dedup::SeenIds;
use super::ledger::LedgerState;
use super::queue::QueueMeta;
use super::timers::TimerState;
use super::topic::{TopicMeta, narrow};
use super::{DecodeError, SNAPSHOT_PAYLOAD_LEN_MAX};
use crate::ids::{Lsn, Offset, PartitionId, StoreId, Timestamp, TopicId, to_u64, to_usize};

/// Bytes before the payload.
pub(crate) const SNAPSHOT_HEADER_LEN: usize = 64;

const MAGIC: u32 = u32::from_le_bytes(*b"dlsn");

const SECTION_ENGINE: u64 = 1;
const SECTION_TOPICS: u64 = 2;
const SECTION_PARTITIONS: u64 = 3;
const SECTION_GARBAGE: u64 = 4;
const SECTION_QUEUES: u64 = 5;
const SECTION_LEDGERS: u64 = 6;
const SECTION_TIMERS: u64 = 7;
const SECTION_SEEN: u64 = 8;

/// What is known of one segment without opening it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentMeta {
    /// Offset that the name of the file has.
    pub(crate) base: Offset,
    /// Offset after the last record.
    pub(crate) end: Offset,
    /// End of the batches in the file.
    pub(crate) bytes: u64,
    pub(crate) records: u64,
    pub(crate) max_timestamp: Timestamp,
    pub(crate) created: Timestamp,
    /// When it was sealed; `None` for the active segment.
    pub(crate) sealed: Option<Timestamp>,
}

/// State of a partition that has any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PartitionState {
    pub(crate) id: PartitionId,
    /// First offset that is kept.
    pub(crate) start: Offset,
    /// End of what lies in segments.
    pub(crate) flushed: Offset,
    /// Next offset to assign; beyond `flushed` only where records that are in
    /// no log were dropped.
    pub(crate) next: Offset,
    /// Oldest first, offsets rising.
    pub(crate) segments: Vec<SegmentMeta>,
}

/// Files that are dead but perhaps not yet removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Garbage {
    /// All of a deleted topic.
    Topic(TopicId),
    /// One segment and its index.
    Segment(PartitionId, Offset),
}

/// The state of a store.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Snapshot {
    /// All below is in here; replay starts at this LSN.
    pub(crate) lsn: Lsn,
    /// File of the log in which that LSN lies, or which ends there.
    pub(crate) wal_sequence: u64,
    pub(crate) next_topic: TopicId,
    /// Latest time that retention trusted.
    pub(crate) trusted_time: Timestamp,
    pub(crate) topics: Vec<TopicMeta>,
    pub(crate) partitions: Vec<PartitionState>,
    pub(crate) garbage: Vec<Garbage>,
    pub(crate) queues: Vec<QueueMeta>,
    /// Of lanes that were used.
    pub(crate) ledgers: Vec<LedgerState>,
    pub(crate) timers: TimerState,
    /// Of queues that look at deduplication ids.
    pub(crate) seen: Vec<SeenIds>,
}

impl Snapshot {
    /// # Panics
    ///
    /// If it takes more than [`SNAPSHOT_PAYLOAD_LEN_MAX`].
    #[cfg(any(test, feature = "fuzzing"))]
    pub(crate) fn encode(&self, store: StoreId) -> BytesMut {
        self.try_encode(store).expect("no decoder takes it")
    }

    /// The bytes of the file.
    ///
    /// # Errors
    ///
    /// How many bytes the payload takes, if those are more than
    /// [`SNAPSHOT_PAYLOAD_LEN_MAX`]: no decoder takes it.
    pub(crate) fn try_encode(&self, store: StoreId) -> Result<BytesMut, usize> {
        let mut out = BytesMut::zeroed(SNAPSHOT_HEADER_LEN);
        put_section(&mut out, SECTION_ENGINE, |out| {
            put_varint(out, u64::from(self.next_topic.get()));
            out.put_i64_le(self.trusted_time.millis());
        });
        put_section(&mut out, SECTION_TOPICS, |out| {
            put_varint(out, to_u64(self.topics.len()));
            self.topics.iter().for_each(|topic| topic.encode(out));
        });
        put_section(&mut out, SECTION_PARTITIONS, |out| {
            put_varint(out, to_u64(self.partitions.len()));
            self.partitions.iter().for_each(|state| state.encode(out));
        });
        put_section(&mut out, SECTION_GARBAGE, |out| {
            put_varint(out, to_u64(self.garbage.len()));
            self.garbage.iter().for_each(|garbage| garbage.encode(out));
        });
        put_section(&mut out, SECTION_QUEUES, |out| {
            put_varint(out, to_u64(self.queues.len()));
            self.queues.iter().for_each(|queue| queue.encode(out));
        });
        put_section(&mut out, SECTION_LEDGERS, |out| {
            put_varint(out, to_u64(self.ledgers.len()));
            self.ledgers.iter().for_each(|ledger| ledger.encode(out));
        });
        put_section(&mut out, SECTION_TIMERS, |out| self.timers.encode(out));
        put_section(&mut out, SECTION_SEEN, |out| {
            put_varint(out, to_u64(self.seen.len()));
            self.seen.iter().for_each(|ids| ids.encode(out));
        });
        let payload = out.len() - SNAPSHOT_HEADER_LEN;
        if payload > SNAPSHOT_PAYLOAD_LEN_MAX {
            return Err(payload);
        }
        self.write_header(&mut out, store);
        Ok(out)
    }

    fn write_header(&self, out: &mut BytesMut, store: StoreId) {
        let payload = out.get(SNAPSHOT_HEADER_LEN..).unwrap_or_default();
        let seed = Seed::store(store);
        let length = u32::try_from(payload.len()).expect("bounded by SNAPSHOT_PAYLOAD_LEN_MAX");
        let payload_crc = seed.checksum(payload);
        let mut header = BytesMut::with_capacity(SNAPSHOT_HEADER_LEN);
        header.put_u32_le(0);
        header.put_u32_le(MAGIC);
        header.put_u16_le(super::FORMAT_VERSION);
        header.put_bytes(0, 6);
        header.put_slice(store.bytes());
        header.put_u64_le(self.lsn.get());
        header.put_u64_le(self.wal_sequence);
        header.put_u32_le(length);
        header.put_u32_le(payload_crc);
        header.put_bytes(0, SNAPSHOT_HEADER_LEN - 56);
        let crc = seed.checksum(header.get(4..).unwrap_or_default());
        patch_u32(&mut header, 0, crc);
        out.get_mut(..SNAPSHOT_HEADER_LEN)
            .expect("the header was left free")
            .copy_from_slice(&header);
    }

    pub(crate) fn decode(bytes: &[u8], store: StoreId) -> Result<Self, DecodeError> {
        let seed = Seed::store(store);
        let mut cursor = Cursor::new(bytes);
        let crc = cursor.u32("snapshot checksum")?;
        cursor.magic(MAGIC, "snapshot magic")?;
        cursor.version("snapshot version")?;
        cursor.zeros(6, "snapshot header bytes 10 to 15")?;
        let found = StoreId::new(cursor.id("store id")?);
        let mut snapshot = Self {
            lsn: Lsn::new(cursor.u64("snapshot lsn")?),
            wal_sequence: cursor.u64("WAL sequence")?,
            ..Self::default()
        };
        let length = to_usize(u64::from(cursor.u32("snapshot length")?));
        let payload_crc = cursor.u32("checksum of the snapshot's payload")?;
        cursor.zeros(SNAPSHOT_HEADER_LEN - 56, "snapshot header bytes from 56")?;
        let covered = bytes.get(4..SNAPSHOT_HEADER_LEN).unwrap_or_default();
        Seed::store(found).verify(covered, crc, "snapshot header")?;
        if found != store {
            return Err(DecodeError::Value {
                what: "store id of the snapshot: first byte",
                found: u64::from(found.bytes().first().copied().unwrap_or_default()),
                expected: "the id of this store",
            });
        }
        let rest = cursor.rest().len();
        if length > SNAPSHOT_PAYLOAD_LEN_MAX || length < rest {
            return Err(DecodeError::Value {
                what: "length of the snapshot's payload",
                found: to_u64(length),
                expected: "what is left of the file, at most 1 GiB",
            });
        }
        if length > rest {
            return Err(DecodeError::Incomplete {
                what: "snapshot",
                needed: length,
                found: rest,
            });
        }
        seed.verify(cursor.rest(), payload_crc, "snapshot payload")?;
        for expected in SECTION_ENGINE..=SECTION_SEEN {
            snapshot.decode_section(expected, &mut cursor)?;
        }
        if cursor.is_empty() {
            return Ok(snapshot);
        }
        Err(DecodeError::Unsupported {
            what: "section of a snapshot",
            found: cursor.varint("section kind")?,
            supported: "1 to 8",
        })
    }

    /// Decodes the next section. All are there, in order: one that is missing
    /// would be state that is lost without a word.
    fn decode_section(
        &mut self,
        expected: u64,
        cursor: &mut Cursor<'_>,
    ) -> Result<(), DecodeError> {
        let kind = cursor.varint("section kind")?;
        if kind != expected && (SECTION_ENGINE..=SECTION_SEEN).contains(&kind) {
            return Err(DecodeError::Value {
                what: "section of a snapshot",
                found: kind,
                expected: "1 to 8, once each and in order",
            });
        }
        let len = to_usize(u64::from(cursor.u32("section length")?));
        let mut body = Cursor::new(cursor.bytes(len, "section")?);
        let body = &mut body;
        match kind {
            SECTION_ENGINE => {
                self.next_topic = TopicId::new(narrow(body.varint("next topic")?, "next topic")?);
                self.trusted_time = Timestamp::from_millis(body.i64("trusted time")?);
            }
            SECTION_TOPICS => self.topics = list(body, TopicMeta::decode)?,
            SECTION_PARTITIONS => self.partitions = list(body, PartitionState::decode)?,
            SECTION_GARBAGE => self.garbage = list(body, Garbage::decode)?,
            SECTION_QUEUES => self.queues = list(body, QueueMeta::decode)?,
            SECTION_LEDGERS => self.ledgers = list(body, LedgerState::decode)?,
            SECTION_TIMERS => self.timers = TimerState::decode(body)?,
            SECTION_SEEN => self.seen = list(body, SeenIds::decode)?,
            other => {
                return Err(DecodeError::Unsupported {
                    what: "section of a snapshot",
                    found: other,
                    supported: "1 to 8",
                });
            }
        }
        if body.is_empty() {
            return Ok(());
        }
        Err(DecodeError::Value {
            what: "bytes left in a section",
            found: to_u64(body.rest().len()),
            expected: "none",
        })
    }
}

fn put_section(out: &mut BytesMut, kind: u64, body: impl FnOnce(&mut BytesMut)) {
    put_varint(out, kind);
    let at = out.len();
    out.put_u32_le(0);
    body(out);
    let len = u32::try_from(out.len() - at - 4).expect("bounded by SNAPSHOT_PAYLOAD_LEN_MAX");
    patch_u32(out, at, len);
}

fn list<T>(
    cursor: &mut Cursor<'_>,
    decode: impl Fn(&mut Cursor<'_>) -> Result<T, DecodeError>,
) -> Result<Vec<T>, DecodeError> {
    let count = cursor.varint("count")?;
    // Grows with what is there: a count is no request for memory.
    let mut items = Vec::new();
    for _ in 0..count {
        items.push(decode(cursor)?);
    }
    Ok(items)
}

fn put_partition(out: &mut BytesMut, id: PartitionId) {
    put_varint(out, u64::from(id.topic.get()));
    put_varint(out, u64::from(id.partition));
}

fn split_partition(cursor: &mut Cursor<'_>) -> Result<PartitionId, DecodeError> {
    Ok(PartitionId {
        topic: TopicId::new(narrow(cursor.varint("topic id")?, "topic id")?),
        partition: narrow(cursor.varint("partition")?, "partition")?,
    })
}

impl PartitionState {
    fn encode(&self, out: &mut BytesMut) {
        put_partition(out, self.id);
        put_varint(out, self.start.get());
        put_varint(out, self.flushed.get());
        put_varint(out, self.next.get());
        put_varint(out, to_u64(self.segments.len()));
        for segment in &self.segments {
            put_varint(out, segment.base.get());
            put_varint(out, segment.end.get());
            put_varint(out, segment.bytes);
            put_varint(out, segment.records);
            out.put_i64_le(segment.max_timestamp.millis());
            out.put_i64_le(segment.created.millis());
            out.put_u8(u8::from(segment.sealed.is_some()));
            out.put_i64_le(segment.sealed.unwrap_or_default().millis());
        }
    }

    fn decode(cursor: &mut Cursor<'_>) -> Result<Self, DecodeError> {
        let state = Self {
            id: split_partition(cursor)?,
            start: Offset::new(cursor.varint("start offset")?),
            flushed: Offset::new(cursor.varint("flushed offset")?),
            next: Offset::new(cursor.varint("next offset")?),
            segments: list(cursor, split_segment)?,
        };
        state.check().map(|()| state)
    }

    /// What the writer promises: offsets rise, and only the last is active.
    fn check(&self) -> Result<(), DecodeError> {
        let mut at = Offset::ZERO;
        let last = self.segments.len().saturating_sub(1);
        for (n, segment) in self.segments.iter().enumerate() {
            let in_order = segment.base >= at && segment.end >= segment.base;
            if !in_order || (segment.sealed.is_none() && n != last) {
                return Err(DecodeError::Value {
                    what: "base offset of a segment",
                    found: segment.base.get(),
                    expected: "rising offsets, and only the last one active",
                });
            }
            at = segment.end;
        }
        if at > self.flushed || self.flushed > self.next || self.start > self.next {
            return Err(DecodeError::Value {
                what: "next offset of a partition",
                found: self.next.get(),
                expected: "at least its start and the end of its segments",
            });
        }
        Ok(())
    }
}

fn split_segment(cursor: &mut Cursor<'_>) -> Result<SegmentMeta, DecodeError> {
    let mut meta = SegmentMeta {
        base: Offset::new(cursor.varint("segment base")?),
        end: Offset::new(cursor.varint("segment end")?),
        bytes: cursor.varint("segment bytes")?,
        records: cursor.varint("segment records")?,
        max_timestamp: Timestamp::from_millis(cursor.i64("max timestamp")?),
        created: Timestamp::from_millis(cursor.i64("creation time")?),
        sealed: None,
    };
    let sealed = cursor.u8("sealed flag")?;
    let at = Timestamp::from_millis(cursor.i64("time of sealing")?);
    match sealed {
        0 if at == Timestamp::default() => {}
        1 => meta.sealed = Some(at),
        other => {
            return Err(DecodeError::Value {
                what: "sealed flag",
                found: u64::from(other),
                expected: "0 with no time, or 1",
            });
        }
    }
    Ok(meta)
}

impl Garbage {
    fn encode(&self, out: &mut BytesMut) {
        match self {
            Self::Topic(id) => {
                out.put_u8(1);
                put_varint(out, u64::from(id.get()));
            }
            Self::Segment(id, base) => {
                out.put_u8(2);
                put_partition(out, *id);
                put_varint(out, base.get());
            }
        }
    }

    fn decode(cursor: &mut Cursor<'_>) -> Result<Self, DecodeError> {
        match cursor.u8("kind of garbage")? {
            1 => {
                let id = narrow(cursor.varint("topic id")?, "topic id")?;
                Ok(Self::Topic(TopicId::new(id)))
            }
            2 => {
                let id = split_partition(cursor)?;
                Ok(Self::Segment(
                    id,
                    Offset::new(cursor.varint("base offset")?),
                ))
            }
            other => Err(DecodeError::Value {
                what: "kind of garbage",
                found: u64::from(other),
                expected: "1 or 2",
            }),
        }
    }
}

#[cfg(test)]
mod tests;
