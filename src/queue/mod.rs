//! Queues: one consumer a message, and what is consumed is gone.
//!
//! ```text
//!  queue --> lanes, one for each priority and shard
//!              |
//!              +-- partition: the messages, in the order in which they were sent
//!              +-- ledger: which of them are done, in flight, delayed
//! ```
//!
//! A lane is a partition with one ledger; the ledger is pure, and everything in
//! this folder that is not pure keeps one order: check, log, then tell the
//! ledger, all with the lane locked, so that the log has changes of a lane in
//! the order in which they were made. Waiting for the disk comes after that.
//!
//! Locks are taken in this order: `QueueEnv::firing`, deduplication ids, lanes by
//! their ids, then partitions, then the timers, then the log.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use crate::error::{Error, ErrorKind, Result};
use crate::format::queue::{QueueMeta, Source};
use crate::ids::{Offset, PartitionId, TopicId};
use crate::options::QueueOptions;
use crate::partition::Terms;
use crate::signal::{Signal, lock};
use crate::sync::Mutex;
use crate::topic::{Slots, TopicState};

mod browse;
mod consumers;
mod dead;
mod dedup;
mod env;
mod info;
mod lane;
pub(crate) mod ledger;
pub(crate) mod message;
mod moving;
pub(crate) mod offsets;
mod oldest;
mod once;
mod saved;
mod send;
mod settle;
mod step;
mod take;
mod transact;
mod work;

pub use browse::{Browsed, MessageState};
pub(crate) use consumers::ConsumerState;
pub(crate) use dead::death_note;
pub(crate) use env::{QueueEnv, Queues};
pub use info::{QueueInfo, QueueStats};
pub(crate) use lane::Stored;
pub use message::{DeadReason, DeathNote, Message, MessageId};
pub(crate) use saved::Finished;
pub(crate) use send::{Sending, Sent};
pub(crate) use settle::{Answer, Refused, Verdict};
pub(crate) use take::Taken;
pub(crate) use transact::{Step, transact};

use consumers::Consumers;
use dedup::Dedup;
use lane::Lane;
use ledger::Ledger;

/// A queue of an open store.
pub(crate) struct QueueState {
    pub(crate) id: TopicId,
    pub(crate) name: String,
    options: RwLock<Arc<QueueOptions>>,
    pub(crate) source: Option<Source>,
    /// What has the messages.
    topic: Arc<TopicState>,
    lanes: Slots<Box<Lane>>,
    /// Held while a lane is made.
    making: Mutex<()>,
    env: Arc<QueueEnv>,
    /// Told when there may be something to receive.
    signal: Arc<Signal>,
    consumers: Mutex<Consumers>,
    /// Messages that are not done. May be off by those that are being sent.
    length: AtomicI64,
    /// Ids that were seen lately; taken before lanes.
    dedup: Mutex<Dedup>,
    /// Number of the next delivery.
    deliveries: AtomicU64,
    deleted: AtomicBool,
    /// Where the next send starts, and the next receive: who does both in turn
    /// gets to all shards nevertheless.
    send_turn: AtomicU32,
    take_turn: AtomicU32,
}

impl fmt::Debug for QueueState {
    /// Its name: the whole would lead to all queues, and so back here.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "QueueState({} {:?})", self.id, self.name)
    }
}

impl QueueState {
    pub(crate) fn new(meta: QueueMeta, topic: Arc<TopicState>, env: Arc<QueueEnv>) -> Arc<Self> {
        let first_receipt = env.first_receipt();
        let signal = Arc::default();
        topic.audience().add(&signal);
        Arc::new(Self {
            id: meta.id,
            name: meta.name,
            options: RwLock::new(Arc::new(meta.options)),
            source: meta.source,
            topic,
            lanes: Slots::default(),
            making: Mutex::default(),
            env,
            signal,
            consumers: Mutex::default(),
            length: AtomicI64::new(0),
            dedup: Mutex::default(),
            deliveries: AtomicU64::new(first_receipt),
            deleted: AtomicBool::new(false),
            send_turn: AtomicU32::new(0),
            take_turn: AtomicU32::new(0),
        })
    }

