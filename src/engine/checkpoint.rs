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

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{Shared, create};
use crate::error::{Error, Result};
use crate::format::layout;
use crate::format::snapshot::Snapshot;
use crate::ids::Lsn;
use crate::partition::{FlushUpTo, Partition};
use crate::signal::lock;

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
        self.seal_all()?;
        let (lsn, snapshot) = self.take_stock()?;
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
        }
        while state.snapshots.len() > SNAPSHOTS_KEPT {
            if let Some(old) = state.snapshots.pop_front() {
                self.remove_snapshot(old)?;
            }
        }
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
            ..Snapshot::default()
        };
        Ok((lsn, snapshot))
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
            let ids = snapshot.topics.iter().map(|meta| meta.id);
            ids.filter_map(|id| catalog.by_id(id).map(Arc::clone))
                .collect()
        };
        for topic in topics {
            let used = topic.used();
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
