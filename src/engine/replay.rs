//! Replaying: what the log says, applied to what the snapshot has.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::format::entry::Entry;
use crate::format::queue::QueueMeta;
use crate::format::snapshot::{Garbage, Snapshot};
use crate::ids::{Lsn, TopicId};
use crate::partition::PartitionEnv;
use crate::queue::{QueueEnv, QueueState};
use crate::topic::Catalog;
use crate::wal::recover::Replay;

/// Applies what the log says to what the snapshot has.
pub(super) struct Replayer<'a> {
    env: &'a Arc<PartitionEnv>,
    pub(super) queues: &'a Arc<QueueEnv>,
    pub(super) catalog: Catalog,
    pub(super) garbage: Vec<Garbage>,
    pub(super) records: u64,
}

impl<'a> Replayer<'a> {
    pub(super) fn new(
        env: &'a Arc<PartitionEnv>,
        queues: &'a Arc<QueueEnv>,
        snapshot: &mut Snapshot,
    ) -> Result<Self> {
        let mut catalog = Catalog::default();
        for meta in std::mem::take(&mut snapshot.topics) {
            catalog.add(meta, env)?;
        }
        catalog.next_id = catalog.next_id.max(snapshot.next_topic);
        for state in std::mem::take(&mut snapshot.partitions) {
            let Some(topic) = catalog.by_id(state.id.topic) else {
                return Err(Error::corrupt(format!(
                    "the snapshot has state for partition {} of no topic",
                    state.id
                )));
            };
            topic.restore(state)?;
        }
        let replayer = Self {
            env,
            queues,
            catalog,
            garbage: std::mem::take(&mut snapshot.garbage),
            records: 0,
        };
        for meta in std::mem::take(&mut snapshot.queues) {
            replayer.add_queue(meta)?;
        }
        for ledger in std::mem::take(&mut snapshot.ledgers) {
            let queue = queues.registry().by_id(ledger.id.topic).map(Arc::clone);
            let Some(queue) = queue else {
                return Err(Error::corrupt(format!(
                    "the snapshot has a ledger for lane {} of no queue",
                    ledger.id
                )));
            };
            queue.restore(&ledger)?;
        }
        for ids in std::mem::take(&mut snapshot.seen) {
            let queue = queues.registry().by_id(ids.queue).map(Arc::clone);
            if let Some(queue) = queue {
                queue.restore_seen(&ids.seen);
            }
        }
        Ok(replayer)
    }

    /// Adds a queue. Adding one that is there is no change: the log is replayed
    /// from a snapshot that may have it.
    fn add_queue(&self, meta: QueueMeta) -> Result<()> {
        let mut registry = self.queues.registry_mut();
        if registry.by_id(meta.id).is_some() {
            return Ok(());
        }
        let source = meta.source.as_ref().map_or(meta.id, |source| source.topic);
        let Some(topic) = self.catalog.by_id(source) else {
            return Err(Error::corrupt(format!(
                "queue {} {:?} is over topic {source}, which is not there",
                meta.id, meta.name
            )));
        };
        let queue = QueueState::new(meta, Arc::clone(topic), Arc::clone(self.queues));
        registry.add(queue);
        Ok(())
    }

    fn apply(&mut self, end: Lsn, entry: &Entry<'_>) -> Result<()> {
        match entry {
            Entry::Append(id, batch) => {
                let Some(topic) = self.catalog.by_id(id.topic) else {
                    return self.check_deleted("batch for topic", id.topic);
                };
                self.records += topic.partition(id.partition)?.replay(batch, end)?;
            }
            Entry::CreateTopic(meta) => {
                // Below the next id it was there before, and deleted since.
                if meta.id >= self.catalog.next_id {
                    self.catalog.add(meta.clone(), self.env)?;
                }
            }
            Entry::AlterTopic(meta) => {
                if let Some(topic) = self.catalog.by_id(meta.id) {
                    topic.alter(meta.options.clone());
                }
            }
            Entry::DeleteTopic(id) => {
                if let Some(topic) = self.catalog.remove(*id) {
                    topic.delete();
                    self.garbage.push(Garbage::Topic(*id));
                }
            }
            Entry::Trim(id, start) => {
                if let Some(topic) = self.catalog.by_id(id.topic) {
                    let (_, dead) = topic.partition(id.partition)?.replay_trim(*start);
                    self.garbage.extend(dead);
                }
            }
            Entry::Drop(id, base, end) => {
                if let Some(topic) = self.catalog.by_id(id.topic) {
                    let partition = topic.partition(id.partition)?;
                    self.garbage.extend(partition.replay_drop((*base, *end)));
                }
            }
            Entry::CreateQueue(meta) => self.create_queue(meta)?,
            Entry::AlterQueue(meta) => {
                if let Some(queue) = self.queues.registry().by_id(meta.id) {
                    queue.alter(meta.options.clone());
                }
            }
            Entry::DeleteQueue(id) => {
                if let Some(queue) = self.queues.registry_mut().remove(*id) {
                    queue.delete();
                }
            }
            Entry::Ledger(id, changes) => {
                let queue = self.queues.registry().by_id(id.topic).map(Arc::clone);
                let Some(queue) = queue else {
                    return self.check_deleted("ledger of queue", id.topic);
                };
                queue.replay(id.partition, changes)?;
            }
            Entry::Seen(ids) => {
                let queue = self.queues.registry().by_id(ids.queue).map(Arc::clone);
                let Some(queue) = queue else {
                    return self.check_deleted("list of ids of queue", ids.queue);
                };
                queue.replay_seen(&ids.seen)?;
            }
        }
        Ok(())
    }

    /// The topic of a queue of its own comes before it in the same frame, or is
    /// gone with it; a subscription's id is its own.
    fn create_queue(&mut self, meta: &QueueMeta) -> Result<()> {
        let source = meta.source.as_ref().map_or(meta.id, |source| source.topic);
        if self.catalog.by_id(source).is_none() {
            return self.check_deleted("queue over topic", source);
        }
        if meta.source.is_some() {
            if meta.id < self.catalog.next_id {
                // It is there, or was deleted since.
                return Ok(());
            }
            self.catalog.next_id = meta.id.saturating_add(1);
        }
        self.add_queue(meta.clone())
    }

    /// What speaks of a topic that was deleted since is no loss.
    fn check_deleted(&self, what: &str, id: TopicId) -> Result<()> {
        if id < self.catalog.next_id {
            return Ok(());
        }
        Err(Error::corrupt(format!(
            "the log has a {what} {id}, which was never created"
        )))
    }

    /// After the whole log.
    pub(super) fn finish(&self) -> Result<()> {
        let queues: Vec<_> = self.queues.registry().all().map(Arc::clone).collect();
        queues.iter().try_for_each(|queue| queue.finish_recovery())
    }
}

impl Replay for Replayer<'_> {
    fn commit(&mut self, _lsn: Lsn, end: Lsn, entries: &[Entry<'_>]) -> Result<()> {
        entries.iter().try_for_each(|entry| self.apply(end, entry))
    }
}
