//! Creating, altering, deleting and listing queues; and the steps of the
//! background that are theirs.

use std::sync::Arc;

use super::Queue;
use crate::engine::{Engine, Shared};
use crate::error::{Error, ErrorKind, Result};
use crate::format::entry::Entry;
use crate::format::queue::{QueueMeta, Source};
use crate::format::snapshot::Garbage;
use crate::format::topic::TopicMeta;
use crate::ids::TopicId;
use crate::options::{Filter, QueueOptions};
use crate::queue::{QueueInfo, QueueState};
use crate::signal::lock;
use crate::topic::{TopicState, check_name};
use crate::wal::Ask;

impl Engine {
    /// Makes a queue; durable at return.
    ///
    /// Queues and topics share their names.
    ///
    /// # Errors
    ///
    /// `Invalid` for a wrong name or option, naming it, and for a dead-letter
    /// queue that leads back here; `NotFound` if the dead-letter queue is not
    /// there; `Exists`; `Closed`, `ReadOnly`, `Full`. Nothing is changed then.
    /// `Poisoned`: the queue may or may not be there when the store is opened
    /// again.
    pub fn create_queue(&self, name: &str, options: QueueOptions) -> Result<Queue> {
        let shared = self.shared();
        shared.check_open()?;
        check_name(name)?;
        options.check()?;
        let _admin = lock(&shared.admin);
        shared.check_free(name)?;
        shared.check_dead_letter(name, &options)?;
        let id = shared.catalog().next_id;
        let topic = TopicMeta {
            id,
            name: name.to_owned(),
            options: options.topic(),
        };
        let meta = QueueMeta {
            id,
            name: name.to_owned(),
            options,
            source: None,
        };
        shared.log_changes(&[
            Entry::CreateTopic(topic.clone()),
            Entry::CreateQueue(Box::new(meta.clone())),
        ])?;
        shared.catalog_mut().add(topic, &shared.env)?;
        shared.add_queue(meta)?;
        self.queue(name)
    }

