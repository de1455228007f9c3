//! The engine: what a broker holds in its hands.
//!
//! A facade over the layers below: it opens and recovers, writes the catalog,
//! makes checkpoints, runs the steps of background work, and hands out topics
//! and readers.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use crate::error::{Error, ErrorKind, Result};
use crate::format::identity::Identity;
use crate::format::snapshot::Garbage;
use crate::ids::Lsn;
use crate::io::{Directory, FileSystem, LockGuard};
use crate::options::Options;
use crate::partition::PartitionEnv;
use crate::queue::Queues;
use crate::retention::TimeGuard;
use crate::signal::lock;
use crate::sync::Mutex;
use crate::timers::Turn;
use crate::topic::Catalog;
use crate::wal::Wal;

mod admin;
mod background;
mod checkpoint;
mod create;
mod maintenance;
mod open;
mod queue;
mod reader;
mod replay;
mod report;
#[cfg(test)]
mod tests;
mod ticket;
mod topic;
mod transaction;
mod upper;

pub use queue::{AckBatch, Consumer, Delivery, Queue, Receive, SendOptions, SendTicket};
pub use reader::Reader;
pub use report::{Info, RecoveryReport, Stats};
pub use ticket::Ticket;
pub use topic::Topic;
pub use transaction::{Committed, Transaction};

/// A store that is open: `Send + Sync`, cheap to clone.
///
/// The last handle that is dropped (topics, readers and tickets count) closes
/// the store; [`Engine::close`] does so with errors reported.
///
/// # Examples
///
/// ```
/// use duolog::{Engine, Fetch, Options, Record, Start, TopicOptions};
///
/// let dir = tempfile::tempdir()?;
/// let engine = Engine::open(dir.path().join("data"), Options::default())?;
/// let orders = engine.create_topic("orders", TopicOptions::default().partitions(12))?;
/// let placed = orders.append(&Record::new("two apples").key("customer-7"))?;
///
/// let mut reader = orders.reader(placed.partition, Start::Earliest)?;
/// let fetched = reader.fetch(&Fetch::default())?;
/// assert_eq!(fetched.records()?[0].value.as_deref(), Some(&b"two apples"[..]));
/// engine.close()?;
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct Engine {
    owner: Arc<Owner>,
}

/// Closes the store when the last handle goes.
#[derive(Debug)]
struct Owner {
    shared: Arc<Shared>,
}

impl Drop for Owner {
    fn drop(&mut self) {
        // Nobody is left to tell of a failure; what was acknowledged is safe
        // without an orderly close.
        if let Err(error) = self.shared.close() {
            self.shared.event(&format!("closing failed: {error}"));
        }
    }
}

/// What all handles and threads of an engine share.
#[derive(Debug)]
struct Shared {
    path: PathBuf,
    options: Options,
    back_end: BackEnd,
    identity: Identity,
    snapshots: Arc<dyn Directory>,
    env: Arc<PartitionEnv>,
    queues: Queues,
    catalog: RwLock<Catalog>,
    /// Held by changes of the catalog from the log to memory, and by a
    /// checkpoint while it takes stock: what it sees is what the log says.
    admin: Mutex<()>,
    checkpoint: Mutex<CheckpointState>,
    /// Dead files that are not removed yet.
    garbage: Mutex<Vec<Garbage>>,
    guard: Mutex<TimeGuard>,
    recovery: RecoveryReport,
    checkpoints: AtomicU64,
    /// Why the background could not make room, if it could not.
    trouble: Mutex<Option<Error>>,
    lock: Mutex<Option<LockGuard>>,
    closed: AtomicBool,
    threads: background::Threads,
}

/// What writes the log.
#[derive(Debug)]
struct BackEnd {
    name: &'static str,
    /// True if its groups go past the page cache.
    direct: bool,
    /// Why groups are written one at a time, if they are.
    note: Option<String>,
}

impl BackEnd {
    fn of(file_system: &dyn FileSystem) -> Self {
        Self {
            name: file_system.name(),
            direct: false,
            note: None,
        }
    }

    /// Asks the log what it got.
    fn settle(&mut self, wal: &Wal) {
        self.direct = wal.is_direct();
        if !self.direct && self.note.is_none() {
            self.note = Some("the file system has no direct writes".to_owned());
        }
    }

    /// True if several groups are under way at once.
    fn is_queued(&self) -> bool {
        self.direct && self.note.is_none()
    }
}

/// What the next checkpoint has to know.
#[derive(Debug)]
struct CheckpointState {
    /// LSNs of the snapshots that are kept, oldest first.
    snapshots: VecDeque<Lsn>,
    /// Which save of the timers each of them has.
    turns: VecDeque<Turn>,
    /// Monotonic time of the last checkpoint.
    at: Duration,
    /// Monotonic time of the last pass of retention.
    retention_at: Duration,
}