    pub(crate) fn options(&self) -> Arc<QueueOptions> {
        Arc::clone(&self.options.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// What the log and the snapshot say of it.
    pub(crate) fn meta(&self) -> QueueMeta {
        QueueMeta {
            id: self.id,
            name: self.name.clone(),
            options: self.options().as_ref().clone(),
            source: self.source.clone(),
        }
    }

    /// Takes new options, which were checked.
    pub(crate) fn alter(&self, options: QueueOptions) {
        *self.options.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(options);
        self.signal.notify();
    }

    /// The topic that has its messages.
    pub(crate) fn topic_id(&self) -> TopicId {
        self.topic.id
    }

    /// True if its messages are its own: done means gone.
    pub(crate) fn owns(&self) -> bool {
        self.source.is_none()
    }

    /// Told when there may be something to receive.
    pub(crate) fn signal(&self) -> &Arc<Signal> {
        &self.signal
    }

    /// Makes every further use an error and wakes all who wait.
    pub(crate) fn delete(&self) {
        self.deleted.store(true, Ordering::Release);
        self.topic.audience().remove(&self.signal);
        self.signal.notify();
    }

    pub(crate) fn is_deleted(&self) -> bool {
        self.deleted.load(Ordering::Acquire)
    }

    fn check_open(&self) -> Result<()> {
        if self.is_deleted() {
            return Err(Error::new(
                ErrorKind::Closed,
                format!("queue {:?} was deleted", self.name),
            ));
        }
        Ok(())
    }

    /// What the topic says of messages that come from another queue: they were
    /// accepted once, and may have grown by the engine's headers.
    fn terms_inside(&self) -> Terms {
        Terms {
            record_bytes_max: u32::MAX,
            ..self.topic.terms()
        }
    }

    /// How many lanes there are, used or not.
    fn lane_count(&self) -> u32 {
        match self.source {
            None => self.options().lanes(),
            // Partitions may be added to it.
            Some(_) => self.topic.terms().partitions,
        }
    }

    /// The lane with this number, made if it was not used yet.
    fn lane(&self, number: u32) -> Result<&Lane> {
        let slot = self.slot(number)?;
        if let Some(lane) = slot.get() {
            return Ok(lane);
        }
        let _making = lock(&self.making);
        if let Some(lane) = slot.get() {
            return Ok(lane);
        }
        let partition = self.topic.partition(number)?;
        let floor = if self.owns() {
            Offset::ZERO
        } else {
            partition.start()
        };
        self.add_lane(number, Ledger::new(floor))
    }

    /// The place of a lane, used or not.
    fn slot(&self, number: u32) -> Result<&OnceLock<Box<Lane>>> {
        let slot = self.lanes.slot(number);
        slot.filter(|_| number < self.lane_count())
            .ok_or_else(|| self.unknown_lane(number))
    }

    /// The lane with this number, if it was used.
    fn used_lane(&self, number: u32) -> Result<Option<&Lane>> {
        let lane = self.lanes.get(number);
        if lane.is_none() && number >= self.lane_count() {
            return Err(self.unknown_lane(number));
        }
        Ok(lane.map(AsRef::as_ref))
    }

    fn unknown_lane(&self, number: u32) -> Error {
        Error::new(
            ErrorKind::NotFound,
            format!(
                "queue {:?} has no lane {number}; it has 0 to {}",
                self.name,
                self.lane_count().saturating_sub(1)
            ),
        )
    }

    fn add_lane(&self, number: u32, mut ledger: Ledger) -> Result<&Lane> {
        let partition = self.topic.partition(number)?;
        ledger.number_from(self.env.first_receipt());
        let id = PartitionId {
            topic: self.id,
            partition: number,
        };
        let made = || Box::new(Lane::new(id, Arc::clone(partition), ledger));
        Ok(self.slot(number)?.get_or_init(made))
    }

    /// Lanes that were used.
    fn used(&self) -> impl Iterator<Item = &Lane> {
        self.lanes.used().map(AsRef::as_ref)
    }

    /// Lanes from which messages may come, the highest priority first, and
    /// within one priority from shard `turn` on.
    fn in_turn(&self, turn: u32) -> impl Iterator<Item = u32> {
        let shards = match self.source {
            None => self.options().shards,
            Some(_) => self.lane_count(),
        };
        let priorities = self.lane_count() / shards.max(1);
        (0..priorities).rev().flat_map(move |priority| {
            (0..shards).map(move |n| priority * shards + turn.wrapping_add(n) % shards)
        })
    }
}