    /// Makes a subscription: a queue that is a view of a topic. Its messages are
    /// the topic's records that `filter` wants; the bodies are stored once,
    /// however many subscriptions there are, and acknowledging deletes nothing
    /// but here. Starts at the end of the topic, or, with `from_start`, at its
    /// start.
    ///
    /// Order keys are the records' keys; each partition is a shard. What the
    /// topic's retention drops is gone here, too.
    ///
    /// # Errors
    ///
    /// As [`Self::create_queue`]; `NotFound` if there is no such topic; `Invalid`
    /// if it is a queue.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// use duolog::{ConsumerOptions, Filter, QueueOptions, Record, TopicOptions};
    /// # use duolog::{Engine, Options};
    /// # let dir = tempfile::tempdir()?;
    /// # let engine = Engine::open(dir.path().join("data"), Options::default())?;
    /// let events = engine.create_topic("events", TopicOptions::default())?;
    /// let filter = Filter::default().any_of("kind", ["order"]);
    /// let orders = engine.subscribe("orders", "events", filter, QueueOptions::default(), false)?;
    ///
    /// events.append(&Record::new("1").header("kind", "order"))?;
    /// events.append(&Record::new("2").header("kind", "click"))?;
    /// let worker = orders.consumer(ConsumerOptions::default())?;
    /// let got = worker.receive(10, Duration::ZERO)?;
    /// assert_eq!((got.len(), &got[0].body()[..]), (1, &b"1"[..]));
    /// # drop((got, worker));
    /// # engine.close()?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn subscribe(
        &self,
        name: &str,
        topic: &str,
        filter: Filter,
        options: QueueOptions,
        from_start: bool,
    ) -> Result<Queue> {
        let shared = self.shared();
        shared.check_open()?;
        check_name(name)?;
        options.check()?;
        filter.check()?;
        check_subscription(&options)?;
        let _admin = lock(&shared.admin);
        shared.check_free(name)?;
        shared.check_dead_letter(name, &options)?;
        shared.refuse_queue(topic)?;
        let source = shared.catalog().get(topic)?;
        let id = shared.catalog().next_id;
        let meta = QueueMeta {
            id,
            name: name.to_owned(),
            options,
            source: Some(Source {
                topic: source.id,
                filter,
            }),
        };
        let skipped = if from_start {
            Vec::new()
        } else {
            QueueState::skipped(id, &source)?
        };
        let mut entries = vec![Entry::CreateQueue(Box::new(meta.clone()))];
        let skips = skipped
            .iter()
            .map(|(id, change)| Entry::Ledger(*id, vec![*change]));
        entries.extend(skips);
        shared.log_changes(&entries)?;
        shared.catalog_mut().next_id = id.saturating_add(1);
        let queue = shared.add_queue(meta)?;
        for (id, change) in skipped {
            queue.replay(id.partition, &[change])?;
        }
        self.queue(name)
    }

    /// The queue with this name.
    ///
    /// # Errors
    ///
    /// `NotFound`, `Closed`.
    pub fn queue(&self, name: &str) -> Result<Queue> {
        self.shared().check_open()?;
        let state = self.shared().queues.registry().get(name)?;
        Ok(Queue::new(self.clone(), state))
    }

    /// All queues, sorted by name; also after the engine was closed.
    #[must_use]
    pub fn queues(&self) -> Vec<QueueInfo> {
        let shared = self.shared();
        let queues: Vec<_> = shared.queues.registry().all().map(Arc::clone).collect();
        queues
            .iter()
            .map(|queue| shared.queue_info(queue))
            .collect()
    }

    /// Gives a queue new options, all of them; durable at return. Shards and the
    /// highest priority stay as they are.
    ///
    /// # Errors
    ///
    /// `Invalid` for a wrong option; `NotFound`, `Closed`, `ReadOnly`, `Full`, and
    /// nothing is changed then. `Poisoned`: the change may or may not be there when
    /// the store is opened again.
    pub fn alter_queue(&self, name: &str, options: QueueOptions) -> Result<()> {
        let shared = self.shared();
        shared.check_open()?;
        options.check()?;
        let _admin = lock(&shared.admin);
        let queue = shared.queues.registry().get(name)?;
        let present = queue.options();
        if (options.shards, options.priority_max) != (present.shards, present.priority_max) {
            return Err(Error::invalid(format!(
                "queue {name:?} has {} shards and priorities up to {}, which cannot be altered; \
                 make another queue and move the messages",
                present.shards, present.priority_max
            )));
        }
        if !queue.owns() {
            check_subscription(&options)?;
        }
        shared.check_dead_letter(name, &options)?;
        let meta = QueueMeta {
            options: options.clone(),
            ..queue.meta()
        };
        let mut entries = vec![Entry::AlterQueue(Box::new(meta))];
        let topic = shared.catalog().by_id(queue.id).map(Arc::clone);
        let topic = topic.filter(|_| queue.owns());
        if let Some(topic) = &topic {
            entries.push(Entry::AlterTopic(TopicMeta {
                options: options.topic(),
                ..topic.meta()
            }));
        }
        shared.log_changes(&entries)?;
        if let Some(topic) = topic {
            topic.alter(options.topic());
        }
        queue.alter(options);
        Ok(())
    }

    /// Deletes a queue with all its messages; durable at return. Of a
    /// subscription, the topic stays.
    ///
    /// # Errors
    ///
    /// `Invalid` if it is the dead-letter queue of another; `NotFound`, `Closed`,
    /// `ReadOnly`, `Full`, and nothing is changed then. `Poisoned`: the queue may or
    /// may not be there when the store is opened again.
    pub fn delete_queue(&self, name: &str) -> Result<()> {
        let shared = self.shared();
        shared.check_open()?;
        {
            let _admin = lock(&shared.admin);
            let queue = shared.queues.registry().get(name)?;
            let user = |other: &&Arc<QueueState>| {
                other.id != queue.id && other.options().dead_letter.as_deref() == Some(name)
            };
            if let Some(user) = shared.queues.registry().all().find(user) {
                return Err(Error::invalid(format!(
                    "queue {name:?} is the dead-letter queue of {:?}; alter that one first",
                    user.name
                )));
            }
            let topic = shared.catalog().by_id(queue.id).map(Arc::clone);
            let topic = topic.filter(|_| queue.owns());
            let mut entries = vec![Entry::DeleteQueue(queue.id)];
            entries.extend(topic.as_ref().map(|topic| Entry::DeleteTopic(topic.id)));
            shared.log_changes(&entries)?;
            queue.delete();
            shared.queues.registry_mut().remove(queue.id);
            if let Some(topic) = topic {
                topic.delete();
                lock(&shared.garbage).push(Garbage::Topic(topic.id));
                shared.catalog_mut().remove(topic.id);
            }
        }
        if let Err(error) = shared.remove_garbage() {
            shared.event(&format!("files of a deleted queue remain for now: {error}"));
        }
        Ok(())
    }
}

