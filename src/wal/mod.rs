//! The write-ahead log: one for the whole store, so that hundreds of
//! partitions share a sync.
//!
//! ```text
//!  enqueue -> building group -> ready groups -> flights: write + sync
//!                                                  |
//!                     durable LSN moves, waiters and observers wake
//! ```
//!
//! Whoever needs a commit and finds nobody writing becomes the leader, writes
//! the oldest group for all that are in it, and hands the lead on. A lone
//! caller therefore writes for itself, without a hand-off; under load groups
//! gather while others are written. docs/format.md sections 6 and 7 have the
//! bytes.

use std::collections::VecDeque;
use std::sync::atomic::AtomicU64 as Counter;
use std::sync::{Arc, OnceLock, PoisonError};
use std::time::Duration;

use crate::clock::Clock;
use crate::error::{Error, ErrorKind, Result};
use crate::format::entry::Entry;
use crate::format::frame::{self, FRAME_HEADER_LEN, FrameKind};
use crate::ids::{Lsn, to_u64};
use crate::io::{Blocks, WriteQueue};
use crate::options::SyncPolicy;
use crate::signal::{Signal, lock};
use crate::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use crate::sync::{Condvar, Mutex};

mod commit;
mod fail;
pub(crate) mod files;
mod flight;
mod group;
mod handle;
pub(crate) mod listing;
pub(crate) mod recover;
#[cfg(test)]
mod replayer;
mod restart;
pub(crate) mod scan;
#[cfg(duolog_shuttle)]
#[cfg(test)]
mod schedules;
#[cfg(test)]
mod tests;

pub(crate) use files::FilesEnv;
pub(crate) use group::Observer;
pub(crate) use handle::CommitHandle;

use files::{Spares, WalFile};
use flight::Flight;
use group::{Group, GroupState, padded};

/// How the log behaves; from `Options`.
#[derive(Clone, Debug)]
pub(crate) struct WalOptions {
    pub(crate) sync_policy: SyncPolicy,
    pub(crate) group_bytes_max: usize,
    /// Largest frame.
    pub(crate) commit_bytes_max: u64,
    /// Spares that are kept for use again.
    pub(crate) spares_max: usize,
    /// Groups under way at once, where the back end has a queue.
    pub(crate) in_flight_max: usize,
}

impl WalOptions {
    /// Bytes in groups that have not departed, beyond which commits wait.
    fn pending_max(&self) -> usize {
        4 * self.group_bytes_max
    }
}

/// Counts since open. No thread acts on them, so they are no place where
/// threads meet.
#[derive(Debug, Default)]
pub(crate) struct WalCounters {
    pub(crate) groups: Counter,
    pub(crate) frames: Counter,
    pub(crate) syncs: Counter,
    pub(crate) sync_us: Counter,
    /// What a sync took lately: each new one counts an eighth.
    pub(crate) recent_sync_us: Counter,
    pub(crate) bytes: Counter,
}

/// The write-ahead log of an open store.
#[derive(Debug)]
pub(crate) struct Wal {
    files: FilesEnv,
    options: WalOptions,
    clock: Arc<dyn Clock>,
    /// Where groups are written, several at once, if the back end has it.
    queue: Option<Box<dyn WriteQueue>>,
    inner: Mutex<Inner>,
    /// `Inner::pending` and the end of the log, to look at without the lock.
    pending: AtomicUsize,
    end: AtomicU64,
    /// Told when a group has departed: there may be room.
    room: Condvar,
    /// Told when a departing group is in the queue.
    departed: Condvar,
    spares: Spares,
    /// All below is on stable storage.
    durable: AtomicU64,
    /// Why nothing is acknowledged any more.
    poison: OnceLock<Error>,
    closed: AtomicBool,
    /// Told when there is something to write that nobody waits for.
    work: Arc<Signal>,
    pub(crate) counters: WalCounters,
}

struct Inner {
    building: Group,
    /// Full groups, oldest first.
    ready: VecDeque<Group>,
    /// Bytes of `building` and `ready`.
    pending: usize,
    /// True while a thread writes, or has been told to.
    leading: bool,
    /// Start of the last frame that went to the file of `building`.
    last_frame: Option<Lsn>,
    /// Files that are needed, oldest first; the last one is written to.
    live: VecDeque<Arc<WalFile>>,
    /// True if something was written and not synced.
    unsynced: bool,
    /// Monotonic time of the oldest write that is not synced.
    unsynced_since: Duration,
    /// All below has been written, if not synced.
    written: Lsn,
    /// Groups on their way to the disk, oldest first.
    flights: VecDeque<Flight>,
    /// Of those, how many are not in the queue yet.
    departing: usize,
    /// A sync of what was written is under way, for whoever waits for that.
    syncing: Option<Arc<GroupState>>,
    /// True once a failure has ended everything.
    ended: bool,
    /// Memory to build groups in.
    memory: Vec<Blocks>,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Inner {{ pending: {}, leading: {} }}",
            self.pending, self.leading
        )
    }
}

