//! Checkpoints: tails to segments, state to a snapshot, files of the log back
//! to use.
//!
//! The steps, and what a power cut after each leaves:
//!
//! 1. the log is durable up to the cut: nothing new;
//! 2. segments are written and synced: bytes that no snapshot speaks of, and
//!    that the next flush writes again;
//! 3. the snapshot is renamed into place: from now on recovery starts there;
//! 4. older snapshots go, then the files of the log below the older of the two
//!    that are kept: recovery ignores what a cut leaves of them.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{CheckpointState, Shared, create};
use crate::error::{Error, ErrorKind, Result};
use crate::format::entry::Entry;
use crate::format::layout;
use crate::format::snapshot::Snapshot;
use crate::ids::Lsn;
use crate::partition::{FlushUpTo, Partition};
use crate::queue::Finished;
use crate::signal::lock;
use crate::timers::{Rewrite, Timers, Turn};
use crate::wal::Ask;

/// Lanes whose ends are logged in one frame.
const LANES_AT_ONCE: usize = 1024;

/// Snapshots that are kept: one, and one to fall back to.
const SNAPSHOTS_KEPT: usize = 2;

impl Shared {
    /// Seals every batch under construction.
    pub(super) fn seal_all(&self) -> Result<()> {
        let open = self.env.open.take();
        open.iter().try_for_each(Partition::seal_step)
    }

    /// Makes a checkpoint, if anything changed. True if it did.
    pub(super) fn checkpoint_now(&self) -> Result<bool> {
        let mut state = lock(&self.checkpoint);
        state.at = self.options.clock.monotonic();
        let wal = self.env.wal()?;
        self.reclaim()?;
        self.seal_all()?;
        // Before the cut: a run has no timer of a queue that the snapshot lacks.
        self.store_timers()?;
        let (lsn, mut snapshot) = self.take_stock()?;
        let turn = self.save_queues(&mut snapshot);
        // What was saved of queues may be of frames behind the cut: durable
        // before the snapshot is, or it would know of what never happened.
        wal.sync()?;
        // Batches that are in no log make a difference without an LSN.
        let unlogged = self.env.unlogged.swap(false, Ordering::AcqRel);
        let flushed = self.flush_all(lsn);
        if flushed.is_err() && unlogged {
            self.env.unlogged.store(true, Ordering::Release);
        }
        flushed?;
        let known = state.snapshots.back() == Some(&lsn);
        if known && !unlogged {
            return Ok(false);
        }
        let snapshot = self.fill(snapshot);
        create::write_snapshot(&*self.snapshots, &snapshot, self.env.store)?;
        self.env.snapshot_lsn.store(lsn.get(), Ordering::Relaxed);
        if !known {
            state.snapshots.push_back(lsn);
            state.turns.push_back(turn);
        }
        while state.snapshots.len() > SNAPSHOTS_KEPT {
            if let Some(old) = state.snapshots.pop_front() {
                state.turns.pop_front();
                self.remove_snapshot(old)?;
            }
        }
        self.retire_timers(&state)?;
        let oldest = state.snapshots.front().copied().unwrap_or(lsn);
        wal.release(oldest)?;
        self.checkpoints.fetch_add(1, Ordering::Relaxed);
        self.env.memory.freed.notify();
        Ok(true)
    }

    /// Cuts the log and notes the catalog as it is there.
    fn take_stock(&self) -> Result<(Lsn, Snapshot)> {
        // No change of the catalog is between the log and memory now.
        let _admin = lock(&self.admin);
        let (lsn, wal_sequence) = self.env.wal()?.cut();
        let catalog = self.catalog();
        let snapshot = Snapshot {
            lsn,
            wal_sequence,
            next_topic: catalog.next_id,
            trusted_time: lock(&self.guard).trusted(),
            topics: catalog.all().map(|topic| topic.meta()).collect(),
            queues: self
                .queues
                .registry()
                .all()
                .map(|queue| queue.meta())
                .collect(),
            ..Snapshot::default()
        };
        Ok((lsn, snapshot))
    }

    /// Lets go of what queues are done with: a message that was consumed before
    /// it was flushed never reaches a segment, and a segment of which all is done
    /// is removed, wherever it lies.
    ///
    /// The log says so first, behind the acks that it relies on. Batches of the
    /// tail need no word: no snapshot is written before those acks are durable,
    /// and until then a crash brings the batches back.
    fn reclaim(&self) -> Result<()> {
        let queues: Vec<_> = self.queues.registry().all().map(Arc::clone).collect();
        let mut finished: Vec<_> = queues.iter().flat_map(|queue| queue.finished()).collect();
        finished.retain(|lane| {
            lane.floor > lane.partition.start()
                || !lane.segments.is_empty()
                || !lane.batches.is_empty()
        });
        // A frame has a limit; a hundred thousand queues do not.
        for some in finished.chunks(LANES_AT_ONCE) {
            self.reclaim_some(some)?;
        }
        if !finished.is_empty() {
            self.remove_garbage()?;
        }
        Ok(())
    }

