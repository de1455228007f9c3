//! Who takes messages from a queue.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use super::QueueState;
use crate::error::{Error, ErrorKind, Result};
use crate::options::{ConsumerOptions, Durability, check_lease};
use crate::signal::lock;

/// The consumers of a queue.
#[derive(Debug, Default)]
pub(super) struct Consumers {
    next: u64,
    by_id: BTreeMap<u64, Arc<ConsumerState>>,
    /// The one that keeps others out.
    exclusive: Option<u64>,
}

/// One consumer.
#[derive(Debug)]
pub(crate) struct ConsumerState {
    pub(crate) id: u64,
    pub(crate) options: ConsumerOptions,
    prefetch: AtomicU32,
    /// Deliveries without an answer.
    held: AtomicU32,
}

impl ConsumerState {
    /// How many deliveries it may get now.
    pub(super) fn credit(&self) -> u32 {
        let prefetch = self.prefetch.load(Ordering::Relaxed);
        prefetch.saturating_sub(self.held.load(Ordering::Relaxed))
    }

    /// Counts one delivery in, if it may get one. Before its lease is open: who
    /// ends that lets go of it.
    pub(super) fn try_hold(&self) -> bool {
        let prefetch = self.prefetch.load(Ordering::Relaxed);
        let one_more = |held: u32| (held < prefetch).then(|| held.saturating_add(1));
        let (order, look) = (Ordering::Relaxed, Ordering::Relaxed);
        self.held.fetch_update(order, look, one_more).is_ok()
    }

    pub(crate) fn held(&self) -> u32 {
        self.held.load(Ordering::Relaxed)
    }

    /// True if it held as many as it may: a receive may wait for the room.
    pub(super) fn let_go(&self, deliveries: u32) -> bool {
        // A delivery ends once: it never goes below zero.
        let before = self.held.fetch_sub(deliveries, Ordering::Relaxed);
        debug_assert!(before >= deliveries, "what was held is let go once");
        before >= self.prefetch.load(Ordering::Relaxed)
    }

    pub(crate) fn set_prefetch(&self, prefetch: u32) -> Result<()> {
        if prefetch == 0 {
            return Err(Error::invalid(
                "a prefetch of 0 gets nothing; set it to at least 1, or close the consumer",
            ));
        }
        self.prefetch.store(prefetch, Ordering::Relaxed);
        Ok(())
    }

    pub(crate) fn durability(&self, queue: &QueueState) -> Durability {
        let own = self.options.ack_durability;
        own.unwrap_or_else(|| queue.options().durability)
    }

    pub(super) fn lease(&self, queue: Duration) -> Duration {
        self.options.lease.unwrap_or(queue)
    }

    pub(super) fn takes_from(&self, shard: u32) -> bool {
        self.options.shards.is_empty() || self.options.shards.contains(&shard)
    }
}

impl QueueState {
    /// Adds a consumer.
    ///
    /// # Errors
    ///
    /// `Invalid` for a wrong option; `Busy` where one of them wants to be alone.
    pub(crate) fn join(&self, options: ConsumerOptions) -> Result<Arc<ConsumerState>> {
        self.check_open()?;
        let shards = match self.source {
            None => self.options().shards,
            Some(_) => self.lane_count(),
        };
        options.check(shards)?;
        if let Some(lease) = options.lease {
            check_lease(lease)?;
        }
        let mut consumers = lock(&self.consumers);
        let busy = |what: &str| {
            Err(Error::new(
                ErrorKind::Busy,
                format!("queue {:?} has {what}; close it first", self.name),
            ))
        };
        if consumers.exclusive.is_some() {
            return busy("an exclusive consumer");
        }
        if options.exclusive && !consumers.by_id.is_empty() {
            return busy("another consumer, and this one wants to be alone");
        }
        let id = consumers.next;
        consumers.next += 1;
        consumers.exclusive = options.exclusive.then_some(id);
        let consumer = Arc::new(ConsumerState {
            id,
            prefetch: AtomicU32::new(options.prefetch),
            held: AtomicU32::new(0),
            options,
        });
        consumers.by_id.insert(id, Arc::clone(&consumer));
        Ok(consumer)
    }

    /// Takes a consumer out. What it holds is ready again at once, and nothing
    /// is counted against it.
    pub(crate) fn leave(&self, consumer: &ConsumerState) {
        {
            let mut consumers = lock(&self.consumers);
            consumers.by_id.remove(&consumer.id);
            if consumers.exclusive == Some(consumer.id) {
                consumers.exclusive = None;
            }
        }
        if consumer.held() > 0 {
            for lane in self.used() {
                let mut state = lane.lock();
                for offset in state.ledger.of_consumer(consumer.id) {
                    state.ledger.put_back(offset);
                    consumer.let_go(1);
                }
            }
        }
        // Others may be next in line, or have room for what came back.
        self.signal.notify();
    }

    /// True if the consumer gets messages: all do, or the oldest one only.
    pub(super) fn is_active(&self, consumer: &ConsumerState, single: bool) -> bool {
        if !single {
            return true;
        }
        let consumers = lock(&self.consumers);
        consumers.by_id.keys().next() == Some(&consumer.id)
    }

    /// A delivery of `consumer` has ended, if that is still there. True if it had
    /// no room before.
    pub(super) fn let_go(&self, consumer: u64) -> bool {
        let consumer = lock(&self.consumers).by_id.get(&consumer).map(Arc::clone);
        consumer.is_some_and(|consumer| consumer.let_go(1))
    }

    pub(super) fn consumer_count(&self) -> usize {
        lock(&self.consumers).by_id.len()
    }
}