/// What a subscription cannot have: it owns no messages.
fn check_subscription(options: &QueueOptions) -> Result<()> {
    let wrong = |what: &str| {
        Err(Error::invalid(format!(
            "option `{what}` is for queues with messages of their own; leave it out for a \
             subscription"
        )))
    };
    if options.length_max.is_some() {
        return wrong("length_max");
    }
    if options.dedup_window.is_some() {
        return wrong("dedup_window");
    }
    if options.shards != 1 {
        return wrong("shards");
    }
    Ok(())
}

impl Shared {
    /// Writes changes of the catalog to the log, in one frame, and waits.
    fn log_changes(&self, entries: &[Entry<'_>]) -> Result<()> {
        let wal = self.env.wal()?;
        let ask = Ask {
            sync: true,
            ..Ask::default()
        };
        wal.enqueue(entries, ask)?.wait(wal)
    }

    fn add_queue(&self, meta: QueueMeta) -> Result<Arc<QueueState>> {
        let source = meta.source.as_ref().map_or(meta.id, |source| source.topic);
        let topic = self.catalog().by_id(source).map(Arc::clone);
        let topic = topic.ok_or_else(|| {
            let text = format!("topic {source} of queue {:?} is gone", meta.name);
            Error::new(ErrorKind::NotFound, text)
        })?;
        let queue = QueueState::new(meta, topic, Arc::clone(&self.queues));
        self.queues.registry_mut().add(Arc::clone(&queue));
        Ok(queue)
    }

    /// Refuses a name that a topic or a queue has.
    pub(in crate::engine) fn check_free(&self, name: &str) -> Result<()> {
        let what = if self.queues.registry().contains(name) {
            "queue"
        } else if self.catalog().contains(name) {
            "topic"
        } else {
            return Ok(());
        };
        Err(Error::new(
            ErrorKind::Exists,
            format!("there is a {what} {name:?} already; use it, or choose another name"),
        ))
    }

    /// Refuses what is for topics, where the name is a queue's.
    pub(in crate::engine) fn refuse_queue(&self, name: &str) -> Result<()> {
        if self.queues.registry().contains(name) {
            return Err(Error::invalid(format!(
                "{name:?} is a queue, not a topic: send to it and receive from it"
            )));
        }
        Ok(())
    }

    /// Refuses what would take the records of a subscription away.
    pub(in crate::engine) fn check_unsubscribed(&self, topic: &TopicState) -> Result<()> {
        let registry = self.queues.registry();
        let of_it = |queue: &&Arc<QueueState>| {
            queue
                .source
                .as_ref()
                .is_some_and(|source| source.topic == topic.id)
        };
        match registry.all().find(of_it) {
            None => Ok(()),
            Some(queue) => Err(Error::invalid(format!(
                "topic {:?} has the subscription {:?}; delete that first",
                topic.name, queue.name
            ))),
        }
    }

    /// Refuses a dead-letter queue that is not there, or that leads back.
    fn check_dead_letter(&self, name: &str, options: &QueueOptions) -> Result<()> {
        let registry = self.queues.registry();
        let mut next = options.dead_letter.clone();
        let mut path = vec![name.to_owned()];
        while let Some(target) = next.take() {
            if path.contains(&target) {
                path.push(target);
                return Err(Error::invalid(format!(
                    "dead letters would go in a circle: {}; let one of these queues have another \
                     `dead_letter`, or none",
                    path.join(" -> ")
                )));
            }
            let queue = registry.get(&target)?;
            if !queue.owns() {
                return Err(Error::invalid(format!(
                    "dead-letter queue {target:?} is a subscription; choose a queue with messages \
                     of its own"
                )));
            }
            next.clone_from(&queue.options().dead_letter);
            path.push(target);
        }
        Ok(())
    }

    pub(super) fn queue_info(&self, queue: &QueueState) -> QueueInfo {
        let name = |id: TopicId| {
            let topic = self.catalog().by_id(id).map(|topic| topic.name.clone());
            topic.unwrap_or_else(|| id.to_string())
        };
        let meta = queue.meta();
        let subscription = meta
            .source
            .map(|source| (name(source.topic), source.filter));
        QueueInfo::new(meta.id, meta.name, meta.options, subscription)
    }

    /// Ends leases, wakes what was delayed, buries what expired, as far as due.
    pub(in crate::engine) fn queue_step(&self) -> Result<bool> {
        self.check_open()?;
        // A log that takes no more writes lets nothing end.
        let wal = self.env.wal.get();
        if wal.is_none_or(|wal| wal.check_open().is_err()) {
            return Ok(false);
        }
        self.queues.step()
    }
}
