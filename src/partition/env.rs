//! What all partitions of an engine share: the log, memory, lists of work.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use super::Partition;
use super::cache::Readers;
use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::ids::{Lsn, PartitionId, StoreId};
use crate::io::Directory;
use crate::options::{OnLimit, ReadMode};
use crate::segment::{Reads, Scratch, SegmentEnv};
use crate::signal::{Signal, lock};
use crate::sync::Mutex;
use crate::wal::Wal;

/// What all partitions of an engine share.
#[derive(Debug)]
pub(crate) struct PartitionEnv {
    pub(crate) store: StoreId,
    pub(crate) clock: Arc<dyn Clock>,
    /// `topics/`.
    pub(crate) topics: Arc<dyn Directory>,
    pub(crate) read_mode: ReadMode,
    pub(crate) writable: bool,
    /// Whether large writes go past the page cache.
    pub(crate) direct: bool,
    /// Memory for those.
    pub(crate) scratch: Scratch,
    /// What reads of segments share.
    pub(crate) reads: Arc<Reads>,
    /// Set once the log has been recovered; never for a read-only store.
    pub(crate) wal: OnceLock<Arc<Wal>>,
    pub(crate) memory: Memory,
    /// Partitions with a batch under construction, to be sealed after `linger`.
    pub(crate) open: Worklist,
    /// Partitions with a tail, to be flushed by a checkpoint.
    pub(crate) dirty: Worklist,
    pub(crate) readers: Readers,
    pub(crate) relief: OnceLock<Box<dyn Relief>>,
    /// LSN of the newest snapshot.
    pub(crate) snapshot_lsn: AtomicU64,
    /// Bytes of the log after the newest snapshot at which appends wait.
    pub(crate) log_bytes_max: u64,
    /// True if a buffered batch found no space in the log since the last
    /// checkpoint.
    pub(crate) unlogged: AtomicBool,
    /// Partitions whose active segment is open for writing, the least recently
    /// used first.
    pub(crate) writers: Writers,
    pub(crate) counters: Counters,
}

/// Partitions with an open writer: descriptors have a bound.
#[derive(Debug, Default)]
pub(crate) struct Writers(Mutex<VecDeque<Arc<Partition>>>);

/// Active segments that stay open for writing.
const WRITERS_OPEN_MAX: usize = 128;

impl Writers {
    /// Notes that a partition's writer was used, and closes the one that was
    /// not for longest if there are too many. To be called without locks.
    pub(crate) fn touch(&self, partition: &Arc<Partition>) {
        let mut open = lock(&self.0);
        open.retain(|other| !Arc::ptr_eq(other, partition));
        open.push_back(Arc::clone(partition));
        let oldest = (open.len() > WRITERS_OPEN_MAX).then(|| open.pop_front());
        drop(open);
        if let Some(oldest) = oldest.flatten() {
            oldest.close_writer();
        }
    }
}

impl PartitionEnv {
    /// Lets go of all partitions that wait for something: they hold on to this
    /// environment, which holds on to them.
    pub(crate) fn let_go(&self) {
        drop(self.open.take());
        drop(self.dirty.take());
        let writers = std::mem::take(&mut *lock(&self.writers.0));
        for partition in writers {
            partition.close_writer();
        }
    }
}

/// What happened since open.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) records_appended: AtomicU64,
    pub(crate) bytes_appended: AtomicU64,
    pub(crate) batches_appended: AtomicU64,
    pub(crate) records_fetched: AtomicU64,
    pub(crate) bytes_fetched: AtomicU64,
    pub(crate) segment_bytes: AtomicU64,
    pub(crate) segment_syncs: AtomicU64,
    /// Buffered batches that found no space in the log and wait for a
    /// checkpoint instead.
    pub(crate) batches_unlogged: AtomicU64,
}

/// Makes room at a limit. The engine's part, called from below through this.
pub(crate) trait Relief: Send + Sync + std::fmt::Debug {
    /// Asks the background for a checkpoint, or, where there is none, makes
    /// one. Called without locks.
    fn relieve(&self) -> Result<()>;
}

/// Memory of all tails.
#[derive(Debug)]
pub(crate) struct Memory {
    used: AtomicU64,
    pub(crate) limit: u64,
    /// Told when memory or log was freed.
    pub(crate) freed: Signal,
    /// Told when a checkpoint should start.
    pub(crate) pressure: Arc<Signal>,
    asked: AtomicBool,
}

impl Memory {
    pub(crate) fn new(limit: u64) -> Self {
        Self {
            used: AtomicU64::new(0),
            limit,
            freed: Signal::default(),
            pressure: Arc::default(),
            asked: AtomicBool::new(false),
        }
    }

    pub(crate) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Counts memory in; asks for a checkpoint at half of the limit.
    pub(super) fn charge(&self, bytes: u64) {
        let used = self.used.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if used >= self.limit / 2 && !self.asked.swap(true, Ordering::Relaxed) {
            self.pressure.notify();
        }
    }

    pub(super) fn release(&self, bytes: u64) {
        let before = self.used.fetch_sub(bytes, Ordering::Relaxed);
        debug_assert!(before >= bytes, "released what was charged");
        if bytes > 0 {
            self.freed.notify();
        }
    }

