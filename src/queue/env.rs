//! What all queues of an engine share: the registry, the timers, and the list
//! of lanes with something in flight.

use std::collections::{BTreeMap, HashMap};
use std::ops::Deref;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use super::QueueState;
use crate::error::{Error, ErrorKind, Result};
use crate::format::entry::Entry;
use crate::ids::{PartitionId, Timestamp, TopicId};
use crate::options::Durability;
use crate::partition::{Accepted, Appended, How, Part, PartitionEnv, commit_along};
use crate::signal::lock;
use crate::sync::Mutex;
use crate::timers::{Timer, Timers, TimersEnv};
use crate::wal::Ask;

/// What all queues of an engine share.
#[derive(Debug)]
pub(crate) struct QueueEnv {
    pub(crate) parts: Arc<PartitionEnv>,
    registry: RwLock<Registry>,
    pub(crate) timers: Mutex<Timers>,
    pub(crate) timers_env: TimersEnv,
    /// Held from when timers are taken until all of them have fired, and while
    /// they are saved: one between the two would be in no snapshot, and what
    /// waits for it would wait for ever.
    pub(crate) firing: Mutex<()>,
    /// Lanes with something in flight.
    pub(super) leased: Mutex<Vec<PartitionId>>,
    /// Monotonic time of the last look for messages that are too old.
    pub(super) swept: Mutex<Duration>,
    /// Where receipts of this life begin.
    first_receipt: u64,
}

/// The queues of an engine, for who keeps the engine.
///
/// Each queue refers to what all share, and that has the list of queues: they
/// would keep each other in memory for ever. When this goes, the list does.
#[derive(Debug)]
pub(crate) struct Queues(Arc<QueueEnv>);

impl Queues {
    pub(crate) fn new(env: Arc<QueueEnv>) -> Self {
        Self(env)
    }
}

impl Deref for Queues {
    type Target = Arc<QueueEnv>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl Drop for Queues {
    fn drop(&mut self) {
        // Dropped after the lock: a queue is more than a name.
        let queues = std::mem::take(&mut *self.0.registry_mut());
        drop(queues);
    }
}

/// Which queues there are.
#[derive(Debug, Default)]
pub(crate) struct Registry {
    by_name: BTreeMap<String, Arc<QueueState>>,
    by_id: HashMap<TopicId, Arc<QueueState>>,
}

impl Registry {
    /// The queue with this name.
    ///
    /// # Errors
    ///
    /// `NotFound`.
    pub(crate) fn get(&self, name: &str) -> Result<Arc<QueueState>> {
        self.by_name.get(name).cloned().ok_or_else(|| {
            Error::new(
                ErrorKind::NotFound,
                format!("there is no queue {name:?}; create it first"),
            )
        })
    }

    pub(crate) fn by_id(&self, id: TopicId) -> Option<&Arc<QueueState>> {
        self.by_id.get(&id)
    }

    pub(crate) fn contains(&self, name: &str) -> bool {
        self.by_name.contains_key(name)
    }

    /// All queues, sorted by name.
    pub(crate) fn all(&self) -> impl Iterator<Item = &Arc<QueueState>> {
        self.by_name.values()
    }

    pub(crate) fn add(&mut self, queue: Arc<QueueState>) {
        self.by_id.insert(queue.id, Arc::clone(&queue));
        self.by_name.insert(queue.name.clone(), queue);
    }

    pub(crate) fn remove(&mut self, id: TopicId) -> Option<Arc<QueueState>> {
        let queue = self.by_id.remove(&id)?;
        self.by_name.remove(&queue.name);
        Some(queue)
    }
}

impl QueueEnv {
    pub(crate) fn new(
        parts: Arc<PartitionEnv>,
        timers: Timers,
        timers_env: TimersEnv,
    ) -> Arc<Self> {
        // Milliseconds, times a million: nobody delivers more than that in one,
        // so receipts of an earlier life are smaller.
        let now = u64::try_from(parts.clock.now().millis()).unwrap_or(0);
        Arc::new(Self {
            first_receipt: now.saturating_mul(1 << 20),
            parts,
            registry: RwLock::default(),
            timers: Mutex::new(timers),
            timers_env,
            firing: Mutex::default(),
            leased: Mutex::default(),
            swept: Mutex::default(),
        })
    }

    pub(crate) fn registry(&self) -> RwLockReadGuard<'_, Registry> {
        self.registry.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn registry_mut(&self) -> RwLockWriteGuard<'_, Registry> {
        self.registry
            .write()
            .unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn first_receipt(&self) -> u64 {
        self.first_receipt
    }

    pub(crate) fn add_timer(&self, timer: Timer) {
        lock(&self.timers).add(timer);
    }

    /// When the next timer is due.
    pub(crate) fn next_due(&self) -> Option<Timestamp> {
        lock(&self.timers).next_due()
    }

    /// Bytes of messages that one commit takes: `wanted`, or less where commits
    /// are small. Half of a commit is left for names and encoding.
    pub(super) fn load_bytes_max(&self, wanted: u64) -> u64 {
        let commit = self
            .parts
            .wal()
            .map_or(u64::MAX, |wal| wal.commit_bytes_max());
        wanted.min(commit / 2)
    }

    /// Appends and changes of ledgers in one frame, with the lanes locked.
    /// `along` says what changes, given where the parts went.
    pub(super) fn commit<'e>(
        &self,
        parts: &[Part<'_, '_>],
        how: How,
        along: impl FnOnce(&[Appended]) -> Vec<Entry<'e>>,
    ) -> Result<Accepted> {
        if !parts.is_empty() {
            return commit_along(parts, how, along);
        }
        let entries = along(&[]);
        let nothing = Accepted {
            appended: Vec::new(),
            handle: None,
            end: None,
        };
        if entries.is_empty() || how.durability == Durability::Transient {
            return Ok(nothing);
        }
        let durable = how.durability == Durability::Durable;
        let ask = Ask {
            sync: durable,
            detached: how.detached || !durable,
            ..Ask::default()
        };
        let handle = self.parts.wal()?.enqueue(&entries, ask)?;
        Ok(Accepted {
            end: Some(handle.end()),
            handle: durable.then_some(handle),
            ..nothing
        })
    }
}
