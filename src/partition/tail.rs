//! The tail: batches that are not in segments yet, in memory that readers
//! borrow.

use bytes::Bytes;

use super::Batches;
use crate::format::batch::BatchHeader;
use crate::ids::{Lsn, Offset, Timestamp, to_u64};
use crate::options::Durability;

/// What a batch costs beside its bytes: the entry in the tail and its share of
/// the allocator's.
const OVERHEAD: u64 = 128;

/// A batch in memory.
#[derive(Clone, Debug)]
pub(super) struct TailBatch {
    pub(super) base: Offset,
    /// Offset after its last record.
    pub(super) end: Offset,
    pub(super) durability: Durability,
    /// LSN after its frame; `None` if it is in no frame: transient, or
    /// buffered while the log had no space.
    pub(super) lsn: Option<Lsn>,
    pub(super) max_timestamp: Timestamp,
    pub(super) bytes: Bytes,
}

impl TailBatch {
    pub(super) fn new(bytes: Bytes, durability: Durability, lsn: Option<Lsn>) -> Self {
        let header = BatchHeader::decode(&bytes).expect("a batch that was built or checked");
        Self {
            base: header.base_offset,
            end: header.end_offset(),
            durability,
            lsn,
            max_timestamp: header.max_timestamp,
            bytes,
        }
    }

    /// True if a power cut now would lose it, and it was not meant to be lost.
    pub(super) fn is_waiting(&self, durable: Lsn) -> bool {
        self.durability != Durability::Transient && self.lsn.is_none_or(|lsn| lsn > durable)
    }

    pub(super) fn cost(&self) -> u64 {
        to_u64(self.bytes.len()) + OVERHEAD
    }
}

/// Batches in order of their offsets.
#[derive(Debug, Default)]
pub(super) struct Tail {
    batches: Batches,
    bytes: u64,
    /// Base offset and LSN of durable batches that may not be synced yet.
    ///
    /// Invariant: both rise.
    undurable: std::collections::VecDeque<(Offset, Lsn)>,
}

impl Tail {
    /// Adds a batch; returns what it costs in memory.
    pub(super) fn push(&mut self, batch: TailBatch) -> u64 {
        debug_assert!(
            self.end().is_none_or(|end| batch.base >= end),
            "offsets rise"
        );
        let cost = batch.cost();
        self.bytes += cost;
        if batch.durability == Durability::Durable
            && let Some(lsn) = batch.lsn
        {
            self.undurable.push_back((batch.base, lsn));
        }
        self.batches.push_back(batch);
        cost
    }

    /// The first durable batch that is not synced.
    pub(super) fn first_undurable(&self, durable: Lsn) -> Option<&TailBatch> {
        let n = self.undurable.partition_point(|(_, lsn)| *lsn <= durable);
        let (base, _) = self.undurable.get(n)?;
        self.at(*base)
    }

    /// Forgets which batches were waiting and are durable by now.
    pub(super) fn settle(&mut self, durable: Lsn) {
        while self
            .undurable
            .front()
            .is_some_and(|(_, lsn)| *lsn <= durable)
        {
            self.undurable.pop_front();
        }
    }

    pub(super) fn iter(&self) -> impl DoubleEndedIterator<Item = &TailBatch> {
        self.batches.iter()
    }

    /// Batches from the one that holds `offset`, or the next one, on.
    pub(super) fn from(&self, offset: Offset) -> impl Iterator<Item = &TailBatch> {
        let n = self.batches.partition_point(|batch| batch.end <= offset);
        self.batches.range(n..)
    }

    fn at(&self, base: Offset) -> Option<&TailBatch> {
        self.from(base).next()
    }

    /// Offset after the last batch.
    pub(super) fn end(&self) -> Option<Offset> {
        self.batches.back().map(|batch| batch.end)
    }

    pub(super) fn is_empty(&self) -> bool {
        self.batches.is_empty()
    }

    /// Memory that the batches take.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Drops the batches that lie wholly below `offset`; returns the memory
    /// that they took.
    pub(super) fn drop_below(&mut self, offset: Offset) -> u64 {
        let before = self.bytes;
        while let Some(batch) = self.batches.front().filter(|batch| batch.end <= offset) {
            self.bytes -= batch.cost();
            self.batches.pop_front();
        }
        let first = self.batches.front().map_or(offset, |batch| batch.base);
        while self
            .undurable
            .front()
            .is_some_and(|(base, _)| *base < first)
        {
            self.undurable.pop_front();
        }
        before - self.bytes
    }

    /// Drops the batches that lie in one of `ranges`, which rise; returns the
    /// memory that they took.
    pub(super) fn drop_in(&mut self, ranges: &[(Offset, Offset)]) -> u64 {
        let before = self.bytes;
        let mut freed = 0;
        self.batches.retain(|batch| {
            let n = ranges.partition_point(|(_, end)| *end < batch.end);
            let dies = ranges.get(n).is_some_and(|(base, _)| *base <= batch.base);
            freed += if dies { batch.cost() } else { 0 };
            !dies
        });
        self.bytes = before - freed;
        freed
    }

    /// Drops all; returns the memory that they took.
    pub(super) fn clear(&mut self) -> u64 {
        self.batches.clear();
        self.undurable.clear();
        std::mem::take(&mut self.bytes)
    }
}
