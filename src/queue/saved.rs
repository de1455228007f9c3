//! What outlives the process: lanes from a snapshot, changes from the log, and
//! back into the next snapshot.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::QueueState;
use super::ledger::Ledger;
use crate::error::{Error, Result};
use crate::format::dedup::{Seen, SeenIds};
use crate::format::ledger::{Change, LedgerState};
use crate::ids::{Lsn, Offset, PartitionId, TopicId, to_u64};
use crate::partition::Partition;
use crate::signal::lock;
use crate::topic::TopicState;

impl QueueState {
    /// Makes a lane as a snapshot has it.
    ///
    /// # Errors
    ///
    /// `Corrupt` if the queue has no such lane, or had it already.
    pub(crate) fn restore(&self, saved: &LedgerState) -> Result<()> {
        let number = saved.id.partition;
        let free = self.slot(number).is_ok_and(|slot| slot.get().is_none());
        if !free {
            return Err(Error::corrupt(format!(
                "the snapshot has a ledger for lane {}, which its queue does not have, or twice",
                saved.id
            )));
        }
        self.add_lane(number, Ledger::restore(saved)).map(|_| ())
    }

    /// Makes the changes of a frame that the log has.
    ///
    /// What they say of messages that the log does not have at this point is
    /// left out: those were in memory only and died with it, and others will
    /// have their offsets.
    pub(crate) fn replay(&self, number: u32, changes: &[Change]) -> Result<()> {
        let lane = self.lane(number)?;
        let end = lane.partition.end();
        let mut state = lane.lock();
        for change in changes {
            let Some(change) = known(change, end) else {
                continue;
            };
            state.ledger.apply(&change);
            self.env.note(lane.id, &change);
        }
        Ok(())
    }

    /// For a subscription `id` that starts at the end of `topic`: what its ledgers
    /// are told of the records before.
    ///
    /// # Errors
    ///
    /// As appends to the topic have it.
    pub(crate) fn skipped(id: TopicId, topic: &TopicState) -> Result<Vec<(PartitionId, Change)>> {
        let mut skipped = Vec::new();
        for partition in topic.used() {
            let (from, to) = (partition.start(), partition.seal()?);
            if from < to {
                let lane = PartitionId {
                    topic: id,
                    partition: partition.id.partition,
                };
                let from = Offset::ZERO;
                skipped.push((lane, Change::Done { from, to }));
            }
        }
        Ok(skipped)
    }

    /// After the whole log: every lane that has messages is there, and none
    /// speaks of messages that are not.
    pub(crate) fn finish_recovery(&self) -> Result<()> {
        if self.owns() {
            for partition in self.topic.used() {
                self.lane(partition.id.partition)?;
            }
        }
        let mut live = 0_u64;
        for lane in self.used() {
            let end = lane.partition.end();
            let mut state = lane.lock();
            state.ledger.clip(end);
            for (from, to) in lane.partition.absent() {
                state.ledger.done(from, to);
            }
            let floor = state.ledger.floor();
            live += end.since(floor).saturating_sub(state.ledger.done_len());
        }
        let live = i64::try_from(live).unwrap_or(i64::MAX);
        self.length.store(live, Ordering::Relaxed);
        Ok(())
    }

    /// What the snapshot has of its first `lanes` lanes.
    pub(crate) fn save(&self, lanes: u32, out: &mut Vec<LedgerState>) {
        for lane in self.used().filter(|lane| lane.id.partition < lanes) {
            let state = lane.lock();
            out.push(state.ledger.save(lane.id));
        }
    }

    /// Deduplication ids as a snapshot has them.
    pub(crate) fn restore_seen(&self, seen: &[Seen]) {
        let mut dedup = lock(&self.dedup);
        for seen in seen {
            dedup.insert(seen, Some(Lsn::ZERO));
        }
    }

    /// Deduplication ids of a frame; those of messages that the log does not
    /// have are left out.
    pub(crate) fn replay_seen(&self, seen: &[Seen]) -> Result<()> {
        for seen in seen {
            if seen.offset < self.lane(seen.lane)?.partition.end() {
                self.restore_seen(std::slice::from_ref(seen));
            }
        }
        Ok(())
    }

    /// Deduplication ids for the snapshot, if there are any.
    pub(crate) fn save_seen(&self) -> Option<SeenIds> {
        let seen = lock(&self.dedup).save(self.env.parts.clock.now());
        let queue = self.id;
        (!seen.is_empty()).then_some(SeenIds { queue, seen })
    }

    /// For each lane of its own, what it is done with.
    pub(crate) fn finished(&self) -> Vec<Finished> {
        let own = self.used().filter(|_| self.owns());
        let finished = own.map(|lane| {
            let (segments, batches) = lane.partition.pieces();
            let state = lane.lock();
            let floor = state.ledger.floor();
            let done = |piece: &(Offset, Offset)| {
                piece.0 >= floor && state.ledger.first_open(piece.0) >= piece.1
            };
            Finished {
                partition: Arc::clone(&lane.partition),
                floor,
                segments: segments.into_iter().filter(done).collect(),
                batches: batches.into_iter().filter(done).collect(),
            }
        });
        finished.collect()
    }

    /// Bytes of memory that it takes, about.
    pub(crate) fn memory_bytes(&self) -> u64 {
        let slots = self.used().count() * size_of::<usize>() * 2;
        let lanes: u64 = self
            .used()
            .map(|lane| to_u64(size_of::<super::Lane>()) + lane.lock().ledger.memory_bytes())
            .sum();
        let ids = lock(&self.dedup).memory_bytes();
        to_u64(size_of::<Self>() + slots + self.name.len()) + lanes + ids
    }
}

/// What a lane is done with.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) partition: Arc<Partition>,
    /// All below is done.
    pub(crate) floor: Offset,
    /// Sealed segments beyond, of which all is done: base offset and end.
    pub(crate) segments: Vec<(Offset, Offset)>,
    /// The same for batches of the tail.
    pub(crate) batches: Vec<(Offset, Offset)>,
}

/// A change as far as it is about messages before `end`.
fn known(change: &Change, end: Offset) -> Option<Change> {
    match *change {
        Change::Done { from, to } => {
            let to = to.min(end);
            (from < to).then_some(Change::Done { from, to })
        }
        Change::Delayed { offset, .. }
        | Change::Failed { offset, .. }
        | Change::Ready { offset }
        | Change::Again { offset }
        | Change::Expires { offset, .. } => (offset < end).then_some(*change),
    }
}