    fn reclaim_some(&self, finished: &[Finished]) -> Result<()> {
        let mut entries = Vec::new();
        for lane in finished {
            let id = lane.partition.id;
            if lane.floor > lane.partition.start() {
                lane.partition.seal_if_done(lane.floor)?;
                entries.push(Entry::Trim(id, lane.floor));
            }
            let drops = lane.segments.iter();
            entries.extend(drops.map(|(base, end)| Entry::Drop(id, *base, *end)));
        }
        if !entries.is_empty() {
            let wal = self.env.wal()?;
            let ask = Ask {
                sync: true,
                ..Ask::default()
            };
            wal.enqueue(&entries, ask)?.wait(wal)?;
        }
        // A checkpoint sees the segments either alive or dead.
        let mut garbage = lock(&self.garbage);
        for lane in finished {
            garbage.extend(lane.partition.apply_trim(lane.floor).1);
            garbage.extend(lane.partition.apply_drop(&lane.segments));
            lane.partition.drop_tail(&lane.batches);
        }
        Ok(())
    }

    /// Adds the queues, as they are now: at the cut or later.
    ///
    /// The ledgers first: who delays a message sets its timer before it lets go of
    /// the lane, so that every delay that is saved has a timer that is saved. Nor
    /// does any fire meanwhile. A timer without its delay is ignored; a delay
    /// without its timer would wait for ever.
    fn save_queues(&self, snapshot: &mut Snapshot) -> Turn {
        // A lane that came after the cut is in the log with all that it has.
        let partitions: HashMap<_, _> = snapshot
            .topics
            .iter()
            .map(|meta| (meta.id, meta.options.partitions))
            .collect();
        let listed: HashSet<_> = snapshot.queues.iter().map(|meta| meta.id).collect();
        let queues: Vec<_> = self.queues.registry().all().map(Arc::clone).collect();
        let _firing = lock(&self.queues.firing);
        for queue in queues.iter().filter(|queue| listed.contains(&queue.id)) {
            let lanes = partitions.get(&queue.topic_id()).copied();
            queue.save(lanes.unwrap_or(0), &mut snapshot.ledgers);
            snapshot.seen.extend(queue.save_seen());
        }
        let saved = lock(&self.queues.timers).save();
        snapshot.timers = saved.state;
        // A queue that is younger than the cut is made by the log, with the timers
        // of what the log has. Those of other messages would fire for whoever has
        // their offsets then.
        let fresh = &mut snapshot.timers.fresh;
        fresh.retain(|timer| listed.contains(&timer.partition.topic));
        saved.turn
    }

    /// Writes timers that are many to a run, and merges runs that are many.
    fn store_timers(&self) -> Result<()> {
        self.rewrite_timers(Timers::begin_spill)?;
        match self.rewrite_timers(Timers::begin_merge) {
            // Who waits for those timers is told. The runs stay as they are, and
            // the snapshot lists them.
            Err(error) if error.kind() == ErrorKind::Corrupt => {
                self.event(&format!("runs of timers cannot be merged: {error}"));
                Ok(())
            }
            other => other,
        }
    }

    /// Writes timers to disk while others are added and taken.
    fn rewrite_timers(&self, begin: fn(&mut Timers) -> Option<Rewrite>) -> Result<()> {
        let timers = &self.queues.timers;
        let started = begin(&mut lock(timers));
        let Some(mut rewrite) = started else {
            return Ok(());
        };
        let written = rewrite.run();
        lock(timers).finish(rewrite)?;
        written
    }

    /// Removes runs of timers that no snapshot that is kept can list.
    fn retire_timers(&self, state: &CheckpointState) -> Result<()> {
        let oldest = state.turns.front().copied().unwrap_or_default();
        let dead = lock(&self.queues.timers).retire(oldest);
        self.queues.timers_env.remove(&dead)
    }

    /// Flushes the tails of all partitions up to `lsn`.
    fn flush_all(&self, lsn: Lsn) -> Result<()> {
        let memory = &self.env.memory;
        let up_to = if memory.used() >= memory.limit / 2 {
            FlushUpTo::Spill(lsn)
        } else {
            FlushUpTo::Lsn(lsn)
        };
        let dirty = self.env.dirty.take();
        let mut failed = None;
        for partition in &dirty {
            // The others are flushed nevertheless; one that failed has listed
            // itself again.
            if let Err(error) = partition.flush(up_to) {
                failed = failed.or(Some(error));
            } else {
                self.env.writers.touch(partition);
            }
        }
        failed.map_or(Ok(()), Err)
    }

    /// Adds the partitions, as they are on disk, and what is dead.
    fn fill(&self, mut snapshot: Snapshot) -> Snapshot {
        let topics: Vec<_> = {
            let catalog = self.catalog();
            let metas = snapshot.topics.iter();
            metas
                .filter_map(|meta| {
                    let topic = catalog.by_id(meta.id)?;
                    Some((Arc::clone(topic), meta.options.partitions))
                })
                .collect()
        };
        for (topic, partitions) in topics {
            let mut used = topic.used();
            // What came after the cut is in the log with all that it has.
            used.retain(|partition| partition.id.partition < partitions);
            let states = used.iter().filter_map(|partition| partition.saved_state());
            snapshot.partitions.extend(states);
        }
        // After the partitions: what they dropped meanwhile is in this list.
        snapshot.garbage.clone_from(&lock(&self.garbage));
        snapshot
    }

    fn remove_snapshot(&self, lsn: Lsn) -> Result<()> {
        let name = layout::snapshot_name(lsn);
        match self.snapshots.remove_file(&name) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(Error::io(format!("remove snapshot/{name}"), error))
            }
            _ => Ok(()),
        }
    }
}