impl Shared {
    fn catalog(&self) -> RwLockReadGuard<'_, Catalog> {
        self.catalog.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn catalog_mut(&self) -> RwLockWriteGuard<'_, Catalog> {
        self.catalog.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn check_open(&self) -> Result<()> {
        if self.closed.load(Ordering::Acquire) {
            return Err(Error::new(ErrorKind::Closed, "the engine is closed"));
        }
        Ok(())
    }

    /// Tells whoever listens what happened.
    fn event(&self, message: &str) {
        #[cfg(feature = "tracing")]
        tracing::warn!(store = %self.path.display(), "{message}");
        #[cfg(not(feature = "tracing"))]
        let _: (&PathBuf, &str) = (&self.path, message);
    }

    /// Makes all durable and lets go of the store. The second call does nothing.
    fn close(&self) -> Result<()> {
        if self.closed.swap(true, Ordering::AcqRel) {
            return Ok(());
        }
        self.threads.stop(&self.env);
        let result = self.close_files();
        // Who waits for news must not wait for ever.
        for topic in self.catalog().all() {
            topic
                .used()
                .iter()
                .for_each(|partition| partition.announce());
        }
        for queue in self.queues.registry().all() {
            queue.signal().notify();
        }
        self.env.let_go();
        drop(lock(&self.lock).take());
        result
    }

    fn close_files(&self) -> Result<()> {
        let Some(wal) = self.env.wal.get() else {
            return Ok(());
        };
        if let Some(error) = wal.poison() {
            wal.wait_for_end();
            return Err(error.clone().because(
                ErrorKind::Poisoned,
                "the store was closed after a failed write; open it again to see what is there",
            ));
        }
        let saved = self.checkpoint_now();
        // The mark of an orderly end, even if the checkpoint failed: the log
        // has everything.
        wal.close()?;
        saved.map(|_| ())
    }
}

impl Engine {
    fn shared(&self) -> &Arc<Shared> {
        &self.owner.shared
    }

    /// Makes everything that was accepted durable, but for transient records
    /// and for batches that the log did not take
    /// ([`Stats::batches_unlogged`]): those need [`Engine::checkpoint`].
    ///
    /// # Errors
    ///
    /// `Poisoned`, `Closed`, `ReadOnly`.
    pub fn sync(&self) -> Result<()> {
        let shared = self.shared();
        shared.check_open()?;
        shared.seal_all()?;
        shared.env.wal()?.sync()?;
        if shared.env.unlogged.load(Ordering::Acquire) {
            // The log had no space for them: segments are where they go.
            shared.checkpoint_now()?;
        }
        Ok(())
    }

    /// Moves what is in memory to segments and saves the state, now. The
    /// background does so by itself.
    ///
    /// # Errors
    ///
    /// The operating system's, such as `Full`; nothing is lost then. `Closed`,
    /// `Poisoned`, `ReadOnly`.
    pub fn checkpoint(&self) -> Result<()> {
        let shared = self.shared();
        shared.check_open()?;
        shared.env.wal()?.check_open()?;
        shared.checkpoint_now().map(|_| ())
    }

    /// Does what background work is due, for embedders that call the steps by
    /// themselves ([`Background::Manual`](crate::Background::Manual)): writes what
    /// is buffered, without regard to `linger`, and what maintenance is due.
    /// True if there was any.
    ///
    /// # Errors
    ///
    /// What the step says; the next call tries again.
    pub fn run_pending(&self) -> Result<bool> {
        let shared = self.shared();
        shared.check_open()?;
        let wrote = shared.commit_step();
        // Before a checkpoint, which may find no space.
        let queues = shared.queue_step();
        let did = shared.maintain()?;
        Ok(wrote | did | queues?)
    }

    /// Runs one pass of retention now; returns how many segments went.
    ///
    /// # Errors
    ///
    /// `Poisoned`, `Closed`, `ReadOnly`; the operating system's.
    pub fn enforce_retention(&self) -> Result<u64> {
        let shared = self.shared();
        shared.check_open()?;
        shared.env.wal()?.check_open()?;
        shared.retention_pass()
    }

    /// Closes the store: makes all durable, saves the state, lets go of the
    /// lock. Every handle answers `Closed` from then on. A second call does
    /// nothing.
    ///
    /// # Errors
    ///
    /// If saving failed. What was acknowledged is in the log nevertheless, and
    /// the next open finds it.
    pub fn close(&self) -> Result<()> {
        self.shared().close()
    }
}
