//! Writes under way on a simulated disk.
//!
//! A submitted write is pending at once, as one whose device has begun; its
//! completion is another step, at which it becomes durable if it was to be.
//! Which of several completes first is drawn from the seed.

use std::any::Any;
use std::io;
use std::sync::PoisonError;

use super::SimFs;
use super::handle::SimFile;
use super::node::Ino;
use super::random::{Random, mix};
use crate::io::{BlockWrite, WriteQueue, Written};
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Mutex, MutexGuard};

/// Writes under way.
#[derive(Debug)]
pub(super) struct SimQueue {
    fs: SimFs,
    under_way: Mutex<Vec<Started>>,
    /// True while a thread is in `complete`.
    completing: AtomicBool,
}

#[derive(Debug)]
struct Started {
    write: BlockWrite,
    /// File and place of the change, or how it failed.
    begun: io::Result<(Ino, u64)>,
}

impl SimQueue {
    pub(super) fn new(fs: SimFs) -> Self {
        Self {
            fs,
            under_way: Mutex::default(),
            completing: AtomicBool::new(false),
        }
    }

    fn under_way(&self) -> MutexGuard<'_, Vec<Started>> {
        self.under_way
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn begin(write: &BlockWrite) -> io::Result<(Ino, u64)> {
        let file: &dyn Any = &*write.file;
        let file = file.downcast_ref::<SimFile>().ok_or_else(|| {
            let expected = "expected a file of this back end";
            io::Error::new(io::ErrorKind::InvalidInput, expected)
        })?;
        Ok((file.ino, file.put(write.bytes(), write.position, true)?))
    }
}

impl WriteQueue for SimQueue {
    fn submit(&self, write: BlockWrite) {
        let begun = Self::begin(&write);
        self.under_way().push(Started { write, begun });
    }

    fn complete(&self) -> Option<Written> {
        let alone = !self.completing.swap(true, Ordering::AcqRel);
        assert!(alone, "two threads complete writes at once");
        let written = self.complete_one();
        self.completing.store(false, Ordering::Release);
        written
    }
}

impl SimQueue {
    fn complete_one(&self) -> Option<Written> {
        let started = {
            let mut list = self.under_way();
            let count = crate::ids::to_u64(list.len());
            if count == 0 {
                return None;
            }
            let seed = {
                let disk = self.fs.disk();
                mix(disk.seed ^ mix(disk.gate.steps))
            };
            let index = Random::new(seed).below(count);
            list.remove(crate::ids::to_usize(index))
        };
        let Started { write, begun } = started;
        let result = begun.and_then(|(ino, seq)| {
            let mut disk = self.fs.disk();
            disk.under_way.remove(&seq);
            if write.sync {
                disk.sync_change(ino, seq)
            } else {
                Ok(())
            }
        });
        Some(Written { write, result })
    }
}

impl SimFile {
    /// Writes `blocks`, or begins to; returns the place of the change.
    pub(super) fn put(&self, blocks: &[u8], position: u64, under_way: bool) -> io::Result<u64> {
        self.writable()?;
        let mut disk = self.fs.disk();
        disk.write(self.ino, &[blocks], position)?;
        let seq = disk.seq;
        if under_way {
            disk.under_way.insert(seq);
        }
        Ok(seq)
    }

    /// True if blocks go past the cache.
    pub(super) fn is_direct(&self) -> bool {
        self.direct.load(Ordering::Relaxed)
    }
}

impl SimFs {
    /// Whether blocks can go past the cache, several writes under way at once,
    /// completed in an order that the seed decides. Default off: the log is
    /// written with one blocking call after the other.
    #[must_use]
    pub fn with_queue(self, queue: bool) -> Self {
        self.disk().settings.queue = queue;
        self
    }

    pub(super) fn queue(&self) -> io::Result<Box<dyn WriteQueue>> {
        if !self.disk().settings.queue {
            let off = "the simulated disk was made without a queue";
            return Err(io::Error::new(io::ErrorKind::Unsupported, off));
        }
        Ok(Box::new(SimQueue::new(self.clone())))
    }
}