    /// True if tails take half of the limit.
    pub(crate) fn take_pressure(&self) -> bool {
        self.asked.store(false, Ordering::Relaxed);
        self.used() >= self.limit / 2
    }
}

/// Partitions that wait for some work.
#[derive(Debug, Default)]
pub(crate) struct Worklist(Mutex<Vec<Arc<Partition>>>);

impl Worklist {
    /// Adds a partition; true if it is the first.
    pub(super) fn push(&self, partition: Arc<Partition>) -> bool {
        let mut list = lock(&self.0);
        list.push(partition);
        list.len() == 1
    }

    pub(crate) fn take(&self) -> Vec<Arc<Partition>> {
        std::mem::take(&mut lock(&self.0))
    }

    pub(crate) fn is_empty(&self) -> bool {
        lock(&self.0).is_empty()
    }
}

impl PartitionEnv {
    /// The log, or why there is none.
    pub(crate) fn wal(&self) -> Result<&Arc<Wal>> {
        self.wal.get().ok_or_else(|| {
            Error::new(
                ErrorKind::ReadOnly,
                "the store was opened read-only; open it without `read_only` to write",
            )
        })
    }

    /// All below is on stable storage.
    pub(crate) fn durable(&self) -> Lsn {
        // Without a log nothing is written: all that was recovered stays.
        self.wal.get().map_or(Lsn::MAX, |wal| wal.durable())
    }

    /// Bytes of the log that no snapshot has.
    pub(crate) fn log_bytes(&self) -> u64 {
        let snapshot = Lsn::new(self.snapshot_lsn.load(Ordering::Relaxed));
        self.wal.get().map_or(0, |wal| wal.bytes_since(snapshot))
    }

    pub(crate) fn is_poisoned(&self) -> bool {
        self.wal.get().is_some_and(|wal| wal.poison().is_some())
    }

    /// Waits for room in memory and in the log. To be called without locks.
    ///
    /// # Errors
    ///
    /// `Busy` at a limit if `on_limit` says so; what the log says.
    pub(crate) fn admit(&self, on_limit: OnLimit) -> Result<()> {
        let wal = self.wal()?;
        wal.check_open()?;
        while self.memory.used() >= self.memory.limit || self.log_bytes() >= self.log_bytes_max {
            let seen = self.memory.freed.seen();
            let full = self.memory.used() >= self.memory.limit;
            if !full && self.log_bytes() < self.log_bytes_max {
                break;
            }
            if on_limit == OnLimit::Fail {
                let what = if full {
                    "`tail_bytes_max`"
                } else {
                    "`wal_bytes_max`"
                };
                return Err(Error::new(
                    ErrorKind::Busy,
                    format!("the limit {what} is reached; retry when a checkpoint has made room"),
                ));
            }
            wal.check_open()?;
            let Some(relief) = self.relief.get() else {
                break;
            };
            relief.relieve()?;
            self.memory
                .freed
                .wait(seen, std::time::Duration::from_millis(100));
        }
        wal.admit(on_limit == OnLimit::Block)
    }

    /// The directory of a partition; made, with `create`, where there is none.
    pub(super) fn partition_dir(
        &self,
        id: PartitionId,
        create: bool,
    ) -> Result<Arc<dyn Directory>> {
        let topic = Self::child(&self.topics, &id.topic.to_string(), "topics", create)?;
        let parent = format!("topics/{}", id.topic);
        Self::child(&topic, &id.partition.to_string(), &parent, create)
    }

    fn child(
        parent: &Arc<dyn Directory>,
        name: &str,
        path: &str,
        create: bool,
    ) -> Result<Arc<dyn Directory>> {
        match parent.open_dir(name) {
            Err(error) if create && error.kind() == std::io::ErrorKind::NotFound => {
                parent
                    .create_dir(name)
                    .map_err(|error| Error::io(format!("create {path}/{name}"), error))?;
                // Before anything below it is referred to.
                if let Err(error) = parent.sync() {
                    // The next attempt makes it anew: nobody would sync the
                    // name of one that is there.
                    drop(parent.remove_dir(name));
                    return Err(Error::io(format!("sync {path}"), error));
                }
                parent.open_dir(name)
            }
            Ok(child) if create => {
                // Its name may have been read from the page cache, after a
                // process that died before it synced it.
                parent
                    .sync()
                    .map_err(|error| Error::io(format!("sync {path}"), error))?;
                Ok(child)
            }
            other => other,
        }
        .map_err(|error| Error::io(format!("open {path}/{name}"), error))
    }

    pub(super) fn segment_env(
        &self,
        id: PartitionId,
        index_interval_bytes: u32,
        create: bool,
    ) -> Result<SegmentEnv> {
        Ok(SegmentEnv {
            dir: self.partition_dir(id, create)?,
            store: self.store,
            id,
            index_interval_bytes,
            writable: self.writable,
            direct: self.direct,
            scratch: Scratch::clone(&self.scratch),
            reads: Arc::clone(&self.reads),
        })
    }
}
