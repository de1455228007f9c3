//! Where batches are: the entries of an index, in the making and as read.
//!
//! One rule decides which batches get an entry: the first one, and each that
//! starts at least the interval after the last one with an entry. So an index
//! that is built again from the log is the one that was written with it, byte
//! for byte.

use std::sync::{PoisonError, RwLock};

use bytes::{Bytes, BytesMut};

use super::{DATA_START, Place, SegmentEnv};
use crate::format::DecodeError;
use crate::format::batch::BatchHeader;
use crate::format::checksum::Seed;
use crate::format::index::decode_header;
use crate::format::index::{INDEX_ENTRY_LEN, INDEX_HEADER_LEN, IndexEntry, encode_header};
use crate::ids::{Offset, Position, Timestamp, to_u64};

/// Decides which batches of a segment get an entry.
#[derive(Clone, Debug)]
pub(super) struct Indexer {
    base: Offset,
    interval: u64,
    /// Where the last batch with an entry starts.
    last: Option<u64>,
    /// Latest event so far.
    max_timestamp: Timestamp,
}

impl Indexer {
    pub(super) fn new(env: &SegmentEnv, base: Offset) -> Self {
        Self {
            base,
            interval: u64::from(env.index_interval_bytes),
            last: None,
            max_timestamp: Timestamp::MIN,
        }
    }

    /// Goes on from the batch of `entry`, which is the next one to observe.
    pub(super) fn resume(&mut self, entry: &IndexEntry) {
        self.last = Some(entry.position().get());
        self.max_timestamp = entry.max_timestamp_before;
    }

    /// Latest event in the batches so far.
    pub(super) fn max_timestamp(&self) -> Timestamp {
        self.max_timestamp
    }

    /// Takes note of the batch at `position`; its entry, if it gets one.
    ///
    /// `None` also for a batch that an index cannot name: beyond 4 GiB, or
    /// 2^32 offsets. Writers roll before that.
    pub(super) fn observe(&mut self, position: u64, header: &BatchHeader) -> Option<IndexEntry> {
        let before = self.max_timestamp;
        self.max_timestamp = before.max(header.max_timestamp);
        if let Some(last) = self.last
            && position.saturating_sub(last) < self.interval.max(1)
        {
            return None;
        }
        let entry = IndexEntry {
            offset_delta: u32::try_from(header.base_offset.since(self.base)).ok()?,
            position: u32::try_from(position).ok()?,
            max_timestamp_before: before,
        };
        self.last = Some(position);
        Some(entry)
    }
}

/// The index of the active segment: the writer adds, readers look up.
#[derive(Debug)]
pub(crate) struct ActiveIndex {
    base: Offset,
    entries: RwLock<Vec<IndexEntry>>,
}

impl ActiveIndex {
    pub(super) fn new(base: Offset, entries: Vec<IndexEntry>) -> Self {
        Self {
            base,
            entries: RwLock::new(entries),
        }
    }

    pub(super) fn extend(&self, new: &[IndexEntry]) {
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
        entries.extend_from_slice(new);
    }

    /// How many entries there are.
    pub(super) fn len(&self) -> usize {
        self.with(<[IndexEntry]>::len)
    }