/// What a commit asks for beside its entries.
#[derive(Clone, Default)]
pub(crate) struct Ask {
    /// Synced before its handle is done.
    pub(crate) sync: bool,
    /// No thread is going to wait for it at once: the background writes it.
    pub(crate) detached: bool,
    /// Told when it is durable.
    pub(crate) observers: Vec<Arc<dyn Observer>>,
}

impl Wal {
    /// Largest payload that a commit may have.
    pub(crate) fn commit_bytes_max(&self) -> u64 {
        self.options.commit_bytes_max
    }

    /// All below is on stable storage.
    pub(crate) fn durable(&self) -> Lsn {
        Lsn::new(self.durable.load(Ordering::Acquire))
    }

    /// True if the file that is written to goes past the page cache.
    pub(crate) fn is_direct(&self) -> bool {
        lock(&self.inner).building.file.direct
    }

    /// What a sync took lately; zero before the first.
    pub(crate) fn sync_time(&self) -> Duration {
        Duration::from_micros(self.counters.recent_sync_us.load(Ordering::Relaxed))
    }

    /// True if groups are under way and nobody waits for them.
    pub(crate) fn is_flying_unled(&self) -> bool {
        let inner = lock(&self.inner);
        !inner.leading && !inner.flights.is_empty()
    }

    /// Why the log refuses writes, if it does.
    pub(crate) fn poison(&self) -> Option<&Error> {
        self.poison.get()
    }

    /// Told when there is work for [`Self::commit_step`] that nobody waits for.
    pub(crate) fn work(&self) -> &Arc<Signal> {
        &self.work
    }