    pub(super) fn with<T>(&self, look: impl FnOnce(&[IndexEntry]) -> T) -> T {
        look(&self.entries.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The last batch with an entry that does not start after `offset`.
    pub(crate) fn floor(&self, offset: Offset) -> Place {
        let wanted = offset.since(self.base);
        self.last_where(|entry| u64::from(entry.offset_delta) <= wanted)
    }

    /// The last batch with an entry before which all events are earlier than `time`.
    pub(crate) fn floor_time(&self, time: Timestamp) -> Place {
        self.last_where(|entry| entry.max_timestamp_before < time)
    }

    fn last_where(&self, below: impl Fn(&IndexEntry) -> bool) -> Place {
        self.with(|entries| {
            let after = entries.partition_point(below);
            let entry = after.checked_sub(1).and_then(|n| entries.get(n));
            entry.map_or(Place::start(self.base), |entry| place(self.base, entry))
        })
    }
}

/// The batch that `entry` is for.
pub(super) fn place(base: Offset, entry: &IndexEntry) -> Place {
    Place {
        position: entry.position(),
        offset: base.saturating_add(u64::from(entry.offset_delta)),
    }
}

/// The index of a sealed segment: the bytes of its file, checked as a whole
/// when it is opened, and each entry again when it is used.
#[derive(Clone, Debug)]
pub(super) struct SealedIndex {
    base: Offset,
    seed: Seed,
    bytes: Bytes,
    count: usize,
    tail: Option<Tail>,
}

/// The last entry of an index.
#[derive(Clone, Copy, Debug)]
pub(super) struct Tail {
    pub(super) last: Place,
    /// Shortest way between two entries, if there are two: no batch starts
    /// that far behind the last one, or its entry is missing.
    pub(super) step: Option<u64>,
}

impl SealedIndex {
    /// Wraps a file that is an index all through.
    ///
    /// # Errors
    ///
    /// What is wrong with it, in words.
    pub(super) fn new(
        bytes: Bytes,
        base: Offset,
        seed: Seed,
        data_end: u64,
        end: Offset,
    ) -> Result<Self, String> {
        let good = split_good(&bytes, base, seed, data_end, end)?;
        let count = good.len();
        if bytes.len() != file_len(count) {
            return Err(format!("entry {count} does not check out"));
        }
        Ok(Self {
            base,
            seed,
            bytes,
            count,
            tail: tail(&good, base),
        })
    }

    /// The index with these entries.
    pub(super) fn build(entries: &[IndexEntry], base: Offset, seed: Seed) -> Self {
        let mut bytes = encode_header(base, seed);
        encode_entries(entries, 0, seed, &mut bytes);
        Self {
            base,
            seed,
            bytes: bytes.freeze(),
            count: entries.len(),
            tail: tail(entries, base),
        }
    }

    /// The whole file.
    pub(super) fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    fn entry(&self, number: usize) -> Result<IndexEntry, DecodeError> {
        let at = file_len(number);
        let bytes = self.bytes.get(at..at + INDEX_ENTRY_LEN).unwrap_or_default();
        IndexEntry::decode(bytes, self.seed, to_u64(number))
    }

    /// All entries, in order.
    pub(super) fn entries(&self) -> impl Iterator<Item = IndexEntry> {
        (0..self.count).filter_map(|number| self.entry(number).ok())
    }

    /// What tells whether entries are missing; `None` without entries.
    pub(super) fn tail(&self) -> Option<Tail> {
        self.tail
    }

    /// See [`ActiveIndex::floor`].
    pub(super) fn floor(&self, offset: Offset) -> Place {
        let wanted = offset.since(self.base);
        self.last_where(|entry| u64::from(entry.offset_delta) <= wanted)
    }

    /// See [`ActiveIndex::floor_time`].
    pub(super) fn floor_time(&self, time: Timestamp) -> Place {
        self.last_where(|entry| entry.max_timestamp_before < time)
    }

    fn last_where(&self, below: impl Fn(&IndexEntry) -> bool) -> Place {
        let start = Place::start(self.base);
        let (mut found, mut from, mut to) = (start, 0, self.count);
        while from < to {
            let middle = from + (to - from) / 2;
            // The file can rot after it was checked. The start of the data is
            // always right, and slow.
            let Ok(entry) = self.entry(middle) else {
                return start;
            };
            if below(&entry) {
                found = place(self.base, &entry);
                from = middle + 1;
            } else {
                to = middle;
            }
        }
        found
    }
}

fn tail(entries: &[IndexEntry], base: Offset) -> Option<Tail> {
    let positions = entries.iter().map(|entry| u64::from(entry.position));
    let later = positions.clone().skip(1);
    Some(Tail {
        last: place(base, entries.last()?),
        step: positions.zip(later).map(|(a, b)| b.saturating_sub(a)).min(),
    })
}

/// Bytes of an index with `entries` entries; also where the one of that
/// number starts.
pub(super) fn file_len(entries: usize) -> usize {
    INDEX_HEADER_LEN + entries * INDEX_ENTRY_LEN
}

/// Bytes that the index of `data_end` bytes of batches cannot exceed.
pub(super) fn file_len_max(data_end: u64) -> u64 {
    // No two entries are for one batch, and no batch is shorter than 64 bytes.
    let entries = (data_end / DATA_START).saturating_add(1);
    entries.saturating_mul(to_u64(INDEX_ENTRY_LEN)) + to_u64(INDEX_HEADER_LEN)
}

/// Appends `entries`, the first of which has this `number`.
pub(super) fn encode_entries(
    entries: &[IndexEntry],
    number: usize,
    seed: Seed,
    out: &mut BytesMut,
) {
    for (entry, number) in entries.iter().zip(to_u64(number)..) {
        entry.encode(seed, number, out);
    }
}

/// The entries at the front of a file that are whole, in order, and within the
/// data; what follows them is not.
///
/// # Errors
///
/// What is wrong with the header, in words: no entry counts then.
pub(super) fn split_good(
    bytes: &[u8],
    base: Offset,
    seed: Seed,
    data_end: u64,
    end: Offset,
) -> Result<Vec<IndexEntry>, String> {
    let found = decode_header(bytes, seed).map_err(|error| error.to_string())?;
    if found != base {
        return Err(format!("it is of the segment at offset {found}"));
    }
    let rest = bytes.get(INDEX_HEADER_LEN..).unwrap_or_default();
    let mut good: Vec<IndexEntry> = Vec::new();
    for (bytes, number) in rest.chunks_exact(INDEX_ENTRY_LEN).zip(0..) {
        let Ok(entry) = IndexEntry::decode(bytes, seed, number) else {
            break;
        };
        let follows = match good.last() {
            None => entry.position() == Position::new(DATA_START),
            Some(last) => {
                entry.position > last.position
                    && entry.offset_delta > last.offset_delta
                    && entry.max_timestamp_before >= last.max_timestamp_before
            }
        };
        let within =
            entry.position().get() < data_end && u64::from(entry.offset_delta) < end.since(base);
        if !(follows && within) {
            break;
        }
        good.push(entry);
    }
    Ok(good)
}