    /// Refuses if the log takes no more commits.
    pub(crate) fn check_open(&self) -> Result<()> {
        if let Some(error) = self.poison.get() {
            return Err(error.clone().because(
                ErrorKind::Poisoned,
                "the log takes no more writes since one failed; close and reopen the store",
            ));
        }
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::new(ErrorKind::Closed, "the engine is closed"));
        }
        Ok(())
    }

    /// Waits until the groups in memory have room, so that
    /// [`Self::enqueue`] need not. To be called without locks.
    ///
    /// # Errors
    ///
    /// `Busy` if there is no room and `block` is false; `Poisoned`.
    pub(crate) fn admit(&self, block: bool) -> Result<()> {
        let limit = self.options.pending_max();
        if self.pending.load(Ordering::Relaxed) < limit {
            return Ok(());
        }
        let mut inner = lock(&self.inner);
        while inner.pending >= limit {
            self.check_open()?;
            if !block {
                return Err(Error::new(
                    ErrorKind::Busy,
                    format!(
                        "{} bytes wait to be written to the log; retry later",
                        inner.pending
                    ),
                ));
            }
            if inner.leading {
                inner = self
                    .room
                    .wait(inner)
                    .unwrap_or_else(PoisonError::into_inner);
            } else {
                inner.leading = true;
                drop(inner);
                self.lead(None);
                inner = lock(&self.inner);
            }
        }
        Ok(())
    }

    /// Adds one frame to the group under construction: `entries` take effect
    /// together. Returns the handle to wait on; nothing is written yet.
    ///
    /// # Errors
    ///
    /// `Poisoned`, `Closed`; `Full` if the next file is needed and there is no
    /// space for it; `Invalid` if the frame is too large. Nothing is changed then.
    pub(crate) fn enqueue(&self, entries: &[Entry<'_>], ask: Ask) -> Result<CommitHandle> {
        let needed: usize = entries.iter().map(Entry::len_max).sum();
        if to_u64(needed) > self.options.commit_bytes_max {
            return Err(Error::invalid(format!(
                "commit of {needed} bytes is over the limit of {} bytes (a quarter of \
                 `wal_file_bytes`); split it, or open the store with larger files",
                self.options.commit_bytes_max
            )));
        }
        if entries.iter().any(Entry::is_too_long) {
            return Err(Error::invalid(
                "commit has more than 1,048,576 changes of one ledger; split it",
            ));
        }
        let mut inner = lock(&self.inner);
        self.check_open()?;
        self.make_room(&mut inner, FRAME_HEADER_LEN + needed)?;
        let (detached, pending) = (inner.building.detached, inner.pending);
        let wants_writer = ask.detached;
        let handle = self.put_frame(&mut inner, FrameKind::Commit, entries, ask);
        // Whoever waits for the handle writes for itself. What nobody waits
        // for is for the background: told once a group, and when it is full.
        let full = self.options.group_bytes_max;
        let wake = wants_writer && (!detached || (pending < full && inner.pending >= full));
        drop(inner);
        if wake {
            self.work.notify();
        }
        Ok(handle)
    }

    fn put_frame(
        &self,
        inner: &mut Inner,
        kind: FrameKind,
        entries: &[Entry<'_>],
        ask: Ask,
    ) -> CommitHandle {
        let group = &mut inner.building;
        let lsn = group.end();
        let previous = inner.last_frame.map_or(0, |last| lsn.since(last));
        let before = group.len();
        let previous = u32::try_from(previous).expect("a file has at most 1 GiB");
        let at = frame::start(group.out(), lsn, previous, kind);
        for entry in entries {
            entry.encode(group.out());
        }
        frame::finish(group.out(), at);
        inner.last_frame = Some(lsn);
        inner.pending += group.len() - before;
        self.pending.store(inner.pending, Ordering::Relaxed);
        self.end.store(group.end().get(), Ordering::Relaxed);
        group.frames += 1;
        group.sync |= ask.sync;
        group.detached |= ask.detached;
        for observer in ask.observers {
            group.observe(observer);
        }
        self.counters.frames.fetch_add(1, Ordering::Relaxed);
        CommitHandle::new(Arc::clone(&group.state), group.end())
    }

    /// Sees to it that the group under construction can take `needed` bytes.
    fn make_room(&self, inner: &mut Inner, needed: usize) -> Result<()> {
        let end = padded(inner.building.end().saturating_add(to_u64(needed)));
        if end > inner.building.file.limit() {
            // Base of the next file: all groups before go to this one.
            let base = inner.building.padded_end();
            let next = WalFile::new(&self.files, self.spares.take()?, base);
            let next = Arc::new(next);
            inner.live.push_back(Arc::clone(&next));
            inner.last_frame = None;
            inner.next_group(base, next, true);
            self.work.notify();
        } else if inner.building.len() >= self.options.group_bytes_max {
            inner.seal_building();
        }
        Ok(())
    }

    /// An LSN such that everything enqueued so far lies below it and everything
    /// later does not, and the file in which it lies.
    ///
    /// Recovery can start there: it is the start of a group.
    pub(crate) fn cut(&self) -> (Lsn, u64) {
        let mut inner = lock(&self.inner);
        inner.seal_building();
        (inner.building.start, inner.building.file.sequence)
    }

    /// Bytes of the log from `lsn` to its end.
    pub(crate) fn bytes_since(&self, lsn: Lsn) -> u64 {
        Lsn::new(self.end.load(Ordering::Relaxed)).since(lsn)
    }

    /// True if something waits to be written that nobody waits for.
    pub(crate) fn has_work(&self) -> bool {
        let inner = lock(&self.inner);
        inner.building.detached || inner.is_busy()
    }

    /// True if no file is ready for when the present one is full.
    pub(crate) fn needs_spare(&self) -> bool {
        self.spares.count() == 0
    }

    /// True if so much waits to be written that lingering makes no sense.
    pub(crate) fn is_pressed(&self) -> bool {
        self.pending.load(Ordering::Relaxed) >= self.options.group_bytes_max
    }

    /// Gives up the files that lie wholly below `lsn`.
    pub(crate) fn release(&self, lsn: Lsn) -> Result<()> {
        let mut dead = Vec::new();
        {
            let mut inner = lock(&self.inner);
            while inner.live.get(1).is_some_and(|second| second.base <= lsn) {
                dead.extend(inner.live.pop_front());
            }
        }
        // All of them, whatever becomes of one: nobody knows of them any more.
        dead.iter()
            .map(|file| self.spares.give_back(file, self.options.spares_max))
            .fold(Ok(()), Result::and)
    }

    /// Makes a spare file if there is none ready and the present one is a
    /// quarter full: a store that little is written to costs one file. True if
    /// it did.
    pub(crate) fn prepare_step(&self) -> Result<bool> {
        if self.spares.count() > 0 || self.check_open().is_err() {
            return Ok(false);
        }
        let (used, room) = {
            let file = &lock(&self.inner).building.file;
            let end = Lsn::new(self.end.load(Ordering::Relaxed));
            (end.since(file.base), file.limit().since(file.base))
        };
        if used < room / 4 {
            return Ok(false);
        }
        self.spares.prepare().map(|()| true)
    }
}

impl Inner {
    /// Moves the group under construction to the full ones, unless it is empty.
    fn seal_building(&mut self) {
        let (start, file) = (self.building.padded_end(), Arc::clone(&self.building.file));
        if !self.building.is_empty() {
            self.next_group(start, file, false);
        }
    }

    fn next_group(&mut self, start: Lsn, file: Arc<WalFile>, first: bool) {
        let memory = self.memory.pop().unwrap_or_default();
        let next = Group::new(start, file, first, memory);
        let full = std::mem::replace(&mut self.building, next);
        // An empty group has no bytes and nobody in it; but if its file was
        // never begun, that file is left without a header.
        if full.is_empty() {
            debug_assert!(!full.first, "a file is begun by its first frame");
        } else {
            self.ready.push_back(full);
        }
    }
}
